/* TLS as a server: certificates and keys, the choice among them by SNI, tickets, ALPN. A struct
 * tls_server is made once, does not change, and is used by all workers at the same time. */
#include "config.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "net/net_int.h"

#define TICKET_KEYS 80		/* what OpenSSL 3 takes: name 16, HMAC 32, AES 32 */

struct identity {
	SSL_CTX *ctx;
	char **names;		/* dNSNames of its certificate, lower case */
	size_t nnames;
};

struct tls_server {
	atomic_int refs;
	char *alpn;
	struct identity *identities;
	size_t nidentities;
};

static void *
tls_malloc(size_t n, const char *file, int line)
{
	return xmalloc(n);
}

static void *
tls_realloc(void *p, size_t n, const char *file, int line)
{
	if (n > 0)
		return xrealloc(p, n);
	free(p);
	return NULL;
}

static void
tls_free(void *p, const char *file, int line)
{
	free(p);
}

void
net_tls_init(void)
{
	/* A handshake or a look at a certificate that fails for want of memory looks like the peer's
	 * fault, and would bounce mail. What a connection may use is bounded, so this is as
	 * everywhere else: a clean end (F-8). */
	CRYPTO_set_mem_functions(tls_malloc, tls_realloc, tls_free);
	OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS, NULL);
}

void
tls_err(struct err *err, const char *what)
{
	unsigned long e = ERR_peek_last_error();
	const char *text = ERR_reason_error_string(e);

	err_set(err, "%s: %s", what, text != NULL ? text : "unknown error");
	ERR_clear_error();
}

bool
tls_common(SSL_CTX *ctx, const char *min_version, struct err *err)
{
	int min = TLS1_2_VERSION;

	if (min_version != NULL && strcmp(min_version, "1.3") == 0) {
		min = TLS1_3_VERSION;
	} else if (min_version != NULL && strcmp(min_version, "1.2") != 0) {
		err_set(err, "TLS version \"%s\": the lowest version must be 1.2 or 1.3", min_version);
		return false;
	}
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);	/* X-7, N-12 */
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	    SSL_MODE_RELEASE_BUFFERS);
	/* One read for many records; conn.c asks until there is no more. */
	SSL_CTX_set_read_ahead(ctx, 1);
	/* N-11, R-57: forward secrecy, encryption and authentication, always. Level 1, because mail
	 * with old but sound keys beats mail in clear. */
	if (SSL_CTX_set_min_proto_version(ctx, min) != 1 || SSL_CTX_set_cipher_list(ctx,
	    "HIGH:!aNULL:!eNULL:!aDSS:!kRSA:!PSK:!SRP:!3DES:!RC4:!MD5:@SECLEVEL=1") != 1) {
		tls_err(err, "setting TLS versions and ciphers");
		return false;
	}
	return true;
}

/* ---- Callbacks, in whatever thread the handshake runs ---- */

/* "mx.example.org" against a dNSName; one "*" as the whole left-most label (N-04). */
static bool
name_matches(const char *pattern, const char *name)
{
	const char *dot;

	if (strcasecmp(pattern, name) == 0)
		return true;
	if (strncmp(pattern, "*.", 2) != 0)
		return false;
	dot = strchr(name, '.');
	return dot != NULL && dot != name && strcasecmp(pattern + 1, dot) == 0;
}

/* S-71, S-72, N-25: no name or an unknown one gets the first identity, never an alert. */
static int
on_servername(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	struct tls_server *t = arg;

	if (name == NULL)
		return SSL_TLSEXT_ERR_NOACK;
	for (size_t i = 0; i < t->nidentities; i++) {
		struct identity *id = &t->identities[i];

		for (size_t k = 0; k < id->nnames; k++) {
			if (!name_matches(id->names[k], name))
				continue;
			if (i > 0)
				SSL_set_SSL_CTX(ssl, id->ctx);
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_NOACK;
}

/* X-8 (ALPACA): a client that names protocols and not ours was led here by somebody else. Called
 * only when the extension is there. */
static int
on_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in,
    unsigned int inlen, void *arg)
{
	const struct tls_server *t = arg;
	size_t n = strlen(t->alpn);

	for (unsigned int i = 0; i < inlen && in[i] < inlen - i; i += in[i] + 1u) {
		if (in[i] == n && memcmp(in + i + 1, t->alpn, n) == 0) {
			*out = in + i + 1;
			*outlen = (unsigned char)n;
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* ---- Making one ---- */

static void
identity_names(struct identity *id, X509 *cert)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	int n = all == NULL ? 0 : sk_GENERAL_NAME_num(all);

	id->names = n == 0 ? NULL : xcalloc((size_t)n, sizeof *id->names);
	for (int i = 0; i < n; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
		const char *p;
		int len;

		if (g->type != GEN_DNS)
			continue;
		p = (const char *)ASN1_STRING_get0_data(g->d.dNSName);
		len = ASN1_STRING_length(g->d.dNSName);
		if (len > 0 && memchr(p, 0, (size_t)len) == NULL)	/* */
			id->names[id->nnames++] = xstrndup(p, (size_t)len);
	}
	GENERAL_NAMES_free(all);
}

static bool
load_files(SSL_CTX *ctx, const char *cert_file, const char *key_file, struct err *err)
{
	X509 *cert;

	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1) {
		tls_err(err, "not a readable PEM certificate");
		err_prefix(err, "%s", cert_file);
		return false;
	}
	if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1) {
		bool other = ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH ||
		    ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_TYPE_MISMATCH;

		if (other) {
			ERR_clear_error();
			err_set(err, "%s: the key does not belong to the certificate in %s", key_file,
			    cert_file);
		} else {
			tls_err(err, "not a readable PEM key");
			err_prefix(err, "%s", key_file);
		}
		return false;
	}
	if (SSL_CTX_check_private_key(ctx) != 1) {
		ERR_clear_error();
		err_set(err, "%s: the key does not belong to the certificate in %s", key_file, cert_file);
		return false;
	}
	cert = SSL_CTX_get0_certificate(ctx);
	/* Serving an expired certificate is bad, offering no TLS at all is worse (F-21). */
	if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
		log_error("certificate has expired", LOG_S("file", cert_file));
	else if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
		log_warn("certificate is not valid yet", LOG_S("file", cert_file));
	return true;
}

bool
tls_server_has_expired(const struct tls_server *t)
{
	for (size_t i = 0; t != NULL && i < t->nidentities; i++) {
		X509 *cert = SSL_CTX_get0_certificate(t->identities[i].ctx);

		if (cert != NULL && X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
			return true;
	}
	return false;
}

static bool
ask_for_client_cert(SSL_CTX *ctx, const char *ca_file, struct err *err)
{
	int ok = ca_file == NULL ? SSL_CTX_set_default_verify_paths(ctx) :
	    SSL_CTX_load_verify_file(ctx, ca_file);

	if (ok != 1) {
		tls_err(err, "reading trust anchors for client certificates");
		err_prefix(err, "%s", ca_file == NULL ? "system store" : ca_file);
		return false;
	}
	/* The list of names of these anchors is not sent: it is long, and clients that have one
	 * certificate send it anyway. */
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, tls_verify, NULL);
	return true;
}

static bool
identity_init(struct identity *id, const struct tls_server_identity *from,
    const struct tls_server_conf *conf, struct tls_server *t, struct err *err)
{
	const char *context = conf->session_context == NULL ? "" : conf->session_context;
	uint64_t sid;

	id->ctx = SSL_CTX_new(TLS_server_method());
	if (id->ctx == NULL) {
		tls_err(err, "making a TLS context");
		return false;
	}
	if (!tls_common(id->ctx, conf->min_version, err) ||
	    !load_files(id->ctx, from->cert_file, from->key_file, err) ||
	    (conf->ask_client_cert && !ask_for_client_cert(id->ctx, conf->client_ca_file, err))) {
		if (from->name != NULL)
			err_prefix(err, "identity %s", from->name);
		return false;
	}
	identity_names(id, SSL_CTX_get0_certificate(id->ctx));
	SSL_CTX_set_options(id->ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_dh_auto(id->ctx, 1);
	/* Stateless tickets only: no cache, hence no lock that the workers would share. One ticket
	 * is enough, mail clients do not open several connections from one. */
	SSL_CTX_set_session_cache_mode(id->ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(id->ctx, 1);
	sid = hash64(context, strlen(context));
	SSL_CTX_set_session_id_context(id->ctx, (const unsigned char *)&sid, sizeof sid);	/* */
	SSL_CTX_set_tlsext_servername_callback(id->ctx, on_servername);
	SSL_CTX_set_tlsext_servername_arg(id->ctx, t);
	SSL_CTX_set_alpn_select_cb(id->ctx, on_alpn, t);
	return true;
}

/* The same keys for all identities of this server and for no other server: a ticket made by
 * one listener means nothing to another, whatever the session context says. */
static bool
set_ticket_keys(struct tls_server *t, struct err *err)
{
	unsigned char keys[TICKET_KEYS];
	bool ok = RAND_bytes(keys, sizeof keys) == 1;

	for (size_t i = 0; ok && i < t->nidentities; i++)
		ok = SSL_CTX_set_tlsext_ticket_keys(t->identities[i].ctx, keys, sizeof keys) == 1;
	OPENSSL_cleanse(keys, sizeof keys);
	if (!ok)
		tls_err(err, "making keys for TLS session tickets");
	return ok;
}

struct tls_server *
tls_server_new(const struct tls_server_conf *conf, struct err *err)
{
	struct tls_server *t = xcalloc(1, sizeof *t);

	atomic_init(&t->refs, 1);
	t->alpn = xstrdup(conf->alpn == NULL ? "smtp" : conf->alpn);
	if (conn_stage != NULL)
		return t;
	if (conf->nidentities == 0) {
		err_set(err, "TLS needs a certificate and a key");
		goto fail;
	}
	t->identities = xcalloc(conf->nidentities, sizeof *t->identities);
	for (size_t i = 0; i < conf->nidentities; i++) {
		t->nidentities = i + 1;
		if (!identity_init(&t->identities[i], &conf->identities[i], conf, t, err))
			goto fail;
	}
	if (!set_ticket_keys(t, err))
		goto fail;
	return t;
fail:
	tls_server_unref(t);
	return NULL;
}

struct tls_server *
tls_server_ref(struct tls_server *t)
{
	if (t != NULL)
		atomic_fetch_add(&t->refs, 1);
	return t;
}

void
tls_server_unref(struct tls_server *t)
{
	if (t == NULL || atomic_fetch_sub(&t->refs, 1) != 1)
		return;
	for (size_t i = 0; i < t->nidentities; i++) {
		struct identity *id = &t->identities[i];

		SSL_CTX_free(id->ctx);
		for (size_t k = 0; k < id->nnames; k++)
			free(id->names[k]);
		free(id->names);
	}
	free(t->identities);
	free(t->alpn);
	free(t);
}

SSL *
tls_server_ssl(struct tls_server *t)
{
	ERR_clear_error();
	return SSL_new(t->identities[0].ctx);
}

int
tls_identity_check(const char *cert_file, const char *key_file, struct err *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	bool ok;

	if (ctx == NULL) {
		tls_err(err, "making a TLS context");
		return -1;
	}
	ok = tls_common(ctx, NULL, err) && load_files(ctx, cert_file, key_file, err);
	SSL_CTX_free(ctx);
	return ok ? 0 : -1;
}
