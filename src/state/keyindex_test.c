#include "state/keyindex.h"

#include "base/mem.h"
#include "unit.h"

#include <stdio.h>

/* keyindex_fuzz.c: random operations against a model. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put(struct keyindex *index, const char *key, int64_t main)
{
    struct keyindex_place place;
    struct key_version version;
    keyindex_find(index, slice_str(key), &place, &version);
    keyindex_put_at(index, &place, slice_str(key), (struct revision){.main = main}, 100);
}

static void delete (struct keyindex *index, const char *key, int64_t main)
{
    struct keyindex_place place;
    struct key_version version;
    assert_true(keyindex_find(index, slice_str(key), &place, &version));
    keyindex_tombstone_at(index, &place, (struct revision){.main = main});
}

static bool kept(const struct keyindex *index, const char *key, int64_t main, int64_t compact)
{
    return keyindex_is_kept(index, slice_str(key), (struct revision){.main = main}, compact);
}

TEST(keyindex, range_end_names_one_key_a_span_or_the_rest)
{
    struct key_range one = key_range_of(SLICE("b"), SLICE_EMPTY);
    struct key_range span = key_range_of(SLICE("b"), SLICE("d"));
    struct key_range rest = key_range_of(SLICE("b"), slice_of("", 1));
    assert_true(key_range_has(&one, SLICE("b")));
    assert_false(key_range_has(&one, SLICE("ba")));
    assert_true(key_range_has(&span, SLICE("c")));
    assert_true(key_range_has(&span, SLICE("b")));
    assert_false(key_range_has(&span, SLICE("d")));
    assert_false(key_range_has(&rest, SLICE("a")));
    assert_true(key_range_has(&rest, SLICE("\xff\xff")));
}

TEST(keyindex, generations_give_create_and_version_anew)
{
    struct keyindex *index = keyindex_new();
    struct key_version got;
    put(index, "foo", 2);
    put(index, "foo", 3);
    assert_true(keyindex_get(index, SLICE("foo"), INT64_MAX, &got));
    assert_int_equal(got.create, 2);
    assert_int_equal(got.version, 2);
    delete (index, "foo", 4);
    assert_false(keyindex_get(index, SLICE("foo"), INT64_MAX, &got));
    assert_true(keyindex_get(index, SLICE("foo"), 3, &got));
    assert_int_equal(got.mod.main, 3);
    assert_false(got.is_newest);
    put(index, "foo", 6);
    assert_false(keyindex_get(index, SLICE("foo"), 5, &got));
    assert_false(keyindex_get(index, SLICE("foo"), 1, &got));
    assert_true(keyindex_get(index, SLICE("foo"), 6, &got));
    assert_int_equal(got.create, 6);
    assert_int_equal(got.version, 1);
    keyindex_check(index);
    keyindex_free(&index);
}

TEST(keyindex, compaction_keeps_the_newest_put_and_a_tombstone_exactly_there)
{
    /* 2 put, 3 put, 4 delete, 6 put, 7 put */
    static const struct {
        int64_t compact;
        bool kept[5];
    } cases[] = {
        {1, {true, true, true, true, true}},     {2, {true, true, true, true, true}},
        {3, {false, true, true, true, true}},    {4, {false, false, true, true, true}},
        {5, {false, false, false, true, true}},  {6, {false, false, false, true, true}},
        {7, {false, false, false, false, true}}, {100, {false, false, false, false, true}},
    };
    static const int64_t revs[] = {2, 3, 4, 6, 7};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct keyindex *index = keyindex_new();
        put(index, "k", 2);
        put(index, "k", 3);
        delete (index, "k", 4);
        put(index, "k", 6);
        put(index, "k", 7);
        for (size_t r = 0; r < ARRAY_LEN(revs); r++) {
            assert_int_equal(kept(index, "k", revs[r], cases[i].compact), cases[i].kept[r]);
        }
        for (size_t r = 0; r < ARRAY_LEN(revs); r++) {
            if (!cases[i].kept[r]) {
                keyindex_drop(index, SLICE("k"), (struct revision){.main = revs[r]});
            }
        }
        keyindex_check(index);
        struct keyindex_stats stats;
        keyindex_stats(index, &stats);
        size_t left = 0;
        for (size_t r = 0; r < ARRAY_LEN(revs); r++) {
            left += cases[i].kept[r];
        }
        assert_int_equal(stats.revisions, left);
        keyindex_free(&index);
    }
}

TEST(keyindex, a_key_whose_tombstone_is_passed_is_forgotten)
{
    struct keyindex *index = keyindex_new();
    struct keyindex_stats stats;
    put(index, "gone", 2);
    delete (index, "gone", 3);
    keyindex_drop(index, SLICE("gone"), (struct revision){.main = 2});
    keyindex_stats(index, &stats);
    assert_int_equal(stats.keys_known, 1);
    assert_int_equal(stats.keys_live, 0);
    keyindex_drop(index, SLICE("gone"), (struct revision){.main = 3});
    keyindex_stats(index, &stats);
    assert_int_equal(stats.keys_known, 0);
    assert_false(kept(index, "gone", 3, 3));
    keyindex_drop(index, SLICE("gone"), (struct revision){.main = 3}); /* unknown: nothing */
    keyindex_check(index);
    keyindex_free(&index);
}

TEST(keyindex, restoring_remembers_a_lone_tombstone_and_passes_over_a_second_one)
{
    struct keyindex *index = keyindex_new();
    struct keyindex_stats stats;
    keyindex_restore(index, SLICE("a"), (struct revision){.main = 5}, 0, 0, 0);
    keyindex_restore(index, SLICE("a"), (struct revision){.main = 6}, 0, 0, 0);
    keyindex_restore(index, SLICE("b"), (struct revision){.main = 7}, 3, 9, 40);
    keyindex_stats(index, &stats);
    assert_int_equal(stats.revisions, 2);
    struct key_version got;
    assert_false(keyindex_get(index, SLICE("a"), INT64_MAX, &got));
    assert_true(keyindex_get(index, SLICE("b"), INT64_MAX, &got));
    assert_int_equal(got.create, 3);
    assert_int_equal(got.version, 9);
    assert_true(kept(index, "a", 5, 5));
    assert_false(kept(index, "a", 5, 6));
    keyindex_check(index);
    keyindex_free(&index);
}

TEST(keyindex, wire_lengths_count_tag_length_and_row)
{
    assert_int_equal(keyindex_wire_len(1), 3);
    assert_int_equal(keyindex_wire_len(127), 129);
    assert_int_equal(keyindex_wire_len(128), 131);
    assert_int_equal(keyindex_wire_len(16384), 16388);
    assert_int_equal(keyindex_wire_len(UINT32_MAX), 6ull + UINT32_MAX);
}

TEST(keyindex, counts_are_exact_over_many_keys_and_orders_of_insertion)
{
    for (int order = 0; order < 3; order++) {
        const int keys = order == 2 ? 300000 : 20000;
        struct keyindex *index = keyindex_new();
        for (int i = 0; i < keys; i++) {
            int k = order == 0 ? i : order == 1 ? keys - 1 - i : (int)((int64_t)i * 7919 % keys);
            char key[32];
            snprintf(key, sizeof(key), "/registry/pods/%08d", k);
            put(index, key, i + 2);
        }
        keyindex_check(index);
        struct key_range span =
            key_range_of(SLICE("/registry/pods/00000100"), SLICE("/registry/pods/00019900"));
        struct key_count count = keyindex_count(index, &span);
        assert_int_equal(count.keys, 19800);
        assert_int_equal(count.wire_bytes, 19800 * 102);
        struct keyindex_stats stats;
        keyindex_stats(index, &stats);
        assert_in_range((stats.bytes - stats.key_bytes) / (uint64_t)keys, 28, 80);
        keyindex_free(&index);
    }
}

static uint64_t steps_to_count(struct keyindex *index, const struct key_range *range, int64_t at,
                               uint64_t want)
{
    struct keyindex_iter iter;
    struct key_count count = {0};
    uint64_t budget = UINT64_MAX;
    keyindex_iter_init(&iter, index, range, at);
    assert_true(keyindex_iter_count(&iter, &budget, &count));
    assert_int_equal(count.keys, want);
    assert_int_equal(count.wire_bytes, want * 102);
    keyindex_iter_fini(&iter);
    return UINT64_MAX - budget;
}

/* What Kubernetes asks for, page after page: the rest of a list, as of its first page. */
TEST(keyindex, a_count_of_the_recent_past_costs_what_has_changed_since)
{
    const int keys = 100000;
    struct keyindex *index = keyindex_new();
    char key[32];
    for (int i = 0; i < keys; i++) {
        snprintf(key, sizeof(key), "/registry/pods/%08d", (int)((int64_t)i * 7919 % keys));
        put(index, key, i + 2);
    }
    int64_t at = keys + 1;
    struct key_range all = {.kind = KEY_FROM};
    struct key_range span =
        key_range_of(SLICE("/registry/pods/00000100"), SLICE("/registry/pods/00099900"));
    assert_true(steps_to_count(index, &all, at, 100000) < 100); /* children of the root */
    assert_true(steps_to_count(index, &span, at, 99800) < 1000);
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof(key), "/registry/pods/%08d", i * 4999);
        put(index, key, at + 1 + i);
        snprintf(key, sizeof(key), "/registry/pods/%08dx", i * 4999);
        put(index, key, at + 21 + i);
    }
    keyindex_check(index);
    uint64_t steps = steps_to_count(index, &all, at, 100000);
    assert_true(steps > 100);
    assert_true(steps < 8000);
    assert_true(steps_to_count(index, &span, at, 99800) < 8000);
    assert_int_equal(steps_to_count(index, &all, 1, 0), 100020 + 1); /* and one finds the end */
    keyindex_free(&index);
}

static unsigned keys_within(struct keyindex *index, int64_t at, uint32_t sub, bool is_reverse)
{
    struct key_range all = {.kind = KEY_FROM};
    struct keyindex_iter iter;
    struct key_version version;
    struct key_count count = {0};
    uint64_t budget = UINT64_MAX;
    unsigned keys = 0;
    keyindex_iter_init(&iter, index, &all, at);
    keyindex_iter_within(&iter, sub);
    iter.is_reverse = is_reverse;
    while (keyindex_iter_next(&iter, &version, NULL)) {
        assert_true(version.mod.main < at || version.mod.sub <= sub);
        keys++;
    }
    keyindex_iter_fini(&iter);
    keyindex_iter_init(&iter, index, &all, at);
    keyindex_iter_within(&iter, sub);
    assert_true(keyindex_iter_count(&iter, &budget, &count));
    assert_int_equal(count.keys, keys);
    keyindex_iter_fini(&iter);
    return keys;
}

/* What a Range in a transaction reads: also when the transaction has gone on. */
TEST(keyindex, a_walk_may_end_inside_a_revision)
{
    enum { MANY = 1000 };
    struct keyindex *index = keyindex_new();
    char key[16];
    for (uint32_t i = 0; i < MANY; i++) { /* revision 2: each change a new key */
        struct keyindex_place place;
        struct key_version before;
        snprintf(key, sizeof(key), "%08u", i * 7919 % MANY);
        keyindex_find(index, slice_str(key), &place, &before);
        keyindex_put_at(index, &place, slice_str(key), (struct revision){2, i}, 10);
    }
    for (uint32_t i = 0; i < MANY; i++) { /* revision 3: each a key less */
        struct keyindex_place place;
        struct key_version before;
        snprintf(key, sizeof(key), "%08u", i);
        assert_true(keyindex_find(index, slice_str(key), &place, &before));
        keyindex_tombstone_at(index, &place, (struct revision){3, i});
    }
    for (uint32_t sub = 0; sub < MANY; sub += 37) {
        assert_int_equal(keys_within(index, 2, sub, false), sub + 1);
        assert_int_equal(keys_within(index, 3, sub, sub % 2 == 0), MANY - 1 - sub);
    }
    assert_int_equal(keys_within(index, 2, UINT32_MAX, false), MANY);
    keyindex_free(&index);
}

TEST(keyindex, random_operations_equal_the_model)
{
    uint64_t state = 1;
    uint8_t *data = mem_alloc(20000);
    for (int round = 0; round < 12; round++) {
        for (size_t i = 0; i < 20000; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            data[i] = (uint8_t)(state >> 56);
        }
        LLVMFuzzerTestOneInput(data, 2000 + 1500 * (size_t)round);
    }
    mem_free(data);
}
