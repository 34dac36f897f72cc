/* Encoded words and addresses: any octets give text without controls, and valid UTF-8. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "message/message_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

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
	free(address);
	free(text);
	return 0;
}
