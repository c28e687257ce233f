/* Nodes: pages in memory, while a write transaction changes them.
 *
 * A node knows its children, not its parent: every walk that needs the way up keeps it, so nothing
 * has to be mended when nodes split, merge or move. Nodes and their arrays live in the
 * transaction's arena and are never freed one by one. */
#include "storage/bolt_priv.h"

struct bolt_node *bolt__node_new(struct bolt_tx *tx, bool is_leaf, uint32_t cap)
{
    struct bolt_node *node = ARENA_NEW(&tx->arena, struct bolt_node);
    node->is_leaf = is_leaf;
    node->cap = cap < 4 ? 4 : cap;
    node->inodes = arena_alloc(&tx->arena, node->cap * sizeof(node->inodes[0]));
    return node;
}

static void inode_from_elem(const struct bolt_elem *elem, bool is_leaf, struct bolt_inode *out)
{
    *out = (struct bolt_inode){.key = elem->key.data, .key_len = (uint32_t)elem->key.len};
    if (is_leaf) {
        out->value_len = (uint32_t)elem->value.len;
        out->value = elem->value.data;
        out->flags = elem->flags;
    } else {
        out->pgno = elem->pgno;
        out->child = NULL;
    }
}

FALLIBLE bolt__node_from_page(struct bolt_tx *tx, const struct bolt_page *page, uint64_t pgno,
                              struct bolt_node **out)
{
    struct bolt_node *node = bolt__node_new(tx, page->is_leaf, page->count + 8 + page->count / 4);
    struct slice last = SLICE_EMPTY;
    for (uint32_t i = 0; i < page->count; i++) {
        struct bolt_elem elem;
        if (!bolt__page_elem(page, i, &elem)) {
            return bolt__tx_page_error(tx, pgno, "has an element outside of the page");
        }
        if (elem.key.len > BOLT_KEY_MAX || elem.value.len > BOLT_VALUE_MAX) {
            return bolt__tx_page_error(tx, pgno, "has an element over the size limits");
        }
        if (i > 0 && slice_cmp(last, elem.key) >= 0) {
            return bolt__tx_page_error(tx, pgno, "has keys out of order");
        }
        last = elem.key;
        inode_from_elem(&elem, page->is_leaf, &node->inodes[i]);
    }
    node->count = page->count;
    *out = node;
    return ERR_OK;
}

FALLIBLE bolt__node_load(struct bolt_tx *tx, uint64_t pgno, struct bolt_node **out)
{
    struct bolt_page page;
    struct bolt_node *node = NULL;
    TRY(bolt__page_get(tx, pgno, &page));
    TRY(bolt__node_from_page(tx, &page, pgno, &node));
    TRY(bolt__page_free(tx, pgno, page.len));
    *out = node;
    return ERR_OK;
}

FALLIBLE bolt__node_child(struct bolt_tx *tx, struct bolt_node *node, uint32_t index,
                          struct bolt_node **out)
{
    ASSERT(!node->is_leaf);
    ASSERT(index < node->count);
    struct bolt_inode *inode = &node->inodes[index];
    if (inode->child == NULL) {
        TRY(bolt__node_load(tx, inode->pgno, &inode->child));
    }
    *out = inode->child;
    return ERR_OK;
}

uint32_t bolt__node_search(const struct bolt_node *node, struct slice key, bool *exact_out)
{
    uint32_t low = 0;
    uint32_t high = node->count;
    *exact_out = false;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int order = slice_cmp(bolt__inode_key(&node->inodes[mid]), key);
        if (order == 0) {
            *exact_out = true;
            return mid;
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static void reserve(struct bolt_tx *tx, struct bolt_node *node, uint32_t extra)
{
    ASSERT(node->count <= UINT32_MAX / 4);
    if (node->cap - node->count >= extra) {
        return;
    }
    uint32_t cap = node->cap * 2 > node->count + extra ? node->cap * 2 : node->count + extra;
    struct bolt_inode *inodes = arena_alloc(&tx->arena, cap * sizeof(inodes[0]));
    memcpy(inodes, node->inodes, node->count * sizeof(inodes[0]));
    node->inodes = inodes;
    node->cap = cap;
}

struct bolt_inode *bolt__node_insert(struct bolt_tx *tx, struct bolt_node *node, uint32_t index)
{
    ASSERT(index <= node->count);
    reserve(tx, node, 1);
    struct bolt_inode *at = &node->inodes[index];
    memmove(at + 1, at, (node->count - index) * sizeof(*at));
    node->count++;
    return at;
}

void bolt__node_remove(struct bolt_node *node, uint32_t index)
{
    ASSERT(index < node->count);
    struct bolt_inode *at = &node->inodes[index];
    node->count--;
    memmove(at, at + 1, (node->count - index) * sizeof(*at));
}

void bolt__node_append(struct bolt_tx *tx, struct bolt_node *node, const struct bolt_inode *inodes,
                       uint32_t count)
{
    reserve(tx, node, count);
    memcpy(node->inodes + node->count, inodes, count * sizeof(inodes[0]));
    node->count += count;
}

uint64_t bolt__node_size(const struct bolt_node *node)
{
    uint64_t size = PAGE_HEADER_LEN;
    for (uint32_t i = 0; i < node->count; i++) {
        const struct bolt_inode *inode = &node->inodes[i];
        size += ELEM_LEN + (uint64_t)inode->key_len + (node->is_leaf ? inode->value_len : 0);
    }
    return size;
}

void bolt__node_check(const struct bolt_node *node)
{
    ASSERT(node->count <= node->cap);
    for (uint32_t i = 0; i < node->count; i++) {
        const struct bolt_inode *inode = &node->inodes[i];
        if (i > 0) {
            ASSERT(slice_cmp(bolt__inode_key(inode - 1), bolt__inode_key(inode)) < 0);
        }
        if (!node->is_leaf && inode->child != NULL) {
            bolt__node_check(inode->child);
        }
    }
}
