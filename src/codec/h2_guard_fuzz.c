/* Heads of any bytes, behind the preface. Property: neither what passes nor the verdict depends on
 * how the bytes are cut, and a plain walk over whole frames agrees on where it stopped. */
#include "codec/h2_guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct walk {
    struct h2_guard guard;
    struct h2_verdict verdict;
    size_t passed;
    bool is_refused;
};

static void walk(struct walk *walk, bool is_server, struct slice in, size_t step)
{
    *walk = (struct walk){0};
    h2_guard_init(&walk->guard, is_server);
    while (in.len > 0 && !walk->is_refused) {
        struct slice piece = slice_of(in.data, in.len < step ? in.len : step);
        size_t passed = h2_guard_pass(&walk->guard, piece, 1, &walk->verdict);
        ASSERT(passed <= piece.len);
        walk->is_refused = passed < piece.len;
        walk->passed += passed;
        in = slice_skip(in, piece.len);
    }
}

/* Where the frame begins in which byte number `at` lies. */
static size_t frame_at(struct slice in, size_t first, size_t at)
{
    while (first + 9 <= at) {
        const uint8_t *head = in.data + first;
        size_t next = first + 9 + ((size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2]);
        if (next > at) {
            break;
        }
        first = next;
    }
    return first;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct walk whole;
    static struct walk bytes;
    for (unsigned role = 0; role < 2; role++) {
        bool is_server = role == 0;
        struct buf in = {0};
        if (is_server) {
            buf_append_str(&in, H2_PREFACE);
        }
        size_t first = in.len;
        buf_append(&in, data, size);
        walk(&whole, is_server, buf_slice(&in), SIZE_MAX);
        walk(&bytes, is_server, buf_slice(&in), 1);
        ASSERT(whole.is_refused == bytes.is_refused);
        if (whole.is_refused) {
            ASSERT(whole.verdict.code == bytes.verdict.code);
            ASSERT(whole.verdict.why == bytes.verdict.why);
            ASSERT(frame_at(buf_slice(&in), first, whole.passed) == whole.passed);
            ASSERT(frame_at(buf_slice(&in), first, bytes.passed) == whole.passed);
        } else {
            ASSERT(whole.passed == in.len && bytes.passed == in.len);
            ASSERT(h2_guard_is_owed(&whole.guard) == h2_guard_is_owed(&bytes.guard));
        }
        buf_fini(&in);
    }
    return 0;
}
