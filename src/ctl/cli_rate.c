/* rate list: the limits of policies, and who is near them. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "ctl/cli_int.h"

static void
print_limit(const json_t *o)
{
	const json_t *key;
	size_t i;

	printf("%s  %s %s, %s  keys %lld of %lld  taken %lld  refused %lld\n", cli_str(o, "name"), cli_str(o, "limit"),
	    cli_str(o, "kind"), cli_str(o, "scope"), cli_num(o, "keys"), cli_num(o, "capacity"), cli_num(o, "taken"),
	    cli_num(o, "refused"));
	json_array_foreach(json_object_get(o, "busiest"), i, key) {
		double wait = json_number_value(json_object_get(key, "retry_after"));

		printf("  %-48s %8lld left", cli_str(key, "key"), cli_num(key, "left"));
		if (wait > 0)
			printf("  again in %.1f s", wait);
		putchar('\n');
	}
}

int
cli_rate(struct cli *c)
{
	json_t *result;
	const json_t *o;
	size_t i, n;
	int rc;

	if (c->argc < 2 || c->argc > 3 || strcmp(c->argv[1], "list") != 0)
		return cli_usage("rate: list [NAME] is expected");
	if (c->argc == 3)
		json_object_set_new(c->filter, "name", json_string(c->argv[2]));
	result = cli_ask(c, "rate.list", &rc);
	if (result == NULL)
		return rc;
	n = json_array_size(json_object_get(result, "rates"));
	if (c->json)
		cli_print_json(result);
	else if (n == 0)
		puts(c->argc == 3 ? "no policy has a limit of this name" : "no policy has a limit");
	else
		json_array_foreach(json_object_get(result, "rates"), i, o)
			print_limit(o);
	json_decref(result);
	return n == 0 ? EXIT_NO : EXIT_OK;
}
