/* Replies as values: made by us (server), read from a peer (client). */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "smtp/smtp.h"

#define OUT_LINE 510u		/* 512 with CRLF (M-06) */
#define IN_LINE 2048u		/* with CRLF */
#define IN_LINES 128u
#define IN_BYTES (64u * 1024)

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* ---- Ours ---- */

/* "class.subject.detail" at the start of p; its length, 0 when it is none. */
static size_t
status_length(const char *p, size_t n)
{
	size_t at = 0;

	if (n < 5 || (p[0] != '2' && p[0] != '4' && p[0] != '5'))
		return 0;
	at = 1;
	for (int part = 0; part < 2; part++) {
		size_t digits = 0;

		if (at >= n || p[at] != '.')
			return 0;
		for (at++; at < n && is_digit(p[at]); at++)
			digits++;
		if (digits == 0 || digits > 3)
			return 0;
	}
	return at;
}

/* M-117: none on 3yz. M-118: the class is the code's, whoever chose the status. */
static void
set_status(struct smtp_reply *r, const char *status)
{
	int class = r->code / 100;
	size_t n = status == NULL ? 0 : strlen(status);

	r->status[0] = 0;
	if (n == 0 || class == 3)
		return;
	if (n < sizeof r->status && status_length(status, n) == n && status[0] == '0' + class)
		memcpy(r->status, status, n + 1);
	else
		snprintf(r->status, sizeof r->status, "%d.0.0", class % 10);
}

void
smtp_reply_set(struct smtp_reply *r, int code, const char *status, const char *fmt, ...)
{
	char raw[SMTP_TEXT_MAX];
	size_t at = 0, n;
	struct slice rest, line;
	bool first = true;
	va_list ap;

	/* A number that is no reply came from a policy: not now, rather than anything else (I5). */
	if (code < 200 || code > 599) {
		code = 451;
		status = "4.3.0";
	}
	r->code = code;
	set_status(r, status);
	va_start(ap, fmt);
	vsnprintf(raw, sizeof raw, fmt, ap);
	va_end(ap);
	/* LF is our line separator, every other control character is made visible. */
	r->text[0] = 0;
	rest = slice_of(raw);
	while (at + 8 < sizeof r->text && slice_cut(&rest, '\n', &line)) {
		if (!first && at + 1 < sizeof r->text)
			r->text[at++] = '\n';
		first = false;
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		n = text_escape(r->text + at, sizeof r->text - at, line.p, line.n, false);
		at += n;
	}
	while (at > 0 && r->text[at - 1] == '\n')
		r->text[--at] = 0;
}

/* How much of the text goes on a line of `room`: cut at a space if there is one. */
static size_t
piece(struct slice text, size_t room)
{
	if (text.n <= room)
		return text.n;
	for (size_t i = room; i > room / 2; i--) {
		if (text.p[i] == ' ')
			return i;
	}
	return room;
}

bool
smtp_reply_format(struct buf *out, const struct smtp_reply *r)
{
	size_t head = 4 + (r->status[0] == 0 ? 0 : strlen(r->status) + 1);
	struct slice rest = slice_of(r->text), line;
	bool more = slice_cut(&rest, '\n', &line), ok = true;

	if (!more)
		line = SLICE("");
	do {
		size_t n = piece(line, OUT_LINE - head);
		struct slice now = { line.p, n };

		while (n < line.n && line.p[n] == ' ')
			n++;
		line.p += n;
		line.n -= n;
		more = line.n > 0 || slice_cut(&rest, '\n', &line);
		ok = ok && buf_printf(out, "%03d%c", r->code, more ? '-' : ' ');
		if (r->status[0] != 0)
			ok = ok && buf_adds(out, r->status) && (now.n == 0 || buf_addc(out, ' '));
		ok = ok && buf_add(out, now.p, now.n) && buf_add(out, "\r\n", 2);
	} while (more);
	return ok;
}

/* ---- Theirs ---- */

void
smtp_reply_parser_init(struct smtp_reply_parser *p)
{
	memset(p, 0, sizeof *p);
	buf_init(&p->lines, IN_BYTES);
}

void
smtp_reply_parser_fini(struct smtp_reply_parser *p)
{
	buf_fini(&p->lines);
}

/* Three digits, then "-", " " or nothing (M-64: text may be missing). */
static bool
read_code(struct slice line, int *code, bool *last)
{
	if (line.n < 3 || line.p[0] < '2' || line.p[0] > '5' || !is_digit(line.p[1]) ||
	    !is_digit(line.p[2]))
		return false;
	if (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-')
		return false;
	*code = (line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0');
	*last = line.n == 3 || line.p[3] == ' ';
	return true;
}

static enum parse_status
take_line(struct smtp_reply_parser *p, struct slice line, struct err *err)
{
	bool last;
	int code;

	if (!read_code(line, &code, &last)) {
		char text[64];

		text_escape(text, sizeof text, line.p, line.n, false);
		err_set(err, "not an SMTP reply: \"%s\"", text);
		return PARSE_ERROR;
	}
	if (p->nlines > 0 && code != p->code) {
		err_set(err, "a reply with different codes, %03d and %03d", p->code, code);
		return PARSE_ERROR;	/* which of the two would it be? */
	}
	p->code = code;
	if (p->nlines == IN_LINES) {
		p->too_long = true;
		err_set(err, "a reply of more than %u lines", IN_LINES);
		return PARSE_ERROR;
	}
	if ((p->nlines > 0 && !buf_addc(&p->lines, '\n')) ||
	    (line.n > 4 && !buf_add(&p->lines, line.p + 4, line.n - 4))) {
		p->too_long = true;
		err_set(err, "a reply of more than %u octets", IN_BYTES);
		return PARSE_ERROR;
	}
	p->nlines++;
	return last ? PARSE_ITEM : PARSE_MORE;
}

enum parse_status
smtp_reply_parse(struct smtp_reply_parser *p, struct slice in, size_t *used, struct err *err)
{
	*used = 0;
	if (p->is_complete) {
		buf_clear(&p->lines);
		p->code = 0;
		p->nlines = 0;
		p->is_complete = false;
	}
	for (;;) {
		struct slice line = { in.p + *used, 0 };
		size_t left = in.n - *used;
		const char *lf = left == 0 ? NULL : memchr(line.p, '\n', left);
		enum parse_status st;

		if (lf == NULL ? left >= IN_LINE : (size_t)(lf - line.p) >= IN_LINE) {
			p->too_long = true;
			err_set(err, "a reply line of more than %u octets", IN_LINE);
			return PARSE_ERROR;
		}
		if (lf == NULL)
			return PARSE_MORE;
		line.n = (size_t)(lf - line.p);
		if (line.n == 0 || line.p[line.n - 1] != '\r') {
			err_set(err, "a reply line that ends in LF alone");	/* M-30 */
			return PARSE_ERROR;
		}
		*used += line.n + 1;
		line.n--;
		st = take_line(p, line, err);
		p->is_complete = st == PARSE_ITEM;
		if (st != PARSE_MORE)
			return st;
	}
}

void
smtp_reply_status(char dst[10], int code, struct slice text)
{
	size_t n = status_length(text.p, text.n);

	dst[0] = 0;
	if (n == 0 || n > 9 || text.p[0] != '0' + code / 100 ||
	    (n < text.n && text.p[n] != ' ' && text.p[n] != '\n'))
		return;
	memcpy(dst, text.p, n);
	dst[n] = 0;
}
