/* A job is one domain's day, from its claim to its mark:
 *
 *   claimed -> (not yet: open again, later)
 *           -> hook -> (unwanted) or (later) or a list of receivers
 *           -> TXT record, unless the hook named receivers -> (unwanted) or a list
 *           -> HTTPS to each, then one message to the rest, together with the mark
 *
 * The report counts as delivered once one receiver has taken it, or the queue has, which goes on trying by
 * itself (T-04). If nobody has, it is open again, and later each time (T-25). */
#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

#include "deliver/routing.h"
#include "message/tlsrpt_mail.h"
#include "tlsrpt/post.h"
#include "tlsrpt/send.h"

#define HOUR_MS (INT64_C(60) * 60000)
#define FIRST_MS 1000			/* after the start */
#define EVERY_MS 30000
#define SOON_MS 200			/* there is more to do */
#define JOBS_MAX 16u			/* at once */
#define LEASE_MS (HOUR_MS / 2)		/* longer than a job takes */
#define RETRY_MS (15 * 60000)		/* doubles each time */
#define GIVE_UP_MS (24 * HOUR_MS)	/* T-25 */
#define NOTE_MAX 400u

struct job {
	TAILQ_ENTRY(job) link;
	struct tlsrpt_sender *s;
	struct store_tlsrpt_day day;
	char date[16];				/* "2026-11-29" */
	struct policy_gen *gen;
	struct rua_list list;
	struct tlsrpt_report *report;
	/* what is waited for; each NULL or 0 when it is not */
	uint64_t ticket, query;
	struct policy_subject subject;
	struct posting { struct job *j; struct tlsrpt_post *post; } posts[RUA_MAX];	/* as in the list */
	size_t nposts;
	struct msg *msg;
	struct routing *routing;
	bool taken;				/* by one receiver at least */
	struct buf note;			/* what receivers said */
};

struct tlsrpt_sender {
	struct tlsrpt_env env;
	struct tlsrpt_poster *poster;
	struct event *timer;
	TAILQ_HEAD(, job) jobs;
	size_t njobs;
	bool claiming, draining;
	int64_t minute;				/* for the rate: mono, in minutes */
	unsigned begun;				/* in that minute */
	size_t outstanding;			/* requests to the store */
	bool freed;
};

static void next_tick(struct tlsrpt_sender *s, int64_t ms);

/* ---- Asking the store ---- */

struct request {
	struct store_result req;	/* first */
	struct tlsrpt_sender *s;
	char domain[256];		/* for the log */
};

static bool
sender_release(struct tlsrpt_sender *s)
{
	s->outstanding--;
	if (!s->freed)
		return true;
	if (s->outstanding == 0)
		free(s);
	return false;
}

static struct request *
request_new(struct tlsrpt_sender *s, void (*run)(void *, struct mail *))
{
	struct request *q = xcalloc(1, sizeof *q);
	struct tlsrpt_how how;

	s->env.how(s->env.owner, &how);
	q->s = s;
	q->req.mail.run = run;
	q->req.mail.reply_to = s->env.mb;
	q->req.tlsrpt = xcalloc(1, sizeof *q->req.tlsrpt);
	q->req.tlsrpt->node = xstrdup(how.conf->identity.hostname);
	s->outstanding++;
	return q;
}

/* ---- The end of a job ---- */

static void
job_free(struct job *j)
{
	struct tlsrpt_sender *s = j->s;

	if (j->ticket != 0)
		policy_cancel(s->env.policy, j->ticket);
	if (j->query != 0)
		dns_cancel(s->env.dns, j->query);
	for (size_t i = 0; i < RUA_MAX; i++)
		tlsrpt_post_cancel(j->posts[i].post);
	routing_cancel(j->routing);
	if (j->msg != NULL)
		msg_unref(j->msg);
	rua_list_fini(&j->list);
	tlsrpt_report_free(j->report);
	policy_gen_unref(j->gen);
	buf_fini(&j->note);
	free(j->day.domain);
	free(j->day.policies);
	TAILQ_REMOVE(&s->jobs, j, link);
	s->njobs--;
	free(j);
	next_tick(s, SOON_MS);
}

static void
marked(void *reader, struct mail *m)
{
	struct request *q = (struct request *)m;
	struct tlsrpt_sender *s = sender_release(q->s) ? q->s : NULL;

	if (q->req.status != STORE_OK)
		log_error("TLS report: its state was not stored", LOG_S("domain", q->domain),
		    LOG_S("why", q->req.text));
	else if (q->req.tlsrpt->n == 0)
		log_warn("TLS report: another node has it meanwhile", LOG_S("domain", q->domain));
	for (size_t i = 0; s != NULL && q->req.status == STORE_OK && i < q->req.nnotices; i++)
		s->env.dispatch(s->env.owner, &q->req.notices[i]);
	store_result_free(&q->req);
}

/* Takes the job's message along, in the same transaction. */
static void
mark(struct job *j, enum store_tlsrpt_state state, int64_t next_ms)
{
	struct request *q = request_new(j->s, marked);
	struct store_tlsrpt *t = q->req.tlsrpt;

	snprintf(q->domain, sizeof q->domain, "%s", j->day.domain);
	t->verb = STORE_TLSRPT_MARK;
	t->domain = xstrdup(j->day.domain);
	t->day = j->day.day;
	t->state = state;
	t->tries = j->day.tries;
	t->first_ms = j->day.first_ms;
	t->next_ms = next_ms;
	t->note = j->note.len == 0 ? NULL : slice_dup(buf_slice(&j->note));
	if (state == TLSRPT_DELIVERED && j->msg != NULL) {
		q->req.notices = xcalloc(1, sizeof *q->req.notices);
		q->req.nnotices = 1;
		q->req.notices[0].msg = j->msg;
		j->msg = NULL;
		q->req.urgent = true;
	}
	store_result(j->s->env.store, &q->req);
	job_free(j);
}

static void
note(struct job *j, const char *to, const char *what)
{
	if (!buf_printf(&j->note, "%s%s%s%s", j->note.len > 0 ? "; " : "", to, to[0] != '\0' ? ": " : "", what))
		buf_adds(&j->note, "...");
}

/* T-25. `after_ms`: what a policy wants, or -1. */
static void
again_later(struct job *j, int64_t after_ms)
{
	int64_t now = clock_wall_ms(), last = j->day.first_ms + GIVE_UP_MS;
	unsigned n = j->day.tries < 10 ? j->day.tries : 10;
	int64_t next = now + (after_ms >= 0 ? after_ms : (int64_t)RETRY_MS << n);
	char shown[NOTE_MAX + 8];

	j->day.tries++;
	snprintf(shown, sizeof shown, "%.*s", (int)j->note.len, buf_peek(&j->note));
	if (now >= last) {
		log_warn("TLS report given up", LOG_S("domain", j->day.domain), LOG_S("day", j->date),
		    LOG_U("tries", j->day.tries), LOG_S("why", shown));
		mark(j, TLSRPT_GIVEN_UP, 0);
		return;
	}
	log_info("TLS report not delivered", LOG_S("domain", j->day.domain), LOG_S("day", j->date),
	    LOG_U("tries", j->day.tries), LOG_S("why", shown));
	mark(j, TLSRPT_OPEN, next < last ? next : last);
}

static void
unwanted(struct job *j, const char *why)
{
	note(j, "", why != NULL ? why : "suppressed");
	mark(j, TLSRPT_UNWANTED, 0);
}

/* ---- Sending ---- */

static void
delivered(struct job *j, const char *how)
{
	j->day.tries++;
	log_info("TLS report sent", LOG_S("domain", j->day.domain), LOG_S("day", j->date),
	    LOG_S("report", j->report->report_id), LOG_S("how", how),
	    j->msg == NULL ? (struct log_kv){ .key = "", .kind = LOG_KV_SKIP } : LOG_ID("message", j->msg->id));
	mark(j, TLSRPT_DELIVERED, 0);
}

static void
routed(void *owner, const struct verdict *failed)
{
	struct job *j = owner;
	struct tlsrpt_how how;

	j->s->env.how(j->s->env.owner, &how);
	for (size_t i = 0; i < j->msg->nrcpts; i++) {
		struct msg_rcpt *r = &j->msg->rcpts[i];
		const struct route *route = r->route == NULL ? routing_configured(how.conf, r->domain) : NULL;

		/* As with notices: where the route hook failed, the configured routes carry it. */
		if (route != NULL)
			routing_set(r, route);
		if (r->route == NULL) {
			r->route = xstrdup("");
			r->next_hop = xstrdup(r->domain);
			r->bounce_reason = xstrdup("5.1.2 no route for this domain");
		}
	}
	delivered(j, j->taken ? "HTTPS and mail" : "mail");
}

/* All HTTPS receivers have answered. */
static void
posted_all(struct job *j)
{
	if (j->msg != NULL)
		routing_start(j->s->env.policy, j->gen, j->msg, (struct slice){ NULL, 0 }, NULL, routed, j,
		    &j->routing);
	else if (j->taken)
		delivered(j, "HTTPS");
	else
		again_later(j, -1);
}

static void
posted(void *owner, bool taken, const char *why)
{
	struct posting *p = owner;
	struct job *j = p->j;
	const char *to = j->list.rua[p - j->posts].to;

	p->post = NULL;
	j->nposts--;
	j->taken = j->taken || taken;
	note(j, to, why);
	if (!taken)
		log_info("TLS report not taken", LOG_S("domain", j->day.domain), LOG_S("to", to),
		    LOG_S("why", why));
	if (j->nposts == 0)
		posted_all(j);
}

static bool
make_mail(struct job *j, const struct tlsrpt_how *how, const char *const *to, size_t n, struct err *err)
{
	const struct tlsrpt_report *r = j->report;
	struct tlsrpt_mail q = { .id = id_new(j->s->env.worker), .wall_ms = clock_wall_ms(),
		.hostname = how->conf->identity.hostname, .organization = how->conf->tlsrpt.organization,
		.contact = how->conf->tlsrpt.contact, .domain = r->domain, .submitter = r->submitter,
		.report_id = r->report_id, .file_name = r->file_name, .day = j->date,
		.gz = { (const char *)r->gz, r->gz_len }, .to = to, .nto = n, .dkim = how->dkim };

	j->msg = tlsrpt_mail_build(&q, err);
	if (j->msg == NULL)
		return false;
	free(j->msg->generation);
	j->msg->generation = xstrdup(policy_gen_id(j->gen));
	return true;
}

static void
send_report(struct job *j)
{
	struct tlsrpt_how how;
	struct tlsrpt_post_how post = { .timeout_ms = 0 };
	struct tlsrpt_who who;
	struct err err = { "" };
	const char *to[RUA_MAX];
	size_t nto = 0;

	j->s->env.how(j->s->env.owner, &how);
	who = (struct tlsrpt_who){ how.conf->tlsrpt.organization, how.conf->tlsrpt.contact,
		how.conf->identity.hostname };
	for (size_t i = 0; i < j->list.n; i++)
		if (j->list.rua[i].kind == RUA_MAIL)
			to[nto++] = j->list.rua[i].to;
	if (who.contact != NULL)
		j->report = tlsrpt_report_new(&who, j->day.domain, j->day.day, j->day.policies, &err);
	if (j->report == NULL || (nto > 0 && !make_mail(j, &how, to, nto, &err))) {
		log_error("TLS report not made", LOG_S("domain", j->day.domain), LOG_S("day", j->date),
		    LOG_S("why", err.text));
		note(j, "", err.text);
		again_later(j, -1);
		return;
	}
	post = (struct tlsrpt_post_how){ how.tls, !how.conf->tlsrpt.verify, how.conf->tlsrpt.allow_private,
		how.conf->tlsrpt.timeout_ms };
	for (size_t i = 0; i < j->list.n; i++) {
		if (j->list.rua[i].kind != RUA_HTTPS)
			continue;
		j->posts[i] = (struct posting){ j, tlsrpt_post_start(j->s->poster, &j->list.rua[i], j->report,
		    &post, posted, &j->posts[i]) };
		j->nposts++;
	}
	if (j->nposts == 0)
		posted_all(j);
}

/* ---- Whether, and where to ---- */

static void
on_txt(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct job *j = owner;
	struct slice txt[100];
	struct buf text[NELEMS(txt)];
	size_t n = 0, nbufs = 0;
	enum tlsrpt_txt found = TLSRPT_TXT_NONE;

	j->query = 0;
	if (a->status == DNS_CANCELLED)
		return;			/* the daemon ends; the claim runs out */
	if (dns_status_is_failure(a->status)) {
		note(j, "", "the TXT record could not be looked up");
		again_later(j, -1);
		return;
	}
	for (size_t i = 0; a->status == DNS_OK && i < a->n && nbufs < NELEMS(txt); i++) {
		buf_init(&text[nbufs], 64 * 1024);
		if (dns_txt_parse(&a->rr[i], &text[nbufs]))
			txt[n++] = buf_slice(&text[nbufs]);
		nbufs++;
	}
	if (n > 0)
		found = tlsrpt_txt_parse(txt, n, &j->list);
	for (size_t i = 0; i < nbufs; i++)
		buf_fini(&text[i]);
	if (found == TLSRPT_TXT_FOUND) {
		send_report(j);
		return;
	}
	if (found == TLSRPT_TXT_BROKEN)
		log_info("TLSRPT record not usable", LOG_S("domain", j->day.domain));
	unwanted(j, found == TLSRPT_TXT_BROKEN ? "the TXT record is not usable" : "no TXT record");
}

static void
look_up(struct job *j)
{
	char *name = xasprintf("_smtp._tls.%s", j->day.domain);		/* T-01 */

	if (strlen(name) > 253)
		unwanted(j, "no TXT record");
	else
		j->query = dns_query(j->s->env.dns, name, DNS_TXT, on_txt, j);
	free(name);
}

/* The hook's list: verdict.c has parsed it once. */
static void
take_list(struct job *j, const struct verdict *v)
{
	struct rua r;
	struct err err;

	for (size_t i = 0; i < v->nnames; i++)
		if (rua_parse(&r, slice_of(v->names[i]), &err))
			rua_list_add(&j->list, &r);
}

static void
decided(struct job *j, struct verdict *v)
{
	switch (v->kind) {
	case VERDICT_SUPPRESS:
		log_info("TLS report suppressed", LOG_S("domain", j->day.domain), LOG_S("day", j->date),
		    LOG_S("handler", v->handler), LOG_S("reason", v->reason));
		unwanted(j, v->reason);
		break;
	case VERDICT_DEFER:	/* I5: also when a handler failed */
		note(j, "", v->is_error ? "the tlsrpt hook failed" : v->reason != NULL ? v->reason :
		    "deferred by the tlsrpt hook");
		again_later(j, v->after_ms);
		break;
	case VERDICT_REPORT:
		take_list(j, v);
		log_info("TLS report directed", LOG_S("domain", j->day.domain), LOG_S("day", j->date),
		    LOG_S("handler", v->handler), LOG_S("reason", v->reason));
		send_report(j);
		break;
	default:
		look_up(j);
	}
}

static void
hook_later(void *owner, uint64_t ticket, struct verdict *v)
{
	struct job *j = owner;
	struct verdict mine;

	j->ticket = 0;
	verdict_move(&mine, v);
	decided(j, &mine);
	verdict_fini(&mine);
}

static void
choose(struct job *j)
{
	struct verdict v = { .kind = VERDICT_NONE };

	if (!policy_gen_has(j->gen, HOOK_TLSRPT)) {
		look_up(j);
		return;
	}
	j->subject = (struct policy_subject){ .domain = j->day.domain, .day = j->date, .rcpt = -1 };
	if (policy_call(j->s->env.policy, j->gen, HOOK_TLSRPT, &j->subject, &v, hook_later, j, &j->ticket) ==
	    POLICY_LATER)
		return;
	decided(j, &v);
	verdict_fini(&v);
}

/* ---- Claims ---- */

/* T-11: not everybody at midnight. Chosen once, kept in the database. */
static bool
is_early(struct job *j, const struct conf *c)
{
	int64_t end = (j->day.day + 1) * TLSRPT_DAY_MS;
	uint32_t random = 0;

	if (j->day.first_ms != 0)
		return false;
	if (c->tlsrpt.delay_ms > 0 && getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
		random = UINT32_MAX / 2;
	j->day.first_ms = end + (int64_t)((double)random / UINT32_MAX * (double)c->tlsrpt.delay_ms);
	/* A day that nobody was there for has its 24 hours from now on. */
	if (j->day.first_ms < clock_wall_ms())
		j->day.first_ms = clock_wall_ms();
	return j->day.first_ms > clock_wall_ms();
}

static void
job_new(struct tlsrpt_sender *s, struct store_tlsrpt_day *day)
{
	struct job *j = xcalloc(1, sizeof *j);
	struct tlsrpt_how how;
	char date[48];

	s->env.how(s->env.owner, &how);
	j->s = s;
	j->day = *day;
	memset(day, 0, sizeof *day);
	j->gen = policy_gen_ref(how.gen);
	date_iso8601(date, sizeof date, j->day.day * TLSRPT_DAY_MS);
	snprintf(j->date, sizeof j->date, "%.10s", date);
	buf_init(&j->note, NOTE_MAX);
	TAILQ_INSERT_TAIL(&s->jobs, j, link);
	s->njobs++;
	if (is_early(j, how.conf)) {
		s->begun--;		/* nothing was */
		mark(j, TLSRPT_OPEN, j->day.first_ms);
	} else {
		choose(j);
	}
}

static void
claimed(void *reader, struct mail *m)
{
	struct request *q = (struct request *)m;
	struct tlsrpt_sender *s = sender_release(q->s) ? q->s : NULL;

	if (s != NULL) {
		s->claiming = false;
		if (q->req.status != STORE_OK)
			log_error("TLS reports: the queue database cannot be asked", LOG_S("why", q->req.text));
		s->begun += (unsigned)q->req.tlsrpt->n;
		for (size_t i = 0; q->req.status == STORE_OK && i < q->req.tlsrpt->n; i++)
			job_new(s, &q->req.tlsrpt->days[i]);
		next_tick(s, q->req.status == STORE_OK && q->req.tlsrpt->n > 0 ? SOON_MS : EVERY_MS);
	}
	store_result_free(&q->req);
}

/* How many reports may be begun now (T-30). */
static unsigned
room(struct tlsrpt_sender *s, unsigned rate)
{
	int64_t minute = clock_mono_ms() / 60000;
	unsigned at_once = JOBS_MAX - (unsigned)s->njobs;

	if (s->minute != minute) {
		s->minute = minute;
		s->begun = 0;
	}
	return s->begun >= rate ? 0 : rate - s->begun < at_once ? rate - s->begun : at_once;
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct tlsrpt_sender *s = arg;
	struct tlsrpt_how how;
	struct request *q;
	unsigned n;

	s->env.how(s->env.owner, &how);
	if (s->draining || s->claiming)
		return;
	n = how.conf->tlsrpt.send && how.conf->tlsrpt.contact != NULL ? room(s, how.conf->tlsrpt.rate) : 0;
	if (n == 0) {
		next_tick(s, EVERY_MS);
		return;
	}
	s->claiming = true;
	q = request_new(s, claimed);
	q->req.tlsrpt->verb = STORE_TLSRPT_CLAIM;
	q->req.tlsrpt->lease_until_ms = clock_wall_ms() + LEASE_MS;
	q->req.tlsrpt->limit = n;
	store_result(s->env.store, &q->req);
}

/* ---- Life ---- */

static void
next_tick(struct tlsrpt_sender *s, int64_t ms)
{
	struct timeval t = { ms / 1000, ms % 1000 * 1000 };

	if (!s->freed && !s->draining)
		evtimer_add(s->timer, &t);
}

struct tlsrpt_sender *
tlsrpt_sender_new(const struct tlsrpt_env *env, struct err *err)
{
	struct tlsrpt_sender *s = xcalloc(1, sizeof *s);

	s->env = *env;
	TAILQ_INIT(&s->jobs);
	s->poster = tlsrpt_poster_new(env->base, env->dns, err);
	if (s->poster == NULL) {
		free(s);
		return NULL;
	}
	s->timer = evtimer_new(env->base, on_tick, s);
	MUST(s->timer != NULL);
	next_tick(s, FIRST_MS);
	return s;
}

void
tlsrpt_sender_drain(struct tlsrpt_sender *s)
{
	if (s == NULL)
		return;
	s->draining = true;
	evtimer_del(s->timer);
}

void
tlsrpt_sender_free(struct tlsrpt_sender *s)
{
	if (s == NULL)
		return;
	tlsrpt_sender_drain(s);
	while (!TAILQ_EMPTY(&s->jobs))
		job_free(TAILQ_FIRST(&s->jobs));
	tlsrpt_poster_free(s->poster);
	event_free(s->timer);
	s->freed = true;
	s->outstanding++;
	sender_release(s);
}
