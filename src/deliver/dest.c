/* Destinations: preparing one (route, tls_policy, hosts) and starting what waits in it. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_int.h"

#define POLICY_TTL_MS (5 * 60000)	/* of a tls_policy answer that names no ttl */
#define HOSTS_TTL_MAX_MS 60000		/* libunbound caches; this saves the walk, not the query */
#define HOSTS_TTL_MIN_MS 1000
#define AGAIN_MS 300000			/* after a failed hook: the attempt does not count (I5) */
/* Results of a destination that may wait for the disk, for each delivery that may be under way. What
 * is not on disk comes again after a crash (F-1): without a bound, a disk that takes its time would
 * make that as many as the next hop takes meanwhile. Four keep a quick disk from ever being waited for. */
#define UNSAVED_A_SLOT 4
#define STORAGE_AGAIN_MS 1000		/* while the queue's disk has failed */
#define EMPTY_MS 60000			/* how long an unused destination is remembered */
#define REST_PART 100			/* of the first retry interval, when nobody answers */
#define REST_MIN_MS 100
#define REST_MAX_MS 5000		/* what waits meanwhile is in memory, of which others need a share */
#define FULL_PATIENCE 25		/* messages taken before one connection more is tried */

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
	for (size_t i = 0; i < h->nresults; i++)
		mx_result_unref(h->results[i]);
	free(h->results);
	free(h->hosts);
	free(h);
}

void
item_free(struct item *it)
{
	if (it == NULL)
		return;
	for (size_t i = 0; i < it->n; i++) {
		outcome_clear(&it->rcpts[i].out);
		free(it->rcpts[i].bounce_reason);
		free(it->rcpts[i].reply_line);
	}
	free(it->rcpts);
	msg_unref(it->msg);
	free(it);
}

static void
on_again(evutil_socket_t fd, short what, void *arg)
{
	dest_run(arg);
}

static void
on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct dest *t = arg;

	if (TAILQ_EMPTY(&t->waiting) && t->refs == 0 && t->nconns == 0 && !t->preparing)
		dest_free(t);
}

struct dest *
dest_get(struct deliver *d, const char *stored_route, const char *next_hop)
{
	char *key = xasprintf("%s|%s", stored_route, next_hop);
	struct dest *t;

	HASH_FIND_STR(d->dests, key, t);
	if (t != NULL) {
		free(key);
		return t;
	}
	t = xcalloc(1, sizeof *t);
	t->d = d;
	t->key = key;
	t->stored_route = xstrdup(stored_route);
	t->next_hop = xstrdup(next_hop);
	TAILQ_INIT(&t->waiting);
	TAILQ_INIT(&t->conns);
	t->again = evtimer_new(d->env.base, on_again, t);
	t->sweep = evtimer_new(d->env.base, on_sweep, t);
	MUST(t->again != NULL && t->sweep != NULL);
	HASH_ADD_KEYPTR(hh, d->dests, t->key, strlen(t->key), t);
	return t;
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
	if (t->mx_hold != NULL)
		t->d->env.mx_release(t->mx_hold);
	t->mx_hold = NULL;
}

void
dest_free(struct dest *t)
{
	struct item *it;
	struct conn *c;

	if (t->ticket != 0)
		policy_cancel(t->d->env.policy, t->ticket);
	forget_lookups(t);
	forget_policy(t);
	hostlist_unref(t->hosts);
	while ((it = TAILQ_FIRST(&t->waiting)) != NULL) {
		TAILQ_REMOVE(&t->waiting, it, link);
		t->d->nwaiting--;
		item_free(it);
	}
	while ((c = TAILQ_FIRST(&t->conns)) != NULL) {
		if (t->d->draining)	/* the loop ends: nothing would finish a farewell */
			conn_free(c);
		else
			conn_quit(c);
	}
	HASH_DEL(t->d->dests, t);
	event_free(t->again);
	event_free(t->sweep);
	free(t->stored_route);
	free(t->next_hop);
	free(t->key);
	free(t);
}

/* ---- Preparing ---- */

/* Nothing can be tried for anybody (`only` NULL) or for those who owe the same: every such item gets
 * this outcome, through an attempt of its own so that hooks, evidence and notices are the same as
 * ever. The others keep their order: after n turns the queue has gone round once. */
void
dest_fail_waiting(struct dest *t, const struct outcome *like, const duty_mask *only)
{
	size_t n = t->nwaiting;		/* those that are here now, not those that come back */

	while (n-- > 0 && !TAILQ_EMPTY(&t->waiting)) {
		struct item *it = TAILQ_FIRST(&t->waiting);

		TAILQ_REMOVE(&t->waiting, it, link);
		if (only != NULL && it->duties != *only) {
			TAILQ_INSERT_TAIL(&t->waiting, it, link);
			continue;
		}
		t->nwaiting--;
		t->d->nwaiting--;
		for (size_t i = 0; i < it->n; i++) {
			struct outcome *o = &it->rcpts[i].out;

			if (o->kind != OUT_NONE)
				continue;
			outcome_set(o, like->kind, like->code, like->status, like->stage, like->reason,
			    like->text);
			o->uncounted = like->uncounted;
			o->after_ms = like->after_ms;
		}
		attempt_start(t, it);
	}
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
		if (r->assert_secure_lookup)
			to->mx = MX_ASSERTED;
		else if (r->via_mx && res->secure)
			to->mx = MX_DNSSEC;
		else
			to->mx = r->via_mx && res->implicit && !m->is_address ? MX_IMPLICIT : MX_INSECURE;
		to->has_no_name = m->is_address && r->nnames == 0;
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

static void
hosts_found(struct dest *t)
{
	struct hostlist *h = xcalloc(1, sizeof *h);
	uint32_t ttl = UINT32_MAX;
	size_t total = 0, usable = 0;
	bool failing = false;
	int64_t ms;

	for (size_t i = 0; i < t->nlookups; i++) {
		total += t->found[i]->n;
		failing = failing || t->found[i]->status == MX_TEMPFAIL;
		if (t->found[i]->ttl < ttl)
			ttl = t->found[i]->ttl;
	}
	h->refs = 1;
	h->hosts = xcalloc(total, sizeof *h->hosts);
	for (size_t i = 0; i < t->nlookups; i++)
		take_result(h, t->prep->route, t->found[i], t->prep->route->via_mx ? t->prep->route->port : t->prep->route->hosts[i].port,
		    (uint16_t)i);
	for (size_t i = 0; i < h->n; i++)
		for (size_t k = 0; k < h->hosts[i].naddrs; k++)
			usable += want_family(t->prep->route, &h->hosts[i].addrs[k]);
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
		char *text = xasprintf("no host of route \"%s\" has an address (%s)", t->prep->route->name,
		    failing ? "DNS failure" : "no such name");

		hostlist_unref(h);
		fail_all(t, OUT_DEFERRED, "4.4.3", "dns", "no-address", 0, text);
		free(text);
		return;
	}
	ms = (int64_t)ttl * 1000;
	h->until_ms = clock_mono_ms() + (ms < HOSTS_TTL_MIN_MS ? HOSTS_TTL_MIN_MS :
	    ms > HOSTS_TTL_MAX_MS ? HOSTS_TTL_MAX_MS : ms);
	hostlist_unref(t->hosts);
	t->hosts = h;
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
	hosts_found(t);
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
	mx.port = r->port;	/* the loop rule is about the port that will be dialled */
	t->nlookups = t->lookups_left = r->via_mx ? 1 : r->nhosts;
	t->lookups = xcalloc(t->nlookups, sizeof *t->lookups);
	t->found = xcalloc(t->nlookups, sizeof *t->found);
	if (r->via_mx && name[0] == '[') {
		/* An address literal has no MX and no name (RFC 5321 2.3.5, row 43). */
		size_t skip = strncasecmp(name, "[IPv6:", 6) == 0 ? 6 : 1;
		char *ip = xstrndup(name + skip, strlen(name) - skip - 1);

		t->lookups[0] = mx_resolve_host(dns, ip, &mx, on_mx, t);
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

static void
prepare(struct dest *t)
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

static bool
is_prepared(struct dest *t)
{
	int64_t now = clock_mono_ms();
	struct policy_gen *gen = t->d->env.generation(t->d->env.owner);
	bool ok = t->prep != NULL && t->fresh ? t->hosts != NULL : t->prep != NULL && t->prep->gen == gen && now < t->prep->until_ms && t->hosts != NULL &&
	    now < t->hosts->until_ms;

	policy_gen_unref(gen);
	return ok;
}

/* ---- Running ---- */

/* the configured number, or less where the hosts said so. */
static unsigned
concurrency(const struct dest *t)
{
	unsigned most = policy_gen_conf(t->prep->gen)->queue.concurrency;

	return t->limit > 0 && t->limit < most ? t->limit : most;
}

/* One connection more is tried now and then, not with every message: each try costs the host. */
void
dest_full(struct dest *t, unsigned others)
{
	t->limit = others > 0 ? others : 1;
	t->patience = FULL_PATIENCE;
	t->good = 0;
}

/* What is due or new in the next moments waits for one probe instead of being one each. Once it gets
 * through, each success allows one more beside it, so that what has piled up for a host that is
 * back comes to it the slower the fewer it takes. */
void
dest_away(struct dest *t)
{
	const struct conf *c = t->prep == NULL ? NULL : policy_gen_conf(t->prep->gen);
	int64_t ms = c == NULL || c->queue.nretry == 0 ? REST_MAX_MS : c->queue.retry_ms[0] / REST_PART;

	ms = ms < REST_MIN_MS ? REST_MIN_MS : ms > REST_MAX_MS ? REST_MAX_MS : ms;
	t->rest_until_ms = clock_mono_ms() + ms / 2 + arc4random_uniform((uint32_t)ms);
	t->limit = t->patience = 1;
	t->good = 0;
}

void
dest_succeeded(struct dest *t)
{
	t->rest_until_ms = 0;
	if (t->limit == 0 || t->prep == NULL || ++t->good < t->patience)
		return;
	t->good = 0;
	if (++t->limit >= policy_gen_conf(t->prep->gen)->queue.concurrency)
		t->limit = 0;
}

/* True: not now, but soon. */
static bool
is_resting(struct dest *t)
{
	int64_t left = t->rest_until_ms == 0 ? 0 : t->rest_until_ms - clock_mono_ms();
	struct timeval later = { left / 1000, left % 1000 * 1000 };

	if (left <= 0)
		return false;
	evtimer_add(t->again, &later);
	return true;
}

void
dest_add(struct dest *t, struct item *it)
{
	it->dest = t;
	TAILQ_INSERT_TAIL(&t->waiting, it, link);
	t->nwaiting++;
	t->d->nwaiting++;
}

void
dest_put_back(struct dest *t, struct item *it)
{
	TAILQ_INSERT_HEAD(&t->waiting, it, link);
	t->nwaiting++;
	t->d->nwaiting++;
}

void
dest_run_later(struct dest *t)
{
	struct timeval now = { 0, 0 };

	evtimer_add(t->again, &now);
}

void
dest_run(struct dest *t)
{
	struct timeval empty = { EMPTY_MS / 1000, 0 }, again = { STORAGE_AGAIN_MS / 1000, 0 };
	unsigned slots;

	if (t->preparing || t->d->draining)
		return;
	/* What is delivered while results cannot be written is delivered again after a crash (spec
	 * security.md 1, rule 3). Nobody tells when the disk works again, so it is looked at. */
	if (!TAILQ_EMPTY(&t->waiting) && store_may_accept(t->d->env.store, 0) == STORE_IO) {
		evtimer_add(t->again, &again);
		return;
	}
	if (!TAILQ_EMPTY(&t->waiting) && is_resting(t))
		return;
	while (!TAILQ_EMPTY(&t->waiting)) {
		struct item *it = TAILQ_FIRST(&t->waiting);

		if (!is_prepared(t)) {
			prepare(t);	/* may have ended them all, or come back here */
			return;
		}
		slots = concurrency(t);
		if (t->attempts >= slots || t->unsaved >= slots * UNSAVED_A_SLOT)
			return;		/* dest_attempt_over or dest_result_saved comes back */
		TAILQ_REMOVE(&t->waiting, it, link);
		t->nwaiting--;
		t->d->nwaiting--;
		attempt_start(t, it);
	}
	evtimer_add(t->sweep, &empty);
}

void
dest_attempt_over(struct dest *t)
{
	MUST(t->attempts > 0);
	t->attempts--;
	dest_run_later(t);
}

void
dest_result_posted(struct dest *t)
{
	t->refs++;
	t->unsaved++;
}

void
dest_result_saved(struct dest *t)
{
	MUST(t->unsaved > 0 && t->refs > 0);
	t->refs--;
	t->unsaved--;
	if (!TAILQ_EMPTY(&t->waiting))
		dest_run_later(t);
}
