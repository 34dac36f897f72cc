#include "unit.h"

#include <string.h>

#include "message/message_int.h"

#define HEADER "Received: x\r\nSubject: one\r\n two\r\nTo : a@b\r\nsubject: again\r\n\r\n"

static const struct edit_case {
	const char *name, *header;
	bool has_body;
	struct { int op; const char *name, *value; } edits[4];	/* op -1: no more */
	const char *out;
} cases[] = {
	{ "nothing", HEADER, true, { { -1, NULL, NULL } }, HEADER },
	{ "add on top", HEADER, true, { { EDIT_ADD_TOP, "X-A", "1" }, { EDIT_ADD_TOP, "X-B", "2" },
	    { -1, NULL, NULL } }, "X-B: 2\r\nX-A: 1\r\n" HEADER },
	{ "add at the end", "A: b\r\n\r\n", true, { { EDIT_ADD_END, "X-A", "1" }, { EDIT_ADD_END, "X-B", "2" },
	    { -1, NULL, NULL } }, "A: b\r\nX-A: 1\r\nX-B: 2\r\n\r\n" },
	{ "set takes the first, drops the rest", HEADER, true, { { EDIT_SET, "SUBJECT", "new" },
	    { -1, NULL, NULL } }, "Received: x\r\nSUBJECT: new\r\nTo : a@b\r\n\r\n" },
	{ "set adds", "A: b\r\n\r\n", true, { { EDIT_SET, "C", "d" }, { -1, NULL, NULL } },
	    "A: b\r\nC: d\r\n\r\n" },
	{ "set twice", "A: b\r\n\r\n", true, { { EDIT_SET, "C", "d" }, { EDIT_SET, "C", "e" },
	    { -1, NULL, NULL } }, "A: b\r\nC: e\r\n\r\n" },
	{ "remove all", HEADER, true, { { EDIT_REMOVE, "subject", NULL }, { EDIT_REMOVE, "x", NULL },
	    { -1, NULL, NULL } }, "Received: x\r\nTo : a@b\r\n\r\n" },
	{ "remove, then add", HEADER, true, { { EDIT_REMOVE, "Subject", NULL }, { EDIT_ADD_END, "Subject", "s" },
	    { -1, NULL, NULL } }, "Received: x\r\nTo : a@b\r\nSubject: s\r\n\r\n" },
	{ "add, then remove", "A: b\r\n\r\n", true, { { EDIT_ADD_TOP, "C", "d" }, { EDIT_REMOVE, "C", NULL },
	    { -1, NULL, NULL } }, "A: b\r\n\r\n" },
	{ "line ends never get in (M-32)", "A: b\r\n\r\n", true, { { EDIT_SET, "C", "d\r\nBcc: x\n\ry" },
	    { -1, NULL, NULL } }, "A: b\r\nC: d  Bcc: x  y\r\n\r\n" },
	{ "a name that is none", "A: b\r\n\r\n", true, { { EDIT_ADD_TOP, "B c", "d" }, { EDIT_ADD_TOP, "", "d" },
	    { EDIT_ADD_TOP, "E:", "f" }, { -1, NULL, NULL } }, "A: b\r\n\r\n" },
	{ "empty value", "A: b\r\n\r\n", true, { { EDIT_SET, "A", "" }, { -1, NULL, NULL } }, "A:\r\n\r\n" },
	{ "folded", "\r\n", true, { { EDIT_SET, "X-Long", "0123456789 0123456789 0123456789 0123456789 0123456789 "
	    "0123456789 0123456789" }, { -1, NULL, NULL } }, "X-Long: 0123456789 0123456789 0123456789 0123456789 "
	    "0123456789 0123456789\r\n 0123456789\r\n\r\n" },
	{ "other than ASCII", "\r\n", true, { { EDIT_SET, "Subject", "[x] Gr\xC3\xBC\xC3\x9F" "e aus K\xC3\xB6ln am Rhein" },
	    { -1, NULL, NULL } }, "Subject: [x] =?UTF-8?B?R3LDvMOfZQ==?= aus =?UTF-8?B?S8O2bG4=?= am Rhein\r\n\r\n" },
	{ "no empty line, with a body", "", true, { { -1, NULL, NULL } }, "\r\n" },
	{ "no empty line, no body", "A: b\r\n", false, { { EDIT_SET, "C", "d" }, { -1, NULL, NULL } },
	    "A: b\r\nC: d\r\n" },
	{ "no empty line, a body that is no field", "A: b\r\n", true, { { EDIT_SET, "C", "d" }, { -1, NULL, NULL } },
	    "A: b\r\nC: d\r\n\r\n" },
};

START_TEST(render)
{
	const struct edit_case *c = &cases[_i];
	struct msg *m = msg_new();
	size_t n;
	char *out;

	m->header_size = strlen(c->header);
	m->content_size = m->header_size + (c->has_body ? 10 : 0);
	for (size_t i = 0; c->edits[i].op != -1; i++)
		msg_add_edit(m, (enum edit_op)c->edits[i].op, c->edits[i].name, c->edits[i].value);
	out = header_render(m, slice_of(c->header), &n);
	ck_assert_msg(n == strlen(c->out) && memcmp(out, c->out, n) == 0, "%s: %.*s", c->name, (int)n, out);
	free(out);
	msg_unref(m);
}
END_TEST

/* What was encoded reads as it was written, whatever the length of words and lines. */
START_TEST(encoded_and_back)
{
	static const char *const values[] = {
		"\xC3\xA4", "a \xC3\xA4 b \xC3\xB6  \xC3\xBC c",
		"\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE6\x97\xA5\xE6\x9C\xAC\xE8"
		"\xAA\x9E\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE6\x97\xA5\xE6\x9C"
		"\xAC\xE8\xAA\x9E", "\xF0\x9F\x98\x80\xF0\x9F\x98\x80 and plain text that makes the line so long that "
		"it has to be folded somewhere \xF0\x9F\x98\x80",
	};

	for (size_t i = 0; i < NELEMS(values); i++) {
		struct header h;
		struct buf b;
		char *back;

		buf_init(&b, 10000);
		ck_assert(header_add_field(&b, "Subject", values[i], false));
		ck_assert(header_parse(&h, buf_slice(&b)));
		ck_assert_uint_eq(h.n, 1);
		back = header_decode(h.fields[0].value);
		ck_assert_str_eq(back, values[i]);
		for (const char *p = buf_peek(&b), *end = p + b.len; p < end;) {
			const char *lf = memchr(p, '\n', (size_t)(end - p));

			ck_assert_int_le(lf - p, 90);
			p = lf + 1;
		}
		free(back);
		header_fini(&h);
		buf_clear(&b);
		ck_assert(header_add_field(&b, "Subject", values[i], true));
		ck_assert_ptr_null(memmem(buf_peek(&b), b.len, "=?", 2));
		buf_fini(&b);
	}
}
END_TEST

UNIT_MAIN("message_edit",
	tcase_add_loop_test(tc, render, 0, NELEMS(cases));
	tcase_add_test(tc, encoded_and_back);
)
