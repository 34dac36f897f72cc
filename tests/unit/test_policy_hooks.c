/* Hooks beside the way of a message: what each takes, what becomes of nil, of a forbidden verdict,
 * an error, an exceeded budget, and of a caller who leaves while the handler waits. */
#include "policy_fixture.h"

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

UNIT_MAIN("policy_hooks",
	tcase_add_loop_test(tc, init, 0, NELEMS(inits));
	tcase_add_test(tc, init_cancelled);
	tcase_add_loop_test(tc, fini, 0, NELEMS(finis));
	tcase_add_test(tc, fini_says_why);
	tcase_add_test(tc, fini_is_ended);
	tcase_add_test(tc, fini_and_the_end_of_the_engine);
)
