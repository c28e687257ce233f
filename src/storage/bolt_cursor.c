/* Cursors: a stack of levels from the root to a leaf, nodes and pages mixed.
 *
 * The stack is only a shortcut. What a cursor means is its key: when the bucket has changed since
 * the stack was filled (its version says so), or a move ran off the end, the next move finds the
 * way down again by the key. So no change to the tree can mislead a cursor.
 *
 * Empty leaves are met in the middle of a write transaction, before rebalance, and are stepped
 * over. In a damaged file a walk may repeat or miss rows; the depth limit ends every descent. */
#include "storage/bolt_priv.h"

#define VERSION_STALE UINT64_MAX

static struct bolt_level *top(struct bolt_cursor *c)
{
    ASSERT(c->depth > 0);
    return &c->level[c->depth - 1];
}

/* Puts the child at the top's index on the stack. */
static FALLIBLE push_child(struct bolt_cursor *c)
{
    if (c->depth == BOLT_DEPTH_MAX) {
        return bolt__tx_error(c->bucket->tx, ERR_CORRUPT, "%s: a tree is deeper than %d pages",
                              c->bucket->tx->db->path, BOLT_DEPTH_MAX);
    }
    TRY(bolt__level_child(c->bucket, top(c), &c->level[c->depth]));
    c->depth++;
    return ERR_OK;
}

static FALLIBLE push_root(struct bolt_cursor *c)
{
    c->depth = 0;
    c->version = VERSION_STALE; /* until the stack is whole */
    TRY(bolt__level_root(c->bucket, &c->level[0]));
    c->depth = 1;
    return ERR_OK;
}

/* From the top down to a leaf, always the first or always the last child. In a leaf the index is
 * the first element or one past the last. */
static FALLIBLE descend(struct bolt_cursor *c, bool to_last)
{
    for (;;) {
        struct bolt_level *level = top(c);
        if (level->is_leaf) {
            level->index = to_last ? level->count : 0;
            return ERR_OK;
        }
        level->index = to_last ? level->count - 1 : 0;
        TRY(push_child(c));
    }
}

/* To where `key` is or would be: the top's index is that of the first element not less than it in
 * that leaf, which may be one past the leaf's last. */
static FALLIBLE descend_to(struct bolt_cursor *c, struct slice key, bool *exact_out)
{
    TRY(push_root(c));
    for (;;) {
        TRY(bolt__level_search(c->bucket, top(c), key, exact_out));
        if (top(c)->is_leaf) {
            return ERR_OK;
        }
        TRY(push_child(c));
    }
}

/* Makes the top's index one of an element, moving on to the next leaves when it is past the end. */
static FALLIBLE settle_forward(struct bolt_cursor *c)
{
    while (top(c)->index >= top(c)->count) {
        do {
            c->depth--;
            if (c->depth == 0) {
                return ERR_NOT_FOUND;
            }
            top(c)->index++;
        } while (top(c)->index >= top(c)->count);
        TRY(push_child(c));
        TRY(descend(c, false));
    }
    return ERR_OK;
}

/* One element back from the top's index. */
static FALLIBLE step_back(struct bolt_cursor *c)
{
    while (top(c)->index == 0) {
        do {
            c->depth--;
            if (c->depth == 0) {
                return ERR_NOT_FOUND;
            }
        } while (top(c)->index == 0);
        top(c)->index--;
        TRY(push_child(c));
        TRY(descend(c, true));
    }
    top(c)->index--;
    return ERR_OK;
}

/* The end of every move: on success the cursor stands on what the stack says. */
static FALLIBLE finish(struct bolt_cursor *c, enum err err, struct bolt_item *out)
{
    struct bolt_elem elem = {0};
    if (err == ERR_OK) {
        err = bolt__level_elem(c->bucket, top(c), &elem);
    }
    if (err != ERR_OK) {
        c->version = VERSION_STALE;
        return err;
    }
    c->version = c->bucket->version;
    c->key = elem.key;
    c->is_placed = true;
    bool is_bucket = (elem.flags & ELEM_IS_BUCKET) != 0;
    *out = (struct bolt_item){
        .key = elem.key, .value = is_bucket ? SLICE_EMPTY : elem.value, .is_bucket = is_bucket};
    return ERR_OK;
}

void bolt_cursor_init(struct bolt_cursor *cursor, struct bolt_bucket *bucket)
{
    cursor->bucket = bucket;
    cursor->version = VERSION_STALE;
    cursor->key = SLICE_EMPTY;
    cursor->is_placed = false;
    cursor->depth = 0;
}

static FALLIBLE move_first(struct bolt_cursor *c)
{
    TRY(push_root(c));
    TRY(descend(c, false));
    return settle_forward(c);
}

FALLIBLE bolt_cursor_first(struct bolt_cursor *cursor, struct bolt_item *out)
{
    return finish(cursor, move_first(cursor), out);
}

static FALLIBLE move_last(struct bolt_cursor *c)
{
    TRY(push_root(c));
    TRY(descend(c, true));
    return step_back(c);
}

FALLIBLE bolt_cursor_last(struct bolt_cursor *cursor, struct bolt_item *out)
{
    return finish(cursor, move_last(cursor), out);
}

static FALLIBLE move_next(struct bolt_cursor *c)
{
    bool is_on_it = true;
    if (c->version != c->bucket->version) {
        TRY(descend_to(c, c->key, &is_on_it));
    }
    top(c)->index += is_on_it ? 1 : 0;
    return settle_forward(c);
}

FALLIBLE bolt_cursor_next(struct bolt_cursor *cursor, struct bolt_item *out)
{
    ASSERT(cursor->is_placed);
    return finish(cursor, move_next(cursor), out);
}

static FALLIBLE move_prev(struct bolt_cursor *c)
{
    bool is_on_it = false;
    if (c->version != c->bucket->version) {
        TRY(descend_to(c, c->key, &is_on_it));
    }
    return step_back(c);
}

FALLIBLE bolt_cursor_prev(struct bolt_cursor *cursor, struct bolt_item *out)
{
    ASSERT(cursor->is_placed);
    return finish(cursor, move_prev(cursor), out);
}

static FALLIBLE move_seek(struct bolt_cursor *c, struct slice key)
{
    bool exact = false;
    TRY(descend_to(c, key, &exact));
    return settle_forward(c);
}

FALLIBLE bolt_cursor_seek(struct bolt_cursor *cursor, struct slice key, struct bolt_item *out)
{
    return finish(cursor, move_seek(cursor, key), out);
}

FALLIBLE bolt_cursor_delete(struct bolt_cursor *cursor)
{
    ASSERT(cursor->is_placed);
    return bolt_delete(cursor->bucket, cursor->key);
}
