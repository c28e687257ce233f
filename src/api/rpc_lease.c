/* etcdserverpb.Lease: single calls, and the stream of renewals.
 *
 * A stream carries renewals of any leases. They go to the server as they come, so that those of a
 * turn are done in one turn; their answers leave in the order of the questions, as etcd's do,
 * which takes one renewal after the other. One that waits (for a revoke that is on its way, or for
 * a leader) holds back those behind it.
 *
 * Life of a stream: its struct and the arena with the renewals outlive the call, because the server
 * answers each renewal once, canceled or not. `call` is NULL once the call is finished; the struct
 * goes with the last renewal.
 *
 * Back-pressure: renewals that wait, and answers that the client does not read, stop the reading.
 */
#include "api/rpc_priv.h"

#include "rpc.pb-c.h"

/* What the renewals of a stream that are under way may take: some two hundred. The arena is emptied
 * when none is. */
#define ARENA_MAX 65536
/* Renewals are small and urgent: they go before bulk. */
#define URGENCY 1

struct stream {
    struct grpc_call *call; /* NULL: finished */
    struct api *api;
    struct arena arena;
    struct list renewals; /* in the order in which they came */
    size_t under_way;     /* of them, those that the server has */
    struct rpc_lasting lasting;
    bool is_half_closed;
    bool is_paused;
};

struct renewal {
    struct server_request request;
    struct stream *stream;
    struct list link;
    bool is_done;
};

/* ---- the end --------------------------------------------------------------------------------- */

static void free_when_idle(struct stream *stream)
{
    if (stream->call == NULL && stream->under_way == 0) {
        arena_fini(&stream->arena);
        mem_free(stream);
    }
}

/* The call is over for us: nobody waits for what is under way. */
static void let_go(struct stream *stream, enum status why)
{
    stream->call = NULL;
    rpc__lasting_end(&stream->lasting);
    LIST_FOR_EACH (&stream->renewals, link) {
        struct renewal *renewal = CONTAINER_OF(link, struct renewal, link);
        if (!renewal->is_done) {
            server_cancel(stream->api->server, &renewal->request, why);
        }
    }
    free_when_idle(stream);
}

static void fail(struct stream *stream, enum status status)
{
    struct grpc_call *call = stream->call;
    let_go(stream, STATUS_CANCELED);
    rpc__finish_status(call, status);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void control_reading(struct stream *stream)
{
    bool is_full = stream->arena.used > ARENA_MAX || !grpc_call_writable(stream->call);
    if (is_full != stream->is_paused) {
        stream->is_paused = is_full;
        grpc_call_pause(stream->call, is_full);
    }
}

/* Sends what is done, as far as nothing before it is not. */
static void answer(struct stream *stream)
{
    LIST_FOR_EACH (&stream->renewals, link) {
        struct renewal *renewal = CONTAINER_OF(link, struct renewal, link);
        if (!renewal->is_done) {
            break;
        }
        if (renewal->request.status != STATUS_OK) {
            fail(stream, renewal->request.status);
            return;
        }
        list_del(&renewal->link);
        rpc_counters_sent(rpc__counters(stream->call));
        grpc_call_send_copy(stream->call, renewal->request.reply);
    }
    if (list_empty(&stream->renewals)) {
        arena_reset(&stream->arena);
        if (stream->is_half_closed) {
            struct grpc_call *call = stream->call;
            let_go(stream, STATUS_OK);
            rpc__finish(call, GRPC_OK, NULL);
            return;
        }
    }
    control_reading(stream);
}

static void on_renewed(struct server_request *request)
{
    struct renewal *renewal = CONTAINER_OF(request, struct renewal, request);
    struct stream *stream = renewal->stream;
    ASSERT(stream->under_way > 0);
    stream->under_way--;
    renewal->is_done = true;
    if (stream->call == NULL) {
        free_when_idle(stream);
    } else {
        answer(stream);
    }
}

/* ---- events ---------------------------------------------------------------------------------- */

static void on_stop(struct rpc_lasting *lasting, enum status why)
{
    fail(CONTAINER_OF(lasting, struct stream, lasting), why);
}

static void on_start(struct grpc_call *call)
{
    enum status status = rpc__start(call);
    if (status != STATUS_OK) {
        rpc__finish_status(call, status);
        return;
    }
    struct stream *stream = NEW(struct stream);
    stream->call = call;
    stream->api = rpc__api(call);
    arena_init(&stream->arena);
    list_init(&stream->renewals);
    rpc__lasting_begin(call, &stream->lasting, on_stop);
    grpc_call_set_data(call, stream);
    grpc_call_urgency(call, URGENCY);
}

static void on_message(struct grpc_call *call, struct slice bytes)
{
    struct stream *stream = grpc_call_data(call);
    void *message = NULL;
    if (!rpc__decode(call, &stream->arena, &etcdserverpb__lease_keep_alive_request__descriptor,
                     bytes, &message)) {
        rpc_metrics_stream_failed(stream->api->rpc_metrics, RPC_STREAM_KEEPALIVE);
        let_go(stream, STATUS_CANCELED);
        return;
    }
    struct renewal *renewal = ARENA_NEW(&stream->arena, struct renewal);
    renewal->stream = stream;
    renewal->request = (struct server_request){
        .kind = REQUEST_LEASE_RENEW,
        .is_serializable = true,
        .message = message,
        .arena = &stream->arena,
        .started = loop_now(stream->api->options.loop),
        .done = on_renewed,
    };
    list_add_tail(&stream->renewals, &renewal->link);
    stream->under_way++;
    server_submit(stream->api->server, &renewal->request);
    control_reading(stream);
}

static void on_half_close(struct grpc_call *call)
{
    struct stream *stream = grpc_call_data(call);
    stream->is_half_closed = true;
    answer(stream);
}

static void on_cancel(struct grpc_call *call, enum grpc_status why)
{
    struct stream *stream = grpc_call_data(call);
    rpc_metrics_stream_ended(stream->api->rpc_metrics, RPC_STREAM_KEEPALIVE, why);
    let_go(stream, STATUS_CANCELED);
    if (why == GRPC_UNAVAILABLE) {
        rpc__finish_status(call, STATUS_STOPPED);
    } else {
        rpc__finish_status(call, why == GRPC_DEADLINE_EXCEEDED ? STATUS_DEADLINE_EXCEEDED
                                                               : STATUS_CANCELED);
    }
}

static void on_writable(struct grpc_call *call)
{
    control_reading(grpc_call_data(call));
}

const struct grpc_handler rpc__lease_keep_alive_handler = {
    .start = on_start,
    .message = on_message,
    .half_close = on_half_close,
    .cancel = on_cancel,
    .writable = on_writable,
};
