/* The text and framing decoders. Properties: framing does not depend on how bytes are cut; an
 * encoded message decodes to what it was; an accepted timeout formats to one that is not shorter.
 */
#include "codec/grpc.h"
#include "codec/gzip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIMIT 1000

static void deframe(struct slice in, size_t step, struct buf *log)
{
    struct grpc_deframer deframer;
    grpc_deframer_init(&deframer, LIMIT);
    while (in.len > 0) {
        size_t part = in.len < step ? in.len : step;
        struct slice piece = slice_of(in.data, part);
        struct grpc_frame frame;
        enum err err;
        in = slice_skip(in, part);
        while ((err = grpc_deframer_next(&deframer, &piece, &frame)) == ERR_OK) {
            ASSERT(frame.data.len <= LIMIT);
            buf_printf(log, "%zu %d:", frame.data.len, frame.compressed);
            buf_append_slice(log, frame.data);
        }
        if (err != ERR_AGAIN) {
            buf_printf(log, "%s %u", err_name(err), deframer.len);
            break;
        }
        ASSERT(piece.len == 0);
    }
    grpc_deframer_fini(&deframer);
}

static void texts(struct slice in)
{
    struct errbuf why;
    struct arena arena;
    struct slice bytes;
    uint64_t ns;
    arena_init(&arena);
    if (grpc_timeout_parse(in, &ns, &why) == ERR_OK) {
        char text[GRPC_TIMEOUT_TEXT];
        uint64_t again;
        grpc_timeout_format(ns, text);
        enum err err = grpc_timeout_parse(slice_str(text), &again, NULL);
        ASSERT(err == ERR_OK && again >= ns);
    }
    if (grpc_metadata_decode(in, &arena, &bytes) == ERR_OK) {
        struct buf text = {0};
        struct slice back;
        grpc_metadata_encode(bytes, &text);
        enum err err = grpc_metadata_decode(buf_slice(&text), &arena, &back);
        ASSERT(err == ERR_OK && slice_eq(back, bytes));
        buf_fini(&text);
    }
    if (grpc_content_type(in, &bytes)) {
        ASSERT(bytes.len < in.len);
    }
    arena_fini(&arena);
}

static void messages(struct slice in)
{
    struct buf once = {0};
    struct buf encoded = {0};
    struct buf twice = {0};
    /* What is not UTF-8 is replaced, once: after that nothing changes any more. */
    grpc_message_encode(in, &encoded);
    grpc_message_decode(buf_slice(&encoded), &once);
    buf_reset(&encoded);
    grpc_message_encode(buf_slice(&once), &encoded);
    for (size_t i = 0; i < encoded.len; i++) {
        ASSERT(encoded.data[i] >= 0x20 && encoded.data[i] < 0x7f);
    }
    grpc_message_decode(buf_slice(&encoded), &twice);
    ASSERT(slice_eq(buf_slice(&once), buf_slice(&twice)));
    buf_fini(&once);
    buf_fini(&encoded);
    buf_fini(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    struct buf whole = {0};
    struct buf bytes = {0};
    struct buf plain = {0};
    deframe(in, SIZE_MAX, &whole);
    deframe(in, 1, &bytes);
    ASSERT(slice_eq(buf_slice(&whole), buf_slice(&bytes)));
    texts(in);
    messages(in);
    enum err err = gzip_decode(in, LIMIT, &plain);
    ASSERT(plain.len <= LIMIT && (err != ERR_OK || size > 0));
    buf_fini(&whole);
    buf_fini(&bytes);
    buf_fini(&plain);
    return 0;
}
