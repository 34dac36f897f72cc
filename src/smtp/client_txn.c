/* One transaction: MAIL, RCPT, DATA or BDAT, content, and what the replies mean.
 *
 * Content goes by DATA when it is in memory and the peer pipelines: MAIL, RCPT and DATA are one
 * write and one round trip, the form every server has seen most of. It goes by BDAT, one chunk,
 * where that saves something: without PIPELINING the round trip for 354, and for long content that
 * comes from the store in pieces the search for dots in all of it. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/client_int.h"

#define PIECE (32u * 1024)	/* of content in memory at a time */
#define ENVELOPE_MAX (960u * 1024)	/* below what net_write takes */
#define ADDRESS_MAX 512u	/* octets; RFC 5321 has 256 for a path */
#define PARAM_MAX 2048u		/* whatever fitted into a command that we accepted */
#define REPLY_KEPT 4096u
#define COMMAND_MAX 8192u	/* with all of them, ORCPT grown by its \x{} */

static bool
has(const struct smtp_client *c, unsigned ext)
{
	return (c->info.ext & ext) != 0;
}

static uint64_t
total_size(const struct smtp_txn *t)
{
	return t->header.n + t->body_size;
}

static const struct msg_rcpt *
rcpt_of(const struct smtp_txn *t, size_t i)
{
	return &t->msg->rcpts[t->rcpt_index[i]];
}

/* ---- Results ---- */

void
txn_fini(struct txn *x)
{
	for (size_t i = 0; x->rcpts != NULL && i < x->r.nrcpts; i++)
		free(x->rcpts[i].text);
	free(x->rcpts);
	free(x->r.text);
	memset(x, 0, sizeof *x);
}

/* a reply may be 64 KiB, and each recipient has one. What logs and notices show of it is less. */
static char *
kept(struct slice text)
{
	return slice_dup((struct slice){ text.p, text.n < REPLY_KEPT ? text.n : REPLY_KEPT });
}

static void
set_result(struct txn *x, enum smtp_txn_stage stage, int code, const char *status, struct slice text)
{
	x->r.stage = stage;
	x->r.code = code;
	snprintf(x->r.status, sizeof x->r.status, "%s", status);
	free(x->r.text);
	x->r.text = code == 0 ? NULL : kept(text);
}

/* Hands out the result. The owner may free the client meanwhile: callers look before going on. */
static void
give_result(struct smtp_client *c)
{
	struct txn x = c->txn;		/* its own copy: the owner may begin anew */

	memset(&c->txn, 0, sizeof c->txn);
	x.r.dsn_relayed = has(c, SMTP_EXT_DSN);
	x.r.rcpts = x.rcpts;
	c->ops->done(c->owner, &x.r);
	txn_fini(&x);
}

void
txn_abort(struct smtp_client *c, enum smtp_client_end why, const char *text)
{
	struct txn *x = &c->txn;

	if (x->r.code == 0 && x->r.text == NULL)
		x->r.text = xstrdup(text);
	x->r.broke_protocol = why == SMTP_END_PROTOCOL && !x->r.bdat_refused;

	/* Rule 6: the end was sent and what became of it is not known. */
	if (x->end_sent && !x->dot_alone)
		x->r.unknown = true;
	give_result(c);
}

/* The transaction is over and the connection is not. */
static void
txn_end(struct smtp_client *c, bool needs_rset)
{
	net_deadline(c->conn, 0);
	give_result(c);
	if (c->freed || c->state != CL_TXN)
		return;
	if (needs_rset)
		client_rset(c);
	else
		client_ready(c);
}

/* ---- The envelope ---- */

/* The database and policies are trusted to have checked these, but not with the next hop's command
 * stream. Parameters: no control octet, no space, no length that would not fit. */
static bool
is_clean_param(const char *s)
{
	if (s != NULL && strlen(s) > PARAM_MAX)
		return false;
	for (; s != NULL && *s != 0; s++) {
		if ((unsigned char)*s <= 0x20 || (unsigned char)*s == 0x7F)
			return false;
	}
	return true;
}

/* Addresses: the same, and no angle bracket; space and bracket may stand in a quoted local-part. */
static bool
is_clean_address(const char *s)
{
	bool quoted = false;

	if (strlen(s) > ADDRESS_MAX)
		return false;
	for (; *s != 0; s++) {
		unsigned char ch = (unsigned char)*s;

		if (ch < 0x20 || ch == 0x7F)
			return false;
		if (quoted && ch == '\\' && s[1] != 0)
			s++;
		else if (ch == '"')
			quoted = !quoted;
		else if (!quoted && (ch == ' ' || ch == '<' || ch == '>'))
			return false;
		if ((unsigned char)*s < 0x20 || (unsigned char)*s == 0x7F)
			return false;
	}
	return !quoted;
}

static bool
is_ascii(const char *s)
{
	for (; s != NULL && *s != 0; s++) {
		if ((unsigned char)*s >= 0x80)
			return false;
	}
	return true;
}

/* What can be said without asking the peer. NULL: nothing stands against sending. */
static const char *
local_refusal(const struct smtp_client *c, const struct smtp_txn *t, bool *utf8)
{
	const struct msg *m = t->msg;

	*utf8 = t->needs_utf8 || !is_ascii(m->from);
	if (!is_clean_address(m->from) || !is_clean_param(m->envid))
		return "5.1.7";
	for (size_t i = 0; i < t->nrcpts; i++) {
		const struct msg_rcpt *r = rcpt_of(t, i);

		if (!is_clean_address(r->address) || !is_clean_param(r->orcpt))
			return "5.1.3";
		*utf8 = *utf8 || !is_ascii(r->address);
	}
	/* I2, beside and not instead of may_send: never without the keyword on a live TLS session. */
	if (t->with_requiretls && (c->info.tls == NULL || !has(c, SMTP_EXT_REQUIRETLS)))
		return "5.7.30";
	if (*utf8 && !has(c, SMTP_EXT_SMTPUTF8))
		return "5.6.7";		/* M-166 */
	if (t->is_8bit && !has(c, SMTP_EXT_8BITMIME))
		return "5.6.3";		/* M-110 */
	if (c->info.size_max > 0 && total_size(t) > c->info.size_max)
		return "5.3.4";		/* M-108 */
	return NULL;
}

/* The add_* functions give false when memory is out: half a command must not be sent. */
static bool
add_mail(struct smtp_client *c, struct buf *out)
{
	const struct smtp_txn *t = c->txn.t;
	const struct msg *m = t->msg;
	bool ok = buf_printf(out, "MAIL FROM:<%s>", m->from);

	if (has(c, SMTP_EXT_SIZE))
		ok = ok && buf_printf(out, " SIZE=%llu", (unsigned long long)total_size(t));
	if (has(c, SMTP_EXT_8BITMIME) && (t->is_8bit || m->body_type == BODY_8BITMIME))
		ok = ok && buf_adds(out, " BODY=8BITMIME");
	if (c->txn.smtputf8)
		ok = ok && buf_adds(out, " SMTPUTF8");
	if (has(c, SMTP_EXT_DSN)) {	/* M-133, R-90: as they came, none invented */
		if (m->ret != RET_NONE)
			ok = ok && buf_adds(out, m->ret == RET_FULL ? " RET=FULL" : " RET=HDRS");
		if (m->envid != NULL)
			ok = ok && buf_printf(out, " ENVID=%s", m->envid);
	}
	if (t->with_requiretls) {
		ok = ok && buf_adds(out, " REQUIRETLS");
		c->txn.r.requiretls_sent = true;
	}
	return ok && buf_adds(out, "\r\n");
}

static bool
add_notify(struct buf *out, unsigned notify)
{
	static const struct { unsigned bit; const char *name; } names[] = {
		{ NOTIFY_SUCCESS, "SUCCESS" }, { NOTIFY_FAILURE, "FAILURE" }, { NOTIFY_DELAY, "DELAY" },
	};
	bool first = true, ok;

	if (notify == 0)
		return true;
	ok = buf_adds(out, " NOTIFY=");
	if ((notify & NOTIFY_NEVER) != 0)
		return ok && buf_adds(out, "NEVER");
	for (size_t i = 0; i < NELEMS(names); i++) {
		if ((notify & names[i].bit) == 0)
			continue;
		ok = ok && (first || buf_addc(out, ',')) && buf_adds(out, names[i].name);
		first = false;
	}
	return ok;
}

/* M-148 (RFC 6533 3): towards a peer that gets no SMTPUTF8, UTF-8 in ORCPT becomes \x{...}. What
 * is not valid UTF-8 is left out. */
static bool
add_orcpt(struct buf *out, const char *orcpt, bool smtputf8)
{
	bool ok;

	if (orcpt == NULL || !utf8_is_valid(orcpt, strlen(orcpt)))
		return true;
	ok = buf_adds(out, " ORCPT=");
	if (smtputf8)
		return ok && buf_adds(out, orcpt);
	for (const unsigned char *p = (const unsigned char *)orcpt; *p != 0;) {
		unsigned n = *p < 0x80 ? 0 : *p >= 0xF0 ? 3 : *p >= 0xE0 ? 2 : 1, ch;

		if (n == 0) {
			ok = ok && buf_addc(out, (char)*p++);
			if (!ok)
				return false;
			continue;
		}
		for (ch = *p++ & (0x3Fu >> n); n > 0; n--)
			ch = ch << 6 | (*p++ & 0x3F);
		ok = ok && buf_printf(out, "\\x{%X}", ch);
	}
	return ok;
}

static bool
add_rcpt(struct smtp_client *c, struct buf *out, size_t i)
{
	const struct msg_rcpt *r = rcpt_of(c->txn.t, i);
	bool ok = buf_printf(out, "RCPT TO:<%s>", r->address);

	if (has(c, SMTP_EXT_DSN))
		ok = ok && add_notify(out, r->notify) && add_orcpt(out, r->orcpt, c->txn.smtputf8);
	return ok && buf_adds(out, "\r\n");
}

/* MAIL alone, or with the whole group. Nothing is called back: smtp_client_send must not. */
static bool
say_mail(struct smtp_client *c)
{
	struct txn *x = &c->txn;
	struct buf out;
	bool ok;

	buf_init(&out, ENVELOPE_MAX);
	ok = add_mail(c, &out);
	for (size_t i = 0; x->grouped && i < x->t->nrcpts; i++)
		ok = ok && add_rcpt(c, &out, i);
	if (x->grouped && x->mode == TXN_DATA)
		ok = ok && buf_adds(&out, "DATA\r\n");
	ok = ok && net_write(c->conn, buf_peek(&out), out.len);
	buf_fini(&out);
	net_deadline(c->conn, c->timers.mail);
	return ok;
}

static void
say_rcpt(struct smtp_client *c, size_t i)
{
	struct buf out;

	buf_init(&out, COMMAND_MAX);
	if (add_rcpt(c, &out, i))
		client_command(c, c->timers.rcpt, buf_slice(&out));
	else
		client_end(c, SMTP_END_LOST, 0, "", "out of memory");
	buf_fini(&out);
}

void
smtp_client_send(struct smtp_client *c, const struct smtp_txn *t)
{
	struct txn *x = &c->txn;
	const char *status;
	bool in_memory = t->content != NULL && t->content->mem != NULL;

	MUST(c->state == CL_READY && x->t == NULL && t->nrcpts > 0);
	memset(x, 0, sizeof *x);
	x->t = t;
	x->r.nrcpts = t->nrcpts;
	x->rcpts = xcalloc(t->nrcpts, sizeof *x->rcpts);
	x->at_line_start = true;
	x->mode = t->no_bdat || !has(c, SMTP_EXT_CHUNKING) || (in_memory && has(c, SMTP_EXT_PIPELINING)) ? TXN_DATA :
	    TXN_BDAT;
	x->grouped = has(c, SMTP_EXT_PIPELINING) && t->nrcpts < ENVELOPE_MAX / COMMAND_MAX;
	c->state = CL_TXN;
	status = local_refusal(c, t, &x->smtputf8);
	if (status != NULL) {
		set_result(x, SMTP_AT_MAIL, 0, status, SLICE(""));
	} else if (net_in(c->conn).n == 0 && (t->may_send == NULL || t->may_send(c->owner, &c->info))) {
		/* I2: between that answer and these octets nothing else happens. */
		c->info.sent++;
		c->cut = !say_mail(c);
		if (!c->cut)
			return;
	}
	c->refuse = true;
	client_kick(c);
}

void
txn_refused(struct smtp_client *c)
{
	if (net_in(c->conn).n > 0)
		client_protocol(c, "the server spoke unasked");
	else
		txn_end(c, false);
}

/* ---- Content ---- */

static void
note_end(struct txn *x, const char *p, size_t n)
{
	if (n >= 2)
		x->last[0] = p[n - 2];
	else if (n == 1)
		x->last[0] = x->last[1];
	if (n >= 1)
		x->last[1] = p[n - 1];
}

static bool
put(struct smtp_client *c, const char *p, size_t n)
{
	struct txn *x = &c->txn;
	struct buf *out = net_out(c->conn);
	bool ok;

	ok = x->mode == TXN_BDAT ? buf_add(out, p, n) : dot_stuff(out, p, n, &x->at_line_start);
	note_end(x, p, n);
	return ok && net_out_added(c->conn);
}

static void
send_end(struct smtp_client *c)
{
	struct txn *x = &c->txn;
	bool crlf = x->last[0] == '\r' && x->last[1] == '\n';

	/* a reply that is here before its question would be taken for the final one. */
	if (net_in(c->conn).n > 0) {
		client_protocol(c, "the server replied before the end of data");
		return;
	}
	/* M-39: stored content ends in CRLF; what does not must not swallow the dot. */
	if (x->mode == TXN_DATA && !net_write(c->conn, crlf ? ".\r\n" : "\r\n.\r\n", crlf ? 3 : 5)) {
		client_end(c, SMTP_END_LOST, 0, "", "writing failed");
		return;
	}
	x->in_body = false;
	x->end_sent = true;
	x->r.stage = SMTP_AT_END;
	net_deadline(c->conn, c->timers.data_end);
}

/* Writes content until the output is full, content has to be waited for, or it is all written. */
void
txn_pump(struct smtp_client *c)
{
	struct txn *x = &c->txn;

	if (x->in_pump)
		return;
	x->in_pump = true;
	net_deadline(c->conn, c->timers.data_block);	/* M-24, X-48: each block anew */
	while (x->t != NULL && x->offset < x->t->body_size && net_out_len(c->conn) < NET_OUT_HIGH) {
		const struct content *mem = x->t->content;
		uint64_t left = x->t->body_size - x->offset;
		size_t n = left < PIECE ? (size_t)left : PIECE;

		if (mem == NULL || mem->mem == NULL) {
			if (x->asked)
				break;
			x->asked = true;
			x->t->need_body(c->owner, x->offset);
			if (c->freed || c->cut)
				return;
			continue;
		}
		if (!put(c, mem->mem + mem->header_size + x->offset, n)) {
			client_end(c, SMTP_END_LOST, 0, "", "writing failed");
			return;
		}
		x->offset += n;
	}
	x->in_pump = false;
	if (x->t != NULL && x->offset == x->t->body_size)
		send_end(c);
}

static void
begin_body(struct smtp_client *c)
{
	struct txn *x = &c->txn;
	char line[64];

	if (net_in(c->conn).n > 0) {
		client_protocol(c, "the server replied before the end of data");
		return;
	}
	if (x->mode == TXN_BDAT) {
		snprintf(line, sizeof line, "BDAT %llu LAST\r\n", (unsigned long long)total_size(x->t));
		if (!net_write(c->conn, line, strlen(line))) {
			client_end(c, SMTP_END_LOST, 0, "", "writing failed");
			return;
		}
	}
	x->in_body = true;
	x->r.stage = SMTP_AT_DATA;
	/* Once: content in memory is small, and growing step by step would copy it several times. */
	buf_reserve(net_out(c->conn), x->t->header.n + (x->t->body_size < NET_OUT_HIGH ?
	    (size_t)x->t->body_size + 512 : NET_OUT_HIGH));
	if (!put(c, x->t->header.p, x->t->header.n)) {
		client_end(c, SMTP_END_LOST, 0, "", "writing failed");
		return;
	}
	txn_pump(c);
}

void
smtp_client_feed(struct smtp_client *c, const char *p, size_t n)
{
	struct txn *x = &c->txn;

	if (c->freed || c->state != CL_TXN || !x->in_body || !x->asked || c->cut)
		return;			/* late: that transaction is over */
	x->asked = false;
	if (n == 0 || n > x->t->body_size - x->offset || !put(c, p, n)) {
		/* Never a dot behind half a message. */
		c->cut = true;
		client_kick(c);
		return;
	}
	x->offset += n;
	if (!x->in_pump)
		client_kick(c);
}

/* CHUNKING is listed, yet the command is unknown, not implemented or out of place. What of the
 * content the server took for commands nobody knows: this connection is done with, and the content
 * goes by DATA on another. A refusal of the message itself has other codes. */
static bool
is_bdat_refusal(const struct txn *x, int code, const char *status)
{
	return x->mode == TXN_BDAT && code >= 500 && code <= 504 &&
	    (status[0] == 0 || strncmp(status, "5.5.", 4) == 0);
}

static void
bdat_refused(struct smtp_client *c, int code, const char *status, struct slice text)
{
	struct txn *x = &c->txn;

	set_result(x, SMTP_AT_DATA, code, status, text);
	x->r.bdat_refused = true;
	x->end_sent = false;
	client_protocol(c, "CHUNKING was listed and BDAT is refused");
}

/* nothing is expected while content goes out. Some servers say 421 or 552 and close; with
 * half a message sent there is no way on but to close, too. */
void
txn_input_in_body(struct smtp_client *c, int code, const char *status, struct slice text)
{
	if (code == 421)
		set_result(&c->txn, SMTP_AT_DATA, code, status, text);
	else if (is_bdat_refusal(&c->txn, code, status))
		bdat_refused(c, code, status, text);
	else
		client_protocol(c, "the server replied before the end of data");
}

/* ---- Replies ---- */

/* Row 49: the keyword was listed and the parameter is not taken. */
static bool
is_parameter_refusal(const struct txn *x, int code, const char *status)
{
	return x->t->with_requiretls && (code == 501 || code == 504 || code == 555 ||
	    (code / 100 == 5 && strcmp(status, "5.5.4") == 0));
}

static void
mail_reply(struct smtp_client *c, int code, const char *status, struct slice text)
{
	struct txn *x = &c->txn;

	set_result(x, SMTP_AT_MAIL, code, status, text);
	x->mail_ok = code / 100 == 2;
	if (!x->mail_ok)
		x->r.parameter_refused = is_parameter_refusal(x, code, status);
	else
		set_result(x, SMTP_AT_RCPT, 0, "", SLICE(""));
	if (x->grouped)
		net_deadline(c->conn, c->timers.rcpt);
	else if (x->mail_ok)
		say_rcpt(c, 0);
	else
		txn_end(c, false);
}

/* All recipients are known. */
static void
envelope_done(struct smtp_client *c)
{
	struct txn *x = &c->txn;

	if (x->grouped && x->mode == TXN_DATA) {
		net_deadline(c->conn, c->timers.data_init);	/* DATA is on its way */
		return;
	}
	if (!x->mail_ok)
		txn_end(c, false);
	else if (x->naccepted == 0)
		txn_end(c, true);
	else if (x->mode == TXN_BDAT)
		begin_body(c);
	else
		client_command(c, c->timers.data_init, SLICE("DATA\r\n"));
}

static void
rcpt_reply(struct smtp_client *c, size_t i, int code, const char *status, struct slice text)
{
	struct txn *x = &c->txn;

	if (x->mail_ok) {
		x->rcpts[i].code = code;
		memcpy(x->rcpts[i].status, status, strlen(status) + 1);
		x->rcpts[i].text = kept(text);
		x->naccepted += code / 100 == 2;
	}
	if (i + 1 == x->t->nrcpts)
		envelope_done(c);
	else if (!x->grouped)
		say_rcpt(c, i + 1);
	else
		net_deadline(c->conn, c->timers.rcpt);
}

static void
data_reply(struct smtp_client *c, int code, const char *status, struct slice text)
{
	struct txn *x = &c->txn;

	if (code / 100 == 2) {		/* nothing was sent that could be accepted */
		client_protocol(c, "DATA was answered as if it were the end of data");
		return;
	}
	if (code / 100 != 3) {
		if (x->mail_ok && x->naccepted > 0)
			set_result(x, SMTP_AT_DATA, code, status, text);
		txn_end(c, x->mail_ok);
		return;
	}
	if (x->mail_ok && x->naccepted > 0) {
		begin_body(c);
		return;
	}
	/* M-100: the group had DATA in it and the server went along with it for nobody. */
	x->dot_alone = true;
	if (client_command(c, c->timers.data_end, SLICE(".\r\n")))
		x->end_sent = true;
}

static void
end_reply(struct smtp_client *c, int code, const char *status, struct slice text)
{
	struct txn *x = &c->txn;

	if (x->dot_alone) {		/* whatever it says, nobody was to get this */
		txn_end(c, false);
		return;
	}
	if (code / 100 == 3) {
		client_protocol(c, "the end of data was answered as if it were DATA");
		return;
	}
	if (is_bdat_refusal(x, code, status)) {
		bdat_refused(c, code, status, text);
		return;
	}
	set_result(x, SMTP_AT_END, code, status, text);
	x->r.accepted = code / 100 == 2;
	x->end_sent = false;		/* its reply is here: nothing is unknown any more */
	txn_end(c, false);
}

/* 421 is an answer to what was asked and the end of the rest; client.c ends the connection. */
static void
shut_out(struct txn *x, const char *status, struct slice text)
{
	size_t i = x->next_reply;

	if (x->end_sent) {
		if (!x->dot_alone)
			set_result(x, SMTP_AT_END, 421, status, text);
		x->end_sent = false;
	} else if (i == 0) {
		set_result(x, SMTP_AT_MAIL, 421, status, text);
	} else if (i <= x->t->nrcpts && x->mail_ok) {
		x->rcpts[i - 1].code = 421;
		memcpy(x->rcpts[i - 1].status, status, strlen(status) + 1);
		x->rcpts[i - 1].text = kept(text);
	} else if (x->mail_ok && x->naccepted > 0) {
		set_result(x, SMTP_AT_DATA, 421, status, text);
	}
}

/* M-99: which command a reply belongs to is a matter of counting. */
void
txn_reply(struct smtp_client *c, int code, const char *status, struct slice text)
{
	struct txn *x = &c->txn;
	size_t i = x->next_reply;

	if (code == 421) {
		shut_out(x, status, text);
		return;
	}
	if (x->end_sent) {
		end_reply(c, code, status, text);
		return;
	}
	if (code / 100 == 3 && i <= x->t->nrcpts) {
		client_protocol(c, "MAIL or RCPT was answered as if it were DATA");
		return;
	}
	x->next_reply++;
	if (i == 0)
		mail_reply(c, code, status, text);
	else if (i <= x->t->nrcpts)
		rcpt_reply(c, i - 1, code, status, text);
	else
		data_reply(c, code, status, text);
}
