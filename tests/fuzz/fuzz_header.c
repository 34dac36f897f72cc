/* A header section: parsed, searched, decoded, edited and written again. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "message/message_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
edit(struct slice header)
{
	struct msg *m = msg_new();
	struct header h;
	size_t len;
	char *out;

	m->content_size = m->header_size = header.n;
	out = header_render(m, header, &len);
	MUST(len == header.n && memcmp(out, header.p, len) == 0);	/* I8 */
	free(out);
	m->content_size++;
	msg_add_edit(m, EDIT_ADD_TOP, "X-Top", "top\r\nof it");
	msg_add_edit(m, EDIT_SET, "Subject", "new");
	msg_add_edit(m, EDIT_REMOVE, "Received", NULL);
	out = header_render(m, header, &len);
	MUST(header_parse(&h, (struct slice){ out, len }));
	MUST(header_count(&h, "Subject") == 1 && header_count(&h, "Received") == 0);
	MUST(header_count(&h, "X-Top") >= 1);
	header_fini(&h);
	free(out);
	msg_unref(m);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const names[] = { "TLS-Required", "Require-TLS", NULL };
	struct slice all = { (const char *)data, n };
	struct header h;
	size_t at = 0;

	if (!header_parse(&h, all))
		return 0;
	MUST(h.end <= n && h.n <= HEADER_MAX_FIELDS);
	for (size_t i = 0; i < h.n; i++) {
		MUST(h.fields[i].at == at && h.fields[i].n > 0);
		at += h.fields[i].n;
		free(header_address(h.fields[i].value));
	}
	MUST(at <= h.end);
	header_tls_required(&h, names);
	/* Twice as much as the limits allow is not parsed again. */
	if (h.end < HEADER_MAX_BYTES / 2 && h.n < HEADER_MAX_FIELDS / 2)
		edit((struct slice){ all.p, h.end });
	header_fini(&h);
	return 0;
}
