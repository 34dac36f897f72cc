/* Replies of a hostile server: the same result whole and an octet at a time, within the limits. */
#include "config.h"

#include <string.h>

#include "smtp/smtp.h"

struct seen {
	size_t items;
	uint64_t sum;
	bool error;
};

static void
feed(struct seen *s, const uint8_t *data, size_t n, size_t step)
{
	struct smtp_reply_parser p;
	size_t at = 0, end = 0;

	memset(s, 0, sizeof *s);
	smtp_reply_parser_init(&p);
	while (!s->error) {
		struct slice in = { (const char *)data + at, end - at };
		char status[10];
		struct err err = { "" };
		size_t used;
		enum parse_status st = smtp_reply_parse(&p, in, &used, &err);

		MUST(used <= in.n);
		at += used;
		if (st == PARSE_ITEM) {
			MUST(p.code >= 200 && p.code <= 599 && p.lines.len <= 65536);
			smtp_reply_status(status, p.code, buf_slice(&p.lines));
			s->sum = s->sum * 31 + hash64(buf_peek(&p.lines), p.lines.len) + (uint64_t)p.code +
			    hash64(status, strlen(status));
			s->items++;
		} else if (st == PARSE_ERROR) {
			MUST(err.text[0] != 0);
			s->error = true;
		} else if (end == n) {
			break;
		} else {
			end = n - end < step ? n : end + step;
		}
	}
	smtp_reply_parser_fini(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct seen whole, single;

	if (n > 200000)
		return 0;
	feed(&whole, data, n, n == 0 ? 1 : n);
	feed(&single, data, n, 1);
	MUST(whole.items == single.items && whole.sum == single.sum && whole.error == single.error);
	return 0;
}
