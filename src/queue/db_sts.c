/* Policies of MTA-STS, kept across restarts (S-50). */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "queue/store_int.h"

#define LONG_AGO_MS (INT64_C(2) * 86400 * 1000)
#define ROWS_MAX 1000u

/* What has run out goes with the next one that comes, but not sooner than its last refresh has had
 * its chance: the clock may have jumped. */
bool
put_sts(struct store *s, const struct store_policy *p)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_STS_PUT);

	db_bind_text(st, 1, p->domain);
	db_bind_text(st, 2, p->id);
	db_bind_text(st, 3, p->text);
	db_bind_int(st, 4, p->fetched_ms);
	db_bind_int(st, 5, p->expires_ms);
	if (!db_run(&s->db, st))
		return false;
	st = db_use(&s->db, SQL_STS_FORGET);
	db_bind_int(st, 1, s->tx.now_ms);
	db_bind_int(st, 2, s->tx.now_ms - LONG_AGO_MS);
	return db_run(&s->db, st);
}

enum store_status
read_sts(struct db *db, struct store_sts *r)
{
	sqlite3_stmt *st = db_use(db, r->domain != NULL ? SQL_STS_OF : SQL_STS_DUE);
	unsigned limit = r->domain != NULL ? 1 : r->limit < ROWS_MAX ? r->limit : ROWS_MAX;
	int got = 0;

	if (r->domain != NULL) {
		db_bind_text(st, 1, r->domain);
	} else {
		db_bind_int(st, 1, r->before_ms);
		db_bind_int(st, 2, limit);
	}
	r->rows = xcalloc(limit + 1, sizeof *r->rows);
	while (r->n < limit && (got = db_row(db, st)) == 1) {
		struct store_policy *p = &r->rows[r->n++];

		p->domain = db_text(st, 0);
		p->id = db_text(st, 1);
		p->text = db_text(st, 2);
		p->fetched_ms = sqlite3_column_int64(st, 3);
		p->expires_ms = sqlite3_column_int64(st, 4);
	}
	if (got == 1)
		sqlite3_reset(st);
	return got < 0 ? STORE_IO : STORE_OK;
}
