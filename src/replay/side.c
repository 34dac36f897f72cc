/* One of the two policies: its states, and one call. */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "replay/replay_int.h"

/* ---- What its handlers do ---- */

static json_t *
parts(const struct buf *b)
{
	return json_stringn_nocheck(buf_peek(b), b->len);
}

static void
on_trace(void *owner, const struct trace_rec *t)
{
	struct side *s = owner;
	json_t *o = json_pack("{s:s, s:b, s:b, s:I, s:o, s:o, s:i}", "verdict", verdict_kind_name(t->verdict), "error",
	    t->is_error, "rule", t->is_rule, "duties", (json_int_t)t->duties, "changed", parts(&t->changed), "why",
	    t->is_error ? json_string("") : parts(&t->why), "level", t->level);

	json_object_set_new(s->did, t->handler, o);
}

static void
on_keep(void *owner, const struct trace_rec *t)
{
}

static const struct trace_ops ops = { on_keep, on_trace };

/* ---- Life ---- */

static void
inited(void *owner, const struct err *err)
{
	struct err *to = owner;

	if (err != NULL)
		*to = *err;
}

bool
side_ready(struct side *s, struct event_base *base, unsigned worker, struct err *err)
{
	static const struct trace_conf none;
	struct policy_replay nothing = { 0 };
	struct err failed = { "" };
	struct policy *p;

	if (s->policy[worker] != NULL)
		return true;
	p = s->policy[worker] = policy_new(base, NULL, worker);
	policy_replay_use(p, &nothing);
	policy_trace_use(p, &none, &ops, s);
	s->gen[worker] = policy_gen_new(p, s->bundle, s->conf, err);
	if (s->gen[worker] == NULL) {
		policy_free(p);
		s->policy[worker] = NULL;
		return false;
	}
	policy_gen_init(s->gen[worker], "test", inited, &failed);
	policy_gen_init_cancel(s->gen[worker]);
	if (failed.text[0] != '\0')
		log_warn("simulate: init could not be done", LOG_S("why", failed.text));
	policy_trace_watch(p, true);
	policy_replay_use(p, NULL);
	return true;
}

bool
side_init(struct side *s, struct event_base *base, struct conf *c, struct policy_bundle *b, struct err *err)
{
	s->conf = c;
	s->bundle = b;
	s->did = json_object();
	s->tls = json_object();
	return side_ready(s, base, 0, err);
}

void
side_fini(struct side *s)
{
	for (unsigned i = 0; i < WORKERS_MAX; i++) {
		if (s->policy[i] == NULL)
			continue;
		s->policy[i] = s->policy[i];
		policy_free(s->policy[i]);
		policy_gen_unref(s->gen[i]);
	}
	json_decref(s->did);
	json_decref(s->tls);
}

/* ---- One call ---- */

static duty_mask
tls_of(const json_t *by_domain, const char *domain)
{
	return (duty_mask)json_integer_value(json_object_get(by_domain, domain));
}

/* What tls_policy was asked for this hop. */
static const char *
tls_domain(const struct policy_hop *h)
{
	if (h->route == NULL)
		return h->destination;
	if (!h->route->via_mx && h->route->nhosts > 0)
		return h->route->hosts[0].host;
	return h->route->domain != NULL ? h->route->domain : h->destination;
}

/* What is owed at this hop on this side. What it meets is the hop's own affair. */
static void
hop_duties(struct replay *r, int which, struct journal_subject *j, const struct message *m)
{
	struct policy_hop *h = &j->hop;
	const char *rcpt = j->s.rcpt >= 0 ? j->msg->rcpts[j->s.rcpt].address : NULL;
	duty_mask orig = tls_of(r->orig_tls, tls_domain(h)), own = tls_of(r->side[which].tls, tls_domain(h)) | j->msg->duties;
	unsigned met = (h->tls != NULL ? DUTY_ENCRYPT : 0) | (h->verified != PEER_UNVERIFIED ? DUTY_AUTHENTICATE : 0) |
	    (h->mx != MX_INSECURE ? DUTY_SECURE_LOOKUP : 0) | (h->caps & SMTP_EXT_REQUIRETLS ? DUTY_PROPAGATE : 0);
	unsigned before = duties_bits(h->duties), now;

	orig |= delta_duties(m->delta[2], NULL) | (rcpt == NULL ? 0 : delta_duties(m->delta[2], rcpt));
	if (rcpt != NULL)
		own |= j->msg->rcpts[j->s.rcpt].duties;
	h->duties = (h->duties & ~orig) | own;
	now = duties_bits(h->duties);
	h->unmet = (h->unmet & now) | (now & ~before & ~met);
	h->met = (h->met & now) | (now & ~before & met);
}

static void
overlay(struct replay *r, int which, enum policy_hook hook, struct journal_subject *j, struct message *m)
{
	struct msg *msg = j->msg;
	bool by_sender = (msg->duties & duties_of(DUTY_PROPAGATE, DUTY_BY_SENDER)) != 0;
	unsigned bits;

	delta_apply(msg, m->delta[2], m->delta[which]);
	bits = duties_bits(msg->duties);
	for (size_t i = 0; i < msg->nrcpts; i++) {
		bits |= duties_bits(msg->rcpts[i].duties);
		if (json_object_get(m->refused[which], msg->rcpts[i].address) != NULL)
			msg->rcpts[i].discarded = true;
	}
	if (hook >= HOOK_ROUTE && !by_sender)	/* a policy's tag is a tag once the message is in */
		msg->flags = bits & DUTY_PROPAGATE ? msg->flags | MSG_REQUIRETLS : msg->flags & ~(unsigned)MSG_REQUIRETLS;
	if (j->s.hop != NULL)
		hop_duties(r, which, j, m);
}

static duty_mask
all_duties(const struct msg *m)
{
	duty_mask d = m == NULL ? 0 : m->duties;

	for (size_t i = 0; m != NULL && i < m->nrcpts; i++)
		d |= m->rcpts[i].duties;
	return d;
}

static bool
is_refusal(enum verdict_kind k)
{
	return k == VERDICT_REJECT || k == VERDICT_DEFER || k == VERDICT_DROP;
}

/* What comes of it for what follows on this side. */
static void
follow(struct side *s, int which, enum policy_hook hook, struct journal_subject *j, struct message *m,
    struct session *ss, const struct verdict *v)
{
	if (ss != NULL && ((hook == HOOK_CONNECT && is_refusal(v->kind)) || v->kind == VERDICT_DROP))
		ss->is_over[which] = true;
	if (hook == HOOK_TLS_POLICY)
		json_object_set_new(s->tls, j->s.domain, json_integer(v->kind == VERDICT_TLS ?
		    duties_of_level(v->level, DUTY_BY_ADMIN) : 0));
	if (m == NULL || !is_refusal(v->kind))
		return;
	if (hook == HOOK_RCPT && v->kind != VERDICT_DROP && j->s.rcpt >= 0)
		json_object_set_new(m->refused[which], j->msg->rcpts[j->s.rcpt].address, json_true());
	else if (hook < HOOK_ROUTE)
		m->is_over[which] = true;
}

static bool
is_skipped(int which, const struct journal_subject *j, const struct message *m, const struct session *ss)
{
	return (ss != NULL && ss->is_over[which]) || (m != NULL && m->is_over[which]) ||
	    (m != NULL && j->s.rcpt >= 0 && j->msg != NULL &&
	    json_object_get(m->refused[which], j->msg->rcpts[j->s.rcpt].address) != NULL);
}

static void
set_vars(struct replay *r, int which, unsigned worker, enum policy_hook hook, struct journal_subject *j,
    struct session *ss, void **none)
{
	struct side *s = &r->side[which];

	if (ss == NULL) {
		j->session.vars = none;
		return;
	}
	/* Nothing that was said in clear stays. */
	if (ss->worker[which] >= 0 && (hook == HOOK_TLS || ss->worker[which] != (int)worker))
		policy_session_end(s->gen[ss->worker[which]], &ss->vars[which]);
	ss->worker[which] = (int)worker;
	j->session.vars = &ss->vars[which];
}

void
side_call(struct replay *r, int which, unsigned worker, enum policy_hook hook, const json_t *rec,
    struct message *m, struct session *ss, struct outcome *o)
{
	struct side *s = &r->side[which];
	const json_t *in = json_object_get(rec, "in");
	json_int_t at = json_integer_value(json_object_get(rec, "at"));
	struct policy_replay rp = { .waits = json_object_get(rec, "waits") };
	struct journal_subject *j;
	struct verdict v;
	struct err err;
	uint64_t ticket = 0;
	void *none = NULL;	/* of a session that has no number */

	memset(o, 0, sizeof *o);
	j = journal_subject_read(in, hook, s->conf, m == NULL ? NULL : m->first, &err);
	if (j == NULL) {
		o->skipped = true;
		return;
	}
	if (is_skipped(which, j, m, ss)) {
		o->skipped = true;
		journal_subject_free(j);
		return;
	}
	if (m != NULL && j->msg != NULL)
		overlay(r, which, hook, j, m);
	set_vars(r, which, worker, hook, j, ss, &none);
	o->before = journal_own(j->msg);
	rp.subject = j;
	json_object_clear(s->did);
	clock_fake(at, at);
	policy_replay_use(s->policy[worker], &rp);
	if (policy_call(s->policy[worker], s->gen[worker], hook, &j->s, &v, NULL, NULL, &ticket) == POLICY_LATER) {
		policy_cancel(s->policy[worker], ticket);
		memset(&v, 0, sizeof v);
		if (rp.unknown[0] == '\0')
			snprintf(rp.unknown, sizeof rp.unknown, "something that is not in journals");
	}
	policy_replay_use(s->policy[worker], NULL);
	clock_real();
	if (json_object_get(in, "has_header") != NULL && j->content == NULL && v.is_error && rp.unknown[0] == '\0')
		snprintf(rp.unknown, sizeof rp.unknown, "the header: its line is not in this journal");
	o->verdict = journal_verdict(&v);
	o->kind = v.kind;
	o->own = journal_own(j->msg);
	o->duties = all_duties(j->msg);
	o->hop = j->s.hop == NULL ? 0 : j->hop.duties;
	o->added = j->s.hop == NULL ? 0 : j->hop.added;
	o->words = j->s.bounce == NULL ? NULL : journal_words(&j->words);
	o->did = json_copy(s->did);
	memcpy(o->unknown, rp.unknown, sizeof o->unknown);
	memcpy(o->unknown_handler, rp.unknown_handler, sizeof o->unknown_handler);
	if (rp.unknown[0] != '\0') {	/* what it would have done to the message is not known either */
		if (m != NULL && j->s.may_edit)
			m->is_over[which] = true;
	} else {
		follow(s, which, hook, j, m, ss, &v);
		if (m != NULL && j->s.may_edit)
			delta_add(m->delta[which], o->before, o->own);
	}
	verdict_fini(&v);
	policy_session_end(s->gen[worker], &none);
	journal_subject_free(j);
}

void
outcome_fini(struct outcome *o)
{
	json_decref(o->verdict);
	json_decref(o->own);
	json_decref(o->before);
	json_decref(o->words);
	json_decref(o->did);
}
