#include "server/reply.h"

#include "codec/pbwire.h"

void reply_put_uint(struct buf *out, uint32_t number, uint64_t value)
{
    if (value != 0) {
        uint8_t *at = buf_reserve(out, PBWIRE_VARINT_MAX * 2);
        out->len += (size_t)(pbwire_put_uint(at, number, value) - at);
    }
}

void reply_put_bytes(struct buf *out, uint32_t number, struct slice bytes)
{
    pbwire_put_bytes(buf_extend(out, pbwire_bytes_size(number, bytes.len)), number, bytes);
}

void reply_wrap(struct buf *out, size_t start, uint32_t number)
{
    ASSERT(start <= out->len);
    size_t len = out->len - start;
    size_t head = pbwire_head_size(number, len);
    buf_extend(out, head);
    memmove(out->data + start + head, out->data + start, len);
    pbwire_put_head(out->data + start, number, len);
}

static uint8_t *put_uint(uint8_t *at, uint32_t number, uint64_t value)
{
    return value == 0 ? at : pbwire_put_uint(at, number, value);
}

static size_t uint_len(uint32_t number, uint64_t value)
{
    return value == 0 ? 0 : pbwire_uint_size(number, value);
}

size_t reply_header_len(const struct reply_header *header)
{
    return uint_len(1, header->cluster_id) + uint_len(2, header->member_id) +
           uint_len(3, (uint64_t)header->revision) + uint_len(4, header->raft_term);
}

static uint8_t *put_fields(uint8_t *at, const struct reply_header *header)
{
    at = put_uint(at, 1, header->cluster_id);
    at = put_uint(at, 2, header->member_id);
    at = put_uint(at, 3, (uint64_t)header->revision);
    return put_uint(at, 4, header->raft_term);
}

uint8_t *reply_write_header(uint8_t *at, uint32_t number, const struct reply_header *header,
                            size_t len)
{
    at = pbwire_put_head(at, number, len);
    uint8_t *end = put_fields(at, header);
    ASSERT(end == at + len);
    return end;
}

void reply_put_header(struct buf *out, uint32_t number, const struct reply_header *header)
{
    uint8_t text[4 * (1 + PBWIRE_VARINT_MAX)]; /* each reply has one: nothing grows or moves */
    uint8_t *end = put_fields(text, header);
    reply_put_bytes(out, number, slice_of(text, (size_t)(end - text)));
}
