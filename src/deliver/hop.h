/* What is true of a next hop, out of what look-up and connection say. The same for mail on its way
 * and for `sallyport probe`, which must not come to another opinion. */
#ifndef DELIVER_HOP_H
#define DELIVER_HOP_H

#include "dns/dns.h"
#include "smtp/smtp.h"
#include "trust/sts.h"
#include "trust/trust.h"

struct tlsa_result;
struct verify_want;

/* How a host's name was found through the MX records of a domain. */
enum mx_trust hop_mx_trust(const struct mx_result *r, const struct mx_host *h);
/* Does the domain's MTA-STS policy name the host? NULL: no policy. */
bool hop_sts_matches(const struct sts_policy *p, const struct mx_host *h);
/* The same when such a policy vouches for a host of an unsigned answer. */
enum mx_trust hop_mx_by_sts(enum mx_trust mx, enum sts_mode mode, bool sts_matches);
/* Why a connection ended before it could be used, as a stage. */
enum hop_stage hop_stage_of_end(enum smtp_client_end why, int code);
/* Stage, TLS and REQUIRETLS of a live connection; what was known before from DNS stays. `w`: what an
 * operator asks of the certificate, NULL nothing. */
void hop_facts(struct trust_facts *f, const struct smtp_client_info *info, const struct verify_want *w);

/* ---- DANE (dane.c) ---- */

/* What was found of a host's TLSA records; immutable, counted. NULL: nothing was looked for. */
struct host_dane {
	int refs;
	enum tlsa_state state;
	struct dane_set *set;		/* TLSA_USABLE and TLSA_UNUSABLE */
	char *base;			/* TLSA base domain, of those too */
	char *names[4];			/* reference identifiers for DANE-TA */
	size_t nnames;
	char *why;			/* TLSA_FAILED */
	char *key;			/* TLSA_USABLE: all that a handshake depends on; else NULL */
};
/* The way that led to a host: which names a certificate may show with DANE-TA. */
struct dane_way {
	const char *host;
	bool is_fixed;			/* the route names it */
	enum mx_trust mx;
	const char *domain, *domain_canon;	/* next-hop domain, and after CNAMEs or "" */
};
struct host_dane *host_dane_new(const struct dane_way *way, const struct tlsa_result *r);
struct host_dane *host_dane_ref(struct host_dane *x);
void host_dane_unref(struct host_dane *x);
enum tlsa_state host_dane_state(const struct host_dane *x);
bool host_dane_same(const struct host_dane *x, const struct host_dane *y);
void dane_want(const struct host_dane *x, struct tls_want *w);
size_t dane_count(const struct host_dane *x);	/* records in the answer */
/* The records, and which one matched; heap, NULL when nothing was looked for. tls: NULL in clear. */
char *dane_evidence(const struct host_dane *x, const struct tls_info *tls);

#endif
