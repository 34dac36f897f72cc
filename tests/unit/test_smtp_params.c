#include "unit.h"

#include <string.h>

#include "smtp/smtp.h"

#define ALL (SMTP_EXT_SIZE | SMTP_EXT_8BITMIME | SMTP_EXT_SMTPUTF8 | SMTP_EXT_DSN | SMTP_EXT_REQUIRETLS)
#define X100 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggghhhhhhhhhhiiiiiiiiiijjjjjjjjjj"

static const struct mail_case {
	const char *name, *in;
	unsigned offered;
	bool clear;
	int code;		/* 0: taken */
	const char *status;
	struct smtp_mail_params want;
} mails[] = {
	{ "nothing", "", ALL, false, 0, "", { .size = 0 } },
	{ "spaces only", "  ", ALL, false, 0, "", { .size = 0 } },
	{ "SIZE", " SIZE=1000", ALL, false, 0, "", { .has_size = true, .size = 1000 } },
	{ "any case (M-58)", " size=1 body=8bitMIME smtputf8 requiretls", ALL, false, 0, "",
	    { .has_size = true, .size = 1, .has_body = true, .body = BODY_8BITMIME, .smtputf8 = true,
	      .requiretls = true } },
	{ "SIZE past 2^64 (M-105)", " SIZE=99999999999999999999", ALL, false, 0, "",
	    { .has_size = true, .size = UINT64_MAX } },
	{ "SIZE of 21 digits", " SIZE=999999999999999999999", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "SIZE negative", " SIZE=-1", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "SIZE empty", " SIZE=", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "SIZE bare", " SIZE", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "SIZE twice", " SIZE=1 SIZE=1", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "SIZE not offered", " SIZE=1", 0, false, 555, "5.5.4", { .size = 0 } },
	{ "BODY 7BIT", " BODY=7BIT", ALL, false, 0, "", { .has_body = true } },
	{ "BODY binary (M-115)", " BODY=BINARYMIME", ALL, false, 555, "5.5.4", { .size = 0 } },
	{ "BODY nonsense", " BODY=9BIT", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "BODY twice (M-109)", " BODY=7BIT BODY=8BITMIME", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "SMTPUTF8 with a value", " SMTPUTF8=1", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "SMTPUTF8 not offered", " SMTPUTF8", ALL & ~SMTP_EXT_SMTPUTF8, false, 555, "5.5.4", { .size = 0 } },
	{ "RET and ENVID", " RET=HDRS ENVID=QQ+2B1", ALL, false, 0, "",
	    { .ret = RET_HDRS, .envid = (char *)"QQ+2B1" } },
	{ "RET nonsense", " RET=SOME", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "ENVID of 100 (M-132)", " ENVID=" X100, ALL, false, 0, "", { .envid = (char *)X100 } },
	{ "ENVID of 101", " ENVID=" X100 "x", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "ENVID injects (X-31)", " ENVID=a+0D+0Ab", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "ENVID decodes to 8-bit", " ENVID=a+C3", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "ENVID twice", " ENVID=a ENVID=a", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "no DSN", " RET=FULL", ALL & ~SMTP_EXT_DSN, false, 555, "5.5.4", { .size = 0 } },
	{ "AUTH always (M-159)", " AUTH=<>", 0, false, 0, "", { .has_auth = true, .auth = (char *)"<>" } },
	{ "AUTH malformed", " AUTH=a+zz", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "REQUIRETLS", " REQUIRETLS", ALL, false, 0, "", { .requiretls = true } },
	{ "REQUIRETLS mixed case (R-04)", " RequireTLS", ALL, false, 0, "", { .requiretls = true } },
	{ "REQUIRETLS with a value (R-03)", " REQUIRETLS=1", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "REQUIRETLS with an empty value", " REQUIRETLS=", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "REQUIRETLS twice (R-18)", " REQUIRETLS REQUIRETLS", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "REQUIRETLS in clear (R-15)", " REQUIRETLS", ALL & ~SMTP_EXT_REQUIRETLS, true, 530, "5.7.10",
	    { .size = 0 } },
	{ "REQUIRETLS off (R-15, D13)", " REQUIRETLS", ALL & ~SMTP_EXT_REQUIRETLS, false, 555, "5.5.4",
	    { .size = 0 } },
	{ "REQUIRETLS glued", " REQUIRETLSX", ALL, false, 555, "5.5.4", { .size = 0 } },
	{ "unknown (M-57)", " FOO=1", ALL, false, 555, "5.5.4", { .size = 0 } },
	{ "unknown after known", " SIZE=1 ENVID=a AUTH=b FOO", ALL, false, 555, "5.5.4", { .size = 0 } },
	{ "a value with =", " SIZE=1=2", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "no keyword", " =1", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "not a keyword", " \xC3\xBC=1", ALL, false, 501, "5.5.4", { .size = 0 } },
	{ "hyphen first", " -A=1", ALL, false, 501, "5.5.4", { .size = 0 } },
};

static bool
same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

START_TEST(mail)
{
	const struct mail_case *c = &mails[_i];
	struct smtp_mail_params p;
	struct smtp_reply r = { 0 };
	bool ok = smtp_mail_params_parse(&p, slice_of(c->in), c->offered, !c->clear, &r);

	ck_assert_msg(ok == (c->code == 0), "%s: %d %s", c->name, r.code, r.text);
	if (!ok) {
		ck_assert_msg(r.code == c->code && strcmp(r.status, c->status) == 0, "%s: %d %s", c->name,
		    r.code, r.status);
		ck_assert_ptr_null(p.envid);
		ck_assert_ptr_null(p.auth);
		return;
	}
	ck_assert_msg(p.has_size == c->want.has_size && p.size == c->want.size &&
	    p.requiretls == c->want.requiretls && p.smtputf8 == c->want.smtputf8 &&
	    p.has_body == c->want.has_body && p.body == c->want.body && p.ret == c->want.ret &&
	    p.has_auth == c->want.has_auth && same(p.envid, c->want.envid) &&
	    same(p.auth, c->want.auth), "%s", c->name);
	smtp_mail_params_fini(&p);
}
END_TEST

static const struct rcpt_case {
	const char *name, *in;
	unsigned offered;
	int code;
	unsigned notify;
	const char *orcpt;
} rcpts[] = {
	{ "nothing", "", ALL, 0, 0, NULL },
	{ "NEVER (M-130)", " NOTIFY=never", ALL, 0, NOTIFY_NEVER, NULL },
	{ "a list", " NOTIFY=SUCCESS,failure,DELAY", ALL, 0,
	    NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY, NULL },
	{ "NEVER mixed", " NOTIFY=NEVER,DELAY", ALL, 501, 0, NULL },
	{ "NEVER last", " NOTIFY=DELAY,NEVER", ALL, 501, 0, NULL },
	{ "empty", " NOTIFY=", ALL, 501, 0, NULL },
	{ "bare", " NOTIFY", ALL, 501, 0, NULL },
	{ "empty element", " NOTIFY=DELAY,,SUCCESS", ALL, 501, 0, NULL },
	{ "too long", " NOTIFY=DELAY,DELAY,DELAY,DELAY,DELAY", ALL, 501, 0, NULL },
	{ "twice", " NOTIFY=DELAY NOTIFY=DELAY", ALL, 501, 0, NULL },
	{ "ORCPT (M-131)", " ORCPT=rfc822;a+2Bb@example.org", ALL, 0, 0, "rfc822;a+2Bb@example.org" },
	{ "ORCPT without a type", " ORCPT=a@example.org", ALL, 501, 0, NULL },
	{ "ORCPT with an empty type", " ORCPT=;a", ALL, 501, 0, NULL },
	{ "ORCPT with an empty address", " ORCPT=rfc822;", ALL, 501, 0, NULL },
	{ "ORCPT with bad xtext", " ORCPT=rfc822;a+zz", ALL, 501, 0, NULL },
	{ "ORCPT injects (X-31)", " ORCPT=rfc822;a+0D+0A", ALL, 501, 0, NULL },
	{ "ORCPT in UTF-8 (M-148)", " ORCPT=utf-8;\xC3\xBC@example.org", ALL, 0, 0,
	    "utf-8;\xC3\xBC@example.org" },
	{ "UTF-8 without SMTPUTF8", " ORCPT=utf-8;\xC3\xBC@example.org", SMTP_EXT_DSN, 501, 0, NULL },
	{ "UTF-8 of another type", " ORCPT=rfc822;\xC3\xBC@example.org", ALL, 501, 0, NULL },
	{ "broken UTF-8", " ORCPT=utf-8;\xC3@example.org", ALL, 501, 0, NULL },
	{ "line separator in UTF-8 (X-30)", " ORCPT=utf-8;a\xE2\x80\xA8@example.org", ALL, 501, 0, NULL },
	{ "escaped line end (X-31)", " ORCPT=utf-8;a\\x{0D}\\x{0A}@example.org", SMTP_EXT_DSN, 501, 0, NULL },
	{ "escaped NUL", " ORCPT=utf-8;a\\x{00}@example.org", ALL, 501, 0, NULL },
	{ "escaped surrogate", " ORCPT=utf-8;a\\x{D800}@example.org", ALL, 501, 0, NULL },
	{ "escape without end", " ORCPT=utf-8;a\\x{41@example.org", ALL, 501, 0, NULL },
	{ "escaped backslash", " ORCPT=utf-8;a\\x{5C}@example.org", ALL, 0, 0, "utf-8;a\\x{5C}@example.org" },
	{ "backslash in rfc822", " ORCPT=rfc822;a\\x{0A}@example.org", ALL, 0, 0, "rfc822;a\\x{0A}@example.org" },
	{ "C1 in UTF-8", " ORCPT=utf-8;\xC2\x85@example.org", ALL, 501, 0, NULL },
	{ "escaped UTF-8", " ORCPT=utf-8;\\x{FC}@example.org", SMTP_EXT_DSN, 0, 0,
	    "utf-8;\\x{FC}@example.org" },
	{ "ORCPT twice", " ORCPT=rfc822;a ORCPT=rfc822;a", ALL, 501, 0, NULL },
	{ "both", " ORCPT=rfc822;a NOTIFY=DELAY", ALL, 0, NOTIFY_DELAY, "rfc822;a" },
	{ "no DSN", " NOTIFY=NEVER", ALL & ~SMTP_EXT_DSN, 555, 0, NULL },
	{ "REQUIRETLS is MAIL's (X-17)", " REQUIRETLS", ALL, 555, 0, NULL },
	{ "unknown", " ORCPT=rfc822;a FOO=1", ALL, 555, 0, NULL },
};

START_TEST(rcpt)
{
	const struct rcpt_case *c = &rcpts[_i];
	struct smtp_rcpt_params p;
	struct smtp_reply r = { 0 };
	bool ok = smtp_rcpt_params_parse(&p, slice_of(c->in), c->offered, &r);

	ck_assert_msg(ok == (c->code == 0), "%s: %d %s", c->name, r.code, r.text);
	if (!ok) {
		ck_assert_msg(r.code == c->code && strcmp(r.status, "5.5.4") == 0, "%s: %d", c->name, r.code);
		ck_assert_ptr_null(p.orcpt);
		return;
	}
	ck_assert_msg(p.notify == c->notify && same(p.orcpt, c->orcpt), "%s", c->name);
	smtp_rcpt_params_fini(&p);
}
END_TEST

START_TEST(orcpt_of_500)
{
	struct smtp_rcpt_params p;
	struct smtp_reply r;
	char text[600] = " ORCPT=rfc822;";
	size_t n = strlen(text);

	memset(text + n, 'a', 493);	/* the value: "rfc822;" and these (M-13) */
	text[n + 493] = '\0';
	ck_assert(smtp_rcpt_params_parse(&p, slice_of(text), ALL, &r));
	smtp_rcpt_params_fini(&p);
	text[n + 493] = 'a';
	text[n + 494] = '\0';
	ck_assert(!smtp_rcpt_params_parse(&p, slice_of(text), ALL, &r));
}
END_TEST

UNIT_MAIN("smtp_params",
	tcase_add_loop_test(tc, mail, 0, NELEMS(mails));
	tcase_add_loop_test(tc, rcpt, 0, NELEMS(rcpts));
	tcase_add_test(tc, orcpt_of_500);
)
