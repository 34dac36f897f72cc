/* The circuit breaker: errors of handlers, counted by the minute, and what a generation that fails again and
 * again leads to. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/generations_int.h"

#define YOUNG_MS (10 * 60000)	/* auto_rollback is for generations younger than this */
#define UNREAD_MAX 4096u
#define HANDLERS_MAX 1000u	/* of a generation, whose errors are counted each by each */

struct failure {
	struct mail mail;
	struct gen_shared *shared;
	char hook[16], handler[64];
};

static struct failing *
failing_of(struct entry *e, const char *handler)
{
	struct failing *f;

	for (f = e->failing; f != NULL; f = f->next)
		if (strcmp(f->name, handler) == 0)
			return f;
	if (e->nfailing >= HANDLERS_MAX)
		return e->failing;	/* so many together are one that fails often */
	f = xcalloc(1, sizeof *f);
	snprintf(f->name, sizeof f->name, "%s", handler);
	f->next = e->failing;
	e->failing = f;
	e->nfailing++;
	return f;
}

/* One more; how many in the last minute. */
static unsigned
count_error(struct failing *f)
{
	int64_t slice = clock_mono_ms() / (60000 / GEN_SLICES);
	unsigned n = 0;

	for (; f->slice < slice; f->slice++) {
		if (slice - f->slice > GEN_SLICES) {
			memset(f->n, 0, sizeof f->n);
			f->slice = slice;
			break;
		}
		f->n[(f->slice + 1) % GEN_SLICES] = 0;
	}
	f->n[slice % GEN_SLICES]++;
	for (int i = 0; i < GEN_SLICES; i++)
		n += f->n[i];
	return n;
}

static void
give_up_on(struct generations *g, struct entry *e)
{
	struct err err = { "" };

	if (!e->setup->conf->policy.auto_rollback)
		return;
	if (e->state == GEN_CANARY)
		generation_end_canary(g, "circuit breaker");
	/* What was gone back to is not left again by itself: then it is not the policy. */
	if (e != g->active || e->is_back || e->before == NULL ||
	    clock_mono_ms() - e->active_mono_ms > YOUNG_MS)
		return;
	if (generation_roll_back(g, "circuit breaker", &err) == NULL)
		log_error("no way back from a degraded generation", LOG_S("gen", e->shared->id), LOG_S("why", err.text));
}

static void
on_failure(void *reader, struct mail *m)
{
	struct failure *f = (struct failure *)m;
	struct generations *g = f->shared->to;
	struct entry *e = generation_numbered(g, f->shared->num);
	unsigned n, most;

	atomic_fetch_sub(&f->shared->unread, 1);
	if (e != NULL && e->setup != NULL && e->degraded_ms == 0 && !g->is_closing) {
		most = e->setup->conf->policy.errors_per_minute;
		n = count_error(failing_of(e, f->handler));
		if (most > 0 && n > most) {
			e->degraded_ms = clock_wall_ms();
			snprintf(e->degraded_by, sizeof e->degraded_by, "%s", f->handler);
			log_error("generation degraded: a handler fails again and again", LOG_S("gen", e->shared->id),
			    LOG_U("number", e->num), LOG_S("hook", f->hook), LOG_S("handler", f->handler),
			    LOG_U("errors", n));
			give_up_on(g, e);
		}
	}
	gen_shared_unref(f->shared);
	free(f);
}

/* In a worker. */
void
generation_failed(void *owner, enum policy_hook hook, const char *handler)
{
	struct gen_shared *s = owner;
	struct failure *f;

	atomic_fetch_add(&s->errors, 1);
	if (s->mb == NULL)	/* a rehearsal: nobody keeps count */
		return;
	if (atomic_fetch_add(&s->unread, 1) >= UNREAD_MAX) {
		atomic_fetch_sub(&s->unread, 1);
		return;
	}
	f = xcalloc(1, sizeof *f);
	f->mail.run = on_failure;
	f->shared = gen_shared_ref(s);
	snprintf(f->hook, sizeof f->hook, "%s", policy_hook_name(hook));
	snprintf(f->handler, sizeof f->handler, "%s", handler);
	mailbox_post(s->mb, &f->mail);
}
