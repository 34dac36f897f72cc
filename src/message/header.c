/* Reading a header section (RFC 5322 2.2) without copying it. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "message/message_int.h"

static bool
is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

size_t
header_name_length(const char *line, size_t n, size_t *colon_out)
{
	size_t name = 0, at;

	while (name < n && (unsigned char)line[name] > 0x20 && (unsigned char)line[name] < 0x7F &&
	    line[name] != ':')
		name++;
	for (at = name; at < n && is_wsp(line[at]); at++)
		;
	if (name == 0 || at == n || line[at] != ':')
		return 0;
	*colon_out = at;
	return name;
}

static struct header_field *
field_add(struct header *h, size_t *cap)
{
	if (h->n == HEADER_MAX_FIELDS)
		return NULL;
	if (h->n == *cap) {
		*cap = *cap == 0 ? 16 : 2 * *cap;
		h->fields = xrealloc(h->fields, *cap * sizeof *h->fields);
	}
	return &h->fields[h->n++];
}

/* The field's value so far: from after the colon to `end`, without the final line end. */
static void
field_close(struct header_field *f, const char *base, size_t end)
{
	const char *last = base + end;

	f->n = end - f->at;
	if (last > f->value.p && last[-1] == '\n')
		last--;
	if (last > f->value.p && last[-1] == '\r')
		last--;
	f->value.n = (size_t)(last - f->value.p);
}

bool
header_parse(struct header *h, struct slice octets)
{
	size_t at = 0, next, cap = 0;
	struct header_field *f = NULL;

	memset(h, 0, sizeof *h);
	for (; at < octets.n; at = next) {
		const char *line = octets.p + at, *lf = memchr(line, '\n', octets.n - at);
		size_t n = lf == NULL ? octets.n - at : (size_t)(lf - line), name, colon;

		next = at + n + (lf != NULL);
		if (n > 0 && line[n - 1] == '\r' && lf != NULL)
			n--;
		if (next > HEADER_MAX_BYTES)
			goto too_big;
		if (n == 0 && lf != NULL) {
			h->end = next;
			return true;
		}
		/* A line of nothing but white space continues, too (obs-FWS, RFC 5322 4.2):
		 * the message means the same to us as to those who read it later. */
		if (f != NULL && n > 0 && is_wsp(line[0])) {
			field_close(f, octets.p, next);
			continue;
		}
		name = header_name_length(line, n, &colon);
		if (name == 0)
			break;
		f = field_add(h, &cap);
		if (f == NULL)
			goto too_big;
		f->name = (struct slice){ line, name };
		f->value.p = line + colon + 1;
		f->at = at;
		field_close(f, octets.p, next);
	}
	h->end = at;
	return true;
too_big:
	header_fini(h);
	return false;
}

void
header_fini(struct header *h)
{
	free(h->fields);
	memset(h, 0, sizeof *h);
}

const struct header_field *
header_find(const struct header *h, const char *name, size_t n)
{
	for (size_t i = 0; i < h->n; i++)
		if (slice_is_nocase(h->fields[i].name, name) && n-- == 1)
			return &h->fields[i];
	return NULL;
}

size_t
header_count(const struct header *h, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n; i++)
		n += slice_is_nocase(h->fields[i].name, name);
	return n;
}

/* ---- TLS-Required (RFC 8689 3) ---- */

static bool
is_one_of(struct slice name, const char *const *names)
{
	if (names == NULL)
		return slice_is_nocase(name, "TLS-Required");
	for (; *names != NULL; names++)
		if (slice_is_nocase(name, *names))
			return true;
	return false;
}

/* White space with its folds; only at the ends, so nothing within is glued together. */
static struct slice
trim_folds(struct slice v)
{
	while (v.n > 0 && strchr(" \t\r\n", v.p[0]) != NULL && v.p[0] != '\0')
		v.p++, v.n--;
	while (v.n > 0 && strchr(" \t\r\n", v.p[v.n - 1]) != NULL && v.p[v.n - 1] != '\0')
		v.n--;
	return v;
}

enum msg_tls_no
header_tls_required(const struct header *h, const char *const *names)
{
	enum msg_tls_no says = TLS_NO_ABSENT;

	for (size_t i = 0; i < h->n; i++) {
		if (!is_one_of(h->fields[i].name, names))
			continue;
		/* No and nothing else, but for white space around it. */
		if (!slice_is_nocase(trim_folds(h->fields[i].value), "No"))
			return TLS_NO_MALFORMED;
		says = TLS_NO_HONOURED;
	}
	return says;
}

/* ---- Addresses ---- */

/* After a comment that begins at p[0] == '(' (RFC 5322 3.2.2), n when it does not end. */
static size_t
skip_comment(const char *p, size_t n)
{
	size_t depth = 0;

	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\\')
			i++;
		else if (p[i] == '(')
			depth++;
		else if (p[i] == ')' && --depth == 0)
			return i + 1;
	}
	return n;
}

/* After the quoted string that begins at p[0] == '"'. */
static size_t
skip_quoted(const char *p, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		if (p[i] == '\\')
			i++;
		else if (p[i] == '"')
			return i + 1;
	}
	return n;
}

struct addr_scan {
	struct buf word;	/* address so far, white space and comments left out */
	bool gap;		/* white space since the last octet of it */
	bool angle;		/* inside <> */
};

/* Words that only white space divides are no address: the later one may be. */
static bool
scan_add(struct addr_scan *a, const char *p, size_t n)
{
	const char *so_far = buf_peek(&a->word);
	size_t len = a->word.len;

	if (a->gap && len > 0 && strchr("@.", so_far[len - 1]) == NULL && *p != '@' && *p != '.') {
		if (memchr(so_far, '@', len) != NULL)
			return true;	/* an address, then more words: keep the address */
		buf_clear(&a->word);
	}
	a->gap = false;
	return buf_add(&a->word, p, n);
}

/* The address, if what was collected is one. Only whole text: no NUL, no controls. */
static char *
scan_take(struct addr_scan *a)
{
	struct slice s = buf_slice(&a->word);
	const char *colon, *at;

	if (s.n > 0 && s.p[0] == '@') {		/* obsolete source route: @a,@b:user@domain */
		colon = memchr(s.p, ':', s.n);
		if (colon == NULL)
			return NULL;
		s.n -= (size_t)(colon + 1 - s.p);
		s.p = colon + 1;
	}
	at = s.n == 0 ? NULL : memrchr(s.p, '@', s.n);
	if (at == NULL || at == s.p || at == s.p + s.n - 1)
		return NULL;
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7F)
			return NULL;
	return slice_dup(s);
}

char *
header_address(struct slice value)
{
	struct addr_scan a = { .gap = false };
	char *found = NULL;

	buf_init(&a.word, 2048);
	for (size_t i = 0; i < value.n && found == NULL;) {
		const char *p = value.p + i;
		size_t left = value.n - i, step = 1;

		switch (*p) {
		case '(':
			step = skip_comment(p, left);
			a.gap = true;
			break;
		case '"':
			step = skip_quoted(p, left);
			if (!scan_add(&a, p, step))
				goto out;
			break;
		case ' ': case '\t': case '\r': case '\n':
			a.gap = true;
			break;
		case '<':
			buf_clear(&a.word);
			a.gap = false;
			a.angle = true;
			break;
		case ':':
			if (a.angle) {
				if (!scan_add(&a, p, 1))
					goto out;
			} else {
				buf_clear(&a.word);	/* the name of a group */
			}
			break;
		case ',': case ';': case '>':
			if (a.angle && *p != '>') {
				if (!scan_add(&a, p, 1))
					goto out;
				break;
			}
			found = scan_take(&a);
			buf_clear(&a.word);
			a.angle = a.gap = false;
			break;
		default:
			if (!scan_add(&a, p, 1))
				goto out;
		}
		i += step;
	}
	if (found == NULL && !a.angle)
		found = scan_take(&a);
out:
	buf_fini(&a.word);
	return found;
}
