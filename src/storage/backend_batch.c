/* A batch: what one or more transactions of the file will carry.
 *
 * Rows of bucket `key` come in the order of their revisions, so they are an array, found by
 * bisection. Rows of the other buckets are few and come in any order: a skip list for each bucket,
 * its nodes in the batch's arena, so that dropping a batch frees a handful of blocks. */
#include "storage/backend_priv.h"

#include <stdlib.h>

#define ROWS_CAP_MIN 256

struct batch *batch__new(uint64_t sequence)
{
    struct batch *batch = NEW(struct batch);
    list_init(&batch->link);
    batch->sequence = sequence;
    batch->refs = 1;
    batch->gone_is_sorted = true;
    batch->random = 0x9e3779b97f4a7c15u;
    arena_init(&batch->arena);
    return batch;
}

struct batch *batch__ref(struct batch *batch)
{
    ASSERT(batch->is_sealed);
    batch->refs++;
    return batch;
}

bool batch__unref(struct batch *batch)
{
    ASSERT(batch->refs > 0);
    return --batch->refs == 0;
}

/* Very many rows can wait for a commit: a full disk, a slow one, one large transaction. */
static void rows_resize(struct batch *batch, size_t cap)
{
    size_t old_len = batch->row_cap * sizeof(batch->rows[0]);
    batch->rows = mem_resize(batch->rows, old_len, cap * sizeof(batch->rows[0]));
    batch->row_cap = cap;
}

bool batch__free(struct batch *batch, size_t budget)
{
    ASSERT(batch->refs == 0);
    for (; batch->row_count > 0 && budget > 0; budget--) {
        chunk_unref(batch->rows[--batch->row_count].chunk);
    }
    rows_resize(batch, batch->row_count);
    if (batch->row_count > 0) {
        return false;
    }
    mem_resize(batch->gone, batch->gone_cap * sizeof(batch->gone[0]), 0);
    arena_fini(&batch->arena);
    mem_free(batch);
    return true;
}

void batch__seal(struct batch *batch)
{
    ASSERT(!batch->is_sealed);
    batch__sort_gone(batch);
    batch->is_sealed = true;
}

/* ---- skip lists ------------------------------------------------------------------------------ */

/* One in four of each level's nodes rises to the next. */
static uint8_t random_levels(struct batch *batch)
{
    batch->random ^= batch->random << 13;
    batch->random ^= batch->random >> 7;
    batch->random ^= batch->random << 17;
    uint8_t levels = 1;
    for (uint64_t bits = batch->random; levels < PENDING_LEVELS && (bits & 3) == 0; bits >>= 2) {
        levels++;
    }
    return levels;
}

/* The first row with a key not below `key`. With `links`, where its predecessors point from. */
static struct pending_row *map_seek(struct pending_map *map, struct slice key,
                                    struct pending_row ***links)
{
    struct pending_row **next = map->head;
    struct pending_row *row = NULL;
    for (int level = PENDING_LEVELS - 1; level >= 0; level--) {
        while ((row = next[level]) != NULL && slice_cmp(row->key, key) < 0) {
            next = row->next;
        }
        if (links != NULL) {
            links[level] = &next[level];
        }
    }
    return row;
}

static struct slice arena_slice(struct arena *arena, struct slice bytes)
{
    return bytes.len == 0 ? SLICE_EMPTY
                          : slice_of(arena_dup(arena, bytes.data, bytes.len), bytes.len);
}

void batch__set(struct batch *batch, enum backend_bucket bucket, struct slice key,
                struct slice value, bool is_delete)
{
    ASSERT(!batch->is_sealed);
    struct pending_map *map = &batch->map[bucket];
    struct pending_row **links[PENDING_LEVELS];
    struct pending_row *row = map_seek(map, key, links);
    batch->ops++;
    if (row == NULL || !slice_eq(row->key, key)) {
        uint8_t levels = random_levels(batch);
        row = arena_alloc(&batch->arena, sizeof(*row) + levels * sizeof(row->next[0]));
        row->key = arena_slice(&batch->arena, key);
        row->levels = levels;
        for (unsigned level = 0; level < levels; level++) {
            row->next[level] = *links[level];
            *links[level] = row;
        }
        map->count++;
    }
    row->value = arena_slice(&batch->arena, value);
    row->is_delete = is_delete;
}

const struct pending_row *batch__seek(const struct batch *batch, enum backend_bucket bucket,
                                      struct slice key)
{
    struct pending_map map = batch->map[bucket];
    return map_seek(&map, key, NULL);
}

const struct pending_row *batch__find(const struct batch *batch, enum backend_bucket bucket,
                                      struct slice key)
{
    const struct pending_row *row = batch__seek(batch, bucket, key);
    return row != NULL && slice_eq(row->key, key) ? row : NULL;
}

/* ---- rows of bucket `key` ---------------------------------------------------------------------
 */

void batch__put_row(struct batch *batch, struct revision rev, bool is_tombstone, struct slice row,
                    struct chunk *chunk)
{
    ASSERT(!batch->is_sealed);
    ASSERT(row.len <= UINT32_MAX);
    if (batch->row_count == batch->row_cap) {
        rows_resize(batch, batch->row_cap == 0 ? ROWS_CAP_MIN : 2 * batch->row_cap);
    }
    batch->rows[batch->row_count++] = (struct pending_kv){
        .rev = rev,
        .data = row.data,
        .chunk = chunk_ref(chunk),
        .len = (uint32_t)row.len,
        .is_tombstone = is_tombstone,
    };
    batch->ops++;
}

size_t batch__seek_row(const struct batch *batch, struct revision rev)
{
    size_t low = 0;
    size_t high = batch->row_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (revision_cmp(batch->rows[middle].rev, rev) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct pending_kv *batch__row(const struct batch *batch, struct revision rev)
{
    if (batch->row_count == 0 || revision_cmp(rev, batch->rows[0].rev) < 0) {
        return NULL;
    }
    size_t at = batch__seek_row(batch, rev);
    bool is_there = at < batch->row_count && revision_cmp(batch->rows[at].rev, rev) == 0;
    return is_there ? &batch->rows[at] : NULL;
}

bool batch__kill_row(struct batch *batch, struct revision rev)
{
    ASSERT(!batch->is_sealed);
    const struct pending_kv *row = batch__row(batch, rev);
    if (row == NULL) {
        return false;
    }
    ASSERT(!row->is_dead);
    batch->rows[row - batch->rows].is_dead = true;
    return true;
}

void batch__note_gone(struct batch *batch, struct revision rev, bool is_tombstone)
{
    ASSERT(!batch->is_sealed);
    if (batch->gone_count == batch->gone_cap) {
        size_t cap = batch->gone_cap == 0 ? ROWS_CAP_MIN : 2 * batch->gone_cap;
        batch->gone = mem_resize(batch->gone, batch->gone_cap * sizeof(batch->gone[0]),
                                 cap * sizeof(batch->gone[0]));
        batch->gone_cap = cap;
    }
    if (batch->gone_count > 0 && revision_cmp(batch->gone[batch->gone_count - 1].rev, rev) >= 0) {
        batch->gone_is_sorted = false;
    }
    batch->gone[batch->gone_count++] = (struct row_name){.rev = rev, .is_tombstone = is_tombstone};
    batch->ops++;
}

static int name_order(const void *a, const void *b)
{
    const struct row_name *x = a;
    const struct row_name *y = b;
    return revision_cmp(x->rev, y->rev);
}

void batch__sort_gone(struct batch *batch)
{
    if (!batch->gone_is_sorted) {
        ASSERT(!batch->is_sealed);
        qsort(batch->gone, batch->gone_count, sizeof(batch->gone[0]), name_order);
        batch->gone_is_sorted = true;
    }
}

size_t batch__seek_gone(const struct batch *batch, struct revision rev)
{
    ASSERT(batch->gone_is_sorted);
    size_t low = 0;
    size_t high = batch->gone_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (revision_cmp(batch->gone[middle].rev, rev) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool batch__is_gone(const struct batch *batch, struct revision rev)
{
    if (batch->gone_count == 0) {
        return false;
    }
    size_t at = batch__seek_gone(batch, rev);
    return at < batch->gone_count && revision_cmp(batch->gone[at].rev, rev) == 0;
}

void batch__check(const struct batch *batch)
{
    ASSERT(batch->refs > 0);
    for (size_t i = 1; i < batch->row_count; i++) {
        ASSERT(revision_cmp(batch->rows[i - 1].rev, batch->rows[i].rev) < 0);
    }
    for (size_t i = 1; batch->gone_is_sorted && i < batch->gone_count; i++) {
        ASSERT(revision_cmp(batch->gone[i - 1].rev, batch->gone[i].rev) < 0);
    }
    ASSERT(batch->gone_is_sorted || !batch->is_sealed);
    for (unsigned bucket = 0; bucket < BUCKET_COUNT; bucket++) {
        const struct pending_row *row = batch->map[bucket].head[0];
        uint64_t count = row != NULL;
        for (; row != NULL && row->next[0] != NULL; row = row->next[0]) {
            ASSERT(slice_cmp(row->key, row->next[0]->key) < 0);
            count++;
        }
        ASSERT(count == batch->map[bucket].count);
    }
}
