/* The configuration as a list of settings with their values, to be compared with another's. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf_int.h"

/* Taken at start only: a reload leaves them as they are, or is refused. With all that is below them. */
static const char *const at_start[] = {
	"service", "dns", "log.file", "log.format", "log.level", "log.json_file", "log.journal", "listeners.*.bind",
	"sts_serve.bind", "queue.path", "queue.min_free", "queue.max_bytes", "queue.max_messages", "queue.active",
	"evidence.keep", "tlsrpt.keep", "tlsrpt.max_domains", "trace.keep", "trace.max_rows", NULL
};

bool
setting_is_for_start(const char *path)
{
	for (size_t i = 0; at_start[i] != NULL; i++) {
		size_t n = strlen(at_start[i]);

		if (strncmp(path, at_start[i], n) == 0 && (path[n] == '\0' || path[n] == '.'))
			return true;
	}
	return false;
}

static const struct setting *
with_path(const char *path)
{
	for (size_t i = 0; i < conf_schema_n; i++)
		if (strcmp(conf_schema[i].path, path) == 0)
			return &conf_schema[i];
	return NULL;
}

struct lister {
	json_t *out;
	const char *dir;		/* what is below it is shown without it */
	char shown[1024], path[256];	/* "listeners.inbound.bind", "listeners.*.bind" */
};

static bool
is_below_dir(const char *text, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(text, dir, n) == 0 && text[n] == '/';
}

/* A copy in which paths do not depend on where the configuration lies. */
static json_t *
relative(const json_t *v, const char *dir)
{
	const char *text = json_string_value(v), *key;
	json_t *out, *each;
	size_t i;

	if (text != NULL && strncmp(text, "unix:", 5) == 0 && is_below_dir(text + 5, dir))
		return json_sprintf("unix:%s", text + 5 + strlen(dir) + 1);
	if (text != NULL && strncmp(text, "file:", 5) == 0 && is_below_dir(text + 5, dir))
		return json_sprintf("file:%s", text + 5 + strlen(dir) + 1);
	if (text != NULL)
		return is_below_dir(text, dir) ? json_string(text + strlen(dir) + 1) : json_string(text);
	if (json_is_array(v)) {
		out = json_array();
		json_array_foreach((json_t *)v, i, each)
			json_array_append_new(out, relative(each, dir));
		return out;
	}
	if (json_is_object(v)) {
		out = json_object();
		json_object_foreach((json_t *)v, key, each)
			json_object_set_new(out, key, relative(each, dir));
		return out;
	}
	return json_deep_copy(v);
}

static void list(struct lister *l, const json_t *v);

/* One level down; both paths are as before when it is back. */
static void
step(struct lister *l, const char *shown, const char *path, const json_t *v)
{
	size_t shown_n = strlen(l->shown), path_n = strlen(l->path);

	if (shown[0] == '[')
		snprintf(l->shown + shown_n, sizeof l->shown - shown_n, "%s", shown);
	else
		path_join(l->shown, sizeof l->shown, shown);
	snprintf(l->path + path_n, sizeof l->path - path_n, "%s%s", path_n == 0 ? "" : ".", path);
	list(l, v);
	l->shown[shown_n] = '\0';
	l->path[path_n] = '\0';
}

static bool
is_value(const char *path, const struct setting *s)
{
	size_t n = strlen(path);

	if (n == 0 || path[n - 1] == '*')	/* all of it, or an item of a map or list */
		return false;
	return s == NULL || (s->type != T_SECTION && s->type != T_MAP && s->type != T_LIST);
}

static void
list(struct lister *l, const json_t *v)
{
	const struct setting *s = with_path(l->path);
	bool is_map = s != NULL && s->type == T_MAP;
	const char *key;
	char index[32];
	json_t *each;
	size_t i;

	if (is_value(l->path, s)) {
		json_object_set_new(l->out, l->shown, json_pack("{s:o, s:b}", "value", relative(v, l->dir), "restart",
		    setting_is_for_start(l->path)));
		return;
	}
	if (json_is_array(v)) {
		json_array_foreach((json_t *)v, i, each) {
			snprintf(index, sizeof index, "[%zu]", i + 1);
			step(l, index, "*", each);
		}
	} else {
		json_object_foreach((json_t *)v, key, each)
			step(l, key, is_map ? "*" : key, each);
	}
}

json_t *
conf_settings(const struct conf *c)
{
	struct lister l = { .out = json_object(), .dir = c->dir };
	json_t *root = dump_section("", c);

	list(&l, root);
	json_decref(root);
	return l.out;
}

json_t *
conf_settings_diff(const json_t *a, const json_t *b)
{
	json_t *out = json_array(), *x, *y;
	const char *path;

	json_object_foreach((json_t *)a, path, x) {
		y = json_object_get(b, path);
		if (y != NULL && json_equal(json_object_get(x, "value"), json_object_get(y, "value")))
			continue;
		json_array_append_new(out, json_pack("{s:s, s:O, s:O?, s:O}", "setting", path, "from",
		    json_object_get(x, "value"), "to", json_object_get(y, "value"), "restart", json_object_get(x, "restart")));
	}
	json_object_foreach((json_t *)b, path, y)
		if (json_object_get(a, path) == NULL)
			json_array_append_new(out, json_pack("{s:s, s:n, s:O, s:O}", "setting", path, "from", "to",
			    json_object_get(y, "value"), "restart", json_object_get(y, "restart")));
	return out;
}

char *
conf_needs_restart(const struct conf *running, const struct conf *wanted)
{
	json_t *a = conf_settings(running), *b = conf_settings(wanted), *diff = conf_settings_diff(a, b), *each;
	struct buf text;
	size_t i;

	buf_init(&text, 4096);
	json_array_foreach(diff, i, each)
		if (json_is_true(json_object_get(each, "restart")))
			buf_printf(&text, "%s%s", text.len > 0 ? ", " : "",
			    json_string_value(json_object_get(each, "setting")));
	json_decref(a);
	json_decref(b);
	json_decref(diff);
	if (text.len > 0)
		return buf_take(&text);
	buf_fini(&text);
	return NULL;
}
