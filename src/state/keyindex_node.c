/* The nodes of the key index: searching in one, putting in, taking out, moving. Invariants of
 * nodes: keyindex_priv.h.
 *
 * Searching. Keys below one node often begin alike ("/registry/pods/…"), so a node leaves out the
 * `skip` bytes that all of its keys share and holds the next eight. A search compares the shared
 * part once, bisects the prefixes, and looks at whole keys only among equal prefixes. */
#include "base/mem.h"
#include "state/keyindex_priv.h"

static size_t node_size(bool is_leaf)
{
    return is_leaf ? sizeof(struct keyindex_node) : sizeof(struct keyindex_inner);
}

struct keyindex_node *keyindex__node_new(struct keyindex *index, bool is_leaf)
{
    struct keyindex_node *node = mem_alloc(node_size(is_leaf));
    node->count = 0;
    node->is_leaf = is_leaf;
    node->skip = 0;
    node->live = 0;
    index->stats.bytes += node_size(is_leaf);
    return node;
}

void keyindex__node_free(struct keyindex *index, struct keyindex_node *node)
{
    index->stats.bytes -= node_size(node->is_leaf);
    mem_free(node);
}

/* `key` is any of the node's keys, one that is about to join included. */
void keyindex__node_share(struct keyindex_node *node, struct slice key, uint32_t skip)
{
    ASSERT(skip <= key.len);
    node->skip = skip;
    memcpy(node->shared, key.data, skip < NODE_SHARED ? skip : NODE_SHARED);
}

static void node_set_skip(struct keyindex_node *node, uint32_t skip)
{
    keyindex__node_share(node, record_key(node->record[0]), skip);
    for (unsigned i = 0; i < node->count; i++) {
        node->prefix[i] = prefix_of(record_key(node->record[i]), skip);
    }
}

/* Chooses the largest skip: what the first and the last key share. */
void keyindex__node_fit(struct keyindex_node *node)
{
    ASSERT(node->count > 0);
    node_set_skip(
        node, common_len(record_key(node->record[0]), record_key(node->record[node->count - 1])));
}

/* Lowers skip if `key`, which is about to join, does not share that much with `other`. */
void keyindex__node_admit(struct keyindex_node *node, struct slice key, struct slice other)
{
    uint32_t common = common_len(key, other);
    if (common < node->skip) {
        node_set_skip(node, common);
    }
}

/* How `key` stands to what the keys of the node share: <0, 0 (it begins so too), >0. */
int keyindex__node_compare_shared(const struct keyindex_node *node, struct slice key)
{
    size_t len = key.len < node->skip ? key.len : node->skip;
    size_t inside = len < NODE_SHARED ? len : NODE_SHARED;
    int order = inside == 0 ? 0 : memcmp(key.data, node->shared, inside);
    if (order == 0 && len > inside) {
        order = memcmp(key.data + inside, node->record[0]->key + inside, len - inside);
    }
    return order == 0 && key.len < node->skip ? -1 : order;
}

/* The first slot whose key is not less than `key`. */
unsigned keyindex__node_search(const struct keyindex_node *node, struct slice key, bool *found_out)
{
    *found_out = false;
    if (node->count == 0) {
        return 0;
    }
    int order = keyindex__node_compare_shared(node, key);
    if (order != 0) {
        return order < 0 ? 0 : node->count;
    }
    uint64_t prefix = prefix_of(key, node->skip);
    unsigned low = 0;
    unsigned high = node->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        bool is_less = node->prefix[middle] < prefix;
        if (node->prefix[middle] == prefix) {
            order = slice_cmp(record_key(node->record[middle]), key);
            if (order == 0) {
                *found_out = true;
                return middle;
            }
            is_less = order < 0;
        }
        if (is_less) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Which child may have `key`: the last whose first key is not above it. */
unsigned keyindex__inner_search(const struct keyindex_node *node, struct slice key)
{
    bool is_found;
    unsigned slot = keyindex__node_search(node, key, &is_found);
    return is_found || slot == 0 ? slot : slot - 1;
}

/* What lives in slots [from, to). */
struct key_count keyindex__node_sum(const struct keyindex_node *node, unsigned from, unsigned to)
{
    struct key_count sum = {0};
    if (!node->is_leaf) {
        for (unsigned i = from; i < to; i++) {
            sum = count_add(sum, inner_of_const(node)->sum[i]);
        }
        return sum;
    }
    uint64_t live = node->live & bits_below(to) & ~bits_below(from);
    for (; live != 0; live &= live - 1) {
        sum = count_add(sum, record_count(node->record[__builtin_ctzll(live)]));
    }
    return sum;
}

void keyindex__node_insert(struct keyindex_node *node, unsigned slot,
                           struct keyindex_record *record, struct keyindex_node *child,
                           struct key_count sum, int64_t newest)
{
    ASSERT(node->count < NODE_CAP);
    ASSERT(slot <= node->count);
    if (node->count > 0) {
        keyindex__node_admit(node, record_key(record), record_key(node->record[0]));
    }
    size_t tail = node->count - slot;
    memmove(node->prefix + slot + 1, node->prefix + slot, tail * sizeof(node->prefix[0]));
    memmove(node->record + slot + 1, node->record + slot, tail * sizeof(node->record[0]));
    if (node->is_leaf) {
        uint64_t below = node->live & bits_below(slot);
        uint64_t above = node->live & ~bits_below(slot);
        node->live = below | above << 1 | (sum.keys > 0 ? UINT64_C(1) << slot : 0);
    } else {
        struct keyindex_inner *inner = inner_of(node);
        memmove(inner->child + slot + 1, inner->child + slot, tail * sizeof(inner->child[0]));
        memmove(inner->sum + slot + 1, inner->sum + slot, tail * sizeof(inner->sum[0]));
        memmove(inner->newest + slot + 1, inner->newest + slot, tail * sizeof(inner->newest[0]));
        inner->child[slot] = child;
        inner->sum[slot] = sum;
        inner->newest[slot] = newest;
    }
    node->record[slot] = record;
    node->prefix[slot] = prefix_of(record_key(record), node->skip);
    node->count++;
}

void keyindex__node_remove(struct keyindex_node *node, unsigned slot)
{
    ASSERT(slot < node->count);
    size_t tail = node->count - slot - 1u;
    memmove(node->prefix + slot, node->prefix + slot + 1, tail * sizeof(node->prefix[0]));
    memmove(node->record + slot, node->record + slot + 1, tail * sizeof(node->record[0]));
    if (node->is_leaf) {
        uint64_t below = node->live & bits_below(slot);
        uint64_t above = node->live & ~bits_below(slot + 1);
        node->live = below | above >> 1;
    } else {
        struct keyindex_inner *inner = inner_of(node);
        memmove(inner->child + slot, inner->child + slot + 1, tail * sizeof(inner->child[0]));
        memmove(inner->sum + slot, inner->sum + slot + 1, tail * sizeof(inner->sum[0]));
        memmove(inner->newest + slot, inner->newest + slot + 1, tail * sizeof(inner->newest[0]));
    }
    node->count--;
}

/* Moves slots [from, count) of `source` behind the last of `target`. Prefixes are for the caller:
 * keyindex__node_fit() both. */
void keyindex__node_move(struct keyindex_node *target, struct keyindex_node *source, unsigned from)
{
    unsigned count = source->count - from;
    ASSERT(target->is_leaf == source->is_leaf);
    ASSERT(target->count + count <= NODE_CAP);
    memcpy(target->record + target->count, source->record + from,
           count * sizeof(source->record[0]));
    if (source->is_leaf) {
        if (count > 0) {
            target->live |= source->live >> from << target->count;
        }
        source->live &= bits_below(from);
    } else {
        struct keyindex_inner *to = inner_of(target);
        const struct keyindex_inner *inner = inner_of(source);
        memcpy(to->child + target->count, inner->child + from, count * sizeof(inner->child[0]));
        memcpy(to->sum + target->count, inner->sum + from, count * sizeof(inner->sum[0]));
        memcpy(to->newest + target->count, inner->newest + from, count * sizeof(inner->newest[0]));
    }
    target->count = (uint16_t)(target->count + count);
    source->count = (uint16_t)from;
}
