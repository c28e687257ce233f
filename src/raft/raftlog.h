/* The log: entries above the last compaction, in memory, with three watermarks that only ever
 * chase each other.
 *
 *      base          applied   applying   committed                 last
 *   ─────┼──────────────┼─────────┼───────────┼───────────────────────┤
 *    gone│              │         │handed out │                       │
 *        │                   unstable: not known to be on disk ┌──────┤
 *        │                                                     │ in_progress: not yet handed out
 *                                                        ┌─────┴──────┤
 *                                                      offset
 *
 * It is etcd's MemoryStorage and its unstable tail in one: the entries are the same either way,
 * only `offset` tells how much of them is durable.
 *
 * Storage is a row of fixed segments addressed by index, so appending never moves an entry,
 * compacting drops whole segments, and an entry is found in O(1).
 *
 * Invariants:
 *   1. base <= applied <= applying <= committed <= last, except that while a received snapshot
 *      is pending (base = its index) applied and applying may lie below base
 *   2. base < offset <= in_progress <= last + 1
 *   3. terms never decrease along the log
 *
 * Ownership: one reference per stored entry on its payload. Threads: loop thread only. */
#ifndef RAFT_RAFTLOG_H
#define RAFT_RAFTLOG_H

#include "raft/trace.h"
#include "raft/types.h"

#define RAFTLOG_SEGMENT_BITS 10
#define RAFTLOG_SEGMENT_LEN (1u << RAFTLOG_SEGMENT_BITS)

struct raftlog_segment {
    struct raft_entry entries[RAFTLOG_SEGMENT_LEN];
};

struct raftlog {
    struct raftlog_segment **segments; /* of indices first_segment << BITS and on */
    size_t segment_count;
    size_t segment_cap;
    uint64_t first_segment;
    struct raftlog_segment *spare; /* the last one dropped, kept for the next append */

    raft_index base; /* entries up to here are compacted */
    raft_term base_term;
    raft_index last;

    raft_index committed;
    raft_index applying; /* handed out to be applied */
    raft_index applied;

    raft_index offset;      /* first index not known to be durable */
    raft_index in_progress; /* first index not handed out to be persisted */

    struct raft_snapshot *saved;   /* newest one known to be durable; NULL: none */
    struct raft_snapshot *pending; /* received, not yet persisted; NULL: none */
    bool is_pending_in_progress;   /* and handed out */

    uint64_t applying_bytes; /* encoded size of (applied, applying] */
    uint64_t applying_bytes_max;
    bool is_applying_paused;

    struct raft_trace trace;
};

/* An empty log that ends at (base, base_term). */
void raftlog_init(struct raftlog *log, raft_index base, raft_term base_term,
                  uint64_t applying_bytes_max, struct raft_trace trace);
void raftlog_fini(struct raftlog *log);

/* The entry at base < index <= last; borrowed until the log changes. */
const struct raft_entry *raftlog_at(const struct raftlog *log, raft_index index);

/* ERR_COMPACTED below base, ERR_FUTURE above last. */
FALLIBLE raftlog_term(const struct raftlog *log, raft_index index, raft_term *out);
/* 0 where there is none. */
raft_term raftlog_term_or_zero(const struct raftlog *log, raft_index index);
raft_term raftlog_last_term(const struct raftlog *log);
bool raftlog_matches(const struct raftlog *log, raft_index index, raft_term term);
/* Is a log that ends at (index, term) at least as complete as ours? Raft §5.4.1. */
bool raftlog_is_up_to_date(const struct raftlog *log, raft_index index, raft_term term);

/* Puts one entry behind the last. Takes a reference on its payload. */
void raftlog_push(struct raftlog *log, raft_term term, enum raft_entry_type type,
                  struct raft_payload *payload);

/* A leader's entries, which follow `prev`: the ones that are new or differ replace what is there
 * from the first difference on; then commits up to `commit` as far as the entries prove it.
 *
 * ERR_FUTURE   the log does not hold (prev, prev_term): nothing changed
 * ERR_CORRUPT  they contradict a committed entry, which no leader does: nothing changed */
FALLIBLE raftlog_append(struct raftlog *log, raft_index prev, raft_term prev_term,
                        const struct raft_entry *entries, size_t count, raft_index commit);

/* The largest index <= `index` whose term here is <= `term`, and that term; a compacted index
 * or one above the log ends the search with term 0. */
raft_index raftlog_conflict_by_term(const struct raftlog *log, raft_index index, raft_term term,
                                    raft_term *out_term);

/* `index` must not be above last. */
void raftlog_commit_to(struct raftlog *log, raft_index index);
/* A quorum holds (index, term), and term is the leader's own: Raft §5.4.2. */
bool raftlog_maybe_commit(struct raftlog *log, raft_index index, raft_term term);

/* How many of the entries [lo, hi) fit in `bytes_max` of encoding; one always does. */
size_t raftlog_fit(const struct raftlog *log, raft_index lo, raft_index hi, uint64_t bytes_max);
/* Copies `count` entries from `lo` on, taking a reference on each payload. */
void raftlog_copy(const struct raftlog *log, raft_index lo, size_t count, struct raft_entry *out);
/* The size of the entry's raftpb encoding. */
uint64_t raftlog_entry_bytes(const struct raft_entry *entry);

/* --- persisting --- */

bool raftlog_has_unstable(const struct raftlog *log);      /* in progress or not */
bool raftlog_has_next_unstable(const struct raftlog *log); /* not handed out yet */
void raftlog_accept_unstable(struct raftlog *log);         /* everything is handed out now */
/* The entry (index, term) and all before it are durable, if they are still what they were. */
void raftlog_stable_to(struct raftlog *log, raft_index index, raft_term term);

/* --- applying --- */

/* Entries to hand out: [*lo, *hi) before the size limit. With `allow_unstable` also those that
 * are not durable here. False when there are none or apply has enough to do. */
bool raftlog_next_committed(const struct raftlog *log, bool allow_unstable, raft_index *lo,
                            raft_index *hi);
void raftlog_accept_applying(struct raftlog *log, raft_index index, uint64_t bytes,
                             bool allow_unstable);
/* `index` must lie in [applied, committed]. Gives the payload bytes that this applied. */
uint64_t raftlog_applied_to(struct raftlog *log, raft_index index);
/* A conf change waits in (applied, committed]. */
bool raftlog_has_unapplied_conf_change(const struct raftlog *log);

/* --- snapshots and compaction --- */

/* Starts over from a received snapshot, which must be above committed. Takes a reference. */
void raftlog_restore(struct raftlog *log, struct raft_snapshot *snapshot);
/* The received snapshot at `index` is durable and installed. */
void raftlog_stable_snapshot(struct raftlog *log, raft_index index);
/* Newest snapshot, pending or saved; NULL: none. Borrowed. */
struct raft_snapshot *raftlog_snapshot(const struct raftlog *log);
/* Forgets entries up to `index`, which must lie in [base, applied]. */
void raftlog_compact(struct raftlog *log, raft_index index);

void raftlog_check(const struct raftlog *log);

#endif
