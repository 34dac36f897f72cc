/* Answers as JSON and back: whatever a call that waits can give to a policy. Tables that are no plain list and no
 * plain object, texts that are no UTF-8 and error objects have forms of their own, with a key that begins with '$'. */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy/journal_int.h"

#define DEPTH_MAX 16

static json_t *encode(lua_State *L, int idx, int depth);

static json_t *
encode_pairs(lua_State *L, int t, int depth)
{
	json_t *l = json_array();

	lua_pushnil(L);
	while (lua_next(L, t) != 0) {
		int top = lua_gettop(L);

		json_array_append_new(l, json_pack("[o, o]", encode(L, top - 1, depth + 1), encode(L, top, depth + 1)));
		lua_settop(L, top - 1);
	}
	return json_pack("{s:o}", "$t", l);
}

/* 1 a list, 2 an object with plain keys, 0 neither. */
static int
shape_of(lua_State *L, int t)
{
	size_t n = lua_rawlen(L, t), ints = 0, texts = 0;

	lua_pushnil(L);
	while (lua_next(L, t) != 0) {
		size_t len = 0;
		const char *key = NULL;
		bool is_int = lua_isinteger(L, -2), is_text = lua_type(L, -2) == LUA_TSTRING;

		if (is_text)
			key = lua_tolstring(L, -2, &len);
		lua_pop(L, 1);
		if (is_int && lua_tointeger(L, -1) >= 1 && (size_t)lua_tointeger(L, -1) <= n) {
			ints++;
		} else if (is_text && len > 0 && key[0] != '$' && memchr(key, 0, len) == NULL && utf8_is_valid(key, len)) {
			texts++;
		} else {
			lua_pop(L, 1);
			return 0;
		}
	}
	return texts == 0 && ints == n && n > 0 ? 1 : ints == 0 && n == 0 ? 2 : 0;
}

static json_t *
encode_table(lua_State *L, int t, int depth)
{
	size_t n = lua_rawlen(L, t);
	json_t *o;

	switch (shape_of(L, t)) {
	case 1:
		o = json_array();
		for (size_t i = 1; i <= n; i++) {
			lua_rawgeti(L, t, (lua_Integer)i);
			json_array_append_new(o, encode(L, lua_gettop(L), depth + 1));
			lua_pop(L, 1);
		}
		return o;
	case 2:
		o = json_object();
		lua_pushnil(L);
		while (lua_next(L, t) != 0) {
			json_object_set_new_nocheck(o, lua_tostring(L, -2), encode(L, lua_gettop(L), depth + 1));
			lua_pop(L, 1);
		}
		return o;
	default:
		return encode_pairs(L, t, depth);
	}
}

static json_t *
encode_number(lua_State *L, int idx)
{
	lua_Number v = lua_tonumber(L, idx);

	if (lua_isinteger(L, idx))
		return json_integer(lua_tointeger(L, idx));
	return isfinite(v) ? json_real(v) : json_pack("{s:s}", "$n", isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
}

static json_t *
encode(lua_State *L, int idx, int depth)
{
	bool temporary, secure;
	const char *kind, *s;
	json_t *o;
	size_t n;

	if (depth > DEPTH_MAX || !lua_checkstack(L, 8))
		return json_pack("{s:s}", "$?", "too deep");
	switch (lua_type(L, idx)) {
	case LUA_TNIL: return json_null();
	case LUA_TBOOLEAN: return json_boolean(lua_toboolean(L, idx));
	case LUA_TNUMBER: return encode_number(L, idx);
	case LUA_TSTRING:
		s = lua_tolstring(L, idx, &n);
		return journal_text(s, n);
	case LUA_TTABLE:
		if (!policy_push_shadow(L, idx))
			return encode_table(L, idx, depth);
		o = encode_table(L, lua_gettop(L), depth);
		lua_pop(L, 1);
		return json_pack("{s:o}", "$f", o);
	case LUA_TUSERDATA:
		kind = policy_error_get(L, idx, &temporary, &secure);
		if (kind != NULL)
			return json_pack("{s:{s:s, s:b, s:b, s:o}}", "$e", "kind", kind, "temporary", temporary, "secure", secure,
			    "text", journal_text(policy_error_text(L, idx), strlen(policy_error_text(L, idx))));
		/* fallthrough */
	default:
		return json_pack("{s:s}", "$?", lua_typename(L, lua_type(L, idx)));
	}
}

json_t *
journal_lua(lua_State *L, int first, int n)
{
	json_t *l = json_array();

	for (int i = 0; i < n; i++)
		json_array_append_new(l, encode(L, first + i, 0));
	return l;
}

/* ---- Back ---- */

static void decode(lua_State *L, const json_t *v, int depth);

static void
decode_pairs(lua_State *L, const json_t *l, int depth)
{
	const json_t *pair;
	size_t i;

	lua_newtable(L);
	json_array_foreach(l, i, pair) {
		const json_t *key = json_array_get(pair, 0);

		if (key == NULL || json_is_null(key) || json_object_get(key, "$n") != NULL)
			luaL_error(L, "journal: a table has a key that cannot be");
		decode(L, key, depth + 1);
		decode(L, json_array_get(pair, 1), depth + 1);
		lua_rawset(L, -3);
	}
}

static void
push_text(lua_State *L, const json_t *v)
{
	size_t n;
	char *s = journal_text_read(v, &n);

	if (s == NULL)
		luaL_error(L, "journal: a text is none");
	lua_pushlstring(L, s, n);	/* may raise for want of memory, and then a text is lost to it */
	free(s);
}

static void
decode_error(lua_State *L, const json_t *e)
{
	const char *kind = json_string_value(json_object_get(e, "kind"));
	char *text = journal_text_read(json_object_get(e, "text"), NULL), shown[256];

	snprintf(shown, sizeof shown, "%s", text == NULL ? "" : text);
	free(text);
	policy_push_error(L, policy_error_word(kind == NULL ? "" : kind), json_is_true(json_object_get(e, "temporary")),
	    json_is_true(json_object_get(e, "secure")), "%s", shown);
	lua_remove(L, -2);		/* its nil */
}

static void
decode_object(lua_State *L, const json_t *v, int depth)
{
	const json_t *x;
	const char *key;

	if ((x = json_object_get(v, "$b")) != NULL) {
		push_text(L, v);
	} else if ((x = json_object_get(v, "$n")) != NULL) {
		const char *s = json_string_value(x);

		lua_pushnumber(L, s != NULL && *s == 'n' ? (lua_Number)NAN : s != NULL && *s == '-' ? -HUGE_VAL : HUGE_VAL);
	} else if ((x = json_object_get(v, "$t")) != NULL) {
		decode_pairs(L, x, depth);
	} else if ((x = json_object_get(v, "$f")) != NULL) {
		decode(L, x, depth + 1);
		if (lua_istable(L, -1))
			policy_freeze(L, lua_gettop(L));
	} else if ((x = json_object_get(v, "$e")) != NULL) {
		decode_error(L, x);
	} else if (json_object_get(v, "$?") != NULL) {
		luaL_error(L, "journal: the answer was of a kind that cannot be recorded");
	} else {
		lua_newtable(L);
		json_object_foreach((json_t *)v, key, *(json_t **)&x) {
			lua_pushstring(L, key);
			decode(L, x, depth + 1);
			lua_rawset(L, -3);
		}
	}
}

static void
decode(lua_State *L, const json_t *v, int depth)
{
	const json_t *x;
	size_t i;

	if (depth > 2 * DEPTH_MAX)
		luaL_error(L, "journal: an answer is nested too deep");
	luaL_checkstack(L, 8, "journal");
	switch (v == NULL ? JSON_NULL : json_typeof(v)) {
	case JSON_NULL: lua_pushnil(L); break;
	case JSON_TRUE: lua_pushboolean(L, 1); break;
	case JSON_FALSE: lua_pushboolean(L, 0); break;
	case JSON_INTEGER: lua_pushinteger(L, json_integer_value(v)); break;
	case JSON_REAL: lua_pushnumber(L, json_real_value(v)); break;
	case JSON_STRING: push_text(L, v); break;
	case JSON_ARRAY:
		lua_newtable(L);
		json_array_foreach(v, i, x) {
			decode(L, x, depth + 1);
			lua_rawseti(L, -2, (lua_Integer)i + 1);
		}
		break;
	case JSON_OBJECT: decode_object(L, v, depth); break;
	}
}

int
journal_lua_push(lua_State *L, const json_t *list)
{
	size_t n = json_array_size(list);

	if (!json_is_array(list) || n > 20)
		return luaL_error(L, "journal: an answer is no list of values");
	for (size_t i = 0; i < n; i++)
		decode(L, json_array_get(list, i), 0);
	return (int)n;
}
