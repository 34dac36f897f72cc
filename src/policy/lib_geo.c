/* Country and network of an address: gw.geo, hop.country, hop.asn, out of databases in the MaxMind format
 * that the configuration names (policy.geo). They are mapped when the generation is loaded, and each page
 * is touched then, so that a look-up finds it in memory. */
#include "config.h"

#include <arpa/inet.h>
#include <maxminddb.h>
#include <string.h>

#include "policy/lib.h"

#define GEO_MT "gw.geo.file"
#define FILE_MAX (512u << 20)

struct geo_file {
	MMDB_s db;
	bool is_open;
};
static const char country_key, asn_key;

static int
file_gc(lua_State *L)
{
	struct geo_file *f = luaL_checkudata(L, 1, GEO_MT);

	if (f->is_open)
		MMDB_close(&f->db);
	f->is_open = false;
	return 0;
}

static void
touch(const MMDB_s *db)
{
	const volatile uint8_t *p = db->file_content;

	for (ssize_t i = 0; i < db->file_size; i += 4096)
		(void)p[i];
}

static void
open_file(lua_State *L, const char *what, const char *path, const void *key)
{
	struct geo_file *f;
	int rc;

	if (path == NULL)
		return;
	f = lua_newuserdatauv(L, sizeof *f, 0);
	f->is_open = false;
	luaL_setmetatable(L, GEO_MT);
	rc = MMDB_open(path, MMDB_MODE_MMAP, &f->db);
	if (rc != MMDB_SUCCESS)
		luaL_error(L, "policy.geo.%s: %s: %s", what, path, MMDB_strerror(rc));
	f->is_open = true;
	if (f->db.file_size > (ssize_t)FILE_MAX)
		luaL_error(L, "policy.geo.%s: %s is larger than 512 MiB", what, path);
	touch(&f->db);
	lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

/* The entry for this address; false when there is no file or it does not know. */
static bool
look_up(lua_State *L, const void *key, const char *ip, MMDB_entry_s *out)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	const struct sockaddr *sa = (const struct sockaddr *)&v4;
	MMDB_lookup_result_s r;
	struct geo_file *f;
	int rc;

	lua_rawgetp(L, LUA_REGISTRYINDEX, key);
	f = lua_touserdata(L, -1);
	lua_pop(L, 1);
	if (f == NULL || !f->is_open)
		return false;
	if (inet_pton(AF_INET, ip, &v4.sin_addr) != 1) {
		if (inet_pton(AF_INET6, ip, &v6.sin6_addr) != 1)
			return false;
		sa = (const struct sockaddr *)&v6;
	}
	policy_charge_lua(L, 128);
	r = MMDB_lookup_sockaddr(&f->db, sa, &rc);
	*out = r.entry;
	return rc == MMDB_SUCCESS && r.found_entry;
}

static bool
get_text(MMDB_entry_s *e, MMDB_entry_data_s *d, const char *const *path)
{
	return MMDB_aget_value(e, d, path) == MMDB_SUCCESS && d->has_data &&
	    d->type == MMDB_DATA_TYPE_UTF8_STRING && d->data_size <= 200;
}

/* ISO 3166 code, or nil. Where somebody registered an address is not where its server is. */
void
policy_push_country(lua_State *L, const char *ip)
{
	static const char *const path[] = { "country", "iso_code", NULL };
	MMDB_entry_s e;
	MMDB_entry_data_s d;

	if (ip != NULL && look_up(L, &country_key, ip, &e) && get_text(&e, &d, path))
		lua_pushlstring(L, d.utf8_string, d.data_size);
	else
		lua_pushnil(L);
}

void
policy_push_asn(lua_State *L, const char *ip)
{
	static const char *const path[] = { "autonomous_system_number", NULL };
	MMDB_entry_s e;
	MMDB_entry_data_s d;

	if (ip != NULL && look_up(L, &asn_key, ip, &e) && MMDB_aget_value(&e, &d, path) == MMDB_SUCCESS &&
	    d.has_data && d.type == MMDB_DATA_TYPE_UINT32)
		lua_pushinteger(L, d.uint32);
	else
		lua_pushnil(L);
}

/* gw.geo(ip) -> { country =, asn =, organization = }; fields that nobody knows are nil */
static int
geo(lua_State *L)
{
	static const char *const path[] = { "autonomous_system_organization", NULL };
	const char *ip = luaL_checkstring(L, 1);
	MMDB_entry_s e;
	MMDB_entry_data_s d;

	lua_settop(L, 1);
	lua_createtable(L, 0, 3);
	policy_push_country(L, ip);
	lua_setfield(L, 2, "country");
	policy_push_asn(L, ip);
	lua_setfield(L, 2, "asn");
	if (look_up(L, &asn_key, ip, &e) && get_text(&e, &d, path)) {
		lua_pushlstring(L, d.utf8_string, d.data_size);
		lua_setfield(L, 2, "organization");
	}
	return 1;
}

void
policy_geo_open(lua_State *L)
{
	static const luaL_Reg mt[] = { { "__gc", file_gc }, { NULL, NULL } };
	const struct conf *c = policy_run_of(L)->gen->conf;

	policy_newmetatable(L, GEO_MT, mt);
	lua_pop(L, 1);
	open_file(L, "country", c->policy.geo_country, &country_key);
	open_file(L, "asn", c->policy.geo_asn, &asn_key);
	lua_pushcfunction(L, geo);
	lua_setfield(L, -2, "geo");
}
