/* Patterns and subjects from anywhere: the matcher must end within its budget, stay inside its
 * input and agree with policy_pattern_problem on what is malformed. Input: pattern, NUL, subject. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "policy/policy_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = memchr(data, 0, size);
	struct slice pattern, subject = { "", 0 };
	char *p, *s = NULL;
	size_t start = 0, end = 0;
	struct err err = { "" };
	int rc;

	if (size > 4096)
		return 0;
	/* Copies of their own, so that a sanitizer sees each end. */
	pattern.n = nul == NULL ? size : (size_t)(nul - data);
	p = xmalloc(pattern.n + 1);
	memcpy(p, data, pattern.n);
	p[pattern.n] = '\0';
	pattern.p = p;
	if (nul != NULL) {
		subject.n = size - pattern.n - 1;
		s = xmalloc(subject.n + 1);
		memcpy(s, nul + 1, subject.n);
		s[subject.n] = '\0';
		subject.p = s;
	}
	rc = policy_pattern_find(NULL, subject, pattern, 0, &start, &end, &err);
	MUST(rc >= -1 && rc <= 1);
	MUST(rc != 1 || (start <= end && end <= subject.n));
	MUST((rc == -1) == (err.text[0] != '\0'));
	if (policy_pattern_problem(pattern) == NULL && rc == -1)
		MUST(strstr(err.text, "too many steps") != NULL || strstr(err.text, "too complex") != NULL);
	free(p);
	free(s);
	return 0;
}
