/* The head of an HTTP request to sts_serve: the same however it is cut, nothing is read beyond it, and what
 * is taken is visible text (X-38, I7). */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "sts/serve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
must_lie_within(struct slice s, const char *p, size_t n)
{
	MUST(s.n == 0 || (s.p >= p && s.p + s.n <= p + n));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct sts_request r, part;
	enum sts_request_state st, before;
	char *copy;

	if (n > STS_REQUEST_MAX)
		return 0;
	copy = xmalloc(n + 1);
	if (n > 0)
		memcpy(copy, data, n);
	st = sts_request_parse((struct slice){ copy, n }, &r);
	if (st == STS_REQUEST_OK) {
		must_lie_within(r.method, copy, n);
		must_lie_within(r.target, copy, n);
		must_lie_within(r.host, copy, n);
		MUST(r.method.n > 0 && ascii_is_printable(r.target.p, r.target.n));
		MUST(!r.needs_host || r.host.n == 0 || memmem(copy, n, "://", 3) != NULL);
	}
	/* From the first cut on at which it is whole, more octets change nothing. */
	for (size_t i = 0; i <= n && i < 600; i++) {
		before = sts_request_parse((struct slice){ copy, i }, &part);
		if (before == STS_REQUEST_MORE)
			continue;
		MUST(before == st);
		MUST(st != STS_REQUEST_OK || (slice_eq(part.host, r.host) && slice_eq(part.target, r.target) &&
		    part.needs_host == r.needs_host));
		break;
	}
	free(copy);
	return 0;
}
