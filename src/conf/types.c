/* The types of settings that are a number, a choice or a text: read, show, free. */
#include "config.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf_int.h"

/* Numbers are stored in whatever integer type the struct has. */
static void
store_number(const struct setting *s, void *base, uint64_t v)
{
	void *p = setting_at(s, base);

	switch (s->size) {
	case 1: *(bool *)p = v != 0; break;
	case 2: *(uint16_t *)p = (uint16_t)v; break;
	case 4: *(uint32_t *)p = (uint32_t)v; break;
	case 8: *(uint64_t *)p = v; break;
	default: MUST(!"size of a number");
	}
}

static uint64_t
load_number(const struct setting *s, const void *base)
{
	const void *p = setting_at(s, base);

	switch (s->size) {
	case 1: return *(const bool *)p;
	case 2: return *(const uint16_t *)p;
	case 4: return *(const uint32_t *)p;
	default: return *(const uint64_t *)p;
	}
}

static void
format_value(const struct setting *s, char *dst, size_t size, int64_t v)
{
	if (s->type == T_DURATION || s->type == T_DURATIONS)
		duration_format(dst, size, v);
	else if (s->type == T_SIZE)
		size_format(dst, size, (uint64_t)v);
	else
		snprintf(dst, size, "%lld%s", (long long)v, s->type == T_PERCENT ? "%" : "");
}

static bool
in_range(struct reader *r, const struct setting *s, int64_t v)
{
	int64_t max = s->max != 0 ? s->max : s->size == 4 ? UINT32_MAX : INT64_MAX;
	char got[32], lo[32], hi[32];

	if (v >= s->min && v <= max)
		return true;
	format_value(s, got, sizeof got, v);
	format_value(s, lo, sizeof lo, s->min);
	format_value(s, hi, sizeof hi, max);
	if (s->max == 0)
		reader_error(r, "%s is out of range, %s or more is allowed", got, lo);
	else
		reader_error(r, "%s is out of range, %s to %s is allowed", got, lo, hi);
	return false;
}

static bool
bool_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	if (!json_is_boolean(v)) {
		reader_expects(r, "true or false", v);
		return false;
	}
	store_number(s, base, json_is_true(v));
	return true;
}

static json_t *
bool_get(const struct setting *s, const void *base)
{
	return json_boolean(load_number(s, base) != 0);
}

static bool
number_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	if (!json_is_integer(v)) {
		reader_expects(r, "a whole number", v);
		return false;
	}
	if (!in_range(r, s, json_integer_value(v)))
		return false;
	store_number(s, base, (uint64_t)json_integer_value(v));
	return true;
}

static json_t *
number_get(const struct setting *s, const void *base)
{
	return json_integer((json_int_t)load_number(s, base));
}

static bool
version_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	if (json_integer_value(v) == 1)
		return true;
	reader_expects(r, "1, the only version of this format,", v);
	return false;
}

static json_t *
version_get(const struct setting *s, const void *base)
{
	return json_integer(1);
}

static bool
percent_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	const char *text = json_string_value(v);
	size_t n = text == NULL ? 0 : strlen(text);
	uint64_t percent;

	if (json_is_integer(v)) {
		percent = json_integer_value(v) < 0 ? UINT32_MAX : (uint64_t)json_integer_value(v);
	} else if (n < 2 || n > 4 || text[n - 1] != '%' ||
	    !slice_u64((struct slice){ text, n - 1 }, &percent)) {
		reader_expects(r, "a share such as \"10%\"", v);
		return false;
	}
	if (percent > INT64_MAX || !in_range(r, s, (int64_t)percent))
		return false;
	store_number(s, base, percent);
	return true;
}

static json_t *
percent_get(const struct setting *s, const void *base)
{
	return json_sprintf("%u%%", (unsigned)load_number(s, base));
}

static bool
size_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	uint64_t n;

	if (json_is_integer(v) && json_integer_value(v) >= 0) {
		n = (uint64_t)json_integer_value(v);
	} else if (!json_is_string(v) || !size_parse(json_string_value(v), &n)) {
		reader_expects(r, "a size such as \"50M\"", v);
		return false;
	}
	if (!in_range(r, s, (int64_t)n))
		return false;
	store_number(s, base, n);
	return true;
}

static json_t *
size_get(const struct setting *s, const void *base)
{
	char text[32];

	size_format(text, sizeof text, load_number(s, base));
	return json_string(text);
}

static bool
read_duration(struct reader *r, const struct setting *s, const json_t *v, int64_t *ms_out)
{
	struct slice text = { json_string_value(v), json_string_length(v) };

	if (!json_is_string(v) || !duration_parse(text, ms_out)) {
		reader_expects(r, "a duration such as \"5d\"", v);
		return false;
	}
	return in_range(r, s, *ms_out);
}

static json_t *
show_duration(int64_t ms)
{
	char text[32];

	duration_format(text, sizeof text, ms);
	return json_string(text);
}

static bool
duration_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	int64_t ms;

	if (!read_duration(r, s, v, &ms))
		return false;
	store_number(s, base, (uint64_t)ms);
	return true;
}

static json_t *
duration_get(const struct setting *s, const void *base)
{
	return show_duration((int64_t)load_number(s, base));
}

static bool
durations_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	size_t n = json_is_array(v) ? json_array_size(v) : 1, mark;
	int64_t *list;
	bool ok = true;

	if (n > 100) {
		reader_error(r, "at most 100 gaps are allowed");
		return false;
	}
	list = xcalloc(n, sizeof *list);
	for (size_t i = 0; i < n; i++) {
		mark = json_is_array(v) ? path_push_index(r, i) : strlen(r->path);
		ok = read_duration(r, s, json_is_array(v) ? json_array_get(v, i) : v, &list[i]) && ok;
		path_pop(r, mark);
	}
	if (!ok) {
		free(list);
		return false;
	}
	*(int64_t **)setting_at(s, base) = list;
	*(size_t *)((char *)base + s->n_at) = n;
	return true;
}

static json_t *
durations_get(const struct setting *s, const void *base)
{
	const int64_t *list = *(int64_t *const *)setting_at(s, base);
	json_t *out = json_array();

	for (size_t i = 0; i < *(const size_t *)((const char *)base + s->n_at); i++)
		json_array_append_new(out, show_duration(list[i]));
	return out;
}

static void
pointer_fini(const struct setting *s, void *base)
{
	free(*(void **)setting_at(s, base));
}

/* The place of a text among the choices; -1, with the problem told. */
static int
read_choice(struct reader *r, const struct setting *s, const json_t *v)
{
	char expects[256] = "";
	size_t n = 0;

	for (int i = 0; s->choices[i] != NULL; i++) {
		if (json_is_string(v) && strcmp(json_string_value(v), s->choices[i]) == 0)
			return i;
		n += (size_t)snprintf(expects + n, sizeof expects - n, "%s\"%s\"",
		    i == 0 ? "" : s->choices[i + 1] == NULL ? " or " : ", ", s->choices[i]);
	}
	reader_expects(r, expects, v);
	return -1;
}

static bool
choice_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	int i = read_choice(r, s, v);

	if (i < 0)
		return false;
	store_number(s, base, (uint64_t)i);
	return true;
}

static json_t *
choice_get(const struct setting *s, const void *base)
{
	return json_string(s->choices[load_number(s, base)]);
}

/* Processors that this process may run on, not those that the machine has. */
static unsigned
usable_cores(void)
{
	cpu_set_t set;
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	if (sched_getaffinity(0, sizeof set, &set) == 0)
		n = CPU_COUNT(&set);
	return n < 1 ? 1 : n > 64 ? 64 : (unsigned)n;
}

static bool
workers_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	if (json_is_string(v) && strcmp(json_string_value(v), "cores") == 0) {
		store_number(s, base, usable_cores());
		return true;
	}
	if (!json_is_integer(v)) {
		reader_expects(r, "\"cores\" or a number", v);
		return false;
	}
	return number_set(r, s, base, v);
}

static bool
text_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	char **list, *text;
	size_t n;

	if (s->choices != NULL && read_choice(r, s, v) < 0)
		return false;
	if (!json_is_string(v)) {
		reader_expects(r, s->kind->expects, v);
		return false;
	}
	if (!read_texts(r, s->kind, v, &list, &n))
		return false;
	text = list[0];
	free(list);
	if (s->flags & S_IGNORED)
		free(text);
	else
		*(char **)setting_at(s, base) = text;
	return true;
}

static json_t *
text_get(const struct setting *s, const void *base)
{
	const char *text = *(char *const *)setting_at(s, base);

	if (text == NULL && s->kind == &kind_anchor)
		return json_string("none");	/* NULL in the struct; absent would mean the default */
	return text == NULL ? NULL : json_string(text);
}

static bool
texts_set(struct reader *r, const struct setting *s, void *base, const json_t *v)
{
	char **list;
	size_t n;

	if (!read_texts(r, s->kind, v, &list, &n))
		return false;
	*(char ***)setting_at(s, base) = list;
	if (s->n_at != 0)
		*(size_t *)((char *)base + s->n_at) = n;
	return true;
}

static size_t
texts_count(const struct setting *s, const void *base)
{
	char *const *list = *(char **const *)setting_at(s, base);
	size_t n = 0;

	if (s->n_at != 0)
		return *(const size_t *)((const char *)base + s->n_at);
	while (list != NULL && list[n] != NULL)
		n++;
	return n;
}

static json_t *
texts_get(const struct setting *s, const void *base)
{
	char *const *list = *(char **const *)setting_at(s, base);

	return list == NULL ? NULL : texts_to_json(list, texts_count(s, base));
}

static void
texts_fini(const struct setting *s, void *base)
{
	texts_free(*(char ***)setting_at(s, base), texts_count(s, base));
}

const struct type_ops conf_types[T_TYPES] = {
	[T_SECTION] = { "section", NULL, NULL, NULL },
	[T_MAP] = { "named tables", NULL, NULL, NULL },
	[T_LIST] = { "list of tables", NULL, NULL, NULL },
	[T_REFUSED] = { "refused", NULL, NULL, NULL },
	[T_BOOL] = { "boolean", bool_set, bool_get, NULL },
	[T_NUMBER] = { "number", number_set, number_get, NULL },
	[T_PERCENT] = { "percentage", percent_set, percent_get, NULL },
	[T_SIZE] = { "size", size_set, size_get, NULL },
	[T_DURATION] = { "duration", duration_set, duration_get, NULL },
	[T_DURATIONS] = { "list of durations", durations_set, durations_get, pointer_fini },
	[T_CHOICE] = { "choice", choice_set, choice_get, NULL },
	[T_VERSION] = { "number", version_set, version_get, NULL },
	[T_WORKERS] = { "number or \"cores\"", workers_set, number_get, NULL },
	[T_TEXT] = { "text", text_set, text_get, pointer_fini },
	[T_TEXTS] = { "list", texts_set, texts_get, texts_fini },
	[T_HTTP] = { "address", http_set, http_get, http_fini },
	[T_SECRET] = { "path or secret", secret_set, secret_get, secret_fini },
	[T_PASSWORD] = { "secret", password_set, secret_get, secret_fini },
	[T_NETS] = { "list of networks", nets_set, nets_get, nets_fini },
	[T_NETWORKS] = { "named lists of networks", networks_set, networks_get, networks_fini },
	[T_STUBS] = { "zones with their servers", stubs_set, stubs_get, stubs_fini },
	[T_OPTIONS] = { "tables of options, each with a name", options_set, options_get, options_fini },
	[T_LEVELS] = { "names with a choice each", levels_set, levels_get, levels_fini },
	[T_VIA] = { "\"mx\" or list of hosts", via_set, via_get, via_fini },
	[T_RELAXES] = { "choice", relaxes_set, relaxes_get, NULL },
	[T_DATE] = { "date", date_set, date_get, NULL },
	[T_COLUMNS] = { "columns with a type each", columns_set, columns_get, columns_fini },
};
