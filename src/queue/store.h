/* The durable queue. Narrow and asynchronous: requests are structs posted to the store, answers
 * come back to the requester's mailbox (base/mailbox.h), so that another implementation can stand
 * behind it. Only this folder knows SQL.
 *
 * One thread owns the only writing connection: whatever waits goes into one transaction, one
 * fsync answers it all (group commit). Removals and evidence yield to arrivals: they ride along
 * with the next one, or go when the store has been idle for a moment (design section 9). A
 * second thread owns a read-only connection for bodies and queries.
 *
 * Q1  An answer STORE_OK to a submit or result means: committed, journal_mode=WAL and
 *     synchronous=FULL read back (I1).
 * Q2  A duties mask never loses a bit; a trigger refuses it (I3).
 * Q3  A recipient in state ACTIVE is in a worker's memory; the lease ends with the process: at
 *     start every ACTIVE row becomes QUEUED, due as it was.
 * Q4  A recipient row goes in the transaction that writes its evidence, and in the same one its
 *     notice is queued (I4). Content goes with the last recipient.
 * Q5  Nobody above learns where content lies.
 * Q6  After an I/O error nothing is acknowledged until the database was reopened and passed an
 *     integrity check (spec security.md rule 3). */
#ifndef QUEUE_STORE_H
#define QUEUE_STORE_H

#include "base/base.h"
#include "message/msg.h"

struct store;

enum store_status {
	STORE_OK,
	STORE_FULL,	/* 452 4.3.1: disk or configured limit */
	STORE_IO,	/* 451 4.3.0 */
	STORE_CLOSED,	/* shutting down */
	STORE_NOT_FOUND,
	STORE_BAD,	/* the request made no sense, see text */
};

struct store_conf {
	const char *path;		/* of queue.db; its directory is made 0700, files 0600 */
	unsigned min_free_percent;	/* of the file system: 10 */
	uint64_t max_bytes, max_messages;	/* 0: none */
	unsigned workers;
	unsigned max_active;		/* recipients handed out to one worker at a time */
	unsigned tlsrpt_max_domains;	/* that are counted in one day; 0: none */
	int64_t tlsrpt_keep_ms;		/* how long a day's counts stay */
	int64_t trace_keep_ms;		/* records of handlers (struct store_trace); 0: none are kept */
	uint64_t trace_rows;		/* and never more than so many */
	int64_t evidence_keep_ms;	/* then the oldest rows of evidence are removed; 0: never */
	int64_t yield_ms;		/* how long a removal may wait for an arrival: 5 */
};
/* Opens or creates, migrates, recovers, checks permissions and takes the lock that keeps a second
 * daemon out. Errors: newer schema version, not a database, damaged, not writable, group or world
 * accessible, in use by process N. Starts nothing yet. */
struct store *store_open(const struct store_conf *conf, struct err *err);
/* Starts the threads. workers[i] receives struct store_due mails, with their `run` set to on_due. */
int store_start(struct store *s, struct mailbox *const *workers,
    void (*on_due)(void *reader, struct mail *m), struct err *err);
/* Finishes what was posted, checkpoints, closes; then every request is answered STORE_CLOSED.
 * The threads that read the mailboxes answers go to must still be there, or have ended with
 * their mailboxes kept. `s` itself stays until store_free. */
void store_close(struct store *s);
/* Closes if that was not done. NULL is fine. Nobody may post any more. */
void store_free(struct store *s);

/* Any thread, no waiting: STORE_OK, STORE_FULL (452 at MAIL, also for `bytes` announced), or
 * STORE_IO (421 at connect). Says what is known now. */
enum store_status store_may_accept(const struct store *s, uint64_t bytes);

/* The worker that owns a destination. */
unsigned store_shard(const char *route, const char *next_hop, unsigned workers);

/* ---- Arrivals ---- */
#define STORE_FIRST_LEASE 1
struct store_submit {
	struct mail mail;	/* run, reply_to set by the caller; kind by store_submit */
	struct msg *msg;	/* a reference, handed over and back */
	/* the answer */
	enum store_status status;
	uint64_t epoch;		/* store_epoch when it was handed out */
	bool *active;		/* for each msg->rcpts[i]: handed out (STORE_FIRST_LEASE), now the owner shard's to deliver; the rest waits in the table. Heap, store_submit_free frees */
	char text[200];		/* why not, for the log */
};
/* Content must be there (memory or fd). Recipients with discarded set get their evidence row at
 * once and no recipient row. */
void store_submit(struct store *s, struct store_submit *r);
/* _fini: the message reference and `active`, for one embedded in something larger; _free: the
 * struct as well. A request with reply_to NULL is freed by the store. */
void store_submit_fini(struct store_submit *r);
void store_submit_free(struct store_submit *r);

/* ---- Results ---- */
enum store_change {
	CHANGE_DONE,		/* leaves the queue: delivered, relayed, failed, discarded */
	CHANGE_DEFER,		/* next_ms; attempts as given */
	CHANGE_HOLD,
	CHANGE_ROUTE,		/* new route, due at next_ms */
};
struct store_rcpt_change {
	uint32_t num;			/* msg_rcpt.num */
	/* As it was handed out; 0: whichever there is. Of an earlier lease only CHANGE_DONE and duties count,
	 * the rest is the word of the one who has it now; then who has it is told to drop it. */
	uint64_t lease;
	enum store_change what;
	int64_t next_ms;		/* wall; CHANGE_HOLD: when the hold ends, 0 never */
	unsigned attempts;
	int64_t first_attempt_ms;
	bool delay_notified;
	uint32_t duties;		/* joined into the row's (can only grow) */
	char *last;			/* JSON of the last result, heap; NULL: keep */
	char *route, *next_hop;		/* CHANGE_ROUTE, heap */
	char *hold_reason;		/* heap */
	char *evidence;			/* evidence_text, heap; required with CHANGE_DONE (I4) */
};
struct store_policy {		/* MTA-STS; heap strings */
	char *domain, *id, *text;
	int64_t fetched_ms, expires_ms;	/* wall */
};
void store_policy_free(struct store_policy *p);

/* TLS reports (RFC 8460). One session under one policy; heap strings, NULL where it is not known. What
 * comes from others is printable ASCII by now. */
struct store_tlsrpt_count {
	char *domain;			/* whose TLSRPT record would ask for the report; A-labels */
	int64_t day;			/* since 1970-01-01, UTC */
	const char *type;		/* static: "sts", "tlsa", "no-policy-found" */
	char *policy_domain, *strings, *mx_hosts;	/* the last two are JSON arrays */
	const char *result;		/* static: a result-type; NULL: success */
	char *sending_ip, *mx, *helo, *receiving_ip, *reason;
};
void store_tlsrpt_count_free(struct store_tlsrpt_count *v, size_t n);	/* an array, on the heap */

enum store_tlsrpt_state {	/* of a domain's day; the numbers are in the database */
	TLSRPT_OPEN,		/* to be reported when it is over */
	TLSRPT_DELIVERED,
	TLSRPT_GIVEN_UP,
	TLSRPT_UNWANTED,	/* the domain has no TLSRPT record */
};
struct store_tlsrpt_day {
	char *domain;
	int64_t day;
	unsigned tries;			/* as it was marked last */
	int64_t first_ms;
	char *policies;			/* a JSON array, as RFC 8460 section 4.4 has it */
};
/* About days that are over. CLAIM takes open ones whose next_ms has come, for one node: nobody else gets
 * them before lease_until_ms, and what is counted from then on goes to a later day. MARK ends a claim:
 * with a state, or open again with the next_ms before which nobody gets it. */
struct store_tlsrpt {
	enum { STORE_TLSRPT_CLAIM, STORE_TLSRPT_MARK } verb;
	char *node;			/* who asks; heap, like all strings here */
	int64_t lease_until_ms;		/* CLAIM, wall */
	unsigned limit;			/* CLAIM: 100 at most */
	char *domain;			/* MARK */
	int64_t day;
	enum store_tlsrpt_state state;
	unsigned tries;
	int64_t first_ms, next_ms;
	char *note;			/* for people: what the receiver said; NULL */
	/* the answer */
	struct store_tlsrpt_day *days;	/* CLAIM */
	size_t n;			/* of those; MARK: 0 when the claim was not, or no longer, this node's */
};
void store_tlsrpt_free(struct store_tlsrpt *r);

struct store_offer {		/* what a domain or a host of it offers (trust/offer.h); heap strings */
	char *domain, *host;	/* host "": the domain itself */
	char *what, *value;
	char *instead;		/* once it is gone: what there is now; "" nothing */
	int64_t first_ms, last_ms;	/* wall: offered first, and last */
	int64_t lost_ms;	/* found to be gone, or less; 0: it is offered */
};
#define STORE_OFFER_LOST_MS (INT64_C(30) * 86400 * 1000)	/* so long is remembered what is gone */
struct store_trace {		/* what a handler did (policy/trace.h); heap strings */
	int64_t at_ms;		/* wall */
	uint64_t message, session;	/* 0: none */
	const char *hook;	/* static */
	char *domain, *text;	/* text: a JSON object */
};
struct store_result {
	struct mail mail;
	uint64_t message;
	struct store_rcpt_change *changes;
	size_t n;
	struct store_submit *notices;	/* heap array of messages to be queued in the same transaction; their status, active and text are filled in, their mail is not used */
	size_t nnotices;
	char *audit;			/* evidence of a relax or of gw.audit, and nothing else, heap (with n = 0) */
	struct store_policy *sts;	/* a policy to keep and nothing else, heap (with n = 0) */
	struct store_tlsrpt_count *counts;	/* TLS sessions, heap array */
	size_t ncounts;
	/* A question about reports, heap, and nothing else (with n = 0) but, with MARK, the report as a message
	 * in `notices`: it is queued only if the mark was made. */
	struct store_tlsrpt *tlsrpt;
	struct store_offer *offers;	/* rows to keep and nothing else, heap (with n = 0) */
	size_t noffers;
	struct store_trace *traces;	/* rows to keep and nothing else, heap (with n = 0) */
	size_t ntraces;
	bool urgent;			/* do not wait for an arrival (audit, notices) */
	/* the answer */
	enum store_status status;
	char text[200];
};
void store_result(struct store *s, struct store_result *r);
void store_result_free(struct store_result *r);

/* ---- What is due ---- */
struct store_rcpt_state {	/* same order as msg->rcpts */
	uint64_t lease;		/* goes back in store_rcpt_change */
	unsigned attempts;
	int64_t first_attempt_ms, queued_ms;
	bool delay_notified;
	char *last;
	char *bounce_reason;	/* an administrator said `queue bounce`: fail it now, with a notice */
};
struct store_due {		/* posted to the worker that owns the destination */
	struct mail mail;
	struct msg *msg;	/* a reference; only the recipients that are due and its; content NULL */
	struct store_rcpt_state *rcpts;
	size_t nrcpts;		/* of `rcpts`, = msg->nrcpts */
	uint64_t epoch;		/* store_epoch when it was handed out */
};
void store_due_free(struct store_due *d);
/* Raised by each administrative change to what workers have in hand, before that change is answered. What
 * was handed out at another epoch may owe more by now, or be held: no transaction begins with it, it is given
 * back (CHANGE_DEFER) and handed out anew (I2, I3). Any thread, no waiting. */
uint64_t store_epoch(const struct store *s);
/* The worker drops this recipient if it has not begun to send: so that what waits there for a connection is
 * not given back only when its turn comes. Posted to every worker, kind STORE_KIND_RECALL. */
struct store_recall {
	struct mail mail;
	uint64_t message;
	uint32_t num;		/* of the recipient; others of the message are not touched */
};
#define STORE_KIND_DUE 100
#define STORE_KIND_RECALL 101

/* ---- Content ---- */
struct store_content {
	struct mail mail;
	uint64_t message;
	uint64_t offset;	/* octets; a multiple of STORE_CHUNK, or the end */
	/* the answer: up to STORE_CHUNK octets, heap; n = 0 at the end */
	enum store_status status;
	char *data;
	size_t n;
};
#define STORE_CHUNK (256u * 1024)
void store_content(struct store *s, struct store_content *r);

/* ---- Policies of MTA-STS (S-50) ---- */
struct store_sts {
	struct mail mail;
	char *domain;		/* heap: the policy of this one; NULL: those fetched before `before_ms` */
	int64_t before_ms;
	unsigned limit;		/* of those */
	/* the answer */
	enum store_status status;
	struct store_policy *rows;	/* heap; none: no such policy */
	size_t n;
};
void store_sts(struct store *s, struct store_sts *r);
void store_sts_free(struct store_sts *r);

/* ---- Values that policies keep (gw.kv) ---- */
#define STORE_KV_KEY_MAX 255
#define STORE_KV_VALUE_MAX (16u * 1024)
#define STORE_KV_ROWS 10000		/* of one name */
#define STORE_KV_ROWS_ALL 100000
enum store_kv_verb { STORE_KV_GET, STORE_KV_SET, STORE_KV_ADD, STORE_KV_CAS, STORE_KV_DELETE };
enum store_kv_end {
	KV_DONE,
	KV_ABSENT,		/* GET, DELETE: there is none */
	KV_DIFFERS,		/* CAS: what is there is in `found`, NULL for nothing */
	KV_NOT_NUMBER,		/* ADD: what is there is no whole number, or the sum would be none */
	KV_LIMIT,		/* no room for another key, see text */
};
struct store_kv {
	struct mail mail;
	enum store_kv_verb verb;
	char name[64];
	char *key;		/* heap, any octets */
	size_t nkey;
	char *value;		/* JSON, heap; SET, CAS: the new one. CAS: NULL removes */
	char *old;		/* CAS: what must be there, octet for octet; NULL: nothing */
	int64_t delta;		/* ADD */
	int64_t ttl_ms;		/* from now, for ADD from the first one on; 0: for ever */
	/* the answer. STORE_IO: whether it was done is not known */
	enum store_status status;
	enum store_kv_end end;
	char *found;		/* heap: the value before */
	int64_t number;		/* ADD: the sum */
	char text[200];
};
/* GET is the reader's; the others ride in a group like an arrival, and are on disk when answered. */
void store_kv(struct store *s, struct store_kv *r);
void store_kv_fini(struct store_kv *r);
void store_kv_free(struct store_kv *r);
/* ---- What was seen of a domain and its hosts ---- */
struct store_offers {
	struct mail mail;
	char *domain;		/* heap */
	int64_t now_ms;		/* wall */
	/* the answer: not what has been gone for STORE_OFFER_LOST_MS */
	enum store_status status;
	struct store_offer *rows;	/* heap */
	size_t n;
};
void store_offers(struct store *s, struct store_offers *r);
void store_offers_free(struct store_offers *r);

/* ---- For people: answers are JSON text ---- */
enum store_verb {
	STORE_LIST,		/* messages with recipients, filtered */
	STORE_SHOW,		/* one message, all that is known but the content */
	STORE_EVIDENCE,		/* rows of one message, or since a time */
	STORE_EVIDENCE_VERIFY,
	STORE_EVIDENCE_EXPORT,	/* a page of rows as they were hashed */
	STORE_SEEN,		/* what domains and hosts offered; filter: domain, limit */
	STORE_STATUS,		/* counts and sizes */
	STORE_TRACE,		/* what handlers did with one message, or in one session: id */
	STORE_TLSRPT,		/* counts for TLS reports: domain, since_ms, until_ms, limit */
	STORE_HOLD, STORE_RELEASE, STORE_RETRY, STORE_DELETE, STORE_BOUNCE, STORE_REQUIRE_TLS,
};
struct store_filter {		/* heap strings, NULL: any; all that are given must fit */
	uint64_t id;
	char *from, *to, *domain, *route, *tag, *state;	/* * matches any run of characters */
	int64_t since_ms, until_ms;
	unsigned limit;		/* LIST: 100 */
	uint64_t after;		/* EXPORT: rows behind this number */
	char *head;		/* VERIFY: a hash that has to be in the chain */
};
struct store_query {
	struct mail mail;
	enum store_verb verb;
	struct store_filter filter;
	char *reason, *by;	/* recorded with the change */
	bool dry_run;
	uint32_t duties;	/* REQUIRE_TLS: joined */
	/* the answer */
	enum store_status status;
	char *json;		/* heap */
	char text[200];
};
/* An empty filter is STORE_BAD for the verbs that change something. Times are ISO 8601, ids as
 * id_format writes them, masks as duties_format does; text from outside is escaped, so that every
 * string is safe to print. `json` is always an object, and NULL unless status is STORE_OK:
 *   LIST      {"messages": [MESSAGE...], "more": bool}
 *   SHOW      MESSAGE with more keys (envid, trace, peer_ip, vars, edits, ...); STORE_NOT_FOUND
 *   EVIDENCE  {"evidence": [{"id", "at", "message", "rcpt", "hash", "record": {...}}...], "more"}
 *   TRACE     {"trace": [record...]} oldest first, as trace_json made them
 *   EVIDENCE_VERIFY {"ok": bool, "rows", "last": row id, "head": hash, "checkpoint": CHECKPOINT,
 *             "broken_at": row id, "problem": text}
 *   EVIDENCE_EXPORT {"checkpoint": CHECKPOINT, "before": {"id", "hash"} or null, "rows": [{"id", "hash",
 *             "text"}...], "last": row id, "more"}; `before` is the row before the first
 *   CHECKPOINT is null or {"id", "hash", "at"}: the last row that was removed for its age
 *   TLSRPT    {"days": [{"day", "domain", "state", "tries", "next", "node", "note", "policies"}...], "more"},
 *             newest day first; policies as in RFC 8460
 *   SEEN      {"seen": [{"domain", "host", "what", "value", "now", "first", "last", "gone"}...], "more"}; `now`
 *             and `gone` are null while it is offered
 *   STATUS    {"messages", "recipients", "active", "held", "queued", "bytes", "oldest", ...}
 *   the rest  {"matched", "changed", "in_delivery", "dry_run", "recipients": [{"id", "address", "state"}...]}
 * in_delivery: how many of the changed a worker had in hand. It gives back what it has not begun to
 * send; what is on the wire already goes, and its result counts whatever was changed here. The control socket
 * adds "settled": every worker has acted on it (ctl.h).
 * MESSAGE is {"id", "from", "size", "received", "state", "requiretls", "duties", "tags",
 * "recipients": [{"num", "address", "state", "route", "next_hop", "attempts", "next", "duties",
 * "hold_reason", "bounce_reason", "last": {...}}...]}; a state is queued, active or held. */
void store_query(struct store *s, struct store_query *q);
void store_query_free(struct store_query *q);

/* Opens a database read-only without a daemon (evidence and queue commands offline). */
char *store_offline(const char *path, const struct store_query *q, struct err *err);

/* Answered when everything that was posted before is done, and nothing can be done now: for who drives the
 * clock himself (src/rehearsal). */
struct store_settle {
	struct mail mail;
	int64_t next_ms;	/* the answer, wall: when something is due next; INT64_MAX: never */
};
void store_settle(struct store *s, struct store_settle *r);

struct store_stats {		/* counters since start, for metrics; any thread */
	uint64_t posts;			/* requests of any kind, but for store_settle */
	uint64_t commits, submits, results, bytes_in, due_handed;
	int64_t last_commit_us, longest_commit_us;
	uint64_t messages, recipients, active, held;	/* in the queue now */
};
void store_stats(const struct store *s, struct store_stats *out);

#endif
