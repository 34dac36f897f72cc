/* SMTP: addresses, commands and replies as values, the server's conversation and the client's.
 * Knows no Lua and no SQL: whether mail is wanted is the owner's answer, asked for through a
 * struct of callbacks.
 *
 * RFC 5321, 1870, 2034, 2920, 3030, 3207, 3461, 4954, 6152, 6531, 8689, 9422. */
#ifndef SMTP_SMTP_H
#define SMTP_SMTP_H

#include "base/base.h"
#include "message/message.h"
#include "net/net.h"

/* ---- Replies ---- */
#define SMTP_TEXT_MAX 1024
struct smtp_reply {
	int code;		/* 250 */
	char status[10];	/* "2.0.0" (RFC 2034, 3463); "" for none */
	char text[SMTP_TEXT_MAX];	/* lines separated by LF; printable */
};
/* Fills in and escapes; a status whose class is not the code's is corrected to x.0.0 (M-118). */
void smtp_reply_set(struct smtp_reply *r, int code, const char *status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The octets for the wire: status on each line, lines up to 512 octets (M-06, M-117). */
bool smtp_reply_format(struct buf *out, const struct smtp_reply *r);

/* Reads one reply, possibly of many lines, from octets cut anywhere. Limits: 2048 octets a line,
 * 128 lines, 64 KiB. */
enum parse_status { PARSE_MORE, PARSE_ITEM, PARSE_ERROR };
struct smtp_reply_parser {
	struct buf lines;	/* text of the lines so far, separated by LF, raw octets */
	int code;
	unsigned nlines;
	bool too_long;			/* a limit was the error */
	bool is_complete;		/* the last call gave ITEM */
};
void smtp_reply_parser_init(struct smtp_reply_parser *p);
void smtp_reply_parser_fini(struct smtp_reply_parser *p);
/* Octets used go to *used; the rest (part of a line) is given again with what follows it. ITEM:
 * code and lines are complete; the next call starts afresh. ERROR is the end of the conversation. */
enum parse_status smtp_reply_parse(struct smtp_reply_parser *p, struct slice in, size_t *used,
    struct err *err);
/* The enhanced status code at the start of a reply's text, "" when there is none that fits. */
void smtp_reply_status(char dst[10], int code, struct slice text);

/* ---- Addresses and parameters ---- */
struct smtp_path {
	bool is_null;			/* <> */
	bool is_literal;		/* domain is an address literal */
	bool needs_utf8;		/* non-ASCII in local-part or domain as given */
	char local[260];		/* case as given; in quotes only where it must be */
	char domain[256];		/* lower-case A-labels; "[192.0.2.1]"; "" for <postmaster> */
};
/* The text between MAIL FROM: or RCPT TO: and the parameters, angle brackets included. Source
 * routes are read and dropped (M-60). `utf8` allows SMTPUTF8 addresses. On error a sentence and
 * an enhanced code ("5.1.7" sender, "5.1.3" recipient are the caller's; here "5.5.4" syntax). */
bool smtp_path_parse(struct smtp_path *p, struct slice text, size_t *used, bool utf8, struct err *err);
/* "local@domain", or "local" without domain. */
char *smtp_path_text(const struct smtp_path *p);
/* user@domain for configuration and policies; no angle brackets. */
bool smtp_address_parse(struct smtp_path *p, struct slice text, bool utf8, struct err *err);

bool xtext_decode(struct slice in, struct buf *out);	/* RFC 3461 4; controls refused */
bool xtext_encode(struct slice in, struct buf *out);

struct smtp_mail_params {
	bool has_size, requiretls, smtputf8, has_body, has_auth;
	uint64_t size;
	enum msg_body_type body;
	enum msg_ret ret;
	char *envid, *auth;	/* heap; smtp_mail_params_fini */
};
struct smtp_rcpt_params {
	unsigned notify;
	char *orcpt;
};
void smtp_mail_params_fini(struct smtp_mail_params *p);
void smtp_rcpt_params_fini(struct smtp_rcpt_params *p);
/* `offered`: SMTP_EXT_*. An error fills in the reply that says which parameter and why. */
bool smtp_mail_params_parse(struct smtp_mail_params *p, struct slice text, unsigned offered,
    bool in_tls, struct smtp_reply *err);
bool smtp_rcpt_params_parse(struct smtp_rcpt_params *p, struct slice text, unsigned offered,
    struct smtp_reply *err);

enum smtp_ext {
	SMTP_EXT_PIPELINING = 1, SMTP_EXT_SIZE = 2, SMTP_EXT_8BITMIME = 4, SMTP_EXT_SMTPUTF8 = 8,
	SMTP_EXT_CHUNKING = 16, SMTP_EXT_ENHANCEDSTATUSCODES = 32, SMTP_EXT_DSN = 64,
	SMTP_EXT_STARTTLS = 128, SMTP_EXT_REQUIRETLS = 256, SMTP_EXT_LIMITS = 512,
	SMTP_EXT_AUTH = 1024,
};

/* ---- The server's side: one inbound conversation ---- */
enum { SMTP_AUTH_PLAIN = 1, SMTP_AUTH_EXTERNAL = 2 };
struct smtp_cred {		/* what a client says who it is; wiped after the answer */
	const char *mech;		/* "PLAIN", "EXTERNAL"; static */
	const char *authzid;		/* whom to act as; "" */
	const char *authcid;		/* PLAIN: whose password it is; else "" */
	const char *password;		/* PLAIN; NULL */
};
enum smtp_starttls { SMTP_STARTTLS_OFF, SMTP_STARTTLS_OFFER, SMTP_STARTTLS_REQUIRED };
struct smtp_server_conf {	/* one for each listener and generation; outlives its sessions */
	const char *hostname;		/* in the greeting and EHLO reply */
	const char *listener;		/* name, for log and Received */
	struct tls_server *tls;		/* NULL: no TLS */
	bool implicit_tls;
	enum smtp_starttls starttls;
	bool requiretls;		/* list REQUIRETLS inside TLS */
	uint64_t max_size;		/* SIZE; 0 none */
	unsigned max_rcpts;		/* 1000: then 452 4.5.3; 0 none */
	unsigned max_messages;		/* a session: then 421; 0 none */
	unsigned max_errors, max_junk;	/* 20, 100 */
	unsigned soft_errors;		/* 10: from then on an error's reply waits; 0 never */
	int64_t error_delay_ms;		/* so long */
	int64_t command_ms, handshake_ms, session_ms;	/* 300 s, 30 s, 1 h */
	int64_t data_ms;		/* content is looked at so often: 60 s ... */
	unsigned data_rate;		/* ... and has come with so many octets a second: 100 */
	const char *spool_dir;
	unsigned max_received;		/* 100 */
	unsigned auth;			/* SMTP_AUTH_*; 0: no AUTH */
	bool auth_in_clear;		/* else inside TLS only (M-156) */
	bool forbid_unauth_pipelining;	/* octets behind EHLO, DATA, NOOP, VRFY: 554 and close */
};

/* What the owner is asked about. With implicit TLS both CONNECT and TLS come after the handshake, in
 * this order, and before the greeting. A refusal at CONNECT is the greeting (5yz; a 4yz becomes 421
 * and the end); at TLS after STARTTLS it is said to every command but QUIT. */
enum smtp_stage {
	SMTP_ASK_CONNECT, SMTP_ASK_TLS, SMTP_ASK_HELO, SMTP_ASK_AUTH, SMTP_ASK_MAIL, SMTP_ASK_RCPT, SMTP_ASK_DATA,
	SMTP_ASK_HEADER,	/* only if wanted: the header is complete; a refusal is said at the end of data,
				 * and with BDAT behind the chunk */
	SMTP_ASK_MESSAGE,	/* end of data: content complete; commit, then answer */
};
enum smtp_ask { SMTP_NOW, SMTP_LATER };
enum smtp_do { SMTP_GO, SMTP_REFUSE, SMTP_DROP };	/* DROP: the reply, then close */
struct smtp_verdict {
	enum smtp_do what;
	/* For REFUSE and DROP, 4yz or 5yz (421 closes in any case); for GO at MESSAGE a 2yz. Any
	 * other code stands for the built-in reply: 451 4.3.0, 421 4.3.0, 250 2.0.0. */
	struct smtp_reply reply;
	unsigned hide_ext;		/* HELO: SMTP_EXT_* not to list (may hide, never add) */
	const char *auth_id;		/* AUTH: who it is, needed for GO; copied when the answer is taken */
	bool wants_header;		/* DATA: HEADER is to be asked, too */
	bool wants_parts;		/* DATA: what parts there are is noted, however large it is */
	bool wants_body;		/* HEADER: the start of the body stays in memory (content.head) */
};
/* A session in numbers and text, for the owner to read. Lives as long as the session. */
struct smtp_session_info {
	uint64_t id;
	const struct smtp_server_conf *conf;
	const struct net_addr *peer, *local;
	char peer_ip[NET_ADDR_TEXT];
	const struct tls_info *tls;	/* NULL in clear */
	char *helo;			/* as given; NULL before */
	char *auth_id;			/* the owner's word on who has logged in; NULL nobody */
	const char *auth_mech;		/* static */
	bool esmtp;
	int64_t started_ms;		/* wall */
	unsigned messages, recipients, errors;
};
struct smtp_session;
struct smtp_question {		/* lives during the call */
	enum smtp_stage stage;
	struct smtp_session *session;
	const struct smtp_session_info *info;
	/* The open transaction; NULL before MAIL. The owner may change it (duties, tags, edits,
	 * recipients) until it answers at MESSAGE. NULL at HELO, too. At RCPT the last recipient is the one asked about
	 * and is taken out again when refused. At MESSAGE content is set. */
	struct msg *msg;
	struct slice helo;		/* HELO */
	const struct smtp_cred *cred;	/* AUTH: until it is answered */
	struct slice header;		/* HEADER: until it is answered */
};
struct smtp_session_ops {
	/* SMTP_NOW with *v filled in, or SMTP_LATER and one smtp_session_verdict() to come. */
	enum smtp_ask (*ask)(void *owner, uint64_t session_id, uint32_t ticket,
	    const struct smtp_question *q, struct smtp_verdict *v);
	/* A question that was not answered yet need not be: the peer left or time is up. */
	void (*cancelled)(void *owner, uint64_t session_id, uint32_t ticket);
	/* A transaction whose MAIL got GO is over without GO at MESSAGE: RSET, EHLO, QUIT, faulty
	 * content, a refusal at MESSAGE, the end of the session. */
	void (*reset)(void *owner, uint64_t session_id);
	/* Last call for this session; its number is not used again. `why` is text for the log. */
	void (*closed)(void *owner, uint64_t session_id, const char *why);
};
struct smtp_server;	/* what the sessions of one worker share: their table of numbers */
struct smtp_server *smtp_server_new(struct event_base *base, unsigned who);
void smtp_server_free(struct smtp_server *s);		/* sessions get 421 and end */
size_t smtp_server_sessions(const struct smtp_server *s);
/* Under stress a command line has `command_ms` at most, for sessions that wait for one already, too.
 * 0: what their listener allows. */
void smtp_server_hurry(struct smtp_server *s, int64_t command_ms);
/* Asked while content comes in: 0 memory suffices; 1 scarce: content goes to a file early; 2 none: a
 * session whose content holds much of it gets 421 and gives back `holds` octets (I6). */
void smtp_server_set_scarce(struct smtp_server *s, int (*scarce)(void *owner, size_t holds), void *owner);
/* 421 4.3.2 at the next command boundary, for every session; none is waited for. */
void smtp_server_drain(struct smtp_server *s);
/* The same for one, because its rules are no longer in force. Unknown numbers are ignored. */
void smtp_session_drain(struct smtp_server *s, uint64_t session_id);
/* Takes fd. `ops` and `owner` must outlive the session, `conf` too. Calls nothing back before it
 * returns. 0 when out of memory. */
uint64_t smtp_session_new(struct smtp_server *s, int fd, const struct net_addr *peer,
    const struct smtp_server_conf *conf, const struct smtp_session_ops *ops, void *owner, struct err *err);
/* The answer to a question that got SMTP_LATER. Late and stale ones are dropped. */
void smtp_session_verdict(struct smtp_server *s, uint64_t session_id, uint32_t ticket,
    const struct smtp_verdict *v);
/* As after AUTH PLAIN that was answered GO with this name. For rehearsals. */
void smtp_session_assume_login(struct smtp_server *s, uint64_t session_id, const char *auth_id);
/* The owner's own data, kept with the session. */
void smtp_session_set_data(struct smtp_session *s, void *data);
void *smtp_session_data(const struct smtp_session *s);
const struct smtp_session_info *smtp_session_get_info(struct smtp_server *s, uint64_t session_id);

/* ---- The client's side: one connection to a next hop ---- */
struct smtp_client;
enum smtp_client_tls {
	SMTP_CLIENT_CLEAR,	/* no STARTTLS even when offered */
	SMTP_CLIENT_STARTTLS,	/* when offered; what then is true is reported, not judged */
	SMTP_CLIENT_IMPLICIT,
};
struct smtp_timers {	/* ms; spec smtp.md section 2 gives the minimums (M-20 to M-27) */
	int64_t connect, greeting, ehlo, starttls, handshake, mail, rcpt, data_init, data_block, data_end, quit;
};
extern const struct smtp_timers smtp_timers_default;
struct smtp_client_conf {
	const struct net_addr *to, *source;	/* source may be NULL */
	const char *helo;		/* our name */
	enum smtp_client_tls tls;
	struct tls_client *tls_ctx;
	const struct tls_want *want;
	const struct smtp_timers *timers;
};
enum smtp_client_end {	/* why a connection is not (or no longer) usable */
	SMTP_END_CONNECT,	/* refused, unreachable, timed out */
	SMTP_END_GREETING,	/* 4yz or 5yz greeting, see reply */
	SMTP_END_EHLO,
	SMTP_END_STARTTLS,	/* refused; for good or (454) for now, see reply */
	SMTP_END_HANDSHAKE,
	SMTP_END_HANDSHAKE_TIMEOUT,	/* it began and did not end */
	SMTP_END_PROTOCOL,	/* nonsense: early or endless replies, octets behind STARTTLS's 220 */
	SMTP_END_LOST,		/* closed or reset in the middle */
	SMTP_END_TIMEOUT,
	SMTP_END_QUIT,		/* as we asked */
};
struct smtp_client_info {	/* what is true of the live connection */
	unsigned ext;			/* SMTP_EXT_* of the newest EHLO reply */
	unsigned ext_before_tls;	/* for the log: never used to decide */
	bool esmtp;			/* EHLO was taken */
	bool starttls_offered;
	const struct tls_info *tls;	/* NULL in clear */
	uint64_t size_max;		/* SIZE; 0 unknown */
	unsigned rcpt_max, mail_max, rcpt_domain_max;	/* LIMITS; 0 none */
	char banner[256];
	const struct net_addr *peer, *local;
	unsigned sent;			/* transactions so far on this connection */
	unsigned auth;			/* SMTP_LOGIN_*: mechanisms listed that we have */
	char auth_listed[128];		/* all that stands behind AUTH, escaped; "" not listed */
	bool logged_in;
};
enum { SMTP_LOGIN_PLAIN = 1, SMTP_LOGIN_LOGIN = 2 };
enum smtp_login_end {
	SMTP_LOGIN_OK,
	SMTP_LOGIN_NOT_OFFERED,	/* nothing was sent: in clear, or no mechanism that we have */
	SMTP_LOGIN_REFUSED,	/* 4yz or 5yz */
};
struct smtp_rcpt_result {
	int code;		/* 0: no reply (connection ended first) */
	char status[10];
	char *text;		/* reply text as received, lines by LF; NULL */
};
enum smtp_txn_stage { SMTP_AT_MAIL, SMTP_AT_RCPT, SMTP_AT_DATA, SMTP_AT_END };
struct smtp_txn_result {
	enum smtp_txn_stage stage;	/* where it ended; AT_END with 2yz: accepted for those in rcpts with 2yz */
	int code;			/* of MAIL, DATA or the final reply; 0: none came */
	char status[10];
	char *text;			/* of that reply; without one why there is none, or NULL */
	bool accepted;			/* one complete 2yz after our end of data */
	bool unknown;			/* end of data was sent and no reply seen: requeue (rule 6) */
	bool parameter_refused;		/* MAIL with REQUIRETLS got 501, 504 or 555 (row 49) */
	bool broke_protocol;		/* the connection was ended because the server spoke nonsense */
	bool bdat_refused;		/* CHUNKING was listed and BDAT is unknown: `ended` follows, and
					 * DATA on another connection may do */
	bool dsn_relayed;		/* the peer offers DSN, parameters were passed on */
	bool requiretls_sent;
	struct smtp_rcpt_result *rcpts;	/* same order as in the transaction */
	size_t nrcpts;
};
struct smtp_txn {	/* lives until done */
	const struct msg *msg;
	const uint32_t *rcpt_index;	/* into msg->rcpts */
	size_t nrcpts;
	bool with_requiretls;
	/* Called on the live connection immediately before MAIL is written (I2). False: nothing is
	 * written and `done` comes with SMTP_AT_MAIL and code 0. */
	bool (*may_send)(void *owner, const struct smtp_client_info *info);
	/* The octets to send: header part once, then body by pull. Fills out up to `want` octets
	 * and returns them; *more: ask again now; neither: smtp_client_feed() will be called. -1:
	 * cannot go on, cut the connection (never a dot: nothing half sent is accepted). */
	struct slice header;		/* trace + edited header, borrowed until done */
	const struct content *content;	/* body from header_size on, when in memory */
	uint64_t body_size;
	/* When content has no memory: called for more; the owner answers with smtp_client_feed. */
	void (*need_body)(void *owner, uint64_t offset);
	bool is_8bit, needs_utf8;
	bool no_bdat;			/* DATA even when CHUNKING is listed */
};
struct smtp_client_ops {
	/* Greeting, EHLO, TLS and EHLO are through; info says what is true. No MAIL was sent. Also
	 * called after each transaction once the connection can take another. */
	void (*ready)(void *owner, const struct smtp_client_info *info);
	/* The transaction is over. Result lives during the call. May be followed by ready or ended. */
	void (*done)(void *owner, const struct smtp_txn_result *r);
	/* The connection is gone; owner must smtp_client_free. `reply` NULL without one. A
	 * transaction under way has got its `done` before. */
	void (*ended)(void *owner, enum smtp_client_end why, const struct smtp_client_info *info,
	    int code, const char *status, const char *text);
	/* The login is over, and the connection is ready as before; it may not be logged in. code 0: no reply.
	 * NULL for an owner that never calls smtp_client_login. */
	void (*logged_in)(void *owner, enum smtp_login_end end, int code, const char *status, const char *text);
};
/* Calls nothing back before it returns. */
struct smtp_client *smtp_client_new(struct event_base *base, const struct smtp_client_conf *conf,
    const struct smtp_client_ops *ops, void *owner, struct err *err);
/* Only between ready and send, once. AUTH (RFC 4954) with PLAIN, or LOGIN where only that is listed; never in clear.
 * Whose certificate it is, the owner looks at before. Calls nothing back before it returns; `logged_in` or `ended`
 * follows. Both texts are copied, and wiped before that. */
void smtp_client_login(struct smtp_client *c, const char *user, const char *password);
void smtp_client_set_owner(struct smtp_client *c, const struct smtp_client_ops *ops, void *owner);
/* Only between ready and done. MAIL, RCPT and DATA or BDAT, pipelined when offered (M-99), with
 * SIZE, BODY, SMTPUTF8, RET, ENVID, NOTIFY, ORCPT, REQUIRETLS as the peer offers and the
 * message carries (M-133, R-90). 8-bit content to a peer without 8BITMIME, UTF-8 to one without
 * SMTPUTF8: `done` with code 0 and status 5.6.3 or 5.6.7, nothing was sent (M-110, M-166). Too
 * big for SIZE: status 5.3.4. */
void smtp_client_send(struct smtp_client *c, const struct smtp_txn *t);
/* Body octets for need_body. n = 0: cannot be had, the connection is cut. */
void smtp_client_feed(struct smtp_client *c, const char *p, size_t n);
const struct smtp_client_info *smtp_client_get_info(const struct smtp_client *c);
/* QUIT, then frees by itself; no more callbacks. */
void smtp_client_quit(struct smtp_client *c);
/* Ends the goodbyes of this thread, for a loop that will not run again. */
void smtp_client_quit_now(void);
void smtp_client_free(struct smtp_client *c);	/* at once; safe inside a callback */

#endif
