/* What every unit test program shares: the main function, and loud failure on unexpected logs. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include "config.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>

#include "base/base.h"

/* UNIT_MAIN("name", tcase_add_test(tc, a); tcase_add_loop_test(tc, b, 0, NELEMS(cases));) */
#define UNIT_MAIN(name, ...)							\
	int									\
	main(void)								\
	{									\
		Suite *s = suite_create(name);					\
		TCase *tc = tcase_create(name);					\
		SRunner *r;							\
		int failed;							\
										\
		signal(SIGPIPE, SIG_IGN);					\
		tcase_set_timeout(tc, 60);					\
		__VA_ARGS__							\
		suite_add_tcase(s, tc);						\
		r = srunner_create(s);						\
		srunner_run_all(r, CK_ENV);					\
		failed = srunner_ntests_failed(r);				\
		srunner_free(r);						\
		return failed == 0 ? 0 : 1;					\
	}

#endif
