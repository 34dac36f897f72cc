/* doc/gateway.lua.5 is doc/gateway.lua.5.in with the settings of this program put in. After a change of
 * the schema, GATEWAY_MAN_UPDATE=1 tests/unit/test_conf_man writes it anew. The examples in doc/
 * must load. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "conf/conf_int.h"

#define MARKER ".\\\" @SETTINGS@\n"

static char *
source_file(const char *name)
{
	const char *srcdir = getenv("srcdir");

	return xasprintf("%s/%s", srcdir == NULL ? "." : srcdir, name);
}

static char *
slurp(const char *name)
{
	char *path = source_file(name), chunk[4096];
	FILE *f = fopen(path, "r");
	struct buf b;
	size_t n;

	ck_assert_msg(f != NULL, "%s", path);
	buf_init(&b, 1 << 20);
	while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
		ck_assert(buf_add(&b, chunk, n));
	fclose(f);
	free(path);
	return buf_take(&b);
}

START_TEST(manual_page_is_current)
{
	char *frame = slurp("doc/gateway.lua.5.in"), *settings = conf_man_page(), *have, *want, *path;
	char *at = strstr(frame, MARKER);
	FILE *f;

	ck_assert_ptr_nonnull(at);
	want = xasprintf("%.*s%s%s", (int)(at - frame), frame, settings, at + strlen(MARKER));
	if (getenv("GATEWAY_MAN_UPDATE") != NULL) {
		path = source_file("doc/gateway.lua.5");
		f = fopen(path, "w");
		ck_assert_ptr_nonnull(f);
		fputs(want, f);
		fclose(f);
		free(path);
	}
	have = slurp("doc/gateway.lua.5");
	ck_assert_msg(strcmp(have, want) == 0,
	    "doc/gateway.lua.5 is old; run with GATEWAY_MAN_UPDATE=1 to write it anew");
	free(have);
	free(want);
	free(settings);
	free(frame);
}
END_TEST

START_TEST(example_file_loads)
{
	char *text = slurp("doc/examples/gateway.lua"), *errors = NULL;
	struct conf *c = conf_load_text(text, strlen(text), "gateway.lua", "/etc/sallyport", false, &errors);

	ck_assert_msg(c != NULL, "%s", errors);
	ck_assert_msg(c->warnings == NULL, "%s", c->warnings);
	conf_unref(c);
	free(text);
}
END_TEST

/* What stands between .EX and .EE in the page and begins with return or local is a whole file. */
START_TEST(page_example_loads)
{
	char *page = slurp("doc/gateway.lua.5.in"), *errors = NULL, *from = page, *to;
	struct conf *c;
	int count = 0;

	while ((from = strstr(from, ".EX\n")) != NULL) {
		from += 4;
		to = strstr(from, ".EE\n");
		ck_assert_ptr_nonnull(to);
		if (strncmp(from, "return", 6) == 0) {
			c = conf_load_text(from, (size_t)(to - from), "gateway.lua", "/", false, &errors);
			ck_assert_msg(c != NULL, "%s", errors);
			ck_assert_msg(c->warnings == NULL, "%s", c->warnings);
			conf_unref(c);
			count++;
		}
	}
	ck_assert_int_eq(count, 1);
	free(page);
}
END_TEST

UNIT_MAIN("conf_man",
	tcase_add_test(tc, manual_page_is_current);
	tcase_add_test(tc, example_file_loads);
	tcase_add_test(tc, page_example_loads);
)
