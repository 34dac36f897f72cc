/* The MTA-STS policy of a probed domain: its TXT record, and one fetch. What a daemon fetched before is
 * not asked for, so this is what a gateway finds that hears of the domain for the first time. */
#include "config.h"

#include <stdlib.h>

#include "ctl/probe.h"
#include "sts/fetch.h"
#include "web/web.h"

#define FETCH_MS 60000

static void
over(struct probe *p)
{
	p->sts.is_over = true;
	probe_connect(p);
	p->left--;
	probe_stop_when_done(p);
}

static void
on_fetched(void *owner, enum sts_fetched got, struct slice text, const char *why)
{
	struct probe *p = owner;
	struct err err;

	p->sts.mode = got == STS_FAILED ? STS_FETCH_FAILED : STS_NONE;
	if (got == STS_FETCHED && sts_policy_parse(text, &p->sts.policy, &err)) {
		p->sts.has_policy = true;
		p->sts.mode = p->sts.policy.mode;
	} else {
		p->sts.why = xstrdup(got == STS_FETCHED ? err.text : why);
	}
	over(p);
}

static void
on_txt(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct probe *p = owner;
	const struct conf *c = p->conf;
	struct sts_how how = { .tls = p->sts_tls, .port = 443, .timeout_ms = FETCH_MS };

	if (c != NULL) {
		how.port = c->tls.sts_port;
		how.timeout_ms = c->tls.sts_timeout_ms;
		how.allow_loopback = c->delivery.allow_loopback;
		how.allow_private = c->tls.sts_allow_private;
	}
	p->sts.txt = sts_txt_of(a, p->sts.id);
	if (dns_status_is_failure(a->status)) {
		p->sts.txt_failed = true;
		p->sts.mode = STS_FETCH_FAILED;
		p->sts.why = xasprintf("the look-up of its record: %s", dns_status_name(a->status));
	} else if (p->sts.txt == STS_TXT_BROKEN) {
		p->sts.why = xstrdup("its record does not follow the grammar, or there are several");
	} else if (p->sts.txt == STS_TXT_ID) {
		sts_fetch_start(p->sts.fetcher, p->domain, &how, on_fetched, p);
		return;
	}
	over(p);
}

int
probe_sts_start(struct probe *p, struct err *err)
{
	char *name;

	p->sts.mode = STS_NONE;
	p->sts.is_off = p->conf != NULL && !p->conf->tls.sts;
	p->sts.is_over = p->sts.is_off;
	if (p->sts.is_off)
		return 0;
	web_init();
	p->sts.fetcher = sts_fetcher_new(p->base, p->dns, NULL, err);
	if (p->sts.fetcher == NULL)
		return -1;
	name = xasprintf("_mta-sts.%s", p->domain);
	p->left++;
	dns_query(p->dns, name, DNS_TXT, on_txt, p);
	free(name);
	return 0;
}

void
probe_sts_fini(struct probe *p)
{
	sts_fetcher_free(p->sts.fetcher);
	p->sts.fetcher = NULL;
	if (p->sts.has_policy)
		sts_policy_fini(&p->sts.policy);
	p->sts.has_policy = false;
	free(p->sts.why);
	p->sts.why = NULL;
}
