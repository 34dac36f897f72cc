/* What people ask: list, show, and which rows a filter means. On a reading connection,
 * with or without a daemon. Answers are JSON; all that came from outside is escaped in it (I7). */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/store_int.h"
#include "trust/duties.h"

#define LIST_DEFAULT 100u
#define LIST_MAX 10000u
#define SHOWN_MAX 100		/* recipients named in the answer to a change */
#define MATCH_MAX 1000000	/* recipients that one change may mean */
#define TEXT_SHOWN 4096

/* ---- Values ---- */

json_t *
json_safe(const char *text)
{
	char small[TEXT_SHOWN];

	if (text == NULL)
		return json_null();
	text_escape(small, sizeof small, text, strlen(text), true);
	return json_string(small);
}

json_t *
json_time(int64_t ms)
{
	char when[32];

	if (ms <= 0)
		return json_null();
	date_iso8601(when, sizeof when, ms);
	return json_string(when);
}

json_t *
json_id(uint64_t id)
{
	char text[ID_TEXT];

	id_format(text, id);
	return json_string(text);
}

json_t *
json_mask(uint32_t mask)
{
	char text[512];

	duties_format(text, sizeof text, mask);
	return json_string(text);
}

/* The same for strings inside JSON: what was escaped in there is not when somebody prints it. */
static json_t *
cleaned(json_t *v)
{
	const char *key;
	json_t *e;
	size_t i;

	if (json_is_string(v))
		return json_safe(json_string_value(v));
	json_array_foreach(v, i, e)
		json_array_set_new(v, i, cleaned(e));
	json_object_foreach(v, key, e)
		json_object_set_new(v, key, cleaned(e));
	return json_incref(v);
}

json_t *
json_parsed(const char *text)
{
	json_t *v, *out;

	if (text == NULL)
		return json_null();
	v = json_loads(text, 0, NULL);	/* arrays and objects only: a route may be named `true` */
	if (v == NULL)
		return json_safe(text);
	out = cleaned(v);
	json_decref(v);
	return out;
}

static const char *
column(sqlite3_stmt *st, int at)
{
	return (const char *)sqlite3_column_text(st, at);
}

static json_t *
state_name(int64_t state)
{
	return json_string(state >= 0 && state < RCPT_STATES ? rcpt_state_names[state] : "damaged");
}

/* ---- Filters ---- */

bool
filter_is_empty(const struct store_filter *f)
{
	return f->id == 0 && f->from == NULL && f->to == NULL && f->domain == NULL && f->route == NULL &&
	    f->tag == NULL && f->state == NULL && f->since_ms == 0 && f->until_ms == 0;
}

bool
query_is_change(enum store_verb v)
{
	return v >= STORE_HOLD;
}

/* A GLOB pattern in which only * is special, in lower case. NULL gives NULL. */
static char *
pattern(const char *filter)
{
	char *out, *p;

	if (filter == NULL)
		return NULL;
	if (strcmp(filter, "<>") == 0)
		filter = "";
	p = out = xmalloc(3 * strlen(filter) + 1);
	for (; *filter != '\0'; filter++) {
		char c = *filter >= 'A' && *filter <= 'Z' ? (char)(*filter + 32) : *filter;

		if (c == '?' || c == '[') {
			*p++ = '[';
			*p++ = c;
			*p++ = ']';
		} else {
			*p++ = c;
		}
	}
	*p = '\0';
	return out;
}

struct patterns {
	char *v[6];
};

static sqlite3_stmt *
match_start(struct db *db, const struct store_filter *f, struct patterns *p)
{
	const char *const in[] = { f->from, f->to, f->domain, f->route, f->tag, f->state };
	sqlite3_stmt *st = db_use(db, SQL_MATCH);

	db_bind_int(st, 1, (int64_t)f->id);
	db_bind_int(st, 2, f->id == 0 ? INT64_MAX : (int64_t)f->id);
	for (int i = 0; i < 6; i++) {
		p->v[i] = pattern(in[i]);
		db_bind_text(st, 3 + i, p->v[i]);
	}
	db_bind_int(st, 9, f->since_ms);
	db_bind_int(st, 10, f->until_ms);
	return st;
}

static void
match_end(sqlite3_stmt *st, struct patterns *p)
{
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	for (int i = 0; i < 6; i++)
		free(p->v[i]);
}

enum store_status
query_match(struct db *db, const struct store_query *q, struct admin_job *job)
{
	struct patterns p;
	sqlite3_stmt *st = match_start(db, &q->filter, &p);
	size_t cap = 0;
	int got;

	job->rcpts = json_array();
	while ((got = db_row(db, st)) == 1) {
		struct key k = { (uint64_t)sqlite3_column_int64(st, 0), (uint32_t)sqlite3_column_int64(st, 1) };

		if (job->nkeys == MATCH_MAX)
			break;
		if (job->nkeys == cap) {
			cap = cap == 0 ? 64 : 2 * cap;
			job->keys = xrealloc(job->keys, cap * sizeof *job->keys);
		}
		job->keys[job->nkeys++] = k;
		if (json_array_size(job->rcpts) < SHOWN_MAX) {
			json_t *o = json_object();

			json_object_set_new(o, "id", json_id(k.message));
			json_object_set_new(o, "num", json_integer(k.num));
			json_object_set_new(o, "address", json_safe(column(st, 2)));
			json_object_set_new(o, "state", state_name(sqlite3_column_int64(st, 3)));
			json_array_append_new(job->rcpts, o);
		}
	}
	match_end(st, &p);
	if (got == 1) {
		snprintf(db->text, sizeof db->text, "more than %d recipients fit: narrow the filter", MATCH_MAX);
		return STORE_BAD;
	}
	return got < 0 ? STORE_IO : STORE_OK;
}

/* ---- List and show ---- */

static json_t *
rcpt_json(struct db *db, struct key k, bool all)
{
	sqlite3_stmt *st = db_use(db, SQL_LIST_RCPT);
	json_t *o;

	db_bind_int(st, 1, (int64_t)k.message);
	db_bind_int(st, 2, k.num);
	if (db_row(db, st) != 1)
		return NULL;
	o = json_object();
	json_object_set_new(o, "num", json_integer(k.num));
	json_object_set_new(o, "address", json_safe(column(st, 1)));
	json_object_set_new(o, "state", state_name(sqlite3_column_int64(st, 2)));
	json_object_set_new(o, "route", json_parsed(column(st, 3)));
	json_object_set_new(o, "next_hop", json_safe(column(st, 4)));
	json_object_set_new(o, "attempts", json_integer(sqlite3_column_int64(st, 5)));
	json_object_set_new(o, "next", json_time(sqlite3_column_int64(st, 6)));
	json_object_set_new(o, "duties", json_mask((uint32_t)sqlite3_column_int64(st, 8)));
	json_object_set_new(o, "hold_reason", json_safe(column(st, 11)));
	json_object_set_new(o, "bounce_reason", json_safe(column(st, 12)));
	json_object_set_new(o, "last", json_parsed(column(st, 13)));
	if (all) {
		json_object_set_new(o, "first_attempt", json_time(sqlite3_column_int64(st, 7)));
		json_object_set_new(o, "notify", json_integer(sqlite3_column_int64(st, 9)));
		json_object_set_new(o, "orcpt", json_safe(column(st, 10)));
		json_object_set_new(o, "tags", json_parsed(column(st, 14)));
		json_object_set_new(o, "vars", json_parsed(column(st, 15)));
	}
	sqlite3_reset(st);
	return o;
}

static void
message_keys(json_t *o, uint64_t id, sqlite3_stmt *st)
{
	json_t *tags = json_parsed(column(st, 5));

	json_object_set_new(o, "id", json_id(id));
	json_object_set_new(o, "received", json_time(sqlite3_column_int64(st, 0)));
	json_object_set_new(o, "size", json_integer(sqlite3_column_int64(st, 1)));
	json_object_set_new(o, "requiretls", json_boolean(sqlite3_column_int64(st, 2) & MSG_REQUIRETLS));
	json_object_set_new(o, "notice", json_boolean(sqlite3_column_int64(st, 2) & MSG_NOTICE));
	json_object_set_new(o, "duties", json_mask((uint32_t)sqlite3_column_int64(st, 3)));
	json_object_set_new(o, "from", json_safe(column(st, 4)));
	if (json_is_array(tags)) {
		json_object_set_new(o, "tags", tags);
	} else {
		json_decref(tags);
		json_object_set_new(o, "tags", json_array());
	}
	json_object_set_new(o, "recipients", json_array());
}

/* The state of a message is that of its recipient that is furthest on its way. */
static void
set_message_state(json_t *o)
{
	static const char *const order[] = { "active", "queued", "held" };
	json_t *r;
	size_t i;

	for (size_t k = 0; k < NELEMS(order); k++) {
		json_array_foreach(json_object_get(o, "recipients"), i, r) {
			if (strcmp(json_string_value(json_object_get(r, "state")), order[k]) == 0) {
				json_object_set_new(o, "state", json_string(order[k]));
				return;
			}
		}
	}
	json_object_set_new(o, "state", json_string("damaged"));
}

static json_t *
list_message(struct db *db, uint64_t id)
{
	sqlite3_stmt *st = db_use(db, SQL_LIST_MESSAGE);
	json_t *o = json_object();
	int got;

	db_bind_int(st, 1, (int64_t)id);
	got = db_row(db, st);
	if (got == 1) {
		message_keys(o, id, st);
		sqlite3_reset(st);
	} else {
		json_object_set_new(o, "id", json_id(id));	/* recipients without a message */
		json_object_set_new(o, "recipients", json_array());
	}
	return o;
}

static enum store_status
list(struct db *db, const struct store_filter *f, json_t **out)
{
	unsigned limit = f->limit == 0 ? LIST_DEFAULT : f->limit > LIST_MAX ? LIST_MAX : f->limit;
	json_t *messages = json_array(), *at = NULL, *rcpt;
	struct patterns p;
	sqlite3_stmt *st = match_start(db, f, &p);
	uint64_t last = 0;
	bool more = false;
	int got;

	while ((got = db_row(db, st)) == 1) {
		struct key k = { (uint64_t)sqlite3_column_int64(st, 0), (uint32_t)sqlite3_column_int64(st, 1) };

		if (at == NULL || k.message != last) {
			if (at != NULL)
				set_message_state(at);
			more = json_array_size(messages) == limit;
			if (more)
				break;
			at = list_message(db, k.message);
			json_array_append_new(messages, at);
			last = k.message;
		}
		rcpt = rcpt_json(db, k, false);
		if (rcpt != NULL)
			json_array_append_new(json_object_get(at, "recipients"), rcpt);
	}
	if (at != NULL && !more)
		set_message_state(at);
	match_end(st, &p);
	if (got < 0) {
		json_decref(messages);
		return STORE_IO;
	}
	*out = json_object();
	json_object_set_new(*out, "messages", messages);
	json_object_set_new(*out, "more", json_boolean(more));
	return STORE_OK;
}

static const char *
name_of(int64_t v, const char *const *names, int n)
{
	return v >= 0 && v < n ? names[v] : "damaged";
}

static void
show_keys(json_t *o, sqlite3_stmt *st)
{
	static const char *const direction[] = { "inbound", "outbound", "internal" };
	static const char *const body[] = { "7bit", "8bitmime" };
	static const char *const ret[] = { "none", "full", "hdrs" };
	static const char *const tls_no[] = { "absent", "honoured", "ignored", "overridden", "malformed" };
	static const struct { const char *key; int at; bool is_json; } texts[] = {
		{ "envid", 12, false }, { "auth_param", 13, false }, { "duty_note", 14, false },
		{ "generation", 15, false }, { "trace", 16, false }, { "edits", 17, true },
		{ "vars", 18, true }, { "peer_ip", 19, false }, { "peer_name", 20, false },
		{ "helo", 21, false }, { "listener", 22, false }, { "proto", 23, false },
		{ "tls_in", 24, false }, { "auth_id", 25, false },
	};

	json_object_set_new(o, "header_size", json_integer(sqlite3_column_int64(st, 6)));
	json_object_set_new(o, "session", json_integer(sqlite3_column_int64(st, 7)));
	json_object_set_new(o, "direction", json_string(name_of(sqlite3_column_int64(st, 8), direction, 3)));
	json_object_set_new(o, "body_type", json_string(name_of(sqlite3_column_int64(st, 9), body, 2)));
	json_object_set_new(o, "ret", json_string(name_of(sqlite3_column_int64(st, 10), ret, 3)));
	json_object_set_new(o, "tls_required_no",
	    json_string(name_of(sqlite3_column_int64(st, 11), tls_no, 5)));
	for (size_t i = 0; i < NELEMS(texts); i++)
		json_object_set_new(o, texts[i].key, texts[i].is_json ?
		    json_parsed(column(st, texts[i].at)) : json_safe(column(st, texts[i].at)));
}

static enum store_status
show(struct db *db, const struct store_filter *f, json_t **out)
{
	sqlite3_stmt *st = db_use(db, SQL_SHOW_MESSAGE);
	int got;

	db_bind_int(st, 1, (int64_t)f->id);
	got = db_row(db, st);
	if (got <= 0)
		return got == 0 ? STORE_NOT_FOUND : STORE_IO;
	*out = json_object();
	message_keys(*out, f->id, st);
	show_keys(*out, st);
	sqlite3_reset(st);
	st = db_use(db, SQL_RCPTS_OF);
	db_bind_int(st, 1, (int64_t)f->id);
	while ((got = db_row(db, st)) == 1) {
		struct key k = { f->id, (uint32_t)sqlite3_column_int64(st, 0) };
		json_t *r = rcpt_json(db, k, true);

		if (r != NULL)
			json_array_append_new(json_object_get(*out, "recipients"), r);
	}
	set_message_state(*out);
	return got < 0 ? STORE_IO : STORE_OK;
}

/* ---- All of them ---- */

enum store_status
query_answer(struct db *db, const struct store *s, const struct store_query *q, char **json_out,
    char *text, size_t text_size)
{
	enum store_status rc = STORE_OK;
	json_t *o = NULL;
	char *dump;

	db->text[0] = '\0';
	switch (q->verb) {
	case STORE_LIST:
		rc = list(db, &q->filter, &o);
		break;
	case STORE_SHOW:
		rc = show(db, &q->filter, &o);
		break;
	case STORE_EVIDENCE:
		o = query_evidence(db, &q->filter);
		break;
	case STORE_EVIDENCE_VERIFY:
		o = query_verify(db, s, &q->filter);
		break;
	case STORE_EVIDENCE_EXPORT:
		o = query_export(db, &q->filter);
		break;
	case STORE_TLSRPT: {
		struct store_filter f = q->filter;

		f.domain = pattern(q->filter.domain);
		o = query_tlsrpt(db, &f);
		free(f.domain);
		break;
	}
	case STORE_SEEN: {
		struct store_filter f = q->filter;

		f.domain = pattern(q->filter.domain);
		o = query_offers(db, &f);
		free(f.domain);
		break;
	}
	case STORE_TRACE:
		o = query_trace(db, &q->filter);
		break;
	case STORE_STATUS:
		rc = query_status(db, s, &o);
		break;
	default:
		rc = STORE_BAD;
		snprintf(db->text, sizeof db->text, "this needs the running daemon");
	}
	if (o == NULL && rc == STORE_OK)
		rc = STORE_IO;
	if (rc == STORE_OK) {
		dump = json_dumps(o, JSON_COMPACT);
		*json_out = xstrdup(dump);
		free(dump);
	}
	json_decref(o);
	snprintf(text, text_size, "%s", rc == STORE_NOT_FOUND ? "no such message in the queue" : db->text);
	return rc;
}

char *
store_offline(const char *path, const struct store_query *q, struct err *err)
{
	char text[200], *json = NULL;
	struct db db;

	if (db_open(&db, path, true, err) != 0)
		return NULL;
	if (query_answer(&db, NULL, q, &json, text, sizeof text) != STORE_OK) {
		err_set(err, "queue %s: %s", path, text);
		json = NULL;
	}
	db_close(&db, false);
	return json;
}
