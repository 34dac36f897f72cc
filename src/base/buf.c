#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

void
buf_init(struct buf *b, size_t max_bytes)
{
	memset(b, 0, sizeof *b);
	b->max = max_bytes;
}

void
buf_fini(struct buf *b)
{
	free(b->mem);
	b->mem = NULL;
	b->at = b->len = b->cap = 0;
}

size_t
buf_room(const struct buf *b)
{
	return b->max - b->len;
}

char *
buf_reserve(struct buf *b, size_t n)
{
	size_t cap;
	char *mem;

	if (n > b->max - b->len)
		return NULL;
	if (b->at + b->len + n <= b->cap)
		return b->mem + b->at + b->len;
	if (b->at > 0) {
		memmove(b->mem, b->mem + b->at, b->len);
		b->at = 0;
		if (b->len + n <= b->cap)
			return b->mem + b->len;
	}
	cap = b->cap == 0 ? 256 : b->cap;
	while (cap < b->len + n)
		cap *= 2;
	if (cap > b->max && b->len + n <= b->max)
		cap = b->max;
	mem = realloc(b->mem, cap);
	if (mem == NULL)
		return NULL;
	b->mem = mem;
	b->cap = cap;
	return b->mem + b->len;
}

void
buf_commit(struct buf *b, size_t n)
{
	MUST(b->at + b->len + n <= b->cap);
	b->len += n;
}

bool
buf_add(struct buf *b, const void *p, size_t n)
{
	char *at;

	if (n == 0)
		return true;
	if (n > buf_room(b))
		return false;
	at = buf_reserve(b, n);
	/* Nobody who builds a text looks at each piece: one that is missing for want of memory would
	 * go out, or be stored, as if it were whole (F-8). */
	if (at == NULL)
		out_of_memory(n);
	memcpy(at, p, n);
	b->len += n;
	return true;
}

bool
buf_adds(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

bool
buf_addc(struct buf *b, char c)
{
	return buf_add(b, &c, 1);
}

bool
buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	char small[256];
	int n;
	char *at;

	va_copy(again, ap);
	n = vsnprintf(small, sizeof small, fmt, again);
	va_end(again);
	if (n < 0)
		return false;
	if ((size_t)n < sizeof small)
		return buf_add(b, small, (size_t)n);
	/* One more than needed for the NUL, which is then not counted. */
	at = xmalloc((size_t)n + 1);
	vsnprintf(at, (size_t)n + 1, fmt, ap);
	bool ok = buf_add(b, at, (size_t)n);
	free(at);
	return ok;
}

bool
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	bool ok;

	va_start(ap, fmt);
	ok = buf_vprintf(b, fmt, ap);
	va_end(ap);
	return ok;
}

void
buf_consume(struct buf *b, size_t n)
{
	MUST(n <= b->len);
	b->at += n;
	b->len -= n;
	if (b->len == 0)
		buf_fini(b);
}

void
buf_clear(struct buf *b)
{
	b->at = b->len = 0;
}

char *
buf_take(struct buf *b)
{
	char *s = slice_dup(buf_slice(b));

	buf_fini(b);
	return s;
}
