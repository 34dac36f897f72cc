/* env.sql: what databases answer in a test, and what they were asked. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/sql.h"
#include "policy/await_sql.h"
#include "rehearsal/lua_int.h"

#define ROWS_MAX 10000
#define COLUMNS_MAX 100

/* What is being put together, so that it goes away when something raises. */
static int
query_gc(lua_State *L)
{
	struct sql_query **q = lua_touserdata(L, 1);

	sql_query_free(*q);
	*q = NULL;
	return 0;
}

static struct sql_query **
push_query(lua_State *L, const char *sql)
{
	struct sql_query **q = lua_newuserdatauv(L, sizeof *q, 0);

	*q = NULL;
	if (luaL_newmetatable(L, "test.sql.query")) {
		lua_pushcfunction(L, query_gc);
		lua_setfield(L, -2, "__gc");
	}
	lua_setmetatable(L, -2);
	*q = xcalloc(1, sizeof **q);
	(*q)->sql = xstrdup(sql);
	return q;
}

static const char *
check_database(lua_State *L, const struct env *e, const char *api)
{
	const struct conf *c = world_configuration(e->w);
	const char *name = luaL_checkstring(L, 2);

	for (size_t i = 0; i < c->ndatabases; i++)
		if (strcmp(c->databases[i].name, name) == 0)
			return name;
	for (size_t i = 0; i < c->ntables; i++)
		if (c->tables[i].sqlite != NULL && strcmp(c->tables[i].name, name) == 0)
			return name;
	luaL_error(L, "%s: the configuration has no database \"%s\", and no table of SQLite", api, name);
	return NULL;
}

static void
take_value(lua_State *L, const char *api, int at, struct sql_value *v)
{
	const char *p;
	size_t n;

	switch (lua_type(L, at)) {
	case LUA_TNIL:
		v->kind = SQL_NULL;
		return;
	case LUA_TBOOLEAN:
		v->kind = SQL_INTEGER;
		v->integer = lua_toboolean(L, at);
		return;
	case LUA_TNUMBER:
		v->kind = lua_isinteger(L, at) ? SQL_INTEGER : SQL_NUMBER;
		if (lua_isinteger(L, at))
			v->integer = lua_tointeger(L, at);
		else
			v->number = lua_tonumber(L, at);
		return;
	case LUA_TSTRING:
		p = lua_tolstring(L, at, &n);
		v->kind = SQL_TEXT;
		v->text.n = n;
		v->text.p = xmalloc(n + 1);
		memcpy(v->text.p, p, n + 1);
		return;
	default:
		luaL_error(L, "%s: a value is a text, number or boolean, not a %s", api, luaL_typename(L, at));
	}
}

/* The values of ?1, ?2 ... in the list at t. */
static void
take_values(lua_State *L, const char *api, int t, struct sql_query *q)
{
	lua_Integer n = luaL_len(L, t);

	if (n > (lua_Integer)SQL_PARAMS_MAX)
		luaL_error(L, "%s: a statement has at most %d values", api, (int)SQL_PARAMS_MAX);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_geti(L, t, i);
		take_value(L, api, lua_gettop(L), &q->params[i - 1]);
		q->nparams = (unsigned)i;
		lua_pop(L, 1);
	}
}

static void
add_column(lua_State *L, const char *api, struct sql_query *q, const char *name)
{
	for (size_t i = 0; i < q->ncolumns; i++)
		if (strcmp(q->columns[i], name) == 0)
			return;
	if (q->ncolumns == COLUMNS_MAX)
		luaL_error(L, "%s: a row has at most %d columns", api, COLUMNS_MAX);
	if (q->columns == NULL)
		q->columns = xcalloc(COLUMNS_MAX, sizeof *q->columns);
	q->columns[q->ncolumns++] = xstrdup(name);
}

/* Those that are named, and those that any row has. */
static void
take_columns(lua_State *L, const char *api, int rows, lua_Integer n, int columns, struct sql_query *q)
{
	if (lua_type(L, columns) == LUA_TTABLE)
		for (lua_Integer i = 1; lua_geti(L, columns, i) == LUA_TSTRING; i++, lua_pop(L, 1))
			add_column(L, api, q, lua_tostring(L, -1));
	for (lua_Integer i = 1; i <= n; i++) {
		if (lua_geti(L, rows, i) != LUA_TTABLE)
			luaL_error(L, "%s: a row is a table, { column = value }", api);
		for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
			if (lua_type(L, -2) != LUA_TSTRING)
				luaL_error(L, "%s: a row is a table, { column = value }", api);
			add_column(L, api, q, lua_tostring(L, -2));
		}
		lua_pop(L, 1);
	}
}

static void
take_rows(lua_State *L, const char *api, int rows, int columns, struct sql_query *q)
{
	lua_Integer n = luaL_len(L, rows);

	if (n > ROWS_MAX)
		luaL_error(L, "%s: there are at most %d rows", api, ROWS_MAX);
	take_columns(L, api, rows, n, columns, q);
	q->cells = xcalloc((size_t)n * q->ncolumns + 1, sizeof *q->cells);
	q->nrows = (size_t)n;
	for (size_t i = 0; i < q->nrows; i++) {
		lua_geti(L, rows, (lua_Integer)i + 1);
		for (size_t k = 0; k < q->ncolumns; k++) {
			lua_getfield(L, -1, q->columns[k]);
			take_value(L, api, lua_gettop(L), &q->cells[i * q->ncolumns + k]);
			lua_pop(L, 1);
		}
		lua_pop(L, 1);
	}
}

/* What is said at `opts` of values; then the book has the query. */
static void
hand_over(lua_State *L, const char *api, const struct env *e, const char *database, int values, struct sql_query **q)
{
	bool any = lua_type(L, values) != LUA_TTABLE;

	if (!any)
		take_values(L, api, values, *q);
	book_sql(world_book(e->w), database, *q, any);
	*q = NULL;
	lua_settop(L, 1);
}

/* env.sql:answer(database, statement, rows, { values =, columns = }) */
static int
sql_answer(lua_State *L)
{
	static const char *const fields[] = { "values", "columns", NULL };
	static const char api[] = "env.sql:answer";
	struct env *e = check_proxy(L, SQL_PROXY_MT, "sql:answer");
	const char *database = check_database(L, e, api), *statement = luaL_checkstring(L, 3);
	struct sql_query **q;

	luaL_checktype(L, 4, LUA_TTABLE);
	lua_settop(L, 5);
	if (lua_isnil(L, 5)) {
		lua_newtable(L);
		lua_replace(L, 5);
	}
	policy_opts_check(L, 5, api, fields);
	lua_getfield(L, 5, "values");
	lua_getfield(L, 5, "columns");
	q = push_query(L, statement);
	take_rows(L, api, 4, 7, *q);
	hand_over(L, api, e, database, 6, q);
	return 1;
}

/* env.sql:fail(database, statement, how, { values = }) */
static int
sql_fail(lua_State *L)
{
	static const char *const fields[] = { "values", NULL };
	static const char *const hows[] = { "servfail", "timeout", "malformed", "limit", NULL };
	static const enum sql_end ends[] = { SQL_FAILED, SQL_TIMEOUT, SQL_WRONG, SQL_LIMIT };
	static const char api[] = "env.sql:fail";
	struct env *e = check_proxy(L, SQL_PROXY_MT, "sql:fail");
	const char *database = check_database(L, e, api), *statement = luaL_checkstring(L, 3);
	int how = luaL_checkoption(L, 4, "servfail", hows);
	struct sql_query **q;

	lua_settop(L, 5);
	if (lua_isnil(L, 5)) {
		lua_newtable(L);
		lua_replace(L, 5);
	}
	policy_opts_check(L, 5, api, fields);
	lua_getfield(L, 5, "values");
	q = push_query(L, statement);
	(*q)->end = ends[how];
	snprintf((*q)->text, sizeof (*q)->text, "the test says so");
	hand_over(L, api, e, database, 6, q);
	return 1;
}

/* What was asked: { { database =, statement =, values = { ... } }, ... } */
static int
sql_requests(lua_State *L)
{
	struct env *e = check_proxy(L, SQL_PROXY_MT, "sql:requests");
	const struct sql_query *q;
	const char *database;

	lua_newtable(L);
	for (size_t i = 0; (q = book_question(world_book(e->w), i, &database)) != NULL; i++) {
		lua_createtable(L, 0, 3);
		lua_pushstring(L, database);
		lua_setfield(L, -2, "database");
		lua_pushstring(L, q->sql);
		lua_setfield(L, -2, "statement");
		lua_createtable(L, (int)q->nparams, 0);
		for (unsigned k = 0; k < q->nparams; k++) {
			policy_push_sql_value(L, &q->params[k]);
			lua_rawseti(L, -2, (lua_Integer)k + 1);
		}
		lua_setfield(L, -2, "values");
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

void
test_sql_open(lua_State *L)
{
	static const luaL_Reg fns[] = { { "answer", sql_answer }, { "fail", sql_fail }, { "requests", sql_requests },
		{ NULL, NULL } };

	proxy_mt(L, SQL_PROXY_MT, fns);
}
