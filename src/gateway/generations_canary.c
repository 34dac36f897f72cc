/* Canary: a generation that is given to some new sessions. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/generations_int.h"

static bool
read_percent(const json_t *args, struct canary *c, struct err *err)
{
	const char *text = json_string_value(json_object_get(args, "percent"));
	char *end;
	double v;

	c->basis_points = 10000;
	if (text == NULL)
		return true;
	v = strtod(text, &end);
	if (end == text || *end != '\0' || !(v >= 0.01 && v <= 100)) {
		err_set(err, "--percent: a number from 0.01 to 100 is expected");
		return false;
	}
	c->basis_points = (unsigned)(v * 100 + 0.5);
	return true;
}

static bool
read_listeners(const json_t *list, const struct conf *conf, struct canary *c, struct err *err)
{
	const json_t *v;
	size_t i;

	json_array_foreach((json_t *)list, i, v) {
		const char *name = json_string_value(v);
		size_t k = 0;

		while (k < conf->nlisteners && (name == NULL || strcmp(conf->listeners[k].name, name) != 0))
			k++;
		if (k == conf->nlisteners || c->nlisteners == CANARY_MAX) {
			err_set(err, k < conf->nlisteners ? "--listener: too many" : "--listener: there is none of that name");
			return false;
		}
		c->listeners[c->nlisteners++] = k;
	}
	return true;
}

static bool
read_cidrs(const json_t *list, struct canary *c, struct err *err)
{
	const json_t *v;
	size_t i;

	json_array_foreach((json_t *)list, i, v) {
		const char *text = json_string_value(v);

		if (text == NULL || c->ncidrs == CANARY_MAX) {
			err_set(err, "--cidr: at most %d networks", CANARY_MAX);
			return false;
		}
		if (net_cidr_parse(&c->cidrs[c->ncidrs], slice_of(text), err) != 0) {
			err_prefix(err, "--cidr");
			return false;
		}
		c->ncidrs++;
	}
	return true;
}

/* What it takes in is delivered by the active generation, which has to know the route. */
static bool
routes_are_known(const struct conf *of, const struct conf *active, struct err *err)
{
	for (size_t i = 0; i < of->nroutes; i++) {
		if (conf_route(active, of->routes[i]->name) == NULL) {
			err_set(err, "routes.%s: the active generation, which delivers, does not have it; bring it in "
			    "with a generation of its own before", of->routes[i]->name);
			return false;
		}
	}
	return true;
}

bool
generation_start_canary(struct generations *g, struct entry *e, const json_t *args, const char *by, struct err *err)
{
	struct order o = { .what = ORDER_CANARY, .num = e->num };
	const char *for_text = json_string_value(json_object_get(args, "for"));
	int64_t for_ms = 0;

	if (e->state != GEN_CHECKED && e->state != GEN_CANARY) {
		err_set(err, "generation %llu is %s; a canary is one that was loaded and is not active",
		    (unsigned long long)e->num, generation_states[e->state]);
		return false;
	}
	if (json_object_get(args, "percent") == NULL && json_object_get(args, "cidr") == NULL &&
	    json_object_get(args, "listener") == NULL) {
		err_set(err, "which sessions? --percent, --cidr or --listener is needed");
		return false;
	}
	if (!read_percent(args, &o.canary, err) || !read_cidrs(json_object_get(args, "cidr"), &o.canary, err) ||
	    !read_listeners(json_object_get(args, "listener"), e->setup->conf, &o.canary, err) ||
	    !routes_are_known(e->setup->conf, g->active->setup->conf, err))
		return false;
	if (for_text != NULL && (!duration_parse(slice_of(for_text), &for_ms) || for_ms <= 0)) {
		err_set(err, "--for: a time such as 1h is expected");
		return false;
	}
	if (e->state != GEN_CANARY)
		generation_end_canary(g, "another one begins");
	crew_order(g->crew, &o, NULL, ORDER_MS, NULL);
	e->state = GEN_CANARY;
	json_decref(e->canary);
	e->canary = json_deep_copy(args);
	json_object_del(e->canary, "gen");
	e->canary_until_ms = for_ms == 0 ? 0 : clock_mono_ms() + for_ms;
	generation_watch(g);
	log_info("canary begins", LOG_S("gen", e->shared->id), LOG_U("number", e->num), LOG_S("by", by),
	    LOG_U("per_10000", o.canary.basis_points), LOG_U("networks", o.canary.ncidrs),
	    LOG_U("listeners", o.canary.nlisteners), LOG_S("for", for_text));
	return true;
}
