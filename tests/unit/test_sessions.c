/* Counting sessions: all, and those of one address (X-78, spec security.md section 4). */
#include "unit.h"

#include <arpa/inet.h>
#include <string.h>

#include "gateway/gateway_int.h"

static struct net_addr
addr(const char *text)
{
	struct net_addr a;
	uint8_t ip[16];
	int family = strchr(text, ':') == NULL ? AF_INET : AF_INET6;

	ck_assert_int_eq(inet_pton(family, text, ip), 1);
	net_addr_set(&a, family, ip, 4711);
	return a;
}

static const struct same_case {
	const char *one, *other;
	bool same;
} sames[] = {
	{ "192.0.2.1", "192.0.2.1", true },
	{ "192.0.2.1", "192.0.2.2", false },
	{ "192.0.2.1", "::ffff:192.0.2.1", true },
	{ "::ffff:192.0.2.1", "::ffff:192.0.2.2", false },
	{ "2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true },	/* one /64 is one customer */
	{ "2001:db8:1:2::1", "2001:db8:1:3::1", false },
	{ "2001:db8:1:2::1", "192.0.2.1", false },
};

START_TEST(one_address)
{
	const struct same_case *c = &sames[_i];
	struct net_addr one = addr(c->one), other = addr(c->other);
	int refused = 0;

	/* The key is new each time, so that places which happen to be shared are not the rule. */
	for (int i = 0; i < 20; i++) {
		struct sessions_count *s = sessions_count_new(1000);

		ck_assert_ptr_null(sessions_enter(s, &one, 100, 2));
		ck_assert_ptr_null(sessions_enter(s, &one, 100, 2));
		ck_assert_ptr_nonnull(strstr(sessions_enter(s, &one, 100, 2), "421 4.7.0"));
		refused += sessions_enter(s, &other, 100, 2) != NULL;
		sessions_leave(s, &one);
		ck_assert_ptr_null(sessions_enter(s, &one, 100, 2));
		sessions_count_free(s);
	}
	ck_assert_msg(c->same ? refused == 20 : refused < 3, "%s and %s: %d", c->one, c->other, refused);
}
END_TEST

START_TEST(all)
{
	struct sessions_count *s = sessions_count_new(3);
	struct net_addr a[] = { addr("192.0.2.1"), addr("192.0.2.2"), addr("2001:db8::1"), addr("192.0.2.4") };

	for (size_t i = 0; i < 3; i++)
		ck_assert_ptr_null(sessions_enter(s, &a[i], 100, 50));
	ck_assert_uint_eq(sessions_now(s), 3);
	ck_assert_ptr_nonnull(strstr(sessions_enter(s, &a[3], 100, 50), "421 4.3.2"));	/* the cap */
	sessions_leave(s, &a[0]);
	ck_assert_ptr_nonnull(strstr(sessions_enter(s, &a[3], 2, 50), "421 4.3.2"));	/* the setting */
	ck_assert_ptr_null(sessions_enter(s, &a[3], 100, 50));
	ck_assert_uint_eq(sessions_now(s), 3);
	sessions_count_free(s);
}
END_TEST

UNIT_MAIN("sessions",
	tcase_add_loop_test(tc, one_address, 0, NELEMS(sames));
	tcase_add_test(tc, all);
)
