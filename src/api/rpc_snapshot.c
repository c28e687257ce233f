/* Maintenance.Snapshot: the database file as a stream.
 *
 *   message   pin the newest state, everything applied before included
 *   piece     on the pool: SNAPSHOT_PIECE bytes of the file, as encoded messages, into the digest
 *   …         back on the loop they are queued as they are; the next piece is read when the call is
 *             writable, so a stream has one piece in the making and what the call may queue,
 * however large the file end       a message with the SHA-256 of all bytes before it, and GRPC_OK
 *
 * Compatibility: blobs of 32 KiB, remaining_bytes, the storage version in every message and no
 * header, as etcd 3.6.
 *
 * A pinned state keeps the pages it uses from being used again, so there are SNAPSHOT_STREAMS_MAX
 * at most, and a client that takes nothing for --snapshot-stall-timeout loses its stream. */
#include "api/rpc_priv.h"

#include "base/digest.h"
#include "codec/pbwire.h"
#include "storage/bolt.h"

#include "rpc.pb-c.h"

#define SNAPSHOT_BLOB ((size_t)32 << 10)
#define SNAPSHOT_PIECE (8 * SNAPSHOT_BLOB)
#define FIELD_REMAINING 2
#define FIELD_BLOB 3
#define FIELD_VERSION 4
#define HEAD_MAX (2 * (1 + PBWIRE_VARINT_MAX))
#define TAIL_MAX 32

/* One SnapshotResponse: what stands before the blob, the blob, what stands behind it. */
struct snapshot_message {
    uint8_t head[HEAD_MAX];
    size_t head_len;
    uint8_t *blob;
    size_t blob_len;
};

/* Freed when the last of its messages has left. */
struct piece {
    size_t refs;
    size_t count;
    struct snapshot_message messages[SNAPSHOT_PIECE / SNAPSHOT_BLOB];
    uint8_t tail[TAIL_MAX];
    size_t tail_len;
    uint8_t data[];
};

struct snapshot_stream {
    struct grpc_call *call;
    struct api *api;
    struct server_pin *pin;
    struct timer stall;
    mono_ns began;
    bool is_canceled;
    enum grpc_status why_canceled;
    bool is_reading;

    /* The pool's while is_reading. */
    struct job job;
    struct bolt_tx *tx;
    struct sha256 *sha;
    uint64_t size;
    uint64_t at;
    struct piece *piece;
    enum err err;
    struct errbuf why;
};

/* ---- pieces ------------------------------------------------------------------------------------
 */

static struct piece *piece_new(size_t data_len, const char *version)
{
    struct piece *piece = mem_alloc(sizeof(*piece) + data_len);
    piece->refs = 1;
    piece->count = 0;
    struct slice text = slice_str(version);
    ASSERT(pbwire_bytes_size(FIELD_VERSION, text.len) <= TAIL_MAX);
    piece->tail_len = (size_t)(pbwire_put_bytes(piece->tail, FIELD_VERSION, text) - piece->tail);
    return piece;
}

static void piece_unref(void *ctx)
{
    struct piece *piece = ctx;
    ASSERT(piece->refs > 0);
    if (--piece->refs == 0) {
        mem_free(piece);
    }
}

static void piece_add(struct piece *piece, uint8_t *blob, size_t len, uint64_t remaining)
{
    ASSERT(piece->count < ARRAY_LEN(piece->messages));
    struct snapshot_message *message = &piece->messages[piece->count++];
    uint8_t *at = message->head;
    if (remaining > 0) {
        at = pbwire_put_uint(at, FIELD_REMAINING, remaining);
    }
    at = pbwire_put_head(at, FIELD_BLOB, len);
    message->head_len = (size_t)(at - message->head);
    message->blob = blob;
    message->blob_len = len;
}

static void piece_send(struct snapshot_stream *stream, struct piece *piece)
{
    for (size_t i = 0; i < piece->count; i++) {
        const struct snapshot_message *message = &piece->messages[i];
        const struct grpc_chunk chunks[] = {
            {slice_of(message->head, message->head_len), piece_unref, piece},
            {slice_of(message->blob, message->blob_len), piece_unref, piece},
            {slice_of(piece->tail, piece->tail_len), piece_unref, piece},
        };
        piece->refs += ARRAY_LEN(chunks);
        rpc_counters_sent(rpc__counters(stream->call));
        grpc_call_send_chunks(stream->call, chunks, ARRAY_LEN(chunks));
    }
    piece_unref(piece);
}

/* ---- the life of a stream ----------------------------------------------------------------------
 */

static void stream_end(struct snapshot_stream *stream, enum grpc_status status, const char *text)
{
    struct grpc_call *call = stream->call;
    ASSERT(!stream->is_reading);
    ASSERT(stream->api->snapshot_streams > 0);
    stream->api->snapshot_streams--;
    timer_stop(stream->api->options.loop, &stream->stall);
    server_pin_end(&stream->pin);
    sha256_free(&stream->sha);
    mem_free(stream);
    rpc__finish(call, status, text);
}

static void stream_fail(struct snapshot_stream *stream)
{
    const struct log *log = server_log(stream->api->server);
    LOG_WARN(log, "failed to read the database for a snapshot", log_error(stream->why.text));
    stream_end(stream, GRPC_INTERNAL,
               arena_printf(grpc_call_arena(stream->call), "%s", stream->why.text));
}

/* On the pool. */
static void read_run(struct job *job)
{
    struct snapshot_stream *stream = CONTAINER_OF(job, struct snapshot_stream, job);
    struct piece *piece = stream->piece;
    uint64_t left = stream->size - stream->at;
    size_t len = left < SNAPSHOT_PIECE ? (size_t)left : SNAPSHOT_PIECE;
    stream->err = bolt_tx_read_at(stream->tx, stream->at, piece->data, len, &stream->why);
    if (stream->err != ERR_OK) {
        return;
    }
    sha256_update(stream->sha, piece->data, len);
    stream->at += len;
    for (size_t at = 0; at < len; at += SNAPSHOT_BLOB) {
        size_t part = len - at < SNAPSHOT_BLOB ? len - at : SNAPSHOT_BLOB;
        piece_add(piece, piece->data + at, part, left - at - part);
    }
}

static void read_done(struct job *job);

static void read_next(struct snapshot_stream *stream)
{
    ASSERT(!stream->is_reading);
    stream->is_reading = true;
    stream->piece = piece_new(SNAPSHOT_PIECE, server_storage_version(stream->api->server));
    stream->job = (struct job){.run = read_run, .done = read_done};
    executor_submit(stream->api->options.env->pool, &stream->job);
}

static void send_digest(struct snapshot_stream *stream)
{
    const struct log *log = server_log(stream->api->server);
    struct piece *piece = piece_new(SHA256_LEN, server_storage_version(stream->api->server));
    sha256_final(stream->sha, piece->data);
    piece_add(piece, piece->data, SHA256_LEN, 0);
    LOG_INFO(log, "sending database sha256 checksum to client",
             log_u64("total-bytes", stream->size), log_u64("checksum-size", SHA256_LEN));
    piece_send(stream, piece);
    LOG_INFO(log, "successfully sent database snapshot to client",
             log_u64("total-bytes", stream->size),
             log_duration("took", (int64_t)(loop_now(stream->api->options.loop) - stream->began)));
    stream_end(stream, GRPC_OK, NULL);
}

static void go_on(struct snapshot_stream *stream)
{
    struct loop *loop = stream->api->options.loop;
    int64_t stall_ns = stream->api->config->snapshot_stall_timeout_ns;
    timer_stop(loop, &stream->stall);
    if (grpc_call_writable(stream->call)) {
        read_next(stream);
    } else if (stall_ns > 0) {
        timer_start(loop, &stream->stall, loop_now(loop) + (uint64_t)stall_ns);
    }
}

static void read_done(struct job *job)
{
    struct snapshot_stream *stream = CONTAINER_OF(job, struct snapshot_stream, job);
    struct piece *piece = stream->piece;
    stream->is_reading = false;
    stream->piece = NULL;
    if (stream->is_canceled || stream->err != ERR_OK) {
        piece_unref(piece);
        if (stream->is_canceled) {
            stream_end(stream, stream->why_canceled, "");
        } else {
            stream_fail(stream);
        }
        return;
    }
    piece_send(stream, piece);
    if (stream->at == stream->size) {
        send_digest(stream);
    } else {
        go_on(stream);
    }
}

static void on_stall(struct timer *timer)
{
    struct snapshot_stream *stream = CONTAINER_OF(timer, struct snapshot_stream, stall);
    LOG_WARN(server_log(stream->api->server), "a client has stopped to take a snapshot",
             log_str("remote", grpc_call_peer(stream->call)), log_u64("total-bytes", stream->size),
             log_duration("stalled", stream->api->config->snapshot_stall_timeout_ns));
    stream_end(stream, GRPC_ABORTED, "etcd.c: the snapshot was not taken for too long");
}

static void on_pinned(void *ctx, struct bolt_tx *tx)
{
    struct snapshot_stream *stream = ctx;
    stream->tx = tx;
    stream->size = bolt_tx_size(tx);
    LOG_INFO(server_log(stream->api->server), "sending database snapshot to client",
             log_u64("total-bytes", stream->size),
             log_str("storage-version", server_storage_version(stream->api->server)));
    go_on(stream);
}

/* ---- the handler -------------------------------------------------------------------------------
 */

static void on_message(struct grpc_call *call, struct slice bytes)
{
    struct api *api = rpc__api(call);
    void *message = NULL;
    enum status status = rpc__start(call);
    if (!rpc__decode(call, grpc_call_arena(call), &etcdserverpb__snapshot_request__descriptor,
                     bytes, &message)) {
        return;
    }
    if (status != STATUS_OK) {
        rpc__finish_status(call, status);
        return;
    }
    if (api->snapshot_streams == SNAPSHOT_STREAMS_MAX) {
        rpc__finish(call, GRPC_RESOURCE_EXHAUSTED, "etcdserver: too many requests");
        return;
    }
    struct snapshot_stream *stream = NEW(struct snapshot_stream);
    stream->call = call;
    stream->api = api;
    stream->sha = sha256_new();
    stream->began = loop_now(api->options.loop);
    timer_init(&stream->stall, on_stall);
    api->snapshot_streams++;
    grpc_call_set_data(call, stream);
    stream->pin = server_pin_begin(api->server, on_pinned, stream);
}

static void on_writable(struct grpc_call *call)
{
    struct snapshot_stream *stream = grpc_call_data(call);
    if (!stream->is_reading && stream->tx != NULL) {
        go_on(stream);
    }
}

static void on_cancel(struct grpc_call *call, enum grpc_status why)
{
    struct snapshot_stream *stream = grpc_call_data(call);
    if (stream->is_reading) {
        stream->is_canceled = true; /* read_done() ends it */
        stream->why_canceled = why;
        return;
    }
    stream_end(stream, why, "");
}

const struct grpc_handler rpc__snapshot_handler = {
    .message = on_message,
    .cancel = on_cancel,
    .writable = on_writable,
};
