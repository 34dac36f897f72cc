#include "config.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conf/settings.h"
#include "gateway/generations_int.h"

#define LOAD_MS 75000		/* with a policy's init, of which a handler has 60 s */
#define KEPT_MAX 2		/* loaded and not active */
#define DRAINING_MAX 2
#define BACK_MAX 2		/* so many rollbacks one after the other */
#define RETIRED_MAX 10		/* so many are still listed */
#define TICK_MS 1000

const char *const generation_states[] = { "loaded", "checked", "canary", "active", "draining", "retired" };

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

struct entry *
generation_numbered(const struct generations *g, uint64_t num)
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
		if ((found = generation_numbered(g, num)) == NULL)
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

bool
generation_tell(struct generations *g, enum order_kind what, uint64_t num)
{
	struct order o = { .what = what, .num = num };

	return crew_order(g->crew, &o, NULL, ORDER_MS, NULL);
}

void
generation_watch(struct generations *g)
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
	generation_tell(g, ORDER_END_SESSIONS, e->num);
}

static void
drain(struct generations *g, struct entry *e)
{
	e->state = GEN_DRAINING;
	e->ended_ms = clock_wall_ms();
	e->drain_until_ms = clock_mono_ms() + e->setup->conf->policy.drain_ms;
	generation_watch(g);
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

void
generation_end_canary(struct generations *g, const char *why)
{
	struct entry *e;

	TAILQ_FOREACH(e, &g->entries, link) {
		if (e->state != GEN_CANARY)
			continue;
		generation_tell(g, ORDER_CANARY, 0);
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
			generation_end_canary(g, "its time is over");
		if (e->state == GEN_DRAINING && now >= e->drain_until_ms && !e->is_cut)
			cut(g, e);
		more = more || e->state == GEN_DRAINING || (e->state == GEN_CANARY && e->canary_until_ms != 0);
	}
	forget_setups(g);
	if (more)
		generation_watch(g);
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
		generation_tell(g, ORDER_DISCARD, e->num);
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

	generation_end_canary(g, "another generation is activated");
	generation_tell(g, ORDER_ACTIVATE, e->num);
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

struct entry *
generation_roll_back(struct generations *g, const char *by, struct err *err)
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

/* ---- Requests ---- */

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
		    (unsigned long long)e->num, generation_states[e->state]);
		return NULL;
	}
	if (e->state == GEN_CANARY)
		generation_end_canary(g, "discarded");
	generation_tell(g, ORDER_DISCARD, e->num);
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
		return generation_list(g);
	if (strcmp(verb, "policy.describe") == 0)
		return (e = word == NULL ? g->active : find(g, word, err)) == NULL ? NULL : generation_describe(e, err);
	if (strcmp(verb, "policy.files") == 0)
		return (e = word == NULL ? g->active : find(g, word, err)) == NULL ? NULL : generation_files(e, err);
	if (strcmp(verb, "policy.load") == 0) {
		e = ask_load(g, args, by, err);
	} else if (strcmp(verb, "policy.rollback") == 0) {
		e = generation_roll_back(g, by, err);
	} else if (strcmp(verb, "policy.status") == 0) {
		e = word == NULL ? g->active : find(g, word, err);
	} else if (strcmp(verb, "policy.activate") == 0) {
		if ((e = find(g, word, err)) != NULL)
			e = ask_activate(g, e, by, err);
	} else if (strcmp(verb, "policy.discard") == 0) {
		if ((e = find(g, word, err)) != NULL)
			e = ask_discard(g, e, by, err);
	} else if (strcmp(verb, "policy.canary") == 0) {
		if ((e = find(g, word, err)) != NULL && !generation_start_canary(g, e, args, by, err))
			e = NULL;
	} else {
		err_set(err, "the daemon does not know \"%s\"", verb);
		*exit_status = 2;
	}
	return e == NULL ? NULL : generation_json(g, e);
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
generations_each_setup(struct generations *g, void (*fn)(void *arg, struct setup *s), void *arg)
{
	struct entry *e;

	TAILQ_FOREACH(e, &g->entries, link)
		if (e->state != GEN_RETIRED && e->setup != NULL)
			fn(arg, e->setup);
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
