/* How often something may happen for a key: limits that all workers share, without a lock. And counters.
 *
 * A limiter is a table of places, found by a keyed hash, eight to a set. A place is one word that is exchanged
 * by compare-and-swap, so that no thread ever waits for another. When a set is full the key that is closest to
 * being forgotten anyway loses its place: its next use begins anew. The first uses of a key may be one too many
 * when a thread is stopped while it makes the place. */
#ifndef DATA_RATE_H
#define DATA_RATE_H

#include <jansson.h>

#include "base/base.h"

/* ---- Node: what all workers share, whatever generation they are at ---- */
struct node;
struct node *node_new(void);
struct node *node_ref(struct node *n);
void node_unref(struct node *n);		/* NULL is fine */
struct metrics;
struct metrics *node_metrics(struct node *n);	/* data/metric.h; lives as long as the node */

/* ---- Limits ---- */
enum rate_kind {
	RATE_BUCKET,	/* `limit` at once, then one each period / limit */
	RATE_WINDOW,	/* `limit` in any period, as far as two counts tell */
};
struct rate_conf {
	char name[64];
	enum rate_kind kind;
	uint32_t limit;			/* 1 to RATE_LIMIT_MAX */
	int64_t period_ms;
	uint32_t keys;			/* how many it remembers */
	int worker;			/* -1: of the node; else this worker's own */
};
#define RATE_LIMIT_MAX 1000000u
#define RATE_KEYS_MAX (1u << 20)
#define RATES_MAX 1000u		/* in a node */
#define RATE_KEY_SHOWN 48u
#define RATE_KEYS_SHOWN 1000u	/* in a list */
struct rate;
/* "100/1h" */
bool rate_parse(struct slice text, uint32_t *limit, int64_t *period_ms);
/* The one with all these properties, which may be there already; one reference. NULL with err. Takes a lock:
 * not while mail is being handled. */
struct rate *rate_get(struct node *n, const struct rate_conf *c, struct err *err);
void rate_unref(struct rate *r);		/* NULL is fine */
/* Takes n of what `key` may have, or nothing. *retry_ms_out: when n may be there, if false. Any thread. */
bool rate_take(struct rate *r, struct slice key, uint32_t n, int64_t *retry_ms_out);
/* Takes nothing: how many may be taken now. */
uint32_t rate_left(struct rate *r, struct slice key);
void rate_forget(struct rate *r, struct slice key);
/* All limits, or those with this name: [{ name, limit, scope, keys, taken, refused, busiest: [{ key, left,
 * retry_after }] }]; at most `busiest` keys each, those with least left first. */
json_t *rate_list(struct node *n, const char *name, size_t busiest);

/* ---- Counters ---- */
#define COUNTERS_MAX 1000u
struct counter;
/* Lives as long as the node. NULL with err: there are too many. */
struct counter *counter_get(struct node *n, const char *name, struct err *err);
int64_t counter_add(struct counter *c, int64_t delta);	/* and the sum */
/* i from 0; false past the end. */
bool counter_at(struct node *n, size_t i, const char **name_out, int64_t *value_out);

#endif
