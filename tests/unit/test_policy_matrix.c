/* Every hook with every end that a handler can come to: each verdict, taken or refused, nil, an error, each
 * exceeded limit, and a caller who leaves while it waits. What must come of it is written here by hand, from
 * the design; tests/coverage/hooks.py holds these rows against what the engine takes. */
#include "policy_fixture.h"
#include "policy/policy_int.h"

static const struct row {
	enum policy_hook hook;
	const char *takes;
	enum verdict_kind kind;		/* what becomes of a failure */
	int code;
	const char *status;
	int64_t after_ms;
} rows[] = {
	{ HOOK_CONNECT, "reject defer drop", VERDICT_DROP, 421, "4.3.0", -1 },
	{ HOOK_HELO, "reject defer drop caps", VERDICT_DEFER, 451, "4.3.0", -1 },
	{ HOOK_TLS, "reject drop", VERDICT_DROP, 421, "4.3.0", -1 },
	{ HOOK_AUTH, "identity reject defer", VERDICT_DEFER, 454, "4.7.0", -1 },
	{ HOOK_MAIL, "reject defer drop", VERDICT_DEFER, 451, "4.3.0", -1 },
	{ HOOK_RCPT, "reject defer discard accept", VERDICT_DEFER, 451, "4.3.0", -1 },
	{ HOOK_DATA, "reject defer", VERDICT_DEFER, 451, "4.3.0", -1 },
	{ HOOK_HEADER, "reject defer", VERDICT_DEFER, 451, "4.3.0", -1 },
	{ HOOK_MESSAGE, "reject defer hold discard accept", VERDICT_DEFER, 451, "4.3.0", -1 },
	{ HOOK_BOUNCE_IN, "hold discard accept", VERDICT_DEFER, 451, "4.3.0", -1 },
	{ HOOK_DISCONNECT, "", VERDICT_NONE, 0, "", 0 },
	{ HOOK_ROUTE, "route bounce hold discard defer", VERDICT_DEFER, 451, "4.3.0", 300000 },
	{ HOOK_TLS_POLICY, "tls defer", VERDICT_DEFER, 451, "4.3.0", -1 },
	{ HOOK_ATTEMPT, "defer hold bounce reroute skip_host", VERDICT_DEFER, 451, "4.3.0", -1 },
	{ HOOK_EHLO, "defer hold bounce reroute skip_host", VERDICT_DEFER, 451, "4.3.0", -1 },
	{ HOOK_UNMET, "bounce defer reroute skip_host hold relax", VERDICT_NONE, 0, "", 0 },
	{ HOOK_RESULT, "retry fail hold reroute", VERDICT_NONE, 0, "", 0 },
	{ HOOK_BOUNCE, "suppress", VERDICT_NONE, 0, "", 0 },
	{ HOOK_DSN, "suppress", VERDICT_NONE, 0, "", 0 },
	{ HOOK_LOG, "", VERDICT_NONE, 0, "", 0 },
	{ HOOK_TLSRPT, "suppress report defer", VERDICT_DEFER, 451, "4.3.0", -1 },
	{ HOOK_INIT, "", VERDICT_NONE, 0, "", 0 },
	{ HOOK_FINI, "", VERDICT_NONE, 0, "", 0 },
	{ HOOK_EVERY, "", VERDICT_NONE, 0, "", 0 },
};
_Static_assert(NELEMS(rows) == HOOKS, "a row for each hook");

/* Each constructor once, with something of its own that has to arrive. */
static const struct make {
	const char *name, *text;
	enum verdict_kind kind;
} made[] = {
	{ "accept", "gw.accept { reason = 'said so' }", VERDICT_ACCEPT },
	{ "reject", "gw.reject { code = 554, status = '5.7.9', text = 'Not you', reason = 'said so' }", VERDICT_REJECT },
	{ "defer", "gw.defer { code = 452, status = '4.7.9', text = 'Not now', after = '7s', reason = 'said so' }",
	    VERDICT_DEFER },
	{ "drop", "gw.drop { text = 'Off', reason = 'said so' }", VERDICT_DROP },
	{ "discard", "gw.discard { reason = 'said so' }", VERDICT_DISCARD },
	{ "hold", "gw.hold { reason = 'said so', expires = '1h' }", VERDICT_HOLD },
	{ "bounce", "gw.bounce { status = '5.7.8', text = 'Back', reason = 'said so' }", VERDICT_BOUNCE },
	{ "route", "gw.route { via = 'portal', reason = 'said so' }", VERDICT_ROUTE },
	{ "reroute", "gw.reroute { via = { 'mx.far.example:26' }, reason = 'said so' }", VERDICT_REROUTE },
	{ "tls", "gw.tls { level = 'verify', ttl = '2m' }", VERDICT_TLS },
	{ "retry", "gw.retry { after = '9s', reason = 'said so' }", VERDICT_RETRY },
	{ "fail", "gw.fail { status = '5.4.7', text = 'Enough', reason = 'said so' }", VERDICT_FAIL },
	{ "skip_host", "gw.skip_host { reason = 'said so' }", VERDICT_SKIP_HOST },
	{ "relax", "gw.relax { grant = 'fax', reason = 'said so' }", VERDICT_RELAX },
	{ "suppress", "gw.suppress { reason = 'said so' }", VERDICT_SUPPRESS },
	{ "report", "gw.report { to = { 'mailto:a@b.example' }, reason = 'said so' }", VERDICT_REPORT },
	{ "caps", "gw.caps { hide = { 'CHUNKING' } }", VERDICT_CAPS },
	{ "identity", "gw.identity { id = 'ann', attrs = { n = 1 }, reason = 'said so' }", VERDICT_IDENTITY },
};

static bool
takes(const struct row *r, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = r->takes; (p = strstr(p, name)) != NULL; p += n)
		if ((p == r->takes || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
			return true;
	return false;
}

/* ---- One call ---- */

/* A policy of one handler that does another thing each time it is called. */
struct call {
	const struct row *r;
	struct fix f;
	struct world w;
	struct verdict v;
	uint64_t ticket;
	bool waits;
	unsigned answers;
};

static void
take(void *owner, uint64_t ticket, struct verdict *v)
{
	struct call *c = owner;

	ck_assert_uint_eq(ticket, c->ticket);
	c->answers++;
	verdict_move(&c->v, v);
}

static char *
handler(const struct row *r, const char *name, const char *const *bodies, size_t n, const char *opts)
{
	struct buf text;

	buf_init(&text, 65536);
	buf_adds(&text, "do local n, does = 0, { ");
	for (size_t i = 0; i < n; i++)
		buf_printf(&text, "function(...) %s end, ", bodies[i]);
	buf_adds(&text, "} local function run(...) n = n + 1 return does[n](...) end ");
	if (r->hook == HOOK_EVERY)
		buf_printf(&text, "gw.every { name = '%s', interval = 3600, run = run, %s } end ", name, opts);
	else
		buf_printf(&text, "gw.on('%s', run, { name = '%s', %s }) end ", policy_hook_name(r->hook), name, opts);
	return buf_take(&text);
}

static void
load(struct call *c, const struct row *r, const char *text)
{
	memset(c, 0, sizeof *c);
	c->r = r;
	fix_load(&c->f, text);
	world_init(&c->w);
}

static void
open_handler(struct call *c, const struct row *r, const char *const *bodies, size_t n, const char *opts)
{
	char *text = handler(r, "h", bodies, n, opts);

	load(c, r, text);
	free(text);
}

static void
begin(struct call *c)
{
	struct policy_subject *s = world_for(&c->w, c->r->hook);

	if (c->r->hook == HOOK_INIT || c->r->hook == HOOK_FINI)
		s->reason = "test";
	if (c->r->hook == HOOK_EVERY)
		s->timer = c->f.g->timers[0];
	fix_log[0] = '\0';
	verdict_fini(&c->v);
	c->answers = 0;
	c->waits = policy_call(c->f.p, c->f.g, c->r->hook, s, &c->v, take, c, &c->ticket) == POLICY_LATER;
}

static void
turn(struct call *c)
{
	struct timeval tv = { 0, 2000 };

	event_base_loopexit(c->f.base, &tv);
	event_base_dispatch(c->f.base);
}

/* Nothing of the call is left, whatever its end was. */
static void
nothing_is_left(struct call *c)
{
	struct policy_stats st;

	policy_stats(c->f.p, &st);
	ck_assert_uint_eq(st.waiting, 0);
	ck_assert_uint_eq(st.in_flight, 0);
	ck_assert_uint_eq(st.stale_tickets, 0);
	ck_assert_int_eq(event_base_get_num_events(c->f.base, EVENT_BASE_COUNT_ADDED), 0);
}

/* The next thing that the handler does, to its end. */
static void
ask(struct call *c)
{
	begin(c);
	for (int i = 0; c->waits && c->answers == 0 && i < 10000; i++)
		event_base_loop(c->f.base, EVLOOP_ONCE);
	ck_assert_uint_eq(c->answers, c->waits ? 1 : 0);
	nothing_is_left(c);
}

static void
end(struct call *c)
{
	verdict_fini(&c->v);
	world_fini(&c->w, c->f.g);
	fix_fini(&c->f);
}

#define NAMED(r, what) policy_hook_name((r)->hook), (what), fix_log

static void
is_fixed(const struct call *c, const struct row *r, const char *what)
{
	char text[64];

	ck_assert_msg(c->v.is_error, "%s, %s: %s", NAMED(r, what));
	ck_assert_msg(c->v.kind == r->kind && c->v.code == r->code, "%s, %s: %s", NAMED(r, what));
	ck_assert_msg(strlen(c->v.ref) == 4 && strstr(fix_log, c->v.ref) != NULL, "%s, %s: %s", NAMED(r, what));
	ck_assert_msg(strstr(fix_log, "policy failed hook=") != NULL, "%s, %s: %s", NAMED(r, what));
	ck_assert_msg(strstr(fix_log, "outcome=fixed") != NULL, "%s, %s: %s", NAMED(r, what));
	snprintf(text, sizeof text, "Local policy error [%s]", c->v.ref);
	ck_assert_str_eq(c->v.text, text);
	if (r->kind == VERDICT_NONE)
		return;
	ck_assert_str_eq(c->v.status, r->status);
	ck_assert_int_eq(c->v.after_ms, r->after_ms);
	/* I5: it is never "accept" or "send". */
	ck_assert(c->v.kind == VERDICT_DEFER || c->v.kind == VERDICT_DROP);
	ck_assert(!c->v.relay && c->v.grant == NULL && c->v.route == NULL && c->v.identity == NULL);
}

static void
is_nothing(const struct call *c, const struct row *r, const char *what)
{
	ck_assert_msg(c->v.kind == VERDICT_NONE && !c->v.is_error, "%s, %s: %s", NAMED(r, what));
	ck_assert_msg(strstr(fix_log, "outcome=fixed") == NULL, "%s, %s: %s", NAMED(r, what));
}

/* ---- Verdicts ---- */

/* What the constructor was told is what the caller gets. */
static void
is_made(const struct verdict *v, const struct make *m)
{
	ck_assert_int_eq(v->kind, m->kind);
	ck_assert(!v->is_error);
	ck_assert_str_eq(v->handler, "h");
	ck_assert_str_eq(v->where, "policy.lua:1");
	if (m->kind != VERDICT_TLS && m->kind != VERDICT_CAPS)
		ck_assert_str_eq(v->reason, "said so");
	switch (m->kind) {
	case VERDICT_REJECT:
		ck_assert_int_eq(v->code, 554);
		ck_assert_str_eq(v->status, "5.7.9");
		ck_assert_str_eq(v->text, "Not you");
		break;
	case VERDICT_DEFER:
		ck_assert_int_eq(v->code, 452);
		ck_assert_str_eq(v->status, "4.7.9");
		ck_assert_int_eq(v->after_ms, 7000);
		break;
	case VERDICT_DROP:
		ck_assert_int_eq(v->code, 421);
		ck_assert_str_eq(v->text, "Off");
		break;
	case VERDICT_HOLD:
		ck_assert_int_gt(v->expires_ms, clock_wall_ms());
		break;
	case VERDICT_BOUNCE:
		ck_assert_str_eq(v->status, "5.7.8");
		ck_assert_str_eq(v->text, "Back");
		break;
	case VERDICT_FAIL:
		ck_assert_str_eq(v->status, "5.4.7");
		break;
	case VERDICT_ROUTE:
		ck_assert_str_eq(v->route->name, "portal");
		break;
	case VERDICT_REROUTE:
		ck_assert_str_eq(v->route->hosts[0].host, "mx.far.example");
		ck_assert_uint_eq(v->route->hosts[0].port, 26);
		break;
	case VERDICT_TLS:
		ck_assert_int_eq(v->level, TLS_VERIFY);
		ck_assert_int_eq(v->ttl_ms, 120000);
		break;
	case VERDICT_RETRY:
		ck_assert_int_eq(v->after_ms, 9000);
		break;
	case VERDICT_RELAX:
		ck_assert_str_eq(v->grant, "fax");
		break;
	case VERDICT_REPORT:
		ck_assert_str_eq(v->names[0], "mailto:a@b.example");
		break;
	case VERDICT_CAPS:
		ck_assert_uint_eq(v->hide_ext, SMTP_EXT_CHUNKING);
		break;
	case VERDICT_IDENTITY:
		ck_assert_str_eq(v->identity, "ann");
		ck_assert_str_eq(v->attrs, "{\"n\":1}");
		break;
	default:
		break;
	}
}

static const char *
after_a_wait(char *dst, size_t size, const char *text)
{
	snprintf(dst, size, "gw.sleep(0.001) return %s", text);
	return dst;
}

/* Each at once and after a wait: taken, or the fixed outcome and a line that says why. */
START_TEST(verdicts)
{
	const struct row *r = &rows[_i];
	const char *bodies[2 * NELEMS(made)];
	char text[2 * NELEMS(made)][256];
	struct call c;

	for (size_t i = 0; i < NELEMS(made); i++) {
		bodies[2 * i] = after_a_wait(text[2 * i], sizeof *text, made[i].text) + strlen("gw.sleep(0.001) ");
		bodies[2 * i + 1] = after_a_wait(text[2 * i + 1], sizeof *text, made[i].text);
	}
	open_handler(&c, r, bodies, NELEMS(bodies), "");
	for (size_t i = 0; i < NELEMS(bodies); i++) {
		const struct make *m = &made[i / 2];

		ask(&c);
		ck_assert_int_eq(c.waits, i % 2);
		ck_assert_int_eq(policy_verdict_is_legal(r->hook, m->kind), takes(r, m->name));
		if (takes(r, m->name)) {
			is_made(&c.v, m);
		} else {
			is_fixed(&c, r, m->name);
			ck_assert_msg(strstr(fix_log, "is not a verdict for the hook") != NULL, "%s, %s: %s",
			    NAMED(r, m->name));
		}
	}
	end(&c);
}
END_TEST

/* An advisory handler's is only logged, and one that observes may return none. */
START_TEST(verdicts_without_effect)
{
	static const struct {
		const char *opts, *log;
	} ways[] = { { "level = 'advisory'", "policy would have" }, { "observe = true", "only observes" } };
	const struct row *r = &rows[_i];
	const char *bodies[NELEMS(made)];
	char text[NELEMS(made)][256];
	struct call c;

	for (size_t i = 0; i < NELEMS(made); i++)
		bodies[i] = after_a_wait(text[i], sizeof *text, made[i].text) + strlen("gw.sleep(0.001) ");
	for (size_t w = 0; w < NELEMS(ways); w++) {
		open_handler(&c, r, bodies, NELEMS(bodies), ways[w].opts);
		for (size_t i = 0; i < NELEMS(bodies); i++) {
			ask(&c);
			is_nothing(&c, r, made[i].name);
			ck_assert_msg(strstr(fix_log, takes(r, made[i].name) ? ways[w].log : "is not a verdict") != NULL,
			    "%s, %s: %s", NAMED(r, made[i].name));
		}
		end(&c);
	}
}
END_TEST

/* The only place for these (I3; policy design sections 2 and 5). A grant that nobody gave is no verdict. */
START_TEST(verdicts_by_themselves)
{
	static const char *const bodies[] = { "return gw.accept { relay = true, reason = 'x' }",
		"return gw.relax { grant = 'fux', reason = 'x' }" };
	const struct row *r = &rows[_i];
	struct call c;

	ck_assert_int_eq(takes(r, "relax"), r->hook == HOOK_UNMET);
	ck_assert_int_eq(takes(r, "identity"), r->hook == HOOK_AUTH);
	ck_assert_int_eq(takes(r, "accept"), r->hook == HOOK_RCPT || r->hook == HOOK_MESSAGE || r->hook == HOOK_BOUNCE_IN);
	open_handler(&c, r, bodies, NELEMS(bodies), "");
	ask(&c);
	if (r->hook == HOOK_RCPT)
		ck_assert(c.v.kind == VERDICT_ACCEPT && c.v.relay);
	else
		is_fixed(&c, r, "accept with relay");
	ask(&c);
	is_fixed(&c, r, "unknown grant");
	ck_assert_msg(strstr(fix_log, "has no grant 'fux'") != NULL, "%s", fix_log);
	end(&c);
}
END_TEST

/* ---- Everything else that a handler may do ---- */

static const struct way {
	const char *name, *body, *opts, *log;	/* log: what says so, NULL nothing */
} nils[] = {
	{ "nothing", "", "", NULL },
	{ "nil", "return nil", "", NULL },
	{ "nothing after a wait", "gw.sleep(0.001)", "", NULL },
	{ "nil, mandatory", "return nil", "level = 'mandatory'", NULL },
	{ "parts, one of which ends the others", "pcall(gw.all, { function() gw.sleep(9) end, function() error('x') end })",
	    "", NULL },
	{ "forgotten return", "local v = gw.skip_host {}", "", "made a verdict but did not return it" },
}, errors[] = {
	{ "error", "error('boom')", "", "policy.lua:1: boom" },
	{ "error, mandatory", "error('boom')", "level = 'mandatory'", "policy.lua:1: boom" },
	{ "error that is a table", "error({})", "", "error value is a table" },
	{ "error that is nil", "error(nil)", "", "error value is a nil" },
	{ "nil field", "local x = nil return x.y", "", "attempt to index a nil value" },
	{ "unknown global", "return gx", "", "gx" },
	{ "unknown function", "return gw.rejct {}", "", "rejct" },
	{ "wrong argument", "return gw.defer { code = 550 }", "", "gw.defer" },
	{ "line break in a verdict", "return gw.bounce { text = 'a\\r\\nb' }", "", "gw.bounce" },
	{ "string", "return 'accept'", "", "returned a string" },
	{ "boolean", "return true", "", "returned a boolean" },
	{ "false", "return false", "", "returned a boolean" },
	{ "number", "return 250", "", "returned a number" },
	{ "table", "return { kind = 'accept' }", "", "returned a table" },
	{ "handle", "return (...) or 1", "", "returned a" },
	{ "constructor", "return gw.accept", "", "returned a function" },
	{ "two values", "return nil, 1", "", "more than one value" },
	{ "after a wait", "gw.sleep(0.001) error('boom')", "", "boom" },
	{ "in a part", "gw.all { function() gw.sleep(0.001) error('boom') end }", "", "boom" },
	{ "parts at once", "gw.all { function() gw.sleep(9) end, function() error('boom') end }", "", "boom" },
	{ "yield", "coroutine.yield(1)", "", "" },
	{ "stack", "local function f() return 1 + f() end f()", "", "" },
}, budgets[] = {
	{ "instructions", "while true do end", "", "limit." },
	{ "instructions in pcall", "while true do pcall(function() while true do end end) end", "", "limit." },
	{ "instructions in a coroutine", "while true do coroutine.wrap(function() while true do end end)() end", "",
	    "limit." },
	{ "after a wait", "gw.sleep(0.001) while true do end", "", "limit." },
	{ "memory", "local t = {} for i = 1, 1e9 do t[i] = { i, i } end", "", "limit." },
	{ "string", "local s = 'x' while true do s = s .. s end", "", "limit." },
	{ "steps", "string.find(string.rep('a', 30), string.rep('a?', 30) .. string.rep('a', 31))", "", "limit.steps" },
	{ "time", "gw.sleep(9)", "wall = 0.01", "limit.wall" },
	{ "time in pcall", "while true do pcall(gw.sleep, 9) end", "wall = 0.01", "limit.wall" },
	{ "time of a part", "gw.all { function() gw.sleep(9) end, function() gw.sleep(9) end }", "wall = 0.01",
	    "limit.wall" },
};

/* Those of the same options are one handler's, one after the other: what ended badly leaves nothing behind. */
static void
end_so(const struct row *r, const struct way *ways, size_t n, bool fails)
{
	const char *bodies[32];
	struct call c;

	for (size_t i = 0, k; i < n; i += k) {
		for (k = 0; i + k < n && strcmp(ways[i + k].opts, ways[i].opts) == 0; k++)
			bodies[k] = ways[i + k].body;
		open_handler(&c, r, bodies, k, ways[i].opts);
		for (size_t j = i; j < i + k; j++) {
			ask(&c);
			if (fails)
				is_fixed(&c, r, ways[j].name);
			else
				is_nothing(&c, r, ways[j].name);
			ck_assert_msg(ways[j].log == NULL || strstr(fix_log, ways[j].log) != NULL, "%s, %s: %s",
			    NAMED(r, ways[j].name));
		}
		end(&c);
	}
}

START_TEST(nil)
{
	end_so(&rows[_i], nils, NELEMS(nils), false);
}
END_TEST

START_TEST(error)
{
	end_so(&rows[_i], errors, NELEMS(errors), true);
}
END_TEST

START_TEST(budget)
{
	end_so(&rows[_i], budgets, NELEMS(budgets), true);
}
END_TEST

/* Where failing means nothing, it means nothing: of one that is advisory, or only looks. */
START_TEST(harmless)
{
	static const char *const bodies[] = { "error('boom')", "while true do end", "return 1", "gw.sleep(9)" };
	static const char *const opts[] = { "level = 'advisory', wall = 0.01", "observe = true, wall = 0.01" };
	struct call c;

	for (size_t k = 0; k < NELEMS(opts); k++) {
		open_handler(&c, &rows[_i], bodies, NELEMS(bodies), opts[k]);
		for (size_t i = 0; i < NELEMS(bodies); i++) {
			ask(&c);
			is_nothing(&c, &rows[_i], bodies[i]);
			ck_assert_msg(strstr(fix_log, "outcome=none") != NULL, "%s", fix_log);
		}
		end(&c);
	}
}
END_TEST

/* A failure is not mended by what another handler says, nor by one that comes after it. Where failing is as
 * saying nothing, the others are heard. */
START_TEST(failure_among_others)
{
	const struct row *r = &rows[_i];
	const struct make *m = NULL;
	const char *bodies[] = { "error('boom')", "gw.log.info('heard')" };
	char *fails, *says, *text, with[256];
	struct call c;

	if (r->hook == HOOK_EVERY)	/* each is for itself */
		return;
	for (size_t i = NELEMS(made); i-- > 0;)
		if (takes(r, made[i].name))
			m = &made[i];
	if (m != NULL)
		bodies[1] = after_a_wait(with, sizeof with, m->text);
	fails = handler(r, "f", &bodies[0], 1, "priority = 1");
	says = handler(r, "h", &bodies[1], 1, "level = 'mandatory'");
	text = xasprintf("%s%s", fails, says);
	load(&c, r, text);
	ask(&c);
	if (m != NULL && r->kind == VERDICT_NONE) {
		ck_assert_msg(c.v.kind == m->kind, "%s, %s: %s", NAMED(r, "first fails"));
	} else {
		is_fixed(&c, r, "first fails");
		ck_assert_msg((strstr(fix_log, "heard") != NULL) == (r->hook == HOOK_DISCONNECT || r->hook == HOOK_LOG ||
		    r->hook == HOOK_FINI), "%s, %s: %s", NAMED(r, "first fails"));
	}
	end(&c);
	free(text);
	free(fails);
	free(says);
}
END_TEST

/* ---- The caller leaves ---- */

static const char *const waits[] = {
	"gw.sleep(9) gw.log.info('goes on')",
	"pcall(gw.sleep, 9) gw.log.info('goes on')",
	"while true do pcall(gw.sleep, 9) gw.log.info('goes on') end",
	"gw.all { function() gw.sleep(9) gw.log.info('goes on') end, function() gw.sleep(9) end } gw.log.info('goes on')",
	"gw.all({ function() gw.sleep(9) end, function() gw.sleep(0.001) error('x') end }, { mode = 'collect' }) "
	    "gw.log.info('goes on')",
	"gw.within(5, function() gw.sleep(9) gw.log.info('goes on') end)",
	"coroutine.wrap(function() gw.sleep(9) gw.log.info('goes on') end)()",
	"for x in function() gw.sleep(9) end do end gw.log.info('goes on')",
	"local t = setmetatable({}, { __index = function() gw.sleep(9) end }) if not t.x then gw.log.info('goes on') end",
};

/* A client that has gone, or a daemon that stops, at once or a little later: the handler never goes on, nobody
 * is told, nothing is left, and the next call is served. */
START_TEST(disconnect)
{
	struct call c;

	for (int later = 0; later < 2; later++) {
		open_handler(&c, &rows[_i], waits, NELEMS(waits), "");
		for (size_t i = 0; i < NELEMS(waits); i++) {
			begin(&c);
			ck_assert_msg(c.waits, "%s, %s: %s", NAMED(&rows[_i], waits[i]));
			if (later)
				turn(&c);
			policy_cancel(c.f.p, c.ticket);
			nothing_is_left(&c);
			turn(&c);
			ck_assert_uint_eq(c.answers, 0);
			ck_assert_msg(strstr(fix_log, "goes on") == NULL, "%s, %s: %s", NAMED(&rows[_i], waits[i]));
		}
		end(&c);
	}
}
END_TEST

/* The engine goes while it waits. */
START_TEST(engine_gone)
{
	struct call c;

	for (size_t i = 0; i < NELEMS(waits); i++) {
		open_handler(&c, &rows[_i], &waits[i], 1, "");
		begin(&c);
		ck_assert_msg(c.waits, "%s", fix_log);
		end(&c);
		ck_assert_uint_eq(c.answers, 0);
		ck_assert_msg(strstr(fix_log, "goes on") == NULL, "%s", fix_log);
	}
}
END_TEST

UNIT_MAIN("policy_matrix",
	tcase_add_loop_test(tc, verdicts, 0, NELEMS(rows));
	tcase_add_loop_test(tc, verdicts_without_effect, 0, NELEMS(rows));
	tcase_add_loop_test(tc, verdicts_by_themselves, 0, NELEMS(rows));
	tcase_add_loop_test(tc, nil, 0, NELEMS(rows));
	tcase_add_loop_test(tc, error, 0, NELEMS(rows));
	tcase_add_loop_test(tc, budget, 0, NELEMS(rows));
	tcase_add_loop_test(tc, harmless, 0, NELEMS(rows));
	tcase_add_loop_test(tc, failure_among_others, 0, NELEMS(rows));
	tcase_add_loop_test(tc, disconnect, 0, NELEMS(rows));
	tcase_add_loop_test(tc, engine_gone, 0, NELEMS(rows));)
