/* Sets and lists: gw.set, the read-only views of tags, capabilities, NOTIFY and redactions, the
 * lists of recipients, and the view of duties. */
#include "config.h"

#include <string.h>

#include "policy/names.h"
#include "policy/objects.h"
#include "policy/rules.h"

/* ---- gw.set ---- */

#define SET_MT "gw.set"

/* What a set may hold or be asked for: strings, addresses, domains. NULL for anything else. */
static const char *
member(lua_State *L, int arg, size_t *n)
{
	const char *p = obj_address_peek(L, arg, n);

	if (p == NULL)
		p = obj_domain_peek(L, arg, n);
	if (p == NULL && lua_type(L, arg) == LUA_TSTRING)
		p = lua_tolstring(L, arg, n);
	return p;
}

/* gw.set { "a", "b" }: frozen; case is ignored (ASCII). Lies in Lua's memory, under its limit. */
static int
set_new(lua_State *L)
{
	lua_Integer count;
	size_t octets = 0, size, n;
	struct names *set;

	luaL_checktype(L, 1, LUA_TTABLE);
	count = luaL_len(L, 1);
	for (lua_Integer i = 1; i <= count; i++) {
		lua_geti(L, 1, i);
		if (member(L, -1, &n) == NULL)
			return luaL_error(L, "gw.set: entry %I is a %s; a set holds strings, addresses and "
			    "domains", i, luaL_typename(L, -1));
		octets += n;
		lua_pop(L, 1);
	}
	size = names_size((size_t)count, octets);
	if (size == 0)
		return luaL_error(L, "gw.set: too many entries");
	set = names_init(lua_newuserdatauv(L, size, 0), (size_t)count, octets, false);
	luaL_setmetatable(L, SET_MT);
	for (lua_Integer i = 1; i <= count; i++) {
		const char *p;

		lua_geti(L, 1, i);
		p = member(L, -1, &n);
		/* A metamethod of the table could give other strings the second time. */
		if (p == NULL || n > set->octets - set->used)
			return luaL_error(L, "gw.set: the table changed while it was read");
		names_add(set, p, n);
		lua_pop(L, 1);
	}
	return 1;
}

static int
set_has(lua_State *L)
{
	const struct names *set = luaL_checkudata(L, 1, SET_MT);
	size_t n;
	const char *p = member(L, 2, &n);

	if (p == NULL && !lua_isnil(L, 2))
		return luaL_error(L, "set:has takes a string, an address or a domain, not a %s",
		    luaL_typename(L, 2));
	lua_pushboolean(L, p != NULL && names_has(set, p, n));
	return 1;
}

static int
set_list(lua_State *L)
{
	const struct names *set = luaL_checkudata(L, 1, SET_MT);

	lua_createtable(L, (int)set->n, 0);
	for (uint32_t i = 0; i < set->n; i++) {
		struct slice s = names_at(set, i);

		lua_pushlstring(L, s.p, s.n);
		lua_rawseti(L, -2, i + 1);
	}
	return 1;
}

static int
set_newindex(lua_State *L)
{
	return luaL_error(L, "a set is read-only");
}

static int
set_len(lua_State *L)
{
	lua_pushinteger(L, ((const struct names *)luaL_checkudata(L, 1, SET_MT))->n);
	return 1;
}

const struct names *
obj_set_peek(lua_State *L, int arg)
{
	return lua_type(L, arg) == LUA_TUSERDATA ? luaL_testudata(L, arg, SET_MT) : NULL;
}

void
obj_set_register(lua_State *L)
{
	static const luaL_Reg mt[] = {
		{ "__newindex", set_newindex }, { "__len", set_len }, { NULL, NULL }
	};
	static const luaL_Reg methods[] = { { "has", set_has }, { "list", set_list }, { NULL, NULL } };
	static const struct policy_type type = { "set", methods, NULL, NULL };

	policy_newmetatable(L, SET_MT, mt);
	policy_type_members(L, &type);
	lua_pop(L, 1);
	lua_pushcfunction(L, set_new);
	lua_setfield(L, -2, "set");
}

/* ---- Views of sets that the subject holds ---- */

static const struct {
	unsigned bit;
	const char *name;
} caps[] = {
	{ SMTP_EXT_PIPELINING, "PIPELINING" }, { SMTP_EXT_SIZE, "SIZE" },
	{ SMTP_EXT_8BITMIME, "8BITMIME" }, { SMTP_EXT_SMTPUTF8, "SMTPUTF8" },
	{ SMTP_EXT_CHUNKING, "CHUNKING" }, { SMTP_EXT_ENHANCEDSTATUSCODES, "ENHANCEDSTATUSCODES" },
	{ SMTP_EXT_DSN, "DSN" }, { SMTP_EXT_STARTTLS, "STARTTLS" },
	{ SMTP_EXT_REQUIRETLS, "REQUIRETLS" }, { SMTP_EXT_LIMITS, "LIMITS" },
}, notify[] = {
	{ NOTIFY_NEVER, "never" }, { NOTIFY_SUCCESS, "success" }, { NOTIFY_FAILURE, "failure" },
	{ NOTIFY_DELAY, "delay" },
};

static const struct msg_rcpt *
rcpt_peek(const struct obj *o)
{
	const struct msg *m = o->s->msg;

	return m != NULL && o->index < m->nrcpts ? &m->rcpts[o->index] : NULL;
}

static const struct policy_hop *
hop_peek(const struct obj *o)
{
	return o->index == 0 ? o->s->hop : o->index == 1 ?
	    (o->s->result == NULL ? NULL : o->s->result->hop) :
	    (o->s->last == NULL ? NULL : o->s->last->hop);
}

const char *
obj_set_member(const struct obj *o, size_t i)
{
	const struct msg_rcpt *r = rcpt_peek(o);
	unsigned bits;

	switch (o->kind) {
	case OBJ_MESSAGE_TAGS:
		return i < o->s->msg->ntags ? o->s->msg->tags[i] : NULL;
	case OBJ_RCPT_TAGS:
		return r != NULL && i < r->ntags ? r->tags[i] : NULL;
	case OBJ_RCPT_NOTIFY:
		bits = r == NULL ? 0 : r->notify;
		for (size_t k = 0; k < NELEMS(notify); k++)
			if ((bits & notify[k].bit) != 0 && i-- == 0)
				return notify[k].name;
		return NULL;
	case OBJ_HOP_CAPS:
		bits = hop_peek(o) == NULL ? 0 : hop_peek(o)->caps;
		for (size_t k = 0; k < NELEMS(caps); k++)
			if ((bits & caps[k].bit) != 0 && i-- == 0)
				return caps[k].name;
		return NULL;
	case OBJ_BOUNCE_REDACT:
		return obj_redact_member(o, i);
	default:
		return NULL;
	}
}

static struct obj
check_view(lua_State *L)
{
	struct obj o;

	o.r = policy_handle_run(L, 1, &o.kind, &o.index);
	o.s = o.r->s;
	return o;
}

static int
view_has(lua_State *L)
{
	struct obj o = check_view(L);
	const char *want = luaL_checkstring(L, 2), *have;
	size_t i = 0;

	while ((have = obj_set_member(&o, i++)) != NULL)
		if (slice_is_nocase(slice_of(have), want))
			break;
	lua_pushboolean(L, have != NULL);
	return 1;
}

static int
view_list(lua_State *L)
{
	struct obj o = check_view(L);
	const char *have;

	lua_newtable(L);
	for (size_t i = 0; (have = obj_set_member(&o, i)) != NULL; i++) {
		lua_pushstring(L, have);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

static lua_Integer
view_len(const struct obj *o)
{
	size_t n = 0;

	while (obj_set_member(o, n) != NULL)
		n++;
	return (lua_Integer)n;
}

static bool
view_pair(lua_State *L, const struct obj *o, size_t i)
{
	const char *have = obj_set_member(o, i);

	if (have == NULL)
		return false;
	lua_pushstring(L, have);
	lua_pushboolean(L, 1);
	return true;
}

static void
view_tostring(lua_State *L, const struct obj *o)
{
	luaL_Buffer b;
	const char *have;

	luaL_buffinit(L, &b);
	for (size_t i = 0; (have = obj_set_member(o, i)) != NULL; i++) {
		if (i > 0)
			luaL_addstring(&b, ", ");
		luaL_addstring(&b, have);
	}
	luaL_pushresult(&b);
}

const struct obj_class obj_set = {
	.what = "set",
	.fields = (const struct obj_field[]){
		{ "has", NULL, NULL, view_has },
		{ "list", NULL, NULL, view_list },
		{ NULL, NULL, NULL, NULL },
	},
	.len = view_len,
	.pair = view_pair,
	.tostring = view_tostring,
};

/* ---- Lists of handles ---- */

/* Recipients that a policy removed stay in the array, marked: their handles and numbers hold, and
 * the store writes down how they left (I4). They are not seen here. */
static int
nth_rcpt(const struct obj *o, lua_Integer want)
{
	const struct msg *m = o->s->msg;
	struct policy_view *v = policy_run_view(o->r);
	lua_Integer n = 0;
	size_t i = 0;

	/* ipairs asks for one after the other: going on from the last keeps that linear. */
	if (v->nth > 0 && want > (lua_Integer)v->nth) {
		n = (lua_Integer)v->nth;
		i = v->nth_at + 1;
	}
	for (; want >= 1 && i < m->nrcpts && i < 65536; i++) {
		if (!m->rcpts[i].discarded && ++n == want) {
			v->nth = (size_t)want;
			v->nth_at = i;
			return (int)i;
		}
	}
	return -1;
}

static lua_Integer
rcpts_len(const struct obj *o)
{
	lua_Integer n = 0;

	for (size_t i = 0; i < o->s->msg->nrcpts; i++)
		n += !o->s->msg->rcpts[i].discarded;
	return n;
}

static bool
rcpts_index(lua_State *L, const struct obj *o)
{
	int i;

	if (!lua_isinteger(L, 2))
		return false;
	i = nth_rcpt(o, lua_tointeger(L, 2));
	if (i < 0)
		lua_pushnil(L);
	else
		policy_push_object(L, OBJ_RCPT, (unsigned)i);
	return true;
}

static bool
rcpts_pair(lua_State *L, const struct obj *o, size_t i)
{
	int at = nth_rcpt(o, (lua_Integer)i + 1);

	if (at < 0)
		return false;
	lua_pushinteger(L, (lua_Integer)i + 1);
	policy_push_object(L, OBJ_RCPT, (unsigned)at);
	return true;
}

const struct obj_class obj_rcpts = {
	.what = "recipients",
	.index = rcpts_index,
	.len = rcpts_len,
	.pair = rcpts_pair,
};

static lua_Integer
list_len(const struct obj *o)
{
	return (lua_Integer)o->s->bounce->nrcpts;
}

static bool
list_index(lua_State *L, const struct obj *o)
{
	lua_Integer i = lua_tointeger(L, 2);

	if (!lua_isinteger(L, 2))
		return false;
	if (i < 1 || i > list_len(o) || i > 65536)
		lua_pushnil(L);
	else
		policy_push_object(L, OBJ_BOUNCE_RCPT, (unsigned)i - 1);
	return true;
}

static bool
list_pair(lua_State *L, const struct obj *o, size_t i)
{
	if (i >= o->s->bounce->nrcpts || i > 65535)
		return false;
	lua_pushinteger(L, (lua_Integer)i + 1);
	policy_push_object(L, OBJ_BOUNCE_RCPT, (unsigned)i);
	return true;
}

const struct obj_class obj_list = {
	.what = "recipients",
	.index = list_index,
	.len = list_len,
	.pair = list_pair,
};

/* ---- Duties: to be looked at, nothing else (I3) ---- */

static const struct {
	enum duty bit;
	const char *name;
} duty_names[] = {
	{ DUTY_ENCRYPT, "encrypt" }, { DUTY_AUTHENTICATE, "authenticate" },
	{ DUTY_SECURE_LOOKUP, "secure_lookup" }, { DUTY_PROPAGATE, "propagate" },
};

duty_mask
obj_duties_mask(const struct obj *o, bool *with_sources)
{
	const struct policy_hop *h = hop_peek(o);
	const struct msg_rcpt *r;
	duty_mask mask = 0;

	*with_sources = true;
	if (o->s->msg == NULL && (o->kind == OBJ_MESSAGE_DUTIES || o->kind == OBJ_RCPT_DUTIES))
		return 0;
	switch (o->kind) {
	case OBJ_MESSAGE_DUTIES:
		return o->s->msg->duties;
	case OBJ_RCPT_DUTIES:
		r = rcpt_peek(o);
		duties_join(&mask, o->s->msg->duties);
		duties_join(&mask, r == NULL ? 0 : r->duties);
		return mask;
	case OBJ_HOP_DUTIES:
		if (h != NULL) {
			duties_join(&mask, h->duties);
			duties_join(&mask, h->added);
		}
		return mask;
	case OBJ_HOP_MET:
		*with_sources = false;
		return h == NULL ? 0 : duties_of(h->met, DUTY_BY_ADMIN);
	default:
		*with_sources = false;
		return h == NULL ? 0 : duties_of(h->unmet, DUTY_BY_ADMIN);
	}
}

static int
duties_has(lua_State *L)
{
	struct obj o = check_view(L);
	const char *names[NELEMS(duty_names) + 1] = { NULL }, *want = luaL_checkstring(L, 2);
	bool with;

	for (size_t i = 0; i < NELEMS(duty_names); i++) {
		names[i] = duty_names[i].name;
		if (strcmp(want, duty_names[i].name) == 0) {
			lua_pushboolean(L, (duties_bits(obj_duties_mask(&o, &with)) & duty_names[i].bit) != 0);
			return 1;
		}
	}
	return policy_unknown_field(L, "duties", want, names);
}

/* The i-th duty that is owed. */
static const char *
duty_at(const struct obj *o, size_t i)
{
	bool with;
	unsigned bits = duties_bits(obj_duties_mask(o, &with));

	for (size_t k = 0; k < NELEMS(duty_names); k++)
		if ((bits & duty_names[k].bit) != 0 && i-- == 0)
			return duty_names[k].name;
	return NULL;
}

static int
duties_list(lua_State *L)
{
	struct obj o = check_view(L);
	const char *name;

	lua_newtable(L);
	for (size_t i = 0; (name = duty_at(&o, i)) != NULL; i++) {
		lua_pushstring(L, name);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

static void
duties_level_get(lua_State *L, const struct obj *o)
{
	bool with;

	lua_pushstring(L, tls_level_name(duties_level(duties_bits(obj_duties_mask(o, &with)))));
}

static lua_Integer
duties_len(const struct obj *o)
{
	size_t n = 0;

	while (duty_at(o, n) != NULL)
		n++;
	return (lua_Integer)n;
}

static bool
duties_pair(lua_State *L, const struct obj *o, size_t i)
{
	const char *name = duty_at(o, i);

	if (name == NULL)
		return false;
	lua_pushstring(L, name);
	lua_pushboolean(L, 1);
	return true;
}

static void
duties_tostring(lua_State *L, const struct obj *o)
{
	bool with;
	duty_mask mask = obj_duties_mask(o, &with);
	char text[400];

	if (with)
		duties_format(text, sizeof text, mask);
	else
		duties_format_bits(text, sizeof text, duties_bits(mask));
	lua_pushstring(L, text);
}

const struct obj_class obj_duties = {
	.what = "duties",
	.fields = (const struct obj_field[]){
		{ "has", NULL, NULL, duties_has },
		{ "list", NULL, NULL, duties_list },
		{ "level", duties_level_get, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
	.len = duties_len,
	.pair = duties_pair,
	.tostring = duties_tostring,
};
