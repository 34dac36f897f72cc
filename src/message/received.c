/* The trace field (RFC 5321 4.4, RFC 3848, RFC 8314 4.3; M-180 to M-184, R-120). */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message/message_int.h"

#define RECEIVED_MAX 4096u	/* far above what the caps below allow */
#define FOLD_AT 78u

/* Clauses are put on a line while they fit; `col` is how much of the line is used. */
struct folder {
	struct buf b;
	size_t col;
};

static void
put(struct folder *f, const char *word)
{
	size_t n = strlen(word);

	if (f->col + 1 + n > FOLD_AT) {
		buf_adds(&f->b, "\r\n\t");
		f->col = 8;	/* as a tab is counted by people; one octet to RFC 5322 */
	} else {
		buf_addc(&f->b, ' ');
		f->col++;
	}
	buf_add(&f->b, word, n);
	f->col += n;
}

static bool
is_name_octet(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
	    c == '.' || c == '_';
}

/* What a peer calls itself may be anything. A domain or an address literal stays as it is, so that
 * the field parses; every other octet becomes an underscore. The log has the original. */
static void
safe_name(char *dst, size_t size, const char *s)
{
	size_t n = s == NULL ? 0 : strlen(s), out = 0;
	bool literal = n > 2 && s[0] == '[' && s[n - 1] == ']';

	for (size_t i = 0; i < n && out + 1 < size; i++) {
		bool ok = is_name_octet(s[i]) ||
		    (literal && (s[i] == ':' || i == 0 || i == n - 1));

		dst[out++] = ok ? s[i] : '_';
	}
	if (out == 0)
		dst[out++] = '_';
	dst[out] = '\0';
}

/* Inside parentheses: no octet that could end or open a comment. */
static void
safe_comment(char *dst, size_t size, const char *s)
{
	text_escape(dst, size, s, strlen(s), false);
	for (char *p = dst; *p != '\0'; p++)
		if (*p == '(' || *p == ')' || *p == '\\')
			*p = '_';
}

static void
put_from(struct folder *f, const struct received *r)
{
	char helo[256], name[256], ip[64], word[600];

	safe_name(helo, sizeof helo, r->helo);
	put(f, helo);
	safe_comment(ip, sizeof ip, r->peer_ip == NULL ? "unknown" : r->peer_ip);
	safe_name(name, sizeof name, r->peer_name == NULL ? "unknown" : r->peer_name);
	/* TCP-info: the address literal has its tag for version 6 (RFC 5321 4.1.3). */
	snprintf(word, sizeof word, "(%s [%s%s])", name, strchr(ip, ':') == NULL ? "" : "IPv6:", ip);
	put(f, word);
}

static void
put_tls_comment(struct folder *f, const struct received *r)
{
	char version[64], cipher[128], word[256];

	if (r->tls_version != NULL) {
		safe_comment(version, sizeof version, r->tls_version);
		safe_comment(cipher, sizeof cipher, r->tls_cipher == NULL ? "" : r->tls_cipher);
		snprintf(word, sizeof word, "(version=%s%s%s)", version, cipher[0] == '\0' ? "" : " cipher=",
		    cipher);
		put(f, word);
	}
	if (r->requiretls)
		put(f, "(requiretls)");
}

/* FOR takes one path, and not one that would break the line or the field (M-181). */
static bool
may_name_rcpt(const char *rcpt)
{
	size_t n = rcpt == NULL ? 0 : strlen(rcpt);

	if (n == 0 || n > 320 || !utf8_is_valid(rcpt, n))
		return false;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)rcpt[i] < 0x21 || rcpt[i] == 0x7F || rcpt[i] == '<' || rcpt[i] == '>')
			return false;
	return true;
}

char *
received_format(const struct received *r)
{
	char word[512], id[ID_TEXT], date[48], cipher[128];
	struct folder f = { .col = strlen("Received: from") };

	/* Clause order: from, by, via, with, id, for, then additional ones (M-183). */
	buf_init(&f.b, RECEIVED_MAX);
	buf_adds(&f.b, "Received: from");
	put_from(&f, r);
	put(&f, "by");
	safe_name(word, sizeof word, r->by);
	put(&f, word);
	put(&f, "with");
	put(&f, r->with);
	put_tls_comment(&f, r);
	id_format(id, r->id);
	snprintf(word, sizeof word, "id %s", id);
	put(&f, word);
	if (may_name_rcpt(r->rcpt)) {
		snprintf(word, sizeof word, "for <%s>", r->rcpt);
		put(&f, word);
	}
	/* RFC 8314 4.3: the registered name of the suite, after FOR. OpenSSL's own names have no
	 * TLS_ in front and are in the comment only. */
	if (r->tls_cipher != NULL && strncmp(r->tls_cipher, "TLS_", 4) == 0) {
		safe_name(cipher, sizeof cipher, r->tls_cipher);
		snprintf(word, sizeof word, "tls %s", cipher);
		put(&f, word);
	}
	buf_addc(&f.b, ';');
	f.col++;
	date_rfc5322(date, sizeof date, r->wall_ms);
	put(&f, date);
	buf_adds(&f.b, "\r\n");
	return buf_take(&f.b);
}

const char *
received_with(bool esmtp, bool tls, bool auth, bool smtputf8, bool lmtp)
{
	/* RFC 3848 and RFC 6531 4.3; indexed by tls + 2 * auth. There is no ESMTP without EHLO,
	 * and TLS and AUTH come with EHLO only. */
	static const char *const smtp[] = { "ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA" };
	static const char *const utf8[] = { "UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA" };
	static const char *const lmtps[] = { "LMTP", "LMTPS", "LMTPA", "LMTPSA" };
	static const char *const utf8l[] = { "UTF8LMTP", "UTF8LMTPS", "UTF8LMTPA", "UTF8LMTPSA" };
	unsigned i = (tls ? 1u : 0u) + (auth ? 2u : 0u);

	if (lmtp)
		return smtputf8 ? utf8l[i] : lmtps[i];
	if (!esmtp && i == 0)	/* implicit TLS counts as S (M-184), even after HELO */
		return "SMTP";
	return smtputf8 ? utf8[i] : smtp[i];
}
