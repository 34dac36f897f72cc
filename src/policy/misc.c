/* Small things in gw: the clock, random numbers, the log, JSON, sorted_pairs, the version. */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/api.h"

/* gw.now() -> seconds since 1970 with fraction; the same for as long as the handler does not wait. */
static int
gw_now(lua_State *L)
{
	struct policy_run *r = policy_not_loading(L, "gw.now");

	if (r->gen->now_ms == 0)
		r->gen->now_ms = clock_wall_ms();
	lua_pushnumber(L, (lua_Number)r->gen->now_ms / 1000);
	return 1;
}

/* ---- Random: the same for the same message and handler, so that a decision can be replayed ---- */

static uint64_t
splitmix(uint64_t *s)
{
	uint64_t z = *s += 0x9E3779B97F4A7C15u;

	z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
	z = (z ^ z >> 27) * 0x94D049BB133111EBu;
	return z ^ z >> 31;
}

static uint64_t
next_random(struct policy_run *r)
{
	uint64_t a, b;

	if (r->rng[0] == 0 && r->rng[1] == 0) {
		uint64_t s = hash64(r->h->name, strlen(r->h->name));

		if (r->s->msg != NULL)
			s ^= r->s->msg->id;
		else if (r->s->session != NULL && r->s->session->info != NULL)
			s ^= r->s->session->info->id;
		r->rng[0] = splitmix(&s);
		r->rng[1] = splitmix(&s) | 1;
	}
	a = r->rng[0];
	b = r->rng[1];
	r->rng[0] = b;
	a ^= a << 23;
	r->rng[1] = a ^ b ^ a >> 17 ^ b >> 26;
	return r->rng[1] + b;
}

static int
gw_random(lua_State *L)
{
	struct policy_run *r = policy_not_loading(L, "gw.random");
	lua_Integer lo = 1, hi;
	uint64_t x = next_random(r), span, limit;

	switch (lua_gettop(L)) {
	case 0:
		lua_pushnumber(L, (lua_Number)(x >> 11) * 0x1p-53);
		return 1;
	case 1:
		hi = luaL_checkinteger(L, 1);
		break;
	default:
		lo = luaL_checkinteger(L, 1);
		hi = luaL_checkinteger(L, 2);
	}
	luaL_argcheck(L, lo <= hi, lua_gettop(L) == 1 ? 1 : 2, "interval is empty");
	span = (uint64_t)hi - (uint64_t)lo + 1;
	if (span != 0) {
		limit = UINT64_MAX - UINT64_MAX % span;
		for (int i = 0; x >= limit && i < 64; i++)
			x = next_random(r);
		x %= span;
	}
	lua_pushinteger(L, (lua_Integer)(x + (uint64_t)lo));
	return 1;
}

/* ---- Log ---- */

/* gw.log.info(text [, fields]): fields is a table, added as JSON. */
static int
log_line(lua_State *L, enum log_level level)
{
	struct policy_run *r = policy_run_of(L);
	size_t n;
	const char *s;

	if (lua_gettop(L) > 2 || lua_type(L, 1) == LUA_TNONE)
		return luaL_error(L, "gw.log takes a text and perhaps a table: gw.log.info(\"seen\", { n = 1 })");
	lua_settop(L, 2);
	lua_pushcfunction(L, policy_tostring);
	lua_pushvalue(L, 1);
	lua_call(L, 1, 1);
	if (!lua_isnoneornil(L, 2)) {
		struct buf *b;

		luaL_checktype(L, 2, LUA_TTABLE);
		b = policy_push_buf(L, 4096);
		policy_json_encode(L, 2, b);
		lua_pushlstring(L, buf_peek(b), b->len);
		lua_pushfstring(L, "%s %s", lua_tostring(L, -3), lua_tostring(L, -1));
	}
	s = lua_tolstring(L, -1, &n);
	policy_note(r, level, "policy says", s, n);
	return 0;
}

static int
log_at_debug(lua_State *L)
{
	return log_line(L, LOG_LEVEL_DEBUG);
}

static int
log_at_info(lua_State *L)
{
	return log_line(L, LOG_LEVEL_INFO);
}

static int
log_at_warn(lua_State *L)
{
	return log_line(L, LOG_LEVEL_WARN);
}

static int
log_at_error(lua_State *L)
{
	return log_line(L, LOG_LEVEL_ERROR);
}

/* ---- JSON ---- */

static int
gw_json_encode(lua_State *L)
{
	struct buf *b;

	luaL_checkany(L, 1);
	b = policy_push_buf(L, 1u << 20);
	policy_json_encode(L, 1, b);
	lua_pushlstring(L, buf_peek(b), b->len);
	buf_fini(b);
	return 1;
}

/* gw.json.decode(text) -> value, or nil and what is wrong with it. */
static int
decode(lua_State *L)
{
	size_t n;
	const char *s = luaL_checklstring(L, 1, &n);

	policy_json_decode(L, s, n);
	return 1;
}

static int
gw_json_decode(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TSTRING);
	lua_settop(L, 1);
	lua_pushcfunction(L, decode);
	lua_insert(L, 1);
	if (lua_pcall(L, 1, 1, 0) == LUA_OK)
		return 1;
	if (policy_run_of(L)->killed != KILL_NONE)
		return policy_kill(L, policy_run_of(L)->killed);
	lua_pushnil(L);
	lua_insert(L, -2);
	return 2;
}

/* ---- sorted_pairs ---- */

/* Upvalues: table, sorted keys, position. */
static int
sorted_next(lua_State *L)
{
	lua_Integer i = lua_tointeger(L, lua_upvalueindex(3)) + 1;

	lua_pushinteger(L, i);
	lua_replace(L, lua_upvalueindex(3));
	if (lua_geti(L, lua_upvalueindex(2), i) == LUA_TNIL)
		return 1;
	lua_pushvalue(L, -1);
	lua_gettable(L, lua_upvalueindex(1));
	return 2;
}

/* Numbers before texts. */
static int
key_less(lua_State *L)
{
	int a = lua_type(L, 1), b = lua_type(L, 2);

	policy_charge_lua(L, 1);
	lua_pushboolean(L, a != b ? a == LUA_TNUMBER : lua_compare(L, 1, 2, LUA_OPLT));
	return 1;
}

/* for k, v in gw.sorted_pairs(t): keys are texts and numbers; the order of pairs() differs from run
 * to run. Upvalue: table.sort. */
static int
gw_sorted_pairs(lua_State *L)
{
	lua_Integer n = 0;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	lua_newtable(L);
	if (!policy_push_shadow(L, 1))
		lua_pushvalue(L, 1);
	lua_pushnil(L);
	while (lua_next(L, 3) != 0) {
		lua_pop(L, 1);
		if (lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER)
			return luaL_error(L, "gw.sorted_pairs: a key is a %s; only texts and numbers have an "
			    "order", luaL_typename(L, -1));
		lua_pushvalue(L, -1);
		lua_rawseti(L, 2, ++n);
	}
	lua_settop(L, 2);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_pushvalue(L, 2);
	lua_pushcfunction(L, key_less);
	lua_call(L, 2, 0);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, sorted_next, 3);
	return 1;
}

/* gw.help(name) -> text, or nil and what there is of a like name. */
static int
gw_help(lua_State *L)
{
	const char *name = luaL_optstring(L, 1, "gw.help"), *near, *text = policy_api_help(name, &near);

	lua_pushstring(L, text);	/* NULL: nil */
	if (text != NULL)
		return 1;
	lua_pushfstring(L, "there is no help about '%s'%s%s%s", name, near == NULL ? "" : "; did you mean '",
	    near == NULL ? "" : near, near == NULL ? "" : "'?");
	return 2;
}

/* What the modules of lua/ will replace. */
static const char *const in_library[] = { "arc", "auth", "calendar", "dkim", "redact", "schema", "template" };

static int
no_library(lua_State *L)
{
	return luaL_error(L, "gw.%s: the shipped library is not in %s", lua_tostring(L, lua_upvalueindex(1)),
	    policy_library_dir());
}

void
policy_misc_open(lua_State *L)
{
	static const luaL_Reg fns[] = { { "now", gw_now }, { "random", gw_random }, { "help", gw_help },
		{ NULL, NULL } };
	static const luaL_Reg log[] = {
		{ "debug", log_at_debug }, { "info", log_at_info }, { "warn", log_at_warn },
		{ "error", log_at_error }, { NULL, NULL },
	};
	static const luaL_Reg json[] = {
		{ "encode", gw_json_encode }, { "decode", gw_json_decode }, { NULL, NULL },
	};

	for (size_t i = 0; i < NELEMS(in_library); i++) {
		lua_pushstring(L, in_library[i]);
		lua_pushcclosure(L, no_library, 1);
		lua_setfield(L, -2, in_library[i]);
	}
	luaL_setfuncs(L, fns, 0);
	luaL_newlib(L, log);
	lua_setfield(L, -2, "log");
	luaL_newlib(L, json);
	lua_setfield(L, -2, "json");
	lua_pushliteral(L, PACKAGE_VERSION);
	lua_setfield(L, -2, "version");
	lua_pushglobaltable(L);
	lua_getfield(L, -1, "table");
	lua_getfield(L, -1, "sort");
	lua_pushcclosure(L, gw_sorted_pairs, 1);
	lua_setfield(L, -4, "sorted_pairs");
	lua_pop(L, 1);
	lua_getfield(L, -1, "math");
	lua_pushcfunction(L, gw_random);
	lua_setfield(L, -2, "random");
	lua_pop(L, 2);
}
