/* The encodings that notices need (RFC 2045 6). */
#include "config.h"

#include <string.h>

#include "message/message_int.h"

#define QP_MAX 76u

bool
text_is_plain(struct slice text)
{
	size_t line = 0;

	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (c == '\n') {
			if (i == 0 || text.p[i - 1] != '\r')
				return false;
			line = 0;
			continue;
		}
		if (c == '\r' ? i + 1 == text.n || text.p[i + 1] != '\n' :
		    c >= 0x7F || (c < 0x20 && c != '\t') || ++line > 998)
			return false;
	}
	return true;
}

/* Octets that text.p[i] may be written as: 0 for a line end. */
static unsigned
qp_size(struct slice text, size_t i)
{
	unsigned char c = (unsigned char)text.p[i];
	bool ends = i + 2 < text.n && text.p[i + 1] == '\r' && text.p[i + 2] == '\n';

	if (c == ' ' || c == '\t')
		return ends || i + 1 == text.n ? 3 : 1;
	return c > 0x20 && c < 0x7F && c != '=' ? 1 : 3;
}

bool
dsn_add_qp(struct buf *out, struct slice text)
{
	size_t col = 0;

	for (size_t i = 0; i < text.n; i++) {
		unsigned size;

		if (text.p[i] == '\r' && i + 1 < text.n && text.p[i + 1] == '\n') {
			if (!buf_adds(out, "\r\n"))
				return false;
			col = 0;
			i++;
			continue;
		}
		size = qp_size(text, i);
		if (col + size > QP_MAX - 1) {	/* room for the soft line break */
			buf_adds(out, "=\r\n");
			col = 0;
		}
		/* A line of one dot, or one that says From, is best not left to others. */
		if (col == 0 && (text.p[i] == '.' || text.p[i] == 'F'))
			size = 3;
		if (!(size == 1 ? buf_addc(out, text.p[i]) :
		    buf_printf(out, "=%02X", (unsigned)(unsigned char)text.p[i])))
			return false;
		col += size;
	}
	return true;
}

bool
dsn_add_base64(struct buf *out, struct slice octets)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *p = (const unsigned char *)octets.p;
	size_t col = 0;

	for (size_t i = 0; i < octets.n; i += 3) {
		size_t left = octets.n - i;
		uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
		    (left > 2 ? p[i + 2] : 0);
		char four[4] = { digits[v >> 18], digits[v >> 12 & 63],
			left > 1 ? digits[v >> 6 & 63] : '=', left > 2 ? digits[v & 63] : '=' };

		if (!buf_add(out, four, 4))
			return false;
		col += 4;
		if (col == 76 || i + 3 >= octets.n) {
			if (!buf_adds(out, "\r\n"))
				return false;
			col = 0;
		}
	}
	return true;
}

#define NAME_PIECE 60u

/* RFC 2231 4 and 3: percent signs, and a long value in pieces, so that no line is too long. */
bool
dsn_add_filename(struct buf *out, const char *name)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t n = strlen(name), piece = 0, col = 0;

	if (n <= NAME_PIECE && strspn(name, plain) == n)
		return buf_printf(out, ";\r\n\tfilename=\"%s\"", name);
	for (const char *s = name; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;

		if (col == 0 || col > NAME_PIECE) {
			buf_printf(out, ";\r\n\tfilename*%zu*=%s", piece, piece == 0 ? "UTF-8''" : "");
			piece++;
			col = 0;
		}
		if (strchr(plain, *s) != NULL)
			buf_addc(out, *s);
		else
			buf_printf(out, "%%%02X", (unsigned)c);
		col += strchr(plain, *s) != NULL ? 1 : 3;
	}
	return buf_adds(out, "");
}
