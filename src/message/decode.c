/* Encoded words in header values (RFC 2047), to UTF-8. */
#include "config.h"

#include <iconv.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "message/message_int.h"

/* Each iconv_open may look for a file; a value made of nothing but charsets must not cost more
 * than this many. What comes after them stays as it is. */
#define MAX_CONVERSIONS 32
#define CHARSET_MAX 40

struct decoder {
	struct buf out;
	struct buf raw;			/* octets of encoded words that follow each other */
	char charset[CHARSET_MAX];	/* theirs; "" none is open */
	struct slice source;		/* where they stand in the value */
	unsigned conversions;
};

/* Ours alone decide which of iconv's modules a stranger can have loaded. */
static bool
charset_is_known(const char *name)
{
	static const char *const known[] = { "iso-8859-", "windows-125", "windows-874", "cp125", "koi8-",
		"gb2312", "gbk", "gb18030", "big5", "euc-kr", "euc-jp", "ks_c_5601-1987", "iso-2022-jp",
		"iso-2022-kr", "shift_jis", "shift-jis", "tis-620", "macintosh", "ibm8" };

	for (size_t i = 0; i < NELEMS(known); i++)
		if (strncasecmp(name, known[i], strlen(known[i])) == 0)
			return true;
	return false;
}

/* Adds text that should be UTF-8: what is not becomes U+FFFD, controls a space. */
static void
add_text(struct buf *out, const char *p, size_t n)
{
	while (n > 0) {
		size_t step = 1;

		if ((unsigned char)*p >= 0x80) {
			for (step = 2; step <= 4 && step <= n && !utf8_is_valid(p, step); step++)
				;
			if (step > 4 || step > n) {
				buf_adds(out, "\xEF\xBF\xBD");
				step = 1;
			} else {
				buf_add(out, p, step);
			}
		} else if ((unsigned char)*p < 0x20 || *p == 0x7F) {
			buf_addc(out, ' ');
		} else {
			while (step < n && (unsigned char)p[step] >= 0x20 && (unsigned char)p[step] < 0x7F)
				step++;
			buf_add(out, p, step);
		}
		p += step;
		n -= step;
	}
}

static void
add_latin1(struct buf *out, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)p[i];
		char two[2] = { (char)(0xC0 | c >> 6), (char)(0x80 | (c & 0x3F)) };

		if (c >= 0xA0)
			buf_add(out, two, 2);
		else
			buf_addc(out, c < 0x20 || c >= 0x7F ? ' ' : p[i]);
	}
}

static bool
add_converted(struct decoder *d)
{
	size_t in_left = d->raw.len, room = 4 * d->raw.len + 16;
	char *in = (char *)buf_peek(&d->raw), *text, *at;
	iconv_t cd;
	bool ok;

	if (!charset_is_known(d->charset) || d->conversions++ >= MAX_CONVERSIONS)
		return false;
	cd = iconv_open("UTF-8", d->charset);
	if (cd == (iconv_t)-1)
		return false;
	at = text = xmalloc(room);
	ok = iconv(cd, &in, &in_left, &at, &room) != (size_t)-1 && in_left == 0;
	if (ok)
		add_text(&d->out, text, (size_t)(at - text));
	free(text);
	iconv_close(cd);
	return ok;
}

char *
charset_to_utf8(const char *charset, const char *p, size_t n, size_t *n_out)
{
	size_t in_left = n, room = 4 * n + 16;
	char *in = (char *)p, *text, *at;
	iconv_t cd;

	if (!charset_is_known(charset) || (cd = iconv_open("UTF-8", charset)) == (iconv_t)-1)
		return NULL;
	at = text = xmalloc(room + 1);
	/* What is not of this charset is left out, octet by octet. */
	while (in_left > 0 && iconv(cd, &in, &in_left, &at, &room) == (size_t)-1 && in_left > 0 && room > 8) {
		in++;
		in_left--;
	}
	iconv_close(cd);
	*n_out = (size_t)(at - text);
	*at = '\0';
	return text;
}

/* Ends a run of encoded words of one charset. They are joined before they are converted: some
 * programs cut a character in two between them. */
static void
flush_words(struct decoder *d)
{
	if (d->charset[0] == '\0')
		return;
	if (strcasecmp(d->charset, "utf-8") == 0 || strcasecmp(d->charset, "us-ascii") == 0 ||
	    strcasecmp(d->charset, "utf8") == 0)
		add_text(&d->out, buf_peek(&d->raw), d->raw.len);
	else if (strcasecmp(d->charset, "iso-8859-1") == 0)
		add_latin1(&d->out, buf_peek(&d->raw), d->raw.len);
	else if (!add_converted(d))
		add_text(&d->out, d->source.p, d->source.n);
	d->charset[0] = '\0';
	buf_clear(&d->raw);
}

static int
base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool
decode_b(struct buf *raw, const char *p, size_t n)
{
	unsigned bits = 0;
	uint32_t acc = 0;

	while (n > 0 && p[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++) {
		int v = base64_digit(p[i]);

		if (v < 0)
			return false;
		acc = acc << 6 | (uint32_t)v;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			buf_addc(raw, (char)(acc >> bits));
		}
	}
	return true;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
decode_q(struct buf *raw, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int hi, lo;

		if (p[i] != '=') {
			buf_addc(raw, p[i] == '_' ? ' ' : p[i]);
			continue;
		}
		if (i + 2 >= n || (hi = hex_digit(p[i + 1])) < 0 || (lo = hex_digit(p[i + 2])) < 0)
			return false;
		buf_addc(raw, (char)(hi << 4 | lo));
		i += 2;
	}
	return true;
}

struct encoded_word {
	struct slice charset, text;
	char encoding;
	size_t n;		/* all of it, "=?" to "?=" */
};

/* =?charset*language?encoding?text?= ; every search ends at the third question mark, so that a
 * value full of "=?" stays linear. */
static bool
word_parse(struct slice v, struct encoded_word *w)
{
	const char *q, *end = v.p + v.n, *star;

	if (v.n < 8 || v.p[0] != '=' || v.p[1] != '?')
		return false;
	q = memchr(v.p + 2, '?', v.n - 2);
	if (q == NULL || end - q < 5 || q[2] != '?' || strchr("bBqQ", q[1]) == NULL || q[1] == '\0')
		return false;
	w->charset = (struct slice){ v.p + 2, (size_t)(q - v.p - 2) };
	star = memchr(w->charset.p, '*', w->charset.n);		/* RFC 2231 5 */
	if (star != NULL)
		w->charset.n = (size_t)(star - w->charset.p);
	w->encoding = q[1];
	w->text.p = q + 3;
	q = memchr(w->text.p, '?', (size_t)(end - w->text.p));
	if (q == NULL || q + 1 == end || q[1] != '=')
		return false;
	w->text.n = (size_t)(q - w->text.p);
	w->n = (size_t)(q + 2 - v.p);
	if (w->charset.n == 0 || w->charset.n >= CHARSET_MAX)
		return false;
	for (size_t i = 0; i < w->charset.n; i++)
		if ((unsigned char)w->charset.p[i] <= 0x20 || (unsigned char)w->charset.p[i] >= 0x7F ||
		    w->charset.p[i] == '/')
			return false;
	for (size_t i = 0; i < w->text.n; i++)
		if (w->text.p[i] == '\r' || w->text.p[i] == '\n')
			return false;
	return true;
}

static bool
word_take(struct decoder *d, const struct encoded_word *w, const char *at)
{
	size_t before;

	if (d->charset[0] != '\0' && !slice_is_nocase(w->charset, d->charset))
		flush_words(d);
	before = d->raw.len;
	if (!((w->encoding | 0x20) == 'b' ? decode_b : decode_q)(&d->raw, w->text.p, w->text.n)) {
		d->raw.len = before;	/* not an encoded word after all */
		return false;
	}
	if (d->charset[0] == '\0') {
		memcpy(d->charset, w->charset.p, w->charset.n);
		d->charset[w->charset.n] = '\0';
		d->source.p = at;
	}
	d->source.n = (size_t)(at + w->n - d->source.p);
	return true;
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Text between encoded words. Unfolding drops the line end and keeps the white space (RFC 5322
 * 2.2.3). */
static void
add_plain(struct decoder *d, struct slice v)
{
	while (v.n > 0) {
		size_t n = 0;

		while (n < v.n && v.p[n] != '\r' && v.p[n] != '\n')
			n++;
		add_text(&d->out, v.p, n);
		while (n < v.n && (v.p[n] == '\r' || v.p[n] == '\n'))
			n++;
		v.p += n;
		v.n -= n;
	}
}

static char *
finish(struct decoder *d)
{
	struct slice s = slice_trim(buf_slice(&d->out));
	char *text = slice_dup(s);

	buf_fini(&d->out);
	buf_fini(&d->raw);
	return text;
}

char *
header_decode(struct slice value)
{
	struct decoder d = { .conversions = 0 };
	struct encoded_word w;
	struct slice rest = value;
	size_t plain = 0;	/* octets at the front of rest that are no encoded word */
	bool joined;

	buf_init(&d.out, 4 * value.n + 16);
	buf_init(&d.raw, value.n + 16);
	while (plain < rest.n) {
		const char *at = memchr(rest.p + plain, '=', rest.n - plain);
		size_t gap;

		plain = at == NULL ? rest.n : (size_t)(at - rest.p);
		if (at == NULL || !word_parse((struct slice){ at, rest.n - plain }, &w)) {
			plain += at != NULL;
			continue;
		}
		/* White space between two encoded words goes (RFC 2047 6.2). */
		for (gap = 0; gap < plain && is_space(rest.p[gap]); gap++)
			;
		joined = d.charset[0] != '\0' && gap == plain;
		if (!joined) {
			flush_words(&d);
			add_plain(&d, (struct slice){ rest.p, plain });
		}
		if (!word_take(&d, &w, at)) {
			flush_words(&d);
			if (joined)
				add_plain(&d, (struct slice){ rest.p, plain });
			add_plain(&d, (struct slice){ at, w.n });
		}
		rest.p = at + w.n;
		rest.n -= plain + w.n;
		plain = 0;
	}
	flush_words(&d);
	add_plain(&d, rest);
	return finish(&d);
}
