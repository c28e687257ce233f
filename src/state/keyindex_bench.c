/* What the key index costs at 1 M keys of 32 bytes: time of each operation, heap per key. */
#include "state/keyindex.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static struct slice nth_key(char text[48], uint64_t i)
{
    int len = snprintf(text, 48, "/bench/keys/%020llu", (unsigned long long)i);
    return slice_of(text, (size_t)len);
}

static void report(const char *what, double start, uint64_t count)
{
    printf("%-28s %8.0f ns each\n", what, (now_ns() - start) / (double)count);
}

static void run(const char *order, uint64_t keys, uint64_t stride)
{
    struct keyindex *index = keyindex_new();
    struct keyindex_place place;
    struct key_version got;
    char text[48];
    printf("%s, %llu keys\n", order, (unsigned long long)keys);
    double start = now_ns();
    for (uint64_t i = 0; i < keys; i++) {
        nth_key(text, i * stride % keys);
    }
    report("(making a key)", start, keys);
    start = now_ns();
    for (uint64_t i = 0; i < keys; i++) {
        keyindex_restore(index, nth_key(text, i * stride % keys),
                         (struct revision){.main = (int64_t)i + 2}, (int64_t)i + 2, 1, 320);
    }
    report("insert", start, keys);
    start = now_ns();
    for (uint64_t i = 0; i < keys; i++) {
        ASSERT(keyindex_get(index, nth_key(text, i * 7919 % keys), INT64_MAX, &got));
    }
    report("get", start, keys);
    start = now_ns();
    for (uint64_t i = 0; i < 100000; i++) {
        char other[48];
        struct key_range range = {.kind = KEY_SPAN,
                                  .from = nth_key(text, i * 7919 % keys / 2),
                                  .end = nth_key(other, keys / 2 + i * 104729 % keys / 2)};
        ASSERT(keyindex_count(index, &range).keys > 0);
    }
    report("count of a span", start, 100000);
    struct key_range all = {.kind = KEY_FROM};
    struct keyindex_iter iter;
    keyindex_iter_init(&iter, index, &all, INT64_MAX);
    uint64_t seen = 0;
    start = now_ns();
    while (keyindex_iter_next(&iter, &got, NULL)) {
        seen += got.row_len > 0;
    }
    report("visit", start, seen);
    keyindex_iter_fini(&iter);
    struct keyindex_stats stats;
    keyindex_stats(index, &stats);
    printf("%-28s %8.1f bytes a key beyond the key\n", "heap",
           (double)(stats.bytes - stats.key_bytes) / (double)keys);
    start = now_ns();
    for (uint64_t i = 0; i < keys; i++) {
        struct slice key = nth_key(text, i * 7919 % keys);
        keyindex_find(index, key, &place, &got);
        keyindex_put_at(index, &place, key, (struct revision){.main = (int64_t)(keys + 2 + i)},
                        320);
    }
    report("overwrite", start, keys);
    keyindex_free(&index);
}

int main(int argc, char **argv)
{
    uint64_t keys = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    run("ascending", keys, 1);
    run("scattered", keys, 611953);
    return 0;
}
