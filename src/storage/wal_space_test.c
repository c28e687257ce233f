/* A log on a disk that becomes full: it says so in time, writes on into what was made in advance,
 * and goes on by itself when there is room again. */
#include "unit.h"

#include "base/mem.h"
#include "env/loop.h"
#include "env/sim.h"
#include "storage/wal_priv.h"

#define SEGMENT_BYTES ((uint64_t)65536)
#define ENTRY_BYTES 4000

struct space_world {
    struct disk *disk;
    struct env *env;
    struct loop *loop;
    struct wal *wal;
    raft_index last;
    enum wal_space space;
    unsigned told;
    bool is_done;
};

static void on_space(enum wal_space space, void *ctx)
{
    struct space_world *w = ctx;
    assert_true(space != w->space);
    w->space = space;
    w->told++;
}

static struct wal_contents open_log(struct space_world *w)
{
    struct errbuf why = {""};
    struct wal_contents contents;
    struct wal_config config = {.env = w->env,
                                .dir = "/wal",
                                .segment_bytes = SEGMENT_BYTES,
                                .space_changed = on_space,
                                .ctx = w};
    if (wal_open(&config, (struct wal_position){0}, &w->wal, &contents, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    return contents;
}

static void setup(struct space_world *w)
{
    *w = (struct space_world){.disk = sim_disk_new()};
    w->env = sim_env_new(1, w->disk);
    w->loop = loop_new(w->env);
    assert_int_equal(wal_create(w->disk, "/wal", SLICE("\x08\x01\x10\x02"), SEGMENT_BYTES, NULL),
                     ERR_OK);
    struct wal_contents contents = open_log(w);
    wal_contents_fini(&contents);
}

static void close_env(struct space_world *w)
{
    wal_close(&w->wal);
    loop_free(&w->loop);
    sim_env_free(&w->env);
}

static void teardown(struct space_world *w)
{
    close_env(w);
    sim_disk_free(&w->disk);
}

static void set_done(struct wal_write *write)
{
    UNUSED(write);
}

static void turn(struct space_world *w)
{
    for (unsigned i = 0; i < 10; i++) {
        sim_env_advance(w->env, NS_PER_MS);
        loop_turn(w->loop, false);
    }
}

/* One entry, durable; and what that sets off. */
static void append(struct space_world *w)
{
    struct raft_payload *payload = raft_payload_new(ENTRY_BYTES);
    w->last++;
    memset(payload->bytes, (int)(w->last & 0xff), ENTRY_BYTES);
    struct raft_entry entry = {.index = w->last, .term = 1, .payload = payload};
    struct wal_write write = {.entries = &entry,
                              .entry_count = 1,
                              .has_hard_state = true,
                              .hard_state = {.term = 1, .vote = 1, .commit = w->last},
                              .must_sync = true,
                              .done = set_done};
    wal_append(w->wal, &write);
    while (!wal_is_idle(w->wal)) {
        loop_turn(w->loop, true);
    }
    turn(w);
    wal_check(w->wal);
    raft_payload_unref(&payload);
}

static void check_entries(const struct space_world *w, const struct wal_contents *contents)
{
    assert_int_equal(contents->entry_count, w->last);
    for (size_t i = 0; i < contents->entry_count; i++) {
        struct slice data = raft_payload_slice(contents->entries[i].payload);
        assert_int_equal(data.len, ENTRY_BYTES);
        assert_int_equal(data.data[0], (i + 1) & 0xff);
        assert_int_equal(data.data[data.len - 1], (i + 1) & 0xff);
    }
}

/* What a power cut leaves, opened on a disk that is as full as before, but for `room` bytes. */
static void recovers_with(const struct space_world *w, enum sim_crash policy, uint64_t room)
{
    struct space_world left = {.disk = sim_disk_clone(w->disk), .last = w->last};
    sim_disk_crash(left.disk, policy, w->last);
    sim_disk_set_capacity(left.disk, sim_disk_used(left.disk) + room);
    left.env = sim_env_new(1, left.disk);
    left.loop = loop_new(left.env);
    struct wal_contents contents = open_log(&left);
    check_entries(&left, &contents);
    wal_contents_fini(&contents);
    append(&left); /* a leader's first entry has room */
    teardown(&left);
}

static void recovers(const struct space_world *w, enum sim_crash policy)
{
    recovers_with(w, policy, 0);
}

static void count_tmp(const char *name, void *ctx)
{
    *(unsigned *)ctx += strstr(name, ".tmp") != NULL;
}

static unsigned tmp_files(struct space_world *w)
{
    unsigned count = 0;
    assert_int_equal(disk_list(w->disk, "/wal", count_tmp, &count, NULL), ERR_OK);
    return count;
}

TEST(wal_space, a_full_disk_is_told_while_half_a_segment_is_left_and_again_near_its_end)
{
    struct space_world w;
    setup(&w);
    sim_disk_set_capacity(w.disk, sim_disk_used(w.disk) + 1000);
    while (w.space == WAL_SPACE_OK) {
        append(&w);
        recovers(&w, (enum sim_crash)(w.last % SIM_CRASH_COUNT));
    }
    uint64_t offset = wal__tail_offset(w.wal);
    assert_int_equal(w.space, WAL_SPACE_LOW);
    assert_true(offset >= SEGMENT_BYTES / 2 && offset < SEGMENT_BYTES / 2 + 2 * ENTRY_BYTES);
    assert_int_equal(tmp_files(&w), 0); /* what was allocated in vain went back */
    while (w.space == WAL_SPACE_LOW) {
        append(&w);
        recovers(&w, (enum sim_crash)(w.last % SIM_CRASH_COUNT));
    }
    offset = wal__tail_offset(w.wal);
    assert_int_equal(w.space, WAL_SPACE_OUT);
    assert_true(offset > SEGMENT_BYTES * 7 / 8 && offset < SEGMENT_BYTES * 7 / 8 + 2 * ENTRY_BYTES);
    /* Asking again changes nothing while there is no room. */
    wal_retry(w.wal);
    turn(&w);
    assert_int_equal(w.told, 2);
    sim_disk_set_capacity(w.disk, 0);
    wal_retry(w.wal);
    turn(&w);
    assert_int_equal(w.space, WAL_SPACE_OK);
    for (unsigned i = 0; i < 40; i++) {
        append(&w);
    }
    struct wal_stats stats;
    wal_stats(w.wal, &stats);
    assert_int_equal(stats.cuts, 3);
    assert_int_equal(w.told, 3);
    recovers(&w, SIM_CRASH_LOSE);
    teardown(&w);
}

TEST(wal_space, without_room_for_the_next_segment_the_last_one_grows_and_is_cut_when_there_is)
{
    struct space_world w;
    setup(&w);
    sim_disk_set_capacity(w.disk, sim_disk_used(w.disk) + 5 * ENTRY_BYTES + 1000);
    for (unsigned i = 0; i < 20; i++) { /* 16 fit into the segment */
        append(&w);
        recovers_with(&w, (enum sim_crash)(i % SIM_CRASH_COUNT), i < 12 ? 0 : 2 * ENTRY_BYTES);
    }
    struct wal_stats stats;
    wal_stats(w.wal, &stats);
    assert_int_equal(stats.cuts, 0);
    assert_int_equal(w.space, WAL_SPACE_OUT);
    assert_true(wal__tail_offset(w.wal) > SEGMENT_BYTES + 3 * ENTRY_BYTES);
    sim_disk_set_capacity(w.disk, 0);
    wal_retry(w.wal);
    turn(&w);
    append(&w);
    wal_stats(w.wal, &stats);
    assert_int_equal(stats.cuts, 1);
    assert_int_equal(stats.cuts_unprepared, 0);
    assert_int_equal(w.space, WAL_SPACE_OK);
    append(&w);
    recovers(&w, SIM_CRASH_LOSE);
    teardown(&w);
}

/* A sector of a batch that was never acknowledged, far behind the last record. */
static void leave_stray_sector(struct space_world *w)
{
    struct file *file = NULL;
    char *path = wal__path("/wal", (struct wal__segment){0});
    assert_int_equal(disk_open(w->disk, path, FILE_READ | FILE_WRITE, &file, NULL), ERR_OK);
    assert_int_equal(file_pwrite(file, "stray", 5, SEGMENT_BYTES - 1000, NULL), ERR_OK);
    assert_int_equal(file_sync(file, NULL), ERR_OK);
    file_close(&file);
    mem_free(path);
}

/* While the log is opened such an end is cut off and allocated again; somebody may be faster. */
static void take_space(enum sim_op op, const char *path, uint64_t number, void *ctx)
{
    struct space_world *w = ctx;
    UNUSED(path);
    UNUSED(number);
    if (op == SIM_OP_ALLOCATE) {
        sim_disk_set_capacity(w->disk, sim_disk_used(w->disk) + SEGMENT_BYTES / 8 + 100);
    }
}

TEST(wal_space, a_log_whose_space_was_taken_while_it_was_opened_begins_out_of_space)
{
    struct space_world w;
    setup(&w);
    for (unsigned i = 0; i < 4; i++) {
        append(&w);
    }
    wal_close(&w.wal);
    leave_stray_sector(&w);
    sim_disk_on_op(w.disk, take_space, &w);
    struct wal_contents contents = open_log(&w);
    sim_disk_on_op(w.disk, NULL, NULL);
    check_entries(&w, &contents);
    wal_contents_fini(&contents);
    append(&w);
    assert_int_equal(w.space, WAL_SPACE_OUT);
    sim_disk_set_capacity(w.disk, 0);
    wal_retry(w.wal);
    turn(&w);
    for (unsigned i = 0; i < 20; i++) {
        append(&w);
    }
    assert_int_equal(w.space, WAL_SPACE_OK);
    wal_close(&w.wal);
    contents = open_log(&w);
    check_entries(&w, &contents);
    wal_contents_fini(&contents);
    teardown(&w);
}

/* Segments made just in time, without helpers, are tried again no sooner than after a second. */
TEST(wal_space, a_cut_that_found_no_room_is_tried_again_after_a_while)
{
    struct space_world w;
    setup(&w);
    struct executor *pool = w.env->pool;
    w.env->pool = NULL;
    sim_disk_set_capacity(w.disk, sim_disk_used(w.disk) + 10 * ENTRY_BYTES);
    for (unsigned i = 0; i < 17; i++) {
        append(&w);
    }
    assert_int_equal(w.space, WAL_SPACE_OUT);
    sim_disk_set_capacity(w.disk, 0);
    append(&w);
    struct wal_stats stats;
    wal_stats(w.wal, &stats);
    assert_int_equal(stats.cuts, 0);
    sim_env_advance(w.env, NS_PER_SEC);
    append(&w);
    wal_stats(w.wal, &stats);
    assert_int_equal(stats.cuts, 1);
    assert_int_equal(stats.cuts_unprepared, 1);
    assert_int_equal(w.space, WAL_SPACE_OK);
    recovers(&w, SIM_CRASH_LOSE);
    w.env->pool = pool;
    teardown(&w);
}
