/* A client connection and its calls.
 *
 * A stream object has up to three holders: the session (from h2_request() to closed()), its owner
 * (until grpc_stream_free(), or for unary calls until done() was called), and the list of ended
 * streams whose end has still to be told. It is freed when none is left.
 *
 * Ends are told from a task of the step phase, so that no callback runs inside of a call from the
 * owner; messages are told while input is read. */
#include "net/grpc_client.h"

#include "base/mem.h"
#include "codec/gzip.h"
#include "codec/h2.h"
#include "net/stream.h"

#include <stdio.h>

#define STREAM_WINDOW (4 * 1024 * 1024)
#define CONNECTION_WINDOW (16 * 1024 * 1024)
#define HEADER_BYTES_MAX (64 * 1024)
#define HEADER_COUNT_MAX 512
#define METADATA_MAX 256
#define SEND_HIGH ((size_t)256 * 1024)
#define SEND_LOW ((size_t)64 * 1024)

enum conn_state {
    CONN_DIALING,
    CONN_UP,
    CONN_LOST,
};

struct grpc_conn {
    struct stream stream;
    struct stream_group group;
    struct env *env;
    struct loop *loop;
    enum conn_state state;
    bool has_stream; /* stream_init() was called, dispose() not yet */
    struct dial *dial;
    struct h2 *h2;
    struct list streams; /* all that have not ended */
    struct list ended;
    struct list lingering; /* told, and still with the session */
    struct list notify;
    struct task end_task;
    struct timer timer; /* connect timeout, then keepalive */
    struct grpc_conn_options options;
    char *authority;
    char *user_agent;
    mono_ns read_at;
    bool ping_out;
    int32_t last_id; /* of the server's GOAWAY */
    char *lost_why;  /* to be told */
    bool lost_told;
};

struct grpc_stream {
    struct grpc_conn *conn; /* NULL once the connection is closed */
    struct list link;       /* conn->streams, ended or lingering */
    struct list notify_link;
    int32_t id; /* 0: not with the session */
    struct timer timer;
    mono_ns deadline;

    /* Who is told. */
    struct grpc_stream_handler handler;
    grpc_unary_fn *unary;
    void *ctx;
    bool is_orphan; /* freed by its owner: nobody is told */
    bool is_ended;
    bool is_told;
    bool is_telling; /* a callback runs: not yet to be freed */

    /* Request. */
    struct arena arena; /* of the header fields */
    struct h2_field *fields;
    size_t field_count;
    struct outq body;
    bool is_half_closed;
    bool wants_writable;

    /* Response. */
    struct grpc_deframer deframer;
    struct buf reply; /* unary */
    struct buf inflated;
    struct buf paused;
    size_t unconsumed;
    bool is_paused;
    bool has_reply;
    bool has_status;
    bool has_end; /* END_STREAM came */
    unsigned http_status;
    uint32_t status;
    struct buf message;
    bool unseen;
};

/* ---- ends ------------------------------------------------------------------------------- */

static void stream_release(struct grpc_stream *stream)
{
    bool is_owned =
        stream->unary != NULL ? !stream->is_told && !stream->is_orphan : !stream->is_orphan;
    if (is_owned || stream->id != 0 || stream->is_telling ||
        (stream->is_ended && !stream->is_told)) {
        return;
    }
    list_del(&stream->link);
    list_del(&stream->notify_link);
    outq_fini(&stream->body);
    grpc_deframer_fini(&stream->deframer);
    buf_fini(&stream->reply);
    buf_fini(&stream->inflated);
    buf_fini(&stream->paused);
    buf_fini(&stream->message);
    arena_fini(&stream->arena);
    mem_free(stream);
}

__attribute__((format(printf, 3, 4))) static void
stream_end(struct grpc_stream *stream, uint32_t status, const char *format, ...)
{
    struct grpc_conn *conn = stream->conn;
    if (stream->is_ended) {
        return;
    }
    stream->is_ended = true;
    stream->status = status;
    timer_stop(conn->loop, &stream->timer);
    if (format != NULL) {
        char text[1024];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        buf_reset(&stream->message);
        buf_append_str(&stream->message, text);
    }
    /* The body stays: the session may have been promised bytes of it. */
    list_del(&stream->notify_link);
    list_del(&stream->link);
    list_add_tail(&conn->ended, &stream->link);
    loop_task_add(conn->loop, LOOP_STEP, &conn->end_task);
}

static void tell_end(struct grpc_stream *stream)
{
    struct grpc_result result = {
        .status = stream->status,
        .message = buf_cstr(&stream->message),
        .unseen = stream->unseen,
    };
    stream->is_told = true;
    if (stream->is_orphan) {
        return;
    }
    if (stream->unary != NULL) {
        bool is_ok = stream->status == GRPC_OK;
        stream->unary(&result, is_ok ? buf_slice(&stream->reply) : SLICE_EMPTY, stream->ctx);
    } else {
        stream->handler.end(stream, &result, stream->ctx);
    }
}

static void tell_state(struct grpc_conn *conn, const char *why)
{
    if (conn->options.on_state != NULL) {
        conn->options.on_state(conn, why, conn->options.ctx);
    }
}

static void tell_ends(struct grpc_conn *conn)
{
    for (struct list *node = list_pop(&conn->ended); node != NULL; node = list_pop(&conn->ended)) {
        struct grpc_stream *stream = CONTAINER_OF(node, struct grpc_stream, link);
        stream->is_telling = true;
        tell_end(stream);
        stream->is_telling = false;
        if (stream->id != 0) {
            list_add_tail(&conn->lingering, &stream->link);
        }
        stream_release(stream);
    }
}

static void on_end_task(struct task *task)
{
    struct grpc_conn *conn = CONTAINER_OF(task, struct grpc_conn, end_task);
    tell_ends(conn);
    if (conn->lost_why != NULL && !conn->lost_told) {
        conn->lost_told = true;
        tell_state(conn, conn->lost_why);
    }
}

/* ---- the connection is lost ------------------------------------------------------------- */

static void conn_lost(struct grpc_conn *conn, const char *why)
{
    if (conn->state == CONN_LOST) {
        return;
    }
    bool was_up = conn->state == CONN_UP;
    conn->state = CONN_LOST;
    conn->lost_why = mem_strdup(why);
    timer_stop(conn->loop, &conn->timer);
    net_connect_cancel(&conn->dial);
    if (conn->has_stream) {
        stream_kill(&conn->stream);
    }
    while (!list_empty(&conn->streams)) {
        struct grpc_stream *stream = CONTAINER_OF(conn->streams.next, struct grpc_stream, link);
        stream->unseen = !was_up || stream->id == 0 || stream->id > conn->last_id;
        stream->id = 0;
        stream_end(stream, GRPC_UNAVAILABLE, "%s", why);
    }
    LIST_FOR_EACH (&conn->ended, node) {
        CONTAINER_OF(node, struct grpc_stream, link)->id = 0;
    }
    for (struct list *node = list_pop(&conn->lingering); node != NULL;
         node = list_pop(&conn->lingering)) {
        struct grpc_stream *stream = CONTAINER_OF(node, struct grpc_stream, link);
        stream->id = 0;
        stream_release(stream);
    }
    h2_free(&conn->h2);
    loop_task_add(conn->loop, LOOP_STEP, &conn->end_task);
}

/* ---- the session's events --------------------------------------------------------------- */

static void *on_open(void *ctx, int32_t id)
{
    UNUSED(ctx);
    UNUSED(id);
    return NULL;
}

static void on_field(void *owner, struct slice name, struct slice value)
{
    struct grpc_stream *stream = owner;
    uint64_t number;
    if (slice_eq_str(name, ":status")) {
        stream->http_status = slice_to_u64(value, &number) == ERR_OK ? (unsigned)number : 0;
    } else if (slice_eq_str(name, "grpc-status")) {
        stream->has_status = true;
        bool is_number = slice_to_u64(value, &number) == ERR_OK && number <= UINT32_MAX;
        stream->status = is_number ? (uint32_t)number : GRPC_UNKNOWN;
    } else if (slice_eq_str(name, "grpc-message")) {
        buf_reset(&stream->message);
        grpc_message_decode(value, &stream->message);
    }
}

static void on_headers(void *owner, bool is_trailers)
{
    UNUSED(owner);
    UNUSED(is_trailers);
}

/* False: the call has failed. */
static bool inflate_reply(struct grpc_stream *stream, struct grpc_frame *frame)
{
    buf_reset(&stream->inflated);
    if (gzip_decode(frame->data, stream->deframer.limit, &stream->inflated) != ERR_OK) {
        stream_end(stream, GRPC_INTERNAL, "grpc: failed to decompress the received message");
        return false;
    }
    frame->data = buf_slice(&stream->inflated);
    return true;
}

static void on_message(struct grpc_stream *stream, struct grpc_frame frame)
{
    if (frame.compressed && !inflate_reply(stream, &frame)) {
        return;
    }
    if (stream->unary == NULL) {
        stream->handler.message(stream, frame.data, stream->ctx);
    } else if (!stream->has_reply) {
        stream->has_reply = true;
        buf_append_slice(&stream->reply, frame.data);
    }
}

static bool takes_input(const struct grpc_stream *stream)
{
    return !stream->is_ended && !stream->is_orphan;
}

static struct slice deliver(struct grpc_stream *stream, struct slice in)
{
    while (takes_input(stream) && !stream->is_paused) {
        struct grpc_frame frame;
        enum err err = grpc_deframer_next(&stream->deframer, &in, &frame);
        if (err == ERR_AGAIN) {
            break;
        }
        if (err != ERR_OK) {
            h2_reset(stream->conn->h2, stream->id, H2_CANCEL);
            if (err == ERR_TOO_LARGE) {
                stream_end(stream, GRPC_RESOURCE_EXHAUSTED,
                           "grpc: received message larger than max (%u vs. %u)",
                           stream->deframer.len, stream->deframer.limit);
            } else {
                stream_end(stream, GRPC_INTERNAL, "grpc: received unexpected payload format %u",
                           stream->deframer.prefix[0]);
            }
            break;
        }
        on_message(stream, frame);
    }
    return takes_input(stream) ? in : SLICE_EMPTY;
}

static bool on_data(void *owner, struct slice bytes)
{
    struct grpc_stream *stream = owner;
    bool was_paused = stream->is_paused;
    buf_append_slice(&stream->paused, deliver(stream, bytes));
    if (was_paused && takes_input(stream)) {
        stream->unconsumed += bytes.len;
        return false;
    }
    return true;
}

static void complete(struct grpc_stream *stream)
{
    if (!stream->has_status) {
        enum grpc_status status = grpc_status_of_http(stream->http_status);
        if (stream->http_status == 200) {
            stream_end(stream, GRPC_INTERNAL, "server closed the stream without sending trailers");
        } else {
            stream_end(stream, status, "unexpected HTTP status code received from server: %u",
                       stream->http_status);
        }
        return;
    }
    if (stream->status == GRPC_OK && stream->unary != NULL && !stream->has_reply) {
        stream_end(stream, GRPC_INTERNAL, "server sent no message and status OK");
        return;
    }
    stream_end(stream, stream->status, NULL);
}

static void on_end(void *owner)
{
    struct grpc_stream *stream = owner;
    stream->has_end = true;
    if (!stream->is_half_closed) {
        /* The answer is complete: nobody will read what we might still send. */
        h2_reset(stream->conn->h2, stream->id, H2_NO_ERROR);
    }
    if (stream->paused.len == 0) {
        complete(stream);
    }
}

static const struct {
    uint32_t code;
    enum grpc_status status;
    const char *name;
} reset_codes[] = {
    {0x0, GRPC_INTERNAL, "NO_ERROR"},
    {0x1, GRPC_INTERNAL, "PROTOCOL_ERROR"},
    {0x2, GRPC_INTERNAL, "INTERNAL_ERROR"},
    {0x3, GRPC_RESOURCE_EXHAUSTED, "FLOW_CONTROL_ERROR"},
    {0x4, GRPC_INTERNAL, "SETTINGS_TIMEOUT"},
    {0x5, GRPC_INTERNAL, "STREAM_CLOSED"},
    {0x6, GRPC_INTERNAL, "FRAME_SIZE_ERROR"},
    {0x7, GRPC_UNAVAILABLE, "REFUSED_STREAM"},
    {0x8, GRPC_CANCELED, "CANCEL"},
    {0x9, GRPC_INTERNAL, "COMPRESSION_ERROR"},
    {0xa, GRPC_INTERNAL, "CONNECT_ERROR"},
    {0xb, GRPC_RESOURCE_EXHAUSTED, "ENHANCE_YOUR_CALM"},
    {0xc, GRPC_PERMISSION_DENIED, "INADEQUATE_SECURITY"},
    {0xd, GRPC_INTERNAL, "HTTP_1_1_REQUIRED"},
};

static void on_closed(void *owner, uint32_t code)
{
    struct grpc_stream *stream = owner;
    stream->id = 0;
    if (!stream->is_ended && !stream->has_end) {
        bool is_known = code < ARRAY_LEN(reset_codes);
        stream->unseen = code == H2_REFUSED_STREAM;
        stream_end(stream, is_known ? reset_codes[code].status : GRPC_UNKNOWN,
                   "stream terminated by RST_STREAM with error code: %s",
                   is_known ? reset_codes[code].name : "unknown");
    }
    stream_release(stream);
}

static enum h2_pull on_pull(void *owner, size_t max, size_t *len_out)
{
    struct grpc_stream *stream = owner;
    *len_out = stream->body.len < max ? (size_t)stream->body.len : max;
    if (stream->is_half_closed && *len_out == stream->body.len) {
        return H2_PULL_END;
    }
    return *len_out == 0 ? H2_PULL_WAIT : H2_PULL_MORE;
}

static void on_write(void *owner, struct outq *out, size_t len)
{
    struct grpc_stream *stream = owner;
    outq_move(out, &stream->body, len, NULL);
    if (stream->wants_writable && stream->body.len <= SEND_LOW &&
        list_empty(&stream->notify_link)) {
        list_add_tail(&stream->conn->notify, &stream->notify_link);
    }
}

static void on_ping(void *ctx, bool is_ack)
{
    struct grpc_conn *conn = ctx;
    if (is_ack) {
        conn->ping_out = false;
    }
}

static void on_goaway(void *ctx, int32_t last_id, uint32_t code, struct slice debug)
{
    struct grpc_conn *conn = ctx;
    UNUSED(code);
    UNUSED(debug);
    conn->last_id = last_id;
}

static const struct h2_handler h2_events = {
    .open = on_open,
    .field = on_field,
    .headers = on_headers,
    .data = on_data,
    .end = on_end,
    .closed = on_closed,
    .pull = on_pull,
    .write = on_write,
    .ping = on_ping,
    .goaway = on_goaway,
};

/* ---- the socket's events ---------------------------------------------------------------- */

static struct grpc_conn *conn_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct grpc_conn, stream);
}

static void on_input(struct stream *stream, struct slice bytes)
{
    struct grpc_conn *conn = conn_of(stream);
    conn->read_at = loop_now(conn->loop);
    enum err err = h2_recv(conn->h2, bytes, conn->read_at);
    stream_touch(stream);
    if (err != ERR_OK) {
        conn_lost(conn, "the connection is draining");
    }
}

static bool on_fill(struct stream *stream)
{
    struct grpc_conn *conn = conn_of(stream);
    if (conn->h2 == NULL) {
        return false;
    }
    bool has_more = h2_send(conn->h2, &stream->out, STREAM_OUT_MAX);
    for (struct list *node = list_pop(&conn->notify); node != NULL;
         node = list_pop(&conn->notify)) {
        struct grpc_stream *notified = CONTAINER_OF(node, struct grpc_stream, notify_link);
        notified->wants_writable = false;
        if (takes_input(notified) && notified->handler.writable != NULL) {
            notified->handler.writable(notified, notified->ctx);
            has_more = true;
        }
    }
    return has_more;
}

static void on_lost(struct stream *stream, enum err why)
{
    conn_lost(conn_of(stream), why == ERR_EOF       ? "error reading from server: EOF"
                               : why == ERR_TIMEOUT ? "the server takes no bytes"
                                                    : "error reading from server: "
                                                      "connection reset by peer");
}

static void on_dispose(struct stream *stream)
{
    conn_of(stream)->has_stream = false;
}

static const struct stream_handler stream_events = {
    .input = on_input, .fill = on_fill, .lost = on_lost, .dispose = on_dispose};

/* ---- starting calls --------------------------------------------------------------------- */

static void submit(struct grpc_stream *stream)
{
    struct grpc_conn *conn = stream->conn;
    ASSERT(conn->state == CONN_UP && stream->id == 0 && !stream->is_ended);
    if (stream->deadline != UINT64_MAX) {
        /* The last field: what is left of the time when it really leaves. */
        char text[GRPC_TIMEOUT_TEXT];
        mono_ns now = loop_now(conn->loop);
        grpc_timeout_format(stream->deadline > now ? stream->deadline - now : 1, text);
        char *copy = arena_strndup(&stream->arena, text, strlen(text));
        stream->fields[stream->field_count++] =
            (struct h2_field){.name = SLICE("grpc-timeout"), .value = slice_str(copy)};
    }
    stream->id = h2_request(conn->h2, stream->fields, stream->field_count, true, stream);
    if (stream->id == 0) {
        stream->unseen = true;
        stream_end(stream, GRPC_UNAVAILABLE, "no more streams on this connection");
        return;
    }
    stream_touch(&conn->stream);
}

static struct slice keep(struct grpc_stream *stream, struct slice text)
{
    return slice_of(arena_dup(&stream->arena, text.data, text.len), text.len);
}

static void field_add(struct grpc_stream *stream, struct slice name, struct slice value)
{
    stream->fields[stream->field_count++] = (struct h2_field){.name = name, .value = value};
}

static void fields_build(struct grpc_stream *stream, const char *path,
                         const struct grpc_metadata *metadata, size_t count)
{
    struct grpc_conn *conn = stream->conn;
    ASSERT(count <= METADATA_MAX);
    stream->fields = arena_alloc(&stream->arena, (count + 8) * sizeof(*stream->fields));
    field_add(stream, SLICE(":method"), SLICE("POST"));
    field_add(stream, SLICE(":scheme"), SLICE("http"));
    field_add(stream, SLICE(":path"), keep(stream, slice_str(path)));
    field_add(stream, SLICE(":authority"), slice_str(conn->authority));
    field_add(stream, SLICE("content-type"), SLICE("application/grpc"));
    field_add(stream, SLICE("user-agent"), slice_str(conn->user_agent));
    field_add(stream, SLICE("te"), SLICE("trailers"));
    for (size_t i = 0; i < count; i++) {
        struct slice value = metadata[i].value;
        if (grpc_metadata_is_binary(metadata[i].name)) {
            struct buf text = {0};
            grpc_metadata_encode(value, &text);
            value = keep(stream, buf_slice(&text));
            buf_fini(&text);
        } else {
            value = keep(stream, value);
        }
        field_add(stream, keep(stream, metadata[i].name), value);
    }
}

static void on_deadline(struct timer *timer)
{
    struct grpc_stream *stream = CONTAINER_OF(timer, struct grpc_stream, timer);
    if (stream->id != 0) {
        h2_reset(stream->conn->h2, stream->id, H2_CANCEL);
        stream_touch(&stream->conn->stream);
    }
    stream_end(stream, GRPC_DEADLINE_EXCEEDED, "context deadline exceeded");
}

static struct grpc_stream *stream_new(struct grpc_conn *conn, const char *path,
                                      const struct grpc_metadata *metadata, size_t count,
                                      mono_ns deadline, void *ctx)
{
    struct grpc_stream *stream = NEW(struct grpc_stream);
    uint32_t limit = conn->options.message_max;
    stream->conn = conn;
    stream->ctx = ctx;
    stream->deadline = deadline;
    list_init(&stream->notify_link);
    list_add_tail(&conn->streams, &stream->link);
    timer_init(&stream->timer, on_deadline);
    arena_init(&stream->arena);
    outq_init(&stream->body, &conn->group.pool);
    grpc_deframer_init(&stream->deframer, limit == 0 ? INT32_MAX : limit);
    fields_build(stream, path, metadata, count);
    if (deadline != UINT64_MAX) {
        timer_start(conn->loop, &stream->timer, deadline);
    }
    return stream;
}

/* Now, or when the connection stands, or never. */
static void stream_begin(struct grpc_stream *stream)
{
    struct grpc_conn *conn = stream->conn;
    if (conn->state == CONN_UP) {
        submit(stream);
    } else if (conn->state == CONN_LOST) {
        stream->unseen = true;
        stream_end(stream, GRPC_UNAVAILABLE, "%s", conn->lost_why);
    }
}

static void body_append(struct grpc_stream *stream, struct slice message)
{
    uint8_t prefix[GRPC_PREFIX_LEN];
    ASSERT(message.len <= UINT32_MAX);
    grpc_prefix_put(prefix, false, (uint32_t)message.len);
    outq_append(&stream->body, prefix, sizeof(prefix));
    outq_append(&stream->body, message.data, message.len);
}

struct grpc_stream *grpc_unary(struct grpc_conn *conn, const char *path, struct slice request,
                               const struct grpc_metadata *metadata, size_t metadata_count,
                               mono_ns deadline, grpc_unary_fn *done, void *ctx)
{
    struct grpc_stream *stream = stream_new(conn, path, metadata, metadata_count, deadline, ctx);
    stream->unary = done;
    body_append(stream, request);
    stream->is_half_closed = true;
    stream_begin(stream);
    return stream;
}

struct grpc_stream *grpc_stream_open(struct grpc_conn *conn, const char *path,
                                     const struct grpc_metadata *metadata, size_t metadata_count,
                                     mono_ns deadline, const struct grpc_stream_handler *handler,
                                     void *ctx)
{
    struct grpc_stream *stream = stream_new(conn, path, metadata, metadata_count, deadline, ctx);
    stream->handler = *handler;
    stream_begin(stream);
    return stream;
}

/* ---- using streams ---------------------------------------------------------------------- */

static void body_changed(struct grpc_stream *stream)
{
    if (stream->id != 0) {
        h2_resume(stream->conn->h2, stream->id);
        stream_touch(&stream->conn->stream);
    }
}

void grpc_stream_send(struct grpc_stream *stream, struct slice message)
{
    ASSERT(!stream->is_half_closed && !stream->is_orphan);
    if (!stream->is_ended) {
        body_append(stream, message);
        body_changed(stream);
    }
}

void grpc_stream_close_send(struct grpc_stream *stream)
{
    ASSERT(!stream->is_orphan);
    if (!stream->is_ended && !stream->is_half_closed) {
        stream->is_half_closed = true;
        body_changed(stream);
    }
}

bool grpc_stream_writable(struct grpc_stream *stream)
{
    bool writable = stream->is_ended || stream->body.len < SEND_HIGH;
    stream->wants_writable = !writable;
    return writable;
}

void grpc_stream_pause(struct grpc_stream *stream, bool paused)
{
    if (stream->is_paused == paused || stream->is_ended) {
        return;
    }
    stream->is_paused = paused;
    if (paused) {
        return;
    }
    struct buf input = stream->paused;
    stream->paused = (struct buf){0};
    buf_append_slice(&stream->paused, deliver(stream, buf_slice(&input)));
    buf_fini(&input);
    if (stream->id != 0 && !stream->is_paused && stream->unconsumed > 0) {
        h2_consume(stream->conn->h2, stream->id, stream->unconsumed);
        stream->unconsumed = 0;
        stream_touch(&stream->conn->stream);
    }
    if (stream->has_end && !stream->is_paused) {
        complete(stream);
    }
}

void grpc_stream_cancel(struct grpc_stream *stream)
{
    if (stream->is_ended) {
        return;
    }
    if (stream->id != 0) {
        h2_reset(stream->conn->h2, stream->id, H2_CANCEL);
        stream_touch(&stream->conn->stream);
    }
    stream_end(stream, GRPC_CANCELED, "context canceled");
}

void grpc_stream_free(struct grpc_stream **stream_ptr)
{
    struct grpc_stream *stream = *stream_ptr;
    if (stream == NULL) {
        return;
    }
    ASSERT(stream->unary == NULL);
    *stream_ptr = NULL;
    if (stream->conn != NULL) {
        grpc_stream_cancel(stream);
    }
    stream->is_orphan = true;
    stream_release(stream);
}

/* ---- life of a connection --------------------------------------------------------------- */

static void keepalive_arm(struct grpc_conn *conn, mono_ns at)
{
    timer_start(conn->loop, &conn->timer, at);
}

static void on_timer(struct timer *timer)
{
    struct grpc_conn *conn = CONTAINER_OF(timer, struct grpc_conn, timer);
    mono_ns now = loop_now(conn->loop);
    if (conn->state == CONN_DIALING) {
        conn_lost(conn, "connection error: desc = \"transport: Error while dialing: dial tcp: "
                        "i/o timeout\"");
        return;
    }
    if (conn->read_at + conn->options.keepalive_ns > now) {
        conn->ping_out = false;
        keepalive_arm(conn, conn->read_at + conn->options.keepalive_ns);
        return;
    }
    if (conn->ping_out) {
        conn_lost(conn, "keepalive ping failed to receive ACK within timeout");
        return;
    }
    conn->ping_out = true;
    h2_ping(conn->h2);
    stream_touch(&conn->stream);
    keepalive_arm(conn, now + conn->options.keepalive_timeout_ns);
}

static void conn_up(struct grpc_conn *conn, struct sock *sock)
{
    struct h2_options options = {
        .is_client = true,
        .streams_max = UINT32_MAX,
        .stream_window = STREAM_WINDOW,
        .connection_window = CONNECTION_WINDOW,
        .header_bytes_max = HEADER_BYTES_MAX,
        .header_count_max = HEADER_COUNT_MAX,
    };
    conn->state = CONN_UP;
    conn->read_at = loop_now(conn->loop);
    stream_init(&conn->stream, &conn->group, sock, &stream_events);
    conn->has_stream = true;
    conn->h2 = h2_new(&options, &h2_events, conn);
    timer_stop(conn->loop, &conn->timer);
    if (conn->options.keepalive_ns != 0) {
        keepalive_arm(conn, conn->read_at + conn->options.keepalive_ns);
    }
    stream_touch(&conn->stream);
    LIST_FOR_EACH (&conn->streams, node) {
        submit(CONTAINER_OF(node, struct grpc_stream, link));
    }
    tell_state(conn, NULL);
}

static void on_connected(struct sock *sock, const struct errbuf *why, void *ctx)
{
    struct grpc_conn *conn = ctx;
    conn->dial = NULL;
    if (sock != NULL) {
        conn_up(conn, sock);
        return;
    }
    char text[700];
    snprintf(text, sizeof(text), "connection error: desc = \"transport: Error while dialing: %s\"",
             why->text);
    conn_lost(conn, text);
}

struct grpc_conn *grpc_conn_open(struct env *env, struct loop *loop,
                                 const struct grpc_conn_options *options)
{
    struct grpc_conn *conn = NEW(struct grpc_conn);
    uint64_t timeout = options->connect_timeout_ns;
    conn->env = env;
    conn->loop = loop;
    conn->options = *options;
    conn->last_id = INT32_MAX;
    if (conn->options.keepalive_timeout_ns == 0) {
        conn->options.keepalive_timeout_ns = 20 * NS_PER_SEC;
    }
    conn->authority = options->authority != NULL
                          ? mem_strdup(options->authority)
                          : mem_printf("%s:%s", options->host, options->port);
    conn->user_agent =
        mem_strdup(options->user_agent == NULL ? "grpc-c-etcd/1.0" : options->user_agent);
    list_init(&conn->streams);
    list_init(&conn->ended);
    list_init(&conn->lingering);
    list_init(&conn->notify);
    task_init(&conn->end_task, on_end_task);
    timer_init(&conn->timer, on_timer);
    stream_group_init(&conn->group, loop);
    timer_start(loop, &conn->timer, loop_now(loop) + (timeout == 0 ? 20 * NS_PER_SEC : timeout));
    conn->dial = net_connect(env->net, options->host, options->port, on_connected, conn);
    conn->options.host = NULL;
    conn->options.port = NULL;
    return conn;
}

void grpc_conn_close(struct grpc_conn **conn_ptr)
{
    struct grpc_conn *conn = *conn_ptr;
    if (conn == NULL) {
        return;
    }
    conn->options.on_state = NULL;
    conn_lost(conn, "the client connection is closing");
    /* Nobody is told any more; unary calls have no other owner. */
    for (struct list *node = list_pop(&conn->ended); node != NULL; node = list_pop(&conn->ended)) {
        struct grpc_stream *stream = CONTAINER_OF(node, struct grpc_stream, link);
        stream->is_told = true;
        stream->status = GRPC_CANCELED;
        stream->conn = NULL;
        stream_release(stream);
    }
    stream_group_bury(&conn->group);
    loop_task_remove(&conn->end_task);
    stream_group_fini(&conn->group);
    mem_free(conn->lost_why);
    mem_free(conn->authority);
    mem_free(conn->user_agent);
    mem_free(conn);
    *conn_ptr = NULL;
}

bool grpc_conn_is_up(const struct grpc_conn *conn)
{
    return conn->state == CONN_UP;
}

bool grpc_conn_is_lost(const struct grpc_conn *conn)
{
    return conn->state == CONN_LOST;
}
