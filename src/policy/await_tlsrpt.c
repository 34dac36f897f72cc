/* gw.tlsrpt: what was counted for TLS reports (RFC 8460) about a domain. Only read. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/objects.h"
#include "queue/store.h"

#define DAYS_DEFAULT 7
#define DAYS_MAX 30
#define JSON_MAX (512u * 1024)
#define DAY_MS (INT64_C(86400) * 1000)

struct tlsrpt_wait {
	struct policy_wait w;		/* first */
	const struct store_query *answer;	/* while it is being delivered */
};
/* The question on its way. It cannot be called back: when the handler is gone its number is, too. */
struct tlsrpt_call {
	struct store_query q;		/* first */
	struct policy_link *link;
	uint64_t ticket;
};

static void
answered(void *reader, struct mail *m)
{
	struct tlsrpt_call *c = (struct tlsrpt_call *)m;
	struct policy *p = policy_link_get(c->link);
	struct policy_wait *w = p == NULL ? NULL : policy_wait_find(p, c->ticket);

	if (w != NULL) {
		((struct tlsrpt_wait *)w)->answer = &c->q;
		policy_wait_done(w);
	}
	policy_link_unref(c->link);
	store_query_free(&c->q);
}

static lua_Integer
count(const json_t *policy, const char *what)
{
	return (lua_Integer)json_integer_value(json_object_get(json_object_get(policy, "summary"), what));
}

/* Of the answer on top, the list, without what is of no use to a policy. */
static void
push_days(lua_State *L)
{
	lua_Integer n;

	lua_getfield(L, -1, "days");
	n = luaL_len(L, -1);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_geti(L, -1, i);
		for (const char *const *gone = (const char *const[]){ "tries", "next", "node", "note", NULL }; *gone != NULL; gone++) {
			lua_pushnil(L);
			lua_setfield(L, -2, *gone);
		}
		lua_pop(L, 1);
	}
	policy_freeze(L, -1);
}

/* The sums stand beside what a report would say, so that a policy needs not to go through it. */
static char *
with_sums(const char *text)
{
	json_t *o = json_loads(text, 0, NULL), *day, *policy;
	char *out;
	size_t i, k;

	json_array_foreach(json_object_get(o, "days"), i, day) {
		lua_Integer good = 0, bad = 0;

		json_array_foreach(json_object_get(day, "policies"), k, policy) {
			good += count(policy, "total-successful-session-count");
			bad += count(policy, "total-failure-session-count");
		}
		json_object_set_new(day, "successful", json_integer(good));
		json_object_set_new(day, "failed", json_integer(bad));
	}
	out = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return out;
}

static int
resumed(lua_State *L, int status, lua_KContext ctx)
{
	struct tlsrpt_wait *w = policy_wait_take(L);
	const struct store_query *a = w->answer;
	struct buf *b;
	char *text;

	policy_wait_free(&w->w);
	if (a->status != STORE_OK)
		return policy_push_error(L, "servfail", true, false, "gw.tlsrpt: %s", a->text);
	if (strlen(a->json) > JSON_MAX)
		return policy_push_error(L, "limit", false, false, "gw.tlsrpt: the answer is too long; ask for fewer days");
	luaL_checkstack(L, 10, "gw.tlsrpt");
	b = policy_push_buf(L, 2 * JSON_MAX);	/* freed with the stack if what follows raises */
	text = with_sums(a->json);
	buf_adds(b, text == NULL ? "{}" : text);
	free(text);
	policy_json_decode(L, buf_peek(b), b->len);
	push_days(L);
	return 1;
}

/* gw.tlsrpt(domain, { days = }) -> { { day =, state =, successful =, failed =, policies = }, ... }, newest first */
static int
gw_tlsrpt(lua_State *L)
{
	static const char *const fields[] = { "days", NULL };
	struct policy_run *r = policy_not_loading(L, "gw.tlsrpt");
	struct policy *p = r->gen->policy;
	struct tlsrpt_call *c;
	struct tlsrpt_wait *w;
	char name[256], key[280];
	lua_Integer days = DAYS_DEFAULT;
	int replayed;
	size_t n;
	const char *domain = obj_domain_peek(L, 1, &n);

	if (domain == NULL)
		domain = luaL_checklstring(L, 1, &n);
	if (!lua_isnoneornil(L, 2)) {
		policy_opts_check(L, 2, "gw.tlsrpt", fields);
		days = policy_opt_integer(L, 2, "gw.tlsrpt", "days", 1, DAYS_MAX, DAYS_DEFAULT);
	}
	if (p->services.store == NULL && p->replay == NULL)
		return luaL_error(L, "gw.tlsrpt: there is no queue yet");
	policy_wait_check(L, r, "gw.tlsrpt");
	if (!dns_to_ascii(name, (struct slice){ domain, n }))
		return policy_push_error(L, "bad_name", false, false, "not a domain name");
	snprintf(key, sizeof key, "%s %d", name, (int)days);
	if ((replayed = policy_replayed(L, r, "tlsrpt", key)) >= 0)
		return replayed;
	if (policy_wait_room(L, r) != 0)
		return 2;
	w = policy_wait_new(r, sizeof *w, -1, NULL);
	w->w.counted = true;
	policy_wait_name(&w->w, "tlsrpt", key);
	c = xcalloc(1, sizeof *c);
	c->q.verb = STORE_TLSRPT;
	c->q.filter.domain = xstrdup(name);
	c->q.filter.since_ms = clock_wall_ms() - (days - 1) * DAY_MS;
	c->q.filter.limit = (unsigned)days;
	c->q.mail.run = answered;
	c->q.mail.reply_to = p->services.mb;
	c->link = policy_link_ref(p->link);
	policy_wait_number(&w->w);
	c->ticket = w->w.ticket;
	store_query(p->services.store, &c->q);
	return policy_wait_begin(L, r, &w->w, resumed);
}

void
policy_tlsrpt_open(lua_State *L)
{
	lua_pushcfunction(L, gw_tlsrpt);
	lua_setfield(L, -2, "tlsrpt");
}
