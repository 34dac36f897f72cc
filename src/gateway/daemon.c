/* The main thread: start-up in the order that security wants, signals, figures, shutdown. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "ctl/ctl.h"
#include "data/data.h"
#include "data/metric.h"
#include "data/pool.h"
#include "data/rate.h"
#include "gateway/confine.h"
#include "gateway/gateway_int.h"
#include "gateway/generations.h"
#include "gateway/privileges.h"
#include "gateway/resolver.h"

#define LOOK_MS 500		/* how often files of tables are looked at */
#define DATA_THREADS 4
#define DATA_JOBS_MAX 4000
#define STOP_MS 8000		/* with its fini, which has 5 s */

struct daemon {
	const char *conf_file;
	struct setup *setup;
	struct event_base *base;
	struct mailbox *mb;		/* of the control loop */
	struct crew crew;
	struct generations *gens;
	struct store *store;
	struct sessions_count *sessions;
	struct memory *memory;
	struct resolver *resolver;
	struct dns_verdict dns;		/* goes with ORDER_DNS */
	struct mailbox **worker_mbs;
	struct bound **bound;		/* for each worker */
	size_t *nbound;
	struct web *web;		/* NULL without sts_serve.bind */
	int web_fds[CONF_STS_BINDS];
	struct ctl *ctl;
	struct event *signals[4], *hourly, *look;
	struct pool *pool;		/* for what would make others wait */
	struct node *node;
	atomic_bool is_looking;		/* at the files of tables */
	int64_t started_ms;
	bool store_started, stop_asked;
	struct { char files[80], calls[80]; } confined;
};

static void
notify(const char *state)
{
#ifdef HAVE_SYSTEMD
	sd_notify(0, state);
#endif
}

static void
resolver_changed(void *owner, const struct resolver_state *s, bool reopen)
{
	struct daemon *d = owner;

	d->dns = (struct dns_verdict){ .trust = s->trust, .is_new = s->tested_ms == s->since_ms,
		.is_lost = s->is_lost, .reopen = reopen };
	snprintf(d->dns.why, sizeof d->dns.why, "%s: %.200s", dns_trust_name(s->trust), s->why);
	struct order o = { .what = ORDER_DNS, .dns = d->dns };

	crew_order(&d->crew, &o, NULL, 5000, NULL);
}

/* Nobody looks at a certificate that worked yesterday. */
static void
on_hour(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	const struct conf *c = d->setup->conf;

	for (size_t i = 0; i < c->nlisteners; i++)
		if (tls_server_has_expired(d->setup->listeners[i].tls))
			log_error("certificate has expired", LOG_S("listener", c->listeners[i].name));
	if (tls_server_has_expired(sts_pages_tls(d->setup->pages)))
		log_error("certificate has expired", LOG_S("listener", "sts_serve"));
}

/* ---- Tables that are watched ---- */

struct look {
	struct job job;
	struct data **v;		/* each once */
	size_t n;
	atomic_bool *is_looking;
};

static void
look_at_tables(struct job *j, unsigned thread)
{
	struct look *l = (struct look *)j;

	for (size_t i = 0; i < l->n; i++) {
		data_look(l->v[i]);
		data_unref(l->v[i]);
	}
	rows_free_unheld();
	atomic_store(l->is_looking, false);
	free(l->v);
	free(l);
}

static void
add_data(void *arg, struct setup *s)
{
	struct look *l = arg;
	struct data *data = policy_bundle_data(s->bundle);

	for (size_t i = 0; i < l->n; i++)
		if (l->v[i] == data)
			return;
	if (!data_is_watched(data))
		return;
	l->v = xrealloc(l->v, (l->n + 1) * sizeof(struct data *));
	l->v[l->n++] = data_ref(data);
}

static void
on_look(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	struct look *l;

	if (d->pool == NULL || atomic_exchange(&d->is_looking, true))
		return;
	l = xcalloc(1, sizeof *l);
	l->job.work = look_at_tables;
	l->is_looking = &d->is_looking;
	generations_each_setup(d->gens, add_data, l);
	if ((l->n > 0 || rows_have_unheld()) && pool_do(d->pool, &l->job))
		return;
	for (size_t i = 0; i < l->n; i++)
		data_unref(l->v[i]);
	atomic_store(&d->is_looking, false);
	free(l->v);
	free(l);
}

static void
counter_metrics(const struct daemon *d, void (*fn)(void *arg, const struct ctl_metric *m), void *arg)
{
	const char *name;
	char label[96];
	int64_t value;

	for (size_t i = 0; counter_at(d->node, i, &name, &value); i++) {
		const struct ctl_metric m = { "sallyport_policy_counter_total", "What policies count with gw.counter", true,
			label, (double)value };

		snprintf(label, sizeof label, "name=\"%s\"", name);
		fn(arg, &m);
	}
}

struct metric_out {
	void (*fn)(void *arg, const struct ctl_metric *m);
	void *arg;
};

static void
own_metric(void *arg, const char *name, const char *help, bool is_counter, const char *labels, double v)
{
	const struct metric_out *o = arg;

	o->fn(o->arg, &(struct ctl_metric){ name, help, is_counter, labels, v });
}

static void
table_metrics(const struct daemon *d, void (*fn)(void *arg, const struct ctl_metric *m), void *arg)
{
	const struct data *data = policy_bundle_data(d->setup->bundle);
	struct data_stats t;
	char label[128];

	for (size_t i = 0; data_stats(data, i, &t); i++) {
		const struct ctl_metric m[] = {
			{ "sallyport_table_rows", "Rows of a data table", false, label, (double)t.rows },
			{ "sallyport_table_version", "Readings of a data table that were good", false, label,
			    (double)t.version },
			{ "sallyport_table_failures_total", "Changed files of data tables that were not taken", true, label,
			    (double)t.failures },
			{ "sallyport_table_stale", "1 when the file of a data table is newer, and wrong", false, label,
			    t.is_stale ? 1 : 0 },
		};

		snprintf(label, sizeof label, "table=\"%s\"", t.name);
		for (size_t k = 0; k < NELEMS(m); k++)
			fn(arg, &m[k]);
	}
}

static void
say_warnings(const struct conf *c)
{
	if (c->warnings != NULL)
		log_warn("configuration", LOG_S("text", c->warnings));
}

static void
activated(void *owner, struct setup *s)
{
	struct daemon *d = owner;

	if (s == d->setup)
		return;
	if (d->web != NULL)
		web_use(d->web, s->pages);
	setup_unref(d->setup);
	d->setup = setup_ref(s);
	memory_set_limit(d->memory, s->conf->limits.memory);
	say_warnings(s->conf);
}

static const struct generations_ops generations_ops = { activated };

static bool
reload(void *owner, const char *by, struct err *err)
{
	return generations_reload(((struct daemon *)owner)->gens, by, err);
}

static json_t *
policy(void *owner, const char *verb, const json_t *args, const char *by, struct err *err, int *exit_status)
{
	return generations_ask(((struct daemon *)owner)->gens, verb, args, by, err, exit_status);
}

/* ---- Metrics and status ---- */

static void
add_stats(const struct daemon *d, struct order *sum)
{
	struct order *o = xcalloc(d->crew.n, sizeof *o), ask = { .what = ORDER_STATS };

	memset(sum, 0, sizeof *sum);
	crew_order((struct crew *)&d->crew, &ask, o, 2000, NULL);
	for (unsigned i = 0; i < d->crew.n; i++) {
		sum->stats.sessions += o[i].stats.sessions;
		sum->stats.accepted += o[i].stats.accepted;
		sum->stats.rejected += o[i].stats.rejected;
		sum->stats.deferred += o[i].stats.deferred;
		sum->stats.bytes += o[i].stats.bytes;
		sum->stats.turned_away += o[i].stats.turned_away;
		sum->sessions += o[i].sessions;
		sum->deliver.attempts += o[i].deliver.attempts;
		sum->deliver.delivered += o[i].deliver.delivered;
		sum->deliver.deferred += o[i].deliver.deferred;
		sum->deliver.failed += o[i].deliver.failed;
		sum->deliver.with_requiretls += o[i].deliver.with_requiretls;
		sum->deliver.over_verified_tls += o[i].deliver.over_verified_tls;
		sum->deliver.over_tls += o[i].deliver.over_tls;
		sum->deliver.in_clear += o[i].deliver.in_clear;
		sum->deliver.connections += o[i].deliver.connections;
		sum->deliver.reused += o[i].deliver.reused;
		sum->deliver.bounces += o[i].deliver.bounces;
		for (int k = 0; k < OFFERS; k++)
			sum->deliver.worse[k] += o[i].deliver.worse[k];
		sum->deliver.waiting += o[i].deliver.waiting;
		sum->deliver.active += o[i].deliver.active;
		sum->deliver.pooled += o[i].deliver.pooled;
		sum->policy.calls += o[i].policy.calls;
		sum->policy.errors += o[i].policy.errors;
		sum->policy.limits += o[i].policy.limits;
		sum->policy.waiting += o[i].policy.waiting;
		sum->policy.in_flight += o[i].policy.in_flight;
		sum->policy.stale_tickets += o[i].policy.stale_tickets;
		sum->policy.lua_bytes += o[i].policy.lua_bytes;
	}
	free(o);
}

static void
handler_metrics(struct daemon *d, void (*fn)(void *arg, const struct ctl_metric *m), void *arg)
{
	struct order *o = xcalloc(d->crew.n, sizeof *o);
	struct policy_counts sum = { 0 };
	struct policy_stats stats = { 0 };

	crew_order(&d->crew, &(struct order){ .what = ORDER_COUNTS }, o, 2000, NULL);
	for (unsigned i = 0; i < d->crew.n; i++) {
		policy_counts_add(&sum, &o[i].counts);
		stats.waiting += o[i].policy.waiting;
		stats.stale_tickets += o[i].policy.stale_tickets;
		policy_counts_fini(&o[i].counts);
	}
	policy_metrics(&sum, &stats, fn, arg);
	policy_counts_fini(&sum);
	free(o);
}

static void
dns_metrics(const struct daemon *d, void (*fn)(void *arg, const struct ctl_metric *m), void *arg)
{
	const struct resolver_state *s = resolver_state_peek(d->resolver);
	struct ctl_metric m = { "sallyport_dnssec_trusted", "1 when DNSSEC validation passed its last self-test", false,
		NULL, s->trust == DNS_HONEST ? 1 : 0 };
	char label[64];

	fn(arg, &m);
	m = (struct ctl_metric){ "sallyport_dnssec_lost", "1 when no answer counts as secure", false, NULL,
		s->is_lost ? 1 : 0 };
	fn(arg, &m);
	for (int t = DNS_UNTESTED + 1; t < DNS_TRUSTS; t++) {
		snprintf(label, sizeof label, "verdict=\"%s\"", dns_trust_name((enum dns_trust)t));
		m = (struct ctl_metric){ "sallyport_dnssec_self_tests_total", "Self-tests of DNSSEC validation", true,
			label, (double)s->tests[t] };
		fn(arg, &m);
	}
}

static json_t *
dns_status(const struct daemon *d)
{
	const struct resolver_state *s = resolver_state_peek(d->resolver);
	bool ok = s->trust == DNS_HONEST;
	char tested[32] = "", since[32] = "";

	if (s->tested_ms != 0) {
		date_iso8601(tested, sizeof tested, s->tested_ms);
		date_iso8601(since, sizeof since, s->since_ms);
	}
	return json_pack("{s:b, s:s, s:s, s:b, s:s, s:s, s:s}", "trusted", ok, "verdict", dns_trust_name(s->trust),
	    "why", ok ? "ok" : s->trust == DNS_UNTESTED ? "the first self-test is under way" : s->why,
	    "nothing_secure", s->is_lost, "todo", dns_trust_advice(s->trust), "since", since, "tested", tested);
}

static void
metrics(void *owner, void (*fn)(void *arg, const struct ctl_metric *m), void *arg)
{
	struct daemon *d = owner;
	struct store_stats st;
	struct order s;

	add_stats(d, &s);
	memory_level(d->memory);
	store_stats(d->store, &st);
	static const struct sts_served none;
	const struct sts_served *web = d->web != NULL ? web_counts(d->web) : &none;
	const struct ctl_metric all[] = {
		{ "sallyport_sessions_total", "Sessions accepted", true, NULL, (double)s.stats.sessions },
		{ "sallyport_sessions", "Sessions open now", false, NULL, (double)s.sessions },
		{ "sallyport_sessions_turned_away_total", "Connections answered 421 at once", true, NULL, (double)s.stats.turned_away },
		{ "sallyport_memory_bytes", "Memory held, as measured last", false, NULL, (double)memory_now(d->memory) },
		{ "sallyport_memory_limit_bytes", "What limits.memory comes to", false, NULL, (double)memory_limit(d->memory) },
		{ "sallyport_messages_accepted_total", "Messages answered 250", true, NULL, (double)s.stats.accepted },
		{ "sallyport_refused_total", "Refusals at reception", true, "class=\"5\"", (double)s.stats.rejected },
		{ "sallyport_refused_total", "Refusals at reception", true, "class=\"4\"", (double)s.stats.deferred },
		{ "sallyport_bytes_accepted_total", "Octets of accepted messages", true, NULL, (double)s.stats.bytes },
		{ "sallyport_attempts_total", "Delivery attempts", true, NULL, (double)s.deliver.attempts },
		{ "sallyport_deliveries_total", "Recipients by outcome", true, "outcome=\"delivered\"", (double)s.deliver.delivered },
		{ "sallyport_deliveries_total", "Recipients by outcome", true, "outcome=\"deferred\"", (double)s.deliver.deferred },
		{ "sallyport_deliveries_total", "Recipients by outcome", true, "outcome=\"failed\"", (double)s.deliver.failed },
		{ "sallyport_sent_total", "Transactions by protection", true, "protection=\"verified\"", (double)s.deliver.over_verified_tls },
		{ "sallyport_sent_total", "Transactions by protection", true, "protection=\"encrypted\"", (double)s.deliver.over_tls },
		{ "sallyport_sent_total", "Transactions by protection", true, "protection=\"clear\"", (double)s.deliver.in_clear },
		{ "sallyport_sent_requiretls_total", "Transactions with REQUIRETLS", true, NULL, (double)s.deliver.with_requiretls },
		{ "sallyport_connections_total", "Connections to next hops", true, NULL, (double)s.deliver.connections },
		{ "sallyport_connections_reused_total", "Transactions on a kept connection", true, NULL, (double)s.deliver.reused },
		{ "sallyport_notices_total", "Notices sent to senders", true, NULL, (double)s.deliver.bounces },
		{ "sallyport_queue_messages", "Messages in the queue", false, NULL, (double)st.messages },
		{ "sallyport_queue_recipients", "Recipients in the queue", false, NULL, (double)st.recipients },
		{ "sallyport_queue_held", "Recipients on hold", false, NULL, (double)st.held },
		{ "sallyport_queue_active", "Recipients being delivered", false, NULL, (double)st.active },
		{ "sallyport_commits_total", "Commits of the queue database", true, NULL, (double)st.commits },
		{ "sallyport_commit_longest_seconds", "Longest commit", false, NULL, (double)st.longest_commit_us / 1e6 },
		{ "sallyport_policy_calls_total", "Hook calls", true, NULL, (double)s.policy.calls },
		{ "sallyport_policy_errors_total", "Handlers that failed", true, NULL, (double)s.policy.errors },
		{ "sallyport_policy_limits_total", "Handlers that exceeded a limit", true, NULL, (double)s.policy.limits },
		{ "sallyport_policy_waiting", "Hook calls that wait", false, NULL, (double)s.policy.waiting },
		{ "sallyport_policy_in_flight", "What they wait for", false, NULL, (double)s.policy.in_flight },
		{ "sallyport_policy_stale_tickets_total", "Answers that came too late", true, NULL,
		    (double)s.policy.stale_tickets },
		{ "sallyport_policy_lua_bytes", "Memory of the Lua states", false, NULL, (double)s.policy.lua_bytes },
		{ "sallyport_sts_served_total", "Requests to sts_serve", true, "result=\"policy\"", (double)atomic_load(&web->pages) },
		{ "sallyport_sts_served_total", "Requests to sts_serve", true, "result=\"not_found\"", (double)atomic_load(&web->not_found) },
		{ "sallyport_sts_served_total", "Requests to sts_serve", true, "result=\"bad\"", (double)atomic_load(&web->bad) },
		{ "sallyport_sts_served_total", "Requests to sts_serve", true, "result=\"unfinished\"", (double)atomic_load(&web->unfinished) },
	};

	for (size_t i = 0; i < NELEMS(all); i++)
		fn(arg, &all[i]);
	dns_metrics(d, fn, arg);
	generations_metrics(d->gens, fn, arg);
	table_metrics(d, fn, arg);
	counter_metrics(d, fn, arg);
	metrics_each(node_metrics(d->node), own_metric, &(struct metric_out){ fn, arg });
	handler_metrics(d, fn, arg);
	for (int k = 0; k < OFFERS; k++) {
		char label[64];
		struct ctl_metric m = { "sallyport_protection_gone_total", "Domains and hosts that offer less than before",
			true, label, (double)s.deliver.worse[k] };

		snprintf(label, sizeof label, "what=\"%s\"", offer_name((enum offer)k));
		fn(arg, &m);
	}
}

static json_t *
status(void *owner)
{
	struct daemon *d = owner;
	const struct conf *c = d->setup->conf;
	struct store_stats st;
	struct order s;
	char since[32];

	add_stats(d, &s);
	store_stats(d->store, &st);
	date_iso8601(since, sizeof since, d->started_ms);
	return json_pack("{s:s, s:s, s:s, s:i, s:s, s:{s:I, s:I, s:I, s:I}, s:{s:I, s:I}, s:{s:I, s:I, s:I, s:I, s:I},"
	    " s:{s:I, s:I, s:I}, s:o, s:{s:s, s:s, s:s}, s:s, s:o}",
	    "version", PACKAGE_VERSION, "hostname", c->identity.hostname,
	    "generation", policy_bundle_id(d->setup->bundle), "workers", (int)d->crew.n, "since", since,
	    "queue", "messages", (json_int_t)st.messages, "recipients", (json_int_t)st.recipients,
	    "active", (json_int_t)st.active, "held", (json_int_t)st.held,
	    "sessions", "now", (json_int_t)s.sessions, "total", (json_int_t)s.stats.sessions,
	    "messages", "accepted", (json_int_t)s.stats.accepted, "delivered", (json_int_t)s.deliver.delivered,
	    "deferred", (json_int_t)s.deliver.deferred, "failed", (json_int_t)s.deliver.failed,
	    "notices", (json_int_t)s.deliver.bounces,
	    "sent", "verified", (json_int_t)s.deliver.over_verified_tls, "encrypted",
	    (json_int_t)s.deliver.over_tls, "clear", (json_int_t)s.deliver.in_clear,
	    "dnssec", dns_status(d),
	    "confinement", "user", c->service.user != NULL ? c->service.user : "unchanged",
	    "files", d->confined.files, "calls", d->confined.calls,
	    "storage", store_may_accept(d->store, 0) == STORE_OK ? "ok" :
	        store_may_accept(d->store, 0) == STORE_FULL ? "full" : "failed",
	    "policy", generations_status(d->gens));
}

#define SETTLE_MS 10000

static bool
settle(void *owner)
{
	return crew_tell(&((struct daemon *)owner)->crew, ORDER_SETTLE, SETTLE_MS, NULL);
}

static json_t *
rates(void *owner, const char *name, size_t keys)
{
	return rate_list(((struct daemon *)owner)->node, name, keys < RATE_KEYS_SHOWN ? keys : RATE_KEYS_SHOWN);
}

/* What the rings have of a message or session. */
static json_t *
records(void *owner, uint64_t id)
{
	struct daemon *d = owner;
	struct order *o = xcalloc(d->crew.n, sizeof *o), like = { .what = ORDER_TRACE, .id = id };
	json_t *all = json_array();

	crew_order(&d->crew, &like, o, 5000, NULL);
	for (unsigned i = 0; i < d->crew.n; i++) {
		json_array_extend(all, o[i].records);
		json_decref(o[i].records);
	}
	free(o);
	return json_pack("{s:o}", "trace", all);
}

static void
watch(void *owner, bool on, const struct trace_filter *filter)
{
	struct order like = { .what = ORDER_WATCH, .watch = { .on = on, .filter = *filter } };

	crew_order(&((struct daemon *)owner)->crew, &like, NULL, 5000, NULL);
}

void
trace_arrived(void *reader, struct mail *m)
{
	struct daemon *d = reader;
	struct trace_mail *t = (struct trace_mail *)m;
	json_t *record = json_incref(t->record);
	uint64_t left_out = trace_mail_free(t);

	if (d->ctl != NULL)
		ctl_record(d->ctl, record, left_out);
	json_decref(record);
}

static const struct ctl_ops ctl_ops = { metrics, reload, status, settle, policy, rates, records,
    watch };

/* ---- Start ---- */

/* With SO_REUSEPORT a second daemon of the same user would get its share of the first one's mail
 * instead of an error; without it the kernel says that the port is taken. */
static int
port_is_free(const struct net_addr *a, struct err *err)
{
	int fd = net_listen(a, false, err);

	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static int
bind_web(struct daemon *d, struct err *err)
{
	const struct conf *c = d->setup->conf;

	for (size_t i = 0; i < c->sts_serve.nbind; i++) {
		struct net_addr a;

		if (net_addr_parse(&a, slice_of(c->sts_serve.bind[i]), 0, err) != 0)
			return -1;
		d->web_fds[i] = net_listen(&a, false, err);
		if (d->web_fds[i] < 0) {
			err_prefix(err, "sts_serve.bind");
			return -1;
		}
	}
	return 0;
}

static int
bind_all(struct daemon *d, struct err *err)
{
	const struct conf *c = d->setup->conf;
	size_t total = 0;

	for (size_t i = 0; i < c->nlisteners; i++)
		total += c->listeners[i].nbind;
	d->bound = xcalloc(d->crew.n, sizeof(struct bound *));
	d->nbound = xcalloc(d->crew.n, sizeof *d->nbound);
	for (unsigned w = 0; w < d->crew.n; w++)
		d->bound[w] = xcalloc(total, sizeof **d->bound);
	for (size_t i = 0; i < c->nlisteners; i++) {
		for (size_t k = 0; k < c->listeners[i].nbind; k++) {
			struct net_addr a;
			unsigned sockets;

			if (net_addr_parse(&a, slice_of(c->listeners[i].bind[k]), 25, err) != 0)
				return -1;
			/* A Unix socket has no SO_REUSEPORT: one worker takes what comes there. */
			sockets = a.ss.ss_family == AF_UNIX ? 1 : d->crew.n;
			if (sockets > 1 && port_is_free(&a, err) != 0) {
				err_prefix(err, "listeners.%s", c->listeners[i].name);
				return -1;
			}
			for (unsigned w = 0; w < sockets; w++) {
				int fd = net_listen(&a, sockets > 1, err);

				if (fd < 0) {
					err_prefix(err, "listeners.%s", c->listeners[i].name);
					return -1;
				}
				d->bound[w][d->nbound[w]++] = (struct bound){ i, fd };
			}
		}
	}
	return 0;
}

/* The directory of a file that the daemon makes. `must_own`: it is ours alone; else only made, and
 * given away, when it is missing. */
static int
prepare_parent(const char *file, bool must_own, const char *user, struct err *err)
{
	char *dir, *slash;
	int rc = 0;

	if (file == NULL)
		return 0;
	dir = xstrdup(file);
	slash = strrchr(dir, '/');
	if (slash != NULL && slash != dir) {
		*slash = '\0';
		if (must_own || access(dir, F_OK) != 0)
			rc = privileges_own(dir, user, err);
	}
	free(dir);
	return rc;
}

static int
prepare_directories(const struct conf *c, struct err *err)
{
	const char *user = c->service.user;

	if (prepare_parent(c->service.control, true, user, err) != 0 ||
	    prepare_parent(c->log.file, false, user, err) != 0 ||
	    prepare_parent(c->log.json_file, false, user, err) != 0 ||
	    prepare_parent(c->log.journal, false, user, err) != 0)
		return -1;
	return privileges_own(c->service.state, user, err);
}

static int
open_log(const struct conf *c, struct err *err)
{
	struct log_conf lc = { c->log.file, c->log.json_file, c->log.journal, c->log.json, (enum log_level)c->log.level };

	if (log_open(&lc, err) != 0)
		return -1;
	/* So that they can be opened again after rotation. */
	return privileges_give(c->log.file, c->service.user, err) != 0 ||
	    privileges_give(c->log.json_file, c->service.user, err) != 0 ||
	    privileges_give(c->log.journal, c->service.user, err) != 0 ? -1 : 0;
}

/* What reload and the libraries open later: this is all that stays reachable. */
static void
list_paths(const struct conf *c, struct confine_paths *p)
{
	static const char *const system_read[] = { "/etc", "/usr", "/lib", "/lib64", "/dev/urandom",
		"/run/systemd/resolve", "/proc/sys/vm/overcommit_memory", "/sys/devices/system/cpu",
#ifdef SANITIZED
		"/proc",	/* looking for leaks at the end, they walk through the threads there */
#endif
	};

	for (size_t i = 0; i < NELEMS(system_read); i++)
		confine_may_read(p, system_read[i]);
	confine_may_read_beside(p, c->file);
	confine_may_read(p, policy_library_dir());
	for (size_t i = 0; i < c->tls.nidentities; i++) {
		confine_may_read_beside(p, c->tls.identities[i].cert);
		if (c->tls.identities[i].key.fd < 0)
			confine_may_read_beside(p, c->tls.identities[i].key.path);
	}
	confine_may_read_beside(p, c->tls.ca_file);
	confine_may_read_beside(p, c->tls.sts_ca_file);
	confine_may_read_beside(p, c->tlsrpt.ca_file);
	if (c->tlsrpt.dkim.key.fd < 0)
		confine_may_read_beside(p, c->tlsrpt.dkim.key.path);
	for (size_t i = 0; i < c->ndkim; i++)
		if (c->dkim[i].key.fd < 0)
			confine_may_read_beside(p, c->dkim[i].key.path);
	for (size_t i = 0; i < c->ncredentials; i++)
		if (c->credentials[i].password.fd < 0)
			confine_may_read_beside(p, c->credentials[i].password.path);
	for (size_t i = 0; i < c->nroutes; i++)
		confine_may_read_beside(p, c->routes[i]->ca_file);
	for (size_t i = 0; i < c->policy.nload; i++)
		confine_may_read_beside(p, c->policy.load[i]);
	for (size_t i = 0; i < c->ntables; i++) {
		confine_may_read_beside(p, c->tables[i].csv);
		confine_may_read_beside(p, c->tables[i].cdb);
		confine_may_read_beside(p, c->tables[i].json);
		confine_may_read_beside(p, c->tables[i].sqlite);
	}
	for (size_t i = 0; i < c->ndatabases; i++)
		confine_may_read_beside(p, c->databases[i].file);
	confine_may_read_beside(p, c->policy.http_ca_file);
	confine_may_read_beside(p, c->dns.anchor);
	confine_may_read(p, c->dsn.templates);
	confine_may_read_beside(p, c->policy.geo_country);
	confine_may_read_beside(p, c->policy.geo_asn);
	confine_may_write(p, c->service.state);
	confine_may_write_beside(p, c->queue.path);
	confine_may_write_beside(p, c->service.control);
	confine_may_write_beside(p, c->log.file);
	confine_may_write_beside(p, c->log.json_file);
	confine_may_write_beside(p, c->log.journal);
	confine_may_write(p, "/dev/null");
	p->tcp_port = c->service.http_text != NULL ? net_addr_port(&c->service.http) : 0;
}

static int
confine(struct daemon *d, struct err *err)
{
	const struct conf *c = d->setup->conf;
	struct confine_paths p = { 0 };
	int rc = 0;

	snprintf(d->confined.files, sizeof d->confined.files, "off");
	snprintf(d->confined.calls, sizeof d->confined.calls, "off");
	if (c->service.landlock == 0) {
		list_paths(c, &p);
		rc = confine_files(&p, d->confined.files, sizeof d->confined.files, err);
		confine_paths_fini(&p);
		if (rc > 0)
			generations_are_confined(d->gens);
	}
	if (rc >= 0 && c->service.seccomp != 2)
		rc = confine_calls(c->service.seccomp == 1, d->confined.calls, sizeof d->confined.calls, err);
	if (rc < 0)
		return -1;
	log_info("confined", LOG_S("user", c->service.user != NULL ? c->service.user : "unchanged"),
	    LOG_S("files", d->confined.files), LOG_S("calls", d->confined.calls));
	return 0;
}

/* How many sessions the descriptors suffice for: some are kept for the queue, the log, DNS,
 * files of large messages and connections to next hops. */
static unsigned
sessions_that_fit(const struct conf *c)
{
	uint64_t others = 128 + 64 * (uint64_t)c->service.workers, want, fit;
	struct rlimit files;

	if (c->sts_serve.nbind > 0)
		others += 2 * STS_SERVE_CONNECTIONS;
	if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY)
		return UINT_MAX;
	want = others + c->limits.sessions + c->limits.sessions / 10;
	if (files.rlim_cur >= want)
		return UINT_MAX;
	fit = files.rlim_cur > 2 * others ? (files.rlim_cur - others) * 10 / 11 : files.rlim_cur / 2;
	log_warn("too few file descriptors for limits.sessions: fewer sessions are taken; raise the limit "
	    "(LimitNOFILE in systemd, ulimit -n)", LOG_U("descriptors", files.rlim_cur), LOG_U("wanted", want),
	    LOG_U("sessions", fit));
	return (unsigned)fit;
}

static int
start(struct daemon *d, struct err *err)
{
	const struct conf *c = d->setup->conf;
	struct store_conf sc = { .path = c->queue.path, .min_free_percent = c->queue.min_free_percent,
		.max_bytes = c->queue.max_bytes, .max_messages = c->queue.max_messages,
		.workers = c->service.workers, .max_active = c->queue.active, .yield_ms = 5,
		.evidence_keep_ms = c->evidence.keep_ms,
		.trace_keep_ms = c->trace.keep_ms, .trace_rows = c->trace.rows,
		.tlsrpt_max_domains = c->tlsrpt.max_domains, .tlsrpt_keep_ms = c->tlsrpt.keep_ms };
	struct ctl_conf cc = { c->service.control, c->service.http_text };
	sigset_t all, old;

	d->crew.n = c->service.workers;
	if (bind_all(d, err) != 0 || bind_web(d, err) != 0 || prepare_directories(c, err) != 0 || open_log(c, err) != 0 ||
	    privileges_drop(c->service.user, err) != 0)
		return -1;
	privileges_harden();
	d->memory = memory_new(c->limits.memory);
	/* Before the first thread: they inherit it. */
	if (confine(d, err) != 0)
		return -1;
	d->store = store_open(&sc, err);
	if (d->store == NULL)
		return -1;
	/* Signals are the main thread's alone. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	log_start();
	d->node = node_new();
	d->pool = pool_new(DATA_THREADS, DATA_JOBS_MAX, err);
	if (d->pool == NULL)
		return -1;
	d->sessions = sessions_count_new(sessions_that_fit(c));
	d->crew.workers = xcalloc(d->crew.n, sizeof(struct worker *));
	d->worker_mbs = xcalloc(d->crew.n, sizeof(struct mailbox *));
	for (unsigned i = 0; i < d->crew.n; i++) {
		d->crew.workers[i] = worker_new(i, d->crew.n, d->store, d->sessions, d->memory);
		d->crew.workers[i]->all = d->crew.workers;
		d->crew.workers[i]->pool = d->pool;
		d->crew.workers[i]->node = d->node;
		d->crew.workers[i]->main_mb = d->mb;
		d->worker_mbs[i] = d->crew.workers[i]->mb;
	}
	for (unsigned i = 0; i < d->crew.n; i++, d->crew.running++)
		if (worker_start(d->crew.workers[i], d->bound[i], d->nbound[i], err) != 0)
			return -1;
	if (!generations_start(d->gens, d->setup, err))
		return -1;
	/* Only now is there somebody to hand out to what was waiting. */
	if (store_start(d->store, d->worker_mbs, worker_on_due, err) != 0)
		return -1;
	d->store_started = true;
	if (c->sts_serve.nbind > 0) {
		d->web = web_new(d->web_fds, c->sts_serve.nbind, err);
		if (d->web == NULL)
			return -1;
		web_use(d->web, d->setup->pages);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	d->resolver = resolver_new(d->base, d->setup, resolver_changed, d);
	d->ctl = ctl_new(d->base, &cc, d->store, d->mb, &ctl_ops, d, err);
	if (d->ctl == NULL)
		return -1;
	crew_tell(&d->crew, ORDER_LISTEN, ORDER_MS, NULL);
	return 0;
}

/* ---- Signals and the end ---- */

static void
on_signal(evutil_socket_t sig, short what, void *arg)
{
	struct daemon *d = arg;
	struct err err = { "" };

	switch (sig) {
	case SIGHUP:
		log_reopen();
		notify("RELOADING=1");
		reload(d, "SIGHUP", &err);
		notify("READY=1");
		break;
	case SIGUSR1:
		log_reopen();
		break;
	default:
		log_info("stopping", LOG_S("signal", sig == SIGTERM ? "TERM" : "INT"));
		d->stop_asked = true;
		event_base_loopbreak(d->base);
	}
}

static void
shut_down(struct daemon *d)
{
	notify("STOPPING=1");
	generations_close(d->gens);
	resolver_free(d->resolver);
	d->resolver = NULL;
	if (d->crew.running > 0) {
		if (d->store_started)
			crew_tell(&d->crew, ORDER_DRAIN, d->setup->conf->limits.shutdown_ms, NULL);
		crew_tell(&d->crew, ORDER_CUT, 5000, NULL);
	}
	ctl_free(d->ctl);
	d->ctl = NULL;
	web_free(d->web);
	/* Results of what was just delivered are still on their way; the workers' loops take the
	 * answers until the store has nothing left to say. */
	if (d->store_started)
		store_close(d->store);
	if (d->crew.running > 0) {
		crew_tell(&d->crew, ORDER_STOP, STOP_MS, NULL);
		for (unsigned i = 0; i < d->crew.running; i++)
			pthread_join(d->crew.workers[i]->thread, NULL);
	}
	pool_free(d->pool);		/* its last answers are the workers' to take */
	for (unsigned i = 0; d->crew.workers != NULL && i < d->crew.n; i++)
		if (d->crew.workers[i] != NULL)
			worker_free(d->crew.workers[i]);
	node_unref(d->node);
	mailbox_drain(d->mb);		/* what they had to say last */
	store_free(d->store);
	if (d->sessions != NULL)
		sessions_count_free(d->sessions);
	memory_free(d->memory);
}

static void
daemon_free(struct daemon *d)
{
	for (size_t i = 0; i < NELEMS(d->signals); i++)
		if (d->signals[i] != NULL)
			event_free(d->signals[i]);
	if (d->hourly != NULL)
		event_free(d->hourly);
	if (d->look != NULL)
		event_free(d->look);
	for (unsigned i = 0; d->bound != NULL && i < d->crew.n; i++)
		free(d->bound[i]);
	free(d->bound);
	free(d->nbound);
	free(d->crew.workers);
	free(d->worker_mbs);
	mailbox_drain(d->mb);
	generations_free(d->gens);
	mailbox_free(d->mb);
	mailbox_free(d->crew.answers);
	if (d->base != NULL)
		event_base_free(d->base);
	setup_unref(d->setup);
	rows_free_unheld();
}

/* Started with standard error closed, the next file opened would be number 2: log lines would go into
 * the queue or to a client (F-19). */
static void
open_standard(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

int
gateway_run(const char *conf_file)
{
	static const int sigs[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1 };
	static const struct timeval hour = { 3600, 0 }, look = { 0, LOOK_MS * 1000 };
	struct daemon d = { .conf_file = conf_file, .started_ms = clock_wall_ms() };
	struct err err = { "" };
	char *errors;
	int rc = 0;

	open_standard();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* a file size limit is a full disk, no reason to die */
	/* Neither tells of every allocation that fails: a JSON value would lose a member, an event
	 * would never come. A clean end instead (F-8). */
	json_set_alloc_funcs(xmalloc, free);
	event_set_mem_functions(xmalloc, xrealloc, free);
	net_tls_init();
	web_init();
	d.setup = setup_new(conf_file, NULL, &errors);
	if (d.setup == NULL) {
		fprintf(stderr, "%s\n", errors);
		free(errors);
		return 1;
	}
	say_warnings(d.setup->conf);
	d.base = event_base_new();
	d.mb = mailbox_new(d.base, &d);
	d.crew.answers = mailbox_new(NULL, NULL);
	d.gens = generations_new(d.base, &d.crew, d.mb, conf_file, &generations_ops, &d);
	for (size_t i = 0; i < NELEMS(sigs); i++) {
		d.signals[i] = evsignal_new(d.base, sigs[i], on_signal, &d);
		evsignal_add(d.signals[i], NULL);
	}
	d.hourly = event_new(d.base, -1, EV_PERSIST, on_hour, &d);
	event_add(d.hourly, &hour);
	d.look = event_new(d.base, -1, EV_PERSIST, on_look, &d);
	event_add(d.look, &look);
	if (start(&d, &err) != 0) {
		log_error("cannot start", LOG_S("why", err.text));
		fprintf(stderr, "sallyportd: %s\n", err.text);
		rc = 1;
	} else {
		log_info("started", LOG_S("version", PACKAGE_VERSION), LOG_S("host", d.setup->conf->identity.hostname),
		    LOG_U("workers", d.crew.n), LOG_B("gen", policy_bundle_id(d.setup->bundle), 12));
		notify("READY=1");
		event_base_dispatch(d.base);
	}
	shut_down(&d);
	log_info("stopped", LOG_I("status", rc));
	log_stop();
	daemon_free(&d);
	return rc;
}
