/* env:call(hook, args): one hook alone, over a subject that the test makes up. The chain, the objects and the
 * verdict are the engine's. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gateway/gateway_int.h"
#include "rehearsal/lua_int.h"

#define CALL_MT "test.call"
#define PATIENCE_MS (15 * 60000)

struct call {
	struct world *w;
	struct policy_subject s;
	struct policy_session ps;
	struct smtp_session_info info;
	struct net_addr peer, local;
	struct tls_info in_tls, out_tls;
	struct smtp_cred cred;
	void *vars;
	struct msg *msg;
	char *header;
	struct policy_hop hop;
	struct policy_result result;
	struct dsn_rcpt dsn_rcpt;
	struct dsn_words words;
	struct policy_bounce bounce;
	struct report report;
	const char *cause[16];
	bool has_words, has_report, is_over;
	struct verdict v;
	uint64_t ticket;
};

static int
call_gc(lua_State *L)
{
	struct call *c = luaL_checkudata(L, 1, CALL_MT);

	/* A session's values belong to a state that may be gone with its world. */
	if (c->vars != NULL && runner != NULL && runner->env != NULL && runner->env->w == c->w)
		policy_session_end(world_generation(c->w), &c->vars);
	c->vars = NULL;
	msg_unref(c->msg);
	c->msg = NULL;
	free(c->header);
	c->header = NULL;
	free(c->info.helo);
	free(c->info.auth_id);
	c->info.helo = c->info.auth_id = NULL;
	if (c->has_words)
		dsn_words_fini(&c->words);
	c->has_words = false;
	if (c->has_report)
		report_fini(&c->report);
	c->has_report = false;
	verdict_fini(&c->v);
	return 0;
}

/* The field as a table on top; false, and nothing is pushed, when it is not there. */
static bool
sub_table(lua_State *L, int t, const char *key)
{
	if (lua_getfield(L, t, key) == LUA_TTABLE)
		return true;
	if (!lua_isnil(L, -1))
		luaL_error(L, "env:call: %s is a table", key);
	lua_pop(L, 1);
	return false;
}

static int
word_of(lua_State *L, int t, const char *api, const char *key, const char *const *words, int dflt)
{
	const char *s = policy_opt_string(L, t, api, key, false, 40);
	int i = 0;

	if (s == NULL)
		return dflt;
	while (words[i] != NULL && strcmp(words[i], s) != 0)
		i++;
	if (words[i] == NULL) {
		luaL_Buffer b;

		luaL_buffinit(L, &b);
		for (i = 0; words[i] != NULL; i++) {
			luaL_addstring(&b, i == 0 ? "" : ", ");
			luaL_addstring(&b, words[i]);
		}
		luaL_pushresult(&b);
		luaL_error(L, "%s: %s = \"%s\" is none of %s", api, key, s, lua_tostring(L, -1));
	}
	return i;
}

/* ---- Parts of a subject ---- */

static void
take_session(lua_State *L, struct call *c)
{
	static const char *const fields[] = { "listener", "ip", "helo", "tls", "auth", "attrs", NULL };
	static const char api[] = "env:call: session";
	static const uint8_t here[4] = { 192, 0, 2, 25 };
	const struct setup *setup = world_worker(c->w)->now->setup;
	int t = lua_gettop(L);
	const char *name, *ip;
	struct err err;
	size_t i = 0;

	policy_opts_check(L, t, api, fields);
	name = policy_opt_string(L, t, api, "listener", false, 100);
	while (name != NULL && i < setup->conf->nlisteners && strcmp(setup->conf->listeners[i].name, name) != 0)
		i++;
	if (i >= setup->conf->nlisteners)
		luaL_error(L, "%s: there is no listener \"%s\"", api, name == NULL ? "" : name);
	ip = policy_opt_string(L, t, api, "ip", false, 100);
	ip = ip == NULL ? "192.0.2.10" : ip;
	if (strchr(ip, ':') != NULL && ip[0] != '[')
		ip = lua_pushfstring(L, "[%s]", ip);
	if (net_addr_parse(&c->peer, slice_of(ip), 30000, &err) != 0)
		luaL_error(L, "%s: %s", api, err.text);
	net_addr_set(&c->local, AF_INET, here, 25);
	c->info.id = 1;
	c->info.conf = &setup->listeners[i];
	c->info.peer = &c->peer;
	c->info.local = &c->local;
	net_addr_ip(&c->peer, c->info.peer_ip);
	ip = policy_opt_string(L, t, api, "helo", false, 255);
	c->info.helo = xstrdup(ip == NULL ? "client.example" : ip);
	c->info.auth_id = xstrdup(policy_opt_string(L, t, api, "auth", false, 255));
	c->info.auth_mech = c->info.auth_id == NULL ? NULL : "PLAIN";
	c->info.esmtp = true;
	c->info.started_ms = world_now_ms(c->w);
	c->ps = (struct policy_session){ &c->info, &setup->conf->listeners[i], NULL, NULL, &c->vars };
	if (lua_getfield(L, t, "tls") != LUA_TNIL && lua_toboolean(L, -1)) {
		c->in_tls = (struct tls_info){ .version = "TLSv1.3", .cipher = "TLS_AES_256_GCM_SHA384", .is_modern = true };
		if (lua_type(L, -1) == LUA_TTABLE)
			take_client_tls(L, lua_gettop(L), &c->in_tls);
		c->info.tls = &c->in_tls;
	}
	if (sub_table(L, t, "attrs")) {
		struct buf *b = policy_push_buf(L, 16384);

		policy_json_encode(L, lua_gettop(L) - 1, b);
		c->ps.auth_attrs = lua_pushlstring(L, buf_peek(b), b->len);
	}
	c->s.session = &c->ps;
}

static void
add_recipient(struct call *c, const char *address)
{
	struct msg_rcpt *r = msg_add_rcpt(c->msg);
	struct smtp_path p;
	struct err err;

	r->address = xstrdup(address);
	r->domain = xstrdup(smtp_address_parse(&p, slice_of(address), true, &err) ? p.domain : "");
	r->num = (uint32_t)c->msg->nrcpts - 1;
}

static void
take_message(lua_State *L, struct call *c)
{
	static const char *const fields[] = { "from", "to", "headers", "body", "raw", "requiretls", "tls_required_no",
		"tags", "duties", "direction", NULL };
	static const char *const no[] = { "absent", "honoured", "ignored", "overridden", "malformed", NULL };
	static const char *const directions[] = { "inbound", "outbound", "internal", NULL };
	static const char api[] = "env:call: message";
	const char *from, *end;
	struct smtp_path p;
	struct err err;
	struct buf text;
	int t = lua_gettop(L);
	char *mem;
	size_t n;

	policy_opts_check(L, t, api, fields);
	c->msg = msg_new();
	c->msg->id = id_new(0);
	c->msg->received_ms = world_now_ms(c->w);
	from = policy_opt_string(L, t, api, "from", false, 320);
	c->msg->from = xstrdup(from == NULL ? "" : from);
	c->msg->from_domain = xstrdup(from != NULL && smtp_address_parse(&p, slice_of(from), true, &err) ? p.domain : "");
	c->msg->generation = xstrdup(policy_gen_id(world_generation(c->w)));
	if (lua_getfield(L, t, "to") == LUA_TSTRING)
		add_recipient(c, lua_tostring(L, -1));
	for (lua_Integer i = 1; lua_type(L, -1) == LUA_TTABLE && i <= luaL_len(L, -1); i++) {
		lua_geti(L, -1, i);
		add_recipient(c, luaL_checkstring(L, -1));
		lua_pop(L, 1);
	}
	for (lua_Integer i = 1; sub_table(L, t, "tags") && i <= luaL_len(L, -1); i++) {
		lua_geti(L, -1, i);
		msg_add_tag(c->msg, luaL_checkstring(L, -1));
	}
	if (policy_opt_bool(L, t, api, "requiretls", false)) {
		c->msg->flags |= MSG_REQUIRETLS;
		duties_join(&c->msg->duties, duties_of(DUTY_ALL, DUTY_BY_SENDER));
	}
	duties_join(&c->msg->duties, duties_of_level(policy_opt_level(L, t, api, "duties", TLS_MAY), DUTY_BY_ADMIN));
	c->msg->tls_no = (enum msg_tls_no)word_of(L, t, api, "tls_required_no", no, 0);
	c->msg->direction = (enum msg_direction)word_of(L, t, api, "direction", directions,
	    c->ps.listener != NULL && c->ps.listener->role == ROLE_RELAY ? DIR_OUTBOUND : DIR_INBOUND);
	lua_settop(L, t);
	buf_init(&text, 16u << 20);
	put_message(L, t, &text, c->msg->from, c->msg->nrcpts == 0 ? "" : c->msg->rcpts[0].address, world_now_ms(c->w));
	n = text.len;
	mem = buf_take(&text);
	end = n == 0 ? NULL : memmem(mem, n, "\r\n\r\n", 4);
	c->msg->header_size = end == NULL ? n : (uint64_t)(end + 4 - mem);
	c->msg->content_size = n;
	c->msg->content = content_from_memory(mem, n, (size_t)c->msg->header_size);
	c->header = xstrndup(mem, (size_t)c->msg->header_size);
	c->s.msg = c->msg;
	c->s.header = (struct slice){ c->header, (size_t)c->msg->header_size };
	c->s.content = c->msg->content;
}

static unsigned
take_caps(lua_State *L, int t)
{
	static const struct { const char *word; unsigned bit; } exts[] = {
		{ "PIPELINING", SMTP_EXT_PIPELINING }, { "SIZE", SMTP_EXT_SIZE }, { "8BITMIME", SMTP_EXT_8BITMIME },
		{ "SMTPUTF8", SMTP_EXT_SMTPUTF8 }, { "CHUNKING", SMTP_EXT_CHUNKING },
		{ "ENHANCEDSTATUSCODES", SMTP_EXT_ENHANCEDSTATUSCODES }, { "DSN", SMTP_EXT_DSN },
		{ "STARTTLS", SMTP_EXT_STARTTLS }, { "REQUIRETLS", SMTP_EXT_REQUIRETLS }, { "LIMITS", SMTP_EXT_LIMITS },
	};
	unsigned bits = 0;

	for (lua_Integer i = 1; i <= luaL_len(L, t); i++) {
		size_t k = 0;

		lua_geti(L, t, i);
		while (k < NELEMS(exts) && strcasecmp(exts[k].word, luaL_checkstring(L, -1)) != 0)
			k++;
		if (k == NELEMS(exts))
			luaL_error(L, "env:call: hop.caps: \"%s\" is no extension that delivery knows", lua_tostring(L, -1));
		bits |= exts[k].bit;
		lua_pop(L, 1);
	}
	return bits;
}

/* { "encrypt", "propagate" } */
static unsigned
take_bits(lua_State *L, int t)
{
	static const char *const names[] = { "encrypt", "authenticate", "secure_lookup", "propagate" };
	unsigned bits = 0;

	for (lua_Integer i = 1; i <= luaL_len(L, t); i++) {
		size_t k = 0;

		lua_geti(L, t, i);
		while (k < NELEMS(names) && strcmp(names[k], luaL_checkstring(L, -1)) != 0)
			k++;
		if (k == NELEMS(names))
			luaL_error(L, "env:call: \"%s\" is no duty; there are encrypt, authenticate, secure_lookup and propagate",
			    lua_tostring(L, -1));
		bits |= 1u << k;
		lua_pop(L, 1);
	}
	return bits;
}

static void
take_out_tls(lua_State *L, struct call *c, int t)
{
	static const char *const fields[] = { "version", "cipher", "names", "verified", "error", "sni", NULL };
	static const char *const words[] = { "no", "pkix", "dane", "pin", NULL };
	static const char api[] = "env:call: hop.tls";
	struct tls_info *i = &c->out_tls;

	policy_opts_check(L, t, api, fields);
	c->hop.verified = (enum peer_verified)word_of(L, t, api, "verified", words, PEER_PKIX);
	*i = (struct tls_info){ .version = policy_opt_string(L, t, api, "version", false, 20),
		.cipher = policy_opt_string(L, t, api, "cipher", false, 60),
		.names = policy_opt_string(L, t, api, "names", false, 500),
		.verify_error = policy_opt_string(L, t, api, "error", false, 200), .is_modern = true };
	if (i->version == NULL)
		i->version = "TLSv1.3";
	if (i->cipher == NULL)
		i->cipher = "TLS_AES_256_GCM_SHA384";
	i->cert_sha256 = "0000000000000000000000000000000000000000000000000000000000000000";
	i->spki_sha256 = "1111111111111111111111111111111111111111111111111111111111111111";
	i->subject = i->issuer = "rehearsal";
	i->not_after = "2099-12-31T23:59:59.000Z";
	i->chain_ok = i->name_ok = i->name_matches = c->hop.verified == PEER_PKIX;
	i->dane_ok = c->hop.verified == PEER_DANE;
	i->pin_ok = c->hop.verified == PEER_PIN;
	c->hop.tls = i;
}

static void
take_hop(lua_State *L, struct call *c)
{
	static const char *const fields[] = { "destination", "host", "ip", "port", "preference", "attempt", "mx", "sts",
		"tlsa", "caps", "tls", "duties", "unmet", "relaxed", NULL };
	static const char *const sts[] = { "mode", "match", "max_age", NULL };
	static const char *const tlsa[] = { "usable", "count", NULL };
	static const char *const mx[] = { "no", "dnssec", "sts", "asserted", "implicit", NULL };
	static const char *const modes[] = { "none", "testing", "enforce", NULL };
	static const char api[] = "env:call: hop";
	struct policy_hop *h = &c->hop;
	int t = lua_gettop(L);

	policy_opts_check(L, t, api, fields);
	h->destination = policy_opt_string(L, t, api, "destination", false, 255);
	if (h->destination == NULL)
		h->destination = c->s.domain != NULL ? c->s.domain :
		    c->msg != NULL && c->msg->nrcpts > 0 ? c->msg->rcpts[0].domain : "destination.example";
	h->host = policy_opt_string(L, t, api, "host", false, 255);
	if (h->host == NULL)
		h->host = lua_pushfstring(L, "mx.%s", h->destination);
	h->ip = policy_opt_string(L, t, api, "ip", false, 60);
	if (h->ip == NULL)
		h->ip = "198.51.100.1";
	h->port = (uint16_t)policy_opt_integer(L, t, api, "port", 1, 65535, 25);
	h->preference = (uint16_t)policy_opt_integer(L, t, api, "preference", 0, 65535, 10);
	h->attempt = (unsigned)policy_opt_integer(L, t, api, "attempt", 1, 1000, 1);
	h->relaxed = policy_opt_string(L, t, api, "relaxed", false, 100);
	h->mx = (enum mx_trust)word_of(L, t, api, "mx", mx, MX_INSECURE);
	if (sub_table(L, t, "sts")) {
		int s = lua_gettop(L);

		policy_opts_check(L, s, "env:call: hop.sts", sts);
		h->sts = (enum sts_mode)word_of(L, s, "env:call: hop.sts", "mode", modes, STS_ENFORCE);
		h->sts_matches = policy_opt_bool(L, s, "env:call: hop.sts", "match", true);
		h->sts_max_age = policy_opt_integer(L, s, "env:call: hop.sts", "max_age", 0, INT32_MAX, 86400);
	}
	if (sub_table(L, t, "tlsa")) {
		int s = lua_gettop(L);

		policy_opts_check(L, s, "env:call: hop.tlsa", tlsa);
		h->tlsa = policy_opt_bool(L, s, "env:call: hop.tlsa", "usable", true) ? TLSA_USABLE : TLSA_UNUSABLE;
		h->tlsa_count = (unsigned)policy_opt_integer(L, s, "env:call: hop.tlsa", "count", 0, 100, 1);
	}
	if (sub_table(L, t, "caps"))
		h->caps = take_caps(L, lua_gettop(L));
	if (sub_table(L, t, "tls"))
		take_out_tls(L, c, lua_gettop(L));
	h->duties = c->msg == NULL ? 0 : c->msg->duties;
	if (lua_getfield(L, t, "duties") == LUA_TSTRING)
		duties_join(&h->duties, duties_of_level(policy_opt_level(L, t, api, "duties", TLS_MAY), DUTY_BY_ADMIN));
	else if (lua_type(L, -1) == LUA_TTABLE)
		duties_join(&h->duties, duties_of(take_bits(L, lua_gettop(L)), DUTY_BY_ADMIN));
	if (sub_table(L, t, "unmet"))
		h->unmet = take_bits(L, lua_gettop(L));
	duties_join(&h->duties, duties_of(h->unmet, DUTY_BY_ADMIN));
	h->met = duties_bits(h->duties) & ~h->unmet;
	h->route = c->s.route;
	c->s.hop = h;
}

static void
take_result(lua_State *L, struct call *c)
{
	static const char *const fields[] = { "kind", "code", "status", "text", "stage", "attempts", "cause", NULL };
	static const char api[] = "env:call: result";
	struct policy_result *r = &c->result;
	int t = lua_gettop(L);

	policy_opts_check(L, t, api, fields);
	r->kind = policy_opt_string(L, t, api, "kind", false, 20);
	if (r->kind == NULL)
		r->kind = "deferred";
	r->code = (int)policy_opt_integer(L, t, api, "code", 0, 599, 0);
	r->status = policy_opt_string(L, t, api, "status", false, 12);
	r->text = policy_opt_string(L, t, api, "text", false, 500);
	r->stage = policy_opt_string(L, t, api, "stage", false, 20);
	if (r->status == NULL)
		r->status = r->kind[0] == 'f' ? "5.0.0" : r->kind[0] == 'e' ? "4.4.7" : r->kind[0] == 'd' && r->kind[2] == 'l' ?
		    "2.0.0" : "4.0.0";
	if (r->stage == NULL)
		r->stage = "rcpt";
	r->attempts = (unsigned)policy_opt_integer(L, t, api, "attempts", 0, 10000, 1);
	r->first_attempt_ms = world_now_ms(c->w);
	r->next_attempt_ms = world_now_ms(c->w) + 300000;
	r->hop = c->s.hop;
	if (sub_table(L, t, "cause")) {
		for (lua_Integer i = 1; i <= luaL_len(L, -1) && r->ncause < NELEMS(c->cause); i++) {
			lua_geti(L, -1, i);
			c->cause[r->ncause++] = luaL_checkstring(L, -1);
			lua_pop(L, 1);	/* the list keeps it */
		}
		r->cause = c->cause;
	}
	c->s.result = r;
}

static void
take_bounce(lua_State *L, struct call *c, bool is_dsn)
{
	static const char *const fields[] = { "kind", "status", "diagnostic", "remote_mta", "reply", NULL };
	static const char *const kinds[] = { "failed", "delayed", "delivered", "relayed", "expanded", NULL };
	static const char api[] = "env:call: bounce";
	const struct conf *conf = world_configuration(c->w);
	struct dsn_request q = { .msg = c->msg, .reporting_mta = conf->identity.hostname, .nrcpts = 1,
		.header = c->s.header, .wall_ms = world_now_ms(c->w) };
	int t = lua_gettop(L);

	policy_opts_check(L, t, api, fields);
	if (c->msg == NULL || c->msg->nrcpts == 0)
		luaL_error(L, "%s: needs a message with a recipient", api);
	c->bounce.kind = (enum dsn_action)word_of(L, t, api, "kind", kinds, is_dsn ? 1 : 0);
	c->dsn_rcpt = (struct dsn_rcpt){ .address = c->msg->rcpts[0].address, .action = c->bounce.kind,
		.status = policy_opt_string(L, t, api, "status", false, 12),
		.remote_mta = policy_opt_string(L, t, api, "remote_mta", false, 255),
		.reply = policy_opt_string(L, t, api, "reply", false, 1000),
		.diagnostic = policy_opt_string(L, t, api, "diagnostic", false, 1000),
		.last_attempt_ms = world_now_ms(c->w) };
	if (c->dsn_rcpt.status == NULL)
		c->dsn_rcpt.status = c->bounce.kind == 0 ? "5.0.0" : c->bounce.kind == 1 ? "4.0.0" : "2.0.0";
	q.rcpts = &c->dsn_rcpt;
	q.kind = c->bounce.kind;
	dsn_words_init(&c->words, &q, conf->dsn.from);
	c->has_words = true;
	c->bounce.rcpts = &c->dsn_rcpt;
	c->bounce.nrcpts = 1;
	c->bounce.words = &c->words;
	c->bounce.tagged = (c->msg->flags & MSG_REQUIRETLS) != 0;
	c->s.bounce = &c->bounce;
}

static void
take_cred(lua_State *L, struct call *c)
{
	static const char *const fields[] = { "mech", "user", "password", "authzid", NULL };
	static const char api[] = "env:call: cred";
	int t = lua_gettop(L);

	policy_opts_check(L, t, api, fields);
	c->cred.mech = policy_opt_string(L, t, api, "mech", false, 20);
	c->cred.authcid = policy_opt_string(L, t, api, "user", false, 255);
	c->cred.password = policy_opt_string(L, t, api, "password", false, 255);
	c->cred.authzid = policy_opt_string(L, t, api, "authzid", false, 255);
	if (c->cred.mech == NULL)
		c->cred.mech = "PLAIN";
	if (c->cred.authcid == NULL)
		c->cred.authcid = "";
	if (c->cred.authzid == NULL)
		c->cred.authzid = "";
	c->s.cred = &c->cred;
}

/* By index, by address, or the first one. */
static void
take_rcpt(lua_State *L, struct call *c, int t)
{
	c->s.rcpt = c->msg != NULL && c->msg->nrcpts > 0 ? 0 : -1;
	if (lua_getfield(L, t, "rcpt") == LUA_TNUMBER) {
		c->s.rcpt = (int)lua_tointeger(L, -1) - 1;
		if (c->msg == NULL || c->s.rcpt < 0 || (size_t)c->s.rcpt >= c->msg->nrcpts)
			luaL_error(L, "env:call: there is no such recipient");
	} else if (lua_type(L, -1) == LUA_TSTRING) {
		if (c->msg == NULL) {
			c->msg = msg_new();
			c->msg->from = xstrdup("");
			c->msg->from_domain = xstrdup("");
			c->s.msg = c->msg;
		}
		add_recipient(c, lua_tostring(L, -1));
		c->s.rcpt = (int)c->msg->nrcpts - 1;
	}
	lua_pop(L, 1);
}

static void
take_route(lua_State *L, struct call *c, int t)
{
	const struct conf *conf = world_configuration(c->w);
	const char *name = policy_opt_string(L, t, "env:call", "route", false, 100);
	const char *domain = c->s.domain != NULL ? c->s.domain : c->s.rcpt >= 0 ? c->msg->rcpts[c->s.rcpt].domain : NULL;
	const struct conf_domain *d = domain == NULL ? NULL : conf_domain(conf, domain);

	if (name == NULL && d != NULL)
		name = d->route;
	if (name == NULL)
		return;
	c->s.route = conf_route(conf, name);
	if (c->s.route == NULL)
		luaL_error(L, "env:call: the configuration has no route \"%s\"", name);
}

/* ---- The answer ---- */

static void
set_list(lua_State *L, const char *key, char **v, size_t n)
{
	if (n == 0)
		return;
	lua_createtable(L, (int)n, 0);
	for (size_t i = 0; i < n; i++) {
		lua_pushstring(L, v[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_setfield(L, -2, key);
}

static void
set_text(lua_State *L, const char *key, const char *s)
{
	if (s == NULL || s[0] == '\0')
		return;
	lua_pushstring(L, s);
	lua_setfield(L, -2, key);
}

static void
set_number(lua_State *L, const char *key, int64_t n)
{
	lua_pushinteger(L, n);
	lua_setfield(L, -2, key);
}

static void
push_route(lua_State *L, const struct route *r)
{
	char *text = route_to_json(r);
	json_t *j = json_loads(text, 0, NULL);

	push_json(L, j);
	json_decref(j);
	free(text);
	if (lua_type(L, -1) == LUA_TTABLE)
		set_text(L, "name", r->name);
}

static void
push_verdict(lua_State *L, const struct verdict *v)
{
	if (v->kind == VERDICT_NONE && !v->is_error) {
		lua_pushnil(L);
		return;
	}
	lua_newtable(L);
	set_text(L, "kind", v->kind == VERDICT_NONE ? "error" : verdict_kind_name(v->kind));
	set_text(L, "handler", v->handler);
	set_text(L, "where", v->where);
	set_text(L, "status", v->status);
	set_text(L, "text", v->text);
	set_text(L, "reason", v->reason);
	set_text(L, "queue", v->queue);
	set_text(L, "grant", v->grant);
	set_text(L, "identity", v->identity);
	set_text(L, "ca", v->ca_file);
	set_text(L, "min_version", v->min_version);
	if (v->code != 0)
		set_number(L, "code", v->code);
	if (v->is_error) {
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, "is_error");
	}
	if (v->relay) {
		lua_pushboolean(L, 1);
		lua_setfield(L, -2, "relay");
	}
	if ((v->kind == VERDICT_DEFER || v->kind == VERDICT_RETRY) && v->after_ms >= 0) {
		lua_pushnumber(L, (lua_Number)v->after_ms / 1000);
		lua_setfield(L, -2, "after");
	}
	if (v->kind == VERDICT_HOLD && v->expires_ms > 0) {
		lua_pushnumber(L, (lua_Number)v->expires_ms / 1000);
		lua_setfield(L, -2, "expires");
	}
	if (v->kind == VERDICT_TLS) {
		static const char *const unmet[] = { NULL, "bounce", "defer" };

		set_text(L, "level", tls_level_name(v->level));
		set_text(L, "on_unmet", unmet[v->on_unmet]);
		if (v->ttl_ms >= 0)
			set_number(L, "ttl", v->ttl_ms / 1000);
	}
	set_list(L, v->kind == VERDICT_REPORT ? "rua" : "names", v->names, v->nnames);
	set_list(L, "pins", v->pins, v->npins);
	if (v->kind == VERDICT_CAPS)
		set_number(L, "hidden", v->hide_ext);
	if (v->route != NULL) {
		push_route(L, v->route);
		lua_setfield(L, -2, "route");
	}
	if (v->attrs != NULL) {
		json_t *j = json_loads(v->attrs, 0, NULL);

		push_json(L, j);
		json_decref(j);
		lua_setfield(L, -2, "attrs");
	}
}

static void
set_json(lua_State *L, const char *key, char *text)
{
	json_t *j = json_loads(text, 0, NULL);

	push_json(L, j);
	json_decref(j);
	free(text);
	lua_setfield(L, -2, key);
}

/* What the handlers changed: { duties, tags, vars, edits, recipients, hop = { duties }, bounce = { ... } } */
static void
push_effects(lua_State *L, const struct call *c)
{
	char duties[400];

	lua_newtable(L);
	if (c->msg != NULL) {
		duty_mask all = c->msg->duties;

		for (size_t i = 0; i < c->msg->nrcpts; i++)
			all |= c->msg->rcpts[i].duties;
		duties_format(duties, sizeof duties, all);
		push_duties(L, duties);
		lua_setfield(L, -2, "duties");
		set_json(L, "tags", msg_tags_json(c->msg));
		set_json(L, "vars", msg_vars_json(c->msg));
		set_json(L, "edits", msg_edits_json(c->msg));
		lua_newtable(L);
		for (size_t i = 0; i < c->msg->nrcpts; i++) {
			lua_pushstring(L, c->msg->rcpts[i].address);
			lua_rawseti(L, -2, (lua_Integer)i + 1);
		}
		lua_setfield(L, -2, "recipients");
	}
	if (c->s.hop != NULL) {
		duties_format(duties, sizeof duties, c->hop.added);
		push_duties(L, duties);
		lua_setfield(L, -2, "hop_duties");
	}
	if (c->has_words) {
		const struct dsn_words *w = &c->words;

		lua_newtable(L);
		set_text(L, "from_header", w->from_header);
		set_text(L, "subject", w->subject);
		set_text(L, "language", w->language);
		set_text(L, "template", w->template_name);
		set_text(L, "text", w->text);
		set_text(L, "html", w->html);
		set_text(L, "footer", w->footer);
		set_text(L, "copy_to", w->copy_to);
		set_text(L, "return_content", w->return_content == RET_FULL ? "full" : w->return_content == RET_HDRS ?
		    "headers" : "none");
		set_list(L, "headers", w->headers, w->nheaders);
		lua_newtable(L);
		for (size_t i = 0; i < w->nattached; i++) {
			lua_pushlstring(L, w->attached[i].data, w->attached[i].n);
			lua_setfield(L, -2, w->attached[i].name);
		}
		lua_setfield(L, -2, "attached");
		set_text(L, "said", dsn_said(w, c->bounce.rcpts, 0));
		lua_newtable(L);
		lua_pushboolean(L, w->redact_diagnostic);
		lua_setfield(L, -2, "diagnostic_text");
		lua_pushboolean(L, w->redact_hosts);
		lua_setfield(L, -2, "internal_hosts");
		lua_pushboolean(L, w->redact_rcpts);
		lua_setfield(L, -2, "recipient_list");
		lua_pushboolean(L, w->redact_received);
		lua_setfield(L, -2, "received");
		lua_pushboolean(L, w->redact_subject);
		lua_setfield(L, -2, "subject");
		lua_setfield(L, -2, "redact");
		lua_setfield(L, -2, "bounce");
	}
}

/* ---- The call ---- */

static void
call_done(void *owner, uint64_t ticket, struct verdict *v)
{
	struct call *c = owner;

	verdict_move(&c->v, v);
	c->is_over = true;
}

static bool
is_over(void *arg)
{
	return ((struct call *)arg)->is_over;
}

static void
take_all(lua_State *L, struct call *c, enum policy_hook hook, int t)
{
	static const char *const fields[] = { "session", "message", "rcpt", "relay", "state", "name", "cred", "domain",
		"route", "day", "hop", "result", "bounce", "reason", NULL };

	policy_opts_check(L, t, "env:call", fields);
	c->s.rcpt = -1;
	c->s.rcpt_state = policy_opt_string(L, t, "env:call", "state", false, 20);
	if (c->s.rcpt_state == NULL)
		c->s.rcpt_state = hook <= HOOK_DISCONNECT ? "new" : "active";
	c->s.relay = policy_opt_string(L, t, "env:call", "relay", false, 20);
	c->s.name = policy_opt_string(L, t, "env:call", "name", false, 255);
	c->s.domain = policy_opt_string(L, t, "env:call", "domain", false, 255);
	c->s.day = policy_opt_string(L, t, "env:call", "day", false, 10);
	c->s.reason = policy_opt_string(L, t, "env:call", "reason", false, 20);
	c->s.may_edit = hook <= HOOK_DISCONNECT;
	if (sub_table(L, t, "session")) {
		take_session(L, c);
	} else if (hook <= HOOK_DISCONNECT) {
		lua_newtable(L);
		take_session(L, c);
	}
	if (sub_table(L, t, "message"))
		take_message(L, c);
	take_rcpt(L, c, t);
	take_route(L, c, t);
	if (sub_table(L, t, "cred"))
		take_cred(L, c);
	if (sub_table(L, t, "hop")) {
		take_hop(L, c);
	} else if (hook == HOOK_ATTEMPT || hook == HOOK_EHLO || hook == HOOK_UNMET) {
		lua_newtable(L);
		take_hop(L, c);
	}
	if (sub_table(L, t, "result")) {
		take_result(L, c);
	} else if (hook == HOOK_RESULT) {
		lua_newtable(L);
		take_result(L, c);
	}
	if (sub_table(L, t, "bounce")) {
		take_bounce(L, c, hook == HOOK_DSN);
	} else if (hook == HOOK_BOUNCE || hook == HOOK_DSN) {
		lua_newtable(L);
		take_bounce(L, c, hook == HOOK_DSN);
	}
}

static void
must_have(lua_State *L, const struct call *c, enum policy_hook hook)
{
	bool needs_msg = hook == HOOK_MAIL || hook == HOOK_RCPT || hook == HOOK_DATA || hook == HOOK_HEADER ||
	    hook == HOOK_MESSAGE || hook == HOOK_BOUNCE_IN || hook == HOOK_ROUTE || (hook >= HOOK_ATTEMPT && hook <= HOOK_DSN);

	if (needs_msg && c->msg == NULL)
		luaL_error(L, "env:call: the hook %s looks at a message; give message = { from = ..., to = ... }",
		    policy_hook_name(hook));
	if ((hook == HOOK_RCPT || hook == HOOK_ROUTE || hook == HOOK_RESULT) && c->s.rcpt < 0)
		luaL_error(L, "env:call: the hook %s looks at a recipient; give rcpt = \"bob@x.example\"", policy_hook_name(hook));
	if ((hook == HOOK_TLS_POLICY || hook == HOOK_TLSRPT) && c->s.domain == NULL)
		luaL_error(L, "env:call: the hook %s looks at a domain; give domain = \"x.example\"", policy_hook_name(hook));
	if (hook == HOOK_AUTH && c->s.cred == NULL)
		luaL_error(L, "env:call: the hook auth looks at cred = { user = ..., password = ... }");
	if (hook == HOOK_LOG || hook == HOOK_EVERY)
		luaL_error(L, "env:call: the hook %s cannot be called alone", policy_hook_name(hook));
}

/* env:call(hook, args) -> verdict or nil, effects */
int
env_call(lua_State *L)
{
	struct env *e = check_env(L, 1);
	const char *name = luaL_checkstring(L, 2), *near;
	enum policy_hook hook = policy_hook_parse(slice_of(name));
	struct call *c;

	if (hook == HOOKS) {
		near = policy_nearest(name, policy_hook_names);
		return luaL_error(L, "env:call: there is no hook '%s'%s%s%s", name, near == NULL ? "" : "; did you mean '",
		    near == NULL ? "" : near, near == NULL ? "" : "'?");
	}
	lua_settop(L, 3);
	if (lua_isnil(L, 3)) {
		lua_newtable(L);
		lua_replace(L, 3);
	}
	c = lua_newuserdatauv(L, sizeof *c, 0);
	memset(c, 0, sizeof *c);
	c->w = e->w;
	if (luaL_newmetatable(L, CALL_MT)) {
		lua_pushcfunction(L, call_gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_setmetatable(L, -2);
	luaL_checkstack(L, 300, "env:call");
	take_all(L, c, hook, 3);
	must_have(L, c, hook);
	if (hook == HOOK_BOUNCE_IN) {
		struct header h;

		c->has_report = header_parse(&h, c->s.header) &&
		    report_parse(&c->report, &h, content_body_peek(c->msg->content, SIZE_MAX), true);
		if (!c->has_report)
			return luaL_error(L, "env:call: the message is no report (multipart/report)");
		header_fini(&h);
		c->s.report = &c->report;
	}
	if (policy_call(world_policy(e->w), world_generation(e->w), hook, &c->s, &c->v, call_done, c, &c->ticket) ==
	    POLICY_LATER && !world_until(e->w, is_over, c, PATIENCE_MS)) {
		policy_cancel(world_policy(e->w), c->ticket);
		return luaL_error(L, "env:call: the handler waits and nothing comes");
	}
	push_verdict(L, &c->v);
	push_effects(L, c);
	return 2;
}
