/* What evidence and log say of the connection that took a message, kept after it is gone. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_int.h"

struct hop_record *
hop_record_untried(const struct host *h, const struct trust_facts *facts, unsigned row)
{
	struct hop_record *r = xcalloc(1, sizeof *r);

	r->host = xstrdup(h->name);
	r->port = h->port;
	r->tlsa = dane_evidence(h->dane, NULL);
	r->facts = *facts;
	r->row = row;
	return r;
}

struct hop_record *
hop_record_new(const struct conn *c, const struct smtp_client_info *info,
    const struct trust_facts *facts, const struct trust_verdict *v)
{
	struct hop_record *r = xcalloc(1, sizeof *r);

	r->host = xstrdup(c->host);
	memcpy(r->ip, c->ip, sizeof r->ip);
	r->port = c->port;
	r->facts = *facts;
	r->row = v->row;
	r->tlsa = dane_evidence(c->dane, info->tls);
	r->login = xstrdup(c->login);
	if (info->tls != NULL) {
		r->version = xstrdup(info->tls->version);
		r->cipher = xstrdup(info->tls->cipher);
		r->group = xstrdup(info->tls->group);
		r->cert = xstrdup(info->tls->cert_sha256);
		r->spki = xstrdup(info->tls->spki_sha256);
		r->verify_error = xstrdup(info->tls->verify_error);
	}
	return r;
}

void
hop_record_free(struct hop_record *r)
{
	if (r == NULL)
		return;
	free(r->host);
	free(r->version);
	free(r->cipher);
	free(r->group);
	free(r->cert);
	free(r->spki);
	free(r->verify_error);
	free(r->tlsa);
	free(r->login);
	free(r);
}
