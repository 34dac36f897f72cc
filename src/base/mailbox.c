#include "config.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/base.h"

struct mailbox {
	_Atomic(struct mail *) head;	/* newest first; the reader turns it round */
	int fd;				/* an eventfd: readable when something was posted */
	_Atomic bool asleep;		/* without a base: the reader wants to be woken */
	struct event *ev;
	void *reader;
};

static struct mail *
take_all(struct mailbox *mb)
{
	struct mail *m = atomic_exchange(&mb->head, NULL);
	struct mail *first = NULL;

	while (m != NULL) {
		struct mail *next = m->next;

		m->next = first;
		first = m;
		m = next;
	}
	return first;
}

static void
clear_wakeup(struct mailbox *mb)
{
	uint64_t n;

	/* Before take_all, so that a post in between wakes us again. */
	if (read(mb->fd, &n, sizeof n) < 0 && errno != EAGAIN && errno != EINTR)
		MUST(false);
}

void
mailbox_drain(struct mailbox *mb)
{
	struct mail *m, *next;

	clear_wakeup(mb);
	for (m = take_all(mb); m != NULL; m = next) {
		next = m->next;
		m->next = NULL;
		m->run(mb->reader, m);
	}
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	mailbox_drain(arg);
}

struct mailbox *
mailbox_new(struct event_base *base, void *reader)
{
	struct mailbox *mb = xcalloc(1, sizeof *mb);

	atomic_init(&mb->head, NULL);
	atomic_init(&mb->asleep, false);
	mb->reader = reader;
	mb->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	MUST(mb->fd >= 0);
	if (base != NULL) {
		mb->ev = event_new(base, mb->fd, EV_READ | EV_PERSIST, on_readable, mb);
		MUST(mb->ev != NULL && event_add(mb->ev, NULL) == 0);
	}
	return mb;
}

void
mailbox_free(struct mailbox *mb)
{
	if (mb == NULL)
		return;
	if (mb->ev != NULL)
		event_free(mb->ev);
	close(mb->fd);
	free(mb);
}

/* With a base only the first after the reader looked needs to wake it; a reader that waits itself
 * is woken when it sleeps, which a busy one (a commit under way) does not. */
static bool
must_wake(struct mailbox *mb, const struct mail *old)
{
	return mb->ev != NULL ? old == NULL : atomic_exchange(&mb->asleep, false);
}

void
mailbox_post(struct mailbox *mb, struct mail *m)
{
	struct mail *old = atomic_load_explicit(&mb->head, memory_order_relaxed);
	uint64_t one = 1;

	do {
		m->next = old;
	} while (!atomic_compare_exchange_weak(&mb->head, &old, m));
	if (!must_wake(mb, old))
		return;
	while (write(mb->fd, &one, sizeof one) < 0 && errno != EAGAIN)
		MUST(errno == EINTR);
}

struct mail *
mailbox_wait(struct mailbox *mb, int timeout_ms)
{
	struct pollfd p = { mb->fd, POLLIN, 0 };
	struct mail *m;

	MUST(mb->ev == NULL);
	m = take_all(mb);
	if (m != NULL || timeout_ms == 0)
		return m;
	/* Said before the last look: whoever posts after that look sees it. */
	atomic_store(&mb->asleep, true);
	m = take_all(mb);
	if (m == NULL && poll(&p, 1, timeout_ms) > 0)
		clear_wakeup(mb);
	atomic_store(&mb->asleep, false);
	return m != NULL ? m : take_all(mb);
}
