/* Intrusive collections: list, heap, hash map. They never own what they link.
 *
 * A node is embedded in whatever is linked; CONTAINER_OF leads back. Nothing here allocates
 * except the map's bucket array.
 *
 * Order: a list keeps insertion order; equal heap nodes have no order of their own (callers add a
 * sequence number); a map is never iterated where order can be seen. */
#ifndef BASE_COLL_H
#define BASE_COLL_H

#include "base/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Doubly linked, circular, with a sentinel. A node that is on no list points at itself. */
struct list {
    struct list *prev;
    struct list *next;
};

static inline void list_init(struct list *list)
{
    list->prev = list;
    list->next = list;
}
static inline bool list_empty(const struct list *list)
{
    return list->next == list;
}
static inline void list_add_tail(struct list *list, struct list *node)
{
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}
static inline void list_add_head(struct list *list, struct list *node)
{
    list_add_tail(list->next, node);
}
/* Takes the node off its list; safe when it is on none. */
static inline void list_del(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}
/* Takes the first node off, or NULL. */
static inline struct list *list_pop(struct list *list)
{
    struct list *node = list->next;
    if (node == list) {
        return NULL;
    }
    list_del(node);
    return node;
}
/* Moves every node of `from` to the tail of `list`. */
void list_splice(struct list *list, struct list *from);

/* The body may remove `node` from the list, and nothing else. */
#define LIST_FOR_EACH(head, node)                                                                  \
    for (struct list *node = (head)->next, *node##_next = node->next; node != (head);              \
         node = node##_next, node##_next = node->next)

/* A binary min-heap of embedded nodes in a growing array. */
struct heap_node {
    size_t slot; /* position + 1; 0 when in no heap */
};
typedef bool heap_less_fn(const struct heap_node *a, const struct heap_node *b);
struct heap {
    struct heap_node **nodes;
    size_t count;
    size_t cap;
    heap_less_fn *less;
};

void heap_init(struct heap *heap, heap_less_fn *less);
void heap_fini(struct heap *heap); /* frees the array, not the nodes */
void heap_push(struct heap *heap, struct heap_node *node);
void heap_remove(struct heap *heap, struct heap_node *node); /* safe when not in it */
static inline struct heap_node *heap_min(const struct heap *heap)
{
    return heap->count == 0 ? NULL : heap->nodes[0];
}
static inline bool heap_has(const struct heap_node *node)
{
    return node->slot != 0;
}
void heap_check(const struct heap *heap);

/* A chained hash map, which doubles all at once when it is full: for up to some ten thousands of
 * nodes (base/linmap.h for more). Keys live in the containing struct; the caller gives their hash
 * (digest.h: hash64 with a random seed for keys from outside) and compares. */
struct map_node {
    struct map_node *next;
    uint64_t hash;
};
typedef bool map_eq_fn(const struct map_node *node, const void *key);
struct map {
    struct map_node **buckets;
    size_t bucket_count; /* a power of two, or 0 before the first insert */
    size_t count;
};

void map_init(struct map *map);
void map_fini(struct map *map);
struct map_node *map_find(const struct map *map, uint64_t hash, map_eq_fn *eq, const void *key);
void map_insert(struct map *map, struct map_node *node, uint64_t hash);
void map_remove(struct map *map, struct map_node *node);
/* Any node, or NULL: for tearing down. */
struct map_node *map_any(const struct map *map);

#endif
