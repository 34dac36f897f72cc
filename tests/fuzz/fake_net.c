#include "config.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>

#include "fake_net.h"

struct net_conn {
	struct fake_peer *peer;		/* NULL once the harness let go */
	const struct net_ops *ops;
	void *owner;
	struct buf in, out;
	const struct tls_info *tls;
	int64_t deadline_ms;
	uint64_t bytes_in, bytes_out;
	enum net_why why;
	unsigned depth;
	bool is_connecting, in_handshake, is_paused, has_news, was_high, is_ending, is_dead, is_finishing,
	    is_freed;
};

struct event_base *const fake_base = (struct event_base *)"base";
static const struct net_addr nobody;
static int64_t now_ms = INT64_C(1700000000000);
static struct fake_peer *coming;
static struct net_conn *conns[4];

/* ---- libevent ---- */
static struct timer {
	struct event *ev;
	bool is_active;
	int64_t due_ms;		/* 0 none */
} timers[16];

static struct timer *
timer_of(const struct event *ev, bool make)
{
	struct timer *room = NULL;

	for (size_t i = 0; i < NELEMS(timers); i++) {
		if (timers[i].ev == ev)
			return &timers[i];
		if (timers[i].ev == NULL && room == NULL)
			room = &timers[i];
	}
	if (!make)
		return NULL;
	MUST(room != NULL);
	*room = (struct timer){ .ev = (struct event *)ev };
	return room;
}

int
event_assign(struct event *ev, struct event_base *base, evutil_socket_t fd, short what,
    event_callback_fn fn, void *arg)
{
	memset(ev, 0, sizeof *ev);
	ev->ev_evcallback.evcb_cb_union.evcb_callback = fn;
	ev->ev_evcallback.evcb_arg = arg;
	return 0;
}

struct event *
event_new(struct event_base *base, evutil_socket_t fd, short what, event_callback_fn fn, void *arg)
{
	struct event *ev = xmalloc(sizeof *ev);

	event_assign(ev, base, fd, what, fn, arg);
	return ev;
}

int
event_del(struct event *ev)
{
	struct timer *t = timer_of(ev, false);

	if (t != NULL)
		t->ev = NULL;
	return 0;
}

void
event_free(struct event *ev)
{
	event_del(ev);
	free(ev);
}

int
event_add(struct event *ev, const struct timeval *tv)
{
	timer_of(ev, true)->due_ms = now_ms + (int64_t)tv->tv_sec * 1000 + tv->tv_usec / 1000;
	return 0;
}

void
event_active(struct event *ev, int what, short ncalls)
{
	timer_of(ev, true)->is_active = true;
}

static bool
run_events(void)
{
	bool any = false;

	for (size_t i = 0; i < NELEMS(timers); i++) {
		struct event *ev = timers[i].ev;

		if (ev == NULL || (!timers[i].is_active && (timers[i].due_ms == 0 || timers[i].due_ms > now_ms)))
			continue;
		timers[i].ev = NULL;
		any = true;
		ev->ev_evcallback.evcb_cb_union.evcb_callback(-1, EV_TIMEOUT, ev->ev_evcallback.evcb_arg);
	}
	return any;
}

/* ---- A connection ---- */
static struct net_conn *
conn_new(const struct net_ops *ops, void *owner)
{
	struct net_conn *c = xcalloc(1, sizeof *c);
	size_t i = 0;

	while (i < NELEMS(conns) && conns[i] != NULL)
		i++;
	MUST(i < NELEMS(conns) && coming != NULL);
	conns[i] = c;
	c->peer = coming;
	c->peer->conn = c;
	c->peer->was_made = true;
	coming = NULL;
	c->ops = ops;
	c->owner = owner;
	buf_init(&c->in, NET_IN_MAX);
	buf_init(&c->out, 1 << 20);
	return c;
}

static void
deliver(struct net_conn *c)
{
	if (c->peer == NULL || c->peer->is_deaf || c->out.len == 0)
		return;
	buf_add(&c->peer->heard, buf_peek(&c->out), c->out.len);
	c->bytes_out += c->out.len;
	buf_consume(&c->out, c->out.len);
}

static void
reclaim(struct net_conn *c)
{
	for (size_t i = 0; i < NELEMS(conns); i++)
		if (conns[i] == c)
			conns[i] = NULL;
	if (c->peer != NULL)
		c->peer->conn = NULL;
	buf_fini(&c->in);
	buf_fini(&c->out);
	free(c);
}

struct net_conn *
net_accept(struct event_base *base, int fd, const struct net_addr *peer, const struct net_ops *ops,
    void *owner, struct err *err)
{
	return conn_new(ops, owner);
}

struct net_conn *
net_connect(struct event_base *base, const struct net_addr *to, const struct net_addr *source,
    const struct net_ops *ops, void *owner, struct err *err)
{
	struct net_conn *c = conn_new(ops, owner);

	c->is_connecting = true;
	return c;
}

void
net_free(struct net_conn *c)
{
	if (c == NULL)
		return;
	MUST(!c->is_finishing && !c->is_freed);
	c->is_freed = true;
	if (c->depth == 0)
		reclaim(c);
}

void
net_finish(struct net_conn *c, int64_t ms)
{
	MUST(!c->is_finishing && !c->is_freed);
	if (c->is_dead || c->is_connecting || c->in_handshake) {
		net_free(c);
		return;
	}
	c->is_finishing = true;
	buf_fini(&c->in);
}

struct slice
net_in(const struct net_conn *c)
{
	return buf_slice(&c->in);
}

void
net_consume(struct net_conn *c, size_t n)
{
	MUST(n <= c->in.len);
	buf_consume(&c->in, n);
}

void
net_pause(struct net_conn *c)
{
	c->is_paused = true;
}

void
net_pause_watch(struct net_conn *c)
{
	net_pause(c);
}

void
net_resume(struct net_conn *c)
{
	if (!c->is_paused || c->is_dead)
		return;
	c->is_paused = false;
	c->has_news = c->in.len > 0;
}

bool
net_write(struct net_conn *c, const void *p, size_t n)
{
	MUST(!c->is_freed && !c->is_finishing);
	return !c->is_dead && buf_add(&c->out, p, n) && net_out_added(c);
}

struct buf *
net_out(struct net_conn *c)
{
	return &c->out;
}

bool
net_out_added(struct net_conn *c)
{
	if (c->is_dead) {
		buf_fini(&c->out);
		return false;
	}
	c->was_high = c->was_high || c->out.len >= NET_OUT_HIGH;
	return true;
}

size_t
net_out_len(const struct net_conn *c)
{
	return c->out.len;
}

void
net_deadline(struct net_conn *c, int64_t ms)
{
	c->deadline_ms = ms <= 0 || c->is_dead ? 0 : now_ms + ms;
}

static bool
start_tls(struct net_conn *c)
{
	if (c->in.len > 0 || c->is_dead || c->peer == NULL)	/* */
		return false;
	c->in_handshake = true;
	c->peer->wants_tls = true;
	c->peer->handshakes++;
	return true;
}

bool
net_start_tls_server(struct net_conn *c, struct tls_server *t)
{
	return start_tls(c);
}

bool
net_start_tls_client(struct net_conn *c, struct tls_client *t, const struct tls_want *want)
{
	return start_tls(c);
}

const struct tls_info *
net_tls(const struct net_conn *c)
{
	return c->tls;
}

const struct net_addr *
net_peer(const struct net_conn *c)
{
	return &nobody;
}

const struct net_addr *
net_local(const struct net_conn *c)
{
	return &nobody;
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

struct tls_client *
tls_client_ref(struct tls_client *t)
{
	return t;
}

void
tls_client_unref(struct tls_client *t)
{
	(void)t;
}

/* ---- The loop ---- */
static void
close_conn(struct net_conn *c, enum net_why why)
{
	c->is_dead = true;
	c->deadline_ms = 0;
	c->ops->closed(c->owner, why, "closed by the peer");
}

static void
read_some(struct net_conn *c)
{
	struct buf *from = &c->peer->waiting;
	size_t n = from->len < buf_room(&c->in) ? from->len : buf_room(&c->in);

	buf_add(&c->in, buf_peek(from), n);
	buf_consume(from, n);
	c->bytes_in += n;
}

/* One thing for this connection; false when there is none. */
static bool
conn_step(struct net_conn *c)
{
	bool may_read = !c->is_paused && !c->in_handshake && !c->is_finishing;

	deliver(c);
	if (c->is_finishing) {
		if (c->out.len > 0 && c->peer != NULL)
			return false;
		c->is_freed = true;
		return true;
	}
	if (c->is_dead || c->peer == NULL)
		return false;
	if (c->is_connecting) {
		if (c->is_ending)
			close_conn(c, NET_CONNECT_FAILED);
		c->is_connecting = false;
		if (!c->is_dead && c->ops->connected != NULL)
			c->ops->connected(c->owner);
	} else if (c->in_handshake) {
		if (!c->is_ending)
			return false;
		close_conn(c, NET_TLS_ERROR);
	} else if (c->was_high && c->out.len < NET_OUT_LOW) {
		c->was_high = false;
		if (c->ops->writable != NULL)
			c->ops->writable(c->owner);
	} else if (may_read && (c->has_news || (c->peer->waiting.len > 0 && buf_room(&c->in) > 0))) {
		c->has_news = false;
		read_some(c);
		if (c->in.len > 0)
			c->ops->readable(c->owner);
	} else if (may_read && c->is_ending) {
		close_conn(c, c->why);
	} else {
		return false;
	}
	return true;
}

void
fake_turn(void)
{
	bool any = true;

	for (unsigned rounds = 0; any; rounds++) {
		MUST(rounds < 100000);		/* a loop without end, as in X-28 */
		any = run_events();
		for (size_t i = 0; i < NELEMS(conns); i++) {
			struct net_conn *c = conns[i];

			if (c == NULL)
				continue;
			c->depth++;
			any |= conn_step(c);
			c->depth--;
			if (c->is_freed)
				reclaim(c);
		}
	}
}

void
fake_time(int64_t ms)
{
	now_ms += ms;
	clock_fake(now_ms, now_ms);
	for (size_t i = 0; i < NELEMS(conns); i++) {
		struct net_conn *c = conns[i];

		if (c == NULL || c->deadline_ms == 0 || c->deadline_ms > now_ms || c->is_finishing)
			continue;
		c->depth++;
		close_conn(c, NET_TIMEOUT);
		c->depth--;
		if (c->is_freed)
			reclaim(c);
	}
	fake_turn();
}

/* ---- The other end ---- */
void
fake_peer_init(struct fake_peer *p)
{
	*p = (struct fake_peer){ .conn = NULL };
	buf_init(&p->heard, 4 << 20);
	buf_init(&p->waiting, 1 << 20);
	coming = p;
	clock_fake(now_ms, now_ms);
}

void
fake_peer_fini(struct fake_peer *p)
{
	if (p->conn != NULL)
		p->conn->peer = NULL;
	buf_fini(&p->heard);
	buf_fini(&p->waiting);
}

void
fake_send(struct fake_peer *p, const void *data, size_t n)
{
	if (p->conn != NULL && !p->conn->is_finishing)
		buf_add(&p->waiting, data, n);
}

void
fake_secure(struct fake_peer *p, const struct tls_info *tls)
{
	struct net_conn *c = p->conn;

	p->wants_tls = false;
	if (c == NULL || !c->in_handshake)
		return;
	c->in_handshake = false;
	c->tls = tls;
	c->depth++;
	c->ops->secured(c->owner);
	c->depth--;
	if (c->is_freed)
		reclaim(c);
}

void
fake_close(struct fake_peer *p, enum net_why why)
{
	if (p->conn == NULL)
		return;
	p->conn->is_ending = true;
	p->conn->why = why;
}

bool
fake_has_deadline(const struct fake_peer *p)
{
	return p->conn != NULL && p->conn->deadline_ms > 0;
}

bool
fake_is_idle(const struct fake_peer *p)
{
	return p->conn == NULL || p->waiting.len == 0;
}

void
fake_quiet(void)
{
	static const struct log_conf quiet = { .file = "/dev/null", .level = LOG_LEVEL_ERROR };
	static bool is_quiet;
	struct err err;

	if (!is_quiet)
		MUST(log_open(&quiet, &err) == 0);
	is_quiet = true;
}

void
must_be_lines(struct slice text, size_t max, bool utf8)
{
	size_t start = 0;

	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (c == '\r') {
			MUST(i + 1 < text.n && text.p[i + 1] == '\n');
			MUST(i + 2 - start <= max);
			start = ++i + 1;
			continue;
		}
		MUST(c >= 0x20 && c != 0x7F && (utf8 || c < 0x80));
	}
	MUST(start == text.n);
}
