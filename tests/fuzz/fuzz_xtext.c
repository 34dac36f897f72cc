/* xtext: what decodes holds no controls, and encoding it and decoding that gives it again. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "smtp/smtp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf plain, coded, again;

	if (n > 4096)
		return 0;
	buf_init(&plain, 4096);
	buf_init(&coded, 3 * 4096);
	buf_init(&again, 4096);
	if (xtext_decode((struct slice){ (const char *)data, n }, &plain)) {
		for (size_t i = 0; i < plain.len; i++) {
			unsigned char c = (unsigned char)buf_peek(&plain)[i];

			MUST(c >= 0x20 && c != 0x7F);
		}
		MUST(xtext_encode(buf_slice(&plain), &coded));
		MUST(xtext_decode(buf_slice(&coded), &again));
		MUST(slice_eq(buf_slice(&plain), buf_slice(&again)));
	}
	buf_clear(&coded);
	MUST(xtext_encode((struct slice){ (const char *)data, n }, &coded));
	MUST(ascii_is_printable(buf_peek(&coded), coded.len));
	buf_fini(&plain);
	buf_fini(&coded);
	buf_fini(&again);
	return 0;
}
