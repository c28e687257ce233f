/* Inside of the server: connections, calls and requests. Shared by http*.c and grpc_call.c only. */
#ifndef NET_HTTP_PRIV_H
#define NET_HTTP_PRIV_H

#include "codec/h2.h"
#include "codec/http1.h"
#include "net/http.h"
#include "net/stream.h"

/* A connection that says nothing at all; one that has begun to speak has head_timeout_ns. */
#define SILENT_TIMEOUT_NS (300 * NS_PER_SEC)
/* Between two pieces of an HTTP/1 body. */
#define BODY_TIMEOUT_NS (30 * NS_PER_SEC)

/* Calls that are kept for reuse, with their arenas. */
#define CALLS_SPARE_MAX 4096
/* Streams in progress on one connection, whatever --max-concurrent-streams allows. */
#define CALLS_PER_CONN_MAX 100000
/* Incomplete messages gathered on one connection: a stream that would go beyond is refused with
 * RESOURCE_EXHAUSTED. */
#define CONN_HELD_MAX ((uint64_t)64 * 1024 * 1024)
/* A request beyond http_options.running_max, or while so many bytes of replies wait for the
 * connection's window, waits undecoded: a client that does not read holds these and its requests,
 * not the answers. (Go's server would make them all. One that reads is far from both.) */
#define CONN_QUEUED_MAX ((uint64_t)16 * 1024 * 1024)
/* A call that runs for longer waits for something else (a lock, an election), perhaps for one of
 * those that wait for it: it is not counted any more. */
#define CALL_PATIENCE_NS (100 * NS_PER_MS)

enum conn_kind {
    CONN_UNKNOWN, /* collecting the preface */
    CONN_H2,
    CONN_H1,
};

struct http_conn {
    struct stream stream;
    struct http_server *server;
    struct list link; /* server->conns */
    enum conn_kind kind;
    bool is_stopping;
    char peer[160];
    struct timer timer; /* head, body or idle timeout; keepalive */
    uint8_t preface[H2_PREFACE_LEN];
    size_t preface_len;

    /* HTTP/2 */
    struct h2 *h2;
    struct list calls;
    size_t call_count;
    struct list notify;      /* calls that have become writable */
    struct list waiting;     /* calls whose request waits for others to be done */
    struct task wait_task;   /* takes from there */
    struct timer wait_timer; /* the first of `running` is due to be forgiven */
    struct list running;     /* unary calls that count, in the order in which they began */
    size_t running_count;
    uint64_t held;   /* bytes: see CONN_HELD_MAX */
    uint64_t queued; /* bytes: see CONN_QUEUED_MAX */
    mono_ns read_at; /* when input last came */
    mono_ns ping_at; /* when the client last pinged; 0: never */
    unsigned ping_strikes;
    mono_ns due_at;     /* when the peer must have done what timer waits for */
    bool has_sent;      /* headers or data since the client's last ping */
    bool keepalive_out; /* our ping is not answered yet */
    bool drain_out;     /* the ping that ends the shutdown notice is not answered yet */

    /* HTTP/1 */
    struct http1 *http1;
    struct http_request *request; /* in progress, at most one */
    struct buf pending;           /* pipelined input behind it */
    bool was_asked;               /* whether the request may come before its body */
    bool is_parsing;              /* what was pending is looked at: it is not the last */
    bool is_closing;              /* no further request */
};

struct http_server {
    struct env *env;
    struct loop *loop;
    struct http_options options;
    struct stream_group group;
    struct list conns;
    struct listener **listeners;
    size_t listener_count;
    const struct grpc_service **services;
    size_t service_count;
    struct map paths; /* of struct http_path */
    uint64_t path_seed;
    /* Calls whose sources have had enough of a turn: those that got nothing, and those that did.
     * They are asked again in the next, in this order. */
    struct list again_hungry;
    struct list again_served;
    struct task again_task;
    struct list spare_calls;
    size_t spare_count;
    size_t calls_live;    /* not yet freed */
    size_t requests_live; /* not yet ended */
    uint64_t connections_total;
    bool is_stopping;
    struct timer stop_timer;
    struct task stop_task;
    void (*stop_done)(void *ctx);
    void *stop_ctx;
};

/* One method by its whole path. */
struct http_path {
    struct map_node node; /* first: the map hands it back */
    struct slice path;    /* behind it in memory */
    const struct grpc_method *method;
};

/* http.c */
const struct grpc_method *http__method_find(const struct http_server *server, struct slice path);
void http__conn_finish(struct http_conn *conn); /* flush, then close */
void http__stop_check(struct http_server *server);

/* http_h2.c */
void http__h2_start(struct http_conn *conn);
void http__h2_input(struct http_conn *conn, struct slice bytes);
bool http__h2_fill(struct http_conn *conn);
void http__h2_stop(struct http_conn *conn);  /* graceful */
void http__h2_gone(struct http_conn *conn);  /* the socket is lost: cancel its calls */
void http__h2_timer(struct http_conn *conn); /* keepalive */
void http__h2_check_idle(struct http_conn *conn);

/* http_h1.c */
void http__h1_start(struct http_conn *conn);
void http__h1_input(struct http_conn *conn, struct slice bytes);
void http__h1_lost(struct http_conn *conn);
void http__h1_gone(struct http_conn *conn);
void http__h1_stop(struct http_conn *conn);
bool http__h1_room(struct http_conn *conn); /* before a write; true: more after it */

/* grpc_call.c: the side of a call that faces its connection. */
extern const struct h2_handler http__h2_handler;
extern const struct h2_usual_fields grpc_call__usual;
void grpc_call__gone_all(struct http_conn *conn, enum grpc_status why);
void grpc_call__free_spare(struct http_server *server);
void grpc_call__ask_again(struct task *task);
void grpc_call__notify(struct http_conn *conn);
void grpc_call__wake(struct http_conn *conn); /* something has been done: may others run? */
void grpc_call__on_wait_task(struct task *task);
void grpc_call__on_wait_timer(struct timer *timer);
void grpc_call__cancel_all(struct http_conn *conn, enum grpc_status why);

#endif
