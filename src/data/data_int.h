/* What the files of data/ share. */
#ifndef DATA_DATA_INT_H
#define DATA_DATA_INT_H

#include "data/data.h"

#define FILE_MAX (64u << 20)
#define ROWS_MAX 1000000u
#define CELLS_MAX 4000000u
#define COLUMNS_MAX 64u
#define TEXT_MAX (64u << 10)	/* one field */

/* ---- Making rows ---- */
struct build;
/* `file`: for messages. */
struct build *build_new(const struct conf_table *conf, const char *file);
/* Frees it; the rows, or NULL when something was wrong (err is set). */
struct rows *build_end(struct build *b, struct err *err);
void build_free(struct build *b);
/* Columns come first. False with err. */
bool build_column(struct build *b, struct slice name, struct err *err);
/* A new row; what is set then belongs to it. `line`: 0, or where it is. */
bool build_row(struct build *b, size_t line, struct err *err);
/* In the type that the configuration gives it; empty is nil. */
bool build_text(struct build *b, size_t column, struct slice text, struct err *err);
/* `v` lives as long as the rows, which build_keep sees to. */
bool build_json(struct build *b, size_t column, const json_t *v, struct err *err);
void build_keep(struct build *b, json_t *root);		/* takes it */
void build_many(struct build *b);	/* a key may be there more than once */
/* The column of this name, COLUMNS_MAX: none. */
size_t build_find(const struct build *b, struct slice name);
size_t build_ncolumns(const struct build *b);
void rows_set_source(struct rows *r, uint64_t version, const void *p, size_t n);

/* ---- Readers: text of a file to rows ---- */
struct rows *csv_read(const struct conf_table *conf, const char *file, const char *p, size_t n,
    struct err *err);
struct rows *json_read(const struct conf_table *conf, const char *file, const char *p, size_t n,
    struct err *err);
struct rows *cdb_read_rows(const struct conf_table *conf, const char *file, const char *p, size_t n,
    struct err *err);

#endif
