/* The key index: every key, its newest revision, and the older ones that are still readable.
 *
 * A counted B+tree over the keys. A node holds 8-byte prefixes of its keys, so that most
 * comparisons touch nothing else, and the number and size of the live rows below it, so that
 * counting a range at the newest revision takes O(log n). The record of a key holds its newest
 * revision inline (create, mod, version, length of the stored row); older revisions live in an
 * array beside it that exists only while there are any.
 *
 * A key that was deleted stays, as a tombstone, until compaction passes it.
 *
 * It is not the store: it knows no values and no leases, and does not decide what is compacted;
 * state/mvcc drops revisions one by one, as it removes their rows.
 *
 * Ownership: keys are copied. A slice of a key that comes out is valid until the next change.
 * Threads:   loop thread only. */
#ifndef STATE_KEYINDEX_H
#define STATE_KEYINDEX_H

#include "base/bytes.h"
#include "storage/revision.h"

struct keyindex;
struct keyindex_node;
struct keyindex_record;

/* What is known of a key at some revision. */
struct key_version {
    struct slice key;
    struct revision mod;
    uint32_t row_len; /* bytes of the stored row; 0 for a tombstone */
    bool is_newest;   /* no later revision of this key exists: the next two are valid */
    int64_t create;   /* main revision that created the key; 0 for a tombstone */
    int64_t version;  /* 1 for the first put; 0 for a tombstone */
};

/* A set of keys as requests name it. */
enum key_range_kind {
    KEY_ONE,  /* exactly `from` */
    KEY_SPAN, /* from <= key < end */
    KEY_FROM, /* from <= key */
};
struct key_range {
    enum key_range_kind kind;
    struct slice from;
    struct slice end; /* KEY_SPAN only */
};
/* From the fields of a request: range_end empty, a single 0 byte, or the end. */
struct key_range key_range_of(struct slice key, struct slice range_end);
bool key_range_has(const struct key_range *range, struct slice key);

struct keyindex *keyindex_new(void);
void keyindex_free(struct keyindex **index); /* safe on NULL */

/* A position in the tree: embedded by the caller, valid until the next change of the index. */
#define KEYINDEX_DEPTH_MAX 12
struct keyindex_place {
    uint64_t epoch;
    bool is_found; /* the key is there, perhaps as a tombstone */
    uint8_t depth; /* nodes on the path */
    uint16_t slot[KEYINDEX_DEPTH_MAX];
    struct keyindex_node *node[KEYINDEX_DEPTH_MAX];
};

/* Looks `key` up for a change. True when it lives; *out is then what there is. *place can be given
 * to one keyindex_put_at() or keyindex_tombstone_at() of the same key. */
bool keyindex_find(struct keyindex *index, struct slice key, struct keyindex_place *place,
                   struct key_version *out);
/* Records a put at `rev`, which must be above the key's newest revision. */
void keyindex_put_at(struct keyindex *index, struct keyindex_place *place, struct slice key,
                     struct revision rev, uint32_t row_len);
/* Records a delete; the key must live. */
void keyindex_tombstone_at(struct keyindex *index, struct keyindex_place *place,
                           struct revision rev);

/* The key as of main revision `at` (INT64_MAX: newest). False when it did not exist then. */
bool keyindex_get(const struct keyindex *index, struct slice key, int64_t at,
                  struct key_version *out);

/* Keys that live and what their rows take as field 2 of a RangeResponse: tag, length, row. */
struct key_count {
    uint64_t keys;
    uint64_t wire_bytes;
};

/* The keys of a range as of a revision, ascending or descending. Embed; may be kept over changes of
 * the index when paused before them. */
struct keyindex_iter {
    const struct keyindex *index;
    struct revision at;
    struct key_range range; /* borrows its slices until fini */
    struct keyindex_place place;
    bool is_reverse; /* descending: set between init and the first next */
    bool is_started;
    bool is_done;
    struct buf last; /* the key after which to go on, when paused */
    bool is_paused;
};
void keyindex_iter_init(struct keyindex_iter *iter, const struct keyindex *index,
                        const struct key_range *range, int64_t at);
/* Only what main revision `at` has done up to and with its change `sub`. Before the first next. */
void keyindex_iter_within(struct keyindex_iter *iter, uint32_t sub);
void keyindex_iter_fini(struct keyindex_iter *iter);
/* False at the end, which is_done tells. `budget`, if not NULL, is how many records may still be
 * looked at, live or not; when it has come to 0 the answer is false too, but not is_done. */
bool keyindex_iter_next(struct keyindex_iter *iter, struct key_version *out, uint64_t *budget);
void keyindex_iter_pause(struct keyindex_iter *iter);
/* Adds to *total what keyindex_iter_next() would give from here on, until the end (true) or until
 * the budget, the steps that it may take, is used up. Parts of the tree in which nothing has
 * changed since `at` take one step each: so a recent revision costs what has been changed since it.
 */
bool keyindex_iter_count(struct keyindex_iter *iter, uint64_t *budget, struct key_count *total);

/* What lives now. O(log n), exact. */
struct key_count keyindex_count(const struct keyindex *index, const struct key_range *range);
/* The same of the first `limit` keys of the range, or of the last. */
struct key_count keyindex_count_first(const struct keyindex *index, const struct key_range *range,
                                      uint64_t limit);
struct key_count keyindex_count_last(const struct keyindex *index, const struct key_range *range,
                                     uint64_t limit);
/* What one row of that length takes on the wire. */
uint64_t keyindex_wire_len(uint32_t row_len);

/* Calls each(ctx, rev, is_tombstone) for the revisions of `key` with main >= from, ascending, as
 * long as it returns true. */
typedef bool keyindex_rev_fn(void *ctx, struct revision rev, bool is_tombstone);
void keyindex_revisions(const struct keyindex *index, struct slice key, int64_t from,
                        keyindex_rev_fn *each, void *ctx);

/* Compaction at main revision `compact` keeps of each key the newest revision <= compact when that
 * is a put, or a tombstone exactly at it. False: the row at `rev` of `key` must go.
 * ASSERTs nothing about `key`: a row the index does not know is not kept. */
bool keyindex_is_kept(const struct keyindex *index, struct slice key, struct revision rev,
                      int64_t compact);
/* Forgets the oldest revision of `key` if that is `rev`; forgets the key with its last one. */
void keyindex_drop(struct keyindex *index, struct slice key, struct revision rev);

/* Restoring: rows of bucket `key` in the order of their revisions. create and version as stored in
 * the row; for a tombstone, row_len 0. A tombstone of an unknown key is remembered, as etcd since
 * 3.5.16 does; one of a key that is deleted already says nothing new and is passed over. */
void keyindex_restore(struct keyindex *index, struct slice key, struct revision rev, int64_t create,
                      int64_t version, uint32_t row_len);

struct keyindex_stats {
    uint64_t keys_live;  /* etcd_debugging_mvcc_keys_total */
    uint64_t keys_known; /* with the tombstones */
    uint64_t revisions;  /* all that are known */
    uint64_t bytes;      /* heap used, keys included */
    uint64_t key_bytes;  /* of that, the keys themselves */
};
void keyindex_stats(const struct keyindex *index, struct keyindex_stats *out);

/* Walks the tree and ASSERTs order, counts, sums and histories. */
void keyindex_check(const struct keyindex *index);

#endif
