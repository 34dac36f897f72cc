/* The sallyport command: words, options, and how the daemon is reached. */
#include "config.h"

#include <getopt.h>
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

enum {
	OPT_SOCKET = 256, OPT_DB, OPT_JSON, OPT_REASON, OPT_LEVEL, OPT_DRY_RUN, OPT_LIMIT, OPT_FILTER, OPT_CSV,
	OPT_CHECK, OPT_PORT, OPT_DAY, OPT_ARG, OPT_ARGS
};

static int
finish(struct cli *c, int rc)
{
	json_decref(c->filter);
	json_decref(c->args);
	return rc;
}

int
cli_main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ "socket", required_argument, NULL, OPT_SOCKET },
		{ "db", required_argument, NULL, OPT_DB },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "csv", no_argument, NULL, OPT_CSV },
		{ "port", required_argument, NULL, OPT_PORT },
		{ "check", no_argument, NULL, OPT_CHECK },
		{ "reason", required_argument, NULL, OPT_REASON },
		{ "level", required_argument, NULL, OPT_LEVEL },
		{ "dry-run", no_argument, NULL, OPT_DRY_RUN },
		{ "limit", required_argument, NULL, OPT_LIMIT },
		{ "from", required_argument, NULL, OPT_FILTER },
		{ "to", required_argument, NULL, OPT_FILTER },
		{ "domain", required_argument, NULL, OPT_FILTER },
		{ "route", required_argument, NULL, OPT_FILTER },
		{ "tag", required_argument, NULL, OPT_FILTER },
		{ "state", required_argument, NULL, OPT_FILTER },
		{ "since", required_argument, NULL, OPT_FILTER },
		{ "until", required_argument, NULL, OPT_FILTER },
		{ "day", required_argument, NULL, OPT_DAY },
		{ "percent", required_argument, NULL, OPT_ARG },
		{ "for", required_argument, NULL, OPT_ARG },
		{ "cidr", required_argument, NULL, OPT_ARGS },
		{ "listener", required_argument, NULL, OPT_ARGS },
		{ "head", required_argument, NULL, OPT_FILTER },
		{ "ip", required_argument, NULL, OPT_FILTER },
		{ "handler", required_argument, NULL, OPT_FILTER },
		{ "journal", required_argument, NULL, OPT_ARG },
		{ "corpus", required_argument, NULL, OPT_ARG },
		{ "against", required_argument, NULL, OPT_ARG },
		{ "with", required_argument, NULL, OPT_ARG },
		{ NULL, 0, NULL, 0 },
	};
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
	struct cli c = { .conf_file = SYSCONFDIR "/sallyport/gateway.lua", .filter = json_object(),
		.args = json_object() };
	uint64_t limit;
	int opt, at = 0, rc = EXIT_USAGE;

	rc = cli_rehearse(argc, argv);
	if (rc != -1)
		return finish(&c, rc);
	rc = EXIT_USAGE;
	while ((opt = getopt_long(argc, argv, "c:hV", options, &at)) != -1) {
		switch (opt) {
		case 'c': c.conf_file = optarg; c.conf_named = true; break;
		case 'h': fputs(help, stdout); return finish(&c, EXIT_OK);
		case 'V': puts(PACKAGE_STRING); return finish(&c, EXIT_OK);
		case OPT_SOCKET: c.socket = optarg; break;
		case OPT_DB: c.db = optarg; break;
		case OPT_JSON: c.json = true; break;
		case OPT_CSV: c.csv = true; break;
		case OPT_CHECK: c.check = true; break;
		case OPT_REASON: c.reason = optarg; break;
		case OPT_LEVEL: c.level = optarg; break;
		case OPT_DRY_RUN: c.dry_run = true; break;
		case OPT_LIMIT:
			if (!slice_u64(slice_of(optarg), &limit) || limit == 0 || limit > 1000000)
				return finish(&c, cli_usage("--limit: a number from 1 to 1000000 is expected"));
			json_object_set_new(c.filter, "limit", json_integer((json_int_t)limit));
			break;
		case OPT_PORT:
			if (!slice_u64(slice_of(optarg), &limit) || limit == 0 || limit > 65535)
				return finish(&c, cli_usage("--port: a number from 1 to 65535 is expected"));
			c.port = (uint16_t)limit;
			break;
		case OPT_DAY:
			json_object_set_new(c.filter, "since", json_string(optarg));
			json_object_set_new(c.filter, "until", json_string(optarg));
			break;
		case OPT_ARG:
			json_object_set_new(c.args, options[at].name, json_string(optarg));
			break;
		case OPT_ARGS:
			if (json_object_get(c.args, options[at].name) == NULL)
				json_object_set_new(c.args, options[at].name, json_array());
			json_array_append_new(json_object_get(c.args, options[at].name), json_string(optarg));
			break;
		case OPT_FILTER:
			json_object_set_new(c.filter, options[at].name, json_string(optarg));
			break;
		default:
			return finish(&c, cli_usage("that option is not known"));
		}
	}
	c.argc = argc - optind;
	c.argv = argv + optind;
	if (c.argc == 0) {
		fputs(help, stderr);
	} else {
		size_t i;

		for (i = 0; i < NELEMS(commands) && strcmp(c.argv[0], commands[i].word) != 0; i++)
			;
		rc = i < NELEMS(commands) ? commands[i].run(&c) : cli_usage("that command is not known");
	}
	return finish(&c, rc);
}
