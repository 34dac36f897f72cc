/* Verdicts: what a handler returns. Made by the constructors below, which check every field, and
 * immutable from then on; the table says which hook takes which. */
#include "config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy_int.h"
#include "policy/verdict_int.h"
#include "tlsrpt/txt.h"

#define TEXT_MAX 400
#define REASON_MAX 400
#define WORD_MAX 128
#define IDENTITY_MAX 255
#define ATTRS_MAX 4096

static char verdict_mt;	/* registry key of the metatable */

static const char *const kind_names[] = {
	[VERDICT_NONE] = "none", [VERDICT_ACCEPT] = "accept", [VERDICT_REROUTE] = "reroute",
	[VERDICT_DISCARD] = "discard", [VERDICT_HOLD] = "hold", [VERDICT_DEFER] = "defer",
	[VERDICT_REJECT] = "reject", [VERDICT_DROP] = "drop", [VERDICT_BOUNCE] = "bounce",
	[VERDICT_ROUTE] = "route", [VERDICT_TLS] = "tls", [VERDICT_RETRY] = "retry",
	[VERDICT_FAIL] = "fail", [VERDICT_SKIP_HOST] = "skip_host", [VERDICT_RELAX] = "relax",
	[VERDICT_SUPPRESS] = "suppress", [VERDICT_REPORT] = "report", [VERDICT_CAPS] = "caps",
	[VERDICT_IDENTITY] = "identity",
};

#define V(kind) (1u << VERDICT_##kind)
static const unsigned legal[HOOKS] = {	/* policy design section 2 */
	[HOOK_CONNECT] = V(REJECT) | V(DEFER) | V(DROP),
	[HOOK_HELO] = V(REJECT) | V(DEFER) | V(DROP) | V(CAPS),
	[HOOK_TLS] = V(REJECT) | V(DROP),
	[HOOK_AUTH] = V(IDENTITY) | V(REJECT) | V(DEFER),
	[HOOK_MAIL] = V(REJECT) | V(DEFER) | V(DROP),
	[HOOK_RCPT] = V(REJECT) | V(DEFER) | V(DISCARD) | V(ACCEPT),
	[HOOK_DATA] = V(REJECT) | V(DEFER),
	[HOOK_HEADER] = V(REJECT) | V(DEFER),
	[HOOK_MESSAGE] = V(REJECT) | V(DEFER) | V(HOLD) | V(DISCARD) | V(ACCEPT),
	[HOOK_BOUNCE_IN] = V(HOLD) | V(DISCARD) | V(ACCEPT),
	[HOOK_DISCONNECT] = 0,
	[HOOK_ROUTE] = V(ROUTE) | V(BOUNCE) | V(HOLD) | V(DISCARD) | V(DEFER),
	/* defer: a policy that cannot find out what a destination is owed says so */
	[HOOK_TLS_POLICY] = V(TLS) | V(DEFER),
	[HOOK_ATTEMPT] = V(DEFER) | V(HOLD) | V(BOUNCE) | V(REROUTE) | V(SKIP_HOST),
	[HOOK_EHLO] = V(DEFER) | V(HOLD) | V(BOUNCE) | V(REROUTE) | V(SKIP_HOST),
	[HOOK_UNMET] = V(BOUNCE) | V(DEFER) | V(REROUTE) | V(SKIP_HOST) | V(HOLD) | V(RELAX),
	[HOOK_RESULT] = V(RETRY) | V(FAIL) | V(HOLD) | V(REROUTE),
	[HOOK_BOUNCE] = V(SUPPRESS),
	[HOOK_DSN] = V(SUPPRESS),
	[HOOK_LOG] = 0,
	/* defer: as with tls_policy */
	[HOOK_TLSRPT] = V(SUPPRESS) | V(REPORT) | V(DEFER),
	[HOOK_INIT] = 0,
	[HOOK_FINI] = 0,
	[HOOK_EVERY] = 0,
};

/* What becomes of a hook whose handler failed (I5; policy design sections 2 and 9). NONE: as if
 * the handler had no opinion, which in these hooks never is "accept" or "send". */
static const struct outcome {
	enum verdict_kind kind;
	int code;
	const char *status;
	int64_t after_ms;
} outcomes[HOOKS] = {
	[HOOK_CONNECT] = { VERDICT_DROP, 421, "4.3.0", -1 },
	[HOOK_HELO] = { VERDICT_DEFER, 451, "4.3.0", -1 },
	[HOOK_TLS] = { VERDICT_DROP, 421, "4.3.0", -1 },
	[HOOK_AUTH] = { VERDICT_DEFER, 454, "4.7.0", -1 },
	[HOOK_MAIL] = { VERDICT_DEFER, 451, "4.3.0", -1 },
	[HOOK_RCPT] = { VERDICT_DEFER, 451, "4.3.0", -1 },
	[HOOK_DATA] = { VERDICT_DEFER, 451, "4.3.0", -1 },
	[HOOK_HEADER] = { VERDICT_DEFER, 451, "4.3.0", -1 },
	[HOOK_MESSAGE] = { VERDICT_DEFER, 451, "4.3.0", -1 },
	[HOOK_BOUNCE_IN] = { VERDICT_DEFER, 451, "4.3.0", -1 },
	[HOOK_DISCONNECT] = { VERDICT_NONE, 0, "", -1 },
	[HOOK_ROUTE] = { VERDICT_DEFER, 451, "4.3.0", 300000 },
	[HOOK_TLS_POLICY] = { VERDICT_DEFER, 451, "4.3.0", -1 },
	[HOOK_ATTEMPT] = { VERDICT_DEFER, 451, "4.3.0", -1 },
	[HOOK_EHLO] = { VERDICT_DEFER, 451, "4.3.0", -1 },
	[HOOK_UNMET] = { VERDICT_NONE, 0, "", -1 },
	[HOOK_RESULT] = { VERDICT_NONE, 0, "", -1 },
	[HOOK_BOUNCE] = { VERDICT_NONE, 0, "", -1 },
	[HOOK_DSN] = { VERDICT_NONE, 0, "", -1 },
	[HOOK_LOG] = { VERDICT_NONE, 0, "", -1 },
	[HOOK_TLSRPT] = { VERDICT_DEFER, 451, "4.3.0", -1 },
	[HOOK_INIT] = { VERDICT_NONE, 0, "", -1 },	/* the generation is refused */
	[HOOK_FINI] = { VERDICT_NONE, 0, "", -1 },
	[HOOK_EVERY] = { VERDICT_NONE, 0, "", -1 },
};

const char *
verdict_kind_name(enum verdict_kind k)
{
	return kind_names[k];
}

bool
policy_verdict_is_legal(enum policy_hook hook, enum verdict_kind kind)
{
	return kind == VERDICT_NONE || (legal[hook] & 1u << kind) != 0;
}

void
policy_verdict_error(struct verdict *v, enum policy_hook hook, const char *ref)
{
	const struct outcome *o = &outcomes[hook];

	verdict_fini(v);
	v->kind = o->kind;
	v->code = o->code;
	snprintf(v->status, sizeof v->status, "%s", o->status);
	v->after_ms = o->after_ms;
	v->ttl_ms = -1;
	v->is_error = true;
	snprintf(v->ref, sizeof v->ref, "%s", ref);
	v->text = xasprintf("Local policy error [%s]", ref);
	v->reason = xstrdup("policy error");
}

/* A verdict may be made once, while the policy is being loaded, and returned for years: durations
 * stay negative in it until then. */
void
policy_verdict_settle(struct verdict *v)
{
	if (v->expires_ms < 0)
		v->expires_ms = clock_wall_ms() - v->expires_ms;
	if (v->route != NULL && v->route->expires_ms < 0)
		v->route->expires_ms = clock_wall_ms() - v->route->expires_ms;
}

static void
free_list(char **v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(v[i]);
	free(v);
}

void
verdict_fini(struct verdict *v)
{
	if (v->route != NULL)
		route_free(v->route);
	free(v->text);
	free(v->reason);
	free(v->queue);
	free_list(v->names, v->nnames);
	free_list(v->pins, v->npins);
	free(v->ca_file);
	free(v->min_version);
	free(v->grant);
	free(v->identity);
	free(v->attrs);
	memset(v, 0, sizeof *v);
}

void
verdict_move(struct verdict *to, struct verdict *from)
{
	*to = *from;
	memset(from, 0, sizeof *from);
}

static char **
copy_list(char *const *v, size_t n)
{
	char **out = n == 0 ? NULL : xcalloc(n, sizeof *out);

	for (size_t i = 0; i < n; i++)
		out[i] = xstrdup(v[i]);
	return out;
}

void
policy_verdict_copy(struct verdict *to, const struct verdict *from)
{
	*to = *from;
	to->text = xstrdup(from->text);
	to->reason = xstrdup(from->reason);
	to->queue = xstrdup(from->queue);
	to->route = from->route == NULL ? NULL : route_copy(from->route);
	to->names = copy_list(from->names, from->nnames);
	to->pins = copy_list(from->pins, from->npins);
	to->ca_file = xstrdup(from->ca_file);
	to->min_version = xstrdup(from->min_version);
	to->grant = xstrdup(from->grant);
	to->identity = xstrdup(from->identity);
	to->attrs = xstrdup(from->attrs);
}

/* ---- Lua side ---- */

const struct verdict *
policy_verdict_peek(lua_State *L, int arg)
{
	const struct verdict *v = NULL;

	if (lua_type(L, arg) != LUA_TUSERDATA || !lua_getmetatable(L, arg))
		return NULL;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &verdict_mt);
	if (lua_rawequal(L, -1, -2))
		v = lua_touserdata(L, arg < 0 ? arg - 2 : arg);
	lua_pop(L, 2);
	return v;
}

struct verdict *
policy_verdict_take(lua_State *L, int arg, enum policy_hook hook)
{
	const struct verdict *v = policy_verdict_peek(L, arg);
	struct verdict *copy;

	if (v == NULL)
		luaL_error(L, "expected a verdict such as gw.reject{...}, got %s", luaL_typename(L, arg));
	if (!policy_verdict_is_legal(hook, v->kind))
		luaL_error(L, "gw.%s is not a verdict for the hook '%s'", kind_names[v->kind],
		    policy_hook_names[hook]);
	copy = xmalloc(sizeof *copy);
	policy_verdict_copy(copy, v);
	return copy;
}

/* An empty one on the stack, to be filled in; what raises on the way leaves nothing behind. */
static struct verdict *
new_verdict(lua_State *L, enum verdict_kind kind)
{
	struct policy_run *r = policy_run_of(L);
	struct verdict *v;

	luaL_checkstack(L, 8, "verdict");
	v = lua_newuserdatauv(L, sizeof *v, 0);
	memset(v, 0, sizeof *v);
	v->kind = kind;
	v->after_ms = v->ttl_ms = -1;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &verdict_mt);
	lua_setmetatable(L, -2);
	policy_where(L, v->where, sizeof v->where);
	r->made++;
	if (r->made_where == NULL)
		r->made_where = xcalloc(1, sizeof v->where);
	memcpy(r->made_where, v->where, sizeof v->where);
	return v;
}

static bool
status_is_valid(const char *s, int class)
{
	size_t digits = 0, dots = 0;

	if (s[0] != '0' + class || s[1] != '.')
		return false;
	for (s++; *s != '\0'; s++) {
		if (*s == '.') {
			if (dots++ > 0 && digits == 0)
				return false;
			digits = 0;
		} else if (!isdigit((unsigned char)*s) || ++digits > 3) {
			return false;
		}
	}
	return dots == 2 && digits > 0;
}

/* code, status and text as SMTP wants them together (RFC 3463 2: class of status = class of code). */
static void
read_reply(lua_State *L, struct verdict *v, const char *api, int class, int code, const char *status,
    const char *text)
{
	const char *s;
	char escaped[TEXT_MAX * 4 + 1];

	v->code = (int)policy_opt_integer(L, 1, api, "code", class * 100, class * 100 + 59, code);
	if (v->code / 10 % 10 > 5)
		luaL_error(L, "%s: code %d is no SMTP reply code", api, v->code);
	s = policy_opt_string(L, 1, api, "status", false, sizeof v->status - 1);
	if (s == NULL)
		s = status;
	if (!status_is_valid(s, class))
		luaL_error(L, "%s: status \"%s\" is not of the form %d.x.y, the class of code %d", api, s,
		    class, v->code);
	snprintf(v->status, sizeof v->status, "%s", s);
	s = policy_opt_string(L, 1, api, "text", false, TEXT_MAX);
	if (s == NULL)
		s = text;
	text_escape(escaped, sizeof escaped, s, strlen(s), true);
	v->text = xstrdup(escaped);
}

static void
read_reason(lua_State *L, struct verdict *v, const char *api, bool required)
{
	v->reason = xstrdup(policy_opt_string(L, 1, api, "reason", required, REASON_MAX));
}

/* Constructors take one table; without any it is an empty one. That there are no other fields in it
 * has been checked (api.h). */
static void
open_args(lua_State *L, const char *api)
{
	if (lua_isnone(L, 1))
		lua_newtable(L);
	if (lua_gettop(L) != 1 || lua_type(L, 1) != LUA_TTABLE)
		luaL_error(L, "%s takes one table of fields: %s{...}", api, api);
}

static int
gw_accept(lua_State *L)
{
	struct verdict *v;
	const char *s;

	open_args(L, "gw.accept");
	v = new_verdict(L, VERDICT_ACCEPT);
	v->relay = policy_opt_bool(L, 1, "gw.accept", "relay", false);
	s = policy_opt_string(L, 1, "gw.accept", "text", false, TEXT_MAX);
	v->text = xstrdup(s);
	v->code = 250;
	/* Who opens the relay says why; it is in the log for good. */
	read_reason(L, v, "gw.accept", v->relay);
	return 1;
}

static int
gw_reject(lua_State *L)
{
	struct verdict *v;

	open_args(L, "gw.reject");
	v = new_verdict(L, VERDICT_REJECT);
	read_reply(L, v, "gw.reject", 5, 550, "5.7.1", "Refused by local policy");
	read_reason(L, v, "gw.reject", false);
	return 1;
}

static int
gw_defer(lua_State *L)
{
	struct verdict *v;

	open_args(L, "gw.defer");
	v = new_verdict(L, VERDICT_DEFER);
	read_reply(L, v, "gw.defer", 4, 451, "4.7.1", "Local policy asks you to try again later");
	v->after_ms = policy_opt_duration(L, 1, "gw.defer", "after", -1);
	read_reason(L, v, "gw.defer", false);
	return 1;
}

static int
gw_drop(lua_State *L)
{
	struct verdict *v;

	open_args(L, "gw.drop");
	v = new_verdict(L, VERDICT_DROP);
	read_reply(L, v, "gw.drop", 4, 421, "4.7.0", "Service not available to you, closing");
	read_reason(L, v, "gw.drop", false);
	return 1;
}

static int
gw_discard(lua_State *L)
{
	open_args(L, "gw.discard");
	read_reason(L, new_verdict(L, VERDICT_DISCARD), "gw.discard", true);
	return 1;
}

static int
gw_hold(lua_State *L)
{
	struct verdict *v;
	int64_t d;

	open_args(L, "gw.hold");
	v = new_verdict(L, VERDICT_HOLD);
	v->queue = xstrdup(policy_opt_string(L, 1, "gw.hold", "queue", false, WORD_MAX));
	d = policy_opt_duration(L, 1, "gw.hold", "expires", 0);
	v->expires_ms = -d;	/* counted from when it is returned: see policy_verdict_settle */
	read_reason(L, v, "gw.hold", false);
	return 1;
}

/* bounce and fail: a status without code, which belongs to whoever writes the notice. */
static int
failure(lua_State *L, enum verdict_kind kind, const char *api)
{
	struct verdict *v;

	open_args(L, api);
	v = new_verdict(L, kind);
	read_reply(L, v, api, 5, 550, "5.7.1", "Delivery is not authorized by local policy");
	read_reason(L, v, api, false);
	return 1;
}

static int
gw_bounce(lua_State *L)
{
	return failure(L, VERDICT_BOUNCE, "gw.bounce");
}

static int
gw_fail(lua_State *L)
{
	return failure(L, VERDICT_FAIL, "gw.fail");
}

static int
gw_retry(lua_State *L)
{
	struct verdict *v;

	open_args(L, "gw.retry");
	v = new_verdict(L, VERDICT_RETRY);
	v->after_ms = policy_opt_duration(L, 1, "gw.retry", "after", -1);
	read_reason(L, v, "gw.retry", false);
	return 1;
}

static int
gw_skip_host(lua_State *L)
{
	open_args(L, "gw.skip_host");
	read_reason(L, new_verdict(L, VERDICT_SKIP_HOST), "gw.skip_host", false);
	return 1;
}

static int
gw_suppress(lua_State *L)
{
	open_args(L, "gw.suppress");
	read_reason(L, new_verdict(L, VERDICT_SUPPRESS), "gw.suppress", true);
	return 1;
}

/* Where a TLS report goes instead. */
static int
gw_report(lua_State *L)
{
	struct verdict *v;

	open_args(L, "gw.report");
	v = new_verdict(L, VERDICT_REPORT);
	if (lua_getfield(L, 1, "to") != LUA_TTABLE)
		luaL_error(L, "gw.report: to must be a list of mailto: and https: URIs");
	v->names = xcalloc(RUA_MAX, sizeof *v->names);
	for (lua_Integer i = 1; lua_geti(L, -1, i) != LUA_TNIL; i++) {
		struct rua rua;
		struct err err;
		struct slice s;

		if (lua_type(L, -1) != LUA_TSTRING || i > RUA_MAX)
			luaL_error(L, "gw.report: to must be a list of at most %d URIs", RUA_MAX);
		s.p = lua_tolstring(L, -1, &s.n);
		if (!rua_parse(&rua, s, &err))
			luaL_error(L, "gw.report: to: number %d: %s", (int)i, err.text);
		rua_fini(&rua);
		v->names[v->nnames++] = xstrdup(s.p);
		lua_pop(L, 1);
	}
	if (v->nnames == 0)
		luaL_error(L, "gw.report: to is empty; gw.suppress sends none");
	lua_settop(L, 2);
	read_reason(L, v, "gw.report", false);
	return 1;
}

static int
gw_relax(lua_State *L)
{
	const struct conf *conf = policy_run_of(L)->gen->conf;
	struct verdict *v;

	open_args(L, "gw.relax");
	v = new_verdict(L, VERDICT_RELAX);
	v->grant = xstrdup(policy_opt_string(L, 1, "gw.relax", "grant", true, WORD_MAX));
	read_reason(L, v, "gw.relax", true);
	for (size_t i = 0; i < conf->policy.ngrants; i++) {
		if (strcmp(conf->policy.grants[i].name, v->grant) == 0)
			return 1;
	}
	return luaL_error(L, "gw.relax: the configuration has no grant '%s' (policy.grants)", v->grant);
}

static const struct {
	const char *name;
	unsigned ext;
} exts[] = {
	{ "PIPELINING", SMTP_EXT_PIPELINING }, { "SIZE", SMTP_EXT_SIZE }, { "8BITMIME", SMTP_EXT_8BITMIME },
	{ "SMTPUTF8", SMTP_EXT_SMTPUTF8 }, { "CHUNKING", SMTP_EXT_CHUNKING },
	{ "ENHANCEDSTATUSCODES", SMTP_EXT_ENHANCEDSTATUSCODES }, { "DSN", SMTP_EXT_DSN },
	{ "STARTTLS", SMTP_EXT_STARTTLS }, { "REQUIRETLS", SMTP_EXT_REQUIRETLS },
	{ "LIMITS", SMTP_EXT_LIMITS }, { "AUTH", SMTP_EXT_AUTH },
};

static int
gw_caps(lua_State *L)
{
	struct verdict *v;

	open_args(L, "gw.caps");
	v = new_verdict(L, VERDICT_CAPS);
	if (lua_getfield(L, 1, "hide") != LUA_TTABLE)
		luaL_error(L, "gw.caps: hide must be a list of extension names");
	for (lua_Integer i = 1; i <= (lua_Integer)NELEMS(exts) + 1; i++) {
		const char *s;
		size_t k = 0;

		if (lua_geti(L, -1, i) == LUA_TNIL)
			break;
		s = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
		while (k < NELEMS(exts) && strcmp(exts[k].name, s) != 0)
			k++;
		if (k == NELEMS(exts))
			luaL_error(L, "gw.caps: '%s' is no extension of this server", s);
		v->hide_ext |= exts[k].ext;
		lua_pop(L, 1);
	}
	lua_settop(L, 2);
	return 1;
}

/* Who has logged in. `attrs` goes to session.auth as a table of its own. */
static int
gw_identity(lua_State *L)
{
	struct verdict *v;
	struct buf *json;

	open_args(L, "gw.identity");
	v = new_verdict(L, VERDICT_IDENTITY);
	v->identity = xstrdup(policy_opt_string(L, 1, "gw.identity", "id", true, IDENTITY_MAX));
	read_reason(L, v, "gw.identity", false);
	if (lua_getfield(L, 1, "attrs") == LUA_TNIL) {
		lua_settop(L, 2);
		return 1;
	}
	if (!lua_istable(L, -1))
		luaL_error(L, "gw.identity: attrs must be a table");
	json = policy_push_buf(L, ATTRS_MAX);
	policy_json_encode(L, 3, json);
	v->attrs = xstrndup(buf_peek(json), json->len);
	lua_settop(L, 2);
	return 1;
}

static int
gw_tls(lua_State *L)
{
	struct verdict *v;
	const char *s;

	open_args(L, "gw.tls");
	v = new_verdict(L, VERDICT_TLS);
	v->level = policy_opt_level(L, 1, "gw.tls", "level", -1);
	policy_opt_list(L, 1, "gw.tls", "names", &v->names, &v->nnames, true);
	policy_opt_list(L, 1, "gw.tls", "pins", &v->pins, &v->npins, false);
	v->ca_file = xstrdup(policy_opt_string(L, 1, "gw.tls", "ca", false, 1024));
	v->min_version = xstrdup(policy_opt_string(L, 1, "gw.tls", "min_version", false, 8));
	if (v->min_version != NULL && strcmp(v->min_version, "1.2") != 0 &&
	    strcmp(v->min_version, "1.3") != 0)
		luaL_error(L, "gw.tls: min_version is \"1.2\" or \"1.3\"");
	v->ttl_ms = policy_opt_duration(L, 1, "gw.tls", "ttl", -1);
	s = policy_opt_string(L, 1, "gw.tls", "on_unmet", false, 16);
	if (s != NULL && strcmp(s, "bounce") != 0 && strcmp(s, "defer") != 0)
		luaL_error(L, "gw.tls: on_unmet is \"bounce\" or \"defer\"");
	v->on_unmet = s == NULL ? UNMET_DEFAULT : s[0] == 'b' ? UNMET_BOUNCE : UNMET_DEFER;
	return 1;
}

static int
gw_route(lua_State *L)
{
	struct verdict *v;

	open_args(L, "gw.route");
	v = new_verdict(L, VERDICT_ROUTE);
	v->route = policy_route_read(L, "gw.route", v);
	read_reason(L, v, "gw.route", false);
	return 1;
}

static int
gw_reroute(lua_State *L)
{
	struct verdict *v;

	open_args(L, "gw.reroute");
	v = new_verdict(L, VERDICT_REROUTE);
	v->route = policy_route_read(L, "gw.reroute", v);
	read_reason(L, v, "gw.reroute", false);
	return 1;
}

static int
verdict_gc(lua_State *L)
{
	struct verdict *v = lua_touserdata(L, 1);

	if (v != NULL)
		verdict_fini(v);
	return 0;
}

static bool
verdict_field(lua_State *L, const char *key)
{
	const struct verdict *v = policy_verdict_peek(L, 1);

	if (v == NULL)
		return luaL_error(L, "expected a verdict") != 0;
	if (strcmp(key, "kind") == 0)
		lua_pushstring(L, kind_names[v->kind]);
	else if (strcmp(key, "code") == 0)
		lua_pushinteger(L, v->code);
	else if (strcmp(key, "status") == 0)
		lua_pushstring(L, v->status);
	else if (strcmp(key, "text") == 0)
		lua_pushstring(L, v->text);	/* NULL: nil */
	else if (strcmp(key, "reason") == 0)
		lua_pushstring(L, v->reason);
	else if (strcmp(key, "where") == 0)
		lua_pushstring(L, v->where);
	else
		return false;
	return true;
}

static int
verdict_tostring(lua_State *L)
{
	const struct verdict *v = policy_verdict_peek(L, 1);

	lua_pushfstring(L, "gw.%s", v == NULL ? "verdict" : kind_names[v->kind]);
	return 1;
}

void
policy_verdict_open(lua_State *L)
{
	static const luaL_Reg meta[] = {
		{ "__gc", verdict_gc }, { "__tostring", verdict_tostring }, { NULL, NULL },
	};
	static const char *const fields[] = { "kind", "code", "status", "text", "reason", "where", NULL };
	static const struct policy_type type = { "verdict", NULL, verdict_field, fields };
	static const luaL_Reg fns[] = {
		{ "accept", gw_accept }, { "reject", gw_reject }, { "defer", gw_defer }, { "drop", gw_drop },
		{ "discard", gw_discard }, { "hold", gw_hold }, { "bounce", gw_bounce }, { "route", gw_route },
		{ "reroute", gw_reroute }, { "tls", gw_tls }, { "retry", gw_retry }, { "fail", gw_fail },
		{ "skip_host", gw_skip_host }, { "relax", gw_relax }, { "suppress", gw_suppress },
		{ "report", gw_report }, { "caps", gw_caps }, { "identity", gw_identity }, { NULL, NULL },
	};

	policy_newmetatable(L, "gw.verdict", meta);
	policy_type_members(L, &type);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &verdict_mt);
	luaL_setfuncs(L, fns, 0);
}
