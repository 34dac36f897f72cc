/* What an auditor asks for: where this configuration trusts somebody's word, and where it lets
 * mail go with less than was asked for (policy design 5.11). */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf_int.h"

static void note(json_t *out, const char *kind, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void
note(json_t *out, const char *kind, const char *path, const char *fmt, ...)
{
	va_list ap;
	json_t *text;

	va_start(ap, fmt);
	text = json_vsprintf(fmt, ap);
	va_end(ap);
	json_array_append_new(out, json_pack("{s:s, s:s, s:o}", "kind", kind, "setting", path, "text",
	    text != NULL ? text : json_string("")));
}

/* "ex1.acme.example:25, ex2.acme.example:25", at most a line of it. */
static void
list_hosts(char *dst, size_t size, const struct route *route)
{
	size_t n = 0;

	dst[0] = '\0';
	if (route->via_mx)
		snprintf(dst, size, "the MX hosts of %s", route->domain == NULL ? "all domains"
										: route->domain);
	for (size_t i = 0; i < route->nhosts && n < size; i++)
		n += (size_t)snprintf(dst + n, size - n, "%s%s:%u", i == 0 ? "" : ", ",
		    route->hosts[i].host, route->hosts[i].port);
}

static void
audit_route(json_t *out, const struct route *route)
{
	char path[128], hosts[400];
	size_t n = (size_t)snprintf(path, sizeof path, "routes.%s.", route->name);

	list_hosts(hosts, sizeof hosts, route);
#define PATH(key) (snprintf(path + n, sizeof path - n, "%s", key), path)
	if (route->assert_secure_lookup)
		note(out, "assertion", PATH("assert_secure_lookup"),
		    "%s: taken as a trusted choice of host without DNSSEC or MTA-STS", hosts);
	if (route->assert_propagate)
		note(out, "assertion", PATH("assert_propagate"),
		    "%s: REQUIRETLS is not demanded, as our own last hop", hosts);
	if (route->waivable && route->tls > TLS_MAY)
		note(out, "relaxing", PATH("waivable"), "TLS-Required: No may waive tls = \"%s\"",
		    tls_level_name(route->tls));
	if (route->npins > 0)
		note(out, "trust", PATH("pins"), "%zu pinned keys stand for a verified name", route->npins);
	if (route->nnames > 0)
		note(out, "trust", PATH("names"), "%zu other names than the host's own are accepted",
		    route->nnames);
	if (route->ca_file != NULL)
		note(out, "trust", PATH("ca_file"), "certificates are trusted by %s", route->ca_file);
	if (route->auth != NULL)
		note(out, "trust", PATH("auth"), "%s are told the password of credentials.%s", hosts, route->auth);
#undef PATH
}

static void
list_texts(char *dst, size_t size, char *const *v, size_t n)
{
	size_t len = 0;

	dst[0] = '\0';
	for (size_t i = 0; i < n && len < size; i++)
		len += (size_t)snprintf(dst + len, size - len, "%s%s", i == 0 ? "" : " ", v[i]);
}

static void
audit_invariant(json_t *out, const struct conf_invariant *v, size_t at)
{
	char path[64], domains[600];

	snprintf(path, sizeof path, "invariants[%zu]", at + 1);
	list_texts(domains, sizeof domains, v->domains, v->ndomains);
	note(out, "invariant", path, "mail to %s owes at least \"%s\", and nothing makes it less", domains,
	    tls_level_name(v->at_least));
}

static void
audit_grant(json_t *out, const struct conf_grant *g)
{
	char path[128], day[32], domains[300], routes[300], most[40] = "";

	snprintf(path, sizeof path, "policy.grants.%s", g->name);
	date_iso8601(day, sizeof day, g->expires_ms);
	list_texts(domains, sizeof domains, g->domains, g->ndomains);
	list_texts(routes, sizeof routes, g->routes, g->nroutes);
	if (g->max_per_day > 0)
		snprintf(most, sizeof most, ", at most %u a day", g->max_per_day);
	note(out, "grant", path, "from \"%s\" down to \"%s\"%s%s%s%s%s; owner %s; %s %.10s",
	    tls_level_name(duties_level(g->relaxes)), tls_level_name(g->to),
	    g->ndomains > 0 ? " for domains " : "", domains, g->nroutes > 0 ? " over routes " : "", routes,
	    most, g->owner, g->expires_ms < clock_wall_ms() ? "EXPIRED on" : "valid until", day);
}

static void
audit_listener(json_t *out, const struct conf_listener *l)
{
	char path[128];

	if (l->requiretls) {
		snprintf(path, sizeof path, "listeners.%s.requiretls", l->name);
		note(out, "promise", path, "REQUIRETLS is announced: mail sent with it must be protected on");
	}
	if (l->role == ROLE_RELAY && l->has_clients) {
		snprintf(path, sizeof path, "listeners.%s.clients", l->name);
		note(out, "trust", path, "%zu networks may relay without login", l->nclients);
	}
	if (l->nauth > 0 && l->role == ROLE_RELAY) {
		snprintf(path, sizeof path, "listeners.%s.auth", l->name);
		note(out, "trust", path, "who logs in may relay; the hook auth of the policy says who that is");
	}
	if (l->auth_in_clear) {
		snprintf(path, sizeof path, "listeners.%s.auth_in_clear", l->name);
		note(out, "relaxing", path, "passwords are sent in clear");
	}
	if (l->role != ROLE_REINJECT && l->starttls == STARTTLS_OFF && !l->implicit_tls) {
		snprintf(path, sizeof path, "listeners.%s.starttls", l->name);
		note(out, "relaxing", path, "mail comes in without TLS only");
	}
}

static void
audit_tls(json_t *out, const struct conf *c)
{
	if (c->tls.ca_file != NULL)
		note(out, "trust", "tls.ca_file", "certificates are trusted by %s, not by the system's store",
		    c->tls.ca_file);
	if (c->tls.honour_no)
		note(out, "relaxing", "tls.tls_required_no",
		    "senders may waive what recipients' domains and waivable routes ask for");
	for (size_t i = 0; c->tls.honour_no && c->tls.no_names != NULL && c->tls.no_names[i] != NULL; i++)
		if (!slice_is_nocase(slice_of(c->tls.no_names[i]), "TLS-Required"))
			note(out, "relaxing", "tls.tls_required_names",
			    "%s is taken for TLS-Required, which RFC 8689 does not know", c->tls.no_names[i]);
	if (!c->tls.dane)
		note(out, "relaxing", "tls.dane", "TLSA records of mail hosts are not looked up");
	if (c->tls.sts_ca_file != NULL)
		note(out, "trust", "tls.sts_ca_file", "policy hosts of MTA-STS are trusted by %s",
		    c->tls.sts_ca_file);
	if (c->tlsrpt.ca_file != NULL)
		note(out, "trust", "tlsrpt.ca_file", "receivers of TLS reports are trusted by %s",
		    c->tlsrpt.ca_file);
	if (!c->tlsrpt.verify)
		note(out, "relaxing", "tlsrpt.verify", "TLS reports go to receivers with any certificate");
	if (c->tlsrpt.allow_private)
		note(out, "relaxing", "tlsrpt.allow_private", "TLS reports may go to hosts in one's own networks");
	if (c->tls.sts_allow_private)
		note(out, "relaxing", "tls.sts_allow_private", "policies may be fetched from hosts in one's own networks");
	if (!c->tls.sts)
		note(out, "relaxing", "tls.sts", "MTA-STS policies of recipient domains are not looked at");
	if (c->tls.sts_testing_counts)
		note(out, "relaxing", "tls.sts_testing", "MTA-STS in mode testing counts as evidence");
}

static void
audit_rest(json_t *out, const struct conf *c)
{
	char path[320];

	if (c->dns.anchor == NULL)
		note(out, "relaxing", "dns.anchor", "DNSSEC is not validated; no MX lookup counts as secure");
	for (size_t i = 0; i < c->dns.nstubs; i++) {
		snprintf(path, sizeof path, "dns.stub.%s", c->dns.stubs[i].zone);
		if (c->dns.stubs[i].insecure)
			note(out, "trust", path, "taken from fixed servers, without DNSSEC");
	}
	for (size_t i = 0; i < c->policy.nlevels; i++) {
		snprintf(path, sizeof path, "policy.levels.%s", c->policy.levels[i].handler);
		if (c->policy.levels[i].level == 0)	/* POLICY_ADVISORY */
			note(out, "relaxing", path, "its verdicts are logged, not followed");
	}
	if (c->delivery.allow_loopback)
		note(out, "relaxing", "delivery.allow_loopback", "the DNS may point deliveries at this machine");
	if (c->queue.min_free_percent == 0)
		note(out, "relaxing", "queue.min_free", "the disk may fill up");
	if (c->service.user == NULL)
		note(out, "relaxing", "service.user", "the daemon stays the user who started it");
}

/* "kind", then its lines. */
static char *
as_text(json_t *notes)
{
	static const char *const kinds[] = { "invariant", "promise", "assertion", "grant", "trust", "relaxing" };
	static const char *const titles[] = { "Invariants", "Promises", "Assertions", "Grants", "Trust",
		"Relaxing settings" };
	struct buf b;
	json_t *each;
	size_t i;

	buf_init(&b, 16 << 20);
	for (size_t k = 0; k < NELEMS(kinds); k++) {
		bool any = false;

		buf_printf(&b, "%s%s\n", k == 0 ? "" : "\n", titles[k]);
		json_array_foreach(notes, i, each) {
			if (strcmp(json_string_value(json_object_get(each, "kind")), kinds[k]) != 0)
				continue;
			buf_printf(&b, "  %s: %s\n", json_string_value(json_object_get(each, "setting")),
			    json_string_value(json_object_get(each, "text")));
			any = true;
		}
		if (!any)
			buf_adds(&b, "  none\n");
	}
	return buf_take(&b);
}

char *
conf_audit(const struct conf *c, bool json)
{
	json_t *notes = json_array();
	char *text;

	for (size_t i = 0; i < c->ninvariants; i++)
		audit_invariant(notes, &c->invariants[i], i);
	for (size_t i = 0; i < c->nlisteners; i++)
		audit_listener(notes, &c->listeners[i]);
	for (size_t i = 0; i < c->nroutes; i++)
		audit_route(notes, c->routes[i]);
	for (size_t i = 0; i < c->policy.ngrants; i++)
		audit_grant(notes, &c->policy.grants[i]);
	audit_tls(notes, c);
	audit_rest(notes, c);
	text = json ? json_dumps(notes, JSON_INDENT(2)) : as_text(notes);
	json_decref(notes);
	return text;
}
