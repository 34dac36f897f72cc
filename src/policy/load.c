/* Generations: a fresh state, the sandbox, the bundle's files in the order of policy.load, chains.
 * Registration (gw.on, gw.rule) is open only while this runs. */
#include "config.h"

#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/lib.h"
#include "policy/matcher.h"

#define HANDLERS_MAX 10000
#define DEFAULT_INSTRUCTIONS 1000000u
#define INIT_WALL_MS 60000
#define DEFAULT_STEPS 8000000u

static const char *const level_names[] = { "advisory", "normal", "mandatory", NULL };

/* ---- Registration ---- */

void
policy_only_loading(lua_State *L, const char *api)
{
	if (!policy_run_of(L)->gen->loading)
		luaL_error(L, "%s: handlers and rules are registered only while the policy is being loaded", api);
}

struct policy_run *
policy_not_loading(lua_State *L, const char *api)
{
	struct policy_run *r = policy_run_of(L);

	if (r->s == NULL)
		luaL_error(L, "%s: not while the policy is being loaded; call it in a handler", api);
	return r;
}

int
policy_level_parse(lua_State *L, const char *api, const char *text)
{
	const char *near;

	for (int i = 0; i < 3; i++) {
		if (strcmp(level_names[i], text) == 0)
			return i;
	}
	near = policy_nearest(text, level_names);
	return luaL_error(L, "%s: level = \"%s\" is none of advisory, normal, mandatory%s%s", api, text,
	    near == NULL ? "" : "; nearest: ", near == NULL ? "" : near);
}

static bool
name_is_valid(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n >= sizeof ((struct handler *)0)->name || s[0] == '.' || s[n - 1] == '.' ||
	    strstr(s, "..") != NULL)
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}

static int
anchor(lua_State *L, int arg)
{
	if (arg == 0)
		return LUA_NOREF;
	lua_pushvalue(L, arg);
	return luaL_ref(L, LUA_REGISTRYINDEX);
}

void
policy_handler_add(lua_State *L, const char *api, const struct handler *proto, int when_arg, int fn_arg)
{
	struct policy_gen *g = policy_run_of(L)->gen;
	const struct matcher *when = when_arg == 0 ? NULL : policy_matcher_check(L, when_arg);
	int when_ref, fn_ref;
	struct handler *h;

	if (when != NULL)
		policy_matcher_fits(L, api, when, proto->hook);
	if (!name_is_valid(proto->name))
		luaL_error(L, "%s: name = \"%s\": a name is required, of letters a-z, digits, '_', '-' and "
		    "dots between, such as \"tag.subject\"", api, proto->name);
	for (size_t i = 0; i < g->nhandlers; i++) {
		if (strcmp(g->handlers[i]->name, proto->name) == 0)
			luaL_error(L, "%s: the name \"%s\" is already used at %s", api, proto->name,
			    g->handlers[i]->where);
	}
	if (g->nhandlers >= HANDLERS_MAX)
		luaL_error(L, "%s: more than %d handlers", api, HANDLERS_MAX);
	when_ref = anchor(L, when_arg);
	fn_ref = anchor(L, fn_arg);
	h = xmalloc(sizeof *h);
	*h = *proto;
	policy_where(L, h->where, sizeof h->where);
	h->when = when;
	h->when_ref = when_ref;
	h->fn_ref = fn_ref;
	h->order = (unsigned)g->nhandlers;
	h->calls = h->hits = h->errors = 0;
	h->slow_ms = 0;
	h->count = policy_count_of(g->policy, h->hook, h->name, h->rule != NULL);
	for (size_t i = 0; i < g->conf->policy.nlevels; i++) {
		if (strcmp(g->conf->policy.levels[i].handler, h->name) == 0)
			h->level = g->conf->policy.levels[i].level;
	}
	if ((g->nhandlers & 15) == 0)
		g->handlers = xrealloc(g->handlers, (g->nhandlers + 16) * sizeof *g->handlers);
	g->handlers[g->nhandlers++] = h;
	if (g->problems != NULL && fn_arg != 0)
		policy_check_handler(L, fn_arg, h);
}

/* gw.on(hook, fn, opts) */
static int
on(lua_State *L)
{
	static const char *const fields[] = { "name", "level", "priority", "when", "wall", "observe", NULL };
	struct handler h = { .level = POLICY_NORMAL };
	const char *hook, *near, *s;
	int when = 0;

	if (lua_type(L, 1) != LUA_TSTRING || lua_type(L, 2) != LUA_TFUNCTION || lua_gettop(L) != 3)
		luaL_error(L, "gw.on takes a hook's name, a function and a table: "
		    "gw.on(\"message\", function(session, message) ... end, { name = \"my.handler\" })");
	hook = lua_tostring(L, 1);
	h.hook = policy_hook_parse(slice_of(hook));
	if (h.hook == HOOKS) {
		near = policy_nearest(hook, policy_hook_names);
		luaL_error(L, "gw.on: there is no hook '%s'%s%s%s", hook, near == NULL ? "" : "; did you mean '",
		    near == NULL ? "" : near, near == NULL ? "" : "'?");
	}
	if (lua_iscfunction(L, 2))
		luaL_error(L, "gw.on: the handler must be a function written in the policy");
	policy_opts_check(L, 3, "gw.on", fields);
	snprintf(h.name, sizeof h.name, "%s", policy_opt_string(L, 3, "gw.on", "name", true, sizeof h.name - 1));
	if ((s = policy_opt_string(L, 3, "gw.on", "level", false, 20)) != NULL)
		h.level = policy_level_parse(L, "gw.on", s);
	h.priority = (int)policy_opt_integer(L, 3, "gw.on", "priority", -100, 100, 0);
	h.observe = policy_opt_bool(L, 3, "gw.on", "observe", false);
	h.wall_ms = policy_opt_duration(L, 3, "gw.on", "wall", 0);
	if (h.wall_ms == 0)	/* both run while nobody waits for mail */
		h.wall_ms = h.hook == HOOK_INIT ? INIT_WALL_MS : h.hook == HOOK_FINI ? FINI_MS : 0;
	if (h.wall_ms > 60000)
		luaL_error(L, "gw.on: wall is at most 60 seconds");
	if (lua_getfield(L, 3, "when") != LUA_TNIL)
		when = lua_gettop(L);
	policy_handler_add(L, "gw.on", &h, when, 2);
	return 0;
}

/* While checking, one wrong handler does not hide the problems of the others. */
int
policy_register(lua_State *L, const char *name, lua_CFunction fn)
{
	struct policy_gen *g = policy_run_of(L)->gen;
	char where[96];

	policy_only_loading(L, name);
	if (g->problems == NULL)
		return fn(L);
	policy_where(L, where, sizeof where);
	lua_pushcfunction(L, fn);
	lua_insert(L, 1);
	if (lua_pcall(L, lua_gettop(L) - 1, 0, 0) != LUA_OK) {
		if (policy_run_of(L)->killed != KILL_NONE)
			return lua_error(L);
		policy_problem(g, true, "%s: %s", where,
		    lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error");
	}
	return 0;
}

int
policy_on(lua_State *L)
{
	return policy_register(L, "gw.on", on);
}

/* ---- Chains ---- */

static int
by_rank(const void *a, const void *b)
{
	const struct handler *x = *(struct handler *const *)a, *y = *(struct handler *const *)b;
	bool mx = x->level == POLICY_MANDATORY, my = y->level == POLICY_MANDATORY;

	if (mx != my)
		return mx ? 1 : -1;
	if (x->priority != y->priority)
		return x->priority > y->priority ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static void
build_chains(struct policy_gen *g)
{
	for (size_t i = 0; i < g->nhandlers; i++)
		g->chains[g->handlers[i]->hook].n++;
	for (int k = 0; k < HOOKS; k++) {
		struct chain *c = &g->chains[k];

		c->v = c->n == 0 ? NULL : xcalloc(c->n, sizeof *c->v);
		c->n = 0;
	}
	for (size_t i = 0; i < g->nhandlers; i++) {
		struct chain *c = &g->chains[g->handlers[i]->hook];

		c->v[c->n++] = g->handlers[i];
		g->wants_parts = g->wants_parts || (g->handlers[i]->when != NULL &&
		    matcher_is_about_parts(g->handlers[i]->when));
	}
	for (int k = 0; k < HOOKS; k++) {
		if (g->chains[k].n > 1)
			qsort(g->chains[k].v, g->chains[k].n, sizeof *g->chains[k].v, by_rank);
		if (k != HOOK_EVERY)
			g->chains[k].index = policy_index_new(&g->chains[k]);
	}
}

/* A level for a handler that does not exist is most likely a typing mistake, and would leave the
 * meant one in force: an error, not a warning. */
static bool
levels_are_known(struct policy_gen *g, struct err *err)
{
	const char **names = xcalloc(g->nhandlers + 1, sizeof *names);
	bool ok = true;

	for (size_t i = 0; i < g->nhandlers; i++)
		names[i] = g->handlers[i]->name;
	for (size_t i = 0; i < g->conf->policy.nlevels; i++) {
		const char *want = g->conf->policy.levels[i].handler, *near = policy_nearest(want, names);
		size_t k = 0;

		while (k < g->nhandlers && strcmp(names[k], want) != 0)
			k++;
		if (k < g->nhandlers)
			continue;
		ok = false;
		err_set(err, "policy.levels: no handler is named \"%s\"%s%s", want,
		    near == NULL ? "" : "; nearest: ", near == NULL ? "" : near);
		if (g->problems != NULL)
			policy_problem(g, true, "%s", err->text);
	}
	free(names);
	return ok;
}

/* ---- Loading ---- */

static int
on_panic(lua_State *L)
{
	log_error("a Lua error outside any protected call",
	    LOG_S("error", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?"));
	MUST(!"Lua panic");
	return 0;
}

static int
set_up(lua_State *L)
{
	policy_sandbox_open(L);
	policy_gw_open(L);
	return 0;
}

static int
run_source(lua_State *L)
{
	const struct policy_source *s = lua_touserdata(L, 1);
	char name[300];

	snprintf(name, sizeof name, "@%s", s->path);
	/* "t": compiled chunks can crash the interpreter. */
	if (luaL_loadbufferx(L, s->text, s->n, name, "t") != LUA_OK)
		return lua_error(L);
	lua_call(L, 0, 0);
	return 0;
}

static int
freeze_all(lua_State *L)
{
	policy_sandbox_freeze(L);
	return 0;
}

/* Calls fn(arg) on the main state. */
bool
policy_protected(struct policy_gen *g, lua_CFunction fn, const void *arg, struct err *err)
{
	lua_State *L = g->L;
	struct policy_run *r = g->load_run;
	int status;

	policy_slice_begin(r, L);
	lua_pushcfunction(L, fn);
	lua_pushlightuserdata(L, (void *)arg);
	status = lua_pcall(L, 1, 0, 0);
	policy_slice_end(r);
	lua_sethook(L, NULL, 0, 0);
	if (status == LUA_OK)
		return true;
	if (status == LUA_ERRMEM && r->killed == KILL_NONE)
		r->killed = KILL_MEMORY;
	if (r->killed != KILL_NONE)
		err_set(err, "%s while the policy was being loaded", policy_kill_name(r->killed));
	else if (lua_type(L, -1) == LUA_TSTRING)
		err_set(err, "%s", lua_tostring(L, -1));
	else
		err_set(err, "the error value is a %s", luaL_typename(L, -1));
	lua_settop(L, 0);
	return false;
}

static bool
load_files(struct policy_gen *g, struct err *err)
{
	bool ok = true;

	for (size_t k = 0; k < g->conf->policy.nload; k++) {
		for (size_t i = 0; i < policy_bundle_count(g->bundle); i++) {
			const struct policy_source *s = policy_bundle_source(g->bundle, i);

			if (s->load_order != (int)k || policy_protected(g, run_source, s, err))
				continue;
			if (g->load_run->killed != KILL_NONE)
				err_prefix(err, "%s", s->path);
			if (g->problems == NULL)
				return false;
			policy_problem(g, true, "%s", err->text);
			ok = false;
			g->load_run->killed = KILL_NONE;
		}
	}
	return ok;
}

static struct policy_gen *
gen_alloc(struct policy *p, struct policy_bundle *b, struct conf *conf)
{
	struct policy_gen *g = xcalloc(1, sizeof *g);

	g->refs = 1;
	g->policy = p;
	g->bundle = policy_bundle_ref(b);
	g->conf = conf_ref(conf);
	g->instructions_max = conf->policy.instructions == 0 ? DEFAULT_INSTRUCTIONS : conf->policy.instructions;
	g->steps_max = DEFAULT_STEPS;
	g->mem_cap = conf->policy.memory == 0 ? 64u << 20 : (size_t)conf->policy.memory;
	g->load_run = policy_run_new(g);
	p->gens = xrealloc(p->gens, (p->ngens + 1) * sizeof *p->gens);
	p->gens[p->ngens++] = g;
	return g;
}

/* Shared with policy_check: `problems` collects instead of stopping. NULL on error. */
struct policy_gen *
policy_gen_load(struct policy *p, struct policy_bundle *b, struct conf *conf, struct buf *problems,
    struct err *err)
{
	struct policy_gen *g = gen_alloc(p, b, conf);
	bool ok;

	g->problems = problems;
	g->L = lua_newstate(policy_alloc, g);
	if (g->L == NULL) {
		err_set(err, "not enough memory for a Lua state (policy.limits.memory)");
		policy_gen_unref(g);
		return NULL;
	}
	lua_atpanic(g->L, on_panic);
	*(struct policy_run **)lua_getextraspace(g->L) = g->load_run;
	g->load_run->root.co = g->L;
	ok = policy_protected(g, set_up, NULL, err);
	g->loading = true;
	ok = ok && policy_protected(g, policy_library_open, NULL, err) && load_files(g, err);
	g->loading = false;
	ok = ok && levels_are_known(g, err) && policy_protected(g, policy_options_check, NULL, err) &&
	    policy_protected(g, freeze_all, NULL, err);
	if (!ok) {
		policy_gen_unref(g);
		return NULL;
	}
	build_chains(g);
	lua_gc(g->L, LUA_GCCOLLECT);
	return g;
}

/* The sandbox and nothing in it, for the tests of a bundle. Its modules can be required. */
struct policy_gen *
policy_gen_bare(struct policy *p, struct policy_bundle *b, struct conf *conf, struct err *err)
{
	struct policy_gen *g = gen_alloc(p, b, conf);

	g->L = lua_newstate(policy_alloc, g);
	if (g->L != NULL) {
		lua_atpanic(g->L, on_panic);
		*(struct policy_run **)lua_getextraspace(g->L) = g->load_run;
		g->load_run->root.co = g->L;
		g->loading = true;
	}
	if (g->L == NULL || !policy_protected(g, set_up, NULL, err)) {
		policy_gen_unref(g);
		return NULL;
	}
	return g;
}

struct policy_gen *
policy_gen_new(struct policy *p, struct policy_bundle *b, struct conf *conf, struct err *err)
{
	return policy_gen_load(p, b, conf, NULL, err);
}

struct policy_gen *
policy_gen_ref(struct policy_gen *g)
{
	g->refs++;
	return g;
}

static void
forget(struct policy *p, struct policy_gen *g)
{
	for (size_t i = 0; i < p->ngens; i++) {
		if (p->gens[i] == g) {
			p->gens[i] = p->gens[--p->ngens];
			return;
		}
	}
}

void
policy_gen_unref(struct policy_gen *g)
{
	struct policy_fiber *f;
	struct policy_run *r;

	if (g == NULL || --g->refs > 0 || policy_fini_due(g))
		return;
	if (g->policy != NULL)
		forget(g->policy, g);
	policy_timers_free(g);
	while ((r = g->pool) != NULL) {
		g->pool = r->next;
		policy_run_free(r);
	}
	while ((f = g->fibers) != NULL) {
		g->fibers = f->next;
		free(f);
	}
	if (g->L != NULL)
		lua_close(g->L);
	for (size_t i = 0; i < g->nhandlers; i++) {
		if (g->handlers[i]->rule != NULL)
			policy_rule_free(g->handlers[i]->rule);
		free(g->handlers[i]);
	}
	free(g->handlers);
	for (int k = 0; k < HOOKS; k++) {
		policy_index_free(g->chains[k].index);
		free(g->chains[k].v);
	}
	policy_run_free(g->load_run);
	policy_bundle_unref(g->bundle);
	conf_unref(g->conf);
	if (g->watch != NULL)
		g->watch->gone(g->watcher);
	free(g);
}

const char *
policy_gen_id(const struct policy_gen *g)
{
	return policy_bundle_id(g->bundle);
}

struct conf *
policy_gen_conf(const struct policy_gen *g)
{
	return g->conf;
}
