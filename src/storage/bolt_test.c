#include "unit.h"

#include "env/env.h"
#include "env/posix.h"
#include "storage/bolt_model.h"
#include "storage/bolt_priv.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[256];

static const char *fresh_path(void)
{
    snprintf(path, sizeof(path), "%s/db", test_dir());
    return path;
}

static struct bolt *open_with(const char *file, struct bolt_options options)
{
    struct bolt *db = NULL;
    struct errbuf why = {0};
    enum err err = bolt_open(posix_disk(), file, &options, &db, &why);
    if (err != ERR_OK) {
        fail_msg("%s: %s", err_name(err), why.text);
    }
    return db;
}

static struct bolt *open_fresh(void)
{
    return open_with(fresh_path(), (struct bolt_options){.no_sync = true});
}

static struct bolt_tx *write_begin(struct bolt *db)
{
    struct bolt_tx *tx = NULL;
    struct errbuf why = {0};
    assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_OK);
    return tx;
}

static void commit(struct bolt_tx **tx)
{
    struct errbuf why = {0};
    enum err err = bolt_commit(tx, &why);
    if (err != ERR_OK) {
        fail_msg("%s: %s", err_name(err), why.text);
    }
    assert_null(*tx);
}

static struct bolt_bucket *ensure(struct bolt_tx *tx, const char *name)
{
    struct bolt_bucket *bucket = NULL;
    assert_int_equal(bolt_bucket_ensure(bolt_root(tx), slice_str(name), &bucket), ERR_OK);
    return bucket;
}

static struct bolt_bucket *bucket_of(struct bolt_tx *tx, const char *name)
{
    struct bolt_bucket *bucket = NULL;
    assert_int_equal(bolt_bucket(bolt_root(tx), slice_str(name), &bucket), ERR_OK);
    return bucket;
}

static void put(struct bolt_bucket *bucket, const char *key, const char *value)
{
    assert_int_equal(bolt_put(bucket, slice_str(key), slice_str(value)), ERR_OK);
}

static void assert_value(struct bolt_bucket *bucket, const char *key, const char *value)
{
    struct slice got;
    assert_int_equal(bolt_get(bucket, slice_str(key), &got), ERR_OK);
    assert_true(slice_eq_str(got, value));
}

static void check(struct bolt *db)
{
    struct bolt_tx *tx = bolt_read_begin(db);
    struct errbuf why = {0};
    enum err err = bolt_check(tx, &why);
    if (err != ERR_OK) {
        fail_msg("%s", why.text);
    }
    bolt_read_end(&tx);
    if (!db->options.read_only) {
        bolt__db_check(db);
    }
}

TEST(bolt, a_new_file_is_four_pages_and_empty)
{
    struct bolt *db = open_fresh();
    struct file_info info;
    assert_int_equal(disk_stat(posix_disk(), path, &info, NULL), ERR_OK);
    assert_int_equal(info.size, 4 * 4096);
    assert_int_equal(info.mode, 0600);
    struct bolt_tx *tx = bolt_read_begin(db);
    struct bolt_cursor cursor;
    struct bolt_item item;
    bolt_cursor_init(&cursor, bolt_root(tx));
    assert_int_equal(bolt_cursor_first(&cursor, &item), ERR_NOT_FOUND);
    assert_int_equal(bolt_cursor_last(&cursor, &item), ERR_NOT_FOUND);
    assert_int_equal(bolt_cursor_seek(&cursor, SLICE("x"), &item), ERR_NOT_FOUND);
    assert_int_equal(bolt_tx_id(tx), 1);
    assert_int_equal(bolt_tx_size(tx), 4 * 4096);
    bolt_read_end(&tx);
    assert_null(tx);
    check(db);
    bolt_close(&db);
    assert_null(db);
}

TEST(bolt, what_is_committed_is_there_after_reopen)
{
    struct bolt *db = open_with(fresh_path(), (struct bolt_options){0});
    struct bolt_tx *tx = write_begin(db);
    put(ensure(tx, "fruit"), "apple", "red");
    put(ensure(tx, "fruit"), "pear", "");
    commit(&tx);
    check(db);
    bolt_close(&db);
    db = open_with(path, (struct bolt_options){.read_only = true});
    tx = bolt_read_begin(db);
    assert_value(bucket_of(tx, "fruit"), "apple", "red");
    assert_value(bucket_of(tx, "fruit"), "pear", "");
    struct slice value;
    assert_int_equal(bolt_get(bucket_of(tx, "fruit"), SLICE("plum"), &value), ERR_NOT_FOUND);
    bolt_read_end(&tx);
    check(db);
    bolt_close(&db);
}

TEST(bolt, rollback_forgets)
{
    struct bolt *db = open_fresh();
    struct bolt_tx *tx = write_begin(db);
    put(ensure(tx, "b"), "kept", "1");
    commit(&tx);
    for (int i = 0; i < 10; i++) {
        tx = write_begin(db);
        put(ensure(tx, "b"), "lost", "2");
        put(ensure(tx, "c"), "lost", "2");
        bolt_rollback(&tx);
        bolt__db_check(db);
    }
    tx = bolt_read_begin(db);
    struct bolt_bucket *bucket = NULL;
    struct slice value;
    assert_value(bucket_of(tx, "b"), "kept", "1");
    assert_int_equal(bolt_get(bucket_of(tx, "b"), SLICE("lost"), &value), ERR_NOT_FOUND);
    assert_int_equal(bolt_bucket(bolt_root(tx), SLICE("c"), &bucket), ERR_NOT_FOUND);
    bolt_read_end(&tx);
    bolt_close(&db);
}

TEST(bolt, what_makes_no_sense_is_refused_and_does_no_harm)
{
    struct bolt *db = open_fresh();
    struct bolt_tx *tx = write_begin(db);
    struct bolt_bucket *b = ensure(tx, "b");
    struct bolt_bucket *inner = NULL;
    struct slice value;
    static uint8_t long_key[BOLT_KEY_MAX + 1];
    assert_int_equal(bolt_put(b, SLICE(""), SLICE("v")), ERR_INVALID);
    assert_string_equal(bolt_tx_why(tx), "a key or a bucket's name must not be empty");
    assert_int_equal(bolt_put(b, slice_of(long_key, sizeof(long_key)), SLICE("v")), ERR_TOO_LARGE);
    assert_int_equal(bolt_put(b, slice_of(long_key, BOLT_KEY_MAX), SLICE("v")), ERR_OK);
    assert_int_equal(bolt_put(b, SLICE("k"), slice_of(long_key, (size_t)BOLT_VALUE_MAX + 1)),
                     ERR_TOO_LARGE);
    assert_int_equal(bolt_put(bolt_root(tx), SLICE("k"), SLICE("v")), ERR_INVALID);
    assert_int_equal(bolt_bucket_create(bolt_root(tx), SLICE(""), &inner), ERR_INVALID);
    assert_int_equal(bolt_bucket_create(bolt_root(tx), SLICE("b"), &inner), ERR_EXISTS);
    assert_int_equal(bolt_bucket_create(b, SLICE("in"), &inner), ERR_OK);
    assert_int_equal(bolt_put(b, SLICE("in"), SLICE("v")), ERR_INVALID);
    assert_int_equal(bolt_delete(b, SLICE("in")), ERR_INVALID);
    assert_int_equal(bolt_get(b, SLICE("in"), &value), ERR_NOT_FOUND);
    put(b, "plain", "v");
    assert_int_equal(bolt_bucket(b, SLICE("plain"), &inner), ERR_INVALID);
    assert_int_equal(bolt_bucket_create(b, SLICE("plain"), &inner), ERR_INVALID);
    assert_int_equal(bolt_bucket_drop(b, SLICE("plain")), ERR_INVALID);
    assert_int_equal(bolt_bucket_drop(b, SLICE("none")), ERR_NOT_FOUND);
    assert_int_equal(bolt_delete(b, SLICE("none")), ERR_NOT_FOUND);
    commit(&tx);
    check(db);
    bolt_close(&db);
}

TEST(bolt, a_second_open_finds_it_locked_and_read_only_opens_share)
{
    struct bolt *db = open_fresh();
    struct bolt *other = NULL;
    struct errbuf why = {0};
    struct bolt_options options = {0};
    assert_int_equal(bolt_open(posix_disk(), path, &options, &other, &why), ERR_LOCKED);
    assert_non_null(strstr(why.text, path));
    bolt_close(&db);
    options.read_only = true;
    db = open_with(path, options);
    other = open_with(path, options);
    struct bolt_tx *tx = NULL;
    assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_PERM);
    bolt_close(&db);
    bolt_close(&other);
}

TEST(bolt, options_and_missing_files_are_refused)
{
    struct bolt *db = NULL;
    struct errbuf why = {0};
    struct bolt_options options = {.page_size = 5000};
    assert_int_equal(bolt_open(posix_disk(), fresh_path(), &options, &db, &why), ERR_INVALID);
    options = (struct bolt_options){.page_size = 512};
    assert_int_equal(bolt_open(posix_disk(), path, &options, &db, &why), ERR_INVALID);
    options = (struct bolt_options){.initial_map_size = UINT64_MAX};
    assert_int_equal(bolt_open(posix_disk(), path, &options, &db, &why), ERR_INVALID);
    options = (struct bolt_options){.read_only = true};
    assert_int_equal(bolt_open(posix_disk(), path, &options, &db, &why), ERR_NOT_FOUND);
    assert_null(db);
}

/* Rows enough for three levels, deleted again in another order. */
TEST(bolt, a_tree_grows_splits_shrinks_and_merges)
{
    struct bolt *db = open_fresh();
    char key[32];
    enum { ROWS = 20000 };
    for (int batch = 0; batch < ROWS; batch += 1000) {
        struct bolt_tx *tx = write_begin(db);
        struct bolt_bucket *b = ensure(tx, "b");
        for (int i = batch; i < batch + 1000; i++) {
            snprintf(key, sizeof(key), "%08d", i * 7919 % ROWS);
            put(b, key, "a value of some length, to fill the pages");
        }
        commit(&tx);
    }
    check(db);
    struct bolt_stats stats;
    bolt_stats(db, &stats);
    assert_true(stats.splits > 100);
    for (int batch = 0; batch < ROWS; batch += 1000) {
        struct bolt_tx *tx = write_begin(db);
        struct bolt_bucket *b = ensure(tx, "b");
        for (int i = batch; i < batch + 1000; i++) {
            snprintf(key, sizeof(key), "%08d", i * 104729 % ROWS);
            assert_int_equal(bolt_delete(b, slice_str(key)), ERR_OK);
        }
        commit(&tx);
        check(db);
    }
    bolt_stats(db, &stats);
    assert_true(stats.merges > 100);
    struct bolt_tx *tx = bolt_read_begin(db);
    struct bolt_cursor cursor;
    struct bolt_item item;
    bolt_cursor_init(&cursor, bucket_of(tx, "b"));
    assert_int_equal(bolt_cursor_first(&cursor, &item), ERR_NOT_FOUND);
    bolt_read_end(&tx);
    bolt_close(&db);
}

/* The fill percentage shows in the number of pages. */
TEST(bolt, a_high_fill_takes_fewer_pages)
{
    uint64_t sizes[2];
    for (int round = 0; round < 2; round++) {
        struct bolt *db = open_fresh();
        struct bolt_tx *tx = write_begin(db);
        struct bolt_bucket *b = ensure(tx, "key");
        bolt_bucket_set_fill(b, round == 0 ? 50 : 90);
        for (int i = 0; i < 10000; i++) {
            char key[32];
            snprintf(key, sizeof(key), "%08d", i);
            put(b, key, "0123456789012345678901234567890123456789");
        }
        commit(&tx);
        check(db);
        tx = bolt_read_begin(db);
        sizes[round] = bolt_tx_size(tx);
        bolt_read_end(&tx);
        bolt_close(&db);
    }
    assert_true(sizes[1] * 10 < sizes[0] * 6);
}

TEST(bolt, small_buckets_are_inline_and_large_ones_are_not)
{
    struct bolt *db = open_fresh();
    struct bolt_tx *tx = write_begin(db);
    put(ensure(tx, "small"), "k", "v");
    struct bolt_bucket *large = ensure(tx, "large");
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%d", i);
        put(large, key, "0123456789");
    }
    commit(&tx);
    check(db);
    tx = bolt_read_begin(db);
    assert_int_equal(bucket_of(tx, "small")->root, 0);
    assert_int_not_equal(bucket_of(tx, "large")->root, 0);
    bolt_read_end(&tx);
    /* And they change over when they shrink or get a bucket inside. */
    tx = write_begin(db);
    large = bucket_of(tx, "large");
    for (int i = 1; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%d", i);
        assert_int_equal(bolt_delete(large, slice_str(key)), ERR_OK);
    }
    struct bolt_bucket *inner = NULL;
    assert_int_equal(bolt_bucket_create(bucket_of(tx, "small"), SLICE("in"), &inner), ERR_OK);
    put(inner, "deep", "down");
    commit(&tx);
    check(db);
    tx = bolt_read_begin(db);
    assert_int_equal(bucket_of(tx, "large")->root, 0);
    assert_int_not_equal(bucket_of(tx, "small")->root, 0);
    assert_value(bucket_of(tx, "large"), "0", "0123456789");
    assert_int_equal(bolt_bucket(bucket_of(tx, "small"), SLICE("in"), &inner), ERR_OK);
    assert_value(inner, "deep", "down");
    bolt_read_end(&tx);
    bolt_close(&db);
}

TEST(bolt, a_bucket_is_dropped_with_everything_inside_and_its_pages_come_back)
{
    struct bolt *db = open_fresh();
    struct bolt_tx *tx = write_begin(db);
    struct bolt_bucket *outer = ensure(tx, "outer");
    for (int i = 0; i < 20; i++) {
        char name[16];
        struct bolt_bucket *inner = NULL;
        snprintf(name, sizeof(name), "in%d", i);
        assert_int_equal(bolt_bucket_create(outer, slice_str(name), &inner), ERR_OK);
        for (int j = 0; j < i * 40; j++) {
            char key[16];
            snprintf(key, sizeof(key), "%d", j);
            put(inner, key, "0123456789012345678901234567890123456789");
        }
    }
    commit(&tx);
    check(db);
    tx = write_begin(db);
    /* One of them changed in this very transaction. */
    struct bolt_bucket *inner = NULL;
    assert_int_equal(bolt_bucket(bucket_of(tx, "outer"), SLICE("in19"), &inner), ERR_OK);
    put(inner, "new", "row");
    assert_int_equal(bolt_bucket_drop(bolt_root(tx), SLICE("outer")), ERR_OK);
    struct bolt_bucket *gone = NULL;
    assert_int_equal(bolt_bucket(bolt_root(tx), SLICE("outer"), &gone), ERR_NOT_FOUND);
    put(ensure(tx, "outer"), "again", "1");
    commit(&tx);
    check(db);
    tx = bolt_read_begin(db);
    assert_value(bucket_of(tx, "outer"), "again", "1");
    bolt_read_end(&tx);
    tx = write_begin(db);
    struct bolt_stats stats;
    bolt_stats(db, &stats);
    assert_true(stats.free_pages > 50);
    bolt_rollback(&tx);
    bolt_close(&db);
}

TEST(bolt, values_of_many_pages_come_back_whole)
{
    struct bolt *db = open_fresh();
    enum { LEN = 3 << 20 };
    uint8_t *data = mem_alloc(LEN);
    for (size_t i = 0; i < LEN; i++) {
        data[i] = (uint8_t)(i * 31 + i / 4096);
    }
    struct bolt_tx *tx = write_begin(db);
    struct bolt_bucket *b = ensure(tx, "b");
    assert_int_equal(bolt_put(b, SLICE("large"), slice_of(data, LEN)), ERR_OK);
    assert_int_equal(bolt_put(b, SLICE("m"), slice_of(data, 5000)), ERR_OK);
    put(b, "z", "small");
    commit(&tx);
    check(db);
    tx = bolt_read_begin(db);
    struct slice got;
    assert_int_equal(bolt_get(bucket_of(tx, "b"), SLICE("large"), &got), ERR_OK);
    assert_true(slice_eq(got, slice_of(data, LEN)));
    assert_value(bucket_of(tx, "b"), "z", "small");
    bolt_read_end(&tx);
    tx = write_begin(db);
    assert_int_equal(bolt_delete(bucket_of(tx, "b"), SLICE("large")), ERR_OK);
    commit(&tx);
    check(db);
    bolt_close(&db);
    mem_free(data);
}

TEST(bolt, a_cursor_survives_changes_around_it)
{
    struct bolt *db = open_fresh();
    struct bolt_tx *tx = write_begin(db);
    struct bolt_bucket *b = ensure(tx, "b");
    struct bolt_cursor cursor;
    struct bolt_item item;
    put(b, "b", "2");
    put(b, "d", "4");
    put(b, "f", "6");
    bolt_cursor_init(&cursor, b);
    assert_int_equal(bolt_cursor_seek(&cursor, SLICE("c"), &item), ERR_OK);
    assert_true(slice_eq_str(item.key, "d"));
    put(b, "e", "5");
    put(b, "c", "3");
    assert_int_equal(bolt_cursor_next(&cursor, &item), ERR_OK);
    assert_true(slice_eq_str(item.key, "e"));
    assert_int_equal(bolt_delete(b, SLICE("e")), ERR_OK);
    assert_int_equal(bolt_delete(b, SLICE("d")), ERR_OK);
    assert_int_equal(bolt_cursor_prev(&cursor, &item), ERR_OK);
    assert_true(slice_eq_str(item.key, "c"));
    assert_int_equal(bolt_cursor_last(&cursor, &item), ERR_OK);
    assert_int_equal(bolt_cursor_next(&cursor, &item), ERR_NOT_FOUND);
    assert_int_equal(bolt_cursor_next(&cursor, &item), ERR_NOT_FOUND);
    assert_int_equal(bolt_cursor_prev(&cursor, &item), ERR_OK);
    assert_true(slice_eq_str(item.key, "c"));
    /* Deleting everything on the way leaves nothing out. */
    int deleted = 0;
    for (enum err err = bolt_cursor_first(&cursor, &item); err == ERR_OK;
         err = bolt_cursor_next(&cursor, &item)) {
        assert_int_equal(bolt_cursor_delete(&cursor), ERR_OK);
        deleted++;
    }
    assert_int_equal(deleted, 3);
    bolt_rollback(&tx);
    bolt_close(&db);
}

TEST(bolt, the_file_grows_as_bbolt_grows_it)
{
    /* Mapped by size: the file is made as long as the map, until 16 MiB. */
    struct bolt *db = open_fresh();
    struct bolt_stats stats;
    struct bolt_tx *tx = write_begin(db);
    put(ensure(tx, "b"), "k", "v");
    commit(&tx);
    bolt_stats(db, &stats);
    assert_int_equal(stats.file_size, 32768);
    assert_int_equal(stats.map_size, 32768);
    tx = write_begin(db);
    uint8_t *data = mem_zalloc(100000);
    assert_int_equal(bolt_put(bucket_of(tx, "b"), SLICE("l"), slice_of(data, 100000)), ERR_OK);
    commit(&tx);
    mem_free(data);
    bolt_stats(db, &stats);
    assert_int_equal(stats.file_size, 131072);
    bolt_close(&db);
    /* Mapped large from the start: 16 MiB more than needed. */
    db = open_with(fresh_path(),
                   (struct bolt_options){.no_sync = true, .initial_map_size = 1ull << 34});
    tx = write_begin(db);
    put(ensure(tx, "b"), "k", "v");
    commit(&tx);
    bolt_stats(db, &stats);
    struct bolt_tx *reader = bolt_read_begin(db);
    assert_int_equal(stats.file_size, bolt_tx_size(reader) + 4096 + (16 << 20));
    assert_int_equal(stats.map_size, 1ull << 34);
    bolt_read_end(&reader);
    check(db);
    bolt_close(&db);
}

static uint64_t allocated_bytes(const char *file)
{
    struct stat info;
    assert_int_equal(stat(file, &info), 0);
    return (uint64_t)info.st_blocks * 512;
}

/* etcd 3.6 leaves its file 16 MiB longer than needed, and empty there. */
TEST(bolt, what_is_to_be_a_reserve_is_allocated_though_the_file_is_long_enough)
{
    const char *file = fresh_path();
    struct bolt *db = open_with(file, (struct bolt_options){.no_sync = true});
    struct bolt_tx *tx = write_begin(db);
    put(ensure(tx, "b"), "k", "v");
    commit(&tx);
    bolt_close(&db);
    assert_int_equal(truncate(file, 16 << 20), 0);
    if (allocated_bytes(file) > 1 << 20) {
        skip(); /* this file system knows no holes */
    }
    db = open_with(file, (struct bolt_options){.no_sync = true, .read_only = true});
    bolt_close(&db);
    db = open_with(file, (struct bolt_options){.no_sync = true});
    bolt_close(&db);
    assert_true(allocated_bytes(file) <= 1 << 20); /* for tools it stays as it is */
    db = open_with(file, (struct bolt_options){.no_sync = true, .reserve_bytes = 4 << 20});
    assert_true(allocated_bytes(file) >= 16 << 20);
    check(db);
    bolt_close(&db);
}

TEST(bolt, every_page_size_works_and_is_found_again)
{
    for (uint32_t size = 1024; size <= 65536; size *= 2) {
        struct bolt *db =
            open_with(fresh_path(), (struct bolt_options){.no_sync = true, .page_size = size});
        struct bolt_tx *tx = write_begin(db);
        struct bolt_bucket *b = ensure(tx, "b");
        for (int i = 0; i < 3000; i++) {
            char key[16];
            snprintf(key, sizeof(key), "%d", i);
            put(b, key, "0123456789012345678901234567890123456789");
        }
        commit(&tx);
        check(db);
        bolt_close(&db);
        /* The first meta lost: the second is found at its place. */
        struct file *file = NULL;
        uint8_t zero[512] = {0};
        assert_int_equal(disk_open(posix_disk(), path, FILE_READ | FILE_WRITE, &file, NULL),
                         ERR_OK);
        assert_int_equal(file_pwrite(file, zero, sizeof(zero), 0, NULL), ERR_OK);
        file_close(&file);
        db = open_with(path, (struct bolt_options){.no_sync = true});
        assert_int_equal(bolt_page_size(db), size);
        check(db);
        bolt_close(&db);
    }
}

TEST(bolt, the_freelist_can_be_kept_or_found_by_scanning)
{
    struct bolt *db = open_fresh();
    uint64_t free_before = 0;
    for (int round = 0; round < 6; round++) {
        struct bolt_tx *tx = write_begin(db);
        struct bolt_bucket *b = ensure(tx, "b");
        for (int i = 0; i < 2000; i++) {
            char key[16];
            snprintf(key, sizeof(key), "%d", i);
            if (round % 2 == 0) {
                put(b, key, "0123456789012345678901234567890123456789");
            } else if (i % 3 != 0) {
                assert_int_equal(bolt_delete(b, slice_str(key)), ERR_OK);
            }
        }
        commit(&tx);
        check(db);
        struct bolt_stats stats;
        bolt_stats(db, &stats);
        free_before = stats.free_pages + stats.pending_pages;
        bolt_close(&db);
        /* Every other time the next commit keeps none. */
        db = open_with(path,
                       (struct bolt_options){.no_sync = true, .no_freelist_sync = round % 2 == 0});
        bolt_stats(db, &stats);
        assert_int_equal(stats.free_pages, free_before);
        assert_int_equal(stats.pending_pages, 0);
        check(db);
    }
    bolt_close(&db);
}

TEST(bolt, a_bucket_has_a_sequence)
{
    struct bolt *db = open_fresh();
    struct bolt_tx *tx = write_begin(db);
    assert_int_equal(bolt_bucket_set_sequence(ensure(tx, "b"), 42), ERR_OK);
    assert_int_equal(bolt_bucket_set_sequence(bolt_root(tx), 7), ERR_OK);
    commit(&tx);
    tx = write_begin(db);
    assert_int_equal(bolt_bucket_sequence(bucket_of(tx, "b")), 42);
    assert_int_equal(bolt_bucket_sequence(bolt_root(tx)), 7);
    put(bucket_of(tx, "b"), "k", "v");
    commit(&tx);
    tx = bolt_read_begin(db);
    assert_int_equal(bolt_bucket_sequence(bucket_of(tx, "b")), 42);
    assert_int_equal(bolt_bucket_sequence(bolt_root(tx)), 7);
    bolt_read_end(&tx);
    bolt_close(&db);
}

TEST(bolt, buckets_nest_to_a_limit)
{
    struct bolt *db = open_fresh();
    struct bolt_tx *tx = write_begin(db);
    struct bolt_bucket *bucket = bolt_root(tx);
    for (int i = 0; i < BOLT_NEST_MAX; i++) {
        assert_int_equal(bolt_bucket_create(bucket, SLICE("in"), &bucket), ERR_OK);
    }
    put(bucket, "deep", "down");
    struct bolt_bucket *over = NULL;
    assert_int_equal(bolt_bucket_create(bucket, SLICE("in"), &over), ERR_TOO_LARGE);
    commit(&tx);
    check(db);
    tx = bolt_read_begin(db);
    bucket = bolt_root(tx);
    for (int i = 0; i < BOLT_NEST_MAX; i++) {
        assert_int_equal(bolt_bucket(bucket, SLICE("in"), &bucket), ERR_OK);
    }
    assert_value(bucket, "deep", "down");
    bolt_read_end(&tx);
    bolt_close(&db);
}

TEST(bolt, a_copy_is_a_database_of_its_own)
{
    struct bolt *db = open_fresh();
    struct bolt_tx *tx = write_begin(db);
    struct bolt_bucket *b = ensure(tx, "b");
    for (int i = 0; i < 5000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%d", i);
        put(b, key, "0123456789");
    }
    commit(&tx);
    struct bolt_tx *reader = bolt_read_begin(db);
    tx = write_begin(db);
    put(bucket_of(tx, "b"), "later", "not in the copy");
    commit(&tx);
    char copy_path[300];
    snprintf(copy_path, sizeof(copy_path), "%s.copy", path);
    assert_int_equal(bolt_tx_write_file(reader, copy_path, NULL), ERR_OK);
    struct errbuf why = {0};
    assert_int_equal(bolt_tx_write_file(reader, copy_path, &why), ERR_EXISTS);
    /* In pieces of an odd size it is the same file. */
    struct buf whole = {0};
    assert_int_equal(disk_read_file(posix_disk(), copy_path, 1 << 30, &whole, NULL), ERR_OK);
    assert_int_equal(whole.len, bolt_tx_size(reader));
    uint8_t piece[777];
    for (uint64_t at = 0; at < whole.len; at += sizeof(piece)) {
        size_t len = whole.len - at < sizeof(piece) ? whole.len - at : sizeof(piece);
        assert_int_equal(bolt_tx_read_at(reader, at, piece, len, NULL), ERR_OK);
        assert_memory_equal(piece, whole.data + at, len);
    }
    buf_fini(&whole);
    uint64_t txid = bolt_tx_id(reader);
    bolt_read_end(&reader);
    bolt_close(&db);
    db = open_with(copy_path, (struct bolt_options){.no_sync = true});
    check(db);
    tx = bolt_read_begin(db);
    struct slice value;
    assert_int_equal(bolt_tx_id(tx), txid);
    assert_value(bucket_of(tx, "b"), "4999", "0123456789");
    assert_int_equal(bolt_get(bucket_of(tx, "b"), SLICE("later"), &value), ERR_NOT_FOUND);
    bolt_read_end(&tx);
    bolt_close(&db);
}

TEST(bolt, a_bucket_is_inline_up_to_a_quarter_of_a_page)
{
    static const uint8_t data[1024];
    for (size_t over = 0; over < 2; over++) {
        struct bolt *db = open_fresh();
        struct bolt_tx *tx = write_begin(db);
        size_t len = 1024 - PAGE_HEADER_LEN - ELEM_LEN - 1 + over;
        assert_int_equal(bolt_put(ensure(tx, "b"), SLICE("k"), slice_of(data, len)), ERR_OK);
        commit(&tx);
        tx = bolt_read_begin(db);
        assert_int_equal(bucket_of(tx, "b")->root == 0, over == 0);
        bolt_read_end(&tx);
        check(db);
        bolt_close(&db);
    }
}

/* Nine rows of which four fill a page: 4, 3 and 2, for no page is left with a single row. */
TEST(bolt, the_last_page_of_a_split_has_two_rows_at_least)
{
    struct bolt *db =
        open_with(fresh_path(), (struct bolt_options){.no_sync = true, .page_size = 1024});
    struct bolt_tx *tx = write_begin(db);
    struct bolt_bucket *b = ensure(tx, "b");
    static const uint8_t data[207];
    bolt_bucket_set_fill(b, 100);
    for (int i = 0; i < 9; i++) {
        char key[2] = {(char)('a' + i), 0};
        assert_int_equal(bolt_put(b, slice_str(key), slice_of(data, sizeof(data))), ERR_OK);
    }
    commit(&tx);
    tx = bolt_read_begin(db);
    struct bolt_page branch;
    assert_int_equal(bolt__page_get(tx, bucket_of(tx, "b")->root, &branch), ERR_OK);
    assert_int_equal(branch.count, 3);
    static const uint32_t counts[] = {4, 3, 2};
    for (uint32_t i = 0; i < 3; i++) {
        struct bolt_elem elem;
        struct bolt_page leaf;
        assert_true(bolt__page_elem(&branch, i, &elem));
        assert_int_equal(bolt__page_get(tx, elem.pgno, &leaf), ERR_OK);
        assert_int_equal(leaf.count, counts[i]);
    }
    bolt_read_end(&tx);
    bolt_close(&db);
}

TEST(bolt, no_old_memory_reaches_the_file)
{
    struct bolt *db = open_fresh();
    uint8_t *secret = mem_alloc(900000);
    memset(secret, 'S', 900000);
    struct bolt_tx *tx = write_begin(db);
    assert_int_equal(bolt_put(ensure(tx, "b"), SLICE("k"), slice_of(secret, 900000)), ERR_OK);
    commit(&tx);
    mem_free(secret);
    /* The same memory is used again for a page that is nearly empty. */
    tx = write_begin(db);
    put(ensure(tx, "c"), "k", "v");
    commit(&tx);
    tx = bolt_read_begin(db);
    struct bolt_page page;
    struct bolt_elem elem;
    assert_int_equal(bolt__page_get(tx, tx->meta.root, &page), ERR_OK);
    assert_true(bolt__page_elem(&page, page.count - 1, &elem));
    const uint8_t *end = elem.value.data + elem.value.len;
    assert_true(end < page.data + page.len);
    for (const uint8_t *p = end; p < page.data + page.len; p++) {
        assert_int_equal(*p, 0);
    }
    bolt_read_end(&tx);
    bolt_close(&db);
}

/* More than 65,534 free pages: the count moves into the first place of the list. */
TEST(bolt, a_long_freelist_is_read_back)
{
    struct bolt *db =
        open_with(fresh_path(), (struct bolt_options){.no_sync = true, .page_size = 1024});
    enum { LEN = 70000 * 1024 };
    uint8_t *data = mem_zalloc(LEN);
    struct bolt_tx *tx = write_begin(db);
    assert_int_equal(bolt_put(ensure(tx, "b"), SLICE("k"), slice_of(data, LEN)), ERR_OK);
    commit(&tx);
    mem_free(data);
    tx = write_begin(db);
    assert_int_equal(bolt_delete(bucket_of(tx, "b"), SLICE("k")), ERR_OK);
    commit(&tx);
    check(db);
    struct bolt_stats stats;
    bolt_stats(db, &stats);
    uint64_t count = stats.free_pages + stats.pending_pages;
    assert_true(count > 65536);
    bolt_close(&db);
    db = open_with(path, (struct bolt_options){.no_sync = true});
    bolt_stats(db, &stats);
    assert_int_equal(stats.free_pages, count);
    check(db);
    bolt_close(&db);
}
