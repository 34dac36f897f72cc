#include "config.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "message/report.h"

#define PARTS_MAX 16
#define BOUNDARY_MAX 70		/* RFC 2046 5.1.1 */

struct media {			/* of a Content-Type field (RFC 2045 5.1) */
	char type[80];		/* small letters: "message/delivery-status" */
	char boundary[BOUNDARY_MAX + 1];
	char report_type[40];
};

/* ---- Content-Type ---- */

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* White space and comments (RFC 5322 3.2.2). */
static void
skip_cfws(struct slice *s)
{
	int depth = 0;

	while (s->n > 0 && (depth > 0 || is_space(*s->p) || *s->p == '(')) {
		if (*s->p == '(')
			depth++;
		else if (*s->p == ')' && depth > 0)
			depth--;
		else if (*s->p == '\\' && s->n > 1)
			s->p++, s->n--;
		s->p++;
		s->n--;
	}
}

/* A token, or what a quoted string says. What does not fit is empty: such a value is of no use. */
static void
take_value(struct slice *s, char *dst, size_t size)
{
	bool quoted = s->n > 0 && *s->p == '"', fits = true;
	size_t n = 0;

	if (quoted)
		s->p++, s->n--;
	while (s->n > 0 && (quoted ? *s->p != '"' : !is_space(*s->p) && strchr(";(\"", *s->p) == NULL)) {
		if (quoted && *s->p == '\\' && s->n > 1)
			s->p++, s->n--;
		if (*s->p != '\r' && *s->p != '\n') {
			if (n + 1 < size && *s->p != '\0')
				dst[n++] = *s->p;
			else
				fits = false;
		}
		s->p++;
		s->n--;
	}
	if (quoted && s->n > 0)
		s->p++, s->n--;
	dst[fits ? n : 0] = '\0';
}

static void
lower(char *s)
{
	for (; *s != '\0'; s++)
		if (*s >= 'A' && *s <= 'Z')
			*s = (char)(*s + 32);
}

static void
read_media(struct media *m, const struct header *h)
{
	const struct header_field *f = header_find(h, "Content-Type", 1);
	struct slice s = f == NULL ? SLICE("") : f->value;

	memset(m, 0, sizeof *m);
	skip_cfws(&s);
	take_value(&s, m->type, sizeof m->type);
	lower(m->type);
	for (skip_cfws(&s); s.n > 0 && *s.p == ';'; skip_cfws(&s)) {
		char name[32], value[128], *eq;
		const char *before;

		s.p++, s.n--;
		skip_cfws(&s);
		/* The name ends at '=', which no value before it holds unquoted. */
		before = memchr(s.p, '=', s.n);
		if (before == NULL || (size_t)(before - s.p) >= sizeof name)
			return;
		memcpy(name, s.p, (size_t)(before - s.p));
		name[before - s.p] = '\0';
		eq = name + strcspn(name, " \t\r\n(");
		*eq = '\0';
		lower(name);
		s.n -= (size_t)(before + 1 - s.p);
		s.p = before + 1;
		skip_cfws(&s);
		take_value(&s, value, sizeof value);
		if (strcmp(name, "boundary") == 0 && strlen(value) <= BOUNDARY_MAX)
			strcpy(m->boundary, value);
		else if (strcmp(name, "report-type") == 0 && strlen(value) < sizeof m->report_type)
			strcpy(m->report_type, value);
	}
}

static bool
is_report(const struct media *m)
{
	return strcmp(m->type, "multipart/report") == 0 && m->boundary[0] != '\0' &&
	    (strcasecmp(m->report_type, "delivery-status") == 0 ||
	    strcasecmp(m->report_type, "feedback-report") == 0);
}

bool
report_is_announced(const struct header *h)
{
	struct media m;

	read_media(&m, h);
	return is_report(&m);
}

/* ---- Parts ---- */

/* The next line that is the boundary: its start and what follows it, NULL when there is none. */
static const char *
find_boundary(struct slice body, const char *boundary, const char **after_out, bool *last_out)
{
	size_t n = strlen(boundary);
	const char *end = body.p + body.n, *line = body.p;

	while (line < end) {
		const char *lf = memchr(line, '\n', (size_t)(end - line)), *p = line + 2 + n;

		if ((size_t)(end - line) >= n + 2 && line[0] == '-' && line[1] == '-' &&
		    memcmp(line + 2, boundary, n) == 0) {
			*last_out = end - p >= 2 && p[0] == '-' && p[1] == '-';
			if (*last_out)
				p += 2;
			while (p < end && (*p == ' ' || *p == '\t' || *p == '\r'))
				p++;
			if (p == end || *p == '\n') {
				*after_out = p == end ? end : p + 1;
				return line;
			}
		}
		if (lf == NULL)
			return NULL;
		line = lf + 1;
	}
	return NULL;
}

/* The part before the next boundary; false when there is no part any more. *cut: it has no end. */
static bool
next_part(struct slice *rest, const char *boundary, struct slice *part, bool *cut)
{
	const char *after, *at;
	bool last = false;

	if (rest->n == 0)
		return false;
	at = find_boundary(*rest, boundary, &after, &last);
	*cut = at == NULL;
	*part = (struct slice){ rest->p, at == NULL ? rest->n : (size_t)(at - rest->p) };
	if (at == NULL || last)
		*rest = (struct slice){ rest->p + rest->n, 0 };
	else
		*rest = (struct slice){ after, rest->n - (size_t)(after - rest->p) };
	return true;
}

static int
hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 :
	    c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Quoted-printable (RFC 2045 6.7); what is not stays as it is. */
static size_t
decode_qp(char *out, struct slice in)
{
	size_t n = 0;

	for (size_t i = 0; i < in.n; i++) {
		size_t k = i + 1;

		if (in.p[i] != '=') {
			out[n++] = in.p[i];
			continue;
		}
		while (k < in.n && (in.p[k] == ' ' || in.p[k] == '\t' || in.p[k] == '\r'))
			k++;
		if (k < in.n && in.p[k] == '\n') {	/* a line that goes on */
			i = k;
		} else if (i + 2 < in.n && hex(in.p[i + 1]) >= 0 && hex(in.p[i + 2]) >= 0) {
			out[n++] = (char)(hex(in.p[i + 1]) << 4 | hex(in.p[i + 2]));
			i += 2;
		} else {
			out[n++] = '=';
		}
	}
	return n;
}

static bool
decode_base64(char *out, struct slice in, size_t *n_out)
{
	EVP_ENCODE_CTX *ctx = EVP_ENCODE_CTX_new();
	int a = 0, b = 0;
	bool ok;

	if (ctx == NULL)
		return false;
	EVP_DecodeInit(ctx);
	ok = EVP_DecodeUpdate(ctx, (unsigned char *)out, &a, (const unsigned char *)in.p, (int)in.n) >= 0 &&
	    EVP_DecodeFinal(ctx, (unsigned char *)out + a, &b) >= 0;
	EVP_ENCODE_CTX_free(ctx);
	*n_out = ok ? (size_t)(a + b) : 0;
	return ok;
}

/* The part's octets without their encoding; such a part need not have one (RFC 3464 2.1), but some
 * have. */
static struct slice
undo_encoding(struct report *r, const struct header *h, struct slice in)
{
	const struct header_field *f = header_find(h, "Content-Transfer-Encoding", 1);
	struct slice how = f == NULL ? SLICE("") : slice_trim(f->value);
	bool is_qp = slice_is_nocase(how, "quoted-printable");
	size_t n;

	if ((!is_qp && !slice_is_nocase(how, "base64")) || in.n > HEADER_MAX_BYTES * 2)
		return in;
	r->decoded = xmalloc(in.n + 4);
	if (is_qp)
		n = decode_qp(r->decoded, in);
	else if (!decode_base64(r->decoded, in, &n))
		n = 0;
	return (struct slice){ r->decoded, n };
}

/* The next group of fields that has any; empty lines stand between them. */
static bool
next_group(struct slice *rest, struct header *h)
{
	memset(h, 0, sizeof *h);
	while (rest->n > 0) {
		size_t used;

		if (!header_parse(h, *rest))
			return false;
		used = h->end;
		*rest = (struct slice){ rest->p + used, rest->n - used };
		if (h->n > 0)
			return true;
		header_fini(h);
		if (used == 0)		/* a line that is no field: nobody knows what follows */
			return false;
	}
	return false;
}

static void
read_machine_part(struct report *r, const struct header *h, struct slice in)
{
	struct slice rest = undo_encoding(r, h, in);
	struct header group;

	if (!next_group(&rest, &r->fields) || r->kind != REPORT_DSN)
		return;
	while (next_group(&rest, &group)) {
		if (r->nrcpts == REPORT_RCPTS_MAX) {
			header_fini(&group);
			r->is_cut = true;
			return;
		}
		if ((r->nrcpts & (r->nrcpts - 1)) == 0)
			r->rcpts = xrealloc(r->rcpts, (r->nrcpts == 0 ? 1 : 2 * r->nrcpts) * sizeof *r->rcpts);
		r->rcpts[r->nrcpts++] = group;
	}
}

static bool
is_one_of(const char *type, const char *const *v)
{
	while (*v != NULL && strcmp(*v, type) != 0)
		v++;
	return *v != NULL;
}

bool
report_parse(struct report *r, const struct header *h, struct slice body, bool all)
{
	static const char *const status[] = { "message/delivery-status", "message/global-delivery-status", NULL };
	static const char *const feedback[] = { "message/feedback-report", NULL };
	static const char *const original[] = { "message/rfc822", "text/rfc822-headers", "message/global",
		"message/global-headers", NULL };
	struct slice part;
	struct media m;
	bool cut, found = false;
	int parts = 0;

	memset(r, 0, sizeof *r);
	read_media(&m, h);
	if (!is_report(&m) || !next_part(&body, m.boundary, &part, &cut))	/* the preamble is nothing */
		return false;
	r->kind = strcasecmp(m.report_type, "feedback-report") == 0 ? REPORT_FEEDBACK : REPORT_DSN;
	while (parts++ < PARTS_MAX && next_part(&body, m.boundary, &part, &cut)) {
		struct header ph;
		struct media pm;
		struct slice text;

		if (!header_parse(&ph, part))
			continue;
		text = (struct slice){ part.p + ph.end, part.n - ph.end };
		read_media(&pm, &ph);
		if (!found && is_one_of(pm.type, r->kind == REPORT_DSN ? status : feedback)) {
			found = true;
			r->is_cut = cut;
			read_machine_part(r, &ph, text);
		} else if (found && r->original.n == 0 && is_one_of(pm.type, original)) {
			if (!header_parse(&r->original, text))
				memset(&r->original, 0, sizeof r->original);
		}
		header_fini(&ph);
	}
	if (r->fields.n == 0) {
		report_fini(r);
		return false;
	}
	r->is_cut = r->is_cut || (!all && r->original.n == 0);
	return true;
}

void
report_fini(struct report *r)
{
	header_fini(&r->fields);
	header_fini(&r->original);
	for (size_t i = 0; i < r->nrcpts; i++)
		header_fini(&r->rcpts[i]);
	free(r->rcpts);
	free(r->decoded);
	memset(r, 0, sizeof *r);
}

struct slice
report_address(struct slice value)
{
	struct slice rest = value, type;

	if (memchr(value.p, ';', value.n) == NULL)
		return slice_trim(value);
	slice_cut(&rest, ';', &type);
	return slice_trim(rest);
}
