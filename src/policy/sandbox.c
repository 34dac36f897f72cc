/* What a policy sees as its globals: an allow-list, built field by field (policy design section 8;
 * ), and freezing, so that nothing one message leaves behind is seen by the next. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/api.h"
#include "policy/lib.h"

#define REP_MAX (1u << 20)
#define FREEZE_DEPTH 100

static char frozen_key;		/* in the metatable of a frozen table: what it held */
static char loaded_key;		/* registry: modules by name */

/* ---- Freezing ----
 *
 * In place, because others hold the table already: its fields move to a shadow table that reads
 * fall through to, so #, pairs, ipairs, next and unpack go on working. Fields named "__x" stay in
 * the table as well, for tables that serve as metatables. */

/* Pushes the shadow of the table at idx; false, and nothing is pushed, when it is not frozen. */
bool
policy_push_shadow(lua_State *L, int idx)
{
	if (!lua_getmetatable(L, idx))
		return false;
	if (lua_rawgetp(L, -1, &frozen_key) == LUA_TTABLE) {
		lua_remove(L, -2);
		return true;
	}
	lua_pop(L, 2);
	return false;
}

static int
frozen_write(lua_State *L)
{
	if (lua_type(L, 2) == LUA_TSTRING)
		return luaL_error(L, "this table is read-only once loaded (field '%s'); keep what changes in "
		    "session.vars or message.vars", lua_tostring(L, 2));
	return luaL_error(L, "this table is read-only once loaded");
}

static int
frozen_len(lua_State *L)
{
	if (!policy_push_shadow(L, 1))
		return 0;
	lua_pushinteger(L, luaL_len(L, -1));
	return 1;
}

static int
sb_next(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 2);
	if (policy_push_shadow(L, 1))
		lua_replace(L, 1);
	if (lua_next(L, 1))
		return 2;
	lua_pushnil(L);
	return 1;
}

static int
frozen_pairs(lua_State *L)
{
	lua_pushcfunction(L, sb_next);
	lua_pushvalue(L, 1);
	lua_pushnil(L);
	return 3;
}

static bool
is_meta_name(lua_State *L, int idx)
{
	return lua_type(L, idx) == LUA_TSTRING && strncmp(lua_tostring(L, idx), "__", 2) == 0;
}

/* The metatable of the frozen table at t, left on the stack; the shadow is at sh. */
static void
push_frozen_metatable(lua_State *L, int t, int sh)
{
	static const luaL_Reg fns[] = {
		{ "__newindex", frozen_write }, { "__len", frozen_len }, { "__pairs", frozen_pairs },
		{ NULL, NULL },
	};
	int m;

	lua_newtable(L);
	m = lua_gettop(L);
	if (lua_getmetatable(L, t)) {	/* __call, __tostring, __eq and the like stay in force */
		lua_pushnil(L);
		while (lua_next(L, -2) != 0) {
			lua_pushvalue(L, -2);
			lua_insert(L, -2);
			lua_rawset(L, m);
		}
		lua_setmetatable(L, sh);	/* its __index comes behind the shadow's own fields */
	}
	luaL_setfuncs(L, fns, 0);
	lua_pushvalue(L, sh);
	lua_setfield(L, m, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, m, "__metatable");
	lua_pushvalue(L, sh);
	lua_rawsetp(L, m, &frozen_key);
}

static void
freeze(lua_State *L, int t, int depth)
{
	int sh;

	if (lua_type(L, t) != LUA_TTABLE)
		return;
	if (depth > FREEZE_DEPTH)
		luaL_error(L, "a module's tables are nested more than %d deep", FREEZE_DEPTH);
	luaL_checkstack(L, 12, "freeze");
	if (policy_push_shadow(L, t)) {
		lua_pop(L, 1);
		return;
	}
	lua_newtable(L);
	sh = lua_gettop(L);
	lua_pushnil(L);
	while (lua_next(L, t) != 0) {
		lua_pushvalue(L, -2);
		lua_insert(L, -2);
		lua_rawset(L, sh);
	}
	lua_pushnil(L);
	while (lua_next(L, sh) != 0) {
		lua_pop(L, 1);
		if (is_meta_name(L, -1))
			continue;
		lua_pushvalue(L, -1);
		lua_pushnil(L);
		lua_rawset(L, t);
	}
	push_frozen_metatable(L, t, sh);
	lua_setmetatable(L, t);
	if (lua_getmetatable(L, sh)) {
		freeze(L, lua_gettop(L), depth + 1);
		lua_pop(L, 1);
	}
	lua_pushnil(L);
	while (lua_next(L, sh) != 0) {
		freeze(L, lua_gettop(L), depth + 1);
		lua_pop(L, 1);
	}
	lua_settop(L, sh - 1);
}

void
policy_freeze(lua_State *L, int idx)
{
	freeze(L, lua_absindex(L, idx), 0);
}

/* ---- Base functions ---- */

/* Killed is killed: nothing that catches errors may go on (P2, X-56). */
static int
pcall_done(lua_State *L, int status, lua_KContext ctx)
{
	struct policy_run *r = policy_run_of(L);

	/* Each failed allocation costs a whole collection; once is enough. */
	if (status == LUA_ERRMEM && r->killed == KILL_NONE)
		r->killed = KILL_MEMORY;
	if (r->killed != KILL_NONE)
		return policy_kill(L, r->killed);
	if (status == LUA_OK || status == LUA_YIELD)
		return lua_gettop(L) - (int)ctx;
	lua_pushboolean(L, 0);
	lua_pushvalue(L, -2);
	return 2;
}

static int
sb_pcall(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_pushboolean(L, 1);
	lua_insert(L, 1);
	return pcall_done(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, pcall_done), 0);
}

static int
handler_end(lua_State *L, int status, lua_KContext ctx)
{
	return lua_gettop(L) - (int)ctx;
}

/* Stack: handler, true, results or error. The handler runs after the stack is unwound: a message
 * handler proper would run inside the hook, where no limit can reach it. */
static int
xpcall_done(lua_State *L, int status, lua_KContext ctx)
{
	struct policy_run *r = policy_run_of(L);

	if (status == LUA_ERRMEM && r->killed == KILL_NONE)
		r->killed = KILL_MEMORY;
	if (r->killed != KILL_NONE)
		return policy_kill(L, r->killed);
	if (status == LUA_OK || status == LUA_YIELD)
		return lua_gettop(L) - 1;
	lua_pushboolean(L, 0);
	lua_pushvalue(L, 1);
	lua_pushvalue(L, 3);
	lua_callk(L, 1, LUA_MULTRET, 3, handler_end);
	return handler_end(L, LUA_OK, 3);
}

static int
sb_xpcall(lua_State *L)
{
	int n = lua_gettop(L);

	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_pushvalue(L, 2);
	lua_pushboolean(L, 1);
	lua_pushvalue(L, 1);
	for (int i = 3; i <= n; i++)
		lua_pushvalue(L, i);
	lua_rotate(L, 1, -n);		/* handler, true, f, arguments, then what was there */
	lua_settop(L, n + 1);
	return xpcall_done(L, lua_pcallk(L, n - 2, LUA_MULTRET, 0, 0, xpcall_done), 0);
}

/* Without addresses: they would tell where things lie in memory, and differ from run to run. */
int
policy_tostring(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_settop(L, 1);
	if (luaL_callmeta(L, 1, "__tostring")) {
		if (lua_type(L, -1) != LUA_TSTRING)
			return luaL_error(L, "'__tostring' must return a string");
		return 1;
	}
	switch (lua_type(L, 1)) {
	case LUA_TNUMBER: case LUA_TSTRING: case LUA_TBOOLEAN: case LUA_TNIL:
		luaL_tolstring(L, 1, NULL);
		return 1;
	}
	if (luaL_getmetafield(L, 1, "__name") != LUA_TSTRING)
		lua_pushstring(L, luaL_typename(L, 1));
	return 1;
}

static int
sb_setmetatable(lua_State *L)
{
	static const char *const refused[] = { "__gc", "__close", "__mode" };
	int t = lua_type(L, 2);

	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_argexpected(L, t == LUA_TNIL || t == LUA_TTABLE, 2, "nil or table");
	if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
		return luaL_error(L, "cannot change a protected metatable");
	for (size_t i = 0; t == LUA_TTABLE && i < NELEMS(refused); i++) {
		/* Finalizers run with hooks off. */
		lua_pushstring(L, refused[i]);
		if (lua_rawget(L, 2) != LUA_TNIL)
			return luaL_error(L, "setmetatable: %s is not available to policies", refused[i]);
		lua_pop(L, 1);
	}
	lua_settop(L, 2);
	lua_setmetatable(L, 1);
	return 1;
}

static int
sb_getmetatable(lua_State *L)
{
	luaL_checkany(L, 1);
	if (lua_type(L, 1) != LUA_TTABLE)
		lua_pushboolean(L, 0);
	else if (luaL_getmetafield(L, 1, "__metatable") == LUA_TNIL && !lua_getmetatable(L, 1))
		lua_pushnil(L);
	return 1;
}

static int
sb_rawlen(lua_State *L)
{
	int t = lua_type(L, 1);

	luaL_argexpected(L, t == LUA_TTABLE || t == LUA_TSTRING, 1, "table or string");
	lua_settop(L, 1);
	if (t == LUA_TTABLE)
		policy_push_shadow(L, 1);
	lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1));
	return 1;
}

static int
sb_print(lua_State *L)
{
	int n = lua_gettop(L);
	luaL_Buffer b;
	size_t len;
	const char *s;

	luaL_checkstack(L, 4, "print");
	luaL_buffinit(L, &b);
	for (int i = 1; i <= n; i++) {
		if (i > 1)
			luaL_addchar(&b, '\t');
		lua_pushcfunction(L, policy_tostring);
		lua_pushvalue(L, i);
		lua_call(L, 1, 1);
		luaL_addvalue(&b);
	}
	luaL_pushresult(&b);
	s = lua_tolstring(L, -1, &len);
	policy_note(policy_run_of(L), LOG_LEVEL_DEBUG, "policy print", s, len);
	return 0;
}

/* ---- require ---- */

static int
sb_require(lua_State *L)
{
	struct policy_run *r = policy_run_of(L);
	const char *name = luaL_checkstring(L, 1);
	const struct policy_source *s;
	char chunk[300];

	lua_settop(L, 1);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &loaded_key);
	if (lua_getfield(L, 2, name) == LUA_TBOOLEAN && !lua_toboolean(L, -1))
		return luaL_error(L, "require: module '%s' requires itself", name);
	if (!lua_isnil(L, -1))
		return 1;
	if (!r->gen->loading)
		return luaL_error(L, "require: module '%s' must be required while the policy is being loaded",
		    name);
	s = policy_bundle_module(r->gen->bundle, name);
	if (s == NULL)
		return luaL_error(L, "require: there is no module '%s' in lua/ or in the shipped library", name);
	lua_pushboolean(L, 0);
	lua_setfield(L, 2, name);
	snprintf(chunk, sizeof chunk, "@%s", s->path);
	if (luaL_loadbufferx(L, s->text, s->n, chunk, "t") != LUA_OK)
		return lua_error(L);
	lua_pushvalue(L, 1);
	if (s->is_lib)
		policy_push_core(L);
	lua_call(L, s->is_lib ? 2 : 1, 1);
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		lua_pushboolean(L, 1);
	}
	policy_freeze(L, -1);
	lua_pushvalue(L, -1);
	lua_setfield(L, 2, name);
	return 1;
}

/* ---- string, os ---- */

static int
str_rep(lua_State *L)	/* upvalue: the library's */
{
	size_t len, sep = 0;
	lua_Integer n;

	luaL_checklstring(L, 1, &len);
	n = luaL_checkinteger(L, 2);
	luaL_optlstring(L, 3, "", &sep);
	if (n <= 0 || len + sep == 0) {
		lua_pushliteral(L, "");
		return 1;
	}
	if ((uint64_t)n > REP_MAX / (len + sep))
		return luaL_error(L, "string.rep: the result would be larger than 1 MiB");
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, 1);
	return 1;
}

static int
str_format(lua_State *L)	/* upvalue: the library's */
{
	size_t n;
	const char *f = luaL_checklstring(L, 1, &n), *end = f + n;
	int arg = 1;

	while (f < end) {
		if (*f++ != '%')
			continue;
		if (f < end && *f == '%') {
			f++;
			continue;
		}
		arg++;
		while (f < end && strchr("-+ #0123456789.", *f) != NULL && *f != '\0')
			f++;
		if (f < end && *f == 'p')
			return luaL_error(L, "string.format: %%p is not available to policies");
		if (f < end && *f == 's' && arg <= lua_gettop(L) && lua_type(L, arg) != LUA_TSTRING) {
			luaL_checkstack(L, 3, "format");
			lua_pushcfunction(L, policy_tostring);
			lua_pushvalue(L, arg);
			lua_call(L, 1, 1);
			lua_replace(L, arg);
		}
	}
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, lua_gettop(L) - 1, 1);
	return 1;
}

static int
os_time(lua_State *L)	/* upvalue: the library's */
{
	luaL_checktype(L, 1, LUA_TTABLE);	/* the present is gw.now(), which is recorded */
	lua_settop(L, 1);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, 1, 1);
	return 1;
}

static int
os_date(lua_State *L)	/* upvalue: the library's */
{
	const char *f = luaL_checkstring(L, 1);
	lua_Number t = luaL_checknumber(L, 2);

	if (f[0] != '!')
		return luaL_error(L, "os.date: only UTC: the format begins with '!'");
	if (strlen(f) > 200)
		return luaL_error(L, "os.date: the format is too long");
	luaL_argcheck(L, t == t, 2, "not a time");	/* NaN */
	lua_settop(L, 2);
	if (!lua_isinteger(L, 2)) {
		lua_pushinteger(L, (lua_Integer)(t < 0 ? 0 : t > 2e11 ? 2e11 : t));
		lua_replace(L, 2);
	}
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_insert(L, 1);
	lua_call(L, 2, 1);
	return 1;
}

/* ---- Putting it together ---- */

/* Copies the named fields of the table on top into the one below it, as far as they are there. */
static void
copy_fields(lua_State *L, const char *const *names)
{
	for (; *names != NULL; names++) {
		lua_getfield(L, -1, *names);
		lua_setfield(L, -3, *names);
	}
}

/* dst[name] = closure of fn over src[name]; dst below src, which is on top. */
static void
wrap_field(lua_State *L, const char *name, lua_CFunction fn)
{
	lua_getfield(L, -1, name);
	lua_pushcclosure(L, fn, 1);
	lua_setfield(L, -3, name);
}

static void
open_string(lua_State *L)
{
	static const char *const names[] = {
		"byte", "char", "len", "lower", "upper", "reverse", "sub", "pack", "packsize", "unpack", NULL
	};

	lua_newtable(L);
	luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 0);
	copy_fields(L, names);
	wrap_field(L, "rep", str_rep);
	wrap_field(L, "format", str_format);
	lua_pop(L, 1);
	policy_strmatch_register(L);
	lua_pushliteral(L, "");
	lua_getmetatable(L, -1);	/* the strings' own: ("x"):find() goes through it */
	lua_pushvalue(L, -3);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 2);
	lua_setfield(L, -2, "string");
}

static void
open_libraries(lua_State *L)
{
	static const char *const math[] = {
		"abs", "acos", "asin", "atan", "ceil", "cos", "deg", "exp", "floor", "fmod", "huge", "log",
		"max", "maxinteger", "min", "mininteger", "modf", "pi", "rad", "sin", "sqrt", "tan",
		"tointeger", "type", "ult", NULL
	};
	static const char *const utf8[] = {
		"char", "charpattern", "codepoint", "codes", "len", "offset", NULL
	};

	open_string(L);
	lua_newtable(L);
	luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 0);
	copy_fields(L, math);
	lua_pop(L, 1);
	lua_setfield(L, -2, "math");	/* misc.c adds random */
	lua_newtable(L);
	luaL_requiref(L, LUA_UTF8LIBNAME, luaopen_utf8, 0);
	copy_fields(L, utf8);
	lua_pop(L, 1);
	lua_setfield(L, -2, "utf8");
	lua_newtable(L);
	luaL_requiref(L, LUA_OSLIBNAME, luaopen_os, 0);
	wrap_field(L, "time", os_time);
	wrap_field(L, "date", os_date);
	lua_pop(L, 1);
	lua_setfield(L, -2, "os");
	policy_table_register(L);
	lua_setfield(L, -2, "table");
	policy_corolib_open(L);
	lua_setfield(L, -2, "coroutine");
}

/* __index of the globals, and with upvalue "gw" of that table: typing mistakes do not read as nil. */
static int
unknown_member(lua_State *L)
{
	const char *what = lua_tostring(L, lua_upvalueindex(1)), *near, *key;
	const char *names[257];
	size_t n = 0;

	if (lua_type(L, 2) != LUA_TSTRING)
		return luaL_error(L, "%s are read by name", what);
	key = lua_tostring(L, 2);
	if (policy_push_shadow(L, 1))
		lua_replace(L, 1);
	lua_pushnil(L);
	while (lua_next(L, 1) != 0) {
		lua_pop(L, 1);
		if (lua_type(L, -1) == LUA_TSTRING && n < 256)
			names[n++] = lua_tostring(L, -1);
	}
	names[n] = NULL;
	near = policy_nearest(key, names);
	if (strcmp(what, "gw") == 0)
		return policy_unknown_field(L, "gw", key, names);
	return luaL_error(L, "unknown global '%s'%s%s%s", key, near == NULL ? "" : " (did you mean '",
	    near == NULL ? "" : near, near == NULL ? "" : "'?)");
}

/* The table on top gets a metatable that raises for what it has not. */
static void
close_table(lua_State *L, const char *what)
{
	lua_createtable(L, 0, 2);
	lua_pushstring(L, what);
	lua_pushcclosure(L, unknown_member, 1);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
}

void
policy_sandbox_open(lua_State *L)
{
	static const char *const base[] = {
		"assert", "error", "ipairs", "pairs", "select", "tonumber", "type", "rawequal", NULL
	};
	static const luaL_Reg own[] = {
		{ "next", sb_next }, { "pcall", sb_pcall }, { "xpcall", sb_xpcall }, { "tostring", policy_tostring },
		{ "setmetatable", sb_setmetatable }, { "getmetatable", sb_getmetatable },
		{ "rawlen", sb_rawlen }, { "print", sb_print }, { "require", sb_require }, { NULL, NULL },
	};

	lua_newtable(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &loaded_key);
	lua_newtable(L);	/* the globals to be */
	luaL_requiref(L, LUA_GNAME, luaopen_base, 0);
	copy_fields(L, base);
	lua_pop(L, 1);
	luaL_setfuncs(L, own, 0);
	lua_pushliteral(L, "Lua 5.4");
	lua_setfield(L, -2, "_VERSION");
	lua_pushvalue(L, -1);
	lua_setfield(L, -2, "_G");
	open_libraries(L);
	close_table(L, "globals");
	lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
	lua_pushnil(L);		/* the libraries as they come are out of everybody's reach */
	lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
}

void
policy_gw_open(lua_State *L)
{
	lua_newtable(L);
	policy_misc_open(L);
	policy_verdict_open(L);
	policy_await_open(L);
	policy_objects_register(L);
	policy_rules_register(L);
	policy_cidr_open(L);
	policy_geo_open(L);
	policy_lib_mime_open(L);
	lua_pushcfunction(L, policy_on);
	lua_setfield(L, -2, "on");
	lua_pushcfunction(L, policy_every);
	lua_setfield(L, -2, "every");
	policy_api_wrap(L);
	close_table(L, "gw");
	lua_pushglobaltable(L);
	lua_pushvalue(L, -2);
	lua_setfield(L, -2, "gw");
	lua_pop(L, 2);
}

void
policy_sandbox_freeze(lua_State *L)
{
	lua_pushglobaltable(L);
	policy_freeze(L, -1);
	lua_getfield(L, -1, "string");
	lua_pushliteral(L, "");
	lua_getmetatable(L, -1);
	if (policy_push_shadow(L, -3))
		lua_setfield(L, -2, "__index");	/* one step less for every s:method() */
	lua_settop(L, 0);
}
