/* What is left of the machine for a daemon that has all it needs: Landlock for files, seccomp for
 * system calls. Both are for good and inherited by every thread that is started later, so
 * they come before the first one, after PR_SET_NO_NEW_PRIVS. Each is missing on some kernels and in
 * some builds; what is in force is told in words for log and status. */
#ifndef GATEWAY_CONFINE_H
#define GATEWAY_CONFINE_H

#include "base/base.h"

/* Paths that may be used from now on, copied. Missing ones are left out. */
struct confine_paths {
	char **read, **write;
	size_t nread, nwrite;
	uint16_t tcp_port;		/* one more port that may be listened on; 0 none */
};
/* A file or everything below a directory. NULL: nothing. */
void confine_may_read(struct confine_paths *p, const char *path);
/* What lies around a file, because it is replaced or opened anew: the directory, and that of the
 * file a symbolic link leads to. */
void confine_may_read_beside(struct confine_paths *p, const char *file);
void confine_may_write(struct confine_paths *p, const char *dir);
void confine_may_write_beside(struct confine_paths *p, const char *file);
void confine_paths_fini(struct confine_paths *p);

/* 1: in force, 0: not to be had here, -1: failed although the kernel has it. `text` says which. */
int confine_files(const struct confine_paths *p, char *text, size_t size, struct err *err);
/* `only_log`: what would be refused is written to the kernel's log and done. */
int confine_calls(bool only_log, char *text, size_t size, struct err *err);

#endif
