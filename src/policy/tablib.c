/* The sandbox's `table`. The stock functions loop in C over whatever length a table claims to
 * have, and no hook sees them; these charge the handler for every element. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "policy/policy_int.h"

static lua_Integer
length(lua_State *L, int arg)
{
	lua_Integer n;

	luaL_checktype(L, arg, LUA_TTABLE);
	n = luaL_len(L, arg);
	return n < 0 ? 0 : n;
}

static void
charge_range(lua_State *L, lua_Integer from, lua_Integer to)
{
	if (to >= from)
		policy_charge_lua(L, (lua_Unsigned)to - (lua_Unsigned)from + 1);
}

static int
tab_insert(lua_State *L)
{
	lua_Integer n = length(L, 1) + 1, at = n;

	switch (lua_gettop(L)) {
	case 2:
		break;
	case 3:
		at = luaL_checkinteger(L, 2);
		luaL_argcheck(L, (lua_Unsigned)at - 1u < (lua_Unsigned)n, 2, "position out of bounds");
		charge_range(L, at, n);
		for (lua_Integer i = n; i > at; i--) {
			lua_geti(L, 1, i - 1);
			lua_seti(L, 1, i);
		}
		break;
	default:
		return luaL_error(L, "wrong number of arguments to 'insert'");
	}
	lua_seti(L, 1, at);
	return 0;
}

static int
tab_remove(lua_State *L)
{
	lua_Integer n = length(L, 1), at = luaL_optinteger(L, 2, n);

	if (at != n)
		luaL_argcheck(L, (lua_Unsigned)at - 1u <= (lua_Unsigned)n, 2, "position out of bounds");
	charge_range(L, at, n);
	lua_geti(L, 1, at);
	for (; at < n; at++) {
		lua_geti(L, 1, at + 1);
		lua_seti(L, 1, at);
	}
	lua_pushnil(L);
	lua_seti(L, 1, at);
	return 1;
}

static int
tab_concat(lua_State *L)
{
	lua_Integer n = length(L, 1);
	size_t seplen;
	const char *sep = luaL_optlstring(L, 2, "", &seplen);
	lua_Integer i = luaL_optinteger(L, 3, 1), j = luaL_optinteger(L, 4, n);
	luaL_Buffer b;

	lua_settop(L, 4);
	charge_range(L, i, j);
	luaL_buffinit(L, &b);
	for (; i <= j; i++) {
		lua_geti(L, 1, i);
		if (!lua_isstring(L, -1))
			return luaL_error(L, "invalid value (a %s) at index %I in table for 'concat'",
			    luaL_typename(L, -1), (LUAI_UACINT)i);
		luaL_addvalue(&b);
		if (i == j)
			break;
		luaL_addlstring(&b, sep, seplen);
	}
	luaL_pushresult(&b);
	return 1;
}

static int
tab_pack(lua_State *L)
{
	int n = lua_gettop(L);

	lua_createtable(L, n, 1);
	lua_insert(L, 1);
	for (int i = n; i >= 1; i--)
		lua_seti(L, 1, i);
	lua_pushinteger(L, n);
	lua_setfield(L, 1, "n");
	return 1;
}

static int
tab_unpack(lua_State *L)
{
	lua_Integer i = luaL_optinteger(L, 2, 1);
	lua_Integer j = lua_isnoneornil(L, 3) ? luaL_len(L, 1) : luaL_checkinteger(L, 3);
	lua_Unsigned n;

	if (i > j)
		return 0;
	n = (lua_Unsigned)j - (lua_Unsigned)i;
	if (n >= 100000 || !lua_checkstack(L, (int)n + 1))
		return luaL_error(L, "too many results to unpack");
	charge_range(L, i, j);
	for (; i < j; i++)
		lua_geti(L, 1, i);
	lua_geti(L, 1, j);
	return (int)n + 1;
}

static int
tab_move(lua_State *L)
{
	lua_Integer f = luaL_checkinteger(L, 2), e = luaL_checkinteger(L, 3), t = luaL_checkinteger(L, 4);
	int to = lua_isnoneornil(L, 5) ? 1 : 5;

	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checktype(L, to, LUA_TTABLE);
	lua_settop(L, 5);
	if (e >= f) {
		lua_Integer n;

		luaL_argcheck(L, f > 0 || e < LUA_MAXINTEGER + f, 3, "too many elements to move");
		n = e - f + 1;
		luaL_argcheck(L, t <= LUA_MAXINTEGER - n + 1, 4, "destination wrap around");
		charge_range(L, f, e);
		if (t > e || t <= f || to != 1) {
			for (lua_Integer i = 0; i < n; i++) {
				lua_geti(L, 1, f + i);
				lua_seti(L, to, t + i);
			}
		} else {	/* the ranges overlap: from the end */
			for (lua_Integer i = n - 1; i >= 0; i--) {
				lua_geti(L, 1, f + i);
				lua_seti(L, to, t + i);
			}
		}
	}
	lua_pushvalue(L, to);
	return 1;
}

/* Upvalue: the caller's function or nil. Comparing long strings is charged by their length. */
static int
sort_less(lua_State *L)
{
	size_t n = 0;

	if (lua_isnil(L, lua_upvalueindex(1))) {
		if (lua_type(L, 1) == LUA_TSTRING && lua_type(L, 2) == LUA_TSTRING)
			n = lua_rawlen(L, 1) < lua_rawlen(L, 2) ? lua_rawlen(L, 1) : lua_rawlen(L, 2);
		policy_charge_lua(L, n / 16 + 1);
		lua_pushboolean(L, lua_compare(L, 1, 2, LUA_OPLT));
		return 1;
	}
	policy_charge_lua(L, 1);
	lua_settop(L, 2);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, 2, 1);
	lua_pushboolean(L, lua_toboolean(L, -1));
	return 1;
}

/* Upvalue: the library's sort, which gets a plain copy, so that its idea of the length is ours. */
static int
tab_sort(lua_State *L)
{
	lua_Integer n = length(L, 1);

	if (!lua_isnoneornil(L, 2))
		luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	luaL_argcheck(L, n < 1000000, 1, "array too big");
	charge_range(L, 1, n);
	lua_createtable(L, (int)n, 0);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_geti(L, 1, i);
		luaL_argcheck(L, !lua_isnil(L, -1), 1, "has a hole");
		lua_rawseti(L, 3, i);
	}
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_pushvalue(L, 3);
	lua_pushvalue(L, 2);
	lua_pushcclosure(L, sort_less, 1);
	lua_call(L, 2, 0);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, 3, i);
		lua_seti(L, 1, i);
	}
	return 0;
}

void
policy_table_register(lua_State *L)
{
	static const luaL_Reg fns[] = {
		{ "insert", tab_insert }, { "remove", tab_remove }, { "concat", tab_concat },
		{ "pack", tab_pack }, { "unpack", tab_unpack }, { "move", tab_move }, { NULL, NULL },
	};

	luaL_newlib(L, fns);
	luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 0);
	lua_getfield(L, -1, "sort");
	lua_pushcclosure(L, tab_sort, 1);
	lua_setfield(L, -3, "sort");
	lua_pop(L, 1);
}
