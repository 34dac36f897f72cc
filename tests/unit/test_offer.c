/* src/trust/offer.c */
#include "unit.h"

#include "trust/offer.h"

START_TEST(names)
{
	for (int i = 0; i < OFFERS; i++) {
		enum offer o;

		ck_assert(offer_parse(offer_name((enum offer)i), &o));
		ck_assert_int_eq(o, i);
	}
	ck_assert(!offer_parse("", &(enum offer){ 0 }));
	ck_assert(!offer_parse("dnssecs", &(enum offer){ 0 }));
	ck_assert_str_eq(offer_name((enum offer)OFFERS), "?");
}
END_TEST

/* From nothing to the best. */
static const struct {
	enum offer what;
	const char *values[6];
} ladders[] = {
	{ OFFER_STS, { NULL, "testing id=9", "enforce id=1" } },
	{ OFFER_STS, { "", "testing", "enforce" } },
	{ OFFER_TLS, { NULL, "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3" } },
	{ OFFER_REQUIRETLS, { NULL, "yes" } },
	{ OFFER_CERT, { "", "pkix" } },
	{ OFFER_TLS, { NULL, "TLSv1x", "TLSv1.1" } },
};

START_TEST(ranks)
{
	for (int i = 1; i < 6 && ladders[_i].values[i] != NULL; i++)
		ck_assert_int_gt(offer_rank(ladders[_i].what, ladders[_i].values[i]),
		    offer_rank(ladders[_i].what, ladders[_i].values[i - 1]));
	ck_assert_int_eq(offer_rank(ladders[_i].what, NULL), 0);
}
END_TEST

START_TEST(equals)
{
	ck_assert_int_eq(offer_rank(OFFER_CERT, "dane"), offer_rank(OFFER_CERT, "pkix"));
	ck_assert_int_eq(offer_rank(OFFER_STS, "enforce id=2"), offer_rank(OFFER_STS, "enforce id=1"));
	ck_assert_int_gt(offer_rank(OFFER_STS, "enforced id=1"), 0);
}
END_TEST

UNIT_MAIN("offer",
	tcase_add_test(tc, names);
	tcase_add_loop_test(tc, ranks, 0, NELEMS(ladders));
	tcase_add_test(tc, equals);
)
