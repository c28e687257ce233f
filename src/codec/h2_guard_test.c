/* Heads by hand; what nghttp2 makes of what passes is h2_test.c's. */
#include "codec/h2_guard.h"

#include "base/mem.h"

#include "unit.h"

enum {
    DATA = 0,
    HEADERS = 1,
    PRIORITY = 2,
    RST_STREAM = 3,
    WINDOW_UPDATE = 8,
    CONTINUATION = 9,
    END_STREAM = 1,
    END_HEADERS = 4,
};

struct fixture {
    struct h2_guard guard;
    struct h2_verdict verdict;
    uint64_t now;
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){.now = 1000000000};
    h2_guard_init(&f->guard, true);
    struct slice start = SLICE(H2_PREFACE "\0\0\0\4\0\0\0\0\0");
    assert_int_equal(h2_guard_pass(&f->guard, start, f->now, &f->verdict), start.len);
}

static size_t put(uint8_t *out, unsigned type, unsigned flags, uint32_t id, size_t len)
{
    memset(out, 0, GUARD_HEAD_LEN + len);
    out[0] = (uint8_t)(len >> 16);
    out[1] = (uint8_t)(len >> 8);
    out[2] = (uint8_t)len;
    out[3] = (uint8_t)type;
    out[4] = (uint8_t)flags;
    put_be32(out + 5, id);
    return GUARD_HEAD_LEN + len;
}

/* One frame with a payload of zeros; the code of the verdict, H2_NO_ERROR when it passes. */
static enum h2_code say(struct fixture *f, unsigned type, unsigned flags, uint32_t id, size_t len)
{
    uint8_t bytes[128];
    assert_in_range(len, 0, sizeof(bytes) - GUARD_HEAD_LEN);
    size_t size = put(bytes, type, flags, id, len);
    f->verdict = (struct h2_verdict){0};
    size_t passed = h2_guard_pass(&f->guard, slice_of(bytes, size), f->now, &f->verdict);
    assert_true((passed == size) == (f->verdict.code == H2_NO_ERROR));
    assert_true(passed == size || passed == 0);
    return f->verdict.code;
}

TEST(h2_guard, nothing_follows_the_end_of_a_stream)
{
    for (unsigned type = DATA; type <= HEADERS; type++) {
        struct fixture f;
        begin(&f);
        assert_int_equal(say(&f, HEADERS, END_HEADERS, 1, 3), H2_NO_ERROR);
        assert_int_equal(say(&f, DATA, 0, 1, 3), H2_NO_ERROR);
        assert_int_equal(say(&f, HEADERS, END_HEADERS, 3, 3), H2_NO_ERROR);
        assert_int_equal(say(&f, DATA, END_STREAM, 1, 3), H2_NO_ERROR);
        assert_int_equal(say(&f, WINDOW_UPDATE, 0, 1, 4), H2_NO_ERROR);
        assert_int_equal(say(&f, PRIORITY, 0, 1, 5), H2_NO_ERROR);
        assert_int_equal(say(&f, RST_STREAM, 0, 1, 4), H2_NO_ERROR);
        assert_int_equal(say(&f, DATA, 0, 3, 3), H2_NO_ERROR);
        assert_int_equal(say(&f, type, END_HEADERS, 1, 3), H2_STREAM_CLOSED);
    }
}

TEST(h2_guard, nothing_follows_a_reset)
{
    struct fixture f;
    begin(&f);
    assert_int_equal(say(&f, HEADERS, END_HEADERS, 1, 3), H2_NO_ERROR);
    assert_int_equal(say(&f, RST_STREAM, 0, 1, 4), H2_NO_ERROR);
    assert_int_equal(say(&f, RST_STREAM, 0, 1, 4), H2_NO_ERROR);
    assert_int_equal(say(&f, DATA, 0, 1, 3), H2_STREAM_CLOSED);
}

TEST(h2_guard, a_stream_that_was_passed_over_never_opens)
{
    struct fixture f;
    begin(&f);
    assert_int_equal(say(&f, HEADERS, END_HEADERS, 7, 3), H2_NO_ERROR);
    assert_int_equal(say(&f, HEADERS, END_HEADERS, 5, 3), H2_PROTOCOL_ERROR);
    begin(&f);
    assert_int_equal(say(&f, HEADERS, END_HEADERS, 7, 3), H2_NO_ERROR);
    assert_int_equal(say(&f, DATA, 0, 1, 3), H2_PROTOCOL_ERROR);
}

/* Each stream of a long run is known as long as the ring reaches, however far the next one is. */
TEST(h2_guard, the_ring_forgets_in_order)
{
    static const uint32_t steps[] = {2, 4, 2 * (GUARD_STREAMS - 1), 2 * GUARD_STREAMS, 100000};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        for (uint32_t back = 2; back <= 2 * GUARD_STREAMS + 2; back += 2) {
            struct fixture f;
            uint32_t last = 0x10001;
            begin(&f);
            for (uint32_t id = 1; id < 1000; id += 2) {
                assert_int_equal(say(&f, HEADERS, END_HEADERS | END_STREAM, id, 3), H2_NO_ERROR);
            }
            assert_int_equal(say(&f, HEADERS, END_HEADERS | END_STREAM, last, 3), H2_NO_ERROR);
            assert_int_equal(say(&f, HEADERS, END_HEADERS, last + steps[i], 3), H2_NO_ERROR);
            enum h2_code want = back >= 2 * GUARD_STREAMS ? H2_NO_ERROR
                                : back == steps[i]        ? H2_STREAM_CLOSED
                                                          : H2_PROTOCOL_ERROR;
            assert_int_equal(say(&f, DATA, 0, last + steps[i] - back, 3), want);
        }
    }
}

TEST(h2_guard, the_last_stream_there_can_be)
{
    struct fixture f;
    begin(&f);
    assert_int_equal(say(&f, HEADERS, END_HEADERS | END_STREAM, 0x7fffffff, 3), H2_NO_ERROR);
    assert_int_equal(say(&f, DATA, 0, 0x7ffffffd, 3), H2_PROTOCOL_ERROR);
    begin(&f);
    assert_int_equal(say(&f, HEADERS, END_HEADERS | END_STREAM, 0xffffffff, 3), H2_NO_ERROR);
    assert_int_equal(say(&f, DATA, 0, 0x7fffffff, 3), H2_STREAM_CLOSED);
}

TEST(h2_guard, a_block_inside_of_which_others_speak_is_not_ours_to_judge)
{
    struct fixture f;
    begin(&f);
    assert_int_equal(say(&f, HEADERS, END_STREAM, 1, 3), H2_NO_ERROR);
    assert_int_equal(say(&f, DATA, 0, 1, 3), H2_NO_ERROR);
    assert_true(h2_guard_is_owed(&f.guard));
    assert_int_equal(say(&f, CONTINUATION, END_HEADERS, 1, 3), H2_NO_ERROR);
    assert_false(h2_guard_is_owed(&f.guard));
}

TEST(h2_guard, what_is_owed_is_known_at_every_byte)
{
    struct fixture f = {0};
    uint8_t bytes[64];
    size_t len = put(bytes, HEADERS, END_HEADERS, 1, 5);
    h2_guard_init(&f.guard, true);
    struct slice start = SLICE(H2_PREFACE "\0\0\0\4\0\0\0\0\0");
    for (size_t i = 0; i < start.len; i++) {
        assert_true(h2_guard_is_owed(&f.guard));
        h2_guard_pass(&f.guard, slice_of(start.data + i, 1), 1, &f.verdict);
    }
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(h2_guard_is_owed(&f.guard), i >= GUARD_HEAD_LEN);
        h2_guard_pass(&f.guard, slice_of(bytes + i, 1), 1, &f.verdict);
    }
    assert_false(h2_guard_is_owed(&f.guard));
}

TEST(h2_guard, priorities_that_are_left)
{
    static const uint8_t self[] = {0, 0, 5, 2, 0, 0, 0, 0, 3, 0x80, 0, 0, 3, 16};
    static const uint8_t other[] = {0, 0, 5, 2, 0, 0, 0, 0, 3, 0, 0, 0, 1, 16};
    struct fixture f;
    begin(&f);
    assert_int_equal(say(&f, PRIORITY, 0, 0, 5), H2_PROTOCOL_ERROR);
    for (size_t cut = 0; cut < sizeof(self); cut++) {
        begin(&f);
        size_t first = h2_guard_pass(&f.guard, slice_of(other, sizeof(other)), f.now, &f.verdict);
        assert_int_equal(first, sizeof(other));
        size_t before = h2_guard_pass(&f.guard, slice_of(self, cut), f.now, &f.verdict);
        size_t left = sizeof(self) - cut;
        if (before == cut) {
            assert_int_equal(h2_guard_pass(&f.guard, slice_of(self + cut, left), f.now, &f.verdict),
                             0);
        }
        assert_int_equal(f.verdict.code, H2_PROTOCOL_ERROR);
    }
}

TEST(h2_guard, a_long_frame_is_refused_by_its_head)
{
    static const unsigned types[] = {DATA, HEADERS, CONTINUATION, 4, 0xee};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct fixture f;
        uint8_t head[GUARD_HEAD_LEN];
        begin(&f);
        put(head, types[i], END_HEADERS, 1, 0);
        head[1] = 0x40;
        assert_int_equal(h2_guard_pass(&f.guard, slice_of(head, sizeof(head)), f.now, &f.verdict),
                         sizeof(head));
        begin(&f);
        head[2] = 1;
        assert_int_equal(h2_guard_pass(&f.guard, slice_of(head, sizeof(head)), f.now, &f.verdict),
                         0);
        assert_int_equal(f.verdict.code, H2_FRAME_SIZE_ERROR);
    }
}

static unsigned updates_taken(struct fixture *f)
{
    unsigned count = 0;
    while (count < 1000000 && say(f, WINDOW_UPDATE, 0, 0, 4) == H2_NO_ERROR) {
        count++;
    }
    return count;
}

TEST(h2_guard, updates_for_what_was_sent_cost_nothing)
{
    struct fixture f;
    begin(&f);
    unsigned plain = updates_taken(&f);
    assert_in_range(plain, 2 * H2_CONTROL_BURST - 10, 2 * H2_CONTROL_BURST);
    assert_string_equal(f.verdict.why, "too_many_window_updates");
    begin(&f);
    for (unsigned i = 0; i < 1000; i++) {
        h2_guard_data_sent(&f.guard);
    }
    assert_in_range(updates_taken(&f), plain + 2000, plain + 10000);
}

/* A client has no streams of its peer's, and its server no preface. */
TEST(h2_guard, a_client_counts_and_no_more)
{
    struct fixture f = {.now = 1};
    h2_guard_init(&f.guard, false);
    assert_false(h2_guard_is_owed(&f.guard));
    assert_int_equal(say(&f, 4, 0, 0, 0), H2_NO_ERROR);
    assert_int_equal(say(&f, HEADERS, END_HEADERS | END_STREAM, 1, 3), H2_NO_ERROR);
    assert_int_equal(say(&f, DATA, 0, 1, 3), H2_NO_ERROR);
    assert_int_equal(say(&f, CONTINUATION, 0, 1, 3), H2_NO_ERROR);
    unsigned count = 0;
    while (say(&f, 6, 0, 0, 8) == H2_NO_ERROR) {
        count++;
    }
    assert_in_range(count, H2_CONTROL_BURST - 10, H2_CONTROL_BURST);
    assert_int_equal(f.verdict.code, H2_ENHANCE_YOUR_CALM);
}
