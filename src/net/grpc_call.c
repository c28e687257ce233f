/* Calls: life, cancellation, header blocks, and what a connection asks of them. What they send is
 * grpc_send.c's. */
#include "base/mem.h"
#include "codec/gzip.h"
#include "net/grpc_call_priv.h"

#include <stdio.h>

/* Memory that a spare call may keep. */
#define KEEP_MAX ((size_t)16 * 1024)

/* ---- life ------------------------------------------------------------------------------------ */

static void call_recycle(struct outq_owner *owner)
{
    struct grpc_call *call = CONTAINER_OF(owner, struct grpc_call, owner);
    struct http_server *server = call->server;
    ASSERT(!call->has_handler && call->id == 0 && call->held == 0 && !call->has_source);
    ASSERT(call->packer == NULL);
    ASSERT(list_empty(&call->run_link) && list_empty(&call->wait_link));
    ASSERT(!timer_running(&call->timer));
    server->calls_live--;
    if (call->field_cap > CALL_FIELDS_INLINE) {
        mem_free(call->fields);
    }
    grpc_call__head_unref(call->head);
    call->head = NULL;
    outq_clear(&call->body);
    list_add_head(&server->spare_calls, &call->link);
    server->spare_count++;
    arena_reset(&call->arena);
    grpc_deframer_reset(&call->deframer, KEEP_MAX);
    buf_fini(&call->inflated);
    buf_fini(&call->paused);
    if (server->spare_count > CALLS_SPARE_MAX) {
        server->spare_count--;
        list_del(&call->link);
        arena_fini(&call->arena);
        grpc_deframer_fini(&call->deframer);
        outq_fini(&call->body);
        mem_free(call);
    }
    http__stop_check(server);
}

void grpc_call__free_spare(struct http_server *server)
{
    for (struct list *node = list_pop(&server->spare_calls); node != NULL;
         node = list_pop(&server->spare_calls)) {
        struct grpc_call *call = CONTAINER_OF(node, struct grpc_call, link);
        arena_fini(&call->arena);
        grpc_deframer_fini(&call->deframer);
        outq_fini(&call->body);
        mem_free(call);
    }
    server->spare_count = 0;
}

static void on_deadline(struct timer *timer)
{
    struct grpc_call *call = CONTAINER_OF(timer, struct grpc_call, timer);
    if (grpc_call__is_local(call)) {
        grpc_call__abort(call, GRPC_DEADLINE_EXCEEDED, "context deadline exceeded");
    } else {
        grpc_call__reset(call, H2_CANCEL, GRPC_DEADLINE_EXCEEDED);
    }
}

/* What a reused call keeps: its arena, its buffers, its queue's ring. All else starts anew. */
static struct grpc_call *call_take(struct http_server *server)
{
    struct list *node = list_pop(&server->spare_calls);
    if (node == NULL) {
        struct grpc_call *call = NEW(struct grpc_call);
        arena_init(&call->arena);
        grpc_deframer_init(&call->deframer, server->options.grpc_message_max);
        outq_init(&call->body, &server->group.pool);
        return call;
    }
    server->spare_count--;
    struct grpc_call *call = CONTAINER_OF(node, struct grpc_call, link);
    struct arena arena = call->arena;
    struct grpc_deframer deframer = call->deframer;
    struct outq body = call->body;
    memset(call, 0, offsetof(struct grpc_call, fields_inline));
    call->arena = arena;
    call->deframer = deframer;
    call->body = body;
    return call;
}

struct grpc_call *grpc_call__new(struct http_server *server)
{
    struct grpc_call *call = call_take(server);
    call->owner = (struct outq_owner){.refs = 1, .release = call_recycle};
    call->server = server;
    call->stage = CALL_HEADERS;
    call->fields = call->fields_inline;
    call->field_cap = CALL_FIELDS_INLINE;
    call->deadline = UINT64_MAX;
    call->urgency = 3;
    call->started = loop_now(server->loop);
    timer_init(&call->timer, on_deadline);
    list_init(&call->notify_link);
    list_init(&call->wait_link);
    list_init(&call->run_link);
    list_init(&call->again_link);
    list_init(&call->link);
    server->calls_live++;
    return call;
}

struct grpc_call *grpc_call__open(struct http_conn *conn, int32_t id)
{
    struct grpc_call *call = grpc_call__new(conn->server);
    call->conn = conn;
    call->id = id;
    list_add_tail(&conn->calls, &call->link);
    conn->call_count++;
    return call;
}

void grpc_call__source_close(struct grpc_call *call)
{
    if (call->has_source) {
        call->has_source = false;
        call->source_left = 0;
        call->source.close(call->source.ctx);
        gzip_writer_free(&call->packer);
        buf_fini(&call->packed);
    }
}

void grpc_call__hold(struct grpc_call *call, uint64_t held)
{
    if (call->conn != NULL) {
        ASSERT(call->conn->held >= call->held);
        call->conn->held += held - call->held;
        call->held = held;
    }
}

/* After the body has grown or shrunk. */
void grpc_call__queued_update(struct grpc_call *call)
{
    if (call->conn != NULL) {
        ASSERT(call->conn->queued >= call->queued);
        call->conn->queued += call->body.len - call->queued;
        call->queued = call->body.len;
        grpc_call__wake(call->conn);
    }
}

void grpc_call__run_begin(struct grpc_call *call)
{
    struct http_conn *conn = call->conn;
    if (conn != NULL) {
        call->ran_at = loop_now(call->server->loop);
        list_add_tail(&conn->running, &call->run_link);
        conn->running_count++;
    }
}

void grpc_call__run_end(struct grpc_call *call)
{
    struct http_conn *conn = call->conn;
    if (conn != NULL && !list_empty(&call->run_link)) {
        ASSERT(conn->running_count > 0);
        list_del(&call->run_link);
        conn->running_count--;
        grpc_call__wake(conn);
    }
}

void grpc_call__cancel(struct grpc_call *call, enum grpc_status why)
{
    if (call->has_handler && !call->is_canceled) {
        call->is_canceled = true;
        if (call->method->handler->cancel != NULL) {
            call->method->handler->cancel(call, why);
        }
    }
}

/* The stream is gone: nothing can be sent or received any more. */
void grpc_call__gone(struct grpc_call *call, enum grpc_status why)
{
    struct http_conn *conn = call->conn;
    ASSERT(conn != NULL && call->stage != CALL_CLOSED);
    timer_stop(call->server->loop, &call->timer);
    grpc_call__hold(call, 0);
    outq_clear(&call->body);
    grpc_call__queued_update(call);
    grpc_call__run_end(call);
    list_del(&call->wait_link);
    if (call->has_handler || call->has_source) { /* whose close() may look at it */
        call->peer = arena_strndup(&call->arena, conn->peer, strlen(conn->peer));
    }
    call->stage = CALL_CLOSED;
    call->id = 0;
    call->conn = NULL;
    list_del(&call->link);
    list_del(&call->notify_link);
    list_del(&call->again_link);
    ASSERT(conn->call_count > 0);
    conn->call_count--;
    grpc_call__source_close(call);
    grpc_call__cancel(call, why);
    outq_owner_unref(&call->owner);
}

void grpc_call__gone_all(struct http_conn *conn, enum grpc_status why)
{
    while (!list_empty(&conn->calls)) {
        grpc_call__gone(CONTAINER_OF(conn->calls.next, struct grpc_call, link), why);
    }
}

void grpc_call__reset(struct grpc_call *call, enum h2_code code, enum grpc_status why)
{
    struct http_conn *conn = call->conn;
    if (conn == NULL) {
        return;
    }
    h2_reset(conn->h2, call->id, code);
    stream_touch(&conn->stream);
    timer_stop(call->server->loop, &call->timer);
    list_del(&call->wait_link);
    call->stage = CALL_REFUSED;
    grpc_call__cancel(call, why);
}

void grpc_call__cancel_all(struct http_conn *conn, enum grpc_status why)
{
    LIST_FOR_EACH (&conn->calls, node) {
        grpc_call__cancel(CONTAINER_OF(node, struct grpc_call, link), why);
    }
}

/* ---- header blocks -----------------------------------------------------------------------------
 */

#define FIELD(literal_name, slice_value, is_fixed)                                                 \
    ((struct h2_field){                                                                            \
        .name = SLICE(literal_name), .value = (slice_value), .is_static = (is_fixed)})

static struct h2_field content_type_field(struct grpc_call *call)
{
    if (call->subtype.len == 0) {
        return FIELD("content-type", SLICE("application/grpc"), true);
    }
    char *text = arena_printf(&call->arena, "application/grpc+%.*s", (int)call->subtype.len,
                              (const char *)call->subtype.data);
    return FIELD("content-type", slice_str(text), false);
}

static const char *const status_digits[GRPC_STATUS_COUNT] = {
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"};

static size_t status_fields(const struct grpc_call *call, struct h2_field *out)
{
    out[0] = FIELD("grpc-status", slice_str(status_digits[call->status]), true);
    out[1] = FIELD("grpc-message", call->message, call->message.len == 0);
    return 2;
}

/* A header block has a limit (nghttp2: 64 KiB): a longer text is cut, between escapes. */
#define MESSAGE_MAX ((size_t)16 * 1024)

static size_t message_cut(const struct buf *text)
{
    size_t len = text->len < MESSAGE_MAX ? text->len : MESSAGE_MAX;
    for (size_t back = 1; len < text->len && back <= 2; back++) {
        if (text->data[len - back] == '%') {
            return len - back;
        }
    }
    return len;
}

static void message_set(struct grpc_call *call, enum grpc_status status, const char *message)
{
    ASSERT(status < GRPC_STATUS_COUNT);
    call->status = status;
    call->message = SLICE("");
    if (message != NULL && message[0] != 0) {
        struct buf text = {0};
        grpc_message_encode(slice_str(message), &text);
        size_t len = message_cut(&text);
        call->message = slice_of(arena_dup(&call->arena, text.data, len), len);
        buf_fini(&text);
    }
}

static const struct h2_field usual_head[] = {
    {SLICE(":status"), SLICE("200"), true},
    {SLICE("content-type"), SLICE("application/grpc"), true},
};
static const struct h2_field usual_trailers[] = {
    {SLICE("grpc-status"), SLICE("0"), true},
    {SLICE("grpc-message"), SLICE(""), true},
};
const struct h2_usual_fields grpc_call__usual = {
    .head = usual_head,
    .head_count = ARRAY_LEN(usual_head),
    .trailers = usual_trailers,
    .trailers_count = ARRAY_LEN(usual_trailers),
};

void grpc_call__send_headers(struct grpc_call *call)
{
    struct h2_field fields[4];
    size_t count = 0;
    call->headers_sent = true;
    call->conn->has_sent = true;
    if (call->subtype.len == 0 && !call->is_gzip) {
        h2_respond_usual(call->conn->h2, call->id);
        return;
    }
    fields[count++] = FIELD(":status", SLICE("200"), true);
    fields[count++] = content_type_field(call);
    if (call->is_gzip) {
        fields[count++] = FIELD("grpc-encoding", SLICE("gzip"), true);
    }
    h2_respond(call->conn->h2, call->id, fields, count, true);
}

static void send_trailers_only(struct grpc_call *call, unsigned http_status)
{
    struct h2_field fields[5];
    char status[8];
    size_t count = 0;
    snprintf(status, sizeof(status), "%u", http_status % 1000);
    fields[count++] = FIELD(":status", slice_str(status), false);
    fields[count++] = content_type_field(call);
    count += status_fields(call, fields + count);
    call->headers_sent = true;
    call->conn->has_sent = true;
    h2_respond(call->conn->h2, call->id, fields, count, false);
}

/* ---- the end ---------------------------------------------------------------------------- */

static void end_stream(struct grpc_call *call)
{
    if (!call->headers_sent) {
        send_trailers_only(call, 200);
    } else {
        h2_resume(call->conn->h2, call->id);
    }
    stream_touch(&call->conn->stream);
}

void grpc_call_finish(struct grpc_call *call, enum grpc_status status, const char *message)
{
    ASSERT(call->has_handler);
    call->has_handler = false;
    grpc_call__run_end(call);
    if (grpc_call__is_local(call)) {
        grpc_call__local_finish(call, status, message);
    } else if (!call->is_canceled && call->conn != NULL) {
        if (!call->has_source) {
            timer_stop(call->server->loop, &call->timer);
        }
        message_set(call, status, message);
        call->is_finished = true;
        end_stream(call);
    }
    outq_owner_unref(&call->owner);
}

void grpc_call_reply(struct grpc_call *call, struct slice message)
{
    struct grpc_chunk chunk = {.bytes = message};
    grpc_call_send_chunks(call, &chunk, 1);
    grpc_call_finish(call, GRPC_OK, NULL);
}

void grpc_call__refuse(struct grpc_call *call, unsigned http_status, enum grpc_status status,
                       const char *message)
{
    ASSERT(!call->has_handler && !call->headers_sent);
    if (grpc_call__is_local(call)) {
        grpc_call__local_end(call, status, message);
        return;
    }
    call->stage = CALL_REFUSED;
    timer_stop(call->server->loop, &call->timer);
    message_set(call, status, message);
    call->is_finished = true;
    send_trailers_only(call, http_status);
    stream_touch(&call->conn->stream);
}

void grpc_call__abort(struct grpc_call *call, enum grpc_status status, const char *message)
{
    if (grpc_call__is_local(call)) {
        outq_owner_ref(&call->owner); /* to be still there for its handler */
        grpc_call__local_end(call, status, message);
        grpc_call__cancel(call, status);
        outq_owner_unref(&call->owner);
        return;
    }
    ASSERT(call->conn != NULL);
    if (!call->has_handler && !call->headers_sent) {
        grpc_call__refuse(call, 200, status, message);
        return;
    }
    if (!call->is_finished) {
        timer_stop(call->server->loop, &call->timer);
        message_set(call, status, message);
        call->is_finished = true;
        end_stream(call);
    }
    call->stage = CALL_REFUSED;
    grpc_call__cancel(call, status);
}

/* ---- what the connection asks for ------------------------------------------------------- */

enum h2_pull grpc_call__pull(void *stream, size_t max, size_t *len_out)
{
    struct grpc_call *call = stream;
    if (call->has_source && !grpc_call__source_fill(call, max)) {
        return H2_PULL_FAIL;
    }
    size_t len = call->body.len < max ? (size_t)call->body.len : max;
    bool is_last = !call->has_source && len == call->body.len && call->is_finished;
    *len_out = len;
    if (is_last && call->status == GRPC_OK && call->message.len == 0) {
        return H2_PULL_USUAL;
    }
    if (is_last) {
        struct h2_field fields[2];
        size_t count = status_fields(call, fields);
        h2_trailers(call->conn->h2, call->id, fields, count);
        return H2_PULL_TRAILERS;
    }
    call->is_asleep = len == 0;
    return len == 0 ? H2_PULL_WAIT : H2_PULL_MORE;
}

void grpc_call__write(void *stream, struct outq *out, size_t len)
{
    struct grpc_call *call = stream;
    outq_move(out, &call->body, len, &call->owner);
    grpc_call__queued_update(call);
    call->conn->has_sent = true;
    if (call->wants_writable && grpc_call_queued(call) <= GRPC_SEND_LOW &&
        list_empty(&call->notify_link)) {
        list_add_tail(&call->conn->notify, &call->notify_link);
    }
}

void grpc_call__notify(struct http_conn *conn)
{
    for (struct list *node = list_pop(&conn->notify); node != NULL;
         node = list_pop(&conn->notify)) {
        struct grpc_call *call = CONTAINER_OF(node, struct grpc_call, notify_link);
        call->wants_writable = false;
        if (call->has_handler && !call->is_canceled && call->method->handler->writable != NULL) {
            call->method->handler->writable(call);
        }
    }
}

/* ---- observers -------------------------------------------------------------------------- */

const struct grpc_method *grpc_call_method(const struct grpc_call *call)
{
    return call->method;
}

struct slice grpc_call_path(const struct grpc_call *call)
{
    return call->path;
}

void *grpc_call_server_ctx(const struct grpc_call *call)
{
    return call->server->options.grpc_ctx;
}

bool grpc_call_metadata(const struct grpc_call *call, const char *name, size_t index,
                        struct slice *out)
{
    for (size_t i = 0; i < call->field_count; i++) {
        if (slice_eq_str(call->fields[i].name, name)) {
            if (index == 0) {
                *out = call->fields[i].value;
                return true;
            }
            index--;
        }
    }
    return false;
}

mono_ns grpc_call_deadline(const struct grpc_call *call)
{
    return call->deadline;
}

mono_ns grpc_call_started(const struct grpc_call *call)
{
    return call->started;
}

const char *grpc_call_peer(const struct grpc_call *call)
{
    return call->conn == NULL ? call->peer : call->conn->peer;
}

struct arena *grpc_call_arena(struct grpc_call *call)
{
    return &call->arena;
}

bool grpc_call_canceled(const struct grpc_call *call)
{
    return call->is_canceled;
}

void grpc_call_set_data(struct grpc_call *call, void *data)
{
    call->data = data;
}

void *grpc_call_data(const struct grpc_call *call)
{
    return call->data;
}

uint64_t grpc_call_queued(const struct grpc_call *call)
{
    return call->body.len + call->source_left;
}

bool grpc_call_writable(struct grpc_call *call)
{
    if (grpc_call__is_local(call)) {
        call->wants_writable = call->has_source || !call->sink->writable(call->sink_ctx);
        return !call->wants_writable;
    }
    if (call->is_canceled || call->conn == NULL) {
        return true; /* whatever is sent disappears */
    }
    bool writable = !call->has_source && grpc_call_queued(call) < GRPC_SEND_HIGH;
    if (!writable) {
        call->wants_writable = true;
    }
    return writable;
}

void grpc_call_urgency(struct grpc_call *call, unsigned urgency)
{
    ASSERT(urgency <= 7);
    call->urgency = (uint8_t)urgency;
    if (call->conn != NULL) {
        call->is_fair = true;
        h2_urgency(call->conn->h2, call->id, urgency);
    }
}

void grpc_call_pause(struct grpc_call *call, bool paused)
{
    if (call->is_paused != paused) {
        call->is_paused = paused;
        if (!paused && (call->conn != NULL || grpc_call__is_local(call))) {
            grpc_call__resume_input(call);
        }
    }
}
