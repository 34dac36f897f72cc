/* The `log` hook: what happened, after the fact. Nothing it does changes anything. */
#ifndef DELIVER_EVENTS_H
#define DELIVER_EVENTS_H

#include "policy/policy.h"

/* One event as a JSON object: {"event": phrase, "message": id, ...}; pairs as for the log. Costs
 * nothing when no policy has the hook. Handlers that would wait are ended. */
void events_emit(struct policy *p, struct policy_gen *g, const char *phrase, const struct log_kv *kv);

#endif
