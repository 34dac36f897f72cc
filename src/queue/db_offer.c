/* What domains and hosts offered, when first and last, and what is gone. Bounded: past the cap the rows that
 * were not seen for longest go. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "queue/store_int.h"

#define SWEEP_MS (3600 * 1000)
#define ROWS_MAX 1000u		/* of one answer to a worker */
#define LIST_DEFAULT 1000u
#define LIST_MAX 100000u

static bool
count_rows(struct store *s)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_OFFER_COUNT);

	if (db_row(&s->db, st) != 1)
		return false;
	s->noffers = sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	s->offers_counted = true;
	return true;
}

/* A hundredth more than has to go, so that it is not done again with the next row. */
static bool
make_room_for_one(struct store *s)
{
	sqlite3_stmt *st;

	if (s->offers_counted && s->noffers < s->max_offers)
		return true;
	if (!count_rows(s))
		return false;
	if (s->noffers < s->max_offers)
		return true;
	st = db_use(&s->db, SQL_OFFER_EVICT);
	db_bind_int(st, 1, s->noffers - s->max_offers + s->max_offers / 100 + 1);
	return db_run(&s->db, st) && count_rows(s);
}

static void
bind_offer(sqlite3_stmt *st, const struct store_offer *o)
{
	db_bind_text(st, 1, o->domain);
	db_bind_text(st, 2, o->host);
	db_bind_text(st, 3, o->what);
	db_bind_text(st, 4, o->value);
	db_bind_text(st, 5, o->instead);
	db_bind_int(st, 6, o->first_ms);
	db_bind_int(st, 7, o->last_ms);
	db_bind_int(st, 8, o->lost_ms);
}

static bool
put_one(struct store *s, const struct store_offer *o)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_OFFER_UPDATE);

	bind_offer(st, o);
	if (!db_run(&s->db, st))
		return false;
	if (sqlite3_changes(s->db.h) > 0)
		return true;
	if (!make_room_for_one(s))
		return false;
	st = db_use(&s->db, SQL_OFFER_INSERT);
	bind_offer(st, o);
	s->noffers++;		/* too many when this is rolled back: it is counted again at the cap */
	return db_run(&s->db, st);
}

bool
put_offers(struct store *s, const struct store_offer *rows, size_t n)
{
	sqlite3_stmt *st;

	for (size_t i = 0; i < n; i++)
		if (!put_one(s, &rows[i]))
			return false;
	if (s->tx.now_ms < s->offers_swept_ms + SWEEP_MS && s->tx.now_ms >= s->offers_swept_ms)
		return true;
	s->offers_swept_ms = s->tx.now_ms;
	st = db_use(&s->db, SQL_OFFER_SWEEP);
	db_bind_int(st, 1, s->tx.now_ms - STORE_OFFER_LOST_MS);
	return db_run(&s->db, st);
}

enum store_status
read_offers(struct db *db, struct store_offers *r)
{
	sqlite3_stmt *st = db_use(db, SQL_OFFERS_OF);
	int got = 0;

	db_bind_text(st, 1, r->domain);
	db_bind_int(st, 2, r->now_ms - STORE_OFFER_LOST_MS);
	r->rows = xcalloc(ROWS_MAX, sizeof *r->rows);
	while (r->n < ROWS_MAX && (got = db_row(db, st)) == 1) {
		struct store_offer *o = &r->rows[r->n++];

		o->domain = xstrdup(r->domain);
		o->host = db_text(st, 0);
		o->what = db_text(st, 1);
		o->value = db_text(st, 2);
		o->instead = db_text(st, 3);
		o->first_ms = sqlite3_column_int64(st, 4);
		o->last_ms = sqlite3_column_int64(st, 5);
		o->lost_ms = sqlite3_column_int64(st, 6);
	}
	if (got == 1)
		sqlite3_reset(st);
	return got < 0 ? STORE_IO : STORE_OK;
}

json_t *
query_offers(struct db *db, const struct store_filter *f)
{
	unsigned limit = f->limit == 0 ? LIST_DEFAULT : f->limit < LIST_MAX ? f->limit : LIST_MAX;
	static const char *const keys[] = { "domain", "host", "what", "value", "now" };
	sqlite3_stmt *st = db_use(db, SQL_OFFER_LIST);
	json_t *rows = json_array(), *o;
	bool more = false;
	int got;

	db_bind_text(st, 1, f->domain);
	db_bind_int(st, 2, (int64_t)limit + 1);
	while ((got = db_row(db, st)) == 1) {
		more = json_array_size(rows) == limit;
		if (more)
			break;
		o = json_object();
		for (int i = 0; i < (int)NELEMS(keys); i++)
			json_object_set_new(o, keys[i], json_safe((const char *)sqlite3_column_text(st, i)));
		json_object_set_new(o, "first", json_time(sqlite3_column_int64(st, 5)));
		json_object_set_new(o, "last", json_time(sqlite3_column_int64(st, 6)));
		json_object_set_new(o, "gone", json_time(sqlite3_column_int64(st, 7)));
		json_array_append_new(rows, o);
	}
	if (more)
		sqlite3_reset(st);
	if (got < 0) {
		json_decref(rows);
		return NULL;
	}
	o = json_object();
	json_object_set_new(o, "seen", rows);
	json_object_set_new(o, "more", json_boolean(more));
	return o;
}
