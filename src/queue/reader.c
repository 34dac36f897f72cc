/* The reading thread: content that is no longer in memory, and questions of people. It has a
 * read-only connection of its own, so that neither ever stands in the way of a commit. The store
 * thread closes that connection after a disk error and opens it again (recover.c). */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/store_int.h"

struct reader {
	struct store *s;
	struct mailbox *mb;
	pthread_t thread;
	bool started, stopping;
	struct mail stop;
	pthread_mutex_t lock;	/* guards db */
	struct db db;
};

struct reader *
reader_new(struct store *s)
{
	struct reader *r = xcalloc(1, sizeof *r);

	r->s = s;
	r->mb = mailbox_new(NULL, r);
	pthread_mutex_init(&r->lock, NULL);
	return r;
}

int
reader_open(struct reader *r, struct err *err)
{
	int rc;

	pthread_mutex_lock(&r->lock);
	rc = db_open(&r->db, r->s->path, true, err);
	pthread_mutex_unlock(&r->lock);
	return rc;
}

void
reader_shut(struct reader *r)
{
	/* A question that is being answered ends soon, with an error, instead of holding this up.
	 * The handle itself changes only under the lock, in this thread. */
	if (r->db.h != NULL)
		sqlite3_interrupt(r->db.h);
	pthread_mutex_lock(&r->lock);
	db_close(&r->db, false);
	pthread_mutex_unlock(&r->lock);
}

/* ---- Answers ---- */

/* No chunk there: the end, a message that is gone, or a hole. They must not look alike: what is
 * sent after a hole would be a cut message. */
static enum store_status
read_nothing(struct db *db, const struct store_content *r)
{
	sqlite3_stmt *st = db_use(db, SQL_READ_SIZE);
	uint64_t size;
	int got;

	db_bind_int(st, 1, (int64_t)r->message);
	got = db_row(db, st);
	if (got <= 0)
		return got == 0 ? STORE_NOT_FOUND : STORE_IO;
	size = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	if (r->offset >= size)
		return STORE_OK;
	if (r->offset % STORE_CHUNK != 0)
		return STORE_BAD;
	log_error("queue content missing", LOG_ID("message", r->message), LOG_U("offset", r->offset));
	return STORE_IO;
}

static enum store_status
read_chunk(struct db *db, struct store_content *r)
{
	uint64_t seq = r->offset / STORE_CHUNK;
	sqlite3_stmt *st = db_use(db, SQL_READ_CHUNK);
	enum store_status status = STORE_IO;
	const void *p;
	size_t n;
	int got;

	if (r->offset % STORE_CHUNK != 0)
		return read_nothing(db, r);
	db_bind_int(st, 1, (int64_t)r->message);
	db_bind_int(st, 2, (int64_t)seq);
	got = db_row(db, st);
	if (got <= 0)
		return got == 0 ? read_nothing(db, r) : STORE_IO;
	p = sqlite3_column_blob(st, 2);
	n = (size_t)sqlite3_column_bytes(st, 2);
	/* One message's body must never go out as another's, whatever the table says. */
	if (sqlite3_column_int64(st, 0) == (int64_t)r->message &&
	    sqlite3_column_int64(st, 1) == (int64_t)seq && p != NULL && n > 0 && n <= STORE_CHUNK &&
	    (r->data = malloc(n)) != NULL) {
		memcpy(r->data, p, n);
		r->n = n;
		status = STORE_OK;
	}
	sqlite3_reset(st);
	return status;
}

static void
answer_content(struct reader *r, struct store_content *c)
{
	enum store_status status = STORE_IO;
	uint64_t before = work_begin(c->message);

	pthread_mutex_lock(&r->lock);
	if (r->db.h != NULL)
		status = read_chunk(&r->db, c);
	pthread_mutex_unlock(&r->lock);
	work_end(before);
	store_answer(r->s, &c->mail, status, NULL);
}

static void
answer_sts(struct reader *r, struct store_sts *q)
{
	enum store_status status = STORE_IO;

	pthread_mutex_lock(&r->lock);
	if (r->db.h != NULL)
		status = read_sts(&r->db, q);
	pthread_mutex_unlock(&r->lock);
	store_answer(r->s, &q->mail, status, NULL);
}

static void
answer_kv(struct reader *r, struct store_kv *q)
{
	enum store_status status = STORE_IO;

	pthread_mutex_lock(&r->lock);
	if (r->db.h != NULL)
		status = read_kv(&r->db, q);
	pthread_mutex_unlock(&r->lock);
	store_answer(r->s, &q->mail, status, NULL);
}

static void
answer_offers(struct reader *r, struct store_offers *q)
{
	enum store_status status = STORE_IO;

	pthread_mutex_lock(&r->lock);
	if (r->db.h != NULL)
		status = read_offers(&r->db, q);
	pthread_mutex_unlock(&r->lock);
	store_answer(r->s, &q->mail, status, NULL);
}

/* A change: the keys are looked for here, the rest is the store thread's. */
static bool
begin_change(struct reader *r, struct store_query *q, enum store_status *status_out)
{
	struct admin_job *job = xcalloc(1, sizeof *job);

	job->q = q;
	job->mail.kind = KIND_JOB;
	*status_out = query_match(&r->db, q, job);
	if (*status_out == STORE_OK && !q->dry_run) {
		mailbox_post(r->s->mb, &job->mail);
		return true;
	}
	if (*status_out == STORE_OK)
		q->json = admin_json(job, true);
	json_decref(job->rcpts);
	free(job->keys);
	free(job);
	return false;
}

static void
answer_query(struct reader *r, struct store_query *q)
{
	enum store_status status = STORE_IO;
	char text[sizeof q->text] = "the queue's disk failed";
	bool goes_on = false;

	pthread_mutex_lock(&r->lock);
	if (r->db.h == NULL)
		;
	else if (query_is_change(q->verb) && filter_is_empty(&q->filter)) {
		status = STORE_BAD;
		snprintf(text, sizeof text, "say which messages: a filter is missing");
	} else if (query_is_change(q->verb)) {
		goes_on = begin_change(r, q, &status);
		if (status != STORE_OK)
			snprintf(text, sizeof text, "%s", r->db.text);
		else
			text[0] = '\0';
	} else {
		status = query_answer(&r->db, r->s, q, &q->json, text, sizeof text);
	}
	pthread_mutex_unlock(&r->lock);
	if (!goes_on)
		store_answer(r->s, &q->mail, status, text);
}

/* ---- The thread ---- */

static void *
reader_main(void *arg)
{
	struct reader *r = arg;
	struct mail *m, *next;

	while (!r->stopping) {
		for (m = mailbox_wait(r->mb, -1); m != NULL; m = next) {
			next = m->next;
			m->next = NULL;
			if (m->kind == KIND_CONTENT)
				answer_content(r, (struct store_content *)m);
			else if (m->kind == KIND_STS)
				answer_sts(r, (struct store_sts *)m);
			else if (m->kind == KIND_KV)
				answer_kv(r, (struct store_kv *)m);
			else if (m->kind == KIND_OFFERS)
				answer_offers(r, (struct store_offers *)m);
			else if (m->kind == KIND_SETTLE)
				store_answer(r->s, m, STORE_OK, NULL);
			else if (m->kind == KIND_QUERY)
				answer_query(r, (struct store_query *)m);
			else
				r->stopping = true;
		}
	}
	return NULL;
}

int
reader_start(struct reader *r, struct err *err)
{
	int rc = pthread_create(&r->thread, NULL, reader_main, r);

	if (rc != 0) {
		err_set(err, "queue reading thread: %s", strerror(rc));
		return -1;
	}
	r->started = true;
	return 0;
}

void
reader_stop(struct reader *r)
{
	struct mail *m, *next;

	if (r->started) {
		r->stop.kind = KIND_STOP;
		mailbox_post(r->mb, &r->stop);
		pthread_join(r->thread, NULL);
		r->started = false;
	}
	for (m = mailbox_wait(r->mb, 0); m != NULL; m = next) {
		next = m->next;
		if (m->kind != KIND_STOP)
			store_answer(r->s, m, STORE_CLOSED, "the queue is closed");
	}
}

void
reader_free(struct reader *r)
{
	if (r == NULL)
		return;
	db_close(&r->db, false);
	mailbox_free(r->mb);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void
reader_post(struct reader *r, struct mail *m)
{
	mailbox_post(r->mb, m);
}
