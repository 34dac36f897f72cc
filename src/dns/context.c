/* The settings of a libunbound context. */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unbound.h>
#include <unbound-event.h>

#include "dns/dns_int.h"

/* libunbound has one log and one set of library state for the whole process; contexts are made
 * and taken down one at a time. */
static pthread_mutex_t ub_lock = PTHREAD_MUTEX_INITIALIZER;

static int
option(struct context *x, const char *name, const char *value, struct err *err)
{
	int rc = ub_ctx_set_option(x->ub, name, value);

	if (rc != 0)
		err_set(err, "libunbound refused %s %s: %s", name, value, ub_strerror(rc));
	return rc == 0 ? 0 : -1;
}

static bool
is_loopback_server(const char *text)
{
	return strncmp(text, "127.", 4) == 0 || strncmp(text, "::1@", 4) == 0 || strcmp(text, "::1") == 0;
}

static int
set_stubs(struct context *x, const struct dns_conf *conf, bool *has_root, bool *has_loopback,
    struct err *err)
{
	size_t i, k;
	int rc;

	for (i = 0; i < conf->nstubs; i++) {
		const struct dns_stub *s = &conf->stubs[i];
		char local[300];

		if (strcmp(s->zone, ".") == 0)
			*has_root = true;
		for (k = 0; s->servers[k] != NULL; k++) {
			if (is_loopback_server(s->servers[k]))
				*has_loopback = true;
			rc = ub_ctx_set_stub(x->ub, s->zone, s->servers[k], 0);
			if (rc != 0) {
				err_set(err, "dns.stub[\"%s\"]: server %s is not usable: %s; write an "
				    "address or address@port", s->zone, s->servers[k], ub_strerror(rc));
				return -1;
			}
		}
		/* libunbound answers for test., home.arpa. and the reverse zones of private
		 * addresses itself (RFC 6303, 6761) unless told that somebody else does. */
		snprintf(local, sizeof local, "%s nodefault", s->zone);
		if (strcmp(s->zone, ".") != 0 && option(x, "local-zone:", local, err) != 0)
			return -1;
		if (s->insecure && option(x, "domain-insecure:", s->zone, err) != 0)
			return -1;
	}
	return 0;
}

static int
set_forwarders(struct context *x, const struct dns_conf *conf, bool *has_loopback, struct err *err)
{
	size_t i;
	int rc;

	if (conf->forward == NULL) {
		/* What the system's resolvers are, loopback included, is the operator's choice. */
		*has_loopback = true;
		rc = ub_ctx_resolvconf(x->ub, NULL);
		if (rc != 0)
			err_set(err, "/etc/resolv.conf: %s; name the resolvers in dns.forward", ub_strerror(rc));
		return rc == 0 ? 0 : -1;
	}
	for (i = 0; conf->forward[i] != NULL; i++) {
		if (is_loopback_server(conf->forward[i]))
			*has_loopback = true;
		rc = ub_ctx_set_fwd(x->ub, conf->forward[i]);
		if (rc != 0) {
			err_set(err, "dns.forward: %s is not usable: %s; write an address or address@port",
			    conf->forward[i], ub_strerror(rc));
			return -1;
		}
	}
	return 0;
}

static int
set_anchors(struct context *x, const struct dns_conf *conf, struct err *err)
{
	if (conf->anchor_file != NULL && ub_ctx_add_ta_file(x->ub, conf->anchor_file) != 0) {
		err_set(err, "dns.anchor: cannot use %s", conf->anchor_file);
		return -1;
	}
	for (size_t i = 0; i < conf->nanchor_keys; i++) {
		if (ub_ctx_add_ta(x->ub, conf->anchor_keys[i]) != 0) {
			err_set(err, "libunbound refused a key as trust anchor");
			return -1;
		}
	}
	return 0;
}

static int
configure(struct context *x, const struct dns_conf *conf, struct err *err)
{
	bool has_root = false, has_loopback = conf->allow_loopback_servers;
	size_t i;
	static const char *const options[][2] = {
		/* A library's defaults are 16 sockets, which a queue run would wait for, and 1 MB of
		 * cache; these are bounds for one worker (I6). */
		{ "outgoing-range:", "256" },
		{ "num-queries-per-thread:", "1024" },
		{ "outgoing-num-tcp:", "32" },
		{ "msg-cache-size:", "8m" },
		{ "rrset-cache-size:", "16m" },
		{ "key-cache-size:", "4m" },
		{ "neg-cache-size:", "1m" },
		{ "val-log-level:", "2" },	/* without it no reason comes with a bogus answer */
		/* Reverse zones of private addresses: whoever we ask knows better than a built-in no. */
		{ "unblock-lan-zones:", "yes" },
		{ "insecure-lan-zones:", "yes" },
	};

	ub_ctx_debugout(x->ub, NULL);
	for (i = 0; i < NELEMS(options); i++)
		if (option(x, options[i][0], options[i][1], err) != 0)
			return -1;
	if (set_stubs(x, conf, &has_root, &has_loopback, err) != 0)
		return -1;
	/* With servers of its own for the root it resolves from there: no forwarders. */
	if (!has_root && set_forwarders(x, conf, &has_loopback, err) != 0)
		return -1;
	if (has_loopback && option(x, "do-not-query-localhost:", "no", err) != 0)
		return -1;
	return set_anchors(x, conf, err);
}

static void
ignore(void *arg, int rcode, void *packet, int len, int sec, char *why_bogus, int was_ratelimited)
{
	*(bool *)arg = true;
}

/* The settings are only looked at with the first query; localhost is answered without asking
 * anybody, so that mistakes show here and not with the first message. */
static int
finalize(struct context *x, const struct dns_conf *conf, struct err *err)
{
	bool *called = xcalloc(1, sizeof *called);
	int rc = ub_resolve_event(x->ub, "localhost", DNS_A, 1, called, ignore, NULL);

	if (rc == 0 && *called) {
		free(called);
		return 0;
	}
	/* Should it have gone to the network after all, `called` must outlive it: leave it be. */
	if (rc != 0)
		free(called);
	if (conf->anchor_file != NULL)
		err_set(err, "dns: libunbound does not start (%s); is %s a file of trust anchors "
		    "(DS or DNSKEY records)?", ub_strerror(rc), conf->anchor_file);
	else
		err_set(err, "dns: libunbound does not start: %s", ub_strerror(rc));
	return -1;
}

static int
check_anchor(const char *file, struct err *err)
{
	FILE *f;

	if (file == NULL)
		return 0;
	f = fopen(file, "re");
	if (f == NULL) {
		err_set(err, "dns.anchor: %s: %s", file, strerror(errno));
		return -1;
	}
	fclose(f);
	return 0;
}

struct context *
dns_context_open(struct event_base *base, const struct dns_conf *conf, struct err *err)
{
	struct context *x;
	int rc = -1;

	if (check_anchor(conf->anchor_file, err) != 0)
		return NULL;
	x = xcalloc(1, sizeof *x);
	pthread_mutex_lock(&ub_lock);
	errno = 0;
	x->ub = ub_ctx_create_event(base);
	if (x->ub == NULL)
		err_set(err, "libunbound cannot be started: out of memory or not built for libevent");
	else if (configure(x, conf, err) == 0)
		rc = finalize(x, conf, err);
	/* What libunbound began and had no memory for it frees with events that are still in the loop, and the
	 * context itself cannot always be deleted: no way back. */
	if (rc != 0 && errno == ENOMEM)
		out_of_memory(0);
	pthread_mutex_unlock(&ub_lock);
	if (rc == 0)
		return x;
	dns_context_close(x);
	return NULL;
}

void
dns_context_close(struct context *x)
{
	if (x->ub != NULL) {
		pthread_mutex_lock(&ub_lock);
		ub_ctx_delete(x->ub);
		pthread_mutex_unlock(&ub_lock);
	}
	free(x);
}
