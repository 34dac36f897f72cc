/* dns-records: what to publish, and whether it is. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/cli_int.h"
#include "ctl/records.h"
#include "dns/dns.h"

static json_t *
one_json(const struct record *r)
{
	json_t *o = json_pack("{s:s, s:s, s:s?, s:s}", "name", r->name, "type", r->type, "data", r->data, "about",
	    r->about);

	if (r->state != RECORD_NOT_CHECKED) {
		json_object_set_new(o, "state", json_string(record_state_name(r->state)));
		json_object_set_new(o, "why", r->found == NULL ? json_null() : json_string(r->found));
	}
	return o;
}

static void
print_json(const struct records *r)
{
	json_t *list = json_array(), *o = json_pack("{s:o}", "records", list);

	for (size_t i = 0; i < r->n; i++)
		if (r->v[i].data != NULL || r->v[i].state != RECORD_NOT_CHECKED)
			json_array_append_new(list, one_json(&r->v[i]));
	cli_print_json(o);
	json_decref(o);
}

/* Goes into a zone file as it is. */
static void
print_zone(const struct records *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->v[i].data != NULL)
			printf("; %s\n%s. IN %s %s\n", r->v[i].about, r->v[i].name, r->v[i].type, r->v[i].data);
	if (r->n == 0)
		printf("; nothing: no sts_serve.domains, and no listener of role mx with STARTTLS\n");
}

static void
print_checked(const struct records *r)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct record *one = &r->v[i];

		printf("%-9s %s %s\n", record_state_name(one->state), one->name, one->type);
		if (one->found != NULL)
			printf("          %s\n", one->found);
		if ((one->state == RECORD_MISSING || one->state == RECORD_WRONG) && one->data != NULL)
			printf("          publish: %s. IN %s %s\n", one->name, one->type, one->data);
	}
}

static int
conclude(const struct records *r)
{
	int rc = EXIT_OK;

	for (size_t i = 0; i < r->n; i++) {
		if (r->v[i].state == RECORD_MISSING || r->v[i].state == RECORD_WRONG)
			return EXIT_NO;
		if (r->v[i].state == RECORD_UNKNOWN)
			rc = EXIT_UNREACHABLE;
	}
	return rc;
}

static struct conf *
load(const struct cli *c)
{
	char *errors;
	struct conf *conf = conf_load(c->conf_file, false, &errors);

	if (conf == NULL)
		fprintf(stderr, "%s", errors);
	free(errors);
	return conf;
}

int
cli_records(struct cli *c)
{
	char ascii[256];
	const char *domain = NULL;
	struct records r = { 0 };
	struct err err = { "" };
	struct conf *conf;
	int rc = EXIT_USAGE;

	if (c->argc > 2)
		return cli_usage("dns-records: one domain, or none for all, is expected");
	if (c->argc == 2 && !dns_to_ascii(ascii, slice_of(c->argv[1])))
		return cli_usage("dns-records: that is not a domain name");
	domain = c->argc == 2 ? ascii : NULL;
	net_tls_init();
	conf = load(c);
	if (conf == NULL)
		return EXIT_USAGE;
	if (records_make(&r, conf, domain, c->port, &err) != 0 || (c->check && records_check(&r, conf, &err) != 0)) {
		fprintf(stderr, "sallyport: %s\n", err.text);
	} else {
		if (c->json)
			print_json(&r);
		else if (c->check)
			print_checked(&r);
		else
			print_zone(&r);
		rc = conclude(&r);
	}
	records_fini(&r);
	conf_unref(conf);
	return rc;
}
