/* Messages as octets: reading a header section, streaming content to where it is kept, trace
 * fields, header edits, dot-stuffing, delivery status notices (RFC 3461, 3464, 6522, 6533).
 * Knows no SMTP dialogue, no SQL, no Lua. */
#ifndef MESSAGE_MESSAGE_H
#define MESSAGE_MESSAGE_H

#include "message/msg.h"

/* ---- Reading a header section (RFC 5322 2.2). Linear in the input; linked to the octets it was
 * given, which must outlive it. ---- */
struct header_field {
	struct slice name;	/* without colon and white space before it */
	struct slice value;	/* raw: after the colon, folding kept, final CRLF cut */
	size_t at, n;		/* the whole field in the header, final CRLF included */
};
struct header {
	struct header_field *fields;
	size_t n;
	size_t end;		/* octets up to and including the empty line */
};
#define HEADER_MAX_BYTES (256u * 1024)
#define HEADER_MAX_FIELDS 2000u
/* A line that is no field (no colon, white space in the name) ends the header there, as everybody
 * does; a line of white space after a field continues it (obs-FWS). The writer sees the same end.
 * False past the limits. */
bool header_parse(struct header *h, struct slice octets);
void header_fini(struct header *h);
/* n counts from 1, in order of appearance; NULL when there is none. Names match without case. */
const struct header_field *header_find(const struct header *h, const char *name, size_t n);
size_t header_count(const struct header *h, const char *name);
/* Unfolded and with RFC 2047 encoded words decoded to UTF-8 (what cannot be decoded stays).
 * Heap, NUL-terminated. */
char *header_decode(struct slice value);
/* First address in a From-like value, "user@domain" without comment and display name; NULL. */
char *header_address(struct slice value);
/* All of them, at most `max`: for each its name, decoded, and its text: "Ann\0ann@acme.example\0". Returns how many. */
size_t header_mailboxes(struct slice value, size_t max, struct buf *out);
/* Encoded words for what is not ASCII (RFC 2047); the value has no controls. */
void header_encode(struct buf *out, struct slice value);
/* What the instances of TLS-Required (or another name in `names`) say: ABSENT, HONOURED (every
 * instance is No, D4) or MALFORMED. Only top-level header fields are seen. */
enum msg_tls_no header_tls_required(const struct header *h, const char *const *names);

/* ---- Streaming content in (design section 3, step 3): memory up to 256 KiB, then an unlinked
 * file in `dir`. ---- */
struct message_writer;
struct message_writer_limits {
	const char *spool_dir;
	uint64_t max_bytes;		/* 0: none */
	size_t memory_bytes;		/* 0: 256 KiB */
	unsigned max_received;		/* loop: more Received fields than this (M-186, X-24); 0: none */
};
enum write_status {
	WRITE_OK,
	WRITE_TOO_BIG,		/* 552 5.3.4; further octets are dropped and counted */
	WRITE_BARE_CR_LF,	/* 550 5.6.0: CR or LF alone (M-33, X-1) */
	WRITE_NUL,		/* 550 5.6.0 */
	WRITE_HEADER_TOO_BIG,	/* 552 5.3.4: past HEADER_MAX_* (X-21) */
	WRITE_LOOP,		/* 554 5.4.6 */
	WRITE_IO,		/* 452 4.3.1 or 451 4.3.0, see err */
};
struct message_writer *message_writer_new(const struct message_writer_limits *lim);
/* Octets without dot-stuffing, cut anywhere. The first problem stays; octets after it are only
 * counted. */
void message_writer_add(struct message_writer *w, const char *p, size_t n);
enum write_status message_writer_status(const struct message_writer *w, struct err *err);
/* The start of the body stays in memory, also when the rest goes to a file: as much as there would be
 * in memory without. For content_body_peek. */
void message_writer_keep_start(struct message_writer *w);
/* Of content that goes to a file, the parts are noted as they pass (content.parts). Before the first octet. */
void message_writer_note_parts(struct message_writer *w);
size_t message_writer_memory(const struct message_writer *w);	/* octets it holds in memory now */
uint64_t message_writer_size(const struct message_writer *w);
/* True once the empty line after the header has been seen. */
bool message_writer_has_header(const struct message_writer *w);
/* The header section so far as one piece; borrowed until the next add. */
struct slice message_writer_header(const struct message_writer *w);
/* Ends the content: adds CRLF when the last line has none (M-39). Gives the content (the
 * caller's reference) and MSG_HAS_8BIT, MSG_UTF8_HEADER, MSG_LONG_LINES; NULL when status is not
 * WRITE_OK. */
struct content *message_writer_finish(struct message_writer *w, unsigned *flags_out, struct err *err);
void message_writer_free(struct message_writer *w);
/* Up to `max` octets of the body that follow the header, as far as they are in memory; for policies. */
struct slice content_body_peek(const struct content *c, size_t max);
struct slice content_header_peek(const struct content *c);	/* as it came */

/* ---- Trace (RFC 5321 4.4, RFC 3848, RFC 8314 4.3; M-180 to M-184). ---- */
struct received {
	const char *helo;	/* as given; escaped here */
	const char *peer_name;	/* verified reverse name, NULL unknown */
	const char *peer_ip;
	const char *by;		/* our host name */
	const char *with;	/* ESMTPS ... */
	uint64_t id;
	const char *rcpt;	/* the one recipient, NULL when there are several */
	const char *tls_version, *tls_cipher;	/* NULL without TLS */
	bool requiretls;
	int64_t wall_ms;
};
/* Heap; folded lines below 78 octets where possible, CRLF at the end. */
char *received_format(const struct received *r);
/* "ESMTPS", "UTF8SMTPSA", ... */
const char *received_with(bool esmtp, bool tls, bool auth, bool smtputf8, bool lmtp);

/* ---- Sending: what goes out is trace + edited header + body. ---- */
/* The header with the edits applied; heap, length in *n_out. Original octets are kept for every
 * field that is not edited (I8). To be called without edits, too: a header that has no empty line
 * at its end, with a body behind it, gets one, or the body would run into our trace field. */
char *header_render(const struct msg *m, struct slice header, size_t *n_out);
/* Appends `n` octets with leading dots doubled. `*at_line_start` carries over between calls and
 * starts true. */
bool dot_stuff(struct buf *out, const char *p, size_t n, bool *at_line_start);

/* ---- Notices. ---- */
enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED };
struct dsn_rcpt {
	const char *address, *orcpt;	/* orcpt as received (xtext) or NULL */
	enum dsn_action action;
	const char *status;		/* "5.7.30" */
	const char *remote_mta;		/* host name or NULL when none was used */
	const char *reply;		/* SMTP reply really received, lines separated by LF; NULL */
	const char *diagnostic;		/* our own words, when reply is NULL: "x-sallyport; ..." (D15) */
	int64_t last_attempt_ms;	/* wall, 0 unknown */
	int64_t retry_until_ms;		/* for delayed */
};
/* NOTIFY as given (msg.h): does the sender want to hear this? Without it: failures and delays (row 57,
 * RFC 3461 4.1). */
bool dsn_is_wanted(unsigned notify, enum dsn_action about);
/* What a hook added to a notice as a part of its own. */
struct dsn_attachment {
	char *name, *type;		/* UTF-8 without controls; "text/plain" */
	char *data;
	size_t n;
};
/* What a bounce or dsn hook may change, with built-in values before it runs. */
struct dsn_words {
	char *from_header, *subject, *language, *template_name, *text, *html, *footer;
	enum msg_ret return_content;	/* RET_NONE: nothing; clamped to HDRS when REQUIRETLS */
	char **headers;			/* "Name: value" */
	size_t nheaders;
	bool redact_diagnostic, redact_hosts, redact_rcpts, redact_received, redact_subject;
	char **redact_host_patterns;
	size_t nredact_host_patterns;
	enum { DSN_AS_CONFIGURED, DSN_WITH_REQUIRETLS, DSN_REDACTED } protect;
	char *copy_to;
	/* What is shown instead: of what was said about each recipient (dsn_said), and of each field
	 * of the original's header, decoded. NULL, or a NULL in it: as it is. */
	char **said, **fields;
	size_t nsaid, nfields;
	struct dsn_attachment *attached;	/* none goes with REQUIRETLS */
	size_t nattached;
};
void dsn_words_fini(struct dsn_words *w);
/* What is shown of the reply for rcpts[i], or of our own words without their type; NULL: nothing. */
const char *dsn_said(const struct dsn_words *w, const struct dsn_rcpt *rcpts, size_t i);
struct dsn_request {
	const struct msg *msg;
	const struct dsn_rcpt *rcpts;
	size_t nrcpts;
	enum dsn_action kind;
	const char *reporting_mta;	/* our host name */
	const char *templates;		/* directory of <template>.<language>.txt; NULL built-in only */
	struct slice header;		/* of the original, as one piece */
	struct slice body;		/* of the original, when it is small enough to return; else empty */
	uint64_t id;			/* of the notice */
	int64_t wall_ms;
	bool return_path_utf8;		/* the sender's address needs SMTPUTF8 */
	/* May be used, NULL-terminated, the first is the default; the sender's Accept-Language or
	 * Content-Language chooses. NULL: English. */
	bool tagged;			/* the original owes REQUIRETLS, whoever asked; also when msg does not say so */
	const char *const *languages;
};
/* Fills in the built-in words for the hook to edit. */
void dsn_words_init(struct dsn_words *w, const struct dsn_request *q, const char *from_header);
/* The notice, ready for store_submit but for routing: null sender, recipient = the original
 * sender, NOTIFY=NEVER, MSG_NOTICE, duties and REQUIRETLS inherited, TLS-Required:
 * No copied, header-only rules kept. NULL when the original has a null
 * sender or is itself a notice (R-94, M-187). */
struct msg *dsn_build(const struct dsn_request *q, const struct dsn_words *w, struct err *err);
/* The content of a notice of ours without the original's header (one reference), for a way that is
 * not protected (D3, row 55). NULL when there is nothing to take away. */
struct content *dsn_reduce(const struct content *c);

#endif
