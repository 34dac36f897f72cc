/* Makes system calls fail, for tests: preloaded into the daemon, it counts the calls of each kind and
 * fails the n-th, or all from the n-th on, with an errno of choice (spec security.md 3).
 *
 * The test writes its orders into a small file that is mapped on both sides (SALLYPORT_SHIM names it),
 * so that a daemon that is already running is armed and disarmed at any time, without a call that
 * would itself be counted. tests/fault/shim.py is the other side and has the same layout.
 *
 * Only files and sockets fail: an eventfd or epoll descriptor has no disk and no peer that could. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { NONE, SYNC, WRITE, OPEN, SOCKET, ACCEPT, MALLOC, READ, SEND, RECV, TRUNCATE, CONNECT, KINDS };
enum how { FAIL_ONCE, FAIL_FROM, SHORT, CRASH, SLOW };

struct control {
	_Atomic int64_t kind;		/* armed, 0: nothing */
	_Atomic int64_t n;		/* 1: the next call */
	_Atomic int64_t error;
	_Atomic int64_t how;
	_Atomic int64_t fired;
	_Atomic int64_t live;		/* allocations that were not freed */
	_Atomic int64_t wall_ms;	/* added to the wall clock */
	_Atomic int64_t every;		/* SHORT: every so manieth read and write, of all kinds */
	_Atomic int64_t count[KINDS];	/* since the test set them to 0 */
};

static struct control *ctl;

/* Before main. By a system call: a sanitizer's own open() may not be ready yet. */
__attribute__((constructor)) static void
attach(void)
{
	const char *path = getenv("SALLYPORT_SHIM");
	int fd;
	void *p;

	if (path == NULL || (fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC)) < 0)
		return;
	p = mmap(NULL, sizeof *ctl, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED)
		ctl = p;
}

/* Counts a call; 0, or the errno with which it shall fail. */
static int
visit(enum kind k)
{
	int64_t n;

	if (ctl == NULL)
		return 0;
	n = atomic_fetch_add(&ctl->count[k], 1) + 1;
	if (atomic_load(&ctl->kind) != k)
		return 0;
	switch (atomic_load(&ctl->how)) {
	case FAIL_ONCE:
		if (n != atomic_load(&ctl->n))
			return 0;
		break;
	case FAIL_FROM:
		if (n < atomic_load(&ctl->n))
			return 0;
		break;
	case CRASH:
		if (n == atomic_load(&ctl->n))
			_exit(86);
		return 0;
	case SLOW:			/* `error` is milliseconds */
		if (n == atomic_load(&ctl->n)) {
			atomic_fetch_add(&ctl->fired, 1);
			usleep((useconds_t)atomic_load(&ctl->error) * 1000);
		}
		return 0;
	default:
		return 0;
	}
	atomic_fetch_add(&ctl->fired, 1);
	return (int)atomic_load(&ctl->error);
}

/* F-7: how much of n octets this call may have; 0 means EINTR, and for a socket EAGAIN by turns. */
static size_t
shorter(size_t n)
{
	static _Atomic uint64_t calls;
	int64_t every;
	uint64_t i;

	if (ctl == NULL || (every = atomic_load(&ctl->every)) == 0)
		return n;
	i = atomic_fetch_add(&calls, 1);
	if (i % (uint64_t)every != 0)
		return n;
	atomic_fetch_add(&ctl->fired, 1);
	if (i / (uint64_t)every % 3 == 0)
		return 0;
	return n > 1 ? n / 2 : n;
}

static bool
may_fail(int fd)
{
	int keep = errno;
	struct stat st;
	bool may = fstat(fd, &st) != 0 || S_ISREG(st.st_mode) || S_ISSOCK(st.st_mode) || S_ISDIR(st.st_mode);

	errno = keep;
	return may;
}

/* A full disk or quota is a file's fault alone. */
static bool
may_fail_write(int fd)
{
	int64_t error = ctl == NULL ? 0 : atomic_load(&ctl->error);
	int keep = errno;
	struct stat st;
	bool may = may_fail(fd);

	if (may && (error == ENOSPC || error == EDQUOT || error == EFBIG))
		may = fstat(fd, &st) != 0 || !S_ISSOCK(st.st_mode);
	errno = keep;
	return may;
}

#define NEXT(name) \
	static __typeof__(&name) next; \
	if (next == NULL) \
		next = (__typeof__(next))dlsym(RTLD_NEXT, #name)

#define FAIL(k, value) do { \
	int e_ = visit(k); \
	if (e_ != 0) { \
		errno = e_; \
		return value; \
	} \
} while (0)

/* ---- Files ---- */

int
fsync(int fd)
{
	NEXT(fsync);
	FAIL(SYNC, -1);
	return next(fd);
}

int
fdatasync(int fd)
{
	NEXT(fdatasync);
	FAIL(SYNC, -1);
	return next(fd);
}


static int
interruption(int fd)
{
	static _Atomic unsigned turns;
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) && atomic_fetch_add(&turns, 1) % 2 != 0 ? EAGAIN : EINTR;
}

/* Short writes of files and sockets only; `n` is a lvalue. */
#define CUT(fd, n) do { \
	size_t c_ = shorter(n); \
	if (c_ == 0 && (n) > 0) { \
		errno = interruption(fd); \
		return -1; \
	} \
	(n) = c_; \
} while (0)

ssize_t
write(int fd, const void *p, size_t n)
{
	NEXT(write);
	if (may_fail_write(fd)) {
		FAIL(WRITE, -1);
		CUT(fd, n);
	}
	return next(fd, p, n);
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t at)
{
	NEXT(pwrite);
	FAIL(WRITE, -1);
	CUT(fd, n);
	return next(fd, p, n, at);
}

ssize_t
pwrite64(int fd, const void *p, size_t n, off64_t at)
{
	NEXT(pwrite64);
	FAIL(WRITE, -1);
	CUT(fd, n);
	return next(fd, p, n, at);
}

ssize_t
writev(int fd, const struct iovec *v, int n)
{
	NEXT(writev);
	if (may_fail_write(fd))
		FAIL(WRITE, -1);
	return next(fd, v, n);
}

ssize_t
read(int fd, void *p, size_t n)
{
	NEXT(read);
	if (may_fail(fd)) {
		FAIL(READ, -1);
		CUT(fd, n);
	}
	return next(fd, p, n);
}

ssize_t
pread(int fd, void *p, size_t n, off_t at)
{
	NEXT(pread);
	FAIL(READ, -1);
	CUT(fd, n);
	return next(fd, p, n, at);
}

ssize_t
pread64(int fd, void *p, size_t n, off64_t at)
{
	NEXT(pread64);
	FAIL(READ, -1);
	CUT(fd, n);
	return next(fd, p, n, at);
}

int
ftruncate(int fd, off_t n)
{
	NEXT(ftruncate);
	FAIL(TRUNCATE, -1);
	return next(fd, n);
}

int
ftruncate64(int fd, off64_t n)
{
	NEXT(ftruncate64);
	FAIL(TRUNCATE, -1);
	return next(fd, n);
}

static mode_t
mode_of(int flags, va_list ap)
{
	return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(ap, mode_t) : 0;
}

#define OPEN_BODY(name) \
	mode_t mode; \
	va_list ap; \
	NEXT(name); \
	va_start(ap, flags); \
	mode = mode_of(flags, ap); \
	va_end(ap); \
	FAIL(OPEN, -1)

int
open(const char *path, int flags, ...)
{
	OPEN_BODY(open);
	return next(path, flags, mode);
}

int
open64(const char *path, int flags, ...)
{
	OPEN_BODY(open64);
	return next(path, flags, mode);
}

int
openat(int dir, const char *path, int flags, ...)
{
	OPEN_BODY(openat);
	return next(dir, path, flags, mode);
}

int
openat64(int dir, const char *path, int flags, ...)
{
	OPEN_BODY(openat64);
	return next(dir, path, flags, mode);
}

/* ---- Sockets ---- */

int
socket(int family, int type, int protocol)
{
	NEXT(socket);
	FAIL(SOCKET, -1);
	return next(family, type, protocol);
}

int
connect(int fd, const struct sockaddr *a, socklen_t n)
{
	int keep = errno, type = 0;
	socklen_t len = sizeof type;

	NEXT(connect);
	/* A datagram socket is the resolver's. */
	if (a->sa_family != AF_UNIX && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM) {
		errno = keep;
		FAIL(CONNECT, -1);
	}
	errno = keep;
	return next(fd, a, n);
}

int
accept(int fd, struct sockaddr *a, socklen_t *n)
{
	NEXT(accept);
	FAIL(ACCEPT, -1);
	return next(fd, a, n);
}

int
accept4(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
	NEXT(accept4);
	FAIL(ACCEPT, -1);
	return next(fd, a, n, flags);
}

ssize_t
send(int fd, const void *p, size_t n, int flags)
{
	NEXT(send);
	FAIL(SEND, -1);
	CUT(fd, n);
	return next(fd, p, n, flags);
}

ssize_t
sendto(int fd, const void *p, size_t n, int flags, const struct sockaddr *a, socklen_t alen)
{
	NEXT(sendto);
	FAIL(SEND, -1);
	return next(fd, p, n, flags, a, alen);
}

ssize_t
sendmsg(int fd, const struct msghdr *m, int flags)
{
	NEXT(sendmsg);
	FAIL(SEND, -1);
	return next(fd, m, flags);
}

ssize_t
recv(int fd, void *p, size_t n, int flags)
{
	NEXT(recv);
	FAIL(RECV, -1);
	CUT(fd, n);
	return next(fd, p, n, flags);
}

/* ---- Clocks: the wall clock jumps, the monotonic one does not (F-18) ---- */

static int64_t
jump_ms(void)
{
	return ctl == NULL ? 0 : atomic_load(&ctl->wall_ms);
}

int
clock_gettime(clockid_t which, struct timespec *ts)
{
	int64_t ms = jump_ms();
	int rc;

	NEXT(clock_gettime);
	rc = next(which, ts);
	if (rc == 0 && ms != 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) {
		ts->tv_sec += ms / 1000;
		ts->tv_nsec += ms % 1000 * 1000000;
		if (ts->tv_nsec < 0) {
			ts->tv_nsec += 1000000000;
			ts->tv_sec--;
		} else if (ts->tv_nsec >= 1000000000) {
			ts->tv_nsec -= 1000000000;
			ts->tv_sec++;
		}
	}
	return rc;
}

int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *out)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (out != NULL)
		*out = ts.tv_sec;
	return ts.tv_sec;
}

/* ---- Memory. Not under a sanitizer, which has its own. ---- */
#ifndef NO_MALLOC

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

static void
lives(int by)
{
	if (ctl != NULL)
		atomic_fetch_add(&ctl->live, by);
}

void *
malloc(size_t n)
{
	void *p;

	FAIL(MALLOC, NULL);
	p = __libc_malloc(n);
	lives(p != NULL);
	return p;
}

void *
calloc(size_t n, size_t size)
{
	void *p;

	FAIL(MALLOC, NULL);
	p = __libc_calloc(n, size);
	lives(p != NULL);
	return p;
}

void *
realloc(void *old, size_t n)
{
	void *p;

	FAIL(MALLOC, NULL);
	p = __libc_realloc(old, n);
	if (old == NULL)
		lives(p != NULL);
	else if (n == 0 && p == NULL)
		lives(-1);
	return p;
}

void
free(void *p)
{
	lives(p != NULL ? -1 : 0);
	__libc_free(p);
}
#endif
