/* Pieces in their order. A Range that is through stays open until all are closed: what it holds is
 * small, and compaction waits for the reply as a whole. */
#include "server/pieces.h"

void pieces_init(struct pieces *pieces, struct piece *items, size_t cap)
{
    *pieces = (struct pieces){.items = items, .cap = cap};
}

static struct piece *piece_add(struct pieces *pieces, uint64_t len)
{
    ASSERT(pieces->count < pieces->cap);
    ASSERT(pieces->next == 0);
    pieces->len += len;
    return &pieces->items[pieces->count++];
}

void pieces_add_bytes(struct pieces *pieces, struct slice bytes)
{
    *piece_add(pieces, bytes.len) = (struct piece){.bytes = bytes};
}

void pieces_add_range(struct pieces *pieces, struct range *range)
{
    *piece_add(pieces, range_len(range)) = (struct piece){.range = range};
}

void pieces_close(struct pieces *pieces)
{
    for (size_t i = 0; i < pieces->count; i++) {
        if (pieces->items[i].range != NULL) {
            range_close(pieces->items[i].range);
        }
    }
    *pieces = (struct pieces){0};
}

uint64_t pieces_len(const struct pieces *pieces)
{
    return pieces->len;
}

/* Of a piece of bytes what fits and may be copied. */
static size_t bytes_fill(struct pieces *pieces, struct slice bytes, uint8_t *at, size_t room,
                         uint64_t *budget)
{
    size_t len = bytes.len - pieces->at;
    if (len > room) {
        len = room;
    }
    if (len / RANGE_UNIT_BYTES > *budget) {
        len = (size_t)(*budget * RANGE_UNIT_BYTES);
    }
    if (len > 0) {
        memcpy(at, bytes.data + pieces->at, len);
    }
    *budget -= len / RANGE_UNIT_BYTES;
    pieces->at += len;
    return len;
}

size_t pieces_fill(struct pieces *pieces, uint8_t *at, size_t room, uint64_t *budget)
{
    size_t done = 0;
    while (done<room && * budget> 0 && pieces->next < pieces->count) {
        const struct piece *piece = &pieces->items[pieces->next];
        bool is_through = false;
        if (piece->range != NULL) {
            done += range_fill(piece->range, at + done, room - done, budget);
            is_through = range_is_given(piece->range);
        } else {
            done += bytes_fill(pieces, piece->bytes, at + done, room - done, budget);
            is_through = pieces->at == piece->bytes.len;
        }
        if (is_through) {
            pieces->next++;
            pieces->at = 0;
        }
    }
    return done;
}

struct slice pieces_take(struct pieces *pieces, struct arena *arena)
{
    size_t len = (size_t)pieces->len;
    uint8_t *bytes = arena_alloc(arena, len);
    uint64_t budget = UINT64_MAX;
    size_t filled = pieces_fill(pieces, bytes, len, &budget);
    ASSERT(filled == len);
    pieces_close(pieces);
    return slice_of(bytes, len);
}

void pieces_pause(struct pieces *pieces)
{
    if (pieces->next < pieces->count && pieces->items[pieces->next].range != NULL) {
        range_pause(pieces->items[pieces->next].range);
    }
}

bool pieces_are_waited_for(const struct pieces *pieces)
{
    for (size_t i = 0; i < pieces->count; i++) {
        const struct range *range = pieces->items[i].range;
        if (range != NULL && mvcc_read_is_waited_for(&range->read)) {
            return true;
        }
    }
    return false;
}

uint64_t pieces_rows(const struct pieces *pieces)
{
    uint64_t rows = 0;
    for (size_t i = 0; i < pieces->count; i++) {
        rows += pieces->items[i].range == NULL ? 0 : range_rows(pieces->items[i].range);
    }
    return rows;
}

int64_t pieces_revision(const struct pieces *pieces)
{
    int64_t oldest = 0;
    for (size_t i = 0; i < pieces->count; i++) {
        const struct range *range = pieces->items[i].range;
        if (range != NULL && (oldest == 0 || range->read.at < oldest)) {
            oldest = range->read.at;
        }
    }
    return oldest;
}
