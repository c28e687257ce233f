/* For tests: a whole server on a simulated disk and clock, without sockets. */
#ifndef SERVER_SERVER_RUN_H
#define SERVER_SERVER_RUN_H

#include "server/server_priv.h"

#include "codec/pb.h"
#include "env/sim.h"
#include "unit.h"

#include "rpc.pb-c.h"

#include <stdio.h>

struct world {
    struct disk *disk;
    struct env *env;
    struct loop *loop;
    const struct config *config;
    struct metrics *metrics;
    struct server *server;
    uint64_t segment_bytes; /* of the log; 0: etcd's */
    bool is_ready;
    bool is_stopped;
};

/* A request and what came of it. */
struct call {
    struct server_request request;
    struct arena arena;
    struct buf encoded;
    unsigned done; /* times done() was called */
};

static inline int64_t world_clock(void *ctx)
{
    UNUSED(ctx);
    return 0;
}

static inline void world_log(void *ctx, enum log_level level, struct slice text)
{
    UNUSED(ctx);
    UNUSED(level);
    UNUSED(text);
}

/* A member of its own with data in /data; `snapshot_count` in decimal. */
static inline struct config *world_config(const char *snapshot_count)
{
    const char *argv[] = {
        "etcd",
        "--name=m1",
        "--data-dir=/data",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=m1=http://127.0.0.1:2380",
        "--experimental-snapshot-catchup-entries=5",
        "--snapshot-count",
        snapshot_count,
    };
    static const char *const environ_none[] = {NULL};
    struct disk *disk = sim_disk_new();
    struct config *config = NULL;
    int status = 0;
    struct config_input in = {
        .argc = (int)ARRAY_LEN(argv),
        .argv = argv,
        .environ = environ_none,
        .disk = disk,
        .clock = world_clock,
        .standard_out = {world_log, NULL},
        .standard_error = {world_log, NULL},
    };
    assert_int_equal(config_load(&in, &config, &status), CONFIG_RUN);
    sim_disk_free(&disk);
    return config;
}

static inline void world_on_ready(void *ctx)
{
    struct world *w = ctx;
    assert_false(w->is_ready);
    w->is_ready = true;
}

static inline void world_on_stopped(void *ctx)
{
    struct world *w = ctx;
    assert_false(w->is_stopped);
    w->is_stopped = true;
}

/* Opens and starts, and does not wait. False with a sentence when it is refused: then there is
 * nothing to close. */
static inline bool world_try(struct world *w, const struct config *config, struct disk *disk,
                             uint64_t segment_bytes, struct errbuf *why)
{
    *w = (struct world){.disk = disk, .config = config, .segment_bytes = segment_bytes};
    w->env = sim_env_new(3, disk);
    w->loop = loop_new(w->env);
    w->metrics = metrics_new();
    struct server_options options = {
        .env = w->env,
        .loop = w->loop,
        .config = config,
        .log = config_log(config),
        .metrics = w->metrics,
        .wal_segment_bytes = segment_bytes,
        .on_ready = world_on_ready,
        .ctx = w,
    };
    if (server_open(&options, &w->server, why) != ERR_OK) {
        metrics_free(&w->metrics);
        loop_free(&w->loop);
        sim_env_free(&w->env);
        return false;
    }
    server_start(w->server);
    return true;
}

static inline void world_start(struct world *w, const struct config *config, struct disk *disk)
{
    struct errbuf why = {""};
    if (!world_try(w, config, disk, 0, &why)) {
        fail_msg("%s", why.text);
    }
}

static inline void world_wait_ready(struct world *w)
{
    for (unsigned i = 0; i < 1000 && !w->is_ready; i++) {
        loop_turn(w->loop, true);
    }
    assert_true(w->is_ready);
}

static inline void world_open_small(struct world *w, const struct config *config, struct disk *disk,
                                    uint64_t segment_bytes)
{
    struct errbuf why = {""};
    if (!world_try(w, config, disk, segment_bytes, &why)) {
        fail_msg("%s", why.text);
    }
    world_wait_ready(w);
}

static inline void world_open(struct world *w, const struct config *config, struct disk *disk)
{
    world_open_small(w, config, disk, 0);
}

static inline void world_stop(struct world *w)
{
    server_stop(w->server, world_on_stopped, w);
    for (unsigned i = 0; i < 10000 && !w->is_stopped; i++) {
        loop_turn(w->loop, true);
    }
    assert_true(w->is_stopped);
}

/* Frees all but the disk. */
static inline void world_free(struct world *w)
{
    server_free(&w->server);
    metrics_free(&w->metrics);
    loop_free(&w->loop);
    sim_env_free(&w->env);
}

static inline void world_close(struct world *w)
{
    world_stop(w);
    world_free(w);
}

static inline void world_restart(struct world *w)
{
    const struct config *config = w->config;
    struct disk *disk = w->disk;
    uint64_t segment_bytes = w->segment_bytes;
    world_close(w);
    world_open_small(w, config, disk, segment_bytes);
}

/* The invariants of everything below. */
static inline void world_check(struct world *w)
{
    mvcc_check(w->server->mvcc);
    lessor_check(w->server->lessor);
    backend_check(w->server->backend);
    raft_check(node_raft(w->server->node));
    wal_check(node_wal(w->server->node));
    assert_int_equal(backend_consistent_index(w->server->backend), w->server->applied);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static inline void call_done(struct server_request *request)
{
    CONTAINER_OF(request, struct call, request)->done++;
}

static inline struct call *call_new(enum request_kind kind, const ProtobufCMessage *message)
{
    struct call *call = NEW(struct call);
    void *copy = NULL;
    arena_init(&call->arena);
    pb_encode(message, &call->encoded);
    assert_int_equal(
        pb_decode(&call->arena, message->descriptor, buf_slice(&call->encoded), &copy, NULL),
        ERR_OK);
    call->request.kind = kind;
    call->request.message = copy;
    call->request.encoded = buf_slice(&call->encoded);
    call->request.arena = &call->arena;
    call->request.done = call_done;
    return call;
}

static inline void call_free(struct call *call)
{
    assert_int_equal(call->done, 1);
    arena_fini(&call->arena);
    buf_fini(&call->encoded);
    mem_free(call);
}

static inline struct call *call_submit(struct world *w, struct call *call)
{
    call->request.started = loop_now(w->loop);
    server_submit(w->server, &call->request);
    assert_int_equal(call->done, 0); /* never from inside */
    return call;
}

static inline enum status call_wait(struct world *w, struct call *call)
{
    for (unsigned i = 0; i < 10000 && call->done == 0; i++) {
        loop_turn(w->loop, true);
    }
    assert_int_equal(call->done, 1);
    return call->request.status;
}

/* Waits, expects `status` and frees. */
static inline void call_end(struct world *w, struct call *call, enum status status)
{
    assert_int_equal(call_wait(w, call), status);
    call_free(call);
}

static inline void *call_reply(struct call *call, const ProtobufCMessageDescriptor *type)
{
    void *reply = NULL;
    assert_int_equal(call->request.status, STATUS_OK);
    assert_int_equal(pb_decode(&call->arena, type, call->request.reply, &reply, NULL), ERR_OK);
    return reply;
}

static inline struct call *call_put(const char *key, const char *value)
{
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = pb_binary(slice_str(key));
    put.value = pb_binary(slice_str(value));
    return call_new(REQUEST_PUT, &put.base);
}

static inline struct call *call_delete(const char *key)
{
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    request.key = pb_binary(slice_str(key));
    return call_new(REQUEST_DELETE_RANGE, &request.base);
}

/* Every key of [from, end). */
static inline struct call *call_delete_range(const char *from, const char *end, bool prev_kv)
{
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    request.key = pb_binary(slice_str(from));
    request.range_end = pb_binary(slice_str(end));
    request.prev_kv = prev_kv;
    return call_new(REQUEST_DELETE_RANGE, &request.base);
}

static inline struct call *call_get(const char *key)
{
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    range.key = pb_binary(slice_str(key));
    return call_new(REQUEST_RANGE, &range.base);
}

static inline struct call *call_compact(int64_t revision, bool physical)
{
    Etcdserverpb__CompactionRequest request = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    request.revision = revision;
    request.physical = physical;
    return call_new(REQUEST_COMPACT, &request.base);
}

/* The value of a key, in static storage; "" when it is not there. */
static inline const char *world_get(struct world *w, const char *key, bool is_serializable)
{
    static char value[64];
    struct call *call = call_get(key);
    call->request.is_serializable = is_serializable;
    assert_int_equal(call_wait(w, call_submit(w, call)), STATUS_OK);
    const Etcdserverpb__RangeResponse *reply =
        call_reply(call, &etcdserverpb__range_response__descriptor);
    value[0] = '\0';
    if (reply->n_kvs == 1) {
        snprintf(value, sizeof(value), "%.*s", (int)reply->kvs[0]->value.len,
                 (const char *)reply->kvs[0]->value.data);
    }
    call_free(call);
    return value;
}

static inline uint32_t world_hash(struct world *w)
{
    Etcdserverpb__HashKVRequest request = ETCDSERVERPB__HASH_KVREQUEST__INIT;
    struct call *call = call_new(REQUEST_HASH_KV, &request.base);
    call->request.is_serializable = true;
    assert_int_equal(call_wait(w, call_submit(w, call)), STATUS_OK);
    const Etcdserverpb__HashKVResponse *reply =
        call_reply(call, &etcdserverpb__hash_kvresponse__descriptor);
    uint32_t hash = reply->hash;
    call_free(call);
    return hash;
}

#endif
