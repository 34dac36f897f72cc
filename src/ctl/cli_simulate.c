/* policy simulate: recorded mail through two policies. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conf/conf_int.h"
#include "ctl/cli_int.h"
#include "net/net.h"
#include "policy/bundle_pack.h"
#include "replay/replay.h"

#define EXIT_WEAKER 4

struct bundle {
	struct conf *conf;
	struct policy_bundle *bundle;
};

/* From what is on the disk. */
static bool
read_bundle(struct bundle *b, const char *where, bool is_dir)
{
	char *file = is_dir ? xasprintf("%s/gateway.lua", where) : xstrdup(where), *errors = NULL;
	struct err err;

	b->conf = conf_load(file, false, &errors);
	if (b->conf == NULL)
		fprintf(stderr, "sallyport: %s: %s\n", where, errors);
	else if ((b->bundle = policy_bundle_read(b->conf, policy_library_dir(), &err)) == NULL)
		fprintf(stderr, "sallyport: %s: %s\n", where, err.text);
	free(errors);
	free(file);
	return b->bundle != NULL;
}

/* From what the daemon has in memory: the files may have changed since. */
static bool
fetch_bundle(struct cli *c, struct bundle *b, const char *gen, int *rc)
{
	json_t *got, *packed;
	char *text = NULL, *errors = NULL;
	struct err err = { "" };
	size_t n = 0;

	json_object_set_new(c->args, "gen", json_string(gen));
	got = cli_ask(c, "policy.files", rc);
	if (got == NULL) {
		if (*rc == EXIT_NO)	/* which says something else here */
			*rc = EXIT_USAGE;
		fprintf(stderr, "sallyport: \"%s\" is neither a directory here nor a generation that the daemon has in "
		    "memory (policy list)\n", gen);
		return false;
	}
	*rc = EXIT_USAGE;
	packed = json_object_get(got, "bundle");
	text = policy_bundle_packed_config(packed, &n);
	if (text != NULL)
		b->conf = conf_load_text(text, n, "gateway.lua", cli_str(got, "dir"), false, &errors);
	if (b->conf == NULL)
		fprintf(stderr, "sallyport: generation %s: %s\n", gen, errors == NULL ? "it came without a configuration" : errors);
	else if ((b->bundle = policy_bundle_unpack(packed, b->conf, &err)) == NULL)
		fprintf(stderr, "sallyport: generation %s: %s\n", gen, err.text);
	free(errors);
	free(text);
	json_decref(got);
	return b->bundle != NULL;
}

/* A directory or file, or else a generation; `where` NULL: this configuration. */
static bool
bundle_load(struct cli *c, struct bundle *b, const char *where, int *rc)
{
	const char *path = where == NULL ? c->conf_file : where;
	struct stat st;
	bool is_there = stat(path, &st) == 0;

	*rc = EXIT_USAGE;
	if (is_there || where == NULL || strchr(where, '/') != NULL)
		return read_bundle(b, path, is_there && S_ISDIR(st.st_mode));
	return fetch_bundle(c, b, where, rc);
}

static void
bundle_fini(struct bundle *b)
{
	policy_bundle_unref(b->bundle);
	conf_unref(b->conf);
}

/* ---- For people ---- */

static void
print_change(const json_t *o)
{
	const json_t *examples = json_object_get(o, "examples"), *v;
	size_t i;

	printf("    %-8lld %s: %s -> %s%s\n", cli_num(o, "count"), cli_str(o, "what"), cli_str(o, "a"), cli_str(o, "b"),
	    json_is_true(json_object_get(o, "weaker")) ? "   WEAKER" : "");
	if (json_array_size(examples) > 0)
		printf("             e.g.");
	json_array_foreach(examples, i, v)
		printf(" %s", json_string_value(v));
	if (json_array_size(examples) > 0)
		putchar('\n');
}

static void
print_report(const json_t *r)
{
	const json_t *o, *c;
	size_t i, k;

	printf("%lld calls about %lld messages", cli_num(r, "calls"), cli_num(r, "messages"));
	if (*cli_str(r, "first") != '\0')
		printf(", %s to %s", cli_str(r, "first"), cli_str(r, "last"));
	printf("\nwith generation %s, against %s\n", cli_str(r, "with"), cli_str(r, "against"));
	if (cli_num(r, "lines_skipped") > 0)
		printf("%lld lines or files make no sense and were left out\n", cli_num(r, "lines_skipped"));
	if (cli_num(r, "unreproduced") > 0)
		printf("%lld of %lld calls that generation %s itself made come out otherwise than recorded: it looks at "
		    "something that is not in the journal\n", cli_num(r, "unreproduced"),
		    cli_num(r, "unreproduced") + cli_num(r, "reproduced"), cli_str(r, "with"));
	json_array_foreach(json_object_get(r, "groups"), i, o) {
		printf("  %s (%s)\n", cli_str(o, "handler"), cli_str(o, "hook"));
		json_array_foreach(json_object_get(o, "changes"), k, c)
			print_change(c);
	}
	if (json_array_size(json_object_get(r, "unknown")) > 0)
		puts("  unknown: asked for, and not recorded; what would have come of it is not known");
	json_array_foreach(json_object_get(r, "unknown"), i, o)
		printf("    %-8lld %s (%s): %s\n", cli_num(o, "count"), cli_str(o, "handler"), cli_str(o, "side"), cli_str(o, "what"));
	if (cli_num(r, "not_reached") > 0)
		printf("%lld calls come after mail that one of them refuses\n", cli_num(r, "not_reached"));
	if (cli_num(r, "changed") == 0)
		puts("no difference");
	else
		printf("%lld calls differ%s\n", cli_num(r, "changed"), cli_num(r, "weaker") > 0 ? "" : ", none asks for less protection");
	if (cli_num(r, "weaker") > 0)
		printf("%lld of them ask for LESS protection\n", cli_num(r, "weaker"));
}

/* ---- The command ---- */

/* NULL when it was not given. */
static const char *
option(const struct cli *c, const char *name)
{
	return json_string_value(json_object_get(c->args, name));
}

static int
run(struct cli *c, const struct bundle *a, const struct bundle *b)
{
	struct err err = { "" };
	struct replay *r = replay_new(a->conf, a->bundle, b->conf, b->bundle, &err);
	const char *journal = option(c, "journal"), *corpus = option(c, "corpus");
	json_t *report;
	int rc;

	if (r == NULL || (journal != NULL && !replay_journal(r, journal, &err)) ||
	    (corpus != NULL && !replay_corpus(r, corpus, &err))) {
		fprintf(stderr, "sallyport: %s\n", err.text);
		replay_free(r);
		return EXIT_USAGE;
	}
	report = replay_report(r);
	replay_free(r);
	if (c->json)
		cli_print_json(report);
	else
		print_report(report);
	rc = cli_num(report, "weaker") > 0 ? EXIT_WEAKER : cli_num(report, "changed") > 0 ? EXIT_NO : EXIT_OK;
	json_decref(report);
	return rc;
}

int
cli_simulate(struct cli *c)
{
	static const struct log_conf quiet = { .file = "/dev/null", .level = LOG_LEVEL_ERROR };
	struct bundle a = { 0 }, b = { 0 };
	struct err err;
	int rc;

	if (option(c, "against") == NULL || (option(c, "journal") == NULL && option(c, "corpus") == NULL))
		return cli_usage("policy simulate: --journal FILE or --corpus DIR, and --against DIR or GEN are needed");
	net_tls_init();
	log_open(&quiet, &err);		/* handlers say now what they said then */
	if (bundle_load(c, &a, option(c, "with"), &rc) &&
	    bundle_load(c, &b, option(c, "against"), &rc))
		rc = run(c, &a, &b);
	bundle_fini(&a);
	bundle_fini(&b);
	return rc;
}
