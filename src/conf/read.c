/* From a JSON tree to the structs, by the schema table: unknown settings, missing ones, defaults,
 * and where in the tree a problem is. What a value must look like is the types' business. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf_int.h"

void
problems_init(struct problems *p)
{
	memset(p, 0, sizeof *p);
	buf_init(&p->errors, 128 * 1024);
	buf_init(&p->warnings, 128 * 1024);
}

void
problems_fini(struct problems *p)
{
	buf_fini(&p->errors);
	buf_fini(&p->warnings);
}

static void
add_line(struct buf *b, const char *fmt, va_list ap)
{
	char line[1024];

	vsnprintf(line, sizeof line, fmt, ap);
	buf_printf(b, "%s\n", line);
}

void
problem_error(struct problems *p, const char *fmt, ...)
{
	va_list ap;

	if (++p->nerrors > PROBLEMS_MAX) {
		if (p->nerrors == PROBLEMS_MAX + 1)
			buf_printf(&p->errors, "more than %d problems; the rest is not shown\n", PROBLEMS_MAX);
		return;
	}
	va_start(ap, fmt);
	add_line(&p->errors, fmt, ap);
	va_end(ap);
}

void
problem_warn(struct problems *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_line(&p->warnings, fmt, ap);
	va_end(ap);
}

/* ---- Where we are ---- */
static bool
is_plain_key(const char *key)
{
	size_t n = strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

	return n > 0 && key[n] == '\0';
}

void
path_join(char *dst, size_t size, const char *key)
{
	size_t n = strlen(dst);
	char shown[128];

	if (is_plain_key(key)) {
		snprintf(dst + n, size - n, "%s%s", n == 0 ? "" : ".", key);
		return;
	}
	text_escape(shown, sizeof shown, key, strlen(key), true);
	snprintf(dst + n, size - n, "[\"%s\"]", shown);
}

size_t
path_push(struct reader *r, const char *key)
{
	size_t mark = strlen(r->path);

	path_join(r->path, sizeof r->path, key);
	return mark;
}

size_t
path_push_index(struct reader *r, size_t i)
{
	size_t mark = strlen(r->path);

	snprintf(r->path + mark, sizeof r->path - mark, "[%zu]", i + 1);	/* as Lua counts */
	return mark;
}

void
path_pop(struct reader *r, size_t mark)
{
	r->path[mark] = '\0';
}

void
reader_error(struct reader *r, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	problem_error(r->p, "%s: %s", r->path[0] == '\0' ? "gateway.lua" : r->path, text);
}

void
reader_expects(struct reader *r, const char *expects, const json_t *got)
{
	char shown[80], what[128];

	switch (json_typeof(got)) {
	case JSON_STRING:
		text_escape(shown, sizeof shown, json_string_value(got), json_string_length(got), true);
		snprintf(what, sizeof what, "text \"%s\"", shown);
		break;
	case JSON_INTEGER:
		snprintf(what, sizeof what, "number %" JSON_INTEGER_FORMAT, json_integer_value(got));
		break;
	case JSON_REAL:
		snprintf(what, sizeof what, "number %g", json_real_value(got));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		snprintf(what, sizeof what, "%s", json_is_true(got) ? "true" : "false");
		break;
	case JSON_ARRAY:
		snprintf(what, sizeof what, "%s", json_array_size(got) == 0 ? "{}" : "a list");
		break;
	case JSON_OBJECT:
		snprintf(what, sizeof what, "%s", json_object_size(got) == 1 &&
		    json_is_string(json_object_get(got, "secret")) ? "a secret" : "a table of settings");
		break;
	default:
		snprintf(what, sizeof what, "nothing");
	}
	reader_error(r, "%s is expected, got %s", expects, what);
}

/* Edits (insert, delete, change, swap neighbours) between two short words, in lower case. */
static unsigned
distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	unsigned d[33][33];

	if (n > 32 || m > 32)
		return 99;
	for (size_t i = 0; i <= n; i++)
		d[i][0] = (unsigned)i;
	for (size_t j = 0; j <= m; j++)
		d[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		for (size_t j = 1; j <= m; j++) {
			unsigned cost = (a[i - 1] | 32) != (b[j - 1] | 32), v = d[i - 1][j - 1] + cost;

			v = d[i - 1][j] + 1 < v ? d[i - 1][j] + 1 : v;
			v = d[i][j - 1] + 1 < v ? d[i][j - 1] + 1 : v;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < v)
				v = d[i - 2][j - 2] + 1;
			d[i][j] = v;
		}
	}
	return d[n][m];
}

const char *
nearest_name(const char *word, const char *const *names)
{
	unsigned best = strlen(word) < 4 ? 2 : 3;	/* fewer edits than this */
	const char *near = NULL;

	for (; *names != NULL; names++) {
		unsigned d = distance(word, *names);

		if (d < best) {
			best = d;
			near = *names;
		}
	}
	return near;
}

/* ---- Walking ---- */
static int
by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The keys of an object, sorted: Lua's own order changes from run to run. Heap, NULL-terminated,
 * the texts borrowed. */
static const char **
sorted_keys(const json_t *obj)
{
	size_t n = json_object_size(obj), i = 0;
	const char **keys = xcalloc(n + 1, sizeof *keys);

	for (void *it = json_object_iter((json_t *)obj); it != NULL;
	    it = json_object_iter_next((json_t *)obj, it))
		keys[i++] = json_object_iter_key(it);
	qsort(keys, n, sizeof *keys, by_text);
	return keys;
}

static void
tell_unknown(struct reader *r, const char *prefix, const json_t *given)
{
	const char **keys = sorted_keys(given), *known[64], *near;
	size_t n = 0, mark;

	for (size_t i = 0; i < conf_schema_n; i++) {
		const char *key = setting_below(&conf_schema[i], prefix);

		if (key != NULL && n + 1 < NELEMS(known))
			known[n++] = key;
	}
	known[n] = NULL;
	for (size_t i = 0; keys[i] != NULL; i++) {
		size_t j = 0;

		while (j < n && strcmp(known[j], keys[i]) != 0)
			j++;
		if (j < n)
			continue;
		mark = path_push(r, keys[i]);
		near = nearest_name(keys[i], known);
		if (near != NULL)
			reader_error(r, "unknown setting; did you mean \"%s\"?", near);
		else
			reader_error(r, "unknown setting");
		path_pop(r, mark);
	}
	free(keys);
}

static bool
is_table(const json_t *v)	/* {} may be either kind */
{
	return json_is_object(v) || (json_is_array(v) && json_array_size(v) == 0);
}

/* One item of a map or list. `place` is where its struct is or, with S_POINTERS, its pointer. */
static void
read_item(struct reader *r, const struct setting *s, void *place, const char *name, const json_t *v)
{
	char prefix[128];
	void *item = place;

	if (s->flags & S_POINTERS) {
		item = xcalloc(1, s->item);
		*(void **)place = item;
	}
	if (name != NULL)
		*(char **)item = xstrdup(name);		/* every named item begins with its name */
	if (!is_table(v)) {
		reader_expects(r, "a table of settings", v);
		return;
	}
	snprintf(prefix, sizeof prefix, "%s.*", s->path);
	read_section(r, prefix, item, v);
	if (s->after != NULL)
		s->after(r, item, v);
}

static void
read_map(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	size_t n = json_object_size(v), step = s->flags & S_POINTERS ? sizeof(void *) : s->item, mark;
	const char **keys;
	char *items;

	if (!is_table(v)) {
		reader_expects(r, "a table of named tables", v);
		return;
	}
	if (n == 0)
		return;
	keys = sorted_keys(v);
	items = xcalloc(n, step);
	*(void **)setting_at(s, base) = items;
	*(size_t *)((char *)base + s->n_at) = n;
	for (size_t i = 0; i < n; i++) {
		const char *name = keys[i];
		char ascii[256];

		mark = path_push(r, name);
		if (s->flags & S_DOMAINS && host_to_ascii(ascii, name))
			name = ascii;
		else if (s->flags & S_DOMAINS)
			reader_error(r, "the name is a domain, such as [\"acme.example\"]");
		else if (!name_is_ok(name))
			reader_error(r, "a name has up to 64 letters, digits, \"_\", \"-\" and \".\"");
		read_item(r, s, items + i * step, name, json_object_get(v, keys[i]));
		path_pop(r, mark);
	}
	free(keys);
}

static void
read_list(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	size_t n = json_array_size(v), mark;
	char *items;

	if (!json_is_array(v)) {
		reader_expects(r, "a list of tables", v);
		return;
	}
	if (n == 0)
		return;
	items = xcalloc(n, s->item);
	*(void **)setting_at(s, base) = items;
	*(size_t *)((char *)base + s->n_at) = n;
	for (size_t i = 0; i < n; i++) {
		mark = path_push_index(r, i);
		read_item(r, s, items + i * s->item, NULL, json_array_get(v, i));
		path_pop(r, mark);
	}
}

static void
set_default(struct reader *r, const struct setting *s, void *base)
{
	json_t *v;

	if (s->dflt == NULL || s->dflt[0] == '(')
		return;
	v = json_loads(s->dflt, JSON_DECODE_ANY, NULL);
	MUST(v != NULL);
	MUST(conf_types[s->type].set(r, s, base, v));
	json_decref(v);
}

static void
read_setting(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	bool is_given = v != NULL && !json_is_null(v);

	switch (s->type) {
	case T_REFUSED:
		if (is_given)
			reader_error(r, "%s", s->text);
		return;
	case T_SECTION:
		if (is_given && !is_table(v))
			reader_expects(r, "a table of settings", v);
		read_section(r, s->path, base, json_is_object(v) ? v : NULL);
		if (s->after != NULL)
			s->after(r, base, json_is_object(v) ? v : NULL);
		return;
	case T_MAP:
		if (is_given)
			read_map(r, s, base, v);
		return;
	case T_LIST:
		if (is_given)
			read_list(r, s, base, v);
		return;
	default:
		break;
	}
	if (!is_given && s->flags & S_REQUIRED)
		reader_error(r, "is missing");
	else if (is_given && s->flags & S_SOME && is_table(v) && json_array_size(v) == 0 &&
	    json_object_size(v) == 0)
		reader_error(r, "at least one is expected");
	else if (is_given && conf_types[s->type].set(r, s, base, v))
		return;
	set_default(r, s, base);
}

void
read_section(struct reader *r, const char *prefix, void *base, const json_t *given)
{
	if (json_is_object(given))
		tell_unknown(r, prefix, given);
	for (size_t i = 0; i < conf_schema_n; i++) {
		const struct setting *s = &conf_schema[i];
		const char *key = setting_below(s, prefix);
		size_t mark;

		if (key == NULL)
			continue;
		mark = path_push(r, key);
		read_setting(r, s, base, json_object_get(given, key));
		path_pop(r, mark);
	}
}

/* ---- And back ---- */
static json_t *
dump_items(const struct setting *s, const void *base)
{
	size_t n = *(const size_t *)((const char *)base + s->n_at);
	const char *items = *(char *const *)setting_at(s, base);
	json_t *out = s->type == T_MAP ? json_object() : json_array();
	char prefix[128];

	snprintf(prefix, sizeof prefix, "%s.*", s->path);
	for (size_t i = 0; i < n; i++) {
		const void *item = s->flags & S_POINTERS ? ((const void *const *)items)[i]
							 : items + i * s->item;
		json_t *v = dump_section(prefix, item);

		if (s->type == T_MAP)
			json_object_set_new(out, *(char *const *)item, v);
		else
			json_array_append_new(out, v);
	}
	return out;
}

json_t *
dump_section(const char *prefix, const void *base)
{
	json_t *out = json_object();

	for (size_t i = 0; i < conf_schema_n; i++) {
		const struct setting *s = &conf_schema[i];
		const char *key = setting_below(s, prefix);
		json_t *v = NULL;

		if (key == NULL || s->type == T_REFUSED || (s->flags & S_IGNORED && s->type != T_VERSION))
			continue;
		if (s->type == T_SECTION)
			v = dump_section(s->path, base);
		else if (s->type == T_MAP || s->type == T_LIST)
			v = dump_items(s, base);
		else
			v = conf_types[s->type].get(s, base);
		json_object_set_new(out, key, v != NULL ? v : json_null());
	}
	return out;
}

void
free_section(const char *prefix, void *base)
{
	for (size_t i = 0; i < conf_schema_n; i++) {
		const struct setting *s = &conf_schema[i];

		if (setting_below(s, prefix) == NULL || s->type == T_REFUSED || s->flags & S_IGNORED)
			continue;
		if (s->type == T_SECTION) {
			free_section(s->path, base);
		} else if (s->type == T_MAP || s->type == T_LIST) {
			size_t n = *(size_t *)((char *)base + s->n_at);
			char *items = *(char **)setting_at(s, base), sub[128];

			snprintf(sub, sizeof sub, "%s.*", s->path);
			for (size_t k = 0; k < n; k++) {
				void *item = s->flags & S_POINTERS ? ((void **)items)[k] : items + k * s->item;

				free_section(sub, item);
				if (s->type == T_MAP)
					free(*(char **)item);
				if (s->flags & S_POINTERS)
					free(item);
			}
			free(items);
		} else if (conf_types[s->type].fini != NULL) {
			conf_types[s->type].fini(s, base);
		}
	}
}
