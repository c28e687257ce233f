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

void reply_put_header(struct buf *out, uint32_t number, const struct reply_header *header)
{
    size_t start = out->len;
    reply_put_uint(out, 1, header->cluster_id);
    reply_put_uint(out, 2, header->member_id);
    reply_put_uint(out, 3, (uint64_t)header->revision);
    reply_put_uint(out, 4, header->raft_term);
    reply_wrap(out, start, number);
}
