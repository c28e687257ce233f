/* Power cuts at every operation of the simulated disk: what the file then holds is exactly what the
 * entries up to its consistent index made, that index covers all that was reported as committed,
 * and the revision has not gone back. */
#include "state/mvcc.h"

#include "base/mem.h"
#include "storage/manual_env.h"
#include "unit.h"

#include <stdio.h>

#define KEYS 6
#define ENTRIES 100

/* What the store holds after an entry. */
struct snapshot {
    int64_t revision;
    int64_t compact;
    int64_t mod[KEYS]; /* 0: not there */
};

struct world {
    struct disk *disk;
    struct manual_env manual;
    struct backend *backend;
    struct mvcc *store;
    struct snapshot after[ENTRIES + 1]; /* by index */
    uint64_t index;
    uint64_t asked;     /* the index that the commit in flight was asked to cover */
    uint64_t committed; /* reported as committed */
    uint64_t recoveries;
    uint64_t seed;
};

static struct slice nth_key(char text[8], unsigned k)
{
    int len = snprintf(text, 8, "key%u", k);
    return slice_of(text, (size_t)len);
}

static void open_on(struct world *world, struct disk *disk)
{
    struct errbuf why = {.text = ""};
    world->disk = disk;
    manual_env_init(&world->manual, disk);
    struct backend_options backend = {.env = &world->manual.env, .path = "/db", .batch_limit = 30};
    if (backend_open(&backend, &world->backend, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    struct mvcc_options mvcc = {.backend = world->backend, .compact_batch_limit = 3};
    if (mvcc_open(&mvcc, &world->store, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
}

static void close_world(struct world *world)
{
    mvcc_close(&world->store);
    backend_close(&world->backend);
    sim_disk_free(&world->disk);
}

static void recover_and_check(const struct world *before, struct disk *disk)
{
    struct world after = {0};
    struct key_version version;
    char text[8];
    open_on(&after, disk);
    uint64_t index = backend_consistent_index(after.backend);
    assert_true(index >= before->committed);
    assert_true(index <= before->index);
    const struct snapshot *want = &before->after[index];
    assert_int_equal(mvcc_revision(after.store), want->revision);
    assert_int_equal(mvcc_compact_revision(after.store), want->compact);
    for (unsigned k = 0; k < KEYS; k++) {
        bool is_there = mvcc_get_version(after.store, nth_key(text, k), &version);
        assert_int_equal(is_there ? version.mod.main : 0, want->mod[k]);
    }
    mvcc_check(after.store);
    while (mvcc_compact_step(after.store) >= 0) {
    }
    mvcc_check(after.store);
    assert_int_equal(mvcc_revision(after.store), want->revision);
    close_world(&after);
}

/* Before an operation of the disk takes effect: what if the power went now? */
static void on_op(enum sim_op op, const char *path, uint64_t number, void *ctx)
{
    struct world *world = ctx;
    UNUSED(op);
    UNUSED(path);
    for (unsigned policy = 0; policy < SIM_CRASH_COUNT; policy++) {
        struct disk *victim = sim_disk_clone(world->disk);
        sim_disk_crash(victim, (enum sim_crash)policy, world->seed + number * 7 + policy);
        recover_and_check(world, victim);
        world->recoveries++;
    }
}

static void committed(void *ctx)
{
    struct world *world = ctx;
    world->committed = world->asked;
}

static void note_state(struct world *world)
{
    struct snapshot *now = &world->after[world->index];
    struct key_version version;
    char text[8];
    now->revision = mvcc_revision(world->store);
    now->compact = mvcc_compact_revision(world->store);
    for (unsigned k = 0; k < KEYS; k++) {
        bool is_there = mvcc_get_version(world->store, nth_key(text, k), &version);
        now->mod[k] = is_there ? version.mod.main : 0;
    }
}

static unsigned rnd(struct world *world, unsigned below)
{
    world->seed = world->seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(world->seed >> 33) % below;
}

static void apply_entry(struct world *world)
{
    char text[8];
    char other[8];
    backend_begin(world->backend);
    if (world->index % 10 == 9) {
        (void)!mvcc_compact(world->store, mvcc_revision(world->store) - (int64_t)rnd(world, 3));
    } else {
        mvcc_begin(world->store);
        for (unsigned i = 0; i < 3; i++) {
            mvcc_put(world->store, nth_key(text, rnd(world, KEYS)), SLICE("value"), 0);
        }
        if (rnd(world, 3) == 0) {
            struct key_range range =
                key_range_of(nth_key(text, rnd(world, KEYS)), nth_key(other, rnd(world, KEYS)));
            mvcc_delete(world->store, &range);
        }
        mvcc_end(world->store);
    }
    world->index++;
    note_state(world); /* before the disk may hear of it */
    backend_end(world->backend, world->index, 1);
}

static void run(uint64_t seed)
{
    struct world *world = NEW(struct world);
    world->seed = seed;
    open_on(world, sim_disk_new());
    assert_int_equal(disk_sync_dir(world->disk, "/", NULL), ERR_OK);
    note_state(world);
    sim_disk_on_op(world->disk, on_op, world);
    while (world->index < ENTRIES) {
        apply_entry(world);
        (void)mvcc_compact_step(world->store);
        if (world->asked == world->committed && rnd(world, 6) == 0) {
            world->asked = world->index;
            backend_force_commit(world->backend, committed, world);
        }
        if (rnd(world, 2) == 0) {
            manual_run(&world->manual);
        }
        if (rnd(world, 2) == 0) {
            manual_finish(&world->manual);
        }
    }
    assert_true(world->recoveries > 100);
    sim_disk_on_op(world->disk, NULL, NULL);
    close_world(world);
    mem_free(world);
}

TEST(mvcc_crash, power_cuts_at_any_operation_keep_rows_and_index_together)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        run(seed);
    }
}
