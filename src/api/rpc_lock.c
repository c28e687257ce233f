/* v3lockpb.Lock: Lock and Unlock (api/contend.h). */
#include "api/contend.h"

#include "lock.pb-c.h"

static void on_locked(struct contender *contender)
{
    struct grpc_call *call = contender->errand.call;
    V3lockpb__LockResponse reply = V3LOCKPB__LOCK_RESPONSE__INIT;
    reply.header = contender->header;
    reply.key = pb_binary(contender->key);
    rpc__reply(call, pb_encode_arena(&reply, grpc_call_arena(call)));
}

static void on_lock(struct grpc_call *call, struct slice bytes)
{
    V3lockpb__LockRequest *request = NULL;
    enum status status = rpc__start(call);
    if (!rpc__decode(call, grpc_call_arena(call), &v3lockpb__lock_request__descriptor, bytes,
                     &request)) {
        return;
    }
    if (status != STATUS_OK) {
        rpc__finish_status(call, status);
        return;
    }
    struct contender *contender = ARENA_NEW(grpc_call_arena(call), struct contender);
    contender->won = on_locked;
    contend(contender, call, pb_bytes(request->name), request->lease);
}

static void on_unlocked(struct errand *errand, enum status status)
{
    if (status != STATUS_OK) {
        errand_fail(errand->call, status);
        return;
    }
    const Etcdserverpb__DeleteRangeResponse *deleted =
        errand_reply(errand, &etcdserverpb__delete_range_response__descriptor);
    V3lockpb__UnlockResponse reply = V3LOCKPB__UNLOCK_RESPONSE__INIT;
    reply.header = deleted->header;
    rpc__reply(errand->call, pb_encode_arena(&reply, grpc_call_arena(errand->call)));
}

static void on_unlock(struct grpc_call *call, struct slice bytes)
{
    V3lockpb__UnlockRequest *request = NULL;
    enum status status = rpc__start(call);
    if (!rpc__decode(call, grpc_call_arena(call), &v3lockpb__unlock_request__descriptor, bytes,
                     &request)) {
        return;
    }
    if (status != STATUS_OK) {
        rpc__finish_status(call, status);
        return;
    }
    struct errand *errand = ARENA_NEW(grpc_call_arena(call), struct errand);
    errand_init(errand, call);
    grpc_call_set_data(call, errand);
    errand_delete(errand, pb_bytes(request->key), on_unlocked);
}

const struct grpc_handler rpc__lock_handler = {.message = on_lock, .cancel = contend_cancel};
const struct grpc_handler rpc__unlock_handler = {.message = on_unlock, .cancel = errand_cancel};
