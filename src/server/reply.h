/* Reply messages by hand: headers, and length-delimited messages whose length is known last.
 *
 * Rows are spliced, not encoded (DESIGN, splice), so the messages around them are written here
 * field by field, in Go's field order and without zero fields.
 *
 * Threads: loop thread only. */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H

#include "base/bytes.h"

/* etcdserverpb.ResponseHeader. */
struct reply_header {
    uint64_t cluster_id;
    uint64_t member_id;
    int64_t revision;
    uint64_t raft_term;
};

/* Appends it as field `number`, present even when every field is zero. */
void reply_put_header(struct buf *out, uint32_t number, const struct reply_header *header);

/* The same into memory that the caller sized: its content's length, and the end of what is written.
 */
size_t reply_header_len(const struct reply_header *header);
uint8_t *reply_write_header(uint8_t *at, uint32_t number, const struct reply_header *header,
                            size_t len);

/* A varint field, unless the value is zero. */
void reply_put_uint(struct buf *out, uint32_t number, uint64_t value);
void reply_put_bytes(struct buf *out, uint32_t number, struct slice bytes);

/* Makes what was appended since `start` the content of length-delimited field `number`. */
void reply_wrap(struct buf *out, size_t start, uint32_t number);

#endif
