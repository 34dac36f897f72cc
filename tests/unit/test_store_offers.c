/* src/queue/db_offer.c: what domains and hosts offered, kept, bounded, forgotten. */
#include "unit.h"

#include "store_rig.h"

#define DAY_MS (INT64_C(86400) * 1000)
static int64_t now_ms;

static struct rig rig;

static void
setup(void)
{
	now_ms = clock_wall_ms();
	rig_init(&rig);
	rig_open(&rig);
}

static void
teardown(void)
{
	rig_fini(&rig);
}

static void
put(const char *domain, const char *host, const char *what, const char *value, int64_t first, int64_t last,
    int64_t lost, const char *instead)
{
	struct store_result *r = xcalloc(1, sizeof *r);

	r->mail.reply_to = rig.mb;
	r->offers = xcalloc(1, sizeof *r->offers);
	r->noffers = 1;
	r->offers[0] = (struct store_offer){ .domain = xstrdup(domain), .host = xstrdup(host), .what = xstrdup(what),
		.value = xstrdup(value), .instead = instead == NULL ? NULL : xstrdup(instead), .first_ms = first,
		.last_ms = last, .lost_ms = lost };
	r->urgent = true;
	store_result(rig.s, r);
	r = rig_answer(&rig);
	ck_assert(r != NULL);
	ck_assert_msg(r->status == STORE_OK, "%s", r->text);
	store_result_free(r);
}

static struct store_offers *
get(const char *domain)
{
	struct store_offers *r = xcalloc(1, sizeof *r);

	r->mail.reply_to = rig.mb;
	r->domain = xstrdup(domain);
	r->now_ms = now_ms;
	store_offers(rig.s, r);
	r = rig_answer(&rig);
	ck_assert(r != NULL);
	ck_assert_int_eq(r->status, STORE_OK);
	return r;
}

static void
is_there(const char *domain, size_t n)
{
	struct store_offers *r = get(domain);

	ck_assert_msg(r->n == n, "%s: %zu rows", domain, r->n);
	store_offers_free(r);
}

START_TEST(kept)
{
	struct store_offers *r;

	rig_start(&rig);
	put("a.example", "", "dnssec", "yes", now_ms - 5, now_ms - 4, 0, NULL);
	put("a.example", "mx.a.example", "tls", "TLSv1.3", now_ms - 3, now_ms - 2, 0, NULL);
	put("a.example", "mx.a.example", "tls", "TLSv1.3", now_ms - 3, now_ms - 2, now_ms - 1, "TLSv1.2");
	put("b.example", "", "sts", "enforce id=1", now_ms, now_ms, 0, NULL);
	rig_close(&rig);
	rig_open(&rig);
	rig_start(&rig);
	r = get("a.example");
	ck_assert_uint_eq(r->n, 2);
	ck_assert_str_eq(r->rows[0].host, "");
	ck_assert_str_eq(r->rows[0].what, "dnssec");
	ck_assert(r->rows[0].lost_ms == 0 && r->rows[0].instead == NULL);
	ck_assert_str_eq(r->rows[1].host, "mx.a.example");
	ck_assert_str_eq(r->rows[1].value, "TLSv1.3");
	ck_assert_str_eq(r->rows[1].instead, "TLSv1.2");
	ck_assert(r->rows[1].first_ms == now_ms - 3 && r->rows[1].last_ms == now_ms - 2 && r->rows[1].lost_ms == now_ms - 1);
	store_offers_free(r);
	is_there("c.example", 0);
}
END_TEST

/* Past the cap those go that were seen last the longest ago. */
START_TEST(bounded)
{
	char name[32];

	rig.s->max_offers = 10;
	rig_start(&rig);
	for (int i = 0; i < 30; i++) {
		snprintf(name, sizeof name, "d%d.example", i);
		put(name, "", "dnssec", "yes", now_ms, now_ms + (i == 3 ? 1000 : i), 0, NULL);
	}
	is_there("d29.example", 1);
	is_there("d25.example", 1);
	is_there("d3.example", 1);
	is_there("d0.example", 0);
	is_there("d15.example", 0);
	ck_assert_int_le(rig.s->noffers, 10);
}
END_TEST

/* What has been gone for a month is neither answered nor kept. */
START_TEST(forgotten)
{
	rig_start(&rig);
	put("a.example", "", "dnssec", "yes", 1, 2, now_ms - 31 * DAY_MS, "");
	put("b.example", "", "dnssec", "yes", 1, 2, now_ms - 29 * DAY_MS, "");
	put("c.example", "", "dnssec", "yes", 1, 2, 0, NULL);
	is_there("a.example", 0);
	is_there("b.example", 1);
	is_there("c.example", 1);
	rig.s->offers_swept_ms = 0;
	put("c.example", "", "dnssec", "yes", 1, 3, 0, NULL);
	rig.s->offers_counted = false;
	put("d.example", "", "dnssec", "yes", 1, 3, 0, NULL);
	ck_assert_int_eq(rig.s->noffers, 3);	/* b, c, d */
}
END_TEST

UNIT_MAIN("store_offers",
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, kept);
	tcase_add_test(tc, bounded);
	tcase_add_test(tc, forgotten);
)
