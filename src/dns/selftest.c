/* Can validation be trusted? Three contexts, each for one question:
 *
 *   strict   with the trust anchor: are the zone and the names as they have to be?
 *   plain    without one, when the first found something bogus: what did come, and is it signed?
 *   own      with the keys that came as anchors: does the zone hang together by itself?
 *
 * The first alone decides between good and bad; the others only find the words for it, and somebody who
 * answers us with lies may choose them. */
#include "config.h"

#include <event2/event.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dns/dns_int.h"

#define KEYS_MAX 20
#define FLAG_SEP 1	/* RFC 4034 2.1.1: what anchors and DS records point to */

struct dns_self_test {
	struct event_base *base;
	const struct dns_conf *conf;
	const struct dns_self_test_conf *what;
	dns_self_test_cb *cb;
	void *owner;
	struct event *turn;
	struct dns *strict, *plain, *own;
	size_t step;		/* 0 the zone, then the secure names, then the bogus ones */
	char *keys[KEYS_MAX];
	size_t nkeys;
	bool over;
};

const char *
dns_trust_name(enum dns_trust t)
{
	static const char *const names[DNS_TRUSTS] = { "untested", "honest", "off", "unreachable", "stripped",
		"clock-wrong", "anchor-outdated", "takes-bogus" };

	return (unsigned)t < NELEMS(names) ? names[t] : "?";
}

const char *
dns_trust_advice(enum dns_trust t)
{
	static const char *const advice[DNS_TRUSTS] = {
		[DNS_OFF] = "set dns.anchor to the file with the trust anchor of the root",
		[DNS_UNREACHABLE] = "look whether the resolvers in dns.forward (or /etc/resolv.conf) answer",
		[DNS_STRIPPED] = "name resolvers in dns.forward that pass DNSSEC records on as they are",
		[DNS_CLOCK_WRONG] = "set the clock of this machine, and have it kept right",
		[DNS_ANCHOR_OUTDATED] = "bring the file in dns.anchor up to date",
		[DNS_TAKES_BOGUS] = "look whether the name in dns.self_test_bogus is broken on purpose as it should be; "
		    "if it is, validation does not work here",
	};

	return (unsigned)t < NELEMS(advice) && advice[t] != NULL ? advice[t] : "";
}

static size_t
count(const char *const *list)
{
	size_t n = 0;

	while (list != NULL && list[n] != NULL)
		n++;
	return n;
}

static bool
is_bogus_step(const struct dns_self_test *t)
{
	return t->step > count(t->what->secure);
}

/* NULL: all of them were asked. */
static const char *
name_of_step(const struct dns_self_test *t)
{
	size_t n = count(t->what->secure);

	if (t->step == 0)
		return t->what->zone;
	if (t->step <= n)
		return t->what->secure[t->step - 1];
	return t->step <= n + count(t->what->bogus) ? t->what->bogus[t->step - 1 - n] : NULL;
}

static uint16_t
type_of_step(const struct dns_self_test *t)
{
	return t->step == 0 ? DNS_DNSKEY : DNS_A;
}

void
dns_self_test_cancel(struct dns_self_test *t)
{
	if (t == NULL)
		return;
	t->over = true;		/* the queries that end now say nothing */
	event_free(t->turn);
	dns_free(t->strict);
	dns_free(t->plain);
	dns_free(t->own);
	for (size_t i = 0; i < t->nkeys; i++)
		free(t->keys[i]);
	free(t);
}

static void finish(struct dns_self_test *t, enum dns_trust trust, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void
finish(struct dns_self_test *t, enum dns_trust trust, const char *fmt, ...)
{
	dns_self_test_cb *cb = t->cb;
	void *owner = t->owner;
	char why[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof why, fmt, ap);
	va_end(ap);
	dns_self_test_cancel(t);
	cb(owner, trust, why);
}

/* ---- Own: does the zone hang together by itself? ---- */

static void
own_answered(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct dns_self_test *t = owner;

	if (t->over)
		return;
	if (a->status == DNS_OK && a->secure)
		finish(t, DNS_ANCHOR_OUTDATED, "%s is signed, but by keys that dns.anchor does not lead to", t->what->zone);
	else
		finish(t, DNS_STRIPPED, "the signatures of %s do not fit: answers are altered on the way", t->what->zone);
}

static void
add_key(struct dns_self_test *t, const struct dns_rr *rr)
{
	unsigned char text[4 * 4096 / 3 + 8];

	if (t->nkeys == KEYS_MAX || rr->n <= 4 || rr->n > 4096 || (rr->data[1] & FLAG_SEP) == 0)
		return;
	EVP_EncodeBlock(text, rr->data + 4, (int)rr->n - 4);
	t->keys[t->nkeys++] = xasprintf("%s%s 3600 IN DNSKEY %u %u %u %s", t->what->zone,
	    strcmp(t->what->zone, ".") == 0 ? "" : ".", rr->data[0] << 8 | rr->data[1], rr->data[2], rr->data[3],
	    (const char *)text);
}

static bool
ask_own(struct dns_self_test *t, const struct dns_answer *a)
{
	struct dns_conf conf = *t->conf;
	struct err err;

	for (size_t i = 0; i < a->n; i++)
		add_key(t, &a->rr[i]);
	conf.anchor_file = NULL;
	conf.anchor_keys = (const char *const *)t->keys;
	conf.nanchor_keys = t->nkeys;
	if (t->nkeys == 0 || (t->own = dns_new(t->base, &conf, &err)) == NULL)
		return false;
	dns_query(t->own, t->what->zone, DNS_DNSKEY, own_answered, t);
	return true;
}

/* ---- Plain: what does come? ---- */

static void
plain_answered(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct dns_self_test *t = owner;
	int64_t now_s = clock_wall_ms() / 1000;
	char from[32], until[32], now[32];
	struct dns_signed sig;

	if (t->over)
		return;
	if (a->pkt == NULL || !dns_signed_parse(&sig, a->pkt, a->pkt_n, now_s)) {
		finish(t, DNS_UNREACHABLE, "the look-up of %s ended with %s", name_of_step(t), dns_status_name(a->status));
		return;
	}
	if (sig.n == 0) {
		finish(t, DNS_STRIPPED, "answers about %s come without signatures", name_of_step(t));
		return;
	}
	if (sig.n_now == 0) {
		date_iso8601(from, sizeof from, sig.from_s * 1000);
		date_iso8601(until, sizeof until, sig.until_s * 1000);
		date_iso8601(now, sizeof now, now_s * 1000);
		finish(t, DNS_CLOCK_WRONG, "the signatures of %s hold from %s until %s, and the clock says %s; either "
		    "it is wrong, or they have run out", name_of_step(t), from, until, now);
		return;
	}
	if (t->step > 0 || !ask_own(t, a))
		finish(t, DNS_STRIPPED, "the signatures of %s do not fit: answers are altered on the way", name_of_step(t));
}

static void
ask_plain(struct dns_self_test *t)
{
	struct dns_conf conf = *t->conf;
	struct err err;

	conf.anchor_file = NULL;
	t->plain = dns_new(t->base, &conf, &err);
	if (t->plain == NULL)
		finish(t, DNS_STRIPPED, "%s", err.text);
	else
		dns_query(t->plain, name_of_step(t), type_of_step(t), plain_answered, t);
}

/* ---- Strict: is everything as it has to be? ---- */

static void ask(struct dns_self_test *t);

static void
bogus_answered(struct dns_self_test *t, const struct dns_answer *a)
{
	if (a->status == DNS_TIMEOUT) {
		finish(t, DNS_UNREACHABLE, "the look-up of %s ended with timeout", name_of_step(t));
	} else if (dns_status_is_failure(a->status)) {
		t->step++;
		ask(t);
	} else {
		finish(t, DNS_TAKES_BOGUS, "%s must not validate, and was taken", name_of_step(t));
	}
}

static void
answered(void *owner, uint64_t query, const struct dns_answer *a)
{
	struct dns_self_test *t = owner;

	if (t->over)
		return;
	if (is_bogus_step(t)) {
		bogus_answered(t, a);
	} else if (a->status == DNS_BOGUS) {
		ask_plain(t);
	} else if (dns_status_is_failure(a->status)) {
		finish(t, DNS_UNREACHABLE, "the look-up of %s ended with %s", name_of_step(t), dns_status_name(a->status));
	} else if (!a->secure || (t->step == 0 && a->status != DNS_OK)) {
		finish(t, DNS_STRIPPED, "nothing that is signed comes for %s (%s)", name_of_step(t), dns_status_name(a->status));
	} else {
		t->step++;
		ask(t);
	}
}

static void
ask(struct dns_self_test *t)
{
	const char *name = name_of_step(t);

	if (name == NULL)
		finish(t, DNS_HONEST, "validation works");
	else
		dns_query(t->strict, name, type_of_step(t), answered, t);
}

static void
begin(evutil_socket_t fd, short what, void *arg)
{
	struct dns_self_test *t = arg;
	struct err err;

	if (t->conf->anchor_file == NULL) {
		finish(t, DNS_OFF, "no trust anchor is configured");
		return;
	}
	t->strict = dns_new(t->base, t->conf, &err);
	if (t->strict == NULL)
		finish(t, DNS_UNREACHABLE, "the self-test does not begin: %s", err.text);
	else
		ask(t);
}

struct dns_self_test *
dns_self_test(struct event_base *base, const struct dns_conf *conf, const struct dns_self_test_conf *what,
    dns_self_test_cb *cb, void *owner)
{
	struct dns_self_test *t = xcalloc(1, sizeof *t);

	t->base = base;
	t->conf = conf;
	t->what = what;
	t->cb = cb;
	t->owner = owner;
	t->turn = event_new(base, -1, 0, begin, t);
	MUST(t->turn != NULL);
	event_active(t->turn, 0, 0);
	return t;
}
