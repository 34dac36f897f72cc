/* The journal: for each call of a hook what it looked at, what those it waited for said, and what came of it;
 * all that is needed to do the call again (doc/journal.md). A worker makes a line, another thread writes it
 * (log_journal). And the way back: subjects from lines, and an engine whose waits are answered from one. */
#ifndef POLICY_JOURNAL_H
#define POLICY_JOURNAL_H

#include <jansson.h>

#include "policy/policy.h"

#define JOURNAL_VERSION 1
#define JOURNAL_HEADER_MAX (64u * 1024)
#define JOURNAL_BODY_MAX (64u * 1024)

/* ---- Writing ---- */
typedef void policy_journal_line(const char *line, size_t n);	/* without its newline */
/* NULL: no journal. `body`: octets of the body that are kept even when no handler looks at them. */
void policy_journal_use(struct policy *p, policy_journal_line *fn, size_t body);
/* A session is over: nothing more comes of it. */
void policy_journal_session_end(struct policy *p, uint64_t session);

/* ---- Values, both ways ---- */
json_t *journal_verdict(const struct verdict *v);	/* without what differs from run to run */
/* What policies may change of a message: duties, tags, vars, edits and so on. NULL without one. */
json_t *journal_own(const struct msg *m);
/* What bounce and dsn hooks may change. */
json_t *journal_words(const struct dsn_words *w);

struct journal_subject {
	struct policy_subject s;	/* points to the following, and to memory that goes with it */
	struct policy_session session;
	struct smtp_session_info info;
	struct conf_listener listener;
	struct net_addr peer, local;
	struct tls_info tls;
	struct policy_hop hop, result_hop;
	struct tls_info hop_tls, result_tls;
	struct policy_result result, last;
	struct policy_bounce bounce;
	struct dsn_words words;
	struct dsn_rcpt *rcpts;
	struct report report;
	struct msg *msg;
	struct content *content;
	struct route *routes[4];
	size_t nroutes;
	bool body_is_whole;		/* what is there of it is all that a policy could have seen */
	const char *sha256;		/* NULL: was not recorded */
	size_t nkept;
	void **kept;
};
/* `in` of a line, which may be anybody's: NULL, with `err`, when it makes no sense. Header and body, which only some
 * lines have, are taken from `first` when `in` only says that there was a header; NULL when there was no such line.
 * `in` and, for that, `first` must outlive it. */
struct journal_subject *journal_subject_read(const json_t *in, enum policy_hook hook, const struct conf *conf,
    const struct journal_subject *first, struct err *err);
void journal_subject_free(struct journal_subject *j);

/* ---- Doing it again ---- */
struct policy_replay {			/* of one call */
	const json_t *waits;		/* of the line */
	const struct journal_subject *subject;
	/* out: the first thing that was asked for and not recorded; "" none */
	char unknown[200];
	char unknown_handler[64];
	bool used[256];			/* of `waits` */
};
/* From now on nothing is waited for: calls that would wait are answered from `r`, and the clock is set (clock_fake)
 * to when they were. NULL: as usual. A handler that asks for what is not there is ended. */
void policy_replay_use(struct policy *p, struct policy_replay *r);

#endif
