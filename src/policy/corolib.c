/* Coroutines that a policy makes. They run inside the fiber of the handler that resumes them, on its
 * budget, and end with it: resumed later they raise. When something in one of them has to wait, it
 * yields with run->awaiting set, and so does each `resume` around it, up to the event loop; on the
 * way back each resumes its own again.
 *
 * The library's own functions do not do: a coroutine's extra space would point to the load's run,
 * and `resume` would take an inner wait for a yield of the policy's. */
#include "config.h"

#include "policy/policy_int.h"

/* A coroutine's first instructions, up to a whole interval, are not seen by its count hook. */
#define CREATE_COST 20

static char turns_key;	/* registry: coroutine -> number of the handler call it belongs to; weak */

static lua_State *
check_thread(lua_State *L)
{
	lua_State *co = lua_tothread(L, 1);

	luaL_argexpected(L, co != NULL, 1, "coroutine");
	return co;
}

/* Was the coroutine at idx made by the handler that runs now? */
static bool
is_ours(lua_State *L, int idx)
{
	bool ours;

	idx = lua_absindex(L, idx);
	luaL_checkstack(L, 3, "coroutine");
	lua_rawgetp(L, LUA_REGISTRYINDEX, &turns_key);
	lua_pushvalue(L, idx);
	lua_rawget(L, -2);
	ours = lua_isinteger(L, -1) && (uint64_t)lua_tointeger(L, -1) == policy_run_of(L)->turn;
	lua_pop(L, 2);
	return ours;
}

static int
co_create(lua_State *L)
{
	struct policy_run *r = policy_run_of(L);
	lua_State *co;

	luaL_checktype(L, 1, LUA_TFUNCTION);
	lua_settop(L, 1);
	r->instructions += CREATE_COST;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &turns_key);
	co = lua_newthread(L);
	*(struct policy_run **)lua_getextraspace(co) = r;
	lua_pushvalue(L, 1);
	lua_xmove(L, co, 1);
	lua_pushvalue(L, 3);
	lua_pushinteger(L, (lua_Integer)r->turn);
	lua_rawset(L, 2);
	return 1;
}

/* "suspended" means: may be resumed. One that waits, itself or through one that it resumed, may not;
 * policy_wait_begin and pass_up leave something on the stack of such a one. */
static const char *
status_of(lua_State *L, lua_State *co)
{
	lua_Debug ar;

	if (L == co)
		return "running";
	switch (lua_status(co)) {
	case LUA_YIELD:
		return lua_gettop(co) > 0 ? "normal" : "suspended";
	case LUA_OK:
		if (lua_getstack(co, 0, &ar))
			return "normal";
		return lua_gettop(co) == 0 ? "dead" : "suspended";
	default:
		return "dead";
	}
}

/* ---- resume ---- */

enum ended { ENDED_OK, ENDED_ERROR, ENDED_WAITS };

/* With nargs values on co's stack. *n results, or an error value, are moved to L. */
static enum ended
switch_to(lua_State *L, lua_State *co, int nargs, int *n)
{
	struct policy_run *r = policy_run_of(L);
	struct policy_gen *g = r->gen;
	bool is_deaf = !lua_isyieldable(L);
	int status;

	r->deaf += is_deaf;
	g->running = co;
	status = lua_resume(co, L, nargs, n);
	g->running = L;
	r->deaf -= is_deaf;
	if (status == LUA_YIELD && r->awaiting != NULL)
		return ENDED_WAITS;
	if (status == LUA_ERRMEM && r->killed == KILL_NONE)
		r->killed = KILL_MEMORY;
	if (r->killed != KILL_NONE)
		policy_kill(L, r->killed);
	if (status != LUA_OK && status != LUA_YIELD) {
		lua_xmove(co, L, 1);
		return ENDED_ERROR;
	}
	if (!lua_checkstack(L, *n + 1)) {
		lua_pop(co, *n);
		lua_pushliteral(L, "too many results to resume");
		return ENDED_ERROR;
	}
	lua_xmove(co, L, *n);
	return ENDED_OK;
}

static int resumed(lua_State *L, int status, lua_KContext ctx);
static int wrap_resumed(lua_State *L, int status, lua_KContext ctx);

static int
pass_up(lua_State *L, lua_KFunction k)
{
	lua_pushnil(L);
	return lua_yieldk(L, 1, 0, k);
}

static int
resume_results(lua_State *L, lua_State *co, int nargs)
{
	int n = 0;

	switch (switch_to(L, co, nargs, &n)) {
	case ENDED_WAITS:
		return pass_up(L, resumed);
	case ENDED_OK:
		lua_pushboolean(L, 1);
		lua_insert(L, -(n + 1));
		return n + 1;
	default:
		lua_pushboolean(L, 0);
		lua_insert(L, -2);
		return 2;
	}
}

/* What was waited for is there. */
static int
resumed(lua_State *L, int status, lua_KContext ctx)
{
	lua_State *co = lua_tothread(L, 1);

	lua_pop(co, 1);
	return resume_results(L, co, 0);
}

/* Moves the arguments above the first `from` values; NULL, or why not. */
static const char *
prepare(lua_State *L, lua_State *co, int co_idx, int nargs)
{
	const char *status = status_of(L, co);

	if (!is_ours(L, co_idx))
		luaL_error(L, "this coroutine belongs to a handler that has ended");
	if (status[0] != 's') {
		lua_pushfstring(L, "cannot resume %s coroutine", status[0] == 'd' ? "dead" : "non-suspended");
		return lua_tostring(L, -1);
	}
	if (!lua_checkstack(co, nargs + 1)) {
		lua_pushliteral(L, "too many arguments to resume");
		return lua_tostring(L, -1);
	}
	lua_xmove(L, co, nargs);
	return NULL;
}

static int
co_resume(lua_State *L)
{
	lua_State *co = check_thread(L);
	int nargs = lua_gettop(L) - 1;

	if (prepare(L, co, 1, nargs) != NULL) {
		lua_pushboolean(L, 0);
		lua_insert(L, -2);
		return 2;
	}
	return resume_results(L, co, nargs);
}

/* ---- wrap; upvalue: the coroutine ---- */

static int
wrap_error(lua_State *L)
{
	if (lua_type(L, -1) == LUA_TSTRING) {	/* where it was called */
		luaL_where(L, 1);
		lua_insert(L, -2);
		lua_concat(L, 2);
	}
	return lua_error(L);
}

static int
wrap_results(lua_State *L, lua_State *co, int nargs)
{
	int n = 0;

	switch (switch_to(L, co, nargs, &n)) {
	case ENDED_WAITS: return pass_up(L, wrap_resumed);
	case ENDED_OK: return n;
	default: return wrap_error(L);
	}
}

static int
wrap_resumed(lua_State *L, int status, lua_KContext ctx)
{
	lua_State *co = lua_tothread(L, lua_upvalueindex(1));

	lua_pop(co, 1);
	return wrap_results(L, co, 0);
}

static int
wrapped(lua_State *L)
{
	lua_State *co = lua_tothread(L, lua_upvalueindex(1));
	int nargs = lua_gettop(L);

	if (prepare(L, co, lua_upvalueindex(1), nargs) != NULL)
		return wrap_error(L);
	return wrap_results(L, co, nargs);
}

static int
co_wrap(lua_State *L)
{
	co_create(L);
	lua_pushcclosure(L, wrapped, 1);
	return 1;
}

/* ---- The rest ---- */

static bool
may_yield(lua_State *L)
{
	return L != policy_run_of(L)->fiber->co && lua_isyieldable(L);
}

static int
co_yield(lua_State *L)
{
	if (L == policy_run_of(L)->fiber->co)
		return luaL_error(L, "coroutine.yield: not inside a coroutine");
	if (!lua_isyieldable(L))
		return luaL_error(L, "coroutine.yield: cannot yield inside string.gsub, table.sort, a "
		    "__tostring or another function that C calls");
	return lua_yield(L, lua_gettop(L));
}

static int
co_isyieldable(lua_State *L)
{
	lua_pushboolean(L, may_yield(L));
	return 1;
}

static int
co_status(lua_State *L)
{
	lua_State *co = check_thread(L);

	lua_pushstring(L, is_ours(L, 1) ? status_of(L, co) : "dead");
	return 1;
}

static int
co_close(lua_State *L)
{
	lua_State *co = check_thread(L);
	const char *status = status_of(L, co);

	if (!is_ours(L, 1))
		return luaL_error(L, "this coroutine belongs to a handler that has ended");
	if (status[0] != 's' && status[0] != 'd')
		return luaL_error(L, "cannot close a %s coroutine", status);
#ifdef HAVE_LUA_CLOSETHREAD
	if (lua_closethread(co, L) == LUA_OK) {
#else
	if (lua_resetthread(co) == LUA_OK) {
#endif
		lua_pushboolean(L, 1);
		return 1;
	}
	lua_pushboolean(L, 0);
	lua_xmove(co, L, 1);
	return 2;
}

void
policy_corolib_open(lua_State *L)
{
	static const luaL_Reg fns[] = {
		{ "create", co_create }, { "wrap", co_wrap }, { "resume", co_resume }, { "yield", co_yield },
		{ "status", co_status }, { "isyieldable", co_isyieldable }, { "close", co_close },
		{ NULL, NULL },
	};

	lua_newtable(L);
	lua_createtable(L, 0, 1);
	lua_pushliteral(L, "k");
	lua_setfield(L, -2, "__mode");
	lua_setmetatable(L, -2);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &turns_key);
	luaL_newlib(L, fns);
}
