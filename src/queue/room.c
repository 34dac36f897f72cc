/* How much fits on the disk (spec security.md 1, rule 7).
 *
 * What an arrival writes goes to the log first and is copied into the database later, and where
 * there is no room for the copy the log can never be emptied: the queue would stay full although
 * all its mail had left. So arrivals are taken only while both fit. Room inside the two files counts:
 * they do not get smaller when mail leaves. */
#include "config.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "queue/store_int.h"

#define KEPT (256 << 10)	/* for what is written beside content: rows, results, evidence */
#define LOG_LEAST 32		/* pages */
#define FRAME (DB_PAGE + 24)	/* a page in the log */

static int64_t
pages(struct store *s, enum sql which)
{
	sqlite3_stmt *st = db_use(&s->db, which);
	int64_t n = 0;

	if (db_row(&s->db, st) == 1) {
		n = sqlite3_column_int64(st, 0);
		sqlite3_reset(st);
	}
	return n;
}

static int64_t
file_size(const char *path, const char *suffix)
{
	char name[PATH_MAX];
	struct stat st;

	snprintf(name, sizeof name, "%s%s", path, suffix);
	return stat(name, &st) == 0 ? (int64_t)st.st_size : 0;
}

static int64_t
positive(int64_t n)
{
	return n > 0 ? n : 0;
}

void
room_measure(struct store *s, struct room *r)
{
	int64_t in_log = (int64_t)atomic_load(&s->n.wal_pages), free = files_headroom(s->path, 0) - KEPT;

	*r = (struct room){ .left = free - in_log * DB_PAGE };
	if (r->left > 2 * (int64_t)GROUP_BYTES)
		return;		/* nearly always: no need to know it exactly */
	r->in_log = positive(file_size(s->path, "-wal") - in_log * FRAME);
	r->in_db = pages(s, SQL_FREE_PAGES) * DB_PAGE;
	r->left = free - positive(pages(s, SQL_PAGES) * DB_PAGE - file_size(s->path, ""));
}

bool
room_has(const struct room *r, uint64_t bytes)
{
	int64_t n = bytes < INT64_MAX / 4 ? (int64_t)bytes : INT64_MAX / 4;

	return positive(n - r->in_log) + positive(n - r->in_db) <= r->left;
}

int64_t
room_headroom(struct store *s)
{
	int64_t outside = files_headroom(s->path, s->min_free_percent);

	return s->latched ? outside : outside + pages(s, SQL_FREE_PAGES) * DB_PAGE;
}

unsigned
room_log_limit(const struct store *s)
{
	int64_t n = files_headroom(s->path, 0) / 4 / DB_PAGE;

	return n < LOG_LEAST ? LOG_LEAST : n > WAL_CHECKPOINT_PAGES ? WAL_CHECKPOINT_PAGES : (unsigned)n;
}
