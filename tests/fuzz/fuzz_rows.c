/* Rows of a damaged or hostile queue: each setting replaces one column of a message, its
 * recipient or a record of evidence, within what the schema allows. The message is handed out or
 * put on hold with a reason, never both or neither; people's questions are answered; nothing that
 * was read makes a field of its own in what would be sent. All in a transaction that is undone. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/route.h"
#include "message/message.h"
#include "queue/store_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct column {
	const char *table, *name;
	bool is_text;
} columns[] = {
	{ "message", "received_ms", false }, { "message", "session", false }, { "message", "size", false },
	{ "message", "header_size", false }, { "message", "content", false }, { "message", "chunks", false },
	{ "message", "flags", false }, { "message", "direction", false }, { "message", "body_type", false },
	{ "message", "ret", false }, { "message", "tls_no", false }, { "message", "duties", false },
	{ "message", "sender", true }, { "message", "sender_domain", true }, { "message", "envid", true },
	{ "message", "auth_param", true }, { "message", "duty_note", true },
	{ "message", "generation", true }, { "message", "trace", true }, { "message", "edits", true },
	{ "message", "vars", true }, { "message", "tags", true }, { "message", "peer_ip", true },
	{ "message", "peer_name", true }, { "message", "helo", true }, { "message", "listener", true },
	{ "message", "proto", true }, { "message", "tls_in", true }, { "message", "auth_id", true },
	{ "recipient", "worker", false }, { "recipient", "shard", false }, { "recipient", "attempts", false },
	{ "recipient", "first_ms", false }, { "recipient", "delay_notified", false },
	{ "recipient", "notify", false }, { "recipient", "duties", false }, { "recipient", "num", false },
	{ "recipient", "state", false }, { "recipient", "next_ms", false }, { "recipient", "message", false },
	{ "recipient", "address", true }, { "recipient", "domain", true }, { "recipient", "orcpt", true },
	{ "recipient", "route", true }, { "recipient", "next_hop", true },
	{ "recipient", "hold_reason", true }, { "recipient", "bounce_reason", true },
	{ "recipient", "last", true }, { "recipient", "vars", true }, { "recipient", "tags", true },
	{ "content", "message", false }, { "content", "seq", false }, { "content", "bytes", true },
	{ "evidence", "id", false }, { "evidence", "message", false }, { "evidence", "rcpt", false },
	{ "evidence", "at_ms", false }, { "evidence", "text", true }, { "evidence", "hash", true },
};
#define MESSAGE_ID 77

static struct store *store;
static struct db reading;	/* people's statements are prepared on a reading connection alone */
static sqlite3_stmt *set[NELEMS(columns)], *add_message, *add_rcpt, *add_content, *add_evidence;
static char dir[64];

/* The process ends; only what it made must not stay behind. */
static void
tidy_up(void)
{
	static const char *const suffix[] = { "", "-wal", "-shm", ".lock", ".work" };
	char path[128];

	for (size_t i = 0; i < NELEMS(suffix); i++) {
		snprintf(path, sizeof path, "%s/queue.db%s", dir, suffix[i]);
		unlink(path);
	}
	rmdir(dir);
}

static sqlite3_stmt *
prepare(const char *sql)
{
	sqlite3_stmt *st = NULL;

	MUST(sqlite3_prepare_v2(store->db.h, sql, -1, &st, NULL) == SQLITE_OK);
	return st;
}

static void
run(sqlite3_stmt *st)
{
	sqlite3_step(st);	/* a trigger or the key may say no; then the row stays as it is */
	sqlite3_reset(st);
}

static void
make_store(void)
{
	static const struct log_conf quiet = { .file = "/dev/null", .level = LOG_LEVEL_ERROR };
	char path[128], sql[128];
	struct store_conf conf = { .path = path, .workers = 1, .max_active = 10 };
	struct err err;

	snprintf(dir, sizeof dir, "%s", "fuzz-rows-XXXXXX");
	MUST(mkdtemp(dir) != NULL);
	snprintf(path, sizeof path, "%s/queue.db", dir);
	MUST(log_open(&quiet, &err) == 0);
	store = store_open(&conf, &err);
	MUST(store != NULL);
	atexit(tidy_up);
	reading.h = store->db.h;
	for (int i = 0; i < SQL_N; i++)
		reading.st[i] = prepare(db_sql[i]);
	for (size_t i = 0; i < NELEMS(columns); i++) {
		snprintf(sql, sizeof sql, "UPDATE %s SET %s = ?1", columns[i].table, columns[i].name);
		set[i] = prepare(sql);
	}
	add_message = prepare("INSERT INTO message (id, received_ms, session, size, header_size, content,"
	    " chunks, flags, direction, body_type, ret, tls_no, duties, sender, sender_domain)"
	    " VALUES (77, 1, 1, 12, 8, 1, 1, 0, 0, 0, 0, 0, 0, 'a@b.example', 'b.example')");
	add_rcpt = prepare("INSERT INTO recipient (message, num, state, worker, shard, next_ms, attempts,"
	    " first_ms, delay_notified, notify, duties, address, domain, route, next_hop)"
	    " VALUES (77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'c@d.example', 'd.example', 'mx', 'd.example')");
	add_content = prepare("INSERT INTO content (id, message, seq, bytes)"
	    " VALUES (1, 77, 0, x'413A20620D0A0D0A78790D0A')");
	add_evidence = prepare("INSERT INTO evidence (id, message, rcpt, at_ms, text, hash)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
}

/* ---- What the input says ---- */
static int64_t
number(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n && i < 8; i++)
		v = v << 8 | p[i];
	return (int64_t)v;
}

/* Column, length, value; evidence can only be added, so its settings are collected. */
static void
apply(const uint8_t *p, size_t n)
{
	int at = 1;

	sqlite3_clear_bindings(add_evidence);
	for (int i = 1; i <= 4; i++)
		sqlite3_bind_int64(add_evidence, i, i == 2 ? MESSAGE_ID : 1);
	sqlite3_bind_text(add_evidence, 5, "{}", -1, SQLITE_STATIC);
	sqlite3_bind_text(add_evidence, 6, "", -1, SQLITE_STATIC);
	while (n >= 2) {
		size_t c = p[0] % NELEMS(columns), len = p[1] < n - 2 ? p[1] : n - 2;
		bool is_evidence = columns[c].table[0] == 'e';
		sqlite3_stmt *st = is_evidence ? add_evidence : set[c];

		at = is_evidence ? 6 - (int)(NELEMS(columns) - 1 - c) : 1;
		if (strcmp(columns[c].name, "bytes") == 0)
			sqlite3_bind_blob(st, at, p + 2, (int)len, SQLITE_STATIC);
		else if (columns[c].is_text)
			sqlite3_bind_text(st, at, (const char *)p + 2, (int)len, SQLITE_STATIC);
		else
			sqlite3_bind_int64(st, at, number(p + 2, len));
		if (!is_evidence)
			run(st);
		p += 2 + len;
		n -= 2 + len;
	}
	run(add_evidence);
}

/* ---- What is looked at ---- */
static void
check_due(const struct store_due *d)
{
	static const char header[] = "A: b\r\n\r\n";
	const struct msg *m = d->msg;
	size_t n;
	char *out;
	struct route *route;
	struct header h;

	MUST(m->from != NULL && m->from_domain != NULL && m->header_size <= m->content_size);
	MUST(m->direction <= DIR_INTERNAL && m->ret <= RET_HDRS && m->tls_no <= TLS_NO_MALFORMED);
	for (size_t i = 0; i < m->nrcpts; i++) {
		MUST(m->rcpts[i].address != NULL && m->rcpts[i].domain != NULL && m->rcpts[i].notify <= 15);
		if (m->rcpts[i].route != NULL && m->rcpts[i].route[0] == '{') {
			route = route_from_json(m->rcpts[i].route, NULL);
			MUST(route == NULL || (!route->assert_secure_lookup && !route->assert_propagate));
			route_free(route);
		}
	}
	out = header_render(m, (struct slice){ header, sizeof header - 1 }, &n);
	MUST(header_parse(&h, (struct slice){ out, n }) && h.n <= m->nedits + 1);	/* */
	for (size_t i = 0; i < n; i++)
		MUST(out[i] != '\n' || (i > 0 && out[i - 1] == '\r'));
	header_fini(&h);
	free(out);
}

static void
ask(enum store_verb verb, uint64_t id)
{
	struct store_query q = { .verb = verb, .filter = { .id = id, .since_ms = 5 } };
	char text[200], *json = NULL;

	if (query_answer(&reading, store, &q, &json, text, sizeof text) == STORE_OK && json != NULL)
		for (const char *p = json; *p != '\0'; p++)
			MUST((unsigned char)*p >= 0x20 && *p != 0x7F);
	free(json);
}

static size_t
hand_out_all(void)
{
	struct lane *l = &store->lanes[0];
	size_t n = 0;
	struct mail *m;

	memset(&store->tx, 0, sizeof store->tx);
	store->tx.now_ms = 1700000000000;
	l->t_active = 0;
	l->t_earliest = INT64_MIN;
	store->tx.hold_earliest = INT64_MAX;
	if (!hand_out(store))
		MUST(store->db.rc == DB_BAD || store->db.rc == DB_BUSY);
	while ((m = mails_shift(&l->t_due)) != NULL) {
		struct store_due *d = (struct store_due *)m;

		check_due(d);
		n += d->nrcpts;
		store_due_free(d);
	}
	return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	size_t given;

	if (n > 4096)
		return 0;
	if (store == NULL)
		make_store();
	MUST(db_do(&store->db, SQL_BEGIN));
	run(add_message);
	run(add_rcpt);
	run(add_content);
	apply(data, n);
	ask(STORE_LIST, 0);
	ask(STORE_SHOW, MESSAGE_ID);
	ask(STORE_EVIDENCE, 0);
	ask(STORE_EVIDENCE_VERIFY, 0);
	ask(STORE_EVIDENCE_EXPORT, 0);
	given = hand_out_all();
	MUST(given + (size_t)store->tx.held <= 1);
	ask(STORE_SHOW, MESSAGE_ID);
	/* Again: what was put on hold is not the first thing that is stumbled over. */
	given = hand_out_all();
	MUST(given == 0 && store->tx.held == 0);
	MUST(db_do(&store->db, SQL_ROLLBACK));
	return 0;
}
