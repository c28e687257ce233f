/* Header blocks that come again, byte for byte. Inside of h2 only; the server's role.
 *
 * A client sends the same head with nearly every request, and after the first few it is the same
 * bytes: indexes into HPACK's dynamic table (RFC 7541 section 6). To inflate, check and take in its
 * fields is a third of what a small request costs. A block means the same as before when
 *
 *   - its bytes are the same, and
 *   - the table is the same: no block in between has changed it (inserted, or resized it).
 *
 * So a block that leaves the table alone is remembered with what its fields came to, and when it
 * comes again nghttp2 gets the frame without its block. A block that touches the table, or whose
 * bytes are not seen in one piece, makes all be forgotten.
 *
 * Ownership: an entry lives until it is forgotten; what the handler made of it (`kept`) is given
 * back by then through drop(). */
#ifndef CODEC_H2_MEMO_H
#define CODEC_H2_MEMO_H

#include "codec/h2_fields.h"

#define H2_MEMO_SLOTS 4
#define H2_MEMO_BLOCK_MAX 256 /* longer ones are not remembered */

struct h2_known {
    struct h2_fields fields; /* as they stand behind the block */
    void *kept;
    size_t len;
    uint8_t bytes[];
};

struct h2_memo {
    struct h2_known *slots[H2_MEMO_SLOTS];
    unsigned next; /* slot to fill */
    void (*drop)(void *kept);
};

void h2_memo_init(struct h2_memo *memo, void (*drop)(void *kept));
void h2_memo_forget(struct h2_memo *memo);
/* NULL: not known. Valid until the next call but this. */
const struct h2_known *h2_memo_find(const struct h2_memo *memo, struct slice block);
/* Takes `kept`. The block is neutral and not known; the oldest makes room. */
void h2_memo_learn(struct h2_memo *memo, struct slice block, const struct h2_fields *fields,
                   void *kept);

/* Whether a block leaves the dynamic table as it is: indexed fields and literals that are not to be
 * indexed, whole. It does not ask whether the indexes exist. */
bool h2_memo_is_neutral(struct slice block);

#endif
