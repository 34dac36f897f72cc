/* Sends the daily reports of TLS results (RFC 8460): when a UTC day is over, each domain that was counted is
 * looked up, asked about in the `tlsrpt` hook, and gets its report by mail or HTTPS, again and again for 24
 * hours. What is to be done, and how often it was tried, is in the queue database, where a report is claimed
 * before it is sent: of several workers, daemons or nodes with one database only one sends it, and a restart
 * forgets nothing. One sender in a daemon, on the first worker's loop. */
#ifndef TLSRPT_SEND_H
#define TLSRPT_SEND_H

#include "message/dkim.h"
#include "policy/policy.h"
#include "queue/store.h"

struct tlsrpt_how {		/* today's configuration */
	const struct conf *conf;	/* borrowed, like all of this */
	struct policy_gen *gen;
	struct tls_client *tls;		/* tlsrpt.ca_file */
	const struct dkim_key *dkim;	/* NULL: mail is not signed */
};
struct tlsrpt_env {		/* all outlive the sender */
	struct event_base *base;
	struct mailbox *mb;
	struct dns *dns;
	struct store *store;
	struct policy *policy;
	unsigned worker;
	void (*how)(void *owner, struct tlsrpt_how *out);
	/* A message was stored: those of its recipients that are to be sent now. Borrows it. */
	void (*dispatch)(void *owner, const struct store_submit *queued);
	void *owner;
};
struct tlsrpt_sender;
struct tlsrpt_sender *tlsrpt_sender_new(const struct tlsrpt_env *env, struct err *err);
/* Ends what is under way; claims run out by themselves. Answers of the store find it gone. NULL is fine. */
void tlsrpt_sender_free(struct tlsrpt_sender *s);
/* No new reports are begun: the daemon ends. */
void tlsrpt_sender_drain(struct tlsrpt_sender *s);

#endif
