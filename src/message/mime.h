/* MIME parts of a message (RFC 2045, 2046, 2231), for policies: what there is, and the text of it. Nothing
 * is changed, and no decision of delivery hangs on it. Linear in the octets for each level. */
#ifndef MESSAGE_MIME_H
#define MESSAGE_MIME_H

#include "message/message.h"

#define MIME_LEVELS 8u
#define MIME_PARTS 100u

enum mime_encoding { MIME_PLAIN, MIME_BASE64, MIME_QUOTED };
struct mime_part {		/* a leaf, or a message in the message, whose own parts follow */
	char type[80];		/* "text/plain", small letters */
	char charset[40];	/* small letters; "" none */
	char disposition[16];	/* "attachment", "inline"; "" none */
	char *filename;		/* UTF-8; NULL none */
	enum mime_encoding encoding;
	struct slice octets;	/* encoded; in what was given */
	unsigned level;		/* 0: the message itself */
};
struct mime {
	struct mime_part *v;
	size_t n;
	bool truncated;		/* more parts, deeper, or no end: it is not all */
	bool hidden;		/* some of it was not looked at, for what it is: a name may be missing */
};
/* Linked to the octets, which must outlive it. */
void mime_parse(struct mime *m, struct slice header, struct slice body);
void mime_fini(struct mime *m);
void mime_free(struct mime *m);		/* on the heap; NULL is fine */
/* The same parts, without their octets, of content that passes in pieces. What it needs of memory is bounded. */
struct mime_scan;
struct mime_scan *mime_scan_new(struct slice header);
void mime_scan_add(struct mime_scan *x, const char *p, size_t n);
size_t mime_scan_memory(const struct mime_scan *x);
struct mime *mime_scan_end(struct mime_scan *x);	/* frees x */
void mime_scan_free(struct mime_scan *x);		/* NULL is fine */
/* Of a field such as Content-Type: the word in front, then each parameter once (64 of them), its pieces put
 * together (RFC 2231): "text/plain\0charset\0utf-8\0". Names in small letters. */
void mime_params(struct slice value, struct buf *out);
/* Decoded, of text/... in UTF-8 when the charset is known. At most max octets. Heap, with NUL behind. */
char *mime_text(const struct mime_part *p, size_t max, size_t *n_out);

#endif
