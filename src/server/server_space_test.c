/* A whole member on a simulated disk that becomes full while it runs: NOSPACE, puts refused, reads,
 * deletes, compaction and disarming done; and everything again, without a restart, when there is
 * room. A power cut at any moment of it loses nothing. */
#include "server/server_run.h"

#include <stdlib.h>

#define SEGMENT_BYTES ((uint64_t)256 << 10)

static struct config *config;

static void setup(struct world *w)
{
    config = world_config("1000000");
    world_open_small(w, config, sim_disk_new(), SEGMENT_BYTES);
}

static void teardown(struct world *w)
{
    world_check(w);
    world_close(w);
    sim_disk_free(&w->disk);
    config_free(&config);
}

static void pass(struct world *w, uint64_t ms)
{
    for (uint64_t at = 0; at < ms; at += 50) {
        sim_env_advance(w->env, 50 * NS_PER_MS);
        loop_turn(w->loop, false);
        loop_turn(w->loop, false);
    }
}

static struct call *call_put_large(const char *key, size_t len)
{
    char *value = mem_alloc(len + 1);
    memset(value, 'x', len);
    value[len] = '\0';
    struct call *call = call_put(key, value);
    mem_free(value);
    return call;
}

static enum status put_large(struct world *w, unsigned n, size_t len)
{
    char key[16];
    snprintf(key, sizeof(key), "k%u", n);
    struct call *call = call_submit(w, call_put_large(key, len));
    enum status status = call_wait(w, call);
    call_free(call);
    return status;
}

static bool has_alarm(struct world *w)
{
    uint64_t member;
    return server_alarm_count(w->server) == 1 &&
           server_alarm_at(w->server, 0, &member) == ALARM_NOSPACE &&
           member == server_member_id(w->server);
}

static void disarm(struct world *w)
{
    Etcdserverpb__AlarmRequest off = ETCDSERVERPB__ALARM_REQUEST__INIT;
    off.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE;
    off.memberid = server_member_id(w->server);
    off.alarm = ETCDSERVERPB__ALARM_TYPE__NOSPACE;
    call_end(w, call_submit(w, call_new(REQUEST_ALARM, &off.base)), STATUS_OK);
}

/* The member as a power cut would leave it now, on a disk as full as before: it starts, has the
 * alarm, and every key that it should have. */
static void recovers(struct world *w, unsigned puts, enum sim_crash policy)
{
    struct world left;
    struct disk *disk = sim_disk_clone(w->disk);
    sim_disk_crash(disk, policy, puts);
    sim_disk_set_capacity(disk, sim_disk_used(disk));
    world_open_small(&left, config, disk, SEGMENT_BYTES);
    assert_int_equal(mvcc_revision(left.server->mvcc), mvcc_revision(w->server->mvcc));
    assert_int_equal(world_hash(&left), world_hash(w));
    world_check(&left);
    world_close(&left);
    sim_disk_free(&disk);
}

/* Under the alarm, with the disk still full. */
static void frees_but_takes_not(struct world *w, unsigned puts)
{
    assert_true(has_alarm(w));
    call_end(w, call_submit(w, call_put("small", "1")), STATUS_NO_SPACE);
    assert_string_equal(world_get(w, "first", false), "1");
    assert_string_equal(world_get(w, "first", true), "1");
    call_end(w, call_submit(w, call_delete("k1")), STATUS_OK);
    int64_t revision = mvcc_revision(w->server->mvcc);
    call_end(w, call_submit(w, call_compact(revision, false)), STATUS_OK);
    pass(w, 300);
    recovers(w, puts, SIM_CRASH_LOSE);
    recovers(w, puts, SIM_CRASH_TEAR);
    /* Disarmed too early it comes back with the next put. */
    disarm(w);
    assert_int_equal(server_alarm_count(w->server), 0);
    call_end(w, call_submit(w, call_put("small", "1")), STATUS_NO_SPACE);
    pass(w, 100);
    assert_true(has_alarm(w));
}

static void goes_on(struct world *w)
{
    pass(w, 3000); /* looked for again every second */
    assert_true(has_alarm(w));
    call_end(w, call_submit(w, call_put("small", "1")), STATUS_NO_SPACE);
    disarm(w);
    call_end(w, call_submit(w, call_put("small", "1")), STATUS_OK);
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(put_large(w, i, 30000), STATUS_OK);
        pass(w, 50);
    }
    assert_int_equal(server_alarm_count(w->server), 0);
    uint32_t hash = world_hash(w);
    world_restart(w);
    assert_int_equal(world_hash(w), hash);
    assert_string_equal(world_get(w, "small", false), "1");
}

/* The log meets it first: there is no room for its next segment. */
TEST(server_space, no_room_for_the_log_raises_the_alarm_and_takes_no_more_puts)
{
    struct world w;
    unsigned puts = 0;
    setup(&w);
    call_end(&w, call_submit(&w, call_put("first", "1")), STATUS_OK);
    pass(&w, 200);
    sim_disk_set_capacity(w.disk, sim_disk_used(w.disk) + SEGMENT_BYTES / 2);
    while (put_large(&w, puts, 10000) == STATUS_OK) {
        puts++;
        assert_true(puts < 26); /* 256 KiB */
    }
    assert_true(puts >= 12); /* half of the segment was filled */
    pass(&w, 100);
    assert_int_equal(w.server->space.wal, WAL_SPACE_LOW);
    frees_but_takes_not(&w, puts);
    /* The rest of the segment goes to deletes, and then to nothing but alarms. */
    unsigned deletes = 0;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && deletes < 10000) {
        struct call *call = call_submit(&w, call_delete("none"));
        status = call_wait(&w, call);
        call_free(call);
        deletes++;
    }
    assert_int_equal(status, STATUS_NO_SPACE);
    assert_true(deletes > 300);
    assert_int_equal(w.server->space.wal, WAL_SPACE_OUT);
    call_end(&w, call_submit(&w, call_compact(3, false)), STATUS_NO_SPACE);
    assert_string_equal(world_get(&w, "first", false), "1");
    disarm(&w);
    recovers(&w, puts, SIM_CRASH_LOSE);
    call_end(&w, call_submit(&w, call_put("small", "1")), STATUS_NO_SPACE);
    sim_disk_set_capacity(w.disk, 0);
    goes_on(&w);
    teardown(&w);
}

/* The database meets it first: its reserve is used up, and then it cannot be written any more. */
TEST(server_space, no_room_for_the_database_raises_the_alarm_and_what_it_lacks_waits_in_memory)
{
    struct world w;
    unsigned puts = 0;
    setup(&w);
    call_end(&w, call_submit(&w, call_put("first", "1")), STATUS_OK);
    pass(&w, 200);
    /* Room for the log, but as soon as the database wants to grow there is none. */
    sim_disk_fail(w.disk, SIM_OP_ALLOCATE, "snap/db", 1, UINT64_MAX, ERR_NOSPACE);
    while (w.server->space.backend == BACKEND_SPACE_OK && puts < 3000) {
        assert_int_equal(put_large(&w, puts++ % 500, 60000), STATUS_OK);
        pass(&w, 100);
    }
    assert_int_equal(w.server->space.backend, BACKEND_SPACE_LOW);
    pass(&w, 100);
    assert_true(has_alarm(&w));
    frees_but_takes_not(&w, puts);
    sim_disk_set_capacity(w.disk, 0);
    sim_disk_heal(w.disk);
    goes_on(&w);
    teardown(&w);
}

TEST(server_space, a_database_that_cannot_grow_keeps_rows_in_memory_until_it_can)
{
    struct world w;
    setup(&w);
    call_end(&w, call_submit(&w, call_put("first", "1")), STATUS_OK);
    pass(&w, 200);
    sim_disk_fail(w.disk, SIM_OP_ALLOCATE, "snap/db", 1, UINT64_MAX, ERR_NOSPACE);
    /* More in one commit than reserve and step hold. */
    struct call *calls[25];
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%u", i);
        calls[i] = call_submit(&w, call_put_large(key, 1000000));
    }
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++) {
        call_end(&w, calls[i], STATUS_OK);
    }
    pass(&w, 300);
    assert_int_equal(w.server->space.backend, BACKEND_SPACE_OUT);
    assert_true(has_alarm(&w));
    call_end(&w, call_submit(&w, call_put("small", "1")), STATUS_NO_SPACE);
    assert_string_equal(world_get(&w, "first", false), "1");
    call_end(&w, call_submit(&w, call_delete("k1")), STATUS_OK);
    struct call *compaction = call_submit(&w, call_compact(5, true)); /* answered when on disk */
    pass(&w, 2500);
    assert_int_equal(compaction->done, 0);
    struct backend_stats stats;
    backend_stats(w.server->backend, &stats);
    assert_true(stats.pending_ops >= 26);
    recovers(&w, 25, SIM_CRASH_LOSE);
    sim_disk_heal(w.disk);
    pass(&w, 2500);
    call_end(&w, compaction, STATUS_OK);
    backend_stats(w.server->backend, &stats);
    assert_int_equal(stats.pending_ops, 0);
    goes_on(&w);
    teardown(&w);
}

/* A stop does not wait for space: the log has what the database lacks. */
TEST(server_space, a_member_without_space_stops_and_starts_again)
{
    struct world w;
    setup(&w);
    call_end(&w, call_submit(&w, call_put("first", "1")), STATUS_OK);
    pass(&w, 200);
    sim_disk_fail(w.disk, SIM_OP_ALLOCATE, "snap/db", 1, UINT64_MAX, ERR_NOSPACE);
    for (unsigned i = 0; i < 25; i++) {
        assert_int_equal(put_large(&w, i, 1000000), STATUS_OK);
    }
    struct call *compaction = call_submit(&w, call_compact(5, true));
    pass(&w, 300);
    assert_int_equal(w.server->space.backend, BACKEND_SPACE_OUT);
    uint32_t hash = world_hash(&w);
    world_stop(&w);
    call_end(&w, compaction, STATUS_STOPPED);
    world_free(&w);
    sim_disk_heal(w.disk);
    world_open_small(&w, config, w.disk, SEGMENT_BYTES);
    assert_int_equal(world_hash(&w), hash);
    pass(&w, 300);
    call_end(&w, call_submit(&w, call_put("small", "1")),
             STATUS_NO_SPACE); /* the alarm is durable */
    disarm(&w);
    call_end(&w, call_submit(&w, call_put("small", "1")), STATUS_OK);
    teardown(&w);
}

static void note_pinned(void *ctx, struct bolt_tx *tx)
{
    UNUSED(tx);
    ++*(unsigned *)ctx;
}

/* Whoever wants the database as a file waits for it to be whole; a stop does not wait for them. */
TEST(server_space, a_stop_does_not_wait_for_snapshots_that_wait_for_space)
{
    struct world w;
    unsigned pinned = 0;
    setup(&w);
    call_end(&w, call_submit(&w, call_put("first", "1")), STATUS_OK);
    pass(&w, 200);
    sim_disk_fail(w.disk, SIM_OP_ALLOCATE, "snap/db", 1, UINT64_MAX, ERR_NOSPACE);
    for (unsigned i = 0; i < 25; i++) {
        assert_int_equal(put_large(&w, i, 1000000), STATUS_OK);
    }
    pass(&w, 300);
    assert_int_equal(w.server->space.backend, BACKEND_SPACE_OUT);
    struct server_pin *left = server_pin_begin(w.server, note_pinned, &pinned);
    struct server_pin *held = server_pin_begin(w.server, note_pinned, &pinned);
    pass(&w, 100);
    assert_int_equal(pinned, 0);
    server_pin_end(&left); /* its client has gone */
    assert_null(left);
    world_stop(&w);
    server_pin_end(&held);
    assert_int_equal(pinned, 0);
    world_free(&w);
    sim_disk_heal(w.disk);
    world_open_small(&w, config, w.disk, SEGMENT_BYTES);
    left = server_pin_begin(w.server, note_pinned, &pinned);
    pass(&w, 300);
    assert_int_equal(pinned, 1);
    server_pin_end(&left);
    teardown(&w);
}

static struct call *call_defragment(void)
{
    Etcdserverpb__DefragmentRequest request = ETCDSERVERPB__DEFRAGMENT_REQUEST__INIT;
    struct call *call = call_new(REQUEST_DEFRAGMENT, &request.base);
    call->request.is_serializable = true;
    return call;
}

/* Writes until the log wants its next segment, for which there is no room `times` times, while the
 * database is being copied. Returns the copying's request. */
static struct call *fill_while_copying(struct world *w, uint64_t times)
{
    setup(w);
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(put_large(w, i, 1000000), STATUS_OK);
        pass(w, 200);
    }
    sim_disk_fail(w->disk, SIM_OP_ALLOCATE, "wal/", 1, times, ERR_NOSPACE);
    struct call *copying = NULL;
    sim_env_delay_jobs(w->env, 50 * NS_PER_MS); /* a slice of the copy a turn */
    for (unsigned i = 0; i < 60 && w->server->space.wal == WAL_SPACE_OK; i++) {
        if (!server_is_defragmenting(w->server)) {
            if (copying != NULL) {
                call_end(w, copying, STATUS_OK);
            }
            copying = call_submit(w, call_defragment());
        }
        assert_int_equal(put_large(w, i % 5, 30000), STATUS_OK);
    }
    assert_int_equal(w->server->space.wal, WAL_SPACE_LOW);
    assert_int_equal(copying->done, 0);
    return copying;
}

/* What the copy has taken of the disk comes back when it is given up. */
TEST(server_space, a_defragmentation_that_fills_the_disk_is_given_up_before_the_alarm_is_raised)
{
    struct world w;
    struct call *copying = fill_while_copying(&w, 1);
    assert_int_equal(put_large(&w, 0, 10000), STATUS_OK); /* out of what there is in advance */
    assert_int_equal(call_wait(&w, copying), STATUS_TOLD);
    assert_non_null(strstr(copying->request.text, "full"));
    call_free(copying);
    assert_false(server_is_defragmenting(w.server));
    pass(&w, 3000);
    assert_int_equal(w.server->space.wal, WAL_SPACE_OK);
    assert_int_equal(server_alarm_count(w.server), 0);
    assert_int_equal(put_large(&w, 0, 10000), STATUS_OK);
    call_end(&w, call_submit(&w, call_defragment()), STATUS_OK);
    teardown(&w);
}

TEST(server_space, a_disk_that_stays_full_after_a_defragmentation_was_given_up_has_its_alarm)
{
    struct world w;
    struct call *copying = fill_while_copying(&w, UINT64_MAX);
    assert_int_equal(call_wait(&w, copying), STATUS_TOLD);
    call_free(copying);
    pass(&w, 3000);
    assert_int_equal(w.server->space.wal, WAL_SPACE_LOW);
    assert_true(has_alarm(&w));
    call_end(&w, call_submit(&w, call_put("small", "1")), STATUS_NO_SPACE);
    disarm(&w);
    pass(&w, 3000);
    assert_int_equal(server_alarm_count(w.server), 0); /* with the next put, as ever */
    call_end(&w, call_submit(&w, call_put("small", "1")), STATUS_NO_SPACE);
    pass(&w, 100);
    assert_true(has_alarm(&w));
    sim_disk_heal(w.disk);
    pass(&w, 3000);
    disarm(&w);
    call_end(&w, call_submit(&w, call_put("small", "1")), STATUS_OK);
    teardown(&w);
}

/* Snapshots that do not fit are made later; the log is kept meanwhile. */
TEST(server_space, a_snapshot_that_does_not_fit_is_made_when_there_is_room)
{
    struct world w;
    config = world_config("10");
    world_open_small(&w, config, sim_disk_new(), SEGMENT_BYTES);
    call_end(&w, call_submit(&w, call_put("first", "1")), STATUS_OK);
    struct raft_status raft;
    raft_status(node_raft(w.server->node), &raft);
    raft_index before = raft.snapshot_index;
    sim_disk_fail(w.disk, SIM_OP_CREATE | SIM_OP_WRITE, "snap/tmp", 1, UINT64_MAX, ERR_NOSPACE);
    for (unsigned i = 0; i < 20 && !w.server->space.is_snapshot_short; i++) {
        call_end(&w, call_submit(&w, call_put("a", "1")), STATUS_OK);
        pass(&w, 300);
    }
    assert_true(w.server->space.is_snapshot_short);
    assert_true(has_alarm(&w));
    call_end(&w, call_submit(&w, call_put("a", "2")), STATUS_NO_SPACE);
    call_end(&w, call_submit(&w, call_delete("a")), STATUS_OK);
    pass(&w, 2500);
    raft_status(node_raft(w.server->node), &raft);
    assert_int_equal(raft.snapshot_index, before);
    recovers(&w, 1, SIM_CRASH_LOSE);
    sim_disk_heal(w.disk);
    pass(&w, 2500);
    assert_false(w.server->space.is_snapshot_short);
    raft_status(node_raft(w.server->node), &raft);
    assert_true(raft.snapshot_index > before);
    goes_on(&w);
    teardown(&w);
}
