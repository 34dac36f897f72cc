/* The text of a policy: what is taken is whole and within its bounds, and a pattern covers the names it
 * should and no others (S-40 to S-42, S-60). */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "trust/sts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
must_match_itself(const struct sts_policy *p, const char *mx)
{
	char *host;

	if (mx[0] != '*') {
		MUST(sts_policy_has(p, mx));
		return;
	}
	host = xasprintf("label%s", mx + 1);
	MUST(sts_policy_has(p, host));
	free(host);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct sts_policy p;
	struct err err = { "" };

	if (!sts_policy_parse((struct slice){ (const char *)data, n }, &p, &err)) {
		MUST(err.text[0] != '\0' && p.mx == NULL && p.nmx == 0);
		return 0;
	}
	MUST(p.mode == STS_NONE || p.mode == STS_TESTING || p.mode == STS_ENFORCE);
	MUST(p.max_age_s >= 0 && p.max_age_s <= STS_MAX_AGE && p.nmx <= STS_MX_MAX);
	MUST(p.nmx > 0 || p.mode == STS_NONE);
	for (size_t i = 0; i < p.nmx && i < 50; i++)
		must_match_itself(&p, p.mx[i]);
	sts_policy_has(&p, ".");
	sts_policy_has(&p, "");
	sts_policy_fini(&p);
	return 0;
}
