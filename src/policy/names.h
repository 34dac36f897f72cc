/* Frozen sets of names, and the forms in which policies write domains and addresses.
 *
 * Domains: "x.example" that name, "*.x.example" anything below it, ".x.example" both, "*" all.
 * Addresses: "user@x.example", "user@" that local-part anywhere, "@<domain form>", a domain form,
 * "<>" the null sender. Case is ignored (ASCII), also in local-parts. A look-up costs one probe of
 * a hash, and for sets with wildcards one for each label of the name. */
#ifndef POLICY_NAMES_H
#define POLICY_NAMES_H

#include "base/base.h"

/* One piece of memory without pointers into itself, so that it can lie in a Lua userdata. */
struct names {
	uint32_t n, max;		/* members now, room for so many */
	uint32_t nslots;		/* power of two */
	uint32_t used, octets;		/* of the text area */
	bool exact;			/* octets as they are: binary keys */
	uint32_t data[];		/* slots, then (offset, length) pairs, then text */
};
size_t names_size(size_t n, size_t octets);	/* 0 when too big */
struct names *names_init(void *mem, size_t n, size_t octets, bool exact);
/* False when it was there already. More than announced is our own mistake. */
bool names_add(struct names *s, const char *p, size_t n);
bool names_has(const struct names *s, const char *p, size_t n);
int64_t names_find(const struct names *s, const char *p, size_t n);	/* its place; -1 */
struct slice names_at(const struct names *s, size_t i);	/* in order of addition; lower case */

struct domain_set {
	struct names *names;
	bool has_below, all;
};
struct address_set {
	struct names *names;		/* whole addresses and "user@" */
	struct domain_set domains;
	bool null;
};
/* NULL-safe fini; init fails with a sentence for what is not a domain or address form. */
bool domain_set_init(struct domain_set *d, const char *const *v, size_t n, struct err *err);
void domain_set_fini(struct domain_set *d);
bool domain_set_has(const struct domain_set *d, struct slice domain);
bool address_set_init(struct address_set *a, const char *const *v, size_t n, struct err *err);
void address_set_fini(struct address_set *a);
bool address_set_has(const struct address_set *a, struct slice address);

#endif
