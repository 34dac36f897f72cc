/* From the fields of a file to rows: names of columns, types, the key that may be there only once. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/data_int.h"
#include "data/rows.h"
#include "dns/dns.h"
#include "smtp/smtp.h"
#include "trust/duties.h"

#define LIST_MAX 1000u

struct build {
	const struct conf_table *conf;
	const char *file;
	struct rows *r;
	size_t cap;			/* rows */
	uint32_t *lines;
	bool may_repeat;
};

struct build *
build_new(const struct conf_table *conf, const char *file)
{
	struct build *b = xcalloc(1, sizeof *b);

	b->conf = conf;
	b->file = file;
	b->r = rows_new();
	return b;
}

void
build_free(struct build *b)
{
	if (b == NULL)
		return;
	rows_unref(b->r);
	free(b->lines);
	free(b);
}

void
build_keep(struct build *b, json_t *root)
{
	b->r->root = root;
}

void
build_many(struct build *b)
{
	b->may_repeat = true;
}

size_t
build_ncolumns(const struct build *b)
{
	return b->r->ncolumns;
}

size_t
build_find(const struct build *b, struct slice name)
{
	for (size_t i = 0; i < b->r->ncolumns; i++)
		if (slice_is(name, b->r->columns[i].name))
			return i;
	return COLUMNS_MAX;
}

/* "partners.csv:14", or "x.json: entry 3". */
static void
where(const struct build *b, char *dst, size_t size)
{
	size_t row = b->r->n;

	if (row > 0 && b->lines[row - 1] != 0)
		snprintf(dst, size, "%s:%u", b->file, b->lines[row - 1]);
	else if (row > 0)
		snprintf(dst, size, "%s: entry %zu", b->file, row);
	else
		snprintf(dst, size, "%s", b->file);
}

static bool
wrong(struct build *b, size_t column, struct slice text, struct err *err, const char *what)
{
	char at[512], shown[80];

	where(b, at, sizeof at);
	text_escape(shown, sizeof shown, text.p, text.n, true);
	err_set(err, "%s: column \"%s\": \"%s\" %s", at, b->r->columns[column].name, shown, what);
	return false;
}

static int
type_of(const struct conf_table *t, const char *name)
{
	for (size_t i = 0; i < t->ncolumns; i++)
		if (strcmp(t->columns[i].name, name) == 0)
			return (int)t->columns[i].type;
	return COLUMN_ANY;
}

bool
build_column(struct build *b, struct slice name, struct err *err)
{
	struct rows *r = b->r;
	char shown[80];

	text_escape(shown, sizeof shown, name.p, name.n, true);
	if (name.n == 0 || name.n > 64 || !utf8_is_harmless(name.p, name.n)) {
		err_set(err, "%s: \"%s\" is no name for a column (1 to 64 octets of UTF-8)", b->file, shown);
		return false;
	}
	if (r->ncolumns >= COLUMNS_MAX) {
		err_set(err, "%s: there are more than %u columns", b->file, COLUMNS_MAX);
		return false;
	}
	if (build_find(b, name) != COLUMNS_MAX) {
		err_set(err, "%s: two columns are named \"%s\"", b->file, shown);
		return false;
	}
	r->columns[r->ncolumns].name = rows_keep(r, name).p;
	r->columns[r->ncolumns].type = type_of(b->conf, r->columns[r->ncolumns].name);
	r->ncolumns++;
	return true;
}

bool
build_row(struct build *b, size_t line, struct err *err)
{
	struct rows *r = b->r;

	if (r->n >= ROWS_MAX || (r->n + 1) * r->ncolumns > CELLS_MAX) {
		err_set(err, "%s: the table is too large (at most %u rows and %u fields)", b->file, ROWS_MAX, CELLS_MAX);
		return false;
	}
	if (r->n == b->cap) {
		b->cap = b->cap == 0 ? 64 : b->cap * 2;
		r->cells = xrealloc(r->cells, b->cap * r->ncolumns * sizeof *r->cells);
		b->lines = xrealloc(b->lines, b->cap * sizeof *b->lines);
	}
	memset(&r->cells[r->n * r->ncolumns], 0, r->ncolumns * sizeof *r->cells);
	b->lines[r->n++] = (uint32_t)line;
	return true;
}

/* ---- Types ---- */

static bool
read_integer(struct slice s, int64_t *out)
{
	char text[32], *end;

	if (s.n == 0 || s.n >= sizeof text || !((s.p[0] >= '0' && s.p[0] <= '9') || s.p[0] == '-' || s.p[0] == '+'))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	errno = 0;
	*out = strtoll(text, &end, 10);
	return *end == '\0' && errno == 0;
}

static bool
read_number(struct slice s, double *out)
{
	char text[64], *end;

	if (s.n == 0 || s.n >= sizeof text)
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	/* No hexadecimal, no "inf". */
	if (strspn(text, "+-0123456789.eE") != s.n)
		return false;
	*out = strtod(text, &end);
	return *end == '\0' && *out - *out == 0;
}

static bool
read_boolean(struct slice s, bool *out)
{
	static const char *const yes[] = { "true", "yes", "1", "on" }, *const no[] = { "false", "no", "0", "off" };

	for (size_t i = 0; i < NELEMS(yes); i++) {
		*out = slice_is_nocase(s, yes[i]);
		if (*out || slice_is_nocase(s, no[i]))
			return true;
	}
	return false;
}

/* The last second of that day, UTC. */
static bool
read_date(struct slice s, int64_t *out)
{
	struct tm tm = { .tm_isdst = 0 }, back;
	unsigned y, m, d;
	char text[11];
	time_t t;

	if (s.n != 10)
		return false;
	memcpy(text, s.p, 10);
	text[10] = '\0';
	if (strspn(text, "0123456789") != 4 || text[4] != '-' || strspn(text + 5, "0123456789") != 2 || text[7] != '-' ||
	    strspn(text + 8, "0123456789") != 2 || sscanf(text, "%4u-%2u-%2u", &y, &m, &d) != 3)
		return false;
	tm.tm_year = (int)y - 1900;
	tm.tm_mon = (int)m - 1;
	tm.tm_mday = (int)d;
	t = timegm(&tm);
	if (gmtime_r(&t, &back) == NULL || back.tm_mday != (int)d || back.tm_mon != (int)m - 1)
		return false;
	*out = (int64_t)t + 86399;
	return true;
}

static bool
is_list_gap(char c)
{
	return c == ' ' || c == ',' || c == ';' || c == '\t';
}

static bool
read_list(struct rows *r, struct slice s, struct cell *c)
{
	struct slice *v;
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += !is_list_gap(s.p[i]) && (i == 0 || is_list_gap(s.p[i - 1]));
	if (n > LIST_MAX)
		return false;
	v = rows_alloc(r, (n + 1) * sizeof *v);
	n = 0;
	for (size_t i = 0, from; i < s.n; i++) {
		if (is_list_gap(s.p[i]))
			continue;
		for (from = i; i < s.n && !is_list_gap(s.p[i]); i++)
			;
		v[n++] = rows_keep(r, (struct slice){ s.p + from, i - from });
	}
	c->kind = n > 0 ? CELL_LIST : CELL_NIL;
	c->list.v = v;
	c->list.n = n;
	return true;
}

static const char *
set_domain(struct rows *r, struct cell *c, struct slice s, bool may_be_pattern)
{
	bool any = may_be_pattern && slice_is(s, "*"), below = may_be_pattern && s.n > 2 && memcmp(s.p, "*.", 2) == 0;
	char name[260];

	memcpy(name, "*.", 3);
	if (any)
		name[1] = '\0';
	else if (!dns_to_ascii(below ? name + 2 : name, below ? (struct slice){ s.p + 2, s.n - 2 } : s))
		return may_be_pattern ? "is no domain pattern such as \"acme.example\" or \"*.acme.example\"" : "is no domain";
	c->kind = CELL_TEXT;
	c->text = rows_keep(r, slice_of(name));
	return NULL;
}

static const char *
set_address(struct rows *r, struct cell *c, struct slice s)
{
	struct smtp_path path;
	struct err err = { "" };
	char *text;

	if (!smtp_address_parse(&path, s, true, &err) || path.is_null)
		return "is no mail address";
	text = xasprintf("%s%s%s", path.local, path.domain[0] == '\0' ? "" : "@", path.domain);
	c->kind = CELL_TEXT;
	c->text = rows_keep(r, slice_of(text));
	free(text);
	return NULL;
}

static const char *
set_typed(struct rows *r, struct cell *c, int type, struct slice s)
{
	enum tls_level level;
	bool ok = true;

	switch (type) {
	case COLUMN_INTEGER:
		ok = read_integer(s, &c->integer);
		c->kind = ok ? CELL_INTEGER : CELL_NIL;
		return ok ? NULL : "is no whole number";
	case COLUMN_NUMBER:
		ok = read_number(s, &c->number);
		c->kind = ok ? CELL_NUMBER : CELL_NIL;
		return ok ? NULL : "is no number";
	case COLUMN_BOOLEAN:
		ok = read_boolean(s, &c->boolean);
		c->kind = ok ? CELL_BOOLEAN : CELL_NIL;
		return ok ? NULL : "is neither true nor false";
	case COLUMN_LIST:
		return read_list(r, s, c) ? NULL : "has more than 1000 members";
	case COLUMN_DOMAIN:
	case COLUMN_PATTERN:
		return set_domain(r, c, s, type == COLUMN_PATTERN);
	case COLUMN_ADDRESS:
		return set_address(r, c, s);
	case COLUMN_LEVEL:
		if (!tls_level_parse(s, &level))
			return "is none of may, encrypt, verify, secure, requiretls";
		break;
	case COLUMN_DATE:
		ok = read_date(s, &c->integer);
		c->kind = ok ? CELL_INTEGER : CELL_NIL;
		return ok ? NULL : "is no date such as \"2027-06-30\"";
	case COLUMN_DURATION:
		ok = duration_parse(s, &c->integer);
		c->integer = ok ? c->integer / 1000 : 0;
		c->kind = ok ? CELL_INTEGER : CELL_NIL;
		return ok ? NULL : "is no duration such as \"90s\" or \"2h\"";
	default:
		break;
	}
	c->kind = CELL_TEXT;
	c->text = rows_keep(r, s);
	return NULL;
}

bool
build_text(struct build *b, size_t column, struct slice text, struct err *err)
{
	struct rows *r = b->r;
	struct cell *c = &r->cells[(r->n - 1) * r->ncolumns + column];
	const char *why;

	if (text.n == 0)
		return true;
	if (text.n > TEXT_MAX)
		return wrong(b, column, (struct slice){ text.p, 40 }, err, "... is longer than 64 KiB");
	why = set_typed(r, c, r->columns[column].type, text);
	return why == NULL || wrong(b, column, text, err, why);
}

/* A list of texts, where a list is meant. */
static bool
json_list(struct build *b, struct cell *c, const json_t *v)
{
	size_t n = json_array_size(v), i;
	struct slice *to;
	json_t *item;

	if (!json_is_array(v) || n > LIST_MAX)
		return false;
	to = rows_alloc(b->r, (n + 1) * sizeof *to);
	json_array_foreach((json_t *)v, i, item) {
		if (!json_is_string(item))
			return false;
		to[i] = (struct slice){ json_string_value(item), json_string_length(item) };
	}
	c->kind = CELL_LIST;
	c->list.v = to;
	c->list.n = n;
	return true;
}

bool
build_json(struct build *b, size_t column, const json_t *v, struct err *err)
{
	struct rows *r = b->r;
	struct cell *c = &r->cells[(r->n - 1) * r->ncolumns + column];
	int type = r->columns[column].type;

	switch (json_typeof(v)) {
	case JSON_NULL:
		return true;
	case JSON_STRING:
		return build_text(b, column, (struct slice){ json_string_value(v), json_string_length(v) }, err);
	case JSON_INTEGER:
		c->kind = type == COLUMN_NUMBER ? CELL_NUMBER : CELL_INTEGER;
		if (type == COLUMN_NUMBER)
			c->number = (double)json_integer_value(v);
		else
			c->integer = json_integer_value(v);
		if (type == COLUMN_ANY || type == COLUMN_INTEGER || type == COLUMN_NUMBER)
			return true;
		break;
	case JSON_REAL:
		c->kind = CELL_NUMBER;
		c->number = json_real_value(v);
		if (type == COLUMN_ANY || type == COLUMN_NUMBER)
			return true;
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		c->kind = CELL_BOOLEAN;
		c->boolean = json_is_true(v);
		if (type == COLUMN_ANY || type == COLUMN_BOOLEAN)
			return true;
		break;
	default:
		if (type == COLUMN_LIST && json_list(b, c, v))
			return true;
		c->kind = CELL_JSON;
		c->json = v;
		if (type == COLUMN_ANY)
			return true;
	}
	return wrong(b, column, SLICE("(JSON)"), err, "is of another type than columns says");
}

/* ---- The end ---- */

static size_t
column_called(struct build *b, const char *name, const char *setting, struct err *err)
{
	size_t i = build_find(b, slice_of(name));

	if (i == COLUMNS_MAX)
		err_set(err, "%s: there is no column \"%s\" (tables.%s.%s)", b->file, name, b->conf->name, setting);
	return i;
}

static bool
find_key(struct build *b, struct err *err)
{
	size_t i = 0;

	if (b->conf->key != NULL)
		i = column_called(b, b->conf->key, "key", err);
	else if (b->conf->json != NULL)
		i = column_called(b, "key", "key", err);
	b->r->key = i;
	return i != COLUMNS_MAX;
}

/* Every row has a key, and its own. */
static bool
keys_are_good(struct build *b, struct err *err)
{
	struct rows *r = b->r;
	char at[512], shown[80];
	struct slice key;
	size_t pos, n = r->n;

	for (size_t i = 0; i < n; i++) {
		const struct cell *c = rows_cell(r, i, r->key);
		size_t first, second;

		r->n = i + 1;		/* for where() */
		where(b, at, sizeof at);
		r->n = n;
		if (c->kind == CELL_LIST)
			continue;
		if (!rows_cell_text(r, c, &key)) {
			err_set(err, "%s: the key (column \"%s\") is empty", at, r->columns[r->key].name);
			return false;
		}
		first = b->may_repeat ? i : rows_first(r, (int)r->key, key, &pos);
		if (first == i)
			continue;
		second = i;
		text_escape(shown, sizeof shown, key.p, key.n, true);
		err_set(err, "%s: the key \"%s\" is there already (%s %zu)", at, shown,
		    b->lines[second] != 0 ? "line" : "entry", b->lines[second] != 0 ? b->lines[first] : first + 1);
		return false;
	}
	return true;
}

struct rows *
build_end(struct build *b, struct err *err)
{
	struct rows *r = b->r;
	bool ok;

	ok = find_key(b, err);
	for (size_t i = 0; ok && i < b->conf->ncolumns; i++)
		ok = column_called(b, b->conf->columns[i].name, "columns", err) != COLUMNS_MAX;
	if (ok)
		ok = rows_make_index(r, r->key) && keys_are_good(b, err);
	for (size_t i = 0; ok && i < b->conf->nindex; i++) {
		size_t c = column_called(b, b->conf->index[i], "index", err);

		ok = c != COLUMNS_MAX;
		if (ok && !rows_make_index(r, c)) {
			err_set(err, "%s: the lists in column \"%s\" have too many members", b->file, b->conf->index[i]);
			ok = false;
		}
	}
	b->r = NULL;
	if (!ok)
		rows_unref(r);
	build_free(b);
	return ok ? r : NULL;
}
