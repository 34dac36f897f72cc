/* gw.cidr: sets of networks, and maps from networks to values (the longest prefix counts). One look-up
 * for each prefix length in use. */
#include "config.h"

#include <arpa/inet.h>
#include <string.h>

#include "policy/lib.h"
#include "policy/matcher_int.h"

#define CIDR_MT "gw.cidr"
#define NETS_MAX 100000

struct cidr {			/* uservalue 1: key of a network -> value */
	bool is_map;
	lua_Integer n;
	unsigned nv4, nv6;
	uint8_t v4_bits[33], v6_bits[129];	/* the longest first */
};

static void
note_bits(uint8_t *list, unsigned *n, unsigned bits)
{
	unsigned i = 0;

	while (i < *n && list[i] > bits)
		i++;
	if (i < *n && list[i] == bits)
		return;
	memmove(list + i + 1, list + i, *n - i);
	list[i] = (uint8_t)bits;
	(*n)++;
}

/* A network's text at `text`, its value on top (popped). The table is at `t`. */
static void
add_net(lua_State *L, struct cidr *c, int t, int text)
{
	struct net_cidr net;
	struct err err;
	char key[18];
	size_t n;
	const char *p;

	if (lua_type(L, text) != LUA_TSTRING)
		luaL_error(L, "gw.cidr: a network is a text such as \"10.0.0.0/8\", not a %s", luaL_typename(L, text));
	p = lua_tolstring(L, text, &n);
	if (net_cidr_parse(&net, (struct slice){ p, n }, &err) != 0)
		luaL_error(L, "gw.cidr: %s", err.text);
	if (++c->n > NETS_MAX)
		luaL_error(L, "gw.cidr: more than %d networks", NETS_MAX);
	policy_charge_lua(L, 4);
	if (net.family == AF_INET)
		note_bits(c->v4_bits, &c->nv4, net.bits);
	else
		note_bits(c->v6_bits, &c->nv6, net.bits);
	lua_pushlstring(L, key, matcher_net_key(key, net.family, net.bits, net.ip));
	lua_insert(L, -2);
	lua_rawset(L, t);
}

/* gw.cidr { "10.0.0.0/8", ... }, or gw.cidr { ["10.0.0.0/8"] = value, ... }. At loading. */
static int
cidr_new(lua_State *L)
{
	struct cidr *c;
	lua_Integer n;

	policy_only_loading(L, "gw.cidr");
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	n = luaL_len(L, 1);
	c = lua_newuserdatauv(L, sizeof *c, 1);
	*c = (struct cidr){ .is_map = n == 0 };
	lua_newtable(L);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_geti(L, 1, i);
		lua_pushboolean(L, 1);
		add_net(L, c, 3, 4);
		lua_settop(L, 3);
	}
	if (n == 0) {
		if (!policy_push_shadow(L, 1))
			lua_pushvalue(L, 1);
		lua_pushnil(L);
		while (lua_next(L, 4) != 0) {
			add_net(L, c, 3, 5);
			lua_settop(L, 5);
		}
	}
	lua_settop(L, 3);
	lua_setiuservalue(L, 2, 1);
	luaL_setmetatable(L, CIDR_MT);
	return 1;
}

/* Pushes the value of the longest network with this address, or nil. */
static void
find(lua_State *L)
{
	static const uint8_t mapped[12] = { [10] = 0xFF, [11] = 0xFF };
	const struct cidr *c = luaL_checkudata(L, 1, CIDR_MT);
	const char *text = luaL_optstring(L, 2, "");
	int family = AF_INET;
	uint8_t ip[16];
	char key[18];

	lua_settop(L, 2);
	if (inet_pton(AF_INET, text, ip) != 1) {
		if (inet_pton(AF_INET6, text, ip) != 1) {
			lua_pushnil(L);
			return;
		}
		family = AF_INET6;
		if (memcmp(ip, mapped, sizeof mapped) == 0) {
			family = AF_INET;
			memmove(ip, ip + 12, 4);
		}
	}
	lua_getiuservalue(L, 1, 1);
	for (unsigned i = 0; i < (family == AF_INET ? c->nv4 : c->nv6); i++) {
		unsigned bits = family == AF_INET ? c->v4_bits[i] : c->v6_bits[i];

		policy_charge_lua(L, 1);
		lua_pushlstring(L, key, matcher_net_key(key, family, bits, ip));
		if (lua_rawget(L, 3) != LUA_TNIL)
			return;
		lua_pop(L, 1);
	}
	lua_pushnil(L);
}

static int
cidr_get(lua_State *L)
{
	find(L);
	return 1;
}

static int
cidr_has(lua_State *L)
{
	find(L);
	lua_pushboolean(L, !lua_isnil(L, -1));
	return 1;
}

static int
cidr_len(lua_State *L)
{
	lua_pushinteger(L, ((const struct cidr *)luaL_checkudata(L, 1, CIDR_MT))->n);
	return 1;
}

static int
cidr_newindex(lua_State *L)
{
	return luaL_error(L, "a cidr is read-only");
}

void
policy_cidr_open(lua_State *L)
{
	static const luaL_Reg mt[] = {
		{ "__newindex", cidr_newindex }, { "__len", cidr_len }, { NULL, NULL }
	};
	static const luaL_Reg methods[] = { { "get", cidr_get }, { "has", cidr_has }, { NULL, NULL } };
	static const struct policy_type type = { "cidr", methods, NULL, NULL };

	policy_newmetatable(L, CIDR_MT, mt);
	policy_type_members(L, &type);
	lua_pop(L, 1);
	lua_pushcfunction(L, cidr_new);
	lua_setfield(L, -2, "cidr");
}
