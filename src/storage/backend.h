/* The backend: rows in buckets, in memory at once and on disk soon after.
 *
 * What is written lands in the pending set and can be read at once. The pending set is a list of
 * batches, oldest first: the last one is open and gathers, those before it are sealed. Every batch
 * interval, or when the open batch is full, the sealed ones go to disk in one transaction of the
 * B+tree file (storage/bolt), made on an executor of the backend's own. A read looks through the
 * batches from the newest to the oldest and then in the tree, pinned as of the last commit that
 * the loop has heard of. The loop never waits for a commit; at most one is in flight.
 *
 * It is not a transaction manager: there is one writer, the loop, and nothing is rolled back.
 *
 * The consistent index. Applying a log entry happens between backend_begin() and backend_end();
 * a batch is only ever sealed outside of that, and its transaction carries the index, term and
 * configuration state of the last entry that ended. So the rows of an entry and its index reach
 * the disk together or not at all (etcd issue 13766).
 *
 * Ownership: keys and values are copied, but for the rows of the `key` bucket, which are taken by
 *            reference to their chunk.
 * Threads:   the loop thread; a view may be read on any one thread.
 * Failure:   a commit that fails, and a damaged page met by a read, end the process with a
 *            sentence (fatal()): the kernel may have dropped the pages it could not write, so a
 *            second try could falsely succeed. A full disk is another matter: bolt meets it before
 *            it writes anything, so the rows stay pending, the owner is told (on_space), and the
 *            commit is tried again until there is room (docs/notes/out-of-space.md). */
#ifndef STORAGE_BACKEND_H
#define STORAGE_BACKEND_H

#include "base/bytes.h"
#include "base/chunk.h"
#include "env/env.h"
#include "storage/revision.h"

struct backend;
struct loop;

/* The top-level buckets, in the order of their names (docs/formats/db.md). */
enum backend_bucket {
    BUCKET_ALARM,
    BUCKET_AUTH,
    BUCKET_AUTH_ROLES,
    BUCKET_AUTH_USERS,
    BUCKET_CLUSTER,
    BUCKET_KEY,
    BUCKET_LEASE,
    BUCKET_MEMBERS,
    BUCKET_MEMBERS_REMOVED,
    BUCKET_META,
    BUCKET_COUNT,
};
const char *backend_bucket_name(enum backend_bucket bucket);

/* What one commit did, for metrics. */
struct backend_commit {
    uint64_t ops;      /* puts and deletes written */
    uint64_t total_ns; /* from handing over to hearing back: etcd_disk_backend_commit_duration */
};

/* How much room there is on the disk, in the order of trouble. */
enum backend_space {
    BACKEND_SPACE_OK,
    BACKEND_SPACE_LOW, /* commits use up the file's reserve: take nothing large any more */
    BACKEND_SPACE_OUT, /* the last commit did not fit: rows gather in memory */
};

struct backend_options {
    struct env *env;
    struct loop *loop;          /* for the batch interval; NULL: commit when full or asked */
    const char *path;           /* of the database file; its folder exists */
    uint32_t batch_interval_ms; /* 0: 100 */
    uint32_t batch_limit;       /* ops in a batch; 0: 10000 */
    bool no_sync;               /* --unsafe-no-fsync */
    uint64_t scrub_interval_ns; /* from one reading of the whole file to the next; 0: never */
    uint64_t reserve_bytes;     /* allocated in the file ahead of need; 0: none */
    void (*on_commit)(void *ctx, const struct backend_commit *commit); /* may be NULL */
    /* It has changed; `why` names the file. May be NULL. */
    void (*on_space)(void *ctx, enum backend_space space, const char *why);
    void *ctx;
};

/* Opens or creates the database and the buckets that are missing.
 *
 * ERR_LOCKED    another process has it open
 * ERR_CORRUPT   it is damaged, or no database
 * ERR_IO        the system refused (or another error of the disk) */
FALLIBLE backend_open(const struct backend_options *options, struct backend **out,
                      struct errbuf *why);
/* Commits what is pending, waits for that, and frees. No view may be open. Safe on NULL. What does
 * not fit on a full disk is dropped: its entries are in the log and are applied again at the next
 * start. */
void backend_close(struct backend **backend);

/* ---- applying an entry --------------------------------------------------------------------- */

/* Between these two nothing is sealed. Not nested. What is written outside of them (compaction's
 * deletes, a lease's checkpoint) goes with the index of the last entry that ended. */
void backend_begin(struct backend *backend);
void backend_end(struct backend *backend, uint64_t index, uint64_t term);
bool backend_is_applying(const struct backend *backend);

/* As stored, or as of the last backend_end(); 0 when there is none. */
uint64_t backend_consistent_index(const struct backend *backend);
uint64_t backend_term(const struct backend *backend);
/* The JSON of row meta/confState, written with the batch from now on. Copied. */
void backend_set_conf_state(struct backend *backend, struct slice json);
/* Without an entry: a snapshot was installed, or a data directory is made by a tool. */
void backend_set_consistent_index(struct backend *backend, uint64_t index, uint64_t term);

/* ---- rows of any bucket but `key` ----------------------------------------------------------- */

void backend_put(struct backend *backend, enum backend_bucket bucket, struct slice key,
                 struct slice value);
void backend_delete(struct backend *backend, enum backend_bucket bucket, struct slice key);
/* *out is valid until the next call that writes or turns the loop. False when it is not there. */
bool backend_get(struct backend *backend, enum backend_bucket bucket, struct slice key,
                 struct slice *out);
/* Calls each(ctx, key, value) in byte order for the keys of [from, end), end of length 0: to the
 * last. Stops when it returns false. `each` must not write. */
typedef bool backend_each_fn(void *ctx, struct slice key, struct slice value);
void backend_scan(struct backend *backend, enum backend_bucket bucket, struct slice from,
                  struct slice end, backend_each_fn *each, void *ctx);

/* ---- rows of bucket `key` ------------------------------------------------------------------- */

/* Space for a row that will be given to backend_put_row(): `len` bytes in a chunk shared by the
 * rows around it. *chunk_out carries a reference for the caller. */
uint8_t *backend_row_alloc(struct backend *backend, size_t len, struct chunk **chunk_out);
/* Adds the row; `rev` must be above every revision put before. Takes its own reference to `chunk`,
 * in which `row` lies. */
void backend_put_row(struct backend *backend, struct revision rev, bool is_tombstone,
                     struct slice row, struct chunk *chunk);
/* Takes a row away; it must be there. */
void backend_delete_row(struct backend *backend, struct revision rev, bool is_tombstone);
/* The row of a put, valid until the next call that writes or turns the loop. */
bool backend_get_row(struct backend *backend, struct revision rev, struct slice *out);
/* The same for whoever reads many rows: cheap when the row lies near the one that was looked up
 * this way last, and valid only until the next one. `is_long`: of so many rows that they had better
 * not make the file resident (bolt_walk_find). */
bool backend_get_row_near(struct backend *backend, struct revision rev, bool is_long,
                          struct slice *out);
/* Pages that such reads have fetched so far: a measure of work. */
uint64_t backend_pages_read(const struct backend *backend);

/* ---- reading it all, as of a moment --------------------------------------------------------- */

/* A consistent view of everything at the moment of backend_view_begin(), pending rows included.
 * Begun and ended on the loop thread, read on any one thread. It pins pages of the file: end it
 * soon. Must not be begun between backend_begin() and backend_end(). */
struct backend_view;
struct backend_view *backend_view_begin(struct backend *backend);
void backend_view_end(struct backend_view **view);
/* As backend_scan(); keys of bucket `key` are REVISION_LEN or TOMBSTONE_LEN bytes. Slices are
 * valid until the view ends. Another thread gets an error and a sentence instead of fatal(). */
FALLIBLE backend_view_scan(struct backend_view *view, enum backend_bucket bucket, struct slice from,
                           struct slice end, backend_each_fn *each, void *ctx, struct errbuf *why);
/* CRC-32C over every bucket: its name, then its keys and values, but for meta/consistent_index,
 * meta/term and meta/storageVersion. Equal to etcd's Maintenance.Hash. */
FALLIBLE backend_view_hash(struct backend_view *view, uint32_t *out, struct errbuf *why);

/* Rows of bucket `key` from `from` on, in order, seen by the loop thread itself and cheap to begin:
 * each(ctx, key, row) until it returns false. `each` must not write. */
void backend_scan_rows(struct backend *backend, struct revision from, backend_each_fn *each,
                       void *ctx);

/* ---- committing ----------------------------------------------------------------------------- */

/* Calls done(ctx) on the loop thread once everything written before this call is on disk. Inside
 * backend_begin/end it covers what that entry has still to write, too. Never calls from inside. */
typedef void backend_done_fn(void *ctx);
void backend_force_commit(struct backend *backend, backend_done_fn *done, void *ctx);
/* Forgets whom backend_force_commit() would call: for a stop that cannot wait for space. */
void backend_forget_waiters(struct backend *backend);
/* Looks whether there is room again; nothing while there is no lack of it. A commit looks, too. */
void backend_retry(struct backend *backend);
enum backend_space backend_space(const struct backend *backend);

/* Lets go of the file's pages that reading has made resident. For whoever has read very much on
 * end; the commits do it every few seconds for what they have touched themselves. */
void backend_forget_pages(struct backend *backend);

/* The newest committed state, for streaming a snapshot of the file while writes go on
 * (bolt_tx_read_at, on any thread): force a commit first, begin in its callback. End it before
 * backend_close(). */
struct bolt_tx;
struct bolt_tx *backend_snapshot_begin(struct backend *backend);
void backend_snapshot_end(struct backend *backend, struct bolt_tx **tx); /* NULLs; safe on NULL */

/* ---- defragmenting -------------------------------------------------------------------------- */

/* Rewrites the file without holes while everything goes on, and calls done() on the loop thread,
 * never from inside. Who asks while one is under way gets another one afterwards. On failure the
 * old file is the database as before, and `why` (valid during the call) says what went wrong:
 *
 * ERR_NOSPACE, ERR_IO, …   the new file could not be made
 * ERR_CORRUPT              the old one is damaged
 * ERR_CLOSED               the backend is closed
 * others                   what it was canceled with */
typedef void backend_defrag_fn(void *ctx, enum err err, const char *why);
void backend_defrag(struct backend *backend, backend_defrag_fn *done, void *ctx);
/* Gives up, soon, and answers with this: one that is about to replace the file still does. */
void backend_defrag_cancel(struct backend *backend, enum err err, const char *why);
bool backend_is_defragmenting(const struct backend *backend);

/* ---- observers ------------------------------------------------------------------------------ */

/* What is read makes no sense: says so, names the file and ends the process. */
__attribute__((noreturn, format(printf, 2, 3))) void backend_damaged(const struct backend *backend,
                                                                     const char *format, ...);
const char *backend_path(const struct backend *backend);

struct backend_stats {
    uint64_t size;        /* bytes: high-water mark times page size, as etcd's dbSize */
    uint64_t size_in_use; /* without the free pages */
    uint64_t commits;     /* since opening */
    uint64_t pending_ops; /* not committed yet */
    uint64_t open_views;
};
void backend_stats(const struct backend *backend, struct backend_stats *out);

struct backend_scrub_stats {
    uint64_t pages;    /* looked at since opening */
    uint64_t passes;   /* of the whole file, finished */
    uint64_t unsealed; /* pages without a checksum in the last one */
    bool is_under_way;
};
void backend_scrub_stats(const struct backend *backend, struct backend_scrub_stats *out);

/* Walks the pending set and ASSERTs what must hold. For tests and sim. */
void backend_check(const struct backend *backend);

#endif
