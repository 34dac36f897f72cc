/* One report to one HTTPS receiver (RFC 8460 section 5.4), with libcurl on the worker's loop. */
#ifndef TLSRPT_POST_H
#define TLSRPT_POST_H

#include "tlsrpt/report.h"
#include "tlsrpt/txt.h"
#include "web/web.h"

struct tlsrpt_poster;
struct tlsrpt_post;
struct tlsrpt_post_how {
	struct tls_client *tls;		/* whom receivers must be certified by; borrowed */
	bool any_certificate;		/* T-10 */
	bool allow_private;		/* T-30: also addresses of one's own network */
	int64_t timeout_ms;
};
/* `why`: a sentence for the log, borrowed. */
typedef void tlsrpt_posted(void *owner, bool taken, const char *why);

struct tlsrpt_poster *tlsrpt_poster_new(struct event_base *base, struct dns *dns, struct err *err);
void tlsrpt_poster_free(struct tlsrpt_poster *p);	/* every post is over; NULL is fine */
/* `to` and `report` outlive it. Never calls back during the call; gone once it has called back. */
struct tlsrpt_post *tlsrpt_post_start(struct tlsrpt_poster *p, const struct rua *to,
    const struct tlsrpt_report *report, const struct tlsrpt_post_how *how, tlsrpt_posted *cb, void *owner);
void tlsrpt_post_cancel(struct tlsrpt_post *g);		/* NULL is fine */

#endif
