#include "unit.h"

#include <string.h>

#include "message/message.h"

#define BYTES(lit) { "" lit, sizeof(lit) - 1 }

/* ---- parsing ---- */

static const struct parse_case {
	const char *name;
	struct slice in;
	size_t n, end;
	const char *first_name, *first_value;
} parses[] = {
	{ "one", BYTES("Subject: a\r\n\r\nx"), 1, 14, "Subject", " a" },
	{ "folded", BYTES("Subject: a\r\n b\r\nTo: c\r\n\r\n"), 2, 25, "Subject", " a\r\n b" },
	{ "white space before the colon", BYTES("Subject \t: a\r\n\r\n"), 1, 16, "Subject", " a" },
	{ "empty value", BYTES("Subject:\r\n\r\n"), 1, 12, "Subject", "" },
	{ "no empty line", BYTES("Subject: a\r\n"), 1, 12, "Subject", " a" },
	{ "cut off", BYTES("Subject: a"), 1, 10, "Subject", " a" },
	{ "nothing", BYTES(""), 0, 0, NULL, NULL },
	{ "empty line only", BYTES("\r\nSubject: a\r\n"), 0, 2, NULL, NULL },
	{ "not a field ends it", BYTES("A: b\r\nnot a field\r\nC: d\r\n"), 1, 6, "A", " b" },
	{ "colon without name", BYTES(": b\r\n\r\n"), 0, 0, NULL, NULL },
	{ "mbox line", BYTES("From a@b Mon 10:00\r\nA: b\r\n"), 0, 0, NULL, NULL },
	{ "starts with white space", BYTES(" A: b\r\n\r\n"), 0, 0, NULL, NULL },
	{ "line of white space continues", BYTES("A: b\r\n \r\nC: d\r\n\r\n"), 2, 17, "A", " b\r\n " },
	{ "8-bit name", BYTES("S\xC3\xBC: b\r\n\r\n"), 0, 0, NULL, NULL },
	{ "NUL in value stays", BYTES("A: b\0c\r\n\r\n"), 1, 10, "A", NULL },
	{ "bare LF", BYTES("A: b\nC: d\n\nx"), 2, 11, "A", " b" },
};

START_TEST(parse)
{
	const struct parse_case *c = &parses[_i];
	struct header h;

	ck_assert(header_parse(&h, c->in));
	ck_assert_msg(h.n == c->n && h.end == c->end, "%s: %zu fields, end %zu", c->name, h.n, h.end);
	if (c->first_name != NULL)
		ck_assert_msg(slice_is(h.fields[0].name, c->first_name), "%s", c->name);
	if (c->first_value != NULL)
		ck_assert_msg(slice_is(h.fields[0].value, c->first_value), "%s: '%.*s'", c->name,
		    (int)h.fields[0].value.n, h.fields[0].value.p);
	for (size_t i = 0, at = 0; i < h.n; at += h.fields[i++].n)	/* fields lie side by side */
		ck_assert_uint_eq(h.fields[i].at, at);
	header_fini(&h);
}
END_TEST

START_TEST(find)
{
	struct header h;

	ck_assert(header_parse(&h, SLICE("A: 1\r\nB: 2\r\na: 3\r\n\r\n")));
	ck_assert_uint_eq(header_count(&h, "a"), 2);
	ck_assert(slice_is(header_find(&h, "A", 1)->value, " 1"));
	ck_assert(slice_is(header_find(&h, "A", 2)->value, " 3"));
	ck_assert_ptr_null(header_find(&h, "A", 3));
	ck_assert_ptr_null(header_find(&h, "C", 1));
	ck_assert_ptr_null(header_find(&h, "A", 0));
	header_fini(&h);
}
END_TEST

START_TEST(limits)		/* */
{
	struct header h;
	struct buf b;

	buf_init(&b, 2 * HEADER_MAX_BYTES);
	for (unsigned i = 0; i < HEADER_MAX_FIELDS; i++)
		buf_adds(&b, "A: b\r\n");
	ck_assert(header_parse(&h, buf_slice(&b)));
	ck_assert_uint_eq(h.n, HEADER_MAX_FIELDS);
	header_fini(&h);
	buf_adds(&b, "A: b\r\n");
	ck_assert(!header_parse(&h, buf_slice(&b)));
	buf_clear(&b);
	buf_adds(&b, "A: b\r\n");
	while (b.len <= HEADER_MAX_BYTES)
		buf_adds(&b, " folded, and folded again\r\n");
	ck_assert(!header_parse(&h, buf_slice(&b)));
	buf_fini(&b);
}
END_TEST

/* ---- TLS-Required, R-20 to R-28, D4, D5 ---- */

static const char *const both_names[] = { "TLS-Required", "Require-TLS", NULL };
static const struct no_case {
	const char *name, *in;
	enum msg_tls_no says;
} nos[] = {
	{ "absent", "Subject: a\r\n\r\n", TLS_NO_ABSENT },
	{ "R-24: No", "TLS-Required: No\r\n\r\n", TLS_NO_HONOURED },
	{ "R-24: any case", "tls-required:nO\r\n\r\n", TLS_NO_HONOURED },
	{ "R-24: folded", "TLS-Required:\r\n No\r\n\r\n", TLS_NO_HONOURED },
	{ "R-28: white space behind", "TLS-Required: No \t\r\n\r\n", TLS_NO_HONOURED },
	{ "fold behind", "TLS-Required: No\r\n \r\n\r\n", TLS_NO_HONOURED },
	{ "R-24: comment", "TLS-Required: No (please)\r\n\r\n", TLS_NO_MALFORMED },
	{ "R-24: semicolon", "TLS-Required: No;\r\n\r\n", TLS_NO_MALFORMED },
	{ "R-24: quoted", "TLS-Required: \"No\"\r\n\r\n", TLS_NO_MALFORMED },
	{ "R-24: fold inside", "TLS-Required: N\r\n o\r\n\r\n", TLS_NO_MALFORMED },
	{ "R-25: Yes", "TLS-Required: Yes\r\n\r\n", TLS_NO_MALFORMED },
	{ "R-25: empty", "TLS-Required:\r\n\r\n", TLS_NO_MALFORMED },
	{ "R-25: None", "TLS-Required: None\r\n\r\n", TLS_NO_MALFORMED },
	{ "R-26: twice No", "TLS-Required: No\r\nTLS-Required: no\r\n\r\n", TLS_NO_HONOURED },
	{ "R-26: No and Yes", "TLS-Required: No\r\nTLS-Required: Yes\r\n\r\n", TLS_NO_MALFORMED },
	{ "R-26: Yes and No", "TLS-Required: Yes\r\nTLS-Required: No\r\n\r\n", TLS_NO_MALFORMED },
	{ "R-27: in the body", "Subject: a\r\n\r\nTLS-Required: No\r\n", TLS_NO_ABSENT },
	{ "R-27: behind what is no field", "Subject: a\r\nx\r\nTLS-Required: No\r\n\r\n", TLS_NO_ABSENT },
	{ "R-00b: RequireTLS", "RequireTLS: No\r\n\r\n", TLS_NO_ABSENT },
	{ "D5: the earlier name", "Require-TLS: No\r\n\r\n", TLS_NO_HONOURED },
	{ "D5: they disagree", "Require-TLS: No\r\nTLS-Required: Yes\r\n\r\n", TLS_NO_MALFORMED },
	{ "part of another name", "X-TLS-Required: No\r\n\r\n", TLS_NO_ABSENT },
};

START_TEST(tls_required)
{
	const struct no_case *c = &nos[_i];
	static const char *const registered[] = { "TLS-Required", NULL };
	struct header h;
	enum msg_tls_no says;

	ck_assert(header_parse(&h, slice_of(c->in)));
	says = header_tls_required(&h, both_names);
	ck_assert_msg(says == c->says, "%s: %d", c->name, (int)says);
	if (strstr(c->in, "Require-TLS") != NULL)
		ck_assert_int_ne(header_tls_required(&h, registered), TLS_NO_HONOURED);
	else
		ck_assert_int_eq(header_tls_required(&h, registered), c->says);
	header_fini(&h);
}
END_TEST

START_TEST(tls_required_nul)
{
	struct header h;

	ck_assert(header_parse(&h, SLICE("TLS-Required: No\0\r\n\r\n")));
	ck_assert_int_eq(header_tls_required(&h, both_names), TLS_NO_MALFORMED);
	header_fini(&h);
}
END_TEST

/* ---- RFC 2047 ---- */

static const struct decode_case {
	const char *name;
	struct slice in;
	const char *out;
} decodes[] = {
	{ "plain", BYTES(" hello "), "hello" },
	{ "folded", BYTES(" hello\r\n world"), "hello world" },
	{ "Q", BYTES("=?utf-8?Q?Gr=C3=BC=C3=9Fe_aus?= Ulm"), "Gr\xC3\xBC\xC3\x9F" "e aus Ulm" },
	{ "B", BYTES("=?UTF-8?B?R3LDvMOfZQ==?="), "Gr\xC3\xBC\xC3\x9F" "e" },
	{ "B without padding", BYTES("=?UTF-8?b?R3LDvMOfZQ?="), "Gr\xC3\xBC\xC3\x9F" "e" },
	{ "latin 1", BYTES("=?iso-8859-1?q?Gr=FC=DFe?="), "Gr\xC3\xBC\xC3\x9F" "e" },
	{ "windows-1252", BYTES("=?windows-1252?Q?5_=80?="), "5 \xE2\x82\xAC" },
	{ "koi8-r", BYTES("=?koi8-r?B?8NLJ18XU?="), "\xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82" },
	{ "language tag", BYTES("=?utf-8*en?Q?hi?="), "hi" },
	{ "white space between two goes", BYTES("=?utf-8?Q?a?= \r\n =?utf-8?Q?b?="), "ab" },
	{ "white space beside text stays", BYTES("x =?utf-8?Q?a?= y"), "x a y" },
	{ "two charsets", BYTES("=?utf-8?Q?a?= =?iso-8859-1?Q?=FC?="), "a\xC3\xBC" },
	{ "a character cut in two", BYTES("=?utf-8?Q?=C3?= =?utf-8?Q?=BC?="), "\xC3\xBC" },
	{ "unknown charset stays", BYTES("=?x-martian?Q?abc?= d"), "=?x-martian?Q?abc?= d" },
	{ "charset with a path stays", BYTES("=?../../x?Q?abc?="), "=?../../x?Q?abc?=" },
	{ "bad base64 stays", BYTES("=?utf-8?B?!!!?="), "=?utf-8?B?!!!?=" },
	{ "bad base64 after a good word", BYTES("=?utf-8?Q?a?= =?utf-8?B?!!!?="), "a =?utf-8?B?!!!?=" },
	{ "bad hex stays", BYTES("=?utf-8?Q?=G1?="), "=?utf-8?Q?=G1?=" },
	{ "not finished", BYTES("=?utf-8?Q?abc"), "=?utf-8?Q?abc" },
	{ "only openings", BYTES("=?=?=?=?=?"), "=?=?=?=?=?" },
	{ "line end inside becomes a space", BYTES("=?utf-8?Q?a=0D=0Ab?="), "a  b" },
	{ "NUL inside becomes a space", BYTES("=?utf-8?Q?a=00b?="), "a b" },
	{ "NUL outside becomes a space", BYTES("a\0b"), "a b" },
	{ "broken utf-8 inside", BYTES("=?utf-8?Q?a=FFb?="), "a\xEF\xBF\xBD" "b" },
	{ "raw utf-8 stays", BYTES("\xC3\xBC"), "\xC3\xBC" },
	{ "raw octets that are none", BYTES("\xFC!"), "\xEF\xBF\xBD!" },
	{ "in a phrase", BYTES("=?utf-8?Q?J=C3=B6rg?= <j@example.org>"), "J\xC3\xB6rg <j@example.org>" },
	{ "empty", BYTES(""), "" },
};

START_TEST(decode)
{
	const struct decode_case *c = &decodes[_i];
	char *out = header_decode(c->in);

	ck_assert_msg(strcmp(out, c->out) == 0, "%s: '%s'", c->name, out);
	free(out);
}
END_TEST

START_TEST(decode_is_bounded)
{
	struct buf b;
	char *out;

	buf_init(&b, 1 << 20);
	for (int i = 0; i < 8000; i++)
		buf_adds(&b, "=?koi8-r?Q?a?= =?koi8-u?Q?b?= ");
	out = header_decode(buf_slice(&b));
	ck_assert_int_eq(strncmp(out, "abab", 4), 0);
	ck_assert_ptr_nonnull(strstr(out, "=?koi8-"));		/* the rest was left alone */
	free(out);
	buf_fini(&b);
}
END_TEST

/* ---- addresses ---- */

static const struct address_case {
	const char *name, *in, *out;
} addresses[] = {
	{ "bare", " a@b.example", "a@b.example" },
	{ "angle", "Ann <a@b.example>", "a@b.example" },
	{ "quoted name with an address", "\"x@y, <z>\" <a@b.example>", "a@b.example" },
	{ "comment", "a@b.example (Ann <x@y>)", "a@b.example" },
	{ "nested comment", "(a (b) c) a@b.example", "a@b.example" },
	{ "first of two", "a@b.example, c@d.example", "a@b.example" },
	{ "first is none", "Ann, c@d.example", "c@d.example" },
	{ "group", "friends: a@b.example, c@d.example;", "a@b.example" },
	{ "empty group", "undisclosed-recipients:;", NULL },
	{ "quoted local part", "\"a b\"@c.example", "\"a b\"@c.example" },
	{ "folded", "Ann\r\n <a@b.example>", "a@b.example" },
	{ "source route", "<@x,@y:a@b.example>", "a@b.example" },
	{ "name without brackets", "Ann a@b.example", "a@b.example" },
	{ "white space around the at", "a @ b.example", "a@b.example" },
	{ "literal", "a@[192.0.2.1]", "a@[192.0.2.1]" },
	{ "none", "nobody", NULL },
	{ "null", "<>", NULL },
	{ "not closed", "Ann <a@b.example", NULL },
	{ "empty", "", NULL },
	{ "encoded name", "=?utf-8?Q?a=40b?= <c@d.example>", "c@d.example" },
};

START_TEST(address)
{
	const struct address_case *c = &addresses[_i];
	char *out = header_address(slice_of(c->in));

	if (c->out == NULL)
		ck_assert_msg(out == NULL, "%s: %s", c->name, out);
	else
		ck_assert_msg(out != NULL && strcmp(out, c->out) == 0, "%s: %s", c->name, out);
	free(out);
}
END_TEST

UNIT_MAIN("message_header",
	tcase_add_loop_test(tc, parse, 0, NELEMS(parses));
	tcase_add_test(tc, find);
	tcase_add_test(tc, limits);
	tcase_add_loop_test(tc, tls_required, 0, NELEMS(nos));
	tcase_add_test(tc, tls_required_nul);
	tcase_add_loop_test(tc, decode, 0, NELEMS(decodes));
	tcase_add_test(tc, decode_is_bounded);
	tcase_add_loop_test(tc, address, 0, NELEMS(addresses));
)
