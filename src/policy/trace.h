/* What handlers did: a record for each call that got past its matcher, in a ring for each worker; and the
 * counters behind the metrics of handlers. One thread, no locks. While nobody wants records a call costs
 * one look at a flag. */
#ifndef POLICY_TRACE_H
#define POLICY_TRACE_H

#include <jansson.h>

#include "policy/policy.h"

/* ---- Records ---- */
#define TRACE_WAITS 16
#define TRACE_KEY 96
struct trace_wait {
	const char *kind;		/* "dns.mx"; static */
	char key[TRACE_KEY];		/* what was asked for, as far as it fits */
	int64_t ns;
	const char *outcome;		/* "ok", an error's kind, "raised", "ended"; static; NULL: not yet */
};
struct trace_rec {
	uint64_t seq;			/* of this worker, from 1 */
	int64_t at_ms;			/* wall, when it began */
	uint64_t session, message;	/* 0: none */
	int rcpt;			/* number of the recipient, -1 */
	enum policy_hook hook;
	int level;			/* POLICY_ADVISORY ... */
	bool is_rule, observe;
	bool is_error;			/* it failed; `why` says how */
	bool is_kept;			/* handed to ops->keep */
	enum verdict_kind verdict;	/* what it said, "would have" for an advisory handler */
	char gen[13], handler[64], where[96];
	char ip[46], domain[128];	/* the client's; recipient's, destination's or sender's; "" */
	uint64_t instructions;		/* in steps of 1,000 */
	int64_t run_ns, wall_ns;	/* on the worker's loop; waits included */
	size_t grown;			/* octets */
	duty_mask duties;		/* that it added */
	struct trace_wait waits[TRACE_WAITS];
	unsigned nwaits;		/* may be more than there are in waits[] */
	struct buf matched, changed, notes, why;	/* text; parts separated by LF */
	int64_t begun_ns, slice_ns;	/* while it runs; slice 0: it waits */
};
/* "{time, worker, seq, session, message, rcpt, hook, handler, ...}"; every string is safe to print. */
json_t *trace_json(const struct trace_rec *t, unsigned worker);

struct trace_filter {			/* what somebody wants to see; "" any */
	char ip[46], domain[128], handler[64];
};
bool trace_filter_fits(const struct trace_filter *f, const char *ip, const char *domain, const char *handler);

struct trace_ops {
	/* A record that has to be stored. Borrowed. */
	void (*keep)(void *owner, const struct trace_rec *t);
	/* Every record, while policy_trace_watch says so. Borrowed. */
	void (*live)(void *owner, const struct trace_rec *t);
};
struct trace_conf {
	unsigned ring;			/* records; 0: none */
	unsigned sample;		/* one message in so many is stored whatever became of it; 0: none */
	bool keep;			/* those with an outcome of their own are stored */
};
/* ops NULL: nothing is kept. May be called again; what is in the ring stays, as far as it fits. */
void policy_trace_use(struct policy *p, const struct trace_conf *c, const struct trace_ops *ops, void *owner);
void policy_trace_watch(struct policy *p, bool live);
/* Those of a message, and of its session as far as they belong to no message; or, with a session's number,
 * all of it. Oldest first. */
void policy_trace_each(const struct policy *p, uint64_t id, void (*fn)(void *arg, const struct trace_rec *t),
    void *arg);

/* ---- Counters ---- */
#define TRACE_BUCKETS 10		/* 1 us, 10 us, 100 us, 1 ms, ... 100 s, more */
extern const double trace_bucket_s[TRACE_BUCKETS - 1];
enum handler_error { ERROR_LUA, ERROR_VERDICT, ERROR_LIMIT, ERROR_MATCHER, HANDLER_ERRORS };
extern const char *const handler_error_names[HANDLER_ERRORS];
/* A handler's, by hook and name, over all generations of this worker. */
struct handler_count {
	enum policy_hook hook;
	bool is_rule;
	char name[64];
	uint64_t hits;
	uint64_t verdicts[VERDICT_KINDS];	/* of calls past the matcher; NONE: no opinion */
	uint64_t errors[HANDLER_ERRORS];
	uint64_t instructions;
	/* only while there is a ring */
	uint64_t timed, buckets[TRACE_BUCKETS];
	int64_t wall_ns;
};
struct policy_counts {
	struct handler_count *v;	/* heap */
	size_t n;
	struct { char id[13]; uint64_t lua_bytes; bool is_active; } gens[16];
	size_t ngens;
	uint64_t traced, kept;
};
/* A copy, sorted by hook and name; policy_counts_fini. */
void policy_counts(const struct policy *p, struct policy_counts *out);
void policy_counts_add(struct policy_counts *sum, const struct policy_counts *c);
void policy_counts_fini(struct policy_counts *c);

#endif
