/* The walk over everything that a state reaches: for bolt_check(), and for finding the free pages
 * of a file that keeps no freelist.
 *
 * Recursion is bounded by BOLT_DEPTH_MAX in a tree and BOLT_NEST_MAX between trees, time by the
 * rule that a page is entered once: a file whose pages point in circles ends with an error. */
#include "storage/bolt_priv.h"

#include <inttypes.h>

struct walk {
    struct bolt_tx *tx;
    uint64_t *seen;
    bool is_strict;
    unsigned leaf_depth; /* of the tree being walked; 0: no leaf met yet */
    uint64_t mapped;     /* bytes of pages since the map was let go of */
};

/* What a walk over all pages may keep resident of them. */
#define WALK_MAPPED_MAX ((uint64_t)16 << 20)

/* Keys of a page lie in [low, high); has_high is false at the right edge. */
struct bounds {
    struct slice low;
    struct slice high;
    bool has_high;
};

uint64_t *bolt__seen_new(const struct bolt_tx *tx)
{
    return mem_zalloc((tx->meta.hwm / 64 + 1) * sizeof(uint64_t));
}

static FALLIBLE mark(struct walk *walk, uint64_t pgno, size_t len)
{
    uint64_t count = len >> walk->tx->db->page_shift;
    ASSERT(pgno + count <= walk->tx->meta.hwm);
    for (uint64_t at = pgno; at < pgno + count; at++) {
        uint64_t bit = (uint64_t)1 << (at % 64);
        if ((walk->seen[at / 64] & bit) != 0) {
            return bolt__tx_page_error(walk->tx, at, "is reached twice");
        }
        walk->seen[at / 64] |= bit;
    }
    walk->mapped += len;
    if (walk->mapped > WALK_MAPPED_MAX) {
        walk->mapped = 0;
        bolt_tx_forget_pages(walk->tx);
    }
    return ERR_OK;
}

static FALLIBLE key_check(struct walk *walk, uint64_t pgno, const struct bolt_elem *elem,
                          const struct bolt_elem *last, const struct bounds *bounds)
{
    if (elem->key.len == 0 || elem->key.len > BOLT_KEY_MAX) {
        return bolt__tx_page_error(walk->tx, pgno, "has a key of impossible length");
    }
    if (elem->value.len > BOLT_VALUE_MAX) {
        return bolt__tx_page_error(walk->tx, pgno, "has a value of impossible length");
    }
    if (last != NULL && slice_cmp(last->key, elem->key) >= 0) {
        return bolt__tx_page_error(walk->tx, pgno, "has keys out of order");
    }
    if (slice_cmp(elem->key, bounds->low) < 0 ||
        (bounds->has_high && slice_cmp(elem->key, bounds->high) >= 0)) {
        return bolt__tx_page_error(walk->tx, pgno, "has a key outside of what its branch says");
    }
    return ERR_OK;
}

/* Elements inside of the page; when strict, also the keys. */
static FALLIBLE elements_check(struct walk *walk, const struct bolt_page *page, uint64_t pgno,
                               const struct bounds *bounds)
{
    struct bolt_elem last = {0};
    for (uint32_t i = 0; i < page->count; i++) {
        struct bolt_elem elem;
        if (!bolt__page_elem(page, i, &elem)) {
            return bolt__tx_page_error(walk->tx, pgno, "has an element outside of the page");
        }
        if (walk->is_strict) {
            TRY(key_check(walk, pgno, &elem, i == 0 ? NULL : &last, bounds));
        }
        last = elem;
    }
    return ERR_OK;
}

static FALLIBLE walk_page(struct walk *walk, uint64_t pgno, const struct bounds *bounds,
                          unsigned depth, unsigned nesting);

static FALLIBLE walk_bucket(struct walk *walk, struct slice value, unsigned nesting);

static FALLIBLE walk_leaf(struct walk *walk, const struct bolt_page *page, uint64_t pgno,
                          unsigned nesting)
{
    for (uint32_t i = 0; i < page->count; i++) {
        const uint8_t *flags = page->data + PAGE_HEADER_LEN + (size_t)i * ELEM_LEN;
        struct bolt_elem elem = {0};
        if ((get_le32(flags) & ELEM_IS_BUCKET) == 0) {
            if (walk->is_strict && nesting == 0) {
                return bolt__tx_page_error(walk->tx, pgno, "has a plain value at the top level");
            }
            continue;
        }
        if (!bolt__page_elem(page, i, &elem)) {
            return bolt__tx_page_error(walk->tx, pgno, "has an element outside of the page");
        }
        TRY(walk_bucket(walk, elem.value, nesting + 1));
    }
    return ERR_OK;
}

static FALLIBLE walk_branch(struct walk *walk, const struct bolt_page *page,
                            const struct bounds *bounds, unsigned depth, unsigned nesting)
{
    struct bolt_elem elem;
    struct bolt_elem next = {0};
    if (!bolt__page_elem(page, 0, &next)) {
        return bolt__tx_page_error(walk->tx, get_le64(page->data),
                                   "has an element outside of the page");
    }
    for (uint32_t i = 0; i < page->count; i++) {
        elem = next;
        struct bounds inner = {.low = elem.key, .high = bounds->high, .has_high = bounds->has_high};
        if (i + 1 < page->count) {
            if (!bolt__page_elem(page, i + 1, &next)) {
                return bolt__tx_page_error(walk->tx, get_le64(page->data),
                                           "has an element outside of the page");
            }
            inner.high = next.key;
            inner.has_high = true;
        }
        TRY(walk_page(walk, elem.pgno, &inner, depth + 1, nesting));
    }
    return ERR_OK;
}

static FALLIBLE walk_page(struct walk *walk, uint64_t pgno, const struct bounds *bounds,
                          unsigned depth, unsigned nesting)
{
    if (depth > BOLT_DEPTH_MAX) {
        return bolt__tx_page_error(walk->tx, pgno, "is deeper than a tree can be");
    }
    struct bolt_page page;
    TRY(bolt__page_get(walk->tx, pgno, &page));
    TRY(mark(walk, pgno, page.len));
    if (walk->is_strict) {
        TRY(elements_check(walk, &page, pgno, bounds));
    }
    if (!page.is_leaf) {
        return walk_branch(walk, &page, bounds, depth, nesting);
    }
    if (walk->is_strict && walk->leaf_depth != 0 && walk->leaf_depth != depth) {
        return bolt__tx_page_error(walk->tx, pgno, "is not as deep as the other leaves");
    }
    walk->leaf_depth = depth;
    return walk_leaf(walk, &page, pgno, nesting);
}

static FALLIBLE walk_bucket(struct walk *walk, struct slice value, unsigned nesting)
{
    const struct bounds all = {0};
    uint64_t root = 0;
    uint64_t sequence = 0;
    struct bolt_page page;
    if (nesting > BOLT_NEST_MAX) {
        return bolt__tx_error(walk->tx, ERR_CORRUPT, "%s: buckets are nested deeper than %d",
                              walk->tx->db->path, BOLT_NEST_MAX);
    }
    TRY(bolt__bucket_parse(walk->tx, value, &root, &sequence, &page));
    if (root != 0) {
        unsigned outer_depth = walk->leaf_depth;
        walk->leaf_depth = 0;
        TRY(walk_page(walk, root, &all, 1, nesting));
        walk->leaf_depth = outer_depth;
        return ERR_OK;
    }
    if (walk->is_strict) {
        TRY(elements_check(walk, &page, 0, &all));
    }
    return walk_leaf(walk, &page, 0, nesting);
}

FALLIBLE bolt__reach(struct bolt_tx *tx, bool is_strict, uint64_t *seen)
{
    struct walk walk = {.tx = tx, .seen = seen, .is_strict = is_strict};
    const struct bounds all = {0};
    return walk_page(&walk, tx->meta.root, &all, 1, 0);
}

/* ---- freelist ------------------------------------------------------------------------------ */

FALLIBLE bolt__freelist_read(struct bolt_tx *tx, bolt_free_fn *each, void *ctx)
{
    uint64_t pgno = tx->meta.freelist;
    struct slice page = SLICE_EMPTY;
    TRY(bolt__page_bytes(tx, pgno, &page));
    if (get_le16(page.data + 8) != PAGE_FREELIST) {
        return bolt__tx_page_error(tx, pgno, "is not a freelist");
    }
    uint64_t count = get_le16(page.data + 10);
    const uint8_t *ids = page.data + PAGE_HEADER_LEN;
    uint64_t room = (page.len - PAGE_HEADER_LEN) / 8;
    if (count == FREELIST_COUNT_LONG) {
        count = get_le64(ids);
        ids += 8;
        room--;
    }
    if (count > room) {
        return bolt__tx_page_error(tx, pgno, "is a freelist of more pages than fit");
    }
    uint64_t end = pgno + (page.len >> tx->db->page_shift);
    uint64_t last = 1;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t id = get_le64(ids + i * 8);
        if (id <= last || id >= tx->meta.hwm) {
            return bolt__tx_page_error(tx, pgno, "is a freelist with ids out of order or bounds");
        }
        if (id >= pgno && id < end) {
            return bolt__tx_page_error(tx, pgno, "is a freelist that lists itself");
        }
        last = id;
        if (each(ctx, id) != ERR_OK) {
            return bolt__tx_page_error(tx, id, "is in use and free at the same time");
        }
    }
    return ERR_OK;
}

static enum err mark_free(void *ctx, uint64_t pgno)
{
    struct walk *walk = ctx;
    return mark(walk, pgno, walk->tx->db->page_size);
}

/* With a freelist every page must be accounted for. */
static FALLIBLE freelist_check(struct bolt_tx *tx, uint64_t *seen)
{
    struct walk walk = {.tx = tx, .seen = seen};
    struct slice page = SLICE_EMPTY;
    TRY(bolt__page_bytes(tx, tx->meta.freelist, &page));
    TRY(mark(&walk, tx->meta.freelist, page.len));
    TRY(bolt__freelist_read(tx, mark_free, &walk));
    for (uint64_t pgno = 2; pgno < tx->meta.hwm; pgno++) {
        if (!bolt__seen_has(seen, pgno)) {
            return bolt__tx_page_error(tx, pgno, "is neither in use nor free");
        }
    }
    return ERR_OK;
}

FALLIBLE bolt_check(struct bolt_tx *tx, struct errbuf *why)
{
    ASSERT(!tx->is_writable);
    uint64_t *seen = bolt__seen_new(tx);
    enum err err = bolt__reach(tx, true, seen);
    if (err == ERR_OK && tx->meta.freelist != BOLT_NO_FREELIST) {
        err = freelist_check(tx, seen);
    }
    mem_free(seen);
    return err == ERR_OK ? ERR_OK : errf(why, err, "%s", tx->why.text);
}

void bolt__db_check(struct bolt *db)
{
    ASSERT(db->writer == NULL);
    bolt__free_check(&db->free);
    struct bolt_tx *tx = bolt_read_begin(db);
    uint64_t *seen = bolt__seen_new(tx);
    ASSERT(bolt__reach(tx, true, seen) == ERR_OK);
    uint64_t freelist_end = 0;
    if (tx->meta.freelist != BOLT_NO_FREELIST) {
        struct slice page = SLICE_EMPTY;
        ASSERT(bolt__page_bytes(tx, tx->meta.freelist, &page) == ERR_OK);
        freelist_end = tx->meta.freelist + (page.len >> db->page_shift);
    }
    for (uint64_t pgno = 2; pgno < tx->meta.hwm; pgno++) {
        bool is_freelist = pgno >= tx->meta.freelist && pgno < freelist_end;
        unsigned owners = (bolt__seen_has(seen, pgno) ? 1u : 0u) + (is_freelist ? 1u : 0u) +
                          (bolt__free_has(&db->free, pgno) ? 1u : 0u);
        ASSERT(owners == 1);
    }
    mem_free(seen);
    bolt_read_end(&tx);
}
