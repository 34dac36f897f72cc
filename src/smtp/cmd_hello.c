/* How a conversation opens: greeting, HELO and EHLO, STARTTLS (RFC 5321 3.1, 4.1.1.1; 3207). */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/smtp_int.h"

/* ---- CONNECT and TLS ---- */
void
session_greet(struct smtp_session *s)
{
	/* No product, no version. */
	sayf(s, "220 %s ESMTP", s->conf->hostname);
	session_state(s, ST_GREETED);
}

void
session_shut_out(struct smtp_session *s, const char *text)
{
	free(s->refusal);
	s->refusal = xstrdup(text);
	session_state(s, ST_REFUSED);
}

/* The first line of a refusal as a greeting: no enhanced code there (M-117), and a 4yz is 421. */
static void
refuse_greeting(struct smtp_session *s, const struct smtp_verdict *v)
{
	struct smtp_reply r;

	verdict_refusal(&r, v);
	if (r.code < 500) {
		r.code = 421;
		say_reply(s, &r);
		session_flush(s);
		session_end_politely(s, "refused for now by policy");
		return;
	}
	r.status[0] = '\0';
	say_reply(s, &r);
	session_shut_out(s, NULL);
}

static void
tls_go(struct smtp_session *s, const struct smtp_verdict *v)
{
	(void)v;
	if (s->conf->implicit_tls)
		session_greet(s);
	else
		session_state(s, ST_GREETED);	/* no second greeting (N-20) */
}

static void
tls_no(struct smtp_session *s, const struct smtp_verdict *v)
{
	char *text;

	if (s->conf->implicit_tls) {
		refuse_greeting(s, v);
		return;
	}
	/* Nothing was asked, so nothing is said now; 554 to everything but QUIT (N-24). */
	text = refusal_text(v);
	session_shut_out(s, text);
	free(text);
}

static const struct smtp_step tls_step = { SMTP_ASK_TLS, tls_go, tls_no };

static void
connect_go(struct smtp_session *s, const struct smtp_verdict *v)
{
	(void)v;
	if (s->info.tls != NULL)
		session_ask(s, &tls_step, SLICE(""));
	else
		session_greet(s);
}

static const struct smtp_step connect_step = { SMTP_ASK_CONNECT, connect_go, refuse_greeting };

void
session_begin(struct smtp_session *s)
{
	if (s->server->is_draining) {
		session_bye(s, "4.3.2", "Service is shutting down");
		return;
	}
	if (s->conf->implicit_tls) {
		session_state(s, ST_HANDSHAKE);
		if (s->conf->tls == NULL || !net_start_tls_server(s->conn, s->conf->tls))
			session_end(s, "TLS cannot be started");
		return;
	}
	session_ask(s, &connect_step, SLICE(""));
	session_run(s);
}

/* A handshake is done. Whatever was said in clear is forgotten (M-150, N-20, X-5). */
void
session_secured(struct smtp_session *s)
{
	static struct log_gate gate = { .kind = "tls established" };
	const struct tls_info *tls = net_tls(s->conn);

	free(s->info.helo);
	s->info.helo = NULL;
	free(s->info.auth_id);
	s->info.auth_id = NULL;
	s->info.auth_mech = NULL;
	s->info.esmtp = false;
	s->offered = 0;
	s->info.tls = tls;
	tx_reset(s);
	if (log_may(&gate))
		log_info("tls established", LOG_ID("session", s->info.id), LOG_S("peer", s->info.peer_ip),
		    LOG_S("version", tls->version), LOG_S("cipher", tls->cipher), LOG_S("group", tls->group),
		    LOG_S("sni", tls->sni), LOG_S("resumed", tls->resumed ? "yes" : "no"),
		    LOG_S("client_cert", tls->cert_sha256));
	/* Until the owner has answered nothing is read (sync_reading), whatever the state. */
	session_ask(s, s->conf->implicit_tls ? &connect_step : &tls_step, SLICE(""));
}

/* ---- HELO and EHLO ---- */
unsigned
session_offers(const struct smtp_session *s)
{
	const struct smtp_server_conf *c = s->conf;
	unsigned ext = SMTP_EXT_PIPELINING | SMTP_EXT_SIZE | SMTP_EXT_8BITMIME | SMTP_EXT_SMTPUTF8 |
	    SMTP_EXT_CHUNKING | SMTP_EXT_ENHANCEDSTATUSCODES | SMTP_EXT_DSN;

	if ((c->max_rcpts > 0 && c->max_rcpts <= 999999) ||
	    (c->max_messages > 0 && c->max_messages <= 999999))
		ext |= SMTP_EXT_LIMITS;
	if (s->info.tls == NULL && c->tls != NULL && c->starttls != SMTP_STARTTLS_OFF)
		ext |= SMTP_EXT_STARTTLS;
	/* A promise that means nothing in clear. */
	if (s->info.tls != NULL && s->info.tls->is_modern && c->requiretls)
		ext |= SMTP_EXT_REQUIRETLS;
	if (auth_usable(s) != 0)
		ext |= SMTP_EXT_AUTH;
	return ext;
}

static void
say_ehlo(struct smtp_session *s)
{
	static const struct { unsigned ext; const char *word; } words[] = {
		{ SMTP_EXT_PIPELINING, "PIPELINING" }, { SMTP_EXT_8BITMIME, "8BITMIME" },
		{ SMTP_EXT_SMTPUTF8, "SMTPUTF8" }, { SMTP_EXT_CHUNKING, "CHUNKING" },
		{ SMTP_EXT_ENHANCEDSTATUSCODES, "ENHANCEDSTATUSCODES" }, { SMTP_EXT_DSN, "DSN" },
		{ SMTP_EXT_STARTTLS, "STARTTLS" }, { SMTP_EXT_REQUIRETLS, "REQUIRETLS" },
	};
	const struct smtp_server_conf *c = s->conf;
	size_t last;

	/* Every line with a hyphen; the last one's becomes a space. */
	last = s->out.len;
	buf_printf(&s->out, "250-%s\r\n", c->hostname);
	for (size_t i = 0; i < NELEMS(words); i++) {
		if ((s->offered & words[i].ext) == 0)
			continue;
		last = s->out.len;
		buf_adds(&s->out, "250-");
		buf_adds(&s->out, words[i].word);
		buf_adds(&s->out, "\r\n");
	}
	if (s->offered & SMTP_EXT_AUTH) {
		last = s->out.len;
		auth_say_ehlo(s, &s->out);
	}
	if (s->offered & SMTP_EXT_SIZE) {
		last = s->out.len;
		buf_printf(&s->out, "250-SIZE %llu\r\n", (unsigned long long)c->max_size);
	}
	if (s->offered & SMTP_EXT_LIMITS) {	/* RFC 9422: 1 to 6 digits, no zero (M-119) */
		last = s->out.len;
		buf_adds(&s->out, "250-LIMITS");
		if (c->max_rcpts > 0 && c->max_rcpts <= 999999)
			buf_printf(&s->out, " RCPTMAX=%u", c->max_rcpts);
		if (c->max_messages > 0 && c->max_messages <= 999999)
			buf_printf(&s->out, " MAILMAX=%u", c->max_messages);
		buf_adds(&s->out, "\r\n");
	}
	if (s->out.len > last + 3)
		s->out.mem[s->out.at + last + 3] = ' ';
}

/* A domain or an address literal, but only by its letters: what matters is that it can be logged,
 * put into a trace field and shown to a policy. Whether it is true is the owner's to judge (M-53). */
bool
hello_check(struct smtp_session *s, struct smtp_args *a)
{
	struct slice name = slice_trim(a->text);

	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = (unsigned char)name.p[i];

		if (!((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
		    (c != '\0' && strchr(".-_:[]", c) != NULL)))
			name.n = 0;
	}
	if (name.n == 0 || name.n > 255) {
		say(s, "501 5.5.4 A host name or address literal is needed");
		return false;
	}
	a->text = name;
	return true;
}

static void
hello_proceed(struct smtp_session *s, struct smtp_args *a, bool esmtp)
{
	if (s->hellos++ > 0)
		s->junk++;
	free(s->pending_helo);
	s->pending_helo = slice_dup(a->text);
	s->pending_esmtp = esmtp;
	session_ask(s, &hello_step, slice_of(s->pending_helo));
}

void
ehlo_proceed(struct smtp_session *s, struct smtp_args *a)
{
	hello_proceed(s, a, true);
}

void
helo_proceed(struct smtp_session *s, struct smtp_args *a)
{
	hello_proceed(s, a, false);
}

static void
hello_go(struct smtp_session *s, const struct smtp_verdict *v)
{
	unsigned hide = v->hide_ext;

	tx_reset(s);	/* a second EHLO is a RSET (M-52) */
	free(s->info.helo);
	s->info.helo = s->pending_helo;
	s->pending_helo = NULL;
	s->info.esmtp = s->pending_esmtp;
	if (hide & SMTP_EXT_8BITMIME)	/* SMTPUTF8 stands on it (M-165) */
		hide |= SMTP_EXT_SMTPUTF8;
	s->offered = session_offers(s) & ~hide;
	/* After HELO nothing was listed. Two harmless parameters are taken all the same, because
	 * old clients send them; the rest, REQUIRETLS above all, was not offered. */
	if (!s->info.esmtp)
		s->offered &= SMTP_EXT_SIZE | SMTP_EXT_8BITMIME;
	session_state(s, ST_READY);
	if (s->info.esmtp)
		say_ehlo(s);
	else
		sayf(s, "250 %s", s->conf->hostname);
}

static void
hello_no(struct smtp_session *s, const struct smtp_verdict *v)
{
	free(s->pending_helo);		/* and all else stays as it was (M-52) */
	s->pending_helo = NULL;
	say_refusal(s, v);
}

const struct smtp_step hello_step = { SMTP_ASK_HELO, hello_go, hello_no };

/* ---- STARTTLS ---- */
bool
starttls_check(struct smtp_session *s, struct smtp_args *a)
{
	if (a->text.n > 0)
		say(s, "501 5.5.4 STARTTLS takes no argument");
	else if (s->info.tls != NULL)
		say(s, "503 5.5.1 TLS is active already");	/* M-151 */
	else if (s->tx.msg != NULL)
		say(s, "503 5.5.1 Not inside a mail transaction");	/* M-152 */
	else if ((s->state == ST_READY ? s->offered : session_offers(s)) & SMTP_EXT_STARTTLS)
		return true;
	else
		say(s, "502 5.5.1 STARTTLS is not offered");
	return false;
}

void
starttls_proceed(struct smtp_session *s, struct smtp_args *a)
{
	(void)a;
	/* What stands behind STARTTLS in clear was put there for us to believe it came through
	 * TLS (CVE-2011-0411; X-4, M-150, N-21). */
	if (net_in(s->conn).n > 0) {
		say(s, "554 5.5.0 Commands sent ahead of the TLS handshake");
		session_end_politely(s, "octets behind STARTTLS");
		return;
	}
	say(s, "220 2.0.0 Ready to start TLS");
	session_flush(s);
	if (s->conn == NULL)
		return;
	session_state(s, ST_HANDSHAKE);
	if (!net_start_tls_server(s->conn, s->conf->tls))
		session_end(s, "TLS cannot be started");
}
