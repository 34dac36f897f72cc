/* What people, logs and evidence call the things of trust.h. */
#include "config.h"

#include "base/base.h"
#include "trust/trust.h"

static const struct {
	const char *word, *text;
} reasons[TRUST_REASONS] = {
	[TRUST_OK] = { "ok", "the server meets what was asked for" },
	[TRUST_UNREACHABLE] = { "unreachable", "the server could not be reached" },
	[TRUST_NO_TLS] = { "no-starttls", "the server does not offer STARTTLS" },
	[TRUST_TLS_TEMPFAIL] = { "starttls-tempfail", "the server could not start TLS for the moment" },
	[TRUST_HANDSHAKE] = { "handshake-failed", "the TLS handshake with the server failed" },
	[TRUST_OLD_TLS] = { "old-tls", "the server offers only obsolete TLS" },
	[TRUST_UNVERIFIED] = { "unverified", "the server's certificate could not be verified" },
	[TRUST_DANE_MISMATCH] = { "dane-mismatch",
		"the server's certificate does not match the domain's TLSA records" },
	[TRUST_MX_UNAUTHENTICATED] = { "mx-unauthenticated",
		"the name of the server could not be authenticated by DNSSEC or MTA-STS" },
	[TRUST_NO_NAME] = { "no-name", "the server has no name that a certificate could prove" },
	[TRUST_NO_REQUIRETLS] = { "no-requiretls", "the server does not list REQUIRETLS" },
	[TRUST_NO_ESMTP] = { "no-esmtp", "the server does not speak ESMTP" },
	[TRUST_TLSA_LOOKUP] = { "tlsa-lookup-failed",
		"the server's TLSA records could not be looked up" },
	[TRUST_STS_MISMATCH] = { "sts-mismatch",
		"the server is not listed in the domain's MTA-STS policy" },
	[TRUST_STS_FETCH] = { "sts-fetch-failed", "the domain's MTA-STS policy could not be fetched" },
	[TRUST_PROTOCOL] = { "protocol", "the server broke the protocol" },
	[TRUST_TAKES_NO_MAIL] = { "takes-no-mail", "the server takes no mail at all" },
	[TRUST_NO_AUTH] = { "no-auth", "the server offers no way to log in that we have" },
	[TRUST_AUTH_REFUSED] = { "auth-refused", "the server did not let us log in" },
	[TRUST_PARAMETER_REFUSED] = { "parameter-refused",
		"the server lists REQUIRETLS but refused it" },
};

const char *
trust_reason_text(enum trust_reason r)
{
	return (unsigned)r < TRUST_REASONS ? reasons[r].text : "unknown";
}

const char *
trust_reason_word(enum trust_reason r)
{
	return (unsigned)r < TRUST_REASONS ? reasons[r].word : "unknown";
}

const char *
mx_trust_name(enum mx_trust m)
{
	static const char *const names[] = { [MX_INSECURE] = "no", [MX_DNSSEC] = "dnssec",
		[MX_STS] = "sts", [MX_ASSERTED] = "asserted", [MX_IMPLICIT] = "domain" };

	return (size_t)m < NELEMS(names) ? names[m] : "unknown";
}

const char *
peer_verified_name(enum peer_verified v)
{
	static const char *const names[] = { [PEER_UNVERIFIED] = "no", [PEER_PKIX] = "pkix",
		[PEER_DANE] = "dane", [PEER_PIN] = "pin" };

	return (size_t)v < NELEMS(names) ? names[v] : "unknown";
}

const char *
sts_mode_name(enum sts_mode m)
{
	static const char *const names[] = { [STS_NONE] = "none", [STS_TESTING] = "testing",
		[STS_ENFORCE] = "enforce", [STS_FETCH_FAILED] = "unknown" };

	return names[m];
}
