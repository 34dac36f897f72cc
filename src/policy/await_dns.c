/* What handlers may wait for: DNS answers (the rest of gw.dns.*). A wrong argument raises; the world
 * failing is nil and an error object. */
#include "config.h"

#include <arpa/inet.h>
#include <string.h>

#include "policy/policy_int.h"

struct dns_wait {
	struct policy_wait w;		/* first */
	uint64_t query;			/* 0 none */
	uint16_t type;
	const struct dns_answer *answer;	/* while it is being delivered */
};

static void
push_hex(lua_State *L, const uint8_t *p, size_t n)
{
	luaL_Buffer b;

	luaL_buffinit(L, &b);
	for (size_t i = 0; i < n; i++) {
		char two[3];

		hex_encode(two, p + i, 1);
		luaL_addlstring(&b, two, 2);
	}
	luaL_pushresult(&b);
}

/* Pushes one record as its type's value; false, and nothing pushed, when it is malformed. */
static bool
push_record(lua_State *L, uint16_t type, const struct dns_rr *rr)
{
	char name[INET6_ADDRSTRLEN > 256 ? INET6_ADDRSTRLEN : 256];
	struct dns_mx mx;
	struct dns_tlsa t;
	struct buf *b;

	luaL_checkstack(L, 6, "DNS");
	switch (type) {
	case DNS_A:
	case DNS_AAAA:
		if (rr->n != (type == DNS_A ? 4u : 16u))
			return false;
		inet_ntop(type == DNS_A ? AF_INET : AF_INET6, rr->data, name, sizeof name);
		lua_pushstring(L, name);
		return true;
	case DNS_MX:
		if (!dns_mx_parse(rr, &mx))
			return false;
		lua_createtable(L, 0, 2);
		lua_pushinteger(L, mx.preference);
		lua_setfield(L, -2, "preference");
		lua_pushstring(L, mx.host);
		lua_setfield(L, -2, "host");
		return true;
	case DNS_TXT:
		b = policy_push_buf(L, 65536);
		if (!dns_txt_parse(rr, b)) {
			lua_pop(L, 1);
			return false;
		}
		lua_pushlstring(L, buf_peek(b), b->len);
		lua_remove(L, -2);
		return true;
	case DNS_PTR:
		if (!dns_name_parse(rr, name))
			return false;
		lua_pushstring(L, name);
		return true;
	default:
		if (!dns_tlsa_parse(rr, &t))
			return false;
		lua_createtable(L, 0, 4);
		lua_pushinteger(L, t.usage);
		lua_setfield(L, -2, "usage");
		lua_pushinteger(L, t.selector);
		lua_setfield(L, -2, "selector");
		lua_pushinteger(L, t.mtype);
		lua_setfield(L, -2, "mtype");
		push_hex(L, t.data, t.n);
		lua_setfield(L, -2, "data");
		return true;
	}
}

static int
push_answer(lua_State *L, uint16_t type, const struct dns_answer *a)
{
	bool secure = a->secure;

	if (a->status != DNS_OK)
		return policy_push_error(L, dns_status_name(a->status), dns_status_is_failure(a->status), secure,
		    "%s: %s%s%s", a->qname, dns_status_name(a->status), a->why == NULL ? "" : ": ",
		    a->why == NULL ? "" : a->why);
	lua_createtable(L, (int)a->n, 3);
	for (size_t i = 0; i < a->n; i++) {
		/* One broken record makes the whole answer doubtful: it is not a shorter one. */
		if (!push_record(L, type, &a->rr[i]))
			return policy_push_error(L, "malformed", true, false, "%s: malformed record", a->qname);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_pushboolean(L, secure);
	lua_setfield(L, -2, "secure");
	lua_pushinteger(L, a->ttl);
	lua_setfield(L, -2, "ttl");
	lua_pushstring(L, a->canon);
	lua_setfield(L, -2, "canon");
	return 1;
}

/* Back on the coroutine. The wait is over whatever happens below, so it is given up first; the
 * answer itself lives until the callback returns, which is after this. */
static int
resumed(lua_State *L, int status, lua_KContext ctx)
{
	struct dns_wait *w = policy_wait_take(L);
	const struct dns_answer *a = w->answer;
	uint16_t type = w->type;

	policy_wait_free(&w->w);
	if (a == NULL)
		return policy_push_error(L, "timeout", true, false, "no answer in time");
	return push_answer(L, type, a);
}

static void
on_answer(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct dns_wait *w = owner;

	w->query = 0;
	w->answer = a;
	policy_wait_done(&w->w);
}

static void
stop(struct policy_wait *pw)
{
	struct dns_wait *w = (struct dns_wait *)pw;

	if (w->query != 0)
		dns_cancel(pw->fiber->run->gen->policy->dns, w->query);
	w->query = 0;
}

/* The name to ask for; false when it is none. Takes a text, or an object with a name (a domain). */
static bool
read_name(lua_State *L, const char *api, uint16_t type, char dst[256])
{
	unsigned char ip[16];
	struct slice s;

	if (lua_type(L, 1) == LUA_TUSERDATA) {
		lua_getfield(L, 1, "name");
		lua_replace(L, 1);
	}
	if (lua_type(L, 1) != LUA_TSTRING)
		luaL_error(L, "%s: expected a name, got %s", api, luaL_typename(L, 1));
	s.p = lua_tolstring(L, 1, &s.n);
	if (type == DNS_PTR && (inet_pton(AF_INET, s.p, ip) == 1 || inet_pton(AF_INET6, s.p, ip) == 1)) {
		dns_reverse_name(dst, strchr(s.p, ':') == NULL ? AF_INET : AF_INET6, ip);
		return true;
	}
	if (s.n == 0 || s.n > 253)
		return false;
	if (!ascii_is_printable(s.p, s.n))
		return dns_to_ascii(dst, s);
	if (memchr(s.p, ' ', s.n) != NULL)
		return false;
	memcpy(dst, s.p, s.n + 1);	/* service names begin with '_', which IDNA does not know */
	return true;
}

/* "dns.mx" from "gw.dns.mx". */
#define KIND(api) ((api) + 3)

static int
query(lua_State *L, const char *api, uint16_t type)
{
	static const char *const fields[] = { "timeout", NULL };
	struct policy_run *r = policy_not_loading(L, api);
	struct policy_gen *g = r->gen;
	struct dns_wait *w;
	int64_t timeout = -1;
	char name[256];
	int refused;

	if (!lua_isnoneornil(L, 2)) {
		policy_opts_check(L, 2, api, fields);
		timeout = policy_opt_duration(L, 2, api, "timeout", -1);
	}
	if (!g->conf->policy.dns || (g->policy->dns == NULL && g->policy->replay == NULL))
		return luaL_error(L, "%s: DNS is not allowed to policies (policy.network.dns)", api);
	policy_wait_check(L, r, api);
	if (!read_name(L, api, type, name))
		return policy_push_error(L, "bad_name", false, false, "not a domain name");
	if ((refused = policy_replayed(L, r, KIND(api), name)) >= 0)
		return refused;
	if ((refused = policy_wait_room(L, r)) != 0)
		return refused;
	w = policy_wait_new(r, sizeof *w, timeout, stop);
	w->w.counted = true;
	w->type = type;
	policy_wait_name(&w->w, KIND(api), name);
	w->query = dns_query(g->policy->dns, name, type, on_answer, w);
	return policy_wait_begin(L, r, &w->w, resumed);
}

static int
dns_a(lua_State *L)
{
	return query(L, "gw.dns.a", DNS_A);
}

static int
dns_aaaa(lua_State *L)
{
	return query(L, "gw.dns.aaaa", DNS_AAAA);
}

static int
dns_mx(lua_State *L)
{
	return query(L, "gw.dns.mx", DNS_MX);
}

static int
dns_txt(lua_State *L)
{
	return query(L, "gw.dns.txt", DNS_TXT);
}

static int
dns_ptr(lua_State *L)
{
	return query(L, "gw.dns.ptr", DNS_PTR);
}

static int
dns_tlsa(lua_State *L)
{
	return query(L, "gw.dns.tlsa", DNS_TLSA);
}

void
policy_dns_open(lua_State *L)
{
	static const luaL_Reg dns[] = {
		{ "a", dns_a }, { "aaaa", dns_aaaa }, { "mx", dns_mx }, { "txt", dns_txt }, { "ptr", dns_ptr },
		{ "tlsa", dns_tlsa }, { NULL, NULL },
	};

	luaL_newlib(L, dns);
	lua_setfield(L, -2, "dns");
}
