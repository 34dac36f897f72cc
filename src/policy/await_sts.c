/* gw.sts.get: the MTA-STS policy of a domain, as deliveries see it (sts/sts.h). */
#include "config.h"

#include <string.h>

#include "policy/objects.h"
#include "sts/sts.h"

struct sts_wait {
	struct policy_wait w;		/* first */
	uint64_t ticket;		/* the finder's; 0 when it is over */
	enum sts_mode mode;
	const struct sts_known *known;	/* while the answer is being delivered */
};

static void
stop(struct policy_wait *pw)
{
	struct sts_wait *w = (struct sts_wait *)pw;

	sts_cancel(pw->fiber->run->gen->policy->services.sts, w->ticket);
	w->ticket = 0;
}

static void
found(void *owner, uint64_t ticket, enum sts_mode mode, struct sts_known *known)
{
	struct sts_wait *w = owner;

	w->ticket = 0;
	w->mode = mode;
	w->known = known;
	policy_wait_done(&w->w);
}

static int
push_policy(lua_State *L, enum sts_mode mode, const struct sts_known *k)
{
	if (mode == STS_FETCH_FAILED)
		return policy_push_error(L, "servfail", true, false, "there may be an MTA-STS policy, and it could "
		    "not be fetched");
	if (k == NULL) {
		lua_pushnil(L);
		return 1;
	}
	lua_createtable(L, 0, 6);
	lua_pushstring(L, mode == STS_ENFORCE ? "enforce" : mode == STS_TESTING ? "testing" : "none");
	lua_setfield(L, -2, "mode");
	lua_pushstring(L, k->id);
	lua_setfield(L, -2, "id");
	lua_pushinteger(L, k->policy.max_age_s);
	lua_setfield(L, -2, "max_age");
	lua_pushinteger(L, k->fetched_ms / 1000);
	lua_setfield(L, -2, "fetched");
	lua_pushinteger(L, k->expires_ms / 1000);
	lua_setfield(L, -2, "expires");
	lua_createtable(L, (int)k->policy.nmx, 0);
	for (size_t i = 0; i < k->policy.nmx; i++) {
		lua_pushstring(L, k->policy.mx[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_setfield(L, -2, "mx");
	return 1;
}

/* The finder's answer lives until its callback returns, which is after this. */
static int
resumed(lua_State *L, int status, lua_KContext ctx)
{
	struct sts_wait *w = policy_wait_take(L);
	enum sts_mode mode = w->mode;
	const struct sts_known *known = w->known;

	policy_wait_free(&w->w);
	luaL_checkstack(L, 4, "gw.sts");
	return push_policy(L, mode, known);
}

/* gw.sts.get(domain): a table, nil without a policy, nil and an error when that is not known. */
static int
sts_get(lua_State *L)
{
	struct policy_run *r = policy_not_loading(L, "gw.sts.get");
	struct policy *p = r->gen->policy;
	struct sts_wait *w;
	char name[256];
	int replayed;
	size_t n;
	const char *domain = obj_domain_peek(L, 1, &n);

	if (domain == NULL)
		domain = luaL_checklstring(L, 1, &n);
	if (!r->gen->conf->policy.dns)
		return luaL_error(L, "gw.sts.get: DNS is not allowed to policies (policy.network.dns)");
	if (p->services.sts == NULL && p->replay == NULL)
		return luaL_error(L, "gw.sts.get: there is no MTA-STS yet");
	policy_wait_check(L, r, "gw.sts.get");
	if (!dns_to_ascii(name, (struct slice){ domain, n }))
		return policy_push_error(L, "bad_name", false, false, "not a domain name");
	if (!r->gen->conf->tls.sts)
		return policy_push_error(L, "refused", false, false, "MTA-STS is off (tls.sts)");
	if ((replayed = policy_replayed(L, r, "sts.get", name)) >= 0)
		return replayed;
	if (policy_wait_room(L, r) != 0)
		return 2;
	w = policy_wait_new(r, sizeof *w, -1, stop);
	w->w.counted = true;
	policy_wait_name(&w->w, "sts.get", name);
	w->ticket = sts_find(p->services.sts, name, found, w);
	return policy_wait_begin(L, r, &w->w, resumed);
}

void
policy_sts_open(lua_State *L)
{
	static const luaL_Reg fns[] = { { "get", sts_get }, { NULL, NULL } };

	luaL_newlib(L, fns);
	lua_setfield(L, -2, "sts");
}
