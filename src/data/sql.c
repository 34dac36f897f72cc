/* Each thread of the pool has its own connections, and each of these the statements that were asked last.
 *
 * A question is ended from the progress handler, which sees its time and whether it is still wanted: as soon as
 * sqlite3_interrupt would, and without a connection that two threads hold. */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/sql.h"

#define CONNS 16u		/* a thread */
#define STMTS 16u		/* a connection */
#define STEPS 1000		/* between two looks at the time */
#define BUSY_MS 5
#define VALUE_MAX (1 << 20)
#define CELL_BYTES 48u		/* what a value counts beside its octets */

struct stmt {
	char *sql;
	sqlite3_stmt *st;
	uint64_t used;
};
struct conn {
	char *file;
	dev_t dev;
	ino_t ino;
	sqlite3 *h;
	struct stmt stmts[STMTS];
	uint64_t used;
	struct sql_query *q;		/* which runs now */
	bool was_denied;		/* something, to the statement that is being prepared */
};
struct conns {
	struct conn v[CONNS];
	uint64_t clock;
};

static void
stmt_drop(struct stmt *s)
{
	sqlite3_finalize(s->st);
	free(s->sql);
	memset(s, 0, sizeof *s);
}

static void
conn_close(struct conn *c)
{
	for (size_t i = 0; i < STMTS; i++)
		stmt_drop(&c->stmts[i]);
	sqlite3_close(c->h);
	free(c->file);
	memset(c, 0, sizeof *c);
}

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
conns_free(void *arg)
{
	struct conns *all = arg;

	for (size_t i = 0; i < CONNS; i++)
		if (all->v[i].h != NULL)
			conn_close(&all->v[i]);
	free(all);
}

static void
make_key(void)
{
	MUST(pthread_key_create(&key, conns_free) == 0);
}

static struct conns *
conns_of_thread(void)
{
	struct conns *all;

	pthread_once(&once, make_key);
	all = pthread_getspecific(key);
	if (all == NULL) {
		all = xcalloc(1, sizeof *all);
		pthread_setspecific(key, all);
	}
	return all;
}

/* ---- What is allowed ---- */

static int
deny(struct conn *c)
{
	c->was_denied = true;
	return SQLITE_DENY;
}

static int
authorize(void *arg, int what, const char *a, const char *b, const char *db, const char *trigger)
{
	switch (what) {
	case SQLITE_SELECT:
	case SQLITE_READ:
	case SQLITE_RECURSIVE:
		return SQLITE_OK;
	case SQLITE_FUNCTION:
		return strcasecmp(b, "load_extension") == 0 ? deny(arg) : SQLITE_OK;
	default:
		return deny(arg);
	}
}

static bool
is_over(const struct sql_query *q)
{
	return job_is_cancelled(&q->job) || clock_mono_ms() >= q->deadline_ms;
}

static int
on_progress(void *arg)
{
	const struct conn *c = arg;

	return c->q != NULL && is_over(c->q);
}

/* Somebody writes: that takes a moment. */
static int
on_busy(void *arg, int times)
{
	const struct conn *c = arg;

	if (c->q == NULL || is_over(c->q))
		return 0;
	usleep(BUSY_MS * 1000);
	return 1;
}

static void
set_limits(sqlite3 *h)
{
	static const struct { int which, value; } limits[] = {
		{ SQLITE_LIMIT_LENGTH, VALUE_MAX }, { SQLITE_LIMIT_SQL_LENGTH, SQL_TEXT_MAX },
		{ SQLITE_LIMIT_COLUMN, 100 }, { SQLITE_LIMIT_EXPR_DEPTH, 100 }, { SQLITE_LIMIT_COMPOUND_SELECT, 20 },
		{ SQLITE_LIMIT_VDBE_OP, 100000 }, { SQLITE_LIMIT_FUNCTION_ARG, 20 }, { SQLITE_LIMIT_ATTACHED, 0 },
		{ SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000 }, { SQLITE_LIMIT_VARIABLE_NUMBER, SQL_PARAMS_MAX },
		{ SQLITE_LIMIT_TRIGGER_DEPTH, 1 }, { SQLITE_LIMIT_WORKER_THREADS, 0 },
	};

	for (size_t i = 0; i < NELEMS(limits); i++)
		sqlite3_limit(h, limits[i].which, limits[i].value);
	sqlite3_db_config(h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(h, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
	/* No file but the database itself is touched, and no page of it mapped: it may be cut short. */
	sqlite3_exec(h, "PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0; PRAGMA query_only=ON", NULL, NULL, NULL);
}

static bool
conn_open(struct conn *c, const char *file, struct err *err)
{
	struct stat st;
	int rc;

	if (stat(file, &st) != 0) {
		err_set(err, "%s: cannot be read: %s", file, strerror(errno));
		return false;
	}
	rc = sqlite3_open_v2(file, &c->h, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
	if (rc != SQLITE_OK) {
		err_set(err, "%s: cannot be opened: %s", file, c->h != NULL ? sqlite3_errmsg(c->h) : sqlite3_errstr(rc));
		sqlite3_close(c->h);
		memset(c, 0, sizeof *c);
		return false;
	}
	c->file = xstrdup(file);
	c->dev = st.st_dev;
	c->ino = st.st_ino;
	set_limits(c->h);
	sqlite3_set_authorizer(c->h, authorize, c);
	sqlite3_progress_handler(c->h, STEPS, on_progress, c);
	sqlite3_busy_handler(c->h, on_busy, c);
	return true;
}

/* The one for this file; a file that took the other's place is opened anew. */
static struct conn *
conn_get(const char *file, struct err *err)
{
	struct conns *all = conns_of_thread();
	struct conn *c = NULL, *oldest = &all->v[0];
	struct stat st;

	for (size_t i = 0; i < CONNS && c == NULL; i++) {
		if (all->v[i].h != NULL && strcmp(all->v[i].file, file) == 0)
			c = &all->v[i];
		else if (all->v[i].used < oldest->used)
			oldest = &all->v[i];
	}
	if (c != NULL && (stat(file, &st) != 0 || st.st_ino != c->ino || st.st_dev != c->dev)) {
		conn_close(c);
		oldest = c;
		c = NULL;
	}
	if (c == NULL) {
		c = oldest;
		if (c->h != NULL)
			conn_close(c);
		if (!conn_open(c, file, err))
			return NULL;
	}
	c->used = ++all->clock;
	return c;
}

/* ---- Statements ---- */

/* NULL with err: it is wrong. */
static sqlite3_stmt *
prepare(struct conn *c, const char *sql, int *rc_out, struct err *err)
{
	sqlite3_stmt *st = NULL;
	const char *rest = NULL;
	int rc;

	c->was_denied = false;
	rc = sqlite3_prepare_v3(c->h, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, &rest);
	if (rc != SQLITE_OK && c->was_denied)	/* it may say SQLITE_SCHEMA then */
		rc = SQLITE_AUTH;
	*rc_out = rc;
	if (rc == SQLITE_AUTH)
		err_set(err, "a statement may only read");
	else if (rc != SQLITE_OK)
		err_set(err, "%s", sqlite3_errmsg(c->h));
	else if (st == NULL)
		err_set(err, "the statement is empty");
	else if (rest[strspn(rest, " \t\r\n;")] != '\0')
		err_set(err, "there is more than one statement");
	else if (!sqlite3_stmt_readonly(st) || sqlite3_column_count(st) == 0)
		err_set(err, "a statement may only read");
	else
		return st;
	sqlite3_finalize(st);
	return NULL;
}

static sqlite3_stmt *
statement(struct conn *c, const char *sql, int *rc, struct err *err)
{
	struct stmt *s = &c->stmts[0];
	sqlite3_stmt *st;

	for (size_t i = 0; i < STMTS; i++) {
		if (c->stmts[i].sql != NULL && strcmp(c->stmts[i].sql, sql) == 0) {
			c->stmts[i].used = c->used;
			return c->stmts[i].st;
		}
		if (c->stmts[i].used < s->used)
			s = &c->stmts[i];
	}
	st = prepare(c, sql, rc, err);
	if (st == NULL)
		return NULL;
	stmt_drop(s);
	*s = (struct stmt){ xstrdup(sql), st, c->used };
	return st;
}

/* ---- One question ---- */

static void
failed(struct sql_query *q, int rc, const char *why)
{
	if (job_is_cancelled(&q->job)) {
		q->end = SQL_CANCELLED;
		snprintf(q->text, sizeof q->text, "cancelled");
	} else if (rc == SQLITE_INTERRUPT || ((rc & 0xff) == SQLITE_BUSY && is_over(q))) {
		q->end = SQL_TIMEOUT;
		snprintf(q->text, sizeof q->text, "the time for a query is up");
	} else if ((rc & 0xff) == SQLITE_TOOBIG || (rc & 0xff) == SQLITE_NOMEM) {
		q->end = SQL_LIMIT;
		snprintf(q->text, sizeof q->text, "%s", why);
	} else {
		q->end = (rc & 0xff) == SQLITE_ERROR || (rc & 0xff) == SQLITE_AUTH || rc == SQLITE_OK ||
		    (rc & 0xff) == SQLITE_MISMATCH ? SQL_WRONG : SQL_FAILED;
		snprintf(q->text, sizeof q->text, "%s", why);
	}
}

/* SQLITE_OK, or why not: a text that is too long would be asked for as NULL. */
static int
bind(sqlite3_stmt *st, const struct sql_query *q)
{
	int rc = SQLITE_OK;

	for (unsigned i = 0; rc == SQLITE_OK && i < q->nparams; i++) {
		const struct sql_value *v = &q->params[i];

		if (v->kind == SQL_INTEGER)
			rc = sqlite3_bind_int64(st, (int)i + 1, v->integer);
		else if (v->kind == SQL_NUMBER)
			rc = sqlite3_bind_double(st, (int)i + 1, v->number);
		else if (v->kind == SQL_TEXT)
			rc = sqlite3_bind_text64(st, (int)i + 1, v->text.p, v->text.n, SQLITE_STATIC, SQLITE_UTF8);
		else
			rc = sqlite3_bind_null(st, (int)i + 1);
	}
	return rc;
}

static void
take_value(struct sql_query *q, sqlite3_stmt *st, int i, struct sql_value *v)
{
	const void *p;

	q->nbytes += CELL_BYTES;
	switch (sqlite3_column_type(st, i)) {
	case SQLITE_INTEGER:
		v->kind = SQL_INTEGER;
		v->integer = sqlite3_column_int64(st, i);
		return;
	case SQLITE_FLOAT:
		v->kind = SQL_NUMBER;
		v->number = sqlite3_column_double(st, i);
		return;
	case SQLITE_NULL:
		v->kind = SQL_NULL;
		return;
	default:
		p = sqlite3_column_type(st, i) == SQLITE_BLOB ? sqlite3_column_blob(st, i) :
		    (const void *)sqlite3_column_text(st, i);
		v->kind = SQL_TEXT;
		v->text.n = p == NULL ? 0 : (size_t)sqlite3_column_bytes(st, i);
		v->text.p = xmalloc(v->text.n + 1);
		memcpy(v->text.p, p == NULL ? "" : p, v->text.n);
		v->text.p[v->text.n] = '\0';
		q->nbytes += v->text.n;
	}
}

static bool
take_row(struct sql_query *q, sqlite3_stmt *st)
{
	struct sql_value *row;

	if (q->nrows >= q->max_rows || q->nbytes > q->max_bytes) {
		q->end = SQL_LIMIT;
		if (q->nrows >= q->max_rows)
			snprintf(q->text, sizeof q->text, "there are more than %u rows", q->max_rows);
		else
			snprintf(q->text, sizeof q->text, "the rows have more than %zu octets", q->max_bytes);
		return false;
	}
	/* Grows by doubling. */
	if ((q->nrows & (q->nrows - 1)) == 0)
		q->cells = xrealloc(q->cells, (q->nrows == 0 ? 1 : q->nrows * 2) * q->ncolumns * sizeof *q->cells);
	row = &q->cells[q->nrows * q->ncolumns];
	memset(row, 0, q->ncolumns * sizeof *row);
	q->nrows++;
	for (size_t i = 0; i < q->ncolumns && q->nbytes <= q->max_bytes; i++)
		take_value(q, st, (int)i, &row[i]);
	return true;
}

static void
run(struct sql_query *q, struct conn *c, sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);

	/* Not sooner: the first step prepares anew what was prepared for another schema. */
	q->ncolumns = (size_t)sqlite3_column_count(st);
	q->columns = xcalloc(q->ncolumns, sizeof *q->columns);
	for (size_t i = 0; i < q->ncolumns; i++)
		q->columns[i] = xstrdup(sqlite3_column_name(st, (int)i));
	while (rc == SQLITE_ROW && take_row(q, st))
		rc = sqlite3_step(st);
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		failed(q, rc, sqlite3_errmsg(c->h));
	else if (q->nbytes > q->max_bytes && q->end == SQL_DONE) {
		q->end = SQL_LIMIT;
		snprintf(q->text, sizeof q->text, "the rows have more than %zu octets", q->max_bytes);
	}
}

static void
answer(struct job *j, unsigned thread)
{
	struct sql_query *q = (struct sql_query *)j;
	struct err err = { "" };
	struct conn *c;
	sqlite3_stmt *st;
	int rc = SQLITE_OK;

	if (is_over(q)) {
		failed(q, SQLITE_INTERRUPT, "");
		return;
	}
	c = conn_get(q->file, &err);
	if (c == NULL) {
		q->end = SQL_FAILED;
		snprintf(q->text, sizeof q->text, "%.390s", err.text);
		return;
	}
	c->q = q;
	st = statement(c, q->sql, &rc, &err);
	if (st == NULL) {
		failed(q, rc, err.text);
	} else if ((unsigned)sqlite3_bind_parameter_count(st) != q->nparams) {
		q->end = SQL_WRONG;
		snprintf(q->text, sizeof q->text, "the statement has %d parameters, and %u values are given",
		    sqlite3_bind_parameter_count(st), q->nparams);
	} else {
		rc = bind(st, q);
		if (rc == SQLITE_OK)
			run(q, c, st);
		else
			failed(q, rc, "a value is too long");
		sqlite3_reset(st);
		sqlite3_clear_bindings(st);
	}
	c->q = NULL;
}

/* ---- For those who ask ---- */

struct sql_query *
sql_query_new(const struct sql_source *s, const char *sql, size_t n)
{
	struct sql_query *q = xcalloc(1, sizeof *q);

	q->file = xstrdup(s->file);
	q->sql = xstrndup(sql, n);
	q->deadline_ms = clock_mono_ms() + s->timeout_ms;
	q->max_rows = s->max_rows;
	q->max_bytes = s->max_bytes;
	q->job.work = answer;
	return q;
}

void
sql_query_free(struct sql_query *q)
{
	if (q == NULL)
		return;
	for (unsigned i = 0; i < q->nparams; i++)
		if (q->params[i].kind == SQL_TEXT)
			free(q->params[i].text.p);
	for (size_t i = 0; i < q->nrows * q->ncolumns; i++)
		if (q->cells[i].kind == SQL_TEXT)
			free(q->cells[i].text.p);
	for (size_t i = 0; i < q->ncolumns; i++)
		free(q->columns[i]);
	free(q->columns);
	free(q->cells);
	free(q->file);
	free(q->sql);
	free(q);
}

bool
sql_ask(struct pool *p, struct sql_query *q)
{
	return pool_do(p, &q->job);
}

bool
sql_check(const char *file, const char *sql, unsigned nparams, struct err *err)
{
	struct conn c = { 0 };
	sqlite3_stmt *st;
	bool ok;
	int rc;

	if (!conn_open(&c, file, err))
		return false;
	st = prepare(&c, sql == NULL ? "select count(*) from sqlite_schema" : sql, &rc, err);
	ok = st != NULL;
	/* Only this reads the file. */
	if (ok && sql == NULL && sqlite3_step(st) != SQLITE_ROW) {
		err_set(err, "%s", sqlite3_errmsg(c.h));
		ok = false;
	} else if (ok && sql != NULL && (unsigned)sqlite3_bind_parameter_count(st) != nparams) {
		err_set(err, "the statement needs %u parameter, ?1", nparams);
		ok = false;
	}
	if (!ok)
		err_prefix(err, "%s", file);
	sqlite3_finalize(st);
	conn_close(&c);
	return ok;
}
