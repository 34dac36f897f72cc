/* MIME: taken apart, every part decoded. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "message/mime.h"

/* The next part with a name or a disposition, which is what is looked for. */
static const struct mime_part *
next_named(const struct mime *m, size_t *at)
{
	for (; *at < m->n; ++*at)
		if (m->v[*at].filename != NULL || m->v[*at].disposition[0] != '\0')
			return &m->v[(*at)++];
	return NULL;
}

/* In pieces, as large content passes: the same parts, but for empty ones between delimiters. */
static void
scan(struct slice header, struct slice body, const struct mime *m, size_t step)
{
	struct mime_scan *x = mime_scan_new(header);
	struct mime *got;

	for (size_t at = 0; at < body.n; at += step)
		mime_scan_add(x, body.p + at, body.n - at < step ? body.n - at : step);
	got = mime_scan_end(x);
	MUST(got->n <= MIME_PARTS);
	for (size_t i = 0, k = 0; !got->hidden && !m->hidden;) {
		const struct mime_part *a = next_named(m, &i), *b = next_named(got, &k);

		MUST((a == NULL) == (b == NULL));
		if (a == NULL)
			break;
		MUST(a->level == b->level && strcmp(a->type, b->type) == 0 && strcmp(a->disposition, b->disposition) == 0);
		MUST((a->filename == NULL) == (b->filename == NULL) &&
		    (a->filename == NULL || strcmp(a->filename, b->filename) == 0));
	}
	mime_free(got);
}

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
	scan((struct slice){ all.p, end }, (struct slice){ all.p + end, n - end }, &m, 1);
	scan((struct slice){ all.p, end }, (struct slice){ all.p + end, n - end }, &m, n % 7 + 2);
	scan((struct slice){ all.p, end }, (struct slice){ all.p + end, n - end }, &m, n + 1);
	mime_fini(&m);
	return 0;
}
