/* Encoded words and addresses: any octets give text without controls, and valid UTF-8. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "message/message_int.h"
#include "message/mime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Texts with NUL behind: UTF-8, no controls, so many. */
static void
check_texts(const struct buf *b, size_t want, bool counted)
{
	const char *s = buf_peek(b), *end = s + b->len;
	size_t n = 0;

	MUST(b->len == 0 || end[-1] == '\0');
	for (; s < end; s += strlen(s) + 1, n++) {
		MUST(!counted || utf8_is_valid(s, strlen(s)));
		for (const char *p = s; counted && *p != '\0'; p++)
			MUST((unsigned char)*p >= 0x20 && *p != 0x7F);
	}
	MUST(counted ? n == want : n % 2 == 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice value = { (const char *)data, n };
	char *text = header_decode(value), *address = header_address(value), *again;
	struct header h;
	struct buf b;

	MUST(utf8_is_valid(text, strlen(text)));
	for (const char *p = text; *p != '\0'; p++)
		MUST((unsigned char)*p >= 0x20 && *p != 0x7F);
	if (address != NULL)
		MUST(strchr(address, '@') != NULL);
	/* What we write about it is one field, and reads as it was. */
	buf_init(&b, 64 * n + 1024);
	MUST(header_add_field(&b, "X", text, false));
	if (b.len < HEADER_MAX_BYTES && text[0] != '\0') {
		MUST(header_parse(&h, buf_slice(&b)) && h.n == 1);
		again = header_decode(h.fields[0].value);
		MUST(strstr(text, "=?") != NULL || strcmp(text, again) == 0);
		free(again);
		header_fini(&h);
	}
	buf_fini(&b);
	buf_init(&b, 16 * n + 1024);
	check_texts(&b, 2 * header_mailboxes(value, 100, &b), true);
	buf_clear(&b);
	mime_params(value, &b);
	check_texts(&b, 0, false);
	buf_fini(&b);
	free(address);
	free(text);
	return 0;
}
