/* dns-records: what the owner of a domain has to publish beside what this gateway does, as its
 * configuration has it, and whether DNS says so today.
 *
 *   records.c        what to publish
 *   records_check.c  look-ups and comparison, with the parsers of delivery
 *   cli_records.c    the command */
#ifndef CTL_RECORDS_H
#define CTL_RECORDS_H

#include "conf/conf.h"
#include "net/net.h"

enum record_kind {
	RECORD_STS_TXT,		/* _mta-sts.DOMAIN */
	RECORD_STS_HOST,	/* mta-sts.DOMAIN: an address, by whatever way */
	RECORD_MX,		/* nothing to publish: does the policy name the hosts of the domain? */
	RECORD_REPORTS,		/* _smtp._tls.DOMAIN */
	RECORD_TLSA,		/* of the certificate that is served */
	RECORD_TLSA_NEXT,	/* of tls.identities.*.next_key (D-57) */
};
enum record_state {
	RECORD_NOT_CHECKED, RECORD_OK,
	RECORD_UNSIGNED,	/* without DNSSEC nobody looks at TLSA records */
	RECORD_MISSING, RECORD_WRONG,
	RECORD_UNKNOWN,		/* the look-up failed */
};
struct record {
	enum record_kind kind;
	char *name;			/* without the final dot */
	const char *type;
	char *data;			/* as in a zone file; NULL with RECORD_MX */
	char *about;			/* a sentence */
	const struct conf_sts *sts;	/* of its domain; NULL */
	char *const *reports;
	size_t nreports;
	struct tls_file *certs, *key;	/* certs: of both kinds of TLSA; key: of the next */
	enum record_state state;
	char *found;			/* why; NULL when there is nothing to say */
};
struct records {
	struct record *v;
	size_t n;
};

/* `domain`: NULL all of them. `port`: 0 those of the listeners. -1 with `err`. */
int records_make(struct records *r, const struct conf *c, const char *domain, uint16_t port, struct err *err);
int records_check(struct records *r, const struct conf *c, struct err *err);
void records_fini(struct records *r);
const char *record_state_name(enum record_state s);

#endif
