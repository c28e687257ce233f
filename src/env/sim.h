/* Simulated worlds: a clock that the test turns, a seeded random source, executors without threads
 * and disks in memory that lose what was not synced. The same seed and the same calls give the same
 * outcome, bit for bit.
 *
 * It lives on floor 1, beside posix, so that unit tests of every floor can use it; whole clusters
 * are put together in sim/ on top of it. There are no sockets here: env.net is NULL.
 *
 * A crash test in short (see sim_disk_test.c):
 *
 *     struct disk *disk = sim_disk_new();
 *     workload(disk);                                  // once, to learn how many operations
 *     uint64_t total = sim_disk_op_count(disk);
 *     for (uint64_t n = 1; n <= total; n++) {
 *         struct disk *victim = sim_disk_new();
 *         sim_disk_crash_at(victim, n);
 *         workload(victim);                            // from operation n on everything fails
 *         sim_disk_crash(victim, SIM_CRASH_REORDER, n);
 *         recover_and_check(victim);
 *     }
 *
 * or, running the workload once, sim_disk_on_op() with a callback that clones the disk, crashes the
 * clone and recovers from that.
 *
 * Threads: one. Failure: as env.h says; misuse is an ASSERT. */
#ifndef ENV_SIM_H
#define ENV_SIM_H

#include "env/env.h"

/* ---- randomness ------------------------------------------------------------------------- */

/* xoshiro256**, seeded through splitmix64. */
struct sim_rng {
    uint64_t state[4];
};
void sim_rng_init(struct sim_rng *rng, uint64_t seed);
uint64_t sim_rng_u64(struct sim_rng *rng);
uint64_t sim_rng_below(struct sim_rng *rng, uint64_t limit); /* 0 … limit - 1; limit > 0 */
bool sim_rng_chance(struct sim_rng *rng, unsigned percent);

/* ---- the world --------------------------------------------------------------------------- */

/* Clocks start at 1 s (monotonic) and 2020-09-13T12:26:40Z (wall). `disk` is borrowed and may be
 * NULL. poll() never sleeps: it moves the clocks to the next job or to `until`, whichever is first;
 * waiting for ever with nothing to wait for is an ASSERT. */
struct env *sim_env_new(uint64_t seed, struct disk *disk);
void sim_env_free(struct env **env); /* executors must be closed */

void sim_env_advance(struct env *env, uint64_t ns);  /* both clocks go on */
void sim_env_jump_wall(struct env *env, int64_t ns); /* somebody sets the wall clock */
/* Jobs submitted from now on run this much later (simulated time). At first 0: they run in the
 * next poll(). Jobs of all executors run in order of (due time, submission). */
void sim_env_delay_jobs(struct env *env, uint64_t ns);

/* ---- the disk ---------------------------------------------------------------------------- */

/* Paths: "a/b" and "/a/b" are the same; "." and ".." are resolved; "/" is there from the start.
 * Mode bits of the owner are obeyed. Locks are as in Linux between handles. map() is unsupported.
 *
 * Durability. Data of a file is durable once file_sync() or file_sync_data() returns; names
 * (create, mkdir, rename, unlink, rmdir) once disk_sync_dir() of their directory does, and never by
 * syncing the file. Modes are durable at once. What happens to the rest in a crash is
 * sim_disk_crash()'s choice. A rename is atomic: both names change or neither. */
struct disk *sim_disk_new(void);
/* No file may be open. */
void sim_disk_free(struct disk **disk);
/* A disk in the same state, pending operations and counters included, without open files, faults,
 * crash point and callback. Pages are shared until written: cheap. */
struct disk *sim_disk_clone(const struct disk *disk);

enum sim_crash {
    SIM_CRASH_LOSE,    /* nothing unsynced is left */
    SIM_CRASH_KEEP,    /* everything is left: the disk was quick, or the process died long ago */
    SIM_CRASH_TEAR,    /* operations survive in order up to a random one; if that is a write, only
                          some of its first 512-byte sectors do */
    SIM_CRASH_REORDER, /* each sector holds what it held after a random number of the writes to it
                          since the sync, each file has one of its sizes since then, each name
                          operation survives or not on its own (but not without an earlier one on
                          the same name) */
    SIM_CRASH_COUNT,
};

/* Power fails and comes back: what survives is drawn from `seed`. Files still open only fail from
 * here on and are to be closed; locks are gone; a crash point is forgotten; faults stay. */
void sim_disk_crash(struct disk *disk, enum sim_crash policy, uint64_t seed);

/* Only the process dies: what is not synced can still be seen and still be lost, in a crash to
 * come. The rest as in sim_disk_crash(). */
void sim_disk_kill(struct disk *disk);

enum sim_op {
    SIM_OP_OPEN = 1 << 0,     /* any open */
    SIM_OP_READ = 1 << 1,     /* pread, size */
    SIM_OP_LOOK = 1 << 2,     /* stat, list */
    SIM_OP_CREATE = 1 << 3,   /* an open that makes the file, mkdir */
    SIM_OP_WRITE = 1 << 4,    /* pwrite */
    SIM_OP_ALLOCATE = 1 << 5, /* preallocate */
    SIM_OP_TRUNCATE = 1 << 6, /* truncate, an open that empties the file */
    SIM_OP_RENAME = 1 << 7,
    SIM_OP_UNLINK = 1 << 8, /* unlink, rmdir */
    SIM_OP_SYNC = 1 << 9,   /* sync, sync_data */
    SIM_OP_SYNC_DIR = 1 << 10,
};
/* The operations that are counted and can be crash points. */
#define SIM_OPS_CHANGING                                                                           \
    (SIM_OP_CREATE | SIM_OP_WRITE | SIM_OP_ALLOCATE | SIM_OP_TRUNCATE | SIM_OP_RENAME |            \
     SIM_OP_UNLINK | SIM_OP_SYNC | SIM_OP_SYNC_DIR)

/* Changing operations begun so far, failed ones included. */
uint64_t sim_disk_op_count(const struct disk *disk);
/* Power fails in the middle of changing operation number `number` (the first is 1; 0: never): its
 * effect, if not a sync's, is pending; it and every later call fail with ERR_IO until
 * sim_disk_crash(). */
void sim_disk_crash_at(struct disk *disk, uint64_t number);
bool sim_disk_is_down(const struct disk *disk);

/* Called before each changing operation takes effect; may clone the disk, not use it. */
typedef void sim_op_fn(enum sim_op op, const char *path, uint64_t number, void *ctx);
void sim_disk_on_op(struct disk *disk, sim_op_fn *fn, void *ctx);

/* The `nth` operation from now (1 is the next) of one of the kinds in `ops`, on a path containing
 * `part` (NULL: any), fails with `err`, and so do the `count` - 1 after it (UINT64_MAX: all). A
 * failed write has written a part; a failed sync has dropped what was pending, and the next one
 * succeeds without it, as Linux does. At most 8 at a time. */
void sim_disk_fail(struct disk *disk, unsigned ops, const char *part, uint64_t nth, uint64_t count,
                   enum err err);
void sim_disk_heal(struct disk *disk); /* forgets all faults */

/* Growing files beyond a total of `bytes` fails with ERR_NOSPACE; 0: no limit. Holes count. */
void sim_disk_set_capacity(struct disk *disk, uint64_t bytes);
uint64_t sim_disk_used(const struct disk *disk);

/* Bit rot: flips one bit at rest. False when there is no such file or bit. */
bool sim_disk_flip(struct disk *disk, const char *path, uint64_t byte, unsigned bit);

/* A digest of all that can be seen (names, modes, bytes), and of what a crash would leave at the
 * least: equal digests, equal disks. */
uint64_t sim_disk_digest(const struct disk *disk);
uint64_t sim_disk_digest_durable(const struct disk *disk);

/* The invariants of sim_disk.c. Slow. */
void sim_disk_check(const struct disk *disk);

#endif
