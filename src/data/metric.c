#include "config.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/metric.h"

#define PROBES 16u
#define LABELS_TEXT (METRIC_LABELS_MAX * (32 + 2 * METRIC_VALUE_MAX + 4))
#define REST "_other"		/* the value of each label of what had no room */

struct series {
	_Atomic uint64_t bits;		/* of a double */
	char labels[];
};
struct metric {
	struct metrics *all;
	struct metric_conf conf;
	atomic_uint nseries;
	uint32_t mask;
	_Atomic(struct series *) *v;	/* never taken out */
	struct series *rest;
	atomic_bool has_rest;
	struct metric *next;
};
struct metrics {
	pthread_mutex_t lock;		/* of the list; nobody takes it to count */
	struct metric *first, **last;
	unsigned n;
	atomic_uint nseries;
};

/* ---- Labels ---- */

/* As Prometheus' text format wants them; what is not printable is \xHH before that. */
static void
add_label(struct buf *b, const char *name, struct slice value)
{
	char shown[METRIC_VALUE_MAX + 1];
	size_t n = text_escape(shown, sizeof shown, value.p, value.n, true);

	buf_printf(b, "%s%s=\"", b->len > 0 ? "," : "", name);
	for (size_t i = 0; i < n; i++) {
		if (shown[i] == '"' || shown[i] == '\\')
			buf_addc(b, '\\');
		buf_addc(b, shown[i]);
	}
	buf_addc(b, '"');
}

static void
format(const struct metric *m, const struct slice *values, struct buf *b)
{
	buf_init(b, LABELS_TEXT);
	for (size_t i = 0; i < m->conf.nlabels; i++)
		add_label(b, m->conf.labels[i], values != NULL ? values[i] : SLICE(REST));
}

static struct series *
series_new(const char *labels, size_t n)
{
	struct series *s = xcalloc(1, sizeof *s + n + 1);

	memcpy(s->labels, labels, n);
	return s;
}

/* Room for one more, of the metric and of the node. */
static bool
take_room(struct metric *m)
{
	if (atomic_fetch_add(&m->nseries, 1) < m->conf.series) {
		if (atomic_fetch_add(&m->all->nseries, 1) < METRIC_SERIES_ALL)
			return true;
		atomic_fetch_sub(&m->all->nseries, 1);
	}
	atomic_fetch_sub(&m->nseries, 1);
	return false;
}

static struct series *
find(struct metric *m, const char *labels, size_t n)
{
	uint64_t hash = hash64(labels, n);
	struct series *mine = NULL, *at = NULL;

	for (uint32_t i = 0; i < PROBES; i++) {
		_Atomic(struct series *) *place = &m->v[(hash + i) & m->mask];

		at = atomic_load(place);
		if (at == NULL) {
			if (mine == NULL && !take_room(m))
				break;
			if (mine == NULL)
				mine = series_new(labels, n);
			if (atomic_compare_exchange_strong(place, &at, mine))
				return mine;
		}
		if (strcmp(at->labels, labels) == 0)
			break;
		at = NULL;
	}
	if (mine != NULL) {
		free(mine);
		atomic_fetch_sub(&m->nseries, 1);
		atomic_fetch_sub(&m->all->nseries, 1);
	}
	if (at != NULL)
		return at;
	atomic_store(&m->has_rest, true);
	return m->rest;
}

static struct series *
find_values(struct metric *m, const struct slice *values)
{
	struct series *s;
	struct buf b;

	format(m, values, &b);
	buf_addc(&b, '\0');
	s = find(m, buf_peek(&b), b.len - 1);
	buf_fini(&b);
	return s;
}

/* ---- Values ---- */

static double
value_of(uint64_t bits)
{
	double v;

	memcpy(&v, &bits, sizeof v);
	return v;
}

static uint64_t
bits_of(double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof bits);
	return bits;
}

double
metric_add(struct metric *m, const struct slice *values, double n)
{
	struct series *s = find_values(m, values);
	uint64_t old = atomic_load(&s->bits);

	while (!atomic_compare_exchange_weak(&s->bits, &old, bits_of(value_of(old) + n)))
		;
	return value_of(old) + n;
}

void
metric_set(struct metric *m, const struct slice *values, double v)
{
	atomic_store(&find_values(m, values)->bits, bits_of(v));
}

/* ---- The list ---- */

static bool
is_same(const struct metric_conf *a, const struct metric_conf *b)
{
	if (a->kind != b->kind || a->nlabels != b->nlabels)
		return false;
	for (size_t i = 0; i < a->nlabels; i++)
		if (strcmp(a->labels[i], b->labels[i]) != 0)
			return false;
	return true;
}

static struct metric *
metric_new(struct metrics *s, const struct metric_conf *c)
{
	struct metric *m = xcalloc(1, sizeof *m);
	uint32_t places = 32;
	struct buf b;

	m->all = s;
	m->conf = *c;
	while (places < 2 * c->series)
		places *= 2;
	m->mask = places - 1;
	m->v = xcalloc(places, sizeof *m->v);
	format(m, NULL, &b);
	m->rest = series_new(buf_peek(&b), b.len);
	buf_fini(&b);
	return m;
}

struct metric *
metric_get(struct metrics *s, const struct metric_conf *c, struct err *err)
{
	struct metric *m;

	pthread_mutex_lock(&s->lock);
	for (m = s->first; m != NULL && strcmp(m->conf.name, c->name) != 0; m = m->next)
		;
	if (m != NULL && !is_same(&m->conf, c)) {
		err_set(err, "'%s' is there since the start as a %s with %zu labels; with others it needs another name, or a "
		    "restart", c->name, m->conf.kind == METRIC_COUNTER ? "counter" : "gauge", m->conf.nlabels);
		m = NULL;
	} else if (m == NULL && s->n >= METRICS_MAX) {
		err_set(err, "there are more than %u metrics", METRICS_MAX);
	} else if (m == NULL) {
		m = metric_new(s, c);
		*s->last = m;
		s->last = &m->next;
		s->n++;
	}
	pthread_mutex_unlock(&s->lock);
	return m;
}

void
metrics_each(struct metrics *s, metric_fn *fn, void *arg)
{
	struct metric *m;

	pthread_mutex_lock(&s->lock);
	for (m = s->first; m != NULL; m = m->next) {
		for (uint32_t i = 0; i <= m->mask; i++) {
			const struct series *at = atomic_load(&m->v[i]);

			if (at != NULL)
				fn(arg, m->conf.name, m->conf.help, m->conf.kind == METRIC_COUNTER,
				    at->labels[0] == '\0' ? NULL : at->labels, value_of(atomic_load(&at->bits)));
		}
		if (atomic_load(&m->has_rest))
			fn(arg, m->conf.name, m->conf.help, m->conf.kind == METRIC_COUNTER, m->rest->labels,
			    value_of(atomic_load(&m->rest->bits)));
	}
	pthread_mutex_unlock(&s->lock);
}

struct metrics *
metrics_new(void)
{
	struct metrics *s = xcalloc(1, sizeof *s);

	pthread_mutex_init(&s->lock, NULL);
	s->last = &s->first;
	return s;
}

void
metrics_free(struct metrics *s)
{
	struct metric *m, *next;

	for (m = s == NULL ? NULL : s->first; m != NULL; m = next) {
		next = m->next;
		for (uint32_t i = 0; i <= m->mask; i++)
			free(atomic_load(&m->v[i]));
		free(m->v);
		free(m->rest);
		free(m);
	}
	if (s != NULL)
		pthread_mutex_destroy(&s->lock);
	free(s);
}
