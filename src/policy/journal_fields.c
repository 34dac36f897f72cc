/* Subjects as JSON and back. One table for each struct serves both ways; numbers that are enums in C are written as
 * they are, and JOURNAL_VERSION changes with their meaning. Fields at their default are left out. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/journal_int.h"

enum type { F_TEXT, F_ARRAY, F_BOOL, F_INT, F_U16, F_U32, F_I64, F_U64, F_ID };
struct field {
	const char *key;
	enum type type;
	size_t at, size;
};
#define F(type, s, m) { #m, F_##type, offsetof(struct s, m), sizeof(((struct s *)0)->m) }

static const struct field info_fields[] = {
	F(ID, smtp_session_info, id), F(ARRAY, smtp_session_info, peer_ip), F(TEXT, smtp_session_info, helo),
	F(TEXT, smtp_session_info, auth_id), F(TEXT, smtp_session_info, auth_mech), F(BOOL, smtp_session_info, esmtp),
	F(I64, smtp_session_info, started_ms), F(U32, smtp_session_info, messages),
	F(U32, smtp_session_info, recipients), F(U32, smtp_session_info, errors),
};
static const struct field session_fields[] = {
	F(TEXT, policy_session, peer_name), F(TEXT, policy_session, auth_attrs),
};
static const struct field tls_fields[] = {
	F(TEXT, tls_info, version), F(TEXT, tls_info, cipher), F(TEXT, tls_info, group), F(TEXT, tls_info, sni),
	F(BOOL, tls_info, resumed), F(BOOL, tls_info, is_modern), F(TEXT, tls_info, cert_sha256),
	F(TEXT, tls_info, spki_sha256), F(TEXT, tls_info, subject), F(TEXT, tls_info, issuer), F(TEXT, tls_info, names),
	F(TEXT, tls_info, not_after), F(BOOL, tls_info, chain_ok), F(BOOL, tls_info, name_ok),
	F(BOOL, tls_info, name_matches), F(BOOL, tls_info, dane_ok), F(BOOL, tls_info, pin_ok),
	F(TEXT, tls_info, verify_error),
};
static const struct field msg_fields[] = {
	F(ID, msg, id), F(ID, msg, session), F(I64, msg, received_ms), F(TEXT, msg, from), F(TEXT, msg, from_domain),
	F(U32, msg, flags), F(INT, msg, direction), F(INT, msg, body_type), F(INT, msg, ret), F(TEXT, msg, envid),
	F(TEXT, msg, auth_param), F(INT, msg, tls_no), F(U32, msg, duties), F(TEXT, msg, duty_note),
	F(TEXT, msg, generation), F(TEXT, msg, trace), F(U64, msg, content_size), F(U64, msg, header_size),
	F(TEXT, msg, peer_ip), F(TEXT, msg, peer_name), F(TEXT, msg, helo), F(TEXT, msg, listener), F(TEXT, msg, proto),
	F(TEXT, msg, tls_in), F(TEXT, msg, auth_id),
};
static const struct field rcpt_fields[] = {
	F(TEXT, msg_rcpt, address), F(TEXT, msg_rcpt, domain), F(TEXT, msg_rcpt, orcpt), F(U32, msg_rcpt, notify),
	F(U32, msg_rcpt, duties), F(TEXT, msg_rcpt, route), F(TEXT, msg_rcpt, next_hop), F(U32, msg_rcpt, num),
	F(BOOL, msg_rcpt, held), F(BOOL, msg_rcpt, discarded),
};
static const struct field hop_fields[] = {
	F(TEXT, policy_hop, destination), F(TEXT, policy_hop, host), F(TEXT, policy_hop, ip), F(U16, policy_hop, port),
	F(U16, policy_hop, preference), F(U32, policy_hop, attempt), F(INT, policy_hop, mx), F(INT, policy_hop, sts),
	F(BOOL, policy_hop, sts_matches), F(I64, policy_hop, sts_max_age), F(INT, policy_hop, tlsa),
	F(U32, policy_hop, tlsa_count), F(U32, policy_hop, caps), F(INT, policy_hop, verified),
	F(U32, policy_hop, duties), F(U32, policy_hop, met), F(U32, policy_hop, unmet), F(TEXT, policy_hop, relaxed),
};
static const struct field result_fields[] = {
	F(TEXT, policy_result, kind), F(INT, policy_result, code), F(TEXT, policy_result, status),
	F(TEXT, policy_result, text), F(TEXT, policy_result, stage), F(U32, policy_result, attempts),
	F(I64, policy_result, first_attempt_ms), F(I64, policy_result, next_attempt_ms),
};
static const struct field dsn_rcpt_fields[] = {
	F(TEXT, dsn_rcpt, address), F(TEXT, dsn_rcpt, orcpt), F(INT, dsn_rcpt, action), F(TEXT, dsn_rcpt, status),
	F(TEXT, dsn_rcpt, remote_mta), F(TEXT, dsn_rcpt, reply), F(TEXT, dsn_rcpt, diagnostic),
	F(I64, dsn_rcpt, last_attempt_ms), F(I64, dsn_rcpt, retry_until_ms),
};
static const struct field words_fields[] = {
	F(TEXT, dsn_words, from_header), F(TEXT, dsn_words, subject), F(TEXT, dsn_words, language),
	F(TEXT, dsn_words, template_name), F(TEXT, dsn_words, text), F(TEXT, dsn_words, html), F(TEXT, dsn_words, footer),
	F(INT, dsn_words, return_content), F(BOOL, dsn_words, redact_diagnostic), F(BOOL, dsn_words, redact_hosts),
	F(BOOL, dsn_words, redact_rcpts), F(BOOL, dsn_words, redact_received), F(BOOL, dsn_words, redact_subject),
	F(INT, dsn_words, protect), F(TEXT, dsn_words, copy_to),
};
static const struct field subject_fields[] = {
	F(BOOL, policy_subject, may_edit), F(INT, policy_subject, rcpt), F(TEXT, policy_subject, relay),
	F(TEXT, policy_subject, name), F(TEXT, policy_subject, domain), F(TEXT, policy_subject, day),
	F(TEXT, policy_subject, rcpt_state), F(TEXT, policy_subject, reason),
};
static const struct field verdict_fields[] = {
	F(INT, verdict, code), F(ARRAY, verdict, status), F(TEXT, verdict, text), F(TEXT, verdict, reason),
	F(TEXT, verdict, queue), F(I64, verdict, after_ms), F(I64, verdict, expires_ms), F(BOOL, verdict, relay),
	F(TEXT, verdict, ca_file), F(TEXT, verdict, min_version), F(I64, verdict, ttl_ms), F(INT, verdict, on_unmet),
	F(TEXT, verdict, grant), F(U32, verdict, hide_ext), F(TEXT, verdict, identity), F(TEXT, verdict, attrs),
	F(BOOL, verdict, is_error), F(ARRAY, verdict, handler), F(ARRAY, verdict, where),
};

/* ---- Writing ---- */

json_t *
journal_text(const char *p, size_t n)
{
	json_t *o = utf8_is_valid(p, n) ? json_stringn(p, n) : NULL;
	char *hex;

	if (o != NULL)
		return o;
	hex = xmalloc(2 * n + 1);
	hex_encode(hex, (const uint8_t *)p, n);
	o = json_pack("{s:s}", "$b", hex);
	free(hex);
	return o;
}

static json_t *
value_of(const void *base, const struct field *f)
{
	const char *p = (const char *)base + f->at, *s;
	char id[ID_TEXT];
	int64_t i = 0;

	switch (f->type) {
	case F_TEXT:
		s = *(const char *const *)(const void *)p;
		return s == NULL ? NULL : journal_text(s, strlen(s));
	case F_ARRAY:
		return *p == '\0' ? NULL : journal_text(p, strlen(p));
	case F_BOOL:
		return *(const bool *)p ? json_true() : NULL;
	case F_ID:
		if (*(const uint64_t *)(const void *)p == 0)
			return NULL;
		id_format(id, *(const uint64_t *)(const void *)p);
		return json_string(id);
	case F_INT: i = *(const int *)(const void *)p; break;
	case F_U16: i = *(const uint16_t *)(const void *)p; break;
	case F_U32: i = *(const uint32_t *)(const void *)p; break;
	case F_I64: i = *(const int64_t *)(const void *)p; break;
	case F_U64: i = (int64_t)*(const uint64_t *)(const void *)p; break;
	}
	return i == 0 ? NULL : json_integer(i);
}

static json_t *
write_fields(json_t *o, const void *base, const struct field *f, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		json_t *v = value_of(base, &f[i]);

		if (v != NULL)
			json_object_set_new_nocheck(o, f[i].key, v);
	}
	return o;
}
#define WRITE(o, base, fields) write_fields(o, base, fields, NELEMS(fields))

static json_t *
parsed(char *text)	/* heap, taken; NULL gives null */
{
	json_error_t je;
	json_t *o = text == NULL ? NULL : json_loads(text, JSON_ALLOW_NUL | JSON_DECODE_ANY, &je);

	free(text);
	return o == NULL ? json_null() : o;
}

static json_t *
list_of(char *const *v, size_t n)
{
	json_t *l = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(l, journal_text(v[i], strlen(v[i])));
	return l;
}

static void
put(json_t *o, const char *key, json_t *v)
{
	if (v == NULL || json_is_null(v) || (json_is_array(v) && json_array_size(v) == 0) ||
	    (json_is_object(v) && json_object_size(v) == 0))
		json_decref(v);
	else
		json_object_set_new_nocheck(o, key, v);
}

static json_t *
address_of(const struct net_addr *a)
{
	char ip[NET_ADDR_TEXT], text[NET_ADDR_TEXT + 10];

	if (a == NULL || (a->ss.ss_family != AF_INET && a->ss.ss_family != AF_INET6))
		return NULL;
	net_addr_ip(a, ip);
	snprintf(text, sizeof text, strchr(ip, ':') != NULL ? "[%s]:%u" : "%s:%u", ip, net_addr_port(a));
	return json_string(text);
}

static json_t *
session_of(const struct policy_session *s)
{
	json_t *o = json_object();

	WRITE(o, s, session_fields);
	if (s->listener != NULL) {
		put(o, "listener", json_string(s->listener->name));
		put(o, "role", json_integer(s->listener->role));
	}
	if (s->info == NULL)
		return o;
	WRITE(o, s->info, info_fields);
	put(o, "peer", address_of(s->info->peer));
	put(o, "local", address_of(s->info->local));
	if (s->info->tls != NULL)
		json_object_set_new(o, "tls", WRITE(json_object(), s->info->tls, tls_fields));
	return o;
}

json_t *
journal_own(const struct msg *m)
{
	json_t *o, *rcpts;

	if (m == NULL)
		return NULL;
	o = json_pack("{s:I, s:i}", "duties", (json_int_t)m->duties, "tls_no", (int)m->tls_no);
	put(o, "tags", parsed(msg_tags_json(m)));
	put(o, "vars", parsed(msg_vars_json(m)));
	put(o, "edits", parsed(msg_edits_json(m)));
	put(o, "from", journal_text(m->from == NULL ? "" : m->from, m->from == NULL ? 0 : strlen(m->from)));
	rcpts = json_array();
	for (size_t i = 0; i < m->nrcpts; i++) {
		const struct msg_rcpt *r = &m->rcpts[i];
		json_t *ro = json_pack("{s:I, s:o}", "duties", (json_int_t)r->duties, "address",
		    journal_text(r->address, strlen(r->address)));

		put(ro, "tags", parsed(msg_rcpt_tags_json(r)));
		put(ro, "vars", parsed(msg_rcpt_vars_json(r)));
		json_array_append_new(rcpts, ro);
	}
	json_object_set_new(o, "rcpts", rcpts);
	return o;
}

static json_t *
msg_of(const struct msg *m)
{
	json_t *o = WRITE(json_object(), m, msg_fields), *l = json_array();

	for (size_t i = 0; i < m->nrcpts; i++) {
		json_t *r = WRITE(json_object(), &m->rcpts[i], rcpt_fields);

		put(r, "tags", parsed(msg_rcpt_tags_json(&m->rcpts[i])));
		put(r, "vars", parsed(msg_rcpt_vars_json(&m->rcpts[i])));
		json_array_append_new(l, r);
	}
	put(o, "rcpts", l);
	put(o, "tags", parsed(msg_tags_json(m)));
	put(o, "vars", parsed(msg_vars_json(m)));
	put(o, "edits", parsed(msg_edits_json(m)));
	return o;
}

static json_t *
hop_of(const struct policy_hop *h)
{
	json_t *o = WRITE(json_object(), h, hop_fields), *offered = json_array(), *worse = json_array();

	if (h->route != NULL)
		put(o, "route", parsed(route_to_json(h->route)));
	if (h->tls != NULL)
		json_object_set_new(o, "tls", WRITE(json_object(), h->tls, tls_fields));
	for (int i = 0; i < OFFERS; i++) {
		json_array_append_new(offered, json_integer(h->offered_ms[i]));
		json_array_append_new(worse, json_integer(h->worse_ms[i]));
	}
	put(o, "offered", offered);
	put(o, "worse", worse);
	return o;
}

static json_t *
result_of(const struct policy_result *r)
{
	json_t *o = WRITE(json_object(), r, result_fields), *l = json_array();

	for (size_t i = 0; i < r->ncause; i++)
		json_array_append_new(l, journal_text(r->cause[i], strlen(r->cause[i])));
	put(o, "cause", l);
	if (r->hop != NULL)
		json_object_set_new(o, "hop", hop_of(r->hop));
	return o;
}

/* Of a list with places that nothing stands in: what does, each behind the number of its place. */
static json_t *
places_of(char *const *v, size_t n)
{
	json_t *l = json_array();

	for (size_t i = 0; i < n; i++) {
		if (v[i] == NULL)
			continue;
		json_array_append_new(l, json_integer((json_int_t)i));
		json_array_append_new(l, journal_text(v[i], strlen(v[i])));
	}
	return l;
}

json_t *
journal_words(const struct dsn_words *w)
{
	json_t *o = WRITE(json_object(), w, words_fields), *attached = json_array();

	put(o, "headers", list_of(w->headers, w->nheaders));
	put(o, "hosts", list_of(w->redact_host_patterns, w->nredact_host_patterns));
	put(o, "said", places_of(w->said, w->nsaid));
	put(o, "fields", places_of(w->fields, w->nfields));
	for (size_t i = 0; i < w->nattached; i++) {
		char *one = xasprintf("%s %s %016llx", w->attached[i].type, w->attached[i].name,
		    (unsigned long long)hash64(w->attached[i].data, w->attached[i].n));

		json_array_append_new(attached, journal_text(one, strlen(one)));
		free(one);
	}
	put(o, "attached", attached);
	return o;
}

static json_t *
bounce_of(const struct policy_bounce *b)
{
	json_t *o = json_pack("{s:i, s:b}", "kind", (int)b->kind, "tagged", b->tagged), *l = json_array();

	for (size_t i = 0; i < b->nrcpts; i++)
		json_array_append_new(l, WRITE(json_object(), &b->rcpts[i], dsn_rcpt_fields));
	put(o, "rcpts", l);
	if (b->words != NULL)
		json_object_set_new(o, "words", journal_words(b->words));
	return o;
}

json_t *
journal_verdict(const struct verdict *v)
{
	json_t *o = WRITE(json_object(), v, verdict_fields);

	json_object_set_new(o, "kind", json_string(verdict_kind_name(v->kind)));
	if (v->is_error)
		json_object_del(o, "text");	/* it has a number that is made up */
	if (v->kind == VERDICT_TLS)
		json_object_set_new(o, "level", json_integer((json_int_t)v->level));
	put(o, "names", list_of(v->names, v->nnames));
	put(o, "pins", list_of(v->pins, v->npins));
	if (v->route != NULL)
		put(o, "route", parsed(route_to_json(v->route)));
	return o;
}

json_t *
journal_subject_write(const struct policy_subject *s, enum policy_hook hook)
{
	json_t *o = WRITE(json_object(), s, subject_fields);

	if (s->session != NULL)
		json_object_set_new(o, "session", session_of(s->session));
	if (s->msg != NULL)
		json_object_set_new(o, "msg", msg_of(s->msg));
	if (s->route != NULL)
		put(o, "route", parsed(route_to_json(s->route)));
	if (s->hop != NULL)
		json_object_set_new(o, "hop", hop_of(s->hop));
	if (s->result != NULL)
		json_object_set_new(o, "result", result_of(s->result));
	if (s->last != NULL)
		json_object_set_new(o, "last", result_of(s->last));
	if (s->bounce != NULL)
		json_object_set_new(o, "bounce", bounce_of(s->bounce));
	if (s->header.n == 0)
		return o;
	/* Later hooks see the header that the first one has; edits are the message's. */
	if (hook == HOOK_HEADER || hook == HOOK_MESSAGE || hook == HOOK_BOUNCE_IN || hook == HOOK_BOUNCE || hook == HOOK_DSN)
		json_object_set_new(o, "header", journal_text(s->header.p, s->header.n < JOURNAL_HEADER_MAX ? s->header.n :
		    JOURNAL_HEADER_MAX));
	else
		json_object_set_new(o, "has_header", json_true());
	return o;
}

/* ---- Reading ---- */

static void *
keep(struct journal_subject *j, void *p)
{
	if ((j->nkept & 31) == 0)
		j->kept = xrealloc(j->kept, (j->nkept + 32) * sizeof *j->kept);
	j->kept[j->nkept++] = p;
	return p;
}

static bool
hex_decode(char *dst, const char *hex, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		const char *a = hex[2 * i] == '\0' ? NULL : strchr(digits, hex[2 * i]);
		const char *b = hex[2 * i + 1] == '\0' ? NULL : strchr(digits, hex[2 * i + 1]);

		if (a == NULL || b == NULL)
			return false;
		dst[i] = (char)((a - digits) << 4 | (b - digits));
	}
	return true;
}

/* Heap, with NUL added; NULL when it is none. */
char *
journal_text_read(const json_t *v, size_t *n_out)
{
	const char *hex = json_string_value(json_object_get(v, "$b"));
	size_t n;
	char *s;

	if (json_is_string(v)) {
		n = json_string_length(v);
		s = xmalloc(n + 1);
		memcpy(s, json_string_value(v), n);
	} else if (hex != NULL && strlen(hex) % 2 == 0) {
		n = strlen(hex) / 2;
		s = xmalloc(n + 1);
		if (!hex_decode(s, hex, n)) {
			free(s);
			return NULL;
		}
	} else {
		return NULL;
	}
	s[n] = '\0';
	if (n_out != NULL)
		*n_out = n;
	return s;
}

static void
read_one(struct journal_subject *j, void *base, const struct field *f, const json_t *v)
{
	char *p = (char *)base + f->at, *s;
	json_int_t i = json_integer_value(v);
	uint64_t id = 0;

	switch (f->type) {
	case F_TEXT:
		s = journal_text_read(v, NULL);
		*(char **)(void *)p = s == NULL || j == NULL ? s : keep(j, s);
		break;
	case F_ARRAY:
		s = journal_text_read(v, NULL);
		snprintf(p, f->size, "%s", s == NULL ? "" : s);
		free(s);
		break;
	case F_BOOL: *(bool *)p = json_is_true(v); break;
	case F_ID:
		if (json_is_string(v) && id_parse(json_string_value(v), &id))
			*(uint64_t *)(void *)p = id;
		break;
	case F_INT: *(int *)(void *)p = (int)i; break;
	case F_U16: *(uint16_t *)(void *)p = (uint16_t)i; break;
	case F_U32: *(uint32_t *)(void *)p = (uint32_t)i; break;
	case F_I64: *(int64_t *)(void *)p = i; break;
	case F_U64: *(uint64_t *)(void *)p = (uint64_t)i; break;
	}
}

/* j NULL: texts belong to the struct. */
static void
read_fields(struct journal_subject *j, void *base, const json_t *o, const struct field *f, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_object_get(o, f[i].key);

		if (v != NULL)
			read_one(j, base, &f[i], v);
	}
}
#define READ(j, base, o, fields) read_fields(j, base, o, fields, NELEMS(fields))

/* An enum that came from outside and is used as an index. */
static bool
in_range(int v, int n)
{
	return v >= 0 && v < n;
}

static const struct route *
read_route(struct journal_subject *j, const json_t *v)
{
	char *text = v == NULL ? NULL : json_dumps(v, JSON_COMPACT);
	struct route *r;
	struct err err;

	if (text == NULL)
		return NULL;
	r = j->nroutes == NELEMS(j->routes) ? NULL : route_from_json(text, &err);
	free(text);
	if (r != NULL)
		j->routes[j->nroutes++] = r;
	return r;
}

static void
read_address(struct net_addr *a, const json_t *v)
{
	struct err err;

	memset(a, 0, sizeof *a);
	if (json_is_string(v) && net_addr_parse(a, slice_of(json_string_value(v)), 25, &err) != 0)
		memset(a, 0, sizeof *a);
}

static void
read_session(struct journal_subject *j, const json_t *o, const struct conf *conf)
{
	const char *name = json_string_value(json_object_get(o, "listener"));
	json_int_t role = json_integer_value(json_object_get(o, "role"));
	const json_t *tls = json_object_get(o, "tls");

	READ(j, &j->session, o, session_fields);
	READ(j, &j->info, o, info_fields);
	read_address(&j->peer, json_object_get(o, "peer"));
	read_address(&j->local, json_object_get(o, "local"));
	j->info.peer = &j->peer;
	j->info.local = &j->local;
	if (tls != NULL) {
		READ(j, &j->tls, tls, tls_fields);
		j->info.tls = &j->tls;
	}
	j->session.info = &j->info;
	j->session.listener = name == NULL ? NULL : conf_listener(conf, name);
	if (j->session.listener == NULL) {
		j->listener.name = keep(j, xstrdup(name == NULL ? "" : name));
		j->listener.role = role == ROLE_RELAY ? ROLE_RELAY : role == ROLE_REINJECT ? ROLE_REINJECT : ROLE_MX;
		j->session.listener = &j->listener;
	}
	j->s.session = &j->session;
}

static char *
dumped(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return v == NULL ? NULL : json_dumps(v, JSON_COMPACT);
}

static void
read_lists(const json_t *o, struct msg *m, struct msg_rcpt *r)
{
	char *tags = dumped(o, "tags"), *vars = dumped(o, "vars"), *edits = dumped(o, "edits");

	if (r != NULL) {
		msg_rcpt_tags_load(r, tags);
		msg_rcpt_vars_load(r, vars);
	} else {
		msg_tags_load(m, tags);
		msg_vars_load(m, vars);
		msg_edits_load(m, edits);
	}
	free(tags);
	free(vars);
	free(edits);
}

static bool
read_msg(struct journal_subject *j, const json_t *o)
{
	struct msg *m = j->msg = msg_new();
	const json_t *v;
	size_t i;

	READ(NULL, m, o, msg_fields);
	if (m->from == NULL)
		m->from = xstrdup("");
	if (m->from_domain == NULL)
		m->from_domain = xstrdup("");
	read_lists(o, m, NULL);
	json_array_foreach(json_object_get(o, "rcpts"), i, v) {
		struct msg_rcpt *r = msg_add_rcpt(m);

		READ(NULL, r, v, rcpt_fields);
		if (r->address == NULL)
			r->address = xstrdup("");
		if (r->domain == NULL)
			r->domain = xstrdup("");
		read_lists(v, m, r);
	}
	j->s.msg = m;
	return in_range((int)m->direction, DIR_INTERNAL + 1) && in_range((int)m->tls_no, TLS_NO_MALFORMED + 1) &&
	    in_range((int)m->body_type, BODY_8BITMIME + 1) && in_range((int)m->ret, RET_HDRS + 1);
}

static bool
read_hop(struct journal_subject *j, struct policy_hop *h, struct tls_info *ti, const json_t *o)
{
	const json_t *tls = json_object_get(o, "tls"), *offered = json_object_get(o, "offered"),
	    *worse = json_object_get(o, "worse");

	READ(j, h, o, hop_fields);
	h->route = read_route(j, json_object_get(o, "route"));
	if (tls != NULL) {
		READ(j, ti, tls, tls_fields);
		h->tls = ti;
	}
	for (size_t i = 0; i < OFFERS; i++) {
		h->offered_ms[i] = json_integer_value(json_array_get(offered, i));
		h->worse_ms[i] = json_integer_value(json_array_get(worse, i));
	}
	/* What names are made from. */
	return h->destination != NULL && h->host != NULL && in_range((int)h->mx, MX_ASSERTED + 1) &&
	    in_range((int)h->sts, STS_FETCH_FAILED + 1) && in_range((int)h->tlsa, TLSA_FAILED + 1) &&
	    in_range((int)h->verified, PEER_PIN + 1);
}

static bool
read_result(struct journal_subject *j, struct policy_result *r, const json_t *o)
{
	const json_t *cause = json_object_get(o, "cause"), *hop = json_object_get(o, "hop"), *v;
	const char **list;
	size_t i;

	READ(j, r, o, result_fields);
	list = keep(j, xcalloc(json_array_size(cause) + 1, sizeof *list));
	json_array_foreach(cause, i, v) {
		char *s = journal_text_read(v, NULL);

		list[r->ncause++] = keep(j, s == NULL ? xstrdup("") : s);
	}
	r->cause = list;
	if (hop != NULL) {
		if (!read_hop(j, &j->result_hop, &j->result_tls, hop))
			return false;
		r->hop = &j->result_hop;
	}
	return r->kind != NULL && r->stage != NULL && r->status != NULL;
}

static size_t
read_list(char ***to, const json_t *l)
{
	const json_t *v;
	size_t i, n = 0;

	*to = xcalloc(json_array_size(l) + 1, sizeof(char *));
	json_array_foreach(l, i, v) {
		char *s = journal_text_read(v, NULL);

		if (s != NULL)
			(*to)[n++] = s;
	}
	return n;
}

static bool
read_bounce(struct journal_subject *j, const json_t *o)
{
	const json_t *l = json_object_get(o, "rcpts"), *words = json_object_get(o, "words"), *v;
	size_t i;

	j->rcpts = xcalloc(json_array_size(l) + 1, sizeof *j->rcpts);
	json_array_foreach(l, i, v) {
		READ(j, &j->rcpts[i], v, dsn_rcpt_fields);
		if (j->rcpts[i].address == NULL || j->rcpts[i].status == NULL ||
		    !in_range((int)j->rcpts[i].action, DSN_RELAYED + 1))
			return false;
	}
	READ(NULL, &j->words, words, words_fields);
	j->words.nheaders = read_list(&j->words.headers, json_object_get(words, "headers"));
	j->words.nredact_host_patterns = read_list(&j->words.redact_host_patterns, json_object_get(words, "hosts"));
	j->bounce = (struct policy_bounce){ .rcpts = j->rcpts, .nrcpts = json_array_size(l), .words = &j->words,
		.tagged = json_is_true(json_object_get(o, "tagged")),
		.kind = (enum dsn_action)json_integer_value(json_object_get(o, "kind")) };
	j->s.bounce = &j->bounce;
	return in_range((int)j->bounce.kind, DSN_RELAYED + 1) && in_range((int)j->words.return_content, RET_HDRS + 1) &&
	    in_range((int)j->words.protect, DSN_REDACTED + 1);
}

/* Header and as much of the body as was kept, as one piece. */
static void
read_content(struct journal_subject *j, const json_t *in)
{
	const json_t *header = json_object_get(in, "header"), *body = json_object_get(in, "body");
	json_int_t size = json_integer_value(json_object_get(body, "size"));
	size_t nh = 0, nb = 0;
	char *h = journal_text_read(header, &nh), *b = journal_text_read(json_object_get(body, "start"), &nb);
	struct content *c;

	if (h == NULL) {
		free(b);
		return;
	}
	h = xrealloc(h, nh + nb + 1);
	if (nb > 0)
		memcpy(h + nh, b, nb);
	h[nh + nb] = '\0';
	free(b);
	j->body_is_whole = json_is_true(json_object_get(body, "whole"));
	if (size >= 0 && (size_t)size == nb && body != NULL) {
		c = content_from_memory(h, nh + nb, nh);
	} else {
		c = content_from_memory(h, nh + nb, nh);
		c->head = c->mem;
		c->head_size = nh + nb;
		c->mem = NULL;
		c->size = nh + (size < 0 ? 0 : (uint64_t)size);
	}
	j->content = c;
	j->s.header = (struct slice){ c->mem != NULL ? c->mem : c->head, nh };
	j->s.content = c;
	if (json_is_string(json_object_get(body, "sha256")))
		j->sha256 = json_string_value(json_object_get(body, "sha256"));
}

static bool
read_report(struct journal_subject *j)
{
	struct header h;
	bool ok;

	if (j->content == NULL || !header_parse(&h, j->s.header))
		return false;
	ok = report_parse(&j->report, &h, content_body_peek(j->content, SIZE_MAX), j->content->mem != NULL);
	header_fini(&h);
	if (ok)
		j->s.report = &j->report;
	return ok;
}

/* What each hook takes for granted of its subject. */
static const char *
lacks(const struct policy_subject *s, enum policy_hook hook)
{
	bool session = hook <= HOOK_DISCONNECT, msg = (hook >= HOOK_MAIL && hook <= HOOK_BOUNCE_IN && hook != HOOK_AUTH) ||
	    hook == HOOK_ROUTE || (hook >= HOOK_ATTEMPT && hook <= HOOK_DSN);

	if (session && s->session == NULL)
		return "session";
	if (msg && s->msg == NULL)
		return "msg";
	if (msg && s->msg->nrcpts == 0 && (hook == HOOK_RCPT || hook == HOOK_ROUTE || hook >= HOOK_ATTEMPT))
		return "rcpts";
	if ((hook == HOOK_RCPT || hook == HOOK_ROUTE || hook == HOOK_RESULT) && s->rcpt < 0)
		return "rcpt";
	if (hook == HOOK_HELO && s->name == NULL)
		return "name";
	if (hook == HOOK_RCPT && s->relay == NULL)
		return "relay";
	if ((hook == HOOK_TLS_POLICY || hook == HOOK_TLSRPT) && s->domain == NULL)
		return "domain";
	if (hook >= HOOK_ATTEMPT && hook <= HOOK_UNMET && s->hop == NULL)
		return "hop";
	if (hook == HOOK_RESULT && s->result == NULL)
		return "result";
	if ((hook == HOOK_BOUNCE || hook == HOOK_DSN) && s->bounce == NULL)
		return "bounce";
	return NULL;
}

struct journal_subject *
journal_subject_read(const json_t *in, enum policy_hook hook, const struct conf *conf,
    const struct journal_subject *first, struct err *err)
{
	struct journal_subject *j = xcalloc(1, sizeof *j);
	const json_t *v;
	const char *bad = NULL;

	READ(j, &j->s, in, subject_fields);
	if ((v = json_object_get(in, "session")) != NULL)
		read_session(j, v, conf);
	if ((v = json_object_get(in, "msg")) != NULL && !read_msg(j, v))
		bad = "msg";
	if (bad == NULL && (v = json_object_get(in, "hop")) != NULL) {
		j->s.hop = &j->hop;
		if (!read_hop(j, &j->hop, &j->hop_tls, v))
			bad = "hop";
	}
	if (bad == NULL && (v = json_object_get(in, "result")) != NULL) {
		j->s.result = &j->result;
		if (!read_result(j, &j->result, v))
			bad = "result";
	}
	if (bad == NULL && (v = json_object_get(in, "last")) != NULL) {
		j->s.last = &j->last;
		if (!read_result(j, &j->last, v))
			bad = "last";
	}
	if (bad == NULL && (v = json_object_get(in, "bounce")) != NULL && !read_bounce(j, v))
		bad = "bounce";
	j->s.route = read_route(j, json_object_get(in, "route"));
	read_content(j, in);
	if (j->content == NULL && first != NULL && first->content != NULL && json_is_true(json_object_get(in, "has_header"))) {
		j->content = content_ref(first->content);
		j->s.header = first->s.header;
		j->s.content = j->content;
		j->sha256 = first->sha256;
		j->body_is_whole = first->body_is_whole;
	}
	if (bad == NULL && hook == HOOK_BOUNCE_IN && !read_report(j))
		bad = "report";
	/* What each hook takes for granted. */
	if (bad == NULL && j->s.msg != NULL && j->s.rcpt >= (int)j->s.msg->nrcpts)
		bad = "rcpt";
	if (bad == NULL)
		bad = lacks(&j->s, hook);
	if (bad == NULL)
		return j;
	err_set(err, "%s is missing or makes no sense", bad);
	journal_subject_free(j);
	return NULL;
}

void
journal_subject_free(struct journal_subject *j)
{
	if (j == NULL)
		return;
	msg_unref(j->msg);
	content_unref(j->content);
	report_fini(&j->report);
	dsn_words_fini(&j->words);
	free(j->rcpts);
	for (size_t i = 0; i < j->nroutes; i++)
		route_free(j->routes[i]);
	for (size_t i = 0; i < j->nkept; i++)
		free(j->kept[i]);
	free(j->kept);
	free(j);
}
