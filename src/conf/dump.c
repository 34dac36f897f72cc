/* The configuration and its schema as JSON. What is dumped can be loaded again. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "conf/conf_int.h"

char *
conf_dump(const struct conf *c)
{
	json_t *root = dump_section("", c);
	char *text = json_dumps(root, JSON_INDENT(2));

	json_decref(root);
	return text;
}

/* A limit in the unit in which it is written. */
static json_t *
limit_json(const struct setting *s, int64_t v)
{
	char text[32];

	switch (s->type) {
	case T_SIZE:
		size_format(text, sizeof text, (uint64_t)v);
		return json_string(text);
	case T_DURATION:
	case T_DURATIONS:
		duration_format(text, sizeof text, v);
		return json_string(text);
	default:
		return json_integer(v);
	}
}

static bool
has_range(const struct setting *s)
{
	return s->max != 0 || s->min != 0;
}

static json_t *
setting_json(const struct setting *s)
{
	json_t *o = json_object(), *choices;

	json_object_set_new(o, "path", json_string(s->path));
	json_object_set_new(o, "type", json_string(setting_type_name(s)));
	if (s->kind != NULL && s->type == T_TEXTS)
		json_object_set_new(o, "of", json_string(s->kind->name));
	if (s->dflt != NULL && s->dflt[0] == '(')
		json_object_set_new(o, "default_from", json_stringn(s->dflt + 1, strlen(s->dflt) - 2));
	else if (s->dflt != NULL)
		json_object_set_new(o, "default", json_loads(s->dflt, JSON_DECODE_ANY, NULL));
	if (has_range(s))
		json_object_set_new(o, "min", limit_json(s, s->min));
	if (s->max != 0)
		json_object_set_new(o, "max", limit_json(s, s->max));
	if (s->type == T_SIZE || s->type == T_DURATION || s->type == T_DURATIONS)
		json_object_set_new(o, "unit", json_string(s->type == T_SIZE ? "K M G T (of 1024)"
									    : "ms s m h d w"));
	if (s->choices != NULL) {
		choices = json_array();
		for (size_t i = 0; s->choices[i] != NULL; i++)
			json_array_append_new(choices, json_string(s->choices[i]));
		json_object_set_new(o, "choices", choices);
	}
	if (s->flags & S_REQUIRED)
		json_object_set_new(o, "required", json_true());
	if (s->flags & S_SOME)
		json_object_set_new(o, "may_be_empty", json_false());
	if (setting_is_for_start(s->path))
		json_object_set_new(o, "restart", json_true());
	json_object_set_new(o, "text", json_string(s->text));
	return o;
}

char *
conf_schema_json(void)
{
	json_t *root = json_array();
	char *text;

	for (size_t i = 0; i < conf_schema_n; i++)
		json_array_append_new(root, setting_json(&conf_schema[i]));
	text = json_dumps(root, JSON_INDENT(2));
	json_decref(root);
	return text;
}
