/* Bytes: borrowed slices, owned buffers, and readers that remember their first failure.
 *
 * `struct slice` borrows: it never frees, and is valid as long as what it points into.
 * `struct buf` owns: growing moves it, so slices of it die with the next append.
 * `struct reader` decodes hostile bytes without an `if` per field: read on, check once.
 *
 * Threads: no shared state. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include "base/err.h"

#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *data; /* may be NULL when len is 0 */
    size_t len;
};

#define SLICE_EMPTY ((struct slice){0})
/* From a string literal, without its final 0. */
#define SLICE(literal) ((struct slice){(const uint8_t *)("" literal), sizeof(literal) - 1})

static inline struct slice slice_of(const void *data, size_t len)
{
    return (struct slice){(const uint8_t *)data, len};
}

static inline struct slice slice_str(const char *text)
{
    return slice_of(text, strlen(text));
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool slice_eq_str(struct slice a, const char *text)
{
    return slice_eq(a, slice_str(text));
}

/* Byte-wise order, shorter first on a common prefix: <0, 0, >0. */
static inline int slice_cmp(struct slice a, struct slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len == 0 ? 0 : memcmp(a.data, b.data, len);
    if (order != 0) {
        return order;
    }
    return (a.len > b.len) - (a.len < b.len);
}

static inline bool slice_starts(struct slice a, struct slice prefix)
{
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.data, prefix.data, prefix.len) == 0);
}

/* The rest after `count` bytes; count must not exceed len. */
static inline struct slice slice_skip(struct slice a, size_t count)
{
    ASSERT(count <= a.len);
    return slice_of(a.data == NULL ? NULL : a.data + count, a.len - count);
}

/* Splits at the first `sep`: *head gets what is before, the return value what is after.
 * Without a `sep`, *head is all of it and the result is empty with data NULL. */
struct slice slice_split(struct slice text, char sep, struct slice *head);

/* Decimal digits only, no sign, no blanks. ERR_INVALID on anything else or on overflow. */
FALLIBLE slice_to_u64(struct slice text, uint64_t *out);
/* An optional '-' and decimal digits. */
FALLIBLE slice_to_i64(struct slice text, int64_t *out);

/* The value of a hexadecimal digit of either case, or -1. */
static inline int hex_value(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}
/* 1 to 16 hexadecimal digits, lower case only: how ids and indices stand in names of files and
 * keys. ERR_INVALID on anything else. */
FALLIBLE slice_hex_to_u64(struct slice text, uint64_t *out);

/* Little- and big-endian integers at unaligned addresses. */
static inline uint16_t get_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | (uint16_t)(p[1] << 8));
}
static inline uint32_t get_le32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}
static inline uint64_t get_le64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}
static inline uint32_t get_be32(const uint8_t *p)
{
    return __builtin_bswap32(get_le32(p));
}
static inline uint64_t get_be64(const uint8_t *p)
{
    return __builtin_bswap64(get_le64(p));
}
static inline void put_le16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void put_le32(uint8_t *p, uint32_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    memcpy(p, &v, 4);
}
static inline void put_le64(uint8_t *p, uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    memcpy(p, &v, 8);
}
static inline void put_be32(uint8_t *p, uint32_t v)
{
    put_le32(p, __builtin_bswap32(v));
}
static inline void put_be64(uint8_t *p, uint64_t v)
{
    put_le64(p, __builtin_bswap64(v));
}

/* Owned, growing bytes. Zero-initialise or buf_init(); buf_fini() frees and zeroes. */
struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
};

void buf_init(struct buf *buf);
void buf_fini(struct buf *buf);
void buf_reset(struct buf *buf); /* len 0, memory kept */

static inline struct slice buf_slice(const struct buf *buf)
{
    return slice_of(buf->data, buf->len);
}

/* Makes room for `extra` more bytes and returns where they go; len is unchanged. */
uint8_t *buf_reserve(struct buf *buf, size_t extra);
/* Adds `extra` uninitialised bytes to len and returns where they are. */
uint8_t *buf_extend(struct buf *buf, size_t extra);
void buf_append(struct buf *buf, const void *data, size_t len);
void buf_append_slice(struct buf *buf, struct slice slice);
void buf_append_str(struct buf *buf, const char *text);
void buf_append_byte(struct buf *buf, uint8_t byte);
__attribute__((format(printf, 2, 3))) void buf_printf(struct buf *buf, const char *format, ...);
/* Removes `count` bytes from the front. */
void buf_consume(struct buf *buf, size_t count);
/* The text with a final 0 behind it (not counted in len); dies with the next append. */
const char *buf_cstr(struct buf *buf);

/* Lower-case hexadecimal of `data`, appended. */
void buf_append_hex(struct buf *buf, struct slice data);

/* A cursor over hostile bytes. After the first failure every read yields zero. */
struct reader {
    const uint8_t *next;
    const uint8_t *end;
    enum err err; /* first failure: ERR_EOF or ERR_CORRUPT */
};

struct reader reader_init(struct slice in);
uint8_t reader_u8(struct reader *r);
uint16_t reader_le16(struct reader *r);
uint32_t reader_le32(struct reader *r);
uint64_t reader_le64(struct reader *r);
uint32_t reader_be32(struct reader *r);
uint64_t reader_be64(struct reader *r);
uint64_t reader_varint(struct reader *r); /* protobuf base-128, at most 10 bytes */
struct slice reader_bytes(struct reader *r, uint64_t len);
struct slice reader_rest(struct reader *r);
static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->next);
}
/* ERR_OK when nothing failed and nothing is left; ERR_CORRUPT on trailing bytes. */
FALLIBLE reader_finish(const struct reader *r);

#endif
