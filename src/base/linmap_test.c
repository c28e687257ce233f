#include "base/linmap.h"

#include "base/bytes.h"
#include "base/mem.h"

#include "unit.h"

struct item {
    struct linmap_node node;
    uint64_t key;
};

static uint64_t mix(uint64_t key)
{
    key = (key ^ (key >> 31)) * 0x9e3779b97f4a7c15;
    return key ^ (key >> 29);
}

struct counted {
    size_t hashes;
};

static uint64_t hash_of(const void *ctx, const struct linmap_node *node)
{
    union {
        const void *in;
        struct counted *out;
    } counted = {ctx};
    counted.out->hashes++;
    return mix(CONTAINER_OF_CONST(node, struct item, node)->key);
}

static bool has_key(const struct linmap_node *node, const void *key)
{
    return CONTAINER_OF_CONST(node, struct item, node)->key == *(const uint64_t *)key;
}

static struct item *find(const struct linmap *map, uint64_t key)
{
    struct linmap_node *node = linmap_find(map, mix(key), has_key, &key);
    return node == NULL ? NULL : CONTAINER_OF(node, struct item, node);
}

TEST(linmap, finds_what_is_in_it_and_nothing_else_at_every_size)
{
    enum { COUNT = 3000 };
    struct counted counted = {0};
    struct linmap map;
    struct item *items = mem_array(COUNT, sizeof(*items));
    linmap_init(&map, hash_of, &counted);
    assert_null(find(&map, 0));
    for (uint64_t i = 0; i < COUNT; i++) {
        items[i].key = i;
        linmap_insert(&map, &items[i].node);
        assert_int_equal(map.count, i + 1);
        if (i % 61 == 0 || (i & (i + 1)) == 0) {
            linmap_check(&map);
            assert_ptr_equal(find(&map, 0), &items[0]);
            assert_ptr_equal(find(&map, i), &items[i]);
            assert_null(find(&map, i + 1));
        }
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_ptr_equal(find(&map, i), &items[i]);
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        linmap_remove(&map, &items[i].node);
        assert_null(find(&map, i));
        if (i % 61 == 0 || i > COUNT - 40) {
            linmap_check(&map);
            assert_true(i == COUNT - 1 || find(&map, COUNT - 1) == &items[COUNT - 1]);
        }
    }
    assert_int_equal(map.count, 0);
    assert_int_equal(map.bucket_count, 16);
    linmap_fini(&map);
    mem_free(items);
}

TEST(linmap, no_insertion_or_removal_moves_much)
{
    enum { COUNT = 1 << 17, MOST = 24 }; /* the longest chain of a split, with luck to spare */
    struct counted counted = {0};
    struct linmap map;
    struct item *items = mem_array(COUNT, sizeof(*items));
    linmap_init(&map, hash_of, &counted);
    for (uint64_t i = 0; i < COUNT; i++) {
        items[i].key = i;
        counted.hashes = 0;
        linmap_insert(&map, &items[i].node);
        assert_true(counted.hashes <= MOST);
        assert_true(map.bucket_count <= (i < 16 ? 16 : i + 1));
    }
    for (uint64_t i = 0; i < COUNT; i++) {
        counted.hashes = 0;
        linmap_remove(&map, &items[i].node);
        assert_int_equal(counted.hashes, 1);
    }
    linmap_fini(&map);
    mem_free(items);
}

TEST(linmap, is_taken_down_in_steps)
{
    enum { COUNT = 5000 };
    struct counted counted = {0};
    struct linmap map;
    struct item *items = mem_array(COUNT, sizeof(*items));
    size_t below = SIZE_MAX;
    size_t taken = 0;
    linmap_init(&map, hash_of, &counted);
    assert_null(linmap_any(&map, &below));
    below = SIZE_MAX;
    for (uint64_t i = 0; i < COUNT; i++) {
        items[i].key = i;
        linmap_insert(&map, &items[i].node);
    }
    for (uint64_t i = 0; i < COUNT; i += 3) { /* others may go meanwhile */
        linmap_remove(&map, &items[i].node);
        items[i].key = UINT64_MAX;
        struct linmap_node *node = linmap_any(&map, &below);
        if (i % 2 == 0 && node != NULL) {
            struct item *item = CONTAINER_OF(node, struct item, node);
            if (item->key % 3 != 0) {
                linmap_remove(&map, node);
                taken++;
            }
        }
    }
    for (struct linmap_node *node = linmap_any(&map, &below); node != NULL;
         node = linmap_any(&map, &below)) {
        linmap_remove(&map, node);
        taken++;
    }
    assert_int_equal(taken, COUNT - (COUNT + 2) / 3);
    assert_int_equal(map.count, 0);
    linmap_fini(&map);
    mem_free(items);
}

static void count_it(void *ctx, struct linmap_node *node)
{
    uint64_t *sum = ctx;
    *sum += CONTAINER_OF(node, struct item, node)->key;
}

TEST(linmap, each_gives_every_node_once)
{
    enum { COUNT = 777 };
    struct counted counted = {0};
    struct linmap map;
    struct item items[COUNT];
    uint64_t sum = 0;
    linmap_init(&map, hash_of, &counted);
    linmap_each(&map, count_it, &sum);
    assert_int_equal(sum, 0);
    for (uint64_t i = 0; i < COUNT; i++) {
        items[i].key = i;
        linmap_insert(&map, &items[i].node);
    }
    linmap_each(&map, count_it, &sum);
    assert_int_equal(sum, (uint64_t)COUNT * (COUNT - 1) / 2);
    linmap_fini(&map);
}
