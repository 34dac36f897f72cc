/* The verbs that do little: RSET, NOOP, QUIT, VRFY, EXPN, HELP. */
#include "config.h"

#include "smtp/smtp_int.h"

bool
no_args_check(struct smtp_session *s, struct smtp_args *a)
{
	if (a->text.n == 0)
		return true;
	say(s, "501 5.5.4 No arguments are allowed here");
	return false;
}

void
rset_proceed(struct smtp_session *s, struct smtp_args *a)
{
	(void)a;
	tx_reset(s);
	say(s, "250 2.0.0 Ok");		/* M-54 */
}

void
noop_proceed(struct smtp_session *s, struct smtp_args *a)
{
	(void)a;
	say(s, "250 2.0.0 Ok");
}

void
quit_proceed(struct smtp_session *s, struct smtp_args *a)
{
	(void)a;
	sayf(s, "221 2.0.0 %s Bye", s->conf->hostname);
	session_end_politely(s, "quit");
}

void
help_proceed(struct smtp_session *s, struct smtp_args *a)
{
	(void)a;
	say(s, "214 2.0.0 See RFC 5321");
}

bool
vrfy_check(struct smtp_session *s, struct smtp_args *a)
{
	if (a->text.n > 0)
		return true;
	say(s, "501 5.5.4 An address is needed");
	return false;
}

/* Never a yes or no: addresses are not to be harvested here (M-62, X-25). The argument is not
 * even looked at, so UTF-8 in it cannot hurt. */
void
vrfy_proceed(struct smtp_session *s, struct smtp_args *a)
{
	(void)a;
	say(s, "252 2.0.0 Send mail and see");
}
