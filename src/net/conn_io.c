/* How octets get into and out of a connection's buffers, and what its owner is told of it. Called
 * from the event handlers in conn.c only. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/net_int.h"

#define READ_MAX (32u * 1024)
#define READ_TURN (64u * 1024)		/* of one connection in one turn: the others wait */
#define WRITE_ROUNDS 8			/* refills by `writable` in one turn */
#define DRAIN_MAX (1024u * 1024)	/* what a peer may still send once we are closing */

static enum conn_io fill(struct net_conn *c, size_t *total, enum net_why *why);

/* ---- Output ---- */

static enum conn_io
clear_write(struct net_conn *c, const char *p, size_t n, size_t *put)
{
	ssize_t r;

	do {
		r = send(c->fd, p, n, MSG_NOSIGNAL);
	} while (r < 0 && errno == EINTR);
	if (r >= 0) {
		*put = (size_t)r;
		return IO_OK;
	}
	return errno == EAGAIN || errno == EWOULDBLOCK ? IO_AGAIN : IO_FAILED;
}

/* The peer takes nothing more, but may have said why (a 421, then a reset): that is read first. */
static void
write_failed(struct net_conn *c)
{
	int error = errno;
	enum net_why why;
	size_t total;

	if (c->state == CONN_TLS) {
		conn_fail(c, NET_RESET, "writing failed: %s", c->fail_text);
		return;
	}
	buf_fini(&c->out);
	c->clear_left = 0;
	if (c->state == CONN_CLEAR && !c->paused && !c->finishing && !c->eof) {
		fill(c, &total, &why);
		if (total > 0)
			conn_call_readable(c);
	}
	if (conn_is_live(c))
		conn_fail(c, NET_RESET, "writing failed: %s", strerror(error));
}

/* Hands to the kernel what it takes. False when the connection ended over it. */
bool
conn_send(struct net_conn *c)
{
	while (c->out.len > 0 && !c->wait_write) {
		size_t n = c->out.len, put = 0;
		enum conn_io io;

		if (c->clear_left > 0)
			n = c->clear_left;
		else if (c->state == CONN_HANDSHAKE)
			break;		/* written during the handshake: goes out after it */
		io = c->state == CONN_TLS ? conn_tls_write(c, buf_peek(&c->out), n, &put) :
		    clear_write(c, buf_peek(&c->out), n, &put);
		if (io == IO_AGAIN) {
			conn_want_write(c);
			break;
		}
		if (io != IO_OK) {
			write_failed(c);
			return false;
		}
		buf_consume(&c->out, put);
		if (c->clear_left > 0)
			c->clear_left -= put;
		c->bytes_out += put;
	}
	return true;
}

/* Sends, and lets the owner refill once there is room again. */
void
conn_output(struct net_conn *c)
{
	for (int i = 0; i < WRITE_ROUNDS; i++) {
		if (c->state != CONN_CLEAR && c->state != CONN_TLS && c->clear_left == 0)
			return;
		if (!conn_send(c))
			return;
		if (!c->above_high || c->out.len >= NET_OUT_LOW)
			return;
		c->above_high = false;
		if (c->finishing || c->ops->writable == NULL)
			return;
		c->ops->writable(c->owner);
		if (!conn_is_live(c))
			return;
	}
}

/* The last octets, then close_notify (N-16) and FIN. The connection goes when the peer has closed
 * too: closing with input unread would make the kernel send a reset, which can overtake our last
 * reply. */
void
conn_finish_step(struct net_conn *c)
{
	if (c->state == CONN_DEAD || c->fin_sent || c->out.len > 0)
		return;
	c->fin_sent = true;
	if (c->state == CONN_TLS)
		conn_tls_close_notify(c);
	if (c->eof || shutdown(c->fd, SHUT_WR) != 0)
		c->freed = true;
}

/* ---- Input ---- */

static enum conn_io
clear_read(struct net_conn *c, char *p, size_t n, size_t *got, enum net_why *why)
{
	ssize_t r;

	do {
		r = recv(c->fd, p, n, 0);
	} while (r < 0 && errno == EINTR);
	if (r > 0) {
		*got = (size_t)r;
		return IO_OK;
	}
	if (r == 0)
		return IO_EOF;
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return IO_AGAIN;
	*why = NET_RESET;
	snprintf(c->fail_text, sizeof c->fail_text, "%s", strerror(errno));
	return IO_FAILED;
}

/* Reads up to a fair share into `in`. What ended it is returned, what came is counted. */
static enum conn_io
fill(struct net_conn *c, size_t *total, enum net_why *why)
{
	enum conn_io io = IO_OK;

	*total = 0;
	while (*total < READ_TURN && buf_room(&c->in) > 0) {
		size_t want = c->read_size, n = 0;
		char *p;

		if (want > buf_room(&c->in))
			want = buf_room(&c->in);
		p = buf_reserve(&c->in, want);
		if (p == NULL) {
			*why = NET_TOO_MUCH;
			snprintf(c->fail_text, sizeof c->fail_text, "out of memory");
			return IO_FAILED;
		}
		io = c->state == CONN_TLS ? conn_tls_read(c, p, want, &n, why) :
		    clear_read(c, p, want, &n, why);
		if (io != IO_OK)
			break;
		buf_commit(&c->in, n);
		*total += n;
		if (n == want) {
			if (c->read_size < READ_MAX)
				c->read_size *= 2;
		} else if (c->state != CONN_TLS || !conn_tls_pending(c)) {
			/* Less than asked for: there is no more for now, spare the question. */
			if (n < c->read_size / 4 && c->read_size > READ_MIN)
				c->read_size /= 2;
			io = IO_AGAIN;
			break;
		}
	}
	c->bytes_in += *total;
	c->more = io == IO_OK && c->state == CONN_TLS;
	if (c->in.len == 0)
		buf_fini(&c->in);	/* an idle connection holds no buffer */
	return io;
}

static void
drain(struct net_conn *c)
{
	char junk[4096];
	enum net_why why;

	for (int i = 0; i < 16; i++) {
		size_t n = 0;
		/* Past the close_notify nothing needs to be decrypted any more. */
		enum conn_io io = clear_read(c, junk, sizeof junk, &n, &why);

		c->drained += n;
		if (io == IO_AGAIN)
			return;
		if (io != IO_OK || c->drained > DRAIN_MAX) {
			if (io == IO_EOF && !c->fin_sent)
				c->eof = true;	/* it may still be reading */
			else
				c->freed = true;
			return;
		}
	}
}

void
conn_call_readable(struct net_conn *c)
{
	c->notify = false;
	if (c->in.len > 0)
		c->ops->readable(c->owner);
}

/* The end of input is told once the owner had its chance to read what came before it. */
void
conn_tell_eof(struct net_conn *c)
{
	if (!conn_is_live(c) || !c->eof || c->paused || c->notify || c->finishing)
		return;
	if (conn_send(c))
		conn_fail(c, NET_EOF, "connection closed by peer");
}

/* What it sent may be a command, or in TLS the notice that it closes: not looked into. */
static bool
peer_is_gone(const struct net_conn *c)
{
	char octet;
	ssize_t n = recv(c->fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

void
conn_input(struct net_conn *c)
{
	enum net_why why = NET_RESET;
	size_t total;
	enum conn_io io;

	if (c->state == CONN_HANDSHAKE) {
		conn_handshake(c);
		return;
	}
	if (c->finishing) {
		drain(c);
		return;
	}
	if (!conn_may_read(c)) {
		if (c->watch && peer_is_gone(c)) {
			conn_fail(c, NET_EOF, "connection closed by peer");
			return;
		}
		event_del(&c->ev_read);
		c->reading = false;
		return;
	}
	io = fill(c, &total, &why);
	if (io == IO_EOF)
		c->eof = true;
	if (total > 0)
		conn_call_readable(c);
	if (io == IO_FAILED && conn_is_live(c))
		conn_fail(c, why, "%s", c->fail_text);
	conn_tell_eof(c);
}
