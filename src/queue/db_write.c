/* Arrivals, results and evidence as rows. Everything here runs inside the store thread's
 * transaction; what it means for the counters is staged in s->tx and counts after the commit. */
#include "config.h"

#include <errno.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>

#include "queue/store_int.h"

/* ---- Evidence ---- */

bool
put_evidence(struct store *s, uint64_t message, int64_t rcpt, const char *text)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_PUT_EVIDENCE);
	char hash[EVIDENCE_HASH];

	evidence_hash(hash, s->tx.evidence_hash, text);
	db_bind_int(st, 1, (int64_t)s->tx.evidence_id + 1);
	db_bind_int(st, 2, (int64_t)message);
	if (rcpt < 0)
		sqlite3_bind_null(st, 3);
	else
		db_bind_int(st, 3, rcpt);
	db_bind_int(st, 4, s->tx.now_ms);
	db_bind_text(st, 5, text);
	db_bind_text(st, 6, hash);
	if (!db_run(&s->db, st))
		return false;
	s->tx.evidence_id++;
	memcpy(s->tx.evidence_hash, hash, sizeof hash);
	return true;
}

static bool
put_discard(struct store *s, const struct msg *m, const struct msg_rcpt *r)
{
	struct evidence e = {
		.wall_ms = s->tx.now_ms, .message = m->id, .rcpt_num = r->num, .event = "discarded",
		.from = m->from, .rcpt = r->address, .duties = m->duties | r->duties,
		.asked_by = m->duty_note, .domain = r->domain, .route = r->route,
		.generation = m->generation, .by = "policy", .why = r->discard_reason,
	};
	char *text = evidence_text(&e);
	bool ok = put_evidence(s, m->id, r->num, text);

	free(text);
	return ok;
}

/* ---- Arrivals ---- */

static bool
put_chunk(struct store *s, uint64_t message, int64_t seq, const char *p, size_t n)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_PUT_CONTENT);

	db_bind_int(st, 1, (int64_t)s->tx.next_content);
	db_bind_int(st, 2, (int64_t)message);
	db_bind_int(st, 3, seq);
	sqlite3_bind_blob(st, 4, p, (int)n, SQLITE_STATIC);
	if (!db_run(&s->db, st))
		return false;
	s->tx.next_content++;
	return true;
}

/* Reads exactly n octets: the file is complete and unlinked, so less is a damaged disk. */
static bool
read_spool(struct store *s, int fd, char *dst, size_t n, uint64_t at)
{
	while (n > 0) {
		ssize_t got = pread(fd, dst, n, (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			/* That message alone (F-6); the database is fine. */
			s->bad_status = STORE_IO;
			return db_fail(&s->db, DB_BAD, got == 0 ? "spool file is shorter than the message" :
			    strerror(errno));
		}
		dst += got;
		n -= (size_t)got;
		at += (uint64_t)got;
	}
	return true;
}

static bool
put_content(struct store *s, uint64_t message, const struct content *c)
{
	char *chunk = NULL;
	bool ok = true;

	if (c->mem == NULL && c->size > 0)
		chunk = xmalloc(STORE_CHUNK);
	for (uint64_t at = 0, seq = 0; ok && at < c->size; at += STORE_CHUNK, seq++) {
		size_t n = c->size - at < STORE_CHUNK ? (size_t)(c->size - at) : STORE_CHUNK;

		if (c->mem != NULL)
			ok = put_chunk(s, message, (int64_t)seq, c->mem + at, n);
		else
			ok = read_spool(s, c->fd, chunk, n, at) &&
			    put_chunk(s, message, (int64_t)seq, chunk, n);
	}
	free(chunk);
	return ok;
}

static bool
put_message(struct store *s, const struct msg *m)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_PUT_MESSAGE);
	const struct content *c = m->content;
	char *edits = m->nedits > 0 ? msg_edits_json(m) : NULL;
	char *vars = m->nvars > 0 ? msg_vars_json(m) : NULL;
	char *tags = m->ntags > 0 ? msg_tags_json(m) : NULL;
	int at = 1;
	bool ok;

	db_bind_int(st, at++, (int64_t)m->id);
	db_bind_int(st, at++, m->received_ms);
	db_bind_int(st, at++, (int64_t)m->session);
	db_bind_int(st, at++, (int64_t)c->size);
	db_bind_int(st, at++, (int64_t)c->header_size);
	db_bind_int(st, at++, (int64_t)s->tx.next_content);
	db_bind_int(st, at++, (int64_t)((c->size + STORE_CHUNK - 1) / STORE_CHUNK));
	db_bind_int(st, at++, m->flags);
	db_bind_int(st, at++, m->direction);
	db_bind_int(st, at++, m->body_type);
	db_bind_int(st, at++, m->ret);
	db_bind_int(st, at++, m->tls_no);
	db_bind_int(st, at++, m->duties);
	db_bind_text(st, at++, m->from == NULL ? "" : m->from);
	db_bind_text(st, at++, m->from_domain == NULL ? "" : m->from_domain);
	db_bind_text(st, at++, m->envid);
	db_bind_text(st, at++, m->auth_param);
	db_bind_text(st, at++, m->duty_note);
	db_bind_text(st, at++, m->generation);
	db_bind_text(st, at++, m->trace);
	db_bind_text(st, at++, edits);
	db_bind_text(st, at++, vars);
	db_bind_text(st, at++, tags);
	db_bind_text(st, at++, m->peer_ip);
	db_bind_text(st, at++, m->peer_name);
	db_bind_text(st, at++, m->helo);
	db_bind_text(st, at++, m->listener);
	db_bind_text(st, at++, m->proto);
	db_bind_text(st, at++, m->tls_in);
	db_bind_text(st, at++, m->auth_id);
	ok = db_run(&s->db, st) && put_content(s, m->id, c);
	free(edits);
	free(vars);
	free(tags);
	return ok;
}

void
due_from(struct store *s, unsigned worker, int64_t next_ms)
{
	struct lane *l = &s->lanes[worker];

	if (next_ms < l->t_earliest)
		l->t_earliest = next_ms;
}

/* Mail that waits in the table for room must not starve behind fresh mail, which never waits:
 * while there is some, a quarter of the room is kept for it. */
static bool
has_room(const struct store *s, unsigned worker)
{
	const struct lane *l = &s->lanes[worker];
	unsigned max = l->t_earliest <= s->tx.now_ms ? s->max_active - s->max_active / 4 : s->max_active;

	return l->t_active < max;
}

static bool
put_rcpt(struct store *s, const struct msg *m, const struct msg_rcpt *r, bool *active_out)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_PUT_RCPT);
	uint32_t shard = store_shard_hash(r->route, r->next_hop);
	unsigned worker = shard % s->workers;
	enum rcpt_state state = RCPT_QUEUED;
	int64_t next_ms = s->tx.now_ms;
	char *vars, *tags;
	bool ok;

	if (r->held) {
		state = RCPT_HELD;
		next_ms = r->hold_expires_ms;
		s->tx.held++;
		if (next_ms > 0 && next_ms < s->tx.hold_earliest)
			s->tx.hold_earliest = next_ms;
	} else if (r->not_before_ms > s->tx.now_ms) {
		next_ms = r->not_before_ms;
		due_from(s, worker, next_ms);
	} else if (has_room(s, worker)) {
		state = RCPT_ACTIVE;
		s->lanes[worker].t_active++;
	} else {
		due_from(s, worker, next_ms);
	}
	*active_out = state == RCPT_ACTIVE;
	s->tx.recipients++;

	vars = r->nvars > 0 ? msg_rcpt_vars_json(r) : NULL;
	tags = r->ntags > 0 ? msg_rcpt_tags_json(r) : NULL;
	db_bind_int(st, 1, (int64_t)m->id);
	db_bind_int(st, 2, r->num);
	db_bind_int(st, 3, state);
	db_bind_int(st, 4, worker);
	db_bind_int(st, 5, shard);
	db_bind_int(st, 6, next_ms);
	db_bind_int(st, 7, r->notify);
	db_bind_int(st, 8, r->duties);
	db_bind_text(st, 9, r->address == NULL ? "" : r->address);
	db_bind_text(st, 10, r->domain == NULL ? "" : r->domain);
	db_bind_text(st, 11, r->orcpt);
	db_bind_text(st, 12, r->route);
	db_bind_text(st, 13, r->next_hop);
	db_bind_text(st, 14, r->hold_reason);
	db_bind_text(st, 15, vars);
	db_bind_text(st, 16, tags);
	db_bind_int(st, 17, state == RCPT_ACTIVE ? STORE_FIRST_LEASE : 0);
	ok = db_run(&s->db, st);
	free(vars);
	free(tags);
	return ok;
}

bool
put_submit(struct store *s, struct store_submit *r)
{
	const struct msg *m = r->msg;
	size_t kept = 0;

	r->epoch = atomic_load(&s->epoch);
	free(r->active);
	r->active = xcalloc(m->nrcpts + 1, sizeof *r->active);
	s->bad_status = STORE_BAD;
	if (m->nrcpts == 0)
		return db_fail(&s->db, DB_BAD, "message without recipients");
	if (m->content == NULL || (m->content->mem == NULL && m->content->fd < 0 && m->content->size > 0))
		return db_fail(&s->db, DB_BAD, "message without content");
	for (size_t i = 0; i < m->nrcpts; i++) {
		if (m->rcpts[i].discarded ? !put_discard(s, m, &m->rcpts[i]) :
		    !put_rcpt(s, m, &m->rcpts[i], &r->active[i]))
			return false;
		kept += !m->rcpts[i].discarded;
	}
	if (kept == 0)
		return true;
	s->tx.messages++;
	s->tx.bytes += (int64_t)m->content->size;
	s->tx.bytes_in += m->content->size;
	return put_message(s, m);
}

/* ---- Results ---- */

void
leave_state(struct store *s, enum rcpt_state was, unsigned worker)
{
	if (was == RCPT_ACTIVE && s->lanes[worker].t_active > 0)
		s->lanes[worker].t_active--;
	else if (was == RCPT_HELD)
		s->tx.held--;
}

bool
remove_message(struct store *s, uint64_t message)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_DEL_MESSAGE);
	int64_t first, size;
	int got;

	db_bind_int(st, 1, (int64_t)message);
	got = db_row(&s->db, st);
	if (got <= 0)
		return got == 0;	/* its row had been lost: nothing is left to remove */
	size = sqlite3_column_int64(st, 0);
	first = sqlite3_column_int64(st, 1);
	s->tx.messages--;
	s->tx.bytes -= size;
	int64_t end = first + sqlite3_column_int64(st, 2);
	sqlite3_reset(st);

	st = db_use(&s->db, SQL_DEL_CONTENT);
	db_bind_int(st, 1, first);
	db_bind_int(st, 2, end);
	db_bind_int(st, 3, (int64_t)message);
	return db_run(&s->db, st);
}

/* Q4: the caller writes the evidence in the same transaction. Deleting comes first, so that on a
 * full disk the evidence finds the pages that this sets free. */
bool
remove_rcpt(struct store *s, struct key k, enum rcpt_state was, unsigned worker)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_DEL_RCPT);
	int left;

	db_bind_int(st, 1, (int64_t)k.message);
	db_bind_int(st, 2, k.num);
	if (!db_run(&s->db, st))
		return false;
	leave_state(s, was, worker);
	s->tx.recipients--;
	st = db_use(&s->db, SQL_RCPT_LEFT);
	db_bind_int(st, 1, (int64_t)k.message);
	left = db_row(&s->db, st);
	if (left < 0)
		return false;
	if (left == 0)
		return remove_message(s, k.message);
	sqlite3_reset(st);
	return true;
}

/* What a result says about a row whatever its state is. */
static bool
note(struct store *s, struct key k, const struct store_rcpt_change *c)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_NOTE);

	db_bind_int(st, 1, (int64_t)k.message);
	db_bind_int(st, 2, k.num);
	db_bind_int(st, 3, c->attempts);
	db_bind_int(st, 4, c->first_attempt_ms);
	db_bind_int(st, 5, c->delay_notified);
	db_bind_text(st, 6, c->last);
	return db_run(&s->db, st);
}

static bool
defer(struct store *s, struct key k, const struct store_rcpt_change *c, unsigned worker)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_DEFER);

	db_bind_int(st, 1, (int64_t)k.message);
	db_bind_int(st, 2, k.num);
	db_bind_int(st, 3, c->next_ms);
	db_bind_int(st, 4, c->attempts);
	db_bind_int(st, 5, c->first_attempt_ms);
	db_bind_int(st, 6, c->delay_notified);
	db_bind_text(st, 7, c->last);
	if (!db_run(&s->db, st))
		return false;
	due_from(s, worker, c->next_ms);
	return true;
}

static bool
hold(struct store *s, struct key k, const struct store_rcpt_change *c)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_HOLD);

	db_bind_int(st, 1, (int64_t)k.message);
	db_bind_int(st, 2, k.num);
	db_bind_int(st, 3, c->next_ms);
	db_bind_text(st, 4, c->hold_reason);
	if (!db_run(&s->db, st))
		return false;
	s->tx.held++;
	if (c->next_ms > 0 && c->next_ms < s->tx.hold_earliest)
		s->tx.hold_earliest = c->next_ms;
	return note(s, k, c);
}

static bool
reroute(struct store *s, struct key k, const struct store_rcpt_change *c, unsigned *worker_out)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_ROUTE);
	uint32_t shard = store_shard_hash(c->route, c->next_hop);

	*worker_out = shard % s->workers;
	db_bind_int(st, 1, (int64_t)k.message);
	db_bind_int(st, 2, k.num);
	db_bind_text(st, 3, c->route);
	db_bind_text(st, 4, c->next_hop);
	db_bind_int(st, 5, shard);
	db_bind_int(st, 6, *worker_out);
	return db_run(&s->db, st);
}

static bool
join_duties(struct store *s, struct key k, uint32_t duties)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_JOIN_DUTIES);

	db_bind_int(st, 1, (int64_t)k.message);
	db_bind_int(st, 2, k.num);
	db_bind_int(st, 3, duties);
	return db_run(&s->db, st);
}

/* The row is there. A worker's word about a row that is no longer ACTIVE came too late to move
 * it: an administrator did. That it was delivered meanwhile is a fact and wins; should the row have been
 * handed out anew by then, who got it is not to send it a second time. */
static bool
change(struct store *s, struct key k, const struct store_rcpt_change *c, enum rcpt_state was,
    unsigned worker, bool is_old)
{
	bool is_leased = was == RCPT_ACTIVE;

	if (is_old && is_leased && c->what == CHANGE_DONE)
		recall(s, k);
	if (c->duties != 0 && c->what != CHANGE_DONE && !join_duties(s, k, c->duties))
		return false;
	if (is_old && c->what != CHANGE_DONE)
		return true;
	switch (c->what) {
	case CHANGE_DONE:
		return remove_rcpt(s, k, was, worker);
	case CHANGE_DEFER:
		if (!is_leased)
			return note(s, k, c);
		leave_state(s, was, worker);
		return defer(s, k, c, worker);
	case CHANGE_HOLD:
		if (!is_leased)
			return note(s, k, c);
		leave_state(s, was, worker);
		return hold(s, k, c);
	case CHANGE_ROUTE: {
		unsigned now = worker;

		if (!reroute(s, k, c, &now))
			return false;
		if (!is_leased) {
			due_from(s, now, s->tx.now_ms);	/* it may be due in another lane now */
			return note(s, k, c);
		}
		leave_state(s, was, worker);
		return defer(s, k, c, now);
	}
	}
	s->bad_status = STORE_BAD;
	return db_fail(&s->db, DB_BAD, "unknown change");
}

/* `gone_out`: the row is gone, or what it says is nothing to this one. */
static bool
put_change(struct store *s, struct store_result *r, const struct store_rcpt_change *c, bool *gone_out)
{
	struct key k = { r->message, c->num };
	sqlite3_stmt *st = db_use(&s->db, SQL_RCPT_STATE);
	int64_t state, worker, lease;
	bool is_old;
	int got;

	db_bind_int(st, 1, (int64_t)k.message);
	db_bind_int(st, 2, k.num);
	got = db_row(&s->db, st);
	if (got < 0)
		return false;
	*gone_out = got == 0;
	if (got == 1) {
		state = sqlite3_column_int64(st, 0);
		worker = sqlite3_column_int64(st, 1);
		lease = sqlite3_column_int64(st, 2);
		sqlite3_reset(st);
		if (worker < 0 || worker >= s->workers)		/* */
			worker = 0;
		is_old = c->lease != 0 && c->lease != (uint64_t)lease;
		*gone_out = is_old && c->what != CHANGE_DONE;
		if (!change(s, k, c, (enum rcpt_state)state, (unsigned)worker, is_old))
			return false;
	}
	return c->evidence == NULL || put_evidence(s, k.message, k.num, c->evidence);
}

bool
put_result(struct store *s, struct store_result *r)
{
	size_t ngone = 0;

	s->bad_status = STORE_BAD;
	if (r->audit != NULL && !put_evidence(s, r->message, -1, r->audit))
		return false;
	if (r->sts != NULL && !put_sts(s, r->sts))
		return false;
	if (r->tlsrpt != NULL && !put_tlsrpt(s, r->tlsrpt))
		return false;
	if (!put_tlsrpt_counts(s, r->counts, r->ncounts))
		return false;
	if (r->noffers > 0 && !put_offers(s, r->offers, r->noffers))
		return false;
	if (r->ntraces > 0 && !put_traces(s, r->traces, r->ntraces))
		return false;
	for (size_t i = 0; i < r->n; i++) {
		bool is_gone;

		if (!put_change(s, r, &r->changes[i], &is_gone))
			return false;
		ngone += is_gone;
	}
	for (size_t i = 0; i < r->nnotices; i++) {
		struct store_submit *n = &r->notices[i];

		/* Every recipient had been deleted by then: a notice about them would tell the sender
		 * of a failure that did not happen. Nor does a report go out that is another node's now. */
		if ((r->n > 0 && ngone == r->n) || (r->tlsrpt != NULL && r->tlsrpt->n == 0)) {
			n->status = STORE_NOT_FOUND;
			continue;
		}
		if (!put_submit(s, n)) {
			n->status = STORE_BAD;
			return false;
		}
		n->status = STORE_OK;
	}
	return true;
}
