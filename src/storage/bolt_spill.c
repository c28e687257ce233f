/* Commit's work on one bucket's tree: rebalance, then spill.
 *
 * Rebalance visits the nodes in memory, children first. A node from which something was taken and
 * that is now under a quarter of a page, or below the least number of keys, is merged with its left
 * sibling (the leftmost: with its right one). Nothing is split here: a merge that grew too large is
 * cut by the spill.
 *
 * Spill turns each node in memory into one or more new pages, children first, because a page can
 * only name children that have a page number. What a child became replaces its entry in the
 * parent, so the branch keys come out as the first keys of the pages below. A node is cut as
 * bbolt does: only when it is over a page and has more than four elements; each part is filled up
 * to the fill percentage, with at least two elements. A part with an element over a page becomes
 * a page with overflow. */
#include "storage/bolt_priv.h"

/* A page's positions are 32 bits wide, so a page of several huge values must be cut early. */
#define PAGE_BYTES_MAX ((uint64_t)1 << 31)

/* ---- rebalance ----------------------------------------------------------------------------- */

static bool is_underfull(const struct bolt_tx *tx, const struct bolt_node *node)
{
    uint32_t keys_min = node->is_leaf ? 1 : KEYS_PER_PAGE_MIN;
    if (node->count <= keys_min) {
        return true;
    }
    /* Many elements cannot be small enough; do not add them up. */
    if ((uint64_t)node->count * ELEM_LEN > tx->db->page_size / 4) {
        return false;
    }
    return bolt__node_size(node) <= tx->db->page_size / 4;
}

/* Merges child `right` of `node` into its left neighbour. */
static FALLIBLE merge(struct bolt_bucket *bucket, struct bolt_node *node, uint32_t right)
{
    struct bolt_tx *tx = bucket->tx;
    struct bolt_node *source = NULL;
    struct bolt_node *target = NULL;
    ASSERT(right > 0);
    TRY(bolt__node_child(tx, node, right, &source));
    TRY(bolt__node_child(tx, node, right - 1, &target));
    if (source->is_leaf != target->is_leaf) {
        return bolt__tx_error(tx, ERR_CORRUPT, "%s: a branch has leaves and branches as children",
                              tx->db->path);
    }
    if (source->count > 0 && target->count > 0 &&
        slice_cmp(bolt__inode_key(&target->inodes[target->count - 1]),
                  bolt__inode_key(&source->inodes[0])) >= 0) {
        return bolt__tx_error(tx, ERR_CORRUPT, "%s: neighbouring pages have keys out of order",
                              tx->db->path);
    }
    bolt__node_append(tx, target, source->inodes, source->count);
    target->is_unbalanced = true;
    bolt__node_remove(node, right);
    node->is_unbalanced = true;
    tx->db->stats.merges++;
    return ERR_OK;
}

static FALLIBLE rebalance_children(struct bolt_bucket *bucket, struct bolt_node *node)
{
    for (uint32_t i = 0; i < node->count;) {
        struct bolt_node *child = node->inodes[i].child;
        if (child == NULL || (!child->is_unbalanced && child->count > 0)) {
            i++;
            continue;
        }
        child->is_unbalanced = false;
        if (child->count == 0) {
            bolt__node_remove(node, i);
            node->is_unbalanced = true;
            continue;
        }
        if (!is_underfull(bucket->tx, child) || node->count == 1) {
            i++;
            continue;
        }
        uint32_t right = i == 0 ? 1 : i;
        TRY(merge(bucket, node, right));
        i = right - 1; /* the merged node, which may still be small */
    }
    return ERR_OK;
}

static FALLIBLE rebalance_node(struct bolt_bucket *bucket, struct bolt_node *node, unsigned depth)
{
    if (node->is_leaf) {
        return ERR_OK;
    }
    if (depth == BOLT_DEPTH_MAX) {
        return bolt__tx_error(bucket->tx, ERR_CORRUPT, "%s: a tree is deeper than %d pages",
                              bucket->tx->db->path, BOLT_DEPTH_MAX);
    }
    for (uint32_t i = 0; i < node->count; i++) {
        if (node->inodes[i].child != NULL) {
            TRY(rebalance_node(bucket, node->inodes[i].child, depth + 1));
        }
    }
    return rebalance_children(bucket, node);
}

FALLIBLE bolt__rebalance(struct bolt_bucket *bucket)
{
    bucket->tail = NULL;
    TRY(rebalance_node(bucket, bucket->node, 1));
    /* A root with one child is a level for nothing. */
    unsigned depth = 0;
    while (!bucket->node->is_leaf && bucket->node->count == 1) {
        if (++depth > BOLT_DEPTH_MAX) {
            return bolt__tx_error(bucket->tx, ERR_CORRUPT, "%s: a tree is deeper than %d pages",
                                  bucket->tx->db->path, BOLT_DEPTH_MAX);
        }
        struct bolt_node *child = NULL;
        TRY(bolt__node_child(bucket->tx, bucket->node, 0, &child));
        bucket->node = child;
    }
    if (bucket->node->count == 0) {
        bucket->node = bolt__node_new(bucket->tx, true, 0);
    }
    return ERR_OK;
}

/* ---- spill --------------------------------------------------------------------------------- */

static uint64_t inode_size(const struct bolt_inode *inode, bool is_leaf)
{
    return ELEM_LEN + (uint64_t)inode->key_len + (is_leaf ? inode->value_len : 0);
}

void bolt__page_render(uint8_t *page, uint64_t pgno, uint32_t overflow, bool is_leaf,
                       const struct bolt_inode *inodes, uint32_t count, size_t gap)
{
    bolt__page_header(page, pgno, is_leaf ? PAGE_LEAF : PAGE_BRANCH, count, overflow);
    uint8_t *elem = page + PAGE_HEADER_LEN;
    uint8_t *data = elem + (size_t)count * ELEM_LEN + gap;
    for (uint32_t i = 0; i < count; i++, elem += ELEM_LEN) {
        const struct bolt_inode *inode = &inodes[i];
        ASSERT((uint64_t)(data - elem) <= UINT32_MAX);
        uint32_t pos = (uint32_t)(data - elem);
        memcpy(data, inode->key, inode->key_len);
        data += inode->key_len;
        if (!is_leaf) {
            ASSERT(inode->child == NULL);
            put_le32(elem, pos);
            put_le32(elem + 4, inode->key_len);
            put_le64(elem + 8, inode->pgno);
            continue;
        }
        put_le32(elem, (uint32_t)inode->flags);
        put_le32(elem + 4, pos);
        put_le32(elem + 8, inode->key_len);
        put_le32(elem + 12, inode->value_len);
        if (inode->value_len > 0) {
            memcpy(data, inode->value, inode->value_len);
            data += inode->value_len;
        }
    }
}

/* How many of `inodes` go to the next page, and the bytes they take there, the seal's included. */
static uint32_t part_length(const struct bolt_bucket *bucket, bool is_leaf,
                            const struct bolt_inode *inodes, uint32_t count, uint64_t left_size,
                            uint64_t *size_out)
{
    uint64_t page_size = bucket->tx->db->page_size;
    bool is_whole = count <= 2 * KEYS_PER_PAGE_MIN || left_size <= page_size;
    if (is_whole && left_size <= PAGE_BYTES_MAX) {
        *size_out = left_size;
        return count;
    }
    uint64_t limit = is_whole ? PAGE_BYTES_MAX : page_size * bucket->fill / 100;
    uint64_t size = PAGE_HEADER_LEN + bolt__seal_len(bucket->tx->db);
    uint32_t i = 0;
    for (; i < count; i++) {
        uint64_t next = inode_size(&inodes[i], is_leaf);
        bool must_take = i < KEYS_PER_PAGE_MIN && !(i > 0 && size + next > PAGE_BYTES_MAX);
        bool must_leave = !is_whole && count - i <= KEYS_PER_PAGE_MIN;
        if (!must_take && (must_leave || size + next > limit)) {
            break;
        }
        size += next;
    }
    ASSERT(i > 0);
    *size_out = size;
    return i;
}

/* Writes the node's inodes to new pages and appends an entry for each to `parent`. */
static void spill_parts(struct bolt_bucket *bucket, const struct bolt_node *node,
                        struct bolt_node *parent)
{
    struct bolt_tx *tx = bucket->tx;
    uint32_t page_size = tx->db->page_size;
    size_t seal_len = bolt__seal_len(tx->db);
    uint64_t left_size = bolt__node_size(node) + seal_len;
    uint32_t done = 0;
    do {
        const struct bolt_inode *part = node->inodes + done;
        uint64_t size = 0;
        uint32_t count =
            part_length(bucket, node->is_leaf, part, node->count - done, left_size, &size);
        uint64_t pages = (size + page_size - 1) / page_size;
        uint64_t pgno = 0;
        uint8_t *data = bolt__page_allocate(tx, pages, &pgno);
        bolt__page_render(data, pgno, (uint32_t)(pages - 1), node->is_leaf, part, count, seal_len);
        /* What is behind the last byte would carry old memory to the disk. */
        memset(data + size, 0, pages * page_size - size);
        if (seal_len > 0) {
            bolt__seal_put(data, pages * page_size, tx->meta.txid);
        }
        *bolt__node_insert(tx, parent, parent->count) = (struct bolt_inode){
            .key = count > 0 ? part[0].key : NULL,
            .key_len = count > 0 ? part[0].key_len : 0,
            .pgno = pgno,
        };
        left_size -= size - PAGE_HEADER_LEN - seal_len;
        if (done == 0 && count < node->count) {
            tx->db->stats.splits++;
        }
        done += count;
    } while (done < node->count);
}

/* In a damaged file a child's keys may lie outside of what its branch said. Caught here, before a
 * branch with keys out of order reaches the disk. */
static FALLIBLE entries_check(struct bolt_bucket *bucket, const struct bolt_node *entries)
{
    for (uint32_t i = 1; i < entries->count; i++) {
        if (slice_cmp(bolt__inode_key(&entries->inodes[i - 1]),
                      bolt__inode_key(&entries->inodes[i])) >= 0) {
            return bolt__tx_error(bucket->tx, ERR_CORRUPT,
                                  "%s: pages of one tree have keys out of order",
                                  bucket->tx->db->path);
        }
    }
    return ERR_OK;
}

/* Spills `node` and what is below it; `parent` gets an entry for each page it became. */
static FALLIBLE spill_node(struct bolt_bucket *bucket, const struct bolt_node *node,
                           struct bolt_node *parent)
{
    if (node->is_leaf) {
        spill_parts(bucket, node, parent);
        return ERR_OK;
    }
    struct bolt_node *spilled = bolt__node_new(bucket->tx, false, node->count + 8);
    for (uint32_t i = 0; i < node->count; i++) {
        const struct bolt_inode *inode = &node->inodes[i];
        if (inode->child != NULL) {
            TRY(spill_node(bucket, inode->child, spilled));
        } else {
            bolt__node_append(bucket->tx, spilled, inode, 1);
        }
    }
    TRY(entries_check(bucket, spilled));
    spill_parts(bucket, spilled, parent);
    return ERR_OK;
}

FALLIBLE bolt__spill_tree(struct bolt_bucket *bucket, uint64_t *root_out)
{
    struct bolt_node *entries = bolt__node_new(bucket->tx, false, 8);
    TRY(spill_node(bucket, bucket->node, entries));
    while (entries->count > 1) {
        TRY(entries_check(bucket, entries));
        struct bolt_node *above = bolt__node_new(bucket->tx, false, 8);
        spill_parts(bucket, entries, above);
        ASSERT(above->count < entries->count);
        entries = above;
    }
    ASSERT(entries->count == 1);
    *root_out = entries->inodes[0].pgno;
    return ERR_OK;
}
