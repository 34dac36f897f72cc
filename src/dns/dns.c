/* Queries over libunbound on the worker's event base.
 *
 * libunbound calls back from deep inside its own machine, and at once when the answer is cached.
 * So its callback only takes a copy of the answer; owners are called from an event of our own, on
 * the next turn, with nothing of libunbound on the stack. They may ask, cancel and free there. */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unbound.h>
#include <unbound-event.h>

#include "dns/dns_int.h"

#define DEFAULT_TIMEOUT_MS 30000

struct query {
	uint64_t id;
	struct dns *d;
	struct context *ctx;	/* where it was asked; NULL: nowhere */
	dns_cb *cb;		/* NULL: nobody waits any more */
	void *owner;
	int async_id;		/* libunbound's */
	bool in_ub;		/* its callback is still to come */
	bool is_ready;
	struct query *next;	/* in d->ready */
	struct event *timer;
	enum dns_status status;
	int sec;
	uint8_t *pkt;		/* copy of the answer, NULL when the status says it all */
	size_t pkt_n;
	char *why;
	uint16_t type;
	char name[256];
};

const char *
dns_status_name(enum dns_status s)
{
	static const char *const names[] = { "ok", "nodata", "nxdomain", "servfail", "bogus", "timeout",
		"bad-name", "cancelled" };

	return (unsigned)s < NELEMS(names) ? names[s] : "?";
}

/* ---- Delivering answers ---- */

static void
query_free(struct query *q)
{
	if (q->timer != NULL)
		event_free(q->timer);
	free(q->pkt);
	free(q->why);
	free(q);
}

static void
unlink_ready(struct query *q)
{
	struct query **at = &q->d->ready;

	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	if (q->next == NULL)
		q->d->ready_end = at;
	q->is_ready = false;
}

static void
left_ub(struct query *q)
{
	q->in_ub = false;
	/* On a turn of its own: libunbound may be on the stack. */
	if (--q->ctx->pending == 0 && q->ctx != q->d->ctx)
		event_active(q->d->ready_ev, 0, 0);
}

/* Takes the query away from libunbound and out of all lists. Afterwards it can be freed, except
 * (false) when libunbound insists on calling back: then its callback frees it. */
static bool
query_detach(struct query *q)
{
	slots_del(&q->d->queries, q->id);
	if (q->timer != NULL)
		event_del(q->timer);
	if (q->is_ready)
		unlink_ready(q);
	q->cb = NULL;
	if (q->in_ub && ub_cancel(q->ctx->ub, q->async_id) == 0)
		left_ub(q);
	return !q->in_ub;
}

static void
answer_init(struct dns_answer *a, const struct query *q, struct dns_reply *r)
{
	memset(a, 0, sizeof *a);
	a->status = q->status;
	a->qname = a->canon = q->name;
	a->why = q->why;
	if (q->pkt == NULL)
		return;
	a->pkt = q->pkt;
	a->pkt_n = q->pkt_n;
	if (q->sec == 2 && q->d->is_distrusted) {
		a->status = DNS_BOGUS;
		a->why = q->d->distrust_why;
		return;
	}
	dns_reply_parse(r, q->pkt, q->pkt_n, q->type);
	a->status = r->status;
	if (dns_status_is_failure(r->status))
		return;
	/* Exactly libunbound's verdict; denials carry one too (D-05, D-14). */
	a->secure = q->sec == 2;
	a->ttl = r->ttl;
	if (r->canon[0] != '\0')
		a->canon = r->canon;
	a->rr = r->rr;
	a->n = r->n;
}

static void
query_deliver(struct query *q)
{
	struct dns_reply reply;
	struct dns_answer a;
	dns_cb *cb = q->cb;
	bool may_free;

	answer_init(&a, q, &reply);
	may_free = query_detach(q);
	if (cb != NULL)
		cb(q->owner, q->id, &a);
	if (may_free)
		query_free(q);
}

static void
reclaim(struct dns *d)
{
	struct context *x, *next;

	if (!d->closing || d->depth > 0)
		return;
	for (x = d->ctx; x != NULL; x = next) {
		next = x->older;
		dns_context_close(x);
	}
	if (d->ready_ev != NULL)
		event_free(d->ready_ev);
	slots_fini(&d->queries);
	slots_fini(&d->jobs);
	slots_fini(&d->tlsa_jobs);
	free(d->local);
	free(d);
}

static void
close_old(struct dns *d)
{
	struct context **at, *x;

	if (d->ctx == NULL)
		return;
	at = &d->ctx->older;
	while ((x = *at) != NULL) {
		if (x->pending > 0) {
			at = &x->older;
			continue;
		}
		*at = x->older;
		dns_context_close(x);
	}
}

static void
deliver_ready(evutil_socket_t fd, short what, void *arg)
{
	struct dns *d = arg;
	const struct query *q;
	size_t n = 0;

	/* Only as many as are there now: an owner that asks again from its callback, and is answered
	 * from the cache, waits for the next turn and lets others run. */
	for (q = d->ready; q != NULL; q = q->next)
		n++;
	d->depth++;
	for (; n > 0 && d->ready != NULL && !d->closing; n--)
		query_deliver(d->ready);
	if (d->ready != NULL && !d->closing)
		event_active(d->ready_ev, 0, 0);
	if (!d->closing)
		close_old(d);
	d->depth--;
	reclaim(d);
}

static void
query_ready(struct query *q)
{
	struct dns *d = q->d;

	if (d->ready == NULL)
		event_active(d->ready_ev, 0, 0);
	q->is_ready = true;
	q->next = NULL;
	*d->ready_end = q;
	d->ready_end = &q->next;
}

static void
timed_out(evutil_socket_t fd, short what, void *arg)
{
	struct query *q = arg;
	struct dns *d = q->d;

	if (!q->is_ready) {
		q->status = DNS_TIMEOUT;
		d->depth++;
		query_deliver(q);
		d->depth--;
		reclaim(d);
	}
}

/* libunbound's answer; `sec`: 0 insecure, 1 bogus, 2 secure. `rcode` is for answers that libunbound
 * did not get at all; what the servers said is in the packet. */
static void
answered(void *arg, int rcode, void *packet, int len, int sec, char *why_bogus, int was_ratelimited)
{
	struct query *q = arg;

	left_ub(q);
	if (q->cb == NULL) {	/* cancelled, and libunbound would not let go of it */
		query_free(q);
		return;
	}
	q->sec = sec;
	if (sec == 1) {
		q->status = DNS_BOGUS;
		q->why = xstrdup(why_bogus != NULL ? why_bogus : "validation failed");
	} else if (rcode != 0 || packet == NULL || len <= 0 || len > 65535) {
		q->status = DNS_SERVFAIL;
	} else {
		q->pkt_n = (size_t)len;
		q->pkt = xmalloc(q->pkt_n);
		memcpy(q->pkt, packet, q->pkt_n);
	}
	query_ready(q);
}

/* ---- Asking ---- */

static struct query *
query_new(struct dns *d, const char *name, dns_cb *cb, void *owner)
{
	struct query *q = xcalloc(1, sizeof *q);
	size_t n = strnlen(name, sizeof q->name - 1);

	q->d = d;
	q->cb = cb;
	q->owner = owner;
	q->id = slots_add(&d->queries, q);
	memcpy(q->name, name, n);
	return q;
}

uint64_t
dns_query_preset(struct dns *d, const char *name, enum dns_status status, dns_cb *cb, void *owner)
{
	struct query *q = query_new(d, name, cb, owner);

	q->status = status;
	query_ready(q);
	return q->id;
}

uint64_t
dns_query(struct dns *d, const char *name, uint16_t type, dns_cb *cb, void *owner)
{
	char plain[256];
	struct query *q;

	MUST(!d->closing);
	if (!dns_name_check(plain, name))
		return dns_query_preset(d, name, DNS_BAD_NAME, cb, owner);
	q = query_new(d, plain, cb, owner);
	q->type = type;
	if (d->fixture.look != NULL) {
		bool secure = false;

		q->status = d->fixture.look(d->fixture.owner, plain, type, &q->pkt, &q->pkt_n, &secure, &q->why);
		q->sec = secure ? 2 : 0;
		query_ready(q);
		return q->id;
	}
	q->in_ub = true;
	q->ctx = d->ctx;
	q->ctx->pending++;
	if (ub_resolve_event(q->ctx->ub, plain, type, 1, q, answered, &q->async_id) != 0) {
		left_ub(q);
		q->status = DNS_SERVFAIL;
		query_ready(q);
		return q->id;
	}
	if (!q->is_ready) {
		q->timer = event_new(d->base, -1, 0, timed_out, q);
		MUST(q->timer != NULL);
		event_add(q->timer, d->timeout);
	}
	return q->id;
}

void
dns_cancel(struct dns *d, uint64_t query)
{
	struct query *q = slots_get(&d->queries, query);

	if (q != NULL && query_detach(q))
		query_free(q);
}

/* ---- From beginning to end ---- */

struct dns *
dns_new(struct event_base *base, const struct dns_conf *conf, struct err *err)
{
	int64_t ms = conf->timeout_ms > 0 ? conf->timeout_ms : DEFAULT_TIMEOUT_MS;
	struct dns *d = xcalloc(1, sizeof *d);

	d->base = base;
	d->timeout_store = (struct timeval){ ms / 1000, ms % 1000 * 1000 };
	d->timeout = event_base_init_common_timeout(base, &d->timeout_store);
	if (d->timeout == NULL)
		d->timeout = &d->timeout_store;
	d->ready_end = &d->ready;
	slots_init(&d->queries);
	slots_init(&d->jobs);
	slots_init(&d->tlsa_jobs);
	d->ready_ev = event_new(base, -1, 0, deliver_ready, d);
	MUST(d->ready_ev != NULL);
	if (conf->fixture != NULL) {
		d->fixture = *conf->fixture;
		return d;
	}
	d->ctx = dns_context_open(base, conf, err);
	if (d->ctx == NULL) {
		dns_free(d);
		return NULL;
	}
	return d;
}

int
dns_reopen(struct dns *d, const struct dns_conf *conf, struct err *err)
{
	struct context *x = dns_context_open(d->base, conf, err);

	if (x == NULL)
		return -1;
	x->older = d->ctx;
	d->ctx = x;
	event_active(d->ready_ev, 0, 0);
	return 0;
}

void
dns_distrust(struct dns *d, const char *why)
{
	d->is_distrusted = why != NULL;
	snprintf(d->distrust_why, sizeof d->distrust_why, "%s", why == NULL ? "" : why);
}

static void
cancel_one(void *obj, void *arg)
{
	struct query *q = obj;

	free(q->pkt);
	q->pkt = NULL;
	q->status = DNS_CANCELLED;
	query_deliver(q);
}

void
dns_free(struct dns *d)
{
	if (d == NULL || d->closing)
		return;
	mx_end_all(d);		/* while queries can still be cancelled one by one */
	d->closing = true;
	d->depth++;
	slots_each(&d->queries, cancel_one, d);
	d->depth--;
	reclaim(d);
}
