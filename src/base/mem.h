/* Memory: the only place that calls malloc, and arenas.
 *
 * Allocation never fails: out of memory ends the process with a sentence, so there is
 * no path for it elsewhere. In exchange, every length that comes from outside must have
 * met a limit before it reaches this module.
 *
 * Threads: mem_* from any thread; an arena belongs to one thread at a time. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* Uninitialised, zeroed, resized and released heap memory. len 0 is allowed. */
__attribute__((malloc, alloc_size(1), returns_nonnull)) void *mem_alloc(size_t len);
__attribute__((malloc, alloc_size(1), returns_nonnull)) void *mem_zalloc(size_t len);
__attribute__((malloc, alloc_size(1, 2), returns_nonnull)) void *mem_array(size_t count,
                                                                           size_t size);
__attribute__((alloc_size(2), returns_nonnull)) void *mem_realloc(void *ptr, size_t len);
void mem_free(void *ptr); /* safe on NULL */

/* As mem_realloc(), for arrays that may become very large: from MEM_LARGE on they are mappings of
 * their own, which the kernel moves, so that growing one copies nothing. Who has got memory here
 * says how long it was when it asks again; `len` 0 frees it and returns NULL. */
#define MEM_LARGE ((size_t)1 << 20)
void *mem_resize(void *ptr, size_t old_len, size_t len);

/* `len` zeroed bytes, a power of two and whole pages, at a multiple of `len`; from the system and
 * back to it, apart from the heap. For large blocks that live long: among small ones that come and
 * go, each would keep the holes around it from being given back. */
__attribute__((malloc, alloc_size(1), returns_nonnull)) void *mem_pages_alloc(size_t len);
void mem_pages_free(void *ptr, size_t len);

__attribute__((malloc, returns_nonnull)) char *mem_strdup(const char *text);
__attribute__((malloc, returns_nonnull)) void *mem_dup(const void *data, size_t len);
__attribute__((malloc, returns_nonnull, format(printf, 1, 2))) char *mem_printf(const char *format,
                                                                                ...);

/* Hands free heap pages back to the system; after a restore or a large compaction. */
void mem_trim(void);

#define NEW(type) ((type *)mem_zalloc(sizeof(type)))

/* An arena: many small allocations, freed together.
 *
 * Embedded by whoever owns the request or the stream. Blocks grow by doubling up to
 * ARENA_BLOCK_MAX; what is larger gets a block of its own. arena_reset() keeps the first
 * block, so a reused arena allocates nothing in the steady state. */
struct arena_block;
struct arena {
    struct arena_block *head; /* newest block */
    uint8_t *next;            /* first free byte in head */
    uint8_t *end;             /* past the last byte of head */
    size_t used;              /* bytes handed out since init or reset */
};

#define ARENA_BLOCK_MIN 1024
#define ARENA_BLOCK_MAX 65536

void arena_init(struct arena *arena); /* allocates nothing yet */
void arena_reset(struct arena *arena);
void arena_fini(struct arena *arena);

/* 16-byte aligned, uninitialised / zeroed / copied. */
__attribute__((returns_nonnull)) void *arena_alloc(struct arena *arena, size_t len);
__attribute__((returns_nonnull)) void *arena_zalloc(struct arena *arena, size_t len);
__attribute__((returns_nonnull)) void *arena_dup(struct arena *arena, const void *data, size_t len);
__attribute__((returns_nonnull)) char *arena_strndup(struct arena *arena, const char *text,
                                                     size_t len); /* adds the final 0 */
__attribute__((returns_nonnull, format(printf, 2, 3))) char *arena_printf(struct arena *arena,
                                                                          const char *format, ...);

#define ARENA_NEW(arena, type) ((type *)arena_zalloc((arena), sizeof(type)))

#endif
