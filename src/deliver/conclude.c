/* No host of the list took the message: what now?
 *
 *   attempt_hosts_over -> MTA-STS looked up once more -> attempt_hosts_over
 *                      -> second pass, for notices -> attempt_host
 *                      -> back to the queue, behind connections that work
 *                      -> conclude: deferred or bounced -> attempt_end */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_int.h"

#define PUT_BACK_MAX 20u

/* hold_unmet: bounces for want of protection may be put off, in case the peer mends. */
static bool
may_hold_unmet(const struct attempt *a)
{
	return a->conf->queue.hold_unmet_ms > 0 &&
	    clock_wall_ms() < a->msg->received_ms + a->conf->queue.hold_unmet_ms;
}

/* Is it known of every host that it will not do? (D1, row 52: one that was only not to be reached
 * may do next time.) */
static bool
all_refused(const struct attempt *a)
{
	for (size_t i = 0; i < a->nverdicts; i++)
		if (a->verdicts[i].action != TRUST_SKIP)
			return false;
	return true;
}

static const char *
stage_of(const struct trust_conclusion *end)
{
	if (end->reason == TRUST_NO_AUTH || end->reason == TRUST_AUTH_REFUSED)
		return "auth";
	return end->unmet != 0 ? "tls" : "connect";
}

static void
conclude(struct attempt *a)
{
	struct trust_conclusion end;
	struct trust_need need;
	char *text;

	attempt_need(a, &need);
	trust_conclude(&need, a->verdicts, a->nverdicts, &end);
	if (end.end == TRUST_END_DEFER && end.unmet != 0 && a->prep->on_unmet == UNMET_BOUNCE &&
	    all_refused(a) && a->msg->from[0] != '\0')
		end.end = TRUST_END_BOUNCE;
	if (end.end == TRUST_END_BOUNCE && end.reason != TRUST_TAKES_NO_MAIL && (may_hold_unmet(a) ||
	    (a->prep->on_unmet == UNMET_DEFER && !(a->msg->flags & MSG_REQUIRETLS))))
		end.end = TRUST_END_DEFER;
	end.status[0] = end.end == TRUST_END_BOUNCE ? '5' : '4';
	if (a->lost_stage != NULL && (end.reason == TRUST_UNREACHABLE || end.reason == TRUST_PROTOCOL)) {
		bool nonsense = a->lost_by_nonsense;

		text = xasprintf("%s: %s", nonsense ? trust_reason_text(TRUST_PROTOCOL) : "the connection was lost",
		    a->last_text != NULL ? a->last_text : "no reply");
		attempt_all(a, OUT_DEFERRED, 0, nonsense ? "4.5.0" : "4.4.2", a->lost_stage,
		    nonsense ? trust_reason_word(TRUST_PROTOCOL) : "connection-lost", text);
		free(text);
		return;
	}
	if ((end.reason == TRUST_UNREACHABLE || end.reason == TRUST_TAKES_NO_MAIL ||
	    end.reason == TRUST_AUTH_REFUSED) && a->last_reply != NULL) {
		/* A host that says 5yz before any transaction says it of itself, not of the message,
		 * which stays (but for 521): its status is of class 4 then (RFC 3464 2.3.4). */
		if (end.end != TRUST_END_BOUNCE && a->last_status[0] == '5')
			a->last_status[0] = '4';
		attempt_all(a, end.end == TRUST_END_BOUNCE ? OUT_FAILED : OUT_DEFERRED, a->last_code,
		    a->last_status[0] != '\0' ? a->last_status : end.status, stage_of(&end),
		    trust_reason_word(end.reason), a->last_text);
		for (size_t i = 0; i < a->item->n; i++)
			if (a->item->rcpts[i].out.reply == NULL)
				a->item->rcpts[i].out.reply = xstrdup(a->last_reply);
		return;
	}
	text = a->last_text != NULL ? xasprintf("%s: %s", trust_reason_text(end.reason), a->last_text) :
	    xstrdup(trust_reason_text(end.reason));
	attempt_all(a, end.end == TRUST_END_BOUNCE ? OUT_FAILED : OUT_DEFERRED, 0, end.status,
	    stage_of(&end), trust_reason_word(end.reason), text);
	free(text);
}

/* A notice about tagged mail is not to be lost for want of REQUIRETLS on its way (R-85, D3, D6):
 * when no host qualifies there is a second pass, with less. trust_decide knows what is allowed. */
bool
attempt_has_last_resort(const struct attempt *a)
{
	return !a->last_resort && a->msg->from[0] == '\0' && (a->msg->flags & MSG_REQUIRETLS) &&
	    a->conf->dsn.protect != DSN_PROTECT_STRICT;
}

/* No host of this pass came to the point where a message could have been sent, and none for a reason
 * that has to do with this message: its neighbours would fare no better. */
static bool
nobody_answered(const struct attempt *a)
{
	for (size_t i = 0; i < a->nverdicts; i++)
		if (a->verdicts[i].reason != TRUST_UNREACHABLE)
			return false;
	return !a->saw_ready && !a->policy_skipped;
}

/* None of them let us log in, which has to do with the route and not with this message. */
static bool
nobody_let_us_in(const struct attempt *a)
{
	bool asked = false;

	for (size_t i = 0; i < a->nverdicts; i++) {
		enum trust_reason r = a->verdicts[i].reason;

		if (r != TRUST_UNREACHABLE && r != TRUST_PROTOCOL && r != TRUST_AUTH_REFUSED && r != TRUST_NO_AUTH)
			return false;
		asked = asked || r == TRUST_AUTH_REFUSED || r == TRUST_NO_AUTH;
	}
	return (asked || a->login_tried) && !a->policy_skipped;
}

/* As if it had not begun: nothing of it is decided, and it has not been here too often. */
static bool
may_begin_anew(const struct attempt *a)
{
	if (a->dest->d->draining || a->item->put_back >= PUT_BACK_MAX)
		return false;
	for (size_t i = 0; i < a->item->n; i++)
		if (a->item->rcpts[i].out.kind != OUT_NONE || a->item->rcpts[i].withdrawn)
			return false;
	return true;
}

/* One more connection was not to be had while others to this destination work, rest or may come about:
 * that is a limit of theirs, not a failure of this message, which goes back to the head of the queue
 * and is tried again when one of the others has a place. That happens so often and no more. If those
 * fail, too, the last of them finds nobody beside it, and what waits is deferred with it. */
static bool
may_put_back(const struct attempt *a)
{
	/* "Too many logins", from a host where others are logged in. */
	bool full = nobody_let_us_in(a) && a->login_tried && !a->login_refused && login_is_proven(a->dest);

	return (nobody_answered(a) || full) && may_begin_anew(a) && a->dest->nconns > 0;
}

static void
put_back(struct attempt *a)
{
	struct dest *t = a->dest;
	struct item *it = a->item;

	it->put_back++;
	a->item = NULL;
	a->over = true;
	dest_attempt_over(t);
	attempt_free(a);
	dest_put_back(t, it);
}

/* The policy that stands in the way may have been replaced meanwhile (rows 20 to 22 and 25; S-66). */
static bool
wants_recheck(const struct attempt *a)
{
	if (a->sts_rechecked || a->hosts->sts_mode == STS_NONE || a->last_resort)
		return false;
	for (size_t i = 0; i < a->nverdicts; i++)
		if (a->verdicts[i].status[0] == '5')
			return dest_sts_domain(a->dest, a->prep->route) != NULL;
	return false;
}

static void
rechecked(void *owner, uint64_t ticket, enum sts_mode mode, struct sts_known *known)
{
	struct attempt *a = owner;
	const struct sts_known *old = a->hosts->sts;
	uint64_t before = work_begin(a->msg->id);

	a->sts_ticket = 0;
	if (mode != a->hosts->sts_mode || (known == NULL) != (old == NULL) ||
	    (known != NULL && strcmp(known->id, old->id) != 0)) {
		log_info("MTA-STS policy changed, trying again", LOG_ID("message", a->msg->id),
		    LOG_S("domain", a->dest->next_hop), LOG_S("mode", sts_mode_name(mode)));
		dest_look_again(a->dest);
		if (may_begin_anew(a)) {
			put_back(a);
		} else {
			attempt_all(a, OUT_DEFERRED, 0, "4.7.5", "policy", "sts-changed",
			    "the domain's MTA-STS policy has just changed");
			attempt_end(a);
		}
	} else {
		attempt_hosts_over(a);
	}
	work_end(before);
}

void
attempt_hosts_over(struct attempt *a)
{
	const struct outcome *out = &a->item->rcpts[0].out;
	struct outcome like = { 0 };
	bool no_login;

	if (a->nverdicts == 0) {
		attempt_all(a, OUT_DEFERRED, 0, a->policy_skipped ? "4.7.1" : "4.4.1", "policy",
		    a->policy_skipped ? "skipped-by-policy" : "no-host",
		    a->policy_skipped ? "a policy skipped every host" : "no host could be tried");
		attempt_end(a);
		return;
	}
	if (wants_recheck(a)) {
		a->sts_rechecked = true;
		a->sts_ticket = sts_find(a->d->env.sts, dest_sts_domain(a->dest, a->prep->route),
		    rechecked, a);
		return;
	}
	if (attempt_has_last_resort(a) && all_refused(a)) {
		a->last_resort = true;
		a->nverdicts = 0;
		a->host = 0;
		attempt_host(a);
		return;
	}
	if (may_put_back(a)) {
		dest_full(a->dest, a->dest->nconns);
		log_debug("destination takes no more connections", LOG_S("domain", a->dest->next_hop),
		    LOG_U("limit", a->dest->limit),
		    LOG_S("why", a->last_text != NULL ? a->last_text : a->last_reply));
		put_back(a);
		return;
	}
	conclude(a);
	no_login = nobody_let_us_in(a);
	if (no_login && a->login_refused && out->kind == OUT_DEFERRED)
		login_away(a);
	if ((nobody_answered(a) || no_login) && a->dest->nconns == 0 && out->kind == OUT_DEFERRED) {
		/* What waits behind this item would wait for the same timeouts and refusals. What owes
		 * more may come back without a connection (an insecure MX), so it is asked for itself. */
		outcome_set(&like, OUT_DEFERRED, 0, out->status, out->stage, out->reason,
		    a->last_reply != NULL ? a->last_reply : a->last_text);
		dest_away(a->dest);
		dest_fail_waiting(a->dest, &like, no_login ? NULL : &a->item->duties);
		outcome_clear(&like);
	}
	attempt_end(a);
}
