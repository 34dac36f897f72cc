/* Limits and counters of the node: what a limit allows at which time, and that threads that take at once get
 * exactly what there is. */
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "data/rate.h"

static struct node *node;

static void
set_up(void)
{
	node = node_new();
	clock_fake(1000000, 1795392000000);
}

static void
tear_down(void)
{
	clock_real();
	node_unref(node);
}

static struct rate *
make(const char *limit, enum rate_kind kind, uint32_t keys)
{
	struct rate_conf c = { .name = "x", .kind = kind, .keys = keys, .worker = -1 };
	struct err err = { "" };
	struct rate *r;

	ck_assert(rate_parse(slice_of(limit), &c.limit, &c.period_ms));
	r = rate_get(node, &c, &err);
	ck_assert_msg(r != NULL, "%s", err.text);
	return r;
}

static int64_t mono = 1000000;

static void
go_on(int64_t ms)
{
	mono += ms;
	clock_fake(mono, 1795392000000);
}

/* How many of `n` tries get one. */
static unsigned
tries(struct rate *r, const char *key, unsigned n, int64_t *retry)
{
	unsigned got = 0;

	for (unsigned i = 0; i < n; i++)
		got += rate_take(r, slice_of(key), 1, retry);
	return got;
}

START_TEST(buckets)
{
	struct rate *r = make("10/1s", RATE_BUCKET, 64);
	int64_t retry;

	ck_assert_uint_eq(rate_left(r, SLICE("a")), 10);
	ck_assert_uint_eq(tries(r, "a", 15, &retry), 10);
	ck_assert_int_eq(retry, 100);
	ck_assert_uint_eq(rate_left(r, SLICE("a")), 0);
	ck_assert_uint_eq(tries(r, "b", 15, &retry), 10);
	go_on(99);
	ck_assert_uint_eq(tries(r, "a", 3, &retry), 0);
	ck_assert_int_eq(retry, 1);
	go_on(1);
	ck_assert_uint_eq(tries(r, "a", 3, &retry), 1);
	go_on(550);
	ck_assert_uint_eq(rate_left(r, SLICE("a")), 5);
	ck_assert(!rate_take(r, SLICE("a"), 6, &retry));	/* all of it or nothing */
	ck_assert_int_eq(retry, 50);
	ck_assert(rate_take(r, SLICE("a"), 5, &retry));
	go_on(5000);
	ck_assert_uint_eq(tries(r, "a", 15, &retry), 10);	/* never more than the limit at once */
	rate_forget(r, SLICE("a"));
	ck_assert_uint_eq(tries(r, "a", 15, &retry), 10);
	ck_assert(rate_take(r, SLICE(""), 10, &retry) && !rate_take(r, SLICE(""), 1, &retry));
	rate_unref(r);
}
END_TEST

/* In no period more than the limit, wherever it begins. */
START_TEST(windows)
{
	struct rate *r = make("10/1s", RATE_WINDOW, 64);
	unsigned at[200], got;
	int64_t retry;

	go_on(1000 - mono % 1000);
	ck_assert_uint_eq(tries(r, "a", 15, &retry), 10);
	ck_assert_int_gt(retry, 1000);
	ck_assert(!rate_take(r, SLICE("a"), 1, &retry));
	go_on(retry - 1);
	ck_assert_uint_eq(tries(r, "a", 1, &retry), 0);
	go_on(1);
	ck_assert_uint_eq(tries(r, "a", 2, &retry), 1);
	go_on(5000);
	ck_assert_uint_eq(rate_left(r, SLICE("a")), 10);
	/* Steady pressure: 50 ms apart for 10 s. */
	for (unsigned i = 0; i < NELEMS(at); i++) {
		at[i] = tries(r, "p", 3, &retry);
		go_on(50);
	}
	for (unsigned i = 0; i + 20 < NELEMS(at); i++) {
		got = 0;
		for (unsigned k = 0; k < 20; k++)
			got += at[i + k];
		ck_assert_uint_le(got, 10 + 2);		/* the estimate of two counts */
	}
	got = 0;
	for (unsigned i = 0; i < NELEMS(at); i++)
		got += at[i];
	ck_assert_uint_ge(got, 80);
	ck_assert_uint_le(got, 110);
	rate_unref(r);
}
END_TEST

START_TEST(words)
{
	static const char *const wrong[] = { "", "10", "/1h", "0/1h", "1000001/1h", "10/", "10/5", "10/32d", "10/50ms", "-1/1h", "1.5/1h" };
	uint32_t limit;
	int64_t period;

	ck_assert(rate_parse(SLICE("100/1h"), &limit, &period) && limit == 100 && period == 3600000);
	ck_assert(rate_parse(SLICE("100 / 1h"), &limit, &period) && limit == 100);
	for (size_t i = 0; i < NELEMS(wrong); i++)
		ck_assert_msg(!rate_parse(slice_of(wrong[i]), &limit, &period), "%s", wrong[i]);
}
END_TEST

/* The key that is used up keeps its place; those that have recovered lose theirs. */
START_TEST(places_are_bounded)
{
	struct rate *r = make("5/1h", RATE_BUCKET, 8);	/* one set */
	char key[32];
	int64_t retry;
	json_t *all, *list;

	ck_assert_uint_eq(tries(r, "heavy", 10, &retry), 5);
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof key, "light%d", i);
		ck_assert_uint_eq(tries(r, key, 1, &retry), 1);
	}
	ck_assert_uint_eq(tries(r, "heavy", 10, &retry), 0);
	all = rate_list(node, NULL, 3);
	ck_assert_uint_eq(json_array_size(all), 1);
	list = json_array_get(all, 0);
	ck_assert_int_eq(json_integer_value(json_object_get(list, "keys")), 8);
	ck_assert_int_eq(json_integer_value(json_object_get(list, "taken")), 1005);
	ck_assert_int_eq(json_integer_value(json_object_get(list, "refused")), 15);
	ck_assert_uint_eq(json_array_size(json_object_get(list, "busiest")), 3);
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(json_object_get(list, "busiest"), 0), "key")), "heavy");
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(json_object_get(list, "busiest"), 0), "left")), 0);
	json_decref(all);
	rate_unref(r);
}
END_TEST

/* What is asked for again is the same; anything else beside it is another limit. */
START_TEST(limits_by_name)
{
	struct rate *a = make("5/1h", RATE_BUCKET, 64), *b = make("5/1h", RATE_BUCKET, 64), *c = make("6/1h", RATE_BUCKET, 64);
	int64_t retry;
	json_t *list;

	ck_assert_ptr_eq(a, b);
	ck_assert_ptr_ne(a, c);
	ck_assert_uint_eq(tries(a, "k", 9, &retry), 5);
	rate_unref(a);
	ck_assert_uint_eq(tries(b, "k", 9, &retry), 0);
	rate_unref(b);
	a = make("5/1h", RATE_BUCKET, 64);
	ck_assert_uint_eq(tries(a, "k", 9, &retry), 5);		/* nobody had it any more */
	list = rate_list(node, "x", 1);
	ck_assert_uint_eq(json_array_size(list), 2);
	json_decref(list);
	list = rate_list(node, "y", 1);
	ck_assert_uint_eq(json_array_size(list), 0);
	json_decref(list);
	rate_unref(a);
	rate_unref(c);
}
END_TEST

/* ---- Threads ---- */
#define THREADS 4
#define TRIES 100000u

struct taker {
	struct rate *r;
	struct counter *c;
	unsigned keys, got;
};

static void *
take(void *arg)
{
	struct taker *t = arg;
	char key[16];
	int64_t retry;

	for (unsigned i = 0; i < TRIES; i++) {
		snprintf(key, sizeof key, "k%u", i % t->keys);
		t->got += rate_take(t->r, slice_of(key), 1, &retry);
		counter_add(t->c, 1);
	}
	return NULL;
}

/* One key that all of them want, in both ways of counting; and new keys, which they make at the same time. */
static const struct {
	const char *limit;
	enum rate_kind kind;
	unsigned keys, want, more;	/* more: a thread that is stopped while it makes a place */
} crowds[] = {
	{ "300000/1h", RATE_BUCKET, 1, 300000, 0 },
	{ "300000/1h", RATE_WINDOW, 1, 300000, 0 },
	{ "1/1h", RATE_BUCKET, 50000, 50000, 20 },
	{ "1000/1h", RATE_BUCKET, 50, 50000, 5 },
};

static unsigned
crowd(struct rate *r, unsigned keys)
{
	struct taker t[THREADS];
	pthread_t th[THREADS];
	struct err err;
	unsigned got = 0;

	for (int i = 0; i < THREADS; i++)
		t[i] = (struct taker){ r, counter_get(node, "n", &err), keys, 0 };
	for (int i = 0; i < THREADS; i++)
		pthread_create(&th[i], NULL, take, &t[i]);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(th[i], NULL);
		got += t[i].got;
	}
	return got;
}

START_TEST(threads_get_what_there_is)
{
	struct rate *r = make(crowds[_i].limit, crowds[_i].kind, RATE_KEYS_MAX);	/* time stands still */
	const char *name;
	unsigned got;
	int64_t value;

	got = crowd(r, crowds[_i].keys);
	ck_assert_uint_ge(got, crowds[_i].want);
	ck_assert_uint_le(got, crowds[_i].want + crowds[_i].more);
	ck_assert(counter_at(node, 0, &name, &value));
	ck_assert_str_eq(name, "n");
	ck_assert_int_eq(value, THREADS * TRIES);
	ck_assert(!counter_at(node, 1, &name, &value));
	rate_unref(r);
}
END_TEST

/* A table far too small, and somebody who lists it: nothing but lost counts. */
static atomic_bool is_over;

static void *
list_all(void *arg)
{
	(void)arg;
	while (!atomic_load(&is_over)) {
		json_t *list = rate_list(node, NULL, 10), *key;
		size_t k;

		json_array_foreach(json_object_get(json_array_get(list, 0), "busiest"), k, key)
			ck_assert_int_eq(json_string_value(json_object_get(key, "key"))[0], 'k');
		json_decref(list);
	}
	return NULL;
}

START_TEST(threads_that_push_each_other_out)
{
	struct rate *r = make("700/1h", RATE_BUCKET, 8);
	pthread_t th;

	pthread_create(&th, NULL, list_all, NULL);
	ck_assert_uint_gt(crowd(r, 50), 700);
	atomic_store(&is_over, true);
	pthread_join(th, NULL);
	rate_unref(r);
}
END_TEST

UNIT_MAIN("data_rate",
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, buckets);
    tcase_add_test(tc, windows);
    tcase_add_test(tc, words);
    tcase_add_test(tc, places_are_bounded);
    tcase_add_test(tc, limits_by_name);
    tcase_add_loop_test(tc, threads_get_what_there_is, 0, NELEMS(crowds));
    tcase_add_test(tc, threads_that_push_each_other_out);
)
