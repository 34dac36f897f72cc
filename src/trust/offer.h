/* What a domain and its hosts offer that protects mail, as far as we have seen it: which kinds there are,
 * and when one offer is less than another. Pure functions; deliver/offers.c compares, the queue keeps. */
#ifndef TRUST_OFFER_H
#define TRUST_OFFER_H

#include "base/base.h"

enum offer {
	OFFER_DNSSEC,		/* the domain: its MX record is validated; "yes" */
	OFFER_STS,		/* the domain: "enforce id=1" or "testing id=1" */
	OFFER_TLSA,		/* the domain: a host of it has usable TLSA records; "yes" */
	OFFER_STARTTLS,		/* a host; "yes" */
	OFFER_REQUIRETLS,	/* a host; "yes" */
	OFFER_TLS,		/* a host: "TLSv1.3" */
	OFFER_CERT,		/* a host: its certificate verified, by "dane", "pkix", "pin" */
};
#define OFFERS 7

const char *offer_name(enum offer o);		/* "dnssec" "sts" ... */
bool offer_parse(const char *name, enum offer *out);
/* 0: nothing of the kind (NULL or unknown); a higher number protects better. */
int offer_rank(enum offer o, const char *value);

#endif
