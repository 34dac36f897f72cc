/* What only the files of this folder share. */
#ifndef MESSAGE_MESSAGE_INT_H
#define MESSAGE_MESSAGE_INT_H

#include "message/message.h"

/* Octets of the field name that this line begins with (RFC 5322 3.6.8, with the obsolete white
 * space before the colon of 4.5), 0 when it is no field. *colon_out: where the colon is. */
size_t header_name_length(const char *line, size_t n, size_t *colon_out);

/* Adds "Name: value" and CRLF, folded at white space so that lines stay within 78 octets where the
 * value allows it. CR, LF and other controls become spaces (M-32). Words that are not ASCII become
 * encoded words (RFC 2047) unless `utf8`. A name that is none adds nothing; so does a full buffer,
 * which is false. */
bool header_add_field(struct buf *out, const char *name, const char *value, bool utf8);

/* Of the charsets that we let iconv load; NULL for others (UTF-8 and ASCII are among those). Heap, with NUL. */
char *charset_to_utf8(const char *charset, const char *p, size_t n, size_t *n_out);

/* ---- MIME (mime.c) ---- */
struct mime;
struct mime_part;
#define MIME_BOUNDARY 202
/* What the header says of a part, into p; true: a multipart, and its boundary. False: a part is noted. */
bool mime_describe(struct mime *m, struct mime_part *p, const struct header *h, const char *dflt,
    char boundary[MIME_BOUNDARY]);
/* Is the line from `at` to `end` a delimiter? 0: none; 1: one that begins a part; 2: the last. */
int mime_delimiter(struct slice s, size_t at, size_t end, const char *boundary, size_t n);
const char *mime_dflt_in(const struct mime_part *multipart);	/* the type of parts that say nothing */

/* ---- Notices ---- */

/* The sentences, in a language that we have (dsn_phrases.c). UTF-8. */
struct dsn_phrases {
	const char *language;			/* tag for Content-Language */
	const char *subject[4], *intro[4];	/* by enum dsn_action */
	const char *reply_was;			/* before what the other server said */
	const char *retry_until;
	const char *subject_was;		/* before the Subject of the original */
	const char *attached_headers, *attached_all;
	const struct dsn_explain {
		const char *status;	/* "5.7.30"; ".1.1": whatever the class; "": anything */
		const char *text;
	} *explain;
};
/* "de", "de-AT", ...; English when there are none. `exact`: NULL then. */
const struct dsn_phrases *dsn_phrases_for(const char *language, bool exact);
const char *dsn_explain(const struct dsn_phrases *ph, const char *status);
/* A subject that is nobody's own words, but the built-in ones of any language. */
bool dsn_subject_is_builtin(const char *subject, enum dsn_action kind);

/* What a notice may say (dsn_words.c). REQUIRETLS on the original, whoever asked for it; a notice
 * about it never holds body. */
bool dsn_is_requiretls(const struct msg *m);
bool dsn_is_tagged(const struct dsn_request *q);	/* that, or the caller knows of a tag */
bool dsn_hides_subject(const struct dsn_request *q, const struct dsn_words *w);
bool dsn_hides_received(const struct dsn_request *q, const struct dsn_words *w);
bool dsn_hides_host(const struct dsn_request *q, const struct dsn_words *w, const char *host);
/* `s` with the names and addresses of hosts left out that are to be hidden. Heap. */
char *dsn_hide_hosts(const struct dsn_request *q, const struct dsn_words *w, const char *s);
/* xtext (RFC 3461 4) decoded and escaped: printable ASCII, or UTF-8 too. Heap. */
char *dsn_xtext(const char *xtext, bool utf8);
/* What stands for that field; NULL: the field itself. */
const char *dsn_instead(const struct dsn_words *w, const struct header *h, const struct header_field *f);
/* The address that a notice shows: the one the sender wrote, when recipients are to be hidden. */
char *dsn_shown_address(const struct dsn_words *w, const struct dsn_rcpt *r);

/* The human part: UTF-8, CRLF, no other controls, heap (dsn_text.c). */
char *dsn_text(const struct dsn_request *q, const struct dsn_words *w);

/* Quoted-printable (RFC 2045 6.7) of text with CRLF line ends (dsn_mime.c). */
bool dsn_add_qp(struct buf *out, struct slice text);
bool dsn_add_base64(struct buf *out, struct slice octets);
/* `; filename="x"`, as RFC 2231 has it when it is long or not ASCII. */
bool dsn_add_filename(struct buf *out, const char *name);
bool text_is_plain(struct slice text);	/* ASCII, no controls, lines of at most 998 octets */

#endif
