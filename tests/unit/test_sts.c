#include "unit.h"

#include <string.h>

#include "trust/sts.h"

static const struct txt_case {
	const char *name;
	const char *txt[4];
	enum sts_txt want;
	const char *id;
} txts[] = {
	{ "plain", { "v=STSv1; id=20160831085700Z;" }, STS_TXT_ID, "20160831085700Z" },
	{ "S-05 no last semicolon", { "v=STSv1;id=1" }, STS_TXT_ID, "1" },
	{ "S-05 other fields first", { "v=STSv1; x=y; id=7; z=1" }, STS_TXT_ID, "7" },
	{ "S-05 no id", { "v=STSv1; x=y" }, STS_TXT_BROKEN, "" },
	{ "S-05 no field", { "v=STSv1;" }, STS_TXT_BROKEN, "" },
	{ "S-05 32 characters", { "v=STSv1; id=12345678901234567890123456789012" }, STS_TXT_ID,
	    "12345678901234567890123456789012" },
	{ "S-05 33 characters", { "v=STSv1; id=123456789012345678901234567890123" }, STS_TXT_BROKEN, "" },
	{ "S-05 dash", { "v=STSv1; id=a-b" }, STS_TXT_BROKEN, "" },
	{ "S-05 empty id", { "v=STSv1; id=;" }, STS_TXT_BROKEN, "" },
	{ "S-05 id in upper case", { "v=STSv1; ID=1" }, STS_TXT_BROKEN, "" },
	{ "S-05 not a field", { "v=STSv1; id=1; what" }, STS_TXT_BROKEN, "" },
	{ "S-05 empty field", { "v=STSv1;;id=1" }, STS_TXT_BROKEN, "" },
	{ "S-06 space before the semicolon", { "v=STSv1 ; id=1" }, STS_TXT_ID, "1" },
	{ "S-06 tab before the semicolon", { "v=STSv1\t;\tid=1 ; " }, STS_TXT_ID, "1" },
	{ "S-04 none", { NULL }, STS_TXT_NONE, "" },
	{ "S-04 noise only", { "v=spf1 -all", "v=STSv2; id=1" }, STS_TXT_NONE, "" },
	{ "S-04 noise around", { "v=spf1 -all", "v=STSv1; id=2", "hello" }, STS_TXT_ID, "2" },
	{ "S-04 two", { "v=STSv1; id=2", "v=STSv1; id=2" }, STS_TXT_BROKEN, "" },
	{ "S-04 two, one of them broken", { "v=STSv1; id=2", "v=STSv1;" }, STS_TXT_BROKEN, "" },
	{ "S-04 version in lower case", { "v=stsv1; id=2" }, STS_TXT_NONE, "" },
	{ "S-04 version alone", { "v=STSv1" }, STS_TXT_NONE, "" },
	{ "S-04 space in front", { " v=STSv1; id=2" }, STS_TXT_NONE, "" },
	{ "S-07 unknown field", { "v=STSv1; id=2; x.y_z-1=!~" }, STS_TXT_ID, "2" },
	{ "S-08 id twice", { "v=STSv1; id=2; id=3" }, STS_TXT_ID, "2" },
};

START_TEST(txt_records)
{
	const struct txt_case *c = &txts[_i];
	struct slice s[4];
	char id[STS_ID_SIZE];
	size_t n = 0;

	for (; n < NELEMS(s) && c->txt[n] != NULL; n++)
		s[n] = slice_of(c->txt[n]);
	ck_assert_msg(sts_txt_id(s, n, id) == c->want, "%s", c->name);
	ck_assert_msg(strcmp(id, c->id) == 0, "%s: %s", c->name, id);
}
END_TEST

#define HEAD "version: STSv1\n"
#define REST "mx: a.example\nmax_age: 100\n"
static const struct policy_case {
	const char *name, *text;
	bool ok;
	enum sts_mode mode;
	int64_t max_age;
	size_t nmx;
} policies[] = {
	{ "S-40 plain", HEAD "mode: enforce\n" REST, true, STS_ENFORCE, 100, 1 },
	{ "S-40 testing", HEAD "mode: testing\n" REST, true, STS_TESTING, 100, 1 },
	{ "S-40 none without mx", HEAD "mode: none\nmax_age: 5\n", true, STS_NONE, 5, 0 },
	{ "S-40 any order", "max_age: 7\nmx: *.b.example\nmode: enforce\nversion: STSv1\n", true, STS_ENFORCE, 7, 1 },
	{ "S-40 no version", "mode: enforce\n" REST, false, 0, 0, 0 },
	{ "S-40 other version", "version: STSv2\nmode: enforce\n" REST, false, 0, 0, 0 },
	{ "S-40 no mode", HEAD REST, false, 0, 0, 0 },
	{ "S-40 mode in upper case", HEAD "mode: Enforce\n" REST, false, 0, 0, 0 },
	{ "S-40 unknown mode", HEAD "mode: report\n" REST, false, 0, 0, 0 },
	{ "S-40 no max_age", HEAD "mode: enforce\nmx: a.example\n", false, 0, 0, 0 },
	{ "S-40 max_age of 11 digits", HEAD "mode: enforce\nmx: a.example\nmax_age: 00000000001\n", false, 0, 0, 0 },
	{ "S-40 max_age with a sign", HEAD "mode: enforce\nmx: a.example\nmax_age: -1\n", false, 0, 0, 0 },
	{ "S-40 no mx", HEAD "mode: enforce\nmax_age: 1\n", false, 0, 0, 0 },
	{ "S-40 no mx in testing", HEAD "mode: testing\nmax_age: 1\n", false, 0, 0, 0 },
	{ "S-41 CRLF", "version: STSv1\r\nmode: enforce\r\nmx: a.example\r\nmax_age: 1\r\n", true, STS_ENFORCE, 1, 1 },
	{ "S-41 no last line end", HEAD "mode: enforce\nmx: a.example\nmax_age: 1", true, STS_ENFORCE, 1, 1 },
	{ "S-41 white space", "version:STSv1 \nmode:\tenforce\t\nmx:  a.example \nmax_age: 1 \n", true, STS_ENFORCE, 1, 1 },
	{ "S-41 CR alone", "version: STSv1\rmode: enforce\nmx: a.example\nmax_age: 1\n", false, 0, 0, 0 },
	{ "S-42 ceiling", HEAD "mode: enforce\nmx: a.example\nmax_age: 9999999999\n", true, STS_ENFORCE, 31557600, 1 },
	{ "S-07 unknown field", HEAD "x: y\nmode: enforce\n" REST "z-1.2_3: :\xc3\xa4\n", true, STS_ENFORCE, 100, 1 },
	{ "S-08 two modes", HEAD "mode: testing\nmode: enforce\n" REST, true, STS_TESTING, 100, 1 },
	{ "S-08 the first is wrong", HEAD "mode: no\nmode: enforce\n" REST, false, 0, 0, 0 },
	{ "S-08 two max_age", HEAD "mode: enforce\n" REST "max_age: 1\n", true, STS_ENFORCE, 100, 1 },
	{ "not a field", HEAD "mode: enforce\nhello\n" REST, false, 0, 0, 0 },
	{ "html", "<html><body>no policy here: sorry</body></html>", false, 0, 0, 0 },
	{ "empty", "", false, 0, 0, 0 },
	{ "mx with a wildcard inside", HEAD "mode: enforce\nmx: a.*.example\nmax_age: 1\n", false, 0, 0, 0 },
	{ "mx with half a wildcard", HEAD "mode: enforce\nmx: *a.example\nmax_age: 1\n", false, 0, 0, 0 },
	{ "mx is a wildcard alone", HEAD "mode: enforce\nmx: *.\nmax_age: 1\n", false, 0, 0, 0 },
	{ "S-44 mx in U-labels", HEAD "mode: enforce\nmx: \xc3\xa4.example\nmax_age: 1\n", false, 0, 0, 0 },
};

START_TEST(policy_texts)
{
	const struct policy_case *c = &policies[_i];
	struct sts_policy p;
	struct err err;

	ck_assert_msg(sts_policy_parse(slice_of(c->text), &p, &err) == c->ok, "%s: %s", c->name,
	    c->ok ? err.text : "taken");
	if (!c->ok)
		return;
	ck_assert_msg(p.mode == c->mode && p.max_age_s == c->max_age && p.nmx == c->nmx, "%s: %d %lld %zu",
	    c->name, (int)p.mode, (long long)p.max_age_s, p.nmx);
	sts_policy_fini(&p);
}
END_TEST

START_TEST(nul_is_no_policy)
{
	static const char text[] = HEAD "mode: enforce\n" REST "x: \0\n";
	struct sts_policy p;
	struct err err;

	ck_assert(!sts_policy_parse((struct slice){ text, sizeof text - 1 }, &p, &err));
}
END_TEST

START_TEST(sizes)
{
	struct sts_policy p;
	struct buf b;
	struct err err;

	buf_init(&b, 2 * STS_TEXT_MAX);
	buf_adds(&b, HEAD "mode: enforce\n" REST);
	for (unsigned i = 0; i < STS_MX_MAX - 1; i++)
		buf_printf(&b, "mx: h%u.example\n", i);
	ck_assert(sts_policy_parse(buf_slice(&b), &p, &err));
	ck_assert_uint_eq(p.nmx, STS_MX_MAX);
	ck_assert(sts_policy_has(&p, "h998.example"));
	sts_policy_fini(&p);
	buf_adds(&b, "mx: more.example\n");
	ck_assert(!sts_policy_parse(buf_slice(&b), &p, &err));
	buf_clear(&b);
	buf_adds(&b, HEAD "mode: enforce\n" REST "x: ");
	while (b.len <= STS_TEXT_MAX)
		buf_addc(&b, 'x');
	ck_assert(!sts_policy_parse(buf_slice(&b), &p, &err));
	b.len--;
	ck_assert(sts_policy_parse(buf_slice(&b), &p, &err));
	sts_policy_fini(&p);
	buf_fini(&b);
}
END_TEST

static const struct match_case {
	const char *host;
	bool want;
} matches[] = {		/* S-60 */
	{ "mail.example.com", true }, { "MAIL.Example.COM", true }, { "xmail.example.com", false },
	{ "mail.example.com.org", false }, { "example.com", false },
	{ "a.example.net", true }, { "A.EXAMPLE.NET", true }, { "example.net", false },
	{ "a.b.example.net", false }, { ".example.net", false }, { "aexample.net", false }, { "", false },
};

START_TEST(hosts)
{
	struct sts_policy p;
	struct err err;

	ck_assert(sts_policy_parse(slice_of(HEAD "mode: enforce\nmx: Mail.example.com\nmx: *.example.net\n"
	    "max_age: 1\n"), &p, &err));
	ck_assert_msg(sts_policy_has(&p, matches[_i].host) == matches[_i].want, "%s", matches[_i].host);
	sts_policy_fini(&p);
}
END_TEST

/* What we publish is what senders take. */
START_TEST(published)
{
	char *mx[] = { "mx1.example.com", "*.example.net" };
	char *one = sts_policy_text(STS_ENFORCE, 604800, mx, 2), *none = sts_policy_text(STS_NONE, 86400, NULL, 0);
	char id[STS_ID_SIZE], other[STS_ID_SIZE], got[STS_ID_SIZE], *txt;
	struct sts_policy p;
	struct slice record;
	struct err err;

	ck_assert_str_eq(one, "version: STSv1\r\nmode: enforce\r\nmx: mx1.example.com\r\nmx: *.example.net\r\n"
	    "max_age: 604800\r\n");
	ck_assert(sts_policy_parse(slice_of(one), &p, &err));
	ck_assert(p.mode == STS_ENFORCE && p.max_age_s == 604800 && p.nmx == 2);
	sts_policy_fini(&p);
	ck_assert(sts_policy_parse(slice_of(none), &p, &err));
	ck_assert(p.mode == STS_NONE && p.nmx == 0);
	sts_policy_fini(&p);
	sts_policy_id(id, one);
	sts_policy_id(got, one);
	sts_policy_id(other, none);
	ck_assert_str_eq(id, got);
	ck_assert_str_ne(id, other);
	txt = xasprintf("v=STSv1; id=%s;", id);
	record = slice_of(txt);
	ck_assert(sts_txt_id(&record, 1, got) == STS_TXT_ID);
	ck_assert_str_eq(id, got);
	free(txt);
	free(one);
	free(none);
}
END_TEST

UNIT_MAIN("sts",
    tcase_add_loop_test(tc, txt_records, 0, NELEMS(txts));
    tcase_add_loop_test(tc, policy_texts, 0, NELEMS(policies));
    tcase_add_loop_test(tc, hosts, 0, NELEMS(matches));
    tcase_add_test(tc, nul_is_no_policy);
    tcase_add_test(tc, published);
    tcase_add_test(tc, sizes);)
