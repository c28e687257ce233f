/* v3electionpb.Election/Observe: who leads, and what the leader proclaims, as long as the client
 * listens.
 *
 *   ask who is first -> somebody: tell, then follow that key until it is deleted -> ask again
 *                    \-> nobody: wait for the first put under the prefix, tell, follow
 *
 * Like etcd it may pass over a leader between two deletions; it never goes back in time.
 *
 * The stream lasts, so each asking has an arena of its own, emptied before the next. */
#include "api/contend.h"

#include "election.pb-c.h"

struct observer {
    struct grpc_call *call;
    struct api *api;
    struct server_request request;
    bool is_out;         /* the server has it */
    struct arena arena;  /* of one asking */
    struct slice prefix; /* in the call's arena */
    struct buf key;      /* that is followed */
    struct watch_stream *stream;
    struct rpc_lasting lasting;
    bool is_over; /* finished; only the request is waited for */
};

static void ask(struct observer *o);

/* ---- the end -------------------------------------------------------------------------------- */

static void free_when_idle(struct observer *o)
{
    if (!o->is_out) {
        arena_fini(&o->arena);
        buf_fini(&o->key);
        mem_free(o);
    }
}

static void end(struct observer *o, enum grpc_status code, const char *text)
{
    ASSERT(!o->is_over);
    o->is_over = true;
    watch_stream_close(&o->stream);
    rpc__lasting_end(&o->lasting);
    if (o->is_out) {
        server_cancel(o->api->server, &o->request, STATUS_CANCELED);
    }
    rpc__finish(o->call, code, text);
    free_when_idle(o);
}

/* ---- telling -------------------------------------------------------------------------------- */

static void tell(struct observer *o, int64_t revision, struct slice kv)
{
    struct buf out = {0};
    struct reply_header header = server_header(o->api->server);
    header.revision = revision;
    reply_put_header(&out, 1, &header);
    reply_put_bytes(&out, 2, kv);
    rpc_counters_sent(rpc__counters(o->call));
    grpc_call_send_copy(o->call, buf_slice(&out));
    buf_fini(&out);
}

static bool is_writable(void *ctx)
{
    return grpc_call_writable(((struct observer *)ctx)->call);
}

/* ---- following ------------------------------------------------------------------------------ */

/* Compaction has taken what it wanted: who leads now is as good. */
static void on_watch_canceled(void *ctx, watch_id id, int64_t compact_revision, const char *reason)
{
    struct observer *o = ctx;
    UNUSED(id);
    UNUSED(compact_revision);
    UNUSED(reason);
    watch_stream_close(&o->stream);
    ask(o);
}

static void on_key_events(void *ctx, const struct watch_batch *batch)
{
    struct observer *o = ctx;
    struct watch_event_iter iter = watch_event_iter_init(batch->body);
    struct watch_event event;
    bool is_deleted = false;
    while (!is_deleted && watch_event_next(&iter, &event)) {
        is_deleted = event.is_delete;
        if (!is_deleted) {
            tell(o, batch->revision, event.kv.raw);
        }
    }
    watch_event_iter_fini(&iter);
    if (is_deleted) {
        watch_stream_close(&o->stream);
        ask(o);
    }
}

static const struct watch_sink key_sink = {
    .writable = is_writable,
    .events = on_key_events,
    .canceled = on_watch_canceled,
};

static void open_watch(struct observer *o, const struct watch_sink *sink,
                       const struct watch_request *request)
{
    watch_id id;
    const char *why = NULL;
    watch_stream_close(&o->stream);
    o->stream = watch_stream_open(server_watch_hub(o->api->server), sink, o);
    if (watch_create(o->stream, request, &id, &why) != ERR_OK) {
        end(o, GRPC_UNKNOWN, why != NULL ? why : "election: observe closed early");
    }
}

/* Tells of the leader and goes on with its key. */
static void follow(struct observer *o, int64_t revision, struct slice key, struct slice kv)
{
    buf_reset(&o->key);
    buf_append_slice(&o->key, key);
    tell(o, revision, kv);
    struct watch_request request = {.key = buf_slice(&o->key), .start_revision = revision + 1};
    open_watch(o, &key_sink, &request);
}

static void on_first_events(void *ctx, const struct watch_batch *batch)
{
    struct observer *o = ctx;
    struct watch_event_iter iter = watch_event_iter_init(batch->body);
    struct watch_event event;
    struct buf key = {0};
    struct buf kv = {0};
    int64_t revision = 0;
    if (watch_event_next(&iter, &event) && !event.is_delete) {
        buf_append_slice(&key, event.kv.key);
        buf_append_slice(&kv, event.kv.raw);
        revision = event.kv.mod;
    }
    watch_event_iter_fini(&iter);
    if (revision != 0) {
        follow(o, revision, buf_slice(&key), buf_slice(&kv));
    }
    buf_fini(&key);
    buf_fini(&kv);
}

static const struct watch_sink first_sink = {
    .writable = is_writable,
    .events = on_first_events,
    .canceled = on_watch_canceled,
};

/* ---- asking --------------------------------------------------------------------------------- */

static void on_answer(struct server_request *answered)
{
    struct observer *o = CONTAINER_OF(answered, struct observer, request);
    Etcdserverpb__RangeResponse *reply = NULL;
    o->is_out = false;
    if (o->is_over) {
        free_when_idle(o);
        return;
    }
    if (answered->status == STATUS_STOPPED) {
        const struct status_row *row = status_row(answered->status);
        end(o, row->code, row->text);
        return;
    }
    if (answered->status != STATUS_OK) {
        end(o, GRPC_UNKNOWN, "election: observe closed early");
        return;
    }
    enum err err = pb_decode_limits(&o->arena, &etcdserverpb__range_response__descriptor,
                                    answered->reply, PB_LIMITS_NONE, &reply, NULL);
    ASSERT(err == ERR_OK); /* our own server's */
    if (reply->n_kvs > 0) {
        const Mvccpb__KeyValue *kv = reply->kvs[0];
        follow(o, reply->header->revision, pb_bytes(kv->key), pb_encode_arena(kv, &o->arena));
        return;
    }
    const Etcdserverpb__RangeRequest *asked = answered->message;
    struct watch_request request = {
        .key = pb_bytes(asked->key),
        .range_end = pb_bytes(asked->range_end),
        .start_revision = reply->header->revision + 1,
        .flags = WATCH_NO_DELETE,
    };
    open_watch(o, &first_sink, &request);
}

static void ask(struct observer *o)
{
    arena_reset(&o->arena);
    o->is_out = true;
    o->request = (struct server_request){
        .kind = REQUEST_RANGE,
        .message = errand_first_create(&o->arena, o->prefix),
        .arena = &o->arena,
        .started = loop_now(o->api->options.loop),
        .done = on_answer,
    };
    server_submit(o->api->server, &o->request);
}

/* ---- events --------------------------------------------------------------------------------- */

static void on_stop(struct rpc_lasting *lasting, enum status why)
{
    const struct status_row *row = status_row(why);
    end(CONTAINER_OF(lasting, struct observer, lasting), row->code, row->text);
}

static void on_message(struct grpc_call *call, struct slice bytes)
{
    struct arena *arena = grpc_call_arena(call);
    V3electionpb__LeaderRequest *request = NULL;
    enum status status = rpc__start(call);
    if (!rpc__decode(call, arena, &v3electionpb__leader_request__descriptor, bytes, &request)) {
        return;
    }
    if (status != STATUS_OK) {
        rpc__finish_status(call, status);
        return;
    }
    struct observer *o = NEW(struct observer);
    o->call = call;
    o->api = rpc__api(call);
    o->prefix = errand_prefix(arena, pb_bytes(request->name));
    arena_init(&o->arena);
    rpc__lasting_begin(call, &o->lasting, on_stop);
    grpc_call_set_data(call, o);
    grpc_call_send_headers(call);
    ask(o);
}

static void on_cancel(struct grpc_call *call, enum grpc_status why)
{
    end(grpc_call_data(call), why, "");
}

static void on_writable(struct grpc_call *call)
{
    struct observer *o = grpc_call_data(call);
    if (o->stream != NULL) {
        watch_stream_writable(o->stream);
    }
}

const struct grpc_handler rpc__observe_handler = {
    .message = on_message,
    .cancel = on_cancel,
    .writable = on_writable,
};
