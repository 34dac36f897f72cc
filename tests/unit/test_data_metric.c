/* Metrics of policies: labels as Prometheus reads them, the cap on series, and threads that count at once. */
#include "unit.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "data/metric.h"

static struct metrics *all;
static char page[8192];

static void
set_up(void)
{
	all = metrics_new();
}

static void
tear_down(void)
{
	metrics_free(all);
}

static struct metric *
make(const char *name, enum metric_kind kind, uint32_t series, size_t nlabels)
{
	struct metric_conf c = { .kind = kind, .series = series, .nlabels = nlabels };
	struct err err = { "" };
	struct metric *m;

	snprintf(c.name, sizeof c.name, "%s", name);
	snprintf(c.help, sizeof c.help, "Help");
	for (size_t i = 0; i < nlabels; i++)
		snprintf(c.labels[i], sizeof c.labels[i], "l%zu", i);
	m = metric_get(all, &c, &err);
	ck_assert_msg(m != NULL, "%s", err.text);
	return m;
}

static void
add_line(void *arg, const char *name, const char *help, bool is_counter, const char *labels, double v)
{
	size_t n = strlen(page);

	ck_assert_str_eq(help, "Help");
	snprintf(page + n, sizeof page - n, "%s %s{%s} %g\n", is_counter ? "c" : "g", name, labels == NULL ? "" : labels, v);
}

static const char *
shown(void)
{
	page[0] = '\0';
	metrics_each(all, add_line, NULL);
	return page;
}

START_TEST(values_and_labels)
{
	struct metric *m = make("plain", METRIC_COUNTER, 10, 0), *g = make("g", METRIC_GAUGE, 10, 2);
	struct slice a[2] = { SLICE("x\"y\\z\n"), { "\xC3\xA4\xFF", 3 } };

	ck_assert_str_eq(shown(), "");
	ck_assert(metric_add(m, NULL, 1) == 1 && metric_add(m, NULL, 1.5) == 2.5);
	ck_assert_ptr_eq(make("plain", METRIC_COUNTER, 99, 0), m);
	metric_set(g, a, -3);
	ck_assert(metric_add(g, a, 1) == -2);
	ck_assert_str_eq(shown(), "c plain{} 2.5\n"
	    "g g{l0=\"x\\\"y\\\\x5Cz\\\\x0A\",l1=\"\xC3\xA4\\\\xFF\"} -2\n");
}
END_TEST

START_TEST(long_value_is_cut)
{
	struct metric *m = make("m", METRIC_COUNTER, 10, 1);
	char big[500];
	struct slice v = { big, sizeof big };

	memset(big, '"', sizeof big);
	metric_add(m, &v, 1);
	ck_assert_uint_lt(strlen(shown()), 2 * METRIC_VALUE_MAX + 20);
	ck_assert_ptr_nonnull(strstr(page, "...\"} 1"));
}
END_TEST

START_TEST(cap)
{
	struct metric *m = make("m", METRIC_COUNTER, 3, 1);
	char text[16];
	size_t lines = 0;

	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof text, "%d", i);
		metric_add(m, &(struct slice){ text, strlen(text) }, 1);
	}
	for (const char *s = shown(); (s = strchr(s, '\n')) != NULL; s++)
		lines++;
	ck_assert_uint_eq(lines, 4);
	ck_assert_ptr_nonnull(strstr(page, "c m{l0=\"_other\"} 997\n"));
	metric_add(m, &SLICE("1"), 1);
	ck_assert_ptr_nonnull(strstr(shown(), "c m{l0=\"1\"} 2\n"));
}
END_TEST

START_TEST(cap_of_all)
{
	uint64_t lines = 0;
	struct metric *m = NULL;

	for (int k = 0; k < 8; k++) {
		char name[16], text[16];

		snprintf(name, sizeof name, "m%d", k);
		m = make(name, METRIC_COUNTER, METRIC_SERIES_MAX, 1);
		for (unsigned i = 0; i < METRIC_SERIES_MAX; i++) {
			snprintf(text, sizeof text, "%u", i);
			lines += metric_add(m, &(struct slice){ text, strlen(text) }, 1) == 1;
		}
	}
	/* Each metric has one more, for the rest. */
	ck_assert_uint_le(lines, METRIC_SERIES_ALL + 8);
	ck_assert_uint_ge(lines, METRIC_SERIES_ALL / 2);
	ck_assert(metric_add(m, &SLICE("new"), 1) > 1);
}
END_TEST

START_TEST(refused)
{
	struct metric_conf c = { .name = "m", .kind = METRIC_GAUGE, .series = 1 };
	struct err err;
	char name[32];

	make("m", METRIC_COUNTER, 1, 0);
	ck_assert_ptr_null(metric_get(all, &c, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "is there since the start as a counter with 0 labels"));
	for (unsigned i = 1; i < METRICS_MAX; i++) {
		snprintf(name, sizeof name, "n%u", i);
		make(name, METRIC_COUNTER, 1, 0);
	}
	snprintf(c.name, sizeof c.name, "more");
	ck_assert_ptr_null(metric_get(all, &c, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "more than 200"));
}
END_TEST

#define THREADS 4
#define TIMES 20000

static void *
count(void *arg)
{
	char text[8];

	for (int i = 0; i < TIMES; i++) {
		snprintf(text, sizeof text, "%d", i % 10);
		metric_add(arg, &(struct slice){ text, strlen(text) }, 1);
	}
	return NULL;
}

START_TEST(threads)
{
	struct metric *m = make("m", METRIC_COUNTER, 10, 1);
	pthread_t t[THREADS];

	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, count, m), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < 10; i++) {
		char line[64];

		snprintf(line, sizeof line, "c m{l0=\"%d\"} %d\n", i, THREADS * TIMES / 10);
		ck_assert_msg(strstr(shown(), line) != NULL, "%s", page);
	}
	ck_assert_ptr_null(strstr(page, "_other"));
}
END_TEST

UNIT_MAIN("data_metric",
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, values_and_labels);
    tcase_add_test(tc, long_value_is_cut);
    tcase_add_test(tc, cap);
    tcase_add_test(tc, cap_of_all);
    tcase_add_test(tc, refused);
    tcase_add_test(tc, threads);
)
