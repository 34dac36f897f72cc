/* How rows look inside; for rows.c and build.c. */
#ifndef DATA_ROWS_H
#define DATA_ROWS_H

#include <stdatomic.h>

#include "data/data.h"

#define COLUMN_ANY (-1)		/* as it comes: text, or what JSON says */
struct rows {
	atomic_int refs;
	uint64_t version;
	char hash[65];
	struct { const char *name; int type; } columns[64];
	size_t ncolumns, key;
	struct index *index[64];
	struct cell *cells;
	size_t n;
	struct block *blocks;		/* texts */
	json_t *root;
	struct rows *next;		/* unheld */
};
struct rows *rows_new(void);
void *rows_alloc(struct rows *r, size_t n);	/* for as long as the rows */
struct slice rows_keep(struct rows *r, struct slice s);	/* a copy, NUL behind it */
bool rows_cell_text(struct rows *r, const struct cell *c, struct slice *out);
bool rows_make_index(struct rows *r, size_t column);	/* false: too much */

#endif
