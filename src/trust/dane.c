/* Which TLSA records count for SMTP, and which of those are used. */
#include "config.h"

#include <jansson.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trust/dane.h"

enum { CERT = 0, SPKI = 1 };
enum { FULL = 0, SHA2_256 = 1, SHA2_512 = 2 };

#define PRESENTED_MAX 8192u
#define TEXT_MAX 1500u		/* of a set; what does not fit ends with "..." */

/* Data in full has to be one certificate or key that the library can use, and nothing behind it: a
 * record that it would pass over in the handshake must not count as usable before. */
static bool
is_whole(const struct tls_tlsa *r)
{
	const uint8_t *p = r->data;
	bool ok = false;

	if (r->selector == CERT) {
		X509 *cert = d2i_X509(NULL, &p, (long)r->n);

		ok = cert != NULL && p == r->data + r->n && X509_get0_pubkey(cert) != NULL;
		X509_free(cert);
	} else {
		EVP_PKEY *key = d2i_PUBKEY(NULL, &p, (long)r->n);

		ok = key != NULL && p == r->data + r->n;
		EVP_PKEY_free(key);
	}
	ERR_clear_error();
	return ok;
}

/* D-45: the PKIX usages 0 and 1 mean nothing here (RFC 7672 3.1.3). D-46: nor does what is unknown
 * or malformed. */
static bool
is_usable(const struct tls_tlsa *r)
{
	if ((r->usage != 2 && r->usage != 3) || r->selector > SPKI)
		return false;
	switch (r->mtype) {
	case FULL:
		return is_whole(r);
	case SHA2_256:
		return r->n == 32;
	case SHA2_512:
		return r->n == 64;
	default:
		return false;
	}
}

static int
compare(const void *a, const void *b)
{
	const struct tls_tlsa *x = a, *y = b;

	if (x->usage != y->usage)
		return x->usage < y->usage ? -1 : 1;
	if (x->selector != y->selector)
		return x->selector < y->selector ? -1 : 1;
	if (x->mtype != y->mtype)
		return x->mtype < y->mtype ? -1 : 1;
	if (x->n != y->n)
		return x->n < y->n ? -1 : 1;
	return memcmp(x->data, y->data, x->n);
}

/* D-48, RFC 7671 section 9: of each usage and selector, data in full and the strongest digest. The
 * list is sorted, so the strongest comes last. */
static bool
has_stronger(const struct tls_tlsa *v, size_t n, size_t i)
{
	if (v[i].mtype == FULL)
		return false;
	for (size_t k = i + 1; k < n && v[k].usage == v[i].usage && v[k].selector == v[i].selector; k++)
		if (v[k].mtype > v[i].mtype)
			return true;
	return false;
}

static size_t
choose(struct tls_tlsa *v, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if ((kept == 0 || compare(&v[kept - 1], &v[i]) != 0) && !has_stronger(v, n, i))
			v[kept++] = v[i];
	return kept;
}

void
dane_text(char dst[DANE_TEXT], const struct tls_tlsa *r)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	char hex[2 * EVP_MAX_MD_SIZE + 1];
	unsigned n = 0;

	if (r->n <= sizeof digest) {
		hex_encode(hex, r->data, r->n);
		snprintf(dst, DANE_TEXT, "%u %u %u %s", r->usage, r->selector, r->mtype, hex);
		return;
	}
	MUST(EVP_Digest(r->data, r->n, digest, &n, EVP_sha256(), NULL) == 1);
	hex_encode(hex, digest, n);
	snprintf(dst, DANE_TEXT, "%u %u %u sha256:%s", r->usage, r->selector, r->mtype, hex);
}

static char *
list_text(const struct tls_tlsa *v, size_t n)
{
	char one[DANE_TEXT];
	struct buf b;

	buf_init(&b, TEXT_MAX);
	for (size_t i = 0; i < n; i++) {
		dane_text(one, &v[i]);
		if (buf_room(&b) < strlen(one) + sizeof ", ...") {
			buf_adds(&b, ", ...");
			break;
		}
		buf_printf(&b, "%s%s", i > 0 ? ", " : "", one);
	}
	return buf_take(&b);
}

/* For reports: the whole set, as published. One record as long as a whole certificate may be is shown
 * in full, too; what is longer than any of those is not. */
static char *
presentation(const struct tls_tlsa *v, size_t n)
{
	json_t *list = json_array();
	char *text;

	for (size_t i = 0; i < n; i++) {
		char *hex;

		if (v[i].n > PRESENTED_MAX)
			continue;
		hex = xmalloc(2 * v[i].n + 1);
		hex_encode(hex, v[i].data, v[i].n);
		json_array_append_new(list, json_sprintf("%u %u %u %s", v[i].usage, v[i].selector, v[i].mtype, hex));
		free(hex);
	}
	text = json_dumps(list, JSON_COMPACT);
	json_decref(list);
	return text;
}

struct dane_set *
dane_set_new(const struct dns_rr *rr, size_t n)
{
	struct dane_set *s = xcalloc(1, sizeof *s);
	struct tls_tlsa *all = xcalloc(n, sizeof *all);
	size_t nall = 0;

	s->total = n;
	s->usable = xcalloc(n, sizeof *s->usable);
	for (size_t i = 0; i < n; i++) {
		struct dns_tlsa t;
		struct tls_tlsa r;

		if (!dns_tlsa_parse(&rr[i], &t))
			continue;
		r = (struct tls_tlsa){ t.usage, t.selector, t.mtype, t.data, t.n };
		all[nall++] = r;
		if (is_usable(&r))
			s->usable[s->n++] = r;
	}
	qsort(all, nall, sizeof *all, compare);
	qsort(s->usable, s->n, sizeof *s->usable, compare);
	s->n = choose(s->usable, s->n);
	s->state = n == 0 ? TLSA_NONE : s->n > 0 ? TLSA_USABLE : TLSA_UNUSABLE;
	s->strings = presentation(all, nall);
	s->text = s->n > 0 ? list_text(s->usable, s->n) : list_text(all, nall);
	for (size_t i = 0; i < s->n; i++) {
		uint8_t *copy = xmalloc(s->usable[i].n);

		memcpy(copy, s->usable[i].data, s->usable[i].n);
		s->usable[i].data = copy;
	}
	free(all);
	return s;
}

void
dane_set_free(struct dane_set *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->n; i++)
		free((uint8_t *)s->usable[i].data);
	free(s->usable);
	free(s->strings);
	free(s->text);
	free(s);
}
