/* The sallyport command: words, options, and how the daemon is reached. */
#include "config.h"

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conf/conf.h"
#include "ctl/cli_int.h"

static const char help[] =
    "usage: sallyport [options] COMMAND\n"
    "\n"
    "  config check [FILE]          every problem of a configuration, one a line\n"
    "  config dump [FILE]           the effective configuration as JSON\n"
    "  config audit [FILE]          trust that is asserted, grants, and what relaxes\n"
    "  config diff [FILE [FILE]]    a file against what runs, or two files; exit 3: needs a restart\n"
    "  config schema                every setting as JSON\n"
    "  policy new DIR               write a configuration, a policy and tests to begin with\n"
    "  policy help [NAME]           what the reference says: gw.reject, message:header, hook rcpt\n"
    "  policy check [DIR]           load the policies of DIR/gateway.lua and report problems\n"
    "  policy test [DIR]            run DIR/tests/*_test.lua: the real gateway in a made-up world\n"
    "  policy explain [DIR]         what the handlers say about one message: --from --to --header --eml ...\n"
    "  policy session [DIR]         an SMTP dialogue with the gateway, decisions on standard error\n"
    "  policy repl [DIR]            the sandbox of tests, line by line\n"
    "  policy options [DIR]         the options that these policies take; --json: as JSON Schema\n"
    "  policy types [DIR]           the same for the Lua language server\n"
    "  policy load DIR              load another configuration beside the one that is active\n"
    "  policy list, status [GEN]    generations: which is active, which have sessions, errors\n"
    "  policy activate GEN          new sessions and attempts begin with it\n"
    "  policy rollback              activate the one before\n"
    "  policy diff A B              files, handlers and settings; each a generation or a directory\n"
    "  policy canary GEN            let some sessions begin with it: --percent, --cidr, --listener, --for\n"
    "  policy discard GEN           forget one that was loaded and is not active\n"
    "  policy simulate              recorded mail through another policy (--journal, --against)\n"
    "  policy why ID                what the handlers did with a message\n"
    "  trace                        what they do, as it happens (--ip, --domain, --handler, --limit)\n"
    "  queue list|show ID           what is in the queue\n"
    "  queue hold|release|retry|bounce|delete|require-tls [ID]\n"
    "  evidence show ID|list        how recipients left the queue\n"
    "  evidence verify              check the hash chain\n"
    "  evidence export              all of it: --json a line a row, --csv for a spreadsheet\n"
    "  rate list [NAME]             limits of policies, and which keys are near them\n"
    "  seen [DOMAIN]                what domains and their hosts offered, and what is gone\n"
    "  probe DOMAIN                 what would become of mail to it today; sends none\n"
    "  tlsrpt show [DOMAIN]         sessions counted for reports about TLS; --json: the reports\n"
    "  dns-records [DOMAIN]         what to publish beside this configuration: MTA-STS, TLSA, TLS reports\n"
    "  status, metrics, reload\n"
    "\n"
    "options\n"
    "  -c, --config FILE            gateway.lua (default " SYSCONFDIR "/sallyport/gateway.lua)\n"
    "      --socket PATH            the daemon's control socket\n"
    "      --db FILE                read queue.db without a daemon (list, show, evidence, seen, tlsrpt, why)\n"
    "      --json                   JSON instead of tables\n"
    "      --from A  --to A  --domain D  --route R  --tag T  --state queued|active|held\n"
    "      --since T  --until T     2026-11-23, 2026-11-23T21:15:00Z, or 2h for two hours ago\n"
    "      --day D                  one day in UTC: 2026-11-23 (tlsrpt)\n"
    "      --journal F  --corpus DIR  --against DIR|GEN  --with DIR|GEN    what to simulate\n"
    "      --ip A  --handler H      a client's address, a handler's name (trace)\n"
    "      --limit N                at most N rows (100)\n"
    "      --port N                 of the servers (probe, dns-records)\n"
    "      --check                  compare with what DNS says now (dns-records)\n"
    "      --csv                    CSV (evidence export)\n"
    "      --head HASH              a hash noted before has to be in the chain (evidence verify)\n"
    "      --coverage[=PERCENT] --bench[=ROUNDS] --tap --junit FILE --seed N --only NAME   (policy test)\n"
    "      --reason TEXT            why; recorded with every change\n"
    "      --level L                for require-tls: encrypt, verify, secure, requiretls\n"
    "      --percent P  --cidr NET  --listener L   which sessions (policy canary); repeat --cidr, --listener\n"
    "      --for T                  how long (policy canary): 1h\n"
    "      --dry-run                say what would change, change nothing\n"
    "\n"
    "A filter value may hold * for any text. Exit status: 0 done, 1 the answer is no,\n"
    "2 wrong use, 3 the daemon cannot be reached,\n4 less protection (policy simulate). See sallyport(1).\n";

int
cli_usage(const char *why)
{
	fprintf(stderr, "sallyport: %s\nTry: sallyport --help\n", why);
	return EXIT_USAGE;
}

void
cli_print_json(const json_t *j)
{
	json_dumpf(j, stdout, JSON_INDENT(2));
	putchar('\n');
}

/* Where it is unless the configuration says otherwise; NULL when nothing is there. */
static char *
usual_socket(const char *conf_file)
{
	const char *slash = strrchr(conf_file, '/');
	char *path = xasprintf("%.*srun/control.sock", slash == NULL ? 0 : (int)(slash + 1 - conf_file), conf_file);
	struct stat st;

	if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		return path;
	free(path);
	return NULL;
}

char *
cli_socket(const struct cli *c)
{
	struct conf *conf;
	char *errors, *path;

	if (c->socket != NULL)
		return xstrdup(c->socket);
	conf = conf_load(c->conf_file, false, &errors);
	if (conf == NULL) {
		/* A file that is being edited must not keep anybody from the daemon that runs. */
		path = usual_socket(c->conf_file);
		if (path != NULL)
			fprintf(stderr, "sallyport: %s has problems (config check shows them); asking the daemon at %s\n",
			    c->conf_file, path);
		else
			fprintf(stderr, "sallyport: %s\nThe control socket's place is in the configuration; "
			    "name another with -c FILE, or the socket with --socket.\n", errors);
		free(errors);
		return path;
	}
	path = xstrdup(conf->service.control);
	conf_unref(conf);
	return path;
}

json_t *
cli_ask(struct cli *c, const char *verb, int *exit_status)
{
	json_t *request = json_object(), *answer, *result = NULL;
	char *path = cli_socket(c);
	struct err err = { "" };

	*exit_status = EXIT_USAGE;
	if (path == NULL) {
		json_decref(request);
		return NULL;
	}
	json_object_set_new(request, "verb", json_string(verb));
	json_object_set(request, "filter", c->filter);
	json_object_set_new(request, "dry_run", json_boolean(c->dry_run));
	if (c->reason != NULL)
		json_object_set_new(request, "reason", json_string(c->reason));
	if (c->level != NULL)
		json_object_set_new(request, "level", json_string(c->level));
	if (json_object_size(c->args) > 0)
		json_object_set(request, "args", c->args);
	/* A policy's init may take a minute. */
	answer = ctl_call(path, request, 90000, &err);
	free(path);
	json_decref(request);
	if (answer == NULL) {
		fprintf(stderr, "sallyport: %s\n", err.text);
		*exit_status = EXIT_UNREACHABLE;
		return NULL;
	}
	if (json_is_true(json_object_get(answer, "ok"))) {
		result = json_incref(json_object_get(answer, "result"));
		*exit_status = EXIT_OK;
	} else {
		const char *text = json_string_value(json_object_get(answer, "error"));

		fprintf(stderr, "sallyport: %s\n", text == NULL ? "the daemon refused" : text);
		*exit_status = (int)json_integer_value(json_object_get(answer, "exit"));
		if (*exit_status == EXIT_OK)
			*exit_status = EXIT_NO;
	}
	json_decref(answer);
	return result;
}

static int
finish(struct cli *c, int rc)
{
	json_decref(c->filter);
	json_decref(c->args);
	return rc;
}

/* ---- Options ---- */

enum option_kind {
	OPT_CONFIG, OPT_HELP, OPT_VERSION,
	OPT_TEXT, OPT_FLAG,		/* to c->at */
	OPT_FILTER,			/* to c->filter */
	OPT_ARG, OPT_ARGS,		/* to c->args: a text, or a list of them */
	OPT_DAY, OPT_LIMIT, OPT_PORT
};
#define OPTION(n, k) { .name = n, .kind = k }
#define AT(n, k, field) { .name = n, .kind = k, .at = offsetof(struct cli, field) }
static const struct cli_option {
	const char *name;
	enum option_kind kind;
	size_t at;			/* in struct cli */
	char letter;
} cli_options[] = {
	{ .name = "config", .kind = OPT_CONFIG, .letter = 'c' },
	{ .name = "help", .kind = OPT_HELP, .letter = 'h' },
	{ .name = "version", .kind = OPT_VERSION, .letter = 'V' },
	AT("socket", OPT_TEXT, socket),
	AT("db", OPT_TEXT, db),
	AT("reason", OPT_TEXT, reason),
	AT("level", OPT_TEXT, level),
	AT("json", OPT_FLAG, json),
	AT("csv", OPT_FLAG, csv),
	AT("check", OPT_FLAG, check),
	AT("dry-run", OPT_FLAG, dry_run),
	OPTION("port", OPT_PORT),
	OPTION("limit", OPT_LIMIT),
	OPTION("day", OPT_DAY),
	OPTION("from", OPT_FILTER), OPTION("to", OPT_FILTER), OPTION("domain", OPT_FILTER), OPTION("route", OPT_FILTER),
	OPTION("tag", OPT_FILTER), OPTION("state", OPT_FILTER), OPTION("since", OPT_FILTER), OPTION("until", OPT_FILTER),
	OPTION("head", OPT_FILTER), OPTION("ip", OPT_FILTER), OPTION("handler", OPT_FILTER),
	OPTION("percent", OPT_ARG), OPTION("for", OPT_ARG), OPTION("journal", OPT_ARG), OPTION("corpus", OPT_ARG),
	OPTION("against", OPT_ARG), OPTION("with", OPT_ARG),
	OPTION("cidr", OPT_ARGS), OPTION("listener", OPT_ARGS),
};
#define LONG_ONLY 256			/* what getopt_long returns for the first of them */

static bool
option_number(const char *text, uint64_t max, uint64_t *out)
{
	return slice_u64(slice_of(text), out) && *out >= 1 && *out <= max;
}

/* False: *rc is the exit status, and there is no more to do. */
static bool
take_option(struct cli *c, const struct cli_option *o, const char *value, int *rc)
{
	uint64_t n;

	switch (o->kind) {
	case OPT_CONFIG:
		c->conf_file = value;
		c->conf_named = true;
		return true;
	case OPT_TEXT:
		*(const char **)((char *)c + o->at) = value;
		return true;
	case OPT_FLAG:
		*(bool *)((char *)c + o->at) = true;
		return true;
	case OPT_FILTER:
		json_object_set_new(c->filter, o->name, json_string(value));
		return true;
	case OPT_ARG:
		json_object_set_new(c->args, o->name, json_string(value));
		return true;
	case OPT_ARGS:
		if (json_object_get(c->args, o->name) == NULL)
			json_object_set_new(c->args, o->name, json_array());
		json_array_append_new(json_object_get(c->args, o->name), json_string(value));
		return true;
	case OPT_DAY:
		json_object_set_new(c->filter, "since", json_string(value));
		json_object_set_new(c->filter, "until", json_string(value));
		return true;
	case OPT_LIMIT:
		if (option_number(value, 1000000, &n)) {
			json_object_set_new(c->filter, "limit", json_integer((json_int_t)n));
			return true;
		}
		*rc = cli_usage("--limit: a number from 1 to 1000000 is expected");
		return false;
	case OPT_PORT:
		if (option_number(value, 65535, &n)) {
			c->port = (uint16_t)n;
			return true;
		}
		*rc = cli_usage("--port: a number from 1 to 65535 is expected");
		return false;
	case OPT_HELP:
		fputs(help, stdout);
		break;
	case OPT_VERSION:
		puts(PACKAGE_STRING);
		break;
	}
	*rc = EXIT_OK;
	return false;
}

/* Takes all of them and leaves the words in c->argv. False: *rc is the exit status. */
static bool
take_options(struct cli *c, int argc, char **argv, int *rc)
{
	struct option options[NELEMS(cli_options) + 1] = { { NULL, 0, NULL, 0 } };
	int opt;
	size_t i;

	for (i = 0; i < NELEMS(cli_options); i++) {
		const struct cli_option *o = &cli_options[i];
		bool alone = o->kind == OPT_FLAG || o->kind == OPT_HELP || o->kind == OPT_VERSION;

		options[i] = (struct option){ o->name, alone ? no_argument : required_argument, NULL,
			o->letter != 0 ? o->letter : LONG_ONLY + (int)i };
	}
	while ((opt = getopt_long(argc, argv, "c:hV", options, NULL)) != -1) {
		for (i = 0; i < NELEMS(cli_options) && options[i].val != opt; i++)
			;
		if (i == NELEMS(cli_options)) {
			*rc = cli_usage("that option is not known");
			return false;
		}
		if (!take_option(c, &cli_options[i], optarg, rc))
			return false;
	}
	c->argc = argc - optind;
	c->argv = argv + optind;
	return true;
}

/* ---- Commands ---- */

static int
run_command(struct cli *c)
{
	static const struct {
		const char *word;
		int (*run)(struct cli *);
	} commands[] = {
		{ "config", cli_config }, { "policy", cli_policy }, { "queue", cli_queue },
		{ "evidence", cli_evidence }, { "probe", cli_probe }, { "seen", cli_seen }, { "rate", cli_rate },
		{ "dns-records", cli_records }, { "status", cli_status }, { "metrics", cli_status },
		{ "reload", cli_status },
		{ "tlsrpt", cli_tlsrpt }, { "trace", cli_trace },
	};

	if (c->argc == 0) {
		fputs(help, stderr);
		return EXIT_USAGE;
	}
	for (size_t i = 0; i < NELEMS(commands); i++)
		if (strcmp(c->argv[0], commands[i].word) == 0)
			return commands[i].run(c);
	return cli_usage("that command is not known");
}

int
cli_main(int argc, char **argv)
{
	struct cli c = { .conf_file = SYSCONFDIR "/sallyport/gateway.lua", .filter = json_object(),
		.args = json_object() };
	int rc = cli_rehearse(argc, argv);

	if (rc == -1 && take_options(&c, argc, argv, &rc))
		rc = run_command(&c);
	return finish(&c, rc);
}
