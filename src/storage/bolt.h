/* bolt: a copy-on-write B+tree of nested buckets in one file, in the bbolt format.
 *
 * A file is an array of pages (docs/formats/bolt.md). Two meta pages take turns in naming the
 * root; everything reachable from the newer valid one is the committed state. A write transaction
 * never touches a page that a committed state uses: it writes new pages, syncs, writes the older
 * meta page, syncs. So a crash at any moment leaves exactly the old or the new state, and a reader
 * keeps its state for as long as it likes while writes go on.
 *
 * It is not a cache and not a log: a write transaction costs two syncs, so callers batch.
 *
 * Ownership: keys and values given to a call are copied before it returns. Slices that come back
 *            live as long as their transaction, also when the row is deleted or replaced later in
 *            it. Bucket handles belong to their transaction; cursors are the caller's storage.
 * Threads:   any number of read transactions on any threads, beside one write transaction on one
 *            other thread; beginning and ending a read is lock-free. One transaction belongs to
 *            one thread at a time. bolt_open, bolt_close and everything about a write transaction
 *            must not run at the same time as each other.
 * Failure:   a damaged file gives ERR_CORRUPT and a sentence naming file and page, never a crash:
 *            nothing read from the file is used before it is checked. An input/output error while
 *            committing leaves the file at its last committed state and the object refusing
 *            further writes, because after a failed sync nobody knows what is on the disk. A full
 *            disk is met before anything is written: the commit is undone and may be tried again.
 */
#ifndef STORAGE_BOLT_H
#define STORAGE_BOLT_H

#include "base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

struct disk;
struct bolt;
struct bolt_tx;
struct bolt_bucket;

#define BOLT_KEY_MAX 32768           /* bytes; a key has at least one */
#define BOLT_VALUE_MAX 2147483646ull /* bytes: 2^31 - 2 */
#define BOLT_DEPTH_MAX 32            /* levels of one tree; a deeper one is damage */
#define BOLT_NEST_MAX 64             /* buckets inside buckets, the root being level 0 */
#define BOLT_FILL_DEFAULT 50         /* percent of a page filled when a node is split */
#define BOLT_NO_FREELIST UINT64_MAX  /* freelist page id of a file that keeps none */

struct bolt_options {
    bool read_only;            /* shared lock, no write transactions, the file must exist */
    bool no_freelist_sync;     /* do not write the freelist; found again by a scan on open (etcd) */
    bool no_sync;              /* never sync: for files that are thrown away on a crash */
    bool no_checksums;         /* write pages as bbolt does: for tests that damage them */
    bool no_map;               /* read with pread even where the disk can map */
    uint32_t page_size;        /* bytes, of a new file: a power of two in 1024..65536; 0: 4096 */
    uint64_t initial_map_size; /* bytes of address space to map at once; etcd: 10 GiB. 0: by size */
    uint64_t reserve_bytes;    /* allocated ahead of need, for commits on a full disk; 0: none */
};

/* ---- life cycle --------------------------------------------------------------------------- */

/* Opens `path`, creating it (mode 0600) when it is missing or empty, and takes flock on it.
 *
 * ERR_LOCKED     another process has it open
 * ERR_CORRUPT    it is no bolt file, or a damaged one
 * ERR_INVALID    options that make no sense
 * others         from the disk */
FALLIBLE bolt_open(struct disk *disk, const char *path, const struct bolt_options *options,
                   struct bolt **out, struct errbuf *why);
/* No transaction may be open. *db becomes NULL; safe on NULL. */
void bolt_close(struct bolt **db);
/* Gives the file another name in the same folder, in place of the file that has it, and syncs the
 * folder; then maps `map_size` bytes at once, as initial_map_size does. No transaction may be open.
 * On failure *has_moved_out tells which side of the rename it was on: when it is false nothing has
 * changed; when it is true nobody knows which of the two files a power failure would leave. */
FALLIBLE bolt_rename(struct bolt *db, const char *path, uint64_t map_size, bool *has_moved_out,
                     struct errbuf *why);

/* ---- transactions -------------------------------------------------------------------------- */

/* Pins the newest committed state. Never waits. End it on any thread. */
struct bolt_tx *bolt_read_begin(struct bolt *db);
void bolt_read_end(struct bolt_tx **tx); /* NULLs; safe on NULL */

/* Begins the one write transaction; ASSERTs that no other is open.
 * ERR_PERM: opened read-only. ERR_CLOSED: an earlier commit met an input/output error. */
FALLIBLE bolt_write_begin(struct bolt *db, struct bolt_tx **out, struct errbuf *why);
/* Makes the changes durable and visible, or, on any error, rolls back. Ends the transaction either
 * way; *tx becomes NULL. ERR_IO: see "Failure" above. ERR_NOSPACE: the file could not grow; the
 * object stays usable. ERR_CORRUPT: damage was met by this or an earlier call of the transaction;
 * the object stays usable. */
FALLIBLE bolt_commit(struct bolt_tx **tx, struct errbuf *why);
void bolt_rollback(struct bolt_tx **tx); /* NULLs; safe on NULL */
/* Makes up the reserve, if it is short and there is room; bolt_stats() tells. A commit does so too.
 * Writer's thread, with no write transaction open. ERR_IO: as for a commit. */
FALLIBLE bolt_restore_reserve(struct bolt *db, struct errbuf *why);

/* The sentence behind the last ERR_CORRUPT, ERR_IO, ERR_INVALID or ERR_TOO_LARGE of this
 * transaction's bucket and cursor calls; "" before the first. */
const char *bolt_tx_why(const struct bolt_tx *tx);

/* ---- buckets ------------------------------------------------------------------------------- */

/* The bucket that holds the named top-level buckets. */
struct bolt_bucket *bolt_root(struct bolt_tx *tx);

/* The bucket `name` inside `parent`: asking twice gives the same handle.
 * ERR_NOT_FOUND: nothing there. ERR_INVALID: a plain value is there. */
FALLIBLE bolt_bucket(struct bolt_bucket *parent, struct slice name, struct bolt_bucket **out);
/* ERR_EXISTS; ERR_INVALID: an empty name or a plain value there; ERR_TOO_LARGE. */
FALLIBLE bolt_bucket_create(struct bolt_bucket *parent, struct slice name,
                            struct bolt_bucket **out);
/* The one that is there, or a new one. */
FALLIBLE bolt_bucket_ensure(struct bolt_bucket *parent, struct slice name,
                            struct bolt_bucket **out);
/* Deletes it with everything inside; handles of it and of buckets inside are dead.
 * ERR_NOT_FOUND; ERR_INVALID: a plain value is there. */
FALLIBLE bolt_bucket_drop(struct bolt_bucket *parent, struct slice name);

/* How full pages get when a node of this bucket is split: 10..100, for this transaction. High for
 * ascending keys (etcd: 90), the default half for random ones. */
void bolt_bucket_set_fill(struct bolt_bucket *bucket, unsigned percent);

/* A counter kept with the bucket. */
uint64_t bolt_bucket_sequence(const struct bolt_bucket *bucket);
FALLIBLE bolt_bucket_set_sequence(struct bolt_bucket *bucket, uint64_t sequence);

/* ---- rows ---------------------------------------------------------------------------------- */

/* ERR_NOT_FOUND: no such key, or a bucket is there. */
FALLIBLE bolt_get(struct bolt_bucket *bucket, struct slice key, struct slice *out);
/* Inserts or replaces. Keys in ascending order at the end of the bucket take the fast path.
 * ERR_INVALID: an empty key, or a bucket is there, or it is the root bucket, which holds buckets
 * only. ERR_TOO_LARGE: key or value over the limit. */
FALLIBLE bolt_put(struct bolt_bucket *bucket, struct slice key, struct slice value);
/* ERR_NOT_FOUND: nothing was there. ERR_INVALID: a bucket is there. */
FALLIBLE bolt_delete(struct bolt_bucket *bucket, struct slice key);

/* ---- cursors ------------------------------------------------------------------------------- */

struct bolt_item {
    struct slice key;
    struct slice value; /* empty for a bucket */
    bool is_bucket;
};

/* A position in one bucket, in byte order of keys. The caller's storage, no clean-up. It survives
 * changes made to the bucket through other calls: a move then starts from the key it stood on. */
struct bolt_node;
struct bolt_level {
    const struct bolt_node *node; /* or NULL, and then */
    const uint8_t *page;          /* header included */
    size_t len;                   /* bytes of page */
    uint32_t count;
    uint32_t index;
    bool is_leaf;
};
struct bolt_cursor {
    struct bolt_bucket *bucket;
    uint64_t version; /* the bucket's when `level` was filled */
    struct slice key; /* where it stands, when is_placed */
    bool is_placed;
    uint8_t depth;
    struct bolt_level level[BOLT_DEPTH_MAX];
};

void bolt_cursor_init(struct bolt_cursor *cursor, struct bolt_bucket *bucket);
/* Each: ERR_NOT_FOUND when there is no such item. After next() or prev() has run off an end the
 * cursor stays on its last item. next() and prev() need a placed cursor. */
FALLIBLE bolt_cursor_first(struct bolt_cursor *cursor, struct bolt_item *out);
FALLIBLE bolt_cursor_last(struct bolt_cursor *cursor, struct bolt_item *out);
FALLIBLE bolt_cursor_next(struct bolt_cursor *cursor, struct bolt_item *out);
FALLIBLE bolt_cursor_prev(struct bolt_cursor *cursor, struct bolt_item *out);
/* The first item whose key is not less than `key`. */
FALLIBLE bolt_cursor_seek(struct bolt_cursor *cursor, struct slice key, struct bolt_item *out);
/* Deletes the row it stands on; next() and prev() go on from there. ERR_INVALID: it is a bucket.
 * ERR_NOT_FOUND: it was deleted already. */
FALLIBLE bolt_cursor_delete(struct bolt_cursor *cursor);

/* ---- walks --------------------------------------------------------------------------------- */

/* Finds many rows of one bucket, one after the other (bolt_walk.c). What two finds share of the way
 * down is not searched again, so rows that lie near one another are cheap. */
struct bolt_walk;
struct bolt_walk *bolt_walk_new(void);
void bolt_walk_free(struct bolt_walk **walk); /* NULLs; safe on NULL */
/* From now on in this bucket, of a read transaction; NULL: in none. */
void bolt_walk_enter(struct bolt_walk *walk, struct bolt_bucket *bucket);
/* As bolt_get(), but the value is only valid until the next call. `is_long`: pages are not mapped
 * but read into memory of the walk's own, a few of them at a time. Mapping what lies scattered over
 * a large file costs a page fault a row, and makes sixteen pages resident for each. */
FALLIBLE bolt_walk_find(struct bolt_walk *walk, struct slice key, bool is_long, struct slice *out);
/* Pages that long walks have read so far: a measure of work. */
uint64_t bolt_walk_pages(const struct bolt_walk *walk);

/* ---- observers ----------------------------------------------------------------------------- */

uint64_t bolt_tx_id(const struct bolt_tx *tx);
/* Bytes up to the high-water mark: what a snapshot of this transaction is long. */
uint64_t bolt_tx_size(const struct bolt_tx *tx);
/* The same without the pages that were free when the state was committed (etcd's dbSizeInUse).
 * What that very commit freed still counts as in use, as in etcd. A file opened read-only is not
 * scanned for free pages: there both are equal. */
uint64_t bolt_tx_size_in_use(const struct bolt_tx *tx);
uint32_t bolt_page_size(const struct bolt *db);
/* Read transactions open now. Any thread. */
uint64_t bolt_readers(const struct bolt *db);

/* Takes the pages that reads have mapped out of the process's resident memory (they stay in the
 * page cache). Any thread; what the transaction's slices point to stays readable. */
void bolt_tx_forget_pages(struct bolt_tx *tx);

/* The same for whoever goes through very much of the file in order: while a transaction scans, the
 * pages that it gets are remembered, and whenever they add up to BOLT_SCAN_BYTES, as well as at its
 * end, they are let go of. That costs in proportion to those pages, however large the file is. */
#define BOLT_SCAN_BYTES ((uint64_t)8 << 20)
void bolt_tx_set_scanning(struct bolt_tx *tx, bool is_scanning);
/* What is left of that is not let go of at the transaction's end: the caller sees to it, on another
 * thread. True: there is something. */
bool bolt_tx_leave_scanned(struct bolt_tx *tx);

struct bolt_stats {
    uint64_t commits;
    uint64_t free_pages;    /* may be allocated by the next write transaction */
    uint64_t pending_pages; /* free in the newest state, kept for pinned readers */
    uint64_t pages_written; /* since open, metas included */
    uint64_t writes;        /* pwrite calls since open */
    uint64_t file_size;     /* bytes */
    uint64_t map_size;      /* bytes of address space */
    uint64_t readers;       /* read transactions open now */
    uint64_t splits;        /* nodes cut in several pages, since open */
    uint64_t merges;        /* nodes merged with a sibling, since open */
    bool is_short;          /* of space: the reserve could not be made up again */
};
/* Writer's thread, or when no write transaction runs. */
void bolt_stats(const struct bolt *db, struct bolt_stats *out);

/* ---- copies -------------------------------------------------------------------------------- */

/* Copies bytes [offset, offset + len) of a standalone database file holding exactly this read
 * transaction's state, which is bolt_tx_size() long: the pages as they are, behind two fresh meta
 * pages. For streaming a snapshot in pieces of any size while writes go on. */
FALLIBLE bolt_tx_read_at(struct bolt_tx *tx, uint64_t offset, void *out, size_t len,
                         struct errbuf *why);
/* Writes that file to `path` (which must not exist) and syncs it, not its directory. */
FALLIBLE bolt_tx_write_file(struct bolt_tx *tx, const char *path, struct errbuf *why);

/* ---- check --------------------------------------------------------------------------------- */

/* Walks everything reachable in a read transaction and reports the first thing wrong: every page
 * below the high-water mark reachable exactly once or free (in a file that keeps no freelist, what
 * is not reachable is free), page ids and kinds, keys in order and within what their branch says,
 * element bounds, buckets well formed. ERR_CORRUPT with a sentence naming file and page. */
FALLIBLE bolt_check(struct bolt_tx *tx, struct errbuf *why);

#endif
