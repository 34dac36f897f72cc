/* Every statement. Nothing here or elsewhere in this folder builds SQL from data: values
 * are bound, patterns too. */
#include "config.h"

#include "queue/store_int.h"

/* Content is a rowid table with a growing key of its own, and `message` knows its first key: the
 * insert always goes to the end of the tree. Measured at 10 KiB in groups of 50, pages of 8 KiB:
 * 40 us of CPU and 13 KiB of WAL a message, against 55 us and 19 KiB for a table WITHOUT ROWID on
 * (message, seq). Pages of 4, 16 and 32 KiB cost 54, 42 and 31 us, but 16 KiB and more write
 * three times as much for a message that comes alone.
 *
 * `recipient.shard` is the hash of the destination, `worker` that hash modulo the number of
 * workers, so that what is due for one worker is one range of an index. Rows that are handed out
 * at once never enter that index. For a HELD row next_ms is when the hold ends, 0 never. */
static const char version_1[] =
	"CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE TABLE message ("
	"  id INTEGER PRIMARY KEY, received_ms INTEGER NOT NULL, session INTEGER NOT NULL,"
	"  size INTEGER NOT NULL, header_size INTEGER NOT NULL,"
	"  content INTEGER NOT NULL, chunks INTEGER NOT NULL,"
	"  flags INTEGER NOT NULL, direction INTEGER NOT NULL, body_type INTEGER NOT NULL,"
	"  ret INTEGER NOT NULL, tls_no INTEGER NOT NULL, duties INTEGER NOT NULL,"
	"  sender TEXT NOT NULL, sender_domain TEXT NOT NULL, envid TEXT, auth_param TEXT,"
	"  duty_note TEXT, generation TEXT, trace TEXT, edits TEXT, vars TEXT, tags TEXT,"
	"  peer_ip TEXT, peer_name TEXT, helo TEXT, listener TEXT, proto TEXT, tls_in TEXT,"
	"  auth_id TEXT) STRICT;"
	"CREATE TABLE content ("
	"  id INTEGER PRIMARY KEY, message INTEGER NOT NULL, seq INTEGER NOT NULL,"
	"  bytes BLOB NOT NULL) STRICT;"
	"CREATE TABLE recipient ("
	"  message INTEGER NOT NULL, num INTEGER NOT NULL, state INTEGER NOT NULL,"
	"  worker INTEGER NOT NULL, shard INTEGER NOT NULL, next_ms INTEGER NOT NULL,"
	"  attempts INTEGER NOT NULL, first_ms INTEGER NOT NULL, delay_notified INTEGER NOT NULL,"
	"  notify INTEGER NOT NULL, duties INTEGER NOT NULL,"
	"  address TEXT NOT NULL, domain TEXT NOT NULL, orcpt TEXT, route TEXT, next_hop TEXT,"
	"  hold_reason TEXT, bounce_reason TEXT, last TEXT, vars TEXT, tags TEXT,"
	"  PRIMARY KEY (message, num)) STRICT, WITHOUT ROWID;"
	"CREATE INDEX recipient_due ON recipient (worker, next_ms) WHERE state = 0;"
	"CREATE INDEX recipient_hold ON recipient (next_ms) WHERE state = 2 AND next_ms > 0;"
	"CREATE TABLE evidence ("
	"  id INTEGER PRIMARY KEY, message INTEGER NOT NULL, rcpt INTEGER,"
	"  at_ms INTEGER NOT NULL, text TEXT NOT NULL, hash TEXT NOT NULL) STRICT;"
	"CREATE INDEX evidence_message ON evidence (message);"
	/* Q2: whatever asks for it, no update takes a bit out. */
	"CREATE TRIGGER message_duties BEFORE UPDATE OF duties ON message"
	"  WHEN (old.duties & ~new.duties) <> 0"
	"  BEGIN SELECT RAISE(ABORT, 'duties may only grow'); END;"
	"CREATE TRIGGER recipient_duties BEFORE UPDATE OF duties ON recipient"
	"  WHEN (old.duties & ~new.duties) <> 0"
	"  BEGIN SELECT RAISE(ABORT, 'duties may only grow'); END;"
	/* I4: append only. */
	"CREATE TRIGGER evidence_update BEFORE UPDATE ON evidence"
	"  BEGIN SELECT RAISE(ABORT, 'evidence is append only'); END;"
	"CREATE TRIGGER evidence_delete BEFORE DELETE ON evidence"
	"  BEGIN SELECT RAISE(ABORT, 'evidence is append only'); END;";

/* What is old leaves the chain of evidence only from its beginning, and only behind a checkpoint:
 * number and hash of the last row that was removed, so that the rest can still be checked. The
 * checkpoint never goes back. */
static const char version_evidence_removed[] =
	"CREATE TABLE evidence_removed ("
	"  one INTEGER PRIMARY KEY CHECK (one = 1), id INTEGER NOT NULL, hash TEXT NOT NULL,"
	"  at_ms INTEGER NOT NULL) STRICT;"
	"CREATE TRIGGER evidence_removed_update BEFORE UPDATE ON evidence_removed WHEN new.id < old.id"
	"  BEGIN SELECT RAISE(ABORT, 'the checkpoint of evidence only moves on'); END;"
	"CREATE TRIGGER evidence_removed_delete BEFORE DELETE ON evidence_removed"
	"  BEGIN SELECT RAISE(ABORT, 'the checkpoint of evidence stays'); END;"
	"DROP TRIGGER evidence_delete;"
	"CREATE TRIGGER evidence_delete BEFORE DELETE ON evidence"
	"  WHEN old.id > coalesce((SELECT id FROM evidence_removed), 0)"
	"  BEGIN SELECT RAISE(ABORT, 'evidence is append only'); END;";

/* MTA-STS policies by policy domain, text as fetched (S-50). */
static const char version_sts_policy[] =
	"CREATE TABLE sts_policy ("
	"  domain TEXT PRIMARY KEY, id TEXT NOT NULL, text TEXT NOT NULL, fetched_ms INTEGER NOT NULL,"
	"  expires_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE INDEX sts_policy_fetched ON sts_policy (fetched_ms);";

/* Sessions for TLS reports (db_tlsrpt.c). In tlsrpt_detail '' stands for what is not known. */
static const char version_tlsrpt[] =
	"CREATE TABLE tlsrpt_day ("
	"  day INTEGER NOT NULL, domain TEXT NOT NULL, state INTEGER NOT NULL, tries INTEGER NOT NULL,"
	"  first_ms INTEGER NOT NULL, next_ms INTEGER NOT NULL, node TEXT, lease_ms INTEGER NOT NULL, note TEXT,"
	"  PRIMARY KEY (day, domain)) STRICT, WITHOUT ROWID;"
	"CREATE INDEX tlsrpt_open ON tlsrpt_day (next_ms) WHERE state = 0;"
	"CREATE TABLE tlsrpt_policy ("
	"  id INTEGER PRIMARY KEY, day INTEGER NOT NULL, domain TEXT NOT NULL, key TEXT NOT NULL,"
	"  type TEXT NOT NULL, policy_domain TEXT NOT NULL, strings TEXT NOT NULL, mx_hosts TEXT NOT NULL,"
	"  ok INTEGER NOT NULL, failed INTEGER NOT NULL, UNIQUE (day, domain, key)) STRICT;"
	"CREATE TABLE tlsrpt_detail ("
	"  policy INTEGER NOT NULL, result TEXT NOT NULL, sending_ip TEXT NOT NULL, mx TEXT NOT NULL,"
	"  helo TEXT NOT NULL, receiving_ip TEXT NOT NULL, reason TEXT NOT NULL, n INTEGER NOT NULL,"
	"  PRIMARY KEY (policy, result, sending_ip, mx, helo, receiving_ip, reason)) STRICT, WITHOUT ROWID;";

/* What policies keep (gw.kv). expires_ms 0: for ever. */
static const char version_kv[] =
	"CREATE TABLE kv ("
	"  name TEXT NOT NULL, key BLOB NOT NULL, value TEXT NOT NULL, expires_ms INTEGER NOT NULL,"
	"  PRIMARY KEY (name, key)) STRICT, WITHOUT ROWID;"
	"CREATE INDEX kv_expires ON kv (expires_ms) WHERE expires_ms > 0;"
	"CREATE TABLE kv_rows (name TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
	"CREATE TRIGGER kv_insert AFTER INSERT ON kv BEGIN"
	"  INSERT INTO kv_rows (name, n) VALUES (new.name, 1) ON CONFLICT (name) DO UPDATE SET n = n + 1; END;"
	"CREATE TRIGGER kv_delete AFTER DELETE ON kv BEGIN"
	"  UPDATE kv_rows SET n = n - 1 WHERE name = old.name;"
	"  DELETE FROM kv_rows WHERE name = old.name AND n <= 0; END;";

/* What each domain and host offered. One row for each offer, kept while the domain gets mail. */
static const char version_offer[] =
	"CREATE TABLE offer ("
	"  domain TEXT NOT NULL, host TEXT NOT NULL, what TEXT NOT NULL, value TEXT NOT NULL, instead TEXT,"
	"  first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, lost_ms INTEGER NOT NULL,"
	"  PRIMARY KEY (domain, host, what)) STRICT, WITHOUT ROWID;"
	"CREATE INDEX offer_last ON offer (last_ms);"
	"CREATE INDEX offer_lost ON offer (lost_ms) WHERE lost_ms > 0;";

/* What handlers did. Rows leave by number and by age. */
static const char version_trace[] =
	"CREATE TABLE trace ("
	"  id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, message INTEGER NOT NULL, session INTEGER NOT NULL,"
	"  hook TEXT NOT NULL, domain TEXT NOT NULL, text TEXT NOT NULL) STRICT;"
	"CREATE INDEX trace_message ON trace (message) WHERE message > 0;"
	"CREATE INDEX trace_session ON trace (session) WHERE session > 0;"
	"CREATE INDEX trace_domain ON trace (domain, id) WHERE hook = 'tls_policy';";

/* Raised by each handing out, so that what is said of an earlier one is told from what is said of this. */
static const char version_lease[] =
	"ALTER TABLE recipient ADD COLUMN lease INTEGER NOT NULL DEFAULT 0;";

/* Script n leads from user_version n to n + 1. */
const char *const db_migrations[] = { version_1, version_evidence_removed, version_sts_policy,
	version_tlsrpt, version_kv, version_offer,
	version_trace, version_lease };
const int db_version = NELEMS(db_migrations);

/* For auditors, with tools of their own (doc/evidence.md). Made anew when this text changes. */
#define VIEW_COLUMN(name) " json_extract(e.record, '$." #name "') AS \"" #name "\","
const char db_sql_view[] = "CREATE VIEW evidence_view AS SELECT e.id,"
	EVIDENCE_FIELDS(VIEW_COLUMN)
	" e.prev_hash, e.hash FROM (SELECT id, hash, CASE WHEN json_valid(text) THEN text END AS record,"
	" (SELECT p.hash FROM evidence p WHERE p.id = evidence.id - 1) AS prev_hash FROM evidence) e";

#define MESSAGE_COLUMNS "received_ms, session, size, header_size, content, chunks, flags, direction," \
	" body_type, ret, tls_no, duties, sender, sender_domain, envid, auth_param, duty_note," \
	" generation, trace, edits, vars, tags, peer_ip, peer_name, helo, listener, proto, tls_in," \
	" auth_id"
#define STATE_NAME "CASE r.state WHEN 0 THEN 'queued' WHEN 1 THEN 'active' ELSE 'held' END"
/* json_valid: one damaged row must not take the list away from all others. */
#define HAS_TAG(tags) "EXISTS (SELECT 1 FROM json_each(CASE WHEN json_valid(" tags ") THEN " tags \
	" END) WHERE lower(value) GLOB ?7)"

const char *const db_sql[SQL_N] = {
	[SQL_BEGIN] = "BEGIN IMMEDIATE",
	[SQL_COMMIT] = "COMMIT",
	[SQL_ROLLBACK] = "ROLLBACK",

	[SQL_PUT_MESSAGE] = "INSERT INTO message (id, " MESSAGE_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5,"
	    " ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24,"
	    " ?25, ?26, ?27, ?28, ?29, ?30)",
	[SQL_PUT_CONTENT] = "INSERT INTO content (id, message, seq, bytes) VALUES (?1, ?2, ?3, ?4)",
	[SQL_PUT_RCPT] = "INSERT INTO recipient (message, num, state, worker, shard, next_ms, attempts,"
	    " first_ms, delay_notified, notify, duties, address, domain, orcpt, route, next_hop,"
	    " hold_reason, vars, tags, lease)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, 0, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
	[SQL_PUT_EVIDENCE] = "INSERT INTO evidence (id, message, rcpt, at_ms, text, hash)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",

	[SQL_RCPT_STATE] = "SELECT state, worker, lease FROM recipient WHERE message = ?1 AND num = ?2",
	[SQL_DEL_RCPT] = "DELETE FROM recipient WHERE message = ?1 AND num = ?2",
	[SQL_RCPT_LEFT] = "SELECT 1 FROM recipient WHERE message = ?1 LIMIT 1",
	[SQL_DEL_MESSAGE] = "DELETE FROM message WHERE id = ?1 RETURNING size, content, chunks",
	[SQL_DEL_CONTENT] = "DELETE FROM content WHERE id >= ?1 AND id < ?2 AND message = ?3",
	[SQL_DEL_RCPTS_OF] = "DELETE FROM recipient WHERE message = ?1",

	[SQL_DEFER] = "UPDATE recipient SET state = 0, next_ms = ?3, attempts = ?4, first_ms = ?5,"
	    " delay_notified = ?6, last = coalesce(?7, last) WHERE message = ?1 AND num = ?2",
	[SQL_NOTE] = "UPDATE recipient SET attempts = ?3, first_ms = ?4, delay_notified = ?5,"
	    " last = coalesce(?6, last) WHERE message = ?1 AND num = ?2",
	[SQL_HOLD] = "UPDATE recipient SET state = 2, next_ms = ?3, hold_reason = ?4"
	    " WHERE message = ?1 AND num = ?2",
	[SQL_ROUTE] = "UPDATE recipient SET route = ?3, next_hop = ?4, shard = ?5, worker = ?6"
	    " WHERE message = ?1 AND num = ?2",
	[SQL_JOIN_DUTIES] = "UPDATE recipient SET duties = duties | ?3 WHERE message = ?1 AND num = ?2",

	[SQL_DUE] = "SELECT message, num FROM recipient"
	    " WHERE state = 0 AND worker = ?1 AND next_ms <= ?2 ORDER BY next_ms LIMIT ?3",
	[SQL_EARLIEST] = "SELECT next_ms FROM recipient WHERE state = 0 AND worker = ?1"
	    " ORDER BY next_ms LIMIT 1",
	[SQL_LEASE] = "UPDATE recipient SET state = 1, lease = ?3 WHERE message = ?1 AND num = ?2",
	[SQL_HOLDS_ENDED] = "SELECT message, num, worker FROM recipient"
	    " WHERE state = 2 AND next_ms > 0 AND next_ms <= ?1 ORDER BY next_ms LIMIT ?2",
	[SQL_HOLD_EARLIEST] = "SELECT next_ms FROM recipient WHERE state = 2 AND next_ms > 0"
	    " ORDER BY next_ms LIMIT 1",
	[SQL_HOLD_END] = "UPDATE recipient SET state = 0, hold_reason = NULL"
	    " WHERE message = ?1 AND num = ?2",
	[SQL_QUARANTINE] = "UPDATE recipient SET state = 2, next_ms = 0, hold_reason = ?3"
	    " WHERE message = ?1 AND num = ?2",

	[SQL_GET_MESSAGE] = "SELECT " MESSAGE_COLUMNS " FROM message WHERE id = ?1",
	[SQL_GET_RCPT] = "SELECT attempts, first_ms, delay_notified, notify, duties, address,"
	    " domain, orcpt, route, next_hop, bounce_reason, last, vars, tags, lease"
	    " FROM recipient WHERE message = ?1 AND num = ?2",
	[SQL_CONTENT_LAST] = "SELECT message, length(bytes) FROM content WHERE id = ?1",

	[SQL_ADMIN_ROW] = "SELECT r.state, r.worker, r.duties | coalesce(m.duties, 0), r.address,"
	    " r.domain, r.route, r.attempts, m.sender, m.duty_note, m.generation"
	    " FROM recipient r LEFT JOIN message m ON m.id = r.message"
	    " WHERE r.message = ?1 AND r.num = ?2",
	[SQL_ADMIN_STATE] = "UPDATE recipient SET state = ?3, next_ms = ?4, hold_reason = ?5"
	    " WHERE message = ?1 AND num = ?2",
	[SQL_ADMIN_BOUNCE] = "UPDATE recipient SET state = 0, next_ms = ?3, hold_reason = NULL,"
	    " bounce_reason = ?4 WHERE message = ?1 AND num = ?2",
	[SQL_ADMIN_NOTE] = "UPDATE message SET duty_note = coalesce(duty_note || ';', '') || ?2"
	    " WHERE id = ?1 AND instr(';' || coalesce(duty_note, '') || ';', ';' || ?2 || ';') = 0",

	[SQL_EVIDENCE_HEAD] = "SELECT id, hash FROM evidence ORDER BY id DESC LIMIT 1",
	[SQL_META_GET] = "SELECT value FROM meta WHERE name = ?1",
	[SQL_META_SET] = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)",
	[SQL_UNLEASE] = "UPDATE recipient SET state = 0 WHERE state = 1",
	[SQL_PAGES] = "PRAGMA page_count",
	[SQL_FREE_PAGES] = "PRAGMA freelist_count",
	[SQL_UNLEASE_ONE] = "UPDATE recipient SET state = 0 WHERE message = ?1 AND num = ?2 AND state = 1",
	[SQL_RESHARD] = "UPDATE recipient SET worker = shard % ?1",
	/* Newest id and newest evidence: the clock was at least there. */
	[SQL_LAST_KNOWN] = "SELECT max(coalesce((SELECT max(id) FROM message), 0),"
	    " coalesce((SELECT max(message) FROM evidence), 0)),"
	    " coalesce((SELECT at_ms FROM evidence ORDER BY id DESC LIMIT 1), 0)",
	[SQL_SHIFT] = "UPDATE recipient SET next_ms = next_ms + ?1"
	    " WHERE state = 0 AND (attempts > 0 OR next_ms <= ?2)",
	[SQL_CRASHES_FORGET] = "DELETE FROM meta WHERE name GLOB 'crashes:*'",
	[SQL_HOLD_ALL] = "UPDATE recipient SET state = 2, next_ms = 0, hold_reason = ?2"
	    " WHERE message = ?1 AND state <> 2",
	[SQL_COUNT_MESSAGES] = "SELECT count(*), coalesce(sum(size), 0) FROM message",
	[SQL_COUNT_RCPTS] = "SELECT count(*), coalesce(sum(state = 1), 0), coalesce(sum(state = 2), 0)"
	    " FROM recipient",
	[SQL_COUNT_ACTIVE] = "SELECT worker, count(*) FROM recipient WHERE state = 1 GROUP BY worker",
	[SQL_CONTENT_TOP] = "SELECT coalesce(max(id), 0) FROM content",

	[SQL_EVIDENCE_REMOVED] = "SELECT id, hash, at_ms FROM evidence_removed",
	[SQL_EVIDENCE_OLD] = "SELECT id, at_ms, text, hash FROM evidence WHERE id > ?1 ORDER BY id LIMIT ?2",
	[SQL_EVIDENCE_REMOVE_TO] = "INSERT INTO evidence_removed (one, id, hash, at_ms) VALUES (1, ?1, ?2, ?3)"
	    " ON CONFLICT (one) DO UPDATE SET id = excluded.id, hash = excluded.hash, at_ms = excluded.at_ms",
	[SQL_EVIDENCE_DROP] = "DELETE FROM evidence WHERE id <= ?1",

	[SQL_STS_PUT] = "INSERT OR REPLACE INTO sts_policy (domain, id, text, fetched_ms, expires_ms)"
	    " VALUES (?1, ?2, ?3, ?4, ?5)",
	[SQL_STS_FORGET] = "DELETE FROM sts_policy WHERE fetched_ms < ?2 AND expires_ms < ?1",

	/* 1 while a session may still be counted on it. */
	[SQL_TLSRPT_DAY] = "SELECT state = 0 AND node IS NULL AND next_ms = 0 FROM tlsrpt_day"
	    " WHERE day = ?1 AND domain = ?2",
	[SQL_TLSRPT_DOMAINS] = "SELECT count(*) FROM tlsrpt_day WHERE day = ?1",
	[SQL_TLSRPT_NEW_DAY] = "INSERT INTO tlsrpt_day (day, domain, state, tries, first_ms, next_ms, lease_ms)"
	    " VALUES (?1, ?2, 0, 0, 0, 0, 0)",
	[SQL_TLSRPT_COUNT] = "UPDATE tlsrpt_policy SET ok = ok + ?4, failed = failed + ?5"
	    " WHERE day = ?1 AND domain = ?2 AND key = ?3 RETURNING id",
	[SQL_TLSRPT_POLICY_N] = "SELECT count(*) FROM tlsrpt_policy WHERE day = ?1 AND domain = ?2",
	[SQL_TLSRPT_NEW_POLICY] = "INSERT INTO tlsrpt_policy (day, domain, key, type, policy_domain, strings,"
	    " mx_hosts, ok, failed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
	[SQL_TLSRPT_DETAIL_IS] = "SELECT 1 FROM tlsrpt_detail WHERE policy = ?1 AND result = ?2"
	    " AND sending_ip = ?3 AND mx = ?4 AND helo = ?5 AND receiving_ip = ?6 AND reason = ?7",
	[SQL_TLSRPT_DETAIL_N] = "SELECT count(*) FROM tlsrpt_detail WHERE policy = ?1",
	[SQL_TLSRPT_DETAIL] = "INSERT INTO tlsrpt_detail (policy, result, sending_ip, mx, helo, receiving_ip,"
	    " reason, n) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)"
	    " ON CONFLICT DO UPDATE SET n = n + 1",
	[SQL_TLSRPT_CLAIM] = "UPDATE tlsrpt_day SET node = ?1, lease_ms = ?2 WHERE (day, domain) IN"
	    " (SELECT day, domain FROM tlsrpt_day WHERE state = 0 AND next_ms <= ?4 AND day < ?3"
	    " AND lease_ms <= ?4 ORDER BY next_ms, day, domain LIMIT ?5)"
	    " RETURNING day, domain, tries, first_ms",
	[SQL_TLSRPT_MARK] = "UPDATE tlsrpt_day SET state = ?4, tries = ?5, first_ms = ?6, next_ms = ?7,"
	    " note = coalesce(?8, note), node = iif(?4 = 0, NULL, node), lease_ms = 0"
	    " WHERE day = ?1 AND domain = ?2 AND node = ?3 AND state = 0",
	[SQL_TLSRPT_OLD_DETAILS] = "DELETE FROM tlsrpt_detail WHERE policy IN"
	    " (SELECT id FROM tlsrpt_policy WHERE day < ?1)",
	[SQL_TLSRPT_OLD_POLICIES] = "DELETE FROM tlsrpt_policy WHERE day < ?1",
	[SQL_TLSRPT_OLD_DAYS] = "DELETE FROM tlsrpt_day WHERE day < ?1",
	[SQL_TLSRPT_POLICIES] = "SELECT id, type, policy_domain, strings, mx_hosts, ok, failed FROM tlsrpt_policy"
	    " WHERE day = ?1 AND domain = ?2 ORDER BY type, policy_domain, key",
	[SQL_TLSRPT_DETAILS] = "SELECT result, sending_ip, mx, helo, receiving_ip, reason, n FROM tlsrpt_detail"
	    " WHERE policy = ?1 ORDER BY result, sending_ip, mx, helo, receiving_ip, reason",
	[SQL_TLSRPT_SHOW] = "SELECT day, domain, state, tries, next_ms, node, note FROM tlsrpt_day"
	    " WHERE (?1 IS NULL OR domain GLOB ?1) AND day >= ?2 AND day <= ?3"
	    " ORDER BY day DESC, domain LIMIT ?4",
	[SQL_KV_GET] = "SELECT value, expires_ms FROM kv WHERE name = ?1 AND key = ?2",
	[SQL_KV_READ] = "SELECT value, expires_ms FROM kv WHERE name = ?1 AND key = ?2",
	[SQL_KV_INSERT] = "INSERT INTO kv (name, key, value, expires_ms) VALUES (?1, ?2, ?3, ?4)",
	[SQL_KV_UPDATE] = "UPDATE kv SET value = ?3, expires_ms = ?4 WHERE name = ?1 AND key = ?2",
	[SQL_KV_DELETE] = "DELETE FROM kv WHERE name = ?1 AND key = ?2",
	[SQL_KV_COUNT] = "SELECT coalesce((SELECT n FROM kv_rows WHERE name = ?1), 0),"
	    " coalesce((SELECT sum(n) FROM kv_rows), 0)",
	[SQL_KV_SWEEP] = "DELETE FROM kv WHERE (name, key) IN (SELECT name, key FROM kv"
	    " WHERE expires_ms > 0 AND expires_ms <= ?1 ORDER BY expires_ms LIMIT ?2)",
	[SQL_TRACE_PUT] = "INSERT INTO trace (at_ms, message, session, hook, domain, text)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
	[SQL_TRACE_CAP] = "DELETE FROM trace WHERE id <= (SELECT max(id) FROM trace) - ?1",
	[SQL_TRACE_SWEEP] = "DELETE FROM trace WHERE id IN (SELECT id FROM trace ORDER BY id LIMIT ?2) AND at_ms < ?1",
	/* A message's own, those of its session before there was a message, and what was said of the
	 * destinations that it went to. */
	[SQL_TRACE_OF] = "WITH own AS (SELECT id, session, domain FROM trace WHERE message = ?1 AND message > 0)"
	    " SELECT text FROM trace WHERE id IN ("
	    " SELECT id FROM own"
	    " UNION SELECT id FROM trace WHERE session = ?1 AND session > 0"
	    " UNION SELECT t.id FROM own JOIN trace t ON t.session = own.session AND t.session > 0 AND t.message = 0"
	    " UNION SELECT max(t.id) FROM own JOIN trace t ON t.hook = 'tls_policy' AND t.domain = own.domain"
	    "  AND t.id <= own.id GROUP BY own.domain)"
	    " ORDER BY at_ms, id LIMIT ?2",
	[SQL_OFFER_COUNT] = "SELECT count(*) FROM offer",
	[SQL_OFFER_EVICT] = "DELETE FROM offer WHERE (domain, host, what) IN"
	    " (SELECT domain, host, what FROM offer ORDER BY last_ms LIMIT ?1)",
	[SQL_OFFER_UPDATE] = "UPDATE offer SET value = ?4, instead = ?5, first_ms = ?6, last_ms = ?7, lost_ms = ?8"
	    " WHERE domain = ?1 AND host = ?2 AND what = ?3",
	[SQL_OFFER_INSERT] = "INSERT INTO offer (domain, host, what, value, instead, first_ms, last_ms, lost_ms)"
	    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
	[SQL_OFFER_SWEEP] = "DELETE FROM offer WHERE lost_ms > 0 AND lost_ms < ?1",
	[SQL_OFFERS_OF] = "SELECT host, what, value, instead, first_ms, last_ms, lost_ms FROM offer"
	    " WHERE domain = ?1 AND (lost_ms = 0 OR lost_ms >= ?2) ORDER BY host, what",
	[SQL_OFFER_LIST] = "SELECT domain, host, what, value, instead, first_ms, last_ms, lost_ms FROM offer"
	    " WHERE ?1 IS NULL OR domain GLOB ?1 ORDER BY domain, host, what LIMIT ?2",

	[SQL_STS_OF] = "SELECT domain, id, text, fetched_ms, expires_ms FROM sts_policy"
	    " WHERE domain = ?1",
	[SQL_STS_DUE] = "SELECT domain, id, text, fetched_ms, expires_ms FROM sts_policy"
	    " WHERE fetched_ms < ?1 ORDER BY fetched_ms LIMIT ?2",
	[SQL_READ_CHUNK] = "SELECT message, seq, bytes FROM content WHERE id ="
	    " (SELECT content + ?2 FROM message WHERE id = ?1 AND chunks > ?2)",
	[SQL_READ_SIZE] = "SELECT size FROM message WHERE id = ?1",
	[SQL_MATCH] = "SELECT r.message, r.num, r.address, r.state"
	    " FROM recipient r LEFT JOIN message m ON m.id = r.message"
	    " WHERE r.message BETWEEN ?1 AND ?2"
	    " AND (?3 IS NULL OR lower(m.sender) GLOB ?3)"
	    " AND (?4 IS NULL OR lower(r.address) GLOB ?4)"
	    " AND (?5 IS NULL OR r.domain GLOB ?5)"
	    " AND (?6 IS NULL OR lower(r.route) GLOB ?6)"
	    " AND (?7 IS NULL OR " HAS_TAG("m.tags") " OR " HAS_TAG("r.tags") ")"
	    " AND (?8 IS NULL OR " STATE_NAME " GLOB ?8)"
	    " AND (?9 = 0 OR m.received_ms >= ?9) AND (?10 = 0 OR m.received_ms <= ?10)"
	    " ORDER BY r.message, r.num",
	[SQL_LIST_MESSAGE] = "SELECT received_ms, size, flags, duties, sender, tags FROM message"
	    " WHERE id = ?1",
	[SQL_LIST_RCPT] = "SELECT num, address, state, route, next_hop, attempts, next_ms, first_ms,"
	    " duties, notify, orcpt, hold_reason, bounce_reason, last, tags, vars"
	    " FROM recipient WHERE message = ?1 AND num = ?2",
	[SQL_RCPTS_OF] = "SELECT num FROM recipient WHERE message = ?1 ORDER BY num",
	[SQL_SHOW_MESSAGE] = "SELECT received_ms, size, flags, duties, sender, tags, header_size, session,"
	    " direction, body_type, ret, tls_no, envid, auth_param, duty_note, generation, trace, edits,"
	    " vars, peer_ip, peer_name, helo, listener, proto, tls_in, auth_id FROM message WHERE id = ?1",
	[SQL_EVIDENCE_OF] = "SELECT id, message, rcpt, at_ms, text, hash FROM evidence"
	    " WHERE message = ?1 AND id >= ?2 ORDER BY id LIMIT ?3",
	[SQL_EVIDENCE_FROM] = "SELECT id, message, rcpt, at_ms, text, hash FROM evidence"
	    " WHERE id >= ?2 ORDER BY id LIMIT ?3",
	[SQL_EVIDENCE_AT] = "SELECT id, at_ms FROM evidence WHERE id >= ?1 ORDER BY id LIMIT 1",
	[SQL_EVIDENCE_WALK] = "SELECT id, message, rcpt, text, hash FROM evidence"
	    " WHERE id > ?1 ORDER BY id LIMIT 1000",
	[SQL_EVIDENCE_HASH] = "SELECT hash FROM evidence WHERE id = ?1",
	[SQL_OLDEST] = "SELECT received_ms FROM message ORDER BY id LIMIT 1",
};
