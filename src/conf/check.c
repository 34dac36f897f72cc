/* What one field alone cannot show: names that must exist, settings that contradict each other,
 * files that must be there. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf_int.h"
#include "message/dkim.h"

/* ---- Defaults that depend on other settings ---- */
static bool
is_given(const json_t *item, const char *key)
{
	const json_t *v = json_object_get(item, key);

	return v != NULL && !json_is_null(v);
}

void
listener_after(struct reader *r, void *item, const json_t *given)
{
	struct conf_listener *l = item;

	if (!is_given(given, "starttls") && l->nidentities > 0 && !l->implicit_tls)
		l->starttls = STARTTLS_OFFER;
	for (size_t i = 0; i < l->nauth; i++)
		if (strcmp(l->auth[i], "EXTERNAL") == 0 && !is_given(given, "client_certs"))
			l->client_certs = true;
}

void
route_after(struct reader *r, void *item, const json_t *given)
{
	struct route *route = item;

	if (route->port == 0)
		route->port = route->implicit_tls ? 465 : 25;
	for (size_t i = 0; i < route->nhosts; i++)
		if (route->hosts[i].port == 0)
			route->hosts[i].port = route->port;
}

void
tls_after(struct reader *r, void *base, const json_t *given)
{
	struct conf *c = base;
	const char *trust = json_string_value(json_object_get(given, "trust"));

	if (trust != NULL && strcmp(trust, "system") == 0 && c->tls.ca_file != NULL)
		reader_error(r, "trust = \"system\" and ca_file exclude each other; remove one");
	if (trust != NULL && strcmp(trust, "file") == 0 && c->tls.ca_file == NULL)
		reader_error(r, "trust = \"file\" needs ca_file");
}

/* T-08: signed by who reports, and that is the contact's domain or one that it lies in. */
static void
check_signer(struct reader *r, const struct conf *c)
{
	const char *domain = c->tlsrpt.dkim.domain, *at, *tail;
	bool has_key = c->tlsrpt.dkim.key.path != NULL || c->tlsrpt.dkim.key.ref != NULL;

	if (domain == NULL && c->tlsrpt.dkim.selector == NULL && !has_key)
		return;
	if (domain == NULL || c->tlsrpt.dkim.selector == NULL || !has_key)
		reader_error(r, "dkim needs domain, selector and key");
	else if (c->tlsrpt.contact != NULL && (at = strrchr(c->tlsrpt.contact, '@')) != NULL) {
		tail = strlen(at + 1) < strlen(domain) ? "" : at + 1 + strlen(at + 1) - strlen(domain);
		if (strcmp(tail, domain) != 0 || (tail[-1] != '@' && tail[-1] != '.'))
			reader_error(r, "dkim: %s is not the domain of contact, nor one above it", domain);
	}
}

void
tlsrpt_after(struct reader *r, void *base, const json_t *given)
{
	struct conf *c = base;

	if ((c->tlsrpt.organization == NULL) != (c->tlsrpt.contact == NULL))
		reader_error(r, "organization and contact are needed both, or none of them");
	check_signer(r, c);
}

void
grant_after(struct reader *r, void *item, const json_t *given)
{
	struct conf_grant *g = item;
	unsigned to = duties_bits(duties_of_level(g->to, DUTY_BY_ADMIN));
	char day[32];

	if (is_given(given, "relaxes") && is_given(given, "to") && (g->relaxes & ~to) == 0)
		reader_error(r, "\"to\" is a lower level than \"relaxes\"");
	if (g->ndomains == 0 && g->nroutes == 0)
		reader_error(r, "domains or routes must say what it is for");
	if (g->expires_ms != 0 && g->expires_ms < clock_wall_ms()) {
		date_iso8601(day, sizeof day, g->expires_ms);
		problem_warn(r->p, "%s: expired on %.10s and allows nothing", r->path, day);
	}
}

void
conf_complete(struct conf *c)
{
	const char *host = c->identity.hostname == NULL ? "" : c->identity.hostname;

	if (c->identity.postmaster == NULL)
		c->identity.postmaster = xasprintf("postmaster@%s", host);
	if (c->dsn.from == NULL)
		c->dsn.from = xasprintf("Mail Delivery <%s>", c->identity.postmaster);
	conf_complete_credentials(c);
	if (c->queue.path == NULL && c->service.state != NULL)
		c->queue.path = path_below(c->service.state, "queue.db");
	if (c->dns.anchor != NULL && strcmp(c->dns.anchor, "none") == 0) {
		free(c->dns.anchor);
		c->dns.anchor = NULL;
	}
}

/* ---- Names ---- */
struct names {
	char text[512];		/* "a", "b" */
	size_t len;
};

static void
names_add(struct names *n, const char *name)
{
	int got = snprintf(n->text + n->len, sizeof n->text - n->len, "%s\"%s\"", n->len == 0 ? "" : ", ",
	    name);

	if (got > 0 && n->len + (size_t)got < sizeof n->text)
		n->len += (size_t)got;
	else
		n->text[n->len] = '\0';		/* what does not fit is left out whole */
}

static void
check_identity(struct reader *r, const char *name)
{
	struct names n = { .len = 0 };

	if (conf_identity(r->c, name) != NULL)
		return;
	for (size_t i = 0; i < r->c->tls.nidentities; i++)
		names_add(&n, r->c->tls.identities[i].name);
	if (n.len == 0)
		reader_error(r, "no identity \"%s\"; tls.identities is empty", name);
	else
		reader_error(r, "no identity \"%s\"; there are %s", name, n.text);
}

void
check_identities(struct reader *r, char *const *names, size_t n)
{
	size_t mark = path_push(r, "tls");

	for (size_t i = 0; i < n; i++)
		check_identity(r, names[i]);
	path_pop(r, mark);
}

static void
check_route_name(struct reader *r, const char *name)
{
	struct names n = { .len = 0 };

	if (conf_route(r->c, name) != NULL)
		return;
	for (size_t i = 0; i < r->c->nroutes; i++)
		names_add(&n, r->c->routes[i]->name);
	if (n.len == 0)
		reader_error(r, "no route \"%s\"; routes is empty", name);
	else
		reader_error(r, "no route \"%s\"; there are %s", name, n.text);
}

/* One more name on the path for one problem. */
#define ERROR_AT(r, key, ...) do {			\
	size_t mark_ = path_push(r, key);		\
	reader_error(r, __VA_ARGS__);			\
	path_pop(r, mark_);				\
} while (0)

/* ---- Listeners ---- */
static void
check_listener_tls(struct reader *r, const struct conf_listener *l)
{
	check_identities(r, l->identities, l->nidentities);
	if (l->implicit_tls && l->nidentities == 0)
		ERROR_AT(r, "implicit_tls", "needs a certificate; name one of tls.identities in tls");
	if (l->starttls != STARTTLS_OFF && l->implicit_tls)
		ERROR_AT(r, "starttls", "is not possible with implicit_tls; remove one");
	else if (l->starttls != STARTTLS_OFF && l->nidentities == 0)
		ERROR_AT(r, "starttls", "needs a certificate; name one of tls.identities in tls");
	/* announcing is a promise, and the keyword stands inside TLS only. */
	if (l->requiretls && l->nidentities == 0)
		ERROR_AT(r, "requiretls", "cannot be announced without TLS; name one of tls.identities in tls");
	else if (l->requiretls && l->starttls == STARTTLS_OFF && !l->implicit_tls)
		ERROR_AT(r, "requiretls", "cannot be announced with starttls = \"off\"");
	/* N-18: RFC 3207 section 4. */
	if (l->role == ROLE_MX && l->starttls == STARTTLS_REQUIRED && !l->has_clients)
		problem_warn(r->p, "%s.starttls: \"required\" on a public MX refuses senders without TLS "
		    "(RFC 3207 section 4)", r->path);
}

static bool
is_reachable(const char *bind)	/* by other machines */
{
	struct net_addr a;

	if (strncmp(bind, "unix:", 5) == 0)
		return false;
	if (strncmp(bind, "0.0.0.0:", 8) == 0 || strncmp(bind, "[::]:", 5) == 0)
		return true;
	return net_addr_parse(&a, slice_of(bind), 0, NULL) != 0 || !net_addr_is_loopback(&a);
}

static void
check_listener_role(struct reader *r, const struct conf_listener *l)
{
	bool open = false;

	for (size_t i = 0; i < l->nclients; i++)
		open = l->clients[i].bits == 0 || open;
	if (l->role == ROLE_RELAY && !l->has_clients && !l->client_certs && l->nauth == 0)
		ERROR_AT(r, "clients", "role \"relay\" needs to know who may relay");
	if (l->role == ROLE_RELAY && open)
		problem_warn(r->p, "%s.clients: everybody may relay", r->path);
	if (l->role != ROLE_REINJECT && l->peer != NULL)
		ERROR_AT(r, "peer", "is for role \"reinject\" only");
	for (size_t i = 0; l->role == ROLE_REINJECT && !l->has_clients && i < l->nbind; i++) {
		if (is_reachable(l->bind[i])) {
			ERROR_AT(r, "clients", "role \"reinject\" on %s needs to know who may connect",
			    l->bind[i]);
			break;
		}
	}
}

static void
check_listener_auth(struct reader *r, const struct conf_listener *l)
{
	for (size_t i = 0; i < l->nauth; i++) {
		bool external = strcmp(l->auth[i], "EXTERNAL") == 0;

		if (!external && strcmp(l->auth[i], "PLAIN") != 0)
			ERROR_AT(r, "auth", "\"%s\" is no mechanism of this version: PLAIN, EXTERNAL", l->auth[i]);
		if (external && !l->client_certs)
			ERROR_AT(r, "auth", "EXTERNAL needs client_certs = \"ask\"");
		if (external && l->nidentities == 0)
			ERROR_AT(r, "auth", "EXTERNAL needs TLS; name one of tls.identities in tls");
	}
	if (l->nauth == 0 && l->auth_in_clear)
		ERROR_AT(r, "auth_in_clear", "means nothing without auth");
	if (l->nauth > 0 && l->role == ROLE_REINJECT)
		ERROR_AT(r, "auth", "is not for role \"reinject\"");
	if (l->nauth > 0 && !l->auth_in_clear && (l->nidentities == 0 || (l->starttls == STARTTLS_OFF &&
	    !l->implicit_tls)))
		ERROR_AT(r, "auth", "would never be offered: the listener has no TLS, and auth_in_clear is not set");
	if (l->auth_in_clear && l->nauth > 0)
		problem_warn(r->p, "%s.auth_in_clear: passwords are sent in clear", r->path);
}

bool
same_address(const char *x, const char *y)
{
	struct net_addr a, b;

	if (strcmp(x, y) == 0)
		return true;
	memset(&a, 0, sizeof a);
	memset(&b, 0, sizeof b);
	return net_addr_parse(&a, slice_of(x), 0, NULL) == 0 &&
	    net_addr_parse(&b, slice_of(y), 0, NULL) == 0 && a.len == b.len &&
	    memcmp(&a.ss, &b.ss, a.len) == 0;
}

static void
check_binds(struct reader *r, size_t at)
{
	const struct conf_listener *l = &r->c->listeners[at];

	for (size_t i = 0; i < l->nbind; i++) {
		for (size_t k = 0; k <= at; k++) {
			const struct conf_listener *other = &r->c->listeners[k];
			size_t n = k == at ? i : other->nbind;

			for (size_t j = 0; j < n; j++)
				if (same_address(l->bind[i], other->bind[j]))
					ERROR_AT(r, "bind", "%s is bound already by listeners.%s",
					    l->bind[i], other->name);
		}
	}
}

/* ---- Routes ---- */
static bool
is_numeric(const char *host)
{
	return strchr(host, ':') != NULL || host[strspn(host, "0123456789.")] == '\0';
}

static void
check_route(struct reader *r, const struct route *route)
{
	if (strcmp(route->name, "mx") == 0)
		reader_error(r, "the name \"mx\" is taken: it means the MX records");
	if (!route->via_mx && route->nhosts > 0 && route->domain != NULL)
		ERROR_AT(r, "domain", "is only for via = \"mx\"");
	/* An assertion is about known hosts. Over everybody's MX it would waive RFC 8689 for all. */
	if (route->via_mx && route->assert_secure_lookup)
		ERROR_AT(r, "assert_secure_lookup", "is only for a list of hosts, not for via = \"mx\"");
	if (route->via_mx && route->assert_propagate && route->domain == NULL)
		ERROR_AT(r, "assert_propagate",
		    "with via = \"mx\" would be about all hosts; name your domain in domain");
	if (!route->ipv4 && !route->ipv6)
		ERROR_AT(r, "ipv6", "ipv4 and ipv6 are both off; nothing could be sent");
	if (route->source != NULL && !(strchr(route->source, ':') != NULL ? route->ipv6 : route->ipv4))
		ERROR_AT(r, "source", "%s is of a kind that this route does not use", route->source);
	for (size_t i = 0; i < route->nhosts; i++) {
		if (route->tls >= TLS_VERIFY && is_numeric(route->hosts[i].host) && route->nnames == 0 &&
		    route->npins == 0) {
			ERROR_AT(r, "names", "%s is an address; say which name or pin its certificate has",
			    route->hosts[i].host);
			break;
		}
	}
	conf_check_auth(r, route);
	if (!route->via_mx && route->tls >= TLS_SECURE && !route->assert_secure_lookup)
		problem_warn(r->p, "%s: tls = \"%s\" needs a secure look-up, and nothing asserts this host "
		    "list (assert_secure_lookup)", r->path, tls_level_name(route->tls));
}

/* ---- Grants ---- */
static void
check_grant(struct reader *r, const struct conf_grant *g)
{
	bool everything = false;
	size_t mark = path_push(r, "routes");

	for (size_t i = 0; i < g->nroutes; i++)
		check_route_name(r, g->routes[i]);
	path_pop(r, mark);
	for (size_t i = 0; i < g->ndomains; i++)
		everything = strcmp(g->domains[i], "*") == 0 || everything;
	/* who sets REQUIRETLS aside for all stops announcing it. */
	for (size_t i = 0; everything && g->nroutes == 0 && i < r->c->nlisteners; i++) {
		if (r->c->listeners[i].requiretls && g->relaxes & DUTY_PROPAGATE) {
			ERROR_AT(r, "domains", "\"*\" sets REQUIRETLS aside for all mail while listeners.%s "
			    "announces it", r->c->listeners[i].name);
			break;
		}
	}
}

/* ---- All of it ---- */
static void
check_listeners(struct reader *r)
{
	const struct conf *c = r->c;
	size_t top = path_push(r, "listeners"), mark;

	for (size_t i = 0; i < c->nlisteners; i++) {
		mark = path_push(r, c->listeners[i].name);
		check_listener_tls(r, &c->listeners[i]);
		check_listener_role(r, &c->listeners[i]);
		check_listener_auth(r, &c->listeners[i]);
		check_binds(r, i);
		path_pop(r, mark);
	}
	path_pop(r, top);
}

static void
check_domains(struct reader *r)
{
	const struct conf *c = r->c;
	size_t top = path_push(r, "domains"), mark, end;

	for (size_t i = 0; i < c->ndomains; i++) {
		if (c->domains[i].route == NULL)
			continue;
		mark = path_push_index(r, i);
		end = path_push(r, "route");
		check_route_name(r, c->domains[i].route);
		path_pop(r, end);
		path_pop(r, mark);
	}
	path_pop(r, top);
}

static void
check_service(struct reader *r)
{
	struct conf *c = r->c;

	if (c->log.audit != NULL)
		problem_warn(r->p, "log.audit: evidence and audit rows are kept in %s; this setting has no "
		    "effect", c->queue.path);
	if (c->nlisteners == 0)
		problem_warn(r->p, "listeners: there is none, so no mail comes in");
	if (c->ndomains == 0)
		problem_warn(r->p, "domains: there is none, so no mail is taken");
	if (c->service.http_text != NULL && is_reachable(c->service.http_text))
		problem_warn(r->p, "service.http: %s can be reached from other machines, and the page has "
		    "no password", c->service.http_text);
	if (!c->delivery.ipv4 && !c->delivery.ipv6)
		problem_error(r->p, "delivery.ipv6: ipv4 and ipv6 are both off; nothing could be sent");
	if (c->limits.sessions_per_address > c->limits.sessions)
		problem_warn(r->p, "limits.sessions_per_address: one address may take all of limits.sessions");
}

void
conf_check(struct reader *r)
{
	const struct conf *c = r->c;
	size_t top, mark;

	check_service(r);
	check_listeners(r);
	conf_check_sts(r);
	check_domains(r);
	top = path_push(r, "routes");
	for (size_t i = 0; i < c->nroutes; i++) {
		mark = path_push(r, c->routes[i]->name);
		check_route(r, c->routes[i]);
		path_pop(r, mark);
	}
	path_pop(r, top);
	top = path_push(r, "policy");
	path_push(r, "grants");
	for (size_t i = 0; i < c->policy.ngrants; i++) {
		mark = path_push(r, c->policy.grants[i].name);
		check_grant(r, &c->policy.grants[i]);
		path_pop(r, mark);
	}
	path_pop(r, top);
}

/* ---- Files ---- */
static void
check_readable(struct reader *r, const char *path, const char *file)
{
	struct stat st;
	int fd;

	if (file == NULL)
		return;
	fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		problem_error(r->p, "%s: %s cannot be read: %s", path, file, strerror(errno));
	else if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		problem_error(r->p, "%s: %s is not a file", path, file);
	if (fd >= 0)
		close(fd);
}

bool
secret_is_for_everybody(const struct conf_secret *k)
{
	struct stat st;

	return k->fd < 0 && stat(k->path, &st) == 0 && (st.st_mode & 07) != 0;
}

static void
check_dkim(struct reader *r, const char *what, const char *domain, const char *selector, const struct conf_secret *key)
{
	struct dkim_key *k;
	bool is_weak;
	struct err err;

	if (key->path == NULL)
		return;
	k = dkim_key_new(domain, selector, key->path, &is_weak, &err);
	if (k == NULL)
		problem_error(r->p, "%s.key: %s", what, err.text);
	else if (is_weak)
		problem_warn(r->p, "%s.key: %s is shorter than 2048 bits (RFC 8301)", what, key->path);
	if (k != NULL && secret_is_for_everybody(key))
		problem_warn(r->p, "%s.key: %s can be read by everybody", what, key->path);
	dkim_key_unref(k);
}

static void
check_dkim_keys(struct reader *r)
{
	const struct conf *c = r->c;

	check_dkim(r, "tlsrpt.dkim", c->tlsrpt.dkim.domain, c->tlsrpt.dkim.selector, &c->tlsrpt.dkim.key);
	for (size_t i = 0; i < c->ndkim; i++) {
		char *what = xasprintf("dkim.%s", c->dkim[i].name);

		check_dkim(r, what, c->dkim[i].domain, c->dkim[i].selector, &c->dkim[i].key);
		free(what);
	}
}

void
conf_check_files(struct reader *r)
{
	const struct conf *c = r->c;
	char path[256];
	struct err err;

	for (size_t i = 0; i < c->tls.nidentities; i++) {
		const struct conf_identity *id = &c->tls.identities[i];
		struct tls_file *next;

		if (tls_identity_check(id->cert, id->key.path, &err) != 0)
			problem_error(r->p, "tls.identities.%s: %s", id->name, err.text);
		else if (secret_is_for_everybody(&id->key))
			problem_warn(r->p, "tls.identities.%s.key: %s can be read by everybody", id->name,
			    id->key.path);
		/* Nothing depends on it yet. */
		next = id->next_key == NULL ? NULL : tls_file_key(id->next_key, &err);
		if (id->next_key != NULL && next == NULL)
			problem_warn(r->p, "tls.identities.%s.next_key: %s", id->name, err.text);
		tls_file_free(next);
	}
	conf_check_sts_files(r);
	check_readable(r, "tls.ca_file", c->tls.ca_file);
	check_readable(r, "tls.sts_ca_file", c->tls.sts_ca_file);
	check_readable(r, "tlsrpt.ca_file", c->tlsrpt.ca_file);
	check_readable(r, "policy.network.http_ca_file", c->policy.http_ca_file);
	check_dkim_keys(r);
	conf_check_credential_files(r);
	check_readable(r, "dns.anchor", c->dns.anchor);
	for (size_t i = 0; i < c->nroutes; i++) {
		snprintf(path, sizeof path, "routes.%s.ca_file", c->routes[i]->name);
		check_readable(r, path, c->routes[i]->ca_file);
	}
	for (size_t i = 0; i < c->policy.nload; i++) {
		snprintf(path, sizeof path, "policy.load[%zu]", i + 1);
		check_readable(r, path, c->policy.load[i]);
	}
	if (c->dsn.templates != NULL) {
		DIR *d = opendir(c->dsn.templates);

		if (d == NULL)
			problem_error(r->p, "dsn.templates: %s cannot be opened as a directory: %s",
			    c->dsn.templates, strerror(errno));
		else
			closedir(d);
	}
}
