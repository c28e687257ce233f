/* A slab is SLAB_BYTES of memory at a multiple of SLAB_BYTES: clearing the low bits of an object's
 * address gives its slab.
 *
 * Invariants:
 *  1. Objects in [objects, next) were handed out at least once; those free again are chained
 *     through their first word from `free`.
 *  2. A slab is on open[] of its size exactly while an object would fit; it has at least one
 *     object, but for one empty slab of a size, kept so that a single object coming and going at
 *     the edge does not cost a slab each time. */
#include "base/slab.h"

#include "base/err.h"
#include "base/mem.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define HAS_ASAN 1
#endif
#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(at, len) __asan_poison_memory_region(at, len)
#define UNPOISON(at, len) __asan_unpoison_memory_region(at, len)
#else
#define POISON(at, len) ((void)(at), (void)(len))
#define UNPOISON(at, len) ((void)(at), (void)(len))
#endif

#define SLAB_BYTES ((size_t)65536)
#define SLAB_MAGIC 0x736c6162u

struct slab {
    uint32_t magic;
    uint32_t size; /* of an object */
    uint32_t used;
    uint32_t next; /* offset of the first byte never handed out */
    uint8_t *free;
    struct list link;
};
_Static_assert(sizeof(struct slab) % 8 == 0, "objects are aligned");

static bool is_full(const struct slab *slab)
{
    return slab->free == NULL && slab->next + slab->size > SLAB_BYTES;
}

static struct slab *slab_of(const void *object)
{
    struct slab *slab = (struct slab *)((uintptr_t)object & ~(uintptr_t)(SLAB_BYTES - 1));
    ASSERT(slab->magic == SLAB_MAGIC);
    return slab;
}

static struct slab *slab_new(struct slab_pool *pool, size_t size)
{
    struct slab *slab = mem_pages_alloc(SLAB_BYTES);
    *slab = (struct slab){.magic = SLAB_MAGIC, .size = (uint32_t)size, .next = sizeof(*slab)};
    POISON((uint8_t *)slab + sizeof(*slab), SLAB_BYTES - sizeof(*slab));
    list_add_head(&pool->open[size / 8 - 1], &slab->link);
    pool->slabs++;
    return slab;
}

static void slab_drop(struct slab_pool *pool, struct slab *slab)
{
    ASSERT(slab->used == 0);
    list_del(&slab->link);
    pool->slabs--;
    slab->magic = 0;
    UNPOISON((uint8_t *)slab + sizeof(*slab), SLAB_BYTES - sizeof(*slab));
    mem_pages_free(slab, SLAB_BYTES);
}

void slab_init(struct slab_pool *pool)
{
    *pool = (struct slab_pool){0};
    for (size_t i = 0; i < SLAB_CLASSES; i++) {
        list_init(&pool->open[i]);
    }
}

void slab_fini(struct slab_pool *pool)
{
    ASSERT(pool->objects == 0);
    for (size_t i = 0; i < SLAB_CLASSES; i++) {
        while (!list_empty(&pool->open[i])) {
            slab_drop(pool, CONTAINER_OF(pool->open[i].next, struct slab, link));
        }
    }
    ASSERT(pool->slabs == 0);
}

size_t slab_size(size_t len)
{
    return len > SLAB_OBJECT_MAX ? len : (len + 7) & ~(size_t)7;
}

void *slab_alloc(struct slab_pool *pool, size_t len)
{
    ASSERT(len > 0);
    if (len > SLAB_OBJECT_MAX) {
        return mem_alloc(len);
    }
    size_t size = slab_size(len);
    struct list *open = &pool->open[size / 8 - 1];
    struct slab *slab =
        list_empty(open) ? slab_new(pool, size) : CONTAINER_OF(open->next, struct slab, link);
    uint8_t *object = slab->free;
    if (object != NULL) {
        UNPOISON(object, size);
        memcpy(&slab->free, object, sizeof(slab->free));
    } else {
        object = (uint8_t *)slab + slab->next;
        slab->next += (uint32_t)size;
        UNPOISON(object, size);
    }
    slab->used++;
    pool->objects++;
    if (is_full(slab)) {
        list_del(&slab->link);
    }
    return object;
}

void slab_free(struct slab_pool *pool, void *object, size_t len)
{
    if (object == NULL) {
        return;
    }
    if (len > SLAB_OBJECT_MAX) {
        mem_free(object);
        return;
    }
    struct slab *slab = slab_of(object);
    struct list *open = &pool->open[slab->size / 8 - 1];
    ASSERT(slab->size == slab_size(len));
    ASSERT(slab->used > 0);
    bool was_full = is_full(slab);
    memcpy(object, &slab->free, sizeof(slab->free));
    slab->free = object;
    POISON(object, slab->size);
    slab->used--;
    pool->objects--;
    if (was_full) {
        list_add_tail(open, &slab->link);
    } else if (slab->used == 0 && (open->next != &slab->link || open->prev != &slab->link)) {
        slab_drop(pool, slab);
    }
}

void slab_check(const struct slab_pool *pool)
{
    for (size_t i = 0; i < SLAB_CLASSES; i++) {
        size_t empty = 0;
        LIST_FOR_EACH (&pool->open[i], node) {
            const struct slab *slab = CONTAINER_OF_CONST(node, struct slab, link);
            ASSERT(slab->magic == SLAB_MAGIC);
            ASSERT(slab->size == 8 * (i + 1));
            ASSERT(!is_full(slab));
            ASSERT(slab->used <= (slab->next - sizeof(*slab)) / slab->size);
            empty += slab->used == 0;
        }
        ASSERT(empty <= 1);
    }
    ASSERT(pool->slabs > 0 || pool->objects == 0);
}
