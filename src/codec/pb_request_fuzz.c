/* Hostile requests of every RPC and of the raft log; the first byte picks the message. Properties:
 * a refusal has a sentence, memory stays in proportion, and what decodes encodes to something that
 * decodes and encodes to the same bytes. */
#include "codec/pb.h"

#include "codec/pbwire.h"

#include "election.pb-c.h"
#include "etcdserver.pb-c.h"
#include "health.pb-c.h"
#include "lease.pb-c.h"
#include "lock.pb-c.h"
#include "raft_internal.pb-c.h"
#include "rpc.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const types[] = {
    &etcdserverpb__txn_request__descriptor,
    &etcdserverpb__range_request__descriptor,
    &etcdserverpb__put_request__descriptor,
    &etcdserverpb__delete_range_request__descriptor,
    &etcdserverpb__compaction_request__descriptor,
    &etcdserverpb__watch_request__descriptor,
    &etcdserverpb__lease_grant_request__descriptor,
    &etcdserverpb__lease_checkpoint_request__descriptor,
    &etcdserverpb__member_add_request__descriptor,
    &etcdserverpb__member_update_request__descriptor,
    &etcdserverpb__alarm_request__descriptor,
    &etcdserverpb__status_response__descriptor,
    &etcdserverpb__watch_response__descriptor,
    &etcdserverpb__txn_response__descriptor,
    &etcdserverpb__auth_user_add_request__descriptor,
    &etcdserverpb__auth_role_grant_permission_request__descriptor,
    &etcdserverpb__internal_raft_request__descriptor,
    &etcdserverpb__request__descriptor,
    &etcdserverpb__metadata__descriptor,
    &v3electionpb__proclaim_request__descriptor,
    &v3lockpb__lock_request__descriptor,
    &leasepb__lease_internal_request__descriptor,
    &grpc__health__v1__health_list_response__descriptor,
    &mvccpb__key_value__descriptor,
};

/* A row read by hand is the row read through the descriptor. */
static void check_row(struct slice in, const Mvccpb__KeyValue *kv)
{
    struct kv_row row;
    ASSERT(kv_row_decode(in, &row) == ERR_OK);
    ASSERT(slice_eq(row.key, pb_bytes(kv->key)));
    ASSERT(slice_eq(row.value, pb_bytes(kv->value)));
    ASSERT(row.create_revision == kv->create_revision);
    ASSERT(row.mod_revision == kv->mod_revision);
    ASSERT(row.version == kv->version);
    ASSERT(row.lease == kv->lease);
    struct buf by_hand = {0};
    struct buf generic = {0};
    kv_row_encode(&row, &by_hand);
    pb_encode(kv, &generic);
    ASSERT(slice_eq(buf_slice(&by_hand), buf_slice(&generic)));
    buf_fini(&by_hand);
    buf_fini(&generic);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const ProtobufCMessageDescriptor *type = types[data[0] % ARRAY_LEN(types)];
    struct slice in = slice_of(data + 1, size - 1);
    struct arena arena;
    struct errbuf why = {.text = ""};
    void *message;
    arena_init(&arena);
    if (pb_decode(&arena, type, in, &message, &why) != ERR_OK) {
        ASSERT(why.text[0] != '\0');
    } else {
        void *again;
        ASSERT(arena.used <= 4096 + 512 * size);
        struct slice first = pb_encode_arena(message, &arena);
        ASSERT(pb_decode(&arena, type, first, &again, NULL) == ERR_OK);
        ASSERT(slice_eq(pb_encode_arena(again, &arena), first));
        if (type == &mvccpb__key_value__descriptor) {
            check_row(in, message);
        }
    }
    arena_fini(&arena);
    return 0;
}
