/* policy: generations of the running daemon. What needs no daemon is in cli_conf.c. */
#include "config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf.h"
#include "ctl/cli_new.h"
#include "rehearsal/rehearsal.h"

static const char *
short_time(char dst[24], long long seconds)
{
	if (seconds < 120)
		snprintf(dst, 24, "%llds", seconds);
	else if (seconds < 7200)
		snprintf(dst, 24, "%lldm", seconds / 60);
	else if (seconds < 172800)
		snprintf(dst, 24, "%lldh", seconds / 3600);
	else
		snprintf(dst, 24, "%lldd", seconds / 86400);
	return dst;
}

static void
print_row(const json_t *e)
{
	char age[24];

	printf("%-4lld %-12s %-9s %5s %9lld %9lld %9lld %7lld  %s%s\n", cli_num(e, "number"), cli_str(e, "id"),
	    cli_str(e, "state"), short_time(age, cli_num(e, "age")), cli_num(e, "sessions"), cli_num(e, "attempts"),
	    cli_num(e, "sessions_total"), cli_num(e, "errors"), cli_str(e, "file"),
	    json_is_true(json_object_get(e, "degraded")) ? "  DEGRADED" : "");
}

static void
print_list(const json_t *all)
{
	const json_t *e;
	size_t i;

	printf("%-4s %-12s %-9s %5s %9s %9s %9s %7s  %s\n", "GEN", "ID", "STATE", "AGE", "SESSIONS", "ATTEMPTS", "IN ALL",
	    "ERRORS", "FROM");
	json_array_foreach((json_t *)all, i, e)
		print_row(e);
}

static int
list(struct cli *c)
{
	int rc;
	json_t *result = cli_ask(c, "policy.list", &rc);

	if (result == NULL)
		return rc;
	if (c->json)
		cli_print_json(result);
	else
		print_list(json_object_get(result, "generations"));
	json_decref(result);
	return rc;
}

/* A request about one generation; says in a line what became of it. */
static int
ask_one(struct cli *c, const char *verb, const char *done)
{
	int rc;
	json_t *result = cli_ask(c, verb, &rc);

	if (result == NULL)
		return rc;
	if (c->json)
		cli_print_json(result);
	else if (done == NULL)
		cli_print_fields(result, 0);
	else
		printf("generation %lld (%s): %s\n", cli_num(result, "number"), cli_str(result, "id"), done);
	json_decref(result);
	return rc;
}

/* Does the configuration there want its tests to be run? One that makes no sense is refused by the daemon. */
static bool
wants_tests(const char *where)
{
	struct stat st;
	char *file = stat(where, &st) == 0 && S_ISDIR(st.st_mode) ? xasprintf("%s/gateway.lua", where) : xstrdup(where);
	char *errors = NULL;
	struct conf *conf = conf_load(file, false, &errors);
	bool wants = conf != NULL && conf->policy.test_on_load;

	conf_unref(conf);
	free(errors);
	free(file);
	return wants;
}

/* What tests print is no answer of this command: it goes to standard error. */
static bool
tests_pass(const char *dir)
{
	struct test_conf tc = { .dir = dir, .least = -1, .seed = 1 };
	int out, rc;

	fflush(stdout);
	out = dup(STDOUT_FILENO);
	if (out == -1 || dup2(STDERR_FILENO, STDOUT_FILENO) == -1)
		return false;
	rc = rehearsal_test(&tc);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	close(out);
	if (rc != 0)
		fprintf(stderr, "sallyport: %s: not loaded; policy.test_on_load wants tests that pass\n", dir);
	return rc == 0;
}

static int
load(struct cli *c)
{
	char full[PATH_MAX];
	bool tested;
	int rc;

	if (realpath(c->argv[2], full) == NULL) {
		fprintf(stderr, "sallyport: %s: cannot be read\n", c->argv[2]);
		return EXIT_NO;
	}
	tested = wants_tests(full);
	if (tested && !tests_pass(full))
		return EXIT_NO;
	json_object_set_new(c->args, "dir", json_string(full));
	rc = ask_one(c, "policy.load", "loaded and checked; it is not active");
	if (rc == EXIT_OK && !tested && !c->json && rehearsal_has_tests(full))
		printf("its tests were not run; to run them: sallyport policy test %s\n", full);
	return rc;
}

static int
status(struct cli *c)
{
	return ask_one(c, "policy.status", NULL);
}

static int
activate(struct cli *c)
{
	return ask_one(c, "policy.activate", "active; a restart or a reload begins with the configured directory");
}

static int
rollback(struct cli *c)
{
	return ask_one(c, "policy.rollback", "active again");
}

static int
canary(struct cli *c)
{
	return ask_one(c, "policy.canary", "takes the sessions named");
}

static int
discard(struct cli *c)
{
	return ask_one(c, "policy.discard", "discarded");
}

int
cli_policy(struct cli *c)
{
	static const struct {
		const char *word;
		int min, max;		/* further words */
		bool has_gen;
		int (*run)(struct cli *);
	} words[] = {
		{ "check", 0, 1, false, cli_policy_files },
		{ "options", 0, 1, false, cli_policy_files },
		{ "types", 0, 1, false, cli_policy_files },
		{ "why", 1, 1, false, cli_why },
		{ "simulate", 0, 0, false, cli_simulate },
		{ "new", 1, 1, false, cli_policy_new },
		{ "help", 0, 3, false, cli_policy_help },
		{ "load", 1, 1, false, load },
		{ "list", 0, 0, false, list },
		{ "diff", 2, 2, false, cli_policy_diff },
		{ "status", 0, 1, true, status },
		{ "activate", 1, 1, true, activate },
		{ "rollback", 0, 0, false, rollback },
		{ "canary", 1, 1, true, canary },
		{ "discard", 1, 1, true, discard },
	};
	const char *word = c->argc > 1 ? c->argv[1] : "";

	for (size_t i = 0; i < NELEMS(words); i++) {
		if (strcmp(words[i].word, word) != 0)
			continue;
		if (c->argc - 2 < words[i].min || c->argc - 2 > words[i].max)
			return cli_usage("policy: too few words or too many");
		if (words[i].has_gen && c->argc > 2)
			json_object_set_new(c->args, "gen", json_string(c->argv[2]));
		return words[i].run(c);
	}
	return cli_usage("policy: new, check, test, explain, session, repl, options, types, help, why, simulate,\n"
	    "load, list, status, diff, activate, rollback, canary or discard is expected");
}
