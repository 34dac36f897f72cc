/* Opening a queue, finding out what is in it, and closing it so that the next start is quick. */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/store_int.h"

#define TICK_MS 1000
#define RETRY_MS 3000

static int
on_log(void *arg, sqlite3 *h, const char *name, int pages)
{
	struct store *s = arg;

	atomic_store(&s->n.wal_pages, (uint64_t)pages);
	return SQLITE_OK;
}

void
store_watch_log(struct store *s)
{
	sqlite3_wal_hook(s->db.h, on_log, s);
}

static int
count(struct store *s, enum sql which, uint64_t *v, int n, struct err *err)
{
	sqlite3_stmt *st = db_use(&s->db, which);

	if (db_row(&s->db, st) < 0) {
		err_set(err, "queue %s: %s", s->path, s->db.text);
		return -1;
	}
	for (int i = 0; i < n; i++)
		v[i] = (uint64_t)sqlite3_column_int64(st, i);
	sqlite3_reset(st);
	return 0;
}

int
store_load_lanes(struct store *s, struct err *err)
{
	sqlite3_stmt *st;
	int got;

	for (unsigned w = 0; w < s->workers; w++)
		s->lanes[w].active = 0;
	st = db_use(&s->db, SQL_COUNT_ACTIVE);
	while ((got = db_row(&s->db, st)) == 1)
		s->lanes[(uint64_t)sqlite3_column_int64(st, 0) % s->workers].active +=
		    (unsigned)sqlite3_column_int64(st, 1);
	for (unsigned w = 0; w < s->workers && got >= 0; w++) {
		st = db_use(&s->db, SQL_EARLIEST);
		db_bind_int(st, 1, w);
		got = db_row(&s->db, st);
		s->lanes[w].earliest = got == 1 ? sqlite3_column_int64(st, 0) : INT64_MAX;
		sqlite3_reset(st);
	}
	if (got >= 0) {
		st = db_use(&s->db, SQL_HOLD_EARLIEST);
		got = db_row(&s->db, st);
		s->hold_earliest = got == 1 ? sqlite3_column_int64(st, 0) : INT64_MAX;
		sqlite3_reset(st);
	}
	if (got < 0)
		err_set(err, "queue %s: %s", s->path, s->db.text);
	return got < 0 ? -1 : 0;
}

int
store_load_state(struct store *s, struct err *err)
{
	uint64_t m[2] = { 0 }, r[3] = { 0 }, top = 0;
	sqlite3_stmt *st;
	int got;

	/* Counting reads the whole queue; a clean stop has left the numbers. */
	if (db_meta(&s->db, "clean") == 1) {
		m[0] = (uint64_t)db_meta(&s->db, "messages");
		m[1] = (uint64_t)db_meta(&s->db, "bytes");
		r[0] = (uint64_t)db_meta(&s->db, "recipients");
		r[2] = (uint64_t)db_meta(&s->db, "held");
	} else if (count(s, SQL_COUNT_MESSAGES, m, 2, err) != 0 || count(s, SQL_COUNT_RCPTS, r, 3, err) != 0) {
		return -1;
	}
	atomic_store(&s->n.messages, m[0]);
	atomic_store(&s->n.bytes, m[1]);
	atomic_store(&s->n.recipients, r[0]);
	atomic_store(&s->n.active, r[1]);
	atomic_store(&s->n.held, r[2]);
	if (count(s, SQL_CONTENT_TOP, &top, 1, err) != 0 || store_load_lanes(s, err) != 0)
		return -1;
	s->next_content = top + 1;

	st = db_use(&s->db, SQL_EVIDENCE_HEAD);
	got = db_row(&s->db, st);
	pthread_mutex_lock(&s->head_lock);
	s->head_id = got == 1 ? (uint64_t)sqlite3_column_int64(st, 0) : 0;
	snprintf(s->head_hash, sizeof s->head_hash, "%s",
	    got == 1 ? (const char *)sqlite3_column_text(st, 1) : "");
	pthread_mutex_unlock(&s->head_lock);
	sqlite3_reset(st);
	if (got < 0) {
		err_set(err, "queue %s: %s", s->path, s->db.text);
		return -1;
	}
	/* Rows that were here are not: numbers go on behind them, so that the gap can be seen for ever. */
	s->noted_head = (uint64_t)db_meta(&s->db, "evidence");
	if (s->noted_head > s->head_id) {
		log_error("evidence is missing at the end; evidence verify says where", LOG_S("file", s->path),
		    LOG_U("noted", s->noted_head), LOG_U("last", s->head_id));
		pthread_mutex_lock(&s->head_lock);
		s->head_id = s->noted_head;
		pthread_mutex_unlock(&s->head_lock);
	}
	return 0;
}

static int
open_files(struct store *s, bool was_used, bool *created_out, struct err *err)
{
	static const char *const suffix[] = { "-wal", "-shm" };
	char name[PATH_MAX];
	bool exists[2];
	struct stat st;

	if (files_check(s->path, created_out, err) != 0)
		return -1;
	*created_out = !*created_out;
	for (size_t i = 0; i < NELEMS(suffix); i++) {
		snprintf(name, sizeof name, "%s%s", s->path, suffix[i]);
		if (files_check(name, &exists[i], err) != 0)
			return -1;
	}
	if (*created_out) {
		/* F-12: mail may be in that log. */
		snprintf(name, sizeof name, "%s-wal", s->path);
		if (exists[0] && stat(name, &st) == 0 && st.st_size > 0) {
			err_set(err, "queue %s: missing, but %s is there; put the file back, or remove both "
			    "to begin with an empty queue", s->path, name);
			return -1;
		}
		if (was_used) {
			err_set(err, "queue %s: missing, but it was here before; put the file back, or remove "
			    "%s.lock to begin with an empty queue", s->path, s->path);
			return -1;
		}
		if (db_create(s->path, err) != 0)
			return -1;
	}
	if (db_open(&s->db, s->path, false, err) != 0)
		return -1;
	store_watch_log(s);
	if (!files_identity(s->path, &s->dev, &s->ino)) {
		err_set(err, "queue %s: %s", s->path, strerror(errno));
		return -1;
	}
	return 0;
}

/* After the last process: leases have ended with it (Q3), workers may be fewer or more. */
static int
recover_rows(struct store *s, bool is_new, struct err *err)
{
	bool was_clean = is_new || db_meta(&s->db, "clean") == 1, ok;
	sqlite3_stmt *st;

	if (!was_clean && db_check(&s->db, s->path, false, err) != 0)
		return -1;
	failpoint("open-before-recovery");
	if (suspects_read(s, was_clean, err) != 0 || store_clock_start(s, err) != 0)
		return -1;
	if (!db_do(&s->db, SQL_BEGIN))
		goto failed;
	ok = true;
	if (!was_clean || db_meta(&s->db, "active") > 0) {
		ok = db_do(&s->db, SQL_UNLEASE);
		s->recovered = (uint64_t)sqlite3_changes(s->db.h);
	}
	if (ok && db_meta(&s->db, "workers") != s->workers) {
		st = db_use(&s->db, SQL_RESHARD);
		db_bind_int(st, 1, s->workers);
		ok = db_run(&s->db, st) && db_meta_set(&s->db, "workers", s->workers);
	}
	if (!ok || !db_do(&s->db, SQL_COMMIT))
		goto failed;
	failpoint("open-after-recovery");
	if (store_load_state(s, err) != 0)
		return -1;
	/* From here on a stop is unclean until store_close says otherwise. */
	if (!db_meta_set(&s->db, "clean", 0))
		goto failed;
	return 0;
failed:
	err_set(err, "queue %s: %s", s->path, s->db.text);
	return -1;
}

static void
dispose(struct store *s)
{
	reader_free(s->reader);
	db_close(&s->db, false);	/* a file that was refused stays as it was */
	suspects_close();	/* not sooner: other threads have written into it until they ended */
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	mailbox_free(s->mb);
	doubt_fini(&s->doubt);
	pthread_mutex_destroy(&s->head_lock);
	free(s->lanes);
	free(s->path);
	free(s);
}

struct store *
store_open(const struct store_conf *conf, struct err *err)
{
	struct store *s = xcalloc(1, sizeof *s);
	bool is_new = false, was_used;
	char pid[32];

	MUST(conf->workers > 0);
	s->path = xstrdup(conf->path);
	s->min_free_percent = conf->min_free_percent > 100 ? 100 : conf->min_free_percent;
	s->workers = conf->workers;
	s->max_active = conf->max_active == 0 ? 1000 : conf->max_active;
	s->max_bytes = conf->max_bytes;
	s->max_messages = conf->max_messages;
	s->yield_ms = conf->yield_ms;
	s->max_offers = OFFERS_MAX;
	s->keep_ms = conf->evidence_keep_ms;
	s->trace_keep_ms = conf->trace_keep_ms;
	s->trace_rows = conf->trace_rows;
	s->tlsrpt_max_domains = conf->tlsrpt_max_domains;
	s->tlsrpt_keep_days = (unsigned)(conf->tlsrpt_keep_ms / 86400000);
	s->tlsrpt_day = s->tlsrpt_full_day = -1;
	evidence_clock_moved(s);
	s->tick_ms = TICK_MS;
	s->retry_ms = RETRY_MS;
	s->checkpoint_pages = WAL_CHECKPOINT_PAGES;
	s->lanes = xcalloc(s->workers, sizeof *s->lanes);
	for (unsigned w = 0; w < s->workers; w++)
		mails_init(&s->lanes[w].t_due);
	mails_init(&s->results);
	mails_init(&s->arrivals);
	mails_init(&s->kvs);
	mails_init(&s->jobs);
	mails_init(&s->settlers);
	mails_init(&s->doubt.results);
	pthread_mutex_init(&s->head_lock, NULL);
	s->mb = mailbox_new(NULL, s);
	s->lock_fd = -1;
	if (files_check_dir(s->path, err) != 0 || (s->lock_fd = files_lock(s->path, &was_used, err)) < 0 ||
	    open_files(s, was_used, &is_new, err) != 0)
		goto failed;
	snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
	files_lock_note(s->lock_fd, pid);
	if (recover_rows(s, is_new, err) != 0)
		goto failed;
	s->reader = reader_new(s);
	if (reader_open(s->reader, err) != 0)
		goto failed;
	files_reserve_make(s->path);
	atomic_store(&s->n.headroom, room_headroom(s));
	log_info("queue opened", LOG_S("file", s->path), LOG_S("sqlite", sqlite3_libversion()),
	    LOG_I("schema", db_version), LOG_U("messages", atomic_load(&s->n.messages)),
	    LOG_U("recipients", atomic_load(&s->n.recipients)), LOG_U("recovered", s->recovered));
	return s;
failed:
	dispose(s);
	return NULL;
}

int
store_start(struct store *s, struct mailbox *const *workers, void (*on_due)(void *reader, struct mail *m),
    struct err *err)
{
	int rc;

	for (unsigned w = 0; w < s->workers; w++)
		s->lanes[w].mb = workers[w];
	s->on_due = on_due;
	kv_sweep_done(s, true);		/* not in front of the first arrivals */
	if (reader_start(s->reader, err) != 0)
		return -1;
	rc = pthread_create(&s->thread, NULL, store_main, s);
	if (rc != 0) {
		err_set(err, "store thread: %s", strerror(rc));
		reader_stop(s->reader);
		return -1;
	}
	s->started = true;
	return 0;
}

/* ---- Closing ---- */

static bool
leave_clean(struct store *s)
{
	const struct counters *n = &s->n;
	bool ok;

	failpoint("close-before-clean");
	ok = db_do(&s->db, SQL_BEGIN) &&
	    db_meta_set(&s->db, "messages", (int64_t)atomic_load(&n->messages)) &&
	    db_meta_set(&s->db, "bytes", (int64_t)atomic_load(&n->bytes)) &&
	    db_meta_set(&s->db, "recipients", (int64_t)atomic_load(&n->recipients)) &&
	    db_meta_set(&s->db, "held", (int64_t)atomic_load(&n->held)) &&
	    db_meta_set(&s->db, "active", (int64_t)atomic_load(&n->active)) &&
	    db_meta_set(&s->db, "evidence", (int64_t)s->head_id) &&
	    db_meta_set(&s->db, "clean", 1) && db_do(&s->db, SQL_COMMIT);
	failpoint("close-after-clean");
	ok = ok && sqlite3_wal_checkpoint_v2(s->db.h, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) == SQLITE_OK;
	failpoint("close-after-checkpoint");
	return ok;
}

/* Without store_start nobody has looked at what was posted. */
static void
refuse_rest(struct store *s)
{
	struct mail *m, *next;

	for (m = mailbox_wait(s->mb, 0); m != NULL; m = next) {
		next = m->next;
		if (m->kind == KIND_JOB)
			admin_answer(s, (struct admin_job *)m, STORE_CLOSED, "the queue is closed");
		else if (m->kind != KIND_STOP)
			store_answer(s, m, STORE_CLOSED, "the queue is closed");
	}
}

void
store_close(struct store *s)
{
	bool is_clean;

	if (s == NULL || atomic_exchange(&s->closed, true))
		return;
	while (atomic_load(&s->posting) > 0)
		sched_yield();
	/* The reader first: what it is asked may end in a job for the store thread. */
	reader_stop(s->reader);
	if (s->started) {
		s->stop.kind = KIND_STOP;
		mailbox_post(s->mb, &s->stop);
		pthread_join(s->thread, NULL);
		s->started = false;
	}
	refuse_rest(s);
	reader_shut(s->reader);
	if (s->db.h == NULL) {
		log_error("queue closed after a disk error", LOG_S("file", s->path));
		return;
	}
	is_clean = store_file_is_ours(s) && leave_clean(s);
	if (!is_clean)
		log_error("queue not closed cleanly", LOG_S("file", s->path), LOG_S("why", s->db.text));
	db_close(&s->db, is_clean);
	files_reserve_drop(s->path);
	if (is_clean)
		log_info("queue closed", LOG_S("file", s->path),
		    LOG_U("messages", atomic_load(&s->n.messages)));
	files_lock_note(s->lock_fd, "closed\n");
	close(s->lock_fd);
	s->lock_fd = -1;
}

void
store_free(struct store *s)
{
	if (s == NULL)
		return;
	store_close(s);
	dispose(s);
}
