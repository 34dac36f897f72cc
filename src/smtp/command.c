/* Command lines and the verbs they may hold. A line ends in CR LF and nothing else (M-30, X-14);
 * what is wrong with it is decided from the octets before its end alone, so it makes no difference
 * how they arrived. */
#include "config.h"

#include <string.h>

#include "smtp/smtp_int.h"

/* Where a verb may stand (RFC 5321 4.1.4). */
#define OUTSIDE (IN(ST_GREETED) | IN(ST_READY))
#define ANYTIME (OUTSIDE | IN(ST_MAIL) | IN(ST_RCPT) | IN(ST_BDAT))

static const struct smtp_verb verbs[] = {
	{ "EHLO", ANYTIME, V_CLEAR | V_LAST | V_ALONE, hello_check, ehlo_proceed },
	{ "HELO", ANYTIME, V_CLEAR | V_LAST | V_ALONE, hello_check, helo_proceed },
	{ "AUTH", IN(ST_READY), V_LAST | V_ALONE, auth_check, auth_proceed },
	{ "MAIL", IN(ST_READY), 0, mail_check, mail_proceed },
	{ "RCPT", IN(ST_MAIL) | IN(ST_RCPT), 0, rcpt_check, rcpt_proceed },
	{ "DATA", IN(ST_RCPT), V_LAST | V_ALONE, no_args_check, data_proceed },
	{ "BDAT", ANYTIME, V_OWN_ORDER, bdat_check, bdat_proceed },
	{ "RSET", ANYTIME, V_CLEAR | V_JUNK, no_args_check, rset_proceed },
	{ "NOOP", ANYTIME, V_CLEAR | V_LAST | V_ALONE | V_JUNK, NULL, noop_proceed },
	{ "QUIT", ANYTIME | IN(ST_REFUSED), V_CLEAR | V_LAST, no_args_check, quit_proceed },
	{ "STARTTLS", ANYTIME, V_CLEAR | V_LAST, starttls_check, starttls_proceed },
	{ "VRFY", ANYTIME, V_LAST | V_ALONE | V_JUNK, vrfy_check, vrfy_proceed },
	{ "EXPN", ANYTIME, V_LAST | V_ALONE | V_JUNK, vrfy_check, vrfy_proceed },
	{ "HELP", ANYTIME, V_JUNK, NULL, help_proceed },
};

/* A browser or a proxy was told to talk to us: nothing that follows is for us. */
static bool
is_http(struct slice word)
{
	static const char *const methods[] = {
		"GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS", "DELETE", "TRACE", "PATCH", "PRI",
	};

	for (size_t i = 0; i < NELEMS(methods); i++)
		if (slice_is_nocase(word, methods[i]))
			return true;
	return false;
}

static const struct smtp_verb *
find_verb(struct slice word)
{
	for (size_t i = 0; i < NELEMS(verbs); i++)
		if (slice_is_nocase(word, verbs[i].name))
			return &verbs[i];
	return NULL;
}

/* The verb is known but may not stand here; nothing changes (M-55). */
static void
say_wrong_order(struct smtp_session *s, const struct smtp_verb *v)
{
	bool is_data = v->proceed == data_proceed;

	if (s->state == ST_GREETED)
		say(s, "503 5.5.1 Send EHLO first");
	else if (s->state == ST_BDAT)
		say(s, "503 5.5.1 Only BDAT or RSET now");		/* M-111 */
	else if (s->state == ST_READY)
		say(s, "503 5.5.1 Send MAIL first");
	else if (is_data)
		say(s, "554 5.5.1 No valid recipients");	/* M-97, M-98 */
	else
		say(s, "503 5.5.1 A sender was given already");
}

static bool
tls_is_missing(const struct smtp_session *s)
{
	return s->info.tls == NULL && s->conf->starttls == SMTP_STARTTLS_REQUIRED;
}

/* Octets behind a command that ends a group were sent without its reply having been seen: a body
 * meant for a server that ends commands elsewhere than we do, a proxy's or a browser's (X-9, M-37). */
static bool
is_out_of_step(const struct smtp_session *s, const struct smtp_verb *v)
{
	return (v->flags & V_ALONE) != 0 && s->conf->forbid_unauth_pipelining && net_in(s->conn).n > 0;
}

static void
run_verb(struct smtp_session *s, const struct smtp_verb *v, struct smtp_args *a)
{
	a->mail.envid = a->mail.auth = NULL;
	a->rcpt.orcpt = NULL;
	if (v->flags & V_JUNK)
		s->junk++;
	if (v->flags & V_LAST)
		s->is_urgent = true;
	if (is_out_of_step(s, v)) {
		sayf(s, "554 5.5.0 Octets sent ahead of the reply to %s", v->name);
		session_end_politely(s, "unauthorised pipelining");
		return;
	}
	if ((v->flags & V_OWN_ORDER) == 0) {
		if (s->state == ST_REFUSED && v->proceed != quit_proceed) {
			say(s, s->refusal != NULL ? s->refusal : "503 5.5.1 No service here, please QUIT");
			return;
		}
		if (tls_is_missing(s) && (v->flags & V_CLEAR) == 0) {
			say(s, "530 5.7.0 Use STARTTLS first");
			return;
		}
		if ((v->states & IN(s->state)) == 0) {
			say_wrong_order(s, v);
			return;
		}
	}
	if (v->check == NULL || v->check(s, a))
		v->proceed(s, a);
	smtp_mail_params_fini(&a->mail);
	smtp_rcpt_params_fini(&a->rcpt);
}

/* A line that was not understood, and in which somebody else may see a BDAT: octets follow that
 * are no commands, and their number is not known. */
static bool
may_be_bdat(struct slice line)
{
	while (line.n > 0 && (unsigned char)line.p[0] <= ' ')
		line.p++, line.n--;
	return slice_starts_nocase(line, "BDAT") && (line.n == 4 || (unsigned char)line.p[4] <= ' ');
}

static void
run_line(struct smtp_session *s, struct slice line)
{
	const struct smtp_verb *v;
	struct smtp_args a;
	struct slice word;

	for (size_t i = 0; i < line.n; i++)
		if ((unsigned char)line.p[i] < 0x20 || line.p[i] == 0x7F) {	/* */
			say(s, "500 5.5.2 Control characters in a command");
			if (may_be_bdat(line))
				session_end_politely(s, "BDAT with control characters");
			return;
		}
	a.text = line;
	slice_cut(&a.text, ' ', &word);
	a.text = slice_trim(a.text.p == NULL ? SLICE("") : a.text);	/* M-56: white space at the end */
	v = find_verb(word);
	if (v != NULL) {
		run_verb(s, v, &a);
		return;
	}
	s->is_urgent = true;
	if (may_be_bdat(line)) {
		say(s, "500 5.5.1 Command not recognised");
		session_end_politely(s, "BDAT behind white space");
		return;
	}
	if (is_http(word)) {
		session_bye(s, "4.7.0", "This is not an HTTP server");
		return;
	}
	if (s->state == ST_REFUSED)
		say(s, s->refusal != NULL ? s->refusal : "503 5.5.1 No service here, please QUIT");
	else
		say(s, "500 5.5.1 Command not recognised");
}

/* The rest of a line that was too long, up to its real CR LF: it is never looked at as a command
 * (X-12). */
static bool
skip_line(struct smtp_session *s, struct slice in)
{
	const char *at = in.p, *end = in.p + in.n, *lf;
	bool after_cr = s->skip_after_cr;

	if (in.n == 0)
		return false;
	while ((lf = memchr(at, '\n', (size_t)(end - at))) != NULL) {
		if (lf > in.p ? lf[-1] == '\r' : after_cr)
			break;
		at = lf + 1;
	}
	s->skipped += lf == NULL ? in.n : (size_t)(lf - in.p) + 1;
	s->skip_after_cr = in.p[in.n - 1] == '\r';
	if (s->skipped > LINE_CUT_OCTETS) {
		session_bye(s, "4.7.0", "A line without end");
		return false;
	}
	net_consume(s->conn, lf == NULL ? in.n : (size_t)(lf - in.p) + 1);
	if (lf != NULL) {
		s->skipped = 0;
		session_restart_timer(s);
	}
	return true;
}

bool
command_step(struct smtp_session *s)
{
	struct slice in = net_in(s->conn);
	char line[LINE_MAX_OCTETS];
	bool is_secret = s->auth_mech != 0 || slice_starts_nocase(in, "AUTH");
	const char *lf;
	size_t n;

	if (in.n == 0)
		return false;
	if (s->skipped > 0)
		return skip_line(s, in);
	if (s->state == ST_GREETED && in.p[0] == 0x16) {	/* a ClientHello */
		session_bye(s, "4.7.0", "Plain text first, then STARTTLS");
		return false;
	}
	lf = memchr(in.p, '\n', in.n < sizeof line ? in.n : sizeof line);
	if (lf == NULL && in.n < sizeof line)
		return false;
	if (lf == NULL) {
		if (s->auth_mech != 0)
			auth_too_long(s);
		else
			say(s, "500 5.5.2 Line too long");
		if (may_be_bdat(in)) {
			session_end_politely(s, "BDAT in a line too long");
			return false;
		}
		s->is_urgent = true;
		s->skip_after_cr = false;
		return skip_line(s, in);
	}
	/* The verb may start TLS or change what is read next, so its line is out of the way first. */
	n = (size_t)(lf - in.p) + 1;
	memcpy(line, in.p, n);
	net_consume(s->conn, n);
	session_restart_timer(s);
	if (n < 2 || line[n - 2] != '\r' || memchr(line, '\r', n - 2) != NULL) {
		say(s, "500 5.5.2 Lines end in CR LF");
		session_end_politely(s, "bare CR or LF in a command");
		return false;
	}
	if (s->auth_mech != 0)
		auth_response(s, (struct slice){ line, n - 2 });
	else
		run_line(s, (struct slice){ line, n - 2 });
	if (is_secret)
		explicit_bzero(line, n);
	return true;
}
