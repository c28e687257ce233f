/* A reply in pieces: bytes that are made already, and Ranges whose rows are read as they are given.
 *
 * A Range's reply is one piece. That of a DeleteRange, or of a Txn, is bytes (headers, tags,
 * lengths, small answers) around the rows that its large parts give; so however large it is, it
 * takes the memory of what is around.
 *
 * It is not a queue: pieces are added first, then given once, from the first byte to the last.
 *
 * Ownership: items and bytes are the caller's and stay until pieces_close(), which closes the
 * Ranges that were added. Threads:   loop thread only. */
#ifndef SERVER_PIECES_H
#define SERVER_PIECES_H

#include "server/range.h"

struct piece {
    struct range *range; /* measured; NULL: bytes */
    struct slice bytes;
};

struct pieces {
    struct piece *items;
    size_t count;
    size_t cap;
    size_t next; /* given before: items[0 .. next) */
    size_t at;   /* and of the bytes of the next so many */
    uint64_t len;
};

void pieces_init(struct pieces *pieces, struct piece *items, size_t cap);
void pieces_add_bytes(struct pieces *pieces, struct slice bytes);
void pieces_add_range(struct pieces *pieces, struct range *range);
void pieces_close(struct pieces *pieces);

/* Of all of them. */
uint64_t pieces_len(const struct pieces *pieces);
/* The next bytes, as range_fill() gives a Range's. They are pieces_len() in all. */
size_t pieces_fill(struct pieces *pieces, uint8_t *at, size_t room, uint64_t *budget);
/* All of them, before the first is given, in the arena; closes them. */
struct slice pieces_take(struct pieces *pieces, struct arena *arena);
/* How many rows are read for them. */
uint64_t pieces_rows(const struct pieces *pieces);
/* The oldest revision that they read; 0: none. */
int64_t pieces_revision(const struct pieces *pieces);
/* Before anything is written or the loop turns. */
void pieces_pause(struct pieces *pieces);
/* Does a compaction wait for rows of theirs? */
bool pieces_are_waited_for(const struct pieces *pieces);

#endif
