/* MIME: taken apart, every part decoded. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "message/mime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice all = { (const char *)data, n };
	struct header h;
	struct mime m;
	size_t end;

	if (!header_parse(&h, all))
		return 0;
	end = h.end;
	header_fini(&h);
	mime_parse(&m, (struct slice){ all.p, end }, (struct slice){ all.p + end, n - end });
	MUST(m.n <= MIME_PARTS);
	for (size_t i = 0; i < m.n; i++) {
		const struct mime_part *p = &m.v[i];
		size_t len;
		char *text;

		MUST(p->level <= MIME_LEVELS + 1);
		MUST(p->octets.n == 0 || (p->octets.p >= all.p && p->octets.p + p->octets.n <= all.p + n));
		MUST(p->filename == NULL || (p->filename[0] != '\0' && utf8_is_valid(p->filename, strlen(p->filename))));
		text = mime_text(p, 1000, &len);
		MUST(text[len] == '\0');
		free(text);
	}
	mime_fini(&m);
	return 0;
}
