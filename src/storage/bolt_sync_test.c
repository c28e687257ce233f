/* Copies and catching up, against the model: whatever was written between two states, a target that
 * held the first holds the second afterwards. */
#include "storage/bolt_sync.h"

#include "env/env.h"
#include "env/posix.h"
#include "env/sim.h"
#include "storage/bolt_model.h"
#include "storage/bolt_priv.h"
#include "unit.h"

#include <stdio.h>

#define STEP 2000 /* bytes: many steps even for small trees */

struct fixture {
    struct disk *disk;
    struct bolt *db;
    struct model *model;
    struct model_random random;
};

static struct bolt *open_db(struct disk *disk, const char *path, uint32_t page_size)
{
    struct bolt_options options = {.no_freelist_sync = true, .page_size = page_size};
    struct bolt *db = NULL;
    struct errbuf why = {0};
    if (bolt_open(disk, path, &options, &db, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    return db;
}

static void set_up(struct fixture *f, uint64_t seed)
{
    f->disk = sim_disk_new();
    f->db = open_db(f->disk, "db", 1024);
    f->model = model_new();
    f->random = (struct model_random){.state = seed};
}

static void tear_down(struct fixture *f)
{
    bolt_close(&f->db);
    model_free(&f->model);
    sim_disk_free(&f->disk);
}

static void write_some(struct fixture *f, const char *mix, uint64_t ops)
{
    struct bolt_tx *tx = NULL;
    struct errbuf why = {0};
    assert_int_equal(bolt_write_begin(f->db, &tx, &why), ERR_OK);
    for (; ops > 0; ops--) {
        model_step_top(&f->random, model_mix_named(mix), f->model, tx);
    }
    assert_int_equal(bolt_commit(&tx, &why), ERR_OK);
}

/* Brings the target to `to`; returns how many steps that took. */
static unsigned sync_all(struct bolt_tx *from, struct bolt_tx *to, struct bolt *target)
{
    struct bolt_sync *sync = bolt_sync_new(from, to, 90);
    struct errbuf why = {0};
    bool is_done = false;
    unsigned steps = 0;
    while (!is_done) {
        if (bolt_sync_step(sync, target, STEP, &is_done, &why) != ERR_OK) {
            fail_msg("%s", why.text);
        }
        steps++;
    }
    bolt_sync_free(&sync);
    assert_null(sync);
    return steps;
}

static void assert_holds(struct bolt *target, const struct model *model)
{
    struct errbuf why = {0};
    struct bolt_tx *tx = bolt_read_begin(target);
    if (bolt_check(tx, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    model_compare(model, bolt_root(tx));
    bolt_read_end(&tx);
    bolt__db_check(target);
}

TEST(bolt_sync, a_copy_holds_the_same_and_no_holes)
{
    static const char *const mixes[] = {"even", "growing", "nested", "tiny", "shrinking"};
    unsigned steps = 0;
    for (size_t i = 0; i < ARRAY_LEN(mixes); i++) {
        struct fixture f;
        set_up(&f, i + 1);
        for (int n = 0; n < 20; n++) {
            write_some(&f, n < 10 ? "growing" : mixes[i], 100);
        }
        struct bolt *copy = open_db(f.disk, "copy", 1024);
        struct bolt_tx *to = bolt_read_begin(f.db);
        steps += sync_all(NULL, to, copy);
        assert_holds(copy, f.model);
        struct bolt_tx *copied = bolt_read_begin(copy);
        assert_true(bolt_tx_size(copied) < bolt_tx_size(to));
        /* What the last commits of the copy freed is all that is not in use. */
        assert_true(bolt_tx_size_in_use(copied) + 40 * 1024 > bolt_tx_size(copied));
        bolt_read_end(&copied);
        bolt_read_end(&to);
        bolt_close(&copy);
        tear_down(&f);
    }
    assert_true(steps > 50);
}

TEST(bolt_sync, catching_up_makes_every_change_of_any_kind)
{
    static const char *const mixes[] = {"even", "growing", "shrinking", "nested", "tiny"};
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct fixture f;
        set_up(&f, seed);
        for (int n = 0; n < 5; n++) {
            write_some(&f, "growing", 150);
        }
        struct bolt *copy = open_db(f.disk, "copy", 1024);
        struct bolt_tx *from = bolt_read_begin(f.db);
        sync_all(NULL, from, copy);
        for (int round = 0; round < 6; round++) {
            for (uint64_t n = model_random_below(&f.random, 4); n > 0; n--) {
                write_some(&f, mixes[(seed + n) % ARRAY_LEN(mixes)],
                           model_random_below(&f.random, 60));
            }
            struct bolt_tx *to = bolt_read_begin(f.db);
            sync_all(from, to, copy);
            assert_holds(copy, f.model);
            bolt_read_end(&from);
            from = to;
        }
        bolt_read_end(&from);
        bolt_close(&copy);
        tear_down(&f);
    }
}

static void put(struct bolt_bucket *bucket, unsigned number, const char *value)
{
    char key[16];
    snprintf(key, sizeof(key), "%08u", number);
    assert_int_equal(bolt_put(bucket, slice_str(key), slice_str(value)), ERR_OK);
}

/* Shared pages are stepped over: a change of one row among many costs a step or two, and says how
 * little it wrote. */
TEST(bolt_sync, what_both_states_share_is_not_walked)
{
    struct disk *disk = sim_disk_new();
    struct bolt *db = open_db(disk, "db", 4096);
    struct bolt *copy = open_db(disk, "copy", 4096);
    struct bolt_tx *tx = NULL;
    struct bolt_bucket *bucket = NULL;
    struct errbuf why = {0};
    assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_OK);
    assert_int_equal(bolt_bucket_ensure(bolt_root(tx), SLICE("b"), &bucket), ERR_OK);
    for (unsigned i = 0; i < 20000; i++) {
        put(bucket, 2 * i, "a value of some length, as rows have");
    }
    assert_int_equal(bolt_commit(&tx, &why), ERR_OK);
    struct bolt_tx *from = bolt_read_begin(db);
    assert_true(sync_all(NULL, from, copy) > 400);
    assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_OK);
    assert_int_equal(bolt_bucket(bolt_root(tx), SLICE("b"), &bucket), ERR_OK);
    put(bucket, 20001, "new");
    put(bucket, 2, "other");
    assert_int_equal(bolt_delete(bucket, SLICE("00039998")), ERR_OK);
    assert_int_equal(bolt_commit(&tx, &why), ERR_OK);
    struct bolt_tx *to = bolt_read_begin(db);
    struct bolt_sync *sync = bolt_sync_new(from, to, 90);
    bool is_done = false;
    assert_int_equal(bolt_sync_step(sync, copy, 20000, &is_done, &why), ERR_OK);
    assert_true(is_done);
    assert_int_equal(bolt_sync_bytes(sync), 11 + 13 + 8);
    bolt_sync_free(&sync);
    bolt_read_end(&from);
    bolt_read_end(&to);
    bolt_close(&db);
    bolt_close(&copy);
    sim_disk_free(&disk);
}

TEST(bolt_sync, nothing_changed_is_nothing_written)
{
    struct fixture f;
    set_up(&f, 3);
    write_some(&f, "even", 100);
    struct bolt *copy = open_db(f.disk, "copy", 1024);
    struct bolt_tx *from = bolt_read_begin(f.db);
    struct bolt_tx *to = bolt_read_begin(f.db);
    struct bolt_stats before;
    struct bolt_stats after;
    sync_all(NULL, from, copy);
    bolt_stats(copy, &before);
    assert_int_equal(sync_all(from, to, copy), 1);
    bolt_stats(copy, &after);
    assert_int_equal(after.commits, before.commits);
    bolt_read_end(&from);
    bolt_read_end(&to);
    bolt_close(&copy);
    tear_down(&f);
}

/* Any call of the target's disk that fails is reported, and the source is none the worse. */
TEST(bolt_sync, a_failing_target_is_told_and_the_source_is_untouched)
{
    struct fixture f;
    set_up(&f, 5);
    write_some(&f, "nested", 300);
    struct bolt_tx *to = bolt_read_begin(f.db);
    unsigned failed = 0;
    for (uint64_t nth = 1;; nth++) {
        struct errbuf why = {0};
        bool is_done = false;
        enum err err = ERR_OK;
        struct bolt *copy = open_db(f.disk, "copy", 1024);
        struct bolt_sync *sync = bolt_sync_new(NULL, to, 90);
        sim_disk_fail(f.disk, SIM_OPS_CHANGING, "copy", nth, 1, ERR_IO);
        while (err == ERR_OK && !is_done) {
            err = bolt_sync_step(sync, copy, STEP, &is_done, &why);
        }
        sim_disk_heal(f.disk);
        bolt_sync_free(&sync);
        bolt_close(&copy);
        assert_int_equal(disk_unlink(f.disk, "copy", &why), ERR_OK);
        if (err == ERR_OK) {
            break;
        }
        assert_int_equal(err, ERR_IO);
        assert_non_null(strstr(why.text, "copy"));
        failed++;
    }
    assert_true(failed > 20);
    bolt_read_end(&to);
    assert_holds(f.db, f.model);
    tear_down(&f);
}

/* A flipped bit in the source ends the copy, or the copy is well formed: never a crash. */
TEST(bolt_sync, damage_in_the_source_ends_it)
{
    struct fixture f;
    set_up(&f, 6);
    for (int i = 0; i < 10; i++) {
        write_some(&f, "nested", 100);
    }
    struct file_info info;
    assert_int_equal(disk_stat(f.disk, "db", &info, NULL), ERR_OK);
    unsigned refused = 0;
    for (uint64_t byte = 2048; byte < info.size; byte += 1009) {
        struct disk *rotten = sim_disk_clone(f.disk);
        struct bolt_options options = {.read_only = true};
        struct errbuf why = {0};
        struct bolt *db = NULL;
        bool is_done = false;
        assert_true(sim_disk_flip(rotten, "db", byte, byte % 8));
        if (bolt_open(rotten, "db", &options, &db, &why) == ERR_OK) {
            struct bolt *copy = open_db(rotten, "copy", 1024);
            struct bolt_tx *to = bolt_read_begin(db);
            struct bolt_sync *sync = bolt_sync_new(NULL, to, 90);
            enum err err = ERR_OK;
            while (err == ERR_OK && !is_done) {
                err = bolt_sync_step(sync, copy, STEP, &is_done, &why);
            }
            refused += err != ERR_OK;
            assert_true(err == ERR_OK || why.text[0] != '\0');
            if (err == ERR_OK) {
                bolt__db_check(copy);
            }
            bolt_sync_free(&sync);
            bolt_read_end(&to);
            bolt_close(&copy);
            bolt_close(&db);
        }
        sim_disk_free(&rotten);
    }
    assert_true(refused > 0);
    tear_down(&f);
}

TEST(bolt_sync, a_renamed_file_takes_the_place_of_the_other_and_is_written_on)
{
    struct fixture f;
    struct errbuf why = {0};
    bool has_moved = false;
    set_up(&f, 7);
    write_some(&f, "even", 200);
    struct bolt *copy = open_db(f.disk, "copy", 1024);
    struct bolt_tx *to = bolt_read_begin(f.db);
    sync_all(NULL, to, copy);
    assert_int_equal(bolt_rename(copy, "db", 1 << 20, &has_moved, &why), ERR_OK);
    assert_true(has_moved);
    assert_false(disk_exists(f.disk, "copy"));
    /* The old file has lost its name, and is read on. */
    model_compare(f.model, bolt_root(to));
    bolt_read_end(&to);
    bolt_close(&f.db);
    f.db = copy;
    write_some(&f, "even", 200);
    assert_holds(f.db, f.model);
    bolt_close(&f.db);
    f.db = open_db(f.disk, "db", 0);
    assert_holds(f.db, f.model);
    tear_down(&f);
}

TEST(bolt_sync, a_rename_that_fails_says_on_which_side)
{
    struct fixture f;
    struct errbuf why = {0};
    bool has_moved = true;
    set_up(&f, 8);
    sim_disk_fail(f.disk, SIM_OP_RENAME, NULL, 1, 1, ERR_IO);
    assert_int_equal(bolt_rename(f.db, "other", 0, &has_moved, &why), ERR_IO);
    assert_false(has_moved);
    sim_disk_fail(f.disk, SIM_OP_SYNC_DIR, NULL, 1, 1, ERR_IO);
    assert_int_equal(bolt_rename(f.db, "other", 0, &has_moved, &why), ERR_IO);
    assert_true(has_moved);
    sim_disk_heal(f.disk);
    tear_down(&f);
}

/* With a real map, which the rename makes larger under a live state. */
TEST(bolt_sync, a_mapped_file_is_renamed_and_grows)
{
    struct fixture f = {.disk = posix_disk(), .model = model_new(), .random = {.state = 9}};
    struct errbuf why = {0};
    bool has_moved = false;
    char *path = mem_printf("%s/db", test_dir());
    char *other = mem_printf("%s/other", test_dir());
    f.db = open_db(f.disk, path, 4096);
    write_some(&f, "nested", 500);
    assert_int_equal(bolt_rename(f.db, other, (uint64_t)1 << 30, &has_moved, &why), ERR_OK);
    struct bolt_stats stats;
    bolt_stats(f.db, &stats);
    assert_int_equal(stats.map_size, (uint64_t)1 << 30);
    assert_holds(f.db, f.model);
    for (int i = 0; i < 5; i++) {
        write_some(&f, "growing", 500);
    }
    assert_holds(f.db, f.model);
    bolt_close(&f.db);
    model_free(&f.model);
    mem_free(path);
    mem_free(other);
}
