/* Inside the key index: records and nodes. Shared by keyindex.c (the tree), keyindex_node.c (one
 * node of it) and keyindex_record.c (the revisions of one key) only. */
#ifndef STATE_KEYINDEX_PRIV_H
#define STATE_KEYINDEX_PRIV_H

#include "base/slab.h"
#include "state/keyindex.h"

/* One revision of a key that is not its newest. */
struct keyindex_old {
    int64_t main;
    uint32_t sub;
    uint32_t row_len; /* 0: a tombstone */
};

/* What most keys do not need. create and version are the newest revision's.
 *
 * revs[first .. first + count) are the older revisions, ascending. Compaction takes them from the
 * front, so `first` moves and the array is shifted only when half of it is gone. */
struct keyindex_history {
    int64_t create;
    int64_t version;
    uint32_t first;
    uint32_t count;
    uint32_t cap;
    uint32_t pad;
    struct keyindex_old revs[];
};

/* A key: 28 bytes and the key itself. Without a history the newest revision is the only one and
 * either the key's first, so that create is mod and version is 1, or a tombstone. */
struct keyindex_record {
    struct keyindex_history *history;
    int64_t mod;
    uint32_t sub;
    uint32_t row_len; /* 0: deleted */
    uint32_t key_len;
    uint8_t key[];
};
_Static_assert(offsetof(struct keyindex_record, key) == 28, "the record of a key stays small");

/* 64, so that a word says which keys of a leaf live. */
#define NODE_CAP 64

/* Bytes that the keys of a node share and that are kept in it: those of most real keys. */
#define NODE_SHARED 40

/* Invariants:
 *   1. The keys of record[] share their first `skip` bytes; prefix[i] is
 *      the 8 bytes of record[i]'s key from `skip` on, zero-padded, as a big-endian number;
 *      shared[] has the first of the skipped bytes.
 *   2. record[] is strictly ascending by key. In an inner node record[i] is the first key below
 *      child[i], sum[i] what lives below it, and no revision there is above newest[i]: what lived
 *      below it as of newest[i], and since, is what lives now.
 *   3. Every node but the root has at least one key; all leaves are equally deep. */
struct keyindex_node {
    uint16_t count;
    bool is_leaf;
    uint32_t skip;
    uint64_t live; /* a leaf's: bit i is set when record[i] is not deleted */
    uint8_t shared[NODE_SHARED];
    uint64_t prefix[NODE_CAP];
    struct keyindex_record *record[NODE_CAP];
};

struct keyindex_inner {
    struct keyindex_node node;
    struct keyindex_node *child[NODE_CAP];
    struct key_count sum[NODE_CAP];
    int64_t newest[NODE_CAP];
};

struct keyindex {
    struct keyindex_node *root; /* an empty leaf at first */
    uint8_t depth;              /* levels, the leaves included */
    uint64_t epoch;             /* changes of the tree's shape */
    struct key_count total;
    int64_t newest; /* revision of all */
    struct keyindex_stats stats;
    struct slab_pool slabs; /* records and short histories */
};

/* With all that main revision `main` has done. */
static inline struct revision end_of(int64_t main)
{
    return (struct revision){.main = main, .sub = UINT32_MAX};
}
static inline struct slice record_key(const struct keyindex_record *record)
{
    return slice_of(record->key, record->key_len);
}
static inline bool record_is_live(const struct keyindex_record *record)
{
    return record->row_len > 0;
}
static inline int64_t record_create(const struct keyindex_record *record)
{
    return record->history != NULL ? record->history->create
                                   : (record_is_live(record) ? record->mod : 0);
}
static inline int64_t record_version(const struct keyindex_record *record)
{
    return record->history != NULL ? record->history->version : record_is_live(record);
}

struct keyindex_record *keyindex__record_new(struct keyindex *index, struct slice key);
void keyindex__record_free(struct keyindex *index, struct keyindex_record *record);
/* Moves the newest revision to the history, to make place for another. */
void keyindex__record_push(struct keyindex *index, struct keyindex_record *record);
/* Sets the newest revision. create and version are 0 for a tombstone, whose row_len is 0. */
void keyindex__record_set(struct keyindex *index, struct keyindex_record *record,
                          struct revision rev, int64_t create, int64_t version, uint32_t row_len);
/* Takes the oldest revision of the history, which has one, away. */
void keyindex__record_shift(struct keyindex *index, struct keyindex_record *record);
/* As of `at`: false when the key does not exist then. */
bool keyindex__record_get(const struct keyindex_record *record, struct revision at,
                          struct key_version *out);
/* The newest revision <= at, tombstone or not: false when there is none. */
bool keyindex__record_last(const struct keyindex_record *record, struct revision at,
                           struct keyindex_old *out);
/* The i-th revision, oldest first; i below keyindex__record_revs(). */
struct keyindex_old keyindex__record_rev(const struct keyindex_record *record, uint32_t i);
uint32_t keyindex__record_revs(const struct keyindex_record *record);

/* ---- small helpers --------------------------------------------------------------------------- */

static inline struct key_count record_count(const struct keyindex_record *record)
{
    if (!record_is_live(record)) {
        return (struct key_count){0};
    }
    return (struct key_count){.keys = 1, .wire_bytes = keyindex_wire_len(record->row_len)};
}

static inline struct key_count count_add(struct key_count a, struct key_count b)
{
    return (struct key_count){a.keys + b.keys, a.wire_bytes + b.wire_bytes};
}

static inline struct key_count count_sub(struct key_count a, struct key_count b)
{
    return (struct key_count){a.keys - b.keys, a.wire_bytes - b.wire_bytes};
}

static inline struct keyindex_inner *inner_of(struct keyindex_node *node)
{
    ASSERT(!node->is_leaf);
    return CONTAINER_OF(node, struct keyindex_inner, node);
}

static inline const struct keyindex_inner *inner_of_const(const struct keyindex_node *node)
{
    ASSERT(!node->is_leaf);
    return (const struct keyindex_inner *)(const void *)node;
}

static inline uint64_t prefix_of(struct slice key, size_t skip)
{
    if (key.len >= skip + 8) {
        return get_be64(key.data + skip);
    }
    uint64_t prefix = 0;
    for (size_t i = skip; i < skip + 8; i++) {
        prefix = prefix << 8 | (i < key.len ? key.data[i] : 0);
    }
    return prefix;
}

static inline uint32_t common_len(struct slice a, struct slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    size_t i = 0;
    while (i < len && a.data[i] == b.data[i]) {
        i++;
    }
    return (uint32_t)i;
}

static inline uint64_t bits_below(unsigned slot)
{
    return slot >= 64 ? UINT64_MAX : (UINT64_C(1) << slot) - 1;
}

/* ---- nodes (keyindex_node.c) ----------------------------------------------------------------- */

struct keyindex_node *keyindex__node_new(struct keyindex *index, bool is_leaf);
void keyindex__node_free(struct keyindex *index, struct keyindex_node *node);
/* Chooses the largest skip: what the first and the last key share. */
void keyindex__node_fit(struct keyindex_node *node);
/* `key` is any of the node's keys, one that is about to join included. */
void keyindex__node_share(struct keyindex_node *node, struct slice key, uint32_t skip);
/* Lowers skip if `key`, which is about to join, does not share that much with `other`. */
void keyindex__node_admit(struct keyindex_node *node, struct slice key, struct slice other);
/* The first slot whose key is not less than `key`. */
unsigned keyindex__node_search(const struct keyindex_node *node, struct slice key, bool *found_out);
/* Which child may have `key`: the last whose first key is not above it. */
unsigned keyindex__inner_search(const struct keyindex_node *node, struct slice key);
/* What lives in slots [from, to). */
struct key_count keyindex__node_sum(const struct keyindex_node *node, unsigned from, unsigned to);
void keyindex__node_insert(struct keyindex_node *node, unsigned slot,
                           struct keyindex_record *record, struct keyindex_node *child,
                           struct key_count sum, int64_t newest);
void keyindex__node_remove(struct keyindex_node *node, unsigned slot);
/* Moves slots [from, count) of `source` behind the last of `target`. Prefixes are for the caller:
 * keyindex__node_fit() both. */
void keyindex__node_move(struct keyindex_node *target, struct keyindex_node *source, unsigned from);
/* How `key` stands to what the keys of the node share: <0, 0 (it begins so too), >0. */
int keyindex__node_compare_shared(const struct keyindex_node *node, struct slice key);

#endif
