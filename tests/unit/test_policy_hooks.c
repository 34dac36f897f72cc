/* Hooks beside the way of a message: what each takes, what becomes of nil, of a forbidden verdict,
 * an error, an exceeded budget, and of a caller who leaves while the handler waits. */
#include "policy_fixture.h"
#include "policy/policy_int.h"

#define ON(hook, body, opts) "gw.on('" hook "', function(...) local ctx = ... " body " end, " \
	"{ name = 'h', " opts " })\n"
#define TELL(hook) "gw.on('" hook "', function(ctx) gw.log.info('" hook " says ' .. ctx.reason) end, " \
	"{ name = '" hook ".tells' })\n"

/* ---- A generation's life ---- */

static struct err init_err;
static int init_answers;	/* 0 none, 1 fine, 2 failed */
static bool stopped;

static void
on_init(void *owner, const struct err *err)
{
	struct fix *f = owner;

	ck_assert_int_eq(init_answers, 0);
	init_answers = err == NULL ? 1 : 2;
	if (err != NULL)
		init_err = *err;
	else
		policy_gen_activate(f->g);
}

static void
on_stopped(void *owner)
{
	event_base_loopbreak(((struct fix *)owner)->base);
	stopped = true;
}

/* Turns the loop until it is so, 10 s at most. */
#define TURN_UNTIL(f, what) do {						\
	int64_t until_ = clock_mono_ms() + 10000;				\
										\
	while (!(what) && clock_mono_ms() < until_)				\
		turn(f);							\
	ck_assert_msg(what, "%s", fix_log);					\
} while (0)

static void
turn(struct fix *f)
{
	struct timeval tv = { 0, 2000 };

	event_base_loopexit(f->base, &tv);
	event_base_dispatch(f->base);
}

static void
start(struct fix *f, const char *text, const char *levels)
{
	fix_load(f, text);
	if (levels != NULL) {	/* as policy.levels would have it */
		policy_gen_unref(f->g);
		f->conf->policy.levels = xcalloc(1, sizeof *f->conf->policy.levels);
		f->conf->policy.levels[0] = (struct conf_level){ xstrdup("h"),
		    strcmp(levels, "advisory") == 0 ? POLICY_ADVISORY : POLICY_MANDATORY };
		f->conf->policy.nlevels = 1;
		f->g = policy_gen_new(f->p, f->bundle, f->conf, &f->err);
		ck_assert_msg(f->g != NULL, "%s", f->err.text);
	}
	init_answers = 0;
	stopped = false;
	fix_log[0] = '\0';
	policy_gen_init(f->g, "start", on_init, f);
}

static const struct init_case {
	const char *name, *text, *levels;
	int answer;
	const char *log, *error;
} inits[] = {
	{ "none", "", NULL, 1, NULL, NULL },
	{ "nil", ON("init", "", ""), NULL, 1, NULL, NULL },
	{ "reason", TELL("init"), NULL, 1, "init says start", NULL },
	{ "verdict", ON("init", "return gw.reject {}", ""), NULL, 2, "policy failed",
	    "init handler 'h' failed: policy.lua:1: gw.reject is not a verdict for the hook 'init'" },
	{ "string", ON("init", "return 'x'", ""), NULL, 2, "policy failed", "returned a string" },
	{ "error", ON("init", "error('boom')", ""), NULL, 2, "policy failed",
	    "init handler 'h' failed: policy.lua:1: boom" },
	{ "typo", ON("init", "return ctx.reson", ""), NULL, 2, "policy failed", "did you mean 'reason'?" },
	{ "budget", ON("init", "while true do end", ""), NULL, 2, "policy failed", "limit.instructions" },
	{ "second fails", TELL("init") ON("init", "error('boom')", "priority = -1"), NULL, 2, "init says",
	    "boom" },
	{ "first failure ends", ON("init", "error('boom')", "priority = 1") TELL("init"), NULL, 2, "boom",
	    "boom" },
	{ "waits", ON("init", "gw.sleep(0.01) gw.log.info('slept')", ""), NULL, 1, "slept", NULL },
	{ "waits and fails", ON("init", "gw.sleep(0.01) error('boom')", ""), NULL, 2, NULL,
	    "policy.lua:1: boom" },
	{ "waits too long", ON("init", "gw.sleep(9)", "wall = 0.02"), NULL, 2, NULL, "limit.wall" },
	{ "observer fails", ON("init", "error('boom')", "observe = true"), NULL, 1, "boom", NULL },
	{ "advisory fails", ON("init", "error('boom')", "level = 'advisory'"), NULL, 1, "boom", NULL },
	{ "advisory by configuration", ON("init", "error('boom')", ""), "advisory", 1, "boom", NULL },
	{ "mandatory by configuration", ON("init", "error('boom')", "level = 'advisory'"), "mandatory", 2,
	    "boom", "boom" },
	{ "mandatory runs", ON("init", "gw.log.info('runs')", "level = 'mandatory'") TELL("init"), NULL, 1,
	    "runs", NULL },
	{ "rule", "gw.rule { name = 'r', at = 'init', act = gw.action.note 'noted' }", NULL, 1, "noted", NULL },
};

START_TEST(init)
{
	const struct init_case *c = &inits[_i];
	struct fix f;

	start(&f, c->text, c->levels);
	TURN_UNTIL(&f, init_answers != 0);
	ck_assert_msg(init_answers == c->answer, "%s: %s", c->name, fix_log);
	if (c->error != NULL)
		ck_assert_msg(strstr(init_err.text, c->error) != NULL, "%s: %s", c->name, init_err.text);
	if (c->log != NULL)
		ck_assert_msg(strstr(fix_log, c->log) != NULL, "%s: %s", c->name, fix_log);
	if (strcmp(c->name, "first failure ends") == 0)
		ck_assert_msg(strstr(fix_log, "init says") == NULL, "%s", fix_log);
	fix_fini(&f);
}
END_TEST

/* Nobody waits for it any more: it is not heard of again, and fini is not owed. */
START_TEST(init_cancelled)
{
	struct fix f;

	start(&f, ON("init", "gw.sleep(0.02) gw.log.info('slept')", "") TELL("fini"), NULL);
	ck_assert_int_eq(init_answers, 0);
	policy_gen_init_cancel(f.g);
	policy_gen_unref(f.g);
	f.g = NULL;
	for (int i = 0; i < 20; i++)
		turn(&f);
	ck_assert_int_eq(init_answers, 0);
	ck_assert_msg(strstr(fix_log, "slept") == NULL && strstr(fix_log, "fini says") == NULL, "%s", fix_log);
	fix_fini(&f);
}
END_TEST

static const struct fini_case {
	const char *name, *text, *log, *not_log;
} finis[] = {
	{ "nil", TELL("fini"), "fini says retired", "policy failed" },
	{ "error", ON("fini", "error('boom')", "priority = 1") TELL("fini"), "boom", NULL },
	{ "others go on", ON("fini", "error('boom')", "priority = 1") TELL("fini"), "fini says retired", NULL },
	{ "verdict", ON("fini", "return gw.hold {}", ""), "gw.hold is not a verdict for the hook 'fini'", NULL },
	{ "budget", ON("fini", "while true do end", ""), "limit.instructions", NULL },
	{ "waits", ON("fini", "gw.sleep(0.01) gw.log.info('slept')", ""), "slept", "policy failed" },
	{ "waits too long", ON("fini", "gw.sleep(4)", "wall = 0.02"), "limit.wall", NULL },
	{ "advisory", ON("fini", "error('boom')", "level = 'advisory'"), "outcome=none", NULL },
};

START_TEST(fini)
{
	const struct fini_case *c = &finis[_i];
	struct fix f;

	start(&f, c->text, NULL);
	ck_assert_int_eq(init_answers, 1);
	policy_gen_ref(f.g);
	policy_gen_retire(f.g);
	policy_gen_unref(f.g);
	turn(&f);
	ck_assert_msg(fix_log[0] == '\0', "while it is in use: %s", fix_log);
	policy_gen_unref(f.g);
	ck_assert_msg(fix_log[0] == '\0', "inside unref: %s", fix_log);
	f.g = NULL;
	TURN_UNTIL(&f, strstr(fix_log, c->log) != NULL);
	for (int i = 0; i < 5; i++)
		turn(&f);
	if (c->not_log != NULL)
		ck_assert_msg(strstr(fix_log, c->not_log) == NULL, "%s: %s", c->name, fix_log);
	policy_stop(f.p, on_stopped, &f);
	TURN_UNTIL(&f, stopped);
	fix_fini(&f);
}
END_TEST

static void
on_init_only(void *owner, const struct err *err)
{
	ck_assert_ptr_null(err);
}

START_TEST(fini_says_why)
{
	struct fix f;

	fix_load(&f, TELL("fini"));
	policy_gen_init(f.g, "reload", on_init_only, &f);
	policy_gen_unref(f.g);
	f.g = NULL;
	TURN_UNTIL(&f, strstr(fix_log, "fini says discarded") != NULL);
	fix_fini(&f);

	start(&f, TELL("fini") ON("fini", "gw.sleep(0.03) gw.log.info('slept')", ""), NULL);
	stopped = false;
	policy_stop(f.p, on_stopped, &f);
	ck_assert(!stopped);
	TURN_UNTIL(&f, stopped);
	ck_assert_msg(strstr(fix_log, "fini says stop") != NULL && strstr(fix_log, "slept") != NULL, "%s", fix_log);
	policy_gen_unref(f.g);
	f.g = NULL;
	fix_fini(&f);
	ck_assert_msg(strstr(strstr(fix_log, "fini says") + 1, "fini says") == NULL, "twice: %s", fix_log);
}
END_TEST

/* All handlers together have 5 seconds; then it is over, whatever they do. */
START_TEST(fini_is_ended)
{
	struct fix f;
	int64_t t;

	start(&f, ON("fini", "gw.sleep(4)", "") "gw.on('fini', function() gw.sleep(4) end, { name = 'k' })\n", NULL);
	t = clock_mono_ms();
	policy_stop(f.p, on_stopped, &f);
	TURN_UNTIL(&f, stopped);
	ck_assert_msg(clock_mono_ms() - t >= 4900, "too early");
	ck_assert_msg(strstr(fix_log, "fini took too long") != NULL, "%s", fix_log);
	fix_fini(&f);
}
END_TEST

/* The engine is freed while fini is due, or waits. */
START_TEST(fini_and_the_end_of_the_engine)
{
	struct fix f;

	start(&f, ON("fini", "gw.sleep(4)", ""), NULL);
	policy_gen_unref(f.g);
	f.g = NULL;
	fix_fini(&f);
	start(&f, ON("fini", "gw.sleep(4)", ""), NULL);
	policy_gen_unref(f.g);
	f.g = NULL;
	for (int i = 0; i < 3; i++)
		turn(&f);
	fix_fini(&f);
	start(&f, ON("init", "gw.sleep(4)", ""), NULL);
	fix_fini(&f);
}
END_TEST

/* ---- Timers ---- */

#define EVERY(body, opts) "gw.every { name = 'h', interval = 0.1, run = function(tick) " body " end, " opts " }\n"

static const struct every_case {
	const char *name, *text, *error;
} every_errors[] = {
	{ "no table", "gw.every('x')", "expected a table" },
	{ "two", "gw.every({}, {})", "takes one table" },
	{ "no name", "gw.every { interval = 1, run = function() end }", "name is missing" },
	{ "no interval", "gw.every { name = 'a', run = function() end }", "interval is needed" },
	{ "too short", "gw.every { name = 'a', interval = 0.05, run = function() end }", "interval is needed" },
	{ "jitter", "gw.every { name = 'a', interval = 1, jitter = 2, run = function() end }", "at most the interval" },
	{ "scope", "gw.every { name = 'a', interval = 1, scope = 'nod', run = function() end }", "\"worker\" or" },
	{ "no function", "gw.every { name = 'a', interval = 1 }", "run must be a function" },
	{ "C function", "gw.every { name = 'a', interval = 1, run = print }", "run must be a function" },
	{ "wall", "gw.every { name = 'a', interval = 1, wall = 61, run = function() end }", "at most 60" },
	{ "typo", "gw.every { name = 'a', intervall = 1, run = function() end }", "did you mean 'interval'?" },
	{ "twice", "gw.every { name = 'a', interval = 1, run = function() end }\n"
	    "gw.on('mail', function() end, { name = 'a' })", "already used" },
	{ "as a hook", "gw.on('every', function() end, { name = 'a' })", "there is no hook 'every'" },
};

START_TEST(every_wrong)
{
	struct fix f;

	ck_assert_msg(!fix_try(&f, every_errors[_i].text), "%s", every_errors[_i].name);
	ck_assert_msg(strstr(f.err.text, every_errors[_i].error) != NULL, "%s: %s", every_errors[_i].name,
	    f.err.text);
	fix_fini(&f);
}
END_TEST

static size_t
count(const char *what)
{
	size_t n = 0;

	for (const char *p = fix_log; (p = strstr(p, what)) != NULL; p++)
		n++;
	return n;
}

/* What becomes of a run; after all of them it goes on. */
static const struct tick_case {
	const char *name, *text, *levels, *log;
	bool fails;
} ticks[] = {
	{ "nil", EVERY("gw.log.info('tick ' .. tick.name)", ""), NULL, "tick h", false },
	{ "error", EVERY("gw.log.info('tick') error('boom')", ""), NULL, "boom", true },
	{ "verdict", EVERY("return gw.accept {}", ""), NULL, "is not a verdict for the hook 'every'", true },
	{ "string", EVERY("return 'x'", ""), NULL, "returned a string", true },
	{ "budget", EVERY("while true do end", ""), NULL, "limit.instructions", true },
	{ "waits", EVERY("gw.sleep(0.01) gw.log.info('slept')", ""), NULL, "slept", false },
	{ "waits too long", EVERY("gw.sleep(5)", "wall = 0.02"), NULL, "limit.wall", true },
	{ "advisory by configuration", EVERY("error('boom')", ""), "advisory", "outcome=none", true },
	{ "observe", EVERY("error('boom')", "observe = true"), NULL, "outcome=none", true },
	{ "jitter", EVERY("gw.log.info('tick ' .. tick.missed)", "jitter = 0.05"), NULL, "tick 0", false },
	{ "node", EVERY("gw.log.info('tick ' .. tick.worker)", "scope = 'node'"), NULL, "tick 0", false },
};

START_TEST(every)
{
	const struct tick_case *c = &ticks[_i];
	struct fix f;

	start(&f, c->text, c->levels);
	ck_assert_int_eq(init_answers, 1);
	TURN_UNTIL(&f, count(c->log) >= 2);
	ck_assert_msg((strstr(fix_log, "it goes on later timer=h failures=2 interval_ms=400") != NULL) == c->fails,
	    "%s: %s", c->name, fix_log);
	fix_fini(&f);
}
END_TEST

/* Each has its own; they do not run each other's. */
START_TEST(every_for_itself)
{
	struct fix f;

	start(&f, "gw.every { name = 'a', interval = 0.1, run = function() gw.log.info('a ticks') end }\n"
	    "gw.every { name = 'b', interval = 3600, run = function() gw.log.info('b ticks') end }\n", NULL);
	TURN_UNTIL(&f, count("a ticks") >= 2);
	ck_assert_uint_eq(count("b ticks"), 0);
	fix_fini(&f);
}
END_TEST

/* A run longer than the interval: never two at once, and the ticks in between are counted once. */
START_TEST(every_coalesces)
{
	struct fix f;

	start(&f, EVERY("gw.log.info('begins ' .. tick.missed) gw.sleep(0.35) gw.log.info('ends')", ""), NULL);
	TURN_UNTIL(&f, count("ends") >= 2);
	ck_assert_uint_eq(count("begins") - count("ends") <= 1, 1);
	ck_assert_msg(strstr(fix_log, "begins 0") != NULL, "%s", fix_log);
	ck_assert_msg(strstr(fix_log, "begins 3") != NULL || strstr(fix_log, "begins 4") != NULL ||
	    strstr(fix_log, "begins 5") != NULL, "%s", fix_log);
	fix_fini(&f);
}
END_TEST

START_TEST(every_recovers)
{
	struct fix f;

	start(&f, "local n = 0\n" EVERY("n = n + 1 if n < 3 then error('boom') end gw.log.info('fine')", ""), NULL);
	TURN_UNTIL(&f, count("fine") >= 3);
	ck_assert_uint_eq(count("boom"), 2);
	ck_assert_uint_eq(count("it goes on later"), 2);
	fix_fini(&f);
}
END_TEST

START_TEST(every_backs_off)
{
	ck_assert_int_eq(policy_timer_step(1000, 0), 1000);
	ck_assert_int_eq(policy_timer_step(1000, 1), 2000);
	ck_assert_int_eq(policy_timer_step(1000, 6), 64000);
	ck_assert_int_eq(policy_timer_step(1000, 1000000), 64000);
	ck_assert_int_eq(policy_timer_step(3000000, 1), 3600000);
	ck_assert_int_eq(policy_timer_step(86400000, 5), 86400000);
}
END_TEST

/* Another generation is active: no tick any more, but what runs ends. At the worker's end it is cut. */
START_TEST(every_stops)
{
	struct fix f;

	start(&f, EVERY("gw.log.info('begins') gw.sleep(0.2) gw.log.info('ends')", ""), NULL);
	TURN_UNTIL(&f, count("begins") == 1);
	policy_gen_retire(f.g);
	TURN_UNTIL(&f, count("ends") == 1);
	for (int i = 0; i < 100; i++)
		turn(&f);
	ck_assert_uint_eq(count("begins"), 1);
	fix_fini(&f);

	start(&f, EVERY("gw.log.info('begins') gw.sleep(0.2) gw.log.info('ends')", ""), NULL);
	TURN_UNTIL(&f, count("begins") == 1);
	policy_stop(f.p, on_stopped, &f);
	ck_assert(stopped);
	for (int i = 0; i < 150; i++)
		turn(&f);
	ck_assert_uint_eq(count("ends"), 0);
	fix_fini(&f);

	start(&f, EVERY("gw.log.info('begins') gw.sleep(5)", ""), NULL);
	TURN_UNTIL(&f, count("begins") == 1);
	fix_fini(&f);
}
END_TEST

/* In a worker that was not elected. */
START_TEST(every_node_elsewhere)
{
	struct fix f;

	fix_load(&f, EVERY("gw.log.info('ticks')", "scope = 'node'"));
	f.p->worker = 1;
	policy_gen_activate(f.g);
	for (int i = 0; i < 100; i++)
		turn(&f);
	ck_assert_uint_eq(count("ticks"), 0);
	fix_fini(&f);
}
END_TEST

/* ---- Hooks of reception ---- */

static const struct made {
	const char *text;
	enum verdict_kind kind;
} made[] = {
	{ "gw.accept {}", VERDICT_ACCEPT }, { "gw.reject {}", VERDICT_REJECT }, { "gw.defer {}", VERDICT_DEFER },
	{ "gw.drop {}", VERDICT_DROP }, { "gw.discard { reason = 'x' }", VERDICT_DISCARD },
	{ "gw.hold {}", VERDICT_HOLD }, { "gw.bounce {}", VERDICT_BOUNCE },
	{ "gw.route { via = 'mx' }", VERDICT_ROUTE }, { "gw.reroute { via = 'mx' }", VERDICT_REROUTE },
	{ "gw.tls { level = 'may' }", VERDICT_TLS }, { "gw.retry {}", VERDICT_RETRY },
	{ "gw.fail {}", VERDICT_FAIL }, { "gw.skip_host {}", VERDICT_SKIP_HOST },
	{ "gw.suppress { reason = 'x' }", VERDICT_SUPPRESS }, { "gw.caps { hide = {} }", VERDICT_CAPS },
	{ "gw.identity { id = 'x' }", VERDICT_IDENTITY },
};
#define TAKES(kind) (1u << VERDICT_##kind)
static const struct hook_case {
	enum policy_hook hook;
	unsigned takes;
	int code;			/* of the fixed outcome, which is defer in all of them */
	const char *status;
	const char *mild, *severe;	/* two verdicts that it takes */
	enum verdict_kind mild_kind, severe_kind;
} hooks[] = {
	{ HOOK_HEADER, TAKES(REJECT) | TAKES(DEFER), 451, "4.3.0", "gw.defer {}", "gw.reject {}", VERDICT_DEFER,
	    VERDICT_REJECT },
	{ HOOK_AUTH, TAKES(IDENTITY) | TAKES(REJECT) | TAKES(DEFER), 454, "4.7.0", "gw.identity { id = 'ann' }",
	    "gw.reject {}", VERDICT_IDENTITY, VERDICT_REJECT },
	{ HOOK_BOUNCE_IN, TAKES(HOLD) | TAKES(DISCARD) | TAKES(ACCEPT), 451, "4.3.0", "gw.discard { reason = 'x' }",
	    "gw.hold {}", VERDICT_DISCARD, VERDICT_HOLD },
};

static struct verdict later;
static unsigned later_calls;

static void
take_later(void *owner, uint64_t ticket, struct verdict *v)
{
	later_calls++;
	verdict_move(&later, v);
}

/* One handler with this body, or with two; the verdict. */
static void
ask(const struct hook_case *c, const char *levels, const char *text, struct verdict *v)
{
	struct fix f;
	struct world w;
	uint64_t ticket;

	start(&f, text, levels);
	world_init(&w);
	later_calls = 0;
	if (policy_call(f.p, f.g, c->hook, world_for(&w, c->hook), v, take_later, NULL, &ticket) == POLICY_LATER) {
		TURN_UNTIL(&f, later_calls == 1);
		verdict_move(v, &later);
	}
	world_fini(&w, f.g);
	fix_fini(&f);
}

static char *
handler(const struct hook_case *c, const char *name, const char *body, const char *opts)
{
	return xasprintf("gw.on('%s', function(...) %s end, { name = '%s', %s })\n", policy_hook_name(c->hook), body,
	    name, opts);
}

#define IS_FIXED(c, v) ((v).is_error && (v).kind == VERDICT_DEFER && (v).code == (c)->code &&	\
	strcmp((v).status, (c)->status) == 0)

START_TEST(verdicts)
{
	const struct hook_case *c = &hooks[_i];

	for (size_t i = 0; i < NELEMS(made); i++) {
		char *body = xasprintf("return %s", made[i].text), *text = handler(c, "h", body, "");
		struct verdict v;

		ask(c, NULL, text, &v);
		if (c->takes & 1u << made[i].kind)
			ck_assert_msg(v.kind == made[i].kind && !v.is_error, "%s: %s", made[i].text, fix_log);
		else
			ck_assert_msg(IS_FIXED(c, v), "%s: %s", made[i].text, fix_log);
		verdict_fini(&v);
		free(text);
		free(body);
	}
}
END_TEST

static const struct way {
	const char *body, *opts;
	bool fails;
	const char *log;
} ways[] = {
	{ "", "", false, NULL }, { "return nil", "", false, NULL }, { "return true", "", true, "a boolean" },
	{ "return nil, 1", "", true, "more than one value" }, { "error('boom')", "", true, "boom" },
	{ "local x = nil return x.y", "", true, "nil value" }, { "while true do end", "", true, "limit.instructions" },
	{ "local t = {} while true do t[#t + 1] = string.rep('x', 1000) end", "", true, "limit." },
	{ "gw.sleep(0.01)", "", false, NULL }, { "gw.sleep(0.01) error('boom')", "", true, "boom" },
	{ "gw.sleep(5)", "wall = 0.02", true, "limit.wall" },
	{ "error('boom')", "level = 'advisory'", false, "boom" }, { "error('boom')", "observe = true", false, "boom" },
	{ "error('boom')", "level = 'mandatory'", true, "boom" },
};

START_TEST(ways_to_end)
{
	const struct hook_case *c = &hooks[_i];

	for (size_t i = 0; i < NELEMS(ways); i++) {
		char *text = handler(c, "h", ways[i].body, ways[i].opts);
		struct verdict v;

		ask(c, NULL, text, &v);
		if (ways[i].fails)
			ck_assert_msg(IS_FIXED(c, v), "%s: %s", ways[i].body, fix_log);
		else
			ck_assert_msg(v.kind == VERDICT_NONE && !v.is_error, "%s: %s", ways[i].body, fix_log);
		ck_assert_msg(ways[i].log == NULL || strstr(fix_log, ways[i].log) != NULL, "%s: %s", ways[i].body, fix_log);
		verdict_fini(&v);
		free(text);
	}
}
END_TEST

/* The caller has gone: the handler never goes on, and nobody is told. */
START_TEST(caller_gone)
{
	const struct hook_case *c = &hooks[_i];
	char *text = handler(c, "h", "gw.sleep(0.02) gw.log.info('goes on')", "");
	struct policy_stats st;
	struct fix f;
	struct world w;
	struct verdict v;
	uint64_t ticket;

	start(&f, text, NULL);
	world_init(&w);
	later_calls = 0;
	ck_assert_int_eq(policy_call(f.p, f.g, c->hook, world_for(&w, c->hook), &v, take_later, NULL, &ticket),
	    POLICY_LATER);
	policy_cancel(f.p, ticket);
	world_fini(&w, f.g);
	for (int i = 0; i < 20; i++)
		turn(&f);
	policy_stats(f.p, &st);
	ck_assert_uint_eq(st.waiting, 0);
	ck_assert_uint_eq(later_calls, 0);
	ck_assert_msg(strstr(fix_log, "goes on") == NULL, "%s", fix_log);
	fix_fini(&f);
	free(text);
}
END_TEST

/* Levels, from the policy and from the configuration; `h` says the severe thing, `k` the mild one. */
START_TEST(levels)
{
	static const struct {
		const char *h_opts, *k_opts, *override;
		int winner;		/* 0 none, 1 mild, 2 severe */
	} rows[] = {
		{ "", "priority = 1", NULL, 1 },			/* first come */
		{ "priority = 1", "", NULL, 2 },
		{ "level = 'mandatory'", "", NULL, 2 },
		{ "priority = 1", "level = 'mandatory'", NULL, 2 },	/* the more restrictive */
		{ "level = 'mandatory'", "level = 'mandatory'", NULL, 2 },
		{ "level = 'advisory', priority = 1", "", NULL, 1 },
		{ "priority = 1", "", "advisory", 1 },
		{ "priority = 1", "level = 'advisory'", "advisory", 0 },
		{ "", "priority = 1", "mandatory", 2 },
		{ "level = 'advisory'", "priority = 1", "mandatory", 2 },
		{ "observe = true, priority = 1", "", NULL, 1 },
	};
	const struct hook_case *c = &hooks[_i];
	char *severe = xasprintf("return %s", c->severe), *mild = xasprintf("return %s", c->mild);

	for (size_t i = 0; i < NELEMS(rows); i++) {
		char *h = handler(c, "h", severe, rows[i].h_opts), *k = handler(c, "k", mild, rows[i].k_opts);
		char *text = xasprintf("%s%s", h, k);
		struct verdict v;

		ask(c, rows[i].override, text, &v);
		ck_assert_msg(v.kind == (rows[i].winner == 0 ? VERDICT_NONE : rows[i].winner == 1 ? c->mild_kind :
		    c->severe_kind), "%s row %zu: %s %s", policy_hook_name(c->hook), i, verdict_kind_name(v.kind), fix_log);
		ck_assert(!v.is_error);
		verdict_fini(&v);
		free(text);
		free(h);
		free(k);
	}
	free(severe);
	free(mild);
}
END_TEST

/* What gw.identity says, what cred shows, and which of two mandatory ones counts. */
START_TEST(identity)
{
	static const struct hook_case c = { .hook = HOOK_AUTH };
	struct verdict v;

	ask(&c, NULL, "gw.on('auth', function(session, cred)\n"
	    "  assert(cred.mech == 'PLAIN' and cred.id == 'ann' and cred.password == 'secret' and cred.authzid == nil)\n"
	    "  assert(session.auth == nil and tostring(cred) == 'cred' and not pcall(function() return cred.user end))\n"
	    "  return gw.identity { id = 'ann', attrs = { n = 1 } } end, { name = 'h' })\n"
	    "gw.on('auth', function() return gw.identity { id = 'bob' } end, { name = 'k', level = 'mandatory' })\n"
	    "gw.on('auth', function() return gw.identity { id = 'eve' } end, { name = 'l', level = 'mandatory' })\n", &v);
	ck_assert_msg(v.kind == VERDICT_IDENTITY, "%s", fix_log);
	ck_assert_str_eq(v.identity, "bob");
	ck_assert_ptr_null(v.attrs);
	verdict_fini(&v);
	ask(&c, NULL, "gw.on('auth', function() return gw.identity { id = 'ann', attrs = { n = 1, t = { true } } } end, "
	    "{ name = 'h' })\n", &v);
	ck_assert_str_eq(v.attrs, "{\"n\":1,\"t\":[true]}");
	verdict_fini(&v);
	ck_assert_msg(strstr(fix_log, "secret") == NULL, "%s", fix_log);
}
END_TEST

static const char *const bad_identities[] = {
	"gw.identity {}", "gw.identity { id = '' }", "gw.identity { id = 'a\\r\\nb' }", "gw.identity { id = 5 }",
	"gw.identity { id = 'a', attrs = 5 }", "gw.identity { id = 'a', attrs = { f = print } }",
	"gw.identity { id = string.rep('a', 256) }", "gw.identity { id = 'a', attrs = { x = string.rep('a', 5000) } }",
	"gw.identity { name = 'a' }",
};

START_TEST(identity_wrong)
{
	static const struct hook_case c = { .hook = HOOK_AUTH, .code = 454, .status = "4.7.0" };
	char *text = xasprintf("gw.on('auth', function() return %s end, { name = 'h' })\n", bad_identities[_i]);
	struct verdict v;

	ask(&c, NULL, text, &v);
	ck_assert_msg(IS_FIXED(&c, v), "%s: %s", bad_identities[_i], fix_log);
	verdict_fini(&v);
	free(text);
}
END_TEST

/* What advisory and observing handlers would change stays as it is. */
START_TEST(body_mode)
{
	static const struct {
		const char *opts;
		bool wants;
	} rows[] = { { "", true }, { "level = 'advisory'", false }, { "observe = true", false } };

	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct hook_case c = { .hook = HOOK_HEADER };
		char *text = handler(&c, "h", "local s, m = ... m.body_mode = 'stream' m.body_mode = 'inspect' "
		    "m.body_mode = 'stream'", rows[i].opts);
		struct fix f;
		struct world w;
		struct verdict v;

		start(&f, text, NULL);
		world_init(&w);
		fix_call(&f, HOOK_HEADER, &w, &v);
		ck_assert_msg(w.s.wants_body == rows[i].wants, "%s: %s", rows[i].opts, fix_log);
		verdict_fini(&v);
		world_fini(&w, f.g);
		fix_fini(&f);
		free(text);
	}
}
END_TEST

UNIT_MAIN("policy_hooks",
	tcase_add_loop_test(tc, init, 0, NELEMS(inits));
	tcase_add_test(tc, init_cancelled);
	tcase_add_loop_test(tc, fini, 0, NELEMS(finis));
	tcase_add_test(tc, fini_says_why);
	tcase_add_test(tc, fini_is_ended);
	tcase_add_test(tc, fini_and_the_end_of_the_engine);
	tcase_add_loop_test(tc, every_wrong, 0, NELEMS(every_errors));
	tcase_add_loop_test(tc, every, 0, NELEMS(ticks));
	tcase_add_test(tc, every_for_itself);
	tcase_add_test(tc, every_coalesces);
	tcase_add_test(tc, every_recovers);
	tcase_add_test(tc, every_backs_off);
	tcase_add_test(tc, every_stops);
	tcase_add_test(tc, every_node_elsewhere);
	tcase_add_loop_test(tc, verdicts, 0, NELEMS(hooks));
	tcase_add_loop_test(tc, ways_to_end, 0, NELEMS(hooks));
	tcase_add_loop_test(tc, caller_gone, 0, NELEMS(hooks));
	tcase_add_loop_test(tc, levels, 0, NELEMS(hooks));
	tcase_add_test(tc, body_mode);
	tcase_add_test(tc, identity);
	tcase_add_loop_test(tc, identity_wrong, 0, NELEMS(bad_identities));
)
