/* gw.sql: SQLite databases that the configuration names, asked by a thread of the pool. A table of the
 * configuration may be such a question, too (lua_table.c). */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/objects.h"
#include "policy/await_sql.h"

#define SQL_MT "gw.sql"

struct lua_sql {
	const struct conf_database *db;	/* the generation's */
};
struct sql_wait {
	struct policy_wait w;		/* first */
	struct sql_query *q;		/* it comes back even when nobody waits any more, and is freed then */
	int mode;
	bool is_over;			/* q goes */
};
static void
stop(struct policy_wait *pw)
{
	struct sql_wait *w = (struct sql_wait *)pw;

	if (!w->is_over)
		atomic_store(&w->q->job.is_cancelled, true);
}

static void
answered(void *reader, struct mail *m)
{
	struct sql_query *q = (struct sql_query *)m;
	struct policy *p = policy_link_get(q->owner);
	struct policy_wait *w = p == NULL ? NULL : policy_wait_find(p, q->ticket);

	if (w != NULL) {
		((struct sql_wait *)w)->is_over = true;
		policy_wait_done(w);
	}
	policy_link_unref(q->owner);
	sql_query_free(q);
}

/* ---- Results ---- */

void
policy_push_sql_value(lua_State *L, const struct sql_value *v)
{
	if (v->kind == SQL_INTEGER)
		lua_pushinteger(L, (lua_Integer)v->integer);
	else if (v->kind == SQL_NUMBER)
		lua_pushnumber(L, v->number);
	else if (v->kind == SQL_TEXT)
		lua_pushlstring(L, v->text.p, v->text.n);
	else
		lua_pushnil(L);
}

/* Upvalue: a list of the columns. A column that is NULL, or none at all. */
static int
row_index(lua_State *L)
{
	const char *key = luaL_checkstring(L, 2), *names[101];
	size_t n = 0;

	for (; n < NELEMS(names) - 1 && lua_rawgeti(L, lua_upvalueindex(1), (lua_Integer)n + 1) == LUA_TSTRING; n++) {
		names[n] = lua_tostring(L, -1);		/* the list keeps it */
		lua_pop(L, 1);
		if (strcmp(names[n], key) == 0) {
			lua_pushnil(L);
			return 1;
		}
	}
	names[n] = NULL;
	return policy_unknown_field(L, "a row", key, names);
}

static void
push_rows_meta(lua_State *L, const struct sql_query *q)
{
	lua_createtable(L, 0, 2);
	lua_createtable(L, (int)q->ncolumns, 0);
	for (size_t i = 0; i < q->ncolumns; i++) {
		lua_pushstring(L, q->columns[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_pushcclosure(L, row_index, 1);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
}

static void
push_row(lua_State *L, const struct sql_query *q, size_t row, int mt)
{
	policy_charge_lua(L, q->ncolumns * 4);
	lua_createtable(L, 0, (int)q->ncolumns);
	for (size_t i = 0; i < q->ncolumns; i++) {
		policy_push_sql_value(L, &q->cells[row * q->ncolumns + i]);
		lua_setfield(L, -2, q->columns[i]);
	}
	lua_pushvalue(L, mt);
	lua_setmetatable(L, -2);
}

static int
push_error(lua_State *L, const struct sql_query *q)
{
	static const struct { const char *kind; bool temporary; } kinds[] = {
		[SQL_WRONG] = { "malformed", false }, [SQL_FAILED] = { "servfail", true },
		[SQL_TIMEOUT] = { "timeout", true }, [SQL_CANCELLED] = { "cancelled", true },
		[SQL_LIMIT] = { "limit", false },
	};

	return policy_push_error(L, kinds[q->end].kind, kinds[q->end].temporary, false, "%s: %s", q->what, q->text);
}

/* The question lives until the loop's callback returns, which is after this. */
static int
resumed(lua_State *L, int status, lua_KContext ctx)
{
	struct sql_wait *w = policy_wait_take(L);
	const struct sql_query *q = w->q;
	int mode = w->mode, mt;

	policy_wait_free(&w->w);
	/* More rows than the one that is wanted are no limit that was met; a row that is too large is. */
	if (q->end != SQL_DONE && !(q->end == SQL_LIMIT && mode == SQL_ONE_ROW && q->nrows > 0 &&
	    q->nbytes <= q->max_bytes))
		return push_error(L, q);
	luaL_checkstack(L, 8, "gw.sql");
	if (mode == SQL_ONE_ROW && q->nrows == 0) {
		lua_pushnil(L);
		return 1;
	}
	push_rows_meta(L, q);
	mt = lua_gettop(L);
	if (mode == SQL_ONE_ROW) {
		push_row(L, q, 0, mt);
		return 1;
	}
	lua_createtable(L, (int)q->nrows, 0);
	for (size_t i = 0; i < q->nrows; i++) {
		push_row(L, q, i, mt);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

/* ---- Calls ---- */

/* What can be a parameter; raises. */
static void
check_param(lua_State *L, const char *api, int arg)
{
	size_t n;

	switch (lua_type(L, arg)) {
	case LUA_TNIL:
	case LUA_TNUMBER:
	case LUA_TBOOLEAN:
	case LUA_TSTRING:
		return;
	default:
		if (obj_address_peek(L, arg, &n) == NULL && obj_domain_peek(L, arg, &n) == NULL)
			luaL_error(L, "%s: a value is a text, number, boolean, domain, address or nil, not a %s", api,
			    luaL_typename(L, arg));
	}
}

static void
set_param(lua_State *L, struct sql_value *v, int arg)
{
	const char *p = NULL;
	size_t n = 0;

	switch (lua_type(L, arg)) {
	case LUA_TNIL:
		return;
	case LUA_TBOOLEAN:
		v->kind = SQL_INTEGER;
		v->integer = lua_toboolean(L, arg);
		return;
	case LUA_TNUMBER:
		v->kind = lua_isinteger(L, arg) ? SQL_INTEGER : SQL_NUMBER;
		if (lua_isinteger(L, arg))
			v->integer = lua_tointeger(L, arg);
		else
			v->number = lua_tonumber(L, arg);
		return;
	case LUA_TSTRING:
		p = lua_tolstring(L, arg, &n);
		break;
	default:
		p = obj_address_peek(L, arg, &n);
		if (p == NULL)
			p = obj_domain_peek(L, arg, &n);
	}
	v->kind = SQL_TEXT;
	v->text.p = xmalloc(n + 1);
	memcpy(v->text.p, p, n);
	v->text.n = n;
}

int
policy_sql_ask(lua_State *L, const struct sql_source *s, struct slice sql, const char *api, const char *what,
    int first, int mode)
{
	struct policy_run *r = policy_not_loading(L, api);
	struct policy *p = r->gen->policy;
	const struct policy_sql_fixture *book = p->services.sql;
	int nparams = lua_gettop(L) - first + 1;
	struct sql_query *q;
	struct sql_wait *w;
	const char *question;
	int replayed;

	if (sql.n > SQL_TEXT_MAX || memchr(sql.p, '\0', sql.n) != NULL)
		return luaL_error(L, "%s: a statement has at most 64 KiB, and no NUL", api);
	if (nparams > (int)SQL_PARAMS_MAX)
		return luaL_error(L, "%s: a statement has at most %d values", api, (int)SQL_PARAMS_MAX);
	for (int i = 0; i < nparams; i++)
		check_param(L, api, first + i);
	policy_wait_check(L, r, api);
	question = policy_question(L, r, what, sql, first);
	if ((replayed = policy_replayed(L, r, "sql", question)) >= 0)
		return replayed;
	if (policy_wait_room(L, r) != 0)
		return 2;
	if (p->services.pool == NULL)
		return policy_push_error(L, "servfail", true, false, "%s: there are no threads for it", what);
	w = policy_wait_new(r, sizeof *w, -1, stop);
	w->w.counted = true;
	policy_wait_name(&w->w, "sql", question);
	w->mode = mode;
	w->q = q = sql_query_new(s, sql.p, sql.n);
	snprintf(q->what, sizeof q->what, "%s", what);
	for (int i = 0; i < nparams; i++)
		set_param(L, &q->params[q->nparams++], first + i);
	q->job.mail.run = answered;
	q->job.mail.reply_to = p->services.mb;
	policy_wait_number(&w->w);
	q->ticket = w->w.ticket;
	q->owner = policy_link_ref(p->link);
	if (book != NULL && book->answer(book->owner, s->name, q)) {
		mailbox_post(p->services.mb, &q->job.mail);
	} else if (!sql_ask(p->services.pool, q)) {
		policy_wait_over(&w->w);
		policy_wait_free(&w->w);
		policy_link_unref(q->owner);
		sql_query_free(q);
		return policy_push_error(L, "limit", true, false, "%s: too many questions wait already", what);
	}
	return policy_wait_begin(L, r, &w->w, resumed);
}

static int
ask(lua_State *L, const char *api, int mode)
{
	const struct lua_sql *u = luaL_checkudata(L, 1, SQL_MT);
	struct sql_source s = { u->db->name, u->db->is_made_up ? NULL : u->db->file, u->db->timeout_ms, mode == SQL_ONE_ROW ? 1 : u->db->max_rows,
		u->db->max_bytes };
	char what[80];
	struct slice sql;

	sql.p = luaL_checklstring(L, 2, &sql.n);
	snprintf(what, sizeof what, "gw.sql %s", u->db->name);
	return policy_sql_ask(L, &s, sql, api, what, 3, mode);
}

static int
sql_query(lua_State *L)
{
	return ask(L, "sql:query", SQL_ALL_ROWS);
}

static int
sql_row(lua_State *L)
{
	return ask(L, "sql:row", SQL_ONE_ROW);
}

static bool
sql_field(lua_State *L, const char *key)
{
	const struct lua_sql *u = luaL_checkudata(L, 1, SQL_MT);

	if (strcmp(key, "name") != 0)
		return false;
	lua_pushstring(L, u->db->name);
	return true;
}

static int
gw_sql(lua_State *L)
{
	const struct conf *c = policy_run_of(L)->gen->conf;
	const char *name = luaL_checkstring(L, 1), **names, *near;
	struct lua_sql *u;

	for (size_t i = 0; i < c->ndatabases; i++) {
		if (strcmp(c->databases[i].name, name) != 0)
			continue;
		u = lua_newuserdatauv(L, sizeof *u, 0);
		u->db = &c->databases[i];
		luaL_setmetatable(L, SQL_MT);
		return 1;
	}
	names = lua_newuserdatauv(L, (c->ndatabases + 1) * sizeof *names, 0);
	for (size_t i = 0; i < c->ndatabases; i++)
		names[i] = c->databases[i].name;
	names[c->ndatabases] = NULL;
	near = policy_nearest(name, names);
	return luaL_error(L, "gw.sql: the configuration has no database '%s'%s%s%s", name,
	    near == NULL ? "" : " (did you mean '", near == NULL ? "" : near, near == NULL ? "" : "'?)");
}

void
policy_sql_open(lua_State *L)
{
	static const luaL_Reg meta[] = { { NULL, NULL } };
	static const luaL_Reg fns[] = { { "query", sql_query }, { "row", sql_row }, { NULL, NULL } };
	static const char *const fields[] = { "name", NULL };
	static const struct policy_type type = { "gw.sql", fns, sql_field, fields };

	policy_newmetatable(L, SQL_MT, meta);
	policy_type_members(L, &type);
	lua_pop(L, 1);
	lua_pushcfunction(L, gw_sql);
	lua_setfield(L, -2, "sql");
}
