/* Write-ahead log: the record of everything raft must not forget.
 *
 * A wal is a directory of segment files, each a run of checksummed records (docs/formats/wal.md),
 * byte for byte etcd's. What one wal_append() holds becomes durable together with everything
 * appended before it: one write and one fdatasync. While a sync is in flight the next appends
 * gather and share the following one, which may wait a fraction of a sync for those who are about
 * to come back (wal_gather.h).
 *
 * It is not a log store to read from while running: it is read once, at start. It does not know
 * snapshot files (snap.h); it holds the records that say which of them count.
 *
 * Reading, creating and repairing are synchronous and need no loop. Appending runs on the wal's
 * own serial executor, which encodes, checksums, writes and syncs; new segments are preallocated
 * on the pool.
 *
 * Ownership: wal_append() borrows the write and everything it points to until done().
 * Threads:   loop thread; the functions that take a `struct disk` may run anywhere.
 * Failure:   a failed write or sync is fatal, because the kernel may have dropped the pages it
 *            could not write and a retry would falsely succeed. A torn tail is cut as etcd cuts
 *            it; any other damage is ERR_CORRUPT with a sentence naming file and offset. A full
 *            disk is met before anything is written and told in advance (wal_space_fn); fatal
 *            only when it leaves no room for what raft has already handed out. */
#ifndef STORAGE_WAL_H
#define STORAGE_WAL_H

#include "env/env.h"
#include "raft/types.h"

/* A segment is cut when a save leaves it at or beyond this size. */
#define WAL_SEGMENT_BYTES ((uint64_t)64 * 1000 * 1000)

/* A snapshot the log may be read from; {0, 0} is the beginning. */
struct wal_position {
    raft_index index;
    raft_term term;
};

/* ---- creating and reading --------------------------------------------------------------- */

/* Is there a log (any .wal file) in `dir`? A folder that is not there has none; one that cannot be
 * read is an error: nobody may found a new log in it. */
FALLIBLE wal_exists(struct disk *disk, const char *dir, bool *out, struct errbuf *why);

/* Makes a log holding only `metadata` (etcdserverpb.Metadata bytes) and the snapshot {0, 0}. It
 * appears under its name whole and durable, or not at all: it is made in "<dir>.tmp" and renamed.
 * Where `dir` is there already and not empty (a mount point with lost+found), the first segment
 * is made under a temporary name inside it instead. segment_bytes 0: WAL_SEGMENT_BYTES.
 *
 * ERR_EXISTS   there is a log in `dir`
 * ERR_IO, ERR_NOSPACE, ERR_PERM */
FALLIBLE wal_create(struct disk *disk, const char *dir, struct slice metadata,
                    uint64_t segment_bytes, struct errbuf *why);

/* What a log holds beyond a snapshot. */
struct wal_contents {
    struct buf metadata; /* empty only when no segment had one */
    bool has_hard_state;
    struct raft_hard_state hard_state; /* the last one */
    struct raft_entry *entries;        /* contiguous from snapshot index + 1; one reference each */
    size_t entry_count;
    char *repaired; /* the copy of the torn segment as it was found; NULL: nothing was cut */
};
void wal_contents_fini(struct wal_contents *contents); /* zeroes; safe on a zeroed struct */

/* Reads the log from snapshot `start` without locking or changing anything; a torn tail ends it
 * quietly. For tools. Errors as wal_open(). */
FALLIBLE wal_read(struct disk *disk, const char *dir, struct wal_position start,
                  struct wal_contents *out, struct errbuf *why);

/* Every snapshot record that counts: index at most the last hard state's commit, oldest first. The
 * newest of them that is also a loadable .snap file is where to start. *out is mem_free()d. */
FALLIBLE wal_snapshots(struct disk *disk, const char *dir, struct wal_position **out,
                       size_t *count_out, struct errbuf *why);

/* Checks everything that wal_read() checks and keeps no entries; gives the last hard state. */
FALLIBLE wal_verify(struct disk *disk, const char *dir, struct wal_position start,
                    struct raft_hard_state *out, struct errbuf *why);

/* One record as it stands in the files, in order, all of them (behind a hole in the numbers of the
 * files, if a crash has left one). For dump tools. `data` dies with the call. */
typedef void wal_record_fn(int64_t type, uint32_t crc, struct slice data, void *ctx);
FALLIBLE wal_dump(struct disk *disk, const char *dir, wal_record_fn *each, void *ctx,
                  struct errbuf *why);

/* Removes the oldest segments that nobody holds a lock on, as long as more than `keep` are there.
 * Blocks: call it from a job. */
FALLIBLE wal_purge(struct disk *disk, const char *dir, size_t keep, size_t *removed_out,
                   struct errbuf *why);

/* ---- appending -------------------------------------------------------------------------- */

struct wal;

/* How long a sync took and how many bytes it made durable; on the loop thread, before the done()s
 * it stands for. For metrics and the "slow fdatasync" warning. */
typedef void wal_synced_fn(uint64_t sync_ns, uint64_t bytes, void *ctx);

/* How much room there is for more, in the order of trouble. */
enum wal_space {
    WAL_SPACE_OK,
    WAL_SPACE_LOW, /* no room on the disk for the next segment: half of one is left at the least,
                      when this is first told. Take nothing large any more */
    WAL_SPACE_OUT, /* an eighth of a segment is left, kept for elections and alarms */
};
/* It has changed; on the loop thread. While it is not OK, call wal_retry() now and then. */
typedef void wal_space_fn(enum wal_space space, void *ctx);

struct wal_config {
    struct env *env;   /* disk, executors and clock; env->pool may be NULL */
    struct loop *loop; /* where a sync may wait for company; NULL: it always begins at once */
    const char *dir;
    uint64_t segment_bytes;      /* 0: WAL_SEGMENT_BYTES */
    bool unsafe_no_fsync;        /* acknowledge without a sync; loses data on power failure */
    wal_synced_fn *synced;       /* may be NULL */
    wal_space_fn *space_changed; /* may be NULL */
    void *ctx;                   /* of both */
};

/* Opens the log for appending: reads it from snapshot `start`, takes etcd's lock on every segment
 * from there on, cuts a torn tail (once, keeping a copy in "<segment>.broken") and positions the
 * log after the last whole record.
 *
 * ERR_NOT_FOUND   no log, or no record of the snapshot `start`
 * ERR_LOCKED      another process has it open
 * ERR_CORRUPT     damage other than a torn tail; a gap; metadata that differ; a snapshot record
 *                 of another term; segments missing
 * ERR_IO, ERR_PERM */
FALLIBLE wal_open(const struct wal_config *config, struct wal_position start, struct wal **out,
                  struct wal_contents *contents_out, struct errbuf *why);

/* Closes and frees; NULLs; safe on NULL. No append may be in flight. Writes a deferred hard
 * state and syncs. Not from inside a done(). */
void wal_close(struct wal **wal);

struct wal_snapshot {
    raft_index index;
    raft_term term;
    struct raft_conf_state conf_state;
};

/* One save: embed it in what waits for it. From wal_append() until done() it belongs to the wal.
 * The parts are written in the order of the fields. */
struct wal_write;
typedef void wal_done_fn(struct wal_write *write);
struct wal_write {
    struct list link; /* the wal's */
    /* Record of a snapshot file that is durable already; NULL: none. Always synced. */
    const struct wal_snapshot *snapshot;
    const struct raft_entry *entries; /* may be NULL when entry_count is 0 */
    size_t entry_count;
    bool has_hard_state; /* one that is all zero is not written */
    struct raft_hard_state hard_state;
    bool must_sync;    /* as raft says: entries, or a new term or vote */
    wal_done_fn *done; /* durable, if must_sync; else at least written. On the loop thread, in the
                          order of the appends, never from inside wal_append() */
};

void wal_append(struct wal *wal, struct wal_write *write);

/* Remembers a hard state in which only the commit moved. It leaves with the next append (unless
 * that brings a newer one), or at close: it needs no sync, so it need not wake anybody. */
void wal_defer_state(struct wal *wal, const struct raft_hard_state *state);

/* Looks whether there is room for the next segment now; the answer comes through wal_space_fn. Does
 * nothing while space is not short, or a try is under way. */
void wal_retry(struct wal *wal);

/* A snapshot at `index` is durable: segments that only hold older entries need not be kept, so
 * their locks go and wal_purge() may take them. Keeps the last segment that begins below `index`,
 * as etcd does. */
void wal_release_to(struct wal *wal, raft_index index);

/* ---- observers -------------------------------------------------------------------------- */

struct wal_stats {
    uint64_t syncs;
    uint64_t bytes;   /* written, framing included */
    uint64_t appends; /* done */
    uint64_t gathers; /* syncs that have waited for company */
    uint64_t cuts;
    uint64_t cuts_unprepared; /* the next segment was not preallocated in time */
};
void wal_stats(const struct wal *wal, struct wal_stats *out);
size_t wal_segment_count(const struct wal *wal); /* locked ones */
bool wal_is_idle(const struct wal *wal);         /* nothing in flight */

/* ASSERTs what must hold. */
void wal_check(const struct wal *wal);

#endif
