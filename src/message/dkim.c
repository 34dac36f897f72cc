#include "config.h"

#include <sys/types.h>
#include <dkim.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message/dkim.h"
#include "message/message.h"

#define PEM_MAX (64u * 1024)
#define MIN_BITS 1024
#define GOOD_BITS 2048		/* RFC 8301 section 3.2 */

struct dkim_key {
	atomic_int refs;
	char *domain, *selector;
	char *pem;
	DKIM_LIB *lib;
};

struct dkim_signer {
	DKIM *d;
};

static const unsigned char *const signed_fields[] = {	/* RFC 6376 section 5.4.1, and T-22 */
#define F(name) (const unsigned char *)name
	F("from"), F("sender"), F("reply-to"), F("to"), F("cc"), F("subject"), F("date"), F("message-id"),
	F("in-reply-to"), F("references"), F("mime-version"), F("content-type"),
	F("content-transfer-encoding"), F("content-id"), F("content-description"), F("resent-date"),
	F("resent-from"), F("resent-sender"), F("resent-to"), F("resent-cc"), F("resent-message-id"),
	F("list-id"), F("list-help"), F("list-unsubscribe"), F("list-subscribe"), F("list-post"),
	F("list-owner"), F("list-archive"), F("auto-submitted"), F("tls-report-domain"),
	F("tls-report-submitter"), F("tls-required"), NULL
};
/* Nobody can add one of these and have it seen instead (RFC 6376 section 8.15). */
static const unsigned char *const sealed_fields[] = { F("from"), F("subject"), F("content-type"), NULL };
#undef F

/* ---- Keys ---- */

struct dkim_key *
dkim_key_ref(struct dkim_key *k)
{
	if (k != NULL)
		atomic_fetch_add(&k->refs, 1);
	return k;
}

void
dkim_key_unref(struct dkim_key *k)
{
	if (k == NULL || atomic_fetch_sub(&k->refs, 1) > 1)
		return;
	if (k->lib != NULL)
		dkim_close(k->lib);
	if (k->pem != NULL)
		OPENSSL_cleanse(k->pem, strlen(k->pem));
	free(k->pem);
	free(k->domain);
	free(k->selector);
	free(k);
}

const char *
dkim_key_domain(const struct dkim_key *k)
{
	return k->domain;
}

static char *
read_pem(const char *path, struct err *err)
{
	FILE *f = fopen(path, "re");
	char *text;
	size_t n;

	if (f == NULL) {
		err_set(err, "%s cannot be read: %s", path, strerror(errno));
		return NULL;
	}
	setvbuf(f, NULL, _IONBF, 0);	/* no second copy of it */
	text = xcalloc(1, PEM_MAX + 1);
	n = fread(text, 1, PEM_MAX + 1, f);
	if (ferror(f) || n > PEM_MAX || memchr(text, '\0', n) != NULL) {
		err_set(err, ferror(f) ? "%s cannot be read" : "%s is not a PEM file", path);
		OPENSSL_cleanse(text, PEM_MAX + 1);
		free(text);
		text = NULL;
	}
	fclose(f);
	return text;
}

/* A key behind a pass phrase is not asked for: nobody sits here. */
static int
no_phrase(char *buf, int size, int rwflag, void *arg)
{
	return -1;
}

static bool
know_key(struct dkim_key *k, const char *path, bool *weak_out, struct err *err)
{
	BIO *b = BIO_new_mem_buf(k->pem, -1);
	EVP_PKEY *key = b == NULL ? NULL : PEM_read_bio_PrivateKey(b, NULL, no_phrase, NULL);
	bool ok = false;

	if (key == NULL)
		err_set(err, "%s holds no private key in PEM that can be read without a pass phrase", path);
	else if (EVP_PKEY_base_id(key) != EVP_PKEY_RSA)
		err_set(err, "%s holds a key that is not RSA", path);
	else if (EVP_PKEY_bits(key) < MIN_BITS)
		err_set(err, "%s holds an RSA key of %d bits; receivers want %d at least", path,
		    EVP_PKEY_bits(key), MIN_BITS);
	else
		ok = true;
	if (ok)
		*weak_out = EVP_PKEY_bits(key) < GOOD_BITS;
	EVP_PKEY_free(key);
	BIO_free(b);
	ERR_clear_error();
	return ok;
}

static bool
set_up(struct dkim_key *k, struct err *err)
{
	k->lib = dkim_init(NULL, NULL);
	if (k->lib != NULL && dkim_options(k->lib, DKIM_OP_SETOPT, DKIM_OPTS_SIGNHDRS, (void *)signed_fields,
	    sizeof(unsigned char **)) == DKIM_STAT_OK && dkim_options(k->lib, DKIM_OP_SETOPT,
	    DKIM_OPTS_OVERSIGNHDRS, (void *)sealed_fields, sizeof(unsigned char **)) == DKIM_STAT_OK)
		return true;
	err_set(err, "libopendkim cannot be started");
	return false;
}

/* What the library thinks of the key is found out now, not at the first message. */
static bool
try_it(const struct dkim_key *k, struct err *err)
{
	struct dkim_signer *s = dkim_signer_new(k, SLICE("From: test@test.invalid\r\n"), err);
	char *field = s != NULL && dkim_signer_add(s, "\r\n", 2) ? dkim_signer_end(s, err) : NULL;
	bool ok = field != NULL;

	free(field);
	return ok;
}

struct dkim_key *
dkim_key_new(const char *domain, const char *selector, const char *path, bool *weak_out, struct err *err)
{
	struct dkim_key *k = xcalloc(1, sizeof *k);

	atomic_init(&k->refs, 1);
	*weak_out = false;
	k->domain = xstrdup(domain);
	k->selector = xstrdup(selector);
	k->pem = read_pem(path, err);
	if (k->pem != NULL && know_key(k, path, weak_out, err) && set_up(k, err) && try_it(k, err))
		return k;
	dkim_key_unref(k);
	return NULL;
}

/* ---- Signing ---- */

void
dkim_signer_free(struct dkim_signer *s)
{
	if (s == NULL)
		return;
	dkim_free(s->d);
	free(s);
}

static bool
fail(DKIM *d, DKIM_STAT st, struct err *err)
{
	const char *why = d == NULL ? NULL : dkim_geterror(d);

	err_set(err, "DKIM: %s", why != NULL ? why : dkim_getresultstr(st));
	ERR_clear_error();
	return false;
}

static bool
add_fields(DKIM *d, const struct header *h, struct slice octets, struct err *err)
{
	DKIM_STAT st = DKIM_STAT_OK;

	for (size_t i = 0; i < h->n && st == DKIM_STAT_OK; i++) {
		struct slice f = { octets.p + h->fields[i].at, h->fields[i].n };

		while (f.n > 0 && (f.p[f.n - 1] == '\r' || f.p[f.n - 1] == '\n'))
			f.n--;
		st = dkim_header(d, (unsigned char *)f.p, f.n);		/* copies */
	}
	if (st == DKIM_STAT_OK)
		st = dkim_eoh(d);
	return st == DKIM_STAT_OK || fail(d, st, err);
}

struct dkim_signer *
dkim_signer_new(const struct dkim_key *k, struct slice header, struct err *err)
{
	struct dkim_signer *s = xcalloc(1, sizeof *s);
	struct header h;
	DKIM_STAT st = DKIM_STAT_OK;
	bool ok;

	if (!header_parse(&h, header)) {
		err_set(err, "DKIM: the header is too large");
		free(s);
		return NULL;
	}
	s->d = dkim_sign(k->lib, (const unsigned char *)"sallyport", NULL, (dkim_sigkey_t)k->pem,
	    (const unsigned char *)k->selector, (const unsigned char *)k->domain, DKIM_CANON_RELAXED,
	    DKIM_CANON_RELAXED, DKIM_SIGN_RSASHA256, -1, &st);
	ok = s->d != NULL ? add_fields(s->d, &h, header, err) : fail(NULL, st, err);
	header_fini(&h);
	if (!ok) {
		if (s->d != NULL)
			dkim_free(s->d);
		free(s);
		return NULL;
	}
	return s;
}

bool
dkim_signer_add(struct dkim_signer *s, const char *p, size_t n)
{
	return dkim_body(s->d, (unsigned char *)p, n) == DKIM_STAT_OK;
}

char *
dkim_signer_end(struct dkim_signer *s, struct err *err)
{
	static const char name[] = "DKIM-Signature: ";
	unsigned char *value = NULL;
	size_t n = 0;
	char *field = NULL;
	DKIM_STAT st = dkim_eom(s->d, NULL);

	if (st == DKIM_STAT_OK)
		st = dkim_getsighdr_d(s->d, sizeof name - 1, &value, &n);
	if (st == DKIM_STAT_OK)
		field = xasprintf("%s%.*s\r\n", name, (int)n, (const char *)value);
	else
		fail(s->d, st, err);
	dkim_signer_free(s);
	return field;
}
