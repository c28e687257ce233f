#include "base/bytes.h"
#include "base/mem.h"

#include "unit.h"

TEST(bytes, slices_compare_by_bytes_then_length)
{
    static const struct {
        const char *a;
        const char *b;
        int order;
    } cases[] = {
        {"", "", 0},    {"", "a", -1},   {"a", "", 1},   {"a", "a", 0},    {"a", "b", -1},
        {"ab", "a", 1}, {"a", "ab", -1}, {"b", "ab", 1}, {"\xff", "a", 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int order = slice_cmp(slice_str(cases[i].a), slice_str(cases[i].b));
        assert_int_equal((order > 0) - (order < 0), cases[i].order);
        assert_int_equal(slice_eq(slice_str(cases[i].a), slice_str(cases[i].b)),
                         cases[i].order == 0);
    }
}

TEST(bytes, split_takes_the_first_separator)
{
    struct slice head;
    struct slice rest = slice_split(SLICE("a=b=c"), '=', &head);
    assert_true(slice_eq(head, SLICE("a")));
    assert_true(slice_eq(rest, SLICE("b=c")));
    rest = slice_split(SLICE("abc"), '=', &head);
    assert_true(slice_eq(head, SLICE("abc")));
    assert_null(rest.data);
}

TEST(bytes, numbers_refuse_what_is_not_decimal_or_does_not_fit)
{
    uint64_t u = 7;
    int64_t i = 7;
    assert_int_equal(slice_to_u64(SLICE("18446744073709551615"), &u), ERR_OK);
    assert_true(u == UINT64_MAX);
    static const char *const bad_u[] = {"", "18446744073709551616", "-1", "+1", " 1", "1 ", "0x1"};
    for (size_t k = 0; k < ARRAY_LEN(bad_u); k++) {
        assert_int_equal(slice_to_u64(slice_str(bad_u[k]), &u), ERR_INVALID);
        assert_true(u == UINT64_MAX);
    }
    assert_int_equal(slice_to_i64(SLICE("-9223372036854775808"), &i), ERR_OK);
    assert_true(i == INT64_MIN);
    assert_int_equal(slice_to_i64(SLICE("9223372036854775807"), &i), ERR_OK);
    assert_true(i == INT64_MAX);
    static const char *const bad_i[] = {"-", "9223372036854775808", "-9223372036854775809", "--1"};
    for (size_t k = 0; k < ARRAY_LEN(bad_i); k++) {
        assert_int_equal(slice_to_i64(slice_str(bad_i[k]), &i), ERR_INVALID);
    }
}

TEST(bytes, integers_survive_a_round_trip_at_any_address)
{
    uint8_t raw[16];
    put_le64(raw + 1, 0x0123456789abcdefu);
    assert_int_equal(raw[1], 0xef);
    assert_true(get_le64(raw + 1) == 0x0123456789abcdefu);
    put_be64(raw + 3, 0x0123456789abcdefu);
    assert_int_equal(raw[3], 0x01);
    assert_true(get_be64(raw + 3) == 0x0123456789abcdefu);
    put_be32(raw + 5, 0xdeadbeef);
    assert_int_equal(raw[5], 0xde);
    assert_true(get_be32(raw + 5) == 0xdeadbeef);
    put_le16(raw, 0x1234);
    assert_int_equal(get_le16(raw), 0x1234);
}

TEST(bytes, a_buffer_grows_and_is_consumed_from_the_front)
{
    struct buf buf = {0};
    for (int i = 0; i < 1000; i++) {
        buf_printf(&buf, "%03d", i);
    }
    assert_int_equal(buf.len, 3000);
    buf_consume(&buf, 2997);
    assert_string_equal(buf_cstr(&buf), "999");
    buf_reset(&buf);
    buf_append_hex(&buf, SLICE("\x00\xfe"));
    assert_string_equal(buf_cstr(&buf), "00fe");
    buf_fini(&buf);
    assert_null(buf.data);
}

TEST(bytes, a_reader_remembers_its_first_failure)
{
    struct reader r = reader_init(SLICE("\x01\x02\x00\x03"));
    assert_int_equal(reader_u8(&r), 1);
    assert_int_equal(reader_le16(&r), 2);
    assert_int_equal(reader_le32(&r), 0);
    assert_int_equal(r.err, ERR_EOF);
    assert_int_equal(reader_u8(&r), 0);
    assert_int_equal(reader_finish(&r), ERR_EOF);

    r = reader_init(SLICE("ab"));
    reader_u8(&r);
    assert_int_equal(reader_finish(&r), ERR_CORRUPT);
    assert_int_equal(reader_left(&r), 1);
    assert_true(slice_eq(reader_rest(&r), SLICE("b")));
    assert_int_equal(reader_finish(&r), ERR_OK);
}

TEST(bytes, a_huge_length_is_an_end_not_an_overflow)
{
    struct reader r = reader_init(SLICE("abc"));
    struct slice none = reader_bytes(&r, UINT64_MAX);
    assert_int_equal(none.len, 0);
    assert_int_equal(r.err, ERR_EOF);
}

TEST(bytes, varints_end_within_ten_bytes)
{
    struct reader r = reader_init(SLICE("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    assert_true(reader_varint(&r) == UINT64_MAX);
    assert_int_equal(reader_finish(&r), ERR_OK);
    r = reader_init(SLICE("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    reader_varint(&r);
    assert_int_equal(r.err, ERR_CORRUPT);
    r = reader_init(SLICE("\x80"));
    reader_varint(&r);
    assert_int_equal(r.err, ERR_EOF);
}

TEST(bytes, a_sentence_can_be_wrapped_in_its_context)
{
    struct errbuf why;
    assert_int_equal(errf(&why, ERR_CORRUPT, "bad magic %d", 7), ERR_CORRUPT);
    assert_int_equal(err_wrap(&why, ERR_CORRUPT, "%s", "db"), ERR_CORRUPT);
    assert_string_equal(why.text, "db: bad magic 7");
    assert_int_equal(errf(NULL, ERR_IO, "nobody listens"), ERR_IO);
    assert_string_equal(err_name(ERR_COMPACTED), "compacted");
}

TEST(bytes, hexadecimal_is_lower_case_digits_and_nothing_else)
{
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {
        {"0", 0},
        {"8e9e05c52164694d", 0x8e9e05c52164694d},
        {"00000000000000ff", 0xff},
        {"abcdef9876543210", 0xabcdef9876543210},
    };
    /* The ten characters in front of 'a' are the ones that plain arithmetic takes for digits. */
    static const char *const bad[] = {"",   " 1", "-1", "0x1", "1g", "AB",
                                      "WX", "Y",  "Z",  "[1",  "1]", "^",
                                      "_",  "`",  "1/", "1:",  "+1", "12345678123456789"};
    uint64_t value;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(slice_hex_to_u64(slice_str(good[i].text), &value), ERR_OK);
        assert_int_equal(value, good[i].value);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        value = 77;
        assert_int_equal(slice_hex_to_u64(slice_str(bad[i]), &value), ERR_INVALID);
        assert_int_equal(value, 77);
    }
}
