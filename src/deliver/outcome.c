/* From outcomes to what happens: the result hook, the retry schedule and the queue's age limit,
 * evidence, log lines, notices, and one request to the store with all of it (I4). */
#include "config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "deliver/deliver_int.h"
#include "deliver/events.h"

#define RETRY_MIN_MS 1000	/* what a policy asks for when it says at once */

void
outcome_clear(struct outcome *o)
{
	free(o->reply);
	free(o->text);
	route_free(o->route);
	free(o->hold_reason);
	free(o->by);
	free(o->why);
	memset(o, 0, sizeof *o);
}

void
outcome_set(struct outcome *o, enum outcome_kind kind, int code, const char *status,
    const char *stage, const char *reason, const char *text)
{
	outcome_clear(o);
	o->kind = kind;
	o->code = code;
	snprintf(o->status, sizeof o->status, "%s", status == NULL ? "" : status);
	o->stage = stage;
	o->reason = reason;
	o->text = xstrdup(text);
	o->after_ms = -1;
}

void
outcome_verdict(struct outcome *o, struct verdict *v, const char *stage)
{
	const char *text = v->text != NULL ? v->text : v->reason;
	const char *status = v->status;

	switch (v->kind) {
	case VERDICT_BOUNCE:
	case VERDICT_FAIL:
		outcome_set(o, OUT_FAILED, 0, status[0] == '5' ? status : "5.7.1", stage, "policy", text);
		break;
	case VERDICT_HOLD:
		outcome_set(o, OUT_HELD, 0, "4.7.1", stage, "policy", text);
		o->hold_reason = xstrdup(v->reason == NULL ? "policy" : v->reason);
		o->hold_until_ms = v->expires_ms;
		break;
	case VERDICT_REROUTE:
		outcome_set(o, OUT_REROUTED, 0, "2.0.0", stage, "policy", text);
		o->route = route_copy(v->route);
		break;
	default:
		outcome_set(o, OUT_DEFERRED, 0, status[0] == '4' ? status : "4.7.1", stage,
		    v->is_error ? "policy-error" : "policy", text);
		o->after_ms = v->after_ms;
		o->uncounted = v->is_error;
		break;
	}
	o->by = xasprintf("%s %s", v->handler, v->where);
	o->why = xstrdup(v->reason);
}

/* ---- The schedule ---- */

/* The k-th retry comes after retry[k-1], the last interval for ever after, each ten per cent more
 * or less so that what failed together does not come back together. */
static int64_t
retry_after(const struct conf *c, unsigned attempts)
{
	size_t k = attempts == 0 ? 0 : attempts - 1;
	int64_t ms;

	if (c->queue.nretry == 0)
		return 1800000;
	ms = c->queue.retry_ms[k < c->queue.nretry ? k : c->queue.nretry - 1];
	return ms - ms / 10 + (int64_t)(rand_below((uint32_t)(ms / 5 < UINT32_MAX ? ms / 5 + 1 : UINT32_MAX)));
}

static int64_t
expiry_ms(const struct attempt *a)
{
	int64_t age = a->msg->flags & MSG_NOTICE ? a->conf->queue.notice_max_age_ms :
	    a->conf->queue.max_age_ms;

	return a->msg->received_ms + age;
}

static int64_t
next_attempt(const struct attempt *a, const struct item_rcpt *r)
{
	int64_t now = clock_wall_ms(), end = expiry_ms(a), next;

	if (r->out.after_ms >= 0)
		next = now + r->out.after_ms;
	else
		next = now + retry_after(a->conf, r->attempts + (r->out.uncounted ? 0 : 1));
	/* One last try when time is up rather than none. */
	return next > end && now < end ? end : next;
}

static void
expire(struct attempt *a)
{
	int64_t now = clock_wall_ms();

	if (now < expiry_ms(a))
		return;
	for (size_t i = 0; i < a->item->n; i++) {
		struct outcome *o = &a->item->rcpts[i].out;

		if (o->uncounted && o->after_ms == 0)	/* goes on at once: this was not its last try */
			continue;
		if (o->kind == OUT_DEFERRED || o->kind == OUT_REROUTED)
			o->kind = OUT_EXPIRED;
	}
}

/* ---- Evidence and log ---- */

static const char *
kind_name(const struct outcome *o)
{
	static const char *const names[] = { "none", "delivered", "deferred", "failed", "expired", "held",
		"rerouted" };

	return names[o->kind];
}

/* The message's own note, and what the configuration and its policies ask for on this way. */
static char *
who_asked(const struct attempt *a)
{
	const struct prep *p = a->prep;
	struct buf b;

	buf_init(&b, 4096);
	if (a->msg->duty_note != NULL)
		buf_adds(&b, a->msg->duty_note);
	if (attempt_invariants(a) != 0 && (a->msg->duty_note == NULL || strstr(a->msg->duty_note, "invariants[") == NULL))
		buf_printf(&b, "%sinvariants", b.len > 0 ? ";" : "");
	if (p != NULL && p->route->tls != TLS_MAY)
		buf_printf(&b, "%sroute %s tls=%s", b.len > 0 ? ";" : "", p->route->name, tls_level_name(p->route->tls));
	if (p != NULL && p->policy_by != NULL)
		buf_printf(&b, "%s%s", b.len > 0 ? ";" : "", p->policy_by);
	if (a->hop_asked_by[0] != '\0')
		buf_printf(&b, "%s%s", b.len > 0 ? ";" : "", a->hop_asked_by);
	if (b.len > 0)
		return buf_take(&b);
	buf_fini(&b);
	return NULL;
}

static char *
make_evidence(struct attempt *a, struct item_rcpt *r)
{
	const struct msg_rcpt *mr = &a->msg->rcpts[r->idx];
	const struct hop_record *hr = r->out.stage != NULL && strcmp(r->out.stage, "dns") != 0 ? a->record : NULL;
	static const char *const no[] = { NULL, "honoured", "ignored", "overridden", "malformed" };
	struct evidence e = { .wall_ms = clock_wall_ms(), .message = a->msg->id, .rcpt_num = mr->num };
	char asserted[64] = "", hosts[2048], *asked_by, *text;

	e.event = kind_name(&r->out);
	e.from = a->msg->from;
	e.rcpt = mr->address;
	e.duties = attempt_duties(a);
	duties_join(&e.duties, mr->duties);
	e.asked_by = asked_by = who_asked(a);
	e.tls_required_no = no[a->msg->tls_no];
	e.domain = mr->domain;
	e.route = a->prep != NULL && a->prep->route->name[0] != '\0' ? a->prep->route->name : mr->route;
	if (hr != NULL) {
		e.mx = mx_trust_name(hr->facts.mx);
		e.tlsa = hr->tlsa;
		if (a->hosts != NULL && (a->hosts->sts != NULL || a->hosts->sts_mode != STS_NONE))
			e.sts_mode = sts_mode_name(hr->facts.sts);
		if (a->hosts != NULL && a->hosts->sts != NULL)
			e.sts_id = a->hosts->sts->id;
		e.host = hr->host;
		e.ip = hr->ip[0] == '\0' ? NULL : hr->ip;
		e.port = hr->port;
		e.tls_version = hr->version;
		e.tls_cipher = hr->cipher;
		e.tls_group = hr->group;
		e.cert_sha256 = hr->cert;
		e.spki_sha256 = hr->spki;
		e.verified = hr->version == NULL ? NULL : peer_verified_name(hr->facts.verified);
		e.verify_error = hr->facts.verified == PEER_UNVERIFIED ? hr->verify_error : NULL;
		e.requiretls_listed = hr->facts.lists_requiretls;
		e.requiretls_sent = hr->requiretls_sent;
		e.auth = hr->login;
		e.row = hr->row;
	}
	if (a->prep != NULL && (a->prep->route->assert_secure_lookup || a->prep->route->assert_propagate)) {
		snprintf(asserted, sizeof asserted, "%s%s%s",
		    a->prep->route->assert_secure_lookup ? "secure_lookup" : "",
		    a->prep->route->assert_secure_lookup && a->prep->route->assert_propagate ? "," : "",
		    a->prep->route->assert_propagate ? "propagate" : "");
		e.asserted = asserted;
	}
	e.relaxed = a->grant;
	e.verdict = r->out.kind == OUT_DELIVERED ? "send" : "bounce";
	e.reason = r->out.reason;
	e.reply_code = r->out.code;
	e.reply_status = r->out.status;
	e.reply_text = r->out.reply;
	e.text = r->out.reply != NULL ? NULL : r->out.text;
	if (a->seen.len > 0) {
		snprintf(hosts, sizeof hosts, "%.*s", (int)a->seen.len, buf_peek(&a->seen));
		e.hosts = hosts;
	}
	e.attempts = r->attempts + 1;
	e.generation = policy_gen_id(a->gen);
	e.by = r->out.by;
	e.why = r->out.why;
	text = evidence_text(&e);
	free(asked_by);
	return text;
}

static void
log_outcome(struct attempt *a, struct item_rcpt *r)
{
	const struct hop_record *hr = a->record;
	const struct outcome *o = &r->out;
	bool sent = o->kind == OUT_DELIVERED;
	char phrase[32];

	snprintf(phrase, sizeof phrase, "message %s", kind_name(o));
	const struct log_kv kv[] = { LOG_ID("message", a->msg->id),
	    a->msg->session != 0 ? LOG_ID("session", a->msg->session) : LOG_S("session", NULL),
	    LOG_S("from", a->msg->from), LOG_S("to", a->msg->rcpts[r->idx].address),
	    LOG_S("route", a->prep == NULL ? NULL : a->prep->route->name),
	    LOG_S("host", hr == NULL ? NULL : hr->host), LOG_S("ip", hr == NULL || hr->ip[0] == '\0' ? NULL : hr->ip),
	    LOG_S("tls", !sent || hr == NULL ? NULL : hr->version == NULL ? "none" : hr->version),
	    LOG_S("verified", !sent || hr == NULL ? NULL : peer_verified_name(hr->facts.verified)),
	    LOG_S("mx", !sent || hr == NULL ? NULL : mx_trust_name(hr->facts.mx)),
	    LOG_S("requiretls", sent && hr != NULL && hr->requiretls_sent ? "sent" : NULL),
	    LOG_S("auth", hr == NULL ? NULL : hr->login),
	    LOG_S("relaxed", a->grant), LOG_S("stage", o->stage), LOG_S("reason", o->reason),
	    LOG_S("status", o->status), LOG_S("reply", o->reply != NULL ? o->reply : o->text),
	    LOG_S("handler", o->by), LOG_U("attempts", r->attempts + 1),
	    LOG_B("gen", policy_gen_id(a->gen), 12), { .key = NULL } };

	log_write(LOG_LEVEL_INFO, phrase, kv);
	events_emit(a->d->env.policy, a->gen, phrase, kv);
}

static char *
last_json(const struct outcome *o)
{
	char text[512], reply[512];
	json_t *j;
	char *s;

	text_escape(text, sizeof text, o->text == NULL ? "" : o->text, o->text == NULL ? 0 : strlen(o->text), true);
	text_escape(reply, sizeof reply, o->reply == NULL ? "" : o->reply, o->reply == NULL ? 0 : strlen(o->reply), true);
	j = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:s}", "kind", kind_name(o), "code", o->code,
	    "status", o->status, "stage", o->stage == NULL ? "" : o->stage, "reason",
	    o->reason == NULL ? "" : o->reason, "text", text, "reply", reply);
	s = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	return s;
}

/* ---- To the store ---- */

static void
stored(void *reader, struct mail *m)
{
	struct finished *f = (struct finished *)m;
	struct deliver *d = f->d;
	bool alive;

	if (f->req.status == STORE_BAD && f->req.nnotices > 0 && !d->freed) {
		/* It is a notice that makes no sense: better none than a recipient in limbo. */
		log_error("notice not stored", LOG_ID("message", f->req.message), LOG_S("why", f->req.text));
		for (size_t i = 0; i < f->req.nnotices; i++)
			store_submit_fini(&f->req.notices[i]);
		f->req.nnotices = 0;
		store_result(d->env.store, &f->req);
		return;
	}
	if (f->recalled) {
		LIST_REMOVE(f, link);
		d->nrecalled--;
	}
	if (f->req.status != STORE_OK)
		log_error("result not stored", LOG_ID("message", f->req.message), LOG_S("why", f->req.text));
	/* Without d the daemon is ending: what was queued is found again at the next start. */
	alive = deliver_release(d);
	if (alive)
		dest_result_saved(f->dest);
	for (size_t i = 0; alive && f->req.status == STORE_OK && i < f->req.nnotices; i++)
		d->env.dispatch(d->env.owner, &f->req.notices[i]);
	store_result_free(&f->req);	/* and f, whose first member it is */
}

static void
make_change(struct attempt *a, struct item_rcpt *r, struct store_rcpt_change *c)
{
	struct outcome *o = &r->out;
	const struct msg_rcpt *mr = &a->msg->rcpts[r->idx];

	c->num = mr->num;
	c->lease = r->lease;
	c->attempts = r->attempts + (o->uncounted ? 0 : 1);
	c->first_attempt_ms = r->first_attempt_ms != 0 ? r->first_attempt_ms : clock_wall_ms();
	c->delay_notified = r->delay_notified;
	c->duties = 0;
	switch (o->kind) {
	case OUT_DELIVERED:
	case OUT_FAILED:
	case OUT_EXPIRED:
		c->what = CHANGE_DONE;
		c->evidence = make_evidence(a, r);
		break;
	case OUT_HELD:
		c->what = CHANGE_HOLD;
		c->next_ms = o->hold_until_ms;
		c->hold_reason = xstrdup(o->hold_reason);
		c->last = last_json(o);
		break;
	case OUT_REROUTED: {
		struct msg_rcpt tmp = { .domain = mr->domain };

		routing_set(&tmp, o->route);
		c->what = CHANGE_ROUTE;
		c->route = tmp.route;
		c->next_hop = tmp.next_hop;
		/* At once the first time; routes that send a message round in circles do so slowly. */
		c->next_ms = clock_wall_ms() + (r->attempts == 0 ? 0 : retry_after(a->conf, r->attempts));
		c->last = last_json(o);
		break;
	}
	default:
		c->what = CHANGE_DEFER;
		c->next_ms = next_attempt(a, r);
		c->last = last_json(o);
		break;
	}
}

static void
count(struct attempt *a)
{
	struct deliver_stats *st = &a->d->stats;

	for (size_t i = 0; i < a->item->n; i++) {
		switch (a->item->rcpts[i].out.kind) {
		case OUT_DELIVERED: st->delivered++; break;
		case OUT_DEFERRED: st->deferred++; break;
		case OUT_FAILED:
		case OUT_EXPIRED: st->failed++; break;
		default: break;
		}
	}
}

static void
post(struct attempt *a, struct msg **list, size_t n)
{
	struct finished *f = xcalloc(1, sizeof *f);

	f->d = a->d;
	f->req.mail.run = stored;
	f->req.mail.reply_to = a->d->env.mb;
	f->req.message = a->msg->id;
	f->req.changes = xcalloc(a->item->n, sizeof *f->req.changes);
	for (size_t i = 0; i < a->item->n; i++) {
		struct item_rcpt *r = &a->item->rcpts[i];

		if (r->out.kind == OUT_NONE || r->withdrawn)
			continue;
		log_outcome(a, r);
		make_change(a, r, &f->req.changes[f->req.n++]);
	}
	f->req.nnotices = n;
	f->req.notices = xcalloc(n, sizeof *f->req.notices);
	for (size_t i = 0; i < n; i++)
		f->req.notices[i].msg = list[i];
	f->req.counts = a->item->counts;
	f->req.ncounts = a->item->ncounts;
	a->item->counts = NULL;
	a->item->ncounts = 0;
	a->d->stats.bounces += n;
	free(list);
	count(a);
	a->posted = true;
	failpoint("deliver-before-result");
	if (f->req.n == 0 && n == 0) {	/* all of them were taken back */
		store_result_free(&f->req);
		return;
	}
	if (a->recalled) {
		f->recalled = f->req.urgent = true;
		LIST_INSERT_HEAD(&a->d->recalled, f, link);
		a->d->nrecalled++;
	}
	deliver_hold(a->d);
	f->dest = a->dest;
	dest_result_posted(a->dest);
	store_result(a->d->env.store, &f->req);
}

static void
with_notices(struct attempt *a, struct msg **list, size_t n)
{
	post(a, list, n);
	attempt_free(a);
}

void
outcome_salvage(struct attempt *a)
{
	bool any = false;

	for (size_t i = 0; i < a->item->n; i++) {
		struct item_rcpt *r = &a->item->rcpts[i];

		/* What failed or waits is found again at the next start, with its hooks and notices. */
		if (r->out.kind != OUT_DELIVERED)
			r->withdrawn = true;
		any = any || r->out.kind == OUT_DELIVERED;
	}
	if (any && !a->posted)
		post(a, NULL, 0);
}

/* ---- The result hook: once for every recipient, on every way out ---- */

static void run_results(struct attempt *a);

/* Success never becomes failure or the reverse; 4yz may become 5yz, and 5yz 4yz once. */
static void
after_result(struct attempt *a, struct verdict *v)
{
	struct item_rcpt *r = &a->item->rcpts[a->result_at++];
	struct outcome *o = &r->out;
	char *reply = o->reply;
	int code = o->code;

	if (o->kind != OUT_DELIVERED) {
		switch (v->kind) {
		case VERDICT_FAIL:
			o->reply = NULL;
			outcome_verdict(o, v, "policy");
			o->reply = reply;
			o->code = code;
			break;
		case VERDICT_RETRY:
			/* Nothing outlives the queue's age limit. */
			if (o->kind == OUT_EXPIRED || clock_wall_ms() >= expiry_ms(a))
				break;
			o->kind = OUT_DEFERRED;
			if (o->status[0] == '5')
				o->status[0] = '4';
			o->after_ms = v->after_ms < 0 ? -1 : v->after_ms < RETRY_MIN_MS ? RETRY_MIN_MS : v->after_ms;
			free(o->by);
			free(o->why);
			o->by = xasprintf("%s %s", v->handler, v->where);
			o->why = xstrdup(v->reason);
			break;
		case VERDICT_HOLD:
		case VERDICT_REROUTE:
			o->reply = NULL;
			outcome_verdict(o, v, "policy");
			o->reply = reply;
			break;
		default:
			break;
		}
	}
	run_results(a);
}

static void
ask_result(struct attempt *a)
{
	struct item_rcpt *r = &a->item->rcpts[a->result_at];
	struct outcome *o = &r->out;

	a->presult = (struct policy_result){
		.kind = kind_name(o), .code = o->code, .status = o->status,
		.text = o->reply != NULL ? o->reply : o->text, .stage = o->stage,
		.attempts = r->attempts + 1,
		.first_attempt_ms = r->first_attempt_ms != 0 ? r->first_attempt_ms : clock_wall_ms(),
		.next_attempt_ms = o->kind == OUT_DEFERRED ? next_attempt(a, r) : 0,
		.hop = a->hosts != NULL && a->host < a->hosts->n && a->hop.host != NULL ? &a->hop : NULL,
		.cause = &o->reason, .ncause = o->reason == NULL ? 0 : 1,
	};
	a->subject = (struct policy_subject){ .rcpt = (int)r->idx, .result = &a->presult,
		.rcpt_state = "active" };
	attempt_ask(a, HOOK_RESULT, after_result);
}

static void
run_results(struct attempt *a)
{
	while (a->result_at < a->item->n && a->item->rcpts[a->result_at].withdrawn)
		a->result_at++;
	if (a->result_at < a->item->n) {
		ask_result(a);
		return;
	}
	notices_start(a, with_notices);
}

void
outcome_finish(struct attempt *a)
{
	expire(a);
	if (policy_gen_has(a->gen, HOOK_RESULT)) {
		/* What the hook may look at of the connection is gone by now. */
		a->hop.tls = NULL;
		a->hop.ip = NULL;
		a->result_at = 0;
		run_results(a);
		return;
	}
	notices_start(a, with_notices);
}
