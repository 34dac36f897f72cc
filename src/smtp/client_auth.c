/* The client's side of AUTH (RFC 4954): PLAIN (RFC 4616), with the initial response where the line has room for
 * it, and LOGIN, which is not in a standard and which some servers have alone. Both send the password itself, so
 * nothing is sent outside TLS; the owner has looked at the certificate. Neither brings a security layer, so what
 * EHLO said still holds. */
#include "config.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/client_int.h"

#define COMMAND_MAX 512u	/* with CR LF: RFC 4954 section 4, RFC 5321 4.5.3.1.4 */

static void
wipe(char *s, size_t n)
{
	if (s != NULL)
		OPENSSL_cleanse(s, n);
	free(s);
}

void
auth_fini(struct login *l)
{
	wipe(l->user, l->user == NULL ? 0 : strlen(l->user));
	wipe(l->password, l->password == NULL ? 0 : strlen(l->password));
	*l = (struct login){ .next = LOGIN_NONE };
}

static void
over(struct smtp_client *c, enum smtp_login_end end, int code, const char *status, const char *text)
{
	auth_fini(&c->login);
	c->info.logged_in = end == SMTP_LOGIN_OK;
	c->state = CL_READY;
	net_deadline(c->conn, 0);
	c->ops->logged_in(c->owner, end, code, status, text);
}

/* `verb`, then the octets in base64, in a line of its own or behind a space. */
static bool
say_base64(struct smtp_client *c, const char *verb, const char *p, size_t n)
{
	size_t verb_n = strlen(verb), size = verb_n + (n + 2) / 3 * 4 + 3, len;
	char *line = xmalloc(size + 1);
	bool ok;

	memcpy(line, verb, verb_n);
	len = verb_n + (size_t)EVP_EncodeBlock((unsigned char *)line + verb_n, (const unsigned char *)p, (int)n);
	memcpy(line + len, "\r\n", 2);
	ok = client_command(c, c->timers.mail, (struct slice){ line, len + 2 });
	wipe(line, size + 1);
	return ok;
}

static bool
say_plain(struct smtp_client *c, const char *verb)
{
	size_t user_n = strlen(c->login.user), n = 1 + user_n + 1 + strlen(c->login.password);
	char *p = xmalloc(n + 1);
	bool ok;

	/* No authorization identity: whom the server takes this user for. */
	p[0] = '\0';
	memcpy(p + 1, c->login.user, user_n + 1);
	memcpy(p + 1 + user_n + 1, c->login.password, n - user_n - 2);
	ok = say_base64(c, verb, p, n);
	wipe(p, n);
	return ok;
}

static void
begin(struct smtp_client *c)
{
	size_t n = 2 + strlen(c->login.user) + strlen(c->login.password);

	if ((c->info.auth & SMTP_LOGIN_PLAIN) == 0) {
		c->login.next = LOGIN_USER;
		client_command(c, c->timers.mail, slice_of("AUTH LOGIN\r\n"));
	} else if (strlen("AUTH PLAIN ") + (n + 2) / 3 * 4 + 2 > COMMAND_MAX) {
		c->login.next = LOGIN_PLAIN;
		client_command(c, c->timers.mail, slice_of("AUTH PLAIN\r\n"));
	} else {
		c->login.next = LOGIN_LAST;
		say_plain(c, "AUTH PLAIN ");
	}
}

void
smtp_client_login(struct smtp_client *c, const char *user, const char *password)
{
	MUST(c->state == CL_READY && !c->info.logged_in);
	c->state = CL_AUTH;
	c->login.user = xstrdup(user);
	c->login.password = xstrdup(password);
	c->login.kicked = true;
	client_kick(c);
}

void
auth_kicked(struct smtp_client *c)
{
	c->login.kicked = false;
	if (c->info.tls == NULL || c->info.auth == 0)
		over(c, SMTP_LOGIN_NOT_OFFERED, 0, "", "");
	else
		begin(c);
}

/* What stands behind 334 is base64, or nothing; what it says, nobody needs to know. */
static bool
is_challenge(struct slice text)
{
	struct slice first;

	if (!slice_cut(&text, '\n', &first))
		first = (struct slice){ "", 0 };
	first = slice_trim(first);
	if (text.n > 0 || first.n % 4 != 0)
		return false;
	while (first.n > 0 && first.p[first.n - 1] == '=')
		first.n--;
	for (size_t i = 0; i < first.n; i++) {
		char ch = first.p[i];

		if (!((ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '+' ||
		    ch == '/'))
			return false;
	}
	return true;
}

static void
challenged(struct smtp_client *c, struct slice text)
{
	enum login_step step = c->login.next;

	if (step == LOGIN_LAST || !is_challenge(text)) {
		client_protocol(c, step == LOGIN_LAST ? "the server asks for more than a login consists of" :
		    "the server's challenge is not base64");
		return;
	}
	c->login.next = step == LOGIN_USER ? LOGIN_PASSWORD : LOGIN_LAST;
	if (step == LOGIN_PLAIN)
		say_plain(c, "");
	else if (step == LOGIN_USER)
		say_base64(c, "", c->login.user, strlen(c->login.user));
	else
		say_base64(c, "", c->login.password, strlen(c->login.password));
}

void
auth_reply(struct smtp_client *c, int code, const char *status, struct slice text)
{
	char *copy;

	if (code == 334) {
		challenged(c, text);
		return;
	}
	/* 235 before all was said is no answer to it either. */
	if (code / 100 == 3 || (code / 100 == 2 && (code != 235 || c->login.next != LOGIN_LAST))) {
		client_protocol(c, "AUTH was answered with what is no reply to it");
		return;
	}
	copy = slice_dup(text);
	if (code == 421)
		client_end(c, SMTP_END_LOST, code, status, copy);
	else
		over(c, code == 235 ? SMTP_LOGIN_OK : SMTP_LOGIN_REFUSED, code, status, copy);
	free(copy);
}
