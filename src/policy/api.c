#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "policy/api.h"

static int
bad_argument(lua_State *L, const struct api_fn *f, int arg, const struct api_arg *a)
{
	return luaL_error(L, "bad argument #%d to %s (%s expected, got %s)", arg - f->is_method, f->shown,
	    a->shown, lua_type(L, arg) == LUA_TLIGHTUSERDATA ? "an object" : luaL_typename(L, arg));
}

void
policy_api_check(lua_State *L, const struct api_fn *f)
{
	int arg = 1, top = lua_gettop(L);

	if (f->is_method) {	/* called with '.': the method itself says so better */
		int t = lua_type(L, 1);

		if (t != LUA_TLIGHTUSERDATA && t != LUA_TUSERDATA)
			return;
		arg = 2;
	}
	for (unsigned i = 0; i < f->nargs; i++, arg++) {
		const struct api_arg *a = &f->args[i];

		if ((a->types >> (lua_type(L, arg) + 1) & 1) == 0)
			bad_argument(L, f, arg, a);
		if (a->fields != NULL && lua_type(L, arg) == LUA_TTABLE)
			policy_opts_check(L, arg, f->shown, a->fields);
		if (i + 1 == f->nargs && f->rest) {
			while (++arg <= top) {
				if ((a->types >> (lua_type(L, arg) + 1) & 1) == 0)
					bad_argument(L, f, arg, a);
			}
		}
	}
}

static int
by_name(const void *a, const void *b)
{
	const struct api_fn *x = a, *y = b;
	int d = strcmp(x->owner, y->owner);

	return d != 0 ? d : strcmp(x->name, y->name);
}

/* Replaces the function on top by one with a check, when there is an entry for it. */
static void
wrap(lua_State *L, const char *owner, const char *name)
{
	struct api_fn key = { .owner = owner, .name = name };
	const struct api_fn *f = bsearch(&key, policy_api, policy_api_count, sizeof *f, by_name);
	lua_CFunction fn = lua_tocfunction(L, -1), was;
	int n = 0;

	if (f == NULL || fn == NULL || fn == f->call)
		return;
	was = __atomic_load_n(&policy_api_real[f - policy_api], __ATOMIC_RELAXED);
	if (was != NULL && was != fn)	/* another program stands in for it: not ours to check */
		return;
	if (was == NULL)
		__atomic_store_n(&policy_api_real[f - policy_api], fn, __ATOMIC_RELAXED);
	luaL_checkstack(L, 20, "api");
	while (lua_getupvalue(L, -1 - n, n + 1) != NULL)
		n++;
	lua_pushcclosure(L, f->call, n);
	lua_remove(L, -2);
}

void
policy_api_push_method(lua_State *L, const char *owner, const char *name, lua_CFunction fn)
{
	lua_pushcfunction(L, fn);
	wrap(L, owner, name);
}

/* Pushes the table "gw.dns" below gw, which is at idx; false: there is none. */
static bool
push_owner(lua_State *L, int idx, const char *path)
{
	lua_pushvalue(L, idx);
	for (const char *p = strchr(path, '.'); p != NULL; p = strchr(p + 1, '.')) {
		lua_pushlstring(L, p + 1, strcspn(p + 1, "."));
		if (lua_rawget(L, -2) != LUA_TTABLE) {
			lua_pop(L, 2);
			return false;
		}
		lua_remove(L, -2);
	}
	return true;
}

/* Pushes the table of methods of a userdata type; false: it has none. */
static bool
push_methods(lua_State *L, const char *metatable)
{
	int t;

	if (lua_getfield(L, LUA_REGISTRYINDEX, metatable) != LUA_TTABLE) {
		lua_pop(L, 1);
		return false;
	}
	t = lua_getfield(L, -1, "__index");
	if (t == LUA_TFUNCTION && lua_getupvalue(L, -1, 1) != NULL)
		lua_remove(L, -2);
	lua_remove(L, -2);
	if (lua_type(L, -1) == LUA_TTABLE)
		return true;
	lua_pop(L, 1);
	return false;
}

void
policy_api_wrap(lua_State *L)
{
	int gw = lua_gettop(L);

	for (size_t i = 0; i < policy_api_count; i++) {
		const struct api_fn *f = &policy_api[i];

		if (f->is_method ? !push_methods(L, f->owner) : !push_owner(L, gw, f->owner))
			continue;
		lua_pushstring(L, f->name);
		if (lua_rawget(L, -2) == LUA_TFUNCTION) {
			wrap(L, f->owner, f->name);
			lua_setfield(L, -2, f->name);
		}
		lua_settop(L, gw);
	}
	/* Second names of the same function. */
	lua_getfield(L, gw, "match");
	lua_getfield(L, -1, "no");
	lua_setfield(L, -2, "not");
	lua_getfield(L, gw, "action");
	lua_pushnil(L);
	while (lua_next(L, gw + 2) != 0) {
		struct api_fn key = { .owner = "gw", .name = lua_tostring(L, -2) };
		const struct api_fn *f = bsearch(&key, policy_api, policy_api_count, sizeof *f, by_name);

		if (f != NULL && lua_tocfunction(L, -1) == policy_api_real[f - policy_api]) {
			lua_getfield(L, gw, f->name);
			lua_setfield(L, gw + 2, f->name);
		}
		lua_pop(L, 1);
	}
	lua_settop(L, gw);
}

const char *
policy_api_help(const char *name, const char **near)
{
	/* "message" is the object before the hook, "kv" is gw.kv */
	static const char *const before[] = { "", "object ", "hook ", "gw." };
	const char **names;

	*near = NULL;
	for (size_t k = 0; k < NELEMS(before); k++) {
		size_t n = strlen(before[k]);

		for (size_t i = 0; i < policy_api_text_count; i++) {
			const struct api_text *t = &policy_api_texts[i];

			if (strncmp(t->name, before[k], n) == 0 && strcmp(t->name + n, name) == 0)
				return t->text;
		}
	}
	names = xcalloc(policy_api_text_count + 1, sizeof *names);
	for (size_t i = 0; i < policy_api_text_count; i++)
		names[i] = policy_api_texts[i].name;
	*near = policy_nearest(name, names);
	free(names);
	return NULL;
}
