/* queue, evidence, status: what the daemon knows, as tables for people or as JSON. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cli_int.h"
#include "ctl/ctl_int.h"

static const char *
str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s == NULL ? "" : s;
}

static long long
num(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* With --db the question goes to the database, without a daemon. */
static json_t *
ask(struct cli *c, const char *verb, int *rc)
{
	struct store_query q = { 0 };
	struct err err = { "" };
	json_t *request, *result = NULL;
	json_error_t je;
	char *text = NULL;

	if (c->db == NULL)
		return cli_ask(c, verb, rc);
	request = json_pack("{s:s, s:O}", "verb", verb, "filter", c->filter);
	*rc = EXIT_USAGE;
	if (ctl_query_parse(request, &q, &err)) {
		text = store_offline(c->db, &q, &err);
		*rc = text == NULL ? EXIT_NO : EXIT_OK;
	}
	json_decref(request);
	if (text == NULL)
		fprintf(stderr, "sallyport: %s\n", err.text);
	else
		result = json_loads(text, 0, &je);
	free(text);
	free(q.filter.from);
	free(q.filter.to);
	free(q.filter.domain);
	free(q.filter.route);
	free(q.filter.tag);
	free(q.filter.state);
	free(q.reason);
	return result;
}

/* ---- Queue ---- */

static void
print_recipient(const json_t *r)
{
	const json_t *last = json_object_get(r, "last");

	printf("    %-36s %-8s next %s  tries %lld\n", str(r, "address"), str(r, "state"),
	    str(r, "next")[0] != '\0' ? str(r, "next") : "-", num(r, "attempts"));
	if (str(r, "hold_reason")[0] != '\0')
		printf("        held: %s\n", str(r, "hold_reason"));
	if (last != NULL && str(last, "status")[0] != '\0')
		printf("        last: %s %s %s\n", str(last, "status"), str(last, "reason"),
		    str(last, "reply")[0] != '\0' ? str(last, "reply") : str(last, "text"));
}

static void
print_list(const json_t *result)
{
	const json_t *list = json_object_get(result, "messages"), *m, *r;
	size_t i, k;

	if (json_array_size(list) == 0)
		puts("no messages");
	json_array_foreach(list, i, m) {
		printf("%s  %s  %lld octets  from <%s>%s%s%s\n", str(m, "id"), str(m, "received"), num(m, "size"),
		    str(m, "from"), json_is_true(json_object_get(m, "requiretls")) ? "  REQUIRETLS" : "",
		    strcmp(str(m, "duties"), "none") == 0 ? "" : "  owes ",
		    strcmp(str(m, "duties"), "none") == 0 ? "" : str(m, "duties"));
		json_array_foreach(json_object_get(m, "recipients"), k, r)
			print_recipient(r);
	}
	if (json_is_true(json_object_get(result, "more")))
		puts("... and more; --limit shows them");
}

static void
print_fields(const json_t *o, int indent)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)o, key, v) {
		if (json_is_object(v)) {
			printf("%*s%s:\n", indent, "", key);
			print_fields(v, indent + 4);
		} else if (json_is_string(v)) {
			printf("%*s%-18s %s\n", indent, "", key, json_string_value(v));
		} else if (!json_is_null(v)) {
			char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);

			printf("%*s%-18s %s\n", indent, "", key, text);
			free(text);
		}
	}
}

static void
print_changes(const json_t *result)
{
	const json_t *r;
	size_t i;

	json_array_foreach(json_object_get(result, "recipients"), i, r)
		printf("%s  %-36s %s\n", str(r, "id"), str(r, "address"), str(r, "state"));
	printf("%lld matched, %lld %s\n", num(result, "matched"),
	    json_is_true(json_object_get(result, "dry_run")) ? num(result, "matched") : num(result, "changed"),
	    json_is_true(json_object_get(result, "dry_run")) ? "would change" : "changed");
	if (num(result, "in_delivery") > 0)
		printf("%lld of them in delivery: what is being sent at this moment goes all the same\n",
		    num(result, "in_delivery"));
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
	result = ask(c, verb, &rc);
	if (result == NULL)
		return rc;
	if (c->json)
		cli_print_json(result);
	else if (change)
		print_changes(result);
	else if (strcmp(what, "show") == 0)
		print_fields(result, 0);
	else
		print_list(result);
	if (change && num(result, "matched") == 0)
		rc = EXIT_NO;
	json_decref(result);
	return rc;
}

/* ---- Evidence ---- */

static void
print_evidence(const json_t *result)
{
	const json_t *e;
	size_t i;

	if (json_array_size(json_object_get(result, "evidence")) == 0)
		puts("no evidence");
	json_array_foreach(json_object_get(result, "evidence"), i, e) {
		printf("%s  row %lld  message %s\n", str(e, "at"), num(e, "id"), str(e, "message"));
		print_fields(json_object_get(e, "record"), 4);
		printf("    %-18s %s\n", "hash", str(e, "hash"));
	}
}

static int
verified(const json_t *result, bool json)
{
	bool ok = json_is_true(json_object_get(result, "ok"));

	if (json)
		cli_print_json(result);
	else if (ok)
		printf("%lld rows, chain intact, head %s\n", num(result, "rows"), str(result, "head"));
	else
		printf("BROKEN at row %lld: %s\n", num(result, "broken_at"), str(result, "problem"));
	return ok ? EXIT_OK : EXIT_NO;
}

int
cli_evidence(struct cli *c)
{
	const char *what = c->argc > 1 ? c->argv[1] : "";
	bool verify = strcmp(what, "verify") == 0, export = strcmp(what, "export") == 0;
	json_t *result;
	int rc;

	if (!verify && !export && strcmp(what, "show") != 0 && strcmp(what, "list") != 0)
		return cli_usage("evidence: show ID, list, verify or export is expected");
	if (strcmp(what, "show") == 0 && c->argc < 3 && json_object_size(c->filter) == 0)
		return cli_usage("evidence show: a message id, or --since, is expected");
	if (c->argc > 2)
		json_object_set_new(c->filter, "id", json_string(c->argv[2]));
	result = ask(c, verify ? "evidence.verify" : "evidence.show", &rc);
	if (result == NULL)
		return rc;
	if (verify)
		rc = verified(result, c->json);
	else if (c->json || export)
		cli_print_json(result);
	else
		print_evidence(result);
	if (!verify && json_array_size(json_object_get(result, "evidence")) == 0)
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
		fputs(str(result, "text"), stdout);
	else if (strcmp(c->argv[0], "reload") == 0)
		puts("reloaded");
	else if (c->json)
		cli_print_json(result);
	else
		print_fields(result, 0);
	json_decref(result);
	return rc;
}
