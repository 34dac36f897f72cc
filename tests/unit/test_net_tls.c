/* TLS: handshakes and what they find out, both sides; certificates are made on the spot. */
#include "unit.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include "net_rig.h"

/* ---- Certificates ---- */

struct cert {
	EVP_PKEY *key;
	X509 *x;
	char cert_file[64], key_file[64];
};

struct cert_spec {
	const char *name;
	const char *cn, *san;		/* san: "DNS:mx.example.org" */
	const struct cert *issuer;	/* NULL: signed by itself */
	bool is_ca;
	long from, to;			/* days from now */
	const char *eku;
};

static void
add_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ck_assert_ptr_nonnull(e);
	X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
}

static struct cert
make_cert(const struct cert_spec *s)
{
	static long serial = 1;
	struct cert c = { .key = EVP_EC_gen("P-256"), .x = X509_new() };
	X509 *issuer = s->issuer == NULL ? c.x : s->issuer->x;
	X509_NAME *name = X509_get_subject_name(c.x);
	FILE *f;

	X509_set_version(c.x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c.x), serial++);
	X509_time_adj_ex(X509_getm_notBefore(c.x), (int)s->from, 0, NULL);
	X509_time_adj_ex(X509_getm_notAfter(c.x), (int)s->to, 0, NULL);
	X509_set_pubkey(c.x, c.key);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)s->cn, -1, -1, 0);
	X509_set_issuer_name(c.x, X509_get_subject_name(issuer));
	add_ext(c.x, issuer, NID_basic_constraints, s->is_ca ? "critical,CA:TRUE" : "CA:FALSE");
	if (s->san != NULL)
		add_ext(c.x, issuer, NID_subject_alt_name, s->san);
	if (s->eku != NULL)
		add_ext(c.x, issuer, NID_ext_key_usage, s->eku);
	X509_sign(c.x, s->issuer == NULL ? c.key : s->issuer->key, EVP_sha256());
	snprintf(c.cert_file, sizeof c.cert_file, "test_net_tls.%d.%s.crt", (int)getpid(), s->name);
	snprintf(c.key_file, sizeof c.key_file, "test_net_tls.%d.%s.key", (int)getpid(), s->name);
	f = fopen(c.cert_file, "w");
	PEM_write_X509(f, c.x);
	if (s->issuer != NULL)
		PEM_write_X509(f, s->issuer->x);	/* the chain: DANE-TA needs its anchor sent */
	fclose(f);
	f = fopen(c.key_file, "w");
	PEM_write_PrivateKey(f, c.key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	return c;
}

static void
cert_fini(struct cert *c)
{
	unlink(c->cert_file);
	unlink(c->key_file);
	X509_free(c->x);
	EVP_PKEY_free(c->key);
}

enum { CA, OTHER_CA, GOOD, WRONG_NAME, EXPIRED, SELF, CN_ONLY, WILD, CLIENT_ONLY, UNKNOWN_CA, CERTS };
static struct cert certs[CERTS];

static void
certs_init(void)
{
	const struct cert *ca = &certs[CA], *other = &certs[OTHER_CA];

	certs[CA] = make_cert(&(struct cert_spec){ "ca", "Test CA", NULL, NULL, true, -1, 10, NULL });
	certs[OTHER_CA] = make_cert(&(struct cert_spec){ "other", "Other CA", NULL, NULL, true, -1, 10, NULL });
	certs[GOOD] = make_cert(&(struct cert_spec){ "good", "mx.example.org",
	    "DNS:mx.example.org,DNS:second.example.org", ca, false, -1, 10, NULL });
	certs[WRONG_NAME] = make_cert(&(struct cert_spec){ "wrong", "x", "DNS:www.example.net", ca,
	    false, -1, 10, NULL });
	certs[EXPIRED] = make_cert(&(struct cert_spec){ "expired", "x", "DNS:mx.example.org", ca, false,
	    -10, -1, NULL });
	certs[SELF] = make_cert(&(struct cert_spec){ "self", "x", "DNS:mx.example.org", NULL, false, -1,
	    10, NULL });
	certs[CN_ONLY] = make_cert(&(struct cert_spec){ "cn", "mx.example.org", NULL, ca, false, -1, 10,
	    NULL });
	certs[WILD] = make_cert(&(struct cert_spec){ "wild", "x", "DNS:*.example.org", ca, false, -1, 10,
	    NULL });
	certs[CLIENT_ONLY] = make_cert(&(struct cert_spec){ "client", "x", "DNS:mx.example.org", ca,
	    false, -1, 10, "clientAuth" });
	certs[UNKNOWN_CA] = make_cert(&(struct cert_spec){ "unknown", "x", "DNS:mx.example.org", other,
	    false, -1, 10, NULL });
}

static void
certs_fini(void)
{
	for (int i = 0; i < CERTS; i++)
		cert_fini(&certs[i]);
}

static int log_lines;

static void
no_log(void *arg, const char *line)
{
	log_lines++;
}

static struct tls_server *
server_with(int cert, bool ask)
{
	struct tls_server_identity id = { "test", certs[cert].cert_file, certs[cert].key_file };
	struct tls_server_conf conf = { .identities = &id, .nidentities = 1, .min_version = "1.2",
		.ask_client_cert = ask, .client_ca_file = certs[CA].cert_file, .session_context = "l1" };
	struct err err = { "" };
	struct tls_server *t = tls_server_new(&conf, &err);

	ck_assert_msg(t != NULL, "%s", err.text);
	return t;
}

static struct tls_client *
client_for(const char *ca_file)
{
	struct tls_client_conf conf = { .ca_file = ca_file, .min_version = "1.2" };
	struct err err = { "" };
	struct tls_client *t = tls_client_new(&conf, &err);

	ck_assert_msg(t != NULL, "%s", err.text);
	return t;
}

static void
handshake(struct tls_server *s, struct tls_client *c, const struct tls_want *want)
{
	ends_connect();
	ck_assert(net_start_tls_server(b.c, s));
	ck_assert(net_start_tls_client(a.c, c, want));
	until(&a.secured, "client handshake");
	until(&b.secured, "server handshake");
}

static struct tls_tlsa
tlsa_of(uint8_t usage, uint8_t selector, uint8_t mtype, const struct cert *c, uint8_t *space)
{
	unsigned char *der = NULL;
	unsigned len = 0;
	int n = selector == 1 ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(c->x), &der) : i2d_X509(c->x, &der);

	if (mtype == 0) {
		memcpy(space, der, (size_t)n);
		len = (unsigned)n;
	} else {
		EVP_Digest(der, (size_t)n, space, &len, mtype == 1 ? EVP_sha256() : EVP_sha512(), NULL);
	}
	OPENSSL_free(der);
	return (struct tls_tlsa){ usage, selector, mtype, space, len };
}

#define NO_DANE 9
static const struct verify_case {
	const char *name;
	int cert;
	const char *want_name;
	unsigned usage, selector, mtype;	/* NO_DANE: none */
	int tlsa_of;
	bool chain_ok, name_matches, dane_ok;
	const char *error;			/* part of verify_error; NULL none */
} verifies[] = {
	{ "good", GOOD, "mx.example.org", NO_DANE, 0, 0, 0, true, true, false, NULL },
	{ "case does not matter (N-03)", GOOD, "MX.Example.ORG", NO_DANE, 0, 0, 0, true, true, false, NULL },
	{ "wrong name", WRONG_NAME, "mx.example.org", NO_DANE, 0, 0, 0, true, false, false, "www.example.net" },
	{ "CN alone does not count (N-01)", CN_ONLY, "mx.example.org", NO_DANE, 0, 0, 0, true, false, false, "no DNS name" },
	{ "wildcard", WILD, "mx.example.org", NO_DANE, 0, 0, 0, true, true, false, NULL },
	{ "wildcard is one label (N-04)", WILD, "a.mx.example.org", NO_DANE, 0, 0, 0, true, false, false, "*.example.org" },
	{ "expired", EXPIRED, "mx.example.org", NO_DANE, 0, 0, 0, false, true, false, "expired" },
	{ "self-signed", SELF, "mx.example.org", NO_DANE, 0, 0, 0, false, true, false, "self-signed" },
	{ "unknown CA", UNKNOWN_CA, "mx.example.org", NO_DANE, 0, 0, 0, false, true, false, "self-signed" },
	{ "purpose is client only (X-52)", CLIENT_ONLY, "mx.example.org", NO_DANE, 0, 0, 0, false, true, false, "purpose" },
	{ "dane-ee 3 1 1", SELF, "mx.example.org", 3, 1, 1, SELF, false, true, true, "self-signed" },
	{ "dane-ee 3 1 1 mismatch", SELF, "mx.example.org", 3, 1, 1, GOOD, false, true, false, "self-signed" },
	{ "dane-ee 3 0 0", SELF, "mx.example.org", 3, 0, 0, SELF, false, true, true, "self-signed" },
	{ "dane-ee 3 0 2", SELF, "mx.example.org", 3, 0, 2, SELF, false, true, true, "self-signed" },
	{ "dane-ee ignores names (D9)", WRONG_NAME, "mx.example.org", 3, 1, 1, WRONG_NAME, true, false, true, "www.example.net" },
	{ "dane-ee ignores dates (D9)", EXPIRED, "mx.example.org", 3, 1, 1, EXPIRED, false, true, true, "expired" },
	{ "dane mismatch, pkix good (row 6)", GOOD, "mx.example.org", 3, 1, 1, SELF, true, true, false, NULL },
	{ "dane and pkix good", GOOD, "mx.example.org", 3, 1, 1, GOOD, true, true, true, NULL },
	{ "dane-ta 2 0 1", UNKNOWN_CA, "mx.example.org", 2, 0, 1, OTHER_CA, false, true, true, "self-signed" },
	{ "dane-ta wants the name", UNKNOWN_CA, "mx.example.net", 2, 0, 1, OTHER_CA, false, false, false, "self-signed" },
	{ "dane-ta wants the dates", EXPIRED, "mx.example.org", 2, 0, 1, CA, false, true, false, "expired" },
	{ "dane-ta of another", UNKNOWN_CA, "mx.example.org", 2, 0, 1, CA, false, true, false, "self-signed" },
	{ "pkix-ee usage is not for mail", GOOD, "mx.example.org", 1, 1, 1, GOOD, true, true, false, NULL },
};

/* A record that matches the issuer may still leave something to ask for. */
static enum tls_fault
fault_beside_dane(const struct verify_case *t)
{
	if (t->usage == NO_DANE || t->dane_ok)
		return TLS_FAULT_NONE;
	if (t->usage == 2 && t->cert == EXPIRED && t->tlsa_of == CA)
		return TLS_FAULT_EXPIRED;
	return t->usage == 2 && t->cert == UNKNOWN_CA && t->tlsa_of == OTHER_CA ? TLS_FAULT_NAME : TLS_FAULT_NO_MATCH;
}

START_TEST(verify)
{
	const struct verify_case *t = &verifies[_i];
	uint8_t space[4096];
	struct tls_tlsa tlsa;
	struct tls_want want = { .sni = t->want_name, .names = &t->want_name, .nnames = 1 };
	struct tls_server *s;
	struct tls_client *c;
	const struct tls_info *i;

	certs_init();
	log_capture(no_log, NULL);	/* "certificate has expired" */
	s = server_with(t->cert, false);
	log_capture(NULL, NULL);
	ck_assert_int_eq(log_lines, t->cert == EXPIRED ? 1 : 0);
	c = client_for(certs[CA].cert_file);
	if (t->usage != NO_DANE) {
		tlsa = tlsa_of((uint8_t)t->usage, (uint8_t)t->selector, (uint8_t)t->mtype,
		    &certs[t->tlsa_of], space);
		want.tlsa = &tlsa;
		want.ntlsa = 1;
	}
	handshake(s, c, &want);
	i = net_tls(a.c);
	ck_assert_ptr_nonnull(i);
	ck_assert_msg(i->chain_ok == t->chain_ok, "%s: chain: %s", t->name, i->verify_error);
	ck_assert_msg(i->name_matches == t->name_matches, "%s: name: %s", t->name, i->verify_error);
	ck_assert_msg(i->name_ok == (t->chain_ok && t->name_matches), "%s", t->name);
	ck_assert_msg(i->dane_ok == t->dane_ok, "%s: dane", t->name);
	ck_assert_msg((i->tlsa != NULL) == t->dane_ok, "%s: record that matched", t->name);
	if (i->tlsa != NULL)
		ck_assert(i->tlsa->usage == t->usage && i->tlsa->selector == t->selector &&
		    i->tlsa->mtype == t->mtype && i->tlsa->n == tlsa.n && memcmp(i->tlsa->data, tlsa.data, tlsa.n) == 0);
	if (t->error == NULL)
		ck_assert_msg(i->verify_error == NULL, "%s: %s", t->name, i->verify_error);
	else
		ck_assert_msg(i->verify_error != NULL && strstr(i->verify_error, t->error) != NULL,
		    "%s: %s", t->name, i->verify_error);
	ck_assert_msg(i->pkix_fault == (i->name_ok ? TLS_FAULT_NONE : t->chain_ok ? TLS_FAULT_NAME :
	    strcmp(t->error, "expired") == 0 ? TLS_FAULT_EXPIRED : TLS_FAULT_CHAIN), "%s: PKIX", t->name);
	ck_assert_msg(i->dane_fault == fault_beside_dane(t), "%s: DANE", t->name);
	ck_assert_str_eq(i->version, "TLSv1.3");
	ck_assert_ptr_nonnull(strstr(i->cipher, "TLS_"));
	ck_assert_ptr_nonnull(i->group);
	ck_assert(i->is_modern && !i->resumed && !i->pin_ok);
	ck_assert_str_eq(i->sni, t->want_name);
	ck_assert_str_eq(net_tls(b.c)->sni, t->want_name);
	ck_assert_ptr_null(net_tls(b.c)->cert_sha256);
	tls_server_unref(s);
	tls_client_unref(c);
	/* Both still work: the connection holds the contexts. */
	net_write(a.c, "hello", 5);
	until_got(&b, 5);
	ends_fini();
	certs_fini();
}
END_TEST

START_TEST(pins_and_fingerprints)
{
	unsigned char *der = NULL, md[32];
	char hex[65], pin[80], upper[80];
	const char *pins[2] = { "sha256:00", pin };
	struct tls_want want = { .pins = pins, .npins = 1 };
	struct tls_server *s;
	struct tls_client *c;
	int n;

	certs_init();
	s = server_with(SELF, false);
	c = client_for(certs[CA].cert_file);
	n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certs[SELF].x), &der);
	EVP_Digest(der, (size_t)n, md, NULL, EVP_sha256(), NULL);
	OPENSSL_free(der);
	hex_encode(hex, md, 32);
	snprintf(pin, sizeof pin, "sha256:%s", hex);
	handshake(s, c, &want);
	ck_assert(!net_tls(a.c)->pin_ok);
	ck_assert_str_eq(net_tls(a.c)->spki_sha256, hex);
	ck_assert_uint_eq(strlen(net_tls(a.c)->cert_sha256), 64);
	ck_assert_str_ne(net_tls(a.c)->cert_sha256, hex);
	ck_assert_str_eq(net_tls(a.c)->names, "mx.example.org");
	ck_assert_str_eq(net_tls(a.c)->subject, "CN=x");
	ck_assert_uint_eq(strlen(net_tls(a.c)->not_after), 20);
	ck_assert_ptr_null(net_tls(a.c)->sni);
	ck_assert(!net_tls(a.c)->name_ok && !net_tls(a.c)->name_matches);
	ends_fini();
	want.npins = 2;
	for (size_t k = 0; k <= strlen(pin); k++)
		upper[k] = pin[k] >= 'a' && pin[k] <= 'f' && k > 6 ? (char)(pin[k] - 32) : pin[k];
	pins[1] = upper;
	handshake(s, c, &want);
	ck_assert(net_tls(a.c)->pin_ok);
	ends_fini();
	tls_server_unref(s);
	tls_client_unref(c);
	certs_fini();
}
END_TEST

/* S-71, S-72, S-73, D-54, N-25: a chain for every client, whatever name it asks for, or none. */
START_TEST(identities_by_sni)
{
	static const struct { const char *sni, *names; } cases[] = {
		{ "mx.example.org", "mx.example.org,second.example.org" },
		{ "SECOND.example.org", "mx.example.org,second.example.org" },
		{ "www.example.net", "www.example.net" },
		{ "third.example.org", "*.example.org" },
		{ "a.third.example.org", "mx.example.org,second.example.org" },
		{ "nobody.example", "mx.example.org,second.example.org" },
		{ NULL, "mx.example.org,second.example.org" },
	};
	struct tls_server_identity ids[3];
	struct tls_server_conf conf = { .identities = ids, .nidentities = 3, .session_context = "x" };
	struct tls_server *s;
	struct tls_client *c;
	struct err err = { "" };

	certs_init();
	ids[0] = (struct tls_server_identity){ "one", certs[GOOD].cert_file, certs[GOOD].key_file };
	ids[1] = (struct tls_server_identity){ "two", certs[WRONG_NAME].cert_file, certs[WRONG_NAME].key_file };
	ids[2] = (struct tls_server_identity){ "three", certs[WILD].cert_file, certs[WILD].key_file };
	s = tls_server_new(&conf, &err);
	ck_assert_msg(s != NULL, "%s", err.text);
	c = client_for(certs[CA].cert_file);
	for (size_t i = 0; i < NELEMS(cases); i++) {
		handshake(s, c, &(struct tls_want){ .sni = cases[i].sni });
		ck_assert_str_eq(net_tls(a.c)->names, cases[i].names);
		ck_assert(net_tls(a.c)->chain_ok);
		ends_fini();
	}
	tls_server_unref(s);
	tls_client_unref(c);
	certs_fini();
}
END_TEST

START_TEST(bad_files)
{
	struct err err = { "" };
	struct tls_server_identity id = { "main", "does-not-exist.crt", NULL };
	struct tls_server_conf conf = { .identities = &id, .nidentities = 1 };

	certs_init();
	ck_assert_int_eq(tls_identity_check(certs[GOOD].cert_file, certs[GOOD].key_file, &err), 0);
	ck_assert_int_eq(tls_identity_check(certs[GOOD].cert_file, certs[SELF].key_file, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "does not belong"));
	ck_assert_ptr_nonnull(strstr(err.text, certs[SELF].key_file));
	ck_assert_int_eq(tls_identity_check(certs[GOOD].key_file, certs[GOOD].key_file, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, certs[GOOD].key_file));
	id.key_file = certs[GOOD].key_file;
	ck_assert_ptr_null(tls_server_new(&conf, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "does-not-exist.crt"));
	ck_assert_ptr_nonnull(strstr(err.text, "identity main"));
	ck_assert_ptr_null(tls_client_new(&(struct tls_client_conf){ .ca_file = "nowhere.pem" }, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "nowhere.pem"));
	ck_assert_ptr_null(tls_client_new(&(struct tls_client_conf){ .min_version = "1.1",
	    .ca_file = certs[CA].cert_file }, &err));
	certs_fini();
}
END_TEST

/* N-21: what came in clear is never taken for part of the protected session. */
START_TEST(clear_text_ahead_of_the_handshake)
{
	struct tls_server *s;
	struct tls_client *c;

	certs_init();
	s = server_with(GOOD, false);
	c = client_for(certs[CA].cert_file);
	ends_connect();
	b.hold = a.hold = true;
	net_write(a.c, "RSET\r\n", 6);
	net_write(b.c, "250 x\r\n", 7);
	until(&b.readable, "readable");
	until(&a.readable, "readable");
	ck_assert(!net_start_tls_server(b.c, s));
	ck_assert(!net_start_tls_client(a.c, c, NULL));
	/* Refused means untouched. */
	ck_assert_ptr_null(net_tls(b.c));
	b.hold = false;
	net_consume(b.c, 6);
	ck_assert(net_start_tls_server(b.c, s));
	ck_assert(!net_start_tls_server(b.c, s));
	net_write(a.c, "RSET\r\n", 6);		/* after the check: not a TLS record */
	until(&b.closed, "closed");
	ck_assert_int_eq(b.why, NET_TLS_ERROR);
	ck_assert_int_eq(b.secured, 0);
	ends_fini();
	tls_server_unref(s);
	tls_client_unref(c);
	certs_fini();
}
END_TEST

START_TEST(written_before_is_clear_after_is_not)
{
	struct tls_server *s;
	struct tls_client *c;

	certs_init();
	s = server_with(GOOD, false);
	c = client_for(certs[CA].cert_file);
	ends_connect();
	ck_assert(net_write(b.c, "220 go\r\n", 8));
	ck_assert(net_start_tls_server(b.c, s));
	ck_assert(net_write(b.c, "later", 5));
	until_got(&a, 8);
	some_turns();
	ck_assert(slice_is(buf_slice(&a.got), "220 go\r\n"));
	ck_assert(net_start_tls_client(a.c, c, NULL));
	until_got(&a, 13);
	ck_assert(slice_is(buf_slice(&a.got), "220 go\r\nlater"));
	ck_assert_int_eq(a.secured, 1);
	ends_fini();
	tls_server_unref(s);
	tls_client_unref(c);
	certs_fini();
}
END_TEST

START_TEST(tls_carries_much)
{
	static char block[256 * 1024];
	struct tls_server *s;
	struct tls_client *c;

	certs_init();
	s = server_with(GOOD, false);
	c = client_for(certs[CA].cert_file);
	handshake(s, c, NULL);
	for (size_t i = 0; i < sizeof block; i++)
		block[i] = (char)(i * 31 >> 3);
	net_pause(b.c);
	for (int i = 0; i < 3; i++)
		ck_assert(net_write(a.c, block, sizeof block));
	some_turns();
	ck_assert_uint_eq(b.got.len, 0);
	net_resume(b.c);
	until_got(&b, 3 * sizeof block);
	ck_assert_int_eq(memcmp(buf_peek(&b.got) + 2 * sizeof block, block, sizeof block), 0);
	ck_assert_int_eq(a.writable, 1);
	/* With a bound on what is unread, nothing gets stuck inside the library. */
	buf_fini(&b.got);
	b.hold = true;
	ck_assert(net_write(a.c, block, sizeof block));
	some_turns();
	ck_assert_uint_eq(net_in(b.c).n, NET_IN_MAX);
	b.hold = false;
	buf_add(&b.got, net_in(b.c).p, net_in(b.c).n);
	net_consume(b.c, net_in(b.c).n);
	until_got(&b, sizeof block);
	/* close_notify makes it an orderly end (N-16). */
	net_finish(a.c, 1000);
	a.c = NULL;
	until(&b.closed, "closed");
	ck_assert_int_eq(b.why, NET_EOF);
	ends_fini();
	tls_server_unref(s);
	tls_client_unref(c);
	certs_fini();
}
END_TEST

START_TEST(tls_cut_short)
{
	struct tls_server *s;
	struct tls_client *c;

	/* FIN without close_notify is not an end that anybody announced. */
	certs_init();
	s = server_with(GOOD, false);
	c = client_for(certs[CA].cert_file);
	handshake(s, c, NULL);
	some_turns();
	net_write(a.c, "MAIL", 4);
	until_got(&b, 4);
	net_free(a.c);
	a.c = NULL;
	until(&b.closed, "closed");
	ck_assert_int_eq(b.why, NET_TLS_TRUNCATED);
	ck_assert_ptr_nonnull(net_tls(b.c));	/* its facts outlive it, for the log */
	ck_assert_str_eq(net_tls(b.c)->version, "TLSv1.3");
	ends_fini();
	tls_server_unref(s);
	tls_client_unref(c);
	certs_fini();
}
END_TEST

START_TEST(handshake_deadline)
{
	struct tls_server *s;

	certs_init();
	s = server_with(GOOD, false);
	ends_connect();
	ck_assert(net_start_tls_server(b.c, s));
	net_deadline(b.c, 20);
	until(&b.closed, "closed");
	ck_assert_int_eq(b.why, NET_TIMEOUT);
	ends_fini();
	tls_server_unref(s);
	certs_fini();
}
END_TEST

/* A client of the library's own, for what tls_client never does. */
struct raw {
	SSL_CTX *ctx;
	SSL *ssl;
	int fd;
};

static void
raw_open(struct raw *r, SSL_SESSION *session, const char *alpn, int max_version, const struct cert *own)
{
	struct net_addr to = listen_somewhere();

	r->ctx = SSL_CTX_new(TLS_client_method());
	if (max_version != 0)
		SSL_CTX_set_max_proto_version(r->ctx, max_version);
	if (max_version != 0 && max_version < TLS1_2_VERSION) {
		SSL_CTX_set_min_proto_version(r->ctx, max_version);
		SSL_CTX_set_cipher_list(r->ctx, "ALL:@SECLEVEL=0");
	}
	/* A cache would take its sessions with it when the context goes. */
	SSL_CTX_set_session_cache_mode(r->ctx, SSL_SESS_CACHE_OFF);
	if (own != NULL) {
		SSL_CTX_use_certificate(r->ctx, own->x);
		SSL_CTX_use_PrivateKey(r->ctx, own->key);
	}
	r->ssl = SSL_new(r->ctx);
	if (session != NULL)
		SSL_set_session(r->ssl, session);
	if (alpn != NULL)
		SSL_set_alpn_protos(r->ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn));
	r->fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(r->fd, (struct sockaddr *)&to.ss, to.len), 0);
	fcntl(r->fd, F_SETFL, O_NONBLOCK);
	SSL_set_fd(r->ssl, r->fd);
	until(&accepted, "accepted");
}

/* 1 done, -1 failed. */
static int
raw_handshake(struct raw *r)
{
	for (int i = 0; i < 1000; i++) {
		int rc = SSL_connect(r->ssl), e;

		if (rc == 1)
			break;
		e = SSL_get_error(r->ssl, rc);
		if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
			return -1;
		turn();
	}
	return SSL_is_init_finished(r->ssl) ? 1 : -1;
}

static void
raw_close(struct raw *r)
{
	SSL_set_shutdown(r->ssl, SSL_SENT_SHUTDOWN);	/* or its session could not be resumed */
	SSL_free(r->ssl);
	SSL_CTX_free(r->ctx);
	close(r->fd);
}

static const struct alpn_case {
	const char *name, *protos;
	bool ok;
} alpns[] = {
	{ "none", NULL, true },
	{ "smtp", "\4smtp", true },
	{ "smtp among others", "\10http/1.1\4smtp", true },
	{ "only http (X-8)", "\10http/1.1\2h2", false },
	{ "longer name that begins alike", "\5smtps", false },
};

START_TEST(alpn)
{
	const struct alpn_case *t = &alpns[_i];
	struct tls_server *s;
	struct raw r;
	int rc;

	certs_init();
	s = server_with(GOOD, false);
	ends_init();
	raw_open(&r, NULL, t->protos, 0, NULL);
	ck_assert(net_start_tls_server(b.c, s));
	rc = raw_handshake(&r);
	ck_assert_msg((rc == 1) == t->ok, "%s", t->name);
	some_turns();
	ck_assert_int_eq(b.secured, t->ok);
	ck_assert_int_eq(b.closed, !t->ok);
	raw_close(&r);
	ends_fini();
	tls_server_unref(s);
	certs_fini();
}
END_TEST

START_TEST(old_tls_is_refused)
{
	struct tls_server *s;
	struct raw r;

	/* N-09 */
	certs_init();
	s = server_with(GOOD, false);
	ends_init();
	raw_open(&r, NULL, NULL, TLS1_1_VERSION, NULL);
	ck_assert(net_start_tls_server(b.c, s));
	ck_assert_int_eq(raw_handshake(&r), -1);
	until(&b.closed, "closed");
	ck_assert_int_eq(b.why, NET_TLS_ERROR);
	raw_close(&r);
	ends_fini();
	ends_init();
	raw_open(&r, NULL, NULL, TLS1_2_VERSION, NULL);
	ck_assert(net_start_tls_server(b.c, s));
	ck_assert_int_eq(raw_handshake(&r), 1);
	until(&b.secured, "secured");
	ck_assert_str_eq(net_tls(b.c)->version, "TLSv1.2");
	ck_assert(net_tls(b.c)->is_modern);
	ck_assert_ptr_nonnull(net_tls(b.c)->group);
	raw_close(&r);
	ends_fini();
	tls_server_unref(s);
	certs_fini();
}
END_TEST

/* a ticket works where it was given out and nowhere else. */
START_TEST(tickets_stay_with_their_listener)
{
	struct tls_server *s, *s2;
	struct raw r;
	SSL_SESSION *session;
	char c;
	int version = _i == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;

	certs_init();
	s = server_with(GOOD, false);
	s2 = server_with(GOOD, false);
	ends_init();
	raw_open(&r, NULL, NULL, version, NULL);
	net_start_tls_server(b.c, s);
	ck_assert_int_eq(raw_handshake(&r), 1);
	some_turns();
	SSL_read(r.ssl, &c, 1);		/* takes in the ticket */
	session = SSL_get1_session(r.ssl);
	raw_close(&r);
	ends_fini();

	ends_init();
	raw_open(&r, session, NULL, version, NULL);
	net_start_tls_server(b.c, s);
	ck_assert_int_eq(raw_handshake(&r), 1);
	until(&b.secured, "secured");
	ck_assert(net_tls(b.c)->resumed);
	raw_close(&r);
	ends_fini();

	ends_init();
	raw_open(&r, session, NULL, version, NULL);
	net_start_tls_server(b.c, s2);
	ck_assert_int_eq(raw_handshake(&r), 1);
	until(&b.secured, "secured");
	ck_assert(!net_tls(b.c)->resumed);
	raw_close(&r);
	ends_fini();
	SSL_SESSION_free(session);
	tls_server_unref(s);
	tls_server_unref(s2);
	certs_fini();
}
END_TEST

static const struct client_cert_case {
	const char *name;
	int cert;		/* -1 none */
	bool chain_ok;
} client_certs[] = {
	{ "none", -1, false },
	{ "known CA", CLIENT_ONLY, true },
	{ "unknown CA", UNKNOWN_CA, false },
	{ "expired", EXPIRED, false },
};

START_TEST(client_certificate)
{
	const struct client_cert_case *t = &client_certs[_i];
	struct tls_server *s;
	const struct tls_info *i;
	SSL_SESSION *session;
	struct raw r;
	char c;

	/* Asked for, looked at, never a reason to refuse; the same after a resumption. */
	certs_init();
	s = server_with(GOOD, true);
	ends_init();
	raw_open(&r, NULL, NULL, 0, t->cert == -1 ? NULL : &certs[t->cert]);
	net_start_tls_server(b.c, s);
	ck_assert_int_eq(raw_handshake(&r), 1);
	until(&b.secured, "secured");
	i = net_tls(b.c);
	ck_assert((i->cert_sha256 != NULL) == (t->cert != -1));
	ck_assert_msg(i->chain_ok == t->chain_ok, "%s: %s", t->name, i->verify_error);
	ck_assert((i->verify_error != NULL) == (t->cert != -1 && !t->chain_ok));
	some_turns();
	SSL_read(r.ssl, &c, 1);
	session = SSL_get1_session(r.ssl);
	raw_close(&r);
	ends_fini();

	ends_init();
	raw_open(&r, session, NULL, 0, NULL);
	net_start_tls_server(b.c, s);
	ck_assert_int_eq(raw_handshake(&r), 1);
	until(&b.secured, "secured");
	i = net_tls(b.c);
	ck_assert(i->resumed);
	ck_assert((i->cert_sha256 != NULL) == (t->cert != -1));
	ck_assert_msg(i->chain_ok == t->chain_ok, "%s, resumed: %s", t->name, i->verify_error);
	raw_close(&r);
	ends_fini();
	SSL_SESSION_free(session);
	tls_server_unref(s);
	certs_fini();
}
END_TEST

#ifdef __SANITIZE_ADDRESS__
#define RUNNING_SANITIZED true	/* red zones and quarantine are not what is measured */
#else
#define RUNNING_SANITIZED false
#endif

/* Section 4 of the limits: an idle connection is small. Both ends live in this process. */
static size_t
heap_in_use(void)
{
	char line[256];
	size_t kb = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	long total, rss;

	if (f != NULL && fgets(line, sizeof line, f) != NULL && sscanf(line, "%ld %ld", &total, &rss) == 2)
		kb = (size_t)rss * (size_t)sysconf(_SC_PAGESIZE);
	if (f != NULL)
		fclose(f);
	return kb;
}

#define IDLE 200
static int idle_accepted;
static struct end idle_ends[IDLE];

static void
idle_on_accepted(void *owner, int fd, const struct net_addr *peer)
{
	struct end *e = &idle_ends[idle_accepted++];

	e->name = "idle";
	buf_init(&e->got, 1024);
	e->c = net_accept(base, fd, peer, &end_ops, e, NULL);
}

START_TEST(idle_connections_are_small)
{
	static const struct net_listener_ops ops = { .accepted = idle_on_accepted };
	static struct end clients[IDLE];
	struct tls_server *s = NULL;
	struct tls_client *c = NULL;
	struct net_addr to;
	size_t before, per;
	int fd;

	if (RUNNING_SANITIZED || getenv("VALGRIND") != NULL)
		return;
	certs_init();
	ends_init();
	to = listen_somewhere();
	net_listener_free(listener);
	fd = net_listen(&to, false, NULL);
	ck_assert_int_ge(fd, 0);
	listener = net_listener_new(base, fd, &ops, NULL);
	s = server_with(GOOD, false);
	c = client_for(certs[CA].cert_file);
	before = 0;
	for (int i = 0; i < IDLE; i++) {
		if (i == IDLE / 2)
			before = heap_in_use();
		clients[i].name = "idle client";
		buf_init(&clients[i].got, 1024);
		clients[i].c = net_connect(base, &to, NULL, &end_ops, &clients[i], NULL);
		until(&clients[i].connected, "connected");
		while (idle_accepted <= i)
			turn();
		if (_i == 1) {
			net_start_tls_server(idle_ends[i].c, s);
			net_start_tls_client(clients[i].c, c, NULL);
			until(&clients[i].secured, "secured");
			until(&idle_ends[i].secured, "secured");
		}
		net_write(clients[i].c, "EHLO x\r\n", 8);
		until_got(&idle_ends[i], 8);
		net_write(idle_ends[i].c, "250 x\r\n", 7);
		until_got(&clients[i], 7);
	}
	per = (heap_in_use() - before) / (IDLE / 2);
	/* Two ends each. */
	ck_assert_msg(per <= (_i == 1 ? 80u : 16u) * 1024, "%zu octets a pair", per);
	for (int i = 0; i < IDLE; i++) {
		net_free(clients[i].c);
		net_free(idle_ends[i].c);
		buf_fini(&clients[i].got);
		buf_fini(&idle_ends[i].got);
	}
	tls_server_unref(s);
	tls_client_unref(c);
	ends_fini();
	certs_fini();
}
END_TEST

UNIT_MAIN("net_tls",
    net_tls_init();
    tcase_add_loop_test(tc, verify, 0, NELEMS(verifies));
    tcase_add_test(tc, pins_and_fingerprints);
    tcase_add_test(tc, identities_by_sni);
    tcase_add_test(tc, bad_files);
    tcase_add_test(tc, clear_text_ahead_of_the_handshake);
    tcase_add_test(tc, written_before_is_clear_after_is_not);
    tcase_add_test(tc, tls_carries_much);
    tcase_add_test(tc, tls_cut_short);
    tcase_add_test(tc, handshake_deadline);
    tcase_add_loop_test(tc, alpn, 0, NELEMS(alpns));
    tcase_add_test(tc, old_tls_is_refused);
    tcase_add_loop_test(tc, tickets_stay_with_their_listener, 0, 2);
    tcase_add_loop_test(tc, client_certificate, 0, NELEMS(client_certs));
    tcase_add_loop_test(tc, idle_connections_are_small, 0, 2);
)
