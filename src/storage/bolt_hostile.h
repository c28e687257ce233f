/* For fuzz targets that are given a database file: getting past its checksums, and changing what is
 * in it without a model, because nobody knows what that is. */
#ifndef STORAGE_BOLT_HOSTILE_H
#define STORAGE_BOLT_HOSTILE_H

#include "storage/bolt.h"

/* Mends magic, version, page size and checksum of both meta pages, as far as they are there. */
void bolt_hostile_mend(struct buf *file, uint32_t page_size);
/* Some changes in the first bucket there is, or in a new one; what fails, fails. */
void bolt_hostile_change(struct bolt_tx *tx, uint64_t seed);

#endif
