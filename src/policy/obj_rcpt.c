/* rcpt: one recipient of the message. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "policy/objects.h"

struct msg_rcpt *
obj_rcpt_of(lua_State *L, const struct obj *o)
{
	struct msg *m = o->s->msg;

	if (m == NULL || o->index >= m->nrcpts)
		luaL_error(L, "stale handle: this recipient is gone");
	return &m->rcpts[o->index];
}

/* ---- Fields ---- */

static void
get_address(lua_State *L, const struct obj *o)
{
	obj_push_address(L, obj_rcpt_of(L, o)->address);
}

static void
get_domain(lua_State *L, const struct obj *o)
{
	obj_push_domain(L, obj_rcpt_of(L, o)->domain);
}

static void
get_localpart(lua_State *L, const struct obj *o)
{
	const char *a = obj_rcpt_of(L, o)->address, *at = a == NULL ? NULL : strrchr(a, '@');

	lua_pushlstring(L, a == NULL ? "" : a, at != NULL ? (size_t)(at - a) : a == NULL ? 0 : strlen(a));
}

static void
get_orcpt(lua_State *L, const struct obj *o)
{
	obj_push_string(L, obj_rcpt_of(L, o)->orcpt);
}

static void
get_notify(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_RCPT_NOTIFY, o->index);
}

/* What the built-in relay check says; only where it is asked. */
static void
get_relay(lua_State *L, const struct obj *o)
{
	obj_push_string(L, o->s->rcpt >= 0 && (unsigned)o->s->rcpt == o->index ? o->s->relay : NULL);
}

static void
get_params(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_RCPT_PARAMS, o->index);
}

static void
get_tags(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_RCPT_TAGS, o->index);
}

static void
get_vars(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_RCPT_VARS, o->index);
}

/* The name of the route it is on, "" for one that a policy made from nothing; nil before routing. */
static void
get_route(lua_State *L, const struct obj *o)
{
	const char *route = obj_rcpt_of(L, o)->route;
	struct route *made;

	if (route == NULL && o->s->route != NULL && (unsigned)o->s->rcpt == o->index) {
		obj_push_string(L, o->s->route->name);	/* hook route: the configured one */
		return;
	}
	if (route == NULL || route[0] != '{') {
		obj_push_string(L, route);
		return;
	}
	made = route_from_json(route, NULL);
	if (made == NULL) {
		lua_pushliteral(L, "");
		return;
	}
	/* Route names are checked words of the configuration: short. */
	char name[128];

	snprintf(name, sizeof name, "%s", made->name == NULL ? "" : made->name);
	route_free(made);
	lua_pushstring(L, name);
}

static void
get_duties(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_RCPT_DUTIES, o->index);
}

static void
get_state(lua_State *L, const struct obj *o)
{
	obj_push_string(L, o->s->rcpt_state == NULL ? "new" : o->s->rcpt_state);
}

static void
get_attempts(lua_State *L, const struct obj *o)
{
	lua_pushinteger(L, o->s->result != NULL ? o->s->result->attempts :
	    o->s->last != NULL ? o->s->last->attempts : 0);
}

static void
get_last(lua_State *L, const struct obj *o)
{
	if (o->s->last == NULL)
		lua_pushnil(L);
	else
		policy_push_object(L, OBJ_LAST, 2);
}

/* ---- Methods ---- */

/* require_tls { level =, reason =, waivable = }: this recipient alone. */
static int
r_require_tls(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_RCPT);
	struct msg *m;

	m = obj_check_edit(L, &o, "rcpt:require_tls");
	obj_do_require_tls(L, 2, "rcpt:require_tls", o.r, &obj_rcpt_of(L, &o)->duties, m);
	return 0;
}

/* rewrite(address): duties, NOTIFY and ORCPT stay with the recipient (policy design 5.12, RFC 3461
 * 5.2.1); the route is asked for again. */
static int
r_rewrite(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_RCPT);
	const char *text = obj_check_address(L, 2, "rcpt:rewrite", false), *at = strrchr(text, '@');
	struct msg_rcpt *r;

	obj_check_edit(L, &o, "rcpt:rewrite");
	r = obj_rcpt_of(L, &o);
	if (!policy_change_check(L, "rewrite recipient"))
		return 0;
	free(r->address);
	free(r->domain);
	free(r->route);
	free(r->next_hop);
	r->address = xstrdup(text);
	r->domain = xstrdup(at == NULL ? "" : at + 1);
	r->route = r->next_hop = NULL;
	return 0;
}

static int
r_tag(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_RCPT);
	const char *tag = obj_check_token(L, 2, "rcpt:tag", "tag");
	struct msg_rcpt *r;
	char what[TAG_BYTES + 20];

	obj_check_edit(L, &o, "rcpt:tag");
	r = obj_rcpt_of(L, &o);
	snprintf(what, sizeof what, "tag recipient %s", tag);
	if (!policy_change_check(L, what))
		return 0;
	if (r->ntags >= TAGS_MAX && !msg_rcpt_has_tag(r, tag))
		return luaL_error(L, "rcpt:tag %s: there are %d tags already", tag, TAGS_MAX);
	msg_rcpt_add_tag(r, tag);
	return 0;
}

static int
r_has_tag(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_RCPT);

	lua_pushboolean(L, msg_rcpt_has_tag(obj_rcpt_of(L, &o), luaL_checkstring(L, 2)));
	return 1;
}

static void
rcpt_tostring(lua_State *L, const struct obj *o)
{
	obj_push_string(L, obj_rcpt_of(L, o)->address);
}

const struct obj_class obj_rcpt = {
	.what = "rcpt",
	.fields = (const struct obj_field[]){
		{ "address", get_address, NULL, NULL },
		{ "domain", get_domain, NULL, NULL },
		{ "localpart", get_localpart, NULL, NULL },
		{ "orcpt", get_orcpt, NULL, NULL },
		{ "notify", get_notify, NULL, NULL },
		{ "relay", get_relay, NULL, NULL },
		{ "params", get_params, NULL, NULL },
		{ "tags", get_tags, NULL, NULL },
		{ "vars", get_vars, NULL, NULL },
		{ "route", get_route, NULL, NULL },
		{ "duties", get_duties, NULL, NULL },
		{ "state", get_state, NULL, NULL },
		{ "attempts", get_attempts, NULL, NULL },
		{ "last", get_last, NULL, NULL },
		{ "require_tls", NULL, NULL, r_require_tls },
		{ "rewrite", NULL, NULL, r_rewrite },
		{ "tag", NULL, NULL, r_tag },
		{ "has_tag", NULL, NULL, r_has_tag },
		{ "note", NULL, NULL, obj_note },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = rcpt_tostring,
};

/* What stood on RCPT. */
const struct obj_class obj_rcpt_params = {
	.what = "rcpt.params",
	.fields = (const struct obj_field[]){
		{ "orcpt", get_orcpt, NULL, NULL },
		{ "notify", get_notify, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
};
