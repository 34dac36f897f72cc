/* One outbound connection: from connect to the point where a transaction may begin, and its end.
 * The transaction is client_txn.c. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "smtp/client_int.h"

#define MINUTE 60000

/* M-20 to M-27. */
const struct smtp_timers smtp_timers_default = {
	.connect = 30 * 1000, .greeting = 5 * MINUTE, .ehlo = 5 * MINUTE, .starttls = 2 * MINUTE,
	.handshake = 1 * MINUTE, .mail = 5 * MINUTE, .rcpt = 5 * MINUTE, .data_init = 2 * MINUTE,
	.data_block = 3 * MINUTE, .data_end = 10 * MINUTE, .quit = 10 * 1000,
};

static void
enter(struct smtp_client *c)
{
	c->depth++;
}

static void
want_fini(struct tls_want *w)
{
	for (size_t i = 0; i < w->nnames; i++)
		free((char *)w->names[i]);
	for (size_t i = 0; i < w->ndane_names; i++)
		free((char *)w->dane_names[i]);
	for (size_t i = 0; i < w->npins; i++)
		free((char *)w->pins[i]);
	for (size_t i = 0; i < w->ntlsa; i++)
		free((uint8_t *)w->tlsa[i].data);
	free((void *)w->names);
	free((void *)w->dane_names);
	free((void *)w->pins);
	free((void *)w->tlsa);
	free((char *)w->sni);
}

static const char **
copy_strings(const char *const *v, size_t n)
{
	const char **copy = n == 0 ? NULL : xcalloc(n, sizeof *copy);

	for (size_t i = 0; i < n; i++)
		copy[i] = xstrdup(v[i]);
	return copy;
}

/* The handshake comes long after smtp_client_new, when the caller's arrays may be gone. */
static void
want_copy(struct tls_want *to, const struct tls_want *from)
{
	struct tls_tlsa *tlsa;

	if (from == NULL)
		return;
	to->sni = xstrdup(from->sni);
	to->names = copy_strings(from->names, from->nnames);
	to->nnames = from->nnames;
	to->dane_names = copy_strings(from->dane_names, from->ndane_names);
	to->ndane_names = from->ndane_names;
	to->pins = copy_strings(from->pins, from->npins);
	to->npins = from->npins;
	if (from->ntlsa == 0)
		return;
	tlsa = xcalloc(from->ntlsa, sizeof *tlsa);
	for (size_t i = 0; i < from->ntlsa; i++) {
		tlsa[i] = from->tlsa[i];
		tlsa[i].data = xcalloc(1, from->tlsa[i].n + 1);
		if (from->tlsa[i].n > 0)
			memcpy((uint8_t *)tlsa[i].data, from->tlsa[i].data, from->tlsa[i].n);
	}
	to->tlsa = tlsa;
	to->ntlsa = from->ntlsa;
}

/* Clients that say goodbye by themselves, by the thread whose loop they are on. */
static _Thread_local LIST_HEAD(, smtp_client) quitting;

static void
reclaim(struct smtp_client *c)
{
	event_del(&c->kick);
	if (c->in_quits)
		LIST_REMOVE(c, quit_link);
	if (c->conn != NULL && c->polite)
		net_finish(c->conn, c->timers.quit);
	else
		net_free(c->conn);
	txn_fini(&c->txn);
	auth_fini(&c->login);
	smtp_reply_parser_fini(&c->parser);
	want_fini(&c->want);
	tls_client_unref(c->tls_ctx);
	free(c->helo);
	free(c);
}

static void
leave(struct smtp_client *c)
{
	c->depth--;
	if (c->freed && c->depth == 0)
		reclaim(c);
}

/* Not to be used after leave(): may the handler go on? */
static bool
is_alive(const struct smtp_client *c)
{
	return !c->freed && c->state != CL_DEAD;
}

void
client_kick(struct smtp_client *c)
{
	event_active(&c->kick, EV_TIMEOUT, 0);
}

/* ---- The end ---- */

/* The one way to CL_DEAD. A transaction under way gets its `done` before `ended`. */
void
client_end(struct smtp_client *c, enum smtp_client_end why, int code, const char *status,
    const char *text)
{
	bool quits = why == SMTP_END_GREETING || why == SMTP_END_EHLO || why == SMTP_END_STARTTLS;

	if (!is_alive(c))
		return;
	if (c->state == CL_QUIT) {
		c->state = CL_DEAD;
		c->polite = true;
		c->freed = true;
		return;
	}
	if (c->txn.t != NULL) {
		txn_abort(c, why, text);
		if (c->state == CL_QUIT)	/* the owner has had enough: no more callbacks */
			c->freed = true;
		if (!is_alive(c))
			return;
	}
	c->state = CL_DEAD;
	auth_fini(&c->login);
	if (quits && code != 421)	/* M-66: a refusal is still answered with QUIT */
		c->polite = net_write(c->conn, "QUIT\r\n", 6);
	net_deadline(c->conn, 0);
	c->ops->ended(c->owner, why, &c->info, code, status, text);
}

void
client_protocol(struct smtp_client *c, const char *text)
{
	client_end(c, SMTP_END_PROTOCOL, 0, "", text);
}

bool
client_command(struct smtp_client *c, int64_t ms, struct slice line)
{
	if (net_in(c->conn).n > 0) {	/* */
		client_protocol(c, "the server replied to what was not asked yet");
		return false;
	}
	if (!net_write(c->conn, line.p, line.n)) {
		client_end(c, SMTP_END_LOST, 0, "", "writing failed");
		return false;
	}
	net_deadline(c->conn, ms);
	return true;
}

static bool
say(struct smtp_client *c, enum client_state state, int64_t ms, const char *verb, const char *arg)
{
	char *line = arg == NULL ? xasprintf("%s\r\n", verb) : xasprintf("%s %s\r\n", verb, arg);
	bool ok = client_command(c, ms, slice_of(line));

	free(line);
	if (ok)
		c->state = state;
	return ok;
}

/* ---- Before the first transaction ---- */

void
client_ready(struct smtp_client *c)
{
	c->state = CL_READY;
	net_deadline(c->conn, 0);	/* how long it may idle is its owner's affair */
	c->ops->ready(c->owner, &c->info);
}

static void
start_handshake(struct smtp_client *c)
{
	/* X-32, N-21: what came behind the 220 came in clear and from whom? */
	if (net_in(c->conn).n > 0) {
		client_protocol(c, "octets in clear ahead of the TLS handshake");
		return;
	}
	if (!net_start_tls_client(c->conn, c->tls_ctx, &c->want)) {
		client_end(c, SMTP_END_LOST, 0, "", "the TLS handshake could not be started");
		return;
	}
	c->state = CL_HANDSHAKE;
	net_deadline(c->conn, c->timers.handshake);
}

static void
refused(struct smtp_client *c, enum smtp_client_end why, int code, const char *status,
    struct slice text)
{
	char *copy = slice_dup(text);

	client_end(c, why, code, status, copy);
	free(copy);
}

static void
greeting_reply(struct smtp_client *c, int code, const char *status, struct slice text)
{
	struct slice first = text, line;

	if (code / 100 == 3 || (code / 100 == 2 && code != 220)) {
		client_protocol(c, "the greeting is no greeting");
		return;
	}
	if (slice_cut(&first, '\n', &line))
		text_escape(c->info.banner, sizeof c->info.banner, line.p, line.n, false);
	if (code / 100 != 2)
		refused(c, SMTP_END_GREETING, code, status, text);
	else
		say(c, CL_EHLO, c->timers.ehlo, "EHLO", c->helo);
}

/* EHLO is through: what next? Nothing is sent behind it before its reply is here. */
static void
hello_done(struct smtp_client *c)
{
	if (c->info.tls == NULL && c->tls_mode == SMTP_CLIENT_STARTTLS && c->info.starttls_offered)
		say(c, CL_STARTTLS, c->timers.starttls, "STARTTLS", NULL);
	else
		client_ready(c);
}

static void
ehlo_reply(struct smtp_client *c, int code, const char *status, struct slice text)
{
	/* A second greeting behind the handshake, say: taken for EHLO's reply it would deny all
	 * extensions, and REQUIRETLS mail would be returned for it. */
	if (code / 100 == 3 || (code / 100 == 2 && code != 250)) {
		client_protocol(c, "EHLO was answered with what is no reply to it");
		return;
	}
	if (code / 100 == 5 && c->state == CL_EHLO) {	/* M-72: 5yz only, 4yz is not now */
		say(c, CL_HELO, c->timers.ehlo, "HELO", c->helo);
		return;
	}
	if (code / 100 != 2) {
		refused(c, SMTP_END_EHLO, code, status, text);
		return;
	}
	if (c->state == CL_EHLO) {
		c->info.esmtp = true;
		client_read_ehlo(&c->info, text);
		if (c->info.tls == NULL)
			c->info.starttls_offered = (c->info.ext & SMTP_EXT_STARTTLS) != 0;
	}
	hello_done(c);
}

static void
starttls_reply(struct smtp_client *c, int code, const char *status, struct slice text)
{
	if (code == 220)
		start_handshake(c);
	else if (code / 100 == 2 || code / 100 == 3)
		client_protocol(c, "STARTTLS was answered with what is no reply to it");
	else
		refused(c, SMTP_END_STARTTLS, code, status, text);
}

void
client_rset(struct smtp_client *c)
{
	say(c, CL_RSET, c->timers.mail, "RSET", NULL);
}

static void
rset_reply(struct smtp_client *c, int code, const char *status, struct slice text)
{
	if (code / 100 == 2)
		client_ready(c);
	else
		refused(c, SMTP_END_LOST, code, status, text);
}

/* ---- Replies ---- */

static void
on_reply(struct smtp_client *c, int code, struct slice text)
{
	char status[10];

	smtp_reply_status(status, code, text);
	switch (c->state) {
	case CL_GREETING:
		greeting_reply(c, code, status, text);
		break;
	case CL_EHLO:
	case CL_HELO:
		ehlo_reply(c, code, status, text);
		break;
	case CL_STARTTLS:
		starttls_reply(c, code, status, text);
		break;
	case CL_RSET:
		rset_reply(c, code, status, text);
		break;
	case CL_AUTH:
		auth_reply(c, code, status, text);
		break;
	case CL_TXN:
		if (c->txn.in_body)
			txn_input_in_body(c, code, status, text);
		else
			txn_reply(c, code, status, text);
		if (is_alive(c) && code == 421)
			refused(c, SMTP_END_LOST, code, status, text);
		break;
	case CL_READY:
		/* 421 is how a server takes leave of an idle client (RFC 5321 3.8). */
		if (code == 421)
			refused(c, SMTP_END_LOST, code, status, text);
		else
			client_protocol(c, "the server spoke unasked");
		break;
	case CL_QUIT:
		client_end(c, SMTP_END_QUIT, code, status, "");
		break;
	case CL_CONNECT:
	case CL_HANDSHAKE:
	case CL_DEAD:
		break;
	}
}

static void
on_readable(void *owner)
{
	struct smtp_client *c = owner;
	struct err err = { "" };

	enter(c);
	/* While a kick is to end a transaction of which nothing was sent, no reply belongs to it: what
	 * comes in stays unread, and the kick finds it there. */
	while (is_alive(c) && !c->refuse && !c->cut && !c->login.kicked && net_in(c->conn).n > 0) {
		enum parse_status st;
		size_t used;

		st = smtp_reply_parse(&c->parser, net_in(c->conn), &used, &err);
		net_consume(c->conn, used);
		if (st == PARSE_MORE)
			break;
		if (st == PARSE_ERROR)
			client_protocol(c, err.text);
		else
			on_reply(c, c->parser.code, buf_slice(&c->parser.lines));
	}
	if (c->state == CL_DEAD && net_in(c->conn).n > 0)
		net_consume(c->conn, net_in(c->conn).n);
	leave(c);
}

static void
on_writable(void *owner)
{
	struct smtp_client *c = owner;

	enter(c);
	if (is_alive(c) && c->state == CL_TXN && c->txn.in_body)
		txn_pump(c);
	leave(c);
}

static void
on_connected(void *owner)
{
	struct smtp_client *c = owner;

	enter(c);
	if (is_alive(c)) {
		c->info.local = net_local(c->conn);
		if (c->tls_mode == SMTP_CLIENT_IMPLICIT) {
			start_handshake(c);
		} else {
			c->state = CL_GREETING;
			net_deadline(c->conn, c->timers.greeting);
		}
	}
	leave(c);
}

/* N-20, R-11: what was said in clear is not known any more; only the log keeps the old list. */
static void
on_secured(void *owner)
{
	struct smtp_client *c = owner;

	enter(c);
	if (is_alive(c)) {
		c->info.tls = net_tls(c->conn);
		c->info.ext_before_tls = c->info.ext;
		c->info.ext = 0;
		c->info.esmtp = false;
		c->info.size_max = 0;
		c->info.rcpt_max = c->info.mail_max = c->info.rcpt_domain_max = 0;
		c->info.auth = 0;		/* a list of mechanisms in clear is anybody's */
		c->info.auth_listed[0] = '\0';
		if (c->tls_mode == SMTP_CLIENT_IMPLICIT) {
			c->state = CL_GREETING;
			net_deadline(c->conn, c->timers.greeting);
		} else {
			say(c, CL_EHLO, c->timers.ehlo, "EHLO", c->helo);
		}
	}
	leave(c);
}

static void
on_closed(void *owner, enum net_why why, const char *text)
{
	struct smtp_client *c = owner;
	enum smtp_client_end end = SMTP_END_LOST;

	enter(c);
	if (c->state == CL_CONNECT)
		end = SMTP_END_CONNECT;
	else if (c->state == CL_HANDSHAKE && why != NET_LOCAL)
		/* The host's, which may bounce a message that owes TLS; one that is only slow may not. */
		end = why == NET_TIMEOUT ? SMTP_END_HANDSHAKE_TIMEOUT : SMTP_END_HANDSHAKE;
	else if (why == NET_TIMEOUT)
		end = SMTP_END_TIMEOUT;
	client_end(c, end, 0, "", text);
	leave(c);
}

static const struct net_ops conn_ops = {
	on_readable, on_writable, on_connected, on_secured, on_closed,
};

static void
on_kick(evutil_socket_t fd, short what, void *arg)
{
	struct smtp_client *c = arg;

	enter(c);
	if (is_alive(c) && c->cut) {
		client_end(c, SMTP_END_LOST, 0, "", "the content could not be read");
	} else if (is_alive(c) && c->login.kicked) {
		auth_kicked(c);
	} else if (is_alive(c) && c->refuse) {
		c->refuse = false;
		txn_refused(c);
	} else if (is_alive(c) && c->state == CL_TXN && c->txn.in_body) {
		txn_pump(c);
	}
	leave(c);
}

/* ---- Life ---- */

struct smtp_client *
smtp_client_new(struct event_base *base, const struct smtp_client_conf *conf,
    const struct smtp_client_ops *ops, void *owner, struct err *err)
{
	struct smtp_client *c = xcalloc(1, sizeof *c);

	MUST(conf->tls == SMTP_CLIENT_CLEAR || conf->tls_ctx != NULL);
	c->base = base;
	c->ops = ops;
	c->owner = owner;
	c->tls_mode = conf->tls;
	c->timers = conf->timers == NULL ? smtp_timers_default : *conf->timers;
	c->helo = xstrdup(conf->helo);
	c->tls_ctx = tls_client_ref(conf->tls_ctx);
	want_copy(&c->want, conf->want);
	smtp_reply_parser_init(&c->parser);
	event_assign(&c->kick, base, -1, 0, on_kick, c);
	c->conn = net_connect(base, conf->to, conf->source, &conn_ops, c, err);
	if (c->conn == NULL) {
		reclaim(c);
		return NULL;
	}
	c->info.peer = net_peer(c->conn);
	c->info.local = net_local(c->conn);
	net_deadline(c->conn, c->timers.connect);
	return c;
}

void
smtp_client_set_owner(struct smtp_client *c, const struct smtp_client_ops *ops, void *owner)
{
	c->ops = ops;
	c->owner = owner;
}

const struct smtp_client_info *
smtp_client_get_info(const struct smtp_client *c)
{
	return &c->info;
}

void
smtp_client_quit(struct smtp_client *c)
{
	bool between = c->state == CL_READY || c->state == CL_RSET || c->state == CL_TXN;

	/* In the middle of something there is nothing polite left to do: a QUIT could end up inside
	 * a message. */
	if (!between || c->freed || c->txn.t != NULL || net_in(c->conn).n > 0 ||
	    !net_write(c->conn, "QUIT\r\n", 6)) {
		smtp_client_free(c);
		return;
	}
	c->state = CL_QUIT;
	c->in_quits = true;
	LIST_INSERT_HEAD(&quitting, c, quit_link);
	net_deadline(c->conn, c->timers.quit);
}

void
smtp_client_quit_now(void)
{
	struct smtp_client *c, *next;

	for (c = LIST_FIRST(&quitting); c != NULL; c = next) {
		next = LIST_NEXT(c, quit_link);
		smtp_client_free(c);
	}
}

void
smtp_client_free(struct smtp_client *c)
{
	if (c == NULL)
		return;
	c->freed = true;
	event_del(&c->kick);
	if (c->depth == 0)
		reclaim(c);
}
