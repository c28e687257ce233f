#include "codec/ws.h"

#include "unit.h"

/* A client's frame: masked, as RFC 6455 section 5.3 demands. */
static void frame(struct buf *out, uint8_t first, struct slice payload)
{
    static const uint8_t mask[4] = {1, 2, 3, 4};
    buf_append_byte(out, first);
    if (payload.len < 126) {
        buf_append_byte(out, (uint8_t)(0x80 | payload.len));
    } else {
        buf_append_byte(out, 0x80 | 126);
        buf_append_byte(out, (uint8_t)(payload.len >> 8));
        buf_append_byte(out, (uint8_t)payload.len);
    }
    buf_append(out, mask, 4);
    for (size_t i = 0; i < payload.len; i++) {
        buf_append_byte(out, payload.data[i] ^ mask[i % 4]);
    }
}

static void gather(void *ctx, struct slice message)
{
    buf_append_slice(ctx, message);
    buf_append_byte(ctx, '|');
}

TEST(ws, the_accept_key_is_that_of_the_rfc)
{
    struct buf out = {0};
    assert_int_equal(ws_accept(SLICE("dGhlIHNhbXBsZSBub25jZQ=="), &out), ERR_OK);
    assert_string_equal(buf_cstr(&out), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_int_equal(ws_accept(SLICE("c2hvcnQ="), &out), ERR_INVALID);
    assert_int_equal(ws_accept(SLICE("***"), &out), ERR_INVALID);
    buf_fini(&out);
}

TEST(ws, messages_come_whole_however_they_arrive)
{
    struct buf got = {0};
    struct buf in = {0};
    frame(&in, 0x81, SLICE("hello"));
    frame(&in, 0x01, SLICE("in "));
    frame(&in, 0x89, SLICE("ping"));
    frame(&in, 0x80, SLICE("two"));
    frame(&in, 0x82, SLICE("binary"));
    for (size_t step = 1; step <= in.len; step++) {
        struct ws *ws = ws_new(1000, gather, &got);
        struct buf out = {0};
        for (size_t at = 0; at < in.len; at += step) {
            size_t len = in.len - at < step ? in.len - at : step;
            assert_int_equal(ws_recv(ws, slice_of(in.data + at, len)), ERR_OK);
        }
        assert_string_equal(buf_cstr(&got), "hello|in two|binary|");
        ws_output(ws, &out);
        assert_true(slice_eq(buf_slice(&out), SLICE("\x8a\x04ping")));
        ws_free(&ws);
        buf_fini(&out);
        buf_reset(&got);
    }
    buf_fini(&got);
    buf_fini(&in);
}

TEST(ws, text_and_close_go_out)
{
    struct buf out = {0};
    struct ws *ws = ws_new(1000, gather, &out);
    ws_send_text(ws, SLICE("hi"));
    ws_send_close(ws, 1000);
    ws_send_text(ws, SLICE("never"));
    ws_output(ws, &out);
    assert_true(slice_eq(buf_slice(&out), SLICE("\x81\x02hi\x88\x02\x03\xe8")));
    ws_free(&ws);
    ws_free(&ws);
    buf_fini(&out);
}

TEST(ws, a_message_may_leave_in_parts_with_control_frames_between)
{
    static const uint8_t long_head[] = {0x00, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70};
    struct buf got = {0};
    struct buf in = {0};
    struct buf out = {0};
    struct buf text = {0};
    struct ws *ws = ws_new(1000, gather, &got);
    ws_send_part(ws, SLICE("one"), false);
    frame(&in, 0x89, SLICE("ping"));
    assert_int_equal(ws_recv(ws, buf_slice(&in)), ERR_OK);
    memset(buf_extend(&text, 126), 'x', 126);
    ws_send_part(ws, buf_slice(&text), false);
    ws_send_part(ws, SLICE_EMPTY, true);
    ws_send_text(ws, SLICE("next"));
    ws_output(ws, &out);
    struct slice rest = buf_slice(&out);
    assert_true(slice_starts(rest, SLICE("\x01\x03one\x8a\x04ping")));
    rest = slice_skip(rest, 11);
    assert_true(slice_starts(rest, SLICE("\x00\x7e\x00\x7e")));
    assert_true(slice_starts(slice_skip(rest, 4), buf_slice(&text)));
    assert_true(slice_eq(slice_skip(rest, 130), SLICE("\x80\x00\x81\x04next")));
    /* A part of more than 64 KiB; a message of a single part; and none behind a close. */
    memset(buf_extend(&text, 70000 - 126), 'x', 70000 - 126);
    buf_reset(&out);
    ws_send_part(ws, SLICE("a"), false);
    ws_send_part(ws, buf_slice(&text), false);
    ws_send_part(ws, SLICE("z"), true);
    ws_send_part(ws, SLICE("all"), true);
    ws_output(ws, &out);
    assert_int_equal(out.len, 3 + sizeof(long_head) + 70000 + 3 + 5);
    assert_memory_equal(out.data + 3, long_head, sizeof(long_head));
    assert_memory_equal(out.data + out.len - 8,
                        "\x80\x01z\x81\x03"
                        "all",
                        8);
    buf_reset(&out);
    ws_send_part(ws, SLICE("cut"), false);
    ws_send_close(ws, 1011);
    ws_send_part(ws, SLICE("never"), true);
    ws_output(ws, &out);
    assert_true(slice_eq(buf_slice(&out), SLICE("\x01\x03"
                                                "cut\x88\x02\x03\xf3")));
    ws_free(&ws);
    buf_fini(&text);
    buf_fini(&out);
    buf_fini(&in);
    buf_fini(&got);
}

TEST(ws, a_close_is_answered_and_ends_it)
{
    struct buf got = {0};
    struct buf in = {0};
    struct buf out = {0};
    struct ws *ws = ws_new(1000, gather, &got);
    frame(&in, 0x88, SLICE("\x03\xe8"));
    assert_int_equal(ws_recv(ws, buf_slice(&in)), ERR_CLOSED);
    ws_output(ws, &out);
    assert_true(slice_eq(buf_slice(&out), SLICE("\x88\x02\x03\xe8")));
    ws_free(&ws);
    buf_fini(&got);
    buf_fini(&in);
    buf_fini(&out);
}

/* Each breach ends the connection with the status that RFC 6455 section 7.4.1 has for it. */
TEST(ws, breaches_end_the_connection)
{
    static const struct {
        struct slice bytes;
        uint16_t status;
    } rows[] = {
        {{(const uint8_t *)"\x81\x02hi", 4}, 1002},               /* not masked */
        {{(const uint8_t *)"\xc1\x80\0\0\0\0", 6}, 1002},         /* a reserved bit */
        {{(const uint8_t *)"\x83\x80\0\0\0\0", 6}, 1002},         /* unknown opcode */
        {{(const uint8_t *)"\x80\x80\0\0\0\0", 6}, 1002},         /* nothing to go on */
        {{(const uint8_t *)"\x09\x80\0\0\0\0", 6}, 0},            /* a ping in parts: no status */
        {{(const uint8_t *)"\x81\x81\0\0\0\0\xff", 7}, 1007},     /* not UTF-8 */
        {{(const uint8_t *)"\x81\xfe\x03\xe9\0\0\0\0", 8}, 1009}, /* 1001 bytes */
        {{(const uint8_t *)"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff", 10}, 1009},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf got = {0};
        struct buf out = {0};
        uint8_t padded[64] = {0};
        struct ws *ws = ws_new(1000, gather, &got);
        memcpy(padded, rows[i].bytes.data, rows[i].bytes.len);
        assert_int_equal(ws_recv(ws, slice_of(padded, rows[i].bytes.len + 8)), ERR_CLOSED);
        ws_output(ws, &out);
        assert_true(out.len >= 2);
        assert_int_equal(out.data[0], 0x88);
        assert_int_equal(out.len, rows[i].status == 0 ? 2 : 4);
        assert_true(out.len == 2 || (out.data[2] << 8 | out.data[3]) == rows[i].status);
        assert_int_equal(got.len, 0);
        ws_free(&ws);
        buf_fini(&got);
        buf_fini(&out);
    }
}
