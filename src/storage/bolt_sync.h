/* bolt_sync: brings another database file up to a state of this one, row by row, in steps.
 *
 * It writes into `target` what differs between two states of one file: `from`, which the target
 * is known to hold, and `to`, which it will hold. From nothing to a state is a copy, and a copy
 * has neither holes nor half-empty pages, so that is what a defragmentation is made of; from one
 * state to a later one is how the copy catches up with what was written meanwhile. Pages that both
 * states share are skipped without being read, so catching up costs what was changed.
 *
 * It is not a copy of the file as it is (bolt_tx_write_file): pages get other numbers.
 *
 * Ownership: both transactions stay the caller's and must outlive it; the target is used between
 *            no other write transactions.
 * Threads:   as a write transaction of the target.
 * Failure:   what is damaged in the source, and what the target's disk refuses, ends the work; the
 *            target then holds something between the two states and is of no use. */
#ifndef STORAGE_BOLT_SYNC_H
#define STORAGE_BOLT_SYNC_H

#include "storage/bolt.h"

struct bolt_sync;

/* `from` may be NULL: the target is a new file. Both are read transactions of one file, `from` not
 * begun after `to`. `fill`: how full pages are made, in percent. */
struct bolt_sync *bolt_sync_new(struct bolt_tx *from, struct bolt_tx *to, unsigned fill);
/* NULLs; safe on NULL. */
void bolt_sync_free(struct bolt_sync **sync);

/* Goes on for about `budget` bytes of rows, 16 for each looked at, and commits what differs in one
 * transaction, or in none. *is_done_out: the target holds `to`. After an error only free it.
 *
 * ERR_CORRUPT               the source is damaged
 * ERR_IO, ERR_NOSPACE, ...  from the target's disk */
FALLIBLE bolt_sync_step(struct bolt_sync *sync, struct bolt *target, uint64_t budget,
                        bool *is_done_out, struct errbuf *why);

/* The whole of it for a file that nobody uses: rewrites the database at `path` without holes, in
 * place of itself, crash-safe. *size_before_out, *size_after_out: bytes up to the high-water marks;
 * may be NULL. On failure the file is as it was. ERR_NOT_FOUND: there is none; ERR_LOCKED; others
 * as above. */
FALLIBLE bolt_sync_defrag(struct disk *disk, const char *path, uint64_t *size_before_out,
                          uint64_t *size_after_out, struct errbuf *why);

/* Bytes of keys and values written and removed so far. */
uint64_t bolt_sync_bytes(const struct bolt_sync *sync);

#endif
