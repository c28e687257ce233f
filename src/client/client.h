/* A client of an etcd cluster: several endpoints behind one face, with clientv3's rules for
 * waiting, retrying and naming errors.
 *
 * It connects to every endpoint at once and sends calls to those that stand, in turn. A call waits
 * for a connection until its deadline. A call that failed is sent again when that is safe
 * (clientv3's unary interceptor): reads when the server was not available, writes only when no
 * server can have seen them.
 *
 * It knows messages only as bytes, but for Authenticate. Streams are in client_stream.h.
 *
 * Ownership: the client copies its options. A call is embedded in whatever waits for it and belongs
 *            to the client from client_call_start() until done().
 * Threads:   loop thread only; callbacks come from the loop, never from inside these functions.
 * Failure:   operating errors are gRPC statuses with the text that clientv3 shows. */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include "base/log.h"
#include "client/endpoint.h"
#include "codec/grpc.h"
#include "env/loop.h"

struct client;
struct client_call;

#define CLIENT_ENDPOINTS_MAX 1024
#define CLIENT_REQUEST_MAX ((size_t)2 * 1024 * 1024) /* unless told otherwise */
#define CLIENT_REPLY_MAX ((size_t)INT32_MAX)

struct client_options {
    const char *const *endpoints; /* see endpoint.h */
    size_t endpoint_count;
    uint64_t dial_timeout_ns;      /* bounds client_login(); 0: no bound */
    uint64_t keepalive_ns;         /* 0: never ping */
    uint64_t keepalive_timeout_ns; /* 0: the connection's default */
    size_t request_max;            /* 0: CLIENT_REQUEST_MAX */
    size_t reply_max;              /* 0: CLIENT_REPLY_MAX */
    const char *username;          /* NULL or "": no authentication */
    const char *password;
    bool wants_tls;        /* endpoints without a scheme are to be TLS */
    const struct log *log; /* borrowed for the client's life; may be NULL */
};

/* Starts connecting.
 *
 * ERR_INVALID      no endpoint, or one that makes no sense, or limits that contradict each other;
 *                  clientv3's sentence where it has one
 * ERR_UNSUPPORTED  an endpoint needs TLS */
FALLIBLE client_new(struct env *env, struct loop *loop, const struct client_options *options,
                    struct client **out, struct errbuf *why);
/* Ends every call without done(), every stream without end(). NULLs; safe on NULL. Not from inside
 * a callback. */
void client_free(struct client **client);

/* How a call ended; borrowed until done() returns. */
struct client_result {
    uint32_t status;     /* an enum grpc_status, or what else the server sent */
    const char *message; /* the server's or the transport's own words */
    const char *error;   /* as clientv3 shows it: "etcdserver: key not found",
                          * "context deadline exceeded", "rpc error: code = … desc = …"; "" if OK */
};

/* Exactly once. `reply` is empty unless the status is GRPC_OK; borrowed until it returns. */
typedef void client_done_fn(struct client_call *call, const struct client_result *result,
                            struct slice reply);

struct client_call {
    const char *path;     /* "/etcdserverpb.KV/Range"; borrowed until done */
    struct slice request; /* borrowed until done */
    mono_ns deadline;     /* UINT64_MAX: none */
    bool is_repeatable;   /* changes nothing: may be sent again when it may have been seen */
    client_done_fn *done;
    void *ctx;
    /* The client's. */
    struct client *client;
    struct list link; /* on the client's list of all its calls */
    struct timer timer;
    struct grpc_stream *stream;
    unsigned attempt;
    int state;
    bool is_login;
};

void client_call_start(struct client *client, struct client_call *call);

/* Gets a token, when the client has a user name and a password; else is done at once. Calls do it
 * by themselves when the server says that their token is no longer good. A server without
 * authentication is no error. `result` is as for a call. */
typedef void client_login_fn(struct client *client, const struct client_result *result, void *ctx);
void client_login(struct client *client, client_login_fn *done, void *ctx);

/* Why no connection stands, as grpc-go says it; "" when one does. */
const char *client_connection_error(const struct client *client);

/* ---- texts of errors ---------------------------------------------------------------------- */

/* Whether clientv3 knows this text as an error of etcd's, and so shows it bare. */
bool client_error_is_etcd(const char *message);
/* "rpc error: code = Unavailable desc = …". Appends. */
void client_error_format(uint32_t status, const char *message, struct buf *out);
/* May a call that ended so be sent again? `unseen`: no server can have seen it. */
bool client_error_is_retryable(uint32_t status, const char *message, bool is_repeatable,
                               size_t endpoint_count);

#endif
