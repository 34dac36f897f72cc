/* invariants: what mail to some domains owes, whatever policies, routes and grants say. A look-up costs
 * one step for each label, as with `domains`. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "conf/conf_int.h"

struct invariant_entry {
	UT_hash_handle hh;
	size_t index;		/* of the strictest one with this pattern */
	char key[];		/* as domain_entry's */
};

void
conf_index_invariants(struct conf *c)
{
	c->invariant_any = c->ninvariants;
	for (size_t i = 0; i < c->ninvariants; i++) {
		for (size_t k = 0; k < c->invariants[i].ndomains; k++) {
			const char *pattern = c->invariants[i].domains[k];
			const char *key = pattern[0] == '*' ? pattern + 1 : pattern;
			struct invariant_entry *e = NULL;
			size_t *place = &c->invariant_any;

			if (*key != '\0') {
				HASH_FIND_STR(c->invariant_index, key, e);
				if (e == NULL) {
					e = xcalloc(1, sizeof *e + strlen(key) + 1);
					strcpy(e->key, key);
					e->index = i;
					HASH_ADD_STR(c->invariant_index, key, e);
				}
				place = &e->index;
			}
			if (*place == c->ninvariants || c->invariants[i].at_least > c->invariants[*place].at_least)
				*place = i;
		}
	}
}

void
conf_free_invariant_index(struct conf *c)
{
	struct invariant_entry *e, *next;

	HASH_ITER(hh, c->invariant_index, e, next) {
		HASH_DEL(c->invariant_index, e);
		free(e);
	}
}

static void
take_stricter(const struct conf *c, const char *key, size_t n, size_t *best)
{
	struct invariant_entry *e;

	HASH_FIND(hh, c->invariant_index, key, (unsigned)n, e);
	if (e != NULL && (*best == c->ninvariants || c->invariants[e->index].at_least > c->invariants[*best].at_least))
		*best = e->index;
}

size_t
conf_invariant(const struct conf *c, const char *domain)
{
	size_t best = c->invariant_any, n = strlen(domain);
	char name[256];

	if (c->ninvariants == 0 || n == 0 || n >= sizeof name)
		return best;
	for (size_t i = 0; i <= n; i++)
		name[i] = domain[i] >= 'A' && domain[i] <= 'Z' ? (char)(domain[i] | 32) : domain[i];
	if (name[0] != '.')	/* ".x" is the key of "*.x", and no domain */
		take_stricter(c, name, n, &best);
	for (const char *dot = strchr(name + 1, '.'); dot != NULL; dot = strchr(dot + 1, '.'))
		take_stricter(c, dot, n - (size_t)(dot - name), &best);
	return best;
}

duty_mask
conf_invariant_duties(const struct conf *c, const char *domain)
{
	size_t i = conf_invariant(c, domain);

	return i >= c->ninvariants ? 0 : duties_of_level(c->invariants[i].at_least, DUTY_BY_ADMIN);
}

/* ---- What can be known before any mail comes ---- */

static bool
is_below(const char *name, const char *parent_with_dot)
{
	size_t n = strlen(name), m = strlen(parent_with_dot);

	return n > m && strcmp(name + n - m, parent_with_dot) == 0;
}

/* Is there a domain that both mean? */
static bool
patterns_meet(const char *a, const char *b)
{
	if (strcmp(a, "*") == 0 || strcmp(b, "*") == 0)
		return true;
	if (a[0] != '*' && b[0] != '*')
		return strcmp(a, b) == 0;
	if (a[0] == '*' && b[0] == '*')
		return strcmp(a, b) == 0 || is_below(a + 1, b + 1) || is_below(b + 1, a + 1);
	return a[0] == '*' ? is_below(b, a + 1) : is_below(a, b + 1);
}

/* The route that the configuration gives to a domain of this pattern. */
static const struct conf_domain *
way_to(const struct conf *c, const char *pattern)
{
	char name[300];

	snprintf(name, sizeof name, "%s%s", pattern[0] == '*' ? "x" : "", pattern[0] == '*' ? pattern + 1 : pattern);
	return conf_domain(c, name);
}

static bool
has_text(char *const *v, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(v[i], text) == 0)
			return true;
	return false;
}

static bool
grant_reaches(const struct conf *c, const struct conf_grant *g, const char *pattern)
{
	const struct conf_domain *d;

	for (size_t i = 0; i < g->ndomains; i++)
		if (patterns_meet(g->domains[i], pattern))
			return true;
	d = g->ndomains > 0 ? NULL : way_to(c, pattern);
	return d != NULL && d->route != NULL && has_text(g->routes, g->nroutes, d->route);
}

static void
check_grants(struct reader *r, const struct conf_invariant *v, size_t at, const char *pattern)
{
	const struct conf *c = r->c;
	unsigned asks = duties_bits(duties_of_level(v->at_least, DUTY_BY_ADMIN));

	for (size_t i = 0; i < c->policy.ngrants; i++) {
		const struct conf_grant *g = &c->policy.grants[i];
		unsigned leaves = duties_bits(duties_of_level(g->to, DUTY_BY_ADMIN));

		if (g->expires_ms != 0 && g->expires_ms < clock_wall_ms())
			continue;	/* allows nothing any more */
		if ((asks & g->relaxes & ~leaves) != 0 && grant_reaches(c, g, pattern))
			problem_error(r->p, "policy.grants.%s: would let mail to \"%s\" go with less than invariants[%zu] "
			    "asks for (\"%s\")", g->name, pattern, at + 1, tls_level_name(v->at_least));
	}
}

static bool
names_it(const struct conf_domain *d, const char *pattern)
{
	for (size_t i = 0; i < d->nmatch; i++)
		if (strcmp(d->match[i], "*") != 0 && patterns_meet(d->match[i], pattern))
			return true;
	return false;
}

/* A route for everybody may ask for less; one that was chosen for these domains hardly means it. */
static void
check_ways(struct reader *r, const struct conf_invariant *v, size_t at, const char *pattern)
{
	const struct conf *c = r->c;

	for (size_t i = 0; i < c->ndomains; i++) {
		const struct conf_domain *d = &c->domains[i];
		const struct route *route = d->route == NULL ? NULL : conf_route(c, d->route);

		if (route != NULL && route->tls < v->at_least && names_it(d, pattern))
			problem_warn(r->p, "routes.%s.tls: \"%s\" is less than invariants[%zu] asks for \"%s\" (\"%s\"), "
			    "which counts", route->name, tls_level_name(route->tls), at + 1, pattern,
			    tls_level_name(v->at_least));
	}
}

void
invariant_after(struct reader *r, void *item, const json_t *given)
{
	const struct conf_invariant *v = item;

	if (json_object_get(given, "at_least") != NULL && v->at_least == TLS_MAY)
		reader_error(r, "at_least = \"may\" asks for nothing");
}

void
conf_check_invariants(struct reader *r)
{
	const struct conf *c = r->c;

	for (size_t i = 0; i < c->ninvariants; i++) {
		for (size_t k = 0; k < c->invariants[i].ndomains; k++) {
			check_grants(r, &c->invariants[i], i, c->invariants[i].domains[k]);
			check_ways(r, &c->invariants[i], i, c->invariants[i].domains[k]);
		}
	}
}
