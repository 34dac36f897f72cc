#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replay/replay_int.h"

#define WINDOW 4096		/* lines that are put in order: they come when their calls end */
#define LINE_BYTES_MAX (8u << 20)
#define EML_MAX (32u << 20)

struct replay *
replay_new(struct conf *a, struct policy_bundle *ba, struct conf *b, struct policy_bundle *bb, struct err *err)
{
	struct replay *r = xcalloc(1, sizeof *r);

	r->base = event_base_new();
	r->orig_tls = json_object();
	r->groups = json_object();
	r->unknown = json_object();
	memcpy(r->gen[0], policy_bundle_id(ba), 12);
	memcpy(r->gen[1], policy_bundle_id(bb), 12);
	if (side_init(&r->side[0], r->base, a, ba, err) && side_init(&r->side[1], r->base, b, bb, err))
		return r;
	replay_free(r);
	return NULL;
}

static void
message_free(struct replay *r, struct message *m)
{
	HASH_DEL(r->messages, m);
	journal_subject_free(m->first);
	json_decref(m->first_in);
	for (int i = 0; i < 3; i++)
		json_decref(m->delta[i]);
	json_decref(m->refused[0]);
	json_decref(m->refused[1]);
	free(m);
}

static void
session_free(struct replay *r, struct session *ss)
{
	HASH_DEL(r->sessions, ss);
	for (int i = 0; i < 2; i++)
		if (ss->worker[i] >= 0)
			policy_session_end(r->side[i].gen[ss->worker[i]], &ss->vars[i]);
	free(ss);
}

void
replay_free(struct replay *r)
{
	if (r == NULL)
		return;
	while (r->messages != NULL)
		message_free(r, r->messages);
	while (r->sessions != NULL)
		session_free(r, r->sessions);
	side_fini(&r->side[0]);
	side_fini(&r->side[1]);
	json_decref(r->orig_tls);
	json_decref(r->groups);
	json_decref(r->unknown);
	event_base_free(r->base);
	free(r);
}

/* ---- Messages and sessions ---- */

static uint64_t
id_in(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	uint64_t id = 0;

	return s != NULL && id_parse(s, &id) ? id : 0;
}

static struct message *
message_of(struct replay *r, uint64_t id)
{
	struct message *m = NULL;

	if (id == 0)
		return NULL;
	HASH_FIND(hh, r->messages, &id, sizeof id, m);
	if (m != NULL)
		return m;
	if (HASH_COUNT(r->messages) >= MESSAGES_MAX)
		message_free(r, r->messages);
	m = xcalloc(1, sizeof *m);
	m->id = id;
	for (int i = 0; i < 3; i++)
		m->delta[i] = json_object();
	m->refused[0] = json_object();
	m->refused[1] = json_object();
	HASH_ADD(hh, r->messages, id, sizeof m->id, m);
	r->nmessages++;
	return m;
}

static struct session *
session_of(struct replay *r, uint64_t id)
{
	struct session *ss = NULL;

	if (id == 0)
		return NULL;
	HASH_FIND(hh, r->sessions, &id, sizeof id, ss);
	if (ss != NULL)
		return ss;
	if (HASH_COUNT(r->sessions) >= SESSIONS_MAX)
		session_free(r, r->sessions);
	ss = xcalloc(1, sizeof *ss);
	ss->id = id;
	ss->worker[0] = ss->worker[1] = -1;
	HASH_ADD(hh, r->sessions, id, sizeof ss->id, ss);
	return ss;
}

/* The line that has header and body: what later ones of the message look at. */
static void
keep_first(struct replay *r, struct message *m, enum policy_hook hook, const json_t *in)
{
	struct journal_subject *j;
	struct err err;

	if (m == NULL || json_object_get(in, "header") == NULL || (hook != HOOK_MESSAGE && m->first != NULL))
		return;
	if (hook != HOOK_MESSAGE && hook != HOOK_HEADER)
		return;
	j = journal_subject_read(in, hook, r->side[0].conf, NULL, &err);
	if (j == NULL)
		return;
	journal_subject_free(m->first);
	json_decref(m->first_in);
	m->first = j;
	m->first_in = json_incref((json_t *)in);
}

/* What the recorded policy did, so that it can be taken away again. */
static void
follow_recorded(struct replay *r, struct message *m, enum policy_hook hook, const json_t *rec)
{
	const json_t *out = json_object_get(rec, "out"), *in = json_object_get(rec, "in"), *own = json_object_get(out, "own");
	const json_t *v = json_object_get(out, "verdict"), *level = json_object_get(v, "level");
	const char *kind = json_string_value(json_object_get(v, "kind"));
	const char *domain = json_string_value(json_object_get(in, "domain"));
	struct journal_subject *j;
	json_t *before;
	struct err err;

	if (hook == HOOK_TLS_POLICY && domain != NULL && kind != NULL) {
		json_int_t l = strcmp(kind, "tls") == 0 ? json_integer_value(level) : TLS_MAY;

		json_object_set_new(r->orig_tls, domain, json_integer(l <= TLS_MAY || l > TLS_REQUIRETLS ? 0 :
		    duties_of_level((enum tls_level)l, DUTY_BY_ADMIN)));
	}
	if (m == NULL || own == NULL)
		return;
	j = journal_subject_read(in, hook, r->side[0].conf, m->first, &err);
	if (j == NULL)
		return;
	before = journal_own(j->msg);
	delta_add(m->delta[2], before, own);
	json_decref(before);
	journal_subject_free(j);
}

/* ---- One line ---- */

static enum policy_hook
hook_of(const json_t *rec)
{
	const char *name = json_string_value(json_object_get(rec, "hook"));

	for (int h = 0; name != NULL && h < HOOKS; h++)
		if (strcmp(policy_hook_name((enum policy_hook)h), name) == 0)
			return (enum policy_hook)h;
	return HOOKS;
}

/* Did the recorded generation, which is one of these, say the same? */
static void
check_recorded(struct replay *r, const json_t *rec, const struct outcome *a)
{
	const char *gen = json_string_value(json_object_get(rec, "gen"));
	json_t *want, *got;
	bool same;

	if (gen == NULL || strcmp(gen, r->gen[0]) != 0 || a->skipped || a->unknown[0] != '\0')
		return;
	want = json_copy(json_object_get(json_object_get(rec, "out"), "verdict"));
	got = json_copy(a->verdict);
	same = json_equal(want, got);
	json_decref(want);
	json_decref(got);
	r->reproduced += same;
	r->unreproduced += !same;
}

static bool
replays(enum policy_hook h)
{
	return h < HOOK_LOG && h != HOOK_AUTH && h != HOOK_DISCONNECT;
}

static void
do_call(struct replay *r, const json_t *rec)
{
	const json_t *in = json_object_get(rec, "in");
	json_int_t worker = json_integer_value(json_object_get(rec, "w")), at = json_integer_value(json_object_get(rec, "at"));
	enum policy_hook hook = hook_of(rec);
	struct message *m = message_of(r, id_in(json_object_get(in, "msg"), "id"));
	struct session *ss = session_of(r, id_in(json_object_get(in, "session"), "id"));
	struct outcome o[2];
	struct err err;

	if (!replays(hook) || worker < 0 || worker >= WORKERS_MAX || at <= 0 || !json_is_object(in) ||
	    !side_ready(&r->side[0], r->base, (unsigned)worker, &err) ||
	    !side_ready(&r->side[1], r->base, (unsigned)worker, &err)) {
		r->lines_bad++;
		return;
	}
	r->calls++;
	if (r->first_ms == 0)
		r->first_ms = at;
	r->last_ms = at;
	keep_first(r, m, hook, in);
	for (int i = 0; i < 2; i++)
		side_call(r, i, (unsigned)worker, hook, rec, m, ss, &o[i]);
	follow_recorded(r, m, hook, rec);
	check_recorded(r, rec, &o[0]);
	for (int i = 0; i < 2; i++)
		if (o[i].unknown[0] != '\0')
			note_unknown(r, i, o[i].unknown_handler, o[i].unknown);
	if (o[0].skipped || o[1].skipped)
		r->skipped++;
	else if (o[0].unknown[0] == '\0' && o[1].unknown[0] == '\0')
		compare_outcomes(r, hook, rec, &o[0], &o[1]);
	outcome_fini(&o[0]);
	outcome_fini(&o[1]);
}

void
replay_record(struct replay *r, const json_t *rec)
{
	const char *k = json_string_value(json_object_get(rec, "k"));
	struct session *ss = NULL;
	uint64_t id;

	if (k == NULL || json_integer_value(json_object_get(rec, "v")) != JOURNAL_VERSION) {
		r->lines_bad++;
	} else if (strcmp(k, "call") == 0) {
		do_call(r, rec);
	} else if (strcmp(k, "end") == 0) {
		id = id_in(rec, "session");
		HASH_FIND(hh, r->sessions, &id, sizeof id, ss);
		if (ss != NULL)
			session_free(r, ss);
	}
}

/* ---- In order ---- */

/* A heap by time, worker and number. */
struct window {
	json_t **v;
	size_t n;
};

static bool
is_before(const json_t *a, const json_t *b)
{
	static const char *const keys[] = { "at", "w", "n" };

	for (size_t i = 0; i < NELEMS(keys); i++) {
		json_int_t x = json_integer_value(json_object_get(a, keys[i])), y = json_integer_value(json_object_get(b, keys[i]));

		if (x != y)
			return x < y;
	}
	return false;
}

static void
window_push(struct window *w, json_t *o)
{
	size_t i = w->n++;

	while (i > 0 && is_before(o, w->v[(i - 1) / 2])) {
		w->v[i] = w->v[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	w->v[i] = o;
}

static json_t *
window_pop(struct window *w)
{
	json_t *top = w->v[0], *last = w->v[--w->n];
	size_t i = 0, k;

	while ((k = 2 * i + 1) < w->n) {
		if (k + 1 < w->n && is_before(w->v[k + 1], w->v[k]))
			k++;
		if (!is_before(w->v[k], last))
			break;
		w->v[i] = w->v[k];
		i = k;
	}
	w->v[i] = last;
	return top;
}

static void
take_one(struct replay *r, struct window *w)
{
	json_t *o = window_pop(w);

	replay_record(r, o);
	json_decref(o);
}

bool
replay_journal(struct replay *r, const char *path, struct err *err)
{
	struct window w = { .v = xcalloc(WINDOW + 1, sizeof(json_t *)) };
	FILE *f = fopen(path, "r");
	json_error_t je;
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	if (f == NULL) {
		err_set(err, "%s: %s", path, strerror(errno));
		free(w.v);
		return false;
	}
	while ((n = getline(&line, &cap, f)) > 0) {
		json_t *o = n > (ssize_t)LINE_BYTES_MAX ? NULL : json_loadb(line, (size_t)n, JSON_ALLOW_NUL, &je);

		if (!json_is_object(o)) {
			json_decref(o);
			r->lines_bad++;
			continue;
		}
		window_push(&w, o);
		if (w.n > WINDOW)
			take_one(r, &w);
	}
	while (w.n > 0)
		take_one(r, &w);
	free(line);
	free(w.v);
	fclose(f);
	return true;
}

/* ---- A directory of messages ---- */

static char *
read_file(const char *path, size_t *n_out)
{
	FILE *f = fopen(path, "r");
	struct buf b;
	char part[65536];
	size_t n;

	if (f == NULL)
		return NULL;
	buf_init(&b, EML_MAX);
	while ((n = fread(part, 1, sizeof part, f)) > 0)
		if (!buf_add(&b, part, n))
			break;
	fclose(f);
	*n_out = b.len;
	return buf_take(&b);
}

/* Lines end in CR LF, as they came. Heap. */
static char *
with_crlf(const char *p, size_t n, size_t *n_out)
{
	struct buf b;

	buf_init(&b, 2 * n + 1);
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\n' && (i == 0 || p[i - 1] != '\r'))
			buf_addc(&b, '\r');
		buf_addc(&b, p[i]);
	}
	*n_out = b.len;
	return buf_take(&b);
}

static json_t *
octets(const char *p, size_t n)
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

static char *
address_in(const struct header *h, const char *const *names)
{
	for (; *names != NULL; names++) {
		const struct header_field *f = header_find(h, *names, 1);
		char *a = f == NULL ? NULL : header_address(f->value);

		if (a != NULL && strchr(a, '@') != NULL)
			return a;
		free(a);
	}
	return NULL;
}

static void
one_file(struct replay *r, const char *path)
{
	static const char *const from_names[] = { "Return-Path", "From", NULL }, *const to_names[] = { "Delivered-To", "To", "Cc", NULL };
	static const char *const hooks[] = { "connect", "helo", "mail", "rcpt", "message" };
	const struct conf *c = r->side[0].conf;
	const struct conf_listener *l = c->nlisteners > 0 ? &c->listeners[0] : NULL;
	size_t n, raw_n = 0;
	char *raw = read_file(path, &raw_n), *text = raw == NULL ? NULL : with_crlf(raw, raw_n, &n), *from, *to;
	char mid[ID_TEXT], sid[ID_TEXT];
	struct header h;

	free(raw);
	if (text == NULL || !header_parse(&h, (struct slice){ text, n })) {
		free(text);
		r->lines_bad++;
		return;
	}
	from = address_in(&h, from_names);
	to = address_in(&h, to_names);
	id_format(mid, id_new(0));
	id_format(sid, id_new(0));
	for (size_t i = 0; i < NELEMS(hooks) && to != NULL; i++) {
		json_t *in = json_pack("{s:i, s:b, s:s, s:s, s:s, s:{s:s, s:s, s:i, s:s, s:s, s:b}, s:{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:[{s:s, s:s}]}}",
		    "rcpt", i == 3 ? 0 : -1, "may_edit", 1, "name", "client.example", "rcpt_state", "new", "relay", "local",
		    "session", "id", sid, "listener", l == NULL ? "" : l->name, "role", l == NULL ? 0 : (int)l->role,
		    "peer_ip", "192.0.2.1", "helo", "client.example", "esmtp", 1,
		    "msg", "id", mid, "session", sid, "from", from == NULL ? "" : from, "from_domain",
		    from == NULL ? "" : strchr(from, '@') + 1, "peer_ip", "192.0.2.1", "content_size", (json_int_t)n,
		    "header_size", (json_int_t)h.end, "listener", l == NULL ? "" : l->name, "rcpts", "address", to, "domain",
		    strchr(to, '@') + 1);
		json_t *rec;

		if (i < 2)
			json_object_del(in, "msg");
		if (i == 2)
			json_array_clear(json_object_get(json_object_get(in, "msg"), "rcpts"));
		if (i == 4) {
			json_object_set_new(in, "header", octets(text, h.end));
			json_object_set_new(in, "body", json_pack("{s:I, s:b, s:o}", "size", (json_int_t)(n - h.end), "whole", 1,
			    "start", octets(text + h.end, n - h.end)));
		}
		rec = json_pack("{s:s, s:i, s:I, s:i, s:s, s:o}", "k", "call", "v", JOURNAL_VERSION, "at",
		    (json_int_t)clock_wall_ms(), "w", 0, "hook", hooks[i], "in", in);
		replay_record(r, rec);
		json_decref(rec);
	}
	if (to == NULL)
		r->lines_bad++;
	free(from);
	free(to);
	header_fini(&h);
	free(text);
}

bool
replay_corpus(struct replay *r, const char *dir, struct err *err)
{
	struct dirent **list;
	int n = scandir(dir, &list, NULL, alphasort);

	if (n < 0) {
		err_set(err, "%s: %s", dir, strerror(errno));
		return false;
	}
	for (int i = 0; i < n; i++) {
		char *path = xasprintf("%s/%s", dir, list[i]->d_name);

		if (list[i]->d_name[0] != '.')
			one_file(r, path);
		free(path);
		free(list[i]);
	}
	free(list);
	return true;
}

/* ---- Report ---- */

static json_t *
values_of(json_t *o)
{
	json_t *l = json_array(), *v;
	const char *key;

	json_object_foreach(o, key, v) {
		json_t *changes = json_object_get(v, "changes");

		if (json_is_object(changes)) {
			v = json_copy(v);
			json_object_set_new(v, "changes", values_of(changes));
			json_array_append_new(l, v);
		} else {
			json_array_append(l, v);
		}
	}
	return l;
}

json_t *
replay_report(struct replay *r)
{
	char first[32] = "", last[32] = "";

	if (r->first_ms != 0) {
		date_iso8601(first, sizeof first, r->first_ms);
		date_iso8601(last, sizeof last, r->last_ms);
	}
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:o, s:o}",
	    "calls", (json_int_t)r->calls, "messages", (json_int_t)r->nmessages, "compared", (json_int_t)r->compared,
	    "not_reached", (json_int_t)r->skipped, "lines_skipped", (json_int_t)r->lines_bad,
	    "changed", (json_int_t)r->changed, "weaker", (json_int_t)r->weaker,
	    "reproduced", (json_int_t)r->reproduced, "unreproduced", (json_int_t)r->unreproduced,
	    "first", first, "last", last, "with", r->gen[0], "against", r->gen[1],
	    "groups", values_of(r->groups), "unknown", values_of(r->unknown));
}
