/* Orders to all workers and their answers: the main thread waits for them. */
#include "config.h"

#include <stdlib.h>

#include "gateway/gateway_int.h"

static void
order_free(struct order *o)
{
	policy_counts_fini(&o->counts);
	json_decref(o->records);
	free(o);
}

bool
crew_order(struct crew *c, const struct order *like, struct order *out, int64_t ms, struct err *err)
{
	struct mail *m, *next;
	unsigned left = c->running;
	uint64_t seq = ++c->seq;
	bool ok = true;
	int64_t until = clock_mono_ms() + ms;

	for (unsigned i = 0; i < c->running; i++) {
		struct order *o = xcalloc(1, sizeof *o);

		*o = *like;
		if (o->setup != NULL)
			setup_ref(o->setup);
		o->mail.reply_to = c->answers;
		o->worker = i;
		o->seq = seq;
		worker_order(c->workers[i], o);
	}
	while (left > 0 && clock_mono_ms() < until) {
		for (m = mailbox_wait(c->answers, 100); m != NULL; m = next) {
			struct order *o = (struct order *)m;

			next = m->next;
			if (o->seq != seq) {	/* a late answer to an order that was given up */
				order_free(o);
				continue;
			}
			left--;
			if (like->what == ORDER_LOAD && !o->ok) {
				ok = false;
				if (err != NULL)
					*err = o->err;
			}
			if (out != NULL) {	/* and what it holds */
				out[o->worker] = *o;
				free(o);
			} else {
				order_free(o);
			}
		}
	}
	if (left > 0 && err != NULL)
		err_set(err, "%u workers did not answer in time", left);
	return ok && left == 0;
}

bool
crew_tell(struct crew *c, enum order_kind what, int64_t ms, struct err *err)
{
	struct order o = { .what = what };

	return crew_order(c, &o, NULL, ms, err);
}
