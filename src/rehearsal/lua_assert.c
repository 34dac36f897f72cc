/* t.describe, t.it and what a test asserts. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rehearsal/lua_int.h"

/* Raises with the test's place and the three lines that say what was wrong. */
static int
failed(lua_State *L, int note, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int
failed(lua_State *L, int note, const char *fmt, ...)
{
	char text[9000];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	push_where(L);
	if (note != 0 && lua_type(L, note) == LUA_TSTRING)
		lua_pushfstring(L, "%s: ", lua_tostring(L, note));
	else
		lua_pushliteral(L, "");
	lua_pushstring(L, text);
	lua_concat(L, 3);
	return lua_error(L);
}

static bool
same(lua_State *L, int a, int b, int depth)
{
	bool equal = true;
	size_t na = 0, nb = 0;

	if (lua_compare(L, a, b, LUA_OPEQ))
		return true;
	if (lua_type(L, a) != LUA_TTABLE || lua_type(L, b) != LUA_TTABLE || depth > 50)
		return false;
	luaL_checkstack(L, 8, "too deep");
	lua_pushnil(L);
	while (equal && lua_next(L, a) != 0) {
		na++;
		lua_pushvalue(L, -2);
		lua_rawget(L, b);
		equal = same(L, lua_gettop(L) - 1, lua_gettop(L), depth + 1);
		lua_pop(L, 2);
	}
	if (!equal) {
		lua_pop(L, 1);
		return false;
	}
	lua_pushnil(L);
	while (lua_next(L, b) != 0) {
		nb++;
		lua_pop(L, 1);
	}
	return na == nb;
}

/* t.eq(got, expected [, note]) */
static int
t_eq(lua_State *L)
{
	lua_settop(L, 3);
	if (same(L, 1, 2, 0))
		return 0;
	push_shown(L, 2);
	push_shown(L, 1);
	return failed(L, 3, "t.eq: not equal\n  expected: %s\n  got:      %s", lua_tostring(L, -2), lua_tostring(L, -1));
}

static int
t_ne(lua_State *L)
{
	lua_settop(L, 3);
	if (!same(L, 1, 2, 0))
		return 0;
	push_shown(L, 1);
	return failed(L, 3, "t.ne: both are\n  %s", lua_tostring(L, -1));
}

/* Is the value on top among those of the list at t, or a key of it, or part of the text there? */
static bool
holds(lua_State *L, int t)
{
	int v = lua_gettop(L);
	bool yes = false;
	lua_Integer n;

	if (lua_type(L, t) == LUA_TSTRING)
		return lua_type(L, v) == LUA_TSTRING && strstr(lua_tostring(L, t), lua_tostring(L, v)) != NULL;
	if (lua_type(L, t) != LUA_TTABLE)
		return false;
	n = luaL_len(L, t);
	for (lua_Integer i = 1; i <= n && !yes; i++) {
		lua_geti(L, t, i);
		yes = same(L, v, v + 1, 0);
		lua_pop(L, 1);
	}
	if (!yes) {
		lua_pushvalue(L, v);
		yes = lua_gettable(L, t) != LUA_TNIL;
		lua_pop(L, 1);
	}
	return yes;
}

static int
contents(lua_State *L, bool wanted)
{
	lua_Integer n;

	lua_settop(L, 3);
	if (lua_type(L, 2) != LUA_TTABLE) {	/* one value */
		lua_newtable(L);
		lua_pushvalue(L, 2);
		lua_rawseti(L, -2, 1);
		lua_replace(L, 2);
	}
	n = luaL_len(L, 2);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_geti(L, 2, i);
		if (holds(L, 1) == wanted) {
			lua_pop(L, 1);
			continue;
		}
		push_shown(L, -1);
		push_shown(L, 1);
		return failed(L, 3, "%s\n  %s: %s\n  got:      %s", wanted ? "t.has: something is missing" :
		    "t.lacks: something is there", wanted ? "expected" : "unwanted", lua_tostring(L, -2), lua_tostring(L, -1));
	}
	return 0;
}

static int
t_has(lua_State *L)
{
	return contents(L, true);
}

static int
t_lacks(lua_State *L)
{
	return contents(L, false);
}

static bool
matches(lua_State *L)
{
	bool yes;

	luaL_checkstring(L, 2);
	if (lua_type(L, 1) != LUA_TSTRING)
		return false;
	lua_getglobal(L, "string");
	lua_getfield(L, -1, "find");
	lua_pushvalue(L, 1);
	lua_pushvalue(L, 2);
	lua_call(L, 2, 1);
	yes = !lua_isnil(L, -1);
	lua_pop(L, 2);
	return yes;
}

static int
t_match(lua_State *L)
{
	lua_settop(L, 3);
	if (matches(L))
		return 0;
	push_shown(L, 2);
	push_shown(L, 1);
	return failed(L, 3, "t.match: the pattern is not in it\n  expected: %s\n  got:      %s", lua_tostring(L, -2),
	    lua_tostring(L, -1));
}

static int
t_nomatch(lua_State *L)
{
	lua_settop(L, 3);
	if (lua_type(L, 1) == LUA_TSTRING && !matches(L))
		return 0;
	push_shown(L, 2);
	push_shown(L, 1);
	return failed(L, 3, "t.nomatch: the pattern is in it\n  unwanted: %s\n  got:      %s", lua_tostring(L, -2),
	    lua_tostring(L, -1));
}

static int
t_ok(lua_State *L)
{
	lua_settop(L, 2);
	if (lua_toboolean(L, 1))
		return 0;
	push_shown(L, 1);
	return failed(L, 2, "t.ok: it does not hold\n  expected: true\n  got:      %s", lua_tostring(L, -1));
}

static int
t_fail(lua_State *L)
{
	return failed(L, 0, "%s", luaL_optstring(L, 1, "t.fail"));
}

/* t.raises(fn [, pattern]) -> what it raised */
static int
t_raises(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TFUNCTION);
	lua_settop(L, 2);
	lua_pushvalue(L, 1);
	if (lua_pcall(L, 0, 0, 0) == LUA_OK)
		return failed(L, 0, "t.raises: nothing was raised\n  expected: an error%s%s",
		    lua_isnil(L, 2) ? "" : " with ", lua_isnil(L, 2) ? "" : lua_tostring(L, 2));
	if (lua_isnil(L, 2))
		return 1;
	lua_pushvalue(L, 3);
	lua_replace(L, 1);
	if (!matches(L)) {
		push_shown(L, 1);
		return failed(L, 0, "t.raises: another error\n  expected: %s\n  got:      %s", lua_tostring(L, 2),
		    lua_tostring(L, -1));
	}
	lua_settop(L, 1);
	return 1;
}

/* ---- Traces ---- */

static bool
field_fits(lua_State *L, const char *key, const char *value)
{
	bool yes;

	lua_getfield(L, 2, key);
	yes = lua_isnil(L, -1) || (value != NULL && lua_type(L, -1) == LUA_TSTRING &&
	    strcmp(lua_tostring(L, -1), value) == 0);
	lua_pop(L, 1);
	return yes;
}

static bool
fits(lua_State *L, const struct seen *s)
{
	static const char *const levels[] = { "advisory", "normal", "mandatory" };

	return field_fits(L, "hook", policy_hook_name(s->hook)) && field_fits(L, "handler", s->handler) &&
	    field_fits(L, "verdict", s->verdict) && field_fits(L, "reason", s->reason) &&
	    field_fits(L, "status", s->status) && field_fits(L, "where", s->where) &&
	    field_fits(L, "text", s->text) && field_fits(L, "level", levels[s->level]);
}

static void
push_trace(lua_State *L, const struct env *e)
{
	const struct seen *s;
	luaL_Buffer b;
	bool any = false;

	luaL_buffinit(L, &b);
	for (size_t i = e->first_seen; (s = world_seen(e->w, i)) != NULL; i++) {
		char line[600];

		snprintf(line, sizeof line, "\n    %-10s %-24s %-8s %s%s%s%s%s", policy_hook_name(s->hook), s->handler,
		    s->verdict, s->where, s->added[0] == '\0' ? "" : "  +", s->added, s->error == NULL ? "" : "  ",
		    s->error == NULL ? "" : s->error);
		luaL_addstring(&b, line);
		any = true;
	}
	if (!any)
		luaL_addstring(&b, " no handler ran");
	luaL_pushresult(&b);
}

static int
trace(lua_State *L, bool wanted)
{
	static const char *const fields[] = { "hook", "handler", "verdict", "reason", "status", "where", "text",
		"level", NULL };
	struct env *e = check_env(L, 1);
	const struct seen *s;

	lua_settop(L, 2);
	policy_opts_check(L, 2, wanted ? "t.trace" : "t.notrace", fields);
	for (size_t i = e->first_seen; (s = world_seen(e->w, i)) != NULL; i++) {
		if (fits(L, s) && wanted)
			return 0;
		if (fits(L, s))
			break;
	}
	if (s == NULL && !wanted)
		return 0;
	push_shown(L, 2);
	push_trace(L, e);
	return failed(L, 0, "%s\n  %s: %s\n  got:     %s", wanted ? "t.trace: no handler did that" :
	    "t.notrace: a handler did that", wanted ? "expected" : "unwanted", lua_tostring(L, -2), lua_tostring(L, -1));
}

static int
t_trace(lua_State *L)
{
	return trace(L, true);
}

static int
t_notrace(lua_State *L)
{
	return trace(L, false);
}

/* ---- Structure ---- */

static int
t_describe(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	size_t was = strlen(runner->prefix);

	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	snprintf(runner->prefix + was, sizeof runner->prefix - was, "%s%s", was == 0 ? "" : ", ", name);
	lua_call(L, 0, 0);
	runner->prefix[was] = '\0';
	return 0;
}

static double
seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* What made it fail although nothing was raised: a look-up that nobody stubbed. */
static char *
conclude(lua_State *L, int status)
{
	struct env *e = runner->env;
	const char *missing = e == NULL || e->w == NULL ? NULL : book_missing(world_book(e->w));
	const char *log = e == NULL || e->w == NULL ? "" : world_log(e->w), *raised = NULL;
	struct buf why;

	if (status == LUA_OK && missing == NULL)
		return NULL;
	if (status != LUA_OK)
		raised = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_tolstring(L, -1, NULL);
	buf_init(&why, 64 * 1024);
	buf_printf(&why, "%s%s%s", raised == NULL ? "" : raised, raised == NULL || missing == NULL ? "" : "\n",
	    missing == NULL ? "" : missing);
	for (const char *nl; (nl = strchr(log, '\n')) != NULL; log = nl + 1)
		if (strstr(log, "policy failed") != NULL && strstr(log, "policy failed") < nl)
			buf_printf(&why, "\n  log: %.*s", (int)(nl - log), log);
	return buf_take(&why);
}

static int
t_it(lua_State *L)
{
	const char *name = luaL_checkstring(L, 1);
	char full[600];
	struct result *r;
	double began;
	int status;

	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	if (runner->seen++ != runner->wanted)
		return 0;
	runner->ran = true;
	snprintf(full, sizeof full, "%s%s%s", runner->prefix, runner->prefix[0] == '\0' ? "" : ": ", name);
	if (runner->tc->only != NULL && strstr(full, runner->tc->only) == NULL)
		return 0;
	if (runner->env != NULL && runner->env->w != NULL)
		for (runner->env->first_seen = 0; world_seen(runner->env->w, runner->env->first_seen) != NULL;)
			runner->env->first_seen++;
	began = seconds();
	policy_run_reset_handler(policy_run_of(L));
	status = lua_pcall(L, 0, 0, 0);
	runner->results = xrealloc(runner->results, (runner->nresults + 1) * sizeof *runner->results);
	r = &runner->results[runner->nresults++];
	*r = (struct result){ .file = xstrdup(runner->file), .name = xstrdup(full), .why = conclude(L, status),
		.seconds = seconds() - began };
	if (status != LUA_OK)
		lua_pop(L, 1);
	return 0;
}

void
test_assert_open(lua_State *L)
{
	static const luaL_Reg fns[] = {
		{ "describe", t_describe }, { "it", t_it }, { "eq", t_eq }, { "ne", t_ne }, { "has", t_has },
		{ "lacks", t_lacks }, { "match", t_match }, { "nomatch", t_nomatch }, { "ok", t_ok }, { "fail", t_fail },
		{ "raises", t_raises }, { "trace", t_trace }, { "notrace", t_notrace }, { NULL, NULL },
	};

	luaL_setfuncs(L, fns, 0);
}
