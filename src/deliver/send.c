/* The transaction itself: content, the last check before MAIL (I2), and what the replies mean for
 * each recipient. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_int.h"

#define RCPTS_MAX 100	/* a transaction: what every server must take (M-09) */

/* ---- Content ---- */

struct fetch {
	struct store_content req;
	struct deliver *d;
	uint64_t attempt;
	enum { FOR_HEADER, FOR_PEER, FOR_SIGNATURE } what;
	uint64_t no;		/* attempt.fetch_no when it was sent */
};

struct slice
send_header(const struct attempt *a)
{
	size_t n = (size_t)a->msg->header_size;

	if (a->content != NULL && a->content->mem != NULL)
		return (struct slice){ a->content->mem, n };
	if (a->chunk != NULL && n <= a->chunk_n)
		return (struct slice){ a->chunk, n };
	return (struct slice){ NULL, 0 };
}

static void
take_first_chunk(struct attempt *a, struct store_content *req)
{
	if (req->n >= a->msg->content_size) {	/* that is all of it */
		a->content = content_from_memory(req->data, req->n, (size_t)a->msg->header_size);
		req->data = NULL;
		return;
	}
	a->chunk = req->data;
	a->chunk_n = req->n;
	req->data = NULL;
}

static void
feed(struct attempt *a, const struct store_content *req)
{
	if (a->conn == NULL || !a->sending)
		return;
	if (req->status != STORE_OK)
		log_error("content could not be read", LOG_ID("message", a->msg->id));
	smtp_client_feed(a->conn->client, req->data, req->status == STORE_OK ? req->n : 0);
}

static void
fetched(void *reader, struct mail *m)
{
	struct fetch *f = (struct fetch *)m;
	struct attempt *a = deliver_release(f->d) ? slots_get(&f->d->attempt_ids, f->attempt) : NULL;
	uint64_t before = work_begin(f->req.message);

	if (a != NULL && f->no != a->fetch_no)
		a = NULL;	/* for a connection that is gone */
	if (a != NULL && f->what == FOR_PEER) {
		feed(a, &f->req);
	} else if (a != NULL && f->what == FOR_SIGNATURE) {
		sign_feed(a, &f->req);
	} else if (a != NULL) {
		bool ok = f->req.status == STORE_OK && f->req.n > 0;

		if (ok)
			take_first_chunk(a, &f->req);
		a->fetched(a, ok && send_header(a).p != NULL);
	}
	work_end(before);
	free(f->req.data);
	free(f);
}

static void
fetch(struct attempt *a, uint64_t offset, int what)
{
	struct fetch *f = xcalloc(1, sizeof *f);

	f->d = a->d;
	f->attempt = a->id;
	f->what = what;
	f->no = ++a->fetch_no;
	f->req.mail.run = fetched;
	f->req.mail.reply_to = a->d->env.mb;
	f->req.message = a->msg->id;
	f->req.offset = offset;
	deliver_hold(a->d);
	store_content(a->d->env.store, &f->req);
}

void
send_fetch(struct attempt *a, void (*then)(struct attempt *a, bool ok))
{
	if (a->content == NULL && a->chunk == NULL && a->msg->content != NULL &&
	    a->msg->content->mem != NULL)
		a->content = content_ref(a->msg->content);
	if (a->content != NULL || a->chunk != NULL) {
		then(a, true);
		return;
	}
	a->fetched = then;
	fetch(a, 0, FOR_HEADER);
}

void
send_fetch_to_sign(struct attempt *a, uint64_t offset)
{
	fetch(a, offset, FOR_SIGNATURE);
}

/* Offsets are those of the stored content. The first chunk is at hand; the rest comes from the
 * store, a chunk at a time. */
static void
need_body(void *owner, uint64_t offset)
{
	struct conn *c = owner;
	struct attempt *a = c->attempt;
	uint64_t at = a->msg->header_size + offset, chunk_at = at / STORE_CHUNK * STORE_CHUNK;

	if (a->chunk != NULL && at < a->chunk_n) {
		smtp_client_feed(c->client, a->chunk + at, (size_t)(a->chunk_n - at));
		return;
	}
	MUST(at == chunk_at);	/* after the first, chunks are asked for and fed whole */
	fetch(a, at, FOR_PEER);
}

/* ---- The check that matters ---- */

static bool
may_send(void *owner, const struct smtp_client_info *info)
{
	struct conn *c = owner;
	struct attempt *a = c->attempt;
	struct trust_need need;
	struct trust_verdict v;

	/* Nothing goes out while a hook or an audit row is waited for. */
	if (a == NULL || a->auditing || a->ticket != 0)
		return false;
	a->outdated = a->item->epoch != store_epoch(a->d->env.store);
	if (a->outdated)
		return false;
	conn_facts(c, info, &a->facts);
	attempt_need(a, &need);
	trust_decide(&need, &a->facts, &v);
	a->verdict = v;
	a->refused = v.action != TRUST_SEND || v.with_requiretls != a->txn.with_requiretls;
	if (!a->refused && !login_is_as(c, a->prep->route)) {
		a->verdict.action = TRUST_SKIP_TEMP;
		a->verdict.reason = TRUST_NO_AUTH;
		snprintf(a->verdict.status, sizeof a->verdict.status, "4.7.8");
		a->refused = true;
	}
	return !a->refused;
}

/* ---- Beginning ---- */

/* Does the header end in its empty line? If not, header_render puts one there, so that a body
 * which began without a header does not become part of the trace. */
static bool
is_closed(struct slice header)
{
	return (header.n == 2 && memcmp(header.p, "\r\n", 2) == 0) ||
	    (header.n >= 4 && memcmp(header.p + header.n - 4, "\r\n\r\n", 4) == 0);
}

static bool
make_head(struct attempt *a)
{
	struct slice header = send_header(a);
	size_t trace_n = a->msg->trace == NULL ? 0 : strlen(a->msg->trace), n = header.n;
	char *edited = NULL;

	if (a->msg->nedits > 0 || !is_closed(header)) {
		edited = header_render(a->msg, header, &n);
		if (edited == NULL)
			return false;
	}
	a->head = xmalloc(trace_n + n + 1);
	if (trace_n > 0)
		memcpy(a->head, a->msg->trace, trace_n);
	if (n > 0)
		memcpy(a->head + trace_n, edited != NULL ? edited : header.p, n);
	a->head_n = trace_n + n;
	free(edited);
	return true;
}

static void
choose_recipients(struct attempt *a, unsigned limit)
{
	struct item *it = a->item;

	if (limit == 0 || limit > RCPTS_MAX)
		limit = RCPTS_MAX;
	a->rcpt_index = xcalloc(it->n, sizeof *a->rcpt_index);
	a->rcpt_item = xcalloc(it->n, sizeof *a->rcpt_item);
	a->nsend = 0;
	for (size_t i = 0; i < it->n && a->nsend < limit; i++) {
		if (it->rcpts[i].out.kind != OUT_NONE || it->rcpts[i].withdrawn)
			continue;
		a->rcpt_index[a->nsend] = it->rcpts[i].idx;
		a->rcpt_item[a->nsend++] = (uint32_t)i;
	}
}

static bool
address_needs_utf8(const struct msg *m, const uint32_t *idx, size_t n)
{
	if (!ascii_is_printable(m->from, strlen(m->from)))
		return true;
	for (size_t i = 0; i < n; i++)
		if (!ascii_is_printable(m->rcpts[idx[i]].address, strlen(m->rcpts[idx[i]].address)))
			return true;
	return false;
}

/* D3: a notice about tagged mail that has no better way than clear text goes without what it
 * returns of the original. */
static void
reduce_notice(struct attempt *a, const struct smtp_client_info *info)
{
	struct content *less;

	if (!a->verdict.unprotected || !(a->msg->flags & MSG_NOTICE) || info->tls != NULL ||
	    a->content == NULL)
		return;
	less = dsn_reduce(a->content);
	if (less == NULL)
		return;
	content_unref(a->content);
	a->content = less;
}

/* F-6: this message waits and is told of; others go on. */
static void
put_off(struct attempt *a, const char *status, const char *stage, const char *reason, const char *text)
{
	if (a->conn != NULL) {
		struct conn *c = a->conn;

		a->conn = NULL;
		conn_give_back(c);
	}
	attempt_all(a, OUT_DEFERRED, 0, status, stage, reason, text);
	attempt_end(a);
}

static void
signed_or_not(struct attempt *a, bool ok)
{
	const struct smtp_client_info *info;

	if (!ok) {
		put_off(a, "4.7.5", "policy", "not-signed", "the message could not be signed with DKIM");
		return;
	}
	MUST(a->conn != NULL);		/* attempt_lost makes late answers void */
	info = smtp_client_get_info(a->conn->client);
	reduce_notice(a, info);
	choose_recipients(a, info->rcpt_max);
	a->txn = (struct smtp_txn){
		.msg = a->msg, .rcpt_index = a->rcpt_index, .nrcpts = a->nsend,
		.with_requiretls = a->verdict.with_requiretls, .may_send = may_send,
		.header = { a->head, a->head_n }, .content = a->content,
		.body_size = (a->content != NULL ? a->content->size : a->msg->content_size) - a->msg->header_size,
		.need_body = need_body,
		.is_8bit = (a->msg->flags & MSG_HAS_8BIT) != 0,
		.needs_utf8 = (a->msg->flags & MSG_UTF8_HEADER) != 0 ||
		    address_needs_utf8(a->msg, a->rcpt_index, a->nsend),
		.no_bdat = a->dest->no_bdat,
	};
	a->sending = true;
	a->refused = a->outdated = false;
	hop_record_free(a->record);
	a->record = hop_record_new(a->conn, info, &a->facts, &a->verdict);
	smtp_client_send(a->conn->client, &a->txn);
}

static void
with_content(struct attempt *a, bool ok)
{
	if (!ok || !make_head(a)) {
		log_error("content could not be read", LOG_ID("message", a->msg->id));
		put_off(a, "4.3.0", "queue", "content-unreadable", "the stored message could not be read");
	} else if (sign_is_wanted(a->msg)) {
		sign_start(a, signed_or_not);
	} else {
		signed_or_not(a, true);
	}
}

void
send_start(struct attempt *a)
{
	send_fini(a);
	send_fetch(a, with_content);
}

void
send_fini(struct attempt *a)
{
	sign_fini(a);
	free(a->head);
	free(a->rcpt_index);
	free(a->rcpt_item);
	a->fetch_no++;
	a->head = NULL;
	a->rcpt_index = a->rcpt_item = NULL;
	a->sending = false;
	content_unref(a->content);
	a->content = NULL;
	free(a->chunk);
	a->chunk = NULL;
	a->chunk_n = 0;
}

/* ---- The end ---- */

static void
one(struct attempt *a, size_t k, enum outcome_kind kind, int code, const char *status,
    const char *stage, const char *reply)
{
	struct outcome *o = &a->item->rcpts[a->rcpt_item[k]].out;

	outcome_set(o, kind, code, status, stage, kind == OUT_DELIVERED ? "delivered" : "remote-reply", NULL);
	o->reply = xstrdup(reply);
}

static enum outcome_kind
kind_of(int code)
{
	return code >= 500 ? OUT_FAILED : OUT_DEFERRED;
}

/* Recipients that the server answered for themselves. */
static size_t
take_rcpt_replies(struct attempt *a, const struct smtp_txn_result *r)
{
	size_t good = 0;

	for (size_t k = 0; k < a->nsend && k < r->nrcpts; k++) {
		const struct smtp_rcpt_result *rr = &r->rcpts[k];

		if (rr->code >= 200 && rr->code < 300)
			good++;
	}
	for (size_t k = 0; k < a->nsend && k < r->nrcpts; k++) {
		const struct smtp_rcpt_result *rr = &r->rcpts[k];

		if (rr->code < 400)
			continue;
		one(a, k, kind_of(rr->code), rr->code, rr->status, "rcpt", rr->text);
		/* Too many recipients: the rest at once, in a transaction of its own (M-11). */
		if (good > 0 && (rr->code == 452 || rr->code == 552) &&
		    (strcmp(rr->status, "4.5.3") == 0 || rr->status[0] == '\0' ||
		     strcmp(rr->status, "5.5.3") == 0)) {
			struct outcome *o = &a->item->rcpts[a->rcpt_item[k]].out;

			o->kind = OUT_DEFERRED;
			o->uncounted = true;
			o->after_ms = 0;
		}
	}
	return good;
}

static void
take_final(struct attempt *a, const struct smtp_txn_result *r)
{
	const char *stage = r->stage == SMTP_AT_MAIL ? "mail" : r->stage == SMTP_AT_RCPT ? "rcpt" : "data";

	if (r->accepted)
		failpoint("deliver-after-250");
	for (size_t k = 0; k < a->nsend; k++) {
		struct outcome *o = &a->item->rcpts[a->rcpt_item[k]].out;

		if (o->kind != OUT_NONE)
			continue;
		if (r->accepted) {
			one(a, k, OUT_DELIVERED, r->code, r->status, stage, r->text);
			o->relayed = !r->dsn_relayed &&
			    (a->msg->rcpts[a->rcpt_index[k]].notify & NOTIFY_SUCCESS) != 0;
		} else if (r->unknown) {
			/* Nobody knows whether it was taken: once more rather than never (rule 6). */
			char *text = xasprintf("no final reply that counts: %s", r->text != NULL ? r->text : "none came");

			outcome_set(o, OUT_DEFERRED, 0, "4.4.2", stage, "unknown-outcome", text);
			free(text);
		} else if (r->code >= 400) {
			one(a, k, kind_of(r->code), r->code, r->status, stage, r->text);
		}
	}
}

/* Refused here and now, without a word on the wire: 8-bit, SMTPUTF8, SIZE. */
static bool
is_local_refusal(const struct smtp_txn_result *r)
{
	return r->code == 0 && r->stage == SMTP_AT_MAIL && r->status[0] == '5';
}

static void
count_delivery(struct attempt *a, const struct smtp_txn_result *r)
{
	struct deliver_stats *st = &a->d->stats;

	a->record->requiretls_sent = r->requiretls_sent;
	st->with_requiretls += r->requiretls_sent;
	if (a->facts.stage != HOP_TLS)
		st->in_clear++;
	else if (a->facts.verified != PEER_UNVERIFIED)
		st->over_verified_tls++;
	else
		st->over_tls++;
}

/* Recipients beyond this transaction's limit become an item of their own, next in line, so that
 * those which were delivered can be recorded now (spec security.md rule 5). */
static void
split_rest(struct attempt *a)
{
	struct item *it = a->item, *rest = xcalloc(1, sizeof *rest);
	size_t kept = 0;

	rest->d = it->d;
	rest->dest = it->dest;
	rest->msg = msg_ref(it->msg);
	rest->duties = it->duties;
	rest->epoch = it->epoch;
	rest->rcpts = xcalloc(it->n, sizeof *rest->rcpts);
	for (size_t i = 0; i < it->n; i++) {
		if (it->rcpts[i].out.kind == OUT_NONE && !it->rcpts[i].withdrawn)
			rest->rcpts[rest->n++] = it->rcpts[i];
		else
			it->rcpts[kept++] = it->rcpts[i];
	}
	it->n = kept;
	if (rest->n == 0) {
		item_free(rest);
		return;
	}
	dest_put_back(a->dest, rest);
}

/* The connection is not this message's any more; `ready` or `ended` follows and finds it idle. What
 * attempt_skip asks or audits must not find it ready to send. */
static void
let_go(struct attempt *a)
{
	a->conn->attempt = NULL;
	a->conn = NULL;
}

static bool
all_answered(const struct attempt *a)
{
	for (size_t k = 0; k < a->nsend; k++) {
		const struct item_rcpt *r = &a->item->rcpts[a->rcpt_item[k]];

		if (r->out.kind == OUT_NONE && !r->withdrawn)
			return false;
	}
	return true;
}

/* Nothing of this transaction counts: on with whoever is left. */
static void
next_host(struct attempt *a, const struct trust_verdict *v)
{
	let_go(a);
	if (attempt_withdraw_recalled(a))
		attempt_end(a);
	else
		attempt_skip(a, v);
}

/* An administrator changed what some worker had in hand, perhaps this: it comes again at once, as the table
 * says it is. What the table has moved on already is left where it is (store: change). */
static void
give_back(struct attempt *a)
{
	let_go(a);
	attempt_withdraw_recalled(a);
	for (size_t i = 0; i < a->item->n; i++) {
		struct item_rcpt *r = &a->item->rcpts[i];

		if (r->out.kind != OUT_NONE || r->withdrawn)
			continue;
		outcome_set(&r->out, OUT_DEFERRED, 0, "4.3.0", "queue", "queue-changed",
		    "the queue was changed by hand meanwhile");
		r->out.uncounted = true;
		r->out.after_ms = 0;
	}
	attempt_end(a);
}

void
send_done(struct attempt *a, const struct smtp_txn_result *r)
{
	struct trust_verdict v;
	struct conn *c = a->conn;
	bool undecided = false;

	a->sending = false;
	if (a->outdated) {
		give_back(a);
		return;
	}
	if (a->refused) {		/* may_send said no on the live connection */
		v = a->verdict;
		next_host(a, &v);
		return;
	}
	if (r->parameter_refused) {	/* row 49: next host, never again without it */
		v = a->verdict;
		v.action = TRUST_SKIP;
		v.reason = TRUST_PARAMETER_REFUSED;
		v.row = 49;
		v.unmet = DUTY_PROPAGATE;
		snprintf(v.status, sizeof v.status, "5.7.30");
		next_host(a, &v);
		return;
	}
	take_rcpt_replies(a, r);
	if (r->bdat_refused && !a->dest->no_bdat) {	/* */
		a->dest->no_bdat = true;
		let_go(a);
		attempt_withdraw_recalled(a);
		if (!all_answered(a)) {
			attempt_reconnect(a);
			return;
		}
		split_rest(a);
		attempt_end(a);
		return;
	}
	if (is_local_refusal(r))
		attempt_all(a, OUT_FAILED, 0, r->status, "mail", "not-possible", r->text);
	else
		take_final(a, r);
	if (r->accepted)
		count_delivery(a, r);
	attempt_withdraw_recalled(a);
	undecided = !all_answered(a);
	if (undecided) {		/* the connection went before a reply came: next host */
		a->lost_stage = r->stage == SMTP_AT_MAIL ? "mail" : r->stage == SMTP_AT_RCPT ? "rcpt" : "data";
		a->lost_by_nonsense = r->broke_protocol;
		free(a->last_text);
		a->last_text = xstrdup(r->text);
		a->conn = NULL;
		c->attempt = NULL;	/* its `ended` follows and frees it */
		if (a->reused) {
			attempt_reconnect(a);
			return;
		}
		v = a->verdict;
		v.action = TRUST_SKIP_TEMP;
		v.reason = r->broke_protocol ? TRUST_PROTOCOL : TRUST_UNREACHABLE;
		v.unmet = 0;
		snprintf(v.status, sizeof v.status, r->broke_protocol ? "4.5.0" : "4.4.2");
		attempt_skip(a, &v);
		return;
	}
	a->conn = NULL;
	c->attempt = NULL;		/* `ready` or `ended` follows */
	if (r->accepted)
		dest_succeeded(a->dest);
	split_rest(a);
	attempt_end(a);
}
