/* A whole session over a socket pair, with a made-up owner. Each transcript is played four times:
 * at once and octet by octet, with an owner that answers now and one that answers later; replies
 * and accepted messages must be the same. */
#include "unit.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "smtp/smtp_int.h"

#define HOUR 3600000

struct rig {
	struct event_base *base;
	struct smtp_server *server;
	struct smtp_server_conf conf;
	uint64_t id;
	int fd;			/* the client's end */
	SSL *ssl;		/* the client's, after STARTTLS */
	struct buf got;		/* what the client has read */
	struct buf mail;	/* accepted messages as text */
	struct buf calls;	/* the owner's calls: "cancelled reset closed" */
	bool later, ended, at_end;
	/* the open question, when `later` */
	uint32_t ticket;
	struct smtp_verdict verdict;
	bool has_question;
	enum smtp_stage stage;
	unsigned asked;
	bool early;		/* answers through smtp_session_verdict during the call */
	unsigned hide_ext;
	enum smtp_do tls_answer, connect_answer;
};

static char log_text[65536];

static void
on_log(void *arg, const char *line)
{
	(void)arg;
	if (strlen(log_text) + strlen(line) + 2 < sizeof log_text) {
		strcat(log_text, line);
		strcat(log_text, "\n");
	}
}

/* ---- The owner: judges by name, so that transcripts say what happens. ---- */
static void
add_message(struct rig *r, const struct msg *m)
{
	buf_printf(&r->mail, "from=%s", m->from);
	for (size_t i = 0; i < m->nrcpts; i++)
		buf_printf(&r->mail, " to=%s", m->rcpts[i].address);
	if (m->flags & MSG_REQUIRETLS)
		buf_adds(&r->mail, " requiretls");
	if (m->flags & MSG_SMTPUTF8)
		buf_adds(&r->mail, " smtputf8");
	if (m->envid != NULL)
		buf_printf(&r->mail, " envid=%s", m->envid);
	ck_assert_ptr_nonnull(m->content);
	ck_assert(m->content->mem != NULL || m->content->size == 0);
	ck_assert_uint_eq(m->content_size, m->content->size);
	ck_assert_uint_eq(m->header_size, m->content->header_size);
	ck_assert_ptr_nonnull(m->trace);
	ck_assert_ptr_nonnull(strstr(m->trace, "Received:"));
	ck_assert_str_eq(m->peer_ip, "192.0.2.7");
	ck_assert_ptr_nonnull(m->helo);
	ck_assert_uint_eq(m->session, r->id);
	ck_assert(m->id != 0 && m->received_ms != 0);
	/* One recipient is named in the trace field, several are not (M-181). */
	ck_assert(m->nrcpts == 0 ||
	    (strstr(m->trace, m->rcpts[0].address) != NULL) == (m->nrcpts == 1));
	buf_adds(&r->mail, "\n");
	buf_add(&r->mail, m->content->mem, m->content->size);
	buf_adds(&r->mail, "--\n");
}

static void
refuse(struct smtp_verdict *v, const char *who, size_t n)
{
	v->what = SMTP_GO;
	v->reply.code = 0;
	if (n >= 3 && strncmp(who, "no-", 3) == 0) {
		v->what = SMTP_REFUSE;
		smtp_reply_set(&v->reply, 550, "5.7.1", "Not wanted");
	} else if (n >= 6 && strncmp(who, "defer-", 6) == 0) {
		v->what = SMTP_REFUSE;
		smtp_reply_set(&v->reply, 451, "4.7.1", "Later");
	} else if (n >= 5 && strncmp(who, "drop-", 5) == 0) {
		v->what = SMTP_DROP;
		smtp_reply_set(&v->reply, 421, "4.7.0", "Go away");
	} else if (n >= 5 && strncmp(who, "lazy-", 5) == 0) {
		v->what = SMTP_REFUSE;	/* and no reply */
	}
}

static enum smtp_ask
on_ask(void *owner, uint64_t id, uint32_t ticket, const struct smtp_question *q,
    struct smtp_verdict *v)
{
	struct rig *r = owner;
	struct smtp_verdict answer = { .what = SMTP_GO, .hide_ext = 0 };
	const struct msg *m = q->msg;

	ck_assert_uint_eq(id, r->id);
	ck_assert_uint_eq(q->info->id, id);
	ck_assert(!r->ended && !r->has_question);
	ck_assert((m != NULL) == (q->stage >= SMTP_ASK_MAIL));
	r->asked++;
	r->stage = q->stage;
	if (q->stage == SMTP_ASK_CONNECT && r->connect_answer != SMTP_GO) {
		answer.what = r->connect_answer;
		smtp_reply_set(&answer.reply, 554, "5.7.1", "No service for you");
	} else if (q->stage == SMTP_ASK_TLS && r->tls_answer != SMTP_GO) {
		answer.what = r->tls_answer;
		smtp_reply_set(&answer.reply, 554, "5.7.1", "Certificate needed");
	} else if (q->stage == SMTP_ASK_HELO) {
		refuse(&answer, q->helo.p, q->helo.n);
		answer.hide_ext = r->hide_ext;
	} else if (q->stage == SMTP_ASK_MAIL) {
		refuse(&answer, m->from, strlen(m->from));
	} else if (q->stage == SMTP_ASK_RCPT) {
		const char *to = m->rcpts[m->nrcpts - 1].address;

		refuse(&answer, to, strlen(to));
	} else if (q->stage == SMTP_ASK_DATA && strncmp(m->from, "data-", 5) == 0) {
		refuse(&answer, m->from + 5, strlen(m->from + 5));
	} else if (q->stage == SMTP_ASK_MESSAGE) {
		if (strncmp(m->from, "end-", 4) == 0)
			refuse(&answer, m->from + 4, strlen(m->from + 4));
		else if (strncmp(m->from, "own-", 4) == 0)
			smtp_reply_set(&answer.reply, 250, "2.0.0", "Held");
		if (answer.what == SMTP_GO)
			add_message(r, m);
	}
	if (!r->later) {
		*v = answer;
		return SMTP_NOW;
	}
	if (r->early) {
		smtp_session_verdict(r->server, id, ticket, &answer);
		return SMTP_LATER;
	}
	r->verdict = answer;
	r->ticket = ticket;
	r->has_question = true;
	return SMTP_LATER;
}

static void
on_cancelled(void *owner, uint64_t id, uint32_t ticket)
{
	struct rig *r = owner;

	ck_assert(r->has_question);
	ck_assert_uint_eq(ticket, r->ticket);
	r->has_question = false;
	buf_adds(&r->calls, "cancelled ");
}

static void
on_reset(void *owner, uint64_t id)
{
	struct rig *r = owner;

	buf_adds(&r->calls, "reset ");
}

static void
on_closed(void *owner, uint64_t id, const char *why)
{
	struct rig *r = owner;

	ck_assert(!r->ended);	/* told once */
	ck_assert(why[0] != '\0');
	r->ended = true;
	buf_adds(&r->calls, "closed");
}

static const struct smtp_session_ops ops = { on_ask, on_cancelled, on_reset, on_closed };

/* ---- The rig ---- */
static void
rig_init(struct rig *r)
{
	memset(r, 0, sizeof *r);
	r->base = event_base_new();
	r->server = smtp_server_new(r->base, 1);
	r->conf = (struct smtp_server_conf){
		.hostname = "mx.example", .listener = "test", .max_size = 1000, .max_rcpts = 3,
		.max_errors = 20, .max_junk = 100, .command_ms = 300000, .handshake_ms = 30000,
		.session_ms = HOUR, .data_ms = 60000, .data_rate = 100, .spool_dir = ".", .max_received = 100,
	};
	buf_init(&r->got, 4 << 20);
	buf_init(&r->mail, 1 << 20);
	buf_init(&r->calls, 1 << 16);
	r->fd = -1;
}

static void
rig_open(struct rig *r)
{
	const uint8_t ip[4] = { 192, 0, 2, 7 };
	struct net_addr peer;
	struct err err = { "" };
	int pair[2];

	log_capture(on_log, NULL);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	net_addr_set(&peer, AF_INET, ip, 1234);
	r->fd = pair[0];
	r->id = smtp_session_new(r->server, pair[1], &peer, &r->conf, &ops, r, &err);
	ck_assert_msg(r->id != 0, "%s", err.text);
	ck_assert_uint_eq(r->asked, 0);	/* nothing is called back before it returns */
}

/* What there is to read; true when something came. */
static bool
client_read(struct rig *r)
{
	bool any = false;
	char octets[8192];
	ssize_t n;

	for (;;) {
		if (r->ssl != NULL && SSL_is_init_finished(r->ssl))
			n = SSL_read(r->ssl, octets, sizeof octets);
		else if (r->ssl != NULL)
			return any;
		else
			n = read(r->fd, octets, sizeof octets);
		if (n == 0)
			r->at_end = true;
		if (n <= 0)
			return any;
		ck_assert(buf_add(&r->got, octets, (size_t)n));
		any = true;
	}
}

/* Turns the loop until nothing happens any more; answers open questions. */
static void
settle(struct rig *r, bool answer)
{
	for (int quiet = 0, turns = 0; quiet < 3 && turns < 100000; turns++) {
		unsigned asked = r->asked;

		event_base_loop(r->base, EVLOOP_NONBLOCK);
		quiet = client_read(r) || r->asked != asked ? 0 : quiet + 1;
		if (answer && r->has_question) {
			r->has_question = false;
			/* A wrong ticket changes nothing. */
			smtp_session_verdict(r->server, r->id, r->ticket + 1, &r->verdict);
			smtp_session_verdict(r->server, r->id + 1, r->ticket, &r->verdict);
			smtp_session_verdict(r->server, r->id, r->ticket, &r->verdict);
			quiet = 0;
		}
	}
}

static void
client_send(struct rig *r, struct slice in, bool answer)
{
	while (in.n > 0) {
		ssize_t n = r->ssl != NULL ? SSL_write(r->ssl, in.p, (int)in.n) :
		    send(r->fd, in.p, in.n, MSG_NOSIGNAL);

		if (n > 0)
			in.p += n, in.n -= (size_t)n;
		else if (r->ssl == NULL && errno != EAGAIN)
			break;		/* closed: what is missing shows in the replies */
		settle(r, answer);
		if (r->ended)
			break;
	}
	settle(r, answer);
}

static void
send_octets(struct rig *r, struct slice in)
{
	for (size_t i = 0; i < in.n && !r->ended; i++) {
		if (send(r->fd, in.p + i, 1, MSG_NOSIGNAL) != 1)
			break;
		event_base_loop(r->base, EVLOOP_NONBLOCK);
		if (r->has_question || in.p[i] == '\n')
			settle(r, true);
	}
	settle(r, true);
}

static void
rig_fini(struct rig *r)
{
	if (r->ssl != NULL)
		SSL_free(r->ssl);
	r->ssl = NULL;
	close(r->fd);
	if (!r->ended)
		settle(r, true);
	smtp_server_free(r->server);
	ck_assert(r->ended);
	/* Every path lets go of all: messages, writers, sessions (the sanitizer looks, too). */
	event_base_loop(r->base, EVLOOP_NONBLOCK);
	event_base_free(r->base);
	buf_fini(&r->got);
	buf_fini(&r->mail);
	buf_fini(&r->calls);
	log_capture(NULL, NULL);
	ck_assert_msg(strstr(log_text, " error ") == NULL && strstr(log_text, " warning ") == NULL,
	    "unexpected log: %s", log_text);
	log_text[0] = '\0';
}

/* The replies as text, queue numbers blotted out. */
static char *
replies(struct rig *r)
{
	char *text = slice_dup(buf_slice(&r->got)), *at = text;

	while ((at = strstr(at, "queued as ")) != NULL) {
		at += strlen("queued as ");
		for (int i = 0; i < 13 && at[i] != '\0' && at[i] != '\r'; i++)
			at[i] = 'Q';
	}
	return text;
}

#define GREETING "220 mx.example ESMTP\r\n"
#define EHLO_IN "EHLO c.example\r\n"
#define EHLO_OUT \
	"250-mx.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n" \
	"250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-SIZE 1000\r\n250 LIMITS RCPTMAX=3\r\n"
#define ENVELOPE "MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\n"
#define OK_MAIL "250 2.1.0 Ok\r\n"
#define OK_RCPT "250 2.1.5 Ok\r\n"
#define GO "354 End with CR LF . CR LF\r\n"
#define QUEUED "250 2.0.0 Ok: queued as QQQQQQQQQQQQQ\r\n"
#define BYE "221 2.0.0 mx.example Bye\r\n"
#define OPEN EHLO_IN ENVELOPE
#define OPENED EHLO_OUT OK_MAIL OK_RCPT
#define X10 "xxxxxxxxxx"
#define X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10
#define X1000 X100 X100 X100 X100 X100 X100 X100 X100 X100 X100
#define TOO_LONG "500 5.5.2 Line too long\r\n"

static const struct transcript {
	const char *name;
	struct slice in;
	const char *out;	/* after the greeting */
	const char *mail;
	const char *calls;	/* of the owner, when given */
	bool ends;		/* the session is over */
} transcripts[] = {
	{ "one message", SLICE(OPEN "DATA\r\nSubject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n"),
	    OPENED GO QUEUED BYE, "from=a@a.example to=b@b.example\nSubject: x\r\n\r\nhello\r\n--\n",
	    "closed", true },
	{ "two messages, two recipients", SLICE(EHLO_IN
	    "MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nRCPT TO:<c@b.example>\r\nDATA\r\nx\r\n.\r\n"
	    "MAIL FROM:<>\r\nRCPT TO:<postmaster>\r\nDATA\r\n..y\r\n.\r\n"),
	    EHLO_OUT OK_MAIL OK_RCPT OK_RCPT GO QUEUED OK_MAIL OK_RCPT GO QUEUED,
	    "from=a@a.example to=b@b.example to=c@b.example\nx\r\n--\nfrom= to=postmaster\n.y\r\n--\n", "",
	    false },
	{ "lower case, spaces at the end (M-56, M-58)",
	    SLICE("ehlo c.example  \r\nmail from:<a@a.example> \r\nrcpt to:<B@b.example>\r\n"
	    "data\r\nx\r\n.\r\nquit\r\n"), OPENED GO QUEUED BYE,
	    "from=a@a.example to=B@b.example\nx\r\n--\n", "closed", true },
	{ "HELO", SLICE("HELO c.example\r\n" ENVELOPE "DATA\r\nx\r\n.\r\n"),
	    "250 mx.example\r\n" OK_MAIL OK_RCPT GO QUEUED, "from=a@a.example to=b@b.example\nx\r\n--\n",
	    "", false },
	{ "EHLO names", SLICE("EHLO\r\nEHLO a b\r\nEHLO a\"b\r\nEHLO \xC3\xBC.example\r\nEHLO [192.0.2.1]\r\n"),
	    "501 5.5.4 A host name or address literal is needed\r\n"
	    "501 5.5.4 A host name or address literal is needed\r\n"
	    "501 5.5.4 A host name or address literal is needed\r\n"
	    "501 5.5.4 A host name or address literal is needed\r\n" EHLO_OUT, "", "", false },
	{ "a failed EHLO keeps all (M-52)", SLICE(OPEN "EHLO no-thanks\r\nEHLO\r\nDATA\r\nx\r\n.\r\n"),
	    OPENED "550 5.7.1 Not wanted\r\n501 5.5.4 A host name or address literal is needed\r\n" GO QUEUED,
	    "from=a@a.example to=b@b.example\nx\r\n--\n", "", false },
	{ "a second EHLO resets (M-52)", SLICE(OPEN EHLO_IN "RCPT TO:<b@b.example>\r\n"),
	    OPENED EHLO_OUT "503 5.5.1 Send MAIL first\r\n", "", "reset ", false },
	{ "order (M-51, M-55)", SLICE("MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\nRSET\r\n"
	    "NOOP\r\nVRFY x\r\nEXPN x\r\nHELP\r\n" EHLO_IN "RCPT TO:<b@b.example>\r\nDATA\r\n"
	    "MAIL FROM:<a@a.example>\r\nMAIL FROM:<a@a.example>\r\nDATA\r\n"),
	    "503 5.5.1 Send EHLO first\r\n503 5.5.1 Send EHLO first\r\n503 5.5.1 Send EHLO first\r\n"
	    "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n252 2.0.0 Send mail and see\r\n"
	    "252 2.0.0 Send mail and see\r\n214 2.0.0 See RFC 5321\r\n" EHLO_OUT
	    "503 5.5.1 Send MAIL first\r\n503 5.5.1 Send MAIL first\r\n" OK_MAIL
	    "503 5.5.1 A sender was given already\r\n554 5.5.1 No valid recipients\r\n", "", "", false },
	{ "bad arguments change nothing (M-55)", SLICE(EHLO_IN "MAIL FROM:a@a.example\r\n"
	    "MAIL FROM: <a@a.example>\r\nMAIL <a@a.example>\r\nMAIL FROM:<a@a.example>X\r\n"
	    "MAIL FROM:<a>\r\nMAIL FROM:<a@a.example> FOO\r\nMAIL FROM:<a@a.example>\r\n"
	    "RCPT TO:<>\r\nRCPT TO:<b@b.example> REQUIRETLS\r\nRCPT TO:b\r\nRCPT TO:<b@b.example>\r\n"
	    "DATA x\r\nRSET x\r\nDATA\r\nx\r\n.\r\n"),
	    EHLO_OUT "501 5.1.7 Bad address: the address must stand in angle brackets\r\n"
	    "501 5.1.7 Bad address: the address must stand in angle brackets\r\n"
	    "501 5.5.4 Expected FROM:<address>\r\n501 5.1.7 Bad address: a space must follow it\r\n"
	    "501 5.1.7 Bad address: the domain is missing\r\n"
	    "555 5.5.4 Parameter not recognised: FOO\r\n" OK_MAIL
	    "501 5.1.3 Bad address: the null path takes no mail\r\n"
	    "555 5.5.4 Parameter not recognised: REQUIRETLS\r\n"
	    "501 5.1.3 Bad address: the address must stand in angle brackets\r\n" OK_RCPT
	    "501 5.5.4 No arguments are allowed here\r\n501 5.5.4 No arguments are allowed here\r\n" GO QUEUED,
	    "from=a@a.example to=b@b.example\nx\r\n--\n", "", false },
	{ "refused recipients are gone", SLICE(EHLO_IN "MAIL FROM:<a@a.example>\r\nRCPT TO:<no-1@b.example>\r\n"
	    "DATA\r\nRCPT TO:<b@b.example>\r\nRCPT TO:<defer-2@b.example>\r\nRCPT TO:<lazy-3@b.example>\r\n"
	    "RCPT TO:<c@b.example>\r\nDATA\r\nx\r\n.\r\n"),
	    EHLO_OUT OK_MAIL "550 5.7.1 Not wanted\r\n554 5.5.1 No valid recipients\r\n" OK_RCPT
	    "451 4.7.1 Later\r\n451 4.3.0 Temporary trouble here, try again later\r\n" OK_RCPT GO QUEUED,
	    "from=a@a.example to=b@b.example to=c@b.example\nx\r\n--\n", "", false },
	{ "refused senders", SLICE(EHLO_IN "MAIL FROM:<no-1@a.example>\r\nRCPT TO:<b@b.example>\r\n"
	    "MAIL FROM:<defer-1@a.example>\r\n" ENVELOPE "DATA\r\nx\r\n.\r\n"),
	    EHLO_OUT "550 5.7.1 Not wanted\r\n503 5.5.1 Send MAIL first\r\n451 4.7.1 Later\r\n" OK_MAIL OK_RCPT
	    GO QUEUED, "from=a@a.example to=b@b.example\nx\r\n--\n", "", false },
	{ "dropped", SLICE(EHLO_IN "MAIL FROM:<a@a.example>\r\nRCPT TO:<drop-1@b.example>\r\nNOOP\r\n"),
	    EHLO_OUT OK_MAIL "421 4.7.0 Go away\r\n", "", "reset closed", true },
	{ "too many recipients (M-10)", SLICE(OPEN "RCPT TO:<c@b.example>\r\nRCPT TO:<d@b.example>\r\n"
	    "RCPT TO:<e@b.example>\r\nDATA\r\nx\r\n.\r\n"),
	    OPENED OK_RCPT OK_RCPT "452 4.5.3 Too many recipients\r\n" GO QUEUED,
	    "from=a@a.example to=b@b.example to=c@b.example to=d@b.example\nx\r\n--\n", "", false },
	{ "DATA refused, then RSET", SLICE(EHLO_IN "MAIL FROM:<data-no-1@a.example>\r\nRCPT TO:<b@b.example>\r\n"
	    "DATA\r\nRSET\r\nRSET\r\n"),
	    EHLO_OUT OK_MAIL OK_RCPT "550 5.7.1 Not wanted\r\n250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n", "",
	    "reset ", false },
	{ "message refused", SLICE(EHLO_IN "MAIL FROM:<end-no-1@a.example>\r\nRCPT TO:<b@b.example>\r\n"
	    "DATA\r\nx\r\n.\r\nDATA\r\n" ENVELOPE "DATA\r\ny\r\n.\r\n"),
	    EHLO_OUT OK_MAIL OK_RCPT GO "550 5.7.1 Not wanted\r\n503 5.5.1 Send MAIL first\r\n"
	    OK_MAIL OK_RCPT GO QUEUED, "from=a@a.example to=b@b.example\ny\r\n--\n", "reset ", false },
	{ "the owner's own 250", SLICE(EHLO_IN "MAIL FROM:<own-1@a.example>\r\nRCPT TO:<b@b.example>\r\n"
	    "DATA\r\nx\r\n.\r\n"), EHLO_OUT OK_MAIL OK_RCPT GO "250 2.0.0 Held\r\n",
	    "from=own-1@a.example to=b@b.example\nx\r\n--\n", "", false },
	{ "SIZE (M-105, M-106)", SLICE(EHLO_IN "MAIL FROM:<a@a.example> SIZE=1001\r\n"
	    "MAIL FROM:<a@a.example> SIZE=99999999999999999999\r\nMAIL FROM:<a@a.example> SIZE=1000\r\n"),
	    EHLO_OUT "552 5.3.4 Message too big\r\n552 5.3.4 Message too big\r\n" OK_MAIL, "", "", false },
	{ "too big is said at the dot (X-23)", SLICE(OPEN "DATA\r\n" X1000 "\r\n.\r\nNOOP\r\n"),
	    OPENED GO "552 5.3.4 Message too big\r\n250 2.0.0 Ok\r\n", "", "reset ", false },
	{ "more than twice too big (X-23)", SLICE(OPEN "DATA\r\n" X1000 X1000 "\r\n.\r\nNOOP\r\n"),
	    OPENED GO "552 5.3.4 Message too big\r\n", "", "reset closed", true },
	{ "bare LF in content (M-33)", SLICE(OPEN "DATA\r\na\nb\r\n.\r\n" ENVELOPE),
	    OPENED GO "550 5.6.0 Message has CR or LF alone, lines end in CR LF\r\n" OK_MAIL OK_RCPT, "",
	    "reset ", false },
	{ "smuggled command stays text (X-1)",
	    SLICE(OPEN "DATA\r\na\n.\r\nMAIL FROM:<evil@a.example>\r\n.\r\nNOOP\r\n"),
	    OPENED GO "550 5.6.0 Message has CR or LF alone, lines end in CR LF\r\n250 2.0.0 Ok\r\n", "",
	    "reset ", false },
	{ "NUL in content (X-22)", SLICE(OPEN "DATA\r\na\0b\r\n.\r\n"),
	    OPENED GO "550 5.6.0 Message has NUL octets\r\n", "", "reset ", false },
	{ "NUL in a command (X-13)", SLICE(EHLO_IN "MAIL FROM:<a@a.example>\0 SIZE=1\r\nNOOP\0\r\nNOOP\t\r\n"),
	    EHLO_OUT "500 5.5.2 Control characters in a command\r\n500 5.5.2 Control characters in a command\r\n"
	    "500 5.5.2 Control characters in a command\r\n", "", "", false },
	{ "bare LF in a command (X-14)", SLICE("NOOP\nNOOP\r\n"), "500 5.5.2 Lines end in CR LF\r\n", "",
	    "closed", true },
	{ "bare CR in a command (X-14)", SLICE("NOOP\rNOOP\r\n"), "500 5.5.2 Lines end in CR LF\r\n", "",
	    "closed", true },
	{ "only LF", SLICE("\n"), "500 5.5.2 Lines end in CR LF\r\n", "", "closed", true },
	{ "empty line", SLICE("\r\n NOOP\r\nNOOP\r\n"), "500 5.5.1 Command not recognised\r\n"
	    "500 5.5.1 Command not recognised\r\n250 2.0.0 Ok\r\n", "", "", false },
	{ "line of 2048 (M-04)", SLICE("NOOP " X1000 X1000 X10 X10 X10 X10 "x\r\nNOOP\r\n"),
	    "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n", "", "", false },
	{ "line of 2049", SLICE("NOOP " X1000 X1000 X10 X10 X10 X10 "xx\r\nNOOP\r\n"),
	    TOO_LONG "250 2.0.0 Ok\r\n", "", "", false },
	{ "tail of a long line (X-12)", SLICE("NOOP " X1000 X1000 X100 "\nMAIL FROM:<a@a.example>\n\rQUIT\nx\r\n"
	    "NOOP\r\n"), TOO_LONG "250 2.0.0 Ok\r\n", "", "", false },
	{ "unknown commands (M-63)", SLICE("TURN\r\nREQUIRETLS\r\nNOOPX\r\nAUTHX PLAIN x\r\n"),
	    "500 5.5.1 Command not recognised\r\n500 5.5.1 Command not recognised\r\n"
	    "500 5.5.1 Command not recognised\r\n500 5.5.1 Command not recognised\r\n", "", "", false },
	{ "HTTP (X-8)", SLICE("GET / HTTP/1.1\r\nHost: x\r\n"),
	    "421 4.7.0 mx.example This is not an HTTP server\r\n", "", "closed", true },
	{ "ClientHello (X-28)", SLICE("\x16\x03\x01\x02"),
	    "421 4.7.0 mx.example Plain text first, then STARTTLS\r\n", "", "closed", true },
	{ "no STARTTLS here", SLICE("STARTTLS\r\nSTARTTLS x\r\n"),
	    "502 5.5.1 STARTTLS is not offered\r\n501 5.5.4 STARTTLS takes no argument\r\n", "", "", false },
	{ "REQUIRETLS in clear (R-15)", SLICE(EHLO_IN "MAIL FROM:<a@a.example> REQUIRETLS\r\n"
	    "RCPT TO:<b@b.example>\r\n"),
	    EHLO_OUT "530 5.7.10 REQUIRETLS needs TLS: use STARTTLS first\r\n503 5.5.1 Send MAIL first\r\n", "",
	    "", false },
	{ "SMTPUTF8", SLICE(EHLO_IN "MAIL FROM:<\xC3\xBC@a.example>\r\nMAIL FROM:<\xC3\xBC@a.example> SMTPUTF8\r\n"
	    "RCPT TO:<b@b\xC3\xBC" "cher.example>\r\nDATA\r\nx\r\n.\r\nMAIL FROM:<a@a.example>\r\n"
	    "RCPT TO:<\xC3\xBC@b.example>\r\n"),
	    EHLO_OUT "553 5.6.7 An address outside ASCII needs SMTPUTF8\r\n" OK_MAIL OK_RCPT GO QUEUED OK_MAIL
	    "553 5.6.7 An address outside ASCII needs SMTPUTF8\r\n",
	    "from=\xC3\xBC@a.example to=b@xn--bcher-kva.example smtputf8\nx\r\n--\n", "", false },
	{ "VRFY with UTF-8 (X-18)", SLICE("VRFY \xC3\xBC SMTPUTF8\r\nVRFY\r\n"),
	    "252 2.0.0 Send mail and see\r\n501 5.5.4 An address is needed\r\n", "", "", false },
	/* BDAT */
	{ "BDAT with a bare LF (M-35)", SLICE(OPEN "BDAT 3\r\na\r\nBDAT 5 LAST\r\n.\r\nb\nQUIT\r\n"),
	    OPENED "250 2.0.0 Chunk received\r\n550 5.6.0 Message has CR or LF alone, lines end in CR LF\r\n" BYE,
	    "", "reset closed", true },
	{ "BDAT", SLICE(OPEN "BDAT 3\r\na\r\nBDAT 6 LAST\r\n.\r\nb\r\nQUIT\r\n"),
	    OPENED "250 2.0.0 Chunk received\r\n" QUEUED BYE,
	    "from=a@a.example to=b@b.example\na\r\n.\r\nb\r\n--\n", "closed", true },
	{ "BDAT 0 LAST", SLICE(OPEN "BDAT 0 LAST\r\n" OPEN), OPENED QUEUED OPENED,
	    "from=a@a.example to=b@b.example\n--\n", "", false },
	{ "BDAT without a last CRLF (M-39)", SLICE(OPEN "BDAT 1 last\r\nxNOOP\r\n"),
	    OPENED QUEUED "250 2.0.0 Ok\r\n", "from=a@a.example to=b@b.example\nx\r\n--\n", "", false },
	{ "BDAT after LAST, DATA after BDAT (M-111)",
	    SLICE(OPEN "BDAT 3\r\na\r\nDATA\r\nMAIL FROM:<a@a.example>\r\nBDAT 0 LAST\r\nBDAT 4 LAST\r\nQUITNOOP\r\n"),
	    OPENED "250 2.0.0 Chunk received\r\n503 5.5.1 Only BDAT or RSET now\r\n"
	    "503 5.5.1 Only BDAT or RSET now\r\n" QUEUED "503 5.5.1 Send MAIL first\r\n250 2.0.0 Ok\r\n",
	    "from=a@a.example to=b@b.example\na\r\n--\n", "", false },
	{ "refused chunks are swallowed (M-112)", SLICE("BDAT 6\r\nQUIT\r\n" EHLO_IN "BDAT 6 LAST\r\nQUIT\r\n"
	    ENVELOPE "BDAT 6 FIRST\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nRSET\r\n" ENVELOPE "BDAT 3 LAST\r\nx\r\n"),
	    "503 5.5.1 Send EHLO first\r\n" EHLO_OUT "503 5.5.1 Send MAIL first\r\n" OK_MAIL
	    OK_RCPT "501 5.5.4 After the size only LAST may stand\r\n"
	    "503 5.5.1 A chunk was refused, RSET first\r\n250 2.0.0 Ok\r\n" OK_MAIL OK_RCPT QUEUED,
	    "from=a@a.example to=b@b.example\nx\r\n--\n", "reset ", false },
	{ "a chunk before the first recipient spoils the rest (X-18)", SLICE(EHLO_IN "MAIL FROM:<a@a.example>\r\n"
	    "BDAT 6\r\nQUIT\r\nRCPT TO:<b@b.example>\r\nBDAT 3 LAST\r\nx\r\nDATA\r\nEHLO c.example\r\nDATA\r\n"),
	    EHLO_OUT OK_MAIL "554 5.5.1 No valid recipients\r\n503 5.5.1 Only BDAT or RSET now\r\n"
	    "503 5.5.1 A chunk was refused, RSET first\r\n503 5.5.1 Only BDAT or RSET now\r\n" EHLO_OUT
	    "503 5.5.1 Send MAIL first\r\n", "", "reset ", false },
	{ "BDAT with a tab (X-19)", SLICE(OPEN "BDAT\t6\r\nQUIT\r\n"),
	    OPENED "500 5.5.2 Control characters in a command\r\n", "", "reset closed", true },
	{ "BDAT with NUL", SLICE(OPEN "bdat 6 \0\r\nNOOP\r\n"),
	    OPENED "500 5.5.2 Control characters in a command\r\n", "", "reset closed", true },
	{ "BDAT behind a space", SLICE(OPEN " BDAT 6\r\nNOOP\r\n"),
	    OPENED "500 5.5.1 Command not recognised\r\n", "", "reset closed", true },
	{ "a long line that is no BDAT", SLICE(OPEN "BDAT6" X1000 X1000 X100 "\r\nNOOP\r\n"),
	    OPENED TOO_LONG "250 2.0.0 Ok\r\n", "", "", false },
	{ "BDAT in a long line", SLICE(OPEN "BDAT 6 " X1000 X1000 X100 "\r\nNOOP\r\n"),
	    OPENED TOO_LONG, "", "reset closed", true },
	{ "ClientHello with a line in it (X-28)", SLICE("\x16\x03\x01\r\n\r\n"),
	    "421 4.7.0 mx.example Plain text first, then STARTTLS\r\n", "", "closed", true },
	{ "BDAT refused by the owner", SLICE(EHLO_IN "MAIL FROM:<data-no-1@a.example>\r\nRCPT TO:<b@b.example>\r\n"
	    "BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nDATA\r\nRSET\r\n"),
	    EHLO_OUT OK_MAIL OK_RCPT "550 5.7.1 Not wanted\r\n503 5.5.1 A chunk was refused, RSET first\r\n"
	    "503 5.5.1 Only BDAT or RSET now\r\n250 2.0.0 Ok\r\n", "", "reset ", false },
	{ "chunks too big together (X-19)", SLICE(OPEN "BDAT 900\r\n" X100 X100 X100 X100 X100 X100 X100 X100 X100
	    "BDAT 101 LAST\r\n" X100 "xNOOP\r\n"),
	    OPENED "250 2.0.0 Chunk received\r\n552 5.3.4 Message too big\r\n250 2.0.0 Ok\r\n", "", "", false },
	{ "bare LF across chunks (M-35)", SLICE(OPEN "BDAT 3\r\na\r\nBDAT 1\r\n\nBDAT 1 LAST\r\nbRSET\r\n"),
	    OPENED "250 2.0.0 Chunk received\r\n550 5.6.0 Message has CR or LF alone, lines end in CR LF\r\n"
	    "503 5.5.1 A chunk was refused, RSET first\r\n250 2.0.0 Ok\r\n", "", "reset ", false },
	{ "CR LF across chunks", SLICE(OPEN "BDAT 2\r\na\rBDAT 1 LAST\r\n\nNOOP\r\n"),
	    OPENED "250 2.0.0 Chunk received\r\n" QUEUED "250 2.0.0 Ok\r\n",
	    "from=a@a.example to=b@b.example\na\r\n--\n", "", false },
	{ "BDAT 2^64 (M-113)", SLICE(OPEN "BDAT 18446744073709551616\r\nQUIT\r\n"),
	    OPENED "552 5.3.4 Chunk far too big\r\n", "", "reset closed", true },
	{ "BDAT 2^64-1", SLICE(OPEN "BDAT 18446744073709551615 LAST\r\nQUIT\r\n"),
	    OPENED "552 5.3.4 Chunk far too big\r\n", "", "reset closed", true },
	{ "BDAT -1", SLICE(OPEN "BDAT -1 LAST\r\nQUIT\r\n"), OPENED "501 5.5.4 BDAT needs a size\r\n", "",
	    "reset closed", true },
	{ "BDAT alone", SLICE(OPEN "BDAT\r\nNOOP\r\n"), OPENED "501 5.5.4 BDAT needs a size\r\n250 2.0.0 Ok\r\n",
	    "", "", false },
	{ "QUIT in a transaction", SLICE(OPEN "QUIT\r\n"), OPENED BYE, "", "reset closed", true },
	{ "QUIT with an argument", SLICE("QUIT now\r\n"), "501 5.5.4 No arguments are allowed here\r\n", "", "",
	    false },
	{ "DSN parameters", SLICE(EHLO_IN "MAIL FROM:<a@a.example> RET=HDRS ENVID=q AUTH=<>\r\n"
	    "RCPT TO:<b@b.example> NOTIFY=NEVER ORCPT=rfc822;x\r\nDATA\r\nx\r\n.\r\n"), OPENED GO QUEUED,
	    "from=a@a.example to=b@b.example envid=q\nx\r\n--\n", "", false },
};

static void
play(const struct transcript *t, bool by_octets, bool later)
{
	struct rig r;
	char *text, how[64];

	snprintf(how, sizeof how, "%s, %s", by_octets ? "by octets" : "at once", later ? "later" : "now");
	rig_init(&r);
	r.later = later;
	rig_open(&r);
	settle(&r, true);
	if (by_octets)
		send_octets(&r, t->in);
	else
		client_send(&r, t->in, true);
	text = replies(&r);
	ck_assert_msg(strncmp(text, GREETING, strlen(GREETING)) == 0, "%s: %s", t->name, text);
	ck_assert_msg(strcmp(text + strlen(GREETING), t->out) == 0,
	    "%s (%s):\n%s", t->name, how, text);
	ck_assert_msg(slice_is(buf_slice(&r.mail), t->mail), "%s (%s): mail %.*s", t->name,
	    how, (int)r.mail.len, buf_peek(&r.mail));
	ck_assert_msg(t->calls == NULL || slice_is(buf_slice(&r.calls), t->calls), "%s (%s): calls %.*s",
	    t->name, how, (int)r.calls.len, buf_peek(&r.calls));
	ck_assert_msg(r.ended == t->ends && r.at_end == t->ends, "%s (%s): ends", t->name, how);
	ck_assert_uint_eq(smtp_server_sessions(r.server), t->ends ? 0 : 1);
	free(text);
	rig_fini(&r);
}

START_TEST(transcript)
{
	const struct transcript *t = &transcripts[_i / 4];

	play(t, (_i & 1) != 0, (_i & 2) != 0);
}
END_TEST

static void
expect(struct rig *r, const char *out)
{
	char *text = replies(r);

	ck_assert_msg(strcmp(text, out) == 0, "want:\n%s\ngot:\n%s", out, text);
	free(text);
	buf_clear(&r->got);
}

static void
say_and_expect(struct rig *r, const char *in, const char *out)
{
	client_send(r, slice_of(in), true);
	expect(r, out);
}

static void
start(struct rig *r)
{
	rig_open(r);
	settle(r, true);
	expect(r, GREETING);
}

/* ---- Limits ---- */
START_TEST(errors_end_the_session)	/* X-27 */
{
	struct rig r;

	rig_init(&r);
	r.conf.max_errors = 3;
	start(&r);
	say_and_expect(&r, "A\r\nB\r\nC\r\nD\r\nNOOP\r\n", "500 5.5.1 Command not recognised\r\n"
	    "500 5.5.1 Command not recognised\r\n500 5.5.1 Command not recognised\r\n"
	    "421 4.7.0 mx.example Too many errors\r\n");
	ck_assert(r.ended);
	rig_fini(&r);
}
END_TEST

START_TEST(errors_are_forgotten_after_a_message)
{
	struct rig r;

	rig_init(&r);
	r.conf.max_errors = 2;
	start(&r);
	for (int i = 0; i < 3; i++)
		client_send(&r, SLICE("A\r\n" OPEN "DATA\r\nx\r\n.\r\n"), true);
	ck_assert(!r.ended);
	ck_assert_uint_eq(smtp_session_get_info(r.server, r.id)->errors, 3);
	ck_assert_uint_eq(smtp_session_get_info(r.server, r.id)->messages, 3);
	ck_assert_uint_eq(smtp_session_get_info(r.server, r.id)->recipients, 3);
	rig_fini(&r);
}
END_TEST

START_TEST(temporary_refusals_are_no_errors)
{
	struct rig r;

	rig_init(&r);
	r.conf.max_errors = 2;
	start(&r);
	client_send(&r, SLICE(EHLO_IN "MAIL FROM:<a@a.example>\r\n"), true);
	for (int i = 0; i < 10; i++)
		client_send(&r, SLICE("RCPT TO:<defer-1@b.example>\r\n"), true);
	ck_assert(!r.ended);
	rig_fini(&r);
}
END_TEST

START_TEST(junk_ends_the_session)	/* X-27 */
{
	struct rig r;

	rig_init(&r);
	r.conf.max_junk = 4;
	start(&r);
	say_and_expect(&r, "NOOP\r\nRSET\r\nVRFY x\r\nHELP\r\nNOOP\r\n", "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n"
	    "252 2.0.0 Send mail and see\r\n214 2.0.0 See RFC 5321\r\n421 4.7.0 mx.example Too many errors\r\n");
	rig_fini(&r);
}
END_TEST

START_TEST(messages_are_limited)
{
	struct rig r;

	rig_init(&r);
	r.conf.max_messages = 1;
	start(&r);
	client_send(&r, SLICE(OPEN "DATA\r\nx\r\n.\r\n"), true);
	ck_assert_ptr_nonnull(memmem(buf_peek(&r.got), r.got.len, " MAILMAX=1\r\n", 12));
	buf_clear(&r.got);
	say_and_expect(&r, "MAIL FROM:<a@a.example>\r\n",
	    "421 4.7.0 mx.example Too many messages in one session\r\n");
	rig_fini(&r);
}
END_TEST

START_TEST(recipients_beyond_all_bounds)
{
	struct rig r;
	int i;

	rig_init(&r);
	start(&r);
	client_send(&r, SLICE(EHLO_IN "MAIL FROM:<a@a.example>\r\n"), true);
	for (i = 0; i < 2000 && !r.ended; i++)
		client_send(&r, SLICE("RCPT TO:<a@b.example>\r\n"), true);
	ck_assert_int_eq(i, 3 + 1001);
	rig_fini(&r);
}
END_TEST

START_TEST(line_without_end)	/* X-11, M-04 */
{
	struct rig r;
	char *many = xmalloc(65536 + 10);

	memset(many, 'A', 65546);
	rig_init(&r);
	start(&r);
	client_send(&r, (struct slice){ many, 65536 }, true);
	expect(&r, TOO_LONG);
	ck_assert(!r.ended);
	client_send(&r, (struct slice){ many, 10 }, true);
	expect(&r, "421 4.7.0 mx.example A line without end\r\n");
	ck_assert(r.ended);
	free(many);
	rig_fini(&r);
}
END_TEST

START_TEST(every_parameter_fits)	/* M-05, R-05 */
{
	struct rig r;
	struct buf line;

	rig_init(&r);
	start(&r);
	buf_init(&line, 4096);
	buf_adds(&line, EHLO_IN "MAIL FROM:<a@");
	for (int i = 0; i < 240; i++)
		buf_addc(&line, i % 50 == 49 ? '.' : 'd');
	buf_adds(&line, "> SIZE=00000000000000000999 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=" X100 " AUTH=");
	for (int i = 0; i < 495; i++)
		buf_addc(&line, 'u');
	buf_adds(&line, "\r\nRCPT TO:<b@");
	for (int i = 0; i < 240; i++)
		buf_addc(&line, i % 50 == 49 ? '.' : 'd');
	buf_adds(&line, "> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;");
	for (int i = 0; i < 493; i++)
		buf_addc(&line, 'o');
	buf_adds(&line, "\r\n");
	client_send(&r, buf_slice(&line), true);
	expect(&r, OPENED);
	buf_fini(&line);
	rig_fini(&r);
}
END_TEST

START_TEST(deaf_client)	/* X-10: reading stops when replies pile up */
{
	struct rig r;
	struct smtp_session *s;
	char noops[6000];
	size_t total = 0;

	for (size_t i = 0; i < sizeof noops; i += 6)
		memcpy(noops + i, "NOOP\r\n", 6);
	rig_init(&r);
	r.conf.max_junk = 0;
	start(&r);
	for (int i = 0; i < 2000; i++) {
		ssize_t n = send(r.fd, noops, sizeof noops, MSG_NOSIGNAL);

		if (n > 0)
			total += (size_t)n;
		event_base_loop(r.base, EVLOOP_NONBLOCK);
		if (n <= 0)
			break;
		/* A short write leaves half a NOOP; the rest would have to follow. */
		if (n % 6 != 0)
			break;
	}
	s = session_find(r.server, r.id);
	ck_assert_ptr_nonnull(s);
	ck_assert(s->is_blocked && s->is_paused);
	ck_assert_uint_le(net_out_len(s->conn), NET_OUT_HIGH + 2 * OUT_FLUSH_BYTES);
	ck_assert_uint_lt(total, 2000 * sizeof noops);
	/* It reads after all, and everything is answered. */
	settle(&r, true);
	ck_assert_uint_eq(r.got.len / strlen("250 2.0.0 Ok\r\n"), total / 6);
	rig_fini(&r);
}
END_TEST

START_TEST(unauthorised_pipelining)	/* X-9, M-37 */
{
	struct rig r;

	rig_init(&r);
	r.conf.forbid_unauth_pipelining = true;
	start(&r);
	say_and_expect(&r, EHLO_IN, EHLO_OUT);
	say_and_expect(&r, ENVELOPE "DATA\r\nx\r\n.\r\nMAIL FROM:<evil@a.example>\r\n",
	    OK_MAIL OK_RCPT "554 5.5.0 Octets sent ahead of the reply to DATA\r\n");
	ck_assert(r.ended);
	rig_fini(&r);

	/* Also where DATA may not stand: the body is no commands for all that. */
	rig_init(&r);
	r.conf.forbid_unauth_pipelining = true;
	start(&r);
	say_and_expect(&r, EHLO_IN, EHLO_OUT);
	say_and_expect(&r, "MAIL FROM:<a@a.example>\r\nDATA\r\nx\r\n.\r\n", OK_MAIL
	    "554 5.5.0 Octets sent ahead of the reply to DATA\r\n");
	ck_assert(r.ended);
	rig_fini(&r);

	rig_init(&r);
	r.conf.forbid_unauth_pipelining = true;
	start(&r);
	say_and_expect(&r, OPEN, "554 5.5.0 Octets sent ahead of the reply to EHLO\r\n");
	ck_assert(r.ended);
	rig_fini(&r);

	rig_init(&r);
	r.conf.forbid_unauth_pipelining = true;
	start(&r);
	say_and_expect(&r, EHLO_IN, EHLO_OUT);
	say_and_expect(&r, ENVELOPE "DATA\r\n", OK_MAIL OK_RCPT GO);
	say_and_expect(&r, "x\r\n.\r\nQUIT\r\n", QUEUED BYE);
	rig_fini(&r);
}
END_TEST

/* ---- Questions ---- */
START_TEST(replies_wait_for_nothing)	/* M-96 */
{
	struct rig r;

	rig_init(&r);
	start(&r);
	say_and_expect(&r, EHLO_IN, EHLO_OUT);
	r.later = true;
	client_send(&r, SLICE("MAIL FROM:<a@a.example>\r\n"), false);
	expect(&r, "");
	settle(&r, true);
	expect(&r, OK_MAIL);
	/* The NOOP's reply goes out although the next question is open and more input is there. */
	client_send(&r, SLICE("NOOP\r\nRCPT TO:<b@b.example>\r\nRCPT TO:<c@b.example>\r\n"), false);
	expect(&r, "250 2.0.0 Ok\r\n");
	ck_assert(r.has_question && r.stage == SMTP_ASK_RCPT);
	settle(&r, true);
	expect(&r, OK_RCPT OK_RCPT);
	/* Nothing but the last line is there: what came before must not be held. */
	client_send(&r, SLICE("RSET\r\nMAIL FROM:<a@a.example>\r\n"), false);
	expect(&r, "250 2.0.0 Ok\r\n");
	settle(&r, true);
	rig_fini(&r);
}
END_TEST

START_TEST(answered_during_the_call)
{
	struct rig r;

	rig_init(&r);
	r.later = r.early = true;
	start(&r);
	say_and_expect(&r, OPEN "DATA\r\nx\r\n.\r\nQUIT\r\n", OPENED GO QUEUED BYE);
	ck_assert(r.ended);
	rig_fini(&r);
}
END_TEST

START_TEST(peer_leaves_with_a_question_open)
{
	struct rig r;

	rig_init(&r);
	start(&r);
	client_send(&r, SLICE(OPEN), true);
	r.later = true;
	client_send(&r, SLICE("RCPT TO:<c@b.example>\r\n"), false);
	ck_assert(r.has_question);
	close(r.fd);
	r.fd = open("/dev/null", O_RDONLY);
	settle(&r, false);
	ck_assert(!r.ended);	/* nothing is read while the question is open */
	settle(&r, true);
	ck_assert(r.ended);
	ck_assert(slice_is(buf_slice(&r.calls), "reset closed"));
	/* Late and stale: nobody minds. */
	smtp_session_verdict(r.server, r.id, r.ticket, &r.verdict);
	rig_fini(&r);
}
END_TEST

START_TEST(no_answer_in_time)
{
	struct rig r;
	int64_t mono = clock_mono_ms(), wall = clock_wall_ms();

	clock_fake(mono, wall);
	rig_init(&r);
	start(&r);
	client_send(&r, SLICE(OPEN), true);
	buf_clear(&r.got);
	r.later = true;
	client_send(&r, SLICE("RCPT TO:<c@b.example>\r\n"), false);
	clock_fake(mono + 299000, wall);
	session_timeout(session_find(r.server, r.id));
	ck_assert(!r.ended);
	clock_fake(mono + 301000, wall);
	session_timeout(session_find(r.server, r.id));
	settle(&r, false);
	expect(&r, "421 4.3.0 mx.example No decision in time, try again later\r\n");
	ck_assert(slice_is(buf_slice(&r.calls), "cancelled reset closed"));
	smtp_session_verdict(r.server, r.id, r.ticket, &r.verdict);
	rig_fini(&r);
	clock_real();
}
END_TEST

/* ---- Time ---- */
static const struct time_case {
	const char *name, *before, *after;
	int64_t step_ms;	/* between the two, and after the second */
	const char *out;	/* after both steps */
	bool ends;
} times[] = {
	{ "command", "NOOP\r\n", "NOOP\r\n", 200000, "", false },
	{ "half a line does not help (X-44)", "NOOP\r\nNO", "O", 200000,
	    "421 4.4.2 mx.example Timeout waiting for a command\r\n", true },
	{ "silence", "", "", 200000, "421 4.4.2 mx.example Timeout waiting for a command\r\n", true },
	{ "session", "NOOP\r\n", "NOOP\r\n", HOUR / 2 + 1,
	    "421 4.4.2 mx.example Timeout waiting for a command\r\n", true },
	{ "slow content", OPEN "DATA\r\nx\r\n", "y", 61000, "421 4.4.2 mx.example Content comes too slowly\r\n",
	    true },
	{ "slow chunk", OPEN "BDAT 100\r\nx\r\n", "y", 61000, "421 4.4.2 mx.example Content comes too slowly\r\n",
	    true },
	{ "too big and slow (X-23)", OPEN "DATA\r\n" X1000 X100 X100 X100 X100 X100, X100, 61000,
	    "552 5.3.4 Message too big\r\n", true },
};

START_TEST(timing)
{
	const struct time_case *c = &times[_i];
	int64_t mono = clock_mono_ms(), wall = clock_wall_ms();
	struct smtp_session *s;
	struct rig r;

	clock_fake(mono, wall);
	rig_init(&r);
	start(&r);
	client_send(&r, slice_of(c->before), true);
	buf_clear(&r.got);
	clock_fake(mono += c->step_ms, wall);
	if ((s = session_find(r.server, r.id)) != NULL)
		session_timeout(s);
	client_send(&r, slice_of(c->after), true);
	settle(&r, true);
	if (!r.ended)
		buf_clear(&r.got);
	clock_fake(mono += c->step_ms, wall);
	if ((s = session_find(r.server, r.id)) != NULL)
		session_timeout(s);
	settle(&r, true);
	expect(&r, c->out);
	ck_assert_msg(r.ended == c->ends, "%s", c->name);
	rig_fini(&r);
	clock_real();
}
END_TEST

/* From the second error on each reply waits, and nothing is read meanwhile; what is no error does not
 * wait longer than that. */
START_TEST(errors_are_answered_slowly)	/* X-27 */
{
	int64_t mono = clock_mono_ms(), wall = clock_wall_ms();
	struct smtp_session *s;
	struct rig r;

	clock_fake(mono, wall);
	rig_init(&r);
	r.conf.soft_errors = 2;
	r.conf.max_errors = 4;
	r.conf.error_delay_ms = 1000;
	start(&r);
	s = session_find(r.server, r.id);
	say_and_expect(&r, "A\r\nNOOP\r\n", "500 5.5.1 Command not recognised\r\n250 2.0.0 Ok\r\n");
	say_and_expect(&r, "B\r\nNOOP\r\nC\r\nNOOP\r\n", "");
	clock_fake(mono += 999, wall);
	session_timeout(s);
	settle(&r, true);
	expect(&r, "");
	clock_fake(mono += 1, wall);
	session_timeout(s);
	settle(&r, true);
	expect(&r, "500 5.5.1 Command not recognised\r\n");
	clock_fake(mono += 1000, wall);
	session_timeout(s);
	settle(&r, true);
	expect(&r, "250 2.0.0 Ok\r\n500 5.5.1 Command not recognised\r\n250 2.0.0 Ok\r\n");
	say_and_expect(&r, "D\r\nNOOP\r\n", "");
	clock_fake(mono += 1000, wall);
	session_timeout(s);
	settle(&r, true);
	expect(&r, "500 5.5.1 Command not recognised\r\n421 4.7.0 mx.example Too many errors\r\n");
	ck_assert(r.ended);
	rig_fini(&r);
	clock_real();
}
END_TEST

START_TEST(sessions_age)
{
	int64_t mono = clock_mono_ms(), wall = clock_wall_ms();
	struct rig r;

	clock_fake(mono, wall);
	rig_init(&r);
	start(&r);
	for (int i = 0; i < 14; i++) {
		clock_fake(mono += 250000, wall);
		session_timeout(session_find(r.server, r.id));
		say_and_expect(&r, "NOOP\r\n", "250 2.0.0 Ok\r\n");
	}
	clock_fake(mono += 100001, wall);
	session_timeout(session_find(r.server, r.id));
	settle(&r, true);
	expect(&r, "421 4.4.2 mx.example This session has lasted too long\r\n");
	rig_fini(&r);
	clock_real();
}
END_TEST

START_TEST(steady_content_is_not_cut)
{
	int64_t mono = clock_mono_ms(), wall = clock_wall_ms();
	struct rig r;

	clock_fake(mono, wall);
	rig_init(&r);
	r.conf.max_size = 0;
	start(&r);
	client_send(&r, SLICE(OPEN "DATA\r\n"), true);
	for (int i = 0; i < 10; i++) {
		client_send(&r, SLICE(X1000 X1000 X1000 X1000 X1000 X1000 "\r\n"), true);
		clock_fake(mono += 60000, wall);
		session_timeout(session_find(r.server, r.id));
		ck_assert(!r.ended);
	}
	rig_fini(&r);
	clock_real();
}
END_TEST

/* ---- Beginning and end ---- */
START_TEST(refused_at_connect)	/* M-66 */
{
	struct rig r;

	rig_init(&r);
	r.connect_answer = SMTP_REFUSE;
	rig_open(&r);
	settle(&r, true);
	expect(&r, "554 No service for you\r\n");
	say_and_expect(&r, EHLO_IN "BDAT 6\r\nQUIT\r\nFOO\r\nQUIT\r\n",
	    "503 5.5.1 No service here, please QUIT\r\n503 5.5.1 No service here, please QUIT\r\n"
	    "503 5.5.1 No service here, please QUIT\r\n" BYE);
	rig_fini(&r);

	rig_init(&r);
	r.connect_answer = SMTP_DROP;
	rig_open(&r);
	settle(&r, true);
	expect(&r, "554 5.7.1 No service for you\r\n");
	ck_assert(r.ended);
	rig_fini(&r);
}
END_TEST

START_TEST(half_closed)	/* X-28 */
{
	struct rig r;

	rig_init(&r);
	start(&r);
	client_send(&r, SLICE(OPEN), true);
	buf_clear(&r.got);
	ck_assert_int_eq(shutdown(r.fd, SHUT_WR), 0);
	settle(&r, true);
	ck_assert(r.ended);
	ck_assert(slice_is(buf_slice(&r.calls), "reset closed"));
	rig_fini(&r);
}
END_TEST

START_TEST(closed_in_the_middle_of_data)
{
	struct rig r;

	rig_init(&r);
	start(&r);
	client_send(&r, SLICE(OPEN "DATA\r\nSubject: x\r\n\r\nhello\r\n.\r"), true);
	ck_assert_int_eq(shutdown(r.fd, SHUT_WR), 0);
	settle(&r, true);
	ck_assert(r.ended);
	ck_assert_uint_eq(r.mail.len, 0);
	rig_fini(&r);
}
END_TEST

START_TEST(drain)
{
	struct rig a, b;

	rig_init(&a);
	start(&a);
	client_send(&a, SLICE(OPEN "DATA\r\nhello\r\n"), true);
	buf_clear(&a.got);
	smtp_server_drain(a.server);
	settle(&a, true);
	expect(&a, "");		/* in the middle of content: not yet */
	say_and_expect(&a, ".\r\nNOOP\r\n", QUEUED "421 4.3.2 mx.example Service is shutting down\r\n");
	rig_fini(&a);

	rig_init(&b);
	start(&b);
	smtp_server_drain(b.server);
	settle(&b, true);
	expect(&b, "421 4.3.2 mx.example Service is shutting down\r\n");
	ck_assert(b.ended);
	close(b.fd);
	b.ended = b.at_end = false;
	b.asked = 0;
	buf_clear(&b.calls);
	rig_open(&b);		/* and nobody new */
	settle(&b, true);
	expect(&b, "421 4.3.2 mx.example Service is shutting down\r\n");
	rig_fini(&b);
}
END_TEST

START_TEST(server_ends_with_sessions)
{
	struct rig r;

	rig_init(&r);
	start(&r);
	r.later = true;
	client_send(&r, SLICE(EHLO_IN), false);
	ck_assert(r.has_question);
	smtp_server_free(r.server);
	ck_assert(r.ended);
	ck_assert(slice_is(buf_slice(&r.calls), "cancelled closed"));
	r.server = smtp_server_new(r.base, 2);
	settle(&r, false);
	expect(&r, "421 4.3.2 mx.example Service is shutting down\r\n");
	rig_fini(&r);
}
END_TEST

START_TEST(hidden_extensions)
{
	struct rig r;

	rig_init(&r);
	r.hide_ext = SMTP_EXT_8BITMIME | SMTP_EXT_CHUNKING | SMTP_EXT_DSN | SMTP_EXT_LIMITS;
	start(&r);
	say_and_expect(&r, EHLO_IN, "250-mx.example\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n"
	    "250 SIZE 1000\r\n");
	say_and_expect(&r, "MAIL FROM:<a@a.example> SMTPUTF8\r\nMAIL FROM:<a@a.example> RET=FULL\r\n" ENVELOPE
	    "BDAT 6 LAST\r\nQUIT\r\n", "555 5.5.4 Parameter not offered here: SMTPUTF8\r\n"
	    "555 5.5.4 Parameter not offered here: RET\r\n" OK_MAIL OK_RCPT "502 5.5.1 BDAT is not offered\r\n");
	rig_fini(&r);
}
END_TEST

/* ---- TLS ---- */
static char cert_file[] = "smtp_session_test.pem";

static void
make_cert(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	X509_EXTENSION *san;
	X509_NAME *name;
	FILE *f = fopen(cert_file, "w");

	ck_assert_ptr_nonnull(f);
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400 * 365);
	X509_set_pubkey(x, key);
	name = X509_get_subject_name(x);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"mx.example", -1, -1, 0);
	X509_set_issuer_name(x, name);
	san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:mx.example");
	X509_add_ext(x, san, -1);
	X509_EXTENSION_free(san);
	ck_assert_int_gt(X509_sign(x, key, EVP_sha256()), 0);
	PEM_write_X509(f, x);
	PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	X509_free(x);
	EVP_PKEY_free(key);
}

static void
rig_tls(struct rig *r)
{
	struct tls_server_identity id = { "test", cert_file, cert_file };
	struct tls_server_conf c = { .identities = &id, .nidentities = 1, .min_version = "1.2",
	    .session_context = "test" };
	struct err err = { "" };

	net_tls_init();
	make_cert();
	rig_init(r);
	r->conf.tls = tls_server_new(&c, &err);
	ck_assert_msg(r->conf.tls != NULL, "%s", err.text);
	unlink(cert_file);
	r->conf.starttls = SMTP_STARTTLS_OFFER;
	r->conf.requiretls = true;
}

static void
client_handshake(struct rig *r)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int done = 0;

	r->ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	SSL_set_fd(r->ssl, r->fd);
	for (int i = 0; i < 100 && done != 1; i++) {
		done = SSL_connect(r->ssl);
		event_base_loop(r->base, EVLOOP_NONBLOCK);
	}
	ck_assert_int_eq(done, 1);
	settle(r, true);
}

static void
rig_tls_fini(struct rig *r)
{
	struct tls_server *tls = r->conf.tls;

	rig_fini(r);
	tls_server_unref(tls);
}

#define TLS_READY "220 2.0.0 Ready to start TLS\r\n"
#define EHLO_TLS \
	"250-mx.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n" \
	"250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-REQUIRETLS\r\n250-SIZE 1000\r\n250 LIMITS RCPTMAX=3\r\n"
#define EHLO_CLEAR \
	"250-mx.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n" \
	"250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-STARTTLS\r\n250-SIZE 1000\r\n250 LIMITS RCPTMAX=3\r\n"

START_TEST(starttls)
{
	struct rig r;

	rig_tls(&r);
	r.later = _i != 0;
	start(&r);
	say_and_expect(&r, EHLO_IN, EHLO_CLEAR);	/* REQUIRETLS only inside TLS (R-14) */
	say_and_expect(&r, "MAIL FROM:<a@a.example>\r\nSTARTTLS\r\nRSET\r\n",
	    OK_MAIL "503 5.5.1 Not inside a mail transaction\r\n250 2.0.0 Ok\r\n");
	say_and_expect(&r, "STARTTLS\r\n", TLS_READY);
	client_handshake(&r);
	expect(&r, "");		/* no second greeting */
	ck_assert_ptr_nonnull(smtp_session_get_info(r.server, r.id)->tls);
	/* All is forgotten, the EHLO too (N-20, X-5). */
	ck_assert_ptr_null(smtp_session_get_info(r.server, r.id)->helo);
	say_and_expect(&r, "MAIL FROM:<a@a.example>\r\n", "503 5.5.1 Send EHLO first\r\n");
	say_and_expect(&r, "STARTTLS\r\n", "503 5.5.1 TLS is active already\r\n");	/* M-151 */
	say_and_expect(&r, EHLO_IN, EHLO_TLS);
	say_and_expect(&r, "STARTTLS\r\n", "503 5.5.1 TLS is active already\r\n");
	say_and_expect(&r, "MAIL FROM:<a@a.example> REQUIRETLS=1\r\nMAIL FROM:<a@a.example> requiretls REQUIRETLS\r\n"
	    "MAIL FROM:<a@a.example> REQUIRETLS\r\nRCPT TO:<b@b.example>\r\nDATA\r\n",
	    "501 5.5.4 Parameter takes no value: REQUIRETLS\r\n501 5.5.4 Parameter given twice: REQUIRETLS\r\n"
	    OK_MAIL OK_RCPT GO);
	say_and_expect(&r, "x\r\n.\r\n", QUEUED);
	/* The tag is the transaction's (R-16), and BDAT keeps it (R-17). */
	say_and_expect(&r, "MAIL FROM:<> REQUIRETLS\r\nRSET\r\n" ENVELOPE "BDAT 3 LAST\r\nx\r\n"
	    "MAIL FROM:<> REQUIRETLS\r\nRCPT TO:<b@b.example>\r\nBDAT 3 LAST\r\ny\r\nQUIT\r\n",
	    OK_MAIL "250 2.0.0 Ok\r\n" OK_MAIL OK_RCPT QUEUED OK_MAIL OK_RCPT QUEUED BYE);
	ck_assert(slice_is(buf_slice(&r.mail), "from=a@a.example to=b@b.example requiretls\nx\r\n--\n"
	    "from=a@a.example to=b@b.example\nx\r\n--\nfrom= to=b@b.example requiretls\ny\r\n--\n"));
	ck_assert_ptr_nonnull(strstr(log_text, "tls established"));
	rig_tls_fini(&r);
}
END_TEST

START_TEST(starttls_injection)	/* X-4, M-150, N-21 */
{
	struct rig r;

	rig_tls(&r);
	start(&r);
	say_and_expect(&r, EHLO_IN "STARTTLS\r\nRSET\r\n",
	    EHLO_CLEAR "554 5.5.0 Commands sent ahead of the TLS handshake\r\n");
	ck_assert(r.ended);
	rig_tls_fini(&r);
}
END_TEST

START_TEST(clear_text_after_starttls)	/* X-6: no way back */
{
	struct rig r;

	rig_tls(&r);
	start(&r);
	say_and_expect(&r, "STARTTLS\r\n", TLS_READY);
	client_send(&r, SLICE("NOOP\r\n"), true);
	ck_assert(r.ended);
	ck_assert(memmem(buf_peek(&r.got), r.got.len, "250", 3) == NULL);
	rig_tls_fini(&r);
}
END_TEST

START_TEST(starttls_required)
{
	struct rig r;

	rig_tls(&r);
	r.conf.starttls = SMTP_STARTTLS_REQUIRED;
	start(&r);
	say_and_expect(&r, EHLO_IN "MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nVRFY x\r\nBDAT 6\r\nQUIT\r\n"
	    "NOOP\r\nRSET\r\n", EHLO_CLEAR "530 5.7.0 Use STARTTLS first\r\n530 5.7.0 Use STARTTLS first\r\n"
	    "530 5.7.0 Use STARTTLS first\r\n530 5.7.0 Use STARTTLS first\r\n250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n");
	say_and_expect(&r, "STARTTLS\r\n", TLS_READY);
	client_handshake(&r);
	say_and_expect(&r, EHLO_IN "MAIL FROM:<a@a.example>\r\n", EHLO_TLS OK_MAIL);
	rig_tls_fini(&r);
}
END_TEST

START_TEST(requiretls_switched_off)	/* R-13, R-15, D13 */
{
	struct rig r;

	rig_tls(&r);
	r.conf.requiretls = false;
	start(&r);
	say_and_expect(&r, "STARTTLS\r\n", TLS_READY);
	client_handshake(&r);
	client_send(&r, SLICE(EHLO_IN), true);
	ck_assert(memmem(buf_peek(&r.got), r.got.len, "REQUIRETLS", 10) == NULL);
	buf_clear(&r.got);
	say_and_expect(&r, "MAIL FROM:<a@a.example> REQUIRETLS\r\n",
	    "555 5.5.4 Parameter not offered here: REQUIRETLS\r\n");
	say_and_expect(&r, "HELO c.example\r\nMAIL FROM:<a@a.example> REQUIRETLS\r\n",
	    "250 mx.example\r\n555 5.5.4 Parameter not offered here: REQUIRETLS\r\n");
	rig_tls_fini(&r);
}
END_TEST

START_TEST(refused_after_handshake)	/* N-24 */
{
	struct rig r;

	rig_tls(&r);
	r.tls_answer = SMTP_REFUSE;
	start(&r);
	say_and_expect(&r, "STARTTLS\r\n", TLS_READY);
	client_handshake(&r);
	say_and_expect(&r, EHLO_IN "FOO\r\nQUIT\r\n",
	    "554 5.7.1 Certificate needed\r\n554 5.7.1 Certificate needed\r\n" BYE);
	rig_tls_fini(&r);

	rig_tls(&r);
	r.tls_answer = SMTP_DROP;
	start(&r);
	say_and_expect(&r, "STARTTLS\r\n", TLS_READY);
	client_handshake(&r);
	expect(&r, "554 5.7.1 Certificate needed\r\n");
	ck_assert(r.ended);
	rig_tls_fini(&r);
}
END_TEST

START_TEST(implicit_tls)	/* R-19 */
{
	struct rig r;

	rig_tls(&r);
	r.conf.implicit_tls = true;
	r.later = _i != 0;
	rig_open(&r);
	settle(&r, true);
	expect(&r, "");
	client_handshake(&r);
	expect(&r, GREETING);
	say_and_expect(&r, EHLO_IN, EHLO_TLS);
	rig_tls_fini(&r);
}
END_TEST

START_TEST(handshake_takes_too_long)
{
	int64_t mono = clock_mono_ms(), wall = clock_wall_ms();
	struct rig r;

	clock_fake(mono, wall);
	rig_tls(&r);
	start(&r);
	say_and_expect(&r, "STARTTLS\r\n", TLS_READY);
	clock_fake(mono + 30001, wall);
	session_timeout(session_find(r.server, r.id));
	settle(&r, true);
	ck_assert(r.ended);
	rig_tls_fini(&r);
	clock_real();
}
END_TEST

UNIT_MAIN("smtp_session",
	tcase_add_loop_test(tc, transcript, 0, 4 * (int)NELEMS(transcripts));
	tcase_add_test(tc, errors_end_the_session);
	tcase_add_test(tc, errors_are_forgotten_after_a_message);
	tcase_add_test(tc, temporary_refusals_are_no_errors);
	tcase_add_test(tc, junk_ends_the_session);
	tcase_add_test(tc, messages_are_limited);
	tcase_add_test(tc, recipients_beyond_all_bounds);
	tcase_add_test(tc, line_without_end);
	tcase_add_test(tc, every_parameter_fits);
	tcase_add_test(tc, deaf_client);
	tcase_add_test(tc, unauthorised_pipelining);
	tcase_add_test(tc, replies_wait_for_nothing);
	tcase_add_test(tc, answered_during_the_call);
	tcase_add_test(tc, peer_leaves_with_a_question_open);
	tcase_add_test(tc, no_answer_in_time);
	tcase_add_loop_test(tc, timing, 0, NELEMS(times));
	tcase_add_test(tc, errors_are_answered_slowly);
	tcase_add_test(tc, sessions_age);
	tcase_add_test(tc, steady_content_is_not_cut);
	tcase_add_test(tc, refused_at_connect);
	tcase_add_test(tc, half_closed);
	tcase_add_test(tc, closed_in_the_middle_of_data);
	tcase_add_test(tc, drain);
	tcase_add_test(tc, server_ends_with_sessions);
	tcase_add_test(tc, hidden_extensions);
	tcase_add_loop_test(tc, starttls, 0, 2);
	tcase_add_test(tc, starttls_injection);
	tcase_add_test(tc, clear_text_after_starttls);
	tcase_add_test(tc, starttls_required);
	tcase_add_test(tc, requiretls_switched_off);
	tcase_add_test(tc, refused_after_handshake);
	tcase_add_loop_test(tc, implicit_tls, 0, 2);
	tcase_add_test(tc, handshake_takes_too_long);
)
