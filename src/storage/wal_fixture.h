/* What the wal's tests share: a world, a log in it, and a writer that waits. */
#ifndef STORAGE_WAL_FIXTURE_H
#define STORAGE_WAL_FIXTURE_H

#include "base/mem.h"
#include "env/loop.h"
#include "env/posix.h"
#include "storage/wal.h"
#include "unit.h"

#define WAL_SMALL ((uint64_t)64 * 1024) /* bytes of a segment */

#define WAL_ORIGIN ((struct wal_position){0})

struct wal_world {
    struct env *env;
    struct loop *loop;
    char *dir;
    struct wal *wal;
    size_t done_count;
};

struct wal_pending {
    struct wal_write write;
    struct wal_world *world;
    struct raft_entry *entries;
    size_t order; /* in which it was done; from 1 */
};

/* A real disk, a loop and a directory of this test's own. */
struct wal_world wal_world_new(void);
void wal_world_fini(struct wal_world *w);
/* The rest fails the test when it does not work. */
void wal_world_create(struct wal_world *w, uint64_t segment_bytes);
/* Opens; failing is a result. */
enum err wal_world_try_open(struct wal_world *w, uint64_t segment_bytes, struct wal_position start,
                            struct wal_contents *contents, struct errbuf *why);
void wal_world_open(struct wal_world *w, uint64_t segment_bytes, struct wal_position start,
                    struct wal_contents *contents);
void wal_world_open_new(struct wal_world *w, uint64_t segment_bytes);
void wal_pending_done(struct wal_write *write);
/* Entries [first, first + count) of `term`, whose data say their index and fill `len` bytes;
 * commits the last one. */
void wal_world_submit(struct wal_world *w, struct wal_pending *p, raft_index first, size_t count,
                      raft_term term, size_t len);
/* Until it is done; frees the entries. */
void wal_world_wait(struct wal_world *w, struct wal_pending *p);
/* Both. */
void wal_world_append(struct wal_world *w, raft_index first, size_t count, raft_term term,
                      size_t len);
void wal_world_save_snapshot(struct wal_world *w, raft_index index, raft_term term);
/* Exactly these came back, each with its data. */
void wal_check_entries(const struct wal_contents *contents, raft_index first, size_t count);
/* Closes and opens again. */
void wal_world_reopen(struct wal_world *w, uint64_t segment_bytes, struct wal_position start,
                      struct wal_contents *contents);
/* mem_free() it. */
char *wal_world_first_segment(struct wal_world *w);
struct buf wal_world_read_file(struct wal_world *w, const char *path);
void wal_world_write_file(struct wal_world *w, const char *path, struct slice bytes);

#endif
