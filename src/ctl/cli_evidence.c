/* evidence: rows for people, the check of the chain, and all of it for an auditor's own tools.
 *
 * An export is read and written page by page, so that neither end ever holds the whole table. A line
 * of JSON has the record as it was hashed, octet for octet. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cli_int.h"
#include "trust/evidence.h"

/* ---- Rows for people ---- */

static void
print_evidence(const json_t *result)
{
	const json_t *e;
	size_t i;

	if (json_array_size(json_object_get(result, "evidence")) == 0)
		puts("no evidence");
	json_array_foreach(json_object_get(result, "evidence"), i, e) {
		printf("%s  row %lld  message %s\n", cli_str(e, "at"), cli_num(e, "id"), cli_str(e, "message"));
		cli_print_fields(json_object_get(e, "record"), 4);
		printf("    %-18s %s\n", "hash", cli_str(e, "hash"));
	}
	if (json_is_true(json_object_get(result, "more")))
		puts("... and more; --limit shows them, evidence export has all");
}

static int
show(struct cli *c)
{
	int rc;
	json_t *result = cli_question(c, "evidence.show", &rc);

	if (result == NULL)
		return rc;
	if (c->json)
		cli_print_json(result);
	else
		print_evidence(result);
	if (json_array_size(json_object_get(result, "evidence")) == 0)
		rc = EXIT_NO;
	json_decref(result);
	return rc;
}

/* ---- The check ---- */

static int
verify(struct cli *c)
{
	int rc;
	json_t *result = cli_question(c, "evidence.verify", &rc);
	const json_t *removed = json_object_get(result, "checkpoint");
	bool ok = json_is_true(json_object_get(result, "ok"));

	if (result == NULL)
		return rc;
	if (c->json) {
		cli_print_json(result);
	} else {
		if (json_is_object(removed))
			printf("checkpoint: rows up to %lld were removed for their age at %s, hash of the last %s\n",
			    cli_num(removed, "id"), cli_str(removed, "at"), cli_str(removed, "hash"));
		if (ok)
			printf("%lld rows, chain intact, last row %lld, head %s\n", cli_num(result, "rows"),
			    cli_num(result, "last"), cli_str(result, "head"));
		else
			printf("BROKEN at row %lld: %s\n", cli_num(result, "broken_at"),
			    cli_str(result, "problem"));
	}
	json_decref(result);
	return ok ? EXIT_OK : EXIT_NO;
}

/* ---- Export ---- */

/* RFC 4180 2.5 to 2.7. A cell that a spreadsheet would take for a formula gets an apostrophe in
 * front: what is in it may come from strangers (I7). */
static void
print_cell(const char *s)
{
	bool is_formula = *s != '\0' && strchr("=+-@\t\r", *s) != NULL;

	if (!is_formula && strpbrk(s, ",\"\r\n") == NULL) {
		fputs(s, stdout);
		return;
	}
	putchar('"');
	if (is_formula)
		putchar('\'');
	for (; *s != '\0'; s++) {
		if (*s == '"')
			putchar('"');
		putchar(*s);
	}
	putchar('"');
}

static void
csv_head(void)
{
	fputs("id", stdout);
	for (size_t i = 0; i < evidence_nfields; i++)
		printf(",%s", evidence_fields[i]);
	fputs(",hash\r\n", stdout);
}

static void
csv_row(long long id, const json_t *record, const char *hash)
{
	printf("%lld", id);
	for (size_t i = 0; i < evidence_nfields; i++) {
		const json_t *v = json_object_get(record, evidence_fields[i]);

		putchar(',');
		if (json_is_string(v))
			print_cell(json_string_value(v));
		else if (json_is_integer(v))
			printf("%lld", (long long)json_integer_value(v));
		else if (json_is_boolean(v))
			fputs(json_is_true(v) ? "true" : "false", stdout);
	}
	putchar(',');
	print_cell(hash);
	fputs("\r\n", stdout);
}

/* Where the chain of what follows begins. */
static void
print_start(const struct cli *c, const json_t *page)
{
	const json_t *removed = json_object_get(page, "checkpoint");
	json_t *o;

	if (c->csv) {
		csv_head();
		if (json_is_object(removed)) {
			o = json_pack("{s:s, s:s}", "at", cli_str(removed, "at"), "event", "checkpoint");
			csv_row(cli_num(removed, "id"), o, cli_str(removed, "hash"));
			json_decref(o);
		}
		return;
	}
	o = json_object();
	json_object_set(o, "before", json_object_get(page, "before"));
	json_object_set(o, "checkpoint", json_object_get(page, "checkpoint"));
	json_dumpf(o, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(o);
}

static void
print_row(const struct cli *c, const json_t *row)
{
	const char *text = cli_str(row, "text");
	json_t *record = json_loads(text, 0, NULL);

	if (c->csv) {
		csv_row(cli_num(row, "id"), record, cli_str(row, "hash"));
	} else {
		char *damaged = json_dumps(json_object_get(row, "text"), JSON_ENCODE_ANY);
		char *hash = json_dumps(json_object_get(row, "hash"), JSON_ENCODE_ANY);

		printf("{\"id\":%lld,\"hash\":%s,\"record\":%s}\n", cli_num(row, "id"), hash,
		    record != NULL && strchr(text, '\n') == NULL ? text : damaged);
		free(damaged);
		free(hash);
	}
	json_decref(record);
}

static int
export(struct cli *c)
{
	long long left = cli_num(c->filter, "limit"), n = 0;
	bool counted = left > 0, more = true;
	json_t *page;
	int rc = EXIT_OK;

	if (c->csv && c->json)
		return cli_usage("evidence export: --json or --csv, not both");
	while (more && (!counted || left > 0)) {
		const json_t *row;
		size_t i;

		if (counted)
			json_object_set_new(c->filter, "limit", json_integer(left));
		page = cli_question(c, "evidence.export", &rc);
		if (page == NULL)
			return rc;
		if (json_object_get(c->filter, "after") == NULL)
			print_start(c, page);
		json_array_foreach(json_object_get(page, "rows"), i, row)
			print_row(c, row);
		n += (long long)i;
		left -= (long long)i;
		/* Only forwards, whatever a damaged table says. */
		more = json_is_true(json_object_get(page, "more")) &&
		    cli_num(page, "last") > cli_num(c->filter, "after");
		json_object_set(c->filter, "after", json_object_get(page, "last"));
		json_decref(page);
	}
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "sallyport: the export is not whole: %s\n", strerror(errno));
		return EXIT_NO;
	}
	return n > 0 ? EXIT_OK : EXIT_NO;
}

int
cli_evidence(struct cli *c)
{
	const char *what = c->argc > 1 ? c->argv[1] : "";
	bool is_show = strcmp(what, "show") == 0;

	if (is_show && c->argc < 3 && json_object_size(c->filter) == 0)
		return cli_usage("evidence show: a message id, or --since, is expected");
	if (c->argc > 3)
		return cli_usage("evidence takes one message id; filters are options");
	if (c->argc > 2)
		json_object_set_new(c->filter, "id", json_string(c->argv[2]));
	if (is_show || strcmp(what, "list") == 0)
		return show(c);
	if (strcmp(what, "verify") == 0)
		return verify(c);
	if (strcmp(what, "export") == 0)
		return export(c);
	return cli_usage("evidence: show ID, list, verify or export is expected");
}
