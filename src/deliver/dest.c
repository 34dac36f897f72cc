/* Destinations: what waits in one, and when it is started. What has to be known before is found out
 * in prepare.c. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "deliver/deliver_int.h"

/* Results of a destination that may wait for the disk, for each delivery that may be under way. What
 * is not on disk comes again after a crash (F-1): without a bound, a disk that takes its time would
 * make that as many as the next hop takes meanwhile. Four keep a quick disk from ever being waited for. */
#define UNSAVED_A_SLOT 4
#define STORAGE_AGAIN_MS 1000		/* while the queue's disk has failed */
#define EMPTY_MS 60000			/* how long an unused destination is remembered */
#define REST_PART 100			/* of the first retry interval, when nobody answers */
#define REST_MIN_MS 100
#define REST_MAX_MS 5000		/* what waits meanwhile is in memory, of which others need a share */
#define FULL_PATIENCE 25		/* messages taken before one connection more is tried */

void
item_free(struct item *it)
{
	if (it == NULL)
		return;
	for (size_t i = 0; i < it->n; i++) {
		outcome_clear(&it->rcpts[i].out);
		free(it->rcpts[i].bounce_reason);
		free(it->rcpts[i].reply_line);
	}
	free(it->rcpts);
	store_tlsrpt_count_free(it->counts, it->ncounts);
	msg_unref(it->msg);
	free(it);
}

static void
on_again(evutil_socket_t fd, short what, void *arg)
{
	dest_run(arg);
}

static void
on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct dest *t = arg;

	if (TAILQ_EMPTY(&t->waiting) && t->refs == 0 && t->nconns == 0 && !t->preparing)
		dest_free(t);
}

struct dest *
dest_get(struct deliver *d, const char *stored_route, const char *next_hop)
{
	char *key = xasprintf("%s|%s", stored_route, next_hop);
	struct dest *t;

	HASH_FIND_STR(d->dests, key, t);
	if (t != NULL) {
		free(key);
		return t;
	}
	t = xcalloc(1, sizeof *t);
	t->d = d;
	t->key = key;
	t->stored_route = xstrdup(stored_route);
	t->next_hop = xstrdup(next_hop);
	TAILQ_INIT(&t->waiting);
	TAILQ_INIT(&t->conns);
	t->again = evtimer_new(d->env.base, on_again, t);
	t->sweep = evtimer_new(d->env.base, on_sweep, t);
	MUST(t->again != NULL && t->sweep != NULL);
	HASH_ADD_KEYPTR(hh, d->dests, t->key, strlen(t->key), t);
	return t;
}

void
dest_free(struct dest *t)
{
	struct item *it;
	struct conn *c;

	dest_forget(t);
	offers_free(t->offers);
	outcome_clear(&t->no_login);
	while ((it = TAILQ_FIRST(&t->waiting)) != NULL) {
		TAILQ_REMOVE(&t->waiting, it, link);
		t->d->nwaiting--;
		item_free(it);
	}
	while ((c = TAILQ_FIRST(&t->conns)) != NULL) {
		if (t->d->draining)	/* the loop ends: nothing would finish a farewell */
			conn_free(c);
		else
			conn_quit(c);
	}
	HASH_DEL(t->d->dests, t);
	event_free(t->again);
	event_free(t->sweep);
	free(t->stored_route);
	free(t->next_hop);
	free(t->key);
	free(t);
}

/* Nothing can be tried for anybody (`only` NULL) or for those who owe the same: every such item gets
 * this outcome, through an attempt of its own so that hooks, evidence and notices are the same as
 * ever. The others keep their order: after n turns the queue has gone round once. */
void
dest_fail_waiting(struct dest *t, const struct outcome *like, const duty_mask *only)
{
	size_t n = t->nwaiting;		/* those that are here now, not those that come back */

	while (n-- > 0 && !TAILQ_EMPTY(&t->waiting)) {
		struct item *it = TAILQ_FIRST(&t->waiting);

		TAILQ_REMOVE(&t->waiting, it, link);
		if (only != NULL && it->duties != *only) {
			TAILQ_INSERT_TAIL(&t->waiting, it, link);
			continue;
		}
		t->nwaiting--;
		t->d->nwaiting--;
		for (size_t i = 0; i < it->n; i++) {
			struct outcome *o = &it->rcpts[i].out;

			if (o->kind != OUT_NONE)
				continue;
			outcome_set(o, like->kind, like->code, like->status, like->stage, like->reason,
			    like->text);
			o->uncounted = like->uncounted;
			o->after_ms = like->after_ms;
		}
		attempt_start(t, it);
	}
}

/* the configured number, or less where the hosts said so. */
static unsigned
concurrency(const struct dest *t)
{
	unsigned most = policy_gen_conf(t->prep->gen)->queue.concurrency;

	if (!login_is_proven(t))
		return 1;
	return t->limit > 0 && t->limit < most ? t->limit : most;
}

/* One connection more is tried now and then, not with every message: each try costs the host. */
void
dest_full(struct dest *t, unsigned others)
{
	t->limit = others > 0 ? others : 1;
	t->patience = FULL_PATIENCE;
	t->good = 0;
}

/* What is due or new in the next moments waits for one probe instead of being one each. Once it gets
 * through, each success allows one more beside it, so that what has piled up for a host that is
 * back comes to it the slower the fewer it takes. */
void
dest_away(struct dest *t)
{
	const struct conf *c = t->prep == NULL ? NULL : policy_gen_conf(t->prep->gen);
	int64_t ms = c == NULL || c->queue.nretry == 0 ? REST_MAX_MS : c->queue.retry_ms[0] / REST_PART;

	ms = ms < REST_MIN_MS ? REST_MIN_MS : ms > REST_MAX_MS ? REST_MAX_MS : ms;
	t->rest_until_ms = clock_mono_ms() + ms / 2 + rand_below((uint32_t)ms);
	t->limit = t->patience = 1;
	t->good = 0;
}

void
dest_succeeded(struct dest *t)
{
	t->rest_until_ms = 0;
	if (t->limit == 0 || t->prep == NULL || ++t->good < t->patience)
		return;
	t->good = 0;
	if (++t->limit >= policy_gen_conf(t->prep->gen)->queue.concurrency)
		t->limit = 0;
}

/* True: not now, but soon. */
static bool
is_resting(struct dest *t)
{
	int64_t left = t->rest_until_ms == 0 ? 0 : t->rest_until_ms - clock_mono_ms();
	struct timeval later = { left / 1000, left % 1000 * 1000 };

	if (left <= 0)
		return false;
	evtimer_add(t->again, &later);
	return true;
}

void
dest_add(struct dest *t, struct item *it)
{
	it->dest = t;
	TAILQ_INSERT_TAIL(&t->waiting, it, link);
	t->nwaiting++;
	t->d->nwaiting++;
}

void
dest_put_back(struct dest *t, struct item *it)
{
	TAILQ_INSERT_HEAD(&t->waiting, it, link);
	t->nwaiting++;
	t->d->nwaiting++;
}

void
dest_run_later(struct dest *t)
{
	struct timeval now = { 0, 0 };

	evtimer_add(t->again, &now);
}

void
dest_run(struct dest *t)
{
	struct timeval empty = { EMPTY_MS / 1000, 0 }, again = { STORAGE_AGAIN_MS / 1000, 0 };
	unsigned slots;

	if (t->preparing || t->d->draining)
		return;
	/* What is delivered while results cannot be written is delivered again after a crash (spec
	 * security.md 1, rule 3). Nobody tells when the disk works again, so it is looked at. */
	if (!TAILQ_EMPTY(&t->waiting) && store_may_accept(t->d->env.store, 0) == STORE_IO) {
		evtimer_add(t->again, &again);
		return;
	}
	if (!TAILQ_EMPTY(&t->waiting) && is_resting(t))
		return;
	while (!TAILQ_EMPTY(&t->waiting)) {
		struct item *it = TAILQ_FIRST(&t->waiting);

		if (!dest_is_prepared(t)) {
			dest_prepare(t);	/* may have ended them all, or come back here */
			return;
		}
		if (login_is_refused(t)) {
			dest_fail_waiting(t, &t->no_login, NULL);
			break;
		}
		slots = concurrency(t);
		if (t->attempts >= slots || t->unsaved >= slots * UNSAVED_A_SLOT)
			return;		/* dest_attempt_over or dest_result_saved comes back */
		TAILQ_REMOVE(&t->waiting, it, link);
		t->nwaiting--;
		t->d->nwaiting--;
		attempt_start(t, it);
	}
	evtimer_add(t->sweep, &empty);
}

void
dest_attempt_over(struct dest *t)
{
	MUST(t->attempts > 0);
	t->attempts--;
	dest_run_later(t);
}

void
dest_result_posted(struct dest *t)
{
	t->refs++;
	t->unsaved++;
}

void
dest_result_saved(struct dest *t)
{
	MUST(t->unsaved > 0 && t->refs > 0);
	t->refs--;
	t->unsaved--;
	if (!TAILQ_EMPTY(&t->waiting))
		dest_run_later(t);
}
