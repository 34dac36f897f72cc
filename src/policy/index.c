/* What of a chain can be left out without looking at it. Rules about domains, networks and listeners come by the
 * thousand, and of each call they hold for few: their words lie in one table, and a call looks up its own domain,
 * address and listener there instead of asking every rule.
 *
 * I-1: what is left out would have answered "does not match", and could not have failed.
 * I-2: order, levels and the numbers of calls and hits are as if each had been asked.
 * I-3: a Lua handler may change sender and recipients: after one, the rest is looked up anew. */
#include "config.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "policy/matcher_int.h"
#include "policy/policy_int.h"

#define WORTH_IT 4		/* fewer rules than this are asked */
#define WORD_BITS 64

enum about { ABOUT_SENDER, ABOUT_RCPT, ABOUT_CLIENT, ABOUT_LISTENER, ABOUT_NOTHING };

struct posting {
	uint32_t key, pos;
};
struct chain_index {
	struct names *domains, *others;	/* the latter octet by octet: networks and listeners */
	struct posting *of_domains, *of_others;	/* sorted by key, then place */
	uint32_t *from_domains, *from_others;	/* where a key's begin; one more at the end */
	size_t ndomains, nothers;
	uint64_t *always;		/* to be asked in any case */
	size_t nwords;
	unsigned about;			/* 1 << ABOUT_* */
	uint8_t v4_bits[33], v6_bits[129];
	unsigned nv4, nv6;
	/* Left out, as differences: from this place on so many more. `rest`: when the normal part was over, so
	 * that it counts for the others only. */
	uint64_t *left_out, *left_out_rest;
};

/* ---- What of a matcher is looked up ---- */

static enum about
about_of(const struct matcher *m)
{
	switch (m->op) {
	case MATCH_SENDER_DOMAIN: return m->domains.all ? ABOUT_NOTHING : ABOUT_SENDER;
	case MATCH_RCPT_DOMAIN: return m->domains.all ? ABOUT_NOTHING : ABOUT_RCPT;
	case MATCH_CLIENT_IP: return ABOUT_CLIENT;
	case MATCH_LISTENER: return ABOUT_LISTENER;
	default: return ABOUT_NOTHING;
	}
}

static bool
can_fail(const struct matcher *m)
{
	switch (m->op) {
	case MATCH_SUBJECT_WORD:
	case MATCH_HEADER:
	case MATCH_HAS_HEADER:
	case MATCH_ATTACHMENT:
	case MATCH_LUA:
		return true;
	default:
		break;
	}
	for (size_t i = 0; i < m->nkids; i++)
		if (can_fail(m->kids[i]))
			return true;
	return false;
}

/* The part of the matcher without which it cannot hold: one about words, or an `any` of such. NULL: there is
 * none. In an `all`, nothing that can fail may stand before it: the failure would come first. */
static const struct matcher *
needed_part(const struct matcher *m)
{
	const struct matcher *best = NULL;

	switch (m->op) {
	case MATCH_ANY:
		for (size_t i = 0; i < m->nkids; i++)
			if (about_of(m->kids[i]) == ABOUT_NOTHING)
				return NULL;
		return m;
	case MATCH_ALL:
		for (size_t i = 0; i < m->nkids; i++) {
			const struct matcher *part = needed_part(m->kids[i]);

			/* Nearly everything comes in by the same few listeners. */
			if (part != NULL && (best == NULL || best->op == MATCH_LISTENER))
				best = part;
			if (can_fail(m->kids[i]))
				break;
		}
		return best;
	default:
		return about_of(m) == ABOUT_NOTHING ? NULL : m;
	}
}

/* ---- Building ---- */

struct builder {
	struct chain_index *x;
	size_t nwords, octets;		/* at most so many keys of each kind */
};

static void
count_words(struct builder *b, const struct matcher *m)
{
	for (size_t i = 0; i < m->nkids; i++)
		count_words(b, m->kids[i]);
	if (m->domains.names != NULL) {
		b->nwords += m->domains.names->n;
		b->octets += m->domains.names->used + m->domains.names->n;
	}
	b->nwords += m->nwords;
	for (size_t i = 0; i < m->nwords; i++)
		b->octets += strlen(m->words[i]) + 20;
}

static void
post(struct names *names, struct posting **list, size_t *n, const char *key, size_t len, uint32_t pos)
{
	int64_t k;

	names_add(names, key, len);
	k = names_find(names, key, len);
	if ((*n & 63) == 0)
		*list = xrealloc(*list, (*n + 64) * sizeof **list);
	(*list)[(*n)++] = (struct posting){ (uint32_t)k, pos };
}

static void
post_nets(struct chain_index *x, const struct matcher *m, uint32_t pos)
{
	for (uint32_t i = 0; i < m->nets->n; i++) {
		struct slice net = names_at(m->nets, i);
		char key[20] = { 'I' };

		memcpy(key + 1, net.p, net.n);
		post(x->others, &x->of_others, &x->nothers, key, net.n + 1, pos);
	}
	for (unsigned i = 0; i < m->nv4; i++)
		if (memchr(x->v4_bits, m->v4_bits[i], x->nv4) == NULL)
			x->v4_bits[x->nv4++] = m->v4_bits[i];
	for (unsigned i = 0; i < m->nv6; i++)
		if (memchr(x->v6_bits, m->v6_bits[i], x->nv6) == NULL)
			x->v6_bits[x->nv6++] = m->v6_bits[i];
}

static void
post_words(struct chain_index *x, const struct matcher *m, uint32_t pos)
{
	enum about about = about_of(m);
	char key[1024];

	for (size_t i = 0; i < m->nkids; i++)
		post_words(x, m->kids[i], pos);
	if (about == ABOUT_NOTHING)
		return;
	x->about |= 1u << about;
	if (about == ABOUT_CLIENT)
		post_nets(x, m, pos);
	for (size_t i = 0; about == ABOUT_LISTENER && i < m->nwords; i++) {
		int n = snprintf(key, sizeof key, "L%s", m->words[i]);

		post(x->others, &x->of_others, &x->nothers, key, (size_t)n, pos);
	}
	for (uint32_t i = 0; about <= ABOUT_RCPT && i < m->domains.names->n; i++) {
		struct slice name = names_at(m->domains.names, i);
		int n = snprintf(key, sizeof key, "%c%.*s", about == ABOUT_SENDER ? 's' : 'r', (int)name.n, name.p);

		post(x->domains, &x->of_domains, &x->ndomains, key, (size_t)n, pos);
	}
}

static int
by_key(const void *a, const void *b)
{
	const struct posting *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->pos < y->pos ? -1 : x->pos > y->pos;
}

/* Where each key's postings begin. */
static uint32_t *
sort_postings(struct posting *v, size_t n, uint32_t nkeys)
{
	uint32_t *from = xcalloc(nkeys + 1, sizeof *from), k = 0;

	if (n > 0)
		qsort(v, n, sizeof *v, by_key);
	for (size_t i = 0; i < n; i++)
		while (k <= v[i].key)
			from[k++] = (uint32_t)i;
	while (k <= nkeys)
		from[k++] = (uint32_t)n;
	return from;
}

static struct names *
names_for(size_t n, size_t octets, bool exact)
{
	size_t size = names_size(n, octets);

	return size == 0 ? NULL : names_init(xmalloc(size), n, octets, exact);
}

struct chain_index *
policy_index_new(const struct chain *c)
{
	const struct matcher **parts = xcalloc(c->n + 1, sizeof *parts);
	struct builder b = { NULL, 0, 0 };
	struct chain_index *x = NULL;
	size_t found = 0;

	for (size_t i = 0; i < c->n; i++) {
		parts[i] = c->v[i]->when == NULL ? NULL : needed_part(c->v[i]->when);
		if (parts[i] == NULL)
			continue;
		count_words(&b, parts[i]);
		found++;
	}
	if (found < WORTH_IT)
		goto out;
	x = xcalloc(1, sizeof *x);
	x->domains = names_for(b.nwords, b.octets, false);
	x->others = names_for(b.nwords, b.octets, true);
	if (x->domains == NULL || x->others == NULL) {	/* too much for a table: they are asked */
		policy_index_free(x);
		x = NULL;
		goto out;
	}
	x->nwords = (c->n + WORD_BITS - 1) / WORD_BITS;
	x->always = xcalloc(x->nwords, sizeof *x->always);
	x->left_out = xcalloc(c->n + 1, sizeof *x->left_out);
	x->left_out_rest = xcalloc(c->n + 1, sizeof *x->left_out_rest);
	for (size_t i = 0; i < c->n; i++) {
		if (parts[i] == NULL)
			x->always[i / WORD_BITS] |= UINT64_C(1) << i % WORD_BITS;
		else
			post_words(x, parts[i], (uint32_t)i);
	}
	x->from_domains = sort_postings(x->of_domains, x->ndomains, x->domains->n);
	x->from_others = sort_postings(x->of_others, x->nothers, x->others->n);
out:
	free(parts);
	return x;
}

void
policy_index_free(struct chain_index *x)
{
	if (x == NULL)
		return;
	free(x->domains);
	free(x->others);
	free(x->of_domains);
	free(x->of_others);
	free(x->from_domains);
	free(x->from_others);
	free(x->always);
	free(x->left_out);
	free(x->left_out_rest);
	free(x);
}

/* ---- Looking up ---- */

static void
mark(uint64_t *plan, const struct posting *v, const uint32_t *from, int64_t key)
{
	if (key < 0)
		return;
	for (uint32_t i = from[key]; i < from[key + 1]; i++)
		plan[v[i].pos / WORD_BITS] |= UINT64_C(1) << v[i].pos % WORD_BITS;
}

/* As domain_set_has: the name itself, and ".b.c" for each that it is below. */
static void
mark_domain(const struct chain_index *x, uint64_t *plan, char kind, struct slice d)
{
	char key[300];

	if (d.n == 0 || d.n + 1 > sizeof key)
		return;
	memcpy(key + 1, d.p, d.n);
	key[0] = kind;
	mark(plan, x->of_domains, x->from_domains, names_find(x->domains, key, d.n + 1));
	for (size_t i = 1; i + 1 < d.n; i++) {
		if (d.p[i] != '.')
			continue;
		key[i] = kind;		/* over the octet before, which is not needed any more */
		mark(plan, x->of_domains, x->from_domains, names_find(x->domains, key + i, d.n - i + 1));
	}
}

static void
mark_client(const struct chain_index *x, uint64_t *plan, const struct policy_subject *s)
{
	uint8_t ip[16];
	int family;
	char key[20] = { 'I' };

	if (!matcher_client_ip(s, ip, &family))
		return;
	for (unsigned i = 0; i < (family == AF_INET ? x->nv4 : x->nv6); i++) {
		unsigned bits = family == AF_INET ? x->v4_bits[i] : x->v6_bits[i];

		mark(plan, x->of_others, x->from_others,
		    names_find(x->others, key, matcher_net_key(key + 1, family, bits, ip) + 1));
	}
}

static void
mark_rcpts(const struct chain_index *x, uint64_t *plan, const struct policy_subject *s)
{
	const struct msg *m = s->msg;

	if (m == NULL) {
		if (s->domain != NULL)
			mark_domain(x, plan, 'r', slice_of(s->domain));
	} else if (s->rcpt >= 0 && (size_t)s->rcpt < m->nrcpts) {
		mark_domain(x, plan, 'r', slice_of(m->rcpts[s->rcpt].domain));
	} else {
		for (size_t i = 0; i < m->nrcpts; i++)
			if (!m->rcpts[i].discarded)
				mark_domain(x, plan, 'r', slice_of(m->rcpts[i].domain));
	}
}

static void
make_plan(struct policy_run *r, const struct chain_index *x)
{
	const struct policy_subject *s = r->s;
	const char *listener;

	if (r->plan_words < x->nwords) {
		r->plan = xrealloc(r->plan, x->nwords * sizeof *r->plan);
		r->plan_words = x->nwords;
	}
	memcpy(r->plan, x->always, x->nwords * sizeof *r->plan);
	if ((x->about & 1u << ABOUT_SENDER) != 0 && s->msg != NULL)
		mark_domain(x, r->plan, 's', slice_of(s->msg->from_domain));
	if ((x->about & 1u << ABOUT_RCPT) != 0)
		mark_rcpts(x, r->plan, s);
	if ((x->about & 1u << ABOUT_CLIENT) != 0)
		mark_client(x, r->plan, s);
	if ((x->about & 1u << ABOUT_LISTENER) != 0 && (listener = matcher_listener(s)) != NULL) {
		char key[300];
		int n = snprintf(key, sizeof key, "L%s", listener);

		if (n > 0 && (size_t)n < sizeof key)
			mark(r->plan, x->of_others, x->from_others, names_find(x->others, key, (size_t)n));
	}
	r->has_plan = true;
}

static size_t
next_marked(const uint64_t *plan, size_t nwords, size_t at, size_t n)
{
	size_t w = at / WORD_BITS;
	uint64_t bits;

	if (w >= nwords)
		return n;
	bits = plan[w] & (UINT64_MAX << at % WORD_BITS);
	while (bits == 0) {
		if (++w >= nwords)
			return n;
		bits = plan[w];
	}
	return w * WORD_BITS + (size_t)__builtin_ctzll(bits);
}

size_t
policy_index_next(struct policy_run *r, struct chain *c)
{
	struct chain_index *x = c->index;
	size_t at = r->at, next;
	uint64_t *left_out;

	if (!r->has_plan)
		make_plan(r, x);
	next = next_marked(r->plan, x->nwords, at, c->n);
	if (next > at) {
		left_out = r->normal_done ? x->left_out_rest : x->left_out;
		left_out[at]++;
		left_out[next]--;
	}
	return next;
}

/* ---- Counting ---- */

void
policy_index_settle(struct chain *c)
{
	struct chain_index *x = c->index;
	uint64_t all = 0, rest = 0;

	for (size_t i = 0; x != NULL && i < c->n; i++) {
		struct handler *h = c->v[i];

		all += x->left_out[i];
		rest += x->left_out_rest[i];
		h->calls += all + (h->level == POLICY_NORMAL && !h->observe ? 0 : rest);
	}
	if (x != NULL) {
		memset(x->left_out, 0, (c->n + 1) * sizeof *x->left_out);
		memset(x->left_out_rest, 0, (c->n + 1) * sizeof *x->left_out_rest);
	}
}
