#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/api.h"
#include "policy/objects.h"

/* Kinds beyond those that policy_int.h names. For hops, routes and results the index says whose:
 * 0 the hook's own, 1 the result's, 2 that of the recipient's last result. */
static const struct obj_class *const classes[OBJ_LIMIT] = {
	[OBJ_SESSION] = &obj_session,
	[OBJ_SESSION_LISTENER] = &obj_listener,
	[OBJ_SESSION_PEER] = &obj_peer,
	[OBJ_SESSION_COUNTS] = &obj_counts,
	[OBJ_SESSION_TLS] = &obj_session_tls,
	[OBJ_SESSION_CLIENT] = &obj_client_cert,
	[OBJ_SESSION_VARS] = &obj_vars,
	[OBJ_SESSION_AUTH] = &obj_session_auth,
	[OBJ_MESSAGE] = &obj_message,
	[OBJ_MESSAGE_TAGS] = &obj_set,
	[OBJ_MESSAGE_VARS] = &obj_vars,
	[OBJ_MESSAGE_DUTIES] = &obj_duties,
	[OBJ_MESSAGE_PARAMS] = &obj_params,
	[OBJ_RCPTS] = &obj_rcpts,
	[OBJ_RCPT] = &obj_rcpt,
	[OBJ_RCPT_TAGS] = &obj_set,
	[OBJ_RCPT_VARS] = &obj_vars,
	[OBJ_RCPT_DUTIES] = &obj_duties,
	[OBJ_RCPT_PARAMS] = &obj_rcpt_params,
	[OBJ_RCPT_NOTIFY] = &obj_set,
	[OBJ_HOP] = &obj_hop,
	[OBJ_HOP_HOST] = &obj_hop_host,
	[OBJ_HOP_STS] = &obj_hop_sts,
	[OBJ_HOP_TLSA] = &obj_hop_tlsa,
	[OBJ_HOP_CAPS] = &obj_set,
	[OBJ_HOP_TLS] = &obj_hop_tls,
	[OBJ_HOP_DUTIES] = &obj_duties,
	[OBJ_HOP_MET] = &obj_duties,
	[OBJ_HOP_UNMET] = &obj_duties,
	[OBJ_UNMET] = &obj_duties,
	[OBJ_RESULT] = &obj_result,
	[OBJ_LAST] = &obj_result,
	[OBJ_BOUNCE] = &obj_bounce,
	[OBJ_BOUNCE_RCPT] = &obj_bounce_rcpt,
	[OBJ_BOUNCE_REDACT] = &obj_set,
	[OBJ_ROUTE] = &obj_route,
	[OBJ_CTX] = &obj_ctx,
	[OBJ_TICK] = &obj_tick,
	[OBJ_CRED] = &obj_cred,
	[OBJ_REPORT] = &obj_report,
	[OBJ_REPORT_RCPTS] = &obj_report_rcpts,
	[OBJ_REPORT_RCPT] = &obj_report_rcpt,
	[OBJ_MORE] = &obj_list,		/* bounce.recipients */
};

const struct obj_class *
obj_class_at(unsigned kind)
{
	return kind < OBJ_LIMIT ? classes[kind] : NULL;
}

/* ---- Handles in general ---- */

static struct obj
handle(lua_State *L, int arg)
{
	struct obj o;

	o.r = policy_handle_run(L, arg, &o.kind, &o.index);
	o.s = o.r->s;
	return o;
}

struct obj
obj_check(lua_State *L, enum policy_object kind)
{
	struct obj o = { .kind = kind };

	o.r = policy_handle_check(L, 1, kind, classes[kind]->what, &o.index);
	o.s = o.r->s;
	return o;
}

static int
unknown(lua_State *L, const struct obj_class *c, int key)
{
	const char *names[64], *word;
	size_t n = 0;

	if (lua_type(L, key) != LUA_TSTRING)
		return luaL_error(L, "%s cannot be indexed with a %s", c->what, luaL_typename(L, key));
	word = lua_tostring(L, key);
	for (const struct obj_field *f = c->fields; f != NULL && f->name != NULL && n < 63; f++)
		names[n++] = f->name;
	names[n] = NULL;
	return policy_unknown_field(L, c->what, word, names);
}

/* The field named by the key at index 2, from the table of this kind; NULL. A method is left on
 * top of the stack instead. */
static const struct obj_field *
find_field(lua_State *L, enum policy_object kind, bool *is_method)
{
	const struct obj_field *f = NULL;

	*is_method = false;
	lua_rawgeti(L, lua_upvalueindex(1), kind);
	if (!lua_istable(L, -1)) {
		lua_pop(L, 1);
		return NULL;
	}
	lua_pushvalue(L, 2);
	lua_rawget(L, -2);
	lua_remove(L, -2);
	if (lua_islightuserdata(L, -1))
		f = lua_touserdata(L, -1);
	*is_method = lua_iscfunction(L, -1);
	if (!*is_method)
		lua_pop(L, 1);
	return f;
}

static int
handle_index(lua_State *L)
{
	struct obj o = handle(L, 1);
	const struct obj_class *c = classes[o.kind];
	const struct obj_field *f;
	bool is_method;

	if (c == NULL)
		return luaL_error(L, "this value has no fields");
	f = find_field(L, o.kind, &is_method);
	if (is_method)
		return 1;
	if (f != NULL) {
		f->get(L, &o);
		return 1;
	}
	if (c->index != NULL && c->index(L, &o))
		return 1;
	return unknown(L, c, 2);
}

static int
handle_newindex(lua_State *L)
{
	struct obj o = handle(L, 1);
	const struct obj_class *c = classes[o.kind];
	const struct obj_field *f;
	bool is_method;

	if (c == NULL)
		return luaL_error(L, "this value has no fields");
	f = find_field(L, o.kind, &is_method);
	if (f == NULL && !is_method) {
		if (c->newindex != NULL && c->newindex(L, &o))
			return 0;
		if (c->fields == NULL || c->index != NULL)
			return luaL_error(L, "%s is read-only", c->what);
		return unknown(L, c, 2);
	}
	if (is_method || f->set == NULL)
		return luaL_error(L, "%s.%s is read-only", c->what, lua_tostring(L, 2));
	f->set(L, &o);
	return 0;
}

static int
handle_len(lua_State *L)
{
	struct obj o = handle(L, 1);

	if (classes[o.kind] == NULL || classes[o.kind]->len == NULL)
		return luaL_error(L, "%s has no length", classes[o.kind] == NULL ? "this value" :
		    classes[o.kind]->what);
	lua_pushinteger(L, classes[o.kind]->len(&o));
	return 1;
}

static int
next_pair(lua_State *L)
{
	struct obj o = handle(L, lua_upvalueindex(1));
	lua_Integer i = lua_tointeger(L, lua_upvalueindex(2));

	lua_pushinteger(L, i + 1);
	lua_replace(L, lua_upvalueindex(2));
	if (classes[o.kind]->pair(L, &o, (size_t)i))
		return 2;
	lua_pushnil(L);
	return 1;
}

static int
handle_pairs(lua_State *L)
{
	struct obj o = handle(L, 1);

	if (classes[o.kind] == NULL || classes[o.kind]->pair == NULL)
		return luaL_error(L, "%s cannot be walked with pairs", classes[o.kind] == NULL ?
		    "this value" : classes[o.kind]->what);
	lua_pushvalue(L, 1);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, next_pair, 2);
	return 1;
}

/* Never raises for a stale handle: it is what error messages are made of. */
static int
handle_tostring(lua_State *L)
{
	struct policy_run *r = policy_run_of(L);
	void *p = lua_touserdata(L, 1);
	struct obj o = { .r = r, .s = r == NULL ? NULL : r->s };

	luaL_checktype(L, 1, LUA_TLIGHTUSERDATA);
	o.kind = HANDLE_KIND(p);
	o.index = HANDLE_INDEX(p);
	if (classes[o.kind] == NULL)
		lua_pushliteral(L, "handle");
	else if (o.s == NULL || HANDLE_EPOCH(p) != r->epoch)
		lua_pushfstring(L, "stale %s", classes[o.kind]->what);
	else if (classes[o.kind]->tostring != NULL)
		classes[o.kind]->tostring(L, &o);
	else
		lua_pushstring(L, classes[o.kind]->what);
	return 1;
}

/* Table of tables: kind to (name to field or method). Kinds of one class share theirs. */
static void
push_fields(lua_State *L)
{
	lua_createtable(L, OBJ_LIMIT, 1);
	for (int kind = 0; kind < OBJ_LIMIT; kind++) {
		int same = 0;

		if (classes[kind] == NULL)
			continue;
		while (classes[same] != classes[kind])
			same++;
		if (same < kind) {
			lua_rawgeti(L, -1, same);
			lua_rawseti(L, -2, kind);
			continue;
		}
		lua_newtable(L);
		for (const struct obj_field *f = classes[kind]->fields; f != NULL && f->name != NULL; f++) {
			if (f->method != NULL)
				policy_api_push_method(L, classes[kind]->what, f->name, f->method);
			else
				lua_pushlightuserdata(L, (void *)f);
			lua_setfield(L, -2, f->name);
		}
		lua_rawseti(L, -2, kind);
	}
}

void
policy_objects_register(lua_State *L)
{
	/* The one metatable of all light userdata: nothing else in this state makes any that a
	 * policy could get hold of. */
	lua_pushlightuserdata(L, NULL);
	lua_createtable(L, 0, 8);
	push_fields(L);
	lua_pushvalue(L, -1);
	lua_pushcclosure(L, handle_index, 1);
	lua_setfield(L, -3, "__index");
	lua_pushcclosure(L, handle_newindex, 1);
	lua_setfield(L, -2, "__newindex");
	lua_pushcfunction(L, handle_len);
	lua_setfield(L, -2, "__len");
	lua_pushcfunction(L, handle_pairs);
	lua_setfield(L, -2, "__pairs");
	lua_pushcfunction(L, handle_tostring);
	lua_setfield(L, -2, "__tostring");
	lua_pushliteral(L, "gw.object");
	lua_setfield(L, -2, "__name");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
	lua_pop(L, 1);
	obj_address_register(L);
	obj_set_register(L);
	obj_parts_register(L);
	obj_notice_register(L);
	obj_chunks_register(L);
}

/* ---- The arguments of the hooks ---- */

int
policy_push_args(lua_State *L, struct policy_run *r)
{
	struct policy_subject *s = r->s;
	unsigned rcpt = s->rcpt < 0 ? 0 : (unsigned)s->rcpt;

	luaL_checkstack(L, 4, "hook arguments");
	switch (r->hook) {
	case HOOK_CONNECT:
	case HOOK_TLS:
	case HOOK_DISCONNECT:
		policy_push_object(L, OBJ_SESSION, 0);
		return 1;
	case HOOK_HELO:
		policy_push_object(L, OBJ_SESSION, 0);
		obj_push_string(L, s->name);
		return 2;
	case HOOK_AUTH:
		policy_push_object(L, OBJ_SESSION, 0);
		policy_push_object(L, OBJ_CRED, 0);
		return 2;
	case HOOK_MAIL:
	case HOOK_DATA:
	case HOOK_HEADER:
	case HOOK_MESSAGE:
		policy_push_object(L, OBJ_SESSION, 0);
		policy_push_object(L, OBJ_MESSAGE, 0);
		return 2;
	case HOOK_BOUNCE_IN:
		policy_push_object(L, OBJ_SESSION, 0);
		policy_push_object(L, OBJ_MESSAGE, 0);
		policy_push_object(L, OBJ_REPORT, 0);
		return 3;
	case HOOK_RCPT:
		policy_push_object(L, OBJ_SESSION, 0);
		policy_push_object(L, OBJ_MESSAGE, 0);
		policy_push_object(L, OBJ_RCPT, rcpt);
		return 3;
	case HOOK_ROUTE:
		policy_push_object(L, OBJ_MESSAGE, 0);
		policy_push_object(L, OBJ_RCPT, rcpt);
		return 2;
	case HOOK_TLS_POLICY:
		obj_push_domain(L, s->domain);
		if (s->route != NULL)
			policy_push_object(L, OBJ_ROUTE, 0);
		else
			lua_pushnil(L);
		return 2;
	case HOOK_ATTEMPT:
	case HOOK_EHLO:
		policy_push_object(L, OBJ_MESSAGE, 0);
		policy_push_object(L, OBJ_HOP, 0);
		return 2;
	case HOOK_UNMET:
		policy_push_object(L, OBJ_MESSAGE, 0);
		policy_push_object(L, OBJ_HOP, 0);
		policy_push_object(L, OBJ_UNMET, 0);
		return 3;
	case HOOK_RESULT:
		policy_push_object(L, OBJ_MESSAGE, 0);
		policy_push_object(L, OBJ_RCPT, rcpt);
		policy_push_object(L, OBJ_RESULT, 0);
		return 3;
	case HOOK_BOUNCE:
	case HOOK_DSN:
		policy_push_object(L, OBJ_MESSAGE, 0);
		policy_push_object(L, OBJ_BOUNCE, 0);
		return 2;
	case HOOK_LOG:
		if (s->event_json == NULL)
			lua_newtable(L);
		else
			policy_json_decode(L, s->event_json, strlen(s->event_json));
		return 1;
	case HOOK_TLSRPT:
		obj_push_domain(L, s->domain);
		obj_push_string(L, s->day);
		return 2;
	case HOOK_INIT:
	case HOOK_FINI:
		policy_push_object(L, OBJ_CTX, 0);
		return 1;
	case HOOK_EVERY:
		policy_push_object(L, OBJ_TICK, 0);
		return 1;
	case HOOKS:
		break;
	}
	return 0;
}

/* ---- What the objects share ---- */

void
obj_push_string(lua_State *L, const char *s)
{
	if (s == NULL)
		lua_pushnil(L);
	else
		lua_pushstring(L, s);
}

void
obj_push_time(lua_State *L, int64_t ms)
{
	if (ms == 0)
		lua_pushnil(L);
	else
		lua_pushnumber(L, (lua_Number)ms / 1000);
}

const char *
obj_check_token(lua_State *L, int arg, const char *api, const char *what)
{
	size_t n;
	const char *p = luaL_checklstring(L, arg, &n);
	size_t ok = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-");

	if (n == 0 || n > 64 || ok != n)
		luaL_error(L, "%s: a %s is 1 to 64 of letters, digits and . _ : -", api, what);
	return p;
}

struct msg *
obj_check_edit(lua_State *L, const struct obj *o, const char *what)
{
	if (o->s->msg == NULL || !o->s->may_edit)
		luaL_error(L, "%s: a message cannot be changed at hook %s, only while it is received",
		    what, policy_hook_name(o->r->hook));
	return o->s->msg;
}

int
obj_note(lua_State *L)
{
	struct obj o = handle(L, 1);
	size_t n;
	const char *text = luaL_checklstring(L, 2, &n);

	policy_note(o.r, LOG_LEVEL_INFO, "policy note", text, n > 1000 ? 1000 : n);
	return 0;
}

void
obj_do_require_tls(lua_State *L, int arg, const char *api, struct policy_run *r, duty_mask *mask,
    struct msg *msg)
{
	enum tls_level level = policy_opt_level(L, arg, api, "level", -1);
	const char *reason = policy_opt_string(L, arg, api, "reason", true, 200);
	bool waivable = policy_opt_bool(L, arg, api, "waivable", false);

	if (!policy_owe(r, mask, msg, level, waivable, reason))
		luaL_error(L, "%s: %s", api, r->gen->err.text);
}
