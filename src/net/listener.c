/* Listening sockets. Each worker has its own (SO_REUSEPORT): the kernel spreads connections. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "net/net_int.h"

#define ACCEPT_TURN 64		/* then the connections there are get their turn */
#define BACKLOG 1024

struct net_listener {
	int fd, reserve;		/* reserve: given away to tell one client, -1 */
	const struct net_listener_ops *ops;
	void *owner;
	struct event ev, ev_pause;
	int64_t warned_ms;
	bool in_callback, freed;
};

/* A Unix socket left behind by a process that is gone may be replaced, one in use may not. */
static int
clear_stale(const struct net_addr *a)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)&a->ss;
	struct stat st;
	int fd, rc = 0;

	if (lstat(un->sun_path, &st) != 0)
		return 0;
	if (!S_ISSOCK(st.st_mode)) {
		errno = EEXIST;
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -1;
	if (connect(fd, (const struct sockaddr *)un, a->len) == 0 || errno == EAGAIN) {
		errno = EADDRINUSE;
		rc = -1;
	} else {
		rc = unlink(un->sun_path);
	}
	if (rc != 0) {
		int keep = errno;

		close(fd);
		errno = keep;
		return -1;
	}
	close(fd);
	return 0;
}

static void
describe(const struct net_addr *a, char *dst, size_t size)
{
	char ip[NET_ADDR_TEXT];

	if (a->ss.ss_family == AF_UNIX) {
		snprintf(dst, size, "%s", ((const struct sockaddr_un *)&a->ss)->sun_path);
		return;
	}
	net_addr_ip(a, ip);
	snprintf(dst, size, "%s port %u", ip, net_addr_port(a));
}

int
net_listen(const struct net_addr *a, bool reuseport, struct err *err)
{
	int fd, on = 1, keep;
	char text[160];

	if (a->ss.ss_family == AF_UNIX && clear_stale(a) != 0)
		goto fail_errno;
	fd = socket(a->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd == -1)
		goto fail_errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	/* [::] is IPv6 alone, so that 0.0.0.0 can be bound beside it and peers keep their family. */
	if (a->ss.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	if ((reuseport && a->ss.ss_family != AF_UNIX &&
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) ||
	    bind(fd, (const struct sockaddr *)&a->ss, a->len) != 0 || listen(fd, BACKLOG) != 0) {
		keep = errno;
		close(fd);
		errno = keep;
		goto fail_errno;
	}
	return fd;
fail_errno:
	keep = errno;
	describe(a, text, sizeof text);
	err_set(err, "cannot listen on %s: %s", text, strerror(keep));
	return -1;
}

static void
listener_reclaim(struct net_listener *l)
{
	event_del(&l->ev);
	event_del(&l->ev_pause);
	close(l->fd);
	if (l->reserve >= 0)
		close(l->reserve);
	free(l);
}

static void
open_reserve(struct net_listener *l)
{
	if (l->reserve < 0 && l->ops->no_descriptors != NULL)
		l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Clients in the backlog are told to try again or elsewhere, one after the other with the one
 * descriptor that was kept for it. When another thread snatches it, the rest wait. */
static void
tell_waiting(struct net_listener *l)
{
	for (int i = 0; i < ACCEPT_TURN && l->ops->no_descriptors != NULL && l->reserve >= 0; i++) {
		int s;

		close(l->reserve);
		l->reserve = -1;
		s = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (s >= 0)
			l->ops->no_descriptors(l->owner, s);
		open_reserve(l);
		if (s < 0)
			return;
	}
}

static void
pause_accepting(struct net_listener *l, int error)
{
	static const struct timeval pause = { 0, 100 * 1000 };
	int64_t now = clock_mono_ms();

	event_del(&l->ev);
	event_add(&l->ev_pause, &pause);
	if (error == EMFILE || error == ENFILE)
		tell_waiting(l);
	if (l->warned_ms != 0 && now - l->warned_ms < 60000)
		return;
	l->warned_ms = now;
	log_warn("cannot accept connections for now", LOG_S("error", strerror(error)));
}

static void
on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct net_listener *l = arg;

	open_reserve(l);
	event_add(&l->ev, NULL);
}

static void
on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct net_listener *l = arg;

	l->in_callback = true;
	for (int i = 0; i < ACCEPT_TURN && !l->freed; i++) {
		struct net_addr peer;
		int s;

		memset(&peer, 0, sizeof peer);
		peer.len = sizeof peer.ss;
		s = accept4(l->fd, (struct sockaddr *)&peer.ss, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (s >= 0) {
			l->ops->accepted(l->owner, s, &peer);
			continue;
		}
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			break;
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			pause_accepting(l, errno);
			break;
		}
		/* The peer gave up while it waited (ECONNABORTED and network errors): the next one. */
	}
	l->in_callback = false;
	if (l->freed)
		listener_reclaim(l);
}

struct net_listener *
net_listener_new(struct event_base *base, int fd, const struct net_listener_ops *ops, void *owner)
{
	struct net_listener *l = xcalloc(1, sizeof *l);

	l->fd = fd;
	l->reserve = -1;
	l->ops = ops;
	l->owner = owner;
	open_reserve(l);
	event_assign(&l->ev, base, fd, EV_READ | EV_PERSIST, on_accept, l);
	event_assign(&l->ev_pause, base, -1, 0, on_resume, l);
	MUST(event_add(&l->ev, NULL) == 0);
	return l;
}

void
net_listener_free(struct net_listener *l)
{
	if (l == NULL)
		return;
	l->freed = true;
	if (!l->in_callback)
		listener_reclaim(l);
}
