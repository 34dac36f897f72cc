/* message: what is changed, while it is received. Every value passes the checks that the wire's
 * octets pass; duties are only ever joined (I3). */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "policy/matcher.h"
#include "policy/obj_message.h"

#define EDITS_MAX 200u
#define VALUE_MAX 8000u		/* octets of one field */
#define RCPTS_MAX 10000u

/* ---- Header ---- */

/* UTF-8 without control characters: no CR, LF, NUL gets into a header. */
static bool
is_text(const char *p, size_t n)
{
	if (!utf8_is_valid(p, n))
		return false;
	for (size_t i = 0; i < n; i++)
		if (((unsigned char)p[i] < ' ' && p[i] != '\t') || p[i] == 0x7F)
			return false;
	return true;
}

const char *
obj_edit_problem(enum edit_op op, struct slice name, const char *value, size_t n)
{
	static const char *const trace[] = { "Received", "Return-Path", NULL };

	if (!policy_header_name_is_valid(name))
		return "a header name is 1 to 76 printable ASCII characters without space and colon";
	/* RFC 5321 4.4: a relay must not change or delete them; loop detection counts on it. */
	for (size_t i = 0; trace[i] != NULL; i++)
		if (slice_is_nocase(name, trace[i]))
			return "trace fields are not a policy's to edit";
	if (op == EDIT_REMOVE)
		return NULL;
	/* What others owe this message would shrink (I3); both names that are recognised (D5). */
	if (slice_is_nocase(name, "TLS-Required") || slice_is_nocase(name, "Require-TLS"))
		return "it can be removed, not written: a policy never lowers protection";
	if (n > VALUE_MAX)
		return "a value has at most 8000 octets";
	if (!is_text(value, n))
		return "a value is UTF-8 text without line breaks and control characters";
	return NULL;
}

bool
obj_edit_header(struct policy_run *r, enum edit_op op, const char *name, const char *value)
{
	struct msg *m = r->s->msg;
	char what[128];

	if (m == NULL || !r->s->may_edit) {
		err_set(&r->gen->err, "header %s cannot be changed at hook %s", name, policy_hook_name(r->hook));
		return false;
	}
	snprintf(what, sizeof what, "%s header %s", op == EDIT_REMOVE ? "remove" : op == EDIT_SET ? "set" :
	    "add", name);
	switch (policy_change_ask(r, what)) {
	case CHANGE_REFUSED:
		return false;
	case CHANGE_SKIP:
		return true;
	case CHANGE_DO:
		break;
	}
	if (m->nedits >= EDITS_MAX) {
		err_set(&r->gen->err, "header %s: a message may have %u header edits", name, EDITS_MAX);
		return false;
	}
	msg_add_edit(m, op, name, op == EDIT_REMOVE ? NULL : value);
	return true;
}

static int
edit_method(lua_State *L, enum edit_op op, const char *api)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	size_t nname, n = 0;
	const char *name = luaL_checklstring(L, 2, &nname), *value = NULL, *problem;

	if (op != EDIT_REMOVE)
		value = luaL_checklstring(L, 3, &n);
	problem = obj_edit_problem(op, (struct slice){ name, nname }, value, n);
	if (problem != NULL) {
		char shown[80];

		text_escape(shown, sizeof shown, name, nname, false);
		return luaL_error(L, "%s %s: %s", api, shown, problem);
	}
	obj_check_edit(L, &o, api);
	if (!obj_edit_header(o.r, op, name, value))
		return luaL_error(L, "%s: %s", api, o.r->gen->err.text);
	return 0;
}

/* add_header(name, value[, "top" | "end"]) */
int
message_add_header(lua_State *L)
{
	static const char *const where[] = { "top", "end", NULL };
	int at = luaL_checkoption(L, 4, "top", where);

	return edit_method(L, at == 0 ? EDIT_ADD_TOP : EDIT_ADD_END, "message:add_header");
}

int
message_set_header(lua_State *L)
{
	return edit_method(L, EDIT_SET, "message:set_header");
}

int
message_remove_header(lua_State *L)
{
	return edit_method(L, EDIT_REMOVE, "message:remove_header");
}

/* dkim_sign { key = "acme" }: with a key of the configuration, when the message leaves, so that what later
 * handlers change is signed, too. */
int
message_dkim_sign(lua_State *L)
{
	static const char api[] = "message:dkim_sign", *const fields[] = { "key", NULL };
	struct obj o = obj_check(L, OBJ_MESSAGE);
	const struct conf *c = o.r->gen->conf;
	const char *key, *near, *names[101] = { NULL };
	struct msg *m;
	unsigned n = 0;

	luaL_checktype(L, 2, LUA_TTABLE);
	policy_opts_check(L, 2, api, fields);
	key = policy_opt_string(L, 2, api, "key", true, 64);
	if (conf_dkim(c, key) == NULL) {
		for (size_t i = 0; i < c->ndkim && i + 1 < NELEMS(names); i++)
			names[i] = c->dkim[i].name;
		near = policy_nearest(key, names);
		return luaL_error(L, "%s: the configuration has no dkim.%s%s%s%s", api, key,
		    near == NULL ? "" : " (did you mean '", near == NULL ? "" : near, near == NULL ? "" : "'?)");
	}
	m = obj_check_edit(L, &o, api);
	for (size_t i = 0; i < m->nedits; i++) {
		if (m->edits[i].op != EDIT_SIGN)
			continue;
		if (strcmp(m->edits[i].value, key) == 0)
			return 0;
		n++;
	}
	if (n >= MSG_SIGNATURES_MAX)
		return luaL_error(L, "%s: at most %d signatures", api, (int)MSG_SIGNATURES_MAX);
	if (m->nedits >= EDITS_MAX)
		return luaL_error(L, "%s: a message may have %d header edits", api, (int)EDITS_MAX);
	if (policy_change_check(L, "sign with dkim"))
		msg_add_edit(m, EDIT_SIGN, "DKIM-Signature", key);
	return 0;
}

/* ---- Tags ---- */

bool
obj_edit_tag(struct policy_run *r, const char *tag)
{
	struct msg *m = r->s->msg;
	char what[TAG_BYTES + 8];

	if (m == NULL || !r->s->may_edit) {
		err_set(&r->gen->err, "tag %s cannot be set at hook %s", tag, policy_hook_name(r->hook));
		return false;
	}
	snprintf(what, sizeof what, "tag %s", tag);
	switch (policy_change_ask(r, what)) {
	case CHANGE_REFUSED:
		return false;
	case CHANGE_SKIP:
		return true;
	case CHANGE_DO:
		break;
	}
	if (m->ntags >= TAGS_MAX && !msg_has_tag(m, tag)) {
		err_set(&r->gen->err, "tag %s: there are %d tags already", tag, TAGS_MAX);
		return false;
	}
	msg_add_tag(m, tag);
	return true;
}

int
message_tag(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	const char *tag = obj_check_token(L, 2, "message:tag", "tag");

	obj_check_edit(L, &o, "message:tag");
	if (!obj_edit_tag(o.r, tag))
		return luaL_error(L, "message:tag: %s", o.r->gen->err.text);
	return 0;
}

/* ---- Envelope ---- */

/* set_from(address): the duties stay with the message (policy design 5.12). */
int
message_set_from(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	const char *text = obj_check_address(L, 2, "message:set_from", true), *at;
	struct msg *m = obj_check_edit(L, &o, "message:set_from");

	if (!policy_change_check(L, "set sender"))
		return 0;
	at = strrchr(text, '@');
	free(m->from);
	free(m->from_domain);
	m->from = xstrdup(text);
	m->from_domain = xstrdup(at == NULL ? "" : at + 1);
	return 0;
}

/* add_recipient(address) -> rcpt. It owes what the message owes; routing comes after the hook. */
int
message_add_recipient(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	const char *text = obj_check_address(L, 2, "message:add_recipient", false), *at;
	struct msg *m = obj_check_edit(L, &o, "message:add_recipient");
	struct msg_rcpt *r;

	if (o.r->hook == HOOK_MAIL || o.r->hook == HOOK_RCPT)
		return luaL_error(L, "message:add_recipient: not before hook data; the client is still "
		    "naming recipients");
	if (!policy_change_check(L, "add recipient"))
		return 0;
	for (size_t i = 0; i < m->nrcpts && i < 65536; i++) {
		if (!m->rcpts[i].discarded && strcmp(m->rcpts[i].address, text) == 0) {
			policy_push_object(L, OBJ_RCPT, (unsigned)i);
			return 1;
		}
	}
	if (m->nrcpts >= RCPTS_MAX)
		return luaL_error(L, "message:add_recipient: a message may have %d recipients",
		    (int)RCPTS_MAX);
	at = strrchr(text, '@');
	r = msg_add_rcpt(m);
	r->address = xstrdup(text);
	r->domain = xstrdup(at == NULL ? "" : at + 1);
	policy_push_object(L, OBJ_RCPT, (unsigned)(m->nrcpts - 1));
	return 1;
}

/* remove_recipient(rcpt): accepted already, so it leaves by a recorded decision (I1, I4). */
int
message_remove_recipient(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	struct obj who = o;
	struct msg *m;

	policy_handle_check(L, 2, OBJ_RCPT, "rcpt", &who.index);
	m = obj_check_edit(L, &o, "message:remove_recipient");
	obj_rcpt_of(L, &who);
	if (o.r->hook == HOOK_MAIL || o.r->hook == HOOK_RCPT)
		return luaL_error(L, "message:remove_recipient: not before hook data; at rcpt, reject or "
		    "discard instead");
	if (!policy_change_check(L, "remove recipient"))
		return 0;
	if (!m->rcpts[who.index].discarded) {
		m->rcpts[who.index].discarded = true;
		if (o.r->view != NULL)
			o.r->view->nth = 0;	/* those behind it have moved up */
		free(m->rcpts[who.index].discard_reason);
		m->rcpts[who.index].discard_reason = xasprintf("removed by %s", o.r->h->name);
	}
	return 0;
}

/* ---- TLS ---- */

/* require_tls { level =, reason =, recipients = { rcpt, ... }, waivable = } */
int
message_require_tls(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	struct obj who = o;
	struct msg *m;
	lua_Integer n;

	lua_settop(L, 2);
	if (o.s->hop != NULL)
		return luaL_error(L, "message:require_tls: at hook %s a hop is asked for more, with "
		    "hop:require_tls", policy_hook_name(o.r->hook));
	m = obj_check_edit(L, &o, "message:require_tls");
	if (lua_getfield(L, 2, "recipients") == LUA_TNIL) {
		obj_do_require_tls(L, 2, "message:require_tls", o.r, &m->duties, m);
		return 0;
	}
	n = luaL_len(L, -1);
	for (int pass = 0; pass < 2; pass++) {		/* all are checked before the first is changed */
		for (lua_Integer i = 1; i <= n; i++) {
			lua_geti(L, 3, i);
			policy_handle_check(L, -1, OBJ_RCPT, "rcpt", &who.index);
			lua_pop(L, 1);
			obj_rcpt_of(L, &who);
			if (pass == 1)
				obj_do_require_tls(L, 2, "message:require_tls", o.r,
				    &m->rcpts[who.index].duties, m);
		}
	}
	return 0;
}

bool
obj_edit_ignore_no(struct policy_run *r, const char *reason)
{
	struct msg *m = r->s->msg;

	if (m == NULL || !r->s->may_edit) {
		err_set(&r->gen->err, "TLS-Required: No cannot be ignored at hook %s", policy_hook_name(r->hook));
		return false;
	}
	if (m->tls_no != TLS_NO_HONOURED)
		return true;
	switch (policy_change_ask(r, "ignore TLS-Required: No")) {
	case CHANGE_REFUSED:
		return false;
	case CHANGE_SKIP:
		return true;
	case CHANGE_DO:
		break;
	}
	m->tls_no = TLS_NO_IGNORED;
	policy_note(r, LOG_LEVEL_INFO, "TLS-Required: No ignored by policy", reason, strlen(reason));
	return true;
}

/* ignore_tls_required_no { reason = }: raises protection, so it needs no grant. */
int
message_ignore_tls_required_no(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_MESSAGE);
	const char *reason;

	reason = policy_opt_string(L, 2, "message:ignore_tls_required_no", "reason", true, 200);
	obj_check_edit(L, &o, "message:ignore_tls_required_no");
	if (!obj_edit_ignore_no(o.r, reason))
		return luaL_error(L, "message:ignore_tls_required_no: %s", o.r->gen->err.text);
	return 0;
}
