/* ctx: what init and fini are told; tick: what a timer of gw.every is. */
#include "config.h"

#include "policy/objects.h"

static void
get_reason(lua_State *L, const struct obj *o)
{
	obj_push_string(L, o->s->reason);
}

static void
get_worker(lua_State *L, const struct obj *o)
{
	lua_pushinteger(L, o->r->gen->policy->worker);
}

static void
get_generation(lua_State *L, const struct obj *o)
{
	lua_pushstring(L, policy_gen_id(o->r->gen));
}

const struct obj_class obj_ctx = {
	.what = "ctx",
	.fields = (const struct obj_field[]){
		{ "reason", get_reason, NULL, NULL },
		{ "worker", get_worker, NULL, NULL },
		{ "generation", get_generation, NULL, NULL },
		{ "note", NULL, NULL, obj_note },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = get_reason,
};

static void
get_name(lua_State *L, const struct obj *o)
{
	lua_pushstring(L, o->s->timer->h->name);
}

static void
get_missed(lua_State *L, const struct obj *o)
{
	lua_pushinteger(L, (lua_Integer)o->s->timer->missed);
}

const struct obj_class obj_tick = {
	.what = "tick",
	.fields = (const struct obj_field[]){
		{ "name", get_name, NULL, NULL },
		{ "missed", get_missed, NULL, NULL },
		{ "worker", get_worker, NULL, NULL },
		{ "generation", get_generation, NULL, NULL },
		{ "note", NULL, NULL, obj_note },
		{ NULL, NULL, NULL, NULL },
	},
	.tostring = get_name,
};
