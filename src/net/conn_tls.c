/* TLS under a connection: begins handshakes, drives them, reads and writes. SSL_read and SSL_write
 * work on the socket itself, so there is no second pair of buffers, and SSL_MODE_RELEASE_BUFFERS
 * gives the library's own back while a connection idles. */
#include "config.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/net_int.h"

/* The oldest error in the queue, which is the cause; the rest follows from it. */
static const char *
reason(unsigned long e)
{
	const char *text = ERR_reason_error_string(e);

	return text != NULL ? text : "unknown error";
}

/* F-8, F-9: an errno that no peer can cause. */
static bool
is_local(int error)
{
	switch (error) {
	case 0:
	case ECONNRESET:
	case ECONNABORTED:
	case EPIPE:
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ENETDOWN:
	case EHOSTDOWN:
	case ENOTCONN:
		return false;
	default:
		return true;
	}
}

/* What a failed SSL_* call means. Everything but the two WANTs is the end of the SSL object. */
static enum conn_io
classify(struct net_conn *c, int r, enum net_why *why)
{
	struct net_tls *t = c->tls;
	int error = errno;
	unsigned long e;

	switch (SSL_get_error(t->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return IO_AGAIN;
	case SSL_ERROR_WANT_WRITE:
		conn_want_write(c);
		return IO_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return IO_EOF;
	case SSL_ERROR_SYSCALL:
		*why = is_local(error) ? NET_LOCAL : NET_RESET;
		snprintf(c->fail_text, sizeof c->fail_text, "%s",
		    error != 0 ? strerror(error) : "connection lost");
		break;
	default:
		e = ERR_peek_error();
		/* FIN without close_notify may be an attacker's cut. */
		if (ERR_GET_REASON(e) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
			*why = NET_TLS_TRUNCATED;
			snprintf(c->fail_text, sizeof c->fail_text,
			    "connection closed without the end of TLS being announced");
		} else {
			*why = NET_TLS_ERROR;
			snprintf(c->fail_text, sizeof c->fail_text, "TLS: %s", reason(e));
		}
		break;
	}
	t->broken = true;
	ERR_clear_error();
	return IO_FAILED;
}

enum conn_io
conn_tls_read(struct net_conn *c, char *p, size_t n, size_t *got, enum net_why *why)
{
	int r;

	if (c->tls->broken) {
		*why = NET_TLS_ERROR;
		return IO_FAILED;
	}
	ERR_clear_error();
	errno = 0;
	r = SSL_read(c->tls->ssl, p, (int)n);
	if (r <= 0)
		return classify(c, r, why);
	*got = (size_t)r;
	return IO_OK;
}

/* Octets that were read from the socket and not yet handed out: no event will tell of them. */
bool
conn_tls_pending(const struct net_conn *c)
{
	return !c->tls->broken && SSL_has_pending(c->tls->ssl) == 1;
}

enum conn_io
conn_tls_write(struct net_conn *c, const char *p, size_t n, size_t *put)
{
	enum net_why why;
	enum conn_io io;
	int r;

	if (c->tls->broken) {
		snprintf(c->fail_text, sizeof c->fail_text, "TLS ended with an error before");
		return IO_FAILED;
	}
	ERR_clear_error();
	errno = 0;
	r = SSL_write(c->tls->ssl, p, (int)n);
	if (r > 0) {
		*put = (size_t)r;
		return IO_OK;
	}
	io = classify(c, r, &why);
	if (io == IO_EOF) {
		snprintf(c->fail_text, sizeof c->fail_text, "TLS was ended by the peer");
		return IO_FAILED;
	}
	return io;
}

/* N-16. One attempt: what comes back, if anything, is not waited for. */
void
conn_tls_close_notify(struct net_conn *c)
{
	if (c->tls->broken)
		return;
	ERR_clear_error();
	SSL_shutdown(c->tls->ssl);
	c->tls->broken = true;
	ERR_clear_error();
}

/* Verification is not among the reasons: see tls_verify. */
static void
handshake_failed(struct net_conn *c, enum conn_io io, enum net_why why)
{
	if (io == IO_EOF)
		conn_fail(c, NET_TLS_ERROR, "TLS handshake: ended by the peer");
	else if (why == NET_TLS_TRUNCATED)
		conn_fail(c, NET_TLS_ERROR, "TLS handshake: connection closed by peer");
	else
		conn_fail(c, why, "TLS handshake: %s", c->fail_text);
}

/* On a stage octets stay as they are; that they count as protected is what net_tls says. */
static void
stage_handshake(struct net_conn *c)
{
	if (c->tls->stage_failed) {
		conn_fail(c, NET_TLS_ERROR, "TLS handshake: %s", c->tls->verify_error);
		return;
	}
	c->state = CONN_CLEAR;
	c->tls->done = true;
	if (!c->finishing && !c->freed)
		c->ops->secured(c->owner);
}

void
conn_handshake(struct net_conn *c)
{
	enum net_why why = NET_TLS_ERROR;
	enum conn_io io;
	int r;

	c->more = false;
	/* What was written before the handshake was asked for (the 220) goes out in clear. */
	if (c->clear_left > 0 && (!conn_send(c) || c->clear_left > 0))
		return;
	if (c->tls->is_staged) {
		stage_handshake(c);
		return;
	}
	ERR_clear_error();
	errno = 0;
	r = SSL_do_handshake(c->tls->ssl);
	if (r != 1) {
		io = classify(c, r, &why);
		if (io != IO_AGAIN)
			handshake_failed(c, io, why);
		return;
	}
	c->state = CONN_TLS;
	c->tls->done = true;
	c->more = conn_tls_pending(c);
	if (c->finishing || c->freed)
		return;
	c->ops->secured(c->owner);
}

/* N-21: octets that came in clear ahead of the handshake must not be taken for part of
 * the protected session, so with unread input there is no handshake at all. What the kernel holds
 * is another matter: it is read as TLS records, and clear text there fails as such. */
static bool
begin(struct net_conn *c, struct net_tls *t)
{
	if (!t->is_staged && SSL_set_fd(t->ssl, c->fd) != 1) {
		conn_tls_free(t);
		return false;
	}
	if (!t->is_staged)
		SSL_set_app_data(t->ssl, t);
	c->tls = t;
	c->state = CONN_HANDSHAKE;
	c->clear_left = c->out.len;
	c->more = true;
	conn_kick(c);
	return true;
}

static bool
may_begin(const struct net_conn *c)
{
	return c->state == CONN_CLEAR && c->in.len == 0 && !c->eof && !c->freed && !c->finishing;
}

static bool
stage_begin(struct net_conn *c, struct tls_client *client, const struct tls_want *want)
{
	struct net_tls *t;
	struct err err = { "" };

	if (!may_begin(c) || c->tls != NULL)
		return false;
	t = xcalloc(1, sizeof *t);
	t->is_staged = t->has_info = true;
	t->stage_failed = conn_stage->handshake(conn_stage->owner, &c->peer, want, &t->info, &err) != 0;
	if (!t->stage_failed && client != NULL && t->info.version != NULL && tls_client_needs_13(client) &&
	    strcmp(t->info.version, "TLSv1.3") != 0) {
		t->stage_failed = true;
		err_set(&err, "unsupported protocol (%s)", t->info.version);
	}
	snprintf(t->verify_error, sizeof t->verify_error, "%.250s", err.text);
	return begin(c, t);
}

bool
net_start_tls_server(struct net_conn *c, struct tls_server *server)
{
	struct net_tls *t;
	SSL *ssl;

	if (conn_stage != NULL)
		return stage_begin(c, NULL, NULL);
	if (!may_begin(c) || (ssl = tls_server_ssl(server)) == NULL)
		return false;
	t = xcalloc(1, sizeof *t);
	t->ssl = ssl;
	t->server = tls_server_ref(server);
	SSL_set_accept_state(ssl);
	return begin(c, t);
}

static char **
copy_list(const char *const *list, size_t n)
{
	char **v = n == 0 ? NULL : xcalloc(n, sizeof *v);

	for (size_t i = 0; i < n; i++)
		v[i] = xstrdup(list[i]);
	return v;
}

bool
net_start_tls_client(struct net_conn *c, struct tls_client *client, const struct tls_want *want)
{
	static const struct tls_want nothing;
	struct net_tls *t;
	SSL *ssl;

	if (want == NULL)
		want = &nothing;
	if (conn_stage != NULL)
		return stage_begin(c, client, want);
	if (!may_begin(c) || (ssl = tls_client_ssl(client, want)) == NULL)
		return false;
	t = xcalloc(1, sizeof *t);
	t->ssl = ssl;
	t->client = tls_client_ref(client);
	t->sent_sni = xstrdup(want->sni);
	t->names = copy_list(want->names, want->nnames);
	t->nnames = want->nnames;
	t->ndane_names = want->ndane_names > 0 ? want->ndane_names : want->nnames;
	t->dane_names = copy_list(want->ndane_names > 0 ? want->dane_names : want->names, t->ndane_names);
	t->pins = copy_list(want->pins, want->npins);
	t->npins = want->npins;
	t->uses_dane = want->ntlsa > 0;
	SSL_set_connect_state(ssl);
	return begin(c, t);
}

const struct tls_info *
net_tls(const struct net_conn *c)
{
	if (c->tls == NULL || !c->tls->done)
		return NULL;
	if (!c->tls->has_info)
		tls_info_fill(c->tls);
	return &c->tls->info;
}

static void
free_list(char **v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(v[i]);
	free(v);
}

void
conn_tls_free(struct net_tls *t)
{
	if (t == NULL)
		return;
	SSL_free(t->ssl);
	tls_server_unref(t->server);
	tls_client_unref(t->client);
	free_list(t->names, t->nnames);
	free_list(t->dane_names, t->ndane_names);
	free_list(t->pins, t->npins);
	free(t->sent_sni);
	free(t->version);
	free(t->cipher);
	free(t->group);
	free(t->sni);
	free(t->subject);
	free(t->issuer);
	free(t->dns_names);
	free(t);
}
