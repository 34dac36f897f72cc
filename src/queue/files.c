/* What lies around the database in the file system: its directory, the lock that keeps a second
 * daemon out, permissions, free space, and the reserve that lets mail leave a full disk. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "queue/store_int.h"

#define RESERVE_BYTES (4 << 20)

static void
dir_of(char dst[PATH_MAX], const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		snprintf(dst, PATH_MAX, ".");
	else
		snprintf(dst, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

int
files_check_dir(const char *path, struct err *err)
{
	char dir[PATH_MAX];
	struct stat st;

	if (strlen(path) > PATH_MAX - 32) {
		err_set(err, "queue path: longer than %d octets", PATH_MAX - 32);
		return -1;
	}
	dir_of(dir, path);
	if (dir_make(dir) != 0) {
		err_set(err, "queue directory %s: %s", dir, strerror(errno));
		return -1;
	}
	if (stat(dir, &st) != 0) {
		err_set(err, "queue directory %s: %s", dir, strerror(errno));
		return -1;
	}
	if (!S_ISDIR(st.st_mode)) {
		err_set(err, "queue directory %s: not a directory", dir);
		return -1;
	}
	if (st.st_uid != geteuid()) {
		err_set(err, "queue directory %s: belongs to user %u, this is user %u; change the owner",
		    dir, (unsigned)st.st_uid, (unsigned)geteuid());
		return -1;
	}
	if ((st.st_mode & 077) != 0) {
		err_set(err, "queue directory %s: mode %03o lets others in; chmod 700", dir,
		    (unsigned)st.st_mode & 0777);
		return -1;
	}
	return 0;
}

int
files_check(const char *path, bool *exists_out, struct err *err)
{
	struct stat st;

	*exists_out = false;
	if (lstat(path, &st) != 0) {
		if (errno == ENOENT)
			return 0;
		err_set(err, "%s: %s", path, strerror(errno));
		return -1;
	}
	*exists_out = true;
	if (!S_ISREG(st.st_mode)) {
		err_set(err, "%s: not a plain file (symbolic links are not followed)", path);
		return -1;
	}
	if (st.st_uid != geteuid()) {
		err_set(err, "%s: belongs to user %u, this is user %u; change the owner", path,
		    (unsigned)st.st_uid, (unsigned)geteuid());
		return -1;
	}
	if ((st.st_mode & 077) != 0) {
		err_set(err, "%s: mode %03o lets others in; chmod 600", path,
		    (unsigned)st.st_mode & 0777);
		return -1;
	}
	return 0;
}

int
files_lock(const char *path, bool *was_used_out, struct err *err)
{
	char name[PATH_MAX], pid[32];
	struct stat st;
	bool exists;
	ssize_t n;
	int fd;

	snprintf(name, sizeof name, "%s.lock", path);
	if (files_check(name, &exists, err) != 0)
		return -1;
	fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		err_set(err, "%s: %s", name, strerror(errno));
		return -1;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		n = errno == EWOULDBLOCK ? pread(fd, pid, sizeof pid - 1, 0) : -1;
		pid[n > 0 ? n : 0] = '\0';
		pid[strspn(pid, "0123456789")] = '\0';
		if (n >= 0)
			err_set(err, "queue %s: in use by process %s", path, pid[0] != '\0' ? pid : "unknown");
		else
			err_set(err, "%s: %s", name, strerror(errno));
		close(fd);
		return -1;
	}
	*was_used_out = fstat(fd, &st) != 0 || st.st_size > 0;
	return fd;
}

void
files_lock_note(int fd, const char *text)
{
	size_t n = strlen(text);

	if (ftruncate(fd, 0) != 0 || pwrite(fd, text, n, 0) != (ssize_t)n)
		log_warn("cannot write lock file");
}

bool
files_identity(const char *path, dev_t *dev, ino_t *ino)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return false;
	*dev = st.st_dev;
	*ino = st.st_ino;
	return true;
}

int
files_sync_dir(const char *path)
{
	char dir[PATH_MAX];
	int fd, rc;

	dir_of(dir, path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	rc = fsync(fd);
	close(fd);
	return rc;
}

int64_t
files_headroom(const char *path, unsigned min_free_percent)
{
	char dir[PATH_MAX];
	struct statvfs v;

	dir_of(dir, path);
	if (statvfs(dir, &v) != 0)
		return 0;
	return (int64_t)(v.f_bavail * v.f_frsize) -
	    (int64_t)(v.f_blocks * v.f_frsize / 100 * min_free_percent);
}

static void
reserve_name(char dst[PATH_MAX], const char *path)
{
	char dir[PATH_MAX];

	dir_of(dir, path);
	snprintf(dst, PATH_MAX, "%.*s/reserve", PATH_MAX - 16, dir);
}

void
files_reserve_make(const char *path)
{
	char name[PATH_MAX];
	struct stat st;
	int fd;

	reserve_name(name, path);
	if (lstat(name, &st) == 0 && st.st_size == RESERVE_BYTES)
		return;
	fd = open(name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (posix_fallocate(fd, 0, RESERVE_BYTES) != 0)
		unlink(name);	/* not now; tried again when there is room */
	close(fd);
}

void
files_reserve_drop(const char *path)
{
	char name[PATH_MAX];

	reserve_name(name, path);
	unlink(name);
}
