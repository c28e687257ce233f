#include "base/chunk.h"

#include "base/err.h"
#include "base/mem.h"

static struct chunk *chunk_new(size_t len, uint32_t cap)
{
    struct chunk *chunk = mem_alloc(sizeof(*chunk) + len);
    *chunk = (struct chunk){.refs = 1, .cap = cap};
    return chunk;
}

void chunk_pool_init(struct chunk_pool *pool)
{
    pool->newest = NULL;
}

void chunk_pool_cut(struct chunk_pool *pool)
{
    chunk_unref(pool->newest);
    pool->newest = NULL;
}

void chunk_pool_fini(struct chunk_pool *pool)
{
    chunk_pool_cut(pool);
}

uint8_t *chunk_alloc(struct chunk_pool *pool, size_t len, struct chunk **out)
{
    if (len > CHUNK_LEN / 4) {
        *out = chunk_new(len, 0);
        return (*out)->data;
    }
    struct chunk *chunk = pool->newest;
    if (chunk == NULL || chunk->cap - chunk->used < len) {
        chunk_pool_cut(pool);
        chunk = chunk_new(CHUNK_LEN, CHUNK_LEN);
        pool->newest = chunk;
    }
    uint8_t *data = chunk->data + chunk->used;
    chunk->used += (uint32_t)len;
    *out = chunk_ref(chunk);
    return data;
}

void chunk_unref(struct chunk *chunk)
{
    if (chunk == NULL) {
        return;
    }
    ASSERT(chunk->refs > 0);
    if (--chunk->refs == 0) {
        mem_free(chunk);
    }
}
