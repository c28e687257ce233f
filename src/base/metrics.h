/* Metrics: counters, gauges and histograms, and their Prometheus text form (version 0.0.4).
 *
 * A registry owns its series; whoever counts keeps a pointer and adds to plain numbers, so that
 * counting costs an increment. Series appear in the output sorted by name, then by labels, as
 * Go's client library does.
 *
 * Threads: the loop thread only. What other threads measure is handed over with their results. */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include "base/bytes.h"

struct metrics;

enum metric_kind {
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_HISTOGRAM,
};

/* One time series of a counter or a gauge. */
struct metric {
    double value;
};

/* Cumulative only when printed: counts[i] is what fell into bucket i alone. */
struct histogram {
    const double *bounds; /* ascending upper bounds, without +Inf; borrowed, static */
    size_t bound_count;
    uint64_t *counts; /* bound_count + 1 of them; the last is +Inf's */
    double sum;
    uint64_t count;
};

struct metrics *metrics_new(void);
void metrics_free(struct metrics **metrics);

/* Adds a series. `labels` is the text between the braces, e.g. type="unary", or "" for none; its
 * values must be escaped with metrics_escape() when they come from outside. The same name must
 * always come with the same kind and help. The series lives as long as the registry. */
struct metric *metrics_counter(struct metrics *metrics, const char *name, const char *help,
                               const char *labels);
struct metric *metrics_gauge(struct metrics *metrics, const char *name, const char *help,
                             const char *labels);
struct histogram *metrics_histogram(struct metrics *metrics, const char *name, const char *help,
                                    const char *labels, const double *bounds, size_t bound_count);

/* Called before every exposition, to refresh gauges that mirror other state. */
typedef void metrics_collect_fn(void *ctx);
void metrics_on_collect(struct metrics *metrics, metrics_collect_fn *fn, void *ctx);

static inline void metric_add(struct metric *metric, double amount)
{
    metric->value += amount;
}
static inline void metric_set(struct metric *metric, double value)
{
    metric->value = value;
}
void histogram_observe(struct histogram *histogram, double value);

/* The whole registry as text. */
void metrics_write(struct metrics *metrics, struct buf *out);

/* Appends `text` with backslash, quote and newline escaped, for a label's value. */
void metrics_escape(struct slice text, struct buf *out);

/* The shortest decimal that reads back as `value`, in Go's %g form: 1, 0.25, 1.048576e+06, +Inf. */
void metrics_format_double(double value, struct buf *out);

#endif
