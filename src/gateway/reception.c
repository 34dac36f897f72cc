/* Reception: what the configuration and the policy say at each stage of a session, and the way of
 * a message from its last dot to the 250 (design section 3, steps 4 to 6).
 *
 * At the end of data: TLS-Required is read from the header, the message hook runs, each recipient
 * is routed, the store commits, and only then the session gets its GO (I1). Whatever fails on the
 * way is a 4yz with nothing queued (I5). */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/events.h"
#include "gateway/gateway_int.h"
#include "gateway/reception.h"
#include "policy/journal.h"

struct reception {
	TAILQ_ENTRY(reception) link;	/* in its generation */
	struct worker *w;
	struct generation *g;
	const struct conf *conf;
	const struct conf_listener *l;
	struct net_addr peer;
	uint64_t sid;
	struct policy_session ps;
	void *vars;

	/* the question that is open */
	uint32_t ticket;
	enum smtp_stage stage;
	struct msg *msg;		/* the session's, while a transaction is open */
	uint64_t policy_ticket;		/* 0: no hook waits */
	struct policy_subject subject;
	struct routing *routing;
	struct slice header;
	bool answered;			/* in ask(): v is filled in */
	struct smtp_verdict *now;	/* in ask(): where the answer goes; else NULL */
	char *helo;			/* asked about, while the hook waits */
	bool wants_body;		/* the header says that it is a report */
	bool in_bounce;			/* bounce_in is asked, after message said this: */
	struct verdict said;
	struct report report;
	char *auth_id, *auth_attrs;	/* who has logged in, by the hook's word */
	bool may_relay;			/* configuration's word on the recipient asked about */
};

/* A message on its way to the store; outlives its session when the client leaves. */
struct arrival {
	struct store_submit req;
	struct worker *w;
	struct generation *g;
	uint64_t sid;
	uint32_t ticket;
};

struct reception *
reception_new(struct worker *w, struct generation *g, size_t listener, const struct net_addr *peer)
{
	struct reception *r = xcalloc(1, sizeof *r);

	r->w = w;
	r->g = generation_ref(g);
	TAILQ_INSERT_TAIL(&g->sessions, r, link);
	atomic_fetch_add(&g->shared->sessions, 1);
	atomic_fetch_add(&g->shared->started, 1);
	r->conf = g->setup->conf;
	r->l = &r->conf->listeners[listener];
	r->peer = *peer;
	r->ps.listener = r->l;
	r->ps.vars = &r->vars;
	return r;
}

void
reception_free(struct reception *r)
{
	policy_session_end(r->g->gen, &r->vars);
	sessions_leave(r->w->sessions, &r->peer);
	worker_session_left(r->w);
	TAILQ_REMOVE(&r->g->sessions, r, link);
	atomic_fetch_sub(&r->g->shared->sessions, 1);
	generation_unref(r->g);
	free(r->auth_id);
	free(r->auth_attrs);
	verdict_fini(&r->said);
	report_fini(&r->report);
	free(r);
}

void
reception_is(struct reception *r, uint64_t session_id)
{
	r->sid = session_id;
}

void
reception_end_all(struct generation *g)
{
	struct smtp_server *server = g->w->smtp;
	struct reception *r;
	uint64_t *sids;
	size_t n = 0;

	TAILQ_FOREACH(r, &g->sessions, link)
		n++;
	sids = xcalloc(n, sizeof *sids);
	n = 0;
	TAILQ_FOREACH(r, &g->sessions, link)
		sids[n++] = r->sid;
	for (size_t i = 0; server != NULL && i < n; i++)	/* each may end, and g with the last */
		smtp_session_drain(server, sids[i]);
	free(sids);
}

/* ---- Answers ---- */

static void
answer(struct reception *r, const struct smtp_verdict *v)
{
	if (r->now != NULL) {
		*r->now = *v;
		r->answered = true;
		return;
	}
	smtp_session_verdict(r->w->smtp, r->sid, r->ticket, v);
}

static void
go(struct reception *r)
{
	struct smtp_verdict v = { .what = SMTP_GO };

	answer(r, &v);
}

static void
refuse(struct reception *r, enum smtp_do what, int code, const char *status, const char *text,
    const char *why, const char *handler)
{
	static const char *const stages[] = { "connect", "tls", "helo", "auth", "mail", "rcpt", "data", "header",
		"message" };
	static struct log_gate gate = { .kind = "refused" };
	struct smtp_verdict v = { .what = what };
	const struct msg *m = r->msg;

	smtp_reply_set(&v.reply, code, status, "%s", text);
	if (code < 500)
		r->w->stats.deferred++;
	else
		r->w->stats.rejected++;
	atomic_fetch_add(code < 500 ? &r->g->shared->deferred : &r->g->shared->rejected, 1);
	if (log_may(&gate))
		log_info("refused", LOG_ID("session", r->sid), LOG_S("stage", stages[r->stage]),
		    LOG_S("listener", r->l->name), LOG_S("ip", r->ps.info == NULL ? NULL : r->ps.info->peer_ip),
		    m != NULL ? LOG_ID("message", m->id) : LOG_S("message", NULL),
		    LOG_S("from", m == NULL ? NULL : m->from),
		    LOG_S("to", m == NULL || m->nrcpts == 0 || r->stage != SMTP_ASK_RCPT ? NULL :
		        m->rcpts[m->nrcpts - 1].address),
		    LOG_I("code", code), LOG_S("status", status), LOG_S("reply", text), LOG_S("why", why),
		    LOG_S("handler", handler), LOG_B("gen", policy_gen_id(r->g->gen), 12));
	answer(r, &v);
}

static void
refuse_by_policy(struct reception *r, const struct verdict *pv)
{
	bool drop = pv->kind == VERDICT_DROP, temp = drop || pv->kind == VERDICT_DEFER;
	int code = pv->code != 0 ? pv->code : drop ? 421 : temp ? 451 : 550;
	const char *status = pv->status[0] != '\0' ? pv->status : temp ? "4.7.1" : "5.7.1";
	const char *text = pv->text != NULL ? pv->text : temp ? "Try again later" : "Refused by policy";
	char handler[sizeof pv->handler + sizeof pv->where + 2];

	snprintf(handler, sizeof handler, "%s %s", pv->handler, pv->where);
	refuse(r, drop ? SMTP_DROP : SMTP_REFUSE, code, status, text, pv->reason, handler);
}

/* ---- Policy ---- */

static void take_verdict(struct reception *r, struct verdict *v);

static void
policy_later(void *owner, uint64_t ticket, struct verdict *v)
{
	struct reception *r = owner;

	r->policy_ticket = 0;
	take_verdict(r, v);
}

static void
ask_policy(struct reception *r, enum policy_hook hook)
{
	struct verdict v = { 0 };

	if (policy_gen_has(r->g->gen, hook)) {
		r->subject.session = &r->ps;
		r->subject.msg = r->msg;
		r->subject.may_edit = true;
		if (policy_call(r->w->policy, r->g->gen, hook, &r->subject, &v, policy_later, r,
		    &r->policy_ticket) == POLICY_LATER)
			return;
		r->policy_ticket = 0;
	}
	take_verdict(r, &v);
	verdict_fini(&v);
}

/* ---- Recipients ---- */

static bool
is_client(const struct reception *r)
{
	for (size_t i = 0; i < r->l->nclients; i++)
		if (net_cidr_has(&r->l->clients[i], &r->peer))
			return true;
	return false;
}

static const char *
relay_of(const struct reception *r, const struct msg_rcpt *rcpt)
{
	const struct conf_domain *d = rcpt->domain[0] == '\0' ? NULL : conf_domain(r->conf, rcpt->domain);

	/* <postmaster> is always ours (RFC 5321 4.5.1). */
	if (rcpt->domain[0] == '\0' || (d != NULL && d->local))
		return "local";
	if (r->l->role == ROLE_RELAY && (is_client(r) || r->auth_id != NULL))
		return "allowed";
	return "denied";
}

static void
set_direction(struct reception *r, struct msg *m, const char *relay)
{
	if (r->l->role == ROLE_MX)
		m->direction = DIR_INBOUND;
	else if (m->nrcpts == 1)
		m->direction = strcmp(relay, "local") == 0 ? DIR_INTERNAL : DIR_OUTBOUND;
	else if (strcmp(relay, "local") != 0)
		m->direction = DIR_OUTBOUND;
}

static void
ask_rcpt(struct reception *r)
{
	struct msg_rcpt *rcpt = &r->msg->rcpts[r->msg->nrcpts - 1];
	const char *relay = relay_of(r, rcpt);

	set_direction(r, r->msg, relay);
	r->may_relay = strcmp(relay, "denied") != 0;
	r->subject = (struct policy_subject){ .rcpt = (int)r->msg->nrcpts - 1, .relay = relay,
		.rcpt_state = "new" };
	ask_policy(r, HOOK_RCPT);
}

static void
take_rcpt(struct reception *r, const struct verdict *v)
{
	struct msg_rcpt *rcpt = &r->msg->rcpts[r->msg->nrcpts - 1];

	if (v->kind == VERDICT_ACCEPT && v->relay) {
		log_info("relay allowed by policy", LOG_ID("session", r->sid), LOG_ID("message", r->msg->id),
		    LOG_S("to", rcpt->address), LOG_S("reason", v->reason), LOG_S("handler", v->handler),
		    LOG_B("gen", policy_gen_id(r->g->gen), 12));
		r->may_relay = true;
	}
	if (!r->may_relay && r->l->role == ROLE_RELAY && r->l->nauth > 0 && r->auth_id == NULL) {
		refuse(r, SMTP_REFUSE, 530, "5.7.0", "Authentication required", "relay", NULL);
		return;
	}
	if (!r->may_relay) {
		refuse(r, SMTP_REFUSE, 550, "5.7.1", "Relaying denied", "relay", NULL);
		return;
	}
	if (v->kind == VERDICT_DISCARD) {
		rcpt->discarded = true;
		free(rcpt->discard_reason);
		rcpt->discard_reason = xasprintf("%s (%s)", v->reason == NULL ? "policy" : v->reason, v->handler);
	}
	go(r);
}

/* ---- The way of a message ---- */

static void
read_tls_required(struct reception *r)
{
	struct msg *m = r->msg;
	struct header h;

	m->tls_no = TLS_NO_ABSENT;
	if (!header_parse(&h, r->header))
		return;
	m->tls_no = header_tls_required(&h, (const char *const *)r->conf->tls.no_names);
	header_fini(&h);
	if (m->tls_no == TLS_NO_ABSENT)
		return;
	/* the option has precedence over the header. */
	if (m->flags & MSG_REQUIRETLS)
		m->tls_no = TLS_NO_OVERRIDDEN;
	else if (m->tls_no == TLS_NO_HONOURED && !r->conf->tls.honour_no)
		m->tls_no = TLS_NO_IGNORED;
}

/* TLS-Required is known here already; what it comes to is read again with the whole message. */
static void
ask_header(struct reception *r, struct slice header)
{
	struct header h;

	r->header = header;
	r->wants_body = false;
	if (policy_gen_has(r->g->gen, HOOK_BOUNCE_IN) && header_parse(&h, header)) {
		r->wants_body = report_is_announced(&h);
		header_fini(&h);
	}
	read_tls_required(r);
	r->subject = (struct policy_subject){ .rcpt = -1, .header = header, .rcpt_state = "new" };
	ask_policy(r, HOOK_HEADER);
}

static void
ask_message(struct reception *r)
{
	struct msg *m = r->msg;
	const struct content *c = m->content;

	if (m->flags & MSG_REQUIRETLS)
		duties_join(&m->duties, duties_of(DUTY_ALL, DUTY_BY_SENDER));
	r->header = (struct slice){ c->mem != NULL ? c->mem : c->head, (size_t)m->header_size };
	if (r->header.p == NULL)
		r->header = (struct slice){ "", 0 };
	read_tls_required(r);
	r->subject = (struct policy_subject){ .rcpt = -1, .header = r->header, .content = c,
		.rcpt_state = "new" };
	ask_policy(r, HOOK_MESSAGE);
}

static void
log_accepted(const struct arrival *a)
{
	static const char *const no[] = { NULL, "honoured", "ignored", "overridden", "malformed" };
	const struct msg *m = a->req.msg;
	char duties[200];

	duties_format(duties, sizeof duties, m->duties);
	const struct log_kv kv[] = { LOG_ID("message", m->id), LOG_ID("session", m->session),
	    LOG_S("listener", m->listener), LOG_S("ip", m->peer_ip), LOG_S("from", m->from),
	    LOG_S("to", m->nrcpts == 0 ? NULL : m->rcpts[0].address), LOG_U("recipients", m->nrcpts),
	    LOG_U("size", m->content_size), LOG_S("tls", m->tls_in),
	    LOG_S("requiretls", m->flags & MSG_REQUIRETLS ? "yes" : NULL),
	    LOG_S("tls_required_no", no[m->tls_no]), LOG_S("duties", m->duties == 0 ? NULL : duties),
	    LOG_S("by", m->duty_note), LOG_B("gen", m->generation, strlen(m->generation) < 12 ? strlen(m->generation) : 12), { .key = NULL } };

	log_write(LOG_LEVEL_INFO, "message accepted", kv);
	events_emit(a->w->policy, a->g->gen, "message accepted", kv);
}

static void
arrival_done(void *reader, struct mail *mail)
{
	struct arrival *a = (struct arrival *)mail;
	struct worker *w = a->w;
	struct smtp_verdict v = { .what = SMTP_GO };

	switch (a->req.status) {
	case STORE_OK:
		failpoint("after-commit-before-250");
		log_accepted(a);
		w->stats.accepted++;
		atomic_fetch_add(&a->g->shared->accepted, 1);
		w->stats.bytes += a->req.msg->content_size;
		break;
	case STORE_FULL:
		v.what = SMTP_REFUSE;
		smtp_reply_set(&v.reply, 452, "4.3.1", "Insufficient system storage");
		break;
	case STORE_CLOSED:
		v.what = SMTP_DROP;
		smtp_reply_set(&v.reply, 421, "4.3.2", "Shutting down");
		break;
	default:
		v.what = SMTP_REFUSE;
		smtp_reply_set(&v.reply, 451, "4.3.0", "Queue trouble, try again later");
		break;
	}
	if (a->req.status != STORE_OK)
		log_error("message not stored", LOG_ID("message", a->req.msg->id), LOG_ID("session", a->sid),
		    LOG_S("why", a->req.text));
	if (w->smtp != NULL)
		smtp_session_verdict(w->smtp, a->sid, a->ticket, &v);
	if (a->req.status == STORE_OK)
		worker_dispatch(w, &a->req);
	generation_unref(a->g);
	store_submit_free(&a->req);
}

/* After all that a policy could say about recipients, old and new. */
static void
join_invariants(struct reception *r)
{
	struct msg *m = r->msg;
	char part[40];

	for (size_t i = 0; i < m->nrcpts; i++) {
		size_t k = conf_invariant(r->conf, m->rcpts[i].domain);

		if (k >= r->conf->ninvariants)
			continue;
		duties_join(&m->rcpts[i].duties, conf_invariant_duties(r->conf, m->rcpts[i].domain));
		snprintf(part, sizeof part, "invariants[%zu]", k + 1);
		msg_note_duty(m, part);
	}
}

static void
routed(void *owner, const struct verdict *failed)
{
	struct reception *r = owner;
	struct arrival *a;
	bool all_bounce = r->msg->nrcpts > 0;

	if (failed != NULL) {
		refuse_by_policy(r, failed);
		return;
	}
	join_invariants(r);
	/* A policy's tag is a tag: it goes out as REQUIRETLS and comes back protected. */
	for (size_t i = 0; i < r->msg->nrcpts; i++)
		if (duties_bits(r->msg->duties | r->msg->rcpts[i].duties) & DUTY_PROPAGATE)
			r->msg->flags |= MSG_REQUIRETLS;
	for (size_t i = 0; i < r->msg->nrcpts; i++)
		all_bounce = all_bounce && r->msg->rcpts[i].bounce_reason != NULL;
	if (all_bounce) {	/* said here and now, it needs no notice (M-190) */
		const char *text = strchr(r->msg->rcpts[0].bounce_reason, ' ');
		char status[10];

		snprintf(status, sizeof status, "%.*s", (int)strcspn(r->msg->rcpts[0].bounce_reason, " "),
		    r->msg->rcpts[0].bounce_reason);
		refuse(r, SMTP_REFUSE, 550, status, text == NULL ? "Refused by policy" : text + 1, "route", NULL);
		return;
	}
	a = xcalloc(1, sizeof *a);
	a->w = r->w;
	a->g = generation_ref(r->g);
	a->sid = r->sid;
	a->ticket = r->ticket;
	a->req.mail.run = arrival_done;
	a->req.mail.reply_to = r->w->mb;
	a->req.msg = msg_ref(r->msg);
	store_submit(r->w->store, &a->req);
}

static void
take_message(struct reception *r, const struct verdict *v)
{
	struct msg *m = r->msg;

	for (size_t i = 0; i < m->nrcpts; i++) {
		struct msg_rcpt *rcpt = &m->rcpts[i];

		if (v->kind == VERDICT_HOLD) {
			rcpt->held = true;
			free(rcpt->hold_reason);
			rcpt->hold_reason = xasprintf("%s (%s)", v->reason == NULL ? "policy" : v->reason, v->handler);
			rcpt->hold_expires_ms = v->expires_ms;
		} else if (v->kind == VERDICT_DISCARD) {
			rcpt->discarded = true;
			free(rcpt->discard_reason);
			rcpt->discard_reason = xasprintf("%s (%s)", v->reason == NULL ? "policy" : v->reason, v->handler);
		}
	}
	routing_start(r->w->policy, r->g->gen, m, r->header, &r->ps, routed, r, &r->routing);
}

/* ---- Reports ---- */

/* A report that came in is asked about once more, when `message` had nothing against it. */
static bool
ask_bounce(struct reception *r, struct verdict *v)
{
	const struct content *c = r->msg->content;
	struct header h;
	bool is_report;

	if (!policy_gen_has(r->g->gen, HOOK_BOUNCE_IN) || !header_parse(&h, r->header))
		return false;
	is_report = report_parse(&r->report, &h, content_body_peek(c, SIZE_MAX), c->mem != NULL);
	header_fini(&h);
	if (!is_report)
		return false;
	verdict_move(&r->said, v);
	r->in_bounce = true;
	r->subject = (struct policy_subject){ .rcpt = -1, .header = r->header, .content = c,
		.rcpt_state = "new", .report = &r->report };
	ask_policy(r, HOOK_BOUNCE_IN);
	return true;
}

static void
end_bounce(struct reception *r)
{
	r->in_bounce = false;
	report_fini(&r->report);
}

/* Of the two verdicts the more restrictive one (accept, discard, hold). */
static void
take_bounce(struct reception *r, struct verdict *v)
{
	struct verdict said;

	verdict_move(&said, &r->said);
	take_message(r, v->kind > said.kind ? v : &said);
	verdict_fini(&said);
}

/* ---- Logins ---- */

static void
forget_login(struct reception *r)
{
	free(r->auth_id);
	free(r->auth_attrs);
	r->auth_id = r->auth_attrs = NULL;
	r->ps.auth_attrs = NULL;
}

void
reception_assume_login(struct reception *r, uint64_t sid, const char *id, const char *attrs)
{
	forget_login(r);
	r->auth_id = xstrdup(id);
	r->auth_attrs = xstrdup(attrs);
	r->ps.auth_attrs = r->auth_attrs;
	smtp_session_assume_login(r->w->smtp, sid, id);
}

/* What gw.reject and gw.defer say when they are not told otherwise means something else here (RFC 4954
 * 6). */
static void
refuse_login(struct reception *r, struct verdict *v)
{
	bool temp = v->kind == VERDICT_DEFER;

	if (v->code == (temp ? 451 : 550))
		v->code = temp ? 454 : 535;
	if (strcmp(v->status, temp ? "4.7.1" : "5.7.1") == 0)
		snprintf(v->status, sizeof v->status, "%s", temp ? "4.7.0" : "5.7.8");
	refuse_by_policy(r, v);
}

static void
take_auth(struct reception *r, struct verdict *v)
{
	struct smtp_verdict sv = { .what = SMTP_GO };

	if (v->kind == VERDICT_REJECT || v->kind == VERDICT_DEFER) {
		refuse_login(r, v);
		return;
	}
	if (v->kind != VERDICT_IDENTITY) {	/* there is nobody else to ask */
		refuse(r, SMTP_REFUSE, 535, "5.7.8", "Authentication credentials invalid", "auth", NULL);
		return;
	}
	forget_login(r);
	r->auth_id = v->identity;
	r->auth_attrs = v->attrs;
	v->identity = v->attrs = NULL;
	r->ps.auth_attrs = r->auth_attrs;
	log_info("authenticated", LOG_ID("session", r->sid), LOG_S("listener", r->l->name),
	    LOG_S("ip", r->ps.info->peer_ip), LOG_S("mech", r->subject.cred->mech), LOG_S("id", r->auth_id),
	    LOG_S("reason", v->reason), LOG_S("handler", v->handler), LOG_B("gen", policy_gen_id(r->g->gen), 12));
	sv.auth_id = r->auth_id;
	answer(r, &sv);
}

/* ---- Stages ---- */

static void
take_verdict(struct reception *r, struct verdict *v)
{
	bool was_bounce = r->in_bounce;

	end_bounce(r);
	if (r->stage == SMTP_ASK_AUTH) {
		take_auth(r, v);
		return;
	}
	if (v->kind == VERDICT_REJECT || v->kind == VERDICT_DEFER || v->kind == VERDICT_DROP) {
		verdict_fini(&r->said);
		refuse_by_policy(r, v);
		return;
	}
	switch (r->stage) {
	case SMTP_ASK_RCPT:
		take_rcpt(r, v);
		return;
	case SMTP_ASK_MESSAGE:
		if (was_bounce)
			take_bounce(r, v);
		else if (!ask_bounce(r, v))
			take_message(r, v);
		return;
	case SMTP_ASK_HELO: {
		struct smtp_verdict sv = { .what = SMTP_GO, .hide_ext = v->kind == VERDICT_CAPS ? v->hide_ext : 0 };

		if (sv.hide_ext & SMTP_EXT_STARTTLS && !r->g->said_selective) {
			r->g->said_selective = true;	/* D-55 */
			log_warn("a policy hides STARTTLS from some clients", LOG_S("handler", v->handler));
		}
		answer(r, &sv);
		return;
	}
	case SMTP_ASK_DATA: {
		struct smtp_verdict sv = { .what = SMTP_GO, .wants_header = policy_gen_has(r->g->gen, HOOK_HEADER) ||
		    policy_gen_has(r->g->gen, HOOK_BOUNCE_IN), .wants_parts = policy_gen_wants_parts(r->g->gen) };

		answer(r, &sv);
		return;
	}
	case SMTP_ASK_HEADER: {
		struct smtp_verdict sv = { .what = SMTP_GO, .wants_body = r->subject.wants_body || r->wants_body };

		answer(r, &sv);
		return;
	}
	default:
		go(r);
	}
}

static void
ask_connect(struct reception *r)
{
	if (store_may_accept(r->w->store, 0) == STORE_IO) {
		refuse(r, SMTP_DROP, 421, "4.3.0", "Queue trouble, try again later", "storage", NULL);
		return;
	}
	if (r->l->has_clients && r->l->role != ROLE_RELAY && !is_client(r)) {
		refuse(r, SMTP_REFUSE, 554, "5.7.1", "No service for your address", "clients", NULL);
		return;
	}
	ask_policy(r, HOOK_CONNECT);
}

static void
ask_mail(struct reception *r, uint64_t announced)
{
	struct msg *m = r->msg;

	m->generation = xstrdup(policy_gen_id(r->g->gen));
	/* What comes back from a content filter must bring the token it was given; this version gives
	 * none out, so nothing can bring one (policy design 5.9). */
	if (r->l->role == ROLE_REINJECT) {
		refuse(r, SMTP_REFUSE, 550, "5.7.1", "This listener takes back only what this gateway handed out",
		    "reinject", NULL);
		return;
	}
	if (memory_level(r->w->memory) == MEMORY_HARD) {
		refuse(r, SMTP_REFUSE, 452, "4.3.1", "Not enough memory, try again later", "memory", NULL);
		return;
	}
	switch (store_may_accept(r->w->store, announced)) {
	case STORE_OK:
		break;
	case STORE_FULL:
		refuse(r, SMTP_REFUSE, 452, "4.3.1", "Insufficient system storage", "storage", NULL);
		return;
	default:
		refuse(r, SMTP_DROP, 421, "4.3.0", "Queue trouble, try again later", "storage", NULL);
		return;
	}
	if (m->flags & MSG_REQUIRETLS) {
		duties_join(&m->duties, duties_of(DUTY_ALL, DUTY_BY_SENDER));
		m->duty_note = xstrdup("sender REQUIRETLS");
	}
	ask_policy(r, HOOK_MAIL);
}

static enum smtp_ask
ask(void *owner, uint64_t session_id, uint32_t ticket, const struct smtp_question *q,
    struct smtp_verdict *v)
{
	struct reception *r = owner;

	r->sid = session_id;
	r->ticket = ticket;
	r->stage = q->stage;
	r->msg = q->msg;
	r->ps.info = q->info;
	r->now = v;
	r->answered = false;
	r->subject = (struct policy_subject){ .rcpt = -1 };
	switch (q->stage) {
	case SMTP_ASK_CONNECT:
		r->w->stats.sessions++;
		ask_connect(r);
		break;
	case SMTP_ASK_TLS:
		policy_session_end(r->g->gen, &r->vars);	/* nothing said in clear stays */
		forget_login(r);
		ask_policy(r, HOOK_TLS);
		break;
	case SMTP_ASK_HELO:
		free(r->helo);
		r->helo = slice_dup(q->helo);
		r->subject.name = r->helo;
		ask_policy(r, HOOK_HELO);
		break;
	case SMTP_ASK_AUTH:
		r->subject.cred = q->cred;
		ask_policy(r, HOOK_AUTH);
		break;
	case SMTP_ASK_MAIL:
		ask_mail(r, q->msg->content_size);
		break;
	case SMTP_ASK_RCPT:
		ask_rcpt(r);
		break;
	case SMTP_ASK_DATA:
		ask_policy(r, HOOK_DATA);
		break;
	case SMTP_ASK_HEADER:
		ask_header(r, q->header);
		break;
	case SMTP_ASK_MESSAGE:
		ask_message(r);
		break;
	}
	r->now = NULL;
	return r->answered ? SMTP_NOW : SMTP_LATER;
}

static void
cancelled(void *owner, uint64_t session_id, uint32_t ticket)
{
	struct reception *r = owner;

	policy_cancel(r->w->policy, r->policy_ticket);
	r->policy_ticket = 0;
	end_bounce(r);
	verdict_fini(&r->said);
	routing_cancel(r->routing);
	r->routing = NULL;
}

static void
reset(void *owner, uint64_t session_id)
{
	struct reception *r = owner;

	r->msg = NULL;
}

static void
closed(void *owner, uint64_t session_id, const char *why)
{
	struct reception *r = owner;
	struct verdict v = { 0 };
	uint64_t ticket = 0;

	if (policy_gen_has(r->g->gen, HOOK_DISCONNECT) && r->ps.info != NULL) {
		r->subject = (struct policy_subject){ .session = &r->ps, .rcpt = -1 };
		/* Nobody is there to wait for: what would wait is ended. */
		if (policy_call(r->w->policy, r->g->gen, HOOK_DISCONNECT, &r->subject, &v, policy_later, r,
		    &ticket) == POLICY_LATER)
			policy_cancel(r->w->policy, ticket);
		verdict_fini(&v);
	}
	policy_journal_session_end(r->w->policy, r->sid);
	free(r->helo);
	reception_free(r);
}

const struct smtp_session_ops reception_ops = { ask, cancelled, reset, closed };
