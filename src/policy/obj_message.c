/* message: what is read. What is changed is in obj_message_edit.c. */
#include "config.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/lib.h"
#include "policy/obj_message.h"
#include "policy/rules.h"

/* ---- Fields ---- */

static void
get_id(lua_State *L, const struct obj *o)
{
	char id[ID_TEXT];

	id_format(id, o->s->msg->id);
	lua_pushstring(L, id);
}

static void
get_session(lua_State *L, const struct obj *o)
{
	if (o->s->session == NULL)
		lua_pushnil(L);
	else
		policy_push_object(L, OBJ_SESSION, 0);
}

static void
get_from(lua_State *L, const struct obj *o)
{
	obj_push_address(L, o->s->msg->from);
}

static void
get_recipients(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_RCPTS, 0);
}

/* Octets, once they are all here. */
static void
get_size(lua_State *L, const struct obj *o)
{
	uint64_t size = o->s->content != NULL ? o->s->content->size : o->s->msg->content_size;

	if (size == 0)
		lua_pushnil(L);
	else
		lua_pushinteger(L, (lua_Integer)size);
}

static void
get_received_at(lua_State *L, const struct obj *o)
{
	obj_push_time(L, o->s->msg->received_ms);
}

static void
get_direction(lua_State *L, const struct obj *o)
{
	static const char *const names[] = { "inbound", "outbound", "internal" };

	lua_pushstring(L, names[o->s->msg->direction]);
}

static void
get_params(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_MESSAGE_PARAMS, 0);
}

static void
get_smtputf8(lua_State *L, const struct obj *o)
{
	lua_pushboolean(L, (o->s->msg->flags & MSG_SMTPUTF8) != 0);
}

static void
get_requiretls(lua_State *L, const struct obj *o)
{
	lua_pushboolean(L, (o->s->msg->flags & MSG_REQUIRETLS) != 0);
}

static void
get_tls_required_no(lua_State *L, const struct obj *o)
{
	lua_pushstring(L, obj_tls_no_name(o->s->msg->tls_no));
}

static void
get_duties(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_MESSAGE_DUTIES, 0);
}

static void
get_tags(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_MESSAGE_TAGS, 0);
}

static void
get_vars(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_MESSAGE_VARS, 0);
}

static void
get_auth_results(lua_State *L, const struct obj *o)
{
	policy_push_auth_results(L);
}

static void
get_body_mode(lua_State *L, const struct obj *o)
{
	lua_pushstring(L, o->s->wants_body ? "inspect" : "stream");
}

/* Only while the body is still to come. */
static void
set_body_mode(lua_State *L, const struct obj *o)
{
	static const char *const modes[] = { "stream", "inspect", NULL };
	int mode = luaL_checkoption(L, 3, NULL, modes);

	if (o->r->hook != HOOK_HEADER)
		luaL_error(L, "message.body_mode is set at hook header, not at %s", policy_hook_name(o->r->hook));
	if (mode == 1 && policy_change_check(L, "message.body_mode"))
		o->s->wants_body = true;	/* what another handler wants to see stays */
}

const char *
obj_tls_no_name(enum msg_tls_no t)
{
	static const char *const names[] = { "absent", "honoured", "ignored", "overridden", "malformed" };

	return names[t];
}

/* ---- Header ---- */

static const struct header *
header_of(lua_State *L, const struct obj *o, const char *what)
{
	const struct header *h = view_header(policy_run_view(o->r));

	if (h == NULL)
		luaL_error(L, "message:%s: the header is not there at hook %s", what,
		    policy_hook_name(o->r->hook));
	policy_charge_lua(L, h->n);
	return h;
}

/* The n-th field of this name, counted from 1; -1. */
static ssize_t
find(const struct header *h, const char *name, lua_Integer n)
{
	for (size_t i = 0; n >= 1 && i < h->n; i++)
		if (slice_is_nocase(h->fields[i].name, name) && --n == 0)
			return (ssize_t)i;
	return -1;
}

static int
push_decoded(lua_State *L, const struct obj *o, ssize_t i)
{
	if (i < 0) {
		lua_pushnil(L);
	} else {
		policy_charge_lua(L, o->r->view->header.fields[i].n);
		lua_pushstring(L, view_decoded(o->r->view, (size_t)i));
	}
	return 1;
}

static int
m_header(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	const char *name = luaL_checkstring(L, 2);
	lua_Integer n = luaL_optinteger(L, 3, 1);

	return push_decoded(L, &o, find(header_of(L, &o, "header"), name, n));
}

/* The octets after the colon, with their folds. */
static int
m_header_raw(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	const char *name = luaL_checkstring(L, 2);
	lua_Integer n = luaL_optinteger(L, 3, 1);
	const struct header *h = header_of(L, &o, "header_raw");
	ssize_t i = find(h, name, n);

	if (i < 0)
		lua_pushnil(L);
	else
		lua_pushlstring(L, h->fields[i].value.p, h->fields[i].value.n);
	return 1;
}

static int
m_headers(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	const char *name = luaL_checkstring(L, 2);
	const struct header *h = header_of(L, &o, "headers");
	lua_Integer k = 0;

	lua_newtable(L);
	for (size_t i = 0; i < h->n; i++) {
		if (!slice_is_nocase(h->fields[i].name, name))
			continue;
		push_decoded(L, &o, (ssize_t)i);
		lua_rawseti(L, -2, ++k);
	}
	return 1;
}

/* Upvalues: handle, next index. The header may change between two steps; it never runs past it. */
static int
next_header(lua_State *L)
{
	struct obj o;
	size_t i = (size_t)lua_tointeger(L, lua_upvalueindex(2));
	const struct header *h;

	lua_settop(L, 0);
	lua_pushvalue(L, lua_upvalueindex(1));
	o = obj_check(L, OBJ_MESSAGE);
	h = header_of(L, &o, "each_header");
	if (i >= h->n) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushinteger(L, (lua_Integer)i + 1);
	lua_replace(L, lua_upvalueindex(2));
	lua_pushlstring(L, h->fields[i].name.p, h->fields[i].name.n);
	push_decoded(L, &o, (ssize_t)i);
	return 2;
}

/* for name, value in message:each_header() */
static int
m_each_header(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);

	header_of(L, &o, "each_header");
	lua_pushvalue(L, 1);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, next_header, 2);
	return 1;
}

static int
m_has_header(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	const char *name = luaL_checkstring(L, 2);

	lua_pushboolean(L, find(header_of(L, &o, "has_header"), name, 1) >= 0);
	return 1;
}

/* The first address in a From-like field, normalised; nil when there is none that can be read. */
static int
m_header_address(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	const char *name = luaL_checkstring(L, 2);
	const struct header *h = header_of(L, &o, "header_address");
	ssize_t i = find(h, name, 1);
	char *found = i < 0 ? NULL : header_address(h->fields[i].value);
	struct smtp_path path;
	char text[sizeof path.local + sizeof path.domain + 2];
	bool ok = found != NULL && smtp_address_parse(&path, slice_of(found), true, NULL) && !path.is_null;

	free(found);
	if (!ok) {
		lua_pushnil(L);
		return 1;
	}
	snprintf(text, sizeof text, "%s%s%s", path.local, path.domain[0] == '\0' ? "" : "@", path.domain);
	obj_push_address(L, text);
	return 1;
}

static int
m_subject(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);

	return push_decoded(L, &o, find(header_of(L, &o, "subject"), "Subject", 1));
}

/* ---- Recipients, content, tags ---- */

static int
next_rcpt(lua_State *L)
{
	struct obj o;
	lua_Integer i = lua_tointeger(L, lua_upvalueindex(2));

	lua_settop(L, 0);
	lua_pushvalue(L, lua_upvalueindex(1));
	o = obj_check(L, OBJ_MESSAGE);
	while ((size_t)i < o.s->msg->nrcpts && i < 65536 && o.s->msg->rcpts[i].discarded)
		i++;
	lua_pushinteger(L, i + 1);
	lua_replace(L, lua_upvalueindex(2));
	if ((size_t)i >= o.s->msg->nrcpts || i >= 65536)
		lua_pushnil(L);
	else
		policy_push_object(L, OBJ_RCPT, (unsigned)i);
	return 1;
}

static int
m_each_recipient(lua_State *L)
{
	obj_check(L, OBJ_MESSAGE);
	lua_pushvalue(L, 1);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, next_rcpt, 2);
	return 1;
}

const struct content *
obj_content_of(lua_State *L, const struct obj *o, const char *what)
{
	const struct content *c = o->s->content != NULL ? o->s->content : o->s->msg->content;

	if (c == NULL)
		luaL_error(L, "message:%s: the content is not there at hook %s", what,
		    policy_hook_name(o->r->hook));
	return c;
}

#define PREVIEW_MAX (256u * 1024)

/* body_preview(n) -> up to n octets of the body, as far as it is in memory. */
static int
m_body_preview(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	lua_Integer n = luaL_checkinteger(L, 2);
	struct slice s;

	luaL_argcheck(L, n >= 0 && n <= (lua_Integer)PREVIEW_MAX, 2, "0 to 262144 octets");
	s = content_body_peek(obj_content_of(L, &o, "body_preview"), (size_t)n);
	policy_body_read(o.r, (size_t)n);
	if (o.r->killed != KILL_NONE)
		return policy_kill(L, o.r->killed);
	policy_charge_lua(L, s.n);
	lua_pushlstring(L, s.p, s.n);
	return 1;
}

/* hash("sha256") -> lower-case hex over header and body as received; nil and why when it is not in
 * memory. */
static int
m_hash(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	const char *name = luaL_optstring(L, 2, "sha256");
	const struct content *c;
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	char hex[2 * EVP_MAX_MD_SIZE + 1];

	if (strcmp(name, "sha256") != 0)
		return luaL_error(L, "message:hash: \"sha256\" is the only one");
	c = obj_content_of(L, &o, "hash");
	if (c->mem == NULL && policy_replay_digest(o.r) != NULL) {
		lua_pushstring(L, policy_replay_digest(o.r));
		return 1;
	}
	if (c->mem == NULL) {
		lua_pushnil(L);
		lua_pushliteral(L, "the content is not in memory");
		return 2;
	}
	policy_charge_lua(L, c->size);
	if (EVP_Digest(c->mem, (size_t)c->size, digest, &n, EVP_sha256(), NULL) != 1)
		return luaL_error(L, "message:hash: the digest failed");
	hex_encode(hex, digest, n);
	lua_pushstring(L, hex);
	return 1;
}

static int
m_has_tag(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);

	lua_pushboolean(L, msg_has_tag(o.s->msg, luaL_checkstring(L, 2)));
	return 1;
}

/* parts() -> a list of tables: type, charset, filename, disposition, level, size, text(). */
static int
m_parts(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	const struct content *c = obj_content_of(L, &o, "parts");

	struct slice body = content_body_peek(c, PREVIEW_MAX);

	return obj_push_parts(L, content_header_peek(c), body, c->header_size + body.n == c->size);
}

static void
message_tostring(lua_State *L, const struct obj *o)
{
	char id[ID_TEXT];

	id_format(id, o->s->msg->id);
	lua_pushfstring(L, "message %s", id);
}

const struct obj_class obj_message = {
	.what = "message",
	.fields = (const struct obj_field[]){
		{ "id", get_id, NULL, NULL },
		{ "session", get_session, NULL, NULL },
		{ "from", get_from, NULL, NULL },
		{ "recipients", get_recipients, NULL, NULL },
		{ "size", get_size, NULL, NULL },
		{ "received_at", get_received_at, NULL, NULL },
		{ "direction", get_direction, NULL, NULL },
		{ "params", get_params, NULL, NULL },
		{ "smtputf8", get_smtputf8, NULL, NULL },
		{ "requiretls", get_requiretls, NULL, NULL },
		{ "tls_required_no", get_tls_required_no, NULL, NULL },
		{ "duties", get_duties, NULL, NULL },
		{ "tags", get_tags, NULL, NULL },
		{ "vars", get_vars, NULL, NULL },
		{ "auth_results", get_auth_results, NULL, NULL },
		{ "body_mode", get_body_mode, set_body_mode, NULL },
		{ "each_recipient", NULL, NULL, m_each_recipient },
		{ "header", NULL, NULL, m_header },
		{ "header_raw", NULL, NULL, m_header_raw },
		{ "headers", NULL, NULL, m_headers },
		{ "each_header", NULL, NULL, m_each_header },
		{ "has_header", NULL, NULL, m_has_header },
		{ "header_address", NULL, NULL, m_header_address },
		{ "subject", NULL, NULL, m_subject },
		{ "body_preview", NULL, NULL, m_body_preview },
		{ "body_chunks", NULL, NULL, message_body_chunks },
		{ "parts", NULL, NULL, m_parts },
		{ "hash", NULL, NULL, m_hash },
		{ "dkim_sign", NULL, NULL, message_dkim_sign },
		{ "has_tag", NULL, NULL, m_has_tag },
		{ "add_header", NULL, NULL, message_add_header },
		{ "set_header", NULL, NULL, message_set_header },
		{ "remove_header", NULL, NULL, message_remove_header },
		{ "tag", NULL, NULL, message_tag },
		{ "set_from", NULL, NULL, message_set_from },
		{ "add_recipient", NULL, NULL, message_add_recipient },
		{ "remove_recipient", NULL, NULL, message_remove_recipient },
		{ "require_tls", NULL, NULL, message_require_tls },
		{ "ignore_tls_required_no", NULL, NULL, message_ignore_tls_required_no },
		{ "note", NULL, NULL, obj_note },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = message_tostring,
};

/* ---- message.params: what stood on MAIL ---- */

static void
params_body(lua_State *L, const struct obj *o)
{
	lua_pushstring(L, o->s->msg->body_type == BODY_8BITMIME ? "8BITMIME" : "7BIT");
}

static void
params_ret(lua_State *L, const struct obj *o)
{
	obj_push_string(L, o->s->msg->ret == RET_FULL ? "full" : o->s->msg->ret == RET_HDRS ? "headers" : NULL);
}

static void
params_envid(lua_State *L, const struct obj *o)
{
	obj_push_string(L, o->s->msg->envid);
}

static void
params_auth(lua_State *L, const struct obj *o)
{
	obj_push_string(L, o->s->msg->auth_param);
}

const struct obj_class obj_params = {
	.what = "message.params",
	.fields = (const struct obj_field[]){
		{ "body", params_body, NULL, NULL },
		{ "ret", params_ret, NULL, NULL },
		{ "envid", params_envid, NULL, NULL },
		{ "auth", params_auth, NULL, NULL },
		{ "smtputf8", get_smtputf8, NULL, NULL },
		{ "requiretls", get_requiretls, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
};
