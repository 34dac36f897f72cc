#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gateway/confine.h"

/* Later than the headers of Debian 12. */
#define FS_REFER (1ull << 13)		/* ABI 2 */
#define FS_TRUNCATE (1ull << 14)	/* 3 */
#define FS_IOCTL_DEV (1ull << 15)	/* 5 */
#define NET_BIND_TCP (1ull << 0)	/* 4 */
#define SCOPE_ABSTRACT_UNIX (1ull << 0)	/* 6 */
#define SCOPE_SIGNAL (1ull << 1)
#define RULE_NET_PORT 2
struct ruleset_attr {
	uint64_t fs, net, scoped;
};
struct port_attr {
	uint64_t access, port;
};

#define FS_ABI_1 ((1ull << 13) - 1)
#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_WRITE (FS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
	LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | FS_REFER | FS_TRUNCATE)
#define FS_OF_FILES (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE)

/* ---- Which paths ---- */

static void
add(char ***list, size_t *n, const char *path)
{
	if (path == NULL)
		return;
	*list = xrealloc(*list, (*n + 1) * sizeof **list);
	(*list)[(*n)++] = xstrdup(path);
}

static void
add_parent(char ***list, size_t *n, const char *file)
{
	char *dir = xstrdup(file), *slash = strrchr(dir, '/');

	if (slash != NULL) {
		slash[slash == dir ? 1 : 0] = '\0';
		add(list, n, dir);
	}
	free(dir);
}

void
confine_may_read(struct confine_paths *p, const char *path)
{
	add(&p->read, &p->nread, path);
}

void
confine_may_read_beside(struct confine_paths *p, const char *file)
{
	char *real;

	if (file == NULL)
		return;
	add_parent(&p->read, &p->nread, file);
	/* Certificates that renew themselves are links into an archive beside. */
	real = realpath(file, NULL);
	if (real != NULL)
		add_parent(&p->read, &p->nread, real);
	free(real);
}

void
confine_may_write(struct confine_paths *p, const char *dir)
{
	add(&p->write, &p->nwrite, dir);
}

void
confine_may_write_beside(struct confine_paths *p, const char *file)
{
	struct stat st;

	if (file == NULL)
		return;
	/* A device or a pipe is never made anew, and its neighbours are none of ours. */
	if (stat(file, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISSOCK(st.st_mode))
		add(&p->write, &p->nwrite, file);
	else
		add_parent(&p->write, &p->nwrite, file);
}

void
confine_paths_fini(struct confine_paths *p)
{
	for (size_t i = 0; i < p->nread; i++)
		free(p->read[i]);
	for (size_t i = 0; i < p->nwrite; i++)
		free(p->write[i]);
	free(p->read);
	free(p->write);
	memset(p, 0, sizeof *p);
}

/* ---- Landlock ---- */

static int
allow_path(int ruleset, const char *path, uint64_t access, uint64_t handled, struct err *err)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = access & handled };
	struct stat st;
	int rc;

	rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (rule.parent_fd < 0)
		return 0;	/* not there, or not ours to see: then there is nothing to allow */
	if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
		rule.allowed_access &= FS_OF_FILES;
	rc = (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	if (rc != 0)
		err_set(err, "Landlock: %s: %s", path, strerror(errno));
	close(rule.parent_fd);
	return rc;
}

/* Everything that the kernel can withhold is withheld; rights nobody is given (running programs,
 * making devices, links and directories) are gone. */
static struct ruleset_attr
attributes(int abi)
{
	const char *notify = getenv("NOTIFY_SOCKET");
	struct ruleset_attr a = { .fs = FS_ABI_1 };

	if (abi >= 2)
		a.fs |= FS_REFER;
	if (abi >= 3)
		a.fs |= FS_TRUNCATE;
	if (abi >= 4)
		a.net = NET_BIND_TCP;
	if (abi >= 5)
		a.fs |= FS_IOCTL_DEV;
	if (abi >= 6)
		a.scoped = SCOPE_SIGNAL | (notify != NULL && *notify == '@' ? 0 : SCOPE_ABSTRACT_UNIX);
	return a;
}

static int
allow_port(int ruleset, uint16_t port, struct err *err)
{
	struct port_attr rule = { NET_BIND_TCP, port };

	if (syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0) == 0)
		return 0;
	err_set(err, "Landlock: port %u: %s", port, strerror(errno));
	return -1;
}

static int
fill(int ruleset, const struct ruleset_attr *a, const struct confine_paths *p, struct err *err)
{
	for (size_t i = 0; i < p->nread; i++)
		if (allow_path(ruleset, p->read[i], FS_READ, a->fs, err) != 0)
			return -1;
	for (size_t i = 0; i < p->nwrite; i++)
		if (allow_path(ruleset, p->write[i], FS_WRITE, a->fs, err) != 0)
			return -1;
	/* Port 0 is what a source address for outbound connections is bound with. */
	if (a->net != 0 && (allow_port(ruleset, 0, err) != 0 ||
	    (p->tcp_port != 0 && allow_port(ruleset, p->tcp_port, err) != 0)))
		return -1;
	return 0;
}

int
confine_files(const struct confine_paths *p, char *text, size_t size, struct err *err)
{
	int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct ruleset_attr a;
	int ruleset, rc = -1;

	if (abi < 1) {
		snprintf(text, size, "none: this kernel has no Landlock");
		return 0;
	}
	a = attributes(abi);
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &a,
	    abi >= 6 ? sizeof a : abi >= 4 ? 2 * sizeof a.fs : sizeof a.fs, 0);
	if (ruleset < 0) {
		err_set(err, "Landlock: %s", strerror(errno));
		return -1;
	}
	if (fill(ruleset, &a, p, err) == 0) {
		rc = (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
		if (rc != 0)
			err_set(err, "Landlock: %s", strerror(errno));
	}
	close(ruleset);
	if (rc != 0)
		return -1;
	snprintf(text, size, "Landlock, ABI %d", abi);
	return 1;
}
