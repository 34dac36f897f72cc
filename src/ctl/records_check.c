#include "config.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ctl/probe.h"
#include "ctl/records.h"
#include "trust/dane.h"
#include "trust/sts.h"

#define RR_MAX 100u

struct answer {			/* a copy */
	enum dns_status status;
	bool secure, is_over;
	struct dns_rr rr[RR_MAX];
	size_t n;
};
struct asker {
	struct event_base *base;
	struct dns *dns;
	struct answer a;
};

static void
forget(struct answer *a)
{
	for (size_t i = 0; i < a->n; i++)
		free((void *)a->rr[i].data);
	memset(a, 0, sizeof *a);
}

static void
on_answer(void *owner, uint64_t query, const struct dns_answer *got)
{
	struct asker *k = owner;
	struct answer *a = &k->a;

	a->status = got->status;
	a->secure = got->secure;
	for (; got->status == DNS_OK && a->n < got->n && a->n < RR_MAX; a->n++) {
		uint8_t *copy = xmalloc(got->rr[a->n].n + 1);

		memcpy(copy, got->rr[a->n].data, got->rr[a->n].n);
		a->rr[a->n] = (struct dns_rr){ copy, got->rr[a->n].n };
	}
	a->is_over = true;
	event_base_loopbreak(k->base);
}

/* Waits; dns.timeout bounds it. */
static const struct answer *
ask(struct asker *k, const char *name, uint16_t type)
{
	forget(&k->a);
	dns_query(k->dns, name, type, on_answer, k);
	while (!k->a.is_over && event_base_dispatch(k->base) == 0)
		;
	MUST(k->a.is_over);
	return &k->a;
}

static void
say(struct record *r, enum record_state state, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void
say(struct record *r, enum record_state state, const char *fmt, ...)
{
	struct buf b;
	va_list ap;

	buf_init(&b, 4096);
	va_start(ap, fmt);
	buf_vprintf(&b, fmt, ap);
	va_end(ap);
	free(r->found);
	r->found = buf_take(&b);
	r->state = state;
}

static bool
has_failed(struct record *r, const struct answer *a)
{
	if (!dns_status_is_failure(a->status))
		return false;
	say(r, RECORD_UNKNOWN, "the look-up failed: %s", dns_status_name(a->status));
	return true;
}

/* ---- TXT ---- */

struct texts {
	struct slice v[RR_MAX];
	struct buf b[RR_MAX];
	size_t n;
};

static void
read_texts(struct texts *t, const struct answer *a)
{
	t->n = 0;
	for (size_t i = 0; i < a->n; i++) {
		struct buf *b = &t->b[t->n];

		buf_init(b, 64 * 1024);
		if (dns_txt_parse(&a->rr[i], b))
			t->v[t->n++] = buf_slice(b);
		else
			buf_fini(b);
	}
}

static void
free_texts(struct texts *t)
{
	for (size_t i = 0; i < t->n; i++)
		buf_fini(&t->b[i]);
}

static void
check_sts_txt(struct record *r, struct asker *k)
{
	const struct answer *a = ask(k, r->name, DNS_TXT);
	char *policy = conf_sts_text(r->sts), want[STS_ID_SIZE], got[STS_ID_SIZE];
	struct texts t;
	enum sts_txt what;

	sts_policy_id(want, policy);
	free(policy);
	if (has_failed(r, a))
		return;
	read_texts(&t, a);
	what = sts_txt_id(t.v, t.n, got);
	free_texts(&t);
	if (what == STS_TXT_NONE)
		say(r, RECORD_MISSING, "no record announces the policy");
	else if (what == STS_TXT_BROKEN)
		say(r, RECORD_WRONG, "what is published is no valid record, or more than one: senders see no policy");
	else if (strcmp(want, got) != 0)
		say(r, RECORD_WRONG, "announces id %s; senders do not learn of the policy as it is now", got);
	else
		r->state = RECORD_OK;
}

/* T-02, T-03: exactly one; ours have to be among its URIs. */
static bool
has_uri(struct slice rua, const char *uri)
{
	struct slice one;

	while (slice_cut(&rua, ',', &one))
		if (slice_is(slice_trim(one), uri))
			return true;
	return false;
}

static struct slice
rua_of(struct slice txt)
{
	struct slice field, name;

	while (slice_cut(&txt, ';', &field)) {
		if (slice_cut(&field, '=', &name) && slice_is(slice_trim(name), "rua") && field.p != NULL)
			return slice_trim(field);
	}
	return (struct slice){ NULL, 0 };
}

static void
check_reports(struct record *r, struct asker *k)
{
	static const char version[] = "v=TLSRPTv1;";
	const struct answer *a = ask(k, r->name, DNS_TXT);
	struct slice found = { NULL, 0 }, rua;
	struct texts t;
	size_t n = 0;

	if (has_failed(r, a))
		return;
	read_texts(&t, a);
	for (size_t i = 0; i < t.n; i++) {
		if (t.v[i].n >= sizeof version - 1 && memcmp(t.v[i].p, version, sizeof version - 1) == 0) {
			found = t.v[i];
			n++;
		}
	}
	rua = rua_of(found);
	r->state = RECORD_OK;
	if (n == 0)
		say(r, RECORD_MISSING, "no record asks for reports");
	else if (n > 1)
		say(r, RECORD_WRONG, "%zu records: senders take none of them", n);
	for (size_t i = 0; n == 1 && i < r->nreports; i++)
		if (!has_uri(rua, r->reports[i]))
			say(r, RECORD_WRONG, "reports are not sent to %s", r->reports[i]);
	free_texts(&t);
}

/* ---- Hosts ---- */

static void
check_sts_host(struct record *r, struct asker *k)
{
	const struct answer *a = ask(k, r->name, DNS_A);

	if (a->status != DNS_OK && !dns_status_is_failure(a->status))
		a = ask(k, r->name, DNS_AAAA);
	if (has_failed(r, a))
		return;
	if (a->status == DNS_OK)
		r->state = RECORD_OK;
	else
		say(r, RECORD_MISSING, "no address: nobody can fetch the policy");
}

static bool
is_named(const struct conf_sts *s, const char *host)
{
	struct sts_policy p = { .mx = s->mx, .nmx = s->nmx };

	return sts_policy_has(&p, host);
}

/* Without MX records it is the domain itself that takes mail. */
static void
check_mx(struct record *r, struct asker *k)
{
	const struct answer *a = ask(k, r->name, DNS_MX);
	struct dns_mx mx;

	if (has_failed(r, a))
		return;
	r->state = RECORD_OK;
	if (a->n == 0 && !is_named(r->sts, r->name))
		say(r, RECORD_WRONG, "no MX record, and the policy does not name the domain itself");
	for (size_t i = 0; i < a->n; i++)
		if (dns_mx_parse(&a->rr[i], &mx) && mx.host[0] != '\0' && !is_named(r->sts, mx.host))
			say(r, RECORD_WRONG, "the policy does not name the MX host %s: in mode enforce it gets no mail from "
			    "those who obey", mx.host);
}

/* ---- TLSA ---- */

static bool
matches_any(const struct tls_file *f, const struct dane_set *s)
{
	for (size_t i = 0; f != NULL && i < s->n; i++)
		if (tls_file_matches(f, &s->usable[i]))
			return true;
	return false;
}

/* An authority that is named stays the same from one certificate to the next, as a rule. */
static bool
names_authority(const struct tls_file *certs, const struct dane_set *s)
{
	for (size_t i = 0; certs != NULL && i < s->n; i++)
		if (s->usable[i].usage == 2 && tls_file_matches(certs, &s->usable[i]))
			return true;
	return false;
}

static void
compare(struct record *r, const struct dane_set *s)
{
	r->state = RECORD_OK;
	if (s->n == 0)
		say(r, RECORD_WRONG, "none of what is published is usable (%s)", s->text);
	else if (r->kind == RECORD_TLSA && !matches_any(r->certs, s))		/* D-56 */
		say(r, RECORD_WRONG, "no record matches the certificate that is served: whoever does DANE sends no mail "
		    "(published: %s)", s->text);
	else if (r->kind == RECORD_TLSA_NEXT && !matches_any(r->key, s) && !names_authority(r->certs, s))
		say(r, RECORD_MISSING, "no record matches the next key; do not change over yet");
}

static void
check_tlsa(struct record *r, struct asker *k)
{
	const struct answer *a = ask(k, r->name, DNS_TLSA);
	struct dane_set *s;

	if (has_failed(r, a))
		return;
	if (!a->secure) {
		say(r, RECORD_UNSIGNED, "not signed with DNSSEC, so TLSA records count for nobody");
	} else if (a->status != DNS_OK) {
		say(r, RECORD_MISSING, "no record there");
	} else {
		s = dane_set_new(a->rr, a->n);
		compare(r, s);
		dane_set_free(s);
	}
}

int
records_check(struct records *r, const struct conf *c, struct err *err)
{
	static void (*const check[])(struct record *, struct asker *) = {
		[RECORD_STS_TXT] = check_sts_txt, [RECORD_STS_HOST] = check_sts_host, [RECORD_MX] = check_mx,
		[RECORD_REPORTS] = check_reports, [RECORD_TLSA] = check_tlsa, [RECORD_TLSA_NEXT] = check_tlsa,
	};
	struct asker k = { .base = event_base_new() };
	struct dns_conf dc;
	bool has_dns;

	MUST(k.base != NULL);
	conf_dns(c, &dc);
	k.dns = dns_new(k.base, &dc, err);
	conf_dns_fini(&dc);
	has_dns = k.dns != NULL;
	for (size_t i = 0; has_dns && i < r->n; i++)
		check[r->v[i].kind](&r->v[i], &k);
	forget(&k.a);
	dns_free(k.dns);
	event_base_free(k.base);
	return has_dns ? 0 : -1;
}
