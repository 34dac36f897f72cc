/* What the command line does with worlds: tests of a bundle, and one message or session at a time. */
#ifndef REHEARSAL_REHEARSAL_H
#define REHEARSAL_REHEARSAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct test_conf {
	const char *dir;
	const char *only;		/* part of a name; NULL all */
	const char *junit;		/* a file, too; NULL */
	bool tap;
	bool coverage;
	double least;			/* percent of lines; -1 none */
	unsigned rounds;		/* of measuring; 0 none */
	uint64_t seed;
};
struct explain_conf {
	const char *dir;
	const char *from, *helo, *ip, *listener, *auth, *eml;	/* NULL: usual ones */
	const char **to, **headers;	/* headers: "Name: value" */
	size_t nto, nheaders;
	bool tls, requiretls;
	bool live_dns;			/* ask the resolver that is configured, and nobody else */
};
/* One message: prints what each handler said and what became of it. 0; 1 when there is no such bundle. */
int rehearsal_explain(const struct explain_conf *ec);
/* A dialogue on standard input and output, decisions on standard error. */
int rehearsal_session(const struct explain_conf *ec);
int rehearsal_repl(const struct test_conf *tc);
/* 0 when all passed, 1 not, 2 when there is nothing to run. Prints. */
int rehearsal_test(const struct test_conf *tc);
bool rehearsal_has_tests(const char *dir);

#endif
