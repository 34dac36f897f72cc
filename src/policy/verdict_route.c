/* gw.route and gw.reroute: routes that a policy names or makes (policy design section 3). What
 * asserts trust comes from the configuration alone (section 5, item 11). */
#include "config.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "policy/verdict_int.h"

#define HOSTS_MAX 32
#define LIST_MAX 64

static bool
is_ip(const char *s)
{
	unsigned char ip[16];

	return inet_pton(AF_INET, s, ip) == 1 || inet_pton(AF_INET6, s, ip) == 1;
}

/* Base64 or hex of a digest, with the algorithm in front of it: "sha256:..." */
static bool
is_pin(const char *s)
{
	if (strncmp(s, "sha256:", 7) != 0 || strlen(s) < 7 + 43 || strlen(s) > 7 + 95)
		return false;
	for (s += 7; *s != '\0'; s++) {
		if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=:", *s) == NULL)
			return false;
	}
	return true;
}

void
policy_opt_list(lua_State *L, int arg, const char *api, const char *key, char ***v, size_t *n, bool names)
{
	int t = lua_getfield(L, arg, key);

	if (t == LUA_TNIL) {
		lua_pop(L, 1);
		return;
	}
	if (t != LUA_TTABLE)
		luaL_error(L, "%s: %s must be a list of strings", api, key);
	*v = xcalloc(LIST_MAX, sizeof **v);
	*n = 0;
	for (lua_Integer i = 1; lua_geti(L, -1, i) != LUA_TNIL; i++) {
		char name[256];
		struct slice s;

		if (lua_type(L, -1) != LUA_TSTRING || i > LIST_MAX)
			luaL_error(L, "%s: %s must be a list of at most %d strings", api, key, LIST_MAX);
		s.p = lua_tolstring(L, -1, &s.n);
		policy_text_check(L, api, key, s.p, s.n, 255);
		if (names && !dns_to_ascii(name, s))
			luaL_error(L, "%s: %s: '%s' is not a host name", api, key, s.p);
		if (!names && !is_pin(s.p))
			luaL_error(L, "%s: %s: '%s' is not of the form sha256:<digest>", api, key, s.p);
		(*v)[(*n)++] = xstrdup(names ? name : s.p);
		lua_pop(L, 1);
	}
	lua_pop(L, 2);
	if (*n == 0)
		luaL_error(L, "%s: %s is empty", api, key);
}

/* "host", "host:port", "[2001:db8::1]:25", "192.0.2.8:465". */
static void
read_host(lua_State *L, const char *api, struct route *rt, const char *text, uint16_t port)
{
	struct route_host *h;
	char host[256], ascii[256];
	const char *colon = strrchr(text, ':'), *end;
	uint64_t p = port;
	size_t n;

	if (text[0] == '[') {
		end = strchr(text, ']');
		if (end == NULL || (end[1] != '\0' && end + 1 != colon))
			luaL_error(L, "%s: via: '%s' is not a host", api, text);
		if (end[1] == '\0')
			colon = NULL;
		text++;
		n = (size_t)(end - text);
	} else {
		if (colon != NULL && strchr(text, ':') != colon)
			colon = NULL;	/* an IPv6 address without brackets */
		n = colon == NULL ? strlen(text) : (size_t)(colon - text);
	}
	if (n == 0 || n >= sizeof host || (colon != NULL && (!slice_u64(slice_of(colon + 1), &p) || p < 1 ||
	    p > 65535)))
		luaL_error(L, "%s: via: '%s' is not a host or host:port", api, text);
	memcpy(host, text, n);
	host[n] = '\0';
	if (!is_ip(host) && !dns_to_ascii(ascii, (struct slice){ host, n }))
		luaL_error(L, "%s: via: '%s' is neither a name nor an address", api, host);
	if (rt->nhosts == HOSTS_MAX)
		luaL_error(L, "%s: via: more than %d hosts", api, HOSTS_MAX);
	if (rt->hosts == NULL)
		rt->hosts = xcalloc(HOSTS_MAX, sizeof *rt->hosts);
	h = &rt->hosts[rt->nhosts++];
	h->host = xstrdup(is_ip(host) ? host : ascii);
	h->port = (uint16_t)p;
}

/* Fills in v->route from `via`; port is for hosts that name none. */
static struct route *
read_via(lua_State *L, const char *api, struct verdict *v, uint16_t port)
{
	const struct conf *conf = policy_run_of(L)->gen->conf;
	int t = lua_getfield(L, 1, "via");
	const struct route *named;
	struct route *rt;
	const char *s;

	if (t != LUA_TSTRING && t != LUA_TTABLE)
		luaL_error(L, "%s: via is \"mx\", the name of a route or a list of hosts", api);
	s = t == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
	if (s != NULL && strcmp(s, "mx") != 0) {
		named = conf_route(conf, s);
		if (named == NULL) {
			const char *names[65] = { NULL };

			for (size_t i = 0; i < conf->nroutes && i < 64; i++)
				names[i] = conf->routes[i]->name;
			s = policy_nearest(s, names);
			luaL_error(L, "%s: the configuration has no route '%s'%s%s", api,
			    lua_tostring(L, -1), s == NULL ? "" : "; nearest: ", s == NULL ? "" : s);
		}
		v->route = route_copy(named);
		lua_pop(L, 1);
		return v->route;
	}
	v->route = rt = xcalloc(1, sizeof *rt);
	rt->name = xstrdup("");
	rt->port = port;
	rt->ipv4 = rt->ipv6 = true;
	if (s != NULL) {
		rt->via_mx = true;
	} else {
		for (lua_Integer i = 1; lua_geti(L, -1, i) != LUA_TNIL; i++) {
			if (lua_type(L, -1) != LUA_TSTRING)
				luaL_error(L, "%s: via: hosts are strings such as \"mx1.example:25\"", api);
			read_host(L, api, rt, lua_tostring(L, -1), port);
			lua_pop(L, 1);
		}
		lua_pop(L, 1);
		if (rt->nhosts == 0)
			luaL_error(L, "%s: via is an empty list", api);
	}
	lua_pop(L, 1);
	return rt;
}

static void
replace(char **dst, const char *s)
{
	free(*dst);
	*dst = xstrdup(s);
}

static void
drop_list(char ***v, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		free((*v)[i]);
	free(*v);
	*v = NULL;
	*n = 0;
}

static bool
has_field(lua_State *L, const char *key)
{
	bool has = lua_getfield(L, 1, key) != LUA_TNIL;

	lua_pop(L, 1);
	return has;
}

struct route *
policy_route_read(lua_State *L, const char *api, struct verdict *v)
{
	uint16_t port = (uint16_t)policy_opt_integer(L, 1, api, "port", 1, 65535, 25);
	struct route *rt = read_via(L, api, v, port);
	enum tls_level level;
	const char *s;
	char ascii[256];
	struct err err;
	int64_t d;

	if (has_field(L, "port") && rt->via_mx)
		rt->port = port;
	if ((s = policy_opt_string(L, 1, api, "domain", false, 255)) != NULL) {
		if (!rt->via_mx || !dns_to_ascii(ascii, slice_of(s)))
			luaL_error(L, "%s: domain = '%s': wants a domain name, and a route via mx", api, s);
		replace(&rt->domain, ascii);
	}
	rt->implicit_tls = policy_opt_bool(L, 1, api, "implicit_tls", rt->implicit_tls);
	if ((s = policy_opt_string(L, 1, api, "source", false, 64)) != NULL) {
		if (!is_ip(s))
			luaL_error(L, "%s: source = '%s' is not an address", api, s);
		replace(&rt->source, s);
	}
	/* A named route's level is the operator's; here it can only be raised. */
	level = policy_opt_level(L, 1, api, "tls", (int)rt->tls);
	if (rt->name[0] != '\0' && level < rt->tls)
		luaL_error(L, "%s: tls = \"%s\" is below the level of route '%s', \"%s\"", api,
		    tls_level_name(level), rt->name, tls_level_name(rt->tls));
	rt->tls = level;
	if (has_field(L, "names")) {
		drop_list(&rt->names, &rt->nnames);
		policy_opt_list(L, 1, api, "names", &rt->names, &rt->nnames, true);
	}
	if (has_field(L, "pins")) {
		drop_list(&rt->pins, &rt->npins);
		policy_opt_list(L, 1, api, "pins", &rt->pins, &rt->npins, false);
	}
	if ((s = policy_opt_string(L, 1, api, "auth", false, 64)) != NULL)
		replace(&rt->auth, s);
	if (rt->auth != NULL && !conf_may_log_in(policy_run_of(L)->gen->conf, rt, &err))
		luaL_error(L, "%s: auth: %s", api, err.text);
	rt->sticky = policy_opt_bool(L, 1, api, "sticky", rt->sticky);
	d = policy_opt_duration(L, 1, api, "expires", 0);
	if (d > 0)
		rt->expires_ms = -d;	/* policy_verdict_settle */
	if (policy_opt_bool(L, 1, api, "assert_secure_lookup", rt->assert_secure_lookup) !=
	    rt->assert_secure_lookup) {
		if (!rt->assert_secure_lookup)
			luaL_error(L, "%s: assert_secure_lookup can only come from a route of the "
			    "configuration that has it", api);
		rt->assert_secure_lookup = false;
	}
	return rt;
}
