/* Grants: the only way to send with less than a message owes, for one hop, under a name that the
 * configuration gives (policy design 5.6). Uses a day are counted for the whole process. */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_int.h"

/* A relax is rare and each one is audited; a lock here costs nothing that mail would notice. */
static pthread_mutex_t use_lock = PTHREAD_MUTEX_INITIALIZER;
static struct use {
	struct use *next;
	char *grant;
	int64_t day;
	unsigned n;
	uint64_t total;
} *uses;

static bool
count_use(const char *grant, unsigned max_per_day)
{
	int64_t day = clock_wall_ms() / 86400000;
	struct use *u;
	bool ok;

	pthread_mutex_lock(&use_lock);
	for (u = uses; u != NULL && strcmp(u->grant, grant) != 0; u = u->next)
		;
	if (u == NULL) {
		u = xcalloc(1, sizeof *u);
		u->grant = xstrdup(grant);
		u->next = uses;
		uses = u;
	}
	if (u->day != day) {
		u->day = day;
		u->n = 0;
	}
	ok = max_per_day == 0 || u->n < max_per_day;
	if (ok) {
		u->n++;
		u->total++;
	}
	pthread_mutex_unlock(&use_lock);
	return ok;
}

void
grant_totals(void (*fn)(void *arg, const char *grant, uint64_t n), void *arg)
{
	pthread_mutex_lock(&use_lock);
	for (const struct use *u = uses; u != NULL; u = u->next)
		fn(arg, u->grant, u->total);
	pthread_mutex_unlock(&use_lock);
}

static bool
in_list(char **list, size_t n, const char *what)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(list[i], what) == 0)
			return true;
	return false;
}

/* As in `domains`: a name, "*.x" for any depth below x, "*" for all. */
static bool
matches(const struct conf_grant *g, const char *domain)
{
	size_t n = strlen(domain);

	for (size_t i = 0; i < g->ndomains; i++) {
		const char *p = g->domains[i];

		if (strcmp(p, "*") == 0 || strcasecmp(p, domain) == 0)
			return true;
		if (p[0] == '*' && p[1] == '.' && n > strlen(p + 1) &&
		    strcasecmp(domain + n - strlen(p + 1), p + 1) == 0)
			return true;
	}
	return false;
}

/* Named domains are the recipients' own; a message to several is covered only if all are. */
static bool
covers_domains(const struct conf_grant *g, const struct attempt *a)
{
	for (size_t i = 0; i < a->item->n; i++)
		if (!matches(g, a->msg->rcpts[a->item->rcpts[i].idx].domain))
			return false;
	return true;
}

bool
grant_use(struct attempt *a, const char *name, unsigned owed, unsigned *relaxed_to, struct err *err)
{
	const struct conf_grant *g = NULL;
	const struct conf *c = a->conf;
	unsigned left;

	for (size_t i = 0; i < c->policy.ngrants; i++)
		if (name != NULL && strcmp(c->policy.grants[i].name, name) == 0)
			g = &c->policy.grants[i];
	if (g == NULL) {
		err_set(err, "there is no grant \"%s\" in the configuration", name == NULL ? "" : name);
		return false;
	}
	if (g->expires_ms > 0 && clock_wall_ms() > g->expires_ms) {
		err_set(err, "grant \"%s\" has expired", name);
		return false;
	}
	/* All that a grant names has to fit. */
	if ((g->ndomains > 0 && !covers_domains(g, a)) ||
	    (g->nroutes > 0 && !in_list(g->routes, g->nroutes, a->prep->route->name))) {
		err_set(err, "grant \"%s\" does not cover %s by route \"%s\"", name, a->dest->next_hop,
		    a->prep->route->name);
		return false;
	}
	left = owed & ~(g->relaxes & ~duties_bits(duties_of_level(g->to, DUTY_BY_ADMIN)));
	if (owed & duties_bits(attempt_floor(a)) & ~left) {
		err_set(err, "grant \"%s\" would leave less than an invariant of the configuration or a login asks for", name);
		return false;
	}
	if (!count_use(name, g->max_per_day)) {
		err_set(err, "grant \"%s\" was used %u times today, which is its limit", name,
		    g->max_per_day);
		return false;
	}
	*relaxed_to = left;
	return true;
}
