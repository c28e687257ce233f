#include "base/log.h"

#include "base/mem.h"
#include "unit.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

/* 2026-11-20T11:40:00.123456789Z */
#define NOW_NS (INT64_C(1795174800) * 1000000000 + 123456789)

struct trap {
    struct buf lines;
    size_t count;
    enum log_level last_level;
    int64_t now_ns;
    struct log_core *core;
};

static int64_t trap_clock(void *ctx)
{
    return ((struct trap *)ctx)->now_ns;
}

static void trap_sink(void *ctx, enum log_level level, struct slice line)
{
    struct trap *trap = ctx;
    buf_append_slice(&trap->lines, line);
    trap->count++;
    trap->last_level = level;
}

static struct log trap_open(struct trap *trap, enum log_format format, bool sampling)
{
    struct log_options options = {
        .level = LOG_LEVEL_INFO,
        .format = format,
        .sampling = sampling,
        .clock = trap_clock,
        .clock_ctx = trap,
        .sinks = {{trap_sink, trap}},
        .sink_count = 1,
    };
    *trap = (struct trap){.now_ns = NOW_NS};
    trap->core = log_core_new(&options);
    return log_handle(trap->core, NULL);
}

static void trap_close(struct trap *trap)
{
    log_core_free(&trap->core);
    buf_fini(&trap->lines);
}

/* Compares and forgets what was written; the caller's line number is not compared. */
static void expect(struct trap *trap, const char *before, const char *after)
{
    const char *text = buf_cstr(&trap->lines);
    assert_memory_equal(text, before, strlen(before));
    text += strlen(before);
    text += strspn(text, "0123456789");
    assert_string_equal(text, after);
    buf_reset(&trap->lines);
}

#define HEAD                                                                                       \
    "{\"level\":\"info\",\"ts\":\"2026-11-20T11:40:00.123456Z\",\"caller\":\"base/log_test.c:"

TEST(log, json_line_is_zaps)
{
    struct trap trap;
    struct log log = trap_open(&trap, LOG_FORMAT_JSON, false);
    LOG_INFO(&log, "ready");
    expect(&trap, HEAD, "\",\"msg\":\"ready\"}\n");
    LOG_INFO(&log, "m", log_str("s", "x"), log_i64("i", -5), log_u64("u", UINT64_MAX),
             log_bool("b", true), log_hex("id", 0x8e9e05c52164694d), log_hex("zero", 0));
    expect(&trap, HEAD,
           "\",\"msg\":\"m\",\"s\":\"x\",\"i\":-5,\"u\":18446744073709551615,\"b\":true,"
           "\"id\":\"8e9e05c52164694d\",\"zero\":\"0\"}\n");
    trap_close(&trap);
}

TEST(log, json_values_of_every_kind)
{
    static const char *const urls[] = {"http://a", "b\"c"};
    struct trap trap;
    struct log log = trap_open(&trap, LOG_FORMAT_JSON, false);
    LOG_INFO(&log, "m", log_strs("l", urls, 2), log_strs("none", NULL, 0),
             log_duration("d", 1500000000), log_f64("f", 0.25), log_f64("nan", NAN),
             log_f64("inf", -INFINITY), log_json("j", SLICE("{\"a\":1}")),
             log_i64("min", INT64_MIN));
    expect(&trap, HEAD,
           "\",\"msg\":\"m\",\"l\":[\"http://a\",\"b\\\"c\"],\"none\":[],\"d\":\"1.5s\",\"f\":0.25,"
           "\"nan\":\"NaN\",\"inf\":\"-Inf\",\"j\":{\"a\":1},\"min\":-9223372036854775808}\n");
    trap_close(&trap);
}

TEST(log, no_error_is_no_field)
{
    struct trap trap;
    struct log log = trap_open(&trap, LOG_FORMAT_JSON, false);
    LOG_INFO(&log, "m", log_error(NULL), log_error(""), log_error("broken"));
    expect(&trap, HEAD, "\",\"msg\":\"m\",\"error\":\"broken\"}\n");
    LOG_INFO(&log, "m", log_error(NULL));
    expect(&trap, HEAD, "\",\"msg\":\"m\"}\n");
    trap_close(&trap);
}

TEST(log, named_logger_comes_before_the_caller)
{
    struct trap trap;
    trap_open(&trap, LOG_FORMAT_JSON, false);
    struct log raft = log_handle(trap.core, "raft");
    LOG_WARN(&raft, "m");
    expect(&trap,
           "{\"level\":\"warn\",\"ts\":\"2026-11-20T11:40:00.123456Z\",\"logger\":\"raft\","
           "\"caller\":\"base/log_test.c:",
           "\",\"msg\":\"m\"}\n");
    trap_close(&trap);
}

TEST(log, console_line_is_zaps)
{
    struct trap trap;
    trap_open(&trap, LOG_FORMAT_CONSOLE, false);
    struct log log = log_handle(trap.core, "raft");
    static const char *const list[] = {"a", "b"};
    LOG_ERROR(&log, "it \"broke\"", log_str("k", "v"), log_strs("l", list, 2), log_u64("n", 3));
    expect(&trap, "2026-11-20T11:40:00.123456Z\terror\traft\tbase/log_test.c:",
           "\tit \"broke\"\t{\"k\": \"v\", \"l\": [\"a\", \"b\"], \"n\": 3}\n");
    LOG_INFO(&log, "bare", log_error(NULL));
    expect(&trap, "2026-11-20T11:40:00.123456Z\tinfo\traft\tbase/log_test.c:", "\tbare\n");
    trap_close(&trap);
}

TEST(log, escapes_are_zaps_and_not_gos_html_ones)
{
    static const struct {
        const char *text;
        const char *quoted;
    } cases[] = {
        {"<a>&", "\"<a>&\""},
        {"\"\\/", "\"\\\"\\\\/\""},
        {"\n\r\t", "\"\\n\\r\\t\""},
        {"\b\f\x01\x1f\x7f", "\"\\u0008\\u000c\\u0001\\u001f\x7f\""},
        {"\xc3\xa9\xe2\x80\xa8", "\"\xc3\xa9\xe2\x80\xa8\""},
        {"a\xff\xc3z", "\"a\\ufffd\\ufffdz\""},
        {"", "\"\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = {0};
        log_json_quote(slice_str(cases[i].text), &out);
        assert_string_equal(buf_cstr(&out), cases[i].quoted);
        buf_fini(&out);
    }
}

static int evaluated;

static const char *costly(void)
{
    evaluated++;
    return "x";
}

TEST(log, a_line_below_the_level_costs_nothing_and_the_level_can_change)
{
    struct trap trap;
    struct log log = trap_open(&trap, LOG_FORMAT_JSON, false);
    struct log other = log_handle(trap.core, "other");
    evaluated = 0;
    LOG_DEBUG(&log, "hidden", log_str("k", costly()));
    assert_int_equal(evaluated, 0);
    assert_int_equal(trap.count, 0);
    log_level_set(trap.core, LOG_LEVEL_DEBUG);
    assert_int_equal(log_level_get(trap.core), LOG_LEVEL_DEBUG);
    LOG_DEBUG(&other, "shown", log_str("k", costly()));
    assert_int_equal(evaluated, 1);
    assert_int_equal(trap.count, 1);
    assert_int_equal(trap.last_level, LOG_LEVEL_DEBUG);
    log_level_set(trap.core, LOG_LEVEL_FATAL);
    LOG_ERROR(&log, "hidden");
    assert_int_equal(trap.count, 1);
    LOG_FATAL(&log, "last");
    assert_int_equal(trap.count, 2);
    trap_close(&trap);
}

TEST(log, no_logger_is_no_line)
{
    struct log none = {0};
    LOG_FATAL(&none, "nobody hears", log_str("k", costly()));
    LOG_FATAL((const struct log *)NULL, "nobody hears");
    assert_false(log_enabled(NULL, LOG_LEVEL_FATAL));
}

TEST(log, sampler_keeps_a_flood_to_a_hundred_and_every_hundredth)
{
    struct trap trap;
    struct log log = trap_open(&trap, LOG_FORMAT_JSON, true);
    for (int i = 0; i < 350; i++) {
        LOG_INFO(&log, "flood");
    }
    assert_int_equal(trap.count, 102);
    LOG_WARN(&log, "flood"); /* another level counts for itself */
    LOG_INFO(&log, "another message");
    assert_int_equal(trap.count, 104);
    trap.now_ns += INT64_C(1000000000);
    LOG_INFO(&log, "flood"); /* the next second starts anew */
    assert_int_equal(trap.count, 105);
    trap_close(&trap);
}

TEST(log, stamp_shows_the_zone_and_times_before_1970)
{
    struct trap trap;
    trap_open(&trap, LOG_FORMAT_CONSOLE, false);
    struct log log = log_handle(trap.core, NULL);
    trap.now_ns = -1;
    LOG_INFO(&log, "m");
    expect(&trap, "1969-12-31T23:59:59.999999Z\tinfo\tbase/log_test.c:", "\tm\n");
    trap_close(&trap);

    struct log_options options = {
        .local_time = true,
        .clock = trap_clock,
        .clock_ctx = &trap,
        .format = LOG_FORMAT_CONSOLE,
        .sinks = {{trap_sink, &trap}},
        .sink_count = 1,
    };
    static const struct {
        const char *zone;
        const char *head;
    } zones[] = {
        {"UTC0", "2026-11-20T11:40:00.123456Z\tinfo\tbase/log_test.c:"},
        {"XXX-5:45", "2026-11-20T17:25:00.123456+0545\tinfo\tbase/log_test.c:"},
        {"YYY3:30", "2026-11-20T08:10:00.123456-0330\tinfo\tbase/log_test.c:"},
    };
    for (size_t i = 0; i < ARRAY_LEN(zones); i++) {
        setenv("TZ", zones[i].zone, 1);
        tzset();
        trap = (struct trap){.now_ns = NOW_NS};
        trap.core = log_core_new(&options);
        log = log_handle(trap.core, NULL);
        LOG_INFO(&log, "m");
        expect(&trap, zones[i].head, "\tm\n");
        trap_close(&trap);
    }
    unsetenv("TZ");
    tzset();
}

TEST(log, every_sink_gets_every_line)
{
    struct trap one = {.now_ns = NOW_NS};
    struct trap two = {.now_ns = NOW_NS};
    struct log_options options = {
        .clock = trap_clock,
        .clock_ctx = &one,
        .sinks = {{trap_sink, &one}, {trap_sink, &two}},
        .sink_count = 2,
    };
    struct log_core *core = log_core_new(&options);
    struct log log = log_handle(core, NULL);
    LOG_DEBUG(&log, "m");
    assert_int_equal(one.count, 1);
    assert_int_equal(two.count, 1);
    assert_string_equal(buf_cstr(&one.lines), buf_cstr(&two.lines));
    log_core_free(&core);
    assert_null(core);
    buf_fini(&one.lines);
    buf_fini(&two.lines);
}

TEST(log, levels_read_as_zap_reads_them)
{
    enum log_level level = LOG_LEVEL_PANIC;
    struct errbuf why;
    for (int i = 0; i < LOG_LEVEL_COUNT; i++) {
        const char *name = log_level_name((enum log_level)i);
        assert_int_equal(log_level_parse(slice_str(name), &level, NULL), ERR_OK);
        assert_int_equal(level, i);
    }
    assert_int_equal(log_level_parse(SLICE("WARN"), &level, NULL), ERR_OK);
    assert_int_equal(level, LOG_LEVEL_WARN);
    assert_int_equal(log_level_parse(SLICE(""), &level, NULL), ERR_OK);
    assert_int_equal(level, LOG_LEVEL_INFO);
    static const char *const bad[] = {"warning", "nope", "debug ", "a-level-with-a-very-long-name"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(log_level_parse(slice_str(bad[i]), &level, &why), ERR_INVALID);
    }
    assert_string_equal(why.text, "unrecognized level: \"a-level-with-a-very-long-name\"");
    assert_int_equal(level, LOG_LEVEL_INFO);
}
