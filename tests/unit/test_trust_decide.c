/* The decision table of spec requiretls.md section 11, row by row, and what must hold for every
 * combination of facts and needs. Rows 26, 44 to 48 and 57 are about more than one host's facts
 * (policy cache, MX look-up, later replies, notices) and are tested with deliver and dsn. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "trust/trust.h"

/* ---- the table ---- */

enum { H0, H1, H2, H2T, H3, H3_PKIX, H4, H5, HX, H_OLD, H_HELO, H_NONSENSE, H_SLOW };	/* HX: not tried */

/* Domains of the table's second column. */
enum domain { DANE, UNUSABLE, TLSA_BAD, SIGNED, STS_OK, STS_NOT, TEST_OK, TEST_NOT, PLAIN, STS_LOST,
	DANE_NO_STS, DANE_STS, DANE_FIXED, UNUSABLE_FIXED, TLSA_BAD_FIXED, TLSA_BAD_PLAIN, NO_MX, RELAY, LITERAL };

static struct trust_facts
facts_of(enum domain d, int h)
{
	struct trust_facts f = { .mx = MX_INSECURE };

	switch (d) {
	case DANE: f.mx = MX_DNSSEC; f.tlsa = TLSA_USABLE; break;
	case UNUSABLE: f.mx = MX_DNSSEC; f.tlsa = TLSA_UNUSABLE; break;
	case TLSA_BAD: f.mx = MX_DNSSEC; f.tlsa = TLSA_FAILED; break;
	case SIGNED: f.mx = MX_DNSSEC; break;
	case STS_OK: f.mx = MX_STS; f.sts = STS_ENFORCE; f.sts_matches = true; break;
	case STS_NOT: f.sts = STS_ENFORCE; break;
	case TEST_OK: f.mx = MX_STS; f.sts = STS_TESTING; f.sts_matches = true; break;
	case TEST_NOT: f.sts = STS_TESTING; break;
	case PLAIN: break;
	case STS_LOST: f.sts = STS_FETCH_FAILED; break;
	case DANE_NO_STS: f.tlsa = TLSA_USABLE; break;
	case DANE_STS: f.tlsa = TLSA_USABLE; f.mx = MX_STS; f.sts = STS_ENFORCE; f.sts_matches = true; break;
	case DANE_FIXED: f.is_fixed_host = true; f.tlsa = TLSA_USABLE; break;
	case UNUSABLE_FIXED: f.is_fixed_host = true; f.tlsa = TLSA_UNUSABLE; break;
	case TLSA_BAD_FIXED: f.is_fixed_host = true; f.tlsa = TLSA_FAILED; break;
	case TLSA_BAD_PLAIN: f.tlsa = TLSA_FAILED; break;
	case NO_MX: f.mx = MX_IMPLICIT; break;
	case RELAY: f.mx = MX_ASSERTED; break;
	case LITERAL: f.host_has_no_name = true; break;
	}
	switch (h) {
	case HX: f.stage = HOP_NOT_TRIED; return f;
	case H0: f.stage = HOP_UNREACHABLE; return f;
	case H1: f.stage = HOP_NO_STARTTLS; return f;
	case H_HELO: f.stage = HOP_NO_ESMTP; return f;
	case H_NONSENSE: f.stage = HOP_BROKE_PROTOCOL; return f;
	case H2: f.stage = HOP_HANDSHAKE_FAILED; return f;
	case H_SLOW: f.stage = HOP_HANDSHAKE_TIMEOUT; return f;
	case H2T: f.stage = HOP_STARTTLS_TEMPFAIL; return f;
	default: f.stage = HOP_TLS;
	}
	f.tls_is_modern = h != H_OLD;
	if (h == H3_PKIX)
		f.pkix_ok = true;
	if (h == H4 || h == H5) {
		bool by_dane = f.tlsa == TLSA_USABLE;

		f.verified = by_dane ? PEER_DANE : PEER_PKIX;
		f.pkix_ok = !by_dane;
	}
	f.lists_requiretls = h == H5;
	return f;
}

/* What the table's cells say. */
#define SEND_CLEAR	TRUST_SEND, false, ""
#define SEND_TLS	TRUST_SEND, false, ""
#define SEND_R		TRUST_SEND, true, ""
#define RECONNECT	TRUST_CLEAR, false, ""
#define CONNECT		TRUST_CONNECT, false, ""
#define F(status)	TRUST_SKIP_TEMP, false, status
#define SKIP(status)	TRUST_SKIP, false, status

struct cell {
	int action;
	bool r;
	const char *status;
};
static const struct row {
	const char *name;
	enum domain domain;
	int h;
	struct cell untagged, no, tagged;
} table[] = {
	{ "row 1: dane, unreachable", DANE, H0, { F("4.4.1") }, { F("4.4.1") }, { F("4.4.1") } },
	{ "row 2: dane, no starttls", DANE, H1, { SKIP("4.7.10") }, { SEND_CLEAR }, { SKIP("5.7.10") } },
	{ "row 3: dane, handshake", DANE, H2, { SKIP("4.7.5") }, { RECONNECT }, { SKIP("5.7.10") } },
	{ "row 3: dane, handshake times out (D1)", DANE, H_SLOW, { F("4.7.5") }, { RECONNECT }, { F("4.7.5") } },
	{ "row 4: dane, 454", DANE, H2T, { F("4.7.0") }, { SEND_CLEAR }, { F("4.7.0") } },
	{ "row 5: dane, no match", DANE, H3, { SKIP("4.7.5") }, { SEND_TLS }, { SKIP("5.7.10") } },
	{ "row 6: dane, no match, pkix valid", DANE, H3_PKIX, { SKIP("4.7.5") }, { SEND_TLS },
	    { SKIP("5.7.10") } },
	{ "row 7: dane, no keyword", DANE, H4, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.30") } },
	{ "row 8: dane, keyword", DANE, H5, { SEND_TLS }, { SEND_TLS }, { SEND_R } },
	{ "row 9: unusable tlsa, no starttls", UNUSABLE, H1, { SKIP("4.7.10") }, { SEND_CLEAR },
	    { SKIP("5.7.10") } },
	{ "row 10: unusable tlsa, pkix fails", UNUSABLE, H3, { SEND_TLS }, { SEND_TLS },
	    { SKIP("5.7.10") } },
	{ "row 11: unusable tlsa, no keyword", UNUSABLE, H4, { SEND_TLS }, { SEND_TLS },
	    { SKIP("5.7.30") } },
	{ "row 12: unusable tlsa, keyword", UNUSABLE, H5, { SEND_TLS }, { SEND_TLS }, { SEND_R } },
	{ "row 13: tlsa look-up failed, before", TLSA_BAD, HX, { F("4.4.3") }, { CONNECT }, { F("4.4.3") } },
	{ "row 13: tlsa look-up failed, clear", TLSA_BAD, H1, { F("4.4.3") }, { SEND_CLEAR },
	    { F("4.4.3") } },
	{ "row 13: tlsa look-up failed, H5", TLSA_BAD, H5, { F("4.4.3") }, { SEND_TLS }, { F("4.4.3") } },
	{ "row 14: signed, no starttls", SIGNED, H1, { SEND_CLEAR }, { SEND_CLEAR }, { SKIP("5.7.10") } },
	{ "row 14: signed, helo only", SIGNED, H_HELO, { SEND_CLEAR }, { SEND_CLEAR }, { SKIP("5.7.10") } },
	{ "row 1: dane, nonsense (X-32)", DANE, H_NONSENSE, { F("4.5.0") }, { F("4.5.0") }, { F("4.5.0") } },
	{ "row 15: signed, handshake", SIGNED, H2, { RECONNECT }, { RECONNECT }, { SKIP("5.7.10") } },
	{ "row 15: signed, handshake times out (D1)", SIGNED, H_SLOW, { RECONNECT }, { RECONNECT },
	    { F("4.7.5") } },
	{ "row 15: signed, 454", SIGNED, H2T, { SEND_CLEAR }, { SEND_CLEAR }, { F("4.7.0") } },
	{ "row 16: signed, unverified", SIGNED, H3, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.10") } },
	{ "row 16: signed, old tls (R-57)", SIGNED, H_OLD, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.10") } },
	{ "row 17: signed, no keyword", SIGNED, H4, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.30") } },
	{ "row 18: signed, keyword (D10)", SIGNED, H5, { SEND_TLS }, { SEND_TLS }, { SEND_R } },
	{ "row 19: sts, unreachable", STS_OK, H0, { F("4.4.1") }, { F("4.4.1") }, { F("4.4.1") } },
	{ "row 20: sts, no starttls", STS_OK, H1, { SKIP("4.7.10") }, { SEND_CLEAR }, { SKIP("5.7.10") } },
	{ "row 21: sts, handshake", STS_OK, H2, { SKIP("4.7.5") }, { RECONNECT }, { SKIP("5.7.10") } },
	{ "row 21: sts, handshake times out (D1)", STS_OK, H_SLOW, { F("4.7.5") }, { RECONNECT },
	    { F("4.7.5") } },
	{ "row 21: sts, 454 (D1)", STS_OK, H2T, { F("4.7.0") }, { SEND_CLEAR }, { F("4.7.0") } },
	{ "row 22: sts, unverified", STS_OK, H3, { SKIP("4.7.5") }, { SEND_TLS }, { SKIP("5.7.10") } },
	{ "row 23: sts, no keyword", STS_OK, H4, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.30") } },
	{ "row 24: sts, keyword", STS_OK, H5, { SEND_TLS }, { SEND_TLS }, { SEND_R } },
	{ "row 25: sts, other host, before", STS_NOT, HX, { SKIP("4.7.5") }, { CONNECT },
	    { SKIP("5.7.10") } },
	{ "row 25: sts, other host, clear", STS_NOT, H1, { SKIP("4.7.5") }, { SEND_CLEAR },
	    { SKIP("5.7.10") } },
	{ "row 25: sts, other host, H5", STS_NOT, H5, { SKIP("4.7.5") }, { SEND_TLS }, { SKIP("5.7.10") } },
	{ "row 27: sts testing, no starttls", TEST_OK, H1, { SEND_CLEAR }, { SEND_CLEAR },
	    { SKIP("5.7.10") } },
	{ "row 28: sts testing, unverified", TEST_OK, H3, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.10") } },
	{ "row 29: sts testing, no keyword", TEST_OK, H4, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.30") } },
	{ "row 30: sts testing, keyword (D2)", TEST_OK, H5, { SEND_TLS }, { SEND_TLS }, { SEND_R } },
	{ "row 31: sts testing, other host, clear", TEST_NOT, H1, { SEND_CLEAR }, { SEND_CLEAR },
	    { SKIP("5.7.10") } },
	{ "row 31: sts testing, other host, H5", TEST_NOT, H5, { SEND_TLS }, { SEND_TLS },
	    { SKIP("5.7.10") } },
	{ "row 32: plain, before", PLAIN, HX, { CONNECT }, { CONNECT }, { SKIP("5.7.10") } },
	{ "row 32: plain, unreachable (R-42)", PLAIN, H0, { F("4.4.1") }, { F("4.4.1") }, { SKIP("5.7.10") } },
	{ "row 33: plain, no starttls", PLAIN, H1, { SEND_CLEAR }, { SEND_CLEAR }, { SKIP("5.7.10") } },
	{ "row 34: plain, handshake", PLAIN, H2, { RECONNECT }, { RECONNECT }, { SKIP("5.7.10") } },
	{ "row 34: plain, handshake times out", PLAIN, H_SLOW, { RECONNECT }, { RECONNECT },
	    { SKIP("5.7.10") } },
	{ "row 34: plain, 454", PLAIN, H2T, { SEND_CLEAR }, { SEND_CLEAR }, { SKIP("5.7.10") } },
	{ "row 34: plain, unverified", PLAIN, H3, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.10") } },
	{ "row 34: plain, verified", PLAIN, H4, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.10") } },
	{ "row 35: plain, perfect certificate", PLAIN, H5, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.10") } },
	{ "row 36: policy not fetched, before", STS_LOST, HX, { CONNECT }, { CONNECT }, { F("4.7.5") } },
	{ "row 36: policy not fetched, clear", STS_LOST, H1, { SEND_CLEAR }, { SEND_CLEAR }, { F("4.7.5") } },
	{ "row 36: policy not fetched, H5", STS_LOST, H5, { SEND_TLS }, { SEND_TLS }, { F("4.7.5") } },
	{ "row 37: tlsa, mx unsigned, no sts (R-59)", DANE_NO_STS, H5, { SEND_TLS }, { SEND_TLS },
	    { SKIP("5.7.10") } },
	{ "row 38: tlsa, mx unsigned, sts", DANE_STS, H5, { SEND_TLS }, { SEND_TLS }, { SEND_R } },
	{ "named host, dane, no starttls", DANE_FIXED, H1, { SKIP("4.7.10") }, { SEND_CLEAR }, { SKIP("5.7.10") } },
	{ "named host, dane, no match", DANE_FIXED, H3_PKIX, { SKIP("4.7.5") }, { SEND_TLS }, { SKIP("5.7.10") } },
	{ "named host, dane, match", DANE_FIXED, H5, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.10") } },
	{ "named host, unusable tlsa", UNUSABLE_FIXED, H1, { SKIP("4.7.10") }, { SEND_CLEAR }, { SKIP("5.7.10") } },
	{ "named host, tlsa look-up failed", TLSA_BAD_FIXED, HX, { F("4.4.3") }, { CONNECT }, { F("4.4.3") } },
	{ "row 35: plain, tlsa look-up failed", TLSA_BAD_PLAIN, H5, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.10") } },
	{ "row 39: no mx, no starttls", NO_MX, H1, { SEND_CLEAR }, { SEND_CLEAR }, { SKIP("5.7.10") } },
	{ "row 40: no mx, no keyword", NO_MX, H4, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.30") } },
	{ "row 40: no mx, keyword", NO_MX, H5, { SEND_TLS }, { SEND_TLS }, { SEND_R } },
	{ "row 41: relay, no starttls", RELAY, H1, { SEND_CLEAR }, { SEND_CLEAR }, { SKIP("5.7.10") } },
	{ "row 41: relay, unverified", RELAY, H3, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.10") } },
	{ "row 42: relay, no keyword", RELAY, H4, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.30") } },
	{ "row 42: relay, keyword", RELAY, H5, { SEND_TLS }, { SEND_TLS }, { SEND_R } },
	{ "row 43: literal, before", LITERAL, HX, { CONNECT }, { CONNECT }, { SKIP("5.7.10") } },
	{ "row 43: literal, clear", LITERAL, H1, { SEND_CLEAR }, { SEND_CLEAR }, { SKIP("5.7.10") } },
	{ "row 43: literal, H5", LITERAL, H5, { SEND_TLS }, { SEND_TLS }, { SKIP("5.7.10") } },
};

static struct trust_need
need_of(duty_mask duties)
{
	return (struct trust_need){ .duties = duties, .sts_testing_counts = true,
		.relaxed_to = DUTY_RELAX_NONE };
}

static const struct trust_need untagged = { .sts_testing_counts = true, .relaxed_to = DUTY_RELAX_NONE };
static const struct trust_need with_no = { .waived = true, .sts_testing_counts = true,
	.relaxed_to = DUTY_RELAX_NONE };
static const struct trust_need tagged = { .duties = DUTY_ALL, .sts_testing_counts = true,
	.relaxed_to = DUTY_RELAX_NONE };

static void
expect(const char *name, const char *column, const struct trust_need *need, const struct trust_facts *f,
    const struct cell *c)
{
	struct trust_verdict v;
	unsigned row = 0;

	trust_decide(need, f, &v);
	ck_assert_msg((int)v.action == c->action && v.with_requiretls == c->r &&
	    strcmp(v.status, c->status) == 0, "%s, %s: action %d with_requiretls %d status \"%s\" (%s)",
	    name, column, (int)v.action, v.with_requiretls, v.status, trust_reason_word(v.reason));
	if (sscanf(name, "row %u:", &row) == 1 && v.action != TRUST_CONNECT && row != 13)
		ck_assert_msg(v.row == row, "%s, %s: says row %u", name, column, v.row);
	if (v.action == TRUST_SKIP)
		ck_assert_msg(v.unmet != 0 && (v.unmet & ~v.owed) == 0, "%s, %s: unmet %x owed %x", name,
		    column, v.unmet, v.owed);
}

START_TEST(decision_table)
{
	const struct row *r = &table[_i];
	struct trust_facts f = facts_of(r->domain, r->h);
	struct trust_need both = tagged, in_mask = untagged;

	expect(r->name, "untagged", &untagged, &f, &r->untagged);
	expect(r->name, "TLS-Required: No", &with_no, &f, &r->no);
	expect(r->name, "REQUIRETLS", &tagged, &f, &r->tagged);
	both.waived = true;	/* parameter and header */
	expect(r->name, "both", &both, &f, &r->tagged);
	/* The same when the caller has put STS and DANE into the mask. */
	if (f.sts == STS_ENFORCE)
		in_mask.duties |= duties_of_level(TLS_SECURE, DUTY_BY_STS);
	if (f.mx == MX_DNSSEC && f.tlsa == TLSA_USABLE)
		in_mask.duties |= duties_of_level(TLS_VERIFY, DUTY_BY_DANE);
	expect(r->name, "untagged, in the mask", &in_mask, &f, &r->untagged);
	in_mask.waived = true;
	expect(r->name, "No, in the mask", &in_mask, &f, &r->no);
}
END_TEST

START_TEST(row_30_testing_refused)		/* D2 */
{
	struct trust_facts f = facts_of(TEST_OK, H5);
	struct trust_need need = tagged;
	struct cell refused = { SKIP("5.7.10") };

	need.sts_testing_counts = false;
	expect("row 30: sts testing does not count", "REQUIRETLS", &need, &f, &refused);
}
END_TEST

START_TEST(row_49_parameter_refused)
{
	struct trust_facts f = facts_of(SIGNED, H5);
	struct cell refused = { SKIP("5.7.30") }, sent = { SEND_TLS };
	struct trust_verdict v;

	f.refuses_parameter = true;
	expect("row 49: parameter refused", "REQUIRETLS", &tagged, &f, &refused);
	trust_decide(&tagged, &f, &v);
	ck_assert_int_eq(v.reason, TRUST_PARAMETER_REFUSED);
	expect("", "untagged", &untagged, &f, &sent);
}
END_TEST

/* Row 50, the operator's own rule, with and without the header (D11). */
static const struct admin_case {
	const char *name;
	int h;
	unsigned admin, waivable;
	bool waived;
	struct cell want;
} admins[] = {
	{ "row 50: encrypt, no starttls", H1, 1, 0, false, { SKIP("4.7.10") } },
	{ "row 50: encrypt, no starttls, No", H1, 1, 0, true, { SKIP("4.7.10") } },
	{ "row 50: encrypt, handshake", H2, 1, 0, false, { SKIP("4.7.10") } },
	{ "row 15: encrypt, handshake times out", H_SLOW, 1, 0, false, { F("4.7.5") } },
	{ "row 50: encrypt, handshake, No", H2, 1, 0, true, { SKIP("4.7.10") } },
	{ "row 50: verify, unverified", H3, 3, 0, false, { SKIP("4.7.10") } },
	{ "row 50: verify, unverified, No", H3, 3, 0, true, { SKIP("4.7.10") } },
	{ "a rule's tag, keyword alone is missing (R-51, R-73)", H4, 15, 0, false, { SKIP("5.7.30") } },
	{ "encrypt, met", H3, 1, 0, false, { SEND_TLS } },
	{ "verify, met", H4, 3, 0, false, { SEND_TLS } },
	{ "requiretls by the admin, met", H5, 15, 0, false, { SEND_R } },
	{ "requiretls by the admin, No (R-67)", H5, 15, 0, true, { SEND_TLS } },
	{ "waivable, no starttls", H1, 0, 3, false, { SKIP("4.7.10") } },
	{ "waivable, no starttls, No", H1, 0, 3, true, { SEND_CLEAR } },
	{ "waivable, handshake, No", H2, 0, 3, true, { RECONNECT } },
	{ "waivable requiretls, H5, No (R-67)", H5, 0, 15, true, { SEND_TLS } },
	{ "propagate alone asks for the rest (R-07)", H3, 8, 0, false, { SKIP("5.7.10") } },
};

START_TEST(admin_rules)
{
	const struct admin_case *c = &admins[_i];
	struct trust_facts f = facts_of(SIGNED, c->h);
	struct trust_need need = need_of(duties_of(c->admin, DUTY_BY_ADMIN) |
	    duties_of(c->waivable, DUTY_BY_ADMIN_WAIVABLE));

	need.waived = c->waived;
	expect(c->name, "", &need, &f, &c->want);
}
END_TEST

/* The word for log, evidence and notice: what was wrong with this host. */
static const struct reason_case {
	const char *name;
	enum domain domain;
	int h;
	duty_mask duties;
	bool waived;
	enum trust_reason want;
} reasons[] = {
	{ "nobody there", SIGNED, H0, 15, false, TRUST_UNREACHABLE },
	{ "nonsense", SIGNED, H_NONSENSE, 15, false, TRUST_PROTOCOL },
	{ "no starttls", SIGNED, H1, 15, false, TRUST_NO_TLS },
	{ "helo only", SIGNED, H_HELO, 15, false, TRUST_NO_ESMTP },
	{ "454", SIGNED, H2T, 15, false, TRUST_TLS_TEMPFAIL },
	{ "handshake", SIGNED, H2, 15, false, TRUST_HANDSHAKE },
	{ "handshake, in clear next", SIGNED, H2, 0, false, TRUST_HANDSHAKE },
	{ "handshake times out", SIGNED, H_SLOW, 15, false, TRUST_HANDSHAKE },
	{ "old tls", SIGNED, H_OLD, 15, false, TRUST_OLD_TLS },
	{ "no certificate that verifies", SIGNED, H3, 15, false, TRUST_UNVERIFIED },
	{ "the same, asked for by a rule", SIGNED, H3, 3 << 4, false, TRUST_UNVERIFIED },
	{ "none of the records", DANE, H3, 0, false, TRUST_DANE_MISMATCH },
	{ "none of the records, REQUIRETLS", DANE, H3_PKIX, 15, false, TRUST_DANE_MISMATCH },
	{ "none of the records behind an unsigned name", DANE_STS, H3, 0, false, TRUST_DANE_MISMATCH },
	{ "records that do not count, a rule that does (D11)", DANE, H3, 3 << 4, true, TRUST_UNVERIFIED },
	{ "records that nobody can use", UNUSABLE, H3, 15, false, TRUST_UNVERIFIED },
	{ "tlsa look-up", TLSA_BAD, HX, 0, false, TRUST_TLSA_LOOKUP },
	{ "not in the policy", STS_NOT, HX, 0, false, TRUST_STS_MISMATCH },
	{ "no policy to be had", STS_LOST, HX, 15, false, TRUST_STS_FETCH },
	{ "unsigned", PLAIN, HX, 15, false, TRUST_MX_UNAUTHENTICATED },
	{ "no name", LITERAL, H5, 15, false, TRUST_NO_NAME },
	{ "no keyword", SIGNED, H4, 15, false, TRUST_NO_REQUIRETLS },
	{ "nothing wrong", SIGNED, H5, 15, false, TRUST_OK },
	{ "nothing known yet", SIGNED, HX, 15, false, TRUST_OK },
};

START_TEST(reason_words)
{
	const struct reason_case *c = &reasons[_i];
	struct trust_facts f = facts_of(c->domain, c->h);
	struct trust_need need = need_of(c->duties);
	struct trust_verdict v;

	need.waived = c->waived;
	trust_decide(&need, &f, &v);
	ck_assert_msg(v.reason == c->want, "%s: %s instead of %s", c->name, trust_reason_word(v.reason),
	    trust_reason_word(c->want));
}
END_TEST

/* Rows 53 to 56: mail with a null sender (D3, D6). */
static const struct null_case {
	const char *name;
	enum domain domain;
	int h;
	bool own;
	enum dsn_protect protect;
	bool last;
	struct cell want;
} nulls[] = {
	{ "row 53: qualifying", SIGNED, H5, true, DSN_PROTECT_FALLBACK, false, { SEND_R } },
	{ "row 53: qualifying, last pass", SIGNED, H5, true, DSN_PROTECT_FALLBACK, true, { SEND_R } },
	{ "row 53: qualifying, strict", SIGNED, H5, true, DSN_PROTECT_STRICT, true, { SEND_R } },
	{ "row 53: qualifying, redact", SIGNED, H5, true, DSN_PROTECT_REDACT, false, { SEND_R } },
	{ "row 54: no keyword, first pass", SIGNED, H4, true, DSN_PROTECT_FALLBACK, false,
	    { SKIP("5.7.30") } },
	{ "row 54: no keyword, last pass", SIGNED, H4, true, DSN_PROTECT_FALLBACK, true, { SEND_TLS } },
	{ "row 54: relayed, last pass (D6)", SIGNED, H4, false, DSN_PROTECT_FALLBACK, true, { SEND_TLS } },
	{ "row 54: own, redact, first pass", SIGNED, H4, true, DSN_PROTECT_REDACT, false, { SEND_TLS } },
	{ "row 54: relayed, redact, first pass", SIGNED, H4, false, DSN_PROTECT_REDACT, false,
	    { SKIP("5.7.30") } },
	{ "row 54: relayed, redact, last pass", SIGNED, H4, false, DSN_PROTECT_REDACT, true, { SEND_TLS } },
	{ "row 54: strict, last pass", SIGNED, H4, true, DSN_PROTECT_STRICT, true, { SKIP("5.7.30") } },
	{ "row 55: plain, before, first pass", PLAIN, HX, true, DSN_PROTECT_FALLBACK, false,
	    { SKIP("5.7.10") } },
	{ "row 55: plain, before, last pass", PLAIN, HX, true, DSN_PROTECT_FALLBACK, true, { CONNECT } },
	{ "row 55: plain, clear, last pass", PLAIN, H1, true, DSN_PROTECT_FALLBACK, true, { SEND_CLEAR } },
	{ "row 55: plain, handshake, last pass", PLAIN, H2, true, DSN_PROTECT_FALLBACK, true,
	    { RECONNECT } },
	{ "row 55: plain, H5, last pass", PLAIN, H5, false, DSN_PROTECT_FALLBACK, true, { SEND_TLS } },
	{ "row 55: plain, clear, strict", PLAIN, H1, true, DSN_PROTECT_STRICT, true, { SKIP("5.7.10") } },
	{ "row 55: dane still binds in the last pass", DANE, H1, true, DSN_PROTECT_FALLBACK, true,
	    { SKIP("5.7.10") } },
	{ "row 55: sts still binds in the last pass", STS_OK, H3, true, DSN_PROTECT_REDACT, true,
	    { SKIP("5.7.10") } },
};

START_TEST(null_sender_rows)
{
	const struct null_case *c = &nulls[_i];
	struct trust_facts f = facts_of(c->domain, c->h);
	struct trust_need need = tagged;
	struct trust_verdict v;

	need.null_sender = true;
	need.own_notice = c->own;
	need.protect = c->protect;
	need.last_resort = c->last;
	expect(c->name, "", &need, &f, &c->want);
	trust_decide(&need, &f, &v);
	if (v.action == TRUST_SEND)
		ck_assert_int_eq(v.unprotected, !v.with_requiretls);
	/* An administrator's duty does not give way. */
	need.duties |= duties_of_level(TLS_REQUIRETLS, DUTY_BY_ADMIN);
	trust_decide(&need, &f, &v);
	ck_assert_msg(v.action != TRUST_SEND || v.with_requiretls, "%s", c->name);
}
END_TEST

START_TEST(row_56_notice_with_no)
{
	struct trust_need need = with_no;
	struct cell clear = { SEND_CLEAR }, again = { RECONNECT };
	struct trust_facts f = facts_of(STS_OK, H1);

	need.null_sender = need.own_notice = true;
	expect("row 56: no starttls", "No", &need, &f, &clear);
	f = facts_of(STS_OK, H2);
	expect("row 56: handshake", "No", &need, &f, &again);
}
END_TEST

START_TEST(assertions)		/* design section 7, "our own last hop" */
{
	struct trust_facts f = facts_of(RELAY, H4);
	struct trust_verdict v;

	f.asserts_propagate = true;
	trust_decide(&tagged, &f, &v);
	ck_assert_int_eq(v.action, TRUST_SEND);
	ck_assert(!v.with_requiretls);
	f.lists_requiretls = true;
	trust_decide(&tagged, &f, &v);
	ck_assert(v.action == TRUST_SEND && v.with_requiretls);
	f.verified = PEER_UNVERIFIED;	/* nothing but the keyword is waived */
	trust_decide(&tagged, &f, &v);
	ck_assert_int_eq(v.action, TRUST_SKIP);
}
END_TEST

START_TEST(under_a_grant)
{
	struct trust_need need = tagged;
	struct trust_facts f = facts_of(PLAIN, H4);
	struct trust_verdict v;

	need.relaxed_to = DUTY_ENCRYPT | DUTY_AUTHENTICATE;
	trust_decide(&need, &f, &v);
	ck_assert(v.action == TRUST_SEND && !v.with_requiretls);
	ck_assert_uint_eq(v.owed, need.relaxed_to);
	f = facts_of(PLAIN, H3);
	trust_decide(&need, &f, &v);
	ck_assert_int_eq(v.action, TRUST_SKIP);
	ck_assert_str_eq(v.status, "4.7.10");
	f = facts_of(PLAIN, H1);
	need.relaxed_to = 0;
	trust_decide(&need, &f, &v);
	ck_assert_int_eq(v.action, TRUST_SEND);
}
END_TEST

/* ---- every combination ---- */

static struct trust_facts
nth_facts(unsigned n)
{
	struct trust_facts f;

#define TAKE(count) (n % (count)); n /= (count)
	f.stage = TAKE(9);
	f.mx = TAKE(7);		/* the last two: hosts that the configuration names */
	f.is_fixed_host = f.mx >= 5;
	if (f.is_fixed_host)
		f.mx = (unsigned)f.mx == 5 ? MX_INSECURE : MX_ASSERTED;
	f.verified = TAKE(4);
	f.tlsa = TAKE(4);
	f.sts = TAKE(4);
	f.pkix_ok = TAKE(2);
	f.tls_is_modern = TAKE(2);
	f.lists_requiretls = TAKE(2);
	f.asserts_propagate = TAKE(2);
	f.host_has_no_name = TAKE(2);
	f.sts_matches = TAKE(2);
	f.refuses_parameter = TAKE(2);
	return f;
}
#define ALL_FACTS (9u * 7 * 4 * 4 * 4 * 128)

/* Written again, apart from decide.c, and only as far as a SEND is concerned: what each duty means
 * in duties.h. Laxer than decide.c where the facts contradict each other. */
static unsigned
shown_by(const struct trust_facts *f)
{
	unsigned met = 0;

	if (f->stage == HOP_TLS && f->tls_is_modern) {
		met |= DUTY_ENCRYPT;
		if (f->verified != PEER_UNVERIFIED || f->pkix_ok)
			met |= DUTY_AUTHENTICATE;
		if (f->lists_requiretls)
			met |= DUTY_PROPAGATE;
	}
	if (f->mx != MX_INSECURE)
		met |= DUTY_SECURE_LOOKUP;
	if (f->asserts_propagate)
		met |= DUTY_PROPAGATE;
	return met;
}

static const duty_mask some_duties[] = { 0, 1, 3, 7, 15, 1 << 4, 3 << 4, 7 << 4, 15 << 4, 8 << 4, 4 << 4,
	7 << 8, 3 << 12, 1 << 12, 15 << 16, 1 << 16, 15 | 15 << 4, 7 << 8 | 3 << 12, 15 << 16 | 3 << 4 };

/* waived, null_sender, own_notice, last_resort, protect (3), testing, relaxed_to (4) */
#define ALL_NEEDS (2u * 2 * 2 * 2 * 3 * 2 * 4)
static struct trust_need
nth_need(unsigned n, duty_mask duties)
{
	static const unsigned relaxed[] = { DUTY_RELAX_NONE, 0, DUTY_ENCRYPT, DUTY_ENCRYPT | DUTY_AUTHENTICATE };
	struct trust_need need = { .duties = duties };

	need.waived = TAKE(2);
	need.null_sender = TAKE(2);
	need.own_notice = TAKE(2);
	need.last_resort = TAKE(2);
	need.protect = TAKE(3);
	need.sts_testing_counts = TAKE(2);
	need.relaxed_to = relaxed[n % 4];
	return need;
}

/* ck_assert writes to the parent each time, too slow for millions. */
#define HOLDS(cond) do { if (!(cond)) ck_abort_msg("%s (need %x)", #cond, need->duties); } while (0)

static void
check_one(const struct trust_need *need, const struct trust_facts *f)
{
	bool by_sender = duties_from(need->duties, DUTY_BY_SENDER) != 0;
	bool waived = need->waived && !by_sender, relaxed = need->relaxed_to != DUTY_RELAX_NONE;
	bool may_give_way = by_sender && (need->null_sender || need->own_notice) && !relaxed &&
	    need->protect != DSN_PROTECT_STRICT &&
	    (need->last_resort || (need->own_notice && need->protect == DSN_PROTECT_REDACT));
	unsigned must = relaxed ? need->relaxed_to : waived ? duties_waived(need->duties) :
	    duties_bits(need->duties);
	struct trust_verdict v;

	trust_decide(need, f, &v);
	if (v.unprotected) {
		HOLDS(may_give_way && !v.with_requiretls);
		must = duties_bits(need->duties & ~duties_of(DUTY_ALL, DUTY_BY_SENDER));
	}
	if (v.action == TRUST_SEND) {		/* (a), (c) */
		HOLDS((must & ~shown_by(f)) == 0);
		HOLDS((must & ~v.owed) == 0);
		HOLDS((v.unmet) == 0);
		HOLDS(f->stage != HOP_NOT_TRIED && f->stage != HOP_UNREACHABLE && f->stage != HOP_BROKE_PROTOCOL &&
		    f->stage != HOP_HANDSHAKE_FAILED && f->stage != HOP_HANDSHAKE_TIMEOUT);
		HOLDS(v.status[0] == '\0');
		if (f->sts == STS_ENFORCE && !f->sts_matches)
			HOLDS(waived || relaxed);
		if ((f->mx == MX_DNSSEC || f->is_fixed_host) && f->tlsa == TLSA_USABLE && f->verified != PEER_DANE)
			HOLDS(waived || relaxed);
	}
	if (v.with_requiretls)			/* (d) */
		HOLDS(v.action == TRUST_SEND && f->lists_requiretls && f->stage == HOP_TLS &&
		    f->tls_is_modern && !waived && !f->refuses_parameter &&
		    (v.owed & DUTY_PROPAGATE) != 0 && shown_by(f) == DUTY_ALL);
	if (v.action == TRUST_SEND && (v.owed & DUTY_PROPAGATE) != 0 && !f->asserts_propagate && !waived)
		HOLDS(v.with_requiretls);
	if (v.action == TRUST_CLEAR)
		HOLDS((f->stage == HOP_HANDSHAKE_FAILED || f->stage == HOP_HANDSHAKE_TIMEOUT) &&
		    (v.owed & ~DUTY_SECURE_LOOKUP) == 0);
	if (v.action == TRUST_CONNECT)
		HOLDS(f->stage == HOP_NOT_TRIED);
	if (v.action == TRUST_SKIP)
		HOLDS(f->stage != HOP_HANDSHAKE_TIMEOUT || (v.unmet & DUTY_ENCRYPT) == 0);
	if (v.action == TRUST_SKIP)
		HOLDS(v.unmet != 0 && (v.unmet & ~v.owed) == 0 && v.status[0] != '\0');
	if (v.action == TRUST_SKIP_TEMP)
		HOLDS(v.status[0] == '4');
	if (v.status[0] == '5')
		HOLDS(v.action == TRUST_SKIP && (by_sender ||
		    (duties_from(need->duties, DUTY_BY_ADMIN) & DUTY_PROPAGATE) != 0));
}

START_TEST(sends_only_what_is_met)
{
	for (unsigned n = (unsigned)_i; n < ALL_FACTS; n += 16) {
		struct trust_facts f = nth_facts(n);

		for (unsigned k = 0; k < NELEMS(some_duties) * ALL_NEEDS; k += 307) {
			/* Not all with all: another choice for each n, so that none is left out. */
			unsigned at = (k + n) % (NELEMS(some_duties) * ALL_NEEDS);
			struct trust_need need = nth_need(at / NELEMS(some_duties),
			    some_duties[at % NELEMS(some_duties)]);

			check_one(&need, &f);
		}
	}
}
END_TEST

START_TEST(more_duties_never_open)		/* (b) */
{
	for (unsigned n = (unsigned)_i; n < ALL_FACTS; n += 16) {
		struct trust_facts f = nth_facts(n);

		for (unsigned k = n % 97; k < ALL_NEEDS; k += 97) {
			struct trust_need less = nth_need(k, some_duties[n % NELEMS(some_duties)]), more = less;
			struct trust_verdict v, w;

			trust_decide(&less, &f, &v);
			if (v.action == TRUST_SEND)
				continue;
			for (unsigned b = 0; b < 20; b++) {
				more.duties = less.duties | 1u << b;
				trust_decide(&more, &f, &w);
				if (w.action == TRUST_SEND)
					ck_abort_msg("facts %u need %u duties %x + %x", n, k,
					    less.duties, 1u << b);
			}
		}
	}
}
END_TEST

/* ---- conclude ---- */

static const struct conclude_case {
	const char *name;
	enum domain d1;
	int h1;
	enum domain d2;
	int h2;
	duty_mask duties;
	bool null_sender;
	enum trust_end end;
	const char *status;
} conclusions[] = {
	{ "no keyword anywhere", SIGNED, H4, SIGNED, H4, 15, false, TRUST_END_BOUNCE, "5.7.30" },
	{ "row 51: one lacks the keyword, one the certificate (D14)", SIGNED, H3, SIGNED, H4, 15, false,
	    TRUST_END_BOUNCE, "5.7.30" },
	{ "row 51: the other way round", SIGNED, H4, SIGNED, H1, 15, false, TRUST_END_BOUNCE, "5.7.30" },
	{ "no tls anywhere", SIGNED, H1, SIGNED, H2, 15, false, TRUST_END_BOUNCE, "5.7.10" },
	{ "row 52: one is unreachable", SIGNED, H4, SIGNED, H0, 15, false, TRUST_END_DEFER, "4.4.1" },
	{ "row 52: 454 on one (D1)", SIGNED, H2T, SIGNED, H4, 15, false, TRUST_END_DEFER, "4.7.0" },
	{ "row 52: a handshake that timed out on one (D1)", SIGNED, H1, SIGNED, H_SLOW, 15, false,
	    TRUST_END_DEFER, "4.7.5" },
	{ "tlsa look-up failed on one", TLSA_BAD, HX, SIGNED, H4, 15, false, TRUST_END_DEFER, "4.4.3" },
	{ "admin alone", SIGNED, H1, SIGNED, H3, 3 << 4, false, TRUST_END_DEFER, "4.7.10" },
	{ "dane alone", DANE, H3, DANE, H3, 0, false, TRUST_END_DEFER, "4.7.5" },
	{ "sts alone", STS_NOT, HX, STS_OK, H1, 0, false, TRUST_END_DEFER, "4.7.5" },
	{ "admin, and one unreachable", SIGNED, H1, SIGNED, H0, 3 << 4, false, TRUST_END_DEFER, "4.4.1" },
	{ "sender and admin", SIGNED, H3, SIGNED, H1, 15 | 3 << 4, false, TRUST_END_BOUNCE, "5.7.10" },
	{ "null sender waits", SIGNED, H4, SIGNED, H3, 15, true, TRUST_END_DEFER, "4.7.30" },
	{ "null sender waits without keyword", SIGNED, H1, SIGNED, H3, 15, true, TRUST_END_DEFER, "4.7.10" },
};

START_TEST(conclusion)
{
	const struct conclude_case *c = &conclusions[_i];
	struct trust_facts f1 = facts_of(c->d1, c->h1), f2 = facts_of(c->d2, c->h2);
	struct trust_need need = need_of(c->duties);
	struct trust_verdict v[2];
	struct trust_conclusion out;

	need.null_sender = c->null_sender;
	need.protect = DSN_PROTECT_STRICT;
	trust_decide(&need, &f1, &v[0]);
	trust_decide(&need, &f2, &v[1]);
	ck_assert(v[0].action != TRUST_SEND && v[1].action != TRUST_SEND);
	trust_conclude(&need, v, 2, &out);
	ck_assert_msg(out.end == c->end && strcmp(out.status, c->status) == 0, "%s: end %d status %s", c->name,
	    (int)out.end, out.status);
}
END_TEST

START_TEST(words)
{
	for (int r = 0; r < TRUST_REASONS; r++) {
		ck_assert_ptr_nonnull(trust_reason_text((enum trust_reason)r));
		ck_assert_ptr_nonnull(trust_reason_word((enum trust_reason)r));
		ck_assert_int_eq(trust_reason_word((enum trust_reason)r)[0] >= 'a', 1);
	}
	ck_assert_str_eq(trust_reason_text(TRUST_NO_REQUIRETLS), "the server does not list REQUIRETLS");
	ck_assert_str_eq(mx_trust_name(MX_STS), "sts");
	ck_assert_str_eq(mx_trust_name(MX_IMPLICIT), "domain");
	ck_assert_str_eq(peer_verified_name(PEER_PIN), "pin");
}
END_TEST

UNIT_MAIN("trust_decide",
	tcase_add_loop_test(tc, decision_table, 0, NELEMS(table));
	tcase_add_test(tc, row_30_testing_refused);
	tcase_add_test(tc, row_49_parameter_refused);
	tcase_add_loop_test(tc, admin_rules, 0, NELEMS(admins));
	tcase_add_loop_test(tc, reason_words, 0, NELEMS(reasons));
	tcase_add_loop_test(tc, null_sender_rows, 0, NELEMS(nulls));
	tcase_add_test(tc, row_56_notice_with_no);
	tcase_add_test(tc, assertions);
	tcase_add_test(tc, under_a_grant);
	tcase_add_loop_test(tc, conclusion, 0, NELEMS(conclusions));
	tcase_add_test(tc, words);
	tcase_add_loop_test(tc, sends_only_what_is_met, 0, 16);
	tcase_add_loop_test(tc, more_duties_never_open, 0, 16);
)
