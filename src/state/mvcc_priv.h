/* Inside the store: mvcc.c (life, transactions, reads), mvcc_compact.c, mvcc_hash.c. */
#ifndef STATE_MVCC_PRIV_H
#define STATE_MVCC_PRIV_H

#include "base/coll.h"
#include "base/mem.h"
#include "codec/pbwire.h"
#include "state/mvcc.h"

#define SCHEDULED_COMPACT SLICE("scheduledCompactRev")
#define FINISHED_COMPACT SLICE("finishedCompactRev")

/* Invariants:
 *   1. Every row of bucket `key` is a revision in the index and the other way round.
 *   2. compact >= target >= finished, but for target -1 when no rows are being removed.
 *   3. compact <= revision. */
struct mvcc {
    struct mvcc_options options;
    struct backend *backend;
    struct keyindex *index;
    int64_t revision; /* of the last transaction that ended */
    int64_t compact;  /* -1: nothing was ever compacted */

    bool is_writing;
    bool is_suspended;           /* writing, and nobody is to see it */
    struct mvcc_change *changes; /* of the current or last transaction */
    size_t change_count;
    size_t change_cap;
    struct mvcc_change *stale; /* of a large one before: let go of in slices */
    size_t stale_count;
    size_t stale_cap;

    struct list reads; /* struct mvcc_read */
    uint64_t read_count;
    uint64_t hash_count; /* hashes under way */

    int64_t target;       /* the compaction whose rows are being removed; -1: none */
    int64_t finished;     /* the last whose rows are gone; -1: none */
    struct revision next; /* where the removal goes on */
    uint32_t batch_rows;  /* looked at since the last sleep */

    struct mvcc_stats stats;
};

/* The row parts that must be there, or the sentence and the end. */
/* A row without bytes only carries a revision: a restore that bumps the store's revision writes it
 * (etcdutl --bump-revision). It stands for no key, and compaction leaves it. */
static inline bool mvcc__is_bump(struct slice raw, bool is_tombstone)
{
    return raw.len == 0 && !is_tombstone;
}
void mvcc__parse(const struct mvcc *store, struct revision rev, struct slice raw,
                 struct mvcc_row *out);
/* After mvcc_open() has read the two markers. */
void mvcc__compact_resume(struct mvcc *store, int64_t scheduled);

#endif
