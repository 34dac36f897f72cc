/* TLS as a client. A handshake never ends because the certificate is not what was hoped for: what
 * is true of it is found out here, separately for PKIX, names, DANE and pins, and trust/ says what
 * that is worth for the message at hand. */
#include "config.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "net/net_int.h"

struct tls_client {
	atomic_int refs;
	SSL_CTX *ctx;
};

struct tls_client *
tls_client_new(const struct tls_client_conf *conf, struct err *err)
{
	struct tls_client *t = xcalloc(1, sizeof *t);
	int ok;

	atomic_init(&t->refs, 1);
	t->ctx = SSL_CTX_new(TLS_client_method());
	if (t->ctx == NULL) {
		tls_err(err, "making a TLS context");
		goto fail;
	}
	if (!tls_common(t->ctx, conf->min_version, err))
		goto fail;
	ERR_clear_error();
	ok = conn_stage != NULL ? 1 : conf->ca_file == NULL ? SSL_CTX_set_default_verify_paths(t->ctx) :
	    SSL_CTX_load_verify_file(t->ctx, conf->ca_file);
	if (ok != 1) {
		tls_err(err, "reading trust anchors");
		err_prefix(err, "%s", conf->ca_file == NULL ? "system store" : conf->ca_file);
		goto fail;
	}
	if (SSL_CTX_dane_enable(t->ctx) != 1) {
		tls_err(err, "enabling DANE");
		goto fail;
	}
	SSL_CTX_set_verify(t->ctx, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_cert_verify_callback(t->ctx, tls_verify, NULL);
	/* a resumed session was verified for whoever asked then. Each connection proves
	 * itself anew. */
	SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(t->ctx, SSL_OP_NO_TICKET);
	return t;
fail:
	tls_client_unref(t);
	return NULL;
}

bool
tls_client_needs_13(const struct tls_client *t)
{
	return SSL_CTX_get_min_proto_version(t->ctx) == TLS1_3_VERSION;
}

struct tls_client *
tls_client_ref(struct tls_client *t)
{
	if (t != NULL)
		atomic_fetch_add(&t->refs, 1);
	return t;
}

void
tls_client_unref(struct tls_client *t)
{
	if (t == NULL || atomic_fetch_sub(&t->refs, 1) != 1)
		return;
	SSL_CTX_free(t->ctx);
	free(t);
}

bool
tls_client_lend(const struct tls_client *t, void *ssl_ctx, const char *name)
{
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ssl_ctx);

	SSL_CTX_set1_cert_store(ssl_ctx, SSL_CTX_get_cert_store(t->ctx));
	X509_VERIFY_PARAM_set_hostflags(param,
	    X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1;
}

/* DANE-TA and DANE-EE only: RFC 7672 3.1.3 leaves the PKIX usages without meaning for SMTP. A
 * record the library cannot use (unknown digest, wrong length) is passed over; when none is left
 * the result is that DANE does not match. */
static bool
add_tlsa(SSL *ssl, const struct tls_want *want)
{
	const char *base = want->sni != NULL ? want->sni : want->nnames > 0 ? want->names[0] : "invalid";

	if (SSL_dane_enable(ssl, base) != 1)
		return false;
	/* Which names count is decided in tls_verify. */
	if (X509_VERIFY_PARAM_set1_host(SSL_get0_param(ssl), NULL, 0) != 1)
		return false;
	for (size_t i = 0; i < want->ntlsa; i++) {
		const struct tls_tlsa *r = &want->tlsa[i];

		if (r->usage != 2 && r->usage != 3)
			continue;
		if (SSL_dane_tlsa_add(ssl, r->usage, r->selector, r->mtype, r->data, r->n) < 0)
			return false;
	}
	return true;
}

SSL *
tls_client_ssl(struct tls_client *t, const struct tls_want *want)
{
	SSL *ssl;

	ERR_clear_error();
	ssl = SSL_new(t->ctx);
	if (ssl == NULL)
		return NULL;
	if ((want->sni != NULL && SSL_set_tlsext_host_name(ssl, want->sni) != 1) ||
	    (want->ntlsa > 0 && !add_tlsa(ssl, want))) {
		SSL_free(ssl);
		ERR_clear_error();
		return NULL;
	}
	return ssl;
}
