#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/routing.h"

struct routing {
	struct policy *policy;
	struct policy_gen *gen;
	struct conf *conf;
	struct msg *msg;
	struct policy_subject subject;
	size_t next;		/* recipient whose turn it is */
	uint64_t ticket;	/* of the question under way, 0 none */
	routing_done *done;
	void *owner;
	struct routing **slot;	/* the owner's; NULL once it is over */
};

const struct route *
routing_configured(const struct conf *c, const char *domain)
{
	const struct conf_domain *d;

	/* <postmaster> without a domain is ours (RFC 5321 4.5.1, M-59). */
	if (*domain == '\0') {
		const char *at = strrchr(c->identity.postmaster, '@');

		domain = at == NULL ? c->identity.hostname : at + 1;
	}
	d = conf_domain(c, domain);
	return d == NULL ? NULL : conf_route(c, d->route);
}

void
routing_set(struct msg_rcpt *r, const struct route *route)
{
	bool configured = route->name[0] != '\0' && route->expires_ms == 0;
	char *json = route_to_json(route);

	free(r->route);
	free(r->next_hop);
	/* A configured route is kept by name only, so that it is today's at each attempt. */
	r->route = configured ? xstrdup(route->name) : json;
	if (configured)
		free(json);
	if (route->via_mx)
		r->next_hop = xstrdup(route->domain != NULL ? route->domain : r->domain);
	else if (route->nhosts > 0)
		r->next_hop = xasprintf("%s:%u", route->hosts[0].host, route->hosts[0].port);
	else
		r->next_hop = xstrdup(r->domain);
}

static bool
same_hosts(const struct route *a, const struct route *b)
{
	if (a->via_mx != b->via_mx || a->nhosts != b->nhosts ||
	    (a->via_mx && strcmp(a->domain == NULL ? "" : a->domain, b->domain == NULL ? "" : b->domain) != 0))
		return false;
	for (size_t i = 0; i < a->nhosts; i++)
		if (a->hosts[i].port != b->hosts[i].port || strcmp(a->hosts[i].host, b->hosts[i].host) != 0)
			return false;
	return true;
}

struct route *
routing_resolve(const struct conf *c, const char *stored, struct err *err)
{
	const struct route *base;
	struct route *r;

	if (stored[0] != '{') {
		base = conf_route(c, stored);
		if (base == NULL) {
			err_set(err, "route \"%s\" is no longer in the configuration", stored);
			return NULL;
		}
		return route_copy(base);
	}
	r = route_from_json(stored, err);
	if (r == NULL)
		return NULL;
	/* Asserted trust is never taken from what was stored, and is about the named route's hosts
	 * (policy design 5.11). */
	base = r->name[0] == '\0' ? NULL : conf_route(c, r->name);
	r->assert_secure_lookup = base != NULL && same_hosts(r, base) && base->assert_secure_lookup;
	r->assert_propagate = base != NULL && same_hosts(r, base) && base->assert_propagate;
	return r;
}

static bool
apply(struct msg_rcpt *r, const struct verdict *v)
{
	switch (v->kind) {
	case VERDICT_ROUTE:
	case VERDICT_REROUTE:
		routing_set(r, v->route);
		return true;
	case VERDICT_HOLD:
		r->held = true;
		free(r->hold_reason);
		r->hold_reason = xstrdup(v->reason == NULL ? "policy" : v->reason);
		r->hold_expires_ms = v->expires_ms;
		break;
	case VERDICT_DISCARD:
		r->discarded = true;
		free(r->discard_reason);
		r->discard_reason = xstrdup(v->reason == NULL ? "policy" : v->reason);
		break;
	case VERDICT_BOUNCE:
		free(r->bounce_reason);
		r->bounce_reason = xasprintf("%s %s", v->status[0] == '\0' ? "5.7.1" : v->status,
		    v->text != NULL ? v->text : v->reason != NULL ? v->reason : "refused by policy");
		break;
	case VERDICT_DEFER:
		if (v->is_error)
			return false;
		r->not_before_ms = clock_wall_ms() + (v->after_ms >= 0 ? v->after_ms : 300000);
		break;
	default:
		break;
	}
	return true;
}

static void run(struct routing *q);

static void
finish(struct routing *q, const struct verdict *failed)
{
	routing_done *done = q->done;
	void *owner = q->owner;

	*q->slot = NULL;
	policy_gen_unref(q->gen);
	free(q);
	done(owner, failed);
}

/* Takes the hook's answer for the recipient whose turn it is. False: it failed. */
static bool
take(struct routing *q, const struct verdict *v)
{
	struct msg_rcpt *r = &q->msg->rcpts[q->next];

	if (!apply(r, v))
		return false;
	q->next++;
	return true;
}

static void
later(void *owner, uint64_t ticket, struct verdict *v)
{
	struct routing *q = owner;

	q->ticket = 0;
	if (!take(q, v))
		finish(q, v);
	else
		run(q);
}

static void
run(struct routing *q)
{
	bool has_hook = policy_gen_has(q->gen, HOOK_ROUTE);

	while (q->next < q->msg->nrcpts) {
		struct msg_rcpt *r = &q->msg->rcpts[q->next];
		const struct route *route = routing_configured(q->conf, r->domain);
		struct verdict v = { 0 };
		bool ok;

		if (route == NULL) {
			/* `domains` without "*": mail for nobody that we know. */
			r->bounce_reason = xstrdup("5.1.2 no route for this domain");
			r->route = xstrdup("");
			r->next_hop = xstrdup(r->domain);
			q->next++;
			continue;
		}
		routing_set(r, route);
		if (!has_hook || r->discarded) {
			q->next++;
			continue;
		}
		q->subject.rcpt = (int)q->next;
		q->subject.route = route;
		if (policy_call(q->policy, q->gen, HOOK_ROUTE, &q->subject, &v, later, q, &q->ticket) ==
		    POLICY_LATER)
			return;
		ok = take(q, &v);
		if (!ok) {
			finish(q, &v);
			verdict_fini(&v);
			return;
		}
		verdict_fini(&v);
	}
	finish(q, NULL);
}

void
routing_start(struct policy *p, struct policy_gen *g, struct msg *msg, struct slice header,
    struct policy_session *session, routing_done *done, void *owner, struct routing **slot)
{
	struct routing *q = xcalloc(1, sizeof *q);

	q->policy = p;
	q->gen = policy_gen_ref(g);
	q->conf = policy_gen_conf(g);
	q->msg = msg;
	q->done = done;
	q->owner = owner;
	q->subject = (struct policy_subject){ .session = session, .msg = msg, .header = header,
		.content = msg->content, .rcpt_state = "new" };
	q->slot = slot;
	*slot = q;
	run(q);
}

void
routing_cancel(struct routing *q)
{
	if (q == NULL)
		return;
	policy_cancel(q->policy, q->ticket);
	policy_gen_unref(q->gen);
	free(q);
}
