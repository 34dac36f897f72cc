/* policy why and trace: what handlers did, afterwards and as it happens. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cli_int.h"

/* ---- Records as lines ---- */

static void
print_list(const json_t *o, const char *key, const char *before)
{
	const json_t *v;
	size_t i;

	json_array_foreach(json_object_get(o, key), i, v)
		printf("%s%s", i == 0 ? before : ", ", json_string_value(v));
}

static void
print_effort(const json_t *o)
{
	long long us = cli_num(o, "wall_us"), instructions = cli_num(o, "instructions");

	if (strcmp(cli_str(o, "type"), "rule") == 0)
		return;
	if (instructions > 0)
		printf("  %lld instr", instructions);
	if (us < 10000)
		printf("  %lld us", us);
	else
		printf("  %lld ms", us / 1000);
}

static void
print_waits(const json_t *o)
{
	const json_t *w;
	size_t i;

	json_array_foreach(json_object_get(o, "waits"), i, w) {
		printf("%22swaited %lld us for %s %s: %s\n", "", cli_num(w, "us"), cli_str(w, "kind"), cli_str(w, "key"),
		    cli_str(w, "outcome"));
	}
}

static void
print_record(const json_t *o)
{
	const char *why = cli_str(o, "why"), *level = cli_str(o, "level");

	printf("%-10s %-4s %-22s %-18s", cli_str(o, "hook"), cli_str(o, "type"), cli_str(o, "handler"), cli_str(o, "where"));
	print_list(o, "matched", "  matched ");
	printf("  %s%s", strcmp(level, "advisory") == 0 && strcmp(cli_str(o, "verdict"), "nil") != 0 ? "would have: " : "",
	    cli_str(o, "verdict"));
	if (*why != '\0')
		printf(" %s", why);
	if (*cli_str(o, "error") != '\0')
		printf(": %s", cli_str(o, "error"));
	if (*cli_str(o, "duties") != '\0')
		printf("  +%s", cli_str(o, "duties"));
	print_list(o, "changed", "  ");
	print_effort(o);
	putchar('\n');
	print_list(o, "notes", "                      said: ");
	if (json_array_size(json_object_get(o, "notes")) > 0)
		putchar('\n');
	print_waits(o);
}

/* ---- why ---- */

static int
by_time(const void *a, const void *b)
{
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	int d = strcmp(cli_str(x, "at"), cli_str(y, "at"));

	if (d != 0)
		return d;
	if (cli_num(x, "worker") != cli_num(y, "worker"))
		return cli_num(x, "worker") < cli_num(y, "worker") ? -1 : 1;
	return cli_num(x, "seq") < cli_num(y, "seq") ? -1 : cli_num(x, "seq") > cli_num(y, "seq");
}

static bool
is_same(const json_t *a, const json_t *b)
{
	return cli_num(a, "seq") == cli_num(b, "seq") && cli_num(a, "worker") == cli_num(b, "worker") &&
	    strcmp(cli_str(a, "at"), cli_str(b, "at")) == 0;
}

/* Both lists as one, in order and each record once. */
static json_t *
merge(const json_t *a, const json_t *b)
{
	size_t n = json_array_size(a) + json_array_size(b), at = 0;
	json_t **v = xcalloc(n + 1, sizeof(json_t *)), *o, *out = json_array();
	size_t i;

	json_array_foreach((json_t *)a, i, o)
		v[at++] = o;
	json_array_foreach((json_t *)b, i, o)
		v[at++] = o;
	if (n > 1)
		qsort(v, n, sizeof(json_t *), by_time);
	for (i = 0; i < n; i++)
		if (i == 0 || !is_same(v[i], v[i - 1]))
			json_array_append(out, v[i]);
	free(v);
	return out;
}

static void
print_why(const json_t *list)
{
	const char *gen = "";
	const json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		if (strcmp(gen, cli_str(o, "gen")) != 0) {
			gen = cli_str(o, "gen");
			printf("generation %s  message %s  session %s  %s\n", gen, *cli_str(o, "message") == '\0' ? "-" :
			    cli_str(o, "message"), *cli_str(o, "session") == '\0' ? "-" : cli_str(o, "session"), cli_str(o, "at"));
		}
		print_record(o);
	}
}

int
cli_why(struct cli *c)
{
	json_t *stored, *ring = NULL, *list;
	int rc, ring_rc;

	if (c->argc != 3)
		return cli_usage("policy why takes the id of a message, or of a session");
	json_object_set_new(c->filter, "id", json_string(c->argv[2]));
	stored = cli_question(c, "trace.show", &rc);
	if (stored == NULL)
		return rc;
	if (c->db == NULL)
		ring = cli_ask(c, "trace.ring", &ring_rc);
	list = merge(json_object_get(stored, "trace"), json_object_get(ring, "trace"));
	if (c->json) {
		json_t *o = json_pack("{s:O}", "trace", list);

		cli_print_json(o);
		json_decref(o);
	} else if (json_array_size(list) == 0) {
		puts("nothing is recorded of it: no handler had anything to say, or it was too long ago (trace.keep)");
	} else {
		print_why(list);
	}
	rc = json_array_size(list) > 0 ? EXIT_OK : EXIT_NO;
	json_decref(list);
	json_decref(stored);
	json_decref(ring);
	return rc;
}

/* ---- trace ---- */

struct follow {
	struct cli *c;
	long long left;		/* 0: no end */
};

static bool
on_record(void *arg, const json_t *result)
{
	struct follow *f = arg;
	const json_t *o = json_object_get(result, "record");

	if (o == NULL) {		/* "watching" */
		fprintf(stderr, "watching; end with Ctrl-C\n");
		return true;
	}
	if (cli_num(result, "left_out") > 0)
		fprintf(stderr, "(%lld records left out: too fast)\n", cli_num(result, "left_out"));
	if (f->c->json) {
		json_dumpf(o, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		printf("%s %s ", cli_str(o, "at"), *cli_str(o, "message") != '\0' ? cli_str(o, "message") :
		    *cli_str(o, "session") != '\0' ? cli_str(o, "session") : "-            ");
		print_record(o);
	}
	fflush(stdout);
	return f->left == 0 || --f->left > 0;
}

int
cli_trace(struct cli *c)
{
	struct follow f = { c, cli_num(c->filter, "limit") };
	struct err err = { "" };
	json_t *request;
	char *path;
	int rc;

	if (c->argc > 1)
		return cli_usage("trace takes options only: --ip, --domain, --handler, --limit");
	path = cli_socket(c);
	if (path == NULL)
		return EXIT_USAGE;
	request = json_pack("{s:s, s:O}", "verb", "trace.watch", "filter", c->filter);
	rc = ctl_follow(path, request, on_record, &f, &err);
	if (rc != 0)
		fprintf(stderr, "sallyport: %s\n", err.text);
	json_decref(request);
	free(path);
	return rc == 0 ? EXIT_OK : EXIT_UNREACHABLE;
}
