/* MTA-STS (RFC 8461) as text: what a TXT record set announces, what a policy says, whether a host is
 * in it. Fetching and keeping policies is src/sts/'s. */
#ifndef TRUST_STS_H
#define TRUST_STS_H

#include "base/base.h"
#include "trust/trust.h"

#define STS_ID_SIZE 33			/* 1 to 32 letters and digits (S-05) */
#define STS_TEXT_MAX (64u * 1024)	/* S-27 */
#define STS_MX_MAX 1000u		/* patterns of one policy */
#define STS_MAX_AGE INT64_C(31557600)	/* seconds; more is taken for that (S-42) */

enum sts_txt {
	STS_TXT_NONE,		/* nothing that announces a policy */
	STS_TXT_ID,
	STS_TXT_BROKEN,		/* more than one record, or not by the grammar: no live policy (S-04) */
};
/* `txt`: each a TXT record with its strings joined (S-02). */
enum sts_txt sts_txt_id(const struct slice *txt, size_t n, char id_out[STS_ID_SIZE]);

struct sts_policy {
	enum sts_mode mode;	/* STS_NONE, STS_TESTING or STS_ENFORCE */
	int64_t max_age_s;
	char **mx;		/* lower case; "*." and a domain, or a name */
	size_t nmx;
};
/* False with a reason, and nothing to free. */
bool sts_policy_parse(struct slice text, struct sts_policy *out, struct err *err);
void sts_policy_fini(struct sts_policy *p);
/* S-60: case is ignored, "*." stands for exactly one label. */
bool sts_policy_has(const struct sts_policy *p, const char *host);

/* A policy to be published: one line a field, one `mx` a line (S-44), each ended by CR LF. Heap. */
char *sts_policy_text(enum sts_mode mode, int64_t max_age_s, char *const *mx, size_t nmx);
/* The id to announce this text with: another one for any other text, the same one for the same. */
void sts_policy_id(char id_out[STS_ID_SIZE], const char *text);

#endif
