/* Writing header fields: encoded words and folding. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "message/message_int.h"

#define FOLD_AT 78u
#define WORD_MAX 75u		/* an encoded word, RFC 2047 2 */
#define WORD_PREFIX "=?UTF-8?B?"

/* Three octets become four characters; so many octets fit in one encoded word. */
#define WORD_OCTETS ((WORD_MAX - (sizeof WORD_PREFIX - 1) - 2) / 4 * 3)

static bool
is_ascii(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] >= 0x80)
			return false;
	return true;
}

static void
add_base64(struct buf *out, const unsigned char *p, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < n; i += 3) {
		size_t left = n - i;
		uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
		    (left > 2 ? p[i + 2] : 0);

		buf_addc(out, digits[v >> 18]);
		buf_addc(out, digits[v >> 12 & 63]);
		buf_addc(out, left > 1 ? digits[v >> 6 & 63] : '=');
		buf_addc(out, left > 2 ? digits[v & 63] : '=');
	}
}

/* Octets at p that make one encoded word: no character is cut in two. */
static size_t
word_cut(const char *p, size_t n)
{
	size_t cut = WORD_OCTETS;

	if (n <= cut)
		return n;
	while (cut > 1 && ((unsigned char)p[cut] & 0xC0) == 0x80)
		cut--;
	return cut;
}

static void
add_encoded(struct buf *out, const char *p, size_t n)
{
	while (n > 0) {
		size_t cut = word_cut(p, n);

		buf_adds(out, WORD_PREFIX);
		add_base64(out, (const unsigned char *)p, cut);
		buf_adds(out, "?=");
		p += cut;
		n -= cut;
		if (n > 0)
			buf_addc(out, ' ');
	}
}

/* A word and the white space before it. */
struct piece {
	struct slice space, word;
};

static bool
next_piece(struct slice *rest, struct piece *p)
{
	size_t n = 0;

	while (n < rest->n && rest->p[n] == ' ')
		n++;
	p->space = (struct slice){ rest->p, n };
	rest->p += n;
	rest->n -= n;
	for (n = 0; n < rest->n && rest->p[n] != ' '; n++)
		;
	p->word = (struct slice){ rest->p, n };
	rest->p += n;
	rest->n -= n;
	return n > 0;
}

/* Runs of words with other than ASCII become encoded words, white space between them included:
 * readers drop what stands between two encoded words. */
void
header_encode(struct buf *out, struct slice value)
{
	struct slice rest = value;
	struct piece p;

	while (next_piece(&rest, &p)) {
		buf_add(out, p.space.p, p.space.n);
		if (is_ascii(p.word.p, p.word.n)) {
			buf_add(out, p.word.p, p.word.n);
			continue;
		}
		for (;;) {
			struct slice ahead = rest;
			struct piece q;

			if (!next_piece(&ahead, &q) || is_ascii(q.word.p, q.word.n))
				break;
			p.word.n = (size_t)(q.word.p + q.word.n - p.word.p);
			rest = ahead;
		}
		add_encoded(out, p.word.p, p.word.n);
	}
}

/* Folds before white space that a word follows, so that no line is white space alone. */
static void
add_folded(struct buf *out, size_t col, struct slice value)
{
	struct piece p;
	bool first = true;

	while (next_piece(&value, &p)) {
		if (!first && p.space.n > 0 && col + p.space.n + p.word.n > FOLD_AT) {
			buf_adds(out, "\r\n");
			col = 0;
		}
		if (first)
			p.space = SLICE(" ");
		buf_add(out, p.space.p, p.space.n);
		buf_add(out, p.word.p, p.word.n);
		col += p.space.n + p.word.n;
		first = false;
	}
}

static void
add_clean(struct buf *out, const char *value)
{
	for (; *value != '\0'; value++)
		buf_addc(out, (unsigned char)*value < 0x20 || *value == 0x7F ? ' ' : *value);
}

bool
header_add_field(struct buf *out, const char *name, const char *value, bool utf8)
{
	size_t n = strlen(name), colon, len = strlen(value);
	struct buf clean, encoded, line;
	char *with_colon = xasprintf("%s:", name);
	bool ok = true;

	if (n == 0 || header_name_length(with_colon, n + 1, &colon) != n)
		goto out;
	buf_init(&clean, len + 1);
	buf_init(&encoded, 8 * len + 128);
	buf_init(&line, n + 12 * len + 256);
	add_clean(&clean, value);
	if (utf8)
		buf_add(&encoded, buf_peek(&clean), clean.len);
	else
		header_encode(&encoded, buf_slice(&clean));
	buf_adds(&line, with_colon);
	add_folded(&line, n + 1, buf_slice(&encoded));
	buf_adds(&line, "\r\n");
	ok = buf_add(out, buf_peek(&line), line.len);
	buf_fini(&line);
	buf_fini(&encoded);
	buf_fini(&clean);
out:
	free(with_colon);
	return ok;
}
