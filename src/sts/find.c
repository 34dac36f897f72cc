/* Which policy a domain has now.
 *
 * A look-up is a round: the TXT record is asked for, and the database when no policy is in memory.
 * Then, in proceed(): what is known has the record's id, and is the answer; or a fetch begins, unless
 * one for that id has just failed (S-28), and the answer is what is known afterwards. Whoever waits
 * longer than the bound gets what is known by then (S-32); the fetch goes on without him. What the
 * database has is waited for, however long that takes: a policy that is kept applies (S-30, X-41). */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hash.h"
#include "sts/fetch.h"
#include "sts/sts.h"
#include "trust/tlsrpt.h"

#define BACK_OFF_MS (5 * 60000)		/* S-28 */
#define REFRESH_BACK_OFF_MS (60 * 60000)
#define REFRESH_AFTER_MS (INT64_C(23) * 3600000)	/* S-45 */
#define REFRESH_FIRST_MS 1000
#define REFRESH_EVERY_MS (10 * 60000)
#define REFRESH_AT_ONCE 20u		/* fetches that a look at the database begins */
#define ENTRIES_MAX 10000u
#define RELOAD_S 1			/* after the database could not be read */

struct waiter {
	TAILQ_ENTRY(waiter) link;
	struct entry *e;
	uint64_t ticket;
	sts_cb *cb;
	void *owner;
	struct event *bound;
	bool is_next;
	bool is_due;			/* past the bound */
};

struct entry {
	UT_hash_handle hh;
	struct sts_finder *f;
	char *domain;
	struct sts_known *known;
	TAILQ_HEAD(, waiter) waiters;
	/* the round under way */
	uint64_t query;
	bool is_loading, was_loaded;
	struct event *reload;			/* NULL until it is needed */
	enum sts_txt txt;
	bool txt_failed;
	char id[STS_ID_SIZE];			/* of the newest record that was seen */
	/* a fetch, and the last that failed */
	struct sts_fetch *fetch;
	char fetch_id[STS_ID_SIZE];
	char failed_id[STS_ID_SIZE];
	int64_t failed_until;			/* mono */
	bool failed_for_sure;
};

struct sts_finder {
	struct sts_env env;
	struct sts_fetcher *fetcher;
	struct entry *entries;
	size_t nentries;
	struct slots tickets;
	struct event *refresh;
	size_t outstanding;			/* requests to the store */
	bool freed;
};

static void proceed(struct entry *e);
static void begin_fetch(struct entry *e, const char *id);

/* ---- Policies ---- */

struct sts_known *
sts_known_ref(struct sts_known *k)
{
	if (k != NULL)
		k->refs++;
	return k;
}

void
sts_known_unref(struct sts_known *k)
{
	if (k == NULL || --k->refs > 0)
		return;
	sts_policy_fini(&k->policy);
	free(k->text);
	free(k);
}

static struct sts_known *
known_new(struct slice text, const char *id, int64_t fetched_ms, struct err *err)
{
	struct sts_known *k = xcalloc(1, sizeof *k);

	if (!sts_policy_parse(text, &k->policy, err)) {
		free(k);
		return NULL;
	}
	k->refs = 1;
	snprintf(k->id, sizeof k->id, "%s", id);
	k->text = slice_dup(text);
	k->fetched_ms = fetched_ms;
	k->expires_ms = fetched_ms + k->policy.max_age_s * 1000;	/* S-43 */
	return k;
}

static bool
is_live(const struct sts_known *k)
{
	return k != NULL && clock_wall_ms() < k->expires_ms;
}

/* ---- Entries ---- */

static void
entry_free(struct entry *e)
{
	if (e->query != 0)
		dns_cancel(e->f->env.dns, e->query);
	sts_fetch_cancel(e->fetch);
	if (e->reload != NULL)
		event_free(e->reload);
	sts_known_unref(e->known);
	HASH_DEL(e->f->entries, e);
	e->f->nentries--;
	free(e->domain);
	free(e);
}

/* One that nobody waits for and nothing is under way for; its policy is in the database. */
static void
make_room(struct sts_finder *f)
{
	struct entry *e, *tmp;

	HASH_ITER(hh, f->entries, e, tmp) {
		if (TAILQ_EMPTY(&e->waiters) && e->query == 0 && !e->is_loading && e->fetch == NULL) {
			entry_free(e);
			return;
		}
	}
}

static struct entry *
entry_get(struct sts_finder *f, const char *domain)
{
	struct entry *e;

	HASH_FIND_STR(f->entries, domain, e);
	if (e != NULL)
		return e;
	if (f->nentries >= ENTRIES_MAX)
		make_room(f);
	e = xcalloc(1, sizeof *e);
	e->f = f;
	e->domain = xstrdup(domain);
	TAILQ_INIT(&e->waiters);
	HASH_ADD_KEYPTR(hh, f->entries, e->domain, strlen(e->domain), e);
	f->nentries++;
	return e;
}

static void
waiter_free(struct waiter *w)
{
	TAILQ_REMOVE(&w->e->waiters, w, link);
	slots_del(&w->e->f->tickets, w->ticket);
	event_free(w->bound);
	free(w);
}

static enum sts_mode
mode_now(const struct entry *e)
{
	if (is_live(e->known))
		return e->known->policy.mode;
	if (e->query != 0 || e->is_loading || e->fetch != NULL || e->txt_failed)
		return STS_FETCH_FAILED;	/* not known, or not yet (row 36) */
	return e->txt == STS_TXT_ID && !e->failed_for_sure ? STS_FETCH_FAILED : STS_NONE;
}

/* The callback may ask anew, or cancel others. */
static void
answer(struct waiter *w)
{
	struct entry *e = w->e;
	sts_cb *cb = w->cb;
	void *owner = w->owner;
	uint64_t ticket = w->ticket;
	struct sts_known *k = is_live(e->known) ? sts_known_ref(e->known) : NULL;
	enum sts_mode mode = mode_now(e);

	waiter_free(w);
	cb(owner, ticket, mode, k);
	sts_known_unref(k);
}

/* Those who wait now, not those who come meanwhile: their round is another. */
static void
answer_all(struct entry *e)
{
	struct waiter *w;

	TAILQ_FOREACH(w, &e->waiters, link)
		w->is_next = true;
	while ((w = TAILQ_FIRST(&e->waiters)) != NULL && w->is_next)
		answer(w);
}

static void
on_bound(evutil_socket_t fd, short what, void *arg)
{
	struct waiter *w = arg;

	w->is_due = true;
	if (!w->e->is_loading)
		answer(w);
}

static void
answer_due(struct entry *e)
{
	struct waiter *w = TAILQ_FIRST(&e->waiters);

	while (w != NULL) {
		if (!w->is_due) {
			w = TAILQ_NEXT(w, link);
			continue;
		}
		answer(w);
		w = TAILQ_FIRST(&e->waiters);	/* the callback may have changed the list */
	}
}

/* ---- The database ---- */

struct load {
	struct store_sts req;		/* first */
	struct sts_finder *f;
};

static bool
finder_release(struct sts_finder *f)
{
	f->outstanding--;
	if (!f->freed)
		return true;
	if (f->outstanding == 0)
		free(f);
	return false;
}

static void
take_row(struct entry *e, const struct store_policy *row)
{
	struct sts_known *k;
	struct err err;

	if (row->text == NULL || row->id == NULL ||
	    (e->known != NULL && e->known->fetched_ms >= row->fetched_ms))
		return;
	k = known_new(slice_of(row->text), row->id, row->fetched_ms, &err);
	if (k == NULL) {
		log_error("kept MTA-STS policy is damaged", LOG_S("domain", e->domain), LOG_S("why", err.text));
		return;
	}
	sts_known_unref(e->known);
	e->known = k;
}

static void ask_store(struct sts_finder *f, const char *domain, void (*run)(void *, struct mail *));
static void loaded(void *reader, struct mail *m);

static void
on_reload(evutil_socket_t fd, short what, void *arg)
{
	struct entry *e = arg;

	ask_store(e->f, e->domain, loaded);
}

/* Mail must not go as if nothing were kept: it waits, and the database is asked again. */
static void
load_failed(struct entry *e)
{
	static struct log_gate gate = { .kind = "kept MTA-STS policies" };
	static const struct timeval again = { RELOAD_S, 0 };

	if (log_may(&gate))
		log_error("kept MTA-STS policies cannot be read", LOG_S("domain", e->domain));
	if (e->reload == NULL)
		e->reload = evtimer_new(e->f->env.base, on_reload, e);
	MUST(e->reload != NULL);
	evtimer_add(e->reload, &again);
}

static void
loaded(void *reader, struct mail *m)
{
	struct load *l = (struct load *)m;
	struct sts_finder *f = finder_release(l->f) ? l->f : NULL;
	struct entry *e = NULL;

	if (f != NULL)
		HASH_FIND_STR(f->entries, l->req.domain, e);
	if (e != NULL && e->is_loading && l->req.status != STORE_OK) {
		load_failed(e);
	} else if (e != NULL && e->is_loading) {
		e->is_loading = false;
		if (l->req.n > 0)
			take_row(e, &l->req.rows[0]);
		proceed(e);
		answer_due(e);
	}
	store_sts_free(&l->req);
}

static void
ask_store(struct sts_finder *f, const char *domain, void (*run)(void *, struct mail *))
{
	struct load *l = xcalloc(1, sizeof *l);

	l->f = f;
	l->req.mail.run = run;
	l->req.mail.reply_to = f->env.mb;
	l->req.domain = xstrdup(domain);
	l->req.before_ms = clock_wall_ms() - REFRESH_AFTER_MS;
	l->req.limit = 1000;
	f->outstanding++;
	store_sts(f->env.store, &l->req);
}

static void
load(struct entry *e)
{
	e->is_loading = e->was_loaded = true;
	ask_store(e->f, e->domain, loaded);
}

static void
keep(struct entry *e)
{
	struct store_result *r = xcalloc(1, sizeof *r);

	r->sts = xcalloc(1, sizeof *r->sts);
	r->sts->domain = xstrdup(e->domain);
	r->sts->id = xstrdup(e->known->id);
	r->sts->text = xstrdup(e->known->text);
	r->sts->fetched_ms = e->known->fetched_ms;
	r->sts->expires_ms = e->known->expires_ms;
	store_result(e->f->env.store, r);	/* nobody waits for it: the store frees it */
}

/* ---- Fetching ---- */

/* S-74: a failure after a record that announces a policy, and any while one is kept that is not none.
 * Counted once for each fetch, not for each message that could have used it. */
static void
report(struct entry *e, const char *result, const char *text, const char *why)
{
	bool is_announced = e->txt == STS_TXT_ID && strcmp(e->id, e->fetch_id) == 0;
	bool is_kept = is_live(e->known) && e->known->policy.mode != STS_NONE;
	struct sts_how how = { .reports = false };
	struct store_result *r;
	char reason[200];

	e->f->env.how(e->f->env.owner, &how);
	if (!how.reports || (!is_announced && !is_kept))
		return;
	r = xcalloc(1, sizeof *r);
	r->counts = xcalloc(1, sizeof *r->counts);
	r->ncounts = 1;
	r->counts->domain = xstrdup(e->domain);
	r->counts->policy_domain = xstrdup(e->domain);
	r->counts->day = clock_wall_ms() / 86400000;
	r->counts->type = TLSRPT_STS;
	r->counts->result = result;
	text_escape(reason, sizeof reason, why, strlen(why), false);
	r->counts->reason = xstrdup(reason);
	if (text != NULL) {
		r->counts->strings = tlsrpt_lines(text);
	} else if (is_live(e->known)) {
		r->counts->strings = tlsrpt_lines(e->known->text);
		r->counts->mx_hosts = tlsrpt_list(e->known->policy.mx, e->known->policy.nmx);
	}
	store_result(e->f->env.store, r);	/* nobody waits for it: the store frees it */
}

/* S-46: the operator hears of it, unless the policy that stays was none. */
static void
fetch_failed(struct entry *e, bool for_sure, const char *why)
{
	bool is_refresh = is_live(e->known) && strcmp(e->known->id, e->fetch_id) == 0;

	snprintf(e->failed_id, sizeof e->failed_id, "%s", e->fetch_id);
	e->failed_until = clock_mono_ms() + (is_refresh ? REFRESH_BACK_OFF_MS : BACK_OFF_MS);
	e->failed_for_sure = for_sure;
	if (is_live(e->known) && e->known->policy.mode == STS_NONE)
		log_info("MTA-STS policy not fetched", LOG_S("domain", e->domain), LOG_S("id", e->fetch_id),
		    LOG_S("why", why), LOG_S("applies", "none"));
	else
		log_warn("MTA-STS policy not fetched", LOG_S("domain", e->domain), LOG_S("id", e->fetch_id),
		    LOG_S("why", why), LOG_S("applies", is_live(e->known) ?
		    sts_mode_name(e->known->policy.mode) : NULL));
}

static void
on_fetched(void *owner, enum sts_fetched got, struct slice text, const char *why)
{
	struct entry *e = owner;
	struct sts_known *k = NULL;
	const char *result = got == STS_UNTRUSTED ? TLSRPT_STS_WEBPKI : TLSRPT_STS_FETCH;
	char *wrong = NULL;
	struct err err = { "" };

	e->fetch = NULL;
	if (got == STS_FETCHED) {
		k = known_new(text, e->fetch_id, clock_wall_ms(), &err);
		why = err.text;
		got = STS_REFUSED;
		result = TLSRPT_STS_INVALID;
		wrong = k == NULL ? slice_dup(text) : NULL;
	}
	if (k != NULL) {
		sts_known_unref(e->known);
		e->known = k;		/* S-47 */
		e->failed_id[0] = '\0';
		log_info("MTA-STS policy fetched", LOG_S("domain", e->domain), LOG_S("id", k->id),
		    LOG_S("mode", sts_mode_name(k->policy.mode)), LOG_I("max_age", k->policy.max_age_s));
		keep(e);
	} else {
		report(e, result, wrong, why);
		fetch_failed(e, got == STS_REFUSED, why);
	}
	free(wrong);
	proceed(e);
}

static void
begin_fetch(struct entry *e, const char *id)
{
	struct sts_how how;

	if (!e->f->env.how(e->f->env.owner, &how))
		return;
	snprintf(e->fetch_id, sizeof e->fetch_id, "%s", id);
	e->fetch = sts_fetch_start(e->f->fetcher, e->domain, &how, on_fetched, e);
}

/* ---- A round ---- */

static bool
is_backing_off(const struct entry *e, const char *id)
{
	return e->failed_id[0] != '\0' && strcmp(e->failed_id, id) == 0 &&
	    clock_mono_ms() < e->failed_until;
}

/* Any other id is news; they have no order (S-10). */
static bool
wants_fetch(const struct entry *e)
{
	return e->txt == STS_TXT_ID && !(is_live(e->known) && strcmp(e->known->id, e->id) == 0) &&
	    !is_backing_off(e, e->id);
}

static void
proceed(struct entry *e)
{
	if (e->query != 0 || e->is_loading)
		return;
	if (wants_fetch(e)) {
		if (!e->was_loaded) {	/* another worker may have been quicker */
			load(e);
			return;
		}
		if (e->fetch == NULL)
			begin_fetch(e, e->id);
		if (e->fetch != NULL)
			return;
	}
	answer_all(e);
}

enum sts_txt
sts_txt_of(const struct dns_answer *a, char id_out[STS_ID_SIZE])
{
	enum sts_txt found = STS_TXT_NONE;
	struct slice txt[100];
	struct buf text[NELEMS(txt)];
	size_t n = 0, nbufs = 0;

	for (size_t i = 0; a->status == DNS_OK && i < a->n && nbufs < NELEMS(txt); i++) {
		buf_init(&text[nbufs], 64 * 1024);
		if (dns_txt_parse(&a->rr[i], &text[nbufs]))
			txt[n++] = buf_slice(&text[nbufs]);
		nbufs++;
	}
	if (n > 0)
		found = sts_txt_id(txt, n, id_out);
	for (size_t i = 0; i < nbufs; i++)
		buf_fini(&text[i]);
	return found;
}

static void
on_txt(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct entry *e = owner;

	e->query = 0;
	e->txt = sts_txt_of(a, e->id);
	e->txt_failed = dns_status_is_failure(a->status);
	if (e->txt == STS_TXT_BROKEN)
		log_info("MTA-STS record not usable", LOG_S("domain", e->domain));
	proceed(e);
}

static void
begin_round(struct entry *e)
{
	char *name = xasprintf("_mta-sts.%s", e->domain);	/* S-01; never a parent's (S-11) */

	e->was_loaded = false;
	e->query = dns_query(e->f->env.dns, name, DNS_TXT, on_txt, e);
	if (!is_live(e->known))
		load(e);
	free(name);
}

uint64_t
sts_find(struct sts_finder *f, const char *domain, sts_cb *cb, void *owner)
{
	struct entry *e = entry_get(f, domain);
	struct waiter *w = xcalloc(1, sizeof *w);
	struct sts_how how = { .timeout_ms = 60000 };
	struct timeval bound;

	f->env.how(f->env.owner, &how);
	bound = (struct timeval){ how.timeout_ms / 4 / 1000, how.timeout_ms / 4 % 1000 * 1000 };
	w->e = e;
	w->cb = cb;
	w->owner = owner;
	w->ticket = slots_add(&f->tickets, w);
	w->bound = evtimer_new(f->env.base, on_bound, w);
	MUST(w->bound != NULL);
	evtimer_add(w->bound, &bound);
	TAILQ_INSERT_TAIL(&e->waiters, w, link);
	if (e->query == 0 && !e->is_loading)
		begin_round(e);
	return w->ticket;
}

void
sts_cancel(struct sts_finder *f, uint64_t ticket)
{
	struct waiter *w = f == NULL || ticket == 0 ? NULL : slots_get(&f->tickets, ticket);

	if (w != NULL)
		waiter_free(w);
}

/* ---- Refreshing what is kept (S-45) ---- */

static void
refresh_due(void *reader, struct mail *m)
{
	struct load *l = (struct load *)m;
	struct sts_finder *f = finder_release(l->f) ? l->f : NULL;
	unsigned begun = 0;

	for (size_t i = 0; f != NULL && i < l->req.n && begun < REFRESH_AT_ONCE; i++) {
		struct entry *e;

		if (l->req.rows[i].domain == NULL || clock_wall_ms() >= l->req.rows[i].expires_ms)
			continue;
		e = entry_get(f, l->req.rows[i].domain);
		take_row(e, &l->req.rows[i]);
		if (!is_live(e->known) || e->fetch != NULL || is_backing_off(e, e->known->id))
			continue;
		begin_fetch(e, e->known->id);
		begun++;
	}
	store_sts_free(&l->req);
}

static void
on_refresh(evutil_socket_t fd, short what, void *arg)
{
	struct sts_finder *f = arg;
	struct timeval next = { REFRESH_EVERY_MS / 1000, 0 };
	struct sts_how how;

	if (f->env.how(f->env.owner, &how))
		ask_store(f, NULL, refresh_due);
	evtimer_add(f->refresh, &next);
}

/* ---- Life ---- */

struct sts_finder *
sts_finder_new(const struct sts_env *env, struct err *err)
{
	struct sts_finder *f = xcalloc(1, sizeof *f);
	struct timeval first = { REFRESH_FIRST_MS / 1000, 0 };

	f->env = *env;
	slots_init(&f->tickets);
	f->fetcher = sts_fetcher_new(env->base, env->dns, env->fixture, err);
	if (f->fetcher == NULL) {
		free(f);
		return NULL;
	}
	f->refresh = evtimer_new(env->base, on_refresh, f);
	MUST(f->refresh != NULL);
	if (env->refreshes)
		evtimer_add(f->refresh, &first);
	return f;
}

void
sts_finder_free(struct sts_finder *f)
{
	struct entry *e, *tmp;
	struct waiter *w;

	if (f == NULL)
		return;
	HASH_ITER(hh, f->entries, e, tmp) {
		while ((w = TAILQ_FIRST(&e->waiters)) != NULL)
			waiter_free(w);
		entry_free(e);
	}
	sts_fetcher_free(f->fetcher);
	slots_fini(&f->tickets);
	event_free(f->refresh);
	f->freed = true;
	f->outstanding++;
	finder_release(f);
}
