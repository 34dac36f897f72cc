#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_int.h"
#include "deliver/events.h"

#define ROWS_MAX 256			/* of one destination; further hosts are not remembered */
#define SAVE_AGAIN_MS (3600 * 1000)	/* `last` alone is not worth more writing than that */
#define VALUE_MAX 64

struct row {
	enum offer what;
	char *host;			/* "" for what the domain offers */
	char value[VALUE_MAX];		/* what is, or was, offered */
	char instead[VALUE_MAX];	/* less than that, since lost_ms; "" nothing */
	int64_t first_ms, last_ms, lost_ms, saved_ms;	/* wall; lost_ms 0: it is offered */
};
struct offers {
	char *domain;
	struct row *rows;
	size_t n;
	bool is_blind;			/* what was before could not be read: nothing is compared or written */
	struct store_offer *dirty;
	size_t ndirty;
};

void
offers_free(struct offers *o)
{
	if (o == NULL)
		return;
	for (size_t i = 0; i < o->n; i++)
		free(o->rows[i].host);
	MUST(o->ndirty == 0);
	free(o->dirty);
	free(o->rows);
	free(o->domain);
	free(o);
}

static struct row *
find(const struct offers *o, const char *host, enum offer what)
{
	for (size_t i = 0; i < o->n; i++)
		if (o->rows[i].what == what && strcmp(o->rows[i].host, host) == 0)
			return &o->rows[i];
	return NULL;
}

static struct row *
add(struct offers *o, const char *host, enum offer what)
{
	struct row *r;

	if (o->n == ROWS_MAX)
		return NULL;
	o->rows = xrealloc(o->rows, (o->n + 1) * sizeof *o->rows);
	r = &o->rows[o->n++];
	*r = (struct row){ .what = what, .host = xstrdup(host) };
	return r;
}

/* ---- Reading ---- */

struct load {
	struct store_offers req;	/* first */
	struct deliver *d;
	struct dest *t;
};

static void
take_row(struct offers *o, const struct store_offer *from)
{
	enum offer what;
	struct row *r;

	if (from->host == NULL || from->what == NULL || from->value == NULL || !offer_parse(from->what, &what))
		return;
	r = add(o, from->host, what);
	if (r == NULL)
		return;
	snprintf(r->value, sizeof r->value, "%s", from->value);
	snprintf(r->instead, sizeof r->instead, "%s", from->instead == NULL ? "" : from->instead);
	r->first_ms = from->first_ms;
	r->last_ms = r->saved_ms = from->last_ms;
	r->lost_ms = from->lost_ms;
}

static void
loaded(void *reader, struct mail *m)
{
	struct load *l = (struct load *)m;
	struct offers *o;

	if (deliver_release(l->d)) {
		o = xcalloc(1, sizeof *o);
		o->domain = xstrdup(l->req.domain);
		o->is_blind = l->req.status != STORE_OK;
		for (size_t i = 0; i < l->req.n; i++)
			take_row(o, &l->req.rows[i]);
		l->t->refs--;
		l->t->offers_loading = false;
		l->t->offers = o;
		dest_offers_known(l->t);
	}
	store_offers_free(&l->req);	/* and l */
}

void
offers_load(struct dest *t)
{
	const struct route *r = t->prep->route;
	struct load *l;

	if (t->offers != NULL || t->offers_loading)
		return;
	l = xcalloc(1, sizeof *l);
	l->d = t->d;
	l->t = t;
	l->req.mail.run = loaded;
	l->req.mail.reply_to = t->d->env.mb;
	/* Hosts that a route names are the route's, whoever the recipients are. */
	l->req.domain = r->via_mx ? xstrdup(r->domain != NULL ? r->domain : t->next_hop) : xasprintf("route %s", r->name);
	l->req.now_ms = clock_wall_ms();
	t->refs++;
	t->offers_loading = true;
	deliver_hold(t->d);
	store_offers(t->d->env.store, &l->req);
}

/* ---- Comparing ---- */

static void
save(struct offers *o, struct row *r, int64_t now)
{
	struct store_offer *to;

	r->saved_ms = now;
	o->dirty = xrealloc(o->dirty, (o->ndirty + 1) * sizeof *o->dirty);
	to = &o->dirty[o->ndirty++];
	*to = (struct store_offer){ .domain = xstrdup(o->domain), .host = xstrdup(r->host),
		.what = xstrdup(offer_name(r->what)), .value = xstrdup(r->value),
		.instead = r->lost_ms == 0 ? NULL : xstrdup(r->instead), .first_ms = r->first_ms,
		.last_ms = r->last_ms, .lost_ms = r->lost_ms };
}

static void
say(struct dest *t, const struct row *r)
{
	char since[32], until[32];
	bool lost = r->lost_ms != 0;

	date_iso8601(since, sizeof since, r->first_ms);
	date_iso8601(until, sizeof until, r->last_ms);

	const struct log_kv kv[] = { LOG_S("domain", t->offers->domain), LOG_S("host", r->host[0] == '\0' ? NULL : r->host),
		LOG_S("what", offer_name(r->what)), LOG_S("was", lost ? r->value : NULL),
		LOG_S("now", !lost ? r->value : r->instead[0] == '\0' ? "nothing" : r->instead),
		LOG_S("since", since), LOG_S("until", lost ? until : NULL), { 0 } };
	const char *phrase = lost ? "protection offered before is gone" : "protection is offered again";

	log_write(lost ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, phrase, kv);
	events_emit(t->d->env.policy, t->prep->gen, phrase, kv);
}

/* `value` NULL: it is not offered. */
static void
note(struct dest *t, const char *host, enum offer what, const char *value)
{
	struct offers *o = t->offers;
	struct row *r = find(o, host, what);
	int64_t now = clock_wall_ms();
	int rank = offer_rank(what, value);

	if (r != NULL && r->lost_ms != 0 && now - r->lost_ms > STORE_OFFER_LOST_MS) {
		/* Nobody waits for it any more. */
		r->value[0] = '\0';
		r->lost_ms = r->first_ms = 0;
	}
	if (rank == 0 && (r == NULL || r->value[0] == '\0'))
		return;
	if (r == NULL && (r = add(o, host, what)) == NULL)
		return;
	if (rank >= offer_rank(what, r->value)) {
		bool again = r->lost_ms != 0, is_new = r->value[0] == '\0' || strcmp(r->value, value) != 0;

		snprintf(r->value, sizeof r->value, "%s", value);
		r->instead[0] = '\0';
		r->lost_ms = 0;
		if (r->first_ms == 0)
			r->first_ms = now;
		r->last_ms = now;
		if (again)
			say(t, r);
		if (again || is_new || now - r->saved_ms > SAVE_AGAIN_MS || now < r->saved_ms)
			save(o, r, now);
	} else if (r->lost_ms == 0 || rank < offer_rank(what, r->instead)) {
		bool is_new = r->lost_ms == 0;

		snprintf(r->instead, sizeof r->instead, "%s", value == NULL ? "" : value);
		if (is_new)
			r->lost_ms = now;
		t->d->stats.worse[what]++;
		say(t, r);
		save(o, r, now);
	}
}

/* Rides along with the store's next transaction; nobody waits for it. */
static void
flush(struct dest *t)
{
	struct store_result *r;

	if (t->offers->ndirty == 0)
		return;
	r = xcalloc(1, sizeof *r);
	r->offers = t->offers->dirty;
	r->noffers = t->offers->ndirty;
	t->offers->dirty = NULL;
	t->offers->ndirty = 0;
	store_result(t->d->env.store, r);
}

/* ---- What is seen ---- */

static void
note_sts(struct dest *t, const struct hostlist *h)
{
	char value[VALUE_MAX];

	snprintf(value, sizeof value, "%s id=%s", sts_mode_name(h->sts_mode), h->sts == NULL ? "" : h->sts->id);
	note(t, "", OFFER_STS, h->sts_mode == STS_NONE ? NULL : value);
}

/* A look-up that failed says nothing of what is offered. */
static void
note_tlsa(struct dest *t, const struct hostlist *h)
{
	bool usable = false, unknown = false;

	for (size_t i = 0; i < h->n; i++) {
		enum tlsa_state s = host_dane_state(h->hosts[i].dane);

		usable = usable || s == TLSA_USABLE;
		unknown = unknown || s == TLSA_FAILED || dns_status_is_failure(h->hosts[i].addr_status);
	}
	if (usable || !unknown)
		note(t, "", OFFER_TLSA, usable ? "yes" : NULL);
}

void
offers_of_domain(struct dest *t, const struct hostlist *h)
{
	const struct conf *c = t->d->env.conf(t->d->env.owner);
	const struct route *r = t->prep->route;

	if (t->offers == NULL || t->offers->is_blind || !r->via_mx || t->next_hop[0] == '[')
		return;
	if (c->dns.anchor != NULL)
		note(t, "", OFFER_DNSSEC, h->results[0]->secure ? "yes" : NULL);
	if (c->tls.sts && dest_sts_domain(t, r) != NULL && h->sts_mode != STS_FETCH_FAILED)
		note_sts(t, h);
	if (c->tls.dane && c->dns.anchor != NULL)
		note_tlsa(t, h);
	flush(t);
}

void
offers_of_host(struct attempt *a, const struct smtp_client_info *info)
{
	struct dest *t = a->dest;
	const char *host = a->conn->host;
	const struct tls_info *tls = info->tls;

	/* In clear on purpose, after TLS failed: what it offers was not looked at. */
	if (t->offers == NULL || t->offers->is_blind || t->prep == NULL || a->reused || a->clear)
		return;
	if (!a->prep->route->implicit_tls)
		note(t, host, OFFER_STARTTLS, tls != NULL ? "yes" : NULL);
	note(t, host, OFFER_REQUIRETLS, tls != NULL && (info->ext & SMTP_EXT_REQUIRETLS) != 0 ? "yes" : NULL);
	if (tls != NULL) {
		note(t, host, OFFER_TLS, tls->version);
		note(t, host, OFFER_CERT, a->facts.verified == PEER_UNVERIFIED ? NULL :
		    peer_verified_name(a->facts.verified));
	}
	flush(t);
}

void
offers_for_policy(const struct attempt *a, const char *host, struct policy_hop *hop)
{
	const struct offers *o = a->dest->offers;

	for (size_t i = 0; o != NULL && i < o->n; i++) {
		const struct row *r = &o->rows[i];

		if (r->value[0] == '\0' || (r->host[0] != '\0' && strcmp(r->host, host) != 0))
			continue;
		hop->offered_ms[r->what] = r->first_ms;
		hop->worse_ms[r->what] = r->lost_ms;
	}
}
