/* What the files of the client's side share.
 *
 *   CL_CONNECT --on_connected--> CL_GREETING, or (implicit TLS) CL_HANDSHAKE
 *   CL_GREETING --greeting_reply--> CL_EHLO --ehlo_reply--> CL_HELO (5yz to EHLO), CL_STARTTLS, CL_READY
 *   CL_STARTTLS --starttls_reply--> CL_HANDSHAKE --on_secured--> CL_GREETING (implicit), CL_EHLO
 *   CL_READY --smtp_client_login--> CL_AUTH --auth_reply--> CL_READY (or on with CL_AUTH)
 *   CL_READY --smtp_client_send--> CL_TXN --txn_end--> CL_RSET, CL_READY
 *   CL_RSET --rset_reply--> CL_READY
 *   CL_READY --smtp_client_quit--> CL_QUIT; any --client_end--> CL_DEAD
 *
 * Each state but READY, TXN with content to send, and DEAD waits for exactly one thing and has a
 * deadline for it. Callbacks to the owner are made from the handlers of client.c, between enter()
 * and leave(); a client freed in between is reclaimed by leave(). */
#ifndef SMTP_CLIENT_INT_H
#define SMTP_CLIENT_INT_H

#include <sys/queue.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "smtp/smtp.h"

enum client_state {
	CL_CONNECT, CL_GREETING, CL_EHLO, CL_HELO, CL_STARTTLS, CL_HANDSHAKE, CL_READY, CL_AUTH, CL_TXN, CL_RSET,
	CL_QUIT, CL_DEAD
};

/* How content goes out. */
enum txn_mode { TXN_DATA, TXN_BDAT };

struct txn {
	const struct smtp_txn *t;	/* the owner's; NULL without a transaction */
	enum txn_mode mode;
	bool grouped;			/* MAIL, RCPT (and DATA) went out together */
	bool smtputf8;			/* SMTPUTF8 is on MAIL */
	bool mail_ok;
	size_t next_reply;		/* 0: MAIL, 1..nrcpts: RCPT, nrcpts + 1: DATA */
	size_t naccepted;
	bool in_body;			/* content is being sent */
	bool in_pump, asked;		/* need_body was called and not answered */
	bool end_sent;			/* the dot, or all octets of BDAT LAST, were written */
	bool dot_alone;			/* M-100: the end of nothing */
	bool at_line_start;		/* for dot-stuffing */
	char last[2];			/* octets of content */
	uint64_t offset;		/* of the body, written so far */
	struct smtp_txn_result r;
	struct smtp_rcpt_result *rcpts;	/* r.rcpts */
};

enum login_step { LOGIN_NONE, LOGIN_PLAIN, LOGIN_USER, LOGIN_PASSWORD, LOGIN_LAST };

struct login {
	enum login_step next;		/* what a 334 asks for; LAST: nothing more is to be said */
	bool kicked;			/* begins with the kick */
	char *user, *password;		/* wiped */
};

struct smtp_client {
	LIST_ENTRY(smtp_client) quit_link;	/* in CL_QUIT: nobody else holds it */
	bool in_quits;
	struct event_base *base;
	struct net_conn *conn;		/* NULL once gone for good */
	const struct smtp_client_ops *ops;	/* not looked at in CL_QUIT and CL_DEAD */
	void *owner;
	enum client_state state;
	enum smtp_client_tls tls_mode;
	struct smtp_timers timers;
	char *helo;
	struct tls_client *tls_ctx;
	struct tls_want want;		/* deep copy */
	struct smtp_client_info info;
	struct smtp_reply_parser parser;
	struct txn txn;
	struct login login;
	unsigned depth;
	bool freed;
	bool polite;			/* DEAD with a QUIT on its way: finish, do not cut */
	struct event kick;		/* what smtp_client_send and _feed put off */
	bool cut;			/* kick: cannot go on, content or memory is missing */
	bool refuse;			/* kick: the transaction ends before MAIL */
};

/* client.c */
void client_end(struct smtp_client *c, enum smtp_client_end why, int code, const char *status,
    const char *text);
void client_protocol(struct smtp_client *c, const char *text);
/* Writes a command; nothing may have come in unasked. False when the connection ended. */
bool client_command(struct smtp_client *c, int64_t ms, struct slice line);
void client_ready(struct smtp_client *c);
void client_kick(struct smtp_client *c);
void client_rset(struct smtp_client *c);

/* client_auth.c */
void auth_reply(struct smtp_client *c, int code, const char *status, struct slice text);
void auth_kicked(struct smtp_client *c);	/* from the kick */
void auth_fini(struct login *l);

/* client_ehlo.c */
void client_read_ehlo(struct smtp_client_info *info, struct slice lines);

/* client_txn.c */
void txn_reply(struct smtp_client *c, int code, const char *status, struct slice text);
void txn_pump(struct smtp_client *c);		/* room for more content */
void txn_input_in_body(struct smtp_client *c, int code, const char *status, struct slice text);
/* The transaction will not go on: `done`, with what is known. `text`: why the connection ended. */
void txn_abort(struct smtp_client *c, enum smtp_client_end why, const char *text);
void txn_refused(struct smtp_client *c);	/* from the kick: `done`, then ready */
void txn_fini(struct txn *x);

#endif
