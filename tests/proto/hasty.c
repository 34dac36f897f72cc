/* A delivery that decides too fast. Linked into a daemon for a test in place of trust_decide (-Wl,--wrap): of a live
 * connection in TLS the answer is to send, but where may_send asks. What is left is the decision right before MAIL
 * (I2). */
#include <stdbool.h>
#include <stdint.h>

#include "smtp/smtp.h"
#include "trust/trust.h"

void __real_trust_decide(const struct trust_need *need, const struct trust_facts *facts, struct trust_verdict *out);
void __wrap_trust_decide(const struct trust_need *need, const struct trust_facts *facts, struct trust_verdict *out);
void __real_smtp_client_send(struct smtp_client *c, const struct smtp_txn *txn);
void __wrap_smtp_client_send(struct smtp_client *c, const struct smtp_txn *txn);

static _Thread_local bool is_last;
static bool (*may_send)(void *owner, const struct smtp_client_info *info);	/* always the same */

void
__wrap_trust_decide(const struct trust_need *need, const struct trust_facts *facts, struct trust_verdict *out)
{
	__real_trust_decide(need, facts, out);
	if (facts->stage == HOP_TLS && !is_last)
		out->action = TRUST_SEND;
}

static bool
decide_well(void *owner, const struct smtp_client_info *info)
{
	bool ok;

	is_last = true;
	ok = may_send(owner, info);
	is_last = false;
	return ok;
}

void
__wrap_smtp_client_send(struct smtp_client *c, const struct smtp_txn *txn)
{
	if (txn->may_send != decide_well) {
		may_send = txn->may_send;
		((struct smtp_txn *)(uintptr_t)txn)->may_send = decide_well;
	}
	__real_smtp_client_send(c, txn);
}
