/* What is said of generations: to administrators, in metrics, and to be compared. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "conf/settings.h"
#include "gateway/generations_int.h"
#include "policy/bundle_pack.h"

static uint64_t
count_of(const atomic_uint_fast64_t *n)
{
	return atomic_load(n);
}

static void
add_time(json_t *o, const char *key, int64_t wall_ms)
{
	char text[32];

	if (wall_ms == 0)
		return;
	date_iso8601(text, sizeof text, wall_ms);
	json_object_set_new(o, key, json_string(text));
}

static json_t *
canary_json(const struct entry *e)
{
	json_t *o = json_copy(e->canary);

	if (e->canary_until_ms != 0)
		json_object_set_new(o, "seconds_left",
		    json_integer((e->canary_until_ms - clock_mono_ms() + 999) / 1000));
	return o;
}

json_t *
generation_json(const struct generations *g, const struct entry *e)
{
	const struct gen_shared *s = e->shared;
	int64_t from = e->active_ms != 0 ? e->active_ms : e->loaded_ms;
	char file[1024];
	json_t *o;

	text_escape(file, sizeof file, e->file, strlen(e->file), true);
	o = json_pack("{s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:b}",
	    "number", (json_int_t)e->num, "id", s->id, "state", generation_states[e->state],
	    "age", (json_int_t)((clock_wall_ms() - from) / 1000),
	    "sessions", (json_int_t)atomic_load(&s->sessions), "attempts", (json_int_t)atomic_load(&s->attempts),
	    "errors", (json_int_t)count_of(&s->errors), "sessions_total", (json_int_t)count_of(&s->started),
	    "accepted", (json_int_t)count_of(&s->accepted), "rejected", (json_int_t)count_of(&s->rejected),
	    "deferred", (json_int_t)count_of(&s->deferred), "file", file, "by", e->by,
	    "degraded", e->degraded_ms != 0);
	add_time(o, "loaded_at", e->loaded_ms);
	add_time(o, "active_since", e->active_ms);
	add_time(o, "replaced_at", e->ended_ms);
	add_time(o, "degraded_at", e->degraded_ms);
	if (e->restart != NULL)
		json_object_set_new(o, "needs_restart", json_string(e->restart));
	if (e->degraded_ms != 0)
		json_object_set_new(o, "degraded_by", json_string(e->degraded_by));
	if (e->state == GEN_CANARY)
		json_object_set_new(o, "canary", canary_json(e));
	if (e->state == GEN_DRAINING && !e->is_cut)
		json_object_set_new(o, "drain_seconds_left",
		    json_integer((e->drain_until_ms - clock_mono_ms() + 999) / 1000));
	if (e == g->active && e->before != NULL)
		json_object_set_new(o, "rollback_to", json_integer((json_int_t)e->before->num));
	return o;
}

json_t *
generation_list(struct generations *g)
{
	json_t *all = json_array();
	struct entry *e;

	TAILQ_FOREACH(e, &g->entries, link)
		json_array_append_new(all, generation_json(g, e));
	return json_pack("{s:o}", "generations", all);
}

json_t *
generations_status(struct generations *g)
{
	return generation_json(g, g->active);
}

void
generations_metrics(struct generations *g, void (*fn)(void *arg, const struct ctl_metric *m), void *arg)
{
	static const struct {
		const char *name, *help;
		bool is_counter;
	} kinds[] = {
		{ "sallyport_generation_info", "Generations that are not retired", false },
		{ "sallyport_generation_degraded", "1: a handler of it fails again and again", false },
		{ "sallyport_generation_sessions", "Sessions that began with it and go on", false },
		{ "sallyport_generation_attempts", "Delivery attempts that began with it and go on", false },
		{ "sallyport_generation_errors_total", "Handlers of it that failed", true },
	};
	char labels[128];
	struct entry *e;

	for (size_t k = 0; k < NELEMS(kinds); k++) {
		TAILQ_FOREACH(e, &g->entries, link) {
			const struct gen_shared *s = e->shared;
			const double values[] = { 1, e->degraded_ms != 0, atomic_load(&s->sessions),
				atomic_load(&s->attempts), (double)count_of(&s->errors) };
			struct ctl_metric m = { kinds[k].name, kinds[k].help, kinds[k].is_counter, labels, values[k] };

			if (e->state == GEN_RETIRED)
				continue;
			snprintf(labels, sizeof labels, "gen=\"%s\",number=\"%llu\",state=\"%s\"", s->id,
			    (unsigned long long)e->num, generation_states[e->state]);
			fn(arg, &m);
		}
	}
}

static bool
is_there(const struct entry *e, struct err *err)
{
	if (e->setup == NULL)
		err_set(err, "generation %llu is no longer in memory", (unsigned long long)e->num);
	return e->setup != NULL;
}

json_t *
generation_describe(const struct entry *e, struct err *err)
{
	char *text;
	json_t *o;

	if (!is_there(e, err))
		return NULL;
	text = policy_describe(e->setup->bundle, e->setup->conf, err);
	o = text == NULL ? NULL : json_loads(text, 0, NULL);
	free(text);
	if (o != NULL)
		json_object_set_new(o, "settings", conf_settings(e->setup->conf));
	return o;
}

json_t *
generation_files(const struct entry *e, struct err *err)
{
	const struct conf *c;

	if (!is_there(e, err))
		return NULL;
	c = e->setup->conf;
	return json_pack("{s:I, s:s, s:s, s:o}", "number", (json_int_t)e->num, "file", c->file, "dir", c->dir,
	    "bundle", policy_bundle_pack(e->setup->bundle));
}
