/* Fuzz: random operations on the key index against a list of revisions per key.
 *
 * The input is a run of operations: one byte says which, one to three more are its arguments. After
 * each reading operation the answers must be equal, and every so often the whole tree is checked.
 */
#include "base/mem.h"
#include "state/keyindex.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define KEYS 1024

struct model_rev {
    struct revision rev;
    uint32_t row_len;
    int64_t create;
    int64_t version;
};
struct model_key {
    char text[40];
    size_t len;
    struct model_rev *revs;
    size_t count;
};
struct world {
    struct keyindex *index;
    struct model_key key[KEYS]; /* in byte order */
    int64_t now;
    int64_t compact;
};

static int key_order(const void *a, const void *b)
{
    const struct model_key *x = a;
    const struct model_key *y = b;
    return slice_cmp(slice_of(x->text, x->len), slice_of(y->text, y->len));
}

/* Families with shared beginnings, keys that are prefixes of others, zero and 0xff bytes. */
static void make_keys(struct world *world)
{
    static const char *const families[] = {"/registry/pods/default/", "/registry/pods/kube/", "a",
                                           ""};
    for (unsigned i = 0; i < KEYS; i++) {
        struct model_key *key = &world->key[i];
        char tail[24];
        int len = snprintf(tail, sizeof(tail), "%u", i / 4);
        key->len = (size_t)snprintf(key->text, sizeof(key->text), "%s%s", families[i % 4], tail);
        if (i % 4 == 3) {
            memset(key->text, i & 64 ? 0xff : 0, (size_t)len);
            memcpy(key->text + len, &i, 2);
            key->len = (size_t)len + 2;
        }
    }
    qsort(world->key, KEYS, sizeof(world->key[0]), key_order);
}

static struct slice key_text(const struct world *world, unsigned i)
{
    return slice_of(world->key[i].text, world->key[i].len);
}

static const struct model_rev *model_get(const struct model_key *key, int64_t at)
{
    const struct model_rev *last = NULL;
    for (size_t i = 0; i < key->count && key->revs[i].rev.main <= at; i++) {
        last = &key->revs[i];
    }
    return last == NULL || last->row_len == 0 ? NULL : last;
}

static void model_add(struct model_key *key, struct model_rev rev)
{
    key->revs = mem_realloc(key->revs, (key->count + 1) * sizeof(rev));
    key->revs[key->count++] = rev;
}

static void same(const struct world *world, unsigned i, const struct model_rev *want,
                 const struct key_version *got)
{
    ASSERT(slice_eq(got->key, key_text(world, i)));
    ASSERT(revision_cmp(got->mod, want->rev) == 0);
    ASSERT(got->row_len == want->row_len);
    const struct model_key *key = &world->key[i];
    ASSERT(got->is_newest == (want == &key->revs[key->count - 1]));
    ASSERT(!got->is_newest || got->create == want->create);
    ASSERT(!got->is_newest || got->version == want->version);
}

static void do_put(struct world *world, unsigned i, uint32_t row_len)
{
    struct model_key *key = &world->key[i];
    struct revision rev = {.main = ++world->now, .sub = row_len % 3};
    struct keyindex_place place;
    struct key_version got;
    const struct model_rev *want = model_get(key, INT64_MAX);
    bool is_there = keyindex_find(world->index, key_text(world, i), &place, &got);
    ASSERT(is_there == (want != NULL));
    if (is_there) {
        same(world, i, want, &got);
    }
    struct model_rev next = {.rev = rev, .row_len = row_len, .create = rev.main, .version = 1};
    if (want != NULL) {
        next.create = want->create;
        next.version = want->version + 1;
    }
    model_add(key, next);
    keyindex_put_at(world->index, &place, key_text(world, i), rev, row_len);
}

static void do_delete(struct world *world, unsigned i)
{
    struct keyindex_place place;
    struct key_version got;
    if (!keyindex_find(world->index, key_text(world, i), &place, &got)) {
        ASSERT(model_get(&world->key[i], INT64_MAX) == NULL);
        return;
    }
    struct revision rev = {.main = ++world->now, .sub = 0};
    model_add(&world->key[i], (struct model_rev){.rev = rev});
    keyindex_tombstone_at(world->index, &place, rev);
}

/* What state/mvcc does, key by key: each row is kept or dropped, the oldest first. */
static void compact_key(struct world *world, unsigned i, int64_t at)
{
    struct model_key *key = &world->key[i];
    while (key->count > 0 && key->revs[0].rev.main <= at) {
        struct revision rev = key->revs[0].rev;
        bool is_newest = key->count == 1 || key->revs[1].rev.main > at;
        bool is_kept = is_newest && (key->revs[0].row_len > 0 || rev.main == at);
        ASSERT(keyindex_is_kept(world->index, key_text(world, i), rev, at) == is_kept);
        if (is_kept) {
            return;
        }
        keyindex_drop(world->index, key_text(world, i), rev);
        key->count--;
        memmove(key->revs, key->revs + 1, key->count * sizeof(key->revs[0]));
    }
}

static void do_compact(struct world *world, int64_t at)
{
    for (unsigned i = 0; i < KEYS; i++) {
        compact_key(world, i, at);
    }
    world->compact = at;
}

/* Counted in steps, with changes in between where the count is of the past. */
static void do_count(struct world *world, const struct key_range *range, int64_t at, bool pauses)
{
    struct keyindex_iter iter;
    struct key_count want = {0};
    struct key_count got = {0};
    for (unsigned i = 0; i < KEYS; i++) {
        const struct model_rev *rev = model_get(&world->key[i], at);
        if (rev != NULL && key_range_has(range, key_text(world, i))) {
            want.keys++;
            want.wire_bytes += keyindex_wire_len(rev->row_len);
        }
    }
    keyindex_iter_init(&iter, world->index, range, at);
    uint64_t budget = 3;
    for (unsigned n = 0; !keyindex_iter_count(&iter, &budget, &got); n++) {
        ASSERT(budget == 0);
        budget = 3;
        if (pauses) {
            keyindex_iter_pause(&iter);
        }
        if (pauses && n % 8 == 0 && at < INT64_MAX) {
            do_put(world, (n * 11) % KEYS, 7);
        }
    }
    ASSERT(got.keys == want.keys);
    ASSERT(got.wire_bytes == want.wire_bytes);
    keyindex_iter_fini(&iter);
}

static void do_range(struct world *world, const struct key_range *range, int64_t at, bool pauses)
{
    do_count(world, range, at, pauses);
    struct keyindex_iter iter;
    struct key_version got;
    struct key_count want_count = {0};
    keyindex_iter_init(&iter, world->index, range, at);
    for (unsigned i = 0; i < KEYS; i++) {
        const struct model_rev *want = model_get(&world->key[i], at);
        if (want == NULL || !key_range_has(range, key_text(world, i))) {
            continue;
        }
        want_count.keys++;
        want_count.wire_bytes += keyindex_wire_len(want->row_len);
        ASSERT(keyindex_iter_next(&iter, &got, NULL));
        same(world, i, want, &got);
        if (pauses) {
            keyindex_iter_pause(&iter);
        }
        if (pauses && i % 5 == 0 && at < INT64_MAX) {
            do_put(world, (i * 7) % KEYS, 9);
        }
    }
    ASSERT(!keyindex_iter_next(&iter, &got, NULL));
    ASSERT(!keyindex_iter_next(&iter, &got, NULL));
    keyindex_iter_fini(&iter);
    if (at == INT64_MAX) {
        struct key_count count = keyindex_count(world->index, range);
        ASSERT(count.keys == want_count.keys);
        ASSERT(count.wire_bytes == want_count.wire_bytes);
    }
}

/* The other way round, over changes in between. */
static void do_reverse(struct world *world, const struct key_range *range, int64_t at, bool pauses)
{
    struct keyindex_iter iter;
    struct key_version got;
    keyindex_iter_init(&iter, world->index, range, at);
    iter.is_reverse = true;
    for (unsigned i = KEYS; i-- > 0;) {
        const struct model_rev *want = model_get(&world->key[i], at);
        if (want == NULL || !key_range_has(range, key_text(world, i))) {
            continue;
        }
        ASSERT(keyindex_iter_next(&iter, &got, NULL));
        same(world, i, want, &got);
        if (pauses) {
            keyindex_iter_pause(&iter);
        }
        if (pauses && i % 5 == 0 && at < INT64_MAX) {
            do_put(world, (i * 7) % KEYS, 9);
        }
    }
    ASSERT(!keyindex_iter_next(&iter, &got, NULL));
    ASSERT(!keyindex_iter_next(&iter, &got, NULL));
    keyindex_iter_fini(&iter);
}

/* Counts of the first and the last keys of a range, against walks over them. */
static void do_limits(struct world *world, const struct key_range *range, uint64_t limit)
{
    for (unsigned is_last = 0; is_last < 2; is_last++) {
        struct keyindex_iter iter;
        struct key_version got;
        struct key_count want = {0};
        keyindex_iter_init(&iter, world->index, range, INT64_MAX);
        iter.is_reverse = is_last != 0;
        while (want.keys < limit && keyindex_iter_next(&iter, &got, NULL)) {
            want.keys++;
            want.wire_bytes += keyindex_wire_len(got.row_len);
        }
        keyindex_iter_fini(&iter);
        struct key_count count = is_last ? keyindex_count_last(world->index, range, limit)
                                         : keyindex_count_first(world->index, range, limit);
        ASSERT(count.keys == want.keys);
        ASSERT(count.wire_bytes == want.wire_bytes);
    }
}

struct rev_list {
    const struct model_key *key;
    size_t next;
};

static bool next_rev(void *ctx, struct revision rev, bool is_tombstone)
{
    struct rev_list *list = ctx;
    ASSERT(list->next < list->key->count);
    const struct model_rev *want = &list->key->revs[list->next++];
    ASSERT(revision_cmp(rev, want->rev) == 0);
    ASSERT(is_tombstone == (want->row_len == 0));
    return true;
}

static void do_revisions(struct world *world, unsigned i, int64_t from)
{
    struct rev_list list = {.key = &world->key[i]};
    while (list.next < list.key->count && list.key->revs[list.next].rev.main < from) {
        list.next++;
    }
    keyindex_revisions(world->index, key_text(world, i), from, next_rev, &list);
    ASSERT(list.next == list.key->count);
}

struct row {
    unsigned key;
    struct model_rev rev;
};

static int row_order(const void *a, const void *b)
{
    return revision_cmp(((const struct row *)a)->rev.rev, ((const struct row *)b)->rev.rev);
}

/* The rows that are left, in the order of revisions, make the same index again. */
static void do_restore(struct world *world)
{
    struct keyindex_stats a;
    struct keyindex_stats b;
    keyindex_stats(world->index, &a);
    struct row *rows = mem_array(a.revisions + 1, sizeof(*rows));
    size_t count = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        for (size_t r = 0; r < world->key[i].count; r++) {
            rows[count++] = (struct row){.key = i, .rev = world->key[i].revs[r]};
        }
    }
    ASSERT(count == a.revisions);
    qsort(rows, count, sizeof(*rows), row_order);
    struct keyindex *index = keyindex_new();
    for (size_t r = 0; r < count; r++) {
        const struct model_rev *rev = &rows[r].rev;
        keyindex_restore(index, key_text(world, rows[r].key), rev->rev, rev->create, rev->version,
                         rev->row_len);
    }
    mem_free(rows);
    keyindex_check(index);
    keyindex_stats(index, &b);
    ASSERT(a.keys_live == b.keys_live);
    ASSERT(a.keys_known == b.keys_known);
    ASSERT(a.revisions == b.revisions);
    keyindex_free(&world->index);
    world->index = index;
}

static struct key_range a_range(const struct world *world, uint16_t from, uint16_t end)
{
    struct slice low = key_text(world, from % KEYS);
    switch (end % 8) {
    case 0:
        return key_range_of(low, SLICE_EMPTY);
    case 1:
        return key_range_of(low, slice_of("", 1));
    case 2:
        return key_range_of(slice_of("", 1), slice_of("", 1));
    default:
        return key_range_of(low, key_text(world, end % KEYS));
    }
}

static void step(struct world *world, uint8_t op, uint16_t a, uint16_t b)
{
    struct key_range range = a_range(world, a, b);
    int64_t past = world->compact + (world->now - world->compact) * (b % 97) / 96;
    switch (op % 16) {
    case 8:
    case 9:
        do_delete(world, a % KEYS);
        break;
    case 10:
        do_range(world, &range, INT64_MAX, false);
        do_reverse(world, &range, INT64_MAX, op & 16);
        do_limits(world, &range, op >> 5);
        do_limits(world, &range, b % 211);
        break;
    case 11:
        do_range(world, &range, past, op & 16);
        do_reverse(world, &range, past, op & 16);
        break;
    case 12:
        do_revisions(world, a % KEYS, past);
        break;
    case 13: /* a run of neighbours: nodes fill, or empty */
        for (unsigned i = 0; i < (b & 127); i++) {
            if (op & 16) {
                do_put(world, (a + i) % KEYS, 1 + b % 300);
            } else {
                do_delete(world, (a + i) % KEYS);
            }
        }
        break;
    case 14:
        do_compact(world, past);
        keyindex_check(world->index);
        break;
    case 15:
        if (op & 16) {
            do_restore(world);
        }
        break;
    default:
        do_put(world, a % KEYS, 1 + b);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 20000) {
        return 0;
    }
    struct world *world = NEW(struct world);
    world->index = keyindex_new();
    make_keys(world);
    for (; size >= 5; data += 5, size -= 5) {
        step(world, data[0], get_le16(data + 1), get_le16(data + 3));
    }
    keyindex_check(world->index);
    do_compact(world, world->now);
    keyindex_check(world->index);
    for (unsigned i = 0; i < KEYS; i++) {
        mem_free(world->key[i].revs);
    }
    keyindex_free(&world->index);
    mem_free(world);
    return 0;
}
