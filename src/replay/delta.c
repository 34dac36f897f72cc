#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "replay/replay_int.h"

static duty_mask
mask_of(const json_t *o)
{
	return (duty_mask)json_integer_value(json_object_get(o, "duties"));
}

static json_t *
child(json_t *o, const char *key)
{
	json_t *c = json_object_get(o, key);

	if (c == NULL) {
		c = json_object();
		json_object_set_new(o, key, c);
	}
	return c;
}

static bool
list_has(const json_t *l, const char *s)
{
	const json_t *v;
	size_t i;

	json_array_foreach(l, i, v)
		if (json_is_string(v) && strcmp(json_string_value(v), s) == 0)
			return true;
	return false;
}

/* Duties, tags and vars: of the message or of one recipient. */
static void
add_common(json_t *delta, const json_t *before, const json_t *after)
{
	const json_t *vars = json_object_get(after, "vars"), *old = json_object_get(before, "vars"), *v;
	const char *key;
	size_t i;

	json_object_set_new(delta, "duties", json_integer(mask_of(delta) | (mask_of(after) & ~mask_of(before))));
	json_array_foreach(json_object_get(after, "tags"), i, v)
		if (json_is_string(v) && !list_has(json_object_get(before, "tags"), json_string_value(v)))
			json_object_set_new(child(delta, "tags"), json_string_value(v), json_true());
	json_object_foreach((json_t *)vars, key, *(json_t **)&v)
		if (!json_equal(v, json_object_get(old, key)))
			json_object_set(child(delta, "vars"), key, (json_t *)v);
	json_object_foreach((json_t *)old, key, *(json_t **)&v)
		if (json_object_get(vars, key) == NULL)
			json_object_set_new(child(delta, "vars"), key, json_null());
}

void
delta_add(json_t *delta, const json_t *before, const json_t *after)
{
	const json_t *edits = json_object_get(after, "edits"), *was = json_object_get(before, "rcpts"), *v;
	size_t i;

	if (before == NULL || after == NULL)
		return;
	add_common(delta, before, after);
	if (edits != NULL && !json_equal(edits, json_object_get(before, "edits")))
		json_object_set(delta, "edits", (json_t *)edits);
	if (json_integer_value(json_object_get(after, "tls_no")) == TLS_NO_IGNORED &&
	    json_integer_value(json_object_get(before, "tls_no")) == TLS_NO_HONOURED)
		json_object_set_new(delta, "ignored", json_true());
	/* By place: who they are is not changed here, only shown. */
	json_array_foreach(json_object_get(after, "rcpts"), i, v) {
		const char *address = json_string_value(json_object_get(v, "address"));

		if (address != NULL && json_array_get(was, i) != NULL)
			add_common(child(child(delta, "rcpts"), address), json_array_get(was, i), v);
	}
}

duty_mask
delta_duties(const json_t *delta, const char *rcpt)
{
	return rcpt == NULL ? mask_of(delta) : mask_of(json_object_get(json_object_get(delta, "rcpts"), rcpt));
}

static void
drop_tags(char **tags, size_t *n, const json_t *gone)
{
	size_t kept = 0;

	for (size_t i = 0; i < *n; i++) {
		if (json_object_get(gone, tags[i]) != NULL)
			free(tags[i]);
		else
			tags[kept++] = tags[i];
	}
	*n = kept;
}

static void
apply_vars(struct msg *m, struct msg_rcpt *r, const json_t *vars, bool take_away)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)vars, key, v) {
		char *text = take_away || json_is_null(v) ? NULL : json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);

		if (r != NULL)
			msg_rcpt_set_var(r, key, text);
		else
			msg_set_var(m, key, text);
		free(text);
	}
}

static void
apply_common(struct msg *m, struct msg_rcpt *r, const json_t *orig, const json_t *own)
{
	uint32_t *duties = r != NULL ? &r->duties : &m->duties;
	const char *key;
	json_t *v;

	*duties = (*duties & ~mask_of(orig)) | mask_of(own);
	if (r != NULL)
		drop_tags(r->tags, &r->ntags, json_object_get(orig, "tags"));
	else
		drop_tags(m->tags, &m->ntags, json_object_get(orig, "tags"));
	json_object_foreach(json_object_get(own, "tags"), key, v) {
		if (r != NULL)
			msg_rcpt_add_tag(r, key);
		else
			msg_add_tag(m, key);
	}
	apply_vars(m, r, json_object_get(orig, "vars"), true);
	apply_vars(m, r, json_object_get(own, "vars"), false);
}

static void
apply_edits(struct msg *m, const json_t *edits)
{
	char *text = edits == NULL ? NULL : json_dumps(edits, JSON_COMPACT);

	for (size_t i = 0; i < m->nedits; i++) {
		free(m->edits[i].name);
		free(m->edits[i].value);
	}
	m->nedits = 0;
	msg_edits_load(m, text);
	free(text);
}

/* Takes away what the recorded policy did and puts on what this one did. */
void
delta_apply(struct msg *m, const json_t *orig, const json_t *own)
{
	if (orig == NULL || own == NULL)
		return;
	apply_common(m, NULL, orig, own);
	for (size_t i = 0; i < m->nrcpts; i++)
		apply_common(m, &m->rcpts[i], json_object_get(json_object_get(orig, "rcpts"), m->rcpts[i].address),
		    json_object_get(json_object_get(own, "rcpts"), m->rcpts[i].address));
	if (json_object_get(orig, "edits") != NULL || json_object_get(own, "edits") != NULL)
		apply_edits(m, json_object_get(own, "edits"));
	if (m->tls_no == TLS_NO_IGNORED && json_object_get(orig, "ignored") != NULL)
		m->tls_no = TLS_NO_HONOURED;
	if (m->tls_no == TLS_NO_HONOURED && json_object_get(own, "ignored") != NULL)
		m->tls_no = TLS_NO_IGNORED;
}
