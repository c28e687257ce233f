/* A socket with an output queue: what server and client connections share.
 *
 * Input is read into one buffer of the group and handed over at once. Output is made in the output
 * phase: fill() appends what there is, and it leaves in one write. A socket that takes no more is
 * waited for; meanwhile at most STREAM_OUT_MAX bytes are queued, and nothing is read from a peer
 * that does not read.
 *
 * TLS would stand between the socket and both directions here, as a filter of bytes.
 *
 * Ownership: a stream is embedded in its connection. stream_kill() closes the socket at once and
 * calls dispose() in the close phase: only there may the memory go.
 * Threads: loop thread only. */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "base/slab.h"
#include "codec/outq.h"
#include "env/loop.h"

#define STREAM_OUT_MAX ((size_t)256 * 1024)
#define STREAM_READ_LEN ((size_t)64 * 1024)
/* A peer that takes not one byte for so long is gone. */
#define STREAM_STALL_NS (120 * NS_PER_SEC)
/* How long to wait for the peer's end after ours, so that it can read our last words. */
#define STREAM_LINGER_NS (500 * NS_PER_MS)

struct stream;
struct stream_handler {
    /* Bytes came; borrowed. May kill or finish the stream. */
    void (*input)(struct stream *stream, struct slice bytes);
    /* Append output to stream->out, up to STREAM_OUT_MAX. True: there would have been more. */
    bool (*fill)(struct stream *stream);
    /* The peer has finished (ERR_EOF), reset (ERR_CLOSED) or stalled (ERR_TIMEOUT). The callee
     * decides: for ERR_EOF the stream may still write; else it must be killed. */
    void (*lost)(struct stream *stream, enum err why);
    /* After stream_kill(): free it. */
    void (*dispose)(struct stream *stream);
};

/* What the streams of one server or client have in common. */
struct stream_group {
    struct loop *loop;
    struct outq_pool pool;
    struct slab_pool slabs; /* of the streams' sessions */
    uint8_t *read_buf;
    struct list dirty;
    struct list dead;
    struct task flush;
    struct task bury;
    uint64_t bytes_in;
    uint64_t bytes_out;
    size_t count; /* streams not disposed of */
};

struct stream {
    struct stream_group *group;
    const struct stream_handler *handler;
    struct sock *sock;
    struct outq out;
    struct list dirty_link; /* group->dirty, or group->dead */
    struct timer timer;     /* stall, then linger */
    bool is_blocked;        /* the socket takes no more */
    bool is_reading;
    bool is_paused;    /* by the owner */
    bool is_finishing; /* close when the output has left */
    bool is_shut;      /* FIN sent, lingering */
    bool is_dead;
    bool at_eof; /* the peer's end has been reported */
};

void stream_group_init(struct stream_group *group, struct loop *loop);
void stream_group_fini(struct stream_group *group); /* no stream may be left */
/* Disposes of the dead ones now; for tearing down outside of a turn. */
void stream_group_bury(struct stream_group *group);

void stream_init(struct stream *stream, struct stream_group *group, struct sock *sock,
                 const struct stream_handler *handler);
/* There may be output: fill() is called in the coming output phase. */
void stream_touch(struct stream *stream);
void stream_pause(struct stream *stream, bool paused); /* stops reading */
/* Sends what is queued, then FIN, waits a little for the peer's, and kills. No more input(). */
void stream_finish(struct stream *stream);
void stream_kill(struct stream *stream); /* safe when dead */

#endif
