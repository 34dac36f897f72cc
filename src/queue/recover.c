/* After an I/O error (Q6; spec security.md 1, rule 3). A failed sync is final: Linux marks the
 * pages clean, and a second sync succeeds without having written them. So everything is closed,
 * without the checkpoint that closing would make; nothing is acknowledged; and after reopening
 * the whole log is copied into the database and synced again, before the file is checked and used.
 *
 * The failed transaction itself may have reached the disk or not. Arrivals in it were refused
 * (451), so they are taken out if they are there: the client will send them again. Results were
 * not answered: the evidence they wrote tells whether they are in, else they are done again. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "queue/store_int.h"

void
doubt_fini(struct doubt *d)
{
	MUST(d->results.n == 0);
	free(d->arrivals);
	free(d->due);
	memset(d, 0, sizeof *d);
	mails_init(&d->results);
}

void
store_latch(struct store *s, const char *why)
{
	log_error("queue stopped: disk error", LOG_S("file", s->path), LOG_S("why", why));
	atomic_store(&s->n.bad, true);
	s->latched = true;
	s->retry_latch_at = clock_mono_ms() + s->retry_ms;
	reader_shut(s->reader);
	db_close(&s->db, false);
}

/* What shows that the transaction is in: its last evidence, else a notice that it queued. One that
 * wrote neither only moved rows, and doing that twice changes nothing. */
static bool
doubt_is_committed(struct store *s)
{
	const struct doubt *d = &s->doubt;
	sqlite3_stmt *st;
	bool is_there;

	if (d->wrote_evidence)
		return s->head_id == d->evidence_id && strcmp(s->head_hash, d->evidence_hash) == 0;
	if (d->notice == 0)
		return false;
	st = db_use(&s->db, SQL_GET_MESSAGE);
	db_bind_int(st, 1, (int64_t)d->notice);
	is_there = db_row(&s->db, st) == 1;
	sqlite3_reset(st);
	return is_there;
}

static bool
undo_arrivals(struct store *s)
{
	const struct doubt *d = &s->doubt;
	sqlite3_stmt *st;

	memset(&s->tx, 0, sizeof s->tx);
	if (!db_do(&s->db, SQL_BEGIN))
		return false;
	for (size_t i = 0; i < d->narrivals; i++) {
		st = db_use(&s->db, SQL_DEL_RCPTS_OF);
		db_bind_int(st, 1, (int64_t)d->arrivals[i]);
		if (!db_run(&s->db, st) || !remove_message(s, d->arrivals[i]))
			return false;
	}
	/* Handed out in the table, but never posted to a worker. */
	for (size_t i = 0; i < d->ndue; i++) {
		st = db_use(&s->db, SQL_UNLEASE_ONE);
		db_bind_int(st, 1, (int64_t)d->due[i].message);
		db_bind_int(st, 2, d->due[i].num);
		if (!db_run(&s->db, st))
			return false;
	}
	return db_do(&s->db, SQL_COMMIT);
}

/* The results that were under way: in already, or at the head of the queue again. */
static void
requeue_results(struct store *s, bool was_committed)
{
	struct doubt *d = &s->doubt;
	struct mails back;
	struct mail *m;

	mails_init(&back);
	while ((m = mails_shift(&d->results)) != NULL) {
		if (was_committed) {
			atomic_fetch_add(&s->n.results, 1);
			store_answer(s, m, STORE_OK, NULL);
			continue;
		}
		s->nurgent += ((struct store_result *)m)->urgent;
		mails_push(&back, m);
	}
	while ((m = mails_shift(&s->results)) != NULL)
		mails_push(&back, m);
	while ((m = mails_shift(&back)) != NULL)
		mails_push(&s->results, m);
	s->retry_at = 0;
}

static int
reopen(struct store *s, struct err *err)
{
	int log, done;

	if (!store_file_is_ours(s)) {
		err_set(err, "queue %s: not the file that was opened; put it back, or restart", s->path);
		return -1;
	}
	if (db_open(&s->db, s->path, false, err) != 0)
		return -1;
	store_watch_log(s);
	if (sqlite3_wal_checkpoint_v2(s->db.h, NULL, SQLITE_CHECKPOINT_TRUNCATE, &log, &done) != SQLITE_OK) {
		err_set(err, "queue %s: checkpoint: %s", s->path, sqlite3_errmsg(s->db.h));
		return -1;
	}
	if (db_check(&s->db, s->path, true, err) != 0 || store_load_state(s, err) != 0)
		return -1;
	return 0;
}

void
store_try_unlatch(struct store *s)
{
	bool was_committed = false;
	struct err err;

	s->retry_latch_at = clock_mono_ms() + s->retry_ms;
	if (reopen(s, &err) != 0)
		goto failed;
	if (s->doubt.is_set) {
		was_committed = doubt_is_committed(s);
		if (!undo_arrivals(s)) {
			err_set(&err, "queue %s: %s", s->path, s->db.text);
			goto failed;
		}
		if (store_load_state(s, &err) != 0)
			goto failed;
	}
	if (reader_open(s->reader, &err) != 0)
		goto failed;
	requeue_results(s, was_committed);
	doubt_fini(&s->doubt);
	s->latched = false;
	s->checkpoint_pages = WAL_CHECKPOINT_PAGES;
	atomic_store(&s->n.wal_pages, 0);
	atomic_store(&s->n.bad, false);
	log_info("queue works again", LOG_S("file", s->path),
	    LOG_U("messages", atomic_load(&s->n.messages)), LOG_U("results", s->results.n));
	return;
failed:
	db_close(&s->db, false);
	log_error("queue still stopped", LOG_S("why", err.text));
}
