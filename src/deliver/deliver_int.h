/* What the files of deliver/ share.
 *
 *   item      recipients of one message that go to one destination with the same duties: one
 *             transaction's worth. Waits in its destination's queue.
 *   dest      a destination: route and next-hop domain. Its hosts, its queue, its connections.
 *   conn      one connection of a destination, idle or carrying an attempt.
 *   attempt   an item on its way: host after host until one takes it or none is left.
 *   outcome   what became of a recipient; outcome.c turns it into queue changes, evidence, log
 *             lines and notices.
 *
 * V1  A conn belongs to one dest for all its life; it never carries another domain's mail.
 * V2  MAIL is written only by smtp_client_send, whose may_send callback (send.c) runs trust_decide
 *     on the live connection (I2).
 * V3  An item leaves memory only through outcome_finish (its results are with the store) or
 *     because the daemon ends (its rows are still in the table). */
#ifndef DELIVER_DELIVER_INT_H
#define DELIVER_DELIVER_INT_H

#include <event2/event.h>
#include <sys/queue.h>

#include "base/hash.h"
#include "deliver/deliver.h"
#include "deliver/hop.h"
#include "deliver/offers.h"
#include "deliver/routing.h"
#include "trust/evidence.h"

enum outcome_kind {
	OUT_NONE,		/* not decided yet */
	OUT_DELIVERED,
	OUT_DEFERRED,
	OUT_FAILED,
	OUT_EXPIRED,		/* failed because the queue's age limit came */
	OUT_HELD,
	OUT_REROUTED,
};

struct outcome {
	enum outcome_kind kind;
	int code;			/* of the reply, 0 without one */
	char status[10];
	char *reply;			/* as received, lines by LF; NULL */
	char *text;			/* our own words; NULL */
	const char *stage;		/* "dns" "connect" "tls" "ehlo" "mail" "rcpt" "data" "policy" */
	const char *reason;		/* a word for log and evidence */
	int64_t after_ms;		/* deferred: asked for; -1 by the schedule */
	bool uncounted;			/* this attempt does not count (policy design: route, tls_policy) */
	struct route *route;		/* rerouted */
	char *hold_reason;
	int64_t hold_until_ms;		/* wall; 0 for ever */
	char *by;			/* handler that decided, or NULL */
	char *why;
	bool relayed;			/* delivered to a peer without DSN that was asked for SUCCESS */
};
void outcome_clear(struct outcome *o);

struct item_rcpt {
	uint32_t idx;			/* into msg->rcpts */
	uint64_t lease;			/* as the store handed it out */
	unsigned attempts;		/* finished before this one */
	int64_t first_attempt_ms;
	bool delay_notified;
	char *bounce_reason;
	char *reply_line;		/* with its code, for a notice */
	bool withdrawn;			/* an administrator took it back: neither sent nor reported */
	bool recalled;			/* the same, while it is on the wire: withdrawn unless that decides */
	struct outcome out;
};

struct item {
	TAILQ_ENTRY(item) link;
	struct deliver *d;
	struct dest *dest;
	struct msg *msg;
	duty_mask duties;		/* message and recipients */
	struct item_rcpt *rcpts;
	size_t n;
	struct store_tlsrpt_count *counts;	/* TLS sessions, until a result takes them along */
	size_t ncounts;
	unsigned put_back;		/* how often it found no connection while others had one */
	uint64_t epoch;			/* of the store, when it was handed out */
};
void item_free(struct item *it);

/* A result on its way to the store. */
struct finished {
	struct store_result req;	/* first */
	struct deliver *d;
	struct dest *dest;
	bool recalled;			/* in d->recalled */
	LIST_ENTRY(finished) link;
};

/* One host to try, in order. Strings and addresses belong to the hostlist. */
struct host {
	const char *name;
	uint16_t port, preference;
	enum mx_trust mx;
	bool has_no_name;		/* an address (row 43) */
	bool is_fixed;			/* the route names it: no MX record led here */
	struct host_dane *dane;
	const char *domain_canon;	/* the next-hop domain after CNAMEs, or "" */
	const struct mx_host *found;	/* what the fields above and below were taken from */
	enum sts_mode sts;		/* of the domain's policy today */
	bool sts_matches;
	enum dns_status addr_status;
	const struct mx_addr *addrs;
	size_t naddrs;
};
struct hostlist {			/* immutable, counted */
	int refs;
	struct mx_result **results;
	size_t nresults;
	struct host *hosts;
	size_t n;
	enum sts_mode sts_mode;		/* of the domain that was looked up (S-12) */
	struct sts_known *sts;		/* NULL: no policy */
	int64_t until_ms;		/* monotonic */
};
struct hostlist *hostlist_ref(struct hostlist *h);
void hostlist_unref(struct hostlist *h);

/* What is demanded of a certificate; a connection verified for one is not good for another. */
struct verify_want {
	char **names, **pins;		/* instead of the host's name; may be empty */
	size_t nnames, npins;
	char *ca_file, *min_version;
	char *key;			/* all of it as text, for comparing */
};

struct prep {				/* immutable once made, counted: attempts keep theirs */
	int refs;
	struct policy_gen *gen;
	struct route *route;
	duty_mask duties;		/* of route and tls_policy */
	int on_unmet;			/* of verdict tls */
	char *policy_by;		/* handler that set the floor, or NULL */
	struct verify_want want;
	int64_t until_ms;		/* monotonic */
};
struct prep *prep_ref(struct prep *p);
void prep_unref(struct prep *p);

struct dest {
	UT_hash_handle hh;
	struct deliver *d;
	char *key;			/* route "|" next hop */
	char *stored_route;		/* as in msg_rcpt.route */
	char *next_hop;
	TAILQ_HEAD(, item) waiting;
	size_t nwaiting;
	unsigned attempts;		/* under way */
	unsigned unsaved;		/* over, and their results not yet on disk */
	unsigned limit;			/* of them, learned from hosts that took no more; 0: as configured */
	unsigned good, patience;	/* successes at that limit, and how many raise it */
	int64_t rest_until_ms;		/* monotonic: nobody answered; nothing is tried before */
	uint8_t login_stamp[32];	/* of the credential that what follows is about (login.c) */
	bool login_works;
	int64_t no_login_until_ms;	/* monotonic */
	struct outcome no_login;	/* what until then becomes of all mail */
	bool no_bdat;			/* a host lists CHUNKING and does not know BDAT */
	TAILQ_HEAD(, conn) conns;
	unsigned nconns;

	struct prep *prep;		/* good until it expires or the generation changes */
	struct hostlist *hosts;

	/* Preparation under way. */
	bool preparing;
	bool fresh;			/* just prepared: good for what waits now, however short its ttl */
	unsigned refs;			/* attempts and results that name it, also those that no longer count */
	uint64_t ticket;		/* tls_policy */
	uint64_t *lookups;		/* mx_resolve numbers */
	size_t nlookups, lookups_left;
	struct mx_result **found;
	struct hostlist *pending;	/* addresses known, TLSA records not yet */
	uint64_t *tlsa_lookups;		/* tlsa_resolve numbers, one a host of it; NULL */
	size_t tlsa_left;
	uint64_t sts_ticket;		/* 0: none under way */
	enum sts_mode sts_mode;
	struct sts_known *sts;
	struct policy_subject subject;
	void *mx_hold;			/* while lookups are under way */
	struct offers *offers;		/* what was seen of it; NULL: not read yet */
	bool offers_loading;

	struct event *again;		/* runs dest_run on the next turn */
	struct event *sweep;		/* frees an unused destination */
};

struct conn {
	TAILQ_ENTRY(conn) link;
	struct dest *dest;
	struct smtp_client *client;
	struct attempt *attempt;	/* NULL: idle */
	char *host, ip[NET_ADDR_TEXT];
	uint16_t port, preference;
	enum mx_trust mx;
	enum sts_mode sts;		/* as the host has it today, like mx */
	bool sts_matches;
	struct host_dane *dane;		/* a reference: what it was made with */
	bool has_no_name, is_fixed, clear;	/* clear: STARTTLS left out on purpose */
	char *want_key;
	char *login;			/* name in credentials; NULL: nobody has logged in */
	uint8_t login_stamp[32];	/* of user and password then */
	struct tls_client *tls_ctx;	/* a reference: what it was verified with */
	struct event *idle;
};

struct attempt {
	TAILQ_ENTRY(attempt) link;
	uint64_t id;			/* in deliver.attempt_ids */
	struct deliver *d;
	struct dest *dest;
	struct item *item;
	struct msg *msg;
	struct policy_gen *gen;
	struct conf *conf;
	struct prep *prep;		/* NULL when the destination could not be prepared */
	struct hostlist *hosts;
	bool over;			/* the destination was told; outcomes are being dealt with */

	size_t host, addr;		/* present host and address */
	struct trust_verdict *verdicts;	/* of the hosts of this pass that were judged */
	size_t nverdicts;
	struct buf seen;		/* "mx1=no-starttls ..." for evidence */
	bool last_resort;		/* second pass, for notices (D3, D6) */
	bool policy_skipped;		/* some host was left out by a hook */
	uint64_t sts_ticket;		/* the policy is looked up once more before a bounce (S-66) */
	bool sts_rechecked;
	bool login_tried, logging_in, login_refused;	/* refused: for good, by some host */
	uint8_t login_stamp[32];
	bool saw_ready;			/* some host came so far that a transaction might have begun */

	/* the present host */
	duty_mask hop_duties;		/* added by hooks */
	duty_mask all_hop_duties;	/* the same, of all hosts so far */
	char hop_asked_by[sizeof ((struct policy_hop *)0)->added_by];	/* the newest of them */
	char ip_text[NET_ADDR_TEXT];
	bool clear;			/* reconnect without STARTTLS */
	bool no_reuse, reused;
	bool auditing;			/* a relax waits for its audit row */
	unsigned relax_pending;		/* what it would leave owed, once that row is on disk */
	unsigned since_relax;		/* DUTY_* bits that hooks asked for after it */
	bool judged;			/* the present host's verdict is the last of `verdicts` */
	unsigned relaxed_to;
	char *grant;
	struct trust_facts facts;
	struct trust_verdict verdict;
	struct conn *conn;
	struct policy_hop hop;
	struct policy_subject subject;
	uint64_t ticket;
	void (*next)(struct attempt *a, struct verdict *v);

	/* newest reply that mattered, for texts */
	int last_code;
	char last_status[10];
	char *last_reply, *last_text;

	/* sending (send.c) */
	bool sending, refused;		/* refused: may_send said no */
	bool outdated;			/* ... for the store's epoch is another by now */
	bool recalled;			/* some of it, too late: it is on the wire, or decided */
	struct content *content;	/* in memory, or NULL: by chunks */
	char *chunk;			/* first chunk when content is not in memory */
	size_t chunk_n;
	void (*fetched)(struct attempt *a, bool ok);
	uint64_t fetch_no;		/* of the newest request; answers to others are late */
	bool posted;			/* results are with the store */
	const char *lost_stage;		/* where in a transaction a connection was lost; NULL */
	bool lost_by_nonsense;		/* because the server broke the protocol there */
	char *head;			/* trace + edited header */
	size_t head_n;
	struct signing *signing;	/* while signatures are made (sign.c) */
	uint32_t *rcpt_index;		/* into msg->rcpts */
	uint32_t *rcpt_item;		/* same order: index into item->rcpts */
	size_t nsend;
	struct smtp_txn txn;

	/* for evidence, once the connection is gone (facts.c) */
	struct hop_record *record;

	/* what follows (outcome.c) */
	size_t result_at;		/* recipient whose result hook runs */
	struct policy_result presult;
	struct notices *notices;
};

/* What evidence says of the connection that took a message, or of the host that was refused last. */
struct hop_record {
	char *host, ip[NET_ADDR_TEXT];
	uint16_t port;
	char *version, *cipher, *group, *cert, *spki, *verify_error, *tlsa, *login;
	struct trust_facts facts;
	bool requiretls_sent;
	unsigned row;
};
struct hop_record *hop_record_new(const struct conn *c, const struct smtp_client_info *info,
    const struct trust_facts *facts, const struct trust_verdict *v);
/* Of a host that was refused before a connection was made. */
struct hop_record *hop_record_untried(const struct host *h, const struct trust_facts *facts, unsigned row);
void hop_record_free(struct hop_record *r);

struct deliver {
	struct deliver_env env;
	struct dest *dests;		/* uthash by key */
	TAILQ_HEAD(, attempt) attempts;
	size_t nattempts, nwaiting, nconns;
	size_t nrecalled;		/* of the attempts, and of their results that are not on disk yet */
	LIST_HEAD(, finished) recalled;	/* those results */
	struct deliver_stats stats;
	bool draining;
	void (*idle)(void *owner);
	void *idle_owner;
	struct tls_cache { struct tls_cache *next; char *key; struct tls_client *t; } *tls;
	struct slots attempt_ids;
	size_t outstanding;		/* requests to the store that were not answered yet */
	bool freed;			/* deliver_free was called; the last answer frees the rest */
};
/* Around every request to the store: its answer must find `d`. release: false when d is no more. */
void deliver_hold(struct deliver *d);
bool deliver_release(struct deliver *d);

/* dest.c */
struct dest *dest_get(struct deliver *d, const char *stored_route, const char *next_hop);
void dest_add(struct dest *t, struct item *it);
void dest_put_back(struct dest *t, struct item *it);	/* first in line; an attempt that ends runs it */
void dest_run(struct dest *t);			/* starts what may start; may free nothing of the caller's */
void dest_run_later(struct dest *t);
void dest_fail_waiting(struct dest *t, const struct outcome *like, const duty_mask *only);
void dest_free(struct dest *t);
void dest_attempt_over(struct dest *t);		/* one attempt less */
/* A result went to the store, and is on disk. The pause that too many of them make ends here. */
void dest_result_posted(struct dest *t);
void dest_result_saved(struct dest *t);
/* Hosts work and take no more connections than `others`; or nobody answers at all. */
void dest_full(struct dest *t, unsigned others);
void dest_away(struct dest *t);
void dest_succeeded(struct dest *t);		/* a message was taken */
/* prepare.c */
void dest_offers_known(struct dest *t);		/* t->offers has come */
/* What was looked up no longer holds: the next attempt waits for a new look. */
void dest_look_again(struct dest *t);
void dest_forget_policy(struct dest *t);	/* another generation's is asked next */
/* The domain whose policy applies to this destination (S-12); NULL: none can. */
const char *dest_sts_domain(const struct dest *t, const struct route *r);
bool dest_is_prepared(const struct dest *t);	/* what is known is good for what waits now */
void dest_prepare(struct dest *t);		/* may have ended all that waits, or come back to dest_run */
void dest_forget(struct dest *t);		/* what is known and what is under way */
void dest_use_hosts(struct dest *t);		/* t->pending is complete; ends with dest_run */
int64_t hosts_ttl_ms(uint32_t ttl);		/* how long an answer with this TTL is kept */
/* dane.c */
bool dane_begin(struct dest *t);		/* of t->pending; false: nothing to look up */
void dane_cancel(struct dest *t);
/* conn.c */
struct conn *conn_new(struct attempt *a, const struct host *h, const struct mx_addr *addr, bool clear,
    struct err *err);
struct conn *conn_idle(struct dest *t, const struct attempt *a);	/* one that may carry it, or NULL */
void conn_facts(const struct conn *c, const struct smtp_client_info *info, struct trust_facts *f);
void conn_give_back(struct conn *c);		/* keeps it for the next, or QUITs */
void conn_quit(struct conn *c);
void conn_free(struct conn *c);
struct tls_client *conn_tls_ctx(struct deliver *d, const struct verify_want *want, struct err *err);
bool verify_want_set(struct verify_want *w, const struct route *r, const struct verdict *tls);
void verify_want_fini(struct verify_want *w);
/* attempt.c */
void attempt_start(struct dest *t, struct item *it);
void attempt_ready(struct attempt *a, const struct smtp_client_info *info);	/* from conn.c */
void attempt_lost(struct attempt *a, enum smtp_client_end why, const struct smtp_client_info *info,
    int code, const char *status, const char *text);
void attempt_end(struct attempt *a);		/* every recipient has its outcome */
void attempt_free(struct attempt *a);
void attempt_need(const struct attempt *a, struct trust_need *need);
duty_mask attempt_duties(const struct attempt *a);
duty_mask attempt_invariants(const struct attempt *a);	/* what the configuration's invariants ask for */
duty_mask attempt_floor(const struct attempt *a);	/* what nothing can make less: those, and a login's */
void attempt_remember(struct attempt *a, int code, const char *status, const char *text, bool is_reply);
void attempt_all(struct attempt *a, enum outcome_kind kind, int code, const char *status,
    const char *stage, const char *reason, const char *text);	/* those without an outcome */
void attempt_skip(struct attempt *a, const struct trust_verdict *v);	/* this host is done with */
void attempt_reconnect(struct attempt *a);	/* the same host again, on a new connection */
/* Takes recipients back that were not sent yet; true when nothing is left and a was freed. */
bool attempt_withdraw(struct attempt *a, uint32_t num);
/* A transaction is over: those who were recalled meanwhile and have no outcome are withdrawn. True when
 * that leaves nobody. */
bool attempt_withdraw_recalled(struct attempt *a);
/* Does any duty at any hop of this attempt ask for REQUIRETLS? */
bool attempt_is_tagged(const struct attempt *a);
void attempt_ask(struct attempt *a, enum policy_hook hook, void (*next)(struct attempt *, struct verdict *));
void attempt_host(struct attempt *a);		/* begins with a->host, or ends the list */
/* conclude.c */
void attempt_hosts_over(struct attempt *a);	/* none of them took it */
bool attempt_has_last_resort(const struct attempt *a);
/* login.c */
duty_mask login_duties(const struct route *r);	/* what a login asks of a connection */
bool login_is_as(const struct conn *c, const struct route *r);	/* logged in as the route says, or not where it does not */
bool login_is_good_for(const struct conn *c, const struct route *r);	/* and with today's password */
bool login_is_proven(const struct dest *t);	/* it has worked, or there is none */
bool login_is_refused(const struct dest *t);	/* it was, and so it would be now */
void login_start(struct attempt *a);		/* conn is ready and judged; ends with send_start or attempt_skip */
void login_done(struct attempt *a, enum smtp_login_end end, int code, const char *status, const char *text);
void login_lost(struct attempt *a);		/* the connection went in the middle of it */
void login_away(struct attempt *a);		/* a's outcome stands for what comes next */
/* send.c */
void send_start(struct attempt *a);		/* conn is ready and trust_decide said SEND */
void send_done(struct attempt *a, const struct smtp_txn_result *r);	/* from conn.c */
/* Octets of the original's header (and start): a->content or a->chunk is set when `then` runs. */
void send_fetch(struct attempt *a, void (*then)(struct attempt *a, bool ok));
struct slice send_header(const struct attempt *a);	/* empty before */
void send_fini(struct attempt *a);
void send_fetch_to_sign(struct attempt *a, uint64_t offset);	/* then sign_feed */

/* ---- sign.c ---- */
bool sign_is_wanted(const struct msg *m);
/* a->head and the first of the content are there; puts the signatures on top of a->head. `then` may be called
 * before this returns; not any more after sign_fini. False: it must not be sent. */
void sign_start(struct attempt *a, void (*then)(struct attempt *a, bool ok));
void sign_feed(struct attempt *a, const struct store_content *c);
void sign_fini(struct attempt *a);
/* tlsrpt.c: sessions that a report about TLS counts (RFC 8460) */
void report_session(struct attempt *a, const struct smtp_client_info *info);	/* new, and as far as EHLO */
void report_handshake(struct attempt *a, const struct smtp_client_info *info, const char *why);	/* or STARTTLS refused */
void report_untried(struct attempt *a);		/* a host left out for what DNS and policy say */
/* outcome.c */
void outcome_finish(struct attempt *a);		/* result hooks, changes, evidence, notices; frees a */
/* The daemon ends: what was delivered is recorded, hooks and notices or not. Does not free a. */
void outcome_salvage(struct attempt *a);
void outcome_set(struct outcome *o, enum outcome_kind kind, int code, const char *status,
    const char *stage, const char *reason, const char *text);
void outcome_verdict(struct outcome *o, struct verdict *v, const char *stage);	/* bounce defer hold reroute */
/* notice.c */
typedef void notices_done(struct attempt *a, struct msg **list, size_t n);	/* takes list */
/* Builds and routes what must be told to the sender. May call done before it returns. */
void notices_start(struct attempt *a, notices_done *done);
void notices_cancel(struct notices *n);
/* grant.c */
/* True: the grant covers this attempt now, and one use was counted; *relaxed_to: what is still owed. */
bool grant_use(struct attempt *a, const char *name, unsigned owed, unsigned *relaxed_to, struct err *err);

#endif
