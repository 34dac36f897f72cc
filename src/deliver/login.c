/* Logging in at a next hop (RFC 4954), for a route that names one of the configuration's credentials.
 *
 * A password is sent only on a connection whose certificate was verified; trust_decide says so, asked for nothing
 * but that: what the message owes, and what a grant or its sender waives, has no part in it. Who is not let in
 * waits: a wrong password is the operator's to mend. What waits behind it does not try by itself meanwhile, and
 * until a login has worked there is one attempt at a time, so that a provider sees one wrong password, not twenty. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_int.h"

#define AWAY_PART 2			/* of the first retry interval, after a login that was refused */
#define AWAY_MAX_MS 60000

static const struct conf_credential *
today(const struct dest *t, const struct route *r)
{
	return conf_credential(t->d->env.conf(t->d->env.owner), r->auth);
}

duty_mask
login_duties(const struct route *r)
{
	return r->auth == NULL ? 0 : duties_of(DUTY_ENCRYPT | DUTY_AUTHENTICATE, DUTY_BY_ADMIN);
}

bool
login_is_as(const struct conn *c, const struct route *r)
{
	return r->auth == NULL ? c->login == NULL : c->login != NULL && strcmp(c->login, r->auth) == 0;
}

bool
login_is_good_for(const struct conn *c, const struct route *r)
{
	const struct conf_credential *k = r->auth == NULL ? NULL : today(c->dest, r);

	return login_is_as(c, r) && (r->auth == NULL ||
	    (k != NULL && memcmp(c->login_stamp, k->stamp, sizeof c->login_stamp) == 0));
}

/* ---- What is known of a destination ---- */

static bool
is_about(const struct dest *t, const struct conf_credential *k)
{
	return k != NULL && memcmp(t->login_stamp, k->stamp, sizeof t->login_stamp) == 0;
}

bool
login_is_proven(const struct dest *t)
{
	return t->prep->route->auth == NULL || (t->login_works && is_about(t, today(t, t->prep->route)));
}

bool
login_is_refused(const struct dest *t)
{
	return t->prep->route->auth != NULL && !t->login_works && clock_mono_ms() < t->no_login_until_ms &&
	    is_about(t, today(t, t->prep->route));
}

static void
note(struct dest *t, const uint8_t stamp[32], bool works)
{
	memcpy(t->login_stamp, stamp, sizeof t->login_stamp);
	t->login_works = works;
	t->no_login_until_ms = 0;
	outcome_clear(&t->no_login);
}

void
login_away(struct attempt *a)
{
	const struct conf *c = a->conf;
	const struct outcome *o = &a->item->rcpts[0].out;
	int64_t ms = c->queue.nretry == 0 ? AWAY_MAX_MS : c->queue.retry_ms[0] / AWAY_PART;

	note(a->dest, a->login_stamp, false);
	a->dest->no_login_until_ms = clock_mono_ms() + (ms < AWAY_MAX_MS ? ms : AWAY_MAX_MS);
	outcome_set(&a->dest->no_login, OUT_DEFERRED, o->code, o->status, o->stage, o->reason,
	    o->reply != NULL ? o->reply : o->text);
}

/* ---- One login ---- */

static void
skip(struct attempt *a, enum trust_reason reason, const char *status)
{
	struct trust_verdict v = a->verdict;

	v.action = TRUST_SKIP_TEMP;
	v.reason = reason;
	v.unmet = 0;
	snprintf(v.status, sizeof v.status, "%s", status);
	attempt_skip(a, &v);
}

static void
wait_for_operator(struct attempt *a, const char *text)
{
	struct conn *c = a->conn;

	a->conn = NULL;
	c->attempt = NULL;
	conn_quit(c);
	attempt_all(a, OUT_DEFERRED, 0, "4.3.5", "auth", "no-credential", text);
	attempt_end(a);
}

void
login_start(struct attempt *a)
{
	const struct conf *conf = a->d->env.conf(a->d->env.owner);
	const struct route *r = a->prep->route;
	const struct conf_credential *k = conf_credential(conf, r->auth);
	const struct smtp_client_info *info = smtp_client_get_info(a->conn->client);
	struct trust_need need = { .duties = login_duties(r), .relaxed_to = DUTY_RELAX_NONE };
	struct trust_verdict v;
	struct err err = { "" };

	/* The configuration may be another one by now. */
	if (!conf_may_log_in(conf, r, &err)) {
		wait_for_operator(a, err.text);
		return;
	}
	conn_facts(a->conn, info, &a->facts);
	trust_decide(&need, &a->facts, &v);
	if (v.action != TRUST_SEND) {
		attempt_skip(a, &v);
		return;
	}
	MUST(k->loaded != NULL || k->password.path == NULL);	/* a rehearsal has no passwords */
	memcpy(a->login_stamp, k->stamp, sizeof a->login_stamp);
	a->logging_in = a->login_tried = true;
	smtp_client_login(a->conn->client, k->user, k->loaded != NULL ? k->loaded : "");
}

void
login_done(struct attempt *a, enum smtp_login_end end, int code, const char *status, const char *text)
{
	const struct smtp_client_info *info = smtp_client_get_info(a->conn->client);
	char words[200];

	a->logging_in = false;
	switch (end) {
	case SMTP_LOGIN_OK:
		a->conn->login = xstrdup(a->prep->route->auth);
		memcpy(a->conn->login_stamp, a->login_stamp, sizeof a->conn->login_stamp);
		note(a->dest, a->login_stamp, true);
		dest_run_later(a->dest);	/* the others may come, too */
		send_start(a);
		return;
	case SMTP_LOGIN_NOT_OFFERED:
		snprintf(words, sizeof words, "%s%s", info->auth_listed[0] == '\0' ? "it lists no AUTH" : "it lists AUTH ",
		    info->auth_listed);
		attempt_remember(a, 0, "4.7.4", words, false);
		skip(a, TRUST_NO_AUTH, "4.7.4");
		return;
	case SMTP_LOGIN_REFUSED:
		break;
	}
	a->login_refused = a->login_refused || code >= 500;
	attempt_remember(a, code, status, text, true);
	skip(a, TRUST_AUTH_REFUSED, "4.7.8");
}

void
login_lost(struct attempt *a)
{
	a->logging_in = false;
	skip(a, TRUST_AUTH_REFUSED, "4.4.2");
}
