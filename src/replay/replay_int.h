#ifndef REPLAY_REPLAY_INT_H
#define REPLAY_REPLAY_INT_H

#include <uthash.h>

#include "policy/journal.h"
#include "policy/trace.h"
#include "replay/replay.h"

#define WORKERS_MAX 64
#define MESSAGES_MAX 20000	/* remembered at a time; the oldest are forgotten */
#define SESSIONS_MAX 20000

struct side {			/* one of the two policies */
	struct conf *conf;
	struct policy_bundle *bundle;
	struct policy *policy[WORKERS_MAX];	/* as many as the journal had; each has a state of its own */
	struct policy_gen *gen[WORKERS_MAX];
	json_t *did;			/* while a call runs: what each handler did, {"name": {...}} */
	json_t *tls;			/* {"domain": duties that its tls_policy verdict asks for} */
};
struct outcome {		/* of one call on one side */
	bool skipped;			/* its mail was refused before */
	json_t *verdict;		/* journal_verdict */
	enum verdict_kind kind;
	json_t *own, *before;		/* journal_own after and before */
	json_t *words;
	duty_mask duties;		/* of message and recipients after it, joined */
	duty_mask hop, added;
	json_t *did;			/* by handler */
	char unknown[200], unknown_handler[64];
};
struct message {
	UT_hash_handle hh;
	uint64_t id;
	struct journal_subject *first;	/* the line with header and body; NULL */
	json_t *first_in;
	json_t *delta[3];		/* what A, B and the recorded policy did to it so far */
	json_t *refused[2];		/* {"address": true} */
	bool is_over[2];
};
struct session {
	UT_hash_handle hh;
	uint64_t id;
	void *vars[2];
	int worker[2];			/* whose they are; -1 */
	bool is_over[2];
};
struct replay {
	struct side side[2];
	struct event_base *base;
	struct message *messages;
	struct session *sessions;
	json_t *orig_tls;
	json_t *groups, *unknown;	/* by key, see compare.c */
	uint64_t calls, compared, skipped, nmessages, lines_bad, changed, weaker, unreproduced, reproduced;
	char gen[2][13];
	int64_t first_ms, last_ms;
};

/* side.c */
bool side_init(struct side *s, struct event_base *base, struct conf *c, struct policy_bundle *b, struct err *err);
void side_fini(struct side *s);
bool side_ready(struct side *s, struct event_base *base, unsigned worker, struct err *err);
/* Does one call; `o` is to be freed with outcome_fini. */
void side_call(struct replay *r, int which, unsigned worker, enum policy_hook hook, const json_t *rec,
    struct message *m, struct session *ss, struct outcome *o);
void outcome_fini(struct outcome *o);

/* delta.c: what was done to a message, so that it can be put on top of what another did */
void delta_add(json_t *delta, const json_t *before, const json_t *after);
void delta_apply(struct msg *m, const json_t *orig, const json_t *own);
duty_mask delta_duties(const json_t *delta, const char *rcpt);	/* rcpt NULL: of the message alone */

/* compare.c */
void compare_outcomes(struct replay *r, enum policy_hook hook, const json_t *rec, const struct outcome *a,
    const struct outcome *b);
void note_unknown(struct replay *r, int which, const char *handler, const char *what);

/* replay.c: one line, in order */
void replay_record(struct replay *r, const json_t *rec);

#endif
