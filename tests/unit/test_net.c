/* Addresses, listeners, connections in clear: two ends on one event base over loopback. */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net_rig.h"

/* ---- Addresses ---- */

static const struct addr_case {
	const char *text;
	uint16_t port;
	int family;		/* 0: refused */
	const char *ip;
	uint16_t want_port;
	bool loopback;
} addrs[] = {
	{ "192.0.2.1:25", 0, AF_INET, "192.0.2.1", 25, false },
	{ "192.0.2.1", 25, AF_INET, "192.0.2.1", 25, false },
	{ "192.0.2.1", 0, 0, NULL, 0, false },
	{ "192.0.2.1:", 25, 0, NULL, 0, false },
	{ "192.0.2.1:0", 25, 0, NULL, 0, false },
	{ "192.0.2.1:65536", 25, 0, NULL, 0, false },
	{ "192.0.2.1:+5", 25, 0, NULL, 0, false },
	{ "192.0.2.256:25", 25, 0, NULL, 0, false },
	{ "127.1:25", 25, 0, NULL, 0, false },
	{ "mx.example.org:25", 0, 0, NULL, 0, false },
	{ "[2001:db8::1]:465", 25, AF_INET6, "2001:db8::1", 465, false },
	{ "[2001:db8::1]", 25, AF_INET6, "2001:db8::1", 25, false },
	{ "2001:db8::1", 25, AF_INET6, "2001:db8::1", 25, false },
	{ "2001:db8::1", 0, 0, NULL, 0, false },
	{ "[2001:db8::1]25", 25, 0, NULL, 0, false },
	{ "[2001:db8::1", 25, 0, NULL, 0, false },
	{ "[192.0.2.1]:25", 25, 0, NULL, 0, false },
	{ "", 25, 0, NULL, 0, false },
	{ "unix:/run/x.sock", 0, AF_UNIX, "unix", 0, false },
	{ "unix:", 0, 0, NULL, 0, false },
	{ "127.0.0.1:25", 0, AF_INET, "127.0.0.1", 25, true },
	{ "127.255.0.9:25", 0, AF_INET, "127.255.0.9", 25, true },
	{ "0.0.0.0:25", 0, AF_INET, "0.0.0.0", 25, true },
	{ "[::]:25", 0, AF_INET6, "::", 25, true },
	{ "[::1]:25", 0, AF_INET6, "::1", 25, true },
	{ "[::ffff:127.0.0.1]:25", 0, AF_INET6, "127.0.0.1", 25, true },
	{ "[::ffff:192.0.2.7]:25", 0, AF_INET6, "192.0.2.7", 25, false },
	{ "[64:ff9b::7f00:1]:25", 0, AF_INET6, "64:ff9b::7f00:1", 25, true },
	{ "[::127.0.0.1]:25", 0, AF_INET6, "::127.0.0.1", 25, true },
};

START_TEST(addr)
{
	const struct addr_case *t = &addrs[_i];
	char ip[NET_ADDR_TEXT];
	struct net_addr at;
	struct err err = { "" };
	int rc = net_addr_parse(&at, slice_of(t->text), t->port, &err);

	if (t->family == 0) {
		ck_assert_msg(rc == -1, "%s", t->text);
		ck_assert_str_ne(err.text, "");
		return;
	}
	ck_assert_msg(rc == 0, "%s: %s", t->text, err.text);
	ck_assert_int_eq(at.ss.ss_family, t->family);
	net_addr_ip(&at, ip);
	ck_assert_str_eq(ip, t->ip);
	ck_assert_uint_eq(net_addr_port(&at), t->want_port);
	ck_assert_msg(net_addr_is_loopback(&at) == t->loopback, "%s", t->text);
}
END_TEST

static const struct cidr_case {
	const char *prefix, *ip;
	int has;		/* -1: the prefix is refused */
} cidrs[] = {
	{ "10.0.0.0/8", "10.255.255.255", 1 },
	{ "10.0.0.0/8", "11.0.0.0", 0 },
	{ "10.0.0.0/8", "::ffff:10.1.2.3", 1 },
	{ "10.0.0.0/8", "a00::", 0 },
	{ "10.0.0.1/8", NULL, -1 },
	{ "10.0.0.0/33", NULL, -1 },
	{ "10.0.0.0/", NULL, -1 },
	{ "10.0.0.0/8/8", NULL, -1 },
	{ "10.0.0.0/-1", NULL, -1 },
	{ "/8", NULL, -1 },
	{ "", NULL, -1 },
	{ "example.org/8", NULL, -1 },
	{ "192.0.2.1", "192.0.2.1", 1 },
	{ "192.0.2.1", "192.0.2.2", 0 },
	{ "192.0.2.128/25", "192.0.2.200", 1 },
	{ "192.0.2.128/25", "192.0.2.127", 0 },
	{ "0.0.0.0/0", "203.0.113.9", 1 },
	{ "0.0.0.0/0", "2001:db8::1", 0 },
	{ "::/0", "2001:db8::1", 1 },
	{ "fd00::/8", "fdff::1", 1 },
	{ "fd00::/8", "fe00::1", 0 },
	{ "fd00::/7", NULL, -1 },
	{ "::ffff:10.0.0.0/104", "10.2.3.4", 1 },
};

START_TEST(cidr)
{
	const struct cidr_case *t = &cidrs[_i];
	struct net_cidr c;
	struct net_addr at;
	struct err err = { "" };
	int rc = net_cidr_parse(&c, slice_of(t->prefix), &err);

	if (t->has == -1) {
		ck_assert_msg(rc == -1, "%s", t->prefix);
		ck_assert_str_ne(err.text, "");
		return;
	}
	ck_assert_msg(rc == 0, "%s: %s", t->prefix, err.text);
	ck_assert_int_eq(net_addr_parse(&at, slice_of(t->ip), 1, &err), 0);
	ck_assert_msg(net_cidr_has(&c, &at) == (t->has == 1), "%s %s", t->prefix, t->ip);
}
END_TEST

/* ---- Connections in clear ---- */

START_TEST(clear_there_and_back)
{
	char ip[NET_ADDR_TEXT];

	ends_connect();
	ck_assert(net_write(a.c, "hel", 3) && net_write(a.c, "lo", 2));
	ck_assert_uint_eq(net_out_len(a.c), 5);		/* nothing leaves before the loop turns */
	until_got(&b, 5);
	ck_assert_int_eq(b.readable, 1);		/* and both pieces leave as one */
	ck_assert(slice_is(buf_slice(&b.got), "hello"));
	ck_assert(net_write(b.c, "yes", 3));
	until_got(&a, 3);
	ck_assert_uint_eq(net_bytes_in(a.c), 3);
	ck_assert_uint_eq(net_bytes_out(a.c), 5);
	ck_assert_uint_eq(net_addr_port(net_local(a.c)), net_addr_port(net_peer(b.c)));
	ck_assert_uint_eq(net_addr_port(net_local(b.c)), net_addr_port(net_peer(a.c)));
	net_addr_ip(net_peer(b.c), ip);
	ck_assert_str_eq(ip, "127.0.0.1");
	ck_assert_ptr_null(net_tls(a.c));
	ends_fini();
}
END_TEST

START_TEST(connect_refused)
{
	struct net_addr to;
	struct err err = { "" };

	ends_init();
	to = listen_somewhere();
	net_listener_free(listener);
	listener = NULL;
	a.c = net_connect(base, &to, NULL, &end_ops, &a, &err);
	ck_assert_ptr_nonnull(a.c);
	ck_assert_int_eq(a.closed, 0);
	until(&a.closed, "closed");
	ck_assert_int_eq(a.why, NET_CONNECT_FAILED);
	ck_assert_ptr_nonnull(strstr(a.text, "127.0.0.1"));
	ends_fini();
}
END_TEST

START_TEST(source_address)
{
	struct net_addr to, from;
	struct err err = { "" };
	uint8_t ip[4] = { 127, 0, 0, 9 };
	char text[NET_ADDR_TEXT];

	ends_init();
	to = listen_somewhere();
	net_addr_set(&from, AF_INET, ip, 0);
	a.c = net_connect(base, &to, &from, &end_ops, &a, &err);
	until(&accepted, "accepted");
	net_addr_ip(net_peer(b.c), text);
	ck_assert_str_eq(text, "127.0.0.9");
	net_free(a.c);
	/* One that is not ours (TEST-NET-1). */
	memcpy(ip, (uint8_t[]){ 192, 0, 2, 1 }, 4);
	net_addr_set(&from, AF_INET, ip, 0);
	a.c = net_connect(base, &to, &from, &end_ops, &a, &err);
	ck_assert_ptr_nonnull(a.c);
	until(&a.closed, "closed");
	ck_assert_int_eq(a.why, NET_CONNECT_FAILED);
	ends_fini();
}
END_TEST

START_TEST(eof_comes_after_the_last_octets)
{
	ends_connect();
	net_pause(b.c);
	net_write(a.c, "bye", 3);
	net_finish(a.c, 5000);
	a.c = NULL;
	some_turns();
	ck_assert_int_eq(b.readable + b.closed, 0);
	net_resume(b.c);
	until(&b.closed, "closed");
	ck_assert_int_eq(b.why, NET_EOF);
	ck_assert(slice_is(buf_slice(&b.got), "bye"));
	ends_fini();
}
END_TEST

static const struct gone_case {
	const char *unread;
	bool resets, told;
} gone[] = { { "", false, true }, { "", true, true }, { "x", false, false } };

START_TEST(a_peer_that_is_gone)
{
	const struct gone_case *t = &gone[_i];
	struct linger hard = { 1, 0 };
	struct net_addr to;
	int fd;

	ends_init();
	to = listen_somewhere();
	fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to.ss, to.len), 0);
	until(&accepted, "accepted");
	net_pause_watch(b.c);
	some_turns();
	ck_assert_int_eq(b.closed, 0);
	ck_assert_int_eq(write(fd, t->unread, strlen(t->unread)), (int)strlen(t->unread));
	if (t->resets)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
	close(fd);
	if (!t->told) {
		some_turns();
		ck_assert_int_eq(b.closed, 0);
		net_resume(b.c);
	}
	until(&b.closed, "closed");
	ck_assert_uint_eq(b.got.len, strlen(t->unread));
	ends_fini();
}
END_TEST

START_TEST(half_close_does_not_spin)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof ss;
	struct net_addr to;
	int fd, turns = 0;

	/* a peer that has sent FIN while its owner is paused costs nothing. */
	ends_init();
	to = listen_somewhere();
	fd = socket(AF_INET, SOCK_STREAM, 0);
	memcpy(&ss, &to.ss, sizeof ss);
	len = to.len;
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&ss, len), 0);
	until(&accepted, "accepted");
	ck_assert_int_eq(write(fd, "x", 1), 1);
	shutdown(fd, SHUT_WR);
	net_pause(b.c);
	some_turns();
	for (int64_t end = clock_mono_ms() + 30; clock_mono_ms() < end; turns++) {
		struct timeval tv = { 0, 20000 };

		event_base_loopexit(base, &tv);
		event_base_loop(base, EVLOOP_ONCE);
	}
	ck_assert_int_lt(turns, 10);
	ck_assert_int_eq(b.closed, 0);
	net_resume(b.c);
	until(&b.closed, "closed");
	ck_assert_uint_eq(b.got.len, 1);
	close(fd);
	ends_fini();
}
END_TEST

START_TEST(free_inside_a_callback)
{
	ends_connect();
	b.free_in_readable = true;
	net_write(a.c, "x", 1);
	until(&a.closed, "closed");
	ck_assert_ptr_null(b.c);
	ends_fini();
}
END_TEST

START_TEST(deadline)
{
	ends_connect();
	net_deadline(a.c, 60000);
	net_deadline(a.c, 20);		/* nearer: the timer must be set anew */
	until(&a.closed, "closed");
	ck_assert_int_eq(a.why, NET_TIMEOUT);
	net_deadline(b.c, 20);
	net_deadline(b.c, 0);
	for (int64_t end = clock_mono_ms() + 60; clock_mono_ms() < end;)
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	ck_assert_int_eq(b.closed, 1);		/* because a is gone */
	ck_assert_int_eq(b.why, NET_EOF);
	ends_fini();
}
END_TEST

START_TEST(deadline_moves_away)
{
	ends_connect();
	net_deadline(a.c, 20);
	net_deadline(a.c, 60000);
	for (int64_t end = clock_mono_ms() + 60; clock_mono_ms() < end;)
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	ck_assert_int_eq(a.closed, 0);
	net_deadline(a.c, 20);
	until(&a.closed, "closed");
	ck_assert_int_eq(a.why, NET_TIMEOUT);
	ends_fini();
}
END_TEST

START_TEST(back_pressure)
{
	static char block[16 * 1024];
	size_t sent = 0;

	/* a peer that does not read makes the output stand at its bound, and the owner is
	 * told when it may go on. */
	ends_connect();
	memset(block, 'x', sizeof block);
	net_pause(b.c);
	while (sent < (8u << 20) && net_write(a.c, block, sizeof block)) {
		sent += sizeof block;
		turn();
	}
	ck_assert_uint_gt(net_out_len(a.c), NET_OUT_HIGH);
	ck_assert_uint_le(net_out_len(a.c), 1u << 20);
	ck_assert_int_eq(a.writable, 0);
	ck_assert_uint_le(net_in(b.c).n, NET_IN_MAX);
	net_resume(b.c);
	until(&a.writable, "writable");
	until_got(&b, sent);
	ck_assert_uint_eq(b.got.len, sent);
	ck_assert_uint_eq(net_bytes_in(b.c), sent);
	ends_fini();
}
END_TEST

START_TEST(input_has_a_bound)
{
	static char block[16 * 1024];

	ends_connect();
	b.hold = true;
	for (int i = 0; i < 20; i++) {
		net_write(a.c, block, sizeof block);
		some_turns();
	}
	ck_assert_uint_eq(net_in(b.c).n, NET_IN_MAX);
	b.hold = false;
	buf_add(&b.got, net_in(b.c).p, net_in(b.c).n);
	net_consume(b.c, net_in(b.c).n);
	until_got(&b, 20 * sizeof block);
	ends_fini();
}
END_TEST

START_TEST(in_place_output)
{
	ends_connect();
	ck_assert(buf_adds(net_out(a.c), "made in place"));
	ck_assert(net_out_added(a.c));
	until_got(&b, 13);
	ck_assert(slice_is(buf_slice(&b.got), "made in place"));
	ends_fini();
}
END_TEST

START_TEST(finish_with_an_idle_peer)
{
	ends_connect();
	net_write(b.c, "221 bye\r\n", 9);
	net_finish(b.c, 30);		/* the other end never closes */
	b.c = NULL;
	net_pause(a.c);
	for (int64_t end = clock_mono_ms() + 60; clock_mono_ms() < end;)
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	net_resume(a.c);
	until(&a.closed, "closed");
	ck_assert(slice_is(buf_slice(&a.got), "221 bye\r\n"));
	ends_fini();
}
END_TEST

START_TEST(last_words_before_a_reset)
{
	struct net_addr to;
	int fd, s;
	struct sockaddr_storage ss;
	socklen_t len = sizeof ss;
	struct err err;

	/* The peer says 421 and resets; what it said is read although our writing fails. */
	ends_init();
	to = listen_somewhere();
	net_listener_free(listener);
	listener = NULL;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	s = 1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &s, sizeof s);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&to.ss, to.len), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	a.c = net_connect(base, &to, NULL, &end_ops, &a, &err);
	until(&a.connected, "connected");
	s = accept(fd, (struct sockaddr *)&ss, &len);
	net_write(a.c, "unread", 6);
	some_turns();
	ck_assert_int_eq(write(s, "421 bye\r\n", 9), 9);
	close(s);			/* with input unread: a reset */
	net_write(a.c, "more", 4);
	until(&a.closed, "closed");
	ck_assert_int_eq(a.why, NET_RESET);
	ck_assert(slice_is(buf_slice(&a.got), "421 bye\r\n"));
	close(fd);
	ends_fini();
}
END_TEST

/* ---- Listeners ---- */

START_TEST(listen_in_use)
{
	struct net_addr to;
	struct err err = { "" };

	ends_init();
	to = listen_somewhere();
	ck_assert_int_eq(net_listen(&to, false, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "127.0.0.1 port"));
	ends_fini();
}
END_TEST

START_TEST(listen_unix)
{
	char path[64], spec[80];
	struct net_addr to;
	struct err err = { "" };
	int fd, again;

	ends_init();
	snprintf(path, sizeof path, "test_net.%d.sock", (int)getpid());
	snprintf(spec, sizeof spec, "unix:%s", path);
	ck_assert_int_eq(net_addr_parse(&to, slice_of(spec), 0, &err), 0);
	fd = net_listen(&to, true, &err);
	ck_assert_msg(fd >= 0, "%s", err.text);
	again = net_listen(&to, true, &err);
	ck_assert_int_eq(again, -1);		/* somebody listens there */
	close(fd);
	fd = net_listen(&to, true, &err);	/* nobody does any more */
	ck_assert_msg(fd >= 0, "%s", err.text);
	accepted = 0;
	listener = net_listener_new(base, fd, &listen_ops, NULL);
	a.c = net_connect(base, &to, NULL, &end_ops, &a, &err);
	until(&a.connected, "connected");
	until(&accepted, "accepted");
	net_write(a.c, "hi", 2);
	until_got(&b, 2);
	unlink(path);
	ends_fini();
}
END_TEST

static int warnings;

static void
count_warning(void *arg, const char *line)
{
	if (strstr(line, "cannot accept") != NULL)
		warnings++;
}

START_TEST(descriptors_run_out)
{
	struct rlimit old, low;
	struct net_addr to;
	int fd, turns = 0;

	/* no spinning, one line, and the connection is taken once there is room again. */
	if (getenv("VALGRIND") != NULL)
		return;			/* it keeps descriptors of its own */
	ends_init();
	to = listen_somewhere();
	fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to.ss, to.len), 0);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = 3;
	log_capture(count_warning, NULL);
	setrlimit(RLIMIT_NOFILE, &low);
	for (int64_t end = clock_mono_ms() + 250; clock_mono_ms() < end; turns++) {
		struct timeval tv = { 0, 50000 };

		event_base_loopexit(base, &tv);
		event_base_loop(base, EVLOOP_ONCE);
	}
	setrlimit(RLIMIT_NOFILE, &old);
	ck_assert_int_eq(accepted, 0);
	ck_assert_int_eq(warnings, 1);
	ck_assert_int_lt(turns, 20);
	until(&accepted, "accepted");
	log_capture(NULL, NULL);
	close(fd);
	ends_fini();
}
END_TEST

UNIT_MAIN("net",
    tcase_add_loop_test(tc, addr, 0, NELEMS(addrs));
    tcase_add_loop_test(tc, cidr, 0, NELEMS(cidrs));
    tcase_add_test(tc, clear_there_and_back);
    tcase_add_test(tc, connect_refused);
    tcase_add_test(tc, source_address);
    tcase_add_test(tc, eof_comes_after_the_last_octets);
    tcase_add_loop_test(tc, a_peer_that_is_gone, 0, NELEMS(gone));
    tcase_add_test(tc, half_close_does_not_spin);
    tcase_add_test(tc, free_inside_a_callback);
    tcase_add_test(tc, deadline);
    tcase_add_test(tc, deadline_moves_away);
    tcase_add_test(tc, back_pressure);
    tcase_add_test(tc, input_has_a_bound);
    tcase_add_test(tc, in_place_output);
    tcase_add_test(tc, finish_with_an_idle_peer);
    tcase_add_test(tc, last_words_before_a_reset);
    tcase_add_test(tc, listen_in_use);
    tcase_add_test(tc, listen_unix);
    tcase_add_test(tc, descriptors_run_out);
)
