/* sallyport probe: what would become of mail to a domain today, found out without sending any. The
 * look-ups, the connections and the decision are those of delivery (dns/, smtp/, trust/); nothing is
 * decided here.
 *
 *   probe.c        look-up and connections, on a loop of its own: EHLO, STARTTLS, EHLO, QUIT
 *   probe_sts.c    the domain's MTA-STS policy
 *   probe_say.c    what that means for mail, as JSON
 *   cli_probe.c    the command, and the same for people */
#ifndef CTL_PROBE_H
#define CTL_PROBE_H

#include <jansson.h>

#include "conf/conf.h"
#include "deliver/hop.h"
#include "dns/dns.h"
#include "smtp/smtp.h"
#include "sts/sts.h"
#include "trust/trust.h"

struct probe_try {		/* one address of a host */
	struct probe *p;
	struct probe_host *host;
	struct mx_addr addr;
	char ip[NET_ADDR_TEXT];
	struct smtp_client *client;
	bool is_over;
	struct trust_facts facts;
	unsigned ext, ext_before_tls;
	char *text;		/* what went wrong, NULL */
	char *tlsa;		/* which records there are, which of them matched; NULL */
	bool has_tls, chain_ok, name_ok;
	char *version, *cipher, *group, *names, *subject, *issuer, *not_after, *cert, *spki, *verify_error;
};
struct probe_host {
	const struct mx_host *mx;
	struct probe *p;
	struct trust_facts facts;	/* from DNS alone */
	struct host_dane *dane;
	struct probe_try *tries;
	size_t n;
};
struct probe {
	const struct conf *conf;	/* NULL: defaults */
	char domain[256];
	uint16_t port;
	struct event_base *base;
	struct dns *dns;
	struct tls_client *tls, *sts_tls;
	char helo[256];
	struct mx_result *mx;		/* NULL until it is known */
	struct probe_host *hosts;
	size_t n, left;			/* left: look-ups and tries under way */
	struct {
		struct sts_fetcher *fetcher;
		bool is_off, is_over, txt_failed;	/* off: by the configuration */
		enum sts_txt txt;
		char id[STS_ID_SIZE];
		enum sts_mode mode;		/* what applies to mail */
		bool has_policy;
		struct sts_policy policy;
		char *why;			/* there is none to be had; NULL */
	} sts;
	bool dns_tested, dns_ok;
	char dns_why[256];
};

/* probe_sts.c; calls probe_connect when the policy is known. */
int probe_sts_start(struct probe *p, struct err *err);
void probe_sts_fini(struct probe *p);
/* probe.c */
void probe_connect(struct probe *p);	/* to all hosts, when all is known that comes before */
void probe_stop_when_done(struct probe *p);

enum probe_mail { PROBE_UNTAGGED, PROBE_TLS_NO, PROBE_REQUIRETLS, PROBE_MAILS };

/* Runs to its end; every wait has a limit. -1 with `err` when nothing could be begun. */
int probe_run(struct probe *p, struct err *err);
void probe_fini(struct probe *p);

enum probe_answer { PROBE_YES, PROBE_NO, PROBE_UNKNOWN };
/* What was found and what it means; *requiretls: would such mail be delivered? */
json_t *probe_json(const struct probe *p, enum probe_answer *requiretls);

#endif
