/* JSON: a list of objects, or an object of objects. */
#include "config.h"

#include <string.h>

#include "data/data_int.h"

static bool
add_columns(struct build *b, const json_t *row, struct err *err)
{
	const char *name;
	json_t *v;

	json_object_foreach((json_t *)row, name, v)
		if (build_find(b, slice_of(name)) == COLUMNS_MAX && !build_column(b, slice_of(name), err))
			return false;
	return true;
}

static bool
add_row(struct build *b, const char *key, const json_t *row, struct err *err)
{
	const char *name;
	json_t *v;

	if (!build_row(b, 0, err))
		return false;
	if (key != NULL && !build_text(b, 0, slice_of(key), err))
		return false;
	json_object_foreach((json_t *)row, name, v)
		if (!build_json(b, build_find(b, slice_of(name)), v, err))
			return false;
	return true;
}

static bool
fill(struct build *b, const struct conf_table *conf, const char *file, const json_t *root, struct err *err)
{
	const char *key;
	json_t *row;
	size_t i;

	if (json_is_object(root)) {
		if (!build_column(b, slice_of(conf->key != NULL ? conf->key : "key"), err))
			return false;
		json_object_foreach((json_t *)root, key, row) {
			if (!json_is_object(row)) {
				err_set(err, "%s: \"%.60s\" is not an object", file, key);
				return false;
			}
			if (json_object_get(row, conf->key != NULL ? conf->key : "key") != NULL) {
				err_set(err, "%s: \"%.60s\" has a member with the name of the key", file, key);
				return false;
			}
			if (!add_columns(b, row, err))
				return false;
		}
		json_object_foreach((json_t *)root, key, row)
			if (!add_row(b, key, row, err))
				return false;
		return true;
	}
	if (!json_is_array(root)) {
		err_set(err, "%s: is neither a list nor an object", file);
		return false;
	}
	json_array_foreach(root, i, row) {
		if (!json_is_object(row)) {
			err_set(err, "%s: entry %zu is not an object", file, i + 1);
			return false;
		}
		if (!add_columns(b, row, err))
			return false;
	}
	if (build_ncolumns(b) == 0)	/* an empty list has all the columns that it is asked for */
		for (size_t c = 0; c < conf->ncolumns; c++)
			if (!build_column(b, slice_of(conf->columns[c].name), err))
				return false;
	if (json_array_size(root) == 0 && build_find(b, slice_of(conf->key != NULL ? conf->key : "key")) == COLUMNS_MAX &&
	    !build_column(b, slice_of(conf->key != NULL ? conf->key : "key"), err))
		return false;
	json_array_foreach(root, i, row)
		if (!add_row(b, NULL, row, err))
			return false;
	return true;
}

struct rows *
json_read(const struct conf_table *conf, const char *file, const char *p, size_t n, struct err *err)
{
	json_error_t e;
	json_t *root = json_loadb(p, n, JSON_REJECT_DUPLICATES, &e);
	struct build *b;

	if (root == NULL) {
		err_set(err, "%s:%d: %s", file, e.line, e.text);
		return NULL;
	}
	b = build_new(conf, file);
	build_keep(b, root);
	if (!fill(b, conf, file, root, err)) {
		build_free(b);
		return NULL;
	}
	return build_end(b, err);
}
