#include "codec/gojson.h"

#include "unit.h"

static const char *fault_of(const char *text, enum err *err_out)
{
    static struct errbuf why;
    struct slice rest = slice_str(text);
    struct slice value = SLICE_EMPTY;
    why.text[0] = 0;
    *err_out = gojson_next(&rest, &value, &why);
    return why.text;
}

TEST(gojson, values_are_found_one_after_the_other)
{
    struct slice text = SLICE(" {\"a\":[1,2,{}]}\n-1.5e+3 \"x\\u00e9\\\"\" true[ ]null ");
    const char *expected[] = {
        "{\"a\":[1,2,{}]}", "-1.5e+3", "\"x\\u00e9\\\"\"", "true", "[ ]", "null"};
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        struct slice value;
        assert_int_equal(gojson_next(&text, &value, NULL), ERR_OK);
        assert_true(slice_eq_str(value, expected[i]));
    }
    struct slice value;
    assert_int_equal(gojson_next(&text, &value, NULL), ERR_EOF);
}

/* The sentences are those of Go's encoding/json, as a decoder gives them. */
TEST(gojson, refusals_speak_as_go_does)
{
    static const struct {
        const char *text;
        const char *why;
    } rows[] = {
        {"{bad", "invalid character 'b' looking for beginning of object key string"},
        {"{\"a\" 1}", "invalid character '1' after object key"},
        {"{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"},
        {"{\"a\":1,}", "invalid character '}' looking for beginning of object key string"},
        {"[1 2]", "invalid character '2' after array element"},
        {"[1,]", "invalid character ']' looking for beginning of value"},
        {"'x'", "invalid character '\\'' looking for beginning of value"},
        {"\"a\nb\"", "invalid character '\\n' in string literal"},
        {"\"\\x\"", "invalid character 'x' in string escape code"},
        {"\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"},
        {"-x", "invalid character 'x' in numeric literal"},
        {"1.x", "invalid character 'x' after decimal point in numeric literal"},
        {"1e+x", "invalid character 'x' in exponent of numeric literal"},
        {"trie", "invalid character 'i' in literal true (expecting 'u')"},
        {"\xff", "invalid character '\xc3\xbf' looking for beginning of value"},
        {"\x01", "invalid character '\\x01' looking for beginning of value"},
        {"\x80", "invalid character '\\u0080' looking for beginning of value"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum err err;
        assert_string_equal(fault_of(rows[i].text, &err), rows[i].why);
        assert_int_equal(err, ERR_INVALID);
    }
}

TEST(gojson, a_value_that_is_cut_short_is_told_from_none)
{
    static const char *const cut[] = {"{",    "{\"a",    "{\"a\"", "{\"a\":", "{\"a\":1", "[1,",
                                      "\"\\", "\"\\u12", "-",      "1.",      "1e",       "tru"};
    for (size_t i = 0; i < ARRAY_LEN(cut); i++) {
        enum err err;
        assert_string_equal(fault_of(cut[i], &err), "unexpected EOF");
        assert_int_equal(err, ERR_AGAIN);
    }
    enum err err;
    assert_string_equal(fault_of(" \t\n", &err), "EOF");
    assert_int_equal(err, ERR_EOF);
}

TEST(gojson, depth_has_a_limit)
{
    char text[2 * GOJSON_DEPTH_MAX + 3];
    for (size_t extra = 0; extra < 2; extra++) {
        size_t depth = GOJSON_DEPTH_MAX + extra;
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = 0;
        enum err err;
        const char *why = fault_of(text, &err);
        assert_int_equal(err, extra == 0 ? ERR_OK : ERR_INVALID);
        assert_string_equal(why, extra == 0 ? "" : "exceeded max depth");
    }
}

/* Wherever a text is cut, a scan that goes on finds what one that starts anew finds. */
TEST(gojson, a_scan_goes_on_where_it_stopped)
{
    static const char *const texts[] = {
        " {\"a\":[1,-2.5e-3,{\"\\u12aB\\n\":null}],\"b\":\"x\\\"y\"} {} true",
        "[[[]]]12 0 \"\"",
        "{\"a\":tru}",
        "[1,2",
        "\"abc",
        "-",
        " ",
        "1.x",
        "{\"long text without any end\x01\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        for (size_t step = 1; step < 8; step++) {
            struct slice all = slice_str(texts[i]);
            struct gojson scan;
            size_t seen = 0; /* of the text, what the scan has been shown */
            size_t used = 0;
            gojson_init(&scan);
            enum err err;
            do {
                struct slice value = SLICE_EMPTY;
                struct slice again = SLICE_EMPTY;
                struct slice rest = slice_skip(all, used);
                struct errbuf why = {{0}};
                struct errbuf why_again = {{0}};
                enum err expected = gojson_next(&rest, &value, &why);
                struct slice shown;
                do {
                    seen = all.len - seen < step ? all.len : seen + step;
                    shown = slice_of(all.data + used, seen - used);
                    err = gojson_continue(&scan, &shown, seen == all.len, &again, &why_again);
                } while ((err == ERR_AGAIN || err == ERR_EOF) && seen < all.len);
                assert_int_equal(err, expected);
                assert_string_equal(err == ERR_OK ? "" : why.text,
                                    err == ERR_OK ? "" : why_again.text);
                if (err == ERR_OK) {
                    assert_true(slice_eq(value, again));
                    used = seen - shown.len;
                    seen = used;
                }
            } while (err == ERR_OK);
        }
    }
}
