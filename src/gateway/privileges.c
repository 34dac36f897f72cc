/* Becoming the service's own user, for good. */
#include "config.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/privileges.h"

int
privileges_own(const char *path, const char *user, struct err *err)
{
	if (mkdir(path, 0700) != 0 && errno != EEXIST) {
		err_set(err, "%s: cannot be created: %s", path, strerror(errno));
		return -1;
	}
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

int
privileges_drop(const char *user, struct err *err)
{
	struct passwd *pw;

	if (user == NULL)
		return 0;
	pw = getpwnam(user);
	if (pw == NULL) {
		err_set(err, "service.user: there is no user \"%s\"; create it or remove the setting", user);
		return -1;
	}
	if (geteuid() != 0) {
		if (geteuid() == pw->pw_uid)
			return 0;
		err_set(err, "service.user: only root can become \"%s\"", user);
		return -1;
	}
	if (setgroups(0, NULL) != 0 || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) != 0 ||
	    setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) != 0) {
		err_set(err, "cannot become user \"%s\": %s", user, strerror(errno));
		return -1;
	}
	/* A kernel or container that says yes and does nothing is believed by its deeds only. */
	if (pw->pw_uid != 0 && (setresuid(0, 0, 0) == 0 || geteuid() == 0 || getegid() == 0)) {
		err_set(err, "privileges could be regained after becoming \"%s\"", user);
		return -1;
	}
	return 0;
}

void
privileges_harden(void)
{
	struct rlimit none = { 0, 0 }, files;

	umask(077);
	setrlimit(RLIMIT_CORE, &none);
#ifndef SANITIZED
	prctl(PR_SET_DUMPABLE, 0);	/* keys: no core, no ptrace by others of the same user */
#endif
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}
