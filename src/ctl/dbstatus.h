/* What a database file holds, as `snapshot status` tells it.
 *
 * Threads: any; blocks. */
#ifndef CTL_DBSTATUS_H
#define CTL_DBSTATUS_H

#include "env/env.h"

struct dbstatus {
    uint32_t hash;      /* CRC-32C over every bucket: its name, then its keys and values */
    int64_t revision;   /* the main revision of the last row of bucket `key`; 0: none */
    int64_t total_key;  /* rows of all buckets */
    int64_t total_size; /* bytes up to the high-water mark */
    char version[32];   /* the row meta/storageVersion; "" when there is none */
};

/* Walks the whole file, and checks it first.
 *
 * ERR_NOT_FOUND  no such file, in Go's words
 * ERR_CORRUPT    not a database, or damaged
 * ERR_LOCKED     a server has it open */
FALLIBLE dbstatus_read(struct disk *disk, const char *path, struct dbstatus *out,
                       struct errbuf *why);

#endif
