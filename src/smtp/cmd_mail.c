/* MAIL opens a transaction (RFC 5321 4.1.1.2). */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "smtp/smtp_int.h"

/* Behind "FROM:" or "TO:" the path, then nothing or a space and parameters. What is left goes to
 * *params_out. `status` is for a bad address. */
bool
path_check(struct smtp_session *s, struct smtp_args *a, const char *word, const char *status,
    struct slice *params_out)
{
	size_t n = strlen(word), used;
	struct err err;

	if (!slice_starts_nocase(a->text, word)) {
		sayf(s, "501 5.5.4 Expected %s<address>", word);
		return false;
	}
	a->text.p += n, a->text.n -= n;
	/* Whether UTF-8 is allowed is known only after the parameters; see utf8_check. */
	if (!smtp_path_parse(&a->path, a->text, &used, true, &err)) {
		sayf(s, "501 %s Bad address: %s", status, err.text);
		return false;
	}
	if (used < a->text.n && a->text.p[used] != ' ') {
		sayf(s, "501 %s Bad address: a space must follow it", status);
		return false;
	}
	*params_out = (struct slice){ a->text.p + used, a->text.n - used };
	return true;
}

bool
utf8_check(struct smtp_session *s, const struct smtp_path *path, bool smtputf8)
{
	if (!path->needs_utf8 || smtputf8)
		return true;
	say(s, "553 5.6.7 An address outside ASCII needs SMTPUTF8");	/* M-71 */
	return false;
}

bool
mail_check(struct smtp_session *s, struct smtp_args *a)
{
	const struct smtp_server_conf *c = s->conf;
	struct smtp_reply err;
	struct slice params;

	if (c->max_messages > 0 && s->info.messages >= c->max_messages) {
		session_bye(s, "4.7.0", "Too many messages in one session");
		return false;
	}
	if (!path_check(s, a, "FROM:", "5.1.7", &params))
		return false;
	if (!a->path.is_null && a->path.domain[0] == '\0') {
		say(s, "501 5.1.7 Bad address: the domain is missing");
		return false;
	}
	if (!smtp_mail_params_parse(&a->mail, params, s->offered, s->info.tls != NULL, &err)) {
		say_reply(s, &err);
		return false;
	}
	if (!utf8_check(s, &a->path, a->mail.smtputf8))
		return false;
	if (a->mail.has_size && ((c->max_size > 0 && a->mail.size > c->max_size) ||
	    a->mail.size == UINT64_MAX)) {
		say(s, "552 5.3.4 Message too big");	/* M-106 */
		return false;
	}
	return true;
}

/* Everything the owner may want to look at is in the message before it is asked; a refusal takes
 * it away again. */
void
mail_proceed(struct smtp_session *s, struct smtp_args *a)
{
	const struct tls_info *tls = s->info.tls;
	struct msg *m = msg_new();

	m->id = id_new(s->server->who);
	m->session = s->info.id;
	m->received_ms = clock_wall_ms();
	m->from = smtp_path_text(&a->path);
	m->from_domain = xstrdup(a->path.domain);
	if (a->mail.smtputf8)
		m->flags |= MSG_SMTPUTF8;
	if (a->mail.requiretls)
		m->flags |= MSG_REQUIRETLS;	/* */
	m->content_size = a->mail.has_size ? a->mail.size : 0;	/* as announced, until it is known */
	m->body_type = a->mail.body;
	m->ret = a->mail.ret;
	m->envid = a->mail.envid;
	m->auth_param = a->mail.auth;
	a->mail.envid = a->mail.auth = NULL;
	m->peer_ip = xstrdup(s->info.peer_ip);
	m->helo = xstrdup(s->info.helo);
	m->auth_id = xstrdup(s->info.auth_id);
	m->listener = xstrdup(s->conf->listener);
	m->proto = xstrdup(received_with(s->info.esmtp, tls != NULL, s->info.auth_id != NULL,
	    a->mail.smtputf8, false));
	if (tls != NULL)
		m->tls_in = xasprintf("%s %s", tls->version, tls->cipher);
	s->tx.msg = m;
	session_ask(s, &mail_step, SLICE(""));
}

static void
mail_go(struct smtp_session *s, const struct smtp_verdict *v)
{
	(void)v;
	s->tx.is_open = true;
	session_state(s, ST_MAIL);
	say(s, "250 2.1.0 Ok");
}

static void
mail_no(struct smtp_session *s, const struct smtp_verdict *v)
{
	tx_reset(s);
	say_refusal(s, v);
}

const struct smtp_step mail_step = { SMTP_ASK_MAIL, mail_go, mail_no };
