/* Insertion and removal go down by recursion, whose depth is the tree's height: at most 1.44 log2 n
 * (Adelson-Velsky and Landis). On the way back every node is made right again: height, reach, and
 * at most one or two rotations. */
#include "base/itree.h"

void itree_init(struct itree *tree)
{
    *tree = (struct itree){0};
}

static int end_cmp(struct slice a, struct slice b)
{
    if (a.len == 0 || b.len == 0) {
        return (a.len == 0) - (b.len == 0);
    }
    return slice_cmp(a, b);
}

static int interval_cmp(struct slice from, struct slice end, const struct itree_node *node)
{
    int order = slice_cmp(from, node->from);
    return order != 0 ? order : end_cmp(end, node->end);
}

static unsigned height(const struct itree_node *node)
{
    return node == NULL ? 0 : node->height;
}

static struct itree_node *farther(struct itree_node *a, struct itree_node *b)
{
    return b == NULL || end_cmp(a->end, b->end) >= 0 ? a : b;
}

static void update(struct itree_node *node)
{
    unsigned left = height(node->left);
    unsigned right = height(node->right);
    node->height = 1 + (left > right ? left : right);
    node->reach = farther(node, node->left == NULL ? NULL : node->left->reach);
    node->reach = farther(node->reach, node->right == NULL ? NULL : node->right->reach);
}

/*      node            left
 *      /  \            /  \
 *   left   c   ->     a   node
 *   /  \                  /  \
 *  a    b                b    c   */
static struct itree_node *rotate_right(struct itree_node *node)
{
    struct itree_node *left = node->left;
    node->left = left->right;
    left->right = node;
    update(node);
    update(left);
    return left;
}

static struct itree_node *rotate_left(struct itree_node *node)
{
    struct itree_node *right = node->right;
    node->right = right->left;
    right->left = node;
    update(node);
    update(right);
    return right;
}

/* Both sides are right, and differ in height by two at most. */
static struct itree_node *balance(struct itree_node *node)
{
    if (height(node->left) > height(node->right) + 1) {
        if (height(node->left->left) < height(node->left->right)) {
            node->left = rotate_left(node->left);
        }
        return rotate_right(node);
    }
    if (height(node->right) > height(node->left) + 1) {
        if (height(node->right->right) < height(node->right->left)) {
            node->right = rotate_right(node->right);
        }
        return rotate_left(node);
    }
    update(node);
    return node;
}

static struct itree_node *insert(struct itree_node *at, struct itree_node *node)
{
    if (at == NULL) {
        return node;
    }
    int order = interval_cmp(node->from, node->end, at);
    ASSERT(order != 0);
    if (order < 0) {
        at->left = insert(at->left, node);
    } else {
        at->right = insert(at->right, node);
    }
    return balance(at);
}

void itree_insert(struct itree *tree, struct itree_node *node)
{
    node->left = NULL;
    node->right = NULL;
    update(node);
    tree->root = insert(tree->root, node);
    tree->count++;
}

/* Takes the first node of a subtree out. */
static struct itree_node *remove_first(struct itree_node *at, struct itree_node **first_out)
{
    if (at->left == NULL) {
        *first_out = at;
        return at->right;
    }
    at->left = remove_first(at->left, first_out);
    return balance(at);
}

static struct itree_node *remove_node(struct itree_node *at, const struct itree_node *node)
{
    ASSERT(at != NULL);
    if (at != node) {
        if (interval_cmp(node->from, node->end, at) < 0) {
            at->left = remove_node(at->left, node);
        } else {
            at->right = remove_node(at->right, node);
        }
        return balance(at);
    }
    if (at->right == NULL) {
        return at->left;
    }
    struct itree_node *next;
    struct itree_node *right = remove_first(at->right, &next);
    next->left = at->left;
    next->right = right;
    return balance(next);
}

void itree_remove(struct itree *tree, struct itree_node *node)
{
    ASSERT(tree->count > 0);
    tree->root = remove_node(tree->root, node);
    tree->count--;
}

struct itree_node *itree_find(const struct itree *tree, struct slice from, struct slice end)
{
    struct itree_node *node = tree->root;
    while (node != NULL) {
        int order = interval_cmp(from, end, node);
        if (order == 0) {
            return node;
        }
        node = order < 0 ? node->left : node->right;
    }
    return NULL;
}

static bool ends_after(const struct itree_node *node, struct slice key)
{
    return node->end.len == 0 || slice_cmp(key, node->end) < 0;
}

static void stab(const struct itree_node *node, struct slice key, itree_each_fn *each, void *ctx)
{
    while (node != NULL && ends_after(node->reach, key)) {
        stab(node->left, key, each, ctx);
        if (slice_cmp(key, node->from) < 0) {
            return; /* so it is for all on the right */
        }
        if (ends_after(node, key)) {
            each(ctx, (struct itree_node *)(uintptr_t)node);
        }
        node = node->right;
    }
}

void itree_stab(const struct itree *tree, struct slice key, itree_each_fn *each, void *ctx)
{
    stab(tree->root, key, each, ctx);
}

static size_t check(const struct itree_node *node, const struct itree_node **last)
{
    if (node == NULL) {
        return 0;
    }
    size_t count = check(node->left, last);
    ASSERT(*last == NULL || interval_cmp(node->from, node->end, *last) > 0);
    *last = node;
    unsigned left = height(node->left);
    unsigned right = height(node->right);
    ASSERT(left <= right + 1);
    ASSERT(right <= left + 1);
    ASSERT(node->height == 1 + (left > right ? left : right));
    ASSERT(end_cmp(node->reach->end, node->end) >= 0);
    ASSERT(node->left == NULL || end_cmp(node->reach->end, node->left->reach->end) >= 0);
    ASSERT(node->right == NULL || end_cmp(node->reach->end, node->right->reach->end) >= 0);
    ASSERT(node->reach == node || (node->left != NULL && node->reach == node->left->reach) ||
           (node->right != NULL && node->reach == node->right->reach));
    return count + 1 + check(node->right, last);
}

void itree_check(const struct itree *tree)
{
    const struct itree_node *last = NULL;
    size_t count = check(tree->root, &last);
    ASSERT(count == tree->count);
}
