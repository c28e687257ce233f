/* Source: Litwin, "Linear hashing: a new tool for file and table addressing" (VLDB 1980).
 *
 * With n buckets and c the greatest power of two <= n, buckets [n - c, c) have not been split at
 * this level, and hold hashes by their low bits modulo c; all others modulo 2c. Splitting makes
 * bucket n out of bucket n - c.
 *
 * Buckets lie in parts that are allocated once and never move: part 0 has BUCKETS_MIN of them, part
 * i as many as all before. What a new part has is not touched before its bucket is made, so that a
 * large one costs address space first and memory by and by. */
#include "base/linmap.h"

#include "base/err.h"
#include "base/mem.h"

#define BUCKETS_MIN ((size_t)16)

static unsigned part_of(size_t bucket)
{
    return bucket < BUCKETS_MIN
               ? 0
               : (unsigned)(__builtin_clzll(BUCKETS_MIN) - __builtin_clzll(bucket) + 1);
}

static size_t part_first(unsigned part)
{
    return part == 0 ? 0 : BUCKETS_MIN << (part - 1);
}

static size_t part_len(unsigned part)
{
    return part == 0 ? BUCKETS_MIN : part_first(part);
}

static struct linmap_node **bucket_at(const struct linmap *map, size_t bucket)
{
    unsigned part = part_of(bucket);
    return &map->parts[part][bucket - part_first(part)];
}

/* The greatest power of two that is not above `count`, which is not 0. */
static size_t level_of(size_t count)
{
    return (size_t)1 << (63 - __builtin_clzll(count));
}

static struct linmap_node **bucket_of(const struct linmap *map, uint64_t hash)
{
    size_t level = level_of(map->bucket_count);
    size_t bucket = hash & (2 * level - 1);
    return bucket_at(map, bucket < map->bucket_count ? bucket : bucket - level);
}

void linmap_init(struct linmap *map, linmap_hash_fn *hash, const void *ctx)
{
    *map = (struct linmap){.hash = hash, .ctx = ctx};
}

static void part_add(struct linmap *map, unsigned part)
{
    map->parts = mem_realloc(map->parts, (part + 1) * sizeof(map->parts[0]));
    map->parts[part] = mem_alloc(part_len(part) * sizeof(struct linmap_node *));
}

void linmap_fini(struct linmap *map)
{
    unsigned parts = map->bucket_count == 0 ? 0 : part_of(map->bucket_count - 1) + 1;
    for (unsigned i = 0; i < parts; i++) {
        mem_free(map->parts[i]);
    }
    mem_free(map->parts);
    *map = (struct linmap){0};
}

struct linmap_node *linmap_find(const struct linmap *map, uint64_t hash, linmap_eq_fn *eq,
                                const void *key)
{
    if (map->count == 0) {
        return NULL;
    }
    for (struct linmap_node *node = *bucket_of(map, hash); node != NULL; node = node->next) {
        if (eq(node, key)) {
            return node;
        }
    }
    return NULL;
}

static void split(struct linmap *map)
{
    size_t target = map->bucket_count;
    size_t level = level_of(target);
    if (part_first(part_of(target)) == target) {
        part_add(map, part_of(target));
    }
    struct linmap_node **link = bucket_at(map, target - level);
    struct linmap_node **moved = bucket_at(map, target);
    *moved = NULL;
    map->bucket_count++;
    while (*link != NULL) {
        struct linmap_node *node = *link;
        if ((map->hash(map->ctx, node) & (2 * level - 1)) == target) {
            *link = node->next;
            node->next = *moved;
            *moved = node;
        } else {
            link = &node->next;
        }
    }
}

static void join(struct linmap *map)
{
    size_t source = map->bucket_count - 1;
    struct linmap_node *moved = *bucket_at(map, source);
    struct linmap_node **link = bucket_at(map, source - level_of(source));
    while (*link != NULL) {
        link = &(*link)->next;
    }
    *link = moved;
    map->bucket_count--;
    if (part_first(part_of(source)) == source) {
        mem_free(map->parts[part_of(source)]);
    }
}

void linmap_insert(struct linmap *map, struct linmap_node *node)
{
    if (map->bucket_count == 0) {
        part_add(map, 0);
        map->bucket_count = BUCKETS_MIN;
        for (size_t i = 0; i < BUCKETS_MIN; i++) {
            map->parts[0][i] = NULL;
        }
    } else if (map->count >= map->bucket_count) {
        split(map);
    }
    struct linmap_node **bucket = bucket_of(map, map->hash(map->ctx, node));
    node->next = *bucket;
    *bucket = node;
    map->count++;
}

void linmap_remove(struct linmap *map, struct linmap_node *node)
{
    ASSERT(map->count > 0);
    struct linmap_node **link = bucket_of(map, map->hash(map->ctx, node));
    while (*link != node) {
        ASSERT(*link != NULL);
        link = &(*link)->next;
    }
    *link = node->next;
    node->next = NULL;
    map->count--;
    /* Two for each node that goes, or there would be ever more buckets for a node. */
    for (int i = 0; i < 2; i++) {
        if (map->bucket_count > BUCKETS_MIN && map->count < map->bucket_count / 2) {
            join(map);
        }
    }
}

/* From the highest bucket down, because a join moves nodes to a lower one. */
struct linmap_node *linmap_any(const struct linmap *map, size_t *below)
{
    size_t end = *below < map->bucket_count ? *below : map->bucket_count;
    for (; map->count > 0 && end > 0; end--) {
        struct linmap_node *node = *bucket_at(map, end - 1);
        if (node != NULL) {
            *below = end;
            return node;
        }
    }
    *below = 0;
    return NULL;
}

void linmap_each(const struct linmap *map, void (*each)(void *ctx, struct linmap_node *node),
                 void *ctx)
{
    for (size_t i = 0; i < map->bucket_count; i++) {
        struct linmap_node *next;
        for (struct linmap_node *node = *bucket_at(map, i); node != NULL; node = next) {
            next = node->next;
            each(ctx, node);
        }
    }
}

void linmap_check(const struct linmap *map)
{
    size_t count = 0;
    ASSERT(map->bucket_count == 0 || map->bucket_count >= BUCKETS_MIN);
    ASSERT(map->count <= map->bucket_count);
    for (size_t i = 0; i < map->bucket_count; i++) {
        struct linmap_node **bucket = bucket_at(map, i);
        for (struct linmap_node *node = *bucket; node != NULL; node = node->next) {
            ASSERT(bucket_of(map, map->hash(map->ctx, node)) == bucket);
            count++;
        }
    }
    ASSERT(count == map->count);
}
