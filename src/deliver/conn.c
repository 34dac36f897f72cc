/* Connections: making one, what is true of it, keeping it for the next message. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "deliver/deliver_int.h"

static char **
copy_list(char **v, size_t n)
{
	char **to = xcalloc(n, sizeof *to);

	for (size_t i = 0; i < n; i++)
		to[i] = xstrdup(v[i]);
	return to;
}

static void
free_list(char **v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(v[i]);
	free(v);
}

void
verify_want_fini(struct verify_want *w)
{
	free_list(w->names, w->nnames);
	free_list(w->pins, w->npins);
	free(w->ca_file);
	free(w->min_version);
	free(w->key);
	memset(w, 0, sizeof *w);
}

static void
make_key(struct verify_want *w)
{
	struct buf b;

	buf_init(&b, 64 * 1024);
	for (size_t i = 0; i < w->nnames; i++)
		buf_printf(&b, "n%s\n", w->names[i]);
	for (size_t i = 0; i < w->npins; i++)
		buf_printf(&b, "p%s\n", w->pins[i]);
	buf_printf(&b, "c%s\nv%s", w->ca_file == NULL ? "" : w->ca_file,
	    w->min_version == NULL ? "" : w->min_version);
	w->key = buf_take(&b);
}

bool
verify_want_set(struct verify_want *w, const struct route *r, const struct verdict *tls)
{
	bool own_names = tls != NULL && tls->nnames > 0, own_pins = tls != NULL && tls->npins > 0;

	verify_want_fini(w);
	w->nnames = own_names ? tls->nnames : r->nnames;
	w->names = copy_list(own_names ? tls->names : r->names, w->nnames);
	w->npins = own_pins ? tls->npins : r->npins;
	w->pins = copy_list(own_pins ? tls->pins : r->pins, w->npins);
	w->ca_file = xstrdup(tls != NULL && tls->ca_file != NULL ? tls->ca_file : r->ca_file);
	w->min_version = xstrdup(tls != NULL ? tls->min_version : NULL);
	make_key(w);
	return true;
}

/* "1.3" over "1.2"; NULL is the lowest. */
static const char *
higher(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == NULL ? b : a;
	return strcmp(a, b) >= 0 ? a : b;
}

struct tls_client *
conn_tls_ctx(struct deliver *d, const struct verify_want *want, struct err *err)
{
	const struct conf *c = d->env.conf(d->env.owner);
	struct tls_client_conf conf = { want->ca_file != NULL ? want->ca_file : c->tls.ca_file,
	    higher(want->min_version, c->tls.min_version) };
	struct tls_cache *e;
	char *key;

	if (want->ca_file == NULL && want->min_version == NULL)
		return d->env.tls(d->env.owner);
	key = xasprintf("%s|%s", want->ca_file == NULL ? "" : want->ca_file,
	    want->min_version == NULL ? "" : want->min_version);
	for (e = d->tls; e != NULL; e = e->next) {
		if (strcmp(e->key, key) == 0) {
			free(key);
			return e->t;
		}
	}
	/* Read once in the life of a configuration: the one file that delivery reads on its loop. */
	e = xcalloc(1, sizeof *e);
	e->key = key;
	e->t = tls_client_new(&conf, err);
	if (e->t == NULL) {
		free(e->key);
		free(e);
		return NULL;
	}
	e->next = d->tls;
	d->tls = e;
	return e->t;
}

void
conn_facts(const struct conn *c, const struct smtp_client_info *info, struct trust_facts *f)
{
	const struct prep *prep = c->attempt != NULL ? c->attempt->prep : c->dest->prep;

	memset(f, 0, sizeof *f);
	f->mx = c->mx;
	f->sts = c->sts;
	f->sts_matches = c->sts_matches;
	f->host_has_no_name = c->has_no_name;
	f->is_fixed_host = c->is_fixed;
	f->tlsa = host_dane_state(c->dane);
	f->asserts_propagate = prep != NULL && prep->route->assert_propagate;
	hop_facts(f, info, prep == NULL ? NULL : &prep->want);
}

static void
detach(struct conn *c)
{
	TAILQ_REMOVE(&c->dest->conns, c, link);
	c->dest->nconns--;
	c->dest->d->nconns--;
	event_free(c->idle);
	free(c->host);
	free(c->want_key);
	free(c->login);
	host_dane_unref(c->dane);
	tls_client_unref(c->tls_ctx);
	free(c);
}

void
conn_free(struct conn *c)
{
	smtp_client_free(c->client);
	detach(c);
}

void
conn_quit(struct conn *c)
{
	smtp_client_quit(c->client);
	detach(c);
}

static void
on_ready(void *owner, const struct smtp_client_info *info)
{
	struct conn *c = owner;

	if (c->attempt != NULL) {
		uint64_t before = work_begin(c->attempt->msg->id);

		attempt_ready(c->attempt, info);
		work_end(before);
		return;
	}
	conn_give_back(c);
}

static void
on_done(void *owner, const struct smtp_txn_result *r)
{
	struct conn *c = owner;
	uint64_t before;

	MUST(c->attempt != NULL);
	before = work_begin(c->attempt->msg->id);
	send_done(c->attempt, r);
	work_end(before);
}

static void
on_ended(void *owner, enum smtp_client_end why, const struct smtp_client_info *info, int code,
    const char *status, const char *text)
{
	struct conn *c = owner;
	struct attempt *a = c->attempt;
	struct dest *t = c->dest;

	if (a != NULL) {
		uint64_t before = work_begin(a->msg->id);

		/* It reads info and c for the last time, then lets go of c. */
		attempt_lost(a, why, info, code, status, text);
		work_end(before);
		return;
	}
	conn_free(c);
	dest_run_later(t);
}

static void
on_logged_in(void *owner, enum smtp_login_end end, int code, const char *status, const char *text)
{
	struct conn *c = owner;
	uint64_t before;

	MUST(c->attempt != NULL);	/* it takes the connection along when it goes */
	before = work_begin(c->attempt->msg->id);
	login_done(c->attempt, end, code, status, text);
	work_end(before);
}

static const struct smtp_client_ops client_ops = { on_ready, on_done, on_ended, on_logged_in };

static void
on_idle(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	struct dest *t = c->dest;

	conn_quit(c);
	dest_run_later(t);
}

static void
fill_want(struct tls_want *w, const struct attempt *a, const struct host *h, const char *one[1])
{
	one[0] = h->name;
	memset(w, 0, sizeof *w);
	if (a->prep->want.nnames > 0) {
		w->names = (const char *const *)a->prep->want.names;
		w->nnames = a->prep->want.nnames;
	} else if (!h->has_no_name) {
		w->names = one;
		w->nnames = 1;
	}
	w->sni = w->nnames > 0 ? w->names[0] : NULL;
	dane_want(h->dane, w);
	w->pins = (const char *const *)a->prep->want.pins;
	w->npins = a->prep->want.npins;
}

/* each of them is for a whole reply or block. Some replies have an answer sooner than
 * others by RFC 5321 4.5.3.2; they wait no longer than its minimum. */
static void
set_timers(struct smtp_timers *t, const struct conf *c)
{
	int64_t reply = c->delivery.reply_ms;

	t->connect = c->delivery.connect_ms;
	t->greeting = t->ehlo = t->mail = t->rcpt = reply;
	if (reply < t->starttls)
		t->starttls = reply;
	if (reply < t->data_init)
		t->data_init = reply;
	t->handshake = c->delivery.handshake_ms;
	t->data_block = c->delivery.block_ms;
	t->data_end = c->delivery.final_ms;
}

struct conn *
conn_new(struct attempt *a, const struct host *h, const struct mx_addr *addr, bool clear, struct err *err)
{
	struct dest *t = a->dest;
	struct net_addr to, source;
	struct tls_want want;
	const char *one[1];
	struct smtp_timers timers = smtp_timers_default;
	struct smtp_client_conf conf = { .to = &to, .helo = a->conf->identity.hostname, .want = &want,
		.timers = &timers };
	struct conn *c;

	net_addr_set(&to, addr->family, addr->ip, h->port);
	if (a->prep->route->source != NULL &&
	    net_addr_parse(&source, slice_of(a->prep->route->source), 1, NULL) == 0 &&
	    source.ss.ss_family == to.ss.ss_family) {
		uint8_t ip[16];

		/* Any port of that address. */
		memcpy(ip, source.ss.ss_family == AF_INET ?
		    (void *)&((struct sockaddr_in *)&source.ss)->sin_addr :
		    (void *)&((struct sockaddr_in6 *)&source.ss)->sin6_addr,
		    source.ss.ss_family == AF_INET ? 4 : 16);
		net_addr_set(&source, source.ss.ss_family, ip, 0);
		conf.source = &source;
	}
	fill_want(&want, a, h, one);
	set_timers(&timers, a->conf);
	conf.tls = clear ? SMTP_CLIENT_CLEAR : a->prep->route->implicit_tls ? SMTP_CLIENT_IMPLICIT :
	    SMTP_CLIENT_STARTTLS;
	conf.tls_ctx = conn_tls_ctx(a->d, &a->prep->want, err);
	if (conf.tls_ctx == NULL)
		return NULL;
	c = xcalloc(1, sizeof *c);
	c->dest = t;
	c->client = smtp_client_new(a->d->env.base, &conf, &client_ops, c, err);
	if (c->client == NULL) {
		free(c);
		return NULL;
	}
	c->attempt = a;
	c->tls_ctx = tls_client_ref(conf.tls_ctx);
	c->host = xstrdup(h->name);
	net_addr_ip(&to, c->ip);
	c->port = h->port;
	c->preference = h->preference;
	c->mx = h->mx;
	c->sts = h->sts;
	c->sts_matches = h->sts_matches;
	c->has_no_name = h->has_no_name;
	c->is_fixed = h->is_fixed;
	c->dane = host_dane_ref(h->dane);
	c->clear = clear;
	c->want_key = xstrdup(a->prep->want.key);
	c->idle = evtimer_new(a->d->env.base, on_idle, c);
	MUST(c->idle != NULL);
	TAILQ_INSERT_TAIL(&t->conns, c, link);
	t->nconns++;
	t->d->nconns++;
	t->d->stats.connections++;
	return c;
}

/* A kept connection to the attempt's present host that meets what this message owes. It was made
 * for this destination (V1); the lookup that led to it must still lead to it. */
struct conn *
conn_idle(struct dest *t, const struct attempt *a)
{
	const struct host *h = &a->hosts->hosts[a->host];
	struct tls_client *ctx = conn_tls_ctx(t->d, &a->prep->want, NULL);
	struct trust_need need;
	struct conn *c;

	attempt_need(a, &need);
	TAILQ_FOREACH(c, &t->conns, link) {
		const struct smtp_client_info *info;
		struct trust_verdict v;
		struct trust_facts f;

		if (c->attempt != NULL || !evtimer_pending(c->idle, NULL) || strcmp(c->host, h->name) != 0 ||
		    c->port != h->port || c->clear != a->clear || c->tls_ctx != ctx ||
		    strcmp(c->want_key, a->prep->want.key) != 0 || !host_dane_same(c->dane, h->dane) ||
		    !login_is_good_for(c, a->prep->route))
			continue;
		info = smtp_client_get_info(c->client);
		/* The lookup of today decides, not the one of then: an answer may have lost its
		 * signature meanwhile. */
		c->mx = h->mx;
		host_dane_unref(c->dane);
		c->dane = host_dane_ref(h->dane);
		c->sts = h->sts;
		c->sts_matches = h->sts_matches;
		conn_facts(c, info, &f);
		trust_decide(&need, &f, &v);
		if (v.action == TRUST_SEND) {
			evtimer_del(c->idle);
			return c;
		}
	}
	return NULL;
}

void
conn_give_back(struct conn *c)
{
	struct dest *t = c->dest;
	const struct conf *conf = t->prep == NULL ? NULL : policy_gen_conf(t->prep->gen);
	const struct smtp_client_info *info = smtp_client_get_info(c->client);
	struct timeval idle;

	c->attempt = NULL;
	if (conf == NULL || t->d->draining || conf->delivery.idle_ms == 0 ||
	    (conf->delivery.conn_messages > 0 && info->sent >= conf->delivery.conn_messages) ||
	    (info->mail_max > 0 && info->sent >= info->mail_max) || info->rcpt_domain_max == 1) {
		conn_quit(c);
		dest_run_later(t);
		return;
	}
	idle = (struct timeval){ conf->delivery.idle_ms / 1000, conf->delivery.idle_ms % 1000 * 1000 };
	evtimer_add(c->idle, &idle);
	dest_run(t);
}
