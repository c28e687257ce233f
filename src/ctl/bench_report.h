/* What a benchmark tells at its end: rate, mean, spread, histogram, percentiles, errors.
 *
 * The words, the order and the arithmetic are those of etcd's own tool, so that scripts which read
 * its report read this one: bounds of the histogram divide [fastest, slowest] into ten, and the
 * value at a percentile is the first whose share of smaller ones reaches it. With few results one
 * value is never shown for two percentiles, which leaves the highest ones out.
 *
 * Threads: one at a time.
 * Source:  etcd 3.6 pkg/report. */
#ifndef CTL_BENCH_REPORT_H
#define CTL_BENCH_REPORT_H

#include "base/bytes.h"

#include <stdint.h>

struct bench_report;

enum bench_report_flags {
    BENCH_PRECISE = 1 << 0, /* numbers in full instead of four decimals */
    BENCH_SAMPLE = 1 << 1,  /* and a table with a line for each second */
};

#define BENCH_PERCENTILES 8
extern const double bench_percentiles[BENCH_PERCENTILES];
#define BENCH_BUCKETS 11

/* Everything in seconds. */
struct bench_stats {
    uint64_t count; /* of successes */
    uint64_t errors;
    double total; /* from start to finish */
    double fastest;
    double slowest;
    double average;
    double stddev;
    double rate;                          /* successes a second */
    double percentile[BENCH_PERCENTILES]; /* 0: too few results for it */
    double bound[BENCH_BUCKETS];          /* upper bounds, the last is the slowest */
    uint64_t bucket[BENCH_BUCKETS];
};

/* `flags` of enum bench_report_flags. */
struct bench_report *bench_report_new(unsigned flags);
void bench_report_free(struct bench_report **report); /* NULLs; safe on NULL */

/* Time as the caller's monotonic nanoseconds; wall_ns is the wall clock at that moment. */
void bench_report_start(struct bench_report *report, uint64_t now_ns, int64_t wall_ns);
void bench_report_success(struct bench_report *report, uint64_t from_ns, uint64_t until_ns);
void bench_report_error(struct bench_report *report, const char *text);
/* Sorts and sums; nothing may be added afterwards. */
void bench_report_finish(struct bench_report *report, uint64_t now_ns);

/* After bench_report_finish(). */
const struct bench_stats *bench_report_stats(const struct bench_report *report);
/* Each error that was counted, and how often. */
void bench_report_each_error(const struct bench_report *report,
                             void (*each)(void *ctx, const char *text, uint64_t count), void *ctx);
/* The report as text, appended. */
void bench_report_format(const struct bench_report *report, struct buf *out);

#endif
