/* When the next sync begins: at once, or a moment later with more in it.
 *
 * Clients that wait for their answers come back together. Those whose entries one sync has carried
 * ask again just after it, and find the disk busy with the entries of the others, which have
 * waited meanwhile: two groups form, each waits for the other's sync, and every sync carries half
 * of what it could. So a sync may wait for as many entries as there are clients by that reckoning:
 * those just written, and those that queue.
 *
 * It does so only as long as that pays: how long it takes until those who have been answered are
 * back is measured behind every sync, whether anything waits for them or not, and they are waited
 * for if that is usually well below the length of a sync. So nothing waits where requests do not
 * come in answer to answers, or come too slowly; and one client alone never does, being all that is
 * expected.
 *
 * Threads: its owner's. Nothing can fail. */
#ifndef STORAGE_WAL_GATHER_H
#define STORAGE_WAL_GATHER_H

#include "env/env.h"

struct gather {
    uint64_t sync_ns;   /* of a sync, smoothed; 0: none so far */
    uint64_t return_ns; /* about the median: from a sync's end until most of its clients are back */
    mono_ns synced_at;  /* when the last one ended */
    size_t awaited;     /* entries that have not come back since */
    size_t expected;    /* entries: with so many the next need not wait */
    mono_ns until;      /* nor longer than this; 0: it begins at once */
};

void gather_init(struct gather *gather);
/* A sync of `count` entries has ended; `queued` more are there. */
void gather_synced(struct gather *gather, mono_ns now, uint64_t sync_ns, size_t count,
                   size_t queued);
/* So many entries have come. */
void gather_arrived(struct gather *gather, mono_ns now, size_t count);
/* Until when to wait for others with `queued` entries; 0: begin. */
mono_ns gather_wait(const struct gather *gather, mono_ns now, size_t queued);

#endif
