/* What policies cost. Usage: bench_policy [rounds [part of a name]].
 *
 * Times are CPU ns for one call, the best of five rounds, with what the loop itself costs (the fixture: a hook
 * without handlers) taken off. The machine may be shared: look at the ratio to the empty handler first, and for
 * small differences at instructions (valgrind --tool=callgrind with one name and two numbers of rounds). */
#include "config.h"

#include <event2/event.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "policy/policy_int.h"
#include "policy/trace.h"

/* `times` rules, of which the last one holds; the others are about other domains, networks, listeners. */
#define RULES(times, when) "for i = 1, " #times " do gw.rule { name = 'r' .. i, at = 'message', when = " when \
	", act = gw.action.tag('t') } end"
#define DO(body) "gw.on('message', function(session, message) " body " end, { name = 'x' })"

static const struct bench {
	const char *name;
	enum policy_hook hook;
	const char *text;
	unsigned of;		/* things of its kind in one call, for the cost of each; 0: one */
} benches[] = {
	{ "empty handler", HOOK_MESSAGE, DO(""), 0 },
	{ "12 empty handlers", HOOK_MESSAGE,
	    "for i = 1, 12 do gw.on('message', function(session, message) end, { name = 'x' .. i }) end", 12 },
	{ "12 handlers of a site", HOOK_MESSAGE,
	    "for i = 1, 12 do gw.on('message', function(session, message)\n"
	    "  local subject = message:subject()\n"
	    "  if subject and subject:lower():find('[secure]', 1, true) then\n"
	    "    message:tag 'secure'\n"
	    "    message:require_tls { level = 'requiretls', reason = 'sender marked secure' }\n"
	    "  end\n"
	    "end, { name = 'x' .. i }) end", 12 },
	{ "12 handlers that look", HOOK_MESSAGE,
	    "for i = 1, 12 do gw.on('message', function(session, message)\n"
	    "  local subject = message:subject()\n"
	    "  if subject and subject:lower():find('[other]', 1, true) then message:tag 'secure' end\n"
	    "end, { name = 'x' .. i }) end", 12 },
	{ "rules, 1, a domain", HOOK_MESSAGE, RULES(1, "gw.match.sender_domain('d' .. i .. '.example')"), 0 },
	{ "rules, 10, domains", HOOK_MESSAGE, RULES(10, "gw.match.sender_domain('d' .. i .. '.example')"), 10 },
	{ "rules, 100, domains", HOOK_MESSAGE, RULES(100, "gw.match.sender_domain('d' .. i .. '.example')"), 100 },
	{ "rules, 1000, domains", HOOK_MESSAGE, RULES(1000, "gw.match.sender_domain('d' .. i .. '.example')"), 1000 },
	{ "rules, 1000, one holds", HOOK_MESSAGE,
	    RULES(1000, "gw.match.rcpt_domain(i == 500 and 'clinic.example' or 'd' .. i .. '.example')"), 1000 },
	{ "rules, 1000, networks", HOOK_MESSAGE,
	    RULES(1000, "gw.match.client_ip('198.' .. i // 250 .. '.' .. i % 250 .. '.0/24')"), 1000 },
	{ "rules, 1000, all { subject, domain }", HOOK_MESSAGE,
	    RULES(1000, "gw.match.all { gw.match.sender_domain('.d' .. i .. '.example'), gw.match.subject_word 'x' }"), 1000 },
	{ "rules, 1, a subject", HOOK_MESSAGE, RULES(1, "gw.match.subject_word('[other' .. i .. ']')"), 0 },
	{ "rules, 10, subjects", HOOK_MESSAGE, RULES(10, "gw.match.subject_word('[other' .. i .. ']')"), 10 },
	{ "rules, 100, subjects", HOOK_MESSAGE, RULES(100, "gw.match.subject_word('[other' .. i .. ']')"), 100 },
	{ "rule that holds", HOOK_MESSAGE, RULES(1, "gw.match.subject_word('[secure]')"), 0 },
	{ "one matcher, 1000 domains", HOOK_MESSAGE,
	    "local d = {} for i = 1, 1000 do d[i] = 'd' .. i .. '.example' end gw.rule { name = 'r', at = 'message', "
	    "when = gw.match.sender_domain(d), act = gw.action.tag('t') }", 0 },
	{ "handler behind a matcher", HOOK_MESSAGE,
	    "gw.on('message', function() end, { name = 'x', when = gw.match.subject_word '[other]' })", 0 },
	{ "header read", HOOK_MESSAGE, DO("local subject = message:subject()"), 0 },
	{ "three fields read", HOOK_MESSAGE,
	    DO("local a, b, c = message.id, message.requiretls, session.id"), 0 },
	{ "verdict", HOOK_MESSAGE, DO("return gw.reject { text = 'no' }"), 0 },
	{ "coroutine round trip", HOOK_MESSAGE,
	    DO("local c = coroutine.wrap(function() coroutine.yield(1) end) c() c()"), 0 },
	{ "look-up in a set of 1000", HOOK_MESSAGE,
	    "local d = {} for i = 1, 1000 do d[i] = 'd' .. i .. '.example' end local set = gw.set(d)\n"
	    DO("local hit = set:has('clinic.example')"), 0 },
	{ "look-up in domains, 1000", HOOK_MESSAGE,
	    "local d = {} for i = 1, 1000 do d[i] = '.d' .. i .. '.example' end local set = gw.domains(d)\n"
	    DO("local hit = set:has('clinic.example')"), 0 },
	{ "table, 1000 rows, a row", HOOK_MESSAGE,
	    "local t = gw.table 'partners' " DO("local row = t:get('d500.example') local level = row.level"), 0 },
	{ "table, 1000 rows, none", HOOK_MESSAGE,
	    "local t = gw.table 'partners' " DO("local row = t:get('clinic.example')"), 0 },
};

static struct policy_subject subject;
static struct event_base *base;
static double fixture;

static int64_t
cpu_ns(void)	/* not wall time: others use this machine, too */
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static size_t
resident(void)
{
	unsigned long size = 0, pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f == NULL || fscanf(f, "%lu %lu", &size, &pages) != 2)
		pages = 0;
	if (f != NULL)
		fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void
fresh_message(void)
{
	for (size_t i = 0; i < subject.msg->ntags; i++)
		free(subject.msg->tags[i]);
	subject.msg->ntags = 0;
}

static double
measure(struct policy *p, struct policy_gen *g, const char *name, enum policy_hook hook, long rounds)
{
	int64_t best = INT64_MAX;
	struct verdict v;

	for (int k = 0; k < 5; k++) {
		int64_t t = cpu_ns();

		for (long i = 0; i < rounds; i++) {
			fresh_message();
			if (policy_call(p, g, hook, &subject, &v, NULL, NULL, NULL) != POLICY_NOW || v.is_error) {
				fprintf(stderr, "%s: failed\n", name);
				exit(1);
			}
			if (v.kind != VERDICT_NONE)
				verdict_fini(&v);
		}
		t = cpu_ns() - t;
		best = t < best ? t : best;
	}
	return (double)best / (double)rounds;
}

/* ---- Policies ---- */

static char dir[] = "bench-policy-XXXXXX", path[64], csv[64];
static struct conf_table partners = { .name = (char *)"partners", .csv = csv };
static struct conf conf = { .tables = &partners, .ntables = 1 };

static void
write_rows(void)
{
	FILE *f;

	snprintf(csv, sizeof csv, "%s/partners.csv", dir);
	f = fopen(csv, "w");
	if (f == NULL)
		exit(1);
	fputs("domain,level,note\n", f);
	for (int i = 0; i < 1000; i++)
		fprintf(f, "d%d.example,verify,by hand\n", i);
	fclose(f);
}

/* What a site would load, `text` or a copy of a file; ends the program when it cannot. */
static struct policy_bundle *
bundle(const char *text)
{
	static char *list[] = { path };
	struct policy_bundle *b;
	struct err err = { "" };
	FILE *f;

	snprintf(dir, sizeof dir, "bench-policy-XXXXXX");
	if (mkdtemp(dir) == NULL)
		exit(1);
	snprintf(path, sizeof path, "%s/policy.lua", dir);
	f = fopen(path, "w");
	if (f == NULL)
		exit(1);
	fputs(text, f);
	fclose(f);
	write_rows();
	conf.policy.nload = 1;
	conf.policy.load = list;
	conf.dir = dir;
	atomic_store(&conf.refs, 100);
	b = policy_bundle_read(&conf, NULL, &err);
	unlink(path);
	unlink(csv);
	rmdir(dir);
	if (b == NULL) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	return b;
}

static struct policy_gen *
generation(struct policy *p, struct policy_bundle *b)
{
	struct err err = { "" };
	struct policy_gen *g = policy_gen_new(p, b, &conf, &err);

	if (g == NULL) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
	return g;
}

static struct policy_gen *
load(struct policy *p, const char *text)
{
	struct policy_bundle *b = bundle(text);
	struct policy_gen *g = generation(p, b);

	policy_bundle_unref(b);
	return g;
}

/* ---- What is no single call ---- */

static unsigned done;

static void
on_done(void *owner, uint64_t ticket, struct verdict *v)
{
	(void)owner, (void)ticket, (void)v;
	done++;
}

/* A handler that waits, through the event loop and back. */
static void
wait_round_trip(struct policy *p, long rounds)
{
	struct policy_gen *g = load(p, DO("gw.sleep(0)"));
	int64_t best = INT64_MAX;
	struct verdict v;

	rounds = rounds > 20000 ? 20000 : rounds;
	for (int k = 0; k < 5; k++) {
		int64_t t = cpu_ns();

		for (long i = 0; i < rounds; i++) {
			done = 0;
			policy_call(p, g, HOOK_MESSAGE, &subject, &v, on_done, NULL, NULL);
			while (done == 0)
				event_base_loop(base, EVLOOP_ONCE);
		}
		t = cpu_ns() - t;
		best = t < best ? t : best;
	}
	printf("%-36s %9.1f ns\n", "wait and go on (event loop and all)", (double)best / (double)rounds - fixture);
	policy_gen_unref(g);
}

/* What ten thousand handlers hold that wait. */
static void
waiting_handlers(struct policy *p)
{
	enum { MANY = 4000 };	/* a worker's limit is 4096 */
	struct policy_gen *g = load(p, DO("local a, b, c = message.id, session.id, 1 gw.sleep(9) return a, b, c"));
	static uint64_t tickets[MANY];
	struct mallinfo2 before, after;
	size_t lua;
	struct verdict v;

	policy_call(p, g, HOOK_MESSAGE, &subject, &v, on_done, NULL, &tickets[0]);
	policy_cancel(p, tickets[0]);
	lua_gc(g->L, LUA_GCCOLLECT);
	before = mallinfo2();
	lua = g->mem_used;
	for (int i = 0; i < MANY; i++)
		if (policy_call(p, g, HOOK_MESSAGE, &subject, &v, on_done, NULL, &tickets[i]) != POLICY_LATER)
			exit(1);
	after = mallinfo2();
	printf("%-36s %9.0f octets (Lua %.0f)\n", "a handler that waits",
	    (double)(after.uordblks - before.uordblks) / MANY, (double)(g->mem_used - lua) / MANY);
	for (int i = 0; i < MANY; i++)
		policy_cancel(p, tickets[i]);
	policy_gen_unref(g);
}

/* The same loop in the same state, with the count hook and without. */
static void
count_hook(struct policy *p)
{
	static const char text[] = "local n = 0 for i = 1, 2000 do n = n + i % 7 end return n";
	struct policy_gen *g = load(p, "");
	double ns[2];

	for (int on = 0; on < 2; on++) {
		int64_t best = INT64_MAX;

		for (int k = 0; k < 200; k++) {
			int64_t t;

			luaL_loadstring(g->L, text);
			policy_slice_begin(g->load_run, g->L);
			if (!on)
				lua_sethook(g->L, NULL, 0, 0);
			t = cpu_ns();
			lua_call(g->L, 0, 0);
			t = cpu_ns() - t;
			policy_slice_end(g->load_run);
			lua_sethook(g->L, NULL, 0, 0);
			best = t < best ? t : best;
		}
		ns[on] = (double)best / 2000;
	}
	printf("%-36s %9.1f ns, without %.1f\n", "a turn of a loop, count hook", ns[1], ns[0]);
	policy_gen_unref(g);
}

/* The same calls with a ring for records and without. */
static void
traced(struct policy *p, long rounds)
{
	static const struct trace_conf on = { .ring = 1000 };
	static const char *const names[] = { "empty handler", "12 handlers that look", "rules, 1000, one holds" };

	for (size_t i = 0; i < NELEMS(benches); i++) {
		for (size_t k = 0; k < NELEMS(names); k++) {
			struct policy_gen *g;
			double off_ns, on_ns;

			if (strcmp(benches[i].name, names[k]) != 0)
				continue;
			g = load(p, benches[i].text);
			off_ns = measure(p, g, names[k], HOOK_MESSAGE, (rounds + 9) / 10) - fixture;
			policy_trace_use(p, &on, NULL, NULL);
			on_ns = measure(p, g, names[k], HOOK_MESSAGE, (rounds + 9) / 10) - fixture;
			policy_trace_use(p, &(struct trace_conf){ .ring = 0 }, NULL, NULL);
			printf("trace: %-29s %9.1f ns, without %.1f\n", names[k], on_ns, off_ns);
			policy_gen_unref(g);
		}
	}
}

/* A site's file: ten rules and handlers, and a list of a thousand domains. */
static void
reloads(struct policy *p, const char *file)
{
	struct buf text;
	struct policy_bundle *b;
	int64_t t = 0, worst = 0;
	size_t early = 0, late;
	char piece[4096];
	size_t n;
	FILE *f = fopen(file, "r");

	buf_init(&text, 1 << 20);
	while (f != NULL && (n = fread(piece, 1, sizeof piece, f)) > 0)
		buf_add(&text, piece, n);
	if (f != NULL)
		fclose(f);
	buf_adds(&text, "\ndo local d = {} for i = 1, 1000 do d[i] = '.d' .. i .. '.example' end\n"
	    "for i = 1, 1000 do gw.rule { name = 'many.r' .. i, at = 'message', when = gw.match.sender_domain(d[i]), "
	    "act = gw.action.tag 't' } end end\n");
	buf_addc(&text, '\0');
	b = bundle(buf_peek(&text));
	for (int i = 0; i < 101; i++) {
		int64_t from = cpu_ns(), spent;
		struct policy_gen *g = generation(p, b);

		spent = cpu_ns() - from;
		measure(p, g, "reload", HOOK_MESSAGE, 2);
		policy_gen_unref(g);
		if (i == 10)
			early = resident();
		t += spent;
		worst = spent > worst ? spent : worst;
	}
	late = resident();
	printf("%-36s %9.2f ms, the slowest of 100 %.2f\n", "a sample bundle is loaded", (double)t / 101e6,
	    (double)worst / 1e6);
	printf("%-36s %9.1f KiB more resident than after 10\n", "after 100 times", ((double)late - (double)early) / 1024);
	policy_bundle_unref(b);
	buf_fini(&text);
}

static bool
is_wanted(int argc, char **argv, const char *name)
{
	return argc <= 2 || strstr(name, argv[2]) != NULL;
}

int
main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 200000;
	const char *srcdir = getenv("srcdir");
	char file[4096];
	struct conf_listener listener = { .name = (char *)"relay", .role = ROLE_RELAY };
	struct smtp_session_info info = { .id = 1, .peer_ip = "192.0.2.7" };
	void *vars = NULL;
	struct policy_session session = { .info = &info, .listener = &listener, .vars = &vars };
	struct policy *p;
	struct policy_gen *g;
	struct msg_rcpt *r;

	base = event_base_new();
	p = policy_new(base, NULL, 0);
	subject = (struct policy_subject){ .session = &session, .msg = msg_new(), .may_edit = true, .rcpt = 0,
		.name = "client.example", .relay = "local", .rcpt_state = "new",
		.header = SLICE("Received: from a (b [192.0.2.1]) by c; Mon, 2 Mar 2026 10:00:00 +0000\r\n"
		    "From: ann@acme.example\r\nTo: bob@clinic.example\r\nSubject: [secure] results\r\n\r\n") };
	subject.msg->id = 1;
	subject.msg->from = xstrdup("ann@acme.example");
	subject.msg->from_domain = xstrdup("acme.example");
	r = msg_add_rcpt(subject.msg);
	r->address = xstrdup("bob@clinic.example");
	r->domain = xstrdup("clinic.example");
	g = load(p, "");
	fixture = measure(p, g, "fixture", HOOK_MESSAGE, rounds > 1000 ? rounds : 1000);
	printf("%-36s %9.1f ns, taken off below\n", "fixture: no handler", fixture);
	policy_gen_unref(g);
	for (size_t i = 0; i < NELEMS(benches) && rounds > 0; i++) {
		double ns, recorded;

		if (!is_wanted(argc, argv, benches[i].name))
			continue;
		g = load(p, benches[i].text);
		policy_trace_use(p, &(struct trace_conf){ .ring = 1000 }, NULL, NULL);
		recorded = measure(p, g, benches[i].name, benches[i].hook,
		    benches[i].of >= 100 ? (rounds + 9) / 10 : rounds) - fixture;
		policy_trace_use(p, &(struct trace_conf){ .ring = 0 }, NULL, NULL);
		ns = measure(p, g, benches[i].name, benches[i].hook,
		    benches[i].of >= 100 ? (rounds + 9) / 10 : rounds) - fixture;
		printf("%-36s %9.1f ns, with records %9.1f", benches[i].name, ns, recorded);
		if (benches[i].of > 0)
			printf(", each %.2f", ns / benches[i].of);
		printf("\n");
		policy_gen_unref(g);
	}
	if (is_wanted(argc, argv, "wait"))
		wait_round_trip(p, rounds);
	if (is_wanted(argc, argv, "handler that waits"))
		waiting_handlers(p);
	if (is_wanted(argc, argv, "count hook"))
		count_hook(p);
	if (is_wanted(argc, argv, "trace"))
		traced(p, rounds);
	snprintf(file, sizeof file, "%s/tests/bench/ten_rules.lua", srcdir == NULL ? ".." : srcdir);
	if (is_wanted(argc, argv, "reload"))
		reloads(p, file);
	msg_unref(subject.msg);
	policy_free(p);
	event_base_free(base);
	return 0;
}
