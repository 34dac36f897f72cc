/* Data tables: what belongs together in one. Their files are read elsewhere (data/data.h). */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "conf/conf_int.h"

/* ---- tables.*.columns ---- */
static int
name_order(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void
add_column(struct reader *r, struct conf_table *t, const char *name, const json_t *type)
{
	const char *word = json_string_value(type), *near;
	int i = 0;

	if (strlen(name) == 0 || strlen(name) > 64) {
		reader_error(r, "the name of a column has 1 to 64 octets");
		return;
	}
	while (conf_column_types[i] != NULL && (word == NULL || strcmp(word, conf_column_types[i]) != 0))
		i++;
	if (conf_column_types[i] != NULL) {
		t->columns[t->ncolumns++] = (struct conf_column){ xstrdup(name), (enum column_type)i };
		return;
	}
	near = word == NULL ? NULL : nearest_name(word, conf_column_types);
	if (near != NULL)
		reader_error(r, "there is no type \"%s\"; did you mean \"%s\"?", word, near);
	else
		reader_expects(r, "a type such as \"text\", \"integer\", \"list\" or \"domain\"", type);
}

bool
columns_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	struct conf_table *t = base;
	const char *name, **names;
	json_t *type;
	size_t mark, n = 0;

	if (!json_is_object(v)) {
		if (json_is_array(v) && json_array_size(v) == 0)
			return true;
		reader_expects(r, "a table such as { names = \"list\" }", v);
		return false;
	}
	t->columns = xcalloc(json_object_size(v), sizeof *t->columns);
	names = xcalloc(json_object_size(v), sizeof *names);
	json_object_foreach((json_t *)v, name, type)
		names[n++] = name;
	qsort(names, n, sizeof *names, name_order);	/* Lua's own order changes from run to run */
	for (size_t i = 0; i < n; i++) {
		mark = path_push(r, names[i]);
		add_column(r, t, names[i], json_object_get(v, names[i]));
		path_pop(r, mark);
	}
	free(names);
	return true;
}

json_t *
columns_get(const struct setting *s, const void *base)
{
	const struct conf_table *t = base;
	json_t *out = json_object();

	for (size_t i = 0; i < t->ncolumns; i++)
		json_object_set_new(out, t->columns[i].name, json_string(conf_column_types[t->columns[i].type]));
	return out;
}

void
columns_fini(const struct setting *s, void *base)
{
	struct conf_table *t = base;

	for (size_t i = 0; i < t->ncolumns; i++)
		free(t->columns[i].name);
	free(t->columns);
}

/* ---- One table ---- */
void
table_after(struct reader *r, void *item, const json_t *given)
{
	const struct conf_table *t = item;
	unsigned files = (t->csv != NULL) + (t->cdb != NULL) + (t->json != NULL) + (t->sqlite != NULL);
	static const char *const keys[] = { "csv", "cdb", "json", "sqlite" };
	unsigned named = 0;

	for (size_t i = 0; i < NELEMS(keys); i++)
		named += json_object_get(given, keys[i]) != NULL;
	/* One that was wrong has been told already. */
	if (named == 0)
		reader_error(r, "csv, cdb, json or sqlite must say which file it is");
	else if (files > 1)
		reader_error(r, "only one of csv, cdb, json and sqlite is possible");
	else if (t->sqlite != NULL && t->query == NULL)
		reader_error(r, "sqlite needs query, a statement with ?1 for the key");
	else if (t->sqlite == NULL && files == 1 && t->query != NULL)
		reader_error(r, "query is for sqlite only");
	if (t->sqlite != NULL && (t->key != NULL || t->ncolumns > 0 || t->nindex > 0 || t->watch))
		reader_error(r, "key, columns, index and reload mean nothing with sqlite; remove them");
}
