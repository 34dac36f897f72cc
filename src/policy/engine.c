/* Calls: chains, verdicts, waiting, failing. policy_call takes a run from the pool and walks the
 * chain; rules and matchers are carried out in C, Lua handlers on the run's coroutine (fiber.c). A
 * handler that waits leaves the run in the table of numbers until its answer comes
 * (policy_run_resume), its time is up (on_wall) or it is cancelled. Everything that goes wrong ends
 * in handler_failed. */
#include "config.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "data/rate.h"
#include "policy/policy_int.h"
#include "web/web.h"

#define POOL_MAX 64
#define DEFAULT_WALL_MS 10000

const char *const policy_hook_names[] = {
	"connect", "helo", "tls", "auth", "mail", "rcpt", "data", "header", "message", "bounce_in", "disconnect",
	"route", "tls_policy", "attempt", "ehlo", "unmet", "result", "bounce", "dsn", "log", "tlsrpt",
	"init", "fini", NULL
};

const char *
policy_hook_name(enum policy_hook h)
{
	return h == HOOK_EVERY ? "every" : h < HOOKS ? policy_hook_names[h] : "load";
}

enum policy_hook
policy_hook_parse(struct slice name)
{
	enum policy_hook h = 0;

	while (policy_hook_names[h] != NULL && !slice_is(name, policy_hook_names[h]))
		h++;
	return policy_hook_names[h] == NULL ? HOOKS : h;
}

/* ---- Runs and their coroutines ---- */

struct policy_run *
policy_run_new(struct policy_gen *g)
{
	struct policy_run *r = xcalloc(1, sizeof *r);

	r->gen = g;
	r->hook = HOOKS;
	r->predicate_ref = LUA_NOREF;
	r->fiber = &r->root;
	policy_fiber_init(&r->root, r);
	return r;
}

void
policy_run_free(struct policy_run *r)
{
	if (r == NULL)
		return;
	if (r->wall_timer != NULL)
		event_free(r->wall_timer);
	if (r->v != NULL)
		verdict_fini(r->v);
	free(r->v);
	free(r->made_where);
	free(r->view);
	free(r->plan);
	policy_trace_rec_free(r->trace);
	policy_trace_rec_free(r->spare);
	policy_journal_drop(r->journal);
	free(r);
}

/* Also of a handler that came to its end at once: a part of it may have waited. */
static void
stop_wall(struct policy_run *r)
{
	if (r->wall_deadline_ms == 0)
		return;
	evtimer_del(r->wall_timer);
	r->wall_deadline_ms = 0;
}

void
policy_run_reset_handler(struct policy_run *r)
{
	stop_wall(r);
	r->killed = KILL_NONE;
	r->gen->err.text[0] = '\0';
	r->instructions = r->steps = 0;
	r->mem_grown = 0;
	r->made = r->lines = r->waits = r->audits = 0;
	r->turn = ++r->gen->turns;
	r->gen->now_ms = 0;
	r->rng[0] = r->rng[1] = 0;
	r->wait_began_ms = 0;
	r->predicate_ref = LUA_NOREF;
}

/* The best verdict so far, to be written to. */
static struct verdict *
best(struct policy_run *r)
{
	if (r->v == NULL)
		r->v = xcalloc(1, sizeof *r->v);
	return r->v;
}

static bool
decided(const struct policy_run *r)
{
	return r->v != NULL && (r->v->kind != VERDICT_NONE || r->v->is_error);
}

static struct policy_run *
run_get(struct policy_gen *g, enum policy_hook hook, struct policy_subject *s)
{
	struct policy_run *r = g->pool;

	if (r != NULL) {
		g->pool = r->next;
		g->npool--;
	} else {
		r = policy_run_new(g);
	}
	r->hook = hook;
	r->s = s;
	r->epoch = ++g->epoch;
	r->v_mandatory = r->normal_done = r->has_plan = false;
	r->at = 0;
	r->h = NULL;
	r->ticket = 0;
	return r;
}

static void
run_put(struct policy_run *r)
{
	struct policy_gen *g = r->gen;

	stop_wall(r);
	if (decided(r))
		verdict_fini(r->v);
	policy_run_forget(r);
	r->s = NULL;
	r->epoch = 0;
	if (g->npool >= POOL_MAX) {
		policy_fiber_drop(&r->root, false);
		policy_run_free(r);
		return;
	}
	r->next = g->pool;
	g->pool = r;
	g->npool++;
}

/* ---- Who watches ---- */

static uint32_t
owed_now(const struct policy_subject *s)
{
	uint32_t all = s->hop == NULL ? 0 : s->hop->added;

	if (s->msg != NULL) {
		all |= s->msg->duties;
		for (size_t i = 0; i < s->msg->nrcpts; i++)
			all |= s->msg->rcpts[i].duties;
	}
	return all;
}

static void
tell(struct policy_run *r, const struct verdict *v, const char *error, bool is_over)
{
	const struct policy *p = r->gen->policy;
	const struct handler *h = r->h;

	if (p->seen == NULL)
		return;
	p->seen(p->seen_owner, &(struct policy_seen){ .hook = r->hook, .handler = h->name,
	    .where = v != NULL && v->where[0] != '\0' ? v->where : h->where, .level = h->level,
	    .is_rule = h->rule != NULL, .v = v, .error = error, .is_over = is_over, .s = r->s,
	    .added = owed_now(r->s) & ~r->owed, .instructions = r->instructions, .trace = r->trace });
}

void
policy_observe(struct policy *p, policy_seen_fn *fn, void *owner)
{
	p->seen = fn;
	p->seen_owner = owner;
}

void
policy_watch_lines(struct policy *p, policy_line_fn *fn, void *owner)
{
	p->lines = fn;
	p->lines_owner = owner;
}

void
policy_count_exactly(struct policy *p)
{
	p->is_exact = true;
}

void
policy_each_handler(const struct policy_gen *g, void (*fn)(void *owner, const char *name, const char *where,
    bool is_rule, uint64_t hits), void *owner)
{
	for (size_t i = 0; i < g->nhandlers; i++) {
		const struct handler *h = g->handlers[i];

		fn(owner, h->name, h->where, h->rule != NULL, h->hits);
	}
}

/* ---- Failing ---- */

static void
make_ref(char ref[8])
{
	static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
	unsigned char rnd[4] = { 0 };

	if (getrandom(rnd, sizeof rnd, GRND_NONBLOCK) != sizeof rnd)
		memcpy(rnd, &(uint32_t){ (uint32_t)clock_mono_ns() }, 4);
	for (int i = 0; i < 4; i++)
		ref[i] = alphabet[rnd[i] & 31];
	ref[4] = '\0';
}

/* In a protected call on the main state: what the coroutine died of. Pushes the text. */
static int
describe_error(lua_State *L)
{
	lua_State *co = lua_touserdata(L, 1);

	luaL_traceback(L, co, "", 0);
	return 1;
}

static void
take_error(struct policy_run *r, lua_State *co, char trace[1024])
{
	lua_State *L = r->gen->L;
	char where[96];

	trace[0] = '\0';
	policy_where(co, where, sizeof where);
	if (r->killed != KILL_NONE)
		err_set(&r->gen->err, "%s%s%s", where, where[0] == '\0' ? "" : ": ", policy_kill_name(r->killed));
	else if (lua_type(co, -1) == LUA_TSTRING)
		err_set(&r->gen->err, "%s", lua_tostring(co, -1));
	else if (policy_error_text(co, -1) != NULL)
		err_set(&r->gen->err, "%s: %s", where, policy_error_text(co, -1));
	else	/* __tostring of a table would run the policy's code outside its budget */
		err_set(&r->gen->err, "%s: error value is a %s", where, luaL_typename(co, -1));
	lua_pushcfunction(L, describe_error);
	lua_pushlightuserdata(L, co);
	if (lua_pcall(L, 1, 1, 0) == LUA_OK && lua_type(L, -1) == LUA_TSTRING) {
		const char *nl = strchr(lua_tostring(L, -1), '\n');

		snprintf(trace, 1024, "%s", nl == NULL ? "" : nl + 1);
	}
	lua_pop(L, 1);
}

/* The handler came to its end, one way or the other: counted, and its record closed. */
static inline void
ended(struct policy_run *r, enum verdict_kind kind)
{
	r->h->count->verdicts[kind]++;
	r->h->count->instructions += r->instructions;
	if (r->trace != NULL)
		policy_trace_end(r, kind, false);
}

static void
ended_badly(struct policy_run *r, enum handler_error class)
{
	r->h->count->errors[r->killed != KILL_NONE ? ERROR_LIMIT : class]++;
	r->h->count->instructions += r->instructions;
	if (r->trace == NULL && r->gen->policy->tracing)
		policy_trace_begin(r);
	if (r->trace != NULL)
		policy_trace_end(r, VERDICT_NONE, true);
}

/* The log line of a failure, and the chain's outcome. True when the chain is over. */
static bool
handler_failed(struct policy_run *r, const char *trace, enum handler_error class)
{
	struct policy *p = r->gen->policy;
	struct handler *h = r->h;
	struct verdict *v = best(r);
	char ref[8];
	bool harmless = h->observe || h->level == POLICY_ADVISORY;

	tell(r, NULL, r->gen->err.text, !harmless);
	make_ref(ref);
	h->errors++;
	ended_badly(r, class);
	p->stats.errors++;
	if (r->killed != KILL_NONE)
		p->stats.limits++;
	if (r->gen->watch != NULL)
		r->gen->watch->failed(r->gen->watcher, r->hook, h->name);
	log_error("policy failed", LOG_S("hook", policy_hook_name(r->hook)), LOG_S("handler", h->name),
	    LOG_S("where", h->where), LOG_S("error", r->gen->err.text), LOG_S("ref", ref),
	    LOG_S("outcome", harmless ? "none" : "fixed"),
	    LOG_B("gen", policy_gen_id(r->gen), 12),
	    r->s->session != NULL && r->s->session->info != NULL ?
	    LOG_ID("session", r->s->session->info->id) : LOG_S("session", NULL),
	    r->s->msg != NULL ? LOG_ID("message", r->s->msg->id) : LOG_S("message", NULL),
	    LOG_S("trace", trace == NULL || trace[0] == '\0' ? NULL : trace));
	if (harmless)
		return false;
	if ((r->hook >= HOOK_UNMET && r->hook != HOOK_INIT) || r->hook == HOOK_DISCONNECT) {
		/* As if this handler had said nothing; the others are still heard, such as one that
		 * takes inside names out of a notice. */
		if (v->kind == VERDICT_NONE)
			policy_verdict_error(v, r->hook, ref);
		return false;
	}
	policy_verdict_error(v, r->hook, ref);
	if (r->hook == HOOK_INIT) {	/* it goes to who asked for the reload */
		free(v->reason);
		v->reason = xasprintf("init handler '%s' failed: %s", h->name, r->gen->err.text);
	}
	snprintf(v->handler, sizeof v->handler, "%s", h->name);
	snprintf(v->where, sizeof v->where, "%s", h->where);
	return true;
}

/* ---- Verdicts ---- */

/* Severity where the order is defined; 0 for kinds outside it. */
static int
rank(enum verdict_kind k)
{
	return k <= VERDICT_DROP ? (int)k : 0;
}

/* What of old and new is kept when `new` comes from a mandatory handler: the more restrictive
 * where that is defined, else the first mandatory one; relax, caps and identity stand behind
 * everything. */
static bool
new_wins(const struct policy_run *r, const struct verdict *new)
{
	enum verdict_kind o = r->v->kind, n = new->kind;

	if (o == VERDICT_NONE)
		return true;
	if (o == n && n == VERDICT_IDENTITY)
		return !r->v_mandatory;
	if (n == VERDICT_RELAX || n == VERDICT_CAPS || n == VERDICT_IDENTITY)
		return false;
	if (o == VERDICT_RELAX || o == VERDICT_CAPS || o == VERDICT_IDENTITY)
		return true;
	if (rank(o) > 0 && rank(n) > 0)
		return rank(n) > rank(o);
	return !r->v_mandatory;
}

static void
combine(struct policy_run *r, struct verdict *new)
{
	struct verdict *v = best(r);
	unsigned hide = v->hide_ext | new->hide_ext;
	enum tls_level level = v->level > new->level ? v->level : new->level;
	bool both_tls = v->kind == VERDICT_TLS && new->kind == VERDICT_TLS;

	if (new_wins(r, new)) {
		verdict_fini(v);
		verdict_move(v, new);
	} else {
		verdict_fini(new);
	}
	r->v_mandatory = true;
	if (v->kind == VERDICT_CAPS)
		v->hide_ext = hide;
	if (both_tls)
		v->level = level;	/* a floor is only ever raised */
}

static bool
reject_verdict(struct policy_run *r, const char *why)
{
	err_set(&r->gen->err, "%s: gw.%s %s '%s'", r->gen->hv.where, verdict_kind_name(r->gen->hv.kind), why,
	    policy_hook_name(r->hook));
	verdict_fini(&r->gen->hv);
	return handler_failed(r, NULL, ERROR_VERDICT);
}

/* The handler came to its end: its verdict is in gen->hv. True when the chain is over. */
static bool
handler_done(struct policy_run *r)
{
	const struct handler *h = r->h;
	struct verdict *v = &r->gen->hv;

	if (v->kind == VERDICT_NONE) {
		if (r->made > 0)
			log_warn("policy made a verdict but did not return it",
			    LOG_S("handler", h->name), LOG_S("hook", policy_hook_name(r->hook)),
			    LOG_S("where", r->made_where));
		tell(r, NULL, NULL, false);
		ended(r, VERDICT_NONE);
		return false;
	}
	if (!policy_verdict_is_legal(r->hook, v->kind))
		return reject_verdict(r, "is not a verdict for the hook");
	if (v->relay && r->hook != HOOK_RCPT)
		return reject_verdict(r, "with relay = true is for the hook 'rcpt', not for");
	if (h->observe)
		return reject_verdict(r, "came from a handler that only observes the hook");
	policy_verdict_settle(v);
	snprintf(v->handler, sizeof v->handler, "%s", h->name);
	if (v->where[0] == '\0')
		snprintf(v->where, sizeof v->where, "%s", h->where);
	tell(r, v, NULL, false);
	if (r->trace != NULL)
		policy_trace_verdict(r, v);
	ended(r, v->kind);
	if (h->level == POLICY_ADVISORY) {
		log_info("policy would have", LOG_S("verdict", verdict_kind_name(v->kind)),
		    LOG_S("hook", policy_hook_name(r->hook)), LOG_S("handler", h->name),
		    LOG_S("where", v->where), LOG_S("reason", v->reason), LOG_B("gen", policy_gen_id(r->gen), 12),
		    r->s->msg != NULL ? LOG_ID("message", r->s->msg->id) : LOG_S("message", NULL));
		verdict_fini(v);
		return false;
	}
	if (h->level == POLICY_MANDATORY) {
		combine(r, v);
		return false;
	}
	verdict_fini(best(r));
	verdict_move(r->v, v);
	r->normal_done = true;
	return false;
}

/* ---- Lua handlers ---- */

/* On the coroutine, below lua_resume: looks at what the handler returned. */
static int
entry_done(lua_State *co, int status, lua_KContext ctx)
{
	struct policy_run *r = policy_run_of(co);
	const struct verdict *v;

	if (r->predicate_ref != LUA_NOREF) {
		r->predicate = lua_toboolean(co, -2);
		return 0;
	}
	if (!lua_isnil(co, -1))
		return luaL_error(co, "%s: handler '%s' returned more than one value", r->h->where, r->h->name);
	if (lua_isnil(co, -2))
		return 0;
	v = policy_verdict_peek(co, -2);
	if (v == NULL)
		return luaL_error(co, "%s: handler '%s' returned a %s; it must return nil or a verdict such "
		    "as gw.reject{...}", r->h->where, r->h->name, luaL_typename(co, -2));
	policy_verdict_copy(&r->gen->hv, v);
	return 0;
}

static int
entry(lua_State *co)
{
	struct policy_run *r = policy_run_of(co);
	bool predicate = r->predicate_ref != LUA_NOREF;

	lua_rawgeti(co, LUA_REGISTRYINDEX, predicate ? r->predicate_ref : r->h->fn_ref);
	lua_callk(co, policy_push_args(co, r), 2, 0, entry_done);
	return entry_done(co, LUA_OK, 0);
}

/* A fiber of the run came to its end, and the handler with it. */
static void
fail(struct policy_run *r, struct policy_fiber *f, char trace[1024])
{
	if (f->state == FIBER_DEAD && f->status == LUA_YIELD) {
		err_set(&r->gen->err, "the coroutine stopped without waiting for anything");
		trace[0] = '\0';
	} else {
		take_error(r, f->co, trace);
	}
	verdict_fini(&r->gen->hv);
	policy_fibers_end(r);
	policy_wait_cancel(&r->root);
	policy_fiber_drop(&r->root, r->killed == KILL_NONE || r->root.state == FIBER_WAITING);
}

/* Starts the run's own coroutine or goes on with it. */
static enum lua_end
go(struct policy_run *r, bool first, char trace[1024])
{
	enum lua_end end;

	if (first)
		lua_pushcfunction(r->root.co, entry);
	end = policy_fiber_go(&r->root, 0);
	if (end == LUA_DONE) {
		policy_fiber_clear(&r->root);
		if (r->fibers != NULL)
			policy_fibers_end(r);
	} else if (end == LUA_FAILED) {
		fail(r, &r->root, trace);
	}
	return end;
}

int
policy_predicate(struct policy_run *r, int fn_ref)
{
	char trace[1024];
	enum lua_end end;

	if (!policy_fiber_ready(&r->root)) {
		err_set(&r->gen->err, "not enough memory for a coroutine");
		return -1;
	}
	r->predicate_ref = fn_ref;
	r->predicate = 0;
	end = go(r, true, trace);
	r->predicate_ref = LUA_NOREF;
	return end == LUA_DONE ? r->predicate : -1;
}

/* ---- Chains ---- */

enum step { STEP_NEXT, STEP_OVER, STEP_WAIT };

static enum step
run_lua(struct policy_run *r)
{
	char trace[1024];

	r->has_plan = false;	/* it may change what the others are about */
	if (!policy_fiber_ready(&r->root)) {
		err_set(&r->gen->err, "not enough memory for a coroutine");
		return handler_failed(r, NULL, ERROR_LIMIT) ? STEP_OVER : STEP_NEXT;
	}
	switch (go(r, true, trace)) {
	case LUA_WAITS: return STEP_WAIT;
	case LUA_DONE: return handler_done(r) ? STEP_OVER : STEP_NEXT;
	default: return handler_failed(r, trace, ERROR_LUA) ? STEP_OVER : STEP_NEXT;
	}
}

static enum step
run_handler(struct policy_run *r, struct handler *h)
{
	int hit;

	r->h = h;
	policy_run_reset_handler(r);
	h->calls++;
	if (h->when != NULL) {
		hit = policy_matcher_eval(r, h->when);
		if (hit < 0)
			return handler_failed(r, NULL, ERROR_MATCHER) ? STEP_OVER : STEP_NEXT;
		if (hit == 0)
			return STEP_NEXT;
	}
	h->hits++;
	if (r->gen->policy->seen != NULL)
		r->owed = owed_now(r->s);
	h->count->hits++;
	if (r->gen->policy->tracing) {
		policy_trace_begin(r);
		policy_trace_matched(r, h->when);
	}
	if (h->rule == NULL)
		return run_lua(r);
	if (policy_rule_run(r, h->rule, &r->gen->hv) != 0) {
		verdict_fini(&r->gen->hv);
		return handler_failed(r, NULL, ERROR_LUA) ? STEP_OVER : STEP_NEXT;
	}
	if (r->gen->hv.kind == VERDICT_NONE) {
		tell(r, NULL, NULL, false);
		ended(r, VERDICT_NONE);
		return STEP_NEXT;
	}
	snprintf(r->gen->hv.where, sizeof r->gen->hv.where, "%s", h->where);
	return handler_done(r) ? STEP_OVER : STEP_NEXT;
}

/* From the handler at r->at on. False: the run waits. */
static bool
run_chain(struct policy_run *r)
{
	struct chain *c = &r->gen->chains[r->hook];

	while (r->at < c->n) {
		struct handler *h;
		enum step step;

		if (c->index != NULL && (r->at = policy_index_next(r, c)) >= c->n)
			break;
		h = c->v[r->at++];

		if (r->s->timer != NULL && r->s->timer->h != h)
			continue;
		if (r->normal_done && h->level == POLICY_NORMAL && !h->observe)
			continue;
		step = run_handler(r, h);
		if (step == STEP_WAIT)
			return false;
		if (step == STEP_OVER)
			break;
	}
	return true;
}

/* ---- Waiting ---- */

/* Everything that is under way for this handler. */
static void
stop_handler(struct policy_run *r, enum policy_kill why)
{
	/* The C side first, so that nothing comes back to a coroutine that is gone. */
	policy_fibers_end(r);
	policy_wait_cancel(&r->root);
	r->killed = why;
	policy_fiber_drop(&r->root, true);
	verdict_fini(&r->gen->hv);
}

/* The chain came to its end after having waited: tells the owner. */
static void
finish_later(struct policy_run *r)
{
	struct policy_gen *g = r->gen;
	struct policy *p = g->policy;
	policy_done *done = r->done;
	void *owner = r->owner;
	uint64_t ticket = r->ticket;
	struct verdict v;

	slots_del(&p->runs, ticket);
	p->waiting--;
	verdict_move(&v, best(r));
	policy_journal_end(g, r->journal, r->hook, r->s, &v);
	r->journal = NULL;
	run_put(r);
	done(owner, ticket, &v);
	verdict_fini(&v);
	policy_gen_unref(g);
}

static void
go_on(struct policy_run *r, bool over)
{
	if (over || run_chain(r))
		finish_later(r);
}

void
policy_run_resume(struct policy_fiber *f)
{
	struct policy_run *r = f->run;
	char trace[1024];

	r->gen->err.text[0] = '\0';	/* another's */
	policy_slow_wait(r, r->root.co);
	while (f != &r->root) {
		struct policy_fiber *part = f;

		if (policy_fiber_go(f, 0) == LUA_WAITS)
			return;
		if (r->killed == KILL_NONE) {
			f = policy_group_ended(f);
			part = &r->root;
		}
		if (r->killed != KILL_NONE) {
			fail(r, part, trace);
			go_on(r, handler_failed(r, trace, ERROR_LUA));
			return;
		}
		if (f == NULL)
			return;
	}
	switch (go(r, false, trace)) {
	case LUA_WAITS: return;
	case LUA_DONE: go_on(r, handler_done(r)); return;
	default: go_on(r, handler_failed(r, trace, ERROR_LUA));
	}
}

static void
on_wall(evutil_socket_t fd, short what, void *arg)
{
	struct policy_run *r = arg;

	err_set(&r->gen->err, "%s: waited for longer than the handler may", policy_kill_name(KILL_WALL));
	policy_slow_wait(r, r->root.co);
	stop_handler(r, KILL_WALL);
	go_on(r, handler_failed(r, NULL, ERROR_LIMIT));
}

void
policy_start_wall(struct policy_run *r)
{
	const struct conf *conf = r->gen->conf;
	int64_t wall = r->h->wall_ms > 0 ? r->h->wall_ms : conf->policy.wall_ms, now = clock_mono_ms(), left;
	struct timeval tv;

	if (wall <= 0)
		wall = DEFAULT_WALL_MS;
	if (r->wall_deadline_ms == 0) {
		r->wall_deadline_ms = now + wall;
		r->wait_began_ms = now;
	}
	if (r->wall_timer == NULL)
		r->wall_timer = evtimer_new(r->gen->policy->base, on_wall, r);
	MUST(r->wall_timer != NULL);
	left = r->wall_deadline_ms > now ? r->wall_deadline_ms - now : 0;
	tv.tv_sec = left / 1000;
	tv.tv_usec = left % 1000 * 1000;
	evtimer_add(r->wall_timer, &tv);
}

/* ---- Public ---- */

bool
policy_gen_has(const struct policy_gen *g, enum policy_hook h)
{
	return g->chains[h].n > 0 || policy_journal_wants(g->policy, h);
}

bool
policy_gen_wants_parts(const struct policy_gen *g)
{
	return g->wants_parts;
}

enum policy_when
policy_call(struct policy *p, struct policy_gen *g, enum policy_hook hook, struct policy_subject *s,
    struct verdict *v, policy_done *done, void *owner, uint64_t *ticket_out)
{
	struct policy_run *r;

	memset(v, 0, sizeof *v);
	if (g->chains[hook].n == 0) {
		if (policy_journal_wants(p, hook))
			policy_journal_end(g, policy_journal_begin(p, hook, s), hook, s, v);
		return POLICY_NOW;
	}
	p->stats.calls++;
	r = run_get(g, hook, s);
	if (p->journal != NULL)
		r->journal = policy_journal_begin(p, hook, s);
	if (run_chain(r)) {
		if (decided(r))
			verdict_move(v, r->v);
		if (r->journal != NULL) {
			policy_journal_end(g, r->journal, hook, s, v);
			r->journal = NULL;
		}
		run_put(r);
		return POLICY_NOW;
	}
	policy_gen_ref(g);
	r->ticket = slots_add(&p->runs, r);
	p->waiting++;
	r->done = done;
	r->owner = owner;
	if (ticket_out != NULL)
		*ticket_out = r->ticket;
	return POLICY_LATER;
}

static void
cancel_run(struct policy *p, struct policy_run *r)
{
	struct policy_gen *g = r->gen;

	stop_handler(r, KILL_CANCEL);
	policy_trace_drop(r);
	policy_journal_drop(r->journal);
	r->journal = NULL;
	slots_del(&p->runs, r->ticket);
	p->waiting--;
	run_put(r);
	policy_gen_unref(g);
}

void
policy_cancel(struct policy *p, uint64_t ticket)
{
	struct policy_run *r = ticket == 0 ? NULL : slots_get(&p->runs, ticket);

	if (r == NULL)
		p->stats.stale_tickets++;
	else
		cancel_run(p, r);
}

struct policy_link *
policy_link_ref(struct policy_link *l)
{
	l->refs++;
	return l;
}

void
policy_link_unref(struct policy_link *l)
{
	if (--l->refs == 0)
		free(l);
}

struct policy *
policy_link_get(const struct policy_link *l)
{
	return l->p;
}

void
policy_use(struct policy *p, const struct policy_services *s)
{
	p->services = *s;
}

struct policy *
policy_new(struct event_base *base, struct dns *dns, unsigned worker)
{
	struct policy *p = xcalloc(1, sizeof *p);

	p->base = base;
	p->dns = dns;
	p->worker = worker;
	slots_init(&p->runs);
	slots_init(&p->waits);
	p->link = xcalloc(1, sizeof *p->link);
	*p->link = (struct policy_link){ .refs = 1, .p = p };
	return p;
}

static void
cancel_one(void *obj, void *arg)
{
	cancel_run(arg, obj);
}

/* Generations may outlive the engine, held by sessions that are about to go; they can no longer be
 * called. */
void
policy_free(struct policy *p)
{
	if (p == NULL)
		return;
	p->freeing = true;
	slots_each(&p->runs, cancel_one, p);
	for (size_t i = p->ngens; i-- > 0;)
		policy_fini_drop(p->gens[i]);
	for (size_t i = 0; i < p->ngens; i++) {
		policy_timers_stop(p->gens[i], false);
		p->gens[i]->policy = NULL;
		for (struct policy_run *r = p->gens[i]->pool; r != NULL; r = r->next) {
			if (r->wall_timer != NULL)
				event_free(r->wall_timer);
			r->wall_timer = NULL;
		}
	}
	web_loop_free(p->http);
	node_unref(p->own_node);
	for (size_t i = 0; i < p->ncounts; i++)
		free(p->counts[i]);
	free(p->counts);
	policy_trace_free(p);
	free(p->journal);
	free(p->gens);
	slots_fini(&p->runs);
	slots_fini(&p->waits);
	p->link->p = NULL;
	policy_link_unref(p->link);
	free(p);
}

void
policy_stats(const struct policy *p, struct policy_stats *out)
{
	*out = p->stats;
	out->waiting = p->waiting;
	out->in_flight = p->waits.used;
	out->lua_bytes = 0;
	for (size_t i = 0; i < p->ngens; i++)
		out->lua_bytes += p->gens[i]->mem_used;
}
