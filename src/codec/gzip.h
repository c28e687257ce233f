/* gzip (RFC 1952) of whole byte strings. The door to zlib.
 *
 * Threads: no shared state. */
#ifndef CODEC_GZIP_H
#define CODEC_GZIP_H

#include "base/bytes.h"

/* Appends the content of one or more gzip members to `out`.
 *
 * ERR_CORRUPT    bad header, data or checksum
 * ERR_EOF        it ends early
 * ERR_TOO_LARGE  the content has more than `limit` bytes; `out` never grew beyond that */
FALLIBLE gzip_decode(struct slice in, size_t limit, struct buf *out);

/* Appends `in` as one member. */
void gzip_encode(struct slice in, struct buf *out);

#endif
