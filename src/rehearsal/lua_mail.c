/* Sessions, messages, next hops and notices, as a test sees them. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "rehearsal/lua_int.h"

#define SESSION_MT "test.session"
#define MSG_MT "test.message"
#define PEER_MT "test.peer"

struct lua_session {
	struct env *e;
	struct world *w;		/* to see that e still is the same */
	struct guest *g;
};
struct lua_msg {
	struct env *e;
	struct world *w;
	uint64_t id;			/* 0: was not taken */
	struct guest_reply reply;
	json_t *shown;			/* as it was last in the queue */
};
struct lua_peer {
	struct env *e;
	struct world *w;
	struct peer *p;
};

static void
must_live(lua_State *L, const struct env *e, const struct world *w)
{
	if (e->w != w || w == NULL)
		luaL_error(L, "its env is over: another t.env has taken its place");
}

/* ---- Next hops ---- */

static char **
take_list(lua_State *L, int t, const char *key, size_t *n_out)
{
	char **v = NULL;
	lua_Integer n;

	*n_out = 0;
	if (lua_getfield(L, t, key) == LUA_TSTRING) {
		v = xcalloc(1, sizeof *v);
		v[(*n_out)++] = xstrdup(lua_tostring(L, -1));
	} else if (lua_type(L, -1) == LUA_TTABLE) {
		n = luaL_len(L, -1);
		v = xcalloc((size_t)n + 1, sizeof *v);
		for (lua_Integer i = 1; i <= n; i++) {
			lua_geti(L, -1, i);
			if (lua_type(L, -1) == LUA_TSTRING)
				v[(*n_out)++] = xstrdup(lua_tostring(L, -1));
			lua_pop(L, 1);
		}
	}
	lua_pop(L, 1);
	return v;
}

static void
take_tls(lua_State *L, struct peer *p)
{
	static const char *const fields[] = { "verified", "version", "cipher", "names", "pin", "fails", "error", NULL };
	static const char *const words[] = { "no", "pkix", "dane", "pin" };
	int t = lua_gettop(L);
	const char *verified;
	size_t i = 0;

	policy_opts_check(L, t, "env:peer: tls", fields);
	verified = policy_opt_string(L, t, "env:peer: tls", "verified", false, 10);
	while (verified != NULL && i < NELEMS(words) && strcmp(words[i], verified) != 0)
		i++;
	if (i == NELEMS(words))
		luaL_error(L, "env:peer: tls.verified is \"dane\", \"pkix\", \"pin\" or \"no\"");
	if (verified != NULL)
		p->tls.verified = (enum peer_verified)i;
	p->tls.version = xstrdup(policy_opt_string(L, t, "env:peer: tls", "version", false, 20));
	p->tls.cipher = xstrdup(policy_opt_string(L, t, "env:peer: tls", "cipher", false, 60));
	p->tls.pin = xstrdup(policy_opt_string(L, t, "env:peer: tls", "pin", false, 80));
	p->tls.why = xstrdup(policy_opt_string(L, t, "env:peer: tls", "error", false, 200));
	p->tls.fails = policy_opt_bool(L, t, "env:peer: tls", "fails", false);
	p->tls.names = take_list(L, t, "names", &p->tls.nnames);
}

static struct peer_script *
add_script(lua_State *L, struct peer *p, const char *verb, const char *of)
{
	static const char *const verbs[] = { "banner", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "content", NULL };
	struct peer_script *s;
	size_t i = 0;

	while (verbs[i] != NULL && strcmp(verbs[i], verb) != 0)
		i++;
	if (verbs[i] == NULL)
		luaL_error(L, "env:peer: replies has no '%s'; there are banner, ehlo, starttls, auth, mail, rcpt, data and content "
		    "(the reply to the whole message)", verb);
	p->scripts = xrealloc(p->scripts, (p->nscripts + 1) * sizeof *p->scripts);
	s = &p->scripts[p->nscripts++];
	*s = (struct peer_script){ .verb = xstrdup(verb), .of = xstrdup(of) };
	return s;
}

static void
add_reply(lua_State *L, struct peer_script *s, const char *text)
{
	if (strcmp(text, "close") != 0 && (strlen(text) < 3 || strspn(text, "0123456789") != 3))
		luaL_error(L, "env:peer: replies: \"%s\" is no reply of SMTP, such as \"450 4.2.0 Try later\", nor \"close\"",
		    text);
	s->replies = xrealloc(s->replies, (s->n + 1) * sizeof *s->replies);
	s->replies[s->n++] = xstrdup(text);
}

/* { rcpt = "550 5.1.1 No", mail = { "450 4.2.0 Later", "250 OK" }, rcpt = { ["bob@x"] = "550 ..." } } */
static void
take_replies(lua_State *L, struct peer *p)
{
	int t = lua_gettop(L);

	luaL_checktype(L, t, LUA_TTABLE);
	lua_pushnil(L);
	while (lua_next(L, t) != 0) {
		const char *verb = luaL_checkstring(L, -2);
		struct peer_script *s;

		if (lua_type(L, -1) == LUA_TSTRING) {
			s = add_script(L, p, verb, NULL);
			add_reply(L, s, lua_tostring(L, -1));
		} else {
			luaL_checktype(L, -1, LUA_TTABLE);
			if (luaL_len(L, -1) > 0)
				add_script(L, p, verb, NULL);
			for (lua_Integer i = 1; i <= luaL_len(L, -1); i++) {
				lua_geti(L, -1, i);
				add_reply(L, &p->scripts[p->nscripts - 1], luaL_checkstring(L, -1));
				lua_pop(L, 1);
			}
			lua_pushnil(L);
			while (lua_next(L, -2) != 0) {
				if (lua_type(L, -2) == LUA_TSTRING) {
					s = add_script(L, p, verb, lua_tostring(L, -2));
					add_reply(L, s, luaL_checkstring(L, -1));
				}
				lua_pop(L, 1);
			}
		}
		lua_pop(L, 1);
	}
}

/* env:peer(host, { caps = { ... }, tls = { ... }, implicit_tls = bool, replies = { ... }, refuses = bool }) */
int
env_peer(lua_State *L)
{
	static const char *const fields[] = { "caps", "tls", "implicit_tls", "replies", "refuses", NULL };
	struct env *e = check_env(L, 1);
	const char *host = luaL_checkstring(L, 2);
	struct lua_peer *u;

	lua_settop(L, 3);
	if (lua_isnil(L, 3)) {
		lua_newtable(L);
		lua_replace(L, 3);
	}
	policy_opts_check(L, 3, "env:peer", fields);
	u = lua_newuserdatauv(L, sizeof *u, 1);
	*u = (struct lua_peer){ e, e->w, peer_new(e->w, host) };
	luaL_setmetatable(L, PEER_MT);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1);
	world_settle(e->w);
	u->p->caps = take_list(L, 3, "caps", &u->p->ncaps);
	u->p->implicit_tls = policy_opt_bool(L, 3, "env:peer", "implicit_tls", false);
	u->p->refuses = policy_opt_bool(L, 3, "env:peer", "refuses", false);
	if (lua_getfield(L, 3, "tls") == LUA_TTABLE)
		take_tls(L, u->p);
	lua_pop(L, 1);
	if (lua_getfield(L, 3, "replies") != LUA_TNIL)
		take_replies(L, u->p);
	lua_pop(L, 1);
	return 1;
}

static void
push_transcript(lua_State *L, const struct peer *p)
{
	lua_createtable(L, (int)p->nmails, 0);
	for (size_t i = 0; i < p->nmails; i++) {
		const struct peer_mail *m = p->mails[i];

		lua_createtable(L, 0, 8);
		lua_pushstring(L, m->mail);
		lua_setfield(L, -2, "mail");
		lua_pushstring(L, m->from);
		lua_setfield(L, -2, "from");
		lua_createtable(L, (int)m->nrcpts, 0);
		for (size_t k = 0; k < m->nrcpts; k++) {
			lua_pushstring(L, m->rcpts[k]);
			lua_rawseti(L, -2, (lua_Integer)k + 1);
		}
		lua_setfield(L, -2, "to");
		lua_pushlstring(L, buf_peek(&m->data), m->data.len);
		lua_setfield(L, -2, "data");
		lua_pushboolean(L, m->in_tls);
		lua_setfield(L, -2, "tls");
		lua_pushboolean(L, m->complete);
		lua_setfield(L, -2, "complete");
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

static int
peer_index(lua_State *L)
{
	const struct lua_peer *u = luaL_checkudata(L, 1, PEER_MT);
	const char *key = luaL_checkstring(L, 2);
	char ip[20];

	must_live(L, u->e, u->w);
	if (strcmp(key, "transcript") == 0) {
		push_transcript(L, u->p);
	} else if (strcmp(key, "connections") == 0) {
		lua_pushinteger(L, u->p->connections);
	} else if (strcmp(key, "host") == 0) {
		lua_pushstring(L, u->p->host);
	} else if (strcmp(key, "ip") == 0) {
		snprintf(ip, sizeof ip, "%u.%u.%u.%u", u->p->ip[0], u->p->ip[1], u->p->ip[2], u->p->ip[3]);
		lua_pushstring(L, ip);
	} else {
		return luaL_error(L, "a peer has no '%s'; it has transcript, connections, host and ip", key);
	}
	return 1;
}

/* ---- Messages ---- */

static json_t *
shown(struct lua_msg *m)
{
	json_t *now = m->id == 0 ? NULL : world_query(m->w, STORE_SHOW, m->id);

	if (now != NULL) {
		json_decref(m->shown);
		m->shown = now;
	}
	return now;
}

static json_t *
records(struct lua_msg *m)
{
	json_t *o = m->id == 0 ? NULL : world_query(m->w, STORE_EVIDENCE, m->id);
	json_t *rows = json_incref(json_object_get(o, "evidence"));

	json_decref(o);
	return rows;
}

/* "queued", "active", "held"; when it has left the queue what became of its last recipient. */
static void
push_state(lua_State *L, struct lua_msg *m)
{
	json_t *now = shown(m), *rows;
	const char *word = json_string_value(json_object_get(now, "state"));

	if (m->id == 0) {
		lua_pushliteral(L, "refused");
		return;
	}
	if (word != NULL) {
		/* Here it makes no difference who has it in hand. */
		lua_pushstring(L, strcmp(word, "active") == 0 ? "queued" : word);
		return;
	}
	rows = records(m);
	word = json_string_value(json_object_get(json_object_get(json_array_get(rows,
	    json_array_size(rows) == 0 ? 0 : json_array_size(rows) - 1), "record"), "event"));
	lua_pushstring(L, word == NULL ? "gone" : word);
	json_decref(rows);
}

static void
push_all_duties(lua_State *L, struct lua_msg *m)
{
	json_t *r;
	size_t i;

	shown(m);
	push_duties(L, json_string_value(json_object_get(m->shown, "duties")));
	json_array_foreach(json_object_get(m->shown, "recipients"), i, r) {
		push_duties(L, json_string_value(json_object_get(r, "duties")));
		for (lua_Integer k = 1; k <= (lua_Integer)lua_rawlen(L, -1); k++) {
			lua_rawgeti(L, -1, k);
			lua_pushvalue(L, -1);
			if (lua_rawget(L, -4) == LUA_TNIL) {
				lua_pushvalue(L, -2);
				lua_rawseti(L, -5, (lua_Integer)lua_rawlen(L, -5) + 1);
				lua_pushvalue(L, -2);
				lua_pushvalue(L, -3);
				lua_rawget(L, -5);
				lua_rawset(L, -6);
			}
			lua_pop(L, 2);
		}
		lua_pop(L, 1);
	}
}

static void
push_recipients(lua_State *L, struct lua_msg *m)
{
	lua_Integer n;

	shown(m);
	push_json(L, json_object_get(m->shown, "recipients"));
	n = lua_type(L, -1) == LUA_TTABLE ? (lua_Integer)lua_rawlen(L, -1) : 0;
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, i);
		lua_getfield(L, -1, "duties");
		push_duties(L, lua_tostring(L, -1));
		lua_setfield(L, -3, "duties");
		lua_pop(L, 2);
	}
}

/* msg:header(name): as it would go out, nil when it is not there. */
static int
msg_header(lua_State *L)
{
	struct lua_msg *m = luaL_checkudata(L, 1, MSG_MT);
	const char *name = luaL_checkstring(L, 2), *value = NULL;
	struct header h;
	json_t *e;
	size_t n, i;
	char *text;
	bool removed = false;

	must_live(L, m->e, m->w);
	shown(m);
	json_array_foreach(json_object_get(m->shown, "edits"), i, e) {
		const char *of = json_string_value(json_object_get(e, "name")), *v =
		    json_string_value(json_object_get(e, "value"));

		if (of == NULL || strcasecmp(of, name) != 0)
			continue;
		value = v;
		removed = v == NULL;
	}
	if (value != NULL || removed || m->id == 0) {
		lua_pushstring(L, value);
		return 1;
	}
	lua_pushnil(L);
	text = world_content(m->w, m->id, &n);
	if (header_parse(&h, (struct slice){ text, n })) {
		const struct header_field *f = header_find(&h, name, 1);

		if (f != NULL) {
			char *plain = header_decode(f->value);

			lua_pushstring(L, plain);
			free(plain);
		}
		header_fini(&h);
	}
	free(text);
	return 1;
}

static int
msg_index(lua_State *L)
{
	static const char *const plain[] = { "tags", "vars", "from", "requiretls", "tls_required_no", "direction",
		"size", "generation", "edits", "duty_note", NULL };
	struct lua_msg *m = luaL_checkudata(L, 1, MSG_MT);
	const char *key = luaL_checkstring(L, 2);
	char id[ID_TEXT];
	json_t *j;

	must_live(L, m->e, m->w);
	if (strcmp(key, "reply") == 0) {
		push_reply(L, &m->reply);
	} else if (strcmp(key, "duties") == 0) {
		push_all_duties(L, m);
	} else if (strcmp(key, "state") == 0) {
		push_state(L, m);
	} else if (strcmp(key, "held") == 0 || strcmp(key, "queued") == 0) {
		push_state(L, m);
		lua_pushboolean(L, strcmp(lua_tostring(L, -1), key) == 0);
	} else if (strcmp(key, "hold_reason") == 0) {
		shown(m);
		lua_pushstring(L, json_string_value(json_object_get(json_array_get(json_object_get(m->shown,
		    "recipients"), 0), "hold_reason")));
	} else if (strcmp(key, "recipients") == 0) {
		push_recipients(L, m);
	} else if (strcmp(key, "records") == 0) {
		j = records(m);
		push_json(L, j);
		json_decref(j);
	} else if (strcmp(key, "id") == 0) {
		id_format(id, m->id);
		lua_pushstring(L, m->id == 0 ? NULL : id);
	} else if (strcmp(key, "header") == 0) {
		lua_pushcfunction(L, msg_header);
	} else {
		const char *const *p = plain;

		while (*p != NULL && strcmp(*p, key) != 0)
			p++;
		if (*p == NULL)
			return luaL_error(L, "a message of a test has no '%s'; it has reply, state, held, queued, duties, tags, "
			    "vars, recipients, records, hold_reason, header(name) and what `queue show` shows", key);
		shown(m);
		push_json(L, json_object_get(m->shown, key));
	}
	return 1;
}

static int
msg_gc(lua_State *L)
{
	struct lua_msg *m = luaL_checkudata(L, 1, MSG_MT);

	json_decref(m->shown);
	m->shown = NULL;
	return 0;
}

/* ---- Sessions ---- */

/* "10.1.2.3" and "2001:db8::1" become what net_addr_parse takes. */
static const char *
ip_text(lua_State *L, const char *ip)
{
	const char *colon = ip == NULL ? NULL : strchr(ip, ':');

	if (colon == NULL || strchr(colon + 1, ':') == NULL || ip[0] == '[')
		return ip;
	return lua_pushfstring(L, "[%s]", ip);
}

void
take_client_tls(lua_State *L, int t, struct tls_info *info)
{
	static const char *const fields[] = { "version", "cipher", "sni", "client", NULL };
	static const char *const client[] = { "subject", "issuer", "names", "fingerprint", "verified", NULL };
	static const char api[] = "env:session: tls", who[] = "env:session: tls.client";
	int c;

	policy_opts_check(L, t, api, fields);
	info->version = policy_opt_string(L, t, api, "version", false, 20);
	info->cipher = policy_opt_string(L, t, api, "cipher", false, 60);
	info->sni = policy_opt_string(L, t, api, "sni", false, 255);
	if (lua_getfield(L, t, "client") == LUA_TNIL)
		return;
	c = lua_gettop(L);
	policy_opts_check(L, c, who, client);
	info->subject = policy_opt_string(L, c, who, "subject", false, 500);
	info->issuer = policy_opt_string(L, c, who, "issuer", false, 500);
	info->cert_sha256 = policy_opt_string(L, c, who, "fingerprint", false, 64);
	info->chain_ok = policy_opt_bool(L, c, who, "verified", false);
	if (!info->chain_ok)
		info->verify_error = "self-signed certificate";
	if (lua_getfield(L, c, "names") == LUA_TTABLE) {
		luaL_Buffer b;

		luaL_buffinit(L, &b);
		for (lua_Integer i = 1; i <= luaL_len(L, c + 1); i++) {
			if (i > 1)
				luaL_addchar(&b, ',');
			lua_geti(L, c + 1, i);
			luaL_addvalue(&b);
		}
		luaL_pushresult(&b);
	}
	info->names = lua_tostring(L, -1);
	if (info->cert_sha256 == NULL)
		info->cert_sha256 = "2222222222222222222222222222222222222222222222222222222222222222";
	if (info->subject == NULL)
		info->subject = "CN=client";
}

int
env_session(lua_State *L)
{
	static const char *const fields[] = { "listener", "ip", "tls", "auth", "helo", "user", "password", "connect_only",
		NULL };
	static const char api[] = "env:session";
	struct env *e = check_env(L, 1);
	struct guest_conf c = { 0 };
	struct tls_info info = { 0 };
	struct lua_session *s;
	struct err err = { "" };

	lua_settop(L, 2);
	if (lua_isnil(L, 2)) {
		lua_newtable(L);
		lua_replace(L, 2);
	}
	policy_opts_check(L, 2, api, fields);
	c.listener = policy_opt_string(L, 2, api, "listener", false, 100);
	c.ip = ip_text(L, policy_opt_string(L, 2, api, "ip", false, 100));
	c.helo = policy_opt_string(L, 2, api, "helo", false, 255);
	c.user = policy_opt_string(L, 2, api, "user", false, 255);
	c.password = policy_opt_string(L, 2, api, "password", false, 255);
	c.stay_out = policy_opt_bool(L, 2, api, "connect_only", false);
	if (lua_getfield(L, 2, "tls") == LUA_TTABLE) {
		take_client_tls(L, lua_gettop(L), &info);
		c.tls_info = &info;
		c.tls = true;
	} else {
		c.tls = lua_toboolean(L, -1);
	}
	if (lua_getfield(L, 2, "auth") == LUA_TTABLE) {
		int t = lua_gettop(L);

		c.auth = policy_opt_string(L, t, "env:session: auth", "id", true, 255);
		if (lua_getfield(L, t, "attrs") == LUA_TTABLE) {
			struct buf *b = policy_push_buf(L, 16384);

			policy_json_encode(L, lua_gettop(L) - 1, b);
			c.auth_attrs = lua_pushlstring(L, buf_peek(b), b->len);
		}
	} else if (lua_type(L, -1) == LUA_TSTRING) {
		c.auth = lua_tostring(L, -1);
	}
	s = lua_newuserdatauv(L, sizeof *s, 1);
	*s = (struct lua_session){ e, e->w, NULL };
	luaL_setmetatable(L, SESSION_MT);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1);
	s->g = guest_new(e->w, &c, &err);
	if (s->g == NULL)
		return luaL_error(L, "env:session: %s", err.text);
	return 1;
}

static struct lua_session *
check_session(lua_State *L)
{
	struct lua_session *s = luaL_checkudata(L, 1, SESSION_MT);

	must_live(L, s->e, s->w);
	return s;
}

static const char *
bare(const char *address)
{
	return address == NULL ? "" : address;
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void
put_field(struct buf *b, const char *name, const char *value)
{
	buf_printf(b, "%s: ", name);
	for (; *value != '\0'; value++) {
		if (*value == '\n')
			buf_adds(b, "\r\n");
		else if (*value != '\r')
			buf_addc(b, *value);
	}
	buf_adds(b, "\r\n");
}

/* headers = { Subject = "x" } in the order of their names, or { { "Subject", "x" }, ... } as they stand. */
static void
put_headers(lua_State *L, int t, struct buf *b, const char *from, const char *to, int64_t now_ms)
{
	static const char *const usual[] = { "From", "To", "Date", "Message-ID" };
	const char *keys[200];
	bool has[4] = { false };
	char date[64];
	size_t n = 0;
	int h;

	lua_getfield(L, t, "headers");
	h = lua_gettop(L);
	if (lua_type(L, h) == LUA_TTABLE && luaL_len(L, h) > 0) {
		for (lua_Integer i = 1; i <= luaL_len(L, h); i++) {
			lua_geti(L, h, i);
			luaL_checktype(L, -1, LUA_TTABLE);
			lua_geti(L, -1, 1);
			lua_geti(L, -2, 2);
			put_field(b, luaL_checkstring(L, -2), luaL_checkstring(L, -1));
			for (size_t k = 0; k < 4; k++)
				has[k] = has[k] || strcasecmp(usual[k], lua_tostring(L, -2)) == 0;
			lua_pop(L, 3);
		}
	} else if (lua_type(L, h) == LUA_TTABLE) {
		lua_pushnil(L);
		while (lua_next(L, h) != 0 && n < NELEMS(keys)) {
			lua_pop(L, 1);
			keys[n++] = luaL_checkstring(L, -1);
		}
		if (n > 1)
			qsort(keys, n, sizeof *keys, by_text);
		for (size_t i = 0; i < n; i++) {
			lua_getfield(L, h, keys[i]);
			if (lua_type(L, -1) == LUA_TTABLE) {
				for (lua_Integer k = 1; k <= luaL_len(L, -1); k++) {
					lua_geti(L, -1, k);
					put_field(b, keys[i], luaL_checkstring(L, -1));
					lua_pop(L, 1);
				}
			} else {
				put_field(b, keys[i], luaL_checkstring(L, -1));
			}
			lua_pop(L, 1);
			for (size_t k = 0; k < 4; k++)
				has[k] = has[k] || strcasecmp(usual[k], keys[i]) == 0;
		}
	}
	date_rfc5322(date, sizeof date, now_ms);
	if (!has[0])
		buf_printf(b, "From: <%s>\r\n", from);
	if (!has[1])
		buf_printf(b, "To: <%s>\r\n", to);
	if (!has[2])
		buf_printf(b, "Date: %s\r\n", date);
	if (!has[3])
		buf_adds(b, "Message-ID: <rehearsal@client.example>\r\n");
	lua_settop(L, t);
}

void
put_message(lua_State *L, int t, struct buf *out, const char *from, const char *to, int64_t now_ms)
{
	struct buf b;
	size_t n;
	const char *p;

	buf_init(&b, 64u << 20);
	if (lua_getfield(L, t, "raw") == LUA_TSTRING) {
		p = lua_tolstring(L, -1, &n);
		buf_add(&b, p, n);
	} else {
		put_headers(L, t, &b, from, to, now_ms);
		buf_adds(&b, "\r\n");
		if (lua_getfield(L, t, "body") == LUA_TSTRING) {
			p = lua_tolstring(L, -1, &n);
			buf_add(&b, p, n);
		} else {
			buf_adds(&b, "A message of a rehearsal.\r\n");
		}
	}
	p = buf_peek(&b);
	for (size_t i = 0; i < b.len; i++) {
		if (p[i] == '\n' && (i == 0 || p[i - 1] != '\r'))
			buf_addc(out, '\r');
		buf_addc(out, p[i]);
	}
	if (b.len == 0 || p[b.len - 1] != '\n')
		buf_adds(out, "\r\n");
	buf_fini(&b);
	lua_settop(L, t);
}

/* With the dots that DATA wants. */
static void
put_content(lua_State *L, int t, struct buf *out, const char *from, const char *to, int64_t now_ms)
{
	const char *p;
	struct buf b;

	buf_init(&b, 64u << 20);
	put_message(L, t, &b, from, to, now_ms);
	p = buf_peek(&b);
	for (size_t i = 0; i < b.len; i++) {
		if (p[i] == '.' && (i == 0 || p[i - 1] == '\n'))
			buf_addc(out, '.');
		buf_addc(out, p[i]);
	}
	buf_adds(out, ".\r\n");
	buf_fini(&b);
}

static uint64_t
id_of_reply(const struct guest_reply *r)
{
	char word[64];
	uint64_t id = 0;

	for (const char *p = r->text; *p != '\0'; p += strcspn(p, " \n"), p += strspn(p, " \n")) {
		snprintf(word, sizeof word, "%.*s", (int)strcspn(p, " \n"), p);
		if (strlen(word) == 13 && id_parse(word, &id))
			return id;
	}
	return 0;
}

static struct lua_msg *
new_msg(lua_State *L, struct lua_session *s)
{
	struct lua_msg *m = lua_newuserdatauv(L, sizeof *m, 1);

	*m = (struct lua_msg){ .e = s->e, .w = s->w };
	luaL_setmetatable(L, MSG_MT);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1);
	return m;
}

/* MAIL and RCPT; true when there is somebody to send to. */
static bool
envelope(lua_State *L, struct guest *g, const char *from, const char *more, char **to, size_t nto,
    struct guest_reply *out)
{
	char *line = xasprintf("MAIL FROM:<%s>%s", from, more);
	size_t good = 0;

	*out = *guest_say(g, "mail", line);
	free(line);
	if (out->code != 250)
		return false;
	for (size_t i = 0; i < nto; i++) {
		/* "a@x.example NOTIFY=NEVER" has parameters behind it. */
		size_t n = strcspn(to[i], " ");

		line = xasprintf("RCPT TO:<%.*s>%s", (int)n, to[i], to[i] + n);
		*out = *guest_say(g, "rcpt", line);
		free(line);
		good += out->code == 250;
	}
	return good > 0;
}

/* s:send{ from, to, headers, body, raw, requiretls, params } -> message */
static int
session_send(lua_State *L)
{
	static const char *const fields[] = { "from", "to", "headers", "body", "raw", "requiretls", "params", NULL };
	struct lua_session *s = check_session(L);
	const char *from, *params;
	struct lua_msg *m;
	struct buf content;
	char **to;
	size_t nto;

	lua_settop(L, 2);
	policy_opts_check(L, 2, "session:send", fields);
	from = bare(policy_opt_string(L, 2, "session:send", "from", false, 320));
	params = policy_opt_string(L, 2, "session:send", "params", false, 500);
	if (params != NULL)
		params = lua_pushfstring(L, " %s", params);
	if (policy_opt_bool(L, 2, "session:send", "requiretls", false))
		params = lua_pushfstring(L, " REQUIRETLS%s", bare(params));
	m = new_msg(L, s);
	buf_init(&content, 130u << 20);
	to = take_list(L, 2, "to", &nto);
	if (nto == 0) {
		free(to);
		return luaL_error(L, "session:send: to is missing");
	}
	if (envelope(L, s->g, from, bare(params), to, nto, &m->reply)) {
		m->reply = *guest_say(s->g, "data", "DATA");
		if (m->reply.code == 354) {
			lua_pushvalue(L, 2);
			put_content(L, lua_gettop(L), &content, from, to[0], world_now_ms(s->w));
			lua_pop(L, 1);
			m->reply = *guest_send(s->g, "message", buf_peek(&content), content.len);
		}
	}
	if (m->reply.code == 250)
		m->id = id_of_reply(&m->reply);
	else if (!s->g->eof)
		(void)guest_say(s->g, "rset", "RSET");
	buf_fini(&content);
	for (size_t i = 0; i < nto; i++)
		free(to[i]);
	free(to);
	if (m->id != 0)
		m->shown = world_query(s->w, STORE_SHOW, m->id);
	return 1;
}

static int
session_say(lua_State *L)
{
	struct lua_session *s = check_session(L);

	push_reply(L, guest_say(s->g, "say", luaL_checkstring(L, 2)));
	return 1;
}

static int
session_quit(lua_State *L)
{
	struct lua_session *s = check_session(L);

	push_reply(L, guest_say(s->g, "quit", "QUIT"));
	guest_close(s->g);
	return 1;
}

static int
session_close(lua_State *L)
{
	guest_close(check_session(L)->g);
	return 0;
}

static int
session_index(lua_State *L)
{
	static const luaL_Reg methods[] = { { "send", session_send }, { "say", session_say }, { "quit", session_quit },
		{ "close", session_close }, { NULL, NULL } };
	struct lua_session *s = check_session(L);
	const char *key = luaL_checkstring(L, 2);

	for (const luaL_Reg *r = methods; r->name != NULL; r++) {
		if (strcmp(r->name, key) == 0) {
			lua_pushcfunction(L, r->func);
			return 1;
		}
	}
	if (strcmp(key, "reply") == 0)
		push_reply(L, &s->g->last);
	else if (strcmp(key, "caps") == 0)
		lua_pushstring(L, s->g->ehlo);
	else if (strcmp(key, "closed") == 0)
		lua_pushboolean(L, s->g->eof);
	else
		return luaL_error(L, "a session has no '%s'; it has send, say, quit, close, reply, caps and closed", key);
	return 1;
}

/* ---- Notices ---- */

static const char *
find_line(lua_State *L, const char *text, size_t n, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = text, *nl; (nl = memchr(p, '\n', n - (size_t)(p - text))) != NULL; p = nl + 1)
		if (strncasecmp(p, name, len) == 0 && p[len] == ':')
			return lua_pushlstring(L, p + len + 2, (size_t)(nl - p) - len - 2 - (nl[-1] == '\r'));
	return NULL;
}

/* env:notices() -> { { to, subject, text, status, action, duties }, ... }: what delivery wrote to senders. */
int
env_notices(lua_State *L)
{
	struct env *e = check_env(L, 1);
	struct msg *msg;

	world_settle(e->w);
	lua_newtable(L);
	for (size_t i = 0; (msg = world_notice(e->w, i)) != NULL; i++) {
		static const char *const lines[][2] = { { "subject", "Subject" }, { "status", "Status" },
			{ "action", "Action" }, { "from", "From" } };
		char duties[200];
		size_t n;
		char *text = world_content(e->w, msg->id, &n);

		lua_newtable(L);
		lua_pushstring(L, msg->nrcpts == 0 ? NULL : msg->rcpts[0].address);
		lua_setfield(L, -2, "to");
		lua_pushlstring(L, text, n);
		lua_setfield(L, -2, "text");
		for (size_t k = 0; k < NELEMS(lines); k++)
			if (find_line(L, text, n, lines[k][1]) != NULL)
				lua_setfield(L, -2, lines[k][0]);
		duties_format(duties, sizeof duties, msg->duties);
		push_duties(L, duties);
		lua_setfield(L, -2, "duties");
		lua_rawseti(L, -2, (lua_Integer)i + 1);
		free(text);
	}
	return 1;
}

static void
index_mt(lua_State *L, const char *name, lua_CFunction index, lua_CFunction gc)
{
	luaL_newmetatable(L, name);
	lua_pushcfunction(L, index);
	lua_setfield(L, -2, "__index");
	if (gc != NULL) {
		lua_pushcfunction(L, gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pop(L, 1);
}

void
test_mail_open(lua_State *L)
{
	index_mt(L, SESSION_MT, session_index, NULL);
	index_mt(L, MSG_MT, msg_index, msg_gc);
	index_mt(L, PEER_MT, peer_index, NULL);
}
