/* What policies look things up in beside the network: tables that are read from files, whole, into memory
 * that all workers share and none can change. A table that has changed on disk is read by a thread that is
 * no worker, and takes the old one's place at once or, when something is wrong with it, not at all.
 *
 * Knows nothing of Lua: policy/ makes values of what it finds here. */
#ifndef DATA_DATA_H
#define DATA_DATA_H

#include <jansson.h>

#include "base/base.h"
#include "conf/conf.h"

/* ---- Rows: one reading of one file, immutable ---- */
enum cell_kind { CELL_NIL, CELL_TEXT, CELL_INTEGER, CELL_NUMBER, CELL_BOOLEAN, CELL_LIST, CELL_JSON };
struct cell {
	enum cell_kind kind;
	union {
		struct slice text;
		int64_t integer;
		double number;
		bool boolean;
		struct { const struct slice *v; size_t n; } list;
		const json_t *json;		/* an array or object: only to be read */
	};
};
struct rows;
#define ROW_NONE SIZE_MAX
struct rows *rows_ref(struct rows *r);		/* any thread, as all of these */
void rows_unref(struct rows *r);		/* NULL is fine; frees nothing, see below */
/* What nobody holds any more waits to be freed by a thread that has the time: not a worker's. */
bool rows_have_unheld(void);
void rows_free_unheld(void);
uint64_t rows_version(const struct rows *r);	/* 1 for the first reading of this run of the program */
const char *rows_hash(const struct rows *r);	/* SHA-256 of the file, 64 hex digits */
size_t rows_count(const struct rows *r);
size_t rows_columns(const struct rows *r);
const char *rows_column(const struct rows *r, size_t column);
const struct cell *rows_cell(const struct rows *r, size_t row, size_t column);
/* The row with this key (a pattern column: the closest pattern), or ROW_NONE. ASCII case is ignored. */
size_t rows_get(const struct rows *r, struct slice key);
/* -1: there is no such column; -2: it has no index. */
int rows_index_of(const struct rows *r, const char *column);
/* Rows in which this column, or a member of its list, is `key`, in the order of the file. */
size_t rows_first(const struct rows *r, int column, struct slice key, size_t *at);
size_t rows_next(const struct rows *r, int column, size_t *at);

/* ---- Tables ---- */
struct table;
/* The newest rows, in *held: a reference that the caller has from before, or NULL, and that is exchanged
 * when there are newer ones. Not for sqlite, which has none. Never blocks: while another thread exchanges them, the old ones stay. */
const struct rows *table_rows(struct table *t, struct rows **held);
const struct conf_table *table_conf(const struct table *t);

struct data;
/* Reads all of conf->tables. NULL with "FILE:LINE: what is wrong". One reference. */
struct data *data_read(struct conf *conf, struct err *err);
struct data *data_ref(struct data *d);
void data_unref(struct data *d);
struct table *data_table(const struct data *d, const char *name);	/* NULL: there is none */
bool data_is_watched(const struct data *d);	/* any of them */
/* Looks at the files with reload = "watch" and reads those that have changed and have stayed so since the
 * last look. Reads files: not for a worker's thread. One thread at a time. */
void data_look(struct data *d);

struct data_stats {		/* of one table */
	const char *name;
	uint64_t version, reloads, failures;
	size_t rows;
	bool is_stale;		/* the file is newer, and wrong */
};
/* i from 0; false past the end. */
bool data_stats(const struct data *d, size_t i, struct data_stats *out);

#endif
