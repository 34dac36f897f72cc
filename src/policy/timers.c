/* gw.every: timers that belong to a generation. They tick from its activation on, until another
 * takes its place; what runs then may come to its end.
 *
 * The next tick is set when the last run has ended, on the grid that the interval makes: ticks that
 * fell into a run, or into a time when the loop was busy, are left out and counted. After a failure
 * the interval is doubled, up to an hour, until a run goes well: it never stops for good. */
#include "config.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "policy/policy_int.h"

#define TIMERS_MAX 100
#define INTERVAL_MIN_MS 100
#define INTERVAL_MAX_MS (366ll * 86400 * 1000)
#define BACKOFF_MAX_MS 3600000
#define DOUBLINGS_MAX 6
#define WALL_MAX_MS 60000

static void on_tick(evutil_socket_t fd, short what, void *arg);

static int64_t
jitter(const struct policy_timer *t)
{
	uint32_t rnd = 0;

	if (t->jitter_ms == 0)
		return 0;
	if (getrandom(&rnd, sizeof rnd, GRND_NONBLOCK) != sizeof rnd)
		rnd = (uint32_t)clock_mono_ns();
	return (int64_t)(rnd % ((uint64_t)t->jitter_ms + 1));
}

int64_t
policy_timer_step(int64_t interval_ms, unsigned failures)
{
	int64_t most = interval_ms > BACKOFF_MAX_MS ? interval_ms : BACKOFF_MAX_MS;
	int64_t step = interval_ms << (failures < DOUBLINGS_MAX ? failures : DOUBLINGS_MAX);

	return step > most ? most : step;
}

static void
set_next(struct policy_timer *t)
{
	int64_t now = clock_mono_ms(), step = policy_timer_step(t->interval_ms, t->failures), wait;
	struct timeval tv;

	if (t->ev == NULL)	/* the generation's time is over */
		return;
	t->due_ms += step;
	if (t->due_ms <= now) {
		int64_t n = (now - t->due_ms) / step + 1;

		t->missed += (uint64_t)n;
		t->due_ms += n * step;
	}
	wait = t->due_ms - now + jitter(t);
	tv.tv_sec = wait / 1000;
	tv.tv_usec = wait % 1000 * 1000;
	evtimer_add(t->ev, &tv);
}

static void
run_over(struct policy_timer *t)
{
	t->ticket = 0;
	t->missed = 0;
	if (t->h->errors == t->errors_before) {
		t->failures = 0;
	} else {
		t->failures++;
		log_warn("policy timer failed, it goes on later", LOG_S("timer", t->h->name),
		    LOG_U("failures", t->failures),
		    LOG_I("interval_ms", policy_timer_step(t->interval_ms, t->failures)));
	}
	set_next(t);
}

static void
run_done(void *owner, uint64_t ticket, struct verdict *v)
{
	run_over(owner);
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct policy_timer *t = arg;
	struct verdict v;

	t->errors_before = t->h->errors;
	t->s = (struct policy_subject){ .rcpt = -1, .timer = t };
	if (policy_call(t->gen->policy, t->gen, HOOK_EVERY, &t->s, &v, run_done, t, &t->ticket) == POLICY_LATER)
		return;
	verdict_fini(&v);
	run_over(t);
}

/* ---- With the generation ---- */

void
policy_timers_start(struct policy_gen *g)
{
	for (size_t i = 0; i < g->ntimers; i++) {
		struct policy_timer *t = g->timers[i];

		if (t->ev != NULL || (t->is_node && g->policy->worker != 0))
			continue;
		t->ev = evtimer_new(g->policy->base, on_tick, t);
		MUST(t->ev != NULL);
		t->due_ms = clock_mono_ms();
		set_next(t);
	}
}

void
policy_timers_stop(struct policy_gen *g, bool at_once)
{
	for (size_t i = 0; i < g->ntimers; i++) {
		struct policy_timer *t = g->timers[i];
		uint64_t ticket = t->ticket;

		if (t->ev != NULL)
			event_free(t->ev);
		t->ev = NULL;
		if (at_once && ticket != 0) {
			t->ticket = 0;
			policy_cancel(g->policy, ticket);
		}
	}
}

void
policy_timers_free(struct policy_gen *g)
{
	for (size_t i = 0; i < g->ntimers; i++) {
		if (g->timers[i]->ev != NULL)
			event_free(g->timers[i]->ev);
		free(g->timers[i]);
	}
	free(g->timers);
}

/* ---- gw.every ---- */

/* gw.every { name =, interval =, run = function(tick) ... end, jitter =, scope =, level =, wall = } */
static int
every(lua_State *L)
{
	static const char api[] = "gw.every";
	static const char *const fields[] = {
		"name", "interval", "jitter", "scope", "run", "level", "wall", "observe", NULL
	};
	struct policy_gen *g = policy_run_of(L)->gen;
	struct handler h = { .hook = HOOK_EVERY, .level = POLICY_NORMAL };
	struct policy_timer *t;
	int64_t interval, jitter_ms;
	const char *scope, *level;

	if (lua_gettop(L) != 1)
		luaL_error(L, "gw.every takes one table: gw.every{ name = \"my.timer\", interval = \"5m\", "
		    "run = function(tick) ... end }");
	policy_opts_check(L, 1, api, fields);
	snprintf(h.name, sizeof h.name, "%s", policy_opt_string(L, 1, api, "name", true, sizeof h.name - 1));
	interval = policy_opt_duration(L, 1, api, "interval", 0);
	if (interval < INTERVAL_MIN_MS || interval > INTERVAL_MAX_MS)
		luaL_error(L, "gw.every: interval is needed, from 0.1 seconds to 366 days");
	jitter_ms = policy_opt_duration(L, 1, api, "jitter", 0);
	if (jitter_ms > interval)
		luaL_error(L, "gw.every: jitter is at most the interval");
	scope = policy_opt_string(L, 1, api, "scope", false, 20);
	if (scope != NULL && strcmp(scope, "worker") != 0 && strcmp(scope, "node") != 0)
		luaL_error(L, "gw.every: scope is \"worker\" or \"node\"");
	if ((level = policy_opt_string(L, 1, api, "level", false, 20)) != NULL)
		h.level = policy_level_parse(L, api, level);
	h.observe = policy_opt_bool(L, 1, api, "observe", false);
	h.wall_ms = policy_opt_duration(L, 1, api, "wall", 0);
	if (h.wall_ms > WALL_MAX_MS)
		luaL_error(L, "gw.every: wall is at most 60 seconds");
	if (lua_getfield(L, 1, "run") != LUA_TFUNCTION || lua_iscfunction(L, -1))
		luaL_error(L, "gw.every: run must be a function written in the policy");
	if (g->ntimers >= TIMERS_MAX)
		luaL_error(L, "gw.every: more than %d timers", TIMERS_MAX);
	policy_handler_add(L, api, &h, 0, lua_gettop(L));
	t = xcalloc(1, sizeof *t);
	t->gen = g;
	t->h = g->handlers[g->nhandlers - 1];
	t->interval_ms = interval;
	t->jitter_ms = jitter_ms;
	t->is_node = scope != NULL && scope[0] == 'n';
	g->timers = xrealloc(g->timers, (g->ntimers + 1) * sizeof(struct policy_timer *));
	g->timers[g->ntimers++] = t;
	return 0;
}

int
policy_every(lua_State *L)
{
	return policy_register(L, "gw.every", every);
}
