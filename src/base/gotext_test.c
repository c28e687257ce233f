#include "base/gotext.h"

#include "unit.h"

#include <math.h>

TEST(gotext, booleans_are_gos_twelve_words)
{
    static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
    static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
    static const char *const neither[] = {"", "yes", "no", "tRUE", "2", " true", "on"};
    bool value;
    struct errbuf why;
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        assert_int_equal(go_parse_bool(slice_str(yes[i]), &value, NULL), ERR_OK);
        assert_true(value);
        assert_int_equal(go_parse_bool(slice_str(no[i]), &value, NULL), ERR_OK);
        assert_false(value);
    }
    for (size_t i = 0; i < ARRAY_LEN(neither); i++) {
        assert_int_equal(go_parse_bool(slice_str(neither[i]), &value, &why), ERR_INVALID);
        assert_string_equal(why.text, "invalid syntax");
    }
}

struct int_case {
    const char *text;
    int base;
    int bits;
    enum err err;
    int64_t value;
};

TEST(gotext, integers_read_as_strconv_reads_them)
{
    static const struct int_case cases[] = {
        {"0", 0, 64, ERR_OK, 0},
        {"-0", 0, 64, ERR_OK, 0},
        {"+7", 0, 64, ERR_OK, 7},
        {"9223372036854775807", 0, 64, ERR_OK, INT64_MAX},
        {"-9223372036854775808", 0, 64, ERR_OK, INT64_MIN},
        {"9223372036854775808", 0, 64, ERR_TOO_LARGE, 0},
        {"-9223372036854775809", 0, 64, ERR_TOO_LARGE, 0},
        {"18446744073709551616", 0, 64, ERR_TOO_LARGE, 0},
        {"0x1F", 0, 64, ERR_OK, 31},
        {"-0X1f", 0, 64, ERR_OK, -31},
        {"0o17", 0, 64, ERR_OK, 15},
        {"017", 0, 64, ERR_OK, 15},
        {"0b101", 0, 64, ERR_OK, 5},
        {"08", 0, 64, ERR_INVALID, 0},
        {"0x", 0, 64, ERR_INVALID, 0},
        {"0b", 0, 64, ERR_INVALID, 0},
        {"1_000", 0, 64, ERR_OK, 1000},
        {"0x_ff", 0, 64, ERR_OK, 255},
        {"1__0", 0, 64, ERR_INVALID, 0},
        {"_1", 0, 64, ERR_INVALID, 0},
        {"1_", 0, 64, ERR_INVALID, 0},
        {"1_000", 10, 64, ERR_INVALID, 0},
        {"0x1f", 10, 64, ERR_INVALID, 0},
        {"010", 10, 64, ERR_OK, 10},
        {"127", 10, 8, ERR_OK, 127},
        {"128", 10, 8, ERR_TOO_LARGE, 0},
        {"-128", 10, 8, ERR_OK, -128},
        {"2147483648", 0, 32, ERR_TOO_LARGE, 0},
        {"", 0, 64, ERR_INVALID, 0},
        {"-", 0, 64, ERR_INVALID, 0},
        {"1 ", 0, 64, ERR_INVALID, 0},
        {"1.5", 0, 64, ERR_INVALID, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct int_case *c = &cases[i];
        int64_t value = 12345;
        enum err err = go_parse_int(slice_str(c->text), c->base, c->bits, &value, NULL);
        print_message("# %s\n", c->text);
        assert_int_equal(err, c->err);
        assert_true(value == (err == ERR_OK ? c->value : 12345));
    }
}

TEST(gotext, unsigned_integers_take_no_sign)
{
    uint64_t value;
    struct errbuf why;
    assert_int_equal(go_parse_uint(SLICE("18446744073709551615"), 0, 64, &value, NULL), ERR_OK);
    assert_true(value == UINT64_MAX);
    assert_int_equal(go_parse_uint(SLICE("4294967295"), 0, 32, &value, NULL), ERR_OK);
    assert_int_equal(go_parse_uint(SLICE("4294967296"), 0, 32, &value, &why), ERR_TOO_LARGE);
    assert_string_equal(why.text, "value out of range");
    assert_int_equal(go_parse_uint(SLICE("-1"), 0, 64, &value, &why), ERR_INVALID);
    assert_string_equal(why.text, "invalid syntax");
    assert_int_equal(go_parse_uint(SLICE("+1"), 0, 64, &value, NULL), ERR_INVALID);
}

TEST(gotext, floats_read_as_strconv_reads_them)
{
    static const struct {
        const char *text;
        enum err err;
        double value;
    } cases[] = {
        {"1.5", ERR_OK, 1.5},        {".5", ERR_OK, 0.5},
        {"5.", ERR_OK, 5},           {"-1e3", ERR_OK, -1000},
        {"0x1p4", ERR_OK, 16},       {"0x1", ERR_INVALID, 0},
        {"inf", ERR_OK, INFINITY},   {"-Infinity", ERR_OK, -INFINITY},
        {"1e999", ERR_TOO_LARGE, 0}, {"", ERR_INVALID, 0},
        {".", ERR_INVALID, 0},       {"1e", ERR_INVALID, 0},
        {"1e+", ERR_INVALID, 0},     {" 1", ERR_INVALID, 0},
        {"1x", ERR_INVALID, 0},      {"-nan", ERR_INVALID, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        double value = 0;
        print_message("# %s\n", cases[i].text);
        assert_int_equal(go_parse_float(slice_str(cases[i].text), &value, NULL), cases[i].err);
        assert_true(value == cases[i].value);
    }
    double value;
    assert_int_equal(go_parse_float(SLICE("NaN"), &value, NULL), ERR_OK);
    assert_true(isnan(value));
}

TEST(gotext, durations_read_as_the_time_package_reads_them)
{
    static const struct {
        const char *text;
        int64_t ns;
    } cases[] = {
        {"0", 0},
        {"-0", 0},
        {"5s", 5 * GO_NS_PER_SEC},
        {"1h30m", 90 * GO_NS_PER_MIN},
        {"-1.5h", -90 * GO_NS_PER_MIN},
        {"+100ms", 100 * GO_NS_PER_MS},
        {".5s", 500 * GO_NS_PER_MS},
        {"1.s", GO_NS_PER_SEC},
        {"1us", 1000},
        {"1\xc2\xb5s", 1000},
        {"1\xce\xbcs", 1000},
        {"1ns", 1},
        {"0.3333333333333333333h", 20 * GO_NS_PER_MIN},
        {"9223372036854775807ns", INT64_MAX},
        {"-9223372036854775808ns", INT64_MIN},
        {"39h9m14.425s", 39 * GO_NS_PER_HOUR + 9 * GO_NS_PER_MIN + 14425 * GO_NS_PER_MS},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ns = 99;
        print_message("# %s\n", cases[i].text);
        assert_int_equal(go_parse_duration(slice_str(cases[i].text), &ns, NULL), ERR_OK);
        assert_true(ns == cases[i].ns);
    }
}

TEST(gotext, bad_durations_fail_in_gos_words)
{
    static const struct {
        const char *text;
        const char *sentence;
    } cases[] = {
        {"", "time: invalid duration \"\""},
        {"3", "time: missing unit in duration \"3\""},
        {"-", "time: invalid duration \"-\""},
        {"s", "time: invalid duration \"s\""},
        {".s", "time: invalid duration \".s\""},
        {"1q", "time: unknown unit \"q\" in duration \"1q\""},
        {"1S", "time: unknown unit \"S\" in duration \"1S\""},
        {"1s ", "time: unknown unit \"s \" in duration \"1s \""},
        {"9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""},
        {"99999999999999999999s", "time: invalid duration \"99999999999999999999s\""},
        {"3000000h", "time: invalid duration \"3000000h\""},
        {"1\xff", "time: unknown unit \"\\xff\" in duration \"1\\xff\""},
        {"1\"", "time: unknown unit \"\\\"\" in duration \"1\\\"\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ns = 99;
        struct errbuf why;
        assert_int_equal(go_parse_duration(slice_str(cases[i].text), &ns, &why), ERR_INVALID);
        assert_string_equal(why.text, cases[i].sentence);
        assert_true(ns == 99);
    }
}

TEST(gotext, durations_print_as_the_time_package_prints_them)
{
    static const struct {
        int64_t ns;
        const char *text;
    } cases[] = {
        {0, "0s"},
        {1, "1ns"},
        {1100, "1.1\xc2\xb5s"},
        {2200000, "2.2ms"},
        {3300000000, "3.3s"},
        {5 * GO_NS_PER_SEC, "5s"},
        {2 * GO_NS_PER_HOUR, "2h0m0s"},
        {GO_NS_PER_MIN, "1m0s"},
        {245 * GO_NS_PER_SEC + 1000000, "4m5.001s"},
        {-1500 * GO_NS_PER_MS, "-1.5s"},
        {INT64_MAX, "2562047h47m16.854775807s"},
        {INT64_MIN, "-2562047h47m16.854775808s"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = {0};
        go_format_duration(cases[i].ns, &out);
        assert_string_equal(buf_cstr(&out), cases[i].text);
        buf_fini(&out);
    }
}

TEST(gotext, floats_print_shortest)
{
    static const struct {
        double number;
        const char *plain;
        const char *verb;
    } cases[] = {
        {0, "0", "0"},
        {1, "1", "1"},
        {0.1, "0.1", "0.1"},
        {-2.5, "-2.5", "-2.5"},
        {999999, "999999", "999999"},
        {1e6, "1000000", "1e+06"},
        {1234567, "1234567", "1.234567e+06"},
        {1.5e20, "150000000000000000000", "1.5e+20"},
        {1e21, "1000000000000000000000", "1e+21"},
        {1.25e-7, "0.000000125", "1.25e-07"},
        {0.0001, "0.0001", "0.0001"},
        {1.0 / 3, "0.3333333333333333", "0.3333333333333333"},
        {INFINITY, "+Inf", "+Inf"},
        {-INFINITY, "-Inf", "-Inf"},
        {NAN, "NaN", "NaN"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = {0};
        go_format_float(cases[i].number, &out);
        assert_string_equal(buf_cstr(&out), cases[i].plain);
        buf_reset(&out);
        go_format_float_v(cases[i].number, &out);
        assert_string_equal(buf_cstr(&out), cases[i].verb);
        buf_fini(&out);
    }
}

TEST(gotext, quoting_escapes_what_does_not_print)
{
    static const struct {
        const char *text;
        const char *quoted;
    } cases[] = {
        {"", "\"\""},
        {"a b", "\"a b\""},
        {"\"\\", "\"\\\"\\\\\""},
        {"\n\t\x01\x7f", "\"\\n\\t\\x01\\x7f\""},
        {"\xc3\xa9", "\"\xc3\xa9\""},
        {"\xff", "\"\\xff\""},
        {"\xed\xa0\x80", "\"\\xed\\xa0\\x80\""},
        {"\xe2\x80\x8b", "\"\\u200b\""},
        {"\xf3\xb0\x80\x80", "\"\\U000f0000\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = {0};
        go_quote(slice_str(cases[i].text), &out);
        assert_string_equal(buf_cstr(&out), cases[i].quoted);
        buf_fini(&out);
    }
}
