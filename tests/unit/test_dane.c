/* Which TLSA records count (RFC 6698 2.1, 7671 section 9, 7672 3.1). */
#include "unit.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

#include "trust/dane.h"

static uint8_t cert[2048], spki[1024];
static size_t cert_n, spki_n;

/* A certificate by its own key, and that key. */
static void
make_cert(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	uint8_t *p = cert;

	ck_assert(key != NULL && x != NULL);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	ck_assert_int_eq(X509_set_pubkey(x, key), 1);
	ck_assert_int_gt(X509_sign(x, key, EVP_sha256()), 0);
	cert_n = (size_t)i2d_X509(x, &p);
	p = spki;
	spki_n = (size_t)i2d_PUBKEY(key, &p);
	X509_free(x);
	EVP_PKEY_free(key);
}

/* Records are written "USAGE SELECTOR MTYPE FILL*COUNT", or with the word cert, spki, cert+ (an octet
 * behind it) or cert- (one short) in place of FILL*COUNT. */
static size_t
rdata_of(uint8_t *dst, const char *text)
{
	unsigned usage, selector, mtype, fill, count;
	int at = 0;

	ck_assert_int_ge(sscanf(text, "%u %u %u %n", &usage, &selector, &mtype, &at), 3);
	dst[0] = (uint8_t)usage;
	dst[1] = (uint8_t)selector;
	dst[2] = (uint8_t)mtype;
	text += at;
	if (strncmp(text, "cert", 4) == 0) {
		memcpy(dst + 3, cert, cert_n);
		dst[3 + cert_n] = 0;
		return 3 + cert_n + (text[4] == '+') - (text[4] == '-');
	}
	if (strcmp(text, "spki") == 0) {
		memcpy(dst + 3, spki, spki_n);
		return 3 + spki_n;
	}
	ck_assert_int_eq(sscanf(text, "%x*%u", &fill, &count), 2);
	memset(dst + 3, (int)fill, count);
	return 3 + count;
}

#define MOST 8
static const struct {
	const char *name;
	const char *rr[MOST];
	enum tlsa_state state;
	const char *used;		/* usage, selector, mtype and first octet of those that are */
} cases[] = {
	{ "nothing", { NULL }, TLSA_NONE, "" },
	{ "3 1 1", { "3 1 1 aa*32" }, TLSA_USABLE, "311aa " },
	{ "3 0 2", { "3 0 2 aa*64" }, TLSA_USABLE, "302aa " },
	{ "2 0 1", { "2 0 1 aa*32" }, TLSA_USABLE, "201aa " },
	{ "2 0 0", { "2 0 0 cert" }, TLSA_USABLE, "20030 " },
	{ "3 1 0", { "3 1 0 spki" }, TLSA_USABLE, "31030 " },
	{ "usages 0 and 1 (D-45)", { "0 0 1 aa*32", "1 1 1 aa*32" }, TLSA_UNUSABLE, "" },
	{ "usages 0 and 1 beside 3", { "0 0 1 aa*32", "3 1 1 bb*32" }, TLSA_USABLE, "311bb " },
	{ "usage 4", { "4 0 1 aa*32" }, TLSA_UNUSABLE, "" },
	{ "usage 255", { "255 1 1 aa*32" }, TLSA_UNUSABLE, "" },
	{ "selector 2", { "3 2 1 aa*32" }, TLSA_UNUSABLE, "" },
	{ "matching type 3", { "3 1 3 aa*32" }, TLSA_UNUSABLE, "" },
	{ "short digest (D-46)", { "3 1 1 aa*31" }, TLSA_UNUSABLE, "" },
	{ "long digest", { "3 1 1 aa*33" }, TLSA_UNUSABLE, "" },
	{ "SHA-512 of SHA-256's length", { "3 1 2 aa*32" }, TLSA_UNUSABLE, "" },
	{ "no data", { "3 1 1 aa*0" }, TLSA_UNUSABLE, "" },
	{ "a digest as certificate", { "3 0 0 aa*32" }, TLSA_UNUSABLE, "" },
	{ "a certificate as key", { "3 1 0 cert" }, TLSA_UNUSABLE, "" },
	{ "a key as certificate", { "2 0 0 spki" }, TLSA_UNUSABLE, "" },
	{ "octet behind a certificate", { "2 0 0 cert+" }, TLSA_UNUSABLE, "" },
	{ "certificate cut short", { "2 0 0 cert-" }, TLSA_UNUSABLE, "" },
	{ "agility: the strongest (D-48)", { "3 1 1 aa*32", "3 1 2 bb*64" }, TLSA_USABLE, "312bb " },
	{ "agility: all of the strongest", { "3 1 2 cc*64", "3 1 1 aa*32", "3 1 2 bb*64" }, TLSA_USABLE, "312bb 312cc " },
	{ "agility: not across selectors", { "3 0 2 aa*64", "3 1 1 bb*32" }, TLSA_USABLE, "302aa 311bb " },
	{ "agility: not across usages", { "2 1 2 aa*64", "3 1 1 bb*32" }, TLSA_USABLE, "212aa 311bb " },
	{ "agility: in full stays", { "3 1 0 spki", "3 1 1 aa*32", "3 1 2 bb*64" }, TLSA_USABLE, "31030 312bb " },
	{ "agility: only among usable ones", { "3 1 2 aa*63", "3 1 1 bb*32" }, TLSA_USABLE, "311bb " },
	{ "agility: unknown digests do not win", { "3 1 9 aa*64", "3 1 1 bb*32" }, TLSA_USABLE, "311bb " },
	{ "doubles", { "3 1 1 aa*32", "3 1 1 aa*32" }, TLSA_USABLE, "311aa " },
	{ "order does not matter", { "3 1 1 bb*32", "2 0 1 cc*32", "3 1 1 aa*32" }, TLSA_USABLE, "201cc 311aa 311bb " },
};

START_TEST(what_counts)
{
	uint8_t data[MOST][4096];
	struct dns_rr rr[MOST];
	struct dane_set *s;
	char used[256] = "";
	size_t n = 0;

	make_cert();
	for (; n < MOST && cases[_i].rr[n] != NULL; n++)
		rr[n] = (struct dns_rr){ data[n], rdata_of(data[n], cases[_i].rr[n]) };
	s = dane_set_new(rr, n);
	memset(data, 0, sizeof data);		/* the set has a copy */
	for (size_t i = 0; i < s->n; i++) {
		const struct tls_tlsa *r = &s->usable[i];
		size_t len = strlen(used);

		snprintf(used + len, sizeof used - len, "%u%u%u%02x ", r->usage, r->selector, r->mtype, r->data[0]);
	}
	ck_assert_msg(s->state == cases[_i].state, "%s: state %d", cases[_i].name, s->state);
	ck_assert_msg(strcmp(used, cases[_i].used) == 0, "%s: %s", cases[_i].name, used);
	ck_assert_uint_eq(s->total, n);
	dane_set_free(s);
}
END_TEST

START_TEST(text)
{
	uint8_t data[4][4096];
	static const char *const records[] = { "3 1 1 ab*32", "2 0 0 cert", "0 0 1 cd*2" };
	struct dns_rr rr[4];
	struct dane_set *s;

	make_cert();
	for (size_t i = 0; i < NELEMS(records); i++)
		rr[i] = (struct dns_rr){ data[i], rdata_of(data[i], records[i]) };
	s = dane_set_new(rr, 3);
	ck_assert_msg(strncmp(s->text, "2 0 0 sha256:", 13) == 0, "%s", s->text);
	ck_assert_msg(strstr(s->text, ", 3 1 1 abababab") != NULL, "%s", s->text);
	ck_assert_msg(strstr(s->text, "cdcd") == NULL, "what does not count: %s", s->text);
	dane_set_free(s);
	s = dane_set_new(&rr[2], 1);
	ck_assert_str_eq(s->text, "0 0 1 cdcd");
	dane_set_free(s);
	s = dane_set_new(rr, 0);
	ck_assert_str_eq(s->text, "");
	dane_set_free(s);
}
END_TEST

/* A hundred records, as many as an answer may have: the text stays a line. */
START_TEST(many)
{
	static uint8_t data[100][67];
	struct dns_rr rr[100];
	struct dane_set *s;

	for (size_t i = 0; i < 100; i++) {
		rdata_of(data[i], "3 1 2 00*64");
		data[i][3] = (uint8_t)i;
		rr[i] = (struct dns_rr){ data[i], 67 };
	}
	s = dane_set_new(rr, 100);
	ck_assert_uint_eq(s->n, 100);
	ck_assert_uint_lt(strlen(s->text), 1600);
	ck_assert_str_eq(s->text + strlen(s->text) - 5, ", ...");
	dane_set_free(s);
}
END_TEST

UNIT_MAIN("dane",
	tcase_add_loop_test(tc, what_counts, 0, NELEMS(cases));
	tcase_add_test(tc, text);
	tcase_add_test(tc, many);
)
