/* A whole message, looked at as a report: whatever it is, nothing is read outside of it. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "message/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
read_all(const struct header *h, const char *lo, const char *hi)
{
	for (size_t i = 0; i < h->n; i++) {
		struct slice v = h->fields[i].value, a = report_address(v);

		MUST(v.p >= lo && v.p + v.n <= hi);
		MUST(a.n <= v.n);
		free(header_decode(v));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *copy = xmalloc(n + 1);	/* so that reading past its end is seen */
	struct slice all = { copy, n };
	struct header h;
	struct report r;

	memcpy(copy, data, n);
	if (!header_parse(&h, all)) {
		free(copy);
		return 0;
	}
	if (report_parse(&r, &h, (struct slice){ all.p + h.end, n - h.end }, true)) {
		const char *lo = r.decoded != NULL ? r.decoded : copy, *hi = lo + n + 4;

		MUST(report_is_announced(&h) && r.fields.n > 0 && r.nrcpts <= REPORT_RCPTS_MAX);
		read_all(&r.fields, lo, hi);
		for (size_t i = 0; i < r.nrcpts; i++) {
			MUST(r.kind == REPORT_DSN && r.rcpts[i].n > 0);
			read_all(&r.rcpts[i], lo, hi);
		}
		read_all(&r.original, copy, copy + n);
	}
	report_fini(&r);
	header_fini(&h);
	free(copy);
	return 0;
}
