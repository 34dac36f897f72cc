/* Group commit. Whatever waits goes into one transaction; one sync answers it all (I1, Q1).
 *
 * Results come first in a group: the pages they set free serve the arrivals behind them, and the
 * room they leave in a worker too. Arrivals are never delayed; results alone wait a moment for an
 * arrival to ride with (design section 9), unless one is urgent or many have gathered.
 *
 * What goes wrong is told apart: no space (arrivals are refused, results go on from the reserve),
 * a lock (later), one bad request (the group is done again one by one), the disk (recover.c). */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "queue/store_int.h"

#define FULL_MS 2000		/* until arrivals are tried again */
#define BUSY_AGAIN_MS 1000
#define BUSY_SHORT_MS 100	/* while it is known that somebody holds a lock */
#define LOG_AGAIN_MS 60000
#define DUE_PAUSE_MS 60000

struct group {
	struct mail **v;	/* results, then arrivals, then what policies keep */
	size_t n;
	struct admin_job *job;	/* one step of it */
	bool due;		/* hand out too */
	bool upkeep, sweep;	/* these alone */
};

bool
store_file_is_ours(const struct store *s)
{
	dev_t dev;
	ino_t ino;

	return files_identity(s->path, &dev, &ino) && dev == s->dev && ino == s->ino;
}

/* ---- When ---- */

bool
group_has_due(const struct store *s)
{
	int64_t now = clock_wall_ms();

	if (s->hold_earliest <= now)
		return true;
	for (unsigned w = 0; w < s->workers; w++) {
		const struct lane *l = &s->lanes[w];

		/* A transaction for each single place that gets free would cost a sync each: wait until
		 * an eighth is free. More is handed out with every group that runs anyway. */
		if (l->earliest <= now && l->active <= s->max_active - (s->max_active + 7) / 8)
			return true;
	}
	return false;
}

bool
group_is_ready(const struct store *s, int64_t mono)
{
	if (s->latched)
		return false;
	if (s->arrivals.n > 0 || s->kvs.n > 0 || s->jobs.n > 0 || s->job != NULL)
		return true;
	if (s->results.n > 0 && mono >= s->retry_at && (s->nurgent > 0 ||
	    s->results.n >= RESULTS_MAY_WAIT || mono - s->results_since >= s->yield_ms))
		return true;
	return mono >= s->due_pause_until && group_has_due(s);
}

/* ---- The transaction ---- */

static void
tx_start(struct store *s)
{
	struct tx *t = &s->tx;

	memset(t, 0, sizeof *t);
	t->now_ms = clock_wall_ms();
	t->evidence_id = s->head_id;
	memcpy(t->evidence_hash, s->head_hash, sizeof t->evidence_hash);
	t->next_content = s->next_content;
	t->hold_earliest = s->hold_earliest;
	t->noted_head = s->noted_head;
	for (unsigned w = 0; w < s->workers; w++) {
		s->lanes[w].t_active = s->lanes[w].active;
		s->lanes[w].t_earliest = s->lanes[w].earliest;
	}
}

static void
tx_undo(struct store *s)
{
	struct mail *m;

	for (unsigned w = 0; w < s->workers; w++)
		while ((m = mails_shift(&s->lanes[w].t_due)) != NULL)
			store_due_free((struct store_due *)m);
	if (s->tx.nrecalls > 0 && s->tx.reached_commit)		/* it may be on disk all the same */
		atomic_fetch_add(&s->epoch, 1);
	free(s->tx.recalls);
	s->tx.recalls = NULL;
	s->tlsrpt_day = -1;
}

static void
tx_keep(struct store *s)
{
	struct tx *t = &s->tx;
	uint64_t active = 0;

	if (t->nrecalls > 0)
		atomic_fetch_add(&s->epoch, 1);
	pthread_mutex_lock(&s->head_lock);
	s->head_id = t->evidence_id;
	memcpy(s->head_hash, t->evidence_hash, sizeof s->head_hash);
	pthread_mutex_unlock(&s->head_lock);
	s->next_content = t->next_content;
	s->hold_earliest = t->hold_earliest;
	s->noted_head = t->noted_head;
	for (unsigned w = 0; w < s->workers; w++) {
		s->lanes[w].active = s->lanes[w].t_active;
		s->lanes[w].earliest = s->lanes[w].t_earliest;
		active += s->lanes[w].active;
	}
	atomic_store(&s->n.active, active);
	atomic_fetch_add(&s->n.messages, (uint64_t)t->messages);
	atomic_fetch_add(&s->n.recipients, (uint64_t)t->recipients);
	atomic_fetch_add(&s->n.held, (uint64_t)t->held);
	atomic_fetch_add(&s->n.bytes, (uint64_t)t->bytes);
	atomic_fetch_add(&s->n.bytes_in, t->bytes_in);
	atomic_fetch_add(&s->n.due_handed, t->due_handed);
}

static void
tx_post(struct store *s)
{
	struct mail *m;

	for (unsigned w = 0; w < s->workers; w++) {
		struct lane *l = &s->lanes[w];

		for (size_t i = 0; i < s->tx.nrecalls; i++) {
			struct store_recall *r = xcalloc(1, sizeof *r);

			r->mail.run = s->on_due;
			r->mail.kind = STORE_KIND_RECALL;
			r->message = s->tx.recalls[i].message;
			r->num = s->tx.recalls[i].num;
			mailbox_post(l->mb, &r->mail);
		}
		while ((m = mails_shift(&l->t_due)) != NULL)
			mailbox_post(l->mb, m);
	}
	free(s->tx.recalls);
	s->tx.recalls = NULL;
}

static bool
write_group(struct store *s, struct group *g)
{
	if (!db_do(&s->db, SQL_BEGIN))
		return false;
	for (size_t i = 0; i < g->n; i++) {
		struct mail *m = g->v[i];

		if (m->kind == KIND_RESULT ? !put_result(s, (struct store_result *)m) :
		    m->kind == KIND_KV ? !put_kv(s, (struct store_kv *)m) :
		    !put_submit(s, (struct store_submit *)m))
			return false;
	}
	if (g->job != NULL && !admin_step(s, g->job))
		return false;
	if (g->due && !hand_out(s))
		return false;
	if ((g->upkeep && !evidence_upkeep(s)) || (g->sweep && !kv_sweep(s)))
		return false;
	failpoint("store-before-commit");
	if (g->n > 0 && g->v[0]->kind == KIND_RESULT)	/* results come first */
		failpoint("store-before-removal");
	s->tx.reached_commit = true;
	if (!db_do(&s->db, SQL_COMMIT))
		return false;
	failpoint("store-after-commit");
	if (g->n > 0 && g->v[0]->kind == KIND_RESULT)
		failpoint("store-after-removal");
	/* What was committed to a file that is no longer there is not on stable storage (F-12). */
	if (!store_file_is_ours(s))
		return db_fail(&s->db, DB_IO, "the queue file was removed or replaced while the daemon runs");
	return true;
}

static enum db_rc
transact(struct store *s, struct group *g)
{
	int64_t from = clock_mono_ns(), us;
	char why[sizeof s->db.text];
	enum db_rc rc;

	s->worked = true;
	tx_start(s);
	if (write_group(s, g)) {
		tx_keep(s);
		if (s->locked)
			sqlite3_busy_timeout(s->db.h, DB_BUSY_MS);
		s->locked = false;
		us = (clock_mono_ns() - from) / 1000;
		atomic_fetch_add(&s->n.commits, 1);
		atomic_store(&s->n.last_commit_us, us);
		if (us > atomic_load(&s->n.longest_commit_us))
			atomic_store(&s->n.longest_commit_us, us);
		return DB_OK;
	}
	rc = s->db.rc;
	memcpy(why, s->db.text, sizeof why);
	/* SQLite has rolled back by itself after some errors. */
	if (!sqlite3_get_autocommit(s->db.h))
		db_do(&s->db, SQL_ROLLBACK);
	s->db.rc = rc;
	memcpy(s->db.text, why, sizeof why);
	return rc;
}

/* ---- What follows ---- */

static void
answer_all(struct store *s, struct group *g)
{
	struct admin_job *job = g->job;

	for (size_t i = 0; i < g->n; i++) {
		if (g->v[i]->kind != KIND_KV)
			atomic_fetch_add(g->v[i]->kind == KIND_RESULT ? &s->n.results : &s->n.submits, 1);
		store_answer(s, g->v[i], STORE_OK, NULL);
	}
	if (job != NULL) {
		job->at = job->t_at;
		job->changed = job->t_changed;
		job->leased = job->t_leased;
		s->job = job->at < job->nkeys ? job : NULL;
		if (s->job == NULL)
			admin_answer(s, job, STORE_OK, NULL);
	}
	tx_post(s);
}

/* Results go back to the head of their queue, in order. */
static void
keep_results(struct store *s, struct group *g, int64_t retry_at)
{
	for (size_t i = g->n; i-- > 0;) {
		if (g->v[i]->kind != KIND_RESULT)
			continue;
		s->nurgent += ((struct store_result *)g->v[i])->urgent;
		mails_unshift(&s->results, g->v[i]);
	}
	s->retry_at = retry_at;
}

/* Answers and takes out the arrivals; what stays in the group are results. */
static size_t
refuse(struct store *s, struct group *g, enum store_status status, const char *text)
{
	size_t kept = 0, n = g->n;

	for (size_t i = 0; i < n; i++) {
		if (g->v[i]->kind == KIND_RESULT)
			g->v[kept++] = g->v[i];
		else
			store_answer(s, g->v[i], status, text);
	}
	g->n = kept;
	return n - kept;
}

static void settle(struct store *s, struct group *g, enum db_rc rc);

/* Rule 7 of spec security.md 1: mail can leave a full disk. */
static void
settle_full(struct store *s, struct group *g)
{
	int64_t mono = clock_mono_ms();
	enum db_rc rc;

	if (s->full_logged == 0 || mono - s->full_logged >= LOG_AGAIN_MS) {
		log_error("queue is full", LOG_S("file", s->path), LOG_S("why", s->db.text));
		s->full_logged = mono;
	}
	atomic_store(&s->n.full, true);
	s->full_until = mono + FULL_MS;
	s->due_pause_until = mono + FULL_MS;
	files_reserve_drop(s->path);
	refuse(s, g, STORE_FULL, "no space left for the queue");
	g->due = false;
	if (g->n == 0 && g->job == NULL)
		return;
	rc = transact(s, g);
	if (rc == DB_FULL) {
		tx_undo(s);
		keep_results(s, g, mono + FULL_MS);
		if (g->job != NULL) {
			admin_answer(s, g->job, STORE_FULL, "no space left for the queue");
			s->job = NULL;
		}
		return;
	}
	settle(s, g, rc);
}

static void
settle_bad(struct store *s, struct group *g)
{
	struct group one = { .n = 1 };

	if (g->n + (g->job != NULL) > 1) {
		size_t i = 0;

		for (; i < g->n && !s->latched; i++) {
			one = (struct group){ .v = &g->v[i], .n = 1 };
			settle(s, &one, transact(s, &one));
		}
		/* The job is still s->job: its next step comes with the next group. */
		one = (struct group){ .v = g->v + i, .n = g->n - i };
		refuse(s, &one, STORE_IO, "the queue's disk failed");
		keep_results(s, &one, s->retry_at);
		return;
	}
	if (g->n == 1) {
		log_error("queue request refused", LOG_S("why", s->db.text));
		store_answer(s, g->v[0], s->bad_status, s->db.text);
	} else if (g->job != NULL) {
		s->job = NULL;
		admin_answer(s, g->job, STORE_BAD, s->db.text);
	} else {
		s->due_pause_until = clock_mono_ms() + DUE_PAUSE_MS;
		log_error("queue cannot hand out mail", LOG_S("why", s->db.text));
	}
}

/* The commit failed for the disk's sake. It may be on disk or not; recover.c will see. */
static void
settle_io(struct store *s, struct group *g)
{
	struct doubt *d = &s->doubt;
	char why[sizeof s->db.text];

	memcpy(why, s->db.text, sizeof why);
	atomic_store(&s->n.bad, true);	/* before anybody hears of it */
	doubt_fini(d);
	d->is_set = s->tx.reached_commit;
	d->wrote_evidence = s->tx.evidence_id != s->head_id;
	d->evidence_id = s->tx.evidence_id;
	memcpy(d->evidence_hash, s->tx.evidence_hash, sizeof d->evidence_hash);
	if (d->is_set) {
		d->arrivals = xcalloc(g->n + 1, sizeof *d->arrivals);
		for (size_t i = 0; i < g->n; i++)
			if (g->v[i]->kind == KIND_SUBMIT)
				d->arrivals[d->narrivals++] = ((struct store_submit *)g->v[i])->msg->id;
		d->due = xcalloc((size_t)s->workers * DUE_BATCH, sizeof *d->due);
		for (unsigned w = 0; w < s->workers; w++)
			for (struct mail *m = s->lanes[w].t_due.first; m != NULL; m = m->next) {
				const struct msg *msg = ((struct store_due *)m)->msg;

				for (size_t i = 0; i < msg->nrcpts; i++)
					d->due[d->ndue++] = (struct key){ msg->id, msg->rcpts[i].num };
			}
	}
	tx_undo(s);
	refuse(s, g, STORE_IO, "the queue's disk failed");
	if (d->is_set)
		for (size_t i = 0; i < g->n; i++) {
			const struct store_result *r = (struct store_result *)g->v[i];

			for (size_t k = 0; k < r->nnotices; k++)
				if (r->notices[k].status == STORE_OK)
					d->notice = r->notices[k].msg->id;
			mails_push(&d->results, g->v[i]);
		}
	else
		keep_results(s, g, 0);
	store_latch(s, why);
}

static void
settle(struct store *s, struct group *g, enum db_rc rc)
{
	if (rc == DB_OK) {
		answer_all(s, g);
		return;
	}
	if (rc == DB_IO) {
		settle_io(s, g);
		return;
	}
	tx_undo(s);
	switch (rc) {
	case DB_FULL:
		settle_full(s, g);
		break;
	case DB_BUSY:
		/* Who comes behind has waited while this group did: no second wait of that length. */
		if (!s->locked)
			log_error("queue cannot be written for now", LOG_S("file", s->path),
			    LOG_S("why", s->db.text));
		s->locked = true;
		sqlite3_busy_timeout(s->db.h, BUSY_SHORT_MS);
		refuse(s, g, STORE_IO, "the queue is locked by another program");
		keep_results(s, g, clock_mono_ms() + BUSY_AGAIN_MS);
		s->due_pause_until = clock_mono_ms() + BUSY_AGAIN_MS;
		if (g->job != NULL) {
			s->job = NULL;
			admin_answer(s, g->job, STORE_IO, "the queue is locked by another program");
		}
		break;
	default:
		settle_bad(s, g);
	}
}

/* ---- Collecting ---- */

/* Past a configured limit: the answer that MAIL would have got, had it been known then. */
static bool
is_over_limit(const struct store *s, const struct store_submit *r, uint64_t messages, uint64_t bytes)
{
	uint64_t size = r->msg->content == NULL ? 0 : r->msg->content->size;

	return (s->max_messages != 0 && atomic_load(&s->n.messages) + messages >= s->max_messages) ||
	    (s->max_bytes != 0 && atomic_load(&s->n.bytes) + bytes + size > s->max_bytes);
}

/* The next arrival may fit when the log has been copied. */
static void
make_room(struct store *s)
{
	const struct store_submit *r = (const struct store_submit *)s->arrivals.first;
	struct room room;

	if (r == NULL || r->msg->content == NULL)
		return;
	room_measure(s, &room);
	if (!room_has(&room, r->msg->content->size))
		group_checkpoint(s);
}

static void
collect(struct store *s, struct group *g, int64_t mono)
{
	uint64_t bytes = 0, messages = 0;
	struct room room = { 0 };
	struct mail *m;
	unsigned n;

	while (mono >= s->retry_at && g->n < GROUP_MAX && (m = mails_shift(&s->results)) != NULL) {
		s->nurgent -= ((struct store_result *)m)->urgent;
		g->v[g->n++] = m;
	}
	s->results_since = mono;
	if (s->arrivals.n > 0)
		room_measure(s, &room);
	while (g->n < 2 * GROUP_MAX && messages < GROUP_MAX && bytes < GROUP_BYTES &&
	    (m = mails_shift(&s->arrivals)) != NULL) {
		struct store_submit *r = (struct store_submit *)m;
		uint64_t size = r->msg->content == NULL ? 0 : r->msg->content->size;

		if (is_over_limit(s, r, messages, bytes)) {
			store_answer(s, m, STORE_FULL, "the queue has reached its configured size");
			continue;
		}
		if (!room_has(&room, size)) {
			store_answer(s, m, STORE_FULL, "no space left for the queue");
			continue;
		}
		if (!room_has(&room, bytes + size)) {	/* with the next group, when this one is copied */
			mails_unshift(&s->arrivals, m);
			break;
		}
		messages++;
		bytes += size;
		g->v[g->n++] = m;
	}
	if (s->kvs.n > 0 && s->arrivals.n == 0)
		room_measure(s, &room);
	for (n = 0; n < GROUP_MAX && (m = mails_shift(&s->kvs)) != NULL; n++) {
		if (room_has(&room, bytes + n * STORE_KV_VALUE_MAX))
			g->v[g->n++] = m;
		else
			store_answer(s, m, STORE_FULL, "no space left for the queue");
	}
	if (s->job == NULL)
		s->job = (struct admin_job *)mails_shift(&s->jobs);
	g->job = s->job;
	g->due = !s->closing && mono >= s->due_pause_until;
}

void
group_run(struct store *s)
{
	struct mail *v[3 * GROUP_MAX];
	struct group g = { .v = v };
	int64_t mono = clock_mono_ms();

	make_room(s);
	if (s->latched)
		return;
	collect(s, &g, mono);
	if (g.n == 0 && g.job == NULL && !(g.due && group_has_due(s)))
		return;
	settle(s, &g, transact(s, &g));
	if (!s->latched && atomic_load(&s->n.wal_pages) >= s->checkpoint_pages)
		group_checkpoint(s);
}

/* Nobody waits for it, so whatever goes wrong but the disk itself can be tried again later. */
void
group_upkeep(struct store *s)
{
	int64_t mono = clock_mono_ms();
	struct group g = { .upkeep = evidence_wants_upkeep(s, mono), .sweep = kv_wants_sweep(s, mono) };
	enum db_rc rc = transact(s, &g);

	if (rc == DB_IO) {
		settle_io(s, &g);
		return;
	}
	if (rc != DB_OK)
		tx_undo(s);
	if (g.upkeep)
		evidence_upkeep_done(s, rc == DB_OK);
	if (g.sweep)
		kv_sweep_done(s, rc == DB_OK);
}

/* ---- The log of SQLite ---- */

/* Only this connection writes, and only it checkpoints (spec security.md 1, rule 4). PASSIVE
 * never waits for the reader: what it still looks at is copied the next time. */
void
group_checkpoint(struct store *s)
{
	int in_log = 0, done = 0, rc;

	if (atomic_load(&s->n.wal_pages) == 0)
		return;
	failpoint("store-before-checkpoint");
	rc = sqlite3_wal_checkpoint_v2(s->db.h, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_log, &done);
	failpoint("store-after-checkpoint");
	if (rc == SQLITE_OK) {
		/* A long reader keeps part of the log: do not try at every commit. */
		atomic_store(&s->n.wal_pages, in_log == done ? 0 : (uint64_t)in_log);
		s->checkpoint_pages = in_log == done ? room_log_limit(s) :
		    (unsigned)in_log + WAL_CHECKPOINT_PAGES / 4;
		return;
	}
	if ((rc & 0xff) == SQLITE_FULL) {
		/* The log stays, and with it everything that was committed. */
		files_reserve_drop(s->path);
		s->checkpoint_pages += WAL_CHECKPOINT_PAGES / 4;
		if (s->full_logged == 0 || clock_mono_ms() - s->full_logged >= LOG_AGAIN_MS) {
			log_error("queue checkpoint: no space", LOG_S("file", s->path));
			s->full_logged = clock_mono_ms();
		}
	} else if ((rc & 0xff) != SQLITE_BUSY && (rc & 0xff) != SQLITE_LOCKED) {
		store_latch(s, sqlite3_errmsg(s->db.h));
	}
}
