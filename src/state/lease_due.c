/* A four-ary heap with the times inside: a sift reads one line of cache a level, and no lease but
 * to write its slot. */
#include "state/lease_priv.h"

#include "base/mem.h"

enum { ARITY = 4 };

static bool less(const struct due *a, const struct due *b)
{
    return a->at != b->at ? a->at < b->at : a->lease->id < b->lease->id;
}

static void place(struct due_heap *heap, size_t at, struct due item)
{
    heap->items[at] = item;
    item.lease->slot[heap->kind] = (uint32_t)at + 1;
}

static void sift_up(struct due_heap *heap, size_t at, struct due item)
{
    while (at > 0) {
        size_t parent = (at - 1) / ARITY;
        if (!less(&item, &heap->items[parent])) {
            break;
        }
        place(heap, at, heap->items[parent]);
        at = parent;
    }
    place(heap, at, item);
}

static void sift_down(struct due_heap *heap, size_t at, struct due item)
{
    for (;;) {
        size_t first = at * ARITY + 1;
        size_t end = first + ARITY < heap->count ? first + ARITY : heap->count;
        size_t best = first;
        for (size_t child = first + 1; child < end; child++) {
            if (less(&heap->items[child], &heap->items[best])) {
                best = child;
            }
        }
        if (first >= end || !less(&heap->items[best], &item)) {
            break;
        }
        place(heap, at, heap->items[best]);
        at = best;
    }
    place(heap, at, item);
}

/* Where it belongs, from `at` on, up or down. */
static void settle(struct due_heap *heap, size_t at, struct due item)
{
    if (at > 0 && less(&item, &heap->items[(at - 1) / ARITY])) {
        sift_up(heap, at, item);
    } else {
        sift_down(heap, at, item);
    }
}

struct due *due__min(struct due_heap *heap)
{
    return heap->count == 0 ? NULL : &heap->items[0];
}

void due__push(struct due_heap *heap, struct lease *lease, uint64_t at)
{
    ASSERT(lease->slot[heap->kind] == 0);
    ASSERT(heap->count < UINT32_MAX);
    if (heap->count == heap->cap) {
        heap->cap = heap->cap == 0 ? 64 : heap->cap * 2;
        heap->items = mem_realloc(heap->items, heap->cap * sizeof(heap->items[0]));
    }
    heap->count++;
    sift_up(heap, heap->count - 1, (struct due){.at = at, .lease = lease});
}

void due__remove(struct due_heap *heap, struct lease *lease)
{
    if (lease->slot[heap->kind] == 0) {
        return;
    }
    size_t at = lease->slot[heap->kind] - 1;
    ASSERT(heap->items[at].lease == lease);
    lease->slot[heap->kind] = 0;
    heap->count--;
    if (at < heap->count) {
        settle(heap, at, heap->items[heap->count]);
    }
}

void due__move(struct due_heap *heap, struct lease *lease, uint64_t at)
{
    ASSERT(lease->slot[heap->kind] != 0);
    settle(heap, lease->slot[heap->kind] - 1, (struct due){.at = at, .lease = lease});
}

void due__check(const struct due_heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        ASSERT(heap->items[i].lease->slot[heap->kind] == i + 1);
        ASSERT(i == 0 || !less(&heap->items[i], &heap->items[(i - 1) / ARITY]));
    }
}
