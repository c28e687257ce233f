/* The arithmetic and the words of a benchmark's report. */
#include "ctl/bench_report.h"

#include "base/mem.h"

#include "unit.h"

#include <math.h>
#include <stdio.h>

#define MS ((uint64_t)1000000)
#define START ((uint64_t)5000000000)
#define WALL ((int64_t)1700000000900000000) /* 0.9 s into its second */

static struct bench_report *report_of(unsigned flags)
{
    struct bench_report *report = bench_report_new(flags);
    bench_report_start(report, START, WALL);
    return report;
}

static void close_to(double got, double want)
{
    assert_true(fabs(got - want) < 1e-9);
}

/* 1 ms, 2 ms, … in an order that is not theirs. */
static struct bench_report *ramp(unsigned flags, uint64_t count)
{
    struct bench_report *report = report_of(flags);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t latency = (i * 7919 % count + 1) * MS;
        bench_report_success(report, START, START + latency);
    }
    bench_report_finish(report, START + 2000 * MS);
    return report;
}

static void text_is(const struct bench_report *report, const char *want)
{
    struct buf text = {0};
    bench_report_format(report, &text);
    assert_string_equal(buf_cstr(&text), want);
    buf_fini(&text);
}

static void text_has(const struct bench_report *report, const char *part, bool wanted)
{
    struct buf text = {0};
    bench_report_format(report, &text);
    assert_int_equal(strstr(buf_cstr(&text), part) != NULL, wanted);
    buf_fini(&text);
}

TEST(bench_report, sums_a_thousand)
{
    struct bench_report *report = ramp(0, 1000);
    const struct bench_stats *stats = bench_report_stats(report);
    assert_int_equal(stats->count, 1000);
    assert_int_equal(stats->errors, 0);
    close_to(stats->total, 2.0);
    close_to(stats->rate, 500.0);
    close_to(stats->fastest, 0.001);
    close_to(stats->slowest, 1.0);
    close_to(stats->average, 0.5005);
    close_to(stats->stddev, sqrt((1000.0 * 1000.0 - 1) / 12) / 1000);
    /* The first value with that share before it. */
    static const double want[] = {0.101, 0.251, 0.501, 0.751, 0.901, 0.951, 0.991, 1.0};
    for (size_t i = 0; i < BENCH_PERCENTILES; i++) {
        close_to(stats->percentile[i], want[i]);
    }
    bench_report_free(&report);
    assert_null(report);
}

TEST(bench_report, histogram_counts_every_result_once)
{
    struct bench_report *report = ramp(0, 1000);
    const struct bench_stats *stats = bench_report_stats(report);
    uint64_t sum = 0;
    for (size_t i = 0; i < BENCH_BUCKETS; i++) {
        sum += stats->bucket[i];
        if (i > 0) {
            assert_true(stats->bound[i] > stats->bound[i - 1]);
            assert_true(stats->bucket[i] >= 99);
            assert_true(stats->bucket[i] <= 101);
        }
    }
    assert_int_equal(sum, 1000);
    assert_int_equal(stats->bucket[0], 1); /* the fastest alone */
    close_to(stats->bound[0], 0.001);
    close_to(stats->bound[BENCH_BUCKETS - 1], 1.0);
    bench_report_free(&report);
}

TEST(bench_report, no_value_serves_two_percentiles)
{
    struct bench_report *report = ramp(0, 3);
    const struct bench_stats *stats = bench_report_stats(report);
    close_to(stats->percentile[0], 0.002); /* 33 % are smaller */
    close_to(stats->percentile[1], 0.003);
    close_to(stats->percentile[2], 0);
    text_has(report, "  10% in 0.0020 secs.\n  25% in 0.0030 secs.\n", true);
    text_has(report, "50% in", false);
    bench_report_free(&report);
}

TEST(bench_report, text_of_equal_results)
{
    struct bench_report *report = report_of(0);
    for (int i = 0; i < 4; i++) {
        bench_report_success(report, START, START + 2 * MS);
    }
    bench_report_finish(report, START + 8 * MS);
    text_is(report, "\nSummary:\n  Total:\t0.0080 secs.\n  Slowest:\t0.0020 secs.\n"
                    "  Fastest:\t0.0020 secs.\n  Average:\t0.0020 secs.\n"
                    "  Stddev:\t0.0000 secs.\n  Requests/sec:\t500.0000\n"
                    "\nResponse time histogram:\n"
                    "  0.0020 [4]\t|∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎∎\n"
                    "  0.0020 [0]\t|\n  0.0020 [0]\t|\n  0.0020 [0]\t|\n  0.0020 [0]\t|\n"
                    "  0.0020 [0]\t|\n  0.0020 [0]\t|\n  0.0020 [0]\t|\n  0.0020 [0]\t|\n"
                    "  0.0020 [0]\t|\n  0.0020 [0]\t|\n"
                    "\nLatency distribution:\n  10% in 0.0020 secs.\n  25% in 0.0020 secs.\n"
                    "  50% in 0.0020 secs.\n");
    bench_report_free(&report);
}

TEST(bench_report, precise_numbers_are_whole)
{
    struct bench_report *report = ramp(BENCH_PRECISE, 1000);
    text_has(report, "  Total:\t2 secs.\n  Slowest:\t1 secs.\n  Fastest:\t0.001 secs.\n", true);
    text_has(report, "  Requests/sec:\t500\n", true);
    text_has(report, "  99.9% in 1 secs.\n", true);
    bench_report_free(&report);
}

TEST(bench_report, errors_are_counted_by_text)
{
    struct bench_report *report = report_of(0);
    bench_report_error(report, "too many requests");
    bench_report_error(report, "no space");
    bench_report_error(report, "too many requests");
    bench_report_finish(report, START + MS);
    assert_int_equal(bench_report_stats(report)->errors, 3);
    text_is(report, "\nError distribution:\n  [2]\ttoo many requests\n  [1]\tno space\n");
    bench_report_free(&report);
}

TEST(bench_report, endless_kinds_of_errors_are_bounded)
{
    struct bench_report *report = report_of(0);
    for (int i = 0; i < 1000; i++) {
        char text[32];
        snprintf(text, sizeof(text), "error %d", i);
        bench_report_error(report, text);
    }
    bench_report_finish(report, START + MS);
    text_has(report, "  [1]\terror 62\n  [937]\t(other errors)\n", true);
    bench_report_free(&report);
}

TEST(bench_report, nothing_is_said_about_nothing)
{
    struct bench_report *report = report_of(BENCH_SAMPLE);
    bench_report_finish(report, START);
    text_is(report, "");
    bench_report_free(&report);
}

TEST(bench_report, samples_are_cut_at_whole_seconds_of_the_clock)
{
    struct bench_report *report = report_of(BENCH_SAMPLE);
    bench_report_success(report, START + 10 * MS, START + 12 * MS);
    bench_report_success(report, START + 20 * MS, START + 24 * MS);
    bench_report_success(report, START + 2150 * MS, START + 2151 * MS);
    bench_report_finish(report, START + 3000 * MS);
    text_has(report,
             "\nSample in one second (unix latency throughput):\n"
             "UNIX-SECOND,MIN-LATENCY-MS,AVG-LATENCY-MS,MAX-LATENCY-MS,AVG-THROUGHPUT\n"
             "1700000000,2ms,3ms,4ms,2\n1700000001,0s,0s,0s,0\n1700000002,0s,0s,0s,0\n"
             "1700000003,1ms,1ms,1ms,1\n\n",
             true);
    bench_report_free(&report);
}
