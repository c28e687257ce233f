/* Intervals of byte strings, and which of them hold a key.
 *
 * A balanced (AVL) tree of embedded nodes, ordered by from and then by end. Each node knows the
 * node with the greatest end below it, so that a search for a key passes over what ends before it:
 * O(log n + found). Worst cases are bounded, whatever order intervals come in.
 *
 * It never owns: the bytes of from and end belong to whoever embeds the node, and stay as they are
 * while it is in the tree.
 *
 * Threads: no shared state. */
#ifndef BASE_ITREE_H
#define BASE_ITREE_H

#include "base/bytes.h"

/* from <= key < end; an end of length 0 lies behind every key. */
struct itree_node {
    struct slice from;
    struct slice end;
    struct itree_node *left; /* the rest is the tree's */
    struct itree_node *right;
    struct itree_node *reach; /* whose end is the greatest at and below this node */
    unsigned height;          /* 1 for a leaf */
};

struct itree {
    struct itree_node *root;
    size_t count;
};

void itree_init(struct itree *tree);
/* No interval equal to the node's may be there. */
void itree_insert(struct itree *tree, struct itree_node *node);
void itree_remove(struct itree *tree, struct itree_node *node);
/* The node with exactly these ends, or NULL. */
struct itree_node *itree_find(const struct itree *tree, struct slice from, struct slice end);

/* Calls each(ctx, node) for every interval that holds `key`, in the tree's order. `each` must not
 * change the tree. */
typedef void itree_each_fn(void *ctx, struct itree_node *node);
void itree_stab(const struct itree *tree, struct slice key, itree_each_fn *each, void *ctx);

/* Walks the tree and ASSERTs order, balance and reach. */
void itree_check(const struct itree *tree);

#endif
