#include "config.h"

#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/metric.h"
#include "data/rate.h"

#define WAYS 8u			/* places of a set */
#define SPINS 2000
#define CLAIMED 1u		/* a hash that nobody has: the place is being filled */
#define LABEL_WORDS (RATE_KEY_SHOWN / 8)

struct place {
	_Atomic uint64_t hash;		/* 0: empty */
	/* A bucket: nanoseconds until which it is filled. A window: its number, its count, the count before. */
	_Atomic uint64_t state;
	_Atomic uint64_t label[LABEL_WORDS];	/* the start of the key, for people */
};
struct set {
	_Atomic uint32_t is_filling;	/* somebody looks for a place in it */
	struct place v[WAYS];
};
struct rate {
	struct rate *next;
	struct node *node;
	unsigned refs;			/* under the node's lock */
	struct rate_conf conf;
	uint64_t step_ns;		/* bucket: what one costs */
	uint64_t span_ns;		/* bucket: what all cost; window: the period */
	uint32_t mask;
	struct set *sets;
	_Atomic uint64_t taken, refused;
};
struct counter {
	struct counter *next;
	_Atomic int64_t value;
	char name[];
};
struct node {
	atomic_uint refs;
	pthread_mutex_t lock;		/* of the lists; nobody takes it to count */
	struct rate *rates;
	unsigned nrates;
	struct counter *counters;	/* newest first */
	unsigned ncounters;
	struct metrics *metrics;
	uint64_t key[2];
};

/* ---- SipHash-2-4 (Aumasson, Bernstein 2012): keys are chosen by strangers ---- */

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

static void
sip_round(uint64_t v[4])
{
	v[0] += v[1]; v[1] = ROTL(v[1], 13) ^ v[0]; v[0] = ROTL(v[0], 32);
	v[2] += v[3]; v[3] = ROTL(v[3], 16) ^ v[2];
	v[0] += v[3]; v[3] = ROTL(v[3], 21) ^ v[0];
	v[2] += v[1]; v[1] = ROTL(v[1], 17) ^ v[2]; v[2] = ROTL(v[2], 32);
}

static uint64_t
sip_hash(const uint64_t key[2], struct slice s)
{
	uint64_t v[4] = { key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
		key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573) };
	uint64_t last = (uint64_t)s.n << 56, word;
	size_t i;

	for (i = 0; i + 8 <= s.n; i += 8) {
		memcpy(&word, s.p + i, 8);
		v[3] ^= word;
		sip_round(v);
		sip_round(v);
		v[0] ^= word;
	}
	for (size_t k = 0; i + k < s.n; k++)
		last |= (uint64_t)(unsigned char)s.p[i + k] << (8 * k);
	v[3] ^= last;
	sip_round(v);
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	for (int k = 0; k < 4; k++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- What a word says ---- */

/* The time, never 0. */
static uint64_t
now_ns(void)
{
	return (uint64_t)clock_mono_ns() + 1;
}

static uint64_t
bucket_take(const struct rate *r, uint64_t state, uint64_t now, uint32_t n, uint64_t *wait)
{
	uint64_t full = (state > now ? state : now) + n * r->step_ns;

	*wait = full > now + r->span_ns ? full - now - r->span_ns : 0;
	return full;
}

/* Number of the window (24 bits), its count, and that of the window before (20 bits each). */
#define WINDOW_NO(s) ((s) >> 40)
#define WINDOW_COUNT(s) ((uint32_t)((s) >> 20 & 0xfffff))
#define WINDOW_BEFORE(s) ((uint32_t)((s) & 0xfffff))
#define WINDOW(no, count, before) ((uint64_t)(no) << 40 | (uint64_t)(count) << 20 | (before))

static uint64_t
window_now(const struct rate *r, uint64_t state, uint64_t now)
{
	uint64_t no = now / r->span_ns & 0xffffff;

	if (state == 0)
		return WINDOW(no, 0, 0);
	if (WINDOW_NO(state) == no)
		return state;
	return WINDOW(no, 0, WINDOW_NO(state) == ((no - 1) & 0xffffff) ? WINDOW_COUNT(state) : 0);
}

/* As much of the window before as still lies in the last period, rounded up: never more than the limit. */
static uint32_t
window_used(const struct rate *r, uint64_t state, uint64_t now)
{
	uint64_t left = r->span_ns - now % r->span_ns;
	double part = (double)WINDOW_BEFORE(state) * (double)left / (double)r->span_ns;
	uint32_t whole = (uint32_t)part;

	return WINDOW_COUNT(state) + whole + (part > (double)whole);
}

/* How long until n fit. */
static uint64_t
window_wait(const struct rate *r, uint64_t state, uint64_t now, uint32_t n)
{
	uint64_t left = r->span_ns - now % r->span_ns;
	uint32_t before = WINDOW_BEFORE(state), count = WINDOW_COUNT(state);

	if (count + n <= r->conf.limit && before > 0) {
		/* before * left / span has to shrink to limit - count - n. */
		double room = (double)(r->conf.limit - count - n) / before * (double)r->span_ns;

		return (double)left > room ? (uint64_t)((double)left - room) + 1 : 1;
	}
	/* In the next window, this one's count shrinks in the same way. */
	if (count > 0 && n < r->conf.limit) {
		double room = (double)(r->conf.limit - n) / count * (double)r->span_ns;

		return left + (room < (double)r->span_ns ? (uint64_t)((double)r->span_ns - room) + 1 : 0);
	}
	return left + r->span_ns;
}

static uint64_t
state_take(const struct rate *r, uint64_t state, uint64_t now, uint32_t n, uint64_t *wait)
{
	uint64_t s;

	if (r->conf.kind == RATE_BUCKET)
		return bucket_take(r, state, now, n, wait);
	s = window_now(r, state, now);
	*wait = 0;
	if (window_used(r, s, now) + n > r->conf.limit) {
		*wait = window_wait(r, s, now, n);
		return s;
	}
	return s + ((uint64_t)n << 20);
}

static uint32_t
state_left(const struct rate *r, uint64_t state, uint64_t now)
{
	uint64_t ahead;
	uint32_t used;

	if (r->conf.kind == RATE_BUCKET) {
		ahead = state > now ? state - now : 0;
		return ahead >= r->span_ns ? 0 : (uint32_t)((r->span_ns - ahead) / r->step_ns);
	}
	used = window_used(r, window_now(r, state, now), now);
	return used >= r->conf.limit ? 0 : r->conf.limit - used;
}

/* The higher, the more is lost with it. */
static uint64_t
state_worth(const struct rate *r, uint64_t state, uint64_t now)
{
	if (r->conf.kind == RATE_BUCKET)
		return state > now ? state - now : 0;
	return window_used(r, window_now(r, state, now), now);
}

/* ---- Places ---- */

static struct place *
find(struct set *s, uint64_t hash)
{
	for (unsigned i = 0; i < WAYS; i++)
		if (atomic_load_explicit(&s->v[i].hash, memory_order_acquire) == hash)
			return &s->v[i];
	return NULL;
}

static void
write_label(struct place *p, struct slice key)
{
	char text[RATE_KEY_SHOWN] = "";
	uint64_t word;

	text_escape(text, sizeof text, key.p, key.n, true);
	for (unsigned i = 0; i < LABEL_WORDS; i++) {
		memcpy(&word, text + i * 8, 8);
		atomic_store_explicit(&p->label[i], word, memory_order_relaxed);
	}
}

/* One thread at a time fills places of a set, or two would give one key two of them. The time that takes is
 * some hundred instructions; who has waited longer than that has met a thread that was stopped in between, and
 * goes on without it. */
static struct place *
make_place(struct rate *r, struct set *s, uint64_t hash, struct slice key, uint64_t now)
{
	struct place *best = NULL, *p;
	uint64_t old, worth, least = UINT64_MAX;
	bool mine = false;

	for (int i = 0; i < SPINS && !mine; i++) {
		uint32_t no = 0;

		mine = atomic_compare_exchange_strong(&s->is_filling, &no, 1);
		if (!mine && (p = find(s, hash)) != NULL)
			return p;
	}
	p = find(s, hash);
	for (unsigned i = 0; p == NULL && i < WAYS; i++) {
		uint64_t h = atomic_load(&s->v[i].hash);

		worth = h == 0 ? 0 : state_worth(r, atomic_load(&s->v[i].state), now);
		if (h != CLAIMED && worth < least) {
			least = worth;
			best = &s->v[i];
		}
	}
	if (p == NULL && best != NULL) {
		old = atomic_load(&best->hash);
		if (old != CLAIMED && atomic_compare_exchange_strong(&best->hash, &old, CLAIMED)) {
			write_label(best, key);
			atomic_store(&best->state, 0);
			atomic_store_explicit(&best->hash, hash, memory_order_release);
			p = best;
		}
	}
	if (mine)
		atomic_store(&s->is_filling, 0);
	return p;
}

static uint64_t
hash_of(const struct rate *r, struct slice key)
{
	uint64_t h = sip_hash(r->node->key, key);

	return h <= CLAIMED ? h + 2 : h;
}

bool
rate_take(struct rate *r, struct slice key, uint32_t n, int64_t *retry_ms_out)
{
	uint64_t hash = hash_of(r, key), now = now_ns(), state, next, wait = 0;
	struct set *s = &r->sets[hash >> 20 & r->mask];
	struct place *p = find(s, hash);

	*retry_ms_out = 0;
	if (p == NULL)
		p = make_place(r, s, hash, key, now);
	if (p == NULL) {	/* every place is just being filled: nothing is known of the key */
		atomic_fetch_add(&r->taken, n);
		return true;
	}
	state = atomic_load(&p->state);
	do {
		next = state_take(r, state, now, n, &wait);
		if (wait > 0)
			break;
	} while (!atomic_compare_exchange_weak(&p->state, &state, next));
	if (wait == 0) {
		atomic_fetch_add_explicit(&r->taken, n, memory_order_relaxed);
		return true;
	}
	atomic_fetch_add_explicit(&r->refused, n, memory_order_relaxed);
	*retry_ms_out = (int64_t)((wait + 999999) / 1000000);
	return false;
}

uint32_t
rate_left(struct rate *r, struct slice key)
{
	uint64_t hash = hash_of(r, key);
	struct place *p = find(&r->sets[hash >> 20 & r->mask], hash);

	return p == NULL ? r->conf.limit : state_left(r, atomic_load(&p->state), now_ns());
}

void
rate_forget(struct rate *r, struct slice key)
{
	uint64_t hash = hash_of(r, key);
	struct place *p = find(&r->sets[hash >> 20 & r->mask], hash);

	if (p != NULL)
		atomic_store(&p->state, 0);
}

/* ---- Limits by name ---- */

bool
rate_parse(struct slice text, uint32_t *limit, int64_t *period_ms)
{
	const char *slash = memchr(text.p, '/', text.n);
	uint64_t n;

	if (slash == NULL || !slice_u64(slice_trim((struct slice){ text.p, (size_t)(slash - text.p) }), &n) || n == 0 ||
	    n > RATE_LIMIT_MAX)
		return false;
	*limit = (uint32_t)n;
	return duration_parse(slice_trim((struct slice){ slash + 1, text.n - (size_t)(slash - text.p) - 1 }), period_ms) &&
	    *period_ms >= 100 && *period_ms <= INT64_C(31) * 86400 * 1000;
}

static bool
is_same(const struct rate_conf *a, const struct rate_conf *b)
{
	return strcmp(a->name, b->name) == 0 && a->kind == b->kind && a->limit == b->limit &&
	    a->period_ms == b->period_ms && a->keys == b->keys && a->worker == b->worker;
}

static struct rate *
rate_new(struct node *n, const struct rate_conf *c)
{
	struct rate *r = xcalloc(1, sizeof *r);
	uint32_t sets = 1;

	r->conf = *c;
	r->span_ns = (uint64_t)c->period_ms * 1000000;
	r->step_ns = r->span_ns / c->limit;
	if (c->kind == RATE_BUCKET)
		r->span_ns = r->step_ns * c->limit;
	while (sets * WAYS < c->keys)
		sets *= 2;
	r->mask = sets - 1;
	r->sets = calloc(sets, sizeof *r->sets);
	if (r->sets == NULL) {
		free(r);
		return NULL;
	}
	r->node = n;
	r->next = n->rates;
	n->rates = r;
	n->nrates++;
	return r;
}

struct rate *
rate_get(struct node *n, const struct rate_conf *c, struct err *err)
{
	struct rate *r;

	pthread_mutex_lock(&n->lock);
	for (r = n->rates; r != NULL && !is_same(&r->conf, c); r = r->next)
		;
	if (r == NULL && n->nrates >= RATES_MAX)
		err_set(err, "there are more than %u limits", RATES_MAX);
	else if (r == NULL && (r = rate_new(n, c)) == NULL)
		err_set(err, "there is not enough memory for a limit with %u keys", c->keys);
	if (r != NULL && r->refs++ == 0)
		node_ref(n);
	pthread_mutex_unlock(&n->lock);
	return r;
}

void
rate_unref(struct rate *r)
{
	struct node *n = r == NULL ? NULL : r->node;
	bool gone = false;

	if (r == NULL)
		return;
	pthread_mutex_lock(&n->lock);
	if (--r->refs == 0) {
		struct rate **at = &n->rates;

		while (*at != r)
			at = &(*at)->next;
		*at = r->next;
		n->nrates--;
		gone = true;
	}
	pthread_mutex_unlock(&n->lock);
	if (!gone)
		return;
	free(r->sets);
	free(r);
	node_unref(n);
}

/* ---- For people ---- */

struct shown {
	char key[RATE_KEY_SHOWN + 1];
	uint32_t left;
	uint64_t worth;
	int64_t retry_ms;
};

static int
by_left(const void *a, const void *b)
{
	const struct shown *x = a, *y = b;

	if (x->left != y->left)
		return x->left < y->left ? -1 : 1;
	return x->worth > y->worth ? -1 : x->worth < y->worth;
}

/* False when it is another key's by now. */
static bool
look_at(const struct rate *r, struct place *p, uint64_t now, struct shown *out)
{
	uint64_t hash = atomic_load_explicit(&p->hash, memory_order_acquire), state = atomic_load(&p->state), word, wait;

	if (hash <= CLAIMED)
		return false;
	for (unsigned i = 0; i < LABEL_WORDS; i++) {
		word = atomic_load_explicit(&p->label[i], memory_order_relaxed);
		memcpy(out->key + i * 8, &word, 8);
	}
	out->key[RATE_KEY_SHOWN] = '\0';
	out->left = state_left(r, state, now);
	out->worth = state_worth(r, state, now);
	state_take(r, state, now, 1, &wait);
	out->retry_ms = (int64_t)((wait + 999999) / 1000000);
	atomic_thread_fence(memory_order_acquire);
	return out->worth > 0 && atomic_load(&p->hash) == hash;
}

#define KEPT 4096u	/* of which the busiest are shown; sorted when full */

static json_t *
busiest_keys(struct rate *r, size_t busiest, uint64_t *keys_out)
{
	struct shown *v = xcalloc(KEPT, sizeof *v);
	uint64_t now = now_ns();
	json_t *out = json_array();
	size_t n = 0;

	*keys_out = 0;
	for (uint32_t i = 0; i <= r->mask; i++) {
		for (unsigned k = 0; k < WAYS; k++) {
			if (!look_at(r, &r->sets[i].v[k], now, &v[n]))
				continue;
			++*keys_out;
			if (++n == KEPT) {
				qsort(v, n, sizeof *v, by_left);
				n = busiest < KEPT / 2 ? busiest : KEPT / 2;
			}
		}
	}
	qsort(v, n, sizeof *v, by_left);
	for (size_t i = 0; i < n && i < busiest; i++)
		json_array_append_new(out, json_pack("{s:s, s:I, s:f}", "key", v[i].key, "left", (json_int_t)v[i].left,
		    "retry_after", (double)v[i].retry_ms / 1000));
	free(v);
	return out;
}

static json_t *
describe(struct rate *r, size_t busiest)
{
	char limit[64], period[32], scope[32];
	uint64_t keys;
	json_t *top = busiest_keys(r, busiest, &keys);

	duration_format(period, sizeof period, r->conf.period_ms);
	snprintf(limit, sizeof limit, "%u/%s", r->conf.limit, period);
	if (r->conf.worker < 0)
		snprintf(scope, sizeof scope, "node");
	else
		snprintf(scope, sizeof scope, "worker %d", r->conf.worker);
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:o}", "name", r->conf.name, "limit", limit,
	    "kind", r->conf.kind == RATE_BUCKET ? "bucket" : "window", "scope", scope, "keys", (json_int_t)keys,
	    "capacity", (json_int_t)(r->mask + 1) * WAYS, "taken", (json_int_t)atomic_load(&r->taken),
	    "refused", (json_int_t)atomic_load(&r->refused), "busiest", top);
}

static int
by_name(const void *a, const void *b)
{
	const struct rate *x = *(struct rate *const *)a, *y = *(struct rate *const *)b;
	int order = strcmp(x->conf.name, y->conf.name);

	return order != 0 ? order : x->conf.worker - y->conf.worker;
}

json_t *
rate_list(struct node *n, const char *name, size_t busiest)
{
	struct rate **v;
	json_t *out = json_array();
	size_t count = 0;

	pthread_mutex_lock(&n->lock);
	v = xcalloc(n->nrates + 1, sizeof(struct rate *));
	for (struct rate *r = n->rates; r != NULL; r = r->next) {
		if (name == NULL || strcmp(r->conf.name, name) == 0) {
			r->refs++;
			v[count++] = r;
		}
	}
	pthread_mutex_unlock(&n->lock);
	qsort(v, count, sizeof(struct rate *), by_name);
	for (size_t i = 0; i < count; i++) {
		json_array_append_new(out, describe(v[i], busiest));
		rate_unref(v[i]);
	}
	free(v);
	return out;
}

/* ---- Counters ---- */

struct counter *
counter_get(struct node *n, const char *name, struct err *err)
{
	struct counter *c;

	pthread_mutex_lock(&n->lock);
	for (c = n->counters; c != NULL && strcmp(c->name, name) != 0; c = c->next)
		;
	if (c == NULL && n->ncounters >= COUNTERS_MAX) {
		err_set(err, "there are more than %u counters", COUNTERS_MAX);
	} else if (c == NULL) {
		c = xcalloc(1, sizeof *c + strlen(name) + 1);
		strcpy(c->name, name);
		c->next = n->counters;
		n->counters = c;
		n->ncounters++;
	}
	pthread_mutex_unlock(&n->lock);
	return c;
}

int64_t
counter_add(struct counter *c, int64_t delta)
{
	return (int64_t)((uint64_t)atomic_fetch_add(&c->value, delta) + (uint64_t)delta);
}

bool
counter_at(struct node *n, size_t i, const char **name_out, int64_t *value_out)
{
	struct counter *c;

	pthread_mutex_lock(&n->lock);
	for (c = n->counters; c != NULL && i > 0; c = c->next)
		i--;
	pthread_mutex_unlock(&n->lock);
	if (c == NULL)
		return false;
	*name_out = c->name;
	*value_out = atomic_load(&c->value);
	return true;
}

/* ---- Life ---- */

struct node *
node_new(void)
{
	struct node *n = xcalloc(1, sizeof *n);

	atomic_init(&n->refs, 1);
	pthread_mutex_init(&n->lock, NULL);
	n->metrics = metrics_new();
	MUST(RAND_bytes((unsigned char *)n->key, sizeof n->key) == 1);
	return n;
}

struct metrics *
node_metrics(struct node *n)
{
	return n->metrics;
}

struct node *
node_ref(struct node *n)
{
	atomic_fetch_add(&n->refs, 1);
	return n;
}

void
node_unref(struct node *n)
{
	struct counter *c, *next;

	if (n == NULL || atomic_fetch_sub(&n->refs, 1) != 1)
		return;
	for (c = n->counters; c != NULL; c = next) {
		next = c->next;
		free(c);
	}
	metrics_free(n->metrics);
	pthread_mutex_destroy(&n->lock);
	free(n);
}
