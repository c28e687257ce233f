#include "base/coll.h"

#include "base/mem.h"

void list_splice(struct list *list, struct list *from)
{
    if (list_empty(from)) {
        return;
    }
    from->next->prev = list->prev;
    from->prev->next = list;
    list->prev->next = from->next;
    list->prev = from->prev;
    list_init(from);
}

void heap_init(struct heap *heap, heap_less_fn *less)
{
    *heap = (struct heap){.less = less};
}

void heap_fini(struct heap *heap)
{
    mem_free(heap->nodes);
    *heap = (struct heap){0};
}

static void place(struct heap *heap, size_t at, struct heap_node *node)
{
    heap->nodes[at] = node;
    node->slot = at + 1;
}

static void sift_up(struct heap *heap, size_t at, struct heap_node *node)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!heap->less(node, heap->nodes[parent])) {
            break;
        }
        place(heap, at, heap->nodes[parent]);
        at = parent;
    }
    place(heap, at, node);
}

static void sift_down(struct heap *heap, size_t at, struct heap_node *node)
{
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count && heap->less(heap->nodes[child + 1], heap->nodes[child])) {
            child++;
        }
        if (!heap->less(heap->nodes[child], node)) {
            break;
        }
        place(heap, at, heap->nodes[child]);
        at = child;
    }
    place(heap, at, node);
}

void heap_push(struct heap *heap, struct heap_node *node)
{
    ASSERT(node->slot == 0);
    if (heap->count == heap->cap) {
        heap->cap = heap->cap == 0 ? 16 : heap->cap * 2;
        heap->nodes = mem_realloc(heap->nodes, heap->cap * sizeof(struct heap_node *));
    }
    heap->count++;
    sift_up(heap, heap->count - 1, node);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    if (node->slot == 0) {
        return;
    }
    size_t at = node->slot - 1;
    ASSERT(at < heap->count && heap->nodes[at] == node);
    node->slot = 0;
    heap->count--;
    struct heap_node *last = heap->nodes[heap->count];
    if (last == node) {
        return;
    }
    if (at > 0 && heap->less(last, heap->nodes[(at - 1) / 2])) {
        sift_up(heap, at, last);
    } else {
        sift_down(heap, at, last);
    }
}

void heap_check(const struct heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        ASSERT(heap->nodes[i]->slot == i + 1);
        ASSERT(i == 0 || !heap->less(heap->nodes[i], heap->nodes[(i - 1) / 2]));
    }
}

void map_init(struct map *map)
{
    *map = (struct map){0};
}

void map_fini(struct map *map)
{
    mem_free(map->buckets);
    *map = (struct map){0};
}

static struct map_node **bucket_of(const struct map *map, uint64_t hash)
{
    return &map->buckets[hash & (map->bucket_count - 1)];
}

struct map_node *map_find(const struct map *map, uint64_t hash, map_eq_fn *eq, const void *key)
{
    if (map->bucket_count == 0) {
        return NULL;
    }
    for (struct map_node *node = *bucket_of(map, hash); node != NULL; node = node->next) {
        if (node->hash == hash && eq(node, key)) {
            return node;
        }
    }
    return NULL;
}

static void grow(struct map *map)
{
    struct map old = *map;
    map->bucket_count = old.bucket_count == 0 ? 16 : old.bucket_count * 2;
    map->buckets = mem_array(map->bucket_count, sizeof(struct map_node *));
    for (size_t i = 0; i < old.bucket_count; i++) {
        struct map_node *node = old.buckets[i];
        while (node != NULL) {
            struct map_node *next = node->next;
            struct map_node **bucket = bucket_of(map, node->hash);
            node->next = *bucket;
            *bucket = node;
            node = next;
        }
    }
    mem_free(old.buckets);
}

void map_insert(struct map *map, struct map_node *node, uint64_t hash)
{
    if (map->count >= map->bucket_count) {
        grow(map);
    }
    struct map_node **bucket = bucket_of(map, hash);
    node->hash = hash;
    node->next = *bucket;
    *bucket = node;
    map->count++;
}

void map_remove(struct map *map, struct map_node *node)
{
    ASSERT(map->bucket_count > 0);
    struct map_node **link = bucket_of(map, node->hash);
    while (*link != node) {
        ASSERT(*link != NULL);
        link = &(*link)->next;
    }
    *link = node->next;
    node->next = NULL;
    map->count--;
}

struct map_node *map_any(const struct map *map)
{
    for (size_t i = 0; map->count > 0 && i < map->bucket_count; i++) {
        if (map->buckets[i] != NULL) {
            return map->buckets[i];
        }
    }
    return NULL;
}
