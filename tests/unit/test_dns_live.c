/* src/dns against a real authoritative server with signed, altered, expired, failing and silent
 * zones (tests/lab/lab.py). SKIP when nsd or ldnsutils are missing. */
#include "unit.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dns/dns.h"
#include "net/net.h"

/* ---- The lab: a child that serves until its standard input ends ---- */

#define MAX_STUBS 32
static char anchor[4096], stub_zone[MAX_STUBS][128], stub_server[MAX_STUBS][64];
static size_t nstub_lines;
static pid_t lab_pid, main_pid;
static int lab_stdin = -1;
static char lab_dir[] = "dnslab-XXXXXX";

static void
lab_stop(void)
{
	char *command;

	if (lab_pid == 0 || getpid() != main_pid)	/* each test is a fork of ours */
		return;
	close(lab_stdin);
	waitpid(lab_pid, NULL, 0);
	lab_pid = 0;
	command = xasprintf("rm -rf %s", lab_dir);
	if (system(command) != 0)
		fprintf(stderr, "%s failed\n", command);
	free(command);
}

static void
lab_child(int in, int out)
{
	const char *srcdir = getenv("srcdir");
	char *script = xasprintf("%s/tests/lab/lab.py", srcdir == NULL ? "." : srcdir);

	dup2(in, 0);
	dup2(out, 1);
	setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
	execlp("python3", "python3", script, "serve", lab_dir, (char *)NULL);
	_exit(77);
}

/* 0, or the status to exit with. */
static int
lab_start(void)
{
	int to[2], from[2];
	char line[4200];
	FILE *f;

	if (mkdtemp(lab_dir) == NULL || pipe(to) != 0 || pipe(from) != 0)
		return 1;
	main_pid = getpid();
	lab_pid = fork();
	if (lab_pid == 0) {
		close(to[1]);
		close(from[0]);
		lab_child(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	lab_stdin = to[1];
	f = fdopen(from[0], "r");
	while (f != NULL && fgets(line, sizeof line, f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "skip ", 5) == 0) {
			printf("SKIP: %s\n", line + 5);
			lab_stop();
			return 77;
		}
		if (sscanf(line, "anchor %4095s", anchor) == 1)
			continue;
		if (nstub_lines < MAX_STUBS && sscanf(line, "stub %127s %63s", stub_zone[nstub_lines],
		    stub_server[nstub_lines]) == 2)
			nstub_lines++;
		if (strcmp(line, "ready") == 0) {
			fclose(f);
			return 0;
		}
	}
	if (f != NULL)
		fclose(f);
	fprintf(stderr, "the lab did not start\n");
	lab_stop();
	return 1;
}

/* ---- One context a test ---- */

static struct event_base *base;
static struct dns *d;

static struct dns *
make(const char *anchor_file, int64_t timeout_ms, struct err *err)
{
	static const char *servers[MAX_STUBS][2];
	static struct dns_stub stubs[MAX_STUBS];
	struct dns_conf conf = { .anchor_file = anchor_file, .stubs = stubs, .nstubs = nstub_lines,
		.timeout_ms = timeout_ms };
	size_t i;

	for (i = 0; i < nstub_lines; i++) {
		servers[i][0] = stub_server[i];
		stubs[i] = (struct dns_stub){ stub_zone[i], servers[i], false };
	}
	return dns_new(base, &conf, err);
}

static void
setup(void)
{
	struct err err;

	base = event_base_new();
	d = make(anchor, 5000, &err);
	ck_assert_msg(d != NULL, "%s", err.text);
}

static void
teardown(void)
{
	dns_free(d);
	event_base_free(base);
}

struct got {
	unsigned calls;
	enum dns_status status;
	bool secure;
	uint32_t ttl;
	size_t n;
	char canon[256], why[256];
	uint8_t first[300];
	size_t first_n;
	uint64_t query;
};

static void
take(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct got *g = owner;

	g->calls++;
	g->query = query;
	g->status = a->status;
	g->secure = a->secure;
	g->ttl = a->ttl;
	g->n = a->n;
	snprintf(g->canon, sizeof g->canon, "%s", a->canon);
	snprintf(g->why, sizeof g->why, "%s", a->why == NULL ? "" : a->why);
	if (a->n > 0 && a->rr[0].n <= sizeof g->first) {
		memcpy(g->first, a->rr[0].data, a->rr[0].n);
		g->first_n = a->rr[0].n;
	}
}

static void
run_until(const unsigned *calls, unsigned want)
{
	int64_t end = clock_mono_ms() + 20000;

	while (*calls < want && clock_mono_ms() < end)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_uint_eq(*calls, want);
}

static struct got
ask(const char *name, uint16_t type)
{
	struct got g = { 0 };
	uint64_t id = dns_query(d, name, type, take, &g);

	ck_assert(id != 0);
	ck_assert_uint_eq(g.calls, 0);
	run_until(&g.calls, 1);
	ck_assert(g.query == id);
	return g;
}

static const struct answer_case {
	const char *name;
	uint16_t type;
	enum dns_status status;
	bool secure;
	size_t n;
	const char *canon;
} answers[] = {
	{ "signed.example", DNS_MX, DNS_OK, true, 2, "signed.example" },
	{ "Signed.EXAMPLE.", DNS_MX, DNS_OK, true, 2, "signed.example" },
	{ "mx1.signed.example", DNS_A, DNS_OK, true, 1, NULL },
	{ "mx1.signed.example", DNS_AAAA, DNS_OK, true, 1, NULL },
	{ "mx2.signed.example", DNS_AAAA, DNS_NODATA, true, 0, NULL },
	{ "not-there.signed.example", DNS_A, DNS_NXDOMAIN, true, 0, NULL },
	{ "nowhere", DNS_A, DNS_NXDOMAIN, true, 0, NULL },
	{ "alias.signed.example", DNS_A, DNS_OK, true, 1, "mx1.signed.example" },
	{ "alias.signed.example", DNS_CNAME, DNS_OK, true, 1, "alias.signed.example" },
	{ "_25._tcp.mx1.signed.example", DNS_TLSA, DNS_OK, true, 1, NULL },
	{ "_mta-sts.signed.example", DNS_TXT, DNS_OK, true, 1, NULL },
	/* D-09: one insecure link makes it all insecure, whichever end it is at */
	{ "far.signed.example", DNS_A, DNS_OK, false, 1, "mx.plain.example" },
	{ "back.plain.example", DNS_A, DNS_OK, false, 1, "mx1.signed.example" },
	{ "loop1.signed.example", DNS_A, DNS_SERVFAIL, false, 0, NULL },	/* D-10 */
	{ "plain.example", DNS_MX, DNS_OK, false, 1, NULL },
	{ "not-there.plain.example", DNS_A, DNS_NXDOMAIN, false, 0, NULL },
	{ "mx.plain.example", DNS_AAAA, DNS_NODATA, false, 0, NULL },
	{ "bogus.example", DNS_MX, DNS_BOGUS, false, 0, NULL },
	{ "mx.bogus.example", DNS_A, DNS_BOGUS, false, 0, NULL },
	{ "not-there.bogus.example", DNS_A, DNS_BOGUS, false, 0, NULL },
	{ "expired.example", DNS_MX, DNS_BOGUS, false, 0, NULL },
	{ "fail.example", DNS_MX, DNS_SERVFAIL, false, 0, NULL },
	{ "servfail.example", DNS_MX, DNS_SERVFAIL, false, 0, NULL },
	{ "long.example", DNS_MX, DNS_OK, true, 100, NULL },			/* */
	{ "has space.example", DNS_A, DNS_BAD_NAME, false, 0, NULL },
	{ "", DNS_A, DNS_BAD_NAME, false, 0, NULL },
};

START_TEST(answer)
{
	const struct answer_case *c = &answers[_i];
	struct got g;
	int again;

	/* The second time it comes from libunbound's cache, and must be the same, and not at once. */
	for (again = 0; again < 2; again++) {
		g = ask(c->name, c->type);
		ck_assert_msg(g.status == c->status, "%s: %s (%s)", c->name, dns_status_name(g.status), g.why);
		ck_assert_msg(g.secure == c->secure, "%s: secure is %d", c->name, g.secure);
		ck_assert_msg(g.n == c->n, "%s: %zu records", c->name, g.n);
		if (c->canon != NULL)
			ck_assert_str_eq(g.canon, c->canon);
		if (c->status == DNS_OK || c->status == DNS_NODATA || c->status == DNS_NXDOMAIN)
			ck_assert_msg(g.ttl > 0 && g.ttl <= 300, "%s: ttl %u", c->name, g.ttl);
		if (c->status == DNS_BOGUS)
			ck_assert_msg(g.why[0] != '\0', "%s: no reason", c->name);
	}
}
END_TEST

START_TEST(silent_server_times_out)
{
	struct got g = { 0 }, h = { 0 };
	int64_t began = clock_mono_ms();

	dns_free(d);
	d = make(anchor, 300, NULL);
	dns_query(d, "slow.example", DNS_MX, take, &g);
	dns_query(d, "signed.example", DNS_MX, take, &h);
	run_until(&g.calls, 1);
	ck_assert_int_eq(g.status, DNS_TIMEOUT);
	ck_assert_int_ge(clock_mono_ms() - began, 290);
	ck_assert_int_eq(h.status, DNS_OK);
}
END_TEST

START_TEST(no_anchor_nothing_is_secure)
{
	struct got g;

	dns_free(d);
	d = make(NULL, 10000, NULL);
	g = ask("signed.example", DNS_MX);
	ck_assert_int_eq(g.status, DNS_OK);
	ck_assert(!g.secure);
	g = ask("bogus.example", DNS_MX);
	ck_assert_int_eq(g.status, DNS_OK);
	ck_assert(!g.secure);
}
END_TEST

START_TEST(bad_settings_are_refused_with_a_sentence)
{
	static const char *const servers[] = { "not-an-address", NULL };
	static const struct dns_stub stub = { "x.example", servers, false };
	struct dns_conf conf = { .forward = servers };
	struct err err;
	FILE *f;

	ck_assert(dns_new(base, &conf, &err) == NULL);
	ck_assert_msg(strstr(err.text, "dns.forward: not-an-address") != NULL, "%s", err.text);
	conf = (struct dns_conf){ .stubs = &stub, .nstubs = 1 };
	ck_assert(dns_new(base, &conf, &err) == NULL);
	ck_assert_msg(strstr(err.text, "x.example") != NULL, "%s", err.text);
	ck_assert(make("/no/such/root.key", 0, &err) == NULL);
	ck_assert_msg(strstr(err.text, "/no/such/root.key: No such file") != NULL, "%s", err.text);
	f = fopen("dnslab-garbage.key", "w");
	fputs(". IN DS this is not a key\n", f);
	fclose(f);
	ck_assert(make("dnslab-garbage.key", 0, &err) == NULL);
	unlink("dnslab-garbage.key");
	ck_assert_msg(strstr(err.text, "trust anchors") != NULL, "%s", err.text);
}
END_TEST

START_TEST(cancelled_query_is_silent)
{
	struct got g = { 0 }, h = { 0 };
	uint64_t id = dns_query(d, "signed.example", DNS_MX, take, &g);

	dns_cancel(d, id);
	dns_cancel(d, id);
	dns_cancel(d, 0);
	h = ask("signed.example", DNS_MX);
	ck_assert_uint_eq(h.calls, 1);
	/* cached by now: answered within the call, and cancelled before the next turn */
	id = dns_query(d, "signed.example", DNS_MX, take, &g);
	dns_cancel(d, id);
	ask("plain.example", DNS_MX);
	ck_assert_uint_eq(g.calls, 0);
}
END_TEST

START_TEST(free_ends_what_is_pending)
{
	struct got g[3] = { { 0 } };

	ask("signed.example", DNS_MX);
	dns_query(d, "slow.example", DNS_MX, take, &g[0]);
	dns_query(d, "signed.example", DNS_MX, take, &g[1]);
	dns_query(d, "mx2.signed.example", DNS_MX, take, &g[2]);
	dns_free(d);
	d = NULL;
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(g[i].calls, 1);
		ck_assert_int_eq(g[i].status, DNS_CANCELLED);
	}
	event_base_loop(base, EVLOOP_NONBLOCK);
}
END_TEST

static unsigned freed;
static struct got other;

static void
free_it(void *owner, uint64_t query, const struct dns_answer *a)
{
	ck_assert_int_eq(a->status, DNS_OK);
	dns_free(d);
	d = NULL;
	freed++;
}

START_TEST(free_in_a_callback)
{
	ask("signed.example", DNS_MX);
	dns_query(d, "signed.example", DNS_MX, free_it, NULL);
	dns_query(d, "signed.example", DNS_MX, take, &other);
	dns_query(d, "slow.example", DNS_MX, take, &other);
	run_until(&freed, 1);
	ck_assert_uint_eq(other.calls, 2);
	ck_assert_int_eq(other.status, DNS_CANCELLED);
}
END_TEST

static unsigned asked_again;
static uint64_t victim;

static void
ask_and_cancel(void *owner, uint64_t query, const struct dns_answer *a)
{
	dns_cancel(d, query);
	dns_cancel(d, victim);
	if (++asked_again < 5)
		dns_query(d, "signed.example", DNS_MX, ask_and_cancel, NULL);
}

START_TEST(ask_and_cancel_in_a_callback)
{
	other.calls = 0;
	ask("signed.example", DNS_MX);
	dns_query(d, "signed.example", DNS_MX, ask_and_cancel, NULL);
	victim = dns_query(d, "signed.example", DNS_MX, take, &other);
	run_until(&asked_again, 5);
	ck_assert_uint_eq(other.calls, 0);
}
END_TEST

START_TEST(many_at_once)
{
	static struct got g[2000];
	char name[64];
	unsigned i;

	dns_free(d);
	d = make(anchor, 60000, NULL);
	for (i = 0; i < NELEMS(g); i++) {
		snprintf(name, sizeof name, "h%u.long.example", i % 150 + 1);
		dns_query(d, name, DNS_A, take, &g[i]);
	}
	for (i = 0; i < NELEMS(g); i++) {
		run_until(&g[i].calls, 1);
		ck_assert_int_eq(g[i].status, DNS_OK);
		ck_assert(g[i].secure);
	}
}
END_TEST

static unsigned tested;
static bool test_ok;
static char test_why[512];

static void
self_tested(void *owner, bool ok, const char *why)
{
	tested++;
	test_ok = ok;
	snprintf(test_why, sizeof test_why, "%s", why == NULL ? "" : why);
}

START_TEST(self_test)
{
	dns_self_test(d, ".", self_tested, NULL);
	run_until(&tested, 1);
	ck_assert_msg(test_ok, "%s", test_why);
	dns_self_test(d, "expired.example", self_tested, NULL);
	run_until(&tested, 2);
	ck_assert(!test_ok);
	ck_assert_msg(strstr(test_why, "clock") != NULL, "%s", test_why);
	dns_free(d);
	d = make(NULL, 0, NULL);
	dns_self_test(d, ".", self_tested, NULL);
	run_until(&tested, 3);
	ck_assert(!test_ok);
	ck_assert_msg(strstr(test_why, "no trust anchor") != NULL, "%s", test_why);
}
END_TEST

/* ---- MX ---- */

static const char *const self_names[] = { "gw.signed.example", NULL };

static struct net_addr
own_addr(const char *ip, uint16_t port)
{
	struct net_addr a = { .len = sizeof(struct sockaddr_in) };
	struct sockaddr_in *sin = (struct sockaddr_in *)&a.ss;

	sin->sin_family = AF_INET;
	sin->sin_port = htons(port);
	ck_assert_int_eq(inet_pton(AF_INET, ip, &sin->sin_addr), 1);
	return a;
}

static struct mx_result *result;
static unsigned resolved;

static void
keep(void *owner, uint64_t ticket, struct mx_result *r)
{
	resolved++;
	mx_result_unref(result);
	result = mx_result_ref(r);
}

static struct mx_conf
lab_conf(void)
{
	static struct net_addr own;

	own = own_addr("127.0.0.99", 25);
	return (struct mx_conf){ .self_names = self_names, .self_addrs = &own, .nself_addrs = 1,
		.max_hosts = 10, .max_addrs = 5, .ipv4 = true, .ipv6 = true, .allow_loopback = true };
}

static void
resolve(const char *domain, const struct mx_conf *conf, bool host)
{
	resolved = 0;
	ck_assert((host ? mx_resolve_host : mx_resolve)(d, domain, conf, keep, NULL) != 0);
	ck_assert_uint_eq(resolved, 0);
	run_until(&resolved, 1);
}

/* "name/preference flags addresses", one host after the other. Flags: s secure, i is an address,
 * ! and the status when there is no address. */
static void
describe(char *out, size_t size)
{
	size_t n = 0, i, k;
	char ip[64];

	out[0] = '\0';
	for (i = 0; i < result->n; i++) {
		const struct mx_host *h = &result->hosts[i];

		n += snprintf(out + n, size - n, "%s%.*s/%u", i > 0 ? " " : "",
		    (int)strcspn(h->name, h->is_address ? "" : "."), h->name, h->preference);
		n += snprintf(out + n, size - n, "%s%s%s", h->secure ? "+s" : "", h->is_address ? "+i" : "",
		    h->canon[0] != '\0' ? "+c" : "");
		if (h->addr_status != DNS_OK)
			n += snprintf(out + n, size - n, "!%s", dns_status_name(h->addr_status));
		for (k = 0; k < h->naddrs; k++)
			n += snprintf(out + n, size - n, ",%s",
			    inet_ntop(h->addrs[k].family, h->addrs[k].ip, ip, sizeof ip));
	}
}

static const struct mx_case {
	const char *domain;
	enum mx_status status;
	bool secure, implicit;
	const char *hosts;
} mxs[] = {
	{ "signed.example", MX_OK, true, false, "mx1/10+s,::1,127.0.0.11 mx2/20+s,127.0.0.12" },
	{ "plain.example", MX_OK, false, false, "mx/10,127.0.0.16" },
	{ "sub.signed.example", MX_OK, true, false, "mx1/10+s,::1,127.0.0.11 mx2/20+s,127.0.0.12" },
	{ "implicit.signed.example", MX_OK, true, true, "implicit/0+s,127.0.0.13" },
	{ "alias.signed.example", MX_OK, true, true, "alias/0+s+c,::1,127.0.0.11" },
	{ "far.signed.example", MX_OK, false, true, "far/0+c,127.0.0.16" },
	{ "viafar.signed.example", MX_OK, true, false, "far/10+c,127.0.0.16" },	/* */
	{ "noaddr.signed.example", MX_NO_ADDRESS, true, true, "noaddr/0+s!nodata" },
	{ "deadmx.signed.example", MX_NO_ADDRESS, true, false, "noaddr/10+s!nodata not-there/20+s!nxdomain" },
	{ "not-there.signed.example", MX_NXDOMAIN, true, false, "" },	/* row 45 */
	{ "not a name", MX_NXDOMAIN, false, false, "" },
	{ "nullmx.signed.example", MX_NULL, true, false, "" },	/* row 46 */
	{ "nullbut.signed.example", MX_OK, true, false, "mx1/10+s,::1,127.0.0.11" },	/* Z-02 */
	{ "bogus.example", MX_TEMPFAIL, false, false, "" },	/* Z-09, row 44 */
	{ "expired.example", MX_TEMPFAIL, false, false, "" },
	{ "fail.example", MX_TEMPFAIL, false, false, "" },
	{ "onefail.signed.example", MX_OK, true, false, "mx/10!servfail mx2/20+s,127.0.0.12" },	/* D-07 */
	{ "allfail.signed.example", MX_TEMPFAIL, true, false, "mx/10!servfail" },
	{ "bogusmx.signed.example", MX_TEMPFAIL, true, false, "mx/10!bogus" },
	{ "ipmx.signed.example", MX_OK, true, false, "127.0.0.14/10+i,127.0.0.14" },	/* row 43 */
	/* M-82: the same and worse preferences go with us */
	{ "self.signed.example", MX_OK, true, false, "mx2/10+s,127.0.0.12" },
	{ "selfbest.signed.example", MX_ONLY_SELF, true, false, "" },
	{ "selfaddr.signed.example", MX_OK, true, false, "mx1/10+s,::1,127.0.0.11" },
	{ "gwbyaddr.signed.example", MX_ONLY_SELF, true, true, "" },
	{ "gw.signed.example", MX_ONLY_SELF, true, true, "" },
	{ "special.signed.example", MX_NO_ADDRESS, true, false, "odd/10+s!nodata" },	/* */
	{ "many.signed.example", MX_OK, true, true, NULL },
};

START_TEST(mx)
{
	const struct mx_case *c = &mxs[_i];
	struct mx_conf conf = lab_conf();
	char text[1024];

	resolve(c->domain, &conf, false);
	ck_assert_msg(result->status == c->status, "%s: status %d (%s)", c->domain, result->status, result->why);
	ck_assert_msg(result->secure == c->secure, "%s: secure is %d", c->domain, result->secure);
	ck_assert_msg(result->implicit == c->implicit, "%s: implicit is %d", c->domain, result->implicit);
	ck_assert_int_eq(result->why[0] == '\0', c->status == MX_OK);
	ck_assert_uint_ge(result->ttl, 1);
	ck_assert_uint_le(result->ttl, 300);
	describe(text, sizeof text);
	if (c->hosts != NULL)
		ck_assert_msg(strcmp(text, c->hosts) == 0, "%s: \"%s\"", c->domain, text);
	mx_result_unref(result);
	result = NULL;
}
END_TEST

START_TEST(mx_keeps_its_caps)
{
	struct mx_conf conf = lab_conf();
	unsigned v4 = 0, i;

	resolve("long.example", &conf, false);
	ck_assert_int_eq(result->status, MX_OK);
	ck_assert_uint_eq(result->n, 10);
	for (i = 1; i < 10; i++)
		ck_assert_uint_lt(result->hosts[i - 1].preference, result->hosts[i].preference);
	resolve("many.signed.example", &conf, false);
	ck_assert_uint_eq(result->hosts[0].naddrs, 5);
	for (i = 0; i < 5; i++)
		v4 += result->hosts[0].addrs[i].family == AF_INET;
	ck_assert_uint_eq(v4, 2);
	conf.ipv6 = false;
	resolve("many.signed.example", &conf, false);
	ck_assert_uint_eq(result->hosts[0].naddrs, 4);
	mx_result_unref(result);
	result = NULL;
}
END_TEST

/* M-81: with 40 tries each of four equals is first at least once, or the dice are loaded (the
 * odds against are 25,000 to 1). */
START_TEST(mx_equals_take_turns)
{
	struct mx_conf conf = lab_conf();
	unsigned first[4] = { 0 }, i;

	for (i = 0; i < 40; i++) {
		resolve("equal.signed.example", &conf, false);
		ck_assert_uint_eq(result->n, 5);
		ck_assert_int_eq(result->hosts[0].name[0], 'z');
		first[result->hosts[1].name[0] - 'a']++;
	}
	for (i = 0; i < 4; i++)
		ck_assert_msg(first[i] > 0, "host %u was never first", i);
	mx_result_unref(result);
	result = NULL;
}
END_TEST

START_TEST(mx_loopback_only_when_allowed)
{
	struct mx_conf conf = lab_conf();

	conf.allow_loopback = false;
	resolve("signed.example", &conf, false);
	ck_assert_int_eq(result->status, MX_NO_ADDRESS);
	resolve("ipmx.signed.example", &conf, false);
	ck_assert_int_eq(result->status, MX_NO_ADDRESS);
	/* a route that names the host says what it means */
	resolve("mx2.signed.example", &conf, true);
	ck_assert_int_eq(result->status, MX_OK);
	mx_result_unref(result);
	result = NULL;
}
END_TEST

START_TEST(mx_own_port_matters)
{
	struct mx_conf conf = lab_conf();

	conf.port = 2525;
	resolve("gwbyaddr.signed.example", &conf, false);
	ck_assert_int_eq(result->status, MX_OK);
	mx_result_unref(result);
	result = NULL;
}
END_TEST

START_TEST(mx_wildcard_listener_has_all_our_addresses)
{
	struct net_addr any = own_addr("0.0.0.0", 25);
	struct mx_conf conf = lab_conf();

	conf.self_addrs = &any;
	resolve("127.0.0.1", &conf, true);
	ck_assert_int_eq(result->status, MX_ONLY_SELF);
	resolve("127.0.0.77", &conf, true);	/* not configured on the interface */
	ck_assert_int_eq(result->status, MX_OK);
	mx_result_unref(result);
	result = NULL;
}
END_TEST

static const struct host_case {
	const char *host;
	enum mx_status status;
	bool secure;
	const char *hosts;
} hosts[] = {
	{ "mx1.signed.example", MX_OK, true, "mx1/0+s,::1,127.0.0.11" },
	{ "mx.plain.example", MX_OK, false, "mx/0,127.0.0.16" },
	{ "192.0.2.8", MX_OK, false, "192.0.2.8/0+i,192.0.2.8" },
	{ "2001:db8::8", MX_OK, false, "2001:db8::8/0+i,2001:db8::8" },
	{ "not-there.signed.example", MX_NXDOMAIN, true, "not-there/0+s!nxdomain" },
	{ "mx.bogus.example", MX_TEMPFAIL, false, "mx/0!bogus" },
	{ "signed.example", MX_NO_ADDRESS, true, "signed/0+s!nodata" },	/* its MX is not asked for */
	{ "0.0.0.0", MX_NO_ADDRESS, false, "0.0.0.0/0+i!nodata" },
	{ "localhost", MX_OK, false, "localhost/0,::1,127.0.0.1" },
};

START_TEST(mx_host)
{
	const struct host_case *c = &hosts[_i];
	struct mx_conf conf = lab_conf();
	char text[1024];

	resolve(c->host, &conf, true);
	ck_assert_msg(result->status == c->status, "%s: status %d (%s)", c->host, result->status, result->why);
	describe(text, sizeof text);
	ck_assert_msg(strcmp(text, c->hosts) == 0, "%s: \"%s\"", c->host, text);
	ck_assert_msg(result->secure == c->secure, "%s: secure is %d", c->host, result->secure);
	mx_result_unref(result);
	result = NULL;
}
END_TEST

START_TEST(mx_slow_host_does_not_hold_up_for_ever)
{
	struct mx_conf conf = lab_conf();
	char text[256];

	dns_free(d);
	d = make(anchor, 400, NULL);
	resolve("slowmx.signed.example", &conf, false);
	ck_assert_int_eq(result->status, MX_OK);
	describe(text, sizeof text);
	ck_assert_str_eq(text, "mx/10!timeout mx1/20+s,::1,127.0.0.11");
	mx_result_unref(result);
	result = NULL;
}
END_TEST

START_TEST(mx_cancel_and_free)
{
	struct mx_conf conf = lab_conf();
	uint64_t t = mx_resolve(d, "signed.example", &conf, keep, NULL);

	mx_cancel(d, t);
	mx_cancel(d, t);
	mx_resolve_host(d, "192.0.2.1", &conf, keep, NULL);
	mx_resolve(d, "slow.example", &conf, keep, NULL);
	resolved = 0;
	dns_free(d);
	d = NULL;
	ck_assert_uint_eq(resolved, 2);
	ck_assert_int_eq(result->status, MX_TEMPFAIL);
	mx_result_unref(result);
	result = NULL;
}
END_TEST

UNIT_MAIN("dns_live",
	int rc = lab_start();

	if (rc != 0)
		return rc;
	atexit(lab_stop);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, answer, 0, NELEMS(answers));
	tcase_add_test(tc, silent_server_times_out);
	tcase_add_test(tc, no_anchor_nothing_is_secure);
	tcase_add_test(tc, bad_settings_are_refused_with_a_sentence);
	tcase_add_test(tc, cancelled_query_is_silent);
	tcase_add_test(tc, free_ends_what_is_pending);
	tcase_add_test(tc, free_in_a_callback);
	tcase_add_test(tc, ask_and_cancel_in_a_callback);
	tcase_add_test(tc, many_at_once);
	tcase_add_test(tc, self_test);
	tcase_add_loop_test(tc, mx, 0, NELEMS(mxs));
	tcase_add_test(tc, mx_keeps_its_caps);
	tcase_add_test(tc, mx_equals_take_turns);
	tcase_add_test(tc, mx_loopback_only_when_allowed);
	tcase_add_test(tc, mx_own_port_matters);
	tcase_add_test(tc, mx_wildcard_listener_has_all_our_addresses);
	tcase_add_loop_test(tc, mx_host, 0, NELEMS(hosts));
	tcase_add_test(tc, mx_slow_host_does_not_hold_up_for_ever);
	tcase_add_test(tc, mx_cancel_and_free);
)
