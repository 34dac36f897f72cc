/* gw.table: the data tables of the configuration (data/data.h). A row is a Lua table of its own; asking it
 * for a column that does not exist raises. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/data.h"
#include "policy/await_sql.h"
#include "policy/objects.h"

#define TABLE_MT "gw.table"
#define ITER_MT "gw.table.each"
#define SQLITE_MS 2000		/* for the answer of a table of SQLite */
#define SQLITE_BYTES (1u << 20)

struct lua_table {
	struct table *t;		/* the bundle's, which outlives the Lua state */
	struct rows *held;
};
struct lua_iter {
	struct rows *rows;
	size_t at;
};

/* ---- Values ---- */

static void
push_list(lua_State *L, const struct cell *c)
{
	lua_createtable(L, (int)c->list.n, 0);
	for (size_t i = 0; i < c->list.n; i++) {
		lua_pushlstring(L, c->list.v[i].p, c->list.v[i].n);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

static void
push_cell(lua_State *L, const struct cell *c)
{
	switch (c->kind) {
	case CELL_TEXT:
		lua_pushlstring(L, c->text.p, c->text.n);
		return;
	case CELL_INTEGER:
		lua_pushinteger(L, (lua_Integer)c->integer);
		return;
	case CELL_NUMBER:
		lua_pushnumber(L, c->number);
		return;
	case CELL_BOOLEAN:
		lua_pushboolean(L, c->boolean);
		return;
	case CELL_LIST:
		push_list(L, c);
		return;
	case CELL_JSON:
		policy_json_push(L, c->json);
		return;
	default:
		lua_pushnil(L);
	}
}

/* `mt`: where the metatable of rows is. */
static void
push_row(lua_State *L, const struct rows *r, size_t row, int mt)
{
	size_t n = rows_columns(r);

	luaL_checkstack(L, 6, "gw.table");
	policy_charge_lua(L, n * 4);
	lua_createtable(L, 0, (int)n);
	for (size_t i = 0; i < n; i++) {
		const struct cell *c = rows_cell(r, row, i);

		if (c->kind == CELL_NIL)
			continue;
		push_cell(L, c);
		lua_setfield(L, -2, rows_column(r, i));
	}
	lua_pushvalue(L, mt);
	lua_setmetatable(L, -2);
}

static const struct rows *
rows_of(struct lua_table *u)
{
	return table_rows(u->t, &u->held);
}

/* Where all rows have to be in memory. */
static const struct rows *
all_rows(lua_State *L, struct lua_table *u)
{
	if (table_conf(u->t)->sqlite != NULL)
		luaL_error(L, "the table %s is a SQLite database: only get() is possible; gw.sql can do more",
		    table_conf(u->t)->name);
	return rows_of(u);
}

/* A column that is empty in this row, or none at all. Upvalue: the table. */
static int
row_index(lua_State *L)
{
	struct lua_table *u = lua_touserdata(L, lua_upvalueindex(1));
	const struct rows *r = rows_of(u);
	const char *key = luaL_checkstring(L, 2), *names[65], what[] = "a row";
	size_t n = rows_columns(r);

	for (size_t i = 0; i < n; i++) {
		names[i] = rows_column(r, i);
		if (strcmp(names[i], key) == 0) {
			lua_pushnil(L);
			return 1;
		}
	}
	names[n] = NULL;
	return policy_unknown_field(L, what, key, names);
}

/* ---- Methods ---- */

static struct lua_table *
check(lua_State *L, const char *api)
{
	struct lua_table *u = luaL_checkudata(L, 1, TABLE_MT);

	if (policy_run_of(L)->s == NULL && table_conf(u->t)->watch)
		luaL_error(L, "%s: not while the policy is being loaded: the table may change (reload = \"watch\")", api);
	return u;
}

/* What a table may be asked for. The text stays on the stack. */
static struct slice
check_key(lua_State *L, int arg, const char *api)
{
	struct slice key;

	key.p = obj_address_peek(L, arg, &key.n);
	if (key.p == NULL)
		key.p = obj_domain_peek(L, arg, &key.n);
	if (key.p != NULL)
		return key;
	if (lua_type(L, arg) == LUA_TBOOLEAN)
		return slice_of(lua_toboolean(L, arg) ? "true" : "false");
	if (lua_type(L, arg) != LUA_TSTRING && lua_type(L, arg) != LUA_TNUMBER)
		luaL_error(L, "%s: a key is a text, a number, a domain or an address, not a %s", api,
		    luaL_typename(L, arg));
	lua_pushvalue(L, arg);		/* a number becomes a text */
	key.p = lua_tolstring(L, -1, &key.n);
	return key;
}

/* A question to a thread of the pool. */
static int
ask_database(lua_State *L, const struct conf_table *t)
{
	const struct sql_source s = { t->name, t->is_made_up ? NULL : t->sqlite, SQLITE_MS, 1, SQLITE_BYTES };
	char what[80];

	check_key(L, 2, "table:get");
	lua_settop(L, 2);
	snprintf(what, sizeof what, "table %s", t->name);
	return policy_sql_ask(L, &s, slice_of(t->query), "table:get", what, 2, SQL_ONE_ROW);
}

static int
table_get(lua_State *L)
{
	struct lua_table *u = check(L, "table:get");
	const struct rows *r;
	struct slice key;
	size_t row;

	if (table_conf(u->t)->sqlite != NULL)
		return ask_database(L, table_conf(u->t));
	key = check_key(L, 2, "table:get");
	r = rows_of(u);
	policy_charge_lua(L, 8 + key.n);
	row = rows_get(r, key);
	if (row == ROW_NONE) {
		lua_pushnil(L);
		return 1;
	}
	lua_getiuservalue(L, 1, 1);
	push_row(L, r, row, lua_gettop(L));
	return 1;
}

static int
unknown_column(lua_State *L, const struct rows *r, const char *name)
{
	const char *names[65];
	size_t n = rows_columns(r);

	for (size_t i = 0; i < n; i++)
		names[i] = rows_column(r, i);
	names[n] = NULL;
	return policy_unknown_field(L, "the table", name, names);
}

/* table:find(column, value): a list of rows. */
static int
table_find(lua_State *L)
{
	struct lua_table *u = check(L, "table:find");
	const char *column = luaL_checkstring(L, 2);
	struct slice key = check_key(L, 3, "table:find");
	const struct rows *r = all_rows(L, u);
	int c = rows_index_of(r, column), mt;
	size_t at, row;
	lua_Integer n = 0;

	if (c == -1)
		return unknown_column(L, r, column);
	if (c < 0)
		return luaL_error(L, "table:find: the column \"%s\" has no index; name it in tables.%s.index", column,
		    table_conf(u->t)->name);
	policy_charge_lua(L, 8 + key.n);
	lua_getiuservalue(L, 1, 1);
	mt = lua_gettop(L);
	lua_newtable(L);
	for (row = rows_first(r, c, key, &at); row != ROW_NONE; row = rows_next(r, c, &at)) {
		push_row(L, r, row, mt);
		lua_rawseti(L, -2, ++n);
	}
	return 1;
}

/* Upvalues: the iterator, the metatable of rows. */
static int
each_next(lua_State *L)
{
	struct lua_iter *it = lua_touserdata(L, lua_upvalueindex(1));

	if (it->at >= rows_count(it->rows)) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushvalue(L, lua_upvalueindex(2));
	push_row(L, it->rows, it->at++, lua_gettop(L));
	return 1;
}

static int
iter_gc(lua_State *L)
{
	struct lua_iter *it = lua_touserdata(L, 1);

	rows_unref(it->rows);
	it->rows = NULL;
	return 0;
}

/* for row in table:each() do; the rows that were there when it began. */
static int
table_each(lua_State *L)
{
	struct lua_table *u = check(L, "table:each");
	struct lua_iter *it = lua_newuserdatauv(L, sizeof *it, 0);

	it->rows = NULL;
	it->at = 0;
	luaL_setmetatable(L, ITER_MT);
	it->rows = rows_ref((struct rows *)all_rows(L, u));
	lua_getiuservalue(L, 1, 1);
	lua_pushcclosure(L, each_next, 2);
	return 1;
}

static int
table_len(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)rows_count(all_rows(L, check(L, "#table"))));
	return 1;
}

static bool
table_field(lua_State *L, const char *key)
{
	struct lua_table *u = luaL_checkudata(L, 1, TABLE_MT);

	if (strcmp(key, "name") == 0)
		lua_pushstring(L, table_conf(u->t)->name);
	else if (strcmp(key, "version") == 0)
		lua_pushinteger(L, (lua_Integer)rows_version(all_rows(L, u)));
	else if (strcmp(key, "hash") == 0)
		lua_pushstring(L, rows_hash(all_rows(L, u)));
	else
		return false;
	return true;
}

static int
table_gc(lua_State *L)
{
	struct lua_table *u = lua_touserdata(L, 1);

	rows_unref(u->held);
	u->held = NULL;
	return 0;
}

static int
no_such_table(lua_State *L, const struct conf *c, const char *name)
{
	const char **names, *near;

	names = lua_newuserdatauv(L, (c->ntables + 1) * sizeof *names, 0);
	for (size_t i = 0; i < c->ntables; i++)
		names[i] = c->tables[i].name;
	names[c->ntables] = NULL;
	near = policy_nearest(name, names);
	return luaL_error(L, "gw.table: the configuration has no table '%s'%s%s%s", name,
	    near == NULL ? "" : " (did you mean '", near == NULL ? "" : near, near == NULL ? "" : "'?)");
}

static int
gw_table(lua_State *L)
{
	struct policy_gen *g = policy_run_of(L)->gen;
	const char *name = luaL_checkstring(L, 1);
	struct table *t = data_table(policy_bundle_data(g->bundle), name);
	struct lua_table *u;

	if (t == NULL)
		return no_such_table(L, g->conf, name);
	u = lua_newuserdatauv(L, sizeof *u, 1);
	u->t = t;
	u->held = NULL;
	luaL_setmetatable(L, TABLE_MT);
	lua_newtable(L);
	lua_pushvalue(L, -2);
	lua_pushcclosure(L, row_index, 1);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setiuservalue(L, -2, 1);
	return 1;
}

void
policy_table_open(lua_State *L)
{
	static const luaL_Reg iter_meta[] = { { "__gc", iter_gc }, { NULL, NULL } };
	static const luaL_Reg meta[] = { { "__gc", table_gc }, { "__len", table_len }, { NULL, NULL } };
	static const luaL_Reg fns[] = {
		{ "get", table_get }, { "find", table_find }, { "each", table_each }, { NULL, NULL },
	};
	static const char *const fields[] = { "name", "version", "hash", NULL };
	static const struct policy_type type = { "gw.table", fns, table_field, fields };

	policy_newmetatable(L, ITER_MT, iter_meta);
	lua_pop(L, 1);
	policy_newmetatable(L, TABLE_MT, meta);
	policy_type_members(L, &type);
	lua_pop(L, 1);
	lua_pushcfunction(L, gw_table);
	lua_setfield(L, -2, "table");
}
