/* Time zones for gw.calendar: the system's zoneinfo, read by GLib when a policy is loaded. Later calls
 * only look into memory. */
#include "config.h"

#include <glib.h>
#include <string.h>

#include "policy/lib.h"

#define ZONE_MT "gw.zone"
#define ZONES_MAX 64		/* of a generation */
#define TIME_LIMIT INT64_C(253402300800)	/* the year 10000 */

struct zone {
	GTimeZone *tz;
};

static int
zone_gc(lua_State *L)
{
	struct zone *z = luaL_checkudata(L, 1, ZONE_MT);

	if (z->tz != NULL)
		g_time_zone_unref(z->tz);
	z->tz = NULL;
	return 0;
}

/* Names such as "Europe/Berlin": nothing that would be a path of its own or a rule in POSIX form. */
static bool
name_is_ok(const char *s, size_t n)
{
	if (n == 0 || n > 64 || strlen(s) != n || s[0] < 'A' || s[0] > 'Z' || strstr(s, "..") != NULL ||
	    strstr(s, "//") != NULL)
		return false;
	for (size_t i = 0; i < n; i++) {
		bool letter = (s[i] >= 'A' && s[i] <= 'Z') || (s[i] >= 'a' && s[i] <= 'z');

		if (!letter && !(s[i] >= '0' && s[i] <= '9') && strchr("/_+-", s[i]) == NULL)
			return false;
	}
	return true;
}

/* core.zone(name) -> zone, or nil when the system knows none of that name */
static int
zone_new(lua_State *L)
{
	size_t n;
	const char *name = luaL_checklstring(L, 1, &n);
	struct zone *z;
	lua_Integer count;

	policy_only_loading(L, "gw.calendar");
	lua_settop(L, 1);
	if (!name_is_ok(name, n))
		return 0;
	luaL_getmetatable(L, ZONE_MT);		/* also where the zones are kept: one each */
	if (lua_getfield(L, 2, name) == LUA_TUSERDATA)
		return 1;
	lua_getfield(L, 2, "count");
	count = lua_tointeger(L, -1);
	if (count >= ZONES_MAX)
		return luaL_error(L, "gw.calendar: more than %d time zones", ZONES_MAX);
	z = lua_newuserdatauv(L, sizeof *z, 0);
	z->tz = NULL;
	luaL_setmetatable(L, ZONE_MT);
	z->tz = g_time_zone_new_identifier(name);
	if (z->tz == NULL)
		return 0;
	lua_pushvalue(L, -1);
	lua_setfield(L, 2, name);
	lua_pushinteger(L, count + 1);
	lua_setfield(L, 2, "count");
	return 1;
}

static lua_Integer
check_time(lua_State *L, int arg)
{
	lua_Number t = luaL_checknumber(L, arg);

	luaL_argcheck(L, t > -(lua_Number)TIME_LIMIT && t < (lua_Number)TIME_LIMIT, arg, "not a time");
	return (lua_Integer)t - (t < 0 && (lua_Number)(lua_Integer)t != t);
}

/* core.offset(zone, seconds since 1970) -> seconds east of UTC, abbreviation, is it summer time? */
static int
zone_offset(lua_State *L)
{
	struct zone *z = luaL_checkudata(L, 1, ZONE_MT);
	gint i = g_time_zone_find_interval(z->tz, G_TIME_TYPE_UNIVERSAL, check_time(L, 2));

	policy_charge_lua(L, 8);
	lua_pushinteger(L, g_time_zone_get_offset(z->tz, i < 0 ? 0 : i));
	lua_pushstring(L, g_time_zone_get_abbreviation(z->tz, i < 0 ? 0 : i));
	lua_pushboolean(L, g_time_zone_is_dst(z->tz, i < 0 ? 0 : i));
	return 3;
}

/* core.from_local(zone, seconds as if the local time were UTC) -> seconds since 1970. What the clock
 * shows twice is the first of the two; what it leaves out counts from the change. */
static int
zone_from_local(lua_State *L)
{
	struct zone *z = luaL_checkudata(L, 1, ZONE_MT);
	gint64 t = check_time(L, 2);
	gint i = g_time_zone_adjust_time(z->tz, G_TIME_TYPE_DAYLIGHT, &t);

	policy_charge_lua(L, 8);
	lua_pushinteger(L, (lua_Integer)t - g_time_zone_get_offset(z->tz, i < 0 ? 0 : i));
	return 1;
}

void
policy_lib_zone_open(lua_State *L)
{
	static const luaL_Reg mt[] = { { "__gc", zone_gc }, { NULL, NULL } };
	static const luaL_Reg fns[] = {
		{ "zone", zone_new }, { "offset", zone_offset }, { "from_local", zone_from_local }, { NULL, NULL },
	};

	policy_newmetatable(L, ZONE_MT, mt);
	lua_pop(L, 1);
	luaL_setfuncs(L, fns, 0);
}
