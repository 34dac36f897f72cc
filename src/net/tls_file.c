#include "config.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/net_int.h"

#define CERTS_MAX 20u

struct tls_file {
	X509 *certs[CERTS_MAX];		/* the server's own first */
	size_t n;
	EVP_PKEY *key;
};

void
tls_file_free(struct tls_file *f)
{
	if (f == NULL)
		return;
	for (size_t i = 0; i < f->n; i++)
		X509_free(f->certs[i]);
	EVP_PKEY_free(f->key);
	free(f);
}

struct tls_file *
tls_file_certs(const char *file, struct err *err)
{
	struct tls_file *f = xcalloc(1, sizeof *f);
	BIO *in = BIO_new_file(file, "r");
	X509 *x;

	while (in != NULL && f->n < CERTS_MAX && (x = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL)
		f->certs[f->n++] = x;
	BIO_free(in);
	f->key = f->n == 0 ? NULL : X509_get_pubkey(f->certs[0]);
	ERR_clear_error();
	if (f->key != NULL)
		return f;
	err_set(err, "%s: not a readable PEM certificate", file);
	tls_file_free(f);
	return NULL;
}

static int
no_passphrase(char *buf, int size, int writing, void *arg)
{
	return -1;
}

struct tls_file *
tls_file_key(const char *file, struct err *err)
{
	struct tls_file *f = tls_file_certs(file, err);
	BIO *in;

	if (f != NULL)
		return f;
	f = xcalloc(1, sizeof *f);
	in = BIO_new_file(file, "r");
	if (in != NULL)
		f->key = PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL);
	if (in != NULL && f->key == NULL && BIO_reset(in) == 0)
		f->key = PEM_read_bio_PUBKEY(in, NULL, NULL, NULL);
	BIO_free(in);
	ERR_clear_error();
	if (f->key != NULL)
		return f;
	err_set(err, "%s: not a readable PEM key or certificate", file);
	free(f);
	return NULL;
}

bool
tls_file_has_name(const struct tls_file *f, const char *name)
{
	return f->n > 0 && X509_check_host(f->certs[0], name, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
	    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

void
tls_file_spki(const struct tls_file *f, char dst[TLS_DIGEST_TEXT])
{
	uint8_t digest[EVP_MAX_MD_SIZE], *der = NULL;
	int n = i2d_PUBKEY(f->key, &der);

	MUST(n > 0 && EVP_Digest(der, (size_t)n, digest, NULL, EVP_sha256(), NULL) == 1);
	OPENSSL_free(der);
	hex_encode(dst, digest, 32);
}

/* Takes `der`. */
static bool
is_digest_of(const struct tls_tlsa *r, uint8_t *der, int n)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	bool same = false;

	if (n > 0 && r->mtype == 0)
		same = r->n == (size_t)n && memcmp(r->data, der, r->n) == 0;
	else if (n > 0 && EVP_Digest(der, (size_t)n, digest, &len, r->mtype == 1 ? EVP_sha256() : EVP_sha512(),
	    NULL) == 1)
		same = r->n == len && memcmp(r->data, digest, len) == 0;
	OPENSSL_free(der);
	return same;
}

static bool
is_about(const struct tls_tlsa *r, X509 *x)
{
	uint8_t *der = NULL;
	int n = r->selector == 0 ? i2d_X509(x, &der) : i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);

	return is_digest_of(r, der, n);
}

bool
tls_file_matches(const struct tls_file *f, const struct tls_tlsa *r)
{
	uint8_t *der = NULL;
	int n;

	if (r->selector > 1 || r->mtype > 2)
		return false;
	if (r->usage == 3 && f->n == 0 && r->selector == 1) {	/* a key alone */
		n = i2d_PUBKEY(f->key, &der);
		return is_digest_of(r, der, n);
	}
	if (r->usage == 3)
		return f->n > 0 && is_about(r, f->certs[0]);
	for (size_t i = 1; r->usage == 2 && i < f->n; i++)
		if (is_about(r, f->certs[i]))
			return true;
	return false;
}
