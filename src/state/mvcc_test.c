#include "state/mvcc.h"

#include "base/mem.h"
#include "codec/pbwire.h"
#include "storage/manual_env.h"
#include "unit.h"

#include <stdio.h>

/* mvcc_fuzz.c: random operations against a list of maps. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fixture {
    struct manual_env manual;
    struct backend *backend;
    struct mvcc *store;
    char *path;
    uint64_t index;
    int64_t compacted; /* by the hook */
};

static void on_compacted(void *ctx, int64_t revision)
{
    ((struct fixture *)ctx)->compacted = revision;
}

static FALLIBLE try_open(struct fixture *f, struct errbuf *why)
{
    manual_env_init(&f->manual, NULL);
    struct backend_options backend = {.env = &f->manual.env, .path = f->path, .no_sync = true};
    TRY(backend_open(&backend, &f->backend, why));
    struct mvcc_options options = {
        .backend = f->backend,
        .hooks = {.ctx = f, .compacted = on_compacted},
        .compact_batch_limit = 4,
    };
    enum err err = mvcc_open(&options, &f->store, why);
    if (err != ERR_OK) {
        backend_close(&f->backend);
    }
    return err;
}

static void open_all(struct fixture *f)
{
    struct errbuf why = {.text = ""};
    if (try_open(f, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
}

static void close_all(struct fixture *f)
{
    mvcc_close(&f->store);
    backend_close(&f->backend);
}

static void setup(struct fixture *f)
{
    *f = (struct fixture){.path = mem_printf("%s/db", test_dir())};
    open_all(f);
}

static void teardown(struct fixture *f)
{
    close_all(f);
    mem_free(f->path);
}

static void begin(struct fixture *f)
{
    backend_begin(f->backend);
    mvcc_begin(f->store);
}

static int64_t end(struct fixture *f)
{
    int64_t revision = mvcc_end(f->store);
    backend_end(f->backend, ++f->index, 1);
    return revision;
}

static int64_t put(struct fixture *f, const char *key, const char *value)
{
    begin(f);
    mvcc_put(f->store, slice_str(key), slice_str(value), 0);
    return end(f);
}

static int64_t delete (struct fixture *f, const char *key)
{
    struct key_range range = key_range_of(slice_str(key), SLICE_EMPTY);
    begin(f);
    mvcc_delete(f->store, &range);
    return end(f);
}

static bool value_is(struct fixture *f, const char *key, int64_t at, const char *want)
{
    struct key_range range = key_range_of(slice_str(key), SLICE_EMPTY);
    struct mvcc_read read;
    struct mvcc_row row;
    struct slice raw;
    assert_int_equal(mvcc_read_open(f->store, &range, at, &read), ERR_OK);
    bool is_there = mvcc_read_next(&read, &raw);
    bool is_same = is_there == (want != NULL);
    if (is_there && is_same) {
        assert_int_equal(mvcc_row_parse(raw, &row), ERR_OK);
        is_same = slice_eq_str(row.value, want);
    }
    mvcc_read_close(&read);
    return is_same;
}

static void compact(struct fixture *f, int64_t at)
{
    assert_int_equal(mvcc_compact(f->store, at), ERR_OK);
    while (mvcc_compact_step(f->store) >= 0) {
    }
}

TEST(mvcc, an_empty_store_has_revision_one_and_the_first_write_makes_two)
{
    struct fixture f;
    setup(&f);
    assert_int_equal(mvcc_revision(f.store), 1);
    assert_int_equal(mvcc_compact_revision(f.store), -1);
    assert_int_equal(delete (&f, "missing"), 1); /* nothing changed: nothing counted */
    assert_int_equal(put(&f, "foo", "bar"), 2);
    assert_true(value_is(&f, "foo", 0, "bar"));
    assert_true(value_is(&f, "foo", 1, NULL));
    close_all(&f);
    open_all(&f);
    assert_int_equal(mvcc_revision(f.store), 2);
    assert_true(value_is(&f, "foo", 0, "bar"));
    teardown(&f);
}

TEST(mvcc, a_transaction_is_one_revision_and_reads_its_own_writes)
{
    struct fixture f;
    setup(&f);
    struct mvcc_row row;
    struct mvcc_read read;
    struct key_range all = {.kind = KEY_FROM};
    struct key_range a = key_range_of(SLICE("a"), SLICE_EMPTY);
    struct key_count count;
    put(&f, "a", "1");
    begin(&f);
    assert_int_equal(mvcc_revision(f.store), 2);
    assert_int_equal(mvcc_put(f.store, SLICE("b"), SLICE("2"), 7), 3);
    assert_int_equal(mvcc_delete(f.store, &a), 1);
    assert_int_equal(mvcc_revision(f.store), 3);
    assert_true(mvcc_get(f.store, SLICE("b"), &row));
    assert_int_equal(row.lease, 7);
    assert_int_equal(row.create, 3);
    assert_false(mvcc_get(f.store, SLICE("a"), &row));
    assert_int_equal(mvcc_read_open(f.store, &all, 0, &read), ERR_OK);
    assert_true(mvcc_read_measure(&read, &(uint64_t){0}, &count));
    assert_int_equal(count.keys, 1);
    mvcc_read_close(&read);
    assert_true(value_is(&f, "a", 2, "1"));
    assert_int_equal(mvcc_read_open(f.store, &all, 4, &read), ERR_FUTURE);
    assert_int_equal(end(&f), 3);
    size_t changes;
    const struct mvcc_change *change = mvcc_changes(f.store, &changes);
    assert_int_equal(changes, 2);
    assert_true(change[0].is_create);
    assert_true(change[1].is_delete);
    assert_int_equal(change[1].prev.main, 2);
    assert_int_equal(change[1].rev.sub, 1);
    assert_true(mvcc_get_at(f.store, change[1].prev, &row));
    assert_true(slice_eq_str(row.value, "1"));
    mvcc_check(f.store);
    teardown(&f);
}

TEST(mvcc, rows_are_the_bytes_that_go_marshals)
{
    /* Written by hand from the protobuf encoding: fields in order, zeros left out. */
    static const uint8_t put_bytes[] = {0x0a, 1, 'k', 0x10, 2, 0x18, 2, 0x20, 1, 0x2a, 1, 'v'};
    static const uint8_t lease_bytes[] = {0x0a, 1,    'k', 0x10, 2,    0x18,
                                          3,    0x20, 2,   0x30, 0x80, 0x02};
    static const uint8_t gone_bytes[] = {0x0a, 1, 'k'};
    static const uint8_t event_bytes[] = {0x0a, 1, 'k', 0x18, 4};
    struct fixture f;
    size_t count;
    setup(&f);
    put(&f, "k", "v");
    const struct mvcc_change *change = mvcc_changes(f.store, &count);
    assert_true(slice_eq(change->row, slice_of(put_bytes, sizeof(put_bytes))));
    begin(&f);
    mvcc_put(f.store, SLICE("k"), SLICE_EMPTY, 256);
    end(&f);
    change = mvcc_changes(f.store, &count);
    assert_true(slice_eq(change->row, slice_of(lease_bytes, sizeof(lease_bytes))));
    delete (&f, "k");
    change = mvcc_changes(f.store, &count);
    assert_true(slice_eq(change->row, slice_of(gone_bytes, sizeof(gone_bytes))));
    assert_true(slice_eq(change->kv, slice_of(event_bytes, sizeof(event_bytes))));
    teardown(&f);
}

TEST(mvcc, changes_outlive_the_store_when_their_chunk_is_kept)
{
    struct fixture f;
    size_t count;
    setup(&f);
    put(&f, "key", "value");
    const struct mvcc_change *change = mvcc_changes(f.store, &count);
    struct chunk *chunk = chunk_ref(change->chunk);
    struct slice kv = change->kv;
    teardown(&f);
    struct mvcc_row row;
    assert_int_equal(mvcc_row_parse(kv, &row), ERR_OK);
    assert_true(slice_eq_str(row.value, "value"));
    chunk_unref(chunk);
}

TEST(mvcc, compaction_is_published_at_once_and_refuses_the_past)
{
    struct fixture f;
    struct mvcc_read read;
    struct key_range all = {.kind = KEY_FROM};
    setup(&f);
    for (int i = 0; i < 10; i++) {
        put(&f, i % 2 == 0 ? "a" : "b", "x");
    }
    assert_int_equal(mvcc_compact(f.store, 12), ERR_FUTURE);
    assert_int_equal(mvcc_compact(f.store, 6), ERR_OK);
    assert_int_equal(mvcc_compact(f.store, 6), ERR_COMPACTED);
    assert_int_equal(mvcc_compact_revision(f.store), 6);
    assert_false(mvcc_is_compacted(f.store, 6));
    assert_int_equal(mvcc_read_open(f.store, &all, 5, &read), ERR_COMPACTED);
    assert_true(value_is(&f, "a", 6, "x"));
    int steps = 0;
    while (mvcc_compact_step(f.store) >= 0) {
        mvcc_check(f.store);
        steps++;
    }
    assert_true(steps > 0);
    assert_int_equal(f.compacted, 6);
    assert_true(mvcc_is_compacted(f.store, 6));
    assert_int_equal(mvcc_compact_step(f.store), -1);
    struct mvcc_stats stats;
    mvcc_stats(f.store, &stats);
    assert_int_equal(stats.compacted_rows, 3);
    assert_int_equal(stats.index.revisions, 7);
    teardown(&f);
}

TEST(mvcc, compactions_asked_for_meanwhile_follow_one_another)
{
    struct fixture f;
    setup(&f);
    for (int i = 0; i < 30; i++) {
        put(&f, "a", "x");
    }
    assert_int_equal(mvcc_compact(f.store, 10), ERR_OK);
    assert_true(mvcc_compact_step(f.store) >= 0);
    assert_int_equal(mvcc_compact(f.store, 20), ERR_OK);
    assert_int_equal(mvcc_compact(f.store, 31), ERR_OK);
    while (mvcc_compact_step(f.store) >= 0) {
    }
    assert_int_equal(f.compacted, 31);
    struct mvcc_stats stats;
    mvcc_stats(f.store, &stats);
    assert_int_equal(stats.index.revisions, 1);
    mvcc_check(f.store);
    teardown(&f);
}

TEST(mvcc, an_open_read_holds_the_removal_back)
{
    struct fixture f;
    struct mvcc_read read;
    struct slice raw;
    struct key_range all = {.kind = KEY_FROM};
    setup(&f);
    put(&f, "a", "old");
    put(&f, "b", "old");
    assert_int_equal(mvcc_read_open(f.store, &all, 0, &read), ERR_OK);
    assert_true(mvcc_read_next(&read, &raw));
    mvcc_read_pause(&read);
    put(&f, "a", "new");
    put(&f, "b", "new");
    assert_int_equal(mvcc_compact(f.store, 5), ERR_OK);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(mvcc_compact_step(f.store), 10);
    }
    struct mvcc_row row;
    assert_true(mvcc_read_next(&read, &raw));
    assert_int_equal(mvcc_row_parse(raw, &row), ERR_OK);
    assert_true(slice_eq_str(row.value, "old"));
    assert_false(mvcc_read_next(&read, &raw));
    struct key_count count;
    assert_true(mvcc_read_measure(&read, &(uint64_t){0}, &count));
    assert_int_equal(count.keys, 2);
    mvcc_read_close(&read);
    while (mvcc_compact_step(f.store) >= 0) {
    }
    assert_int_equal(f.compacted, 5);
    teardown(&f);
}

/* etcd issue 17780: the head is a tombstone, compaction removes it, the process dies before the end
 * of the compaction is noted: the revision must not go back. */
static void assert_row(struct mvcc_read *read, const char *key, const char *value)
{
    struct mvcc_row row;
    struct slice raw;
    assert_true(mvcc_read_next(read, &raw));
    assert_int_equal(mvcc_row_parse(raw, &row), ERR_OK);
    assert_true(slice_eq_str(row.key, key));
    assert_true(slice_eq_str(row.value, value));
}

/* And holds back the removal of what the same transaction has replaced. */
TEST(mvcc, a_read_opened_inside_a_transaction_is_of_what_was_written_until_then)
{
    struct fixture f;
    struct key_range all = {.kind = KEY_FROM};
    struct mvcc_read read;
    struct slice raw;
    struct key_count count;
    uint64_t budget = 100;
    setup(&f);
    put(&f, "a", "old");
    put(&f, "b", "old");
    begin(&f);
    mvcc_put(f.store, SLICE("a"), SLICE("first"), 0);
    assert_int_equal(mvcc_read_open(f.store, &all, 0, &read), ERR_OK);
    assert_true(mvcc_read_measure(&read, &budget, &count));
    assert_int_equal(count.keys, 2);
    mvcc_read_pause(&read);
    mvcc_put(f.store, SLICE("a"), SLICE("second"), 0);
    mvcc_put(f.store, SLICE("b"), SLICE("second"), 0);
    mvcc_put(f.store, SLICE("c"), SLICE("second"), 0);
    mvcc_suspend(f.store, NULL);
    mvcc_resume(f.store);
    assert_int_equal(end(&f), 4);
    put(&f, "a", "later");
    assert_int_equal(mvcc_compact(f.store, 4), ERR_OK);
    assert_true(mvcc_read_is_waited_for(&read));
    assert_true(mvcc_compact_step(f.store) > 0);
    assert_row(&read, "a", "first");
    mvcc_read_pause(&read);
    put(&f, "b", "later");
    assert_row(&read, "b", "old");
    assert_false(mvcc_read_next(&read, &raw));
    mvcc_read_close(&read);
    while (mvcc_compact_step(f.store) >= 0) {
    }
    assert_true(mvcc_is_compacted(f.store, 4));
    assert_true(value_is(&f, "a", 4, "second"));
    mvcc_check(f.store);
    teardown(&f);
}

TEST(mvcc, a_read_beside_another_is_of_the_same_revision_though_that_is_compacted)
{
    struct fixture f;
    struct key_range all = {.kind = KEY_FROM};
    struct key_range none = {.kind = KEY_ONE};
    struct mvcc_read anchor;
    struct mvcc_read read;
    struct mvcc_row row;
    struct slice raw;
    setup(&f);
    put(&f, "a", "old");
    assert_int_equal(mvcc_read_open(f.store, &none, 0, &anchor), ERR_OK);
    put(&f, "a", "new");
    put(&f, "b", "new");
    assert_int_equal(mvcc_compact(f.store, 4), ERR_OK);
    assert_int_equal(mvcc_read_open(f.store, &all, 2, &read), ERR_COMPACTED);
    assert_true(mvcc_compact_step(f.store) > 0);
    mvcc_read_open_beside(&anchor, &all, &read);
    assert_row(&read, "a", "old");
    assert_false(mvcc_read_next(&read, &raw));
    mvcc_read_close(&read);
    assert_true(mvcc_read_get(&anchor, SLICE("a"), &row));
    assert_true(slice_eq_str(row.value, "old"));
    assert_false(mvcc_read_get(&anchor, SLICE("b"), &row));
    mvcc_read_close(&anchor);
    mvcc_check(f.store);
    teardown(&f);
}

TEST(mvcc, the_revision_never_goes_back_over_a_compacted_head)
{
    struct fixture f;
    setup(&f);
    put(&f, "a", "1");
    delete (&f, "a");  /* 3 */
    put(&f, "b", "1"); /* 4 */
    delete (&f, "b");  /* 5 */
    compact(&f, 5);
    struct mvcc_stats stats;
    mvcc_stats(f.store, &stats);
    assert_int_equal(stats.index.revisions, 1); /* the tombstone exactly at 5 stays */
    close_all(&f);
    open_all(&f);
    assert_int_equal(mvcc_revision(f.store), 5);
    assert_int_equal(mvcc_compact_revision(f.store), 5);
    /* An older version removed that tombstone too, and may have died before the end. */
    backend_delete_row(f.backend, (struct revision){.main = 5}, true);
    backend_delete(f.backend, BUCKET_META, SLICE("finishedCompactRev"));
    close_all(&f);
    open_all(&f);
    assert_int_equal(mvcc_revision(f.store), 5);
    assert_int_equal(mvcc_compact_revision(f.store), 5);
    assert_true(mvcc_compact_step(f.store) < 0); /* taken up again, and finished */
    assert_true(mvcc_is_compacted(f.store, 5));
    assert_int_equal(put(&f, "c", "1"), 6);
    teardown(&f);
}

TEST(mvcc, a_step_of_removal_is_bounded_by_the_bytes_of_keys_too)
{
    static uint8_t key[100000];
    struct fixture f;
    unsigned steps = 0;
    setup(&f);
    for (uint8_t i = 0; i < 20; i++) {
        key[0] = (uint8_t)(i + 1);
        for (unsigned k = 0; k < 2; k++) {
            begin(&f);
            mvcc_put(f.store, slice_of(key, sizeof(key)), SLICE("x"), 0);
            end(&f);
        }
    }
    assert_int_equal(mvcc_compact(f.store, mvcc_revision(f.store)), ERR_OK);
    while (mvcc_compact_step(f.store) >= 0) {
        steps++;
    }
    assert_true(steps >= 6); /* 20 rows go, three a step */
    mvcc_check(f.store);
    teardown(&f);
}

TEST(mvcc, a_removal_cut_short_goes_on_after_a_restart)
{
    struct fixture f;
    setup(&f);
    for (int i = 0; i < 40; i++) {
        put(&f, i % 2 == 0 ? "a" : "b", "x");
    }
    assert_int_equal(mvcc_compact(f.store, 35), ERR_OK);
    assert_true(mvcc_compact_step(f.store) >= 0);
    assert_true(mvcc_compact_step(f.store) >= 0);
    close_all(&f);
    open_all(&f);
    assert_int_equal(mvcc_compact_revision(f.store), 35);
    assert_false(mvcc_is_compacted(f.store, 35));
    mvcc_check(f.store);
    while (mvcc_compact_step(f.store) >= 0) {
    }
    struct mvcc_stats stats;
    mvcc_stats(f.store, &stats);
    assert_int_equal(stats.index.revisions, 2 + 6);
    assert_true(value_is(&f, "a", 35, "x"));
    teardown(&f);
}

struct counted {
    struct revision last;
    size_t rows;
    size_t deletes;
    size_t stop_after;
};

static bool count_row(void *ctx, struct revision rev, bool is_delete, struct slice row)
{
    struct counted *counted = ctx;
    assert_true(revision_cmp(rev, counted->last) > 0);
    assert_true(row.len > 0);
    counted->last = rev;
    counted->rows++;
    counted->deletes += is_delete;
    return counted->rows != counted->stop_after;
}

TEST(mvcc, history_comes_in_order_over_committed_and_pending_rows)
{
    struct fixture f;
    setup(&f);
    for (int i = 0; i < 10; i++) {
        put(&f, "a", "x");
        if (i == 5) {
            backend_force_commit(f.backend, mem_free, NULL);
            manual_settle(&f.manual);
        }
    }
    delete (&f, "a");
    struct counted counted = {0};
    mvcc_history(f.store, 4, count_row, &counted);
    assert_int_equal(counted.rows, 9);
    assert_int_equal(counted.deletes, 1);
    assert_int_equal(counted.last.main, 12);
    counted = (struct counted){.stop_after = 3};
    mvcc_history(f.store, -5, count_row, &counted);
    assert_int_equal(counted.rows, 3);
    teardown(&f);
}

static uint32_t hash_at(struct fixture *f, int64_t at)
{
    struct mvcc_hash *hash;
    struct mvcc_hash_result result;
    assert_int_equal(mvcc_hash_begin(f->store, at, &hash), ERR_OK);
    put(f, "later", "x"); /* what comes after the beginning is not seen */
    mvcc_hash_run(hash);
    mvcc_hash_end(&hash, &result);
    return result.hash;
}

TEST(mvcc, hashes_do_not_depend_on_how_far_commits_and_removals_are)
{
    struct fixture f;
    struct mvcc_hash *hash;
    setup(&f);
    for (int i = 0; i < 20; i++) {
        put(&f, i % 3 == 0 ? "a" : "b", "x");
    }
    delete (&f, "a");  /* 22 */
    put(&f, "c", "x"); /* 23 */
    uint32_t pending = hash_at(&f, 23);
    manual_settle(&f.manual);
    assert_int_equal(hash_at(&f, 23), pending);
    assert_int_equal(mvcc_compact(f.store, 22), ERR_OK);
    uint32_t scheduled = hash_at(&f, 23);
    assert_int_not_equal(scheduled, pending);
    while (mvcc_compact_step(f.store) >= 0) {
        assert_int_equal(hash_at(&f, 23), scheduled);
    }
    assert_int_equal(hash_at(&f, 23), scheduled);
    close_all(&f);
    open_all(&f);
    assert_int_equal(hash_at(&f, 23), scheduled);
    assert_int_equal(mvcc_hash_begin(f.store, 22, &hash), ERR_COMPACTED);
    assert_int_equal(mvcc_hash_begin(f.store, 1000, &hash), ERR_FUTURE);
    struct mvcc_hash_result result;
    mvcc_hash_all_begin(f.store, &hash);
    mvcc_hash_run(hash);
    mvcc_hash_end(&hash, &result);
    assert_int_not_equal(result.hash, 0);
    teardown(&f);
}

/* ---- damage -----------------------------------------------------------------------------------
 */

static void put_raw(struct fixture *f, int64_t main, struct slice row)
{
    struct chunk *chunk;
    uint8_t *bytes = backend_row_alloc(f->backend, row.len, &chunk);
    memcpy(bytes, row.data, row.len);
    backend_put_row(f->backend, (struct revision){.main = main}, false, slice_of(bytes, row.len),
                    chunk);
    chunk_unref(chunk);
}

TEST(mvcc, refuses_to_open_over_damaged_rows_and_markers)
{
    static const struct {
        struct slice row;
        struct slice marker;
        const char *says;
    } cases[] = {
        {SLICE("\x0a\x05k"), SLICE_EMPTY, "revision 2.0"},
        {SLICE("\x10\x02"), SLICE_EMPTY, "revision 2.0"}, /* no key */
        /* create 2, mod 3, version 1: a row of another revision; then version 0; create 3, mod 2 */
        {SLICE("\x0a\x01k\x10\x02\x18\x03\x20\x01"), SLICE_EMPTY, "revision 2.0 does not belong"},
        {SLICE("\x0a\x01k\x10\x02\x18\x02"), SLICE_EMPTY, "revision 2.0 does not belong"},
        {SLICE("\x0a\x01k\x10\x03\x18\x02\x20\x01"), SLICE_EMPTY, "revision 2.0 does not belong"},
        {SLICE_EMPTY, SLICE("short"), "scheduledCompactRev"},
        {SLICE_EMPTY, SLICE("\xff\xff\xff\xff\xff\xff\xff\xff_\0\0\0\0\0\0\0\0"),
         "scheduledCompactRev"},
        /* Nobody could count on from there. */
        {SLICE_EMPTY, SLICE("\x7f\xff\xff\xff\xff\xff\xff\xff_\0\0\0\0\0\0\0\0"),
         "scheduledCompactRev"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture f;
        struct errbuf why = {.text = ""};
        setup(&f);
        if (cases[i].row.len > 0) {
            put_raw(&f, 2, cases[i].row);
        }
        if (cases[i].marker.len > 0) {
            backend_put(f.backend, BUCKET_META, SLICE("scheduledCompactRev"), cases[i].marker);
        }
        close_all(&f);
        assert_int_equal(try_open(&f, &why), ERR_CORRUPT);
        assert_non_null(strstr(why.text, cases[i].says));
        assert_non_null(strstr(why.text, f.path));
        mem_free(f.path);
    }
}

TEST(mvcc, refuses_revisions_that_nobody_could_count_on_from)
{
    static const struct revision revs[] = {
        {.main = INT64_MAX},
        {.main = REVISION_MAIN_MAX + 1},
        {.main = 2, .sub = UINT32_MAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(revs); i++) {
        struct fixture f;
        struct errbuf why = {.text = ""};
        struct chunk *chunk;
        setup(&f);
        (void)backend_row_alloc(f.backend, 1, &chunk);
        backend_put_row(f.backend, revs[i], false, SLICE_EMPTY, chunk); /* as bumping does */
        chunk_unref(chunk);
        close_all(&f);
        assert_int_equal(try_open(&f, &why), ERR_CORRUPT);
        assert_non_null(strstr(why.text, "impossible"));
        mem_free(f.path);
    }
}

TEST(mvcc, rows_of_other_encoders_are_understood)
{
    /* mod before create, a field nobody knows, an explicit zero. */
    static const uint8_t odd[] = {0x18, 9, 0x10, 8, 0x0a, 1, 'k', 0x78, 1, 0x20, 0, 0x2a, 1, 'v'};
    struct mvcc_row row;
    assert_int_equal(mvcc_row_parse(slice_of(odd, sizeof(odd)), &row), ERR_OK);
    assert_int_equal(row.mod, 9);
    assert_int_equal(row.create, 8);
    assert_int_equal(row.version, 0);
    assert_true(slice_eq_str(row.value, "v"));
    assert_int_equal(mvcc_row_parse(slice_of(odd, 5), &row), ERR_CORRUPT);
}

TEST(mvcc, random_operations_restarts_and_crashes_equal_a_list_of_maps)
{
    uint64_t state = 3;
    uint8_t *data = mem_alloc(6000);
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < 6000; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            data[i] = (uint8_t)(state >> 56);
        }
        LLVMFuzzerTestOneInput(data, 1200 + 400 * (size_t)round);
    }
    mem_free(data);
}
