/* Between matcher.c, which compiles, and matcher_eval.c, which answers. */
#ifndef POLICY_MATCHER_INT_H
#define POLICY_MATCHER_INT_H

#include "policy/matcher.h"
#include "policy/names.h"

struct matcher {
	int refs;
	enum match_op op;
	unsigned needs;		/* with those of the kids */
	struct matcher **kids;
	size_t nkids;
	char **words;		/* as written, for matcher_text; folded[i] for comparison */
	char **folded;
	size_t nwords;
	char *name;
	uint64_t size;
	unsigned bits;		/* set of roles, directions, states or days; TLS version */
	unsigned from_min, to_min;
	bool utc;
	int fn_ref;
	struct domain_set domains;
	struct address_set addresses;
	struct names *nets;	/* family, prefix length, masked address */
	uint8_t v4_bits[33], v6_bits[129];	/* prefix lengths in use: one look-up for each */
	unsigned nv4, nv6;
};
/* The key of a network in `nets`; returns its length. */
size_t matcher_net_key(char key[18], int family, unsigned bits, const uint8_t *ip);
/* What matchers about these look at. NULL, false: nothing is known. */
const char *matcher_listener(const struct policy_subject *s);
bool matcher_client_ip(const struct policy_subject *s, uint8_t ip[16], int *family);

#endif
