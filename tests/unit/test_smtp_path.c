#include "unit.h"

#include <string.h>

#include "smtp/smtp.h"

#define L63 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg"
#define L64 L63 "h"
#define D189 L63 "." L63 "." L61
#define L61 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffg"

static const struct path_case {
	const char *name;
	struct slice in;
	bool utf8;
	const char *out;	/* smtp_path_text; NULL: refused */
	size_t used;		/* 0: all of it */
	bool is_literal, needs_utf8;
} paths[] = {
	{ "plain", SLICE("<a@example.org>"), false, "a@example.org", 0, false, false },
	{ "null path", SLICE("<>"), false, "", 0, false, false },
	{ "parameters follow", SLICE("<a@b.example> SIZE=1"), false, "a@b.example", 13, false, false },
	{ "case: local-part kept, domain lowered (M-58)", SLICE("<MiX@EXAMPLE.Org>"), false,
	    "MiX@example.org", 0, false, false },
	{ "postmaster alone (M-59)", SLICE("<PostMaster>"), false, "PostMaster", 0, false, false },
	{ "nobody else alone", SLICE("<root>"), false, NULL, 0, false, false },
	{ "source route (M-60)", SLICE("<@a.example,@b.example:u@d.example>"), false, "u@d.example", 0,
	    false, false },
	{ "route with a literal", SLICE("<@[IPv6:::1],@b.example:u@d.example>"), false, "u@d.example",
	    0, false, false },
	{ "route without colon", SLICE("<@a.example>"), false, NULL, 0, false, false },
	{ "route with a bad hop", SLICE("<@a_,@b:u@d>"), false, NULL, 0, false, false },
	{ "route with an empty hop", SLICE("<@a,,@b:u@d>"), false, NULL, 0, false, false },
	{ "route only", SLICE("<@a.example:>"), false, NULL, 0, false, false },
	{ "percent hack stays opaque (X-16)", SLICE("<u%d@r.example>"), false, "u%d@r.example", 0, false,
	    false },
	{ "bang path stays opaque", SLICE("<h!u@r.example>"), false, "h!u@r.example", 0, false, false },
	{ "two at signs", SLICE("<a@b@c.example>"), false, NULL, 0, false, false },
	{ "IPv4 literal (M-61)", SLICE("<a@[192.0.2.1]>"), false, "a@[192.0.2.1]", 0, true, false },
	{ "IPv6 literal", SLICE("<a@[ipv6:2001:DB8::1]>"), false, "a@[IPv6:2001:db8::1]", 0, true, false },
	{ "IPv6 without its tag", SLICE("<a@[2001:db8::1]>"), false, NULL, 0, false, false },
	{ "IPv4 out of range", SLICE("<a@[192.0.2.256]>"), false, NULL, 0, false, false },
	{ "literal with NUL", SLICE("<a@[192.0.2.1\0]>"), false, NULL, 0, false, false },
	{ "empty literal", SLICE("<a@[]>"), false, NULL, 0, false, false },
	{ "unknown literal tag", SLICE("<a@[X:1]>"), false, NULL, 0, false, false },
	{ "quoted string", SLICE("<\"a b\"@example.org>"), false, "\"a b\"@example.org", 0, false, false },
	{ "quoted >", SLICE("<\"a>b\"@example.org> X"), false, "\"a>b\"@example.org", 19, false, false },
	{ "quoted pair", SLICE("<\"a\\\"b\"@example.org>"), false, "\"a\\\"b\"@example.org", 0, false, false },
	{ "empty quoted string", SLICE("<\"\"@example.org>"), false, "\"\"@example.org", 0, false, false },
	{ "needless quotes (X-15)", SLICE("<\"a.b\"@example.org>"), false, "a.b@example.org", 0, false, false },
	{ "needless quoted pair", SLICE("<\"\\a\\b\"@example.org>"), false, "ab@example.org", 0, false, false },
	{ "quoted pair in a needed quotation", SLICE("<\"\\a\\ \\\\\\\"\"@example.org>"), false,
	    "\"a \\\\\\\"\"@example.org", 0, false, false },
	{ "quoted dots", SLICE("<\"a..b\"@example.org>"), false, "\"a..b\"@example.org", 0, false, false },
	{ "quoted UTF-8", SLICE("<\"j\xC3\xBC\"@example.org>"), true, "j\xC3\xBC@example.org", 0, false, true },
	{ "quoted postmaster is not alone", SLICE("<\"postmaster\">"), false, NULL, 0, false, false },
	{ "Arabic letter mark (X-30)", SLICE("<a\xD8\x9C@example.org>"), true, NULL, 0, false, true },
	{ "open quoted string", SLICE("<\"a@example.org>"), false, NULL, 0, false, false },
	{ "text behind a quoted string", SLICE("<\"a\"b@example.org>"), false, NULL, 0, false, false },
	{ "shell in the local-part (X-15)", SLICE("<;for i in 0 1@example.org>"), false, NULL, 0, false,
	    false },
	{ "no angle brackets", SLICE("a@example.org"), false, NULL, 0, false, false },
	{ "no closing bracket", SLICE("<a@example.org"), false, NULL, 0, false, false },
	{ "nothing", SLICE(""), false, NULL, 0, false, false },
	{ "no local-part", SLICE("<@example.org>"), false, NULL, 0, false, false },
	{ "no domain", SLICE("<a@>"), false, NULL, 0, false, false },
	{ "leading dot", SLICE("<.a@example.org>"), false, NULL, 0, false, false },
	{ "trailing dot", SLICE("<a.@example.org>"), false, NULL, 0, false, false },
	{ "two dots", SLICE("<a..b@example.org>"), false, NULL, 0, false, false },
	{ "dots between", SLICE("<a.b.c@example.org>"), false, "a.b.c@example.org", 0, false, false },
	{ "all of atext", SLICE("<!#$%&'*+-/=?^_`{|}~@example.org>"), false,
	    "!#$%&'*+-/=?^_`{|}~@example.org", 0, false, false },
	{ "space", SLICE("<a b@example.org>"), false, NULL, 0, false, false },
	{ "NUL in the local-part", SLICE("<a\0b@example.org>"), false, NULL, 0, false, false },
	{ "NUL in the domain", SLICE("<a@exa\0mple.org>"), false, NULL, 0, false, false },
	{ "final dot in the domain (X-16)", SLICE("<a@example.org.>"), false, NULL, 0, false, false },
	{ "empty label", SLICE("<a@example..org>"), false, NULL, 0, false, false },
	{ "hyphen first", SLICE("<a@-example.org>"), false, NULL, 0, false, false },
	{ "hyphen last", SLICE("<a@example-.org>"), false, NULL, 0, false, false },
	{ "underscore", SLICE("<a@ex_ample.org>"), false, NULL, 0, false, false },
	{ "label of 63", SLICE("<a@" L63 ".org>"), false, "a@" L63 ".org", 0, false, false },
	{ "label of 64", SLICE("<a@" L64 ".org>"), false, NULL, 0, false, false },
	{ "local-part of 64 (M-01)", SLICE("<" L64 "@example.org>"), false, L64 "@example.org", 0, false,
	    false },
	{ "path of 256 (M-03)", SLICE("<" L64 "@" D189 ">"), false, L64 "@" D189, 0, false, false },
	{ "path of 257", SLICE("<x" L64 "@" D189 ">"), false, NULL, 0, false, false },
	{ "UTF-8 refused (M-71)", SLICE("<j\xC3\xBCrgen@example.org>"), false, NULL, 0, false, true },
	{ "UTF-8 taken", SLICE("<j\xC3\xBCrgen@example.org>"), true, "j\xC3\xBCrgen@example.org", 0, false,
	    true },
	{ "U-label refused", SLICE("<a@b\xC3\xBC" "cher.example>"), false, NULL, 0, false, true },
	{ "U-label to A-label", SLICE("<a@B\xC3\xBC" "cher.example>"), true, "a@xn--bcher-kva.example", 0,
	    false, true },
	{ "overlong UTF-8 (X-30)", SLICE("<a\xC0\xAF@example.org>"), true, NULL, 0, false, true },
	{ "surrogate", SLICE("<a\xED\xA0\x80@example.org>"), true, NULL, 0, false, true },
	{ "C1 control", SLICE("<a\xC2\x85@example.org>"), true, NULL, 0, false, true },
	{ "line separator", SLICE("<a\xE2\x80\xA8@example.org>"), true, NULL, 0, false, true },
	{ "bidi override", SLICE("<a\xE2\x80\xAE@example.org>"), true, NULL, 0, false, true },
	{ "half a sequence", SLICE("<a\xE2\x80@example.org>"), true, NULL, 0, false, true },
	{ "fullwidth dot in the domain", SLICE("<a@b\xEF\xBC\x8E" "c\xC3\xBC.example>"), true,
	    "a@b.xn--c-eha.example", 0, false, true },
};

START_TEST(path)
{
	const struct path_case *c = &paths[_i];
	/* Exactly as long as the text, so that a read past its end is seen by the sanitizer. */
	char *copy = xmalloc(c->in.n + 1);
	struct smtp_path p;
	struct err err = { "" };
	size_t used;
	bool ok;

	memcpy(copy, c->in.p, c->in.n);
	copy = xrealloc(copy, c->in.n == 0 ? 1 : c->in.n);
	ok = smtp_path_parse(&p, (struct slice){ copy, c->in.n }, &used, c->utf8, &err);
	free(copy);
	ck_assert_msg(ok == (c->out != NULL), "%s: %s", c->name, ok ? "taken" : err.text);
	ck_assert_msg(ok || err.text[0] != '\0', "%s: no reason", c->name);
	if (ok) {
		char *text = smtp_path_text(&p);

		ck_assert_msg(strcmp(text, c->out) == 0, "%s: %s", c->name, text);
		ck_assert_msg(used == (c->used == 0 ? c->in.n : c->used), "%s: %zu", c->name, used);
		ck_assert_msg(p.is_literal == c->is_literal && p.needs_utf8 == c->needs_utf8, "%s", c->name);
		free(text);
	} else if (c->needs_utf8) {
		ck_assert_msg(p.needs_utf8, "%s", c->name);
	}
}
END_TEST

START_TEST(address)
{
	struct smtp_path p;
	struct err err;

	ck_assert(smtp_address_parse(&p, SLICE("a@EXAMPLE.org"), false, &err));
	ck_assert_str_eq(p.local, "a");
	ck_assert_str_eq(p.domain, "example.org");
	ck_assert(!smtp_address_parse(&p, SLICE("<a@example.org>"), false, &err));
	ck_assert(!smtp_address_parse(&p, SLICE("a@example.org "), false, &err));
	ck_assert(!smtp_address_parse(&p, SLICE("postmaster"), false, &err));
	ck_assert(!smtp_address_parse(&p, SLICE(""), false, &err));
	ck_assert(!smtp_address_parse(&p, SLICE("@b.example:a@example.org"), false, &err));
	ck_assert(!smtp_address_parse(&p, SLICE("x" L64 "@" D189), false, &err));
}
END_TEST

static const struct xtext_case {
	const char *name;
	struct slice in;
	const char *out;	/* NULL: refused */
	bool same;		/* encoding gives `in` again */
} xtexts[] = {
	{ "plain", SLICE("user@example.org"), "user@example.org", true },
	{ "encoded plus", SLICE("a+2Bb"), "a+b", true },
	{ "encoded equals", SLICE("a+3Db"), "a=b", true },
	{ "encoded space", SLICE("a+20b"), "a b", true },
	{ "needlessly encoded", SLICE("+41"), "A", false },
	{ "8-bit", SLICE("+C3+BC"), "\xC3\xBC", true },
	{ "lower-case hex (M-131)", SLICE("a+2b"), NULL, false },
	{ "not hex", SLICE("+zz"), NULL, false },
	{ "cut", SLICE("a+2"), NULL, false },
	{ "plus at the end", SLICE("a+"), NULL, false },
	{ "CR LF (X-31)", SLICE("a+0D+0Ab"), NULL, false },
	{ "NUL", SLICE("+00"), NULL, false },
	{ "DEL", SLICE("+7F"), NULL, false },
	{ "equals", SLICE("a=b"), NULL, false },
	{ "space", SLICE("a b"), NULL, false },
	{ "raw 8-bit", SLICE("\xC3\xBC"), NULL, false },
	{ "empty", SLICE(""), "", true },
};

START_TEST(xtext)
{
	const struct xtext_case *c = &xtexts[_i];
	struct buf plain, again;

	buf_init(&plain, 1000);
	buf_init(&again, 1000);
	ck_assert_msg(xtext_decode(c->in, &plain) == (c->out != NULL), "%s", c->name);
	if (c->out != NULL) {
		ck_assert_msg(slice_is(buf_slice(&plain), c->out), "%s", c->name);
		ck_assert(xtext_encode(buf_slice(&plain), &again));
		ck_assert_msg(slice_eq(buf_slice(&again), c->in) == c->same, "%s", c->name);
	}
	buf_fini(&plain);
	buf_fini(&again);
}
END_TEST

START_TEST(xtext_keeps_the_cap)
{
	struct buf b;

	buf_init(&b, 4);
	ck_assert(!xtext_decode(SLICE("abcde"), &b));
	buf_clear(&b);
	ck_assert(!xtext_encode(SLICE("ab\n"), &b));
	buf_fini(&b);
}
END_TEST

UNIT_MAIN("smtp_path",
	tcase_add_loop_test(tc, path, 0, NELEMS(paths));
	tcase_add_test(tc, address);
	tcase_add_loop_test(tc, xtext, 0, NELEMS(xtexts));
	tcase_add_test(tc, xtext_keeps_the_cap);
)
