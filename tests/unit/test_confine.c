/* Breaking out: each attempt runs in a child that has applied what the daemon applies,
 * and its end says how it went. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/confine.h"
#include "gateway/privileges.h"

static char base[] = "/tmp/test_confine.XXXXXX";
static char inside[100], outside[100], beside[100];

/* An attempt: 0 it worked, else the errno. */
typedef int attempt(void);

static int
result(long rc)
{
	return rc < 0 ? errno : 0;
}

/* ---- System calls ---- */

static int
run_program(void)
{
	char *const argv[] = { (char *)"true", NULL };

	return result(execve("/bin/true", argv, argv + 1));
}

static int
fork_process(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return result(pid);
}

static int
run_shell(void)
{
	return system("true") == 0 ? 0 : EPERM;
}

static int
trace(void)
{
	return result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int
become_root(void)
{
	return result(syscall(SYS_setuid, 0));
}

static int
new_namespace(void)
{
	return result(unshare(CLONE_NEWUSER));
}

static int
packet_socket(void)
{
	return result(socket(AF_PACKET, SOCK_RAW, 0));
}

static int
raw_socket(void)
{
	return result(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
}

static int
vsock_socket(void)
{
	return result(socket(AF_VSOCK, SOCK_STREAM, 0));
}

static int
signal_another(void)
{
	return result(kill(getppid(), 0));
}

static int
writable_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	    MAP_FAILED ? errno : 0;
}

static int
terminal_input(void)
{
	return result(syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x"));
}

static void *
nothing(void *arg)
{
	return arg;
}

/* What must go on: threads, sockets, names, memory. */
static int
daily_work(void)
{
	pthread_t t;
	int fd;

	if (pthread_create(&t, NULL, nothing, NULL) != 0 || pthread_join(t, NULL) != 0)
		return EAGAIN;
	if ((fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0 ||
	    close(fd) != 0 || (fd = socket(AF_INET6, SOCK_DGRAM, 0)) < 0 || close(fd) != 0 ||
	    (fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0 || close(fd) != 0)
		return errno;
	if (getpwuid(0) == NULL)
		return ENOENT;
	free(malloc(1 << 20));
	return 0;
}

#define KILLED (-1)	/* by SIGSYS */
static const struct {
	const char *name;
	attempt *fn;
	int end;	/* KILLED, or an errno */
} calls[] = {
	{ "execve", run_program, KILLED },
	{ "fork", fork_process, KILLED },
	{ "system", run_shell, KILLED },
	{ "ptrace", trace, KILLED },
	{ "setuid", become_root, KILLED },
	{ "unshare", new_namespace, KILLED },
	{ "packet socket", packet_socket, ENOSYS },
	{ "raw socket", raw_socket, ENOSYS },
	{ "vsock socket", vsock_socket, ENOSYS },
	{ "kill", signal_another, ENOSYS },
	{ "writable code", writable_code, ENOSYS },
	{ "TIOCSTI", terminal_input, ENOSYS },
	{ "daily work", daily_work, 0 },
};

/* ---- Files ---- */

static int
read_outside(void)
{
	return result(open(outside, O_RDONLY));
}

static int
write_outside(void)
{
	return result(open(outside, O_WRONLY));
}

static int
make_outside(void)
{
	char name[120];

	snprintf(name, sizeof name, "%s.new", outside);
	return result(open(name, O_WRONLY | O_CREAT, 0600));
}

static int
list_outside(void)
{
	return result(open(base, O_RDONLY | O_DIRECTORY));
}

static int
write_read_only(void)
{
	return result(open(beside, O_WRONLY));
}

static int
link_out(void)
{
	char name[120];
	int rc;

	snprintf(name, sizeof name, "%s/link", inside);
	rc = result(symlink(outside, name));
	return rc != 0 ? rc : result(open(name, O_RDONLY));
}

static int
run_file(void)
{
	return run_program();
}

static int
bind_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(47123) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return result(bind(fd, (struct sockaddr *)&a, sizeof a));
}

static int
files_inside(void)
{
	char name[120], to[120];
	int fd;

	snprintf(name, sizeof name, "%s/file", inside);
	snprintf(to, sizeof to, "%s/file2", inside);
	fd = open(name, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || write(fd, "x", 1) != 1 || ftruncate(fd, 0) != 0 || rename(name, to) != 0 ||
	    unlink(to) != 0)
		return errno;
	close(fd);
	fd = open(inside, O_TMPFILE | O_RDWR, 0600);
	return fd < 0 && errno != EOPNOTSUPP ? errno : result(open(beside, O_RDONLY));
}

static const struct {
	const char *name;
	attempt *fn;
	int end;
	int abi;	/* from which on it is refused */
} files[] = {
	{ "read outside", read_outside, EACCES, 1 },
	{ "write outside", write_outside, EACCES, 1 },
	{ "make outside", make_outside, EACCES, 1 },
	{ "list outside", list_outside, EACCES, 1 },
	{ "write where only reading is", write_read_only, EACCES, 1 },
	{ "link to the outside", link_out, EACCES, 1 },
	{ "run a program", run_file, EACCES, 1 },
	{ "another port", bind_port, EACCES, 4 },
	{ "inside", files_inside, 0, 0 },
};

/* ---- Trying ---- */

static int
in_child(attempt *fn, bool with_calls, bool with_files)
{
	struct confine_paths p = { 0 };
	struct err err = { "" };
	char text[80];
	int status, got;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_DUMPABLE, 0);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		confine_may_read_beside(&p, beside);
		confine_may_write(&p, inside);
		if ((with_files && confine_files(&p, text, sizeof text, &err) < 0) ||
		    (with_calls && confine_calls(false, text, sizeof text, &err) < 0))
			_exit(200);
		got = fn();
		_exit(got > 199 ? 201 : got);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? KILLED : 1000 + WTERMSIG(status);
	return WEXITSTATUS(status);
}

/* Whether this build and kernel have it; read in a child, as it cannot be taken back. */
static bool
has_calls(void)
{
	return in_child(packet_socket, true, false) == ENOSYS || in_child(trace, true, false) == KILLED;
}

START_TEST(calls_are_filtered)
{
	if (!has_calls())
		return;		/* the daemon says "none" in its log and status then */
	ck_assert_msg(in_child(calls[_i].fn, true, false) == calls[_i].end, "%s: %d, wanted %d",
	    calls[_i].name, in_child(calls[_i].fn, true, false), calls[_i].end);
}
END_TEST

START_TEST(files_are_out_of_reach)
{
	int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int got;

	if (abi < files[_i].abi)
		return;
	got = in_child(files[_i].fn, false, true);
	ck_assert_msg(got == files[_i].end, "%s: %s, wanted %s", files[_i].name, strerror(got),
	    strerror(files[_i].end));
}
END_TEST

START_TEST(both_together)
{
	ck_assert_int_eq(in_child(files_inside, true, true), 0);
	ck_assert_int_eq(in_child(bind_port, true, false), 0);	/* the port itself is free */
}
END_TEST

/* ---- Privileges ---- */

static int
drop_to_nobody(void)
{
	struct passwd *pw = getpwnam("nobody");
	struct err err = { "" };

	if (privileges_drop("nobody", &err) != 0)
		return 100;
	privileges_harden();
	if (getuid() != pw->pw_uid || getgroups(0, NULL) != 0)
		return 101;
	if (setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0 || setgroups(0, NULL) == 0)
		return 102;
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != 0)
			return 104;
	return 0;
}

#ifndef SANITIZED
/* by our doing, not by a change of user's. */
static int
harden_only(void)
{
	struct rlimit core;

	prctl(PR_SET_DUMPABLE, 1);
	privileges_harden();
	if (prctl(PR_GET_DUMPABLE) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 105;
	if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur != 0 || core.rlim_max != 0)
		return 106;
	return umask(077) == 077 ? 0 : 107;
}
#endif

START_TEST(no_way_back)
{
#ifndef SANITIZED
	ck_assert_int_eq(in_child(harden_only, false, false), 0);
#endif
	if (geteuid() == 0 && getpwnam("nobody") != NULL)
		ck_assert_int_eq(in_child(drop_to_nobody, false, false), 0);
}
END_TEST

/* what a directory of ours must be. */
START_TEST(own_directories)
{
	struct err err = { "" };
	char dir[120], link[120];

	snprintf(dir, sizeof dir, "%s/own", base);
	snprintf(link, sizeof link, "%s/own-link", base);
	ck_assert_int_eq(privileges_own(dir, NULL, &err), 0);
	ck_assert_int_eq(chmod(dir, 0750), 0);
	ck_assert_int_eq(privileges_own(dir, NULL, &err), -1);
	ck_assert_msg(strstr(err.text, "mode 750 lets others in") != NULL, "%s", err.text);
	ck_assert_int_eq(chmod(dir, 0700), 0);
	ck_assert_int_eq(symlink(dir, link), 0);
	ck_assert_int_eq(privileges_own(link, NULL, &err), -1);
	ck_assert_msg(strstr(err.text, "symbolic link") != NULL, "%s", err.text);
	ck_assert_int_eq(privileges_own(outside, NULL, &err), -1);
	if (geteuid() == 0) {
		ck_assert_int_eq(chown(dir, 65534, 65534), 0);
		ck_assert_int_eq(privileges_own(dir, NULL, &err), -1);
		ck_assert_msg(strstr(err.text, "belongs to user 65534") != NULL, "%s", err.text);
	}
	unlink(link);
	rmdir(dir);
}
END_TEST

static void
make_file(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT, 0600);

	MUST(fd >= 0 && write(fd, "x", 1) == 1);
	close(fd);
}

static void
set_up(void)
{
	char dir[120];

	MUST(mkdtemp(base) != NULL);
	snprintf(inside, sizeof inside, "%s/inside", base);
	snprintf(outside, sizeof outside, "%s/outside", base);
	snprintf(dir, sizeof dir, "%s/readable", base);
	snprintf(beside, sizeof beside, "%s/readable/file", base);
	MUST(mkdir(inside, 0700) == 0 && mkdir(dir, 0700) == 0);
	make_file(outside);
	make_file(beside);
}

static void
tear_down(void)
{
	char name[120];

	snprintf(name, sizeof name, "%s/link", inside);
	unlink(name);
	unlink(beside);
	*strrchr(beside, '/') = '\0';
	rmdir(beside);
	unlink(outside);
	rmdir(inside);
	rmdir(base);
}

UNIT_MAIN("confine",
	tcase_add_unchecked_fixture(tc, set_up, tear_down);
	tcase_add_loop_test(tc, calls_are_filtered, 0, NELEMS(calls));
	tcase_add_loop_test(tc, files_are_out_of_reach, 0, NELEMS(files));
	tcase_add_test(tc, both_together);
	tcase_add_test(tc, no_way_back);
	tcase_add_test(tc, own_directories);
)
