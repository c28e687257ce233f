#include "base/chunk.h"

#include "unit.h"

#include <string.h>

TEST(chunk, short_strings_share_and_long_ones_do_not)
{
    struct chunk_pool pool;
    struct chunk *a, *b, *c;
    chunk_pool_init(&pool);
    uint8_t *first = chunk_alloc(&pool, 10, &a);
    uint8_t *second = chunk_alloc(&pool, 20, &b);
    uint8_t *large = chunk_alloc(&pool, CHUNK_LEN, &c);
    assert_ptr_equal(a, b);
    assert_ptr_equal(second, first + 10);
    assert_ptr_not_equal(a, c);
    memset(large, 1, CHUNK_LEN);
    assert_int_equal(a->refs, 3);
    assert_int_equal(c->refs, 1);
    chunk_unref(c);
    chunk_unref(a);
    chunk_unref(b);
    chunk_pool_fini(&pool);
}

TEST(chunk, a_string_outlives_its_pool)
{
    struct chunk_pool pool;
    struct chunk *kept;
    chunk_pool_init(&pool);
    uint8_t *text = chunk_alloc(&pool, 3, &kept);
    memcpy(text, "abc", 3);
    for (int i = 0; i < 100; i++) {
        struct chunk *other;
        memset(chunk_alloc(&pool, CHUNK_LEN / 4, &other), 0xff, CHUNK_LEN / 4);
        chunk_unref(other);
    }
    chunk_pool_fini(&pool);
    assert_int_equal(kept->refs, 1);
    assert_memory_equal(text, "abc", 3);
    chunk_unref(kept);
}

TEST(chunk, a_cut_pool_starts_another_chunk)
{
    struct chunk_pool pool;
    struct chunk *a, *b;
    chunk_pool_init(&pool);
    chunk_alloc(&pool, 1, &a);
    chunk_pool_cut(&pool);
    chunk_alloc(&pool, 1, &b);
    assert_ptr_not_equal(a, b);
    chunk_unref(a);
    chunk_unref(b);
    chunk_pool_fini(&pool);
    chunk_unref(NULL);
}
