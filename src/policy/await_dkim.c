/* gw.dkim.verify(message): keys from the DNS, then the body, which a thread of the pool reads and hashes. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/pool.h"
#include "message/dkim_check.h"
#include "policy/lib.h"
#include "policy/objects.h"

#define CHECK_MT "gw.dkim.check"
#define READ_AT_ONCE (64u * 1024)

/* The work; once it is with the pool it comes back even when nobody waits any more, and is freed then. */
struct dkim_job {
	struct job job;		/* first */
	struct policy_link *link;
	uint64_t ticket;
	struct dkim_check *check;
	struct content *content;
	bool failed;		/* the body could not be read */
};
struct dkim_wait {
	struct policy_wait w;	/* first */
	struct dkim_job *j;	/* NULL: it goes by itself */
	struct dns *dns;
	uint64_t queries[DKIM_CHECKS_MAX];
	unsigned pending;
	bool in_pool;
	bool is_over;		/* j is freed by who ended it */
};

static void
job_free(struct dkim_job *j)
{
	dkim_check_free(j->check);
	content_unref(j->content);
	policy_link_unref(j->link);
	free(j);
}

/* ---- The body ---- */

static void
feed_file(struct dkim_job *j)
{
	const struct content *c = j->content;
	char *data = xmalloc(READ_AT_ONCE);
	uint64_t at = c->header_size;

	while (at < c->size && !j->failed && !job_is_cancelled(&j->job)) {
		size_t want = c->size - at < READ_AT_ONCE ? (size_t)(c->size - at) : READ_AT_ONCE;
		ssize_t n = pread(c->fd, data, want, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		j->failed = n <= 0 || !dkim_check_add(j->check, data, (size_t)n);
		at += n > 0 ? (uint64_t)n : 0;
	}
	free(data);
}

/* In a thread of the pool. */
static void
work(struct job *job, unsigned thread)
{
	struct dkim_job *j = (struct dkim_job *)job;
	const struct content *c = j->content;

	if (c->mem != NULL)
		j->failed = c->size > c->header_size &&
		    !dkim_check_add(j->check, c->mem + c->header_size, (size_t)(c->size - c->header_size));
	else
		feed_file(j);
	if (!j->failed && !job_is_cancelled(job))
		dkim_check_end(j->check);
}

static void
answered(void *reader, struct mail *m)
{
	struct dkim_job *j = (struct dkim_job *)m;
	struct policy *p = policy_link_get(j->link);
	struct policy_wait *w = p == NULL ? NULL : policy_wait_find(p, j->ticket);

	if (w != NULL) {
		((struct dkim_wait *)w)->is_over = true;
		policy_wait_done(w);
	}
	job_free(j);
}

/* ---- The keys ---- */

static void
keys_there(struct dkim_wait *w)
{
	struct dkim_job *j = w->j;

	w->in_pool = pool_do(w->w.fiber->run->gen->policy->services.pool, &j->job);
	if (w->in_pool)
		return;
	j->failed = w->is_over = true;
	policy_wait_done(&w->w);
	job_free(j);
}

/* RFC 6376 3.6.2.2: several records are nobody's key; the one that says what it is will do. */
static void
take_key(struct dkim_check *c, size_t i, const struct dns_answer *a)
{
	struct buf text, best;

	buf_init(&text, 65536);
	buf_init(&best, 65536);
	for (size_t k = 0; a->status == DNS_OK && k < a->n; k++) {
		buf_clear(&text);
		if (!dns_txt_parse(&a->rr[k], &text))
			continue;
		if (best.len == 0 || (slice_starts_nocase(buf_slice(&text), "v=DKIM1") &&
		    !slice_starts_nocase(buf_slice(&best), "v=DKIM1"))) {
			buf_clear(&best);
			buf_add(&best, buf_peek(&text), text.len);
		}
	}
	dkim_check_key(c, i, dns_status_is_failure(a->status) ? DKIM_KEY_FAILED : best.len > 0 ? DKIM_KEY_FOUND :
	    DKIM_KEY_NONE, buf_slice(&best), a->secure);
	buf_fini(&best);
	buf_fini(&text);
}

static void
on_answer(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct dkim_wait *w = owner;

	for (size_t i = 0; i < DKIM_CHECKS_MAX; i++) {
		if (w->queries[i] != query)
			continue;
		w->queries[i] = 0;
		take_key(w->j->check, i, a);
		if (--w->pending == 0)
			keys_there(w);
		return;
	}
}

static void
stop(struct policy_wait *pw)
{
	struct dkim_wait *w = (struct dkim_wait *)pw;

	if (w->is_over)
		return;
	if (w->in_pool) {
		atomic_store(&w->j->job.is_cancelled, true);
		return;
	}
	for (size_t i = 0; i < DKIM_CHECKS_MAX; i++)
		if (w->queries[i] != 0)
			dns_cancel(w->dns, w->queries[i]);
	job_free(w->j);
}

/* ---- What came of it ---- */

static void
set(lua_State *L, const char *key, const char *s)
{
	if (s == NULL)
		return;
	lua_pushstring(L, s);
	lua_setfield(L, -2, key);
}

static void
push_results(lua_State *L, const struct dkim_check *c)
{
	luaL_checkstack(L, 6, "gw.dkim.verify");
	lua_createtable(L, (int)dkim_check_count(c), 0);
	for (size_t i = 0; i < dkim_check_count(c); i++) {
		struct dkim_result r;

		dkim_check_result(c, i, &r);
		lua_createtable(L, 0, 8);
		set(L, "result", r.result);
		set(L, "reason", r.reason);
		set(L, "domain", r.domain);
		set(L, "selector", r.selector);
		set(L, "identity", r.identity);
		lua_pushinteger(L, r.bits);
		lua_setfield(L, -2, "bits");
		lua_pushboolean(L, r.partial);
		lua_setfield(L, -2, "partial");
		lua_pushboolean(L, r.secure);
		lua_setfield(L, -2, "secure");
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

/* The work lives until the loop's callback returns, which is after this. */
static int
resumed(lua_State *L, int status, lua_KContext ctx)
{
	struct dkim_wait *w = policy_wait_take(L);
	const struct dkim_job *j = w->j;

	policy_wait_free(&w->w);
	if (j->failed)
		return policy_push_error(L, "servfail", true, false, "gw.dkim.verify: the body could not be read");
	push_results(L, j->check);
	return 1;
}

static int
begin(lua_State *L, struct policy_run *r, struct dkim_check *c, const struct content *content)
{
	struct policy *p = r->gen->policy;
	struct dkim_job *j = xcalloc(1, sizeof *j);
	struct dkim_wait *w = policy_wait_new(r, sizeof *w, -1, stop);

	w->w.counted = true;
	policy_wait_name(&w->w, "dkim.verify", "message");
	w->dns = p->dns;
	w->j = j;
	j->check = c;
	j->content = content_ref((struct content *)content);
	j->link = policy_link_ref(p->link);
	j->job.work = work;
	j->job.mail.run = answered;
	j->job.mail.reply_to = p->services.mb;
	policy_wait_number(&w->w);
	j->ticket = w->w.ticket;
	for (size_t i = 0; i < dkim_check_count(c); i++) {
		const char *name = dkim_check_name(c, i);

		if (name == NULL)
			continue;
		w->pending++;
		w->queries[i] = dns_query(p->dns, name, DNS_TXT, on_answer, w);
	}
	return policy_wait_begin(L, r, &w->w, resumed);
}

/* gw.dkim.verify(message) -> a list of { result =, reason =, domain =, ... }, one for each signature; or nil
 * and an error */
int
policy_dkim_verify(lua_State *L)
{
	static const char api[] = "gw.dkim.verify";
	struct policy_run *r = policy_not_loading(L, api);
	struct obj o = obj_check(L, OBJ_MESSAGE);
	const struct content *content;
	struct dkim_check *c, **box;
	bool asks = false;
	struct err err = { "" };
	int replayed;

	if (!r->gen->conf->policy.dns)
		return luaL_error(L, "%s: DNS is not allowed to policies (policy.network.dns)", api);
	content = obj_content_of(L, &o, "dkim_verify");
	policy_wait_check(L, r, api);
	if ((replayed = policy_replayed(L, r, "dkim.verify", "message")) >= 0)
		return replayed;
	if (r->gen->policy->dns == NULL || r->gen->policy->services.pool == NULL || (content->mem == NULL && content->fd < 0))
		return luaL_error(L, "%s: there is no DNS, or not the whole message", api);
	if (policy_wait_room(L, r) != 0)
		return 2;
	box = lua_newuserdatauv(L, sizeof *box, 0);
	*box = NULL;
	luaL_setmetatable(L, CHECK_MT);
	policy_charge_lua(L, 4 * content->header_size + content->size / 16);
	c = dkim_check_new(content_header_peek(content), &err);
	if (c == NULL)
		return policy_push_error(L, "malformed", false, false, "%s: %s", api, err.text);
	for (size_t i = 0; i < dkim_check_count(c); i++)
		asks = asks || dkim_check_name(c, i) != NULL;
	if (asks)
		return begin(L, r, c, content);
	*box = c;		/* nothing to wait for */
	push_results(L, c);
	return 1;
}

static int
check_gc(lua_State *L)
{
	struct dkim_check **box = luaL_checkudata(L, 1, CHECK_MT);

	dkim_check_free(*box);
	*box = NULL;
	return 0;
}

void
policy_dkim_register(lua_State *L)
{
	static const luaL_Reg mt[] = { { "__gc", check_gc }, { NULL, NULL } };

	policy_newmetatable(L, CHECK_MT, mt);
	lua_pop(L, 1);
}
