/* A message: envelope, duties, tags and edits, and its content.
 *
 * While a transaction is open one worker owns the struct and fills it in. Once it is handed to
 * the store it does not change any more and may be shared between threads: holders count
 * references (atomically). What changes afterwards (state, attempts, results) lives in the store
 * and in the delivering worker, not here. */
#ifndef MESSAGE_MSG_H
#define MESSAGE_MSG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/base.h"

enum {	/* NOTIFY (RFC 3461 4.1); 0: not given */
	NOTIFY_NEVER = 1, NOTIFY_SUCCESS = 2, NOTIFY_FAILURE = 4, NOTIFY_DELAY = 8
};
enum msg_ret { RET_NONE, RET_FULL, RET_HDRS };
enum msg_body_type { BODY_7BIT, BODY_8BITMIME };
enum msg_tls_no {	/* what became of TLS-Required: No in the header */
	TLS_NO_ABSENT,
	TLS_NO_HONOURED,
	TLS_NO_IGNORED,		/* by policy or configuration */
	TLS_NO_OVERRIDDEN,	/* REQUIRETLS on MAIL has precedence */
	TLS_NO_MALFORMED,	/* not every instance says No (D4) */
};
enum msg_direction { DIR_INBOUND, DIR_OUTBOUND, DIR_INTERNAL };
enum msg_flags {
	MSG_NOTICE = 1,		/* this gateway wrote it: a delivery status notice */
	MSG_SMTPUTF8 = 2,	/* SMTPUTF8 on MAIL */
	MSG_REQUIRETLS = 4,	/* tagged: REQUIRETLS on MAIL, by a policy, or inherited */
	MSG_HAS_8BIT = 8,	/* content has octets above 127 */
	MSG_UTF8_HEADER = 16,	/* such octets in the header section */
	MSG_LONG_LINES = 32,	/* a line above 998 octets */
	MSG_REPORT = 64,	/* this gateway wrote it: a report of TLS results (RFC 8460) */
};

/* Content as it is stored: header and body with CRLF line ends and no dot-stuffing, without the
 * trace field that this gateway adds. Immutable once complete, shared, counted. */
struct content {
	atomic_int refs;
	uint64_t size;		/* octets */
	uint64_t header_size;	/* octets up to and including the empty line (or all) */
	char *mem;		/* all of it, when it is in memory; else NULL */
	char *head;		/* the header section (header_size octets) when mem is NULL */
	size_t head_size;	/* octets of head: more than the header where the body's start was wanted */
	int fd;			/* an unlinked file with all of it, or -1 */
	struct mime *parts;	/* names and types of its parts when mem is NULL and somebody asked; NULL */
};
struct content *content_ref(struct content *c);
void content_unref(struct content *c);		/* NULL is fine */
/* Takes `mem` (heap). */
struct content *content_from_memory(char *mem, size_t n, size_t header_size);

/* EDIT_SIGN changes nothing here: the value names the key that the message is signed with when it leaves. */
enum edit_op { EDIT_ADD_TOP, EDIT_ADD_END, EDIT_SET, EDIT_REMOVE, EDIT_SIGN };
#define MSG_SIGNATURES_MAX 4u
struct msg_edit {		/* a policy's change to the header; the stored original stays */
	enum edit_op op;
	char *name, *value;	/* value NULL for EDIT_REMOVE; no CR, LF or NUL in either */
};

/* Key and JSON value. */
struct msg_var {
	char *key, *json;
};

struct msg_rcpt {
	char *address;		/* local-part as given, domain in lower-case A-labels, no <> */
	char *domain;		/* "" for <postmaster> without a domain; "[192.0.2.1]" for literals */
	char *orcpt;		/* the whole value as received, xtext kept; NULL */
	unsigned notify;	/* NOTIFY_* */
	uint32_t duties;	/* duty_mask of this recipient alone */
	char *route;		/* a route's name, or its JSON for one a policy made; NULL before routing */
	char *next_hop;		/* domain to look up, or the route's name for fixed hosts; dest key part */
	uint32_t num;		/* 0, 1, ... within the message; stays the same for its life */
	bool held;		/* enters the queue on hold */
	char *hold_reason;
	int64_t hold_expires_ms;	/* wall; 0 never */
	bool discarded;		/* accepted, audited, not delivered */
	char *discard_reason;
	int64_t not_before_ms;	/* wall: a policy deferred the first attempt; 0 now */
	char *bounce_reason;	/* a route hook said bounce: fail it at the first attempt; NULL */
	struct msg_var *vars;
	size_t nvars;
	char **tags;
	size_t ntags;
};

struct msg {
	atomic_int refs;
	uint64_t id;
	uint64_t session;	/* number of the session it came in on, 0 for notices */
	int64_t received_ms;	/* wall */
	char *from;		/* reverse-path without <>; "" is the null sender */
	char *from_domain;	/* lower-case A-labels; "" */
	unsigned flags;		/* MSG_* */
	enum msg_direction direction;
	enum msg_body_type body_type;
	enum msg_ret ret;
	char *envid;		/* as received, xtext kept; NULL */
	char *auth_param;	/* MAIL AUTH= as received; NULL */
	enum msg_tls_no tls_no;
	uint32_t duties;	/* duty_mask owed by every recipient */
	char *duty_note;	/* who asked: "sender;tag.subject policy.lua:6"; NULL */
	char *generation;	/* policy generation that accepted it */
	char *trace;		/* Received field of ours, with CRLF; goes on top */
	struct msg_edit *edits;
	size_t nedits;
	struct msg_var *vars;
	size_t nvars;
	char **tags;
	size_t ntags;
	struct msg_rcpt *rcpts;
	size_t nrcpts;
	struct content *content;	/* NULL: ask the store for it */
	uint64_t content_size, header_size;	/* known also when content is NULL */
	/* where it came from, for evidence, log and policy */
	char *peer_ip, *peer_name, *helo, *listener, *proto, *tls_in, *auth_id;
};

struct msg *msg_new(void);			/* one reference */
struct msg *msg_ref(struct msg *m);
/* Who asked for duties, for the evidence: "tag.subject policy.lua:6", once for each asker. */
void msg_note_duty(struct msg *m, const char *part);
void msg_unref(struct msg *m);
struct msg_rcpt *msg_add_rcpt(struct msg *m);	/* pointer good until the next one is added */
void msg_clear_rcpts(struct msg *m);
void msg_add_tag(struct msg *m, const char *tag);	/* once */
bool msg_has_tag(const struct msg *m, const char *tag);
/* json NULL removes. False when all vars together would exceed 16 KiB, or json is not JSON. */
bool msg_set_var(struct msg *m, const char *key, const char *json);
const char *msg_get_var(const struct msg *m, const char *key);
/* The same for one recipient. */
void msg_rcpt_add_tag(struct msg_rcpt *r, const char *tag);
bool msg_rcpt_has_tag(const struct msg_rcpt *r, const char *tag);
bool msg_rcpt_set_var(struct msg_rcpt *r, const char *key, const char *json);
const char *msg_rcpt_get_var(const struct msg_rcpt *r, const char *key);
/* CR and LF become spaces; what is not UTF-8 is escaped. */
void msg_add_edit(struct msg *m, enum edit_op op, const char *name, const char *value);
/* Lists as JSON text for the database (heap, never NULL; "[]" or "{}" when empty) and back (adds to
 * what is there; NULL and "" are empty lists; false on bad JSON, what made sense was taken). */
char *msg_tags_json(const struct msg *m);
char *msg_vars_json(const struct msg *m);
char *msg_edits_json(const struct msg *m);
bool msg_tags_load(struct msg *m, const char *json);
bool msg_vars_load(struct msg *m, const char *json);
bool msg_edits_load(struct msg *m, const char *json);
char *msg_rcpt_tags_json(const struct msg_rcpt *r);
char *msg_rcpt_vars_json(const struct msg_rcpt *r);
bool msg_rcpt_tags_load(struct msg_rcpt *r, const char *json);
bool msg_rcpt_vars_load(struct msg_rcpt *r, const char *json);

#endif
