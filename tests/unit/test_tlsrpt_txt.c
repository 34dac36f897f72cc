#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "tlsrpt/txt.h"

static const struct txt_case {
	const char *name;
	const char *txt[3];
	enum tlsrpt_txt want;
	const char *rua;	/* what is used of it, with spaces between */
} txts[] = {
	{ "T-01 mail", { "v=TLSRPTv1; rua=mailto:reports@a.example" }, TLSRPT_TXT_FOUND, "reports@a.example" },
	{ "T-01 https", { "v=TLSRPTv1;rua=https://r.a.example/v1/tlsrpt" }, TLSRPT_TXT_FOUND,
	    "https://r.a.example/v1/tlsrpt" },
	{ "T-01 no rua", { "v=TLSRPTv1; x=y" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-01 empty rua", { "v=TLSRPTv1; rua=" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-01 last semicolon", { "v=TLSRPTv1; rua=mailto:r@a.example; " }, TLSRPT_TXT_FOUND, "r@a.example" },
	{ "T-01 white space", { "v=TLSRPTv1 ;\trua = mailto:r@a.example , mailto:s@a.example" }, TLSRPT_TXT_FOUND,
	    "r@a.example s@a.example" },
	{ "T-02 none", { NULL }, TLSRPT_TXT_NONE, "" },
	{ "T-02 noise", { "v=spf1 -all", "v=TLSRPTv2; rua=mailto:r@a.example" }, TLSRPT_TXT_NONE, "" },
	{ "T-02 noise beside it", { "v=spf1 -all", "v=TLSRPTv1; rua=mailto:r@a.example" }, TLSRPT_TXT_FOUND,
	    "r@a.example" },
	{ "T-02 two", { "v=TLSRPTv1; rua=mailto:r@a.example", "v=TLSRPTv1; rua=mailto:r@a.example" },
	    TLSRPT_TXT_BROKEN, "" },
	{ "T-02 version in lower case", { "v=tlsrptv1; rua=mailto:r@a.example" }, TLSRPT_TXT_NONE, "" },
	{ "T-02 version alone", { "v=TLSRPTv1" }, TLSRPT_TXT_NONE, "" },
	{ "T-02 longer version", { "v=TLSRPTv12; rua=mailto:r@a.example" }, TLSRPT_TXT_NONE, "" },
	{ "T-02 unknown fields", { "v=TLSRPTv1; a.b_c-1=!~; rua=mailto:r@a.example; z=1" }, TLSRPT_TXT_FOUND,
	    "r@a.example" },
	{ "T-02 not a field", { "v=TLSRPTv1; rua=mailto:r@a.example; what" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-02 empty field", { "v=TLSRPTv1;; rua=mailto:r@a.example" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-02 rua twice", { "v=TLSRPTv1; rua=mailto:r@a.example; rua=mailto:s@a.example" }, TLSRPT_TXT_FOUND,
	    "r@a.example" },
	{ "T-02 in upper case", { "v=TLSRPTv1; RUA=mailto:r@a.example" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-03 both", { "v=TLSRPTv1; rua=mailto:r@a.example,https://a.example/x?y=z" }, TLSRPT_TXT_FOUND,
	    "r@a.example https://a.example/x?y=z" },
	{ "T-03 other schemes are left out", { "v=TLSRPTv1; rua=ftp://a.example/,http://a.example/,mailto:r@a.example" },
	    TLSRPT_TXT_FOUND, "r@a.example" },
	{ "T-03 nothing but others", { "v=TLSRPTv1; rua=http://a.example/" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-03 encoded", { "v=TLSRPTv1; rua=mailto:a%21b@a.example,https://a.example/%2C%3B%21" }, TLSRPT_TXT_FOUND,
	    "a!b@a.example https://a.example/%2C%3B%21" },
	{ "T-03 not encoded", { "v=TLSRPTv1; rua=mailto:r@a.example!10m" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-03 half encoded", { "v=TLSRPTv1; rua=mailto:r%4@a.example" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-30 line end in an address", { "v=TLSRPTv1; rua=mailto:r%0d%0aRCPT@a.example" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-30 NUL in an address", { "v=TLSRPTv1; rua=mailto:r%00@a.example" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-30 angle brackets in an address", { "v=TLSRPTv1; rua=mailto:r%3E@a.example" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-30 header fields are not ours", { "v=TLSRPTv1; rua=mailto:r@a.example?bcc=x@b.example" },
	    TLSRPT_TXT_FOUND, "r@a.example" },
	{ "T-30 no domain", { "v=TLSRPTv1; rua=mailto:postmaster" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-30 address literal", { "v=TLSRPTv1; rua=mailto:r@[127.0.0.1]" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-30 user in a URL", { "v=TLSRPTv1; rua=https://u:p@a.example/" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-30 port 0", { "v=TLSRPTv1; rua=https://a.example:0/" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-30 no host", { "v=TLSRPTv1; rua=https:///x" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-30 numbers", { "v=TLSRPTv1; rua=https://127.0.0.1/,https://0x7f.1/,https://2130706433/,https://[::1]/,"
	    "https://[::ffff:127.0.0.1]/,https://127.1/,https://127.0.0.1./" }, TLSRPT_TXT_BROKEN, "" },
	{ "T-30 no more than eight", { "v=TLSRPTv1; rua=mailto:1@a.example,mailto:2@a.example,mailto:3@a.example,"
	    "mailto:4@a.example,mailto:5@a.example,mailto:6@a.example,mailto:7@a.example,mailto:8@a.example,"
	    "mailto:9@a.example" }, TLSRPT_TXT_FOUND,
	    "1@a.example 2@a.example 3@a.example 4@a.example 5@a.example 6@a.example 7@a.example 8@a.example" },
};

START_TEST(records)
{
	const struct txt_case *c = &txts[_i];
	struct slice s[NELEMS(c->txt)];
	struct rua_list list;
	struct buf got;
	size_t n = 0;

	for (; n < NELEMS(s) && c->txt[n] != NULL; n++)
		s[n] = slice_of(c->txt[n]);
	ck_assert_msg(tlsrpt_txt_parse(s, n, &list) == c->want, "%s", c->name);
	buf_init(&got, 16 * 1024);
	for (size_t i = 0; i < list.n; i++)
		buf_printf(&got, "%s%s", i > 0 ? " " : "", list.rua[i].to);
	ck_assert_msg(slice_is(buf_slice(&got), c->rua), "%s: %.*s", c->name, (int)got.len, buf_peek(&got));
	buf_fini(&got);
	rua_list_fini(&list);
}
END_TEST

START_TEST(parts)
{
	struct rua r;
	struct err err = { "" };

	ck_assert(rua_parse(&r, slice_of("HTTPS://R.A.example:8443/x#y"), &err));
	ck_assert_int_eq(r.kind, RUA_HTTPS);
	ck_assert_str_eq(r.domain, "r.a.example");
	ck_assert_uint_eq(r.port, 8443);
	ck_assert_ptr_null(strchr(r.to, '#'));
	rua_fini(&r);
	ck_assert(rua_parse(&r, slice_of("mailto:R@A.example"), &err));
	ck_assert_int_eq(r.kind, RUA_MAIL);
	ck_assert_str_eq(r.to, "R@a.example");
	ck_assert_str_eq(r.domain, "a.example");
	rua_fini(&r);
	ck_assert(!rua_parse(&r, slice_of("gopher://a.example"), &err));
	ck_assert_str_eq(err.text, "neither mailto: nor https:");
}
END_TEST

START_TEST(too_long)
{
	char text[RUA_TEXT_MAX + 40];
	struct rua r;
	struct err err;
	int n = snprintf(text, sizeof text, "https://a.example/");

	memset(text + n, 'x', sizeof text - (size_t)n);
	ck_assert(rua_parse(&r, (struct slice){ text, RUA_TEXT_MAX }, &err));
	rua_fini(&r);
	ck_assert(!rua_parse(&r, (struct slice){ text, RUA_TEXT_MAX + 1 }, &err));
	memcpy(text, "mailto:", 7);
	ck_assert(!rua_parse(&r, (struct slice){ text, RUA_TEXT_MAX }, &err));
}
END_TEST

UNIT_MAIN("tlsrpt_txt",
    tcase_add_loop_test(tc, records, 0, NELEMS(txts));
    tcase_add_test(tc, parts);
    tcase_add_test(tc, too_long);)
