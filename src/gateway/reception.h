#ifndef GATEWAY_RECEPTION_H
#define GATEWAY_RECEPTION_H

#include "gateway/gateway_int.h"

/* One inbound session's side towards configuration, policy and store; `owner` of reception_ops. */
struct reception *reception_new(struct worker *w, struct generation *g, size_t listener,
    const struct net_addr *peer);
/* Its session has this number. */
void reception_is(struct reception *r, uint64_t session_id);
/* For a session that never began; else reception_ops.closed frees it. */
void reception_free(struct reception *r);
/* As if the client had logged in; `attrs`, JSON or NULL, as gw.identity gives them. For rehearsals. */
void reception_assume_login(struct reception *r, uint64_t sid, const char *id, const char *attrs);

#endif
