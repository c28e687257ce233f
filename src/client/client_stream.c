/* A stream's states, and who moves it on:
 *
 *   CLOSED   not open, or ended
 *   STARTING to be sent in the next turn   the timer
 *   WAITING  no connection stands          an endpoint comes up, or the deadline
 *   LOGIN    a login is under way          its end, or the deadline
 *   RUNNING  sent to one endpoint          its end
 *
 * What is sent before it runs gathers in `unsent`. A stream that ends because its token is no
 * longer good starts a login, so that opening it again waits for the new token. */
#include "client/client_stream.h"

#include "base/mem.h"
#include "client/client_priv.h"

#define PAUSE_NS (25 * NS_PER_MS)
#define PAUSE_MAX_NS (100 * NS_PER_MS)

enum stream_state {
    STREAM_CLOSED,
    STREAM_STARTING,
    STREAM_WAITING,
    STREAM_LOGIN,
    STREAM_RUNNING,
};

/* Nothing refers to it any more. */
static void detach(struct client_stream *stream)
{
    stream->state = STREAM_CLOSED;
    list_del(&stream->link);
    timer_stop(stream->client->loop, &stream->timer);
    grpc_stream_free(&stream->stream);
    buf_fini(&stream->unsent);
}

static void stream_end(struct client_stream *stream, uint32_t status, const char *message)
{
    struct client *client = stream->client;
    struct buf kept = {0}; /* detach() frees what `message` may point into */
    struct buf error = {0};
    bool is_past = stream->deadline != UINT64_MAX && env_now_mono(client->env) >= stream->deadline;
    buf_append_str(&kept, message);
    client__error_text(status, message, is_past, &error);
    detach(stream);
    struct client_result result = {
        .status = status, .message = buf_cstr(&kept), .error = buf_cstr(&error)};
    stream->handler->end(stream, &result);
    buf_fini(&kept);
    buf_fini(&error);
}

/* ---- the connection's side --------------------------------------------------------------- */

static void on_message(struct grpc_stream *grpc, struct slice message, void *ctx)
{
    struct client_stream *stream = ctx;
    ASSERT(stream->stream == grpc);
    stream->handler->message(stream, message);
}

static void on_end(struct grpc_stream *grpc, const struct grpc_result *result, void *ctx)
{
    struct client_stream *stream = ctx;
    ASSERT(stream->stream == grpc);
    if (client__wants_login(stream->client, result->message)) {
        client__login_start(stream->client);
    }
    stream_end(stream, result->status, result->message);
}

static void on_writable(struct grpc_stream *grpc, void *ctx)
{
    struct client_stream *stream = ctx;
    ASSERT(stream->stream == grpc);
    if (stream->handler->writable != NULL) {
        stream->handler->writable(stream);
    }
}

static const struct grpc_stream_handler grpc_events = {
    .message = on_message, .end = on_end, .writable = on_writable};

/* ---- sending it -------------------------------------------------------------------------- */

static void send_unsent(struct client_stream *stream)
{
    struct reader reader = reader_init(buf_slice(&stream->unsent));
    while (reader_left(&reader) > 0) {
        struct slice message = reader_bytes(&reader, reader_le64(&reader));
        grpc_stream_send(stream->stream, message);
    }
    enum err err = reader_finish(&reader);
    ASSERT(err == ERR_OK); /* we wrote it ourselves */
    buf_fini(&stream->unsent);
    if (stream->is_half_closed) {
        grpc_stream_close_send(stream->stream);
    }
}

/* Sends it to an endpoint that stands, or leaves it waiting for one. */
static void stream_start(struct client_stream *stream)
{
    struct client *client = stream->client;
    if (client->is_logging_in) {
        stream->state = STREAM_LOGIN;
        timer_start(client->loop, &stream->timer, stream->deadline);
        return;
    }
    struct remote *remote = client__pick(client);
    if (remote == NULL) {
        stream->state = STREAM_WAITING;
        timer_start(client->loop, &stream->timer, stream->deadline);
        return;
    }
    struct grpc_metadata metadata[CLIENT_METADATA_MAX];
    size_t count = client__metadata(client, true, metadata);
    if (stream->requires_leader) {
        metadata[count++] = (struct grpc_metadata){SLICE("hasleader"), SLICE("true")};
    }
    timer_stop(client->loop, &stream->timer);
    stream->state = STREAM_RUNNING;
    stream->stream = grpc_stream_open(remote->conn, stream->path, metadata, count, stream->deadline,
                                      &grpc_events, stream);
    send_unsent(stream);
    if (stream->handler->opened != NULL) {
        stream->handler->opened(stream);
    }
}

static void on_timer(struct timer *timer)
{
    struct client_stream *stream = CONTAINER_OF(timer, struct client_stream, timer);
    if (stream->state == STREAM_STARTING) {
        stream_start(stream);
        return;
    }
    struct buf message = {0};
    const char *why = client_connection_error(stream->client);
    if (stream->state == STREAM_WAITING && why[0] != 0) {
        buf_printf(&message, "latest balancer error: last connection error: %s", why);
    } else {
        buf_append_str(&message, "context deadline exceeded");
    }
    stream_end(stream, GRPC_DEADLINE_EXCEEDED, buf_cstr(&message));
    buf_fini(&message);
}

/* ---- the client's side ------------------------------------------------------------------- */

/* Each stream of `state`, while handlers may open and cancel any. */
static struct client_stream *take(struct client *client, struct list *waiting)
{
    struct list *node = list_pop(waiting);
    if (node == NULL) {
        return NULL;
    }
    list_add_tail(&client->streams, node);
    return CONTAINER_OF(node, struct client_stream, link);
}

static void gather(struct client *client, enum stream_state state, struct list *out)
{
    list_init(out);
    LIST_FOR_EACH (&client->streams, node) {
        if (CONTAINER_OF(node, struct client_stream, link)->state == (int)state) {
            list_del(node);
            list_add_tail(out, node);
        }
    }
}

void client__streams_dispatch(struct client *client)
{
    struct list waiting;
    gather(client, STREAM_WAITING, &waiting);
    for (struct client_stream *stream = take(client, &waiting); stream != NULL;
         stream = take(client, &waiting)) {
        stream_start(stream);
    }
}

void client__streams_login_ended(struct client *client, const struct client_result *failure)
{
    struct list waiting;
    gather(client, STREAM_LOGIN, &waiting);
    for (struct client_stream *stream = take(client, &waiting); stream != NULL;
         stream = take(client, &waiting)) {
        if (failure == NULL) {
            stream_start(stream);
        } else {
            stream_end(stream, failure->status, failure->message);
        }
    }
}

void client__streams_free(struct client *client)
{
    while (!list_empty(&client->streams)) {
        detach(CONTAINER_OF(client->streams.next, struct client_stream, link));
    }
}

/* ---- the owner's side -------------------------------------------------------------------- */

void client_stream_open(struct client *client, struct client_stream *stream)
{
    ASSERT(stream->state == STREAM_CLOSED);
    stream->client = client;
    stream->stream = NULL;
    stream->is_half_closed = false;
    stream->unsent = (struct buf){0};
    stream->state = STREAM_STARTING;
    timer_init(&stream->timer, on_timer);
    list_init(&stream->link);
    list_add_tail(&client->streams, &stream->link);
    timer_start(client->loop, &stream->timer, loop_now(client->loop));
}

void client_stream_send(struct client_stream *stream, struct slice message)
{
    ASSERT(stream->state != STREAM_CLOSED);
    ASSERT(!stream->is_half_closed);
    if (stream->state == STREAM_RUNNING) {
        grpc_stream_send(stream->stream, message);
        return;
    }
    put_le64(buf_extend(&stream->unsent, 8), message.len);
    buf_append_slice(&stream->unsent, message);
}

void client_stream_close_send(struct client_stream *stream)
{
    ASSERT(stream->state != STREAM_CLOSED);
    stream->is_half_closed = true;
    if (stream->state == STREAM_RUNNING) {
        grpc_stream_close_send(stream->stream);
    }
}

bool client_stream_writable(struct client_stream *stream)
{
    return stream->state != STREAM_RUNNING || grpc_stream_writable(stream->stream);
}

void client_stream_pause(struct client_stream *stream, bool is_paused)
{
    if (stream->state == STREAM_RUNNING) {
        grpc_stream_pause(stream->stream, is_paused);
    }
}

void client_stream_cancel(struct client_stream *stream)
{
    if (stream->state != STREAM_CLOSED) {
        detach(stream);
    }
}

bool client_stream_is_open(const struct client_stream *stream)
{
    return stream->state != STREAM_CLOSED;
}

uint64_t client_stream_pause_ns(struct client *client, unsigned attempt)
{
    uint64_t pause = attempt >= 2 ? PAUSE_MAX_NS : PAUSE_NS << attempt;
    return pause - pause / 4 + env_random_u64(client->env) % (pause / 2);
}
