/* gw.cache: values that a worker keeps for a while. They lie outside of the Lua states, as JSON, so that the next
 * generation finds them when its cache has the same name and schema. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hash.h"
#include "policy/objects.h"

#define CACHE_MT "gw.cache"
#define CAPACITY_MAX 100000
#define CAPACITY_DEFAULT 1000
#define VALUE_MAX 16384
#define BYTES_MAX (8u << 20)	/* of one cache */
#define CACHES_MAX 100
#define TTL_MAX_MS (INT64_C(31) * 86400 * 1000)
#define ENTRY_BYTES 160u	/* what one takes beside key and value */

struct cached {
	UT_hash_handle hh;
	TAILQ_ENTRY(cached) link;	/* newest use first */
	char *json;
	size_t njson, nkey;
	int64_t until_ms;		/* mono */
	char key[];
};
struct policy_cache {
	struct policy_cache *next;
	struct policy_link *link;
	unsigned refs;			/* of Lua states */
	char name[64], schema[64];
	struct cached *entries;
	TAILQ_HEAD(cached_list, cached) used;
	size_t bytes;
};
struct lua_cache {
	struct policy_cache *c;
	size_t capacity;
	int64_t ttl_ms;
};

static void
entry_drop(struct policy_cache *c, struct cached *e)
{
	HASH_DEL(c->entries, e);
	TAILQ_REMOVE(&c->used, e, link);
	c->bytes -= ENTRY_BYTES + e->njson + e->nkey;
	free(e->json);
	free(e);
}

static struct cached *
entry_find(struct policy_cache *c, const char *key, size_t n)
{
	struct cached *e;

	HASH_FIND(hh, c->entries, key, n, e);
	if (e != NULL && e->until_ms <= clock_mono_ms()) {
		entry_drop(c, e);
		e = NULL;
	}
	return e;
}

static void
cache_unref(struct policy_cache *c)
{
	struct policy *p;
	struct policy_cache **at;
	struct cached *e;

	if (c == NULL || --c->refs > 0)
		return;
	p = policy_link_get(c->link);
	for (at = p == NULL ? NULL : &p->caches; at != NULL && *at != NULL; at = &(*at)->next) {
		if (*at == c) {
			*at = c->next;
			break;
		}
	}
	while ((e = TAILQ_FIRST(&c->used)) != NULL)
		entry_drop(c, e);
	policy_link_unref(c->link);
	free(c);
}

static struct policy_cache *
cache_get(lua_State *L, struct policy *p, const char *name, const char *schema)
{
	struct policy_cache *c;
	unsigned n = 0;

	for (c = p->caches; c != NULL; c = c->next, n++) {
		if (strcmp(c->name, name) == 0 && strcmp(c->schema, schema) == 0) {
			c->refs++;
			return c;
		}
	}
	if (n >= CACHES_MAX)
		luaL_error(L, "gw.cache: more than %d caches", CACHES_MAX);
	c = xcalloc(1, sizeof *c);
	c->refs = 1;
	snprintf(c->name, sizeof c->name, "%s", name);
	snprintf(c->schema, sizeof c->schema, "%s", schema);
	TAILQ_INIT(&c->used);
	c->link = policy_link_ref(p->link);
	c->next = p->caches;
	p->caches = c;
	return c;
}

/* ---- Methods ---- */

static struct lua_cache *
check(lua_State *L, const char *api, char key[POLICY_KEY_MAX], size_t *n)
{
	struct lua_cache *u = luaL_checkudata(L, 1, CACHE_MT);

	policy_not_loading(L, api);
	*n = policy_key_read(L, api, 2, key);
	policy_charge_lua(L, 8);
	return u;
}

static int
cache_lua_get(lua_State *L)
{
	char key[POLICY_KEY_MAX];
	size_t n;
	struct lua_cache *u = check(L, "cache:get", key, &n);
	struct cached *e = entry_find(u->c, key, n);

	if (e == NULL) {
		lua_pushnil(L);
		return 1;
	}
	TAILQ_REMOVE(&u->c->used, e, link);
	TAILQ_INSERT_HEAD(&u->c->used, e, link);
	policy_json_decode(L, e->json, e->njson);
	return 1;
}

static int
cache_lua_set(lua_State *L)
{
	static const char *const fields[] = { "ttl", NULL };
	char key[POLICY_KEY_MAX];
	size_t n;
	struct lua_cache *u = check(L, "cache:set", key, &n);
	struct policy_cache *c = u->c;
	int64_t ttl = u->ttl_ms;
	struct cached *e;
	struct buf *out;

	if (lua_isnoneornil(L, 3))
		return luaL_error(L, "cache:set: the value is nil; cache:delete removes a key");
	if (!lua_isnoneornil(L, 4)) {
		policy_opts_check(L, 4, "cache:set", fields);
		ttl = policy_opt_duration(L, 4, "cache:set", "ttl", ttl);
	}
	if (ttl <= 0 || ttl > TTL_MAX_MS)
		return luaL_error(L, "cache:set: ttl is more than nothing and at most 31 days");
	luaL_checkstack(L, 10, "cache:set");
	out = policy_push_buf(L, VALUE_MAX + 1);
	policy_json_encode(L, 3, out);
	if (!buf_addc(out, '\0'))
		return luaL_error(L, "cache:set: the value has more than %d octets as JSON", VALUE_MAX);
	e = entry_find(c, key, n);
	if (e != NULL)
		entry_drop(c, e);
	e = xcalloc(1, sizeof *e + n);
	e->njson = out->len - 1;
	e->json = buf_take(out);
	e->nkey = n;
	memcpy(e->key, key, n);
	e->until_ms = clock_mono_ms() + ttl;
	HASH_ADD_KEYPTR(hh, c->entries, e->key, e->nkey, e);
	TAILQ_INSERT_HEAD(&c->used, e, link);
	c->bytes += ENTRY_BYTES + e->njson + n;
	while (HASH_COUNT(c->entries) > u->capacity || (c->bytes > BYTES_MAX && HASH_COUNT(c->entries) > 1))
		entry_drop(c, TAILQ_LAST(&c->used, cached_list));
	lua_pushboolean(L, 1);
	return 1;
}

static int
cache_lua_delete(lua_State *L)
{
	char key[POLICY_KEY_MAX];
	size_t n;
	struct lua_cache *u = check(L, "cache:delete", key, &n);
	struct cached *e = entry_find(u->c, key, n);

	if (e != NULL)
		entry_drop(u->c, e);
	lua_pushboolean(L, e != NULL);
	return 1;
}

static int
cache_len(lua_State *L)
{
	struct lua_cache *u = luaL_checkudata(L, 1, CACHE_MT);

	lua_pushinteger(L, HASH_COUNT(u->c->entries));
	return 1;
}

static int
cache_gc(lua_State *L)
{
	struct lua_cache *u = lua_touserdata(L, 1);

	cache_unref(u->c);
	u->c = NULL;
	return 0;
}

static bool
cache_field(lua_State *L, const char *key)
{
	const struct lua_cache *u = luaL_checkudata(L, 1, CACHE_MT);

	if (strcmp(key, "name") != 0)
		return false;
	lua_pushstring(L, u->c->name);
	return true;
}

static int
gw_cache(lua_State *L)
{
	static const char *const fields[] = { "name", "schema", "capacity", "ttl", NULL };
	struct policy *p = policy_run_of(L)->gen->policy;
	const char *name, *schema = "";
	struct lua_cache *u;
	size_t n;

	policy_only_loading(L, "gw.cache");
	luaL_checktype(L, 1, LUA_TTABLE);
	policy_opts_check(L, 1, "gw.cache", fields);
	name = policy_opt_string(L, 1, "gw.cache", "name", true, 63);
	n = strlen(name);
	if (n == 0 || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != n)
		return luaL_error(L, "gw.cache: a name has 1 to 63 letters a-z, digits, '_', '-' and dots");
	if (lua_getfield(L, 1, "schema") == LUA_TNUMBER)
		schema = lua_tostring(L, -1);		/* of the copy: the table keeps its number */
	else
		schema = policy_opt_string(L, 1, "gw.cache", "schema", false, 63);
	u = lua_newuserdatauv(L, sizeof *u, 0);
	u->c = NULL;
	luaL_setmetatable(L, CACHE_MT);
	u->capacity = (size_t)policy_opt_integer(L, 1, "gw.cache", "capacity", 1, CAPACITY_MAX, CAPACITY_DEFAULT);
	u->ttl_ms = policy_opt_duration(L, 1, "gw.cache", "ttl", INT64_C(3600) * 1000);
	if (u->ttl_ms <= 0 || u->ttl_ms > TTL_MAX_MS)
		return luaL_error(L, "gw.cache: ttl is more than nothing and at most 31 days");
	u->c = cache_get(L, p, name, schema == NULL ? "" : schema);
	return 1;
}

void
policy_cache_open(lua_State *L)
{
	static const luaL_Reg meta[] = { { "__gc", cache_gc }, { "__len", cache_len }, { NULL, NULL } };
	static const luaL_Reg fns[] = { { "get", cache_lua_get }, { "set", cache_lua_set },
		{ "delete", cache_lua_delete }, { NULL, NULL } };
	static const char *const fields[] = { "name", NULL };
	static const struct policy_type type = { "gw.cache", fns, cache_field, fields };

	policy_newmetatable(L, CACHE_MT, meta);
	policy_type_members(L, &type);
	lua_pop(L, 1);
	lua_pushcfunction(L, gw_cache);
	lua_setfield(L, -2, "cache");
}
