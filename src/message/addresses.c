/* All addresses of a field such as To (RFC 5322 3.4), with the names beside them. Linear in the octets. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "message/message.h"

#define PART_MAX 4096u		/* octets of a name or an address; what is longer is cut */

struct list {
	struct buf phrase, spec, comment;
	bool gap;		/* white space since the last octet of the phrase */
	bool angle, had_angle;
	struct buf *out;
	size_t n, max;
};

static void
reset(struct list *l)
{
	buf_clear(&l->phrase);
	buf_clear(&l->spec);
	buf_clear(&l->comment);
	l->gap = l->angle = l->had_angle = false;
}

/* As it was written; what is no text is shown escaped. */
static char *
clean(struct slice s)
{
	bool ok = utf8_is_valid(s.p, s.n);
	char *text;

	for (size_t i = 0; i < s.n; i++)
		ok = ok && (unsigned char)s.p[i] >= 0x20 && s.p[i] != 0x7F;
	if (ok)
		return slice_dup(s);
	text = xmalloc(4 * s.n + 4);
	text_escape(text, 4 * s.n + 4, s.p, s.n, false);
	return text;
}

/* "name" NUL "address" NUL. Of a source route (@a,@b:user@domain) its end. */
static void
emit(struct list *l)
{
	struct slice spec = buf_slice(&l->spec), name = buf_slice(l->had_angle ? &l->phrase : &l->comment);
	const char *colon = spec.n > 0 && spec.p[0] == '@' ? memchr(spec.p, ':', spec.n) : NULL;
	char *decoded, *text;

	if (colon != NULL) {
		spec.n -= (size_t)(colon + 1 - spec.p);
		spec.p = colon + 1;
	}
	if (spec.n > 0 && l->n < l->max && memchr(spec.p, '\0', spec.n) == NULL) {
		decoded = header_decode(name);
		text = clean(spec);
		buf_add(l->out, decoded, strlen(decoded) + 1);
		buf_add(l->out, text, strlen(text) + 1);
		free(decoded);
		free(text);
		l->n++;
	}
	reset(l);
}

static void
add_phrase(struct list *l, const char *p, size_t n)
{
	if (l->gap && l->phrase.len > 0)
		buf_addc(&l->phrase, ' ');
	l->gap = false;
	buf_add(&l->phrase, p, n);
}

/* Octets up to the `)` that ends the comment; those in it are kept as a name. */
static size_t
take_comment(struct list *l, struct slice s)
{
	size_t depth = 0, i;

	buf_clear(&l->comment);
	for (i = 0; i < s.n; i++) {
		if (s.p[i] == '\\' && i + 1 < s.n)
			i++;
		else if (s.p[i] == '(' && depth++ == 0)
			continue;
		else if (s.p[i] == ')' && --depth == 0)
			return i + 1;
		buf_addc(&l->comment, s.p[i]);
	}
	return i;
}

/* A quoted string: as it is in an address, without its quotes in a name. */
static size_t
take_quoted(struct list *l, struct slice s)
{
	size_t i;

	if (!l->angle)
		add_phrase(l, "", 0);
	for (i = 1; i < s.n && s.p[i] != '"'; i++) {
		if (s.p[i] == '\\' && i + 1 < s.n)
			i++;
		if (!l->angle)
			buf_addc(&l->phrase, s.p[i]);
	}
	i += i < s.n;
	if (l->angle || !l->had_angle)
		buf_add(&l->spec, s.p, i);
	return i;
}

static void
take_octet(struct list *l, char c)
{
	switch (c) {
	case ' ': case '\t': case '\r': case '\n':
		l->gap = true;
		return;
	case '<':
		buf_clear(&l->spec);
		l->angle = l->had_angle = true;
		return;
	case '>':
		l->angle = false;
		return;
	case ',': case ';':
		if (!l->angle) {
			emit(l);
			return;
		}
		break;
	case ':':
		if (!l->angle) {
			reset(l);	/* the name of a group */
			return;
		}
		break;
	default:
		break;
	}
	if (l->angle || !l->had_angle)
		buf_addc(&l->spec, c);
	if (!l->had_angle)
		add_phrase(l, &c, 1);
}

size_t
header_mailboxes(struct slice value, size_t max, struct buf *out)
{
	struct list l = { .out = out, .max = max };

	buf_init(&l.phrase, PART_MAX);
	buf_init(&l.spec, PART_MAX);
	buf_init(&l.comment, PART_MAX);
	for (size_t i = 0; i < value.n && l.n < max;) {
		struct slice rest = { value.p + i, value.n - i };

		if (*rest.p == '(') {
			i += take_comment(&l, rest);
		} else if (*rest.p == '"') {
			i += take_quoted(&l, rest);
		} else {
			take_octet(&l, *rest.p);
			i++;
		}
	}
	emit(&l);
	buf_fini(&l.phrase);
	buf_fini(&l.spec);
	buf_fini(&l.comment);
	return l.n;
}
