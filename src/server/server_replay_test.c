/* One log over every database of its past. A database is as old as its last commit, and what it
 * lacks is applied again from the log, whatever it is: puts, deletes, transactions, compactions,
 * alarms, members. The same state comes out every time, and nothing is done twice. (etcd issues
 * 13514, 13654, 13766.) */
#include "server/server_run.h"

#define COPIES_MAX 64
#define STEPS 60

struct replay {
    struct world world;
    struct config *config;
    struct buf copies[COPIES_MAX]; /* of the database's file, oldest first */
    size_t copy_count;
};

/* What a member has come to. */
struct outcome {
    uint32_t hash;
    int64_t revision;
    int64_t compacted;
    size_t alarms;
    size_t members;
    uint64_t applied;
};

static struct outcome outcome_of(struct world *w)
{
    return (struct outcome){
        .hash = world_hash(w),
        .revision = mvcc_revision(w->server->mvcc),
        .compacted = mvcc_compact_revision(w->server->mvcc),
        .alarms = server_alarm_count(w->server),
        .members = member_set_count(server_members(w->server)),
        .applied = w->server->applied,
    };
}

static void keep_copy(struct replay *r)
{
    struct buf now = {0};
    const char *path = config_backend_path(r->config);
    assert_int_equal(disk_read_file(r->world.disk, path, (size_t)1 << 30, &now, NULL), ERR_OK);
    if (r->copy_count > 0 && slice_eq(buf_slice(&now), buf_slice(&r->copies[r->copy_count - 1]))) {
        buf_fini(&now);
        return;
    }
    assert_true(r->copy_count < COPIES_MAX);
    r->copies[r->copy_count++] = now;
}

static struct call *call_alarm(struct world *w, bool on)
{
    Etcdserverpb__AlarmRequest request = ETCDSERVERPB__ALARM_REQUEST__INIT;
    request.action = on ? ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE
                        : ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE;
    request.memberid = server_member_id(w->server);
    request.alarm = ETCDSERVERPB__ALARM_TYPE__NOSPACE;
    return call_new(REQUEST_ALARM, &request.base);
}

/* Puts `a` and deletes `b` in one revision. */
static struct call *call_swap(const char *a, const char *b)
{
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__DeleteRangeRequest del = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    Etcdserverpb__RequestOp ops[2] = {ETCDSERVERPB__REQUEST_OP__INIT,
                                      ETCDSERVERPB__REQUEST_OP__INIT};
    Etcdserverpb__RequestOp *list[2] = {&ops[0], &ops[1]};
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    put.key = pb_binary(slice_str(a));
    put.value = pb_binary(slice_str("swapped"));
    del.key = pb_binary(slice_str(b));
    ops[0].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    ops[0].request_put = &put;
    ops[1].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    ops[1].request_delete_range = &del;
    txn.success = list;
    txn.n_success = 2;
    return call_new(REQUEST_TXN, &txn.base);
}

static void step(struct replay *r, unsigned n)
{
    struct world *w = &r->world;
    char key[16];
    char other[16];
    snprintf(key, sizeof(key), "k%u", n % 7);
    snprintf(other, sizeof(other), "k%u", (n + 3) % 7);
    switch (n % 10) {
    case 4:
        call_end(w, call_submit(w, call_delete(key)), STATUS_OK);
        break;
    case 6:
        call_end(w, call_submit(w, call_swap(key, other)), STATUS_OK);
        break;
    case 8:
        call_end(w, call_submit(w, call_alarm(w, true)), STATUS_OK);
        call_end(w, call_submit(w, call_put(key, "refused")), STATUS_NO_SPACE); /* an entry, too */
        break;
    case 9:
        call_end(w, call_submit(w, call_alarm(w, false)), STATUS_OK);
        call_end(w, call_submit(w, call_compact(mvcc_revision(w->server->mvcc) - 2, n % 20 == 9)),
                 STATUS_OK);
        break;
    default:
        call_end(w, call_submit(w, call_put(key, "value")), STATUS_OK);
        break;
    }
    if (n % 2 == 0) {
        sim_env_advance(w->env, 150 * NS_PER_MS); /* the database commits */
        loop_turn(w->loop, false);
        loop_turn(w->loop, true);
    }
    keep_copy(r);
}

TEST(server_replay, a_log_over_any_database_of_its_past_gives_the_same_state)
{
    struct replay r = {.config = world_config("1000000")};
    unsigned behind = 0;
    world_open(&r.world, r.config, sim_disk_new());
    keep_copy(&r);
    for (unsigned n = 0; n < STEPS; n++) {
        step(&r, n);
    }
    call_end(&r.world, call_submit(&r.world, call_alarm(&r.world, true)), STATUS_OK);
    struct outcome want = outcome_of(&r.world);
    assert_int_equal(want.alarms, 1);
    world_close(&r.world);
    assert_true(r.copy_count > 20);
    for (size_t i = 0; i < r.copy_count; i++) {
        struct world w;
        struct disk *disk = sim_disk_clone(r.world.disk);
        assert_int_equal(
            disk_write_file(disk, config_backend_path(r.config), buf_slice(&r.copies[i]), NULL),
            ERR_OK);
        world_start(&w, r.config, disk);
        behind += backend_consistent_index(w.server->backend) + 10 < want.applied;
        world_wait_ready(&w);
        struct outcome got = outcome_of(&w);
        assert_int_equal(got.revision, want.revision);
        assert_int_equal(got.hash, want.hash);
        assert_int_equal(got.compacted, want.compacted);
        assert_int_equal(got.alarms, want.alarms);
        assert_int_equal(got.members, want.members);
        world_check(&w);
        world_close(&w);
        sim_disk_free(&disk);
        buf_fini(&r.copies[i]);
    }
    assert_true(behind > 10);
    print_message("# %zu databases, %u of them more than 10 entries behind\n", r.copy_count,
                  behind);
    sim_disk_free(&r.world.disk);
    config_free(&r.config);
}
