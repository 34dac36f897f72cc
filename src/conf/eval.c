/* gateway.lua as a program: a fresh Lua state that can compute tables and nothing else. What is
 * there is built field by field; what could run for long inside one C function (patterns, rep of
 * nothing, table.move) is left out or replaced, because the instruction count cannot stop it. */
#include "config.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf_int.h"

#define COUNT_STEP 1000
#define EVAL_TIME_MS 10000	/* few instructions can still copy much text */
#define TREE_DEPTH 16
#define TREE_NODES 500000
#define TREE_TEXT (32u << 20)
#define REP_MAX (1u << 20)

struct sandbox {
	size_t used;
	bool out_of_memory;
	uint64_t steps;
	int64_t deadline;
	const char *text, *name;
	size_t n;
	int config;	/* reference of the table that gw.config got; LUA_NOREF before */
};

struct tree {		/* turning a Lua table into JSON */
	lua_State *L;
	struct reader *r;
	int secret_mt;	/* stack place */
	size_t nodes, text;
};

static void *
capped_alloc(void *ud, void *p, size_t old, size_t want)
{
	struct sandbox *sb = ud;
	void *q;

	if (p == NULL)
		old = 0;	/* then it is a kind of object, not a size */
	if (want == 0) {
		free(p);
		sb->used -= old;
		return NULL;
	}
	if (want > old && want - old > EVAL_MEMORY - sb->used) {
		sb->out_of_memory = true;
		return NULL;
	}
	q = realloc(p, want);
	if (q != NULL)
		sb->used += want - old;
	return q;
}

static struct sandbox *
sandbox_of(lua_State *L)
{
	void *ud;

	lua_getallocf(L, &ud);
	return ud;
}

static void
count_hook(lua_State *L, lua_Debug *ar)
{
	struct sandbox *sb = sandbox_of(L);

	sb->steps += COUNT_STEP;
	if (sb->steps < EVAL_INSTRUCTIONS && clock_mono_ms() < sb->deadline)
		return;
	lua_getinfo(L, "Sl", ar);
	lua_pushfstring(L, "%s:%d: more than %s; a configuration only states data", ar->short_src,
	    ar->currentline, sb->steps >= EVAL_INSTRUCTIONS ? "10 million instructions" : "10 seconds");
	lua_error(L);
}

/* ---- What the file can call ---- */
static int
l_config(lua_State *L)
{
	struct sandbox *sb = sandbox_of(L);

	luaL_checktype(L, 1, LUA_TTABLE);
	if (sb->config != LUA_NOREF)
		return luaL_error(L, "gw.config is called once");
	lua_settop(L, 1);
	lua_pushvalue(L, 1);
	sb->config = luaL_ref(L, LUA_REGISTRYINDEX);
	return 1;
}

static int
l_secret(lua_State *L)
{
	const char *ref = luaL_checkstring(L, 1);

	if ((strncmp(ref, "file:", 5) != 0 || ref[5] == '\0') &&
	    (strncmp(ref, "env:", 4) != 0 || ref[4] == '\0'))
		return luaL_error(L, "gw.secret takes \"file:PATH\" or \"env:NAME\"");
	lua_settop(L, 1);
	lua_newuserdatauv(L, 0, 1);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1);
	lua_pushvalue(L, lua_upvalueindex(1));
	lua_setmetatable(L, -2);
	return 1;
}

static int
l_rep(lua_State *L)
{
	size_t n, nsep;
	const char *s = luaL_checklstring(L, 1, &n), *sep = luaL_optlstring(L, 3, "", &nsep);
	lua_Integer times = luaL_checkinteger(L, 2);
	luaL_Buffer b;

	if (times <= 0 || n + nsep == 0) {
		lua_pushliteral(L, "");
		return 1;
	}
	if ((lua_Unsigned)times > REP_MAX / (n + nsep))
		return luaL_error(L, "string.rep makes at most 1 MiB");
	luaL_buffinit(L, &b);
	while (times-- > 0) {
		luaL_addlstring(&b, s, n);
		if (times > 0)
			luaL_addlstring(&b, sep, nsep);
	}
	luaL_pushresult(&b);
	return 1;
}

static int
l_insert(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	if (lua_gettop(L) != 2)
		return luaL_error(L, "table.insert takes a table and a value here");
	lua_rawseti(L, 1, (lua_Integer)lua_rawlen(L, 1) + 1);
	return 0;
}

/* Reading a name that nobody defined is nearly always a text without quotes, and nil would mean
 * "not set": tls = mx1 must not turn TLS off. */
static int
l_undefined(lua_State *L)
{
	static const char *const absent[] = { "io", "os", "require", "load", "loadfile", "dofile",
		"loadstring", "debug", "package", "coroutine", "collectgarbage", "print", "warn", "pcall",
		"xpcall", "setmetatable", "getmetatable", "rawset", "rawget", "_G", "_ENV" };
	char shown[64];
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";

	for (size_t i = 0; i < NELEMS(absent); i++)
		if (strcmp(name, absent[i]) == 0)
			return luaL_error(L, "%s is not available in the configuration", name);
	text_escape(shown, sizeof shown, name, strlen(name), true);
	return luaL_error(L, "\"%s\" is not defined; a text stands in quotes", shown);
}

static const char *const base_names[] = { "assert", "error", "ipairs", "next", "pairs", "select",
	"tonumber", "tostring", "type", "rawequal", "rawlen", NULL };
static const char *const string_names[] = { "byte", "char", "format", "len", "lower", "reverse",
	"sub", "upper", NULL };
static const char *const table_names[] = { "concat", "pack", "sort", "unpack", NULL };
static const char *const math_names[] = { "abs", "ceil", "floor", "fmod", "huge", "max",
	"maxinteger", "min", "mininteger", "modf", "pi", "sqrt", "tointeger", "type", "ult", NULL };
static const char *const utf8_names[] = { "char", "charpattern", "codepoint", "codes", "len",
	"offset", NULL };

/* Leaves on the stack a new table with these fields of the library that `open` makes. */
static void
push_subset(lua_State *L, const char *lib, lua_CFunction open, const char *const *names)
{
	luaL_requiref(L, lib, open, 0);
	lua_newtable(L);
	for (; *names != NULL; names++) {
		lua_getfield(L, -2, *names);
		lua_setfield(L, -2, *names);
	}
	lua_remove(L, -2);
}

/* The environment, on the stack. */
static void
push_env(lua_State *L, int secret_mt)
{
	push_subset(L, "_G", luaopen_base, base_names);
	push_subset(L, "string", luaopen_string, string_names);
	lua_pushcfunction(L, l_rep);
	lua_setfield(L, -2, "rep");
	/* ("x"):dump() would reach the whole library otherwise. */
	lua_pushliteral(L, "");
	MUST(lua_getmetatable(L, -1));
	lua_pushvalue(L, -3);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 2);
	lua_setfield(L, -2, "string");
	push_subset(L, "table", luaopen_table, table_names);
	lua_pushcfunction(L, l_insert);
	lua_setfield(L, -2, "insert");
	lua_setfield(L, -2, "table");
	push_subset(L, "math", luaopen_math, math_names);
	lua_setfield(L, -2, "math");
	push_subset(L, "utf8", luaopen_utf8, utf8_names);
	lua_setfield(L, -2, "utf8");
	lua_newtable(L);
	lua_pushcfunction(L, l_config);
	lua_setfield(L, -2, "config");
	lua_pushvalue(L, secret_mt);
	lua_pushcclosure(L, l_secret, 1);
	lua_setfield(L, -2, "secret");
	lua_setfield(L, -2, "gw");
	lua_newtable(L);
	lua_pushcfunction(L, l_undefined);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
}

/* Protected: builds the environment, loads and runs the text. Returns the configuration table
 * and the metatable of secrets. */
static int
run(lua_State *L)
{
	struct sandbox *sb = lua_touserdata(L, 1);
	char *chunk;

	lua_newtable(L);
	lua_pushliteral(L, "secret");
	lua_setfield(L, -2, "__name");
	chunk = lua_newuserdatauv(L, strlen(sb->name) + 2, 0);
	chunk[0] = '@';
	strcpy(chunk + 1, sb->name);
	if (luaL_loadbufferx(L, sb->text, sb->n, chunk, "t") != LUA_OK)
		return lua_error(L);
	push_env(L, 2);
	lua_setupvalue(L, -2, 1);
	lua_sethook(L, count_hook, LUA_MASKCOUNT, COUNT_STEP);
	lua_call(L, 0, 1);
	lua_sethook(L, NULL, 0, 0);
	if (sb->config == LUA_NOREF)
		lua_pushnil(L);
	else
		lua_rawgeti(L, LUA_REGISTRYINDEX, sb->config);
	if (!lua_istable(L, -1) || !lua_rawequal(L, -1, -2)) {
		lua_pushfstring(L, "%s: must end with: return gw.config { ... }", sb->name);
		return lua_error(L);
	}
	lua_pushvalue(L, 2);
	return 2;
}

/* ---- The result as a tree. Nothing here allocates in Lua or raises. ---- */
static json_t *tree_value(struct tree *t, int depth);

static json_t *
tree_text(struct tree *t, int at)
{
	size_t n;
	const char *s = lua_tolstring(t->L, at, &n);

	t->text += n;
	if (!utf8_is_valid(s, n) || memchr(s, '\0', n) != NULL) {
		reader_error(t->r, "the text is not valid UTF-8 or has a NUL octet in it");
		return NULL;
	}
	return json_stringn(s, n);
}

static json_t *
tree_number(struct tree *t)
{
	lua_Number f = lua_tonumber(t->L, -1);
	int is_whole;
	lua_Integer i = lua_tointegerx(t->L, -1, &is_whole);

	if (is_whole)
		return json_integer(i);
	if (!isfinite(f)) {
		reader_error(t->r, "the number is not finite");
		return NULL;
	}
	return json_real(f);
}

/* The pairs of the table on top. `n` is how long its list part is. */
static json_t *
tree_pairs(struct tree *t, lua_Unsigned n, int depth)
{
	lua_State *L = t->L;
	json_t *out = json_object();
	size_t mark, len;

	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
		const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tolstring(L, -2, &len) : NULL;
		json_t *v;

		if (key == NULL) {
			reader_error(t->r, n > 0 ? "a list with named settings or gaps in it"
						 : "names of settings are texts");
			lua_pop(L, 2);
			break;
		}
		if (len > 255 || len != strlen(key) || !utf8_is_valid(key, len)) {
			reader_error(t->r, "a name has at most 255 octets of UTF-8");
			continue;
		}
		mark = path_push(t->r, key);
		v = tree_value(t, depth + 1);
		path_pop(t->r, mark);
		if (v != NULL)
			json_object_set_new(out, key, v);
	}
	return out;
}

static json_t *
tree_table(struct tree *t, int depth)
{
	lua_State *L = t->L;
	lua_Unsigned n = lua_rawlen(L, -1), pairs = 0;
	json_t *out;
	size_t mark;

	if (depth > TREE_DEPTH || !lua_checkstack(L, 8)) {
		reader_error(t->r, "tables are nested too deeply here");
		return NULL;
	}
	/* A list is what has the keys 1 to n and no others. */
	for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
		if (++pairs > n) {
			lua_pop(L, 2);
			break;
		}
	}
	if (n == 0 && pairs == 0)
		return json_array();	/* {} is read as either */
	if (pairs != n)
		return tree_pairs(t, n, depth);
	out = json_array();
	for (lua_Unsigned i = 1; i <= n; i++) {
		json_t *v;

		lua_rawgeti(L, -1, (lua_Integer)i);
		mark = path_push_index(t->r, i - 1);
		v = tree_value(t, depth + 1);
		path_pop(t->r, mark);
		lua_pop(L, 1);
		json_array_append_new(out, v != NULL ? v : json_null());
	}
	return out;
}

static bool
is_secret(struct tree *t)
{
	bool same;

	if (lua_type(t->L, -1) != LUA_TUSERDATA || !lua_getmetatable(t->L, -1))
		return false;
	same = lua_rawequal(t->L, -1, t->secret_mt);
	lua_pop(t->L, 1);
	return same;
}

/* The value on top of the stack; NULL when it has a problem, which was told. */
static json_t *
tree_value(struct tree *t, int depth)
{
	json_t *out = NULL, *ref;

	if (++t->nodes > TREE_NODES || t->text > TREE_TEXT) {
		if (t->nodes == TREE_NODES + 1 || t->text > TREE_TEXT) {
			t->nodes = TREE_NODES + 2;
			t->text = 0;
			reader_error(t->r, "the configuration is too large");
		}
		return NULL;
	}
	switch (lua_type(t->L, -1)) {
	case LUA_TSTRING:
		return tree_text(t, -1);
	case LUA_TNUMBER:
		return tree_number(t);
	case LUA_TBOOLEAN:
		return json_boolean(lua_toboolean(t->L, -1));
	case LUA_TTABLE:
		return tree_table(t, depth);
	default:
		break;
	}
	if (!is_secret(t)) {
		reader_error(t->r, "a value is expected, got a %s", lua_typename(t->L, lua_type(t->L, -1)));
		return NULL;
	}
	lua_getiuservalue(t->L, -1, 1);
	ref = tree_text(t, -1);
	lua_pop(t->L, 1);
	if (ref != NULL) {
		out = json_object();
		json_object_set_new(out, "secret", ref);
	}
	return out;
}

static void
tell_failure(lua_State *L, const struct sandbox *sb, struct problems *p)
{
	size_t n = 0;
	const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
	char shown[800];

	if (sb->out_of_memory) {
		problem_error(p, "%s: needs more than 64 MiB of memory; a configuration only states data",
		    sb->name);
		return;
	}
	if (text == NULL) {
		problem_error(p, "%s: ended with an error that is a %s", sb->name, luaL_typename(L, -1));
		return;
	}
	/* Most of Lua's own messages name the place; a few do not even name the file. */
	text_escape(shown, sizeof shown, text, n, true);
	if (strncmp(shown, sb->name, strlen(sb->name)) == 0)
		problem_error(p, "%s", shown);
	else
		problem_error(p, "%s: %s", sb->name, shown);
}

json_t *
conf_eval(const char *text, size_t n, const char *name, struct problems *p)
{
	struct sandbox sb = { .text = text, .n = n, .name = name, .config = LUA_NOREF,
		.deadline = clock_mono_ms() + EVAL_TIME_MS };
	struct reader r = { .p = p };
	struct tree t = { .r = &r };
	lua_State *L = lua_newstate(capped_alloc, &sb);
	unsigned before = p->nerrors;
	json_t *out = NULL;

	if (L == NULL) {
		problem_error(p, "%s: there is not enough memory to read it", name);
		return NULL;
	}
	lua_pushcfunction(L, run);
	lua_pushlightuserdata(L, &sb);
	if (lua_pcall(L, 1, 2, 0) != LUA_OK) {
		tell_failure(L, &sb, p);
	} else {
		t.L = L;
		t.secret_mt = lua_gettop(L);
		lua_pushvalue(L, -2);
		out = tree_value(&t, 0);
	}
	lua_close(L);
	if (p->nerrors != before) {
		json_decref(out);
		return NULL;
	}
	return out;
}
