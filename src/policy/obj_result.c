/* result: how an attempt ended. Read-only; a hook answers with a verdict. The index says whose: 0 the
 * hook's, 2 the recipient's last one. */
#include "config.h"

#include "policy/objects.h"

static const struct policy_result *
result(lua_State *L, const struct obj *o)
{
	const struct policy_result *r = o->index == 2 ? o->s->last : o->s->result;

	if (r == NULL)
		luaL_error(L, "stale handle: there is no result here");
	return r;
}

static void
get_kind(lua_State *L, const struct obj *o)
{
	obj_push_string(L, result(L, o)->kind);
}

/* 0 without a reply. */
static void
get_code(lua_State *L, const struct obj *o)
{
	lua_pushinteger(L, result(L, o)->code);
}

static void
get_status(lua_State *L, const struct obj *o)
{
	obj_push_string(L, result(L, o)->status);
}

static void
get_text(lua_State *L, const struct obj *o)
{
	obj_push_string(L, result(L, o)->text);
}

static void
get_stage(lua_State *L, const struct obj *o)
{
	obj_push_string(L, result(L, o)->stage);
}

static void
get_hop(lua_State *L, const struct obj *o)
{
	if (result(L, o)->hop == NULL)
		lua_pushnil(L);
	else
		policy_push_object(L, OBJ_HOP, o->index == 2 ? 2 : 1);
}

/* What was owed at that hop, or without one what the recipient owes. */
static void
get_duties(lua_State *L, const struct obj *o)
{
	if (result(L, o)->hop != NULL)
		policy_push_object(L, OBJ_HOP_DUTIES, o->index == 2 ? 2 : 1);
	else if (o->s->rcpt >= 0)
		policy_push_object(L, OBJ_RCPT_DUTIES, (unsigned)o->s->rcpt);
	else
		policy_push_object(L, OBJ_MESSAGE_DUTIES, 0);
}

static void
get_attempts(lua_State *L, const struct obj *o)
{
	lua_pushinteger(L, result(L, o)->attempts);
}

static void
get_first_attempt(lua_State *L, const struct obj *o)
{
	obj_push_time(L, result(L, o)->first_attempt_ms);
}

static void
get_next_attempt(lua_State *L, const struct obj *o)
{
	obj_push_time(L, result(L, o)->next_attempt_ms);
}

static void
get_cause(lua_State *L, const struct obj *o)
{
	const struct policy_result *r = result(L, o);

	lua_createtable(L, (int)r->ncause, 0);
	for (size_t i = 0; i < r->ncause; i++) {
		lua_pushstring(L, r->cause[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

const struct obj_class obj_result = {
	.what = "result",
	.fields = (const struct obj_field[]){
		{ "kind", get_kind, NULL, NULL },
		{ "code", get_code, NULL, NULL },
		{ "status", get_status, NULL, NULL },
		{ "text", get_text, NULL, NULL },
		{ "stage", get_stage, NULL, NULL },
		{ "hop", get_hop, NULL, NULL },
		{ "duties", get_duties, NULL, NULL },
		{ "attempts", get_attempts, NULL, NULL },
		{ "first_attempt", get_first_attempt, NULL, NULL },
		{ "next_attempt", get_next_attempt, NULL, NULL },
		{ "cause", get_cause, NULL, NULL },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = get_kind,
};
