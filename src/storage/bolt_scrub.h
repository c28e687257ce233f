/* bolt_scrub: reads a whole state again, in small steps, to find rot before somebody needs the
 * page.
 *
 * Every page that the state reaches is looked at: its checksum, where it has one, that its elements
 * lie inside of it, and that its keys ascend. What it costs is up to whoever makes the steps.
 *
 * It reads what the system gives: a page that is in memory is not fetched from the disk for it.
 *
 * Ownership: the transaction stays the caller's and must outlive it. Use it for nothing else.
 * Threads:   as the transaction. */
#ifndef STORAGE_BOLT_SCRUB_H
#define STORAGE_BOLT_SCRUB_H

#include "storage/bolt.h"

struct bolt_scrub;

struct bolt_scrub *bolt_scrub_new(struct bolt_tx *tx);
void bolt_scrub_free(struct bolt_scrub **scrub); /* NULLs; safe on NULL */

/* Looks at about `pages` more pages. *is_done_out: that was all. ERR_CORRUPT, ERR_IO: a sentence
 * that names file and page; it is over then. */
FALLIBLE bolt_scrub_step(struct bolt_scrub *scrub, uint64_t pages, bool *is_done_out,
                         struct errbuf *why);

struct bolt_scrub_stats {
    uint64_t pages;    /* looked at, overflow pages included */
    uint64_t unsealed; /* of those, without a checksum: written by others */
};
void bolt_scrub_stats(const struct bolt_scrub *scrub, struct bolt_scrub_stats *out);

#endif
