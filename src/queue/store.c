/* The public calls and the store thread's loop. What the thread does with what it was sent is in
 * group.c; opening and closing are in open.c. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/store_int.h"

const char *const rcpt_state_names[RCPT_STATES] = { "queued", "active", "held" };

/* ---- Lists of mails ---- */

void
mails_init(struct mails *l)
{
	l->first = NULL;
	l->last = &l->first;
	l->n = 0;
}

void
mails_push(struct mails *l, struct mail *m)
{
	m->next = NULL;
	*l->last = m;
	l->last = &m->next;
	l->n++;
}

void
mails_unshift(struct mails *l, struct mail *m)
{
	m->next = l->first;
	l->first = m;
	if (m->next == NULL)
		l->last = &m->next;
	l->n++;
}

struct mail *
mails_shift(struct mails *l)
{
	struct mail *m = l->first;

	if (m == NULL)
		return NULL;
	l->first = m->next;
	if (l->first == NULL)
		l->last = &l->first;
	l->n--;
	m->next = NULL;
	return m;
}

/* ---- Requests ---- */

void
store_submit_fini(struct store_submit *r)
{
	msg_unref(r->msg);
	free(r->active);
	r->msg = NULL;
	r->active = NULL;
}

void
store_submit_free(struct store_submit *r)
{
	if (r == NULL)
		return;
	store_submit_fini(r);
	free(r);
}

static void
offers_free(struct store_offer *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char *all[] = { rows[i].domain, rows[i].host, rows[i].what, rows[i].value, rows[i].instead };

		for (size_t k = 0; k < NELEMS(all); k++)
			free(all[k]);
	}
	free(rows);
}

void
store_result_free(struct store_result *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->n; i++) {
		free(r->changes[i].last);
		free(r->changes[i].route);
		free(r->changes[i].next_hop);
		free(r->changes[i].hold_reason);
		free(r->changes[i].evidence);
	}
	for (size_t i = 0; i < r->nnotices; i++)
		store_submit_fini(&r->notices[i]);
	free(r->changes);
	free(r->notices);
	free(r->audit);
	store_policy_free(r->sts);
	store_tlsrpt_count_free(r->counts, r->ncounts);
	store_tlsrpt_free(r->tlsrpt);
	offers_free(r->offers, r->noffers);
	for (size_t i = 0; i < r->ntraces; i++) {
		free(r->traces[i].domain);
		free(r->traces[i].text);
	}
	free(r->traces);
	free(r);
}

static void
policy_fini(struct store_policy *p)
{
	free(p->domain);
	free(p->id);
	free(p->text);
}

void
store_policy_free(struct store_policy *p)
{
	if (p == NULL)
		return;
	policy_fini(p);
	free(p);
}

void
store_sts_free(struct store_sts *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->n; i++)
		policy_fini(&r->rows[i]);
	free(r->rows);
	free(r->domain);
	free(r);
}

void
store_kv_fini(struct store_kv *r)
{
	free(r->key);
	free(r->value);
	free(r->old);
	free(r->found);
	r->key = r->value = r->old = r->found = NULL;
}

void
store_kv_free(struct store_kv *r)
{
	if (r == NULL)
		return;
	store_kv_fini(r);
	free(r);
}

void
store_offers_free(struct store_offers *r)
{
	if (r == NULL)
		return;
	offers_free(r->rows, r->n);
	free(r->domain);
	free(r);
}

void
store_query_free(struct store_query *q)
{
	if (q == NULL)
		return;
	free(q->filter.from);
	free(q->filter.to);
	free(q->filter.domain);
	free(q->filter.route);
	free(q->filter.tag);
	free(q->filter.state);
	free(q->filter.head);
	free(q->reason);
	free(q->by);
	free(q->json);
	free(q);
}

/* Fills in the answer and sends it back; without an address the request ends here. */
void
store_answer(struct store *s, struct mail *m, enum store_status status, const char *text)
{
	char *dst = NULL;
	size_t size = 0;

	switch (m->kind) {
	case KIND_SUBMIT: {
		struct store_submit *r = (struct store_submit *)m;

		r->status = status;
		if (status != STORE_OK) {
			free(r->active);
			r->active = NULL;
		}
		dst = r->text;
		size = sizeof r->text;
		break;
	}
	case KIND_RESULT: {
		struct store_result *r = (struct store_result *)m;

		r->status = status;
		dst = r->text;
		size = sizeof r->text;
		break;
	}
	case KIND_CONTENT:
		((struct store_content *)m)->status = status;
		break;
	case KIND_STS:
		((struct store_sts *)m)->status = status;
		break;
	case KIND_KV: {
		struct store_kv *r = (struct store_kv *)m;

		r->status = status;
		if (status != STORE_OK)
			snprintf(r->text, sizeof r->text, "%s", text == NULL ? "the queue's disk failed" : text);
		break;
	}
	case KIND_OFFERS:
		((struct store_offers *)m)->status = status;
		break;
	case KIND_SETTLE:
		break;
	case KIND_QUERY: {
		struct store_query *q = (struct store_query *)m;

		q->status = status;
		dst = q->text;
		size = sizeof q->text;
		break;
	}
	default:
		MUST(false);
	}
	if (dst != NULL)
		snprintf(dst, size, "%s", text == NULL ? "" : text);
	if (m->reply_to != NULL)
		mailbox_post(m->reply_to, m);
	else if (m->kind == KIND_SUBMIT)
		store_submit_free((struct store_submit *)m);
	else if (m->kind == KIND_RESULT)
		store_result_free((struct store_result *)m);
	else if (m->kind == KIND_QUERY)
		store_query_free((struct store_query *)m);
	else if (m->kind == KIND_STS)
		store_sts_free((struct store_sts *)m);
	else if (m->kind == KIND_KV)
		store_kv_free((struct store_kv *)m);
	else if (m->kind == KIND_OFFERS)
		store_offers_free((struct store_offers *)m);
	else {
		free(((struct store_content *)m)->data);
		free(m);
	}
}

/* Counted, so that store_close knows when nobody can be about to post any more. */
static bool
may_post(struct store *s)
{
	atomic_fetch_add(&s->posting, 1);
	if (!atomic_load(&s->closed))
		return true;
	atomic_fetch_sub(&s->posting, 1);
	return false;
}

static void
post(struct store *s, struct mail *m, bool to_reader)
{
	if (!may_post(s)) {
		store_answer(s, m, STORE_CLOSED, "the queue is closed");
		return;
	}
	if (m->kind != KIND_SETTLE)
		atomic_fetch_add(&s->n.posts, 1);
	if (to_reader)
		reader_post(s->reader, m);
	else
		mailbox_post(s->mb, m);
	atomic_fetch_sub(&s->posting, 1);
}

void
store_submit(struct store *s, struct store_submit *r)
{
	MUST(r->msg != NULL);
	r->mail.kind = KIND_SUBMIT;
	post(s, &r->mail, false);
}

void
store_result(struct store *s, struct store_result *r)
{
	/* I4, before anything else: nobody may take a recipient out without saying how. */
	for (size_t i = 0; i < r->n; i++)
		MUST(r->changes[i].what != CHANGE_DONE || r->changes[i].evidence != NULL);
	for (size_t i = 0; i < r->nnotices; i++)
		MUST(r->notices[i].msg != NULL);
	r->mail.kind = KIND_RESULT;
	post(s, &r->mail, false);
}

void
store_content(struct store *s, struct store_content *r)
{
	r->mail.kind = KIND_CONTENT;
	r->data = NULL;
	r->n = 0;
	post(s, &r->mail, true);
}

void
store_sts(struct store *s, struct store_sts *r)
{
	r->mail.kind = KIND_STS;
	r->rows = NULL;
	r->n = 0;
	post(s, &r->mail, true);
}

void
store_kv(struct store *s, struct store_kv *r)
{
	r->mail.kind = KIND_KV;
	post(s, &r->mail, r->verb == STORE_KV_GET);
}

void
store_offers(struct store *s, struct store_offers *r)
{
	r->mail.kind = KIND_OFFERS;
	r->rows = NULL;
	r->n = 0;
	post(s, &r->mail, true);
}

void
store_settle(struct store *s, struct store_settle *r)
{
	r->mail.kind = KIND_SETTLE;
	post(s, &r->mail, false);
}

void
store_query(struct store *s, struct store_query *q)
{
	q->mail.kind = KIND_QUERY;
	q->json = NULL;
	post(s, &q->mail, true);
}

/* ---- What is known now ---- */

enum store_status
store_may_accept(const struct store *s, uint64_t bytes)
{
	const struct counters *n = &s->n;

	if (atomic_load(&s->closed) || atomic_load(&n->bad))
		return STORE_IO;
	if (atomic_load(&n->full) || (bytes < INT64_MAX / 2 ? (int64_t)bytes : INT64_MAX / 2) >
	    atomic_load(&n->headroom))
		return STORE_FULL;
	if (s->max_messages != 0 && atomic_load(&n->messages) >= s->max_messages)
		return STORE_FULL;
	if (s->max_bytes != 0 && (bytes > s->max_bytes ||
	    atomic_load(&n->bytes) > s->max_bytes - bytes))
		return STORE_FULL;
	return STORE_OK;
}

uint32_t
store_shard_hash(const char *route, const char *next_hop)
{
	size_t nroute = route == NULL ? 0 : strlen(route);
	size_t nhop = next_hop == NULL ? 0 : strlen(next_hop);
	char small[512], *key = nroute + nhop + 1 <= sizeof small ? small : xmalloc(nroute + nhop + 1);
	uint64_t h;

	if (nroute > 0)
		memcpy(key, route, nroute);
	key[nroute] = '|';
	for (size_t i = 0; i < nhop; i++)
		key[nroute + 1 + i] = (char)(next_hop[i] >= 'A' && next_hop[i] <= 'Z' ?
		    next_hop[i] + 32 : next_hop[i]);
	h = hash64(key, nroute + nhop + 1);
	if (key != small)
		free(key);
	/* FNV's low bits alone are poor for short keys that differ in one letter. */
	return (uint32_t)(h ^ h >> 32) & 0x7FFFFFFF;
}

unsigned
store_shard(const char *route, const char *next_hop, unsigned workers)
{
	return store_shard_hash(route, next_hop) % workers;
}

void
store_stats(const struct store *s, struct store_stats *out)
{
	const struct counters *n = &s->n;

	out->posts = atomic_load(&n->posts);
	out->commits = atomic_load(&n->commits);
	out->submits = atomic_load(&n->submits);
	out->results = atomic_load(&n->results);
	out->bytes_in = atomic_load(&n->bytes_in);
	out->due_handed = atomic_load(&n->due_handed);
	out->last_commit_us = atomic_load(&n->last_commit_us);
	out->longest_commit_us = atomic_load(&n->longest_commit_us);
	out->messages = atomic_load(&n->messages);
	out->recipients = atomic_load(&n->recipients);
	out->active = atomic_load(&n->active);
	out->held = atomic_load(&n->held);
}

uint64_t
store_epoch(const struct store *s)
{
	return atomic_load(&s->epoch);
}

/* ---- The thread ---- */

static void
take(struct store *s, struct mail *m)
{
	switch (m->kind) {
	case KIND_SUBMIT:
		mails_push(&s->arrivals, m);
		break;
	case KIND_RESULT:
		if (s->results.n == 0)
			s->results_since = clock_mono_ms();
		s->nurgent += ((struct store_result *)m)->urgent;
		mails_push(&s->results, m);
		break;
	case KIND_KV:
		mails_push(&s->kvs, m);
		break;
	case KIND_JOB:
		mails_push(&s->jobs, m);
		break;
	case KIND_SETTLE:
		mails_push(&s->settlers, m);
		break;
	case KIND_STOP:
		s->closing = true;
		break;
	default:
		MUST(false);
	}
}

/* Nothing can be written: arrivals and administrators hear so at once, results are kept for later. */
static void
refuse_arrivals(struct store *s)
{
	struct mail *m;

	while ((m = mails_shift(&s->arrivals)) != NULL || (m = mails_shift(&s->kvs)) != NULL)
		store_answer(s, m, STORE_IO, "the queue's disk failed");
	while ((m = mails_shift(&s->jobs)) != NULL)
		admin_answer(s, (struct admin_job *)m, STORE_IO, "the queue's disk failed");
	if (s->job != NULL)
		admin_answer(s, s->job, STORE_IO, "the queue's disk failed; part of this may have been done");
	s->job = NULL;
}

static void
tick(struct store *s, int64_t mono)
{
	bool is_idle;

	s->next_tick = mono + s->tick_ms;
	atomic_store(&s->n.headroom, room_headroom(s));
	if (atomic_load(&s->n.full) && mono >= s->full_until) {
		atomic_store(&s->n.full, false);
		log_info("queue tries to accept mail again");
	}
	if (atomic_load(&s->n.headroom) > 32 << 20 && !atomic_load(&s->n.full))
		files_reserve_make(s->path);
	if (!s->latched && !store_file_is_ours(s))
		store_latch(s, "the queue file was removed or replaced while the daemon runs");
	if (s->checkpoint_pages > room_log_limit(s))
		s->checkpoint_pages = room_log_limit(s);
	/* Nobody waits for anything: the best moment to fold the log into the database. */
	is_idle = !s->worked;
	if (!s->latched && (evidence_wants_upkeep(s, mono) || kv_wants_sweep(s, mono)))
		group_upkeep(s);
	if (!s->latched && is_idle)
		group_checkpoint(s);
	s->worked = false;
}

static int64_t
earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int
sleep_ms(const struct store *s, int64_t mono)
{
	int64_t at = s->next_tick, wall = clock_wall_ms(), due = s->hold_earliest;

	if (s->closing || group_is_ready(s, mono))
		return 0;
	if (s->latched) {
		at = earlier(at, s->retry_latch_at);
	} else {
		if (s->results.n > 0)
			at = earlier(at, s->results_since + s->yield_ms > s->retry_at ?
			    s->results_since + s->yield_ms : s->retry_at);
		for (unsigned w = 0; w < s->workers; w++)
			if (s->lanes[w].active < s->max_active)
				due = earlier(due, s->lanes[w].earliest);
		if (due - wall > 0 && due - wall < s->tick_ms)
			at = earlier(at, mono + (due - wall));
	}
	return at <= mono ? 0 : at - mono > s->tick_ms ? (int)s->tick_ms : (int)(at - mono);
}

/* The reader has the last word: what it was asked before is answered before. */
static void
settle(struct store *s, int64_t mono)
{
	int64_t next = s->hold_earliest;
	struct mail *m;

	if (s->settlers.n == 0 || (!s->latched && (s->results.n > 0 || group_is_ready(s, mono))))
		return;
	for (unsigned w = 0; w < s->workers; w++)
		if (s->lanes[w].active < s->max_active)
			next = earlier(next, s->lanes[w].earliest);
	while ((m = mails_shift(&s->settlers)) != NULL) {
		((struct store_settle *)m)->next_ms = next;
		reader_post(s->reader, m);
	}
}

/* At the end: what can still be written is, the rest is told so. */
static void
finish(struct store *s)
{
	struct mail *m;

	for (int i = 0; i < 3 && s->latched; i++)
		store_try_unlatch(s);
	for (int i = 0; i < 1000000 && !s->latched; i++) {
		size_t before = s->results.n;

		if (s->arrivals.n + s->kvs.n + s->results.n + s->jobs.n == 0 && s->job == NULL)
			break;
		s->retry_at = 0;
		group_run(s);
		if (s->results.n == before && s->arrivals.n + s->kvs.n + s->jobs.n == 0 && s->job == NULL)
			break;		/* the disk is full even for results */
	}
	refuse_arrivals(s);
	while ((m = mails_shift(&s->settlers)) != NULL)
		store_answer(s, m, STORE_CLOSED, NULL);
	while ((m = mails_shift(&s->doubt.results)) != NULL)
		store_answer(s, m, STORE_IO, "the queue's disk failed");
	while ((m = mails_shift(&s->results)) != NULL)
		store_answer(s, m, STORE_IO, "the queue's disk failed or is full");
}

void *
store_main(void *arg)
{
	struct store *s = arg;
	struct mail *m, *next;
	int64_t mono;

	while (!s->closing) {
		m = mailbox_wait(s->mb, sleep_ms(s, clock_mono_ms()));
		for (; m != NULL; m = next) {
			next = m->next;
			take(s, m);
		}
		mono = clock_mono_ms();
		if (mono >= s->next_tick)
			tick(s, mono);
		if (s->latched) {
			refuse_arrivals(s);
			if (mono >= s->retry_latch_at)
				store_try_unlatch(s);
		}
		/* Each time, or what a jump made due would be handed out before the next tick sees it. */
		if (!s->latched)
			store_clock_tick(s);
		if (group_is_ready(s, mono))
			group_run(s);
		settle(s, mono);
	}
	finish(s);
	return NULL;
}
