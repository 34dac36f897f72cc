/* Becoming the service's own user, for good. */
#include "config.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gateway/privileges.h"

/* a directory that somebody else may write to, or has put in place of ours, is not made ours
 * by using it. */
static int
check_own(const char *path, uid_t owner, struct err *err)
{
	struct stat st;

	if (lstat(path, &st) != 0) {
		err_set(err, "%s: %s", path, strerror(errno));
		return -1;
	}
	if (!S_ISDIR(st.st_mode)) {
		err_set(err, "%s: %s, where a directory of the daemon's own must be", path,
		    S_ISLNK(st.st_mode) ? "a symbolic link" : "not a directory");
		return -1;
	}
	if (st.st_uid != owner && st.st_uid != geteuid()) {
		err_set(err, "%s: belongs to user %u, must belong to user %u; change the owner", path,
		    (unsigned)st.st_uid, (unsigned)owner);
		return -1;
	}
	if ((st.st_mode & 077) != 0) {
		err_set(err, "%s: mode %03o lets others in; chmod 700", path, (unsigned)st.st_mode & 0777);
		return -1;
	}
	return 0;
}

int
privileges_own(const char *path, const char *user, struct err *err)
{
	struct passwd *pw = user == NULL ? NULL : getpwnam(user);

	if (dir_make(path) != 0) {
		err_set(err, "%s: cannot be created: %s", path, strerror(errno));
		return -1;
	}
	if (check_own(path, pw != NULL ? pw->pw_uid : geteuid(), err) != 0)
		return -1;
	return privileges_give(path, user, err);
}

int
privileges_give(const char *path, const char *user, struct err *err)
{
	struct passwd *pw = user == NULL ? NULL : getpwnam(user);

	if (path == NULL)
		return 0;
	if (geteuid() == 0 && pw != NULL && lchown(path, pw->pw_uid, pw->pw_gid) != 0) {
		err_set(err, "%s: cannot be given to user %s: %s", path, user, strerror(errno));
		return -1;
	}
	return 0;
}

/* Whatever a service manager gave for binding port 25 is not needed any more, by root's user or
 * by another. The bounding set goes first: without it nothing could come back through a program. */
static int
drop_capabilities(bool all, struct err *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0, 0, 0 }, { 0, 0, 0 } };

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (!all)
		return 0;
	if (syscall(SYS_capset, &head, none) != 0) {
		err_set(err, "capabilities cannot be given up: %s", strerror(errno));
		return -1;
	}
	return 0;
}

static void
drop_bounding_set(void)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);	/* fails where none is held: fine */
}

static int
become(const struct passwd *pw, struct err *err)
{
	drop_bounding_set();
	if (setgroups(0, NULL) != 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) != 0 ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) != 0) {
		err_set(err, "cannot become user \"%s\": %s", pw->pw_name, strerror(errno));
		return -1;
	}
	return 0;
}

/* A kernel or container that says yes and does nothing is believed by its deeds only. */
static int
check_gone(const struct passwd *pw, struct err *err)
{
	uid_t r, e, s;
	gid_t gr, ge, gs;

	if (getresuid(&r, &e, &s) != 0 || getresgid(&gr, &ge, &gs) != 0 || r != pw->pw_uid ||
	    e != pw->pw_uid || s != pw->pw_uid || gr != pw->pw_gid || ge != pw->pw_gid ||
	    gs != pw->pw_gid || getgroups(0, NULL) != 0) {
		err_set(err, "after becoming \"%s\" something of the old user is left", pw->pw_name);
		return -1;
	}
	if (pw->pw_uid != 0 && (setresuid((uid_t)-1, 0, (uid_t)-1) == 0 || setresuid(0, 0, 0) == 0 ||
	    setresgid((gid_t)-1, 0, (gid_t)-1) == 0 || geteuid() == 0 || getegid() == 0)) {
		err_set(err, "privileges could be regained after becoming \"%s\"", pw->pw_name);
		return -1;
	}
	return 0;
}

int
privileges_drop(const char *user, struct err *err)
{
	struct passwd *pw;

	if (user == NULL) {
		if (geteuid() == 0)
			log_warn("runs as root; service.user names whom to become");
		return drop_capabilities(geteuid() != 0, err);
	}
	pw = getpwnam(user);
	if (pw == NULL) {
		err_set(err, "service.user: there is no user \"%s\"; create it or remove the setting", user);
		return -1;
	}
	if (geteuid() != 0) {
		if (geteuid() == pw->pw_uid)
			return drop_capabilities(true, err);
		err_set(err, "service.user: only root can become \"%s\"", user);
		return -1;
	}
	if (become(pw, err) != 0 || drop_capabilities(pw->pw_uid != 0, err) != 0)
		return -1;
	return check_gone(pw, err);
}

void
privileges_harden(void)
{
	struct rlimit none = { 0, 0 }, files;

	umask(077);
	setrlimit(RLIMIT_CORE, &none);
#ifndef SANITIZED
	/* Keys: no core, no ptrace by others of the same user. After the user was changed, which
	 * sets it anew. */
	prctl(PR_SET_DUMPABLE, 0);
#endif
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}
