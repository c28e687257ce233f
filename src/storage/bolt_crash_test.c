/* Crashes and failing disks: whatever happens at whatever call, the file holds exactly the last
 * committed state, or the one whose commit was under way. */
#include "unit.h"

#include "env/env.h"
#include "storage/bolt_double.h"
#include "storage/bolt_model.h"
#include "storage/bolt_priv.h"

#include <stdio.h>

/* ---- the workload -------------------------------------------------------------------------- */

#define TXNS 8

struct story {
    struct model *before; /* the last committed state */
    struct model *after;  /* the one being committed when it went wrong, or NULL */
    bool is_over;         /* it never went wrong */
    enum err err;
};

static void story_fini(struct story *story)
{
    model_free(&story->before);
    model_free(&story->after);
}

/* Nothing more is written, and readers go on. */
static void broken_db_check(struct bolt *db, const struct model *model)
{
    struct bolt_tx *tx = NULL;
    struct errbuf why = {0};
    assert_int_equal(bolt_write_begin(db, &tx, &why), ERR_CLOSED);
    assert_null(tx);
    tx = bolt_read_begin(db);
    model_compare(model, bolt_root(tx));
    bolt_read_end(&tx);
}

static struct story tell(struct bolt_double *d, struct bolt_options options, uint64_t seed)
{
    struct story story = {.before = model_new()};
    struct model_random random = {.state = seed};
    const struct model_mix *mix = model_mix_named(seed % 2 == 0 ? "nested" : "even");
    struct bolt *db = NULL;
    struct errbuf why = {0};
    story.err = bolt_open(&d->disk, d->path, &options, &db, &why);
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
static void recover(struct bolt_double *d, struct bolt_options options, const struct story *story)
{
    struct bolt *db = NULL;
    struct errbuf why = {0};
    enum err err = bolt_open(&d->disk, d->path, &options, &db, &why);
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

/* Goes wrong at every call in turn, until a run is through without. */
static void every_call(struct bolt_options options, uint64_t seed, bool is_crash, enum err failure)
{
    struct model_random random = {.state = seed * 1000 + 1};
    bool is_over = false;
    uint64_t at = 0;
    for (; !is_over; at++) {
        struct bolt_double *d = bolt_double_new(at, is_crash, failure);
        struct story story = tell(d, options, seed);
        is_over = story.is_over;
        assert_true(is_over || story.err == failure);
        for (int i = 0; i < 3; i++) {
            struct bolt_double *after = bolt_double_crash(d, &random);
            recover(after, options, &story);
            bolt_double_free(&after);
        }
        /* And without a crash: the process closed the file and opens it again. */
        d->fail_at = UINT64_MAX;
        d->is_dead = false;
        recover(d, options, &story);
        story_fini(&story);
        bolt_double_free(&d);
    }
    assert_true(at > 40);
}

TEST(bolt_crash, at_every_call_leaves_the_old_or_the_new_state)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        every_call((struct bolt_options){0}, seed, true, ERR_IO);
        every_call((struct bolt_options){.no_freelist_sync = true, .page_size = 1024}, seed, true,
                   ERR_IO);
    }
}

TEST(bolt_crash, a_failed_call_stops_writing_and_keeps_the_file_whole)
{
    for (uint64_t seed = 5; seed <= 6; seed++) {
        every_call((struct bolt_options){0}, seed, false, ERR_IO);
        every_call((struct bolt_options){.no_freelist_sync = true, .page_size = 1024}, seed, false,
                   ERR_NOSPACE);
    }
}
