/* Runs tests/..._test.lua of a bundle. Each `it` has the file to itself: the whole of it runs again for every
 * one, and only that one is carried out, so that nothing of one test is left for the next. */
#include "config.h"

#include <dirent.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "rehearsal/lua_int.h"

#define FILE_MAX (1u << 20)
#define TESTS_MAX 10000

struct runner *runner;

/* ---- Files ---- */

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int
is_test(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return n > 9 && strcmp(d->d_name + n - 9, "_test.lua") == 0;
}

static char *
read_test(const char *path, size_t *n_out)
{
	FILE *f = fopen(path, "re");
	struct buf b;
	char some[8192];
	size_t n;

	if (f == NULL)
		return NULL;
	buf_init(&b, FILE_MAX);
	while ((n = fread(some, 1, sizeof some, f)) > 0 && buf_add(&b, some, n))
		;
	fclose(f);
	*n_out = b.len;
	return buf_take(&b);
}

/* ---- One pass ---- */

int
test_open(lua_State *L)
{
	lua_getglobal(L, "gw");
	lua_newtable(L);
	test_assert_open(L);
	test_env_open(L);
	test_mail_open(L);
	lua_pushliteral(L, "test");
	lua_insert(L, -2);
	lua_rawset(L, -3);
	return 0;
}

static void
add_failure(const char *name, const char *why)
{
	runner->results = xrealloc(runner->results, (runner->nresults + 1) * sizeof *runner->results);
	runner->results[runner->nresults++] = (struct result){ .file = xstrdup(runner->file), .name = xstrdup(name),
		.why = xstrdup(why) };
}

static bool
pass(const char *text, size_t n)
{
	struct err err = { "" };
	struct policy_gen *g = policy_gen_bare(runner->policy, runner->bundle, runner->conf, &err);
	char chunk[300];
	bool ok;

	if (g == NULL) {
		add_failure("(loading)", err.text);
		return false;
	}
	runner->seen = 0;
	runner->ran = false;
	runner->prefix[0] = '\0';
	snprintf(chunk, sizeof chunk, "@%s", runner->file);
	policy_run_reset_handler(g->load_run);
	lua_pushcfunction(g->L, test_open);
	ok = lua_pcall(g->L, 0, 0, 0) == LUA_OK && luaL_loadbufferx(g->L, text, n, chunk, "t") == LUA_OK &&
	    lua_pcall(g->L, 0, 0, 0) == LUA_OK;
	if (!ok) {
		const char *missing = runner->env == NULL || runner->env->w == NULL ? NULL :
		    book_missing(world_book(runner->env->w));
		char *why = xasprintf("%s%s%s", luaL_tolstring(g->L, -1, NULL), missing == NULL ? "" : "\n",
		    missing == NULL ? "" : missing);

		add_failure("(outside of any test)", why);
		free(why);
	}
	env_close(runner->env);
	policy_gen_unref(g);
	return ok;
}

static void
run_file(const char *path)
{
	size_t n, total = 1;
	char *text = read_test(path, &n);

	if (text == NULL) {
		add_failure("(loading)", "cannot be read");
		return;
	}
	for (runner->wanted = 0; runner->wanted < total && runner->wanted < TESTS_MAX; runner->wanted++) {
		if (!pass(text, n))
			break;
		total = runner->seen;
	}
	free(text);
}

/* ---- Results ---- */

static void
put_indented(FILE *f, const char *text, const char *indent)
{
	while (*text != '\0') {
		size_t n = strcspn(text, "\n");

		fprintf(f, "%s%.*s\n", indent, (int)n, text);
		text += n + (text[n] == '\n');
	}
}

static size_t
print_plain(void)
{
	size_t bad = 0;

	for (size_t i = 0; i < runner->nresults; i++) {
		const struct result *r = &runner->results[i];

		printf("%s  %s  %s\n", r->why == NULL ? "ok  " : "FAIL", r->file, r->name);
		if (r->why == NULL)
			continue;
		bad++;
		put_indented(stdout, r->why, "      ");
	}
	printf("%zu test%s, %zu passed, %zu failed\n", runner->nresults, runner->nresults == 1 ? "" : "s",
	    runner->nresults - bad, bad);
	return bad;
}

static size_t
print_tap(void)
{
	size_t bad = 0;

	printf("TAP version 13\n1..%zu\n", runner->nresults);
	for (size_t i = 0; i < runner->nresults; i++) {
		const struct result *r = &runner->results[i];

		printf("%sok %zu - %s %s\n", r->why == NULL ? "" : "not ", i + 1, r->file, r->name);
		if (r->why != NULL) {
			bad++;
			printf("  ---\n  message: |\n");
			put_indented(stdout, r->why, "    ");
			printf("  ...\n");
		}
	}
	return bad;
}

static void
put_xml(FILE *f, const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '<' || c == '>' || c == '&' || c == '"')
			fprintf(f, "&#%u;", c);
		else if (c == '\n' || c == '\t' || c >= 32)
			fputc(c, f);
		else
			fputc('?', f);
	}
}

static int
write_junit(const char *path, size_t bad)
{
	FILE *f = fopen(path, "we");

	if (f == NULL) {
		fprintf(stderr, "sallyport: %s cannot be written\n", path);
		return -1;
	}
	fprintf(f, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"sallyport policy test\" tests=\"%zu\" "
	    "failures=\"%zu\">\n", runner->nresults, bad);
	for (size_t i = 0; i < runner->nresults; i++) {
		const struct result *r = &runner->results[i];

		fputs("  <testcase classname=\"", f);
		put_xml(f, r->file);
		fputs("\" name=\"", f);
		put_xml(f, r->name);
		fprintf(f, "\" time=\"%.3f\"", r->seconds);
		if (r->why == NULL) {
			fputs("/>\n", f);
			continue;
		}
		fputs(">\n    <failure message=\"", f);
		put_xml(f, r->why);
		fputs("\"/>\n  </testcase>\n", f);
	}
	fputs("</testsuite>\n", f);
	return fclose(f);
}

/* ---- All of it ---- */

static void
forget_results(struct runner *r, size_t but)
{
	while (r->nresults > but) {
		struct result *last = &r->results[--r->nresults];

		free(last->file);
		free(last->name);
		free(last->why);
	}
}

static void
run_files(struct runner *r, struct dirent **files, int n)
{
	for (int i = 0; i < n; i++) {
		char *path = xasprintf("%s/tests/%s", r->tc->dir, files[i]->d_name);
		char *shown = xasprintf("tests/%s", files[i]->d_name);

		r->file = shown;
		run_file(path);
		free(path);
		free(shown);
	}
}

/* Once more to count, and then to measure, with nobody who looks at lines. */
static void
measure(struct runner *r, struct dirent **files, int n)
{
	size_t results = r->nresults;
	struct cover *cover = r->cover;

	r->cover = NULL;
	r->bench = bench_new();
	for (unsigned i = 0; i <= r->tc->rounds; i++) {
		r->counts = i == 0;
		bench_round(r->bench, r->counts);
		run_files(r, files, n);
		forget_results(r, results);
	}
	bench_print(r->bench, r->tc->rounds, r->tc->tap);
	bench_free(r->bench);
	r->bench = NULL;
	r->counts = false;
	r->cover = cover;
}

bool
runner_prepare(struct runner *r)
{
	struct err err = { "" };

	r->conf = world_conf_load(r->tc->dir, NULL, &err);
	if (r->conf != NULL)
		world_conf_own_databases(r->conf, r->tc->dir);
	if (r->conf != NULL)
		r->bundle = policy_bundle_read(r->conf, policy_library_dir(), &err);
	if (r->bundle == NULL) {
		fprintf(stderr, "%s\n", err.text);
		return false;
	}
	r->base = event_base_new();
	r->policy = policy_new(r->base, NULL, 0);
	if (r->tc->coverage)
		r->cover = cover_new(r->bundle);
	return true;
}

void
runner_finish(struct runner *r)
{
	cover_free(r->cover);
	policy_free(r->policy);
	if (r->base != NULL)
		event_base_free(r->base);
	policy_bundle_unref(r->bundle);
	conf_unref(r->conf);
	forget_results(r, 0);
	free(r->results);
	runner = NULL;
}

static int
test_files(const char *dir, struct dirent ***files)
{
	char *folder = xasprintf("%s/tests", dir);
	int n = scandir(folder, files, is_test, by_name);

	free(folder);
	return n;
}

static void
files_free(struct dirent **files, int n)
{
	for (int i = 0; i < n; i++)
		free(files[i]);
	free(files);
}

bool
rehearsal_has_tests(const char *dir)
{
	struct dirent **files = NULL;
	int n = test_files(dir, &files);

	files_free(files, n);
	return n > 0;
}

int
rehearsal_test(const struct test_conf *tc)
{
	struct runner r = { .tc = tc };
	struct dirent **files = NULL;
	int n = test_files(tc->dir, &files), rc = 1;
	size_t bad;

	if (n <= 0) {
		fprintf(stderr, "sallyport: there is no %s/tests/..._test.lua\n", tc->dir);
		files_free(files, n);
		return 2;
	}
	runner = &r;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (runner_prepare(&r)) {
		run_files(&r, files, n);
		bad = tc->tap ? print_tap() : print_plain();
		rc = bad > 0 || (tc->junit != NULL && write_junit(tc->junit, bad) != 0) ? 1 : 0;
		if (r.cover != NULL && cover_print(r.cover, tc->tap) + 1e-9 < tc->least) {
			fprintf(stderr, "sallyport: less than %g %% of the lines were reached\n", tc->least);
			rc = 1;
		}
		if (tc->rounds > 0 && bad == 0)
			measure(&r, files, n);
		else if (tc->rounds > 0)
			fprintf(stderr, "sallyport: nothing is measured where tests fail\n");
		if (r.nresults == 0)
			fprintf(stderr, "sallyport: no test was run\n");
		if (r.nresults == 0)
			rc = 1;
	}
	runner_finish(&r);
	files_free(files, n);
	return rc;
}
