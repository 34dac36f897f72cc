/* Counters of handlers, by hook and name and over all generations of a worker. How many names there are is
 * bounded: what comes later is counted as "other" of its hook. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "policy/policy_int.h"

#define HANDLERS_COUNTED 400
#define OTHER "other"

const double trace_bucket_s[TRACE_BUCKETS - 1] = { 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 100 };
const char *const handler_error_names[HANDLER_ERRORS] = { "lua", "verdict", "limit", "matcher" };

static int
by_name(const void *a, const void *b)
{
	const struct handler_count *x = a, *y = b;

	return x->hook != y->hook ? (x->hook < y->hook ? -1 : 1) : strcmp(x->name, y->name);
}

static struct handler_count *
find(const struct policy *p, enum policy_hook hook, const char *name)
{
	for (size_t i = 0; i < p->ncounts; i++)
		if (p->counts[i]->hook == hook && strcmp(p->counts[i]->name, name) == 0)
			return p->counts[i];
	return NULL;
}

struct handler_count *
policy_count_of(struct policy *p, enum policy_hook hook, const char *name, bool is_rule)
{
	struct handler_count *c = find(p, hook, name);

	if (c == NULL && p->ncounts >= HANDLERS_COUNTED) {
		name = OTHER;
		c = find(p, hook, name);
	}
	if (c != NULL)
		return c;
	c = xcalloc(1, sizeof *c);
	c->hook = hook;
	c->is_rule = is_rule;
	memcpy(c->name, name, strlen(name) + 1);	/* a handler's, which is as long */
	p->counts = xrealloc(p->counts, (p->ncounts + 1) * sizeof(struct handler_count *));
	p->counts[p->ncounts++] = c;
	return c;
}

void
policy_counts(const struct policy *p, struct policy_counts *out)
{
	memset(out, 0, sizeof *out);
	out->v = xcalloc(p->ncounts + 1, sizeof *out->v);
	for (size_t i = 0; i < p->ncounts; i++)
		out->v[out->n++] = *p->counts[i];
	if (out->n > 1)
		qsort(out->v, out->n, sizeof *out->v, by_name);
	for (size_t i = 0; i < p->ngens && out->ngens < NELEMS(out->gens); i++) {
		memcpy(out->gens[out->ngens].id, policy_gen_id(p->gens[i]), sizeof out->gens[0].id - 1);
		out->gens[out->ngens].lua_bytes = p->gens[i]->mem_used;
		out->gens[out->ngens++].is_active = p->gens[i]->was_active && !p->gens[i]->was_retired;
	}
}

static void
add_one(struct handler_count *to, const struct handler_count *c)
{
	to->hits += c->hits;
	for (int k = 0; k < VERDICT_KINDS; k++)
		to->verdicts[k] += c->verdicts[k];
	for (int k = 0; k < HANDLER_ERRORS; k++)
		to->errors[k] += c->errors[k];
	to->instructions += c->instructions;
	to->timed += c->timed;
	for (int k = 0; k < TRACE_BUCKETS; k++)
		to->buckets[k] += c->buckets[k];
	to->wall_ns += c->wall_ns;
}

static void
add_gen(struct policy_counts *sum, const struct policy_counts *c, size_t i)
{
	size_t k = 0;

	while (k < sum->ngens && strcmp(sum->gens[k].id, c->gens[i].id) != 0)
		k++;
	if (k == NELEMS(sum->gens))
		return;
	if (k == sum->ngens) {
		sum->gens[sum->ngens++] = c->gens[i];
		return;
	}
	sum->gens[k].lua_bytes += c->gens[i].lua_bytes;
	sum->gens[k].is_active = sum->gens[k].is_active || c->gens[i].is_active;
}

void
policy_counts_add(struct policy_counts *sum, const struct policy_counts *c)
{
	size_t was = sum->n;

	sum->v = xrealloc(sum->v, (sum->n + c->n + 1) * sizeof *sum->v);
	for (size_t i = 0; i < c->n; i++) {
		struct handler_count *to = was == 0 ? NULL : bsearch(&c->v[i], sum->v, was, sizeof *sum->v, by_name);

		if (to != NULL)
			add_one(to, &c->v[i]);
		else
			sum->v[sum->n++] = c->v[i];
	}
	if (sum->n > was && sum->n > 1)
		qsort(sum->v, sum->n, sizeof *sum->v, by_name);
	for (size_t i = 0; i < c->ngens; i++)
		add_gen(sum, c, i);
}

void
policy_counts_fini(struct policy_counts *c)
{
	free(c->v);
	memset(c, 0, sizeof *c);
}
