/* An output queue: bytes on their way to a socket, some copied, some borrowed.
 *
 * Small pieces are copied into blocks, so that a write has few and large vectors; large ones are
 * referenced, and their owner is told when the last byte has left. Bytes can move from one queue
 * (a stream's body) to another (its connection) without being copied.
 *
 * Ownership: a referenced piece has an embedded, counted `struct outq_owner`; release() runs when
 * the count falls to zero, from inside outq_consume(), outq_move() or outq_fini(). A NULL owner
 * means memory that outlives the queue. Threads: one at a time; no shared state but the pool's, of
 * the same thread. */
#ifndef CODEC_OUTQ_H
#define CODEC_OUTQ_H

#include "base/bytes.h"

struct outq_owner {
    size_t refs;
    void (*release)(struct outq_owner *owner);
};

static inline void outq_owner_ref(struct outq_owner *owner)
{
    owner->refs++;
}
static inline void outq_owner_unref(struct outq_owner *owner)
{
    ASSERT(owner->refs > 0);
    owner->refs--;
    if (owner->refs == 0) {
        owner->release(owner);
    }
}

/* Spare blocks, shared by the queues of one loop. Zero-initialise; must outlive its queues. */
#define OUTQ_BLOCK 16384
#define OUTQ_SPARE_MAX 64
struct outq_block;
struct outq_pool {
    struct outq_block *spare;
    size_t spare_count;
};
void outq_pool_fini(struct outq_pool *pool);

struct outq_segment {
    const uint8_t *data;
    size_t len;
    struct outq_owner *owner; /* may be NULL */
};

struct outq {
    struct outq_pool *pool;
    struct outq_segment *segments; /* a ring of `cap`, a power of two */
    size_t cap;
    size_t first;
    size_t count;
    uint64_t len;            /* bytes in all segments */
    struct outq_block *tail; /* block being filled, or NULL */
};

void outq_init(struct outq *queue, struct outq_pool *pool); /* allocates nothing yet */
void outq_fini(struct outq *queue);                         /* drops what is left */
void outq_clear(struct outq *queue);                        /* the same, and usable again */

void outq_append(struct outq *queue, const void *data, size_t len); /* copies */
/* Room for `len` bytes in one piece, 0 < len <= OUTQ_BLOCK, which count as appended: to be written
 * before anything else is done with the queue. */
uint8_t *outq_room(struct outq *queue, size_t len);
/* Takes one reference of `owner` over (owner may be NULL). */
void outq_append_ref(struct outq *queue, struct slice bytes, struct outq_owner *owner);

/* Pieces up to this long are copied when they move, because a vector costs more. */
#define OUTQ_COPY_MAX 1024
/* Moves the first `len` bytes of `source` to the end of `target`. Pieces without an owner that are
 * not copied get a reference of `fallback` (which may be NULL). */
void outq_move(struct outq *target, struct outq *source, size_t len, struct outq_owner *fallback);

/* The first pieces, up to `max` of them; returns how many. Valid until the queue changes. */
size_t outq_peek(const struct outq *queue, struct slice *out, size_t max);
void outq_consume(struct outq *queue, size_t len); /* len <= queue->len */
void outq_check(const struct outq *queue);

#endif
