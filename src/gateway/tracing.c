/* Records of handlers on their way out of a worker: those to keep go to the store, some at a time and never more
 * than a few requests at once; those that somebody watches go to the main thread, and what it has not taken yet
 * is bounded. What does not fit is counted and left out: mail never waits for any of this. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/gateway_int.h"
#include "policy/trace.h"

#define BATCH 200
#define BATCHES_MAX 8		/* not yet answered by the store */
#define FLUSH_MS 200
#define LIVE_MAX 1000		/* of all workers, on their way to the main thread */

static atomic_uint live_under_way;
static atomic_ullong live_left_out;

struct tracing {
	struct worker *w;
	struct event *timer;
	struct store_trace *rows;
	size_t n;
	unsigned under_way;
	uint64_t left_out;
	bool watched;
	struct trace_filter filter;
};

/* ---- To the store ---- */

static void
stored(void *reader, struct mail *m)
{
	struct store_result *r = (struct store_result *)m;
	struct worker *w = reader;

	if (w->tracing != NULL) {
		w->tracing->under_way--;
		if (r->status != STORE_OK)
			w->tracing->left_out += r->ntraces;
	}
	store_result_free(r);
}

static void
flush(struct tracing *t)
{
	struct store_result *r;

	if (t->n == 0)
		return;
	r = xcalloc(1, sizeof *r);
	r->mail.run = stored;
	r->mail.reply_to = t->w->mb;
	r->traces = t->rows;
	r->ntraces = t->n;
	t->rows = NULL;
	t->n = 0;
	t->under_way++;
	evtimer_del(t->timer);
	store_result(t->w->store, r);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	flush(arg);
}

static void
keep(void *owner, const struct trace_rec *rec)
{
	static const struct timeval soon = { 0, FLUSH_MS * 1000 };
	struct tracing *t = owner;
	struct store_trace *row;
	json_t *o;

	if (t->under_way >= BATCHES_MAX) {
		if (t->left_out++ == 0)
			log_warn("records of handlers are left out: the queue's disk is busy", LOG_U("worker", t->w->index));
		return;
	}
	if (t->rows == NULL)
		t->rows = xcalloc(BATCH, sizeof *t->rows);
	row = &t->rows[t->n++];
	o = trace_json(rec, t->w->index);
	*row = (struct store_trace){ .at_ms = rec->at_ms, .message = rec->message, .session = rec->session,
		.hook = policy_hook_name(rec->hook), .domain = xstrdup(rec->domain),
		.text = json_dumps(o, JSON_COMPACT) };
	json_decref(o);
	if (t->n == 1)
		evtimer_add(t->timer, &soon);
	if (t->n == BATCH)
		flush(t);
}

/* ---- To whom it may interest ---- */

static void
live(void *owner, const struct trace_rec *rec)
{
	struct tracing *t = owner;
	struct trace_mail *m;

	if (!trace_filter_fits(&t->filter, rec->ip, rec->domain, rec->handler))
		return;
	if (atomic_fetch_add(&live_under_way, 1) >= LIVE_MAX) {
		atomic_fetch_sub(&live_under_way, 1);
		atomic_fetch_add(&live_left_out, 1);
		return;
	}
	m = xcalloc(1, sizeof *m);
	m->mail.run = trace_arrived;
	m->record = trace_json(rec, t->w->index);
	mailbox_post(t->w->main_mb, &m->mail);
}

uint64_t
trace_mail_free(struct trace_mail *m)
{
	json_decref(m->record);
	free(m);
	atomic_fetch_sub(&live_under_way, 1);
	return atomic_exchange(&live_left_out, 0);
}

/* ---- Life ---- */

static const struct trace_ops ops = { keep, live };

void
tracing_use(struct worker *w, const struct conf *c)
{
	struct trace_conf tc = { .ring = c->trace.ring, .sample = c->trace.keep_ms > 0 ? c->trace.sample : 0,
		.keep = c->trace.keep_ms > 0 };

	if (w->edges != NULL)
		return;		/* a rehearsal looks at records in its own way */
	if (w->tracing == NULL) {
		w->tracing = xcalloc(1, sizeof *w->tracing);
		w->tracing->w = w;
		w->tracing->timer = evtimer_new(w->base, on_timer, w->tracing);
		MUST(w->tracing->timer != NULL);
	}
	policy_trace_use(w->policy, &tc, &ops, w->tracing);
}

void
tracing_watch(struct worker *w, bool on, const struct trace_filter *f)
{
	if (w->tracing == NULL)
		return;
	w->tracing->filter = *f;
	policy_trace_watch(w->policy, on);
}

void
tracing_flush(struct worker *w)
{
	if (w->tracing != NULL)
		flush(w->tracing);
}

static void
add_record(void *arg, const struct trace_rec *t)
{
	struct { json_t *list; unsigned worker; } *to = arg;

	if (json_array_size(to->list) < 2000)
		json_array_append_new(to->list, trace_json(t, to->worker));
}

json_t *
tracing_records(struct worker *w, uint64_t id)
{
	struct { json_t *list; unsigned worker; } to = { json_array(), w->index };

	if (w->policy != NULL)
		policy_trace_each(w->policy, id, add_record, &to);
	return to.list;
}

void
tracing_free(struct worker *w)
{
	struct tracing *t = w->tracing;

	if (t == NULL)
		return;
	w->tracing = NULL;
	for (size_t i = 0; i < t->n; i++) {
		free(t->rows[i].domain);
		free(t->rows[i].text);
	}
	free(t->rows);
	event_free(t->timer);
	free(t);
}
