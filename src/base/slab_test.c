#include "base/slab.h"

#include "unit.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <string.h>

TEST(slab, objects_of_one_size_lie_side_by_side)
{
    struct slab_pool pool;
    slab_init(&pool);
    uint8_t *a = slab_alloc(&pool, 60);
    uint8_t *b = slab_alloc(&pool, 64);
    assert_ptr_equal(b, a + 64);
    assert_int_equal(pool.slabs, 1);
    uint8_t *other = slab_alloc(&pool, 65);
    assert_int_equal(pool.slabs, 2);
    assert_int_equal((uintptr_t)a % 8, 0);
    assert_int_equal((uintptr_t)other % 8, 0);
    assert_int_equal(slab_size(1), 8);
    assert_int_equal(slab_size(64), 64);
    assert_int_equal(slab_size(65), 72);
    assert_int_equal(slab_size(SLAB_OBJECT_MAX + 1), SLAB_OBJECT_MAX + 1);
    slab_check(&pool);
    slab_free(&pool, a, 60);
    slab_free(&pool, b, 64);
    slab_free(&pool, other, 65);
    slab_free(&pool, NULL, 65);
    slab_fini(&pool);
}

TEST(slab, the_last_freed_is_the_next_given)
{
    struct slab_pool pool;
    slab_init(&pool);
    void *a = slab_alloc(&pool, 24);
    void *b = slab_alloc(&pool, 24);
    slab_free(&pool, a, 24);
    assert_ptr_equal(slab_alloc(&pool, 24), a);
    slab_free(&pool, a, 24);
    slab_free(&pool, b, 24);
    assert_int_equal(pool.slabs, 1); /* the last one of a size stays */
    slab_fini(&pool);
}

TEST(slab, long_objects_are_the_heaps)
{
    struct slab_pool pool;
    slab_init(&pool);
    uint8_t *object = slab_alloc(&pool, SLAB_OBJECT_MAX + 1);
    memset(object, 1, SLAB_OBJECT_MAX + 1);
    assert_int_equal(pool.slabs, 0);
    assert_int_equal(pool.objects, 0);
    slab_free(&pool, object, SLAB_OBJECT_MAX + 1);
    slab_fini(&pool);
}

/* Objects of all sizes come and go at random; each keeps what was written into it. */
TEST(slab, objects_do_not_overlap_and_empty_slabs_go_back)
{
    enum { COUNT = 20000, STEPS = 200000 };
    struct slab_pool pool;
    uint8_t **object = mem_array(COUNT, sizeof(object[0]));
    size_t *len = mem_array(COUNT, sizeof(len[0]));
    uint32_t random = 1;
    slab_init(&pool);
    for (int step = 0; step < STEPS; step++) {
        random = random * 1664525u + 1013904223u;
        size_t i = (random >> 8) % COUNT;
        if (object[i] != NULL) {
            for (size_t at = 0; at < len[i]; at++) {
                assert_int_equal(object[i][at], (uint8_t)i);
            }
            slab_free(&pool, object[i], len[i]);
            object[i] = NULL;
            continue;
        }
        len[i] = 1 + (random >> 16) % (step % 3 == 0 ? SLAB_OBJECT_MAX + 40 : 100);
        object[i] = slab_alloc(&pool, len[i]);
        memset(object[i], (uint8_t)i, len[i]);
        if (step % 1000 == 0) {
            slab_check(&pool);
        }
    }
    for (size_t i = 0; i < COUNT; i++) {
        slab_free(&pool, object[i], len[i]);
    }
    slab_check(&pool);
    assert_int_equal(pool.objects, 0);
    assert_in_range(pool.slabs, 0, SLAB_CLASSES);
    slab_fini(&pool);
    mem_free(object);
    mem_free(len);
}
