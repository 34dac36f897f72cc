/* What a report about TLS (RFC 8460) says of one SMTP session: which policies applied to it, and whether
 * it met each. Pure: facts in, words out. What is counted where is deliver/'s and queue/'s matter. */
#ifndef TRUST_TLSRPT_H
#define TRUST_TLSRPT_H

#include "base/base.h"
#include "net/net.h"
#include "trust/trust.h"

#define TLSRPT_STS "sts"
#define TLSRPT_TLSA "tlsa"
#define TLSRPT_NO_POLICY "no-policy-found"

/* The result types of RFC 8460 section 4.3 that this gateway can meet. dane-required is none of them:
 * nothing here makes DANE mandatory. */
#define TLSRPT_NO_STARTTLS "starttls-not-supported"
#define TLSRPT_HOST_MISMATCH "certificate-host-mismatch"
#define TLSRPT_EXPIRED "certificate-expired"
#define TLSRPT_NOT_TRUSTED "certificate-not-trusted"
#define TLSRPT_VALIDATION "validation-failure"
#define TLSRPT_TLSA_INVALID "tlsa-invalid"
#define TLSRPT_DNSSEC_INVALID "dnssec-invalid"
#define TLSRPT_STS_FETCH "sts-policy-fetch-error"
#define TLSRPT_STS_INVALID "sts-policy-invalid"
#define TLSRPT_STS_WEBPKI "sts-webpki-invalid"

enum tlsrpt_stage {
	TLSRPT_UNTRIED,		/* no connection was made, for what DNS and policy say */
	TLSRPT_IN_CLEAR,	/* the host offers no STARTTLS */
	TLSRPT_NO_HANDSHAKE,	/* it failed, or STARTTLS was refused */
	TLSRPT_IN_TLS,
};
struct tlsrpt_facts {
	enum tlsrpt_stage stage;
	enum tlsa_state tlsa;
	enum sts_mode sts;
	bool sts_matches;
	bool own_rules;		/* the operator asks for other names, authorities or pins: a certificate that
				 * does not do says nothing of the domain's policy */
	enum tls_fault pkix, dane;
	const char *why;	/* TLSRPT_NO_HANDSHAKE; in TLS what is wrong with the certificate; NULL */
	const char *tlsa_why;	/* TLSA_FAILED */
};
struct tlsrpt_verdict {		/* of one policy; texts are static or those of the facts */
	const char *type;
	const char *result;	/* NULL: success (T-18) */
	const char *reason;	/* failure-reason-code, NULL: none */
};
#define TLSRPT_POLICIES 2	/* a session is under DANE and MTA-STS at most (S-70, T-17) */
size_t tlsrpt_judge(const struct tlsrpt_facts *f, struct tlsrpt_verdict v[TLSRPT_POLICIES]);

/* The lines of an MTA-STS policy as a JSON array, as they are, wrong ones too (T-14); and the patterns
 * among its good ones. Heap. */
char *tlsrpt_lines(const char *text);
char *tlsrpt_list(char *const *v, size_t n);

#endif
