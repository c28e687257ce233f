/* Calls of a server's own services from inside the process: what the JSON gateway makes of an HTTP
 * request. A handler cannot tell such a call from one that came over HTTP/2.
 *
 * It is not a client of another server (net/grpc_client.h), and nothing is copied to a socket.
 *
 * Ownership: the call belongs to the caller until the sink's end() has been called, or until
 *            grpc_local_cancel(); afterwards it must not be touched. The sink and its context must
 *            live as long.
 * Threads:   loop thread only. The sink's functions come from inside the functions of this header
 *            as well as from the loop; they must not call any of them. */
#ifndef NET_GRPC_LOCAL_H
#define NET_GRPC_LOCAL_H

#include "net/http.h"

struct grpc_local_sink {
    /* One message of the answer, borrowed until it returns. */
    void (*message)(void *ctx, struct slice message);
    /* The end, once. `text` is "" for GRPC_OK; borrowed until it returns. */
    void (*end)(void *ctx, enum grpc_status status, const char *text);
    /* Whether more may be sent without piling up; after a false grpc_local_writable() is due. */
    bool (*writable)(void *ctx);
    /* A large message in pieces, as it is made: no more than `writable` has room for, and in each
     * turn of the loop a little. `is_last` ends it; if end() comes before, it was not completed.
     * NULL: the message is gathered. */
    void (*piece)(void *ctx, struct slice bytes, bool is_last);
};

struct grpc_local_field {
    struct slice name; /* lower case */
    struct slice value;
};

struct grpc_local_options {
    const char *path; /* "/etcdserverpb.KV/Range" */
    const struct grpc_local_field *metadata;
    size_t metadata_count;
    const char *peer; /* whom grpc_call_peer() names */
    mono_ns deadline; /* UINT64_MAX: none. Ends the call with GRPC_DEADLINE_EXCEEDED */
    const struct grpc_local_sink *sink;
    void *ctx;
};

/* NULL, and nothing else happens, when there is no such method. Everything is copied but the
 * sink. The end may come before it returns. */
struct grpc_call *grpc_local_start(struct http_server *server,
                                   const struct grpc_local_options *options);
/* One message of the request, copied. What is over the server's limit ends the call. */
void grpc_local_send(struct grpc_call *call, struct slice message);
/* No more messages. */
void grpc_local_close_send(struct grpc_call *call);
/* Nobody waits any more; no end() comes. */
void grpc_local_cancel(struct grpc_call *call, enum grpc_status why);
/* There is room again. */
void grpc_local_writable(struct grpc_call *call);

#endif
