/* gw.rate and gw.counter: what is counted for the whole node (data/rate.h), or, for a limit, for a worker. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "data/rate.h"
#include "policy/objects.h"

#define RATE_MT "gw.rate"
#define COUNTER_MT "gw.counter"
#define KEYS_DEFAULT 16384

struct lua_rate {
	struct rate *r;
	struct rate_conf conf;
};
struct lua_counter {
	struct counter *c;
	struct node *node;
	char name[64];
};

struct node *
policy_node(lua_State *L)
{
	struct policy *p = policy_run_of(L)->gen->policy;

	if (p->services.node != NULL)
		return p->services.node;
	if (p->own_node == NULL)
		p->own_node = node_new();
	return p->own_node;
}

static const char *
check_name(lua_State *L, const char *name, const char *api)
{
	size_t n = strlen(name);

	if (n == 0 || n >= 64 || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != n)
		luaL_error(L, "%s: a name has 1 to 63 letters a-z, digits, '_', '-' and dots", api);
	return name;
}

/* ---- gw.rate ---- */

/* For a limit, and for who looks at it, 1 and "1" are the same. */
static struct slice
key_of(const char *key, size_t n)
{
	return n == 1 ? (struct slice){ key, 1 } : (struct slice){ key + 1, n - 1 };
}

static struct lua_rate *
check_rate(lua_State *L, const char *api)
{
	struct lua_rate *u = luaL_checkudata(L, 1, RATE_MT);

	policy_not_loading(L, api);
	return u;
}

/* rate:take(key, n): true, or false and after how many seconds it would be true. */
static int
rate_lua_take(lua_State *L)
{
	struct lua_rate *u = check_rate(L, "rate:take");
	char key[POLICY_KEY_MAX];
	size_t n = policy_key_read(L, "rate:take", 2, key);
	lua_Integer count = luaL_optinteger(L, 3, 1);
	int64_t retry;

	if (count < 1 || count > (lua_Integer)u->conf.limit)
		return luaL_error(L, "rate:take: between 1 and %d, the limit", (int)u->conf.limit);
	policy_charge_lua(L, 8);
	lua_pushboolean(L, rate_take(u->r, key_of(key, n), (uint32_t)count, &retry));
	if (lua_toboolean(L, -1))
		return 1;
	lua_pushnumber(L, (lua_Number)retry / 1000);
	return 2;
}

static int
rate_lua_left(lua_State *L)
{
	struct lua_rate *u = check_rate(L, "rate:left");
	char key[POLICY_KEY_MAX];
	size_t n = policy_key_read(L, "rate:left", 2, key);

	policy_charge_lua(L, 8);
	lua_pushinteger(L, (lua_Integer)rate_left(u->r, key_of(key, n)));
	return 1;
}

static int
rate_lua_forget(lua_State *L)
{
	struct lua_rate *u = check_rate(L, "rate:forget");
	char key[POLICY_KEY_MAX];
	size_t n = policy_key_read(L, "rate:forget", 2, key);

	if (!policy_change_check(L, "forget a rate"))
		return 0;
	rate_forget(u->r, key_of(key, n));
	return 0;
}

static int
rate_gc(lua_State *L)
{
	struct lua_rate *u = lua_touserdata(L, 1);

	rate_unref(u->r);
	u->r = NULL;
	return 0;
}

static bool
rate_field(lua_State *L, const char *key)
{
	const struct lua_rate *u = luaL_checkudata(L, 1, RATE_MT);

	if (strcmp(key, "name") != 0)
		return false;
	lua_pushstring(L, u->conf.name);
	return true;
}

static int
choice(lua_State *L, const char *key, const char *const *words, int dflt)
{
	const char *s = policy_opt_string(L, 1, "gw.rate", key, false, 20), *near;

	if (s == NULL)
		return dflt;
	for (int i = 0; words[i] != NULL; i++)
		if (strcmp(words[i], s) == 0)
			return i;
	near = policy_nearest(s, words);
	return luaL_error(L, "gw.rate: %s = \"%s\" is none of %s, %s%s%s", key, s, words[0], words[1],
	    near == NULL ? "" : "; nearest: ", near == NULL ? "" : near);
}

static int
gw_rate(lua_State *L)
{
	static const char *const fields[] = { "name", "limit", "scope", "kind", "keys", NULL };
	static const char *const scopes[] = { "node", "worker", NULL }, *const kinds[] = { "bucket", "window", NULL };
	struct policy *p = policy_run_of(L)->gen->policy;
	struct rate_conf c = { .worker = -1 };
	struct lua_rate *u;
	struct err err;
	const char *limit;

	policy_only_loading(L, "gw.rate");
	luaL_checktype(L, 1, LUA_TTABLE);
	policy_opts_check(L, 1, "gw.rate", fields);
	snprintf(c.name, sizeof c.name, "%s", check_name(L, policy_opt_string(L, 1, "gw.rate", "name", true, 63), "gw.rate"));
	limit = policy_opt_string(L, 1, "gw.rate", "limit", true, 40);
	if (!rate_parse(slice_of(limit), &c.limit, &c.period_ms))
		return luaL_error(L, "gw.rate: limit = \"%s\": a number up to %d, a slash and a time from 100ms to 31d are "
		    "expected, such as \"100/1h\"", limit, (int)RATE_LIMIT_MAX);
	c.worker = choice(L, "scope", scopes, 0) == 0 ? -1 : (int)p->worker;
	c.kind = (enum rate_kind)choice(L, "kind", kinds, 0);
	c.keys = (uint32_t)policy_opt_integer(L, 1, "gw.rate", "keys", 8, RATE_KEYS_MAX, KEYS_DEFAULT);
	u = lua_newuserdatauv(L, sizeof *u, 0);
	u->r = NULL;
	u->conf = c;
	luaL_setmetatable(L, RATE_MT);
	u->r = rate_get(policy_node(L), &c, &err);
	if (u->r == NULL)
		return luaL_error(L, "gw.rate: %s", err.text);
	return 1;
}

/* ---- gw.counter ---- */

static int
counter_lua_add(lua_State *L)
{
	struct lua_counter *u = luaL_checkudata(L, 1, COUNTER_MT);
	lua_Integer n = luaL_optinteger(L, 2, 1);

	policy_not_loading(L, "counter:add");
	if (n < 0)
		return luaL_error(L, "counter:add: a counter only grows");
	policy_charge_lua(L, 4);
	lua_pushinteger(L, (lua_Integer)counter_add(u->c, n));
	return 1;
}

static int
counter_gc(lua_State *L)
{
	struct lua_counter *u = lua_touserdata(L, 1);

	node_unref(u->node);
	u->node = NULL;
	return 0;
}

static bool
counter_field(lua_State *L, const char *key)
{
	const struct lua_counter *u = luaL_checkudata(L, 1, COUNTER_MT);

	if (strcmp(key, "name") == 0)
		lua_pushstring(L, u->name);
	else if (strcmp(key, "value") == 0)
		lua_pushinteger(L, (lua_Integer)counter_add(u->c, 0));
	else
		return false;
	return true;
}

static int
gw_counter(lua_State *L)
{
	const char *name = check_name(L, luaL_checkstring(L, 1), "gw.counter");
	struct lua_counter *u;
	struct err err;

	policy_only_loading(L, "gw.counter");
	u = lua_newuserdatauv(L, sizeof *u, 0);
	memset(u, 0, sizeof *u);
	luaL_setmetatable(L, COUNTER_MT);
	snprintf(u->name, sizeof u->name, "%s", name);
	u->node = node_ref(policy_node(L));
	u->c = counter_get(u->node, name, &err);
	if (u->c == NULL)
		return luaL_error(L, "gw.counter: %s", err.text);
	return 1;
}

void
policy_rate_open(lua_State *L)
{
	static const luaL_Reg rate_meta[] = { { "__gc", rate_gc }, { NULL, NULL } };
	static const luaL_Reg rate_fns[] = { { "take", rate_lua_take }, { "left", rate_lua_left },
		{ "forget", rate_lua_forget }, { NULL, NULL } };
	static const luaL_Reg counter_meta[] = { { "__gc", counter_gc }, { NULL, NULL } };
	static const luaL_Reg counter_fns[] = { { "add", counter_lua_add }, { NULL, NULL } };
	static const char *const rate_fields[] = { "name", NULL }, *const counter_fields[] = { "name", "value", NULL };
	static const struct policy_type rate_type = { "gw.rate", rate_fns, rate_field, rate_fields };
	static const struct policy_type counter_type = { "gw.counter", counter_fns, counter_field, counter_fields };

	policy_newmetatable(L, RATE_MT, rate_meta);
	policy_type_members(L, &rate_type);
	lua_pop(L, 1);
	policy_newmetatable(L, COUNTER_MT, counter_meta);
	policy_type_members(L, &counter_type);
	lua_pop(L, 1);
	lua_pushcfunction(L, gw_rate);
	lua_setfield(L, -2, "rate");
	lua_pushcfunction(L, gw_counter);
	lua_setfield(L, -2, "counter");
}
