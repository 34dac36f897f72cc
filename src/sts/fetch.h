/* One GET over HTTPS of a policy, with libcurl on the worker's loop. */
#ifndef STS_FETCH_H
#define STS_FETCH_H

#include "sts/sts.h"

struct sts_fetcher;
struct sts_fetch;

enum sts_fetched {
	STS_FETCHED,
	STS_REFUSED,		/* the policy host said, for certain, that there is none */
	STS_FAILED,		/* nobody knows; later perhaps */
	STS_UNTRUSTED,		/* the same, for want of a certificate that verifies */
};
/* `text` is set with STS_FETCHED, and borrowed; `why` is a sentence for the log. */
typedef void sts_fetch_cb(void *owner, enum sts_fetched got, struct slice text, const char *why);

struct sts_fetcher *sts_fetcher_new(struct event_base *base, struct dns *dns, const struct sts_fixture *fixture,
    struct err *err);
void sts_fetcher_free(struct sts_fetcher *f);	/* every fetch is over */
/* Never calls back during the call. The fetch is gone once it has called back. */
struct sts_fetch *sts_fetch_start(struct sts_fetcher *f, const char *domain, const struct sts_how *how,
    sts_fetch_cb *cb, void *owner);
void sts_fetch_cancel(struct sts_fetch *g);

#endif
