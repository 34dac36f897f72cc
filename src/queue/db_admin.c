/* What an administrator does to recipients. The reading thread has found the keys; here each row
 * is looked at again, inside the transaction, and changed.
 *
 * A row that is ACTIVE is in a worker's memory as it was: whatever changes it takes the lease
 * away and recalls the message (STORE_KIND_RECALL), so that it leaves with what the table says
 * now, or not at all. What is on the wire already goes on; its result finds the row (db_write.c). */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/store_int.h"

/* A lease that was taken away is not given again at once: the worker may be in the middle of the
 * transaction, and its result should come first. */
#define AFTER_RECALL_MS 2000

struct row {
	struct key k;
	enum rcpt_state state;
	unsigned worker;
	uint32_t duties;
	char *address, *domain, *route, *from, *note, *generation;
	unsigned attempts;
};

static void
row_fini(struct row *r)
{
	free(r->address);
	free(r->domain);
	free(r->route);
	free(r->from);
	free(r->note);
	free(r->generation);
}

static int
row_load(struct store *s, struct key k, struct row *r)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_ADMIN_ROW);
	int got;

	memset(r, 0, sizeof *r);
	r->k = k;
	db_bind_int(st, 1, (int64_t)k.message);
	db_bind_int(st, 2, k.num);
	got = db_row(&s->db, st);
	if (got <= 0)
		return got;
	r->state = (enum rcpt_state)sqlite3_column_int64(st, 0);
	r->worker = (unsigned)sqlite3_column_int64(st, 1) % s->workers;
	r->duties = (uint32_t)sqlite3_column_int64(st, 2);
	r->address = db_text(st, 3);
	r->domain = db_text(st, 4);
	r->route = db_text(st, 5);
	r->attempts = (unsigned)sqlite3_column_int64(st, 6);
	r->from = db_text(st, 7);
	r->note = db_text(st, 8);
	r->generation = db_text(st, 9);
	sqlite3_reset(st);
	return 1;
}

void
recall(struct store *s, struct key k)
{
	struct tx *t = &s->tx;

	if ((t->nrecalls & (t->nrecalls - 1)) == 0)	/* room for 1, 2, 4, ... */
		t->recalls = xrealloc(t->recalls, (t->nrecalls == 0 ? 1 : t->nrecalls * 2) * sizeof *t->recalls);
	t->recalls[t->nrecalls++] = k;
}

static bool
set_state(struct store *s, const struct row *r, enum rcpt_state state, int64_t next_ms, const char *reason)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_ADMIN_STATE);

	db_bind_int(st, 1, (int64_t)r->k.message);
	db_bind_int(st, 2, r->k.num);
	db_bind_int(st, 3, state);
	db_bind_int(st, 4, next_ms);
	db_bind_text(st, 5, reason);
	if (!db_run(&s->db, st))
		return false;
	leave_state(s, r->state, r->worker);
	if (state == RCPT_HELD)
		s->tx.held++;
	else
		due_from(s, r->worker, next_ms);
	return true;
}

static bool
delete_row(struct store *s, const struct row *r, const struct store_query *q)
{
	struct evidence e = {
		.wall_ms = s->tx.now_ms, .message = r->k.message, .rcpt_num = r->k.num,
		.event = "deleted", .from = r->from, .rcpt = r->address, .duties = r->duties,
		.asked_by = r->note, .domain = r->domain, .route = r->route, .attempts = r->attempts,
		.generation = r->generation, .by = q->by, .why = q->reason,
	};
	char *text;
	bool ok;

	if (!remove_rcpt(s, r->k, r->state, r->worker))
		return false;
	text = evidence_text(&e);
	ok = put_evidence(s, r->k.message, r->k.num, text);
	free(text);
	return ok;
}

static bool
bounce_row(struct store *s, const struct row *r, const struct store_query *q, int64_t next_ms)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_ADMIN_BOUNCE);

	db_bind_int(st, 1, (int64_t)r->k.message);
	db_bind_int(st, 2, r->k.num);
	db_bind_int(st, 3, next_ms);
	db_bind_text(st, 4, q->reason == NULL ? "" : q->reason);
	if (!db_run(&s->db, st))
		return false;
	leave_state(s, r->state, r->worker);
	due_from(s, r->worker, next_ms);
	return true;
}

static bool
require_tls(struct store *s, const struct row *r, const struct store_query *q, int64_t next_ms)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_JOIN_DUTIES);
	char *note = xasprintf("command line, %s", q->by == NULL ? "unknown" : q->by);
	bool ok;

	db_bind_int(st, 1, (int64_t)r->k.message);
	db_bind_int(st, 2, r->k.num);
	db_bind_int(st, 3, q->duties);
	ok = db_run(&s->db, st);
	if (ok) {
		st = db_use(&s->db, SQL_ADMIN_NOTE);
		db_bind_int(st, 1, (int64_t)r->k.message);
		db_bind_text(st, 2, note);
		ok = db_run(&s->db, st);
	}
	free(note);
	/* A worker that holds the row does not know of the new duties (I2). */
	return ok && (r->state != RCPT_ACTIVE || set_state(s, r, RCPT_QUEUED, next_ms, NULL));
}

static bool
apply(struct store *s, const struct row *r, const struct store_query *q, bool *changed_out)
{
	bool is_leased = r->state == RCPT_ACTIVE;
	int64_t next_ms = s->tx.now_ms + (is_leased ? AFTER_RECALL_MS : 0);

	*changed_out = true;
	switch (q->verb) {
	case STORE_HOLD:
		*changed_out = r->state != RCPT_HELD;
		if (*changed_out && !set_state(s, r, RCPT_HELD, 0, q->reason))
			return false;
		break;
	case STORE_RELEASE:
		*changed_out = r->state == RCPT_HELD;
		return !*changed_out || set_state(s, r, RCPT_QUEUED, next_ms, NULL);
	case STORE_RETRY:
		*changed_out = r->state == RCPT_QUEUED;
		return !*changed_out || set_state(s, r, RCPT_QUEUED, next_ms, NULL);
	case STORE_DELETE:
		if (!delete_row(s, r, q))
			return false;
		break;
	case STORE_BOUNCE:
		if (!bounce_row(s, r, q, next_ms))
			return false;
		break;
	case STORE_REQUIRE_TLS:
		if (!require_tls(s, r, q, next_ms))
			return false;
		break;
	default:
		s->bad_status = STORE_BAD;
		return db_fail(&s->db, DB_BAD, "not a change");
	}
	if (is_leased)
		recall(s, r->k);
	return true;
}

bool
admin_step(struct store *s, struct admin_job *job)
{
	s->bad_status = STORE_BAD;
	job->t_at = job->at;
	job->t_changed = job->changed;
	job->t_leased = job->leased;
	for (size_t i = 0; i < ADMIN_BATCH && job->t_at < job->nkeys; i++, job->t_at++) {
		struct row r;
		bool changed = false, ok;
		int got = row_load(s, job->keys[job->t_at], &r);

		if (got == 0)
			continue;	/* it left the queue meanwhile */
		ok = got == 1 && apply(s, &r, job->q, &changed);
		job->t_leased += changed && r.state == RCPT_ACTIVE;
		row_fini(&r);
		if (!ok)
			return false;
		job->t_changed += changed;
	}
	return true;
}

char *
admin_json(const struct admin_job *job, bool dry_run)
{
	json_t *o = json_object();
	char *text, *own;

	json_object_set_new(o, "matched", json_integer((json_int_t)job->nkeys));
	json_object_set_new(o, "changed", json_integer((json_int_t)job->changed));
	json_object_set_new(o, "in_delivery", json_integer((json_int_t)job->leased));
	json_object_set_new(o, "dry_run", json_boolean(dry_run));
	json_object_set(o, "recipients", job->rcpts);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	own = xstrdup(text);
	free(text);
	return own;
}

static const char *
verb_name(enum store_verb v)
{
	switch (v) {
	case STORE_HOLD: return "hold";
	case STORE_RELEASE: return "release";
	case STORE_RETRY: return "retry";
	case STORE_DELETE: return "delete";
	case STORE_BOUNCE: return "bounce";
	case STORE_REQUIRE_TLS: return "require-tls";
	default: return "unknown";
	}
}

/* Ends the job: its request goes back. */
void
admin_answer(struct store *s, struct admin_job *job, enum store_status status, const char *text)
{
	struct store_query *q = job->q;

	if (status == STORE_OK)
		q->json = admin_json(job, false);
	log_info("queue changed by hand", LOG_S("verb", verb_name(q->verb)), LOG_S("by", q->by),
	    LOG_S("reason", q->reason), LOG_U("matched", job->nkeys), LOG_U("changed", job->changed),
	    LOG_S("error", status == STORE_OK ? NULL : text));
	json_decref(job->rcpts);
	free(job->keys);
	free(job);
	store_answer(s, &q->mail, status, text);
}
