/* The protobuf wire, by hand: varints, tags, a hostile-safe field iterator, and rows.
 *
 * For the few messages on hot paths (rows, raft entries, WAL records) whose bytes must equal Go
 * etcd's; everything else goes through codec/pb.h. Writers put into memory that the caller sized
 * with the matching _size function; they never fail.
 *
 * Source: protobuf encoding guide. Two facts come from gogo/protobuf, whose bytes we match: fields
 * leave in order of their numbers, and a varint of more than 10 bytes is an error while bits
 * beyond the 64th are dropped.
 *
 * Threads: pure functions. */
#ifndef CODEC_PBWIRE_H
#define CODEC_PBWIRE_H

#include "base/bytes.h"

#define PBWIRE_VARINT_MAX 10 /* bytes of the longest varint */

enum pbwire_type {
    PBWIRE_VARINT = 0,
    PBWIRE_FIXED64 = 1,
    PBWIRE_BYTES = 2,
    PBWIRE_GROUP_START = 3,
    PBWIRE_GROUP_END = 4,
    PBWIRE_FIXED32 = 5,
};

static inline size_t pbwire_varint_size(uint64_t value)
{
    /* 7 bits a byte, at least one byte: (bits + 6) / 7 without a division. */
    unsigned bits = 64 - (unsigned)__builtin_clzll(value | 1);
    return (bits * 9 + 64) / 64;
}

static inline uint8_t *pbwire_put_varint(uint8_t *at, uint64_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

/* Reads one varint from [at, end). Returns past it, or NULL with *err = ERR_EOF (cut short) or
 * ERR_CORRUPT (longer than PBWIRE_VARINT_MAX). */
static inline const uint8_t *pbwire_get_varint(const uint8_t *at, const uint8_t *end, uint64_t *out,
                                               enum err *err)
{
    if (at < end && *at < 0x80) {
        *out = *at;
        return at + 1;
    }
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (at == end) {
            *err = ERR_EOF;
            return NULL;
        }
        uint8_t byte = *at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return at;
        }
    }
    *err = ERR_CORRUPT;
    return NULL;
}

static inline uint32_t pbwire_tag(uint32_t number, enum pbwire_type type)
{
    return number << 3 | (uint32_t)type;
}

static inline size_t pbwire_tag_size(uint32_t number)
{
    return pbwire_varint_size((uint64_t)number << 3);
}

/* A varint field, zero included. */
static inline size_t pbwire_uint_size(uint32_t number, uint64_t value)
{
    return pbwire_tag_size(number) + pbwire_varint_size(value);
}
static inline uint8_t *pbwire_put_uint(uint8_t *at, uint32_t number, uint64_t value)
{
    at = pbwire_put_varint(at, pbwire_tag(number, PBWIRE_VARINT));
    return pbwire_put_varint(at, value);
}

/* The tag and length in front of `len` bytes: of a message, a string or bytes. */
static inline size_t pbwire_head_size(uint32_t number, size_t len)
{
    return pbwire_tag_size(number) + pbwire_varint_size(len);
}
static inline uint8_t *pbwire_put_head(uint8_t *at, uint32_t number, size_t len)
{
    at = pbwire_put_varint(at, pbwire_tag(number, PBWIRE_BYTES));
    return pbwire_put_varint(at, len);
}

/* A whole length-delimited field. */
static inline size_t pbwire_bytes_size(uint32_t number, size_t len)
{
    return pbwire_head_size(number, len) + len;
}
static inline uint8_t *pbwire_put_bytes(uint8_t *at, uint32_t number, struct slice bytes)
{
    at = pbwire_put_head(at, number, bytes.len);
    if (bytes.len > 0) {
        memcpy(at, bytes.data, bytes.len);
    }
    return at + bytes.len;
}

/* Walks the fields of one message. Unknown groups are skipped whole. After the first failure
 * pbwire_next() yields false and `err` says why: ERR_EOF, ERR_CORRUPT. */
struct pbwire_iter {
    const uint8_t *next;
    const uint8_t *end;
    enum err err;
};
struct pbwire_field {
    uint32_t number;       /* never 0 */
    enum pbwire_type type; /* VARINT, FIXED64, BYTES or FIXED32 */
    uint64_t value;        /* VARINT, FIXED64, FIXED32 */
    struct slice bytes;    /* BYTES: points into the message */
};

struct pbwire_iter pbwire_iter_init(struct slice message);
/* The next field, or false at the end and after a failure. */
bool pbwire_next(struct pbwire_iter *it, struct pbwire_field *out);

/* ---- rows ------------------------------------------------------------------------------- */

/* mvccpb.KeyValue as a struct whose bytes live elsewhere: a stored row, read without a copy. */
struct kv_row {
    struct slice key;
    int64_t create_revision;
    int64_t mod_revision;
    int64_t version;
    struct slice value;
    int64_t lease;
};

/* Exactly the bytes of Go's proto3 marshaller: field order, zero fields absent. Rows on disk, and
 * so HashKV, depend on it. kv_row_put() returns past what it wrote. */
size_t kv_row_size(const struct kv_row *row);
uint8_t *kv_row_put(uint8_t *at, const struct kv_row *row);
void kv_row_encode(const struct kv_row *row, struct buf *out); /* appends */

/* key and value of *out point into `in`. Unknown fields are skipped, a repeated field's last value
 * counts, as in Go.
 *
 * ERR_EOF, ERR_CORRUPT   not a KeyValue message */
FALLIBLE kv_row_decode(struct slice in, struct kv_row *out);

#endif
