/* A gRPC client connection: HTTP/2 over one cleartext socket, any number of calls at once.
 *
 * One address, one connection: which endpoint to use, when to try another and what to retry is the
 * caller's (src/client). A connection that is lost fails its calls with GRPC_UNAVAILABLE and stays
 * lost: make a new one.
 *
 * Ownership: a call belongs to the caller from its start until its done() (unary) or
 * grpc_stream_free(). Callbacks come from the loop, never from inside a function of this header.
 * Threads: loop thread only. */
#ifndef NET_GRPC_CLIENT_H
#define NET_GRPC_CLIENT_H

#include "codec/grpc.h"
#include "env/loop.h"

struct grpc_conn;
struct grpc_stream;

struct grpc_conn_options {
    const char *host; /* as net_connect() */
    const char *port;
    const char *authority;         /* ":authority"; NULL: host:port */
    const char *user_agent;        /* NULL: "grpc-c-etcd/1.0" */
    uint32_t message_max;          /* largest reply accepted; 0: 2147483647 */
    uint64_t connect_timeout_ns;   /* 0: 20 s */
    uint64_t keepalive_ns;         /* ping after so long without input; 0: never */
    uint64_t keepalive_timeout_ns; /* 0: 20 s */
    /* Told once when the connection stands (why NULL), and once when it is lost (a sentence). May
     * be NULL. Calls may be started before it stands: they wait. */
    void (*on_state)(struct grpc_conn *conn, const char *why, void *ctx);
    void *ctx;
};

/* Starts connecting. The strings of options are copied. */
struct grpc_conn *grpc_conn_open(struct env *env, struct loop *loop,
                                 const struct grpc_conn_options *options);
/* Ends every call with GRPC_CANCELED (no callback) and closes. Streams must still be freed by their
 * owners. *conn becomes NULL; NULL is fine. Not from inside a callback of this connection. */
void grpc_conn_close(struct grpc_conn **conn);
bool grpc_conn_is_up(const struct grpc_conn *conn);
bool grpc_conn_is_lost(const struct grpc_conn *conn);

struct grpc_metadata {
    struct slice name;  /* lower case */
    struct slice value; /* "-bin": raw bytes */
};

/* How a call ended. `message` is decoded text, borrowed until the callback returns. */
struct grpc_result {
    uint32_t status; /* an enum grpc_status, or what else the server sent */
    const char *message;
    /* True when the server cannot have seen the call (refused, connection lost before it left, or
     * over its last stream): safe to send elsewhere. */
    bool unseen;
};

/* ---- unary ------------------------------------------------------------------------------- */

/* Exactly once. `reply` is empty unless status is GRPC_OK; borrowed until the callback returns.
 * The call frees itself afterwards. */
typedef void grpc_unary_fn(const struct grpc_result *result, struct slice reply, void *ctx);

/* `path` "/etcdserverpb.KV/Range". `request` and metadata are copied. deadline: monotonic,
 * UINT64_MAX for none. The returned stream is only good for grpc_stream_cancel() before the
 * callback. */
struct grpc_stream *grpc_unary(struct grpc_conn *conn, const char *path, struct slice request,
                               const struct grpc_metadata *metadata, size_t metadata_count,
                               mono_ns deadline, grpc_unary_fn *done, void *ctx);

/* ---- streams ------------------------------------------------------------------------------ */

struct grpc_stream_handler {
    /* One message; the slice is borrowed until it returns. */
    void (*message)(struct grpc_stream *stream, struct slice message, void *ctx);
    /* Exactly once, nothing follows: the stream is then only good for grpc_stream_free(), which is
     * allowed inside. */
    void (*end)(struct grpc_stream *stream, const struct grpc_result *result, void *ctx);
    /* May be NULL: room again after grpc_stream_writable() was false. */
    void (*writable)(struct grpc_stream *stream, void *ctx);
};

struct grpc_stream *grpc_stream_open(struct grpc_conn *conn, const char *path,
                                     const struct grpc_metadata *metadata, size_t metadata_count,
                                     mono_ns deadline, const struct grpc_stream_handler *handler,
                                     void *ctx);
void grpc_stream_send(struct grpc_stream *stream, struct slice message); /* copied */
void grpc_stream_close_send(struct grpc_stream *stream);                 /* half-close */
bool grpc_stream_writable(struct grpc_stream *stream);
/* While paused no message() comes, and the server runs into our window. */
void grpc_stream_pause(struct grpc_stream *stream, bool paused);
/* Resets it; the end (GRPC_CANCELED) comes from the loop. */
void grpc_stream_cancel(struct grpc_stream *stream);
/* Cancels when it has not ended; no callback comes any more. NULLs; NULL is fine. */
void grpc_stream_free(struct grpc_stream **stream);

#endif
