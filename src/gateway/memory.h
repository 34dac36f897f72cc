/* How much memory the process holds, against what it may hold (I6, X-78). Measured, not added up:
 * whoever allocates, sessions, messages, policies or libraries, counts. */
#ifndef GATEWAY_MEMORY_H
#define GATEWAY_MEMORY_H

#include "base/base.h"

enum memory_level {
	MEMORY_FINE,
	MEMORY_SOFT,	/* above 75 %: no new sessions, content goes to files early */
	MEMORY_HARD,	/* above 90 %: no new messages either */
};
struct memory;
/* `limit_bytes` 0: what the cgroup allows, else what the machine has. Before confinement: it opens
 * files below /proc and /sys. */
struct memory *memory_new(uint64_t limit_bytes);
void memory_free(struct memory *m);
void memory_set_limit(struct memory *m, uint64_t limit_bytes);
/* Any thread, no lock, mostly no system call: measured anew every MEMORY_EVERY_MS at most. */
enum memory_level memory_level(struct memory *m);
#define MEMORY_EVERY_MS 5
/* So much will be freed at once. It counts as free although the allocator may keep it for a while, so
 * that not more is ended than needs to be. */
void memory_given_back(struct memory *m, uint64_t bytes);
uint64_t memory_now(const struct memory *m);	/* as measured last */
uint64_t memory_limit(const struct memory *m);

#endif
