/* Any bytes behind one that chooses the message: what reads as a message, written and read again,
 * is the same message, and as protobuf too. */
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
        buf_fini(&json);
        buf_fini(&second);
    }
    arena_fini(&arena);
    return 0;
}
