#include "client/client_rpc.h"

#include "base/mem.h"
#include "client/client_priv.h"
#include "rpc.pb-c.h"

struct client_rpc {
    struct client_call call;
    struct list link; /* client->rpcs */
    enum client_method method;
    struct buf request;
    client_rpc_fn *done; /* NULL: forgotten */
    void *ctx;
};

static const struct {
    const char *path;
    const ProtobufCMessageDescriptor *reply_type;
    bool is_repeatable;
} methods[CLIENT_METHOD_COUNT] = {
    [CLIENT_RANGE] = {"/etcdserverpb.KV/Range", &etcdserverpb__range_response__descriptor, true},
    [CLIENT_PUT] = {"/etcdserverpb.KV/Put", &etcdserverpb__put_response__descriptor, false},
    [CLIENT_DELETE] = {"/etcdserverpb.KV/DeleteRange",
                       &etcdserverpb__delete_range_response__descriptor, false},
    [CLIENT_TXN] = {"/etcdserverpb.KV/Txn", &etcdserverpb__txn_response__descriptor, false},
    [CLIENT_COMPACT] = {"/etcdserverpb.KV/Compact", &etcdserverpb__compaction_response__descriptor,
                        false},
    /* clientv3: a lease that was granted twice is only one that nobody keeps alive. */
    [CLIENT_LEASE_GRANT] = {"/etcdserverpb.Lease/LeaseGrant",
                            &etcdserverpb__lease_grant_response__descriptor, true},
    [CLIENT_LEASE_REVOKE] = {"/etcdserverpb.Lease/LeaseRevoke",
                             &etcdserverpb__lease_revoke_response__descriptor, true},
    [CLIENT_LEASE_TIME_TO_LIVE] = {"/etcdserverpb.Lease/LeaseTimeToLive",
                                   &etcdserverpb__lease_time_to_live_response__descriptor, true},
};

static void rpc_free(struct client_rpc *rpc)
{
    list_del(&rpc->link);
    buf_fini(&rpc->request);
    mem_free(rpc);
}

FALLIBLE client_rpc_decode(struct arena *arena, enum client_method method, struct slice bytes,
                           void **out, struct errbuf *why)
{
    return pb_decode_limits(arena, methods[method].reply_type, bytes, CLIENT_REPLY_LIMITS, out,
                            why);
}

static void tell(struct client_rpc *rpc, const struct client_result *result, struct slice bytes)
{
    struct arena arena;
    struct errbuf why = {{0}};
    void *reply = NULL;
    if (result->status != GRPC_OK) {
        rpc->done(rpc->ctx, result, NULL);
        return;
    }
    arena_init(&arena);
    if (client_rpc_decode(&arena, rpc->method, bytes, &reply, &why) == ERR_OK) {
        rpc->done(rpc->ctx, result, reply);
    } else {
        const char *error = arena_printf(&arena,
                                         "rpc error: code = Internal desc = grpc: failed to "
                                         "unmarshal the received message: %s",
                                         why.text);
        struct client_result bad = {.status = GRPC_INTERNAL, .message = why.text, .error = error};
        rpc->done(rpc->ctx, &bad, NULL);
    }
    arena_fini(&arena);
}

static void call_over(struct client_call *call, const struct client_result *result,
                      struct slice reply)
{
    struct client_rpc *rpc = CONTAINER_OF(call, struct client_rpc, call);
    if (rpc->done != NULL) {
        tell(rpc, result, reply);
    }
    rpc_free(rpc);
}

struct client_rpc *client_rpc_start(struct client *client, enum client_method method,
                                    const void *request, mono_ns deadline, client_rpc_fn *done,
                                    void *ctx)
{
    struct client_rpc *rpc = NEW(struct client_rpc);
    rpc->method = method;
    rpc->done = done;
    rpc->ctx = ctx;
    pb_encode(request, &rpc->request);
    rpc->call = (struct client_call){.path = methods[method].path,
                                     .request = buf_slice(&rpc->request),
                                     .deadline = deadline,
                                     .is_repeatable = methods[method].is_repeatable,
                                     .done = call_over};
    list_init(&rpc->link);
    list_add_tail(&client->rpcs, &rpc->link);
    client_call_start(client, &rpc->call);
    return rpc;
}

void client_rpc_forget(struct client_rpc **rpc)
{
    if (*rpc != NULL) {
        (*rpc)->done = NULL;
        *rpc = NULL;
    }
}

void client__rpcs_free(struct client *client)
{
    while (!list_empty(&client->rpcs)) {
        rpc_free(CONTAINER_OF(client->rpcs.next, struct client_rpc, link));
    }
}
