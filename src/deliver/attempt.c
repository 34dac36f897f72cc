/* An attempt: host after host until one takes the message or none is left.
 *
 *   attempt_host -> (judged from DNS alone) -> attempt hook -> connect
 *     -> attempt_ready -> ehlo hook -> judge -> send_start ... send_done -> attempt_end
 *     -> attempt_lost -> next address | in clear | skip
 *   skip: unmet hook (when a duty was not met) -> next host
 *     -> ... -> attempt_hosts_over (conclude.c) -> attempt_end
 *
 * a host that does not qualify gets QUIT and every remaining one is tried. R-50: nothing is
 * sent to a domain none of whose hosts qualifies. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_int.h"

#define SEEN_MAX 2048u

static void connect_host(struct attempt *a);
static void judge(struct attempt *a, const struct smtp_client_info *info);

/* ---- Outcomes for all ---- */

void
attempt_all(struct attempt *a, enum outcome_kind kind, int code, const char *status,
    const char *stage, const char *reason, const char *text)
{
	for (size_t i = 0; i < a->item->n; i++)
		if (a->item->rcpts[i].out.kind == OUT_NONE && !a->item->rcpts[i].withdrawn)
			outcome_set(&a->item->rcpts[i].out, kind, code, status, stage, reason, text);
}

static bool
all_decided(const struct attempt *a)
{
	for (size_t i = 0; i < a->item->n; i++)
		if (a->item->rcpts[i].out.kind == OUT_NONE && !a->item->rcpts[i].withdrawn)
			return false;
	return true;
}

/* A verdict of a delivery hook that ends the attempt for everybody. */
static void
all_by_verdict(struct attempt *a, struct verdict *v, const char *stage)
{
	for (size_t i = 0; i < a->item->n; i++)
		if (a->item->rcpts[i].out.kind == OUT_NONE && !a->item->rcpts[i].withdrawn)
			outcome_verdict(&a->item->rcpts[i].out, v, stage);
	attempt_end(a);
}

static void
drop_conn(struct attempt *a)
{
	if (a->conn == NULL)
		return;
	a->conn->attempt = NULL;
	conn_quit(a->conn);
	a->conn = NULL;
}

/* ---- What is owed ---- */

/* By the configuration that is active now, whichever it was when the message came or this began. */
duty_mask
attempt_invariants(const struct attempt *a)
{
	const struct conf *c = a->d->env.conf(a->d->env.owner);
	const char *domain = NULL;
	duty_mask m = 0;

	if (c->ninvariants == 0)
		return 0;
	if (a->prep != NULL && a->prep->route->via_mx)
		duties_join(&m, conf_invariant_duties(c, a->dest->next_hop));
	for (size_t i = 0; i < a->item->n; i++) {
		const struct msg_rcpt *r = &a->msg->rcpts[a->item->rcpts[i].idx];

		if (domain != NULL && strcmp(domain, r->domain) == 0)
			continue;
		domain = r->domain;
		duties_join(&m, conf_invariant_duties(c, domain));
	}
	return m;
}

duty_mask
attempt_floor(const struct attempt *a)
{
	duty_mask m = attempt_invariants(a);

	if (a->prep != NULL)
		duties_join(&m, login_duties(a->prep->route));
	return m;
}

duty_mask
attempt_duties(const struct attempt *a)
{
	duty_mask m = a->item->duties;

	if (a->prep != NULL)
		duties_join(&m, a->prep->duties);
	duties_join(&m, a->hop_duties);
	duties_join(&m, attempt_floor(a));
	return m;
}

void
attempt_need(const struct attempt *a, struct trust_need *need)
{
	*need = (struct trust_need){
		.duties = attempt_duties(a),
		.waived = a->msg->tls_no == TLS_NO_HONOURED && !(a->msg->flags & MSG_REQUIRETLS),
		.null_sender = a->msg->from[0] == '\0',
		.own_notice = (a->msg->flags & MSG_NOTICE) != 0,
		.protect = (enum dsn_protect)a->conf->dsn.protect,
		.sts_testing_counts = a->conf->tls.sts_testing_counts,
		/* What a hook asks for after a relax is owed all the same, and what nothing can relax. */
		.relaxed_to = a->relaxed_to == DUTY_RELAX_NONE ? DUTY_RELAX_NONE :
		    a->relaxed_to | a->since_relax | duties_bits(attempt_floor(a)),
		.last_resort = a->last_resort,
	};
}

/* ---- Hooks ---- */

static const struct host *
present(const struct attempt *a)
{
	return &a->hosts->hosts[a->host];
}

/* Bounded whatever the names are: what does not fit is left out, and the verdicts are all counted. */
static void
note_seen(struct attempt *a, const char *word)
{
	if (a->seen.len + strlen(present(a)->name) + strlen(word) + 3 < SEEN_MAX)
		buf_printf(&a->seen, "%s%s=%s", a->seen.len ? " " : "", present(a)->name, word);
}

static const struct mx_addr *next_address(struct attempt *a);

static const char *
address_text(struct attempt *a)
{
	const struct mx_addr *addr = next_address(a);
	struct net_addr na;

	if (addr == NULL)
		return NULL;
	net_addr_set(&na, addr->family, addr->ip, present(a)->port);
	net_addr_ip(&na, a->ip_text);
	return a->ip_text;
}

/* What policies know as the destination: the domain looked up; behind fixed hosts the recipients'
 * domain when they share one, else the host. */
static const char *
destination(const struct attempt *a)
{
	const char *domain = a->msg->rcpts[a->item->rcpts[0].idx].domain;

	if (a->prep->route->via_mx)
		return a->dest->next_hop;
	for (size_t i = 1; i < a->item->n; i++)
		if (strcmp(a->msg->rcpts[a->item->rcpts[i].idx].domain, domain) != 0)
			return present(a)->name;
	return domain;
}

static void
fill_hop(struct attempt *a)
{
	const struct host *h = present(a);
	const struct smtp_client_info *info = a->conn == NULL ? NULL : smtp_client_get_info(a->conn->client);
	struct policy_hop *hop = &a->hop;
	duty_mask added = hop->added;

	*hop = (struct policy_hop){
		.destination = destination(a),
		.route = a->prep->route, .host = h->name, .port = h->port, .preference = h->preference,
		.ip = a->conn == NULL ? address_text(a) : a->conn->ip,
		.attempt = a->item->rcpts[0].attempts + 1,
		.mx = h->mx, .sts = a->facts.sts, .sts_matches = a->facts.sts_matches,
		.sts_max_age = a->hosts->sts == NULL ? 0 : a->hosts->sts->policy.max_age_s,
		.tlsa = a->facts.tlsa, .tlsa_count = (unsigned)dane_count(h->dane),
		.caps = info == NULL ? 0 : info->ext, .tls = info == NULL ? NULL : info->tls,
		.verified = a->facts.verified, .duties = attempt_duties(a),
		.met = a->verdict.owed & ~a->verdict.unmet, .unmet = a->verdict.unmet,
		.relaxed = a->grant, .added = added,
	};
	offers_for_policy(a, h->name, hop);
}

static void
asked_later(void *owner, uint64_t ticket, struct verdict *v)
{
	struct attempt *a = owner;
	void (*next)(struct attempt *, struct verdict *) = a->next;
	uint64_t before = work_begin(a->msg->id);

	a->ticket = 0;
	next(a, v);
	work_end(before);
}

void
attempt_ask(struct attempt *a, enum policy_hook hook, void (*next)(struct attempt *, struct verdict *))
{
	struct verdict v = { 0 };

	if (!policy_gen_has(a->gen, hook)) {
		next(a, &v);
		return;
	}
	a->subject.msg = a->msg;
	a->subject.header = send_header(a);
	a->subject.content = a->content;
	a->next = next;
	if (policy_call(a->d->env.policy, a->gen, hook, &a->subject, &v, asked_later, a, &a->ticket) ==
	    POLICY_LATER)
		return;
	a->ticket = 0;
	next(a, &v);
	verdict_fini(&v);
}

static void
ask_about_hop(struct attempt *a, enum policy_hook hook, void (*next)(struct attempt *, struct verdict *))
{
	if (policy_gen_has(a->gen, hook)) {
		a->hop.added = 0;
		fill_hop(a);
		a->subject = (struct policy_subject){ .rcpt = (int)a->item->rcpts[0].idx, .hop = &a->hop,
			.rcpt_state = "active" };
	}
	attempt_ask(a, hook, next);
}

/* Takes what attempt and ehlo hooks may say. True: go on with this host. */
static bool
take_hop_verdict(struct attempt *a, struct verdict *v, const char *stage)
{
	if (a->hop.added != 0)
		memcpy(a->hop_asked_by, a->hop.added_by, sizeof a->hop_asked_by);
	duties_join(&a->hop_duties, a->hop.added);
	duties_join(&a->all_hop_duties, a->hop.added);
	if (a->relaxed_to != DUTY_RELAX_NONE)
		a->since_relax |= duties_bits(a->hop.added);
	a->hop.added = 0;
	switch (v->kind) {
	case VERDICT_DEFER:
	case VERDICT_HOLD:
	case VERDICT_BOUNCE:
	case VERDICT_REROUTE:
		drop_conn(a);
		all_by_verdict(a, v, stage);
		return false;
	case VERDICT_SKIP_HOST:
		drop_conn(a);
		a->policy_skipped = true;
		note_seen(a, "skipped-by-policy");
		a->host++;
		attempt_host(a);
		return false;
	default:
		return true;
	}
}

/* ---- Skipping a host ---- */

static void
after_audit(struct attempt *a, bool ok)
{
	a->auditing = false;
	if (ok)
		a->relaxed_to = a->relax_pending;	/* from here on, and not before */
	if (!ok) {
		/* No audit row, no relax (policy design 5.6). */
		drop_conn(a);
		attempt_all(a, OUT_DEFERRED, 0, "4.3.0", "policy", "audit-failed",
		    "the relax could not be recorded");
		attempt_end(a);
		return;
	}
	if (a->conn != NULL)
		judge(a, smtp_client_get_info(a->conn->client));
	else
		connect_host(a);
}

struct audit {
	struct store_result req;
	struct deliver *d;
	uint64_t attempt;
};

static void
audit_done(void *reader, struct mail *m)
{
	struct audit *u = (struct audit *)m;
	struct attempt *a = deliver_release(u->d) ? slots_get(&u->d->attempt_ids, u->attempt) : NULL;
	bool ok = u->req.status == STORE_OK;

	store_result_free(&u->req);	/* and u, whose first member it is */
	if (a != NULL)
		after_audit(a, ok);
}

static void
relax(struct attempt *a, struct verdict *v)
{
	struct evidence e = { .wall_ms = clock_wall_ms(), .message = a->msg->id, .event = "relaxed" };
	struct audit *u;
	struct err err;
	unsigned left;

	if (!grant_use(a, v->grant, a->verdict.owed, &left, &err)) {
		log_warn("relax refused", LOG_ID("message", a->msg->id), LOG_S("grant", v->grant),
		    LOG_S("handler", v->handler), LOG_S("why", err.text), LOG_B("gen", policy_gen_id(a->gen), 12));
		drop_conn(a);
		a->host++;
		attempt_host(a);
		return;
	}
	a->relax_pending = left;
	free(a->grant);
	a->grant = xstrdup(v->grant);
	e.rcpt_num = a->msg->rcpts[a->item->rcpts[0].idx].num;
	e.from = a->msg->from;
	e.rcpt = a->msg->rcpts[a->item->rcpts[0].idx].address;
	e.duties = attempt_duties(a);
	e.domain = destination(a);
	e.host = present(a)->name;
	e.relaxed = v->grant;
	e.reason = trust_reason_word(a->verdict.reason);
	e.generation = policy_gen_id(a->gen);
	e.by = v->handler;
	e.why = v->reason;
	u = xcalloc(1, sizeof *u);
	u->d = a->d;
	u->attempt = a->id;
	u->req.mail.run = audit_done;
	u->req.mail.reply_to = a->d->env.mb;
	u->req.message = a->msg->id;
	u->req.audit = evidence_text(&e);
	u->req.urgent = true;
	a->auditing = true;
	deliver_hold(a->d);
	store_result(a->d->env.store, &u->req);
}

static void
after_unmet(struct attempt *a, struct verdict *v)
{
	switch (v->kind) {
	case VERDICT_RELAX:
		relax(a, v);
		return;
	case VERDICT_BOUNCE:
	case VERDICT_DEFER:
	case VERDICT_HOLD:
	case VERDICT_REROUTE:
		drop_conn(a);
		all_by_verdict(a, v, "policy");
		return;
	default:
		drop_conn(a);
		a->host++;
		attempt_host(a);
	}
}

void
attempt_skip(struct attempt *a, const struct trust_verdict *v)
{
	a->verdict = *v;
	if (a->judged)		/* once more, after a relax or a second connection: the newest counts */
		a->nverdicts--;
	MUST(a->nverdicts < a->hosts->n);
	a->verdicts[a->nverdicts++] = *v;
	a->judged = true;
	note_seen(a, trust_reason_word(v->reason));
	/* A connection that was let go after a refused MAIL has left its record behind. */
	if (a->conn != NULL || a->record == NULL || strcmp(a->record->host, present(a)->name) != 0) {
		hop_record_free(a->record);
		a->record = NULL;
	}
	if (a->conn != NULL)
		a->record = hop_record_new(a->conn, smtp_client_get_info(a->conn->client), &a->facts, v);
	else if (a->record == NULL)
		a->record = hop_record_untried(present(a), &a->facts, v->row);
	else
		a->record->row = v->row;
	if (v->unmet != 0 && v->reason != TRUST_UNREACHABLE && a->relaxed_to == DUTY_RELAX_NONE &&
	    !attempt_has_last_resort(a)) {
		ask_about_hop(a, HOOK_UNMET, after_unmet);
		return;
	}
	drop_conn(a);
	a->host++;
	attempt_host(a);
}

/* ---- One host ---- */

void
attempt_remember(struct attempt *a, int code, const char *status, const char *text, bool is_reply)
{
	a->last_code = code;
	snprintf(a->last_status, sizeof a->last_status, "%s", status == NULL ? "" : status);
	free(a->last_reply);
	free(a->last_text);
	a->last_reply = is_reply ? xstrdup(text) : NULL;
	a->last_text = is_reply ? NULL : xstrdup(text);
}

static bool
is_handshake(enum hop_stage stage)
{
	return stage == HOP_HANDSHAKE_FAILED || stage == HOP_HANDSHAKE_TIMEOUT;
}

static void
stage_failed(struct attempt *a, enum hop_stage stage)
{
	struct trust_need need;
	struct trust_verdict v;

	a->facts.stage = stage;
	attempt_need(a, &need);
	trust_decide(&need, &a->facts, &v);
	if (!a->clear && !a->prep->route->implicit_tls && (v.action == TRUST_CLEAR ||
	    (v.action == TRUST_SEND && stage == HOP_STARTTLS_TEMPFAIL))) {
		/* The connection is gone after a failed handshake, and after a refused
		 * STARTTLS (row 15), which the client answers with QUIT; a new one, in clear. */
		a->clear = true;
		connect_host(a);
		return;
	}
	if (v.action == TRUST_SEND || v.action == TRUST_CLEAR || v.action == TRUST_CONNECT) {
		/* It would have done, had it lived. */
		v.action = TRUST_SKIP_TEMP;
		v.reason = is_handshake(stage) ? TRUST_HANDSHAKE : TRUST_UNREACHABLE;
		snprintf(v.status, sizeof v.status, "%s", is_handshake(stage) ? "4.7.5" : "4.4.1");
	}
	attempt_skip(a, &v);
}

/* The next address that may be tried, from a->addr on; NULL when there is none. */
static const struct mx_addr *
next_address(struct attempt *a)
{
	const struct host *h = present(a);

	for (; a->addr < h->naddrs; a->addr++) {
		const struct mx_addr *ad = &h->addrs[a->addr];

		if (ad->family == AF_INET ? a->prep->route->ipv4 : a->prep->route->ipv6)
			return ad;
	}
	return NULL;
}

static void
make_room(struct dest *t, unsigned limit)
{
	struct conn *c, *next;

	for (c = TAILQ_FIRST(&t->conns); c != NULL && t->nconns >= limit; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->attempt == NULL && evtimer_pending(c->idle, NULL))
			conn_quit(c);
	}
}

static void
connect_host(struct attempt *a)
{
	const struct mx_addr *addr;
	struct err err;

	if (!a->no_reuse && (a->conn = conn_idle(a->dest, a)) != NULL) {
		a->conn->attempt = a;
		a->reused = true;
		a->d->stats.reused++;
		attempt_ready(a, smtp_client_get_info(a->conn->client));
		return;
	}
	a->reused = false;
	addr = next_address(a);
	if (addr == NULL) {
		stage_failed(a, HOP_UNREACHABLE);
		return;
	}
	make_room(a->dest, a->conf->queue.concurrency);
	a->conn = conn_new(a, present(a), addr, a->clear, &err);
	if (a->conn == NULL) {
		attempt_remember(a, 0, "4.3.0", err.text, false);
		stage_failed(a, HOP_UNREACHABLE);
	}
}

void
attempt_reconnect(struct attempt *a)
{
	a->no_reuse = true;
	connect_host(a);
}

static void
after_attempt_hook(struct attempt *a, struct verdict *v)
{
	if (take_hop_verdict(a, v, "policy"))
		connect_host(a);
}

void
attempt_host(struct attempt *a)
{
	const struct host *h;
	struct trust_need need;
	struct trust_verdict v;

	a->addr = 0;
	a->hop_duties = 0;
	a->clear = a->no_reuse = a->reused = a->judged = false;
	a->relaxed_to = DUTY_RELAX_NONE;
	a->since_relax = 0;
	free(a->grant);
	a->grant = NULL;
	/* Hosts without any address are no hosts, unless we could not find out. */
	while (a->host < a->hosts->n && present(a)->naddrs == 0 &&
	    !dns_status_is_failure(present(a)->addr_status))
		a->host++;
	if (a->host >= a->hosts->n) {
		attempt_hosts_over(a);
		return;
	}
	h = present(a);
	memset(&a->facts, 0, sizeof a->facts);
	a->facts.mx = h->mx;
	a->facts.sts = h->sts;
	a->facts.sts_matches = h->sts_matches;
	a->facts.host_has_no_name = h->has_no_name;
	a->facts.is_fixed_host = h->is_fixed;
	a->facts.tlsa = host_dane_state(h->dane);
	a->facts.asserts_propagate = a->prep->route->assert_propagate;
	if (h->naddrs == 0) {
		char *text = xasprintf("addresses of %s: %s", h->name, dns_status_name(h->addr_status));

		attempt_remember(a, 0, "4.4.3", text, false);
		free(text);
		stage_failed(a, HOP_UNREACHABLE);
		return;
	}
	a->facts.stage = HOP_NOT_TRIED;
	attempt_need(a, &need);
	trust_decide(&need, &a->facts, &v);
	if (v.action == TRUST_SKIP || v.action == TRUST_SKIP_TEMP) {
		report_untried(a);
		if (v.reason == TRUST_TLSA_LOOKUP)
			attempt_remember(a, 0, v.status, h->dane->why, false);
		attempt_skip(a, &v);
		return;
	}
	a->verdict = v;
	ask_about_hop(a, HOOK_ATTEMPT, after_attempt_hook);
}

/* ---- A connection ---- */

static void
after_ehlo_hook(struct attempt *a, struct verdict *v)
{
	if (!take_hop_verdict(a, v, "ehlo"))
		return;
	if (a->conn == NULL) {	/* it was lost while the hook waited */
		stage_failed(a, HOP_UNREACHABLE);
		return;
	}
	judge(a, smtp_client_get_info(a->conn->client));
}

static void
judge(struct attempt *a, const struct smtp_client_info *info)
{
	struct trust_need need;
	struct trust_verdict v;

	conn_facts(a->conn, info, &a->facts);
	attempt_need(a, &need);
	trust_decide(&need, &a->facts, &v);
	a->verdict = v;
	if (v.action == TRUST_SEND) {
		if (a->prep->route->auth != NULL && a->conn->login == NULL)
			login_start(a);
		else
			send_start(a);
		return;
	}
	/* the session itself is fine; mail that owes less may still use it. R-48 wants QUIT
	 * from this message's point of view, which attempt_skip sees to. */
	attempt_skip(a, &v);
}

void
attempt_ready(struct attempt *a, const struct smtp_client_info *info)
{
	struct trust_need need;

	if (a->ticket != 0 || a->auditing)	/* what is under way goes on by itself */
		return;
	a->saw_ready = true;
	if (!a->reused)
		report_session(a, info);
	conn_facts(a->conn, info, &a->facts);
	attempt_need(a, &need);
	trust_decide(&need, &a->facts, &a->verdict);
	offers_of_host(a, info);
	ask_about_hop(a, HOOK_EHLO, after_ehlo_hook);
}

void
attempt_lost(struct attempt *a, enum smtp_client_end why, const struct smtp_client_info *info,
    int code, const char *status, const char *text)
{
	enum hop_stage stage = hop_stage_of_end(why, code);
	struct conn *c = a->conn;

	a->fetch_no++;		/* content that is on its way is for the connection that was */
	attempt_remember(a, code, status, text, code != 0);
	if (stage == HOP_HANDSHAKE_FAILED || stage == HOP_STARTTLS_TEMPFAIL)
		report_handshake(a, info, text);
	c->attempt = NULL;
	a->conn = NULL;
	conn_free(c);
	if (a->ticket != 0 || a->auditing)	/* what is under way will find the connection gone */
		return;
	if (a->logging_in && stage == HOP_UNREACHABLE) {
		login_lost(a);
		return;
	}
	a->logging_in = false;
	if (stage == HOP_UNREACHABLE || stage == HOP_BROKE_PROTOCOL) {
		if (a->reused) {	/* a kept connection had died; that says nothing of the host */
			attempt_reconnect(a);
			return;
		}
		a->addr++;
		if (next_address(a) != NULL) {
			ask_about_hop(a, HOOK_ATTEMPT, after_attempt_hook);	/* of that address */
			return;
		}
	}
	stage_failed(a, stage);
}

/* ---- Beginning and end ---- */

/* "5.7.1 text" from a route hook, or an administrator's words. */
static void
bounce_by_reason(struct item_rcpt *r)
{
	struct slice rest = slice_of(r->bounce_reason), word;
	char code[10] = "5.7.1";

	if (slice_cut(&rest, ' ', &word) && word.n >= 5 && word.n < sizeof code && word.p[0] == '5' &&
	    word.p[1] == '.' && rest.p != NULL)
		snprintf(code, sizeof code, "%.*s", (int)word.n, word.p);
	else
		rest = slice_of(r->bounce_reason);
	outcome_set(&r->out, OUT_FAILED, 0, code, "policy", "bounced", rest.p);
}

void
attempt_start(struct dest *t, struct item *it)
{
	struct attempt *a = xcalloc(1, sizeof *a);
	uint64_t before = work_begin(it->msg->id);

	a->d = t->d;
	a->dest = t;
	a->item = it;
	a->msg = it->msg;
	a->gen = t->prep != NULL ? policy_gen_ref(t->prep->gen) : t->d->env.generation(t->d->env.owner);
	a->conf = policy_gen_conf(a->gen);
	t->d->env.attempts(t->d->env.owner, a->gen, 1);
	a->prep = t->prep == NULL ? NULL : prep_ref(t->prep);
	a->hosts = hostlist_ref(t->hosts);
	a->relaxed_to = DUTY_RELAX_NONE;
	buf_init(&a->seen, SEEN_MAX);
	a->id = slots_add(&t->d->attempt_ids, a);
	TAILQ_INSERT_TAIL(&t->d->attempts, a, link);
	t->attempts++;
	t->refs++;
	t->d->nattempts++;
	t->d->stats.attempts++;
	for (size_t i = 0; i < it->n; i++) {
		if (it->rcpts[i].bounce_reason != NULL && it->rcpts[i].out.kind == OUT_NONE) {
			bounce_by_reason(&it->rcpts[i]);
		}
	}
	if (all_decided(a)) {
		attempt_end(a);
	} else {
		MUST(a->prep != NULL && a->hosts != NULL);
		a->verdicts = xcalloc(a->hosts->n, sizeof *a->verdicts);
		attempt_host(a);
	}
	work_end(before);
}

bool
attempt_is_tagged(const struct attempt *a)
{
	duty_mask m = attempt_duties(a);

	duties_join(&m, a->all_hop_duties);
	return (a->msg->flags & MSG_REQUIRETLS) != 0 || (duties_bits(m) & DUTY_PROPAGATE) != 0;
}

bool
attempt_withdraw(struct attempt *a, uint32_t num)
{
	bool left = false;

	if ((a->sending || a->over) && !a->recalled) {
		a->recalled = true;
		a->d->nrecalled++;
	}
	if (a->over)			/* decided: the store sorts that out */
		return false;
	for (size_t i = 0; i < a->item->n; i++) {
		struct item_rcpt *r = &a->item->rcpts[i];

		if (a->msg->rcpts[r->idx].num == num)
			*(a->sending ? &r->recalled : &r->withdrawn) = true;
		left = left || !r->withdrawn;
	}
	/* What is on the wire goes; attempt_withdraw_recalled sees to what did not. */
	if (left || a->sending)
		return false;
	a->over = true;
	dest_attempt_over(a->dest);
	drop_conn(a);
	attempt_free(a);
	return true;
}

/* I3: what was asked for meanwhile holds for the next host and the next transaction. */
bool
attempt_withdraw_recalled(struct attempt *a)
{
	for (size_t i = 0; i < a->item->n; i++) {
		struct item_rcpt *r = &a->item->rcpts[i];

		if (r->recalled && r->out.kind == OUT_NONE)
			r->withdrawn = true;
	}
	return all_decided(a);
}

void
attempt_end(struct attempt *a)
{
	MUST(all_decided(a));
	MUST(a->conn == NULL);
	if (!a->over) {
		a->over = true;
		dest_attempt_over(a->dest);
	}
	outcome_finish(a);
}

void
attempt_free(struct attempt *a)
{
	if (!a->over)
		a->dest->attempts--;
	policy_cancel(a->d->env.policy, a->ticket);
	sts_cancel(a->d->env.sts, a->sts_ticket);
	notices_cancel(a->notices);
	if (a->conn != NULL) {
		a->conn->attempt = NULL;
		conn_free(a->conn);
	}
	slots_del(&a->d->attempt_ids, a->id);
	TAILQ_REMOVE(&a->d->attempts, a, link);
	a->dest->refs--;
	a->d->nattempts--;
	a->d->nrecalled -= a->recalled;
	send_fini(a);
	hop_record_free(a->record);
	free(a->verdicts);
	buf_fini(&a->seen);
	free(a->grant);
	free(a->last_reply);
	free(a->last_text);
	hostlist_unref(a->hosts);
	prep_unref(a->prep);
	a->d->env.attempts(a->d->env.owner, a->gen, -1);
	policy_gen_unref(a->gen);
	item_free(a->item);
	if (a->d->draining && a->d->nattempts == 0 && a->d->idle != NULL) {
		void (*idle)(void *) = a->d->idle;

		a->d->idle = NULL;
		idle(a->d->idle_owner);
	}
	free(a);
}
