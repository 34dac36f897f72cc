/* gw.kv: values that all workers share and that survive a restart, in the queue's database
 * (queue/store.h). Writes are on disk when the call returns. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy_int.h"
#include "queue/store.h"

#define KV_MT "gw.kv"
#define TTL_MAX_MS (INT64_C(366) * 86400 * 1000)

struct kv {
	char name[64];
};
struct kv_wait {
	struct policy_wait w;		/* first */
	const struct store_kv *answer;	/* while it is being delivered */
};
/* The request on its way. It cannot be called back: when the handler is gone its number is, too. */
struct kv_call {
	struct store_kv req;		/* first */
	struct policy_link *link;
	uint64_t ticket;
};

static const char *const methods[] = { "get", "set", "add", "cas", "delete", NULL };

static void
answered(void *reader, struct mail *m)
{
	struct kv_call *c = (struct kv_call *)m;
	struct policy *p = policy_link_get(c->link);
	struct policy_wait *w = p == NULL ? NULL : policy_wait_find(p, c->ticket);

	if (w != NULL) {
		((struct kv_wait *)w)->answer = &c->req;
		policy_wait_done(w);
	}
	policy_link_unref(c->link);
	store_kv_free(&c->req);
}

/* ---- Results ---- */

static void
push_json(lua_State *L, const char *json)
{
	if (json == NULL) {
		lua_pushnil(L);
		return;
	}
	policy_json_decode(L, json, strlen(json));
	if (lua_istable(L, -1))
		policy_freeze(L, -1);
}

static int
push_result(lua_State *L, const struct store_kv *a)
{
	if (a->status != STORE_OK)
		return policy_push_error(L, "servfail", true, false, "gw.kv %s: %s", a->name, a->text);
	if (a->end == KV_LIMIT)
		return policy_push_error(L, "limit", true, false, "%s", a->text);
	if (a->end == KV_NOT_NUMBER)
		return policy_push_error(L, "not_a_number", false, false,
		    "gw.kv %s: what is kept is no whole number, or the sum is too large", a->name);
	switch (a->verb) {
	case STORE_KV_GET:
		push_json(L, a->found);
		return 1;
	case STORE_KV_ADD:
		lua_pushinteger(L, a->number);
		return 1;
	case STORE_KV_CAS:
		lua_pushboolean(L, a->end == KV_DONE);
		if (a->end == KV_DONE)
			return 1;
		push_json(L, a->found);
		return 2;
	default:
		lua_pushboolean(L, a->end == KV_DONE);
		return 1;
	}
}

/* As in dns: the answer lives until the callback returns. */
static int
resumed(lua_State *L, int status, lua_KContext ctx)
{
	struct kv_wait *w = policy_wait_take(L);
	const struct store_kv *a = w->answer;

	policy_wait_free(&w->w);
	return push_result(L, a);
}

/* ---- Calls ---- */

/* The value at idx as JSON, on the stack for as long as it is needed; NULL for nil. */
static const char *
read_value(lua_State *L, const char *api, int idx)
{
	struct buf *out;

	if (lua_isnoneornil(L, idx))
		return NULL;
	luaL_checkstack(L, 10, api);
	out = policy_push_buf(L, STORE_KV_VALUE_MAX + 1);
	policy_json_encode(L, idx, out);
	if (!buf_addc(out, '\0'))
		luaL_error(L, "%s: the value has more than %d octets as JSON", api, STORE_KV_VALUE_MAX);
	return buf_peek(out);
}

static int
begin(lua_State *L, struct policy_run *r, const struct kv *kv, const struct store_kv *proto)
{
	struct policy *p = r->gen->policy;
	static const char *const kinds[] = { [STORE_KV_GET] = "kv.get", [STORE_KV_SET] = "kv.set",
		[STORE_KV_ADD] = "kv.add", [STORE_KV_CAS] = "kv.cas", [STORE_KV_DELETE] = "kv.delete" };
	char key[sizeof kv->name + STORE_KV_KEY_MAX + 2];
	struct kv_call *c;
	struct kv_wait *w;
	int replayed;

	snprintf(key, sizeof key, "%s %.*s", kv->name, (int)proto->nkey, proto->key);
	if ((replayed = policy_replayed(L, r, kinds[proto->verb], key)) >= 0)
		return replayed;
	if (policy_wait_room(L, r) != 0)
		return 2;
	w = policy_wait_new(r, sizeof *w, -1, NULL);
	w->w.counted = true;
	policy_wait_name(&w->w, kinds[proto->verb], key);
	c = xcalloc(1, sizeof *c);
	c->req = *proto;
	snprintf(c->req.name, sizeof c->req.name, "%s", kv->name);
	c->req.key = xmalloc(proto->nkey + 1);
	memcpy(c->req.key, proto->key, proto->nkey);
	c->req.value = proto->value == NULL ? NULL : xstrdup(proto->value);
	c->req.old = proto->old == NULL ? NULL : xstrdup(proto->old);
	c->req.mail.run = answered;
	c->req.mail.reply_to = p->services.mb;
	c->link = policy_link_ref(p->link);
	policy_wait_number(&w->w);
	c->ticket = w->w.ticket;
	store_kv(p->services.store, &c->req);
	return policy_wait_begin(L, r, &w->w, resumed);
}

/* kv and key; the run that may wait. */
static struct policy_run *
check(lua_State *L, const char *api, const struct kv **kv, struct store_kv *proto)
{
	struct policy_run *r = policy_not_loading(L, api);
	size_t n;

	*kv = luaL_checkudata(L, 1, KV_MT);
	proto->key = (char *)luaL_checklstring(L, 2, &n);
	if (n == 0 || n > STORE_KV_KEY_MAX)
		luaL_error(L, "%s: a key has 1 to %d octets", api, STORE_KV_KEY_MAX);
	proto->nkey = n;
	if (r->gen->policy->services.store == NULL && r->gen->policy->replay == NULL)
		luaL_error(L, "%s: there is no queue yet", api);
	policy_wait_check(L, r, api);
	return r;
}

static int64_t
read_ttl(lua_State *L, const char *api, int idx)
{
	static const char *const fields[] = { "ttl", NULL };
	int64_t ms;

	if (lua_isnoneornil(L, idx))
		return 0;
	policy_opts_check(L, idx, api, fields);
	ms = policy_opt_duration(L, idx, api, "ttl", 0);
	if (ms < 0 || ms > TTL_MAX_MS)
		luaL_error(L, "%s: ttl is at most 366 days", api);
	return ms;
}

static int
kv_get(lua_State *L)
{
	struct store_kv q = { .verb = STORE_KV_GET };
	const struct kv *kv;
	struct policy_run *r = check(L, "kv:get", &kv, &q);

	return begin(L, r, kv, &q);
}

static int
kv_set(lua_State *L)
{
	struct store_kv q = { .verb = STORE_KV_SET };
	const struct kv *kv;
	struct policy_run *r = check(L, "kv:set", &kv, &q);

	q.ttl_ms = read_ttl(L, "kv:set", 4);
	q.value = (char *)read_value(L, "kv:set", 3);
	if (q.value == NULL)
		return luaL_error(L, "kv:set: the value is nil; kv:delete removes a key");
	return begin(L, r, kv, &q);
}

static int
kv_add(lua_State *L)
{
	struct store_kv q = { .verb = STORE_KV_ADD };
	const struct kv *kv;
	struct policy_run *r = check(L, "kv:add", &kv, &q);

	q.delta = luaL_optinteger(L, 3, 1);
	q.ttl_ms = read_ttl(L, "kv:add", 4);
	return begin(L, r, kv, &q);
}

static int
kv_cas(lua_State *L)
{
	struct store_kv q = { .verb = STORE_KV_CAS };
	const struct kv *kv;
	struct policy_run *r = check(L, "kv:cas", &kv, &q);

	q.ttl_ms = read_ttl(L, "kv:cas", 5);
	q.old = (char *)read_value(L, "kv:cas", 3);
	q.value = (char *)read_value(L, "kv:cas", 4);
	return begin(L, r, kv, &q);
}

static int
kv_delete(lua_State *L)
{
	struct store_kv q = { .verb = STORE_KV_DELETE };
	const struct kv *kv;
	struct policy_run *r = check(L, "kv:delete", &kv, &q);

	return begin(L, r, kv, &q);
}

/* Upvalue: the table of methods. */
static int
kv_index(lua_State *L)
{
	const char *key = luaL_checkstring(L, 2);

	if (lua_getfield(L, lua_upvalueindex(1), key) == LUA_TNIL)
		return policy_unknown_field(L, "gw.kv", key, methods);
	return 1;
}

static int
gw_kv(lua_State *L)
{
	size_t n;
	const char *name = luaL_checklstring(L, 1, &n);
	struct kv *kv;

	if (n == 0 || n >= sizeof kv->name || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") != n)
		return luaL_error(L, "gw.kv: a name has 1 to %d letters a-z, digits, '_', '-' and dots",
		    (int)sizeof kv->name - 1);
	kv = lua_newuserdatauv(L, sizeof *kv, 0);
	memcpy(kv->name, name, n + 1);
	luaL_setmetatable(L, KV_MT);
	return 1;
}

void
policy_kv_open(lua_State *L)
{
	static const luaL_Reg meta[] = { { NULL, NULL } };
	static const luaL_Reg fns[] = {
		{ "get", kv_get }, { "set", kv_set }, { "add", kv_add }, { "cas", kv_cas },
		{ "delete", kv_delete }, { NULL, NULL },
	};

	policy_newmetatable(L, KV_MT, meta);
	luaL_newlib(L, fns);
	lua_pushcclosure(L, kv_index, 1);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
	lua_pushcfunction(L, gw_kv);
	lua_setfield(L, -2, "kv");
}
