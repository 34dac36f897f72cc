/* MIME parts: what is found in a message, and what its content is. */
#include <stdlib.h>
#include <string.h>

#include "message/mime.h"
#include "unit.h"

/* A part a line: level, type, charset, disposition, file name, text. */
static char *
shown(const char *message)
{
	struct slice all = slice_of(message);
	struct header h;
	struct mime m;
	struct buf out;
	char *text;

	ck_assert(header_parse(&h, all));
	mime_parse(&m, (struct slice){ all.p, h.end }, (struct slice){ all.p + h.end, all.n - h.end });
	header_fini(&h);
	buf_init(&out, 65536);
	for (size_t i = 0; i < m.n; i++) {
		size_t n;
		char *t = mime_text(&m.v[i], 4000, &n);

		buf_printf(&out, "%u %s %s %s %s [%s]\n", m.v[i].level, m.v[i].type, m.v[i].charset[0] == '\0' ? "-" : m.v[i].charset,
		    m.v[i].disposition[0] == '\0' ? "-" : m.v[i].disposition, m.v[i].filename == NULL ? "-" : m.v[i].filename, t);
		free(t);
	}
	if (m.truncated)
		buf_adds(&out, "truncated\n");
	mime_fini(&m);
	text = out.len == 0 ? xstrdup("") : buf_take(&out);
	buf_fini(&out);
	return text;
}

/* The parts as they are seen while the content passes, with other cuts each time. */
static void
same_in_pieces(const char *name, const char *message)
{
	struct slice all = slice_of(message), header, body;
	struct header h;
	struct mime m;

	ck_assert(header_parse(&h, all));
	header = (struct slice){ all.p, h.end };
	body = (struct slice){ all.p + h.end, all.n - h.end };
	header_fini(&h);
	mime_parse(&m, header, body);
	for (size_t step = 1; step < 40; step++) {
		struct mime_scan *x = mime_scan_new(header);
		struct mime *got;

		for (size_t at = 0; at < body.n; at += step)
			mime_scan_add(x, body.p + at, body.n - at < step ? body.n - at : step);
		got = mime_scan_end(x);
		ck_assert_msg(got->n == m.n && got->hidden == m.hidden, "%s: %zu parts", name, got->n);
		for (size_t i = 0; i < m.n; i++) {
			ck_assert_uint_eq(got->v[i].level, m.v[i].level);
			ck_assert_str_eq(got->v[i].type, m.v[i].type);
			ck_assert_str_eq(got->v[i].disposition, m.v[i].disposition);
			ck_assert_pstr_eq(got->v[i].filename, m.v[i].filename);
		}
		mime_free(got);
	}
	mime_fini(&m);
}

static const struct mime_case {
	const char *name, *message, *parts;
} cases[] = {
	{ "no MIME", "Subject: x\r\n\r\nhello", "0 text/plain - - - [hello]\n" },
	{ "latin-1, quoted", "Content-Type: Text/Plain; Charset=\"ISO-8859-15\"\r\nContent-Transfer-Encoding: Quoted-Printable\r\n\r\n"
	  "=A4 caf=E9=  \r\n!=3D=zz", "0 text/plain iso-8859-15 - - [\xE2\x82\xAC caf\xC3\xA9!==zz]\n" },
	{ "unknown charset", "Content-Type: text/plain; charset=x-none\r\n\r\n\xE4", "0 text/plain x-none - - [\xE4]\n" },
	{ "base64 with rubbish and in pieces", "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs\r\n*bG8=\r\nISE=",
	  "0 text/plain - - - [hello!!]\n" },
	{ "two parts", "Content-Type: multipart/mixed; boundary=\"b b\"\r\n\r\npreamble\r\n--b b\r\n\r\none\r\n--b bx\r\n--b b  \r\n"
	  "Content-Type: text/html\r\n\r\n<p>\r\n--b b--\r\nepilogue", "1 text/plain - - - [one\r\n--b bx]\n1 text/html - - - [<p>]\n" },
	{ "no end", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n", "1 text/plain - - - [one\r\n]\ntruncated\n" },
	{ "LF alone", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n", "1 text/plain - - - [one]\n" },
	{ "no boundary", "Content-Type: multipart/mixed\r\n\r\nx", "0 multipart/mixed - - - [x]\n" },
	{ "file name", "Content-Disposition: Attachment; filename=\"a \\\"b\\\".exe\"\r\n\r\nx",
	  "0 text/plain - attachment a \"b\".exe [x]\n" },
	{ "file name without quotes", "Content-Type: application/x; name=my file.exe ; x=y\r\n\r\nx", "0 application/x - - my file.exe [x]\n" },
	{ "file name, encoded word", "Content-Type: application/x; name=\"=?utf-8?q?=C3=A4.exe?=\"\r\n\r\nx",
	  "0 application/x - - \xC3\xA4.exe [x]\n" },
	{ "file name, RFC 2231", "Content-Disposition: attachment; filename=x; filename*=UTF-8''%C3%A4%2eexe\r\n\r\nx",
	  "0 text/plain - attachment \xC3\xA4.exe [x]\n" },
	{ "file name, in pieces", "Content-Disposition: attachment; filename*0*=utf-8''%C3; filename*1*=%A4; filename*2=\".exe\"\r\n\r\nx",
	  "0 text/plain - attachment \xC3\xA4.exe [x]\n" },
	{ "file name, not UTF-8", "Content-Disposition: attachment; filename*=iso-8859-1''%E4%0a.exe\r\n\r\nx",
	  "0 text/plain - attachment ? .exe [x]\n" },
	{ "name in a comment", "Content-Type: application/x (; name=no.exe)\r\n\r\nx", "0 application/x - - - [x]\n" },
	{ "message in the message", "Content-Type: message/rfc822\r\n\r\nContent-Type: text/html\r\n\r\n<p>",
	  "0 message/rfc822 - - - [Content-Type: text/html\r\n\r\n<p>]\n1 text/html - - - [<p>]\n" },
	{ "digest", "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: x\r\n\r\ny\r\n--b--\r\n",
	  "1 message/rfc822 - - - [Subject: x\r\n\r\ny]\n2 text/plain - - - [y]\n" },
	{ "a header without its end", "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/mixed; boundary=b\r\n"
	  "no field\r\n--b\r\nContent-Type: text/x; name=in.exe\r\n--b--\r\n--a\r\n--a--\r\n",
	  "2 text/x - - in.exe []\n1 text/plain - - - []\n" },
	{ "outer before inner", "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
	  "--b\r\n\r\nx\r\n--a\r\nContent-Disposition: attachment; filename=y\r\n\r\n--b\r\nz\r\n--a--\r\n--b\r\n\r\nno",
	  "2 text/plain - - - [x]\n1 text/plain - attachment y [--b\r\nz]\ntruncated\n" },
	{ "empty message in the message", "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\n--a--",
	  "1 message/rfc822 - - - []\n2 text/plain - - - []\n" },
	{ "not a type", "Content-Type: ;;;\r\n\r\nx", "0 text/plain - - - [x]\n" },
};

START_TEST(parts)
{
	char *got = shown(cases[_i].message);

	ck_assert_msg(strcmp(got, cases[_i].parts) == 0, "%s:\n%s", cases[_i].name, got);
	free(got);
	same_in_pieces(cases[_i].name, cases[_i].message);
}
END_TEST

/* Neither deep nor many parts cost more than they may. */
START_TEST(bounds)
{
	struct buf b;
	struct mime m;
	static const char many[] = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
	const char *body;

	buf_init(&b, 1u << 20);
	for (int i = 0; i < 2000; i++)
		buf_printf(&b, "Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n", i, i);
	body = buf_peek(&b);
	mime_parse(&m, slice_of("Subject: x\r\n\r\n"), (struct slice){ body, b.len });
	ck_assert(m.n == 1 && !m.truncated);
	mime_fini(&m);
	/* A leaf at the end, 2000 levels down: nobody goes there. */
	buf_adds(&b, "\r\nleaf\r\n");
	body = buf_peek(&b);
	mime_parse(&m, slice_of("Content-Type: message/rfc822\r\n\r\n"), (struct slice){ body, b.len });
	ck_assert(m.truncated && m.n == 1 && m.v[0].level == 0);
	mime_fini(&m);
	buf_clear(&b);
	for (int i = 0; i < 50000; i++)
		buf_adds(&b, "--b\r\n\r\n");
	mime_parse(&m, slice_of(many), (struct slice){ buf_peek(&b), b.len });
	ck_assert(m.n == MIME_PARTS && m.truncated);
	mime_fini(&m);
	buf_fini(&b);
}
END_TEST

UNIT_MAIN("message_mime",
	tcase_add_loop_test(tc, parts, 0, NELEMS(cases));
	tcase_add_test(tc, bounds);
)
