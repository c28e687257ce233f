/* gzip (RFC 1952) of byte strings. The door to zlib.
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

/* The same of a string that comes in pieces: appends to `out` what is made of each. A writer takes
 * some 260 KB while it lives. */
struct gzip_writer;
struct gzip_writer *gzip_writer_new(void);
void gzip_writer_add(struct gzip_writer *writer, struct slice piece, struct buf *out);
/* Appends the end. */
void gzip_writer_finish(struct gzip_writer *writer, struct buf *out);
void gzip_writer_free(struct gzip_writer **writer); /* finished or not; safe on NULL */

#endif
