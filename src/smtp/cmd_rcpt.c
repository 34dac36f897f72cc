/* RCPT adds a recipient (RFC 5321 4.1.1.3). */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "smtp/smtp_int.h"

bool
rcpt_check(struct smtp_session *s, struct smtp_args *a)
{
	bool smtputf8 = (s->tx.msg->flags & MSG_SMTPUTF8) != 0;
	unsigned offered = smtputf8 ? s->offered : s->offered & ~(unsigned)SMTP_EXT_SMTPUTF8;
	struct smtp_reply err;
	struct slice params;

	if (!path_check(s, a, "TO:", "5.1.3", &params))
		return false;
	if (a->path.is_null) {
		say(s, "501 5.1.3 Bad address: the null path takes no mail");
		return false;
	}
	if (!utf8_check(s, &a->path, smtputf8))
		return false;
	if (!smtp_rcpt_params_parse(&a->rcpt, params, offered, &err)) {
		say_reply(s, &err);
		return false;
	}
	return true;
}

void
rcpt_proceed(struct smtp_session *s, struct smtp_args *a)
{
	struct msg *m = s->tx.msg;
	struct msg_rcpt *r;

	/* 452 and not 552; those accepted stay (M-10). Who goes on regardless is not listening. */
	if (s->conf->max_rcpts > 0 && m->nrcpts >= s->conf->max_rcpts) {
		if (++s->tx.overshoot > OVERSHOOT_MAX)
			session_bye(s, "4.7.0", "Far too many recipients");
		else
			say(s, "452 4.5.3 Too many recipients");
		return;
	}
	r = msg_add_rcpt(m);
	r->address = smtp_path_text(&a->path);
	r->domain = xstrdup(a->path.domain);
	r->orcpt = a->rcpt.orcpt;
	a->rcpt.orcpt = NULL;
	r->notify = a->rcpt.notify;
	session_ask(s, &rcpt_step, SLICE(""));
}

static void
rcpt_go(struct smtp_session *s, const struct smtp_verdict *v)
{
	(void)v;
	s->info.recipients++;
	if (s->state != ST_RCPT)
		session_state(s, ST_RCPT);
	say(s, "250 2.1.5 Ok");
}

/* Takes the last recipient out again, by way of a message of its own. */
static void
drop_last(struct msg *m)
{
	struct msg one = { .nrcpts = 1 };

	MUST(m->nrcpts > 0);
	if (m->nrcpts == 1) {
		msg_clear_rcpts(m);
		return;
	}
	one.rcpts = xmalloc(sizeof *one.rcpts);
	*one.rcpts = m->rcpts[--m->nrcpts];
	msg_clear_rcpts(&one);
}

static void
rcpt_no(struct smtp_session *s, const struct smtp_verdict *v)
{
	drop_last(s->tx.msg);
	say_refusal(s, v);
}

const struct smtp_step rcpt_step = { SMTP_ASK_RCPT, rcpt_go, rcpt_no };
