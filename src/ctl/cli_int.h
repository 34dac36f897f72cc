#ifndef CTL_CLI_INT_H
#define CTL_CLI_INT_H

#include "ctl/ctl.h"

enum { EXIT_OK, EXIT_NO, EXIT_USAGE, EXIT_UNREACHABLE };	/* design section 8 */

struct cli {
	const char *conf_file;		/* -c */
	const char *socket;		/* --socket; NULL: from the configuration */
	const char *db;			/* --db: read a database without a daemon */
	bool conf_named;		/* by -c, not by default */
	uint16_t port;			/* --port; 0 not given */
	bool json, dry_run, csv, check;
	const char *reason, *level;
	json_t *filter;
	json_t *args;			/* of a policy command */
	int argc;			/* what is left: words of the command */
	char **argv;
};

/* Sends {"verb": verb, ...options} and prints an error. NULL: *exit_status is set. New reference
 * to "result". */
json_t *cli_ask(struct cli *c, const char *verb, int *exit_status);
/* The same of the database, with --db. */
json_t *cli_question(struct cli *c, const char *verb, int *exit_status);
const char *cli_str(const json_t *o, const char *key);	/* "" when it is not there */
long long cli_num(const json_t *o, const char *key);
void cli_print_fields(const json_t *o, int indent);
int cli_config(struct cli *c);
int cli_policy(struct cli *c);
struct conf;
struct conf *cli_load_conf(const char *where);	/* a file, or a directory with gateway.lua; prints what is wrong */
int cli_config_diff(struct cli *c);
int cli_policy_diff(struct cli *c);
int cli_policy_files(struct cli *c);	/* cli_conf.c: check, options, types */
int cli_queue(struct cli *c);
int cli_evidence(struct cli *c);
int cli_probe(struct cli *c);
int cli_rate(struct cli *c);
int cli_records(struct cli *c);
int cli_seen(struct cli *c);
int cli_status(struct cli *c);
int cli_tlsrpt(struct cli *c);
/* policy test and its like (cli_rehearse.c), which have options of their own. -1: it is none of them. */
int cli_rehearse(int argc, char **argv);
int cli_trace(struct cli *c);
int cli_simulate(struct cli *c);	/* policy simulate */
int cli_why(struct cli *c);		/* policy why ID */
char *cli_socket(const struct cli *c);	/* where the daemon listens; heap, NULL when that was said */
int cli_usage(const char *why);
void cli_print_json(const json_t *j);

#endif
