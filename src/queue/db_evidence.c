/* Reading evidence, and checking its chain. A row's hash covers its text and the hash before it;
 * its number must follow the number before it, and the columns that it is found by must say what
 * its text says. With a running daemon the end of the chain is known too, so that rows cut off
 * there are missed. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/store_int.h"

#define EVIDENCE_DEFAULT 1000u
#define EVIDENCE_LIMIT 100000u

/* The first row written at or after `ms`. Numbers grow with time, so halving finds it in some 20
 * looks; a clock that was set back makes it approximate. */
static int64_t
row_at_time(struct db *db, int64_t ms)
{
	sqlite3_stmt *st = db_use(db, SQL_EVIDENCE_HEAD);
	int64_t low = 1, high;

	if (db_row(db, st) != 1)
		return 1;
	high = sqlite3_column_int64(st, 0);
	high += high < INT64_MAX;	/* a damaged row may have any number */
	sqlite3_reset(st);
	st = db_use(db, SQL_EVIDENCE_AT);
	while (low < high) {
		int64_t mid = low + (high - low) / 2;
		bool is_early;

		db_bind_int(st, 1, mid);
		if (db_row(db, st) != 1) {
			high = mid;
			continue;
		}
		is_early = sqlite3_column_int64(st, 1) < ms;
		sqlite3_reset(st);
		if (is_early)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

json_t *
query_evidence(struct db *db, const struct store_filter *f)
{
	unsigned limit = f->limit == 0 ? EVIDENCE_DEFAULT : f->limit > EVIDENCE_LIMIT ? EVIDENCE_LIMIT : f->limit;
	sqlite3_stmt *st = db_use(db, f->id != 0 ? SQL_EVIDENCE_OF : SQL_EVIDENCE_FROM);
	json_t *rows = json_array(), *o;
	bool more = false;
	int got;

	db_bind_int(st, 1, (int64_t)f->id);
	db_bind_int(st, 2, f->since_ms > 0 ? row_at_time(db, f->since_ms) : 1);
	db_bind_int(st, 3, (int64_t)limit + 1);
	while ((got = db_row(db, st)) == 1) {
		if (f->until_ms > 0 && sqlite3_column_int64(st, 3) > f->until_ms)
			continue;
		more = json_array_size(rows) == limit;
		if (more)
			break;
		o = json_object();
		json_object_set_new(o, "id", json_integer(sqlite3_column_int64(st, 0)));
		json_object_set_new(o, "at", json_time(sqlite3_column_int64(st, 3)));
		json_object_set_new(o, "message", json_id((uint64_t)sqlite3_column_int64(st, 1)));
		json_object_set_new(o, "rcpt", sqlite3_column_type(st, 2) == SQLITE_NULL ? json_null() :
		    json_integer(sqlite3_column_int64(st, 2)));
		json_object_set_new(o, "record", json_parsed((const char *)sqlite3_column_text(st, 4)));
		json_object_set_new(o, "hash", json_safe((const char *)sqlite3_column_text(st, 5)));
		json_array_append_new(rows, o);
	}
	if (more)
		sqlite3_reset(st);
	if (got < 0) {
		json_decref(rows);
		return NULL;
	}
	o = json_object();
	json_object_set_new(o, "evidence", rows);
	json_object_set_new(o, "more", json_boolean(more));
	return o;
}

/* ---- The chain ---- */

struct walk {
	int64_t id;			/* of the last good row */
	char hash[EVIDENCE_HASH];
	uint64_t rows;
	const char *problem;
	int64_t broken_at;
	int64_t head_id;		/* as the running daemon knows it; 0 not known */
	char head_hash[EVIDENCE_HASH];
};

/* The record names its message and recipient itself, inside what is hashed. */
static bool
columns_fit(int64_t message, bool has_rcpt, int64_t rcpt, const char *text)
{
	json_t *o = json_loads(text, 0, NULL);
	const char *id = json_string_value(json_object_get(o, "message"));
	const json_t *num = json_object_get(o, "rcpt_num");
	uint64_t named;
	bool ok = true;

	if (id != NULL)
		ok = id_parse(id, &named) && named == (uint64_t)message;
	if (ok && has_rcpt && json_is_integer(num))
		ok = json_integer_value(num) == rcpt;
	json_decref(o);
	return ok;
}

static bool
break_at(struct walk *w, int64_t id, const char *problem)
{
	w->broken_at = id;
	w->problem = problem;
	return false;
}

static bool
check_row(struct walk *w, sqlite3_stmt *st)
{
	int64_t id = sqlite3_column_int64(st, 0);
	const char *text = (const char *)sqlite3_column_text(st, 3);
	const char *hash = (const char *)sqlite3_column_text(st, 4);
	char want[EVIDENCE_HASH];

	if (id != w->id + 1)
		return break_at(w, w->id + 1, "rows are missing");
	if (text == NULL || hash == NULL || strlen(text) != (size_t)sqlite3_column_bytes(st, 3))
		return break_at(w, id, "the row is damaged");
	evidence_hash(want, w->hash, text);
	if (strcmp(want, hash) != 0)
		return break_at(w, id, "the hash does not fit: the row, or the order of rows, was changed");
	if (!columns_fit(sqlite3_column_int64(st, 1), sqlite3_column_type(st, 2) != SQLITE_NULL,
	    sqlite3_column_int64(st, 2), text))
		return break_at(w, id, "the row was put under another message or recipient");
	if (id == w->head_id && strcmp(hash, w->head_hash) != 0)
		return break_at(w, id, "the chain was written anew");
	w->id = id;
	memcpy(w->hash, want, sizeof w->hash);
	w->rows++;
	return true;
}

json_t *
query_verify(struct db *db, const struct store *s)
{
	struct walk w = { .id = 0 };
	sqlite3_stmt *st;
	bool going = true;
	int got = 1, n = 0;
	json_t *o;

	if (s != NULL) {
		/* Before the first look at the table, so that every row up to here must be in it. */
		pthread_mutex_lock((pthread_mutex_t *)&s->head_lock);
		w.head_id = (int64_t)s->head_id;
		memcpy(w.head_hash, s->head_hash, sizeof w.head_hash);
		pthread_mutex_unlock((pthread_mutex_t *)&s->head_lock);
	}
	/* Batches, so that no snapshot lives long enough to keep the log from being checkpointed. */
	do {
		st = db_use(db, SQL_EVIDENCE_WALK);
		db_bind_int(st, 1, w.id);
		for (n = 0; going && (got = db_row(db, st)) == 1; n++)
			going = check_row(&w, st);
		sqlite3_reset(st);
	} while (going && got == 0 && n > 0);
	if (got < 0)
		return NULL;
	if (going && w.id < w.head_id)
		going = break_at(&w, w.id + 1, "rows are missing at the end");
	o = json_object();
	json_object_set_new(o, "ok", json_boolean(going));
	json_object_set_new(o, "rows", json_integer((json_int_t)w.rows));
	json_object_set_new(o, "head", json_string(w.hash));
	json_object_set_new(o, "broken_at", going ? json_null() : json_integer(w.broken_at));
	json_object_set_new(o, "problem", going ? json_null() : json_string(w.problem));
	return o;
}
