/* What is published about our own domains: sts_serve, and settings that contradict what is. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "conf/conf_int.h"
#include "trust/sts.h"

#define IDENTITIES_MAX 64u

void
sts_after(struct reader *r, void *item, const json_t *given)
{
	struct conf_sts *s = item;
	const json_t *reports = json_object_get(given, "reports");

	s->has_reports = reports != NULL && !json_is_null(reports);
	if (s->has_reports && s->reports == NULL)
		s->reports = xcalloc(1, sizeof *s->reports);	/* an empty list is one */
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct conf_sts *)a)->name, ((const struct conf_sts *)b)->name);
}

const struct conf_sts *
conf_sts(const struct conf *c, const char *domain)
{
	struct conf_sts key = { .name = (char *)domain };

	if (c->sts_serve.ndomains == 0)
		return NULL;
	return bsearch(&key, c->sts_serve.domains, c->sts_serve.ndomains, sizeof key, by_name);
}

char *
conf_sts_text(const struct conf_sts *s)
{
	return sts_policy_text((enum sts_mode)s->mode, s->max_age_ms / 1000, s->mx, s->nmx);
}

/* ---- Checks ---- */

static void
check_policy(struct reader *r, const struct conf_sts *s)
{
	char *text = conf_sts_text(s);
	struct sts_policy p;
	struct err err;

	if (s->mode != STS_NONE && s->nmx == 0)
		reader_error(r, "mx is missing: which hosts take mail for the domain?");
	else if (!sts_policy_parse(slice_of(text), &p, &err))	/* as senders will (S-40) */
		reader_error(r, "no policy can be made of this: %s", err.text);
	else
		sts_policy_fini(&p);
	if (s->mode == STS_ENFORCE && s->max_age_ms < INT64_C(86400) * 1000)
		problem_warn(r->p, "%s.max_age: senders look for a new policy about once a day; a shorter time leaves "
		    "gaps without one", r->path);
	free(text);
}

static void
check_domains(struct reader *r)
{
	struct conf *c = r->c;
	size_t top = path_push(r, "domains"), mark;

	if (c->sts_serve.ndomains > 0)
		qsort(c->sts_serve.domains, c->sts_serve.ndomains, sizeof *c->sts_serve.domains, by_name);
	for (size_t i = 0; i < c->sts_serve.ndomains; i++) {
		struct conf_sts *s = &c->sts_serve.domains[i];

		if (!s->has_reports && s->reports == NULL) {
			s->reports = xcalloc(2, sizeof *s->reports);
			s->reports[s->nreports++] = xasprintf("mailto:%s", c->identity.postmaster);
		}
		mark = path_push(r, s->name);
		check_policy(r, s);
		if (i > 0 && strcmp(s->name, c->sts_serve.domains[i - 1].name) == 0)
			reader_error(r, "stands there twice");
		path_pop(r, mark);
	}
	path_pop(r, top);
}

static void
check_binds(struct reader *r)
{
	const struct conf *c = r->c;
	size_t mark = path_push(r, "bind");

	for (size_t i = 0; i < c->sts_serve.nbind; i++) {
		const char *bind = c->sts_serve.bind[i];

		if (strncmp(bind, "unix:", 5) == 0)
			reader_error(r, "a numeric address with port is expected, got %s", bind);
		for (size_t k = 0; k < i; k++)
			if (same_address(bind, c->sts_serve.bind[k]))
				reader_error(r, "%s stands there twice", bind);
		for (size_t l = 0; l < c->nlisteners; l++)
			for (size_t k = 0; k < c->listeners[l].nbind; k++)
				if (same_address(bind, c->listeners[l].bind[k]))
					reader_error(r, "%s is bound already by listeners.%s", bind,
					    c->listeners[l].name);
	}
	path_pop(r, mark);
}

/* ---- D-55 ---- */

/* The port of a bind text; 0 for what only this machine can reach. */
static uint16_t
public_port(const char *bind)
{
	struct net_addr a;

	if (strncmp(bind, "unix:", 5) == 0 || net_addr_parse(&a, slice_of(bind), 0, NULL) != 0)
		return 0;
	if (net_addr_is_loopback(&a) && strncmp(bind, "0.0.0.0:", 8) != 0 && strncmp(bind, "[::]:", 5) != 0)
		return 0;
	return net_addr_port(&a);
}

static bool
offers_tls_at(const struct conf_listener *l, uint16_t port)
{
	for (size_t k = 0; l->role == ROLE_MX && l->starttls != STARTTLS_OFF && k < l->nbind; k++)
		if (public_port(l->bind[k]) == port)
			return true;
	return false;
}

/* Who has TLSA records or a policy in mode enforce offers STARTTLS to everybody, on each address. A
 * listener for named clients is not what strangers meet. */
static void
check_selective(struct reader *r, const struct conf_listener *l)
{
	const struct conf *c = r->c;

	if (l->role != ROLE_MX || l->starttls != STARTTLS_OFF || l->implicit_tls || l->has_clients)
		return;
	for (size_t k = 0; k < l->nbind; k++) {
		uint16_t port = public_port(l->bind[k]);

		for (size_t i = 0; port != 0 && i < c->nlisteners; i++) {
			if (!offers_tls_at(&c->listeners[i], port))
				continue;
			problem_warn(r->p, "listeners.%s: no STARTTLS on %s, while listeners.%s offers it on the same "
			    "port: hosts with TLSA records or an MTA-STS policy must offer it to all (RFC 7672 "
			    "section 9.2)", l->name, l->bind[k], c->listeners[i].name);
			return;
		}
	}
}

void
conf_check_sts(struct reader *r)
{
	const struct conf *c = r->c;
	size_t top = path_push(r, "sts_serve");

	check_identities(r, c->sts_serve.identities, c->sts_serve.nidentities);
	if (c->sts_serve.nidentities > IDENTITIES_MAX)
		reader_error(r, "tls names at most %u identities", IDENTITIES_MAX);
	if (c->sts_serve.nbind > 0 && c->sts_serve.nidentities == 0)
		reader_error(r, "needs a certificate; name some of tls.identities in tls");
	if (c->sts_serve.nbind > 0 && c->sts_serve.ndomains == 0)
		problem_warn(r->p, "sts_serve: domains is empty, so there is nothing to serve");
	if (c->sts_serve.nbind > CONF_STS_BINDS)
		reader_error(r, "bind has at most %u addresses", CONF_STS_BINDS);
	check_binds(r);
	check_domains(r);
	path_pop(r, top);
	for (size_t i = 0; i < c->nlisteners; i++)
		check_selective(r, &c->listeners[i]);
}

/* S-75: senders take the policy only from a server that is certified for its name. */
void
conf_check_sts_files(struct reader *r)
{
	const struct conf *c = r->c;
	struct tls_file *files[IDENTITIES_MAX] = { NULL };
	size_t n = c->sts_serve.nidentities;
	struct err err;

	for (size_t i = 0; c->sts_serve.nbind > 0 && i < n; i++)
		files[i] = tls_file_certs(conf_identity(c, c->sts_serve.identities[i])->cert, &err);
	for (size_t d = 0; c->sts_serve.nbind > 0 && d < c->sts_serve.ndomains; d++) {
		char *host = xasprintf("mta-sts.%s", c->sts_serve.domains[d].name);
		bool has = false;

		for (size_t i = 0; i < n && !has; i++)
			has = files[i] != NULL && tls_file_has_name(files[i], host);
		if (!has)
			problem_warn(r->p, "sts_serve.domains[\"%s\"]: no certificate in sts_serve.tls names %s, so "
			    "senders will not take the policy", c->sts_serve.domains[d].name, host);
		free(host);
	}
	for (size_t i = 0; i < n && i < NELEMS(files); i++)
		tls_file_free(files[i]);
}
