#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gateway/resolver.h"

#define AGAIN_MS 60000		/* after a failure: that it passes is seen soon */
#define AGAIN_MAX_MS 600000
#define FILES 2

struct resolver {
	struct event_base *base;
	struct setup *setup;	/* of the start: what is under dns changes with a restart */
	struct dns_conf conf;
	struct dns_self_test_conf what;
	struct event *timer;
	struct dns_self_test *test;
	struct resolver_state state;
	unsigned failures;	/* in a row */
	struct stat files[FILES], at_test[FILES];	/* as the workers have read them; as the test did */
	void (*changed)(void *owner, const struct resolver_state *s, bool reopen);
	void *owner;
};

static void
look_at(const char *path, struct stat *st)
{
	if (path == NULL || stat(path, st) != 0)
		memset(st, 0, sizeof *st);
}

static void
look_at_files(const struct resolver *r, struct stat files[FILES])
{
	look_at(r->conf.anchor_file, &files[0]);
	look_at(r->conf.forward == NULL ? "/etc/resolv.conf" : NULL, &files[1]);
}

static bool
is_same(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
	    a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void
test_later(struct resolver *r)
{
	int64_t ms = r->setup->conf->dns.self_test_interval_ms, again = AGAIN_MS;
	struct timeval tv;

	for (unsigned i = 1; i < r->failures && again < AGAIN_MAX_MS; i++)
		again *= 2;
	if (r->failures > 0 && again < ms)
		ms = again;
	/* Ten per cent more or less, so that a site's gateways do not ask together. */
	ms = ms * (900 + arc4random_uniform(201)) / 1000;
	tv = (struct timeval){ ms / 1000, ms % 1000 * 1000 };
	evtimer_add(r->timer, &tv);
}

static void
say(const struct resolver_state *s, bool was_lost)
{
	const char *verdict = dns_trust_name(s->trust), *todo = dns_trust_advice(s->trust);

	if (s->trust == DNS_HONEST)
		log_info(was_lost ? "DNSSEC validation can be trusted again" : "DNSSEC validation works",
		    LOG_S("verdict", verdict));
	else if (s->is_lost)
		log_error("DNSSEC validation cannot be trusted: no answer counts as secure", LOG_S("verdict", verdict),
		    LOG_S("why", s->why), LOG_S("todo", todo));
	else if (s->trust == DNS_OFF)		/* as it was configured */
		log_warn("DNSSEC validation could not be tested", LOG_S("verdict", verdict), LOG_S("why", s->why),
		    LOG_S("todo", todo));
	else
		log_error("DNSSEC validation could not be tested", LOG_S("verdict", verdict), LOG_S("why", s->why),
		    LOG_S("todo", todo));
}

static void
tested(void *owner, enum dns_trust trust, const char *why)
{
	struct resolver *r = owner;
	struct resolver_state *s = &r->state;
	bool was_lost = s->is_lost, is_new = trust != s->trust, reopen = false;

	r->test = NULL;
	s->trust = trust;
	s->tests[trust]++;
	s->tested_ms = clock_wall_ms();
	if (is_new)
		s->since_ms = s->tested_ms;
	text_escape(s->why, sizeof s->why, why, strlen(why), true);
	/* Who does not answer any more has not become honest. */
	if (trust == DNS_HONEST || dns_trust_is_lost(trust))
		s->is_lost = trust != DNS_HONEST;
	r->failures = trust == DNS_HONEST ? 0 : r->failures + 1;
	if (trust == DNS_HONEST) {
		/* Failed look-ups stay in libunbound's caches for a minute: after a bad time they begin anew. */
		reopen = was_lost || !is_same(&r->files[0], &r->at_test[0]) || !is_same(&r->files[1], &r->at_test[1]);
		memcpy(r->files, r->at_test, sizeof r->files);
	}
	if (is_new)
		say(s, was_lost);
	if (is_new || reopen)
		r->changed(r->owner, s, reopen);
	if (trust != DNS_OFF)
		test_later(r);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct resolver *r = arg;

	look_at_files(r, r->at_test);
	r->test = dns_self_test(r->base, &r->conf, &r->what, tested, r);
}

struct resolver *
resolver_new(struct event_base *base, struct setup *setup,
    void (*changed)(void *owner, const struct resolver_state *s, bool reopen), void *owner)
{
	struct resolver *r = xcalloc(1, sizeof *r);

	r->base = base;
	r->setup = setup_ref(setup);
	r->changed = changed;
	r->owner = owner;
	conf_dns(setup->conf, &r->conf);
	r->what = (struct dns_self_test_conf){ .zone = setup->conf->dns.self_test_zone,
		.secure = (const char *const *)setup->conf->dns.self_test_secure,
		.bogus = (const char *const *)setup->conf->dns.self_test_bogus };
	look_at_files(r, r->files);
	r->timer = evtimer_new(base, on_timer, r);
	MUST(r->timer != NULL);
	event_active(r->timer, 0, 0);
	return r;
}

const struct resolver_state *
resolver_state_peek(const struct resolver *r)
{
	return &r->state;
}

void
resolver_free(struct resolver *r)
{
	if (r == NULL)
		return;
	dns_self_test_cancel(r->test);
	event_free(r->timer);
	conf_dns_fini(&r->conf);
	setup_unref(r->setup);
	free(r);
}
