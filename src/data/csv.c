/* CSV (RFC 4180), with libcsv. The first line names the columns. */
#include "config.h"

#include <csv.h>
#include <stdlib.h>
#include <string.h>

#include "data/data_int.h"

struct reading {
	struct build *b;
	const char *file;
	struct err *err;
	size_t line, row_line;		/* the one being read; where the row began */
	size_t column;			/* of the next field */
	bool has_header, in_row, is_wrong;
};

static void
fail(struct reading *g, const char *fmt, size_t a, size_t b)
{
	char text[200];

	if (g->is_wrong)
		return;
	g->is_wrong = true;
	snprintf(text, sizeof text, fmt, a, b);
	err_set(g->err, "%s:%zu: %s", g->file, g->row_line, text);
}

static void
on_field(void *p, size_t n, void *arg)
{
	struct reading *g = arg;
	struct slice text = { p, n };

	if (g->is_wrong)
		return;
	if (n > 0 && (!utf8_is_valid(p, n) || memchr(p, '\0', n) != NULL)) {
		fail(g, "field %zu is not valid UTF-8", g->column + 1, 0);
	} else if (!g->has_header) {
		if (!build_column(g->b, text, g->err))
			g->is_wrong = true;
	} else if (g->column >= build_ncolumns(g->b)) {
		fail(g, "there are more fields than the %zu columns", build_ncolumns(g->b), 0);
	} else if ((g->column == 0 && !build_row(g->b, g->row_line, g->err)) ||
	    !build_text(g->b, g->column, text, g->err)) {
		g->is_wrong = true;
	}
	g->column++;
}

static void
on_row(int end, void *arg)
{
	struct reading *g = arg;

	if (g->has_header && g->column < build_ncolumns(g->b))
		fail(g, "there are %zu fields and %zu columns", g->column, build_ncolumns(g->b));
	g->has_header = true;
	g->column = 0;
	g->in_row = false;
}

static bool
feed(struct reading *g, struct csv_parser *p, const char *s, size_t n)
{
	if (csv_parse(p, s, n, on_field, on_row, g) == n || g->is_wrong)
		return !g->is_wrong;
	fail(g, csv_error(p) == CSV_EPARSE ? "a quotation mark stands where none may (%zu columns)" :
	    "the line is too long", build_ncolumns(g->b), 0);
	return false;
}

static bool
is_blank(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strchr(" \t\r\n", s[i]) == NULL || s[i] == '\0')
			return false;
	return true;
}

/* A line at a time, so that what is wrong has a line number. */
static void
read_lines(struct reading *g, struct csv_parser *p, const char *s, size_t n)
{
	while (n > 0) {
		const char *nl = memchr(s, '\n', n);
		size_t len = nl == NULL ? n : (size_t)(nl - s) + 1;

		g->line++;
		if (!g->in_row)
			g->row_line = g->line;
		/* Empty lines between rows are none. */
		g->in_row = g->in_row || !is_blank(s, len);
		if (!feed(g, p, s, len))
			return;
		s += len;
		n -= len;
	}
	if (csv_fini(p, on_field, on_row, g) != 0)
		fail(g, "a quotation mark is never closed", 0, 0);
}

struct rows *
csv_read(const struct conf_table *conf, const char *file, const char *s, size_t n, struct err *err)
{
	struct reading g = { .file = file, .err = err, .row_line = 1 };
	struct csv_parser p;

	if (n >= 3 && memcmp(s, "\xEF\xBB\xBF", 3) == 0)
		s += 3, n -= 3;
	if (csv_init(&p, CSV_STRICT | CSV_STRICT_FINI) != 0)
		out_of_memory(0);
	g.b = build_new(conf, file);
	read_lines(&g, &p, s, n);
	csv_free(&p);
	if (!g.is_wrong && !g.has_header) {
		err_set(err, "%s: is empty; its first line must name the columns", file);
		g.is_wrong = true;
	}
	if (g.is_wrong) {
		build_free(g.b);
		return NULL;
	}
	return build_end(g.b, err);
}
