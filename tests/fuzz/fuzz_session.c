/* A whole inbound session. Four octets choose how it goes:
 *   0  how the rest is cut into reads
 *   1  where it begins: what the client has said before, and what the listener is like
 *   2  what the owner answers, 0: yes to all
 *   3  FLAG_*
 * The rest is what the client sends. Played whole and cut, both must end alike: the same questions
 * in the same order, the same replies, the same messages. */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fake_net.h"
#include "fuzz_random.h"
#include "smtp/smtp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum {
	FLAG_LATER = 1,		/* the owner takes its time */
	FLAG_DEAF = 2,		/* the client reads no replies while it sends */
	FLAG_SMALL = 4,		/* a small size limit */
	FLAG_REQUIRED = 8,	/* nothing before STARTTLS */
	FLAG_INJECT = 16,	/* what stands behind STARTTLS comes with it */
	FLAG_TIMEOUT = 32,	/* at the end the client stays and says nothing */
	FLAG_STRICT = 64,	/* forbid_unauth_pipelining */
	FLAG_DRAIN = 128,	/* the daemon goes down before the client does */
};

#define HELO "EHLO client.example\r\n"
#define MAIL "MAIL FROM:<a@client.example>\r\n"
#define RCPT "RCPT TO:<b@here.example>\r\n"

/* 2040 octets of a line that may not have more than 2048. */
#define X40 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X408 X40 X40 X40 X40 X40 X40 X40 X40 X40 X40 "xxxxxxxx"
#define LONG "NOOP " X408 X408 X408 X408 X408

static const struct start {
	const char *clear, *secure;	/* secure: NULL for no STARTTLS */
	bool is_implicit;
} starts[] = {
	{ "", NULL, false }, { HELO, NULL, false }, { HELO MAIL, NULL, false },
	{ HELO MAIL RCPT, NULL, false }, { HELO MAIL RCPT "DATA\r\n", NULL, false },
	{ HELO MAIL RCPT "BDAT 20\r\nA: b\r\n", NULL, false },
	{ HELO MAIL RCPT "BDAT 6\r\nA: b\r\n", NULL, false }, { "HELO client.example\r\n", NULL, false },
	{ HELO MAIL RCPT "DATA\r\nA: b\r\n\r\nc\r\n.\r\n", NULL, false },
	{ HELO MAIL "STARTTLS\r\n", NULL, false }, { "STARTTLS\r\n", "", false },
	{ HELO "STARTTLS\r\n", HELO, false },
	{ HELO "STARTTLS\r\n", HELO "MAIL FROM:<a@client.example> REQUIRETLS\r\n", false },
	{ "", "", true }, { "", HELO, true }, { "", HELO MAIL RCPT "DATA\r\n", true },
	{ HELO LONG, NULL, false }, { HELO MAIL RCPT "RSET\r\n", NULL, false },
};

struct run {
	struct smtp_server *server;
	struct smtp_server_conf conf;
	struct fake_peer peer;
	uint8_t answers;
	unsigned flags, asked;
	bool is_begun, has_question, is_closed, in_tls, has_helo, has_mail;
	enum smtp_stage stage;
	uint64_t id;
	uint32_t ticket, random;
	struct buf story;
};

static const struct tls_info tls = {
	.cert_sha256 = "ab12", .chain_ok = true, .version = "TLSv1.3", .cipher = "TLS_AES_256_GCM_SHA384", .group = "x25519", .is_modern = true,
};

/* ---- The owner ---- */
static void
check_message(struct run *r, const struct msg *m)
{
	const struct content *c = m->content;

	MUST(c != NULL && m->trace != NULL && m->nrcpts > 0);
	MUST(c->size == 0 || c->mem != NULL);
	for (uint64_t i = 0; i < c->size; i++) {	/* */
		MUST(c->mem[i] != '\0');
		MUST(c->mem[i] != '\n' || (i > 0 && c->mem[i - 1] == '\r'));
		MUST(c->mem[i] != '\r' || (i + 1 < c->size && c->mem[i + 1] == '\n'));
	}
	for (const unsigned char *p = (const unsigned char *)m->trace; *p != '\0'; p++) {
		MUST(*p == '\t' || *p == '\r' || *p == '\n' || (*p >= 0x20 && *p != 0x7F));
		MUST(*p < 0x80 || (m->flags & MSG_SMTPUTF8) != 0);
	}
	buf_printf(&r->story, "[%u %llu %llx]", m->flags, (unsigned long long)c->size,
	    (unsigned long long)hash64(c->mem, (size_t)c->size));
}

/* Which question may follow which. */
static void
check_question(struct run *r, const struct smtp_question *q)
{
	const struct msg *m = q->msg;

	MUST(!r->has_question && !r->is_closed);
	MUST((q->info->tls != NULL) == r->in_tls);
	if (q->stage == SMTP_ASK_TLS) {
		MUST(r->in_tls && q->info->helo == NULL && m == NULL);
		r->has_helo = r->has_mail = false;
	}
	if (q->stage == SMTP_ASK_AUTH) {	/* M-155, and nothing in it that would show elsewhere */
		MUST(r->has_helo && !r->has_mail && m == NULL && q->info->auth_id == NULL);
		buf_printf(&r->story, "%s %s %s ", q->cred->mech, q->cred->authzid, q->cred->authcid);
	}
	if (q->stage < SMTP_ASK_MAIL)
		return;
	MUST(r->has_helo && m != NULL && m->from != NULL);
	MUST(!r->has_mail == (q->stage == SMTP_ASK_MAIL));
	MUST((m->flags & MSG_REQUIRETLS) == 0 || r->in_tls);
	MUST(q->stage == SMTP_ASK_MAIL || m->nrcpts > 0);
	MUST(m->nrcpts <= r->conf.max_rcpts);
	buf_printf(&r->story, "<%s> %u %s ", m->from, m->flags, m->envid == NULL ? "" : m->envid);
	if (q->stage == SMTP_ASK_RCPT) {
		const struct msg_rcpt *to = &m->rcpts[m->nrcpts - 1];

		buf_printf(&r->story, "<%s> %u %s ", to->address, to->notify, to->orcpt == NULL ? "" : to->orcpt);
	}
	if (q->stage == SMTP_ASK_MESSAGE)
		check_message(r, m);
}

static void
answer(struct run *r, enum smtp_stage stage, struct smtp_verdict *v)
{
	static const char hostile[] = "no\r\n250 yes\x1b\x80 \xc3\xa9 \\";
	static const int codes[] = { 550, 451, 421, 250, 99, 554, 0, 499 };
	unsigned k = r->is_begun ? (unsigned)r->answers * ++r->asked * 2654435761u >> 24 : 0;

	v->what = k < 160 ? SMTP_GO : k < 250 ? SMTP_REFUSE : SMTP_DROP;
	v->auth_id = k & 1 ? "ann" : NULL;
	v->hide_ext = k >= 100 && k < 160 ? k * 77 : 0;
	v->wants_header = k % 3 == 0;
	v->wants_body = k % 2 == 0;
	v->reply.code = 0;
	if (k >= 200)
		smtp_reply_set(&v->reply, codes[k & 7], k & 8 ? "5.7.1" : "", "%s", hostile);
	if (v->what == SMTP_GO && stage == SMTP_ASK_MESSAGE)	/* the built-in one holds a number */
		smtp_reply_set(&v->reply, 250, "2.0.0", "taken");
	if (v->what == SMTP_GO && stage == SMTP_ASK_HELO)
		r->has_helo = true;
	if (v->what == SMTP_GO && stage == SMTP_ASK_MAIL)
		r->has_mail = true;
	if (v->what == SMTP_GO && stage == SMTP_ASK_MESSAGE)
		r->has_mail = false;
}

static enum smtp_ask
on_ask(void *owner, uint64_t id, uint32_t ticket, const struct smtp_question *q,
    struct smtp_verdict *v)
{
	struct run *r = owner;

	buf_printf(&r->story, "%d ", (int)q->stage);
	check_question(r, q);
	r->stage = q->stage;
	r->ticket = ticket;
	r->has_question = r->is_begun && (r->flags & FLAG_LATER) != 0;
	if (r->has_question)
		return SMTP_LATER;
	answer(r, q->stage, v);
	return SMTP_NOW;
}

static void
on_cancelled(void *owner, uint64_t id, uint32_t ticket)
{
	((struct run *)owner)->has_question = false;
}

static void
on_reset(void *owner, uint64_t id)
{
	struct run *r = owner;

	MUST(r->has_mail);
	r->has_mail = false;
	buf_adds(&r->story, "reset ");
}

static void
on_closed(void *owner, uint64_t id, const char *why)
{
	struct run *r = owner;

	MUST(!r->is_closed && !r->has_mail && !r->has_question);
	r->is_closed = true;
	buf_printf(&r->story, "closed: %s", why);
}

static const struct smtp_session_ops ops = { on_ask, on_cancelled, on_reset, on_closed };

/* ---- The client ---- */
static void
give_answer(struct run *r)
{
	struct smtp_verdict v = { .what = SMTP_REFUSE };

	r->has_question = false;
	answer(r, r->stage, &v);
	smtp_session_verdict(r->server, r->id, r->ticket, &v);
}

static void
settle(struct run *r)
{
	fake_turn();
	while (r->has_question || r->peer.wants_tls) {
		if (r->has_question) {
			give_answer(r);
		} else {
			r->in_tls = true;
			fake_secure(&r->peer, &tls);
		}
		fake_turn();
	}
}

/* One piece, which the session must treat the same however it is cut. */
static void
say(struct run *r, const uint8_t *p, size_t n)
{
	while (n > 0 && !r->is_closed) {
		size_t step = r->random == 0 ? n : 1 + fuzz_random(&r->random) % 23;

		if (r->random != 0 && (r->random & 0x700) == 0)
			step = 1 + step * 8;
		if (step > n)
			step = n;
		fake_send(&r->peer, p, step);
		p += step;
		n -= step;
		if (r->random == 0 || (r->random & 0x3000) == 0)
			settle(r);
		else
			fake_turn();
	}
	settle(r);
}

/* Up to where the client must wait, if it is one: the line that may be STARTTLS. */
static size_t
piece(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i + 4 < n; i++) {
		const uint8_t *lf;

		if ((p[i] | 0x20) != 't' || strncasecmp((const char *)p + i, "TTLS", 4) != 0)
			continue;
		lf = memchr(p + i, '\n', n - i);
		return lf == NULL ? n : (size_t)(lf - p) + 1;
	}
	return n;
}

static void
begin(struct run *r, const struct start *start, const uint8_t *data, bool is_cut)
{
	struct net_addr nobody = { .len = 0 };
	struct err err;

	r->answers = data[2];
	r->flags = data[3];
	r->conf = (struct smtp_server_conf){
		.hostname = "mx.example", .listener = "fuzz", .tls = (struct tls_server *)"tls",
		.implicit_tls = start->is_implicit, .requiretls = true,
		.starttls = r->flags & FLAG_REQUIRED ? SMTP_STARTTLS_REQUIRED : SMTP_STARTTLS_OFFER,
		.max_size = r->flags & FLAG_SMALL ? 40 : 100000, .max_rcpts = 4, .auth = SMTP_AUTH_PLAIN | SMTP_AUTH_EXTERNAL,
		.auth_in_clear = true, .max_messages = 3,
		.max_errors = 8, .max_junk = 20, .command_ms = 300000, .handshake_ms = 30000,
		.session_ms = 3600000, .data_ms = 60000, .spool_dir = ".", .max_received = 4,
		.forbid_unauth_pipelining = (r->flags & FLAG_STRICT) != 0,
	};
	buf_init(&r->story, 1 << 20);
	fake_peer_init(&r->peer);
	r->server = smtp_server_new(fake_base, 0);
	r->id = smtp_session_new(r->server, -1, &nobody, &r->conf, &ops, r, &err);
	MUST(r->id != 0);
	settle(r);
	say(r, (const uint8_t *)start->clear, strlen(start->clear));
	if (start->secure != NULL)
		say(r, (const uint8_t *)start->secure, strlen(start->secure));
	r->is_begun = true;
	r->random = is_cut ? (uint32_t)data[0] * 2654435761u + 1 : 0;
	r->peer.is_deaf = (r->flags & FLAG_DEAF) != 0;
}

static void
play(struct run *r, const uint8_t *data, size_t n, bool is_cut)
{
	begin(r, &starts[data[1] % NELEMS(starts)], data, is_cut);
	data += 4;
	n -= 4;
	while (n > 0 && !r->is_closed) {
		size_t take = r->flags & FLAG_INJECT ? n : piece(data, n);

		say(r, data, take);
		data += take;
		n -= take;
	}
	r->peer.is_deaf = false;
	settle(r);
	if (r->flags & FLAG_DRAIN)
		smtp_server_drain(r->server);
	settle(r);
	if ((r->flags & FLAG_TIMEOUT) && !r->is_closed) {
		for (int i = 0; i < 20 && !r->is_closed; i++)
			fake_time(300000);
		MUST(r->is_closed);
	}
	fake_close(&r->peer, NET_EOF);
	settle(r);
	MUST(r->is_closed);
	smtp_server_free(r->server);
	fake_turn();
	must_be_lines(buf_slice(&r->peer.heard), 512, false);
}

static void
end(struct run *r)
{
	fake_peer_fini(&r->peer);
	buf_fini(&r->story);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct run whole = { .id = 0 }, cut = { .id = 0 };

	if (n < 4 || n > 60000)
		return 0;
	fake_quiet();
	play(&whole, data, n, false);
	/* With these two the client is judged by what comes together. */
	if ((data[3] & (FLAG_INJECT | FLAG_STRICT)) == 0) {
		play(&cut, data, n, true);
		MUST(slice_eq(buf_slice(&whole.story), buf_slice(&cut.story)));
		MUST(slice_eq(buf_slice(&whole.peer.heard), buf_slice(&cut.peer.heard)));
		end(&cut);
	}
	end(&whole);
	return 0;
}
