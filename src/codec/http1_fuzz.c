/* Requests in arbitrary bytes. Property: the result does not depend on how the bytes are cut: fed
 * whole and fed one by one, the same requests come out, and the same refusal. */
#include "codec/http1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http1_limits limits = {.head_max = 2000, .field_max = 20, .body_max = 500};

static void note(struct buf *log, struct slice text)
{
    buf_printf(log, "%zu:", text.len);
    buf_append_slice(log, text);
}

static void note_request(struct buf *log, const struct http1_request *request)
{
    note(log, request->method);
    note(log, request->target);
    note(log, request->host);
    note(log, request->body);
    for (size_t i = 0; i < request->field_count; i++) {
        note(log, request->fields[i].name);
        note(log, request->fields[i].value);
    }
    buf_printf(log, "%d%d%d\n", request->minor, request->keep_alive, request->is_head);
    ASSERT(request->body.len <= limits.body_max);
    ASSERT(request->field_count <= limits.field_max);
}

static void parse(struct slice in, size_t step, struct buf *log)
{
    struct http1 *parser = http1_new(&limits);
    while (in.len > 0) {
        struct slice piece = slice_of(in.data, in.len < step ? in.len : step);
        size_t before = piece.len;
        enum err err = http1_feed(parser, &piece);
        ASSERT(err == ERR_OK || err == ERR_AGAIN || err == ERR_INVALID);
        in = slice_skip(in, before - piece.len);
        if (err == ERR_OK) {
            note_request(log, http1_request(parser));
            http1_next(parser);
        } else if (err == ERR_INVALID) {
            note(log, http1_refusal(parser));
            break;
        }
    }
    http1_free(&parser);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = {0};
    struct buf bytes = {0};
    /* Limits on the head are met at the end of a piece: stay below them. */
    if (size > 1500) {
        return 0;
    }
    parse(slice_of(data, size), SIZE_MAX, &whole);
    parse(slice_of(data, size), 1, &bytes);
    ASSERT(slice_eq(buf_slice(&whole), buf_slice(&bytes)));
    buf_fini(&whole);
    buf_fini(&bytes);
    return 0;
}
