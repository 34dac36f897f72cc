/* What the tests of the store share: a store in a directory of its own, one mailbox for answers
 * and one for each worker, and messages to put in. */
#ifndef TESTS_STORE_RIG_H
#define TESTS_STORE_RIG_H

#include <ftw.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/store_int.h"
#include "trust/duties.h"

#define RIG_WORKERS 2
#define RIG_WAIT_MS 20000	/* far above anything that happens; a test that waits so long fails */

struct rig {
	char dir[64], path[96];
	struct store_conf conf;
	struct store *s;
	struct mailbox *mb, *lanes[RIG_WORKERS];
	struct mails got, lane_got[RIG_WORKERS];
};

static inline int
rig_remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
	return remove(path);
}

static inline void
rig_no_run(void *reader, struct mail *m)
{
}

static inline void
rig_init(struct rig *r)
{
	memset(r, 0, sizeof *r);
	strcpy(r->dir, "store-XXXXXX");
	MUST(mkdtemp(r->dir) != NULL);
	snprintf(r->path, sizeof r->path, "%s/queue.db", r->dir);
	r->conf = (struct store_conf){ .path = r->path, .workers = RIG_WORKERS, .max_active = 100 };
	r->mb = mailbox_new(NULL, r);
	mails_init(&r->got);
	for (int i = 0; i < RIG_WORKERS; i++) {
		r->lanes[i] = mailbox_new(NULL, r);
		mails_init(&r->lane_got[i]);
	}
}

static inline void
rig_start(struct rig *r)
{
	struct err err;

	if (store_start(r->s, r->lanes, rig_no_run, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
}

static inline void
rig_open(struct rig *r)
{
	struct err err = { "" };

	r->s = store_open(&r->conf, &err);
	if (r->s == NULL) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
}

static inline void
rig_close(struct rig *r)
{
	store_free(r->s);
	r->s = NULL;
}

static inline struct mail *
rig_take(struct mailbox *mb, struct mails *l, int timeout_ms)
{
	for (int i = 0; l->n == 0 && i < 100; i++) {
		struct mail *m = mailbox_wait(mb, timeout_ms), *next;

		for (; m != NULL; m = next) {
			next = m->next;
			mails_push(l, m);
		}
		if (l->n == 0 && timeout_ms == 0)
			break;
	}
	return mails_shift(l);
}

/* The next answer; NULL when none came in a long time. */
static inline void *
rig_answer(struct rig *r)
{
	return rig_take(r->mb, &r->got, RIG_WAIT_MS / 100);
}

/* The next store_due or store_recall for a worker; with wait false only what is there now. */
static inline void *
rig_due(struct rig *r, unsigned worker, bool wait)
{
	return rig_take(r->lanes[worker], &r->lane_got[worker], wait ? RIG_WAIT_MS / 100 : 0);
}

static inline void
rig_drop_due(struct rig *r)
{
	struct mail *m;

	for (unsigned w = 0; w < RIG_WORKERS; w++)
		while ((m = rig_due(r, w, false)) != NULL) {
			if (m->kind == STORE_KIND_DUE)
				store_due_free((struct store_due *)m);
			else
				free(m);
		}
}

static inline void
rig_fini(struct rig *r)
{
	void *m;

	rig_close(r);
	while ((m = rig_take(r->mb, &r->got, 0)) != NULL)
		MUST(!"an answer that nobody asked for");
	rig_drop_due(r);
	mailbox_free(r->mb);
	for (int i = 0; i < RIG_WORKERS; i++)
		mailbox_free(r->lanes[i]);
	nftw(r->dir, rig_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* One recipient for `domain`, content of n octets. */
static inline struct msg *
rig_msg(const char *domain, size_t n)
{
	struct msg *m = msg_new();
	struct msg_rcpt *r = msg_add_rcpt(m);
	char *body = xmalloc(n + 1);

	for (size_t i = 0; i < n; i++)
		body[i] = (char)('a' + (i * 7 + i / 1000) % 26);
	m->id = id_new(1);
	m->received_ms = clock_wall_ms();
	m->from = xstrdup("sender@example.org");
	m->from_domain = xstrdup("example.org");
	m->content = content_from_memory(body, n, 0);
	m->content_size = n;
	r->address = xasprintf("user@%s", domain);
	r->domain = xstrdup(domain);
	r->route = xstrdup("default");
	r->next_hop = xstrdup(domain);
	return m;
}

static inline void
rig_post(struct rig *r, struct msg *m)
{
	struct store_submit *q = xcalloc(1, sizeof *q);

	q->msg = m;
	q->mail.reply_to = r->mb;
	store_submit(r->s, q);
}

/* Puts m in, waits, and returns the answer (the caller frees it). */
static inline struct store_submit *
rig_submit(struct rig *r, struct msg *m)
{
	rig_post(r, m);
	return rig_answer(r);
}

/* The same for a message that must be taken; its id. */
static inline uint64_t
rig_put(struct rig *r, struct msg *m)
{
	struct store_submit *q = rig_submit(r, m);
	uint64_t id;

	MUST(q != NULL && q->status == STORE_OK);
	id = q->msg->id;
	store_submit_free(q);
	return id;
}

static inline struct store_result *
rig_result_new(struct rig *r, uint64_t message, uint32_t num, enum store_change what)
{
	struct store_result *q = xcalloc(1, sizeof *q);

	q->mail.reply_to = r->mb;
	q->message = message;
	q->n = 1;
	q->changes = xcalloc(1, sizeof *q->changes);
	q->changes[0].num = num;
	q->changes[0].what = what;
	if (what == CHANGE_DONE) {
		struct evidence e = { .wall_ms = clock_wall_ms(), .message = message, .rcpt_num = num,
			.event = "delivered" };

		q->changes[0].evidence = evidence_text(&e);
	}
	return q;
}

static inline enum store_status
rig_send_result(struct rig *r, struct store_result *q)
{
	enum store_status st;

	q->urgent = true;
	store_result(r->s, q);
	q = rig_answer(r);
	MUST(q != NULL);
	st = q->status;
	store_result_free(q);
	return st;
}

static inline enum store_status
rig_done(struct rig *r, uint64_t message, uint32_t num)
{
	return rig_send_result(r, rig_result_new(r, message, num, CHANGE_DONE));
}

/* The answer's JSON (NULL unless STORE_OK); q is freed. */
static inline json_t *
rig_query(struct rig *r, struct store_query *q, enum store_status *status_out)
{
	json_t *o = NULL;

	q->mail.reply_to = r->mb;
	store_query(r->s, q);
	q = rig_answer(r);
	MUST(q != NULL);
	if (status_out != NULL)
		*status_out = q->status;
	if (q->json != NULL)
		o = json_loads(q->json, 0, NULL);
	store_query_free(q);
	return o;
}

static inline struct store_query *
rig_ask(enum store_verb verb, uint64_t id)
{
	struct store_query *q = xcalloc(1, sizeof *q);

	q->verb = verb;
	q->filter.id = id;
	return q;
}

/* STATUS goes through the reader; a change that fits nothing goes through the store thread too,
 * so that whatever was posted before has been worked on. */
static inline int64_t
rig_number(struct rig *r, const char *key)
{
	json_t *o = rig_query(r, rig_ask(STORE_STATUS, 0), NULL);
	int64_t v = json_integer_value(json_object_get(o, key));

	json_decref(o);
	return v;
}

static inline void
rig_sync(struct rig *r)
{
	struct store_query *q = rig_ask(STORE_RETRY, 1);

	json_decref(rig_query(r, q, NULL));
}

/* Runs SQL on the closed database. The result of the last SELECT's first column, or -1. */
static inline int64_t
rig_sql(struct rig *r, const char *sql, int *rc_out)
{
	sqlite3 *h;
	sqlite3_stmt *st;
	int64_t v = -1;
	int rc;

	MUST(sqlite3_open_v2(r->path, &h, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK);
	rc = sqlite3_prepare_v2(h, sql, -1, &st, NULL);
	if (rc == SQLITE_OK) {
		rc = sqlite3_step(st);
		if (rc == SQLITE_ROW)
			v = sqlite3_column_int64(st, 0);
		sqlite3_finalize(st);
	}
	sqlite3_close(h);
	if (rc_out != NULL)
		*rc_out = rc;
	return v;
}

#endif
