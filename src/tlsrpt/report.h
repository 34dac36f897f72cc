/* One daily report about TLS on the way to a domain (RFC 8460), as JSON and compressed. Counting is
 * deliver/'s and the queue database's work, sending is not this file's. Pure: the same counts give the
 * same octets. */
#ifndef TLSRPT_REPORT_H
#define TLSRPT_REPORT_H

#include "base/base.h"

#define TLSRPT_DAY_MS INT64_C(86400000)

struct tlsrpt_who {		/* who reports; borrowed */
	const char *organization, *contact;	/* tlsrpt.organization, tlsrpt.contact */
	const char *node;	/* identity.hostname: makes report ids of several gateways differ */
};

struct tlsrpt_report {
	char *domain;		/* whose TLSRPT record says where it goes; A-labels */
	int64_t day;		/* since 1970-01-01, UTC */
	char *report_id;	/* as in the JSON, without <>: "20261129.example.org@mx1.acme.example" */
	char *submitter;	/* domain of the contact (T-22) */
	char *file_name;	/* T-19; ends with .json.gz */
	uint8_t *json;
	size_t json_len;
	uint8_t *gz;		/* the same, gzip (T-20) */
	size_t gz_len;
};

/* `policies`: a JSON array, as struct store_tlsrpt_day has it. NULL with a reason. */
struct tlsrpt_report *tlsrpt_report_new(const struct tlsrpt_who *who, const char *domain, int64_t day,
    const char *policies, struct err *err);
void tlsrpt_report_free(struct tlsrpt_report *r);	/* NULL is fine */

#endif
