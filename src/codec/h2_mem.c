#include "codec/h2_mem.h"

#include "base/coll.h"
#include "base/mem.h"

struct block {
    size_t len; /* with this head */
    uint8_t bytes[];
};

static struct block *block_of(void *ptr)
{
    return CONTAINER_OF(ptr, struct block, bytes);
}

static void *alloc(size_t len, void *pool)
{
    if (pool == NULL) {
        return mem_alloc(len);
    }
    ASSERT(len <= SIZE_MAX - sizeof(struct block));
    struct block *block = slab_alloc(pool, sizeof(*block) + len);
    block->len = sizeof(*block) + len;
    return block->bytes;
}

static void release(void *ptr, void *pool)
{
    if (pool == NULL) {
        mem_free(ptr);
    } else if (ptr != NULL) {
        slab_free(pool, block_of(ptr), block_of(ptr)->len);
    }
}

static void *zalloc(size_t count, size_t size, void *pool)
{
    ASSERT(size == 0 || count <= SIZE_MAX / size);
    return memset(alloc(count * size, pool), 0, count * size);
}

static void *resize(void *ptr, size_t len, void *pool)
{
    if (pool == NULL) {
        return mem_realloc(ptr, len);
    }
    void *moved = alloc(len, pool);
    if (ptr != NULL) {
        size_t had = block_of(ptr)->len - sizeof(struct block);
        memcpy(moved, ptr, had < len ? had : len);
        release(ptr, pool);
    }
    return moved;
}

nghttp2_mem h2_mem_of(struct slab_pool *pool)
{
    return (nghttp2_mem){pool, alloc, release, zalloc, resize};
}

void *h2_mem_zalloc(struct slab_pool *pool, size_t len)
{
    return zalloc(1, len, pool);
}

void h2_mem_free(struct slab_pool *pool, void *ptr)
{
    release(ptr, pool);
}
