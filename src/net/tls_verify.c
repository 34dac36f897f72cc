/* What a peer's certificate is worth. Called by OpenSSL in the middle of a full handshake; it
 * writes down what it finds and lets the handshake go on. */
#include "config.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "net/net_int.h"

/* RFC 9525, D9, X-52: SAN dNSName only, never CN; "*" as a whole left-most label only. */
bool
tls_cert_matches(X509 *cert, const char *name)
{
	return X509_check_host(cert, name, 0,
	    X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

static bool
any_name_matches(const struct net_tls *t, X509 *cert)
{
	for (size_t i = 0; i < t->ndane_names; i++) {
		if (tls_cert_matches(cert, t->dane_names[i]))
			return true;
	}
	return false;
}

static bool
is_about_dates(int error)
{
	return error == X509_V_ERR_CERT_HAS_EXPIRED || error == X509_V_ERR_CERT_NOT_YET_VALID;
}

enum tls_fault
tls_pkix_fault(const struct net_tls *t)
{
	if (!t->info.chain_ok)
		return is_about_dates(t->pkix_error) ? TLS_FAULT_EXPIRED : TLS_FAULT_CHAIN;
	return t->info.name_ok ? TLS_FAULT_NONE : TLS_FAULT_NAME;
}

/* The chain as DANE sees it, in the context the library prepared. DANE-EE binds the key itself:
 * no names, no dates (RFC 7672 3.1.1). DANE-TA binds the issuer, so a name must match. */
static enum tls_fault
dane_fault(struct net_tls *t, X509_STORE_CTX *sc)
{
	X509 *cert = X509_STORE_CTX_get0_cert(sc);
	bool is_whole = X509_verify_cert(sc) == 1 && X509_STORE_CTX_get_error(sc) == X509_V_OK;
	uint8_t usage;

	SSL_set_verify_result(t->ssl, X509_V_OK);	/* or the next call tells nothing */
	if (SSL_get0_dane_tlsa(t->ssl, &usage, NULL, NULL, NULL, NULL) < 0)
		return TLS_FAULT_NO_MATCH;
	if (!is_whole)
		return is_about_dates(X509_STORE_CTX_get_error(sc)) ? TLS_FAULT_EXPIRED : TLS_FAULT_CHAIN;
	if (usage == 3 || (usage == 2 && any_name_matches(t, cert)))
		return TLS_FAULT_NONE;
	return usage == 2 ? TLS_FAULT_NAME : TLS_FAULT_NO_MATCH;
}

/* The same certificates by the public trust anchors, in a context of its own: one that knows DANE
 * would stop at the TLSA records. */
static bool
pkix_verifies(struct net_tls *t, X509_STORE_CTX *like, int *error)
{
	X509_STORE_CTX *sc = X509_STORE_CTX_new();
	bool ok = false;

	*error = X509_V_ERR_OUT_OF_MEM;
	if (sc != NULL && X509_STORE_CTX_init(sc, SSL_CTX_get_cert_store(SSL_get_SSL_CTX(t->ssl)),
	    X509_STORE_CTX_get0_cert(like), X509_STORE_CTX_get0_untrusted(like)) == 1 &&
	    X509_STORE_CTX_set_default(sc, "ssl_server") == 1) {
		X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(sc),
		    SSL_get_security_level(t->ssl));
		ok = X509_verify_cert(sc) == 1;
		*error = X509_STORE_CTX_get_error(sc);
	}
	X509_STORE_CTX_free(sc);
	return ok && *error == X509_V_OK;
}

/* `arg` unused: the connection hangs on the SSL object. The error left in `sc` becomes the
 * session's verify result, which for a server travels in the ticket. */
int
tls_verify(X509_STORE_CTX *sc, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(sc, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct net_tls *t = SSL_get_app_data(ssl);

	t->was_verified = true;
	if (!t->uses_dane) {
		t->pkix_ok = X509_verify_cert(sc) == 1 && X509_STORE_CTX_get_error(sc) == X509_V_OK;
		t->pkix_error = X509_STORE_CTX_get_error(sc);
	} else {
		t->dane_fault = dane_fault(t, sc);
		t->dane_ok = t->dane_fault == TLS_FAULT_NONE;
		t->pkix_ok = pkix_verifies(t, sc, &t->pkix_error);
		X509_STORE_CTX_set_error(sc, t->dane_ok ? X509_V_OK : t->pkix_error);
	}
	if (!t->pkix_ok && t->pkix_error == X509_V_OK)
		t->pkix_error = X509_V_ERR_UNSPECIFIED;
	ERR_clear_error();
	return 1;
}

char *
tls_cert_dns_names(X509 *cert, size_t max)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	int n = all == NULL ? 0 : sk_GENERAL_NAME_num(all);
	struct buf b;

	buf_init(&b, max);
	for (int i = 0; i < n; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
		char text[256];

		if (g->type != GEN_DNS)
			continue;
		text_escape(text, sizeof text, (const char *)ASN1_STRING_get0_data(g->d.dNSName),
		    (size_t)ASN1_STRING_length(g->d.dNSName), false);
		if (buf_room(&b) < strlen(text) + 1)
			break;
		if (b.len > 0)
			buf_addc(&b, ',');
		buf_adds(&b, text);
	}
	GENERAL_NAMES_free(all);
	return b.len == 0 ? NULL : buf_take(&b);
}
