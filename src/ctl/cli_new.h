/* The files that `sallyport policy new` writes (src/ctl/new, made into C by scripts/embed.lua). */
#ifndef CTL_CLI_NEW_H
#define CTL_CLI_NEW_H

#include "ctl/cli_int.h"

struct cli_new_file {
	const char *name, *text;
};
extern const struct cli_new_file cli_new_files[];	/* ends with NULL */

int cli_policy_new(struct cli *c);
int cli_policy_help(struct cli *c);

#endif
