/* Two connected ends on one event base, each writing down what it is told; shared by the tests
 * of src/net. Include it once in a program. */
#ifndef TESTS_NET_RIG_H
#define TESTS_NET_RIG_H

#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "net/net.h"

struct end {
	struct net_conn *c;
	const char *name;
	struct buf got;
	int connected, secured, closed, writable, readable;
	enum net_why why;
	char text[256];
	bool free_in_readable, hold;	/* hold: consume nothing */
	struct end *other;
	void (*on_secured)(struct end *e);
};

static struct event_base *base;
static struct end a, b;		/* a connects, b accepts */
static struct net_listener *listener;

static void
end_readable(void *owner)
{
	struct end *e = owner;

	e->readable++;
	if (e->free_in_readable) {
		net_free(e->c);
		e->c = NULL;
		return;
	}
	if (e->hold)
		return;
	ck_assert(net_in(e->c).n > 0);
	buf_add(&e->got, net_in(e->c).p, net_in(e->c).n);
	net_consume(e->c, net_in(e->c).n);
}

static void
end_writable(void *owner)
{
	((struct end *)owner)->writable++;
}

static void
end_connected(void *owner)
{
	((struct end *)owner)->connected++;
}

static void
end_secured(void *owner)
{
	struct end *e = owner;

	e->secured++;
	if (e->on_secured != NULL)
		e->on_secured(e);
}

static void
end_closed(void *owner, enum net_why why, const char *text)
{
	struct end *e = owner;

	e->closed++;
	e->why = why;
	snprintf(e->text, sizeof e->text, "%s", text);
	ck_assert(!net_write(e->c, "x", 1));
}

static const struct net_ops end_ops = {
	end_readable, end_writable, end_connected, end_secured, end_closed,
};

static void
turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
}

/* Turns the loop until *what is not 0; the bound is far beyond what any of it takes. */
static void
until(const int *what, const char *say)
{
	int64_t end = clock_mono_ms() + 5000;

	while (*what == 0 && clock_mono_ms() < end)
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	ck_assert_msg(*what != 0, "%s did not happen", say);
}

static void
until_got(struct end *e, size_t n)
{
	int64_t end = clock_mono_ms() + 5000;

	while (e->got.len < n && clock_mono_ms() < end)
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	ck_assert_msg(e->got.len >= n, "%s got %zu of %zu octets (%s)", e->name, e->got.len, n, e->text);
}

static inline void
some_turns(void)
{
	for (int i = 0; i < 50; i++)
		turn();
}

static int accepted;

static void
on_accepted(void *owner, int fd, const struct net_addr *peer)
{
	struct err err;

	accepted++;
	b.c = net_accept(base, fd, peer, &end_ops, &b, &err);
	ck_assert_ptr_nonnull(b.c);
}

static const struct net_listener_ops listen_ops = { .accepted = on_accepted };

static void
ends_init(void)
{
	base = event_base_new();
	memset(&a, 0, sizeof a);
	memset(&b, 0, sizeof b);
	a.name = "client";
	b.name = "server";
	a.other = &b;
	b.other = &a;
	buf_init(&a.got, 16u << 20);
	buf_init(&b.got, 16u << 20);
}

/* A port of the kernel's choice on loopback. */
static struct net_addr
listen_somewhere(void)
{
	struct net_addr to;
	struct err err = { "" };
	uint8_t ip[4] = { 127, 0, 0, 1 };
	int fd;

	net_addr_set(&to, AF_INET, ip, 0);
	fd = net_listen(&to, false, &err);
	ck_assert_msg(fd >= 0, "%s", err.text);
	to.len = sizeof to.ss;
	getsockname(fd, (struct sockaddr *)&to.ss, &to.len);
	accepted = 0;
	listener = net_listener_new(base, fd, &listen_ops, NULL);
	return to;
}

static inline void
ends_connect(void)
{
	struct net_addr to;
	struct err err = { "" };

	ends_init();
	to = listen_somewhere();
	a.c = net_connect(base, &to, NULL, &end_ops, &a, &err);
	ck_assert_msg(a.c != NULL, "%s", err.text);
	ck_assert_int_eq(a.connected, 0);
	until(&a.connected, "connected");
	until(&accepted, "accepted");
}

static void
ends_fini(void)
{
	net_free(a.c);
	net_free(b.c);
	net_listener_free(listener);
	listener = NULL;
	some_turns();		/* what is finishing goes when the other end has gone */
	buf_fini(&a.got);
	buf_fini(&b.got);
	event_base_free(base);
}

#endif
