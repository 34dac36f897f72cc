/* session: who is connected, and how. Everything but vars is read-only. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "policy/objects.h"

static const struct smtp_session_info *
info(const struct obj *o)
{
	return o->s->session->info;
}

/* ---- session ---- */

static void
get_id(lua_State *L, const struct obj *o)
{
	char id[ID_TEXT];

	id_format(id, info(o)->id);
	lua_pushstring(L, id);
}

static void
get_listener(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_SESSION_LISTENER, 0);
}

static void
get_peer(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_SESSION_PEER, 0);
}

static void
get_local_addr(lua_State *L, const struct obj *o)
{
	char ip[NET_ADDR_TEXT];

	if (info(o)->local == NULL) {
		lua_pushnil(L);
		return;
	}
	net_addr_ip(info(o)->local, ip);
	lua_pushfstring(L, strchr(ip, ':') != NULL ? "[%s]:%d" : "%s:%d", ip,
	    (int)net_addr_port(info(o)->local));
}

static void
get_proto(lua_State *L, const struct obj *o)
{
	lua_pushstring(L, info(o)->esmtp ? "ESMTP" : "SMTP");
}

static void
get_helo(lua_State *L, const struct obj *o)
{
	obj_push_string(L, info(o)->helo);
}

static void
get_tls(lua_State *L, const struct obj *o)
{
	if (info(o)->tls == NULL)
		lua_pushnil(L);
	else
		policy_push_object(L, OBJ_SESSION_TLS, 0);
}

static void
get_auth(lua_State *L, const struct obj *o)
{
	if (info(o)->auth_id == NULL)
		lua_pushnil(L);
	else
		policy_push_object(L, OBJ_SESSION_AUTH, 0);
}

static void
get_started(lua_State *L, const struct obj *o)
{
	obj_push_time(L, info(o)->started_ms);
}

static void
get_counts(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_SESSION_COUNTS, 0);
}

static void
get_vars(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_SESSION_VARS, 0);
}

static void
session_tostring(lua_State *L, const struct obj *o)
{
	char id[ID_TEXT];

	id_format(id, info(o)->id);
	lua_pushfstring(L, "session %s", id);
}

const struct obj_class obj_session = {
	.what = "session",
	.fields = (const struct obj_field[]){
		{ "id", get_id, NULL, NULL },
		{ "listener", get_listener, NULL, NULL },
		{ "peer", get_peer, NULL, NULL },
		{ "local_addr", get_local_addr, NULL, NULL },
		{ "proto", get_proto, NULL, NULL },
		{ "helo", get_helo, NULL, NULL },
		{ "tls", get_tls, NULL, NULL },
		{ "auth", get_auth, NULL, NULL },
		{ "started", get_started, NULL, NULL },
		{ "counts", get_counts, NULL, NULL },
		{ "vars", get_vars, NULL, NULL },
		{ "note", NULL, NULL, obj_note },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = session_tostring,
};

/* ---- session.listener ---- */

static const struct conf_listener *
listener(const struct obj *o)
{
	return o->s->session->listener;
}

static void
listener_name(lua_State *L, const struct obj *o)
{
	obj_push_string(L, listener(o) == NULL ? NULL : listener(o)->name);
}

static void
listener_role(lua_State *L, const struct obj *o)
{
	static const char *const roles[] = { "mx", "relay", "reinject" };

	obj_push_string(L, listener(o) == NULL ? NULL : roles[listener(o)->role]);
}

/* Who may use it: anybody, the clients that the configuration lists, or our own filter. */
static void
listener_trust(lua_State *L, const struct obj *o)
{
	static const char *const trust[] = { "none", "clients", "internal" };

	obj_push_string(L, listener(o) == NULL ? NULL : trust[listener(o)->role]);
}

const struct obj_class obj_listener = {
	.what = "session.listener",
	.fields = (const struct obj_field[]){
		{ "name", listener_name, NULL, NULL },
		{ "role", listener_role, NULL, NULL },
		{ "trust", listener_trust, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = listener_name,
};

/* ---- session.peer ---- */

static void
peer_ip(lua_State *L, const struct obj *o)
{
	lua_pushstring(L, info(o)->peer_ip);
}

static void
peer_port(lua_State *L, const struct obj *o)
{
	lua_pushinteger(L, info(o)->peer == NULL ? 0 : net_addr_port(info(o)->peer));
}

static void
peer_name(lua_State *L, const struct obj *o)
{
	obj_push_string(L, o->s->session->peer_name);
}

/* A name is only there when it also leads back to the address. */
static void
peer_name_verified(lua_State *L, const struct obj *o)
{
	lua_pushboolean(L, o->s->session->peer_name != NULL);
}

const struct obj_class obj_peer = {
	.what = "session.peer",
	.fields = (const struct obj_field[]){
		{ "ip", peer_ip, NULL, NULL },
		{ "port", peer_port, NULL, NULL },
		{ "name", peer_name, NULL, NULL },
		{ "name_verified", peer_name_verified, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = peer_ip,
};

/* ---- session.counts ---- */

static void
counts_messages(lua_State *L, const struct obj *o)
{
	lua_pushinteger(L, info(o)->messages);
}

static void
counts_recipients(lua_State *L, const struct obj *o)
{
	lua_pushinteger(L, info(o)->recipients);
}

static void
counts_errors(lua_State *L, const struct obj *o)
{
	lua_pushinteger(L, info(o)->errors);
}

const struct obj_class obj_counts = {
	.what = "session.counts",
	.fields = (const struct obj_field[]){
		{ "messages", counts_messages, NULL, NULL },
		{ "recipients", counts_recipients, NULL, NULL },
		{ "errors", counts_errors, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
};

/* ---- session.auth ---- */

static void
auth_id(lua_State *L, const struct obj *o)
{
	obj_push_string(L, info(o)->auth_id);
}

static void
auth_mech(lua_State *L, const struct obj *o)
{
	obj_push_string(L, info(o)->auth_mech);
}

/* What the hook auth said of them; a copy that cannot be changed. */
static void
auth_attrs(lua_State *L, const struct obj *o)
{
	const char *json = o->s->session->auth_attrs;

	if (json == NULL)
		lua_newtable(L);
	else
		policy_json_decode(L, json, strlen(json));
	policy_freeze(L, -1);
}

const struct obj_class obj_session_auth = {
	.what = "session.auth",
	.fields = (const struct obj_field[]){
		{ "id", auth_id, NULL, NULL },
		{ "mech", auth_mech, NULL, NULL },
		{ "attrs", auth_attrs, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = auth_id,
};

/* ---- cred: what a client says who it is ---- */

static void
push_given(lua_State *L, const char *s)
{
	obj_push_string(L, s != NULL && s[0] != '\0' ? s : NULL);
}

static void
cred_mech(lua_State *L, const struct obj *o)
{
	lua_pushstring(L, o->s->cred->mech);
}

static void
cred_id(lua_State *L, const struct obj *o)
{
	push_given(L, o->s->cred->authcid);
}

static void
cred_authzid(lua_State *L, const struct obj *o)
{
	push_given(L, o->s->cred->authzid);
}

static void
cred_password(lua_State *L, const struct obj *o)
{
	push_given(L, o->s->cred->password);
}

/* No tostring: nothing of it should come into a log by accident. */
const struct obj_class obj_cred = {
	.what = "cred",
	.fields = (const struct obj_field[]){
		{ "mech", cred_mech, NULL, NULL },
		{ "id", cred_id, NULL, NULL },
		{ "authzid", cred_authzid, NULL, NULL },
		{ "password", cred_password, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
};

/* ---- session.tls ---- */

static void
tls_version(lua_State *L, const struct obj *o)
{
	obj_push_string(L, info(o)->tls == NULL ? NULL : info(o)->tls->version);
}

static void
tls_cipher(lua_State *L, const struct obj *o)
{
	obj_push_string(L, info(o)->tls == NULL ? NULL : info(o)->tls->cipher);
}

static void
tls_sni(lua_State *L, const struct obj *o)
{
	obj_push_string(L, info(o)->tls == NULL ? NULL : info(o)->tls->sni);
}

static void
tls_client_cert(lua_State *L, const struct obj *o)
{
	if (info(o)->tls == NULL || info(o)->tls->cert_sha256 == NULL)
		lua_pushnil(L);
	else
		policy_push_object(L, OBJ_SESSION_CLIENT, 0);
}

const struct obj_class obj_session_tls = {
	.what = "session.tls",
	.fields = (const struct obj_field[]){
		{ "version", tls_version, NULL, NULL },
		{ "cipher", tls_cipher, NULL, NULL },
		{ "sni", tls_sni, NULL, NULL },
		{ "client", tls_client_cert, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = tls_version,
};

/* ---- session.tls.client: the certificate that the client showed ---- */

static void
cert_subject(lua_State *L, const struct obj *o)
{
	obj_push_string(L, info(o)->tls == NULL ? NULL : info(o)->tls->subject);
}

static void
cert_issuer(lua_State *L, const struct obj *o)
{
	obj_push_string(L, info(o)->tls == NULL ? NULL : info(o)->tls->issuer);
}

static void
cert_names(lua_State *L, const struct obj *o)
{
	struct slice rest = slice_of(info(o)->tls == NULL ? NULL : info(o)->tls->names), part;

	lua_newtable(L);
	while (rest.n > 0 && slice_cut(&rest, ',', &part)) {
		part = slice_trim(part);
		lua_pushlstring(L, part.p, part.n);
		lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
	}
}

static void
cert_fingerprint(lua_State *L, const struct obj *o)
{
	obj_push_string(L, info(o)->tls == NULL ? NULL : info(o)->tls->cert_sha256);
}

/* By a trust anchor; whose certificate it is, the policy says. */
static void
cert_verified(lua_State *L, const struct obj *o)
{
	lua_pushboolean(L, info(o)->tls != NULL && info(o)->tls->chain_ok);
}

const struct obj_class obj_client_cert = {
	.what = "session.tls.client",
	.fields = (const struct obj_field[]){
		{ "subject", cert_subject, NULL, NULL },
		{ "issuer", cert_issuer, NULL, NULL },
		{ "names", cert_names, NULL, NULL },
		{ "fingerprint", cert_fingerprint, NULL, NULL },
		{ "verified", cert_verified, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = cert_subject,
};
