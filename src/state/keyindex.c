/* The tree of the key index. Invariants of nodes: keyindex_priv.h.
 *
 * Growing. A full node is cut in two before the insertion, from the leaf upwards; when the new key
 * comes last, the cut is at the end, so that ascending keys fill their nodes.
 *
 * Counting. Inner nodes hold what lives below each child; every change adds its difference along
 * the path. What lives below a key is then a sum over one path.
 *
 * Shrinking. Keys leave only by compaction. A node under a quarter full is merged with a
 * neighbour when both fit in three quarters of a node. */
#include "state/keyindex.h"

#include "base/mem.h"
#include "state/keyindex_priv.h"

/* ---- ranges -------------------------------------------------------------------------------- */

struct key_range key_range_of(struct slice key, struct slice range_end)
{
    if (range_end.len == 0) {
        return (struct key_range){.kind = KEY_ONE, .from = key};
    }
    if (range_end.len == 1 && range_end.data[0] == 0) {
        return (struct key_range){.kind = KEY_FROM, .from = key};
    }
    return (struct key_range){.kind = KEY_SPAN, .from = key, .end = range_end};
}

bool key_range_has(const struct key_range *range, struct slice key)
{
    switch (range->kind) {
    case KEY_ONE:
        return slice_eq(key, range->from);
    case KEY_SPAN:
        return slice_cmp(key, range->from) >= 0 && slice_cmp(key, range->end) < 0;
    case KEY_FROM:
        return slice_cmp(key, range->from) >= 0;
    }
    UNREACHABLE();
}

uint64_t keyindex_wire_len(uint32_t row_len)
{
    uint64_t varint = 1;
    for (uint32_t rest = row_len; rest >= 0x80; rest >>= 7) {
        varint++;
    }
    return 1 + varint + row_len;
}

/* ---- paths ---------------------------------------------------------------------------------- */

/* Asks for all that a search of the node may touch at once: bisecting cold memory would wait for
 * one line after the other. */
static void node_prefetch(const struct keyindex_node *node)
{
    const uint8_t *bytes = (const uint8_t *)node;
    for (size_t at = 0; at < offsetof(struct keyindex_node, record); at += 64) {
        __builtin_prefetch(bytes + at);
    }
}

static void place_seek(const struct keyindex *index, struct slice key, struct keyindex_place *place)
{
    struct keyindex_node *node = index->root;
    place->epoch = index->epoch;
    place->depth = index->depth;
    for (unsigned level = 0; level + 1 < index->depth; level++) {
        unsigned slot = keyindex__inner_search(node, key);
        place->node[level] = node;
        place->slot[level] = (uint16_t)slot;
        node = inner_of(node)->child[slot];
        node_prefetch(node);
    }
    place->node[index->depth - 1] = node;
    place->slot[index->depth - 1] = (uint16_t)keyindex__node_search(node, key, &place->is_found);
}

static struct keyindex_record *place_record(const struct keyindex_place *place)
{
    unsigned leaf = place->depth - 1u;
    ASSERT(place->slot[leaf] < place->node[leaf]->count);
    return place->node[leaf]->record[place->slot[leaf]];
}

/* From a slot that may be past the last of its leaf to the next key. False at the end. */
static bool place_settle(struct keyindex_place *place)
{
    unsigned level = place->depth - 1u;
    while (place->slot[level] >= place->node[level]->count) {
        if (level == 0) {
            return false;
        }
        level--;
        place->slot[level]++;
    }
    for (; level + 1 < place->depth; level++) {
        place->node[level + 1] = inner_of(place->node[level])->child[place->slot[level]];
        place->slot[level + 1] = 0;
    }
    return true;
}

/* To the key before the place, which may be past the last of its leaf. False at the beginning. */
static bool place_back(struct keyindex_place *place)
{
    unsigned level = place->depth - 1u;
    while (place->slot[level] == 0) {
        if (level == 0) {
            return false;
        }
        level--;
    }
    place->slot[level]--;
    for (; level + 1 < place->depth; level++) {
        struct keyindex_node *child = inner_of(place->node[level])->child[place->slot[level]];
        place->node[level + 1] = child;
        place->slot[level + 1] = (uint16_t)(child->count - 1);
    }
    return true;
}

/* Behind the last key of all. */
static void place_end(const struct keyindex *index, struct keyindex_place *place)
{
    struct keyindex_node *node = index->root;
    *place = (struct keyindex_place){.epoch = index->epoch, .depth = index->depth};
    for (unsigned level = 0; level + 1 < index->depth; level++) {
        place->node[level] = node;
        place->slot[level] = (uint16_t)(node->count - 1);
        node = inner_of(node)->child[node->count - 1];
    }
    place->node[index->depth - 1] = node;
    place->slot[index->depth - 1] = node->count;
}

static int64_t later_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Adds the difference that revision `main` makes to what the ancestors of the place know. */
static void place_count(struct keyindex *index, struct keyindex_place *place, int64_t main,
                        struct key_count before, struct key_count after)
{
    for (unsigned level = 0; level + 1 < place->depth; level++) {
        struct keyindex_inner *inner = inner_of(place->node[level]);
        unsigned slot = place->slot[level];
        inner->sum[slot] = count_sub(count_add(inner->sum[slot], after), before);
        inner->newest[slot] = later_of(inner->newest[slot], main);
    }
    index->newest = later_of(index->newest, main);
    index->total = count_sub(count_add(index->total, after), before);
    index->stats.keys_live = index->total.keys;
}

/* The first key of node[level] has changed: tells its ancestors. */
static void place_fix_first(struct keyindex_place *place, unsigned level)
{
    struct keyindex_record *first = place->node[level]->record[0];
    for (unsigned above = level; above-- > 0;) {
        struct keyindex_node *parent = place->node[above];
        unsigned slot = place->slot[above];
        parent->record[slot] = first;
        if (parent->count == 1) {
            keyindex__node_fit(parent);
        } else {
            keyindex__node_admit(parent, record_key(first),
                                 record_key(parent->record[slot == 0 ? 1 : 0]));
        }
        parent->prefix[slot] = prefix_of(record_key(first), parent->skip);
        if (slot != 0) {
            return;
        }
    }
}

static void place_grow_root(struct keyindex *index, struct keyindex_place *place)
{
    ASSERT(index->depth < KEYINDEX_DEPTH_MAX);
    struct keyindex_node *root = keyindex__node_new(index, false);
    keyindex__node_insert(root, 0, index->root->record[0], index->root, index->total,
                          index->newest);
    memmove(place->node + 1, place->node, place->depth * sizeof(place->node[0]));
    memmove(place->slot + 1, place->slot, place->depth * sizeof(place->slot[0]));
    place->node[0] = root;
    place->slot[0] = 0;
    place->depth++;
    index->root = root;
    index->depth++;
}

/* Where to cut a full node of which a leaf gets a key at `slot`, an inner node a child behind it:
 * in the middle, or at the end when what is new comes last. */
static unsigned cut_of(const struct keyindex_node *node, unsigned slot)
{
    if (node->is_leaf) {
        return slot == NODE_CAP ? NODE_CAP : NODE_CAP / 2;
    }
    return slot == NODE_CAP - 1 ? NODE_CAP - 1 : NODE_CAP / 2;
}

/* Moves the slots from `cut` on into a new node; `record` is the key on its way in. */
static struct keyindex_node *node_cut(struct keyindex *index, struct keyindex_node *node,
                                      unsigned cut, const struct keyindex_record *record)
{
    struct keyindex_node *right = keyindex__node_new(index, node->is_leaf);
    if (cut == NODE_CAP) {
        /* The new key follows all of node's: what it shares with the last is a good guess. */
        keyindex__node_share(
            right, record_key(record),
            common_len(record_key(record), record_key(node->record[NODE_CAP - 1])));
        return right;
    }
    keyindex__node_move(right, node, cut);
    keyindex__node_fit(node);
    keyindex__node_fit(right);
    return right;
}

/* Makes node[level] have room at slot[level] for `record` or what is above it, cutting full nodes
 * from here upwards. Returns the level, which is one more when the tree has grown. */
static unsigned place_make_room(struct keyindex *index, struct keyindex_place *place,
                                unsigned level, struct keyindex_record *record)
{
    struct keyindex_node *node = place->node[level];
    if (node->count < NODE_CAP) {
        return level;
    }
    if (level == 0) {
        place_grow_root(index, place);
        level = 1;
    } else {
        level = place_make_room(index, place, level - 1, record) + 1;
    }
    struct keyindex_node *parent = place->node[level - 1];
    unsigned slot = place->slot[level - 1];
    unsigned cut = cut_of(node, place->slot[level]);
    struct keyindex_node *right = node_cut(index, node, cut, record);
    struct key_count moved = keyindex__node_sum(right, 0, right->count);
    inner_of(parent)->sum[slot] = count_sub(inner_of(parent)->sum[slot], moved);
    keyindex__node_insert(parent, slot + 1, right->count > 0 ? right->record[0] : record, right,
                          moved, inner_of(parent)->newest[slot]);
    if (place->slot[level] >= cut) {
        place->node[level] = right;
        place->slot[level] = (uint16_t)(place->slot[level] - cut);
        place->slot[level - 1]++;
    }
    return level;
}

/* Puts a new key at the place. Invalidates all places but this one. */
static void place_insert(struct keyindex *index, struct keyindex_place *place,
                         struct keyindex_record *record)
{
    unsigned leaf = place_make_room(index, place, place->depth - 1u, record);
    ASSERT(leaf + 1 == place->depth);
    struct key_count count = record_count(record);
    keyindex__node_insert(place->node[leaf], place->slot[leaf], record, NULL, count, record->mod);
    if (place->slot[leaf] == 0) {
        place_fix_first(place, leaf);
    }
    place_count(index, place, record->mod, (struct key_count){0}, count);
    place->epoch = ++index->epoch;
    place->is_found = true;
}

/* Merges child `left` of `parent` with its right neighbour. */
static void merge_right(struct keyindex *index, struct keyindex_inner *parent, unsigned left)
{
    struct keyindex_node *target = parent->child[left];
    struct keyindex_node *source = parent->child[left + 1];
    keyindex__node_move(target, source, 0);
    keyindex__node_fit(target);
    parent->sum[left] = count_add(parent->sum[left], parent->sum[left + 1]);
    parent->newest[left] = later_of(parent->newest[left], parent->newest[left + 1]);
    keyindex__node_remove(&parent->node, left + 1);
    keyindex__node_free(index, source);
}

static void place_merge(struct keyindex *index, struct keyindex_place *place, unsigned level)
{
    struct keyindex_inner *parent = inner_of(place->node[level - 1]);
    unsigned slot = place->slot[level - 1];
    unsigned count = place->node[level]->count;
    if (slot + 1 < parent->node.count &&
        count + parent->child[slot + 1]->count <= NODE_CAP * 3 / 4) {
        merge_right(index, parent, slot);
    } else if (slot > 0 && count + parent->child[slot - 1]->count <= NODE_CAP * 3 / 4) {
        merge_right(index, parent, slot - 1);
    }
}

/* Takes the key at the place, which does not live, out of the tree. Invalidates all places. */
static void place_remove(struct keyindex *index, struct keyindex_place *place)
{
    unsigned level = place->depth - 1u;
    ASSERT(!record_is_live(place_record(place)));
    keyindex__node_remove(place->node[level], place->slot[level]);
    while (level > 0 && place->node[level]->count == 0) {
        keyindex__node_free(index, place->node[level]);
        level--;
        keyindex__node_remove(place->node[level], place->slot[level]);
    }
    if (place->node[level]->count > 0 && place->slot[level] == 0) {
        place_fix_first(place, level);
    }
    for (; level > 0; level--) {
        if (place->node[level]->count < NODE_CAP / 4) {
            place_merge(index, place, level);
        }
    }
    while (!index->root->is_leaf && index->root->count <= 1) {
        struct keyindex_node *root = index->root;
        index->root = root->count == 1 ? inner_of(root)->child[0] : keyindex__node_new(index, true);
        index->depth = root->count == 1 ? (uint8_t)(index->depth - 1) : 1;
        keyindex__node_free(index, root);
    }
    index->epoch++;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct keyindex *keyindex_new(void)
{
    struct keyindex *index = NEW(struct keyindex);
    slab_init(&index->slabs);
    index->root = keyindex__node_new(index, true);
    index->depth = 1;
    return index;
}

static void subtree_free(struct keyindex *index, struct keyindex_node *node)
{
    for (unsigned i = 0; i < node->count; i++) {
        if (node->is_leaf) {
            keyindex__record_free(index, node->record[i]);
        } else {
            subtree_free(index, inner_of(node)->child[i]);
        }
    }
    keyindex__node_free(index, node);
}

void keyindex_free(struct keyindex **index)
{
    if (*index == NULL) {
        return;
    }
    subtree_free(*index, (*index)->root);
    ASSERT((*index)->stats.bytes == 0);
    slab_fini(&(*index)->slabs);
    mem_free(*index);
    *index = NULL;
}

/* ---- changing -------------------------------------------------------------------------------- */

bool keyindex_find(struct keyindex *index, struct slice key, struct keyindex_place *place,
                   struct key_version *out)
{
    place_seek(index, key, place);
    return place->is_found && keyindex__record_get(place_record(place), end_of(INT64_MAX), out);
}

static void place_set_live(struct keyindex_place *place, bool is_live)
{
    struct keyindex_node *leaf = place->node[place->depth - 1];
    uint64_t bit = UINT64_C(1) << place->slot[place->depth - 1];
    leaf->live = is_live ? leaf->live | bit : leaf->live & ~bit;
}

/* Makes (rev, create, version, row_len) the newest revision of the record at the place. */
static void place_advance(struct keyindex *index, struct keyindex_place *place, struct revision rev,
                          int64_t create, int64_t version, uint32_t row_len)
{
    struct keyindex_record *record = place_record(place);
    struct key_count before = record_count(record);
    ASSERT(revision_cmp(rev, (struct revision){record->mod, record->sub}) > 0);
    keyindex__record_push(index, record);
    keyindex__record_set(index, record, rev, create, version, row_len);
    index->stats.revisions++;
    place_set_live(place, row_len > 0);
    place_count(index, place, rev.main, before, record_count(record));
}

static void place_create(struct keyindex *index, struct keyindex_place *place, struct slice key,
                         struct revision rev, int64_t create, int64_t version, uint32_t row_len)
{
    struct keyindex_record *record = keyindex__record_new(index, key);
    keyindex__record_set(index, record, rev, create, version, row_len);
    index->stats.revisions++;
    place_insert(index, place, record);
}

void keyindex_put_at(struct keyindex *index, struct keyindex_place *place, struct slice key,
                     struct revision rev, uint32_t row_len)
{
    ASSERT(place->epoch == index->epoch);
    ASSERT(row_len > 0);
    if (!place->is_found) {
        place_create(index, place, key, rev, rev.main, 1, row_len);
        return;
    }
    const struct keyindex_record *record = place_record(place);
    SLOW_ASSERT(slice_eq(key, record_key(record)));
    bool is_live = record_is_live(record);
    place_advance(index, place, rev, is_live ? record_create(record) : rev.main,
                  is_live ? record_version(record) + 1 : 1, row_len);
}

void keyindex_tombstone_at(struct keyindex *index, struct keyindex_place *place,
                           struct revision rev)
{
    ASSERT(place->epoch == index->epoch);
    ASSERT(record_is_live(place_record(place)));
    place_advance(index, place, rev, 0, 0, 0);
}

void keyindex_restore(struct keyindex *index, struct slice key, struct revision rev, int64_t create,
                      int64_t version, uint32_t row_len)
{
    struct keyindex_place place;
    place_seek(index, key, &place);
    if (!place.is_found) {
        place_create(index, &place, key, rev, create, version, row_len);
    } else if (row_len > 0 || record_is_live(place_record(&place))) {
        place_advance(index, &place, rev, create, version, row_len);
    }
}

/* ---- compaction ------------------------------------------------------------------------------ */

static bool record_keeps(const struct keyindex_record *record, struct revision rev, int64_t compact)
{
    struct keyindex_old last;
    if (rev.main > compact) {
        return true;
    }
    if (!keyindex__record_last(record, end_of(compact), &last)) {
        return false;
    }
    bool is_last = last.main == rev.main && last.sub == rev.sub;
    return is_last && (last.row_len > 0 || last.main == compact);
}

bool keyindex_is_kept(const struct keyindex *index, struct slice key, struct revision rev,
                      int64_t compact)
{
    struct keyindex_place place;
    place_seek(index, key, &place);
    return place.is_found && record_keeps(place_record(&place), rev, compact);
}

void keyindex_drop(struct keyindex *index, struct slice key, struct revision rev)
{
    struct keyindex_place place;
    place_seek(index, key, &place);
    if (!place.is_found) {
        return;
    }
    struct keyindex_record *record = place_record(&place);
    struct keyindex_old oldest = keyindex__record_rev(record, 0);
    if (oldest.main != rev.main || oldest.sub != rev.sub) {
        return;
    }
    index->stats.revisions--;
    if (keyindex__record_revs(record) > 1) {
        keyindex__record_shift(index, record);
        return;
    }
    place_remove(index, &place);
    keyindex__record_free(index, record);
}

/* ---- reading --------------------------------------------------------------------------------- */

bool keyindex_get(const struct keyindex *index, struct slice key, int64_t at,
                  struct key_version *out)
{
    struct keyindex_place place;
    place_seek(index, key, &place);
    return place.is_found && keyindex__record_get(place_record(&place), end_of(at), out);
}

/* The position of the first revision with main >= from. */
static uint32_t first_rev_from(const struct keyindex_record *record, uint32_t count, int64_t from)
{
    uint32_t low = 0;
    uint32_t high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (keyindex__record_rev(record, middle).main < from) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void keyindex_revisions(const struct keyindex *index, struct slice key, int64_t from,
                        keyindex_rev_fn *each, void *ctx)
{
    struct keyindex_place place;
    place_seek(index, key, &place);
    if (!place.is_found) {
        return;
    }
    const struct keyindex_record *record = place_record(&place);
    uint32_t count = keyindex__record_revs(record);
    for (uint32_t i = first_rev_from(record, count, from); i < count; i++) {
        struct keyindex_old rev = keyindex__record_rev(record, i);
        struct revision revision = {.main = rev.main, .sub = rev.sub};
        if (!each(ctx, revision, rev.row_len == 0)) {
            return;
        }
    }
}

void keyindex_iter_init(struct keyindex_iter *iter, const struct keyindex *index,
                        const struct key_range *range, int64_t at)
{
    *iter = (struct keyindex_iter){.index = index, .at = end_of(at), .range = *range};
}

void keyindex_iter_within(struct keyindex_iter *iter, uint32_t sub)
{
    ASSERT(!iter->is_started);
    iter->at.sub = sub;
}

void keyindex_iter_fini(struct keyindex_iter *iter)
{
    buf_fini(&iter->last);
}

void keyindex_iter_pause(struct keyindex_iter *iter)
{
    if (!iter->is_started || iter->is_done || iter->is_paused) {
        return;
    }
    ASSERT(iter->place.epoch == iter->index->epoch);
    buf_reset(&iter->last);
    buf_append_slice(&iter->last, record_key(place_record(&iter->place)));
    iter->is_paused = true;
}

/* To the first key, or to the one behind the last given. False at the end of the tree. */
static bool iter_forward(struct keyindex_iter *iter)
{
    struct keyindex_place *place = &iter->place;
    if (!iter->is_started) {
        place_seek(iter->index, iter->range.from, place);
    } else if (iter->is_paused) {
        place_seek(iter->index, buf_slice(&iter->last), place);
        if (place->is_found) {
            place->slot[place->depth - 1]++;
        }
    } else {
        ASSERT(place->epoch == iter->index->epoch);
        place->slot[place->depth - 1]++;
    }
    return place_settle(place);
}

static bool iter_backward(struct keyindex_iter *iter)
{
    struct keyindex_place *place = &iter->place;
    if (iter->is_paused) {
        place_seek(iter->index, buf_slice(&iter->last), place);
    } else if (iter->is_started) {
        ASSERT(place->epoch == iter->index->epoch);
    } else if (iter->range.kind == KEY_FROM) {
        place_end(iter->index, place);
    } else if (iter->range.kind == KEY_SPAN) {
        place_seek(iter->index, iter->range.end, place);
    } else {
        place_seek(iter->index, iter->range.from, place);
        return place_settle(place); /* one key reads alike from both ends */
    }
    return place_back(place);
}

static bool iter_move(struct keyindex_iter *iter)
{
    bool has_moved = iter->is_reverse ? iter_backward(iter) : iter_forward(iter);
    iter->is_started = true;
    iter->is_paused = false;
    return has_moved;
}

/* A forward walk never meets what is below the range, nor a backward one what is above it. */
static bool iter_has(const struct keyindex_iter *iter, struct slice key)
{
    if (iter->is_reverse || iter->range.kind != KEY_FROM) {
        return key_range_has(&iter->range, key);
    }
    return true;
}

/* Each record is memory that no cache has, as a rule: it is asked for some keys ahead. */
static void iter_prefetch(const struct keyindex_iter *iter)
{
    enum { AHEAD = 6 };
    unsigned leaf = iter->place.depth - 1u;
    const struct keyindex_node *node = iter->place.node[leaf];
    unsigned slot = iter->place.slot[leaf];
    if (!iter->is_reverse && slot + AHEAD < node->count) {
        __builtin_prefetch(node->record[slot + AHEAD]);
    } else if (iter->is_reverse && slot >= AHEAD) {
        __builtin_prefetch(node->record[slot - AHEAD]);
    }
}

bool keyindex_iter_next(struct keyindex_iter *iter, struct key_version *out, uint64_t *budget)
{
    while (!iter->is_done) {
        if (budget != NULL && *budget == 0) {
            return false;
        }
        if (!iter_move(iter)) {
            break;
        }
        const struct keyindex_record *record = place_record(&iter->place);
        iter_prefetch(iter);
        if (!iter_has(iter, record_key(record))) {
            break;
        }
        if (budget != NULL) {
            (*budget)--;
        }
        if (keyindex__record_get(record, iter->at, out)) {
            return true;
        }
    }
    iter->is_done = true;
    return false;
}

/* Is everything below child `slot` of the node inside the range? Its first key is. */
static bool is_all_inside(const struct keyindex_node *node, unsigned slot,
                          const struct key_range *range)
{
    if (range->kind == KEY_FROM) {
        return true;
    }
    return range->kind == KEY_SPAN && slot + 1u < node->count &&
           slice_cmp(record_key(node->record[slot + 1]), range->end) <= 0;
}

/* The place is at the first key of a leaf. Moves it to the last key of the largest subtree that
 * begins there, is inside the range, and has not changed since iter->at; *out is what lives in it.
 * False: there is none. */
static bool iter_skip(struct keyindex_iter *iter, struct key_count *out)
{
    struct keyindex_place *place = &iter->place;
    int64_t settled = iter->at.sub == UINT32_MAX ? iter->at.main : iter->at.main - 1;
    unsigned leaf = place->depth - 1u;
    unsigned top = leaf;
    while (top > 0 && place->slot[top] == 0) {
        top--;
    }
    for (; top < leaf; top++) {
        const struct keyindex_inner *inner = inner_of_const(place->node[top]);
        unsigned slot = place->slot[top];
        if (inner->newest[slot] > settled || !is_all_inside(place->node[top], slot, &iter->range)) {
            continue;
        }
        *out = inner->sum[slot];
        for (unsigned level = top; level < leaf; level++) {
            struct keyindex_node *child = inner_of(place->node[level])->child[place->slot[level]];
            place->node[level + 1] = child;
            place->slot[level + 1] = (uint16_t)(child->count - 1);
        }
        return true;
    }
    return false;
}

bool keyindex_iter_count(struct keyindex_iter *iter, uint64_t *budget, struct key_count *total)
{
    struct key_version version;
    ASSERT(!iter->is_reverse);
    while (!iter->is_done && *budget > 0) {
        struct key_count below;
        --*budget;
        if (!iter_move(iter) || !iter_has(iter, record_key(place_record(&iter->place)))) {
            iter->is_done = true;
        } else if (iter->place.slot[iter->place.depth - 1] == 0 && iter_skip(iter, &below)) {
            *total = count_add(*total, below);
        } else if (keyindex__record_get(place_record(&iter->place), iter->at, &version)) {
            total->keys++;
            total->wire_bytes += keyindex_wire_len(version.row_len);
        }
    }
    return iter->is_done;
}

/* What lives before `key`, or in the whole tree up to and without the place. */
static struct key_count place_rank(const struct keyindex_place *place)
{
    struct key_count rank = {0};
    for (unsigned level = 0; level < place->depth; level++) {
        rank = count_add(rank, keyindex__node_sum(place->node[level], 0, place->slot[level]));
    }
    return rank;
}

struct key_count keyindex_count(const struct keyindex *index, const struct key_range *range)
{
    struct keyindex_place from;
    struct keyindex_place end;
    place_seek(index, range->from, &from);
    switch (range->kind) {
    case KEY_ONE:
        return from.is_found ? record_count(place_record(&from)) : (struct key_count){0};
    case KEY_FROM:
        return count_sub(index->total, place_rank(&from));
    case KEY_SPAN:
        break;
    }
    if (slice_cmp(range->from, range->end) >= 0) {
        return (struct key_count){0};
    }
    place_seek(index, range->end, &end);
    unsigned leaf = from.depth - 1u;
    if (from.node[leaf] == end.node[leaf]) {
        return keyindex__node_sum(from.node[leaf], from.slot[leaf], end.slot[leaf]);
    }
    return count_sub(place_rank(&end), place_rank(&from));
}

/* What the first `keys` live keys of the whole tree take. */
static uint64_t wire_of_first(const struct keyindex *index, uint64_t keys)
{
    const struct keyindex_node *node = index->root;
    uint64_t wire_bytes = 0;
    if (keys >= index->total.keys) {
        return index->total.wire_bytes;
    }
    while (!node->is_leaf) {
        const struct keyindex_inner *inner = inner_of_const(node);
        unsigned slot = 0;
        for (; keys >= inner->sum[slot].keys; slot++) {
            keys -= inner->sum[slot].keys;
            wire_bytes += inner->sum[slot].wire_bytes;
            ASSERT(slot + 1u < node->count); /* fewer than there are */
        }
        node = inner->child[slot];
    }
    unsigned slot = 0;
    for (; keys > 0; slot++) {
        ASSERT(slot < node->count);
        keys -= record_is_live(node->record[slot]);
    }
    return wire_bytes + keyindex__node_sum(node, 0, slot).wire_bytes;
}

/* What lives before the range. */
static struct key_count count_before(const struct keyindex *index, const struct key_range *range)
{
    struct keyindex_place from;
    place_seek(index, range->from, &from);
    return place_rank(&from);
}

struct key_count keyindex_count_first(const struct keyindex *index, const struct key_range *range,
                                      uint64_t limit)
{
    struct key_count all = keyindex_count(index, range);
    if (limit >= all.keys) {
        return all;
    }
    struct key_count before = count_before(index, range);
    uint64_t end = wire_of_first(index, before.keys + limit);
    return (struct key_count){.keys = limit, .wire_bytes = end - before.wire_bytes};
}

struct key_count keyindex_count_last(const struct keyindex *index, const struct key_range *range,
                                     uint64_t limit)
{
    struct key_count all = keyindex_count(index, range);
    if (limit >= all.keys) {
        return all;
    }
    struct key_count end = count_add(count_before(index, range), all);
    uint64_t begin = wire_of_first(index, end.keys - limit);
    return (struct key_count){.keys = limit, .wire_bytes = end.wire_bytes - begin};
}

/* ---- observers ------------------------------------------------------------------------------- */

void keyindex_stats(const struct keyindex *index, struct keyindex_stats *out)
{
    *out = index->stats;
}

static void record_check(const struct keyindex_record *record, struct keyindex_stats *seen)
{
    uint32_t count = keyindex__record_revs(record);
    for (uint32_t i = 0; i < count; i++) {
        struct keyindex_old rev = keyindex__record_rev(record, i);
        if (i > 0) {
            struct keyindex_old before = keyindex__record_rev(record, i - 1);
            struct revision a = {.main = before.main, .sub = before.sub};
            ASSERT(revision_cmp(a, (struct revision){.main = rev.main, .sub = rev.sub}) < 0);
            ASSERT(before.row_len > 0 || rev.row_len > 0);
        }
    }
    ASSERT(record_is_live(record) == (record_version(record) > 0));
    ASSERT(record_create(record) <= record->mod);
    seen->keys_known++;
    seen->revisions += count;
    seen->key_bytes += record->key_len;
}

/* No revision in the tree of `node` may be above `newest`. */
static struct key_count node_check(const struct keyindex *index, const struct keyindex_node *node,
                                   unsigned level, int64_t newest, struct keyindex_stats *seen)
{
    ASSERT(node->is_leaf == (level + 1u == index->depth));
    ASSERT(node->count > 0 || level == 0);
    struct key_count total = {0};
    for (unsigned i = 0; i < node->count; i++) {
        struct slice key = record_key(node->record[i]);
        ASSERT(common_len(key, record_key(node->record[0])) >= node->skip);
        ASSERT(keyindex__node_compare_shared(node, key) == 0);
        ASSERT(node->prefix[i] == prefix_of(key, node->skip));
        ASSERT(i == 0 || slice_cmp(record_key(node->record[i - 1]), key) < 0);
        struct key_count sum;
        if (node->is_leaf) {
            ASSERT((node->live >> i & 1) == record_is_live(node->record[i]));
            ASSERT(node->record[i]->mod <= newest);
            record_check(node->record[i], seen);
            sum = record_count(node->record[i]);
        } else {
            const struct keyindex_inner *inner = inner_of_const(node);
            ASSERT(inner->child[i]->record[0] == node->record[i]);
            ASSERT(inner->newest[i] <= newest);
            sum = node_check(index, inner->child[i], level + 1, inner->newest[i], seen);
            ASSERT(sum.keys == inner->sum[i].keys);
            ASSERT(sum.wire_bytes == inner->sum[i].wire_bytes);
        }
        total = count_add(total, sum);
    }
    ASSERT((node->live & ~bits_below(node->count)) == 0);
    return total;
}

void keyindex_check(const struct keyindex *index)
{
    struct keyindex_stats seen = {0};
    struct key_count total = node_check(index, index->root, 0, index->newest, &seen);
    ASSERT(total.keys == index->total.keys);
    ASSERT(total.wire_bytes == index->total.wire_bytes);
    ASSERT(index->stats.keys_live == total.keys);
    ASSERT(index->stats.keys_known == seen.keys_known);
    ASSERT(index->stats.revisions == seen.revisions);
    ASSERT(index->stats.key_bytes == seen.key_bytes);
    slab_check(&index->slabs);
    struct keyindex_iter iter;
    struct key_range all = {.kind = KEY_FROM};
    struct key_version version;
    uint64_t count = 0;
    keyindex_iter_init(&iter, index, &all, INT64_MAX);
    while (keyindex_iter_next(&iter, &version, NULL)) {
        count++;
    }
    keyindex_iter_fini(&iter);
    ASSERT(count == total.keys);
}
