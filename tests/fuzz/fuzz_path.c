/* Addresses. What is accepted must be printable in the sense of the parser's promise, short enough
 * for its buffers, and accepted again in its normal form. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "smtp/smtp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check(const struct smtp_path *p, bool utf8)
{
	struct smtp_path again;
	struct err err;
	char *text = smtp_path_text(p);

	MUST(strlen(p->local) < sizeof p->local && strlen(p->domain) < sizeof p->domain);
	MUST(utf8 || ascii_is_printable(text, strlen(text)));
	MUST(utf8_is_valid(text, strlen(text)));
	MUST(ascii_is_printable(p->domain, strlen(p->domain)));
	if (p->domain[0] != '\0' && strlen(text) <= 254) {
		MUST(smtp_address_parse(&again, slice_of(text), utf8, &err));
		MUST(strcmp(again.local, p->local) == 0 && strcmp(again.domain, p->domain) == 0);
	}
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in = { (const char *)data, n };
	struct smtp_path p;
	struct err err;
	size_t used;

	for (int utf8 = 0; utf8 < 2; utf8++) {
		if (smtp_path_parse(&p, in, &used, utf8 != 0, &err)) {
			MUST(used >= 2 && used <= n && used <= 256 && data[used - 1] == '>');
			check(&p, utf8 != 0);
		}
		if (smtp_address_parse(&p, in, utf8 != 0, &err))
			check(&p, utf8 != 0);
	}
	return 0;
}
