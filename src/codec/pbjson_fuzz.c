/* Any bytes behind one that chooses the message: what reads as a message, written and read again,
 * is the same message, and as protobuf too; and written in pieces it is the same text. A scan that
 * is shown the text byte by byte finds the same values. */
#include "codec/gojson.h"
#include "codec/pbjson.h"

#include "rpc.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const types[] = {
    &etcdserverpb__txn_request__descriptor,     &etcdserverpb__range_request__descriptor,
    &etcdserverpb__watch_request__descriptor,   &etcdserverpb__member_add_request__descriptor,
    &etcdserverpb__range_response__descriptor,  &etcdserverpb__txn_response__descriptor,
    &etcdserverpb__hash_kvresponse__descriptor,
};

static void check_scan(struct slice text)
{
    struct gojson scan;
    struct slice rest = text;
    size_t used = 0;
    enum err err = ERR_OK;
    gojson_init(&scan);
    while (err == ERR_OK) {
        struct slice value = SLICE_EMPTY;
        struct slice again = SLICE_EMPTY;
        struct slice shown;
        enum err expected = gojson_next(&rest, &value, NULL);
        size_t seen = used;
        do {
            seen += seen < text.len;
            shown = slice_of(text.data + used, seen - used);
            err = gojson_continue(&scan, &shown, seen == text.len, &again, NULL);
        } while ((err == ERR_AGAIN || err == ERR_EOF) && seen < text.len);
        ASSERT(err == expected);
        ASSERT(slice_eq(value, again));
        used = seen - shown.len;
    }
}

static void check_pieces(const ProtobufCMessageDescriptor *type, struct slice message,
                         struct slice expected)
{
    struct pbjson_pieces pieces;
    struct buf out = {0};
    pbjson_pieces_init(&pieces, type);
    for (size_t len = message.len % 7 + 1; message.len > len; len = len % 61 + 1) {
        pbjson_pieces_add(&pieces, slice_of(message.data, len), false, &out);
        message = slice_skip(message, len);
    }
    pbjson_pieces_add(&pieces, message, true, &out);
    ASSERT(slice_eq(buf_slice(&out), expected));
    pbjson_pieces_fini(&pieces);
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const ProtobufCMessageDescriptor *type = types[data[0] % ARRAY_LEN(types)];
    struct slice text = slice_of(data + 1, size - 1);
    struct slice value;
    struct arena arena;
    arena_init(&arena);
    check_scan(text);
    while (gojson_next(&text, &value, NULL) == ERR_OK) {
        void *message = NULL;
        void *again = NULL;
        if (pbjson_decode(&arena, type, value, &message, NULL) != ERR_OK) {
            continue;
        }
        struct buf json = {0};
        struct buf second = {0};
        pbjson_encode(message, PBJSON_PROTO, &json);
        struct slice rest = buf_slice(&json);
        struct slice whole;
        ASSERT(gojson_next(&rest, &whole, NULL) == ERR_OK);
        ASSERT(whole.len == json.len);
        ASSERT(pbjson_decode(&arena, type, whole, &again, NULL) == ERR_OK);
        pbjson_encode(again, PBJSON_PROTO, &second);
        ASSERT(slice_eq(buf_slice(&json), buf_slice(&second)));
        ASSERT(slice_eq(pb_encode_arena(message, &arena), pb_encode_arena(again, &arena)));
        check_pieces(type, pb_encode_arena(message, &arena), buf_slice(&json));
        buf_fini(&json);
        buf_fini(&second);
    }
    arena_fini(&arena);
    return 0;
}
