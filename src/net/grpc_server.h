/* gRPC calls as a server sees them: a table of services, and one `struct grpc_call` a request.
 *
 * Life of a call. The headers arrive, the path is looked up, the method's handler runs:
 *
 *   start    -> message … -> half_close -> (the handler) grpc_call_send … -> grpc_call_finish
 *                   \_ cancel may come at any time before grpc_call_finish
 *
 * Unary and server-streaming methods get exactly one message() (unless the call ends before) and
 * need nothing else. Everything wrong on the wire (unknown method, limits, encodings, content type,
 * missing message) is answered before a handler hears of it.
 *
 * Ownership: a call belongs to its handler from start() (or the first event) until the handler
 * calls grpc_call_finish(), exactly once, whatever else happened. cancel() only tells that nobody
 * waits any more: sends are dropped silently from then on, and the handler still finishes the call,
 * at once or when what it started has come back. Until then the arena and all in it stay.
 *
 * Deadline: when grpc-timeout passes, the stream is reset and cancel(GRPC_DEADLINE_EXCEEDED) comes;
 * a request still queued then must be dropped instead of proposed. A finished call whose source is
 * still being sent is reset, too.
 *
 * Threads: loop thread only. Handlers run in the input phase; what they send leaves in the output
 * phase of the same turn, one write a connection. Nothing here calls a handler from inside a
 * grpc_call_* function. */
#ifndef NET_GRPC_SERVER_H
#define NET_GRPC_SERVER_H

#include "codec/grpc.h"
#include "env/env.h"

struct grpc_call;

enum grpc_kind {
    GRPC_UNARY,
    GRPC_SERVER_STREAM,
    GRPC_CLIENT_STREAM,
    GRPC_BIDI,
};

/* Members may be NULL where the kind does not need them. */
struct grpc_handler {
    /* Headers are here. Client-streaming and bidi only; may be NULL. */
    void (*start)(struct grpc_call *call);
    /* One complete, decompressed message. Unary and server-streaming: it stays valid until the
     * call is finished; streams: until the handler returns. */
    void (*message)(struct grpc_call *call, struct slice message);
    /* The client will send no more. Client-streaming and bidi only. */
    void (*half_close)(struct grpc_call *call);
    /* Reset by the client (GRPC_CANCELED), its connection gone (GRPC_CANCELED), deadline passed
     * (GRPC_DEADLINE_EXCEEDED), or the server stops and the grace is over (GRPC_UNAVAILABLE). At
     * most once; never after finish. */
    void (*cancel)(struct grpc_call *call, enum grpc_status why);
    /* What was sent has left to below GRPC_SEND_LOW bytes, after grpc_call_writable() was false. */
    void (*writable)(struct grpc_call *call);
};

struct grpc_method {
    const char *name; /* "Range" */
    enum grpc_kind kind;
    const struct grpc_handler *handler;
    const void *tag; /* the registrant's: grpc_call_method(call)->tag */
};

/* Registered with http_server_service(); borrowed as long as the server lives. */
struct grpc_service {
    const char *name; /* "etcdserverpb.KV" */
    const struct grpc_method *methods;
    size_t method_count;
};

/* ---- what a call says about itself ------------------------------------------------------- */

const struct grpc_method *grpc_call_method(const struct grpc_call *call);
struct slice grpc_call_path(const struct grpc_call *call); /* "/etcdserverpb.KV/Range" */
void *grpc_call_server_ctx(const struct grpc_call *call);  /* http_options.grpc_ctx */
/* The value number `index` (0, 1, …) of a metadata name in lower case; "-bin" values are decoded.
 * False when there are not so many. */
bool grpc_call_metadata(const struct grpc_call *call, const char *name, size_t index,
                        struct slice *out);
/* Monotonic; UINT64_MAX when the client set none. */
mono_ns grpc_call_deadline(const struct grpc_call *call);
mono_ns grpc_call_started(const struct grpc_call *call);  /* loop time at its headers */
const char *grpc_call_peer(const struct grpc_call *call); /* "127.0.0.1:41234" */
/* Freed with the call; reused by later calls. */
struct arena *grpc_call_arena(struct grpc_call *call);
bool grpc_call_canceled(const struct grpc_call *call);
/* A slot for the handler's own state. */
void grpc_call_set_data(struct grpc_call *call, void *data);
void *grpc_call_data(const struct grpc_call *call);

/* ---- answering ------------------------------------------------------------------------- */

/* A piece of a message. With release NULL the bytes must live as long as the call (its arena) or
 * forever; else release(ctx) is called once when they are no longer needed. */
struct grpc_chunk {
    struct slice bytes;
    void (*release)(void *ctx);
    void *ctx;
};

/* A message made while it is sent. `len` bytes in all, known up front; next() is asked when the
 * connection has room and gives 1 to `want` bytes at a time, so that the whole never is in memory.
 * close() is called exactly once: all given, failed, or the call is gone.
 *
 * To a client that takes gzip, a source of up to 1 MiB is sent compressed, and then all of the
 * compressed message is in memory; a larger one is sent as it is, because a message begins with
 * its length. */
struct grpc_source {
    uint64_t len;
    /* ERR_AGAIN: enough for this turn of the loop; asked again in the next. Any other error resets
     * the stream (the message can no longer be completed). */
    enum err (*next)(void *ctx, size_t want, struct grpc_chunk *out);
    void (*close)(void *ctx);
    void *ctx;
};

/* Sends one message. Response headers go out with the first.
 * _copy: the bytes are copied; _chunks: taken as they are, in order; _source: pulled. A call with
 * a source under way takes no further message before it is drained (grpc_call_writable()). */
void grpc_call_send_copy(struct grpc_call *call, struct slice message);
/* The same for a message of `len` bytes, at most GRPC_ROOM_MAX, that is still to be written: to
 * where this points, before anything else happens. NULL: it has to be made elsewhere and sent as a
 * copy (compressed, or not over a connection), or goes nowhere. */
#define GRPC_ROOM_MAX ((size_t)4096)
uint8_t *grpc_call_send_room(struct grpc_call *call, size_t len);
void grpc_call_send_chunks(struct grpc_call *call, const struct grpc_chunk *chunks, size_t count);
void grpc_call_send_source(struct grpc_call *call, const struct grpc_source *source);
/* Sends the response headers now, before a first message (a stream that will be silent). */
void grpc_call_send_headers(struct grpc_call *call);

/* Ends the call: what was sent goes out first, then the trailers. `message` may be NULL. The call
 * must not be touched by the handler afterwards. */
void grpc_call_finish(struct grpc_call *call, enum grpc_status status, const char *message);
/* One message that lives in the call's arena, and GRPC_OK. */
void grpc_call_reply(struct grpc_call *call, struct slice message);

/* ---- back-pressure --------------------------------------------------------------------- */

#define GRPC_SEND_HIGH ((size_t)256 * 1024) /* above it a call is not writable */
#define GRPC_SEND_LOW ((size_t)64 * 1024)

/* Bytes sent by the handler that have not left the stream yet, sources included. */
uint64_t grpc_call_queued(const struct grpc_call *call);
/* When false: writable() will be called. Sending nevertheless is allowed, and costs memory. */
bool grpc_call_writable(struct grpc_call *call);
/* RFC 9218: 0 goes first, 7 last, 3 is the default. For watches and keep-alives, whose small
 * messages must not wait behind bulk. */
void grpc_call_urgency(struct grpc_call *call, unsigned urgency);
/* Streams: while paused no message() comes, and the client runs into its window. */
void grpc_call_pause(struct grpc_call *call, bool paused);

#endif
