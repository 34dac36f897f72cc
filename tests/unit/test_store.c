#include "unit.h"

#include <fcntl.h>

#include "store_rig.h"

static struct rig rig;
static char last_error[1024];
static int nerrors;

/* Errors in the log fail a test unless it says that it causes them. */
static void
keep_errors(void *arg, const char *line)
{
	if (strstr(line, " error ") != NULL) {
		snprintf(last_error, sizeof last_error, "%s", line);
		nerrors++;
	}
}

static void
setup(void)
{
	log_capture(keep_errors, NULL);
	nerrors = 0;
	last_error[0] = '\0';
	rig_init(&rig);
}

static void
teardown(void)
{
	rig_fini(&rig);
	clock_real();
	log_capture(NULL, NULL);
	ck_assert_msg(nerrors == 0, "%s", last_error);
}

static void
expect_errors(void)
{
	ck_assert_int_gt(nerrors, 0);
	nerrors = 0;
}

static void
begin(void)
{
	rig_open(&rig);
	rig_start(&rig);
}

static void
again(void)
{
	rig_close(&rig);
	rig_drop_due(&rig);
	begin();
}

/* ---- Round trip ---- */

static struct msg *
full_msg(void)
{
	struct msg *m = rig_msg("example.net", 3000);
	struct msg_rcpt *r;

	m->session = UINT64_C(0xF000000000000007);
	m->flags = MSG_SMTPUTF8 | MSG_REQUIRETLS | MSG_LONG_LINES;
	m->direction = DIR_INTERNAL;
	m->body_type = BODY_8BITMIME;
	m->ret = RET_HDRS;
	m->tls_no = TLS_NO_OVERRIDDEN;
	m->duties = duties_of(DUTY_ALL, DUTY_BY_SENDER);
	m->envid = xstrdup("env+2Bid");
	m->auth_param = xstrdup("<>");
	m->duty_note = xstrdup("sender;rule x.lua:6");
	m->generation = xstrdup("g7");
	m->trace = xstrdup("Received: from a\r\n\tby b\r\n");
	m->peer_ip = xstrdup("192.0.2.9");
	m->peer_name = xstrdup("c.example.org");
	m->helo = xstrdup("'; DROP TABLE message; --");
	m->listener = xstrdup("in");
	m->proto = xstrdup("ESMTPS");
	m->tls_in = xstrdup("TLSv1.3");
	m->auth_id = xstrdup("joe\xff");
	msg_add_tag(m, "blue");
	msg_add_tag(m, "gr\xc3\xbcn");
	ck_assert(msg_set_var(m, "score", "{\"n\":[1,2.5,null]}"));
	msg_add_edit(m, EDIT_ADD_TOP, "X-A", "b");
	msg_add_edit(m, EDIT_REMOVE, "X-C", NULL);
	r = &m->rcpts[0];
	r->orcpt = xstrdup("rfc822;a+40b");
	r->notify = NOTIFY_SUCCESS | NOTIFY_DELAY;
	r->duties = duties_of(DUTY_ENCRYPT, DUTY_BY_ADMIN);
	msg_rcpt_add_tag(r, "vip");
	ck_assert(msg_rcpt_set_var(r, "k", "\"v\""));
	return m;
}

static void
same_text(const char *a, const char *b)
{
	ck_assert((a == NULL) == (b == NULL));
	if (a != NULL)
		ck_assert_str_eq(a, b);
}

START_TEST(round_trip)
{
	struct msg *m = msg_ref(full_msg()), *b;
	struct store_due *d;
	unsigned w = store_shard("default", "EXAMPLE.net", RIG_WORKERS);
	char *x, *y;

	begin();
	rig_put(&rig, m);
	again();
	d = rig_due(&rig, w, true);
	ck_assert_ptr_nonnull(d);
	ck_assert_uint_eq(d->mail.kind, STORE_KIND_DUE);
	b = d->msg;
	ck_assert_uint_eq(b->id, m->id);
	ck_assert_uint_eq(b->session, m->session);
	ck_assert_int_eq(b->received_ms, m->received_ms);
	ck_assert_uint_eq(b->flags, m->flags);
	ck_assert_int_eq(b->direction, m->direction);
	ck_assert_int_eq(b->body_type, m->body_type);
	ck_assert_int_eq(b->ret, m->ret);
	ck_assert_int_eq(b->tls_no, m->tls_no);
	ck_assert_uint_eq(b->duties, m->duties);
	ck_assert_uint_eq(b->content_size, 3000);
	ck_assert_ptr_null(b->content);
	same_text(b->from, m->from);
	same_text(b->from_domain, m->from_domain);
	same_text(b->envid, m->envid);
	same_text(b->auth_param, m->auth_param);
	same_text(b->duty_note, m->duty_note);
	same_text(b->generation, m->generation);
	same_text(b->trace, m->trace);
	same_text(b->peer_ip, m->peer_ip);
	same_text(b->peer_name, m->peer_name);
	same_text(b->helo, m->helo);
	same_text(b->listener, m->listener);
	same_text(b->proto, m->proto);
	same_text(b->tls_in, m->tls_in);
	same_text(b->auth_id, m->auth_id);
	same_text(x = msg_edits_json(m), y = msg_edits_json(b));
	free(x);
	free(y);
	same_text(x = msg_vars_json(m), y = msg_vars_json(b));
	free(x);
	free(y);
	same_text(x = msg_tags_json(m), y = msg_tags_json(b));
	free(x);
	free(y);
	ck_assert_uint_eq(b->nrcpts, 1);
	ck_assert_uint_eq(b->rcpts[0].notify, m->rcpts[0].notify);
	ck_assert_uint_eq(b->rcpts[0].duties, m->rcpts[0].duties);
	same_text(b->rcpts[0].address, m->rcpts[0].address);
	same_text(b->rcpts[0].domain, m->rcpts[0].domain);
	same_text(b->rcpts[0].orcpt, m->rcpts[0].orcpt);
	same_text(b->rcpts[0].route, m->rcpts[0].route);
	same_text(b->rcpts[0].next_hop, m->rcpts[0].next_hop);
	ck_assert(msg_rcpt_has_tag(&b->rcpts[0], "vip"));
	same_text(msg_rcpt_get_var(&b->rcpts[0], "k"), "\"v\"");
	ck_assert_int_eq(d->rcpts[0].queued_ms, m->received_ms);
	ck_assert_uint_eq(d->rcpts[0].attempts, 0);
	store_due_free(d);
	msg_unref(m);
}
END_TEST

/* ---- Content ---- */

static const struct content_case {
	const char *name;
	size_t n;
	bool in_file;
} contents[] = {
	{ "empty", 0, false },
	{ "small", 10, false },
	{ "one chunk less one", STORE_CHUNK - 1, false },
	{ "one chunk", STORE_CHUNK, false },
	{ "one chunk and one", STORE_CHUNK + 1, false },
	{ "from a file", 1000, true },
	{ "above a MiB from a file", 5 * STORE_CHUNK + 77, true },
	{ "whole chunks from a file", 2 * STORE_CHUNK, true },
};

static struct msg *
in_file(struct msg *m)
{
	struct content *c = m->content;
	char name[128];

	snprintf(name, sizeof name, "%s/spool", rig.dir);
	c->fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	ck_assert_int_ge(c->fd, 0);
	unlink(name);
	ck_assert_int_eq(write(c->fd, c->mem, c->size), (ssize_t)c->size);
	free(c->mem);
	c->mem = NULL;
	return m;
}

static enum store_status
read_at(uint64_t id, uint64_t offset, char **data_out, size_t *n_out)
{
	struct store_content *c = xcalloc(1, sizeof *c);
	enum store_status st;

	c->mail.reply_to = rig.mb;
	c->message = id;
	c->offset = offset;
	store_content(rig.s, c);
	c = rig_answer(&rig);
	ck_assert_ptr_nonnull(c);
	*data_out = c->data;
	*n_out = c->n;
	st = c->status;
	free(c);
	return st;
}

START_TEST(content)
{
	const struct content_case *c = &contents[_i];
	struct msg *m = rig_msg("example.net", c->n), *want = rig_msg("example.net", c->n);
	uint64_t id, at = 0;
	char *data;
	size_t n;

	begin();
	id = rig_put(&rig, c->in_file ? in_file(m) : m);
	rig_put(&rig, rig_msg("example.net", 5));
	for (;;) {
		ck_assert_int_eq(read_at(id, at, &data, &n), STORE_OK);
		if (n == 0)
			break;
		ck_assert_msg(at + n <= c->n && memcmp(data, want->content->mem + at, n) == 0, "%s", c->name);
		at += n;
		free(data);
	}
	ck_assert_uint_eq(at, c->n);
	if (c->n > 1)
		ck_assert_int_eq(read_at(id, 1, &data, &n), STORE_BAD);
	ck_assert_int_eq(rig_done(&rig, id, 0), STORE_OK);
	ck_assert_int_eq(read_at(id, 0, &data, &n), STORE_NOT_FOUND);
	msg_unref(want);
	rig_close(&rig);
	ck_assert_int_eq(rig_sql(&rig, "SELECT count(*) FROM content", NULL), 1);
}
END_TEST

START_TEST(spool_file_too_short)
{
	struct msg *m = in_file(rig_msg("example.net", 1000));
	struct store_submit *q;

	begin();
	ck_assert_int_eq(ftruncate(m->content->fd, 999), 0);
	q = rig_submit(&rig, m);
	ck_assert_int_eq(q->status, STORE_IO);
	store_submit_free(q);
	ck_assert_int_eq(store_may_accept(rig.s, 0), STORE_OK);
	rig_put(&rig, rig_msg("example.net", 10));
	expect_errors();
	rig_close(&rig);
	ck_assert_int_eq(rig_sql(&rig, "SELECT count(*) FROM message", NULL), 1);
	ck_assert_int_eq(rig_sql(&rig, "SELECT count(*) FROM recipient", NULL), 1);
}
END_TEST

/* ---- Group commit ---- */

START_TEST(group_answers_everybody)
{
	struct store_stats n;
	struct store_submit *q;
	int active = 0;

	rig.conf.max_active = 1000;
	rig_open(&rig);
	/* Posted before the thread runs: one group. */
	for (int i = 0; i < 300; i++)
		rig_post(&rig, rig_msg("example.net", 100));
	rig_start(&rig);
	for (int i = 0; i < 300; i++) {
		q = rig_answer(&rig);
		ck_assert_int_eq(q->status, STORE_OK);
		active += q->active[0];
		store_submit_free(q);
	}
	ck_assert_int_eq(active, 300);
	store_stats(rig.s, &n);
	ck_assert_uint_eq(n.submits, 300);
	ck_assert_uint_eq(n.messages, 300);
	ck_assert_uint_eq(n.active, 300);
	ck_assert_uint_eq(n.commits, 1);
}
END_TEST

START_TEST(one_bad_request_hurts_nobody_else)
{
	struct msg *twice = rig_msg("example.net", 10);
	int ok = 0, bad = 0;

	rig_open(&rig);
	for (int i = 0; i < 5; i++)
		rig_post(&rig, rig_msg("example.net", 10));
	rig_post(&rig, msg_ref(twice));
	rig_post(&rig, twice);
	for (int i = 0; i < 5; i++)
		rig_post(&rig, rig_msg("example.net", 10));
	rig_start(&rig);
	for (int i = 0; i < 12; i++) {
		struct store_submit *q = rig_answer(&rig);

		ok += q->status == STORE_OK;
		bad += q->status == STORE_BAD;
		store_submit_free(q);
	}
	ck_assert_int_eq(ok, 11);
	ck_assert_int_eq(bad, 1);
	expect_errors();
	ck_assert_int_eq(rig_number(&rig, "messages"), 11);
}
END_TEST

START_TEST(removals_ride_with_an_arrival)
{
	struct store_result *r;
	struct store_stats before, after;
	uint64_t id;

	rig.conf.yield_ms = 60000;
	begin();
	id = rig_put(&rig, rig_msg("example.net", 10));
	store_stats(rig.s, &before);
	store_result(rig.s, rig_result_new(&rig, id, 0, CHANGE_DONE));
	ck_assert_ptr_null(rig_take(rig.mb, &rig.got, 0));
	rig_post(&rig, rig_msg("example.net", 10));
	r = rig_answer(&rig);
	ck_assert_uint_eq(r->mail.kind, KIND_RESULT);
	ck_assert_int_eq(r->status, STORE_OK);
	store_result_free(r);
	store_submit_free(rig_answer(&rig));
	store_stats(rig.s, &after);
	ck_assert_uint_eq(after.commits, before.commits + 1);
	/* Urgent ones do not wait, nor does closing. */
	ck_assert_int_eq(rig_done(&rig, id, 0), STORE_OK);
	store_result(rig.s, rig_result_new(&rig, id, 0, CHANGE_DONE));
	rig_close(&rig);
	r = rig_answer(&rig);
	ck_assert_int_eq(r->status, STORE_OK);
	store_result_free(r);
}
END_TEST

/* ---- Handing out (Q3) ---- */

START_TEST(room_is_kept_to)
{
	struct store_due *d;
	struct store_submit *q;
	unsigned w = store_shard("default", "example.net", RIG_WORKERS);
	uint64_t ids[10];
	int active = 0, due = 0;

	rig.conf.max_active = 4;
	begin();
	for (int i = 0; i < 10; i++) {
		q = rig_submit(&rig, rig_msg("example.net", 10));
		active += q->active[0];
		ids[i] = q->msg->id;
		store_submit_free(q);
	}
	ck_assert_int_eq(active, 4);
	ck_assert_ptr_null(rig_due(&rig, w, false));
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(rig_done(&rig, ids[i], 0), STORE_OK);
	for (; due < 4; due++) {
		d = rig_due(&rig, w, true);
		ck_assert_ptr_nonnull(d);
		ck_assert_uint_eq(d->msg->nrcpts, 1);
		ck_assert_uint_eq(d->msg->id, ids[4 + due]);
		store_due_free(d);
	}
	rig_sync(&rig);
	ck_assert_ptr_null(rig_due(&rig, w, false));
	ck_assert_int_eq(rig_number(&rig, "active"), 4);
	ck_assert_int_eq(rig_number(&rig, "queued"), 2);
}
END_TEST

START_TEST(restart_hands_out_again)
{
	struct store_due *d;
	unsigned w = store_shard("default", "example.net", RIG_WORKERS);

	begin();
	uint64_t id = rig_put(&rig, rig_msg("example.net", 10));
	again();
	d = rig_due(&rig, w, true);
	ck_assert_uint_eq(d->msg->id, id);
	store_due_free(d);
	/* Another number of workers: everything is some worker's. */
	rig_close(&rig);
	rig.conf.workers = 1;
	begin();
	d = rig_due(&rig, 0, true);
	ck_assert_uint_eq(d->msg->id, id);
	store_due_free(d);
}
END_TEST

START_TEST(due_at_its_time)
{
	struct msg *m;
	struct store_due *d;
	unsigned w = store_shard("default", "example.net", RIG_WORKERS);
	int64_t t = 1795468500000;
	uint64_t id;

	clock_fake(1000, t);
	begin();
	m = rig_msg("example.net", 10);
	m->rcpts[0].not_before_ms = t + 60000;
	id = rig_put(&rig, m);
	rig_sync(&rig);
	ck_assert_ptr_null(rig_due(&rig, w, false));
	clock_fake(61000, t + 60000);
	rig_sync(&rig);
	d = rig_due(&rig, w, true);
	ck_assert_uint_eq(d->msg->id, id);
	store_due_free(d);

	struct store_result *r = rig_result_new(&rig, id, 0, CHANGE_DEFER);
	r->changes[0].next_ms = t + 120000;
	r->changes[0].attempts = 3;
	r->changes[0].first_attempt_ms = t + 60000;
	r->changes[0].delay_notified = true;
	r->changes[0].last = xstrdup("{\"code\":451}");
	r->changes[0].duties = duties_of(DUTY_ENCRYPT, DUTY_BY_STS);
	ck_assert_int_eq(rig_send_result(&rig, r), STORE_OK);
	ck_assert_ptr_null(rig_due(&rig, w, false));
	clock_fake(121000, t + 120000);
	rig_sync(&rig);
	d = rig_due(&rig, w, true);
	ck_assert_uint_eq(d->rcpts[0].attempts, 3);
	ck_assert_int_eq(d->rcpts[0].first_attempt_ms, t + 60000);
	ck_assert(d->rcpts[0].delay_notified);
	ck_assert_str_eq(d->rcpts[0].last, "{\"code\":451}");
	ck_assert_uint_eq(d->msg->rcpts[0].duties, duties_of(DUTY_ENCRYPT, DUTY_BY_STS));
	store_due_free(d);
}
END_TEST

START_TEST(due_recipients_come_together)
{
	struct msg *m = rig_msg("example.net", 10);
	struct store_due *d;
	unsigned w = store_shard("default", "example.net", RIG_WORKERS);

	for (int i = 1; i < 20; i++) {
		struct msg_rcpt *r = msg_add_rcpt(m);

		r->address = xasprintf("u%d@example.net", i);
		r->domain = xstrdup("example.net");
		r->next_hop = xstrdup("example.net");
		r->route = xstrdup("default");
	}
	m->rcpts[3].held = true;
	m->rcpts[3].hold_reason = xstrdup("look at it");
	begin();
	rig_put(&rig, m);
	again();
	d = rig_due(&rig, w, true);
	ck_assert_uint_eq(d->msg->nrcpts, 19);
	ck_assert_uint_eq(d->msg->rcpts[3].num, 4);
	ck_assert_str_eq(d->msg->rcpts[3].address, "u4@example.net");
	store_due_free(d);
}
END_TEST

START_TEST(hold_ends)
{
	struct msg *m;
	struct store_due *d;
	unsigned w = store_shard("default", "example.net", RIG_WORKERS);
	int64_t t = 1795468500000;

	clock_fake(1000, t);
	begin();
	m = rig_msg("example.net", 10);
	m->rcpts[0].held = true;
	m->rcpts[0].hold_expires_ms = t + 1000;
	rig_put(&rig, m);
	again();
	rig_sync(&rig);
	ck_assert_ptr_null(rig_due(&rig, w, false));
	ck_assert_int_eq(rig_number(&rig, "held"), 1);
	clock_fake(2000, t + 1000);
	rig_sync(&rig);
	d = rig_due(&rig, w, true);
	ck_assert_ptr_nonnull(d);
	store_due_free(d);
	ck_assert_int_eq(rig_number(&rig, "held"), 0);
}
END_TEST

/* ---- Results and evidence (I4) ---- */

static int64_t
evidence_rows(uint64_t id, const char *event)
{
	json_t *o = rig_query(&rig, rig_ask(STORE_EVIDENCE, id), NULL), *row;
	int64_t n = 0;
	size_t i;

	json_array_foreach(json_object_get(o, "evidence"), i, row) {
		const char *is = json_string_value(json_object_get(json_object_get(row, "record"), "event"));

		n += event == NULL || strcmp(is, event) == 0;
	}
	json_decref(o);
	return n;
}

START_TEST(done_leaves_with_evidence)
{
	struct msg *m = rig_msg("example.net", 10);
	struct msg_rcpt *r = msg_add_rcpt(m);
	uint64_t id;

	r->address = xstrdup("second@example.com");
	r->domain = xstrdup("example.com");
	r->next_hop = xstrdup("example.com");
	r = msg_add_rcpt(m);
	r->address = xstrdup("third@example.com");
	r->domain = xstrdup("example.com");
	r->discarded = true;
	r->discard_reason = xstrdup("spam trap");
	begin();
	id = rig_put(&rig, m);
	ck_assert_int_eq(evidence_rows(id, "discarded"), 1);
	ck_assert_int_eq(rig_number(&rig, "recipients"), 2);
	ck_assert_int_eq(rig_done(&rig, id, 0), STORE_OK);
	ck_assert_int_eq(rig_number(&rig, "messages"), 1);
	ck_assert_int_eq(rig_done(&rig, id, 1), STORE_OK);
	ck_assert_int_eq(rig_number(&rig, "messages"), 0);
	ck_assert_int_eq(rig_number(&rig, "recipients"), 0);
	ck_assert_int_eq(rig_number(&rig, "bytes"), 0);
	ck_assert_int_eq(rig_number(&rig, "active"), 0);
	ck_assert_int_eq(evidence_rows(id, "delivered"), 2);
	/* A late word about a row that is gone is written down, no more. */
	ck_assert_int_eq(rig_done(&rig, id, 1), STORE_OK);
	ck_assert_int_eq(evidence_rows(id, "delivered"), 3);
	rig_close(&rig);
	ck_assert_int_eq(rig_sql(&rig, "SELECT count(*) FROM content", NULL), 0);
}
END_TEST

START_TEST(done_without_evidence_aborts)
{
	struct store_result *r;

	rig_open(&rig);
	r = rig_result_new(&rig, 1, 0, CHANGE_DONE);
	free(r->changes[0].evidence);
	r->changes[0].evidence = NULL;
	/* Nobody tidies up after this one. */
	nftw(rig.dir, rig_remove_one, 8, FTW_DEPTH | FTW_PHYS);
	store_result(rig.s, r);
}
END_TEST

START_TEST(only_discarded)
{
	struct msg *m = rig_msg("example.net", 10);
	struct store_submit *q;

	m->rcpts[0].discarded = true;
	begin();
	q = rig_submit(&rig, m);
	ck_assert_int_eq(q->status, STORE_OK);
	ck_assert(!q->active[0]);
	ck_assert_int_eq(evidence_rows(q->msg->id, "discarded"), 1);
	store_submit_free(q);
	ck_assert_int_eq(rig_number(&rig, "messages"), 0);
}
END_TEST

START_TEST(notice_in_the_same_transaction)
{
	struct store_result *r;
	struct store_stats before, after;
	uint64_t id;

	begin();
	id = rig_put(&rig, rig_msg("example.net", 10));
	r = rig_result_new(&rig, id, 0, CHANGE_DONE);
	r->notices = xcalloc(1, sizeof *r->notices);
	r->nnotices = 1;
	r->notices[0].msg = rig_msg("example.org", 50);
	r->urgent = true;
	store_stats(rig.s, &before);
	store_result(rig.s, r);
	r = rig_answer(&rig);
	ck_assert_int_eq(r->status, STORE_OK);
	ck_assert_int_eq(r->notices[0].status, STORE_OK);
	ck_assert(r->notices[0].active[0]);
	store_result_free(r);
	store_stats(rig.s, &after);
	ck_assert_uint_eq(after.commits, before.commits + 1);
	ck_assert_int_eq(rig_number(&rig, "messages"), 1);

	/* The message left otherwise meanwhile: no notice about it. */
	r = rig_result_new(&rig, id, 0, CHANGE_DONE);
	r->notices = xcalloc(1, sizeof *r->notices);
	r->nnotices = 1;
	r->notices[0].msg = rig_msg("example.org", 50);
	r->urgent = true;
	store_result(rig.s, r);
	r = rig_answer(&rig);
	ck_assert_int_eq(r->notices[0].status, STORE_NOT_FOUND);
	store_result_free(r);
	ck_assert_int_eq(rig_number(&rig, "messages"), 1);
}
END_TEST

START_TEST(a_bad_notice_removes_nothing)
{
	struct store_result *r;
	uint64_t id, other;

	begin();
	id = rig_put(&rig, rig_msg("example.net", 10));
	other = rig_put(&rig, rig_msg("example.net", 10));
	r = rig_result_new(&rig, id, 0, CHANGE_DONE);
	r->notices = xcalloc(1, sizeof *r->notices);
	r->nnotices = 1;
	r->notices[0].msg = rig_msg("example.org", 50);
	r->notices[0].msg->id = other;
	ck_assert_int_eq(rig_send_result(&rig, r), STORE_BAD);
	expect_errors();
	ck_assert_int_eq(rig_number(&rig, "messages"), 2);
	ck_assert_int_eq(evidence_rows(id, NULL), 0);
	ck_assert_int_eq(rig_done(&rig, id, 0), STORE_OK);
}
END_TEST

START_TEST(hold_and_route)
{
	struct store_result *r;
	struct store_due *d;
	unsigned w = store_shard("other", "mx.example.com", RIG_WORKERS);
	uint64_t id, id2;
	json_t *o;

	begin();
	id = rig_put(&rig, rig_msg("example.net", 10));
	r = rig_result_new(&rig, id, 0, CHANGE_HOLD);
	r->changes[0].hold_reason = xstrdup("policy says so");
	ck_assert_int_eq(rig_send_result(&rig, r), STORE_OK);
	o = rig_query(&rig, rig_ask(STORE_SHOW, id), NULL);
	ck_assert_str_eq(json_string_value(json_object_get(o, "state")), "held");
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(json_object_get(o,
	    "recipients"), 0), "hold_reason")), "policy says so");
	json_decref(o);
	id2 = rig_put(&rig, rig_msg("example.net", 10));
	r = rig_result_new(&rig, id2, 0, CHANGE_ROUTE);
	r->changes[0].route = xstrdup("other");
	r->changes[0].next_hop = xstrdup("mx.example.com");
	ck_assert_int_eq(rig_send_result(&rig, r), STORE_OK);
	d = rig_due(&rig, w, true);
	ck_assert_uint_eq(d->msg->id, id2);
	ck_assert_str_eq(d->msg->rcpts[0].route, "other");
	ck_assert_str_eq(d->msg->rcpts[0].next_hop, "mx.example.com");
	store_due_free(d);
}
END_TEST

START_TEST(audit_alone)
{
	struct store_result *r = xcalloc(1, sizeof *r);
	struct evidence e = { .wall_ms = 1, .message = 77, .event = "relaxed" };

	begin();
	r->mail.reply_to = rig.mb;
	r->message = 77;
	r->audit = evidence_text(&e);
	ck_assert_int_eq(rig_send_result(&rig, r), STORE_OK);
	ck_assert_int_eq(evidence_rows(77, "relaxed"), 1);
}
END_TEST

static bool
chain_is_good(int64_t *broken_at)
{
	json_t *o = rig_query(&rig, rig_ask(STORE_EVIDENCE_VERIFY, 0), NULL);
	bool ok = json_is_true(json_object_get(o, "ok"));

	*broken_at = json_integer_value(json_object_get(o, "broken_at"));
	json_decref(o);
	return ok;
}

static const struct chain_case {
	const char *name, *sql;
	int broken_at;
} chains[] = {
	{ "untouched", "SELECT 1", 0 },
	{ "text", "UPDATE evidence SET text = replace(text, 'delivered', 'relayed--') WHERE id = 3", 3 },
	{ "hash", "UPDATE evidence SET hash = 'x' || substr(hash, 2) WHERE id = 4", 4 },
	{ "first removed", "DELETE FROM evidence WHERE id = 1", 1 },
	{ "one removed", "DELETE FROM evidence WHERE id = 3", 3 },
	{ "removed and closed up", "UPDATE evidence SET id = id - 1 WHERE id > 5", 5 },
	{ "other message", "UPDATE evidence SET message = message + 1 WHERE id = 2", 2 },
	{ "other recipient", "UPDATE evidence SET rcpt = 9 WHERE id = 2", 2 },
	{ "reordered", "UPDATE evidence SET text = (SELECT text FROM evidence AS e WHERE e.id = 9 -"
	    " evidence.id), message = (SELECT message FROM evidence AS e WHERE e.id = 9 - evidence.id)"
	    " WHERE id IN (4, 5)", 4 },
};

START_TEST(chain)
{
	const struct chain_case *c = &chains[_i];
	int64_t at;
	int rc;

	begin();
	for (int i = 0; i < 8; i++)
		rig_done(&rig, rig_put(&rig, rig_msg("example.net", 10)), 0);
	ck_assert(chain_is_good(&at));
	again();
	ck_assert(chain_is_good(&at));
	rig_close(&rig);
	/* Not through the front door: append only is what the table says by itself. */
	if (c->broken_at != 0) {
		rig_sql(&rig, c->sql, &rc);
		ck_assert_msg(rc == SQLITE_CONSTRAINT, "%s: %d", c->name, rc);
	}
	rig_sql(&rig, "DROP TRIGGER evidence_update", NULL);
	rig_sql(&rig, "DROP TRIGGER evidence_delete", NULL);
	if (strcmp(c->name, "removed and closed up") == 0)
		rig_sql(&rig, "DELETE FROM evidence WHERE id = 5", NULL);
	rig_sql(&rig, c->sql, &rc);
	ck_assert_msg(rc == SQLITE_DONE || rc == SQLITE_ROW, "%s: %d", c->name, rc);
	begin();
	ck_assert_msg(chain_is_good(&at) == (c->broken_at == 0), "%s", c->name);
	ck_assert_msg(at == c->broken_at, "%s: at %d", c->name, (int)at);
	if (strcmp(c->name, "removed and closed up") == 0)
		expect_errors();	/* the last number is not there any more */
}
END_TEST

/* The running daemon knows where the chain ends. */
START_TEST(chain_cut_at_the_end)
{
	int64_t at;
	sqlite3 *h;

	begin();
	for (int i = 0; i < 4; i++)
		rig_done(&rig, rig_put(&rig, rig_msg("example.net", 10)), 0);
	ck_assert_int_eq(sqlite3_open(rig.path, &h), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(h, "DROP TRIGGER evidence_delete; DELETE FROM evidence WHERE id = 4",
	    NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(h);
	ck_assert(!chain_is_good(&at));
	ck_assert_int_eq(at, 4);
}
END_TEST

/* The same from the file alone, as somebody has it who took a copy; and where a copy was cut. */
START_TEST(chain_cut_in_a_copy)
{
	struct store_query *q = rig_ask(STORE_EVIDENCE_VERIFY, 0);
	struct err err = { "" };
	char *json;
	int rc;

	begin();
	for (int i = 0; i < 4; i++)
		rig_done(&rig, rig_put(&rig, rig_msg("example.net", 10)), 0);
	rig_close(&rig);
	rig_sql(&rig, "DROP TRIGGER evidence_delete", NULL);
	json = store_offline(rig.path, q, &err);
	ck_assert_msg(json != NULL && strstr(json, "\"ok\":true") != NULL, "%s %s", json, err.text);
	free(json);
	rig_sql(&rig, "DELETE FROM evidence WHERE id = 4", &rc);
	json = store_offline(rig.path, q, &err);
	ck_assert_msg(json != NULL && strstr(json, "\"broken_at\":4") != NULL, "%s", json);
	free(json);
	store_query_free(q);
}
END_TEST

/* A daemon that starts on it says so, and does not close the gap with what comes later. */
START_TEST(chain_cut_stays_cut)
{
	int64_t at;
	int rc;

	begin();
	for (int i = 0; i < 4; i++)
		rig_done(&rig, rig_put(&rig, rig_msg("example.net", 10)), 0);
	rig_close(&rig);
	rig_sql(&rig, "DROP TRIGGER evidence_delete", NULL);
	rig_sql(&rig, "DELETE FROM evidence WHERE id >= 3", &rc);
	begin();
	ck_assert_ptr_nonnull(strstr(last_error, "evidence is missing at the end"));
	expect_errors();
	for (int i = 0; i < 4; i++)
		rig_done(&rig, rig_put(&rig, rig_msg("example.net", 10)), 0);
	ck_assert(!chain_is_good(&at));
	ck_assert_int_eq(at, 3);
	rig_close(&rig);
	begin();
	ck_assert(!chain_is_good(&at));
	ck_assert_int_eq(at, 3);
}
END_TEST

/* ---- Evidence that is old ---- */

#define HOUR_MS INT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)

static int64_t mono = 1000, wall = INT64_C(1790000000000);

/* Time passes, nothing jumps. */
static void
pass(int64_t ms)
{
	mono += ms;
	wall += ms;
	clock_fake(mono, wall);
}

static void
begin_keeping(int64_t days)
{
	pass(0);
	rig.conf.evidence_keep_ms = days * DAY_MS;
	rig_open(&rig);
	rig.s->tick_ms = 5;
	rig_start(&rig);
}

static void
some_mail(int n)
{
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(rig_done(&rig, rig_put(&rig, rig_msg("example.net", 10)), 0), STORE_OK);
}

static int64_t
checkpoint_now(void)
{
	json_t *o = rig_query(&rig, rig_ask(STORE_EVIDENCE_VERIFY, 0), NULL);
	int64_t id = json_integer_value(json_object_get(json_object_get(o, "checkpoint"), "id"));

	ck_assert(json_is_true(json_object_get(o, "ok")));
	json_decref(o);
	return id;
}

/* The store's thread ticks by the clock that the test moves: an hour each time. */
static int64_t
hours_until_checkpoint(int64_t at_least, int hours)
{
	for (int i = 0; i < hours && checkpoint_now() < at_least; i++) {
		pass(HOUR_MS);
		usleep(20000);
	}
	return checkpoint_now();
}

/* Only what is too old goes, the rest verifies, and so it is after a restart. */
START_TEST(old_evidence_goes)
{
	int64_t at;

	begin_keeping(90);
	some_mail(5);
	for (int i = 0; i < 60; i++)
		pass(DAY_MS);
	some_mail(3);
	for (int i = 0; i < 31; i++)
		pass(DAY_MS);
	ck_assert_int_eq(hours_until_checkpoint(5, 48), 5);
	ck_assert(chain_is_good(&at));
	rig_close(&rig);
	begin_keeping(90);
	ck_assert(chain_is_good(&at));
	ck_assert_int_eq(checkpoint_now(), 5);
	some_mail(1);
	ck_assert(chain_is_good(&at));
}
END_TEST

/* What says that rows were removed does not make work for ever. */
START_TEST(idle_for_years)
{
	begin_keeping(1);
	some_mail(2);
	ck_assert_int_eq(hours_until_checkpoint(2, 72), 2);
	ck_assert_int_eq(hours_until_checkpoint(3, 60), 2);
}
END_TEST

/* For ever is the default; nothing is looked at. */
START_TEST(evidence_stays)
{
	begin_keeping(0);
	some_mail(2);
	for (int i = 0; i < 20; i++)
		pass(1000 * DAY_MS);
	ck_assert_int_eq(hours_until_checkpoint(1, 10), 0);
}
END_TEST

/* A clock that is wrong by years when the daemon starts is set right before anything is gone. */
START_TEST(wrong_clock_removes_nothing)
{
	begin_keeping(90);
	some_mail(2);
	rig_close(&rig);
	wall += 5000 * DAY_MS;
	begin_keeping(90);
	pass(HOUR_MS / 2);
	usleep(50000);
	ck_assert_int_eq(checkpoint_now(), 0);
	wall -= 5000 * DAY_MS;
	ck_assert_int_eq(hours_until_checkpoint(1, 5), 0);
	rig_close(&rig);
}
END_TEST

/* Old or not: what does not fit is not swept away. */
START_TEST(changed_evidence_does_not_go)
{
	int64_t at;

	begin_keeping(90);
	some_mail(4);
	rig_close(&rig);
	rig_sql(&rig, "DROP TRIGGER evidence_update", NULL);
	rig_sql(&rig, "UPDATE evidence SET text = replace(text, 'delivered', 'relayed--') WHERE id = 3", NULL);
	for (int i = 0; i < 100; i++)
		pass(DAY_MS);
	begin_keeping(90);
	for (int i = 0; i < 200 && nerrors == 0; i++) {
		pass(HOUR_MS);
		usleep(20000);
	}
	ck_assert_ptr_nonnull(strstr(last_error, "evidence does not fit its chain"));
	ck_assert(!chain_is_good(&at));
	ck_assert_int_eq(at, 3);
	rig_close(&rig);
	nerrors = 0;
}
END_TEST

static const struct prune_case {
	const char *name, *sql;
	bool refused;		/* by the table itself */
	int broken_at;
} prunes[] = {
	{ "checkpoint moved on, rows removed", "UPDATE evidence_removed SET id = 6, hash = (SELECT hash FROM"
	    " evidence WHERE id = 6); DELETE FROM evidence WHERE id <= 6", false, 6 },
	{ "checkpoint moved back", "UPDATE evidence_removed SET id = 4", true, 0 },
	{ "checkpoint removed", "DELETE FROM evidence_removed", true, 0 },
	{ "checkpoint's hash", "UPDATE evidence_removed SET hash = 'x'", false, 6 },
	{ "first row after it", "DELETE FROM evidence WHERE id = 6", true, 0 },
};

START_TEST(checkpoint_is_vouched_for)
{
	const struct prune_case *c = &prunes[_i];
	int64_t at;
	sqlite3 *h;
	int rc;

	begin_keeping(90);
	some_mail(5);
	for (int i = 0; i < 60; i++)
		pass(DAY_MS);
	some_mail(4);
	for (int i = 0; i < 31; i++)
		pass(DAY_MS);
	ck_assert_int_eq(hours_until_checkpoint(5, 48), 5);
	rig_close(&rig);
	ck_assert_int_eq(sqlite3_open(rig.path, &h), SQLITE_OK);
	rc = sqlite3_exec(h, c->sql, NULL, NULL, NULL);
	sqlite3_close(h);
	ck_assert_msg((rc == SQLITE_CONSTRAINT) == c->refused, "%s: %d", c->name, rc);
	begin_keeping(90);
	ck_assert_msg(chain_is_good(&at) == (c->broken_at == 0), "%s", c->name);
	ck_assert_msg(at == c->broken_at, "%s: at %d", c->name, (int)at);
}
END_TEST

/* Pages give what one answer gives, and where the chain of it begins. */
START_TEST(export_in_pages)
{
	char hash[EVIDENCE_HASH] = "", want[EVIDENCE_HASH];
	int64_t after = 0, rows = 0;
	bool more = true;

	begin();
	some_mail(7);
	for (int page = 0; more && page < 10; page++) {
		struct store_query *q = rig_ask(STORE_EVIDENCE_EXPORT, 0);
		json_t *o, *row;
		size_t i;

		q->filter.limit = 3;
		q->filter.after = (uint64_t)after;
		o = rig_query(&rig, q, NULL);
		ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(o, "before"), "id")), after);
		ck_assert_str_eq(json_string_value(json_object_get(json_object_get(o, "before"), "hash")), hash);
		json_array_foreach(json_object_get(o, "rows"), i, row) {
			evidence_hash(want, hash, json_string_value(json_object_get(row, "text")));
			ck_assert_str_eq(json_string_value(json_object_get(row, "hash")), want);
			memcpy(hash, want, sizeof hash);
			rows++;
		}
		after = json_integer_value(json_object_get(o, "last"));
		more = json_is_true(json_object_get(o, "more"));
		json_decref(o);
	}
	ck_assert_int_eq(rows, 7);
	ck_assert_int_eq(after, 7);
}
END_TEST

/* A hash that was noted elsewhere shows that nobody wrote the chain anew. */
START_TEST(noted_hash)
{
	struct store_query *q;
	char head[EVIDENCE_HASH];
	json_t *o;

	begin();
	some_mail(3);
	o = rig_query(&rig, rig_ask(STORE_EVIDENCE_VERIFY, 0), NULL);
	snprintf(head, sizeof head, "%s", json_string_value(json_object_get(o, "head")));
	json_decref(o);
	some_mail(2);
	for (int i = 0; i < 2; i++) {
		q = rig_ask(STORE_EVIDENCE_VERIFY, 0);
		q->filter.head = xstrdup(head);
		o = rig_query(&rig, q, NULL);
		ck_assert(json_is_true(json_object_get(o, "ok")) == (i == 0));
		json_decref(o);
		head[5] = head[5] == '0' ? '1' : '0';
	}
}
END_TEST

/* ---- Administration ---- */

static struct store_query *
change(enum store_verb verb, uint64_t id)
{
	struct store_query *q = rig_ask(verb, id);

	q->by = xstrdup("root");
	q->reason = xstrdup("because");
	return q;
}

static int64_t
changed(struct store_query *q)
{
	json_t *o = rig_query(&rig, q, NULL);
	int64_t n = json_integer_value(json_object_get(o, "changed"));

	json_decref(o);
	return n;
}

static void
expect_recall(uint64_t id)
{
	for (unsigned w = 0; w < RIG_WORKERS; w++) {
		struct store_recall *r = rig_due(&rig, w, true);

		ck_assert_uint_eq(r->mail.kind, STORE_KIND_RECALL);
		ck_assert_uint_eq(r->message, id);
		free(r);
	}
}

START_TEST(hold_release)
{
	struct store_due *d;
	unsigned w = store_shard("default", "example.net", RIG_WORKERS);
	struct store_result *r;
	uint64_t id;

	begin();
	id = rig_put(&rig, rig_msg("example.net", 10));
	ck_assert_int_eq(changed(change(STORE_RELEASE, id)), 0);
	ck_assert_int_eq(changed(change(STORE_HOLD, id)), 1);
	expect_recall(id);
	ck_assert_int_eq(changed(change(STORE_HOLD, id)), 0);
	ck_assert_int_eq(rig_number(&rig, "active"), 0);
	/* The worker was busy with it: what it says late does not lift the hold. */
	r = rig_result_new(&rig, id, 0, CHANGE_DEFER);
	r->changes[0].attempts = 5;
	ck_assert_int_eq(rig_send_result(&rig, r), STORE_OK);
	ck_assert_int_eq(rig_number(&rig, "held"), 1);
	ck_assert_int_eq(changed(change(STORE_RELEASE, id)), 1);
	d = rig_due(&rig, w, true);
	ck_assert_uint_eq(d->msg->id, id);
	ck_assert_uint_eq(d->rcpts[0].attempts, 5);
	store_due_free(d);
	/* But that it was delivered is so. */
	ck_assert_int_eq(changed(change(STORE_HOLD, id)), 1);
	ck_assert_int_eq(rig_done(&rig, id, 0), STORE_OK);
	ck_assert_int_eq(rig_number(&rig, "messages"), 0);
	ck_assert_int_eq(rig_number(&rig, "held"), 0);
}
END_TEST

START_TEST(delete_bounce_retry)
{
	struct store_due *d;
	struct msg *m;
	unsigned w = store_shard("default", "example.net", RIG_WORKERS);
	int64_t t = 1795468500000;
	uint64_t id;

	clock_fake(1000, t);
	begin();
	id = rig_put(&rig, rig_msg("example.net", 10));
	ck_assert_int_eq(changed(change(STORE_DELETE, id)), 1);
	expect_recall(id);
	ck_assert_int_eq(evidence_rows(id, "deleted"), 1);
	ck_assert_int_eq(rig_number(&rig, "messages"), 0);

	m = rig_msg("example.net", 10);
	m->rcpts[0].not_before_ms = t + 1000000;
	id = rig_put(&rig, m);
	ck_assert_int_eq(changed(change(STORE_RETRY, id)), 1);
	d = rig_due(&rig, w, true);
	ck_assert_ptr_null(d->rcpts[0].bounce_reason);
	store_due_free(d);

	m = rig_msg("example.net", 10);
	m->rcpts[0].not_before_ms = t + 1000000;
	id = rig_put(&rig, m);
	ck_assert_int_eq(changed(change(STORE_BOUNCE, id)), 1);
	d = rig_due(&rig, w, true);
	ck_assert_uint_eq(d->msg->id, id);
	ck_assert_str_eq(d->rcpts[0].bounce_reason, "because");
	store_due_free(d);
}
END_TEST

START_TEST(require_tls)
{
	struct store_query *q;
	struct store_submit *arrival;
	struct store_due *d;
	unsigned w = store_shard("default", "example.net", RIG_WORKERS);
	int64_t t = 1795468500000;
	uint32_t mask = duties_of(DUTY_ALL, DUTY_BY_ADMIN);
	uint64_t id, epoch;

	clock_fake(1000, t);
	begin();
	arrival = rig_submit(&rig, rig_msg("example.net", 10));
	ck_assert_int_eq(arrival->status, STORE_OK);
	id = arrival->msg->id;
	epoch = store_epoch(rig.s);
	ck_assert_uint_eq(arrival->epoch, epoch);
	store_submit_free(arrival);
	q = change(STORE_REQUIRE_TLS, id);
	q->duties = mask;
	ck_assert_int_eq(changed(q), 1);
	/* I2: the worker's copy knows nothing of it, so it is taken back. */
	ck_assert_uint_eq(store_epoch(rig.s), epoch + 1);
	expect_recall(id);
	clock_fake(2000, t + 5000);
	rig_sync(&rig);
	d = rig_due(&rig, w, true);
	ck_assert_uint_eq(d->epoch, epoch + 1);
	ck_assert_uint_eq(d->msg->rcpts[0].duties, mask);
	ck_assert_str_eq(d->msg->duty_note, "command line, root");
	store_due_free(d);
}
END_TEST

static const struct filter_case {
	const char *name;
	struct store_filter f;
	int fits;
} filters[] = {
	{ "to", { .to = "user@a.example" }, 1 },
	{ "to, other case", { .to = "USER@A.example" }, 1 },
	{ "star", { .to = "*@?.example" }, 0 },
	{ "star in the middle", { .to = "u*.example" }, 3 },
	{ "domain", { .domain = "b.example" }, 1 },
	{ "domain pattern", { .domain = "*.example" }, 3 },
	{ "brackets are no set", { .domain = "[ab].example" }, 0 },
	{ "from", { .from = "sender@*" }, 2 },
	{ "null sender", { .from = "<>" }, 1 },
	{ "route", { .route = "def*" }, 3 },
	{ "tag", { .tag = "blue" }, 1 },
	{ "tag of a recipient", { .tag = "vip" }, 1 },
	{ "state", { .state = "held" }, 1 },
	{ "two", { .from = "sender@*", .state = "active" }, 1 },
	{ "since", { .since_ms = 1795468600000 }, 1 },
	{ "until", { .until_ms = 1795468550000 }, 2 },
	{ "SQL", { .to = "' OR 1=1 --" }, 0 },
};

static void
put_three(void)
{
	struct msg *m;

	clock_fake(1000, 1795468500000);
	begin();
	m = rig_msg("a.example", 10);
	msg_add_tag(m, "blue");
	rig_put(&rig, m);
	m = rig_msg("b.example", 10);
	m->rcpts[0].held = true;
	msg_rcpt_add_tag(&m->rcpts[0], "VIP");
	rig_put(&rig, m);
	clock_fake(1000, 1795468600000);
	m = rig_msg("c.example", 10);
	m->from[0] = '\0';
	rig_put(&rig, m);
}

static struct store_query *
filtered(enum store_verb verb, const struct store_filter *f)
{
	struct store_query *q = rig_ask(verb, f->id);

	q->filter = *f;
	q->filter.from = xstrdup(f->from);
	q->filter.to = xstrdup(f->to);
	q->filter.domain = xstrdup(f->domain);
	q->filter.route = xstrdup(f->route);
	q->filter.tag = xstrdup(f->tag);
	q->filter.state = xstrdup(f->state);
	return q;
}

START_TEST(filter)
{
	const struct filter_case *c = &filters[_i];
	struct store_query *q;
	json_t *o;

	put_three();
	o = rig_query(&rig, filtered(STORE_LIST, &c->f), NULL);
	ck_assert_msg(json_array_size(json_object_get(o, "messages")) == (size_t)c->fits, "%s: %d", c->name,
	    (int)json_array_size(json_object_get(o, "messages")));
	json_decref(o);
	q = filtered(STORE_DELETE, &c->f);
	q->dry_run = true;
	o = rig_query(&rig, q, NULL);
	ck_assert_int_eq(json_integer_value(json_object_get(o, "matched")), c->fits);
	ck_assert_int_eq(json_integer_value(json_object_get(o, "changed")), 0);
	json_decref(o);
	ck_assert_int_eq(rig_number(&rig, "messages"), 3);
	ck_assert_int_eq(changed(filtered(STORE_DELETE, &c->f)), c->fits);
	ck_assert_int_eq(rig_number(&rig, "messages"), 3 - c->fits);
}
END_TEST

START_TEST(no_filter_no_change)
{
	enum store_status st;

	put_three();
	ck_assert_ptr_null(rig_query(&rig, rig_ask(STORE_DELETE, 0), &st));
	ck_assert_int_eq(st, STORE_BAD);
	ck_assert_int_eq(rig_number(&rig, "messages"), 3);
}
END_TEST

START_TEST(list_and_show)
{
	struct store_query *q;
	enum store_status st;
	json_t *o, *m, *r;
	uint64_t id;

	put_three();
	q = rig_ask(STORE_LIST, 0);
	q->filter.limit = 2;
	o = rig_query(&rig, q, &st);
	ck_assert_int_eq(st, STORE_OK);
	ck_assert_uint_eq(json_array_size(json_object_get(o, "messages")), 2);
	ck_assert(json_is_true(json_object_get(o, "more")));
	m = json_array_get(json_object_get(o, "messages"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(m, "received")), "2026-11-23T21:15:00.000Z");
	ck_assert_str_eq(json_string_value(json_object_get(m, "from")), "sender@example.org");
	ck_assert_str_eq(json_string_value(json_object_get(m, "state")), "active");
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(m, "tags"), 0)), "blue");
	r = json_array_get(json_object_get(m, "recipients"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(r, "address")), "user@a.example");
	ck_assert_str_eq(json_string_value(json_object_get(r, "route")), "default");
	json_decref(o);

	id = rig_put(&rig, full_msg());
	o = rig_query(&rig, rig_ask(STORE_SHOW, id), &st);
	ck_assert(json_is_true(json_object_get(o, "requiretls")));
	ck_assert_str_eq(json_string_value(json_object_get(o, "auth_id")), "joe\\xFF");
	ck_assert_str_eq(json_string_value(json_object_get(o, "trace")),
	    "Received: from a\\x0D\\x0A\\x09by b\\x0D\\x0A");
	ck_assert_uint_eq(json_array_size(json_object_get(o, "edits")), 2);
	json_decref(o);
	o = rig_query(&rig, rig_ask(STORE_SHOW, 12345), &st);
	ck_assert_int_eq(st, STORE_NOT_FOUND);
	json_decref(o);
}
END_TEST

START_TEST(offline)
{
	struct store_query q = { .verb = STORE_LIST };
	struct err err;
	char *text;
	json_t *o;

	put_three();
	rig_close(&rig);
	text = store_offline(rig.path, &q, &err);
	ck_assert_msg(text != NULL, "%s", err.text);
	o = json_loads(text, 0, NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(o, "messages")), 3);
	json_decref(o);
	free(text);
	q.verb = STORE_STATUS;
	text = store_offline(rig.path, &q, &err);
	o = json_loads(text, 0, NULL);
	ck_assert_int_eq(json_integer_value(json_object_get(o, "held")), 1);
	json_decref(o);
	free(text);
	q.verb = STORE_DELETE;
	q.filter.id = 1;
	ck_assert_ptr_null(store_offline(rig.path, &q, &err));
	ck_assert_msg(strstr(err.text, "daemon") != NULL, "%s", err.text);
}
END_TEST

/* ---- Opening ---- */

START_TEST(second_open_is_refused)
{
	struct err err;
	char pid[32];

	begin();
	ck_assert_ptr_null(store_open(&rig.conf, &err));
	snprintf(pid, sizeof pid, "process %d", (int)getpid());
	ck_assert_msg(strstr(err.text, pid) != NULL, "%s", err.text);
}
END_TEST

static const struct open_case {
	const char *name, *sql, *want;
	void (*spoil)(void);
} opens[];

static void
spoil_mode(void)
{
	chmod(rig.path, 0640);
}

static void
spoil_dir(void)
{
	chmod(rig.dir, 0750);
}

static void
spoil_link(void)
{
	char other[128];

	snprintf(other, sizeof other, "%s.real", rig.path);
	ck_assert_int_eq(rename(rig.path, other), 0);
	ck_assert_int_eq(symlink("queue.db.real", rig.path), 0);
}

static void
spoil_lock(void)
{
	char name[128];

	snprintf(name, sizeof name, "%s.lock", rig.path);
	unlink(name);
	ck_assert_int_eq(symlink("/nowhere", name), 0);
}

static void
overwrite(off_t at, size_t n)
{
	int fd = open(rig.path, O_WRONLY);

	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(pwrite(fd, "\xA5", 1, at + (off_t)i), 1);
	close(fd);
}

static void
spoil_header(void)
{
	overwrite(0, 16);
}

static void
spoil_pages(void)
{
	struct stat st;

	/* The stop was not clean, so everything is looked at. */
	rig_sql(&rig, "UPDATE meta SET value = 0 WHERE name = 'clean'", NULL);
	ck_assert_int_eq(stat(rig.path, &st), 0);
	for (off_t at = 2 * DB_PAGE; at < st.st_size; at += DB_PAGE)
		overwrite(at, 64);
}

static void
spoil_empty(void)
{
	ck_assert_int_eq(truncate(rig.path, 0), 0);
}

static void
spoil_gone(void)
{
	char name[128];
	FILE *f;

	unlink(rig.path);
	snprintf(name, sizeof name, "%s-wal", rig.path);
	f = fopen(name, "w");
	fputs("something", f);
	fclose(f);
	chmod(name, 0600);
}

static const struct open_case opens[] = {
	{ "newer version", "PRAGMA user_version = 99", "newer sallyport", NULL },
	{ "not ours", "PRAGMA application_id = 5", "not a queue", NULL },
	{ "file mode", NULL, "chmod 600", spoil_mode },
	{ "directory mode", NULL, "chmod 700", spoil_dir },
	{ "symbolic link", NULL, "symbolic links", spoil_link },
	{ "lock is a symbolic link", NULL, "symbolic links", spoil_lock },
	{ "not a database", NULL, "not a database", spoil_header },
	{ "damaged", NULL, "damaged", spoil_pages },
	{ "empty file", NULL, "empty", spoil_empty },
	{ "missing with its log", NULL, "missing", spoil_gone },
	{ "schema changed", "ALTER TABLE recipient RENAME COLUMN shard TO other", "schema", NULL },
};

START_TEST(refused)
{
	const struct open_case *c = &opens[_i];
	struct err err = { "" };
	struct store *s;

	begin();
	rig_put(&rig, rig_msg("example.net", 30000));
	rig_close(&rig);
	if (c->sql != NULL)
		rig_sql(&rig, c->sql, NULL);
	if (c->spoil != NULL)
		c->spoil();
	s = store_open(&rig.conf, &err);
	ck_assert_msg(s == NULL, "%s", c->name);
	ck_assert_msg(strstr(err.text, c->want) != NULL, "%s: %s", c->name, err.text);
	chmod(rig.dir, 0700);
}
END_TEST

START_TEST(modes)
{
	static const char *const suffix[] = { "", "-wal", "-shm", ".lock" };
	char name[128];
	struct stat st;

	umask(0);
	rmdir(rig.dir);
	begin();
	rig_put(&rig, rig_msg("example.net", 10));
	ck_assert_int_eq(stat(rig.dir, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	for (size_t i = 0; i < NELEMS(suffix); i++) {
		snprintf(name, sizeof name, "%s%s", rig.path, suffix[i]);
		ck_assert_msg(stat(name, &st) == 0, "%s", name);
		ck_assert_msg((st.st_mode & 07777) == 0600, "%s %o", name, (unsigned)st.st_mode);
	}
	umask(022);
}
END_TEST

/* Q2, Q1: what the database itself says. */
START_TEST(duties_only_grow)
{
	struct msg *m = rig_msg("example.net", 10);
	int rc;

	m->duties = 6;
	m->rcpts[0].duties = 5;
	begin();
	rig_put(&rig, m);
	rig_close(&rig);
	rig_sql(&rig, "UPDATE message SET duties = 2", &rc);
	ck_assert_int_eq(rc, SQLITE_CONSTRAINT);
	rig_sql(&rig, "UPDATE recipient SET duties = 18", &rc);
	ck_assert_int_eq(rc, SQLITE_CONSTRAINT);
	rig_sql(&rig, "UPDATE message SET duties = 7", &rc);
	ck_assert_int_eq(rc, SQLITE_DONE);
	rig_sql(&rig, "UPDATE recipient SET duties = 7", &rc);
	ck_assert_int_eq(rc, SQLITE_DONE);
}
END_TEST

static const struct poison_case {
	const char *name, *sql;
} poisons[] = {
	{ "bad JSON", "UPDATE message SET edits = '[{' WHERE rowid = (SELECT min(id) FROM message)" },
	{ "tags of a recipient", "UPDATE recipient SET tags = '{\"a\":1}'"
	    " WHERE message = (SELECT min(id) FROM message)" },
	{ "no content", "DELETE FROM content WHERE id = 1" },
	{ "content of another", "UPDATE content SET message = message + 1 WHERE id = 1" },
	{ "content cut", "UPDATE content SET bytes = x'00' WHERE id = 1" },
	{ "no message", "DELETE FROM message WHERE id = (SELECT min(id) FROM message)" },
	{ "direction", "UPDATE message SET direction = 77 WHERE id = (SELECT min(id) FROM message)" },
	{ "size", "UPDATE message SET size = -5 WHERE id = (SELECT min(id) FROM message)" },
};

START_TEST(poison)
{
	const struct poison_case *c = &poisons[_i];
	struct store_due *d;
	unsigned w = store_shard("default", "example.net", RIG_WORKERS);
	uint64_t good;
	json_t *o;
	int rc;

	begin();
	rig_put(&rig, rig_msg("example.net", 10));
	good = rig_put(&rig, rig_msg("example.net", 10));
	rig_close(&rig);
	rig_sql(&rig, c->sql, &rc);
	ck_assert_msg(rc == SQLITE_DONE, "%s: %d", c->name, rc);
	begin();
	d = rig_due(&rig, w, true);
	ck_assert_uint_eq(d->msg->id, good);
	store_due_free(d);
	rig_sync(&rig);
	ck_assert_ptr_null(rig_due(&rig, w, false));
	ck_assert_msg(strstr(last_error, "damaged in the queue") != NULL, "%s: %s", c->name, last_error);
	expect_errors();
	ck_assert_int_eq(rig_number(&rig, "held"), 1);
	o = rig_query(&rig, rig_ask(STORE_LIST, 0), NULL);
	ck_assert_uint_eq(json_array_size(json_object_get(o, "messages")), 2);
	json_decref(o);
	/* And it can be got rid of. */
	struct store_query *q = change(STORE_DELETE, 0);
	q->filter.state = xstrdup("held");
	ck_assert_int_eq(changed(q), 1);
	ck_assert_int_eq(rig_number(&rig, "recipients"), 1);
}
END_TEST

START_TEST(closed)
{
	struct store_submit *q;
	struct store_content *c = xcalloc(1, sizeof *c);
	enum store_status st;

	begin();
	store_close(rig.s);
	q = rig_submit(&rig, rig_msg("example.net", 10));
	ck_assert_int_eq(q->status, STORE_CLOSED);
	store_submit_free(q);
	ck_assert_int_eq(rig_send_result(&rig, rig_result_new(&rig, 1, 0, CHANGE_DEFER)), STORE_CLOSED);
	c->mail.reply_to = rig.mb;
	store_content(rig.s, c);
	c = rig_answer(&rig);
	ck_assert_int_eq(c->status, STORE_CLOSED);
	free(c);
	rig_query(&rig, rig_ask(STORE_STATUS, 0), &st);
	ck_assert_int_eq(st, STORE_CLOSED);
	ck_assert_int_eq(store_may_accept(rig.s, 0), STORE_IO);
}
END_TEST

START_TEST(never_started)
{
	struct store_submit *q;

	rig_open(&rig);
	rig_post(&rig, rig_msg("example.net", 10));
	store_close(rig.s);
	q = rig_answer(&rig);
	ck_assert_int_eq(q->status, STORE_CLOSED);
	store_submit_free(q);
}
END_TEST

/* ---- Limits and faults ---- */

START_TEST(configured_limits)
{
	struct store_submit *q;
	uint64_t id;

	rig.conf.max_messages = 2;
	rig.conf.max_bytes = 1000;
	begin();
	ck_assert_int_eq(store_may_accept(rig.s, 1000), STORE_OK);
	ck_assert_int_eq(store_may_accept(rig.s, 1001), STORE_FULL);
	ck_assert_int_eq(store_may_accept(rig.s, UINT64_MAX), STORE_FULL);
	id = rig_put(&rig, rig_msg("example.net", 600));
	ck_assert_int_eq(store_may_accept(rig.s, 401), STORE_FULL);
	q = rig_submit(&rig, rig_msg("example.net", 401));
	ck_assert_int_eq(q->status, STORE_FULL);
	ck_assert_ptr_null(q->active);
	store_submit_free(q);
	rig_put(&rig, rig_msg("example.net", 10));
	ck_assert_int_eq(store_may_accept(rig.s, 0), STORE_FULL);
	ck_assert_int_eq(rig_done(&rig, id, 0), STORE_OK);
	ck_assert_int_eq(store_may_accept(rig.s, 0), STORE_OK);
	rig.s->min_free_percent = 100;
	atomic_store(&rig.s->n.headroom, files_headroom(rig.path, 100));
	ck_assert_int_eq(store_may_accept(rig.s, 0), STORE_FULL);
}
END_TEST

/* X: mail can leave a full disk (spec security.md 1, rule 7). */
START_TEST(full_disk)
{
	struct store_submit *q;
	uint64_t ids[200];
	int n = 0;

	rig.conf.yield_ms = 60000;
	rig_open(&rig);
	ck_assert_int_eq(sqlite3_exec(rig.s->db.h, "PRAGMA max_page_count = 60", NULL, NULL, NULL), SQLITE_OK);
	rig_start(&rig);
	for (;;) {
		ck_assert_int_lt(n, 200);
		q = rig_submit(&rig, rig_msg("example.net", 20000));
		ck_assert_int_eq(q->status, n < 5 ? STORE_OK : q->status);
		if (q->status != STORE_OK)
			break;
		ids[n++] = q->msg->id;
		store_submit_free(q);
	}
	ck_assert_int_eq(q->status, STORE_FULL);
	ck_assert_ptr_null(q->active);
	store_submit_free(q);
	ck_assert_int_eq(store_may_accept(rig.s, 0), STORE_FULL);
	expect_errors();
	ck_assert_int_eq(rig_number(&rig, "messages"), n);
	/* A result in one group with an arrival that does not fit is done all the same. */
	struct store_result *r = rig_result_new(&rig, ids[0], 0, CHANGE_DONE);
	store_result(rig.s, r);
	rig_post(&rig, rig_msg("example.net", 900000));
	q = rig_answer(&rig);
	ck_assert_uint_eq(q->mail.kind, KIND_SUBMIT);
	ck_assert_int_eq(q->status, STORE_FULL);
	store_submit_free(q);
	r = rig_answer(&rig);
	ck_assert_int_eq(r->status, STORE_OK);
	store_result_free(r);
	for (int i = 1; i < n; i++)
		ck_assert_int_eq(rig_done(&rig, ids[i], 0), STORE_OK);
	rig_put(&rig, rig_msg("example.net", 20000));
	ck_assert_int_eq(rig_number(&rig, "messages"), 1);
}
END_TEST

/* A file system that fails a sync: SQLite's own, with one method replaced. */
static sqlite3_vfs shim;
static sqlite3_vfs *real_vfs;
/* The database and the log have different tables of methods. */
static struct { const sqlite3_io_methods *real; sqlite3_io_methods mine; } methods[4];
static int (*real_sync)(sqlite3_file *, int);
static int (*real_write)(sqlite3_file *, const void *, int, sqlite3_int64);
static int (*real_open)(sqlite3_vfs *, const char *, sqlite3_file *, int, int *);
static _Atomic int fail_syncs, fail_writes, nsyncs;

static int
shim_sync(sqlite3_file *f, int flags)
{
	int left = atomic_load(&fail_syncs);

	atomic_fetch_add(&nsyncs, 1);
	if (left > 0 && atomic_fetch_sub(&fail_syncs, 1) > 0)
		return SQLITE_IOERR_FSYNC;
	return real_sync(f, flags);
}

static int
shim_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	int left = atomic_load(&fail_writes);

	if (left > 0 && atomic_fetch_sub(&fail_writes, 1) > 0)
		return SQLITE_IOERR_WRITE;
	return real_write(f, p, n, at);
}

static int
shim_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out)
{
	int rc = real_open(real_vfs, name, f, flags, out);

	for (size_t i = 0; rc == SQLITE_OK && f->pMethods != NULL && i < NELEMS(methods); i++) {
		if (methods[i].real == NULL) {
			methods[i].real = f->pMethods;
			methods[i].mine = *f->pMethods;
			real_sync = f->pMethods->xSync;
			methods[i].mine.xSync = shim_sync;
			real_write = f->pMethods->xWrite;
			methods[i].mine.xWrite = shim_write;
		}
		if (methods[i].real == f->pMethods) {
			f->pMethods = &methods[i].mine;
			break;
		}
	}
	return rc;
}

static void
install_shim(void)
{
	real_vfs = sqlite3_vfs_find(NULL);
	shim = *real_vfs;
	shim.zName = "shim";
	real_open = real_vfs->xOpen;
	shim.xOpen = shim_open;
	ck_assert_int_eq(sqlite3_vfs_register(&shim, 1), SQLITE_OK);
}

/* Waits until the store works again. The clock is real: the latch is tried every few ms. */
static void
wait_until_accepting(void)
{
	for (int i = 0; i < 4000 && store_may_accept(rig.s, 0) != STORE_OK; i++)
		usleep(1000);
	ck_assert_int_eq(store_may_accept(rig.s, 0), STORE_OK);
}

/* Rule 1 of spec security.md 1: kill -9 cannot tell FULL from NORMAL, a power cut does. */
START_TEST(each_commit_is_synced)
{
	char v[64];
	sqlite3_stmt *st;
	int before;

	install_shim();
	rig_open(&rig);
	ck_assert_int_eq(sqlite3_prepare_v2(rig.s->db.h, "PRAGMA synchronous", -1, &st, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
	ck_assert_int_eq(sqlite3_column_int(st, 0), 2);
	sqlite3_finalize(st);
	ck_assert_int_eq(sqlite3_prepare_v2(rig.s->db.h, "PRAGMA journal_mode", -1, &st, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
	snprintf(v, sizeof v, "%s", (const char *)sqlite3_column_text(st, 0));
	sqlite3_finalize(st);
	ck_assert_str_eq(v, "wal");
	rig_start(&rig);
	before = atomic_load(&nsyncs);
	for (int i = 0; i < 20; i++)
		rig_put(&rig, rig_msg("example.net", 10));
	ck_assert_int_ge(atomic_load(&nsyncs) - before, 20);
}
END_TEST

static const struct sync_case {
	const char *name;
	enum store_change what;
	bool notice;
	int messages;		/* in the queue in the end */
	_Atomic int *fault;	/* after a failed write the commit is not there, after a failed sync it is */
} syncs[] = {
	{ "sync, evidence and a notice", CHANGE_DONE, true, 2, &fail_syncs },
	{ "sync, evidence alone", CHANGE_DONE, false, 1, &fail_syncs },
	{ "sync, a notice alone", CHANGE_DEFER, true, 3, &fail_syncs },
	{ "sync, neither", CHANGE_DEFER, false, 2, &fail_syncs },
	{ "write, evidence and a notice", CHANGE_DONE, true, 2, &fail_writes },
	{ "write, evidence alone", CHANGE_DONE, false, 1, &fail_writes },
	{ "write, a notice alone", CHANGE_DEFER, true, 3, &fail_writes },
	{ "write, neither", CHANGE_DEFER, false, 2, &fail_writes },
};

/* F-4. The arrival in the group whose sync fails is refused, the result is done once. */
START_TEST(failed_sync)
{
	const struct sync_case *c = &syncs[_i];
	struct store_submit *q;
	struct store_result *r;
	uint64_t id, late;
	int64_t at;

	install_shim();
	rig_open(&rig);
	rig.s->retry_ms = 5;
	rig.s->yield_ms = 60000;
	rig_start(&rig);
	id = rig_put(&rig, rig_msg("example.net", 10));
	ck_assert_int_eq(rig_done(&rig, rig_put(&rig, rig_msg("example.net", 10)), 0), STORE_OK);
	r = rig_result_new(&rig, id, 0, c->what);
	r->changes[0].next_ms = clock_wall_ms() + 3600000;
	if (c->notice) {
		r->notices = xcalloc(1, sizeof *r->notices);
		r->nnotices = 1;
		r->notices[0].msg = rig_msg("example.org", 50);
	}
	store_result(rig.s, r);
	atomic_store(c->fault, 1);
	q = rig_submit(&rig, rig_msg("example.net", 10));
	ck_assert_int_eq(q->status, STORE_IO);
	late = q->msg->id;
	store_submit_free(q);
	wait_until_accepting();
	/* The result may have been answered by now, or ride with this one. */
	rig_post(&rig, rig_msg("example.net", 10));
	r = rig_answer(&rig);
	ck_assert_uint_eq(r->mail.kind, KIND_RESULT);
	ck_assert_int_eq(r->status, STORE_OK);
	ck_assert(!c->notice || (r->notices[0].status == STORE_OK && r->notices[0].active[0]));
	store_result_free(r);
	store_submit_free(rig_answer(&rig));
	expect_errors();
	/* The refused one is not there, whether the commit had reached the disk or not. */
	ck_assert_ptr_null(rig_query(&rig, rig_ask(STORE_SHOW, late), NULL));
	ck_assert_msg(rig_number(&rig, "messages") == c->messages, "%s", c->name);
	ck_assert_int_eq(evidence_rows(id, "delivered"), c->what == CHANGE_DONE);
	ck_assert_int_eq(rig_number(&rig, "active"), c->messages - (c->what == CHANGE_DEFER));
	ck_assert(chain_is_good(&at));
}
END_TEST

START_TEST(failed_sync_stays)
{
	struct store_submit *q;
	struct store_content *c = xcalloc(1, sizeof *c);

	install_shim();
	rig_open(&rig);
	rig.s->retry_ms = 1;
	rig_start(&rig);
	rig_put(&rig, rig_msg("example.net", 10));
	atomic_store(&fail_syncs, 1000000);
	for (int i = 0; i < 20; i++) {
		q = rig_submit(&rig, rig_msg("example.net", 10));
		ck_assert_int_eq(q->status, STORE_IO);
		store_submit_free(q);
	}
	ck_assert_int_eq(store_may_accept(rig.s, 0), STORE_IO);
	c->mail.reply_to = rig.mb;
	store_content(rig.s, c);
	c = rig_answer(&rig);
	ck_assert_int_eq(c->status, STORE_IO);
	free(c);
	atomic_store(&fail_syncs, 0);
	wait_until_accepting();
	rig_put(&rig, rig_msg("example.net", 10));
	expect_errors();
	ck_assert_int_eq(rig_number(&rig, "messages"), 2);
}
END_TEST

/* F-12 */
START_TEST(file_replaced)
{
	char other[128];
	struct store_submit *q;
	FILE *f;

	rig_open(&rig);
	rig.s->retry_ms = 1;
	rig_start(&rig);
	rig_put(&rig, rig_msg("example.net", 10));
	snprintf(other, sizeof other, "%s.away", rig.path);
	ck_assert_int_eq(rename(rig.path, other), 0);
	f = fopen(rig.path, "w");
	fclose(f);
	q = rig_submit(&rig, rig_msg("example.net", 10));
	ck_assert_int_eq(q->status, STORE_IO);
	store_submit_free(q);
	ck_assert_int_eq(store_may_accept(rig.s, 0), STORE_IO);
	ck_assert_int_eq(rename(other, rig.path), 0);
	wait_until_accepting();
	rig_put(&rig, rig_msg("example.net", 10));
	expect_errors();
	ck_assert_int_eq(rig_number(&rig, "messages"), 2);
}
END_TEST

/* F-10 */
START_TEST(locked_by_another)
{
	struct store_submit *q;
	sqlite3 *h;

	rig_open(&rig);
	sqlite3_busy_timeout(rig.s->db.h, 1);
	rig_start(&rig);
	ck_assert_int_eq(sqlite3_open(rig.path, &h), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(h, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	q = rig_submit(&rig, rig_msg("example.net", 10));
	ck_assert_int_eq(q->status, STORE_IO);
	store_submit_free(q);
	expect_errors();
	sqlite3_close(h);
	rig_put(&rig, rig_msg("example.net", 10));
}
END_TEST

START_TEST(checkpoints_keep_everything)
{
	uint64_t id = 0;

	begin();
	for (int i = 0; i < 60; i++) {
		id = rig_put(&rig, rig_msg("example.net", 600000));
		if (i % 2 == 0)
			ck_assert_int_eq(rig_done(&rig, id, 0), STORE_OK);
	}
	ck_assert_int_lt(rig_number(&rig, "wal_bytes"), 40 << 20);
	again();
	ck_assert_int_eq(rig_number(&rig, "messages"), 30);
	rig_close(&rig);
	ck_assert_int_eq(rig_sql(&rig, "SELECT count(*) FROM content", NULL), 90);
}
END_TEST

UNIT_MAIN("store",
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, round_trip);
	tcase_add_loop_test(tc, content, 0, NELEMS(contents));
	tcase_add_test(tc, spool_file_too_short);
	tcase_add_test(tc, group_answers_everybody);
	tcase_add_test(tc, one_bad_request_hurts_nobody_else);
	tcase_add_test(tc, removals_ride_with_an_arrival);
	tcase_add_test(tc, room_is_kept_to);
	tcase_add_test(tc, restart_hands_out_again);
	tcase_add_test(tc, due_at_its_time);
	tcase_add_test(tc, due_recipients_come_together);
	tcase_add_test(tc, hold_ends);
	tcase_add_test(tc, done_leaves_with_evidence);
	tcase_add_test_raise_signal(tc, done_without_evidence_aborts, SIGABRT);
	tcase_add_test(tc, only_discarded);
	tcase_add_test(tc, notice_in_the_same_transaction);
	tcase_add_test(tc, a_bad_notice_removes_nothing);
	tcase_add_test(tc, hold_and_route);
	tcase_add_test(tc, audit_alone);
	tcase_add_loop_test(tc, chain, 0, NELEMS(chains));
	tcase_add_test(tc, chain_cut_at_the_end);
	tcase_add_test(tc, chain_cut_in_a_copy);
	tcase_add_test(tc, chain_cut_stays_cut);
	tcase_add_test(tc, old_evidence_goes);
	tcase_add_test(tc, idle_for_years);
	tcase_add_test(tc, evidence_stays);
	tcase_add_test(tc, wrong_clock_removes_nothing);
	tcase_add_test(tc, changed_evidence_does_not_go);
	tcase_add_loop_test(tc, checkpoint_is_vouched_for, 0, NELEMS(prunes));
	tcase_add_test(tc, export_in_pages);
	tcase_add_test(tc, noted_hash);
	tcase_add_test(tc, hold_release);
	tcase_add_test(tc, delete_bounce_retry);
	tcase_add_test(tc, require_tls);
	tcase_add_loop_test(tc, filter, 0, NELEMS(filters));
	tcase_add_test(tc, no_filter_no_change);
	tcase_add_test(tc, list_and_show);
	tcase_add_test(tc, offline);
	tcase_add_test(tc, second_open_is_refused);
	tcase_add_loop_test(tc, refused, 0, NELEMS(opens));
	tcase_add_test(tc, modes);
	tcase_add_test(tc, duties_only_grow);
	tcase_add_loop_test(tc, poison, 0, NELEMS(poisons));
	tcase_add_test(tc, closed);
	tcase_add_test(tc, never_started);
	tcase_add_test(tc, configured_limits);
	tcase_add_test(tc, full_disk);
	tcase_add_test(tc, each_commit_is_synced);
	tcase_add_loop_test(tc, failed_sync, 0, NELEMS(syncs));
	tcase_add_test(tc, failed_sync_stays);
	tcase_add_test(tc, file_replaced);
	tcase_add_test(tc, locked_by_another);
	tcase_add_test(tc, checkpoints_keep_everything);
)
