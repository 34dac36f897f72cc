/* gw.metric: counters and gauges of a policy's own, on the page of metrics (data/metric.h). */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/metric.h"
#include "data/rate.h"
#include "policy/objects.h"

#define METRIC_MT "gw.metric"
#define SERIES_DEFAULT 100

struct lua_metric {
	struct metric *m;
	struct metric_conf conf;
	struct node *node;
};

static bool
is_name(const char *s, size_t max)
{
	size_t n = strlen(s);

	return n > 0 && n <= max && *s >= 'a' && *s <= 'z' && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

/* ---- Labels ---- */

/* The text of a label's value, which stays on the stack. */
static struct slice
value_at(lua_State *L, const char *api, const char *label)
{
	struct slice v;

	switch (lua_type(L, -1)) {
	case LUA_TNIL:
		luaL_error(L, "%s: the label '%s' is missing", api, label);
		break;
	case LUA_TBOOLEAN:
		return slice_of(lua_toboolean(L, -1) ? "true" : "false");
	case LUA_TNUMBER:
	case LUA_TSTRING:
		v.p = luaL_tolstring(L, -1, &v.n);	/* not in place: the table keeps its number */
		return v;
	default:
		break;
	}
	v.p = obj_address_peek(L, -1, &v.n);
	if (v.p == NULL)
		v.p = obj_domain_peek(L, -1, &v.n);
	if (v.p == NULL)
		luaL_error(L, "%s: the label '%s' is a %s; a text, a number, a boolean, an address or a domain is needed", api,
		    label, luaL_typename(L, -1));
	return v;
}

static void
take_labels(lua_State *L, const struct lua_metric *u, int arg, const char *api, struct slice *values)
{
	const char *names[METRIC_LABELS_MAX + 1] = { NULL };

	luaL_checkstack(L, 2 * METRIC_LABELS_MAX + 4, api);
	for (size_t i = 0; i < u->conf.nlabels; i++)
		names[i] = u->conf.labels[i];
	if (lua_isnoneornil(L, arg)) {
		if (u->conf.nlabels > 0)
			luaL_error(L, "%s: the label '%s' is missing", api, names[0]);
		return;
	}
	luaL_checktype(L, arg, LUA_TTABLE);
	policy_opts_check(L, arg, api, names);
	for (size_t i = 0; i < u->conf.nlabels; i++) {
		lua_getfield(L, arg, names[i]);
		values[i] = value_at(L, api, names[i]);
	}
}

/* ---- Methods ---- */

static double
check_number(lua_State *L, int arg, const char *api, lua_Number dflt, bool has_dflt)
{
	double v = has_dflt ? luaL_optnumber(L, arg, dflt) : luaL_checknumber(L, arg);

	if (!isfinite(v))
		luaL_error(L, "%s: no finite number", api);
	return v;
}

static int
metric_lua_add(lua_State *L)
{
	struct lua_metric *u = luaL_checkudata(L, 1, METRIC_MT);
	double n = check_number(L, 2, "metric:add", 1, true);
	struct slice values[METRIC_LABELS_MAX];

	policy_not_loading(L, "metric:add");
	if (n < 0 && u->conf.kind == METRIC_COUNTER)
		return luaL_error(L, "metric:add: a counter only grows");
	take_labels(L, u, 3, "metric:add", values);
	policy_charge_lua(L, 32);
	lua_pushnumber(L, metric_add(u->m, values, n));
	return 1;
}

static int
metric_lua_set(lua_State *L)
{
	struct lua_metric *u = luaL_checkudata(L, 1, METRIC_MT);
	double v = check_number(L, 2, "metric:set", 0, false);
	struct slice values[METRIC_LABELS_MAX];

	policy_not_loading(L, "metric:set");
	if (u->conf.kind == METRIC_COUNTER)
		return luaL_error(L, "metric:set: it is a counter; kind = \"gauge\" is what can be set");
	take_labels(L, u, 3, "metric:set", values);
	policy_charge_lua(L, 32);
	metric_set(u->m, values, v);
	return 0;
}

static int
metric_gc(lua_State *L)
{
	struct lua_metric *u = lua_touserdata(L, 1);

	node_unref(u->node);
	u->node = NULL;
	return 0;
}

static bool
metric_field(lua_State *L, const char *key)
{
	const struct lua_metric *u = luaL_checkudata(L, 1, METRIC_MT);

	if (strcmp(key, "name") == 0)
		lua_pushstring(L, u->conf.name);
	else if (strcmp(key, "kind") == 0)
		lua_pushstring(L, u->conf.kind == METRIC_COUNTER ? "counter" : "gauge");
	else
		return false;
	return true;
}

/* ---- gw.metric ---- */

static void
read_labels(lua_State *L, struct metric_conf *c)
{
	lua_Integer n;

	if (lua_getfield(L, 1, "labels") == LUA_TNIL)
		return;
	luaL_checktype(L, -1, LUA_TTABLE);
	n = luaL_len(L, -1);
	if (n > (lua_Integer)METRIC_LABELS_MAX)
		luaL_error(L, "gw.metric: at most %d labels", (int)METRIC_LABELS_MAX);
	for (lua_Integer i = 1; i <= n; i++) {
		const char *s;

		s = lua_geti(L, -1, i) == LUA_TSTRING ? lua_tostring(L, -1) : "";
		if (!is_name(s, 31))
			luaL_error(L, "gw.metric: a label has 1 to 31 letters a-z, digits and '_'");
		for (size_t k = 0; k < c->nlabels; k++)
			if (strcmp(c->labels[k], s) == 0)
				luaL_error(L, "gw.metric: the label '%s' is there twice", s);
		snprintf(c->labels[c->nlabels++], sizeof c->labels[0], "%s", s);
		lua_pop(L, 1);
	}
}

static int
gw_metric(lua_State *L)
{
	static const char *const fields[] = { "name", "kind", "help", "labels", "series", NULL };
	struct metric_conf c = { .kind = METRIC_COUNTER };
	struct lua_metric *u;
	const char *s;
	struct err err;

	policy_only_loading(L, "gw.metric");
	luaL_checktype(L, 1, LUA_TTABLE);
	policy_opts_check(L, 1, "gw.metric", fields);
	s = policy_opt_string(L, 1, "gw.metric", "name", true, 63);
	if (!is_name(s, 50))
		return luaL_error(L, "gw.metric: a name has 1 to 50 letters a-z, digits and '_'");
	snprintf(c.name, sizeof c.name, "gw_metric_%s", s);
	s = policy_opt_string(L, 1, "gw.metric", "kind", false, 20);
	if (s != NULL && strcmp(s, "gauge") == 0)
		c.kind = METRIC_GAUGE;
	else if (s != NULL && strcmp(s, "counter") != 0)
		return luaL_error(L, "gw.metric: kind = \"%s\" is none of counter, gauge", s);
	s = policy_opt_string(L, 1, "gw.metric", "help", false, 150);
	if (s != NULL && strchr(s, '\\') != NULL)
		return luaL_error(L, "gw.metric: help: no backslash");
	snprintf(c.help, sizeof c.help, "%s", s == NULL ? "A policy's own" : s);
	c.series = (uint32_t)policy_opt_integer(L, 1, "gw.metric", "series", 1, METRIC_SERIES_MAX, SERIES_DEFAULT);
	read_labels(L, &c);
	u = lua_newuserdatauv(L, sizeof *u, 0);
	*u = (struct lua_metric){ .conf = c };
	luaL_setmetatable(L, METRIC_MT);
	u->node = node_ref(policy_node(L));
	u->m = metric_get(node_metrics(u->node), &c, &err);
	if (u->m == NULL)
		return luaL_error(L, "gw.metric: %s", err.text);
	return 1;
}

void
policy_metric_open(lua_State *L)
{
	static const luaL_Reg meta[] = { { "__gc", metric_gc }, { NULL, NULL } };
	static const luaL_Reg fns[] = { { "add", metric_lua_add }, { "set", metric_lua_set }, { NULL, NULL } };
	static const char *const fields[] = { "name", "kind", NULL };
	static const struct policy_type type = { "gw.metric", fns, metric_field, fields };

	policy_newmetatable(L, METRIC_MT, meta);
	policy_type_members(L, &type);
	lua_pop(L, 1);
	lua_pushcfunction(L, gw_metric);
	lua_setfield(L, -2, "metric");
}
