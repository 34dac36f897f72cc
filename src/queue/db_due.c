/* Handing out what is due (Q3), and turning rows back into messages. A row that cannot be read
 * is put on hold with a reason and a log line, so that it is never the first thing every start
 * stumbles over. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/store_int.h"

/* ---- Reading a message ---- */

static bool
in_range(int64_t v, int64_t max)
{
	return v >= 0 && v <= max;
}

/* 1; 0 with `why` when the row makes no sense; -1 when the database failed. */
static int
load_message(struct store *s, uint64_t id, struct msg *m, int64_t content[2], const char **why)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_GET_MESSAGE);
	char *edits, *vars, *tags;
	int64_t enums[4];
	int got, at = 0;
	bool ok;

	db_bind_int(st, 1, (int64_t)id);
	got = db_row(&s->db, st);
	if (got <= 0) {
		*why = "its message row is missing";
		return got;
	}
	m->id = id;
	m->received_ms = sqlite3_column_int64(st, at++);
	m->session = (uint64_t)sqlite3_column_int64(st, at++);
	m->content_size = (uint64_t)sqlite3_column_int64(st, at++);
	m->header_size = (uint64_t)sqlite3_column_int64(st, at++);
	content[0] = sqlite3_column_int64(st, at++);
	content[1] = sqlite3_column_int64(st, at++);
	m->flags = (unsigned)sqlite3_column_int64(st, at++);
	for (int i = 0; i < 4; i++)
		enums[i] = sqlite3_column_int64(st, at++);
	m->duties = (uint32_t)sqlite3_column_int64(st, at++);
	m->from = db_text(st, at++);
	m->from_domain = db_text(st, at++);
	m->envid = db_text(st, at++);
	m->auth_param = db_text(st, at++);
	m->duty_note = db_text(st, at++);
	m->generation = db_text(st, at++);
	m->trace = db_text(st, at++);
	edits = db_text(st, at++);
	vars = db_text(st, at++);
	tags = db_text(st, at++);
	m->peer_ip = db_text(st, at++);
	m->peer_name = db_text(st, at++);
	m->helo = db_text(st, at++);
	m->listener = db_text(st, at++);
	m->proto = db_text(st, at++);
	m->tls_in = db_text(st, at++);
	m->auth_id = db_text(st, at++);
	sqlite3_reset(st);

	ok = msg_edits_load(m, edits) && msg_vars_load(m, vars) && msg_tags_load(m, tags);
	free(edits);
	free(vars);
	free(tags);
	if (!ok) {
		*why = "its edits, values or tags cannot be read";
		return 0;
	}
	if (m->from == NULL || m->from_domain == NULL || !in_range(enums[0], DIR_INTERNAL) ||
	    !in_range(enums[1], BODY_8BITMIME) || !in_range(enums[2], RET_HDRS) ||
	    !in_range(enums[3], TLS_NO_MALFORMED) || m->header_size > m->content_size ||
	    content[1] != (int64_t)((m->content_size + STORE_CHUNK - 1) / STORE_CHUNK)) {
		*why = "its message row makes no sense";
		return 0;
	}
	m->direction = (enum msg_direction)enums[0];
	m->body_type = (enum msg_body_type)enums[1];
	m->ret = (enum msg_ret)enums[2];
	m->tls_no = (enum msg_tls_no)enums[3];
	return 1;
}

/* The last chunk is there, belongs to the message and is as long as it must be. */
static int
check_content(struct store *s, const struct msg *m, const int64_t content[2], const char **why)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_CONTENT_LAST);
	int64_t want = (int64_t)(m->content_size % STORE_CHUNK);
	int got;
	bool ok;

	if (content[1] == 0)
		return 1;
	if (want == 0)
		want = STORE_CHUNK;
	db_bind_int(st, 1, content[0] + content[1] - 1);
	got = db_row(&s->db, st);
	if (got < 0)
		return -1;
	ok = got == 1 && sqlite3_column_int64(st, 0) == (int64_t)m->id &&
	    sqlite3_column_int64(st, 1) == want;
	if (got == 1)
		sqlite3_reset(st);
	if (!ok)
		*why = "its content is missing or incomplete";
	return ok ? 1 : 0;
}

/* Reads a recipient into r, which is empty, and `state`. */
static int
read_rcpt(struct store *s, struct key k, struct msg_rcpt *r, struct store_rcpt_state *state,
    const char **why)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_GET_RCPT);
	char *vars, *tags;
	int got, at = 0;
	bool ok;

	db_bind_int(st, 1, (int64_t)k.message);
	db_bind_int(st, 2, k.num);
	got = db_row(&s->db, st);
	if (got <= 0) {
		*why = "its row is missing";
		return got;
	}
	r->num = k.num;
	state->attempts = (unsigned)sqlite3_column_int64(st, at++);
	state->first_attempt_ms = sqlite3_column_int64(st, at++);
	state->delay_notified = sqlite3_column_int64(st, at++) != 0;
	r->notify = (unsigned)sqlite3_column_int64(st, at++);
	r->duties = (uint32_t)sqlite3_column_int64(st, at++);
	r->address = db_text(st, at++);
	r->domain = db_text(st, at++);
	r->orcpt = db_text(st, at++);
	r->route = db_text(st, at++);
	r->next_hop = db_text(st, at++);
	state->bounce_reason = db_text(st, at++);
	state->last = db_text(st, at++);
	vars = db_text(st, at++);
	tags = db_text(st, at++);
	state->lease = (uint64_t)sqlite3_column_int64(st, at++) + 1;
	sqlite3_reset(st);
	ok = msg_rcpt_vars_load(r, vars) && msg_rcpt_tags_load(r, tags) && r->address != NULL &&
	    r->domain != NULL && r->notify <= 15;
	free(vars);
	free(tags);
	if (!ok)
		*why = "its recipient row makes no sense";
	return ok ? 1 : 0;
}

static void
state_fini(struct store_rcpt_state *st)
{
	free(st->last);
	free(st->bounce_reason);
}

/* Adds one recipient to d, or nothing. */
static int
load_rcpt(struct store *s, struct key k, struct store_due *d, const char **why)
{
	struct store_rcpt_state state = { .queued_ms = d->msg->received_ms };
	struct msg *scratch = msg_new();
	struct msg_rcpt *r = msg_add_rcpt(scratch);
	int got = read_rcpt(s, k, r, &state, why);

	if (got == 1) {
		d->rcpts[d->msg->nrcpts] = state;
		*msg_add_rcpt(d->msg) = *r;
		memset(r, 0, sizeof *r);	/* moved */
	} else {
		state_fini(&state);
	}
	msg_unref(scratch);
	return got;
}

void
store_due_free(struct store_due *d)
{
	if (d == NULL)
		return;
	/* A worker may have taken recipients out of the message: there were nrcpts states. */
	for (size_t i = 0; i < d->nrcpts; i++)
		state_fini(&d->rcpts[i]);
	free(d->rcpts);
	msg_unref(d->msg);
	free(d);
}

/* ---- Handing out ---- */

/* `num` as the table has it, which may be more than a key can say. */
static bool
quarantine(struct store *s, uint64_t message, int64_t num, const char *why)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_QUARANTINE);
	char reason[128];

	snprintf(reason, sizeof reason, "damaged in the queue: %s", why);
	db_bind_int(st, 1, (int64_t)message);
	db_bind_int(st, 2, num);
	db_bind_text(st, 3, reason);
	if (!db_run(&s->db, st))
		return false;
	s->tx.held++;
	log_error("queue entry put on hold", LOG_ID("message", message), LOG_I("rcpt", num),
	    LOG_S("why", reason));
	return true;
}

static bool
lease(struct store *s, struct key k, uint64_t number)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_LEASE);

	db_bind_int(st, 1, (int64_t)k.message);
	db_bind_int(st, 2, k.num);
	db_bind_int(st, 3, (int64_t)number);
	return db_run(&s->db, st);
}

static struct store_due *
due_new(struct store *s, size_t nrcpts)
{
	struct store_due *d = xcalloc(1, sizeof *d);

	d->mail.run = s->on_due;
	d->mail.kind = STORE_KIND_DUE;
	d->msg = msg_new();
	d->epoch = atomic_load(&s->epoch);
	d->rcpts = xcalloc(nrcpts, sizeof *d->rcpts);
	return d;
}

/* All keys are of one message and one lane. False only when the database failed. */
static bool
hand_out_message(struct store *s, struct lane *l, const struct key *keys, size_t n)
{
	struct store_due *d = due_new(s, n);
	const char *why = NULL;
	uint64_t before = work_begin(keys[0].message);
	int64_t content[2];
	int whole, one;

	whole = load_message(s, keys[0].message, d->msg, content, &why);
	if (whole == 1)
		whole = check_content(s, d->msg, content, &why);
	if (whole < 0)
		goto failed;
	for (size_t i = 0; i < n; i++) {
		one = whole == 0 ? 0 : load_rcpt(s, keys[i], d, &why);
		if (one < 0 || !(one == 0 ? quarantine(s, keys[i].message, keys[i].num, why) :
		    lease(s, keys[i], d->rcpts[d->msg->nrcpts - 1].lease)))
			goto failed;
	}
	d->nrcpts = d->msg->nrcpts;
	l->t_active += (unsigned)d->nrcpts;
	s->tx.due_handed += d->nrcpts;
	if (d->nrcpts > 0)
		mails_push(&l->t_due, &d->mail);
	else
		store_due_free(d);
	work_end(before);
	return true;
failed:
	d->nrcpts = d->msg->nrcpts;
	store_due_free(d);
	work_end(before);
	return false;
}

static int
by_key(const void *a, const void *b)
{
	const struct key *x = a, *y = b;

	if (x->message != y->message)
		return x->message < y->message ? -1 : 1;
	return x->num < y->num ? -1 : x->num > y->num;
}

static bool
hand_out_lane(struct store *s, unsigned worker)
{
	struct lane *l = &s->lanes[worker];
	unsigned room = s->max_active > l->t_active ? s->max_active - l->t_active : 0;
	struct { uint64_t message; int64_t num; } odd = { 0, 0 };
	struct key keys[DUE_BATCH];
	sqlite3_stmt *st;
	size_t n = 0;
	int got;

	if (room == 0)
		return true;
	st = db_use(&s->db, SQL_DUE);
	db_bind_int(st, 1, worker);
	db_bind_int(st, 2, s->tx.now_ms);
	db_bind_int(st, 3, room < DUE_BATCH ? room : DUE_BATCH);
	while ((got = db_row(&s->db, st)) == 1) {
		uint64_t message = (uint64_t)sqlite3_column_int64(st, 0);
		int64_t num = sqlite3_column_int64(st, 1);

		MUST(n < DUE_BATCH);
		if (in_range(num, UINT32_MAX)) {
			keys[n++] = (struct key){ message, (uint32_t)num };
		} else {	/* one a turn: there should be none */
			odd.message = message;
			odd.num = num;
		}
	}
	if (got < 0)
		return false;
	if (odd.num != 0 && !quarantine(s, odd.message, odd.num, "its recipient's number makes no sense"))
		return false;
	qsort(keys, n, sizeof *keys, by_key);
	for (size_t i = 0, j; i < n; i = j) {
		for (j = i + 1; j < n && keys[j].message == keys[i].message;)
			j++;
		if (!hand_out_message(s, l, keys + i, j - i))
			return false;
	}
	st = db_use(&s->db, SQL_EARLIEST);
	db_bind_int(st, 1, worker);
	got = db_row(&s->db, st);
	l->t_earliest = got == 1 ? sqlite3_column_int64(st, 0) : INT64_MAX;
	if (got == 1)
		sqlite3_reset(st);
	return got >= 0;
}

static bool
end_holds(struct store *s)
{
	struct { int64_t message, num; unsigned worker; } v[DUE_BATCH];
	sqlite3_stmt *st = db_use(&s->db, SQL_HOLDS_ENDED);
	size_t n = 0;
	int got;

	db_bind_int(st, 1, s->tx.now_ms);
	db_bind_int(st, 2, DUE_BATCH);
	while ((got = db_row(&s->db, st)) == 1) {
		v[n].message = sqlite3_column_int64(st, 0);
		v[n].num = sqlite3_column_int64(st, 1);
		v[n++].worker = (unsigned)sqlite3_column_int64(st, 2) % s->workers;
	}
	if (got < 0)
		return false;
	st = db_use(&s->db, SQL_HOLD_END);
	for (size_t i = 0; i < n; i++) {
		db_bind_int(st, 1, v[i].message);
		db_bind_int(st, 2, v[i].num);
		if (!db_run(&s->db, st))
			return false;
		s->tx.held--;
		due_from(s, v[i].worker, s->tx.now_ms);
	}
	st = db_use(&s->db, SQL_HOLD_EARLIEST);
	got = db_row(&s->db, st);
	s->tx.hold_earliest = got == 1 ? sqlite3_column_int64(st, 0) : INT64_MAX;
	if (got == 1)
		sqlite3_reset(st);
	return got >= 0;
}

bool
hand_out(struct store *s)
{
	if (s->tx.hold_earliest <= s->tx.now_ms && !end_holds(s))
		return false;
	for (unsigned w = 0; w < s->workers; w++)
		if (s->lanes[w].t_earliest <= s->tx.now_ms && !hand_out_lane(s, w))
			return false;
	return true;
}
