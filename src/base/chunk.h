/* Chunks: reference-counted memory that many small byte strings share.
 *
 * A chunk_pool hands out space from its newest chunk. Whoever wants to keep a string takes a
 * reference to its chunk; the memory goes when the last reference does. So storing a row costs a
 * pointer bump, and a watcher may hold the row after the store has let go of it.
 *
 * Ownership: the pool holds one reference to its newest chunk.
 * Threads:   references are counted on one thread; others may read the bytes meanwhile. */
#ifndef BASE_CHUNK_H
#define BASE_CHUNK_H

#include <stddef.h>
#include <stdint.h>

/* Strings of up to a quarter of this share a chunk; a longer one gets a chunk of its own, so that
 * no chunk is more than a quarter waste. */
#define CHUNK_LEN 65536

struct chunk {
    uint32_t refs;
    uint32_t cap; /* bytes of data; 0 for a chunk of one long string */
    uint32_t used;
    uint32_t pad;
    uint8_t data[];
};

struct chunk_pool {
    struct chunk *newest; /* NULL before the first string */
};

void chunk_pool_init(struct chunk_pool *pool);
void chunk_pool_fini(struct chunk_pool *pool);
/* Lets the newest chunk go: what comes next starts another. */
void chunk_pool_cut(struct chunk_pool *pool);

/* `len` uninitialised bytes, and in *out their chunk with one reference for the caller. */
__attribute__((returns_nonnull)) uint8_t *chunk_alloc(struct chunk_pool *pool, size_t len,
                                                      struct chunk **out);

static inline struct chunk *chunk_ref(struct chunk *chunk)
{
    chunk->refs++;
    return chunk;
}
/* Safe on NULL. */
void chunk_unref(struct chunk *chunk);

#endif
