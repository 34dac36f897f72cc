/* Which generations there are, in the main thread: what was loaded, which one is active, which ones
 * still have sessions. Nothing is activated by itself; the one exception is the way back
 * (policy.auto_rollback).
 *
 *   loaded -> checked -> [canary ->] active -> draining -> retired
 *                 \________________________________/
 *                  (discarded)
 *
 * `loaded` lasts while a load goes on. A generation that was active can be activated again, as a new
 * one: its files are kept in memory. */
#ifndef GATEWAY_GENERATIONS_H
#define GATEWAY_GENERATIONS_H

#include <jansson.h>

#include "ctl/ctl.h"
#include "gateway/gateway_int.h"

struct generations_ops {
	/* Another configuration is in force; borrowed until the next call. */
	void (*activated)(void *owner, struct setup *s);
};
/* `mb`: the main thread's, for what workers tell. */
struct generations *generations_new(struct event_base *base, struct crew *crew, struct mailbox *mb,
    const char *conf_file, const struct generations_ops *ops, void *owner);
void generations_close(struct generations *g);	/* the daemon ends: nothing is given up on any more */
void generations_free(struct generations *g);
/* The first one. A reference to `s` is taken. */
bool generations_start(struct generations *g, struct setup *s, struct err *err);
/* Files can be read only from where they were at start: errors say so. */
void generations_are_confined(struct generations *g);
/* Reads the configured directory, loads and activates. `by`: who wants it. */
bool generations_reload(struct generations *g, const char *by, struct err *err);
/* A request whose verb begins with "policy.". NULL: *exit_status is set with `err`. */
json_t *generations_ask(struct generations *g, const char *verb, const json_t *args, const char *by,
    struct err *err, int *exit_status);
json_t *generations_status(struct generations *g);	/* for `sallyport status` */
/* What those that are not retired were made from. Two may have been made from the same. */
void generations_each_setup(struct generations *g, void (*fn)(void *arg, struct setup *s), void *arg);
void generations_metrics(struct generations *g, void (*fn)(void *arg, const struct ctl_metric *m), void *arg);

#endif
