/* AUTH (RFC 4954) with PLAIN (RFC 4616) and EXTERNAL (RFC 4422 appendix A). In both the client
 * speaks first and once, so an exchange is one message: with the command, or in a line of its own
 * behind an empty 334. Whether it is true is for the owner to say; nothing here keeps a password
 * longer than the question, and none is ever logged. */
#include "config.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "smtp/smtp_int.h"

#define FAILURES_MAX 3		/* then 421 (M-161) */
#define ID_MAX 255		/* RFC 4616 2 asks for no more */

static const struct {
	const char *name;
	unsigned bit;
} mechs[] = {
	{ "PLAIN", SMTP_AUTH_PLAIN }, { "EXTERNAL", SMTP_AUTH_EXTERNAL },
};

/* What may be used here and now: a mechanism that cannot succeed is not listed either (M-156). */
unsigned
auth_usable(const struct smtp_session *s)
{
	const struct tls_info *tls = s->info.tls;
	unsigned usable = s->conf->auth;

	if (tls == NULL ? !s->conf->auth_in_clear : !tls->is_modern)
		return 0;
	if (tls == NULL || tls->cert_sha256 == NULL || !tls->chain_ok)
		usable &= ~(unsigned)SMTP_AUTH_EXTERNAL;
	return usable;
}

void
auth_say_ehlo(const struct smtp_session *s, struct buf *out)
{
	unsigned usable = auth_usable(s);

	buf_adds(out, "250-AUTH");
	for (size_t i = 0; i < NELEMS(mechs); i++)
		if (usable & mechs[i].bit)
			buf_printf(out, " %s", mechs[i].name);
	buf_adds(out, "\r\n");
}

void
auth_forget(struct smtp_session *s)
{
	if (s->secret != NULL) {
		explicit_bzero(s->secret, s->secret_size);
		free(s->secret);
	}
	s->secret = NULL;
	s->secret_size = 0;
	s->cred = (struct smtp_cred){ 0 };
	s->auth_mech = 0;
}

/* ---- The exchange ---- */

/* RFC 4648 4, strictly (M-157): -1 for a character outside the alphabet, white space too, and for
 * '=' anywhere but as the padding. `out` has room for 3 octets for each 4. */
static int
base64_decode(unsigned char *out, struct slice in)
{
	size_t pad = 0;

	if (in.n == 0 || in.n % 4 != 0)
		return in.n == 0 ? 0 : -1;
	while (pad < 2 && in.p[in.n - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < in.n - pad; i++) {
		unsigned char c = (unsigned char)in.p[i];

		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		    c == '+' || c == '/'))
			return -1;
	}
	if (EVP_DecodeBlock(out, (const unsigned char *)in.p, (int)in.n) < 0)
		return -1;
	return (int)(in.n / 4 * 3 - pad);
}

static bool
name_is_good(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7F)
			return false;
	return n <= ID_MAX && utf8_is_valid(p, n);
}

/* [authzid] NUL authcid NUL passwd */
static bool
read_plain(struct smtp_session *s, char *p, size_t n)
{
	char *authcid = memchr(p, '\0', n), *password;

	if (authcid == NULL)
		return false;
	authcid++;
	password = memchr(authcid, '\0', (size_t)(p + n - authcid));
	if (password == NULL)
		return false;
	password++;
	if (memchr(password, '\0', (size_t)(p + n - password)) != NULL || password == p + n ||
	    authcid[0] == '\0' || !name_is_good(p, strlen(p)) || !name_is_good(authcid, strlen(authcid)) ||
	    !utf8_is_valid(password, (size_t)(p + n - password)))
		return false;
	s->cred = (struct smtp_cred){ .mech = "PLAIN", .authzid = p, .authcid = authcid, .password = password };
	return true;
}

/* The identity to act as, or nothing: then it is for the owner to take one from the certificate. */
static bool
read_external(struct smtp_session *s, char *p, size_t n)
{
	if (memchr(p, '\0', n) != NULL || !name_is_good(p, n))
		return false;
	s->cred = (struct smtp_cred){ .mech = "EXTERNAL", .authzid = p, .authcid = "" };
	return true;
}

/* The client's message in base64; takes the exchange to its end. */
void
auth_response(struct smtp_session *s, struct slice text)
{
	unsigned mech = s->auth_mech;
	int n;

	s->auth_mech = 0;
	s->is_urgent = true;
	if (slice_is(text, "*")) {
		say(s, "501 5.7.0 Authentication cancelled");
		return;
	}
	s->secret_size = text.n / 4 * 3 + 4;
	s->secret = xcalloc(1, s->secret_size);
	n = base64_decode((unsigned char *)s->secret, text);
	if (n >= 0)
		s->secret[n] = '\0';
	if (n < 0 || !(mech == SMTP_AUTH_PLAIN ? read_plain : read_external)(s, s->secret, (size_t)n)) {
		auth_forget(s);
		say(s, n < 0 ? "501 5.5.2 This is not base64" : "501 5.5.2 Malformed authentication message");
		return;
	}
	session_ask(s, &auth_step, SLICE(""));
}

/* M-12: one past what fits is not looked at. */
void
auth_too_long(struct smtp_session *s)
{
	s->auth_mech = 0;
	say(s, "500 5.5.6 Authentication line too long");
}

static void
auth_go(struct smtp_session *s, const struct smtp_verdict *v)
{
	if (v->auth_id == NULL || v->auth_id[0] == '\0') {	/* an owner that does not say who (I5) */
		auth_forget(s);
		say(s, "454 4.7.0 Temporary authentication failure");
		return;
	}
	s->info.auth_id = xstrdup(v->auth_id);
	s->info.auth_mech = s->cred.mech;
	auth_forget(s);
	say(s, "235 2.7.0 Authentication successful");
}

void
smtp_session_assume_login(struct smtp_server *srv, uint64_t id, const char *auth_id)
{
	struct smtp_session *s = session_find(srv, id);

	if (s == NULL)
		return;
	free(s->info.auth_id);
	s->info.auth_id = xstrdup(auth_id);
	s->info.auth_mech = "PLAIN";
}

static void
auth_no(struct smtp_session *s, const struct smtp_verdict *v)
{
	auth_forget(s);
	say_refusal(s, v);
	if (v->reply.code >= 500 && ++s->auth_failures >= FAILURES_MAX)
		session_bye(s, "4.7.0", "Too many failed logins");
}

const struct smtp_step auth_step = { SMTP_ASK_AUTH, auth_go, auth_no };

/* ---- The command ---- */

bool
auth_check(struct smtp_session *s, struct smtp_args *a)
{
	struct slice rest = a->text, word;

	if ((s->offered & SMTP_EXT_AUTH) == 0) {
		if (s->conf->auth != 0 && !s->conf->auth_in_clear && s->info.tls == NULL && s->conf->tls != NULL)
			say(s, "538 5.7.11 Use STARTTLS first");
		else
			say(s, "502 5.5.1 AUTH is not offered");
		return false;
	}
	if (s->info.auth_id != NULL) {		/* M-155 */
		say(s, "503 5.5.1 Authenticated already");
		return false;
	}
	slice_cut(&rest, ' ', &word);
	rest = slice_trim(rest.p == NULL ? SLICE("") : rest);
	if (a->text.n == 0 || memchr(rest.p, ' ', rest.n) != NULL) {
		say(s, "501 5.5.4 AUTH takes a mechanism and one response at most");
		return false;
	}
	for (size_t i = 0; i < NELEMS(mechs); i++) {
		if (slice_is_nocase(word, mechs[i].name) && (auth_usable(s) & mechs[i].bit) != 0) {
			s->auth_mech = mechs[i].bit;
			a->text = rest;
			return true;
		}
	}
	say(s, "504 5.5.4 This mechanism is not offered");
	return false;
}

void
auth_proceed(struct smtp_session *s, struct smtp_args *a)
{
	if (a->text.n == 0)
		say(s, "334 ");		/* with its space (M-157) */
	else
		auth_response(s, slice_is(a->text, "=") ? SLICE("") : a->text);
}
