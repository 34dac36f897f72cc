#include "config.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/pool.h"

/* Who asks must not wait for a lock, so what is posted goes to a thread that does nothing but hand it out; any
 * of the others takes it, as soon as one is free. */
struct pool_thread {
	struct pool *pool;
	pthread_t thread;
	unsigned index;
};
struct pool {
	unsigned n, max;
	atomic_uint jobs;		/* posted and not done */
	atomic_bool is_ending;
	struct mailbox *mb;
	struct mail stop;
	pthread_t hander;		/* reads mb */
	pthread_mutex_t lock;		/* of the rest; never taken by who asks */
	pthread_cond_t more;
	struct mail *first, **last;
	bool is_closed;
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
	struct mailbox *to = j->mail.reply_to;

	j->work(j, t->index);
	/* Without an address it is gone now. */
	if (to != NULL)
		mailbox_post(to, &j->mail);
	atomic_fetch_sub(&t->pool->jobs, 1);
}

static void *
thread_main(void *arg)
{
	struct pool_thread *t = arg;
	struct pool *p = t->pool;
	struct mail *m;
	char name[16];

	snprintf(name, sizeof name, "data-%u", t->index);
	pthread_setname_np(pthread_self(), name);
	for (;;) {
		pthread_mutex_lock(&p->lock);
		while (p->first == NULL && !p->is_closed)
			pthread_cond_wait(&p->more, &p->lock);
		m = p->first;
		if (m != NULL)
			p->first = m->next;
		if (p->first == NULL)
			p->last = &p->first;
		pthread_mutex_unlock(&p->lock);
		if (m == NULL)
			return NULL;
		do_job(t, (struct job *)m);
	}
}

static void *
hander_main(void *arg)
{
	struct pool *p = arg;
	struct mail *m, *next;
	bool stop = false;

	pthread_setname_np(pthread_self(), "data");
	while (!stop) {
		m = mailbox_wait(p->mb, -1);
		pthread_mutex_lock(&p->lock);
		for (; m != NULL; m = next) {
			next = m->next;
			if (m == &p->stop) {
				stop = p->is_closed = true;
				continue;
			}
			m->next = NULL;
			*p->last = m;
			p->last = &m->next;
		}
		pthread_cond_broadcast(&p->more);
		pthread_mutex_unlock(&p->lock);
	}
	return NULL;
}

static bool
start(struct pool *p, unsigned threads)
{
	if (pthread_create(&p->hander, NULL, hander_main, p) != 0) {
		mailbox_free(p->mb);
		p->mb = NULL;
		return false;
	}
	for (; p->n < threads; p->n++) {
		struct pool_thread *t = &p->v[p->n];

		t->pool = p;
		t->index = p->n;
		if (pthread_create(&t->thread, NULL, thread_main, t) != 0)
			return false;
	}
	return true;
}

struct pool *
pool_new(unsigned threads, unsigned jobs_max, struct err *err)
{
	struct pool *p = xcalloc(1, sizeof *p);
	sigset_t all, old;
	bool ok;

	MUST(threads > 0 && threads <= POOL_THREADS_MAX);
	p->max = jobs_max;
	p->last = &p->first;
	p->mb = mailbox_new(NULL, NULL);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	sigfillset(&all);		/* signals are the main thread's */
	pthread_sigmask(SIG_BLOCK, &all, &old);
	ok = start(p, threads);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ok)
		return p;
	err_set(err, "cannot start a thread for data");
	pool_free(p);
	return NULL;
}

void
pool_free(struct pool *p)
{
	if (p == NULL)
		return;
	atomic_store(&p->is_ending, true);
	if (p->mb != NULL) {
		mailbox_post(p->mb, &p->stop);
		pthread_join(p->hander, NULL);
		mailbox_free(p->mb);
	}
	for (unsigned i = 0; i < p->n; i++)
		pthread_join(p->v[i].thread, NULL);
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

bool
pool_do(struct pool *p, struct job *j)
{
	if (atomic_fetch_add(&p->jobs, 1) >= p->max) {
		atomic_fetch_sub(&p->jobs, 1);
		return false;
	}
	j->pool = p;
	mailbox_post(p->mb, &j->mail);
	return true;
}

unsigned
pool_waiting(const struct pool *p)
{
	return atomic_load(&p->jobs);
}
