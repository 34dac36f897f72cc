/* The engine without the rest of the gateway: loading, chains, verdicts, limits, waiting. */
#include "unit.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/policy_int.h"

/* ---- A generation out of a text ---- */

static struct conf *conf;	/* static, so that leak checks see it held */
static struct event_base *base;
static struct policy *engine;
static struct policy_gen *gen;
static struct policy_bundle *bundle;
static char dir[64];
static char logged[65536];

static void
capture(void *arg, const char *line)
{
	size_t n = strlen(logged);

	snprintf(logged + n, sizeof logged - n, "%s\n", line);
}

static void
write_file(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

/* At exit of each test's process: nothing stays in the build folder. */
static void
remove_files(void)
{
	static const char *const files[] = {
		"policy.lua", "lua/cycle.lua", "lua/broken.lua", "lua/list.lua", "lua/class.lua", "lua", ""
	};
	char path[256];

	for (size_t i = 0; i < NELEMS(files); i++) {
		snprintf(path, sizeof path, "%s/%s", dir, files[i]);
		remove(path);
	}
}

static void
make_conf(void)
{
	struct route *rt = xcalloc(1, sizeof *rt);
	char path[128];

	snprintf(dir, sizeof dir, "policy-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	atexit(remove_files);
	snprintf(path, sizeof path, "%s/lua", dir);
	mkdir(path, 0700);
	conf = xcalloc(1, sizeof *conf);
	atomic_init(&conf->refs, 2);
	conf->dir = xstrdup(dir);
	conf->policy.load = xcalloc(2, sizeof(char *));
	conf->policy.load[0] = xasprintf("%s/policy.lua", dir);
	conf->policy.nload = 1;
	conf->policy.dns = true;
	conf->policy.levels = xcalloc(4, sizeof *conf->policy.levels);
	conf->policy.grants = xcalloc(1, sizeof *conf->policy.grants);
	conf->policy.grants[0].name = xstrdup("fax");
	conf->policy.ngrants = 1;
	rt->name = xstrdup("portal");
	rt->tls = TLS_VERIFY;
	rt->hosts = xcalloc(1, sizeof *rt->hosts);
	rt->hosts[0] = (struct route_host){ xstrdup("192.0.2.8"), 465 };
	rt->nhosts = 1;
	rt->assert_secure_lookup = true;
	conf->routes = xcalloc(1, sizeof *conf->routes);
	conf->routes[0] = rt;
	conf->nroutes = 1;
}

static bool
try_load(const char *text, struct err *err)
{
	if (conf == NULL)
		make_conf();
	if (engine == NULL) {
		base = event_base_new();
		engine = policy_new(base, NULL, 0);
	}
	logged[0] = '\0';
	log_capture(capture, NULL);
	write_file("policy.lua", text);
	bundle = policy_bundle_read(conf, NULL, err);
	ck_assert_msg(bundle != NULL, "%s", err->text);
	gen = policy_gen_new(engine, bundle, conf, err);
	return gen != NULL;
}

static void
load(const char *text)
{
	struct err err = { "" };

	ck_assert_msg(try_load(text, &err), "%s", err.text);
}

static void
clean(void)
{
	policy_gen_unref(gen);
	policy_bundle_unref(bundle);
	policy_free(engine);
	if (base != NULL)
		event_base_free(base);
	log_capture(NULL, NULL);
	gen = NULL;
	bundle = NULL;
	engine = NULL;
	base = NULL;
}

/* ---- Something to look at ---- */

static struct smtp_session_info info;
static struct policy_session session;
static struct policy_subject subject;
static struct msg *msg;

static struct policy_subject *
make_subject(enum policy_hook hook)
{
	static struct policy_hop hop;
	static struct policy_result result;
	static struct dsn_words words;
	static struct policy_bounce bounce;
	static void *vars;

	memset(&info, 0, sizeof info);
	info.id = 77;
	session = (struct policy_session){ .info = &info, .vars = &vars };
	if (msg == NULL) {
		msg = msg_new();
		msg->id = 4711;
		msg->from = xstrdup("ann@acme.example");
		msg->from_domain = xstrdup("acme.example");
		struct msg_rcpt *r = msg_add_rcpt(msg);
		r->address = xstrdup("bob@clinic.example");
		r->domain = xstrdup("clinic.example");
	}
	hop = (struct policy_hop){ .destination = "clinic.example", .host = "mx.clinic.example", .ip = "192.0.2.1",
		.route = conf->routes[0], .port = 25 };
	result = (struct policy_result){ .kind = "deferred", .code = 451, .status = "4.0.0", .text = "later",
		.stage = "mail" };
	bounce = (struct policy_bounce){ .kind = DSN_FAILED, .words = &words };
	subject = (struct policy_subject){
		.session = hook <= HOOK_DISCONNECT ? &session : NULL, .msg = msg, .may_edit = hook <= HOOK_DISCONNECT,
		.rcpt = 0, .relay = "local", .name = "client.example", .domain = "clinic.example",
		.route = conf->routes[0], .hop = hook >= HOOK_ATTEMPT && hook <= HOOK_UNMET ? &hop : NULL, .result = &result, .bounce = &bounce,
		.rcpt_state = "new", .event_json = "{}",
		.header = SLICE("Subject: [secure] results\r\nFrom: ann@acme.example\r\n\r\n"),
	};
	return &subject;
}

static struct verdict answer;
static unsigned answers;

static void
take_answer(void *owner, uint64_t ticket, struct verdict *v)
{
	verdict_fini(&answer);
	verdict_move(&answer, v);
	answers++;
}

static enum policy_when
call(enum policy_hook hook, uint64_t *ticket)
{
	verdict_fini(&answer);
	return policy_call(engine, gen, hook, make_subject(hook), &answer, take_answer, NULL, ticket);
}

static void
call_now(enum policy_hook hook)
{
	ck_assert_int_eq(call(hook, NULL), POLICY_NOW);
}

static void
ends(void)
{
	verdict_fini(&answer);
	msg_unref(msg);
	msg = NULL;
	clean();
}

/* ---- Loading ---- */

static const struct load_case {
	const char *name, *text, *error;
} load_errors[] = {
	{ "syntax", "gw.on(", "policy.lua:1:" },
	{ "unknown hook", "\ngw.on('mesage', function() end, { name = 'x' })",
	    "policy.lua:2: gw.on: there is no hook 'mesage'; did you mean 'message'?" },
	{ "no name", "gw.on('message', function() end, {})", "policy.lua:1: gw.on: name is missing" },
	{ "no options", "gw.on('message', function() end)", "policy.lua:1: gw.on takes" },
	{ "bad name", "gw.on('message', function() end, { name = 'A B' })", "a name is required" },
	{ "name twice", "gw.on('message', function() end, { name = 'x' })\n"
	    "gw.on('mail', function() end, { name = 'x' })", "policy.lua:2: gw.on: the name \"x\" is already "
	    "used at policy.lua:1" },
	{ "bad level", "gw.on('message', function() end, { name = 'x', level = 'mandatry' })",
	    "nearest: mandatory" },
	{ "unknown option", "gw.on('message', function() end, { name = 'x', prio = 1 })",
	    "gw.on has no field 'prio'" },
	{ "near option", "gw.on('message', function() end, { name = 'x', priorty = 1 })",
	    "did you mean 'priority'?" },
	{ "priority", "gw.on('message', function() end, { name = 'x', priority = 101 })",
	    "must be between -100 and 100" },
	{ "when is no matcher", "gw.on('message', function() end, { name = 'x', when = 5 })", "policy.lua:1:" },
	{ "unknown global", "\nprnt('x')", "policy.lua:2: unknown global 'prnt' (did you mean 'print'?)" },
	{ "unknown member", "gw.acept {}", "gw has no field 'acept' (did you mean 'accept'?)" },
	{ "io", "io.open('/etc/passwd')", "unknown global 'io'" },
	{ "load", "load('x = 1')()", "unknown global 'load'" },
	{ "rawset", "rawset({}, 1, 2)", "unknown global 'rawset'" },
	{ "coroutine", "coroutine.running()", "field 'running'" },
	{ "debug", "debug.sethook()", "unknown global 'debug'" },
	{ "dump", "string.dump(print)", "attempt to call a nil value (field 'dump')" },
	{ "gc", "setmetatable({}, { __gc = print })", "__gc is not available" },
	{ "close", "setmetatable({}, { __close = print })", "__close is not available" },
	{ "string metatable", "getmetatable('').__index = 1", "attempt to index a boolean value" },
	{ "percent p", "string.format('%p', {})", "%p is not available" },
	{ "rep", "string.rep('x', 1 << 30)", "larger than 1 MiB" },
	{ "rep separator", "string.rep('', 1 << 40, 'xx')", "larger than 1 MiB" },
	{ "bytecode", "\33Lua", "attempt to load a binary chunk" },
	{ "clock", "gw.now()", "gw.now: not while the policy is being loaded" },
	{ "random", "math.random(5)", "gw.random: not while" },
	{ "network", "gw.dns.mx('x.example')", "gw.dns.mx: not while" },
	{ "tables", "gw.table 'partners'", "gw.table: the configuration has no table 'partners'" },
	{ "http", "gw.http {}", "gw.http: not while the policy is being loaded; call it in a handler" },
	{ "no module", "require 'no.such'", "there is no module 'no.such'" },
	{ "module cycle", "require 'cycle'", "module 'cycle' requires itself" },
	{ "module error", "require 'broken'", "lua/broken.lua:2: broken on purpose" },
	{ "module frozen", "require('list').x = 1", "policy.lua:1: this table is read-only" },
	{ "module deep", "require('list').inner.x = 1", "this table is read-only" },
	{ "module insert", "table.insert(require('list'), 4)", "this table is read-only" },
	{ "module metatable", "setmetatable(require('list'), nil)", "cannot change a protected metatable" },
	{ "endless", "while true do end", "limit." },
	{ "endless pcall", "while true do pcall(function() while true do end end) end", "limit.instructions" },
	{ "memory", "local t = {} for i = 1, 1e9 do t[i] = { i } end", "limit.memory" },
	{ "error value", "error({})", "error value is a table" },
	{ "grant", "gw.relax { grant = 'fex', reason = 'x' }", "has no grant 'fex'" },
	{ "route", "gw.route { via = 'portl' }", "has no route 'portl'; nearest: portal" },
	{ "route below", "gw.route { via = 'portal', tls = 'may' }", "below the level of route 'portal'" },
	{ "route assert", "gw.route { via = 'mx', assert_secure_lookup = true }", "can only come from a route" },
	{ "route host", "gw.route { via = { 'a b' } }", "is neither a name nor an address" },
	{ "reply crlf", "gw.reject { text = '550 no\\r\\n250 yes' }", "text has a control character (octet 13)" },
	{ "reply nul", "gw.reject { text = 'a\\0b' }", "control character (octet 0)" },
	{ "reply class", "gw.reject { code = 451 }", "must be between 500 and 559" },
	{ "reply status", "gw.reject { status = '4.7.1' }", "is not of the form 5.x.y" },
	{ "reply status form", "gw.reject { status = '5.7' }", "is not of the form 5.x.y" },
	{ "discard reason", "gw.discard {}", "gw.discard: reason is missing" },
	{ "relay reason", "gw.accept { relay = true }", "gw.accept: reason is missing" },
	{ "verdict field", "gw.reject { txt = 'x' }", "gw.reject has no field 'txt' (did you mean 'text'?)" },
	{ "caps", "gw.caps { hide = { 'XYZ' } }", "is no extension" },
	{ "tls level", "gw.tls { level = 'verfy' }", "nearest: verify" },
};

static void
write_modules(void)
{
	if (conf == NULL)
		make_conf();
	write_file("lua/cycle.lua", "return require 'cycle'");
	write_file("lua/broken.lua", "\nerror('broken on purpose')");
	write_file("lua/list.lua", "return { 'a', 'b', 'c', inner = { 1 } }");
	write_file("lua/class.lua", "local C = {} C.__index = C\n"
	    "function C.new(v) return setmetatable({ v = v }, C) end\n"
	    "function C:get() return self.v end\n"
	    "C.kept = C.new(9)\n"
	    "return C\n");
}

START_TEST(load_error)
{
	const struct load_case *c = &load_errors[_i];
	struct err err = { "" };

	write_modules();
	ck_assert_msg(!try_load(c->text, &err), "%s: loaded", c->name);
	ck_assert_msg(strstr(err.text, c->error) != NULL, "%s: %s", c->name, err.text);
	clean();
}
END_TEST

START_TEST(frozen_tables_can_be_read)
{
	write_modules();
	load("local t, C = require 'list', require 'class'\n"
	    "cfg = { n = 5 }\n"
	    "assert(#t == 3 and t[2] == 'b' and t.inner[1] == 1 and rawlen(t) == 3)\n"
	    "assert(table.concat(t, ',') == 'a,b,c' and select('#', table.unpack(t)) == 3)\n"
	    "local n = 0 for k, v in pairs(t) do n = n + 1 end assert(n == 4)\n"
	    "for i, v in ipairs(t) do n = n + i end assert(n == 10)\n"
	    "assert(next(t) ~= nil and next(t.inner) == 1 and getmetatable(t) == false)\n"
	    "assert(C.new(3):get() == 3 and C.kept:get() == 9)\n"
	    "assert(tostring({}) == 'table' and string.format('%s', print) == 'function')\n"
	    "assert(gw.json.encode(t.inner) == '[1]')\n"
	    "gw.on('message', function() local s = C.new(4) assert(s:get() == 4 and cfg.n == 5)\n"
	    "  assert(('x'):rep(3) == 'xxx' and string.find('abc', 'b') == 2)\n"
	    "  return gw.accept { reason = 'fine' } end, { name = 'read' })\n");
	call_now(HOOK_MESSAGE);
	ck_assert_msg(answer.kind == VERDICT_ACCEPT, "%s", logged);
	ends();
}
END_TEST

/* ---- Chains ---- */

#define H(hook, name, body, opts) \
	"gw.on('" hook "', function(...) " body " end, { name = '" name "' " opts " })\n"
#define MESSAGE(name, body, opts) H("message", name, body, opts)

static const struct chain_case {
	const char *name, *text;
	enum verdict_kind kind;
	const char *handler, *log;	/* must be in the log; NULL: nothing may be there */
} chains[] = {
	{ "nothing", MESSAGE("a", "", ""), VERDICT_NONE, "", NULL },
	{ "first of two", MESSAGE("a", "return gw.reject {}", "") MESSAGE("b", "return gw.accept {}", ""),
	    VERDICT_REJECT, "a", NULL },
	{ "priority", MESSAGE("a", "return gw.reject {}", "") MESSAGE("b", "return gw.accept {}", ", priority = 5"),
	    VERDICT_ACCEPT, "b", NULL },
	{ "nil goes on", MESSAGE("a", "return nil", "") MESSAGE("b", "return gw.hold {}", ""),
	    VERDICT_HOLD, "b", NULL },
	{ "mandatory after accept", MESSAGE("m", "return gw.defer {}", ", level = 'mandatory'")
	    MESSAGE("a", "return gw.accept {}", ""), VERDICT_DEFER, "m", NULL },
	{ "mandatory milder", MESSAGE("m", "return gw.accept {}", ", level = 'mandatory'")
	    MESSAGE("a", "return gw.reject {}", ""), VERDICT_REJECT, "a", NULL },
	{ "worst of mandatory", MESSAGE("m", "return gw.hold {}", ", level = 'mandatory'")
	    MESSAGE("n", "return gw.reject {}", ", level = 'mandatory'")
	    MESSAGE("o", "return gw.defer {}", ", level = 'mandatory'"), VERDICT_REJECT, "n", NULL },
	{ "mandatory nil", MESSAGE("m", "", ", level = 'mandatory'") MESSAGE("a", "return gw.accept {}", ""),
	    VERDICT_ACCEPT, "a", NULL },
	{ "advisory", MESSAGE("x", "return gw.reject { reason = 'spam' }", ", level = 'advisory'")
	    MESSAGE("a", "return gw.accept {}", ""), VERDICT_ACCEPT, "a", "policy would have" },
	{ "advisory alone", MESSAGE("x", "return gw.reject {}", ", level = 'advisory'"), VERDICT_NONE, "",
	    "verdict=reject" },
	{ "advisory fails", MESSAGE("x", "error('x')", ", level = 'advisory'"), VERDICT_NONE, "", "policy failed" },
	{ "observer", MESSAGE("x", "", ", observe = true") MESSAGE("a", "return gw.accept {}", ""),
	    VERDICT_ACCEPT, "a", NULL },
	{ "observer returns", MESSAGE("x", "return gw.reject {}", ", observe = true"), VERDICT_NONE, "",
	    "only observes" },
	{ "observer fails", MESSAGE("x", "error('x')", ", observe = true") MESSAGE("a", "return gw.hold {}", ""),
	    VERDICT_HOLD, "a", "policy failed" },
	{ "failure ends", MESSAGE("x", "error('x')", "") MESSAGE("a", "return gw.accept {}", ""),
	    VERDICT_DEFER, "x", "policy failed" },
	{ "failure before mandatory", MESSAGE("x", "error('x')", "")
	    MESSAGE("m", "return gw.accept {}", ", level = 'mandatory'"), VERDICT_DEFER, "x", "policy failed" },
	{ "mandatory fails", MESSAGE("m", "error('x')", ", level = 'mandatory'")
	    MESSAGE("a", "return gw.accept {}", ""), VERDICT_DEFER, "m", "policy.lua:1: x" },
	{ "forgotten return", MESSAGE("a", "gw.reject {}", ""), VERDICT_NONE, "",
	    "policy made a verdict but did not return it handler=a hook=message where=policy.lua:1" },
	{ "string", MESSAGE("a", "return 'accept'", ""), VERDICT_DEFER, "a", "returned a string" },
	{ "true", MESSAGE("a", "return true", ""), VERDICT_DEFER, "a", "returned a boolean" },
	{ "false", MESSAGE("a", "return false", ""), VERDICT_DEFER, "a", "returned a boolean" },
	{ "table", MESSAGE("a", "return { kind = 'accept' }", ""), VERDICT_DEFER, "a", "returned a table" },
	{ "two values", MESSAGE("a", "return nil, 'err'", ""), VERDICT_DEFER, "a", "more than one value" },
	{ "constant verdict", "local R = gw.reject { text = 'no' }\n" MESSAGE("a", "return R", ""),
	    VERDICT_REJECT, "a", NULL },
	{ "relay is for rcpt", MESSAGE("a", "return gw.accept { relay = true, reason = 'x' }", ""),
	    VERDICT_DEFER, "a", "is for the hook 'rcpt'" },
	{ "gw.on late", MESSAGE("a", "gw.on('mail', function() end, { name = 'late' })", ""), VERDICT_DEFER, "a",
	    "only while the policy is being loaded" },
	{ "global write", MESSAGE("a", "leak = 1", ""), VERDICT_DEFER, "a", "read-only" },
	{ "library write", MESSAGE("a", "string.find = print", ""), VERDICT_DEFER, "a", "read-only" },
	{ "gw write", MESSAGE("a", "gw.reject = gw.accept", ""), VERDICT_DEFER, "a", "read-only" },
	{ "unknown global", MESSAGE("a", "return foo", ""), VERDICT_DEFER, "a", "unknown global 'foo'" },
	{ "verdict write", MESSAGE("a", "gw.reject {}.kind = 'accept'", ""), VERDICT_DEFER, "a",
	    "cannot be changed" },
	{ "when holds", "local m = gw.match\n"
	    MESSAGE("a", "return gw.hold {}", ", when = m.subject_word '[secure]'"), VERDICT_HOLD, "a", NULL },
	{ "when does not hold", "local m = gw.match\n"
	    MESSAGE("a", "return gw.hold {}", ", when = m.subject_word '[other]'"), VERDICT_NONE, "", NULL },
};

START_TEST(chain_semantics)
{
	const struct chain_case *c = &chains[_i];

	load(c->text);
	for (int round = 0; round < 2; round++) {	/* the second on a used coroutine */
		logged[0] = '\0';
		call_now(HOOK_MESSAGE);
		ck_assert_msg(answer.kind == c->kind, "%s: %s %s", c->name, verdict_kind_name(answer.kind), logged);
		ck_assert_msg(strcmp(answer.handler, c->handler) == 0, "%s: '%s'", c->name, answer.handler);
		if (c->log == NULL)
			ck_assert_msg(logged[0] == '\0', "%s: %s", c->name, logged);
		else
			ck_assert_msg(strstr(logged, c->log) != NULL, "%s: %s", c->name, logged);
	}
	ends();
}
END_TEST

START_TEST(level_override)
{
	make_conf();
	conf->policy.levels[0] = (struct conf_level){ xstrdup("a"), POLICY_ADVISORY };
	conf->policy.nlevels = 1;
	load(MESSAGE("a", "return gw.reject {}", ""));
	call_now(HOOK_MESSAGE);
	ck_assert_int_eq(answer.kind, VERDICT_NONE);
	ends();
}
END_TEST

START_TEST(level_override_of_nobody)
{
	struct err err = { "" };

	make_conf();
	conf->policy.levels[0] = (struct conf_level){ xstrdup("geo.blok"), POLICY_ADVISORY };
	conf->policy.nlevels = 1;
	ck_assert(!try_load(MESSAGE("geo.block", "", ""), &err));
	ck_assert_msg(strstr(err.text, "no handler is named \"geo.blok\"; nearest: geo.block") != NULL, "%s", err.text);
	clean();
}
END_TEST

START_TEST(verdict_fields)
{
	load(MESSAGE("a", "return gw.reject { code = 554, status = '5.7.9', text = 'no \\u{e4}', reason = 'r' }", "")
	    H("rcpt", "b", "return gw.accept { relay = true, reason = 'partner' }", "")
	    H("helo", "c", "return gw.caps { hide = { 'REQUIRETLS' } }", "")
	    H("helo", "c2", "return gw.caps { hide = { 'CHUNKING' } }", ", level = 'mandatory'")
	    H("route", "d", "return gw.route { via = { 'MX1.example:2525', '[2001:db8::1]:26', 'x.example' }, "
	        "tls = 'secure', expires = '1h' }", "")
	    H("unmet", "e", "return gw.reroute { via = 'portal', reason = 'r' }", "")
	    H("tls_policy", "f", "return gw.tls { level = 'encrypt', ttl = '1h', names = { 'A.example' } }", "")
	    H("tls_policy", "f2", "return gw.tls { level = 'may' }", ", level = 'mandatory'")
	    H("result", "g", "return gw.retry { after = 90 }", "")
	    H("attempt", "h", "return gw.skip_host {}", "")
	    H("bounce", "i", "return gw.suppress { reason = 'test' }", ""));
	call_now(HOOK_MESSAGE);
	ck_assert_int_eq(answer.code, 554);
	ck_assert_str_eq(answer.status, "5.7.9");
	ck_assert_str_eq(answer.text, "no \xC3\xA4");
	ck_assert_str_eq(answer.reason, "r");
	ck_assert_str_eq(answer.where, "policy.lua:1");
	call_now(HOOK_RCPT);
	ck_assert(answer.relay);
	call_now(HOOK_HELO);
	ck_assert_uint_eq(answer.hide_ext, SMTP_EXT_REQUIRETLS | SMTP_EXT_CHUNKING);
	call_now(HOOK_ROUTE);
	ck_assert_uint_eq(answer.route->nhosts, 3);
	ck_assert_str_eq(answer.route->hosts[0].host, "mx1.example");
	ck_assert_uint_eq(answer.route->hosts[0].port, 2525);
	ck_assert_str_eq(answer.route->hosts[1].host, "2001:db8::1");
	ck_assert_uint_eq(answer.route->hosts[1].port, 26);
	ck_assert_uint_eq(answer.route->hosts[2].port, 25);
	ck_assert(!answer.route->assert_secure_lookup && answer.route->tls == TLS_SECURE);
	call_now(HOOK_UNMET);
	ck_assert_int_eq(answer.kind, VERDICT_REROUTE);
	ck_assert(answer.route->assert_secure_lookup);
	ck_assert_str_eq(answer.route->name, "portal");
	call_now(HOOK_TLS_POLICY);	/* a mandatory floor does not lower the other */
	ck_assert_int_eq(answer.level, TLS_ENCRYPT);
	call_now(HOOK_RESULT);
	ck_assert_int_eq(answer.after_ms, 90000);
	call_now(HOOK_ATTEMPT);
	ck_assert_int_eq(answer.kind, VERDICT_SKIP_HOST);
	call_now(HOOK_BOUNCE);
	ck_assert_int_eq(answer.kind, VERDICT_SUPPRESS);
	ends();
}
END_TEST

/* A verdict made while loading expires that long after it was returned, not after the load. */
START_TEST(durations_count_from_the_return)
{
	clock_fake(1000, 1700000000000);
	load("local H, R = gw.hold { expires = '1h' }, gw.route { via = 'mx', expires = '1m' }\n"
	    MESSAGE("a", "return H", "") H("route", "b", "return R", ""));
	clock_fake(1000, 1800000000000);
	call_now(HOOK_MESSAGE);
	ck_assert_int_eq(answer.expires_ms, 1800003600000);
	call_now(HOOK_ROUTE);
	ck_assert_int_eq(answer.route->expires_ms, 1800000060000);
	clock_real();
	ends();
}
END_TEST

START_TEST(relax_never_wins)
{
	load(H("unmet", "a", "return gw.hold {}", "")
	    H("unmet", "b", "return gw.relax { grant = 'fax', reason = 'x' }", ", level = 'mandatory'"));
	call_now(HOOK_UNMET);
	ck_assert_int_eq(answer.kind, VERDICT_HOLD);
	clean();
	load(H("unmet", "a", "return gw.relax { grant = 'fax', reason = 'x' }", "")
	    H("unmet", "b", "return gw.bounce {}", ", level = 'mandatory'")
	    H("unmet", "c", "return gw.skip_host {}", ", level = 'mandatory'"));
	call_now(HOOK_UNMET);
	ck_assert_int_eq(answer.kind, VERDICT_BOUNCE);
	ends();
}
END_TEST

/* ---- The fixed outcomes (I5) ---- */

static const struct outcome_case {
	const char *hook;
	enum verdict_kind kind;
	int code;
} outcomes[] = {
	{ "connect", VERDICT_DROP, 421 }, { "helo", VERDICT_DEFER, 451 }, { "tls", VERDICT_DROP, 421 },
	{ "mail", VERDICT_DEFER, 451 }, { "rcpt", VERDICT_DEFER, 451 }, { "data", VERDICT_DEFER, 451 },
	{ "message", VERDICT_DEFER, 451 }, { "disconnect", VERDICT_NONE, 0 }, { "route", VERDICT_DEFER, 451 },
	{ "tls_policy", VERDICT_DEFER, 451 }, { "attempt", VERDICT_DEFER, 451 }, { "ehlo", VERDICT_DEFER, 451 },
	{ "unmet", VERDICT_NONE, 0 }, { "result", VERDICT_NONE, 0 }, { "bounce", VERDICT_NONE, 0 },
	{ "dsn", VERDICT_NONE, 0 }, { "log", VERDICT_NONE, 0 },
	{ "tlsrpt", VERDICT_DEFER, 451 }, { "header", VERDICT_DEFER, 451 }, { "bounce_in", VERDICT_DEFER, 451 },
	{ "auth", VERDICT_DEFER, 454 }, { "init", VERDICT_NONE, 0 }, { "fini", VERDICT_NONE, 0 },
};

START_TEST(failure_outcome)
{
	const struct outcome_case *c = &outcomes[_i];
	char text[256], want[64];
	struct policy_stats st;

	snprintf(text, sizeof text, "gw.on('%s', function()\n  local x = nil\n  return x.y\nend, { name = 'f' })\n",
	    c->hook);
	load(text);
	call_now(policy_hook_parse(slice_of(c->hook)));
	ck_assert_msg(answer.kind == c->kind && answer.code == c->code, "%s: %s", c->hook,
	    verdict_kind_name(answer.kind));
	ck_assert(answer.is_error);
	ck_assert_uint_eq(strlen(answer.ref), 4);
	snprintf(want, sizeof want, "Local policy error [%s]", answer.ref);
	ck_assert_str_eq(answer.text, want);
	if (c->code != 0)
		ck_assert_str_eq(answer.status, c->code == 454 ? "4.7.0" : "4.3.0");
	ck_assert_msg(strstr(logged, "policy.lua:3: attempt to index a nil value (local 'x')") != NULL, "%s", logged);
	ck_assert_ptr_nonnull(strstr(logged, answer.ref));
	ck_assert_ptr_nonnull(strstr(logged, "handler=f"));
	policy_stats(engine, &st);
	ck_assert_uint_eq(st.errors, 1);
	ends();
}
END_TEST

/* Each verdict at each hook: taken when the table says so, else the fixed outcome. */
START_TEST(illegal_verdicts)
{
	static const struct {
		const char *made;
		enum verdict_kind kind;
	} all[] = {
		{ "gw.accept {}", VERDICT_ACCEPT }, { "gw.reject {}", VERDICT_REJECT }, { "gw.defer {}", VERDICT_DEFER },
		{ "gw.drop {}", VERDICT_DROP }, { "gw.discard { reason = 'x' }", VERDICT_DISCARD },
		{ "gw.hold {}", VERDICT_HOLD }, { "gw.bounce {}", VERDICT_BOUNCE },
		{ "gw.route { via = 'mx' }", VERDICT_ROUTE }, { "gw.reroute { via = 'mx' }", VERDICT_REROUTE },
		{ "gw.tls { level = 'may' }", VERDICT_TLS }, { "gw.retry {}", VERDICT_RETRY },
		{ "gw.fail {}", VERDICT_FAIL }, { "gw.skip_host {}", VERDICT_SKIP_HOST },
		{ "gw.relax { grant = 'fax', reason = 'x' }", VERDICT_RELAX },
		{ "gw.suppress { reason = 'x' }", VERDICT_SUPPRESS }, { "gw.caps { hide = {} }", VERDICT_CAPS },
		{ "gw.report { to = { 'mailto:a@b.example' } }", VERDICT_REPORT },
		{ "gw.identity { id = 'x' }", VERDICT_IDENTITY },
	};
	const struct outcome_case *c = &outcomes[_i];
	enum policy_hook hook = policy_hook_parse(slice_of(c->hook));

	for (size_t i = 0; i < NELEMS(all); i++) {
		char text[256];

		snprintf(text, sizeof text, "gw.on('%s', function() return %s end, { name = 'f' })", c->hook,
		    all[i].made);
		load(text);
		call_now(hook);
		if (policy_verdict_is_legal(hook, all[i].kind)) {
			ck_assert_msg(answer.kind == all[i].kind && !answer.is_error, "%s %s: %s", c->hook,
			    all[i].made, logged);
		} else {
			ck_assert_msg(answer.kind == c->kind && answer.is_error, "%s %s", c->hook, all[i].made);
			ck_assert_msg(strstr(logged, "is not a verdict for the hook") != NULL, "%s", logged);
		}
		clean();
	}
	/* Two that must never be legal anywhere else (I3, policy design section 2). */
	ck_assert_int_eq(policy_verdict_is_legal(hook, VERDICT_RELAX), hook == HOOK_UNMET);
	ck_assert_int_eq(policy_verdict_is_legal(hook, VERDICT_ACCEPT), hook == HOOK_RCPT || hook == HOOK_MESSAGE ||
	    hook == HOOK_BOUNCE_IN);
}
END_TEST

/* ---- Limits ---- */

#ifdef __SANITIZE_ADDRESS__	/* its memory is so slow that the CPU time may be over first */
#define BY_MEMORY "limit."
#else
#define BY_MEMORY "limit.memory"
#endif
static const struct limit_case {
	const char *name, *body, *log;
} limits[] = {
	{ "loop", "while true do end", "limit." },
	{ "pcall cannot catch", "while true do pcall(function() while true do end end) end", "limit." },
	{ "pcall swallows", "pcall(function() while true do end end) return gw.accept {}", "limit." },
	{ "xpcall handler", "xpcall(function() while true do end end, function() while true do end end) "
	    "return gw.accept {}", "limit." },
	{ "many pcalls", "for i = 1, 50 do pcall(function() while true do end end) end", "limit." },
	{ "recursion", "local function f() return 1 + f() end f()", "" },
	{ "recursion caught", "local function f() return pcall(f) end f() while true do end", "limit." },
	{ "memory", "local t = {} for i = 1, 1e9 do t[i] = { i, i } end", "limit." },
	{ "memory caught", "local t = {} while true do pcall(function() for i = 1, 1e9 do t[#t + 1] = "
	    "{ i } end end) end", "limit." },
	{ "string doubling", "local s = 'x' while true do s = s .. s end", BY_MEMORY },
	{ "string doubling caught", "local s = 'x' while true do pcall(function() s = s .. s end) end", "limit." },
	{ "rep bomb", "local t = {} for i = 1, 1e6 do t[i] = string.rep('x', 1000000) .. i end", "limit." },
	{ "concat bomb", "local s = string.rep('x', 100000) local t = {} for i = 1, 1e5 do t[i] = s end "
	    "return #table.concat(t)", "limit." },
	{ "pattern bomb", "string.find(string.rep('a', 30), string.rep('a?', 30) .. string.rep('a', 31))",
	    "limit.steps" },
	{ "pattern bomb caught", "while true do pcall(string.find, string.rep('a', 30), "
	    "string.rep('a?', 30) .. string.rep('a', 31)) end", "limit.steps" },
	{ "gsub bomb", "string.gsub(string.rep('a', 100000), '.-b', 'x')", "limit." },
	{ "gmatch bomb", "for _ in string.gmatch(string.rep('a', 100000), '.-b') do end", "limit." },
	{ "move bomb", "table.move({}, 1, 1 << 40, 1)", "limit." },
	{ "insert bomb", "table.insert(setmetatable({}, { __len = function() return 1 << 40 end }), 1, 'x')",
	    "limit." },
	{ "remove bomb", "table.remove(setmetatable({}, { __len = function() return 1 << 40 end }), 1)", "limit." },
	{ "concat length", "table.concat(setmetatable({}, { __len = function() return 1 << 40 end }))", "limit." },
	{ "sort bomb", "local s, t = string.rep('x', 1000000), {} for i = 1, 1e5 do t[i] = s end table.sort(t)",
	    "limit." },
	{ "rep empty", "local s = string.rep('', 1 << 60) while true do end", "limit." },
	{ "metamethod loop", "local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) "
	    "return t[1]", "" },
	{ "unpack", "return select('#', table.unpack({}, 1, 1e7))", "too many results" },
};

START_TEST(limit)
{
	const struct limit_case *c = &limits[_i];
	char *text = xasprintf("gw.on('message', function() %s end, { name = 'x' })\n"
	    "gw.on('mail', function() return gw.reject {} end, { name = 'after' })\n", c->body);
	int64_t t;

	load(text);
	for (int round = 0; round < 2; round++) {
		logged[0] = '\0';
		t = clock_mono_ms();
		call_now(HOOK_MESSAGE);
		t = clock_mono_ms() - t;
		ck_assert_msg(answer.kind == VERDICT_DEFER && answer.is_error, "%s: %s", c->name, logged);
		ck_assert_msg(strstr(logged, c->log) != NULL, "%s: %s", c->name, logged);
		ck_assert_msg(t < 3000, "%s: %lld ms", c->name, (long long)t);
		/* The generation is none the worse for it. */
		call_now(HOOK_MAIL);
		ck_assert_int_eq(answer.kind, VERDICT_REJECT);
	}
	free(text);
	ends();
}
END_TEST

/* With instructions to spare it is CPU time that ends a handler. */
START_TEST(cpu_limit)
{
	load(MESSAGE("a", "while true do pcall(string.rep, 'x', 1000) end", ""));
	gen->instructions_max = UINT64_MAX / 1000;
	call_now(HOOK_MESSAGE);
	ck_assert(answer.is_error);
	ck_assert_msg(strstr(logged, "limit.cpu") != NULL, "%s", logged);
	ends();
}
END_TEST

/* Handles end with their call (P3): one that was kept is refused in the next. */
START_TEST(stale_handle)
{
	load("local kept = {}\n"
	    "gw.on('message', function(session, message)\n"
	    "  if kept[1] then return gw.reject { text = kept[1].id } end\n"
	    "  kept[1] = message\n"
	    "  assert(message.id)\n"
	    "end, { name = 'x' })\n"
	    "gw.on('mail', function() return gw.reject { text = tostring(kept[1].size) } end, { name = 'y' })\n");
	call_now(HOOK_MESSAGE);
	ck_assert_msg(answer.kind == VERDICT_NONE && !answer.is_error, "%s", logged);
	call_now(HOOK_MESSAGE);
	ck_assert(answer.is_error);
	ck_assert_msg(strstr(logged, "stale handle") != NULL, "%s", logged);
	call_now(HOOK_MAIL);
	ck_assert(answer.is_error);
	ends();
}
END_TEST

START_TEST(advisory_and_observing_change_nothing)
{
	load("gw.on('message', function(s, m) m:require_tls { level = 'requiretls', reason = 'x' } m:tag 'x' end,\n"
	    "  { name = 'adv', level = 'advisory' })\n"
	    "gw.on('mail', function(s, m) m:require_tls { level = 'verify', reason = 'x' } end,\n"
	    "  { name = 'obs', observe = true })\n"
	    "gw.on('rcpt', function(s, m) m:require_tls { level = 'verify', reason = 'x' } end, { name = 'do' })\n");
	call_now(HOOK_MESSAGE);
	ck_assert(!answer.is_error);
	ck_assert_uint_eq(msg->duties, 0);
	ck_assert_uint_eq(msg->ntags, 0);
	ck_assert_msg(strstr(logged, "policy would have") != NULL, "%s", logged);
	call_now(HOOK_MAIL);
	ck_assert_uint_eq(msg->duties, 0);
	ck_assert_msg(strstr(logged, "only observes") != NULL, "%s", logged);
	call_now(HOOK_RCPT);
	ck_assert_uint_eq(msg->duties, duties_of_level(TLS_VERIFY, DUTY_BY_ADMIN));
	ck_assert_str_eq(msg->duty_note, "do policy.lua:5");
	ends();
}
END_TEST

START_TEST(small_functions)
{
	clock_fake(1000, 1700000000123);
	load("gw.on('message', function()\n"
	    "  assert(gw.now() == 1700000000.123)\n"
	    "  local a, b = gw.random(100), gw.random(100)\n"
	    "  assert(a >= 1 and a <= 100 and math.random() < 1)\n"
	    "  local t = { b = 1, a = 2, [3] = 'x', c = 3 }\n"
	    "  local keys = {}\n"
	    "  for k in gw.sorted_pairs(t) do keys[#keys + 1] = tostring(k) end\n"
	    "  assert(table.concat(keys, ',') == '3,a,b,c', table.concat(keys, ','))\n"
	    "  local j = gw.json.encode { z = 1, a = { 1, 2.5, true }, s = 'q\"\\n' }\n"
	    "  assert(j == '{\"a\":[1,2.5,true],\"s\":\"q\\\\\"\\\\u000a\",\"z\":1}', j)\n"
	    "  local d = gw.json.decode(j)\n"
	    "  assert(d.z == 1 and d.a[2] == 2.5 and d.s == 'q\"\\n')\n"
	    "  local v, err = gw.json.decode('{')\n"
	    "  assert(v == nil and err:find('JSON'))\n"
	    "  local loop = {} loop.x = loop\n"
	    "  assert(not pcall(gw.json.encode, loop))\n"
	    "  assert(os.date('!%Y-%m-%d', 0) == '1970-01-01' and not pcall(os.date, '%Y'))\n"
	    "  assert(not pcall(os.time))\n"
	    "  local s = table.pack(xpcall(error, function(e) return 'h:' .. e end, 'boom'))\n"
	    "  assert(s[1] == false and s[2] == 'h:boom')\n"
	    "  assert(select(2, xpcall(function(a, b) return a + b end, print, 2, 3)) == 5)\n"
	    "  assert(select('#', pcall(function() return 1, 2, 3 end)) == 4)\n"
	    "  local u = { 5, 3, 9 } table.sort(u, function(x, y) return x > y end)\n"
	    "  assert(table.concat(u, ',') == '9,5,3')\n"
	    "  table.insert(u, 1, 0) table.insert(u, 7) assert(table.remove(u, 2) == 9)\n"
	    "  assert(table.concat(u, ',') == '0,5,3,7' and table.concat(table.move(u, 1, 3, 2), ',') == '0,0,5,3')\n"
	    "  assert(not pcall(gw.dns.mx, 'x.example'))\n"
	    "  gw.log.info('hello', { n = 1 })\n"
	    "  print('x', 1)\n"
	    "  return gw.accept { reason = a .. ' ' .. b }\n"
	    "end, { name = 'x' })\n");
	call_now(HOOK_MESSAGE);
	ck_assert_msg(answer.kind == VERDICT_ACCEPT, "%s", logged);
	ck_assert_msg(strstr(logged, "hello {") != NULL, "%s", logged);
	{
		char first[64];

		snprintf(first, sizeof first, "%s", answer.reason);
		call_now(HOOK_MESSAGE);		/* replayable: the same message gives the same numbers */
		ck_assert_str_eq(answer.reason, first);
	}
	clock_real();
	ends();
}
END_TEST

START_TEST(log_lines_are_capped)
{
	unsigned n = 0;

	load("gw.on('message', function() for i = 1, 1000 do gw.log.info('line') end end, { name = 'x' })");
	call_now(HOOK_MESSAGE);
	for (const char *p = logged; (p = strstr(p, "policy says")) != NULL; p++)
		n++;
	ck_assert_msg(n == 100, "%u: %s", n, logged);
	ck_assert_ptr_nonnull(strstr(logged, "policy logs too much"));
	ends();
}
END_TEST

/* ---- Waiting ---- */

/* A name server on loopback: answers MX for names that begin with 'a', NXDOMAIN for those with
 * 'n', and is silent on everything else. */
struct server {
	int fd;
	uint16_t port;
	pthread_t thread;
};

static void *
serve(void *arg)
{
	static const uint8_t rr[] = { 0xC0, 12, 0, 15, 0, 1, 0, 0, 0, 60, 0, 9, 0, 10, 2, 'm', 'x', 2, 'e', 'x', 0 };
	struct server *s = arg;
	uint8_t q[600];

	for (;;) {
		struct sockaddr_in from;
		socklen_t len = sizeof from;
		ssize_t n = recvfrom(s->fd, q, 512, 0, (struct sockaddr *)&from, &len);
		size_t end = 12;

		if (n < 17)
			return NULL;	/* one octet: the end of the test */
		while (end < (size_t)n && q[end] != 0)
			end += q[end] + 1u;
		end += 5;
		if (end > (size_t)n || (q[13] != 'a' && q[13] != 'n'))
			continue;
		q[2] = 0x85;
		q[3] = q[13] == 'n' ? 0x83 : 0x80;
		memset(q + 6, 0, 6);
		if (q[13] == 'a' && q[end - 3] == 15) {
			q[7] = 1;
			memcpy(q + end, rr, sizeof rr);
			end += sizeof rr;
		}
		sendto(s->fd, q, end, 0, (struct sockaddr *)&from, len);
	}
}

static void
server_start(struct server *s)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;

	s->fd = socket(AF_INET, SOCK_DGRAM, 0);
	ck_assert_int_eq(bind(s->fd, (struct sockaddr *)&a, sizeof a), 0);
	getsockname(s->fd, (struct sockaddr *)&a, &len);
	s->port = ntohs(a.sin_port);
	pthread_create(&s->thread, NULL, serve, s);
}

static void
server_stop(struct server *s)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(s->port) };

	sendto(s->fd, "x", 1, 0, (struct sockaddr *)&a, sizeof a);
	pthread_join(s->thread, NULL);
	close(s->fd);
}

static struct dns *
start_dns(struct server *s)
{
	static char forward[32];
	const char *list[] = { forward, NULL };
	struct dns_conf dc = { .forward = list, .timeout_ms = 5000, .allow_loopback_servers = true };
	struct err err = { "" };
	struct dns *d;

	if (conf == NULL)
		make_conf();
	server_start(s);
	snprintf(forward, sizeof forward, "127.0.0.1@%u", s->port);
	base = event_base_new();
	d = dns_new(base, &dc, &err);
	ck_assert_msg(d != NULL, "%s", err.text);
	engine = policy_new(base, d, 0);
	return d;
}

static void
stop_dns(struct dns *d, struct server *s)
{
	policy_gen_unref(gen);
	policy_bundle_unref(bundle);
	policy_free(engine);
	dns_free(d);
	event_base_free(base);
	base = NULL;
	engine = NULL;
	gen = NULL;
	verdict_fini(&answer);
	msg_unref(msg);
	msg = NULL;
	server_stop(s);
}

static void
wait_for_answers(unsigned n)
{
	for (int i = 0; i < 10000 && answers < n; i++)
		event_base_loop(base, EVLOOP_ONCE);
	ck_assert_uint_eq(answers, n);
}

START_TEST(waits_for_dns)
{
	struct server s;
	struct dns *d = start_dns(&s);
	struct policy_stats st;

	load("gw.on('message', function(session, message)\n"
	    "  local mx = assert(gw.dns.mx('a.example'))\n"
	    "  assert(mx.secure == false and mx[1].preference == 10 and mx[1].host == 'mx.ex', mx[1].host)\n"
	    "  local ok, none, err = pcall(gw.dns.mx, 'n.example')\n"
	    "  assert(ok and none == nil and err.kind == 'nxdomain' and not err.temporary, tostring(err))\n"
	    "  local bad, err2 = gw.dns.a('not a name')\n"
	    "  assert(bad == nil and err2.kind == 'bad_name')\n"
	    "  assert(message.id)\n"	/* the handle is still good after waiting */
	    "  local ok3, why = pcall(string.gsub, 'x', 'x', function() gw.dns.a('a.example') end)\n"
	    "  assert(not ok3 and why:find('cannot wait inside'), why)\n"
	    "  return gw.hold { reason = 'waited' }\n"
	    "end, { name = 'x' })\n"
	    "gw.on('message', function() return gw.reject {} end, { name = 'm', level = 'mandatory' })\n"
	    "gw.on('mail', function() return gw.reject {} end, { name = 'y' })\n");
	answers = 0;
	ck_assert_int_eq(call(HOOK_MESSAGE, NULL), POLICY_LATER);
	policy_stats(engine, &st);
	ck_assert_uint_eq(st.waiting, 1);
	{	/* others go on meanwhile, on coroutines of their own */
		struct verdict v;

		ck_assert_int_eq(policy_call(engine, gen, HOOK_MAIL, make_subject(HOOK_MAIL), &v, take_answer, NULL,
		    NULL), POLICY_NOW);
		ck_assert_int_eq(v.kind, VERDICT_REJECT);
		verdict_fini(&v);
	}
	wait_for_answers(1);
	ck_assert_msg(answer.kind == VERDICT_REJECT, "%s", logged);
	ck_assert_str_eq(answer.handler, "m");
	policy_stats(engine, &st);
	ck_assert_uint_eq(st.waiting, 0);
	stop_dns(d, &s);
}
END_TEST

START_TEST(cancel_while_waiting)
{
	struct server s;
	struct dns *d = start_dns(&s);
	uint64_t ticket = 0;
	struct policy_stats st;

	load("gw.on('message', function() pcall(gw.dns.mx, 'silent.example') while true do end end, { name = 'x' })");
	answers = 0;
	ck_assert_int_eq(call(HOOK_MESSAGE, &ticket), POLICY_LATER);
	event_base_loop(base, EVLOOP_NONBLOCK);
	policy_cancel(engine, ticket);
	policy_cancel(engine, ticket);
	policy_cancel(engine, 12345);
	event_base_loop(base, EVLOOP_NONBLOCK);
	ck_assert_uint_eq(answers, 0);
	policy_stats(engine, &st);
	ck_assert_uint_eq(st.waiting, 0);
	ck_assert_uint_eq(st.stale_tickets, 2);
	/* And once more with the engine going away instead. */
	ck_assert_int_eq(call(HOOK_MESSAGE, &ticket), POLICY_LATER);
	stop_dns(d, &s);
	ck_assert_uint_eq(answers, 0);
}
END_TEST

START_TEST(wall_limit)
{
	struct server s;
	struct dns *d = start_dns(&s);

	load("gw.on('message', function()\n"
	    "  while true do pcall(gw.dns.mx, 'silent.example') end end, { name = 'x', wall = '50ms' })\n"
	    "gw.on('mail', function() local a, e = gw.dns.mx('silent.example', { timeout = '20ms' })\n"
	    "  assert(a == nil and e.kind == 'timeout' and e.temporary) gw.sleep(0.01)\n"
	    "  return gw.reject {} end, { name = 'y' })\n"
	    "gw.on('rcpt', function() gw.sleep(5) end, { name = 'z', wall = '20ms', observe = true })\n");
	answers = 0;
	ck_assert_int_eq(call(HOOK_MESSAGE, NULL), POLICY_LATER);
	wait_for_answers(1);
	ck_assert(answer.is_error && answer.kind == VERDICT_DEFER);
	ck_assert_msg(strstr(logged, "limit.wall") != NULL, "%s", logged);
	ck_assert_int_eq(call(HOOK_MAIL, NULL), POLICY_LATER);
	wait_for_answers(2);
	ck_assert_msg(answer.kind == VERDICT_REJECT, "%s", logged);
	ck_assert_int_eq(call(HOOK_RCPT, NULL), POLICY_LATER);
	wait_for_answers(3);
	ck_assert(answer.kind == VERDICT_NONE && !answer.is_error);
	stop_dns(d, &s);
}
END_TEST

START_TEST(generation_outlives_its_callers_reference)
{
	struct server s;
	struct dns *d = start_dns(&s);

	load("gw.on('message', function() gw.sleep(0.01) return gw.hold {} end, { name = 'x' })");
	answers = 0;
	ck_assert_int_eq(call(HOOK_MESSAGE, NULL), POLICY_LATER);
	policy_gen_unref(gen);
	gen = NULL;
	wait_for_answers(1);
	ck_assert_int_eq(answer.kind, VERDICT_HOLD);
	stop_dns(d, &s);
}
END_TEST

/* ---- Bundles and checks ---- */

START_TEST(bundle_id)
{
	struct err err = { "" };
	struct policy_bundle *b;
	char id[65];

	write_modules();
	write_file("policy.lua", "-- one");
	b = policy_bundle_read(conf, NULL, &err);
	snprintf(id, sizeof id, "%s", policy_bundle_id(b));
	ck_assert_uint_eq(strlen(id), 64);
	policy_bundle_unref(b);
	b = policy_bundle_read(conf, NULL, &err);
	ck_assert_str_eq(id, policy_bundle_id(b));
	policy_bundle_unref(b);
	write_file("lua/list.lua", "return { 'a', 'b', 'c', inner = { 2 } }");
	b = policy_bundle_read(conf, NULL, &err);
	ck_assert_str_ne(id, policy_bundle_id(b));
	policy_bundle_unref(b);
	free(conf->policy.load[0]);
	conf->policy.load[0] = xasprintf("%s/missing.lua", dir);
	ck_assert_ptr_null(policy_bundle_read(conf, NULL, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "missing.lua: cannot be read"));
}
END_TEST

static const struct check_case {
	const char *text, *find;
	bool ok;
} checks[] = {
	{ MESSAGE("a", "return gw.reject {}", ""), NULL, true },
	{ "\n" MESSAGE("a", "return gw.relax { grant = 'fax', reason = 'x' }", ""),
	    "policy.lua:2: gw.relax is not a verdict for the hook 'message' (handler 'a')", false },
	{ "gw.on('mesage', function() end, { name = 'a' })\ngw.on('mail', function() end, {})",
	    "policy.lua:1: gw.on: there is no hook 'mesage'; did you mean 'message'?\n"
	    "policy.lua:2: gw.on: name is missing\n", false },
	{ H("route", "a", "return gw.route { via = 'portl' }", ""), "has no route 'portl'", false },
	{ H("route", "a", "return gw.route { via = 'portal' }", ""), NULL, true },
	{ H("unmet", "a", "return gw.relax { grant = 'fex', reason = 'x' }", ""), "has no grant 'fex'", false },
	{ "local n = 0\n" MESSAGE("a", "n = n + 1", ""), "policy.lua:2: handler 'a' writes to 'n' outside", true },
	{ MESSAGE("a", "local n = 0 local function f() n = n + 1 end f()", ""), NULL, true },
	{ "local n = 0\n" MESSAGE("a", "local function f() n = n + 1 end f()", ""), "writes to 'n' outside", true },
	{ MESSAGE("a", "local x = 1\n\n return messge", ""), "policy.lua:3: unknown global 'messge'", false },
	{ "function helper() end\n" MESSAGE("a", "return helper()", ""), NULL, true },
	{ "x = = 1", "policy.lua:1:", false },
};

START_TEST(check_finds)
{
	const struct check_case *c = &checks[_i];
	struct err err = { "" };
	char *text = NULL;

	make_conf();
	write_file("policy.lua", c->text);
	bundle = policy_bundle_read(conf, NULL, &err);
	ck_assert_msg(policy_check(bundle, conf, &text) == c->ok, "%s: %s", c->text, text);
	if (c->find == NULL)
		ck_assert_msg(text == NULL, "%s", text);
	else
		ck_assert_msg(text != NULL && strstr(text, c->find) != NULL, "%s: %s", c->text, text);
	free(text);
	policy_bundle_unref(bundle);
}
END_TEST

UNIT_MAIN("policy engine",
    tcase_add_loop_test(tc, load_error, 0, NELEMS(load_errors));
    tcase_add_test(tc, frozen_tables_can_be_read);
    tcase_add_loop_test(tc, chain_semantics, 0, NELEMS(chains));
    tcase_add_test(tc, level_override);
    tcase_add_test(tc, level_override_of_nobody);
    tcase_add_test(tc, verdict_fields);
    tcase_add_test(tc, durations_count_from_the_return);
    tcase_add_test(tc, relax_never_wins);
    tcase_add_loop_test(tc, failure_outcome, 0, NELEMS(outcomes));
    tcase_add_loop_test(tc, illegal_verdicts, 0, NELEMS(outcomes));
    tcase_add_loop_test(tc, limit, 0, NELEMS(limits));
    tcase_add_test(tc, cpu_limit);
    tcase_add_test(tc, stale_handle);
    tcase_add_test(tc, advisory_and_observing_change_nothing);
    tcase_add_test(tc, small_functions);
    tcase_add_test(tc, log_lines_are_capped);
    tcase_add_test(tc, waits_for_dns);
    tcase_add_test(tc, cancel_while_waiting);
    tcase_add_test(tc, wall_limit);
    tcase_add_test(tc, generation_outlives_its_callers_reference);
    tcase_add_test(tc, bundle_id);
    tcase_add_loop_test(tc, check_finds, 0, NELEMS(checks));)
