/* Parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (6152), SMTPUTF8 (6531), RET, ENVID, NOTIFY,
 * ORCPT (3461, 6533), AUTH (4954), REQUIRETLS (8689). Each of them at most once; what is not known
 * or not offered in this session is 555 5.5.4 (M-57), what is malformed 501 5.5.4. Nothing is ever
 * accepted and ignored but AUTH, which every server must take (M-159). */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "smtp/smtp.h"

#define ENVID_MAX 100	/* RFC 3461 5.4 (M-13) */
#define ORCPT_MAX 500
#define NOTIFY_MAX 28
#define AUTH_MAX 500

struct param {
	struct slice key, value;
	bool has_value;
};

static bool
bad(struct smtp_reply *err, int code, const char *what, struct slice key)
{
	/* The keyword was checked to be letters, digits and hyphens before it gets here. */
	smtp_reply_set(err, code, "5.5.4", "%s: %.*s", what, (int)(key.n > 40 ? 40 : key.n), key.p);
	return false;
}

static bool
is_keyword(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (!((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
		    (c == '-' && i > 0)))
			return false;
	}
	return s.n > 0;
}

/* The next parameter of `rest`, false at the end or with *failed set (RFC 5321 4.1.2 esmtp-param,
 * values with UTF8-non-ascii as in RFC 6531 3.3). */
static bool
next_param(struct slice *rest, struct param *out, struct smtp_reply *err, bool *failed)
{
	struct slice word;
	const char *eq;

	*failed = false;
	do {
		if (!slice_cut(rest, ' ', &word))
			return false;
	} while (word.n == 0);
	eq = memchr(word.p, '=', word.n);
	out->has_value = eq != NULL;
	out->key = (struct slice){ word.p, eq == NULL ? word.n : (size_t)(eq - word.p) };
	out->value = (struct slice){ word.p + out->key.n, 0 };
	if (eq != NULL)
		out->value = (struct slice){ eq + 1, word.n - out->key.n - 1 };
	if (is_keyword(out->key) && (!out->has_value || (out->value.n > 0 &&
	    memchr(out->value.p, '=', out->value.n) == NULL)))
		return true;
	*failed = true;
	smtp_reply_set(err, 501, "5.5.4", "Malformed parameter");
	return false;
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Well-formed xtext that decodes to printable ASCII. */
static bool
is_xtext(struct slice s, size_t max)
{
	struct buf plain;
	bool ok;

	if (s.n == 0 || s.n > max)
		return false;
	if (memchr(s.p, '+', s.n) == NULL)
		return ascii_is_printable(s.p, s.n) && memchr(s.p, ' ', s.n) == NULL;
	buf_init(&plain, max);
	ok = xtext_decode(s, &plain) && ascii_is_printable(buf_peek(&plain), plain.len);
	buf_fini(&plain);
	return ok;
}

/* ---- MAIL ---- */
static bool
mail_size(struct smtp_mail_params *p, const struct param *q, struct smtp_reply *err)
{
	if (q->value.n == 0 || q->value.n > 20)
		return bad(err, 501, "Malformed value", q->key);
	for (size_t i = 0; i < q->value.n; i++)
		if (q->value.p[i] < '0' || q->value.p[i] > '9')
			return bad(err, 501, "Malformed value", q->key);
	/* Twenty digits may pass 2^64: then it is too big for anybody (M-105). */
	if (!slice_u64(q->value, &p->size))
		p->size = UINT64_MAX;
	return true;
}

static bool
mail_body(struct smtp_mail_params *p, const struct param *q, struct smtp_reply *err)
{
	if (slice_is_nocase(q->value, "7BIT"))
		p->body = BODY_7BIT;
	else if (slice_is_nocase(q->value, "8BITMIME"))
		p->body = BODY_8BITMIME;
	else if (slice_is_nocase(q->value, "BINARYMIME"))	/* never offered (M-115) */
		return bad(err, 555, "Value not supported", q->key);
	else
		return bad(err, 501, "Malformed value", q->key);
	return true;
}

static bool
mail_ret(struct smtp_mail_params *p, const struct param *q, struct smtp_reply *err)
{
	if (slice_is_nocase(q->value, "FULL"))
		p->ret = RET_FULL;
	else if (slice_is_nocase(q->value, "HDRS"))
		p->ret = RET_HDRS;
	else
		return bad(err, 501, "Malformed value", q->key);
	return true;
}

static bool
mail_envid(struct smtp_mail_params *p, const struct param *q, struct smtp_reply *err)
{
	if (!is_xtext(q->value, ENVID_MAX))
		return bad(err, 501, "Malformed value", q->key);
	p->envid = slice_dup(q->value);
	return true;
}

static bool
mail_auth(struct smtp_mail_params *p, const struct param *q, struct smtp_reply *err)
{
	if (!is_xtext(q->value, AUTH_MAX))
		return bad(err, 501, "Malformed value", q->key);
	p->auth = slice_dup(q->value);
	p->has_auth = true;
	return true;
}

enum { TAKES_NONE, TAKES_VALUE };
static const struct mail_param {
	const char *name;
	unsigned ext;		/* offered by this SMTP_EXT_*; 0: always taken */
	int takes;
	bool (*set)(struct smtp_mail_params *, const struct param *, struct smtp_reply *);
} mail_params[] = {
	{ "SIZE", SMTP_EXT_SIZE, TAKES_VALUE, mail_size },
	{ "BODY", SMTP_EXT_8BITMIME, TAKES_VALUE, mail_body },
	{ "SMTPUTF8", SMTP_EXT_SMTPUTF8, TAKES_NONE, NULL },
	{ "RET", SMTP_EXT_DSN, TAKES_VALUE, mail_ret },
	{ "ENVID", SMTP_EXT_DSN, TAKES_VALUE, mail_envid },
	{ "AUTH", 0, TAKES_VALUE, mail_auth },
	{ "REQUIRETLS", SMTP_EXT_REQUIRETLS, TAKES_NONE, NULL },
};

static const struct mail_param *
find_mail_param(struct slice key)
{
	for (size_t i = 0; i < NELEMS(mail_params); i++)
		if (slice_is_nocase(key, mail_params[i].name))	/* R-04, M-58 */
			return &mail_params[i];
	return NULL;
}

static bool
mail_param(struct smtp_mail_params *p, const struct param *q, unsigned offered, bool in_tls,
    unsigned *seen, struct smtp_reply *err)
{
	const struct mail_param *m = find_mail_param(q->key);
	unsigned bit;

	if (m == NULL)
		return bad(err, 555, "Parameter not recognised", q->key);
	bit = 1u << (m - mail_params);
	if (*seen & bit)
		return bad(err, 501, "Parameter given twice", q->key);	/* R-18, M-109, M-132 */
	*seen |= bit;
	if (q->has_value != (m->takes == TAKES_VALUE))
		return bad(err, 501, q->has_value ? "Parameter takes no value" :	/* */
		    "Parameter needs a value", q->key);
	if (m->ext == SMTP_EXT_REQUIRETLS && !in_tls) {	/* R-15, D13 */
		smtp_reply_set(err, 530, "5.7.10", "REQUIRETLS needs TLS: use STARTTLS first");
		return false;
	}
	if (m->ext != 0 && (offered & m->ext) == 0)
		return bad(err, 555, "Parameter not offered here", q->key);
	if (m->ext == SMTP_EXT_REQUIRETLS)
		p->requiretls = true;
	else if (m->ext == SMTP_EXT_SMTPUTF8)
		p->smtputf8 = true;
	else if (m->ext == SMTP_EXT_SIZE)
		p->has_size = true;
	else if (m->ext == SMTP_EXT_8BITMIME)
		p->has_body = true;
	return m->set == NULL || m->set(p, q, err);
}

bool
smtp_mail_params_parse(struct smtp_mail_params *p, struct slice text, unsigned offered,
    bool in_tls, struct smtp_reply *err)
{
	struct param q;
	unsigned seen = 0;
	bool failed;

	memset(p, 0, sizeof *p);
	while (next_param(&text, &q, err, &failed)) {
		failed = !mail_param(p, &q, offered, in_tls, &seen, err);
		if (failed)
			break;
	}
	if (failed)
		smtp_mail_params_fini(p);
	return !failed;
}

void
smtp_mail_params_fini(struct smtp_mail_params *p)
{
	free(p->envid);
	free(p->auth);
	p->envid = p->auth = NULL;
}

/* ---- RCPT ---- */

/* NEVER alone, or a list of SUCCESS, FAILURE and DELAY (M-130). 0: malformed. */
static unsigned
parse_notify(struct slice value)
{
	struct slice word;
	unsigned mask = 0;

	if (value.n > NOTIFY_MAX)
		return 0;
	if (slice_is_nocase(value, "NEVER"))
		return NOTIFY_NEVER;
	while (slice_cut(&value, ',', &word)) {
		if (slice_is_nocase(word, "SUCCESS"))
			mask |= NOTIFY_SUCCESS;
		else if (slice_is_nocase(word, "FAILURE"))
			mask |= NOTIFY_FAILURE;
		else if (slice_is_nocase(word, "DELAY"))
			mask |= NOTIFY_DELAY;
		else
			return 0;
	}
	return mask;
}

/* \x{20AC} in an address of type utf-8 (RFC 6533 3): of a character, and not of one that X-31
 * refuses as +0A. */
static bool
embedded_is_fit(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned long cp = 0;
		size_t digits = 0;

		if (s.p[i] != '\\')
			continue;
		if (s.n - i < 5 || s.p[i + 1] != 'x' || s.p[i + 2] != '{')
			return false;
		for (i += 3; i < s.n && s.p[i] != '}'; i++, digits++) {
			int v = hex_value(s.p[i]);

			if (v < 0 || digits == 6)
				return false;
			cp = cp << 4 | (unsigned)v;
		}
		if (i == s.n || digits < 2 || cp < 0x20 || (cp >= 0x7F && cp < 0xA0) || cp == 0x2028 ||
		    cp == 0x2029 || (cp >= 0xD800 && cp <= 0xDFFF) || cp > 0x10FFFF)
			return false;
	}
	return true;
}

/* addr-type ";" xtext (M-131); for the type utf-8 with SMTPUTF8 also plain UTF-8 (RFC 6533 3). */
static bool
is_orcpt(struct slice value, bool utf8)
{
	struct slice type, rest = value;

	if (value.n > ORCPT_MAX || !slice_cut(&rest, ';', &type) || rest.p == NULL ||
	    !is_keyword(type))
		return false;
	if (slice_is_nocase(type, "utf-8") && !embedded_is_fit(rest))
		return false;
	if (is_xtext(rest, ORCPT_MAX))
		return true;
	return utf8 && slice_is_nocase(type, "utf-8") && rest.n > 0 &&
	    utf8_is_harmless(rest.p, rest.n) && memchr(rest.p, ' ', rest.n) == NULL &&
	    memchr(rest.p, '+', rest.n) == NULL && memchr(rest.p, '=', rest.n) == NULL;
}

bool
smtp_rcpt_params_parse(struct smtp_rcpt_params *p, struct slice text, unsigned offered,
    struct smtp_reply *err)
{
	struct param q;
	bool failed;

	memset(p, 0, sizeof *p);
	while (next_param(&text, &q, err, &failed)) {
		bool is_notify = slice_is_nocase(q.key, "NOTIFY");

		failed = true;
		if ((!is_notify && !slice_is_nocase(q.key, "ORCPT"))) {
			bad(err, 555, "Parameter not recognised", q.key);
			break;
		}
		if ((offered & SMTP_EXT_DSN) == 0) {
			bad(err, 555, "Parameter not offered here", q.key);
			break;
		}
		if (is_notify ? p->notify != 0 : p->orcpt != NULL) {
			bad(err, 501, "Parameter given twice", q.key);
			break;
		}
		if (is_notify && (p->notify = parse_notify(q.value)) == 0) {
			bad(err, 501, "Malformed value", q.key);
			break;
		}
		if (!is_notify) {
			if (!is_orcpt(q.value, (offered & SMTP_EXT_SMTPUTF8) != 0)) {
				bad(err, 501, "Malformed value", q.key);
				break;
			}
			p->orcpt = slice_dup(q.value);
		}
		failed = false;
	}
	if (failed)
		smtp_rcpt_params_fini(p);
	return !failed;
}

void
smtp_rcpt_params_fini(struct smtp_rcpt_params *p)
{
	free(p->orcpt);
	p->orcpt = NULL;
}
