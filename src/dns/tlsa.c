/* One host's TLSA records: RFC 7672 sections 2.1.3 and 2.2.2.
 *
 *   addresses secure     canonical name, then the name itself; intermediate names never (D-26)
 *   insecure, no alias   nothing is asked for (D-13)
 *   insecure, an alias   whether the alias itself is signed (D-11); if so, the name itself */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dns/dns_int.h"
#include "dns/tlsa.h"

/* A failure is worth remembering for a while (RFC 2308 7.1): the other hosts of a destination do not
 * wait for one's silent name servers with every message. */
#define FAILED_TTL_S 30

struct tlsa_job {
	uint64_t ticket;
	struct dns *d;
	tlsa_cb *cb;
	void *owner;
	uint64_t query;
	uint16_t port;
	uint32_t ttl;
	size_t next;		/* candidate that is asked for next */
	size_t n;
	char bases[2][256];
};

bool
tlsa_may_exist(const struct mx_host *h)
{
	return !h->is_address && h->naddrs > 0 && (h->secure || h->canon[0] != '\0');
}

static void
job_free(struct tlsa_job *j)
{
	slots_del(&j->d->tlsa_jobs, j->ticket);
	if (j->query != 0)
		dns_cancel(j->d, j->query);
	free(j);
}

/* The last thing that is done with a job; the owner may free anything from its callback. */
static void
finish(struct tlsa_job *j, enum tlsa_found found, const struct dns_answer *a)
{
	char base[256] = "", why[400] = "";
	struct tlsa_result r = { .found = found, .base = base, .why = why };
	uint64_t ticket = j->ticket;
	void *owner = j->owner;
	tlsa_cb *cb = j->cb;

	r.ttl = found == TLSA_ERROR ? FAILED_TTL_S : j->ttl == UINT32_MAX || j->ttl == 0 ? 1 : j->ttl;
	if (found == TLSA_SECURE) {
		memcpy(base, j->bases[j->next - 1], sizeof base);
		r.rr = a->rr;
		r.n = a->n;
	} else if (found == TLSA_ERROR) {
		snprintf(why, sizeof why, "%.250s: %s", a->qname, dns_status_name(a->status));
	}
	job_free(j);
	cb(owner, ticket, &r);
}

static void ask(struct tlsa_job *j);

/* False: the answer was no answer, and the job is gone. A name that cannot be asked for (too long
 * with the labels in front) has no records. */
static bool
take(struct tlsa_job *j, const struct dns_answer *a)
{
	j->query = 0;
	if (dns_status_is_failure(a->status)) {
		finish(j, TLSA_ERROR, a);
		return false;
	}
	if (a->status != DNS_BAD_NAME && a->ttl < j->ttl)
		j->ttl = a->ttl;
	return true;
}

static void
tlsa_answered(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct tlsa_job *j = owner;

	if (!take(j, a))
		return;
	if (a->status == DNS_OK && a->secure && a->n > 0)
		finish(j, TLSA_SECURE, a);
	else if (j->next < j->n)
		ask(j);
	else
		finish(j, TLSA_ABSENT, a);
}

static void
alias_answered(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct tlsa_job *j = owner;

	if (!take(j, a))
		return;
	if (a->status == DNS_OK && a->secure)
		ask(j);
	else
		finish(j, TLSA_ABSENT, a);
}

/* D-25: the port that will be dialled. */
static void
ask(struct tlsa_job *j)
{
	char name[300];

	snprintf(name, sizeof name, "_%u._tcp.%s", j->port, j->bases[j->next++]);
	j->query = dns_query(j->d, name, DNS_TLSA, tlsa_answered, j);
}

uint64_t
tlsa_resolve(struct dns *d, const struct mx_host *h, uint16_t port, tlsa_cb *cb, void *owner)
{
	struct tlsa_job *j = xcalloc(1, sizeof *j);

	j->d = d;
	j->cb = cb;
	j->owner = owner;
	j->port = port;
	j->ttl = UINT32_MAX;
	j->ticket = slots_add(&d->tlsa_jobs, j);
	if (h->secure && h->canon[0] != '\0')
		memcpy(j->bases[j->n++], h->canon, sizeof j->bases[0]);
	memcpy(j->bases[j->n++], h->name, sizeof j->bases[0]);
	if (h->secure)
		ask(j);
	else
		j->query = dns_query(d, h->name, DNS_CNAME, alias_answered, j);
	return j->ticket;
}

void
tlsa_cancel(struct dns *d, uint64_t ticket)
{
	struct tlsa_job *j = slots_get(&d->tlsa_jobs, ticket);

	if (j != NULL)
		job_free(j);
}
