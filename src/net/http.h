/* A server: one cleartext port that speaks gRPC over HTTP/2 (prior knowledge) and HTTP/1.1.
 *
 * The first bytes of a connection decide: the HTTP/2 preface, else HTTP/1. gRPC calls go to the
 * registered services (net/grpc_server.h), HTTP/1 requests to one function. A request over HTTP/2
 * that is not gRPC is refused with 415, as etcd's cleartext port does.
 *
 * Limits (each with a test): head 1 MiB and 256 fields, body `http_body_max`; HTTP/2 header list
 * 16 KiB, streams, resets, pings, settings; half a preface or head 10 s; a peer that does not read
 * holds at most HTTP_OUT_MAX bytes of output and is not read from meanwhile.
 *
 * Threads: loop thread only. Handlers run in the input phase, output leaves in the output phase. */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include "env/loop.h"
#include "net/grpc_server.h"

#define HTTP_OUT_MAX ((size_t)256 * 1024)

struct http_server;
struct http_request;

/* A request with its whole body is here (or without, see http_early_fn). The handler owns it until
 * http_reply() or http_reply_end(), exactly one of them, at once or later. */
typedef void http_fn(struct http_request *request, void *ctx);

/* Whether the request, of which the head is here and the body is not, goes to the handler now. Its
 * body then comes in pieces: http_on_body(). */
typedef bool http_early_fn(struct http_request *request, void *ctx);

/* Zero means the default given behind each. */
struct http_options {
    uint32_t grpc_message_max;     /* 2 MiB: 1.5 MiB of request and 512 KiB of overhead */
    uint32_t streams_max;          /* per connection: 2^32-1, as etcd: not announced */
    size_t running_max;            /* 1000: unary calls at once on one connection; others wait */
    size_t http_body_max;          /* 4 MiB; of a body in pieces, of one piece */
    uint64_t head_timeout_ns;      /* 10 s: a preface or a request head that does not complete */
    uint64_t idle_timeout_ns;      /* HTTP/1 keep-alive: none */
    uint64_t ping_min_ns;          /* 5 s: --grpc-keepalive-min-time; clients may not ping faster */
    uint64_t keepalive_ns;         /* 2 h: --grpc-keepalive-interval; UINT64_MAX: never */
    uint64_t keepalive_timeout_ns; /* 20 s: --grpc-keepalive-timeout */
    bool grpc_off;                 /* HTTP/1 only (--listen-metrics-urls, client-http-urls) */
    http_fn *on_request;           /* NULL: gRPC only; HTTP/1 is closed */
    http_early_fn *is_early;       /* NULL: every request waits for its body */
    void *ctx;                     /* for on_request and is_early */
    void *grpc_ctx;                /* for grpc_call_server_ctx() */
};

struct http_server *http_server_new(struct env *env, struct loop *loop,
                                    const struct http_options *options);
/* Closes everything at once; handlers of calls in progress get cancel() and must have finished
 * them before. *server becomes NULL. */
void http_server_free(struct http_server **server);

/* Before the first listen. */
void http_server_service(struct http_server *server, const struct grpc_service *service);

/* host/port as net_listen(). Any number of times. */
FALLIBLE http_server_listen(struct http_server *server, const char *host, const char *port,
                            const struct listen_options *options, struct errbuf *why);

/* What the listener number `index` (0, 1, …) is bound to, with the port the system chose. */
void http_server_addr(const struct http_server *server, size_t index, struct sock_addr *out);

/* Graceful stop: no new connections, GOAWAY to HTTP/2 peers, "Connection: close" to HTTP/1; calls
 * in progress go on until `deadline`, then they are canceled and everything is closed. `done` is
 * called once, from the loop, when no connection and no call is left. */
void http_server_stop(struct http_server *server, mono_ns deadline, void (*done)(void *ctx),
                      void *ctx);

struct http_stats {
    uint64_t connections;       /* open now */
    uint64_t connections_total; /* ever accepted */
    uint64_t calls;             /* gRPC calls in progress */
    uint64_t bytes_in;
    uint64_t bytes_out;
};
void http_server_stats(const struct http_server *server, struct http_stats *out);
void http_server_check(const struct http_server *server);

/* ---- HTTP/1 requests --------------------------------------------------------------------- */

struct slice http_method(const struct http_request *request); /* "GET" */
struct slice http_target(const struct http_request *request); /* as sent, with the query */
struct slice http_path(const struct http_request *request);   /* up to '?', still escaped; "/x" */
struct slice http_query(const struct http_request *request);  /* behind '?', may be empty */
struct slice http_body(const struct http_request *request);
const char *http_peer(const struct http_request *request);
bool http_is_old(const struct http_request *request); /* HTTP/1.0 */
/* The first field of that name (any letter case). */
bool http_header(const struct http_request *request, const char *name, struct slice *out);
/* Field number `index` (0, 1, …) in the order of the request. False when there are not so many. */
bool http_field_at(const struct http_request *request, size_t index, struct slice *name_out,
                   struct slice *value_out);
struct arena *http_arena(struct http_request *request); /* freed with the request */
bool http_canceled(const struct http_request *request); /* the client is gone */
struct http_server *http_request_server(const struct http_request *request);
void http_set_data(struct http_request *request, void *data);
void *http_data(const struct http_request *request);

/* Decodes "%41" and, in queries, '+'. ERR_INVALID on a bad escape. */
FALLIBLE http_unescape(struct slice text, bool is_query, struct arena *arena, struct slice *out);
/* The path without empty parts, "." and "..", from "/" on; a slash at its end stays. In the arena.
 */
struct slice http_path_clean(struct slice path, struct arena *arena);
/* Appends it as it stands in a URL. */
void http_path_escape(struct slice path, struct buf *out);
/* The value number `index` of a query parameter, decoded into the arena; a parameter without '='
 * is there and empty. */
bool http_query_get(struct slice query, const char *name, size_t index, struct arena *arena,
                    struct slice *out);

struct http_field {
    struct slice name; /* as it is to be written: "Content-Type" */
    struct slice value;
};

/* Answers and ends the request. The fields and the body are copied. Date, Content-Length and
 * Connection are added; HEAD gets no body; statuses 1xx, 204 and 304 have none. */
void http_reply(struct http_request *request, unsigned status, const struct http_field *fields,
                size_t field_count, struct slice body);
/* Go's http.Error: text/plain, nosniff, the text and a newline. */
void http_reply_error(struct http_request *request, unsigned status, const char *text);

/* A body in pieces (chunked, or until close for HTTP/1.0). on_event: with `gone` the client left
 * (and the handler must still call http_reply_end()), else there is room again after
 * http_reply_writable() was false. */
typedef void http_event_fn(struct http_request *request, bool gone, void *ctx);
void http_reply_begin(struct http_request *request, unsigned status,
                      const struct http_field *fields, size_t field_count, http_event_fn *on_event,
                      void *ctx);
void http_reply_write(struct http_request *request, struct slice data);
bool http_reply_writable(struct http_request *request);
void http_reply_end(struct http_request *request);
/* Instead of http_reply_end(): the body stops in the middle, so that the client sees it was cut. */
void http_reply_abort(struct http_request *request);
/* Before a reply: be told when the client leaves while the request waits. */
void http_on_gone(struct http_request *request, http_event_fn *on_event, void *ctx);

/* The rest of a body that was not whole when the handler got the request: http_body() then is its
 * beginning, valid until the handler returns. `is_last` comes once, perhaps with nothing. A body
 * that breaks off or breaks the rules of HTTP ends the request (on_event, `gone`), and the
 * connection. Answering does not wait for the body's end; a connection whose request is answered
 * before is closed, since what else comes on it may be either. */
bool http_body_is_open(const struct http_request *request);
typedef void http_body_fn(struct http_request *request, struct slice bytes, bool is_last,
                          void *ctx);
void http_on_body(struct http_request *request, http_body_fn *on_body, void *ctx);

/* While paused, what the client sends (of a body in pieces, on an upgraded connection) waits: a
 * little here, the rest where it is. */
void http_input_pause(struct http_request *request, bool paused);

/* Answers 101 and makes the connection a stream of bytes (RFC 9110 section 7.8): what the client
 * sends goes to on_input, http_reply_write() sends bytes as they are, http_reply_end() closes. The
 * fields are the caller's, "Upgrade" and "Connection" too. Not for HTTP/1.0. */
typedef void http_input_fn(struct http_request *request, struct slice bytes, void *ctx);
void http_reply_upgrade(struct http_request *request, const struct http_field *fields,
                        size_t field_count, http_input_fn *on_input, http_event_fn *on_event,
                        void *ctx);

/* "OK", "Not Found", … or "" */
const char *http_status_text(unsigned status);

#endif
