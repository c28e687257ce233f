/* Events as bytes.
 *
 *   WatchResponse  events = 11, repeated
 *   Event          type = 1 (DELETE is 1; PUT, being 0, is not written), kv = 2, prev_kv = 3
 *
 * kv is the stored row, spliced: nothing is decoded to be encoded again. prev_kv is the row of the
 * revision before, which must still be there: etcd leaves it out when compaction has passed it. */
#include "state/watch_priv.h"

enum { RESPONSE_EVENTS = 11, EVENT_TYPE = 1, EVENT_KV = 2, EVENT_PREV = 3 };
/* Tags and lengths of one event, without its rows. */
#define HEADS_MAX ((size_t)2 + 4 * (1 + PBWIRE_VARINT_MAX))

/* ---- life ----------------------------------------------------------------------------------- */

struct watch_body *watch_body_ref(struct watch_body *body)
{
    body->refs++;
    return body;
}

void watch_body_unref(struct watch_body *body)
{
    if (body == NULL) {
        return;
    }
    ASSERT(body->refs > 0);
    if (--body->refs > 0) {
        return;
    }
    for (size_t i = 0; i < body->piece_count; i++) {
        chunk_unref(body->pieces[i].chunk);
    }
    if (body->pieces != &body->one) {
        mem_free(body->pieces);
    }
    buf_fini(&body->bytes);
    mem_free(body);
}

/* ---- making --------------------------------------------------------------------------------- */

/* While it grows, a piece without a chunk holds an offset into `bytes` instead of an address. */
static void add_piece(struct watch_body *body, struct slice bytes, struct chunk *chunk)
{
    size_t count = body->piece_count;
    if (count == 1) {
        body->pieces = mem_array(4, sizeof(body->pieces[0]));
        body->pieces[0] = body->one;
    } else if (count >= 4 && (count & (count - 1)) == 0) {
        body->pieces = mem_realloc(body->pieces, 2 * count * sizeof(body->pieces[0]));
    }
    body->pieces[body->piece_count++] = (struct watch_piece){
        .bytes = bytes,
        .chunk = chunk == NULL ? NULL : chunk_ref(chunk),
    };
}

/* `len` bytes were appended to `bytes`. */
static void add_copied(struct watch_body *body, size_t len)
{
    struct watch_piece *last = body->piece_count == 0 ? NULL : &body->pieces[body->piece_count - 1];
    if (len > 0 && last != NULL && last->chunk == NULL) {
        last->bytes.len += len;
    } else if (len > 0) {
        size_t offset = body->bytes.len - len;
        add_piece(body,
                  (struct slice){.data = (const uint8_t *)(uintptr_t)offset, .len = len}, // NOLINT
                  NULL);
    }
}

static void settle_pieces(struct watch_body *body)
{
    for (size_t i = 0; i < body->piece_count; i++) {
        struct watch_piece *piece = &body->pieces[i];
        if (piece->chunk == NULL) {
            piece->bytes.data = body->bytes.data + (uintptr_t)piece->bytes.data;
        }
        body->len += piece->bytes.len;
    }
}

/* The row before the event, or an empty slice. Valid until the next reading. */
static struct slice prev_row(struct watch_hub *hub, const struct window_event *event)
{
    struct mvcc_row row;
    if (event->is_create) {
        return SLICE_EMPTY;
    }
    if (event->knows_prev && event->prev.main < event->rev.main) {
        bool is_there = event->prev.main > 0 && mvcc_get_at(hub->store, event->prev, &row);
        return is_there ? row.raw : SLICE_EMPTY;
    }
    bool is_there = mvcc_get_as_of(hub->store, event->key, event->rev.main - 1, &row);
    return is_there ? row.raw : SLICE_EMPTY;
}

static void add_event(struct watch_hub *hub, struct watch_body *body,
                      const struct window_event *event, bool wants_prev)
{
    struct slice prev = wants_prev ? prev_row(hub, event) : SLICE_EMPTY;
    size_t len = (event->is_delete ? pbwire_uint_size(EVENT_TYPE, 1) : 0) +
                 pbwire_bytes_size(EVENT_KV, event->kv.len);
    if (prev.len > 0) {
        len += pbwire_bytes_size(EVENT_PREV, prev.len);
    }
    bool refers = event->kv.len >= REFER_MIN;
    size_t copied = refers ? 0 : event->kv.len;
    uint8_t *start = buf_reserve(&body->bytes, HEADS_MAX + copied + prev.len);
    uint8_t *at = pbwire_put_head(start, RESPONSE_EVENTS, len);
    if (event->is_delete) {
        at = pbwire_put_uint(at, EVENT_TYPE, 1);
    }
    at = pbwire_put_head(at, EVENT_KV, event->kv.len);
    if (refers) {
        body->bytes.len += (size_t)(at - start);
        add_copied(body, (size_t)(at - start));
        add_piece(body, event->kv, event->chunk);
        start = at;
    } else {
        memcpy(at, event->kv.data, event->kv.len);
        at += event->kv.len;
    }
    if (prev.len > 0) {
        at = pbwire_put_bytes(at, EVENT_PREV, prev);
    }
    body->bytes.len += (size_t)(at - start);
    add_copied(body, (size_t)(at - start));
    body->event_count++;
}

/* ---- sharing -------------------------------------------------------------------------------- */

static void cache_clear(struct body_cache *cache)
{
    watch_body_unref(cache->body);
    *cache = (struct body_cache){.group = NULL};
}

void watch__cache_drop(struct watch_hub *hub, unsigned slot)
{
    for (size_t i = 0; i < ARRAY_LEN(hub->cache[slot]); i++) {
        cache_clear(&hub->cache[slot][i]);
    }
}

/* The first hit that is not below the watcher's cursor. */
static uint32_t first_hit(const struct watch_window *window, const struct watcher *watcher)
{
    const struct window_group *hits = watch__window_find(window, watcher->group);
    uint32_t hit = hits == NULL ? NO_HIT : hits->first;
    while (hit != NO_HIT && window->events[window->hits[hit].event].rev.main < watcher->next) {
        hit = window->hits[hit].next;
    }
    return hit;
}

static void cache_begin(struct body_cache *cache, const struct watch_window *window,
                        const struct watch_group *group, uint32_t hit)
{
    cache_clear(cache);
    *cache = (struct body_cache){
        .group = group,
        .serial = window->serial,
        .first = hit,
        .next = hit,
        .body = NEW(struct watch_body),
    };
    cache->body->refs = 1;
    cache->body->pieces = &cache->body->one;
}

static void cache_finish(struct watch_hub *hub, struct body_cache *cache)
{
    if (cache->body->event_count == 0) {
        watch_body_unref(cache->body);
        cache->body = NULL;
        return;
    }
    settle_pieces(cache->body);
    hub->body_count++;
}

/* Goes on encoding, for `limit` units at most and one event at least. */
static void cache_fill(struct watch_hub *hub, struct body_cache *cache,
                       const struct watch_window *window, unsigned flags, int64_t limit)
{
    bool wants_prev = (flags & WATCH_PREV_KV) != 0;
    int64_t spent = 0;
    while (cache->next != NO_HIT && (spent == 0 || spent < limit)) {
        const struct window_hit *hit = &window->hits[cache->next];
        const struct window_event *event = &window->events[hit->event];
        if ((flags & (event->is_delete ? WATCH_NO_DELETE : WATCH_NO_PUT)) == 0) {
            add_event(hub, cache->body, event, wants_prev);
        }
        spent += wants_prev ? ROW_COST : ENCODE_COST;
        cache->next = hit->next;
    }
    hub->cost_left -= (int)spent;
    if (cache->next == NO_HIT) {
        cache_finish(hub, cache);
    }
}

/* The cache entry with what the watcher wants, as far as it has come; NULL when nothing hits it. */
static struct body_cache *cache_get(struct watch_hub *hub, const struct watch_window *window,
                                    const struct watcher *watcher, int64_t limit)
{
    unsigned variant = watcher->flags & VARIANT_MASK;
    struct body_cache *cache = &hub->cache[window->slot][variant];
    uint32_t hit = first_hit(window, watcher);
    if (hit == NO_HIT) {
        return NULL;
    }
    if (cache->group != watcher->group || cache->serial != window->serial || cache->first != hit) {
        cache_begin(cache, window, watcher->group, hit);
    }
    if (cache->next != NO_HIT) {
        cache_fill(hub, cache, window, variant, limit);
    }
    return cache;
}

struct watch_body *watch__body_for(struct watch_hub *hub, const struct watch_window *window,
                                   const struct watcher *watcher)
{
    const struct body_cache *cache = cache_get(hub, window, watcher, INT64_MAX);
    return cache == NULL || cache->body == NULL ? NULL : watch_body_ref(cache->body);
}

bool watch__body_prepare(struct watch_hub *hub, const struct watch_window *window,
                         const struct watcher *watcher)
{
    const struct body_cache *cache = cache_get(hub, window, watcher, hub->cost_left);
    return cache == NULL || cache->next == NO_HIT;
}

/* ---- reading -------------------------------------------------------------------------------- */

size_t watch_cursor_event_len(const struct watch_body *body, const struct watch_cursor *cursor)
{
    uint64_t tag;
    uint64_t len;
    enum err err = ERR_OK;
    if (cursor->piece == body->piece_count) {
        return 0;
    }
    /* An event's head is never split: it was written at once. */
    struct slice rest = slice_skip(body->pieces[cursor->piece].bytes, cursor->at);
    const uint8_t *end = rest.data + rest.len;
    const uint8_t *at = pbwire_get_varint(rest.data, end, &tag, &err);
    ASSERT(at != NULL);
    ASSERT(tag == pbwire_tag(RESPONSE_EVENTS, PBWIRE_BYTES));
    at = pbwire_get_varint(at, end, &len, &err);
    ASSERT(at != NULL);
    return (size_t)(at - rest.data) + len;
}

bool watch_cursor_take(const struct watch_body *body, struct watch_cursor *cursor, size_t *left,
                       struct slice *out)
{
    if (*left == 0) {
        return false;
    }
    ASSERT(cursor->piece < body->piece_count);
    struct slice rest = slice_skip(body->pieces[cursor->piece].bytes, cursor->at);
    size_t len = rest.len < *left ? rest.len : *left;
    *out = slice_of(rest.data, len);
    *left -= len;
    cursor->at += len;
    if (len == rest.len) {
        *cursor = (struct watch_cursor){.piece = cursor->piece + 1};
    }
    return true;
}

struct watch_event_iter watch_event_iter_init(const struct watch_body *body)
{
    return (struct watch_event_iter){.body = body};
}

void watch_event_iter_fini(struct watch_event_iter *iter)
{
    buf_fini(&iter->scratch);
}

/* What stands here we have written ourselves, around rows that the store has parsed. */
static void event_decode(struct slice bytes, struct watch_event *out)
{
    struct pbwire_field field;
    struct pbwire_iter outer = pbwire_iter_init(bytes);
    bool has_event = pbwire_next(&outer, &field);
    ASSERT(has_event);
    struct pbwire_iter it = pbwire_iter_init(field.bytes);
    *out = (struct watch_event){.is_delete = false};
    while (pbwire_next(&it, &field)) {
        enum err err = ERR_OK;
        if (field.number == EVENT_TYPE) {
            out->is_delete = field.value == 1;
        } else if (field.number == EVENT_KV) {
            err = mvcc_row_parse(field.bytes, &out->kv);
        } else {
            out->has_prev = true;
            err = mvcc_row_parse(field.bytes, &out->prev);
        }
        ASSERT(err == ERR_OK);
    }
    ASSERT(it.err == ERR_OK);
}

bool watch_event_next(struct watch_event_iter *iter, struct watch_event *out)
{
    struct slice part = SLICE_EMPTY;
    size_t left = watch_cursor_event_len(iter->body, &iter->cursor);
    size_t len = left;
    if (left == 0) {
        return false;
    }
    watch_cursor_take(iter->body, &iter->cursor, &left, &part);
    if (left == 0) {
        event_decode(part, out);
        return true;
    }
    buf_reset(&iter->scratch);
    buf_reserve(&iter->scratch, len);
    do {
        buf_append_slice(&iter->scratch, part);
    } while (watch_cursor_take(iter->body, &iter->cursor, &left, &part));
    event_decode(buf_slice(&iter->scratch), out);
    return true;
}
