/* DANE for the hosts of a destination: the TLSA records of all of them at once, when their addresses
 * are known (D-12), and what a connection and evidence need to know of them. They are kept with the
 * host list and run out with it. */
#include "config.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "deliver/deliver_int.h"
#include "dns/tlsa.h"
#include "trust/dane.h"

struct host_dane *
host_dane_ref(struct host_dane *x)
{
	if (x != NULL)
		x->refs++;
	return x;
}

void
host_dane_unref(struct host_dane *x)
{
	if (x == NULL || --x->refs > 0)
		return;
	dane_set_free(x->set);
	for (size_t i = 0; i < x->nnames; i++)
		free(x->names[i]);
	free(x->base);
	free(x->why);
	free(x->key);
	free(x);
}

enum tlsa_state
host_dane_state(const struct host_dane *x)
{
	return x == NULL ? TLSA_NONE : x->state;
}

/* Would a handshake made with one of them be the same with the other? */
bool
host_dane_same(const struct host_dane *x, const struct host_dane *y)
{
	const char *a = x == NULL || x->key == NULL ? "" : x->key;
	const char *b = y == NULL || y->key == NULL ? "" : y->key;

	return strcmp(a, b) == 0;
}

/* ---- What was found ---- */

static void
add_name(struct host_dane *x, const char *name)
{
	if (name == NULL || name[0] == '\0' || name[0] == '[')
		return;
	for (size_t i = 0; i < x->nnames; i++)
		if (strcasecmp(x->names[i], name) == 0)
			return;
	MUST(x->nnames < NELEMS(x->names));
	x->names[x->nnames++] = xstrdup(name);
}

/* Reference identifiers for DANE-TA. The domain counts where its way to the host was validated, or
 * where there is none because the operator named the host (D-41, D-42). */
static void
set_names(const struct dane_way *way, struct host_dane *x)
{
	add_name(x, x->base);
	if (way->is_fixed) {
		add_name(x, way->host);
	} else if (way->mx == MX_DNSSEC) {
		add_name(x, way->domain);
		add_name(x, way->domain_canon);
	}
}

/* All that a handshake depends on. Records in full may be long, so it is their digest. */
static void
set_key(struct host_dane *x)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t digest[32];
	char hex[65];
	struct buf b;

	MUST(md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);
	for (size_t i = 0; i < x->set->n; i++) {
		const struct tls_tlsa *r = &x->set->usable[i];
		uint32_t head[2] = { (uint32_t)r->usage << 16 | (uint32_t)r->selector << 8 | r->mtype,
			(uint32_t)r->n };

		MUST(EVP_DigestUpdate(md, head, sizeof head) == 1 &&
		    EVP_DigestUpdate(md, r->data, r->n) == 1);
	}
	MUST(EVP_DigestFinal_ex(md, digest, NULL) == 1);
	EVP_MD_CTX_free(md);
	hex_encode(hex, digest, sizeof digest);
	buf_init(&b, 2048);
	buf_adds(&b, hex);
	for (size_t i = 0; i < x->nnames; i++)
		buf_printf(&b, " %s", x->names[i]);
	x->key = buf_take(&b);
}

struct host_dane *
host_dane_new(const struct dane_way *way, const struct tlsa_result *r)
{
	struct host_dane *x = xcalloc(1, sizeof *x);

	x->refs = 1;
	if (r->found == TLSA_ERROR) {
		x->state = TLSA_FAILED;
		x->why = xstrdup(r->why);
	} else if (r->found == TLSA_SECURE) {
		x->base = xstrdup(r->base);
		x->set = dane_set_new(r->rr, r->n);
		x->state = x->set->state;
		if (x->state == TLSA_USABLE) {
			set_names(way, x);
			set_key(x);
		}
	}
	return x;
}

/* ---- Looking up ---- */

static struct host_dane *
host_found(const struct dest *t, const struct host *h, const struct tlsa_result *found)
{
	const struct route *r = t->prep->route;
	struct dane_way way = { h->name, h->is_fixed, h->mx, r->domain != NULL ? r->domain : t->next_hop,
		h->domain_canon };

	return host_dane_new(&way, found);
}

static void
answered(void *owner, uint64_t ticket, const struct tlsa_result *r)
{
	struct dest *t = owner;
	struct hostlist *h = t->pending;
	size_t i = 0;
	int64_t until;

	while (t->tlsa_lookups[i] != ticket)
		MUST(++i < h->n);
	t->tlsa_lookups[i] = 0;
	h->hosts[i].dane = host_found(t, &h->hosts[i], r);
	until = clock_mono_ms() + hosts_ttl_ms(r->ttl);
	if (until < h->until_ms)
		h->until_ms = until;
	if (r->found == TLSA_ERROR)
		log_info("TLSA look-up failed", LOG_S("domain", t->next_hop), LOG_S("host", h->hosts[i].name),
		    LOG_S("why", r->why));
	if (--t->tlsa_left > 0)
		return;
	free(t->tlsa_lookups);
	t->tlsa_lookups = NULL;
	dest_use_hosts(t);
}

/* Also behind an insecure MX record (D-22): the records say which certificate is the host's; that it
 * is the domain's host, nobody knows, and trust_decide does not take it for known (rows 37, 38). */
bool
dane_begin(struct dest *t)
{
	struct hostlist *h = t->pending;

	if (!policy_gen_conf(t->prep->gen)->tls.dane)
		return false;
	t->tlsa_lookups = xcalloc(h->n, sizeof *t->tlsa_lookups);
	for (size_t i = 0; i < h->n; i++) {
		if (!tlsa_may_exist(h->hosts[i].found))
			continue;
		t->tlsa_lookups[i] = tlsa_resolve(t->d->env.dns, h->hosts[i].found, h->hosts[i].port, answered, t);
		t->tlsa_left++;
	}
	if (t->tlsa_left > 0)
		return true;
	free(t->tlsa_lookups);
	t->tlsa_lookups = NULL;
	return false;
}

void
dane_cancel(struct dest *t)
{
	for (size_t i = 0; t->tlsa_lookups != NULL && i < t->pending->n; i++)
		if (t->tlsa_lookups[i] != 0)
			tlsa_cancel(t->d->env.dns, t->tlsa_lookups[i]);
	free(t->tlsa_lookups);
	t->tlsa_lookups = NULL;
	t->tlsa_left = 0;
}

/* ---- For a connection, for evidence ---- */

void
dane_want(const struct host_dane *x, struct tls_want *w)
{
	if (host_dane_state(x) != TLSA_USABLE)
		return;
	w->sni = x->base;	/* D-52 */
	w->tlsa = x->set->usable;
	w->ntlsa = x->set->n;
	w->dane_names = (const char *const *)x->names;
	w->ndane_names = x->nnames;
}

size_t
dane_count(const struct host_dane *x)
{
	return x == NULL || x->set == NULL ? 0 : x->set->total;
}

char *
dane_evidence(const struct host_dane *x, const struct tls_info *tls)
{
	char matched[DANE_TEXT];

	if (x == NULL)
		return NULL;
	switch (x->state) {
	case TLSA_NONE:
		break;
	case TLSA_FAILED:
		return xasprintf("failed: %s", x->why);
	case TLSA_UNUSABLE:
		return xasprintf("unusable at %s: %s", x->base, x->set->text);
	case TLSA_USABLE:
		if (tls == NULL || tls->tlsa == NULL)
			return xasprintf("usable at %s: %s", x->base, x->set->text);
		dane_text(matched, tls->tlsa);
		return xasprintf("matched %s of those usable at %s: %s", matched, x->base, x->set->text);
	}
	return xstrdup("none");
}
