/* Metrics of policies (gw.metric): counters and gauges with labels, shared by all workers, without a lock once
 * they are there. A metric has a fixed number of series; what comes beyond them is counted together. */
#ifndef DATA_METRIC_H
#define DATA_METRIC_H

#include "base/base.h"

#define METRICS_MAX 200u		/* of a node */
#define METRIC_LABELS_MAX 4u
#define METRIC_SERIES_MAX 1000u		/* of a metric */
#define METRIC_SERIES_ALL 5000u		/* of a node */
#define METRIC_VALUE_MAX 64u		/* octets of a label's value; longer ones are cut */

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };
struct metric_conf {
	char name[64];
	enum metric_kind kind;
	char help[200];
	char labels[METRIC_LABELS_MAX][32];
	size_t nlabels;
	uint32_t series;
};
struct metrics;
struct metric;
struct metrics *metrics_new(void);
void metrics_free(struct metrics *s);		/* NULL is fine */
/* The one of this name, which may be there already; lives as long as `s`. NULL with err: it is there with another
 * kind or other labels, or there are too many. Takes a lock: not while mail is being handled. */
struct metric *metric_get(struct metrics *s, const struct metric_conf *c, struct err *err);
/* Any thread. One value for each label, any octets. Returns the value afterwards. */
double metric_add(struct metric *m, const struct slice *values, double n);
void metric_set(struct metric *m, const struct slice *values, double v);
/* All series, metric by metric. Labels as in `a="x",b="y"`, NULL for none. */
typedef void metric_fn(void *arg, const char *name, const char *help, bool is_counter, const char *labels, double v);
void metrics_each(struct metrics *s, metric_fn *fn, void *arg);

#endif
