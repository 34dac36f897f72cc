/* tlsrpt: what was counted for reports about TLS (RFC 8460), and with --json each report as it would be
 * sent now. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/conf.h"
#include "ctl/cli_int.h"
#include "tlsrpt/report.h"

/* ---- Tables ---- */

static void
print_detail(const json_t *d)
{
	const char *mx = cli_str(d, "receiving-mx-hostname"), *to = cli_str(d, "receiving-ip");
	const char *from = cli_str(d, "sending-mta-ip"), *why = cli_str(d, "failure-reason-code");

	printf("    %6lld  %s", cli_num(d, "failed-session-count"), cli_str(d, "result-type"));
	if (*mx != '\0')
		printf("  %s", mx);
	if (*to != '\0')
		printf(" [%s] from %s", to, from);
	printf("%s%s\n", *why != '\0' ? "  " : "", why);
}

static void
print_policy(const json_t *p)
{
	const json_t *policy = json_object_get(p, "policy"), *sum = json_object_get(p, "summary"), *d;
	size_t i;

	printf("  %s, %s: %lld sessions fit, %lld failed\n", cli_str(policy, "policy-type"),
	    cli_str(policy, "policy-domain"), cli_num(sum, "total-successful-session-count"),
	    cli_num(sum, "total-failure-session-count"));
	json_array_foreach(json_object_get(p, "failure-details"), i, d)
		print_detail(d);
}

static void
print_days(const json_t *result)
{
	const json_t *day, *p;
	size_t i, k;

	if (json_array_size(json_object_get(result, "days")) == 0)
		puts("nothing was counted");
	json_array_foreach(json_object_get(result, "days"), i, day) {
		const char *note = cli_str(day, "note");

		printf("%s  %s  %s%s%s\n", cli_str(day, "day"), cli_str(day, "domain"), cli_str(day, "state"),
		    *note != '\0' ? ": " : "", note);
		json_array_foreach(json_object_get(day, "policies"), k, p)
			print_policy(p);
	}
	if (json_is_true(json_object_get(result, "more")))
		puts("... and more; --limit shows them");
}

/* ---- Reports ---- */

static int64_t
day_number(const char *text)
{
	struct tm tm = { 0 };

	return strptime(text, "%Y-%m-%d", &tm) == NULL ? 0 : (int64_t)timegm(&tm) / 86400;
}

static void
add_report(json_t *day, const struct tlsrpt_who *who)
{
	char *policies = json_dumps(json_object_get(day, "policies"), JSON_COMPACT);
	struct err err;
	struct tlsrpt_report *r = policies == NULL ? NULL : tlsrpt_report_new(who, cli_str(day, "domain"),
	    day_number(cli_str(day, "day")), policies, &err);

	if (r != NULL) {
		json_object_set_new(day, "file", json_string(r->file_name));
		json_object_set_new(day, "report", json_loadb((char *)r->json, r->json_len, 0, NULL));
		json_object_del(day, "policies");
	}
	tlsrpt_report_free(r);
	free(policies);
}

/* In whose name they are made is in the configuration; without it there are the counts alone. */
static void
add_reports(const struct cli *c, json_t *result)
{
	char *errors = NULL;
	struct conf *conf = conf_load(c->conf_file, false, &errors);
	json_t *day;
	size_t i;

	free(errors);
	if (conf != NULL && conf->tlsrpt.organization != NULL) {
		struct tlsrpt_who who = { conf->tlsrpt.organization, conf->tlsrpt.contact, conf->identity.hostname };

		json_array_foreach(json_object_get(result, "days"), i, day)
			add_report(day, &who);
	}
	conf_unref(conf);
}

int
cli_tlsrpt(struct cli *c)
{
	const char *what = c->argc > 1 ? c->argv[1] : "";
	json_t *result;
	int rc;

	if (strcmp(what, "show") != 0 || c->argc > 3)
		return cli_usage("tlsrpt: show [DOMAIN] is expected");
	if (c->argc > 2)
		json_object_set_new(c->filter, "domain", json_string(c->argv[2]));
	result = cli_question(c, "tlsrpt.show", &rc);
	if (result == NULL)
		return rc;
	if (json_array_size(json_object_get(result, "days")) == 0)
		rc = EXIT_NO;
	if (c->json) {
		add_reports(c, result);
		cli_print_json(result);
	} else {
		print_days(result);
	}
	json_decref(result);
	return rc;
}
