/* Which key belongs to which lease.
 *
 * A map leads from a key to its record; the records of a lease form a treap, a binary tree ordered
 * by key whose priorities are the keys' hashes, so that a lease gives up its keys in order without
 * sorting them. The hash has a secret seed: the tree's shape cannot be chosen from outside. */
#include "state/lease_priv.h"

#include "base/digest.h"
#include "base/mem.h"

/* ---- a map in parts -------------------------------------------------------------------------- */

struct map *parts__map(struct parts *parts, uint64_t hash)
{
    return &parts->map[hash >> 54]; /* a map looks at the low bits */
}
_Static_assert(LEASE_PARTS == 1024, "as many parts as the ten high bits of a hash can tell");

void parts__insert(struct parts *parts, struct map_node *node, uint64_t hash)
{
    map_insert(parts__map(parts, hash), node, hash);
    parts->count++;
}

void parts__remove(struct parts *parts, struct map_node *node)
{
    map_remove(parts__map(parts, node->hash), node);
    parts->count--;
}

/* ---- a lease's tree -------------------------------------------------------------------------- */

static struct slice bytes_of(const struct lease_key *key)
{
    return slice_of(key->bytes, key->len);
}

/* What is smaller than `key` and what is greater. */
static void split(struct lease_key *tree, struct slice key, struct lease_key **smaller,
                  struct lease_key **greater)
{
    while (tree != NULL) {
        if (slice_cmp(bytes_of(tree), key) < 0) {
            *smaller = tree;
            smaller = &tree->child[1];
            tree = tree->child[1];
        } else {
            *greater = tree;
            greater = &tree->child[0];
            tree = tree->child[0];
        }
    }
    *smaller = NULL;
    *greater = NULL;
}

/* Every key of `left` is smaller than every key of `right`. */
static struct lease_key *join(struct lease_key *left, struct lease_key *right)
{
    struct lease_key *root = NULL;
    struct lease_key **link = &root;
    while (left != NULL && right != NULL) {
        if (left->node.hash >= right->node.hash) {
            *link = left;
            link = &left->child[1];
            left = left->child[1];
        } else {
            *link = right;
            link = &right->child[0];
            right = right->child[0];
        }
    }
    *link = left != NULL ? left : right;
    return root;
}

static void tree_insert(struct lessor *lessor, struct lease *lease, struct lease_key *key)
{
    struct lease_key **link = &lease->keys;
    while (*link != NULL && (*link)->node.hash >= key->node.hash) {
        link = &(*link)->child[slice_cmp(bytes_of(key), bytes_of(*link)) > 0];
    }
    split(*link, bytes_of(key), &key->child[0], &key->child[1]);
    *link = key;
    key->lease = lease;
    lease->key_count++;
    lessor->ending_keys += lease__is_ending(lessor, lease);
}

static void tree_remove(struct lessor *lessor, struct lease_key *key)
{
    struct lease_key **link = &key->lease->keys;
    while (*link != key) {
        ASSERT(*link != NULL);
        link = &(*link)->child[slice_cmp(bytes_of(key), bytes_of(*link)) > 0];
    }
    *link = join(key->child[0], key->child[1]);
    lessor->ending_keys -= lease__is_ending(lessor, key->lease);
    key->lease->key_count--;
    key->lease = NULL;
}

/* ---- attaching ------------------------------------------------------------------------------- */

static bool is_key(const struct map_node *node, const void *key)
{
    return slice_eq(bytes_of(CONTAINER_OF_CONST(node, struct lease_key, node)),
                    *(const struct slice *)key);
}

static void key_free(struct lessor *lessor, struct lease_key *key)
{
    parts__remove(&lessor->keys, &key->node);
    lessor->key_bytes -= key->len;
    mem_free(key);
}

static struct lease_key *key_new(struct lessor *lessor, struct slice bytes, uint64_t hash)
{
    ASSERT(bytes.len <= UINT32_MAX);
    struct lease_key *key = mem_alloc(sizeof(*key) + bytes.len);
    *key = (struct lease_key){.len = (uint32_t)bytes.len};
    if (bytes.len > 0) {
        memcpy(key->bytes, bytes.data, bytes.len);
    }
    parts__insert(&lessor->keys, &key->node, hash);
    lessor->key_bytes += key->len;
    return key;
}

void lessor_attach(void *ctx, struct slice bytes, lease_id id)
{
    struct lessor *lessor = ctx;
    if (id == 0 && lessor->keys.count == 0) {
        return; /* the way of every put in a store without leases */
    }
    uint64_t hash = hash64(lessor->options.seed, bytes);
    struct map_node *node = map_find(parts__map(&lessor->keys, hash), hash, is_key, &bytes);
    struct lease_key *key = node == NULL ? NULL : CONTAINER_OF(node, struct lease_key, node);
    struct lease *lease = id == 0 ? NULL : lease__find(lessor, id);
    if ((key == NULL ? NULL : key->lease) == lease) {
        return;
    }
    if (key != NULL) {
        tree_remove(lessor, key);
    }
    if (lease == NULL) {
        key_free(lessor, key);
        return;
    }
    tree_insert(lessor, lease, key != NULL ? key : key_new(lessor, bytes, hash));
}

bool lessor_first_key(const struct lessor *lessor, lease_id id, struct slice *out)
{
    const struct lease *lease = lease__find(lessor, id);
    if (lease == NULL || lease->keys == NULL) {
        return false;
    }
    const struct lease_key *key = lease->keys;
    while (key->child[0] != NULL) {
        key = key->child[0];
    }
    *out = bytes_of(key);
    return true;
}

void lease__keys_free(struct lessor *lessor, struct lease *lease)
{
    while (lease->keys != NULL) {
        struct lease_key *key = lease->keys;
        tree_remove(lessor, key);
        key_free(lessor, key);
    }
}

/* Recursion follows the tree's depth, which grows with the logarithm of its size. */
static bool visit(const struct lease_key *tree, struct slice after, lease_key_fn *each, void *ctx)
{
    if (tree == NULL) {
        return true;
    }
    bool is_above = after.len == 0 || slice_cmp(bytes_of(tree), after) > 0;
    return (!is_above || (visit(tree->child[0], after, each, ctx) && each(ctx, bytes_of(tree)))) &&
           visit(tree->child[1], after, each, ctx);
}

void lessor_keys(const struct lessor *lessor, lease_id id, struct slice after, lease_key_fn *each,
                 void *ctx)
{
    const struct lease *lease = lease__find(lessor, id);
    if (lease != NULL) {
        (void)visit(lease->keys, after, each, ctx);
    }
}

/* ---- check ----------------------------------------------------------------------------------- */

static uint32_t check_tree(const struct lessor *lessor, const struct lease *lease,
                           const struct lease_key *tree, const struct lease_key *lower,
                           const struct lease_key *upper)
{
    if (tree == NULL) {
        return 0;
    }
    ASSERT(tree->lease == lease);
    ASSERT(tree->node.hash == hash64(lessor->options.seed, bytes_of(tree)));
    ASSERT(lower == NULL || slice_cmp(bytes_of(lower), bytes_of(tree)) < 0);
    ASSERT(upper == NULL || slice_cmp(bytes_of(tree), bytes_of(upper)) < 0);
    for (unsigned i = 0; i < 2; i++) {
        ASSERT(tree->child[i] == NULL || tree->child[i]->node.hash <= tree->node.hash);
    }
    return 1 + check_tree(lessor, lease, tree->child[0], lower, tree) +
           check_tree(lessor, lease, tree->child[1], tree, upper);
}

void lease__keys_check(const struct lessor *lessor, const struct lease *lease)
{
    ASSERT(check_tree(lessor, lease, lease->keys, NULL, NULL) == lease->key_count);
}
