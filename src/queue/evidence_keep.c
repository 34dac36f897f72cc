/* What the store thread does for the evidence when nothing else is to be done: it notes how far the
 * chain goes, so that rows cut off at its end are missed by somebody who has only the file; and it
 * removes what is older than `evidence.keep`, in small steps.
 *
 * Removing must not be a way to hide something. So: only from the beginning of the chain; only rows
 * that fit the chain; a checkpoint stays, the number and hash of the last row that went, from where
 * the rest can be checked; and a row of evidence, "pruned", says the same inside the chain, so that
 * nobody can move the checkpoint without a trace. All of it in one transaction. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "queue/store_int.h"

#define STEP_ROWS 500
#define STEADY_MS 3600000ll	/* by then a wrong clock has been set right */
#define OVERDUE_MS 3600000ll	/* a gateway that is never idle: go all the same */
#define PAUSE_MS 60000ll
#define DAY_MS 86400000ll

/* At a start and after a jump, a clock that is a year ahead would make everything look old. */
void
evidence_clock_moved(struct store *s)
{
	s->prune_at = clock_mono_ms() + (s->keep_ms < STEADY_MS ? s->keep_ms : STEADY_MS);
}

bool
evidence_wants_upkeep(const struct store *s, int64_t mono)
{
	bool prune = s->keep_ms > 0 && mono >= s->prune_at;

	if (mono < s->upkeep_at)
		return false;
	if (s->worked)
		return prune && mono - s->prune_at >= OVERDUE_MS;
	return prune || s->noted_head < s->head_id;
}

struct old {
	int64_t last;			/* of the rows that may go; 0 none */
	char hash[EVIDENCE_HASH];	/* of that */
	unsigned n;
	bool is_mail;			/* some are not "pruned" themselves */
};

static bool
fits(const struct old *o, int64_t id, const char *text, const char *hash)
{
	char want[EVIDENCE_HASH];

	if (id != o->last + 1 || text == NULL || hash == NULL)
		return false;
	evidence_hash(want, o->hash, text);
	return strcmp(want, hash) == 0;
}

static bool
is_pruned(const char *text)
{
	json_t *o = json_loads(text, 0, NULL);
	const char *event = json_string_value(json_object_get(o, "event"));
	bool is = event != NULL && strcmp(event, "pruned") == 0;

	json_decref(o);
	return is;
}

/* The oldest rows, as far as they are old enough and fit. */
static bool
find_old(struct store *s, struct old *o)
{
	int64_t before = s->tx.now_ms - s->keep_ms;
	sqlite3_stmt *st = db_use(&s->db, SQL_EVIDENCE_REMOVED);
	int got = db_row(&s->db, st);

	if (got == 1) {
		const char *hash = (const char *)sqlite3_column_text(st, 1);

		o->last = sqlite3_column_int64(st, 0);
		snprintf(o->hash, sizeof o->hash, "%s", hash == NULL ? "" : hash);
		sqlite3_reset(st);
	}
	if (got < 0)
		return false;
	st = db_use(&s->db, SQL_EVIDENCE_OLD);
	db_bind_int(st, 1, o->last);
	db_bind_int(st, 2, STEP_ROWS);
	while ((got = db_row(&s->db, st)) == 1) {
		int64_t id = sqlite3_column_int64(st, 0);
		const char *text = (const char *)sqlite3_column_text(st, 2);
		const char *hash = (const char *)sqlite3_column_text(st, 3);

		if (sqlite3_column_int64(st, 1) >= before)
			break;
		if (!fits(o, id, text, hash)) {
			sqlite3_reset(st);
			log_error("evidence does not fit its chain and is not removed; see evidence verify",
			    LOG_S("file", s->path), LOG_I("row", id));
			return db_fail(&s->db, DB_BAD, "evidence does not fit its chain");
		}
		o->is_mail = o->is_mail || !is_pruned(text);
		o->last = id;
		memcpy(o->hash, hash, sizeof o->hash);
		o->n++;
	}
	sqlite3_reset(st);
	return got >= 0;
}

static bool
put_pruned(struct store *s, const struct old *o)
{
	struct evidence e = { .wall_ms = s->tx.now_ms, .event = "pruned", .removed_to = (uint64_t)o->last,
		.removed_hash = o->hash, .by = "evidence.keep" };
	char *text, why[64];
	bool ok;

	snprintf(why, sizeof why, "older than %lld s", (long long)(s->keep_ms / 1000));
	e.why = why;
	text = evidence_text(&e);
	ok = put_evidence(s, 0, -1, text);
	free(text);
	return ok;
}

static bool
prune(struct store *s)
{
	struct old o = { 0 };
	sqlite3_stmt *st;

	if (!find_old(s, &o))
		return false;
	s->tx.pruned_all = o.n < STEP_ROWS;
	/* Rows that say what was removed alone are not worth another one of them each time. */
	if (!o.is_mail) {
		s->tx.pruned_all = true;
		return true;
	}
	st = db_use(&s->db, SQL_EVIDENCE_REMOVE_TO);
	db_bind_int(st, 1, o.last);
	db_bind_text(st, 2, o.hash);
	db_bind_int(st, 3, s->tx.now_ms);
	if (!db_run(&s->db, st))
		return false;
	st = db_use(&s->db, SQL_EVIDENCE_DROP);
	db_bind_int(st, 1, o.last);
	return db_run(&s->db, st) && put_pruned(s, &o);
}

bool
evidence_upkeep(struct store *s)
{
	if (s->keep_ms > 0 && clock_mono_ms() >= s->prune_at && !prune(s))
		return false;
	s->tx.noted_head = s->tx.evidence_id;
	return db_meta_set(&s->db, "evidence", (int64_t)s->tx.noted_head);
}

void
evidence_upkeep_done(struct store *s, bool ok)
{
	int64_t mono = clock_mono_ms(), next = s->keep_ms / 16;

	if (!ok)
		s->upkeep_at = mono + PAUSE_MS;
	else if (s->tx.pruned_all)
		s->prune_at = mono + (next > DAY_MS / 4 ? DAY_MS / 4 : next);
}
