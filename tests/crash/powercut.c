/* A power cut for one process, to be preloaded (F-3; durability rules 1 and 2 of the queue). What is
 * written to the queue's files and not yet synced is kept apart: beside the real file, which the
 * program goes on to read, lies an image of what a disk would hold. A sync copies what has changed
 * into the image. At the cut some of the rest reaches it too, any part of it, in any order, torn in
 * sectors; then the process ends at once. POWERCUT_DISK/names says then which files there are, a line
 * each with a name and the number of its image, POWERCUT_DISK/iN. All of them are opened at the start:
 * later the program is confined.
 *
 * Names too: creating, renaming and removing last only from the next sync of the directory on; at the
 * cut the first k of those that wait have lasted (file systems log them in order). A directory that
 * was made goes with all that is in it until its parent is synced. The shared memory of the WAL index is
 * lost, as in life.
 *
 *   POWERCUT_DIR    the directory of the queue, absolute and without links; only its queue.db* files are looked after
 *   POWERCUT_DISK   where images go
 *   POWERCUT_AT     EVENT:N, the cut is at the N-th: `sync` before a sync has done anything, `synced`
 *                   after it, `write` after a write, `dbwrite` after one to the database itself (a
 *                   checkpoint), `reply` after a "250 ... queued" has left. None: no cut.
 *   POWERCUT_ARM    a file: events count once it is there
 *   POWERCUT_SEED   of what reaches the disk
 *   POWERCUT_KEEP   set: everything does, which makes it a kill -9 at that event
 *   POWERCUT_LOG    a file of lines: `put TOKEN`, `sync NAME`, `reply ID`, in order
 *   POWERCUT_SLOW   milliseconds that a sync takes
 *   POWERCUT_SYNCHRONOUS  NORMAL, OFF: SQLite is told so instead of FULL, and FULL is what it seems
 *                   to say when asked. For the proof that this library finds what is lost then. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECTOR 512u
#define PAGE_SECTORS 8u
#define FDS 4096
#define FILES 24
#define NAMES 64
#define STATUS 99		/* of the process after the cut */

struct image {			/* one file, whatever it is called at the moment */
	bool used;
	dev_t dev;
	ino_t ino;
	int fd;			/* what the disk holds */
	unsigned char *dirty;	/* by sector */
	size_t ndirty, room;	/* sectors up to the last dirty one; of the array */
	bool cut_short;		/* truncated since the last sync */
};
struct name {			/* a directory entry; image -1: removed */
	char text[64];
	int image;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char dir[PATH_MAX], parent_dir[PATH_MAX];
static bool dir_lasts;
static const char *event, *arm;
static long left;		/* events until the cut; 0 none will be */
static bool keeps;
static unsigned seed;
static useconds_t slow;
static int log_fd = -1, names_fd = -1;
static struct image images[FILES];
static short of_fd[FDS];	/* image + 1; -1 the directory, -2 its parent; 0 none of these */
static struct name durable[NAMES], waiting[NAMES];	/* what the disk has; changes to it, in order */
static size_t ndurable, nwaiting;

#define REAL(ret, name, ...) \
	static ret (*real_##name)(__VA_ARGS__); \
	if (real_##name == NULL) \
		*(void **)&real_##name = dlsym(RTLD_NEXT, #name)

/* Our own calls, under the lock, must not come back here. */
#define raw_open(path, flags, mode) openat(AT_FDCWD, path, (flags) | O_CLOEXEC, mode)
#define raw_truncate(fd, size) (int)syscall(SYS_ftruncate, fd, size)

static void
broken(const char *what)
{
	fprintf(stderr, "powercut: %s: %s\n", what, strerror(errno));
	_exit(98);
}

static ssize_t
put_at(int fd, const void *p, size_t n, off_t at)
{
	REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);
	return real_pwrite64(fd, p, n, at);
}

static void
note(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int n;

	if (log_fd < 0)
		return;
	va_start(ap, fmt);
	n = vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (write(log_fd, line, (size_t)n) != n)
		broken("log");
}

/* ---- Images ---- */

/* Sectors [from, to) of the real file as they are now; those behind its end are not. */
static void
reach_disk(struct image *im, int fd, size_t from, size_t to)
{
	char buf[64 * SECTOR];

	while (from < to) {
		size_t n = to - from < 64 ? to - from : 64;
		ssize_t got = pread(fd, buf, n * SECTOR, (off_t)(from * SECTOR));

		if (got < 0)
			broken("read");
		if (got > 0 && put_at(im->fd, buf, (size_t)got, (off_t)(from * SECTOR)) != got)
			broken("image");
		for (size_t i = from; i < from + n && i < im->room; i++)
			im->dirty[i] = 0;
		from += n;
	}
}

static void
sync_image(struct image *im, int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		broken("stat");
	if (im->cut_short) {
		reach_disk(im, fd, 0, ((size_t)st.st_size + SECTOR - 1) / SECTOR);
	} else {
		for (size_t i = 0, k; i < im->ndirty; i = k) {
			for (k = i; k < im->ndirty && im->dirty[k]; k++)
				;
			if (k > i)
				reach_disk(im, fd, i, k);
			else
				k++;
		}
	}
	if (raw_truncate(im->fd, st.st_size) != 0)
		broken("image");
	im->ndirty = 0;
	im->cut_short = false;
}

static void
mark(struct image *im, off_t at, size_t n)
{
	size_t from = (size_t)at / SECTOR, to = ((size_t)at + n + SECTOR - 1) / SECTOR;

	if (to > im->room) {
		im->dirty = realloc(im->dirty, to * 2);
		if (im->dirty == NULL)
			broken("memory");
		memset(im->dirty + im->room, 0, to * 2 - im->room);
		im->room = to * 2;
	}
	memset(im->dirty + from, 1, to - from);
	if (to > im->ndirty)
		im->ndirty = to;
}

/* Of what is not synced: nothing, all, whole pages, sectors, what comes first, what comes last. */
static void
some_reach_disk(struct image *im, int fd)
{
	unsigned how = (unsigned)rand_r(&seed) % 6;
	size_t border = im->ndirty == 0 ? 0 : (size_t)rand_r(&seed) % im->ndirty;
	unsigned page = 0;

	for (size_t i = 0; i < im->ndirty; i++) {
		bool lasts = how == 1;

		if (i % PAGE_SECTORS == 0)
			page = (unsigned)rand_r(&seed);
		if (how == 2)
			lasts = page % 2;
		else if (how == 3)
			lasts = rand_r(&seed) % 2;
		else if (how >= 4)
			lasts = (i < border) == (how == 4);
		if (im->dirty[i] && lasts)
			reach_disk(im, fd, i, i + 1);
	}
	if (im->cut_short && rand_r(&seed) % 2) {
		struct stat st;

		if (fstat(fd, &st) != 0 || raw_truncate(im->fd, st.st_size) != 0)
			broken("image");
	}
}

static struct image *
image_of(const struct stat *st, bool *is_new)
{
	struct image *empty = NULL;

	for (size_t i = 0; i < FILES; i++) {
		if (images[i].used && images[i].dev == st->st_dev && images[i].ino == st->st_ino) {
			*is_new = false;
			return &images[i];
		}
		if (!images[i].used && empty == NULL)
			empty = &images[i];
	}
	if (empty == NULL)
		broken("too many files");
	empty->used = true;
	empty->dev = st->st_dev;
	empty->ino = st->st_ino;
	*is_new = true;
	return empty;
}

/* ---- Names ---- */

static bool
is_ours(const char *name)
{
	size_t n = strlen(name);

	return strncmp(name, "queue.db", 8) == 0 && n < sizeof durable[0].text &&
	    !(n > 4 && strcmp(name + n - 4, "-shm") == 0) && !(n > 5 && strcmp(name + n - 5, ".lock") == 0);
}

static void
name_set(struct name *list, size_t *n, const char *text, int image)
{
	size_t i;

	for (i = 0; i < *n && strcmp(list[i].text, text) != 0; i++)
		;
	if (i == NAMES)
		broken("too many names");
	if (i == *n)
		snprintf(list[(*n)++].text, sizeof list[0].text, "%s", text);
	list[i].image = image;
}

static void
name_changes(const char *text, int image)
{
	if (nwaiting == NAMES)
		broken("too many names");
	snprintf(waiting[nwaiting].text, sizeof waiting[0].text, "%s", text);
	waiting[nwaiting++].image = image;
}

static void
names_last(size_t n)
{
	for (size_t i = 0; i < n; i++)
		name_set(durable, &ndurable, waiting[i].text, waiting[i].image);
	nwaiting = 0;
}

/* The name below `dir` that a path means; NULL when it is none of ours. */
static const char *
name_of(const char *path)
{
	const char *base = strrchr(path, '/');
	char parent[PATH_MAX], full[PATH_MAX];

	if (dir[0] == '\0' || !is_ours(base == NULL ? path : base + 1))
		return NULL;
	snprintf(parent, sizeof parent, "%.*s", base == NULL ? 1 : (int)(base - path + 1), base == NULL ? "." : path);
	return realpath(parent, full) != NULL && strcmp(full, dir) == 0 ? (base == NULL ? path : base + 1) : NULL;
}

/* ---- The cut ---- */

static void
cut(void)
{
	for (size_t i = 0; i < FILES; i++) {
		int fd = -1;

		if (!images[i].used)
			continue;
		for (int k = 0; k < FDS && fd < 0; k++)
			if (of_fd[k] == (short)(i + 1))
				fd = k;
		if (fd < 0)
			continue;	/* closed: removed, or whatever was not synced then is lost */
		if (keeps)
			sync_image(&images[i], fd);
		else
			some_reach_disk(&images[i], fd);
	}
	names_last(keeps || nwaiting == 0 ? nwaiting : (size_t)rand_r(&seed) % (nwaiting + 1));
	for (size_t i = 0; i < ndurable && (dir_lasts || keeps); i++)
		if (durable[i].image >= 0 && dprintf(names_fd, "%s %d\n", durable[i].text, durable[i].image) < 0)
			broken("names");
	_exit(STATUS);
}

/* With the lock held. */
static void
happens(const char *what)
{
	struct stat st;

	if (left <= 0 || strcmp(what, event) != 0 || (arm != NULL && stat(arm, &st) != 0))
		return;
	if (--left == 0)
		cut();
}

/* ---- Beginning ---- */

static void
adopt(const char *name)
{
	char path[PATH_MAX];
	struct image *im;
	struct stat st;
	bool is_new;
	int fd;

	snprintf(path, sizeof path, "%.3800s/%.200s", dir, name);
	fd = raw_open(path, O_RDONLY, 0);
	if (fd < 0 || fstat(fd, &st) != 0)
		broken(path);
	im = image_of(&st, &is_new);
	im->cut_short = true;
	sync_image(im, fd);
	close(fd);
	name_set(durable, &ndurable, name, (int)(im - images));
}

static int
on_disk(const char *name)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof path, "%s/%s", getenv("POWERCUT_DISK"), name);
	fd = raw_open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		broken(path);
	return fd;
}

static void __attribute__((constructor))
begin(void)
{
	const char *at = getenv("POWERCUT_AT"), *colon = at == NULL ? NULL : strchr(at, ':');
	const char *text = getenv("POWERCUT_DIR");
	struct dirent *e;
	DIR *d;

	if (text == NULL || getenv("POWERCUT_DISK") == NULL)
		return;
	snprintf(parent_dir, sizeof parent_dir, "%s", text);
	if (strrchr(parent_dir, '/') != NULL)
		*strrchr(parent_dir, '/') = '\0';
	dir_lasts = realpath(text, dir) != NULL;
	if (!dir_lasts)
		snprintf(dir, sizeof dir, "%s", text);
	names_fd = on_disk("names");
	for (size_t i = 0; i < FILES; i++) {
		char name[16];

		snprintf(name, sizeof name, "i%zu", i);
		images[i].fd = on_disk(name);
	}
	if (colon != NULL) {
		event = strndup(at, (size_t)(colon - at));
		left = atol(colon + 1);
	}
	arm = getenv("POWERCUT_ARM");
	keeps = getenv("POWERCUT_KEEP") != NULL;
	text = getenv("POWERCUT_SEED");
	seed = text == NULL ? 1 : (unsigned)atol(text);
	text = getenv("POWERCUT_SLOW");
	slow = text == NULL ? 0 : (useconds_t)atol(text) * 1000;
	text = getenv("POWERCUT_LOG");
	if (text != NULL)
		log_fd = raw_open(text, O_WRONLY | O_CREAT | O_APPEND, 0600);
	d = opendir(dir);
	while (d != NULL && (e = readdir(d)) != NULL)
		if (is_ours(e->d_name))
			adopt(e->d_name);
	if (d != NULL)
		closedir(d);
}

/* ---- What the program calls ---- */

static void
opened(int fd)
{
	char proc[64], path[PATH_MAX];
	const char *name;
	struct stat st;
	struct image *im;
	bool is_new;
	ssize_t n;

	if (fd < 0 || dir[0] == '\0')
		return;
	if (fd >= FDS)
		broken("descriptor");
	of_fd[fd] = 0;
	if (fstat(fd, &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
		return;
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	n = readlink(proc, path, sizeof path - 1);
	path[n < 0 ? 0 : n] = '\0';
	if (S_ISDIR(st.st_mode)) {
		of_fd[fd] = strcmp(path, dir) == 0 ? -1 : strcmp(path, parent_dir) == 0 ? -2 : 0;
		return;
	}
	name = name_of(path);
	if (name == NULL)
		return;
	im = image_of(&st, &is_new);
	if (is_new)
		name_changes(name, (int)(im - images));
	of_fd[fd] = (short)(im - images + 1);
}

static int
open_mode(const char *path, int flags, mode_t mode)
{
	REAL(int, open64, const char *, int, ...);
	int fd;

	pthread_mutex_lock(&lock);
	fd = real_open64(path, flags, mode);
	opened(fd);
	pthread_mutex_unlock(&lock);
	return fd;
}

#define OPEN(name) \
int \
name(const char *path, int flags, ...) \
{ \
	va_list ap; \
	mode_t mode; \
	\
	va_start(ap, flags); \
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0; \
	va_end(ap); \
	return open_mode(path, flags, mode); \
}
int open64(const char *path, int flags, ...);
OPEN(open64)
int open(const char *path, int flags, ...) __attribute__((alias("open64")));

int
close(int fd)
{
	REAL(int, close, int);

	if (fd >= 0 && fd < FDS)
		of_fd[fd] = 0;
	return real_close(fd);
}

int
unlink(const char *path)
{
	REAL(int, unlink, const char *);
	const char *name;
	struct stat st;
	bool is_new;
	int rc;

	pthread_mutex_lock(&lock);
	name = name_of(path);
	if (name != NULL && lstat(path, &st) != 0)
		name = NULL;
	rc = real_unlink(path);
	if (rc == 0 && name != NULL) {
		name_changes(name, -1);
		image_of(&st, &is_new)->ino = 0;	/* the next file may get its number */
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

int
rename(const char *from, const char *to)
{
	REAL(int, rename, const char *, const char *);
	struct stat st;
	bool is_new;
	int rc;

	pthread_mutex_lock(&lock);
	rc = real_rename(from, to);
	if (rc == 0 && name_of(to) != NULL && stat(to, &st) == 0) {
		/* One change for both names: a log does not tear it. */
		name_changes(name_of(to), (int)(image_of(&st, &is_new) - images));
		if (name_of(from) != NULL)
			name_changes(name_of(from), -1);
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

static struct image *
of(int fd)
{
	return fd >= 0 && fd < FDS && of_fd[fd] > 0 ? &images[of_fd[fd] - 1] : NULL;
}

static bool
is_log(int fd)
{
	int image = of_fd[fd] - 1;

	for (size_t i = 0; i < ndurable + nwaiting; i++) {
		const struct name *n = i < ndurable ? &durable[i] : &waiting[i - ndurable];

		if (n->image == image && strstr(n->text, "-wal") != NULL)
			return true;
	}
	return false;
}

static void
note_tokens(const char *p, size_t n)
{
	const char *end = p + n, *at;

	while (log_fd >= 0 && (at = memmem(p, (size_t)(end - p), "X-Token: ", 9)) != NULL) {
		size_t k = 9;

		while (at + k < end && k < 80 && at[k] > ' ')
			k++;
		note("put %.*s\n", (int)k - 9, at + 9);
		p = at + k;
	}
}

ssize_t
pwrite64(int fd, const void *p, size_t n, off_t at)
{
	struct image *im = of(fd);
	ssize_t put;

	if (im == NULL)
		return put_at(fd, p, n, at);
	pthread_mutex_lock(&lock);
	put = put_at(fd, p, n, at);
	if (put > 0)
		mark(im, at, (size_t)put);
	note_tokens(p, n);
	/* The kernel writes back when it likes. */
	if (!keeps && rand_r(&seed) % 16 == 0)
		some_reach_disk(im, fd);
	happens("write");
	if (!is_log(fd))
		happens("dbwrite");
	pthread_mutex_unlock(&lock);
	return put;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at) __attribute__((alias("pwrite64")));

int
ftruncate64(int fd, off_t size)
{
	REAL(int, ftruncate64, int, off_t);
	struct image *im = of(fd);
	int rc;

	pthread_mutex_lock(&lock);
	rc = real_ftruncate64(fd, size);
	if (rc == 0 && im != NULL)
		im->cut_short = true;
	pthread_mutex_unlock(&lock);
	return rc;
}

int ftruncate(int fd, off_t size) __attribute__((alias("ftruncate64")));

static int
do_sync(int fd)
{
	struct image *im = of(fd);

	if (im == NULL && (fd < 0 || fd >= FDS || of_fd[fd] >= 0))
		return 0;
	if (slow > 0)
		usleep(slow);
	pthread_mutex_lock(&lock);
	happens("sync");
	if (im != NULL) {
		sync_image(im, fd);
		note("sync %s\n", is_log(fd) ? "log" : "database");
	} else if (of_fd[fd] == -1) {
		names_last(nwaiting);
	} else {
		dir_lasts = true;
	}
	happens("synced");
	pthread_mutex_unlock(&lock);
	return 0;
}

int
fsync(int fd)
{
	return do_sync(fd);
}

int
fdatasync(int fd)
{
	return do_sync(fd);
}

static bool
is_reply(const char *p, size_t n, char id[32])
{
	static const char start[] = "250 2.0.0 Ok: queued as ";
	const char *at = log_fd < 0 && left == 0 ? NULL : memmem(p, n, start, sizeof start - 1);
	size_t k = 0;

	if (at == NULL)
		return false;
	for (at += sizeof start - 1; at < p + n && *at > ' ' && k < 31; at++)
		id[k++] = *at;
	id[k] = '\0';
	return true;
}

/* Before it leaves, so that what the log says is never too kind. */
static void
replies(const char *id)
{
	pthread_mutex_lock(&lock);
	note("reply %s\n", id);
	pthread_mutex_unlock(&lock);
}

static void
replied(void)
{
	pthread_mutex_lock(&lock);
	happens("reply");
	pthread_mutex_unlock(&lock);
}

ssize_t
send(int fd, const void *p, size_t n, int flags)
{
	REAL(ssize_t, send, int, const void *, size_t, int);
	char id[32];
	ssize_t sent;

	if (!is_reply(p, n, id))
		return real_send(fd, p, n, flags);
	replies(id);
	sent = real_send(fd, p, n, flags);
	if (sent > 0)
		replied();
	return sent;
}

int SSL_write(void *ssl, const void *p, int n);

int
SSL_write(void *ssl, const void *p, int n)
{
	REAL(int, SSL_write, void *, const void *, int);
	char id[32];
	int sent;

	if (!is_reply(p, (size_t)n, id))
		return real_SSL_write(ssl, p, n);
	replies(id);
	sent = real_SSL_write(ssl, p, n);
	if (sent > 0)
		replied();
	return sent;
}

int sqlite3_prepare_v2(void *db, const char *sql, int n, void **st, const char **tail);

int
sqlite3_prepare_v2(void *db, const char *sql, int n, void **st, const char **tail)
{
	REAL(int, sqlite3_prepare_v2, void *, const char *, int, void **, const char **);
	const char *level = getenv("POWERCUT_SYNCHRONOUS");
	char text[64];

	if (level != NULL && strcmp(sql, "PRAGMA synchronous = FULL") == 0) {
		snprintf(text, sizeof text, "PRAGMA synchronous = %s", level);
		sql = text;
	} else if (level != NULL && strcmp(sql, "PRAGMA synchronous") == 0) {
		sql = "SELECT 2";
	}
	return real_sqlite3_prepare_v2(db, sql, n, st, tail);
}
