/* Administration: the control socket (length-prefixed JSON over a Unix socket, 0600 in a 0700
 * directory, peer's uid checked; X-70), metrics and a status page over HTTP on loopback. Runs in
 * the main thread's loop. The other end is the `sallyport` command (cli_*.c). */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include <jansson.h>

#include "base/base.h"
#include "policy/trace.h"
#include "queue/store.h"

struct event_base;
struct ctl;

/* One counter or gauge, summed over workers; or, with a name that ends in _seconds_bucket, _sum or _count, a line of
 * a histogram. */
struct ctl_metric {
	const char *name, *help;	/* "sallyport_messages_accepted_total" */
	bool is_counter;
	const char *labels;		/* "verdict=\"accept\"" or NULL */
	double value;
};
struct ctl_ops {
	/* All counters now; fn is called for each. */
	void (*metrics)(void *owner, void (*fn)(void *arg, const struct ctl_metric *m), void *arg);
	/* Reads configuration and policy again. True when they are active; `err` says why not. */
	bool (*reload)(void *owner, const char *by, struct err *err);
	/* What `sallyport status` shows: a new reference. */
	json_t *(*status)(void *owner);
	/* Back when all workers have done what they were at: from then on no transaction begins that does not
	 * know what the store had committed before. False: one of them did not say so in time. */
	bool (*settle)(void *owner);
	/* Verbs that begin with "policy.": a new reference, or NULL with `err` and *exit_status. `args` may be
	 * NULL. */
	json_t *(*policy)(void *owner, const char *verb, const json_t *args, const char *by, struct err *err,
	    int *exit_status);
	/* Limits of policies: all, or those of this name, with so many keys each. A new reference. */
	json_t *(*rates)(void *owner, const char *name, size_t keys);
	/* {"trace": [...]}: the records in memory of a message or session; a new reference. */
	json_t *(*records)(void *owner, uint64_t id);
	/* Records shall come to ctl_record, or not any more. */
	void (*watch)(void *owner, bool on, const struct trace_filter *filter);
};
struct ctl_conf {
	const char *socket_path;	/* its directory is made 0700 */
	const char *http;		/* "127.0.0.1:8025"; NULL none; loopback only unless it says otherwise */
};
/* `mb` is the main thread's mailbox: answers of the store come through it. */
struct ctl *ctl_new(struct event_base *base, const struct ctl_conf *conf, struct store *store,
    struct mailbox *mb, const struct ctl_ops *ops, void *owner, struct err *err);
void ctl_free(struct ctl *c);
/* One that clients may wait for. Borrowed. left_out: so many more there were before it. */
void ctl_record(struct ctl *c, json_t *record, uint64_t left_out);

#define CTL_FRAME_MAX (64u * 1024)	/* a request; answers may be larger, 64 MiB */
/* Requests are JSON objects {"verb": "queue.list", ...}; answers {"ok": true, ...} or {"ok":
 * false, "error": "...", "exit": 1}. Each is preceded by its length, 4 octets, big-endian. */
json_t *ctl_call(const char *socket_path, const json_t *request, int timeout_ms, struct err *err);

/* A request that has many answers: `fn` gets each result, borrowed, until it says false or the connection ends,
 * which is -1 with `err`. */
int ctl_follow(const char *socket_path, const json_t *request, bool (*fn)(void *arg, const json_t *result),
    void *arg, struct err *err);

int cli_main(int argc, char **argv);	/* the sallyport command; exit status (design section 8) */

#endif
