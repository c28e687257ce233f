/* Latencies are kept one by one, as etcd's tool does: eight bytes each. */
#include "ctl/bench_report.h"

#include "base/gotext.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BAR_LEN_MAX 40
#define NS_PER_SECOND 1e9
/* Different texts that are told apart; what comes on top is counted together. */
#define ERRORS_MAX 64

const double bench_percentiles[BENCH_PERCENTILES] = {10, 25, 50, 75, 90, 95, 99, 99.9};

struct error_count {
    char *text;
    uint64_t count;
};

/* One second of the run, by the time at which requests started. */
struct second {
    uint64_t least_ns;
    uint64_t most_ns;
    uint64_t sum_ns;
    uint64_t count;
};

struct bench_report {
    unsigned flags;
    uint64_t *latencies; /* ns; sorted by finish */
    size_t count;
    size_t cap;
    struct error_count errors[ERRORS_MAX];
    size_t error_count;
    struct second *seconds; /* [0] is the second of the start */
    size_t second_count;
    uint64_t start_ns;
    int64_t start_wall_ns;
    bool is_finished;
    struct bench_stats stats;
};

struct bench_report *bench_report_new(unsigned flags)
{
    struct bench_report *report = NEW(struct bench_report);
    report->flags = flags;
    return report;
}

void bench_report_free(struct bench_report **report)
{
    if (*report != NULL) {
        for (size_t i = 0; i < (*report)->error_count; i++) {
            mem_free((*report)->errors[i].text);
        }
        mem_free((*report)->latencies);
        mem_free((*report)->seconds);
        mem_free(*report);
        *report = NULL;
    }
}

/* ---- gathering ---------------------------------------------------------------------------- */

void bench_report_start(struct bench_report *report, uint64_t now_ns, int64_t wall_ns)
{
    ASSERT(report->count == 0);
    report->start_ns = now_ns;
    report->start_wall_ns = wall_ns;
}

static void sample_add(struct bench_report *report, uint64_t from_ns, uint64_t latency_ns)
{
    uint64_t into_second = (uint64_t)(report->start_wall_ns % (int64_t)NS_PER_SECOND);
    size_t at = (size_t)((from_ns - report->start_ns + into_second) / (uint64_t)NS_PER_SECOND);
    if (at >= report->second_count) {
        report->seconds = mem_realloc(report->seconds, (at + 1) * sizeof(*report->seconds));
        memset(report->seconds + report->second_count, 0,
               (at + 1 - report->second_count) * sizeof(*report->seconds));
        report->second_count = at + 1;
    }
    struct second *second = &report->seconds[at];
    if (second->count == 0 || latency_ns < second->least_ns) {
        second->least_ns = latency_ns;
    }
    if (latency_ns > second->most_ns) {
        second->most_ns = latency_ns;
    }
    second->sum_ns += latency_ns;
    second->count++;
}

void bench_report_success(struct bench_report *report, uint64_t from_ns, uint64_t until_ns)
{
    ASSERT(!report->is_finished);
    ASSERT(from_ns >= report->start_ns);
    ASSERT(until_ns >= from_ns);
    if (report->count == report->cap) {
        report->cap = report->cap == 0 ? 1024 : report->cap * 2;
        report->latencies =
            mem_realloc(report->latencies, report->cap * sizeof(*report->latencies));
    }
    report->latencies[report->count++] = until_ns - from_ns;
    if ((report->flags & BENCH_SAMPLE) != 0) {
        sample_add(report, from_ns, until_ns - from_ns);
    }
}

void bench_report_error(struct bench_report *report, const char *text)
{
    ASSERT(!report->is_finished);
    report->stats.errors++;
    for (size_t i = 0; i < report->error_count; i++) {
        if (strcmp(report->errors[i].text, text) == 0) {
            report->errors[i].count++;
            return;
        }
    }
    if (report->error_count == ERRORS_MAX) {
        report->errors[ERRORS_MAX - 1].count++;
        return;
    }
    bool is_last = report->error_count == ERRORS_MAX - 1;
    report->errors[report->error_count++] =
        (struct error_count){.text = mem_strdup(is_last ? "(other errors)" : text), .count = 1};
}

/* ---- arithmetic --------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static double seconds_of(uint64_t ns)
{
    return (double)ns / NS_PER_SECOND;
}

static void sum_up(struct bench_report *report)
{
    struct bench_stats *stats = &report->stats;
    double sum = 0;
    for (size_t i = 0; i < report->count; i++) {
        sum += seconds_of(report->latencies[i]);
    }
    stats->average = sum / (double)report->count;
    double squares = 0;
    for (size_t i = 0; i < report->count; i++) {
        double deviation = seconds_of(report->latencies[i]) - stats->average;
        squares += deviation * deviation;
    }
    stats->stddev = sqrt(squares / (double)report->count);
    stats->fastest = seconds_of(report->latencies[0]);
    stats->slowest = seconds_of(report->latencies[report->count - 1]);
}

static void find_percentiles(struct bench_report *report)
{
    size_t next = 0;
    for (size_t i = 0; i < report->count && next < BENCH_PERCENTILES; i++) {
        if ((double)i * 100.0 / (double)report->count >= bench_percentiles[next]) {
            report->stats.percentile[next++] = seconds_of(report->latencies[i]);
        }
    }
}

static void fill_histogram(struct bench_report *report)
{
    struct bench_stats *stats = &report->stats;
    double width = (stats->slowest - stats->fastest) / (BENCH_BUCKETS - 1);
    for (size_t i = 0; i + 1 < BENCH_BUCKETS; i++) {
        stats->bound[i] = stats->fastest + width * (double)i;
    }
    stats->bound[BENCH_BUCKETS - 1] = stats->slowest;
    size_t bucket = 0;
    for (size_t i = 0; i < report->count; i++) {
        double latency = seconds_of(report->latencies[i]);
        while (latency > stats->bound[bucket]) {
            bucket++;
            ASSERT(bucket < BENCH_BUCKETS);
        }
        stats->bucket[bucket]++;
    }
}

void bench_report_finish(struct bench_report *report, uint64_t now_ns)
{
    ASSERT(!report->is_finished);
    ASSERT(now_ns >= report->start_ns);
    report->is_finished = true;
    struct bench_stats *stats = &report->stats;
    stats->count = report->count;
    stats->total = seconds_of(now_ns - report->start_ns);
    if (report->count == 0) {
        return;
    }
    stats->rate = stats->total > 0 ? (double)report->count / stats->total : 0;
    qsort(report->latencies, report->count, sizeof(*report->latencies), by_size);
    sum_up(report);
    find_percentiles(report);
    fill_histogram(report);
}

const struct bench_stats *bench_report_stats(const struct bench_report *report)
{
    ASSERT(report->is_finished);
    return &report->stats;
}

/* ---- text --------------------------------------------------------------------------------- */

static void put_number(const struct bench_report *report, double number, struct buf *out)
{
    if ((report->flags & BENCH_PRECISE) != 0) {
        go_format_float_v(number, out);
    } else {
        buf_printf(out, "%4.4f", number);
    }
}

static void put_seconds(const struct bench_report *report, const char *what, double seconds,
                        struct buf *out)
{
    buf_append_str(out, what);
    put_number(report, seconds, out);
    buf_append_str(out, " secs.\n");
}

static void put_histogram(const struct bench_report *report, struct buf *out)
{
    const struct bench_stats *stats = &report->stats;
    uint64_t most = 1;
    for (size_t i = 0; i < BENCH_BUCKETS; i++) {
        most = stats->bucket[i] > most ? stats->bucket[i] : most;
    }
    buf_append_str(out, "\nResponse time histogram:\n");
    for (size_t i = 0; i < BENCH_BUCKETS; i++) {
        buf_append_str(out, "  ");
        put_number(report, stats->bound[i], out);
        buf_printf(out, " [%llu]\t|", (unsigned long long)stats->bucket[i]);
        for (uint64_t bar = stats->bucket[i] * BAR_LEN_MAX / most; bar > 0; bar--) {
            buf_append_str(out, "∎");
        }
        buf_append_byte(out, '\n');
    }
}

static void put_percentiles(const struct bench_report *report, struct buf *out)
{
    buf_append_str(out, "\nLatency distribution:\n");
    for (size_t i = 0; i < BENCH_PERCENTILES; i++) {
        if (report->stats.percentile[i] > 0) {
            buf_append_str(out, "  ");
            go_format_float_v(bench_percentiles[i], out);
            put_seconds(report, "% in ", report->stats.percentile[i], out);
        }
    }
}

static void put_samples(const struct bench_report *report, struct buf *out)
{
    int64_t first = report->start_wall_ns / (int64_t)NS_PER_SECOND;
    bool has_begun = false;
    buf_append_str(out, "\nSample in one second (unix latency throughput):\n"
                        "UNIX-SECOND,MIN-LATENCY-MS,AVG-LATENCY-MS,MAX-LATENCY-MS,"
                        "AVG-THROUGHPUT\n");
    for (size_t i = 0; i < report->second_count; i++) {
        const struct second *second = &report->seconds[i];
        has_begun = has_begun || second->count > 0;
        if (!has_begun) {
            continue;
        }
        uint64_t mean = second->count == 0 ? 0 : second->sum_ns / second->count;
        buf_printf(out, "%lld,", (long long)(first + (int64_t)i));
        go_format_duration((int64_t)second->least_ns, out);
        buf_append_byte(out, ',');
        go_format_duration((int64_t)mean, out);
        buf_append_byte(out, ',');
        go_format_duration((int64_t)second->most_ns, out);
        buf_printf(out, ",%llu\n", (unsigned long long)second->count);
    }
    buf_append_byte(out, '\n');
}

static void put_errors(const struct bench_report *report, struct buf *out)
{
    buf_append_str(out, "\nError distribution:\n");
    for (size_t i = 0; i < report->error_count; i++) {
        buf_printf(out, "  [%llu]\t%s\n", (unsigned long long)report->errors[i].count,
                   report->errors[i].text);
    }
}

void bench_report_each_error(const struct bench_report *report,
                             void (*each)(void *ctx, const char *text, uint64_t count), void *ctx)
{
    for (size_t i = 0; i < report->error_count; i++) {
        each(ctx, report->errors[i].text, report->errors[i].count);
    }
}

void bench_report_format(const struct bench_report *report, struct buf *out)
{
    const struct bench_stats *stats = bench_report_stats(report);
    if (stats->count > 0) {
        buf_append_str(out, "\nSummary:\n");
        put_seconds(report, "  Total:\t", stats->total, out);
        put_seconds(report, "  Slowest:\t", stats->slowest, out);
        put_seconds(report, "  Fastest:\t", stats->fastest, out);
        put_seconds(report, "  Average:\t", stats->average, out);
        put_seconds(report, "  Stddev:\t", stats->stddev, out);
        buf_append_str(out, "  Requests/sec:\t");
        put_number(report, stats->rate, out);
        buf_append_byte(out, '\n');
        put_histogram(report, out);
        put_percentiles(report, out);
        if ((report->flags & BENCH_SAMPLE) != 0) {
            put_samples(report, out);
        }
    }
    if (report->error_count > 0) {
        put_errors(report, out);
    }
}
