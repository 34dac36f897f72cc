/* A notice without the part that returns the original: what may go in clear when nothing better is
 * to be had for a notice about REQUIRETLS mail (D3 fallback, row 55; R-85). RFC 6522 makes that part
 * optional. Reads only notices that this gateway wrote. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "message/message.h"

/* In the field that says so, and nowhere else: the address in To is a stranger's, and may be
 * "boundary="@example.org. */
static bool
find_boundary(const struct content *c, struct slice *out)
{
	static const char mark[] = "boundary=\"";
	const struct header_field *f;
	const char *end = NULL;
	struct header h;

	if (!header_parse(&h, (struct slice){ c->mem, (size_t)c->header_size }))
		return false;
	f = header_find(&h, "Content-Type", 1);
	out->p = f == NULL ? NULL : memmem(f->value.p, f->value.n, mark, sizeof mark - 1);
	if (out->p != NULL) {
		out->p += sizeof mark - 1;
		end = memchr(out->p, '"', (size_t)(f->value.p + f->value.n - out->p));
		out->n = end == NULL ? 0 : (size_t)(end - out->p);
	}
	header_fini(&h);
	return end != NULL && out->n <= 80;
}

struct content *
dsn_reduce(const struct content *c)
{
	char delimiter[100];
	const char *at, *third = NULL;
	struct slice boundary;
	struct buf out;
	size_t n;

	if (c->mem == NULL || !find_boundary(c, &boundary))
		return NULL;
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
