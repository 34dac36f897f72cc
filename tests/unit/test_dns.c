/* src/dns without a network: rdata, names, whole messages. */
#include "unit.h"

#include <arpa/inet.h>
#include <string.h>

#include "dns/dns_int.h"

/* ---- rdata ---- */

static const struct mx_rdata {
	const char *name, *data;
	size_t n;
	bool ok;
	unsigned preference;
	const char *host;
} mx_rdatas[] = {
	{ "null MX", "\0\0\0", 3, true, 0, "" },
	{ "host", "\0\x0A\2MX\7example\0", 14, true, 10, "mx.example" },
	{ "high preference", "\xFF\xFF\1a\0", 5, true, 65535, "a" },
	{ "empty", "", 0, false, 0, "" },
	{ "one octet", "\0", 1, false, 0, "" },
	{ "no name", "\0\x0A", 2, false, 0, "" },
	{ "label past the end", "\0\x0A\5mx", 5, false, 0, "" },
	{ "no root label", "\0\x0A\2mx", 5, false, 0, "" },
	{ "octets behind the name", "\0\x0A\2mx\0x", 7, false, 0, "" },
	{ "compression", "\0\x0A\xC0\0", 4, false, 0, "" },
	{ "dot in a label", "\0\x0A\3m.x\0", 7, false, 0, "" },
	{ "space in a label", "\0\x0A\3m x\0", 7, false, 0, "" },
	{ "NUL in a label", "\0\x0A\3m\0x\0", 7, false, 0, "" },
	{ "8 bits", "\0\x0A\3m\xFCx\0", 7, false, 0, "" },
	{ "underscore", "\0\x0A\3m_x\0", 7, true, 10, "m_x" },
	{ "address", "\0\x0A\3" "127\1" "0\1" "0\2" "14\0", 14, true, 10, "127.0.0.14" },
};

/* The octets at the end of a heap block of their own, so that reading on is seen. */
static struct dns_rr
exact(const char *p, size_t n)
{
	uint8_t *copy = malloc(n == 0 ? 1 : n);

	memcpy(copy, p, n);
	return (struct dns_rr){ copy, n };
}

START_TEST(mx_rdata)
{
	const struct mx_rdata *c = &mx_rdatas[_i];
	struct dns_rr rr = exact(c->data, c->n);
	struct dns_mx mx;

	ck_assert_msg(dns_mx_parse(&rr, &mx) == c->ok, "%s", c->name);
	if (c->ok) {
		ck_assert_uint_eq(mx.preference, c->preference);
		ck_assert_str_eq(mx.host, c->host);
	}
	free((void *)rr.data);
}
END_TEST

/* X-38, F-15: every length from 0 on; less than three octets and some data is no record. */
START_TEST(tlsa_rdata)
{
	struct dns_rr rr = exact("\3\1\1abcdefghijklmnopqrstuvwxyz0123456789ABCD", _i);
	struct dns_tlsa t;

	ck_assert_int_eq(dns_tlsa_parse(&rr, &t), _i >= 4);
	if (_i >= 4) {
		ck_assert_uint_eq(t.usage, 3);
		ck_assert_uint_eq(t.selector, 1);
		ck_assert_uint_eq(t.mtype, 1);
		ck_assert_uint_eq(t.n, (size_t)_i - 3);
		ck_assert(t.data == rr.data + 3);
	}
	free((void *)rr.data);
}
END_TEST

static const struct txt_rdata {
	const char *name, *data;
	size_t n;
	bool ok;
	const char *text;
} txt_rdatas[] = {
	{ "one", "\5hello", 6, true, "hello" },
	{ "S-02 joined without a space", "\12v=STSv1; i\5d=20;", 17, true, "v=STSv1; id=20;" },
	{ "empty string", "\0", 1, true, "" },
	{ "empty among others", "\1a\0\1b", 5, true, "ab" },
	{ "nothing", "", 0, false, "" },
	{ "past the end", "\6hello", 6, false, "" },
	{ "second past the end", "\1a\2b", 4, false, "" },
	{ "over the buffer's cap", "\21aaaaaaaaaaaaaaaaa", 18, false, "" },
};

START_TEST(txt_rdata)
{
	const struct txt_rdata *c = &txt_rdatas[_i];
	struct dns_rr rr = exact(c->data, c->n);
	struct buf b;

	buf_init(&b, 16);
	ck_assert_msg(dns_txt_parse(&rr, &b) == c->ok, "%s", c->name);
	if (c->ok)
		ck_assert_msg(slice_is(buf_slice(&b), c->text), "%s", c->name);
	buf_fini(&b);
	free((void *)rr.data);
}
END_TEST

START_TEST(name_rdata)
{
	struct dns_rr rr = exact("\4Host\7eXample\0", 14);
	char name[256], longest[256];
	uint8_t wire[256];
	size_t n = 0, i;

	ck_assert(dns_name_parse(&rr, name));
	ck_assert_str_eq(name, "host.example");
	free((void *)rr.data);
	/* 255 octets are the longest name (RFC 1035 2.3.4): 63 63 63 61, then the root */
	for (i = 0; i < 4; i++) {
		uint8_t len = i < 3 ? 63 : 61;

		wire[n++] = len;
		memset(wire + n, 'a', len);
		n += len;
	}
	wire[n++] = 0;
	ck_assert_uint_eq(n, 255);
	rr = (struct dns_rr){ wire, n };
	ck_assert(dns_name_parse(&rr, longest));
	ck_assert_uint_eq(strlen(longest), 253);
	wire[192] = 62;		/* one more */
	wire[n - 1] = 'a';
	wire[n] = 0;
	rr.n = n + 1;
	ck_assert(!dns_name_parse(&rr, name));
}
END_TEST

/* ---- names as text ---- */

#define L63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct ascii_case {
	const char *in;		/* "" stands for no name at all */
	const char *out;	/* NULL: refused */
} asciis[] = {
	{ "example.com", "example.com" },
	{ "EXAMPLE.Com.", "example.com" },
	{ "localhost", "localhost" },
	{ "a_b.example", "a_b.example" },
	{ "b\xC3\xBC" "cher.example", "xn--bcher-kva.example" },
	{ "B\xC3\x9C" "CHER.example", "xn--bcher-kva.example" },
	{ "stra\xC3\x9F" "e.example", "xn--strae-oqa.example" },	/* IDNA2008: not strasse */
	{ "xn--bcher-kva.example", "xn--bcher-kva.example" },
	{ "u\xCC\x88" "ber.example", "xn--ber-goa.example" },	/* decomposed: NFC first */
	{ L63 ".example", L63 ".example" },
	{ L63 "a.example", NULL },
	{ L63 "." L63 "." L63 "." L63, NULL },	/* 255 as text */
	{ "", NULL },
	{ ".", NULL },
	{ "..", NULL },
	{ ".example", NULL },
	{ "a..b", NULL },
	{ "example..", NULL },
	{ "-a.example", NULL },
	{ "a-.example", NULL },
	{ "a.-b", NULL },
	{ "a b", NULL },
	{ "a/b", NULL },
	{ "a\\.b", NULL },
	{ "a@b", NULL },
	{ "[192.0.2.1]", NULL },
	{ "a\tb", NULL },
	{ "\xFF\xFE.example", NULL },			/* not UTF-8 */
	{ "\xE2\x80\xAE" "a.example", NULL },		/* direction override */
	{ "a\xE3\x80\x82" "b", NULL },			/* ideographic full stop is no dot to us, or one */
};

START_TEST(to_ascii)
{
	const struct ascii_case *c = &asciis[_i];
	char out[256];
	bool ok = dns_to_ascii(out, slice_of(c->in));

	if (_i == (int)NELEMS(asciis) - 1) {
		/* mapped to a dot or refused, but never kept */
		ck_assert(!ok || strcmp(out, "a.b") == 0);
		return;
	}
	ck_assert_msg(ok == (c->out != NULL), "%s: %s", c->in, ok ? out : "refused");
	if (ok)
		ck_assert_str_eq(out, c->out);
}
END_TEST

START_TEST(to_ascii_takes_no_nul)
{
	char out[256];

	ck_assert(!dns_to_ascii(out, SLICE("a\0b.example")));
	ck_assert(!dns_to_ascii(out, SLICE("\xC3\xBC\0b.example")));
}
END_TEST

START_TEST(to_unicode)
{
	char out[64];

	dns_to_unicode(out, sizeof out, "xn--bcher-kva.example");
	ck_assert_str_eq(out, "b\xC3\xBC" "cher.example");
	dns_to_unicode(out, sizeof out, "plain.example");
	ck_assert_str_eq(out, "plain.example");
	dns_to_unicode(out, sizeof out, "xn--a.example");	/* punycode of nothing good */
	ck_assert_str_eq(out, "xn--a.example");
	dns_to_unicode(out, 8, "xn--bcher-kva.example");
	ck_assert_str_eq(out, "xn--bch");
}
END_TEST

START_TEST(reverse)
{
	uint8_t ip[16];
	char name[80];

	inet_pton(AF_INET, "192.0.2.1", ip);
	dns_reverse_name(name, AF_INET, ip);
	ck_assert_str_eq(name, "1.2.0.192.in-addr.arpa");
	inet_pton(AF_INET, "255.255.255.255", ip);
	dns_reverse_name(name, AF_INET, ip);
	ck_assert_str_eq(name, "255.255.255.255.in-addr.arpa");
	inet_pton(AF_INET6, "2001:db8::567:89ab", ip);	/* the example of RFC 3596 2.5, shortened */
	dns_reverse_name(name, AF_INET6, ip);
	ck_assert_str_eq(name, "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
}
END_TEST

static const struct { const char *in, *out; } askable[] = {
	{ "_25._tcp.mx.example", "_25._tcp.mx.example" }, { "A.b.", "a.b" }, { ".", "." },
	{ "0/25.2.0.192.in-addr.arpa", "0/25.2.0.192.in-addr.arpa" }, { "", NULL }, { "a b", NULL },
	{ "a\\046b", NULL }, { "b\xC3\xBC", NULL }, { "a\"", NULL }, { "a..b", NULL },
};

START_TEST(what_can_be_asked_for)
{
	char out[256];
	bool ok = dns_name_check(out, askable[_i].in);

	ck_assert_msg(ok == (askable[_i].out != NULL), "%s", askable[_i].in);
	if (ok)
		ck_assert_str_eq(out, askable[_i].out);
}
END_TEST

/* ---- whole messages ---- */

#define HEAD(flags, answers, authority) "\0\0" flags "\0\1\0" answers "\0" authority "\0\0"
#define OK "\x84\0"
#define NX "\x84\3"
#define QUESTION(type) "\1q\7example\0\0" type "\0\1"	/* name at offset 12; example at 14 */
#define Q "\xC0\x0C"
#define TTL(t) "\0\0\0" t
#define SOA_RR "\xC0\x0E\0\6\0\1" TTL("\x64") "\0\x16\0\0" "\0\0\0\1" "\0\0\0\2" "\0\0\0\3" "\0\0\0\4" "\0\0\0\x28"

static const struct packet_case {
	const char *name;
	const char *p;
	size_t n;
	uint16_t type;
	enum dns_status status;
	size_t rrs;
	const char *canon;
	uint32_t ttl;
} packets[] = {
#define PKT(...) (__VA_ARGS__), sizeof(__VA_ARGS__) - 1
	{ "address", PKT(HEAD(OK, "\1", "\0") QUESTION("\1") Q "\0\1\0\1" TTL("\x0A") "\0\4\x7F\0\0\1"),
	  DNS_A, DNS_OK, 1, "q.example", 10 },
	{ "compressed MX", PKT(HEAD(OK, "\2", "\0") QUESTION("\x0F")
	  Q "\0\x0F\0\1" TTL("\x0A") "\0\7\0\5\2mx\xC0\x0E" Q "\0\x0F\0\1" TTL("\5") "\0\4\0\6\xC0\x0C"),
	  DNS_MX, DNS_OK, 2, "q.example", 5 },
	{ "alias", PKT(HEAD(OK, "\2", "\0") QUESTION("\1") Q "\0\5\0\1" TTL("\7") "\0\4\1r\xC0\x0E"
	  "\1R\xC0\x0E\0\1\0\1" TTL("\x0A") "\0\4\x7F\0\0\1"), DNS_A, DNS_OK, 1, "r.example", 7 },
	{ "alias behind its target", PKT(HEAD(OK, "\2", "\0") QUESTION("\1")
	  "\1r\xC0\x0E\0\1\0\1" TTL("\x0A") "\0\4\x7F\0\0\1" Q "\0\5\0\1" TTL("\7") "\0\4\1r\xC0\x0E"),
	  DNS_A, DNS_OK, 1, "r.example", 7 },
	{ "alias of itself", PKT(HEAD(OK, "\1", "\0") QUESTION("\1") Q "\0\5\0\1" TTL("\7") "\0\2" Q),
	  DNS_A, DNS_SERVFAIL, 0, "", 0 },
	{ "CNAME asked for", PKT(HEAD(OK, "\1", "\0") QUESTION("\5") Q "\0\5\0\1" TTL("\7") "\0\4\1r\xC0\x0E"),
	  DNS_CNAME, DNS_OK, 1, "q.example", 7 },
	{ "somebody else's record", PKT(HEAD(OK, "\1", "\0") QUESTION("\1")
	  "\1r\xC0\x0E\0\1\0\1" TTL("\x0A") "\0\4\x7F\0\0\1"), DNS_A, DNS_NODATA, 0, "q.example", 60 },
	{ "other class", PKT(HEAD(OK, "\1", "\0") QUESTION("\1") Q "\0\1\0\3" TTL("\x0A") "\0\4\x7F\0\0\1"),
	  DNS_A, DNS_NODATA, 0, "q.example", 60 },
	{ "nodata with SOA", PKT(HEAD(OK, "\0", "\1") QUESTION("\1") SOA_RR), DNS_A, DNS_NODATA, 0, "q.example", 40 },
	{ "nxdomain", PKT(HEAD(NX, "\0", "\0") QUESTION("\1")), DNS_A, DNS_NXDOMAIN, 0, "q.example", 60 },
	{ "refused", PKT(HEAD("\x84\5", "\0", "\0") QUESTION("\1")), DNS_A, DNS_SERVFAIL, 0, "", 0 },
	{ "cut", PKT(HEAD("\x86\0", "\0", "\0") QUESTION("\1")), DNS_A, DNS_SERVFAIL, 0, "", 0 },
	{ "a query", PKT(HEAD("\0\0", "\0", "\0") QUESTION("\1")), DNS_A, DNS_SERVFAIL, 0, "", 0 },
	{ "header only", PKT(HEAD(OK, "\0", "\0")), DNS_A, DNS_SERVFAIL, 0, "", 0 },
	{ "fewer records than said", PKT(HEAD(OK, "\2", "\0") QUESTION("\1")
	  Q "\0\1\0\1" TTL("\x0A") "\0\4\x7F\0\0\1"), DNS_A, DNS_SERVFAIL, 0, "", 0 },
	{ "rdata past the end", PKT(HEAD(OK, "\1", "\0") QUESTION("\1") Q "\0\1\0\1" TTL("\x0A") "\0\5\x7F\0\0\1"),
	  DNS_A, DNS_SERVFAIL, 0, "", 0 },
	{ "MX name past its rdata", PKT(HEAD(OK, "\1", "\0") QUESTION("\x0F")
	  Q "\0\x0F\0\1" TTL("\x0A") "\0\5\0\5\2mx\xC0\x0E"), DNS_MX, DNS_SERVFAIL, 0, "", 0 },
	{ "pointer forwards", PKT(HEAD(OK, "\1", "\0") QUESTION("\x0F")
	  Q "\0\x0F\0\1" TTL("\x0A") "\0\4\0\5\xC0\xFF"), DNS_MX, DNS_SERVFAIL, 0, "", 0 },
	{ "pointer to itself", PKT(HEAD(OK, "\1", "\0") "\xC0\x0C\0\1\0\1"), DNS_A, DNS_SERVFAIL, 0, "", 0 },
	{ "ttl with the top bit", PKT(HEAD(OK, "\1", "\0") QUESTION("\1") Q "\0\1\0\1\xFF\0\0\0\0\4\x7F\0\0\1"),
	  DNS_A, DNS_OK, 1, "q.example", 0 },
};

START_TEST(packet)
{
	const struct packet_case *c = &packets[_i];
	static struct dns_reply r;
	size_t cut;

	/* Whole, then every shorter form: never more than was there, and no reading on. */
	for (cut = 0; cut <= c->n; cut++) {
		struct dns_rr rr = exact(c->p, c->n - cut);

		dns_reply_parse(&r, rr.data, rr.n, c->type);
		if (cut == 0) {
			ck_assert_msg(r.status == c->status, "%s: %s", c->name, dns_status_name(r.status));
			ck_assert_msg(r.n == c->rrs, "%s: %zu records", c->name, r.n);
			ck_assert_str_eq(r.canon, c->canon);
			if (c->status != DNS_SERVFAIL)
				ck_assert_msg(r.ttl == c->ttl, "%s: ttl %u", c->name, r.ttl);
		} else if (c->status == DNS_OK) {
			ck_assert_msg(r.status == DNS_SERVFAIL, "%s without %zu octets: %s", c->name, cut,
			    dns_status_name(r.status));
		}
		free((void *)rr.data);
	}
}
END_TEST

START_TEST(compressed_names_are_written_out)
{
	const struct packet_case *c = &packets[1];
	static struct dns_reply r;
	struct dns_mx mx;

	dns_reply_parse(&r, (const uint8_t *)c->p, c->n, DNS_MX);
	ck_assert(dns_mx_parse(&r.rr[0], &mx));
	ck_assert_uint_eq(mx.preference, 5);
	ck_assert_str_eq(mx.host, "mx.example");
	ck_assert(dns_mx_parse(&r.rr[1], &mx));
	ck_assert_str_eq(mx.host, "q.example");
}
END_TEST

START_TEST(alias_chains_are_bounded)
{
	/* 17 aliases, each of one letter below the name at offset 14 (D-10); 16 are followed */
	static struct dns_reply r;
	char pkt[1024];
	size_t n, i, aliases;

	for (aliases = 16; aliases <= 17; aliases++) {
		memcpy(pkt, HEAD(OK, "\1", "\0") QUESTION("\1"), n = sizeof(HEAD(OK, "\1", "\0") QUESTION("\1")) - 1);
		pkt[7] = (char)(aliases + 1);
		pkt[13] = 'a';
		for (i = 0; i < aliases; i++) {
			memcpy(pkt + n, "\1a\xC0\x0E\0\5\0\1" TTL("\7") "\0\4\1b\xC0\x0E", 18);
			pkt[n + 1] = (char)('a' + i);
			pkt[n + 15] = (char)('a' + i + 1);
			n += 18;
		}
		memcpy(pkt + n, "\1z\xC0\x0E\0\1\0\1" TTL("\7") "\0\4\x7F\0\0\1", 18);
		pkt[n + 1] = (char)('a' + aliases);
		n += 18;
		dns_reply_parse(&r, (const uint8_t *)pkt, n, DNS_A);
		ck_assert_int_eq(r.status, aliases == 16 ? DNS_OK : DNS_SERVFAIL);
	}
}
END_TEST

START_TEST(statuses)
{
	ck_assert_str_eq(dns_status_name(DNS_OK), "ok");
	ck_assert_str_eq(dns_status_name(DNS_CANCELLED), "cancelled");
	ck_assert(dns_status_is_failure(DNS_BOGUS));	/* */
	ck_assert(dns_status_is_failure(DNS_SERVFAIL));
	ck_assert(dns_status_is_failure(DNS_TIMEOUT));
	ck_assert(!dns_status_is_failure(DNS_NXDOMAIN));	/* D-14 */
	ck_assert(!dns_status_is_failure(DNS_NODATA));
}
END_TEST

UNIT_MAIN("dns",
	tcase_add_loop_test(tc, mx_rdata, 0, NELEMS(mx_rdatas));
	tcase_add_loop_test(tc, tlsa_rdata, 0, 41);
	tcase_add_loop_test(tc, txt_rdata, 0, NELEMS(txt_rdatas));
	tcase_add_test(tc, name_rdata);
	tcase_add_loop_test(tc, to_ascii, 0, NELEMS(asciis));
	tcase_add_test(tc, to_ascii_takes_no_nul);
	tcase_add_test(tc, to_unicode);
	tcase_add_test(tc, reverse);
	tcase_add_loop_test(tc, what_can_be_asked_for, 0, NELEMS(askable));
	tcase_add_loop_test(tc, packet, 0, NELEMS(packets));
	tcase_add_test(tc, compressed_names_are_written_out);
	tcase_add_test(tc, alias_chains_are_bounded);
	tcase_add_test(tc, statuses);
)
