/* Reading the reports that come in: delivery status notices (RFC 3464, RFC 6533) and feedback reports
 * (RFC 5965), both in a multipart/report (RFC 6522). Everything in one is a stranger's word. */
#ifndef MESSAGE_REPORT_H
#define MESSAGE_REPORT_H

#include "message/message.h"

#define REPORT_RCPTS_MAX 1000u

enum report_kind { REPORT_DSN, REPORT_FEEDBACK };
struct report {
	enum report_kind kind;
	bool is_cut;			/* it goes on beyond the octets that were there, or has no end */
	/* Each a group of fields, as header_find knows them. They point into the octets that were
	 * given, or into `decoded`. */
	struct header fields;		/* of the message: Reporting-MTA ...; of a feedback report all */
	struct header *rcpts;		/* of each recipient; DSN only */
	size_t nrcpts;
	struct header original;		/* header of the message that it is about; n == 0: none came */
	char *decoded;			/* the machine's part, when it was encoded for transport */
};
/* The Content-Type says that this is a report of a kind that we read. */
bool report_is_announced(const struct header *h);
/* `body` follows the header; `all` when it is the whole of it. False, and nothing to free, when it is no
 * report or the machine's part is not among these octets. Linear in them. */
bool report_parse(struct report *r, const struct header *h, struct slice body, bool all);
void report_fini(struct report *r);
/* "rfc822; a@x.example" without its type; the value itself when it has none. */
struct slice report_address(struct slice value);

#endif
