/* What a server may answer: replies of every method through the public library, and messages on the
 * streams of watches and leases, in any order, while callbacks start and free what they are told
 * of.
 *
 * Input: one byte that says what the rest is.
 *
 *   below CLIENT_METHOD_COUNT   the reply of that method
 *   64 and above                what a Watch stream brings; bits 0 to 2: how many watches there are
 *                               at first; bit 3: callbacks free what they are told of
 *   32 and above                what a LeaseKeepAlive stream brings, likewise
 *
 * A stream's input is records: a byte that says how long a message follows, or 0 and a byte that
 * says what happens: the stream ends (for now, or for good), a second passes, somebody starts,
 * frees or asks.
 *
 * Properties: a result of the public library stands on its own, without the bytes it was made of;
 * nothing is told after the end of a watch or a keep; a watch would resume behind every event it
 * was told of; the watcher's lists stay whole; nothing is left behind. */
#include "client/client_priv.h"
#include "client/etcdclient_priv.h"
#include "net/fake_net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- results ----------------------------------------------------------------------------------
 */

static uint64_t mix(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * UINT64_C(0x9E3779B97F4A7C15);
}

static uint64_t mix_bytes(uint64_t sum, struct etcd_slice bytes)
{
    const uint8_t *data = bytes.data;
    for (size_t i = 0; i < bytes.len; i++) {
        sum = mix(sum, data[i]);
    }
    return mix(sum, bytes.len);
}

static uint64_t mix_kvs(uint64_t sum, const struct etcd_kv *kvs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sum = mix_bytes(mix_bytes(sum, kvs[i].key), kvs[i].value);
        sum = mix(mix(sum, (uint64_t)kvs[i].mod_revision), (uint64_t)kvs[i].lease);
    }
    return mix(sum, count);
}

static uint64_t mix_result(uint64_t sum, const struct etcd_result *result)
{
    sum = mix(mix(sum, (uint64_t)result->revision), (uint64_t)result->count);
    sum = mix_kvs(sum, result->kvs, result->kv_count);
    sum = mix_kvs(sum, result->prev_kvs, result->prev_kv_count);
    for (size_t i = 0; i < result->response_count; i++) {
        sum = mix_result(sum, &result->responses[i]);
    }
    return mix(sum, result->response_count);
}

static void read_reply(enum client_method method, struct slice in)
{
    static const enum etcd_op_kind kinds[CLIENT_METHOD_COUNT] = {
        [CLIENT_RANGE] = ETCD_GET,
        [CLIENT_PUT] = ETCD_PUT,
        [CLIENT_DELETE] = ETCD_DELETE,
        [CLIENT_TXN] = ETCD_TXN,
        [CLIENT_COMPACT] = ETCD_COMPACT,
        [CLIENT_LEASE_GRANT] = ETCD_LEASE_GRANT,
        [CLIENT_LEASE_REVOKE] = ETCD_LEASE_REVOKE,
        [CLIENT_LEASE_TIME_TO_LIVE] = ETCD_LEASE_TTL,
    };
    struct arena arena;
    struct errbuf why = {{0}};
    void *reply = NULL;
    uint8_t *bytes = mem_dup(in.data, in.len); /* an allocation of its own: reads behind it show */
    arena_init(&arena);
    enum err err = client_rpc_decode(&arena, method, slice_of(bytes, in.len), &reply, &why);
    struct etcd_result *result = err == ERR_OK ? etcd__result_new(kinds[method], reply) : NULL;
    ASSERT(err == ERR_OK || why.text[0] != '\0');
    uint64_t sum = result == NULL ? 0 : mix_result(1, result);
    arena_fini(&arena);
    mem_free(bytes);
    ASSERT(result == NULL || mix_result(1, result) == sum);
    ASSERT(result == NULL || result->kind == kinds[method]);
    etcd_result_free(&result);
}

/* ---- streams ----------------------------------------------------------------------------------
 */

#define OWNED_MAX 8

struct world;

/* A watch or a keep. */
struct owned {
    struct world *world;
    struct client_watch *watch;
    struct client_keep *keep;
    bool has_ended;
};

struct world {
    struct env *env;
    struct loop *loop;
    struct client *client;
    struct client_watcher *watcher;
    struct client_keeper *keeper;
    struct owned owned[OWNED_MAX];
    bool frees_inside;
};

static void release(struct owned *owned)
{
    client_watch_free(&owned->watch);
    client_keep_free(&owned->keep);
}

static void on_watch(struct client_watch *watch, const struct client_watch_update *update,
                     void *ctx)
{
    struct owned *owned = ctx;
    ASSERT(owned->watch == watch);
    ASSERT(!owned->has_ended);
    ASSERT(update->response != NULL);
    ASSERT(update->is_end == (update->error[0] != '\0'));
    for (size_t i = 0; i < update->response->n_events; i++) {
        ASSERT(update->response->events[i]->kv != NULL);
    }
    if (!update->is_end && update->response->n_events > 0) {
        const Mvccpb__Event *last = update->response->events[update->response->n_events - 1];
        int64_t next = client_watch_next_revision(watch);
        ASSERT(next > last->kv->mod_revision || next == INT64_MAX);
    }
    owned->has_ended = update->is_end;
    if (owned->world->frees_inside && update->response->watch_id % 2 == 0) {
        release(owned);
    }
}

static void on_keep(struct client_keep *keep, int64_t ttl_s, const char *error, void *ctx)
{
    struct owned *owned = ctx;
    ASSERT(owned->keep == keep);
    ASSERT(!owned->has_ended);
    ASSERT((ttl_s > 0) == (error[0] == '\0'));
    owned->has_ended = ttl_s <= 0;
    if (owned->world->frees_inside && ttl_s % 2 == 0) {
        release(owned);
    }
}

static void start(struct world *world, unsigned n)
{
    struct owned *owned = &world->owned[n % OWNED_MAX];
    release(owned);
    *owned = (struct owned){.world = world};
    if (world->watcher != NULL) {
        struct client_watch_options options = {
            .key = SLICE("k"), .start_revision = n % 3, .created_notify = n % 2 == 0};
        owned->watch = client_watch_start(world->watcher, &options, on_watch, owned);
    } else {
        owned->keep = client_keep_start(world->keeper, n % 4, n % 3, on_keep, owned);
    }
}

/* The one stream, if it is open. Its owner is at the other end of it; we are the connection. */
static struct client_stream *stream_of(struct world *world)
{
    struct list *streams = &world->client->streams;
    return list_empty(streams) ? NULL : CONTAINER_OF(streams->next, struct client_stream, link);
}

static void end(struct client_stream *stream, uint32_t status, const char *message)
{
    struct client_result result = {.status = status, .message = message, .error = message};
    client_stream_cancel(stream);
    stream->handler->end(stream, &result);
}

static void happen(struct world *world, uint8_t what)
{
    struct client_stream *stream = stream_of(world);
    switch (what % 6) {
    case 0:
        start(world, what / 6);
        return;
    case 1:
        release(&world->owned[what / 6 % OWNED_MAX]);
        return;
    case 2:
        fake_env_advance(world->env, NS_PER_SEC);
        loop_turn(world->loop, false);
        return;
    case 3:
        if (world->watcher != NULL) {
            client_watcher_progress(world->watcher);
        }
        return;
    case 4:
        if (stream != NULL) {
            end(stream, GRPC_UNAVAILABLE, what % 12 == 4 ? "lost" : "etcdserver: no leader");
        }
        return;
    default:
        if (stream != NULL) {
            end(stream, GRPC_PERMISSION_DENIED, "etcdserver: permission denied");
        }
        return;
    }
}

static void play(struct world *world, struct slice in)
{
    while (in.len > 1) {
        size_t len = in.data[0];
        in = slice_skip(in, 1);
        if (len == 0) {
            happen(world, in.data[0]);
            in = slice_skip(in, 1);
        } else {
            struct client_stream *stream = stream_of(world);
            len = len < in.len ? len : in.len;
            uint8_t *bytes = mem_dup(in.data, len);
            if (stream != NULL) {
                stream->handler->message(stream, slice_of(bytes, len));
            }
            mem_free(bytes);
            in = slice_skip(in, len);
        }
        if (world->watcher != NULL) {
            client_watcher_check(world->watcher);
        }
    }
}

static void run_stream(uint8_t options, struct slice in)
{
    static const char *const endpoints[] = {"127.0.0.1:2379"};
    struct client_options client = {.endpoints = endpoints, .endpoint_count = 1};
    struct world world = {.env = fake_env_new(), .frees_inside = (options & 8) != 0};
    struct errbuf why = {{0}};
    world.loop = loop_new(world.env);
    enum err err = client_new(world.env, world.loop, &client, &world.client, &why);
    ASSERT(err == ERR_OK);
    if (options >= 64) {
        world.watcher = client_watcher_new(world.client, false);
    } else {
        world.keeper = client_keeper_new(world.client);
    }
    for (unsigned i = 0; i < (options & 7u); i++) {
        start(&world, i);
    }
    play(&world, in);
    for (unsigned i = 0; i < OWNED_MAX; i++) {
        release(&world.owned[i]);
    }
    client_watcher_free(&world.watcher);
    client_keeper_free(&world.keeper);
    client_free(&world.client);
    loop_free(&world.loop);
    fake_env_free(&world.env);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct slice rest = slice_of(data + 1, size - 1);
    if (data[0] < CLIENT_METHOD_COUNT) {
        read_reply((enum client_method)data[0], rest);
    } else if (data[0] >= 32) {
        run_stream(data[0], rest);
    }
    return 0;
}
