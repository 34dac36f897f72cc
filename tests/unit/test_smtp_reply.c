/* Replies: ours as octets, theirs from octets cut anywhere. */
#include "unit.h"

#include <string.h>

#include "smtp/smtp.h"

/* ---- Ours ---- */

static const struct set_case {
	const char *name;
	int code;
	const char *status, *text;
	const char *wire;
} sets[] = {
	{ "plain", 250, "2.0.0", "Ok", "250 2.0.0 Ok\r\n" },
	{ "no status", 220, "", "mx.example.org ESMTP", "220 mx.example.org ESMTP\r\n" },
	{ "NULL status", 221, NULL, "Bye", "221 Bye\r\n" },
	{ "class corrected (M-118)", 450, "5.7.1", "Later", "450 4.0.0 Later\r\n" },
	{ "nonsense status", 550, "hello", "No", "550 5.0.0 No\r\n" },
	{ "status with too much", 550, "5.1.1234", "No", "550 5.0.0 No\r\n" },
	{ "none on 3yz (M-117)", 354, "3.0.0", "Go on", "354 Go on\r\n" },
	{ "lines, status on each", 250, "2.0.0", "a\nb\nc", "250-2.0.0 a\r\n250-2.0.0 b\r\n250 2.0.0 c\r\n" },
	{ "CR LF from a policy (X-62)", 250, "2.0.0", "ok\r\nX: y", "250-2.0.0 ok\r\n250 2.0.0 X: y\r\n" },
	{ "bare CR is shown", 250, "2.0.0", "a\rb", "250 2.0.0 a\\x0Db\r\n" },
	{ "8-bit is shown", 550, "5.1.1", "\xC3\xA4\x1B", "550 5.1.1 \\xC3\\xA4\\x1B\r\n" },
	{ "no text", 250, "2.0.0", "", "250 2.0.0\r\n" },
	{ "no text, no status", 250, "", "", "250 \r\n" },
	{ "line feeds at the end", 250, "2.0.0", "a\n\n", "250 2.0.0 a\r\n" },
	{ "not a code (I5)", 999, "2.0.0", "a", "451 4.3.0 a\r\n" },
	{ "zero (I5)", 0, "", "a", "451 4.3.0 a\r\n" },
};

START_TEST(set_and_format)
{
	const struct set_case *t = &sets[_i];
	struct smtp_reply r;
	struct buf out;
	char *got;

	buf_init(&out, 4096);
	smtp_reply_set(&r, t->code, t->status, "%s", t->text);
	ck_assert(smtp_reply_format(&out, &r));
	got = buf_take(&out);
	ck_assert_msg(strcmp(got, t->wire) == 0, "%s: %s", t->name, got);
	free(got);
}
END_TEST

START_TEST(long_text_is_wrapped)
{
	struct smtp_reply r;
	char text[3000];
	struct slice rest, line;
	struct buf out;
	size_t lines = 0, octets = 0;

	/* M-06: no line above 512 octets, and with or without spaces nothing within the text is lost. */
	for (int words = 0; words < 2; words++) {
		for (size_t i = 0; i < sizeof text; i++)
			text[i] = words == 1 && i % 7 == 6 ? ' ' : 'x';
		text[sizeof text - 1] = 0;
		smtp_reply_set(&r, 550, "5.7.1", "%s", text);
		ck_assert_uint_lt(strlen(r.text), SMTP_TEXT_MAX);
		buf_init(&out, 8192);
		ck_assert(smtp_reply_format(&out, &r));
		rest = buf_slice(&out);
		while (slice_cut(&rest, '\n', &line) && line.n > 0) {
			ck_assert_uint_le(line.n + 1, 512);
			ck_assert_int_eq(line.p[line.n - 1], '\r');
			ck_assert(slice_starts_nocase(line, rest.n > 0 ? "550-5.7.1 x" : "550 5.7.1 x"));
			lines++;
			octets += line.n;
		}
		buf_fini(&out);
	}
	ck_assert_uint_ge(lines, 6);
	ck_assert_uint_ge(octets, 2 * 1000);
}
END_TEST

START_TEST(format_respects_the_cap)
{
	struct smtp_reply r;
	struct buf out;

	buf_init(&out, 8);
	smtp_reply_set(&r, 250, "2.0.0", "Ok");
	ck_assert(!smtp_reply_format(&out, &r));
	buf_fini(&out);
}
END_TEST

/* ---- Theirs ---- */

#define IN(lit) lit, sizeof(lit) - 1
static const struct parse_case {
	const char *name, *in;
	size_t n;
	const char *want;	/* code:text items, "|" between them; "!" an error, "?" more to come */
} parses[] = {
	{ "one line", IN("250 Ok\r\n"), "250:Ok|?" },
	{ "two replies", IN("250 a\r\n550 5.1.1 b\r\n"), "250:a|550:5.1.1 b|?" },
	{ "many lines", IN("250-a\r\n250-b\r\n250 c\r\n"), "250:a/b/c|?" },
	{ "no text (M-64)", IN("250\r\n"), "250:|?" },
	{ "no text, a space", IN("250 \r\n"), "250:|?" },
	{ "empty lines in between (M-64)", IN("250-\r\n250-\r\n250 x\r\n"), "250://x|?" },
	{ "unknown code (M-64)", IN("299 x\r\n"), "299:x|?" },
	{ "only a beginning (X-46)", IN("250-a\r\n"), "?" },
	{ "half a line (X-46)", IN("250 Ok\r"), "?" },
	{ "different codes (X-46)", IN("250-a\r\n550 b\r\n"), "!" },
	{ "999 (X-46)", IN("999 a\r\n"), "!" },
	{ "199", IN("199 a\r\n"), "!" },
	{ "two digits", IN("25 a\r\n"), "!" },
	{ "four digits", IN("2500 a\r\n"), "!" },
	{ "words", IN("hello\r\n"), "!" },
	{ "empty line", IN("\r\n"), "!" },
	{ "bare LF (M-30)", IN("250 a\n"), "!" },
	{ "bare LF inside", IN("250 a\n250 b\r\n"), "!" },
	{ "NUL and escapes are kept for the log", IN("250 a\0b\x1B\r\n"), "250:a.b.|?" },
	{ "error after an item", IN("250 a\r\nxyz\r\n"), "250:a|!" },
	{ "HTTP", IN("HTTP/1.1 400 Bad Request\r\n"), "!" },
};

static char *
parse_all(const char *in, size_t n, size_t step)
{
	struct smtp_reply_parser p;
	struct err err = { "" };
	struct buf out;
	size_t at = 0, end = 0;

	buf_init(&out, 1 << 20);
	smtp_reply_parser_init(&p);
	for (;;) {
		struct slice part = { in + at, end - at };
		size_t used;
		enum parse_status st = smtp_reply_parse(&p, part, &used, &err);

		at += used;
		if (st == PARSE_ITEM) {
			buf_printf(&out, "%d:", p.code);
			for (size_t i = 0; i < p.lines.len; i++) {
				char c = buf_peek(&p.lines)[i];

				buf_addc(&out, c == '\n' ? '/' : c < 0x20 ? '.' : c);
			}
			buf_addc(&out, '|');
		} else if (st == PARSE_ERROR) {
			buf_addc(&out, '!');
			break;
		} else if (end == n) {
			buf_addc(&out, '?');
			break;
		} else {
			end = n - end < step ? n : end + step;
		}
	}
	smtp_reply_parser_fini(&p);
	return buf_take(&out);
}

START_TEST(parse)
{
	const struct parse_case *t = &parses[_i];

	for (size_t step = 1; step <= t->n; step++) {
		char *got = parse_all(t->in, t->n, step);

		ck_assert_msg(strcmp(got, t->want) == 0, "%s, by %zu: %s", t->name, step, got);
		free(got);
	}
}
END_TEST

/* one octet, line or reply below the limit is fine, one above is not. */
START_TEST(parse_limits)
{
	static char in[200000];
	struct smtp_reply_parser p;
	struct err err = { "" };
	enum parse_status st;
	size_t used, n;

	for (int over = 0; over < 2; over++) {
		memset(in, 'x', sizeof in);
		memcpy(in, "250 ", 4);
		n = 2048 + (size_t)over;
		memcpy(in + n - 2, "\r\n", 2);
		smtp_reply_parser_init(&p);
		st = smtp_reply_parse(&p, (struct slice){ in, n }, &used, &err);
		ck_assert_int_eq(st, over == 1 ? PARSE_ERROR : PARSE_ITEM);
		ck_assert(p.too_long == (over == 1));
		smtp_reply_parser_fini(&p);

		n = 0;
		for (int i = 0; i < 127 + over; i++, n += 7)
			memcpy(in + n, "250-x\r\n", 7);
		memcpy(in + n, "250 x\r\n", 7);
		smtp_reply_parser_init(&p);
		st = smtp_reply_parse(&p, (struct slice){ in, n + 7 }, &used, &err);
		ck_assert_int_eq(st, over == 1 ? PARSE_ERROR : PARSE_ITEM);
		smtp_reply_parser_fini(&p);

		n = 0;
		for (int i = 0; i < (over == 1 ? 34 : 32); i++) {
			memset(in + n, 'y', 2000);
			memcpy(in + n, "250-", 4);
			memcpy(in + n + 1998, "\r\n", 2);
			n += 2000;
		}
		memcpy(in + n, "250 x\r\n", 7);
		smtp_reply_parser_init(&p);
		st = smtp_reply_parse(&p, (struct slice){ in, n + 7 }, &used, &err);
		ck_assert_int_eq(st, over == 1 ? PARSE_ERROR : PARSE_ITEM);
		ck_assert_uint_le(p.lines.len, 64 * 1024);
		smtp_reply_parser_fini(&p);
	}
	/* A line that never ends is an error as soon as it is too long. */
	memset(in, '2', sizeof in);
	smtp_reply_parser_init(&p);
	ck_assert_int_eq(smtp_reply_parse(&p, (struct slice){ in, 2047 }, &used, &err), PARSE_MORE);
	ck_assert_int_eq(smtp_reply_parse(&p, (struct slice){ in, 2048 }, &used, &err), PARSE_ERROR);
	smtp_reply_parser_fini(&p);
}
END_TEST

static const struct status_case {
	int code;
	const char *text, *want;
} statuses[] = {
	{ 250, "2.0.0 Ok", "2.0.0" }, { 250, "2.0.0", "2.0.0" }, { 550, "5.7.30 x", "5.7.30" },
	{ 550, "5.123.123 x", "5.123.123" }, { 550, "5.1234.1 x", "" }, { 550, "4.7.1 x", "" },
	{ 250, "2.0 Ok", "" }, { 250, "2.0.0Ok", "" }, { 250, "Ok 2.0.0", "" }, { 250, "", "" },
	{ 250, "2.1.5 a\n2.1.5 b", "2.1.5" }, { 250, "2.1.5\nb", "2.1.5" }, { 250, "2..0 x", "" },
	{ 354, "3.0.0 x", "" },
};

START_TEST(status)
{
	char out[10];

	smtp_reply_status(out, statuses[_i].code, slice_of(statuses[_i].text));
	ck_assert_msg(strcmp(out, statuses[_i].want) == 0, "%s: %s", statuses[_i].text, out);
}
END_TEST

UNIT_MAIN("smtp_reply",
    tcase_add_loop_test(tc, set_and_format, 0, NELEMS(sets));
    tcase_add_test(tc, long_text_is_wrapped);
    tcase_add_test(tc, format_respects_the_cap);
    tcase_add_loop_test(tc, parse, 0, NELEMS(parses));
    tcase_add_test(tc, parse_limits);
    tcase_add_loop_test(tc, status, 0, NELEMS(statuses));
)
