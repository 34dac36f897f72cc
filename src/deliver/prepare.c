/* Preparing a destination: its route, what tls_policy says, and the hosts to try. dest_run asks for it
 * when something waits and what was known has run out; it ends with dest_run, or with an outcome for
 * everything that waits. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_int.h"

#define POLICY_TTL_MS (5 * 60000)	/* of a tls_policy answer that names no ttl */
#define HOSTS_TTL_MAX_MS 60000		/* libunbound caches; this saves the walk, not the query */
#define HOSTS_TTL_MIN_MS 1000
#define AGAIN_MS 300000			/* after a failed hook: the attempt does not count (I5) */

struct hostlist *
hostlist_ref(struct hostlist *h)
{
	if (h != NULL)
		h->refs++;
	return h;
}

void
hostlist_unref(struct hostlist *h)
{
	if (h == NULL || --h->refs > 0)
		return;
	for (size_t i = 0; i < h->n; i++)
		host_dane_unref(h->hosts[i].dane);
	for (size_t i = 0; i < h->nresults; i++)
		mx_result_unref(h->results[i]);
	free(h->results);
	sts_known_unref(h->sts);
	free(h->hosts);
	free(h);
}

struct prep *
prep_ref(struct prep *p)
{
	p->refs++;
	return p;
}

void
prep_unref(struct prep *p)
{
	if (p == NULL || --p->refs > 0)
		return;
	route_free(p->route);
	verify_want_fini(&p->want);
	free(p->policy_by);
	policy_gen_unref(p->gen);
	free(p);
}

static void
forget_policy(struct dest *t)
{
	prep_unref(t->prep);
	t->prep = NULL;
}

static void
forget_lookups(struct dest *t)
{
	for (size_t i = 0; i < t->nlookups; i++) {
		if (t->lookups[i] != 0)
			mx_cancel(t->d->env.dns, t->lookups[i]);
		mx_result_unref(t->found[i]);
	}
	free(t->lookups);
	free(t->found);
	t->lookups = NULL;
	t->found = NULL;
	t->nlookups = t->lookups_left = 0;
	if (t->sts_ticket != 0)
		sts_cancel(t->d->env.sts, t->sts_ticket);
	t->sts_ticket = 0;
	sts_known_unref(t->sts);
	t->sts = NULL;
	if (t->mx_hold != NULL)
		t->d->env.mx_release(t->mx_hold);
	t->mx_hold = NULL;
}

void
dest_forget(struct dest *t)
{
	if (t->ticket != 0)
		policy_cancel(t->d->env.policy, t->ticket);
	forget_lookups(t);
	dane_cancel(t);
	hostlist_unref(t->pending);
	forget_policy(t);
	hostlist_unref(t->hosts);
}

static void
fail_all(struct dest *t, enum outcome_kind kind, const char *status, const char *stage,
    const char *reason, int64_t uncounted_ms, const char *text)
{
	struct outcome o = { 0 };
	bool uncounted = uncounted_ms > 0;

	t->preparing = false;
	outcome_set(&o, kind, 0, status, stage, reason, text);
	o.uncounted = uncounted;
	if (uncounted)
		o.after_ms = uncounted_ms;
	dest_fail_waiting(t, &o, NULL);
	outcome_clear(&o);
}

static void
take_result(struct hostlist *h, const struct route *r, const struct mx_result *res, uint16_t port,
    uint16_t preference)
{
	for (size_t i = 0; i < res->n; i++) {
		const struct mx_host *m = &res->hosts[i];
		struct host *to = &h->hosts[h->n++];

		to->name = m->name;
		to->port = port;
		to->preference = r->via_mx ? m->preference : preference;
		to->mx = r->assert_secure_lookup ? MX_ASSERTED : r->via_mx ? hop_mx_trust(res, m) : MX_INSECURE;
		to->sts = h->sts_mode;
		to->sts_matches = hop_sts_matches(h->sts == NULL ? NULL : &h->sts->policy, m);
		to->mx = hop_mx_by_sts(to->mx, to->sts, to->sts_matches);
		to->has_no_name = m->is_address && r->nnames == 0;
		to->is_fixed = !r->via_mx;
		to->domain_canon = res->canon;
		to->found = m;
		to->addr_status = m->addr_status;
		to->addrs = m->addrs;
		to->naddrs = m->naddrs;
	}
}

static bool
want_family(const struct route *r, const struct mx_addr *a)
{
	return a->family == AF_INET ? r->ipv4 : r->ipv6;
}

int64_t
hosts_ttl_ms(uint32_t ttl)
{
	int64_t ms = (int64_t)ttl * 1000;

	return ms < HOSTS_TTL_MIN_MS ? HOSTS_TTL_MIN_MS : ms > HOSTS_TTL_MAX_MS ? HOSTS_TTL_MAX_MS : ms;
}

static void
hosts_found(struct dest *t)
{
	const struct route *r = t->prep->route;
	struct hostlist *h = xcalloc(1, sizeof *h);
	uint32_t ttl = UINT32_MAX;
	size_t total = 0, usable = 0;
	bool failing = false;

	for (size_t i = 0; i < t->nlookups; i++) {
		total += t->found[i]->n;
		failing = failing || t->found[i]->status == MX_TEMPFAIL;
		if (t->found[i]->ttl < ttl)
			ttl = t->found[i]->ttl;
	}
	h->refs = 1;
	h->sts_mode = t->sts_mode;
	h->sts = t->sts;
	t->sts = NULL;
	h->hosts = xcalloc(total, sizeof *h->hosts);
	for (size_t i = 0; i < t->nlookups; i++)
		take_result(h, r, t->found[i], r->via_mx ? r->port : r->hosts[i].port, (uint16_t)i);
	for (size_t i = 0; i < h->n; i++)
		for (size_t k = 0; k < h->hosts[i].naddrs; k++)
			usable += want_family(r, &h->hosts[i].addrs[k]);
	if (t->mx_hold != NULL)
		t->d->env.mx_release(t->mx_hold);
	t->mx_hold = NULL;
	h->results = t->found;
	h->nresults = t->nlookups;
	t->found = NULL;
	free(t->lookups);
	t->lookups = NULL;
	t->nlookups = 0;
	if (usable == 0) {
		/* Fixed hosts: a name that does not resolve is the operator's slip; mail waits. */
		char *text = xasprintf("no host of route \"%s\" has an address (%s)",
		    r->name, failing ? "DNS failure" : "no such name");

		hostlist_unref(h);
		fail_all(t, OUT_DEFERRED, "4.4.3", "dns", "no-address", 0, text);
		free(text);
		return;
	}
	h->until_ms = clock_mono_ms() + hosts_ttl_ms(ttl);
	t->pending = h;
	if (!dane_begin(t))
		dest_use_hosts(t);
}

void
dest_use_hosts(struct dest *t)
{
	hostlist_unref(t->hosts);
	t->hosts = t->pending;
	offers_of_domain(t, t->hosts);
	t->pending = NULL;
	t->preparing = false;
	t->fresh = true;	/* even if it has expired by now: what waits is tried with it */
	dest_run(t);
	t->fresh = false;
}

/* The ends that RFC 5321 section 5.1 and RFC 7505 give a lookup that leaves no host. */
static bool
mx_is_usable(struct dest *t, const struct mx_result *r)
{
	switch (r->status) {
	case MX_OK:
		return true;
	case MX_NXDOMAIN:
		fail_all(t, OUT_FAILED, "5.1.2", "dns", "nxdomain", 0, r->why);
		return false;
	case MX_NULL:
		fail_all(t, OUT_FAILED, "5.1.10", "dns", "null-mx", 0, r->why);
		return false;
	case MX_TEMPFAIL:
		fail_all(t, OUT_DEFERRED, "4.4.3", "dns", "dns-failure", 0, r->why);
		return false;
	case MX_ONLY_SELF:
		fail_all(t, OUT_FAILED, "5.4.6", "dns", "mx-loop", 0, r->why);
		return false;
	case MX_NO_ADDRESS:
		fail_all(t, OUT_FAILED, "5.4.4", "dns", "no-address", 0, r->why);
		return false;
	}
	return false;
}

/* Addresses, the policy of MTA-STS and what was seen before are found out side by side. */
static void
go_on(struct dest *t)
{
	if (t->nlookups > 0 && t->lookups_left == 0 && t->sts_ticket == 0 && !t->offers_loading)
		hosts_found(t);
}

static void
on_mx(void *owner, uint64_t ticket, struct mx_result *r)
{
	struct dest *t = owner;

	for (size_t i = 0; i < t->nlookups; i++) {
		if (t->lookups[i] == ticket) {
			t->lookups[i] = 0;
			t->found[i] = mx_result_ref(r);
		}
	}
	if (--t->lookups_left > 0)
		return;
	if (t->prep->route->via_mx && !mx_is_usable(t, t->found[0])) {
		forget_lookups(t);
		return;
	}
	go_on(t);
}

static void
on_sts(void *owner, uint64_t ticket, enum sts_mode mode, struct sts_known *known)
{
	struct dest *t = owner;

	t->sts_ticket = 0;
	t->sts_mode = mode;
	t->sts = sts_known_ref(known);
	go_on(t);
}

void
dest_offers_known(struct dest *t)
{
	go_on(t);
}

void
dest_forget_policy(struct dest *t)
{
	if (!t->preparing)
		forget_policy(t);
}

const char *
dest_sts_domain(const struct dest *t, const struct route *r)
{
	const char *name = r->domain != NULL ? r->domain : t->next_hop;

	return r->via_mx && name[0] != '[' && t->d->env.sts != NULL ? name : NULL;	/* S-12, S-13 */
}

void
dest_look_again(struct dest *t)
{
	hostlist_unref(t->hosts);
	t->hosts = NULL;
}

static void
find_hosts(struct dest *t)
{
	const struct route *r = t->prep->route;
	struct dns *dns = t->d->env.dns;
	struct mx_conf mx;
	const char *name = r->domain != NULL ? r->domain : t->next_hop;

	if (t->mx_hold != NULL)
		t->d->env.mx_release(t->mx_hold);
	mx = *t->d->env.mx(t->d->env.owner, &t->mx_hold);
	t->sts_mode = STS_NONE;
	if (t->d->env.conf(t->d->env.owner)->tls.sts && dest_sts_domain(t, r) != NULL)
		t->sts_ticket = sts_find(t->d->env.sts, dest_sts_domain(t, r), on_sts, t);
	offers_load(t);
	mx.port = r->port;	/* the loop rule is about the port that will be dialled */
	t->nlookups = t->lookups_left = r->via_mx ? 1 : r->nhosts;
	t->lookups = xcalloc(t->nlookups, sizeof *t->lookups);
	t->found = xcalloc(t->nlookups, sizeof *t->found);
	if (r->via_mx && name[0] == '[') {
		/* An address literal has no MX and no name (RFC 5321 2.3.5, row 43). */
		size_t skip = strncasecmp(name, "[IPv6:", 6) == 0 ? 6 : 1;
		char *ip = xstrndup(name + skip, strlen(name) - skip - 1);

		t->lookups[0] = mx_resolve_literal(dns, ip, &mx, on_mx, t);
		free(ip);
	} else if (r->via_mx) {
		t->lookups[0] = mx_resolve(dns, name, &mx, on_mx, t);
	} else {
		for (size_t i = 0; i < r->nhosts; i++)
			t->lookups[i] = mx_resolve_host(dns, r->hosts[i].host, &mx, on_mx, t);
	}
}

/* The destination's floor: the route's level, raised by tls_policy. */
static void
take_policy(struct dest *t, struct verdict *v)
{
	const struct route *r = t->prep->route;
	int64_t ttl = POLICY_TTL_MS;

	if (v->kind == VERDICT_DEFER) {
		const char *text = v->is_error ? "the tls_policy hook failed" :
		    v->text != NULL ? v->text : v->reason != NULL ? v->reason : "deferred by tls_policy";

		forget_policy(t);
		fail_all(t, OUT_DEFERRED, "4.3.0", "policy", "tls-policy",
		    !v->is_error && v->after_ms > 0 ? v->after_ms : AGAIN_MS, text);
		return;
	}
	t->prep->duties = duties_of_level(r->tls, r->waivable ? DUTY_BY_ADMIN_WAIVABLE : DUTY_BY_ADMIN);
	t->prep->on_unmet = UNMET_DEFAULT;
	if (v->kind == VERDICT_TLS) {
		duties_join(&t->prep->duties, duties_of_level(v->level, DUTY_BY_ADMIN));
		t->prep->on_unmet = v->on_unmet;
		t->prep->policy_by = xasprintf("%s %s", v->handler, v->where);
		if (v->ttl_ms >= 0)
			ttl = v->ttl_ms < 1000 ? 1000 : v->ttl_ms;
	}
	verify_want_set(&t->prep->want, r, v->kind == VERDICT_TLS ? v : NULL);
	t->prep->until_ms = clock_mono_ms() + ttl;
	find_hosts(t);
}

static void
policy_later(void *owner, uint64_t ticket, struct verdict *v)
{
	struct dest *t = owner;

	t->ticket = 0;
	take_policy(t, v);
}

void
dest_prepare(struct dest *t)
{
	int64_t now = clock_mono_ms();
	struct policy_gen *gen = t->d->env.generation(t->d->env.owner);
	struct verdict v = { 0 };
	struct err err;

	t->preparing = true;
	if (t->prep != NULL && t->prep->gen == gen && now < t->prep->until_ms) {
		policy_gen_unref(gen);
		find_hosts(t);
		return;
	}
	forget_policy(t);
	t->prep = xcalloc(1, sizeof *t->prep);
	t->prep->refs = 1;
	t->prep->gen = gen;
	t->prep->route = routing_resolve(policy_gen_conf(gen), t->stored_route, &err);
	if (t->prep->route == NULL) {
		forget_policy(t);
		fail_all(t, OUT_DEFERRED, "4.3.5", "policy", "no-route", AGAIN_MS, err.text);
		return;
	}
	if (t->prep->route->auth != NULL && !conf_may_log_in(policy_gen_conf(gen), t->prep->route, &err)) {
		forget_policy(t);
		fail_all(t, OUT_DEFERRED, "4.3.5", "auth", "no-credential", AGAIN_MS, err.text);
		return;
	}
	if (!policy_gen_has(gen, HOOK_TLS_POLICY)) {
		take_policy(t, &v);
		return;
	}
	t->subject = (struct policy_subject){ .rcpt = -1, .route = t->prep->route,
		.domain = t->prep->route->via_mx ? (t->prep->route->domain != NULL ? t->prep->route->domain : t->next_hop) :
		    t->prep->route->hosts[0].host };
	if (policy_call(t->d->env.policy, gen, HOOK_TLS_POLICY, &t->subject, &v, policy_later, t,
	    &t->ticket) == POLICY_LATER)
		return;
	t->ticket = 0;
	take_policy(t, &v);
	verdict_fini(&v);
}

bool
dest_is_prepared(const struct dest *t)
{
	int64_t now = clock_mono_ms();
	struct policy_gen *gen = t->d->env.generation(t->d->env.owner);
	bool ok = t->prep != NULL && t->hosts != NULL &&
	    (t->fresh || (t->prep->gen == gen && now < t->prep->until_ms && now < t->hosts->until_ms));

	policy_gen_unref(gen);
	return ok;
}
