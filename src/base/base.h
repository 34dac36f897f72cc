/* What every folder leans on: text slices, buffers with a cap, errors, the clock, the log, numbers
 * instead of pointers for objects that outlive a turn of the loop, and mailboxes between threads.
 * Knows no protocol and no library but libevent (in mailbox.c). */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/slice.h"
#include "base/slots.h"

#define NELEMS(a) (sizeof(a) / sizeof((a)[0]))

/* An assertion that stays on in release builds: for what this program did wrong, never for what
 * a peer, a policy or the disk did. Logs file, line and condition, then aborts. */
#define MUST(cond) ((cond) ? (void)0 : must_failed(#cond, __FILE__, __LINE__))
_Noreturn void must_failed(const char *cond, const char *file, int line);

/* A named point where a crash test may stop the program: SALLYPORT_FAILPOINT=name[:n] aborts at
 * the n-th passage. Compiled to nothing unless configured with --enable-failpoints. */
#ifdef FAILPOINTS
void failpoint(const char *name);
#else
#define failpoint(name) ((void)0)
#endif

/* Makes a directory, 0700, and syncs the one it lies in: else a power cut takes it away with all that
 * was synced in it (F-3). 0 also when it is there already; -1 with errno. */
int dir_make(const char *path);

/* Memory: these do not return on failure for requests below 64 KiB (the process ends with a
 * message, and what was acknowledged is on disk). Sizes that a peer chooses go through buf,
 * which fails. */
/* Which message this thread works on, for whoever looks at the remains (queue/suspects.c). Pairs nest:
 * work_end takes what work_begin returned. */
#define WORK_SLOTS 128
uint64_t work_begin(uint64_t id);
void work_end(uint64_t before);
void work_slots(uint64_t *slots);	/* where the numbers go; NULL: nowhere. No other thread runs */

#define EXIT_NO_MEMORY 71	/* exit status, EX_OSERR of sysexits.h */
_Noreturn void out_of_memory(size_t wanted);
void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);		/* NULL gives NULL */
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
