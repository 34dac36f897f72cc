/* The SETTINGS section of gateway.lua(5), from the schema. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf_int.h"

/* Text as roff source: a backslash would be a command, a leading dot or quote a request, and a
 * bare hyphen may become another character that cannot be copied into a file. */
static void
add_roff(struct buf *b, const char *text)
{
	if (*text == '.' || *text == '\'')
		buf_adds(b, "\\&");
	for (; *text != '\0'; text++) {
		if (*text == '\\')
			buf_adds(b, "\\e");
		else if (*text == '-')
			buf_adds(b, "\\-");
		else
			buf_addc(b, *text);
	}
}

/* "listeners.*.bind" as listeners.NAME.bind; entries of a list have no name. */
static void
add_path(struct buf *b, const char *path)
{
	const char *star = strstr(path, ".*");

	if (star == NULL) {
		add_roff(b, path);
		return;
	}
	buf_add(b, path, (size_t)(star - path));
	buf_adds(b, strncmp(path, "domains.", 8) == 0 ? "[\\fIN\\fB]" : ".\\fINAME\\fB");
	add_roff(b, star + 2);
}

/* A default, which the table holds as JSON, as it would stand in gateway.lua. */
static void
add_default(struct buf *b, const char *dflt)
{
	char *text = xstrdup(dflt);
	char *p = text;

	if (text[0] == '(') {
		text[strlen(text) - 1] = '\0';
		p++;
	} else if (text[0] == '[') {
		text[0] = '{';
		text[strlen(text) - 1] = '}';
	}
	add_roff(b, p);
	free(text);
}

static void
add_limit(struct buf *b, const struct setting *s, int64_t v)
{
	char text[32];

	if (s->type == T_SIZE)
		size_format(text, sizeof text, (uint64_t)v);
	else if (s->type == T_DURATION || s->type == T_DURATIONS)
		duration_format(text, sizeof text, v);
	else
		snprintf(text, sizeof text, "%lld", (long long)v);
	buf_adds(b, text);
}

/* "(size; 64K to 2G; default "50M")" */
static void
add_facts(struct buf *b, const struct setting *s)
{
	buf_printf(b, "(%s", setting_type_name(s));
	if (s->type == T_TEXTS)
		buf_printf(b, " of %s, or one", s->kind->name);
	for (size_t i = 0; s->choices != NULL && s->choices[i] != NULL; i++) {
		buf_adds(b, i == 0 ? ": \"" : ", \"");
		add_roff(b, s->choices[i]);
		buf_addc(b, '"');
	}
	if (s->max != 0) {
		buf_adds(b, "; ");
		add_limit(b, s, s->min);
		buf_adds(b, " to ");
		add_limit(b, s, s->max);
	}
	if (s->flags & S_REQUIRED)
		buf_adds(b, "; required");
	if (s->dflt != NULL) {
		buf_adds(b, "; default ");
		add_default(b, s->dflt);
	}
	if (setting_is_for_start(s->path))
		buf_adds(b, "; taken at start only");
	buf_adds(b, ")\n");
}

static bool
is_top(const struct setting *s)
{
	return strchr(s->path, '.') == NULL;
}

char *
conf_man_page(void)
{
	struct buf b;

	buf_init(&b, 1 << 20);
	buf_adds(&b, ".SH SETTINGS\n");
	for (size_t i = 0; i < conf_schema_n; i++) {
		const struct setting *s = &conf_schema[i];

		if (s->type == T_REFUSED)
			continue;
		if (is_top(s)) {
			buf_printf(&b, ".SS %s\n", s->path);
			if (s->type != T_SECTION && s->type != T_MAP && s->type != T_LIST)
				add_facts(&b, s);
			add_roff(&b, s->text);
			buf_addc(&b, '\n');
			continue;
		}
		buf_adds(&b, ".TP\n\\fB");
		add_path(&b, s->path);
		buf_adds(&b, "\\fR ");
		if (s->type == T_SECTION || s->type == T_MAP || s->type == T_LIST)
			buf_addc(&b, '\n');
		else
			add_facts(&b, s);
		add_roff(&b, s->text);
		buf_addc(&b, '\n');
	}
	return buf_take(&b);
}
