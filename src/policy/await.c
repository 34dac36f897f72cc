/* Waiting in general, error objects, gw.sleep. A call that waits looks synchronous; in truth the
 * coroutine yields up to the event loop, through those that the policy made (corolib.c), and is
 * resumed when the answer is there. A wrong argument raises; the world failing is nil and an error
 * object. */
#include "config.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy_int.h"

#define WAITING_MAX 4096	/* a worker */
#define WAITS_MAX 100		/* a handler */
#define SLEEP_MAX_MS 10000

/* ---- Error objects ---- */

struct world_error {
	const char *kind;	/* static */
	bool temporary, secure;
	char text[256];
};
#define ERROR_MT "gw.error"
static char error_mt;	/* registry key of the same metatable, for looking without raising */

static const struct world_error *
error_at(lua_State *L, int arg)
{
	const struct world_error *e = NULL;

	if (lua_type(L, arg) != LUA_TUSERDATA || !lua_getmetatable(L, arg))
		return NULL;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &error_mt);
	if (lua_rawequal(L, -1, -2))
		e = lua_touserdata(L, arg < 0 ? arg - 2 : arg);
	lua_pop(L, 2);
	return e;
}

const char *
policy_error_text(lua_State *L, int arg)
{
	const struct world_error *e;

	if (lua_type(L, arg) == LUA_TSTRING)
		return lua_tostring(L, arg);
	e = error_at(L, arg);
	return e == NULL ? NULL : e->text;
}

const char *
policy_error_kind(lua_State *L, int arg)
{
	const struct world_error *e = error_at(L, arg);

	return e == NULL ? NULL : e->kind;
}

/* nil, error */
int
policy_push_error(lua_State *L, const char *kind, bool temporary, bool secure, const char *fmt, ...)
{
	struct world_error *e;
	va_list ap;

	lua_pushnil(L);
	e = lua_newuserdatauv(L, sizeof *e, 0);
	e->kind = kind;
	e->temporary = temporary;
	e->secure = secure;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	luaL_setmetatable(L, ERROR_MT);
	return 2;
}

static bool
error_field(lua_State *L, const char *key)
{
	const struct world_error *e = luaL_checkudata(L, 1, ERROR_MT);

	if (strcmp(key, "kind") == 0)
		lua_pushstring(L, e->kind);
	else if (strcmp(key, "temporary") == 0)
		lua_pushboolean(L, e->temporary);
	else if (strcmp(key, "secure") == 0)
		lua_pushboolean(L, e->secure);
	else if (strcmp(key, "text") == 0)
		lua_pushstring(L, e->text);
	else
		return false;
	return true;
}

static int
error_tostring(lua_State *L)
{
	const struct world_error *e = luaL_checkudata(L, 1, ERROR_MT);

	lua_pushstring(L, e->text);
	return 1;
}

/* ---- Waiting in general ---- */

void
policy_wait_check(lua_State *L, struct policy_run *r, const char *api)
{
	if (r->predicate_ref != LUA_NOREF)
		luaL_error(L, "%s: a matcher cannot wait", api);
	if (!lua_isyieldable(L) || r->deaf > 0)
		luaL_error(L, "%s: cannot wait inside string.gsub, table.sort, a __tostring or another "
		    "function that C calls", api);
	if (r->waits >= WAITS_MAX)
		luaL_error(L, "%s: a handler may wait %d times", api, WAITS_MAX);
}

int
policy_wait_room(lua_State *L, struct policy_run *r)
{
	if (r->in_flight >= IN_FLIGHT_MAX)
		return policy_push_error(L, "limit", true, false, "a handler may wait for %d things at a time",
		    IN_FLIGHT_MAX);
	if (r->gen->policy->waits.used >= WAITING_MAX)
		return policy_push_error(L, "limit", true, false, "too many handlers wait already");
	return 0;
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct policy_wait *w = arg;

	if (w->stop != NULL)
		w->stop(w);
	w->timed_out = true;
	policy_wait_done(w);
}

static void
on_soon(evutil_socket_t fd, short what, void *arg)
{
	policy_wait_done(arg);
}

static void
set_timer(struct policy_wait *w, struct event_base *base, int64_t ms, event_callback_fn fn)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	if (w->timer != NULL)
		event_free(w->timer);
	w->timer = evtimer_new(base, fn, w);
	MUST(w->timer != NULL);
	evtimer_add(w->timer, &tv);
}

void *
policy_wait_new(struct policy_run *r, size_t size, int64_t ms, void (*stop)(struct policy_wait *w))
{
	struct policy_wait *w = xcalloc(1, size);

	w->fiber = r->fiber;
	w->stop = stop;
	if (ms >= 0)
		set_timer(w, r->gen->policy->base, ms, on_timer);
	return w;
}

void
policy_wait_free(struct policy_wait *w)
{
	if (w == NULL)
		return;
	if (w->timer != NULL)
		event_free(w->timer);
	free(w->key);
	free(w);
}

void
policy_wait_number(struct policy_wait *w)
{
	struct policy_run *r = w->fiber->run;

	w->ticket = slots_add(&r->gen->policy->waits, w);
	r->in_flight += w->counted;
}

const char *
policy_error_get(lua_State *L, int arg, bool *temporary_out, bool *secure_out)
{
	const struct world_error *e = error_at(L, arg);

	if (e == NULL)
		return NULL;
	*temporary_out = e->temporary;
	*secure_out = e->secure;
	return e->kind;
}

/* Errors point to their kind: one that is read from a file is kept for good, once. */
const char *
policy_error_word(const char *kind)
{
	static char *words[64];

	for (size_t i = 0; i < NELEMS(words); i++) {
		if (words[i] == NULL)
			words[i] = xstrdup(kind);
		if (strcmp(words[i], kind) == 0)
			return words[i];
	}
	return "error";
}

/* In the place of a wait's continuation, so that what it gives to the policy can be looked at. */
static int
recorded(lua_State *L, int status, lua_KContext ctx)
{
	struct policy_run *r = policy_run_of(L);
	struct policy_fiber *f = r->fiber;
	unsigned at = f->traced;
	const char *kind, *what = f->kind;
	char *key = f->key;
	int n;

	f->key = NULL;
	free(f->asked);
	f->asked = key;		/* freed later when what follows raises, or waits once more */
	n = f->then(L, status, ctx);
	if (key != NULL) {
		policy_journal_answer(r, L, n, what, key);
		if (f->asked == key)
			f->asked = NULL;
		free(key);
	}
	kind = n < 2 || !lua_isnil(L, -n) ? NULL : policy_error_kind(L, 1 - n);
	policy_trace_outcome(r, at, kind == NULL ? "ok" : kind);
	return n;
}

int
policy_wait_begin(lua_State *L, struct policy_run *r, struct policy_wait *w, lua_KFunction k)
{
	struct policy_fiber *f = r->fiber;

	policy_wait_cancel(f);	/* one that was over, and whose continuation never came to take it */
	f->wait = w;
	if (w->ticket == 0)
		policy_wait_number(w);
	r->waits++;
	r->awaiting = w;
	policy_start_wall(r);
	if (w->traced > 0 || w->key != NULL) {
		f->then = k;
		f->traced = w->traced;
		f->kind = w->kind;
		free(f->key);
		f->key = w->key;
		w->key = NULL;
		k = recorded;
	}
	lua_pushnil(L);		/* by it corolib.c tells a coroutine that waits from one that yielded */
	return lua_yieldk(L, 1, 0, k);
}

void *
policy_wait_take(lua_State *L)
{
	struct policy_fiber *f = policy_run_of(L)->fiber;
	struct policy_wait *w = f->wait;

	MUST(w != NULL && w->ticket == 0);
	f->wait = NULL;
	return w;
}

void
policy_wait_over(struct policy_wait *w)
{
	struct policy_run *r = w->fiber->run;

	MUST(w->ticket != 0);
	slots_del(&r->gen->policy->waits, w->ticket);
	w->ticket = 0;
	r->in_flight -= w->counted;
	policy_trace_waited(r, w->traced, w->timed_out ? "timeout" : "answered");
	if (w->timer != NULL)
		event_del(w->timer);
}

void
policy_wait_done(struct policy_wait *w)
{
	policy_wait_over(w);
	policy_run_resume(w->fiber);
}

void
policy_wait_soon(struct policy_wait *w)
{
	set_timer(w, w->fiber->run->gen->policy->base, 0, on_soon);
}

struct policy_wait *
policy_wait_find(struct policy *p, uint64_t ticket)
{
	struct policy_wait *w = slots_get(&p->waits, ticket);

	if (w == NULL)
		p->stats.stale_tickets++;
	return w;
}

void
policy_wait_cancel(struct policy_fiber *f)
{
	struct policy_wait *w = f->wait;

	if (w == NULL)
		return;
	f->wait = NULL;
	policy_trace_waited(f->run, w->traced, "cancelled");
	policy_journal_no_answer(f->run, f->kind, f->key);
	free(f->key);
	f->key = NULL;
	if (w->ticket != 0)
		policy_wait_over(w);
	if (w->stop != NULL)
		w->stop(w);
	policy_wait_free(w);
}

/* ---- Sleep ---- */

static int
sleep_resumed(lua_State *L, int status, lua_KContext ctx)
{
	policy_wait_free(policy_wait_take(L));
	lua_pushboolean(L, 1);
	return 1;
}

/* true, or nil and an error when too much waits already. */
static int
gw_sleep(lua_State *L)
{
	struct policy_run *r = policy_not_loading(L, "gw.sleep");
	lua_Number s = luaL_checknumber(L, 1);
	struct policy_wait *w;
	int replayed;

	if (!(s >= 0 && s * 1000 <= SLEEP_MAX_MS))
		return luaL_error(L, "gw.sleep: between 0 and %d seconds", SLEEP_MAX_MS / 1000);
	policy_wait_check(L, r, "gw.sleep");
	if ((replayed = policy_replayed(L, r, "sleep", lua_tostring(L, 1))) >= 0)
		return replayed;
	if (policy_wait_room(L, r) != 0)
		return 2;
	w = policy_wait_new(r, sizeof *w, (int64_t)(s * 1000), NULL);
	w->counted = true;
	policy_wait_name(w, "sleep", lua_tostring(L, 1));
	return policy_wait_begin(L, r, w, sleep_resumed);
}

void
policy_await_open(lua_State *L)
{
	static const luaL_Reg error_meta[] = {
		{ "__tostring", error_tostring }, { NULL, NULL },
	};
	static const char *const fields[] = { "kind", "temporary", "secure", "text", NULL };
	static const struct policy_type type = { "error", NULL, error_field, fields };

	policy_newmetatable(L, ERROR_MT, error_meta);
	policy_type_members(L, &type);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &error_mt);
	lua_pushcfunction(L, gw_sleep);
	lua_setfield(L, -2, "sleep");
	policy_dns_open(L);
	policy_group_open(L);
	policy_memo_open(L);
	policy_kv_open(L);
	policy_audit_open(L);
	policy_tlsrpt_open(L);
	policy_sts_open(L);
	policy_table_open(L);
	policy_sql_open(L);
	policy_http_open(L);
	policy_rate_open(L);
	policy_metric_open(L);
	policy_cache_open(L);
}
