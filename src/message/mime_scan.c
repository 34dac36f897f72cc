/* The parts of a message too large to be kept in memory, as its octets pass: names and types, for matchers.
 * Line by line: a delimiter of an outer multipart ends what is within (as mime.c cuts it), then comes the
 * header of a part, then its body, of which only the next delimiter matters. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "message/message_int.h"
#include "message/mime.h"

#define LINE_SEEN 8192u			/* of a line */
#define PART_HEADER_MAX (64u * 1024)

struct mime_scan {
	struct mime m;
	char line[LINE_SEEN];
	size_t n;			/* octets of the line; what is beyond LINE_SEEN is not in it */
	struct buf header;		/* of the part that begins */
	bool in_header, has_field;
	bool is_empty;			/* nothing came behind the delimiter yet */
	unsigned level;			/* of that part */
	const char *dflt;
	struct {
		char boundary[MIME_BOUNDARY];
		size_t n;
		unsigned level;
		const char *dflt;
	} open[MIME_LEVELS];		/* outermost first */
	unsigned depth;
};

static void
begin_header(struct mime_scan *x, unsigned level, const char *dflt)
{
	buf_clear(&x->header);
	x->in_header = x->is_empty = true;
	x->has_field = false;
	x->level = level;
	x->dflt = dflt;
}

static void
take_entity(struct mime_scan *x, const struct header *h, const char *dflt)
{
	struct mime *m = &x->m;
	char boundary[MIME_BOUNDARY];
	struct mime_part *p;

	if (m->n >= MIME_PARTS) {
		m->truncated = m->hidden = true;
		return;
	}
	m->v = xrealloc(m->v, (m->n + 1) * sizeof *m->v);
	p = &m->v[m->n];
	*p = (struct mime_part){ .level = x->level, .octets = { "", 0 } };
	if (mime_describe(m, p, h, dflt, boundary)) {
		if (x->level >= MIME_LEVELS || x->depth == MIME_LEVELS) {
			m->truncated = m->hidden = true;
			return;
		}
		memcpy(x->open[x->depth].boundary, boundary, sizeof boundary);
		x->open[x->depth].n = strlen(boundary);
		x->open[x->depth].level = x->level;
		x->open[x->depth++].dflt = mime_dflt_in(p);
		return;
	}
	m->n++;
	if (strcmp(p->type, "message/rfc822") != 0 || p->encoding != MIME_PLAIN)
		return;
	if (x->level >= MIME_LEVELS) {
		m->truncated = m->hidden = true;
	} else {
		begin_header(x, x->level + 1, "text/plain");
		x->is_empty = false;	/* it is a part even when nothing comes */
	}
}

static void
end_header(struct mime_scan *x)
{
	static const struct header none;
	struct slice s = { x->header.len == 0 ? "" : buf_peek(&x->header), x->header.len };
	struct header h;

	x->in_header = false;
	if (!header_parse(&h, s)) {
		x->m.truncated = x->m.hidden = true;
		take_entity(x, &none, "application/octet-stream");
		return;
	}
	/* Fields borrow from the buffer, which a message in the message would clear; by then they were read. */
	take_entity(x, &h, x->dflt);
	header_fini(&h);
}

/* A line of the header of a part; `text`: octets of it without its end. False: it is none, and what it is depends
 * on what the header said. */
static bool
header_line(struct mime_scan *x, size_t seen, size_t text)
{
	size_t colon;

	x->is_empty = false;
	if (text == 0 && x->n > 0) {
		end_header(x);
		return true;
	}
	if (!(x->has_field && (x->line[0] == ' ' || x->line[0] == '\t')) &&
	    header_name_length(x->line, text, &colon) == 0) {
		end_header(x);
		return false;
	}
	x->has_field = true;
	if (x->n <= seen && buf_add(&x->header, x->line, seen))
		return true;
	/* A line or a header that is longer than we look at. */
	x->m.truncated = x->m.hidden = true;
	if (x->n <= seen)
		end_header(x);
	else if (buf_room(&x->header) > seen + 2) {
		buf_add(&x->header, x->line, seen);
		buf_adds(&x->header, "\r\n");
	}
	return true;
}

/* 0 none, else as mime_delimiter; of the outermost that this line is one of. */
static int
find_delimiter(const struct mime_scan *x, unsigned *at_out)
{
	struct slice line = { x->line, x->n };
	int kind = 0;

	for (unsigned i = 0; kind == 0 && x->n <= LINE_SEEN && i < x->depth; i++) {
		kind = mime_delimiter(line, 0, line.n, x->open[i].boundary, x->open[i].n);
		*at_out = i;
	}
	return kind;
}

static void
end_line(struct mime_scan *x)
{
	size_t seen = x->n < LINE_SEEN ? x->n : LINE_SEEN, text = seen;
	unsigned at = 0;
	int kind;

	if (x->n <= seen && text > 0 && x->line[text - 1] == '\n')
		text -= text > 1 && x->line[text - 2] == '\r' ? 2 : 1;
	/* What ended a header may begin what it announced. Each turn goes a level deeper. */
	while ((kind = find_delimiter(x, &at)) == 0 && x->in_header && !header_line(x, seen, text))
		;
	x->n = 0;
	if (kind == 0)
		return;
	if (x->is_empty && at + 1 < x->depth)	/* nothing but a delimiter, at the end of what is over */
		x->in_header = false;
	while (x->in_header)
		end_header(x);
	x->depth = at + (kind == 1);
	if (kind == 1)
		begin_header(x, x->open[at].level + 1, x->open[at].dflt);
}

/* ---- For the writer ---- */

struct mime_scan *
mime_scan_new(struct slice header)
{
	struct mime_scan *x = xcalloc(1, sizeof *x);
	struct header h;

	buf_init(&x->header, PART_HEADER_MAX);
	if (!header_parse(&h, header)) {
		x->m.truncated = x->m.hidden = true;
		return x;
	}
	take_entity(x, &h, "text/plain");
	header_fini(&h);
	return x;
}

void
mime_scan_add(struct mime_scan *x, const char *p, size_t n)
{
	const char *end = p + n;

	if (x->depth == 0 && !x->in_header)
		return;		/* nothing can come any more */
	while (p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t step = (size_t)((nl == NULL ? end : nl + 1) - p);

		if (x->n < LINE_SEEN)
			memcpy(x->line + x->n, p, step < LINE_SEEN - x->n ? step : LINE_SEEN - x->n);
		x->n += step;
		if (nl != NULL)
			end_line(x);
		p += step;
	}
}

size_t
mime_scan_memory(const struct mime_scan *x)
{
	return sizeof *x + x->header.cap + x->m.n * (sizeof *x->m.v + 64);
}

struct mime *
mime_scan_end(struct mime_scan *x)
{
	struct mime *m = xcalloc(1, sizeof *m);

	if (x->n > 0)
		end_line(x);
	while (x->in_header && !x->is_empty)
		end_header(x);
	x->m.truncated = x->m.truncated || x->depth > 0;
	*m = x->m;
	x->m = (struct mime){ .v = NULL };
	mime_scan_free(x);
	return m;
}

void
mime_scan_free(struct mime_scan *x)
{
	if (x == NULL)
		return;
	mime_fini(&x->m);
	buf_fini(&x->header);
	free(x);
}
