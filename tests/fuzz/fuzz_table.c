/* Files of tables: CSV, JSON and CDB as they come, with columns of every type. The first octet says which. */
#include "config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/data_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct conf_column columns[] = {
	{ (char *)"a", COLUMN_ADDRESS }, { (char *)"b", COLUMN_BOOLEAN }, { (char *)"d", COLUMN_DOMAIN },
	{ (char *)"l", COLUMN_LIST }, { (char *)"n", COLUMN_NUMBER }, { (char *)"p", COLUMN_PATTERN },
	{ (char *)"t", COLUMN_DATE }, { (char *)"u", COLUMN_DURATION }, { (char *)"v", COLUMN_LEVEL },
};

static void
look(const struct rows *r)
{
	for (size_t i = 0; i < rows_count(r); i++) {
		const struct cell *c = rows_cell(r, i, 0);
		size_t at, row;

		if (c->kind != CELL_TEXT)
			continue;
		/* Every key is found, at its own row or an equal one before it. */
		row = rows_first(r, rows_index_of(r, rows_column(r, 0)), c->text, &at);
		MUST(row != ROW_NONE && row <= i);
		while (row != ROW_NONE && row != i)
			row = rows_next(r, 0, &at);
		MUST(row == i);
		MUST(rows_get(r, c->text) != ROW_NONE);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf_table conf = { .name = (char *)"x" };
	struct err err = { "" };
	struct rows *r;
	char *text;

	if (size == 0 || size > 65536)
		return 0;
	text = malloc(size);
	memcpy(text, data + 1, size - 1);
	if (data[0] == 't') {		/* CSV with the types that its columns have */
		conf.csv = (char *)"x";
		conf.columns = columns;
		conf.ncolumns = NELEMS(columns);
		r = csv_read(&conf, "x", text, size - 1, &err);
	} else if (data[0] == 'j') {
		conf.json = (char *)"x";
		r = json_read(&conf, "x", text, size - 1, &err);
	} else if (data[0] == 'c') {
		conf.cdb = (char *)"x";
		r = cdb_read_rows(&conf, "x", text, size - 1, &err);
	} else {
		conf.csv = (char *)"x";
		r = csv_read(&conf, "x", text, size - 1, &err);
	}
	MUST((r == NULL) == (err.text[0] != '\0'));
	if (r != NULL)
		look(r);
	rows_unref(r);
	rows_free_unheld();
	free(text);
	return 0;
}
