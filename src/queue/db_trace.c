/* What handlers did with messages that had an outcome of their own, or were picked as a sample. Bounded by age
 * and by number; nothing else depends on these rows. */
#include "config.h"

#include <string.h>

#include "queue/store_int.h"

#define SWEEP_MS (60 * 1000)
#define SWEEP_ROWS 5000
#define ROWS_MAX 2000		/* of one answer */

static bool
put_one(struct store *s, const struct store_trace *t)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_TRACE_PUT);

	db_bind_int(st, 1, t->at_ms);
	db_bind_int(st, 2, (int64_t)t->message);
	db_bind_int(st, 3, (int64_t)t->session);
	db_bind_text(st, 4, t->hook);
	db_bind_text(st, 5, t->domain);
	db_bind_text(st, 6, t->text);
	return db_run(&s->db, st);
}

static bool
sweep(struct store *s)
{
	sqlite3_stmt *st;

	if (s->tx.now_ms < s->traces_swept_ms + SWEEP_MS && s->tx.now_ms >= s->traces_swept_ms)
		return true;
	s->traces_swept_ms = s->tx.now_ms;
	st = db_use(&s->db, SQL_TRACE_SWEEP);
	db_bind_int(st, 1, s->tx.now_ms - s->trace_keep_ms);
	db_bind_int(st, 2, SWEEP_ROWS);
	return db_run(&s->db, st);
}

bool
put_traces(struct store *s, const struct store_trace *rows, size_t n)
{
	sqlite3_stmt *st;

	for (size_t i = 0; i < n; i++)
		if (!put_one(s, &rows[i]))
			return false;
	st = db_use(&s->db, SQL_TRACE_CAP);
	db_bind_int(st, 1, (int64_t)s->trace_rows);
	return db_run(&s->db, st) && sweep(s);
}

json_t *
query_trace(struct db *db, const struct store_filter *f)
{
	sqlite3_stmt *st = db_use(db, SQL_TRACE_OF);
	json_t *rows = json_array();
	int got;

	db_bind_int(st, 1, (int64_t)f->id);
	db_bind_int(st, 2, ROWS_MAX);
	while ((got = db_row(db, st)) == 1)
		json_array_append_new(rows, json_parsed((const char *)sqlite3_column_text(st, 0)));
	if (got < 0) {
		json_decref(rows);
		return NULL;
	}
	return json_pack("{s:o}", "trace", rows);
}
