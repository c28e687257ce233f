/* Calls: life, cancellation, and what they send. */
#include "base/mem.h"
#include "codec/gzip.h"
#include "net/grpc_call_priv.h"

#include <stdio.h>

/* Memory that a spare call may keep. */
#define KEEP_MAX ((size_t)16 * 1024)

/* A message from here on shares the connection with others. */
#define FAIR_MIN ((uint64_t)16 * 1024)
/* A reply from a source that is larger than this is not compressed: that would need all of it. */
#define SOURCE_GZIP_MAX ((uint64_t)1024 * 1024)
/* So much of local calls' messages goes out in pieces in one turn of the loop: as JSON some 0.5 ms.
 */
#define LOCAL_TURN_BYTES ((uint64_t)64 * 1024)
/* So much is compressed in one turn of the loop: some 0.5 ms. */
#define SOURCE_GZIP_STEP ((size_t)16 * 1024)

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
static void queued_update(struct grpc_call *call)
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
    queued_update(call);
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

static void send_headers(struct grpc_call *call)
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

/* ---- bodies ----------------------------------------------------------------------------- */

/* A message on its way out: owner of its pieces, with the prefix inside. */
struct message {
    struct outq_owner owner;
    struct grpc_call *call;
    bool is_heap; /* streams: the arena would only grow */
    uint8_t prefix[GRPC_PREFIX_LEN];
    size_t chunk_count;
    struct grpc_chunk chunks[];
};

static void message_free(struct outq_owner *owner)
{
    struct message *message = CONTAINER_OF(owner, struct message, owner);
    struct grpc_call *call = message->call;
    for (size_t i = 0; i < message->chunk_count; i++) {
        if (message->chunks[i].release != NULL) {
            message->chunks[i].release(message->chunks[i].ctx);
        }
    }
    if (message->is_heap) {
        mem_free(message);
    }
    outq_owner_unref(&call->owner);
}

static struct message *message_new(struct grpc_call *call, const struct grpc_chunk *chunks,
                                   size_t count)
{
    size_t size = sizeof(struct message) + count * sizeof(struct grpc_chunk);
    bool is_heap = call->method->kind != GRPC_UNARY;
    struct message *message = is_heap ? mem_alloc(size) : arena_alloc(&call->arena, size);
    message->owner = (struct outq_owner){.refs = 1, .release = message_free};
    message->call = call;
    message->is_heap = is_heap;
    message->chunk_count = count;
    if (count > 0) {
        memcpy(message->chunks, chunks, count * sizeof(*chunks));
    }
    outq_owner_ref(&call->owner);
    return message;
}

static void append_owned(struct grpc_call *call, struct message *message, struct slice bytes)
{
    outq_owner_ref(&message->owner);
    outq_append_ref(&call->body, bytes, &message->owner);
}

/* Streams of one urgency are served one after the other, unless they are incremental: a large
 * message must be, so that small ones pass it by. */
static void share_fairly(struct grpc_call *call, uint64_t len)
{
    if (len > FAIR_MIN && !call->is_fair) {
        call->is_fair = true;
        h2_urgency(call->conn->h2, call->id, call->urgency);
    }
}

/* Whether what the handler sends can still go anywhere; sends the headers when it can. */
static bool begin_send(struct grpc_call *call)
{
    ASSERT(call->has_handler);
    if (call->is_canceled || call->conn == NULL) {
        return false;
    }
    ASSERT(!call->has_source);
    if (!call->headers_sent) {
        send_headers(call);
    } else if (call->is_asleep) {
        call->is_asleep = false;
        h2_resume(call->conn->h2, call->id);
    }
    stream_touch(&call->conn->stream);
    return true;
}

void grpc_call__chunks_release(const struct grpc_chunk *chunks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (chunks[i].release != NULL) {
            chunks[i].release(chunks[i].ctx);
        }
    }
}

static void send_gzip(struct grpc_call *call, struct slice plain)
{
    struct buf packed = {0};
    uint8_t prefix[GRPC_PREFIX_LEN];
    gzip_encode(plain, &packed);
    grpc_prefix_put(prefix, true, (uint32_t)packed.len);
    outq_append(&call->body, prefix, sizeof(prefix));
    outq_append(&call->body, packed.data, packed.len);
    queued_update(call);
    buf_fini(&packed);
}

/* Behind the prefix, which is written here. */
static uint8_t *message_room(struct grpc_call *call, size_t len)
{
    uint8_t *at = outq_room(&call->body, GRPC_PREFIX_LEN + len);
    grpc_prefix_put(at, false, (uint32_t)len);
    queued_update(call);
    return at + GRPC_PREFIX_LEN;
}

uint8_t *grpc_call_send_room(struct grpc_call *call, size_t len)
{
    ASSERT(len <= GRPC_ROOM_MAX);
    if (grpc_call__is_local(call) || call->is_gzip || !begin_send(call)) {
        return NULL;
    }
    return message_room(call, len);
}

void grpc_call_send_copy(struct grpc_call *call, struct slice message)
{
    if (grpc_call__is_local(call)) {
        struct grpc_chunk chunk = {.bytes = message};
        grpc_call__local_chunks(call, &chunk, 1);
        return;
    }
    if (!begin_send(call)) {
        return;
    }
    ASSERT(message.len <= UINT32_MAX);
    share_fairly(call, message.len);
    if (call->is_gzip) {
        send_gzip(call, message);
        return;
    }
    if (message.len <= GRPC_ROOM_MAX) {
        uint8_t *at = message_room(call, message.len);
        if (message.len > 0) {
            memcpy(at, message.data, message.len);
        }
        return;
    }
    uint8_t prefix[GRPC_PREFIX_LEN];
    grpc_prefix_put(prefix, false, (uint32_t)message.len);
    outq_append(&call->body, prefix, sizeof(prefix));
    outq_append(&call->body, message.data, message.len);
    queued_update(call);
}

void grpc_call_send_chunks(struct grpc_call *call, const struct grpc_chunk *chunks, size_t count)
{
    if (grpc_call__is_local(call)) {
        grpc_call__local_chunks(call, chunks, count);
        return;
    }
    if (!begin_send(call)) {
        grpc_call__chunks_release(chunks, count);
        return;
    }
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += chunks[i].bytes.len;
    }
    ASSERT(total <= UINT32_MAX);
    share_fairly(call, total);
    if (call->is_gzip) {
        struct buf plain = {0};
        for (size_t i = 0; i < count; i++) {
            buf_append_slice(&plain, chunks[i].bytes);
        }
        grpc_call__chunks_release(chunks, count);
        send_gzip(call, buf_slice(&plain));
        buf_fini(&plain);
        return;
    }
    struct message *message = message_new(call, chunks, count);
    grpc_prefix_put(message->prefix, false, (uint32_t)total);
    append_owned(call, message, slice_of(message->prefix, GRPC_PREFIX_LEN));
    for (size_t i = 0; i < count; i++) {
        append_owned(call, message, chunks[i].bytes);
    }
    queued_update(call);
    outq_owner_unref(&message->owner);
}

static void append_chunk(struct grpc_call *call, const struct grpc_chunk *chunk)
{
    if (chunk->release == NULL && chunk->bytes.len <= OUTQ_COPY_MAX) {
        outq_append(&call->body, chunk->bytes.data, chunk->bytes.len);
        return;
    }
    size_t size = sizeof(struct message) + sizeof(struct grpc_chunk);
    struct message *message = mem_alloc(size);
    message->owner = (struct outq_owner){.refs = 1, .release = message_free};
    message->call = call;
    message->is_heap = true;
    message->chunk_count = 1;
    message->chunks[0] = *chunk;
    outq_owner_ref(&call->owner);
    outq_append_ref(&call->body, chunk->bytes, &message->owner);
}

/* The source has had enough of this turn: it is asked again in the next, those first that got
 * nothing in this one, so that no stream starves behind others of a busy connection. */
void grpc_call__source_wait(struct grpc_call *call, bool got_some)
{
    struct http_server *server = call->server;
    list_del(&call->again_link);
    list_add_tail(got_some ? &server->again_served : &server->again_hungry, &call->again_link);
    loop_task_add(server->loop, LOOP_INPUT, &server->again_task);
}

void grpc_call__ask_again(struct task *task)
{
    struct http_server *server = CONTAINER_OF(task, struct http_server, again_task);
    uint64_t pieces_left = LOCAL_TURN_BYTES;
    struct list due;
    list_init(&due);
    list_splice(&due, &server->again_hungry);
    list_splice(&due, &server->again_served);
    for (struct list *node = list_pop(&due); node != NULL; node = list_pop(&due)) {
        struct grpc_call *call = CONTAINER_OF(node, struct grpc_call, again_link);
        if (grpc_call__is_local(call)) {
            grpc_call__local_fill(call, &pieces_left);
            continue;
        }
        h2_resume(call->conn->h2, call->id);
        stream_touch(&call->conn->stream);
    }
}

FALLIBLE grpc_call__source_next(struct grpc_call *call, size_t want, struct grpc_chunk *out)
{
    size_t ask = want < call->source_left ? want : (size_t)call->source_left;
    TRY(call->source.next(call->source.ctx, ask, out));
    ASSERT(out->bytes.len > 0 && out->bytes.len <= ask);
    call->source_left -= out->bytes.len;
    return ERR_OK;
}

/* Compresses a piece of the source. At its end, and not before, there is something to send. */
static FALLIBLE source_pack(struct grpc_call *call)
{
    struct grpc_chunk chunk = {0};
    uint8_t prefix[GRPC_PREFIX_LEN];
    if (call->source_left > 0) {
        TRY(grpc_call__source_next(call, SOURCE_GZIP_STEP, &chunk));
        gzip_writer_add(call->packer, chunk.bytes, &call->packed);
        grpc_call__chunks_release(&chunk, 1);
    }
    if (call->source_left > 0) {
        return ERR_AGAIN;
    }
    gzip_writer_finish(call->packer, &call->packed);
    grpc_prefix_put(prefix, true, (uint32_t)call->packed.len);
    outq_append(&call->body, prefix, sizeof(prefix));
    outq_append(&call->body, call->packed.data, call->packed.len);
    return ERR_OK;
}

/* Asks the source until `want` bytes are queued, or it has had enough. False: it failed. */
static bool source_fill(struct grpc_call *call, size_t want)
{
    enum err err = ERR_OK;
    uint64_t left = call->source_left;
    if (call->packer != NULL) {
        err = source_pack(call);
    }
    while (err == ERR_OK && call->source_left > 0 && call->body.len < want) {
        struct grpc_chunk chunk = {0};
        err = grpc_call__source_next(call, want - (size_t)call->body.len, &chunk);
        if (err == ERR_OK) {
            append_chunk(call, &chunk);
        }
    }
    queued_update(call);
    if (err == ERR_AGAIN) {
        grpc_call__source_wait(call, call->source_left < left);
        return true;
    }
    if (call->source_left == 0 || err != ERR_OK) {
        grpc_call__source_close(call);
    }
    return err == ERR_OK;
}

void grpc_call_send_source(struct grpc_call *call, const struct grpc_source *source)
{
    if (grpc_call__is_local(call)) {
        grpc_call__local_source(call, source);
        return;
    }
    if (!begin_send(call)) {
        source->close(source->ctx);
        return;
    }
    ASSERT(source->len <= UINT32_MAX);
    share_fairly(call, source->len);
    call->source = *source;
    call->source_left = source->len;
    call->has_source = true;
    if (call->is_gzip && source->len <= SOURCE_GZIP_MAX) {
        call->packer = gzip_writer_new();
        return; /* the prefix comes with the compressed length */
    }
    uint8_t prefix[GRPC_PREFIX_LEN];
    grpc_prefix_put(prefix, false, (uint32_t)source->len);
    outq_append(&call->body, prefix, sizeof(prefix));
    queued_update(call);
    if (call->source_left == 0) {
        grpc_call__source_close(call);
    }
}

void grpc_call_send_headers(struct grpc_call *call)
{
    ASSERT(call->has_handler);
    if (!call->is_canceled && call->conn != NULL && !call->headers_sent) {
        send_headers(call);
        stream_touch(&call->conn->stream);
    }
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
    if (call->has_source && !source_fill(call, max)) {
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
    queued_update(call);
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
