/* A growing octet buffer that is created with its maximum (I6). The front can be consumed without
 * moving the rest each time. All functions that add return false, and add nothing, past the
 * maximum or when memory is out. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct buf {
	char *mem;	/* heap, NULL while empty */
	size_t at;	/* octets already consumed at the front */
	size_t len;	/* octets that can be read, from mem + at */
	size_t cap;
	size_t max;
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_fini(struct buf *b);				/* frees; can be used again */
static inline const char *
buf_peek(const struct buf *b)
{
	return b->mem == NULL ? "" : b->mem + b->at;
}
static inline struct slice
buf_slice(const struct buf *b)
{
	return (struct slice){ buf_peek(b), b->len };
}
size_t buf_room(const struct buf *b);			/* octets that may still be added */
bool buf_add(struct buf *b, const void *p, size_t n);
bool buf_adds(struct buf *b, const char *s);
bool buf_addc(struct buf *b, char c);
bool buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_vprintf(struct buf *b, const char *fmt, va_list ap);
/* Room for n octets at the end, to be filled and then counted with buf_commit. NULL past max. */
char *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
void buf_consume(struct buf *b, size_t n);		/* frees the memory once it is empty */
void buf_clear(struct buf *b);				/* keeps the memory */
/* The octets as a heap string with NUL added, which the caller frees; the buffer is empty after. */
char *buf_take(struct buf *b);

#endif
