/* The loop, the clock and the life of a world.
 *
 * Time: the clock is the fake one of src/base and stands still while things happen. Timers of libevent are
 * armed as always; before real time could bring them about they are looked up (look_at_timers), and time
 * moves on by making the next of them active (step). What the queue has due is told by store_settle. */
#include "config.h"

#include <event2/event.h>
#include <ftw.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/rand.h"
#include "data/pool.h"
#include "data/rate.h"
#include "gateway/gateway_int.h"
#include "policy/trace.h"
#include "rehearsal/world_int.h"
#include "web/web.h"

#define ROUNDS_MAX 100000
#define POOL_JOBS 1000
#define POOL_PATIENCE 50000		/* looks at files and databases that are being read */
#define GRAIN_MS 6			/* libevent's clock is a coarse one */
#define QUEUE_PATIENCE_MS (60 * 60000)
#define LOG_MAX (256u << 10)

struct timer {
	struct event *ev;
	struct timeval at;		/* as libevent has it: real time */
	int64_t due_ms;			/* of our clock, monotonic */
	bool is_there;
};
struct kept {				/* queued mail that is not to be delivered yet */
	struct kept *next;
	struct msg *msg;
	struct store_rcpt_state *states;
	bool *mine;
	uint64_t epoch;
};
struct world {
	char dir[64];
	struct setup *setup;
	struct gen_shared *shared;
	struct store *store;
	struct sessions_count *sessions;
	struct memory *memory;
	struct worker *worker;
	struct mailbox *answers;
	bool store_started;
	struct book *book;
	struct peer *peers;
	struct guest *guests;
	uint64_t reception_sid;
	struct reception *reception;
	struct dns_fixture dns;
	struct sts_fixture sts;
	struct policy_http_fixture http;
	struct policy_sql_fixture sql;
	struct pool *pool;
	struct node *node;
	struct worker_edges edges;
	struct net_stage stage;
	struct world_conf wc;

	int64_t mono_ms, wall_ms, due_ms;	/* due: wall, of the queue */
	struct timer *timers;
	size_t ntimers;
	bool releasing;
	struct kept *kept, **kept_end;
	struct msg **notices;
	size_t nnotices;
	struct seen *seen;
	size_t nseen;
	uint64_t tagged;		/* the message whose tags were looked at last ... */
	size_t ntags;			/* ... and how many it had */
	pthread_mutex_t log_lock;
	struct buf log;
};

/* ---- Small things ---- */

struct book *world_book(struct world *w) { return w->book; }
struct peer **world_peers(struct world *w) { return &w->peers; }
struct guest **world_guests(struct world *w) { return &w->guests; }
const struct conf *world_configuration(struct world *w) { return w->setup->conf; }
struct policy_gen *world_generation(struct world *w) { return w->worker->now->gen; }
struct policy *world_policy(struct world *w) { return w->worker->policy; }
struct worker *world_worker(struct world *w) { return w->worker; }
struct store *world_store(struct world *w) { return w->store; }
struct deliver *world_deliver(struct world *w) { return w->worker->deliver; }
int64_t world_now_ms(const struct world *w) { return w->wall_ms; }

struct reception *
world_reception(struct world *w, uint64_t sid)
{
	return w->reception_sid == sid && smtp_session_get_info(w->worker->smtp, sid) != NULL ? w->reception : NULL;
}

void
world_set_reception(struct world *w, uint64_t sid, struct reception *r)
{
	w->reception_sid = sid;
	w->reception = r;
}

/* Warnings, errors and what the policy itself says: what a test's author wants to see. Threads of the store
 * write here, too. */
static void
on_log(void *arg, const char *line)
{
	struct world *w = arg;

	if (strstr(line, " warn ") == NULL && strstr(line, " error ") == NULL && strstr(line, " policy says ") == NULL)
		return;
	pthread_mutex_lock(&w->log_lock);
	if (w->log.len > 0)
		w->log.len--;
	buf_printf(&w->log, "%s\n", line);
	buf_add(&w->log, "", 1);
	pthread_mutex_unlock(&w->log_lock);
}

const char *
world_log(const struct world *w)
{
	return w->log.len == 0 ? "" : buf_peek(&w->log);
}

/* ---- What handlers said ---- */

/* "secure,bulk": those that came since it was looked at last. */
static char *
new_tags(struct world *w, const struct msg *m)
{
	size_t from = m != NULL && w->tagged == m->id ? w->ntags : 0;
	struct buf b;

	if (m == NULL)
		return xstrdup("");
	buf_init(&b, 4000);
	for (size_t i = from; i < m->ntags; i++)
		buf_printf(&b, "%s%s", i == from ? "" : ",", m->tags[i]);
	w->tagged = m->id;
	w->ntags = m->ntags;
	return buf_take(&b);
}

static char *
one_line(const struct buf *b)
{
	char *text = xstrndup(buf_peek(b), b->len);

	for (char *p = text; *p != '\0'; p++)
		if (*p == '\n')
			*p = ' ';
	return text;
}

static void
on_seen(void *owner, const struct policy_seen *s)
{
	struct world *w = owner;
	char added[256] = "";
	struct seen *n;

	w->seen = xrealloc(w->seen, (w->nseen + 1) * sizeof *w->seen);
	n = &w->seen[w->nseen++];
	if (s->added != 0)
		duties_format(added, sizeof added, s->added);
	*n = (struct seen){ .hook = s->hook, .handler = xstrdup(s->handler), .where = xstrdup(s->where),
		.verdict = xstrdup(s->error != NULL ? "error" : s->v == NULL ? "nil" : verdict_kind_name(s->v->kind)),
		.error = xstrdup(s->error), .added = xstrdup(added), .level = s->level, .is_rule = s->is_rule,
		.message = s->s->msg == NULL ? 0 : s->s->msg->id, .at_ms = w->wall_ms,
		.instructions = s->instructions };
	n->tags = new_tags(w, s->s->msg);
	n->matched = s->trace == NULL || s->trace->matched.len == 0 ? NULL : one_line(&s->trace->matched);
	if (s->v != NULL) {
		n->route = s->v->route == NULL ? NULL : s->v->route->name[0] != '\0' ? xstrdup(s->v->route->name) :
		    route_to_json(s->v->route);
		n->reason = xstrdup(s->v->reason);
		n->status = xstrdup(s->v->status[0] == '\0' ? NULL : s->v->status);
		n->text = xstrdup(s->v->text);
	}
}

const struct seen *
world_seen(const struct world *w, size_t i)
{
	return i < w->nseen ? &w->seen[i] : NULL;
}

void
world_forget_seen(struct world *w)
{
	for (size_t i = 0; i < w->nseen; i++) {
		char *all[] = { w->seen[i].handler, w->seen[i].where, w->seen[i].verdict, w->seen[i].reason,
			w->seen[i].status, w->seen[i].text, w->seen[i].error, w->seen[i].added, w->seen[i].route,
			w->seen[i].tags, w->seen[i].matched };

		for (size_t k = 0; k < NELEMS(all); k++)
			free(all[k]);
	}
	free(w->seen);
	w->seen = NULL;
	w->nseen = 0;
}

/* ---- Mail on its way to delivery ---- */

static void
kept_free(struct kept *k)
{
	for (size_t i = 0; k->states != NULL && i < k->msg->nrcpts; i++) {
		free(k->states[i].last);
		free(k->states[i].bounce_reason);
	}
	msg_unref(k->msg);
	free(k->states);
	free(k->mine);
	free(k);
}

static void
note_notice(struct world *w, struct msg *msg)
{
	for (size_t i = 0; i < w->nnotices; i++)
		if (w->notices[i]->id == msg->id)
			return;
	w->notices = xrealloc(w->notices, (w->nnotices + 1) * sizeof *w->notices);
	w->notices[w->nnotices++] = msg_ref(msg);
}

static bool
keeps(void *owner, struct msg *msg, const struct store_rcpt_state *states, const bool *mine, uint64_t epoch)
{
	struct world *w = owner;
	struct kept *k;

	if (msg->flags & MSG_NOTICE) {
		note_notice(w, msg);
		return true;
	}
	if (w->releasing)
		return false;
	k = xcalloc(1, sizeof *k);
	k->msg = msg_ref(msg);
	k->epoch = epoch;
	k->mine = xcalloc(msg->nrcpts, sizeof *k->mine);
	memcpy(k->mine, mine, msg->nrcpts * sizeof *k->mine);
	if (states != NULL) {
		k->states = xcalloc(msg->nrcpts, sizeof *k->states);
		memcpy(k->states, states, msg->nrcpts * sizeof *k->states);
		for (size_t i = 0; i < msg->nrcpts; i++) {
			k->states[i].last = xstrdup(states[i].last);
			k->states[i].bounce_reason = xstrdup(states[i].bounce_reason);
		}
	}
	*w->kept_end = k;
	w->kept_end = &k->next;
	return true;
}

static void
made(void *owner, struct policy *p)
{
	struct world *w = owner;

	policy_observe(p, on_seen, w);
	policy_trace_use(p, &(struct trace_conf){ .ring = 100 }, w->wc.records, w->wc.records_owner);
	policy_trace_watch(p, w->wc.records != NULL);
	if (w->wc.counts_exactly)
		policy_count_exactly(p);
	if (w->wc.lines != NULL)
		policy_watch_lines(p, w->wc.lines, w->wc.lines_owner);
}

static void
release(struct world *w)
{
	struct kept *k;

	w->releasing = true;
	while ((k = w->kept) != NULL) {
		w->kept = k->next;
		if (w->kept == NULL)
			w->kept_end = &w->kept;
		deliver_add(w->worker->deliver, msg_ref(k->msg), k->states, k->mine, k->epoch);
		kept_free(k);
	}
}

struct msg *
world_notice(const struct world *w, size_t i)
{
	return i < w->nnotices ? w->notices[i] : NULL;
}

/* ---- Settling ---- */

static int64_t
tv_ms(const struct timeval *a, const struct timeval *b)
{
	struct timeval d;

	timersub(a, b, &d);
	return (int64_t)d.tv_sec * 1000 + d.tv_usec / 1000;
}

static bool
same_tv(const struct timeval *a, const struct timeval *b)
{
	struct timeval d;

	timersub(a, b, &d);
	return (d.tv_sec == 0 && d.tv_usec < 500) || (d.tv_sec == -1 && d.tv_usec > 999500);
}

struct look {
	struct world *w;
	struct timeval began, now;
};

/* A timer was armed somewhere between the two times; of what it may have been armed with, the roundest. */
static int64_t
roundest(int64_t lo, int64_t hi)
{
	static const int64_t units[] = { 3600000, 60000, 10000, 1000, 500, 100, 50, 10, 5 };

	if (lo < 1)	/* what is due at once has run by now */
		lo = 1;
	for (size_t i = 0; i < NELEMS(units); i++) {
		int64_t c = (lo + units[i] - 1) / units[i] * units[i];

		if (c <= hi)
			return c;
	}
	return hi > lo ? hi : lo;
}

static int
look_at(const struct event_base *base, const struct event *ev, void *arg)
{
	struct look *l = arg;
	struct world *w = l->w;
	struct timeval at;
	int64_t left;

	if (!event_pending(ev, EV_TIMEOUT, &at))
		return 0;
	for (size_t i = 0; i < w->ntimers; i++) {
		if (w->timers[i].ev == ev && same_tv(&w->timers[i].at, &at)) {
			w->timers[i].is_there = true;
			return 0;
		}
	}
	left = tv_ms(&at, &l->now);
	w->timers = xrealloc(w->timers, (w->ntimers + 1) * sizeof *w->timers);
	w->timers[w->ntimers++] = (struct timer){ (struct event *)ev, at,
		w->mono_ms + roundest(left - GRAIN_MS, left + tv_ms(&l->now, &l->began) + GRAIN_MS), true };
	return 0;
}

static void
look_at_timers(struct world *w, const struct timeval *began)
{
	struct look l = { .w = w, .began = *began };
	size_t n = 0;

	gettimeofday(&l.now, NULL);
	for (size_t i = 0; i < w->ntimers; i++)
		w->timers[i].is_there = false;
	event_base_foreach_event(w->worker->base, look_at, &l);
	for (size_t i = 0; i < w->ntimers; i++)
		if (w->timers[i].is_there)
			w->timers[n++] = w->timers[i];
	w->ntimers = n;
}

static void
turn(struct world *w)
{
	int rounds = 0;

	do {
		event_base_loop(w->worker->base, EVLOOP_NONBLOCK);
		MUST(++rounds < ROUNDS_MAX);
	} while (peers_step(w));
}

/* What the store was asked is done, and its answers are here. True when that brought more questions. */
static bool
settle_store(struct world *w)
{
	struct store_settle r = { .mail = { .reply_to = w->answers } };
	struct store_stats before, after;
	struct mail *m = NULL;

	if (!w->store_started)
		return false;
	store_stats(w->store, &before);
	store_settle(w->store, &r);
	while (m == NULL)
		m = mailbox_wait(w->answers, 1000);
	w->due_ms = r.next_ms;
	turn(w);
	store_stats(w->store, &after);
	return after.posts != before.posts;
}

/* Threads that read for a handler are waited for in real time. */
static bool
settle_pool(struct world *w)
{
	static const struct timespec moment = { 0, 200000 };

	if (w->pool == NULL || pool_waiting(w->pool) == 0)
		return false;
	for (int i = 0; i < POOL_PATIENCE && pool_waiting(w->pool) > 0; i++)
		nanosleep(&moment, NULL);
	turn(w);
	return true;
}

void
world_settle(struct world *w)
{
	struct timeval began;
	int rounds = 0;

	gettimeofday(&began, NULL);
	do {
		turn(w);
		MUST(++rounds < ROUNDS_MAX);
	} while (settle_pool(w) || settle_store(w));
	look_at_timers(w, &began);
}

/* ---- Time ---- */

static void
set_clock(struct world *w, int64_t mono)
{
	w->wall_ms += mono - w->mono_ms;
	w->mono_ms = mono;
	clock_fake(w->mono_ms, w->wall_ms);
}

/* To the next thing that is to happen, if that is not after `until`. */
static bool
step(struct world *w, int64_t until)
{
	int64_t next = INT64_MAX, due;

	for (size_t i = 0; i < w->ntimers; i++)
		if (w->timers[i].due_ms < next)
			next = w->timers[i].due_ms;
	due = w->due_ms == INT64_MAX ? INT64_MAX : w->due_ms - w->wall_ms + w->mono_ms;
	if (due < next)
		next = due;
	if (next > until)
		return false;
	if (next > w->mono_ms)
		set_clock(w, next);
	for (size_t i = 0; i < w->ntimers; i++) {
		if (w->timers[i].due_ms <= w->mono_ms) {
			event_active(w->timers[i].ev, EV_TIMEOUT, 0);
			w->timers[i].ev = NULL;		/* armed anew it is another */
		}
	}
	world_settle(w);
	return true;
}

bool
world_until(struct world *w, bool (*done)(void *arg), void *arg, int64_t max_ms)
{
	int64_t until = w->mono_ms + max_ms;

	world_settle(w);
	for (int i = 0; i < ROUNDS_MAX; i++) {
		if (done(arg))
			return true;
		if (!step(w, until))
			return false;
	}
	return false;
}

static bool
is_idle(void *arg)
{
	struct world *w = arg;
	struct deliver_stats st;

	deliver_stats(w->worker->deliver, &st);
	return st.active == 0 && st.waiting == 0;
}

void
world_run_queue(struct world *w)
{
	world_settle(w);
	release(w);
	world_until(w, is_idle, w, QUEUE_PATIENCE_MS);
	w->releasing = false;
}

void
world_advance(struct world *w, int64_t ms)
{
	int64_t until = w->mono_ms + ms;
	int i = 0;

	world_settle(w);
	release(w);
	world_settle(w);
	while (step(w, until))
		MUST(++i < 10 * ROUNDS_MAX);
	set_clock(w, until);
	world_settle(w);
	w->releasing = false;
}

/* ---- Questions ---- */

json_t *
world_query(struct world *w, enum store_verb verb, uint64_t id)
{
	struct store_query *q = xcalloc(1, sizeof *q);
	struct mail *m = NULL;
	json_t *o = NULL;

	world_settle(w);
	q->verb = verb;
	q->filter.id = id;
	q->filter.limit = 1000;
	q->mail.reply_to = w->answers;
	store_query(w->store, q);
	while (m == NULL)
		m = mailbox_wait(w->answers, 1000);
	if (q->status == STORE_OK && q->json != NULL)
		o = json_loads(q->json, 0, NULL);
	store_query_free(q);
	return o;
}

char *
world_content(struct world *w, uint64_t id, size_t *n_out)
{
	struct buf all;
	char *text;
	bool more = true;

	buf_init(&all, 64u << 20);
	while (more) {
		struct store_content *c = xcalloc(1, sizeof *c);
		struct mail *m = NULL;

		c->message = id;
		c->offset = all.len;
		c->mail.reply_to = w->answers;
		store_content(w->store, c);
		while (m == NULL)
			m = mailbox_wait(w->answers, 1000);
		more = c->status == STORE_OK && c->n > 0 && buf_add(&all, c->data, c->n);
		free(c->data);
		free(c);
	}
	*n_out = all.len;
	text = buf_take(&all);
	return text;
}

/* ---- Life ---- */

static struct mail *
order(struct world *w, struct order *o)
{
	struct mail *m = NULL;

	o->mail.reply_to = w->answers;
	worker_order(w->worker, o);
	for (int i = 0; i < ROUNDS_MAX && m == NULL; i++) {
		turn(w);
		m = mailbox_wait(w->answers, 0);
		if (m == NULL && i > 2) {
			world_settle(w);
			m = mailbox_wait(w->answers, 0);
			if (m == NULL && !step(w, w->mono_ms + 120000))
				break;
		}
	}
	return m;
}

static int
load(struct world *w, struct err *err)
{
	struct order o = { .what = ORDER_LOAD, .setup = setup_ref(w->setup), .num = 1, .reason = "test" };

	w->shared = xcalloc(1, sizeof *w->shared);
	atomic_init(&w->shared->refs, 1);
	w->shared->num = 1;
	snprintf(w->shared->id, sizeof w->shared->id, "%.12s", policy_bundle_id(w->setup->bundle));
	o.shared = w->shared;

	if (order(w, &o) == NULL) {
		err_set(err, "the policy's init does not come to an end");
		return -1;
	}
	if (!o.ok && o.err.text[0] != '\0') {
		*err = o.err;
		return -1;
	}
	o = (struct order){ .what = ORDER_ACTIVATE, .num = 1 };
	MUST(order(w, &o) != NULL);
	return 0;
}

static int
open_store(struct world *w, struct err *err)
{
	char *path = xasprintf("%s/queue.db", w->dir);
	struct store_conf sc = { .path = path, .workers = 1, .max_active = 100000 };

	sync_off();
	w->store = store_open(&sc, err);
	free(path);
	return w->store == NULL ? -1 : 0;
}

/* What only a daemon does, and what would read files that a rehearsal has no use for. */
static void
tame(struct world *w, struct conf *c)
{
	free(c->service.state);
	c->service.state = xstrdup(w->dir);
	c->tlsrpt.send = false;
	free(c->tlsrpt.dkim.key.path);
	c->tlsrpt.dkim.key.path = NULL;
	for (size_t i = 0; i < c->ndkim; i++) {
		free(c->dkim[i].key.path);
		c->dkim[i].key.path = NULL;
	}
	for (size_t i = 0; i < c->ncredentials; i++) {
		free(c->credentials[i].password.path);
		c->credentials[i].password.path = NULL;
	}
}

static int
build(struct world *w, struct conf *conf, struct err *err)
{
	char *errors = NULL;

	tame(w, conf);
	w->setup = setup_of(conf, NULL, &errors);
	if (w->setup == NULL) {
		err_set(err, "%s", errors == NULL ? "?" : errors);
		free(errors);
		return -1;
	}
	if (open_store(w, err) != 0)
		return -1;
	w->sessions = sessions_count_new(100000);
	w->memory = memory_new(UINT64_C(1) << 50);
	w->worker = worker_new(0, 1, w->store, w->sessions, w->memory);
	w->worker->all = &w->worker;
	w->pool = pool_new(1, POOL_JOBS, err);
	if (w->pool == NULL)
		return -1;
	w->worker->pool = w->pool;
	w->worker->node = w->node = node_new();
	w->worker->edges = &w->edges;
	if (store_start(w->store, &w->worker->mb, worker_on_due, err) != 0)
		return -1;
	w->store_started = true;
	return load(w, err);
}

struct world *
world_new(struct conf *conf, const struct world_conf *wc, struct err *err)
{
	static bool once;
	struct world *w = xcalloc(1, sizeof *w);
	const char *tmp = getenv("TMPDIR");

	if (!once) {
		net_tls_init();
		web_init();
		once = true;
	}
	w->wc = *wc;
	w->due_ms = INT64_MAX;
	w->kept_end = &w->kept;
	w->book = book_new();
	w->dns = (struct dns_fixture){ book_look, w->book };
	w->sts = (struct sts_fixture){ book_fetch, w->book };
	w->http = (struct policy_http_fixture){ book_answer, w->book };
	w->sql = (struct policy_sql_fixture){ book_rows, w->book };
	w->edges = (struct worker_edges){ &w->dns, &w->sts, &w->http, &w->sql, made, keeps, w };
	w->stage = (struct net_stage){ peer_connect, stage_handshake, w };
	pthread_mutex_init(&w->log_lock, NULL);
	buf_init(&w->log, LOG_MAX);
	log_capture(on_log, w);
	clock_real();
	w->mono_ms = clock_mono_ms();
	w->wall_ms = wc->now_ms;
	clock_fake(w->mono_ms, w->wall_ms);
	rand_seed(wc->seed);
	net_set_stage(&w->stage);
	w->answers = mailbox_new(NULL, NULL);
	snprintf(w->dir, sizeof w->dir, "%s/rehearsal-XXXXXX", tmp == NULL || strlen(tmp) > 40 ? "/tmp" : tmp);
	if (mkdtemp(w->dir) == NULL) {
		err_set(err, "cannot make a folder below %s", tmp == NULL ? "/tmp" : tmp);
		w->dir[0] = '\0';
		conf_unref(conf);
		world_free(w);
		return NULL;
	}
	if (build(w, conf, err) != 0) {
		world_free(w);
		return NULL;
	}
	world_settle(w);
	return w;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	remove(path);
	return 0;
}

static void
end_worker(struct world *w)
{
	struct order cut = { .what = ORDER_CUT }, stop = { .what = ORDER_STOP };

	order(w, &cut);
	if (w->store_started)
		store_close(w->store);
	w->store_started = false;
	order(w, &stop);
	pool_free(w->pool);
	w->pool = NULL;
	worker_free(w->worker);
}

void
world_free(struct world *w)
{
	struct kept *k;

	if (w == NULL)
		return;
	for (struct guest *g = w->guests; g != NULL; g = g->next)
		guest_close(g);
	while ((k = w->kept) != NULL) {
		w->kept = k->next;
		kept_free(k);
	}
	if (w->worker != NULL)
		end_worker(w);
	store_free(w->store);
	if (w->sessions != NULL)
		sessions_count_free(w->sessions);
	if (w->memory != NULL)
		memory_free(w->memory);
	node_unref(w->node);
	setup_unref(w->setup);
	gen_shared_unref(w->shared);
	peers_free(w);
	guests_free(w);
	for (size_t i = 0; i < w->nnotices; i++)
		msg_unref(w->notices[i]);
	free(w->notices);
	world_forget_seen(w);
	mailbox_free(w->answers);
	book_free(w->book);
	net_set_stage(NULL);
	clock_real();
	rand_seed(0);
	log_capture(NULL, NULL);
	buf_fini(&w->log);
	pthread_mutex_destroy(&w->log_lock);
	if (w->dir[0] != '\0')
		nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(w->timers);
	free(w);
}
