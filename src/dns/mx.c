/* Where mail for a domain goes: RFC 5321 section 5.1 with the null MX of RFC 7505 and the loop
 * rule, then the addresses of all hosts at once. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/rand.h"
#include "dns/dns_int.h"

#define DEFAULT_HOSTS 10
#define DEFAULT_ADDRS 5

struct lookup {		/* A or AAAA of one host */
	struct mx_job *job;
	size_t host;
	int family;
	uint64_t query;		/* 0: none under way */
	enum dns_status status;
	bool secure;
	bool asked;
	struct mx_addr *addrs;
	size_t naddrs;
};

struct mx_job {
	uint64_t ticket;
	struct dns *d;
	struct mx_conf conf;
	mx_cb *cb;
	void *owner;
	struct mx_result *r;
	bool routed;		/* a host, no domain: no MX lookup */
	bool loopback;		/* it may be this machine: the operator named it, or tests */
	uint64_t query;		/* the MX query, or the stand-in that defers a numeric host */
	struct lookup *lookups;	/* two for each host */
	size_t waiting;
	size_t nrefused;	/* addresses that mail is not sent to */
	size_t nself;		/* hosts the loop rule dropped */
	char domain[256];
};

struct mx_result *
mx_result_ref(struct mx_result *r)
{
	r->refs++;
	return r;
}

void
mx_result_unref(struct mx_result *r)
{
	size_t i;

	if (r == NULL || --r->refs > 0)
		return;
	for (i = 0; i < r->n; i++)
		free(r->hosts[i].addrs);
	free(r->hosts);
	free(r);
}

static void
conclude(struct mx_job *j, enum mx_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void
conclude(struct mx_job *j, enum mx_status status, const char *fmt, ...)
{
	va_list ap;

	j->r->status = status;
	va_start(ap, fmt);
	vsnprintf(j->r->why, sizeof j->r->why, fmt, ap);
	va_end(ap);
}

static void
job_free(struct mx_job *j)
{
	size_t i;

	slots_del(&j->d->jobs, j->ticket);
	if (j->query != 0)
		dns_cancel(j->d, j->query);
	for (i = 0; j->lookups != NULL && i < 2 * j->r->n; i++) {
		if (j->lookups[i].query != 0)
			dns_cancel(j->d, j->lookups[i].query);
		free(j->lookups[i].addrs);
	}
	free(j->lookups);
	mx_result_unref(j->r);
	free(j);
}

/* The last thing that is done with a job; the owner may free anything from its callback. */
static void
finish(struct mx_job *j)
{
	struct mx_result *r = mx_result_ref(j->r);
	uint64_t ticket = j->ticket;
	void *owner = j->owner;
	mx_cb *cb = j->cb;

	if (r->ttl == UINT32_MAX || r->ttl == 0)
		r->ttl = 1;
	if (r->status == MX_OK)
		r->why[0] = '\0';
	job_free(j);
	cb(owner, ticket, r);
	mx_result_unref(r);
}

static void
shorten_ttl(struct mx_job *j, const struct dns_answer *a)
{
	uint32_t ttl = dns_status_is_failure(a->status) ? 1 : a->ttl;

	if (ttl < j->r->ttl)
		j->r->ttl = ttl;
}

/* ---- The end: sum up ---- */

static bool
is_self_name(const struct mx_conf *conf, const char *host)
{
	size_t i;

	for (i = 0; conf->self_names != NULL && conf->self_names[i] != NULL; i++)
		if (strcasecmp(conf->self_names[i], host) == 0)
			return true;
	return false;
}

static void
drop_host(struct mx_result *r, size_t i)
{
	free(r->hosts[i].addrs);
	memmove(&r->hosts[i], &r->hosts[i + 1], (r->n - i - 1) * sizeof *r->hosts);
	r->n--;
}

/* M-82, R-56: with ourselves in the list, hosts of the same and of worse preference are dropped,
 * or mail would go round in circles. */
static void
drop_from(struct mx_job *j, unsigned preference)
{
	struct mx_result *r = j->r;

	while (r->n > 0 && r->hosts[r->n - 1].preference >= preference) {
		drop_host(r, r->n - 1);
		j->nself++;
	}
}

static void
loop_rule_by_address(struct mx_job *j)
{
	struct mx_result *r = j->r;
	size_t i, k;

	for (i = 0; i < r->n; i++)		/* sorted: the first is of the best preference */
		for (k = 0; k < r->hosts[i].naddrs; k++)
			if (mx_addr_is_self(j->d, &j->conf, &r->hosts[i].addrs[k])) {
				drop_from(j, r->hosts[i].preference);
				return;
			}
}

static void
add_addr(struct mx_job *j, struct mx_host *h, size_t max, struct mx_addr a)
{
	size_t i;

	mx_addr_unmap(&a);
	if (mx_addr_is_special(&a, j->loopback)) {
		j->nrefused++;
		return;
	}
	for (i = 0; i < h->naddrs; i++)
		if (mx_addr_same(&h->addrs[i], &a))
			return;
	if (h->naddrs == max)
		return;
	h->addrs = xrealloc(h->addrs, (h->naddrs + 1) * sizeof *h->addrs);
	h->addrs[h->naddrs++] = a;
}

/* Resolver order, the families by turns, so that both are within the cap. */
static void
merge_addrs(struct mx_job *j, struct mx_host *h, const struct lookup *v6, const struct lookup *v4)
{
	size_t max = j->conf.max_addrs != 0 ? j->conf.max_addrs : DEFAULT_ADDRS, i;

	for (i = 0; i < v6->naddrs || i < v4->naddrs; i++) {
		if (i < v6->naddrs)
			add_addr(j, h, max, v6->addrs[i]);
		if (i < v4->naddrs)
			add_addr(j, h, max, v4->addrs[i]);
	}
}

/* One host from its one or two lookups. A family that failed does not spoil the one that did not
 * (D-07); what is used must all be validated to count as such. */
static void
settle_host(struct mx_job *j, size_t i)
{
	const struct lookup *pair[2] = { &j->lookups[2 * i], &j->lookups[2 * i + 1] };
	struct mx_host *h = &j->r->hosts[i];
	enum dns_status failure = DNS_OK, denial = DNS_OK;
	bool any = false;
	size_t k;

	if (h->is_address)
		return;
	h->secure = true;
	for (k = 0; k < 2; k++) {
		if (!pair[k]->asked)
			continue;
		if (pair[k]->status == DNS_OK)
			any = true;
		else if (dns_status_is_failure(pair[k]->status))
			failure = pair[k]->status;
		else
			denial = pair[k]->status;
		if (pair[k]->status == DNS_OK && !pair[k]->secure)
			h->secure = false;
	}
	if (!any)
		for (k = 0; k < 2; k++)
			if (pair[k]->asked && !pair[k]->secure)
				h->secure = false;
	merge_addrs(j, h, pair[0], pair[1]);
	h->addr_status = h->naddrs > 0 ? DNS_OK : failure != DNS_OK ? failure :
	    denial != DNS_OK ? denial : DNS_NODATA;
}

static void
sum_up(struct mx_job *j)
{
	struct mx_result *r = j->r;
	const struct mx_host *failed = NULL;
	size_t i;

	/* Both families are asked for; an alias or a name that does not exist is so for both. */
	if (r->implicit || j->routed)
		r->secure = (j->routed || r->secure) && r->hosts[0].secure;
	loop_rule_by_address(j);
	if (r->n == 0) {
		conclude(j, MX_ONLY_SELF, "mail for %s would come back to this gateway", j->domain);
		return;
	}
	for (i = 0; i < r->n; i++) {
		if (r->hosts[i].naddrs > 0)
			return;		/* MX_OK */
		if (failed == NULL && dns_status_is_failure(r->hosts[i].addr_status))
			failed = &r->hosts[i];
	}
	if (failed != NULL)
		conclude(j, MX_TEMPFAIL, "the address lookup of %.120s ended with %s", failed->name,
		    dns_status_name(failed->addr_status));
	else if ((r->implicit || j->routed) && r->hosts[0].addr_status == DNS_NXDOMAIN)
		conclude(j, MX_NXDOMAIN, "%.200s does not exist", j->domain);
	else if (j->nrefused > 0)
		conclude(j, MX_NO_ADDRESS, "%.120s has only addresses that mail is not sent to",
		    j->domain);
	else
		conclude(j, MX_NO_ADDRESS, "no mail host of %.200s has an address", j->domain);
}

static void
all_answered(struct mx_job *j)
{
	size_t i;

	for (i = 0; i < j->r->n; i++)
		settle_host(j, i);
	/* From here hosts may be dropped, and lookups no longer stand beside them. */
	for (i = 0; i < 2 * j->r->n; i++)
		free(j->lookups[i].addrs);
	free(j->lookups);
	j->lookups = NULL;
	sum_up(j);
	finish(j);
}

/* ---- Asking for addresses ---- */

static void
address_answered(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct lookup *l = owner;
	struct mx_job *j = l->job;
	struct mx_host *h = &j->r->hosts[l->host];
	size_t i;

	l->query = 0;
	l->status = a->status;
	l->secure = a->secure;
	shorten_ttl(j, a);
	if (a->status == DNS_OK) {
		l->addrs = xcalloc(a->n, sizeof *l->addrs);
		for (i = 0; i < a->n; i++) {
			if (a->rr[i].n != mx_addr_len(l->family))
				continue;
			l->addrs[l->naddrs].family = l->family;
			memcpy(l->addrs[l->naddrs++].ip, a->rr[i].data, a->rr[i].n);
		}
		if (strcasecmp(a->canon, h->name) != 0)
			memcpy(h->canon, a->canon, strlen(a->canon) + 1);
	}
	if (--j->waiting == 0)
		all_answered(j);
}

static void
nothing_to_ask(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct mx_job *j = owner;

	j->query = 0;
	all_answered(j);
}

static void
ask_address(struct mx_job *j, size_t host, int family)
{
	struct lookup *l = &j->lookups[2 * host + (family == AF_INET)];

	l->job = j;
	l->host = host;
	l->family = family;
	l->asked = true;
	j->waiting++;
	l->query = dns_query(j->d, j->r->hosts[host].name, family == AF_INET ? DNS_A : DNS_AAAA,
	    address_answered, l);
}

/* A and AAAA of every host at once: a slow server of one delays, but does not add up. */
static void
ask_addresses(struct mx_job *j)
{
	bool both = !j->conf.ipv4 && !j->conf.ipv6;
	struct mx_result *r = j->r;
	struct mx_addr a;
	size_t i;

	j->lookups = xcalloc(2 * r->n, sizeof *j->lookups);
	for (i = 0; i < r->n; i++) {
		struct mx_host *h = &r->hosts[i];

		if (mx_addr_parse(&a, h->name)) {	/* row 43: no name that a certificate could carry */
			h->is_address = true;
			add_addr(j, h, 1, a);
			h->addr_status = h->naddrs > 0 ? DNS_OK : DNS_NODATA;
			continue;
		}
		if (j->conf.ipv6 || both)
			ask_address(j, i, AF_INET6);
		if (j->conf.ipv4 || both)
			ask_address(j, i, AF_INET);
	}
	if (j->waiting == 0)
		j->query = dns_query_preset(j->d, j->domain, DNS_OK, nothing_to_ask, j);
}

/* ---- The MX set ---- */

struct ranked {
	struct dns_mx mx;
	uint32_t tie;
};

static int
by_preference(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	if (x->mx.preference != y->mx.preference)
		return x->mx.preference < y->mx.preference ? -1 : 1;
	return x->tie < y->tie ? -1 : x->tie > y->tie;
}

static void
set_hosts(struct mx_job *j, const struct ranked *v, size_t n)
{
	size_t max = j->conf.max_hosts != 0 ? j->conf.max_hosts : DEFAULT_HOSTS, i;
	struct mx_result *r = j->r;

	if (n > max)
		n = max;
	r->hosts = xcalloc(n, sizeof *r->hosts);
	r->n = n;
	for (i = 0; i < n; i++) {
		memcpy(r->hosts[i].name, v[i].mx.host, sizeof r->hosts[i].name);
		r->hosts[i].preference = v[i].mx.preference;
	}
}

/* Records to a list without root entries and doubles. Returns how many; *malformed counts what
 * could not be read, *root what named no host. */
static size_t
read_mx(const struct dns_answer *a, struct ranked *v, size_t *malformed, size_t *root)
{
	size_t n = 0, i, k;

	*malformed = *root = 0;
	for (i = 0; i < a->n; i++) {
		struct ranked *m = &v[n];

		if (!dns_mx_parse(&a->rr[i], &m->mx)) {
			(*malformed)++;
			continue;
		}
		if (m->mx.host[0] == '\0') {	/* Z-01, Z-02 */
			(*root)++;
			continue;
		}
		for (k = 0; k < n && strcmp(v[k].mx.host, m->mx.host) != 0; k++)
			;
		if (k < n) {		/* the same host twice: its better preference */
			if (m->mx.preference < v[k].mx.preference)
				v[k].mx.preference = m->mx.preference;
			continue;
		}
		m->tie = rand_u32();
		n++;
	}
	return n;
}

static void
use_mx(struct mx_job *j, const struct dns_answer *a)
{
	struct ranked *v = xcalloc(a->n, sizeof *v);
	size_t malformed, root, n = read_mx(a, v, &malformed, &root), i;

	j->r->secure = a->secure;
	if (n == 0 && malformed == 0) {
		conclude(j, MX_NULL, "%.200s accepts no mail (null MX)", j->domain);
	} else if (n == 0) {
		conclude(j, MX_TEMPFAIL, "the MX records of %.180s cannot be read", j->domain);
	} else {
		qsort(v, n, sizeof *v, by_preference);
		for (i = 0; i < n && !is_self_name(&j->conf, v[i].mx.host); i++)
			;
		if (i < n) {
			unsigned own = v[i].mx.preference;

			for (n = 0; v[n].mx.preference < own; n++)
				;
			j->nself++;
		}
		if (n == 0)
			conclude(j, MX_ONLY_SELF, "the best mail host of %.200s is this gateway", j->domain);
		else
			set_hosts(j, v, n);
	}
	free(v);
	if (j->r->n > 0)
		ask_addresses(j);
	else
		finish(j);
}

/* no MX record, so the domain is its own mail host. */
static void
use_implicit(struct mx_job *j, bool secure_denial)
{
	struct ranked one = { { 0, "" }, 0 };

	j->r->implicit = true;
	j->r->secure = secure_denial;
	if (is_self_name(&j->conf, j->domain)) {
		conclude(j, MX_ONLY_SELF, "%.200s is this gateway", j->domain);
		finish(j);
		return;
	}
	memcpy(one.mx.host, j->domain, sizeof one.mx.host);
	set_hosts(j, &one, 1);
	ask_addresses(j);
}

static void
mx_answered(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct mx_job *j = owner;

	j->query = 0;
	shorten_ttl(j, a);
	switch (a->status) {
	case DNS_OK:
		if (strcasecmp(a->canon, j->domain) != 0)
			memcpy(j->r->canon, a->canon, strlen(a->canon) + 1);
		use_mx(j, a);
		return;
	case DNS_NODATA:
		use_implicit(j, a->secure);
		return;
	case DNS_NXDOMAIN:
		j->r->secure = a->secure;
		conclude(j, MX_NXDOMAIN, "%.200s does not exist", j->domain);
		break;
	case DNS_BAD_NAME:
		conclude(j, MX_NXDOMAIN, "this is not a domain name");
		break;
	case DNS_BOGUS:		/* never taken for "no MX" (X-37, Z-09) */
		conclude(j, MX_TEMPFAIL, "the MX lookup of %.120s failed validation: %.100s", j->domain, a->why);
		break;
	case DNS_SERVFAIL:
	case DNS_TIMEOUT:
	case DNS_CANCELLED:
		conclude(j, MX_TEMPFAIL, "the MX lookup of %.180s ended with %s", j->domain,
		    dns_status_name(a->status));
		break;
	}
	finish(j);
}

/* ---- Calls ---- */

static struct mx_job *
job_new(struct dns *d, const char *domain, const struct mx_conf *conf, mx_cb *cb, void *owner)
{
	struct mx_job *j = xcalloc(1, sizeof *j);

	MUST(!d->closing);
	j->d = d;
	j->conf = *conf;
	j->loopback = conf->allow_loopback;
	j->cb = cb;
	j->owner = owner;
	j->r = xcalloc(1, sizeof *j->r);
	j->r->refs = 1;
	j->r->ttl = UINT32_MAX;
	j->ticket = slots_add(&d->jobs, j);
	return j;
}

uint64_t
mx_resolve(struct dns *d, const char *domain, const struct mx_conf *conf, mx_cb *cb, void *owner)
{
	struct mx_job *j = job_new(d, domain, conf, cb, owner);
	uint64_t ticket = j->ticket;

	if (dns_name_check(j->domain, domain))
		j->query = dns_query(d, j->domain, DNS_MX, mx_answered, j);
	else
		j->query = dns_query_preset(d, domain, DNS_BAD_NAME, mx_answered, j);
	return ticket;
}

static uint64_t
start_host(struct mx_job *j, const char *host)
{
	struct ranked one = { { 0, "" }, 0 };
	uint64_t ticket = j->ticket;
	struct mx_addr a;

	j->routed = true;
	if (mx_addr_parse(&a, host)) {
		memcpy(j->domain, host, strlen(host) + 1);
	} else if (!dns_name_check(j->domain, host)) {
		j->query = dns_query_preset(j->d, host, DNS_BAD_NAME, mx_answered, j);
		return ticket;
	}
	memcpy(one.mx.host, j->domain, sizeof one.mx.host);
	set_hosts(j, &one, 1);
	ask_addresses(j);
	return ticket;
}

uint64_t
mx_resolve_host(struct dns *d, const char *host, const struct mx_conf *conf, mx_cb *cb, void *owner)
{
	struct mx_job *j = job_new(d, host, conf, cb, owner);

	j->loopback = true;
	return start_host(j, host);
}

uint64_t
mx_resolve_literal(struct dns *d, const char *ip, const struct mx_conf *conf, mx_cb *cb, void *owner)
{
	return start_host(job_new(d, ip, conf, cb, owner), ip);
}

void
mx_cancel(struct dns *d, uint64_t ticket)
{
	struct mx_job *j = slots_get(&d->jobs, ticket);

	if (j != NULL)
		job_free(j);
}

static void
end_one(void *obj, void *arg)
{
	struct mx_job *j = obj;

	conclude(j, MX_TEMPFAIL, "the gateway is stopping");
	finish(j);
}

void
mx_end_all(struct dns *d)
{
	slots_each(&d->jobs, end_one, NULL);
}
