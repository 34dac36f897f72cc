/* The life of a generation in one worker:
 *
 *   loaded --policy_gen_init--> ready --policy_gen_activate--> active --policy_gen_retire--> retired
 *
 * From ready on it owes a call of `fini`: when its last reference is gone, wherever it stands then,
 * or when the worker stops. One whose init failed is never told of its end. */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy_int.h"

/* ---- init ---- */

static void
init_done(void *owner, uint64_t ticket, struct verdict *v)
{
	struct policy_gen *g = owner;
	struct err err = { "" };

	g->life_ticket = 0;
	g->is_ready = !v->is_error;
	if (v->is_error)
		err_set(&err, "%s", v->reason);
	g->inited(g->inited_owner, v->is_error ? &err : NULL);
}

void
policy_gen_init(struct policy_gen *g, const char *reason, policy_inited *done, void *owner)
{
	struct verdict v;

	g->inited = done;
	g->inited_owner = owner;
	g->life = (struct policy_subject){ .rcpt = -1, .reason = reason };
	if (policy_call(g->policy, g, HOOK_INIT, &g->life, &v, init_done, g, &g->life_ticket) == POLICY_LATER)
		return;
	init_done(g, 0, &v);
	verdict_fini(&v);
}

void
policy_gen_init_cancel(struct policy_gen *g)
{
	uint64_t ticket = g->life_ticket;

	g->life_ticket = 0;
	if (ticket != 0 && !g->is_ready)
		policy_cancel(g->policy, ticket);
}

void
policy_gen_watch(struct policy_gen *g, const struct policy_watch *w, void *owner)
{
	g->watch = w;
	g->watcher = owner;
}

void *
policy_gen_watcher(const struct policy_gen *g)
{
	return g->watcher;
}

void
policy_gen_activate(struct policy_gen *g)
{
	g->was_active = true;
	policy_timers_start(g);
}

void
policy_gen_retire(struct policy_gen *g)
{
	g->was_retired = true;
	policy_timers_stop(g, false);
}

/* ---- fini ---- */

static void
fini_over(struct policy_gen *g)
{
	struct policy *p = g->policy;

	event_free(g->fini_timer);
	g->fini_timer = NULL;
	g->life_ticket = 0;
	p->finis--;
	policy_gen_unref(g);
	if (p->finis == 0 && p->stopped != NULL)
		p->stopped(p->stop_owner);
}

static void
fini_done(void *owner, uint64_t ticket, struct verdict *v)
{
	fini_over(owner);
}

static void
fini_run(struct policy_gen *g)
{
	struct timeval limit = { FINI_MS / 1000, 0 };
	struct verdict v;

	g->life = (struct policy_subject){ .rcpt = -1, .reason = g->policy->is_stopping ? "stop" :
	    g->was_active ? "retired" : "discarded" };
	if (policy_call(g->policy, g, HOOK_FINI, &g->life, &v, fini_done, g, &g->life_ticket) == POLICY_LATER) {
		evtimer_add(g->fini_timer, &limit);
		return;
	}
	verdict_fini(&v);
	fini_over(g);
}

/* Fires to begin, and once more when that takes too long. */
static void
on_fini_timer(evutil_socket_t fd, short what, void *arg)
{
	struct policy_gen *g = arg;

	if (g->life_ticket == 0) {
		fini_run(g);
		return;
	}
	log_warn("policy's fini took too long and was ended", LOG_B("gen", policy_gen_id(g), 12),
	    LOG_U("seconds", FINI_MS / 1000));
	policy_cancel(g->policy, g->life_ticket);
	fini_over(g);
}

static bool
fini_is_owed(const struct policy_gen *g)
{
	return g->is_ready && !g->fini_begun && g->policy != NULL && !g->policy->freeing &&
	    g->chains[HOOK_FINI].n > 0;
}

static void
fini_begin(struct policy_gen *g)
{
	g->fini_begun = true;
	g->policy->finis++;
	g->fini_timer = evtimer_new(g->policy->base, on_fini_timer, g);
	MUST(g->fini_timer != NULL);
}

/* The handlers run on the loop's next turn: the last reference may go while anything runs. */
bool
policy_fini_due(struct policy_gen *g)
{
	struct timeval now = { 0, 0 };

	if (!fini_is_owed(g))
		return false;
	g->refs = 1;
	fini_begin(g);
	evtimer_add(g->fini_timer, &now);
	return true;
}

void
policy_fini_drop(struct policy_gen *g)
{
	if (g->fini_timer == NULL)
		return;
	event_free(g->fini_timer);
	g->fini_timer = NULL;
	g->policy->finis--;
	policy_gen_unref(g);
}

void
policy_stop(struct policy *p, void (*done)(void *owner), void *owner)
{
	size_t n = p->ngens;
	struct policy_gen **v = xcalloc(n + 1, sizeof *v);

	p->is_stopping = true;
	for (size_t i = 0; i < n; i++)	/* the list changes below */
		v[i] = policy_gen_ref(p->gens[i]);
	for (size_t i = 0; i < n; i++) {
		policy_timers_stop(v[i], true);
		if (fini_is_owed(v[i])) {
			policy_gen_ref(v[i]);
			fini_begin(v[i]);
			fini_run(v[i]);
		}
		policy_gen_unref(v[i]);
	}
	free(v);
	if (p->finis == 0) {
		done(owner);
		return;
	}
	p->stopped = done;
	p->stop_owner = owner;
}
