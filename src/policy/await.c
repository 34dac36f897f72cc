/* What handlers may wait for: DNS answers and a short sleep. The call looks synchronous; in truth
 * the coroutine yields, and a number, not a pointer into Lua, brings the answer back. A wrong
 * argument raises; the world failing is nil and an error object. */
#include "config.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy_int.h"

#define WAITING_MAX 4096	/* a worker */
#define WAITS_MAX 100		/* a handler */
#define SLEEP_MAX_MS 10000

struct policy_wait {
	struct policy_run *run;
	uint64_t query;			/* 0 none */
	struct event *timer;
	uint16_t type;
	const struct dns_answer *answer;	/* while the answer is being delivered */
	bool timed_out;
};

/* ---- Error objects ---- */

struct world_error {
	const char *kind;	/* static */
	bool temporary, secure;
	char text[256];
};
#define ERROR_MT "gw.error"
static char error_mt;	/* registry key of the same metatable, for looking without raising */

const char *
policy_error_text(lua_State *L, int arg)
{
	const struct world_error *e = NULL;

	if (lua_type(L, arg) == LUA_TSTRING)
		return lua_tostring(L, arg);
	if (lua_type(L, arg) != LUA_TUSERDATA || !lua_getmetatable(L, arg))
		return NULL;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &error_mt);
	if (lua_rawequal(L, -1, -2))
		e = lua_touserdata(L, arg < 0 ? arg - 2 : arg);
	lua_pop(L, 2);
	return e == NULL ? NULL : e->text;
}

/* nil, error */
static int
push_error(lua_State *L, const char *kind, bool temporary, bool secure, const char *fmt, ...)
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

static int
error_index(lua_State *L)
{
	static const char *const fields[] = { "kind", "temporary", "secure", "text", NULL };
	const struct world_error *e = luaL_checkudata(L, 1, ERROR_MT);
	const char *key = luaL_checkstring(L, 2);

	if (strcmp(key, "kind") == 0)
		lua_pushstring(L, e->kind);
	else if (strcmp(key, "temporary") == 0)
		lua_pushboolean(L, e->temporary);
	else if (strcmp(key, "secure") == 0)
		lua_pushboolean(L, e->secure);
	else if (strcmp(key, "text") == 0)
		lua_pushstring(L, e->text);
	else
		return policy_unknown_field(L, "error", key, fields);
	return 1;
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
	if (!lua_isyieldable(L))
		luaL_error(L, "%s: cannot wait inside string.gsub, table.sort, a __tostring or another "
		    "function that C calls", api);
	if (r->waits >= WAITS_MAX)
		luaL_error(L, "%s: a handler may wait %d times", api, WAITS_MAX);
}

static void
wait_free(struct policy_wait *w)
{
	if (w->timer != NULL)
		event_free(w->timer);
	free(w);
}

void
policy_wait_cancel(struct policy_run *r)
{
	struct policy_wait *w = r->wait;

	if (w == NULL)
		return;
	r->wait = NULL;
	if (w->query != 0)
		dns_cancel(r->gen->policy->dns, w->query);
	wait_free(w);
}

/* ---- DNS ---- */

static void
push_hex(lua_State *L, const uint8_t *p, size_t n)
{
	luaL_Buffer b;

	luaL_buffinit(L, &b);
	for (size_t i = 0; i < n; i++) {
		char two[3];

		hex_encode(two, p + i, 1);
		luaL_addlstring(&b, two, 2);
	}
	luaL_pushresult(&b);
}

/* Pushes one record as its type's value; false, and nothing pushed, when it is malformed. */
static bool
push_record(lua_State *L, uint16_t type, const struct dns_rr *rr)
{
	char name[INET6_ADDRSTRLEN > 256 ? INET6_ADDRSTRLEN : 256];
	struct dns_mx mx;
	struct dns_tlsa t;
	struct buf *b;

	luaL_checkstack(L, 6, "DNS");
	switch (type) {
	case DNS_A:
	case DNS_AAAA:
		if (rr->n != (type == DNS_A ? 4u : 16u))
			return false;
		inet_ntop(type == DNS_A ? AF_INET : AF_INET6, rr->data, name, sizeof name);
		lua_pushstring(L, name);
		return true;
	case DNS_MX:
		if (!dns_mx_parse(rr, &mx))
			return false;
		lua_createtable(L, 0, 2);
		lua_pushinteger(L, mx.preference);
		lua_setfield(L, -2, "preference");
		lua_pushstring(L, mx.host);
		lua_setfield(L, -2, "host");
		return true;
	case DNS_TXT:
		b = policy_push_buf(L, 65536);
		if (!dns_txt_parse(rr, b)) {
			lua_pop(L, 1);
			return false;
		}
		lua_pushlstring(L, buf_peek(b), b->len);
		lua_remove(L, -2);
		return true;
	case DNS_PTR:
		if (!dns_name_parse(rr, name))
			return false;
		lua_pushstring(L, name);
		return true;
	default:
		if (!dns_tlsa_parse(rr, &t))
			return false;
		lua_createtable(L, 0, 4);
		lua_pushinteger(L, t.usage);
		lua_setfield(L, -2, "usage");
		lua_pushinteger(L, t.selector);
		lua_setfield(L, -2, "selector");
		lua_pushinteger(L, t.mtype);
		lua_setfield(L, -2, "mtype");
		push_hex(L, t.data, t.n);
		lua_setfield(L, -2, "data");
		return true;
	}
}

static int
push_answer(lua_State *L, uint16_t type, const struct dns_answer *a)
{
	bool secure = a->secure && !a->untrusted_time;

	if (a->status != DNS_OK)
		return push_error(L, dns_status_name(a->status), dns_status_is_failure(a->status), secure,
		    "%s: %s%s%s", a->qname, dns_status_name(a->status), a->why == NULL ? "" : ": ",
		    a->why == NULL ? "" : a->why);
	lua_createtable(L, (int)a->n, 3);
	for (size_t i = 0; i < a->n; i++) {
		/* One broken record makes the whole answer doubtful: it is not a shorter one. */
		if (!push_record(L, type, &a->rr[i]))
			return push_error(L, "malformed", true, false, "%s: malformed record", a->qname);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_pushboolean(L, secure);
	lua_setfield(L, -2, "secure");
	lua_pushinteger(L, a->ttl);
	lua_setfield(L, -2, "ttl");
	lua_pushstring(L, a->canon);
	lua_setfield(L, -2, "canon");
	return 1;
}

/* Back on the coroutine. The wait is over whatever happens below, so it is given up first; the
 * answer itself lives until the callback returns, which is after this. */
static int
dns_resumed(lua_State *L, int status, lua_KContext ctx)
{
	struct policy_run *r = policy_run_of(L);
	struct policy_wait *w = r->wait;
	const struct dns_answer *a = w->answer;
	uint16_t type = w->type;

	r->wait = NULL;
	wait_free(w);
	if (a == NULL)
		return push_error(L, "timeout", true, false, "no answer in time");
	return push_answer(L, type, a);
}

static void
on_answer(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct policy_wait *w = owner;

	w->query = 0;
	w->answer = a;
	policy_run_resume(w->run);
}

static void
on_dns_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct policy_wait *w = arg;

	dns_cancel(w->run->gen->policy->dns, w->query);
	w->query = 0;
	policy_run_resume(w->run);
}

static struct policy_wait *
wait_new(struct policy_run *r, int64_t ms, event_callback_fn fn)
{
	struct policy_wait *w = xcalloc(1, sizeof *w);
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	w->run = r;
	if (ms < 0)
		return w;
	w->timer = evtimer_new(r->gen->policy->base, fn, w);
	MUST(w->timer != NULL);
	evtimer_add(w->timer, &tv);
	return w;
}

/* The name to ask for; false when it is none. Takes a text, or an object with a name (a domain). */
static bool
read_name(lua_State *L, const char *api, uint16_t type, char dst[256])
{
	unsigned char ip[16];
	struct slice s;

	if (lua_type(L, 1) == LUA_TUSERDATA) {
		lua_getfield(L, 1, "name");
		lua_replace(L, 1);
	}
	if (lua_type(L, 1) != LUA_TSTRING)
		luaL_error(L, "%s: expected a name, got %s", api, luaL_typename(L, 1));
	s.p = lua_tolstring(L, 1, &s.n);
	if (type == DNS_PTR && (inet_pton(AF_INET, s.p, ip) == 1 || inet_pton(AF_INET6, s.p, ip) == 1)) {
		dns_reverse_name(dst, strchr(s.p, ':') == NULL ? AF_INET : AF_INET6, ip);
		return true;
	}
	if (s.n == 0 || s.n > 253)
		return false;
	if (!ascii_is_printable(s.p, s.n))
		return dns_to_ascii(dst, s);
	if (memchr(s.p, ' ', s.n) != NULL)
		return false;
	memcpy(dst, s.p, s.n + 1);	/* service names begin with '_', which IDNA does not know */
	return true;
}

static int
query(lua_State *L, const char *api, uint16_t type)
{
	static const char *const fields[] = { "timeout", NULL };
	struct policy_run *r = policy_not_loading(L, api);
	struct policy_gen *g = r->gen;
	struct policy_wait *w;
	int64_t timeout = -1;
	char name[256];

	if (!lua_isnoneornil(L, 2)) {
		policy_opts_check(L, 2, api, fields);
		timeout = policy_opt_duration(L, 2, api, "timeout", -1);
	}
	if (!g->conf->policy.dns || g->policy->dns == NULL)
		return luaL_error(L, "%s: DNS is not allowed to policies (policy.network.dns)", api);
	policy_wait_check(L, r, api);
	if (!read_name(L, api, type, name))
		return push_error(L, "bad_name", false, false, "not a domain name");
	if (g->policy->waiting >= WAITING_MAX)
		return push_error(L, "limit", true, false, "too many handlers wait already");
	w = wait_new(r, timeout, on_dns_timeout);
	w->type = type;
	w->query = dns_query(g->policy->dns, name, type, on_answer, w);
	return policy_wait_begin(L, r, w, dns_resumed);
}

static int
dns_a(lua_State *L)
{
	return query(L, "gw.dns.a", DNS_A);
}

static int
dns_aaaa(lua_State *L)
{
	return query(L, "gw.dns.aaaa", DNS_AAAA);
}

static int
dns_mx(lua_State *L)
{
	return query(L, "gw.dns.mx", DNS_MX);
}

static int
dns_txt(lua_State *L)
{
	return query(L, "gw.dns.txt", DNS_TXT);
}

static int
dns_ptr(lua_State *L)
{
	return query(L, "gw.dns.ptr", DNS_PTR);
}

static int
dns_tlsa(lua_State *L)
{
	return query(L, "gw.dns.tlsa", DNS_TLSA);
}

/* ---- Sleep ---- */

static int
sleep_resumed(lua_State *L, int status, lua_KContext ctx)
{
	struct policy_run *r = policy_run_of(L);
	struct policy_wait *w = r->wait;

	r->wait = NULL;
	wait_free(w);
	return 0;
}

static void
on_sleep(evutil_socket_t fd, short what, void *arg)
{
	struct policy_wait *w = arg;

	policy_run_resume(w->run);
}

static int
gw_sleep(lua_State *L)
{
	struct policy_run *r = policy_not_loading(L, "gw.sleep");
	lua_Number s = luaL_checknumber(L, 1);

	if (!(s >= 0 && s * 1000 <= SLEEP_MAX_MS))
		return luaL_error(L, "gw.sleep: between 0 and %d seconds", SLEEP_MAX_MS / 1000);
	policy_wait_check(L, r, "gw.sleep");
	if (r->gen->policy->waiting >= WAITING_MAX)
		return luaL_error(L, "gw.sleep: too many handlers wait already");
	return policy_wait_begin(L, r, wait_new(r, (int64_t)(s * 1000), on_sleep), sleep_resumed);
}

void
policy_await_open(lua_State *L)
{
	static const luaL_Reg error_meta[] = {
		{ "__index", error_index }, { "__tostring", error_tostring }, { NULL, NULL },
	};
	static const luaL_Reg dns[] = {
		{ "a", dns_a }, { "aaaa", dns_aaaa }, { "mx", dns_mx }, { "txt", dns_txt }, { "ptr", dns_ptr },
		{ "tlsa", dns_tlsa }, { NULL, NULL },
	};

	policy_newmetatable(L, ERROR_MT, error_meta);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &error_mt);
	luaL_newlib(L, dns);
	lua_setfield(L, -2, "dns");
	lua_pushcfunction(L, gw_sleep);
	lua_setfield(L, -2, "sleep");
}
