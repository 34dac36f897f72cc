#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "message/message.h"

#define BYTES(lit) lit, sizeof(lit) - 1

static const struct write_case {
	const char *name, *in;
	size_t n;
	enum write_status status;
	size_t header_size;
	unsigned flags;
	const char *added;		/* what finish puts at the end */
} cases[] = {
	{ "plain", BYTES("Subject: a\r\n\r\nbody\r\n"), WRITE_OK, 14, 0, "" },
	{ "M-39: no CRLF at the end", BYTES("Subject: a\r\n\r\nbody"), WRITE_OK, 14, 0, "\r\n" },
	{ "no body", BYTES("Subject: a\r\n"), WRITE_OK, 12, 0, "" },
	{ "no body, no CRLF", BYTES("Subject: a"), WRITE_OK, 12, 0, "\r\n" },
	{ "nothing", BYTES(""), WRITE_OK, 0, 0, "" },
	{ "empty header", BYTES("\r\nbody\r\n"), WRITE_OK, 2, 0, "" },
	{ "no header at all", BYTES("just text\r\nand more\r\n"), WRITE_OK, 0, 0, "" },
	{ "header ends in what is no field", BYTES("A: b\r\nno field\r\n\r\nx\r\n"), WRITE_OK, 6, 0, "" },
	{ "leading white space is no field", BYTES(" A: b\r\n\r\n"), WRITE_OK, 0, 0, "" },
	{ "white space line continues", BYTES("A: b\r\n \t\r\nC: d\r\n\r\nx\r\n"), WRITE_OK, 18, 0, "" },
	{ "M-33: bare LF in body", BYTES("A: b\r\n\r\nx\ny\r\n"), WRITE_BARE_CR_LF, 0, 0, "" },
	{ "M-31: LF . LF", BYTES("A: b\r\n\r\nx\n.\ny\r\n"), WRITE_BARE_CR_LF, 0, 0, "" },
	{ "M-31: LF . CR LF", BYTES("A: b\r\n\r\nx\n.\r\ny\r\n"), WRITE_BARE_CR_LF, 0, 0, "" },
	{ "M-31: CR . CR", BYTES("A: b\r\n\r\nx\r.\ry\r\n"), WRITE_BARE_CR_LF, 0, 0, "" },
	{ "M-31: CR CR LF", BYTES("A: b\r\n\r\nx\r\r\ny\r\n"), WRITE_BARE_CR_LF, 0, 0, "" },
	{ "bare CR at the end", BYTES("A: b\r\n\r\nx\r"), WRITE_BARE_CR_LF, 0, 0, "" },
	{ "bare LF first", BYTES("\nA: b\r\n\r\n"), WRITE_BARE_CR_LF, 0, 0, "" },
	{ "bare LF in the header", BYTES("A: b\nC: d\r\n\r\n"), WRITE_BARE_CR_LF, 0, 0, "" },
	{ "bare CR in the header", BYTES("A: b\rC: d\r\n\r\n"), WRITE_BARE_CR_LF, 0, 0, "" },
	{ "bare CR in the last line of the header", BYTES("A: b\rC: d"), WRITE_BARE_CR_LF, 0, 0, "" },
	{ "M-36: NUL", BYTES("A: b\r\n\r\nx\0y\r\n"), WRITE_NUL, 0, 0, "" },
	{ "NUL in the header", BYTES("A: \0b\r\n\r\nx\r\n"), WRITE_NUL, 0, 0, "" },
	{ "the first problem stays", BYTES("A: b\r\n\r\nx\ny\0\r\n"), WRITE_BARE_CR_LF, 0, 0, "" },
	{ "the first problem stays, NUL", BYTES("A: b\r\n\r\nx\0y\nz\r\n"), WRITE_NUL, 0, 0, "" },
	{ "8-bit body", BYTES("A: b\r\n\r\nx\xE4y\r\n"), WRITE_OK, 8, MSG_HAS_8BIT, "" },
	{ "8-bit header", BYTES("A: \xC3\xA4\r\n\r\nxy\r\n"), WRITE_OK, 9, MSG_HAS_8BIT | MSG_UTF8_HEADER, "" },
	{ "loop (M-186)", BYTES("Received: a\r\nreceived: b\r\nRECEIVED : c\r\nReceived: d\r\n\r\n"), WRITE_LOOP, 0,
	    0, "" },
	{ "no loop yet", BYTES("Received: a\r\nReceived: b\r\nReceived: c\r\n\r\nReceived: d\r\n"), WRITE_OK, 41, 0,
	    "" },
	{ "too big", BYTES("A: b\r\n\r\n0123456789012345678901234567890123456789012345678901234567890123456789"
	    "0123456789\r\n"), WRITE_TOO_BIG, 0, 0, "" },
	{ "bare LF before too big", BYTES("A: b\r\n\r\n0\n23456789012345678901234567890123456789012345678901234"
	    "5678901234567890123456789\r\n"), WRITE_BARE_CR_LF, 0, 0, "" },
};

static const struct message_writer_limits limits = { .spool_dir = ".", .max_bytes = 80, .memory_bytes = 1024,
	.max_received = 3 };
static const struct message_writer_limits on_disk = { .spool_dir = ".", .max_bytes = 80, .memory_bytes = 12,
	.max_received = 3 };

static char *
content_text(const struct content *c)
{
	char *all = xcalloc(1, (size_t)c->size + 1);

	if (c->mem != NULL)
		memcpy(all, c->mem, (size_t)c->size);
	else
		ck_assert_int_eq(pread(c->fd, all, (size_t)c->size, 0), (ssize_t)c->size);
	return all;
}

static void
run(const struct write_case *c, const struct message_writer_limits *lim, size_t step)
{
	struct message_writer *w = message_writer_new(lim);
	struct content *content;
	unsigned flags = 99;
	struct err err;
	char *want, *have;

	for (size_t at = 0; at < c->n; at += step)
		message_writer_add(w, c->in + at, c->n - at < step ? c->n - at : step);
	ck_assert_uint_eq(message_writer_size(w), c->n);
	content = message_writer_finish(w, &flags, &err);
	ck_assert_msg(message_writer_status(w, NULL) == c->status, "%s, step %zu: status %d", c->name, step,
	    (int)message_writer_status(w, NULL));
	ck_assert_int_eq(content != NULL, c->status == WRITE_OK);
	if (content != NULL) {
		want = xasprintf("%.*s%s", (int)c->n, c->in, c->added);
		have = content_text(content);
		ck_assert_msg(strcmp(want, have) == 0 && content->size == strlen(want), "%s, step %zu: %s",
		    c->name, step, have);
		ck_assert_msg(content->header_size == c->header_size, "%s, step %zu: header_size %zu", c->name,
		    step, (size_t)content->header_size);
		ck_assert_msg(flags == c->flags, "%s: flags %x", c->name, flags);
		free(have);
		free(want);
	}
	content_unref(content);
	message_writer_free(w);
}

START_TEST(any_segmentation)
{
	for (size_t step = 1; step <= cases[_i].n + 1; step++) {
		run(&cases[_i], &limits, step);
		run(&cases[_i], &on_disk, step);
	}
}
END_TEST

START_TEST(header_as_it_comes)
{
	struct message_writer *w = message_writer_new(&limits);

	message_writer_add(w, BYTES("A: b\r\nC"));
	ck_assert(!message_writer_has_header(w));
	ck_assert(slice_is(message_writer_header(w), "A: b\r\n"));
	message_writer_add(w, BYTES(": d\r\n\r"));
	ck_assert(!message_writer_has_header(w));
	message_writer_add(w, BYTES("\nbody"));
	ck_assert(message_writer_has_header(w));
	ck_assert(slice_is(message_writer_header(w), "A: b\r\nC: d\r\n\r\n"));
	message_writer_free(w);
}
END_TEST

/* A large body goes to a file, the header stays at hand, and the start of the body where that was asked
 * for; nothing has a name in the directory. */
START_TEST(large_goes_to_a_file)
{
	struct message_writer_limits lim = { .spool_dir = "." };
	struct message_writer *w = message_writer_new(&lim);
	struct content *c;
	unsigned flags;
	char line[80], *text;
	size_t lines = 40000;

	memset(line, 'x', 78);
	memcpy(line + 78, "\r\n", 2);
	message_writer_add(w, BYTES("Subject: large\r\n\r\n"));
	if (_i == 1)
		message_writer_keep_start(w);
	for (size_t i = 0; i < lines; i++)
		message_writer_add(w, line, sizeof line);
	ck_assert(slice_is(message_writer_header(w), "Subject: large\r\n\r\n"));
	c = message_writer_finish(w, &flags, NULL);
	message_writer_free(w);
	ck_assert_ptr_nonnull(c);
	ck_assert_ptr_null(c->mem);
	ck_assert_int_ge(c->fd, 0);
	ck_assert(slice_is((struct slice){ c->head, (size_t)c->header_size }, "Subject: large\r\n\r\n"));
	ck_assert_uint_eq(c->size, 18 + lines * 80);
	ck_assert_uint_eq(c->header_size, 18);
	ck_assert_uint_eq(content_body_peek(c, 10).n, _i == 1 ? 10 : 0);
	if (_i == 1) {
		struct slice start = content_body_peek(c, SIZE_MAX);

		ck_assert(start.n > 200 * 1024 && start.n <= 256 * 1024 - 18);
		for (size_t i = 0; i + 80 <= start.n; i += 80)
			ck_assert_int_eq(memcmp(start.p + i, line, 80), 0);
	}
	text = content_text(c);
	ck_assert_int_eq(memcmp(text, "Subject: large\r\n\r\n", 18), 0);
	for (size_t i = 0; i < lines; i++)
		if (memcmp(text + 18 + i * 80, line, 80) != 0)
			ck_abort_msg("line %zu", i);
	free(text);
	content_unref(c);
}
END_TEST

START_TEST(no_spool_dir)
{
	struct message_writer_limits lim = { .spool_dir = "/nonexistent/spool", .memory_bytes = 16 };
	struct message_writer *w = message_writer_new(&lim);
	struct err err;
	unsigned flags;

	message_writer_add(w, BYTES("A: b\r\n\r\na body that does not fit\r\n"));
	ck_assert_int_eq(message_writer_status(w, &err), WRITE_IO);
	ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent/spool"));
	ck_assert_ptr_null(message_writer_finish(w, &flags, &err));
	message_writer_free(w);
}
END_TEST

START_TEST(header_limits)		/* */
{
	struct message_writer_limits lim = { .spool_dir = "." };

	for (size_t step = 1000; step <= 400000; step = step * 7 + 13) {
		struct message_writer *w = message_writer_new(&lim);
		char *big = xmalloc(step);

		memset(big, 'a', step);
		big[0] = 'A', big[1] = ':';
		for (size_t sent = 0; sent <= HEADER_MAX_BYTES; sent += step)
			message_writer_add(w, big, step);
		ck_assert_int_eq(message_writer_status(w, NULL), WRITE_HEADER_TOO_BIG);
		free(big);
		message_writer_free(w);
	}
	for (unsigned fields = HEADER_MAX_FIELDS; fields <= HEADER_MAX_FIELDS + 1; fields++) {
		struct message_writer *w = message_writer_new(&lim);

		for (unsigned i = 0; i < fields; i++)
			message_writer_add(w, BYTES("A: b\r\n"));
		ck_assert_int_eq(message_writer_status(w, NULL),
		    fields > HEADER_MAX_FIELDS ? WRITE_HEADER_TOO_BIG : WRITE_OK);
		message_writer_free(w);
	}
}
END_TEST

START_TEST(long_lines)
{
	static const size_t lengths[] = { 998, 999 };

	for (size_t i = 0; i < 4; i++) {
		struct message_writer_limits lim = { .spool_dir = "." };
		struct message_writer *w = message_writer_new(&lim);
		struct content *c;
		unsigned flags;
		char line[1200];

		memset(line, 'x', sizeof line);
		if (i < 2)
			message_writer_add(w, BYTES("\r\n"));
		else
			line[0] = 'A', line[1] = ':';
		memcpy(line + lengths[i % 2], "\r\n", 2);
		message_writer_add(w, line, 500);
		message_writer_add(w, line + 500, lengths[i % 2] + 2 - 500);
		c = message_writer_finish(w, &flags, NULL);
		ck_assert_ptr_nonnull(c);
		ck_assert_uint_eq(flags, i % 2 == 0 ? 0 : MSG_LONG_LINES);
		content_unref(c);
		message_writer_free(w);
	}
}
END_TEST

/* ---- dot-stuffing (M-34, M-38) ---- */

static const struct stuff_case {
	const char *name, *in, *out;
} stuffs[] = {
	{ "nothing to do", "a\r\nb\r\n", "a\r\nb\r\n" },
	{ "first line", ".a\r\n", "..a\r\n" },
	{ "a dot alone", "a\r\n.\r\n", "a\r\n..\r\n" },
	{ "several", ".\r\n..\r\n...\r\n", "..\r\n...\r\n....\r\n" },
	{ "dots elsewhere", "a.b\r\n .\r\n", "a.b\r\n .\r\n" },
	{ "after LF alone too (M-34)", "a\n.\r\n", "a\n..\r\n" },
	{ "empty", "", "" },
	{ "dot at the end", "a\r\n.", "a\r\n.." },
};

START_TEST(stuffing)
{
	const struct stuff_case *c = &stuffs[_i];
	size_t n = strlen(c->in);

	for (size_t step = 1; step <= n + 1; step++) {
		bool at_start = true;
		struct buf b;

		buf_init(&b, 100);
		for (size_t at = 0; at < n; at += step)
			ck_assert(dot_stuff(&b, c->in + at, n - at < step ? n - at : step, &at_start));
		ck_assert_msg(slice_is(buf_slice(&b), c->out), "%s, step %zu", c->name, step);
		buf_fini(&b);
	}
}
END_TEST

UNIT_MAIN("message_writer",
	tcase_add_loop_test(tc, any_segmentation, 0, NELEMS(cases));
	tcase_add_test(tc, header_as_it_comes);
	tcase_add_loop_test(tc, large_goes_to_a_file, 0, 2);
	tcase_add_test(tc, no_spool_dir);
	tcase_add_test(tc, header_limits);
	tcase_add_test(tc, long_lines);
	tcase_add_loop_test(tc, stuffing, 0, NELEMS(stuffs));
)
