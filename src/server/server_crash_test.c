/* Power cuts and kills at every operation of the simulated disk, under a mixed workload with small
 * segments, a snapshot every few entries, compactions and purges. Whatever the moment and whatever
 * the disk lost: the member starts again, holds exactly the state of one revision, at or above
 * every acknowledged one, and goes on from there; also when the power goes a second time while it
 * starts, and when only the process dies at first, so that it starts on what may still be lost.
 *
 * ETCDC_LONG=1 (make test-long) tries every policy at every moment and more seeds. */
#include "server/server_run.h"

#include <stdlib.h>

#define KEYS 5
#define WRITES 60
#define BATCH 6 /* writes submitted together, the last of them beyond WRITES */
#define SEGMENT_BYTES ((uint64_t)2048)

/* A write takes exactly one revision: writes are numbered by the one they make. */
struct model {
    int64_t value[KEYS]; /* the revision that wrote it; 0: not there */
};

struct crash {
    struct world world;
    struct config *config;
    struct model at[WRITES + BATCH + 9]; /* by revision; the last round may go over */
    int64_t submitted;                   /* the newest revision asked for */
    int64_t acknowledged;                /* the newest revision a reply has promised */
    int64_t compacted;                   /* the newest compaction asked for */
    int64_t compact_acknowledged;
    uint64_t seed;
    struct sim_rng rng;
    bool is_long;
    unsigned moments;    /* operations at which it was cut */
    unsigned recoveries; /* starts on what was left */
    unsigned half_done;  /* moments in the middle of an entry */
    unsigned half_txns;  /* of a Txn's */
};

static bool wants_all(void)
{
    const char *asked = getenv("ETCDC_LONG");
    return asked != NULL && asked[0] != '\0' && asked[0] != '0';
}

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

/* Starts on what is left. The state is that of one revision between what was promised and what was
 * asked for; `above` are writes of key "after" beyond `base`, if that was reached. */
static int64_t open_and_check(struct crash *c, struct world *w, struct disk *disk, int64_t base,
                              int64_t above)
{
    world_open_small(w, c->config, disk, SEGMENT_BYTES);
    c->recoveries++;
    int64_t revision = mvcc_revision(w->server->mvcc);
    assert_true(revision >= c->acknowledged);
    assert_true(revision <= base + above);
    assert_true(mvcc_compact_revision(w->server->mvcc) >= c->compact_acknowledged);
    assert_true(mvcc_compact_revision(w->server->mvcc) <= c->compacted);
    assert_state(w, &c->at[revision < base ? revision : base]);
    assert_string_equal(world_get(w, "after", false), revision > base ? "1" : "");
    world_check(w);
    return revision;
}

/* The disk at one operation of a start, kept to be looked at when the start is known to be right.
 */
struct second {
    struct disk *disk;
    uint64_t at; /* the operation, counted from the start of the process */
    uint64_t count;
    struct disk *found;
};

static void on_second_op(enum sim_op op, const char *path, uint64_t number, void *ctx)
{
    struct second *second = ctx;
    UNUSED(op);
    UNUSED(path);
    UNUSED(number);
    if (++second->count == second->at) {
        second->found = sim_disk_clone(second->disk);
    }
}

/* A second cut, while the first one was being recovered from. Nothing but what was promised before
 * the first need be there, and nothing that was not asked for may. */
static void recover_from_second(struct crash *c, struct second *second, int64_t base,
                                enum sim_crash policy)
{
    struct world w;
    if (second->found == NULL) {
        return; /* it did not come so far */
    }
    sim_disk_crash(second->found, policy, c->seed + second->at);
    int64_t revision = open_and_check(c, &w, second->found, base, 1);
    call_end(&w, call_submit(&w, call_put("last", "1")), STATUS_OK);
    assert_int_equal(mvcc_revision(w.server->mvcc), revision + 1);
    world_close(&w);
    sim_disk_free(&second->found);
}

/* It starts, goes on, and what it then promises survives a cut; a clean start finds it all. */
static void recover_and_check(struct crash *c, struct disk *disk, uint64_t number)
{
    struct world w;
    struct world cut;
    struct second second = {.disk = disk, .at = 1 + (number + c->seed) % 23};
    sim_disk_on_op(disk, on_second_op, &second);
    int64_t revision = open_and_check(c, &w, disk, c->submitted, 0);
    call_end(&w, call_submit(&w, call_put("after", "1")), STATUS_OK);
    sim_disk_on_op(disk, NULL, NULL);
    assert_int_equal(mvcc_revision(w.server->mvcc), revision + 1);
    uint32_t hash = world_hash(&w);
    enum sim_crash policy =
        (enum sim_crash)((number / SIM_CRASH_COUNT + c->seed) % SIM_CRASH_COUNT);
    struct disk *left = sim_disk_clone(disk);
    sim_disk_crash(left, policy, number);
    assert_int_equal(open_and_check(c, &cut, left, revision, 1), revision + 1);
    assert_int_equal(world_hash(&cut), hash);
    world_close(&cut);
    sim_disk_free(&left);
    world_restart(&w);
    c->recoveries++;
    assert_int_equal(mvcc_revision(w.server->mvcc), revision + 1);
    assert_int_equal(world_hash(&w), hash);
    world_close(&w);
    recover_from_second(c, &second, revision, policy);
    sim_disk_free(&disk);
}

/* SIM_CRASH_COUNT stands for a kill: nothing is lost, and nothing more is durable than it was. */
static void try_moment(struct crash *c, uint64_t number, unsigned policy)
{
    struct disk *victim = sim_disk_clone(c->world.disk);
    if (policy == SIM_CRASH_COUNT) {
        sim_disk_kill(victim);
    } else {
        sim_disk_crash(victim, (enum sim_crash)policy, c->seed * 1000003 + number);
    }
    recover_and_check(c, victim, number);
}

static void on_op(enum sim_op op, const char *path, uint64_t number, void *ctx)
{
    struct crash *c = ctx;
    UNUSED(op);
    UNUSED(path);
    /* In the short form one policy a moment, and a kill at every second. */
    for (unsigned policy = 0; policy <= SIM_CRASH_COUNT; policy++) {
        bool is_its_turn = policy == SIM_CRASH_COUNT
                               ? (number + c->seed) % 2 == 0
                               : (number + c->seed) % SIM_CRASH_COUNT == policy;
        if (c->is_long || is_its_turn) {
            try_moment(c, number, policy);
        }
    }
    c->moments++;
    if (c->world.server != NULL && c->world.server->entry.is_on) {
        c->half_done++;
        c->half_txns += c->world.server->entry.kind == REQUEST_TXN;
    }
}

static uint64_t rnd(struct crash *c, uint64_t below)
{
    return sim_rng_below(&c->rng, below);
}

/* One key is put, all are deleted, and one is put again: in a transaction in the transaction. */
static struct call *make_nested(int64_t revision, struct model *next, unsigned k)
{
    char value[16];
    char name[8];
    char other[8];
    Etcdserverpb__PutRequest put[2] = {ETCDSERVERPB__PUT_REQUEST__INIT,
                                       ETCDSERVERPB__PUT_REQUEST__INIT};
    Etcdserverpb__DeleteRangeRequest del = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RequestOp ops[5];
    Etcdserverpb__RequestOp *inner[4] = {&ops[0], &ops[1], &ops[2], &ops[3]};
    Etcdserverpb__RequestOp *outer[1] = {&ops[4]};
    Etcdserverpb__TxnRequest nested = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    snprintf(value, sizeof(value), "%lld", (long long)revision);
    snprintf(name, sizeof(name), "%s", key_name(k));
    snprintf(other, sizeof(other), "%s", key_name((k + 2) % KEYS));
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        ops[i] = (Etcdserverpb__RequestOp)ETCDSERVERPB__REQUEST_OP__INIT;
    }
    put[0].key = pb_binary(slice_str(other));
    put[1].key = pb_binary(slice_str(name));
    put[0].value = put[1].value = pb_binary(slice_str(value));
    del.key = range.key = pb_binary(SLICE("k"));
    del.range_end = range.range_end = pb_binary(SLICE("l"));
    ops[0].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    ops[0].request_put = &put[0];
    ops[1].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    ops[1].request_delete_range = &del;
    ops[2].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    ops[2].request_put = &put[1];
    ops[3].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    ops[3].request_range = &range;
    nested.success = inner;
    nested.n_success = ARRAY_LEN(inner);
    ops[4].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
    ops[4].request_txn = &nested;
    txn.success = outer;
    txn.n_success = ARRAY_LEN(outer);
    memset(next->value, 0, sizeof(next->value));
    next->value[k] = revision;
    return call_new(REQUEST_TXN, &txn.base);
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
    if (kind == 5) {
        return make_nested(revision, next, k);
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
        for (unsigned i = 0; i < 20 && !c->world.server->entry.is_on; i++) {
            loop_turn(c->world.loop, false);
        }
        while (c->world.server->entry.is_on) {
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
        if (rnd(c, 5) == 0) { /* old segments and snapshot files go */
            sim_env_advance(c->world.env, SERVER_PURGE_NS);
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
    c.config = world_config("7");
    c.config->max_wals = 1;
    c.config->max_snapshots = 1;
    c.compact_acknowledged = -1;
    c.is_long = wants_all();
    sim_rng_init(&c.rng, seed);
    world_open_small(&c.world, c.config, sim_disk_new(), SEGMENT_BYTES);
    if (apply_units > 0) {
        c.world.server->per_turn.apply = apply_units;
    }
    sim_disk_on_op(c.world.disk, on_op, &c);
    workload(&c);
    assert_true(apply_units == 0 || c.half_done > c.half_txns);
    assert_true(apply_units == 0 || c.half_txns > 0);
    struct raft_status raft;
    raft_status(node_raft(c.world.server->node), &raft);
    assert_true(raft.snapshot_index > 20); /* snapshots were made meanwhile */
    assert_true(raft.first_index > 10);    /* and the log was shortened */
    struct wal_stats log;
    wal_stats(node_wal(c.world.server->node), &log);
    assert_true(log.cuts > 1);
    struct buf path = {0};
    buf_printf(&path, "%s/%s", config_wal_dir(c.config), "0000000000000000-0000000000000000.wal");
    assert_false(disk_exists(c.world.disk, buf_cstr(&path))); /* purged */
    buf_fini(&path);
    assert_state(&c.world, &c.at[c.submitted]);
    world_check(&c.world);
    world_close(&c.world);
    assert_true(c.moments > 100);
    print_message("# seed %llu: %u moments, %u recoveries, %llu segments cut\n",
                  (unsigned long long)seed, c.moments, c.recoveries, (unsigned long long)log.cuts);
    sim_disk_on_op(c.world.disk, NULL, NULL);
    sim_disk_free(&c.world.disk);
    config_free(&c.config);
}

TEST(server_crash, every_acknowledged_write_is_there_after_a_power_cut_or_a_kill)
{
    run(1, 0);
}

TEST(server_crash, with_other_seeds_too)
{
    run(2, 0);
    run(3, 0);
    for (uint64_t seed = 4; wants_all() && seed <= 10; seed++) {
        run(seed, 0);
    }
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
