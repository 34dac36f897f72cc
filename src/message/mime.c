#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "message/message_int.h"
#include "message/mime.h"

#define BOUNDARY_MAX (MIME_BOUNDARY - 2u)
#define VALUE_MAX 4096u
#define NAME_MAX_OCTETS 1000u	/* of a file name */

static bool
is_token(char c)
{
	return c > ' ' && c < 0x7F && strchr("()<>@,;:\\\"/[]?=", c) == NULL;
}

static char
small(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static void
put_small(char *dst, size_t size, struct slice s)
{
	size_t n = s.n < size - 1 ? s.n : size - 1;

	for (size_t i = 0; i < n; i++)
		dst[i] = small(s.p[i]);
	dst[n] = '\0';
}

/* White space, folding and comments. */
static size_t
skip_space(struct slice s, size_t i)
{
	unsigned depth = 0;

	for (; i < s.n; i++) {
		if (s.p[i] == '(')
			depth++;
		else if (s.p[i] == ')' && depth > 0)
			depth--;
		else if (s.p[i] == '\\' && depth > 0)
			i++;
		else if (depth == 0 && memchr(" \t\r\n", s.p[i], 4) == NULL)
			break;
	}
	return i < s.n ? i : s.n;
}

/* The next `; name=value`, from *at on; the value goes to dst. */
static bool
next_param(struct slice s, size_t *at, struct slice *name, struct buf *dst)
{
	size_t i = *at;

	for (;;) {
		while (i < s.n && s.p[i] != ';') {
			if (s.p[i] == '"')
				while (++i < s.n && s.p[i] != '"')
					i += s.p[i] == '\\';
			if (i < s.n && s.p[i] == '(')
				i = skip_space(s, i);
			else
				i++;
		}
		if (i >= s.n)
			return false;
		i = skip_space(s, i + 1);
		name->p = s.p + i;
		while (i < s.n && is_token(s.p[i]))
			i++;
		name->n = (size_t)(s.p + i - name->p);
		i = skip_space(s, i);
		if (name->n > 0 && i < s.n && s.p[i] == '=')
			break;
	}
	i = skip_space(s, i + 1);
	buf_clear(dst);
	if (i < s.n && s.p[i] == '"') {
		while (++i < s.n && s.p[i] != '"') {
			if (s.p[i] == '\\' && i + 1 < s.n)
				i++;
			if (s.p[i] != '\r' && s.p[i] != '\n')
				buf_add(dst, s.p + i, 1);
		}
		i += i < s.n;
	} else {
		/* Some programs forget to quote names with blanks: up to the next semicolon. */
		size_t from = i;

		while (i < s.n && s.p[i] != ';' && s.p[i] != '\r')
			i++;
		while (i > from && (s.p[i - 1] == ' ' || s.p[i - 1] == '\t'))
			i--;
		buf_add(dst, s.p + from, i - from);
	}
	*at = i;
	return true;
}

static int
hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : small(c) >= 'a' && small(c) <= 'f' ? small(c) - 'a' + 10 : -1;
}

/* RFC 2231 section 4: charset'language'%41. Only UTF-8 and ASCII are taken apart; of other charsets the octets
 * beyond ASCII become "?". */
static void
add_extended(struct buf *out, struct slice v, bool first)
{
	size_t i = 0;

	if (first) {
		const char *a = memchr(v.p, '\'', v.n), *b = a == NULL ? NULL : memchr(a + 1, '\'', v.n - (size_t)(a + 1 - v.p));

		i = b == NULL ? 0 : (size_t)(b + 1 - v.p);
	}
	for (; i < v.n; i++) {
		char c = v.p[i];

		if (c == '%' && i + 2 < v.n && hex(v.p[i + 1]) >= 0 && hex(v.p[i + 2]) >= 0) {
			c = (char)(hex(v.p[i + 1]) << 4 | hex(v.p[i + 2]));
			i += 2;
		}
		buf_add(out, &c, 1);
	}
}

/* A file's name as people see it: no control characters, valid UTF-8. */
static char *
clean_name(const char *p, size_t n)
{
	struct buf out;
	char *text;

	buf_init(&out, 4 * NAME_MAX_OCTETS + 1);
	for (size_t i = 0; i < n && i < NAME_MAX_OCTETS;) {
		size_t step = 1;

		if ((unsigned char)p[i] >= 0x80) {
			for (step = 2; step <= 4 && i + step <= n && !utf8_is_valid(p + i, step); step++)
				;
			if (step > 4 || i + step > n) {
				buf_addc(&out, '?');
				i++;
				continue;
			}
		}
		if (step == 1 && ((unsigned char)p[i] < ' ' || p[i] == 0x7F))
			buf_addc(&out, ' ');
		else
			buf_add(&out, p + i, step);
		i += step;
	}
	text = out.len == 0 ? NULL : buf_take(&out);
	buf_fini(&out);
	return text;
}

/* `want`, `want*`, or `want*0`, `want*1*`, ... in order. NULL when there is none. */
static char *
read_name(struct slice value, const char *want)
{
	struct buf v, out;
	struct slice name;
	size_t at = 0, len = strlen(want);
	unsigned piece = 0;
	bool plain = false;
	char *text = NULL, *decoded;

	buf_init(&v, VALUE_MAX);
	buf_init(&out, 2 * VALUE_MAX);
	while (next_param(value, &at, &name, &v)) {
		struct slice got = { buf_peek(&v), v.len };
		bool extended = name.n > 0 && name.p[name.n - 1] == '*';

		if (name.n < len || strncasecmp(name.p, want, len) != 0 || got.n == 0)
			continue;
		if (name.n == len && out.len == 0) {
			buf_add(&out, got.p, got.n);
			plain = true;
		} else if (name.n == len + 1 && extended) {	/* goes before the plain one (RFC 2231 section 4) */
			buf_clear(&out);
			add_extended(&out, got, true);
			plain = false;
		} else if (name.n >= len + 2 && name.p[len] == '*' && name.p[len + 1] == (char)('0' + piece) && piece < 10) {
			if (piece == 0)
				buf_clear(&out);
			plain = false;
			if (extended)
				add_extended(&out, got, piece == 0);
			else
				buf_add(&out, got.p, got.n);
			piece++;
		}
	}
	if (out.len > 0 && plain) {
		/* Against the standard, and usual: encoded words in the parameter. */
		decoded = header_decode((struct slice){ buf_peek(&out), out.len });
		text = clean_name(decoded, strlen(decoded));
		free(decoded);
	} else if (out.len > 0) {
		text = clean_name(buf_peek(&out), out.len);
	}
	buf_fini(&out);
	buf_fini(&v);
	return text;
}

static bool
read_param(struct slice value, const char *want, char *dst, size_t size)
{
	struct buf v;
	struct slice name;
	size_t at = 0;
	bool found = false;

	buf_init(&v, VALUE_MAX);
	while (!found && next_param(value, &at, &name, &v))
		found = slice_is_nocase(name, want);
	snprintf(dst, size, "%.*s", found ? (int)v.len : 0, found && v.len > 0 ? buf_peek(&v) : "");
	buf_fini(&v);
	return found;
}

/* "text/plain"; what cannot be read is no type. */
static struct slice
first_words(struct slice value)
{
	size_t from = skip_space(value, 0), i = from;

	while (i < value.n && (is_token(value.p[i]) || value.p[i] == '/'))
		i++;
	return (struct slice){ value.p + from, i - from };
}

static struct slice
field(struct mime *m, const struct header *h, const char *name)
{
	const struct header_field *f = header_find(h, name, 1);
	struct slice v = f == NULL ? (struct slice){ "", 0 } : f->value;

	if (v.n <= VALUE_MAX)
		return v;
	m->hidden = true;
	return (struct slice){ v.p, VALUE_MAX };
}

static void entity(struct mime *m, const struct header *h, struct slice body, unsigned level, const char *dflt);

/* A part with its own header. */
static void
with_header(struct mime *m, struct slice s, unsigned level, const char *dflt)
{
	static const struct header none;
	struct header h;

	if (!header_parse(&h, s)) {
		m->truncated = m->hidden = true;
		entity(m, &none, s, level, "application/octet-stream");
		return;
	}
	entity(m, &h, (struct slice){ s.p + h.end, s.n - h.end }, level, dflt);
	header_fini(&h);
}

/* Where the line that begins at `at` ends, its line break included. */
static size_t
line_end(struct slice s, size_t at)
{
	const char *nl = memchr(s.p + at, '\n', s.n - at);

	return nl == NULL ? s.n : (size_t)(nl + 1 - s.p);
}

int
mime_delimiter(struct slice s, size_t at, size_t end, const char *boundary, size_t n)
{
	size_t i = at + 2 + n;
	int kind = 1;

	if (end - at < 2 + n || memcmp(s.p + at, "--", 2) != 0 || memcmp(s.p + at + 2, boundary, n) != 0)
		return 0;
	if (i + 2 <= end && memcmp(s.p + i, "--", 2) == 0) {
		kind = 2;
		i += 2;
	}
	while (i < end && memchr(" \t\r\n", s.p[i], 4) != NULL)
		i++;
	return i == end ? kind : 0;
}

static void
multipart(struct mime *m, struct slice body, const char *boundary, unsigned level, const char *dflt)
{
	size_t n = strlen(boundary), from = SIZE_MAX, at = 0;
	int kind = 0;

	while (at < body.n && kind != 2 && m->n < MIME_PARTS) {
		size_t end = line_end(body, at);

		kind = mime_delimiter(body, at, end, boundary, n);
		if (kind != 0 && from != SIZE_MAX) {
			/* The line break before the delimiter belongs to it (RFC 2046 section 5.1.1). */
			size_t to = at;

			to -= to > from && body.p[to - 1] == '\n';
			to -= to > from && body.p[to - 1] == '\r';
			with_header(m, (struct slice){ body.p + from, to - from }, level + 1, dflt);
		}
		if (kind != 0)
			from = end;
		at = end;
	}
	if (kind == 2)
		return;
	m->truncated = true;
	m->hidden = m->hidden || m->n >= MIME_PARTS;
	if (from != SIZE_MAX && from < body.n && m->n < MIME_PARTS)
		with_header(m, (struct slice){ body.p + from, body.n - from }, level + 1, dflt);
}

static void
entity(struct mime *m, const struct header *h, struct slice body, unsigned level, const char *dflt)
{
	char boundary[MIME_BOUNDARY];
	struct mime_part *p;

	if (m->n >= MIME_PARTS) {
		m->truncated = m->hidden = true;
		return;
	}
	m->v = xrealloc(m->v, (m->n + 1) * sizeof *m->v);
	p = &m->v[m->n];
	*p = (struct mime_part){ .level = level, .octets = body };
	if (mime_describe(m, p, h, dflt, boundary)) {
		if (level >= MIME_LEVELS)
			m->truncated = m->hidden = true;
		else
			multipart(m, body, boundary, level, mime_dflt_in(p));
		return;
	}
	m->n++;
	if (strcmp(p->type, "message/rfc822") == 0 && p->encoding == MIME_PLAIN) {
		if (level >= MIME_LEVELS)
			m->truncated = m->hidden = true;
		else
			with_header(m, body, level + 1, "text/plain");
	}
}

const char *
mime_dflt_in(const struct mime_part *multipart)
{
	return strcmp(multipart->type, "multipart/digest") == 0 ? "message/rfc822" : "text/plain";
}

bool
mime_describe(struct mime *m, struct mime_part *p, const struct header *h, const char *dflt,
    char boundary[MIME_BOUNDARY])
{
	struct slice ct = field(m, h, "Content-Type"), cd = field(m, h, "Content-Disposition"),
	    cte = field(m, h, "Content-Transfer-Encoding"), words;

	words = first_words(ct);
	if (memchr(words.p, '/', words.n) == NULL)
		words = slice_of(dflt);
	put_small(p->type, sizeof p->type, words);
	if (strncmp(p->type, "multipart/", 10) == 0 && read_param(ct, "boundary", boundary, MIME_BOUNDARY) &&
	    boundary[0] != '\0' && strlen(boundary) <= BOUNDARY_MAX)
		return true;
	read_param(ct, "charset", p->charset, sizeof p->charset);
	put_small(p->charset, sizeof p->charset, slice_of(p->charset));
	words = first_words(cd);
	put_small(p->disposition, sizeof p->disposition, words);
	p->filename = read_name(cd, "filename");
	if (p->filename == NULL)
		p->filename = read_name(ct, "name");
	words = first_words(cte);
	p->encoding = slice_is_nocase(words, "base64") ? MIME_BASE64 : slice_is_nocase(words, "quoted-printable") ? MIME_QUOTED :
	    MIME_PLAIN;
	return false;
}

void
mime_parse(struct mime *m, struct slice header, struct slice body)
{
	struct header h;

	*m = (struct mime){ .v = NULL };
	if (!header_parse(&h, header)) {
		m->truncated = m->hidden = true;
		return;
	}
	entity(m, &h, body, 0, "text/plain");
	header_fini(&h);
}

void
mime_fini(struct mime *m)
{
	for (size_t i = 0; i < m->n; i++)
		free(m->v[i].filename);
	free(m->v);
	*m = (struct mime){ .v = NULL };
}

void
mime_free(struct mime *m)
{
	if (m == NULL)
		return;
	mime_fini(m);
	free(m);
}

/* ---- Content ---- */

static int
digit64(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Other characters are skipped (RFC 2045 section 6.8); "=" ends a group and not the part, as some put two
 * encoded pieces behind each other. */
static void
decode_base64(struct buf *out, struct slice s)
{
	uint32_t acc = 0;
	unsigned bits = 0;

	for (size_t i = 0; i < s.n; i++) {
		int d = digit64(s.p[i]);

		if (s.p[i] == '=')
			bits = 0;
		if (d < 0)
			continue;
		acc = acc << 6 | (uint32_t)d;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			buf_addc(out, (char)(acc >> bits & 0xFF));
		}
	}
}

static void
decode_quoted(struct buf *out, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		size_t k = i + 1;

		if (s.p[i] != '=') {
			buf_addc(out, s.p[i]);
			continue;
		}
		if (i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
			buf_addc(out, (char)(hex(s.p[i + 1]) << 4 | hex(s.p[i + 2])));
			i += 2;
			continue;
		}
		while (k < s.n && (s.p[k] == ' ' || s.p[k] == '\t' || s.p[k] == '\r'))
			k++;
		if (k < s.n && s.p[k] == '\n')
			i = k;		/* a soft line break */
		else
			buf_addc(out, '=');
	}
}

char *
mime_text(const struct mime_part *p, size_t max, size_t *n_out)
{
	struct slice in = p->octets;
	struct buf raw;
	char *text, *utf8;

	/* What is decoded is never longer, and base64 has four for three. */
	if (in.n > 2 * max)
		in.n = 2 * max;
	buf_init(&raw, in.n + 1);
	if (p->encoding == MIME_BASE64)
		decode_base64(&raw, in);
	else if (p->encoding == MIME_QUOTED)
		decode_quoted(&raw, in);
	else
		buf_add(&raw, in.p, in.n);
	*n_out = raw.len < max ? raw.len : max;
	text = xmalloc(*n_out + 1);
	memcpy(text, buf_peek(&raw), *n_out);
	text[*n_out] = '\0';
	buf_fini(&raw);
	if (strncmp(p->type, "text/", 5) != 0)
		return text;
	utf8 = charset_to_utf8(p->charset, text, *n_out, n_out);
	if (utf8 == NULL)
		return text;
	free(text);
	return utf8;
}

void
mime_params(struct slice value, struct buf *out)
{
	struct slice name, word = first_words(value);
	size_t at = 0, known[64], n = 0;
	char want[80];
	struct buf v;

	for (size_t i = 0; i < word.n; i++)
		buf_addc(out, small(word.p[i]));
	buf_addc(out, '\0');
	buf_init(&v, VALUE_MAX);
	while (n < NELEMS(known) && next_param(value, &at, &name, &v)) {
		const char *star = memchr(name.p, '*', name.n);
		char *text;
		size_t k = 0;

		if (star != NULL)
			name.n = (size_t)(star - name.p);
		put_small(want, sizeof want, name);
		while (k < n && strcmp(buf_peek(out) + known[k], want) != 0)
			k++;
		if (k < n || name.n == 0 || name.n >= sizeof want)
			continue;
		text = read_name(value, want);
		known[n++] = out->len;
		buf_add(out, want, strlen(want) + 1);
		buf_add(out, text == NULL ? "" : text, text == NULL ? 1 : strlen(text) + 1);
		free(text);
	}
	buf_fini(&v);
}
