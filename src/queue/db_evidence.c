/* Reading evidence, and checking its chain. A row's hash covers its text and the hash before it;
 * its number must follow the number before it, and the columns that it is found by must say what
 * its text says. Where old rows were removed the chain begins at the checkpoint, and a row in it must
 * say the same. The database notes how far the chain goes and a running daemon knows it, so that
 * rows cut off at the end are missed. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/store_int.h"

#define EVIDENCE_DEFAULT 1000u
#define EVIDENCE_LIMIT 100000u
#define PAGE_BYTES (4u << 20)	/* of an answer: it is built in memory, here and at the other end */

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
	size_t bytes = 0;
	int got;

	db_bind_int(st, 1, (int64_t)f->id);
	db_bind_int(st, 2, f->since_ms > 0 ? row_at_time(db, f->since_ms) : 1);
	db_bind_int(st, 3, (int64_t)limit + 1);
	while ((got = db_row(db, st)) == 1) {
		if (f->until_ms > 0 && sqlite3_column_int64(st, 3) > f->until_ms)
			continue;
		more = json_array_size(rows) == limit || bytes > 4 * PAGE_BYTES;
		if (more)
			break;
		bytes += (size_t)sqlite3_column_bytes(st, 4);
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

/* ---- Export: rows as they were hashed, page by page ---- */

static json_t *
checkpoint(struct db *db)
{
	sqlite3_stmt *st = db_use(db, SQL_EVIDENCE_REMOVED);
	json_t *o;

	if (db_row(db, st) != 1)
		return json_null();
	o = json_object();
	json_object_set_new(o, "id", json_integer(sqlite3_column_int64(st, 0)));
	json_object_set_new(o, "hash", json_safe((const char *)sqlite3_column_text(st, 1)));
	json_object_set_new(o, "at", json_time(sqlite3_column_int64(st, 2)));
	sqlite3_reset(st);
	return o;
}

/* Number and hash of the row before `id`, from where a reader can go on hashing; null when there is
 * no such row. */
static json_t *
row_before(struct db *db, int64_t id, const json_t *removed)
{
	sqlite3_stmt *st = db_use(db, SQL_EVIDENCE_HASH);
	json_t *o = json_object();
	bool known = id == 1;

	json_object_set_new(o, "id", json_integer(id - 1));
	json_object_set_new(o, "hash", json_string(""));
	if (id - 1 == json_integer_value(json_object_get(removed, "id")) && id > 1) {
		known = true;
		json_object_set(o, "hash", json_object_get(removed, "hash"));
	} else if (id > 1) {
		db_bind_int(st, 1, id - 1);
		known = db_row(db, st) == 1;
		if (known) {
			json_object_set_new(o, "hash", json_safe((const char *)sqlite3_column_text(st, 0)));
			sqlite3_reset(st);
		}
	}
	if (known)
		return o;
	json_decref(o);
	return json_null();
}

json_t *
query_export(struct db *db, const struct store_filter *f)
{
	unsigned limit = f->limit == 0 || f->limit > EVIDENCE_DEFAULT ? EVIDENCE_DEFAULT : f->limit;
	sqlite3_stmt *st = db_use(db, f->id != 0 ? SQL_EVIDENCE_OF : SQL_EVIDENCE_FROM);
	json_t *rows = json_array(), *o, *removed = NULL, *before = NULL;
	int64_t from = 1, last = (int64_t)f->after;
	size_t bytes = 0;
	int got, n = 0;

	if (f->after >= INT64_MAX)
		from = INT64_MAX;
	else if (f->after > 0)
		from = (int64_t)f->after + 1;
	else if (f->since_ms > 0)
		from = row_at_time(db, f->since_ms);
	db_bind_int(st, 1, (int64_t)f->id);
	db_bind_int(st, 2, from);
	db_bind_int(st, 3, (int64_t)limit + 1);
	while ((got = db_row(db, st)) == 1 && bytes < PAGE_BYTES && n < (int)limit) {
		last = sqlite3_column_int64(st, 0);
		n++;
		if (f->until_ms > 0 && sqlite3_column_int64(st, 3) > f->until_ms)
			continue;
		/* While this statement is under way, so that all of them see the same database. */
		if (removed == NULL) {
			removed = checkpoint(db);
			before = f->id != 0 ? json_null() : row_before(db, last, removed);
		}
		bytes += (size_t)sqlite3_column_bytes(st, 4);
		o = json_object();
		json_object_set_new(o, "id", json_integer(last));
		json_object_set_new(o, "hash", json_safe((const char *)sqlite3_column_text(st, 5)));
		/* What is no UTF-8 was not written by us; escaped it does not fit its hash either. */
		json_object_set_new(o, "text", json_string((const char *)sqlite3_column_text(st, 4)));
		if (json_object_get(o, "text") == NULL)
			json_object_set_new(o, "text", json_safe((const char *)sqlite3_column_text(st, 4)));
		json_array_append_new(rows, o);
	}
	sqlite3_reset(st);
	o = json_object();
	json_object_set_new(o, "rows", rows);
	json_object_set_new(o, "more", json_boolean(got == 1));
	json_object_set_new(o, "last", json_integer(last));
	json_object_set_new(o, "before", before != NULL ? before : json_null());
	json_object_set_new(o, "checkpoint", removed != NULL ? removed : checkpoint(db));
	if (got >= 0)
		return o;
	json_decref(o);
	return NULL;
}

/* ---- The chain ---- */

struct walk {
	int64_t id;			/* of the last good row */
	char hash[EVIDENCE_HASH];
	uint64_t rows;
	const char *problem;
	int64_t broken_at;
	int64_t head_id;		/* as the running daemon or the database knows it; 0 not known */
	char head_hash[EVIDENCE_HASH];	/* "" not known */
	int64_t removed_to;		/* the checkpoint; 0 none */
	char removed_hash[EVIDENCE_HASH];
	bool is_vouched;		/* a row says the same as the checkpoint */
	const char *wanted;		/* a hash that has to be there, or NULL */
	bool is_found;
};

static bool
vouches(const struct walk *w, const json_t *o)
{
	const char *event = json_string_value(json_object_get(o, "event"));
	const char *hash = json_string_value(json_object_get(o, "removed_hash"));

	return event != NULL && strcmp(event, "pruned") == 0 && hash != NULL &&
	    strcmp(hash, w->removed_hash) == 0 &&
	    json_integer_value(json_object_get(o, "removed_to")) == w->removed_to;
}

/* The record names its message and recipient itself, inside what is hashed. */
static bool
columns_fit(const json_t *o, int64_t message, bool has_rcpt, int64_t rcpt)
{
	const char *id = json_string_value(json_object_get(o, "message"));
	const json_t *num = json_object_get(o, "rcpt_num");
	uint64_t named;
	bool ok = true;

	if (id != NULL)
		ok = id_parse(id, &named) && named == (uint64_t)message;
	if (ok && has_rcpt && json_is_integer(num))
		ok = json_integer_value(num) == rcpt;
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
	json_t *record;
	bool fit;

	if (id != w->id + 1)
		return break_at(w, w->id + 1, "rows are missing");
	if (text == NULL || hash == NULL || strlen(text) != (size_t)sqlite3_column_bytes(st, 3))
		return break_at(w, id, "the row is damaged");
	evidence_hash(want, w->hash, text);
	if (strcmp(want, hash) != 0)
		return break_at(w, id, "the hash does not fit: the row, or the order of rows, was changed");
	record = json_loads(text, 0, NULL);
	fit = columns_fit(record, sqlite3_column_int64(st, 1), sqlite3_column_type(st, 2) != SQLITE_NULL,
	    sqlite3_column_int64(st, 2));
	w->is_vouched = w->is_vouched || (w->removed_to > 0 && vouches(w, record));
	json_decref(record);
	if (!fit)
		return break_at(w, id, "the row was put under another message or recipient");
	if (id == w->head_id && w->head_hash[0] != '\0' && strcmp(hash, w->head_hash) != 0)
		return break_at(w, id, "the chain was written anew");
	w->id = id;
	memcpy(w->hash, want, sizeof w->hash);
	w->rows++;
	return true;
}

/* Rows were removed while they were walked through: from there again. */
static bool
has_moved(struct walk *w, struct db *db)
{
	sqlite3_stmt *st = db_use(db, SQL_EVIDENCE_REMOVED);
	bool moved = db_row(db, st) == 1 && sqlite3_column_int64(st, 0) > w->removed_to;

	sqlite3_reset(st);
	return moved;
}

/* Where the chain has to begin and how far it has to go. */
static bool
walk_start(struct walk *w, struct db *db, const struct store *s)
{
	sqlite3_stmt *st = db_use(db, SQL_EVIDENCE_REMOVED);
	int got;

	if (s != NULL) {
		/* Before the first look at the table, so that every row up to here must be in it. */
		pthread_mutex_lock((pthread_mutex_t *)&s->head_lock);
		w->head_id = (int64_t)s->head_id;
		memcpy(w->head_hash, s->head_hash, sizeof w->head_hash);
		pthread_mutex_unlock((pthread_mutex_t *)&s->head_lock);
	} else {
		w->head_id = db_meta(db, "evidence");
	}
	got = db_row(db, st);
	if (got == 1) {
		const char *hash = (const char *)sqlite3_column_text(st, 1);

		w->id = w->removed_to = sqlite3_column_int64(st, 0);
		snprintf(w->removed_hash, sizeof w->removed_hash, "%s", hash == NULL ? "" : hash);
		memcpy(w->hash, w->removed_hash, sizeof w->hash);
		sqlite3_reset(st);
	}
	w->is_found = w->wanted == NULL || (w->hash[0] != '\0' && strcmp(w->wanted, w->hash) == 0);
	return got >= 0;
}

static int
walk(struct walk *w, struct db *db, bool *going)
{
	sqlite3_stmt *st = db_use(db, SQL_EVIDENCE_WALK);
	int got = 1, n;

	/* Batches, so that no snapshot lives long enough to keep the log from being checkpointed. */
	do {
		db_bind_int(st, 1, w->id);
		for (n = 0; *going && (got = db_row(db, st)) == 1; n++) {
			*going = check_row(w, st);
			w->is_found = w->is_found || (*going && strcmp(w->wanted, w->hash) == 0);
		}
		sqlite3_reset(st);
	} while (*going && got == 0 && n > 0);
	return got;
}

json_t *
query_verify(struct db *db, const struct store *s, const struct store_filter *f)
{
	struct walk w;
	bool going;
	json_t *o;
	int tries = 0;

	do {
		w = (struct walk){ .wanted = f->head };
		going = true;
		if (!walk_start(&w, db, s) || walk(&w, db, &going) < 0)
			return NULL;
	} while (!going && has_moved(&w, db) && ++tries < 10);
	if (going && w.id < w.head_id)
		going = break_at(&w, w.id + 1, "rows are missing at the end");
	if (going && w.removed_to > 0 && !w.is_vouched)
		going = break_at(&w, w.removed_to, "rows up to here were removed, and no later row says so");
	if (going && !w.is_found)
		going = break_at(&w, w.id, "no row has the hash that was asked for: the chain was written anew, "
		    "or the row was removed for its age");
	o = json_object();
	json_object_set_new(o, "ok", json_boolean(going));
	json_object_set_new(o, "rows", json_integer((json_int_t)w.rows));
	json_object_set_new(o, "last", json_integer(w.id));
	json_object_set_new(o, "head", json_safe(w.hash));
	json_object_set_new(o, "checkpoint", checkpoint(db));
	json_object_set_new(o, "broken_at", going ? json_null() : json_integer(w.broken_at));
	json_object_set_new(o, "problem", going ? json_null() : json_string(w.problem));
	return o;
}
