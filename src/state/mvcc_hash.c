/* HashKV and Hash, computed on a view while the store goes on.
 *
 * HashKV(rev) is CRC-32C over "key" and then the key and value of each row with main <= rev, in the
 * order of revisions, leaving out rows at or below the compact revision that compaction has removed
 * or will remove. etcd takes the second set from its index: the revisions that a compaction at
 * `rev` would keep. We find the same set in the rows themselves, on the thread that hashes: the
 * newest row of each key at or below `rev`, unless that is a tombstone.
 *
 * Two peculiarities that equality needs:
 *   - etcd leaves nothing out when that set is empty; what it then finds is what compaction has
 *     left. We leave out what compaction at the compact revision removes, so that the answer does
 *     not depend on how far the removal is.
 *   - a tombstone exactly at the compact revision is never hashed: versions up to 3.5.15 delete it,
 *     later ones keep it. */
#include "state/mvcc_priv.h"

#include "base/digest.h"

/* The newest row of a key so far. An empty slot has key_len 0. */
struct newest {
    const uint8_t *key; /* in the view */
    int64_t main;
    uint32_t key_len;
    uint32_t hash;
    uint32_t sub;
    bool is_tombstone;
};
_Static_assert(sizeof(struct newest) == 32, "there is one for every key, and half as many empty");

struct newest_map {
    struct newest *slots;
    size_t cap; /* a power of two */
    size_t count;
    size_t live; /* not tombstones */
};

struct mvcc_hash {
    struct mvcc *store;
    struct backend_view *view;
    uint64_t seed;
    bool is_all;
    int64_t revision;
    int64_t compact;
    struct newest_map map;
    struct mvcc_hash_result result;
    uint32_t crc;
    enum err err;
    struct errbuf why;
};

static struct newest *newest_slot(const struct newest_map *map, uint32_t hash, struct slice key)
{
    for (size_t i = hash & (map->cap - 1);; i = (i + 1) & (map->cap - 1)) {
        struct newest *slot = &map->slots[i];
        if (slot->key_len == 0 ||
            (slot->hash == hash && slice_eq(slice_of(slot->key, slot->key_len), key))) {
            return slot;
        }
    }
}

static void newest_grow(struct newest_map *map)
{
    struct newest_map old = *map;
    map->cap = old.cap == 0 ? 1024 : 2 * old.cap;
    map->slots = mem_array(map->cap, sizeof(map->slots[0]));
    for (size_t i = 0; i < old.cap; i++) {
        const struct newest *slot = &old.slots[i];
        if (slot->key_len > 0) {
            *newest_slot(map, slot->hash, slice_of(slot->key, slot->key_len)) = *slot;
        }
    }
    mem_free(old.slots);
}

static void newest_set(struct newest_map *map, uint32_t hash, struct slice key, struct revision rev,
                       bool is_tombstone)
{
    if (map->count >= map->cap / 4 * 3) {
        newest_grow(map);
    }
    struct newest *slot = newest_slot(map, hash, key);
    bool was_live = slot->key_len > 0 && !slot->is_tombstone;
    map->count += slot->key_len == 0;
    map->live = map->live - was_live + !is_tombstone;
    *slot = (struct newest){
        .key = key.data,
        .main = rev.main,
        .key_len = (uint32_t)key.len,
        .hash = hash,
        .sub = rev.sub,
        .is_tombstone = is_tombstone,
    };
}

static void newest_fini(struct newest_map *map)
{
    mem_free(map->slots);
    *map = (struct newest_map){0};
}

/* A row of the view, taken apart; false (and an error kept) when it is damaged. */
static bool row_open(struct mvcc_hash *hash, struct slice key, struct slice value,
                     struct revision *rev_out, bool *tombstone_out, struct mvcc_row *out)
{
    *out = (struct mvcc_row){0};
    if (revision_decode(key, rev_out, tombstone_out) == ERR_OK &&
        mvcc__is_bump(value, *tombstone_out)) {
        return true;
    }
    if (revision_decode(key, rev_out, tombstone_out) != ERR_OK ||
        mvcc_row_parse(value, out) != ERR_OK || out->key.len == 0 || out->key.len > UINT32_MAX) {
        hash->err = errf(&hash->why, ERR_CORRUPT, "bucket key has a row that is no key-value");
        return false;
    }
    return true;
}

static uint32_t key_hash(const struct mvcc_hash *hash, struct slice key)
{
    return (uint32_t)hash64(hash->seed, key);
}

struct find_newest {
    struct mvcc_hash *hash;
    int64_t at;
};

static bool find_newest(void *ctx, struct slice key, struct slice value)
{
    struct find_newest *find = ctx;
    struct revision rev;
    bool is_tombstone;
    struct mvcc_row row;
    if (!row_open(find->hash, key, value, &rev, &is_tombstone, &row) || rev.main > find->at) {
        return false;
    }
    if (mvcc__is_bump(value, is_tombstone)) {
        find->hash->map.live++;
        return true;
    }
    newest_set(&find->hash->map, key_hash(find->hash, row.key), row.key, rev, is_tombstone);
    return true;
}

static FALLIBLE newest_fill(struct mvcc_hash *hash, int64_t at)
{
    struct find_newest find = {.hash = hash, .at = at};
    TRY(backend_view_scan(hash->view, BUCKET_KEY, SLICE_EMPTY, SLICE_EMPTY, find_newest, &find,
                          &hash->why));
    return hash->err;
}

static bool is_hashed(const struct mvcc_hash *hash, struct revision rev, bool is_tombstone,
                      struct slice key)
{
    if (rev.main > hash->compact) {
        return true;
    }
    if (is_tombstone) {
        return false; /* below the compact revision it is removed, at it never hashed */
    }
    const struct newest *slot = newest_slot(&hash->map, key_hash(hash, key), key);
    return slot->key_len > 0 && slot->main == rev.main && slot->sub == rev.sub;
}

static bool hash_row(void *ctx, struct slice key, struct slice value)
{
    struct mvcc_hash *hash = ctx;
    struct revision rev;
    bool is_tombstone;
    struct mvcc_row row;
    if (!row_open(hash, key, value, &rev, &is_tombstone, &row) || rev.main > hash->revision) {
        return false;
    }
    if (mvcc__is_bump(value, is_tombstone) || is_hashed(hash, rev, is_tombstone, row.key)) {
        hash->crc = crc32c(hash->crc, key.data, key.len);
        hash->crc = crc32c(hash->crc, value.data, value.len);
    }
    return true;
}

static FALLIBLE hash_kv(struct mvcc_hash *hash)
{
    if (hash->compact > 0) {
        TRY(newest_fill(hash, hash->revision));
        if (hash->map.live == 0) {
            newest_fini(&hash->map);
            TRY(newest_fill(hash, hash->compact));
        }
        if (hash->map.cap == 0) {
            newest_grow(&hash->map);
        }
    }
    hash->crc = crc32c(0, "key", 3);
    TRY(backend_view_scan(hash->view, BUCKET_KEY, SLICE_EMPTY, SLICE_EMPTY, hash_row, hash,
                          &hash->why));
    return hash->err;
}

void mvcc_hash_run(struct mvcc_hash *hash)
{
    hash->err =
        hash->is_all ? backend_view_hash(hash->view, &hash->crc, &hash->why) : hash_kv(hash);
    newest_fini(&hash->map);
}

static struct mvcc_hash *hash_new(struct mvcc *store, int64_t revision)
{
    ASSERT(!store->is_writing);
    struct mvcc_hash *hash = NEW(struct mvcc_hash);
    hash->store = store;
    hash->seed = store->options.hash_seed;
    hash->view = backend_view_begin(store->backend);
    hash->revision = revision;
    hash->compact = store->compact;
    hash->result = (struct mvcc_hash_result){
        .current_revision = store->revision,
        .compact_revision = store->compact,
        .hash_revision = revision,
    };
    store->hash_count++;
    return hash;
}

FALLIBLE mvcc_hash_begin(struct mvcc *store, int64_t revision, struct mvcc_hash **out)
{
    if (revision > 0 && revision <= store->compact) {
        return ERR_COMPACTED;
    }
    if (revision > store->revision) {
        return ERR_FUTURE;
    }
    *out = hash_new(store, revision <= 0 ? store->revision : revision);
    return ERR_OK;
}

void mvcc_hash_all_begin(struct mvcc *store, struct mvcc_hash **out)
{
    *out = hash_new(store, store->revision);
    (*out)->is_all = true;
}

void mvcc_hash_end(struct mvcc_hash **hash, struct mvcc_hash_result *out)
{
    struct mvcc_hash *ended = *hash;
    backend_view_end(&ended->view);
    ASSERT(ended->store->hash_count > 0);
    ended->store->hash_count--;
    if (ended->err != ERR_OK) {
        backend_damaged(ended->store->backend, "%s", ended->why.text);
    }
    *out = ended->result;
    out->hash = ended->crc;
    mem_free(ended);
    *hash = NULL;
}
