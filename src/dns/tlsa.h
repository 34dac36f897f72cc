/* The TLSA records of one mail host (RFC 7672 section 2.2): which name they are looked for under, and
 * whether the answer may be relied on. What the records say is trust/dane.h's matter. */
#ifndef DNS_TLSA_H
#define DNS_TLSA_H

#include "dns/dns.h"

enum tlsa_found {
	TLSA_ABSENT,		/* a secure denial, or nothing that is secure (D-30) */
	TLSA_SECURE,		/* records, validated */
	TLSA_ERROR,		/* a query failed: the host is not to be used (D-08) */
};
struct tlsa_result {		/* lives during the callback only */
	enum tlsa_found found;
	const char *base;	/* TLSA base domain: the name that the records were found under */
	const struct dns_rr *rr;
	size_t n;		/* of TLSA_SECURE: at least 1 */
	uint32_t ttl;		/* of the shortest answer, at least 1; of an error: 30 */
	const char *why;	/* TLSA_ERROR: "_25._tcp.mx.example: servfail" */
};
typedef void tlsa_cb(void *owner, uint64_t ticket, const struct tlsa_result *r);

/* May there be TLSA records for this host, as far as its addresses tell? (D-12, D-13, D-24) */
bool tlsa_may_exist(const struct mx_host *h);
/* Never calls back during the call. Returns a number, never 0. */
uint64_t tlsa_resolve(struct dns *d, const struct mx_host *h, uint16_t port, tlsa_cb *cb, void *owner);
void tlsa_cancel(struct dns *d, uint64_t ticket);	/* a stale number is fine */

#endif
