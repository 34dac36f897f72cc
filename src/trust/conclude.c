/* The end of one pass over all hosts. */
#include "config.h"

#include <stdio.h>

#include "base/base.h"
#include "trust/trust.h"

static void
conclude(struct trust_conclusion *out, enum trust_end end, const char *status,
    const struct trust_verdict *v)
{
	out->end = end;
	out->reason = v->reason;
	out->unmet = v->unmet;
	snprintf(out->status, sizeof out->status, "%s", status);
}

/* Verified TLS, and only the keyword was missing (D14). */
static bool
lacked_only_keyword(const struct trust_verdict *v)
{
	return v->action == TRUST_SKIP && v->unmet == DUTY_PROPAGATE;
}

void
trust_conclude(const struct trust_need *need, const struct trust_verdict *v, size_t n,
    struct trust_conclusion *out)
{
	const struct trust_verdict *keyword = NULL, *definite = NULL;
	bool may_wait = need->null_sender || need->own_notice;
	char status[sizeof out->status];

	MUST(n > 0);
	for (size_t i = 0; i < n; i++) {
		/* D1, row 52: a host that may do better next time keeps the message here. What is
		 * not a refusal (a host that was not tried to the end) counts as that, too. */
		if (v[i].action != TRUST_SKIP) {
			conclude(out, TRUST_END_DEFER,
			    v[i].action == TRUST_SKIP_TEMP ? v[i].status : "4.4.1", &v[i]);
			return;
		}
		if (keyword == NULL && lacked_only_keyword(&v[i]))
			keyword = &v[i];
		if (definite == NULL && v[i].reason != TRUST_TAKES_NO_MAIL)
			definite = &v[i];
	}
	for (size_t i = 0; i < n; i++) {
		if (v[i].status[0] != '5') {	/* not the sender's duty: the operator has time */
			conclude(out, TRUST_END_DEFER, v[i].status, &v[i]);
			return;
		}
	}
	if (definite == NULL) {			/* Z-08: nobody there takes mail */
		conclude(out, may_wait ? TRUST_END_DEFER : TRUST_END_BOUNCE, may_wait ? "4.3.2" : "5.3.2", &v[0]);
		return;
	}
	if (keyword != NULL)
		definite = keyword;		/* row 51 */
	snprintf(status, sizeof status, "%c.7.%s", may_wait ? '4' : '5', keyword != NULL ? "30" : "10");
	conclude(out, may_wait ? TRUST_END_DEFER : TRUST_END_BOUNCE, status, definite);
}
