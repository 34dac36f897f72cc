/* bounce, and report at hook dsn: the words of a notice, to be edited before it is built. What the
 * rules on REQUIRETLS ask of a notice is clamped here and again where it is built. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "policy/matcher.h"
#include "policy/obj_message.h"

#define TEXT_MAX (64u * 1024)
#define LINE_MAX_OCTETS 998u
#define HEADERS_MAX 20u
#define PATTERNS_MAX 32u

static struct dsn_words *
words(const struct obj *o)
{
	return o->s->bounce->words;
}

bool
obj_bounce_is_tagged(const struct obj *o)
{
	return o->s->bounce->tagged || (o->s->msg->flags & MSG_REQUIRETLS) != 0;
}

/* ---- What is only read ---- */

static void
get_message(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_MESSAGE, 0);
}

static void
push_action(lua_State *L, enum dsn_action a)
{
	static const char *const names[] = { "failed", "delayed", "delivered", "relayed" };

	lua_pushstring(L, names[a]);
}

static void
get_kind(lua_State *L, const struct obj *o)
{
	push_action(L, o->s->bounce->kind);
}

static void
get_to(lua_State *L, const struct obj *o)
{
	obj_push_address(L, o->s->msg->from);
}

static void
get_sender(lua_State *L, const struct obj *o)
{
	obj_push_address(L, "");	/* RFC 5321 4.5.5: always */
}

static void
get_requiretls(lua_State *L, const struct obj *o)
{
	lua_pushboolean(L, obj_bounce_is_tagged(o));
}

static void
get_tls_required_no(lua_State *L, const struct obj *o)
{
	lua_pushstring(L, obj_tls_no_name(o->s->msg->tls_no));
}

static void
get_recipients(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_MORE, 0);
}

static void
get_original_return(lua_State *L, const struct obj *o)
{
	lua_pushstring(L, o->s->msg->ret == RET_FULL ? "full" : "headers");
}

/* ---- Words ---- */

/* The value at 3, checked, as heap text; nil gives NULL. Nothing is changed yet. */
static char *
take_text(lua_State *L, const char *field, size_t max, bool lines)
{
	char api[64];
	size_t n;
	const char *p;

	if (lua_isnil(L, 3))
		return NULL;
	snprintf(api, sizeof api, "bounce.%s", field);
	if (lua_type(L, 3) != LUA_TSTRING)
		luaL_error(L, "%s: a string is needed, not a %s", api, luaL_typename(L, 3));
	p = lua_tolstring(L, 3, &n);
	if (!lines) {
		policy_text_check(L, api, field, p, n, max);
		return xstrndup(p, n);
	}
	if (n > max)
		luaL_error(L, "%s: more than %d octets", api, (int)max);
	if (!utf8_is_valid(p, n))
		luaL_error(L, "%s: not valid UTF-8", api);
	for (size_t i = 0; i < n; i++)
		if (((unsigned char)p[i] < ' ' && p[i] != '\n' && p[i] != '\t' &&
		    !(p[i] == '\r' && p[i + 1] == '\n')) || p[i] == 0x7F)
			luaL_error(L, "%s: a control character (octet %d)", api, (unsigned char)p[i]);
	return xstrndup(p, n);
}

/* Puts `text` (heap) where `slot` is, unless the handler is only advisory. */
static void
put(lua_State *L, char **slot, char *text, const char *field)
{
	struct policy_run *r = policy_run_of(L);
	enum policy_change c;
	char what[64];

	snprintf(what, sizeof what, "bounce.%s", field);
	c = policy_change_ask(r, what);
	if (c == CHANGE_DO) {
		free(*slot);
		*slot = text;
		return;
	}
	free(text);
	if (c == CHANGE_REFUSED)
		luaL_error(L, "%s", r->gen->err.text);
}

#define TEXT_FIELD(name, member, max, lines) \
	static void get_##name(lua_State *L, const struct obj *o) \
	{ \
		obj_push_string(L, words(o)->member); \
	} \
	static void set_##name(lua_State *L, const struct obj *o) \
	{ \
		put(L, &words(o)->member, take_text(L, #name, max, lines), #name); \
	}
TEXT_FIELD(subject, subject, LINE_MAX_OCTETS - 10, false)
TEXT_FIELD(text, text, TEXT_MAX, true)
TEXT_FIELD(html, html, TEXT_MAX, true)
TEXT_FIELD(footer, footer, TEXT_MAX, true)

static void
get_from_header(lua_State *L, const struct obj *o)
{
	obj_push_string(L, words(o)->from_header);
}

/* "Mail Delivery <postmaster@acme.example>": somebody must be able to answer. */
static void
set_from_header(lua_State *L, const struct obj *o)
{
	char *address;
	bool ok;

	if (!lua_isnil(L, 3)) {
		policy_text_check(L, "bounce.from_header", "from_header", luaL_checkstring(L, 3),
		    lua_rawlen(L, 3), LINE_MAX_OCTETS - 10);
		address = header_address(slice_of(lua_tostring(L, 3)));
		ok = address != NULL && strchr(address, '@') != NULL;
		free(address);
		if (!ok)
			luaL_error(L, "bounce.from_header: there is no address in it");
	}
	put(L, &words(o)->from_header, take_text(L, "from_header", LINE_MAX_OCTETS - 10, false),
	    "from_header");
}

/* Names of files: letters, digits, - and _ only, so that no path gets into them. */
static void
check_file_word(lua_State *L, const char *field, size_t max)
{
	const char *p = lua_isnil(L, 3) ? "x" : luaL_checkstring(L, 3);
	size_t n = strlen(p);

	if (n == 0 || n > max || (!lua_isnil(L, 3) && n != lua_rawlen(L, 3)) ||
	    strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != n)
		luaL_error(L, "bounce.%s: 1 to %d letters, digits, - and _", field, (int)max);
}

static void
get_language(lua_State *L, const struct obj *o)
{
	obj_push_string(L, words(o)->language);
}

static void
set_language(lua_State *L, const struct obj *o)
{
	check_file_word(L, "language", 16);
	put(L, &words(o)->language, take_text(L, "language", 16, false), "language");
}

static void
get_template(lua_State *L, const struct obj *o)
{
	obj_push_string(L, words(o)->template_name);
}

static void
set_template(lua_State *L, const struct obj *o)
{
	check_file_word(L, "template", 64);
	put(L, &words(o)->template_name, take_text(L, "template", 64, false), "template");
}

static void
get_copy_to(lua_State *L, const struct obj *o)
{
	if (words(o)->copy_to == NULL)
		lua_pushnil(L);
	else
		obj_push_address(L, words(o)->copy_to);
}

static void
set_copy_to(lua_State *L, const struct obj *o)
{
	const char *text = lua_isnil(L, 3) ? NULL : obj_check_address(L, 3, "bounce.copy_to", false);

	put(L, &words(o)->copy_to, xstrdup(text), "copy_to");
}

/* ---- Choices ---- */

static const char *const returns[] = { "none", "full", "headers", NULL };

static void
get_return_content(lua_State *L, const struct obj *o)
{
	lua_pushstring(L, returns[words(o)->return_content]);
}

/* A REQUIRETLS message never comes back with its body, whatever RET or a policy says. */
static void
set_return_content(lua_State *L, const struct obj *o)
{
	enum msg_ret want = (enum msg_ret)luaL_checkoption(L, 3, NULL, returns);

	if (!policy_change_check(L, "bounce.return_content"))
		return;
	if (want == RET_FULL && obj_bounce_is_tagged(o)) {
		static const char why[] = "the message came with REQUIRETLS: headers are returned, not \"full\"";

		policy_note(o->r, LOG_LEVEL_WARN, "bounce.return_content clamped", why, sizeof why - 1);
		want = RET_HDRS;
	}
	words(o)->return_content = want;
}

static void
get_protect(lua_State *L, const struct obj *o)
{
	static const char *const names[] = { NULL, "requiretls", "redact" };

	obj_push_string(L, names[words(o)->protect]);
}

static void
set_protect(lua_State *L, const struct obj *o)
{
	static const char *const names[] = { "requiretls", "redact", NULL };
	int want = luaL_checkoption(L, 3, NULL, names);

	if (!obj_bounce_is_tagged(o))
		luaL_error(L, "bounce.protect is for messages with REQUIRETLS only; look at bounce.requiretls");
	if (policy_change_check(L, "bounce.protect"))
		words(o)->protect = want == 0 ? DSN_WITH_REQUIRETLS : DSN_REDACTED;
}

/* ---- Header fields of the notice ---- */

static void
get_headers(lua_State *L, const struct obj *o)
{
	lua_createtable(L, (int)words(o)->nheaders, 0);
	for (size_t i = 0; i < words(o)->nheaders; i++) {
		lua_pushstring(L, words(o)->headers[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

/* Fields that say what a notice is, or how it is protected, are not a policy's. */
static void
check_notice_field(lua_State *L, const char *p, size_t n)
{
	static const char *const kept[] = { "From", "To", "Subject", "Date", "Message-ID", "MIME-Version",
		"Content-Type", "Content-Transfer-Encoding", "Auto-Submitted", "Return-Path", "Received",
		NULL };
	const char *colon = memchr(p, ':', n);
	struct slice name = { p, colon == NULL ? 0 : (size_t)(colon - p) };
	const char *problem = colon == NULL ? "write \"Name: value\"" :
	    obj_edit_problem(EDIT_ADD_END, name, colon + 1, n - name.n - 1);

	for (size_t i = 0; problem == NULL && kept[i] != NULL; i++)
		if (slice_is_nocase(name, kept[i]))
			problem = "the gateway writes this field itself";
	if (problem == NULL && n > LINE_MAX_OCTETS)
		problem = "at most 998 octets";
	if (problem != NULL) {
		char shown[80];

		text_escape(shown, sizeof shown, p, n < 60 ? n : 60, false);
		luaL_error(L, "bounce.headers \"%s\": %s", shown, problem);
	}
}

static void
set_headers(lua_State *L, const struct obj *o)
{
	struct dsn_words *w = words(o);
	lua_Integer n;

	luaL_checktype(L, 3, LUA_TTABLE);
	n = luaL_len(L, 3);
	if (n > (lua_Integer)HEADERS_MAX)
		luaL_error(L, "bounce.headers: at most %d", (int)HEADERS_MAX);
	lua_createtable(L, (int)n, 0);		/* what was checked is what is copied */
	for (lua_Integer i = 1; i <= n; i++) {
		size_t len;
		const char *p;

		lua_geti(L, 3, i);
		p = luaL_checklstring(L, -1, &len);
		check_notice_field(L, p, len);
		lua_rawseti(L, 4, i);
	}
	if (!policy_change_check(L, "bounce.headers"))
		return;
	for (size_t i = 0; i < w->nheaders; i++)
		free(w->headers[i]);
	free(w->headers);
	w->headers = xcalloc((size_t)n + 1, sizeof *w->headers);
	w->nheaders = 0;
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, 4, i);
		w->headers[w->nheaders++] = xstrdup(lua_tostring(L, -1));
		lua_pop(L, 1);
	}
}

/* ---- Redaction ---- */

static const char *const redactions[] =
    { "diagnostic_text", "internal_hosts", "recipient_list", "received", "subject", NULL };

static bool *
redaction(struct dsn_words *w, size_t i)
{
	bool *const at[] = { &w->redact_diagnostic, &w->redact_hosts, &w->redact_rcpts,
		&w->redact_received, &w->redact_subject };

	return at[i];
}

const char *
obj_redact_member(const struct obj *o, size_t i)
{
	for (size_t k = 0; redactions[k] != NULL; k++)
		if (*redaction(words(o), k) && i-- == 0)
			return redactions[k];
	return NULL;
}

static void
get_redact(lua_State *L, const struct obj *o)
{
	policy_push_object(L, OBJ_BOUNCE_REDACT, 0);
}

/* bounce.redact = { "diagnostic_text", ... }: exactly these from now on. */
static void
set_redact(lua_State *L, const struct obj *o)
{
	bool want[NELEMS(redactions) - 1] = { false };
	lua_Integer n;

	luaL_checktype(L, 3, LUA_TTABLE);
	n = luaL_len(L, 3);
	for (lua_Integer i = 1; i <= n; i++) {
		const char *word;
		size_t k = 0;

		lua_geti(L, 3, i);
		word = luaL_checkstring(L, -1);
		while (redactions[k] != NULL && strcmp(redactions[k], word) != 0)
			k++;
		if (redactions[k] == NULL)
			policy_unknown_field(L, "bounce.redact", word, redactions);
		want[k] = true;
		lua_pop(L, 1);
	}
	if (!policy_change_check(L, "bounce.redact"))
		return;
	for (size_t k = 0; k < NELEMS(want); k++)
		*redaction(words(o), k) = want[k];
}

/* redact_host("*.corp.example"): such names are left out of the notice. */
static int
b_redact_host(lua_State *L)
{
	struct obj o = obj_check(L, OBJ_BOUNCE);
	struct dsn_words *w = words(&o);
	size_t n;
	const char *p = luaL_checklstring(L, 2, &n);
	size_t ok = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.*?[]:");

	if (n == 0 || n > 255 || ok != n)
		return luaL_error(L, "bounce:redact_host: a host name or address, with * and ?");
	if (w->nredact_host_patterns >= PATTERNS_MAX)
		return luaL_error(L, "bounce:redact_host: at most %d", (int)PATTERNS_MAX);
	if (!policy_change_check(L, "bounce:redact_host"))
		return 0;
	w->redact_host_patterns = xrealloc(w->redact_host_patterns,
	    (w->nredact_host_patterns + 1) * sizeof *w->redact_host_patterns);
	w->redact_host_patterns[w->nredact_host_patterns++] = xstrdup(p);
	return 0;
}

const struct obj_class obj_bounce = {
	.what = "bounce",
	.fields = (const struct obj_field[]){
		{ "message", get_message, NULL, NULL },
		{ "kind", get_kind, NULL, NULL },
		{ "to", get_to, NULL, NULL },
		{ "sender", get_sender, NULL, NULL },
		{ "requiretls", get_requiretls, NULL, NULL },
		{ "tls_required_no", get_tls_required_no, NULL, NULL },
		{ "recipients", get_recipients, NULL, NULL },
		{ "original_return", get_original_return, NULL, NULL },
		{ "from_header", get_from_header, set_from_header, NULL },
		{ "subject", get_subject, set_subject, NULL },
		{ "language", get_language, set_language, NULL },
		{ "template", get_template, set_template, NULL },
		{ "text", get_text, set_text, NULL },
		{ "html", get_html, set_html, NULL },
		{ "footer", get_footer, set_footer, NULL },
		{ "return_content", get_return_content, set_return_content, NULL },
		{ "headers", get_headers, set_headers, NULL },
		{ "redact", get_redact, set_redact, NULL },
		{ "protect", get_protect, set_protect, NULL },
		{ "copy_to", get_copy_to, set_copy_to, NULL },
		{ "redact_host", NULL, NULL, b_redact_host },
		{ "redact_text", NULL, NULL, bounce_redact_text },
		{ "attach", NULL, NULL, bounce_attach },
		{ "note", NULL, NULL, obj_note },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = get_kind,
};

/* ---- bounce.recipients[i] ---- */

static const struct dsn_rcpt *
rcpt(lua_State *L, const struct obj *o)
{
	if (o->index >= o->s->bounce->nrcpts)
		luaL_error(L, "stale handle: this recipient is gone");
	return &o->s->bounce->rcpts[o->index];
}

static void
rcpt_address(lua_State *L, const struct obj *o)
{
	obj_push_address(L, rcpt(L, o)->address);
}

static void
rcpt_action(lua_State *L, const struct obj *o)
{
	push_action(L, rcpt(L, o)->action);
}

static void
rcpt_status(lua_State *L, const struct obj *o)
{
	obj_push_string(L, rcpt(L, o)->status);
}

/* The reply that was received, or our own words (D15). */
static void
rcpt_diagnostic(lua_State *L, const struct obj *o)
{
	obj_push_string(L, rcpt(L, o)->reply != NULL ? rcpt(L, o)->reply : rcpt(L, o)->diagnostic);
}

static void
rcpt_remote_mta(lua_State *L, const struct obj *o)
{
	obj_push_string(L, rcpt(L, o)->remote_mta);
}

static void
rcpt_last_attempt(lua_State *L, const struct obj *o)
{
	obj_push_time(L, rcpt(L, o)->last_attempt_ms);
}

const struct obj_class obj_bounce_rcpt = {
	.what = "bounce recipient",
	.fields = (const struct obj_field[]){
		{ "address", rcpt_address, NULL, NULL },
		{ "action", rcpt_action, NULL, NULL },
		{ "status", rcpt_status, NULL, NULL },
		{ "diagnostic", rcpt_diagnostic, NULL, NULL },
		{ "remote_mta", rcpt_remote_mta, NULL, NULL },
		{ "last_attempt", rcpt_last_attempt, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
};
