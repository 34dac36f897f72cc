#include "config.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/pool.h"

struct pool_thread {
	struct pool *pool;
	pthread_t thread;
	struct mailbox *mb;
	atomic_uint jobs;		/* posted and not done */
	struct mail stop;
	unsigned index;
};
struct pool {
	unsigned n, max;
	atomic_uint jobs;
	atomic_bool is_ending;
	struct pool_thread v[POOL_THREADS_MAX];
};

bool
job_is_cancelled(const struct job *j)
{
	return atomic_load_explicit(&j->is_cancelled, memory_order_relaxed) ||
	    atomic_load_explicit(&j->pool->is_ending, memory_order_relaxed);
}

static void
do_job(struct pool_thread *t, struct job *j)
{
	struct pool *p = t->pool;
	struct mailbox *to = j->mail.reply_to;

	j->work(j, t->index);
	/* Without an address it is gone now. */
	if (to != NULL)
		mailbox_post(to, &j->mail);
	atomic_fetch_sub(&t->jobs, 1);
	atomic_fetch_sub(&p->jobs, 1);
}

static void *
thread_main(void *arg)
{
	struct pool_thread *t = arg;
	struct mail *m, *next;
	bool stop = false;
	char name[16];

	snprintf(name, sizeof name, "data-%u", t->index);
	pthread_setname_np(pthread_self(), name);
	while (!stop) {
		for (m = mailbox_wait(t->mb, -1); m != NULL; m = next) {
			next = m->next;
			if (m == &t->stop)
				stop = true;
			else
				do_job(t, (struct job *)m);
		}
	}
	return NULL;
}

struct pool *
pool_new(unsigned threads, unsigned jobs_max, struct err *err)
{
	struct pool *p = xcalloc(1, sizeof *p);
	sigset_t all, old;

	MUST(threads > 0 && threads <= POOL_THREADS_MAX);
	p->max = jobs_max;
	sigfillset(&all);		/* signals are the main thread's */
	pthread_sigmask(SIG_BLOCK, &all, &old);
	for (unsigned i = 0; i < threads; i++) {
		struct pool_thread *t = &p->v[i];

		t->pool = p;
		t->index = i;
		t->mb = mailbox_new(NULL, NULL);
		if (pthread_create(&t->thread, NULL, thread_main, t) != 0) {
			mailbox_free(t->mb);
			err_set(err, "cannot start a thread for data");
			break;
		}
		p->n++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (p->n == threads)
		return p;
	pool_free(p);
	return NULL;
}

void
pool_free(struct pool *p)
{
	if (p == NULL)
		return;
	atomic_store(&p->is_ending, true);
	for (unsigned i = 0; i < p->n; i++)
		mailbox_post(p->v[i].mb, &p->v[i].stop);
	for (unsigned i = 0; i < p->n; i++) {
		pthread_join(p->v[i].thread, NULL);
		mailbox_free(p->v[i].mb);
	}
	free(p);
}

bool
pool_do(struct pool *p, struct job *j)
{
	struct pool_thread *best = &p->v[0];

	if (atomic_fetch_add(&p->jobs, 1) >= p->max) {
		atomic_fetch_sub(&p->jobs, 1);
		return false;
	}
	for (unsigned i = 1; i < p->n; i++)
		if (atomic_load(&p->v[i].jobs) < atomic_load(&best->jobs))
			best = &p->v[i];
	atomic_fetch_add(&best->jobs, 1);
	j->pool = p;
	j->thread = best->index;
	mailbox_post(best->mb, &j->mail);
	return true;
}

unsigned
pool_waiting(const struct pool *p)
{
	return atomic_load(&p->jobs);
}
