/* Blocks written as "name|value" lines; whether each is taken, rule by rule. */
#include "codec/h2_fields.h"

#include "unit.h"

#define REQUIRED ":method|POST\n:scheme|http\n:path|/a.B/C\n"

enum outcome { TAKEN, REFUSED_FIELD, REFUSED_END };

static enum outcome judge(struct slice block, bool is_trailers, bool is_end, uint64_t *length)
{
    struct h2_fields fields;
    h2_fields_init(&fields, is_trailers);
    while (block.len > 0) {
        struct slice line;
        struct slice name;
        block = slice_split(block, '\n', &line);
        struct slice value = slice_split(line, '|', &name);
        if (!h2_fields_add(&fields, name, value)) {
            return REFUSED_FIELD;
        }
    }
    *length = fields.length;
    return h2_fields_finish(&fields, is_end) ? TAKEN : REFUSED_END;
}

struct row {
    struct slice block;
    enum outcome outcome;
};

static void rows_check(const struct row *rows, size_t count, bool is_trailers, bool is_end)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t length;
        enum outcome got = judge(rows[i].block, is_trailers, is_end, &length);
        if (got != rows[i].outcome) {
            fail_msg("row %zu: %d instead of %d: %.*s", i, got, rows[i].outcome,
                     (int)rows[i].block.len, (const char *)rows[i].block.data);
        }
    }
}

TEST(h2_fields, a_request_names_method_scheme_and_path)
{
    static const struct row rows[] = {
        {SLICE(REQUIRED), TAKEN},
        {SLICE(":path|/\n:scheme|https\n:method|GET\n"), TAKEN},
        {SLICE(REQUIRED ":authority|a:1\nte|trailers\nx-any|\x80 thing\n"), TAKEN},
        {SLICE(""), REFUSED_END},
        {SLICE(":scheme|http\n:path|/\n"), REFUSED_END},
        {SLICE(":method|POST\n:path|/\n"), REFUSED_END},
        {SLICE(":method|POST\n:scheme|http\n"), REFUSED_END},
        {SLICE("method|POST\nscheme|http\npath|/\n"), REFUSED_END},
    };
    rows_check(rows, ARRAY_LEN(rows), false, false);
}

TEST(h2_fields, pseudo_fields_are_known_come_once_and_first)
{
    static const struct row rows[] = {
        {SLICE(REQUIRED ":path|/\n"), REFUSED_FIELD},
        {SLICE(REQUIRED ":method|POST\n"), REFUSED_FIELD},
        {SLICE(REQUIRED ":scheme|http\n"), REFUSED_FIELD},
        {SLICE(REQUIRED ":authority|a\n:authority|a\n"), REFUSED_FIELD},
        {SLICE(REQUIRED ":status|200\n"), REFUSED_FIELD},
        {SLICE(REQUIRED ":protocol|websocket\n"), REFUSED_FIELD},
        {SLICE(REQUIRED ":|x\n"), REFUSED_FIELD},
        {SLICE(REQUIRED ":Path|/\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "x|y\n:authority|a\n"), REFUSED_FIELD},
        {SLICE("x|y\n" REQUIRED), REFUSED_FIELD},
    };
    rows_check(rows, ARRAY_LEN(rows), false, false);
}

TEST(h2_fields, pseudo_fields_have_values_of_their_kind)
{
    static const struct row rows[] = {
        {SLICE(":method|M-SEARCH!\n:scheme|a1+-.\n:path|/~%41;?#\n"), TAKEN},
        {SLICE(":method|\n"), REFUSED_FIELD},
        {SLICE(":method|PO ST\n"), REFUSED_FIELD},
        {SLICE(":method|POST\t\n"), REFUSED_FIELD},
        {SLICE(":method|P\xc3\x96ST\n"), REFUSED_FIELD},
        {SLICE(":scheme|\n"), REFUSED_FIELD},
        {SLICE(":scheme|1http\n"), REFUSED_FIELD},
        {SLICE(":scheme|ht tp\n"), REFUSED_FIELD},
        {SLICE(":scheme|http:\n"), REFUSED_FIELD},
        {SLICE(":path|\n"), REFUSED_FIELD},
        {SLICE(":path|/a b\n"), REFUSED_FIELD},
        {SLICE(":path|/a\0b\n"), REFUSED_FIELD},
        {SLICE(":path|/a\rb\n"), REFUSED_FIELD},
    };
    rows_check(rows, ARRAY_LEN(rows), false, false);
}

TEST(h2_fields, what_go_takes_and_the_rfc_does_not)
{
    static const struct row rows[] = {
        {SLICE(REQUIRED ":authority|http://127.0.0.1:2379\n"), TAKEN},
        {SLICE(REQUIRED ":authority|unix:/run/etcd socket\n"), TAKEN},
        {SLICE(REQUIRED ":authority|\n"), TAKEN},
        {SLICE(REQUIRED ":authority|a\nhost|http://b/\n"), TAKEN},
        {SLICE(REQUIRED ":authority|a\x01\n"), REFUSED_FIELD},
        {SLICE(REQUIRED ":authority|a\0b\n"), REFUSED_FIELD},
        {SLICE(":method|POST\n:scheme|http\n:path|a.B/C\n"), TAKEN},
        {SLICE(REQUIRED "x| blanks \t\n"), TAKEN},
    };
    rows_check(rows, ARRAY_LEN(rows), false, false);
}

TEST(h2_fields, names_and_values_are_clean)
{
    static const struct row rows[] = {
        {SLICE(REQUIRED "x-1_.~!#$%&'*+^`|v\n"), TAKEN},
        {SLICE(REQUIRED "X-Upper|v\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "x-uppeR|v\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "|v\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "a b|v\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "a:b|v\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "a\x80|v\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "a\0|v\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "a|v\0\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "a|v\r\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "a|v\x7f\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "content-type|v\x01\n"), REFUSED_FIELD},
    };
    uint64_t length;
    rows_check(rows, ARRAY_LEN(rows), false, false);
    /* A line feed cannot be written in a row. */
    struct h2_fields fields;
    h2_fields_init(&fields, false);
    assert_true(h2_fields_add(&fields, SLICE("a"), SLICE("v")));
    assert_false(h2_fields_add(&fields, SLICE("a"), SLICE("v\nb")));
    assert_false(h2_fields_add(&fields, SLICE("a\nb"), SLICE("v")));
    assert_int_equal(judge(SLICE(REQUIRED), false, false, &length), TAKEN);
    assert_true(length == H2_LENGTH_NONE);
}

TEST(h2_fields, fields_of_the_connection_are_refused)
{
    static const struct row rows[] = {
        {SLICE(REQUIRED "connection|close\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "connection|\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "proxy-connection|close\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "keep-alive|5\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "transfer-encoding|chunked\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "upgrade|h2c\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "te|trailers\nte|trailers\n"), TAKEN},
        {SLICE(REQUIRED "te|gzip\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "te|trailers, gzip\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "te|\n"), REFUSED_FIELD},
    };
    rows_check(rows, ARRAY_LEN(rows), false, false);
}

TEST(h2_fields, a_content_length_is_one_number)
{
    static const struct row rows[] = {
        {SLICE(REQUIRED "content-length|0\n"), TAKEN},
        {SLICE(REQUIRED "content-length|007\n"), TAKEN},
        {SLICE(REQUIRED "content-length|\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "content-length|-1\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "content-length|+1\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "content-length|1 \n"), REFUSED_FIELD},
        {SLICE(REQUIRED "content-length|0x1\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "content-length|1,1\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "content-length|1\ncontent-length|1\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "content-length|18446744073709551616\n"), REFUSED_FIELD},
        {SLICE(REQUIRED "content-length|99999999999999999999999999\n"), REFUSED_FIELD},
    };
    uint64_t length;
    rows_check(rows, ARRAY_LEN(rows), false, false);
    assert_int_equal(judge(SLICE(REQUIRED "content-length|1234\n"), false, false, &length), TAKEN);
    assert_int_equal(length, 1234);
}

TEST(h2_fields, a_request_without_a_body_has_no_length)
{
    static const struct row rows[] = {
        {SLICE(REQUIRED), TAKEN},
        {SLICE(REQUIRED "content-length|0\n"), TAKEN},
        {SLICE(REQUIRED "content-length|1\n"), REFUSED_END},
    };
    rows_check(rows, ARRAY_LEN(rows), false, true);
}

TEST(h2_fields, trailers_end_the_stream_and_say_nothing_of_the_message)
{
    static const struct row rows[] = {
        {SLICE(""), TAKEN},
        {SLICE("x|y\n"), TAKEN},
        {SLICE(":path|/\n"), REFUSED_FIELD},
        {SLICE(":status|200\n"), REFUSED_FIELD},
        {SLICE("X|y\n"), REFUSED_FIELD},
        {SLICE("connection|close\n"), REFUSED_FIELD},
        {SLICE("content-length|0\n"), REFUSED_FIELD},
    };
    uint64_t length;
    rows_check(rows, ARRAY_LEN(rows), true, true);
    assert_int_equal(judge(SLICE("x|y\n"), true, false, &length), REFUSED_END);
}
