/* Configurations that are right: the one of the policy design, defaults, files, look-ups, dump. */
#include "unit.h"

#include <fcntl.h>
#include <jansson.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf_int.h"

/* The example of the policy design, section 6, without what later versions bring. */
static const char example[] =
    "local own = { \"acme.example\", \"*.acme.example\" }\n"
    "return gw.config {\n"
    "  version  = 1,\n"
    "  identity = { hostname = \"mx1.acme.example\", postmaster = \"postmaster@acme.example\" },\n"
    "  service  = { user = \"sallyport\", workers = \"cores\", state = \"state\", control = \"run/control.sock\",\n"
    "               http = \"127.0.0.1:8025\" },\n"
    "  dns      = { forward = { \"127.0.0.1\" },\n"
    "               anchor = \"root.key\", stub = { [\"corp.example\"] = { \"10.0.0.53@53\" } } },\n"
    "  networks = { office = { \"10.0.0.0/8\", \"fd00::/8\" } },\n"
    "  listeners = {\n"
    "    inbound = { bind = { \"0.0.0.0:25\", \"[::]:25\" }, role = \"mx\", tls = \"mx1\",\n"
    "                starttls = \"offer\", requiretls = \"announce\", max_size = \"50M\" },\n"
    "    relay   = { bind = { \"10.0.0.5:587\" }, role = \"relay\", tls = \"mx1\", clients = \"office\",\n"
    "                starttls = \"required\" },\n"
    "    back    = { bind = { \"unix:run/back.sock\" }, role = \"reinject\", peer = \"content-filter\" },\n"
    "  },\n"
    "  tls = {\n"
    "    identities  = { mx1 = { cert = \"tls/mx1.pem\", key = gw.secret \"file:secrets/mx1.key\" } },\n"
    "    min_version = \"1.2\", trust = \"system\", dane = \"auto\", sts = \"auto\",\n"
    "    tls_required_no = \"honour\",\n"
    "    tls_required_names = { \"TLS-Required\", \"Require-TLS\" },\n"
    "    sts_testing = \"accept\", ca_file = nil,\n"
    "  },\n"
    "  domains = {\n"
    "    { match = own, kind = \"local\",  route = \"exchange\" },\n"
    "    { match = \"*\", kind = \"remote\", route = \"internet\" },\n"
    "  },\n"
    "  routes = {\n"
    "    exchange = { via = { \"ex1.acme.example:25\", \"ex2.acme.example:25\" }, tls = \"verify\",\n"
    "                 assert_secure_lookup = true, assert_propagate = true },\n"
    "    portal   = { via = { \"192.0.2.8:465\" }, implicit_tls = true, tls = \"verify\",\n"
    "                 names = { \"portal.acme.example\" },\n"
    "                 assert_secure_lookup = true },\n"
    "    internet = { via = \"mx\", tls = \"may\" },\n"
    "  },\n"
    "  queue = { path = \"state/queue.db\", max_age = \"5d\", hold_unmet = \"0s\",\n"
    "            retry = { \"5m\", \"15m\", \"1h\", \"4h\" }, delay_notice = \"4h\" },\n"
    "  policy = {\n"
    "    load    = { \"policy.lua\", \"policies/hipaa.lua\", \"policies/geo.lua\" },\n"
    "    levels  = { [\"geo.block\"] = \"advisory\" },\n"
    "    limits  = { instructions = 1000000, wall = \"10s\", memory = \"64M\" },\n"
    "    network = { dns = true },\n"
    "    grants  = {\n"
    "      [\"legacy-fax\"] = { relaxes = \"requiretls\", to = \"verify\", domains = { \"fax.partner.example\" },\n"
    "                         owner = \"secops@acme.example\", expires = \"2027-06-30\", max_per_day = 200 },\n"
    "    },\n"
    "  },\n"
    "  dsn = { from = \"Mail Delivery <postmaster@acme.example>\", return_content = \"headers\",\n"
    "          languages = { \"en\", \"de\" }, templates = \"templates/dsn\" },\n"
    "  log = { journal = \"log/journal.jsonl\", audit = \"state/audit.db\" },\n"
    "}\n";

static struct conf *
load_in(const char *text, const char *dir, bool check_files)
{
	char *errors = NULL;
	struct conf *c = conf_load_text(text, strlen(text), "gateway.lua", dir, check_files, &errors);

	ck_assert_msg(c != NULL, "%s", errors);
	ck_assert_ptr_null(errors);
	return c;
}

static struct conf *
load(const char *text)
{
	return load_in(text, "/srv/gw", false);
}

#define SMALL "return gw.config { identity = { hostname = 'MX1.Acme.Example.' }, "

static void
example_listeners(const struct conf *c)
{
	const struct conf_listener *l = conf_listener(c, "inbound");

	ck_assert_uint_eq(c->nlisteners, 3);
	ck_assert_str_eq(c->listeners[0].name, "back");		/* sorted */
	ck_assert_uint_eq(l->nbind, 2);
	ck_assert_str_eq(l->bind[1], "[::]:25");
	ck_assert_int_eq(l->role, ROLE_MX);
	ck_assert_int_eq(l->starttls, STARTTLS_OFFER);
	ck_assert(l->requiretls && !l->client_certs && !l->has_clients && !l->implicit_tls);
	ck_assert_uint_eq(l->max_size, 50u << 20);
	ck_assert_uint_eq(l->max_rcpts, 1000);
	ck_assert_str_eq(l->identities[0], "mx1");
	l = conf_listener(c, "relay");
	ck_assert_int_eq(l->starttls, STARTTLS_REQUIRED);
	ck_assert(l->has_clients && l->nclients == 2 && l->clients[0].bits == 8);
	ck_assert_int_eq(l->clients[1].family, AF_INET6);
	l = conf_listener(c, "back");
	ck_assert_str_eq(l->bind[0], "unix:/srv/gw/run/back.sock");
	ck_assert_str_eq(l->peer, "content-filter");
	ck_assert_int_eq(l->starttls, STARTTLS_OFF);
	ck_assert_ptr_null(conf_listener(c, "other"));
}

static void
example_routes(const struct conf *c)
{
	const struct route *r = conf_route(c, "exchange");

	ck_assert_uint_eq(r->nhosts, 2);
	ck_assert_str_eq(r->hosts[1].host, "ex2.acme.example");
	ck_assert_uint_eq(r->hosts[1].port, 25);
	ck_assert_int_eq(r->tls, TLS_VERIFY);
	ck_assert(r->assert_secure_lookup && r->assert_propagate && !r->via_mx && r->ipv4 && r->ipv6);
	r = conf_route(c, "portal");
	ck_assert(r->implicit_tls && r->hosts[0].port == 465 && !r->assert_propagate);
	ck_assert_str_eq(r->names[0], "portal.acme.example");
	r = conf_route(c, "internet");
	ck_assert(r->via_mx && r->port == 25 && r->tls == TLS_MAY && r->nhosts == 0);
	ck_assert_ptr_null(conf_route(c, "nowhere"));
	ck_assert_ptr_null(conf_route(c, NULL));
}

START_TEST(policy_example)
{
	struct conf *c = load(example);
	const struct conf_grant *g = &c->policy.grants[0];

	ck_assert_msg(c->warnings != NULL && strncmp(c->warnings, "log.audit: ", 11) == 0 &&
	    strcspn(c->warnings, "\n") + 1 >= strlen(c->warnings), "%s", c->warnings);
	ck_assert_str_eq(c->identity.hostname, "mx1.acme.example");
	ck_assert_str_eq(c->service.state, "/srv/gw/state");
	ck_assert_uint_eq(net_addr_port(&c->service.http), 8025);
	ck_assert(c->service.workers >= 1 && c->service.workers <= 64);
	ck_assert_str_eq(c->dns.forward[0], "127.0.0.1");
	ck_assert_ptr_null(c->dns.forward[1]);
	ck_assert_str_eq(c->dns.stubs[0].zone, "corp.example");
	ck_assert_str_eq(c->dns.stubs[0].servers[0], "10.0.0.53@53");
	ck_assert(!c->dns.stubs[0].insecure);
	example_listeners(c);
	example_routes(c);
	ck_assert_str_eq(c->tls.identities[0].key.path, "/srv/gw/secrets/mx1.key");
	ck_assert_str_eq(c->tls.identities[0].key.ref, "file:/srv/gw/secrets/mx1.key");
	ck_assert(c->tls.dane && c->tls.sts && c->tls.honour_no && c->tls.sts_testing_counts);
	ck_assert_str_eq(c->tls.no_names[1], "Require-TLS");
	ck_assert_ptr_null(c->tls.no_names[2]);
	ck_assert_uint_eq(c->queue.nretry, 4);
	ck_assert_int_eq(c->queue.retry_ms[3], 4 * 3600 * 1000);
	ck_assert_int_eq(c->queue.max_age_ms, INT64_C(5) * 86400 * 1000);
	ck_assert_uint_eq(c->queue.min_free_percent, 10);
	ck_assert_str_eq(c->policy.load[2], "/srv/gw/policies/geo.lua");
	ck_assert_str_eq(c->policy.levels[0].handler, "geo.block");
	ck_assert_int_eq(c->policy.levels[0].level, 0);
	ck_assert(c->policy.dns && c->policy.memory == 64u << 20);
	ck_assert_str_eq(g->name, "legacy-fax");
	ck_assert_uint_eq(g->relaxes, DUTY_ALL);
	ck_assert_int_eq(g->to, TLS_VERIFY);
	ck_assert_int_eq(g->expires_ms, INT64_C(1814400000) * 1000 - 1);	/* 2027-07-01T00:00Z */
	ck_assert_str_eq(c->dsn.languages[1], "de");
	ck_assert_str_eq(c->log.audit, "/srv/gw/state/audit.db");
	conf_unref(c);
}
END_TEST

START_TEST(defaults)
{
	struct conf *c = load(SMALL "tls = { identities = { a = { cert = 'a', key = 'b' } } },"
	    "listeners = { i = { bind = '127.0.0.1:25', tls = 'a' }, s = { bind = '127.0.0.1:465', tls = { 'a' },"
	    "implicit_tls = true }, p = { bind = 'unix:/x' } },"
	    "routes = { o = { via = { 'A.example', '[2001:db8::1]', '192.0.2.1:26' }, implicit_tls = true,"
	    "pins = 'sha256:AB01234567890123456789012345678901234567890123456789012345678901' } } }");
	struct conf *again = conf_ref(c);
	const struct route *r = conf_route(c, "o");

	ck_assert_str_eq(c->identity.hostname, "mx1.acme.example");
	ck_assert_str_eq(c->identity.postmaster, "postmaster@mx1.acme.example");
	ck_assert_str_eq(c->dsn.from, "Mail Delivery <postmaster@mx1.acme.example>");
	ck_assert_str_eq(c->queue.path, "/srv/gw/state/queue.db");
	ck_assert_str_eq(c->dns.anchor, "/usr/share/dns/root.key");
	ck_assert_str_eq(c->dns.self_test_zone, ".");
	ck_assert_int_eq(conf_listener(c, "i")->starttls, STARTTLS_OFFER);
	ck_assert_int_eq(conf_listener(c, "s")->starttls, STARTTLS_OFF);
	ck_assert_int_eq(conf_listener(c, "p")->starttls, STARTTLS_OFF);
	ck_assert(!conf_listener(c, "i")->requiretls);
	ck_assert_str_eq(r->hosts[0].host, "a.example");
	ck_assert_uint_eq(r->hosts[0].port, 465);
	ck_assert_str_eq(r->hosts[1].host, "2001:db8::1");
	ck_assert_uint_eq(r->hosts[2].port, 26);
	ck_assert_str_eq(r->pins[0],
	    "sha256:ab01234567890123456789012345678901234567890123456789012345678901");
	ck_assert_uint_eq(c->limits.sessions, 10000);
	ck_assert_uint_eq(c->limits.received_hops, 100);
	ck_assert_int_eq(c->limits.command_ms, 300000);
	ck_assert(c->delivery.ipv4 && c->delivery.ipv6 && !c->delivery.allow_loopback);
	ck_assert_uint_eq(c->queue.concurrency, 20);
	ck_assert(!c->policy.dns && c->policy.instructions == 1000000);
	ck_assert_int_eq(c->log.level, LOG_LEVEL_INFO);
	ck_assert_ptr_null(c->log.file);
	ck_assert_int_eq(c->service.http.ss.ss_family, AF_UNSPEC);
	ck_assert_str_eq(c->warnings, "domains: there is none, so no mail is taken\n");
	conf_unref(c);
	ck_assert_str_eq(again->identity.hostname, "mx1.acme.example");
	conf_unref(again);
	conf_unref(NULL);
}
END_TEST

/* ---- Dump ---- */
START_TEST(dump_can_be_loaded_again)
{
	static const char *const texts[] = { example, SMALL "}",
		SMALL "dns = { anchor = 'none', stub = { z = { servers = '::1@53', insecure = true } } },"
		"tls = { dane = 'off', ca_file = 'ca.pem', tls_required_no = 'ignore' }, service = { workers = 3 },"
		"queue = { max_bytes = '3G', min_free = 0, retry = '90s' }, networks = { e = {} },"
		"listeners = { r = { bind = '127.0.0.1:1', role = 'relay', clients = { 'e', '::1' }, "
		"client_certs = 'ask' } }, routes = { x = { via = 'mx', domain = 'b\xc3\xbc" "cher.example', "
		"waivable = true, source = '192.0.2.1', ipv6 = false, port = 2525, tls = 'secure' } },"
		"sts_serve = { domains = { ['b\xc3\xbc" "cher.example'] = { mode = 'none', reports = {} }, "
		"['a.example'] = { mode = 'testing', max_age = '90h', mx = '*.a.example' } } } }" };
	const char *text = texts[_i];
	struct conf *c = load(text), *d;
	char *one = conf_dump(c), *two, *errors = NULL;
	json_error_t jerr;
	json_t *root = json_loads(one, 0, &jerr);

	ck_assert_msg(root != NULL, "%s", jerr.text);
	ck_assert_ptr_null(strstr(one, "BEGIN"));
	d = conf_load_json(root, "/elsewhere", false, &errors);
	ck_assert_msg(d != NULL, "%s", errors);
	two = conf_dump(d);
	ck_assert_str_eq(one, two);
	free(one);
	free(two);
	json_decref(root);
	conf_unref(c);
	conf_unref(d);
}
END_TEST

START_TEST(dump_says_what_is_set)
{
	struct conf *c = load(example);
	char *text = conf_dump(c);
	json_t *root = json_loads(text, 0, NULL), *queue, *listener, *key;

	queue = json_object_get(root, "queue");
	ck_assert_str_eq(json_string_value(json_object_get(queue, "max_age")), "5d");
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(queue, "retry"), 1)), "15m");
	ck_assert_str_eq(json_string_value(json_object_get(queue, "min_free")), "10%");
	listener = json_object_get(json_object_get(root, "listeners"), "relay");
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(listener, "clients"), 1)), "fd00::/8");
	ck_assert_str_eq(json_string_value(json_object_get(listener, "max_size")), "50M");
	ck_assert_str_eq(json_string_value(json_object_get(listener, "starttls")), "required");
	key = json_object_get(json_object_get(json_object_get(json_object_get(root, "tls"), "identities"),
	    "mx1"), "key");
	ck_assert_str_eq(json_string_value(json_object_get(key, "secret")), "file:/srv/gw/secrets/mx1.key");
	json_decref(root);
	free(text);
	conf_unref(c);
}
END_TEST

START_TEST(schema_is_complete)
{
	char *text = conf_schema_json();
	json_t *root = json_loads(text, 0, NULL), *s;
	size_t i;

	ck_assert_uint_eq(json_array_size(root), conf_schema_n);
	json_array_foreach(root, i, s) {
		const char *path = json_string_value(json_object_get(s, "path"));
		const char *sentence = json_string_value(json_object_get(s, "text"));

		ck_assert_msg(sentence != NULL && strlen(sentence) > 5, "%s has no text", path);
		ck_assert_msg(json_is_string(json_object_get(s, "type")), "%s", path);
		for (size_t k = 0; k < i; k++)
			ck_assert_msg(strcmp(path, conf_schema[k].path) != 0, "%s twice", path);
	}
	json_decref(root);
	free(text);
}
END_TEST

/* ---- Domains ---- */
static const struct domain_case {
	const char *name, *domain;
	int want;	/* place of the entry, -1 none */
} domains[] = {
	{ "exact", "acme.example", 1 },
	{ "upper case", "ACME.Example", 1 },
	{ "one below", "a.acme.example", 2 },
	{ "two below", "b.a.acme.example", 2 },
	{ "first wins over closer", "x.special.acme.example", 2 },
	{ "exact first", "vip.acme.example", 0 },
	{ "below exact", "x.vip.acme.example", 2 },
	{ "no partial label", "notacme.example", -1 },
	{ "parent", "example", -1 },
	{ "idn", "xn--bcher-kva.example", 4 },
	{ "second of a list", "two.example", 4 },
	{ "empty", "", -1 },
	{ "dot", ".", -1 },
	{ "leading dot", ".acme.example", -1 },
	{ "literal", "[192.0.2.1]", -1 },
};
static const char domain_conf[] = SMALL "routes = { r = { via = 'mx' } }, domains = {"
    "{ match = 'vip.acme.example', route = 'r' }, { match = 'Acme.Example', route = 'r' },"
    "{ match = '*.acme.example', route = 'r' }, { match = '*.special.acme.example', route = 'r' },"
    "{ match = { 'b\xc3\xbc" "cher.example', 'two.example' }, route = 'r', kind = 'local' } %s } }";

START_TEST(domain_match)
{
	const struct domain_case *t = &domains[_i];

	for (int any = 0; any <= 1; any++) {
		char *text = xasprintf(domain_conf, any ? ", { match = '*', route = 'r' }" : "");
		struct conf *c = load(text);
		const struct conf_domain *d = conf_domain(c, t->domain);
		int got = d == NULL ? -1 : (int)(d - c->domains), want = t->want;

		if (any && want == -1)
			want = 5;
		ck_assert_msg(got == want, "%s: %s: %d", t->name, t->domain, got);
		free(text);
		conf_unref(c);
	}
}
END_TEST

START_TEST(any_domain_first)
{
	struct conf *c = load(SMALL "routes = { r = { via = 'mx' } }, domains = {"
	    "{ match = '*', route = 'r' }, { match = 'a.example', route = 'r' },"
	    "{ match = 'a.example', route = 'r' } } }");

	ck_assert_ptr_eq(conf_domain(c, "a.example"), &c->domains[0]);
	ck_assert_str_eq(c->warnings, "listeners: there is none, so no mail comes in\n"
	    "domains[2]: is never reached, \"*\" stands before it\n"
	    "domains[3].match: \"a.example\" already stands in domains[2]\n");
	conf_unref(c);
}
END_TEST

START_TEST(ten_thousand_domains)
{
	struct conf *c = load(SMALL "routes = { r = { via = 'mx' } }, domains = (function() local d = {}"
	    "  for i = 1, 10000 do d[i] = { match = 'd' .. i .. '.example', route = 'r' } end"
	    "  return d end)() }");

	ck_assert_ptr_eq(conf_domain(c, "d1.example"), &c->domains[0]);
	ck_assert_ptr_eq(conf_domain(c, "d10000.example"), &c->domains[9999]);
	ck_assert_ptr_null(conf_domain(c, "d10001.example"));
	conf_unref(c);
}
END_TEST

START_TEST(invariants)
{
	struct conf *c = load(SMALL "listeners = { i = { bind = '[::1]:25' } },"
	    "routes = { r = { via = 'mx' }, low = { via = 'mx' } },"
	    "domains = { { match = 'low.bank.example', route = 'low' }, { match = '*', route = 'r' } },"
	    "invariants = { { domains = { '*.bank.example', 'bank.example' }, at_least = 'verify' },"
	    " { domains = 'x.bank.example', at_least = 'secure' }, { domains = 'a.x.bank.example', at_least = 'encrypt' } },"
	    "policy = { grants = { old = { relaxes = 'verify', to = 'may', domains = '*', owner = 'a@b.example',"
	    " expires = '2020-02-29' }, far = { relaxes = 'verify', to = 'may', domains = 'thebank.example',"
	    " owner = 'a@b.example', expires = '2999-01-01' } } } }");
	static const struct { const char *domain; size_t at; } t[] = {
		{ "bank.example", 0 }, { "BANK.example", 0 }, { "a.b.bank.example", 0 }, { "x.bank.example", 1 },
		/* the strictest, not the nearest */
		{ "a.x.bank.example", 0 }, { "thebank.example", 3 }, { "bank.example.org", 3 }, { "", 3 },
		{ ".bank.example", 3 },
	};

	for (size_t i = 0; i < NELEMS(t); i++)
		ck_assert_msg(conf_invariant(c, t[i].domain) == t[i].at, "%s: %zu", t[i].domain,
		    conf_invariant(c, t[i].domain));
	ck_assert_uint_eq(conf_invariant_duties(c, "x.bank.example"), duties_of_level(TLS_SECURE, DUTY_BY_ADMIN));
	ck_assert_uint_eq(conf_invariant_duties(c, "other.example"), 0);
	ck_assert_msg(strstr(c->warnings, "routes.low.tls: \"may\" is less than invariants[1] asks for") != NULL,
	    "%s", c->warnings);
	ck_assert_ptr_null(strstr(c->warnings, "routes.r."));
	conf_unref(c);
}
END_TEST

/* ---- Warnings, audit ---- */
START_TEST(expired_grant_is_kept)
{
	struct conf *c = load(SMALL "listeners = { i = { bind = '[::1]:25' } },"
	    "routes = { r = { via = '192.0.2.9', assert_propagate = true } },"
	    "tls = { dane = 'off' },"
	    "domains = { { match = '*', route = 'r' } }, policy = { grants = { old = { relaxes = 'verify',"
	    "to = 'may', routes = 'r', owner = 'a@b.example', expires = '2020-02-29' } } } }");
	char *audit = conf_audit(c, false), *json = conf_audit(c, true);
	json_t *root = json_loads(json, 0, NULL);

	ck_assert_uint_eq(c->policy.ngrants, 1);
	ck_assert_str_eq(c->warnings, "policy.grants.old: expired on 2020-02-29 and allows nothing\n");
	ck_assert_msg(strstr(audit, "policy.grants.old: from \"verify\" down to \"may\" over routes r; "
	    "owner a@b.example; EXPIRED on 2020-02-29\n") != NULL, "%s", audit);
	ck_assert_msg(strstr(audit, "routes.r.assert_propagate: 192.0.2.9:25: REQUIRETLS is not demanded, "
	    "as our own last hop\n") != NULL, "%s", audit);
	ck_assert_ptr_nonnull(strstr(audit, "tls.tls_required_names: Require-TLS is taken"));
	ck_assert_ptr_nonnull(strstr(audit, "tls.dane: TLSA records of mail hosts are not looked up"));
	ck_assert_uint_ge(json_array_size(root), 4);
	json_decref(root);
	free(json);
	free(audit);
	conf_unref(c);
}
END_TEST

/* ---- Files ---- */
static char dir[64];

static void
put_key_and_cert(const char *cert, const char *key, char **pem_out)
{
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	FILE *f;
	BIO *mem = BIO_new(BIO_s_mem());
	char *data;
	long n;

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_set_pubkey(x, pkey);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
	    (const unsigned char *)"mx1.acme.example", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	ck_assert_int_gt(X509_sign(x, pkey, EVP_sha256()), 0);
	if (cert != NULL) {
		f = fopen(cert, "w");
		PEM_write_X509(f, x);
		fclose(f);
	}
	PEM_write_bio_PrivateKey(mem, pkey, NULL, NULL, 0, NULL, NULL);
	n = BIO_get_mem_data(mem, &data);
	f = fopen(key, "w");
	fwrite(data, 1, (size_t)n, f);
	fclose(f);
	if (pem_out != NULL)
		*pem_out = xstrndup(data, (size_t)n);
	BIO_free(mem);
	X509_free(x);
	EVP_PKEY_free(pkey);
}

static void
put(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void
make_bundle(char **pem_out)
{
	static const char *const dirs[] = { "tls", "secrets", "policies", "templates", "templates/dsn" };
	char cert[256], key[256], path[256];

	snprintf(dir, sizeof dir, "test_conf.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	for (size_t i = 0; i < NELEMS(dirs); i++) {
		snprintf(path, sizeof path, "%s/%s", dir, dirs[i]);
		ck_assert_int_eq(mkdir(path, 0700), 0);
	}
	snprintf(cert, sizeof cert, "%s/tls/mx1.pem", dir);
	snprintf(key, sizeof key, "%s/secrets/mx1.key", dir);
	put_key_and_cert(cert, key, pem_out);
	chmod(key, 0600);
	snprintf(key, sizeof key, "%s/secrets/other.key", dir);
	put_key_and_cert(NULL, key, NULL);
	put("root.key", ". IN DS 20326 8 2 00\n");
	put("policy.lua", "\n");
	put("policies/hipaa.lua", "\n");
	put("policies/geo.lua", "\n");
	put("gateway.lua", example);
}

static void
remove_bundle(void)
{
	static const char *const names[] = { "tls/mx1.pem", "tls", "secrets/mx1.key", "secrets/other.key",
		"secrets", "policies/hipaa.lua", "policies/geo.lua", "policies", "templates/dsn", "templates",
		"root.key", "policy.lua", "gateway.lua", "" };
	char path[256];

	for (size_t i = 0; i < NELEMS(names); i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		remove(path);
	}
}

START_TEST(files_are_checked)
{
	char file[256], path[256], *errors = NULL, *pem = NULL, *text, *want;
	struct conf *c;

	make_bundle(&pem);
	snprintf(file, sizeof file, "%s/gateway.lua", dir);
	c = conf_load(file, true, &errors);
	ck_assert_msg(c != NULL, "%s", errors);
	ck_assert(c->file[0] == '/' && strcmp(strrchr(c->file, '/'), "/gateway.lua") == 0);
	text = xasprintf("%s/policies/geo.lua", c->dir);
	ck_assert_str_eq(c->policy.load[2], text);
	ck_assert_msg(c->warnings != NULL && strncmp(c->warnings, "log.audit: ", 11) == 0 &&
	    strcspn(c->warnings, "\n") + 1 >= strlen(c->warnings), "%s", c->warnings);
	want = xasprintf("policy.load[3]: %s cannot be read: No such file or directory\n", text);
	ck_assert_int_eq(remove(text), 0);
	conf_unref(c);
	ck_assert_ptr_null(conf_load(file, true, &errors));
	ck_assert_str_eq(errors, want);
	put("policies/geo.lua", "\n");
	snprintf(path, sizeof path, "%s/secrets/mx1.key", dir);
	ck_assert_int_eq(chmod(path, 0644), 0);
	c = conf_load(file, false, NULL);
	ck_assert_msg(strncmp(c->warnings, "log.audit: ", 11) == 0, "%s", c->warnings);
	conf_unref(c);
	c = conf_load(file, true, NULL);
	ck_assert_ptr_nonnull(strstr(c->warnings, "/secrets/mx1.key can be read by everybody\n"));
	conf_unref(c);
	free(errors);
	free(text);
	free(want);
	/* A key that is not the certificate's. */
	snprintf(path, sizeof path, "%s/secrets/mx1.key", dir);
	snprintf(file, sizeof file, "%s/secrets/other.key", dir);
	ck_assert_int_eq(rename(file, path), 0);
	put("policies/geo.lua", "\n");
	snprintf(file, sizeof file, "%s/gateway.lua", dir);
	ck_assert_ptr_null(conf_load(file, true, &errors));
	ck_assert_msg(strncmp(errors, "tls.identities.mx1: ", 20) == 0 && strstr(errors, "mx1.key") != NULL,
	    "%s", errors);
	free(errors);
	free(pem);
	remove_bundle();
}
END_TEST

#define ENV_CONF SMALL "dns = { anchor = 'none' }, tls = { identities = { mx1 = { cert = 'tls/mx1.pem', " \
    "key = gw.secret 'env:SALLYPORT_TEST_KEY' } } } }"

START_TEST(key_from_environment)
{
	char *errors = NULL, *pem = NULL, *dump, full[300];
	struct conf *c;

	make_bundle(&pem);
	ck_assert_ptr_nonnull(realpath(dir, full));
	unsetenv("SALLYPORT_TEST_KEY");
	c = load_in(ENV_CONF, full, false);
	ck_assert_ptr_null(c->tls.identities[0].key.path);
	conf_unref(c);
	ck_assert_ptr_null(conf_load_text(ENV_CONF, strlen(ENV_CONF), "gateway.lua", full, true, &errors));
	ck_assert_str_eq(errors,
	    "tls.identities.mx1.key: the environment variable SALLYPORT_TEST_KEY is not set\n");
	free(errors);
	setenv("SALLYPORT_TEST_KEY", "secrets/mx1.key", 1);
	c = load_in(ENV_CONF, full, true);
	ck_assert_ptr_nonnull(strstr(c->tls.identities[0].key.path, "/secrets/mx1.key"));
	conf_unref(c);
	setenv("SALLYPORT_TEST_KEY", pem, 1);
	c = load_in(ENV_CONF, full, true);	/* tls_identity_check reads it */
	dump = conf_dump(c);
	ck_assert_ptr_nonnull(strstr(dump, "env:SALLYPORT_TEST_KEY"));
	ck_assert_ptr_null(strstr(dump, "BEGIN"));
	free(dump);
	conf_unref(c);
	unsetenv("SALLYPORT_TEST_KEY");
	free(pem);
	remove_bundle();
}
END_TEST

UNIT_MAIN("conf",
	tcase_add_test(tc, policy_example);
	tcase_add_test(tc, defaults);
	tcase_add_loop_test(tc, dump_can_be_loaded_again, 0, 3);
	tcase_add_test(tc, dump_says_what_is_set);
	tcase_add_test(tc, schema_is_complete);
	tcase_add_loop_test(tc, domain_match, 0, NELEMS(domains));
	tcase_add_test(tc, any_domain_first);
	tcase_add_test(tc, ten_thousand_domains);
	tcase_add_test(tc, invariants);
	tcase_add_test(tc, expired_grant_is_kept);
	tcase_add_test(tc, files_are_checked);
	tcase_add_test(tc, key_from_environment);
)
