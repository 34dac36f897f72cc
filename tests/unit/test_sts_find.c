/* When the queue's database is slow, or cannot be read, nobody knows whether a policy is kept: no answer is
 * given meanwhile (S-30, S-50, X-41). Store and DNS are played here. */
#include "unit.h"

#include <event2/event.h>
#include <string.h>

#include "sts/sts.h"
#include "web/web.h"

#define TIMEOUT_MS 400		/* who waits is due after a quarter of it */

static struct event_base *base;
static struct sts_finder *finder;
static struct store_sts *asked;
static unsigned times_asked;
static dns_cb *txt;
static void *txt_owner;
static bool answered;
static enum sts_mode mode;

uint64_t
dns_query(struct dns *d, const char *name, uint16_t type, dns_cb *cb, void *owner)
{
	txt = cb;
	txt_owner = owner;
	return 7;
}

void
dns_cancel(struct dns *d, uint64_t query)
{
}

void
store_sts(struct store *s, struct store_sts *r)
{
	ck_assert_ptr_null(asked);
	asked = r;
	times_asked++;
}

void
store_sts_free(struct store_sts *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free(r->rows[i].domain);
		free(r->rows[i].id);
		free(r->rows[i].text);
	}
	free(r->rows);
	free(r->domain);
	free(r);
}

void
store_result(struct store *s, struct store_result *r)
{
	ck_abort_msg("nothing is fetched here");
}

static void
give(enum store_status status, bool has_row)
{
	struct store_sts *r = asked;

	ck_assert_ptr_nonnull(r);
	asked = NULL;
	r->status = status;
	if (has_row) {
		r->rows = xcalloc(1, sizeof *r->rows);
		r->n = 1;
		r->rows[0].domain = xstrdup("a.example");
		r->rows[0].id = xstrdup("1");
		r->rows[0].text = xstrdup("version: STSv1\nmode: enforce\nmx: mx.a.example\nmax_age: 86400\n");
		r->rows[0].fetched_ms = clock_wall_ms();
		r->rows[0].expires_ms = clock_wall_ms() + 86400000;
	}
	r->mail.run(NULL, &r->mail);
}

static void
no_record(void)
{
	struct dns_answer a = { .status = DNS_NXDOMAIN };

	txt(txt_owner, 7, &a);
}

static bool
how(void *owner, struct sts_how *out)
{
	*out = (struct sts_how){ .port = 443, .timeout_ms = TIMEOUT_MS };
	return true;
}

static void
found(void *owner, uint64_t ticket, enum sts_mode m, struct sts_known *known)
{
	ck_assert(!answered);
	answered = true;
	mode = m;
}

static void
run_for(int ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	event_base_loopexit(base, &tv);
	event_base_dispatch(base);
}

static void
begin(void)
{
	struct sts_env env = { .how = how };
	struct err err;

	base = env.base = event_base_new();
	web_init();
	finder = sts_finder_new(&env, &err);
	ck_assert_ptr_nonnull(finder);
	sts_find(finder, "a.example", found, NULL);
	ck_assert_ptr_nonnull(asked);
}

static void
end(void)
{
	sts_finder_free(finder);
	event_base_free(base);
}

START_TEST(nothing_kept)
{
	begin();
	give(STORE_OK, false);
	ck_assert(!answered);
	no_record();
	ck_assert(answered && mode == STS_NONE);
	end();
}
END_TEST

START_TEST(slow_record)
{
	begin();
	give(STORE_OK, true);
	run_for(TIMEOUT_MS);
	ck_assert(answered && mode == STS_ENFORCE);
	end();
}
END_TEST

START_TEST(slow_database)
{
	begin();
	no_record();
	run_for(TIMEOUT_MS);
	ck_assert_msg(!answered, "answered before the database did");
	give(STORE_OK, true);
	ck_assert(answered && mode == STS_ENFORCE);
	end();
}
END_TEST

static unsigned complaints;

static void
on_line(void *arg, const char *line)
{
	complaints += strstr(line, "kept MTA-STS policies cannot be read") != NULL;
}

START_TEST(database_that_fails)
{
	log_capture(on_line, NULL);
	begin();
	no_record();
	give(STORE_IO, false);
	ck_assert(!answered);
	for (int i = 0; i < 100 && asked == NULL; i++)
		run_for(100);
	ck_assert_uint_eq(times_asked, 2);
	ck_assert_uint_ge(complaints, 1);
	give(STORE_OK, true);
	ck_assert(answered && mode == STS_ENFORCE);
	end();
	log_capture(NULL, NULL);
}
END_TEST

START_TEST(end_while_it_fails)
{
	log_capture(on_line, NULL);
	begin();
	give(STORE_IO, false);
	end();
	ck_assert(!answered);
	log_capture(NULL, NULL);
}
END_TEST

UNIT_MAIN("sts_find",
    tcase_add_test(tc, nothing_kept);
    tcase_add_test(tc, slow_record);
    tcase_add_test(tc, slow_database);
    tcase_add_test(tc, database_that_fails);
    tcase_add_test(tc, end_while_it_fails);)
