#include "codec/pbwire.h"

#include "unit.h"

static const uint64_t edges[] = {
    0,          1,
    0x7f,       0x80,
    0x3fff,     0x4000,
    0x1fffff,   0x200000,
    0xfffffff,  0x10000000,
    UINT32_MAX, (uint64_t)1 << 32,
    INT64_MAX,  (uint64_t)1 << 63,
    UINT64_MAX,
};

TEST(pbwire, a_varint_takes_seven_bits_a_byte_and_comes_back)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t value = (uint64_t)1 << bit;
        assert_int_equal(pbwire_varint_size(value), bit / 7 + 1);
        assert_int_equal(pbwire_varint_size(value | (value - 1)), bit / 7 + 1);
    }
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        uint8_t bytes[PBWIRE_VARINT_MAX];
        uint8_t *end = pbwire_put_varint(bytes, edges[i]);
        assert_int_equal(end - bytes, pbwire_varint_size(edges[i]));
        uint64_t back;
        enum err err = ERR_OK;
        assert_ptr_equal(pbwire_get_varint(bytes, end, &back, &err), end);
        assert_true(back == edges[i]);
        for (uint8_t *cut = bytes; cut < end; cut++) {
            assert_null(pbwire_get_varint(bytes, cut, &back, &err));
            assert_int_equal(err, ERR_EOF);
        }
    }
}

TEST(pbwire, a_varint_of_eleven_bytes_is_refused)
{
    uint8_t bytes[11];
    uint64_t value;
    enum err err = ERR_OK;
    memset(bytes, 0xff, sizeof(bytes));
    bytes[10] = 0;
    assert_null(pbwire_get_varint(bytes, bytes + sizeof(bytes), &value, &err));
    assert_int_equal(err, ERR_CORRUPT);
}

static enum err walk(struct slice in, size_t *count_out)
{
    struct pbwire_iter it = pbwire_iter_init(in);
    struct pbwire_field field;
    *count_out = 0;
    while (pbwire_next(&it, &field)) {
        assert_true(field.number > 0);
        (*count_out)++;
    }
    return it.err;
}

TEST(pbwire, the_iterator_yields_each_field_and_skips_groups_whole)
{
    /* 1: varint 150; 2: bytes "ab"; group 3 { 1: varint; group 4 {} }; 5: fixed32; 6: fixed64 */
    static const uint8_t message[] = {
        0x08, 0x96, 0x01, 0x12, 0x02, 'a', 'b', 0x1b, 0x08, 0x01, 0x23, 0x24, 0x1c, 0x2d,
        1,    0,    0,    0,    0x31, 2,   0,   0,    0,    0,    0,    0,    0,
    };
    struct pbwire_iter it = pbwire_iter_init(slice_of(message, sizeof(message)));
    struct pbwire_field field;
    assert_true(pbwire_next(&it, &field));
    assert_int_equal(field.number, 1);
    assert_int_equal(field.value, 150);
    assert_true(pbwire_next(&it, &field));
    assert_int_equal(field.type, PBWIRE_BYTES);
    assert_true(slice_eq_str(field.bytes, "ab"));
    assert_true(pbwire_next(&it, &field));
    assert_int_equal(field.number, 5);
    assert_int_equal(field.value, 1);
    assert_true(pbwire_next(&it, &field));
    assert_int_equal(field.number, 6);
    assert_int_equal(field.value, 2);
    assert_false(pbwire_next(&it, &field));
    assert_int_equal(it.err, ERR_OK);
}

TEST(pbwire, what_is_not_a_message_is_refused)
{
    static const struct {
        const char *name;
        struct slice in;
        enum err err;
    } cases[] = {
        {"field number 0", SLICE("\x00\x01"), ERR_CORRUPT},
        {"wire type 6", SLICE("\x0e"), ERR_CORRUPT},
        {"wire type 7", SLICE("\x0f"), ERR_CORRUPT},
        {"group end without start", SLICE("\x0c"), ERR_CORRUPT},
        {"group without end", SLICE("\x0b\x08\x01"), ERR_EOF},
        {"bytes longer than the message", SLICE("\x0a\x05zz"), ERR_EOF},
        {"negative length", SLICE("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), ERR_CORRUPT},
        {"fixed32 cut", SLICE("\x0d\x01\x02"), ERR_EOF},
        {"fixed64 cut", SLICE("\x09\x01\x02"), ERR_EOF},
        {"tag cut", SLICE("\x88"), ERR_EOF},
        {"number beyond int32", SLICE("\x80\x80\x80\x80\x40\x01"), ERR_CORRUPT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t count;
        print_message("# %s\n", cases[i].name);
        assert_int_equal(walk(cases[i].in, &count), cases[i].err);
        assert_int_equal(count, 0);
    }
}

/* Bytes as Go's mvccpb.KeyValue.Marshal() gives them. */
static const struct {
    struct kv_row row;
    struct slice bytes;
} rows[] = {
    {{.key = {0}}, {0}},
    {{.key = {(const uint8_t *)"foo", 3},
      .create_revision = 2,
      .mod_revision = 3,
      .version = 2,
      .value = {(const uint8_t *)"bar", 3}},
     SLICE("\x0a\x03"
           "foo\x10\x02\x18\x03\x20\x02\x2a\x03"
           "bar")},
    {{.key = {(const uint8_t *)"gone", 4}},
     SLICE("\x0a\x04"
           "gone")},
    {{.key = {(const uint8_t *)"k", 1}, .mod_revision = 300, .lease = -1},
     SLICE("\x0a\x01k\x18\xac\x02\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")},
};

TEST(pbwire, a_row_is_byte_for_byte_gos)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out = {0};
        kv_row_encode(&rows[i].row, &out);
        assert_int_equal(kv_row_size(&rows[i].row), rows[i].bytes.len);
        assert_true(slice_eq(buf_slice(&out), rows[i].bytes));
        struct kv_row back;
        assert_int_equal(kv_row_decode(buf_slice(&out), &back), ERR_OK);
        assert_true(slice_eq(back.key, rows[i].row.key));
        assert_true(slice_eq(back.value, rows[i].row.value));
        assert_int_equal(back.create_revision, rows[i].row.create_revision);
        assert_int_equal(back.mod_revision, rows[i].row.mod_revision);
        assert_int_equal(back.version, rows[i].row.version);
        assert_int_equal(back.lease, rows[i].row.lease);
        buf_fini(&out);
    }
}

TEST(pbwire, a_row_with_a_wrong_wire_type_or_cut_short_is_refused_and_leaves_the_result_alone)
{
    struct kv_row row = {.version = 77};
    assert_int_equal(kv_row_decode(SLICE("\x08\x01"), &row), ERR_CORRUPT);  /* key a varint */
    assert_int_equal(kv_row_decode(SLICE("\x12\x01z"), &row), ERR_CORRUPT); /* revision bytes */
    assert_int_equal(kv_row_decode(SLICE("\x0a\x09zz"), &row), ERR_EOF);
    assert_int_equal(kv_row_decode(SLICE("\x20"), &row), ERR_EOF);
    assert_int_equal(row.version, 77);
}

TEST(pbwire, a_row_skips_unknown_fields_and_takes_the_last_of_two)
{
    struct kv_row row;
    assert_int_equal(kv_row_decode(SLICE("\x7a\x01x\x20\x05\x20\x06"), &row), ERR_OK);
    assert_int_equal(row.version, 6);
}
