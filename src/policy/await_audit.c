/* gw.audit: a row of the policy's own in the evidence (trust/evidence.h), chained to those before it and
 * on disk when the call returns. There is no way to change or to remove one. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/policy_int.h"
#include "queue/store.h"
#include "trust/evidence.h"

#define TEXT_MAX 500u		/* octets */
#define FIELDS_MAX 1024u	/* as JSON */
#define CALLS_MAX 8u		/* of a handler */

struct audit_wait {
	struct policy_wait w;		/* first */
	const struct store_result *answer;	/* while it is being delivered */
};
/* The request on its way. It cannot be called back: when the handler is gone its number is, too. */
struct audit_call {
	struct store_result req;	/* first */
	struct policy_link *link;
	uint64_t ticket;
};

static void
answered(void *reader, struct mail *m)
{
	struct audit_call *c = (struct audit_call *)m;
	struct policy *p = policy_link_get(c->link);
	struct policy_wait *w = p == NULL ? NULL : policy_wait_find(p, c->ticket);

	if (w != NULL) {
		((struct audit_wait *)w)->answer = &c->req;
		policy_wait_done(w);
	}
	policy_link_unref(c->link);
	store_result_free(&c->req);
}

static int
resumed(lua_State *L, int status, lua_KContext ctx)
{
	struct audit_wait *w = policy_wait_take(L);
	const struct store_result *a = w->answer;

	policy_wait_free(&w->w);
	if (a->status != STORE_OK)
		return policy_push_error(L, "servfail", true, false, "gw.audit: %s", a->text);
	lua_pushboolean(L, 1);
	return 1;
}

/* The row: what the handler says in `why` and, as JSON, in `text`; the rest is not the policy's to say. */
static char *
row(struct policy_run *r, const char *why, const char *fields)
{
	const struct policy_subject *s = r->s;
	struct evidence e = { .wall_ms = clock_wall_ms(), .event = "policy", .why = why, .text = fields,
		.generation = policy_gen_id(r->gen) };
	char by[sizeof r->h->name + sizeof r->h->where + 2];

	snprintf(by, sizeof by, "%s %s", r->h->name, r->h->where);
	e.by = by;
	if (s->msg != NULL) {
		e.message = s->msg->id;
		e.from = s->msg->from;
		if (s->rcpt >= 0 && (size_t)s->rcpt < s->msg->nrcpts) {
			e.rcpt_num = s->msg->rcpts[s->rcpt].num;
			e.rcpt = s->msg->rcpts[s->rcpt].address;
		}
	}
	e.domain = s->domain;
	return evidence_text(&e);
}

/* gw.audit(text [, fields]) -> true, or nil and an error: it may be on disk all the same. */
static int
gw_audit(lua_State *L)
{
	struct policy_run *r = policy_not_loading(L, "gw.audit");
	struct policy *p = r->gen->policy;
	const char *text, *fields = NULL;
	struct audit_call *c;
	struct audit_wait *w;
	struct buf *json;
	size_t n;
	int replayed;

	text = luaL_checklstring(L, 1, &n);
	if (n == 0)
		return luaL_error(L, "gw.audit: the text is empty");
	policy_text_check(L, "gw.audit", "text", text, n, TEXT_MAX);
	if (!lua_isnoneornil(L, 2)) {
		luaL_checktype(L, 2, LUA_TTABLE);
		json = policy_push_buf(L, FIELDS_MAX + 1);
		policy_json_encode(L, 2, json);
		if (!buf_addc(json, '\0'))
			return luaL_error(L, "gw.audit: the fields have more than %d octets as JSON", (int)FIELDS_MAX);
		fields = buf_peek(json);
	}
	if (p->services.store == NULL && p->replay == NULL)
		return luaL_error(L, "gw.audit: there is no queue yet");
	policy_wait_check(L, r, "gw.audit");
	if (r->audits >= CALLS_MAX)
		return luaL_error(L, "gw.audit: at most %d rows in one call of a handler", (int)CALLS_MAX);
	r->audits++;
	if ((replayed = policy_replayed(L, r, "audit", text)) >= 0)
		return replayed;
	if (policy_wait_room(L, r) != 0)
		return 2;
	w = policy_wait_new(r, sizeof *w, -1, NULL);
	w->w.counted = true;
	policy_wait_name(&w->w, "audit", text);
	c = xcalloc(1, sizeof *c);
	c->req.mail.run = answered;
	c->req.mail.reply_to = p->services.mb;
	c->req.message = r->s->msg != NULL ? r->s->msg->id : 0;
	c->req.audit = row(r, text, fields);
	c->req.urgent = true;
	c->link = policy_link_ref(p->link);
	policy_wait_number(&w->w);
	c->ticket = w->w.ticket;
	store_result(p->services.store, &c->req);
	return policy_wait_begin(L, r, &w->w, resumed);
}

void
policy_audit_open(lua_State *L)
{
	lua_pushcfunction(L, gw_audit);
	lua_setfield(L, -2, "audit");
}
