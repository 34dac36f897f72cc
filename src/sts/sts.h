/* The MTA-STS policies of recipient domains (RFC 8461): found, fetched, kept, refreshed. One finder
 * for each worker; what it fetched is in the queue database, where the others find it, also after a
 * restart. What the texts mean is trust/sts.h's; what they mean for a message is trust_decide's.
 *
 * A failure to find out is never a policy's end: an unexpired policy that was fetched once applies
 * until another takes its place (S-09, S-30, X-41). */
#ifndef STS_STS_H
#define STS_STS_H

#include "dns/dns.h"
#include "net/net.h"
#include "queue/store.h"
#include "trust/sts.h"

/* What the answer to a question for `_mta-sts.` and the domain announces. */
enum sts_txt sts_txt_of(const struct dns_answer *a, char id_out[STS_ID_SIZE]);

struct sts_known {			/* immutable, counted; one thread */
	int refs;
	char id[STS_ID_SIZE];
	struct sts_policy policy;
	char *text;			/* as fetched */
	int64_t fetched_ms, expires_ms;	/* wall */
};
struct sts_known *sts_known_ref(struct sts_known *k);	/* NULL is fine for both */
void sts_known_unref(struct sts_known *k);

struct sts_how {			/* today's configuration */
	struct tls_client *tls;		/* whom policy hosts must be certified by; borrowed */
	uint16_t port;
	bool allow_loopback;
	bool reports;			/* failures to fetch are counted for TLS reports (S-74) */
	bool allow_private;
	int64_t timeout_ms;		/* for one fetch as a whole; who waits for it waits a quarter */
};
/* Policy hosts from a book (src/rehearsal): *text (heap) and true, or false with *why (heap). */
struct sts_fixture {
	bool (*fetch)(void *owner, const char *domain, char **text, char **why);
	void *owner;
};
struct sts_env {			/* all outlive the finder */
	struct event_base *base;
	struct mailbox *mb;
	struct dns *dns;
	struct store *store;
	bool refreshes;			/* this one looks after what is in the database (S-45) */
	bool (*how)(void *owner, struct sts_how *out);	/* false: MTA-STS is off */
	const struct sts_fixture *fixture;		/* NULL: HTTPS */
	void *owner;
};
struct sts_finder;
struct sts_finder *sts_finder_new(const struct sts_env *env, struct err *err);
/* No callback comes any more. Answers of the store that are still under way find it gone. */
void sts_finder_free(struct sts_finder *f);

/* `known` is borrowed, and NULL without a policy. STS_FETCH_FAILED: there may be one, and it could
 * not be found out. */
typedef void sts_cb(void *owner, uint64_t ticket, enum sts_mode mode, struct sts_known *known);
/* Looks at the TXT record, and fetches when it announces what is not known. Never calls back during
 * the call; calls back once. Returns a number, never 0. */
uint64_t sts_find(struct sts_finder *f, const char *domain, sts_cb *cb, void *owner);
void sts_cancel(struct sts_finder *f, uint64_t ticket);	/* a stale number is fine, and 0 */

#endif
