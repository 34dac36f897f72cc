#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ctl/records.h"
#include "trust/sts.h"

#define TXT_PART 255u		/* RFC 1035 section 3.3 */

void
records_fini(struct records *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free(r->v[i].name);
		free(r->v[i].data);
		free(r->v[i].about);
		free(r->v[i].found);
		tls_file_free(r->v[i].certs);
		tls_file_free(r->v[i].key);
	}
	free(r->v);
	memset(r, 0, sizeof *r);
}

const char *
record_state_name(enum record_state s)
{
	static const char *const names[] = { "not checked", "ok", "unsigned", "missing", "wrong", "unknown" };

	return names[s];
}

static struct record *
add(struct records *r, enum record_kind kind, const char *type, char *name, char *data, char *about)
{
	r->v = xrealloc(r->v, (r->n + 1) * sizeof *r->v);
	r->v[r->n] = (struct record){ .kind = kind, .type = type, .name = name, .data = data, .about = about };
	return &r->v[r->n++];
}

/* Takes `text`; what goes into quotes has been checked to hold none. */
static char *
txt_data(char *text)
{
	struct buf b;
	size_t n = strlen(text);

	buf_init(&b, 1 << 20);
	for (size_t at = 0; at < n; at += TXT_PART)
		buf_printf(&b, "%s\"%.*s\"", at == 0 ? "" : " ", (int)TXT_PART, text + at);
	free(text);
	return buf_take(&b);
}

/* ---- A domain ---- */

static void
add_policy(struct records *r, const struct conf *c, const struct conf_sts *s)
{
	char *text = conf_sts_text(s), id[STS_ID_SIZE];

	sts_policy_id(id, text);
	free(text);
	add(r, RECORD_STS_TXT, "TXT", xasprintf("_mta-sts.%s", s->name), txt_data(xasprintf("v=STSv1; id=%s;", id)),
	    xasprintf("MTA-STS policy in mode %s; let the gateway serve it first (reload), then publish this",
	    sts_mode_name((enum sts_mode)s->mode)))->sts = s;
	add(r, RECORD_STS_HOST, "CNAME", xasprintf("mta-sts.%s", s->name), xasprintf("%s.", c->identity.hostname),
	    xasprintf("where the policy is fetched; A and AAAA records do as well"))->sts = s;
	if (s->mode != STS_NONE)
		add(r, RECORD_MX, "MX", xstrdup(s->name), NULL,
		    xasprintf("each MX host has to be named in the policy"))->sts = s;
}

static void
add_reports(struct records *r, const char *domain, char *const *uris, size_t n)
{
	struct record *one;
	struct buf b;

	if (n == 0)
		return;
	buf_init(&b, 1 << 16);
	buf_adds(&b, "v=TLSRPTv1; rua=");
	for (size_t i = 0; i < n; i++)
		buf_printf(&b, "%s%s", i == 0 ? "" : ",", uris[i]);
	one = add(r, RECORD_REPORTS, "TXT", xasprintf("_smtp._tls.%s", domain), txt_data(buf_take(&b)),
	    xasprintf("where others report how TLS went (RFC 8460)"));
	one->reports = uris;
	one->nreports = n;
}

static bool
is_local(const struct conf *c, const char *domain)
{
	const struct conf_domain *d = conf_domain(c, domain);

	return d != NULL && d->local;
}

static void
add_all_domains(struct records *r, const struct conf *c)
{
	for (size_t i = 0; i < c->sts_serve.ndomains; i++) {
		const struct conf_sts *s = &c->sts_serve.domains[i];

		add_policy(r, c, s);
		add_reports(r, s->name, s->reports, s->nreports);
	}
}

/* ---- A host ---- */

static bool
has_tlsa(const struct records *r, const char *name)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->v[i].kind == RECORD_TLSA && strcmp(r->v[i].name, name) == 0)
			return true;
	return false;
}

static int
add_next(struct records *r, const char *name, const struct conf_identity *id, struct err *err)
{
	char digest[TLS_DIGEST_TEXT];
	struct tls_file *key = tls_file_key(id->next_key, err);
	struct record *one;

	if (key == NULL)
		return -1;
	tls_file_spki(key, digest);
	one = add(r, RECORD_TLSA_NEXT, "TLSA", xstrdup(name), xasprintf("3 1 1 %s", digest),
	    xasprintf("the next key of identity %s: publish it, wait for the TTL, then change over (RFC 7672 "
	    "section 4)", id->name));
	one->key = key;
	one->certs = tls_file_certs(id->cert, err);
	return 0;
}

/* Which certificate a client gets that asks for this name, as in the handshake (src/net/tls_server.c). With
 * `must_name` only one that has the name. */
static const struct conf_identity *
identity_for(const struct conf *c, const struct conf_listener *l, const char *host, bool must_name)
{
	struct err err;

	for (size_t i = 0; i < l->nidentities; i++) {
		const struct conf_identity *id = conf_identity(c, l->identities[i]);
		struct tls_file *f = tls_file_certs(id->cert, &err);
		bool has = f != NULL && tls_file_has_name(f, host);

		tls_file_free(f);
		if (has)
			return id;
	}
	return must_name || l->nidentities == 0 ? NULL : conf_identity(c, l->identities[0]);
}

/* D-58 */
static int
add_host(struct records *r, const struct conf *c, const struct conf_listener *l, const char *host, uint16_t port,
    bool must_name, struct err *err)
{
	const struct conf_identity *id = identity_for(c, l, host, must_name);
	char digest[TLS_DIGEST_TEXT], *name = xasprintf("_%u._tcp.%s", port, host);
	struct tls_file *certs;
	int rc = 0;

	if (id == NULL || has_tlsa(r, name))
		goto out;
	rc = -1;
	certs = tls_file_certs(id->cert, err);
	if (certs == NULL)
		goto out;
	tls_file_spki(certs, digest);
	add(r, RECORD_TLSA, "TLSA", xstrdup(name), xasprintf("3 1 1 %s", digest),
	    xasprintf("certificate of identity %s; counts only where DNSSEC signs it", id->name))->certs = certs;
	rc = id->next_key == NULL ? 0 : add_next(r, name, id, err);
out:
	free(name);
	return rc;
}

/* This gateway's own name, and those in the policies that its certificates have. */
static int
add_hosts(struct records *r, const struct conf *c, const struct conf_listener *l, const char *domain,
    uint16_t port, struct err *err)
{
	if (add_host(r, c, l, c->identity.hostname, port, false, err) != 0)
		return -1;
	for (size_t i = 0; i < c->sts_serve.ndomains; i++) {
		const struct conf_sts *s = &c->sts_serve.domains[i];

		for (size_t k = 0; (domain == NULL || strcmp(domain, s->name) == 0) && k < s->nmx; k++)
			if (s->mx[k][0] != '*' && add_host(r, c, l, s->mx[k], port, true, err) != 0)
				return -1;
	}
	return 0;
}

static int
add_listeners(struct records *r, const struct conf *c, const char *domain, uint16_t port, struct err *err)
{
	for (size_t i = 0; i < c->nlisteners; i++) {
		const struct conf_listener *l = &c->listeners[i];

		if (l->role != ROLE_MX || l->starttls == STARTTLS_OFF)
			continue;
		for (size_t k = 0; k < l->nbind; k++) {
			struct net_addr a;

			if (strncmp(l->bind[k], "unix:", 5) == 0 || net_addr_parse(&a, slice_of(l->bind[k]), 0, err) != 0)
				continue;
			if (add_hosts(r, c, l, domain, port != 0 ? port : net_addr_port(&a), err) != 0)
				return -1;
		}
	}
	return 0;
}

int
records_make(struct records *r, const struct conf *c, const char *domain, uint16_t port, struct err *err)
{
	const struct conf_sts *s = domain == NULL ? NULL : conf_sts(c, domain);

	memset(r, 0, sizeof *r);
	if (domain != NULL && s == NULL && !is_local(c, domain)) {
		err_set(err, "%s is no domain of this configuration: neither in sts_serve.domains nor of kind local",
		    domain);
		return -1;
	}
	if (domain == NULL)
		add_all_domains(r, c);
	else if (s != NULL)
		add_policy(r, c, s);
	if (s != NULL)
		add_reports(r, s->name, s->reports, s->nreports);
	return add_listeners(r, c, domain, port, err);
}
