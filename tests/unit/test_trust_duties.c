#include "unit.h"

#include <string.h>

#include "trust/duties.h"

static const unsigned some_masks = 1u << 20;

/* I3: whatever is joined to whatever, nothing gets lost. Every mask with one bit, and a walk
 * through many others. */
START_TEST(join_never_shrinks)
{
	duty_mask mask = 0;

	for (unsigned i = 0; i < some_masks; i += 37) {
		for (unsigned b = 0; b < 20; b++) {
			duty_mask before = i, after = i;

			duties_join(&after, 1u << b);
			ck_assert_uint_eq(after & before, before);
			ck_assert_uint_ne(after & 1u << b, 0);
			ck_assert_uint_eq(duties_bits(after) & duties_bits(before), duties_bits(before));
		}
	}
	for (unsigned s = 0; s < DUTY_SOURCES; s++) {
		for (unsigned d = 0; d <= DUTY_ALL; d++) {
			duty_mask before = mask;

			duties_join(&mask, duties_of(d, (enum duty_source)s));
			ck_assert_uint_eq(mask & before, before);
			ck_assert_uint_eq(duties_from(mask, (enum duty_source)s) & d, d);
		}
	}
	ck_assert_uint_eq(mask, (1u << 20) - 1);
}
END_TEST

START_TEST(sources_keep_apart)
{
	for (unsigned s = 0; s < DUTY_SOURCES; s++) {
		duty_mask m = duties_of(DUTY_AUTHENTICATE | DUTY_ENCRYPT, (enum duty_source)s);

		for (unsigned t = 0; t < DUTY_SOURCES; t++)
			ck_assert_uint_eq(duties_from(m, (enum duty_source)t),
			    s == t ? DUTY_AUTHENTICATE | DUTY_ENCRYPT : 0);
		ck_assert_uint_eq(duties_bits(m), DUTY_AUTHENTICATE | DUTY_ENCRYPT);
	}
	ck_assert_uint_eq(duties_of(~0u, DUTY_BY_SENDER), DUTY_ALL);
}
END_TEST

static const struct waive_case {
	const char *name;
	unsigned sender, admin, sts, dane, waivable, left;
} waives[] = {
	{ "nothing", 0, 0, 0, 0, 0, 0 },
	{ "sts alone goes", 0, 0, 7, 0, 0, 0 },
	{ "dane alone goes", 0, 0, 0, 3, 0, 0 },
	{ "waivable admin goes", 0, 0, 0, 0, 15, 0 },
	{ "admin stays (D11)", 0, 3, 0, 0, 0, 3 },
	{ "admin stays, sts beside it goes", 0, 1, 7, 3, 15, 1 },
	{ "a bit of both stays", 0, 2, 2, 0, 0, 2 },
	{ "sender waives nothing (R-32)", 15, 0, 7, 3, 1, 15 },
	{ "sender's one bit keeps all (R-32)", 1, 0, 7, 0, 8, 15 },
};

START_TEST(waived)
{
	const struct waive_case *c = &waives[_i];
	duty_mask m = duties_of(c->sender, DUTY_BY_SENDER) | duties_of(c->admin, DUTY_BY_ADMIN) |
	    duties_of(c->sts, DUTY_BY_STS) | duties_of(c->dane, DUTY_BY_DANE) |
	    duties_of(c->waivable, DUTY_BY_ADMIN_WAIVABLE);

	ck_assert_msg(duties_waived(m) == c->left, "%s: %u", c->name, duties_waived(m));
}
END_TEST

START_TEST(levels)
{
	static const char *const names[] = { "may", "encrypt", "verify", "secure", "requiretls" };
	static const unsigned bits[] = { 0, 1, 3, 7, 15 };
	enum tls_level l;

	for (unsigned i = 0; i < TLS_LEVELS; i++) {
		ck_assert_str_eq(tls_level_name((enum tls_level)i), names[i]);
		ck_assert(tls_level_parse(slice_of(names[i]), &l) && l == (enum tls_level)i);
		ck_assert_uint_eq(duties_of_level((enum tls_level)i, DUTY_BY_SENDER), bits[i]);
		ck_assert_uint_eq(duties_level(bits[i]), i);
	}
	ck_assert(!tls_level_parse(SLICE("Verify"), &l));
	ck_assert(!tls_level_parse(SLICE(""), &l));
	for (unsigned d = 0; d <= DUTY_ALL; d++) {
		l = duties_level(d);
		ck_assert_uint_eq(duties_of_level(l, DUTY_BY_SENDER) & d, d);
		if (l > TLS_MAY)
			ck_assert_uint_ne(duties_of_level(l - 1, DUTY_BY_SENDER) & d, d);
	}
}
END_TEST

START_TEST(formats)
{
	duty_mask m = duties_of(DUTY_ENCRYPT, DUTY_BY_SENDER) | duties_of(3, DUTY_BY_DANE) |
	    duties_of(DUTY_PROPAGATE, DUTY_BY_ADMIN_WAIVABLE);
	char text[256], tiny[8];

	duties_format(text, sizeof text, m);
	ck_assert_str_eq(text, "encrypt[sender,dane] authenticate[dane] propagate[admin-waivable]");
	duties_format(text, sizeof text, 0);
	ck_assert_str_eq(text, "none");
	duties_format_bits(text, sizeof text, 5);
	ck_assert_str_eq(text, "encrypt,secure_lookup");
	duties_format_bits(text, sizeof text, 0);
	ck_assert_str_eq(text, "none");
	duties_format(tiny, sizeof tiny, m);
	ck_assert_str_eq(tiny, "encrypt");
}
END_TEST

UNIT_MAIN("trust_duties",
	tcase_add_test(tc, join_never_shrinks);
	tcase_add_test(tc, sources_keep_apart);
	tcase_add_loop_test(tc, waived, 0, NELEMS(waives));
	tcase_add_test(tc, levels);
	tcase_add_test(tc, formats);
)
