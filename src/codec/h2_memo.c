/* RFC 7541 section 6, by the first byte of a representation:
 *
 *   1iiiiiii  indexed field
 *   01iiiiii  literal, goes into the table
 *   001sssss  new size of the table
 *   0001iiii  literal, never to be indexed
 *   0000iiii  literal, not indexed
 *
 * A literal has its name behind it when i is 0, then its value; both are strings with a length. */
#include "codec/h2_memo.h"

#include "base/mem.h"

/* ---- blocks -----------------------------------------------------------------------------------
 */

/* Section 5.1, of at most 14 bits behind the prefix: more is no index and no length of ours. */
static bool int_skip(struct slice *in, uint8_t mask, size_t *out)
{
    size_t value = in->data[0] & mask;
    *in = slice_skip(*in, 1);
    if (value < mask) {
        *out = value;
        return true;
    }
    for (unsigned shift = 0; shift < 14 && in->len > 0; shift += 7) {
        uint8_t byte = in->data[0];
        *in = slice_skip(*in, 1);
        value += (size_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *out = value;
            return true;
        }
    }
    return false;
}

static bool string_skip(struct slice *in)
{
    size_t len;
    if (in->len == 0 || !int_skip(in, 0x7f, &len) || len > in->len) {
        return false;
    }
    *in = slice_skip(*in, len);
    return true;
}

bool h2_memo_is_neutral(struct slice block)
{
    while (block.len > 0) {
        uint8_t first = block.data[0];
        size_t index;
        if ((first & 0x80) != 0) {
            if (!int_skip(&block, 0x7f, &index)) {
                return false;
            }
        } else if ((first & 0x60) != 0) {
            return false;
        } else if (!int_skip(&block, 0x0f, &index) || (index == 0 && !string_skip(&block)) ||
                   !string_skip(&block)) {
            return false;
        }
    }
    return true;
}

/* ---- entries ----------------------------------------------------------------------------------
 */

void h2_memo_init(struct h2_memo *memo, void (*drop)(void *kept))
{
    *memo = (struct h2_memo){.drop = drop};
}

static void slot_clear(struct h2_memo *memo, unsigned slot)
{
    struct h2_known *known = memo->slots[slot];
    if (known != NULL) {
        memo->slots[slot] = NULL;
        memo->drop(known->kept);
        mem_free(known);
    }
}

void h2_memo_forget(struct h2_memo *memo)
{
    for (unsigned i = 0; i < H2_MEMO_SLOTS; i++) {
        slot_clear(memo, i);
    }
}

const struct h2_known *h2_memo_find(const struct h2_memo *memo, struct slice block)
{
    for (unsigned i = 0; i < H2_MEMO_SLOTS; i++) {
        const struct h2_known *known = memo->slots[i];
        if (known != NULL && known->len == block.len &&
            memcmp(known->bytes, block.data, block.len) == 0) {
            return known;
        }
    }
    return NULL;
}

void h2_memo_learn(struct h2_memo *memo, struct slice block, const struct h2_fields *fields,
                   void *kept)
{
    ASSERT(block.len > 0 && block.len <= H2_MEMO_BLOCK_MAX);
    ASSERT(h2_memo_find(memo, block) == NULL);
    struct h2_known *known = mem_alloc(sizeof(*known) + block.len);
    known->fields = *fields;
    known->kept = kept;
    known->len = block.len;
    memcpy(known->bytes, block.data, block.len);
    slot_clear(memo, memo->next);
    memo->slots[memo->next] = known;
    memo->next = (memo->next + 1) % H2_MEMO_SLOTS;
}
