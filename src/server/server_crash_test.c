/* Power cuts at every operation of the simulated disk, under a mixed workload with a snapshot every
 * few entries. Whatever the moment and whatever the disk lost: the member starts again, holds
 * exactly the state of one revision, at or above every acknowledged one, and goes on from there. */
#include "server/server_run.h"

#define KEYS 5
#define WRITES 60
#define BATCH 6 /* writes submitted together, the last of them beyond WRITES */

/* A write takes exactly one revision: writes are numbered by the one they make. */
struct model {
    int64_t value[KEYS]; /* the revision that wrote it; 0: not there */
};

struct crash {
    struct world world;
    const struct config *config;
    struct model at[WRITES + BATCH + 1]; /* by revision */
    int64_t submitted;                   /* the newest revision asked for */
    int64_t acknowledged;                /* the newest revision a reply has promised */
    int64_t compacted;                   /* the newest compaction asked for */
    int64_t compact_acknowledged;
    uint64_t seed;
    struct sim_rng rng;
    unsigned recoveries;
    unsigned half_done; /* recoveries in the middle of an entry */
};

static const char *key_name(unsigned k)
{
    static char name[8];
    snprintf(name, sizeof(name), "k%u", k);
    return name;
}

static int64_t parse(const char *value)
{
    int64_t number = 0;
    if (value[0] == '\0') {
        return 0;
    }
    assert_int_equal(slice_to_i64(slice_str(value), &number), ERR_OK);
    return number;
}

static void assert_state(struct world *w, const struct model *want)
{
    for (unsigned k = 0; k < KEYS; k++) {
        assert_int_equal(parse(world_get(w, key_name(k), k % 2 == 0)), want->value[k]);
    }
}

static void recover_and_check(struct crash *c, struct disk *disk)
{
    struct world w;
    world_open(&w, c->config, disk);
    int64_t revision = mvcc_revision(w.server->mvcc);
    assert_true(revision >= c->acknowledged);
    assert_true(revision <= c->submitted);
    assert_true(mvcc_compact_revision(w.server->mvcc) >= c->compact_acknowledged);
    assert_true(mvcc_compact_revision(w.server->mvcc) <= c->compacted);
    assert_state(&w, &c->at[revision]);
    world_check(&w);
    /* It goes on, and a second start finds what the first one has made. */
    call_end(&w, call_submit(&w, call_put("after", "1")), STATUS_OK);
    assert_int_equal(mvcc_revision(w.server->mvcc), revision + 1);
    uint32_t hash = world_hash(&w);
    world_restart(&w);
    assert_int_equal(mvcc_revision(w.server->mvcc), revision + 1);
    assert_int_equal(world_hash(&w), hash);
    assert_state(&w, &c->at[revision]);
    world_close(&w);
    sim_disk_free(&disk);
}

static void on_op(enum sim_op op, const char *path, uint64_t number, void *ctx)
{
    struct crash *c = ctx;
    UNUSED(op);
    UNUSED(path);
    struct disk *victim = sim_disk_clone(c->world.disk);
    /* One policy a moment, so that a run stays short: other seeds have the others. */
    enum sim_crash policy = (enum sim_crash)((number + c->seed) % SIM_CRASH_COUNT);
    sim_disk_crash(victim, policy, c->seed * 1000003 + number);
    c->half_done += c->world.server != NULL && c->world.server->deleting.is_on;
    recover_and_check(c, victim);
    c->recoveries++;
}

static uint64_t rnd(struct crash *c, uint64_t below)
{
    return sim_rng_below(&c->rng, below);
}

/* Two puts and a delete in one revision, or a put of its key where there is nothing to delete. */
static struct call *make_txn(int64_t revision, struct model *next, unsigned k)
{
    char value[16];
    char names[2][8];
    unsigned other = (k + 1) % KEYS;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__DeleteRangeRequest del = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    Etcdserverpb__RequestOp ops[2] = {ETCDSERVERPB__REQUEST_OP__INIT,
                                      ETCDSERVERPB__REQUEST_OP__INIT};
    Etcdserverpb__RequestOp *list[2] = {&ops[0], &ops[1]};
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    snprintf(value, sizeof(value), "%lld", (long long)revision);
    snprintf(names[0], sizeof(names[0]), "%s", key_name(k));
    snprintf(names[1], sizeof(names[1]), "%s", key_name(other));
    put.key = pb_binary(slice_str(names[0]));
    put.value = pb_binary(slice_str(value));
    del.key = pb_binary(slice_str(names[1]));
    ops[0].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    ops[0].request_put = &put;
    ops[1].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    ops[1].request_delete_range = &del;
    txn.success = list;
    txn.n_success = 2;
    next->value[k] = revision;
    next->value[other] = 0;
    return call_new(REQUEST_TXN, &txn.base);
}

static struct call *make_write(struct crash *c)
{
    char value[16];
    int64_t revision = ++c->submitted;
    struct model *next = &c->at[revision];
    unsigned k = (unsigned)rnd(c, KEYS);
    *next = c->at[revision - 1];
    unsigned kind = (unsigned)rnd(c, 10);
    if (kind < 2 && next->value[k] != 0) {
        next->value[k] = 0;
        return call_delete(key_name(k));
    }
    if (kind < 4) {
        return make_txn(revision, next, k);
    }
    if (kind == 4 && next->value[k] != 0) {
        memset(next->value, 0, sizeof(next->value));
        return call_delete_range("k", "l", rnd(c, 2) == 0);
    }
    next->value[k] = revision;
    snprintf(value, sizeof(value), "%lld", (long long)revision);
    return call_put(key_name(k), value);
}

static void finish(struct crash *c, struct call **calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(call_wait(&c->world, calls[i]), STATUS_OK);
        call_free(calls[i]);
    }
    c->acknowledged = c->submitted;
    c->compact_acknowledged = c->compacted;
}

static void workload(struct crash *c)
{
    while (c->submitted < WRITES) {
        struct call *calls[8];
        size_t count = 1 + (size_t)rnd(c, BATCH);
        for (size_t i = 0; i < count; i++) {
            calls[i] = call_submit(&c->world, make_write(c));
            if (rnd(c, 3) == 0) {
                loop_turn(c->world.loop, false);
            }
        }
        for (unsigned i = 0; i < 20 && !c->world.server->deleting.is_on; i++) {
            loop_turn(c->world.loop, false);
        }
        while (c->world.server->deleting.is_on) {
            sim_env_advance(c->world.env, 150 * NS_PER_MS); /* the database would commit */
            loop_turn(c->world.loop, false);
        }
        int64_t compact = c->acknowledged - 5;
        if (rnd(c, 4) == 0 && compact > c->compacted) {
            c->compacted = compact;
            calls[count++] = call_submit(&c->world, call_compact(compact, rnd(c, 2) == 0));
        }
        finish(c, calls, count);
        if (rnd(c, 4) == 0) {
            sim_env_advance(c->world.env, 200 * NS_PER_MS); /* the database commits */
            loop_turn(c->world.loop, false);
            loop_turn(c->world.loop, true);
        }
    }
}

/* `apply_units` 0: what a turn has of itself; 1: every entry goes on for as many turns as it can.
 */
static void run(uint64_t seed, uint64_t apply_units)
{
    struct crash c = {.seed = seed, .submitted = 1, .acknowledged = 1, .compacted = -1};
    struct config *config = world_config("7");
    c.compact_acknowledged = -1;
    sim_rng_init(&c.rng, seed);
    c.config = config;
    world_open(&c.world, config, sim_disk_new());
    if (apply_units > 0) {
        c.world.server->per_turn.apply = apply_units;
    }
    sim_disk_on_op(c.world.disk, on_op, &c);
    workload(&c);
    assert_true(apply_units == 0 || c.half_done > 0);
    struct raft_status raft;
    raft_status(node_raft(c.world.server->node), &raft);
    assert_true(raft.snapshot_index > 20); /* snapshots were made meanwhile */
    assert_true(raft.first_index > 10);    /* and the log was shortened */
    assert_state(&c.world, &c.at[c.submitted]);
    world_check(&c.world);
    world_close(&c.world);
    assert_true(c.recoveries > 60);
    print_message("# %u recoveries\n", c.recoveries);
    sim_disk_on_op(c.world.disk, NULL, NULL);
    sim_disk_free(&c.world.disk);
    config_free(&config);
}

TEST(server_crash, every_acknowledged_write_is_there_after_a_power_cut)
{
    run(1, 0);
}

TEST(server_crash, with_other_seeds_too)
{
    run(2, 0);
    run(3, 0);
}

TEST(server_crash, in_the_middle_of_an_entry_that_spans_turns_too)
{
    run(4, 1);
    run(5, 1);
}

/* The first start: before there is anything to acknowledge. */
struct founded_run {
    struct disk *disk;
    const struct config *config;
    unsigned recoveries;
};

static void on_founding_op(enum sim_op op, const char *path, uint64_t number, void *ctx)
{
    struct founded_run *f = ctx;
    UNUSED(op);
    UNUSED(path);
    for (unsigned policy = 0; policy < SIM_CRASH_COUNT; policy++) {
        struct world w;
        struct disk *victim = sim_disk_clone(f->disk);
        sim_disk_crash(victim, (enum sim_crash)policy, number);
        world_open(&w, f->config, victim);
        assert_int_equal(member_set_count(server_members(w.server)), 1);
        assert_int_equal(mvcc_revision(w.server->mvcc), 1);
        call_end(&w, call_submit(&w, call_put("a", "1")), STATUS_OK);
        world_check(&w);
        world_close(&w);
        sim_disk_free(&victim);
        f->recoveries++;
    }
}

TEST(server_crash, a_founding_that_was_cut_short_is_taken_up_again)
{
    struct config *config = world_config("1000");
    struct world w;
    struct founded_run f = {.disk = sim_disk_new(), .config = config};
    sim_disk_on_op(f.disk, on_founding_op, &f);
    world_open(&w, config, f.disk);
    world_close(&w);
    assert_true(f.recoveries > 60);
    sim_disk_on_op(f.disk, NULL, NULL);
    sim_disk_free(&f.disk);
    config_free(&config);
}
