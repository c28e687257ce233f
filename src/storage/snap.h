/* Snapshot files: the raft state machine at one index, one file each.
 *
 * A file is named <term>-<index>.snap (16 hex digits each) and holds a checksummed raftpb.Snapshot
 * (docs/formats/snap.md), byte for byte etcd's. Which of them count is the log's to say: a file
 * without a record in the WAL is an orphan (wal_snapshots()). "<index>.snap.db" beside them are
 * whole databases received from a leader.
 *
 * Everything is synchronous; large files belong into a job.
 *
 * Threads: any; the functions hold no state. */
#ifndef STORAGE_SNAP_H
#define STORAGE_SNAP_H

#include "base/mem.h"
#include "env/env.h"
#include "raft/types.h"
#include "storage/wal.h"

/* The v2 store in JSON is all a .snap holds; the keys live in the database. */
#define SNAP_BYTES_MAX ((size_t)512 << 20)

struct snap {
    raft_index index;
    raft_term term;
    struct raft_conf_state conf_state;
    struct slice data; /* after a load: inside `file` */
    struct buf file;   /* owns what a load read; empty for a save */
};
void snap_fini(struct snap *snap); /* zeroes; safe on a zeroed struct */

/* Writes and syncs the file, then its directory. It has its name only when it is whole.
 *
 * ERR_INVALID   index 0
 * ERR_IO, ERR_NOSPACE */
FALLIBLE snap_save(struct disk *disk, const char *dir, const struct snap *snap, struct errbuf *why);

/* The newest file that can be read. Unreadable ones on the way are renamed to "<name>.broken", as
 * etcd does, and counted in *broken_out (may be NULL).
 *
 * ERR_NOT_FOUND   none, or no directory */
FALLIBLE snap_load_newest(struct disk *disk, const char *dir, struct snap *out, size_t *broken_out,
                          struct errbuf *why);

/* The same among those that stand in `list`, which is wal_snapshots()'s. */
FALLIBLE snap_load_matching(struct disk *disk, const char *dir, const struct wal_position *list,
                            size_t count, struct snap *out, size_t *broken_out, struct errbuf *why);

/* One file by its path. ERR_CORRUPT with a sentence naming it. */
FALLIBLE snap_read(struct disk *disk, const char *path, struct snap *out, struct errbuf *why);

/* "<16 hex term>-<16 hex index>.snap" and "<16 hex index>.snap.db", in an arena. */
const char *snap_name(struct arena *arena, raft_term term, raft_index index);
const char *snap_db_name(struct arena *arena, raft_index index);

/* Removes the oldest .snap files beyond `keep`, and the .snap.db files beyond `keep`. */
FALLIBLE snap_purge(struct disk *disk, const char *dir, size_t keep, size_t *removed_out,
                    struct errbuf *why);

/* At start: removes .snap files newer than the newest snapshot that the log knows (a crash came
 * between file and record), .snap.db files below `index` (applied long ago; the one at `index` may
 * still have to become the database), and what unfinished work left behind: tmp*, db.tmp*. */
FALLIBLE snap_clean(struct disk *disk, const char *dir, raft_index index, size_t *removed_out,
                    struct errbuf *why);

#endif
