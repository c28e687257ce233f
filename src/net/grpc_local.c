/* A local call is a grpc_call whose stream is a pair of functions. Requests take the same way in as
 * those of HTTP/2 (framed, so that pausing, limits and the order of refusals are the same); answers
 * leave through the sink. */
#include "net/grpc_local.h"

#include "net/grpc_call_priv.h"

/* Bytes asked of a source at once, and when it goes out in pieces: what becomes of them there costs
 * several times what making them does. */
#define SOURCE_STEP ((size_t)64 * 1024)
#define PIECE_STEP ((size_t)16 * 1024)

static void field_add(struct grpc_call *call, const struct grpc_local_field *field)
{
    struct arena *arena = &call->arena;
    call->fields[call->field_count++] = (struct call_field){
        .name = slice_of(arena_dup(arena, field->name.data, field->name.len), field->name.len),
        .value = slice_of(arena_dup(arena, field->value.data, field->value.len), field->value.len),
    };
}

struct grpc_call *grpc_local_start(struct http_server *server,
                                   const struct grpc_local_options *options)
{
    struct slice path = slice_str(options->path);
    const struct grpc_method *method = http__method_find(server, path);
    if (method == NULL) {
        return NULL;
    }
    struct grpc_call *call = grpc_call__new(server);
    call->sink = options->sink;
    call->sink_ctx = options->ctx;
    call->method = method;
    call->path = slice_of(arena_dup(&call->arena, path.data, path.len), path.len);
    call->peer = arena_strndup(&call->arena, options->peer, strlen(options->peer));
    call->deadline = options->deadline;
    if (options->metadata_count > CALL_FIELDS_INLINE) {
        call->fields = mem_array(options->metadata_count, sizeof(*call->fields));
        call->field_cap = options->metadata_count;
    }
    for (size_t i = 0; i < options->metadata_count; i++) {
        field_add(call, &options->metadata[i]);
    }
    grpc_call__begin(call);
    return call;
}

void grpc_local_send(struct grpc_call *call, struct slice message)
{
    uint8_t prefix[GRPC_PREFIX_LEN];
    ASSERT(message.len <= UINT32_MAX);
    outq_owner_ref(&call->owner); /* the first piece may be refused already */
    grpc_prefix_put(prefix, false, (uint32_t)message.len);
    grpc_call__input(call, slice_of(prefix, sizeof(prefix)));
    if (message.len > 0) {
        grpc_call__input(call, message);
    }
    outq_owner_unref(&call->owner);
}

void grpc_local_close_send(struct grpc_call *call)
{
    grpc_call__input_end(call);
}

/* Whatever was still on its way in or out is of no use any more. */
static void sever(struct grpc_call *call)
{
    call->sink = NULL;
    call->stage = CALL_CLOSED;
    list_del(&call->again_link);
    grpc_call__source_close(call);
    buf_fini(&call->gathered);
    timer_stop(call->server->loop, &call->timer);
}

void grpc_local_cancel(struct grpc_call *call, enum grpc_status why)
{
    ASSERT(grpc_call__is_local(call));
    sever(call);
    grpc_call__cancel(call, why);
    outq_owner_unref(&call->owner);
}

void grpc_local_writable(struct grpc_call *call)
{
    const struct grpc_handler *handler = call->method->handler;
    if (call->has_source) {
        grpc_call__source_wait(call, false);
        return;
    }
    if (call->wants_writable && call->has_handler && !call->is_canceled &&
        handler->writable != NULL) {
        call->wants_writable = false;
        handler->writable(call);
    }
}

/* ---- what the handler sends ------------------------------------------------------------------ */

void grpc_call__local_chunks(struct grpc_call *call, const struct grpc_chunk *chunks, size_t count)
{
    struct buf whole = {0};
    for (size_t i = 0; count > 1 && i < count; i++) {
        buf_append_slice(&whole, chunks[i].bytes);
    }
    call->sink->message(call->sink_ctx, count == 1 ? chunks[0].bytes : buf_slice(&whole));
    grpc_call__chunks_release(chunks, count);
    buf_fini(&whole);
}

/* The source is at its end, or beyond help. */
static void source_done(struct grpc_call *call, enum err err)
{
    grpc_call__source_close(call);
    if (err != ERR_OK) {
        grpc_call__local_end(call, GRPC_INTERNAL, "the answer could not be completed");
        return;
    }
    if (call->sink->piece == NULL) {
        call->sink->message(call->sink_ctx, buf_slice(&call->gathered));
        buf_fini(&call->gathered);
    }
    if (call->is_finished) {
        grpc_call__local_end(call, call->status, (const char *)call->message.data);
    }
}

static void fill_whole(struct grpc_call *call)
{
    uint64_t left = call->source_left;
    enum err err = ERR_OK;
    while (err == ERR_OK && call->source_left > 0) {
        struct grpc_chunk chunk = {0};
        err = grpc_call__source_next(call, SOURCE_STEP, &chunk);
        if (err == ERR_OK) {
            buf_append_slice(&call->gathered, chunk.bytes);
            grpc_call__chunks_release(&chunk, 1);
        }
    }
    if (err == ERR_AGAIN) {
        grpc_call__source_wait(call, call->source_left < left);
    } else {
        source_done(call, err);
    }
}

static void fill_pieces(struct grpc_call *call, uint64_t *budget)
{
    uint64_t left = call->source_left;
    enum err err = ERR_OK;
    bool has_room = true;
    while (err == ERR_OK && call->source_left > 0 && *budget > 0) {
        struct grpc_chunk chunk = {0};
        has_room = call->sink->writable(call->sink_ctx);
        if (!has_room) {
            break;
        }
        err = grpc_call__source_next(call, *budget < PIECE_STEP ? (size_t)*budget : PIECE_STEP,
                                     &chunk);
        if (err == ERR_OK) {
            *budget -= chunk.bytes.len;
            call->sink->piece(call->sink_ctx, chunk.bytes, call->source_left == 0);
            grpc_call__chunks_release(&chunk, 1);
        }
    }
    if (err == ERR_OK && call->source_left > 0) {
        err = ERR_AGAIN;
    }
    if (err != ERR_AGAIN) {
        source_done(call, err);
    } else if (has_room) {
        grpc_call__source_wait(call, call->source_left < left);
    } /* else grpc_local_writable() comes */
}

/* Over several turns, if the source says so or the sink takes pieces. When the source fails, the
 * sink is told the end, and what the handler sends from then on disappears. */
void grpc_call__local_source(struct grpc_call *call, const struct grpc_source *source)
{
    ASSERT(!call->has_source);
    call->source = *source;
    call->source_left = source->len;
    call->has_source = true;
    if (call->sink->piece != NULL) {
        grpc_call__source_wait(call, false); /* pieces share what a turn may take */
    } else {
        fill_whole(call);
    }
}

void grpc_call__local_fill(struct grpc_call *call, uint64_t *budget)
{
    outq_owner_ref(&call->owner); /* the end may be among what comes */
    if (call->sink->piece != NULL) {
        fill_pieces(call, budget);
    } else {
        fill_whole(call);
    }
    if (call->sink != NULL && !call->has_source && call->sink->writable(call->sink_ctx)) {
        grpc_local_writable(call); /* the handler may have had to wait for the source */
    }
    outq_owner_unref(&call->owner);
}

void grpc_call__local_finish(struct grpc_call *call, enum grpc_status status, const char *message)
{
    if (!call->has_source) {
        grpc_call__local_end(call, status, message);
        return;
    }
    const char *text = message == NULL ? "" : message;
    call->is_finished = true;
    call->status = status;
    call->message = slice_str(arena_strndup(&call->arena, text, strlen(text)));
}

void grpc_call__local_end(struct grpc_call *call, enum grpc_status status, const char *message)
{
    const struct grpc_local_sink *sink = call->sink;
    void *ctx = call->sink_ctx;
    sever(call);
    sink->end(ctx, status, message == NULL ? "" : message);
    outq_owner_unref(&call->owner);
}
