/* Delivery: destinations, the choice of hosts, the connection pool, attempts and what follows from
 * them. One struct deliver for each worker; a destination (route and next-hop domain) belongs to
 * exactly one worker, so its order, its concurrency limit and its connections need no lock.
 *
 * The check that matters (I2) is in send.c: may_send, on the live connection, immediately
 * before MAIL. A pooled connection is taken only if trust_decide says SEND for this message on
 * what is true of that connection and of the lookup that led there. */
#ifndef DELIVER_DELIVER_H
#define DELIVER_DELIVER_H

#include "conf/conf.h"
#include "dns/dns.h"
#include "policy/policy.h"
#include "queue/store.h"
#include "sts/sts.h"
#include "trust/offer.h"

struct deliver;
struct deliver_env {		/* what it works with; all outlive it */
	struct event_base *base;
	struct mailbox *mb;		/* this worker's */
	struct dns *dns;
	struct policy *policy;
	struct store *store;
	struct sts_finder *sts;
	unsigned worker, workers;
	/* The generation that an attempt begins with: a new reference. */
	struct policy_gen *(*generation)(void *owner);
	struct tls_client *(*tls)(void *owner);		/* borrowed; for tls.trust */
	const struct conf *(*conf)(void *owner);	/* borrowed; the active configuration */
	/* How MX records are walked today. Its lists live until mx_release(hold). */
	const struct mx_conf *(*mx)(void *owner, void **hold);
	void (*mx_release)(void *hold);
	/* Messages of this worker's making (notices) that were queued with recipients for others. */
	void (*dispatch)(void *owner, const struct store_submit *queued);
	/* One attempt more (1) or less (-1) with this generation. */
	void (*attempts)(void *owner, struct policy_gen *g, int more);
	void *owner;
};
struct deliver *deliver_new(const struct deliver_env *env);
/* Ends what is under way (QUIT, results posted); what was not sent stays in the queue. */
void deliver_free(struct deliver *d);
/* Recipients of `msg` that belong to this worker and were handed out: takes a reference.
 * `states` (same order as msg->rcpts) may be NULL for fresh mail; copied. `mine[i]`: which. `epoch`: as the
 * store said with it; when the store has another by then, it is given back instead of sent. */
void deliver_add(struct deliver *d, struct msg *msg, const struct store_rcpt_state *states,
    const bool *mine, uint64_t epoch);
/* An administrator took this recipient back: it is not sent unless it is on the wire already. */
void deliver_recall(struct deliver *d, uint64_t message, uint32_t num);
/* Another configuration is active: kept connections and trust read from files are given up. */
void deliver_reloaded(struct deliver *d);
void deliver_look_again(struct deliver *d);	/* what was found in the DNS holds no longer */
/* No new attempts from now on; `idle` is called once when none is under way. */
void deliver_drain(struct deliver *d, void (*idle)(void *owner), void *owner);

struct deliver_stats {
	uint64_t attempts, delivered, deferred, failed, with_requiretls, over_verified_tls, over_tls, in_clear;
	uint64_t connections, reused, tls_handshakes, bounces;
	uint64_t worse[OFFERS];		/* offered less than before, by what */
	size_t waiting, active, pooled;
};
/* Uses of grants since the start, of all workers. */
void grant_totals(void (*fn)(void *arg, const char *grant, uint64_t n), void *arg);
void deliver_stats(const struct deliver *d, struct deliver_stats *out);

#endif
