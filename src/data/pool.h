/* Threads for work that blocks: reading files, asking databases. Work is posted without a lock and comes back,
 * as mail does, to who asked. */
#ifndef DATA_POOL_H
#define DATA_POOL_H

#include <stdatomic.h>

#include "base/base.h"

#define POOL_THREADS_MAX 16u
struct pool;
struct job {
	struct mail mail;		/* first; reply_to NULL: `work` frees the job */
	/* In a thread of the pool, `thread` of it, from 0. */
	void (*work)(struct job *j, unsigned thread);
	atomic_bool is_cancelled;	/* work that takes long looks at it, and at pool_is_ending */
	struct pool *pool;
};
struct pool *pool_new(unsigned threads, unsigned jobs_max, struct err *err);
/* Ends the threads when what was posted is done, and cancelled. NULL is fine. */
void pool_free(struct pool *p);
/* Takes j; false, and it stays the caller's, when there is too much to do already. Any thread. */
bool pool_do(struct pool *p, struct job *j);
bool job_is_cancelled(const struct job *j);
unsigned pool_waiting(const struct pool *p);	/* jobs that are not done */

#endif
