/* etcdserverpb.Watch: one stream, many watchers.
 *
 * The stream's requests make and cancel watchers of the server's hub (state/watch.h); this is their
 * sink. Answers to requests go out at once, events when the hub has them and the stream has room.
 * While it has none, its requests are not read either: so a client that asks and does not read is
 * held, and what a stream can cost is bounded by GRPC_SEND_HIGH and one batch.
 *
 * The order on a stream: "created" comes before any event of its watcher, and after "canceled"
 * comes nothing; the hub calls nobody from inside watch_create().
 *
 * A call ends when the client leaves, when a member without a leader may not serve it (hasleader),
 * or when the process stops. That the client has closed its side does not end it, as in etcd. */
#include "api/rpc_priv.h"
#include "api/watch_reply.h"

#include "base/mem.h"

#include "rpc.pb-c.h"

/* Small messages are copied: that costs less than to keep a reference to every piece. */
#define COPY_MAX ((size_t)4096)
_Static_assert(COPY_MAX <= GRPC_ROOM_MAX && COPY_MAX <= CONFIG_GRPC_OVERHEAD,
               "a small message has room, and is not cut into fragments");
/* RFC 9218: before replies in bulk. */
#define WATCH_URGENCY 2

struct rpc_watch {
    struct api *api;
    struct list calls;
    size_t fragment_max;
    struct metric *pending;
    struct arena arena;               /* one request */
    struct watch_reply_header header; /* of the last small message */
    struct buf head;
    struct buf message;
    struct grpc_chunk *chunks;
    size_t chunk_cap;
};

struct watch_call {
    struct rpc_watch *watch;
    struct grpc_call *call;
    struct watch_stream *stream;
    struct list link; /* rpc_watch.calls */
    struct timer tick;
    struct rpc_lasting lasting;
    uint64_t unsent; /* events sent since the stream's output was empty */
};

/* ---- sending -------------------------------------------------------------------------------- */

static void send(struct watch_call *w, const struct watch_reply *reply)
{
    struct buf *message = &w->watch->message;
    buf_reset(message);
    watch_reply_put(message, reply);
    rpc_counters_sent(rpc__counters(w->call));
    grpc_call_send_copy(w->call, buf_slice(message));
}

static void forget(struct watch_call *w)
{
    struct rpc_watch *watch = w->watch;
    timer_stop(watch->api->options.loop, &w->tick);
    watch_stream_close(&w->stream);
    list_del(&w->link);
    rpc__lasting_end(&w->lasting);
    mem_free(w);
}

static void end(struct watch_call *w, enum grpc_status status, const char *text)
{
    struct grpc_call *call = w->call;
    forget(w);
    rpc__finish(call, status, text);
}

/* ---- events --------------------------------------------------------------------------------- */

static bool sink_writable(void *ctx)
{
    return grpc_call_writable(((struct watch_call *)ctx)->call);
}

struct part {
    struct watch_call *w;
    struct watch_body *body;
};

static void send_part_copy(struct part *part, struct slice head, struct watch_cursor from,
                           size_t len)
{
    struct buf *message = &part->w->watch->message;
    struct slice piece;
    buf_reset(message);
    buf_append_slice(message, head);
    while (watch_cursor_take(part->body, &from, &len, &piece)) {
        buf_append_slice(message, piece);
    }
    grpc_call_send_copy(part->w->call, buf_slice(message));
}

static void release_body(void *body)
{
    watch_body_unref(body);
}

static struct grpc_chunk *chunk_add(struct rpc_watch *watch, size_t count)
{
    if (count == watch->chunk_cap) {
        watch->chunk_cap = watch->chunk_cap == 0 ? 16 : 2 * watch->chunk_cap;
        watch->chunks = mem_realloc(watch->chunks, watch->chunk_cap * sizeof(watch->chunks[0]));
    }
    return &watch->chunks[count];
}

static void send_part_shared(struct part *part, struct slice head, struct watch_cursor from,
                             size_t len)
{
    struct rpc_watch *watch = part->w->watch;
    struct slice piece;
    size_t count = 0;
    void *copy = mem_dup(head.data, head.len);
    *chunk_add(watch, count++) = (struct grpc_chunk){
        .bytes = slice_of(copy, head.len),
        .release = mem_free,
        .ctx = copy,
    };
    while (watch_cursor_take(part->body, &from, &len, &piece)) {
        *chunk_add(watch, count++) = (struct grpc_chunk){
            .bytes = piece,
            .release = release_body,
            .ctx = watch_body_ref(part->body),
        };
    }
    grpc_call_send_chunks(part->w->call, watch->chunks, count);
}

static void send_part(void *ctx, struct slice head, struct watch_cursor from, size_t len)
{
    struct part *part = ctx;
    rpc_counters_sent(rpc__counters(part->w->call));
    if (head.len + len <= COPY_MAX) {
        send_part_copy(part, head, from, len);
    } else {
        send_part_shared(part, head, from, len);
    }
}

static struct reply_header header_at(const struct rpc_watch *watch, int64_t revision)
{
    struct reply_header header = server_header(watch->api->server);
    header.revision = revision;
    return header;
}

/* Most are small, and in one piece: they are written right into what leaves. */
static bool send_small(struct watch_call *w, const struct reply_header *header, watch_id id,
                       const struct watch_body *body)
{
    struct rpc_watch *watch = w->watch;
    if (body->piece_count != 1 || body->len > COPY_MAX / 2) {
        return false;
    }
    watch_reply_header_set(&watch->header, header);
    size_t len = watch_reply_whole_size(&watch->header, id, body->pieces[0].bytes);
    uint8_t *at = grpc_call_send_room(w->call, len);
    if (at == NULL) {
        return false;
    }
    rpc_counters_sent(rpc__counters(w->call));
    uint8_t *end = watch_reply_whole_put(at, &watch->header, id, body->pieces[0].bytes);
    ASSERT(end == at + len);
    return true;
}

static void sink_events(void *ctx, const struct watch_batch *batch)
{
    struct watch_call *w = ctx;
    struct rpc_watch *watch = w->watch;
    struct part part = {.w = w, .body = batch->body};
    struct watch_reply reply = {.header = header_at(watch, batch->revision), .id = batch->id};
    if (batch->body->len > UINT32_MAX - COPY_MAX && !batch->may_fragment) {
        end(w, GRPC_RESOURCE_EXHAUSTED, "grpc: trying to send message larger than max");
        return; /* no message can be so long */
    }
    if (grpc_call_queued(w->call) == 0) {
        w->unsent = 0;
    }
    w->unsent += batch->body->event_count;
    if (send_small(w, &reply.header, batch->id, batch->body)) {
        return;
    }
    watch_reply_events(&reply, batch->body, batch->may_fragment, watch->fragment_max, &watch->head,
                       send_part, &part);
}

static void sink_canceled(void *ctx, watch_id id, int64_t compact_revision, const char *reason)
{
    struct watch_call *w = ctx;
    struct watch_reply reply = {
        .header = header_at(w->watch, 0), /* as etcd: without a revision */
        .id = id,
        .canceled = true,
        .compact_revision = compact_revision,
        .cancel_reason = reason,
    };
    send(w, &reply);
}

static void sink_progress(void *ctx, watch_id id, int64_t revision)
{
    struct watch_call *w = ctx;
    struct watch_reply reply = {.header = header_at(w->watch, revision), .id = id};
    send(w, &reply);
}

static const struct watch_sink watch_sink = {
    .writable = sink_writable,
    .events = sink_events,
    .canceled = sink_canceled,
    .progress = sink_progress,
};

/* ---- progress at intervals ------------------------------------------------------------------ */

/* Compatibility: up to a tenth more, so that streams do not all speak at once. */
static void tick_start(struct watch_call *w)
{
    struct api *api = w->watch->api;
    uint64_t interval = (uint64_t)config_watch_progress_ns(api->config);
    uint64_t jitter = env_random_u64(api->options.env) % (interval / 10 + 1);
    timer_start(api->options.loop, &w->tick, loop_now(api->options.loop) + interval + jitter);
}

static void on_tick(struct timer *timer)
{
    struct watch_call *w = CONTAINER_OF(timer, struct watch_call, tick);
    watch_stream_tick(w->stream);
    if (watch_stream_progress_watchers(w->stream) > 0) {
        tick_start(w);
    }
}

/* ---- requests ------------------------------------------------------------------------------- */

static unsigned flags_of(const Etcdserverpb__WatchCreateRequest *create)
{
    unsigned flags = (create->prev_kv ? WATCH_PREV_KV : 0u) |
                     (create->progress_notify ? WATCH_PROGRESS : 0u) |
                     (create->fragment ? WATCH_FRAGMENT : 0u);
    for (size_t i = 0; i < create->n_filters; i++) {
        int filter = (int)create->filters[i]; /* what etcd does not know it passes over */
        if (filter == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT) {
            flags |= WATCH_NO_PUT;
        } else if (filter == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE) {
            flags |= WATCH_NO_DELETE;
        }
    }
    return flags;
}

static const char *refusal(enum err err, const char *why)
{
    if (err == ERR_INVALID) {
        return "mvcc: watcher range is empty";
    }
    if (err == ERR_EXISTS) {
        return "mvcc: duplicate watch ID provided on the WatchStream";
    }
    if (err == ERR_COMPACTED) {
        return "etcdserver: mvcc: required revision has been compacted";
    }
    if (err == ERR_PERM) {
        return why;
    }
    return "etcdserver: too many watchers on one stream";
}

static void create(struct watch_call *w, const Etcdserverpb__WatchCreateRequest *message)
{
    const char *why = NULL;
    struct watch_request request = {
        .key = slice_of(message->key.data, message->key.len),
        .range_end = slice_of(message->range_end.data, message->range_end.len),
        .start_revision = message->start_revision,
        .id = message->watch_id,
        .flags = flags_of(message),
    };
    struct watch_reply reply = {
        .header = server_header(w->watch->api->server),
        .id = WATCH_ID_NONE,
        .created = true,
    };
    enum err err = watch_create(w->stream, &request, &reply.id, &why);
    if (err != ERR_OK) {
        reply.canceled = true;
        reply.cancel_reason = refusal(err, why);
    } else if (message->progress_notify && !timer_running(&w->tick)) {
        tick_start(w);
    }
    send(w, &reply);
}

static void cancel(struct watch_call *w, const Etcdserverpb__WatchCancelRequest *message)
{
    if (watch_cancel(w->stream, message->watch_id)) {
        struct watch_reply reply = {
            .header = server_header(w->watch->api->server),
            .id = message->watch_id,
            .canceled = true,
        };
        send(w, &reply);
    }
}

static void on_message(struct grpc_call *call, struct slice bytes)
{
    struct watch_call *w = grpc_call_data(call);
    struct rpc_watch *watch = w->watch;
    Etcdserverpb__WatchRequest *request = NULL;
    struct errbuf why;
    arena_reset(&watch->arena);
    rpc_counters_received(rpc__counters(call));
    if (pb_decode(&watch->arena, &etcdserverpb__watch_request__descriptor, bytes, &request, &why) !=
        ERR_OK) {
        rpc_metrics_stream_failed(rpc__api(call)->rpc_metrics, RPC_STREAM_WATCH);
        end(w, GRPC_INTERNAL,
            arena_printf(grpc_call_arena(call), "grpc: error unmarshalling request: %s", why.text));
        return;
    }
    switch (request->request_union_case) {
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST:
        create(w, request->create_request);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST:
        cancel(w, request->cancel_request);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST:
        watch_stream_ask_progress(w->stream);
        break;
    case ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION__NOT_SET:
    case _ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION__CASE_IS_INT_SIZE:
        break; /* as etcd: passed over */
    }
    if (!grpc_call_writable(call)) {
        grpc_call_pause(call, true);
    }
}

/* ---- a call's life -------------------------------------------------------------------------- */

static void on_stop(struct rpc_lasting *lasting, enum status why)
{
    const struct status_row *row = status_row(why);
    end(CONTAINER_OF(lasting, struct watch_call, lasting), row->code, row->text);
}

static void on_start(struct grpc_call *call)
{
    struct rpc_watch *watch = rpc__api(call)->watch;
    enum status status = rpc__start(call);
    if (status != STATUS_OK) {
        rpc__finish_status(call, status);
        return;
    }
    struct watch_call *w = NEW(struct watch_call);
    w->watch = watch;
    w->call = call;
    w->stream = watch_stream_open(server_watch_hub(watch->api->server), &watch_sink, w);
    rpc__lasting_begin(call, &w->lasting, on_stop);
    timer_init(&w->tick, on_tick);
    list_add_tail(&watch->calls, &w->link);
    grpc_call_set_data(call, w);
    grpc_call_urgency(call, WATCH_URGENCY);
}

static void on_cancel(struct grpc_call *call, enum grpc_status why)
{
    rpc_metrics_stream_ended(rpc__api(call)->rpc_metrics, RPC_STREAM_WATCH, why);
    end(grpc_call_data(call), why, why == GRPC_CANCELED ? "etcdserver: watch canceled" : "");
}

static void on_writable(struct grpc_call *call)
{
    struct watch_call *w = grpc_call_data(call);
    watch_stream_writable(w->stream);
    grpc_call_pause(call, false); /* may hand over messages, and they may end the call */
}

const struct grpc_handler rpc__watch_handler = {
    .start = on_start,
    .message = on_message,
    .cancel = on_cancel,
    .writable = on_writable,
};

/* ---- all calls ------------------------------------------------------------------------------ */

static void collect(void *ctx)
{
    struct rpc_watch *watch = ctx;
    uint64_t pending = 0;
    LIST_FOR_EACH (&watch->calls, link) {
        const struct watch_call *w = CONTAINER_OF(link, struct watch_call, link);
        pending += grpc_call_queued(w->call) > 0 ? w->unsent : 0;
    }
    metric_set(watch->pending, (double)pending);
}

struct rpc_watch *rpc_watch_new(struct api *api)
{
    struct rpc_watch *watch = NEW(struct rpc_watch);
    watch->api = api;
    watch->fragment_max = (size_t)api->config->max_request_bytes + CONFIG_GRPC_OVERHEAD;
    list_init(&watch->calls);
    arena_init(&watch->arena);
    watch->pending = metrics_gauge(api->options.metrics, "etcd_debugging_mvcc_pending_events_total",
                                   "Total number of pending events to be sent.", "");
    metrics_on_collect(api->options.metrics, collect, watch);
    return watch;
}

void rpc_watch_free(struct rpc_watch **out)
{
    struct rpc_watch *watch = *out;
    if (watch == NULL) {
        return;
    }
    ASSERT(list_empty(&watch->calls));
    arena_fini(&watch->arena);
    buf_fini(&watch->header.bytes);
    buf_fini(&watch->head);
    buf_fini(&watch->message);
    mem_free(watch->chunks);
    mem_free(watch);
    *out = NULL;
}
