#include "server/ids.h"

#include "base/digest.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define TIME_BITS 40
#define COUNTER_BITS 8
#define SUFFIX_BITS (TIME_BITS + COUNTER_BITS)
#define NS_PER_MILLI 1000000

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int by_id(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static uint64_t digest_head(const struct buf *data)
{
    uint8_t digest[SHA1_LEN];
    sha1(buf_slice(data), digest);
    return get_be64(digest);
}

/* The id over the sorted URLs and what follows them. */
static uint64_t hash_member(const char *const *peer_urls, size_t count, const char *tail)
{
    const char **sorted = mem_array(count, sizeof(*sorted));
    struct buf data = {0};
    for (size_t i = 0; i < count; i++) {
        sorted[i] = peer_urls[i];
    }
    if (count > 1) {
        qsort(sorted, count, sizeof(*sorted), by_text);
    }
    for (size_t i = 0; i < count; i++) {
        buf_append_str(&data, sorted[i]);
    }
    buf_append_str(&data, tail);
    uint64_t id = digest_head(&data);
    buf_fini(&data);
    mem_free(sorted);
    return id;
}

uint64_t ids_member(const char *const *peer_urls, size_t count, const char *cluster_token)
{
    return hash_member(peer_urls, count, cluster_token);
}

uint64_t ids_member_added(const char *const *peer_urls, size_t count, int64_t added_at_s)
{
    char seconds[24];
    snprintf(seconds, sizeof(seconds), "%lld", (long long)added_at_s);
    return hash_member(peer_urls, count, seconds);
}

uint64_t ids_cluster(const uint64_t *member_ids, size_t count)
{
    uint64_t *sorted = mem_array(count, sizeof(*sorted));
    struct buf data = {0};
    for (size_t i = 0; i < count; i++) {
        sorted[i] = member_ids[i];
    }
    if (count > 1) {
        qsort(sorted, count, sizeof(*sorted), by_id);
    }
    for (size_t i = 0; i < count; i++) {
        put_be64(buf_extend(&data, 8), sorted[i]);
    }
    uint64_t id = digest_head(&data);
    buf_fini(&data);
    mem_free(sorted);
    return id;
}

void id_generator_init(struct id_generator *gen, uint64_t member_id, int64_t now_ns)
{
    uint64_t millis = (uint64_t)now_ns / NS_PER_MILLI;
    gen->prefix = member_id << SUFFIX_BITS;
    gen->suffix = (millis & (((uint64_t)1 << TIME_BITS) - 1)) << COUNTER_BITS;
}

uint64_t id_generator_next(struct id_generator *gen)
{
    gen->suffix++;
    return gen->prefix | (gen->suffix & (((uint64_t)1 << SUFFIX_BITS) - 1));
}
