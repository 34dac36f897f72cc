/* What a probe means for mail. The verdicts are trust_decide's and trust_conclude's; what would have to
 * change is found with the same: as long as it says no, the fact that it names is put right and it is
 * asked again. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/probe.h"

static const char *const mail_keys[PROBE_MAILS] = { "untagged", "tls_required_no", "requiretls" };

/* Names in certificates and replies are whatever a stranger wrote (I7). */
static json_t *
safe(const char *text)
{
	char small[2048];

	if (text == NULL)
		return json_null();
	text_escape(small, sizeof small, text, strlen(text), true);
	return json_string(small);
}

static json_t *
made(char *text)
{
	json_t *j = safe(text);

	free(text);
	return j;
}

static void
need_of(const struct probe *p, enum probe_mail mail, struct trust_need *need)
{
	*need = (struct trust_need){ .relaxed_to = DUTY_RELAX_NONE, .waived = mail == PROBE_TLS_NO,
		.sts_testing_counts = p->conf == NULL || p->conf->tls.sts_testing_counts };
	if (mail == PROBE_REQUIRETLS)
		need->duties = duties_of(DUTY_ALL, DUTY_BY_SENDER);
}

/* Delivery goes to the next address only when nobody talks sense at this one. */
static const struct probe_try *
first_answer(const struct probe_host *h)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->tries[i].facts.stage != HOP_UNREACHABLE && h->tries[i].facts.stage != HOP_BROKE_PROTOCOL)
			return &h->tries[i];
	return h->n > 0 ? &h->tries[h->n - 1] : NULL;
}

static void
facts_of(const struct probe_host *h, struct trust_facts *f)
{
	const struct probe_try *t = first_answer(h);

	*f = t != NULL ? t->facts : h->facts;
	if (t == NULL)
		f->stage = HOP_UNREACHABLE;
}

/* A host without addresses is none, unless it could not be found out. */
static bool
is_host(const struct probe_host *h)
{
	return h->n > 0 || dns_status_is_failure(h->mx->addr_status);
}

/* After a handshake that failed, and a STARTTLS that was refused for now, mail that owes nothing goes
 * in clear (R-65, row 15). */
static bool
goes_in_clear(const struct trust_verdict *v, const struct trust_facts *f)
{
	return v->action == TRUST_CLEAR || (v->action == TRUST_SEND && f->stage != HOP_TLS);
}

static bool
is_sent(const struct trust_verdict *v)
{
	return v->action == TRUST_SEND || v->action == TRUST_CLEAR;
}

static const char *
protection(const struct trust_verdict *v, const struct trust_facts *f)
{
	if (goes_in_clear(v, f))
		return "clear";
	return f->verified == PEER_DANE ? "tls-dane" : f->verified == PEER_PKIX ? "tls-pkix" : "tls";
}

/* ---- What would have to change ---- */

/* The host's name came in an unsigned answer, and no MTA-STS policy vouches for it. */
static char *
no_proof(const struct probe_host *h)
{
	static const char sign[] = "the domain: sign its MX records with DNSSEC, or";
	const struct probe *p = h->p;
	const char *name = h->mx->name;

	if (p->sts.is_off)
		return xasprintf("%s publish an MTA-STS policy that names %s (tls.sts is off here)", sign, name);
	if (p->sts.txt == STS_TXT_BROKEN)
		return xasprintf("%s mend its MTA-STS record", sign);
	if (p->sts.txt == STS_TXT_ID && !p->sts.has_policy)
		return xasprintf("%s put the MTA-STS policy in place that its TXT record announces (%s)", sign,
		    p->sts.why);
	if (h->facts.sts_matches)
		return xasprintf("%s set the mode of its MTA-STS policy to enforce", sign);
	if (p->sts.has_policy)
		return xasprintf("%s name %s in its MTA-STS policy", sign, name);
	return xasprintf("%s publish an MTA-STS policy that names %s", sign, name);
}

static char *
change_for(const struct probe_host *h, enum trust_reason reason)
{
	const struct probe_try *t = first_answer(h);
	const char *name = h->mx->name;

	switch (reason) {
	case TRUST_MX_UNAUTHENTICATED:
		return no_proof(h);
	case TRUST_STS_MISMATCH:
		return xasprintf("the domain: name %s in its MTA-STS policy", name);
	case TRUST_STS_FETCH:
		if (h->p->sts.txt_failed)
			return xasprintf("the domain: its name servers have to answer for _mta-sts.%s", h->p->domain);
		return xasprintf("the domain: the MTA-STS policy that its TXT record announces has to be there (%s)",
		    h->p->sts.why);
	case TRUST_TLSA_LOOKUP:
		return xasprintf("the domain of %s: its name servers have to answer for TLSA records (%s)", name,
		    h->dane->why);
	case TRUST_DANE_MISMATCH:
		return xasprintf("%s: a certificate that matches the TLSA records at %s, or records that match it", name,
		    h->dane->base);
	case TRUST_NO_NAME:
		return xstrdup("the domain: its MX record has to name a host, not an address");
	case TRUST_NO_TLS:
		return xasprintf("%s: offer STARTTLS", name);
	case TRUST_TLS_TEMPFAIL:
	case TRUST_HANDSHAKE:
		return xasprintf("%s: STARTTLS is offered and has to work", name);
	case TRUST_OLD_TLS:
		return xasprintf("%s: TLS 1.2 or later", name);
	case TRUST_NO_ESMTP:
		return xasprintf("%s: ESMTP (EHLO)", name);
	case TRUST_UNVERIFIED:
		if (t != NULL && t->chain_ok && t->names != NULL)
			return xasprintf("%s: the certificate names %s, not %s", name, t->names, name);
		if (t != NULL && t->has_tls && !t->name_ok)
			return xasprintf("%s: a certificate with this name from an authority that is trusted here (it "
			    "names %s: %s)", name, t->names != NULL ? t->names : "nothing",
			    t->verify_error != NULL ? t->verify_error : "not verified");
		return xasprintf("%s: a certificate from an authority that is trusted here (%s), or TLSA records "
		    "behind DNSSEC", name, t != NULL && t->verify_error != NULL ? t->verify_error : "not verified");
	case TRUST_NO_REQUIRETLS:
		return xasprintf("%s: list REQUIRETLS after STARTTLS%s", name,
		    t != NULL && (t->ext_before_tls & SMTP_EXT_REQUIRETLS) ?
		    "; it is listed before, where it does not count" : "");
	case TRUST_UNREACHABLE:
		return xasprintf("%s: it has to answer", name);
	case TRUST_PROTOCOL:
		return xasprintf("%s: it has to speak SMTP", name);
	default:
		return NULL;
	}
}

/* The fact behind a reason put right; false where what lies behind it is not known. */
static bool
put_right(struct trust_facts *f, enum trust_reason reason)
{
	switch (reason) {
	case TRUST_MX_UNAUTHENTICATED:
		f->mx = MX_DNSSEC;
		return true;
	case TRUST_STS_MISMATCH:
		f->sts_matches = true;
		if (f->mx == MX_INSECURE)
			f->mx = MX_STS;
		return true;
	case TRUST_UNVERIFIED:
		f->pkix_ok = true;
		f->verified = PEER_PKIX;
		return true;
	case TRUST_DANE_MISMATCH:
		f->verified = PEER_DANE;
		return true;
	case TRUST_NO_REQUIRETLS:
		f->lists_requiretls = true;
		return true;
	case TRUST_STS_FETCH:
		f->sts = STS_ENFORCE;
		f->sts_matches = true;
		if (f->mx == MX_INSECURE)
			f->mx = MX_STS;
		return true;
	case TRUST_TLSA_LOOKUP:
		f->tlsa = TLSA_NONE;
		return true;
	default:
		return false;
	}
}

static json_t *
changes(const struct probe_host *h, const struct trust_need *need)
{
	json_t *list = json_array();
	struct trust_verdict v;
	struct trust_facts f;

	facts_of(h, &f);
	for (int i = 0; i < TRUST_REASONS; i++) {
		char *text;

		trust_decide(need, &f, &v);
		if (is_sent(&v))
			break;
		text = change_for(h, v.reason);
		if (text != NULL)
			json_array_append_new(list, made(text));
		if (!put_right(&f, v.reason))
			break;
	}
	return list;
}

/* ---- Hosts ---- */

static json_t *
verdict_json(const struct probe *p, const struct probe_host *h, enum probe_mail mail)
{
	struct trust_verdict v;
	struct trust_facts f;
	struct trust_need need;
	json_t *o = json_object();

	need_of(p, mail, &need);
	facts_of(h, &f);
	trust_decide(&need, &f, &v);
	json_object_set_new(o, "sent", json_boolean(is_sent(&v)));
	if (is_sent(&v)) {
		json_object_set_new(o, "protection", json_string(protection(&v, &f)));
		json_object_set_new(o, "with_requiretls", json_boolean(v.with_requiretls));
	} else {
		json_object_set_new(o, "for_good", json_boolean(v.action == TRUST_SKIP));
		json_object_set_new(o, "status", json_string(v.status));
		json_object_set_new(o, "reason", json_string(trust_reason_word(v.reason)));
		json_object_set_new(o, "text", json_string(trust_reason_text(v.reason)));
		json_object_set_new(o, "changes", changes(h, &need));
	}
	if (v.row != 0)
		json_object_set_new(o, "row", json_integer(v.row));
	return o;
}

static const char *
stage_name(enum hop_stage s)
{
	static const char *const names[] = { [HOP_NOT_TRIED] = "not-tried", [HOP_UNREACHABLE] = "unreachable",
		[HOP_NO_STARTTLS] = "no-starttls", [HOP_STARTTLS_TEMPFAIL] = "starttls-tempfail",
		[HOP_HANDSHAKE_FAILED] = "handshake-failed", [HOP_TLS] = "tls", [HOP_NO_ESMTP] = "no-esmtp",
		[HOP_BROKE_PROTOCOL] = "protocol", [HOP_HANDSHAKE_TIMEOUT] = "handshake-timeout" };

	return names[s];
}

static json_t *
tls_json(const struct probe_try *t)
{
	const struct { const char *key, *value; } texts[] = {
		{ "version", t->version }, { "cipher", t->cipher }, { "group", t->group }, { "subject", t->subject },
		{ "issuer", t->issuer }, { "names", t->names }, { "not_after", t->not_after },
		{ "cert_sha256", t->cert }, { "spki_sha256", t->spki }, { "verify_error", t->verify_error },
	};
	json_t *o = json_object();

	for (size_t i = 0; i < NELEMS(texts); i++)
		json_object_set_new(o, texts[i].key, safe(texts[i].value));
	json_object_set_new(o, "tlsa", safe(t->tlsa));
	json_object_set_new(o, "verified", json_string(peer_verified_name(t->facts.verified)));
	return o;
}

static json_t *
try_json(const struct probe_try *t)
{
	json_t *o = json_object();

	json_object_set_new(o, "ip", json_string(t->ip));
	json_object_set_new(o, "stage", json_string(stage_name(t->facts.stage)));
	json_object_set_new(o, "text", safe(t->text));
	json_object_set_new(o, "starttls", json_boolean(t->has_tls || (t->ext_before_tls & SMTP_EXT_STARTTLS) != 0));
	json_object_set_new(o, "requiretls", json_boolean(t->has_tls && (t->ext & SMTP_EXT_REQUIRETLS) != 0));
	json_object_set_new(o, "requiretls_before_tls",
	    json_boolean((t->ext_before_tls & SMTP_EXT_REQUIRETLS) != 0));
	json_object_set_new(o, "tls", t->has_tls ? tls_json(t) : json_null());
	return o;
}

/* What there is to know of the domain's MTA-STS policy; null where it was not looked for. */
static json_t *
sts_json(const struct probe *p)
{
	static const char *const records[] = { [STS_TXT_NONE] = "none", [STS_TXT_ID] = "found",
		[STS_TXT_BROKEN] = "broken" };
	json_t *o, *mx;

	if (p->sts.is_off)
		return json_null();
	o = json_object();
	json_object_set_new(o, "record", json_string(p->sts.txt_failed ? "lookup-failed" : records[p->sts.txt]));
	json_object_set_new(o, "id", p->sts.txt == STS_TXT_ID ? safe(p->sts.id) : json_null());
	json_object_set_new(o, "mode", json_string(sts_mode_name(p->sts.mode)));
	json_object_set_new(o, "why", safe(p->sts.why));
	if (!p->sts.has_policy)
		return o;
	json_object_set_new(o, "max_age", json_integer(p->sts.policy.max_age_s));
	mx = json_array();
	for (size_t i = 0; i < p->sts.policy.nmx; i++)
		json_array_append_new(mx, safe(p->sts.policy.mx[i]));
	json_object_set_new(o, "mx", mx);
	return o;
}

static json_t *
host_json(const struct probe *p, const struct probe_host *h)
{
	json_t *o = json_object(), *list = json_array();

	json_object_set_new(o, "name", safe(h->mx->name));
	json_object_set_new(o, "preference", p->mx->implicit ? json_null() : json_integer(h->mx->preference));
	json_object_set_new(o, "authenticated_by", json_string(mx_trust_name(h->facts.mx)));
	json_object_set_new(o, "sts_match", p->sts.has_policy ? json_boolean(h->facts.sts_matches) : json_null());
	json_object_set_new(o, "addresses_secure", json_boolean(h->mx->secure));
	json_object_set_new(o, "tlsa", made(dane_evidence(h->dane, NULL)));
	json_object_set_new(o, "address_lookup", json_string(dns_status_name(h->mx->addr_status)));
	for (size_t i = 0; i < h->n; i++)
		json_array_append_new(list, try_json(&h->tries[i]));
	json_object_set_new(o, "addresses", list);
	for (int m = 0; is_host(h) && m < PROBE_MAILS; m++)
		json_object_set_new(o, mail_keys[m], verdict_json(p, h, (enum probe_mail)m));
	return o;
}

/* ---- The domain ---- */

static json_t *
end_json(const char *result, const char *status, const char *reason, const char *text)
{
	json_t *o = json_object();

	json_object_set_new(o, "result", json_string(result));
	json_object_set_new(o, "status", json_string(status));
	json_object_set_new(o, "reason", json_string(reason));
	json_object_set_new(o, "text", safe(text));
	return o;
}

/* As delivery ends such a look-up (RFC 5321 5.1, RFC 7505). */
static json_t *
no_host_json(const struct mx_result *r)
{
	static const struct { const char *result, *status, *reason; } ends[] = {
		[MX_OK] = { "returned", "5.4.4", "no-address" },
		[MX_NXDOMAIN] = { "returned", "5.1.2", "nxdomain" },
		[MX_NULL] = { "returned", "5.1.10", "null-mx" },
		[MX_TEMPFAIL] = { "deferred", "4.4.3", "dns-failure" },
		[MX_ONLY_SELF] = { "returned", "5.4.6", "mx-loop" },
		[MX_NO_ADDRESS] = { "returned", "5.4.4", "no-address" },
	};

	return end_json(ends[r->status].result, ends[r->status].status, ends[r->status].reason, r->why);
}

static json_t *
conclusion_json(const struct probe *p, enum probe_mail mail)
{
	struct trust_verdict *v = xcalloc(p->n + 1, sizeof *v);
	struct trust_conclusion end;
	struct trust_need need;
	json_t *o = NULL;
	size_t n = 0;

	need_of(p, mail, &need);
	for (size_t i = 0; o == NULL && i < p->n; i++) {
		struct trust_facts f;

		if (!is_host(&p->hosts[i]))
			continue;
		facts_of(&p->hosts[i], &f);
		trust_decide(&need, &f, &v[n]);
		if (is_sent(&v[n])) {
			o = json_object();
			json_object_set_new(o, "result", json_string("delivered"));
			json_object_set_new(o, "host", safe(p->hosts[i].mx->name));
			json_object_set_new(o, "protection", json_string(protection(&v[n], &f)));
			json_object_set_new(o, "with_requiretls", json_boolean(v[n].with_requiretls));
		}
		n++;
	}
	if (o == NULL && n == 0) {
		o = no_host_json(p->mx);
	} else if (o == NULL) {
		trust_conclude(&need, v, n, &end);
		o = end_json(end.end == TRUST_END_BOUNCE ? "returned" : "deferred", end.status,
		    trust_reason_word(end.reason), trust_reason_text(end.reason));
	}
	free(v);
	return o;
}

static enum probe_answer
answer_of(const struct probe *p, const json_t *conclusion)
{
	const char *result = json_string_value(json_object_get(conclusion, "result"));

	if (strcmp(result, "delivered") == 0)
		return PROBE_YES;
	if (strcmp(result, "deferred") == 0)
		return PROBE_UNKNOWN;
	/* "Not signed" is no finding of somebody who cannot validate. */
	return p->dns_ok || p->n == 0 || p->mx->secure ? PROBE_NO : PROBE_UNKNOWN;
}

json_t *
probe_json(const struct probe *p, enum probe_answer *requiretls)
{
	static const char *const mx_names[] = { [MX_OK] = "ok", [MX_NXDOMAIN] = "nxdomain", [MX_NULL] = "null-mx",
		[MX_TEMPFAIL] = "dns-failure", [MX_ONLY_SELF] = "mx-loop", [MX_NO_ADDRESS] = "no-address" };
	json_t *o = json_object(), *hosts = json_array(), *end = json_object();

	json_object_set_new(o, "domain", safe(p->domain));
	json_object_set_new(o, "port", json_integer(p->port));
	json_object_set_new(o, "dnssec", json_pack("{s:b, s:o}", "validated", p->dns_ok, "why",
	    p->dns_ok ? json_null() : safe(p->dns_why)));
	json_object_set_new(o, "mx", json_pack("{s:s, s:b, s:b, s:o}", "status", mx_names[p->mx->status],
	    "secure", p->mx->secure, "implicit", p->mx->implicit, "why",
	    p->mx->status == MX_OK ? json_null() : safe(p->mx->why)));
	json_object_set_new(o, "sts", sts_json(p));
	for (size_t i = 0; i < p->n; i++)
		json_array_append_new(hosts, host_json(p, &p->hosts[i]));
	json_object_set_new(o, "hosts", hosts);
	for (int m = 0; m < PROBE_MAILS; m++)
		json_object_set_new(end, mail_keys[m], conclusion_json(p, (enum probe_mail)m));
	*requiretls = answer_of(p, json_object_get(end, mail_keys[PROBE_REQUIRETLS]));
	json_object_set_new(o, "conclusion", end);
	return o;
}
