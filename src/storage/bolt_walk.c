/* Walks: the way down to a row, kept for the next one.
 *
 * A level of the way is a page and the element taken in it. A find first looks at the element
 * behind the last one; then it leaves the levels that do not span the key, and goes down from the
 * one that does, or from the root. Within a state pages never change, so what was right stays
 * right.
 *
 * In a short walk the pages are the transaction's, as for a cursor. In a long one they are read
 * into memory of the walk's own: into the slots of two caches, one for branches, which are met
 * again and again, and one for leaves, among which a walk goes back and forth when rows that are
 * neighbours by key were written by several clients at once. What has no place there, because it is
 * longer than a page or a level above stands in its slot, goes into memory of its level. A page of
 * a value that is very long is used from the map all the same, and let go of when the walk leaves
 * it: a reply takes such a value in pieces, and each would read all of it again.
 *
 * Why not map: on a kernel with large folios one fault maps up to 2 MiB, and costs as much as ten
 * reads of a page. */
#include "storage/bolt_priv.h"

/* 8 MiB of branches stand above 3 M rows of 256 bytes. */
#define BRANCH_SLOTS 2048
#define LEAF_SLOTS 256

struct walk_slot {
    uint64_t pgno; /* 0: nothing */
    struct bolt_page page;
    uint8_t *buffer;
    size_t cap;
};

struct walk_cache {
    struct walk_slot branch[BRANCH_SLOTS];
    struct walk_slot leaf[LEAF_SLOTS];
};

struct walk_level {
    struct bolt_page page;
    uint32_t index;
    bool is_long_page;            /* in the map though the walk is long */
    const struct walk_slot *slot; /* where the page lies, if in one */
    uint8_t *buffer;
    size_t cap;
};

struct bolt_walk {
    struct bolt_bucket *bucket;
    unsigned depth;  /* levels in use; the last one is a leaf, or there is none */
    unsigned height; /* of the tree, as the last find met it: only decides on the cache */
    struct walk_level level[BOLT_DEPTH_MAX];
    struct walk_cache *cache; /* of pages of the bucket's state; NULL: no long walk for a while */
    bool is_cache_used;       /* since that state was entered */
    uint64_t pages_read;
};

struct bolt_walk *bolt_walk_new(void)
{
    return NEW(struct bolt_walk);
}

static void leave(struct bolt_walk *walk)
{
    struct walk_level *level = &walk->level[--walk->depth];
    if (level->is_long_page) {
        bolt__page_forget(walk->bucket->tx, &level->page);
        level->is_long_page = false;
    }
}

static void leave_all(struct bolt_walk *walk)
{
    while (walk->depth > 0) {
        leave(walk);
    }
}

static void slots_drop(struct walk_slot *slots, size_t count, bool is_kept)
{
    for (size_t i = 0; i < count; i++) {
        slots[i].pgno = 0;
        if (!is_kept) {
            mem_free(slots[i].buffer);
        }
    }
}

/* Another state may have other pages under the same numbers. */
static void cache_drop(struct bolt_walk *walk, bool is_kept)
{
    if (walk->cache == NULL) {
        return;
    }
    slots_drop(walk->cache->branch, BRANCH_SLOTS, is_kept);
    slots_drop(walk->cache->leaf, LEAF_SLOTS, is_kept);
    if (!is_kept) {
        mem_free(walk->cache);
        walk->cache = NULL;
    }
    walk->is_cache_used = false;
}

void bolt_walk_enter(struct bolt_walk *walk, struct bolt_bucket *bucket)
{
    ASSERT(bucket == NULL || !bucket->tx->is_writable);
    leave_all(walk);
    if (bucket != NULL) {
        cache_drop(walk, walk->is_cache_used);
    }
    walk->bucket = bucket;
}

void bolt_walk_free(struct bolt_walk **walk)
{
    struct bolt_walk *done = *walk;
    *walk = NULL;
    if (done == NULL) {
        return;
    }
    leave_all(done);
    cache_drop(done, false);
    for (size_t i = 0; i < BOLT_DEPTH_MAX; i++) {
        mem_free(done->level[i].buffer);
    }
    mem_free(done);
}

/* ---- finding --------------------------------------------------------------------------------- */

static FALLIBLE damaged(const struct bolt_walk *walk, const struct walk_level *level)
{
    return bolt__tx_page_error(walk->bucket->tx, get_le64(level->page.data),
                               "has an element outside of the page");
}

static struct walk_level *top(struct bolt_walk *walk)
{
    ASSERT(walk->depth > 0);
    return &walk->level[walk->depth - 1];
}

/* The slot for a page of the next level; NULL: a level above stands in it. */
static struct walk_slot *slot_of(struct bolt_walk *walk, uint64_t pgno)
{
    if (walk->cache == NULL) {
        walk->cache = NEW(struct walk_cache);
    }
    walk->is_cache_used = true;
    bool is_leaf = walk->depth + 1 == walk->height;
    uint64_t mixed = pgno * UINT64_C(0x9E3779B97F4A7C15) >> 32;
    struct walk_slot *slot = is_leaf ? &walk->cache->leaf[mixed % LEAF_SLOTS]
                                     : &walk->cache->branch[mixed % BRANCH_SLOTS];
    for (unsigned i = 0; i < walk->depth; i++) {
        if (walk->level[i].slot == slot) {
            return NULL;
        }
    }
    return slot;
}

/* A page of a long walk. */
static FALLIBLE read_page(struct bolt_walk *walk, struct walk_level *level, uint64_t pgno)
{
    struct bolt_tx *tx = walk->bucket->tx;
    struct walk_slot *slot = slot_of(walk, pgno);
    if (slot == NULL) {
        walk->pages_read++;
        TRY(bolt__page_copy(tx, pgno, &level->buffer, &level->cap, &level->page));
        level->is_long_page = level->page.data != level->buffer;
        return ERR_OK;
    }
    if (slot->pgno != pgno || pgno == 0) { /* a damaged page may refer to 0, which is refused */
        slot->pgno = 0;
        walk->pages_read++;
        TRY(bolt__page_copy(tx, pgno, &slot->buffer, &slot->cap, &slot->page));
        level->is_long_page = slot->page.data != slot->buffer;
        if (slot->page.len == tx->db->page_size) {
            slot->pgno = pgno;
        }
    }
    level->slot = slot;
    level->page = slot->page;
    return ERR_OK;
}

static FALLIBLE push(struct bolt_walk *walk, uint64_t pgno, bool is_long)
{
    struct bolt_tx *tx = walk->bucket->tx;
    if (walk->depth == BOLT_DEPTH_MAX) {
        return bolt__tx_error(tx, ERR_CORRUPT, "%s: a tree is deeper than %d pages", tx->db->path,
                              BOLT_DEPTH_MAX);
    }
    struct walk_level *level = &walk->level[walk->depth];
    level->slot = NULL;
    level->is_long_page = false;
    if (is_long) {
        TRY(read_page(walk, level, pgno));
    } else {
        TRY(bolt__page_get(tx, pgno, &level->page));
    }
    walk->depth++;
    return ERR_OK;
}

static FALLIBLE push_root(struct bolt_walk *walk, bool is_long)
{
    if (walk->bucket->root != 0) {
        return push(walk, walk->bucket->root, is_long);
    }
    walk->level[0].page = walk->bucket->inline_page;
    walk->level[0].is_long_page = false;
    walk->level[0].slot = NULL;
    walk->depth = 1;
    return ERR_OK;
}

/* Is the key within what the page's elements span? Then it lies below it, if anywhere. */
static FALLIBLE spans(const struct bolt_walk *walk, const struct walk_level *level,
                      struct slice key, bool *out)
{
    struct slice first = SLICE_EMPTY;
    struct slice last = SLICE_EMPTY;
    const struct bolt_page *page = &level->page;
    if (page->count == 0) {
        *out = false;
        return ERR_OK;
    }
    if (!bolt__page_key(page, 0, &first) || !bolt__page_key(page, page->count - 1, &last)) {
        return damaged(walk, level);
    }
    *out = slice_cmp(first, key) <= 0 && slice_cmp(key, last) <= 0;
    return ERR_OK;
}

/* The row behind the last one: the most frequent of all finds. */
static FALLIBLE find_next(struct bolt_walk *walk, struct slice key, struct bolt_elem *out)
{
    struct walk_level *leaf = top(walk);
    struct slice next = SLICE_EMPTY;
    if (leaf->index + 1 >= leaf->page.count) {
        return ERR_NOT_FOUND;
    }
    if (!bolt__page_key(&leaf->page, leaf->index + 1, &next)) {
        return damaged(walk, leaf);
    }
    if (!slice_eq(next, key)) {
        return ERR_NOT_FOUND;
    }
    leaf->index++;
    return bolt__page_elem(&leaf->page, leaf->index, out) ? ERR_OK : damaged(walk, leaf);
}

/* Up to a page that spans the key, or to the root. */
static FALLIBLE climb(struct bolt_walk *walk, struct slice key)
{
    bool is_below = false;
    while (walk->depth > 1) {
        TRY(spans(walk, top(walk), key, &is_below));
        if (is_below) {
            return ERR_OK;
        }
        leave(walk);
    }
    return ERR_OK;
}

static FALLIBLE find_from_top(struct bolt_walk *walk, struct slice key, bool is_long,
                              struct bolt_elem *out)
{
    bool is_exact = false;
    for (;;) {
        struct walk_level *level = top(walk);
        if (!bolt__page_search(&level->page, key, &level->index, &is_exact)) {
            return damaged(walk, level);
        }
        if (level->page.is_leaf) {
            walk->height = walk->depth;
            break;
        }
        level->index = bolt__branch_index(level->index, is_exact);
        if (!bolt__page_elem(&level->page, level->index, out)) {
            return damaged(walk, level);
        }
        TRY(push(walk, out->pgno, is_long));
    }
    if (!is_exact) {
        return ERR_NOT_FOUND;
    }
    return bolt__page_elem(&top(walk)->page, top(walk)->index, out) ? ERR_OK
                                                                    : damaged(walk, top(walk));
}

static FALLIBLE find(struct bolt_walk *walk, struct slice key, bool is_long, struct bolt_elem *out)
{
    if (walk->depth == 0) {
        TRY(push_root(walk, is_long));
        return find_from_top(walk, key, is_long, out);
    }
    enum err err = find_next(walk, key, out);
    if (err != ERR_NOT_FOUND) {
        return err;
    }
    TRY(climb(walk, key));
    return find_from_top(walk, key, is_long, out);
}

FALLIBLE bolt_walk_find(struct bolt_walk *walk, struct slice key, bool is_long, struct slice *out)
{
    struct bolt_elem elem = {0};
    enum err err = find(walk, key, is_long, &elem);
    if (err != ERR_OK) {
        leave_all(walk); /* the way may have ended anywhere */
        return err;
    }
    if ((elem.flags & ELEM_IS_BUCKET) != 0) {
        return ERR_NOT_FOUND;
    }
    *out = elem.value;
    return ERR_OK;
}

uint64_t bolt_walk_pages(const struct bolt_walk *walk)
{
    return walk->pages_read;
}
