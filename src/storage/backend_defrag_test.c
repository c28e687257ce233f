/* Defragmentation beside everything else: at whatever step it is, reads see every row once, and
 * whatever the disk does, the file under the name is the whole database. */
#include "storage/backend.h"

#include "base/mem.h"
#include "storage/bolt.h"
#include "storage/manual_env.h"
#include "unit.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEPT 400 /* entry i deletes the row of entry i - KEPT */

struct outcome {
    unsigned count;
    enum err err;
    char why[256];
};

static void note(void *ctx, enum err err, const char *why)
{
    struct outcome *outcome = ctx;
    outcome->count++;
    outcome->err = err;
    snprintf(outcome->why, sizeof(outcome->why), "%s", why);
}

static struct backend *open_db(struct manual_env *manual, struct disk *disk)
{
    struct backend *backend;
    struct errbuf why = {0};
    struct backend_options options = {.env = &manual->env, .path = "snap/db", .batch_limit = 100};
    manual_env_init(manual, disk);
    if (backend_open(&options, &backend, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    return backend;
}

static struct disk *new_disk(void)
{
    struct disk *disk = sim_disk_new();
    assert_int_equal(disk_mkdir_all(disk, "snap", 0700, NULL), ERR_OK);
    assert_int_equal(disk_sync_dir(disk, "/", NULL), ERR_OK);
    return disk;
}

/* Entry `i`: a row comes, an old one goes, a row of another bucket changes. */
static void write_entry(struct backend *backend, uint64_t i)
{
    char text[200];
    struct chunk *chunk;
    struct revision rev = {.main = (int64_t)i};
    snprintf(text, sizeof(text), "%0*d", (int)(20 + i * 37 % 150), (int)i);
    size_t len = strlen(text);
    backend_begin(backend);
    uint8_t *bytes = backend_row_alloc(backend, len, &chunk);
    memcpy(bytes, text, len);
    backend_put_row(backend, rev, false, slice_of(bytes, len), chunk);
    chunk_unref(chunk);
    if (i > KEPT) {
        backend_delete_row(backend, (struct revision){.main = (int64_t)(i - KEPT)}, false);
    }
    snprintf(text, sizeof(text), "%u", (unsigned)(i % 7));
    if (i % 11 == 0) {
        backend_delete(backend, BUCKET_LEASE, slice_str(text));
    } else {
        backend_put(backend, BUCKET_LEASE, slice_str(text), slice_of(&i, sizeof(i)));
    }
    backend_end(backend, i, 1);
}

static void check_it(void *ctx)
{
    backend_check(ctx);
}

struct rows {
    uint64_t first;
    uint64_t count;
    uint64_t next;
};

static bool count_row(void *ctx, struct slice key, struct slice value)
{
    struct rows *rows = ctx;
    uint64_t main = get_be64(key.data);
    UNUSED(value);
    rows->first = rows->count == 0 ? main : rows->first;
    assert_true(rows->count == 0 || main == rows->next);
    rows->next = main + 1;
    rows->count++;
    return true;
}

/* Exactly the rows that entry `last` leaves. */
static void assert_rows(struct backend *backend, uint64_t last)
{
    struct rows rows = {0};
    backend_scan(backend, BUCKET_KEY, SLICE_EMPTY, SLICE_EMPTY, count_row, &rows);
    uint64_t count = last < KEPT ? last : KEPT;
    assert_int_equal(backend_consistent_index(backend), last);
    assert_int_equal(rows.count, count);
    assert_int_equal(rows.count == 0 ? 0 : rows.next - 1, last);
    for (uint64_t i = 0; i < 7; i++) {
        char key[4];
        struct slice value;
        uint64_t at = last - (last + 7 - i) % 7; /* the last entry that touched it */
        snprintf(key, sizeof(key), "%u", (unsigned)i);
        bool is_there = backend_get(backend, BUCKET_LEASE, slice_str(key), &value);
        assert_int_equal(is_there, at > 0 && at <= last && at % 11 != 0);
        assert_true(!is_there || memcmp(value.data, &at, sizeof(at)) == 0);
    }
}

/* Rows to copy, and holes to leave out. */
static uint64_t fill(struct manual_env *manual, struct backend *backend)
{
    char key[16];
    static const char value[1000] = "what is deleted later";
    for (int is_delete = 0; is_delete < 2; is_delete++) {
        for (unsigned i = 0; i < 500; i++) {
            snprintf(key, sizeof(key), "%08u", i);
            if (is_delete == 0) {
                backend_put(backend, BUCKET_AUTH_ROLES, slice_str(key),
                            slice_of(value, sizeof(value)));
            } else {
                backend_delete(backend, BUCKET_AUTH_ROLES, slice_str(key));
            }
        }
        manual_settle(manual);
    }
    for (uint64_t i = 1; i <= 3000; i++) {
        write_entry(backend, i);
        if (i % 100 == 0) {
            manual_settle(manual);
        }
    }
    manual_settle(manual);
    return 3000;
}

static uint64_t size_of(const struct backend *backend)
{
    struct backend_stats stats;
    backend_stats(backend, &stats);
    return stats.size;
}

static uint32_t hash_of(struct backend *backend)
{
    struct errbuf why = {0};
    uint32_t hash = 0;
    struct backend_view *view = backend_view_begin(backend);
    assert_int_equal(backend_view_hash(view, &hash, &why), ERR_OK);
    backend_view_end(&view);
    return hash;
}

TEST(backend_defrag, leaves_out_the_holes_and_nothing_else)
{
    struct manual_env manual;
    struct disk *disk = new_disk();
    struct backend *backend = open_db(&manual, disk);
    uint64_t last = fill(&manual, backend);
    uint64_t size = size_of(backend);
    uint32_t hash = hash_of(backend);
    struct outcome outcome = {0};
    backend_defrag(backend, note, &outcome);
    assert_true(backend_is_defragmenting(backend));
    assert_int_equal(outcome.count, 0);
    manual_settle(&manual);
    assert_false(backend_is_defragmenting(backend));
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.err, ERR_OK);
    assert_true(size_of(backend) < size / 2);
    assert_int_equal(hash_of(backend), hash);
    assert_rows(backend, last);
    assert_false(disk_exists(disk, "snap/db.tmp.defrag"));
    write_entry(backend, last + 1);
    backend_close(&backend);
    backend = open_db(&manual, disk);
    assert_rows(backend, last + 1);
    backend_close(&backend);
    sim_disk_free(&disk);
}

/* etcd's PR 13713: what the old file was opened with, the new one is, too. */
TEST(backend_defrag, the_new_file_keeps_the_reserve_of_the_old_one)
{
    struct manual_env manual;
    struct disk *disk = new_disk();
    struct backend *backend;
    struct errbuf why = {0};
    struct backend_options options = {.env = &manual.env,
                                      .path = "snap/db",
                                      .batch_limit = 100,
                                      .reserve_bytes = (uint64_t)3 << 20};
    manual_env_init(&manual, disk);
    assert_int_equal(backend_open(&options, &backend, &why), ERR_OK);
    uint64_t last = fill(&manual, backend);
    struct outcome outcome = {0};
    backend_defrag(backend, note, &outcome);
    manual_settle(&manual);
    assert_int_equal(outcome.count, 1);
    assert_int_equal(outcome.err, ERR_OK);
    struct file_info info;
    assert_int_equal(disk_stat(disk, "snap/db", &info, NULL), ERR_OK);
    assert_true(info.size >= size_of(backend) + options.reserve_bytes);
    /* And it is used: a full disk does not stop the next commit. */
    sim_disk_set_capacity(disk, sim_disk_used(disk));
    write_entry(backend, last + 1);
    manual_settle(&manual);
    assert_int_not_equal(backend_space(backend), BACKEND_SPACE_OUT);
    backend_close(&backend);
    sim_disk_free(&disk);
}

/* Jobs run and end one by one, entries come between any two, and every read sees every row. */
TEST(backend_defrag, goes_on_while_rows_are_written_committed_and_read)
{
    for (unsigned pace = 1; pace <= 40; pace += 13) {
        struct manual_env manual;
        struct disk *disk = new_disk();
        struct backend *backend = open_db(&manual, disk);
        uint64_t last = fill(&manual, backend);
        struct outcome outcome = {0};
        struct backend_stats before;
        struct backend_stats after;
        backend_stats(backend, &before);
        backend_defrag(backend, note, &outcome);
        while (outcome.count == 0) {
            for (unsigned n = 0; n < pace; n++) {
                write_entry(backend, ++last);
            }
            backend_force_commit(backend, check_it, backend);
            manual_run(&manual);
            assert_rows(backend, last);
            write_entry(backend, ++last);
            manual_finish(&manual);
            assert_rows(backend, last);
            backend_check(backend);
        }
        assert_int_equal(outcome.err, ERR_OK);
        backend_stats(backend, &after);
        assert_true(after.commits > before.commits);
        manual_settle(&manual);
        assert_rows(backend, last);
        backend_close(&backend);
        backend = open_db(&manual, disk);
        assert_rows(backend, last);
        backend_close(&backend);
        sim_disk_free(&disk);
    }
}

TEST(backend_defrag, what_reads_the_old_file_reads_on)
{
    struct manual_env manual;
    struct disk *disk = new_disk();
    struct backend *backend = open_db(&manual, disk);
    uint64_t last = fill(&manual, backend);
    uint32_t hash = hash_of(backend);
    uint32_t again = 0;
    struct outcome outcome = {0};
    struct errbuf why = {0};
    struct backend_view *view = backend_view_begin(backend);
    struct bolt_tx *snapshot = backend_snapshot_begin(backend);
    backend_defrag(backend, note, &outcome);
    manual_settle(&manual);
    assert_int_equal(outcome.err, ERR_OK);
    write_entry(backend, ++last);
    manual_settle(&manual);
    assert_int_equal(backend_view_hash(view, &again, &why), ERR_OK);
    assert_int_equal(again, hash);
    assert_int_equal(bolt_check(snapshot, &why), ERR_OK);
    /* A second one, while the first file is still read. */
    backend_defrag(backend, note, &outcome);
    manual_settle(&manual);
    assert_int_equal(outcome.count, 2);
    assert_int_equal(bolt_check(snapshot, &why), ERR_OK);
    backend_view_end(&view);
    manual_settle(&manual);
    assert_int_equal(bolt_check(snapshot, &why), ERR_OK);
    backend_snapshot_end(backend, &snapshot);
    assert_true(manual_run(&manual)); /* now the old file is closed, off the loop */
    manual_settle(&manual);
    assert_rows(backend, last);
    backend_close(&backend);
    sim_disk_free(&disk);
}

TEST(backend_defrag, who_asks_during_one_gets_another)
{
    struct manual_env manual;
    struct disk *disk = new_disk();
    struct backend *backend = open_db(&manual, disk);
    struct outcome first = {0};
    struct outcome later = {0};
    uint64_t last = fill(&manual, backend);
    backend_defrag(backend, note, &first);
    backend_defrag(backend, note, &later);
    backend_defrag(backend, note, &later);
    while (first.count == 0) {
        assert_true(manual_run(&manual) || manual_finish(&manual));
    }
    assert_int_equal(later.count, 0);
    assert_true(backend_is_defragmenting(backend));
    manual_settle(&manual);
    assert_int_equal(later.count, 2);
    assert_int_equal(later.err, ERR_OK);
    assert_rows(backend, last);
    backend_close(&backend);
    sim_disk_free(&disk);
}

/* Canceled, or closed, before job number `steps`: the answer says so, and the old file is there. */
TEST(backend_defrag, is_given_up_at_any_step)
{
    unsigned done = 0;
    for (unsigned steps = 0; steps < 12; steps++) {
        for (int is_close = 0; is_close < 2; is_close++) {
            struct manual_env manual;
            struct disk *disk = new_disk();
            struct backend *backend = open_db(&manual, disk);
            struct outcome outcome = {0};
            uint64_t last = fill(&manual, backend);
            write_entry(backend, ++last);
            backend_force_commit(backend, check_it, backend);
            backend_defrag(backend, note, &outcome);
            backend_defrag(backend, note, &outcome);
            for (unsigned i = 0; i < steps; i++) {
                if (i % 2 == 0 ? !manual_run(&manual) : !manual_finish(&manual)) {
                    break;
                }
            }
            if (is_close == 0) {
                backend_defrag_cancel(backend, ERR_CLOSED, "enough");
                manual_settle(&manual);
                assert_false(backend_is_defragmenting(backend));
                assert_rows(backend, last);
                assert_int_equal(outcome.count, 2);
                assert_true(outcome.err == ERR_OK || outcome.err == ERR_CLOSED);
            }
            backend_close(&backend);
            assert_int_equal(outcome.count, 2);
            done += outcome.err == ERR_OK;
            assert_false(disk_exists(disk, "snap/db.tmp.defrag"));
            backend = open_db(&manual, disk);
            assert_rows(backend, last);
            backend_close(&backend);
            sim_disk_free(&disk);
        }
    }
    assert_true(done < 24);
}

/* ---- disks ------------------------------------------------------------------------------------
 */

#define CALLS_MAX 40 /* more than a defragmentation makes on the new file */

/* Every call on the new file fails once, in turn: the answer is an error (or, where the file could
 * do without, success), and the member goes on. Returns how many were errors. */
static unsigned fail_everywhere(enum err err, unsigned ops, const char *part)
{
    unsigned failed = 0;
    for (uint64_t nth = 1; nth <= CALLS_MAX; nth++) {
        struct manual_env manual;
        struct disk *disk = new_disk();
        struct backend *backend = open_db(&manual, disk);
        struct outcome outcome = {0};
        uint64_t last = fill(&manual, backend);
        sim_disk_fail(disk, ops, part, nth, 1, err);
        backend_defrag(backend, note, &outcome);
        manual_settle(&manual);
        sim_disk_heal(disk);
        assert_int_equal(outcome.count, 1);
        if (outcome.err != ERR_OK) {
            bool is_meta = err == ERR_NOSPACE && outcome.err == ERR_IO; /* nobody is to try again */
            assert_true(outcome.err == err || is_meta);
            assert_non_null(strstr(outcome.why, "snap"));
            assert_false(disk_exists(disk, "snap/db.tmp.defrag"));
            failed++;
        }
        write_entry(backend, ++last);
        manual_settle(&manual);
        assert_rows(backend, last);
        /* Once the disk is well, the next one succeeds. */
        backend_defrag(backend, note, &outcome);
        manual_settle(&manual);
        assert_int_equal(outcome.err, ERR_OK);
        backend_close(&backend);
        backend = open_db(&manual, disk);
        assert_rows(backend, last);
        backend_close(&backend);
        sim_disk_free(&disk);
    }
    assert_true(failed < CALLS_MAX);
    return failed;
}

TEST(backend_defrag, an_error_before_the_rename_leaves_the_old_file_in_service)
{
    /* An allocation that is refused once is asked for again, so that has a test of its own below.
     */
    assert_true(fail_everywhere(ERR_NOSPACE, SIM_OP_CREATE | SIM_OP_WRITE, "db.tmp") > 4);
    assert_true(fail_everywhere(ERR_IO, SIM_OPS_CHANGING, "db.tmp") > 8);
    assert_int_equal(fail_everywhere(ERR_PERM, SIM_OP_OPEN, "db.tmp"), 1);
}

TEST(backend_defrag, a_full_disk_is_an_answer_and_costs_nothing)
{
    struct manual_env manual;
    struct disk *disk = new_disk();
    struct backend *backend = open_db(&manual, disk);
    struct outcome outcome = {0};
    uint64_t last = fill(&manual, backend);
    uint64_t used = sim_disk_used(disk);
    sim_disk_set_capacity(disk, used + (16 << 10));
    backend_defrag(backend, note, &outcome);
    manual_settle(&manual);
    assert_int_equal(outcome.err, ERR_NOSPACE);
    assert_int_equal(disk_sync_dir(disk, "snap", NULL), ERR_OK);
    assert_int_equal(sim_disk_used(disk), used);
    sim_disk_set_capacity(disk, 0);
    assert_rows(backend, last);
    backend_close(&backend);
    sim_disk_free(&disk);
}

static void defrag_and_exit(uint64_t nth)
{
    struct manual_env manual;
    struct disk *disk = new_disk();
    struct backend *backend = open_db(&manual, disk);
    struct outcome outcome = {0};
    fill(&manual, backend);
    sim_disk_fail(disk, SIM_OP_SYNC_DIR, NULL, nth, 1, ERR_IO);
    backend_defrag(backend, note, &outcome);
    manual_settle(&manual);
    _exit(0);
}

TEST(backend_defrag, a_folder_that_cannot_be_synced_after_the_rename_ends_the_process)
{
    unsigned ended = 0;
    fflush(NULL);
    /* The new file's birth syncs the folder as well, and that is only an error. */
    for (uint64_t nth = 1; nth <= 4; nth++) {
        pid_t child = fork();
        if (child == 0) {
            (void)!freopen("/dev/null", "w", stderr);
            defrag_and_exit(nth);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        ended += WEXITSTATUS(status) != 0;
    }
    assert_int_equal(ended, 1);
}

/* ---- crashes ----------------------------------------------------------------------------------
 */

struct crash_watch {
    struct disk *disk;
    struct backend *backend;
    uint64_t durable; /* the last entry whose commit the loop has heard of */
    uint64_t last;    /* the last entry written */
    unsigned points;
    unsigned new_files; /* recoveries that found the new file under the name */
};

static void recover(struct crash_watch *watch, struct disk *left)
{
    struct manual_env manual;
    struct file_info info;
    struct errbuf why = {0};
    struct backend *backend = open_db(&manual, left);
    uint64_t index = backend_consistent_index(backend);
    assert_true(index >= watch->durable);
    assert_true(index <= watch->last);
    assert_rows(backend, index);
    assert_int_equal(disk_stat(left, "snap/db", &info, NULL), ERR_OK);
    struct bolt_tx *tx = backend_snapshot_begin(backend);
    if (bolt_check(tx, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    watch->new_files += bolt_tx_size(tx) < (100 << 12);
    backend_snapshot_end(backend, &tx);
    for (uint64_t i = 1; i <= 3; i++) {
        write_entry(backend, index + i);
    }
    backend_close(&backend);
    backend = open_db(&manual, left);
    assert_rows(backend, index + 3);
    backend_close(&backend);
}

static void on_op(enum sim_op op, const char *path, uint64_t number, void *ctx)
{
    struct crash_watch *watch = ctx;
    UNUSED(op);
    UNUSED(path);
    for (enum sim_crash policy = SIM_CRASH_LOSE; policy < SIM_CRASH_COUNT; policy++) {
        struct disk *left = sim_disk_clone(watch->disk);
        sim_disk_crash(left, policy, number);
        recover(watch, left);
        sim_disk_free(&left);
        watch->points++;
    }
}

struct promise {
    struct crash_watch *watch;
    uint64_t entry;
};

static void heard(void *ctx)
{
    struct promise *promise = ctx;
    promise->watch->durable = promise->entry;
    mem_free(promise);
}

static void write_promised(struct crash_watch *watch)
{
    struct promise *promise = NEW(struct promise);
    write_entry(watch->backend, ++watch->last);
    promise->watch = watch;
    promise->entry = watch->last;
    backend_force_commit(watch->backend, heard, promise);
}

TEST(backend_defrag, a_crash_at_any_operation_leaves_one_of_the_two_files_whole)
{
    struct manual_env manual;
    struct disk *disk = new_disk();
    struct backend *backend = open_db(&manual, disk);
    struct outcome outcome = {0};
    uint64_t last = fill(&manual, backend);
    struct crash_watch watch = {.disk = disk, .backend = backend, .durable = last, .last = last};
    sim_disk_on_op(disk, on_op, &watch);
    backend_defrag(backend, note, &outcome);
    while (outcome.count == 0) {
        write_promised(&watch);
        manual_run(&manual);
        manual_finish(&manual);
    }
    write_promised(&watch);
    manual_settle(&manual);
    assert_int_equal(outcome.err, ERR_OK);
    assert_int_equal(watch.durable, watch.last);
    sim_disk_on_op(disk, NULL, NULL);
    assert_true(watch.points > 100);
    assert_true(watch.new_files > 10);
    assert_true(watch.new_files < watch.points);
    assert_rows(backend, watch.last);
    backend_close(&backend);
    sim_disk_free(&disk);
}
