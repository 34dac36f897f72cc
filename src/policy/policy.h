/* The policy engine: Lua states, sandbox and budgets, hooks, verdicts. One struct policy for each
 * worker, one Lua state in it for each live generation; nothing is shared between workers. Handlers
 * run on pooled coroutines, so any of them may wait. Whoever calls gets a verdict, always: an
 * error, an exceeded limit or a forbidden verdict becomes the hook's fixed outcome, which never is
 * "accept" or "send as if nothing had been asked" (I5).
 *
 * What a policy can reach is the struct policy_subject that its caller fills in; duties are only
 * ever joined (I3). */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include "conf/conf.h"
#include "dns/dns.h"
#include "message/message.h"
#include "message/report.h"
#include "smtp/smtp.h"
#include "trust/offer.h"
#include "trust/trust.h"

enum policy_hook {
	HOOK_CONNECT, HOOK_HELO, HOOK_TLS, HOOK_AUTH, HOOK_MAIL, HOOK_RCPT, HOOK_DATA, HOOK_HEADER,
	HOOK_MESSAGE, HOOK_BOUNCE_IN,
	HOOK_DISCONNECT,
	HOOK_ROUTE, HOOK_TLS_POLICY, HOOK_ATTEMPT, HOOK_EHLO, HOOK_UNMET, HOOK_RESULT,
	HOOK_BOUNCE, HOOK_DSN, HOOK_LOG, HOOK_TLSRPT,
	HOOK_INIT, HOOK_FINI,
	HOOK_EVERY,		/* the functions of gw.every, each for itself */
	HOOKS
};
const char *policy_hook_name(enum policy_hook h);

enum { POLICY_ADVISORY, POLICY_NORMAL, POLICY_MANDATORY };

enum verdict_kind {	/* in the order of severity for mandatory handlers where that is defined */
	VERDICT_NONE,
	VERDICT_ACCEPT, VERDICT_REROUTE, VERDICT_DISCARD, VERDICT_HOLD, VERDICT_DEFER, VERDICT_REJECT,
	VERDICT_DROP,
	VERDICT_BOUNCE, VERDICT_ROUTE, VERDICT_TLS, VERDICT_RETRY, VERDICT_FAIL, VERDICT_SKIP_HOST,
	VERDICT_RELAX, VERDICT_SUPPRESS, VERDICT_REPORT, VERDICT_CAPS, VERDICT_IDENTITY,
	VERDICT_KINDS
};
const char *verdict_kind_name(enum verdict_kind k);

struct verdict {
	enum verdict_kind kind;
	int code;			/* 250, 451, 550 */
	char status[10];
	char *text, *reason;		/* heap; text is checked and escaped */
	char *queue;			/* hold */
	int64_t after_ms;		/* defer, retry; -1 none */
	int64_t expires_ms;		/* hold: wall, 0 never */
	bool relay;			/* accept at rcpt */
	struct route *route;		/* route, reroute: complete, made from the named route if any */
	enum tls_level level;		/* tls */
	char **names, **pins;		/* tls; names are the URIs of report */
	size_t nnames, npins;
	char *ca_file, *min_version;	/* tls; NULL not given */
	int64_t ttl_ms;			/* tls; -1 default */
	enum { UNMET_DEFAULT, UNMET_BOUNCE, UNMET_DEFER } on_unmet;	/* tls */
	char *grant;			/* relax */
	unsigned hide_ext;		/* caps: SMTP_EXT_* */
	char *identity, *attrs;		/* identity: who it is, and JSON of an object or NULL */
	bool is_error;			/* the fixed outcome of a failed handler */
	char ref[8];			/* "7F3K": in the reply and in the log */
	char handler[64];		/* who decided: name of the handler, "" for nobody */
	char where[96];			/* "policy.lua:15" */
};
void verdict_fini(struct verdict *v);	/* v may be all zero */
void verdict_move(struct verdict *to, struct verdict *from);

/* ---- What a hook looks at. Borrowed until the answer or policy_cancel. ---- */
struct policy_timer;
struct store;
struct sts_finder;
struct policy_session {
	const struct smtp_session_info *info;
	const struct conf_listener *listener;
	const char *peer_name;		/* verified reverse name; NULL */
	const char *auth_attrs;		/* JSON of what gw.identity said; NULL */
	void **vars;			/* the session's own values; freed by policy_session_end */
};
struct policy_hop {		/* attempt, ehlo, unmet */
	const char *destination;	/* next-hop domain */
	const struct route *route;
	const char *host, *ip;
	uint16_t port, preference;
	unsigned attempt;
	enum mx_trust mx;
	enum sts_mode sts;
	bool sts_matches;
	int64_t sts_max_age;		/* seconds */
	enum tlsa_state tlsa;
	unsigned tlsa_count;
	unsigned caps;			/* SMTP_EXT_*; 0 before ehlo */
	const struct tls_info *tls;	/* NULL in clear or before */
	enum peer_verified verified;
	duty_mask duties;		/* owed at this hop */
	unsigned met, unmet;		/* DUTY_* bits; valid in ehlo and unmet */
	const char *relaxed;		/* grant */
	int64_t offered_ms[OFFERS];	/* wall: since when its domain or host offers it; 0 never */
	int64_t worse_ms[OFFERS];	/* since when it is gone, or less; 0: it is not */
	/* out: */
	duty_mask added;		/* hop:require_tls */
	char added_by[200];		/* and the handler that said so last */
};
struct policy_result {
	const char *kind;		/* "delivered" "deferred" "failed" "expired" */
	int code;
	const char *status, *text, *stage;
	unsigned attempts;
	int64_t first_attempt_ms, next_attempt_ms;
	const struct policy_hop *hop;	/* frozen; may be NULL */
	const char *const *cause;
	size_t ncause;
};
struct policy_bounce {		/* bounce and dsn: the words are what the hook edits */
	enum dsn_action kind;
	const struct dsn_rcpt *rcpts;
	size_t nrcpts;
	struct dsn_words *words;
	bool tagged;			/* the original owes REQUIRETLS, whoever asked for it */
	unsigned redactions;		/* calls of bounce:redact_text */
};
struct policy_subject {
	struct policy_session *session;	/* NULL outside reception */
	struct msg *msg;		/* NULL before MAIL; may be changed during reception only */
	bool may_edit;			/* reception: edits, tags, duties, recipients */
	int rcpt;			/* index into msg->rcpts, -1 none */
	const char *relay;		/* rcpt: "local" "allowed" "denied" */
	struct slice header;		/* header octets, when known (message, bounce) */
	const struct content *content;	/* for body_preview; NULL */
	bool wants_body;		/* out, header: body_mode = "inspect" */
	const char *name;		/* helo */
	const struct smtp_cred *cred;	/* auth */
	const struct report *report;	/* bounce_in */
	const char *domain;		/* tls_policy, tlsrpt */
	const char *day;		/* tlsrpt: "2026-11-29" */
	const struct route *route;	/* tls_policy, route (the configured one) */
	struct policy_hop *hop;
	struct policy_result *result;
	struct policy_bounce *bounce;
	const char *rcpt_state;		/* "new" "queued" "active" ... */
	const struct policy_result *last;	/* rcpt.last, NULL */
	const char *event_json;		/* log */
	const char *reason;		/* init, fini */
	const struct policy_timer *timer;	/* every: whose turn it is */
};

/* ---- Sources: read once by the main thread, shared by the workers ---- */
struct policy_bundle;
/* Reads every file of conf->policy.load, the modules that lie beside gateway.lua in lua/ and the
 * shipped library, and the tables; no Lua is run. id: SHA-256 over the sorted (path, content hash) of these and
 * gateway.lua. One reference. */
struct policy_bundle *policy_bundle_read(const struct conf *conf, const char *libdir, struct err *err);
/* Where the shipped library is: LUALIBDIR, or what SALLYPORT_LUADIR says, for a build that is not installed. */
const char *policy_library_dir(void);
struct policy_bundle *policy_bundle_ref(struct policy_bundle *b);
void policy_bundle_unref(struct policy_bundle *b);
const char *policy_bundle_id(const struct policy_bundle *b);	/* 64 hex digits */
struct data;
struct data *policy_bundle_data(const struct policy_bundle *b);	/* its tables (data/data.h); borrowed */
struct tls_client *policy_bundle_tls(const struct policy_bundle *b);	/* for gw.http; NULL without; borrowed */
/* Loads in a fresh state, as a worker would, and reports every problem, one a line: unknown hooks
 * with the nearest name, handlers without names, unknown routes and grants, verdicts that a hook
 * does not take (constant ones), writes to upvalues. False when there is an error; warnings are in
 * the text, too. Text is heap, NULL when there is nothing to say. */
bool policy_check(const struct policy_bundle *b, const struct conf *conf, char **text);
/* What options the policies of this bundle take: as "text", "json" (JSON Schema) or "types" (for editors).
 * Heap; NULL with err when they do not load. */
char *policy_options_text(struct policy_bundle *b, struct conf *conf, const char *as, struct err *err);

/* Files with their digests and handlers with their places, as JSON. Heap; NULL with `err` when it cannot be
 * loaded. */
char *policy_describe(struct policy_bundle *b, struct conf *conf, struct err *err);

/* ---- A worker's engine ---- */
struct policy;
struct policy_gen;
struct policy *policy_new(struct event_base *base, struct dns *dns, unsigned worker);
void policy_free(struct policy *p);
/* What handlers may wait for beside DNS; borrowed, each may be NULL. Before one of them goes the engine
 * has to be told. */
/* Answers to gw.http from a book (src/rehearsal): true, *status, *headers ("name: value\n" each) and *body, both
 * heap; or false, and *kind (static) says how it fails. */
struct policy_http_fixture {
	bool (*answer)(void *owner, const char *method, const char *url, struct slice sent, long *status, char **headers,
	    char **body, const char **kind);
	void *owner;
};
/* The same for gw.sql and tables of SQLite. True: the end, columns and cells of `q` are set. False: the file is
 * asked; never where `q` has none. */
struct sql_query;
struct policy_sql_fixture {
	bool (*answer)(void *owner, const char *name, struct sql_query *q);
	void *owner;
};
struct policy_services {
	const struct policy_http_fixture *http;	/* instead of servers; NULL */
	const struct policy_sql_fixture *sql;	/* before databases; NULL */
	struct store *store;		/* gw.kv */
	struct mailbox *mb;		/* where the store's answers go: this thread's */
	struct sts_finder *sts;		/* gw.sts */
	struct pool *pool;		/* gw.sql, and tables of SQLite; answers come to mb, too */
	struct node *node;		/* gw.rate, gw.counter; NULL: the engine has one of its own */
};
void policy_use(struct policy *p, const struct policy_services *s);
/* Compiles the bundle in a fresh Lua state and runs it. On error the running generation is
 * untouched. The generation lives until its references are gone; sessions and attempts hold one. */
struct policy_gen *policy_gen_new(struct policy *p, struct policy_bundle *b, struct conf *conf,
    struct err *err);
struct policy_gen *policy_gen_ref(struct policy_gen *g);
void policy_gen_unref(struct policy_gen *g);
const char *policy_gen_id(const struct policy_gen *g);
struct conf *policy_gen_conf(const struct policy_gen *g);	/* borrowed */
bool policy_gen_has(const struct policy_gen *g, enum policy_hook h);	/* any handler or rule at all */
bool policy_gen_wants_parts(const struct policy_gen *g);	/* some matcher asks what parts a message has */
void policy_session_end(struct policy_gen *g, void **vars);
/* Runs the handlers of `init`, which may wait; once for each generation, before anything else of it
 * is called. `reason` is "start" or "reload" and lives on. `done` is called once, maybe before this
 * returns; `err` is NULL when all went well. After an error the generation is of no use. */
typedef void policy_inited(void *owner, const struct err *err);
void policy_gen_init(struct policy_gen *g, const char *reason, policy_inited *done, void *owner);
void policy_gen_init_cancel(struct policy_gen *g);	/* no `done` any more */
/* New sessions and attempts begin with it; another has taken its place. `fini` runs when the last
 * reference is gone, on the event loop, for 5 seconds at most. */
void policy_gen_activate(struct policy_gen *g);
void policy_gen_retire(struct policy_gen *g);
/* Who looks after a generation. `failed`: a handler of it did, now. `gone`: the last call, when its
 * state is no more. `owner` must live until then. */
struct policy_watch {
	void (*failed)(void *owner, enum policy_hook hook, const char *handler);
	void (*gone)(void *owner);
};
void policy_gen_watch(struct policy_gen *g, const struct policy_watch *w, void *owner);
void *policy_gen_watcher(const struct policy_gen *g);	/* that owner; NULL: nobody */
/* The worker ends: runs what is left of `fini`, then calls `done`, maybe before this returns. */
void policy_stop(struct policy *p, void (*done)(void *owner), void *owner);

enum policy_when { POLICY_NOW, POLICY_LATER };
typedef void policy_done(void *owner, uint64_t ticket, struct verdict *v);	/* take with verdict_move */
/* Runs the chain. POLICY_NOW: *v is filled in, `done` is not called. POLICY_LATER: `done` follows
 * once, from the event loop, unless policy_cancel comes first. `done` may call anything.
 * Not to be called for the same subject while one is under way. */
enum policy_when policy_call(struct policy *p, struct policy_gen *g, enum policy_hook hook,
    struct policy_subject *s, struct verdict *v, policy_done *done, void *owner, uint64_t *ticket_out);
void policy_cancel(struct policy *p, uint64_t ticket);	/* unknown and stale ones are ignored */

/* Told of each handler that came to its end, by whoever rehearses or traces. All of it is borrowed. */
struct trace_rec;
struct policy_seen {
	enum policy_hook hook;
	const char *handler, *where;	/* where: of the verdict, else of the handler */
	int level;
	bool is_rule;
	const struct verdict *v;	/* NULL: no opinion, or it failed */
	const char *error;		/* why it failed, NULL */
	bool is_over;			/* a failure that ends the chain, or stands for its outcome */
	const struct policy_subject *s;
	uint32_t added;			/* duties that it added, whosever they are */
	uint64_t instructions;
	const struct trace_rec *trace;	/* its record so far (trace.h); NULL while nobody wants records */
};
typedef void policy_seen_fn(void *owner, const struct policy_seen *seen);
void policy_observe(struct policy *p, policy_seen_fn *fn, void *owner);	/* NULL: nobody */

/* Told of each line of Lua that runs, the loading of files included; `source` is "policy.lua". It costs. */
typedef void policy_line_fn(void *owner, const char *source, int line);
void policy_watch_lines(struct policy *p, policy_line_fn *fn, void *owner);
/* Instructions are counted one by one, not by the thousand. It costs far more than what is counted. */
void policy_count_exactly(struct policy *p);
/* Each line of a bundle's own files that holds code, in no order; false when a file does not compile. */
bool policy_code_lines(const struct policy_bundle *b, policy_line_fn *fn, void *owner);
/* Each handler and rule of a generation, in order of registration: how often it ran. */
void policy_each_handler(const struct policy_gen *g, void (*fn)(void *owner, const char *name, const char *where,
    bool is_rule, uint64_t hits), void *owner);

struct policy_stats {
	uint64_t calls, errors, limits, waiting, stale_tickets;
	uint64_t in_flight;		/* what the waiting ones wait for */
	uint64_t lua_bytes;
};
void policy_stats(const struct policy *p, struct policy_stats *out);

#endif
