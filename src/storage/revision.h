/* Revisions: what names a row of the `key` bucket.
 *
 *   offset  size  row of the `key` bucket
 *   0       8     main revision, big-endian: one per write transaction
 *   8       1     '_'
 *   9       8     sub revision, big-endian: counts the changes of that transaction from 0
 *   17      1     't', only in a tombstone
 *
 * (docs/formats/db.md.) Byte order of the keys is the order of revisions. */
#ifndef STORAGE_REVISION_H
#define STORAGE_REVISION_H

#include "base/bytes.h"

#define REVISION_LEN 17
#define TOMBSTONE_LEN 18

/* No store gets near it, and a file that tells of more is damaged: counting on would overflow. */
#define REVISION_MAIN_MAX (INT64_MAX - ((int64_t)1 << 32))

struct revision {
    int64_t main;
    uint32_t sub; /* below 2^32: a request's size bounds the changes of a transaction */
};

/* <0, 0, >0. */
static inline int revision_cmp(struct revision a, struct revision b)
{
    if (a.main != b.main) {
        return a.main < b.main ? -1 : 1;
    }
    return (a.sub > b.sub) - (a.sub < b.sub);
}

/* Writes REVISION_LEN bytes, or TOMBSTONE_LEN, and returns them as a slice of `out`. */
static inline struct slice revision_encode(struct revision rev, bool is_tombstone,
                                           uint8_t out[TOMBSTONE_LEN])
{
    put_be64(out, (uint64_t)rev.main);
    out[8] = '_';
    put_be64(out + 9, rev.sub);
    out[17] = 't';
    return slice_of(out, is_tombstone ? TOMBSTONE_LEN : REVISION_LEN);
}

/* ERR_CORRUPT when `key` is no such key, or one with a number out of range. */
static inline FALLIBLE revision_decode(struct slice key, struct revision *out, bool *tombstone_out)
{
    if (key.len != REVISION_LEN && key.len != TOMBSTONE_LEN) {
        return ERR_CORRUPT;
    }
    uint64_t major = get_be64(key.data);
    uint64_t minor = get_be64(key.data + 9);
    if (key.data[8] != '_' || major > INT64_MAX || minor > UINT32_MAX) {
        return ERR_CORRUPT;
    }
    if (key.len == TOMBSTONE_LEN && key.data[17] != 't') {
        return ERR_CORRUPT;
    }
    *out = (struct revision){.main = (int64_t)major, .sub = (uint32_t)minor};
    *tombstone_out = key.len == TOMBSTONE_LEN;
    return ERR_OK;
}

#endif
