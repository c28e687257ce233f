/* A file in memory, given as bytes: for tests of damage and fuzz targets, which need to set every
 * byte of it. (For crashes and failing calls there is env/sim.h.)
 *
 * It cannot map, so every page is read into memory of its own, exactly sized: a sanitizer sees a
 * read past a page's end.
 *
 * Ownership: the file handle is part of the disk; closing it does nothing. */
#ifndef STORAGE_BOLT_DOUBLE_H
#define STORAGE_BOLT_DOUBLE_H

#include "env/env.h"

struct bolt_double {
    struct disk disk;
    struct file file;
    char path[8];
    struct buf live; /* the file */
};

struct bolt_double *bolt_double_new(void);
void bolt_double_free(struct bolt_double **d); /* NULLs; safe on NULL */

#endif
