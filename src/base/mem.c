#include "base/mem.h"

#include "base/err.h"

#include <malloc.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void *must(void *ptr, size_t len)
{
    if (__builtin_expect(ptr == NULL, 0)) {
        fatal("out of memory: %zu more bytes were needed; give the process more memory", len);
    }
    return ptr;
}

void *mem_alloc(size_t len)
{
    return must(malloc(len == 0 ? 1 : len), len);
}

void *mem_zalloc(size_t len)
{
    return must(calloc(1, len == 0 ? 1 : len), len);
}

void *mem_array(size_t count, size_t size)
{
    size_t len;
    ASSERT(!__builtin_mul_overflow(count, size, &len));
    return mem_zalloc(len);
}

void *mem_realloc(void *ptr, size_t len)
{
    return must(realloc(ptr, len == 0 ? 1 : len), len);
}

void mem_free(void *ptr)
{
    free(ptr);
}

static void *map(size_t len)
{
    void *ptr = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return must(ptr == MAP_FAILED ? NULL : ptr, len);
}

static void unmap(uint8_t *ptr, size_t len)
{
    if (len > 0 && munmap(ptr, len) != 0) {
        /* A hole may be one mapping too many for the kernel: keep the addresses, not the memory. */
        madvise(ptr, len, MADV_DONTNEED);
    }
}

void *mem_pages_alloc(size_t len)
{
    ASSERT(len > 0 && (len & (len - 1)) == 0);
    /* The kernel puts mappings side by side, so that behind the first aligned one all are. */
    uint8_t *ptr = map(len);
    size_t off = (uintptr_t)ptr & (len - 1);
    if (off == 0) {
        return ptr;
    }
    unmap(ptr, len);
    ptr = map(2 * len);
    size_t head = (len - ((uintptr_t)ptr & (len - 1))) & (len - 1);
    unmap(ptr, head);
    unmap(ptr + head + len, len - head);
    return ptr + head;
}

void mem_pages_free(void *ptr, size_t len)
{
    unmap(ptr, len);
}

/* Whole pages, however long those are. */
static size_t mapped_len(size_t len)
{
    const size_t step = (size_t)64 << 10;
    ASSERT(len <= SIZE_MAX - step);
    return (len + step - 1) & ~(step - 1);
}

static void *mapping_resize(uint8_t *ptr, size_t old_len, size_t len)
{
    if (len <= old_len) {
        unmap(ptr + len, old_len - len);
        return ptr;
    }
    void *moved = mremap(ptr, old_len, len, MREMAP_MAYMOVE);
    return must(moved == MAP_FAILED ? NULL : moved, len - old_len);
}

void *mem_resize(void *ptr, size_t old_len, size_t len)
{
    bool was_mapped = old_len >= MEM_LARGE;
    bool is_mapped = len >= MEM_LARGE;
    ASSERT((ptr == NULL) == (old_len == 0));
    if (was_mapped && is_mapped) {
        return mapping_resize(ptr, mapped_len(old_len), mapped_len(len));
    }
    if (!was_mapped && !is_mapped && len > 0) {
        return mem_realloc(ptr, len);
    }
    void *other = len == 0 ? NULL : is_mapped ? map(mapped_len(len)) : mem_alloc(len);
    if (old_len > 0 && len > 0) {
        memcpy(other, ptr, old_len < len ? old_len : len);
    }
    if (was_mapped) {
        unmap(ptr, mapped_len(old_len));
    } else {
        mem_free(ptr);
    }
    return other;
}

char *mem_strdup(const char *text)
{
    return mem_dup(text, strlen(text) + 1);
}

void *mem_dup(const void *data, size_t len)
{
    void *copy = mem_alloc(len);
    if (len > 0) {
        memcpy(copy, data, len);
    }
    return copy;
}

char *mem_printf(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    return must(len < 0 ? NULL : text, 0);
}

void mem_trim(void)
{
    malloc_trim(0);
}

struct arena_block {
    struct arena_block *prev;
    size_t cap; /* usable bytes */
    alignas(16) uint8_t bytes[];
};

void arena_init(struct arena *arena)
{
    *arena = (struct arena){0};
}

static void blocks_free_until(struct arena_block *block, const struct arena_block *keep)
{
    while (block != keep) {
        struct arena_block *prev = block->prev;
        mem_free(block);
        block = prev;
    }
}

void arena_reset(struct arena *arena)
{
    arena->used = 0;
    if (arena->head == NULL) {
        return;
    }
    struct arena_block *first = arena->head;
    while (first->prev != NULL) {
        first = first->prev;
    }
    blocks_free_until(arena->head, first);
    arena->head = first;
    if (first->cap > ARENA_BLOCK_MAX) {
        arena_fini(arena);
        return;
    }
    arena->next = first->bytes;
    arena->end = first->bytes + first->cap;
}

void arena_fini(struct arena *arena)
{
    blocks_free_until(arena->head, NULL);
    *arena = (struct arena){0};
}

static void block_add(struct arena *arena, size_t len)
{
    size_t cap = arena->head == NULL ? ARENA_BLOCK_MIN : arena->head->cap * 2;
    if (cap > ARENA_BLOCK_MAX) {
        cap = ARENA_BLOCK_MAX;
    }
    if (cap < len) {
        cap = len;
    }
    struct arena_block *block = mem_alloc(sizeof(*block) + cap);
    block->prev = arena->head;
    block->cap = cap;
    arena->head = block;
    arena->next = block->bytes;
    arena->end = block->bytes + cap;
}

void *arena_alloc(struct arena *arena, size_t len)
{
    size_t rounded = (len + 15) & ~(size_t)15;
    ASSERT(rounded >= len);
    if ((size_t)(arena->end - arena->next) < rounded || arena->head == NULL) {
        block_add(arena, rounded);
    }
    void *ptr = arena->next;
    arena->next += rounded;
    arena->used += rounded;
    return ptr;
}

void *arena_zalloc(struct arena *arena, size_t len)
{
    return memset(arena_alloc(arena, len), 0, len);
}

void *arena_dup(struct arena *arena, const void *data, size_t len)
{
    void *copy = arena_alloc(arena, len);
    if (len > 0) {
        memcpy(copy, data, len);
    }
    return copy;
}

char *arena_strndup(struct arena *arena, const char *text, size_t len)
{
    char *copy = arena_alloc(arena, len + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args;
    va_list again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(len >= 0);
    char *text = arena_alloc(arena, (size_t)len + 1);
    vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return text;
}
