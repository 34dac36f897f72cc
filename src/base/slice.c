#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/base.h"

struct slice
slice_of(const char *s)
{
	return (struct slice){ s == NULL ? "" : s, s == NULL ? 0 : strlen(s) };
}

bool
slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool
slice_is(struct slice a, const char *s)
{
	return slice_eq(a, slice_of(s));
}

bool
slice_is_nocase(struct slice a, const char *s)
{
	return a.n == strlen(s) && (a.n == 0 || strncasecmp(a.p, s, a.n) == 0);
}

bool
slice_starts_nocase(struct slice a, const char *prefix)
{
	size_t n = strlen(prefix);

	return a.n >= n && strncasecmp(a.p, prefix, n) == 0;
}

struct slice
slice_trim(struct slice a)
{
	while (a.n > 0 && (a.p[0] == ' ' || a.p[0] == '\t'))
		a.p++, a.n--;
	while (a.n > 0 && (a.p[a.n - 1] == ' ' || a.p[a.n - 1] == '\t'))
		a.n--;
	return a;
}

bool
slice_cut(struct slice *rest, char sep, struct slice *part_out)
{
	const char *at;

	if (rest->p == NULL)
		return false;
	at = memchr(rest->p, sep, rest->n);
	if (at == NULL) {
		*part_out = *rest;
		*rest = (struct slice){ NULL, 0 };
		return true;
	}
	*part_out = (struct slice){ rest->p, (size_t)(at - rest->p) };
	rest->n -= part_out->n + 1;
	rest->p = at + 1;
	return true;
}

bool
slice_u64(struct slice a, uint64_t *out)
{
	uint64_t v = 0;

	if (a.n == 0)
		return false;
	for (size_t i = 0; i < a.n; i++) {
		unsigned d = (unsigned char)a.p[i] - '0';

		if (d > 9 || v > (UINT64_MAX - d) / 10)
			return false;
		v = v * 10 + d;
	}
	*out = v;
	return true;
}

char *
slice_dup(struct slice a)
{
	char *s = xmalloc(a.n + 1);

	if (a.n > 0)
		memcpy(s, a.p, a.n);
	s[a.n] = '\0';
	return s;
}

/* Octets of the UTF-8 sequence at p, 0 when it is not one (RFC 3629 section 4). */
static size_t
utf8_step(const unsigned char *p, size_t n)
{
	size_t want;
	uint32_t cp;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xC2 && p[0] <= 0xDF)
		want = 2, cp = p[0] & 0x1F;
	else if ((p[0] & 0xF0) == 0xE0)
		want = 3, cp = p[0] & 0x0F;
	else if (p[0] >= 0xF0 && p[0] <= 0xF4)
		want = 4, cp = p[0] & 0x07;
	else
		return 0;
	if (n < want)
		return 0;
	for (size_t i = 1; i < want; i++) {
		if ((p[i] & 0xC0) != 0x80)
			return 0;
		cp = cp << 6 | (p[i] & 0x3F);
	}
	if ((want == 3 && (cp < 0x800 || (cp >= 0xD800 && cp <= 0xDFFF))) ||
	    (want == 4 && (cp < 0x10000 || cp > 0x10FFFF)))
		return 0;
	return want;
}

bool
utf8_is_valid(const char *p, size_t n)
{
	while (n > 0) {
		size_t step = utf8_step((const unsigned char *)p, n);

		if (step == 0)
			return false;
		p += step;
		n -= step;
	}
	return true;
}

bool
ascii_is_printable(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] < 0x20 || (unsigned char)p[i] > 0x7E)
			return false;
	return true;
}

/* C1 controls, line and paragraph separators and the bidi controls would let text from a peer
 * rearrange a terminal; they are escaped even where UTF-8 is welcome. */
static bool
step_is_harmless(const unsigned char *p, size_t step)
{
	if (step == 1)
		return p[0] >= 0x20 && p[0] != 0x7F;
	if (step == 2)
		return !(p[0] == 0xC2 && p[1] < 0xA0) && !(p[0] == 0xD8 && p[1] == 0x9C);
	if (step == 3 && p[0] == 0xE2 && p[1] == 0x80)
		return !((p[2] >= 0x8E && p[2] <= 0x8F) || (p[2] >= 0xA8 && p[2] <= 0xAE));
	if (step == 3 && p[0] == 0xE2 && p[1] == 0x81)
		return !(p[2] >= 0xA6 && p[2] <= 0xA9);
	return true;
}

bool
utf8_is_harmless(const char *p, size_t n)
{
	while (n > 0) {
		size_t step = utf8_step((const unsigned char *)p, n);

		if (step == 0 || !step_is_harmless((const unsigned char *)p, step))
			return false;
		p += step;
		n -= step;
	}
	return true;
}

size_t
text_escape(char *dst, size_t size, const char *p, size_t n, bool utf8)
{
	static const char hex[] = "0123456789ABCDEF";
	const unsigned char *s = (const unsigned char *)p;
	size_t out = 0, last_fit = 0;	/* last_fit: where "..." would still fit */

	MUST(size >= 4);
	for (size_t i = 0; i < n;) {
		size_t step = 1, need = 1;
		bool plain = s[i] >= 0x20 && s[i] <= 0x7E && s[i] != '\\';

		if (!plain && utf8 && s[i] >= 0x80) {
			step = utf8_step(s + i, n - i);
			plain = step > 1 && step_is_harmless(s + i, step);
			if (!plain)
				step = 1;
		}
		need = plain ? step : 4;
		if (out + need >= size) {
			memcpy(dst + last_fit, "...", 4);
			return last_fit + 3;
		}
		if (plain) {
			memcpy(dst + out, s + i, step);
		} else {
			dst[out] = '\\';
			dst[out + 1] = 'x';
			dst[out + 2] = hex[s[i] >> 4];
			dst[out + 3] = hex[s[i] & 15];
		}
		out += need;
		i += step;
		if (out + 3 < size)
			last_fit = out;
	}
	dst[out] = '\0';
	return out;
}

uint64_t
hash64(const void *p, size_t n)
{
	const unsigned char *s = p;
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ s[i]) * 0x100000001b3u;
	return h;
}

void
hex_encode(char *dst, const uint8_t *src, size_t n)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		dst[2 * i] = hex[src[i] >> 4];
		dst[2 * i + 1] = hex[src[i] & 15];
	}
	dst[2 * n] = '\0';
}
