#include "storage/backend.h"

#include "base/digest.h"
#include "base/mem.h"
#include "env/loop.h"
#include "env/posix.h"
#include "storage/bolt.h"
#include "storage/manual_env.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- helpers ----------------------------------------------------------------------------------
 */

static uint64_t random_state = 7;

static uint64_t rnd(uint64_t below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 33) % below;
}

static struct backend *open_on(struct manual_env *manual, struct disk *disk, const char *path)
{
    struct backend *backend;
    struct errbuf why = {.text = ""};
    struct backend_options options = {
        .env = &manual->env, .path = path, .batch_limit = 50, .no_sync = true};
    manual_env_init(manual, disk);
    if (backend_open(&options, &backend, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    return backend;
}

static struct backend *open_at(struct manual_env *manual, const char *path)
{
    return open_on(manual, posix_disk(), path);
}

static char *new_path(void)
{
    return mem_printf("%s/db", test_dir());
}

static void put_row(struct backend *backend, int64_t main, uint32_t sub, bool is_tombstone,
                    const char *text)
{
    struct chunk *chunk;
    size_t len = strlen(text);
    uint8_t *bytes = backend_row_alloc(backend, len, &chunk);
    memcpy(bytes, text, len);
    backend_put_row(backend, (struct revision){.main = main, .sub = sub}, is_tombstone,
                    slice_of(bytes, len), chunk);
    chunk_unref(chunk);
}

static bool get_is(struct backend *backend, enum backend_bucket bucket, const char *key,
                   const char *want)
{
    struct slice got;
    if (!backend_get(backend, bucket, slice_str(key), &got)) {
        return want == NULL;
    }
    return want != NULL && slice_eq_str(got, want);
}

static void set_true(void *ctx)
{
    *(bool *)ctx = true;
}

/* Copies the file as it is now and opens the copy: what a crash at this moment would leave. */
static struct backend *open_copy(struct manual_env *manual, const char *path)
{
    struct buf bytes = {0};
    char *copy = new_path();
    assert_int_equal(disk_read_file(posix_disk(), path, SIZE_MAX, &bytes, NULL), ERR_OK);
    assert_int_equal(disk_write_file(posix_disk(), copy, buf_slice(&bytes), NULL), ERR_OK);
    buf_fini(&bytes);
    struct backend *backend = open_at(manual, copy);
    mem_free(copy);
    return backend;
}

/* ---- plain tests ------------------------------------------------------------------------------
 */

TEST(backend, a_new_database_has_etcds_buckets_and_no_index)
{
    static const char *const names[] = {"alarm", "auth",  "authRoles", "authUsers",       "cluster",
                                        "key",   "lease", "members",   "members_removed", "meta"};
    struct manual_env manual;
    char *path = new_path();
    struct backend *backend = open_at(&manual, path);
    struct backend_stats stats;
    assert_int_equal(backend_consistent_index(backend), 0);
    assert_int_equal(backend_term(backend), 0);
    backend_stats(backend, &stats);
    assert_true(stats.size >= stats.size_in_use);
    assert_int_equal(stats.size % 4096, 0);
    struct bolt_tx *tx = backend_snapshot_begin(backend);
    struct bolt_bucket *bucket;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(bolt_bucket(bolt_root(tx), slice_str(names[i]), &bucket), ERR_OK);
        assert_string_equal(backend_bucket_name((enum backend_bucket)i), names[i]);
    }
    bolt_read_end(&tx);
    backend_close(&backend);
    assert_null(backend);
    backend_close(&backend);
    mem_free(path);
}

TEST(backend, rows_are_read_at_once_and_after_each_step_of_a_commit)
{
    struct manual_env manual;
    char *path = new_path();
    struct backend *backend = open_at(&manual, path);
    struct slice got;
    bool is_done = false;
    backend_put(backend, BUCKET_LEASE, SLICE("a"), SLICE("1"));
    put_row(backend, 2, 0, false, "row");
    backend_delete(backend, BUCKET_LEASE, SLICE("never there"));
    backend_force_commit(backend, set_true, &is_done);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(is_done, i == 2);
        assert_true(get_is(backend, BUCKET_LEASE, "a", "1"));
        assert_true(get_is(backend, BUCKET_LEASE, "b", NULL));
        assert_true(backend_get_row(backend, (struct revision){.main = 2}, &got));
        assert_true(slice_eq_str(got, "row"));
        assert_false(backend_get_row(backend, (struct revision){.main = 2, .sub = 1}, &got));
        backend_check(backend);
        if (i == 0) {
            assert_true(manual_run(&manual));
        } else if (i == 1) {
            assert_true(manual_finish(&manual));
        }
    }
    backend_delete(backend, BUCKET_LEASE, SLICE("a"));
    backend_delete_row(backend, (struct revision){.main = 2}, false);
    assert_true(get_is(backend, BUCKET_LEASE, "a", NULL));
    assert_false(backend_get_row(backend, (struct revision){.main = 2}, &got));
    backend_close(&backend);
    backend = open_at(&manual, path);
    assert_true(get_is(backend, BUCKET_LEASE, "a", NULL));
    assert_false(backend_get_row(backend, (struct revision){.main = 2}, &got));
    backend_close(&backend);
    mem_free(path);
}

TEST(backend, a_full_batch_is_committed_without_being_asked)
{
    struct manual_env manual;
    char *path = new_path();
    struct backend *backend = open_at(&manual, path);
    for (int i = 0; i < 49; i++) {
        put_row(backend, 2 + i, 0, false, "r");
    }
    assert_false(manual_run(&manual));
    put_row(backend, 100, 0, false, "r");
    assert_true(manual_run(&manual));
    for (int i = 0; i < 60; i++) { /* gathers while the first is in flight */
        put_row(backend, 200 + i, 0, false, "r");
    }
    assert_false(manual_run(&manual));
    assert_true(manual_finish(&manual));
    assert_true(manual_run(&manual)); /* the next one follows at once */
    assert_true(manual_finish(&manual));
    struct backend_stats stats;
    backend_stats(backend, &stats);
    assert_int_equal(stats.commits, 2);
    assert_int_equal(stats.pending_ops, 0);
    backend_close(&backend);
    mem_free(path);
}

TEST(backend, nothing_is_sealed_inside_an_entry)
{
    struct manual_env manual;
    char *path = new_path();
    struct backend *backend = open_at(&manual, path);
    bool is_done = false;
    backend_begin(backend);
    assert_true(backend_is_applying(backend));
    for (int i = 0; i < 200; i++) { /* far over the limit */
        put_row(backend, 2, (uint32_t)i, false, "r");
    }
    backend_force_commit(backend, set_true, &is_done);
    put_row(backend, 2, 1000, false, "the last of the entry");
    assert_false(manual_run(&manual));
    backend_end(backend, 9, 3);
    assert_false(is_done);
    assert_true(manual_run(&manual));
    assert_true(manual_finish(&manual));
    assert_true(is_done);
    struct manual_env other;
    struct backend *copy = open_copy(&other, path);
    struct slice got;
    assert_int_equal(backend_consistent_index(copy), 9);
    assert_int_equal(backend_term(copy), 3);
    assert_true(backend_get_row(copy, (struct revision){.main = 2, .sub = 1000}, &got));
    backend_close(&copy);
    backend_close(&backend);
    mem_free(path);
}

TEST(backend, a_commit_with_nothing_to_write_still_calls_back_later)
{
    struct manual_env manual;
    char *path = new_path();
    struct backend *backend = open_at(&manual, path);
    bool is_done = false;
    backend_force_commit(backend, set_true, &is_done);
    assert_false(is_done);
    manual_settle(&manual);
    assert_true(is_done);
    backend_set_conf_state(backend, SLICE("{\"voters\":[1],\"auto_leave\":false}"));
    is_done = false;
    backend_force_commit(backend, set_true, &is_done);
    backend_close(&backend); /* commits, and calls back */
    assert_true(is_done);
    backend = open_at(&manual, path);
    assert_true(get_is(backend, BUCKET_META, "confState", "{\"voters\":[1],\"auto_leave\":false}"));
    backend_close(&backend);
    mem_free(path);
}

struct asks_again {
    struct backend *backend;
    bool is_done;
};

static void ask_again(void *ctx)
{
    struct asks_again *again = ctx;
    backend_put(again->backend, BUCKET_LEASE, SLICE("c"), SLICE("3"));
    backend_force_commit(again->backend, set_true, &again->is_done);
}

TEST(backend, who_asks_for_a_commit_from_inside_of_an_answer_makes_no_other_answer_come_early)
{
    struct manual_env manual;
    char *path = new_path();
    struct asks_again first = {.backend = open_at(&manual, path)};
    bool is_done = false;
    backend_put(first.backend, BUCKET_LEASE, SLICE("a"), SLICE("1"));
    backend_force_commit(first.backend, ask_again, &first);
    assert_true(manual_run(&manual));
    backend_put(first.backend, BUCKET_LEASE, SLICE("b"), SLICE("2"));
    backend_force_commit(first.backend, set_true, &is_done);
    assert_true(manual_finish(&manual)); /* the first's, which asks for another */
    assert_false(is_done);
    assert_false(first.is_done);
    assert_true(manual_run(&manual));
    assert_false(is_done);
    assert_true(manual_finish(&manual));
    assert_true(is_done);
    assert_true(first.is_done);
    backend_close(&first.backend);
    mem_free(path);
}

static uint64_t forgotten; /* bytes */

static void count_forgotten(struct file *file, const uint8_t *base, uint64_t len)
{
    forgotten += len;
    posix_disk()->ops->map_forget(file, base, len);
}

/* The clock stands still: only the rows count. */
TEST(backend, many_rows_committed_do_not_stay_resident)
{
    enum { ROWS = 200000, SHORT = 1000 };
    struct disk_ops ops = *posix_disk()->ops;
    struct disk disk = {.ops = &ops};
    struct manual_env manual;
    bool is_done = false;
    char *path = new_path();
    ops.map_forget = count_forgotten;
    struct backend *backend = open_on(&manual, &disk, path);
    put_row(backend, 1, 0, false, "row");
    manual_settle(&manual);
    forgotten = 0;
    int64_t rev = 2;
    for (; rev < ROWS - SHORT; rev++) {
        put_row(backend, rev, 0, false, "row");
    }
    backend_force_commit(backend, set_true, &is_done);
    manual_settle(&manual);
    assert_int_equal(forgotten, 0);
    for (; rev < ROWS + SHORT; rev++) {
        put_row(backend, rev, 0, false, "row");
    }
    backend_force_commit(backend, set_true, &is_done);
    manual_settle(&manual);
    assert_true(forgotten > 0);
    backend_close(&backend);
    mem_free(path);
}

static bool pass_row(void *ctx, struct slice key, struct slice value)
{
    UNUSED(ctx);
    UNUSED(key);
    UNUSED(value);
    return true;
}

/* The loop does not do it when it hears of the commit that ends the state it has scanned. */
TEST(backend, what_a_scan_has_mapped_is_let_go_of_by_the_next_commit_beside_the_loop)
{
    enum { ROWS = 2000 };
    struct disk_ops ops = *posix_disk()->ops;
    struct disk disk = {.ops = &ops};
    struct manual_env manual;
    bool is_done[3] = {false};
    char *path = new_path();
    ops.map_forget = count_forgotten;
    struct backend *backend = open_on(&manual, &disk, path);
    for (int64_t rev = 1; rev <= ROWS; rev++) { /* in pages of their own */
        put_row(backend, rev, 0, false, "row");
    }
    manual_settle(&manual);
    backend_scan_rows(backend, (struct revision){0}, pass_row, NULL);
    forgotten = 0;
    for (unsigned i = 0; i < ARRAY_LEN(is_done); i++) {
        put_row(backend, ROWS + 1 + i, 0, false, "row");
        backend_force_commit(backend, set_true, &is_done[i]);
        assert_true(manual_run(&manual));
        assert_true((forgotten > 0) == (i == 1));
        forgotten = 0;
        assert_true(manual_finish(&manual));
        assert_true(is_done[i]);
        assert_int_equal(forgotten, 0);
    }
    backend_close(&backend);
    mem_free(path);
}

TEST(backend, a_crash_at_any_commit_leaves_rows_and_index_together)
{
    struct manual_env manual;
    char *path = new_path();
    struct backend *backend = open_at(&manual, path);
    int64_t main = 1;
    for (uint64_t index = 1; index <= 120; index++) {
        backend_begin(backend);
        main++;
        for (uint32_t sub = 0; sub < 1 + rnd(9); sub++) {
            put_row(backend, main, sub, false, "row");
        }
        char text[32];
        snprintf(text, sizeof(text), "%llu", (unsigned long long)index);
        backend_put(backend, BUCKET_LEASE, SLICE("applied"), slice_str(text));
        backend_end(backend, index, 1);
        if (rnd(3) == 0) {
            manual_run(&manual);
        }
        if (rnd(3) == 0) {
            manual_finish(&manual);
        }
        if (rnd(8) != 0) {
            continue;
        }
        struct manual_env other;
        struct backend *copy = open_copy(&other, path);
        uint64_t stored = backend_consistent_index(copy);
        snprintf(text, sizeof(text), "%llu", (unsigned long long)stored);
        assert_true(get_is(copy, BUCKET_LEASE, "applied", stored == 0 ? NULL : text));
        struct slice row;
        int64_t last = (int64_t)stored + 1;
        assert_int_equal(backend_get_row(copy, (struct revision){.main = last}, &row), stored > 0);
        assert_false(backend_get_row(copy, (struct revision){.main = last + 1}, &row));
        backend_close(&copy);
    }
    backend_close(&backend);
    mem_free(path);
}

TEST(backend, refuses_what_is_no_database_and_what_is_in_use)
{
    struct manual_env manual;
    struct manual_env other;
    struct errbuf why = {.text = ""};
    struct backend *backend = NULL;
    char *path = new_path();
    uint8_t junk[8192];
    memset(junk, 0x77, sizeof(junk));
    assert_int_equal(disk_write_file(posix_disk(), path, slice_of(junk, sizeof(junk)), NULL),
                     ERR_OK);
    manual_env_init(&manual, posix_disk());
    struct backend_options options = {.env = &manual.env, .path = path};
    assert_int_equal(backend_open(&options, &backend, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.text, path));
    assert_null(backend);
    mem_free(path);
    path = new_path();
    options.path = path;
    backend = open_at(&other, path);
    struct backend *second = NULL;
    assert_int_equal(backend_open(&options, &second, &why), ERR_LOCKED);
    backend_put(backend, BUCKET_META, SLICE("consistent_index"), SLICE("123"));
    backend_close(&backend);
    assert_int_equal(backend_open(&options, &second, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.text, "consistent_index"));
    mem_free(path);
}

/* ---- against a model --------------------------------------------------------------------------
 */

#define MODEL_KEYS 40
#define MODEL_ROWS 4000

struct model {
    char value[BUCKET_COUNT][MODEL_KEYS][12]; /* "" when it is not there */
    struct {
        struct revision rev;
        bool is_tombstone;
        bool is_there;
    } rows[MODEL_ROWS];
    size_t row_count;
    int64_t main;
};

static struct slice model_key(char text[16], unsigned i)
{
    snprintf(text, 16, "key%03u", i);
    return slice_str(text);
}

struct model_scan {
    const struct model *model;
    enum backend_bucket bucket;
    size_t next;
};

static bool same_pair(void *ctx, struct slice key, struct slice value)
{
    struct model_scan *scan = ctx;
    char text[16];
    while (scan->model->value[scan->bucket][scan->next][0] == 0) {
        scan->next++;
        assert_true(scan->next < MODEL_KEYS);
    }
    assert_true(slice_eq(key, model_key(text, (unsigned)scan->next)));
    assert_true(slice_eq_str(value, scan->model->value[scan->bucket][scan->next]));
    scan->next++;
    return true;
}

static bool same_row(void *ctx, struct slice key, struct slice value)
{
    struct model_scan *scan = ctx;
    const struct model *model = scan->model;
    uint8_t bytes[TOMBSTONE_LEN];
    while (!model->rows[scan->next].is_there) {
        scan->next++;
        assert_true(scan->next < model->row_count);
    }
    assert_true(slice_eq(key, revision_encode(model->rows[scan->next].rev,
                                              model->rows[scan->next].is_tombstone, bytes)));
    assert_true(slice_eq_str(value, "row"));
    scan->next++;
    return true;
}

static void model_rest(const struct model_scan *scan)
{
    if (scan->bucket == BUCKET_KEY) {
        for (size_t i = scan->next; i < scan->model->row_count; i++) {
            assert_false(scan->model->rows[i].is_there);
        }
        return;
    }
    for (size_t i = scan->next; i < MODEL_KEYS; i++) {
        assert_int_equal(scan->model->value[scan->bucket][i][0], 0);
    }
}

static const enum backend_bucket model_buckets[] = {BUCKET_ALARM, BUCKET_AUTH_USERS, BUCKET_LEASE};

static void check_backend(struct backend *backend, const struct model *model)
{
    char text[16];
    struct slice got;
    for (size_t i = 0; i < ARRAY_LEN(model_buckets); i++) {
        struct model_scan scan = {.model = model, .bucket = model_buckets[i]};
        backend_scan(backend, scan.bucket, SLICE_EMPTY, SLICE_EMPTY, same_pair, &scan);
        model_rest(&scan);
        unsigned k = (unsigned)rnd(MODEL_KEYS);
        const char *want = model->value[scan.bucket][k];
        model_key(text, k);
        assert_true(get_is(backend, scan.bucket, text, want[0] == 0 ? NULL : want));
    }
    struct model_scan scan = {.model = model, .bucket = BUCKET_KEY};
    struct revision from = {0};
    if (model->row_count > 0) {
        scan.next = rnd(model->row_count);
        from = model->rows[scan.next].rev;
        bool is_put = model->rows[scan.next].is_there && !model->rows[scan.next].is_tombstone;
        assert_int_equal(backend_get_row(backend, from, &got), is_put);
    }
    backend_scan_rows(backend, from, same_row, &scan);
    model_rest(&scan);
    backend_check(backend);
}

static void check_view(struct backend_view *view, const struct model *model)
{
    for (size_t i = 0; i < ARRAY_LEN(model_buckets); i++) {
        struct model_scan scan = {.model = model, .bucket = model_buckets[i]};
        assert_int_equal(
            backend_view_scan(view, scan.bucket, SLICE_EMPTY, SLICE_EMPTY, same_pair, &scan, NULL),
            ERR_OK);
        model_rest(&scan);
    }
    struct model_scan scan = {.model = model, .bucket = BUCKET_KEY};
    assert_int_equal(
        backend_view_scan(view, BUCKET_KEY, SLICE_EMPTY, SLICE_EMPTY, same_row, &scan, NULL),
        ERR_OK);
    model_rest(&scan);
}

static void write_something(struct backend *backend, struct model *model)
{
    char text[16];
    enum backend_bucket bucket = model_buckets[rnd(ARRAY_LEN(model_buckets))];
    unsigned k = (unsigned)rnd(MODEL_KEYS);
    size_t r = model->row_count == 0 ? 0 : rnd(model->row_count);
    switch (rnd(4)) {
    case 0:
        snprintf(model->value[bucket][k], 12, "v%u", (unsigned)rnd(1000000));
        backend_put(backend, bucket, model_key(text, k), slice_str(model->value[bucket][k]));
        break;
    case 1:
        model->value[bucket][k][0] = 0;
        backend_delete(backend, bucket, model_key(text, k));
        break;
    case 2:
        if (model->row_count < MODEL_ROWS) {
            bool is_tombstone = rnd(4) == 0;
            model->main += (int64_t)rnd(2) + 1;
            model->rows[model->row_count].rev = (struct revision){model->main, (uint32_t)rnd(3)};
            model->rows[model->row_count].is_tombstone = is_tombstone;
            model->rows[model->row_count].is_there = true;
            struct revision rev = model->rows[model->row_count++].rev;
            put_row(backend, rev.main, rev.sub, is_tombstone, "row");
        }
        break;
    default:
        if (model->row_count > 0 && model->rows[r].is_there) {
            model->rows[r].is_there = false;
            backend_delete_row(backend, model->rows[r].rev, model->rows[r].is_tombstone);
        }
        break;
    }
}

static void run_model(const char *path, int steps)
{
    struct manual_env manual;
    struct model *model = NEW(struct model);
    struct model *seen = NEW(struct model); /* what the view must show */
    struct backend *backend = open_at(&manual, path);
    struct backend_view *view = NULL;
    model->main = 1;
    for (int step = 0; step < steps; step++) {
        switch (rnd(12)) {
        case 0:
            manual_run(&manual);
            break;
        case 1:
            manual_finish(&manual);
            break;
        case 2:
            if (view == NULL) {
                view = backend_view_begin(backend);
                *seen = *model;
            } else {
                check_view(view, seen);
                backend_view_end(&view);
            }
            break;
        case 3:
            if (rnd(10) == 0) {
                backend_view_end(&view);
                backend_close(&backend);
                backend = open_at(&manual, path);
            }
            break;
        default:
            write_something(backend, model);
            break;
        }
        check_backend(backend, model);
    }
    backend_view_end(&view);
    backend_close(&backend);
    backend = open_at(&manual, path);
    check_backend(backend, model);
    backend_close(&backend);
    mem_free(model);
    mem_free(seen);
}

TEST(backend, every_interleaving_of_writes_commits_views_and_restarts_equals_the_model)
{
    for (int round = 0; round < 4; round++) {
        char *path = new_path();
        run_model(path, 1500);
        mem_free(path);
    }
}

/* ---- hash -------------------------------------------------------------------------------------
 */

TEST(backend, the_hash_covers_names_keys_and_values_but_not_the_index)
{
    struct manual_env manual;
    char *path = new_path();
    struct backend *backend = open_at(&manual, path);
    uint32_t first;
    uint32_t pending;
    uint32_t committed;
    uint32_t want = 0;
    struct backend_view *view = backend_view_begin(backend);
    assert_int_equal(backend_view_hash(view, &first, NULL), ERR_OK);
    backend_view_end(&view);
    for (unsigned i = 0; i < BUCKET_COUNT; i++) {
        const char *name = backend_bucket_name((enum backend_bucket)i);
        want = crc32c(want, name, strlen(name));
    }
    assert_int_equal(first, want);
    backend_begin(backend);
    backend_put(backend, BUCKET_META, SLICE("storageVersion"), SLICE("3.6.0"));
    backend_put(backend, BUCKET_AUTH, SLICE("authRevision"), SLICE("x"));
    put_row(backend, 2, 0, false, "row");
    backend_end(backend, 5, 1);
    view = backend_view_begin(backend);
    assert_int_equal(backend_view_hash(view, &pending, NULL), ERR_OK);
    backend_view_end(&view);
    assert_int_not_equal(pending, first);
    manual_settle(&manual);
    backend_begin(backend);
    backend_end(backend, 6, 2);
    backend_force_commit(backend, set_true, &(bool){false});
    manual_settle(&manual);
    view = backend_view_begin(backend);
    assert_int_equal(backend_view_hash(view, &committed, NULL), ERR_OK);
    backend_view_end(&view);
    assert_int_equal(pending, committed);
    backend_close(&backend);
    mem_free(path);
}

/* ---- with the real loop -----------------------------------------------------------------------
 */

struct commits {
    uint64_t count;
    uint64_t ops;
};

static void count_commit(void *ctx, const struct backend_commit *commit)
{
    struct commits *commits = ctx;
    commits->count++;
    commits->ops += commit->ops;
}

TEST(backend, the_interval_commits_and_large_batches_are_let_go_of_in_slices)
{
    struct env *env = posix_env_new();
    struct loop *loop = loop_new(env);
    struct commits commits = {0};
    struct backend *backend;
    struct errbuf why;
    char *path = new_path();
    struct backend_options options = {.env = env,
                                      .loop = loop,
                                      .path = path,
                                      .batch_interval_ms = 2,
                                      .batch_limit = 1000000,
                                      .no_sync = true,
                                      .on_commit = count_commit,
                                      .ctx = &commits};
    assert_int_equal(backend_open(&options, &backend, &why), ERR_OK);
    for (int i = 0; i < 60000; i++) {
        put_row(backend, 2 + i, 0, false, "a row of some length");
    }
    while (commits.count == 0) {
        loop_turn(loop, true);
    }
    assert_int_equal(commits.ops, 60000);
    struct backend_stats stats;
    backend_stats(backend, &stats);
    assert_int_equal(stats.pending_ops, 0);
    for (int i = 0; i < 3; i++) { /* the garbage goes meanwhile; rows are read from the tree */
        struct slice row;
        assert_true(backend_get_row(backend, (struct revision){.main = 2 + i * 20000}, &row));
        loop_turn(loop, false);
    }
    backend_put(backend, BUCKET_LEASE, SLICE("k"), SLICE("v"));
    backend_close(&backend); /* before the interval: commits all the same */
    assert_int_equal(backend_open(&options, &backend, &why), ERR_OK);
    assert_true(get_is(backend, BUCKET_LEASE, "k", "v"));
    for (int i = 0; i < 60000; i++) {
        put_row(backend, 100000 + i, 0, false, "r");
    }
    bool is_done = false;
    backend_force_commit(backend, set_true, &is_done);
    while (!is_done) {
        loop_turn(loop, true);
    }
    backend_close(&backend); /* with garbage left */
    loop_free(&loop);
    posix_env_free(&env);
    mem_free(path);
}
