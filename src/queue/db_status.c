/* How much is in the queue, and how it is doing: from the counters of a running daemon, or by
 * counting rows without one. */
#include "config.h"

#include <sys/stat.h>

#include "queue/store_int.h"

static void
put_count(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static enum store_status
status_offline(struct db *db, json_t *o)
{
	sqlite3_stmt *st = db_use(db, SQL_COUNT_MESSAGES);
	int64_t n, active, held;

	if (db_row(db, st) != 1)
		return STORE_IO;
	put_count(o, "messages", (uint64_t)sqlite3_column_int64(st, 0));
	put_count(o, "bytes", (uint64_t)sqlite3_column_int64(st, 1));
	sqlite3_reset(st);
	st = db_use(db, SQL_COUNT_RCPTS);
	if (db_row(db, st) != 1)
		return STORE_IO;
	n = sqlite3_column_int64(st, 0);
	active = sqlite3_column_int64(st, 1);
	held = sqlite3_column_int64(st, 2);
	sqlite3_reset(st);
	put_count(o, "recipients", (uint64_t)n);
	put_count(o, "active", (uint64_t)active);
	put_count(o, "held", (uint64_t)held);
	put_count(o, "queued", (uint64_t)(n - active - held));
	return STORE_OK;
}

static void
status_live(const struct store *s, json_t *o)
{
	static const char *const words[] = { [STORE_OK] = "yes", [STORE_FULL] = "full", [STORE_IO] = "disk error" };
	struct store_stats n;
	struct stat st;

	store_stats(s, &n);
	put_count(o, "messages", n.messages);
	put_count(o, "bytes", atomic_load(&s->n.bytes));
	put_count(o, "recipients", n.recipients);
	put_count(o, "active", n.active);
	put_count(o, "held", n.held);
	/* The three are not read at one moment. */
	put_count(o, "queued", n.recipients > n.active + n.held ? n.recipients - n.active - n.held : 0);
	put_count(o, "commits", n.commits);
	put_count(o, "submits", n.submits);
	put_count(o, "results", n.results);
	put_count(o, "handed_out", n.due_handed);
	put_count(o, "last_commit_us", (uint64_t)n.last_commit_us);
	put_count(o, "longest_commit_us", (uint64_t)n.longest_commit_us);
	put_count(o, "wal_bytes", atomic_load(&s->n.wal_pages) * DB_PAGE);
	json_object_set_new(o, "headroom_bytes", json_integer(atomic_load(&s->n.headroom)));
	if (stat(s->path, &st) == 0)
		put_count(o, "file_bytes", (uint64_t)st.st_size);
	json_object_set_new(o, "accepting", json_string(words[store_may_accept(s, 0)]));
}

enum store_status
query_status(struct db *db, const struct store *s, json_t **out)
{
	sqlite3_stmt *st;
	enum store_status rc = STORE_OK;

	*out = json_object();
	if (s != NULL)
		status_live(s, *out);
	else
		rc = status_offline(db, *out);
	st = db_use(db, SQL_OLDEST);
	if (db_row(db, st) == 1) {
		json_object_set_new(*out, "oldest", json_time(sqlite3_column_int64(st, 0)));
		sqlite3_reset(st);
	} else {
		json_object_set_new(*out, "oldest", json_null());
	}
	return rc;
}
