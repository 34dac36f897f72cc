#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "message/mime.h"
#include "policy/view.h"

void
view_init(struct policy_view *v, struct policy_subject *s)
{
	*v = (struct policy_view){ .s = s };
}

static void
forget(struct policy_view *v)
{
	for (size_t i = 0; v->state == VIEW_READ && i < v->header.n; i++) {
		if (v->decoded != NULL)
			free(v->decoded[i]);
		if (v->folded != NULL)
			free(v->folded[i]);
	}
	free(v->decoded);
	free(v->folded);
	if (v->state == VIEW_READ)
		header_fini(&v->header);
	free(v->rendered);
	/* What the body has stays: edits are about the header. */
	*v = (struct policy_view){ .s = v->s, .conf = v->conf, .call = v->call,
	    .owner = v->owner, .mime = v->mime };
}

void
view_fini(struct policy_view *v)
{
	forget(v);
	if (v->mime != NULL)
		mime_fini(v->mime);
	free(v->mime);
	v->mime = NULL;
}

#define MIME_MAX (256u * 1024)

const struct mime *
view_mime(struct policy_view *v)
{
	const struct content *c = v->s->content != NULL ? v->s->content : v->s->msg == NULL ? NULL : v->s->msg->content;

	if (v->mime == NULL && c != NULL && c->mem == NULL && c->parts != NULL)
		return c->parts;
	if (v->mime == NULL && c != NULL) {
		v->mime = xmalloc(sizeof *v->mime);
		mime_parse(v->mime, content_header_peek(c), content_body_peek(c, MIME_MAX));
		v->mime->hidden = v->mime->hidden || c->mem == NULL || c->size - c->header_size > MIME_MAX;
	}
	return v->mime;
}

const struct header *
view_header(struct policy_view *v)
{
	const struct msg *m = v->s->msg;
	size_t edits = m == NULL ? 0 : m->nedits;
	struct slice octets = v->s->header;

	if (v->state == VIEW_READ && v->edits != edits)
		forget(v);	/* a handler changed a field: later ones see what will be sent */
	if (v->state == VIEW_UNREAD) {
		v->state = VIEW_NONE;
		if (octets.p == NULL)
			return NULL;
		if (edits > 0) {
			size_t n = 0;

			v->rendered = header_render(m, octets, &n);
			octets = (struct slice){ v->rendered, n };
		}
		v->edits = edits;
		if (octets.p != NULL && header_parse(&v->header, octets))
			v->state = VIEW_READ;
	}
	return v->state == VIEW_READ ? &v->header : NULL;
}

const char *
view_decoded(struct policy_view *v, size_t i)
{
	if (v->decoded == NULL)
		v->decoded = xcalloc(v->header.n, sizeof *v->decoded);
	if (v->decoded[i] == NULL)
		v->decoded[i] = header_decode(v->header.fields[i].value);
	if (v->decoded[i] == NULL)
		v->decoded[i] = xstrdup("");
	return v->decoded[i];
}

const char *
view_folded(struct policy_view *v, size_t i)
{
	if (v->folded == NULL)
		v->folded = xcalloc(v->header.n, sizeof *v->folded);
	if (v->folded[i] == NULL)
		v->folded[i] = text_fold(view_decoded(v, i));
	return v->folded[i];
}

/* ---- Text ---- */

/* One code point; an octet that is not UTF-8 stands for itself. */
static uint32_t
next_char(const char **p)
{
	const unsigned char *s = (const unsigned char *)*p;
	unsigned more = s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 1 : s[0] < 0xF0 ? 2 : s[0] < 0xF5 ? 3 : 0;
	uint32_t c = s[0] & (more == 0 ? 0xFF : 0x3F >> more);

	for (unsigned i = 1; i <= more; i++) {
		if ((s[i] & 0xC0) != 0x80) {
			*p += 1;
			return s[0];
		}
		c = c << 6 | (s[i] & 0x3F);
	}
	*p += 1 + more;
	return c;
}

static bool
is_space(uint32_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || c == 0xA0 || (c >= 0x2000 && c <= 0x200A) ||
	    c == 0x202F || c == 0x3000;
}

/* Soft hyphen, zero-width characters, directional marks: they would split a word unseen. */
static bool
is_invisible(uint32_t c)
{
	return c == 0xAD || (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) ||
	    c == 0x2060 || c == 0xFEFF;
}

static uint32_t
fold_char(uint32_t c)
{
	if ((c >= 'A' && c <= 'Z') || (c >= 0xC0 && c <= 0xDE && c != 0xD7) ||
	    (c >= 0x391 && c <= 0x3A9) || (c >= 0x410 && c <= 0x42F))
		return c + 32;
	if (c >= 0x400 && c <= 0x40F)
		return c + 80;
	if ((c >= 0x100 && c <= 0x137 && c != 0x130) || (c >= 0x14A && c <= 0x177) ||
	    (c >= 0x460 && c <= 0x481) || (c >= 0x1E00 && c <= 0x1EFF))
		return c | 1;
	if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E))
		return c + (c & 1);
	if (c >= 0xFF21 && c <= 0xFF3A)
		return c + 32;
	return c;
}

char *
text_fold(const char *s)
{
	/* No fold above makes a character longer than it was. */
	char *out = xmalloc(strlen(s) + 1), *w = out;
	bool space = false;

	while (*s != '\0') {
		const char *from = s;
		uint32_t c = next_char(&s), f = fold_char(c);

		if (is_invisible(c))
			continue;
		if (is_space(c)) {
			space = w != out;
			continue;
		}
		if (space)
			*w++ = ' ';
		space = false;
		if (s - from == 1) {
			*w++ = c < 0x80 ? (char)f : *from;
		} else if (f == c) {
			memcpy(w, from, (size_t)(s - from));
			w += s - from;
		} else if (f < 0x800) {
			*w++ = (char)(0xC0 | f >> 6);
			*w++ = (char)(0x80 | (f & 0x3F));
		} else {
			*w++ = (char)(0xE0 | f >> 12);
			*w++ = (char)(0x80 | (f >> 6 & 0x3F));
			*w++ = (char)(0x80 | (f & 0x3F));
		}
	}
	*w = '\0';
	return out;
}

bool
text_glob(const char *pattern, const char *text)
{
	const char *star = NULL, *resume = NULL;

	while (*text != '\0') {
		if (*pattern == '*') {
			star = ++pattern;
			resume = text;
		} else if (*pattern == '?') {
			pattern++;
			next_char(&text);
		} else if (*pattern == *text) {
			pattern++;
			text++;
		} else if (star != NULL) {	/* only the last star needs to try again */
			pattern = star;
			text = ++resume;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

static bool
is_word_octet(char c)
{
	unsigned char u = (unsigned char)c;

	return u >= 0x80 || (u >= '0' && u <= '9') || (u >= 'a' && u <= 'z') || u == '_';
}

bool
text_has_word(const char *text, const char *word)
{
	size_t n = strlen(word);
	bool head, tail;

	if (n == 0)
		return false;
	head = is_word_octet(word[0]);
	tail = is_word_octet(word[n - 1]);
	for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
		if (!(head && at > text && is_word_octet(at[-1])) && !(tail && is_word_octet(at[n])))
			return true;
	return false;
}
