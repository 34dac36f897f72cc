/* What only the files of this folder (and its tests) share.
 *
 *   store.c     the public calls, the store thread's loop
 *   open.c      opening, recovery at start, closing
 *   group.c     group commit: one transaction, then the answers; what follows when it fails
 *   recover.c   the latch after an I/O error, and the way back (Q6)
 *   reader.c    the reading thread
 *   files.c     directory, lock file, permissions, the reserve
 *   clock.c     a wall clock that jumps; numbers that must not come twice
 *   suspects.c  what was being worked on when the daemon died, and no fourth time
 *   db.c        opening SQLite, migrations, statements
 *   db_sql.c    every statement
 *   evidence_keep.c  old evidence leaves, the rest can still be checked
 *   db_write.c  arrivals, results, evidence
 *   db_due.c    what is due, and turning rows back into messages
 *   db_admin.c  hold, release, retry, delete, bounce, require-tls
 *   db_sts.c    policies of MTA-STS
 *   db_tlsrpt.c what TLS reports are made of
 *   db_kv.c     what policies keep
 *   db_offer.c  what domains and hosts offered
 *   db_trace.c  what handlers did
 *   db_query.c  list and show as JSON; db_status.c, db_evidence.c: status; evidence and its check */
#ifndef QUEUE_STORE_INT_H
#define QUEUE_STORE_INT_H

#include <jansson.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "queue/store.h"
#include "trust/evidence.h"

enum db_rc {
	DB_OK,
	DB_FULL,	/* no space: roll back, the database is whole */
	DB_BUSY,	/* somebody else holds a lock */
	DB_IO,		/* the disk or the file: latch (Q6) */
	DB_BAD,		/* this request alone cannot be done */
};

enum rcpt_state { RCPT_QUEUED, RCPT_ACTIVE, RCPT_HELD };	/* recipient.state */
#define RCPT_STATES 3
extern const char *const rcpt_state_names[RCPT_STATES];

enum sql {
	SQL_BEGIN, SQL_COMMIT, SQL_ROLLBACK,
	SQL_PUT_MESSAGE, SQL_PUT_CONTENT, SQL_PUT_RCPT, SQL_PUT_EVIDENCE,
	SQL_RCPT_STATE, SQL_DEL_RCPT, SQL_RCPT_LEFT, SQL_DEL_MESSAGE, SQL_DEL_CONTENT,
	SQL_DEFER, SQL_NOTE, SQL_HOLD, SQL_ROUTE, SQL_JOIN_DUTIES,
	SQL_DUE, SQL_EARLIEST, SQL_LEASE, SQL_HOLDS_ENDED, SQL_HOLD_END, SQL_QUARANTINE,
	SQL_GET_MESSAGE, SQL_GET_RCPT, SQL_CONTENT_LAST,
	SQL_ADMIN_ROW, SQL_ADMIN_STATE, SQL_ADMIN_BOUNCE, SQL_ADMIN_NOTE,
	SQL_EVIDENCE_HEAD, SQL_META_GET, SQL_META_SET, SQL_UNLEASE, SQL_RESHARD,
	SQL_COUNT_MESSAGES, SQL_COUNT_RCPTS, SQL_COUNT_ACTIVE, SQL_CONTENT_TOP, SQL_HOLD_EARLIEST,
	SQL_DEL_RCPTS_OF, SQL_UNLEASE_ONE, SQL_PAGES, SQL_FREE_PAGES,
	SQL_LAST_KNOWN, SQL_SHIFT, SQL_CRASHES_FORGET, SQL_HOLD_ALL, SQL_STS_PUT, SQL_STS_FORGET,
	SQL_TLSRPT_DAY, SQL_TLSRPT_DOMAINS, SQL_TLSRPT_NEW_DAY, SQL_TLSRPT_COUNT, SQL_TLSRPT_POLICY_N,
	SQL_TLSRPT_NEW_POLICY, SQL_TLSRPT_DETAIL_IS, SQL_TLSRPT_DETAIL_N, SQL_TLSRPT_DETAIL, SQL_TLSRPT_CLAIM,
	SQL_TLSRPT_MARK, SQL_TLSRPT_OLD_DETAILS, SQL_TLSRPT_OLD_POLICIES, SQL_TLSRPT_OLD_DAYS,
	SQL_TLSRPT_POLICIES, SQL_TLSRPT_DETAILS,
	SQL_KV_GET, SQL_KV_INSERT, SQL_KV_UPDATE, SQL_KV_DELETE, SQL_KV_COUNT, SQL_KV_SWEEP,
	SQL_EVIDENCE_REMOVED, SQL_EVIDENCE_OLD, SQL_EVIDENCE_REMOVE_TO, SQL_EVIDENCE_DROP,
	SQL_TRACE_PUT, SQL_TRACE_CAP, SQL_TRACE_SWEEP,
	SQL_OFFER_COUNT, SQL_OFFER_EVICT, SQL_OFFER_UPDATE, SQL_OFFER_INSERT, SQL_OFFER_SWEEP,
	/* the reading connection's */
	SQL_READ_CHUNK, SQL_READ_SIZE, SQL_MATCH, SQL_LIST_MESSAGE, SQL_LIST_RCPT, SQL_RCPTS_OF,
	SQL_SHOW_MESSAGE, SQL_EVIDENCE_OF, SQL_EVIDENCE_FROM, SQL_EVIDENCE_AT, SQL_EVIDENCE_WALK,
	SQL_EVIDENCE_HASH,
	SQL_OLDEST, SQL_STS_OF, SQL_STS_DUE, SQL_TLSRPT_SHOW, SQL_KV_READ,
	SQL_OFFERS_OF, SQL_OFFER_LIST, SQL_TRACE_OF,
	SQL_N
};

struct db {
	sqlite3 *h;
	sqlite3_stmt *st[SQL_N];
	enum db_rc rc;			/* of the last call that failed */
	char text[200];
};

/* ---- db.c. Functions that return bool fill in rc and text when they return false. ---- */
#define DB_PAGE 8192
#define DB_BUSY_MS 5000		/* how long one who holds a lock is waited for (F-10) */
/* For the writing connection: creates nothing. The file must exist and be ours. */
int db_open(struct db *db, const char *path, bool read_only, struct err *err);
/* Makes a new queue beside `path`, complete and synced, and renames it into place. */
int db_create(const char *path, struct err *err);
void db_close(struct db *db, bool may_checkpoint);
/* PRAGMA quick_check. `whole`: also of large databases. */
int db_check(struct db *db, const char *path, bool whole, struct err *err);
sqlite3_stmt *db_use(struct db *db, enum sql which);
bool db_run(struct db *db, sqlite3_stmt *st);		/* no rows; resets */
int db_row(struct db *db, sqlite3_stmt *st);		/* 1, 0 at the end, -1; resets but with 1 */
bool db_do(struct db *db, enum sql which);		/* without parameters */
bool db_fail(struct db *db, enum db_rc rc, const char *text);	/* false */
void db_bind_text(sqlite3_stmt *st, int at, const char *text);	/* NULL gives NULL; not copied */
void db_bind_int(sqlite3_stmt *st, int at, int64_t v);
char *db_text(sqlite3_stmt *st, int col);		/* heap or NULL */
int64_t db_meta(struct db *db, const char *name);	/* 0 when it is not there */
bool db_meta_set(struct db *db, const char *name, int64_t value);
extern const char *const db_sql[SQL_N];
extern const char *const db_migrations[];
extern const char db_sql_view[];
extern const int db_version;
#define DB_APPLICATION_ID 0x53505131	/* "SPQ1" */

/* ---- files.c ---- */
int files_check_dir(const char *path, struct err *err);		/* creates it, 0700 */
int files_check(const char *path, bool *exists_out, struct err *err);
/* Descriptor, or -1. `was_used`: a queue has been here since that file was made (files_lock_note). */
int files_lock(const char *path, bool *was_used_out, struct err *err);
void files_lock_note(int fd, const char *text);			/* for people; empty only before the first queue */
bool files_identity(const char *path, dev_t *dev, ino_t *ino);
int files_sync_dir(const char *path);
/* Octets that may still be used before `min_free_percent` is touched; negative past that. */
int64_t files_headroom(const char *path, unsigned min_free_percent);
void files_reserve_make(const char *path);
void files_reserve_drop(const char *path);

/* ---- The store ---- */
struct key {			/* of a recipient */
	uint64_t message;
	uint32_t num;
};

struct mails {			/* first in, first out */
	struct mail *first, **last;
	size_t n;
};
void mails_init(struct mails *l);
void mails_push(struct mails *l, struct mail *m);
void mails_unshift(struct mails *l, struct mail *m);
struct mail *mails_shift(struct mails *l);

/* An administrative change: the reader found the keys, the store thread goes through them. */
struct admin_job {
	struct mail mail;
	struct store_query *q;		/* answered at the end */
	struct key *keys;
	size_t nkeys, at, changed;
	size_t leased;			/* of the changed: a worker had them */
	size_t t_at, t_changed, t_leased;	/* after the transaction under way */
	json_t *rcpts;			/* for the answer */
};

struct lane {			/* one worker, as the store thread sees it */
	struct mailbox *mb;
	unsigned active;		/* rows in state ACTIVE */
	int64_t earliest;		/* no QUEUED row of its is due before; INT64_MAX none */
	unsigned t_active;
	int64_t t_earliest;
	struct mails t_due;		/* struct store_due, posted after the commit */
};

/* What a transaction will have changed in memory, once it is committed. */
struct tx {
	int64_t now_ms;			/* wall */
	uint64_t evidence_id;
	char evidence_hash[EVIDENCE_HASH];
	uint64_t next_content;
	int64_t messages, recipients, held, bytes;	/* differences */
	uint64_t bytes_in, due_handed;
	int64_t hold_earliest;
	struct key *recalls;
	size_t nrecalls;
	uint64_t noted_head;
	bool pruned_all;		/* nothing older than evidence.keep is left */
	bool reached_commit;		/* failed there: whether it is on disk is not known */
};

struct counters {		/* written by the store thread, read by anybody */
	_Atomic uint64_t posts, commits, submits, results, bytes_in, due_handed, messages, recipients, active,
	    held, bytes, wal_pages;
	_Atomic int64_t last_commit_us, longest_commit_us, headroom;
	_Atomic bool full, bad;
};

/* What was under way when a commit failed with an I/O error (recover.c). */
struct doubt {
	bool is_set, wrote_evidence;
	uint64_t notice;		/* one that was queued in it, 0 none */
	uint64_t evidence_id;
	char evidence_hash[EVIDENCE_HASH];
	uint64_t *arrivals;
	size_t narrivals;
	struct key *due;
	size_t ndue;
	struct mails results;
};

struct reader;

struct store {
	/* fixed from store_open on */
	char *path;
	unsigned min_free_percent, workers, max_active;
	uint64_t max_bytes, max_messages;
	int64_t yield_ms, retry_ms, tick_ms;
	int lock_fd;
	dev_t dev;
	ino_t ino;
	void (*on_due)(void *reader, struct mail *m);
	/* any thread */
	struct mailbox *mb;
	struct reader *reader;
	struct counters n;
	_Atomic bool closed;
	_Atomic uint64_t epoch;		/* the store thread raises it */
	_Atomic unsigned posting;	/* threads between looking at `closed` and having posted */
	pthread_mutex_t head_lock;	/* guards head_* */
	uint64_t head_id;
	char head_hash[EVIDENCE_HASH];
	/* the store thread's alone */
	pthread_t thread;
	bool started, closing;
	struct mail stop;
	struct db db;
	struct lane *lanes;
	struct tx tx;
	uint64_t next_content, recovered;
	int64_t hold_earliest;
	struct mails results, arrivals, kvs, jobs, settlers;
	struct admin_job *job;
	size_t nurgent;
	int64_t results_since;		/* mono, when the first that waits came */
	int64_t retry_at;		/* mono: results wait for the disk until then */
	int64_t due_pause_until, next_tick, full_until, full_logged, retry_latch_at;
	bool latched, worked;		/* worked: since the last tick */
	bool locked;			/* by another program, when last tried (F-10) */
	int64_t wall_offset;		/* of the wall clock from the monotonic one, at the last tick */
	unsigned checkpoint_pages;	/* of the WAL, when the next checkpoint is tried */
	uint64_t noted_head;		/* how far the database itself says that its evidence goes */
	int64_t keep_ms;		/* evidence is kept for; 0 for ever */
	int64_t kv_sweep_at;		/* mono */
	unsigned kv_swept;		/* rows, in the transaction under way */
	int64_t prune_at, upkeep_at;	/* mono: when to look for old evidence; after a failure */
	unsigned tlsrpt_max_domains, tlsrpt_keep_days;
	int64_t tlsrpt_day, tlsrpt_full_day;	/* -1: none; the day of the next, and one that has too many */
	uint64_t tlsrpt_domains;
	int64_t trace_keep_ms, traces_swept_ms;
	uint64_t trace_rows;
	int64_t max_offers, noffers, offers_swept_ms;
	bool offers_counted;
	struct doubt doubt;
	enum store_status bad_status;	/* what DB_BAD means to the one request */
};

#define KIND_SUBMIT 1
#define KIND_RESULT 2
#define KIND_JOB 3
#define KIND_CONTENT 4
#define KIND_QUERY 5
#define KIND_STOP 6
#define KIND_STS 7
#define KIND_KV 8
#define KIND_OFFERS 9
#define KIND_SETTLE 10

#define GROUP_MAX 500
#define GROUP_BYTES (16u << 20)
#define RESULTS_MAY_WAIT 64
#define DUE_BATCH 256
#define ADMIN_BATCH 500
#define WAL_CHECKPOINT_PAGES (16u * 1024 * 1024 / DB_PAGE)

/* store.c */
void store_answer(struct store *s, struct mail *m, enum store_status status, const char *text);
uint32_t store_shard_hash(const char *route, const char *next_hop);
void *store_main(void *arg);

/* open.c */
void store_watch_log(struct store *s);	/* after each opening */
int store_load_state(struct store *s, struct err *err);	/* counts, heads, lanes, from the tables */
int store_load_lanes(struct store *s, struct err *err);	/* what is due when */

/* room.c */
struct room {
	int64_t left;			/* free on the disk, less what copying the log will take */
	int64_t in_log, in_db;		/* allocated already and free */
};
void room_measure(struct store *s, struct room *r);
bool room_has(const struct room *r, uint64_t bytes);	/* for so much content of arrivals? */
/* As files_headroom, and what is free inside the database. */
int64_t room_headroom(struct store *s);
/* Pages that the log may have: fewer when the disk is nearly full, so that they can be copied. */
unsigned room_log_limit(const struct store *s);

/* group.c */
bool group_is_ready(const struct store *s, int64_t mono);
bool group_has_due(const struct store *s);
void group_run(struct store *s);
void group_checkpoint(struct store *s);
void group_upkeep(struct store *s);	/* a transaction for what evidence_keep.c wants, if anything */
bool store_file_is_ours(const struct store *s);

/* clock.c */
int store_clock_start(struct store *s, struct err *err);	/* at opening, before anything is handed out */
void store_clock_tick(struct store *s);

/* suspects.c: messages that were being worked on when the daemon died */
int suspects_read(struct store *s, bool was_clean, struct err *err);
void suspects_close(void);

/* evidence_keep.c */
bool evidence_wants_upkeep(const struct store *s, int64_t mono);
bool evidence_upkeep(struct store *s);			/* inside a transaction */
void evidence_upkeep_done(struct store *s, bool ok);	/* when it ended */
void evidence_clock_moved(struct store *s);		/* its age is not to be trusted for a while */

/* recover.c */
void store_latch(struct store *s, const char *why);
void store_try_unlatch(struct store *s);
void doubt_fini(struct doubt *d);

/* db_write.c: inside a transaction */
bool put_submit(struct store *s, struct store_submit *r);
bool put_result(struct store *s, struct store_result *r);
bool put_evidence(struct store *s, uint64_t message, int64_t rcpt, const char *text);
bool remove_rcpt(struct store *s, struct key k, enum rcpt_state was, unsigned worker);
bool remove_message(struct store *s, uint64_t message);	/* and its content */
void leave_state(struct store *s, enum rcpt_state was, unsigned worker);
void due_from(struct store *s, unsigned worker, int64_t next_ms);

/* db_sts.c: written inside a transaction, read on the reading connection */
bool put_sts(struct store *s, const struct store_policy *p);
enum store_status read_sts(struct db *db, struct store_sts *r);

/* db_tlsrpt.c: inside a transaction, but for the last */
bool put_tlsrpt_counts(struct store *s, const struct store_tlsrpt_count *v, size_t n);
bool put_tlsrpt(struct store *s, struct store_tlsrpt *r);
json_t *query_tlsrpt(struct db *db, const struct store_filter *f);
/* db_kv.c */
bool put_kv(struct store *s, struct store_kv *r);	/* inside a transaction */
enum store_status read_kv(struct db *db, struct store_kv *r);
bool kv_wants_sweep(const struct store *s, int64_t mono);
bool kv_sweep(struct store *s);			/* inside a transaction */
void kv_sweep_done(struct store *s, bool ok);

/* db_offer.c: as db_sts.c */
#define OFFERS_MAX 100000
bool put_offers(struct store *s, const struct store_offer *rows, size_t n);
enum store_status read_offers(struct db *db, struct store_offers *r);
json_t *query_offers(struct db *db, const struct store_filter *f);

/* db_trace.c */
bool put_traces(struct store *s, const struct store_trace *rows, size_t n);	/* inside a transaction */
json_t *query_trace(struct db *db, const struct store_filter *f);

/* db_due.c */
bool hand_out(struct store *s);

/* db_admin.c */
bool admin_step(struct store *s, struct admin_job *job);
void recall(struct store *s, struct key k);	/* from who has it, when the transaction is committed */
void admin_answer(struct store *s, struct admin_job *job, enum store_status status, const char *text);
char *admin_json(const struct admin_job *job, bool dry_run);

/* reader.c */
struct reader *reader_new(struct store *s);
int reader_open(struct reader *r, struct err *err);	/* the connection; any thread */
void reader_shut(struct reader *r);
int reader_start(struct reader *r, struct err *err);
void reader_stop(struct reader *r);			/* answers what was posted */
void reader_free(struct reader *r);
void reader_post(struct reader *r, struct mail *m);

/* db_query.c, db_status.c, db_evidence.c: on a reading connection; `s` is NULL without a daemon */
enum store_status query_answer(struct db *db, const struct store *s, const struct store_query *q,
    char **json_out, char *text, size_t text_size);
/* Keys that fit the filter, and what to show of them. */
enum store_status query_match(struct db *db, const struct store_query *q, struct admin_job *job);
bool query_is_change(enum store_verb v);
bool filter_is_empty(const struct store_filter *f);
json_t *query_evidence(struct db *db, const struct store_filter *f);
enum store_status query_status(struct db *db, const struct store *s, json_t **out);
json_t *query_export(struct db *db, const struct store_filter *f);
json_t *query_verify(struct db *db, const struct store *s, const struct store_filter *f);
json_t *json_safe(const char *text);		/* escaped; NULL gives null */
json_t *json_time(int64_t ms);			/* 0 gives null */
json_t *json_id(uint64_t id);
json_t *json_mask(uint32_t mask);
json_t *json_parsed(const char *text);		/* JSON as it is, or the text when it is none */

#endif
