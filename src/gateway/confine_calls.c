/* The system calls that are left. Three kinds: what the daemon and its libraries use passes; what
 * only an intruder would try ends the process; anything else gets ENOSYS, because a newer C library
 * tries newer calls first and falls back on that. */
#include "config.h"

#include "gateway/confine.h"

#if defined(HAVE_SECCOMP) && !defined(SANITIZED)

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOAD_SECONDS 10

static const int allowed[] = {
	/* files and descriptors */
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
	SCMP_SYS(pwrite64), SCMP_SYS(preadv), SCMP_SYS(pwritev), SCMP_SYS(sendfile), SCMP_SYS(open),
	SCMP_SYS(openat), SCMP_SYS(close), SCMP_SYS(lseek), SCMP_SYS(_llseek), SCMP_SYS(stat),
	SCMP_SYS(fstat), SCMP_SYS(lstat), SCMP_SYS(newfstatat), SCMP_SYS(fstatat64), SCMP_SYS(statx),
	SCMP_SYS(statfs), SCMP_SYS(fstatfs), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2),
	SCMP_SYS(fcntl), SCMP_SYS(fcntl64), SCMP_SYS(flock), SCMP_SYS(fsync), SCMP_SYS(fdatasync),
	SCMP_SYS(sync_file_range), SCMP_SYS(truncate), SCMP_SYS(ftruncate), SCMP_SYS(fallocate),
	SCMP_SYS(fadvise64), SCMP_SYS(getdents64), SCMP_SYS(getdents), SCMP_SYS(getcwd), SCMP_SYS(mkdir),
	SCMP_SYS(mkdirat), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(rename), SCMP_SYS(renameat),
	SCMP_SYS(renameat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(chmod), SCMP_SYS(fchmod),
	SCMP_SYS(fchmodat), SCMP_SYS(fchown), SCMP_SYS(umask), SCMP_SYS(utimensat), SCMP_SYS(dup),
	SCMP_SYS(dup2), SCMP_SYS(dup3), SCMP_SYS(pipe), SCMP_SYS(pipe2), SCMP_SYS(close_range),
	SCMP_SYS(memfd_create),
	/* waiting */
	SCMP_SYS(epoll_create), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select),
	SCMP_SYS(pselect6), SCMP_SYS(eventfd), SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime), SCMP_SYS(alarm), SCMP_SYS(setitimer), SCMP_SYS(signalfd), SCMP_SYS(signalfd4),
	SCMP_SYS(nanosleep), SCMP_SYS(clock_nanosleep), SCMP_SYS(restart_syscall), SCMP_SYS(futex),
	SCMP_SYS(futex_waitv),
	/* sockets, of the families below */
	SCMP_SYS(bind), SCMP_SYS(connect), SCMP_SYS(listen), SCMP_SYS(accept), SCMP_SYS(accept4),
	SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt),
	SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg),
	SCMP_SYS(recvmmsg), SCMP_SYS(shutdown),
	/* memory */
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(mlock),
	SCMP_SYS(munlock), SCMP_SYS(mlock2), SCMP_SYS(mincore), SCMP_SYS(msync),
	/* time, numbers, limits */
	SCMP_SYS(gettimeofday), SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(time),
	SCMP_SYS(times), SCMP_SYS(getrandom), SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(gettid),
	SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(getresuid),
	SCMP_SYS(getresgid), SCMP_SYS(getgroups), SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getrusage),
	SCMP_SYS(getrlimit), SCMP_SYS(setrlimit), SCMP_SYS(prlimit64), SCMP_SYS(getcpu),
	SCMP_SYS(getpriority), SCMP_SYS(prctl), SCMP_SYS(arch_prctl),
	/* threads and signals */
	SCMP_SYS(set_robust_list), SCMP_SYS(get_robust_list), SCMP_SYS(set_tid_address), SCMP_SYS(rseq),
	SCMP_SYS(membarrier), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_setaffinity),
	SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler), SCMP_SYS(exit), SCMP_SYS(exit_group),
	SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigpending),
	SCMP_SYS(rt_sigtimedwait), SCMP_SYS(rt_sigsuspend), SCMP_SYS(sigaltstack),
};

static const int deadly[] = {
	SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(pidfd_getfd), SCMP_SYS(kcmp),
	SCMP_SYS(setuid), SCMP_SYS(setgid), SCMP_SYS(setreuid), SCMP_SYS(setregid), SCMP_SYS(setresuid),
	SCMP_SYS(setresgid), SCMP_SYS(setfsuid), SCMP_SYS(setfsgid), SCMP_SYS(setgroups), SCMP_SYS(capset),
	SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(chroot), SCMP_SYS(move_mount),
	SCMP_SYS(open_tree), SCMP_SYS(fsopen), SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup), SCMP_SYS(init_module),
	SCMP_SYS(finit_module), SCMP_SYS(delete_module), SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load),
	SCMP_SYS(open_by_handle_at), SCMP_SYS(name_to_handle_at), SCMP_SYS(keyctl), SCMP_SYS(add_key),
	SCMP_SYS(request_key), SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(reboot), SCMP_SYS(swapon),
	SCMP_SYS(swapoff), SCMP_SYS(acct), SCMP_SYS(settimeofday), SCMP_SYS(clock_settime),
	SCMP_SYS(sethostname), SCMP_SYS(syslog), SCMP_SYS(mknod), SCMP_SYS(mknodat),
};

static int
add_sockets(scmp_filter_ctx f)
{
	static const int families[] = { AF_INET, AF_INET6 };
	int rc = 0;

	/* Streams and datagrams; raw and packet sockets are nobody's here. */
	for (size_t i = 0; i < NELEMS(families) && rc == 0; i++)
		for (unsigned type = SOCK_STREAM; type <= SOCK_DGRAM && rc == 0; type++)
			rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
			    SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]),
			    SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, type));
	if (rc == 0)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
	/* How the C library and libunbound learn which addresses this machine has. */
	if (rc == 0)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
		    SCMP_A0(SCMP_CMP_EQ, AF_NETLINK), SCMP_A2(SCMP_CMP_EQ, 0 /* NETLINK_ROUTE */));
	if (rc == 0)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1,
		    SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
	return rc;
}

static int
add_ioctls(scmp_filter_ctx f)
{
	static const unsigned long which[] = { FIONREAD, FIONBIO, FIOCLEX, TCGETS };
	int rc = 0;

	for (size_t i = 0; i < NELEMS(which) && rc == 0; i++)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
		    SCMP_A1(SCMP_CMP_EQ, which[i]));
	return rc;
}

/* Threads, never processes; signals to ourselves only; no memory that can be written and run. */
static int
add_threads_and_memory(scmp_filter_ctx f)
{
	const scmp_datum_t wx = PROT_WRITE | PROT_EXEC;
	static const scmp_datum_t other[] = { 0, PROT_WRITE, PROT_EXEC };
	int rc;

	rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
	    SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	if (rc == 0)
		rc = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), 1,
		    SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
	/* clone3 has its flags behind a pointer, out of a filter's sight: ENOSYS like what is not
	 * listed, and the C library takes clone. */
	if (rc == 0)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
		    SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
	for (size_t i = 0; i < NELEMS(other) && rc == 0; i++) {
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
		    SCMP_A2(SCMP_CMP_MASKED_EQ, wx, other[i]));
		if (rc == 0)
			rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
			    SCMP_A2(SCMP_CMP_MASKED_EQ, wx, other[i]));
	}
	return rc;
}

static int
add_all(scmp_filter_ctx f, const int *calls, size_t n, uint32_t action)
{
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++)
		rc = seccomp_rule_add(f, action, calls[i], 0);
	return rc;
}

/* Where refusals are only logged, what is refused for its arguments passes unseen. */
static int
add_rules(scmp_filter_ctx f, bool only_log)
{
	static const int whole[] = { SCMP_SYS(clone), SCMP_SYS(clone3), SCMP_SYS(tgkill), SCMP_SYS(mmap),
		SCMP_SYS(mprotect) };
	int rc = add_all(f, allowed, NELEMS(allowed), SCMP_ACT_ALLOW);

	if (rc == 0)
		rc = add_sockets(f);
	if (rc == 0)
		rc = add_ioctls(f);
	if (rc != 0)
		return rc;
	if (only_log)
		return add_all(f, whole, NELEMS(whole), SCMP_ACT_ALLOW);
	rc = add_all(f, deadly, NELEMS(deadly), SCMP_ACT_KILL_PROCESS);
	return rc != 0 ? rc : add_threads_and_memory(f);
}

int
confine_calls(bool only_log, char *text, size_t size, struct err *err)
{
	scmp_filter_ctx f;
	int rc;

	if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0) {
		snprintf(text, size, "none: this kernel has no seccomp");
		return 0;
	}
	f = seccomp_init(only_log ? SCMP_ACT_LOG : SCMP_ACT_ERRNO(ENOSYS));
	if (f == NULL) {
		err_set(err, "seccomp: no filter can be made");
		return -1;
	}
	/* libseccomp 2.5 goes round for ever when it has no memory for a part of the program: then this ends it. */
	alarm(LOAD_SECONDS);
	rc = add_rules(f, only_log);
	if (rc == 0)
		rc = seccomp_load(f);
	alarm(0);
	seccomp_release(f);
	if (rc != 0) {
		err_set(err, "seccomp: %s; service.seccomp = \"off\" does without it", strerror(-rc));
		return -1;
	}
	snprintf(text, size, only_log ? "seccomp, logs only" : "seccomp");
	return 1;
}

#else

#include <stdio.h>

int
confine_calls(bool only_log, char *text, size_t size, struct err *err)
{
#ifdef SANITIZED
	snprintf(text, size, "none: built with sanitizers, which need more");
#else
	snprintf(text, size, "none: built without libseccomp");
#endif
	return 0;
}

#endif
