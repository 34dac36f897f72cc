#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_int.h"

#define IN_HAND_MS 2000	/* until what is in a transaction still is looked at again */

struct deliver *
deliver_new(const struct deliver_env *env)
{
	struct deliver *d = xcalloc(1, sizeof *d);

	d->env = *env;
	TAILQ_INIT(&d->attempts);
	LIST_INIT(&d->recalled);
	slots_init(&d->attempt_ids);
	return d;
}

static void forget_tls(struct deliver *d);

void
deliver_free(struct deliver *d)
{
	struct attempt *a;
	struct dest *t, *tmp;

	if (d == NULL)
		return;
	d->draining = true;
	d->idle = NULL;
	while ((a = TAILQ_FIRST(&d->attempts)) != NULL) {
		outcome_salvage(a);
		attempt_free(a);
	}
	HASH_ITER(hh, d->dests, t, tmp)
		dest_free(t);
	forget_tls(d);
	d->freed = true;
	deliver_hold(d);
	deliver_release(d);
}

void
deliver_hold(struct deliver *d)
{
	d->outstanding++;
}

bool
deliver_release(struct deliver *d)
{
	MUST(d->outstanding > 0);
	d->outstanding--;
	if (!d->freed)
		return true;
	if (d->outstanding == 0) {
		slots_fini(&d->attempt_ids);
		free(d);
	}
	return false;
}

static struct item *
item_for(struct deliver *d, struct item ***made, size_t *nmade, struct dest *t, struct msg *msg,
    duty_mask duties, bool bounce, uint64_t epoch)
{
	struct item *it;

	for (size_t i = 0; i < *nmade; i++) {
		it = (*made)[i];
		if (it->dest == t && it->duties == duties && (it->rcpts[0].bounce_reason != NULL) == bounce)
			return it;
	}
	it = xcalloc(1, sizeof *it);
	it->d = d;
	it->dest = t;
	it->msg = msg_ref(msg);
	it->duties = duties;
	it->epoch = epoch;
	*made = xrealloc(*made, (*nmade + 1) * sizeof **made);
	(*made)[(*nmade)++] = it;
	return it;
}

/* The store took it back and hands it out anew, while the outcome of the transaction that it is in is not
 * known yet, here or there. */
static bool
is_in_hand(const struct deliver *d, uint64_t message, uint32_t num)
{
	const struct attempt *a;
	const struct finished *f;

	if (d->nrecalled == 0)
		return false;
	LIST_FOREACH(f, &d->recalled, link)
		for (size_t i = 0; f->req.message == message && i < f->req.n; i++)
			if (f->req.changes[i].num == num)
				return true;
	TAILQ_FOREACH(a, &d->attempts, link) {
		if (!a->recalled || a->msg->id != message)
			continue;
		for (size_t i = 0; i < a->item->n; i++)
			if (!a->item->rcpts[i].withdrawn && a->msg->rcpts[a->item->rcpts[i].idx].num == num)
				return true;
	}
	return false;
}

static void
not_yet(struct deliver *d, uint64_t message, uint32_t num, const struct store_rcpt_state *state)
{
	struct store_result *r = xcalloc(1, sizeof *r);

	r->message = message;
	r->n = 1;
	r->changes = xcalloc(1, sizeof *r->changes);
	r->changes[0] = (struct store_rcpt_change){ .num = num, .lease = state->lease, .what = CHANGE_DEFER,
		.next_ms = clock_wall_ms() + IN_HAND_MS, .attempts = state->attempts,
		.first_attempt_ms = state->first_attempt_ms, .delay_notified = state->delay_notified };
	store_result(d->env.store, r);
}

void
deliver_add(struct deliver *d, struct msg *msg, const struct store_rcpt_state *states, const bool *mine,
    uint64_t epoch)
{
	struct item **made = NULL;
	size_t nmade = 0;

	for (size_t i = 0; i < msg->nrcpts; i++) {
		const struct msg_rcpt *r = &msg->rcpts[i];
		const char *reason = states != NULL && states[i].bounce_reason != NULL ?
		    states[i].bounce_reason : r->bounce_reason;
		struct item_rcpt *to;
		struct item *it;
		duty_mask duties = msg->duties;

		if (!mine[i])
			continue;
		if (states != NULL && is_in_hand(d, msg->id, r->num)) {
			not_yet(d, msg->id, r->num, &states[i]);
			continue;
		}
		duties_join(&duties, r->duties);
		duties_join(&duties, conf_invariant_duties(d->env.conf(d->env.owner), r->domain));
		it = item_for(d, &made, &nmade, dest_get(d, r->route, r->next_hop), msg, duties, reason != NULL,
		    epoch);
		if ((it->n & (it->n - 1)) == 0)	/* room for 1, 2, 4, ... */
			it->rcpts = xrealloc(it->rcpts, (it->n == 0 ? 1 : it->n * 2) * sizeof *it->rcpts);
		to = &it->rcpts[it->n++];
		memset(to, 0, sizeof *to);
		to->idx = (uint32_t)i;
		to->lease = states != NULL ? states[i].lease : STORE_FIRST_LEASE;
		to->bounce_reason = xstrdup(reason);
		if (states != NULL) {
			to->attempts = states[i].attempts;
			to->first_attempt_ms = states[i].first_attempt_ms;
			to->delay_notified = states[i].delay_notified;
		}
	}
	for (size_t i = 0; i < nmade; i++) {
		if (made[i]->rcpts[0].bounce_reason != NULL) {	/* needs no hosts */
			attempt_start(made[i]->dest, made[i]);
			continue;
		}
		dest_add(made[i]->dest, made[i]);
		dest_run(made[i]->dest);
	}
	free(made);
	msg_unref(msg);
}

/* True when the item is empty now. */
static bool
item_withdraw(struct item *it, uint32_t num)
{
	for (size_t i = 0; i < it->n; i++) {
		struct item_rcpt *r = &it->rcpts[i];

		if (it->msg->rcpts[r->idx].num != num)
			continue;
		outcome_clear(&r->out);
		free(r->bounce_reason);
		memmove(r, r + 1, (it->n - i - 1) * sizeof *r);
		it->n--;
		break;
	}
	return it->n == 0;
}

void
deliver_recall(struct deliver *d, uint64_t message, uint32_t num)
{
	struct attempt *a, *anext;
	struct dest *t, *tmp;

	HASH_ITER(hh, d->dests, t, tmp) {
		struct item *it, *next;

		for (it = TAILQ_FIRST(&t->waiting); it != NULL; it = next) {
			next = TAILQ_NEXT(it, link);
			if (it->msg->id != message || !item_withdraw(it, num))
				continue;
			TAILQ_REMOVE(&t->waiting, it, link);
			t->nwaiting--;
			d->nwaiting--;
			item_free(it);
		}
	}
	for (a = TAILQ_FIRST(&d->attempts); a != NULL; a = anext) {
		anext = TAILQ_NEXT(a, link);
		if (a->msg->id == message)
			attempt_withdraw(a, num);
	}
}

static void
forget_tls(struct deliver *d)
{
	while (d->tls != NULL) {
		struct tls_cache *next = d->tls->next;

		tls_client_unref(d->tls->t);
		free(d->tls->key);
		free(d->tls);
		d->tls = next;
	}
}

static void
quit_idle(struct deliver *d)
{
	struct dest *t, *tmp;

	HASH_ITER(hh, d->dests, t, tmp) {
		struct conn *c, *next;

		for (c = TAILQ_FIRST(&t->conns); c != NULL; c = next) {
			next = TAILQ_NEXT(c, link);
			if (c->attempt == NULL && evtimer_pending(c->idle, NULL))
				conn_quit(c);
		}
	}
}

void
deliver_reloaded(struct deliver *d)
{
	struct dest *t, *next;

	quit_idle(d);
	forget_tls(d);
	/* A destination that nothing goes to would keep the Lua state of an old generation. */
	HASH_ITER(hh, d->dests, t, next)
		dest_forget_policy(t);
}

void
deliver_look_again(struct deliver *d)
{
	struct dest *t, *next;

	HASH_ITER(hh, d->dests, t, next)
		dest_look_again(t);
}

void
deliver_drain(struct deliver *d, void (*idle)(void *owner), void *owner)
{
	d->draining = true;
	d->idle = idle;
	d->idle_owner = owner;
	quit_idle(d);
	if (d->nattempts == 0) {
		d->idle = NULL;
		idle(owner);
	}
}

void
deliver_stats(const struct deliver *d, struct deliver_stats *out)
{
	*out = d->stats;
	out->waiting = d->nwaiting;
	out->active = d->nattempts;
	out->pooled = d->nconns;
}
