/* Slabs: very many small objects of few sizes, packed.
 *
 * malloc adds 8 bytes to every object and rounds up to 16, which is a fifth of a small one. A slab
 * holds objects of one size (a multiple of 8) with nothing between them; the slab of an object is
 * found by its address. A slab without objects goes back to the heap, so what is freed in bulk is
 * given back, in what order soever it was allocated.
 *
 * Not for objects whose size is unknown when they are freed: the caller says it again.
 *
 * Ownership: the pool owns its slabs; all objects must be freed before slab_fini().
 * Threads:   one at a time.
 * Failure:   none; out of memory ends the process (base/mem.h). */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include "base/coll.h"

#include <stddef.h>
#include <stdint.h>

/* Larger objects come from mem_alloc() as ever. */
#define SLAB_OBJECT_MAX 512
#define SLAB_CLASSES (SLAB_OBJECT_MAX / 8)

struct slab_pool {
    struct list open[SLAB_CLASSES]; /* slabs with room, by the size of their objects */
    size_t slabs;
    size_t objects; /* in slabs, not yet freed */
};

void slab_init(struct slab_pool *pool);
void slab_fini(struct slab_pool *pool);

/* `len` > 0 uninitialised bytes, aligned for 8-byte words. */
__attribute__((returns_nonnull, alloc_size(2))) void *slab_alloc(struct slab_pool *pool,
                                                                 size_t len);
/* `len` as it was for slab_alloc(). Safe on NULL. */
void slab_free(struct slab_pool *pool, void *object, size_t len);
/* What an object of this length takes. */
size_t slab_size(size_t len);

/* Walks the slabs with room and ASSERTs their counts. */
void slab_check(const struct slab_pool *pool);

#endif
