/* Text from the wire: pointer and length, borrowed, may hold NUL (I7). */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
	const char *p;
	size_t n;
};

#define SLICE(lit) ((struct slice){ "" lit, sizeof(lit) - 1 })
struct slice slice_of(const char *s);			/* NULL gives an empty slice */
bool slice_eq(struct slice a, struct slice b);
bool slice_is(struct slice a, const char *s);		/* same octets */
bool slice_is_nocase(struct slice a, const char *s);	/* ASCII case ignored */
bool slice_starts_nocase(struct slice a, const char *prefix);
struct slice slice_trim(struct slice a);		/* spaces and tabs, both ends */
/* Cuts up to the first `sep` off the front of `rest`; false when `rest` is used up. */
bool slice_cut(struct slice *rest, char sep, struct slice *part_out);
/* Digits only, no sign, no overflow. */
bool slice_u64(struct slice a, uint64_t *out);
char *slice_dup(struct slice a);			/* heap, NUL added; octets kept */
bool utf8_is_valid(const char *p, size_t n);		/* no overlongs, surrogates, NUL allowed */
/* The same without controls, line separators and the marks that reorder text on a screen. */
bool utf8_is_harmless(const char *p, size_t n);
bool ascii_is_printable(const char *p, size_t n);	/* 0x20..0x7E only */

/* Copies text for a log, a reply or a notice: printable ASCII stays, valid UTF-8 stays when
 * `utf8`, anything else (and the backslash) becomes \xHH. Always ends in NUL; at most `size`
 * octets; what does not fit ends in "...". Returns the length written. */
size_t text_escape(char *dst, size_t size, const char *p, size_t n, bool utf8);

uint64_t hash64(const void *p, size_t n);		/* FNV-1a; not for hostile key sets */
void hex_encode(char *dst, const uint8_t *src, size_t n);	/* 2n + 1 octets, lower case */

#endif
