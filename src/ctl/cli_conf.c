/* config and policy: what needs no daemon. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conf/conf.h"
#include "ctl/cli_int.h"
#include "net/net.h"
#include "policy/policy.h"

static struct conf *
load(const char *file, bool check_files)
{
	struct conf *conf;
	char *errors;

	net_tls_init();
	conf = conf_load(file, check_files, &errors);
	if (conf == NULL) {
		fprintf(stderr, "%s%s", errors, errors[0] != '\0' && errors[strlen(errors) - 1] == '\n' ? "" : "\n");
		free(errors);
	}
	return conf;
}

struct conf *
cli_load_conf(const char *where)
{
	struct stat st;
	char *file = stat(where, &st) == 0 && S_ISDIR(st.st_mode) ? xasprintf("%s/gateway.lua", where) : xstrdup(where);
	struct conf *conf = load(file, false);

	free(file);
	return conf;
}

/* The policies a configuration names, loaded as a worker would. */
static int
check_policies(const struct conf *conf)
{
	struct policy_bundle *b;
	struct err err;
	char *text = NULL;
	bool ok;

	b = policy_bundle_read(conf, policy_library_dir(), &err);
	if (b == NULL) {
		fprintf(stderr, "%s\n", err.text);
		return EXIT_NO;
	}
	ok = policy_check(b, conf, &text);
	if (text != NULL)
		fprintf(ok ? stdout : stderr, "%s%s", text, text[0] != '\0' && text[strlen(text) - 1] == '\n' ? "" : "\n");
	free(text);
	if (ok)
		printf("policy ok: %zu file%s, generation %.12s\n", conf->policy.nload,
		    conf->policy.nload == 1 ? "" : "s", policy_bundle_id(b));
	policy_bundle_unref(b);
	return ok ? EXIT_OK : EXIT_NO;
}

int
cli_config(struct cli *c)
{
	const char *what = c->argc > 1 ? c->argv[1] : "";
	const char *file = c->argc > 2 ? c->argv[2] : c->conf_file;
	struct conf *conf;
	char *text;
	int rc = EXIT_OK;

	if (c->argc > 3 && strcmp(what, "diff") != 0)
		return cli_usage("config takes one file");
	if (strcmp(what, "diff") == 0)
		return cli_config_diff(c);
	if (strcmp(what, "schema") == 0) {
		text = conf_schema_json();
		puts(text);
		free(text);
		return EXIT_OK;
	}
	if (strcmp(what, "check") != 0 && strcmp(what, "dump") != 0 && strcmp(what, "audit") != 0)
		return cli_usage("config: check, dump, audit, diff or schema is expected");
	conf = load(file, strcmp(what, "check") == 0);
	if (conf == NULL)
		return EXIT_NO;
	if (strcmp(what, "check") == 0) {
		if (conf->warnings != NULL)
			fprintf(stderr, "%s\n", conf->warnings);
		rc = check_policies(conf);
		if (rc == EXIT_OK)
			printf("%s: ok\n", file);
	} else {
		text = strcmp(what, "dump") == 0 ? conf_dump(conf) : conf_audit(conf, c->json);
		printf("%s%s", text, text[0] != '\0' && text[strlen(text) - 1] == '\n' ? "" : "\n");
		free(text);
	}
	conf_unref(conf);
	return rc;
}

/* What options there are, and with --json the same as JSON Schema. */
static int
show_options(const struct conf *conf, const char *as)
{
	struct err err;
	struct policy_bundle *b = policy_bundle_read(conf, policy_library_dir(), &err);
	char *text = b == NULL ? NULL : policy_options_text(b, (struct conf *)conf, as, &err);
	int rc = text == NULL ? EXIT_NO : EXIT_OK;

	if (text == NULL)
		fprintf(stderr, "%s\n", err.text);
	else
		fputs(text, stdout);
	policy_bundle_unref(b);
	free(text);
	return rc;
}

int
cli_policy_files(struct cli *c)
{
	bool is_options, is_types;
	const char *what = c->argc > 1 ? c->argv[1] : "", *where = c->argc > 2 ? c->argv[2] : c->conf_file;
	struct conf *conf;
	int rc;

	is_options = strcmp(what, "options") == 0;
	is_types = strcmp(what, "types") == 0;
	conf = cli_load_conf(where);
	if (conf == NULL)
		return EXIT_NO;
	rc = is_options || is_types ? show_options(conf, is_types ? "types" : c->json ? "json" : "text") :
	    check_policies(conf);
	conf_unref(conf);
	return rc;
}
