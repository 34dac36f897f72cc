/* t.env and what can be said of the world around a gateway: DNS, MTA-STS, next hops, time. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rehearsal/lua_int.h"

#define DNS_MT "test.dns"
#define STS_MT "test.sts"
#define HTTP_MT "test.http"
#define RECORDS_MAX 100

struct env *
check_env(lua_State *L, int arg)
{
	struct env *e = luaL_checkudata(L, arg, ENV_MT);

	if (e->w == NULL)
		luaL_error(L, "this env is over: another t.env has taken its place (there is one at a time)");
	return e;
}

void
env_close(struct env *e)
{
	if (e == NULL || e->w == NULL)
		return;
	if (runner->cover != NULL)
		cover_take(runner->cover, world_generation(e->w));
	world_free(e->w);
	e->w = NULL;
	if (runner->env == e)
		runner->env = NULL;
}

static int
env_gc(lua_State *L)
{
	env_close(luaL_checkudata(L, 1, ENV_MT));
	return 0;
}

/* ---- Making one ---- */

static int64_t
parse_time(lua_State *L, const char *text)
{
	struct tm tm = { 0 };
	int used = 0;

	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
	    &tm.tm_sec, &used) != 6 || text[used] != '\0')
		luaL_error(L, "t.env: now = \"%s\": a time is written 2026-03-02T10:00:00Z", text);
	tm.tm_year -= 1900;
	tm.tm_mon--;
	return (int64_t)timegm(&tm) * 1000;
}

/* Relative to the bundle, which is the folder that is tested. */
static char *
bundle_dir(lua_State *L)
{
	const char *b = policy_opt_string(L, 1, "t.env", "bundle", false, 1000);

	if (b == NULL || strcmp(b, ".") == 0)
		return xstrdup(runner->tc->dir);
	return b[0] == '/' ? xstrdup(b) : xasprintf("%s/%s", runner->tc->dir, b);
}

/* t.env{ bundle = ".", now = "...", config = { ... }, seed = n } */
static int
t_env(lua_State *L)
{
	static const char *const fields[] = { "bundle", "now", "config", "seed", NULL };
	struct world_conf wc = { .seed = runner->tc->seed, .lines = runner->cover == NULL ? NULL : cover_line,
		.lines_owner = runner->cover, .records = runner->bench == NULL ? NULL : &bench_ops,
		.records_owner = runner->bench, .counts_exactly = runner->counts };
	const char *now, *overtext = NULL;
	struct conf *conf;
	struct err err = { "" };
	struct buf over;
	struct env *e;
	char *dir;

	if (lua_isnoneornil(L, 1)) {
		lua_settop(L, 0);
		lua_newtable(L);
	}
	lua_settop(L, 1);
	policy_opts_check(L, 1, "t.env", fields);
	now = policy_opt_string(L, 1, "t.env", "now", false, 40);
	wc.now_ms = parse_time(L, now == NULL ? "2026-03-02T10:00:00Z" : now);
	wc.seed = (uint64_t)policy_opt_integer(L, 1, "t.env", "seed", 1, INT64_MAX, (lua_Integer)wc.seed);
	if (lua_getfield(L, 1, "config") != LUA_TNIL) {
		luaL_checktype(L, -1, LUA_TTABLE);
		buf_init(&over, 1u << 20);
		put_lua(L, -1, &over, 0);
		buf_addc(&over, '\0');
		overtext = lua_pushstring(L, buf_peek(&over));
		buf_fini(&over);
	}
	dir = bundle_dir(L);
	e = lua_newuserdatauv(L, sizeof *e, 2);
	*e = (struct env){ .w = NULL };
	luaL_setmetatable(L, ENV_MT);
	env_close(runner->env);
	conf = world_conf_load(dir, overtext, &err);
	if (conf != NULL)
		world_conf_own_databases(conf, dir);
	free(dir);
	if (conf != NULL)
		e->w = world_new(conf, &wc, &err);
	if (e->w == NULL) {
		push_where(L);
		lua_pushfstring(L, "%st.env: %s", lua_tostring(L, -1), err.text);
		return lua_error(L);
	}
	runner->env = e;
	return 1;
}

/* ---- env.dns ---- */

struct env *
check_proxy(lua_State *L, const char *mt, const char *call)
{
	struct env **p = luaL_testudata(L, 1, mt);

	if (p == NULL)
		luaL_error(L, "call it with a colon: env.%s(...)", call);
	if ((*p)->w == NULL)
		luaL_error(L, "this env is over: another t.env has taken its place");
	return *p;
}

static void
take_opts(lua_State *L, int arg, const char *api, struct book_said *how)
{
	static const char *const fields[] = { "secure", "bogus", "nxdomain", "servfail", "timeout", "ttl", NULL };
	static const struct { const char *key; enum dns_status status; } ends[] = {
		{ "bogus", DNS_BOGUS }, { "nxdomain", DNS_NXDOMAIN }, { "servfail", DNS_SERVFAIL },
		{ "timeout", DNS_TIMEOUT },
	};

	*how = (struct book_said){ .status = DNS_OK };
	if (lua_isnoneornil(L, arg))
		return;
	policy_opts_check(L, arg, api, fields);
	how->secure = policy_opt_bool(L, arg, api, "secure", false);
	how->ttl = (uint32_t)policy_opt_integer(L, arg, api, "ttl", 1, 86400 * 7, 300);
	for (size_t i = 0; i < NELEMS(ends); i++) {
		if (lua_getfield(L, arg, ends[i].key) != LUA_TNIL && lua_toboolean(L, -1)) {
			how->status = ends[i].status;
			if (ends[i].status == DNS_BOGUS)
				how->why = lua_type(L, -1) == LUA_TSTRING ? (char *)lua_tostring(L, -1) : "signature expired";
		}
		lua_pop(L, 1);
	}
}

/* The records at arg as texts: one, a list, for MX a list of { preference, host }. They stay on the stack. */
static size_t
take_records(lua_State *L, int arg, uint16_t type, const char *rr[RECORDS_MAX])
{
	size_t n = 0;
	lua_Integer len;

	if (lua_isnoneornil(L, arg))
		return 0;
	if (lua_type(L, arg) == LUA_TSTRING) {
		rr[0] = type == DNS_MX ? lua_pushfstring(L, "10 %s", lua_tostring(L, arg)) : lua_tostring(L, arg);
		return 1;
	}
	luaL_checktype(L, arg, LUA_TTABLE);
	len = luaL_len(L, arg);
	luaL_checkstack(L, (int)(len < RECORDS_MAX ? len : RECORDS_MAX) + 8, "records");
	for (lua_Integer i = 1; i <= len && n < RECORDS_MAX; i++) {
		if (lua_geti(L, arg, i) == LUA_TTABLE) {
			lua_geti(L, -1, 1);
			lua_geti(L, -2, 2);
			luaL_checkinteger(L, -2);
			rr[n++] = lua_pushfstring(L, "%d %s", (int)lua_tointeger(L, -2), luaL_checkstring(L, -1));
			lua_replace(L, -4);
			lua_pop(L, 2);
		} else if (type == DNS_MX) {
			rr[n++] = lua_pushfstring(L, "10 %s", luaL_checkstring(L, -1));
			lua_remove(L, -2);
		} else {
			rr[n++] = luaL_checkstring(L, -1);
		}
	}
	return n;
}

static int
dns_say(lua_State *L, const char *call, uint16_t type)
{
	struct env *e = check_proxy(L, DNS_MT, call);
	const char *rr[RECORDS_MAX], *name = luaL_checkstring(L, 2);
	struct book_said how;
	struct err err;
	size_t n;

	lua_settop(L, 4);
	take_opts(L, 4, call, &how);
	n = take_records(L, 3, type, rr);
	if (!book_say(world_book(e->w), name, type, rr, n, &how, &err))
		return luaL_error(L, "env.%s: %s", call, err.text);
	deliver_look_again(world_deliver(e->w));
	lua_settop(L, 1);
	return 1;
}

static int dns_mx(lua_State *L) { return dns_say(L, "dns:mx", DNS_MX); }
static int dns_a(lua_State *L) { return dns_say(L, "dns:a", DNS_A); }
static int dns_aaaa(lua_State *L) { return dns_say(L, "dns:aaaa", DNS_AAAA); }
static int dns_txt(lua_State *L) { return dns_say(L, "dns:txt", DNS_TXT); }
static int dns_tlsa_say(lua_State *L) { return dns_say(L, "dns:tlsa", DNS_TLSA); }
static int dns_cname(lua_State *L) { return dns_say(L, "dns:cname", DNS_CNAME); }
static int dns_ptr(lua_State *L) { return dns_say(L, "dns:ptr", DNS_PTR); }

/* env.dns:nxdomain(name [, { secure = }]), env.dns:fail(name, type, "servfail" | "timeout" | "bogus") */
static int
dns_nxdomain(lua_State *L)
{
	struct env *e = check_proxy(L, DNS_MT, "dns:nxdomain");
	const char *name = luaL_checkstring(L, 2);
	struct book_said how;
	struct err err;

	lua_settop(L, 3);
	take_opts(L, 3, "dns:nxdomain", &how);
	how.status = DNS_NXDOMAIN;
	book_say(world_book(e->w), name, 0, NULL, 0, &how, &err);
	deliver_look_again(world_deliver(e->w));
	lua_settop(L, 1);
	return 1;
}

static int
dns_fail(lua_State *L)
{
	static const char *const words[] = { "servfail", "timeout", "bogus", NULL };
	static const enum dns_status ends[] = { DNS_SERVFAIL, DNS_TIMEOUT, DNS_BOGUS };
	struct env *e = check_proxy(L, DNS_MT, "dns:fail");
	const char *name = luaL_checkstring(L, 2), *type = luaL_checkstring(L, 3);
	struct book_said how = { .status = ends[luaL_checkoption(L, 4, "servfail", words)] };
	struct err err;

	if (book_type(type) == 0 && strcmp(type, "any") != 0)
		return luaL_error(L, "env.dns:fail: \"%s\" is no type of record known here", type);
	if (how.status == DNS_BOGUS)
		how.why = "signature expired";
	book_say(world_book(e->w), name, book_type(type), NULL, 0, &how, &err);
	deliver_look_again(world_deliver(e->w));
	lua_settop(L, 1);
	return 1;
}

/* ---- env.sts ---- */

/* env.sts:policy(domain, { mode = "enforce", mx = { ... }, max_age = 86400, id = "1" }) */
static int
sts_policy(lua_State *L)
{
	static const char *const fields[] = { "mode", "mx", "max_age", "id", NULL };
	struct env *e = check_proxy(L, STS_MT, "sts:policy");
	const char *domain = luaL_checkstring(L, 2), *mode, *id, *rr[RECORDS_MAX];
	lua_Integer age;
	luaL_Buffer b;
	size_t n;

	lua_settop(L, 3);
	policy_opts_check(L, 3, "env.sts:policy", fields);
	mode = policy_opt_string(L, 3, "env.sts:policy", "mode", false, 20);
	id = policy_opt_string(L, 3, "env.sts:policy", "id", false, 32);
	age = policy_opt_integer(L, 3, "env.sts:policy", "max_age", 1, 31557600, 86400);
	lua_getfield(L, 3, "mx");
	n = take_records(L, 4, DNS_TXT, rr);
	luaL_buffinit(L, &b);
	luaL_addstring(&b, "version: STSv1\r\nmode: ");
	luaL_addstring(&b, mode == NULL ? "enforce" : mode);
	for (size_t i = 0; i < n; i++) {
		luaL_addstring(&b, "\r\nmx: ");
		luaL_addstring(&b, rr[i]);
	}
	lua_pushfstring(L, "\r\nmax_age: %d\r\n", (int)age);
	luaL_addvalue(&b);
	luaL_pushresult(&b);
	book_sts(world_book(e->w), domain, id == NULL ? "1" : id, lua_tostring(L, -1), NULL);
	lua_settop(L, 1);
	return 1;
}

/* env.sts:fail(domain, why): there is a record, and the policy cannot be fetched. */
static int
sts_fail(lua_State *L)
{
	struct env *e = check_proxy(L, STS_MT, "sts:fail");

	book_sts(world_book(e->w), luaL_checkstring(L, 2), "1", NULL, luaL_optstring(L, 3, "no answer"));
	lua_settop(L, 1);
	return 1;
}

/* ---- env.http ---- */

/* env.http:answer(url, { method, status, headers, body, json }) */
static int
http_answer(lua_State *L)
{
	static const char *const fields[] = { "method", "status", "headers", "body", "json", NULL };
	static const char api[] = "env.http:answer";
	struct env *e = check_proxy(L, HTTP_MT, "http:answer");
	const char *url = luaL_checkstring(L, 2), *method, *body = "";
	long status;
	struct buf *lines;
	int h;

	lua_settop(L, 3);
	policy_opts_check(L, 3, api, fields);
	method = policy_opt_string(L, 3, api, "method", false, 10);
	status = (long)policy_opt_integer(L, 3, api, "status", 100, 599, 200);
	if (lua_getfield(L, 3, "json") != LUA_TNIL) {
		struct buf *out = policy_push_buf(L, 1u << 20);

		policy_json_encode(L, 4, out);
		body = lua_pushlstring(L, buf_peek(out), out->len);
	} else if (lua_getfield(L, 3, "body") == LUA_TSTRING) {
		body = lua_tostring(L, -1);
	}
	lua_getfield(L, 3, "headers");
	h = lua_gettop(L);
	lines = policy_push_buf(L, 32768);
	if (lua_type(L, h) == LUA_TTABLE)
		for (lua_pushnil(L); lua_next(L, h) != 0; lua_pop(L, 1))
			buf_printf(lines, "%s: %s\n", luaL_checkstring(L, -2), luaL_checkstring(L, -1));
	buf_addc(lines, '\0');
	book_http(world_book(e->w), method == NULL ? "*" : method, url, status, buf_peek(lines), body, NULL);
	lua_settop(L, 1);
	return 1;
}

/* env.http:fail(url, "timeout" | "tls" | "nxdomain" | "servfail") */
static int
http_fail(lua_State *L)
{
	struct env *e = check_proxy(L, HTTP_MT, "http:fail");

	book_http(world_book(e->w), "*", luaL_checkstring(L, 2), 0, NULL, NULL, luaL_optstring(L, 3, "servfail"));
	lua_settop(L, 1);
	return 1;
}

/* What was asked: { { request = "GET https://...", body = "" }, ... } */
static int
http_requests(lua_State *L)
{
	struct env *e = check_proxy(L, HTTP_MT, "http:requests");
	const char *request, *sent;

	lua_newtable(L);
	for (size_t i = 0; (request = book_request(world_book(e->w), i, &sent)) != NULL; i++) {
		lua_newtable(L);
		lua_pushstring(L, request);
		lua_setfield(L, -2, "request");
		lua_pushstring(L, sent);
		lua_setfield(L, -2, "body");
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

/* ---- Time ---- */

static int
env_run_queue(lua_State *L)
{
	struct env *e = check_env(L, 1);

	world_run_queue(e->w);
	lua_settop(L, 1);
	return 1;
}

static int
env_advance(lua_State *L)
{
	struct env *e = check_env(L, 1);
	int64_t ms;

	if (lua_type(L, 2) == LUA_TNUMBER)
		ms = (int64_t)(luaL_checknumber(L, 2) * 1000);
	else if (!duration_parse(slice_of(luaL_checkstring(L, 2)), &ms))
		return luaL_error(L, "env:advance: \"%s\": a time is written 90s, 5m, 1h or 2d", lua_tostring(L, 2));
	if (ms < 0 || ms > INT64_C(400) * 86400000)
		return luaL_error(L, "env:advance: at most 400 days, and forward");
	world_advance(e->w, ms);
	lua_settop(L, 1);
	return 1;
}

static int
env_now(lua_State *L)
{
	char text[32];

	date_iso8601(text, sizeof text, world_now_ms(check_env(L, 1)->w));
	lua_pushstring(L, text);
	return 1;
}

static int
env_log(lua_State *L)
{
	lua_pushstring(L, world_log(check_env(L, 1)->w));
	return 1;
}

/* Every handler call of this test. */
static int
env_trace(lua_State *L)
{
	struct env *e = check_env(L, 1);
	const struct seen *s;
	lua_Integer n = 0;

	lua_newtable(L);
	for (size_t i = e->first_seen; (s = world_seen(e->w, i)) != NULL; i++) {
		const struct { const char *key, *value; } all[] = {
			{ "hook", policy_hook_name(s->hook) }, { "handler", s->handler }, { "where", s->where },
			{ "verdict", s->verdict }, { "reason", s->reason }, { "status", s->status }, { "text", s->text },
			{ "error", s->error },
		};

		lua_newtable(L);
		for (size_t k = 0; k < NELEMS(all); k++) {
			lua_pushstring(L, all[k].value);
			lua_setfield(L, -2, all[k].key);
		}
		push_duties(L, s->added);
		lua_setfield(L, -2, "added");
		lua_rawseti(L, -2, ++n);
	}
	return 1;
}

static int
env_index(lua_State *L)
{
	static const char *const names[] = { "dns", "sts", "http", "sql", NULL };
	static const char *const mts[] = { DNS_MT, STS_MT, HTTP_MT, SQL_PROXY_MT };
	const char *key = luaL_checkstring(L, 2);
	struct env *e = luaL_checkudata(L, 1, ENV_MT), **p;

	for (int i = 0; names[i] != NULL; i++) {
		if (strcmp(key, names[i]) != 0)
			continue;
		p = lua_newuserdatauv(L, sizeof *p, 1);
		*p = e;
		lua_pushvalue(L, 1);
		lua_setiuservalue(L, -2, 1);
		luaL_setmetatable(L, mts[i]);
		return 1;
	}
	lua_pushvalue(L, 2);
	if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL)
		return luaL_error(L, "env has no '%s'", key);
	return 1;
}

void
proxy_mt(lua_State *L, const char *name, const luaL_Reg *fns)
{
	luaL_newmetatable(L, name);
	lua_newtable(L);
	luaL_setfuncs(L, fns, 0);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}

void
test_env_open(lua_State *L)
{
	static const luaL_Reg methods[] = {
		{ "run_queue", env_run_queue }, { "advance", env_advance }, { "now", env_now }, { "log", env_log },
		{ "trace", env_trace }, { "peer", env_peer }, { "session", env_session }, { "notices", env_notices },
		{ "call", env_call }, { NULL, NULL },
	};
	static const luaL_Reg dns[] = {
		{ "mx", dns_mx }, { "a", dns_a }, { "aaaa", dns_aaaa }, { "txt", dns_txt }, { "tlsa", dns_tlsa_say },
		{ "cname", dns_cname }, { "ptr", dns_ptr }, { "nxdomain", dns_nxdomain }, { "fail", dns_fail },
		{ NULL, NULL },
	};
	static const luaL_Reg sts[] = { { "policy", sts_policy }, { "fail", sts_fail }, { NULL, NULL } };

	static const luaL_Reg http[] = { { "answer", http_answer }, { "fail", http_fail }, { "requests", http_requests },
		{ NULL, NULL } };

	test_sql_open(L);
	proxy_mt(L, HTTP_MT, http);
	proxy_mt(L, DNS_MT, dns);
	proxy_mt(L, STS_MT, sts);
	luaL_newmetatable(L, ENV_MT);
	lua_pushcfunction(L, env_gc);
	lua_setfield(L, -2, "__gc");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_newtable(L);
	luaL_setfuncs(L, methods, 0);
	lua_pushcclosure(L, env_index, 1);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
	lua_pushcfunction(L, t_env);
	lua_setfield(L, -2, "env");
}
