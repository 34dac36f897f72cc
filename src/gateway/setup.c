#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/gateway_int.h"

struct setup *
setup_ref(struct setup *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void
setup_unref(struct setup *s)
{
	if (s == NULL || atomic_fetch_sub(&s->refs, 1) > 1)
		return;
	for (size_t i = 0; s->listeners != NULL && i < s->conf->nlisteners; i++)
		tls_server_unref(s->listeners[i].tls);
	free(s->listeners);
	sts_pages_unref(s->pages);
	free(s->self_addrs);
	free(s->spool_dir);
	tls_client_unref(s->tls);
	tls_client_unref(s->sts_tls);
	tls_client_unref(s->tlsrpt_tls);
	dkim_key_unref(s->tlsrpt_dkim);
	policy_bundle_unref(s->bundle);
	conf_unref(s->conf);
	free(s);
}

/* `tc`: all but the identities. */
static struct tls_server *
make_tls(const struct conf *c, char *const *names, size_t n, struct tls_server_conf *tc, struct err *err)
{
	struct tls_server_identity ids[64];

	tc->identities = ids;
	tc->min_version = c->tls.min_version;
	for (size_t i = 0; i < n && i < NELEMS(ids); i++) {
		const struct conf_identity *id = conf_identity(c, names[i]);

		MUST(id != NULL);	/* conf_load has checked */
		ids[tc->nidentities++] = (struct tls_server_identity){ id->name, id->cert, id->key.path };
	}
	return tls_server_new(tc, err);
}

static int
make_pages(struct setup *s, struct err *err)
{
	const struct conf *c = s->conf;
	struct tls_server_conf tc = { .session_context = "sts_serve", .alpn = "http/1.1" };
	struct tls_server *tls;

	if (c->sts_serve.nbind == 0)
		return 0;
	tls = make_tls(c, c->sts_serve.identities, c->sts_serve.nidentities, &tc, err);
	if (tls == NULL) {
		err_prefix(err, "sts_serve");
		return -1;
	}
	s->pages = sts_pages_new(tls);
	for (size_t i = 0; i < c->sts_serve.ndomains; i++) {
		char *text = conf_sts_text(&c->sts_serve.domains[i]);

		sts_pages_add(s->pages, c->sts_serve.domains[i].name, text);
		free(text);
	}
	return 0;
}

static int
make_listener(struct setup *s, size_t i, struct err *err)
{
	static const enum smtp_starttls starttls[] = { SMTP_STARTTLS_OFF, SMTP_STARTTLS_OFFER,
		SMTP_STARTTLS_REQUIRED };
	const struct conf *c = s->conf;
	const struct conf_listener *l = &c->listeners[i];
	struct smtp_server_conf *to = &s->listeners[i];
	struct tls_server_conf tc = { .ask_client_cert = l->client_certs, .client_ca_file = c->tls.ca_file,
		.session_context = l->name };

	*to = (struct smtp_server_conf){
		.hostname = c->identity.hostname, .listener = l->name, .implicit_tls = l->implicit_tls,
		.starttls = starttls[l->starttls], .requiretls = l->requiretls, .max_size = l->max_size,
		.max_rcpts = l->max_rcpts, .max_messages = l->max_messages, .max_errors = c->limits.errors,
		.soft_errors = c->limits.soft_errors, .error_delay_ms = c->limits.error_delay_ms,
		.max_junk = c->limits.junk, .command_ms = c->limits.command_ms,
		.handshake_ms = c->limits.handshake_ms, .session_ms = c->limits.session_ms,
		.data_ms = c->limits.content_ms, .data_rate = c->limits.content_rate,
		.spool_dir = s->spool_dir, .max_received = c->limits.received_hops,
		.forbid_unauth_pipelining = true, .auth_in_clear = l->auth_in_clear,
	};
	for (size_t k = 0; k < l->nauth; k++)
		to->auth |= strcmp(l->auth[k], "PLAIN") == 0 ? SMTP_AUTH_PLAIN : SMTP_AUTH_EXTERNAL;
	if (l->nidentities == 0)
		return 0;
	to->tls = make_tls(c, l->identities, l->nidentities, &tc, err);
	if (to->tls == NULL) {
		err_prefix(err, "listeners.%s", l->name);
		return -1;
	}
	return 0;
}

static void
make_mx(struct setup *s)
{
	const struct conf *c = s->conf;
	size_t n = 0;

	for (size_t i = 0; i < c->nlisteners; i++)
		n += c->listeners[i].nbind;
	s->self_addrs = xcalloc(n, sizeof *s->self_addrs);
	n = 0;
	for (size_t i = 0; i < c->nlisteners; i++)
		for (size_t k = 0; k < c->listeners[i].nbind; k++)
			if (net_addr_parse(&s->self_addrs[n], slice_of(c->listeners[i].bind[k]), 25, NULL) == 0)
				n++;
	s->self_names[0] = c->identity.hostname;
	s->mx = (struct mx_conf){
		.self_names = s->self_names, .self_addrs = s->self_addrs, .nself_addrs = n,
		.max_hosts = c->delivery.max_hosts, .max_addrs = c->delivery.max_addrs,
		.ipv4 = c->delivery.ipv4, .ipv6 = c->delivery.ipv6,
		.allow_loopback = c->delivery.allow_loopback,
	};
}

static int
make_tlsrpt(struct setup *s, struct err *err)
{
	const struct conf *c = s->conf;
	struct tls_client_conf tc = { c->tlsrpt.ca_file, c->tls.min_version };
	bool is_weak;

	s->tlsrpt_tls = tc.ca_file == NULL ? tls_client_ref(s->tls) : tls_client_new(&tc, err);
	if (s->tlsrpt_tls == NULL) {
		err_prefix(err, "tlsrpt.ca_file");
		return -1;
	}
	if (c->tlsrpt.dkim.key.path == NULL)
		return 0;
	s->tlsrpt_dkim = dkim_key_new(c->tlsrpt.dkim.domain, c->tlsrpt.dkim.selector,
	    c->tlsrpt.dkim.key.path, &is_weak, err);
	if (s->tlsrpt_dkim == NULL)
		err_prefix(err, "tlsrpt.dkim.key");
	return s->tlsrpt_dkim == NULL ? -1 : 0;
}

static int
load_dkim(struct conf *c, struct err *err)
{
	for (size_t i = 0; i < c->ndkim; i++) {
		struct conf_dkim *k = &c->dkim[i];
		bool is_weak;

		if (k->key.path == NULL || k->loaded != NULL)
			continue;
		k->loaded = dkim_key_new(k->domain, k->selector, k->key.path, &is_weak, err);
		if (k->loaded == NULL) {
			err_prefix(err, "dkim.%s.key", k->name);
			return -1;
		}
	}
	return 0;
}

static int
load_credentials(struct conf *c, struct err *err)
{
	for (size_t i = 0; i < c->ncredentials; i++) {
		if (!conf_credential_load(&c->credentials[i], err)) {
			err_prefix(err, "credentials.%s.password", c->credentials[i].name);
			return -1;
		}
	}
	return 0;
}

struct setup *
setup_new(const char *conf_file, const struct setup *running, char **errors)
{
	struct conf *conf = conf_load(conf_file, true, errors);
	size_t n;

	if (conf != NULL)
		return setup_of(conf, running, errors);
	n = strlen(*errors);
	if (n > 0 && (*errors)[n - 1] == '\n')
		(*errors)[n - 1] = '\0';
	return NULL;
}

struct setup *
setup_of(struct conf *conf, const struct setup *running, char **errors)
{
	struct setup *s = xcalloc(1, sizeof *s);
	struct tls_client_conf tc;
	struct err err = { "" };
	char *text = NULL;

	*errors = NULL;
	atomic_init(&s->refs, 1);
	s->conf = conf;
	s->spool_dir = xstrdup(running != NULL ? running->spool_dir : s->conf->service.state);
	s->listeners = xcalloc(s->conf->nlisteners, sizeof *s->listeners);
	for (size_t i = 0; i < s->conf->nlisteners; i++)
		if (make_listener(s, i, &err) != 0)
			goto fail;
	if (make_pages(s, &err) != 0)
		goto fail;
	tc = (struct tls_client_conf){ s->conf->tls.ca_file, s->conf->tls.min_version };
	s->tls = tls_client_new(&tc, &err);
	if (s->tls == NULL) {
		err_prefix(&err, "tls.trust");
		goto fail;
	}
	tc.ca_file = s->conf->tls.sts_ca_file;
	s->sts_tls = tc.ca_file == NULL ? tls_client_ref(s->tls) : tls_client_new(&tc, &err);
	if (s->sts_tls == NULL) {
		err_prefix(&err, "tls.sts_ca_file");
		goto fail;
	}
	if (make_tlsrpt(s, &err) != 0 || load_dkim(s->conf, &err) != 0 || load_credentials(s->conf, &err) != 0)
		goto fail;
	s->bundle = policy_bundle_read(s->conf, policy_library_dir(), &err);
	if (s->bundle == NULL)
		goto fail;
	if (!policy_check(s->bundle, s->conf, &text)) {
		*errors = text;
		setup_unref(s);
		return NULL;
	}
	if (text != NULL)
		log_warn("policy", LOG_S("text", text));
	free(text);
	make_mx(s);
	return s;
fail:
	*errors = xstrdup(err.text);
	setup_unref(s);
	return NULL;
}
