/* Verifying DKIM signatures (RFC 6376), by libopendkim. Who uses it asks the DNS himself, between the
 * header and the body: nothing here waits. One thread at a time. */
#ifndef MESSAGE_DKIM_CHECK_H
#define MESSAGE_DKIM_CHECK_H

#include "base/base.h"

#define DKIM_CHECKS_MAX 8u	/* signatures that are looked at; those after them are left out */

struct dkim_check;
enum dkim_key_state { DKIM_KEY_FAILED, DKIM_KEY_NONE, DKIM_KEY_FOUND };
struct dkim_result {		/* strings are the check's */
	const char *result;	/* "pass", "fail", "neutral", "temperror", "permerror" (RFC 8601 2.7.1) */
	const char *reason;	/* NULL with "pass" */
	const char *domain, *selector, *identity;	/* d=, s=, i= */
	unsigned bits;		/* of the key; 0 unknown */
	bool partial;		/* l=: there is more body than was signed */
	bool secure;		/* as dkim_check_key said */
};
/* `header` as it came, only read during the call. NULL with `err`: it is too large, or nothing that can be
 * verified. */
struct dkim_check *dkim_check_new(struct slice header, struct err *err);
size_t dkim_check_count(const struct dkim_check *c);
/* Where the key of the i-th is ("s1._domainkey.acme.example"); NULL: it will not be looked at. */
const char *dkim_check_name(const struct dkim_check *c, size_t i);
/* What the DNS said: the text of its TXT record, with DKIM_KEY_FOUND. */
void dkim_check_key(struct dkim_check *c, size_t i, enum dkim_key_state state, struct slice text, bool secure);
/* Then the body in pieces, cut anywhere; CR LF at the end of each line. */
bool dkim_check_add(struct dkim_check *c, const char *p, size_t n);
void dkim_check_end(struct dkim_check *c);
void dkim_check_result(const struct dkim_check *c, size_t i, struct dkim_result *out);
void dkim_check_free(struct dkim_check *c);		/* NULL is fine */

#endif
