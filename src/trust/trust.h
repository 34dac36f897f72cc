/* The trust decision: may this message go out on this connection, and if not, what then?
 *
 * trust_decide looks at what is owed and at what is true of one host or one live connection.
 * trust_conclude sums up the verdicts over all hosts of one delivery pass. Both are pure
 * functions over plain structs; spec row numbers are those of the decision table for RFC 8689
 * (R-..., "row 1" to "row 57"). Decisions D1 to D15 are cited by number.
 *
 * This folder does no I/O. Evidence (evidence.h) is the record of what was found and done. */
#ifndef TRUST_TRUST_H
#define TRUST_TRUST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trust/duties.h"

/* How far a connection to one host came; H0 to H5 of the decision table. */
enum hop_stage {
	HOP_NOT_TRIED,		/* known from DNS alone: no connection was made yet */
	HOP_UNREACHABLE,	/* H0: no connection, 4yz greeting, timeout, EHLO refused for now */
	HOP_NO_STARTTLS,	/* H1 */
	HOP_STARTTLS_TEMPFAIL,	/* H2: 454 */
	HOP_HANDSHAKE_FAILED,	/* H2 */
	HOP_TLS,		/* H3 to H5: TLS is up, see verified and lists_requiretls */
	HOP_NO_ESMTP,		/* EHLO refused for good, HELO only */
	HOP_BROKE_PROTOCOL,	/* spoke nonsense, or out of turn: H0 with another reason */
	HOP_HANDSHAKE_TIMEOUT,	/* H2, and it may do better next time (D1) */
	HOP_TAKES_NO_MAIL,	/* greeted with 521: never takes mail (RFC 7504 section 3, Z-08) */
};

enum mx_trust {
	MX_INSECURE,		/* found through an unsigned answer */
	MX_DNSSEC,		/* MX (or address, when there is no MX) validated by DNSSEC */
	MX_STS,			/* host name matches the domain's MTA-STS policy */
	MX_ASSERTED,		/* the operator's route says so (assert_secure_lookup) */
	MX_IMPLICIT,		/* no MX record: the domain itself is the host, and the certificate has
				 * to name the domain, so nothing is taken from DNS (rows 39, 40; R-45) */
};

enum peer_verified {
	PEER_UNVERIFIED,
	PEER_PKIX,		/* chain to a trusted root and a matching SAN dNSName (D9) */
	PEER_DANE,
	PEER_PIN,
};

enum tlsa_state {
	TLSA_NONE,		/* no records, or not looked for */
	TLSA_USABLE,
	TLSA_UNUSABLE,		/* secure records, none of them usable: encrypt only */
	TLSA_FAILED,		/* SERVFAIL, bogus, timeout */
};

enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE, STS_FETCH_FAILED };

/* What is true of one host. Everything here was seen, nothing is configured trust except the
 * asserts, which come from the route in the configuration. */
struct trust_facts {
	enum hop_stage stage;
	enum mx_trust mx;
	enum peer_verified verified;
	bool pkix_ok;			/* PKIX would verify, whatever DANE says (row 6) */
	bool tls_is_modern;		/* TLS 1.2 or later, no NULL or anonymous suite */
	bool lists_requiretls;		/* in the last EHLO reply, inside TLS */
	bool asserts_propagate;		/* our own last hop: keyword not demanded */
	bool host_has_no_name;		/* address literal, or MX that is an address (row 43), and the
					 * route gives neither names nor pins to verify instead */
	bool is_fixed_host;		/* the operator's route names it: no MX record led here */
	enum tlsa_state tlsa;
	enum sts_mode sts;
	bool sts_matches;		/* this host's name is in the policy */
	bool refuses_parameter;		/* answered 5yz to MAIL because of REQUIRETLS (row 49) */
};

enum dsn_protect { DSN_PROTECT_FALLBACK, DSN_PROTECT_REDACT, DSN_PROTECT_STRICT };

/* What is owed. */
struct trust_need {
	duty_mask duties;		/* union of message, recipient, route, tls_policy, STS, DANE */
	bool waived;			/* TLS-Required: No is honoured for this message */
	bool null_sender;		/* reverse-path is <> */
	bool own_notice;		/* a notice that this gateway wrote (it is header-only) */
	enum dsn_protect protect;	/* for null_sender and own_notice (D3, D6) */
	bool sts_testing_counts;	/* D2 */
	unsigned relaxed_to;		/* DUTY_* bits owed instead, under a grant; else DUTY_RELAX_NONE */
	/* Second pass over the hosts, for mail with null_sender or own_notice that the sender's
	 * duties kept from every host in the first (D3, D6, rows 54 and 55; R-85). The sender's
	 * duties, and no others, then give way:
	 *   FALLBACK  in this pass: the message goes without the parameter over what there is
	 *   REDACT    own notices, which hold no body: already in the first pass; relayed mail,
	 *             which nobody may redact, as FALLBACK
	 *   STRICT    never */
	bool last_resort;
};
#define DUTY_RELAX_NONE (~0u)

enum trust_action {
	TRUST_SEND,		/* MAIL may be written on this connection */
	TRUST_CONNECT,		/* nothing stands against connecting (stage HOP_NOT_TRIED) */
	TRUST_SKIP,		/* not this host, for good as far as this host goes; try the next */
	TRUST_SKIP_TEMP,	/* not this host now; try the next, and defer if none is left */
	TRUST_CLEAR,		/* handshake failed: this host again, on a new connection, in clear */
};

enum trust_reason {
	TRUST_OK,
	TRUST_UNREACHABLE,
	TRUST_NO_TLS,
	TRUST_TLS_TEMPFAIL,
	TRUST_HANDSHAKE,
	TRUST_OLD_TLS,
	TRUST_UNVERIFIED,
	TRUST_DANE_MISMATCH,
	TRUST_MX_UNAUTHENTICATED,
	TRUST_NO_NAME,
	TRUST_NO_REQUIRETLS,
	TRUST_NO_ESMTP,
	TRUST_TLSA_LOOKUP,
	TRUST_STS_MISMATCH,
	TRUST_STS_FETCH,
	TRUST_PARAMETER_REFUSED,	/* lists REQUIRETLS, then refuses it on MAIL (row 49) */
	TRUST_PROTOCOL,
	TRUST_TAKES_NO_MAIL,
	TRUST_NO_AUTH,			/* said by deliver/login.c, not by trust_decide */
	TRUST_AUTH_REFUSED,
	TRUST_REASONS
};

struct trust_verdict {
	enum trust_action action;
	bool with_requiretls;		/* REQUIRETLS goes on MAIL (only with TRUST_SEND) */
	enum trust_reason reason;
	unsigned unmet;			/* DUTY_* bits this host does not meet */
	unsigned owed;			/* DUTY_* bits that were asked of it */
	char status[10];		/* RFC 3463 code, were this the only host: "5.7.30" */
	unsigned row;			/* row of the decision table that applied; 0 none */
	bool unprotected;		/* sent without what its sender asked for (rows 54, 55) */
};

/* What STS enforce and DANE ask of this host is added here from the facts, whether or not the
 * caller put it into need->duties. PROPAGATE takes the other three with it, AUTHENTICATE
 * takes ENCRYPT. A status of class 5 means that the sender's own duties are unmet for good; what
 * an administrator, STS or DANE ask for has class 4 (row 50). */
void trust_decide(const struct trust_need *need, const struct trust_facts *facts,
    struct trust_verdict *out);

/* The end of one pass over all hosts, none of which took the message. */
enum trust_end { TRUST_END_DEFER, TRUST_END_BOUNCE };
struct trust_conclusion {
	enum trust_end end;
	char status[10];
	enum trust_reason reason;	/* of the host that decided */
	unsigned unmet;
};
/* `v[0..n)`: one verdict for each host, none TRUST_SEND. n = 0 is a caller's error. D1, D14,
 * rows 51 and 52. Mail with a null sender is never bounced here: it waits until it expires (R-85,
 * row 55). */
void trust_conclude(const struct trust_need *need, const struct trust_verdict *v, size_t n,
    struct trust_conclusion *out);

/* A sentence without a full stop: "the server does not list REQUIRETLS". */
const char *trust_reason_text(enum trust_reason r);
const char *trust_reason_word(enum trust_reason r);	/* "no-requiretls", for logs and evidence */
const char *mx_trust_name(enum mx_trust m);		/* "no" "dnssec" "sts" "asserted" "domain" */
const char *sts_mode_name(enum sts_mode m);		/* "none" "testing" "enforce" "unknown" */
const char *peer_verified_name(enum peer_verified v);	/* "no" "pkix" "dane" "pin" */

#endif
