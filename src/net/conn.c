/* One connection: its life and its events. Reading and writing is conn_io.c, TLS conn_tls.c.
 *
 * All callbacks are made from the event handlers below and nowhere else, so no function of net.h
 * calls its owner back before it returns. Each handler runs between enter() and leave(): what an
 * owner frees in between is only marked, and what it writes is sent by leave() in one piece. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net/net_int.h"

#define OUT_MAX (1024u * 1024)

static void reclaim(struct net_conn *c);

const struct net_stage *conn_stage;

void
net_set_stage(const struct net_stage *s)
{
	conn_stage = s;
}

/* The loop's own clock: deadlines must fall due together with the timer that carries them. */
static int64_t
now_ms(void)
{
	struct timespec ts;

	if (conn_stage != NULL)
		return clock_mono_ms();
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void
remove_events(struct net_conn *c)
{
	event_del(&c->ev_read);
	event_del(&c->ev_write);
	event_del(&c->ev_timer);
	event_del(&c->ev_kick);
	c->reading = c->wait_write = c->kicked = false;
}

/* The connection is over. Tells the owner, whose last call this is. */
void
conn_fail(struct net_conn *c, enum net_why why, const char *fmt, ...)
{
	char text[sizeof c->fail_text];
	va_list ap;

	if (c->state == CONN_DEAD)
		return;
	va_start(ap, fmt);	/* fail_text may be among the arguments */
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	memcpy(c->fail_text, text, sizeof text);
	c->state = CONN_DEAD;
	remove_events(c);
	close(c->fd);
	c->fd = -1;
	buf_fini(&c->out);
	if (c->finishing)
		c->freed = true;
	else if (!c->freed)
		c->ops->closed(c->owner, why, c->fail_text);
}

/* Something is to be done once the code that runs now has returned to the loop; within a handler
 * leave() sees to it. */
void
conn_kick(struct net_conn *c)
{
	if (c->depth > 0 || c->kicked || c->state == CONN_DEAD)
		return;
	c->kicked = true;
	event_active(&c->ev_kick, EV_TIMEOUT, 0);
}

/* The same after the loop has looked at everybody's events: an active event would run within this
 * turn, and a peer that sends as fast as we read would have the loop for itself. */
static void
kick_later(struct net_conn *c)
{
	static const struct timeval now = { 0, 0 };

	if (!c->kicked)
		c->kicked = event_add(&c->ev_kick, &now) == 0;
}

/* Only ever adds: taking ev_read out is left to the next event that is not wanted, so that a
 * pause which ends within the turn costs no system call. */
static void
want_read(struct net_conn *c)
{
	if (!conn_may_read(c) || c->reading)
		return;
	if (event_add(&c->ev_read, NULL) == 0)
		c->reading = true;
}

bool
conn_want_write(struct net_conn *c)
{
	if (!c->wait_write)
		c->wait_write = event_add(&c->ev_write, NULL) == 0;
	return c->wait_write;
}

/* ---- Handlers ---- */

/* Output that no event waits for, or a refill that was put off. */
static bool
has_unsent(const struct net_conn *c)
{
	if ((c->state != CONN_CLEAR && c->state != CONN_TLS) || c->wait_write)
		return false;
	return c->out.len > 0 || c->above_high;
}

static void
enter(struct net_conn *c)
{
	c->depth++;
}

static void
leave(struct net_conn *c)
{
	if (conn_is_live(c)) {
		conn_output(c);
		if (c->finishing)
			conn_finish_step(c);
	}
	c->depth--;
	if (c->freed) {
		if (c->depth == 0)
			reclaim(c);
		return;
	}
	if (c->state == CONN_DEAD)
		return;
	if (c->eof && c->reading) {
		/* A closed peer stays readable for ever: no spinning on it. */
		event_del(&c->ev_read);
		c->reading = false;
	}
	want_read(c);
	if ((c->more && !c->finishing && conn_may_read(c)) || (c->notify && !c->paused) || has_unsent(c))
		kick_later(c);
}

static void
on_read(evutil_socket_t fd, short what, void *arg)
{
	struct net_conn *c = arg;

	enter(c);
	conn_input(c);
	leave(c);
}

static void
connect_done(struct net_conn *c, int error)
{
	char ip[NET_ADDR_TEXT];

	if (error != 0) {
		net_addr_ip(&c->peer, ip);
		conn_fail(c, NET_CONNECT_FAILED, "connecting to %s port %u: %s", ip,
		    net_addr_port(&c->peer), strerror(error));
		return;
	}
	c->state = CONN_CLEAR;
	if (!c->finishing && c->ops->connected != NULL)
		c->ops->connected(c->owner);
}

static void
on_write(evutil_socket_t fd, short what, void *arg)
{
	struct net_conn *c = arg;
	socklen_t len = sizeof(int);
	int error = 0;

	enter(c);
	c->wait_write = false;
	if (c->state == CONN_CONNECTING) {
		if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
			error = errno;
		connect_done(c, error);
	} else if (c->state == CONN_HANDSHAKE) {
		conn_handshake(c);
	} else if (c->state == CONN_TLS) {
		c->more = true;		/* reading may have been waiting to write (key update) */
	}
	leave(c);
}

static void
on_kick(evutil_socket_t fd, short what, void *arg)
{
	struct net_conn *c = arg;

	enter(c);
	c->kicked = false;
	if (c->state == CONN_CONNECTING) {
		if (c->early_errno >= 0)
			connect_done(c, c->early_errno);
	} else if (c->state == CONN_HANDSHAKE) {
		conn_handshake(c);
	} else if (!c->finishing) {
		if (c->notify && !c->paused)
			conn_call_readable(c);
		if (conn_is_live(c) && c->more && conn_may_read(c))
			conn_input(c);
		conn_tell_eof(c);
	}
	leave(c);
}

static void
arm_timer(struct net_conn *c, int64_t now, int64_t at)
{
	int64_t ms = at > now ? at - now : 1;
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	if (event_add(&c->ev_timer, &tv) == 0)
		c->armed_ms = at;
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct net_conn *c = arg;
	int64_t now = now_ms();

	c->armed_ms = 0;
	if (c->deadline_ms == 0)
		return;
	/* Both clocks are coarse: a few ms early is on time. */
	if (now + 8 < c->deadline_ms) {
		arm_timer(c, now, c->deadline_ms);
		return;
	}
	enter(c);
	conn_fail(c, NET_TIMEOUT, "timed out");
	leave(c);
}

/* ---- Life ---- */

static struct net_conn *
conn_new(struct event_base *base, int fd, const struct net_addr *peer, const struct net_ops *ops,
    void *owner)
{
	struct net_conn *c = xcalloc(1, sizeof *c);

	c->base = base;
	c->ops = ops;
	c->owner = owner;
	c->fd = fd;
	c->peer = *peer;
	c->read_size = READ_MIN;
	c->early_errno = -1;
	buf_init(&c->in, NET_IN_MAX);
	buf_init(&c->out, OUT_MAX);
	event_assign(&c->ev_read, base, fd, EV_READ | EV_PERSIST, on_read, c);
	event_assign(&c->ev_write, base, fd, EV_WRITE, on_write, c);
	event_assign(&c->ev_timer, base, -1, 0, on_timer, c);
	event_assign(&c->ev_kick, base, -1, 0, on_kick, c);
	return c;
}

static void
no_delay(int fd, const struct net_addr *a)
{
	int on = 1;

	if (a->ss.ss_family == AF_INET || a->ss.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* On a stage the sockets are a pair without names. */
static void
stage_local(struct net_conn *c)
{
	static const uint8_t ip[4] = { 192, 0, 2, 25 };

	if (conn_stage == NULL)
		return;
	net_addr_set(&c->local, AF_INET, ip, 25);
	c->has_local = true;
}

static struct net_conn *
stage_connect(struct event_base *base, const struct net_addr *to, const struct net_ops *ops, void *owner)
{
	struct net_conn *c;
	int fd = -1, error = conn_stage->connect(conn_stage->owner, to, &fd);

	if (fd == -1)
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	c = conn_new(base, fd, to, ops, owner);
	c->state = CONN_CONNECTING;
	c->early_errno = error;
	stage_local(c);
	conn_kick(c);
	return c;
}

struct net_conn *
net_accept(struct event_base *base, int fd, const struct net_addr *peer, const struct net_ops *ops,
    void *owner, struct err *err)
{
	struct net_conn *c;
	int flags = fcntl(fd, F_GETFL);

	if (flags == -1 || ((flags & O_NONBLOCK) == 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)) {
		err_set(err, "cannot use the accepted socket: %s", strerror(errno));
		close(fd);
		return NULL;
	}
	no_delay(fd, peer);
	c = conn_new(base, fd, peer, ops, owner);
	c->state = CONN_CLEAR;
	stage_local(c);
	want_read(c);
	if (!c->reading) {
		err_set(err, "cannot watch the accepted socket");
		c->freed = true;
		reclaim(c);
		return NULL;
	}
	return c;
}

static int
bind_source(int fd, const struct net_addr *source)
{
	int on = 1;

	/* The port is chosen at connect, when the other end is known: more of them can be used. */
	if (net_addr_port(source) == 0)
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
	return bind(fd, (const struct sockaddr *)&source->ss, source->len);
}

struct net_conn *
net_connect(struct event_base *base, const struct net_addr *to, const struct net_addr *source,
    const struct net_ops *ops, void *owner, struct err *err)
{
	struct net_conn *c;
	int fd;

	if (conn_stage != NULL)
		return stage_connect(base, to, ops, owner);
	fd = socket(to->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1) {
		err_set(err, "cannot make a socket: %s", strerror(errno));
		return NULL;
	}
	no_delay(fd, to);
	c = conn_new(base, fd, to, ops, owner);
	c->state = CONN_CONNECTING;
	if ((source != NULL && source->ss.ss_family != AF_UNSPEC && bind_source(fd, source) != 0) ||
	    (connect(fd, (const struct sockaddr *)&to->ss, to->len) != 0 && errno != EINPROGRESS)) {
		c->early_errno = errno;
		conn_kick(c);
	} else if (!conn_want_write(c)) {
		err_set(err, "cannot watch the socket");
		c->freed = true;
		reclaim(c);
		return NULL;
	}
	return c;
}

/* Connections whose owners have let go, by the thread whose loop they are on. */
static _Thread_local LIST_HEAD(, net_conn) finishing;
static _Thread_local unsigned nfinishing;

static void
reclaim(struct net_conn *c)
{
	if (c->fd != -1) {
		remove_events(c);
		close(c->fd);
	}
	if (c->finishing) {
		LIST_REMOVE(c, finishing_link);
		nfinishing--;
	}
	conn_tls_free(c->tls);
	buf_fini(&c->in);
	buf_fini(&c->out);
	free(c);
}

void
net_free(struct net_conn *c)
{
	if (c == NULL)
		return;
	MUST(!c->finishing);
	c->freed = true;
	if (c->depth == 0)
		reclaim(c);
}

void
net_finish(struct net_conn *c, int64_t ms)
{
	if (c->state != CONN_CLEAR && c->state != CONN_TLS) {
		net_free(c);	/* no one to say goodbye to */
		return;
	}
	c->finishing = true;
	LIST_INSERT_HEAD(&finishing, c, finishing_link);
	nfinishing++;
	c->more = c->notify = c->paused = false;
	buf_fini(&c->in);
	net_deadline(c, ms > 0 ? ms : 1);
	conn_kick(c);
}

void
net_finish_now(void)
{
	struct net_conn *c, *next;

	for (c = LIST_FIRST(&finishing); c != NULL; c = next) {
		next = LIST_NEXT(c, finishing_link);
		if (c->depth == 0)
			reclaim(c);
	}
}

unsigned
net_finishing(void)
{
	return nfinishing;
}

void
net_set_owner(struct net_conn *c, const struct net_ops *ops, void *owner)
{
	c->ops = ops;
	c->owner = owner;
}

/* ---- What the owner does ---- */

struct slice
net_in(const struct net_conn *c)
{
	return buf_slice(&c->in);
}

void
net_consume(struct net_conn *c, size_t n)
{
	buf_consume(&c->in, n);
	if (c->depth > 0 || c->state == CONN_DEAD)
		return;		/* leave() looks after the rest */
	want_read(c);
	if (c->more && conn_may_read(c))
		conn_kick(c);
}

void
net_pause(struct net_conn *c)
{
	c->paused = true;
	c->watch = false;
}

void
net_pause_watch(struct net_conn *c)
{
	c->paused = true;
	c->watch = c->in.len == 0 && !c->more && !c->eof && (c->state == CONN_CLEAR || c->state == CONN_TLS);
	if (c->watch && !c->reading && event_add(&c->ev_read, NULL) == 0)
		c->reading = true;
}

void
net_resume(struct net_conn *c)
{
	if (!c->paused || c->state == CONN_DEAD)
		return;
	c->paused = c->watch = false;
	c->notify = c->in.len > 0;
	want_read(c);
	if (c->notify || c->more || c->eof)
		conn_kick(c);
}

static void
wrote(struct net_conn *c)
{
	if (c->out.len >= NET_OUT_HIGH)
		c->above_high = true;
	if (!c->wait_write)
		conn_kick(c);
}

bool
net_write(struct net_conn *c, const void *p, size_t n)
{
	if (c->state == CONN_DEAD || !buf_add(&c->out, p, n))
		return false;
	wrote(c);
	return true;
}

struct buf *
net_out(struct net_conn *c)
{
	return &c->out;
}

bool
net_out_added(struct net_conn *c)
{
	if (c->state == CONN_DEAD) {
		buf_fini(&c->out);
		return false;
	}
	if (c->out.len > 0)
		wrote(c);
	return true;
}

size_t
net_out_len(const struct net_conn *c)
{
	return c->out.len;
}

/* One timer a connection, and it is rarely touched: a deadline that moves away is noticed when
 * the timer fires, only one that comes nearer sets it anew. */
void
net_deadline(struct net_conn *c, int64_t ms)
{
	int64_t now;

	if (ms <= 0 || c->state == CONN_DEAD) {
		c->deadline_ms = 0;
		return;
	}
	now = now_ms();
	c->deadline_ms = now + ms;
	if (c->armed_ms == 0 || c->deadline_ms < c->armed_ms)
		arm_timer(c, now, c->deadline_ms);
}

const struct net_addr *
net_peer(const struct net_conn *c)
{
	return &c->peer;
}

const struct net_addr *
net_local(const struct net_conn *conn)
{
	struct net_conn *c = (struct net_conn *)conn;	/* filled in when first asked for */

	if (!c->has_local && c->fd != -1) {
		c->local.len = sizeof c->local.ss;
		if (getsockname(c->fd, (struct sockaddr *)&c->local.ss, &c->local.len) != 0)
			memset(&c->local, 0, sizeof c->local);
		c->has_local = c->state != CONN_CONNECTING;
	}
	return &c->local;
}

uint64_t
net_bytes_in(const struct net_conn *c)
{
	return c->bytes_in;
}

uint64_t
net_bytes_out(const struct net_conn *c)
{
	return c->bytes_out;
}
