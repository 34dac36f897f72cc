/* hop: one server that delivery looks at or talks to; and route: how it was told to go there. The
 * index of these handles says whose: 0 the hook's, 1 the result's, 2 that of the last result. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "policy/lib.h"
#include "policy/objects.h"

const struct policy_hop *
obj_hop_of(lua_State *L, const struct obj *o)
{
	const struct policy_hop *h = o->index == 0 ? o->s->hop : o->index == 1 ?
	    (o->s->result == NULL ? NULL : o->s->result->hop) :
	    (o->s->last == NULL ? NULL : o->s->last->hop);

	if (h == NULL)
		luaL_error(L, "stale handle: there is no hop here");
	return h;
}

/* ---- hop ---- */

static void
get_destination(lua_State *L, const struct obj *o)
{
	obj_push_domain(L, obj_hop_of(L, o)->destination);
}

static void
get_route(lua_State *L, const struct obj *o)
{
	if (obj_hop_of(L, o)->route == NULL)
		lua_pushnil(L);
	else
		policy_push_object(L, OBJ_ROUTE, o->index + 1);
}

static void
get_host(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_HOP_HOST, o->index);
}

static void
get_attempt(lua_State *L, const struct obj *o)
{
	lua_pushinteger(L, obj_hop_of(L, o)->attempt);
}

static void
get_mx_secure(lua_State *L, const struct obj *o)
{
	lua_pushstring(L, mx_trust_name(obj_hop_of(L, o)->mx));
}

static void
get_sts(lua_State *L, const struct obj *o)
{
	if (obj_hop_of(L, o)->sts == STS_NONE)
		lua_pushnil(L);
	else
		policy_push_object(L, OBJ_HOP_STS, o->index);
}

static void
get_tlsa(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_HOP_TLSA, o->index);
}

static void
get_caps(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_HOP_CAPS, o->index);
}

static void
get_tls(lua_State *L, const struct obj *o)
{
	if (obj_hop_of(L, o)->tls == NULL)
		lua_pushnil(L);
	else
		policy_push_object(L, OBJ_HOP_TLS, o->index);
}

static void
get_duties(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_HOP_DUTIES, o->index);
}

static void
get_met(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_HOP_MET, o->index);
}

static void
get_unmet(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_HOP_UNMET, o->index);
}

static void
get_relaxed(lua_State *L, const struct obj *o)
{
	obj_push_string(L, obj_hop_of(L, o)->relaxed);
}

static void
get_country(lua_State *L, const struct obj *o)
{
	policy_push_country(L, obj_hop_of(L, o)->ip);
}

static void
get_asn(lua_State *L, const struct obj *o)
{
	policy_push_asn(L, obj_hop_of(L, o)->ip);
}

/* A set: the name of each offer to a time. */
static void
push_offers(lua_State *L, const int64_t ms[OFFERS])
{
	lua_newtable(L);
	for (int i = 0; i < OFFERS; i++) {
		if (ms[i] == 0)
			continue;
		obj_push_time(L, ms[i]);
		lua_setfield(L, -2, offer_name((enum offer)i));
	}
}

static void
get_seen(lua_State *L, const struct obj *o)
{
	push_offers(L, obj_hop_of(L, o)->offered_ms);
}

static void
get_worse(lua_State *L, const struct obj *o)
{
	push_offers(L, obj_hop_of(L, o)->worse_ms);
}

/* require_tls { level =, reason = }: this hop must meet it as well. */
static int
h_require_tls(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_HOP);

	if (o.index != 0 || o.s->hop == NULL)
		return luaL_error(L, "hop:require_tls: this hop is over");
	/* Stored messages are shared between threads: the note goes to the log, not to msg. */
	obj_do_require_tls(L, 2, "hop:require_tls", o.r, &o.s->hop->added, NULL);
	return 0;
}

static void
hop_tostring(lua_State *L, const struct obj *o)
{
	const struct policy_hop *h = obj_hop_of(L, o);

	lua_pushfstring(L, "%s", h->host == NULL ? "hop" : h->host);
}

const struct obj_class obj_hop = {
	.what = "hop",
	.fields = (const struct obj_field[]){
		{ "destination", get_destination, NULL, NULL },
		{ "route", get_route, NULL, NULL },
		{ "host", get_host, NULL, NULL },
		{ "attempt", get_attempt, NULL, NULL },
		{ "mx_secure", get_mx_secure, NULL, NULL },
		{ "sts", get_sts, NULL, NULL },
		{ "tlsa", get_tlsa, NULL, NULL },
		{ "caps", get_caps, NULL, NULL },
		{ "tls", get_tls, NULL, NULL },
		{ "duties", get_duties, NULL, NULL },
		{ "met", get_met, NULL, NULL },
		{ "unmet", get_unmet, NULL, NULL },
		{ "relaxed", get_relaxed, NULL, NULL },
		{ "seen", get_seen, NULL, NULL },
		{ "worse", get_worse, NULL, NULL },
		{ "country", get_country, NULL, NULL },
		{ "asn", get_asn, NULL, NULL },
		{ "require_tls", NULL, NULL, h_require_tls },
		{ "note", NULL, NULL, obj_note },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = hop_tostring,
};

/* ---- hop.host ---- */

static void
host_name(lua_State *L, const struct obj *o)
{
	obj_push_string(L, obj_hop_of(L, o)->host);
}

static void
host_ip(lua_State *L, const struct obj *o)
{
	obj_push_string(L, obj_hop_of(L, o)->ip);
}

static void
host_port(lua_State *L, const struct obj *o)
{
	lua_pushinteger(L, obj_hop_of(L, o)->port);
}

static void
host_preference(lua_State *L, const struct obj *o)
{
	lua_pushinteger(L, obj_hop_of(L, o)->preference);
}

const struct obj_class obj_hop_host = {
	.what = "hop.host",
	.fields = (const struct obj_field[]){
		{ "name", host_name, NULL, NULL },
		{ "ip", host_ip, NULL, NULL },
		{ "port", host_port, NULL, NULL },
		{ "preference", host_preference, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = host_name,
};

/* ---- hop.sts, hop.tlsa ---- */

static void
sts_mode(lua_State *L, const struct obj *o)
{
	lua_pushstring(L, sts_mode_name(obj_hop_of(L, o)->sts));
}

static void
sts_max_age(lua_State *L, const struct obj *o)
{
	lua_pushinteger(L, obj_hop_of(L, o)->sts_max_age);
}

static void
sts_match(lua_State *L, const struct obj *o)
{
	lua_pushboolean(L, obj_hop_of(L, o)->sts_matches);
}

const struct obj_class obj_hop_sts = {
	.what = "hop.sts",
	.fields = (const struct obj_field[]){
		{ "mode", sts_mode, NULL, NULL },
		{ "max_age", sts_max_age, NULL, NULL },
		{ "match", sts_match, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = sts_mode,
};

static void
tlsa_usable(lua_State *L, const struct obj *o)
{
	lua_pushboolean(L, obj_hop_of(L, o)->tlsa == TLSA_USABLE);
}

static void
tlsa_count(lua_State *L, const struct obj *o)
{
	lua_pushinteger(L, obj_hop_of(L, o)->tlsa_count);
}

static void
tlsa_secure(lua_State *L, const struct obj *o)
{
	enum tlsa_state t = obj_hop_of(L, o)->tlsa;

	lua_pushboolean(L, t == TLSA_USABLE || t == TLSA_UNUSABLE);
}

const struct obj_class obj_hop_tlsa = {
	.what = "hop.tlsa",
	.fields = (const struct obj_field[]){
		{ "usable", tlsa_usable, NULL, NULL },
		{ "count", tlsa_count, NULL, NULL },
		{ "secure", tlsa_secure, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
};

/* ---- hop.tls ---- */

static const struct tls_info *
tls(lua_State *L, const struct obj *o)
{
	const struct tls_info *t = obj_hop_of(L, o)->tls;

	if (t == NULL)
		luaL_error(L, "stale handle: the TLS session is over");
	return t;
}

static void
tls_version(lua_State *L, const struct obj *o)
{
	obj_push_string(L, tls(L, o)->version);
}

static void
tls_cipher(lua_State *L, const struct obj *o)
{
	obj_push_string(L, tls(L, o)->cipher);
}

static void
tls_verified(lua_State *L, const struct obj *o)
{
	tls(L, o);
	lua_pushstring(L, peer_verified_name(obj_hop_of(L, o)->verified));
}

static void
tls_names(lua_State *L, const struct obj *o)
{
	struct slice rest = slice_of(tls(L, o)->names), part;

	lua_newtable(L);
	while (rest.n > 0 && slice_cut(&rest, ',', &part)) {
		part = slice_trim(part);
		lua_pushlstring(L, part.p, part.n);
		lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
	}
}

static void
tls_error(lua_State *L, const struct obj *o)
{
	obj_push_string(L, tls(L, o)->verify_error);
}

const struct obj_class obj_hop_tls = {
	.what = "hop.tls",
	.fields = (const struct obj_field[]){
		{ "version", tls_version, NULL, NULL },
		{ "cipher", tls_cipher, NULL, NULL },
		{ "verified", tls_verified, NULL, NULL },
		{ "names", tls_names, NULL, NULL },
		{ "error", tls_error, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = tls_version,
};

/* ---- route: index 0 the hook's argument, n + 1 that of the hop with index n ---- */

static const struct route *
route(lua_State *L, const struct obj *o)
{
	struct obj h = *o;
	const struct route *r = o->s->route;

	if (o->index > 0) {
		h.index = o->index - 1;
		r = obj_hop_of(L, &h)->route;
	}
	if (r == NULL)
		luaL_error(L, "stale handle: the route is gone");
	return r;
}

static void
route_name(lua_State *L, const struct obj *o)
{
	obj_push_string(L, route(L, o)->name == NULL ? "" : route(L, o)->name);
}

/* "mx", or the list of hosts as host:port. */
static void
route_via(lua_State *L, const struct obj *o)
{
	const struct route *r = route(L, o);

	if (r->via_mx) {
		lua_pushliteral(L, "mx");
		return;
	}
	lua_createtable(L, (int)r->nhosts, 0);
	for (size_t i = 0; i < r->nhosts; i++) {
		lua_pushfstring(L, strchr(r->hosts[i].host, ':') != NULL ? "[%s]:%d" : "%s:%d",
		    r->hosts[i].host, (int)r->hosts[i].port);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

static void
route_domain(lua_State *L, const struct obj *o)
{
	obj_push_domain(L, route(L, o)->domain);
}

static void
route_port(lua_State *L, const struct obj *o)
{
	lua_pushinteger(L, route(L, o)->port);
}

static void
route_implicit_tls(lua_State *L, const struct obj *o)
{
	lua_pushboolean(L, route(L, o)->implicit_tls);
}

static void
route_auth(lua_State *L, const struct obj *o)
{
	obj_push_string(L, route(L, o)->auth);
}

static void
route_tls(lua_State *L, const struct obj *o)
{
	lua_pushstring(L, tls_level_name(route(L, o)->tls));
}

static void
push_list(lua_State *L, char *const *v, size_t n)
{
	lua_createtable(L, (int)n, 0);
	for (size_t i = 0; i < n; i++) {
		lua_pushstring(L, v[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

static void
route_names(lua_State *L, const struct obj *o)
{
	push_list(L, route(L, o)->names, route(L, o)->nnames);
}

static void
route_pins(lua_State *L, const struct obj *o)
{
	push_list(L, route(L, o)->pins, route(L, o)->npins);
}

static void
route_source(lua_State *L, const struct obj *o)
{
	obj_push_string(L, route(L, o)->source);
}

static void
route_sticky(lua_State *L, const struct obj *o)
{
	lua_pushboolean(L, route(L, o)->sticky);
}

static void
route_assert_secure_lookup(lua_State *L, const struct obj *o)
{
	lua_pushboolean(L, route(L, o)->assert_secure_lookup);
}

static void
route_assert_propagate(lua_State *L, const struct obj *o)
{
	lua_pushboolean(L, route(L, o)->assert_propagate);
}

const struct obj_class obj_route = {
	.what = "route",
	.fields = (const struct obj_field[]){
		{ "name", route_name, NULL, NULL },
		{ "via", route_via, NULL, NULL },
		{ "domain", route_domain, NULL, NULL },
		{ "port", route_port, NULL, NULL },
		{ "implicit_tls", route_implicit_tls, NULL, NULL },
		{ "auth", route_auth, NULL, NULL },
		{ "tls", route_tls, NULL, NULL },
		{ "names", route_names, NULL, NULL },
		{ "pins", route_pins, NULL, NULL },
		{ "source", route_source, NULL, NULL },
		{ "sticky", route_sticky, NULL, NULL },
		{ "assert_secure_lookup", route_assert_secure_lookup, NULL, NULL },
		{ "assert_propagate", route_assert_propagate, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = route_name,
};
