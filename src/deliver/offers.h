/* What a destination and its hosts have offered so far, from the queue's database, and what they offer now.
 * Less than before is said: in the log, to policies (hop.worse, the log hook), in the metrics. What becomes of
 * a message is not decided here, and no decision asks for less because of it. */
#ifndef DELIVER_OFFERS_H
#define DELIVER_OFFERS_H

#include "trust/offer.h"

struct deliver;
struct dest;
struct hostlist;
struct attempt;
struct policy_hop;
struct smtp_client_info;

struct offers;			/* of one destination */
void offers_free(struct offers *o);		/* NULL is fine */
/* Has them read unless they are; then dest_offers_known follows, and t->offers_loading until then. */
void offers_load(struct dest *t);
/* Hosts were looked up: what DNS and MTA-STS say of the domain. */
void offers_of_domain(struct dest *t, const struct hostlist *h);
/* A new connection of `a` is ready: what the present host says of itself. */
void offers_of_host(struct attempt *a, const struct smtp_client_info *info);
/* Fills in hop->offered and hop->worse. */
void offers_for_policy(const struct attempt *a, const char *host, struct policy_hop *hop);

#endif
