/* A report of TLS results as a message (RFC 8460 section 5.3). */
#ifndef MESSAGE_TLSRPT_MAIL_H
#define MESSAGE_TLSRPT_MAIL_H

#include "message/dkim.h"
#include "message/msg.h"

struct tlsrpt_mail {		/* all borrowed */
	uint64_t id;		/* of the message */
	int64_t wall_ms;
	const char *hostname;	/* ours */
	const char *organization, *contact;
	const char *domain, *submitter, *report_id, *file_name, *day;
	struct slice gz;	/* the report, compressed */
	const char *const *to;	/* addresses */
	size_t nto;
	const struct dkim_key *dkim;	/* NULL: not signed */
};
/* Ready for routing, then store_submit. It has the null sender, so that nobody answers it and no notice
 * comes back (RFC 8460 wants it delivered or dropped, never discussed); says TLS-Required: No, and is
 * treated so by ourselves (T-06, T-27); MSG_REPORT keeps its sessions out of the next report (T-07).
 * NULL with a reason. */
struct msg *tlsrpt_mail_build(const struct tlsrpt_mail *q, struct err *err);

#endif
