/* Long random sequences against the model, readers pinned beside the writer, threads. */
#include "unit.h"

#include "env/env.h"
#include "env/posix.h"
#include "storage/bolt_model.h"
#include "storage/bolt_priv.h"

#include <stdio.h>

static char path[256];

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

static struct bolt_tx *write_begin(struct bolt *db)
{
    struct bolt_tx *tx = NULL;
    assert_int_equal(bolt_write_begin(db, &tx, NULL), ERR_OK);
    return tx;
}

static void commit(struct bolt_tx **tx)
{
    struct errbuf why = {0};
    enum err err = bolt_commit(tx, &why);
    if (err != ERR_OK) {
        fail_msg("%s: %s", err_name(err), why.text);
    }
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
    bolt__db_check(db);
}

static void compare(struct bolt *db, const struct model *model)
{
    struct bolt_tx *tx = bolt_read_begin(db);
    model_compare(model, bolt_root(tx));
    bolt_read_end(&tx);
}

struct pinned {
    struct bolt_tx *tx;
    struct model *model;
};

/* One run: transactions of random length, some rolled back, with up to 8 pinned readers, and now
 * and then a reopen. After every commit the whole file is checked and compared. */
static void run(uint64_t seed, const char *kind, struct bolt_options options, unsigned txn_count,
                unsigned steps_max)
{
    struct model_random random = {.state = seed};
    const struct model_mix *mix = model_mix_named(kind);
    struct model *model = model_new();
    struct pinned pinned[8] = {0};
    snprintf(path, sizeof(path), "%s/db", test_dir());
    struct bolt *db = open_with(path, options);
    for (unsigned i = 0; i < txn_count; i++) {
        struct model *next = model_clone(model);
        struct bolt_tx *tx = write_begin(db);
        for (uint64_t n = model_random_below(&random, steps_max); n > 0; n--) {
            model_step_top(&random, mix, next, tx);
        }
        model_compare(next, bolt_root(tx));
        if (model_random_below(&random, 5) == 0) {
            bolt_rollback(&tx);
            model_free(&next);
        } else {
            commit(&tx);
            model_free(&model);
            model = next;
        }
        check(db);
        compare(db, model);
        struct pinned *pin = &pinned[model_random_below(&random, 8)];
        if (pin->tx != NULL) {
            model_compare(pin->model, bolt_root(pin->tx));
            assert_int_equal(bolt_check(pin->tx, NULL), ERR_OK);
            bolt_read_end(&pin->tx);
            model_free(&pin->model);
        } else {
            *pin = (struct pinned){.tx = bolt_read_begin(db), .model = model_clone(model)};
        }
        if (model_random_below(&random, 12) == 0) {
            for (size_t j = 0; j < 8; j++) {
                if (pinned[j].tx != NULL) {
                    model_compare(pinned[j].model, bolt_root(pinned[j].tx));
                    bolt_read_end(&pinned[j].tx);
                    model_free(&pinned[j].model);
                }
            }
            bolt_close(&db);
            options.no_freelist_sync = model_random_below(&random, 2) == 0;
            db = open_with(path, options);
            check(db);
            compare(db, model);
        }
    }
    for (size_t j = 0; j < 8; j++) {
        bolt_read_end(&pinned[j].tx);
        model_free(&pinned[j].model);
    }
    bolt_close(&db);
    model_free(&model);
}

TEST(bolt_txn, random_changes_agree_with_the_model)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        run(seed, "even", (struct bolt_options){.no_sync = true}, 40, 200);
    }
}

TEST(bolt_txn, random_changes_on_small_pages)
{
    for (uint64_t seed = 11; seed <= 14; seed++) {
        run(seed, "growing", (struct bolt_options){.no_sync = true, .page_size = 1024}, 30, 1000);
        run(seed, "shrinking", (struct bolt_options){.no_sync = true, .page_size = 1024}, 60, 300);
    }
}

TEST(bolt_txn, random_nested_buckets)
{
    for (uint64_t seed = 21; seed <= 28; seed++) {
        run(seed, "nested", (struct bolt_options){.no_sync = true}, 60, 60);
    }
}

TEST(bolt_txn, random_changes_without_a_map)
{
    for (uint64_t seed = 31; seed <= 33; seed++) {
        run(seed, "even", (struct bolt_options){.no_sync = true, .no_map = true}, 40, 200);
        run(seed, "nested", (struct bolt_options){.no_sync = true, .no_map = true}, 40, 60);
    }
}

TEST(bolt_txn, random_changes_with_etcds_options)
{
    for (uint64_t seed = 41; seed <= 43; seed++) {
        run(seed, "growing",
            (struct bolt_options){
                .no_sync = true, .no_freelist_sync = true, .initial_map_size = 1ull << 33},
            40, 1000);
    }
}

/* A node in memory that is cut in two by inserts in its middle. */
TEST(bolt_txn, one_large_transaction_in_random_order)
{
    struct model_random random = {.state = 99};
    snprintf(path, sizeof(path), "%s/db", test_dir());
    struct bolt *db = open_with(path, (struct bolt_options){.no_sync = true});
    struct model *model = model_new();
    struct bolt_tx *tx = write_begin(db);
    struct bolt_bucket *b = NULL;
    assert_int_equal(bolt_bucket_ensure(bolt_root(tx), SLICE("b"), &b), ERR_OK);
    struct model *rows = model_bucket_ensure(model, SLICE("b"));
    for (int i = 0; i < 20000; i++) {
        char key[32];
        snprintf(key, sizeof(key), "%016llx", (unsigned long long)model_random(&random));
        assert_int_equal(bolt_put(b, slice_str(key), SLICE("value")), ERR_OK);
        model_put(rows, slice_str(key), SLICE("value"));
    }
    model_compare(model, bolt_root(tx));
    commit(&tx);
    check(db);
    compare(db, model);
    bolt_close(&db);
    model_free(&model);
}

TEST(bolt_txn, a_pinned_reader_keeps_its_pages_and_no_more)
{
    snprintf(path, sizeof(path), "%s/db", test_dir());
    struct bolt *db = open_with(path, (struct bolt_options){.no_sync = true});
    struct bolt_bucket *b = NULL;
    struct bolt_stats stats;
    struct bolt_tx *tx = write_begin(db);
    assert_int_equal(bolt_bucket_ensure(bolt_root(tx), SLICE("b"), &b), ERR_OK);
    for (int i = 0; i < 2000; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%05d", i);
        assert_int_equal(bolt_put(b, slice_str(key), SLICE("a value that takes some room")),
                         ERR_OK);
    }
    commit(&tx);
    struct bolt_tx *reader = bolt_read_begin(db);
    tx = write_begin(db);
    assert_int_equal(bolt_bucket_drop(bolt_root(tx), SLICE("b")), ERR_OK);
    commit(&tx);
    tx = write_begin(db);
    bolt_stats(db, &stats);
    assert_int_equal(stats.readers, 1);
    assert_true(stats.pending_pages > 10);
    bolt_rollback(&tx);
    assert_int_equal(bolt_bucket(bolt_root(reader), SLICE("b"), &b), ERR_OK);
    struct slice value;
    assert_int_equal(bolt_get(b, SLICE("01999"), &value), ERR_OK);
    bolt_read_end(&reader);
    uint64_t size = stats.pending_pages;
    tx = write_begin(db);
    bolt_stats(db, &stats);
    assert_int_equal(stats.pending_pages, 0);
    assert_true(stats.free_pages >= size);
    bolt_rollback(&tx);
    bolt_close(&db);
}

/* Two hundred readers at once need several blocks of slots. */
TEST(bolt_txn, readers_are_not_limited_in_number)
{
    snprintf(path, sizeof(path), "%s/db", test_dir());
    struct bolt *db = open_with(path, (struct bolt_options){.no_sync = true});
    struct bolt_tx *readers[200];
    for (size_t i = 0; i < 200; i++) {
        readers[i] = bolt_read_begin(db);
        struct bolt_tx *tx = write_begin(db);
        commit(&tx);
    }
    struct bolt_stats stats;
    bolt_stats(db, &stats);
    assert_int_equal(stats.readers, 200);
    for (size_t i = 0; i < 200; i++) {
        assert_int_equal(bolt_tx_id(readers[i]), i + 1);
        bolt_read_end(&readers[i]);
    }
    struct bolt_tx *tx = write_begin(db);
    bolt_rollback(&tx);
    assert_int_equal(CONTAINER_OF(db->views.next, struct bolt_view, link)->meta.txid, 201);
    bolt_close(&db);
}

/* ---- threads ------------------------------------------------------------------------------- */

#define THREAD_ROWS 500
#define THREAD_TXNS 200

struct reading {
    struct job job;
    struct bolt *db;
    atomic_bool *stop;
    atomic_uint *looked;
    atomic_int *running;
};

/* Every committed state holds THREAD_ROWS rows with one and the same value. */
static void read_once(struct reading *reading)
{
    struct bolt_tx *tx = bolt_read_begin(reading->db);
    struct bolt_bucket *b = NULL;
    struct bolt_cursor cursor;
    struct bolt_item item;
    struct slice first = SLICE_EMPTY;
    uint64_t rows = 0;
    if (bolt_bucket(bolt_root(tx), SLICE("b"), &b) == ERR_OK) {
        bolt_cursor_init(&cursor, b);
        for (enum err err = bolt_cursor_first(&cursor, &item); err == ERR_OK;
             err = bolt_cursor_next(&cursor, &item)) {
            if (rows++ == 0) {
                first = item.value;
            }
            ASSERT(slice_eq(first, item.value));
        }
        ASSERT(rows == THREAD_ROWS);
    }
    bolt_read_end(&tx);
    atomic_fetch_add(reading->looked, 1);
}

static void reading_run(struct job *job)
{
    struct reading *reading = CONTAINER_OF(job, struct reading, job);
    while (!atomic_load(reading->stop)) {
        read_once(reading);
    }
}

static void reading_done(struct job *job)
{
    struct reading *reading = CONTAINER_OF(job, struct reading, job);
    atomic_fetch_sub(reading->running, 1);
}

TEST(bolt_txn, readers_on_other_threads_see_whole_transactions)
{
    struct env *env = posix_env_new();
    struct executor *pool = env_executor_new(env, "readers", 3);
    snprintf(path, sizeof(path), "%s/db", test_dir());
    struct bolt *db = open_with(path, (struct bolt_options){.no_sync = true});
    atomic_bool stop = false;
    atomic_int running = 3;
    atomic_uint looked = 0;
    struct reading readings[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        readings[i] =
            (struct reading){.db = db, .stop = &stop, .running = &running, .looked = &looked};
        readings[i].job.run = reading_run;
        readings[i].job.done = reading_done;
        executor_submit(pool, &readings[i].job);
    }
    for (int i = 0; i < THREAD_TXNS || atomic_load(&looked) < 100; i++) {
        struct bolt_tx *tx = write_begin(db);
        struct bolt_bucket *b = NULL;
        assert_int_equal(bolt_bucket_ensure(bolt_root(tx), SLICE("b"), &b), ERR_OK);
        char value[400];
        int len = snprintf(value, sizeof(value), "%0*d", 20 + i % 300, i);
        for (int j = 0; j < THREAD_ROWS; j++) {
            char key[16];
            snprintf(key, sizeof(key), "%05d", j);
            assert_int_equal(bolt_put(b, slice_str(key), slice_of(value, (size_t)len)), ERR_OK);
        }
        commit(&tx);
    }
    atomic_store(&stop, true);
    executor_close(&pool);
    assert_int_equal(atomic_load(&running), 0);
    check(db);
    bolt_close(&db);
    posix_env_free(&env);
}

/* Begin and end as fast as they can, beside commits that replace the newest state all the time:
 * what a reader pins is whole and never older than what it had before. */
static void pinning_run(struct job *job)
{
    struct reading *reading = CONTAINER_OF(job, struct reading, job);
    uint64_t last = 0;
    while (!atomic_load(reading->stop)) {
        struct bolt_tx *tx = bolt_read_begin(reading->db);
        ASSERT(bolt_tx_id(tx) >= last);
        ASSERT(bolt_tx_size(tx) == 4 * 4096);
        last = bolt_tx_id(tx);
        bolt_read_end(&tx);
        atomic_fetch_add(reading->looked, 1);
    }
}

TEST(bolt_txn, readers_come_and_go_beside_quick_commits)
{
    struct env *env = posix_env_new();
    struct executor *pool = env_executor_new(env, "readers", 3);
    snprintf(path, sizeof(path), "%s/db", test_dir());
    struct bolt *db = open_with(path, (struct bolt_options){.no_sync = true});
    atomic_bool stop = false;
    atomic_int running = 3;
    atomic_uint looked = 0;
    struct reading readings[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        readings[i] =
            (struct reading){.db = db, .stop = &stop, .running = &running, .looked = &looked};
        readings[i].job.run = pinning_run;
        readings[i].job.done = reading_done;
        executor_submit(pool, &readings[i].job);
    }
    unsigned commits = 0;
    for (; commits < 20000 || atomic_load(&looked) < 20000; commits++) {
        /* Only the publishing half of a commit: the quicker, the more often they meet. */
        struct bolt_tx *tx = write_begin(db);
        struct bolt_meta meta = tx->meta;
        bolt_rollback(&tx);
        bolt__view_publish(db, &meta);
    }
    atomic_store(&stop, true);
    executor_close(&pool);
    struct bolt_tx *tx = write_begin(db);
    assert_int_equal(tx->meta.txid, commits + 2);
    bolt_rollback(&tx);
    bolt_close(&db);
    posix_env_free(&env);
}
