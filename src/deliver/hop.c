#include "config.h"

#include "deliver/hop.h"

enum mx_trust
hop_mx_trust(const struct mx_result *r, const struct mx_host *h)
{
	if (r->secure)
		return MX_DNSSEC;
	return r->implicit && !h->is_address ? MX_IMPLICIT : MX_INSECURE;
}

enum hop_stage
hop_stage_of_end(enum smtp_client_end why, int code)
{
	switch (why) {
	case SMTP_END_STARTTLS:
		return code >= 500 ? HOP_HANDSHAKE_FAILED : HOP_STARTTLS_TEMPFAIL;
	case SMTP_END_HANDSHAKE:
		return HOP_HANDSHAKE_FAILED;
	case SMTP_END_EHLO:
		return code >= 500 ? HOP_NO_ESMTP : HOP_UNREACHABLE;
	case SMTP_END_PROTOCOL:
		return HOP_BROKE_PROTOCOL;
	default:
		return HOP_UNREACHABLE;
	}
}

void
hop_facts(struct trust_facts *f, const struct smtp_client_info *info)
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
	f->verified = tls->dane_ok ? PEER_DANE : f->pkix_ok ? PEER_PKIX : PEER_UNVERIFIED;
}
