/* What a finished handshake is, in words: filled in when it is first asked for. */
#include "config.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/net_int.h"

static char *
name_text(const X509_NAME *name)
{
	char *line = NULL, out[512];
	BIO *bio = BIO_new(BIO_s_mem());
	long n = 0;

	if (bio != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0)
		n = BIO_get_mem_data(bio, &line);
	text_escape(out, sizeof out, n > 0 ? line : "", n > 0 ? (size_t)n : 0, true);
	BIO_free(bio);
	return xstrdup(out);
}

static void
digest_hex(char dst[65], const void *p, size_t n)
{
	uint8_t md[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	dst[0] = 0;
	if (EVP_Digest(p, n, md, &len, EVP_sha256(), NULL) == 1 && len == 32)
		hex_encode(dst, md, 32);
}

static void
fingerprints(struct net_tls *t, X509 *cert)
{
	unsigned char *der = NULL;
	int n = i2d_X509(cert, &der);

	if (n > 0)
		digest_hex(t->cert_sha256, der, (size_t)n);
	OPENSSL_free(der);
	der = NULL;
	n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
	if (n > 0)
		digest_hex(t->spki_sha256, der, (size_t)n);
	OPENSSL_free(der);
}

static void
not_after(struct net_tls *t, X509 *cert)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) == 1 &&
	    strftime(t->not_after, sizeof t->not_after, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		t->not_after[0] = 0;
}

static bool
pin_matches(const struct net_tls *t)
{
	for (size_t i = 0; i < t->npins; i++) {
		const char *pin = t->pins[i];

		if (t->spki_sha256[0] != 0 && strncasecmp(pin, "sha256:", 7) == 0 &&
		    strcasecmp(pin + 7, t->spki_sha256) == 0)
			return true;
	}
	return false;
}

static void
why_not(struct net_tls *t)
{
	struct tls_info *i = &t->info;

	if (!i->chain_ok)
		snprintf(t->verify_error, sizeof t->verify_error, "%s",
		    X509_verify_cert_error_string(t->pkix_error));
	else if (t->client != NULL && !i->name_ok)
		snprintf(t->verify_error, sizeof t->verify_error, "certificate is for %.200s",
		    i->names != NULL ? i->names : "no DNS name");
	else
		return;
	i->verify_error = t->verify_error;
}

static bool
matched_record(struct net_tls *t)
{
	struct tls_tlsa *r = &t->matched;

	return SSL_get0_dane_tlsa(t->ssl, &r->usage, &r->selector, &r->mtype, &r->data, &r->n) >= 0;
}

static void
peer_cert(struct net_tls *t, X509 *cert)
{
	struct tls_info *i = &t->info;

	if (!t->was_verified) {
		/* A ticket brought the client's certificate back, and with it what was found then. */
		t->pkix_error = (int)SSL_get_verify_result(t->ssl);
		t->pkix_ok = t->server != NULL && t->pkix_error == X509_V_OK;
	}
	fingerprints(t, cert);
	not_after(t, cert);
	t->subject = name_text(X509_get_subject_name(cert));
	t->issuer = name_text(X509_get_issuer_name(cert));
	t->dns_names = tls_cert_dns_names(cert, 1024);
	i->cert_sha256 = t->cert_sha256;
	i->spki_sha256 = t->spki_sha256;
	i->subject = t->subject;
	i->issuer = t->issuer;
	i->names = t->dns_names;
	i->not_after = t->not_after;
	i->chain_ok = t->pkix_ok;
	for (size_t k = 0; k < t->nnames && !i->name_matches; k++)
		i->name_matches = tls_cert_matches(cert, t->names[k]);
	i->name_ok = i->chain_ok && i->name_matches;
	i->pkix_fault = tls_pkix_fault(t);
	i->dane_ok = t->dane_ok;
	i->dane_fault = t->dane_fault;
	if (t->dane_ok && matched_record(t))
		i->tlsa = &t->matched;
	i->pin_ok = pin_matches(t);
	why_not(t);
}

/* TLS 1.2 or later, and neither the NULL cipher nor an anonymous key exchange. */
static bool
is_modern(SSL *ssl, const SSL_CIPHER *cipher)
{
	return SSL_version(ssl) >= TLS1_2_VERSION && cipher != NULL &&
	    SSL_CIPHER_get_bits(cipher, NULL) >= 128 &&
	    SSL_CIPHER_get_cipher_nid(cipher) != NID_undef &&
	    SSL_CIPHER_get_auth_nid(cipher) != NID_auth_null;
}

void
tls_info_fill(struct net_tls *t)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(t->ssl);
	struct tls_info *i = &t->info;
	const char *name;
	X509 *cert;
	int group;

	t->has_info = true;
	i->version = t->version = xstrdup(SSL_get_version(t->ssl));
	i->cipher = t->cipher = xstrdup(SSL_CIPHER_get_name(cipher));
	group = (int)SSL_get_negotiated_group(t->ssl);
	name = group == 0 || group == NID_undef ? NULL : SSL_group_to_name(t->ssl, group);
	i->group = t->group = xstrdup(name);
	if (t->client != NULL) {
		i->sni = t->sent_sni;
	} else {
		char text[256];

		name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
		if (name != NULL) {
			text_escape(text, sizeof text, name, strlen(name), false);
			i->sni = t->sni = xstrdup(text);
		}
	}
	i->resumed = SSL_session_reused(t->ssl) == 1;
	i->is_modern = is_modern(t->ssl, cipher);
	cert = SSL_get0_peer_certificate(t->ssl);
	if (cert != NULL) {
		peer_cert(t, cert);
	} else if (t->client != NULL) {
		i->pkix_fault = i->dane_fault = TLS_FAULT_CHAIN;
		i->verify_error = "the server sent no certificate";
	}
	ERR_clear_error();
}
