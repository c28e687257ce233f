/* What a call sends: messages that are copied, taken by reference, or made while they are sent, and
 * how each gets its prefix, or is compressed. They gather in call->body, which the connection pulls
 * from (grpc_call__pull). */
#include "base/mem.h"
#include "codec/gzip.h"
#include "net/grpc_call_priv.h"

/* A message from here on shares the connection with others. */
#define FAIR_MIN ((uint64_t)16 * 1024)
/* A reply from a source that is larger than this is not compressed: that would need all of it. */
#define SOURCE_GZIP_MAX ((uint64_t)1024 * 1024)
/* So much of local calls' messages goes out in pieces in one turn of the loop: as JSON some 0.5 ms.
 */
#define LOCAL_TURN_BYTES ((uint64_t)64 * 1024)
/* So much is compressed in one turn of the loop: some 0.5 ms. */
#define SOURCE_GZIP_STEP ((size_t)16 * 1024)

/* ---- messages --------------------------------------------------------------------------- */

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
    grpc_call__chunks_release(message->chunks, message->chunk_count);
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
        grpc_call__send_headers(call);
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
    grpc_call__queued_update(call);
    buf_fini(&packed);
}

/* Behind the prefix, which is written here. */
static uint8_t *message_room(struct grpc_call *call, size_t len)
{
    uint8_t *at = outq_room(&call->body, GRPC_PREFIX_LEN + len);
    grpc_prefix_put(at, false, (uint32_t)len);
    grpc_call__queued_update(call);
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
    grpc_call__queued_update(call);
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
    grpc_call__queued_update(call);
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

/* ---- sources ------------------------------------------------------------------------------ */

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

bool grpc_call__source_fill(struct grpc_call *call, size_t want)
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
    grpc_call__queued_update(call);
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
    grpc_call__queued_update(call);
    if (call->source_left == 0) {
        grpc_call__source_close(call);
    }
}

void grpc_call_send_headers(struct grpc_call *call)
{
    ASSERT(call->has_handler);
    if (!call->is_canceled && call->conn != NULL && !call->headers_sent) {
        grpc_call__send_headers(call);
        stream_touch(&call->conn->stream);
    }
}
