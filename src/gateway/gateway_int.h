#ifndef GATEWAY_GATEWAY_INT_H
#define GATEWAY_GATEWAY_INT_H

#include <event2/event.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "conf/conf.h"
#include "deliver/deliver.h"
#include "deliver/routing.h"
#include "dns/dns.h"
#include "gateway/gateway.h"
#include "gateway/memory.h"
#include "policy/policy.h"
#include "policy/trace.h"
#include "queue/store.h"
#include "smtp/smtp.h"
#include "sts/serve.h"
#include "sts/sts.h"
#include "tlsrpt/send.h"
#include "web/web.h"

/* ---- setup.c: one reading of the configuration ---- */
struct setup {
	atomic_int refs;
	struct conf *conf;
	char *spool_dir;		/* of bodies under way */
	struct policy_bundle *bundle;
	struct tls_client *tls;		/* for tls.trust */
	struct tls_client *sts_tls;	/* for tls.sts_ca_file */
	struct tls_client *tlsrpt_tls;	/* for tlsrpt.ca_file */
	struct dkim_key *tlsrpt_dkim;	/* NULL: none */
	struct smtp_server_conf *listeners;	/* same order as conf->listeners */
	struct sts_pages *pages;	/* of sts_serve; NULL: it has no addresses */
	struct mx_conf mx;
	const char *self_names[3];
	struct net_addr *self_addrs;
};
/* NULL with every problem in *errors (heap). `running`: what the daemon was started with, whose
 * directories stay those of this process; NULL at start. */
struct setup *setup_new(const char *conf_file, const struct setup *running, char **errors);
/* The same of a configuration that was read; takes it, on failure too. */
struct setup *setup_of(struct conf *conf, const struct setup *running, char **errors);
struct setup *setup_ref(struct setup *s);
void setup_unref(struct setup *s);

/* ---- sessions.c: how many there are, in all and for each address ---- */
struct sessions_count;
/* `cap`: never more than this, for want of descriptors. */
struct sessions_count *sessions_count_new(unsigned cap);
unsigned sessions_max(const struct sessions_count *c, unsigned configured);
void sessions_count_free(struct sessions_count *c);
/* NULL: one more is fine and was counted. Else the 421 to say. Any thread, no lock. */
const char *sessions_enter(struct sessions_count *c, const struct net_addr *peer, unsigned max,
    unsigned max_per_address);
void sessions_leave(struct sessions_count *c, const struct net_addr *peer);
unsigned sessions_now(const struct sessions_count *c);

/* ---- What all workers know of one generation. Counted in any thread, read by the main thread. ---- */
struct generations;
struct gen_shared {
	atomic_int refs;
	struct generations *to;		/* where failures are told; without `mb` nowhere */
	struct mailbox *mb;
	uint64_t num;
	char id[13];
	atomic_uint states;		/* Lua states that live */
	atomic_uint sessions, attempts;	/* that began with it and go on */
	atomic_uint_fast64_t started, accepted, rejected, deferred, errors;
	atomic_uint unread;		/* failures told and not yet looked at */
};
struct gen_shared *gen_shared_ref(struct gen_shared *s);
void gen_shared_unref(struct gen_shared *s);
void generation_failed(void *owner, enum policy_hook hook, const char *handler);	/* a worker's; policy_watch */

/* Which new sessions meet a generation before it is active. All that is given has to hold. */
#define CANARY_MAX 16
struct canary {
	unsigned basis_points;		/* of 10,000 sessions */
	struct net_cidr cidrs[CANARY_MAX];
	size_t ncidrs;
	size_t listeners[CANARY_MAX];	/* places in conf->listeners */
	size_t nlisteners;
};

/* ---- worker.c ---- */
struct reception;
struct generation {		/* one worker's; counted, one thread */
	TAILQ_ENTRY(generation) link;
	int refs;
	struct worker *w;
	struct gen_shared *shared;
	struct setup *setup;
	struct policy_gen *gen;
	TAILQ_HEAD(, reception) sessions;
	bool is_kept;			/* one of the references is the worker's: loaded, not active */
	bool said_selective;		/* one line about it is enough */
};
struct generation *generation_ref(struct generation *g);
void generation_unref(struct generation *g);

/* What a rehearsal puts in place of the world (src/rehearsal); a daemon has none of it. */
struct worker_edges {
	const struct dns_fixture *dns;
	const struct sts_fixture *sts;
	const struct policy_http_fixture *http;
	const struct policy_sql_fixture *sql;
	void (*made)(void *owner, struct policy *p);	/* an engine, before anything is loaded; may be NULL */
	/* Asked before queued mail goes to delivery: true, and it is kept by the asked, who calls deliver_add
	 * himself or not at all. Borrows. `states` as deliver_add has them, or NULL. */
	bool (*keeps)(void *owner, struct msg *msg, const struct store_rcpt_state *states, const bool *mine,
	    uint64_t epoch);
	void *owner;
};
struct worker_stats {
	uint64_t sessions, accepted, rejected, deferred, bytes, turned_away;
};
struct worker {
	unsigned index, count;
	pthread_t thread;
	struct event_base *base;
	struct mailbox *mb;
	struct dns *dns;
	struct setup *dns_setup;	/* what it was made from */
	struct policy *policy;
	struct sts_finder *sts;
	struct tlsrpt_sender *tlsrpt;	/* the first worker's only */
	struct deliver *deliver;
	struct smtp_server *smtp;
	struct store *store;
	struct pool *pool;		/* shared, as the next */
	struct node *node;
	struct sessions_count *sessions;
	struct memory *memory;		/* shared, lock-free */
	bool stressed;			/* many sessions: their commands have less time */
	TAILQ_HEAD(, generation) generations;	/* all that live here */
	struct generation *now;		/* what new sessions and attempts begin with */
	struct generation *trial;	/* a kept one that some new sessions begin with; NULL */
	struct canary canary;		/* which ones */
	struct generation *loading;
	const struct worker_edges *edges;	/* NULL */
	struct order *load_order;	/* to be answered when the policy's init is through */
	struct order *stop_order;	/* ... its fini */
	struct net_listener **listeners;
	struct listener_of { struct worker *w; size_t listener; } *listener_of;
	int *listener_fds;
	size_t nlisteners;
	struct worker **all;		/* every worker: to post to */
	struct mailbox *main_mb;	/* the main thread's */
	struct tracing *tracing;	/* NULL until a policy is active */
	struct worker_stats stats;
	struct event *drain_timer;
	struct order *drain_order;	/* to be answered when nothing is in flight */
	bool stopping, deliver_idle;
};
/* A socket that was bound in the main thread: which listener, its fd. */
struct bound {
	size_t listener;
	int fd;
};
struct worker *worker_new(unsigned index, unsigned count, struct store *store,
    struct sessions_count *sessions, struct memory *memory);
void worker_session_left(struct worker *w);
/* A client has connected. Takes fd. The session's number, and its reception; 0: it was turned away. */
struct reception;
uint64_t worker_accept(struct worker *w, size_t listener, int fd, const struct net_addr *peer,
    struct reception **reception_out);
int worker_start(struct worker *w, const struct bound *bound, size_t nbound, struct err *err);
void worker_free(struct worker *w);		/* after its thread has ended */
void worker_on_due(void *reader, struct mail *m);	/* store_start's on_due */
/* Sends a committed message's recipients to the workers that own their destinations. Borrows. */
void worker_dispatch(struct worker *w, const struct store_submit *queued);

/* From main to a worker and back, in one struct (see mailbox.h). */
enum order_kind { ORDER_LOAD, ORDER_ACTIVATE, ORDER_DISCARD, ORDER_CANARY, ORDER_END_SESSIONS, ORDER_LISTEN,
	ORDER_DRAIN, ORDER_CUT, ORDER_STOP, ORDER_STATS, ORDER_SETTLE, ORDER_DNS,
	ORDER_COUNTS, ORDER_TRACE, ORDER_WATCH };
struct order {
	struct mail mail;
	enum order_kind what;
	unsigned worker;		/* whom it went to */
	uint64_t seq;			/* which round of orders it belongs to */
	uint64_t num;			/* which generation; CANARY: 0 none any more */
	struct setup *setup;		/* LOAD: a reference */
	struct gen_shared *shared;	/* LOAD */
	const char *reason;		/* LOAD: for init */
	struct canary canary;		/* CANARY */
	bool ok;
	struct err err;
	/* STATS */
	struct worker_stats stats;
	struct deliver_stats deliver;
	struct policy_stats policy;
	size_t sessions;
	struct policy_counts counts;	/* COUNTS */
	uint64_t id;			/* TRACE: of a message or session */
	json_t *records;		/* and its answer */
	struct { bool on; struct trace_filter filter; } watch;	/* WATCH */
	struct dns_verdict {		/* DNS: what the self-test found (resolver.h) */
		enum dns_trust trust;
		bool is_new, is_lost, reopen;
		char why[256];
	} dns;
};
void worker_order(struct worker *w, struct order *o);

/* ---- crew.c: all workers, and their answers ---- */
struct crew {
	struct worker **workers;
	unsigned n, running;		/* running: those whose threads were started */
	struct mailbox *answers;
	uint64_t seq;
};
#define ORDER_MS 60000		/* a worker that does not answer for so long is stuck */
/* Posts one order like this to every worker and waits for all the answers, which come back as
 * `out`. */
bool crew_order(struct crew *c, const struct order *like, struct order *out, int64_t ms, struct err *err);
bool crew_tell(struct crew *c, enum order_kind what, int64_t ms, struct err *err);

/* ---- tracing.c: records of handlers leave a worker ---- */
void tracing_use(struct worker *w, const struct conf *c);	/* w->policy is there */
void tracing_watch(struct worker *w, bool on, const struct trace_filter *f);
void tracing_flush(struct worker *w);
void tracing_free(struct worker *w);
json_t *tracing_records(struct worker *w, uint64_t id);		/* what the ring has: a list, new reference */
/* To the main thread, which runs trace_arrived; the number of records that were left out since. */
struct trace_mail {
	struct mail mail;
	json_t *record;
};
void trace_arrived(void *reader, struct mail *m);		/* daemon.c */
uint64_t trace_mail_free(struct trace_mail *m);

/* ---- metrics.c ---- */
struct ctl_metric;
void policy_metrics(const struct policy_counts *c, const struct policy_stats *s,
    void (*fn)(void *arg, const struct ctl_metric *m), void *arg);

/* ---- web.c: the thread of sts_serve ---- */
struct web;
/* Takes the sockets. Its thread begins here. */
struct web *web_new(const int *fds, size_t n, struct err *err);
/* Back when the thread serves these pages and no others. */
void web_use(struct web *w, struct sts_pages *p);
const struct sts_served *web_counts(const struct web *w);
void web_free(struct web *w);		/* NULL is fine; its thread has ended */

/* ---- reception.c ---- */
extern const struct smtp_session_ops reception_ops;
/* 421 at the next command boundary for every session that began with it. */
void reception_end_all(struct generation *g);

#endif
