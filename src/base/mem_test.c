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
