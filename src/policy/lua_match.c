/* gw.match: the constructors of matchers, while a bundle loads. What they say about a mistake begins
 * with the policy's file and line. Also gw.domains, the same forms for Lua code. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/journal.h"
#include "policy/matcher.h"
#include "policy/names.h"
#include "policy/objects.h"
#include "policy/rules.h"

#define MATCHER_MT "gw.matcher"
#define WORDS_MAX 1000000

struct matcher_box {
	struct matcher *m;
};

static struct matcher_box *
test_matcher(lua_State *L, int arg)
{
	return lua_type(L, arg) == LUA_TUSERDATA ? luaL_testudata(L, arg, MATCHER_MT) : NULL;
}

const struct matcher *
policy_matcher_check(lua_State *L, int arg)
{
	struct matcher_box *b = test_matcher(L, arg);

	if (b == NULL || b->m == NULL)
		luaL_error(L, "a matcher is needed (gw.match.*), not a %s", luaL_typename(L, arg));
	return b->m;
}

void
policy_matcher_fits(lua_State *L, const char *api, const struct matcher *m, enum policy_hook hook)
{
	struct err err = { "" };

	if (!matcher_fits(m, hook, &err))
		luaL_error(L, "%s: %s", api, err.text);
}

static int
matcher_gc(lua_State *L)
{
	struct matcher_box *b = luaL_checkudata(L, 1, MATCHER_MT);

	matcher_unref(b->m);
	b->m = NULL;
	return 0;
}

static int
matcher_tostring(lua_State *L)
{
	char *text = matcher_text(policy_matcher_check(L, 1));
	char shown[512];

	snprintf(shown, sizeof shown, "%s", text);
	free(text);
	lua_pushstring(L, shown);
	return 1;
}

/* ---- Arguments ---- */

/* One word more for the list at `list`: a string, or the text of an address or domain. */
static void
add_word(lua_State *L, int arg, int list, const char *api)
{
	size_t n;
	const char *p = obj_address_peek(L, arg, &n);

	if (p == NULL)
		p = obj_domain_peek(L, arg, &n);
	if (p == NULL && lua_type(L, arg) == LUA_TSTRING)
		p = lua_tolstring(L, arg, &n);
	if (p == NULL)
		luaL_error(L, "%s: strings are needed, not a %s", api, luaL_typename(L, arg));
	if (strlen(p) != n || n > 1000 || !utf8_is_valid(p, n))
		luaL_error(L, "%s: not a text of at most 1000 octets", api);
	if (lua_rawlen(L, list) >= WORDS_MAX)
		luaL_error(L, "%s: too many values", api);
	lua_pushlstring(L, p, n);
	lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
}

/* Leaves a table of strings and an array of pointers to them on the stack. */
static const char *const *
read_words(lua_State *L, int first, int last, const char *api, size_t *n_out)
{
	const char **v;
	int list;

	lua_newtable(L);
	list = lua_gettop(L);
	for (int i = first; i <= last; i++) {
		const struct names *set = obj_set_peek(L, i);

		if (set != NULL) {
			for (uint32_t k = 0; k < set->n; k++) {
				struct slice s = names_at(set, k);

				lua_pushlstring(L, s.p, s.n);
				add_word(L, -1, list, api);
				lua_pop(L, 1);
			}
		} else if (lua_istable(L, i)) {
			lua_Integer n = luaL_len(L, i);

			for (lua_Integer k = 1; k <= n; k++) {
				lua_geti(L, i, k);
				add_word(L, -1, list, api);
				lua_pop(L, 1);
			}
		} else {
			add_word(L, i, list, api);
		}
	}
	*n_out = lua_rawlen(L, list);
	v = lua_newuserdatauv(L, (*n_out + 1) * sizeof *v, 0);
	for (size_t i = 0; i < *n_out; i++) {
		lua_rawgeti(L, list, (lua_Integer)i + 1);
		v[i] = lua_tostring(L, -1);	/* the table keeps it */
		lua_pop(L, 1);
	}
	return v;
}

/* Matchers as arguments or in one list. The array borrows; the values stay on the stack. */
static struct matcher *const *
read_kids(lua_State *L, const char *api, size_t *n_out)
{
	bool is_list = lua_gettop(L) == 1 && lua_istable(L, 1);
	lua_Integer n = is_list ? luaL_len(L, 1) : lua_gettop(L);
	struct matcher **v;

	if (n > 1000)
		luaL_error(L, "%s: at most 1000 matchers", api);
	v = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *v, 0);
	luaL_checkstack(L, (int)n + 4, api);
	for (lua_Integer i = 1; i <= n; i++) {
		if (is_list)
			lua_geti(L, 1, i);	/* stays: anchored until the matcher has its reference */
		else
			lua_pushvalue(L, (int)i);
		if (test_matcher(L, -1) == NULL)
			luaL_error(L, "%s: entry %I is a %s, not a matcher", api, i, luaL_typename(L, -1));
		v[i - 1] = test_matcher(L, -1)->m;
	}
	*n_out = (size_t)n;
	return v;
}

/* A misspelt listener would be a rule that never holds. */
static void
check_listeners(lua_State *L, const struct match_args *a)
{
	const struct conf *c = policy_run_of(L)->gen->conf;
	const char *names[64] = { NULL };

	for (size_t i = 0; i < c->nlisteners && i < NELEMS(names) - 1; i++)
		names[i] = c->listeners[i].name;
	for (size_t i = 0; i < a->nwords; i++) {
		const char *near;

		if (conf_listener(c, a->words[i]) != NULL)
			continue;
		near = policy_nearest(a->words[i], names);
		luaL_error(L, near == NULL ? "gw.match.listener: the configuration has no listener '%s'" :
		    "gw.match.listener: the configuration has no listener '%s' (did you mean '%s'?)",
		    a->words[i], near);
	}
}

static void
read_time(lua_State *L, struct match_args *a, const char *api)
{
	static const char *const opts[] = { "days", "from", "to", "zone", NULL };
	static const char *const zones[] = { "local", "utc", NULL };
	const char *zone;

	policy_opts_check(L, 1, api, opts);
	a->days = policy_opt_string(L, 1, api, "days", false, 64);
	a->from = policy_opt_string(L, 1, api, "from", false, 8);
	a->to = policy_opt_string(L, 1, api, "to", false, 8);
	zone = policy_opt_string(L, 1, api, "zone", false, 8);
	if (zone != NULL && strcmp(zone, zones[0]) != 0 && strcmp(zone, zones[1]) != 0)
		luaL_error(L, "%s: zone is \"local\" or \"utc\"", api);
	a->utc = zone != NULL && strcmp(zone, zones[1]) == 0;
}

static void
read_args(lua_State *L, struct match_args *a, const char *api)
{
	size_t n;
	const char *p;

	switch (match_op_shape(a->op)) {
	case SHAPE_KIDS:
		a->kids = read_kids(L, api, &a->nkids);
		break;
	case SHAPE_KID:
		if (lua_gettop(L) != 1)
			luaL_error(L, "%s takes one matcher", api);
		a->kids = read_kids(L, api, &a->nkids);
		if (a->nkids != 1)
			luaL_error(L, "%s takes one matcher", api);
		break;
	case SHAPE_WORDS:
	case SHAPE_OPT_WORDS:
		a->words = read_words(L, 1, lua_gettop(L), api, &a->nwords);
		break;
	case SHAPE_NAME_WORDS:
		a->name = luaL_checkstring(L, 1);
		a->words = read_words(L, 2, lua_gettop(L), api, &a->nwords);
		break;
	case SHAPE_SIZE:
		if (lua_isinteger(L, 1) && lua_tointeger(L, 1) >= 0) {
			a->size = (uint64_t)lua_tointeger(L, 1);
			break;
		}
		p = luaL_checklstring(L, 1, &n);
		if (!matcher_size_parse((struct slice){ p, n }, &a->size))
			luaL_error(L, "%s: a size is octets or \"10M\" (K, M, G)", api);
		break;
	case SHAPE_NONE:
		if (lua_gettop(L) != 0)
			luaL_error(L, "%s takes no argument", api);
		break;
	case SHAPE_TIME:
		read_time(L, a, api);
		break;
	case SHAPE_FUNCTION:
		luaL_checktype(L, 1, LUA_TFUNCTION);
		break;
	}
}

/* One constructor for all; which one is its upvalue. */
static int
construct(lua_State *L)
{
	struct match_args a = { .op = (enum match_op)lua_tointeger(L, lua_upvalueindex(1)) };
	struct matcher_box *b;
	struct err err = { "" };
	char api[64];

	snprintf(api, sizeof api, "gw.match.%s", match_op_name(a.op));
	policy_only_loading(L, api);
	read_args(L, &a, api);
	if (a.op == MATCH_LISTENER)
		check_listeners(L, &a);
	b = lua_newuserdatauv(L, sizeof *b, 0);
	b->m = NULL;
	luaL_setmetatable(L, MATCHER_MT);
	if (a.op == MATCH_LUA) {
		lua_pushvalue(L, 1);
		/* Kept as long as the state: matchers are made while it loads, and only then. */
		a.fn_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	}
	b->m = matcher_new(&a, &err);
	if (b->m == NULL)
		return luaL_error(L, "gw.match.%s", err.text);
	return 1;
}

/* ---- gw.domains { "x.example", "*.x.example", ".y.example" } ---- */

#define DOMAINS_MT "gw.domains"

static int
domains_gc(lua_State *L)
{
	domain_set_fini(luaL_checkudata(L, 1, DOMAINS_MT));
	return 0;
}

static int
domains_has(lua_State *L)
{
	const struct domain_set *d = luaL_checkudata(L, 1, DOMAINS_MT);
	size_t n;
	const char *p = obj_domain_peek(L, 2, &n), *at;
	char ascii[256];
	bool yes = false;

	if (p != NULL) {
		yes = domain_set_has(d, (struct slice){ p, n });
	} else if ((p = obj_address_peek(L, 2, &n)) != NULL) {
		at = strrchr(p, '@');
		yes = at != NULL && domain_set_has(d, slice_of(at + 1));
	} else if (!lua_isnil(L, 2)) {
		p = luaL_checklstring(L, 2, &n);
		yes = dns_to_ascii(ascii, (struct slice){ p, n }) && domain_set_has(d, slice_of(ascii));
	}
	lua_pushboolean(L, yes);
	return 1;
}

static int
domains_new(lua_State *L)
{
	const char *const *words;
	struct domain_set *d;
	struct err err = { "" };
	size_t n;

	policy_only_loading(L, "gw.domains");
	words = read_words(L, 1, lua_gettop(L), "gw.domains", &n);
	d = lua_newuserdatauv(L, sizeof *d, 0);
	memset(d, 0, sizeof *d);
	luaL_setmetatable(L, DOMAINS_MT);
	if (!domain_set_init(d, words, n, &err))
		return luaL_error(L, "gw.domains: %s", err.text);
	return 1;
}

/* ---- Registration ---- */

/* gw.match.subjct_word: say what was meant. */
static int
no_such_matcher(lua_State *L)
{
	const char *names[MATCH_OPS + 1] = { NULL };

	for (int op = 0; op < MATCH_OPS; op++)
		names[op] = match_op_name((enum match_op)op);
	return policy_unknown_field(L, "gw.match", luaL_checkstring(L, 2), names);
}

void
obj_match_register(lua_State *L)
{
	static const luaL_Reg matcher_mt[] = {
		{ "__gc", matcher_gc }, { "__tostring", matcher_tostring }, { NULL, NULL }
	};
	static const luaL_Reg domains_mt[] = {
		{ "__gc", domains_gc }, { NULL, NULL }
	};
	static const luaL_Reg methods[] = { { "has", domains_has }, { NULL, NULL } };
	static const struct policy_type domains = { "domains", methods, NULL, NULL };

	policy_newmetatable(L, MATCHER_MT, matcher_mt);
	policy_newmetatable(L, DOMAINS_MT, domains_mt);
	policy_type_members(L, &domains);
	lua_pop(L, 2);
	lua_createtable(L, 0, MATCH_OPS + 1);
	for (int op = 0; op < MATCH_OPS; op++) {
		lua_pushinteger(L, op);
		lua_pushcclosure(L, construct, 1);
		lua_setfield(L, -2, match_op_name((enum match_op)op));
	}
	lua_getfield(L, -1, match_op_name(MATCH_NO));
	lua_setfield(L, -2, "not");		/* m["not"]: `not` is a word of Lua's */
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, no_such_matcher);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
	lua_setfield(L, -2, "match");
	lua_pushcfunction(L, domains_new);
	lua_setfield(L, -2, "domains");
}

/* ---- Evaluation within a run ---- */

static int
call_predicate(void *owner, int ref)
{
	return policy_predicate(owner, ref);
}

struct policy_view *
policy_run_view(struct policy_run *r)
{
	if (r->view == NULL)
		r->view = xcalloc(1, sizeof *r->view);
	if (r->view->s == NULL) {
		view_init(r->view, r->s);
		r->view->call = call_predicate;
		r->view->owner = r;
		r->view->conf = r->gen->conf;
	}
	return r->view;
}

void
policy_run_forget(struct policy_run *r)
{
	if (r->view == NULL)
		return;
	view_fini(r->view);
	memset(r->view, 0, sizeof *r->view);
}

int
policy_matcher_eval(struct policy_run *r, const struct matcher *m)
{
	const struct policy_replay *rp = r->gen->policy == NULL ? NULL : r->gen->policy->replay;

	switch (matcher_eval(m, policy_run_view(r))) {
	case MATCH_NOT:
		return 0;
	case MATCH_YES:
		return 1;
	case MATCH_FAILED:
		break;
	}
	if (matcher_is_about_parts(m) && rp != NULL && rp->subject != NULL && !rp->subject->body_is_whole)
		policy_unknown(r, "body", "its parts");
	if (r->gen->err.text[0] == '\0')
		err_set(&r->gen->err, "the header%s cannot be read here, so the matcher cannot be answered",
		    matcher_is_about_parts(m) ? " or all parts" : "");
	return -1;
}
