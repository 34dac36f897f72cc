/* The client's side against a server that says anything. Four octets choose how it goes:
 *   0  how replies are cut into reads
 *   1  what the server has said before: starts[]
 *   2  FLAG_*, what the owner does
 *   3  TXN_*, what it wants to send
 * The rest is what the server says, a reply at a time and each when it is due, unless an octet in
 * front of a reply says otherwise (OP_*). Cut or not, owner and server must see the same. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "fake_net.h"
#include "fuzz_random.h"
#include "smtp/smtp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { OP_EARLY = 1, OP_CLOSE, OP_BREAK, OP_WAIT };	/* comes with the one before; EOF; error; time goes by */
enum {
	FLAG_CLEAR = 1, FLAG_IMPLICIT = 2,	/* else STARTTLS */
	FLAG_FREE_IN_DONE = 4, FLAG_QUIT_IN_DONE = 8, FLAG_FREE_IN_ENDED = 16,
	FLAG_SEND_LATER = 32,			/* not inside ready() */
	FLAG_NEVER = 64,			/* may_send says no */
	FLAG_OLD_TLS = 128,
};
enum {
	WANT_REQUIRETLS = 1, WANT_FEED = 2,	/* content from the store */
	WANT_FEED_LATER = 4, WANT_FEED_FAILS = 8, WANT_8BIT = 16, WANT_UTF8 = 32, WANT_NO_CRLF = 64,
	WANT_HOSTILE_ROW = 128,			/* an address that no parser of ours let in */
};

#define HI "220 mx.example ESMTP\r\n"
#define ALL "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 9999\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n"
#define OK "250 2.0.0 Ok\r\n"
#define GO "220 2.0.0 go\r\n"
static const char *const starts[] = {
	"", HI, HI ALL "250 REQUIRETLS\r\n", HI "250-x\r\n250-8BITMIME\r\n250 DSN\r\n",
	HI "250-x\r\n250-CHUNKING\r\n250 SIZE\r\n", HI ALL "250 STARTTLS\r\n" GO,
	HI ALL "250 STARTTLS\r\n" GO ALL "250 REQUIRETLS\r\n",
	HI ALL "250 STARTTLS\r\n" GO ALL "250 REQUIRETLS\r\n" OK OK OK,
	HI ALL "250 STARTTLS\r\n" GO ALL "250 REQUIRETLS\r\n" OK OK OK "354 go\r\n",
	HI ALL "250 DSN\r\n" OK OK "550 5.1.1 no\r\n354 go\r\n", HI "502 no\r\n" OK,
	HI "250-x\r\n250-CHUNKING\r\n250 8BITMIME\r\n" OK OK OK,
	HI ALL "250 STARTTLS\r\n" GO ALL "250 AUTH PLAIN LOGIN\r\n",
	HI ALL "250 STARTTLS\r\n" GO ALL "250 AUTH LOGIN\r\n" "334 VXNlcm5hbWU6\r\n",
};

#define USER "ann"
#define PASSWORD "walrus"
#define LOGIN_TOKEN "d2FscnVz"
#define PLAIN_TOKEN "AGFubgB3YWxydXM="

static const char header[] = "Subject: x\r\nX: .\r\n\r\n";
static const char body[] = ".\r\n..two\r\nlast .\r\n.\r\nend";	/* and CR LF, mostly */

struct run {
	struct smtp_client *client;	/* NULL once freed or left to itself */
	struct fake_peer peer;
	struct smtp_txn txn;
	struct msg *msg;
	struct content *content;
	struct buf as_data, as_bdat;	/* how the content ends on the wire */
	char *body;
	size_t body_len;
	uint8_t flags, wants;
	uint32_t random;
	bool is_open, is_over, is_ready, is_early, wants_feed;
	uint64_t feed_at;
	unsigned left, mails, logins;
	struct buf story;
};

static const struct tls_info tls = { .version = "TLSv1.3", .cipher = "x", .is_modern = true };
static const struct tls_info old_tls = { .version = "TLSv1.0", .cipher = "x" };

/* ---- The owner ---- */
static bool
may_send(void *owner, const struct smtp_client_info *info)
{
	struct run *r = owner;

	MUST(!r->is_open && !r->is_over);
	if (r->flags & FLAG_NEVER)
		return false;
	/* I2: whatever this owner thinks, the keyword is offered inside TLS. */
	if (r->wants & WANT_REQUIRETLS)
		MUST(info->tls != NULL && (info->ext & SMTP_EXT_REQUIRETLS) != 0);
	r->mails++;
	r->is_open = true;
	return true;
}

static void
feed(struct run *r)
{
	size_t n = r->body_len - (size_t)r->feed_at;

	r->wants_feed = false;
	if (r->wants & WANT_FEED_FAILS)
		n = 0;
	smtp_client_feed(r->client, r->body + r->feed_at, n < 7 ? n : 7);
}

static void
need_body(void *owner, uint64_t offset)
{
	struct run *r = owner;

	MUST(!r->is_over && offset < r->body_len);
	r->feed_at = offset;
	r->wants_feed = true;
	if ((r->wants & WANT_FEED_LATER) == 0)
		feed(r);
}

static void
start_txn(struct run *r)
{
	static const uint32_t which[] = { 0, 1 };

	r->is_ready = false;
	r->is_open = r->wants_feed = false;
	r->left--;
	r->txn = (struct smtp_txn){
		.msg = r->msg, .rcpt_index = which, .nrcpts = 2, .may_send = may_send,
		.with_requiretls = (r->wants & WANT_REQUIRETLS) != 0, .need_body = need_body,
		.header = { header, sizeof header - 1 }, .body_size = r->body_len,
		.content = r->wants & WANT_FEED ? NULL : r->content, .is_8bit = (r->wants & WANT_8BIT) != 0,
		.needs_utf8 = (r->wants & WANT_UTF8) != 0,
	};
	smtp_client_send(r->client, &r->txn);
}

static void may_go_on(struct run *r);

static void
on_ready(void *owner, const struct smtp_client_info *info)
{
	struct run *r = owner;

	MUST(!r->is_over && !r->is_ready);
	MUST((info->ext & SMTP_EXT_REQUIRETLS) == 0 || info->esmtp);
	MUST(!info->logged_in || info->tls != NULL);
	buf_printf(&r->story, "ready %x %s %llu; ", info->ext, info->tls == NULL ? "clear" : "tls",
	    (unsigned long long)info->size_max);
	if ((info->ext & SMTP_EXT_AUTH) != 0 && !info->logged_in && r->logins == 0) {
		r->logins++;
		smtp_client_login(r->client, USER, PASSWORD);
		return;
	}
	may_go_on(r);
}

static void
may_go_on(struct run *r)
{
	r->is_ready = true;
	if (r->left == 0) {
		smtp_client_quit(r->client);
		r->client = NULL;
	} else if ((r->flags & FLAG_SEND_LATER) == 0) {
		start_txn(r);
	}
}

static bool
ends_with(const struct buf *b, const struct buf *end)
{
	return b->len >= end->len &&
	    memcmp(buf_peek(b) + b->len - end->len, buf_peek(end), end->len) == 0;
}

static void
check_code(int code, const char *status, const char *text)
{
	MUST(code == 0 || (code >= 200 && code <= 599));
	MUST(status[0] == '\0' || code == 0 || status[0] == '0' + code / 100);
	MUST(code == 0 || text != NULL);
}

/* What a wire sniffer would look for: the password as LOGIN sends it and as PLAIN does. */
static bool
has_told(const struct run *r)
{
	return memmem(buf_peek(&r->peer.heard), r->peer.heard.len, LOGIN_TOKEN, strlen(LOGIN_TOKEN)) != NULL ||
	    memmem(buf_peek(&r->peer.heard), r->peer.heard.len, PLAIN_TOKEN, strlen(PLAIN_TOKEN)) != NULL;
}

static void
on_done(void *owner, const struct smtp_txn_result *res)
{
	struct run *r = owner;
	size_t taken = 0;

	MUST(!r->is_over && !r->is_ready);
	buf_printf(&r->story, "done %d %d %s %s %d%d%d; ", (int)res->stage, res->code, res->status,
	    res->text == NULL ? "" : res->text, res->accepted, res->unknown, res->requiretls_sent);
	check_code(res->code, res->status, res->text);
	MUST(res->nrcpts == 2);
	for (size_t i = 0; i < 2; i++) {
		check_code(res->rcpts[i].code, res->rcpts[i].status, res->rcpts[i].text);
		MUST(res->rcpts[i].code != 0 || res->rcpts[i].text == NULL);
		taken += res->rcpts[i].code / 100 == 2;
		buf_printf(&r->story, "%d %s; ", res->rcpts[i].code, res->rcpts[i].status);
	}
	/* all of it was there before anybody said yes to it. */
	if (res->accepted) {
		MUST(res->stage == SMTP_AT_END && res->code / 100 == 2 && taken > 0 && r->is_open);
		MUST(ends_with(&r->peer.heard, &r->as_data) || ends_with(&r->peer.heard, &r->as_bdat));
		MUST(!res->unknown);
	}
	/* Rule 6 of durability: sent and no answer is not the same as not sent. */
	if (res->unknown)
		MUST(res->code == 0 && r->is_open && taken > 0);
	else if (res->code == 0 && taken > 0)
		MUST(!ends_with(&r->peer.heard, &r->as_data) && !ends_with(&r->peer.heard, &r->as_bdat));
	MUST(!res->bdat_refused || (!res->accepted && !res->unknown));
	MUST(!res->requiretls_sent || (r->wants & WANT_REQUIRETLS));
	r->is_open = false;
	if (r->flags & FLAG_FREE_IN_DONE)
		smtp_client_free(r->client);
	else if (r->flags & FLAG_QUIT_IN_DONE)
		smtp_client_quit(r->client);
	else
		return;
	r->client = NULL;
}

static void
on_ended(void *owner, enum smtp_client_end why, const struct smtp_client_info *info, int code,
    const char *status, const char *text)
{
	struct run *r = owner;

	MUST(!r->is_over && !r->is_open && r->client != NULL);
	MUST(info->tls != NULL || !has_told(r));
	r->is_over = true;
	r->is_ready = false;
	buf_printf(&r->story, "ended %d %d %s %s", (int)why, code, status, text == NULL ? "" : text);
	if (r->flags & FLAG_FREE_IN_ENDED) {
		smtp_client_free(r->client);
		r->client = NULL;
	}
}

static void
on_logged_in(void *owner, enum smtp_login_end end, int code, const char *status, const char *text)
{
	struct run *r = owner;
	const struct smtp_client_info *info = smtp_client_get_info(r->client);

	MUST(!r->is_over && !r->is_ready && text != NULL);
	buf_printf(&r->story, "login %d %d %s %s; ", (int)end, code, status, text);
	check_code(code, status, text);
	MUST(info->logged_in == (end == SMTP_LOGIN_OK) && (end != SMTP_LOGIN_OK || (code == 235 && has_told(r))));
	MUST(end != SMTP_LOGIN_NOT_OFFERED || !has_told(r));
	may_go_on(r);
}

static const struct smtp_client_ops ops = { on_ready, on_done, on_ended, on_logged_in };

/* ---- The server ---- */
static void
settle(struct run *r, bool breaks)
{
	fake_turn();
	for (;;) {
		if (r->peer.wants_tls && breaks)
			fake_close(&r->peer, NET_TLS_ERROR);
		if (r->peer.wants_tls)
			fake_secure(&r->peer, r->flags & FLAG_OLD_TLS ? &old_tls : &tls);
		else if (r->client != NULL && !r->is_over && r->is_ready && r->left > 0)
			start_txn(r);
		else if (r->client != NULL && !r->is_over && r->wants_feed)
			feed(r);
		else
			break;
		fake_turn();
	}
}

/* Up to the end of the first reply, or all. */
static size_t
reply_length(const uint8_t *p, size_t n)
{
	const uint8_t *line = p, *end = p + n, *lf;

	while ((lf = memchr(line, '\n', (size_t)(end - line))) != NULL) {
		if (lf - line < 4 || line[3] != '-')
			return (size_t)(lf - p) + 1;
		line = lf + 1;
	}
	return n;
}

static void
say(struct run *r, const uint8_t *p, size_t n)
{
	while (n > 0) {
		size_t step = r->random == 0 ? n : 1 + fuzz_random(&r->random) % 11;

		step = step < n ? step : n;
		fake_send(&r->peer, p, step);
		fake_turn();
		p += step;
		n -= step;
	}
}

/* Replies that come together. Returns the octets used. */
static size_t
say_replies(struct run *r, const uint8_t *p, size_t n)
{
	size_t at = reply_length(p, n), next;
	struct buf b;

	buf_init(&b, n);
	buf_add(&b, p, at);
	while (at < n && p[at] == OP_EARLY) {
		r->is_early = true;
		next = reply_length(p + at + 1, n - at - 1);
		buf_add(&b, p + at + 1, next);
		at += next + 1;
	}
	say(r, (const uint8_t *)buf_peek(&b), b.len);
	buf_fini(&b);
	return at;
}

static void
script(struct run *r, const uint8_t *p, size_t n)
{
	while (n > 0 && r->peer.conn != NULL) {
		size_t take = 1;

		switch (*p) {
		case OP_CLOSE:
		case OP_BREAK:
			fake_close(&r->peer, *p == OP_CLOSE ? NET_EOF : NET_RESET);
			settle(r, *p == OP_BREAK);
			return;
		case OP_WAIT:
			fake_time(700000);
			break;
		default:
			take = say_replies(r, p, n);
		}
		settle(r, false);
		p += take;
		n -= take;
	}
}

static struct msg *
make_msg(const struct run *r)
{
	static const char *const from[] = { "a@client.example", "a>\r\nRCPT TO:<x@client.example" };
	struct msg *m = msg_new();
	struct msg_rcpt *to;

	m->from = xstrdup(from[(r->wants & WANT_HOSTILE_ROW) != 0]);
	m->from_domain = xstrdup("client.example");
	m->envid = xstrdup("id+2B1");
	m->ret = RET_HDRS;
	for (int i = 0; i < 2; i++) {
		to = msg_add_rcpt(m);
		to->address = xasprintf("%d%s@here.example", i, r->wants & WANT_UTF8 ? "\xc3\xa9" : "");
		to->domain = xstrdup("here.example");
		to->notify = NOTIFY_FAILURE | NOTIFY_DELAY;
		to->orcpt = xstrdup("utf-8;\xc3\xa9+2B@x");
	}
	return m;
}

static void
begin(struct run *r, const uint8_t *data, bool is_cut)
{
	bool crlf, line_start = true;
	struct smtp_client_conf conf = { .helo = "gw.example", .tls_ctx = (struct tls_client *)"tls" };
	struct err err;

	r->flags = data[2];
	r->wants = data[3];
	crlf = (r->wants & WANT_NO_CRLF) == 0;
	r->left = 2;
	conf.tls = r->flags & FLAG_CLEAR ? SMTP_CLIENT_CLEAR :
	    r->flags & FLAG_IMPLICIT ? SMTP_CLIENT_IMPLICIT : SMTP_CLIENT_STARTTLS;
	r->msg = make_msg(r);
	r->body = xasprintf("%s%s", body, crlf ? "\r\n" : "");
	r->body_len = strlen(r->body);
	r->content = content_from_memory(xasprintf("%s%s", header, r->body),
	    sizeof header - 1 + r->body_len, sizeof header - 1);
	buf_init(&r->as_data, 4096);
	buf_init(&r->as_bdat, 4096);
	dot_stuff(&r->as_data, r->content->mem, (size_t)r->content->size, &line_start);
	buf_adds(&r->as_data, crlf ? ".\r\n" : "\r\n.\r\n");
	buf_printf(&r->as_bdat, "BDAT %llu LAST\r\n%s", (unsigned long long)r->content->size, r->content->mem);
	buf_init(&r->story, 1 << 20);
	fake_peer_init(&r->peer);
	r->client = smtp_client_new(fake_base, &conf, &ops, r, &err);
	MUST(r->client != NULL);
	settle(r, false);
	script(r, (const uint8_t *)starts[data[1] % NELEMS(starts)],
	    strlen(starts[data[1] % NELEMS(starts)]));
	r->random = is_cut ? data[0] * 2654435761u + 1 : 0;
}

static unsigned
count(const struct buf *b, const char *word)
{
	const char *p = buf_peek(b), *end = p + b->len;
	unsigned n = 0;

	for (; (p = memmem(p, (size_t)(end - p), word, strlen(word))) != NULL; p++)
		n++;
	return n;
}

static void
play(struct run *r, const uint8_t *data, size_t n, bool is_cut)
{
	begin(r, data, is_cut);
	script(r, data + 4, n - 4);
	fake_close(&r->peer, NET_EOF);
	settle(r, false);
	for (int i = 0; i < 8 && r->peer.conn != NULL; i++)
		fake_time(700000);
	MUST(r->is_over || r->client == NULL);
	smtp_client_free(r->client);
	smtp_client_quit_now();
	fake_turn();
	/* I2: lines and nothing else, and a MAIL only behind each yes. */
	if ((r->wants & (WANT_NO_CRLF | WANT_FEED_FAILS)) == 0)
		must_be_lines(buf_slice(&r->peer.heard), 4096, true);
	MUST(count(&r->peer.heard, "MAIL FROM:") == r->mails);
	if (r->wants & WANT_REQUIRETLS)
		MUST(count(&r->peer.heard, " REQUIRETLS") == r->mails);
	else
		MUST(count(&r->peer.heard, "REQUIRETLS") == 0);
	MUST((r->wants & WANT_HOSTILE_ROW) == 0 || r->mails == 0);
}

static void
end(struct run *r)
{
	fake_peer_fini(&r->peer);
	buf_fini(&r->story);
	buf_fini(&r->as_data);
	buf_fini(&r->as_bdat);
	free(r->body);
	content_unref(r->content);
	msg_unref(r->msg);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct run whole = { .left = 0 }, cut = { .left = 0 };

	if (n < 4 || n > 60000)
		return 0;
	fake_quiet();
	play(&whole, data, n, false);
	if (!whole.is_early) {
		play(&cut, data, n, true);
		MUST(slice_eq(buf_slice(&whole.story), buf_slice(&cut.story)));
		MUST(slice_eq(buf_slice(&whole.peer.heard), buf_slice(&cut.peer.heard)));
		end(&cut);
	}
	end(&whole);
	return 0;
}
