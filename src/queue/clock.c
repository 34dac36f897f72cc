/* A wall clock that jumps (F-18). When a recipient is tried again is wall time in its row, so that it
 * survives a restart; but what was meant is a distance. A clock set back by an hour would put off every
 * retry by an hour, one set forward by a day would make them all due at once: rows are moved along.
 *
 * What a policy put off (not_before) and when a hold ends were said as times of day and stay. */
#include "config.h"

#include "queue/store_int.h"

#define STEP_MS 10000		/* a smaller one is a clock being steered */
#define FUTURE_MS (366ll * 86400 * 1000)	/* a row that claims to come from later is damaged */

static bool
shift(struct store *s, int64_t by, int64_t old_now)
{
	sqlite3_stmt *st;
	bool ok;

	if (!db_do(&s->db, SQL_BEGIN))
		return false;
	st = db_use(&s->db, SQL_SHIFT);
	db_bind_int(st, 1, by);
	db_bind_int(st, 2, old_now);
	/* Numbers from before are still newer than the clock at the next start: that is known then. */
	ok = db_run(&s->db, st) && (by > 0 || db_meta_set(&s->db, "clock_from", old_now)) &&
	    db_do(&s->db, SQL_COMMIT);
	if (!ok && !sqlite3_get_autocommit(s->db.h))
		sqlite3_exec(s->db.h, "ROLLBACK", NULL, NULL, NULL);
	if (ok)
		log_warn("clock has jumped, retries move along", LOG_I("ms", by));
	return ok;
}

int
store_clock_start(struct store *s, struct err *err)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_LAST_KNOWN);
	int64_t now = clock_wall_ms(), id_ms = 0, at = 0;
	uint64_t id = 0;
	int got = db_row(&s->db, st);

	s->wall_offset = now - clock_mono_ms();
	if (got == 1) {
		id = (uint64_t)sqlite3_column_int64(st, 0);
		at = sqlite3_column_int64(st, 1);
		sqlite3_reset(st);
	}
	id_ms = id_wall_ms(id);
	if (id_ms < now + FUTURE_MS)
		id_seen(id);
	else
		id_ms = 0;
	if (at < id_ms || at > now + FUTURE_MS)
		at = id_ms;
	if (at - db_meta(&s->db, "clock_from") < STEP_MS)
		at = now;
	if (got < 0 || (at - now > STEP_MS && !shift(s, now - at, at))) {
		err_set(err, "queue %s: %s", s->path, s->db.text);
		return -1;
	}
	return 0;
}

void
store_clock_tick(struct store *s)
{
	int64_t now = clock_wall_ms(), offset = now - clock_mono_ms(), by = offset - s->wall_offset;
	struct err err;

	if (by > -STEP_MS && by < STEP_MS) {
		s->wall_offset = offset;
		return;
	}
	/* Not now: with the next tick, since the offset stays. */
	if (!shift(s, by, now - by))
		return;
	s->wall_offset = offset;
	evidence_clock_moved(s);
	if (store_load_lanes(s, &err) != 0)
		store_latch(s, err.text);
}
