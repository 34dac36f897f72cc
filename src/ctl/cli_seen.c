/* seen: what domains and their hosts offered, since when, and what is gone. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cli_int.h"

static void
print_row(const json_t *o)
{
	bool is_gone = json_is_string(json_object_get(o, "gone"));
	const char *now = cli_str(o, "now");

	printf("  %-28s %-10s %-22s %s  %s", cli_str(o, "host")[0] == '\0' ? "(the domain)" : cli_str(o, "host"),
	    cli_str(o, "what"), cli_str(o, "value"), cli_str(o, "first"), cli_str(o, "last"));
	if (is_gone)
		printf("  GONE since %s, now %s", cli_str(o, "gone"), *now == '\0' ? "nothing" : now);
	putchar('\n');
}

static void
print_seen(const json_t *result)
{
	const char *domain = "";
	const json_t *o;
	size_t i;

	if (json_array_size(json_object_get(result, "seen")) == 0)
		puts("nothing was seen");
	json_array_foreach(json_object_get(result, "seen"), i, o) {
		if (i == 0 || strcmp(domain, cli_str(o, "domain")) != 0) {
			domain = cli_str(o, "domain");
			printf("%s\n", domain);
		}
		print_row(o);
	}
	if (json_is_true(json_object_get(result, "more")))
		puts("... and more; --limit shows them");
}

int
cli_seen(struct cli *c)
{
	json_t *result;
	int rc;

	if (c->argc > 2)
		return cli_usage("seen takes one domain");
	if (c->argc == 2)
		json_object_set_new(c->filter, "domain", json_string(c->argv[1]));
	result = cli_question(c, "seen", &rc);
	if (result == NULL)
		return rc;
	if (c->json)
		cli_print_json(result);
	else
		print_seen(result);
	if (json_array_size(json_object_get(result, "seen")) == 0)
		rc = EXIT_NO;
	json_decref(result);
	return rc;
}
