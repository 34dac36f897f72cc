/* The look-up and the connections of a probe. All addresses of all hosts are tried side by side, and
 * those that answer get QUIT as soon as it is known what they offer: no MAIL is ever written. */
#include "config.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/probe.h"
#include "dns/tlsa.h"
#include "sts/fetch.h"

#define STEP_MS 30000		/* the longest wait for one reply */
#define GOODBYE_MS 5000
#define ANCHOR "/usr/share/dns/root.key"

void
probe_stop_when_done(struct probe *p)
{
	if (p->mx != NULL && p->left == 0 && p->dns_tested)
		event_base_loopbreak(p->base);
}

/* ---- A connection ---- */

static void
over(struct probe_try *t)
{
	struct probe *p = t->p;

	t->is_over = true;
	t->client = NULL;
	p->left--;
	probe_stop_when_done(p);
}

static void
keep_tls(struct probe_try *t, const struct tls_info *tls)
{
	t->has_tls = true;
	t->chain_ok = tls->chain_ok;
	t->name_ok = tls->name_matches;
	t->version = xstrdup(tls->version);
	t->cipher = xstrdup(tls->cipher);
	t->group = xstrdup(tls->group);
	t->names = xstrdup(tls->names);
	t->subject = xstrdup(tls->subject);
	t->issuer = xstrdup(tls->issuer);
	t->not_after = xstrdup(tls->not_after);
	t->cert = xstrdup(tls->cert_sha256);
	t->spki = xstrdup(tls->spki_sha256);
	t->verify_error = xstrdup(tls->verify_error);
}

static void
on_ready(void *owner, const struct smtp_client_info *info)
{
	struct probe_try *t = owner;

	t->facts = t->host->facts;
	hop_facts(&t->facts, info, NULL);
	t->ext = info->ext;
	t->ext_before_tls = info->ext_before_tls;
	t->tlsa = dane_evidence(t->host->dane, info->tls);
	if (info->tls != NULL)
		keep_tls(t, info->tls);
	smtp_client_quit(t->client);
	over(t);
}

static void
on_done(void *owner, const struct smtp_txn_result *r)
{
	MUST(!"a probe has no transaction");
}

static void
on_ended(void *owner, enum smtp_client_end why, const struct smtp_client_info *info, int code,
    const char *status, const char *text)
{
	struct probe_try *t = owner;

	t->facts = t->host->facts;
	t->facts.stage = hop_stage_of_end(why, code);
	if (info != NULL)
		t->ext_before_tls = info->ext_before_tls != 0 ? info->ext_before_tls : info->ext;
	t->text = code == 0 ? xstrdup(text == NULL ? "no answer" : text) :
	    xasprintf("%d %s", code, text == NULL ? "" : text);
	smtp_client_free(t->client);
	over(t);
}

static const struct smtp_client_ops client_ops = { on_ready, on_done, on_ended, NULL };

static int64_t
at_most(int64_t ms)
{
	return ms < STEP_MS ? ms : STEP_MS;
}

static void
set_timers(const struct probe *p, struct smtp_timers *t)
{
	const struct conf *c = p->conf;

	*t = smtp_timers_default;
	t->connect = at_most(c == NULL ? t->connect : c->delivery.connect_ms);
	t->greeting = t->ehlo = t->starttls = at_most(c == NULL ? STEP_MS : c->delivery.reply_ms);
	t->handshake = at_most(c == NULL ? t->handshake : c->delivery.handshake_ms);
	t->quit = GOODBYE_MS;
}

static void
try_start(struct probe_try *t)
{
	struct probe *p = t->p;
	const char *names[1] = { t->host->mx->name };
	struct tls_want want = { .sni = names[0], .names = names, .nnames = 1 };
	struct smtp_timers timers;
	struct net_addr to;
	struct smtp_client_conf conf = { .to = &to, .helo = p->helo, .tls = SMTP_CLIENT_STARTTLS,
		.tls_ctx = p->tls, .want = &want, .timers = &timers };
	struct err err = { "" };

	if (t->host->facts.host_has_no_name)
		want = (struct tls_want){ .sni = NULL };
	dane_want(t->host->dane, &want);
	set_timers(p, &timers);
	net_addr_set(&to, t->addr.family, t->addr.ip, p->port);
	net_addr_ip(&to, t->ip);
	p->left++;
	t->client = smtp_client_new(p->base, &conf, &client_ops, t, &err);
	if (t->client == NULL) {
		t->facts = t->host->facts;
		t->facts.stage = HOP_UNREACHABLE;
		t->text = xstrdup(err.text);
		over(t);
	}
}

/* ---- The look-up ---- */

static void
host_connect(struct probe_host *h)
{
	for (size_t k = 0; k < h->n; k++)
		try_start(&h->tries[k]);
}

static void
on_tlsa(void *owner, uint64_t ticket, const struct tlsa_result *r)
{
	struct probe_host *h = owner;
	struct dane_way way = { .host = h->mx->name, .mx = h->facts.mx, .domain = h->p->domain,
		.domain_canon = h->p->mx->canon };

	h->dane = host_dane_new(&way, r);
	h->facts.tlsa = host_dane_state(h->dane);
	host_connect(h);
	h->p->left--;
	probe_stop_when_done(h->p);
}

static void
host_start(struct probe_host *h)
{
	struct probe *p = h->p;

	if ((p->conf == NULL || p->conf->tls.dane) && tlsa_may_exist(h->mx)) {
		p->left++;
		tlsa_resolve(p->dns, h->mx, p->port, on_tlsa, h);
	} else {
		host_connect(h);
	}
}

static void
host_init(struct probe *p, struct probe_host *h, const struct mx_host *m)
{
	struct trust_facts *f = &h->facts;

	h->p = p;
	h->mx = m;
	f->sts = p->sts.mode;
	f->sts_matches = hop_sts_matches(p->sts.has_policy ? &p->sts.policy : NULL, m);
	f->mx = hop_mx_by_sts(hop_mx_trust(p->mx, m), f->sts, f->sts_matches);
	f->host_has_no_name = m->is_address;
	h->tries = xcalloc(m->naddrs, sizeof *h->tries);
	for (h->n = 0; h->n < m->naddrs; h->n++)
		h->tries[h->n] = (struct probe_try){ .p = p, .host = h, .addr = m->addrs[h->n] };
}

void
probe_connect(struct probe *p)
{
	if (p->mx == NULL || !p->sts.is_over)
		return;
	p->hosts = xcalloc(p->mx->n, sizeof *p->hosts);
	if (p->mx->status == MX_OK)
		for (p->n = 0; p->n < p->mx->n; p->n++)
			host_init(p, &p->hosts[p->n], &p->mx->hosts[p->n]);
	p->left++;		/* not over before all of them were begun */
	for (size_t i = 0; i < p->n; i++)
		host_start(&p->hosts[i]);
	p->left--;
}

static void
on_mx(void *owner, uint64_t ticket, struct mx_result *r)
{
	struct probe *p = owner;

	p->mx = mx_result_ref(r);
	probe_connect(p);
	probe_stop_when_done(p);
}

static void
on_self_test(void *owner, enum dns_trust trust, const char *why)
{
	struct probe *p = owner;

	p->dns_tested = true;
	p->dns_ok = trust == DNS_HONEST;
	snprintf(p->dns_why, sizeof p->dns_why, "%s", p->dns_ok ? "" : why);
	probe_stop_when_done(p);
}

/* Nobody is left out for being ourselves: who probes his own domain wants to see it as others do. */
static void
look_up(struct probe *p)
{
	const struct conf *c = p->conf;
	static const char *const nobody[] = { NULL };
	struct mx_conf mx = { .self_names = nobody, .port = p->port, .ipv4 = true, .ipv6 = true };

	if (c != NULL) {
		mx.max_hosts = c->delivery.max_hosts;
		mx.max_addrs = c->delivery.max_addrs;
		mx.ipv4 = c->delivery.ipv4;
		mx.ipv6 = c->delivery.ipv6;
		mx.allow_loopback = c->delivery.allow_loopback;
	}
	mx_resolve(p->dns, p->domain, &mx, on_mx, p);
	p->self_test.zone = c == NULL ? "." : c->dns.self_test_zone;
	p->self_test.secure = c == NULL ? NULL : (const char *const *)c->dns.self_test_secure;
	p->self_test.bogus = c == NULL ? NULL : (const char *const *)c->dns.self_test_bogus;
	dns_self_test(p->base, &p->dns_conf, &p->self_test, on_self_test, p);
}

/* A name that servers take: they want one with a dot. */
static void
own_name(struct probe *p)
{
	char name[256] = "";

	if (p->conf == NULL)
		gethostname(name, sizeof name - 1);
	snprintf(p->helo, sizeof p->helo, "%s", p->conf != NULL ? p->conf->identity.hostname :
	    strchr(name, '.') != NULL ? name : "localhost.localdomain");
}

int
probe_run(struct probe *p, struct err *err)
{
	struct tls_client_conf tc = { NULL, "1.2" };

	net_tls_init();
	if (p->conf != NULL)
		tc = (struct tls_client_conf){ p->conf->tls.ca_file, p->conf->tls.min_version };
	own_name(p);
	p->base = event_base_new();
	MUST(p->base != NULL);
	p->tls = tls_client_new(&tc, err);
	if (p->tls == NULL)
		return -1;
	if (p->conf != NULL && p->conf->tls.sts_ca_file != NULL)
		tc.ca_file = p->conf->tls.sts_ca_file;
	p->sts_tls = tls_client_new(&tc, err);
	if (p->sts_tls == NULL)
		return -1;
	if (p->conf != NULL)
		conf_dns(p->conf, &p->dns_conf);
	else
		p->dns_conf.anchor_file = ANCHOR;
	p->dns = dns_new(p->base, &p->dns_conf, err);
	if (p->dns == NULL)
		return -1;
	if (probe_sts_start(p, err) != 0)
		return -1;
	look_up(p);
	event_base_dispatch(p->base);
	MUST(p->mx != NULL && p->left == 0);
	sts_fetcher_free(p->sts.fetcher);
	p->sts.fetcher = NULL;
	dns_free(p->dns);
	p->dns = NULL;
	/* What is left on the loop are farewells; each has its own limit. */
	event_base_dispatch(p->base);
	smtp_client_quit_now();
	return 0;
}

static void
try_fini(struct probe_try *t)
{
	char *all[] = { t->text, t->tlsa, t->version, t->cipher, t->group, t->names, t->subject, t->issuer, t->not_after,
		t->cert, t->spki, t->verify_error };

	for (size_t i = 0; i < NELEMS(all); i++)
		free(all[i]);
}

void
probe_fini(struct probe *p)
{
	for (size_t i = 0; i < p->n; i++) {
		for (size_t k = 0; k < p->hosts[i].n; k++)
			try_fini(&p->hosts[i].tries[k]);
		free(p->hosts[i].tries);
		host_dane_unref(p->hosts[i].dane);
	}
	free(p->hosts);
	probe_sts_fini(p);
	mx_result_unref(p->mx);
	dns_free(p->dns);
	conf_dns_fini(&p->dns_conf);
	tls_client_unref(p->tls);
	tls_client_unref(p->sts_tls);
	if (p->base != NULL)
		event_base_free(p->base);
}
