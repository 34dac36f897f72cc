/* gw.all and gw.within: functions on fibers of their own, and their caller waits until they have come
 * to an end. They share the handler's budget; whatever ends the caller's wait ends them. A group
 * lives as long as one of its fibers. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "policy/await_group.h"

#define FUNCTIONS_MAX 100
#define WITHIN_MAX_MS 60000

struct group_wait {
	struct policy_wait w;		/* first */
	struct policy_group *g;		/* NULL once it was stopped */
};

/* ---- Groups ---- */

void
policy_group_forget(struct policy_fiber *f)
{
	struct policy_group *g = f->group;

	if (g == NULL)
		return;
	f->group = NULL;
	for (unsigned i = 0; i < g->n; i++)
		if (g->part[i] == f)
			g->part[i] = NULL;
	if (--g->held > 0)
		return;
	if (g->wait != NULL)
		g->wait->g = NULL;
	if (g->abandon != NULL)
		g->abandon(g);
	free(g);
}

void
policy_group_release(struct policy_group *g)
{
	unsigned n = g->n;
	bool is_last;

	for (unsigned i = 0; i < n; i++) {
		if (g->part[i] == NULL)
			continue;
		is_last = g->held == 1;
		policy_fiber_release(g->part[i]);
		if (is_last)
			return;
	}
}

/* Adds a fiber for the function on top of the stack, which is taken. Raises, and then what is there
 * already goes with the handler. */
struct policy_group *
policy_group_add(lua_State *L, struct policy_group *g, unsigned n)
{
	struct policy_run *r = policy_run_of(L);
	struct policy_fiber *f = policy_fiber_new(L, r);

	if (g == NULL) {
		g = xcalloc(1, sizeof *g + n * sizeof g->part[0]);
		g->n = n;
		g->parallel = 1;
		g->failed = -1;
	}
	f->group = g;
	g->part[g->held++] = f;
	lua_xmove(L, f->co, 1);
	return g;
}

/* Raised, or returned nil and what is wrong. */
static bool
has_failed(const struct policy_fiber *f)
{
	return f->status != LUA_OK || (f->nresults >= 2 && lua_isnil(f->co, -f->nresults) &&
	    !lua_isnil(f->co, 1 - f->nresults));
}

static void
note_end(struct policy_group *g, struct policy_fiber *f)
{
	g->running--;
	if (g->collects || g->failed >= 0 || !has_failed(f))
		return;
	for (unsigned i = 0; i < g->n; i++) {
		if (g->part[i] == f)
			g->failed = (int)i;
		else if (g->part[i]->state != FIBER_DEAD)
			policy_fiber_cancel(g->part[i]);
	}
	g->running = 0;
}

static bool
is_complete(const struct policy_group *g)
{
	return g->failed >= 0 || (g->begun == g->n && g->running == 0);
}

/* As many as may run; r->killed may be set afterwards. `from` as for policy_fiber_resume. */
static void
begin(struct policy_group *g, struct policy_run *r, lua_State *from)
{
	while (g->failed < 0 && g->begun < g->n && g->running < g->parallel && r->killed == KILL_NONE) {
		struct policy_fiber *f = g->part[g->begun++];

		g->running++;
		if ((from != NULL ? policy_fiber_resume(f, from, g->nargs) : policy_fiber_go(f, g->nargs)) !=
		    LUA_WAITS)
			note_end(g, f);
	}
}

struct policy_fiber *
policy_group_ended(struct policy_fiber *f)
{
	struct policy_group *g = f->group;
	struct policy_wait *w;

	note_end(g, f);
	begin(g, f->run, NULL);
	if (f->run->killed != KILL_NONE || !is_complete(g))
		return NULL;
	w = &g->wait->w;
	policy_wait_over(w);
	return w->fiber;
}

static void
stop(struct policy_wait *w)
{
	struct policy_group *g = ((struct group_wait *)w)->g;

	if (g != NULL)
		policy_group_release(g);
}

static int resumed(lua_State *L, int status, lua_KContext ctx);

int
policy_group_run(lua_State *L, struct policy_group *g, int64_t ms)
{
	struct policy_run *r = policy_run_of(L);
	struct group_wait *w;

	g->caller = r->fiber;
	begin(g, r, L);
	if (r->killed != KILL_NONE)
		policy_kill(L, r->killed);
	if (is_complete(g))
		return g->finish(L, g);
	w = policy_wait_new(r, sizeof *w, ms, stop);
	w->g = g;
	g->wait = w;
	return policy_wait_begin(L, r, &w->w, resumed);
}

static int
resumed(lua_State *L, int status, lua_KContext ctx)
{
	struct group_wait *w = policy_wait_take(L);
	struct policy_group *g = w->g;

	policy_wait_free(&w->w);
	if (g == NULL)
		return policy_push_error(L, "timeout", true, false, "gw.within: the time is up");
	g->wait = NULL;
	return g->finish(L, g);
}

int
policy_group_raise(lua_State *L, struct policy_group *g, struct policy_fiber *f)
{
	luaL_checkstack(L, 2, "error");
	lua_xmove(f->co, L, 1);
	policy_group_release(g);
	return lua_error(L);
}

/* ---- gw.all ---- */

static int
all_failed(lua_State *L, struct policy_group *g)
{
	struct policy_fiber *f = g->part[g->failed];

	if (f->status != LUA_OK)
		return policy_group_raise(L, g, f);
	lua_settop(f->co, 2);
	lua_xmove(f->co, L, 2);
	policy_group_release(g);
	return 2;
}

/* { value =, error = } of one function that came to an end, however. */
static void
push_outcome(lua_State *L, struct policy_fiber *f)
{
	bool ok = f->status == LUA_OK;

	lua_createtable(L, 0, 2);
	if (ok)
		lua_settop(f->co, 2);
	lua_xmove(f->co, L, ok ? 2 : 1);
	lua_setfield(L, ok ? -3 : -2, "error");
	if (ok)
		lua_setfield(L, -2, "value");
}

static int
all_finish(lua_State *L, struct policy_group *g)
{
	luaL_checkstack(L, 6, "gw.all");
	if (g->failed >= 0)
		return all_failed(L, g);
	lua_createtable(L, (int)g->n, 1);
	for (unsigned i = 0; i < g->n; i++) {
		struct policy_fiber *f = g->part[i];

		if (g->collects) {
			push_outcome(L, f);
		} else {
			lua_settop(f->co, 1);
			lua_xmove(f->co, L, 1);
		}
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_pushinteger(L, g->n);
	lua_setfield(L, -2, "n");
	policy_group_release(g);
	return 1;
}

/* gw.all({ f1, f2, ... } [, { mode = "fail_fast" | "collect", parallel = n }]) */
static int
gw_all(lua_State *L)
{
	static const char *const fields[] = { "mode", "parallel", NULL };
	struct policy_run *r = policy_not_loading(L, "gw.all");
	lua_Integer n, parallel = IN_FLIGHT_MAX;
	struct policy_group *g = NULL;
	bool collects = false;
	const char *mode;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 2);
	if (!lua_isnil(L, 2)) {
		policy_opts_check(L, 2, "gw.all", fields);
		parallel = policy_opt_integer(L, 2, "gw.all", "parallel", 1, IN_FLIGHT_MAX, IN_FLIGHT_MAX);
		mode = policy_opt_string(L, 2, "gw.all", "mode", false, 20);
		collects = mode != NULL && strcmp(mode, "collect") == 0;
		if (mode != NULL && !collects && strcmp(mode, "fail_fast") != 0)
			return luaL_error(L, "gw.all: mode is \"fail_fast\" or \"collect\", not \"%s\"", mode);
	}
	policy_wait_check(L, r, "gw.all");
	n = luaL_len(L, 1);
	if (n > FUNCTIONS_MAX)
		return luaL_error(L, "gw.all: more than %d functions", FUNCTIONS_MAX);
	if (n == 0) {
		lua_createtable(L, 0, 1);
		lua_pushinteger(L, 0);
		lua_setfield(L, -2, "n");
		return 1;
	}
	for (lua_Integer i = 1; i <= n; i++) {
		if (lua_geti(L, 1, i) != LUA_TFUNCTION)
			return luaL_error(L, "gw.all: item %d is a %s; functions are wanted", (int)i,
			    luaL_typename(L, -1));
		g = policy_group_add(L, g, (unsigned)n);
	}
	g->parallel = (unsigned)parallel;
	g->collects = collects;
	g->finish = all_finish;
	return policy_group_run(L, g, -1);
}

/* ---- gw.within ---- */

static int
within_finish(lua_State *L, struct policy_group *g)
{
	struct policy_fiber *f = g->part[0];
	int n = f->nresults;

	if (f->status != LUA_OK)
		return policy_group_raise(L, g, f);
	luaL_checkstack(L, n + 1, "gw.within");
	lua_xmove(f->co, L, n);
	policy_group_release(g);
	return n;
}

/* gw.within(seconds, fn): what fn returns, or nil and an error of kind "timeout". */
static int
gw_within(lua_State *L)
{
	struct policy_run *r = policy_not_loading(L, "gw.within");
	lua_Number s = luaL_checknumber(L, 1);
	struct policy_group *g;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	if (!(s > 0 && s * 1000 <= WITHIN_MAX_MS))
		return luaL_error(L, "gw.within: more than 0 and at most %d seconds", WITHIN_MAX_MS / 1000);
	policy_wait_check(L, r, "gw.within");
	g = policy_group_add(L, NULL, 1);
	g->collects = true;
	g->finish = within_finish;
	return policy_group_run(L, g, s < 0.001 ? 1 : (int64_t)(s * 1000));
}

void
policy_group_open(lua_State *L)
{
	static const luaL_Reg fns[] = { { "all", gw_all }, { "within", gw_within }, { NULL, NULL } };

	luaL_setfuncs(L, fns, 0);
}
