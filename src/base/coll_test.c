#include "base/coll.h"
#include "base/mem.h"

#include "unit.h"

struct item {
    struct list link;
    struct heap_node heap;
    struct map_node map;
    int value;
};

TEST(coll, a_list_keeps_insertion_order_and_lets_the_body_remove)
{
    struct list list;
    struct list other;
    struct item items[4];
    list_init(&list);
    list_init(&other);
    for (int i = 0; i < 4; i++) {
        items[i].value = i;
        list_add_tail(i < 2 ? &list : &other, &items[i].link);
    }
    list_splice(&list, &other);
    assert_true(list_empty(&other));
    int expect = 0;
    LIST_FOR_EACH (&list, node) {
        assert_int_equal(CONTAINER_OF(node, struct item, link)->value, expect++);
        list_del(node);
    }
    assert_int_equal(expect, 4);
    assert_true(list_empty(&list));
    assert_null(list_pop(&list));
}

static bool item_less(const struct heap_node *a, const struct heap_node *b)
{
    const struct item *x = (const struct item *)((const char *)a - offsetof(struct item, heap));
    const struct item *y = (const struct item *)((const char *)b - offsetof(struct item, heap));
    return x->value < y->value;
}

TEST(coll, a_heap_yields_its_smallest_after_any_removals)
{
    enum { COUNT = 500 };
    struct item *items = mem_array(COUNT, sizeof(struct item));
    struct heap heap;
    heap_init(&heap, item_less);
    uint32_t state = 1;
    for (int i = 0; i < COUNT; i++) {
        state = state * 1664525 + 1013904223;
        items[i].value = (int)(state >> 20);
        heap_push(&heap, &items[i].heap);
    }
    heap_check(&heap);
    for (int i = 0; i < COUNT; i += 3) {
        heap_remove(&heap, &items[i].heap);
        heap_remove(&heap, &items[i].heap);
        heap_check(&heap);
    }
    int last = -1;
    size_t count = 0;
    while (heap_min(&heap) != NULL) {
        struct item *item = CONTAINER_OF(heap_min(&heap), struct item, heap);
        assert_true(item->value >= last);
        last = item->value;
        heap_remove(&heap, &item->heap);
        count++;
    }
    assert_int_equal(count, COUNT - (COUNT + 2) / 3);
    heap_fini(&heap);
    mem_free(items);
}

static bool item_is(const struct map_node *node, const void *key)
{
    const struct item *item =
        (const struct item *)((const char *)node - offsetof(struct item, map));
    return item->value == *(const int *)key;
}

TEST(coll, a_map_finds_what_is_in_it_and_nothing_else)
{
    enum { COUNT = 1000 };
    struct item *items = mem_array(COUNT, sizeof(struct item));
    struct map map;
    map_init(&map);
    int key = 3;
    assert_null(map_find(&map, 3, item_is, &key));
    for (int i = 0; i < COUNT; i++) {
        items[i].value = i;
        map_insert(&map, &items[i].map, (uint64_t)i % 37);
    }
    for (int i = 0; i < COUNT; i += 2) {
        map_remove(&map, &items[i].map);
    }
    for (int i = 0; i < COUNT; i++) {
        struct map_node *node = map_find(&map, (uint64_t)i % 37, item_is, &i);
        assert_true((node != NULL) == (i % 2 == 1));
    }
    assert_int_equal(map.count, COUNT / 2);
    while (map_any(&map) != NULL) {
        map_remove(&map, map_any(&map));
    }
    assert_int_equal(map.count, 0);
    map_fini(&map);
    mem_free(items);
}
