/* WatchResponses: everything but the events is encoded here; events come encoded (state/watch.h).
 *
 * Threads: pure functions. */
#ifndef API_WATCH_REPLY_H
#define API_WATCH_REPLY_H

#include "server/reply.h"
#include "state/watch.h"

struct watch_reply {
    struct reply_header header;
    watch_id id;
    bool created;
    bool canceled;
    int64_t compact_revision;
    const char *cancel_reason; /* NULL: none */
    bool fragment;
};

/* Appends the message without its events, which are the last field. */
void watch_reply_put(struct buf *out, const struct watch_reply *reply);

/* A message of events again and again: the header is encoded once for all that have the same, and
 * each message is written where it is sent from. Only for bodies in one piece. */
struct watch_reply_header {
    struct reply_header header;
    struct buf bytes;
};
void watch_reply_header_set(struct watch_reply_header *at, const struct reply_header *header);
size_t watch_reply_whole_size(const struct watch_reply_header *header, watch_id id,
                              struct slice events);
/* Returns past it. */
uint8_t *watch_reply_whole_put(uint8_t *at, const struct watch_reply_header *header, watch_id id,
                               struct slice events);

/* Calls each(ctx, head, from, len) for every message that the events of `body` are to be sent in:
 * one, or, when that would have `fragment_max` bytes or more and `may_fragment` is set, several. A
 * message is `head` and then `len` bytes of the body from cursor `from` on. `scratch` is for the
 * heads.
 *
 * Compatibility: cut where etcd cuts, and all but the last are marked. One event is never cut. */
typedef void watch_part_fn(void *ctx, struct slice head, struct watch_cursor from, size_t len);
void watch_reply_events(const struct watch_reply *reply, const struct watch_body *body,
                        bool may_fragment, size_t fragment_max, struct buf *scratch,
                        watch_part_fn *each, void *ctx);

#endif
