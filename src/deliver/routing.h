/* Where each recipient of a message goes: the configured route of its domain, or what the `route`
 * hook says. Used at reception and for notices. */
#ifndef DELIVER_ROUTING_H
#define DELIVER_ROUTING_H

#include "policy/policy.h"

struct routing;
/* `failed` NULL: every recipient has route and next_hop, or is held, discarded, deferred or marked
 * bounce_reason. Else the verdict to give (a failed hook: 451; nothing was routed for sure). */
typedef void routing_done(void *owner, const struct verdict *failed);
/* Routes msg->rcpts from the first to the last. `done` may be called, and free what `slot` is part
 * of, before this returns: *slot is set while it is under way and NULL before `done`. `header`: of
 * the message, for the hook. All arguments outlive it. */
void routing_start(struct policy *p, struct policy_gen *g, struct msg *msg, struct slice header,
    struct policy_session *session, routing_done *done, void *owner, struct routing **slot);
void routing_cancel(struct routing *r);		/* NULL is fine; no `done` follows */

/* Sets route and next_hop of a recipient: a name for a configured route, JSON for another. */
void routing_set(struct msg_rcpt *r, const struct route *route);
/* The route that a stored recipient has today: the configuration's own by name, or the JSON's with
 * the asserts of the route it is based on. NULL with `err` when it is gone. Caller frees. */
struct route *routing_resolve(const struct conf *c, const char *stored, struct err *err);
/* The route whose settings apply to a domain when no policy says otherwise. NULL: no entry. */
const struct route *routing_configured(const struct conf *c, const char *domain);

#endif
