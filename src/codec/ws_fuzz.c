/* Any bytes: read whole and read one at a time give the same messages and, while the connection
 * stands, the same answers. (wslay looks at the reason in a close frame only where it comes in one
 * piece: whether one that is not UTF-8 ends the connection early depends on the cut.) */
#include "codec/ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct buf messages;
    struct buf out;
    bool is_over;
};

static void gather(void *ctx, struct slice message)
{
    struct buf *got = ctx;
    ASSERT(message.len <= 4096);
    buf_append_slice(got, message);
    buf_append_byte(got, '|');
}

static void run(struct run *run, struct slice in, size_t step)
{
    struct ws *ws = ws_new(4096, gather, &run->messages);
    while (in.len > 0 && !run->is_over) {
        size_t len = in.len < step ? in.len : step;
        run->is_over = ws_recv(ws, slice_of(in.data, len)) != ERR_OK;
        in = slice_skip(in, len);
    }
    ws_output(ws, &run->out);
    ws_free(&ws);
}

static void run_fini(struct run *run)
{
    buf_fini(&run->messages);
    buf_fini(&run->out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run whole = {0};
    struct run trickled = {0};
    run(&whole, slice_of(data, size), size);
    run(&trickled, slice_of(data, size), 1);
    ASSERT(slice_eq(buf_slice(&whole.messages), buf_slice(&trickled.messages)));
    if (!whole.is_over && !trickled.is_over) {
        ASSERT(slice_eq(buf_slice(&whole.out), buf_slice(&trickled.out)));
    }
    run_fini(&whole);
    run_fini(&trickled);
    return 0;
}
