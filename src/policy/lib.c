/* The shipped library: modules of lua/ named gw.* are loaded before the policies and become fields of
 * gw. What they need of C they get as a second argument, a table that no policy sees. Here are
 * also the options that the configuration has for ready-made policies (policy.options). */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/lib.h"

#define NEAREST_MAX 500

static const char core_key, declared_key, auth_key;

/* core.options(name) -> what the configuration says, or nil */
static int
core_options(lua_State *L)
{
	const struct conf *c = policy_run_of(L)->gen->conf;
	const char *name = luaL_checkstring(L, 1);

	policy_only_loading(L, "gw.schema.options");
	lua_settop(L, 1);
	if (c->policy.options == NULL)
		return 0;
	policy_json_decode(L, c->policy.options, strlen(c->policy.options));
	lua_getfield(L, 2, name);
	return 1;
}

/* core.declare(name, schema): once for each name */
static int
core_declare(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);

	policy_only_loading(L, "gw.schema.options");
	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 2);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &declared_key);
	if (lua_getfield(L, 3, name) != LUA_TNIL)
		return luaL_error(L, "gw.schema.options: the options of \"%s\" are declared twice", name);
	lua_pushvalue(L, 2);
	lua_setfield(L, 3, name);
	return 0;
}

/* core.nearest(word, list) -> the word of the list that is near, or nil */
static int
core_nearest(lua_State *L)
{
	const char *word = luaL_checkstring(L, 1), **v;
	lua_Integer n;

	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 2);
	n = luaL_len(L, 2);
	if (n > NEAREST_MAX)
		return 0;
	v = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *v, 0);
	luaL_checkstack(L, (int)n + 4, "nearest");
	for (lua_Integer i = 1; i <= n; i++) {
		lua_geti(L, 2, i);	/* stays: the text is borrowed */
		v[i - 1] = luaL_checkstring(L, -1);
	}
	v[n] = NULL;
	policy_charge_lua(L, 64 * (uint64_t)(n + 1));
	lua_pushstring(L, policy_nearest(word, v));
	return 1;
}

/* core.auth_servers() -> names that the configuration trusts (policy.auth_servers) */
static int
core_auth_servers(lua_State *L)
{
	const struct conf *c = policy_run_of(L)->gen->conf;

	lua_createtable(L, (int)c->policy.nauth_servers, 0);
	for (size_t i = 0; i < c->policy.nauth_servers; i++) {
		lua_pushstring(L, c->policy.auth_servers[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

/* core.read_auth(function(message)): what message.auth_results is */
static int
core_read_auth(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	lua_settop(L, 1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &auth_key);
	return 0;
}

void
policy_push_auth_results(lua_State *L)
{
	luaL_checkstack(L, 4, "message.auth_results");
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &auth_key) != LUA_TFUNCTION)
		luaL_error(L, "message.auth_results: the shipped gw.auth is not in %s", policy_library_dir());
	policy_push_object(L, OBJ_MESSAGE, 0);
	lua_call(L, 1, 1);
}

void
policy_push_core(lua_State *L)
{
	static const luaL_Reg fns[] = {
		{ "options", core_options }, { "declare", core_declare }, { "nearest", core_nearest },
		{ "auth_servers", core_auth_servers }, { "read_auth", core_read_auth }, { "dkim_verify", policy_dkim_verify },
		{ NULL, NULL },
	};

	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &core_key) == LUA_TTABLE)
		return;
	lua_pop(L, 1);
	luaL_newlib(L, fns);
	policy_lib_zone_open(L);
	policy_dkim_register(L);
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &core_key);
}

/* gw.NAME = require "gw.NAME" for each of the library's. A site's module of the same name in its own
 * lua/ is found in its place, as with require. */
int
policy_library_open(lua_State *L)
{
	const struct policy_bundle *b = policy_run_of(L)->gen->bundle;

	lua_newtable(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &declared_key);
	lua_getglobal(L, "gw");
	for (size_t i = 0; i < policy_bundle_count(b); i++) {
		const struct policy_source *s = policy_bundle_source(b, i);

		if (!s->is_lib || strncmp(s->module, "gw.", 3) != 0 || strchr(s->module + 3, '.') != NULL)
			continue;
		lua_getglobal(L, "require");
		lua_pushstring(L, s->module);
		lua_call(L, 1, 1);
		lua_setfield(L, -2, s->module + 3);
	}
	return 0;
}

/* Options for a policy that is not loaded are most likely a typing mistake; they would do nothing. */
int
policy_options_check(lua_State *L)
{
	struct policy_gen *g = policy_run_of(L)->gen;
	const char *names[NEAREST_MAX + 1];
	size_t n = 0;

	if (g->conf->policy.options == NULL)
		return 0;
	lua_settop(L, 0);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &declared_key);
	policy_json_decode(L, g->conf->policy.options, strlen(g->conf->policy.options));
	lua_pushnil(L);
	while (n < NEAREST_MAX && lua_next(L, 1) != 0) {
		lua_pop(L, 1);
		names[n++] = lua_tostring(L, -1);	/* the table keeps it */
	}
	names[n] = NULL;
	lua_settop(L, 2);
	lua_pushnil(L);
	while (lua_next(L, 2) != 0) {
		const char *name, *near;

		lua_pop(L, 1);
		if (lua_type(L, -1) != LUA_TSTRING)
			continue;
		name = lua_tostring(L, -1);
		lua_pushvalue(L, -1);
		if (lua_rawget(L, 1) == LUA_TNIL) {
			near = policy_nearest(name, names);
			return luaL_error(L, "policy.options: no policy that is loaded has the options \"%s\"%s%s", name,
			    near == NULL ? "" : "; nearest: ", near == NULL ? "" : near);
		}
		lua_pop(L, 1);
	}
	return 0;
}

/* ---- For the command line ---- */

struct export {
	const char *as;
	struct buf *out;
};

static int
export(lua_State *L)
{
	const struct export *e = lua_touserdata(L, 1);
	size_t n;
	const char *s;

	lua_getglobal(L, "require");
	lua_pushliteral(L, "gw.schema");
	lua_call(L, 1, 1);
	lua_getfield(L, -1, "export");
	lua_rawgetp(L, LUA_REGISTRYINDEX, &declared_key);
	lua_pushstring(L, e->as);
	lua_call(L, 2, 1);
	s = luaL_checklstring(L, -1, &n);
	buf_add(e->out, s, n);
	return 0;
}

char *
policy_options_text(struct policy_bundle *b, struct conf *conf, const char *as, struct err *err)
{
	struct policy *p = policy_new(NULL, NULL, 0);
	struct policy_gen *g = policy_gen_new(p, b, conf, err);
	struct buf out;
	struct export e = { as, &out };
	char *text = NULL;

	buf_init(&out, 1u << 20);
	if (g != NULL) {
		if (policy_protected(g, export, &e, err))
			text = out.len == 0 ? xstrdup("") : buf_take(&out);
		policy_gen_unref(g);
	}
	buf_fini(&out);
	policy_free(p);
	return text;
}
