/* What the files of the server's side share.
 *
 * One session is three things with three lifetimes: the connection's facts (struct smtp_session),
 * the transaction's (struct smtp_tx, emptied only by tx_reset, X-18), and the one question that may
 * be open with the owner. While a question is open nothing is read or parsed.
 *
 *   ST_NEW --session_begin--> ST_HANDSHAKE (implicit TLS) --session_secured--> asked at CONNECT
 *   ST_NEW --session_begin--> asked at CONNECT
 *   CONNECT answered --greet--> ST_GREETED, or --session_shut_out--> ST_REFUSED (M-66)
 *   ST_GREETED, ST_READY ... --hello_go (EHLO, HELO)--> ST_READY
 *   ST_READY --mail_go--> ST_MAIL --rcpt_go--> ST_RCPT --data_go--> ST_DATA or ST_CHUNK
 *   ST_CHUNK --chunk_end--> ST_BDAT --chunk_begin--> ST_CHUNK; a refused chunk is swallowed in
 *       ST_CHUNK too and goes back to where it came from
 *   ST_DATA, ST_CHUNK --message_end--> ST_END --message_go, message_no--> ST_READY
 *   ST_MAIL, ST_RCPT, ST_BDAT --tx_reset (RSET, EHLO)--> ST_READY
 *   ST_GREETED, ST_READY --starttls_proceed--> ST_HANDSHAKE --session_secured--> ST_GREETED
 *   any --session_end--> ST_GONE */
#ifndef SMTP_SMTP_INT_H
#define SMTP_SMTP_INT_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/hash.h"
#include "smtp/smtp.h"

#define LINE_MAX_OCTETS 2048u		/* 512 and every extension's increment fit (M-05) */
#define LINE_CUT_OCTETS (64u * 1024)	/* of one line that never ends */
#define OUT_MAX_BYTES (256u * 1024)	/* replies collected before they are written */
#define OUT_FLUSH_BYTES (16u * 1024)
#define QUESTION_MS 300000		/* the owner's answer; its own budgets are far below */
#define SWALLOW_MIN (16u << 20)		/* octets of refused chunks that are read away (M-112) */
#define OVERSHOOT_MAX 1000u		/* RCPT after the 452 4.5.3 */

enum smtp_state {
	ST_NEW, ST_HANDSHAKE, ST_REFUSED, ST_GREETED, ST_READY, ST_MAIL, ST_RCPT, ST_DATA, ST_CHUNK,
	ST_BDAT, ST_END, ST_GONE
};
#define IN(st) (1u << (st))

/* Where a DATA stream stands (data.c). */
struct smtp_data {
	enum { DATA_LINE_START, DATA_TEXT, DATA_CR, DATA_DOT, DATA_DOT_CR } at;
};
void smtp_data_init(struct smtp_data *d);
/* Reads up to and including CRLF.CRLF; gives what lies before it, without dot-stuffing and with
 * the CRLF in front of the dot, to `sink` in pieces. Returns the octets used; *done_out tells
 * whether the end was among them. */
size_t smtp_data_feed(struct smtp_data *d, struct slice in,
    void (*sink)(void *arg, const char *p, size_t n), void *arg, bool *done_out);

struct smtp_tx {
	struct msg *msg;		/* one reference; NULL without a transaction */
	struct message_writer *writer;	/* from DATA or the first BDAT on */
	struct smtp_data split;
	uint64_t octets;		/* of content, kept or not */
	unsigned overshoot;		/* recipients refused for their number */
	bool is_open;			/* MAIL got its GO: the owner hears of the end */
	bool is_bdat;			/* content comes in chunks */
	bool wants_header, header_asked;
	bool at_end;			/* HEADER was asked when all content was there */
	char *refusal;			/* at HEADER: the reply to the end of data, without CRLF; the body is
					 * read away */
	bool is_spoiled;		/* a chunk was refused: only RSET or EHLO helps (RFC 3030 2) */
};

/* One BDAT chunk under way. */
struct smtp_chunk {
	uint64_t left;
	bool last;
	enum smtp_state back;		/* where to go after a swallowed chunk */
	char *reply;			/* swallow: the reply after it, without CRLF; NULL: content */
};

struct smtp_session;

/* A question to the owner and what its answer leads to. `go` may replace the transaction or end
 * the session; `no` undoes what was prepared and replies. */
struct smtp_step {
	enum smtp_stage stage;
	void (*go)(struct smtp_session *s, const struct smtp_verdict *v);
	void (*no)(struct smtp_session *s, const struct smtp_verdict *v);
};

/* What a verb's check made of its arguments; lives while the command runs. */
struct smtp_args {
	struct slice text;		/* behind the verb, white space at the end cut */
	struct smtp_path path;
	struct smtp_mail_params mail;
	struct smtp_rcpt_params rcpt;
	uint64_t chunk;
	bool last;
};
enum smtp_verb_flags {
	V_CLEAR = 1,	/* also where TLS is required and not yet up (530 5.7.0 otherwise) */
	V_LAST = 2,	/* ends a pipelined group: its reply is not held back (M-96) */
	V_JUNK = 4,	/* does no work: counted, and too many end the session */
	V_OWN_ORDER = 8,	/* checks its place itself (BDAT has octets to swallow) */
	V_ALONE = 16,	/* nothing may have been sent behind it yet */
};
struct smtp_verb {
	const char *name;
	unsigned states, flags;
	/* Parses and judges, changes nothing; false after a reply. NULL: nothing to check. */
	bool (*check)(struct smtp_session *s, struct smtp_args *a);
	void (*proceed)(struct smtp_session *s, struct smtp_args *a);
};

struct smtp_server {
	struct event_base *base;
	unsigned who;
	struct smtp_session *sessions;	/* uthash, by info.id */
	struct smtp_session *turn;	/* to begin or to reclaim on the loop's next turn */
	struct event *turn_event;
	bool is_draining;
	int64_t hurry_ms;		/* 0: no stress */
	int (*scarce)(void *owner, size_t holds);	/* NULL: memory is no concern */
	void *scarce_owner;
};

struct smtp_session {
	UT_hash_handle hh;
	struct smtp_server *server;
	struct smtp_session *next_turn;
	bool in_turn;
	struct net_conn *conn;		/* NULL once gone */
	const struct smtp_server_conf *conf;
	const struct smtp_session_ops *ops;
	void *owner, *data;
	struct smtp_session_info info;
	struct net_addr peer, local;	/* what info points to */
	enum smtp_state state;
	unsigned offered;		/* SMTP_EXT_* of the newest EHLO reply */
	struct buf out;			/* replies not yet written */
	char *pending_helo;		/* asked about */
	bool pending_esmtp;
	unsigned auth_mech;		/* AUTH: whose response is to come; 0: none */
	struct smtp_cred cred;		/* asked about; points into secret */
	char *secret;
	size_t secret_size;
	unsigned auth_failures;
	char *refusal;			/* ST_REFUSED: said to everything but QUIT; NULL: 503 (M-66) */

	const struct smtp_step *question;	/* open, or NULL */
	uint32_t ticket;		/* of the question */
	bool in_ask;			/* the owner is being called */
	struct smtp_verdict *early;	/* it answered by smtp_session_verdict during that call */

	struct smtp_tx tx;
	struct smtp_chunk chunk;
	unsigned strikes, junk;		/* since the last accepted message */
	unsigned hellos;
	size_t skipped;			/* octets of an over-long line; 0: not in one */
	bool skip_after_cr;
	bool is_draining;		/* this one; as of the server's */
	bool is_lost;			/* a reply could not be kept: no way to go on */
	bool is_running, is_blocked, is_paused, is_urgent;
	/* the one timer; lazily moved: it may fire before due_ms */
	struct event timer;
	int64_t due_ms, armed_ms, ends_ms;	/* mono; 0 none */
	int64_t held_ms;		/* after errors: nothing is read or said before; 0 none */
	uint64_t window_octets;		/* of the present rate window */
};

/* session.c: life, questions, time */
struct smtp_session *session_find(struct smtp_server *srv, uint64_t id);
void session_begin(struct smtp_session *s);
void session_reclaim(struct smtp_session *s);
void session_state(struct smtp_session *s, enum smtp_state to);	/* the only one that sets it */
void session_ask(struct smtp_session *s, const struct smtp_step *step, struct slice helo);
void session_run(struct smtp_session *s);		/* parses what is there; may end s */
void session_timeout(struct smtp_session *s);		/* the timer fired */
void session_restart_timer(struct smtp_session *s);
void session_hurry(struct smtp_session *s);		/* stress began while it waits */
void session_greet(struct smtp_session *s);
/* No service for this client: `text` is said to all but QUIT, NULL says 503. */
void session_shut_out(struct smtp_session *s, const char *text);
void session_secured(struct smtp_session *s);		/* a handshake is done */
void session_end(struct smtp_session *s, const char *why);	/* at once; owner is told */
void session_end_politely(struct smtp_session *s, const char *why);	/* what was said still goes out */
/* 421 with `status` and text where it can be said, then the end. */
void session_bye(struct smtp_session *s, const char *status, const char *text);
void tx_reset(struct smtp_session *s);
void server_next_turn(struct smtp_session *s);
int server_scarce(const struct smtp_server *srv, size_t holds);

/* reply_out.c: what goes to the client */
/* A reply line without CRLF, a string of ours; counts what is an error. */
void say(struct smtp_session *s, const char *line);
void sayf(struct smtp_session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void say_reply(struct smtp_session *s, const struct smtp_reply *r);
/* The owner's refusal, or what stands for it when it is none (451 4.3.0, I5). */
void say_refusal(struct smtp_session *s, const struct smtp_verdict *v);
void verdict_reply(struct smtp_reply *r, const struct smtp_verdict *v);
void verdict_refusal(struct smtp_reply *r, const struct smtp_verdict *v);
void session_flush(struct smtp_session *s);

/* command.c: lines and verbs */
bool command_step(struct smtp_session *s);	/* false: needs more input */

/* cmd_*.c */
extern const struct smtp_step hello_step, auth_step, mail_step, rcpt_step, data_step, header_step, message_step;
bool hello_check(struct smtp_session *s, struct smtp_args *a);
void ehlo_proceed(struct smtp_session *s, struct smtp_args *a);
void helo_proceed(struct smtp_session *s, struct smtp_args *a);
bool auth_check(struct smtp_session *s, struct smtp_args *a);
void auth_proceed(struct smtp_session *s, struct smtp_args *a);
void auth_response(struct smtp_session *s, struct slice text);	/* a line while auth_mech is set */
void auth_too_long(struct smtp_session *s);
void auth_forget(struct smtp_session *s);		/* what the exchange left */
unsigned auth_usable(const struct smtp_session *s);	/* SMTP_AUTH_* */
void auth_say_ehlo(const struct smtp_session *s, struct buf *out);
bool starttls_check(struct smtp_session *s, struct smtp_args *a);
void starttls_proceed(struct smtp_session *s, struct smtp_args *a);
unsigned session_offers(const struct smtp_session *s);
/* MAIL and RCPT: the word ("FROM:"), the path into a->path, the parameters' text. */
bool path_check(struct smtp_session *s, struct smtp_args *a, const char *word, const char *status,
    struct slice *params_out);
bool utf8_check(struct smtp_session *s, const struct smtp_path *path, bool smtputf8);
bool mail_check(struct smtp_session *s, struct smtp_args *a);
void mail_proceed(struct smtp_session *s, struct smtp_args *a);
bool rcpt_check(struct smtp_session *s, struct smtp_args *a);
void rcpt_proceed(struct smtp_session *s, struct smtp_args *a);
void data_proceed(struct smtp_session *s, struct smtp_args *a);
void data_open(struct smtp_session *s);		/* makes the writer */
bool data_step_input(struct smtp_session *s);	/* ST_DATA reads */
bool content_has_memory(struct smtp_session *s);	/* false: the session has ended */
void session_too_big(struct smtp_session *s);	/* 552, and the end */
void message_end(struct smtp_session *s);
/* Content came in: true when the owner is asked about the header now, and `at_end` is then carried out
 * by its answer. */
bool header_ask(struct smtp_session *s, bool at_end);
/* A refusal as say() wants it; heap. */
char *refusal_text(const struct smtp_verdict *v);
bool bdat_check(struct smtp_session *s, struct smtp_args *a);
void bdat_proceed(struct smtp_session *s, struct smtp_args *a);
void chunk_begin(struct smtp_session *s);	/* after the owner's GO at DATA */
void chunk_refuse_by(struct smtp_session *s, const struct smtp_verdict *v);	/* or its no */
bool chunk_step_input(struct smtp_session *s);	/* ST_CHUNK reads */
/* The reply for content that is not as it must be; NULL when it is fine. */
const char *content_error(struct smtp_session *s);
void rset_proceed(struct smtp_session *s, struct smtp_args *a);
void noop_proceed(struct smtp_session *s, struct smtp_args *a);
void quit_proceed(struct smtp_session *s, struct smtp_args *a);
void help_proceed(struct smtp_session *s, struct smtp_args *a);
bool vrfy_check(struct smtp_session *s, struct smtp_args *a);
void vrfy_proceed(struct smtp_session *s, struct smtp_args *a);
bool no_args_check(struct smtp_session *s, struct smtp_args *a);

#endif
