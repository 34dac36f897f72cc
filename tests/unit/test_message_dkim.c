/* That a verifier of others likes our signatures is for tests/proto/tlsrpt_send.py to show; here, the key and
 * the form. */
#include "unit.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "message/dkim.h"

static char path[] = "dkim_test_XXXXXX";

static void
write_key(EVP_PKEY *key, const char *phrase)
{
	FILE *f;

	strcpy(path, "dkim_test_XXXXXX");
	f = fdopen(mkstemp(path), "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(key);
	ck_assert_int_eq(PEM_write_PrivateKey(f, key, phrase == NULL ? NULL : EVP_aes_128_cbc(),
	    (const unsigned char *)phrase, phrase == NULL ? 0 : (int)strlen(phrase), NULL, NULL), 1);
	fclose(f);
	EVP_PKEY_free(key);
}

static struct dkim_key *
take(bool *weak, struct err *err)
{
	struct dkim_key *k = dkim_key_new("a.example", "s1", path, weak, err);

	unlink(path);
	return k;
}

#define HEADER "From: a <x@a.example>\r\nSubject: one\r\n two\r\nX-Other: y\r\nTLS-Report-Domain: b.example\r\n\r\n"

static char *
sign(const struct dkim_key *k, const char *body, size_t piece)
{
	struct err err = { "" };
	struct dkim_signer *s = dkim_signer_new(k, SLICE(HEADER), &err);
	char *field;

	ck_assert_msg(s != NULL, "%s", err.text);
	for (size_t at = 0, n = strlen(body); at < n; at += piece)
		ck_assert(dkim_signer_add(s, body + at, n - at < piece ? n - at : piece));
	field = dkim_signer_end(s, &err);
	ck_assert_msg(field != NULL, "%s", err.text);
	return field;
}

/* T-08 */
START_TEST(form)
{
	struct err err = { "" };
	bool weak = true;
	struct dkim_key *k;
	char *a, *b, *bh;

	write_key(EVP_RSA_gen(2048), NULL);
	k = take(&weak, &err);
	ck_assert_msg(k != NULL, "%s", err.text);
	ck_assert(!weak);
	ck_assert_str_eq(dkim_key_domain(k), "a.example");
	a = sign(k, "hello\r\nworld\r\n", 1000);
	ck_assert_int_eq(strncmp(a, "DKIM-Signature: ", 16), 0);
	ck_assert_str_eq(a + strlen(a) - 2, "\r\n");
	ck_assert_ptr_nonnull(strstr(a, "a=rsa-sha256;"));
	ck_assert_ptr_nonnull(strstr(a, "c=relaxed/relaxed;"));
	ck_assert_ptr_nonnull(strstr(a, "d=a.example;"));
	ck_assert_ptr_nonnull(strstr(a, "s=s1;"));
	ck_assert_ptr_nonnull(strstr(a, "TLS-Report-Domain"));
	ck_assert_ptr_null(strstr(a, "X-Other"));
	ck_assert_ptr_null(strstr(a, "l="));
	/* However it is cut, the digest of the body is the same; a different body has another. */
	b = sign(k, "hello\r\nworld\r\n", 1);
	bh = strstr(a, "bh=");
	ck_assert_ptr_nonnull(bh);
	ck_assert_ptr_nonnull(strstr(b, "bh="));
	ck_assert_int_eq(strncmp(bh, strstr(b, "bh="), 40), 0);
	free(b);
	b = sign(k, "hello\r\nworle\r\n", 3);
	ck_assert_int_ne(strncmp(bh, strstr(b, "bh="), 40), 0);
	free(a);
	free(b);
	dkim_key_unref(k);
}
END_TEST

START_TEST(wrong_keys)
{
	struct err err = { "" };
	bool weak;

	write_key(EVP_RSA_gen(1024), NULL);
	dkim_key_unref(take(&weak, &err));
	ck_assert(weak);
	write_key(EVP_EC_gen("P-256"), NULL);
	ck_assert_ptr_null(take(&weak, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "not RSA"));
	write_key(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL);
	ck_assert_ptr_null(take(&weak, &err));
	write_key(EVP_RSA_gen(1024), "secret");
	ck_assert_ptr_null(take(&weak, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "without a pass phrase"));
	write_key(EVP_RSA_gen(512), NULL);
	ck_assert_ptr_null(take(&weak, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "512 bits"));
	ck_assert_ptr_null(dkim_key_new("a.example", "s1", "/nowhere/key", &weak, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "/nowhere/key cannot be read"));
	ck_assert_ptr_null(dkim_key_new("a.example", "s1", "/dev/zero", &weak, &err));
	ck_assert_ptr_null(dkim_key_new("a.example", "s1", "/dev/null", &weak, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "no private key"));
}
END_TEST

UNIT_MAIN("message_dkim",
    tcase_add_test(tc, form);
    tcase_add_test(tc, wrong_keys);)
