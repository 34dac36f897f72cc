/* What the command line does with worlds: tests of a bundle, and one message or session at a time. */
#ifndef REHEARSAL_REHEARSAL_H
#define REHEARSAL_REHEARSAL_H

#include <stdbool.h>
#include <stdint.h>

struct test_conf {
	const char *dir;
	const char *only;		/* part of a name; NULL all */
	const char *junit;		/* a file, too; NULL */
	bool tap;
	bool coverage;
	double least;			/* percent of lines; -1 none */
	uint64_t seed;
};
/* 0 when all passed, 1 not, 2 when there is nothing to run. Prints. */
int rehearsal_test(const struct test_conf *tc);

#endif
