/* The metrics of handlers, from the counters of all workers. */
#include "config.h"

#include <string.h>

#include "ctl/ctl.h"
#include "deliver/deliver.h"
#include "gateway/gateway_int.h"
#include "policy/trace.h"

struct out {
	void (*fn)(void *arg, const struct ctl_metric *m);
	void *arg;
};

static void
one(const struct out *o, const char *name, const char *help, bool is_counter, const char *labels, double value)
{
	o->fn(o->arg, &(struct ctl_metric){ .name = name, .help = help, .is_counter = is_counter, .labels = labels,
		.value = value });
}

static void
calls(const struct out *o, const struct policy_counts *c)
{
	char labels[200];

	for (size_t i = 0; i < c->n; i++) {
		const struct handler_count *h = &c->v[i];
		uint64_t failed = 0;

		for (int k = 0; k < VERDICT_KINDS; k++) {
			if (h->verdicts[k] == 0 && k != VERDICT_NONE)
				continue;
			snprintf(labels, sizeof labels, "hook=\"%s\",handler=\"%s\",verdict=\"%s\"",
			    policy_hook_name(h->hook), h->name, k == VERDICT_NONE ? "nil" :
			    verdict_kind_name((enum verdict_kind)k));
			one(o, "gw_policy_calls_total", "Calls of handlers whose matcher held", true, labels,
			    (double)h->verdicts[k]);
		}
		for (int k = 0; k < HANDLER_ERRORS; k++)
			failed += h->errors[k];
		snprintf(labels, sizeof labels, "hook=\"%s\",handler=\"%s\",verdict=\"error\"",
		    policy_hook_name(h->hook), h->name);
		if (failed > 0)
			one(o, "gw_policy_calls_total", "Calls of handlers whose matcher held", true, labels, (double)failed);
	}
}

static void
histograms(const struct out *o, const struct policy_counts *c)
{
	static const char help[] = "How long handlers took, waits included";
	struct ctl_metric m = { .help = help };
	char labels[200];

	for (size_t i = 0; i < c->n; i++) {
		const struct handler_count *h = &c->v[i];
		uint64_t sum = 0;
		int n;

		if (h->timed == 0)
			continue;
		m.labels = labels;
		m.name = "gw_policy_seconds_bucket";
		n = snprintf(labels, sizeof labels, "hook=\"%s\",handler=\"%s\"", policy_hook_name(h->hook), h->name);
		for (int k = 0; k < TRACE_BUCKETS; k++) {
			sum += h->buckets[k];
			if (k < TRACE_BUCKETS - 1)
				snprintf(labels + n, sizeof labels - (size_t)n, ",le=\"%g\"", trace_bucket_s[k]);
			else
				snprintf(labels + n, sizeof labels - (size_t)n, ",le=\"+Inf\"");
			m.value = (double)sum;
			o->fn(o->arg, &m);
		}
		labels[n] = '\0';
		m.name = "gw_policy_seconds_sum";
		m.value = (double)h->wall_ns / 1e9;
		o->fn(o->arg, &m);
		m.name = "gw_policy_seconds_count";
		m.value = (double)h->timed;
		o->fn(o->arg, &m);
	}
}

static void
instructions(const struct out *o, const struct policy_counts *c)
{
	char labels[200];

	for (size_t i = 0; i < c->n; i++) {
		if (c->v[i].is_rule)
			continue;
		snprintf(labels, sizeof labels, "hook=\"%s\",handler=\"%s\"", policy_hook_name(c->v[i].hook), c->v[i].name);
		one(o, "gw_policy_instructions_total", "Lua instructions, in steps of 1,000 a call", true, labels,
		    (double)c->v[i].instructions);
	}
}

static void
errors(const struct out *o, const struct policy_counts *c)
{
	char labels[64];

	for (int k = 0; k < HANDLER_ERRORS; k++) {
		uint64_t n = 0;

		for (size_t i = 0; i < c->n; i++)
			n += c->v[i].errors[k];
		snprintf(labels, sizeof labels, "class=\"%s\"", handler_error_names[k]);
		one(o, "gw_policy_errors_total", "Handlers that failed", true, labels, (double)n);
	}
}

static void
rules(const struct out *o, const struct policy_counts *c)
{
	char labels[100];

	for (size_t i = 0; i < c->n; i++) {
		if (!c->v[i].is_rule)
			continue;
		snprintf(labels, sizeof labels, "rule=\"%s\"", c->v[i].name);
		one(o, "gw_rule_hits_total", "Rules that matched", true, labels, (double)c->v[i].hits);
	}
}

static void
generations(const struct out *o, const struct policy_counts *c)
{
	char labels[64];

	for (size_t i = 0; i < c->ngens; i++) {
		snprintf(labels, sizeof labels, "gen=\"%s\"", c->gens[i].id);
		one(o, "gw_lua_heap_bytes", "Memory of the Lua states of a generation", false, labels,
		    (double)c->gens[i].lua_bytes);
	}
	for (size_t i = 0; i < c->ngens; i++) {
		snprintf(labels, sizeof labels, "gen=\"%s\"", c->gens[i].id);
		one(o, "gw_generation_info", "1 for the generation that new sessions begin with, 0 for others", false,
		    labels, c->gens[i].is_active ? 1 : 0);
	}
}

static void
relaxed(void *arg, const char *grant, uint64_t n)
{
	char labels[200];

	snprintf(labels, sizeof labels, "grant=\"%.150s\"", grant);
	one(arg, "gw_relax_total", "Uses of grants", true, labels, (double)n);
}

void
policy_metrics(const struct policy_counts *c, const struct policy_stats *s,
    void (*fn)(void *arg, const struct ctl_metric *m), void *arg)
{
	struct out o = { fn, arg };

	calls(&o, c);
	histograms(&o, c);
	instructions(&o, c);
	errors(&o, c);
	one(&o, "gw_policy_waiting", "Hook calls that wait", false, NULL, (double)s->waiting);
	one(&o, "gw_policy_stale_tickets_total", "Answers that came too late", true, NULL, (double)s->stale_tickets);
	rules(&o, c);
	grant_totals(relaxed, &o);
	generations(&o, c);
}
