/* Calls by message: encodes a request, starts a call, decodes the reply.
 *
 * For those who drive a conversation of several calls (sessions, locks, elections) and would else
 * each keep a request, a reply and an arena.
 *
 * Ownership: the request is only borrowed until client_rpc_start() returns; the reply until done()
 *            does. A call frees itself after done().
 * Threads:   loop thread only; done() comes from the loop. */
#ifndef CLIENT_CLIENT_RPC_H
#define CLIENT_CLIENT_RPC_H

#include "client/client.h"
#include "codec/pb.h"

struct client_rpc;

enum client_method {
    CLIENT_RANGE,
    CLIENT_PUT,
    CLIENT_DELETE,
    CLIENT_TXN,
    CLIENT_COMPACT,
    CLIENT_LEASE_GRANT,
    CLIENT_LEASE_REVOKE,
    CLIENT_LEASE_TIME_TO_LIVE,
    CLIENT_METHOD_COUNT,
};

/* `reply` is a generated struct of the method's reply; NULL unless the status is GRPC_OK. */
typedef void client_rpc_fn(void *ctx, const struct client_result *result, void *reply);

/* deadline: UINT64_MAX for none. A transaction counts as a write. */
struct client_rpc *client_rpc_start(struct client *client, enum client_method method,
                                    const void *request, mono_ns deadline, client_rpc_fn *done,
                                    void *ctx);
/* Messages inside messages of a reply: whoever walks one recursively may rely on it. A server that
 * is asked for less answers with less. */
#define CLIENT_REPLY_DEPTH_MAX 1000
#define CLIENT_REPLY_LIMITS                                                                        \
    ((struct pb_limits){.depth = CLIENT_REPLY_DEPTH_MAX, .elements = SIZE_MAX})
/* The reply of a method; its bytes stay in `bytes`. ERR_CORRUPT, ERR_TOO_LARGE with a sentence. */
FALLIBLE client_rpc_decode(struct arena *arena, enum client_method method, struct slice bytes,
                           void **out, struct errbuf *why);

/* done() will not be called; the call itself goes on. NULLs; safe on NULL. */
void client_rpc_forget(struct client_rpc **rpc);

#endif
