/* What handlers cost: the tests of a bundle run again and again, and the records of handlers are added up.
 * Instructions are counted in a round of their own, because that takes longer than what is counted. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "rehearsal/lua_int.h"

struct cost {
	UT_hash_handle hh;
	enum policy_hook hook;
	bool is_rule;
	uint64_t counted, instructions;		/* in the round that counts */
	uint64_t timed, grown;
	int64_t ns, least_ns;
	char *name;
	char key[];		/* "message tag.subject" */
};
struct bench {
	bool counts;
	struct cost *costs;
};

static void
on_record(void *owner, const struct trace_rec *t)
{
	struct bench *b = owner;
	char *key = xasprintf("%02d %s", (int)t->hook, t->handler);
	struct cost *c;

	HASH_FIND_STR(b->costs, key, c);
	if (c == NULL) {
		c = xcalloc(1, sizeof *c + strlen(key) + 1);
		memcpy(c->key, key, strlen(key) + 1);
		c->hook = t->hook;
		c->is_rule = t->is_rule;
		c->name = xstrdup(t->handler);
		c->least_ns = INT64_MAX;
		HASH_ADD_STR(b->costs, key, c);
	}
	free(key);
	if (b->counts) {
		c->counted++;
		c->instructions += t->instructions;
		return;
	}
	c->timed++;
	c->ns += t->run_ns;
	c->grown += t->grown;
	if (t->run_ns < c->least_ns)
		c->least_ns = t->run_ns;
}

static void
on_keep(void *owner, const struct trace_rec *t)
{
}

const struct trace_ops bench_ops = { on_keep, on_record };

struct bench *
bench_new(void)
{
	return xcalloc(1, sizeof(struct bench));
}

void
bench_free(struct bench *b)
{
	struct cost *c, *next;

	if (b == NULL)
		return;
	HASH_ITER(hh, b->costs, c, next) {
		HASH_DEL(b->costs, c);
		free(c->name);
		free(c);
	}
	free(b);
}

void
bench_round(struct bench *b, bool counts)
{
	b->counts = counts;
}

static int
by_hook_and_name(const struct cost *a, const struct cost *b)
{
	return strcmp(a->key, b->key);
}

void
bench_print(struct bench *b, unsigned rounds, bool tap)
{
	const char *mark = tap ? "# " : "";
	struct cost *c, *next;

	HASH_SORT(b->costs, by_hook_and_name);
	printf("%sbench  %-10s %-24s %-7s %7s %9s %9s %9s %9s\n", mark, "hook", "name", "kind", "calls", "mean us",
	    "least us", "instr", "octets");
	HASH_ITER(hh, b->costs, c, next) {
		double n = c->timed == 0 ? 1 : (double)c->timed;

		printf("%sbench  %-10s %-24s %-7s %7.0f %9.2f %9.2f %9.0f %9.0f\n", mark, policy_hook_name(c->hook), c->name,
		    c->is_rule ? "rule" : "handler", (double)c->timed / rounds, (double)c->ns / n / 1000,
		    c->timed == 0 ? 0 : (double)c->least_ns / 1000,
		    c->counted == 0 ? 0 : (double)c->instructions / (double)c->counted, (double)c->grown / n);
	}
	printf("%sbench  %u round%s; calls of one\n", mark, rounds, rounds == 1 ? "" : "s");
}
