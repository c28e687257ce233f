#include "base/metrics.h"

#include "unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

TEST(metrics, numbers_look_as_go_prints_them)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "0"},
        {1, "1"},
        {-3, "-3"},
        {0.25, "0.25"},
        {0.0001, "0.0001"},
        {0.00001, "1e-05"},
        {100000, "100000"},
        {123456, "123456"},
        {1000000, "1e+06"},
        {1048576, "1.048576e+06"},
        {2147483648, "2.147483648e+09"},
        {999999, "999999"},
        {1000001, "1.000001e+06"},
        {1234000, "1.234e+06"},
        {20000000, "2e+07"},
        {9007199254740991, "9.007199254740991e+15"},
        {9007199254740992, "9.007199254740992e+15"},
        {18014398509481988, "1.8014398509481988e+16"},
        {1e22, "1e+22"},
        {-0.0, "-0"},
        {-1000000, "-1e+06"},
        {123456.5, "123456.5"},
        {999999.5, "999999.5"},
        {1000000.5, "1.0000005e+06"},
        {1.5, "1.5"},
        {0.1 + 0.2, "0.30000000000000004"},
        {INFINITY, "+Inf"},
        {-INFINITY, "-Inf"},
        {NAN, "NaN"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = {0};
        metrics_format_double(cases[i].value, &out);
        assert_string_equal(buf_cstr(&out), cases[i].text);
        buf_fini(&out);
    }
}

/* Of all digits that a whole number below 2^53 has, no fewer would do. */
TEST(metrics, whole_numbers_come_back_and_in_no_more_digits_than_they_need)
{
    uint64_t seed = 1;
    for (unsigned i = 0; i < 200000; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        double value = (double)(seed >> (11 + seed % 53));
        struct buf out = {0};
        metrics_format_double(value, &out);
        const char *text = buf_cstr(&out);
        assert_true(strtod(text, NULL) == value);
        char shorter[64];
        int digits = 0;
        for (const char *at = text; *at != 0 && *at != 'e'; at++) {
            digits += *at != '.';
        }
        if (strchr(text, 'e') != NULL && digits > 1) {
            snprintf(shorter, sizeof(shorter), "%.*e", digits - 2, value);
            assert_true(strtod(shorter, NULL) != value);
        }
        buf_fini(&out);
    }
}

static void collect(void *ctx)
{
    metric_set(ctx, 7);
}

TEST(metrics, series_come_sorted_with_help_type_and_cumulative_buckets)
{
    static const double bounds[] = {0.5, 1};
    struct metrics *m = metrics_new();
    struct metric *z = metrics_gauge(m, "z", "Last.", "");
    struct metric *b = metrics_counter(m, "a_total", "First.", "k=\"b\"");
    struct metric *a = metrics_counter(m, "a_total", "First.", "k=\"a\"");
    struct histogram *h = metrics_histogram(m, "h", "Middle.", "x=\"y\"", bounds, 2);
    metric_add(a, 1);
    metric_add(b, 2);
    histogram_observe(h, 0.5);
    histogram_observe(h, 0.75);
    histogram_observe(h, 9);
    metrics_on_collect(m, collect, z);
    struct buf out = {0};
    metrics_write(m, &out);
    assert_string_equal(buf_cstr(&out), "# HELP a_total First.\n# TYPE a_total counter\n"
                                        "a_total{k=\"a\"} 1\na_total{k=\"b\"} 2\n"
                                        "# HELP h Middle.\n# TYPE h histogram\n"
                                        "h_bucket{x=\"y\",le=\"0.5\"} 1\n"
                                        "h_bucket{x=\"y\",le=\"1\"} 2\n"
                                        "h_bucket{x=\"y\",le=\"+Inf\"} 3\n"
                                        "h_sum{x=\"y\"} 10.25\nh_count{x=\"y\"} 3\n"
                                        "# HELP z Last.\n# TYPE z gauge\nz 7\n");
    buf_fini(&out);
    metrics_free(&m);
}

TEST(metrics, label_values_are_escaped)
{
    struct buf out = {0};
    metrics_escape(SLICE("a\"b\\c\nd"), &out);
    assert_string_equal(buf_cstr(&out), "a\\\"b\\\\c\\nd");
    buf_fini(&out);
}
