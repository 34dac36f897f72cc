/* What a generation is made of, to be compared with another. */
#include "config.h"

#include <jansson.h>
#include <stdlib.h>

#include "policy/policy_int.h"

static json_t *
files_of(const struct policy_bundle *b)
{
	json_t *out = json_object();

	for (size_t i = 0; i < policy_bundle_count(b); i++) {
		const struct policy_source *s = policy_bundle_source(b, i);

		json_object_set_new(out, s->path, json_string(s->hash));
	}
	return out;
}

static json_t *
handlers_of(const struct policy_gen *g)
{
	static const char *const levels[] = { "advisory", "normal", "mandatory" };
	json_t *out = json_object();

	for (size_t i = 0; i < g->nhandlers; i++) {
		const struct handler *h = g->handlers[i];

		json_object_set_new(out, h->name, json_pack("{s:s, s:s, s:s, s:i, s:b, s:s}",
		    "kind", h->rule != NULL ? "rule" : "handler", "hook", policy_hook_name(h->hook),
		    "level", levels[h->level], "priority", h->priority, "observe", h->observe, "where", h->where));
	}
	return out;
}

char *
policy_describe(struct policy_bundle *b, struct conf *conf, struct err *err)
{
	struct policy *p = policy_new(NULL, NULL, 0);
	struct policy_gen *g = policy_gen_new(p, b, conf, err);
	json_t *o = NULL;
	char *text = NULL;

	if (g != NULL) {
		o = json_pack("{s:s, s:o, s:o}", "id", policy_bundle_id(b), "files", files_of(b), "handlers",
		    handlers_of(g));
		policy_gen_unref(g);
	}
	policy_free(p);
	if (o != NULL)
		text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(o);
	return text;
}
