/* Values between C, JSON and the Lua of a test, and as text for people. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rehearsal/lua_int.h"

#define DEPTH_MAX 20

void
push_where(lua_State *L)
{
	lua_Debug ar;

	for (int level = 1; lua_getstack(L, level, &ar); level++) {
		lua_getinfo(L, "Sl", &ar);
		if (ar.currentline > 0 && ar.source[0] == '@' && strncmp(ar.source, "@tests/", 7) == 0) {
			lua_pushfstring(L, "%s:%d: ", ar.source + 1, ar.currentline);
			return;
		}
	}
	lua_pushliteral(L, "");
}

static bool
is_word(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");

	return n > 0 && s[n] == '\0' && (s[0] < '0' || s[0] > '9');
}

static void
put_quoted(struct buf *out, const char *s, size_t n)
{
	buf_addc(out, '"');
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c == '"' || c == '\\')
			buf_printf(out, "\\%c", c);
		else if (c == '\n')
			buf_adds(out, "\\n");
		else if (c < 32 || c == 127)
			buf_printf(out, "\\%03u", c);
		else
			buf_addc(out, (char)c);
	}
	buf_addc(out, '"');
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void put_value(lua_State *L, int idx, struct buf *out, int depth, bool strict);

/* Sorted, so that the same table always reads the same. */
static void
put_named(lua_State *L, int t, struct buf *out, int depth, bool strict, bool *first)
{
	const char **keys = NULL;
	size_t n = 0;

	lua_pushnil(L);
	while (lua_next(L, t) != 0) {
		lua_pop(L, 1);
		if (lua_type(L, -1) == LUA_TSTRING) {
			keys = xrealloc(keys, (n + 1) * sizeof *keys);
			keys[n++] = lua_tostring(L, -1);
		}
	}
	if (n > 1)
		qsort(keys, n, sizeof *keys, by_text);
	for (size_t i = 0; i < n; i++) {
		buf_adds(out, *first ? " " : ", ");
		*first = false;
		if (is_word(keys[i]) && !strict) {
			buf_adds(out, keys[i]);
		} else {
			buf_addc(out, '[');
			put_quoted(out, keys[i], strlen(keys[i]));
			buf_addc(out, ']');
		}
		buf_adds(out, " = ");
		lua_getfield(L, t, keys[i]);
		put_value(L, lua_gettop(L), out, depth + 1, strict);
		lua_pop(L, 1);
	}
	free(keys);
}

static void
put_table(lua_State *L, int t, struct buf *out, int depth, bool strict)
{
	lua_Integer n;
	bool first = true;

	luaL_checkstack(L, 6, "too deep");
	if (policy_push_shadow(L, t))	/* frozen */
		t = lua_gettop(L);
	n = (lua_Integer)lua_rawlen(L, t);
	buf_addc(out, '{');
	for (lua_Integer i = 1; i <= n; i++) {
		buf_adds(out, first ? " " : ", ");
		first = false;
		lua_rawgeti(L, t, i);
		put_value(L, lua_gettop(L), out, depth + 1, strict);
		lua_pop(L, 1);
	}
	put_named(L, t, out, depth, strict, &first);
	buf_adds(out, first ? "}" : " }");
}

static void
put_value(lua_State *L, int idx, struct buf *out, int depth, bool strict)
{
	size_t n;
	const char *s;

	if (depth > DEPTH_MAX) {
		buf_adds(out, "...");
		return;
	}
	switch (lua_type(L, idx)) {
	case LUA_TSTRING:
		s = lua_tolstring(L, idx, &n);
		put_quoted(out, s, n);
		return;
	case LUA_TTABLE:
		put_table(L, idx, out, depth, strict);
		return;
	case LUA_TNIL: case LUA_TBOOLEAN: case LUA_TNUMBER:
		buf_adds(out, luaL_tolstring(L, idx, NULL));
		lua_pop(L, 1);
		return;
	default:
		if (strict)
			luaL_error(L, "t.env: config holds a %s; settings are texts, numbers, booleans and tables",
			    luaL_typename(L, idx));
		buf_printf(out, "<%s>", luaL_typename(L, idx));
	}
}

void
push_shown(lua_State *L, int idx)
{
	struct buf out;
	int top = lua_gettop(L);

	idx = lua_absindex(L, idx);
	buf_init(&out, 4000);
	put_value(L, idx, &out, 0, false);
	lua_settop(L, top);
	lua_pushlstring(L, buf_peek(&out), out.len);
	buf_fini(&out);
}

void
put_lua(lua_State *L, int idx, struct buf *out, int depth)
{
	put_value(L, lua_absindex(L, idx), out, depth, true);
}

void
push_json(lua_State *L, const json_t *j)
{
	const char *key;
	json_t *e;
	size_t i;

	luaL_checkstack(L, 4, "too deep");
	switch (j == NULL ? JSON_NULL : json_typeof(j)) {
	case JSON_OBJECT:
		lua_newtable(L);
		json_object_foreach((json_t *)j, key, e) {
			push_json(L, e);
			lua_setfield(L, -2, key);
		}
		return;
	case JSON_ARRAY:
		lua_newtable(L);
		json_array_foreach(j, i, e) {
			push_json(L, e);
			lua_rawseti(L, -2, (lua_Integer)i + 1);
		}
		return;
	case JSON_STRING:
		lua_pushlstring(L, json_string_value(j), json_string_length(j));
		return;
	case JSON_INTEGER:
		lua_pushinteger(L, (lua_Integer)json_integer_value(j));
		return;
	case JSON_REAL:
		lua_pushnumber(L, json_real_value(j));
		return;
	case JSON_TRUE: case JSON_FALSE:
		lua_pushboolean(L, json_is_true(j));
		return;
	default:
		lua_pushnil(L);
	}
}

void
push_duties(lua_State *L, const char *text)
{
	lua_newtable(L);
	while (text != NULL && *text != '\0' && strcmp(text, "none") != 0) {
		size_t n = strcspn(text, " "), name = strcspn(text, "[ ");

		if (name > 0) {
			lua_pushlstring(L, text, name);
			lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
			lua_pushlstring(L, text, name);
			lua_pushlstring(L, text + name + (name < n), n > name + 2 ? n - name - 2 : 0);
			lua_rawset(L, -3);
		}
		text += n;
		text += strspn(text, " ");
	}
}

void
push_reply(lua_State *L, const struct guest_reply *r)
{
	lua_createtable(L, 0, 4);
	lua_pushinteger(L, r->code);
	lua_setfield(L, -2, "code");
	lua_pushstring(L, r->status);
	lua_setfield(L, -2, "status");
	lua_pushstring(L, r->text);
	lua_setfield(L, -2, "text");
	lua_pushstring(L, r->stage);
	lua_setfield(L, -2, "stage");
}
