/* The message record: references, recipients, tags, values and edits. */
#include "config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "message/message_int.h"
#include "message/mime.h"

#define VARS_MAX (16u * 1024)
#define DUTY_NOTE_MAX 1024

/* ---- content ---- */

struct content *
content_ref(struct content *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void
content_unref(struct content *c)
{
	/* The last holder must see what the others wrote before they let go. */
	if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(c->mem);
	free(c->head);
	mime_free(c->parts);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

struct content *
content_from_memory(char *mem, size_t n, size_t header_size)
{
	struct content *c = xcalloc(1, sizeof *c);

	MUST(header_size <= n);
	atomic_init(&c->refs, 1);
	c->mem = mem;
	c->size = n;
	c->header_size = header_size;
	c->fd = -1;
	return c;
}

struct slice
content_body_peek(const struct content *c, size_t max)
{
	const char *at = c == NULL ? NULL : c->mem != NULL ? c->mem : c->head;
	size_t n;

	if (at == NULL || (c->mem == NULL && c->head_size < c->header_size))
		return (struct slice){ "", 0 };
	n = (size_t)((c->mem != NULL ? c->size : c->head_size) - c->header_size);
	return (struct slice){ at + c->header_size, n < max ? n : max };
}

struct slice
content_header_peek(const struct content *c)
{
	const char *at = c == NULL ? NULL : c->mem != NULL ? c->mem : c->head;

	return at == NULL ? (struct slice){ "", 0 } : (struct slice){ at, (size_t)c->header_size };
}

/* ---- small lists ---- */

/* Room for one more in an array that has no field for its capacity: it grows at powers of two. */
static void *
one_more(void *v, size_t n, size_t size)
{
	if (n == 0)	/* there may be room of some that were taken out */
		return xrealloc(v, size);
	if ((n & (n - 1)) == 0)
		return xrealloc(v, 2 * n * size);
	return v;
}

static void
tags_free(char **tags, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(tags[i]);
	free(tags);
}

static void
vars_free(struct msg_var *vars, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(vars[i].key);
		free(vars[i].json);
	}
	free(vars);
}

/* JSON strings are UTF-8; what is not gets escaped once, here, so that the database, the log and
 * a policy see the same text. */
static char *
text_dup(const char *s)
{
	size_t n = strlen(s);
	char *e;

	if (utf8_is_valid(s, n))
		return xstrdup(s);
	e = xmalloc(4 * n + 4);
	text_escape(e, 4 * n + 4, s, n, true);
	return e;
}

static bool
tags_have(char *const *tags, size_t n, const char *tag)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(tags[i], tag) == 0)
			return true;
	return false;
}

static void
tags_add(char ***tags, size_t *n, const char *tag)
{
	char *t = text_dup(tag);

	if (tags_have(*tags, *n, t)) {
		free(t);
		return;
	}
	*tags = one_more(*tags, *n, sizeof **tags);
	(*tags)[(*n)++] = t;
}

static bool
json_is_valid(const char *json)
{
	json_t *v = json_loads(json, JSON_DECODE_ANY, NULL);

	json_decref(v);
	return v != NULL;
}

static bool
vars_set(struct msg_var **vars, size_t *n, const char *key, const char *json)
{
	size_t total = 0, at = *n;

	for (size_t i = 0; i < *n; i++) {
		if (strcmp((*vars)[i].key, key) == 0)
			at = i;
		else
			total += strlen((*vars)[i].key) + strlen((*vars)[i].json);
	}
	if (json == NULL) {
		if (at == *n)
			return true;
		free((*vars)[at].key);
		free((*vars)[at].json);
		memmove(*vars + at, *vars + at + 1, (*n - at - 1) * sizeof **vars);
		--*n;
		return true;
	}
	if (total + strlen(key) + strlen(json) > VARS_MAX || !utf8_is_valid(key, strlen(key)) ||
	    !json_is_valid(json))
		return false;
	if (at == *n) {
		*vars = one_more(*vars, *n, sizeof **vars);
		(*vars)[(*n)++] = (struct msg_var){ xstrdup(key), xstrdup(json) };
	} else {
		free((*vars)[at].json);
		(*vars)[at].json = xstrdup(json);
	}
	return true;
}

static const char *
vars_get(const struct msg_var *vars, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(vars[i].key, key) == 0)
			return vars[i].json;
	return NULL;
}

/* ---- the message ---- */

struct msg *
msg_new(void)
{
	struct msg *m = xcalloc(1, sizeof *m);

	atomic_init(&m->refs, 1);
	return m;
}

struct msg *
msg_ref(struct msg *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

static void
rcpt_fini(struct msg_rcpt *r)
{
	free(r->address);
	free(r->domain);
	free(r->orcpt);
	free(r->route);
	free(r->next_hop);
	free(r->hold_reason);
	free(r->discard_reason);
	free(r->bounce_reason);
	vars_free(r->vars, r->nvars);
	tags_free(r->tags, r->ntags);
}

static void
edits_free(struct msg_edit *edits, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(edits[i].name);
		free(edits[i].value);
	}
	free(edits);
}

void
msg_note_duty(struct msg *m, const char *part)
{
	char *joined;

	if (m->duty_note != NULL && (strstr(m->duty_note, part) != NULL ||
	    strlen(m->duty_note) + strlen(part) + 1 > DUTY_NOTE_MAX))
		return;
	joined = m->duty_note == NULL ? xstrdup(part) : xasprintf("%s;%s", m->duty_note, part);
	free(m->duty_note);
	m->duty_note = joined;
}

void
msg_unref(struct msg *m)
{
	if (m == NULL || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
		return;
	msg_clear_rcpts(m);
	edits_free(m->edits, m->nedits);
	vars_free(m->vars, m->nvars);
	tags_free(m->tags, m->ntags);
	content_unref(m->content);
	free(m->from);
	free(m->from_domain);
	free(m->envid);
	free(m->auth_param);
	free(m->duty_note);
	free(m->generation);
	free(m->trace);
	free(m->peer_ip);
	free(m->peer_name);
	free(m->helo);
	free(m->listener);
	free(m->proto);
	free(m->tls_in);
	free(m->auth_id);
	free(m);
}

struct msg_rcpt *
msg_add_rcpt(struct msg *m)
{
	struct msg_rcpt *r;

	m->rcpts = one_more(m->rcpts, m->nrcpts, sizeof *m->rcpts);
	r = &m->rcpts[m->nrcpts];
	memset(r, 0, sizeof *r);
	/* Not the index: a recipient that was taken out must not leave its number to another. */
	r->num = m->nrcpts == 0 ? 0 : r[-1].num + 1;
	m->nrcpts++;
	return r;
}

void
msg_clear_rcpts(struct msg *m)
{
	for (size_t i = 0; i < m->nrcpts; i++)
		rcpt_fini(&m->rcpts[i]);
	free(m->rcpts);
	m->rcpts = NULL;
	m->nrcpts = 0;
}

void
msg_add_tag(struct msg *m, const char *tag)
{
	tags_add(&m->tags, &m->ntags, tag);
}

bool
msg_has_tag(const struct msg *m, const char *tag)
{
	return tags_have(m->tags, m->ntags, tag);
}

bool
msg_set_var(struct msg *m, const char *key, const char *json)
{
	return vars_set(&m->vars, &m->nvars, key, json);
}

const char *
msg_get_var(const struct msg *m, const char *key)
{
	return vars_get(m->vars, m->nvars, key);
}

void
msg_rcpt_add_tag(struct msg_rcpt *r, const char *tag)
{
	tags_add(&r->tags, &r->ntags, tag);
}

bool
msg_rcpt_has_tag(const struct msg_rcpt *r, const char *tag)
{
	return tags_have(r->tags, r->ntags, tag);
}

bool
msg_rcpt_set_var(struct msg_rcpt *r, const char *key, const char *json)
{
	return vars_set(&r->vars, &r->nvars, key, json);
}

const char *
msg_rcpt_get_var(const struct msg_rcpt *r, const char *key)
{
	return vars_get(r->vars, r->nvars, key);
}

/* A value that a policy wrote: whatever it holds, no line of its own comes out of it (M-32). */
static char *
edit_text(const char *s)
{
	char *t = s == NULL ? NULL : text_dup(s);

	for (char *p = t; p != NULL && *p != '\0'; p++)
		if (*p == '\r' || *p == '\n')
			*p = ' ';
	return t;
}

void
msg_add_edit(struct msg *m, enum edit_op op, const char *name, const char *value)
{
	struct msg_edit *e;

	m->edits = one_more(m->edits, m->nedits, sizeof *m->edits);
	e = &m->edits[m->nedits++];
	e->op = op;
	e->name = edit_text(name);
	e->value = op == EDIT_REMOVE ? NULL : edit_text(value == NULL ? "" : value);
}

/* ---- as JSON ---- */

static char *
dump(json_t *v)
{
	char *s = json_dumps(v, JSON_COMPACT), *own;

	json_decref(v);
	MUST(s != NULL);
	own = xstrdup(s);
	free(s);
	return own;
}

static char *
tags_json(char *const *tags, size_t n)
{
	json_t *a;

	if (n == 0)	/* nearly every message */
		return xstrdup("[]");
	a = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_string(tags[i]));
	return dump(a);
}

static char *
vars_json(const struct msg_var *vars, size_t n)
{
	json_t *o;

	if (n == 0)
		return xstrdup("{}");
	o = json_object();
	for (size_t i = 0; i < n; i++)
		json_object_set_new(o, vars[i].key, json_loads(vars[i].json, JSON_DECODE_ANY, NULL));
	return dump(o);
}

static bool
is_empty(const char *json)
{
	return json == NULL || json[0] == '\0' || strcmp(json, "[]") == 0 || strcmp(json, "{}") == 0;
}

static bool
tags_load(char ***tags, size_t *n, const char *json)
{
	json_t *a, *v;
	size_t i;
	bool ok;

	if (is_empty(json))
		return true;
	a = json_loads(json, 0, NULL);
	ok = json_is_array(a);
	json_array_foreach(a, i, v) {
		if (json_is_string(v))
			tags_add(tags, n, json_string_value(v));
		else
			ok = false;
	}
	json_decref(a);
	return ok;
}

static bool
vars_load(struct msg_var **vars, size_t *n, const char *json)
{
	json_t *o, *v;
	const char *key;
	bool ok;

	if (is_empty(json))
		return true;
	o = json_loads(json, 0, NULL);
	ok = json_is_object(o);
	json_object_foreach(o, key, v) {
		char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);

		ok = text != NULL && vars_set(vars, n, key, text) && ok;
		free(text);
	}
	json_decref(o);
	return ok;
}

char *
msg_tags_json(const struct msg *m)
{
	return tags_json(m->tags, m->ntags);
}

char *
msg_vars_json(const struct msg *m)
{
	return vars_json(m->vars, m->nvars);
}

char *
msg_rcpt_tags_json(const struct msg_rcpt *r)
{
	return tags_json(r->tags, r->ntags);
}

char *
msg_rcpt_vars_json(const struct msg_rcpt *r)
{
	return vars_json(r->vars, r->nvars);
}

bool
msg_tags_load(struct msg *m, const char *json)
{
	return tags_load(&m->tags, &m->ntags, json);
}

bool
msg_vars_load(struct msg *m, const char *json)
{
	return vars_load(&m->vars, &m->nvars, json);
}

bool
msg_rcpt_tags_load(struct msg_rcpt *r, const char *json)
{
	return tags_load(&r->tags, &r->ntags, json);
}

bool
msg_rcpt_vars_load(struct msg_rcpt *r, const char *json)
{
	return vars_load(&r->vars, &r->nvars, json);
}

static const char *const edit_names[] = {
	[EDIT_ADD_TOP] = "add-top", [EDIT_ADD_END] = "add-end",
	[EDIT_SET] = "set", [EDIT_REMOVE] = "remove", [EDIT_SIGN] = "sign",
};

char *
msg_edits_json(const struct msg *m)
{
	json_t *a;

	if (m->nedits == 0)
		return xstrdup("[]");
	a = json_array();
	for (size_t i = 0; i < m->nedits; i++) {
		const struct msg_edit *e = &m->edits[i];
		json_t *o = json_object();

		json_object_set_new(o, "op", json_string(edit_names[e->op]));
		json_object_set_new(o, "name", json_string(e->name));
		if (e->value != NULL)
			json_object_set_new(o, "value", json_string(e->value));
		json_array_append_new(a, o);
	}
	return dump(a);
}

static bool
edit_load(struct msg *m, const json_t *o)
{
	const char *op = json_string_value(json_object_get(o, "op"));
	const char *name = json_string_value(json_object_get(o, "name"));
	const char *value = json_string_value(json_object_get(o, "value"));

	for (size_t i = 0; op != NULL && name != NULL && i < NELEMS(edit_names); i++) {
		if (strcmp(op, edit_names[i]) != 0)
			continue;
		if (value == NULL && i != EDIT_REMOVE)
			return false;
		msg_add_edit(m, (enum edit_op)i, name, value);
		return true;
	}
	return false;
}

bool
msg_edits_load(struct msg *m, const char *json)
{
	json_t *a, *v;
	size_t i;
	bool ok;

	if (is_empty(json))
		return true;
	a = json_loads(json, 0, NULL);
	ok = json_is_array(a);
	json_array_foreach(a, i, v)
		ok = edit_load(m, v) && ok;
	json_decref(a);
	return ok;
}
