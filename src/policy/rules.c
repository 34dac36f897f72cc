/* gw.rule and gw.action: what a rule does is compiled when the bundle loads and carried out in C;
 * Lua is not entered for it. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/matcher.h"
#include "policy/obj_message.h"
#include "policy/rules.h"

enum action_op {
	ACT_REQUIRE_TLS, ACT_TAG, ACT_ADD_HEADER, ACT_SET_HEADER, ACT_REMOVE_HEADER, ACT_IGNORE_NO,
	ACT_NOTE, ACT_VERDICT,
};
struct action {
	enum action_op op;
	enum tls_level level;
	bool waivable;
	enum edit_op edit;
	char *name, *value;		/* tag or header; value, reason or note */
	struct verdict *verdict;
};
struct rule {
	struct action *v;
	size_t n;
};

#define HOOKBIT(h) (1u << HOOK_##h)
#define RECEPTION (HOOKBIT(MAIL) | HOOKBIT(RCPT) | HOOKBIT(DATA) | HOOKBIT(HEADER) | HOOKBIT(MESSAGE) | \
	HOOKBIT(BOUNCE_IN))
static const struct {
	const char *name;
	unsigned hooks;			/* where it can be done; 0: everywhere */
} acts[] = {
	[ACT_REQUIRE_TLS] = { "require_tls", RECEPTION | HOOKBIT(ATTEMPT) | HOOKBIT(EHLO) },
	[ACT_TAG] = { "tag", RECEPTION },
	[ACT_ADD_HEADER] = { "add_header", RECEPTION },
	[ACT_SET_HEADER] = { "set_header", RECEPTION },
	[ACT_REMOVE_HEADER] = { "remove_header", RECEPTION },
	[ACT_IGNORE_NO] = { "ignore_tls_required_no", HOOKBIT(MESSAGE) },
	[ACT_NOTE] = { "note", 0 },
	[ACT_VERDICT] = { "a verdict", 0 },	/* looked at one by one */
};
static const char *const verdict_acts[] = {
	"reject", "defer", "hold", "discard", "accept", "route", "bounce", "drop", "skip_host", "reroute",
	"suppress", "tls", NULL
};

/* ---- Carrying out ---- */

static bool
do_owe(struct policy_run *r, const struct action *a)
{
	struct policy_subject *s = r->s;
	struct msg *m = s->msg;

	if (s->hop != NULL)
		return policy_owe(r, &s->hop->added, NULL, a->level, false, a->value);
	if (m == NULL || !s->may_edit) {
		err_set(&r->gen->err, "require_tls: the message cannot be changed at hook %s",
		    policy_hook_name(r->hook));
		return false;
	}
	/* At rcpt the rule is about one recipient, else about the message. */
	if (r->hook == HOOK_RCPT && s->rcpt >= 0 && (size_t)s->rcpt < m->nrcpts)
		return policy_owe(r, &m->rcpts[s->rcpt].duties, m, a->level, a->waivable, a->value);
	return policy_owe(r, &m->duties, m, a->level, a->waivable, a->value);
}

int
policy_rule_run(struct policy_run *r, const struct rule *rule, struct verdict *v)
{
	bool ok = true;

	memset(v, 0, sizeof *v);
	v->after_ms = v->ttl_ms = -1;
	for (size_t i = 0; ok && i < rule->n; i++) {
		const struct action *a = &rule->v[i];

		switch (a->op) {
		case ACT_REQUIRE_TLS:
			ok = do_owe(r, a);
			break;
		case ACT_TAG:
			ok = obj_edit_tag(r, a->name);
			break;
		case ACT_ADD_HEADER:
		case ACT_SET_HEADER:
		case ACT_REMOVE_HEADER:
			ok = obj_edit_header(r, a->edit, a->name, a->value);
			break;
		case ACT_IGNORE_NO:
			ok = obj_edit_ignore_no(r, a->value);
			break;
		case ACT_NOTE:
			policy_note(r, LOG_LEVEL_INFO, "policy note", a->value, strlen(a->value));
			break;
		case ACT_VERDICT:
			policy_verdict_copy(v, a->verdict);
			break;
		}
	}
	return ok ? 0 : -1;
}

static void
action_fini(struct action *a)
{
	free(a->name);
	free(a->value);
	if (a->verdict != NULL) {
		verdict_fini(a->verdict);
		free(a->verdict);
	}
	memset(a, 0, sizeof *a);
}

bool
policy_rule_ends(const struct rule *rule)
{
	return rule->n > 0 && rule->v[rule->n - 1].op == ACT_VERDICT;
}

void
policy_rule_free(struct rule *rule)
{
	if (rule == NULL)
		return;
	for (size_t i = 0; i < rule->n; i++)
		action_fini(&rule->v[i]);
	free(rule->v);
	free(rule);
}

/* ---- gw.action ---- */

#define ACTION_MT "gw.action"
#define RULE_MT "gw.rule"

static struct action *
new_action(lua_State *L, enum action_op op)
{
	struct action *a = lua_newuserdatauv(L, sizeof *a, 0);

	memset(a, 0, sizeof *a);
	a->op = op;
	luaL_setmetatable(L, ACTION_MT);
	return a;
}

static int
action_gc(lua_State *L)
{
	action_fini(luaL_checkudata(L, 1, ACTION_MT));
	return 0;
}

static int
a_require_tls(lua_State *L)
{
	static const char *const opts[] = { "level", "reason", "waivable", NULL };
	static const char api[] = "gw.action.require_tls";
	enum tls_level level;
	const char *reason;
	bool waivable;
	struct action *a;

	policy_only_loading(L, api);
	policy_opts_check(L, 1, api, opts);
	level = policy_opt_level(L, 1, api, "level", -1);
	reason = policy_opt_string(L, 1, api, "reason", true, 200);
	waivable = policy_opt_bool(L, 1, api, "waivable", false);
	a = new_action(L, ACT_REQUIRE_TLS);
	a->level = level;
	a->waivable = waivable;
	a->value = xstrdup(reason);
	return 1;
}

static int
a_tag(lua_State *L)
{
	const char *tag;

	policy_only_loading(L, "gw.action.tag");
	tag = obj_check_token(L, 1, "gw.action.tag", "tag");
	new_action(L, ACT_TAG)->name = xstrdup(tag);
	return 1;
}

static int
header_action(lua_State *L, enum action_op op, enum edit_op edit, const char *api)
{
	size_t nname, n = 0;
	const char *name, *value = NULL, *problem;
	struct action *a;

	policy_only_loading(L, api);
	name = luaL_checklstring(L, 1, &nname);
	if (edit != EDIT_REMOVE)
		value = luaL_checklstring(L, 2, &n);
	problem = obj_edit_problem(edit, (struct slice){ name, nname }, value, n);
	if (problem != NULL) {
		char shown[80];

		text_escape(shown, sizeof shown, name, nname, false);
		return luaL_error(L, "%s %s: %s", api, shown, problem);
	}
	a = new_action(L, op);
	a->edit = edit;
	a->name = xstrdup(name);
	a->value = xstrdup(value);
	return 1;
}

static int
a_add_header(lua_State *L)
{
	static const char *const where[] = { "top", "end", NULL };
	int at = luaL_checkoption(L, 3, "top", where);

	return header_action(L, ACT_ADD_HEADER, at == 0 ? EDIT_ADD_TOP : EDIT_ADD_END,
	    "gw.action.add_header");
}

static int
a_set_header(lua_State *L)
{
	return header_action(L, ACT_SET_HEADER, EDIT_SET, "gw.action.set_header");
}

static int
a_remove_header(lua_State *L)
{
	return header_action(L, ACT_REMOVE_HEADER, EDIT_REMOVE, "gw.action.remove_header");
}

static int
a_ignore_no(lua_State *L)
{
	static const char *const opts[] = { "reason", NULL };
	static const char api[] = "gw.action.ignore_tls_required_no";
	const char *reason;

	policy_only_loading(L, api);
	policy_opts_check(L, 1, api, opts);
	reason = policy_opt_string(L, 1, api, "reason", true, 200);
	new_action(L, ACT_IGNORE_NO)->value = xstrdup(reason);
	return 1;
}

static int
a_note(lua_State *L)
{
	size_t n;
	const char *text;

	policy_only_loading(L, "gw.action.note");
	text = luaL_checklstring(L, 1, &n);
	policy_text_check(L, "gw.action.note", "text", text, n, 1000);
	new_action(L, ACT_NOTE)->value = xstrdup(text);
	return 1;
}

static int
no_such_action(lua_State *L)
{
	const char *names[NELEMS(acts) + NELEMS(verdict_acts)];
	size_t n = 0;

	for (size_t i = 0; i < ACT_VERDICT; i++)
		names[n++] = acts[i].name;
	for (size_t i = 0; i < NELEMS(verdict_acts); i++)
		names[n++] = verdict_acts[i];	/* with the NULL at its end */
	return policy_unknown_field(L, "gw.action", luaL_checkstring(L, 2), names);
}

/* ---- gw.rule ---- */

/* A rule under construction: the collector frees it when something raises. */
static int
rule_gc(lua_State *L)
{
	struct rule **box = luaL_checkudata(L, 1, RULE_MT);

	policy_rule_free(*box);
	*box = NULL;
	return 0;
}

/* The action on top of the stack goes into the rule as a copy. */
static void
take_action(lua_State *L, struct rule *rule, enum policy_hook hook, lua_Integer i)
{
	const struct action *a = lua_type(L, -1) == LUA_TUSERDATA ? luaL_testudata(L, -1, ACTION_MT) : NULL;
	struct action *to;
	struct verdict *v = NULL;

	if (a == NULL && policy_verdict_peek(L, -1) == NULL)
		luaL_error(L, "gw.rule: act[%I] is a %s, not an action (gw.action.*)", i,
		    luaL_typename(L, -1));
	if (rule->n > 0 && rule->v[rule->n - 1].op == ACT_VERDICT)
		luaL_error(L, "gw.rule: act[%I] comes after a verdict and would never be done", i);
	if (a == NULL)
		v = policy_verdict_take(L, -1, hook);
	else if (acts[a->op].hooks != 0 && (acts[a->op].hooks >> hook & 1) == 0)
		luaL_error(L, "gw.rule: action %s cannot be used at hook %s", acts[a->op].name,
		    policy_hook_name(hook));
	rule->v = xrealloc(rule->v, (rule->n + 1) * sizeof *rule->v);
	to = &rule->v[rule->n++];
	*to = (struct action){ .op = ACT_VERDICT, .verdict = v };
	if (a != NULL) {
		*to = *a;
		to->name = xstrdup(a->name);
		to->value = xstrdup(a->value);
	}
}

static void
read_acts(lua_State *L, struct rule *rule, enum policy_hook hook)
{
	lua_Integer n;

	lua_getfield(L, 1, "act");
	if (lua_type(L, -1) == LUA_TUSERDATA) {		/* a single one without braces */
		take_action(L, rule, hook, 1);
		lua_pop(L, 1);
		return;
	}
	if (!lua_istable(L, -1))
		luaL_error(L, "gw.rule: act is needed: a list of actions (gw.action.*)");
	n = luaL_len(L, -1);
	if (n < 1 || n > 32)
		luaL_error(L, "gw.rule: act needs 1 to 32 actions");
	for (lua_Integer i = 1; i <= n; i++) {
		lua_geti(L, -1, i);
		take_action(L, rule, hook, i);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static enum policy_hook
read_hook(lua_State *L)
{
	const char *at = policy_opt_string(L, 1, "gw.rule", "at", true, 64);
	enum policy_hook hook = policy_hook_parse(slice_of(at));
	const char *near;

	if (hook != HOOKS)
		return hook;
	near = policy_nearest(at, policy_hook_names);
	luaL_error(L, near == NULL ? "gw.rule: there is no hook '%s'" :
	    "gw.rule: there is no hook '%s' (did you mean '%s'?)", at, near);
	return HOOKS;
}

/* gw.rule { name =, at =, when =, act =, level =, priority = } */
static int
rule_now(lua_State *L)
{
	static const char *const opts[] = { "name", "at", "level", "when", "act", "priority", NULL };
	struct handler h = { .level = POLICY_NORMAL };
	const char *level;
	struct rule **box;
	int when = 0;

	lua_settop(L, 1);
	policy_opts_check(L, 1, "gw.rule", opts);
	snprintf(h.name, sizeof h.name, "%s", policy_opt_string(L, 1, "gw.rule", "name", true,
	    sizeof h.name - 1));
	h.hook = read_hook(L);
	level = policy_opt_string(L, 1, "gw.rule", "level", false, 32);
	if (level != NULL)
		h.level = policy_level_parse(L, "gw.rule", level);
	h.priority = (int)policy_opt_integer(L, 1, "gw.rule", "priority", -100, 100, 0);
	box = lua_newuserdatauv(L, sizeof *box, 0);
	*box = NULL;
	luaL_setmetatable(L, RULE_MT);
	*box = xcalloc(1, sizeof **box);
	read_acts(L, *box, h.hook);
	if (lua_getfield(L, 1, "when") != LUA_TNIL)
		when = lua_gettop(L);
	h.rule = *box;
	policy_handler_add(L, "gw.rule", &h, when, 0);
	*box = NULL;		/* the handler's now */
	return 0;
}

/* While checking, one wrong rule does not hide the problems of the others. */
static int
rule_add(lua_State *L)
{
	return policy_register(L, "gw.rule", rule_now);
}

void
policy_rules_register(lua_State *L)
{
	static const luaL_Reg action_mt[] = { { "__gc", action_gc }, { NULL, NULL } };
	static const luaL_Reg rule_mt[] = { { "__gc", rule_gc }, { NULL, NULL } };
	static const luaL_Reg makers[] = {
		{ "require_tls", a_require_tls }, { "tag", a_tag }, { "add_header", a_add_header },
		{ "set_header", a_set_header }, { "remove_header", a_remove_header },
		{ "ignore_tls_required_no", a_ignore_no }, { "note", a_note }, { NULL, NULL }
	};

	policy_newmetatable(L, ACTION_MT, action_mt);
	policy_newmetatable(L, RULE_MT, rule_mt);
	lua_pop(L, 2);
	obj_match_register(L);
	lua_newtable(L);
	luaL_setfuncs(L, makers, 0);
	for (size_t i = 0; verdict_acts[i] != NULL; i++) {
		/* The very constructor: gw.action.reject { ... } is gw.reject { ... }. */
		lua_getfield(L, -2, verdict_acts[i]);
		lua_setfield(L, -2, verdict_acts[i]);
	}
	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, no_such_action);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
	lua_setfield(L, -2, "action");
	lua_pushcfunction(L, rule_add);
	lua_setfield(L, -2, "rule");
}
