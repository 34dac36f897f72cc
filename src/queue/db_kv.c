/* Values that policies keep (gw.kv): JSON by name and key, with an end or without. The number of rows
 * of a name is kept by triggers, so that asking for it costs nothing. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/store_int.h"

#define SWEEP_ROWS 200
#define SWEEP_EVERY_MS 60000
#define SWEEP_AGAIN_MS 1000

static void
bind_key(sqlite3_stmt *st, const struct store_kv *r)
{
	db_bind_text(st, 1, r->name);
	sqlite3_bind_blob(st, 2, r->key, (int)r->nkey, SQLITE_STATIC);
}

/* 1 there and not over, 0 not, -1. *is_row: there, even if it is over. `found` is set with 1. */
static int
look(struct db *db, enum sql which, struct store_kv *r, int64_t now, bool *is_row, int64_t *expires)
{
	sqlite3_stmt *st = db_use(db, which);
	int got;

	bind_key(st, r);
	got = db_row(db, st);
	*is_row = got == 1;
	if (got != 1)
		return got;
	*expires = sqlite3_column_int64(st, 1);
	got = *expires == 0 || *expires > now;
	free(r->found);
	r->found = got ? db_text(st, 0) : NULL;
	sqlite3_reset(st);
	return got;
}

enum store_status
read_kv(struct db *db, struct store_kv *r)
{
	bool is_row;
	int64_t expires;
	int got = look(db, SQL_KV_READ, r, clock_wall_ms(), &is_row, &expires);

	r->end = got == 1 ? KV_DONE : KV_ABSENT;
	return got < 0 ? STORE_IO : STORE_OK;
}

/* ---- Writing; inside a transaction ---- */

static bool
sweep(struct store *s)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_KV_SWEEP);

	db_bind_int(st, 1, s->tx.now_ms);
	db_bind_int(st, 2, SWEEP_ROWS);
	return db_run(&s->db, st);
}

static bool
count(struct store *s, const char *name, int64_t *of_name, int64_t *of_all)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_KV_COUNT);
	int got;

	db_bind_text(st, 1, name);
	got = db_row(&s->db, st);
	if (got != 1)
		return got == 0;
	*of_name = sqlite3_column_int64(st, 0);
	*of_all = sqlite3_column_int64(st, 1);
	sqlite3_reset(st);
	return true;
}

/* Is there room for one more? What is over goes first. */
static bool
check_room(struct store *s, struct store_kv *r)
{
	int64_t of_name = 0, of_all = 0;

	for (int i = 0; i < 2; i++) {
		if (!count(s, r->name, &of_name, &of_all))
			return false;
		if (of_name < STORE_KV_ROWS && of_all < STORE_KV_ROWS_ALL)
			return true;
		if (i == 0 && !sweep(s))
			return false;
	}
	r->end = KV_LIMIT;
	snprintf(r->text, sizeof r->text, "gw.kv %s: no room for another key: %lld of %d, in all %lld of %d",
	    r->name, (long long)of_name, STORE_KV_ROWS, (long long)of_all, STORE_KV_ROWS_ALL);
	return true;
}

static bool
write_value(struct store *s, struct store_kv *r, bool is_row, const char *value, int64_t expires)
{
	sqlite3_stmt *st;

	if (!is_row && !check_room(s, r))
		return false;
	if (r->end == KV_LIMIT)
		return true;
	st = db_use(&s->db, is_row ? SQL_KV_UPDATE : SQL_KV_INSERT);
	bind_key(st, r);
	db_bind_text(st, 3, value);
	db_bind_int(st, 4, expires);
	return db_run(&s->db, st);
}

static bool
delete_value(struct store *s, struct store_kv *r)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_KV_DELETE);

	bind_key(st, r);
	return db_run(&s->db, st);
}

/* A counter keeps its end: its window does not move with each event. */
static bool
add(struct store *s, struct store_kv *r, bool is_row, int64_t expires)
{
	long long old = 0;
	int64_t sum;
	char text[24], *end;

	if (r->found != NULL) {
		errno = 0;
		old = strtoll(r->found, &end, 10);
		if (errno != 0 || end == r->found || *end != '\0' || __builtin_add_overflow(old, r->delta, &sum)) {
			r->end = KV_NOT_NUMBER;
			return true;
		}
	} else {
		sum = r->delta;
		expires = r->ttl_ms == 0 ? 0 : s->tx.now_ms + r->ttl_ms;
	}
	r->number = sum;
	snprintf(text, sizeof text, "%lld", (long long)sum);
	return write_value(s, r, is_row, text, expires);
}

/* Done again when the group is: everything of the answer is set anew. */
bool
put_kv(struct store *s, struct store_kv *r)
{
	int64_t expires = 0, end = r->ttl_ms == 0 ? 0 : s->tx.now_ms + r->ttl_ms;
	bool is_row;
	int got;

	r->end = KV_DONE;
	r->text[0] = '\0';
	free(r->found);
	r->found = NULL;
	got = look(&s->db, SQL_KV_GET, r, s->tx.now_ms, &is_row, &expires);
	if (got < 0)
		return false;
	switch (r->verb) {
	case STORE_KV_ADD:
		return add(s, r, is_row, expires);
	case STORE_KV_DELETE:
		r->end = got == 1 ? KV_DONE : KV_ABSENT;
		return !is_row || delete_value(s, r);
	case STORE_KV_CAS:
		if (r->old == NULL ? got == 1 : got == 0 || strcmp(r->old, r->found) != 0) {
			r->end = KV_DIFFERS;
			return true;
		}
		if (r->value == NULL)
			return !is_row || delete_value(s, r);
		break;
	default:
		break;
	}
	return write_value(s, r, is_row, r->value, end);
}

/* ---- What is over ---- */

bool
kv_wants_sweep(const struct store *s, int64_t mono)
{
	return mono >= s->kv_sweep_at;
}

bool
kv_sweep(struct store *s)
{
	if (!sweep(s))
		return false;
	s->kv_swept = (unsigned)sqlite3_changes(s->db.h);
	return true;
}

void
kv_sweep_done(struct store *s, bool ok)
{
	s->kv_sweep_at = clock_mono_ms() + (ok && s->kv_swept >= SWEEP_ROWS ? SWEEP_AGAIN_MS : SWEEP_EVERY_MS);
	s->kv_swept = 0;
}
