/* What reports about TLS are made of (RFC 8460): sessions by domain and UTC day, by policy, and the
 * failures among them by what is told of each.
 *
 * Everything is bounded, for the names come from the mail: domains of a day by configuration, policies
 * of a domain's day and kinds of failure of a policy by the numbers below. What is beyond is still
 * counted, in one row for each type of policy or result that says nothing more. */
#include "config.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "queue/store_int.h"

#define POLICIES_MAX 32
#define DETAILS_MAX 100
#define CLAIM_MAX 100u
#define SHOW_MAX 1000u
#define DAY_MS INT64_C(86400000)

static const char *const state_names[] = {
	[TLSRPT_OPEN] = "open", [TLSRPT_DELIVERED] = "delivered", [TLSRPT_GIVEN_UP] = "given-up",
	[TLSRPT_UNWANTED] = "unwanted"
};

void
store_tlsrpt_count_free(struct store_tlsrpt_count *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(v[i].domain);
		free(v[i].policy_domain);
		free(v[i].strings);
		free(v[i].mx_hosts);
		free(v[i].sending_ip);
		free(v[i].mx);
		free(v[i].helo);
		free(v[i].receiving_ip);
		free(v[i].reason);
	}
	free(v);
}

static void
days_free(struct store_tlsrpt *r)
{
	for (size_t i = 0; r->days != NULL && i < r->n; i++) {
		free(r->days[i].domain);
		free(r->days[i].policies);
	}
	free(r->days);
	r->days = NULL;
	r->n = 0;
}

void
store_tlsrpt_free(struct store_tlsrpt *r)
{
	if (r == NULL)
		return;
	days_free(r);
	free(r->node);
	free(r->domain);
	free(r->note);
	free(r);
}

/* ---- Counting ---- */

static void
bind_day(sqlite3_stmt *st, int64_t day, const char *domain)
{
	db_bind_int(st, 1, day);
	db_bind_text(st, 2, domain);
}

/* Counted once a day and kept up to date; a transaction that failed has it counted anew. */
static bool
domains_of(struct store *s, int64_t day, uint64_t *n_out)
{
	if (s->tlsrpt_day != day) {
		sqlite3_stmt *st = db_use(&s->db, SQL_TLSRPT_DOMAINS);

		db_bind_int(st, 1, day);
		if (db_row(&s->db, st) != 1)
			return false;
		s->tlsrpt_domains = (uint64_t)sqlite3_column_int64(st, 0);
		s->tlsrpt_day = day;
		sqlite3_reset(st);
	}
	*n_out = s->tlsrpt_domains;
	return true;
}

static bool
forget_old(struct store *s, int64_t before)
{
	static const enum sql steps[] = { SQL_TLSRPT_OLD_DETAILS, SQL_TLSRPT_OLD_POLICIES, SQL_TLSRPT_OLD_DAYS };

	for (size_t i = 0; i < NELEMS(steps); i++) {
		sqlite3_stmt *st = db_use(&s->db, steps[i]);

		db_bind_int(st, 1, before);
		if (!db_run(&s->db, st))
			return false;
	}
	return true;
}

/* *is_room_out: there is a row for this domain's day now. */
static bool
new_day(struct store *s, int64_t day, const char *domain, bool *is_room_out)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_TLSRPT_NEW_DAY);
	uint64_t n;

	if (!domains_of(s, day, &n))
		return false;
	*is_room_out = n < s->tlsrpt_max_domains;
	if (!*is_room_out) {
		if (s->tlsrpt_full_day != day)
			log_warn("TLS reports: too many domains in a day, further ones are not counted",
			    LOG_U("domains", n), LOG_S("first", domain));
		s->tlsrpt_full_day = day;
		return true;
	}
	bind_day(st, day, domain);
	if (!db_run(&s->db, st))
		return false;
	s->tlsrpt_domains++;
	return n > 0 || forget_old(s, day - s->tlsrpt_keep_days);
}

/* The day that may still be counted on: a report that was begun does not change any more. */
static bool
find_day(struct store *s, const struct store_tlsrpt_count *c, int64_t *day_out, bool *is_room_out)
{
	int64_t today = s->tx.now_ms / DAY_MS;

	for (*day_out = c->day;; *day_out = today) {
		sqlite3_stmt *st = db_use(&s->db, SQL_TLSRPT_DAY);
		int got, is_open;

		bind_day(st, *day_out, c->domain);
		got = db_row(&s->db, st);
		if (got < 0)
			return false;
		if (got == 0)
			return new_day(s, *day_out, c->domain, is_room_out);
		is_open = sqlite3_column_int(st, 0);
		sqlite3_reset(st);
		*is_room_out = true;
		if (is_open || *day_out >= today)
			return true;
	}
}

/* Policies that differ in anything are different ones, which a domain may have in one day. */
static void
policy_key(const struct store_tlsrpt_count *c, char key[65])
{
	const char *const parts[] = { c->type, c->policy_domain, c->strings, c->mx_hosts };
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t digest[32];

	MUST(md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1);
	for (size_t i = 0; i < NELEMS(parts); i++)
		if (parts[i] != NULL)	/* with its NUL, between two */
			MUST(EVP_DigestUpdate(md, parts[i], strlen(parts[i]) + 1) == 1);
	MUST(EVP_DigestFinal_ex(md, digest, NULL) == 1);
	EVP_MD_CTX_free(md);
	hex_encode(key, digest, sizeof digest);
}

/* 1 found and counted, 0 not there, -1. */
static int
count_policy(struct store *s, int64_t day, const char *domain, const char *key, bool failed, int64_t *id_out)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_TLSRPT_COUNT);
	int got;

	bind_day(st, day, domain);
	db_bind_text(st, 3, key);
	db_bind_int(st, 4, !failed);
	db_bind_int(st, 5, failed);
	got = db_row(&s->db, st);
	if (got == 1) {
		*id_out = sqlite3_column_int64(st, 0);
		sqlite3_reset(st);
	}
	return got;
}

static bool
new_policy(struct store *s, int64_t day, const struct store_tlsrpt_count *c, const char *key, bool is_other,
    int64_t *id_out)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_TLSRPT_NEW_POLICY);

	bind_day(st, day, c->domain);
	db_bind_text(st, 3, key);
	db_bind_text(st, 4, c->type);
	db_bind_text(st, 5, is_other || c->policy_domain == NULL ? c->domain : c->policy_domain);
	db_bind_text(st, 6, is_other || c->strings == NULL ? "[]" : c->strings);
	db_bind_text(st, 7, is_other || c->mx_hosts == NULL ? "[]" : c->mx_hosts);
	db_bind_int(st, 8, c->result == NULL);
	db_bind_int(st, 9, c->result != NULL);
	if (!db_run(&s->db, st))
		return false;
	*id_out = sqlite3_last_insert_rowid(s->db.h);
	return true;
}

static bool
find_policy(struct store *s, int64_t day, const struct store_tlsrpt_count *c, int64_t *id_out)
{
	char key[65];
	sqlite3_stmt *st;
	int64_t n;
	int got;

	policy_key(c, key);
	got = count_policy(s, day, c->domain, key, c->result != NULL, id_out);
	if (got != 0)
		return got > 0;
	st = db_use(&s->db, SQL_TLSRPT_POLICY_N);
	bind_day(st, day, c->domain);
	if (db_row(&s->db, st) != 1)
		return false;
	n = sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	if (n < POLICIES_MAX)
		return new_policy(s, day, c, key, false, id_out);
	got = count_policy(s, day, c->domain, c->type, c->result != NULL, id_out);
	return got != 0 ? got > 0 : new_policy(s, day, c, c->type, true, id_out);
}

static void
bind_detail(sqlite3_stmt *st, int64_t policy, const struct store_tlsrpt_count *c, bool is_other)
{
	const char *const parts[] = { c->sending_ip, c->mx, c->helo, c->receiving_ip, c->reason };

	db_bind_int(st, 1, policy);
	db_bind_text(st, 2, c->result);
	for (size_t i = 0; i < NELEMS(parts); i++)
		db_bind_text(st, (int)i + 3, is_other || parts[i] == NULL ? "" : parts[i]);
}

static bool
count_detail(struct store *s, int64_t policy, const struct store_tlsrpt_count *c)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_TLSRPT_DETAIL_IS);
	int64_t n;
	int got;

	bind_detail(st, policy, c, false);
	got = db_row(&s->db, st);
	if (got < 0)
		return false;
	if (got == 1)
		sqlite3_reset(st);
	n = 0;
	if (got == 0) {
		st = db_use(&s->db, SQL_TLSRPT_DETAIL_N);
		db_bind_int(st, 1, policy);
		if (db_row(&s->db, st) != 1)
			return false;
		n = sqlite3_column_int64(st, 0);
		sqlite3_reset(st);
	}
	st = db_use(&s->db, SQL_TLSRPT_DETAIL);
	bind_detail(st, policy, c, n >= DETAILS_MAX);
	return db_run(&s->db, st);
}

bool
put_tlsrpt_counts(struct store *s, const struct store_tlsrpt_count *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool is_room;
		int64_t day, policy;

		if (!find_day(s, &v[i], &day, &is_room))
			return false;
		if (!is_room)
			continue;
		if (!find_policy(s, day, &v[i], &policy))
			return false;
		if (v[i].result != NULL && !count_detail(s, policy, &v[i]))
			return false;
	}
	return true;
}

/* ---- As JSON ---- */

/* Unless it says nothing. */
static void
put_text(json_t *o, const char *key, sqlite3_stmt *st, int col)
{
	const char *t = (const char *)sqlite3_column_text(st, col);

	if (t != NULL && t[0] != '\0' && json_object_set_new(o, key, json_string(t)) != 0)
		json_object_set_new(o, key, json_safe(t));	/* no UTF-8: a damaged row */
}

static void
put_array(json_t *o, const char *key, sqlite3_stmt *st, int col)
{
	const char *t = (const char *)sqlite3_column_text(st, col);
	json_t *list = t == NULL ? NULL : json_loads(t, 0, NULL);

	if (json_array_size(list) > 0)
		json_object_set(o, key, list);
	json_decref(list);
}

static json_t *
details_json(struct db *db, int64_t policy)
{
	sqlite3_stmt *st = db_use(db, SQL_TLSRPT_DETAILS);
	json_t *list = json_array();
	int got;

	db_bind_int(st, 1, policy);
	while ((got = db_row(db, st)) == 1) {
		json_t *o = json_object();

		put_text(o, "result-type", st, 0);
		put_text(o, "sending-mta-ip", st, 1);
		put_text(o, "receiving-mx-hostname", st, 2);
		put_text(o, "receiving-mx-helo", st, 3);
		put_text(o, "receiving-ip", st, 4);
		json_object_set_new(o, "failed-session-count", json_integer(sqlite3_column_int64(st, 6)));
		put_text(o, "failure-reason-code", st, 5);
		json_array_append_new(list, o);
	}
	if (got < 0) {
		json_decref(list);
		return NULL;
	}
	return list;
}

/* RFC 8460 section 4.4. `policies` and `mx-host` are arrays also with one element (T-12, T-28). */
static json_t *
policy_json(struct db *db, sqlite3_stmt *st)
{
	json_t *policy = json_object(), *details = details_json(db, sqlite3_column_int64(st, 0)), *o;

	if (details == NULL) {
		json_decref(policy);
		return NULL;
	}
	put_text(policy, "policy-type", st, 1);
	put_array(policy, "policy-string", st, 3);
	put_text(policy, "policy-domain", st, 2);
	put_array(policy, "mx-host", st, 4);
	o = json_pack("{s:o, s:{s:I, s:I}}", "policy", policy, "summary",
	    "total-successful-session-count", (json_int_t)sqlite3_column_int64(st, 5),
	    "total-failure-session-count", (json_int_t)sqlite3_column_int64(st, 6));
	if (json_array_size(details) > 0)
		json_object_set(o, "failure-details", details);
	json_decref(details);
	return o;
}

static json_t *
policies_json(struct db *db, int64_t day, const char *domain)
{
	sqlite3_stmt *st = db_use(db, SQL_TLSRPT_POLICIES);
	json_t *list = json_array();
	int got;

	bind_day(st, day, domain);
	while ((got = db_row(db, st)) == 1) {
		json_t *o = policy_json(db, st);

		if (o == NULL) {
			sqlite3_reset(st);
			got = -1;
			break;
		}
		json_array_append_new(list, o);
	}
	if (got < 0) {
		json_decref(list);
		return NULL;
	}
	return list;
}

/* ---- What the sender of reports asks ---- */

/* The rows are all read before the policies of each: a statement with RETURNING has done its work by
 * its first row, but must be finished before the commit. */
static bool
claim(struct store *s, struct store_tlsrpt *r)
{
	unsigned limit = r->limit < CLAIM_MAX ? r->limit : CLAIM_MAX;
	sqlite3_stmt *st = db_use(&s->db, SQL_TLSRPT_CLAIM);
	int got;

	db_bind_text(st, 1, r->node);
	db_bind_int(st, 2, r->lease_until_ms);
	db_bind_int(st, 3, s->tx.now_ms / DAY_MS);
	db_bind_int(st, 4, s->tx.now_ms);
	db_bind_int(st, 5, limit);
	r->days = xcalloc(limit + 1, sizeof *r->days);
	while ((got = db_row(&s->db, st)) == 1) {
		struct store_tlsrpt_day *d;

		if (sqlite3_column_type(st, 1) != SQLITE_TEXT)	/* a damaged row */
			continue;
		MUST(r->n < limit);
		d = &r->days[r->n++];
		d->day = sqlite3_column_int64(st, 0);
		d->domain = db_text(st, 1);
		d->tries = (unsigned)sqlite3_column_int64(st, 2);
		d->first_ms = sqlite3_column_int64(st, 3);
	}
	for (size_t i = 0; got == 0 && i < r->n; i++) {
		json_t *list = policies_json(&s->db, r->days[i].day, r->days[i].domain);

		if (list == NULL)
			return false;
		r->days[i].policies = json_dumps(list, JSON_COMPACT);
		json_decref(list);
	}
	return got == 0;
}

static bool
mark(struct store *s, struct store_tlsrpt *r)
{
	sqlite3_stmt *st = db_use(&s->db, SQL_TLSRPT_MARK);

	bind_day(st, r->day, r->domain);
	db_bind_text(st, 3, r->node);
	db_bind_int(st, 4, r->state);
	db_bind_int(st, 5, r->tries);
	db_bind_int(st, 6, r->first_ms);
	db_bind_int(st, 7, r->next_ms);
	db_bind_text(st, 8, r->note);
	if (!db_run(&s->db, st))
		return false;
	r->n = (size_t)sqlite3_changes(s->db.h);
	return true;
}

bool
put_tlsrpt(struct store *s, struct store_tlsrpt *r)
{
	days_free(r);		/* of a transaction that was undone */
	return r->verb == STORE_TLSRPT_CLAIM ? claim(s, r) : mark(s, r);
}

/* ---- For people ---- */

json_t *
query_tlsrpt(struct db *db, const struct store_filter *f)
{
	unsigned limit = f->limit == 0 ? 100 : f->limit < SHOW_MAX ? f->limit : SHOW_MAX, n = 0;
	sqlite3_stmt *st = db_use(db, SQL_TLSRPT_SHOW);
	json_t *days = json_array(), *policies;
	int got;

	db_bind_text(st, 1, f->domain);
	db_bind_int(st, 2, f->since_ms / DAY_MS);
	db_bind_int(st, 3, f->until_ms == 0 ? INT64_MAX : f->until_ms / DAY_MS);
	db_bind_int(st, 4, (int64_t)limit + 1);
	while ((got = db_row(db, st)) == 1 && n++ < limit) {
		int64_t day = sqlite3_column_int64(st, 0), state = sqlite3_column_int64(st, 2);
		json_t *o = json_object(), *at = json_time(day * DAY_MS);

		policies = policies_json(db, day, (const char *)sqlite3_column_text(st, 1));
		json_object_set_new(o, "day", json_sprintf("%.10s", json_string_value(at)));
		json_decref(at);
		put_text(o, "domain", st, 1);
		json_object_set_new(o, "state", json_string(state >= 0 && state < (int64_t)NELEMS(state_names) ?
		    state_names[state] : "?"));
		json_object_set_new(o, "tries", json_integer(sqlite3_column_int64(st, 3)));
		json_object_set_new(o, "next", json_time(sqlite3_column_int64(st, 4)));
		put_text(o, "node", st, 5);
		put_text(o, "note", st, 6);
		json_object_set_new(o, "policies", policies == NULL ? json_array() : policies);
		json_array_append_new(days, o);
	}
	if (got == 1)
		sqlite3_reset(st);
	if (got < 0) {
		json_decref(days);
		return NULL;
	}
	return json_pack("{s:o, s:b}", "days", days, "more", got == 1);
}
