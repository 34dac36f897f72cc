/* queue and status: what the daemon knows, as tables for people or as JSON. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cli_int.h"

/* ---- Queue ---- */

static void
print_recipient(const json_t *r)
{
	const json_t *last = json_object_get(r, "last");

	printf("    %-36s %-8s next %s  tries %lld\n", cli_str(r, "address"), cli_str(r, "state"),
	    cli_str(r, "next")[0] != '\0' ? cli_str(r, "next") : "-", cli_num(r, "attempts"));
	if (cli_str(r, "hold_reason")[0] != '\0')
		printf("        held: %s\n", cli_str(r, "hold_reason"));
	if (last != NULL && cli_str(last, "status")[0] != '\0')
		printf("        last: %s %s %s\n", cli_str(last, "status"), cli_str(last, "reason"),
		    cli_str(last, "reply")[0] != '\0' ? cli_str(last, "reply") : cli_str(last, "text"));
}

static void
print_list(const json_t *result)
{
	const json_t *list = json_object_get(result, "messages"), *m, *r;
	size_t i, k;

	if (json_array_size(list) == 0)
		puts("no messages");
	json_array_foreach(list, i, m) {
		printf("%s  %s  %lld octets  from <%s>%s%s%s\n", cli_str(m, "id"), cli_str(m, "received"), cli_num(m, "size"),
		    cli_str(m, "from"), json_is_true(json_object_get(m, "requiretls")) ? "  REQUIRETLS" : "",
		    strcmp(cli_str(m, "duties"), "none") == 0 ? "" : "  owes ",
		    strcmp(cli_str(m, "duties"), "none") == 0 ? "" : cli_str(m, "duties"));
		json_array_foreach(json_object_get(m, "recipients"), k, r)
			print_recipient(r);
	}
	if (json_is_true(json_object_get(result, "more")))
		puts("... and more; --limit shows them");
}

static void
print_changes(const json_t *result)
{
	const json_t *r;
	size_t i;

	json_array_foreach(json_object_get(result, "recipients"), i, r)
		printf("%s  %-36s %s\n", cli_str(r, "id"), cli_str(r, "address"), cli_str(r, "state"));
	printf("%lld matched, %lld %s\n", cli_num(result, "matched"),
	    json_is_true(json_object_get(result, "dry_run")) ? cli_num(result, "matched") : cli_num(result, "changed"),
	    json_is_true(json_object_get(result, "dry_run")) ? "would change" : "changed");
	if (cli_num(result, "in_delivery") > 0)
		printf("%lld of them in delivery: what is being sent at this moment goes all the same\n",
		    cli_num(result, "in_delivery"));
	if (json_is_false(json_object_get(result, "settled")))
		fputs("a worker is very slow: it may still begin to send some of them as they were; "
		    "sallyport status, then sallyport queue list show when it goes on\n", stderr);
}

int
cli_queue(struct cli *c)
{
	static const char *const changes[] = { "hold", "release", "retry", "bounce", "delete", "require-tls" };
	const char *what = c->argc > 1 ? c->argv[1] : "";
	bool change = false;
	char verb[40];
	json_t *result;
	int rc;

	for (size_t i = 0; i < NELEMS(changes); i++)
		change = change || strcmp(what, changes[i]) == 0;
	if (!change && strcmp(what, "list") != 0 && strcmp(what, "show") != 0)
		return cli_usage("queue: list, show, hold, release, retry, bounce, delete or require-tls is expected");
	if (c->argc > 3)
		return cli_usage("queue takes one message id; filters are options");
	if (c->argc > 2)
		json_object_set_new(c->filter, "id", json_string(c->argv[2]));
	if (strcmp(what, "show") == 0 && c->argc < 3)
		return cli_usage("queue show: a message id is expected");
	if (change && json_object_size(c->filter) == 0)
		return cli_usage("which messages? give an id or a filter (--to '*' means all)");
	snprintf(verb, sizeof verb, "queue.%s", what);
	result = cli_question(c, verb, &rc);
	if (result == NULL)
		return rc;
	if (c->json)
		cli_print_json(result);
	else if (change)
		print_changes(result);
	else if (strcmp(what, "show") == 0)
		cli_print_fields(result, 0);
	else
		print_list(result);
	if (change && cli_num(result, "matched") == 0)
		rc = EXIT_NO;
	json_decref(result);
	return rc;
}

/* ---- Status ---- */

int
cli_status(struct cli *c)
{
	int rc;
	json_t *result = cli_ask(c, c->argv[0], &rc);

	if (result == NULL)
		return rc;
	if (strcmp(c->argv[0], "metrics") == 0)
		fputs(cli_str(result, "text"), stdout);
	else if (strcmp(c->argv[0], "reload") == 0)
		puts("reloaded");
	else if (c->json)
		cli_print_json(result);
	else
		cli_print_fields(result, 0);
	json_decref(result);
	return rc;
}
