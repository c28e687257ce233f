/* Inside the backend: batches (backend_batch.c), merged scans and views (backend_view.c),
 * defragmentation (backend_defrag.c), the scrub (backend_scrub.c) and the rest (backend.c). */
#ifndef STORAGE_BACKEND_PRIV_H
#define STORAGE_BACKEND_PRIV_H

#include "base/coll.h"
#include "base/mem.h"
#include "env/loop.h"
#include "storage/backend.h"
#include "storage/bolt.h"

/* ---- one pending row of a bucket other than `key`: a node of a skip list --------------------- */

#define PENDING_LEVELS 12

struct pending_row {
    struct slice key;
    struct slice value;
    bool is_delete;
    uint8_t levels;
    struct pending_row *next[]; /* `levels` of them */
};

struct pending_map {
    struct pending_row *head[PENDING_LEVELS];
    uint64_t count;
};

/* ---- the rows of bucket `key` in a batch ------------------------------------------------------
 */

struct pending_kv {
    struct revision rev;
    const uint8_t *data;
    struct chunk *chunk;
    uint32_t len;
    bool is_tombstone;
    bool is_dead; /* deleted again within the batch: never reaches the disk */
};

struct row_name {
    struct revision rev;
    bool is_tombstone;
};

/* Invariants:
 *   1. rows[] ascends, within a batch and from each batch to the next.
 *   2. gone[] names rows of older batches or of the tree; it is sorted when the batch is sealed,
 * and before, when gone_is_sorted says so.
 *   3. A sealed batch never changes: other threads read it.
 *   4. A sealed batch carries the meta rows of the last entry that ended before the seal. */
struct batch {
    struct list link; /* in the backend, oldest first */
    uint64_t sequence;
    uint32_t refs; /* the backend's and the views' */
    bool is_sealed;
    bool gone_is_sorted;
    uint64_t ops;
    struct pending_kv *rows;
    size_t row_count;
    size_t row_cap;
    struct row_name *gone;
    size_t gone_count;
    size_t gone_cap;
    struct pending_map map[BUCKET_COUNT];
    struct arena arena; /* nodes, keys and values of the maps */
    uint64_t random;    /* heights in the skip lists; the same in every run */
};

struct batch *batch__new(uint64_t sequence);
struct batch *batch__ref(struct batch *batch);
/* True when that was the last reference: the batch is the caller's to free. */
bool batch__unref(struct batch *batch);
/* Lets go of up to `budget` rows. True when the batch is all gone. */
bool batch__free(struct batch *batch, size_t budget);
void batch__seal(struct batch *batch);
void batch__set(struct batch *batch, enum backend_bucket bucket, struct slice key,
                struct slice value, bool is_delete);
void batch__put_row(struct batch *batch, struct revision rev, bool is_tombstone, struct slice row,
                    struct chunk *chunk);
/* True when the row was the batch's own and is now dead. */
bool batch__kill_row(struct batch *batch, struct revision rev);
void batch__note_gone(struct batch *batch, struct revision rev, bool is_tombstone);
void batch__sort_gone(struct batch *batch);
const struct pending_row *batch__find(const struct batch *batch, enum backend_bucket bucket,
                                      struct slice key);
const struct pending_row *batch__seek(const struct batch *batch, enum backend_bucket bucket,
                                      struct slice key);
/* NULL when the batch has no such row, dead or not. */
const struct pending_kv *batch__row(const struct batch *batch, struct revision rev);
bool batch__is_gone(const struct batch *batch, struct revision rev);
/* The first of rows[] / gone[] that is not below `rev`. */
size_t batch__seek_row(const struct batch *batch, struct revision rev);
size_t batch__seek_gone(const struct batch *batch, struct revision rev);
void batch__check(const struct batch *batch);

/* ---- scans ------------------------------------------------------------------------------------
 */

/* Merges batches[0..count), oldest first, over the tree. */
FALLIBLE backend__scan(struct bolt_tx *tree, struct batch *const *batches, size_t count,
                       enum backend_bucket bucket, struct slice from, struct slice end,
                       backend_each_fn *each, void *ctx, struct errbuf *why);

/* ---- the backend ------------------------------------------------------------------------------
 */

#define BATCHES_MAX 1024 /* sealed by views between two commits; a view is not begun that often */

struct commit_waiter {
    struct list link;
    uint64_t sequence; /* done when this batch is committed */
    backend_done_fn *done;
    void *ctx;
};

struct backend {
    struct backend_options options;
    struct executor *executor;
    struct bolt *db;
    bool is_scan_mapped;  /* a scan has left pages mapped: the next commit lets go of them */
    struct bolt_tx *tree; /* the state as of the last commit that the loop has heard of */
    struct bolt_bucket *bucket[BUCKET_COUNT]; /* of tree */
    struct bolt_walk *walk; /* backend_get_row_near()'s, in bucket `key` of tree */

    struct list batches; /* struct batch, oldest first; the last one is open */
    size_t batch_count;
    struct batch *open;
    struct chunk_pool pool;
    struct revision last_row; /* the highest put */

    bool is_applying;
    bool is_closing;     /* the executor takes no more jobs */
    bool is_index_dirty; /* index or term differ from what the last seal carried */
    uint64_t index;
    uint64_t term;
    struct buf conf_state;
    bool is_conf_dirty;

    struct list garbage; /* struct batch, committed and unreferenced, freed in slices */
    struct task free_task;

    struct timer timer;
    bool is_due;         /* the interval has passed, or someone asked: commit when possible */
    struct list waiters; /* struct commit_waiter, by sequence */
    uint64_t view_count;
    uint64_t commit_count;

    struct defrag *defrag; /* backend_defrag.c's */
    struct scrub *scrub;   /* backend_scrub.c's */

    /* The commit in flight: the executor's from submit to done. */
    struct job job;
    mono_ns forgotten_at;          /* bolt_tx_forget_pages(), by the executor */
    uint64_t rows_since_forgotten; /* the same */
    bool is_committing;
    bool commit_forgets; /* lets go of mapped pages at its end */
    mono_ns commit_start;
    uint64_t commit_ops;
    uint64_t commit_sequence; /* of the newest batch in it */
    struct batch *commit_batch[BATCHES_MAX];
    size_t commit_batch_count;
    enum err commit_err;
    struct errbuf commit_why;
    bool commit_is_short;     /* the file's reserve is being used up */
    enum backend_space space; /* as the last commit found it */
    bool is_waiting;          /* out of space, and the time of the next try has not come */
};

bool backend__seal(struct backend *backend);
void backend__unref_batch(struct backend *backend, struct batch *batch);
/* Moves the pinned tree to the newest committed state. */
void backend__tree_pin(struct backend *backend);
/* A row of the pinned tree alone; damage ends the member. */
bool backend__tree_get(struct backend *backend, enum backend_bucket bucket, struct slice key,
                       struct slice *out);
/* After every write: a commit may be due. */
void backend__wrote(struct backend *backend);
/* Starts a commit if one is wanted and nothing stands in its way. */
void backend__commit_maybe(struct backend *backend);

/* ---- defragmenting (backend_defrag.c) --------------------------------------------------------
 */

#define BACKEND_MAP_SIZE ((uint64_t)10 << 30) /* etcd's: address space only */
#define BACKEND_FILL_ASCENDING 90             /* percent: revisions only grow, and so do copies */

void backend__scrub_open(struct backend *backend);
void backend__scrub_stop(struct backend *backend);
void backend__scrub_close(struct backend *backend);

void backend__defrag_open(struct backend *backend);
/* No reader of an older file may be left. */
void backend__defrag_close(struct backend *backend);
/* Goes on with a defragmentation that waited for a commit to end. True: no commit may begin now. */
bool backend__defrag_turn(struct backend *backend);
/* After a reader has ended: closes files that nobody needs any more. */
void backend__defrag_tidy(struct backend *backend);

#endif
