#include "config.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conf/settings.h"
#include "gateway/generations.h"

#define LOAD_MS 75000		/* with a policy's init, of which a handler has 60 s */
#define KEPT_MAX 2		/* loaded and not active */
#define DRAINING_MAX 2
#define BACK_MAX 2		/* so many rollbacks one after the other */
#define RETIRED_MAX 10		/* so many are still listed */
#define TICK_MS 1000
#define YOUNG_MS (10 * 60000)	/* auto_rollback is for generations younger than this */
#define SLICES 6		/* of a minute, for errors in it */
#define UNREAD_MAX 4096u
#define HANDLERS_MAX 1000u	/* of a generation, whose errors are counted each by each */

enum gen_state { GEN_LOADED, GEN_CHECKED, GEN_CANARY, GEN_ACTIVE, GEN_DRAINING, GEN_RETIRED };
static const char *const state_names[] = { "loaded", "checked", "canary", "active", "draining", "retired" };

struct failing {		/* one handler's errors */
	struct failing *next;
	char name[64];
	int64_t slice;			/* the newest, in 10 s */
	unsigned n[SLICES];
};
struct entry {
	TAILQ_ENTRY(entry) link;
	uint64_t num;
	enum gen_state state;
	struct gen_shared *shared;
	struct setup *setup;		/* NULL once it can no longer come back */
	char *file, *by;
	char *restart;			/* settings that differ from those of the start and need one; NULL */
	const struct entry *before;	/* whose place it took; NULL none, or no longer known */
	bool is_back;			/* by a rollback */
	int64_t loaded_ms, active_ms, ended_ms;	/* wall; 0 not yet */
	int64_t active_mono_ms;
	int64_t drain_until_ms, canary_until_ms;	/* mono; 0 none */
	bool is_cut;			/* its sessions were told to end */
	json_t *canary;			/* which sessions, as it was asked for */
	struct failing *failing;
	unsigned nfailing;
	int64_t degraded_ms;
	char degraded_by[64];
};
struct generations {
	struct crew *crew;
	struct mailbox *mb;
	const struct generations_ops *ops;
	void *owner;
	char *conf_file;
	struct conf *at_start;		/* what the daemon was started with */
	bool is_confined, is_closing;
	TAILQ_HEAD(entries, entry) entries;	/* oldest first */
	struct entry *active;
	uint64_t last;
	struct event *tick;
};

/* ---- Shared counts ---- */

struct gen_shared *
gen_shared_ref(struct gen_shared *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void
gen_shared_unref(struct gen_shared *s)
{
	if (s != NULL && atomic_fetch_sub(&s->refs, 1) == 1)
		free(s);
}

static uint64_t
count_of(const atomic_uint_fast64_t *n)
{
	return atomic_load(n);
}

/* ---- Entries ---- */

static struct entry *
entry_new(struct generations *g, struct setup *s, const char *file, const char *by)
{
	struct entry *e = xcalloc(1, sizeof *e);

	e->num = ++g->last;
	e->setup = setup_ref(s);
	e->file = xstrdup(file);
	e->by = xstrdup(by);
	e->loaded_ms = clock_wall_ms();
	e->shared = xcalloc(1, sizeof *e->shared);
	atomic_init(&e->shared->refs, 1);
	e->shared->to = g;
	e->shared->mb = g->mb;
	e->shared->num = e->num;
	snprintf(e->shared->id, sizeof e->shared->id, "%.12s", policy_bundle_id(s->bundle));
	TAILQ_INSERT_TAIL(&g->entries, e, link);
	return e;
}

static void
entry_free(struct generations *g, struct entry *e)
{
	struct entry *x;
	struct failing *f;

	TAILQ_FOREACH(x, &g->entries, link)
		if (x->before == e)
			x->before = NULL;
	TAILQ_REMOVE(&g->entries, e, link);
	while ((f = e->failing) != NULL) {
		e->failing = f->next;
		free(f);
	}
	setup_unref(e->setup);
	gen_shared_unref(e->shared);
	json_decref(e->canary);
	free(e->file);
	free(e->by);
	free(e->restart);
	free(e);
}

static unsigned
how_many(const struct generations *g, enum gen_state state)
{
	const struct entry *e;
	unsigned n = 0;

	TAILQ_FOREACH(e, &g->entries, link)
		n += e->state == state;
	return n;
}

static struct entry *
with_num(const struct generations *g, uint64_t num)
{
	struct entry *e;

	TAILQ_FOREACH(e, &g->entries, link)
		if (e->num == num)
			return e;
	return NULL;
}

/* A number, or the beginning of a digest; of several with the same digest the newest. */
static struct entry *
find(const struct generations *g, const char *word, struct err *err)
{
	struct entry *e, *found = NULL;
	size_t n = word == NULL ? 0 : strlen(word);
	uint64_t num;

	if (n == 0) {
		err_set(err, "a generation is expected: its number or its name, as in policy list");
		return NULL;
	}
	if (n < 6 && slice_u64(slice_of(word), &num)) {
		if ((found = with_num(g, num)) == NULL)
			err_set(err, "there is no generation %s", word);
		return found;
	}
	TAILQ_FOREACH(e, &g->entries, link) {
		if (n < 4 || strncmp(e->shared->id, word, n < 12 ? n : 12) != 0)
			continue;
		if (found != NULL && strcmp(found->shared->id, e->shared->id) != 0) {
			err_set(err, "%s: several generations begin like this", word);
			return NULL;
		}
		found = e;
	}
	if (found == NULL)
		err_set(err, "there is no generation %s", word);
	return found;
}

static bool
tell(struct generations *g, enum order_kind what, uint64_t num)
{
	struct order o = { .what = what, .num = num };

	return crew_order(g->crew, &o, NULL, ORDER_MS, NULL);
}

static void
watch(struct generations *g)
{
	static const struct timeval tick = { TICK_MS / 1000, 0 };

	if (!evtimer_pending(g->tick, NULL))
		evtimer_add(g->tick, &tick);
}

/* ---- The end of a generation ---- */

/* Those that a rollback can still reach keep what they were made from. */
static void
forget_setups(struct generations *g)
{
	struct entry *e, *next;
	unsigned retired = how_many(g, GEN_RETIRED);

	TAILQ_FOREACH(e, &g->entries, link) {
		const struct entry *x = g->active;

		for (int i = 0; i <= BACK_MAX && x != NULL && x != e; i++)
			x = x->before;
		if (e->state == GEN_RETIRED && x != e) {
			setup_unref(e->setup);
			e->setup = NULL;
		}
	}
	for (e = TAILQ_FIRST(&g->entries); e != NULL && retired > RETIRED_MAX; e = next) {
		next = TAILQ_NEXT(e, link);
		if (e->state == GEN_RETIRED && e->setup == NULL) {
			entry_free(g, e);
			retired--;
		}
	}
}

static void
cut(struct generations *g, struct entry *e)
{
	e->is_cut = true;
	if (atomic_load(&e->shared->sessions) > 0)
		log_info("sessions of an old generation are ended", LOG_S("gen", e->shared->id), LOG_U("number", e->num),
		    LOG_U("sessions", atomic_load(&e->shared->sessions)));
	tell(g, ORDER_END_SESSIONS, e->num);
}

static void
drain(struct generations *g, struct entry *e)
{
	e->state = GEN_DRAINING;
	e->ended_ms = clock_wall_ms();
	e->drain_until_ms = clock_mono_ms() + e->setup->conf->policy.drain_ms;
	watch(g);
}

/* Draining, and no worker has a state of it any more. */
static void
note_retired(struct generations *g)
{
	struct entry *e;

	TAILQ_FOREACH(e, &g->entries, link) {
		if (e->state != GEN_DRAINING || atomic_load(&e->shared->states) > 0)
			continue;
		e->state = GEN_RETIRED;
		log_info("generation retired", LOG_S("gen", e->shared->id), LOG_U("number", e->num));
	}
}

static void
drain_fewer(struct generations *g)
{
	struct entry *e;
	unsigned n = how_many(g, GEN_DRAINING);

	TAILQ_FOREACH(e, &g->entries, link) {
		if (n <= DRAINING_MAX)
			return;
		if (e->state != GEN_DRAINING)
			continue;
		if (!e->is_cut)
			cut(g, e);
		n--;
	}
}

static void
end_canary(struct generations *g, const char *why)
{
	struct entry *e;

	TAILQ_FOREACH(e, &g->entries, link) {
		if (e->state != GEN_CANARY)
			continue;
		tell(g, ORDER_CANARY, 0);
		e->state = GEN_CHECKED;
		e->canary_until_ms = 0;
		log_info("canary ended", LOG_S("gen", e->shared->id), LOG_U("number", e->num), LOG_S("why", why));
	}
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct generations *g = arg;
	struct entry *e;
	int64_t now = clock_mono_ms();
	bool more = false;

	note_retired(g);
	TAILQ_FOREACH(e, &g->entries, link) {
		if (e->state == GEN_CANARY && e->canary_until_ms != 0 && now >= e->canary_until_ms)
			end_canary(g, "its time is over");
		if (e->state == GEN_DRAINING && now >= e->drain_until_ms && !e->is_cut)
			cut(g, e);
		more = more || e->state == GEN_DRAINING || (e->state == GEN_CANARY && e->canary_until_ms != 0);
	}
	forget_setups(g);
	if (more)
		watch(g);
}

/* ---- Loading ---- */

static bool
texts_are_same(char *const *a, size_t na, char *const *b, size_t nb)
{
	for (size_t i = 0; na == nb && i < na; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return na == nb;
}

static bool
binds_are_same(const struct conf *a, const struct conf *b, struct err *err)
{
	if (!texts_are_same(a->sts_serve.bind, a->sts_serve.nbind, b->sts_serve.bind, b->sts_serve.nbind)) {
		err_set(err, "sts_serve.bind: addresses cannot change while running; restart to change them");
		return false;
	}
	if (a->nlisteners != b->nlisteners)
		goto differ;
	for (size_t i = 0; i < a->nlisteners; i++) {
		const struct conf_listener *x = &a->listeners[i], *y = &b->listeners[i];

		if (strcmp(x->name, y->name) != 0 || !texts_are_same(x->bind, x->nbind, y->bind, y->nbind))
			goto differ;
	}
	return true;
differ:
	err_set(err, "listeners: names and addresses cannot change while running; restart to change them");
	return false;
}

/* F-21: a certificate that has run out must not take the place of one that has not. Where the running
 * one has run out as well, nothing is lost, and other changes must get through. */
static bool
certificates_are_good(const struct setup *old, const struct setup *new, struct err *err)
{
	if (tls_server_has_expired(sts_pages_tls(new->pages)) && !tls_server_has_expired(sts_pages_tls(old->pages))) {
		err_set(err, "sts_serve: a certificate in the new configuration has expired; the one in use has not");
		return false;
	}
	for (size_t i = 0; i < new->conf->nlisteners; i++) {
		if (!tls_server_has_expired(new->listeners[i].tls) ||
		    tls_server_has_expired(old->listeners[i].tls))
			continue;
		err_set(err, "listeners.%s: a certificate in the new configuration has expired; the one in use "
		    "has not", new->conf->listeners[i].name);
		return false;
	}
	return true;
}

/* Takes what was read to all workers. NULL: nothing of it is left. */
static struct entry *
bring_up(struct generations *g, struct setup *s, const char *file, const char *by, const char *reason,
    struct err *err)
{
	struct entry *e = entry_new(g, s, file, by);
	struct order o = { .what = ORDER_LOAD, .num = e->num, .setup = s, .shared = e->shared, .reason = reason };

	if (!crew_order(g->crew, &o, NULL, LOAD_MS, err)) {
		tell(g, ORDER_DISCARD, e->num);
		entry_free(g, e);
		return NULL;
	}
	e->state = GEN_CHECKED;
	return e;
}

static struct entry *
load(struct generations *g, const char *file, const char *by, struct err *err)
{
	struct entry *e = NULL;
	char *errors;
	struct setup *s = setup_new(file, g->active->setup, &errors);

	if (s == NULL) {
		err_set(err, "%s%s", errors, g->is_confined && strstr(errors, strerror(EACCES)) != NULL ?
		    " (service.landlock: files in places that were not named at start need a restart)" : "");
		free(errors);
		return NULL;
	}
	failpoint("reload-read");
	if (binds_are_same(g->active->setup->conf, s->conf, err) &&
	    certificates_are_good(g->active->setup, s, err))
		e = bring_up(g, s, file, by, "reload", err);
	if (e != NULL)
		e->restart = conf_needs_restart(g->at_start, s->conf);
	setup_unref(s);
	if (e == NULL)
		return NULL;
	failpoint("reload-loaded");
	if (e->restart != NULL)
		log_warn("settings wait for a restart", LOG_S("gen", e->shared->id), LOG_U("number", e->num),
		    LOG_S("settings", e->restart));
	return e;
}

/* ---- Activating ---- */

/* `before`: where a rollback from it leads. */
static void
activate(struct generations *g, struct entry *e, const struct entry *before, const char *by)
{
	struct entry *old = g->active;

	end_canary(g, "another generation is activated");
	tell(g, ORDER_ACTIVATE, e->num);
	e->state = GEN_ACTIVE;
	e->active_ms = clock_wall_ms();
	e->active_mono_ms = clock_mono_ms();
	e->before = before;
	g->active = e;
	g->ops->activated(g->owner, e->setup);
	if (old != NULL) {
		drain(g, old);
		note_retired(g);
		drain_fewer(g);
		log_info("configuration active", LOG_S("gen", e->shared->id), LOG_U("number", e->num),
		    LOG_S("file", e->file), LOG_S("by", by), LOG_S("was", old->shared->id));
	}
	forget_setups(g);
}

bool
generations_start(struct generations *g, struct setup *s, struct err *err)
{
	struct entry *e = bring_up(g, s, g->conf_file, "start", "start", err);

	g->at_start = conf_ref(s->conf);
	if (e != NULL)
		activate(g, e, NULL, "start");
	return e != NULL;
}

bool
generations_reload(struct generations *g, const char *by, struct err *err)
{
	struct entry *e = load(g, g->conf_file, by, err);

	if (e == NULL) {
		log_error("reload refused, the running configuration stays", LOG_S("why", err->text));
		return false;
	}
	activate(g, e, g->active, by);
	failpoint("reload-active");
	return true;
}

/* One that was active before: as a new generation of the same files. */
static struct entry *
bring_back(struct generations *g, const struct entry *e, const struct entry *before, const char *by,
    struct err *err)
{
	struct entry *back;

	if (e->setup == NULL) {
		err_set(err, "generation %llu is no longer in memory; load its directory again",
		    (unsigned long long)e->num);
		return NULL;
	}
	back = bring_up(g, e->setup, e->file, by, "reload", err);
	if (back == NULL)
		return NULL;
	activate(g, back, before, by);
	return back;
}

static struct entry *
roll_back(struct generations *g, const char *by, struct err *err)
{
	const struct entry *to = g->active->before;
	struct entry *back;

	if (to == NULL) {
		err_set(err, "there is no earlier generation to go back to");
		return NULL;
	}
	/* The one that is left is no way back. */
	back = bring_back(g, to, to->before, by, err);
	if (back != NULL)
		back->is_back = true;
	return back;
}

/* ---- Circuit breaker ---- */

struct failure {
	struct mail mail;
	struct gen_shared *shared;
	char hook[16], handler[64];
};

static struct failing *
failing_of(struct entry *e, const char *handler)
{
	struct failing *f;

	for (f = e->failing; f != NULL; f = f->next)
		if (strcmp(f->name, handler) == 0)
			return f;
	if (e->nfailing >= HANDLERS_MAX)
		return e->failing;	/* so many together are one that fails often */
	f = xcalloc(1, sizeof *f);
	snprintf(f->name, sizeof f->name, "%s", handler);
	f->next = e->failing;
	e->failing = f;
	e->nfailing++;
	return f;
}

/* One more; how many in the last minute. */
static unsigned
count_error(struct failing *f)
{
	int64_t slice = clock_mono_ms() / (60000 / SLICES);
	unsigned n = 0;

	for (; f->slice < slice; f->slice++) {
		if (slice - f->slice > SLICES) {
			memset(f->n, 0, sizeof f->n);
			f->slice = slice;
			break;
		}
		f->n[(f->slice + 1) % SLICES] = 0;
	}
	f->n[slice % SLICES]++;
	for (int i = 0; i < SLICES; i++)
		n += f->n[i];
	return n;
}

static void
give_up_on(struct generations *g, struct entry *e)
{
	struct err err = { "" };

	if (!e->setup->conf->policy.auto_rollback)
		return;
	if (e->state == GEN_CANARY)
		end_canary(g, "circuit breaker");
	/* What was gone back to is not left again by itself: then it is not the policy. */
	if (e != g->active || e->is_back || e->before == NULL ||
	    clock_mono_ms() - e->active_mono_ms > YOUNG_MS)
		return;
	if (roll_back(g, "circuit breaker", &err) == NULL)
		log_error("no way back from a degraded generation", LOG_S("gen", e->shared->id), LOG_S("why", err.text));
}

static void
on_failure(void *reader, struct mail *m)
{
	struct failure *f = (struct failure *)m;
	struct generations *g = f->shared->to;
	struct entry *e = with_num(g, f->shared->num);
	unsigned n, most;

	atomic_fetch_sub(&f->shared->unread, 1);
	if (e != NULL && e->setup != NULL && e->degraded_ms == 0 && !g->is_closing) {
		most = e->setup->conf->policy.errors_per_minute;
		n = count_error(failing_of(e, f->handler));
		if (most > 0 && n > most) {
			e->degraded_ms = clock_wall_ms();
			snprintf(e->degraded_by, sizeof e->degraded_by, "%s", f->handler);
			log_error("generation degraded: a handler fails again and again", LOG_S("gen", e->shared->id),
			    LOG_U("number", e->num), LOG_S("hook", f->hook), LOG_S("handler", f->handler),
			    LOG_U("errors", n));
			give_up_on(g, e);
		}
	}
	gen_shared_unref(f->shared);
	free(f);
}

/* In a worker. */
void
generation_failed(void *owner, enum policy_hook hook, const char *handler)
{
	struct gen_shared *s = owner;
	struct failure *f;

	atomic_fetch_add(&s->errors, 1);
	if (s->mb == NULL)	/* a rehearsal: nobody keeps count */
		return;
	if (atomic_fetch_add(&s->unread, 1) >= UNREAD_MAX) {
		atomic_fetch_sub(&s->unread, 1);
		return;
	}
	f = xcalloc(1, sizeof *f);
	f->mail.run = on_failure;
	f->shared = gen_shared_ref(s);
	snprintf(f->hook, sizeof f->hook, "%s", policy_hook_name(hook));
	snprintf(f->handler, sizeof f->handler, "%s", handler);
	mailbox_post(s->mb, &f->mail);
}

/* ---- Canary ---- */

static bool
read_percent(const json_t *args, struct canary *c, struct err *err)
{
	const char *text = json_string_value(json_object_get(args, "percent"));
	char *end;
	double v;

	c->basis_points = 10000;
	if (text == NULL)
		return true;
	v = strtod(text, &end);
	if (end == text || *end != '\0' || !(v >= 0.01 && v <= 100)) {
		err_set(err, "--percent: a number from 0.01 to 100 is expected");
		return false;
	}
	c->basis_points = (unsigned)(v * 100 + 0.5);
	return true;
}

static bool
read_listeners(const json_t *list, const struct conf *conf, struct canary *c, struct err *err)
{
	const json_t *v;
	size_t i;

	json_array_foreach((json_t *)list, i, v) {
		const char *name = json_string_value(v);
		size_t k = 0;

		while (k < conf->nlisteners && (name == NULL || strcmp(conf->listeners[k].name, name) != 0))
			k++;
		if (k == conf->nlisteners || c->nlisteners == CANARY_MAX) {
			err_set(err, k < conf->nlisteners ? "--listener: too many" : "--listener: there is none of that name");
			return false;
		}
		c->listeners[c->nlisteners++] = k;
	}
	return true;
}

static bool
read_cidrs(const json_t *list, struct canary *c, struct err *err)
{
	const json_t *v;
	size_t i;

	json_array_foreach((json_t *)list, i, v) {
		const char *text = json_string_value(v);

		if (text == NULL || c->ncidrs == CANARY_MAX) {
			err_set(err, "--cidr: at most %d networks", CANARY_MAX);
			return false;
		}
		if (net_cidr_parse(&c->cidrs[c->ncidrs], slice_of(text), err) != 0) {
			err_prefix(err, "--cidr");
			return false;
		}
		c->ncidrs++;
	}
	return true;
}

/* What it takes in is delivered by the active generation, which has to know the route. */
static bool
routes_are_known(const struct conf *of, const struct conf *active, struct err *err)
{
	for (size_t i = 0; i < of->nroutes; i++) {
		if (conf_route(active, of->routes[i]->name) == NULL) {
			err_set(err, "routes.%s: the active generation, which delivers, does not have it; bring it in "
			    "with a generation of its own before", of->routes[i]->name);
			return false;
		}
	}
	return true;
}

static bool
start_canary(struct generations *g, struct entry *e, const json_t *args, const char *by, struct err *err)
{
	struct order o = { .what = ORDER_CANARY, .num = e->num };
	const char *for_text = json_string_value(json_object_get(args, "for"));
	int64_t for_ms = 0;

	if (e->state != GEN_CHECKED && e->state != GEN_CANARY) {
		err_set(err, "generation %llu is %s; a canary is one that was loaded and is not active",
		    (unsigned long long)e->num, state_names[e->state]);
		return false;
	}
	if (json_object_get(args, "percent") == NULL && json_object_get(args, "cidr") == NULL &&
	    json_object_get(args, "listener") == NULL) {
		err_set(err, "which sessions? --percent, --cidr or --listener is needed");
		return false;
	}
	if (!read_percent(args, &o.canary, err) || !read_cidrs(json_object_get(args, "cidr"), &o.canary, err) ||
	    !read_listeners(json_object_get(args, "listener"), e->setup->conf, &o.canary, err) ||
	    !routes_are_known(e->setup->conf, g->active->setup->conf, err))
		return false;
	if (for_text != NULL && (!duration_parse(slice_of(for_text), &for_ms) || for_ms <= 0)) {
		err_set(err, "--for: a time such as 1h is expected");
		return false;
	}
	if (e->state != GEN_CANARY)
		end_canary(g, "another one begins");
	crew_order(g->crew, &o, NULL, ORDER_MS, NULL);
	e->state = GEN_CANARY;
	json_decref(e->canary);
	e->canary = json_deep_copy(args);
	json_object_del(e->canary, "gen");
	e->canary_until_ms = for_ms == 0 ? 0 : clock_mono_ms() + for_ms;
	watch(g);
	log_info("canary begins", LOG_S("gen", e->shared->id), LOG_U("number", e->num), LOG_S("by", by),
	    LOG_U("per_10000", o.canary.basis_points), LOG_U("networks", o.canary.ncidrs),
	    LOG_U("listeners", o.canary.nlisteners), LOG_S("for", for_text));
	return true;
}

/* ---- Showing ---- */

static void
add_time(json_t *o, const char *key, int64_t wall_ms)
{
	char text[32];

	if (wall_ms == 0)
		return;
	date_iso8601(text, sizeof text, wall_ms);
	json_object_set_new(o, key, json_string(text));
}

static json_t *
canary_json(const struct entry *e)
{
	json_t *o = json_copy(e->canary);

	if (e->canary_until_ms != 0)
		json_object_set_new(o, "seconds_left",
		    json_integer((e->canary_until_ms - clock_mono_ms() + 999) / 1000));
	return o;
}

static json_t *
entry_json(const struct generations *g, const struct entry *e)
{
	const struct gen_shared *s = e->shared;
	int64_t from = e->active_ms != 0 ? e->active_ms : e->loaded_ms;
	char file[1024];
	json_t *o;

	text_escape(file, sizeof file, e->file, strlen(e->file), true);
	o = json_pack("{s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:b}",
	    "number", (json_int_t)e->num, "id", s->id, "state", state_names[e->state],
	    "age", (json_int_t)((clock_wall_ms() - from) / 1000),
	    "sessions", (json_int_t)atomic_load(&s->sessions), "attempts", (json_int_t)atomic_load(&s->attempts),
	    "errors", (json_int_t)count_of(&s->errors), "sessions_total", (json_int_t)count_of(&s->started),
	    "accepted", (json_int_t)count_of(&s->accepted), "rejected", (json_int_t)count_of(&s->rejected),
	    "deferred", (json_int_t)count_of(&s->deferred), "file", file, "by", e->by,
	    "degraded", e->degraded_ms != 0);
	add_time(o, "loaded_at", e->loaded_ms);
	add_time(o, "active_since", e->active_ms);
	add_time(o, "replaced_at", e->ended_ms);
	add_time(o, "degraded_at", e->degraded_ms);
	if (e->restart != NULL)
		json_object_set_new(o, "needs_restart", json_string(e->restart));
	if (e->degraded_ms != 0)
		json_object_set_new(o, "degraded_by", json_string(e->degraded_by));
	if (e->state == GEN_CANARY)
		json_object_set_new(o, "canary", canary_json(e));
	if (e->state == GEN_DRAINING && !e->is_cut)
		json_object_set_new(o, "drain_seconds_left",
		    json_integer((e->drain_until_ms - clock_mono_ms() + 999) / 1000));
	if (e == g->active && e->before != NULL)
		json_object_set_new(o, "rollback_to", json_integer((json_int_t)e->before->num));
	return o;
}

static json_t *
list(struct generations *g)
{
	json_t *all = json_array();
	struct entry *e;

	TAILQ_FOREACH(e, &g->entries, link)
		json_array_append_new(all, entry_json(g, e));
	return json_pack("{s:o}", "generations", all);
}

json_t *
generations_status(struct generations *g)
{
	return entry_json(g, g->active);
}

void
generations_each_setup(struct generations *g, void (*fn)(void *arg, struct setup *s), void *arg)
{
	struct entry *e;

	TAILQ_FOREACH(e, &g->entries, link)
		if (e->state != GEN_RETIRED && e->setup != NULL)
			fn(arg, e->setup);
}

void
generations_metrics(struct generations *g, void (*fn)(void *arg, const struct ctl_metric *m), void *arg)
{
	static const struct {
		const char *name, *help;
		bool is_counter;
	} kinds[] = {
		{ "sallyport_generation_info", "Generations that are not retired", false },
		{ "sallyport_generation_degraded", "1: a handler of it fails again and again", false },
		{ "sallyport_generation_sessions", "Sessions that began with it and go on", false },
		{ "sallyport_generation_attempts", "Delivery attempts that began with it and go on", false },
		{ "sallyport_generation_errors_total", "Handlers of it that failed", true },
	};
	char labels[128];
	struct entry *e;

	for (size_t k = 0; k < NELEMS(kinds); k++) {
		TAILQ_FOREACH(e, &g->entries, link) {
			const struct gen_shared *s = e->shared;
			const double values[] = { 1, e->degraded_ms != 0, atomic_load(&s->sessions),
				atomic_load(&s->attempts), (double)count_of(&s->errors) };
			struct ctl_metric m = { kinds[k].name, kinds[k].help, kinds[k].is_counter, labels, values[k] };

			if (e->state == GEN_RETIRED)
				continue;
			snprintf(labels, sizeof labels, "gen=\"%s\",number=\"%llu\",state=\"%s\"", s->id,
			    (unsigned long long)e->num, state_names[e->state]);
			fn(arg, &m);
		}
	}
}

/* ---- Requests ---- */

static json_t *
describe(const struct entry *e, struct err *err)
{
	char *text;
	json_t *o;

	if (e->setup == NULL) {
		err_set(err, "generation %llu is no longer in memory", (unsigned long long)e->num);
		return NULL;
	}
	text = policy_describe(e->setup->bundle, e->setup->conf, err);
	o = text == NULL ? NULL : json_loads(text, 0, NULL);
	free(text);
	if (o != NULL)
		json_object_set_new(o, "settings", conf_settings(e->setup->conf));
	return o;
}

static char *
file_of(const char *where)
{
	struct stat st;

	return stat(where, &st) == 0 && S_ISDIR(st.st_mode) ? xasprintf("%s/gateway.lua", where) : xstrdup(where);
}

static struct entry *
ask_load(struct generations *g, const json_t *args, const char *by, struct err *err)
{
	const char *dir = json_string_value(json_object_get(args, "dir"));
	struct entry *e = NULL;
	char *file;

	if (dir == NULL || dir[0] != '/') {
		err_set(err, "a directory is expected");
		return NULL;
	}
	if (how_many(g, GEN_CHECKED) + how_many(g, GEN_CANARY) >= KEPT_MAX) {
		err_set(err, "%d generations are loaded and not active; discard one before", KEPT_MAX);
		return NULL;
	}
	file = file_of(dir);
	e = load(g, file, by, err);
	if (e == NULL)
		log_error("load refused", LOG_S("file", file), LOG_S("by", by), LOG_S("why", err->text));
	else
		log_info("generation loaded", LOG_S("gen", e->shared->id), LOG_U("number", e->num), LOG_S("file", file),
		    LOG_S("by", by));
	free(file);
	return e;
}

static struct entry *
ask_activate(struct generations *g, struct entry *e, const char *by, struct err *err)
{
	if (e->state == GEN_ACTIVE) {
		err_set(err, "generation %llu is active", (unsigned long long)e->num);
		return NULL;
	}
	if (e->state == GEN_CHECKED || e->state == GEN_CANARY) {
		activate(g, e, g->active, by);
		return e;
	}
	return bring_back(g, e, g->active, by, err);
}

static struct entry *
ask_discard(struct generations *g, struct entry *e, const char *by, struct err *err)
{
	if (e->state != GEN_CHECKED && e->state != GEN_CANARY) {
		err_set(err, "generation %llu is %s; only one that was loaded and is not active can be discarded",
		    (unsigned long long)e->num, state_names[e->state]);
		return NULL;
	}
	if (e->state == GEN_CANARY)
		end_canary(g, "discarded");
	tell(g, ORDER_DISCARD, e->num);
	drain(g, e);
	log_info("generation discarded", LOG_S("gen", e->shared->id), LOG_U("number", e->num), LOG_S("by", by));
	return e;
}

json_t *
generations_ask(struct generations *g, const char *verb, const json_t *args, const char *by, struct err *err,
    int *exit_status)
{
	const char *word = json_string_value(json_object_get(args, "gen"));
	struct entry *e = NULL;

	*exit_status = 1;
	if (strcmp(verb, "policy.list") == 0)
		return list(g);
	if (strcmp(verb, "policy.describe") == 0)
		return (e = word == NULL ? g->active : find(g, word, err)) == NULL ? NULL : describe(e, err);
	if (strcmp(verb, "policy.load") == 0) {
		e = ask_load(g, args, by, err);
	} else if (strcmp(verb, "policy.rollback") == 0) {
		e = roll_back(g, by, err);
	} else if (strcmp(verb, "policy.status") == 0) {
		e = word == NULL ? g->active : find(g, word, err);
	} else if (strcmp(verb, "policy.activate") == 0) {
		if ((e = find(g, word, err)) != NULL)
			e = ask_activate(g, e, by, err);
	} else if (strcmp(verb, "policy.discard") == 0) {
		if ((e = find(g, word, err)) != NULL)
			e = ask_discard(g, e, by, err);
	} else if (strcmp(verb, "policy.canary") == 0) {
		if ((e = find(g, word, err)) != NULL && !start_canary(g, e, args, by, err))
			e = NULL;
	} else {
		err_set(err, "the daemon does not know \"%s\"", verb);
		*exit_status = 2;
	}
	return e == NULL ? NULL : entry_json(g, e);
}

/* ---- Life ---- */

struct generations *
generations_new(struct event_base *base, struct crew *crew, struct mailbox *mb, const char *conf_file,
    const struct generations_ops *ops, void *owner)
{
	struct generations *g = xcalloc(1, sizeof *g);

	g->crew = crew;
	g->mb = mb;
	g->conf_file = xstrdup(conf_file);
	g->ops = ops;
	g->owner = owner;
	TAILQ_INIT(&g->entries);
	g->tick = evtimer_new(base, on_tick, g);
	MUST(g->tick != NULL);
	return g;
}

void
generations_are_confined(struct generations *g)
{
	g->is_confined = true;
}

void
generations_close(struct generations *g)
{
	g->is_closing = true;
}

void
generations_free(struct generations *g)
{
	struct entry *e;

	if (g == NULL)
		return;
	while ((e = TAILQ_FIRST(&g->entries)) != NULL)
		entry_free(g, e);
	event_free(g->tick);
	conf_unref(g->at_start);
	free(g->conf_file);
	free(g);
}
