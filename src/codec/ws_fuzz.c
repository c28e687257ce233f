/* Any bytes: read whole and read one at a time give the same messages and the same answers. */
#include "codec/ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void gather(void *ctx, struct slice message)
{
    struct buf *got = ctx;
    ASSERT(message.len <= 4096);
    buf_append_slice(got, message);
    buf_append_byte(got, '|');
}

static void run(struct slice in, size_t step, struct buf *out)
{
    struct ws *ws = ws_new(4096, gather, out);
    while (in.len > 0) {
        size_t len = in.len < step ? in.len : step;
        if (ws_recv(ws, slice_of(in.data, len)) != ERR_OK) {
            break;
        }
        in = slice_skip(in, len);
    }
    ws_output(ws, out);
    ws_free(&ws);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = {0};
    struct buf trickled = {0};
    run(slice_of(data, size), size, &whole);
    run(slice_of(data, size), 1, &trickled);
    ASSERT(slice_eq(buf_slice(&whole), buf_slice(&trickled)));
    buf_fini(&whole);
    buf_fini(&trickled);
    return 0;
}
