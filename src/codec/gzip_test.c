#include "codec/gzip.h"

#include "unit.h"

/* "hello\n" by gzip(1) -n. */
static const uint8_t hello[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                0x03, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0xe7, 0x02, 0x00,
                                0x20, 0x30, 0x3a, 0x36, 0x06, 0x00, 0x00, 0x00};

TEST(gzip, reads_what_gzip_wrote)
{
    struct buf out = {0};
    assert_int_equal(gzip_decode(slice_of(hello, sizeof(hello)), 100, &out), ERR_OK);
    assert_true(slice_eq_str(buf_slice(&out), "hello\n"));
    buf_fini(&out);
}

TEST(gzip, round_trips)
{
    size_t lens[] = {0, 1, 100, 65535, 65536, 65537, 1000000};
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct buf data = {0};
        struct buf packed = {0};
        struct buf out = {0};
        for (size_t j = 0; j < lens[i]; j++) {
            buf_append_byte(&data, (uint8_t)(j * j >> 7));
        }
        gzip_encode(buf_slice(&data), &packed);
        assert_int_equal(gzip_decode(buf_slice(&packed), lens[i], &out), ERR_OK);
        assert_true(slice_eq(buf_slice(&data), buf_slice(&out)));
        buf_fini(&data);
        buf_fini(&packed);
        buf_fini(&out);
    }
}

TEST(gzip, members_in_a_row_are_one_content)
{
    struct buf packed = {0};
    struct buf out = {0};
    gzip_encode(SLICE("ab"), &packed);
    gzip_encode(SLICE("cd"), &packed);
    assert_int_equal(gzip_decode(buf_slice(&packed), 4, &out), ERR_OK);
    assert_true(slice_eq_str(buf_slice(&out), "abcd"));
    buf_fini(&packed);
    buf_fini(&out);
}

TEST(gzip, a_bomb_stops_at_the_limit)
{
    struct buf zeros = {0};
    struct buf packed = {0};
    struct buf out = {0};
    memset(buf_extend(&zeros, 10000000), 0, 10000000);
    gzip_encode(buf_slice(&zeros), &packed);
    assert_true(packed.len < 20000);
    assert_int_equal(gzip_decode(buf_slice(&packed), 9999999, &out), ERR_TOO_LARGE);
    assert_int_equal(out.len, 9999999);
    buf_reset(&out);
    assert_int_equal(gzip_decode(buf_slice(&packed), 0, &out), ERR_TOO_LARGE);
    assert_int_equal(out.len, 0);
    buf_fini(&zeros);
    buf_fini(&packed);
    buf_fini(&out);
}

TEST(gzip, every_truncation_is_an_early_end)
{
    for (size_t len = 0; len < sizeof(hello); len++) {
        struct buf out = {0};
        assert_int_equal(gzip_decode(slice_of(hello, len), 100, &out), ERR_EOF);
        buf_fini(&out);
    }
}

TEST(gzip, a_flipped_bit_never_changes_the_content)
{
    size_t refused = 0;
    for (size_t bit = 0; bit < sizeof(hello) * 8; bit++) {
        uint8_t bad[sizeof(hello)];
        memcpy(bad, hello, sizeof(hello));
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        struct buf out = {0};
        if (gzip_decode(slice_of(bad, sizeof(bad)), 100, &out) != ERR_OK) {
            refused++;
        } else {
            /* Time, flags, system, and the padding behind the last block do not matter. */
            assert_true(slice_eq_str(buf_slice(&out), "hello\n"));
        }
        buf_fini(&out);
    }
    assert_true(refused > 150);
}

TEST(gzip, a_writer_makes_one_member_of_pieces)
{
    static const size_t lens[] = {0, 1, 2, 1000, 65535, 65536, 65537, 400000};
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        for (size_t step = 1; step < 1000000; step = step * 40 + 3) {
            struct gzip_writer *writer = gzip_writer_new();
            struct buf plain = {0};
            struct buf packed = {0};
            struct buf back = {0};
            for (size_t k = 0; k < lens[i]; k++) {
                buf_append_byte(&plain, (uint8_t)(k * k >> (k % 11)));
            }
            for (size_t at = 0; at < lens[i]; at += step) {
                size_t len = lens[i] - at < step ? lens[i] - at : step;
                gzip_writer_add(writer, slice_of(plain.data + at, len), &packed);
            }
            gzip_writer_finish(writer, &packed);
            gzip_writer_free(&writer);
            assert_null(writer);
            assert_int_equal(gzip_decode(buf_slice(&packed), lens[i], &back), ERR_OK);
            assert_true(slice_eq(buf_slice(&back), buf_slice(&plain)));
            buf_fini(&plain);
            buf_fini(&packed);
            buf_fini(&back);
        }
    }
}

TEST(gzip, a_writer_that_is_not_finished_can_be_freed)
{
    struct gzip_writer *writer = gzip_writer_new();
    struct buf packed = {0};
    gzip_writer_add(writer, SLICE("half"), &packed);
    gzip_writer_free(&writer);
    gzip_writer_free(&writer);
    buf_fini(&packed);
}
