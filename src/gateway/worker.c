/* A worker: one event base and all that runs on it. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "deliver/events.h"
#include "gateway/gateway_int.h"
#include "gateway/reception.h"
#include "policy/journal.h"

/* ---- Generations ---- */

struct generation *
generation_ref(struct generation *g)
{
	g->refs++;
	return g;
}

void
generation_unref(struct generation *g)
{
	if (g == NULL || --g->refs > 0)
		return;
	TAILQ_REMOVE(&g->w->generations, g, link);
	policy_gen_unref(g->gen);
	setup_unref(g->setup);
	gen_shared_unref(g->shared);
	free(g);
}

static struct generation *
kept(struct worker *w, uint64_t num)
{
	struct generation *g;

	TAILQ_FOREACH(g, &w->generations, link)
		if (g->is_kept && g->shared->num == num)
			return g;
	return NULL;
}

/* The Lua state of it is gone, in whatever way. */
static void
state_gone(void *owner)
{
	struct gen_shared *s = owner;

	atomic_fetch_sub(&s->states, 1);
	gen_shared_unref(s);
}

static const struct policy_watch policy_watch = { generation_failed, state_gone };

static bool
is_in(const size_t *list, size_t n, size_t x)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == x)
			return true;
	return false;
}

static bool
is_from(const struct canary *c, const struct net_addr *peer)
{
	for (size_t i = 0; i < c->ncidrs; i++)
		if (net_cidr_has(&c->cidrs[i], peer))
			return true;
	return false;
}

/* The one that a new session begins with. */
static struct generation *
choose_generation(struct worker *w, size_t listener, const struct net_addr *peer)
{
	const struct canary *c = &w->canary;

	if (w->trial == NULL || (c->nlisteners > 0 && !is_in(c->listeners, c->nlisteners, listener)) ||
	    (c->ncidrs > 0 && !is_from(c, peer)) || arc4random_uniform(10000) >= c->basis_points)
		return w->now;
	return w->trial;
}

/* ---- Mail between workers ---- */

struct handover {
	struct mail mail;
	struct msg *msg;
	bool *mine;
	uint64_t epoch;
};

static void
handed_over(void *reader, struct mail *m)
{
	struct handover *h = (struct handover *)m;
	struct worker *w = reader;

	if (w->deliver != NULL)
		deliver_add(w->deliver, h->msg, NULL, h->mine, h->epoch);
	else
		msg_unref(h->msg);
	free(h->mine);
	free(h);
}

void
worker_dispatch(struct worker *w, const struct store_submit *queued)
{
	struct msg *msg = queued->msg;

	for (unsigned k = 0; k < w->count; k++) {
		bool *mine = xcalloc(msg->nrcpts, sizeof *mine), any = false;
		struct handover *h;

		for (size_t i = 0; i < msg->nrcpts; i++) {
			const struct msg_rcpt *r = &msg->rcpts[i];

			mine[i] = queued->active != NULL && queued->active[i] &&
			    store_shard(r->route, r->next_hop, w->count) == k;
			any = any || mine[i];
		}
		if (!any || w->deliver == NULL) {
			free(mine);
			continue;
		}
		if (w->edges != NULL && w->edges->keeps(w->edges->owner, msg, NULL, mine, queued->epoch)) {
			free(mine);
			continue;
		}
		if (k == w->index) {
			deliver_add(w->deliver, msg_ref(msg), NULL, mine, queued->epoch);
			free(mine);
			continue;
		}
		h = xcalloc(1, sizeof *h);
		h->mail.run = handed_over;
		h->msg = msg_ref(msg);
		h->mine = mine;
		h->epoch = queued->epoch;
		mailbox_post(w->all[k]->mb, &h->mail);
	}
}

void
worker_on_due(void *reader, struct mail *m)
{
	struct worker *w = reader;
	struct store_due *d = (struct store_due *)m;
	bool *mine;

	if (m->kind == STORE_KIND_RECALL) {
		const struct store_recall *r = (struct store_recall *)m;

		if (w->deliver != NULL)
			deliver_recall(w->deliver, r->message, r->num);
		free(m);
		return;
	}
	mine = xmalloc(d->msg->nrcpts * sizeof *mine);
	for (size_t i = 0; i < d->msg->nrcpts; i++)
		mine[i] = true;
	if (w->deliver != NULL && (w->edges == NULL ||
	    !w->edges->keeps(w->edges->owner, d->msg, d->rcpts, mine, d->epoch)))
		deliver_add(w->deliver, msg_ref(d->msg), d->rcpts, mine, d->epoch);
	free(mine);
	store_due_free(d);
}

/* ---- What delivery asks of its worker ---- */

static struct policy_gen *
env_generation(void *owner)
{
	return policy_gen_ref(((struct worker *)owner)->now->gen);
}

static struct tls_client *
env_tls(void *owner)
{
	return ((struct worker *)owner)->now->setup->tls;
}

static const struct conf *
env_conf(void *owner)
{
	return ((struct worker *)owner)->now->setup->conf;
}

static const struct mx_conf *
env_mx(void *owner, void **hold)
{
	struct setup *s = setup_ref(((struct worker *)owner)->now->setup);

	*hold = s;
	return &s->mx;
}

static void
env_mx_release(void *hold)
{
	setup_unref(hold);
}

static bool
env_sts(void *owner, struct sts_how *out)
{
	const struct setup *s = ((struct worker *)owner)->now->setup;

	*out = (struct sts_how){ .tls = s->sts_tls, .port = s->conf->tls.sts_port,
		.allow_loopback = s->conf->delivery.allow_loopback,
		.allow_private = s->conf->tls.sts_allow_private,
		.reports = s->conf->tlsrpt.organization != NULL, .timeout_ms = s->conf->tls.sts_timeout_ms };
	return s->conf->tls.sts;
}

static void
env_tlsrpt(void *owner, struct tlsrpt_how *out)
{
	const struct generation *g = ((struct worker *)owner)->now;

	*out = (struct tlsrpt_how){ .conf = g->setup->conf, .gen = g->gen, .tls = g->setup->tlsrpt_tls,
		.dkim = g->setup->tlsrpt_dkim };
}

static void
env_attempts(void *owner, struct policy_gen *g, int more)
{
	struct gen_shared *s = policy_gen_watcher(g);

	if (s != NULL)
		atomic_fetch_add(&s->attempts, (unsigned)more);
}

static void
env_dispatch(void *owner, const struct store_submit *queued)
{
	worker_dispatch(owner, queued);
}

/* ---- Connections ---- */

/* Cheap and at once: this is what a flood meets. What the client has sent is read away, or the
 * kernel would reset the connection and the reply be lost with it. */
static void
turn_away(struct listener_of *lo, int fd, const char *text)
{
	struct worker *w = lo->w;
	char junk[512];

	w->stats.turned_away++;
	if (!w->now->setup->listeners[lo->listener].implicit_tls)
		(void)!send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	(void)!recv(fd, junk, sizeof junk, MSG_DONTWAIT);
	close(fd);
}

/* Between the two marks it stays as it is: each change to stress walks through all sessions. */
static void
look_for_stress(struct worker *w)
{
	const struct conf *c = w->now->setup->conf;
	uint64_t max = sessions_max(w->sessions, c->limits.sessions), now = sessions_now(w->sessions);

	if (!w->stressed && now * 4 > max * 3) {
		w->stressed = true;
		smtp_server_hurry(w->smtp, c->limits.command_stress_ms);
		log_warn("many sessions: clients have less time for a command", LOG_U("worker", w->index),
		    LOG_U("sessions", now), LOG_U("limit", max));
	} else if (w->stressed && now * 2 < max) {
		w->stressed = false;
		if (w->smtp != NULL)
			smtp_server_hurry(w->smtp, 0);
		log_info("not so many sessions any more", LOG_U("worker", w->index), LOG_U("sessions", now));
	}
}

void
worker_session_left(struct worker *w)
{
	if (w->stressed)
		look_for_stress(w);
}

static int
scarce(void *owner, size_t holds)
{
	struct memory *m = ((struct worker *)owner)->memory;
	enum memory_level level = memory_level(m);

	if (level == MEMORY_HARD)
		memory_given_back(m, holds);
	return (int)level;
}

uint64_t
worker_accept(struct worker *w, size_t listener, int fd, const struct net_addr *peer, struct reception **reception_out)
{
	struct listener_of lo = { w, listener };
	struct generation *g = w->now;
	const struct conf *c = g->setup->conf;
	const char *no;
	struct reception *r;
	uint64_t sid;
	struct err err;

	if (memory_level(w->memory) != MEMORY_FINE) {
		turn_away(&lo, fd, "421 4.3.2 Too busy, try again later\r\n");
		return 0;
	}
	no = sessions_enter(w->sessions, peer, c->limits.sessions, c->limits.sessions_per_address);
	if (no != NULL) {
		turn_away(&lo, fd, no);
		return 0;
	}
	look_for_stress(w);
	g = choose_generation(w, listener, peer);
	r = reception_new(w, g, listener, peer);
	sid = smtp_session_new(w->smtp, fd, peer, &g->setup->listeners[listener], &reception_ops, r, &err);
	if (sid == 0) {
		log_warn("session not started", LOG_S("why", err.text));
		reception_free(r);
		return 0;
	}
	reception_is(r, sid);
	if (reception_out != NULL)
		*reception_out = r;
	return sid;
}

static void
accepted(void *owner, int fd, const struct net_addr *peer)
{
	struct listener_of *lo = owner;

	worker_accept(lo->w, lo->listener, fd, peer, NULL);
}

static void
no_descriptors(void *owner, int fd)
{
	turn_away(owner, fd, "421 4.3.2 Too busy, try again later\r\n");
}

static const struct net_listener_ops listener_ops = { accepted, no_descriptors };

/* ---- Orders from the main thread ---- */

static int
make_dns(struct worker *w, struct setup *setup, struct err *err)
{
	struct dns_conf dc;

	conf_dns(setup->conf, &dc);
	dc.fixture = w->edges == NULL ? NULL : w->edges->dns;
	w->dns = dns_new(w->base, &dc, err);
	conf_dns_fini(&dc);
	if (w->dns == NULL)
		return -1;
	w->dns_setup = setup_ref(setup);
	return 0;
}

static void
reopen_dns(struct worker *w)
{
	struct dns_conf dc;
	struct err err;

	conf_dns(w->dns_setup->conf, &dc);
	if (dns_reopen(w->dns, &dc, &err) != 0)
		log_error("DNS goes on as it was begun", LOG_U("worker", w->index), LOG_S("why", err.text));
	conf_dns_fini(&dc);
}

/* What the main thread's self-test found. */
static void
take_dns_verdict(struct worker *w, const struct dns_verdict *v)
{
	const struct log_kv kv[] = { LOG_S("verdict", dns_trust_name(v->trust)), LOG_S("why", v->why), { 0 } };

	if (w->dns == NULL)
		return;
	dns_distrust(w->dns, v->is_lost ? v->why : NULL);
	if (v->reopen)
		reopen_dns(w);
	if (w->deliver != NULL)
		deliver_look_again(w->deliver);
	/* Policies hear of it once. */
	if (w->index == 0 && v->is_new && w->now != NULL && !w->stopping)
		events_emit(w->policy, w->now->gen, v->is_lost ? "DNSSEC validation cannot be trusted" :
		    v->trust == DNS_HONEST ? "DNSSEC validation works" : "DNSSEC validation could not be tested", kv);
}

static void
answer(struct order *o)
{
	setup_unref(o->setup);
	o->setup = NULL;
	mailbox_post(o->mail.reply_to, &o->mail);
}

/* What is being loaded is not wanted any more. */
static void
stop_loading(struct worker *w)
{
	struct order *o = w->load_order;

	w->load_order = NULL;
	if (o == NULL)
		return;
	policy_gen_init_cancel(w->loading->gen);
	answer(o);
	generation_unref(w->loading);
	w->loading = NULL;
}

static void
end_trial(struct worker *w)
{
	w->trial = NULL;
}

/* Loaded, or being loaded, and not wanted any more. */
static void
discard(struct worker *w, uint64_t num)
{
	struct generation *g = kept(w, num);

	if (w->loading != NULL && w->loading->shared->num == num)
		stop_loading(w);
	if (g == NULL)
		return;
	if (w->trial == g)
		end_trial(w);
	g->is_kept = false;
	generation_unref(g);
}

static void
inited(void *owner, const struct err *err)
{
	struct worker *w = owner;
	struct order *o = w->load_order;

	w->load_order = NULL;
	o->ok = err == NULL;
	if (err != NULL) {
		o->err = *err;
		generation_unref(w->loading);
	} else {
		w->loading->is_kept = true;
	}
	w->loading = NULL;
	answer(o);
}

static void
use_services(struct worker *w, bool has_store)
{
	policy_use(w->policy, &(struct policy_services){ .store = has_store ? w->store : NULL, .mb = w->mb,
		.sts = w->sts, .pool = w->pool, .node = w->node,
		.http = w->edges == NULL ? NULL : w->edges->http, .sql = w->edges == NULL ? NULL : w->edges->sql });
}

/* Takes o: answered now, or when the policy has been initialised. */
static void
load(struct worker *w, struct order *o)
{
	struct generation *g;

	stop_loading(w);
	if (w->dns == NULL) {
		if (make_dns(w, o->setup, &o->err) != 0) {
			answer(o);
			return;
		}
		w->policy = policy_new(w->base, w->dns, w->index);
		use_services(w, false);
		if (w->edges != NULL && w->edges->made != NULL)
			w->edges->made(w->edges->owner, w->policy);
	}
	g = xcalloc(1, sizeof *g);
	g->refs = 1;
	g->w = w;
	g->shared = gen_shared_ref(o->shared);
	g->setup = setup_ref(o->setup);
	TAILQ_INIT(&g->sessions);
	TAILQ_INSERT_TAIL(&w->generations, g, link);
	g->gen = policy_gen_new(w->policy, o->setup->bundle, o->setup->conf, &o->err);
	if (g->gen == NULL) {
		generation_unref(g);
		answer(o);
		return;
	}
	atomic_fetch_add(&g->shared->states, 1);
	policy_gen_watch(g->gen, &policy_watch, gen_shared_ref(g->shared));
	w->loading = g;
	w->load_order = o;
	policy_gen_init(g->gen, o->reason, inited, w);
}

static void
try_out(struct worker *w, const struct order *o)
{
	end_trial(w);
	w->trial = o->num == 0 ? NULL : kept(w, o->num);
	w->canary = o->canary;
}

static void
end_sessions(struct worker *w, uint64_t num)
{
	struct generation *g, *next;

	for (g = TAILQ_FIRST(&w->generations); g != NULL; g = next) {
		next = TAILQ_NEXT(g, link);
		if (g->shared->num == num) {
			reception_end_all(g);
			return;
		}
	}
}

static void
activate(struct worker *w, uint64_t num)
{
	struct deliver_env env = { .base = w->base, .mb = w->mb, .dns = w->dns, .policy = w->policy,
		.store = w->store, .worker = w->index, .workers = w->count, .generation = env_generation,
		.tls = env_tls, .conf = env_conf, .mx = env_mx, .mx_release = env_mx_release,
		.dispatch = env_dispatch, .attempts = env_attempts, .owner = w };
	struct sts_env sts = { .base = w->base, .mb = w->mb, .dns = w->dns, .store = w->store,
		.refreshes = w->index == 0 && w->edges == NULL, .how = env_sts, .fixture = w->edges == NULL ? NULL : w->edges->sts,
		.owner = w };
	struct tlsrpt_env tlsrpt = { .base = w->base, .mb = w->mb, .dns = w->dns, .store = w->store,
		.policy = w->policy, .worker = w->index, .how = env_tlsrpt, .dispatch = env_dispatch, .owner = w };
	struct generation *g = kept(w, num);
	struct err err;

	MUST(g != NULL);
	end_trial(w);
	if (w->now != NULL)
		policy_gen_retire(w->now->gen);
	generation_unref(w->now);
	w->now = g;
	g->is_kept = false;	/* that reference is w->now's from here on */
	policy_gen_activate(w->now->gen);
	tracing_use(w, w->now->setup->conf);
	policy_journal_use(w->policy, w->now->setup->conf->log.journal == NULL ? NULL : log_journal,
	    (size_t)w->now->setup->conf->log.journal_body);
	if (w->deliver == NULL && !w->stopping) {
		w->sts = sts_finder_new(&sts, &err);
		MUST(w->sts != NULL);
		/* Not sooner: the store runs only when all workers are ready. */
		use_services(w, true);
		env.sts = w->sts;
		w->deliver = deliver_new(&env);
		if (w->index == 0 && w->edges == NULL) {
			w->tlsrpt = tlsrpt_sender_new(&tlsrpt, &err);
			MUST(w->tlsrpt != NULL);
		}
	} else if (w->deliver != NULL) {
		deliver_reloaded(w->deliver);
	}
}

static void
close_listeners(struct worker *w)
{
	for (size_t i = 0; i < w->nlisteners; i++) {
		net_listener_free(w->listeners[i]);
		w->listeners[i] = NULL;
	}
}

static void
maybe_drained(struct worker *w)
{
	struct timeval soon = { 0, 50000 };

	if (w->drain_order == NULL)
		return;
	if (!w->deliver_idle || smtp_server_sessions(w->smtp) > 0) {
		evtimer_add(w->drain_timer, &soon);
		return;
	}
	answer(w->drain_order);
	w->drain_order = NULL;
}

static void
on_drain_timer(evutil_socket_t fd, short what, void *arg)
{
	maybe_drained(arg);
}

static void
delivery_idle(void *owner)
{
	struct worker *w = owner;
	struct timeval now = { 0, 0 };

	w->deliver_idle = true;
	evtimer_add(w->drain_timer, &now);
}

static void
drain(struct worker *w, struct order *o)
{
	w->stopping = true;
	w->drain_order = o;
	close_listeners(w);
	smtp_server_drain(w->smtp);
	tlsrpt_sender_drain(w->tlsrpt);
	deliver_drain(w->deliver, delivery_idle, w);
	maybe_drained(w);
}

static void
cut(struct worker *w)
{
	struct sts_finder *sts = w->sts;

	if (w->drain_order != NULL) {
		answer(w->drain_order);
		w->drain_order = NULL;
	}
	stop_loading(w);
	if (w->smtp != NULL) {
		smtp_server_free(w->smtp);
		w->smtp = NULL;
	}
	tlsrpt_sender_free(w->tlsrpt);
	w->tlsrpt = NULL;
	if (w->deliver != NULL) {
		deliver_free(w->deliver);
		w->deliver = NULL;
	}
	tracing_flush(w);
	w->sts = NULL;
	if (w->policy != NULL)
		use_services(w, true);
	sts_finder_free(sts);
}

static void
stopped(void *owner)
{
	struct worker *w = owner;

	event_base_loopbreak(w->base);
	answer(w->stop_order);
	w->stop_order = NULL;
}

static void
stop(struct worker *w, struct order *o)
{
	w->stop_order = o;
	if (w->policy != NULL)
		policy_stop(w->policy, stopped, w);
	else
		stopped(w);
}

static void
fill_stats(struct worker *w, struct order *o)
{
	o->stats = w->stats;
	if (w->deliver != NULL)
		deliver_stats(w->deliver, &o->deliver);
	policy_stats(w->policy, &o->policy);
	o->sessions = w->smtp == NULL ? 0 : smtp_server_sessions(w->smtp);
}

static void
take_order(void *reader, struct mail *m)
{
	struct worker *w = reader;
	struct order *o = (struct order *)m;

	switch (o->what) {
	case ORDER_LOAD:
		load(w, o);
		return;
	case ORDER_ACTIVATE:
		activate(w, o->num);
		break;
	case ORDER_DISCARD:
		discard(w, o->num);
		break;
	case ORDER_CANARY:
		try_out(w, o);
		break;
	case ORDER_END_SESSIONS:
		end_sessions(w, o->num);
		break;
	case ORDER_LISTEN:
		for (size_t i = 0; i < w->nlisteners; i++)
			w->listeners[i] = net_listener_new(w->base, w->listener_fds[i], &listener_ops,
			    &w->listener_of[i]);
		break;
	case ORDER_DRAIN:
		drain(w, o);
		return;		/* answered when it is done */
	case ORDER_CUT:
		cut(w);
		break;
	case ORDER_STOP:
		smtp_client_quit_now();
		net_finish_now();
		stop(w, o);
		return;		/* answered when the policy has ended */
	case ORDER_STATS:
		fill_stats(w, o);
		break;
	case ORDER_COUNTS:
		policy_stats(w->policy, &o->policy);
		policy_counts(w->policy, &o->counts);
		break;
	case ORDER_TRACE:
		o->records = tracing_records(w, o->id);
		break;
	case ORDER_WATCH:
		tracing_watch(w, o->watch.on, &o->watch.filter);
		break;
	case ORDER_SETTLE:		/* that it was read is all */
		break;
	case ORDER_DNS:
		take_dns_verdict(w, &o->dns);
		break;
	}
	answer(o);
}

void
worker_order(struct worker *w, struct order *o)
{
	o->mail.run = take_order;
	mailbox_post(w->mb, &o->mail);
}

/* ---- Life ---- */

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	/* Keeps the loop from returning when it has nothing else. */
}

static void *
worker_main(void *arg)
{
	struct worker *w = arg;
	struct timeval long_time = { 3600, 0 };
	struct event *tick = event_new(w->base, -1, EV_PERSIST, on_tick, NULL);
	char name[16];

	snprintf(name, sizeof name, "worker-%u", w->index);
	pthread_setname_np(pthread_self(), name);
	event_add(tick, &long_time);
	event_base_dispatch(w->base);
	event_free(tick);
	return NULL;
}

struct worker *
worker_new(unsigned index, unsigned count, struct store *store, struct sessions_count *sessions,
    struct memory *memory)
{
	struct worker *w = xcalloc(1, sizeof *w);
	struct event_config *cfg = event_config_new();

	w->index = index;
	w->count = count;
	/* One thread uses the base; the mailbox's eventfd is how others reach it. */
	event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
	event_config_set_flag(cfg, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
	w->base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	MUST(w->base != NULL);
	w->mb = mailbox_new(w->base, w);
	w->store = store;
	w->sessions = sessions;
	w->memory = memory;
	TAILQ_INIT(&w->generations);
	w->smtp = smtp_server_new(w->base, index);
	smtp_server_set_scarce(w->smtp, scarce, w);
	w->drain_timer = evtimer_new(w->base, on_drain_timer, w);
	return w;
}

int
worker_start(struct worker *w, const struct bound *bound, size_t nbound, struct err *err)
{
	w->nlisteners = nbound;
	w->listeners = xcalloc(nbound, sizeof(struct net_listener *));
	w->listener_of = xcalloc(nbound, sizeof *w->listener_of);
	w->listener_fds = xcalloc(nbound, sizeof *w->listener_fds);
	for (size_t i = 0; i < nbound; i++) {
		w->listener_of[i] = (struct listener_of){ w, bound[i].listener };
		w->listener_fds[i] = bound[i].fd;
	}
	if (pthread_create(&w->thread, NULL, worker_main, w) != 0) {
		err_set(err, "cannot start a worker thread");
		return -1;
	}
	return 0;
}

static void
drop_kept(struct worker *w)
{
	struct generation *g, *next;

	end_trial(w);
	for (g = TAILQ_FIRST(&w->generations); g != NULL; g = next) {
		next = TAILQ_NEXT(g, link);
		if (g->is_kept) {
			g->is_kept = false;
			generation_unref(g);
		}
	}
}

void
worker_free(struct worker *w)
{
	cut(w);
	mailbox_drain(w->mb);
	close_listeners(w);
	drop_kept(w);
	generation_unref(w->now);
	policy_free(w->policy);
	tracing_free(w);
	dns_free(w->dns);
	setup_unref(w->dns_setup);
	event_free(w->drain_timer);
	mailbox_free(w->mb);
	event_base_free(w->base);
	free(w->listeners);
	free(w->listener_of);
	free(w->listener_fds);
	free(w);
}
