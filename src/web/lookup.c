#include "config.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "web/web.h"

#define ADDRS_MAX 6u

struct web_lookup {
	struct dns *dns;
	char *host;
	uint16_t port;
	bool (*may)(void *owner, const struct mx_addr *a);
	web_looked_up *cb;
	void *owner;
	uint64_t queries[2];		/* AAAA, A */
	bool failed, refused;
	struct mx_addr addrs[ADDRS_MAX];
	size_t n;
};

void
web_lookup_cancel(struct web_lookup *q)
{
	if (q == NULL)
		return;
	for (size_t i = 0; i < NELEMS(q->queries); i++)
		if (q->queries[i] != 0)
			dns_cancel(q->dns, q->queries[i]);
	free(q->host);
	free(q);
}

/* "mta-sts.a.example:443:192.0.2.1,[2001:db8::1]": all that libcurl may connect to. */
static struct curl_slist *
addresses(const struct web_lookup *q)
{
	struct curl_slist *list;
	struct buf b;
	char *text;

	buf_init(&b, 1024);
	buf_printf(&b, "%s:%u:", q->host, q->port);
	for (size_t i = 0; i < q->n; i++) {
		char ip[INET6_ADDRSTRLEN];

		inet_ntop(q->addrs[i].family, q->addrs[i].ip, ip, sizeof ip);
		buf_printf(&b, q->addrs[i].family == AF_INET ? "%s%s" : "%s[%s]", i > 0 ? "," : "", ip);
	}
	text = buf_take(&b);
	list = curl_slist_append(NULL, text);
	MUST(list != NULL);
	free(text);
	return list;
}

static void
take_address(struct web_lookup *q, int family, const struct dns_rr *rr)
{
	struct mx_addr a = { .family = family };

	if (rr->n != mx_addr_len(family) || q->n >= ADDRS_MAX)
		return;
	memcpy(a.ip, rr->data, rr->n);
	mx_addr_unmap(&a);
	if (q->may(q->owner, &a))
		q->addrs[q->n++] = a;
	else
		q->refused = true;
}

static void
on_address(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct web_lookup *q = owner;
	bool is_v4 = query == q->queries[1];
	enum web_found found;

	q->queries[is_v4] = 0;
	q->failed = q->failed || dns_status_is_failure(a->status);
	if (a->status == DNS_OK)
		for (size_t i = 0; i < a->n && i < ADDRS_MAX / 2; i++)
			take_address(q, is_v4 ? AF_INET : AF_INET6, &a->rr[i]);
	if (q->queries[0] != 0 || q->queries[1] != 0)
		return;
	found = q->n > 0 ? WEB_FOUND : q->failed ? WEB_UNKNOWN : q->refused ? WEB_REFUSED : WEB_NO_ADDRESS;
	q->cb(q->owner, found, found == WEB_FOUND ? addresses(q) : NULL);
	web_lookup_cancel(q);
}

struct web_lookup *
web_lookup_start(struct dns *dns, const char *host, uint16_t port,
    bool (*may)(void *owner, const struct mx_addr *a), web_looked_up *cb, void *owner)
{
	struct web_lookup *q = xcalloc(1, sizeof *q);

	q->dns = dns;
	q->host = xstrdup(host);
	q->port = port;
	q->may = may;
	q->cb = cb;
	q->owner = owner;
	q->queries[0] = dns_query(dns, host, DNS_AAAA, on_address, q);
	q->queries[1] = dns_query(dns, host, DNS_A, on_address, q);
	return q;
}
