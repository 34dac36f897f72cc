/* Sessions for reports about TLS (RFC 8460). A session is one connection, whatever number of messages
 * it carries; it is counted by the attempt that made it, and goes to the database in the transaction
 * that records that attempt's end. Hosts that could not be reached are not counted (T-16). */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_int.h"
#include "tlsrpt/report.h"
#include "trust/dane.h"
#include "trust/tlsrpt.h"

#define COUNTS_MAX 200u		/* of one attempt: hosts times addresses, with some to spare */
#define REASON_SHOWN 200

static const struct host *
present(const struct attempt *a)
{
	return &a->hosts->hosts[a->host];
}

/* T-05: whose TLSRPT record is asked; NULL: nobody's. Behind a route with hosts of its own that is the
 * host's name, as it is with a smart host. */
static const char *
report_domain(const struct attempt *a)
{
	const struct route *r = a->prep->route;
	const char *name = !r->via_mx ? present(a)->name : r->domain != NULL ? r->domain : a->dest->next_hop;

	return present(a)->has_no_name || name[0] == '[' || name[0] == '\0' ? NULL : name;
}

/* T-07: the way of a report is nobody's business. */
static bool
is_counted(const struct attempt *a)
{
	return a->conf->tlsrpt.organization != NULL && (a->msg->flags & MSG_REPORT) == 0 &&
	    report_domain(a) != NULL && a->item->ncounts < COUNTS_MAX;
}

static char *
shown(const char *text, size_t n)
{
	char out[REASON_SHOWN];

	if (text == NULL || n == 0)
		return NULL;
	text_escape(out, sizeof out, text, n, false);
	return xstrdup(out);
}

static char *
ip_text(const struct net_addr *na)
{
	char out[NET_ADDR_TEXT];

	if (na == NULL)
		return NULL;
	net_addr_ip(na, out);
	return xstrdup(out);
}

static void
fill_policy(const struct attempt *a, const char *type, struct store_tlsrpt_count *c)
{
	const struct host *h = present(a);
	const struct sts_known *sts = a->hosts->sts;

	c->type = type;
	if (strcmp(type, TLSRPT_TLSA) == 0) {
		bool is_known = h->dane->base != NULL;

		c->policy_domain = xstrdup(is_known ? h->dane->base : h->name);
		c->strings = is_known ? xstrdup(h->dane->set->strings) : NULL;
		return;
	}
	c->policy_domain = xstrdup(c->domain);
	if (strcmp(type, TLSRPT_STS) == 0 && sts != NULL) {
		c->strings = tlsrpt_lines(sts->text);
		c->mx_hosts = tlsrpt_list(sts->policy.mx, sts->policy.nmx);
	}
}

static void
count(struct attempt *a, const struct tlsrpt_verdict *v, const struct smtp_client_info *info)
{
	struct item *it = a->item;
	struct store_tlsrpt_count *c;

	it->counts = xrealloc(it->counts, (it->ncounts + 1) * sizeof *it->counts);
	c = &it->counts[it->ncounts++];
	memset(c, 0, sizeof *c);
	c->domain = xstrdup(report_domain(a));
	c->day = clock_wall_ms() / TLSRPT_DAY_MS;
	fill_policy(a, v->type, c);
	c->result = v->result;
	if (v->result == NULL)
		return;
	c->mx = xstrdup(present(a)->name);
	c->reason = v->reason == NULL ? NULL : shown(v->reason, strlen(v->reason));
	if (info == NULL)
		return;
	c->sending_ip = ip_text(info->local);
	c->receiving_ip = ip_text(info->peer);
	c->helo = shown(info->banner, strcspn(info->banner, " "));
}

static void
judge(struct attempt *a, struct tlsrpt_facts *f, const struct smtp_client_info *info)
{
	const struct host *h = present(a);
	const struct verify_want *w = &a->prep->want;
	struct tlsrpt_verdict v[TLSRPT_POLICIES];
	size_t n;

	f->tlsa = host_dane_state(h->dane);
	f->tlsa_why = h->dane == NULL ? NULL : h->dane->why;
	f->sts = h->sts;
	f->sts_matches = h->sts_matches;
	f->own_rules = w->nnames > 0 || w->ca_file != NULL;
	n = tlsrpt_judge(f, v);
	for (size_t i = 0; i < n && is_counted(a); i++)
		count(a, &v[i], info);
}

void
report_session(struct attempt *a, const struct smtp_client_info *info)
{
	struct tlsrpt_facts f = { .stage = info->tls == NULL ? TLSRPT_IN_CLEAR : TLSRPT_IN_TLS };

	/* In clear on purpose: the session that led to this was counted. */
	if (a->clear || !is_counted(a))
		return;
	if (info->tls != NULL) {
		f.pkix = info->tls->pkix_fault;
		f.dane = info->tls->dane_fault;
		f.why = info->tls->verify_error;
	}
	judge(a, &f, info);
}

void
report_handshake(struct attempt *a, const struct smtp_client_info *info, const char *why)
{
	struct tlsrpt_facts f = { .stage = TLSRPT_NO_HANDSHAKE, .why = why };

	if (!a->clear && is_counted(a))
		judge(a, &f, info);
}

void
report_untried(struct attempt *a)
{
	struct tlsrpt_facts f = { .stage = TLSRPT_UNTRIED };

	if (is_counted(a))
		judge(a, &f, NULL);
}
