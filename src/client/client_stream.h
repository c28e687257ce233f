/* Streams of a client: one gRPC stream to whichever endpoint stands.
 *
 * A stream waits for a connection as a call does, and carries the client's token. It is not
 * opened again by itself: what of its messages a server has seen only its owner can know. So an
 * owner that wants to go on (client/watcher, client/keeper) opens it again in end(), after a pause
 * from client_stream_pause_ns(); the next endpoint gets it then.
 *
 * Ownership: a stream is embedded in whatever uses it and belongs to the client from
 *            client_stream_open() until end() or client_stream_cancel().
 * Threads:   loop thread only; callbacks come from the loop, never from inside these functions.
 * Failure:   end() has it, as client_done_fn() has that of a call. */
#ifndef CLIENT_CLIENT_STREAM_H
#define CLIENT_CLIENT_STREAM_H

#include "client/client.h"

struct client_stream;

struct client_stream_handler {
    /* May be NULL: it has been sent to an endpoint that stands. */
    void (*opened)(struct client_stream *stream);
    /* One message; borrowed until it returns. */
    void (*message)(struct client_stream *stream, struct slice message);
    /* Once, and nothing follows; the stream may be opened again inside. The status is GRPC_OK when
     * the server has ended it well. `result` is borrowed until it returns. */
    void (*end)(struct client_stream *stream, const struct client_result *result);
    /* May be NULL: room again after client_stream_writable() was false. */
    void (*writable)(struct client_stream *stream);
};

struct client_stream {
    const char *path; /* "/etcdserverpb.Watch/Watch"; borrowed as long as it is open */
    const struct client_stream_handler *handler;
    mono_ns deadline;     /* UINT64_MAX: none */
    bool requires_leader; /* a member that has lost its leader is to end it */
    void *ctx;
    /* The client's. */
    struct client *client;
    struct list link;
    struct timer timer; /* while it waits: its deadline */
    struct grpc_stream *stream;
    struct buf unsent; /* messages behind their lengths, while it waits */
    bool is_half_closed;
    int state;
};

/* Sent from the next turn of the loop on. */
void client_stream_open(struct client *client, struct client_stream *stream);
/* Only while open, i.e. until end() is called. Messages are copied. */
void client_stream_send(struct client_stream *stream, struct slice message);
void client_stream_close_send(struct client_stream *stream); /* half-close */
/* False: much is waiting to leave; writable() will be called. */
bool client_stream_writable(struct client_stream *stream);
/* While paused no message() comes, and the server runs into our window. */
void client_stream_pause(struct client_stream *stream, bool is_paused);
/* Ends it without end(). Safe when it is not open, if it ever was or is zeroed. */
void client_stream_cancel(struct client_stream *stream);
bool client_stream_is_open(const struct client_stream *stream);

/* How long to wait before the attempt-th opening in a row (0: the first after one that worked):
 * clientv3's 25 ms, growing to 100 ms, with a random part. */
uint64_t client_stream_pause_ns(struct client *client, unsigned attempt);

#endif
