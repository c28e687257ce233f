/* What decoding and encoding a request costs, beside protobuf-c's own unpacker. */
#include "codec/pb.h"

#include "raft_internal.pb-c.h"
#include "rpc.pb-c.h"

#include <stdio.h>
#include <time.h>

#define ROUNDS 1000000

static double now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

static void must(enum err err)
{
    if (err != ERR_OK) {
        fatal("cannot decode the bench's own message");
    }
}

static void report(const char *name, double begun, size_t rounds)
{
    printf("%-28s %7.1f ns\n", name, (now_ns() - begun) / (double)rounds);
}

static void measure(const char *name, const ProtobufCMessageDescriptor *type, const void *message)
{
    struct arena arena;
    struct buf bytes = {0};
    void *decoded;
    arena_init(&arena);
    pb_encode(message, &bytes);
    printf("%s, %zu bytes\n", name, bytes.len);
    double begun = now_ns();
    for (size_t i = 0; i < ROUNDS; i++) {
        must(pb_decode(&arena, type, buf_slice(&bytes), &decoded, NULL));
        arena_reset(&arena);
    }
    report("  decode", begun, ROUNDS);
    begun = now_ns();
    for (size_t i = 0; i < ROUNDS; i++) {
        buf_reset(&bytes);
        pb_encode(message, &bytes);
    }
    report("  encode", begun, ROUNDS);
    begun = now_ns();
    for (size_t i = 0; i < ROUNDS; i++) {
        protobuf_c_message_free_unpacked(
            protobuf_c_message_unpack(type, NULL, bytes.len, bytes.data), NULL);
    }
    report("  protobuf-c's unpacker", begun, ROUNDS);
    buf_fini(&bytes);
    arena_fini(&arena);
}

int main(void)
{
    static uint8_t value[256];
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = pb_binary(SLICE("key12345"));
    put.value = pb_binary(slice_of(value, sizeof(value)));
    measure("put", &etcdserverpb__put_request__descriptor, &put);

    Etcdserverpb__RequestHeader header;
    etcdserverpb__request_header__init(&header); /* the macro casts const away */
    header.id = UINT64_C(0x8e9e05c521646940);
    Etcdserverpb__InternalRaftRequest raft = ETCDSERVERPB__INTERNAL_RAFT_REQUEST__INIT;
    raft.header = &header;
    raft.put = &put;
    measure("put in its envelope", &etcdserverpb__internal_raft_request__descriptor, &raft);

    Etcdserverpb__Compare compare = ETCDSERVERPB__COMPARE__INIT;
    Etcdserverpb__Compare *compares[] = {&compare};
    compare.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD;
    compare.key = put.key;
    compare.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
    compare.mod_revision = 12345;
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT;
    Etcdserverpb__RequestOp *ops[] = {&op};
    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op.request_put = &put;
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    txn.n_compare = 1;
    txn.compare = compares;
    txn.n_success = 1;
    txn.success = ops;
    measure("guarded update", &etcdserverpb__txn_request__descriptor, &txn);
    return 0;
}
