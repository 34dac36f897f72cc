/* gw.memo: a function whose answers are kept for a while, by one key. While one handler finds out,
 * others that want the same wait for it; when it is ended meanwhile, one of them takes over. When
 * nothing can be found out, an old answer may do. One cache for each memo of each Lua state.
 *
 * The function runs on a fiber of its own (await_group.h): its group tells, whatever the end. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

#include "policy/await_group.h"
#include "policy/objects.h"

#define KEY_MAX (POLICY_KEY_MAX - 1)
#define CAPACITY_MAX 100000
#define MEMO_MT "gw.memo"
#define EVICT_AT_ONCE 16

struct entry {
	UT_hash_handle hh;
	TAILQ_ENTRY(entry) link;	/* newest use first */
	int value, error;		/* registry */
	int64_t fresh_until, stale_until;	/* mono */
	size_t n;
	char key[];
};
struct memo_wait {
	struct policy_wait w;		/* first */
	struct flight *fl;
	TAILQ_ENTRY(memo_wait) link;
	bool takes_over;
};
/* One key that is being found out. */
struct flight {
	UT_hash_handle hh;
	struct memo *memo;
	struct policy_group *group;	/* of who finds out; NULL while somebody is about to take over */
	TAILQ_HEAD(, memo_wait) waiters;
	unsigned refs;			/* waiters that have not seen the outcome, and one until that is there */
	bool landed;			/* the outcome is there */
	bool failed;			/* the function raised: `why` */
	int value, error;		/* registry; LUA_NOREF before */
	char why[256];
	size_t n;
	char key[];
};
struct memo {
	char name[80];			/* "gw.memo x" */
	int fn;				/* registry */
	int64_t ttl_ms, negative_ms, stale_ms;
	unsigned capacity;
	struct entry *entries;
	struct flight *flights;
	TAILQ_HEAD(entry_list, entry) used;
};

/* ---- Keys ---- */

size_t
policy_key_read(lua_State *L, const char *api, int arg, char dst[POLICY_KEY_MAX])
{
	const char *p;
	size_t n = 0;
	int len;

	switch (lua_type(L, arg)) {
	case LUA_TBOOLEAN:
		dst[0] = lua_toboolean(L, arg) ? 't' : 'f';
		return 1;
	case LUA_TNUMBER:
		if (lua_isinteger(L, arg) || lua_tointegerx(L, arg, NULL) == lua_tonumber(L, arg))
			len = snprintf(dst, POLICY_KEY_MAX, "i%lld", (long long)lua_tointeger(L, arg));
		else if (isnan(lua_tonumber(L, arg)))
			return (size_t)luaL_error(L, "%s: the key is not a number (NaN)", api);
		else
			len = snprintf(dst, POLICY_KEY_MAX, "n%.17g", lua_tonumber(L, arg));
		return (size_t)len;
	case LUA_TSTRING:
		p = lua_tolstring(L, arg, &n);
		dst[0] = 's';
		break;
	default:
		dst[0] = 'd';
		p = obj_domain_peek(L, arg, &n);
		if (p == NULL) {
			dst[0] = 'a';
			p = obj_address_peek(L, arg, &n);
		}
		if (p == NULL)
			return (size_t)luaL_error(L, "%s: the key is a text, number, boolean, domain or address, not a %s",
			    api, luaL_typename(L, arg));
	}
	if (n >= KEY_MAX)
		return (size_t)luaL_error(L, "%s: the key is longer than %d octets", api, KEY_MAX - 1);
	memcpy(dst + 1, p, n);
	return n + 1;
}

/* ---- Entries ---- */

static void
entry_free(lua_State *L, struct memo *m, struct entry *e)
{
	HASH_DEL(m->entries, e);
	TAILQ_REMOVE(&m->used, e, link);
	if (L != NULL) {
		luaL_unref(L, LUA_REGISTRYINDEX, e->value);
		luaL_unref(L, LUA_REGISTRYINDEX, e->error);
	}
	free(e);
}

static void
make_room(lua_State *L, struct memo *m)
{
	const struct policy_gen *g = policy_run_of(L)->gen;
	size_t most = (g->conf->policy.memory == 0 ? 64u << 20 : (size_t)g->conf->policy.memory) / 2;
	struct entry *e;

	/* A cache must not take what handlers need. */
	for (unsigned i = 0; i < EVICT_AT_ONCE && (e = TAILQ_LAST(&m->used, entry_list)) != NULL; i++) {
		if (HASH_COUNT(m->entries) <= m->capacity && g->mem_used < most)
			break;
		entry_free(L, m, e);
	}
}

/* Keeps the value and error on top of the stack, which stay. */
static void
keep(lua_State *L, struct memo *m, const struct flight *fl, int64_t ms)
{
	struct entry *e;
	int value, error;

	if (ms <= 0)
		return;
	lua_pushvalue(L, -2);
	value = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_pushvalue(L, -1);
	error = luaL_ref(L, LUA_REGISTRYINDEX);
	HASH_FIND(hh, m->entries, fl->key, fl->n, e);
	if (e != NULL)
		entry_free(L, m, e);
	e = xcalloc(1, sizeof *e + fl->n);
	e->value = value;
	e->error = error;
	e->fresh_until = clock_mono_ms() + ms;
	e->stale_until = lua_isnil(L, -2) ? 0 : e->fresh_until + m->stale_ms;
	e->n = fl->n;
	memcpy(e->key, fl->key, fl->n);
	HASH_ADD_KEYPTR(hh, m->entries, e->key, e->n, e);
	TAILQ_INSERT_HEAD(&m->used, e, link);
	make_room(L, m);
}

static int
push_refs(lua_State *L, int value, int error)
{
	luaL_checkstack(L, 2, "gw.memo");
	lua_rawgeti(L, LUA_REGISTRYINDEX, value);
	lua_rawgeti(L, LUA_REGISTRYINDEX, error);
	return 2;
}

/* What push_refs pushed, without an error that is none. */
static int
results(lua_State *L)
{
	if (!lua_isnil(L, -1))
		return 2;
	lua_pop(L, 1);
	return 1;
}

/* ---- Flights ---- */

static void
flight_unref(lua_State *L, struct flight *fl)
{
	if (--fl->refs > 0)
		return;
	luaL_unref(L, LUA_REGISTRYINDEX, fl->value);
	luaL_unref(L, LUA_REGISTRYINDEX, fl->error);
	free(fl);
}

/* The outcome is there, on top of the stack or as fl->why; who waits for it goes on. */
static void
land(lua_State *L, struct flight *fl)
{
	int value = LUA_NOREF, error = LUA_NOREF;
	struct memo_wait *w;

	/* What may raise comes first: up to here the end of the handler passes the flight on. */
	if (!fl->failed && !TAILQ_EMPTY(&fl->waiters)) {
		lua_pushvalue(L, -2);
		value = luaL_ref(L, LUA_REGISTRYINDEX);
		lua_pushvalue(L, -1);
		error = luaL_ref(L, LUA_REGISTRYINDEX);
	}
	fl->group->abandon = NULL;
	fl->group = NULL;
	fl->landed = true;
	fl->value = value;
	fl->error = error;
	HASH_DEL(fl->memo->flights, fl);
	while ((w = TAILQ_FIRST(&fl->waiters)) != NULL) {
		TAILQ_REMOVE(&fl->waiters, w, link);
		policy_wait_soon(&w->w);
	}
	flight_unref(L, fl);
}

/* Nobody finds out any more: the one that has waited longest takes over. */
static void
pass_on(struct flight *fl)
{
	struct memo_wait *w = TAILQ_FIRST(&fl->waiters);

	fl->group = NULL;
	if (w == NULL) {
		HASH_DEL(fl->memo->flights, fl);
		free(fl);	/* no outcome: nothing in the registry */
		return;
	}
	TAILQ_REMOVE(&fl->waiters, w, link);
	w->takes_over = true;
	policy_wait_soon(&w->w);
}

static void
abandoned(struct policy_group *g)
{
	pass_on(g->owner);
}

static void
stop_waiting(struct policy_wait *pw)
{
	struct memo_wait *w = (struct memo_wait *)pw;
	struct flight *fl = w->fl;

	if (fl->landed) {	/* and would have been taken next */
		flight_unref(pw->fiber->run->gen->L, fl);
		return;
	}
	fl->refs--;
	if (w->takes_over)
		pass_on(fl);
	else
		TAILQ_REMOVE(&fl->waiters, w, link);
}

/* ---- Finding out ---- */

/* nil and something else, or raised: may an old answer do? Pushes it. */
static bool
push_stale(lua_State *L, struct memo *m, const struct flight *fl)
{
	int64_t now = clock_mono_ms();
	struct entry *e;

	HASH_FIND(hh, m->entries, fl->key, fl->n, e);
	if (e == NULL || now >= e->stale_until)
		return false;
	e->fresh_until = now + (m->negative_ms > 1000 ? m->negative_ms : 1000);
	if (e->fresh_until > e->stale_until)
		e->fresh_until = e->stale_until;
	push_refs(L, e->value, e->error);
	return true;
}

static int
finish(lua_State *L, struct policy_group *g)
{
	struct policy_fiber *f = g->part[0];
	struct flight *fl = g->owner;
	struct memo *m = fl->memo;
	bool raised = f->status != LUA_OK;

	luaL_checkstack(L, 8, "gw.memo");
	if (!raised) {
		lua_settop(f->co, 2);
		lua_xmove(f->co, L, 2);
		if (lua_istable(L, -2))
			policy_freeze(L, -2);
	}
	if ((raised || (lua_isnil(L, -2) && !lua_isnil(L, -1))) && push_stale(L, m, fl)) {
		log_info("policy uses an old answer", LOG_S("memo", m->name));
		raised = false;
	} else if (!raised) {
		keep(L, m, fl, lua_isnil(L, -2) ? m->negative_ms : m->ttl_ms);
	} else {
		const char *why = policy_error_text(f->co, -1);

		fl->failed = true;
		snprintf(fl->why, sizeof fl->why, "%s", why == NULL ? "the function raised an error" : why);
	}
	land(L, fl);
	if (raised)
		return policy_group_raise(L, g, f);
	policy_group_release(g);
	return results(L);
}

static int
make_group(lua_State *L)
{
	lua_pushlightuserdata(L, policy_group_add(L, NULL, 1));
	return 1;
}

/* The key is at 1. In case of failure the flight is not lost to those who wait for it. */
static int
find_out(lua_State *L, struct flight *fl)
{
	struct policy_group *g;
	int status;

	lua_pushcfunction(L, make_group);
	lua_rawgeti(L, LUA_REGISTRYINDEX, fl->memo->fn);
	status = lua_pcall(L, 1, 1, 0);
	if (status != LUA_OK) {
		pass_on(fl);
		return status == LUA_ERRMEM ? policy_kill(L, KILL_MEMORY) : lua_error(L);
	}
	g = lua_touserdata(L, -1);
	lua_pop(L, 1);
	g->collects = true;
	g->nargs = 1;
	g->finish = finish;
	g->abandon = abandoned;
	g->owner = fl;
	fl->group = g;
	lua_pushvalue(L, 1);
	lua_xmove(L, g->part[0]->co, 1);
	return policy_group_run(L, g, -1);
}

static int
waited(lua_State *L, int status, lua_KContext ctx)
{
	struct memo_wait *w = policy_wait_take(L);
	struct flight *fl = w->fl;
	bool takes_over = w->takes_over;
	char why[sizeof fl->why];

	policy_wait_free(&w->w);
	if (takes_over) {
		fl->refs--;
		return find_out(L, fl);
	}
	if (fl->failed) {
		snprintf(why, sizeof why, "%s", fl->why);
		flight_unref(L, fl);
		return luaL_error(L, "%s", why);
	}
	push_refs(L, fl->value, fl->error);
	flight_unref(L, fl);
	return results(L);
}

/* ---- Calling ---- */

static int
wait_for(lua_State *L, struct policy_run *r, struct flight *fl)
{
	struct memo_wait *w;

	for (const struct policy_fiber *f = r->fiber; f != NULL;
	    f = f->group == NULL ? NULL : f->group->caller)
		if (f->group != NULL && f->group == fl->group)
			return luaL_error(L, "%s: the function asks for the same key that it is to find out",
			    fl->memo->name);
	if (policy_wait_room(L, r) != 0)
		return 2;
	w = policy_wait_new(r, sizeof *w, -1, stop_waiting);
	w->fl = fl;
	fl->refs++;
	TAILQ_INSERT_TAIL(&fl->waiters, w, link);
	return policy_wait_begin(L, r, &w->w, waited);
}

/* Upvalue: the memo. */
static int
call(lua_State *L)
{
	struct memo *m = lua_touserdata(L, lua_upvalueindex(1));
	struct policy_run *r = policy_not_loading(L, m->name);
	char key[KEY_MAX + 1];
	struct flight *fl;
	struct entry *e;
	size_t n;

	if (lua_gettop(L) != 1)
		return luaL_error(L, "%s: takes one key", m->name);
	n = policy_key_read(L, m->name, 1, key);
	HASH_FIND(hh, m->entries, key, n, e);
	if (e != NULL && clock_mono_ms() < e->fresh_until) {
		TAILQ_REMOVE(&m->used, e, link);
		TAILQ_INSERT_HEAD(&m->used, e, link);
		push_refs(L, e->value, e->error);
		return results(L);
	}
	policy_wait_check(L, r, m->name);
	HASH_FIND(hh, m->flights, key, n, fl);
	if (fl != NULL)
		return wait_for(L, r, fl);
	fl = xcalloc(1, sizeof *fl + n);
	fl->memo = m;
	fl->refs = 1;
	fl->value = fl->error = LUA_NOREF;
	TAILQ_INIT(&fl->waiters);
	fl->n = n;
	memcpy(fl->key, key, n);
	HASH_ADD_KEYPTR(hh, m->flights, fl->key, fl->n, fl);
	return find_out(L, fl);
}

static int
memo_gc(lua_State *L)
{
	struct memo *m = lua_touserdata(L, 1);
	struct entry *e;

	MUST(m->flights == NULL);
	while ((e = TAILQ_FIRST(&m->used)) != NULL)
		entry_free(L, m, e);
	luaL_unref(L, LUA_REGISTRYINDEX, m->fn);
	m->fn = LUA_NOREF;
	return 0;
}

/* gw.memo(fn, { name =, ttl =, negative_ttl =, capacity =, stale = }) -> a function of one key */
static int
gw_memo(lua_State *L)
{
	static const char *const fields[] = { "name", "ttl", "negative_ttl", "capacity", "stale", NULL };
	struct memo *m;

	policy_only_loading(L, "gw.memo");
	luaL_checktype(L, 1, LUA_TFUNCTION);
	policy_opts_check(L, 2, "gw.memo", fields);
	lua_settop(L, 2);
	m = lua_newuserdatauv(L, sizeof *m, 0);
	memset(m, 0, sizeof *m);
	m->fn = LUA_NOREF;
	TAILQ_INIT(&m->used);
	luaL_setmetatable(L, MEMO_MT);
	snprintf(m->name, sizeof m->name, "gw.memo %s", policy_opt_string(L, 2, "gw.memo", "name", true, 63));
	m->ttl_ms = policy_opt_duration(L, 2, "gw.memo", "ttl", 300000);
	m->negative_ms = policy_opt_duration(L, 2, "gw.memo", "negative_ttl", 0);
	m->stale_ms = policy_opt_duration(L, 2, "gw.memo", "stale", 0);
	m->capacity = (unsigned)policy_opt_integer(L, 2, "gw.memo", "capacity", 1, CAPACITY_MAX, 1000);
	if (m->ttl_ms < 1)
		return luaL_error(L, "gw.memo: ttl is more than 0");
	lua_pushvalue(L, 1);
	m->fn = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_pushcclosure(L, call, 1);
	return 1;
}

void
policy_memo_open(lua_State *L)
{
	static const luaL_Reg meta[] = { { "__gc", memo_gc }, { NULL, NULL } };

	policy_newmetatable(L, MEMO_MT, meta);
	lua_pop(L, 1);
	lua_pushcfunction(L, gw_memo);
	lua_setfield(L, -2, "memo");
}
