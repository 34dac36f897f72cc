/* Fibers: the coroutines that the event loop resumes. A run has one of its own, on which its handlers
 * run, and while gw.all and the like are at work one for each function of theirs. */
#include "config.h"

#include <stdlib.h>

#include "policy/policy_int.h"

#define POOL_MAX 64

#define FROM(state) (1u << (state))

static inline void
set_state(struct policy_fiber *f, enum fiber_state to, unsigned allowed)
{
	MUST((allowed >> f->state & 1) != 0);
	f->state = to;
}

void
policy_fiber_init(struct policy_fiber *f, struct policy_run *r)
{
	f->run = r;
	f->co_ref = LUA_NOREF;
	f->state = FIBER_FREE;
}

/* ---- Coroutines ---- */

/* In a protected call. */
static int
make_coroutine(lua_State *L)
{
	struct policy_fiber *f = lua_touserdata(L, 1);
	lua_State *co = lua_newthread(L);

	*(struct policy_run **)lua_getextraspace(co) = f->run;
	if (!lua_checkstack(co, 30))
		luaL_error(L, "not enough memory");
	f->co_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	f->co = co;
	return 0;
}

bool
policy_fiber_ready(struct policy_fiber *f)
{
	lua_State *L = f->run->gen->L;
	bool ok;

	if (f->co != NULL)
		return true;
	lua_pushcfunction(L, make_coroutine);
	lua_pushlightuserdata(L, f);
	ok = lua_pcall(L, 1, 0, 0) == LUA_OK;
	if (!ok)
		lua_pop(L, 1);
	return ok;
}

/* After a kill from the hook Lua leaves hooks off in that coroutine, so nothing may run on it any
 * more, not even to-be-closed variables: it is only let go. One that was stopped while waiting is
 * closed; what it still wants to do is killed (P2). */
void
policy_fiber_drop(struct policy_fiber *f, bool close)
{
	struct policy_run *r = f->run;
	enum policy_kill killed = r->killed;

	if (f->state != FIBER_FREE)
		set_state(f, FIBER_DEAD, FROM(FIBER_WAITING) | FROM(FIBER_DEAD));
	if (f->co != NULL && close) {
		r->killed = KILL_CANCEL;
		lua_sethook(f->co, policy_count_hook, LUA_MASKCOUNT, 1);
#ifdef HAVE_LUA_CLOSETHREAD
		lua_closethread(f->co, NULL);
#else
		lua_resetthread(f->co);
#endif
		r->killed = killed;
	}
	free(f->key);
	free(f->asked);
	f->key = f->asked = NULL;
	if (f->co != NULL)
		luaL_unref(r->gen->L, LUA_REGISTRYINDEX, f->co_ref);
	f->co = NULL;
	f->co_ref = LUA_NOREF;
	set_state(f, FIBER_FREE, FROM(FIBER_DEAD) | FROM(FIBER_FREE));
}

void
policy_fiber_clear(struct policy_fiber *f)
{
	lua_settop(f->co, 0);
	set_state(f, FIBER_FREE, FROM(FIBER_DEAD));
}

/* ---- Those of gw.all and the like ---- */

struct policy_fiber *
policy_fiber_new(lua_State *L, struct policy_run *r)
{
	struct policy_gen *g = r->gen;
	struct policy_fiber *f = g->fibers;

	if (r->nfibers >= FIBERS_MAX)
		luaL_error(L, "more than %d functions of gw.all, gw.within and gw.memo at a time", FIBERS_MAX);
	if (f != NULL) {
		g->fibers = f->next;
		g->nfibers--;
	} else {
		f = xcalloc(1, sizeof *f);
	}
	f->run = r;
	f->prev = NULL;
	f->next = r->fibers;
	if (f->next != NULL)
		f->next->prev = f;
	r->fibers = f;
	r->nfibers++;
	if (f->co == NULL) {
		policy_fiber_init(f, r);
		luaL_checkstack(L, 3, "fiber");
		lua_pushcfunction(L, make_coroutine);
		lua_pushlightuserdata(L, f);
		lua_call(L, 1, 0);
	}
	*(struct policy_run **)lua_getextraspace(f->co) = r;
	lua_sethook(f->co, lua_gethook(L), lua_gethookmask(L), lua_gethookcount(L));
	return f;
}

void
policy_fiber_cancel(struct policy_fiber *f)
{
	MUST(f->state != FIBER_RUNNING);
	policy_wait_cancel(f);
	if (f->state == FIBER_WAITING || f->state == FIBER_FREE)
		policy_fiber_drop(f, f->state == FIBER_WAITING);
}

void
policy_fiber_release(struct policy_fiber *f)
{
	struct policy_run *r = f->run;
	struct policy_gen *g = r->gen;

	policy_fiber_cancel(f);
	policy_group_forget(f);
	if (f->prev != NULL)
		f->prev->next = f->next;
	else
		r->fibers = f->next;
	if (f->next != NULL)
		f->next->prev = f->prev;
	r->nfibers--;
	if (f->state == FIBER_DEAD && f->status == LUA_OK && g->nfibers < POOL_MAX) {
		policy_fiber_clear(f);
		*(struct policy_run **)lua_getextraspace(f->co) = NULL;
		f->run = NULL;
		f->next = g->fibers;
		g->fibers = f;
		g->nfibers++;
		return;
	}
	policy_fiber_drop(f, false);
	free(f);
}

void
policy_fibers_end(struct policy_run *r)
{
	while (r->fibers != NULL)
		policy_fiber_release(r->fibers);
}

/* ---- Going on ---- */

static inline enum lua_end
resume(struct policy_run *r, struct policy_fiber *f, lua_State *from, int nargs)
{
	if (f->state == FIBER_WAITING)
		lua_pop(f->co, 1);	/* policy_wait_begin's nil */
	set_state(f, FIBER_RUNNING, FROM(FIBER_FREE) | FROM(FIBER_WAITING));
	f->status = lua_resume(f->co, from, nargs, &f->nresults);
	if (f->status == LUA_YIELD && r->awaiting != NULL) {
		MUST(r->awaiting == f->wait);
		r->awaiting = NULL;
		set_state(f, FIBER_WAITING, FROM(FIBER_RUNNING));
		return LUA_WAITS;
	}
	set_state(f, FIBER_DEAD, FROM(FIBER_RUNNING));
	if (f->status == LUA_OK)
		return LUA_DONE;
	/* Each failed allocation costs a whole collection; once is enough. */
	if (f->status == LUA_ERRMEM && r->killed == KILL_NONE)
		r->killed = KILL_MEMORY;
	return LUA_FAILED;
}

enum lua_end
policy_fiber_resume(struct policy_fiber *f, lua_State *from, int nargs)
{
	struct policy_run *r = f->run;
	struct policy_fiber *outer = r->fiber;
	enum lua_end end;

	r->fiber = f;
	r->gen->running = f->co;
	end = resume(r, f, from, nargs);
	r->gen->running = from;
	r->fiber = outer;
	return end;
}

enum lua_end
policy_fiber_go(struct policy_fiber *f, int nargs)
{
	struct policy_run *r = f->run;
	enum lua_end end;

	r->fiber = f;
	if (r->trace != NULL)
		policy_trace_go(r);
	policy_slice_begin(r, f->co);
	end = resume(r, f, NULL, nargs);
	policy_slice_end(r);
	if (end == LUA_WAITS && r->trace != NULL)
		policy_trace_pause(r);
	return end;
}
