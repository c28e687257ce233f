/* The store: keys and values under one growing revision, over keyindex and backend.
 *
 * A write transaction takes one main revision; its changes count sub revisions from 0. Every
 * change is a row of bucket `key`: a marshalled mvccpb.KeyValue, byte for byte as Go writes it, so
 * that replies and watch events can carry the stored bytes (docs/formats/db.md). Reads are as of a
 * revision; compaction takes the readable past away.
 *
 * It is not the apply layer: requests, sorting, filters, quota and permissions are server/apply's.
 * It has no clock and no thread: the caller drives compaction steps and runs hash jobs.
 *
 * Ownership: the backend must outlive the store.
 * Threads:   loop thread only, but for mvcc_hash_run().
 * Failure:   a row that the index knows and the backend does not have, or one that is no KeyValue,
 *            is a damaged database and ends the process with a sentence. */
#ifndef STATE_MVCC_H
#define STATE_MVCC_H

#include "base/bytes.h"
#include "base/chunk.h"
#include "base/coll.h"
#include "state/keyindex.h"
#include "storage/backend.h"

struct mvcc;
typedef int64_t lease_id; /* 0: none */

/* One change of a write transaction: what watch needs. */
struct mvcc_change {
    struct revision rev;
    bool is_delete;
    bool is_create;       /* a put that made the key: version 1 */
    struct slice key;     /* inside row */
    struct slice row;     /* as stored: KeyValue; of a delete: only its key */
    struct slice kv;      /* as in an event: row; of a delete: key and mod_revision */
    struct chunk *chunk;  /* holds row and kv: chunk_ref() it to keep them */
    struct revision prev; /* the revision before, for prev_kv; main 0 when there was none */
};

struct mvcc_hooks {
    void *ctx;
    /* `key` now belongs to `lease`, or to none (0). Called for every put and delete, and during
     * mvcc_open() for every row with a lease and what follows on its key. May be NULL. */
    void (*attach)(void *ctx, struct slice key, lease_id lease);
    /* The changes of one revision, after it has become readable. May be NULL. */
    void (*changed)(void *ctx, int64_t revision, const struct mvcc_change *changes, size_t count);
    /* A compaction has removed its last row. May be NULL. */
    void (*compacted)(void *ctx, int64_t revision);
};

struct mvcc_options {
    struct backend *backend;
    struct mvcc_hooks hooks;
    uint32_t compact_batch_limit; /* rows looked at between two sleeps; 0: 1000 */
    uint32_t compact_sleep_ms;    /* 0: 10 */
    uint64_t hash_seed;           /* random: so that nobody can choose colliding keys for HashKV */
};

/* Reads bucket `key` and rebuilds the index; takes up a compaction that was under way.
 * ERR_CORRUPT: a row is damaged, with a sentence. */
FALLIBLE mvcc_open(const struct mvcc_options *options, struct mvcc **out, struct errbuf *why);
void mvcc_close(struct mvcc **store); /* no read or hash may be open; safe on NULL */

/* The newest revision; inside a transaction that has written (and is not suspended), that
 * transaction's. An empty store has 1. */
int64_t mvcc_revision(const struct mvcc *store);
/* Reads below this are refused; -1 when nothing was ever compacted. */
int64_t mvcc_compact_revision(const struct mvcc *store);

/* ---- rows ----------------------------------------------------------------------------------- */

/* A stored row, taken apart. All slices lie in raw. */
struct mvcc_row {
    struct slice raw; /* the marshalled KeyValue */
    struct slice key;
    struct slice value;
    int64_t create;
    int64_t mod;
    int64_t version;
    lease_id lease;
};
/* ERR_CORRUPT when it is no KeyValue. Any protobuf encoding is read, not only Go's. */
FALLIBLE mvcc_row_parse(struct slice raw, struct mvcc_row *out);

/* ---- writing -------------------------------------------------------------------------------- */

/* One transaction at a time. What it has written is seen by reads opened inside it at revision 0
 * (current), and only that: they may be kept, and read what was there when they were opened. */
void mvcc_begin(struct mvcc *store);
/* Returns the revision after the put. key.len > 0. */
int64_t mvcc_put(struct mvcc *store, struct slice key, struct slice value, lease_id lease);
/* Deletes every key of the range and returns how many. */
uint64_t mvcc_delete(struct mvcc *store, const struct key_range *range);
/* The same in steps: begun and stepped within one transaction, in which nothing else is written
 * meanwhile. `range`'s slices are borrowed until it is done. */
struct mvcc_delete {
    struct keyindex_iter iter;
    uint64_t count; /* deleted so far */
};
void mvcc_delete_begin(struct mvcc *store, const struct key_range *range, struct mvcc_delete *out);
/* True when it is done. *budget is how many keys may still be looked at. */
bool mvcc_delete_step(struct mvcc *store, struct mvcc_delete *delete, uint64_t *budget);

/* A transaction that goes on in a later turn of the loop. While it is suspended nobody sees any of
 * it: revisions, reads, and history are those of the transaction that ended last. Nothing may be
 * written, compacted or hashed. A delete under way is paused by it; NULL: none is. */
void mvcc_suspend(struct mvcc *store, struct mvcc_delete *delete);
void mvcc_resume(struct mvcc *store);

/* Changes so far in this transaction. */
size_t mvcc_change_count(const struct mvcc *store);
/* Lets go of a slice of what large transactions of the past have changed. True: there is more. */
bool mvcc_tidy(struct mvcc *store, size_t budget);
/* Makes it readable, calls hooks.changed if anything changed, and returns the newest revision. The
 * changes stay valid until the next mvcc_begin(). */
int64_t mvcc_end(struct mvcc *store);
const struct mvcc_change *mvcc_changes(const struct mvcc *store, size_t *count_out);

/* ---- reading -------------------------------------------------------------------------------- */

/* The newest row of one key. False when it does not live. Valid until the next call that writes or
 * turns the loop. For compares, ignore_value, ignore_lease. */
bool mvcc_get(struct mvcc *store, struct slice key, struct mvcc_row *out);
/* A read of one key at the current revision, in one step: its row as stored, or nothing when it
 * does not live. False: the row is longer than len_max, and nothing was read. */
bool mvcc_read_one(struct mvcc *store, struct slice key, size_t len_max, struct slice *raw_out);
/* The same without touching the row: create, mod and version. */
bool mvcc_get_version(struct mvcc *store, struct slice key, struct key_version *out);
/* The row of a put at exactly `rev`, for prev_kv. False when compaction has taken it. */
bool mvcc_get_at(struct mvcc *store, struct revision rev, struct mvcc_row *out);

/* The row of `key` as of revision `at`, for prev_kv. False when the key did not live then, and when
 * `at` is below the compact revision. */
bool mvcc_get_as_of(struct mvcc *store, struct slice key, int64_t at, struct mvcc_row *out);

/* A read of a range at a revision. Embed it; open, perhaps measure, next …, close. Rows come in
 * key order. It may live over turns of the loop when paused before each return to it; until it is
 * closed, compaction removes nothing it could still read. */
struct mvcc_read {
    struct mvcc *store;
    struct list link;
    struct keyindex_iter iter;
    int64_t at;      /* the revision read */
    uint32_t sub;    /* and of it the changes up to this one; UINT32_MAX: all */
    bool is_current; /* opened at the newest revision, with nothing unfinished above it */
    uint64_t rows;   /* looked up, or about to be */
    uint64_t pages;  /* of the file, read for them */
    struct key_count total;
    bool is_measured;
    struct keyindex_iter measure;
};
/* revision <= 0: the current one. `range`'s slices are borrowed until close.
 *
 * ERR_COMPACTED   revision is below the compact revision
 * ERR_FUTURE      revision is above the current one */
FALLIBLE mvcc_read_open(struct mvcc *store, const struct key_range *range, int64_t revision,
                        struct mvcc_read *read);
/* The same as of the moment `other` was opened, which is open still: also when compaction has
 * passed it since. Not of one inside a transaction that has written. */
void mvcc_read_open_beside(const struct mvcc_read *other, const struct key_range *range,
                           struct mvcc_read *read);
/* The newest row of one key as of an open read. False when it did not live. Valid as mvcc_get()'s.
 */
bool mvcc_read_get(const struct mvcc_read *read, struct slice key, struct mvcc_row *out);
void mvcc_read_close(struct mvcc_read *read);
/* How many keys the whole range has, and what their rows take in a RangeResponse. Exact. At the
 * current revision (and outside a transaction's own, older reads) it costs O(log n); at an older
 * one, what has changed since: parts of the index in which nothing has are a step each. *budget,
 * the steps that may still be taken, goes down. False: call again. */
bool mvcc_read_measure(struct mvcc_read *read, uint64_t *budget, struct key_count *out);
/* The same for its first `limit` keys, or the last: O(log n), and only of a read that is_current
 * and has not been paused. */
struct key_count mvcc_read_count(const struct mvcc_read *read, uint64_t limit, bool from_end);
/* Begins at the first key again, or at the last to go backwards. */
void mvcc_read_rewind(struct mvcc_read *read, bool is_reverse);
/* The next key with what the index knows; no row is touched. False at the end, and when `budget`
 * (may be NULL), the keys that may still be looked at, has come to 0. */
bool mvcc_read_key(struct mvcc_read *read, struct key_version *out, uint64_t *budget);
bool mvcc_read_is_done(const struct mvcc_read *read);
/* The next row as stored. False at the end. Valid until the next call or turn. */
bool mvcc_read_next(struct mvcc_read *read, struct slice *raw_out);
/* So many rows will be looked up: a read of many spares the memory from the first one on. */
void mvcc_read_expect(struct mvcc_read *read, uint64_t rows);
/* The row of a key given, also after a pause: it is there until the read is closed. */
struct slice mvcc_read_row(struct mvcc_read *read, struct revision mod, uint32_t row_len);
/* Before anything is written or the loop turns. The next call goes on after the last row given. */
void mvcc_read_pause(struct mvcc_read *read);

/* The rows with `from` <= main revision, in the order of revisions, tombstones included (kv as in
 * an event is for the caller to make): each(ctx, rev, is_delete, row) until false. Rows of a
 * transaction that has not ended are not among them. For watchers that catch up: a slice is as many
 * rows as `each` takes, and costs O(log n) to begin and then only the rows it is given; the next
 * slice begins at the revision behind the last whole one. */
typedef bool mvcc_history_fn(void *ctx, struct revision rev, bool is_delete, struct slice row);
void mvcc_history(struct mvcc *store, int64_t from, mvcc_history_fn *each, void *ctx);
/* The same from a sub revision on: to go on inside of a large transaction. */
void mvcc_history_from(struct mvcc *store, struct revision from, mvcc_history_fn *each, void *ctx);
/* The changes of one key only, found through the index. The row of a delete is empty. */
void mvcc_key_history(struct mvcc *store, struct slice key, int64_t from, mvcc_history_fn *each,
                      void *ctx);

/* ---- compaction ----------------------------------------------------------------------------- */

/* Publishes `revision` as compacted and schedules the removal of rows.
 *
 * ERR_COMPACTED   it is compacted already
 * ERR_FUTURE      it is above the current revision */
FALLIBLE mvcc_compact(struct mvcc *store, int64_t revision);
/* Removes a slice of rows. Returns milliseconds until the next step is due (0: the next turn of the
 * loop), or -1 when there is nothing (more) to remove; mvcc_compact() makes there be something
 * again. Not inside a transaction or between backend_begin() and backend_end(). */
int mvcc_compact_step(struct mvcc *store);
/* Does the removal of rows that is under way wait for this read to be closed? */
bool mvcc_read_is_waited_for(const struct mvcc_read *read);
/* Is the removal of rows up to `revision` finished? */
bool mvcc_is_compacted(const struct mvcc *store, int64_t revision);

/* ---- hashes --------------------------------------------------------------------------------- */

/* A hash under way: begin and end on the loop thread, run on any thread. */
struct mvcc_hash;
struct mvcc_hash_result {
    uint32_t hash;
    int64_t current_revision; /* when it was begun */
    int64_t compact_revision;
    int64_t hash_revision; /* up to which rows were hashed */
};
/* HashKV. revision 0: the current one. ERR_COMPACTED: <= the compact revision. ERR_FUTURE. Not
 * inside a transaction or between backend_begin() and backend_end(). */
FALLIBLE mvcc_hash_begin(struct mvcc *store, int64_t revision, struct mvcc_hash **out);
/* Hash: the whole backend. */
void mvcc_hash_all_begin(struct mvcc *store, struct mvcc_hash **out);
void mvcc_hash_run(struct mvcc_hash *hash);
/* Frees. fatal() when the run met a damaged page. */
void mvcc_hash_end(struct mvcc_hash **hash, struct mvcc_hash_result *out);

/* ---- observers ------------------------------------------------------------------------------ */

struct mvcc_stats {
    struct keyindex_stats index;
    uint64_t puts; /* etcd_mvcc_put_total and its like */
    uint64_t deletes;
    uint64_t ranges;
    uint64_t txns;           /* that changed anything */
    uint64_t compacted_rows; /* etcd_debugging_mvcc_db_compaction_keys_total */
    uint64_t open_reads;
};
void mvcc_stats(const struct mvcc *store, struct mvcc_stats *out);

/* ASSERTs that index and rows agree. Slow; for tests and sim. */
void mvcc_check(struct mvcc *store);

#endif
