/* A notice without the part that returns the original: what may go in clear when nothing better is
 * to be had for a notice about REQUIRETLS mail (D3 fallback, row 55; R-85). RFC 6522 makes that part
 * optional. Reads only notices that this gateway wrote. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "message/message.h"

struct content *
dsn_reduce(const struct content *c)
{
	static const char mark[] = "boundary=\"";
	char delimiter[100];
	const char *at, *end, *third = NULL;
	struct slice boundary;
	struct buf out;
	size_t n;

	if (c->mem == NULL)
		return NULL;
	at = memmem(c->mem, (size_t)c->header_size, mark, sizeof mark - 1);
	if (at == NULL)
		return NULL;
	boundary.p = at + sizeof mark - 1;
	end = memchr(boundary.p, '"', (size_t)c->header_size - (size_t)(boundary.p - c->mem));
	if (end == NULL || end - boundary.p > 80)
		return NULL;
	boundary.n = (size_t)(end - boundary.p);
	n = (size_t)snprintf(delimiter, sizeof delimiter, "\r\n--%.*s\r\n", (int)boundary.n, boundary.p);
	at = c->mem;
	for (int part = 0; part < 3; part++) {
		at = memmem(at, (size_t)(c->mem + c->size - at), delimiter, n);
		if (at == NULL)
			return NULL;	/* no third part: it is as small as it gets */
		third = at;
		at += n - 2;		/* the CRLF may begin the next delimiter */
	}
	buf_init(&out, (size_t)c->size + sizeof delimiter);
	if (!buf_add(&out, c->mem, (size_t)(third - c->mem)) ||
	    !buf_printf(&out, "\r\n--%.*s--\r\n", (int)boundary.n, boundary.p)) {
		buf_fini(&out);
		return NULL;
	}
	n = out.len;
	return content_from_memory(buf_take(&out), n, (size_t)c->header_size);
}
