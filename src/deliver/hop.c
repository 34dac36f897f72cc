#include "config.h"

#include "deliver/deliver_int.h"

enum mx_trust
hop_mx_trust(const struct mx_result *r, const struct mx_host *h)
{
	if (r->secure)
		return MX_DNSSEC;
	return r->implicit && !h->is_address ? MX_IMPLICIT : MX_INSECURE;
}

bool
hop_sts_matches(const struct sts_policy *p, const struct mx_host *h)
{
	return p != NULL && !h->is_address && sts_policy_has(p, h->name);
}

enum mx_trust
hop_mx_by_sts(enum mx_trust mx, enum sts_mode mode, bool sts_matches)
{
	return mx == MX_INSECURE && sts_matches && mode != STS_NONE ? MX_STS : mx;
}

enum hop_stage
hop_stage_of_end(enum smtp_client_end why, int code)
{
	switch (why) {
	case SMTP_END_STARTTLS:
		return code >= 500 ? HOP_HANDSHAKE_FAILED : HOP_STARTTLS_TEMPFAIL;
	case SMTP_END_HANDSHAKE:
		return HOP_HANDSHAKE_FAILED;
	case SMTP_END_HANDSHAKE_TIMEOUT:
		return HOP_HANDSHAKE_TIMEOUT;
	case SMTP_END_EHLO:
		return code >= 500 ? HOP_NO_ESMTP : HOP_UNREACHABLE;
	case SMTP_END_PROTOCOL:
		return HOP_BROKE_PROTOCOL;
	default:
		return HOP_UNREACHABLE;
	}
}

/* What the operator asks of a certificate is asked of one that DANE binds, too: names, authorities
 * and pins of a route or policy are no less strict for what the domain publishes. */
static bool
meets_own(const struct verify_want *w, const struct tls_info *tls)
{
	return w == NULL || ((w->nnames == 0 || tls->name_matches) && (w->ca_file == NULL || tls->chain_ok));
}

static enum peer_verified
verified_by(const struct verify_want *w, const struct tls_info *tls)
{
	bool has_pins = w != NULL && w->npins > 0;

	/* Pins, where they are asked for, are the only thing that counts, but for DANE. */
	if (has_pins && !tls->pin_ok)
		return PEER_UNVERIFIED;
	if (tls->dane_ok && meets_own(w, tls))
		return PEER_DANE;
	return has_pins ? PEER_PIN : tls->chain_ok && tls->name_ok ? PEER_PKIX : PEER_UNVERIFIED;
}

void
hop_facts(struct trust_facts *f, const struct smtp_client_info *info, const struct verify_want *w)
{
	const struct tls_info *tls = info->tls;

	f->lists_requiretls = (info->ext & SMTP_EXT_REQUIRETLS) != 0;
	if (!info->esmtp)
		f->stage = HOP_NO_ESMTP;
	else
		f->stage = tls == NULL ? HOP_NO_STARTTLS : HOP_TLS;
	if (tls == NULL)
		return;
	f->tls_is_modern = tls->is_modern;
	f->pkix_ok = tls->chain_ok && tls->name_ok;
	f->verified = verified_by(w, tls);
}
