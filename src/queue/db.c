/* SQLite: opening, the settings that durability rests on, migrations, statements. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/store_int.h"

#define BIG_BYTES (1ll << 30)

bool
db_fail(struct db *db, enum db_rc rc, const char *text)
{
	db->rc = rc;
	snprintf(db->text, sizeof db->text, "%s", text);
	return false;
}

/* Of the write to the log that just failed; a commit leaves no sqlite3_system_errno(). */
static bool
is_quota(sqlite3 *h)
{
	sqlite3_file *f = NULL;
	int error = 0;

	if (sqlite3_file_control(h, "main", SQLITE_FCNTL_JOURNAL_POINTER, &f) != SQLITE_OK || f == NULL ||
	    f->pMethods == NULL || f->pMethods->xFileControl(f, SQLITE_FCNTL_LAST_ERRNO, &error) != SQLITE_OK)
		return false;
	return error == EDQUOT || error == EFBIG;
}

static bool
fail_here(struct db *db)
{
	int code = sqlite3_extended_errcode(db->h);
	enum db_rc rc = DB_BAD;

	switch (code & 0xff) {
	case SQLITE_FULL:
		rc = DB_FULL;
		break;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_NOMEM:
		rc = DB_BUSY;
		break;
	case SQLITE_IOERR:
		/* The index of the WAL could not grow: nothing was written, and nothing is lost. A quota
		 * or a limit on file sizes is a disk that is full for us alone. */
		if (code == SQLITE_IOERR_SHMSIZE || (code == SQLITE_IOERR_WRITE && is_quota(db->h)))
			rc = DB_FULL;
		else
			rc = code == SQLITE_IOERR_NOMEM ? DB_BUSY : DB_IO;
		break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_CANTOPEN:
	case SQLITE_READONLY:
	case SQLITE_PROTOCOL:
	case SQLITE_PERM:
		rc = DB_IO;
		break;
	}
	db->rc = rc;
	snprintf(db->text, sizeof db->text, "%s (SQLite %d)", sqlite3_errmsg(db->h), code);
	return false;
}

sqlite3_stmt *
db_use(struct db *db, enum sql which)
{
	MUST(db->st[which] != NULL);
	return db->st[which];
}

bool
db_run(struct db *db, sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);

	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		fail_here(db);
	sqlite3_reset(st);
	return rc == SQLITE_DONE || rc == SQLITE_ROW;
}

int
db_row(struct db *db, sqlite3_stmt *st)
{
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW)
		return 1;
	if (rc != SQLITE_DONE)
		fail_here(db);
	sqlite3_reset(st);
	return rc == SQLITE_DONE ? 0 : -1;
}

bool
db_do(struct db *db, enum sql which)
{
	return db_run(db, db_use(db, which));
}

void
db_bind_text(sqlite3_stmt *st, int at, const char *text)
{
	if (text == NULL)
		sqlite3_bind_null(st, at);
	else
		sqlite3_bind_text(st, at, text, -1, SQLITE_STATIC);
}

void
db_bind_int(sqlite3_stmt *st, int at, int64_t v)
{
	sqlite3_bind_int64(st, at, v);
}

char *
db_text(sqlite3_stmt *st, int col)
{
	bool is_null = sqlite3_column_type(st, col) == SQLITE_NULL;
	const unsigned char *t = sqlite3_column_text(st, col);

	/* NULL for want of memory must not read as "no edits", "no tags" (F-8). */
	if (t == NULL && !is_null)
		out_of_memory((size_t)sqlite3_column_bytes(st, col));
	return t == NULL ? NULL : xstrndup((const char *)t, (size_t)sqlite3_column_bytes(st, col));
}

int64_t
db_meta(struct db *db, const char *name)
{
	sqlite3_stmt *st = db_use(db, SQL_META_GET);
	int64_t v = 0;

	db_bind_text(st, 1, name);
	if (db_row(db, st) == 1) {
		v = sqlite3_column_int64(st, 0);
		sqlite3_reset(st);
	}
	return v;
}

bool
db_meta_set(struct db *db, const char *name, int64_t value)
{
	sqlite3_stmt *st = db_use(db, SQL_META_SET);

	db_bind_text(st, 1, name);
	db_bind_int(st, 2, value);
	return db_run(db, st);
}

/* ---- Opening ---- */

static int
open_error(struct db *db, const char *path, struct err *err)
{
	int code = sqlite3_errcode(db->h) & 0xff;

	if (code == SQLITE_NOTADB)
		err_set(err, "queue %s: not a database; put the right file there, or move this one and "
		    "the .lock file away to begin with an empty queue", path);
	else if (code == SQLITE_CORRUPT)
		err_set(err, "queue %s: damaged (%s); restore a copy, or move it and its .lock file away "
		    "to begin with an empty queue", path, sqlite3_errmsg(db->h));
	else
		err_set(err, "queue %s: %s", path, sqlite3_errmsg(db->h));
	return -1;
}

/* The first value of a constant PRAGMA, as text of at most 63 octets. */
static int
pragma(struct db *db, const char *sql, char out[64])
{
	sqlite3_stmt *st = NULL;
	int rc;

	out[0] = '\0';
	if (sqlite3_prepare_v2(db->h, sql, -1, &st, NULL) != SQLITE_OK)
		return -1;
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW) {
		const unsigned char *t = sqlite3_column_text(st, 0);

		snprintf(out, 64, "%s", t == NULL ? "" : (const char *)t);
	}
	return sqlite3_finalize(st) == SQLITE_OK && (rc == SQLITE_ROW || rc == SQLITE_DONE) ? 0 : -1;
}

static int
configure(struct db *db, const char *path, bool read_only, struct err *err)
{
	static const char *const both[] = {
		"PRAGMA trusted_schema = OFF", "PRAGMA temp_store = MEMORY", "PRAGMA cache_size = -16384",
		"PRAGMA locking_mode = NORMAL", "PRAGMA mmap_size = 0",
	};
	char v[64];

	sqlite3_busy_timeout(db->h, DB_BUSY_MS);
	sqlite3_db_config(db->h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(db->h, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(db->h, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
	sqlite3_db_config(db->h, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
	/* A text that SQLite would read for us can come from a damaged file only: keep it small. */
	sqlite3_limit(db->h, SQLITE_LIMIT_LENGTH, 64 << 20);
	for (size_t i = 0; i < NELEMS(both); i++)
		if (pragma(db, both[i], v) != 0)
			return open_error(db, path, err);
	if (read_only)
		return pragma(db, "PRAGMA query_only = ON", v) == 0 ? 0 : open_error(db, path, err);
	if (sqlite3_db_readonly(db->h, "main") != 0) {
		err_set(err, "queue %s: not writable; check its owner and mode", path);
		return -1;
	}
	/* I1 rests on these two: set, then read back (spec security.md 1, rule 1). */
	if (pragma(db, "PRAGMA journal_mode = WAL", v) != 0)
		return open_error(db, path, err);
	if (strcmp(v, "wal") != 0) {
		err_set(err, "queue %s: journal mode is %s, not wal; is the file system one with shared "
		    "memory?", path, v);
		return -1;
	}
	if (pragma(db, "PRAGMA synchronous = FULL", v) != 0 || pragma(db, "PRAGMA synchronous", v) != 0)
		return open_error(db, path, err);
	if (strcmp(v, "2") != 0) {
		err_set(err, "queue %s: synchronous is %s, not 2 (FULL)", path, v);
		return -1;
	}
	/* Debian's SQLite writes zeros over all that is deleted, which for a queue is every body once
	 * more; FAST does so only where the page is written anyway. */
	if (pragma(db, "PRAGMA secure_delete = FAST", v) != 0 ||
	    pragma(db, "PRAGMA wal_autocheckpoint = 0", v) != 0 ||
	    pragma(db, "PRAGMA journal_size_limit = 67108864", v) != 0)
		return open_error(db, path, err);
	return 0;
}

static int
migrate(struct db *db, const char *path, int from, struct err *err)
{
	for (int v = from; v < db_version; v++) {
		char set[64];

		/* PRAGMA takes no parameters; the number is ours. */
		snprintf(set, sizeof set, "PRAGMA user_version = %d", v + 1);
		if (sqlite3_exec(db->h, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK ||
		    sqlite3_exec(db->h, db_migrations[v], NULL, NULL, NULL) != SQLITE_OK ||
		    sqlite3_exec(db->h, set, NULL, NULL, NULL) != SQLITE_OK ||
		    sqlite3_exec(db->h, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
			err_set(err, "queue %s: cannot bring it from version %d to %d: %s", path, v, v + 1,
			    sqlite3_errmsg(db->h));
			sqlite3_exec(db->h, "ROLLBACK", NULL, NULL, NULL);
			return -1;
		}
		if (from > 0)
			log_info("queue migrated", LOG_S("file", path), LOG_I("version", v + 1));
	}
	return 0;
}

/* The view is no part of the version: what a record may say grows more often than the tables do. */
static int
keep_view(struct db *db, const char *path, struct err *err)
{
	sqlite3_stmt *st = NULL;
	const char *is;
	bool same;

	if (sqlite3_prepare_v2(db->h, "SELECT sql FROM sqlite_schema WHERE name = 'evidence_view'", -1, &st,
	    NULL) != SQLITE_OK)
		return open_error(db, path, err);
	is = sqlite3_step(st) == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
	same = is != NULL && strcmp(is, db_sql_view) == 0;
	sqlite3_finalize(st);
	if (same)
		return 0;
	if (sqlite3_exec(db->h, "BEGIN IMMEDIATE; DROP VIEW IF EXISTS evidence_view", NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(db->h, db_sql_view, NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(db->h, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
		open_error(db, path, err);
		sqlite3_exec(db->h, "ROLLBACK", NULL, NULL, NULL);
		return -1;
	}
	return 0;
}

/* What kind of file this is, before anything is written to it. */
static int
identify(struct db *db, const char *path, int *version_out, struct err *err)
{
	char app[64], ver[64];

	if (pragma(db, "PRAGMA application_id", app) != 0 || pragma(db, "PRAGMA user_version", ver) != 0)
		return open_error(db, path, err);
	if (atol(app) != DB_APPLICATION_ID) {
		err_set(err, "queue %s: a database, but not a queue of sallyport; put the right file "
		    "there, or move this one away", path);
		return -1;
	}
	*version_out = atoi(ver);
	if (*version_out > db_version) {
		err_set(err, "queue %s: written by a newer sallyport (schema version %d, this one knows "
		    "%d); start that version, or restore an older copy", path, *version_out, db_version);
		return -1;
	}
	return 0;
}

static bool
is_wanted(enum sql which, bool read_only)
{
	switch (which) {
	case SQL_COUNT_MESSAGES:
	case SQL_COUNT_RCPTS:
	case SQL_EVIDENCE_HEAD:
	case SQL_EVIDENCE_REMOVED:
	case SQL_META_GET:
	case SQL_TLSRPT_POLICIES:
	case SQL_TLSRPT_DETAILS:
		return true;
	default:
		return read_only ? which >= SQL_READ_CHUNK : which < SQL_READ_CHUNK;
	}
}

int
db_open(struct db *db, const char *path, bool read_only, struct err *err)
{
	/* No mutex: each connection is used by one thread at a time. */
	int flags = SQLITE_OPEN_NOMUTEX | (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE);
	int version = 0;
	struct stat st;

	memset(db, 0, sizeof *db);
	/* SQLite takes an empty file for a new database. A queue that lost its content must not
	 * start as an empty one (F-11). */
	if (lstat(path, &st) == 0 && st.st_size == 0) {
		err_set(err, "queue %s: the file is empty; restore a copy, or remove it and its .lock file to "
		    "begin with an empty queue", path);
		return -1;
	}
	if (sqlite3_open_v2(path, &db->h, flags, NULL) != SQLITE_OK) {
		err_set(err, "queue %s: %s", path, db->h == NULL ? "out of memory" : sqlite3_errmsg(db->h));
		goto failed;
	}
	sqlite3_extended_result_codes(db->h, 1);
	if (identify(db, path, &version, err) != 0 || configure(db, path, read_only, err) != 0)
		goto failed;
	if (read_only && version < db_version) {
		err_set(err, "queue %s: schema version %d is older than this program; start the daemon "
		    "once to bring it up to date", path, version);
		goto failed;
	}
	if (!read_only && (migrate(db, path, version, err) != 0 || keep_view(db, path, err) != 0))
		goto failed;
	for (int i = 0; i < SQL_N; i++) {
		if (is_wanted((enum sql)i, read_only) && sqlite3_prepare_v3(db->h, db_sql[i], -1,
		    SQLITE_PREPARE_PERSISTENT, &db->st[i], NULL) != SQLITE_OK) {
			err_set(err, "queue %s: schema does not fit version %d: %s", path, version,
			    sqlite3_errmsg(db->h));
			goto failed;
		}
	}
	return 0;
failed:
	db_close(db, false);
	return -1;
}

void
db_close(struct db *db, bool may_checkpoint)
{
	if (db->h == NULL)
		return;
	for (int i = 0; i < SQL_N; i++) {
		sqlite3_finalize(db->st[i]);
		db->st[i] = NULL;
	}
	/* After an error the WAL is the only good copy: closing must not fold it in on the quiet. */
	if (!may_checkpoint)
		sqlite3_db_config(db->h, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	MUST(sqlite3_close(db->h) == SQLITE_OK);
	db->h = NULL;
}

int
db_create(const char *path, struct err *err)
{
	char name[PATH_MAX], wal[PATH_MAX], sql[64], v[64];
	struct db db = { .h = NULL };
	int fd, rc = -1;

	/* Built under another name, so that a crash on the first start leaves no half-made queue
	 * that the next start would have to refuse. Nobody else is here: we hold the lock. */
	snprintf(name, sizeof name, "%s.new", path);
	unlink(name);
	snprintf(wal, sizeof wal, "%s.new-wal", path);
	unlink(wal);
	snprintf(wal, sizeof wal, "%s.new-shm", path);
	unlink(wal);
	fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		err_set(err, "queue %s: %s", name, strerror(errno));
		return -1;
	}
	close(fd);
	if (sqlite3_open_v2(name, &db.h, SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
		err_set(err, "queue %s: %s", name, db.h == NULL ? "out of memory" : sqlite3_errmsg(db.h));
		goto out;
	}
	snprintf(sql, sizeof sql, "PRAGMA page_size = %d", DB_PAGE);
	if (pragma(&db, sql, v) != 0) {
		open_error(&db, name, err);
		goto out;
	}
	snprintf(sql, sizeof sql, "PRAGMA application_id = %d", DB_APPLICATION_ID);
	if (configure(&db, name, false, err) != 0 || migrate(&db, name, 0, err) != 0)
		goto out;
	if (pragma(&db, sql, v) != 0 || sqlite3_wal_checkpoint_v2(db.h, NULL, SQLITE_CHECKPOINT_TRUNCATE,
	    NULL, NULL) != SQLITE_OK) {
		open_error(&db, name, err);
		goto out;
	}
	rc = 0;
out:
	db_close(&db, true);
	if (rc != 0)
		return -1;
	fd = open(name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fsync(fd) != 0 || rename(name, path) != 0 || files_sync_dir(path) != 0) {
		err_set(err, "queue %s: %s", path, strerror(errno));
		rc = -1;
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

int
db_check(struct db *db, const char *path, bool whole, struct err *err)
{
	char pages[64], v[64], *found = NULL;
	/* All of a queue of many gigabytes would take minutes that nobody can send mail in; what is
	 * read at every start, and what duties hang on, is checked in any case. */
	static const char *const parts[] = { "PRAGMA quick_check(message)", "PRAGMA quick_check(recipient)" };
	static const char *const all[] = { "PRAGMA quick_check(1)" };
	const char *const *list = all;
	size_t n = NELEMS(all);

	if (pragma(db, "PRAGMA page_count", pages) != 0)
		return open_error(db, path, err);
	if (!whole && atoll(pages) * DB_PAGE > BIG_BYTES) {
		list = parts;
		n = NELEMS(parts);
	}
	for (size_t i = 0; i < n && found == NULL; i++) {
		if (pragma(db, list[i], v) != 0)
			return open_error(db, path, err);
		if (strcmp(v, "ok") != 0)
			found = v;
	}
	if (found == NULL)
		return 0;
	err_set(err, "queue %s: damaged (%s); restore a copy, or move it and its .lock file away to "
	    "begin with an empty queue", path, found);
	return -1;
}
