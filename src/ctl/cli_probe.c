/* probe: what RFC 8689 would say of mail to a domain today, for people. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/cli_int.h"
#include "ctl/probe.h"

#define SHOWN 5u		/* patterns of a policy */

static const struct { const char *key, *label; } mails[PROBE_MAILS] = {
	{ "untagged", "no tag" }, { "tls_required_no", "TLS-Required: No" }, { "requiretls", "REQUIRETLS" },
};

static bool
is_true(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

static const char *
how(const json_t *o)
{
	const char *p = cli_str(o, "protection");

	if (strcmp(p, "clear") == 0)
		return "in clear";
	if (strcmp(p, "tls-dane") == 0)
		return "over TLS, verified by DANE";
	if (strcmp(p, "tls-pkix") == 0)
		return "over TLS, certificate verified";
	return "over TLS, certificate not verified";
}

static void
print_address(const json_t *a, long long port)
{
	const json_t *tls = json_object_get(a, "tls");

	printf("   %s port %lld: ", cli_str(a, "ip"), port);
	if (!json_is_object(tls)) {
		printf("%s%s%s\n", strcmp(cli_str(a, "stage"), "no-starttls") == 0 ? "no STARTTLS" : cli_str(a, "stage"),
		    cli_str(a, "text")[0] != '\0' ? ": " : "", cli_str(a, "text"));
		return;
	}
	printf("%s, %s%s%s\n", cli_str(tls, "version"), cli_str(tls, "cipher"),
	    cli_str(tls, "group")[0] != '\0' ? ", " : "", cli_str(tls, "group"));
	printf("      certificate %s%s%s; it names %s and is good until %.10s\n",
	    strcmp(cli_str(tls, "verified"), "no") == 0 ? "not verified" :
	    strcmp(cli_str(tls, "verified"), "dane") == 0 ? "verified by DANE" : "verified",
	    strcmp(cli_str(tls, "verified"), "no") == 0 ? ": " : "",
	    strcmp(cli_str(tls, "verified"), "no") == 0 ? cli_str(tls, "verify_error") : "",
	    cli_str(tls, "names")[0] != '\0' ? cli_str(tls, "names") : "nobody", cli_str(tls, "not_after"));
	printf("      REQUIRETLS %s\n", is_true(a, "requiretls") ? "offered" :
	    is_true(a, "requiretls_before_tls") ? "not offered after STARTTLS (before it does not count)" :
	    "not offered");
}

/* `said`: what was printed of this host before. */
static void
print_verdict(const char *label, const json_t *v, json_t *said)
{
	const json_t *change;
	const char *text;
	size_t i;

	if (is_true(v, "sent")) {
		printf("   %-18syes, %s%s\n", label, how(v), is_true(v, "with_requiretls") ? ", with REQUIRETLS" : "");
		return;
	}
	printf("   %-18s%s: %s (%s)\n", label, is_true(v, "for_good") ? "no" : "not now", cli_str(v, "text"),
	    cli_str(v, "status"));
	json_array_foreach(json_object_get(v, "changes"), i, change) {
		text = json_string_value(change);
		if (json_object_get(said, text) == NULL)
			printf("   %-18s  to change: %s\n", "", text);
		json_object_set_new(said, text, json_true());
	}
}

static void
print_host(const json_t *h, long long port)
{
	const json_t *a, *pref = json_object_get(h, "preference");
	const char *by = cli_str(h, "authenticated_by");
	json_t *said = json_object();
	size_t i;

	putchar('\n');
	if (json_is_integer(pref))
		printf("%lld ", (long long)json_integer_value(pref));
	printf("%s, name %s\n", cli_str(h, "name"), strcmp(by, "dnssec") == 0 ? "authenticated by DNSSEC" :
	    strcmp(by, "sts") == 0 ? "authenticated by MTA-STS" : strcmp(by, "domain") == 0 ?
	    "is the domain itself" : "not authenticated");
	if (json_is_boolean(json_object_get(h, "sts_match")))
		printf("   MTA-STS policy: %s this host\n", is_true(h, "sts_match") ? "names" : "does not name");
	if (cli_str(h, "tlsa")[0] != '\0')
		printf("   TLSA records: %s\n", cli_str(h, "tlsa"));
	if (json_array_size(json_object_get(h, "addresses")) == 0)
		printf("   no address: %s\n", cli_str(h, "address_lookup"));
	json_array_foreach(json_object_get(h, "addresses"), i, a)
		print_address(a, port);
	for (i = 0; i < PROBE_MAILS; i++)
		if (json_object_get(h, mails[i].key) != NULL)
			print_verdict(mails[i].label, json_object_get(h, mails[i].key), said);
	json_decref(said);
}

static void
print_sts(const json_t *sts)
{
	const json_t *mx = json_object_get(sts, "mx");
	size_t n = json_array_size(mx);

	if (!json_is_object(sts)) {
		printf("MTA-STS: off in this configuration\n");
	} else if (json_is_array(mx)) {
		printf("MTA-STS: mode %s, id %s, good for %lld s, names", cli_str(sts, "mode"), cli_str(sts, "id"),
		    cli_num(sts, "max_age"));
		for (size_t i = 0; i < n && i < SHOWN; i++)
			printf("%s %s", i > 0 ? "," : "", json_string_value(json_array_get(mx, i)));
		if (n > SHOWN)
			printf(" and %zu more", n - SHOWN);
		puts(n == 0 ? " nothing" : "");
	} else if (cli_str(sts, "why")[0] != '\0') {
		printf("MTA-STS: no policy to be had: %s\n", cli_str(sts, "why"));
	} else {
		printf("MTA-STS: no policy\n");
	}
}

static void
print_people(const json_t *o)
{
	const json_t *mx = json_object_get(o, "mx"), *dnssec = json_object_get(o, "dnssec"), *h, *end;
	size_t i, n = json_array_size(json_object_get(o, "hosts"));

	if (!is_true(dnssec, "validated"))
		printf("DNSSEC cannot be validated from here (%s): nothing counts as signed.\n\n",
		    cli_str(dnssec, "why"));
	if (n == 0)
		printf("%s\n", cli_str(mx, "why"));
	else
		printf("%s: %zu mail host%s, %s, %s\n", cli_str(o, "domain"), n, n == 1 ? "" : "s",
		    is_true(mx, "implicit") ? "no MX record" : "by MX records",
		    is_true(mx, "secure") ? "signed with DNSSEC" : "not signed");
	if (n > 0)
		print_sts(json_object_get(o, "sts"));
	json_array_foreach(json_object_get(o, "hosts"), i, h)
		print_host(h, cli_num(o, "port"));
	printf("\nMail to %s today\n", cli_str(o, "domain"));
	for (i = 0; i < PROBE_MAILS; i++) {
		end = json_object_get(json_object_get(o, "conclusion"), mails[i].key);
		if (strcmp(cli_str(end, "result"), "delivered") == 0)
			printf("   %-18sis delivered to %s %s%s\n", mails[i].label, cli_str(end, "host"), how(end),
			    is_true(end, "with_requiretls") ? ", with REQUIRETLS" : "");
		else
			printf("   %-18s%s%s%s (%s)\n", mails[i].label,
			    strcmp(cli_str(end, "result"), "returned") == 0 ? "is returned" : "waits",
			    n == 0 ? "" : ": ", n == 0 ? "" : cli_str(end, "text"), cli_str(end, "status"));
	}
}

/* The configuration that was named has to be right; the usual one is used when it is there. */
static bool
load(const struct cli *c, struct conf **conf_out)
{
	char *errors = NULL;

	*conf_out = NULL;
	if (!c->conf_named && access(c->conf_file, F_OK) != 0)
		return true;
	*conf_out = conf_load(c->conf_file, false, &errors);
	if (*conf_out == NULL)
		fprintf(stderr, "%s: it has problems\n%s%s%s", c->conf_file, errors,
		    errors[0] != '\0' && errors[strlen(errors) - 1] == '\n' ? "" : "\n", c->conf_named ? "" :
		    "without it: the system's resolvers, port 25\n");
	free(errors);
	return *conf_out != NULL || !c->conf_named;
}

/* The port that mail to this domain would go to. */
static uint16_t
port_of(const struct cli *c, const struct conf *conf, const char *domain)
{
	const struct conf_domain *d = conf == NULL ? NULL : conf_domain(conf, domain);
	const struct route *r = d == NULL ? NULL : conf_route(conf, d->route);

	if (c->port != 0)
		return c->port;
	if (r != NULL && !r->via_mx)
		fprintf(stderr, "sallyport: mail to %s goes to fixed hosts (route %s); its MX hosts are probed\n", domain,
		    d->route);
	return r != NULL && r->via_mx ? r->port : 25;
}

int
cli_probe(struct cli *c)
{
	static const int exits[] = { [PROBE_YES] = EXIT_OK, [PROBE_NO] = EXIT_NO,
		[PROBE_UNKNOWN] = EXIT_UNREACHABLE };
	struct probe p = { 0 };
	enum probe_answer answer;
	struct conf *conf;
	struct err err = { "" };
	json_t *o;
	int rc = EXIT_UNREACHABLE;

	if (c->argc != 2)
		return cli_usage("probe: a domain is expected");
	if (!dns_to_ascii(p.domain, slice_of(c->argv[1])))
		return cli_usage("probe: that is not a domain name");
	if (!load(c, &conf))
		return EXIT_USAGE;
	p.conf = conf;
	p.port = port_of(c, conf, p.domain);
	if (probe_run(&p, &err) == 0) {
		o = probe_json(&p, &answer);
		if (c->json)
			cli_print_json(o);
		else
			print_people(o);
		json_decref(o);
		rc = exits[answer];
	} else {
		fprintf(stderr, "sallyport: %s\n", err.text);
	}
	probe_fini(&p);
	conf_unref(conf);
	return rc;
}
