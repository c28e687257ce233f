/* Crashes and failing disks: whatever happens at whatever call, the file holds exactly the last
 * committed state, or the one whose commit was under way. */
#include "unit.h"

#include "env/env.h"
#include "env/sim.h"
#include "storage/bolt_model.h"
#include "storage/bolt_priv.h"

#include <stdio.h>

/* ---- the workload -------------------------------------------------------------------------- */

#define TXNS 8

struct story {
    struct model *before; /* the last committed state */
    struct model *after;  /* the one being committed when it went wrong, or NULL */
    bool is_over;         /* it never went wrong */
    unsigned full;        /* commits that the disk had no room for, and that were tried again */
    enum err err;
};

static void story_fini(struct story *story)
{
    model_free(&story->before);
    model_free(&story->after);
}

/* Nothing more is written, and readers go on, unless the disk is gone altogether. */
static void broken_db_check(struct bolt *db, const struct model *model)
{
    struct bolt_tx *tx = NULL;
    struct errbuf why = {0};
    assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_CLOSED);
    assert_null(tx);
    if (!sim_disk_is_down(db->disk)) {
        tx = bolt_read_begin(db);
        model_compare(model, bolt_root(tx));
        bolt_read_end(&tx);
    }
}

/* A commit that did not fit has changed nothing, here and in the file; the object goes on. */
static void full_db_check(struct bolt *db, const struct model *model)
{
    struct bolt_stats stats;
    bolt_stats(db, &stats);
    assert_true(stats.is_short);
    bolt__db_check(db);
    struct bolt_tx *tx = bolt_read_begin(db);
    model_compare(model, bolt_root(tx));
    struct errbuf why = {0};
    assert_int_equal(bolt_check(tx, &why), ERR_OK);
    bolt_read_end(&tx);
}

static struct story tell(struct disk *disk, struct bolt_options options, uint64_t seed)
{
    struct story story = {.before = model_new()};
    struct model_random random = {.state = seed};
    const struct model_mix *mix = model_mix_named(seed % 2 == 0 ? "nested" : "even");
    struct bolt *db = NULL;
    struct errbuf why = {0};
    story.err = bolt_open(disk, "db", &options, &db, &why);
    if (story.err != ERR_OK) {
        assert_null(db);
        return story;
    }
    for (int i = 0; i < TXNS; i++) {
        struct bolt_tx *tx = NULL;
        assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_OK);
        story.after = model_clone(story.before);
        for (uint64_t n = 1 + model_random_below(&random, 60); n > 0; n--) {
            model_step_top(&random, mix, story.after, tx);
        }
        story.err = bolt_commit(&tx, &why);
        assert_null(tx);
        if (story.err == ERR_NOSPACE) {
            assert_true(strstr(why.text, "db") != NULL);
            full_db_check(db, story.before);
            model_free(&story.after);
            sim_disk_set_capacity(disk, sim_disk_used(disk) + ((uint64_t)16 << 10));
            story.full++;
            i--;
            continue;
        }
        if (story.err != ERR_OK) {
            assert_true(why.text[0] != '\0');
            broken_db_check(db, story.before);
            bolt_close(&db);
            return story;
        }
        model_free(&story.before);
        story.before = story.after;
        story.after = NULL;
    }
    story.is_over = true;
    bolt_close(&db);
    return story;
}

static bool models_equal(const struct model *a, const struct model *b)
{
    if (a->count != b->count || a->sequence != b->sequence) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        const struct model_row *x = &a->rows[i];
        const struct model_row *y = &b->rows[i];
        if (!slice_eq(x->key, y->key) || !slice_eq(x->value, y->value) ||
            (x->bucket == NULL) != (y->bucket == NULL) ||
            (x->bucket != NULL && !models_equal(x->bucket, y->bucket))) {
            return false;
        }
    }
    return true;
}

static struct model *load(struct bolt_bucket *bucket)
{
    struct model *model = model_new();
    struct bolt_cursor cursor;
    struct bolt_item item;
    bolt_cursor_init(&cursor, bucket);
    model->sequence = bolt_bucket_sequence(bucket);
    for (enum err err = bolt_cursor_first(&cursor, &item); err == ERR_OK;
         err = bolt_cursor_next(&cursor, &item)) {
        model_put(model, item.key, item.value);
        if (item.is_bucket) {
            struct bolt_bucket *inner = NULL;
            assert_int_equal(bolt_bucket(bucket, item.key, &inner), ERR_OK);
            model->rows[model->count - 1].bucket = load(inner);
        }
    }
    return model;
}

/* Opens what is left, and finds one of the two states the story allows; then writes on. */
static void recover(struct disk *disk, struct bolt_options options, const struct story *story)
{
    struct bolt *db = NULL;
    struct errbuf why = {0};
    enum err err = bolt_open(disk, "db", &options, &db, &why);
    if (err != ERR_OK) {
        fail_msg("%s", why.text);
    }
    struct bolt_tx *tx = bolt_read_begin(db);
    err = bolt_check(tx, &why);
    if (err != ERR_OK) {
        fail_msg("%s", why.text);
    }
    struct model *found = load(bolt_root(tx));
    bolt_read_end(&tx);
    bool is_before = models_equal(found, story->before);
    bool is_after = story->after != NULL && models_equal(found, story->after);
    assert_true(is_before || is_after);
    struct model_random random = {.state = 7};
    assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_OK);
    for (int n = 0; n < 20; n++) {
        model_step_top(&random, model_mix_named("even"), found, tx);
    }
    assert_int_equal(bolt_commit(&tx, &why), ERR_OK);
    bolt__db_check(db);
    tx = bolt_read_begin(db);
    model_compare(found, bolt_root(tx));
    bolt_read_end(&tx);
    model_free(&found);
    bolt_close(&db);
}

/* What a crash leaves of a disk, by every policy, allows one of the two states. */
static void recover_after_crash(const struct disk *disk, struct bolt_options options,
                                const struct story *story, uint64_t seed)
{
    for (enum sim_crash policy = SIM_CRASH_LOSE; policy < SIM_CRASH_COUNT; policy++) {
        struct disk *left = sim_disk_clone(disk);
        sim_disk_crash(left, policy, seed);
        sim_disk_set_capacity(left, 0);
        recover(left, options, story);
        sim_disk_free(&left);
    }
}

static uint64_t count_ops(struct bolt_options options, uint64_t seed)
{
    struct disk *disk = sim_disk_new();
    struct story story = tell(disk, options, seed);
    assert_true(story.is_over);
    uint64_t count = sim_disk_op_count(disk);
    story_fini(&story);
    sim_disk_free(&disk);
    assert_true(count > 40);
    return count;
}

static void crash_everywhere(struct bolt_options options, uint64_t seed)
{
    uint64_t count = count_ops(options, seed);
    for (uint64_t n = 1; n <= count; n++) {
        struct disk *disk = sim_disk_new();
        sim_disk_crash_at(disk, n);
        struct story story = tell(disk, options, seed);
        assert_int_equal(story.err, ERR_IO);
        /* The file's birth is short: look at it from more sides. */
        for (uint64_t i = 0; i < (n < 10 ? 16u : 1u); i++) {
            recover_after_crash(disk, options, &story, n + 1000 * i);
        }
        story_fini(&story);
        sim_disk_free(&disk);
    }
}

static void fail_everywhere(struct bolt_options options, uint64_t seed)
{
    uint64_t count = count_ops(options, seed);
    for (uint64_t n = 1; n <= count; n++) {
        struct disk *disk = sim_disk_new();
        sim_disk_fail(disk, SIM_OPS_CHANGING, NULL, n, 1, ERR_IO);
        struct story story = tell(disk, options, seed);
        assert_int_equal(story.err, ERR_IO);
        recover_after_crash(disk, options, &story, n);
        recover(disk, options, &story); /* the process opens it again, without a crash */
        story_fini(&story);
        sim_disk_free(&disk);
    }
}

static const struct bolt_options small_pages = {.no_freelist_sync = true, .page_size = 1024};

TEST(bolt_crash, at_every_call_leaves_the_old_or_the_new_state)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        crash_everywhere((struct bolt_options){0}, seed);
        crash_everywhere(small_pages, seed);
    }
}

TEST(bolt_crash, a_failed_call_stops_writing_and_keeps_the_file_whole)
{
    for (uint64_t seed = 4; seed <= 5; seed++) {
        fail_everywhere((struct bolt_options){0}, seed);
        fail_everywhere(small_pages, seed);
    }
}

/* With and without a reserve. Only a file that cannot even be made ends the story. */
TEST(bolt_crash, a_commit_that_a_full_disk_has_no_room_for_is_undone_and_may_be_tried_again)
{
    unsigned full = 0;
    unsigned refused = 0;
    for (uint64_t kib = 1; kib < 600; kib += 7) {
        struct bolt_options options = small_pages;
        options.reserve_bytes = kib % 2 * ((uint64_t)64 << 10);
        struct disk *disk = sim_disk_new();
        sim_disk_set_capacity(disk, kib << 10);
        struct story story = tell(disk, options, 6);
        assert_true(story.is_over || (story.err == ERR_NOSPACE && kib < 4));
        full += story.full;
        refused += !story.is_over;
        recover_after_crash(disk, options, &story, kib);
        story_fini(&story);
        sim_disk_free(&disk);
    }
    assert_true(full > 40);
    assert_true(refused > 0);
}

/* The disk becomes full while there is a reserve: commits go on out of it, and say so. */
TEST(bolt_crash, commits_go_on_out_of_the_reserve_when_the_disk_is_full)
{
    struct disk *disk = sim_disk_new();
    struct bolt_options options = {.reserve_bytes = (uint64_t)1 << 20};
    struct bolt *db = NULL;
    struct errbuf why = {0};
    struct bolt_stats stats;
    static const uint8_t value[65536] = {1};
    assert_int_equal(bolt_open(disk, "db", &options, &db, &why), ERR_OK);
    unsigned fitted = 0;
    enum err err = ERR_OK;
    for (unsigned n = 0; n < 1000 && err == ERR_OK; n++) {
        struct bolt_tx *tx = NULL;
        struct bolt_bucket *bucket = NULL;
        uint8_t key[4];
        put_be32(key, n);
        assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_OK);
        assert_int_equal(bolt_bucket_ensure(bolt_root(tx), SLICE("b"), &bucket), ERR_OK);
        assert_int_equal(bolt_put(bucket, slice_of(key, 4), slice_of(value, sizeof(value))),
                         ERR_OK);
        err = bolt_commit(&tx, &why);
        bolt_stats(db, &stats);
        fitted += err == ERR_OK && stats.is_short;
        if (n == 3) {
            assert_false(stats.is_short);
            sim_disk_set_capacity(disk, sim_disk_used(disk)); /* from here on it is full */
        }
    }
    assert_int_equal(err, ERR_NOSPACE);
    assert_true(fitted * sizeof(value) > options.reserve_bytes / 2);
    /* There is room again: at the next commit the reserve is made up. */
    sim_disk_set_capacity(disk, 0);
    struct bolt_tx *tx = NULL;
    struct bolt_bucket *bucket = NULL;
    assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_OK);
    assert_int_equal(bolt_bucket_ensure(bolt_root(tx), SLICE("c"), &bucket), ERR_OK);
    assert_int_equal(bolt_commit(&tx, &why), ERR_OK);
    bolt_stats(db, &stats);
    assert_false(stats.is_short);
    tx = bolt_read_begin(db);
    assert_true(stats.file_size >= bolt_tx_size(tx) + options.reserve_bytes);
    bolt_read_end(&tx);
    bolt_close(&db);
    sim_disk_free(&disk);
}

/* A bit that rots in the newer meta page gives the state before; in a page, damage or nothing. */
TEST(bolt_crash, bit_rot_is_found_or_does_no_harm)
{
    struct disk *disk = sim_disk_new();
    struct story story = tell(disk, small_pages, 2);
    struct errbuf why = {0};
    unsigned found = 0;
    for (uint64_t byte = 0; byte < 20 * 1024; byte += 11) {
        struct disk *rotten = sim_disk_clone(disk);
        assert_true(sim_disk_flip(rotten, "db", byte, byte % 8));
        struct bolt *db = NULL;
        enum err err = bolt_open(rotten, "db", &small_pages, &db, &why);
        if (err == ERR_OK) {
            struct bolt_tx *tx = bolt_read_begin(db);
            err = bolt_check(tx, &why);
            bolt_read_end(&tx);
            bolt_close(&db);
        }
        assert_true(err == ERR_OK || err == ERR_CORRUPT);
        found += err == ERR_CORRUPT;
        sim_disk_free(&rotten);
    }
    assert_true(found > 20);
    story_fini(&story);
    sim_disk_free(&disk);
}

static FALLIBLE put_one(struct bolt *db, unsigned n, struct errbuf *why)
{
    static const uint8_t value[3000] = {1};
    struct bolt_tx *tx = NULL;
    struct bolt_bucket *bucket = NULL;
    uint8_t key[4];
    put_be32(key, n);
    TRY(bolt_write_begin(db, &tx, why));
    assert_int_equal(bolt_bucket_ensure(bolt_root(tx), SLICE("b"), &bucket), ERR_OK);
    assert_int_equal(bolt_put(bucket, slice_of(key, 4), slice_of(value, sizeof(value))), ERR_OK);
    return bolt_commit(&tx, why);
}

static bool has_one(struct bolt *db, unsigned n)
{
    struct bolt_tx *tx = bolt_read_begin(db);
    struct bolt_bucket *bucket = NULL;
    struct slice value = SLICE_EMPTY;
    uint8_t key[4];
    put_be32(key, n);
    assert_int_equal(bolt_bucket(bolt_root(tx), SLICE("b"), &bucket), ERR_OK);
    enum err err = bolt_get(bucket, slice_of(key, 4), &value);
    assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
    bolt_read_end(&tx);
    return err == ERR_OK;
}

/* Not every file is allocated as far as it is long: etcd 3.6 leaves the end empty, a copy has
 * holes, a file system that never writes in place promises nothing. There a write meets the full
 * disk. */
TEST(bolt_crash,
     a_page_that_a_full_disk_does_not_take_undoes_the_commit_and_the_meta_page_ends_them)
{
    enum { PUTS = 20 };
    unsigned undone = 0;
    unsigned ended = 0;
    for (unsigned nth = 1;; nth++) {
        struct disk *disk = sim_disk_new();
        struct bolt_options options = {.reserve_bytes = (uint64_t)1 << 20};
        struct bolt *db = NULL;
        struct errbuf why = {0};
        assert_int_equal(bolt_open(disk, "db", &options, &db, &why), ERR_OK);
        for (unsigned n = 0; n < PUTS; n++) {
            assert_int_equal(put_one(db, n, &why), ERR_OK);
        }
        sim_disk_fail(disk, SIM_OP_WRITE, "db", nth, 1, ERR_NOSPACE);
        enum err err = put_one(db, PUTS, &why);
        if (err == ERR_OK) {
            bolt_close(&db);
            sim_disk_free(&disk);
            break;
        }
        assert_true(err == ERR_NOSPACE || err == ERR_IO);
        undone += err == ERR_NOSPACE;
        ended += err == ERR_IO;
        assert_false(has_one(db, PUTS));
        assert_true(has_one(db, PUTS - 1));
        sim_disk_heal(disk);
        bool is_retried = err == ERR_NOSPACE;
        assert_int_equal(put_one(db, PUTS, &why), is_retried ? ERR_OK : ERR_CLOSED);
        bolt_close(&db);
        sim_disk_crash(disk, SIM_CRASH_LOSE, nth);
        assert_int_equal(bolt_open(disk, "db", &options, &db, &why), ERR_OK);
        assert_int_equal(has_one(db, PUTS), is_retried);
        assert_true(has_one(db, PUTS - 1));
        bolt__db_check(db);
        bolt_close(&db);
        sim_disk_free(&disk);
    }
    assert_true(undone > 0);
    assert_int_equal(ended, 1);
}
