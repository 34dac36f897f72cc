/* Answers of databases, as a test says them. */
#include "config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/sql.h"
#include "rehearsal/world.h"

struct said {
	struct said *next;
	char *database, *statement;
	bool any_values;
	struct sql_query *q;
};
struct shelf {
	struct said *said;
	struct asked {
		char *database;
		struct sql_query *q;	/* statement and values */
	} *asked;
	size_t nasked;
};

/* Space is one blank or none. Heap. */
static char *
squeezed(const char *sql)
{
	char *out = xmalloc(strlen(sql) + 1), *to = out;

	for (; *sql != '\0'; sql++) {
		if (!isspace((unsigned char)*sql))
			*to++ = *sql;
		else if (to > out && to[-1] != ' ')
			*to++ = ' ';
	}
	while (to > out && (to[-1] == ' ' || to[-1] == ';'))
		to--;
	*to = '\0';
	return out;
}

static struct sql_value
copy_of(const struct sql_value *v)
{
	struct sql_value c = *v;

	if (v->kind == SQL_TEXT) {
		c.text.p = xmalloc(v->text.n + 1);
		memcpy(c.text.p, v->text.p, v->text.n);
		c.text.p[v->text.n] = '\0';
	}
	return c;
}

static bool
values_are_same(const struct sql_query *a, const struct sql_query *b)
{
	if (a->nparams != b->nparams)
		return false;
	for (unsigned i = 0; i < a->nparams; i++) {
		const struct sql_value *x = &a->params[i], *y = &b->params[i];

		if (x->kind != y->kind || (x->kind == SQL_INTEGER && x->integer != y->integer) ||
		    (x->kind == SQL_NUMBER && x->number != y->number) ||
		    (x->kind == SQL_TEXT && (x->text.n != y->text.n || memcmp(x->text.p, y->text.p, x->text.n) != 0)))
			return false;
	}
	return true;
}

static void
said_free(struct said *s)
{
	sql_query_free(s->q);
	free(s->database);
	free(s->statement);
	free(s);
}

void
book_sql(struct book *b, const char *database, struct sql_query *q, bool any_values)
{
	struct shelf *shelf = book_shelf(b);
	struct said *s = xcalloc(1, sizeof *s), **at, *old;

	s->database = xstrdup(database);
	s->statement = squeezed(q->sql);
	s->any_values = any_values;
	s->q = q;
	for (at = &shelf->said; (old = *at) != NULL;) {
		if (strcmp(old->database, database) != 0 || strcmp(old->statement, s->statement) != 0 ||
		    old->any_values != any_values || (!any_values && !values_are_same(old->q, q))) {
			at = &old->next;
			continue;
		}
		*at = old->next;
		said_free(old);
	}
	s->next = shelf->said;
	shelf->said = s;
}

/* What is said of these values goes before what is said of any. */
static const struct said *
find(const struct shelf *shelf, const char *database, const struct sql_query *q)
{
	char *statement = squeezed(q->sql);
	const struct said *any = NULL, *s;

	for (s = shelf->said; s != NULL; s = s->next) {
		if (strcmp(s->database, database) != 0 || strcmp(s->statement, statement) != 0)
			continue;
		if (!s->any_values && values_are_same(s->q, q))
			break;
		if (s->any_values)
			any = s;
	}
	free(statement);
	return s != NULL ? s : any;
}

static void
note(struct shelf *shelf, const char *database, const struct sql_query *q)
{
	struct sql_query *c = xcalloc(1, sizeof *c);

	c->sql = xstrdup(q->sql);
	for (; c->nparams < q->nparams; c->nparams++)
		c->params[c->nparams] = copy_of(&q->params[c->nparams]);
	shelf->asked = xrealloc(shelf->asked, (shelf->nasked + 1) * sizeof *shelf->asked);
	shelf->asked[shelf->nasked++] = (struct asked){ xstrdup(database), c };
}

/* As many rows as the asker takes: as a database does it (data/sql.c). */
static void
give(struct sql_query *to, const struct sql_query *from)
{
	to->end = from->end;
	snprintf(to->text, sizeof to->text, "%s", from->text);
	if (from->end != SQL_DONE)
		return;
	to->ncolumns = from->ncolumns;
	to->columns = xcalloc(from->ncolumns + 1, sizeof *to->columns);
	for (size_t i = 0; i < from->ncolumns; i++)
		to->columns[i] = xstrdup(from->columns[i]);
	to->nrows = from->nrows < to->max_rows ? from->nrows : to->max_rows;
	to->cells = xcalloc(to->nrows * to->ncolumns + 1, sizeof *to->cells);
	for (size_t i = 0; i < to->nrows * to->ncolumns; i++)
		to->cells[i] = copy_of(&from->cells[i]);
	if (from->nrows > to->max_rows) {
		to->end = SQL_LIMIT;
		snprintf(to->text, sizeof to->text, "there are more than %u rows", to->max_rows);
	}
}

bool
book_rows(void *book, const char *database, struct sql_query *q)
{
	struct shelf *shelf = book_shelf(book);
	const struct said *s = find(shelf, database, q);
	char *statement;

	note(shelf, database, q);
	if (s != NULL) {
		give(q, s->q);
		return true;
	}
	if (q->file != NULL)
		return false;
	statement = squeezed(q->sql);
	book_missing_add(book, "SQL: %s was asked and nothing is said of it; say it with env.sql:answer(\"%s\", [[%s]], "
	    "{ { column = value } })", database, database, statement);
	free(statement);
	q->end = SQL_FAILED;
	snprintf(q->text, sizeof q->text, "nothing is said of it");
	return true;
}

const struct sql_query *
book_question(const struct book *b, size_t n, const char **database)
{
	const struct shelf *shelf = book_shelf(b);

	if (n >= shelf->nasked)
		return NULL;
	*database = shelf->asked[n].database;
	return shelf->asked[n].q;
}

struct shelf *
shelf_new(void)
{
	return xcalloc(1, sizeof(struct shelf));
}

void
shelf_free(struct shelf *shelf)
{
	struct said *s;

	while ((s = shelf->said) != NULL) {
		shelf->said = s->next;
		said_free(s);
	}
	for (size_t i = 0; i < shelf->nasked; i++) {
		free(shelf->asked[i].database);
		sql_query_free(shelf->asked[i].q);
	}
	free(shelf->asked);
	free(shelf);
}
