/* Replies on their way to the client: collected while commands are read, written in one piece
 * (RFC 2920 3.2). No text of the client's is ever part of one. */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "smtp/smtp_int.h"

static void
count_error(struct smtp_session *s, char first_digit)
{
	/* A temporary refusal is not the client's doing and costs it nothing. */
	const struct smtp_server_conf *c = s->conf;

	if (first_digit != '5')
		return;
	s->strikes++;
	s->info.errors++;
	/* Who guesses, guesses slowly. A timer, so it costs nobody else anything. */
	if (c->soft_errors > 0 && s->strikes >= c->soft_errors && c->error_delay_ms > 0) {
		s->held_ms = clock_mono_ms() + c->error_delay_ms;
		session_restart_timer(s);
	}
}

void
say(struct smtp_session *s, const char *line)
{
	if (!buf_adds(&s->out, line) || !buf_add(&s->out, "\r\n", 2))
		s->is_lost = true;
	count_error(s, line[0]);
}

void
sayf(struct smtp_session *s, const char *fmt, ...)
{
	size_t at = s->out.len;
	va_list ap;

	va_start(ap, fmt);
	if (!buf_vprintf(&s->out, fmt, ap) || !buf_add(&s->out, "\r\n", 2))
		s->is_lost = true;
	else
		count_error(s, buf_peek(&s->out)[at]);
	va_end(ap);
}

void
say_reply(struct smtp_session *s, const struct smtp_reply *r)
{
	if (!smtp_reply_format(&s->out, r))
		s->is_lost = true;
	count_error(s, (char)('0' + r->code / 100));
}

/* Owners may have filled the reply in by hand: each of ours has an enhanced code, and of the right
 * class (M-117, M-118). */
void
verdict_reply(struct smtp_reply *r, const struct smtp_verdict *v)
{
	*r = v->reply;
	if (r->status[0] != '0' + r->code / 100)
		snprintf(r->status, sizeof r->status, "%d.0.0", r->code / 100 % 10);
}

void
verdict_refusal(struct smtp_reply *r, const struct smtp_verdict *v)
{
	bool drop = v->what == SMTP_DROP;

	if (v->reply.code >= 400 && v->reply.code <= 599)
		verdict_reply(r, v);
	else
		smtp_reply_set(r, drop ? 421 : 451, "4.3.0", "%s",
		    drop ? "Closing this connection" : "Temporary trouble here, try again later");
}

void
say_refusal(struct smtp_session *s, const struct smtp_verdict *v)
{
	struct smtp_reply r;

	verdict_refusal(&r, v);
	say_reply(s, &r);
}

void
session_flush(struct smtp_session *s)
{
	if (s->conn == NULL || s->out.len == 0)
		return;
	if (s->is_lost || !net_write(s->conn, buf_peek(&s->out), s->out.len)) {
		session_end(s, "replies cannot be sent");
		return;
	}
	buf_consume(&s->out, s->out.len);
	s->is_urgent = false;
	s->is_blocked = net_out_len(s->conn) > NET_OUT_HIGH;
}

char *
refusal_text(const struct smtp_verdict *v)
{
	struct smtp_reply r;
	struct buf line;

	verdict_refusal(&r, v);
	buf_init(&line, 64 * 1024);
	smtp_reply_format(&line, &r);
	if (line.len >= 2)
		line.len -= 2;	/* say() adds the CRLF */
	return buf_take(&line);
}
