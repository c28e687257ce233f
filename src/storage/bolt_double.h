/* A disk of one file in memory, which fails and loses on demand: a double for bolt's tests.
 *
 * It cannot map, so every page is read into memory of its own, exactly sized: a sanitizer sees a
 * read past a page's end.
 *
 * Ownership: the file handle is part of the disk; closing it does nothing. */
#ifndef STORAGE_BOLT_DOUBLE_H
#define STORAGE_BOLT_DOUBLE_H

#include "env/env.h"

struct model_random;

/* What was written since the last sync may or may not survive a crash, each sector on its own. */
struct double_write {
    uint64_t offset;
    uint64_t len;
};
struct bolt_double {
    struct disk disk;
    struct file file;
    char path[8];
    struct buf live;    /* what reads see */
    struct buf durable; /* what a sync has promised */
    struct double_write *pending;
    size_t pending_count;
    size_t pending_cap;
    uint64_t calls;   /* that change something, so far */
    uint64_t fail_at; /* this call fails, and is half done */
    bool is_dead;     /* after that one, all fail: a crash; else only that one */
    enum err failure;
};

/* Empty. fail_at UINT64_MAX: nothing fails. */
struct bolt_double *bolt_double_new(uint64_t fail_at, bool is_dead, enum err failure);
void bolt_double_free(struct bolt_double **d); /* NULLs; safe on NULL */

/* What the disk holds after a power cut: of the writes since the last sync each sector is there or
 * not, by chance; all or none of the growth too. */
struct bolt_double *bolt_double_crash(const struct bolt_double *d, struct model_random *random);

#endif
