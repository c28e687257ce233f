#include "state/watch_world.h"

#include "base/mem.h"

static void append_event(struct buf *out, const struct watch_event *event)
{
    const struct mvcc_row *kv = &event->kv;
    buf_printf(out, " %s %.*s", event->is_delete ? "DELETE" : "PUT", (int)kv->key.len,
               (const char *)kv->key.data);
    if (event->is_delete) {
        ASSERT(kv->value.len == 0);
        ASSERT(kv->create == 0);
        ASSERT(kv->version == 0);
        buf_printf(out, "(%lld)", (long long)kv->mod);
    } else {
        int len = kv->value.len > 32 ? 3 : (int)kv->value.len;
        buf_printf(out, "=%.*s(%lld,%lld,%lld)", len, (const char *)kv->value.data,
                   (long long)kv->create, (long long)kv->mod, (long long)kv->version);
    }
    if (event->has_prev) {
        ASSERT(slice_eq(event->prev.key, kv->key));
        int len = event->prev.value.len > 32 ? 3 : (int)event->prev.value.len;
        buf_printf(out, " was %.*s(%lld)", len, (const char *)event->prev.value.data,
                   (long long)event->prev.mod);
    }
}

static bool sink_writable(void *ctx)
{
    struct world_stream *stream = ctx;
    stream->was_refused = stream->was_refused || stream->is_full;
    return !stream->is_full;
}

static void sink_events(void *ctx, const struct watch_batch *batch)
{
    struct world_stream *stream = ctx;
    struct buf *out = &stream->world->told;
    struct watch_event_iter iter = watch_event_iter_init(batch->body);
    struct watch_event event;
    uint32_t count = 0;
    ASSERT(!stream->is_full);
    buf_printf(out, "%u: %lld @%lld", stream->number, (long long)batch->id,
               (long long)batch->revision);
    while (watch_event_next(&iter, &event)) {
        append_event(out, &event);
        count++;
    }
    watch_event_iter_fini(&iter);
    ASSERT(count == batch->body->event_count);
    ASSERT(count > 0);
    buf_append_str(out, "\n");
    if (stream->sends_left > 0 && --stream->sends_left == 0) {
        stream->is_full = true;
    }
    if (stream->on_events != NULL) {
        stream->on_events(stream, batch);
    }
}

static void sink_canceled(void *ctx, watch_id id, int64_t compact_revision, const char *reason)
{
    struct world_stream *stream = ctx;
    struct buf *out = &stream->world->told;
    buf_printf(out, "%u: %lld canceled", stream->number, (long long)id);
    if (reason != NULL) {
        ASSERT(compact_revision == 0);
        buf_printf(out, " %s\n", reason);
    } else {
        buf_printf(out, " compact %lld\n", (long long)compact_revision);
    }
}

static void sink_progress(void *ctx, watch_id id, int64_t revision)
{
    struct world_stream *stream = ctx;
    struct buf *out = &stream->world->told;
    ASSERT(!stream->is_full);
    buf_printf(out, "%u: ", stream->number);
    if (id != WATCH_ID_NONE) {
        buf_printf(out, "%lld ", (long long)id);
    }
    buf_printf(out, "progress @%lld\n", (long long)revision);
}

static const struct watch_sink world_sink = {
    .writable = sink_writable,
    .events = sink_events,
    .canceled = sink_canceled,
    .progress = sink_progress,
};

static void on_wake(void *ctx)
{
    ((struct watch_world *)ctx)->wakes++;
}

static const char *on_refuses(void *ctx, void *sink_ctx, const struct key_range *range)
{
    UNUSED(sink_ctx);
    ASSERT(range->from.len > 0);
    return ((struct watch_world *)ctx)->refusal;
}

static const char *on_revokes(void *ctx, void *sink_ctx, const struct key_range *range)
{
    UNUSED(sink_ctx);
    UNUSED(range);
    return ((struct watch_world *)ctx)->revoked;
}

static void on_changed(void *ctx, int64_t revision, const struct mvcc_change *changes, size_t count)
{
    watch_hub_changed(((struct watch_world *)ctx)->hub, revision, changes, count);
}

void watch_world_init(struct watch_world *world, const struct watch_options *options)
{
    struct errbuf why = {.text = ""};
    struct watch_options hub = options == NULL ? (struct watch_options){.hash_seed = 1} : *options;
    *world = (struct watch_world){.disk = sim_disk_new()};
    manual_env_init(&world->manual, world->disk);
    struct backend_options backend = {
        .env = &world->manual.env, .path = "/db", .no_sync = true, .batch_limit = 40};
    enum err err = backend_open(&backend, &world->backend, &why);
    ASSERT(err == ERR_OK);
    struct mvcc_options store = {
        .backend = world->backend,
        .hooks = {.ctx = world, .changed = on_changed},
        .compact_batch_limit = 7,
    };
    err = mvcc_open(&store, &world->store, &why);
    ASSERT(err == ERR_OK);
    hub.store = world->store;
    hub.ctx = world;
    hub.wake = on_wake;
    hub.refuses = on_refuses;
    hub.revokes = on_revokes;
    world->hub = watch_hub_new(&hub);
}

void watch_world_fini(struct watch_world *world)
{
    for (unsigned i = 0; i < WORLD_STREAMS; i++) {
        watch_stream_close(&world->streams[i].stream);
        watch_body_unref(world->streams[i].kept);
    }
    watch_hub_free(&world->hub);
    mvcc_close(&world->store);
    manual_settle(&world->manual);
    backend_close(&world->backend);
    sim_disk_free(&world->disk);
    buf_fini(&world->told);
}

void watch_world_begin(struct watch_world *world)
{
    backend_begin(world->backend);
    mvcc_begin(world->store);
}

void watch_world_end(struct watch_world *world)
{
    mvcc_end(world->store);
    backend_end(world->backend, ++world->index, 1);
}

void watch_world_put(struct watch_world *world, const char *key, const char *value)
{
    watch_world_begin(world);
    mvcc_put(world->store, slice_str(key), slice_str(value), 0);
    watch_world_end(world);
}

void watch_world_delete(struct watch_world *world, const char *key, const char *end)
{
    struct key_range range = key_range_of(slice_str(key), slice_str(end));
    watch_world_begin(world);
    mvcc_delete(world->store, &range);
    watch_world_end(world);
}

void watch_world_compact(struct watch_world *world, int64_t revision)
{
    enum err err = mvcc_compact(world->store, revision);
    ASSERT(err == ERR_OK);
}

void watch_world_open(struct watch_world *world, unsigned stream)
{
    ASSERT(stream < WORLD_STREAMS);
    struct world_stream *s = &world->streams[stream];
    *s = (struct world_stream){.world = world, .number = stream};
    s->stream = watch_stream_open(world->hub, &world_sink, s);
}

int64_t watch_world_create(struct watch_world *world, unsigned stream,
                           const struct watch_request *request)
{
    watch_id id = 0;
    const char *why = NULL;
    struct world_stream *s = &world->streams[stream];
    if (s->stream == NULL) {
        watch_world_open(world, stream);
    }
    enum err err = watch_create(s->stream, request, &id, &why);
    if (err == ERR_PERM) {
        buf_printf(&world->told, "%u: refused: %s\n", stream, why);
    }
    return err == ERR_OK ? id : -(int64_t)err;
}

int64_t watch_world_watch(struct watch_world *world, unsigned stream, const char *key,
                          const char *end, int64_t start, unsigned flags)
{
    struct watch_request request = {
        .key = slice_str(key),
        .range_end = slice_str(end),
        .start_revision = start,
        .flags = flags,
    };
    return watch_world_create(world, stream, &request);
}

unsigned watch_world_settle(struct watch_world *world)
{
    unsigned steps = 1;
    watch_hub_check(world->hub);
    while (watch_hub_step(world->hub)) {
        watch_hub_check(world->hub);
        steps++;
        ASSERT(steps < 100000);
    }
    watch_hub_check(world->hub);
    return steps;
}

const char *watch_world_told(struct watch_world *world)
{
    static char text[65536]; /* of the test's thread, until the next call */
    size_t len = world->told.len < sizeof(text) - 1 ? world->told.len : sizeof(text) - 1;
    memcpy(text, world->told.data == NULL ? (const uint8_t *)"" : world->told.data, len);
    text[len] = '\0';
    buf_reset(&world->told);
    return text;
}
