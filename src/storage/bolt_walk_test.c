/* Walks. That each finds what a bucket holds, the model of bolt's other tests sees to, too. */
#include "unit.h"

#include "env/env.h"
#include "env/posix.h"
#include "storage/bolt_double.h"
#include "storage/bolt_model.h"
#include "storage/bolt_priv.h"

#include <stdio.h>

#define NAME SLICE("rows")

static struct bolt *open_file(struct disk *disk, const char *path)
{
    struct bolt *db = NULL;
    struct errbuf why = {0};
    struct bolt_options options = {.no_sync = true, .page_size = 1024};
    if (bolt_open(disk, path, &options, &db, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    return db;
}

static struct bolt *open_fresh(void)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/db", test_dir());
    return open_file(posix_disk(), path);
}

/* Rows first, first + step, … below `end`, all with the same value. */
static void put_rows(struct bolt *db, int first, int step, int end, struct slice value)
{
    struct bolt_tx *tx = NULL;
    struct bolt_bucket *bucket = NULL;
    struct errbuf why = {0};
    assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_OK);
    assert_int_equal(bolt_bucket_ensure(bolt_root(tx), NAME, &bucket), ERR_OK);
    for (int i = first; i < end; i += step) {
        char key[16];
        snprintf(key, sizeof(key), "%08d", i);
        assert_int_equal(bolt_put(bucket, slice_str(key), value), ERR_OK);
    }
    assert_int_equal(bolt_commit(&tx, &why), ERR_OK);
}

static struct bolt_tx *enter(struct bolt *db, struct bolt_walk *walk)
{
    struct bolt_bucket *bucket = NULL;
    struct bolt_tx *tx = bolt_read_begin(db);
    assert_int_equal(bolt_bucket(bolt_root(tx), NAME, &bucket), ERR_OK);
    bolt_walk_enter(walk, bucket);
    return tx;
}

static enum err find(struct bolt_walk *walk, int i, bool is_long, struct slice *out)
{
    char key[16];
    snprintf(key, sizeof(key), "%08d", i);
    return bolt_walk_find(walk, slice_str(key), is_long, out);
}

static void assert_row(struct bolt_walk *walk, int i, bool is_long, struct slice value)
{
    struct slice got = SLICE_EMPTY;
    assert_int_equal(find(walk, i, is_long, &got), ERR_OK);
    assert_true(slice_eq(got, value));
}

/* Pages of a state that is gone are written again: whoever kept one would find the past. */
TEST(bolt_walk, another_state_is_seen_as_it_is)
{
    struct bolt *db = open_fresh();
    struct bolt_walk *walk = bolt_walk_new();
    for (int round = 0; round < 20; round++) {
        uint8_t byte = (uint8_t)('a' + round);
        put_rows(db, 0, 1, 600, slice_of(&byte, 1));
        struct bolt_tx *tx = enter(db, walk);
        for (int i = 0; i < 600; i++) {
            assert_row(walk, i * 7 % 600, round % 7 != 6, slice_of(&byte, 1));
        }
        bolt_walk_enter(walk, NULL);
        bolt_read_end(&tx);
    }
    bolt_walk_free(&walk);
    bolt_close(&db);
}

TEST(bolt_walk, a_long_walk_reads_a_page_once_for_the_rows_in_it)
{
    struct bolt *db = open_fresh();
    struct bolt_walk *walk = bolt_walk_new();
    put_rows(db, 0, 1, 5000, SLICE("0123456789012345678901234567890123456789"));
    struct bolt_tx *tx = enter(db, walk);
    uint64_t pages = bolt_tx_size(tx) / 1024;
    for (int i = 0; i < 5000; i++) {
        assert_row(walk, i, true, SLICE("0123456789012345678901234567890123456789"));
    }
    assert_true(bolt_walk_pages(walk) > 200);
    assert_true(bolt_walk_pages(walk) <= pages);
    /* Between two places in turns: their pages are kept. */
    uint64_t before = bolt_walk_pages(walk);
    for (int i = 0; i < 1000; i++) {
        assert_row(walk, i % 2 == 0 ? 10 : 4000, true,
                   SLICE("0123456789012345678901234567890123456789"));
    }
    assert_true(bolt_walk_pages(walk) - before <= 6);
    before = bolt_walk_pages(walk);
    assert_row(walk, 2000, false, SLICE("0123456789012345678901234567890123456789"));
    assert_int_equal(bolt_walk_pages(walk), before);
    bolt_walk_free(&walk);
    bolt_read_end(&tx);
    bolt_close(&db);
}

TEST(bolt_walk, values_longer_than_a_page)
{
    static uint8_t bytes[200000];
    struct bolt *db = open_fresh();
    struct bolt_walk *walk = bolt_walk_new();
    size_t lens[] = {10, 900, 1100, 5000, 65000, 66000, sizeof(bytes)};
    memset(bytes, 'x', sizeof(bytes));
    for (int i = 0; i < (int)ARRAY_LEN(lens); i++) {
        put_rows(db, i, 1, i + 1, slice_of(bytes, lens[i]));
    }
    struct bolt_tx *tx = enter(db, walk);
    for (int i = 0; i < 1000; i++) {
        int row = i * i % (int)ARRAY_LEN(lens);
        assert_row(walk, row, i % 5 != 0, slice_of(bytes, lens[row]));
    }
    bolt_walk_free(&walk);
    bolt_read_end(&tx);
    bolt_close(&db);
}

TEST(bolt_walk, misses_do_not_mislead)
{
    struct bolt *db = open_fresh();
    struct bolt_walk *walk = bolt_walk_new();
    struct slice got;
    put_rows(db, 10, 10, 5000, SLICE("ten"));
    struct bolt_tx *tx = enter(db, walk);
    for (int i = 0; i < 5020; i++) {
        bool is_there = i > 0 && i % 10 == 0 && i < 5000;
        assert_int_equal(find(walk, i, i % 3 == 0, &got), is_there ? ERR_OK : ERR_NOT_FOUND);
    }
    bolt_walk_free(&walk);
    bolt_read_end(&tx);
    bolt_close(&db);
}

TEST(bolt_walk, damage_is_named_and_walked_around)
{
    struct bolt_double *d = bolt_double_new();
    struct bolt *db = open_file(&d->disk, d->path);
    struct bolt_walk *walk = bolt_walk_new();
    struct slice got;
    put_rows(db, 0, 1, 200, SLICE("0123456789012345678901234567890123456789"));
    struct bolt_tx *tx = enter(db, walk);
    struct bolt_page branch;
    struct bolt_elem second;
    struct bolt_bucket *bucket = NULL;
    assert_int_equal(bolt_bucket(bolt_root(tx), NAME, &bucket), ERR_OK);
    assert_int_equal(bolt__page_get(tx, bucket->root, &branch), ERR_OK);
    assert_true(bolt__page_elem(&branch, 1, &second));
    put_le64(d->live.data + second.pgno * 1024, 77);
    unsigned failed = 0;
    for (int i = 0; i < 200; i++) {
        enum err err = find(walk, i, true, &got);
        failed += err == ERR_CORRUPT;
        assert_true(err == ERR_OK || err == ERR_CORRUPT);
    }
    assert_true(failed > 0);
    assert_true(failed < 100);
    char want[64];
    snprintf(want, sizeof(want), "page %llu says it is page 77", (unsigned long long)second.pgno);
    assert_non_null(strstr(bolt_tx_why(tx), want));
    bolt_walk_free(&walk);
    bolt_read_end(&tx);
    bolt_close(&db);
    bolt_double_free(&d);
}

/* No page is numbered 0, nor is a slot of the walk that holds none. */
TEST(bolt_walk, a_child_that_is_no_page_is_damage)
{
    for (uint64_t child = 0; child < 2; child++) {
        struct bolt_double *d = bolt_double_new();
        struct bolt *db = open_file(&d->disk, d->path);
        struct bolt_walk *walk = bolt_walk_new();
        struct slice got;
        put_rows(db, 0, 1, 200, SLICE("0123456789012345678901234567890123456789"));
        struct bolt_tx *tx = bolt_read_begin(db);
        struct bolt_bucket *bucket = NULL;
        assert_int_equal(bolt_bucket(bolt_root(tx), NAME, &bucket), ERR_OK);
        uint8_t *branch = d->live.data + bucket->root * 1024;
        put_le64(branch + PAGE_HEADER_LEN + ELEM_LEN + 8, child);
        size_t seal = PAGE_HEADER_LEN + (size_t)get_le16(branch + 10) * ELEM_LEN;
        bolt__seal_put(branch, 1024, get_le64(branch + seal + 4)); /* its checksum is right */
        bolt_walk_enter(walk, bucket);
        unsigned failed = 0;
        for (int i = 0; i < 200; i++) {
            enum err err = find(walk, i, true, &got);
            failed += err == ERR_CORRUPT;
            assert_true(err == ERR_OK || err == ERR_CORRUPT);
        }
        assert_in_range(failed, 1, 99);
        char want[80];
        snprintf(want, sizeof(want), "page %llu is referred to, outside of 2..",
                 (unsigned long long)child);
        assert_non_null(strstr(bolt_tx_why(tx), want));
        bolt_walk_free(&walk);
        bolt_read_end(&tx);
        bolt_close(&db);
        bolt_double_free(&d);
    }
}
