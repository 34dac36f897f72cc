/* TLSA records of one mail host: which of them count, and their canonical text. Pure; the look-up is
 * in dns/tlsa.h, the handshake in net/. RFC 6698, 7671, 7672. */
#ifndef TRUST_DANE_H
#define TRUST_DANE_H

#include "dns/dns.h"
#include "net/net.h"
#include "trust/trust.h"

struct dane_set {		/* immutable */
	enum tlsa_state state;	/* TLSA_USABLE, TLSA_UNUSABLE, or TLSA_NONE for no record at all */
	size_t total;		/* records in the answer */
	struct tls_tlsa *usable;	/* after digest agility; sorted, no doubles */
	size_t n;
	char *strings;		/* a JSON array: each record in presentation form (RFC 6698 2.2), sorted */
	char *text;		/* dane_text of each usable one, else of each, joined by ", " */
};
/* Of a secure answer. `rr` is copied. */
struct dane_set *dane_set_new(const struct dns_rr *rr, size_t n);
void dane_set_free(struct dane_set *s);
/* "3 1 1 <hex>"; a whole certificate or key is shown by its digest: "2 0 0 sha256:<hex>". */
#define DANE_TEXT 160
void dane_text(char dst[DANE_TEXT], const struct tls_tlsa *r);

#endif
