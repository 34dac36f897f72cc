/* Is the resolver honest? The self-test of DNSSEC validation (src/dns/selftest.c) at start and from time
 * to time, on the main thread, which may read the files that it needs. The workers are told. */
#ifndef GATEWAY_RESOLVER_H
#define GATEWAY_RESOLVER_H

#include "gateway/gateway_int.h"

struct resolver_state {
	enum dns_trust trust;		/* the last verdict */
	bool is_lost;			/* nothing counts as secure, until the next honest one */
	char why[512];			/* a sentence, safe to print */
	int64_t since_ms, tested_ms;	/* wall: of this verdict; of the last test. 0: none yet */
	uint64_t tests[DNS_TRUSTS];
};

struct resolver;
/* `changed`: another verdict, or (`reopen`) files that the workers' side has read before are new and
 * validate. Never during the call. */
struct resolver *resolver_new(struct event_base *base, struct setup *setup,
    void (*changed)(void *owner, const struct resolver_state *s, bool reopen), void *owner);
const struct resolver_state *resolver_state_peek(const struct resolver *r);
void resolver_free(struct resolver *r);		/* NULL is fine */

#endif
