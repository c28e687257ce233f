#include "api/watch_reply.h"

#include "codec/pbwire.h"

enum {
    REPLY_HEADER = 1,
    REPLY_WATCH_ID = 2,
    REPLY_CREATED = 3,
    REPLY_CANCELED = 4,
    REPLY_COMPACT_REVISION = 5,
    REPLY_CANCEL_REASON = 6,
    REPLY_FRAGMENT = 7,
};

void watch_reply_put(struct buf *out, const struct watch_reply *reply)
{
    reply_put_header(out, REPLY_HEADER, &reply->header);
    reply_put_uint(out, REPLY_WATCH_ID, (uint64_t)reply->id);
    reply_put_uint(out, REPLY_CREATED, reply->created);
    reply_put_uint(out, REPLY_CANCELED, reply->canceled);
    reply_put_uint(out, REPLY_COMPACT_REVISION, (uint64_t)reply->compact_revision);
    if (reply->cancel_reason != NULL && reply->cancel_reason[0] != '\0') {
        reply_put_bytes(out, REPLY_CANCEL_REASON, slice_str(reply->cancel_reason));
    }
    reply_put_uint(out, REPLY_FRAGMENT, reply->fragment);
}

void watch_reply_header_set(struct watch_reply_header *at, const struct reply_header *header)
{
    const struct reply_header *has = &at->header;
    if (at->bytes.len == 0 || has->revision != header->revision ||
        has->raft_term != header->raft_term || has->member_id != header->member_id ||
        has->cluster_id != header->cluster_id) {
        at->header = *header;
        buf_reset(&at->bytes);
        reply_put_header(&at->bytes, REPLY_HEADER, header);
    }
}

size_t watch_reply_whole_size(const struct watch_reply_header *header, watch_id id,
                              struct slice events)
{
    size_t number = id == 0 ? 0 : pbwire_uint_size(REPLY_WATCH_ID, (uint64_t)id);
    return header->bytes.len + number + events.len;
}

uint8_t *watch_reply_whole_put(uint8_t *at, const struct watch_reply_header *header, watch_id id,
                               struct slice events)
{
    memcpy(at, header->bytes.data, header->bytes.len);
    at += header->bytes.len;
    if (id != 0) {
        at = pbwire_put_uint(at, REPLY_WATCH_ID, (uint64_t)id);
    }
    memcpy(at, events.data, events.len);
    return at + events.len;
}

static void skip(const struct watch_body *body, struct watch_cursor *cursor, size_t len)
{
    struct slice part;
    while (watch_cursor_take(body, cursor, &len, &part)) {
    }
}

/* How many bytes of events the next part takes: at least one event, and as many as fit. */
static size_t part_len(const struct watch_body *body, struct watch_cursor cursor, size_t room)
{
    size_t len = watch_cursor_event_len(body, &cursor);
    skip(body, &cursor, len);
    for (;;) {
        size_t event = watch_cursor_event_len(body, &cursor);
        if (event == 0 || len + event >= room) {
            return len;
        }
        len += event;
        skip(body, &cursor, event);
    }
}

void watch_reply_events(const struct watch_reply *reply, const struct watch_body *body,
                        bool may_fragment, size_t fragment_max, struct buf *scratch,
                        watch_part_fn *each, void *ctx)
{
    struct watch_cursor from = {0};
    struct watch_reply part = *reply;
    size_t left = body->len;
    buf_reset(scratch);
    watch_reply_put(scratch, reply);
    if (!may_fragment || scratch->len + left < fragment_max || body->event_count < 2) {
        each(ctx, buf_slice(scratch), from, left);
        return;
    }
    while (left > 0) {
        part.fragment = true;
        buf_reset(scratch);
        watch_reply_put(scratch, &part);
        size_t room = fragment_max > scratch->len ? fragment_max - scratch->len : 0;
        size_t len = part_len(body, from, room);
        if (len == left) {
            part.fragment = false;
            buf_reset(scratch);
            watch_reply_put(scratch, &part);
        }
        each(ctx, buf_slice(scratch), from, len);
        skip(body, &from, len);
        left -= len;
    }
}
