/* Questions to SQLite databases of others, read-only, in a thread of the pool. What a policy may ask is
 * bounded: one statement that only reads, so many rows and octets, so much time. */
#ifndef DATA_SQL_H
#define DATA_SQL_H

#include "data/pool.h"

#define SQL_PARAMS_MAX 32u
#define SQL_TEXT_MAX (64u << 10)	/* of a statement */

struct sql_source {
	const char *name;		/* in the configuration */
	const char *file;		/* NULL: only a rehearsal's book answers */
	int64_t timeout_ms;		/* as a whole, with the time before it is its turn */
	unsigned max_rows;
	size_t max_bytes;		/* of all values */
};
struct sql_value {
	enum { SQL_NULL, SQL_INTEGER, SQL_NUMBER, SQL_TEXT } kind;
	union {
		int64_t integer;
		double number;
		struct { char *p; size_t n; } text;	/* heap */
	};
};
enum sql_end {
	SQL_DONE,
	SQL_WRONG,		/* the statement is: it will never work */
	SQL_FAILED,		/* the database cannot be read just now */
	SQL_TIMEOUT, SQL_CANCELLED,
	SQL_LIMIT,		/* too many rows or octets */
};
struct sql_query {
	struct job job;			/* first */
	void *owner;			/* the asker's, as the next two */
	uint64_t ticket;
	char what[80];
	char *file, *sql;
	int64_t deadline_ms;		/* mono */
	unsigned max_rows;
	size_t max_bytes;
	struct sql_value params[SQL_PARAMS_MAX];
	unsigned nparams;
	/* the answer */
	enum sql_end end;
	char text[400];
	char **columns;
	size_t ncolumns, nrows;
	struct sql_value *cells;	/* nrows times ncolumns */
	size_t nbytes;
};
/* Copies `sql`; params are still to be set. Then sql_ask; the answer comes by job.mail. */
struct sql_query *sql_query_new(const struct sql_source *s, const char *sql, size_t n);
void sql_query_free(struct sql_query *q);	/* NULL is fine */
bool sql_ask(struct pool *p, struct sql_query *q);
/* Can this database be read, and does this statement, NULL for none, fit it and have `nparams` parameters? Opens
 * files. */
bool sql_check(const char *file, const char *sql, unsigned nparams, struct err *err);

#endif
