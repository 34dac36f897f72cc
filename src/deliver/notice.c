/* Notices to the sender: which recipients are told of, the bounce and dsn hooks, building, routing.
 * RFC 3461 section 5.2, RFC 3464, M-134 to M-139. No notice about a notice, and
 * none to the null sender (M-187, R-94): those are logged, and their evidence stays. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_int.h"

enum group { GROUP_FAILED, GROUP_DELAYED, GROUP_SUCCESS, GROUPS };

struct notices {
	struct attempt *a;
	notices_done *done;
	enum group group;
	struct msg **list;
	size_t n;

	/* the notice that is being made */
	struct dsn_rcpt *rcpts;
	size_t nrcpts;
	struct dsn_request request;
	struct dsn_words words;
	struct policy_bounce bounce;
	struct msg *made;
	struct routing *routing;
};

static void next_group(struct notices *q);

/* Does this recipient's sender want to hear this now? */
static bool
is_wanted(const struct attempt *a, const struct item_rcpt *r, enum group g)
{
	unsigned notify = a->msg->rcpts[r->idx].notify;
	enum outcome_kind k = r->out.kind;

	switch (g) {
	case GROUP_FAILED:
		return (k == OUT_FAILED || k == OUT_EXPIRED) && dsn_is_wanted(notify, DSN_FAILED);
	case GROUP_DELAYED:
		return k == OUT_DEFERRED && !r->delay_notified && !r->out.uncounted &&
		    a->conf->queue.delay_notice_ms > 0 &&
		    clock_wall_ms() - a->msg->received_ms >= a->conf->queue.delay_notice_ms &&
		    dsn_is_wanted(notify, DSN_DELAYED);
	case GROUP_SUCCESS:
		return k == OUT_DELIVERED && r->out.relayed && dsn_is_wanted(notify, DSN_RELAYED);
	default:
		return false;
	}
}

/* "550-5.1.1 no\n550 5.1.1 never": the code, on every line, is part of what was said (M-143). Heap;
 * NULL when nothing was said. */
static char *
as_said(int code, const char *reply)
{
	struct slice rest = slice_of(reply), line;
	struct buf b;

	if (reply == NULL || code <= 0)
		return xstrdup(reply);
	buf_init(&b, 256 * 1024);
	while (slice_cut(&rest, '\n', &line))
		buf_printf(&b, "%s%d%c%.*s", b.len > 0 ? "\n" : "", code, rest.p != NULL ? '-' : ' ',
		    (int)line.n, line.p);
	return buf_take(&b);
}

static void
fill_rcpt(const struct attempt *a, struct item_rcpt *r, struct dsn_rcpt *to, enum group g)
{
	static const enum dsn_action actions[] = { DSN_FAILED, DSN_DELAYED, DSN_RELAYED };
	const struct msg_rcpt *mr = &a->msg->rcpts[r->idx];
	const struct hop_record *hr = a->record;

	to->address = mr->address;
	to->orcpt = mr->orcpt;
	to->action = actions[g];
	to->status = r->out.status;
	if (g == GROUP_SUCCESS)
		to->status = r->out.status[0] == '2' ? r->out.status : "2.0.0";
	free(r->reply_line);
	r->reply_line = as_said(r->out.code, r->out.reply);
	to->reply = r->reply_line;
	to->remote_mta = r->out.reply != NULL && hr != NULL ? hr->host : NULL;
	to->diagnostic = r->out.reply != NULL ? NULL : r->out.text != NULL ? r->out.text : r->out.reason;
	to->last_attempt_ms = clock_wall_ms();
	to->retry_until_ms = g == GROUP_DELAYED ? a->msg->received_ms + a->conf->queue.max_age_ms : 0;
	if (g == GROUP_DELAYED)
		r->delay_notified = true;
}

static void
gather(struct notices *q)
{
	struct attempt *a = q->a;

	free(q->rcpts);
	q->rcpts = xcalloc(a->item->n, sizeof *q->rcpts);
	q->nrcpts = 0;
	for (size_t i = 0; i < a->item->n; i++)
		if (is_wanted(a, &a->item->rcpts[i], q->group))
			fill_rcpt(a, &a->item->rcpts[i], &q->rcpts[q->nrcpts++], q->group);
}

static void
keep(struct notices *q, struct msg *m)
{
	q->list = xrealloc(q->list, (q->n + 1) * sizeof *q->list);
	q->list[q->n++] = m;
}

static void
routed(void *owner, const struct verdict *failed)
{
	struct notices *q = owner;

	if (failed != NULL) {
		/* The route hook failed for a notice: the configured routes carry it. */
		for (size_t i = 0; i < q->made->nrcpts; i++) {
			struct msg_rcpt *r = &q->made->rcpts[i];
			const struct route *route = routing_configured(q->a->conf, r->domain);

			if (r->route == NULL && route != NULL)
				routing_set(r, route);
		}
	}
	for (size_t i = 0; i < q->made->nrcpts; i++) {
		if (q->made->rcpts[i].route == NULL) {
			q->made->rcpts[i].route = xstrdup("");
			q->made->rcpts[i].next_hop = xstrdup(q->made->rcpts[i].domain);
			q->made->rcpts[i].bounce_reason = xstrdup("5.1.2 no route for this domain");
		}
	}
	keep(q, q->made);
	q->made = NULL;
	dsn_words_fini(&q->words);
	q->group++;
	next_group(q);
}

/* A copy for the postmaster has the same content and goes to another address. */
static void
copy_to(struct notices *q, const struct msg *notice)
{
	struct smtp_path path;
	struct msg *m;
	struct msg_rcpt *r;
	const struct route *route;
	struct err err;

	if (q->words.copy_to == NULL)
		return;
	if (!smtp_address_parse(&path, slice_of(q->words.copy_to), false, &err)) {
		log_warn("copy of a notice not sent", LOG_S("to", q->words.copy_to), LOG_S("why", err.text));
		return;
	}
	m = dsn_build(&q->request, &q->words, &err);
	if (m == NULL)
		return;
	m->id = id_new(q->a->d->env.worker);
	free(m->generation);
	m->generation = xstrdup(notice->generation);
	msg_clear_rcpts(m);
	r = msg_add_rcpt(m);
	r->address = smtp_path_text(&path);
	r->domain = xstrdup(path.domain);
	r->notify = NOTIFY_NEVER;
	route = routing_configured(q->a->conf, r->domain);
	if (route == NULL) {
		msg_unref(m);
		return;
	}
	routing_set(r, route);
	keep(q, m);
}

static void
build(struct notices *q)
{
	struct attempt *a = q->a;
	struct err err = { "" };

	q->made = dsn_build(&q->request, &q->words, &err);
	if (q->made == NULL) {
		log_error("notice not built", LOG_ID("message", a->msg->id), LOG_S("why", err.text));
		dsn_words_fini(&q->words);
		q->group++;
		next_group(q);
		return;
	}
	free(q->made->generation);
	q->made->generation = xstrdup(policy_gen_id(a->gen));
	q->made->direction = DIR_OUTBOUND;
	copy_to(q, q->made);
	log_info("notice", LOG_ID("message", q->made->id), LOG_ID("about", a->msg->id),
	    LOG_S("kind", q->group == GROUP_FAILED ? "failed" : q->group == GROUP_DELAYED ? "delayed" : "relayed"),
	    LOG_S("to", a->msg->from), LOG_U("recipients", q->nrcpts));
	routing_start(a->d->env.policy, a->gen, q->made, (struct slice){ NULL, 0 }, NULL, routed, q,
	    &q->routing);
}

/* A hook failed half way: the built-in words, headers only, with whatever it had already hidden. */
static void
make_minimal(struct notices *q)
{
	struct dsn_words words, *old = &q->words;

	dsn_words_init(&words, &q->request, q->a->conf->dsn.from);
	words.return_content = old->return_content == RET_NONE ? RET_NONE : RET_HDRS;
	words.redact_diagnostic = old->redact_diagnostic;
	words.redact_hosts = old->redact_hosts;
	words.redact_rcpts = old->redact_rcpts;
	words.redact_received = old->redact_received;
	words.redact_subject = old->redact_subject;
	words.protect = old->protect;
	words.redact_host_patterns = old->redact_host_patterns;
	words.nredact_host_patterns = old->nredact_host_patterns;
	words.said = old->said;
	words.nsaid = old->nsaid;
	words.fields = old->fields;
	words.nfields = old->nfields;
	old->redact_host_patterns = old->said = old->fields = NULL;
	old->nredact_host_patterns = old->nsaid = old->nfields = 0;
	dsn_words_fini(old);
	q->words = words;
}

static void
after_hook(struct attempt *a, struct verdict *v)
{
	struct notices *q = a->notices;

	if (v->kind == VERDICT_SUPPRESS) {
		log_info("notice suppressed", LOG_ID("message", a->msg->id), LOG_S("handler", v->handler),
		    LOG_S("reason", v->reason));
		dsn_words_fini(&q->words);
		q->group++;
		next_group(q);
		return;
	}
	if (v->is_error)
		make_minimal(q);
	build(q);
}

static void
with_header(struct attempt *a, bool ok)
{
	struct notices *q = a->notices;
	static const enum dsn_action kinds[] = { DSN_FAILED, DSN_DELAYED, DSN_RELAYED };
	const struct conf *c = a->conf;

	q->request = (struct dsn_request){
		.msg = a->msg, .rcpts = q->rcpts, .nrcpts = q->nrcpts, .kind = kinds[q->group],
		.reporting_mta = c->identity.hostname, .templates = c->dsn.templates,
		.header = ok ? send_header(a) : (struct slice){ NULL, 0 },
		.id = id_new(a->d->env.worker), .wall_ms = clock_wall_ms(),
		.languages = (const char *const *)c->dsn.languages,
		.return_path_utf8 = !ascii_is_printable(a->msg->from, strlen(a->msg->from)),
	};
	/* The body goes back only when asked for, when it is at hand, and never for REQUIRETLS. */
	q->request.tagged = attempt_is_tagged(a);
	if (ok && a->content != NULL && !q->request.tagged && q->group == GROUP_FAILED &&
	    (a->msg->ret == RET_FULL || (a->msg->ret == RET_NONE && c->dsn.return_full)))
		q->request.body = content_body_peek(a->content, STORE_CHUNK);
	dsn_words_init(&q->words, &q->request, c->dsn.from);
	if (a->msg->ret == RET_NONE && c->dsn.return_full && q->request.body.n > 0)
		q->words.return_content = RET_FULL;	/* dsn_build clamps it for tagged mail */
	if (c->dsn.protect == DSN_PROTECT_REDACT)
		q->words.protect = DSN_REDACTED;
	q->bounce = (struct policy_bounce){ .kind = q->request.kind, .rcpts = q->rcpts,
		.nrcpts = q->nrcpts, .words = &q->words, .tagged = q->request.tagged };
	a->subject = (struct policy_subject){ .rcpt = -1, .bounce = &q->bounce };
	attempt_ask(a, q->group == GROUP_FAILED ? HOOK_BOUNCE : HOOK_DSN, after_hook);
}

static void
next_group(struct notices *q)
{
	struct attempt *a = q->a;
	notices_done *done = q->done;
	struct msg **list = q->list;
	size_t n = q->n;

	for (; q->group < GROUPS; q->group++) {
		gather(q);
		if (q->nrcpts == 0)
			continue;
		send_fetch(a, with_header);
		return;
	}
	free(q->rcpts);
	free(q);
	a->notices = NULL;
	done(a, list, n);
}

static bool
any_wanted(const struct attempt *a)
{
	for (size_t i = 0; i < a->item->n; i++)
		for (enum group g = 0; g < GROUPS; g++)
			if (is_wanted(a, &a->item->rcpts[i], g))
				return true;
	return false;
}

void
notices_start(struct attempt *a, notices_done *done)
{
	struct notices *q;

	if (a->msg->from[0] == '\0' || (a->msg->flags & MSG_NOTICE) || !any_wanted(a)) {
		done(a, NULL, 0);
		return;
	}
	q = xcalloc(1, sizeof *q);
	q->a = a;
	q->done = done;
	a->notices = q;
	next_group(q);
}

void
notices_cancel(struct notices *q)
{
	if (q == NULL)
		return;
	routing_cancel(q->routing);
	msg_unref(q->made);
	for (size_t i = 0; i < q->n; i++)
		msg_unref(q->list[i]);
	free(q->list);
	dsn_words_fini(&q->words);
	free(q->rcpts);
	free(q);
}
