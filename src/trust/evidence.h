/* Evidence: the record of how a recipient left the queue (I4), or of a relax (I2). One row for
 * each recipient and attempt that ended something; append only; each row's hash covers the row
 * before (design section 6). This file knows the fields and their canonical text; the store
 * writes the rows. */
#ifndef TRUST_EVIDENCE_H
#define TRUST_EVIDENCE_H

#include "base/base.h"
#include "trust/trust.h"

struct evidence {	/* strings borrowed; NULL: unknown or does not apply, left out */
	int64_t wall_ms;
	uint64_t message;
	uint32_t rcpt_num;
	/* "delivered" "relayed" "failed" "expired" "discarded" "deleted" "relaxed" "pruned" "policy" */
	const char *event;
	const char *from, *rcpt;
	uint64_t removed_to;		/* pruned: number and hash of the last row that was removed */
	const char *removed_hash;
	/* what was asked for, by whom */
	duty_mask duties;
	const char *asked_by;		/* msg.duty_note and what rules and policies added */
	const char *tls_required_no;	/* "honoured" ... ; NULL absent */
	/* what the domain published */
	const char *domain, *route;
	const char *mx;			/* mx_trust_name */
	const char *sts_mode, *sts_id;
	const char *tlsa;
	/* what was negotiated */
	const char *host, *ip;
	unsigned port;
	const char *tls_version, *tls_cipher, *tls_group;
	const char *cert_sha256, *spki_sha256;
	const char *verified;		/* peer_verified_name */
	const char *verify_error;
	bool requiretls_listed, requiretls_sent;
	const char *auth;		/* name in credentials that we logged in with */
	const char *asserted;		/* "secure_lookup,propagate" when an assertion was used */
	const char *relaxed;		/* grant */
	/* the verdict */
	const char *verdict;		/* "send" "bounce" "defer" */
	const char *reason;		/* trust_reason_word or words */
	unsigned row;
	int reply_code;
	const char *text;		/* our own words, where there was no reply */
	const char *reply_status, *reply_text;	/* final reply as received, escaped here */
	const char *hosts;		/* every host's verdict of the pass: "mx1=no-starttls mx2=..." */
	unsigned attempts;
	const char *generation;
	const char *by, *why;		/* command-line user and --reason, or handler and reason */
};

/* Every key that a record may have, in the order of the text. The columns of an export and of the
 * view for auditors are made from it. */
#define EVIDENCE_FIELDS(X) \
	X(at) X(event) X(message) X(rcpt_num) X(from) X(rcpt) X(removed_to) X(removed_hash) \
	X(duties) X(asked_by) X(tls_required_no) X(domain) X(route) X(mx) X(sts_mode) X(sts_id) X(tlsa) \
	X(host) X(ip) X(port) X(tls_version) X(tls_cipher) X(tls_group) X(cert_sha256) X(spki_sha256) \
	X(verified) X(verify_error) X(requiretls_listed) X(requiretls_sent) X(auth) X(asserted) X(relaxed) \
	X(verdict) X(reason) X(row) X(reply_code) X(reply_status) X(reply_text) X(text) X(hosts) X(attempts) \
	X(generation) X(by) X(why)
extern const char *const evidence_fields[];
extern const size_t evidence_nfields;

/* Canonical JSON: fixed order of keys, no spaces, escaped with text_escape. Heap. */
char *evidence_text(const struct evidence *e);
#define EVIDENCE_HASH 65
/* SHA-256 over previous hash (hex, "" for the first row), a newline, and text; lower-case hex. */
void evidence_hash(char dst[EVIDENCE_HASH], const char *prev, const char *text);

#endif
