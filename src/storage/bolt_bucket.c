/* Buckets and rows.
 *
 * A bucket is a tree of its own, hung up as a value in its parent's tree: a header with the root's
 * page number, or, when the bucket is small, a header with 0 and the one leaf page right behind
 * it. A handle starts out reading pages. The first change loads the pages on the way to the row
 * as nodes; from then on the handle has a mixed tree, nodes on top and pages below. At commit the
 * children's headers are put into their parents, deepest first, and each tree is spilled. */
#include "storage/bolt_priv.h"

#include "base/digest.h"

#include <inttypes.h>

/* A node in memory that is larger than this is cut in two when a row is inserted in its middle,
 * so that many random inserts into one node do not move its whole array each time. Appends move
 * nothing and may grow a node without end; spill cuts it. */
#define NODE_SPLIT_COUNT 1024u

/* ---- levels: nodes and pages alike --------------------------------------------------------- */

static void level_from_node(const struct bolt_node *node, struct bolt_level *out)
{
    *out = (struct bolt_level){.node = node, .count = node->count, .is_leaf = node->is_leaf};
}

static void level_from_page(const struct bolt_page *page, struct bolt_level *out)
{
    *out = (struct bolt_level){
        .page = page->data, .len = page->len, .count = page->count, .is_leaf = page->is_leaf};
}

static struct bolt_page page_of_level(const struct bolt_level *level)
{
    return (struct bolt_page){
        .data = level->page, .len = level->len, .count = level->count, .is_leaf = level->is_leaf};
}

static FALLIBLE level_from_pgno(struct bolt_bucket *bucket, uint64_t pgno, struct bolt_level *out)
{
    struct bolt_page page;
    TRY(bolt__page_get(bucket->tx, pgno, &page));
    level_from_page(&page, out);
    return ERR_OK;
}

FALLIBLE bolt__level_root(struct bolt_bucket *bucket, struct bolt_level *out)
{
    ASSERT(!bucket->is_dropped);
    if (bucket->node != NULL) {
        level_from_node(bucket->node, out);
        return ERR_OK;
    }
    if (bucket->root == 0) {
        level_from_page(&bucket->inline_page, out);
        return ERR_OK;
    }
    return level_from_pgno(bucket, bucket->root, out);
}

static FALLIBLE level_damaged(struct bolt_bucket *bucket, const struct bolt_level *level)
{
    return bolt__tx_page_error(bucket->tx, get_le64(level->page),
                               "has an element outside of the page");
}

FALLIBLE bolt__level_elem(struct bolt_bucket *bucket, const struct bolt_level *level,
                          struct bolt_elem *out)
{
    ASSERT(level->index < level->count);
    if (level->node == NULL) {
        struct bolt_page page = page_of_level(level);
        return bolt__page_elem(&page, level->index, out) ? ERR_OK : level_damaged(bucket, level);
    }
    const struct bolt_inode *inode = &level->node->inodes[level->index];
    *out = (struct bolt_elem){.key = bolt__inode_key(inode)};
    if (level->is_leaf) {
        out->value = slice_of(inode->value, inode->value_len);
        out->flags = (uint32_t)inode->flags;
    } else {
        out->pgno = inode->pgno;
    }
    return ERR_OK;
}

FALLIBLE bolt__level_child(struct bolt_bucket *bucket, const struct bolt_level *level,
                           struct bolt_level *out)
{
    ASSERT(!level->is_leaf);
    ASSERT(level->index < level->count);
    if (level->node != NULL && level->node->inodes[level->index].child != NULL) {
        level_from_node(level->node->inodes[level->index].child, out);
        return ERR_OK;
    }
    struct bolt_elem elem = {0};
    TRY(bolt__level_elem(bucket, level, &elem));
    return level_from_pgno(bucket, elem.pgno, out);
}

FALLIBLE bolt__level_search(struct bolt_bucket *bucket, struct bolt_level *level, struct slice key,
                            bool *exact_out)
{
    if (level->node != NULL) {
        level->index = bolt__node_search(level->node, key, exact_out);
    } else {
        struct bolt_page page = page_of_level(level);
        if (!bolt__page_search(&page, key, &level->index, exact_out)) {
            return level_damaged(bucket, level);
        }
    }
    if (!level->is_leaf) {
        level->index = bolt__branch_index(level->index, *exact_out);
    }
    return ERR_OK;
}

static FALLIBLE too_deep(struct bolt_bucket *bucket)
{
    return bolt__tx_error(bucket->tx, ERR_CORRUPT, "%s: a tree is deeper than %d pages",
                          bucket->tx->db->path, BOLT_DEPTH_MAX);
}

/* The element with exactly this key. */
static FALLIBLE find(struct bolt_bucket *bucket, struct slice key, struct bolt_elem *out)
{
    struct bolt_level level;
    bool exact = false;
    TRY(bolt__level_root(bucket, &level));
    for (unsigned depth = 1; !level.is_leaf; depth++) {
        if (depth == BOLT_DEPTH_MAX) {
            return too_deep(bucket);
        }
        TRY(bolt__level_search(bucket, &level, key, &exact));
        TRY(bolt__level_child(bucket, &level, &level));
    }
    TRY(bolt__level_search(bucket, &level, key, &exact));
    return exact ? bolt__level_elem(bucket, &level, out) : ERR_NOT_FOUND;
}

/* ---- the way down for a change ------------------------------------------------------------- */

struct path {
    unsigned depth; /* nodes; the last is the leaf */
    struct bolt_node *node[BOLT_DEPTH_MAX];
    uint32_t index[BOLT_DEPTH_MAX]; /* of the child taken, and of the row in the leaf */
    bool is_exact;
    bool is_rightmost;
};

FALLIBLE bolt__bucket_load(struct bolt_bucket *bucket)
{
    ASSERT(bucket->tx->is_writable);
    ASSERT(!bucket->is_dropped);
    if (bucket->node != NULL) {
        return ERR_OK;
    }
    if (bucket->root == 0) {
        return bolt__node_from_page(bucket->tx, &bucket->inline_page, 0, &bucket->node);
    }
    return bolt__node_load(bucket->tx, bucket->root, &bucket->node);
}

static FALLIBLE path_find(struct bolt_bucket *bucket, struct slice key, struct path *path)
{
    TRY(bolt__bucket_load(bucket));
    path->depth = 0;
    path->is_rightmost = true;
    struct bolt_node *node = bucket->node;
    for (;;) {
        uint32_t index = bolt__node_search(node, key, &path->is_exact);
        if (!node->is_leaf) {
            index = bolt__branch_index(index, path->is_exact);
        }
        path->node[path->depth] = node;
        path->index[path->depth] = index;
        path->depth++;
        if (node->is_leaf) {
            return ERR_OK;
        }
        if (path->depth == BOLT_DEPTH_MAX) {
            return too_deep(bucket);
        }
        path->is_rightmost = path->is_rightmost && index + 1 == node->count;
        TRY(bolt__node_child(bucket->tx, node, index, &node));
    }
}

/* Moves the upper half of a node to a new one on its right. */
static struct bolt_node *split_half(struct bolt_bucket *bucket, struct bolt_node *node)
{
    uint32_t keep = node->count / 2;
    uint32_t moved = node->count - keep;
    struct bolt_node *right = bolt__node_new(bucket->tx, node->is_leaf, moved + moved / 2);
    bolt__node_append(bucket->tx, right, node->inodes + keep, moved);
    node->count = keep;
    return right;
}

static struct bolt_inode child_inode(struct bolt_node *child)
{
    ASSERT(child->count > 0);
    return (struct bolt_inode){
        .key = child->inodes[0].key, .key_len = child->inodes[0].key_len, .child = child};
}

/* Cuts the nodes of the path that have become too large, from the leaf up. */
static void path_split(struct bolt_bucket *bucket, const struct path *path)
{
    for (unsigned i = path->depth; i-- > 0;) {
        struct bolt_node *node = path->node[i];
        if (node->count <= NODE_SPLIT_COUNT) {
            return;
        }
        bucket->tail = NULL;
        struct bolt_inode right = child_inode(split_half(bucket, node));
        if (i > 0) {
            *bolt__node_insert(bucket->tx, path->node[i - 1], path->index[i - 1] + 1) = right;
            continue;
        }
        struct bolt_node *root = bolt__node_new(bucket->tx, false, 8);
        struct bolt_inode left = child_inode(node);
        bolt__node_append(bucket->tx, root, &left, 1);
        bolt__node_append(bucket->tx, root, &right, 1);
        bucket->node = root;
    }
}

static void inode_set(struct bolt_inode *inode, struct slice key, struct slice value,
                      uint32_t flags)
{
    *inode = (struct bolt_inode){.key = key.data,
                                 .key_len = (uint32_t)key.len,
                                 .value_len = (uint32_t)value.len,
                                 .value = value.data,
                                 .flags = flags};
}

FALLIBLE bolt__bucket_put(struct bolt_bucket *bucket, struct slice key, struct slice value,
                          uint32_t flags)
{
    struct bolt_node *tail = bucket->tail;
    if (tail != NULL && tail->count > 0 &&
        slice_cmp(bolt__inode_key(&tail->inodes[tail->count - 1]), key) < 0) {
        inode_set(bolt__node_insert(bucket->tx, tail, tail->count), key, value, flags);
        bucket->version++;
        return ERR_OK;
    }
    struct path path;
    TRY(path_find(bucket, key, &path));
    struct bolt_node *leaf = path.node[path.depth - 1];
    uint32_t index = path.index[path.depth - 1];
    if (path.is_exact) {
        struct bolt_inode *inode = &leaf->inodes[index];
        if (((inode->flags ^ flags) & ELEM_IS_BUCKET) != 0) {
            return bolt__tx_error(bucket->tx, ERR_INVALID, "%s is there already",
                                  flags == 0 ? "a bucket" : "a plain value");
        }
        inode_set(inode, bolt__inode_key(inode), value, flags);
    } else {
        bool is_append = index == leaf->count;
        inode_set(bolt__node_insert(bucket->tx, leaf, index), key, value, flags);
        bucket->tail = path.is_rightmost ? leaf : bucket->tail;
        if (!is_append) {
            path_split(bucket, &path);
        }
    }
    bucket->version++;
    return ERR_OK;
}

/* Takes out the element with this key, which is there. */
static FALLIBLE remove_key(struct bolt_bucket *bucket, struct slice key)
{
    struct path path;
    TRY(path_find(bucket, key, &path));
    if (!path.is_exact) {
        return bolt__tx_error(bucket->tx, ERR_CORRUPT, "%s: a tree has keys out of order",
                              bucket->tx->db->path);
    }
    struct bolt_node *leaf = path.node[path.depth - 1];
    bolt__node_remove(leaf, path.index[path.depth - 1]);
    leaf->is_unbalanced = true;
    bucket->version++;
    return ERR_OK;
}

/* ---- handles ------------------------------------------------------------------------------- */

struct bucket_id {
    uint64_t parent; /* serial */
    struct slice name;
};

static bool bucket_eq(const struct map_node *node, const void *key)
{
    const struct bucket_id *id = key;
    const struct bolt_bucket *bucket = CONTAINER_OF_CONST(node, struct bolt_bucket, hash);
    return bucket->parent->serial == id->parent && slice_eq(bucket->name, id->name);
}

static struct bolt_bucket *bucket_new(struct bolt_tx *tx)
{
    struct bolt_bucket *bucket = ARENA_NEW(&tx->arena, struct bolt_bucket);
    bucket->tx = tx;
    bucket->serial = tx->bucket_serial++;
    bucket->fill = BOLT_FILL_DEFAULT;
    list_init(&bucket->siblings);
    list_init(&bucket->children);
    return bucket;
}

struct bolt_bucket *bolt__bucket_root_new(struct bolt_tx *tx)
{
    struct bolt_bucket *root = bucket_new(tx);
    root->root = tx->meta.root;
    root->sequence = tx->meta.sequence;
    return root;
}

FALLIBLE bolt__bucket_parse(struct bolt_tx *tx, struct slice value, uint64_t *root_out,
                            uint64_t *sequence_out, struct bolt_page *inline_out)
{
    if (value.len < BUCKET_HEADER_LEN) {
        return bolt__tx_error(tx, ERR_CORRUPT, "%s: a bucket's value is shorter than its header",
                              tx->db->path);
    }
    uint64_t root = get_le64(value.data);
    if (root == 0) {
        struct slice rest = slice_skip(value, BUCKET_HEADER_LEN);
        const char *problem = "is shorter than a page header";
        if (rest.len < PAGE_HEADER_LEN ||
            !bolt__page_parse(rest.data, rest.len, inline_out, &problem)) {
            return bolt__tx_error(tx, ERR_CORRUPT, "%s: a bucket's inline page %s", tx->db->path,
                                  problem);
        }
        if (!inline_out->is_leaf) {
            return bolt__tx_error(tx, ERR_CORRUPT, "%s: a bucket's inline page is a branch",
                                  tx->db->path);
        }
    }
    *root_out = root;
    *sequence_out = get_le64(value.data + 8);
    return ERR_OK;
}

static FALLIBLE bucket_open(struct bolt_bucket *parent, struct slice name, struct slice value,
                            uint64_t hash, struct bolt_bucket **out)
{
    struct bolt_tx *tx = parent->tx;
    if (parent->nesting == BOLT_NEST_MAX) {
        return bolt__tx_error(tx, ERR_CORRUPT, "%s: buckets are nested deeper than %d",
                              tx->db->path, BOLT_NEST_MAX);
    }
    uint64_t root = 0;
    uint64_t sequence = 0;
    struct bolt_page inline_page = {0};
    TRY(bolt__bucket_parse(tx, value, &root, &sequence, &inline_page));
    struct bolt_bucket *bucket = bucket_new(tx);
    bucket->parent = parent;
    bucket->nesting = parent->nesting + 1;
    bucket->name = slice_of(arena_dup(&tx->arena, name.data, name.len), name.len);
    bucket->root = root;
    bucket->sequence = sequence;
    bucket->inline_page = inline_page;
    list_add_tail(&parent->children, &bucket->siblings);
    map_insert(&tx->buckets, &bucket->hash, hash);
    *out = bucket;
    return ERR_OK;
}

static FALLIBLE not_a_bucket(struct bolt_tx *tx)
{
    return bolt__tx_error(tx, ERR_INVALID, "a plain value is there, not a bucket");
}

FALLIBLE bolt_bucket(struct bolt_bucket *parent, struct slice name, struct bolt_bucket **out)
{
    struct bolt_tx *tx = parent->tx;
    struct bucket_id id = {.parent = parent->serial, .name = name};
    uint64_t hash = hash64(parent->serial, name);
    struct map_node *found = map_find(&tx->buckets, hash, bucket_eq, &id);
    if (found != NULL) {
        *out = CONTAINER_OF(found, struct bolt_bucket, hash);
        return ERR_OK;
    }
    struct bolt_elem elem = {0};
    TRY(find(parent, name, &elem));
    if ((elem.flags & ELEM_IS_BUCKET) == 0) {
        return not_a_bucket(tx);
    }
    return bucket_open(parent, name, elem.value, hash, out);
}

static FALLIBLE key_check(struct bolt_tx *tx, struct slice key)
{
    if (key.len == 0) {
        return bolt__tx_error(tx, ERR_INVALID, "a key or a bucket's name must not be empty");
    }
    if (key.len > BOLT_KEY_MAX) {
        return bolt__tx_error(tx, ERR_TOO_LARGE, "a key of %zu bytes is over the limit of %d",
                              key.len, BOLT_KEY_MAX);
    }
    return ERR_OK;
}

FALLIBLE bolt_bucket_create(struct bolt_bucket *parent, struct slice name, struct bolt_bucket **out)
{
    struct bolt_tx *tx = parent->tx;
    ASSERT(tx->is_writable);
    TRY(key_check(tx, name));
    struct bolt_elem elem = {0};
    enum err err = find(parent, name, &elem);
    if (err == ERR_OK) {
        return (elem.flags & ELEM_IS_BUCKET) != 0 ? ERR_EXISTS : not_a_bucket(tx);
    }
    if (err != ERR_NOT_FOUND) {
        return err;
    }
    if (parent->nesting == BOLT_NEST_MAX) {
        return bolt__tx_error(tx, ERR_TOO_LARGE, "buckets may be nested %d deep", BOLT_NEST_MAX);
    }
    uint8_t *value = arena_zalloc(&tx->arena, BUCKET_HEADER_LEN + PAGE_HEADER_LEN);
    bolt__page_header(value + BUCKET_HEADER_LEN, 0, PAGE_LEAF, 0, 0);
    struct slice key = slice_of(arena_dup(&tx->arena, name.data, name.len), name.len);
    TRY(bolt__bucket_put(parent, key, slice_of(value, BUCKET_HEADER_LEN + PAGE_HEADER_LEN),
                         ELEM_IS_BUCKET));
    return bolt_bucket(parent, name, out);
}

FALLIBLE bolt_bucket_ensure(struct bolt_bucket *parent, struct slice name, struct bolt_bucket **out)
{
    enum err err = bolt_bucket(parent, name, out);
    return err == ERR_NOT_FOUND ? bolt_bucket_create(parent, name, out) : err;
}

/* ---- drop ---------------------------------------------------------------------------------- */

static FALLIBLE drop_contents(struct bolt_bucket *bucket);

/* Frees everything below a level; `level` itself is in memory or freed by the caller. */
static FALLIBLE drop_level(struct bolt_bucket *bucket, struct bolt_level *level, unsigned depth)
{
    struct bolt_tx *tx = bucket->tx;
    if (depth == BOLT_DEPTH_MAX) {
        return too_deep(bucket);
    }
    for (level->index = 0; level->index < level->count; level->index++) {
        struct bolt_elem elem = {0};
        TRY(bolt__level_elem(bucket, level, &elem));
        if (!level->is_leaf) {
            struct bolt_level child;
            TRY(bolt__level_child(bucket, level, &child));
            if (child.node == NULL) {
                TRY(bolt__page_free(tx, elem.pgno, child.len));
            }
            TRY(drop_level(bucket, &child, depth + 1));
        } else if ((elem.flags & ELEM_IS_BUCKET) != 0) {
            struct bolt_bucket *child = NULL;
            enum err err = bolt_bucket(bucket, elem.key, &child);
            if (err != ERR_OK) {
                return bolt__tx_error(tx, ERR_CORRUPT, "%s: a bucket cannot be opened to drop it",
                                      tx->db->path);
            }
            TRY(drop_contents(child));
        }
    }
    return ERR_OK;
}

static FALLIBLE drop_contents(struct bolt_bucket *bucket)
{
    struct bolt_level level;
    TRY(bolt__level_root(bucket, &level));
    if (level.node == NULL && bucket->root != 0) {
        TRY(bolt__page_free(bucket->tx, bucket->root, level.len));
    }
    TRY(drop_level(bucket, &level, 1));
    /* Every child that had a handle has been met by now and has taken itself off the list. */
    if (!list_empty(&bucket->children)) {
        return bolt__tx_error(bucket->tx, ERR_CORRUPT, "%s: a tree has keys out of order",
                              bucket->tx->db->path);
    }
    list_del(&bucket->siblings);
    map_remove(&bucket->tx->buckets, &bucket->hash);
    bucket->is_dropped = true;
    return ERR_OK;
}

FALLIBLE bolt_bucket_drop(struct bolt_bucket *parent, struct slice name)
{
    struct bolt_bucket *bucket = NULL;
    ASSERT(parent->tx->is_writable);
    TRY(bolt_bucket(parent, name, &bucket));
    TRY(drop_contents(bucket));
    return remove_key(parent, bucket->name);
}

void bolt_bucket_set_fill(struct bolt_bucket *bucket, unsigned percent)
{
    ASSERT(percent >= 10);
    ASSERT(percent <= 100);
    bucket->fill = percent;
}

uint64_t bolt_bucket_sequence(const struct bolt_bucket *bucket)
{
    return bucket->sequence;
}

FALLIBLE bolt_bucket_set_sequence(struct bolt_bucket *bucket, uint64_t sequence)
{
    TRY(bolt__bucket_load(bucket));
    bucket->sequence = sequence;
    return ERR_OK;
}

/* ---- rows ---------------------------------------------------------------------------------- */

FALLIBLE bolt_get(struct bolt_bucket *bucket, struct slice key, struct slice *out)
{
    struct bolt_elem elem = {0};
    TRY(find(bucket, key, &elem));
    if ((elem.flags & ELEM_IS_BUCKET) != 0) {
        return ERR_NOT_FOUND;
    }
    *out = elem.value;
    return ERR_OK;
}

FALLIBLE bolt_put(struct bolt_bucket *bucket, struct slice key, struct slice value)
{
    struct bolt_tx *tx = bucket->tx;
    ASSERT(tx->is_writable);
    ASSERT(!bucket->is_dropped);
    TRY(key_check(tx, key));
    if (bucket->parent == NULL) {
        return bolt__tx_error(tx, ERR_INVALID, "the top level holds buckets only");
    }
    if (value.len > BOLT_VALUE_MAX) {
        return bolt__tx_error(tx, ERR_TOO_LARGE, "a value of %zu bytes is over the limit of %llu",
                              value.len, BOLT_VALUE_MAX);
    }
    uint8_t *copy = arena_alloc(&tx->arena, key.len + value.len);
    memcpy(copy, key.data, key.len);
    if (value.len > 0) {
        memcpy(copy + key.len, value.data, value.len);
    }
    return bolt__bucket_put(bucket, slice_of(copy, key.len), slice_of(copy + key.len, value.len),
                            0);
}

FALLIBLE bolt_delete(struct bolt_bucket *bucket, struct slice key)
{
    ASSERT(bucket->tx->is_writable);
    struct bolt_elem elem = {0};
    TRY(find(bucket, key, &elem));
    if ((elem.flags & ELEM_IS_BUCKET) != 0) {
        return bolt__tx_error(bucket->tx, ERR_INVALID, "a bucket is there, not a plain value");
    }
    return remove_key(bucket, elem.key);
}

/* ---- commit -------------------------------------------------------------------------------- */

static bool can_be_inline(const struct bolt_bucket *bucket)
{
    const struct bolt_node *node = bucket->node;
    uint32_t limit = bucket->tx->db->page_size / 4;
    if (!node->is_leaf || (uint64_t)node->count * ELEM_LEN > limit) {
        return false;
    }
    for (uint32_t i = 0; i < node->count; i++) {
        if ((node->inodes[i].flags & ELEM_IS_BUCKET) != 0) {
            return false;
        }
    }
    return bolt__node_size(node) <= limit;
}

/* Puts a changed bucket's new value into its parent. */
static FALLIBLE bucket_store(struct bolt_bucket *bucket)
{
    struct bolt_tx *tx = bucket->tx;
    uint64_t root = 0;
    size_t len = BUCKET_HEADER_LEN;
    uint8_t *value;
    if (can_be_inline(bucket)) {
        len += bolt__node_size(bucket->node);
        value = arena_alloc(&tx->arena, len);
        bolt__page_render(value + BUCKET_HEADER_LEN, 0, 0, true, bucket->node->inodes,
                          bucket->node->count, 0);
    } else {
        TRY(bolt__spill_tree(bucket, &root));
        value = arena_alloc(&tx->arena, len);
    }
    put_le64(value, root);
    put_le64(value + 8, bucket->sequence);
    return bolt__bucket_put(bucket->parent, bucket->name, slice_of(value, len), ELEM_IS_BUCKET);
}

FALLIBLE bolt__bucket_spill(struct bolt_bucket *bucket)
{
    LIST_FOR_EACH (&bucket->children, link) {
        struct bolt_bucket *child = CONTAINER_OF(link, struct bolt_bucket, siblings);
        TRY(bolt__bucket_spill(child));
        if (child->node != NULL) {
            TRY(bucket_store(child));
        }
    }
    return bucket->node == NULL ? ERR_OK : bolt__rebalance(bucket);
}
