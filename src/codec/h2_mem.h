/* nghttp2's memory from slabs, which many sessions share. Inside of h2 only.
 *
 * A slab wants to hear the length again when an object goes, and nghttp2 does not say it: it stands
 * in front of each. What nghttp2 keeps needs no more alignment than 8 bytes.
 *
 * `pool` NULL is the heap. Ownership: the caller's, until h2_mem_free() with the same pool.
 * Threads: one at a time for a pool. No failure: without memory the process ends (base/mem.h). */
#ifndef CODEC_H2_MEM_H
#define CODEC_H2_MEM_H

#include "base/slab.h"

#include <nghttp2/nghttp2.h>

nghttp2_mem h2_mem_of(struct slab_pool *pool);
void *h2_mem_zalloc(struct slab_pool *pool, size_t len); /* zeroed */
void h2_mem_free(struct slab_pool *pool, void *ptr);     /* safe on NULL */

#endif
