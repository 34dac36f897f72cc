/* The trust decision for one host or one live connection (I2).
 *
 *   owed      what is asked of this host, out of need and facts
 *   met       what the facts show; nothing is assumed
 *   refuse    the first unmet duty, in the order in which it becomes known: look-up, TLS,
 *             certificate, keyword
 *
 * Row numbers are those of the decision table; row_of names the one that applied, for evidence and
 * for the test that walks the table. It decides nothing. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "trust/trust.h"

/* TLS-Required: No counts, unless the sender used REQUIRETLS. */
static bool
is_waived(const struct trust_need *need)
{
	return need->waived && duties_from(need->duties, DUTY_BY_SENDER) == 0;
}

static unsigned
close_over(unsigned owed)
{
	if (owed & DUTY_PROPAGATE)
		owed |= DUTY_ALL;	/* the parameter is for sessions that meet only */
	if (owed & DUTY_AUTHENTICATE)
		owed |= DUTY_ENCRYPT;
	return owed;
}

/* What the recipient's domain publishes for this host: STS enforce (rows 19 to 25), DANE when the
 * way to the host was validated (rows 1 to 12; not row 37). */
/* TLSA records bind where nobody can have put another host in place: the way to it was validated, or
 * the operator named it (RFC 7672 2.2.1, 2.2.2). Else they are good for the certificate only (D-22). */
static bool
dane_binds(const struct trust_facts *f)
{
	return f->mx == MX_DNSSEC || f->is_fixed_host;
}

static unsigned
published(const struct trust_facts *f)
{
	unsigned owed = 0;

	if (f->sts == STS_ENFORCE)
		owed |= DUTY_ENCRYPT | DUTY_AUTHENTICATE | DUTY_SECURE_LOOKUP;
	if (dane_binds(f) && f->tlsa == TLSA_USABLE)
		owed |= DUTY_ENCRYPT | DUTY_AUTHENTICATE;
	if (dane_binds(f) && f->tlsa == TLSA_UNUSABLE)
		owed |= DUTY_ENCRYPT;
	return owed;
}

/* A TLSA look-up that failed may hide an attack: the host is left out (row 13), except by those
 * who behave as if they did not know DANE or have a grant. */
static bool
tlsa_blocks(const struct trust_need *need, const struct trust_facts *f)
{
	return f->tlsa == TLSA_FAILED && dane_binds(f) && !is_waived(need) &&
	    need->relaxed_to == DUTY_RELAX_NONE;
}

static unsigned
owed_of(const struct trust_need *need, const struct trust_facts *f, bool without_sender)
{
	unsigned owed = 0;

	if (need->relaxed_to != DUTY_RELAX_NONE)
		return close_over(need->relaxed_to & DUTY_ALL);
	if (is_waived(need))
		return close_over(duties_waived(need->duties));
	for (unsigned s = 0; s < DUTY_SOURCES; s++)
		if (!(without_sender && s == DUTY_BY_SENDER))
			owed |= duties_from(need->duties, (enum duty_source)s);
	return close_over(owed | published(f));
}

/* ---- what is met ---- */

static bool
is_encrypted(const struct trust_facts *f)
{
	return f->stage == HOP_TLS && f->tls_is_modern;		/* */
}

static bool
is_authenticated(const struct trust_need *need, const struct trust_facts *f)
{
	if (!is_encrypted(f) || f->host_has_no_name)
		return false;
	if (is_waived(need))	/* no DANE for them: whatever verifies will do */
		return f->verified != PEER_UNVERIFIED || f->pkix_ok;
	if (f->tlsa == TLSA_USABLE)
		/* PKIX does not rescue what DANE refuses (row 6); nor does a pin, where it is
		 * DANE that asks. */
		return f->verified == PEER_DANE || (f->verified == PEER_PIN && !dane_binds(f) &&
		    (duties_from(need->duties, DUTY_BY_DANE) & DUTY_AUTHENTICATE) == 0);
	return f->verified == PEER_PKIX || f->verified == PEER_PIN;
}

static bool
is_lookup_secure(const struct trust_need *need, const struct trust_facts *f)
{
	if (f->sts == STS_ENFORCE && !f->sts_matches && !is_waived(need))
		return false;		/* row 25, however the host was found */
	switch (f->mx) {
	case MX_DNSSEC:			/* D10 */
	case MX_ASSERTED:
	case MX_IMPLICIT:
		return true;
	case MX_STS:
		return f->sts_matches && (f->sts == STS_ENFORCE ||
		    (f->sts == STS_TESTING && need->sts_testing_counts));	/* D2 */
	case MX_INSECURE:
		break;
	}
	return false;
}

static bool
takes_parameter(const struct trust_facts *f)
{
	return is_encrypted(f) && f->lists_requiretls && !f->refuses_parameter;
}

static unsigned
met_by(const struct trust_need *need, const struct trust_facts *f)
{
	unsigned met = 0;

	if (is_encrypted(f))
		met |= DUTY_ENCRYPT;
	if (is_authenticated(need, f))
		met |= DUTY_AUTHENTICATE;
	if (is_lookup_secure(need, f))
		met |= DUTY_SECURE_LOOKUP;
	if (takes_parameter(f) || f->asserts_propagate)
		met |= DUTY_PROPAGATE;
	return met;
}

/* ---- verdicts ---- */

static void
say(struct trust_verdict *v, enum trust_action action, enum trust_reason reason, const char *status)
{
	v->action = action;
	v->reason = reason;
	snprintf(v->status, sizeof v->status, "%s", status);
}

/* What a REQUIRETLS tag asks for: the sender's, or one that a rule or an administrator set (RFC 8689
 * 4.3 lets them; R-73). R-51 wants the notice at once for either. */
static unsigned
tagged(const struct trust_need *need)
{
	unsigned bits = duties_from(need->duties, DUTY_BY_SENDER);

	if (duties_from(need->duties, DUTY_BY_ADMIN) & DUTY_PROPAGATE)
		bits |= DUTY_ALL;
	return close_over(bits);
}

/* For good. Class 5 when it is a REQUIRETLS tag that asks for what is missing, else
 * class 4: an administrator or the recipient's domain may still put it right (row 50). `published`
 * says which code a failure of what the domain published has (rows 3, 5, 21, 22). */
static void
skip(const struct trust_need *need, struct trust_verdict *v, enum trust_reason reason,
    const char *detail, const char *detail_published, unsigned by_domain)
{
	bool by_tag = (tagged(need) & v->unmet) != 0 && need->relaxed_to == DUTY_RELAX_NONE;
	char status[sizeof v->status];

	snprintf(status, sizeof status, "%c.%s", by_tag ? '5' : '4',
	    !by_tag && (v->unmet & by_domain) != 0 ? detail_published : detail);
	say(v, TRUST_SKIP, reason, status);
}

/* What is already known without a connection: rows 13, 25, 32, 35, 36 and 43. */
static bool
refuse_lookup(const struct trust_need *need, const struct trust_facts *f, unsigned by_domain,
    struct trust_verdict *v)
{
	if (tlsa_blocks(need, f)) {
		v->owed |= DUTY_ENCRYPT | DUTY_AUTHENTICATE;
		v->unmet = DUTY_ENCRYPT | DUTY_AUTHENTICATE;
		say(v, TRUST_SKIP_TEMP, TRUST_TLSA_LOOKUP, "4.4.3");
		return true;
	}
	if ((v->owed & DUTY_AUTHENTICATE) != 0 && f->host_has_no_name) {
		v->unmet &= DUTY_AUTHENTICATE | DUTY_SECURE_LOOKUP;
		skip(need, v, TRUST_NO_NAME, "7.10", "7.5", by_domain);
		return true;
	}
	if ((v->unmet & DUTY_SECURE_LOOKUP) == 0)
		return false;
	v->unmet = DUTY_SECURE_LOOKUP;
	if (f->sts == STS_FETCH_FAILED)
		say(v, TRUST_SKIP_TEMP, TRUST_STS_FETCH, "4.7.5");
	else if (f->sts == STS_ENFORCE && !f->sts_matches)
		skip(need, v, TRUST_STS_MISMATCH, "7.10", "7.5", by_domain);
	else
		skip(need, v, TRUST_MX_UNAUTHENTICATED, "7.10", "7.10", by_domain);
	return true;
}

/* Duties are unmet on a connection that was tried. */
static void
refuse_connection(const struct trust_need *need, const struct trust_facts *f, unsigned by_domain,
    struct trust_verdict *v)
{
	if (f->stage == HOP_STARTTLS_TEMPFAIL)
		say(v, TRUST_SKIP_TEMP, TRUST_TLS_TEMPFAIL, "4.7.0");	/* D1, rows 4 and 15 */
	else if (f->stage == HOP_HANDSHAKE_TIMEOUT)
		say(v, TRUST_SKIP_TEMP, TRUST_HANDSHAKE, "4.7.5");	/* D1 */
	else if (f->stage == HOP_NO_STARTTLS)
		skip(need, v, TRUST_NO_TLS, "7.10", "7.10", by_domain);
	else if (f->stage == HOP_NO_ESMTP)
		skip(need, v, TRUST_NO_ESMTP, "7.10", "7.10", by_domain);
	else if (f->stage == HOP_HANDSHAKE_FAILED)
		skip(need, v, TRUST_HANDSHAKE, "7.10", "7.5", by_domain);
	else if (!f->tls_is_modern)
		skip(need, v, TRUST_OLD_TLS, "7.10", "7.5", by_domain);
	else if (v->unmet & DUTY_AUTHENTICATE)
		skip(need, v, f->tlsa == TLSA_USABLE && !is_waived(need) ? TRUST_DANE_MISMATCH :
		    TRUST_UNVERIFIED, "7.10", "7.5", by_domain);
	else
		skip(need, v, f->refuses_parameter ? TRUST_PARAMETER_REFUSED : TRUST_NO_REQUIRETLS,
		    "7.30", "7.30", by_domain);
}

static void
judge(const struct trust_need *need, const struct trust_facts *f, bool without_sender,
    struct trust_verdict *v)
{
	/* STS and DANE, the mask's and the facts': which of two codes a deferral has. */
	unsigned by_domain = published(f) | duties_from(need->duties, DUTY_BY_STS) |
	    duties_from(need->duties, DUTY_BY_DANE);

	memset(v, 0, sizeof *v);
	v->owed = owed_of(need, f, without_sender);
	v->unmet = v->owed & ~met_by(need, f);
	if (is_waived(need))
		by_domain = 0;		/* all that is left is the operator's own rule (D11) */
	if (refuse_lookup(need, f, by_domain, v))
		return;
	if (f->stage == HOP_UNREACHABLE || f->stage == HOP_BROKE_PROTOCOL || f->stage == HOP_NOT_TRIED) {
		v->unmet = 0;		/* nobody knows yet */
		if (f->stage == HOP_NOT_TRIED)
			say(v, TRUST_CONNECT, TRUST_OK, "");
		else if (f->stage == HOP_BROKE_PROTOCOL)
			say(v, TRUST_SKIP_TEMP, TRUST_PROTOCOL, "4.5.0");
		else
			say(v, TRUST_SKIP_TEMP, TRUST_UNREACHABLE, "4.4.1");
		return;
	}
	if (f->stage == HOP_TAKES_NO_MAIL) {
		v->unmet = 0;
		say(v, TRUST_SKIP, TRUST_TAKES_NO_MAIL, "5.3.2");
		return;
	}
	if (v->unmet != 0) {
		refuse_connection(need, f, by_domain, v);
		return;
	}
	if (f->stage == HOP_HANDSHAKE_FAILED || f->stage == HOP_HANDSHAKE_TIMEOUT) {
		say(v, TRUST_CLEAR, TRUST_HANDSHAKE, "");	/* R-65; nothing is owed */
		return;
	}
	say(v, TRUST_SEND, TRUST_OK, "");
	/* never for mail that waives TLS, even where the operator asks for the keyword. */
	v->with_requiretls = (v->owed & DUTY_PROPAGATE) != 0 && takes_parameter(f) && !is_waived(need);
}

/* D3, D6: may the sender's duties give way in this pass, so that a notice is not lost? */
static bool
may_go_unprotected(const struct trust_need *need)
{
	if ((!need->null_sender && !need->own_notice) || need->relaxed_to != DUTY_RELAX_NONE ||
	    duties_from(need->duties, DUTY_BY_SENDER) == 0)
		return false;
	switch (need->protect) {
	case DSN_PROTECT_REDACT:
		return need->own_notice || need->last_resort;
	case DSN_PROTECT_FALLBACK:
		return need->last_resort;
	case DSN_PROTECT_STRICT:
		break;
	}
	return false;
}

/* ---- the row that applied ---- */

enum { H0, H1, H2, H2_454, H3, H4, H5, H_STATES };

static unsigned
h_state(const struct trust_need *need, const struct trust_facts *f)
{
	switch (f->stage) {
	case HOP_NOT_TRIED:
	case HOP_UNREACHABLE:
	case HOP_BROKE_PROTOCOL:
	case HOP_TAKES_NO_MAIL:
		return H0;
	case HOP_NO_STARTTLS:
	case HOP_NO_ESMTP:
		return H1;
	case HOP_HANDSHAKE_FAILED:
	case HOP_HANDSHAKE_TIMEOUT:
		return H2;
	case HOP_STARTTLS_TEMPFAIL:
		return H2_454;
	case HOP_TLS:
		break;
	}
	if (!is_authenticated(need, f))
		return H3;
	return takes_parameter(f) ? H5 : H4;
}

enum { DOM_DANE, DOM_DANE_UNUSABLE, DOM_SIGNED, DOM_STS, DOM_STS_TESTING, DOM_PLAIN, DOM_IMPLICIT,
	DOM_ROUTE };
static const unsigned char rows[][H_STATES] = {
	[DOM_DANE]          = { 1, 2, 3, 4, 5, 7, 8 },
	[DOM_DANE_UNUSABLE] = { 0, 9, 9, 9, 10, 11, 12 },
	[DOM_SIGNED]        = { 0, 14, 15, 15, 16, 17, 18 },
	[DOM_STS]           = { 19, 20, 21, 21, 22, 23, 24 },
	[DOM_STS_TESTING]   = { 0, 27, 27, 27, 28, 29, 30 },
	[DOM_PLAIN]         = { 32, 33, 34, 34, 34, 34, 35 },
	[DOM_IMPLICIT]      = { 0, 39, 39, 39, 39, 40, 40 },
	[DOM_ROUTE]         = { 0, 41, 41, 41, 41, 42, 42 },
};

static unsigned
row_of_domain(const struct trust_facts *f, unsigned h)
{
	if (dane_binds(f) && f->tlsa == TLSA_USABLE)
		return h < H3 || f->verified == PEER_DANE ? rows[DOM_DANE][h] : f->pkix_ok ? 6 : 5;
	if (dane_binds(f) && f->tlsa == TLSA_UNUSABLE)
		return rows[DOM_DANE_UNUSABLE][h];
	if (f->sts == STS_ENFORCE && !f->sts_matches)
		return 25;
	if (f->tlsa == TLSA_USABLE && h >= H3)
		return f->mx == MX_STS ? 38 : 37;
	if (f->mx == MX_IMPLICIT)
		return rows[DOM_IMPLICIT][h];
	if (f->mx == MX_ASSERTED)
		return rows[DOM_ROUTE][h];
	if (f->sts == STS_ENFORCE)
		return rows[DOM_STS][h];
	if (f->mx == MX_DNSSEC)
		return rows[DOM_SIGNED][h];
	if (f->sts == STS_TESTING)
		return f->sts_matches ? rows[DOM_STS_TESTING][h] : 31;
	return f->sts == STS_FETCH_FAILED ? 36 : rows[DOM_PLAIN][h];
}

static unsigned
row_of(const struct trust_need *need, const struct trust_facts *f, const struct trust_verdict *v)
{
	unsigned h = h_state(need, f);
	bool is_tagged = duties_from(need->duties, DUTY_BY_SENDER) != 0;

	if (v->action == TRUST_CONNECT)
		return 0;
	if (v->reason == TRUST_TLSA_LOOKUP)
		return 13;
	if (f->host_has_no_name)
		return 43;
	if (v->reason == TRUST_PARAMETER_REFUSED)
		return 49;
	if ((need->null_sender || need->own_notice) && (h != H0 || f->stage == HOP_NOT_TRIED)) {
		if (is_tagged)
			return v->with_requiretls ? 53 : h == H4 && is_lookup_secure(need, f) ? 54 : 55;
		if (is_waived(need))
			return 56;
	}
	if (v->status[0] == '4' && v->unmet != 0 && v->action == TRUST_SKIP &&
	    (published(f) == 0 || is_waived(need)))
		return 50;
	return row_of_domain(f, h);
}

static bool
is_refusal(const struct trust_verdict *v)
{
	return v->action == TRUST_SKIP || v->action == TRUST_SKIP_TEMP;
}

void
trust_decide(const struct trust_need *need, const struct trust_facts *facts, struct trust_verdict *out)
{
	struct trust_verdict second;

	judge(need, facts, false, out);
	if (is_refusal(out) && may_go_unprotected(need)) {
		judge(need, facts, true, &second);
		if (!is_refusal(&second)) {
			*out = second;
			out->unprotected = true;
		}
	}
	out->row = row_of(need, facts, out);
}
