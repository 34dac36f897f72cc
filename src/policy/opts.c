/* Names with suggestions, options in tables, text checks, handles: what every binding needs. All
 * of it raises Lua errors that begin with the name of the function that was called wrongly. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy_int.h"

/* Edits (insert, delete, replace, swap of neighbours) between two short words; `limit` + 1 when
 * there are more. */
static unsigned
distance(const char *a, const char *b, unsigned limit)
{
	unsigned row[3][42];
	size_t n = strlen(a), m = strlen(b);

	if (n > 40 || m > 40)
		return limit + 1;
	for (size_t j = 0; j <= m; j++)
		row[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned *cur = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];

		cur[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			unsigned d = up[j - 1] + (a[i - 1] != b[j - 1]);

			if (up[j] + 1 < d)
				d = up[j] + 1;
			if (cur[j - 1] + 1 < d)
				d = cur[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    up2[j - 2] + 1 < d)
				d = up2[j - 2] + 1;
			cur[j] = d;
		}
	}
	return row[n % 3][m] > limit ? limit + 1 : row[n % 3][m];
}

const char *
policy_nearest(const char *word, const char *const *list)
{
	size_t len = strlen(word);
	unsigned limit = len <= 3 ? 1 : len <= 6 ? 2 : 3;
	unsigned best = limit + 1;
	const char *found = NULL;

	for (; list != NULL && *list != NULL; list++) {
		unsigned d = distance(word, *list, limit);

		if (d < best) {
			best = d;
			found = *list;
		}
	}
	return found;
}

static void
shorten(char dst[64], const char *word)
{
	text_escape(dst, 64, word, strlen(word), false);
}

int
policy_unknown_field(lua_State *L, const char *what, const char *key, const char *const *list)
{
	const char *near = policy_nearest(key, list);
	char word[64];

	shorten(word, key);
	if (near == NULL)
		return luaL_error(L, "%s has no field '%s'", what, word);
	return luaL_error(L, "%s has no field '%s' (did you mean '%s'?)", what, word, near);
}

void
policy_opts_check(lua_State *L, int arg, const char *api, const char *const *list)
{
	arg = lua_absindex(L, arg);
	if (lua_type(L, arg) != LUA_TTABLE)
		luaL_error(L, "%s: expected a table of fields, got %s", api, luaL_typename(L, arg));
	luaL_checkstack(L, 3, api);
	lua_pushnil(L);
	while (lua_next(L, arg) != 0) {
		const char *const *p = list;
		const char *key;

		lua_pop(L, 1);
		if (lua_type(L, -1) != LUA_TSTRING)
			luaL_error(L, "%s: fields are named; got one with a %s as key", api,
			    luaL_typename(L, -1));
		key = lua_tostring(L, -1);
		while (*p != NULL && strcmp(*p, key) != 0)
			p++;
		if (*p == NULL)
			policy_unknown_field(L, api, key, list);
	}
}

#define INHERIT_MAX 10

/* The field's type; its value is on the stack when it is not nil. It belongs to the table, or to one that
 * stands in for it: texts are used when they have left the stack, so none may be made for this call. */
static int
get(lua_State *L, int arg, const char *api, const char *key)
{
	int t = LUA_TNIL;

	luaL_checkstack(L, 5, key);
	luaL_checktype(L, arg, LUA_TTABLE);
	lua_pushvalue(L, arg);
	for (int i = 0; t == LUA_TNIL; i++) {
		if (policy_push_shadow(L, -1))
			lua_replace(L, -2);
		lua_pushstring(L, key);
		t = lua_rawget(L, -2);
		if (t != LUA_TNIL)
			break;
		lua_pop(L, 1);
		if (i == INHERIT_MAX || luaL_getmetafield(L, -1, "__index") == LUA_TNIL) {
			lua_pop(L, 1);
			return LUA_TNIL;
		}
		if (lua_type(L, -1) != LUA_TTABLE)
			luaL_error(L, "%s: %s: fields cannot be made by a function (__index)", api, key);
		lua_replace(L, -2);
	}
	lua_remove(L, -2);
	return t;
}

void
policy_text_check(lua_State *L, const char *api, const char *field, const char *p, size_t n, size_t max)
{
	if (n > max)
		luaL_error(L, "%s: %s is longer than %d octets", api, field, (int)max);
	for (size_t i = 0; i < n; i++) {
		/* A line end here would let a policy write lines of its own into a reply or a
		 * header. */
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7F)
			luaL_error(L, "%s: %s has a control character (octet %d)", api, field,
			    (unsigned char)p[i]);
	}
	if (!utf8_is_valid(p, n))
		luaL_error(L, "%s: %s is not valid UTF-8", api, field);
}

const char *
policy_opt_string(lua_State *L, int arg, const char *api, const char *key, bool required, size_t max)
{
	int t = get(L, arg, api, key);
	const char *s;
	size_t n;

	if (t == LUA_TNIL) {
		if (required)
			luaL_error(L, "%s: %s is missing", api, key);
		return NULL;
	}
	if (t != LUA_TSTRING)
		luaL_error(L, "%s: %s must be a string, got %s", api, key, lua_typename(L, t));
	s = lua_tolstring(L, -1, &n);
	policy_text_check(L, api, key, s, n, max);
	if (required && n == 0)
		luaL_error(L, "%s: %s is empty", api, key);
	lua_pop(L, 1);
	return s;
}

bool
policy_opt_bool(lua_State *L, int arg, const char *api, const char *key, bool dflt)
{
	int t = get(L, arg, api, key);
	bool v;

	if (t == LUA_TNIL)
		return dflt;
	if (t != LUA_TBOOLEAN)
		luaL_error(L, "%s: %s must be true or false, got %s", api, key, lua_typename(L, t));
	v = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return v;
}

lua_Integer
policy_opt_integer(lua_State *L, int arg, const char *api, const char *key, lua_Integer lo, lua_Integer hi,
    lua_Integer dflt)
{
	int t = get(L, arg, api, key), is_int;
	lua_Integer v;

	if (t == LUA_TNIL)
		return dflt;
	v = t == LUA_TNUMBER ? lua_tointegerx(L, -1, &is_int) : (is_int = 0);
	if (!is_int)
		luaL_error(L, "%s: %s must be a whole number", api, key);
	if (v < lo || v > hi)
		luaL_error(L, "%s: %s must be between %I and %I", api, key, (LUAI_UACINT)lo, (LUAI_UACINT)hi);
	lua_pop(L, 1);
	return v;
}

int64_t
policy_opt_duration(lua_State *L, int arg, const char *api, const char *key, int64_t dflt)
{
	int t = get(L, arg, api, key);
	int64_t ms = 0;
	bool ok = false;

	if (t == LUA_TNIL)
		return dflt;
	if (t == LUA_TSTRING) {
		struct slice text;

		text.p = lua_tolstring(L, -1, &text.n);
		ok = duration_parse(text, &ms);
	} else if (t == LUA_TNUMBER) {
		lua_Number s = lua_tonumber(L, -1);

		ok = s >= 0 && s <= 1e10;
		ms = ok ? (int64_t)(s * 1000) : 0;
	}
	if (!ok)
		luaL_error(L, "%s: %s must be a duration such as \"5m\" or a number of seconds", api, key);
	lua_pop(L, 1);
	return ms;
}

enum tls_level
policy_opt_level(lua_State *L, int arg, const char *api, const char *key, int dflt)
{
	static const char *const levels[] = { "may", "encrypt", "verify", "secure", "requiretls", NULL };
	const char *s = policy_opt_string(L, arg, api, key, dflt < 0, 40);
	enum tls_level level;
	const char *near;

	if (s == NULL)
		return (enum tls_level)dflt;
	if (tls_level_parse(slice_of(s), &level))
		return level;
	near = policy_nearest(s, levels);
	luaL_error(L, "%s: %s = \"%s\" is no TLS level (%s%s)", api, key, s,
	    near == NULL ? "may, encrypt, verify, secure, requiretls" : "nearest: ",
	    near == NULL ? "" : near);
	return TLS_REQUIRETLS;
}

void
policy_where(lua_State *L, char *dst, size_t size)
{
	lua_Debug ar;
	const char *src;
	size_t n;

	dst[0] = '\0';
	for (int level = 0; level < 50 && lua_getstack(L, level, &ar) != 0; level++) {
		if (lua_getinfo(L, "Sl", &ar) == 0 || ar.currentline < 1)
			continue;
		src = ar.source[0] == '@' ? ar.source + 1 : ar.short_src;
		n = strlen(src);
		if (n + 12 > size)	/* the end of a long path, and in any case the line */
			src += n + 12 - size;
		snprintf(dst, size, "%s:%d", src, ar.currentline);
		return;
	}
}

static int
is_read_only(lua_State *L)
{
	return luaL_error(L, "this value cannot be changed");
}

void
policy_newmetatable(lua_State *L, const char *name, const luaL_Reg *fields)
{
	luaL_newmetatable(L, name);	/* sets __name */
	lua_pushcfunction(L, is_read_only);
	lua_setfield(L, -2, "__newindex");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	luaL_setfuncs(L, fields, 0);
}

/* Upvalues: the methods, the type. */
static int
type_index(lua_State *L)
{
	const struct policy_type *t = lua_touserdata(L, lua_upvalueindex(2));
	const char *key = luaL_checkstring(L, 2), *names[32];
	size_t n = 0;

	if (t->field != NULL && t->field(L, key))
		return 1;
	lua_settop(L, 2);
	if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
		return 1;
	for (size_t i = 0; t->fields != NULL && t->fields[i] != NULL && n < NELEMS(names) - 1; i++)
		names[n++] = t->fields[i];
	for (const luaL_Reg *m = t->methods; m != NULL && m->name != NULL && n < NELEMS(names) - 1; m++)
		names[n++] = m->name;
	names[n] = NULL;
	return policy_unknown_field(L, t->what, key, names);
}

void
policy_type_members(lua_State *L, const struct policy_type *t)
{
	lua_newtable(L);
	if (t->methods != NULL)
		luaL_setfuncs(L, t->methods, 0);
	lua_pushlightuserdata(L, (void *)t);
	lua_pushcclosure(L, type_index, 2);
	lua_setfield(L, -2, "__index");
}

/* ---- Handles ---- */

void
policy_push_object(lua_State *L, enum policy_object kind, unsigned index)
{
	if (index > 0xFFFF)
		luaL_error(L, "more than 65536 of these are out of a policy's reach");
	lua_pushlightuserdata(L, HANDLE(policy_run_of(L)->epoch, kind, index));
}

struct policy_run *
policy_handle_run(lua_State *L, int arg, enum policy_object *kind_out, unsigned *index_out)
{
	struct policy_run *r = policy_run_of(L);
	void *p;

	if (lua_type(L, arg) != LUA_TLIGHTUSERDATA)
		luaL_error(L, "expected an object of the gateway, got %s (a method is called with ':')",
		    luaL_typename(L, arg));
	p = lua_touserdata(L, arg);
	if (r->epoch == 0 || HANDLE_EPOCH(p) != r->epoch)
		luaL_error(L, "stale handle: this object belongs to a call that is over");
	*kind_out = HANDLE_KIND(p);
	*index_out = HANDLE_INDEX(p);
	return r;
}

struct policy_run *
policy_handle_check(lua_State *L, int arg, enum policy_object kind, const char *what, unsigned *index_out)
{
	enum policy_object k;
	unsigned index;
	struct policy_run *r;

	if (lua_type(L, arg) != LUA_TLIGHTUSERDATA)
		luaL_error(L, "expected a %s, got %s (a method is called with ':')", what,
		    luaL_typename(L, arg));
	r = policy_handle_run(L, arg, &k, &index);
	if (k != kind)
		luaL_error(L, "expected a %s, got another object", what);
	if (index_out != NULL)
		*index_out = index;
	return r;
}
