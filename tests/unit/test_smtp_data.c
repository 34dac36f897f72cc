#include "unit.h"

#include <string.h>

#include "smtp/smtp_int.h"

/* The whole of the rule, without any cleverness: the end is CRLF.CRLF (or .CRLF at the very
 * beginning), and a dot behind CRLF goes. Returns the octets used, 0 when there is no end. */
static size_t
reference(struct slice in, struct buf *out)
{
	size_t i = 0;
	bool line_start = true;

	while (i < in.n) {
		if (line_start && in.p[i] == '.') {
			if (in.n - i >= 3 && in.p[i + 1] == '\r' && in.p[i + 2] == '\n')
				return i + 3;
			line_start = false;
			i++;
			continue;
		}
		line_start = in.p[i] == '\n' && i > 0 && in.p[i - 1] == '\r';
		buf_addc(out, in.p[i++]);
	}
	return 0;
}

static void
collect(void *arg, const char *p, size_t n)
{
	ck_assert_uint_gt(n, 0);
	ck_assert(buf_add(arg, p, n));
}

/* Feeds `in` in pieces of the given sizes (the last one for the rest). */
static size_t
feed(struct slice in, const size_t *sizes, size_t nsizes, struct buf *out)
{
	struct smtp_data d;
	size_t at = 0, k = 0;
	bool done = false;

	smtp_data_init(&d);
	while (at < in.n && !done) {
		size_t n = k < nsizes ? sizes[k++] : in.n - at, used;
		char *piece;

		if (n > in.n - at)
			n = in.n - at;
		piece = xmalloc(n == 0 ? 1 : n);
		memcpy(piece, in.p + at, n);
		used = smtp_data_feed(&d, (struct slice){ piece, n }, collect, out, &done);
		free(piece);
		ck_assert(used == n || done);
		at += used;
	}
	return done ? at : 0;
}

/* Cut once, cut twice, and octet by octet: always what the reference says. */
static void
check_all_cuts(struct slice in, const char *name)
{
	struct buf want, got;
	size_t ones[512], want_used;

	ck_assert_uint_le(in.n, NELEMS(ones));
	buf_init(&want, 4096);
	buf_init(&got, 4096);
	want_used = reference(in, &want);
	for (size_t a = 0; a <= in.n; a++)
		for (size_t b = 0; a + b <= in.n; b++) {
			const size_t cut[2] = { a, b };

			buf_clear(&got);
			ck_assert_msg(feed(in, cut, 2, &got) == want_used, "%s cut at %zu, %zu", name, a, a + b);
			if (want_used > 0)
				ck_assert_msg(slice_eq(buf_slice(&got), buf_slice(&want)), "%s cut at %zu, %zu",
				    name, a, a + b);
		}
	for (size_t i = 0; i < in.n; i++)
		ones[i] = 1;
	buf_clear(&got);
	ck_assert_msg(feed(in, ones, in.n, &got) == want_used, "%s by octets", name);
	if (want_used > 0)
		ck_assert_msg(slice_eq(buf_slice(&got), buf_slice(&want)), "%s by octets", name);
	buf_fini(&want);
	buf_fini(&got);
}

static const struct data_case {
	const char *name;
	struct slice in;
	const char *out;	/* content; NULL: there is no end in it */
	size_t left;		/* octets behind the end */
} cases[] = {
	{ "plain", SLICE("a\r\nb\r\n.\r\n"), "a\r\nb\r\n", 0 },
	{ "empty", SLICE(".\r\n"), "", 0 },
	{ "empty line", SLICE("\r\n.\r\n"), "\r\n", 0 },
	{ "stuffed (M-38)", SLICE("..\r\n...x\r\n.y\r\n.\r\n"), ".\r\n..x\r\ny\r\n", 0 },
	{ "command behind it", SLICE("a\r\n.\r\nQUIT\r\n"), "a\r\n", 6 },
	{ "no end", SLICE("a\r\n.\r"), NULL, 0 },
	{ "dot within a line", SLICE("a.\r\n.\r\n"), "a.\r\n", 0 },
	/* What must not end it: spec smtp.md section 3 (X-1, M-30, M-31). */
	{ "LF.LF", SLICE("a\n.\nb\r\n.\r\n"), "a\n.\nb\r\n", 0 },
	{ "LF.CRLF", SLICE("a\n.\r\nb\r\n.\r\n"), "a\n.\r\nb\r\n", 0 },
	{ "CRLF.LF", SLICE("a\r\n.\nb\r\n.\r\n"), "a\r\n\nb\r\n", 0 },
	{ "CR.CR", SLICE("a\r.\rb\r\n.\r\n"), "a\r.\rb\r\n", 0 },
	{ "CRLF.CR", SLICE("a\r\n.\rb\r\n.\r\n"), "a\r\n\rb\r\n", 0 },
	{ "LF.CRCRLF", SLICE("a\n.\r\r\nb\r\n.\r\n"), "a\n.\r\r\nb\r\n", 0 },
	{ "CRLF.CRCRLF", SLICE("a\r\n.\r\r\nb\r\n.\r\n"), "a\r\n\r\r\nb\r\n", 0 },
	{ "CRCRLF.CRCRLF", SLICE("a\r\r\n.\r\r\nb\r\n.\r\n"), "a\r\r\n\r\r\nb\r\n", 0 },
	{ "CRCRLF.CRLF is one", SLICE("a\r\r\n.\r\nb\r\n.\r\n"), "a\r\r\n", 6 },
	{ "dot CR dot CRLF", SLICE("a\r\n.\r.\r\nb\r\n.\r\n"), "a\r\n\r.\r\nb\r\n", 0 },
	{ "LFCR.CRLF", SLICE("a\n\r.\r\nb\r\n.\r\n"), "a\n\r.\r\nb\r\n", 0 },
};

START_TEST(named)
{
	const struct data_case *c = &cases[_i];
	struct buf out;
	size_t used;

	buf_init(&out, 4096);
	used = feed(c->in, NULL, 0, &out);
	if (c->out == NULL) {
		ck_assert_uint_eq(used, 0);
	} else {
		ck_assert_msg(used == c->in.n - c->left, "%s: %zu", c->name, used);
		ck_assert_msg(slice_is(buf_slice(&out), c->out), "%s", c->name);
	}
	buf_fini(&out);
	check_all_cuts(c->in, c->name);
}
END_TEST

START_TEST(nul_octets)
{
	static const struct slice in[] = {
		SLICE("a\r\n\0.\r\nb\r\n.\r\n"), SLICE("a\r\n.\0\r\nb\r\n.\r\n"),
	};

	for (size_t i = 0; i < NELEMS(in); i++) {
		struct buf out;

		buf_init(&out, 100);
		ck_assert_uint_eq(feed(in[i], NULL, 0, &out), in[i].n);
		ck_assert_ptr_nonnull(memchr(buf_peek(&out), 0, out.len));
		buf_fini(&out);
		check_all_cuts(in[i], "NUL");
	}
}
END_TEST

/* Every text of up to 7 octets over the four that matter. */
START_TEST(exhaustive)
{
	static const char letters[] = { 'a', '.', '\r', '\n' };
	char text[8];

	for (size_t n = 0; n <= 7; n++)
		for (size_t code = 0; code < (size_t)1 << (2 * n); code++) {
			struct buf want, got;
			size_t cut = code % (n + 1);

			for (size_t i = 0; i < n; i++)
				text[i] = letters[code >> (2 * i) & 3];
			buf_init(&want, 64);
			buf_init(&got, 64);
			if (n < 6) {
				check_all_cuts((struct slice){ text, n }, "exhaustive");
			} else {
				size_t used = reference((struct slice){ text, n }, &want);

				ck_assert_uint_eq(feed((struct slice){ text, n }, &cut, 1, &got), used);
				ck_assert(used == 0 || slice_eq(buf_slice(&got), buf_slice(&want)));
			}
			buf_fini(&want);
			buf_fini(&got);
		}
}
END_TEST

UNIT_MAIN("smtp_data",
	tcase_add_loop_test(tc, named, 0, NELEMS(cases));
	tcase_add_test(tc, nul_octets);
	tcase_add_test(tc, exhaustive);
)
