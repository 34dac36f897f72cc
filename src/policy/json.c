/* JSON and Lua values: for vars, which are stored, and for gw.json. */
#include "config.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy_int.h"

#define DEPTH_MAX 32
#define DECODE_MAX (1u << 20)

static int
buf_gc(lua_State *L)
{
	buf_fini(lua_touserdata(L, 1));
	return 0;
}

struct buf *
policy_push_buf(lua_State *L, size_t max_bytes)
{
	struct buf *b = lua_newuserdatauv(L, sizeof *b, 0);

	buf_init(b, max_bytes);
	if (luaL_newmetatable(L, "gw.buffer")) {
		lua_pushcfunction(L, buf_gc);
		lua_setfield(L, -2, "__gc");
		lua_pushboolean(L, 0);
		lua_setfield(L, -2, "__metatable");
	}
	lua_setmetatable(L, -2);
	return b;
}

/* ---- Encoding ---- */

static void encode(lua_State *L, int idx, struct buf *out, int depth);

static void
add(lua_State *L, struct buf *out, const void *p, size_t n)
{
	if (!buf_add(out, p, n))
		luaL_error(L, "JSON: the value is larger than %d octets", (int)out->max);
}

static void
encode_string(lua_State *L, int idx, struct buf *out)
{
	size_t n;
	const char *s = lua_tolstring(L, idx, &n);
	size_t from = 0;

	policy_charge_lua(L, n / 8);
	if (!utf8_is_valid(s, n))
		luaL_error(L, "JSON: a string is not valid UTF-8");
	add(L, out, "\"", 1);
	for (size_t i = 0; i < n; i++) {
		char esc[8];

		if ((unsigned char)s[i] >= 0x20 && s[i] != '"' && s[i] != '\\' && s[i] != 0x7F)
			continue;
		add(L, out, s + from, i - from);
		from = i + 1;
		if (s[i] == '"' || s[i] == '\\')
			snprintf(esc, sizeof esc, "\\%c", s[i]);
		else
			snprintf(esc, sizeof esc, "\\u%04x", (unsigned)(unsigned char)s[i]);
		add(L, out, esc, strlen(esc));
	}
	add(L, out, s + from, n - from);
	add(L, out, "\"", 1);
}

static void
encode_number(lua_State *L, int idx, struct buf *out)
{
	char text[40];

	if (lua_isinteger(L, idx)) {
		snprintf(text, sizeof text, "%lld", (long long)lua_tointeger(L, idx));
	} else {
		double d = lua_tonumber(L, idx);

		if (!isfinite(d))
			luaL_error(L, "JSON has no infinity and no NaN");
		snprintf(text, sizeof text, "%.17g", d);
		if (strcspn(text, ".eE") == strlen(text))
			strcat(text, ".0");	/* stays a float on the way back */
	}
	add(L, out, text, strlen(text));
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of the table at idx, sorted, so that equal tables give equal text. In a userdata that
 * is pushed. */
static const char **
sorted_names(lua_State *L, int idx, size_t n)
{
	const char **names = lua_newuserdatauv(L, (n + 1) * sizeof *names, 0);
	size_t i = 0;

	lua_pushnil(L);
	while (lua_next(L, idx) != 0) {
		lua_pop(L, 1);
		if (lua_type(L, -1) != LUA_TSTRING)
			luaL_error(L, "JSON: a table is either a list or has names only; this one mixes them");
		if (memchr(lua_tostring(L, -1), 0, lua_rawlen(L, -1)) != NULL)
			luaL_error(L, "JSON: a name has a NUL in it");
		names[i++] = lua_tostring(L, -1);
	}
	qsort(names, n, sizeof *names, by_name);
	return names;
}

static void
encode_table(lua_State *L, int idx, struct buf *out, int depth)
{
	const char **names;
	size_t n = 0;
	lua_Unsigned len = lua_rawlen(L, idx);

	if (depth >= DEPTH_MAX)
		luaL_error(L, "JSON: nested more than %d deep (or in a circle)", DEPTH_MAX);
	lua_pushnil(L);
	while (lua_next(L, idx) != 0) {
		n++;
		lua_pop(L, 1);
	}
	policy_charge_lua(L, n);
	if (n > 0 && n == len) {
		add(L, out, "[", 1);
		for (lua_Unsigned i = 1; i <= len; i++) {
			if (i > 1)
				add(L, out, ",", 1);
			lua_rawgeti(L, idx, (lua_Integer)i);
			encode(L, lua_gettop(L), out, depth + 1);
			lua_pop(L, 1);
		}
		add(L, out, "]", 1);
		return;
	}
	names = sorted_names(L, idx, n);
	add(L, out, "{", 1);
	for (size_t i = 0; i < n; i++) {
		lua_pushstring(L, names[i]);
		if (i > 0)
			add(L, out, ",", 1);
		encode_string(L, -1, out);
		add(L, out, ":", 1);
		lua_rawget(L, idx);
		encode(L, lua_gettop(L), out, depth + 1);
		lua_pop(L, 1);
	}
	add(L, out, "}", 1);
	lua_pop(L, 1);
}

static void
encode(lua_State *L, int idx, struct buf *out, int depth)
{
	luaL_checkstack(L, 8, "JSON");
	switch (lua_type(L, idx)) {
	case LUA_TNIL:
		add(L, out, "null", 4);
		return;
	case LUA_TBOOLEAN:
		add(L, out, lua_toboolean(L, idx) ? "true" : "false", lua_toboolean(L, idx) ? 4 : 5);
		return;
	case LUA_TNUMBER:
		encode_number(L, idx, out);
		return;
	case LUA_TSTRING:
		encode_string(L, idx, out);
		return;
	case LUA_TTABLE:
		if (policy_push_shadow(L, idx)) {	/* a table of a module or of the globals */
			encode_table(L, lua_gettop(L), out, depth);
			lua_pop(L, 1);
		} else {
			encode_table(L, idx, out, depth);
		}
		return;
	default:
		luaL_error(L, "JSON: a %s cannot be stored; use its text", luaL_typename(L, idx));
	}
}

void
policy_json_encode(lua_State *L, int idx, struct buf *out)
{
	encode(L, lua_absindex(L, idx), out, 0);
}

/* ---- Decoding ---- */

static int
json_gc(lua_State *L)
{
	json_t **j = lua_touserdata(L, 1);

	json_decref(*j);
	*j = NULL;
	return 0;
}

static void
push_json(lua_State *L, const json_t *j, int depth)
{
	const char *key;
	json_t *v;
	size_t i;

	if (depth >= DEPTH_MAX)
		luaL_error(L, "JSON: nested more than %d deep", DEPTH_MAX);
	luaL_checkstack(L, 4, "JSON");
	switch (json_typeof(j)) {
	case JSON_OBJECT:
		lua_createtable(L, 0, (int)json_object_size(j));
		json_object_foreach((json_t *)j, key, v) {
			lua_pushstring(L, key);
			push_json(L, v, depth + 1);
			lua_rawset(L, -3);
		}
		return;
	case JSON_ARRAY:
		lua_createtable(L, (int)json_array_size(j), 0);
		json_array_foreach(j, i, v) {
			push_json(L, v, depth + 1);
			lua_rawseti(L, -2, (lua_Integer)i + 1);
		}
		return;
	case JSON_STRING:
		lua_pushlstring(L, json_string_value(j), json_string_length(j));
		return;
	case JSON_INTEGER:
		lua_pushinteger(L, json_integer_value(j));
		return;
	case JSON_REAL:
		lua_pushnumber(L, json_real_value(j));
		return;
	case JSON_TRUE:
	case JSON_FALSE:
		lua_pushboolean(L, json_is_true(j));
		return;
	default:
		lua_pushnil(L);
	}
}

void
policy_json_push(lua_State *L, const json_t *j)
{
	push_json(L, j, 0);
}

void
policy_json_decode(lua_State *L, const char *p, size_t n)
{
	json_error_t e;
	json_t **box;

	if (n > DECODE_MAX)
		luaL_error(L, "JSON: the text is larger than 1 MiB");
	policy_charge_lua(L, n / 2);
	box = lua_newuserdatauv(L, sizeof *box, 0);
	*box = NULL;
	if (luaL_newmetatable(L, "gw.json")) {
		lua_pushcfunction(L, json_gc);
		lua_setfield(L, -2, "__gc");
		lua_pushboolean(L, 0);
		lua_setfield(L, -2, "__metatable");
	}
	lua_setmetatable(L, -2);
	*box = json_loadb(p, n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
	if (*box == NULL)
		luaL_error(L, "JSON: %s (octet %d)", e.text, e.position);
	push_json(L, *box, 0);
	json_decref(*box);
	*box = NULL;
	lua_remove(L, -2);
}
