/* A recipient that was handed out twice: what the first one who had it says of it. */
#include "unit.h"

#include "store_rig.h"

static struct rig rig;
static int64_t wall_ms;
static uint64_t id;
static unsigned worker;

static void
move_clock(int64_t ms)
{
	static int64_t mono_ms = 1000;

	mono_ms += ms;
	wall_ms += ms;
	clock_fake(mono_ms, wall_ms);
	rig_sync(&rig);
}

static void
change(enum store_verb verb)
{
	struct store_query *q = rig_ask(verb, id);
	json_t *o;

	q->reason = xstrdup("because");
	q->by = xstrdup("root");
	o = rig_query(&rig, q, NULL);
	ck_assert_int_eq(json_integer_value(json_object_get(o, "changed")), 1);
	json_decref(o);
}

static struct store_due *
handed_out(void)
{
	struct mail *m = rig_due(&rig, worker, true);

	while (m != NULL && m->kind == STORE_KIND_RECALL) {
		free(m);
		m = rig_due(&rig, worker, true);
	}
	ck_assert(m != NULL);
	return (struct store_due *)m;
}

/* A message that was handed out when it came, taken back and handed out anew. */
static void
setup(void)
{
	struct store_due *d;

	wall_ms = 1795468500000;
	clock_fake(1000, wall_ms);
	rig_init(&rig);
	rig_open(&rig);
	rig_start(&rig);
	worker = store_shard("default", "example.net", RIG_WORKERS);
	id = rig_put(&rig, rig_msg("example.net", 10));
	change(STORE_HOLD);
	change(STORE_RELEASE);
	rig_sync(&rig);
	d = handed_out();
	ck_assert_uint_eq(d->rcpts[0].lease, STORE_FIRST_LEASE + 1);
	store_due_free(d);
	rig_drop_due(&rig);
}

static void
teardown(void)
{
	rig_fini(&rig);
}

static void
say(enum store_change what, uint64_t lease)
{
	struct store_result *r = rig_result_new(&rig, id, 0, what);

	r->changes[0].lease = lease;
	r->changes[0].attempts = 7;
	r->changes[0].next_ms = wall_ms;
	if (what == CHANGE_HOLD)
		r->changes[0].hold_reason = xstrdup("late");
	if (what == CHANGE_ROUTE) {
		r->changes[0].route = xstrdup("default");
		r->changes[0].next_hop = xstrdup("example.com");
	}
	ck_assert_int_eq(rig_send_result(&rig, r), STORE_OK);
}

static json_t *
row(void)
{
	enum store_status st;
	json_t *o = rig_query(&rig, rig_ask(STORE_SHOW, id), &st), *r;

	ck_assert_int_eq(st, STORE_OK);
	r = json_incref(json_array_get(json_object_get(o, "recipients"), 0));
	json_decref(o);
	ck_assert(r != NULL);
	return r;
}

START_TEST(late_word)
{
	static const enum store_change words[] = { CHANGE_DEFER, CHANGE_HOLD, CHANGE_ROUTE };
	json_t *r;

	say(words[_i], STORE_FIRST_LEASE);
	move_clock(5000);
	ck_assert_ptr_null(rig_due(&rig, 0, false));
	ck_assert_ptr_null(rig_due(&rig, 1, false));
	r = row();
	ck_assert_str_eq(json_string_value(json_object_get(r, "state")), "active");
	ck_assert_str_eq(json_string_value(json_object_get(r, "next_hop")), "example.net");
	ck_assert_int_eq(json_integer_value(json_object_get(r, "attempts")), 0);
	json_decref(r);
	/* Who has it now is heard. */
	say(CHANGE_DEFER, STORE_FIRST_LEASE + 1);
	move_clock(1);
	store_due_free(handed_out());
}
END_TEST

START_TEST(late_notice)
{
	struct store_result *r = rig_result_new(&rig, id, 0, CHANGE_DEFER);

	r->changes[0].lease = STORE_FIRST_LEASE;
	r->nnotices = 1;
	r->notices = xcalloc(1, sizeof *r->notices);
	r->notices[0].msg = rig_msg("example.org", 10);
	r->urgent = true;
	store_result(rig.s, r);
	r = rig_answer(&rig);
	ck_assert_int_eq(r->status, STORE_OK);
	ck_assert_int_eq(r->notices[0].status, STORE_NOT_FOUND);
	store_result_free(r);
	ck_assert_int_eq(rig_number(&rig, "messages"), 1);
}
END_TEST

/* Delivered is delivered: the row goes, with its evidence, and whoever has it now hears so. */
START_TEST(late_delivery)
{
	uint64_t epoch = store_epoch(rig.s);
	struct store_recall *recall;

	say(CHANGE_DONE, STORE_FIRST_LEASE);
	ck_assert_int_eq(rig_number(&rig, "messages"), 0);
	ck_assert_int_eq(rig_number(&rig, "active"), 0);
	ck_assert_uint_eq(store_epoch(rig.s), epoch + 1);
	recall = rig_due(&rig, worker, true);
	ck_assert(recall != NULL);
	ck_assert_int_eq(recall->mail.kind, STORE_KIND_RECALL);
	ck_assert_uint_eq(recall->message, id);
	free(recall);
	say(CHANGE_DEFER, STORE_FIRST_LEASE + 1);	/* it had not begun */
	move_clock(5000);
	rig_drop_due(&rig);
	ck_assert_int_eq(rig_number(&rig, "messages"), 0);
}
END_TEST

/* The usual way takes nothing back from anybody. */
START_TEST(delivery)
{
	uint64_t epoch = store_epoch(rig.s);

	say(CHANGE_DONE, STORE_FIRST_LEASE + 1);
	ck_assert_int_eq(rig_number(&rig, "messages"), 0);
	ck_assert_uint_eq(store_epoch(rig.s), epoch);
	ck_assert_ptr_null(rig_due(&rig, worker, false));
}
END_TEST

START_TEST(restart)
{
	struct store_due *d;

	rig_close(&rig);
	rig_open(&rig);
	rig_start(&rig);
	rig_sync(&rig);
	d = handed_out();
	ck_assert_uint_eq(d->rcpts[0].lease, STORE_FIRST_LEASE + 2);
	store_due_free(d);
}
END_TEST

UNIT_MAIN("store_lease",
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, late_word, 0, 3);
	tcase_add_test(tc, late_notice);
	tcase_add_test(tc, late_delivery);
	tcase_add_test(tc, delivery);
	tcase_add_test(tc, restart);
)
