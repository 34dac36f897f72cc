/* What the commands share: a question to the daemon or to a database, and JSON for people. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cli_int.h"
#include "ctl/ctl_int.h"

const char *
cli_str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s == NULL ? "" : s;
}

long long
cli_num(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

json_t *
cli_question(struct cli *c, const char *verb, int *rc)
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
	free(q.filter.head);
	free(q.reason);
	return result;
}

void
cli_print_fields(const json_t *o, int indent)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)o, key, v) {
		if (json_is_object(v)) {
			printf("%*s%s:\n", indent, "", key);
			cli_print_fields(v, indent + 4);
		} else if (json_is_string(v)) {
			printf("%*s%-18s %s\n", indent, "", key, json_string_value(v));
		} else if (!json_is_null(v)) {
			char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);

			printf("%*s%-18s %s\n", indent, "", key, text);
			free(text);
		}
	}
}
