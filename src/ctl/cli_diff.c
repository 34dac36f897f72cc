/* config diff and policy diff: two configurations with their policies, each from a directory or from
 * the running daemon. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conf/conf.h"
#include "conf/settings.h"
#include "ctl/cli_int.h"
#include "policy/policy.h"

#define EXIT_RESTART 3

/* {"id", "files", "handlers", "settings"}; NULL with *rc. */
static json_t *
described_file(const char *where, int *rc)
{
	struct conf *conf = cli_load_conf(where);
	struct policy_bundle *b;
	struct err err = { "" };
	json_t *o = NULL;
	char *text = NULL;

	*rc = EXIT_NO;
	if (conf == NULL)
		return NULL;
	b = policy_bundle_read(conf, policy_library_dir(), &err);
	if (b != NULL)
		text = policy_describe(b, conf, &err);
	if (text != NULL) {
		o = json_loads(text, 0, NULL);
		json_object_set_new(o, "settings", conf_settings(conf));
	} else {
		fprintf(stderr, "%s\n", err.text);
	}
	free(text);
	policy_bundle_unref(b);
	conf_unref(conf);
	return o;
}

/* NULL: the active one. */
static json_t *
described_generation(struct cli *c, const char *gen, int *rc)
{
	json_object_del(c->args, "gen");
	if (gen != NULL)
		json_object_set_new(c->args, "gen", json_string(gen));
	return cli_ask(c, "policy.describe", rc);
}

static json_t *
described(struct cli *c, const char *word, int *rc)
{
	struct stat st;

	return stat(word, &st) == 0 ? described_file(word, rc) : described_generation(c, word, rc);
}

/* ---- Comparing ---- */

static bool
same_handler(const json_t *a, const json_t *b)
{
	static const char *const keys[] = { "kind", "hook", "level", "priority", "observe" };

	for (size_t i = 0; i < NELEMS(keys); i++)
		if (!json_equal(json_object_get(a, keys[i]), json_object_get(b, keys[i])))
			return false;
	return true;
}

/* [{"name", "from", "to"}] of what is not the same in both. */
static json_t *
differences(const json_t *a, const json_t *b, bool (*same)(const json_t *, const json_t *))
{
	json_t *out = json_array(), *x, *y;
	const char *name;

	json_object_foreach((json_t *)a, name, x) {
		y = json_object_get(b, name);
		if (y == NULL || !same(x, y))
			json_array_append_new(out, json_pack("{s:s, s:O, s:O?}", "name", name, "from", x, "to", y));
	}
	json_object_foreach((json_t *)b, name, y)
		if (json_object_get(a, name) == NULL)
			json_array_append_new(out, json_pack("{s:s, s:n, s:O}", "name", name, "from", "to", y));
	return out;
}

static bool
same_value(const json_t *a, const json_t *b)
{
	return json_equal(a, b);
}

static json_t *
compare(const json_t *a, const json_t *b)
{
	json_t *settings = conf_settings_diff(json_object_get(a, "settings"), json_object_get(b, "settings")), *each;
	bool restart = false;
	size_t i;

	json_array_foreach(settings, i, each)
		restart = restart || json_is_true(json_object_get(each, "restart"));
	return json_pack("{s:o, s:o, s:o, s:b}",
	    "files", differences(json_object_get(a, "files"), json_object_get(b, "files"), same_value),
	    "handlers", differences(json_object_get(a, "handlers"), json_object_get(b, "handlers"), same_handler),
	    "settings", settings, "restart", restart);
}

/* ---- Printing ---- */

static const char *
sign(const json_t *d)
{
	return json_is_null(json_object_get(d, "from")) ? "+" : json_is_null(json_object_get(d, "to")) ? "-" : "~";
}

static void
print_value(const json_t *v)
{
	char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);

	fputs(text, stdout);
	free(text);
}

static void
print_handler(const json_t *h)
{
	printf("%s at %s, %s%s, priority %lld", cli_str(h, "kind"), cli_str(h, "hook"), cli_str(h, "level"),
	    json_is_true(json_object_get(h, "observe")) ? ", observe" : "", cli_num(h, "priority"));
}

static void
print_change(const json_t *d, void (*print)(const json_t *))
{
	const json_t *from = json_object_get(d, "from"), *to = json_object_get(d, "to");

	if (!json_is_null(from))
		print(from);
	if (!json_is_null(from) && !json_is_null(to))
		fputs(" -> ", stdout);
	if (!json_is_null(to))
		print(to);
	putchar('\n');
}

static void
print_diff(const json_t *diff)
{
	const json_t *files = json_object_get(diff, "files"), *handlers = json_object_get(diff, "handlers"), *d;
	const json_t *settings = json_object_get(diff, "settings");
	size_t i;

	if (json_array_size(files) + json_array_size(handlers) + json_array_size(settings) == 0)
		puts("no difference");
	json_array_foreach((json_t *)files, i, d)
		printf("%s file %s\n", sign(d), cli_str(d, "name"));
	json_array_foreach((json_t *)handlers, i, d) {
		printf("%s handler %s: ", sign(d), cli_str(d, "name"));
		print_change(d, print_handler);
	}
	json_array_foreach((json_t *)settings, i, d) {
		printf("%s %s: ", json_is_true(json_object_get(d, "restart")) ? "!" : sign(d), cli_str(d, "setting"));
		print_change(d, print_value);
	}
	if (json_is_true(json_object_get(diff, "restart")))
		puts("Settings marked with ! do not change while the daemon runs; they need a restart.");
}

/* Takes both, either may be NULL. */
static int
show(struct cli *c, json_t *a, json_t *b, int rc)
{
	json_t *diff;

	if (a != NULL && b != NULL) {
		diff = compare(a, b);
		rc = json_is_true(json_object_get(diff, "restart")) ? EXIT_RESTART : EXIT_OK;
		if (c->json)
			cli_print_json(diff);
		else
			print_diff(diff);
		json_decref(diff);
	}
	json_decref(a);
	json_decref(b);
	return rc;
}

int
cli_policy_diff(struct cli *c)
{
	int rc;
	json_t *a = described(c, c->argv[2], &rc), *b = a == NULL ? NULL : described(c, c->argv[3], &rc);

	return show(c, a, b, rc);
}

/* Of two files, or of what runs and a file. */
int
cli_config_diff(struct cli *c)
{
	const char *first = c->argc > 3 ? c->argv[2] : NULL;
	const char *second = c->argc > 3 ? c->argv[3] : c->argc > 2 ? c->argv[2] : c->conf_file;
	int rc;
	json_t *a, *b;

	if (c->argc > 4)
		return cli_usage("config diff takes one file or two");
	a = first != NULL ? described_file(first, &rc) : described_generation(c, NULL, &rc);
	b = a == NULL ? NULL : described_file(second, &rc);
	return show(c, a, b, rc);
}
