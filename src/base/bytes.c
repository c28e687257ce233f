#include "base/bytes.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

struct slice slice_split(struct slice text, char sep, struct slice *head)
{
    const uint8_t *at = text.len == 0 ? NULL : memchr(text.data, sep, text.len);
    if (at == NULL) {
        *head = text;
        return SLICE_EMPTY;
    }
    size_t before = (size_t)(at - text.data);
    *head = slice_of(text.data, before);
    return slice_skip(text, before + 1);
}

FALLIBLE slice_to_u64(struct slice text, uint64_t *out)
{
    uint64_t value = 0;
    if (text.len == 0) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < text.len; i++) {
        uint8_t digit = (uint8_t)(text.data[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value)) {
            return ERR_INVALID;
        }
    }
    *out = value;
    return ERR_OK;
}

FALLIBLE slice_to_i64(struct slice text, int64_t *out)
{
    bool negative = text.len > 0 && text.data[0] == '-';
    uint64_t magnitude;
    TRY(slice_to_u64(negative ? slice_skip(text, 1) : text, &magnitude));
    uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    if (magnitude > limit) {
        return ERR_INVALID;
    }
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return ERR_OK;
}

FALLIBLE slice_hex_to_u64(struct slice text, uint64_t *out)
{
    uint64_t value = 0;
    if (text.len == 0 || text.len > 16) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < text.len; i++) {
        int digit = hex_value(text.data[i]);
        if (digit < 0 || (text.data[i] >= 'A' && text.data[i] <= 'F')) {
            return ERR_INVALID;
        }
        value = value << 4 | (uint64_t)digit;
    }
    *out = value;
    return ERR_OK;
}

void buf_init(struct buf *buf)
{
    *buf = (struct buf){0};
}

void buf_fini(struct buf *buf)
{
    mem_free(buf->data);
    *buf = (struct buf){0};
}

void buf_reset(struct buf *buf)
{
    buf->len = 0;
}

uint8_t *buf_reserve(struct buf *buf, size_t extra)
{
    size_t need;
    ASSERT(!__builtin_add_overflow(buf->len, extra, &need));
    if (need > buf->cap || buf->data == NULL) {
        size_t cap = buf->cap < 32 ? 64 : buf->cap + buf->cap / 2;
        buf->cap = cap < need ? need : cap;
        buf->data = mem_realloc(buf->data, buf->cap);
    }
    return buf->data + buf->len;
}

uint8_t *buf_extend(struct buf *buf, size_t extra)
{
    uint8_t *at = buf_reserve(buf, extra);
    buf->len += extra;
    return at;
}

void buf_append(struct buf *buf, const void *data, size_t len)
{
    if (len > 0) {
        memcpy(buf_extend(buf, len), data, len);
    }
}

void buf_append_slice(struct buf *buf, struct slice slice)
{
    buf_append(buf, slice.data, slice.len);
}

void buf_append_str(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_append_byte(struct buf *buf, uint8_t byte)
{
    *buf_extend(buf, 1) = byte;
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(len >= 0);
    uint8_t *at = buf_reserve(buf, (size_t)len + 1);
    va_start(args, format);
    vsnprintf((char *)at, (size_t)len + 1, format, args);
    va_end(args);
    buf->len += (size_t)len;
}

void buf_consume(struct buf *buf, size_t count)
{
    ASSERT(count <= buf->len);
    buf->len -= count;
    if (buf->len > 0) {
        memmove(buf->data, buf->data + count, buf->len);
    }
}

const char *buf_cstr(struct buf *buf)
{
    *buf_reserve(buf, 1) = 0;
    return (const char *)buf->data;
}

void buf_append_hex(struct buf *buf, struct slice data)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < data.len; i++) {
        buf_append_byte(buf, (uint8_t)digits[data.data[i] >> 4]);
        buf_append_byte(buf, (uint8_t)digits[data.data[i] & 15]);
    }
}

struct reader reader_init(struct slice in)
{
    static const uint8_t none[1];
    const uint8_t *start = in.data == NULL ? none : in.data;
    return (struct reader){.next = start, .end = start + in.len, .err = ERR_OK};
}

static const uint8_t *take(struct reader *r, uint64_t len)
{
    if (r->err != ERR_OK) {
        return NULL;
    }
    if (len > reader_left(r)) {
        r->err = ERR_EOF;
        r->next = r->end;
        return NULL;
    }
    const uint8_t *at = r->next;
    r->next += len;
    return at;
}

uint8_t reader_u8(struct reader *r)
{
    const uint8_t *p = take(r, 1);
    return p == NULL ? 0 : *p;
}

uint16_t reader_le16(struct reader *r)
{
    const uint8_t *p = take(r, 2);
    return p == NULL ? 0 : get_le16(p);
}

uint32_t reader_le32(struct reader *r)
{
    const uint8_t *p = take(r, 4);
    return p == NULL ? 0 : get_le32(p);
}

uint64_t reader_le64(struct reader *r)
{
    const uint8_t *p = take(r, 8);
    return p == NULL ? 0 : get_le64(p);
}

uint32_t reader_be32(struct reader *r)
{
    const uint8_t *p = take(r, 4);
    return p == NULL ? 0 : get_be32(p);
}

uint64_t reader_be64(struct reader *r)
{
    const uint8_t *p = take(r, 8);
    return p == NULL ? 0 : get_be64(p);
}

uint64_t reader_varint(struct reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = reader_u8(r);
        if (r->err != ERR_OK) {
            return 0;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            return value;
        }
    }
    r->err = ERR_CORRUPT;
    r->next = r->end;
    return 0;
}

struct slice reader_bytes(struct reader *r, uint64_t len)
{
    const uint8_t *p = take(r, len);
    return p == NULL ? SLICE_EMPTY : slice_of(p, (size_t)len);
}

struct slice reader_rest(struct reader *r)
{
    return reader_bytes(r, reader_left(r));
}

FALLIBLE reader_finish(const struct reader *r)
{
    if (r->err != ERR_OK) {
        return r->err;
    }
    return r->next == r->end ? ERR_OK : ERR_CORRUPT;
}
