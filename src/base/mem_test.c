#include "base/err.h"
#include "base/mem.h"

#include "unit.h"

#include <string.h>

TEST(mem, an_arena_hands_out_aligned_bytes_and_keeps_its_first_block)
{
    struct arena arena;
    arena_init(&arena);
    uint8_t *first = arena_alloc(&arena, 10);
    for (size_t len = 0; len < 300; len++) {
        uint8_t *at = arena_alloc(&arena, len);
        assert_int_equal((uintptr_t)at % 16, 0);
        memset(at, 0xaa, len);
    }
    assert_true(arena.used > 0);
    arena_reset(&arena);
    assert_int_equal(arena.used, 0);
    assert_ptr_equal(arena_alloc(&arena, 10), first);
    arena_fini(&arena);
}

TEST(mem, an_arena_gives_large_requests_a_block_of_their_own)
{
    struct arena arena;
    arena_init(&arena);
    uint8_t *large = arena_zalloc(&arena, 1 << 20);
    assert_int_equal(large[(1 << 20) - 1], 0);
    char *text = arena_printf(&arena, "%s-%d", "n", 42);
    assert_string_equal(text, "n-42");
    assert_string_equal(arena_strndup(&arena, "abcdef", 3), "abc");
    arena_reset(&arena);
    assert_null(arena.head);
    arena_fini(&arena);
}

/* Over the border between heap and mappings in both directions, and by steps inside of each. */
TEST(mem, a_resized_array_keeps_what_fits_however_long_it_is)
{
    static const size_t lens[] = {1,
                                  100,
                                  MEM_LARGE - 1,
                                  MEM_LARGE,
                                  MEM_LARGE + 1,
                                  3 * MEM_LARGE + 12345,
                                  64 * MEM_LARGE,
                                  2 * MEM_LARGE,
                                  MEM_LARGE + 70000,
                                  5 * MEM_LARGE,
                                  1000,
                                  MEM_LARGE,
                                  10};
    size_t old_len = 0;
    uint8_t *array = mem_resize(NULL, 0, 0);
    assert_null(array);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        array = mem_resize(array, old_len, lens[i]);
        size_t kept = old_len < lens[i] ? old_len : lens[i];
        for (size_t at = 0; at < kept; at += 997) {
            assert_int_equal(array[at], (at / 997) % 251);
        }
        for (size_t at = 0; at < lens[i]; at += 997) {
            array[at] = (uint8_t)((at / 997) % 251);
        }
        old_len = lens[i];
    }
    assert_null(mem_resize(array, old_len, 0));
    array = mem_resize(NULL, 0, 4 * MEM_LARGE);
    array[4 * MEM_LARGE - 1] = 1;
    assert_null(mem_resize(array, 4 * MEM_LARGE, 0));
}

TEST(mem, nothing_is_a_valid_size)
{
    mem_free(mem_alloc(0));
    mem_free(mem_zalloc(0));
    mem_free(mem_dup(NULL, 0));
    mem_free(NULL);
    char *text = mem_printf("%d", 5);
    assert_string_equal(text, "5");
    mem_free(text);
}
