#include "storage/wal_gather.h"

#include "base/mem.h"
#include "env/loop.h"
#include "env/sim.h"
#include "storage/wal.h"
#include "unit.h"

#define US NS_PER_US

/* ---- the reckoning alone ------------------------------------------------------------------- */

/* A sync of `count` entries with `queued` behind it; its clients are back `return_ns` later. */
static void round_trip(struct gather *gather, mono_ns *now, uint64_t sync_ns, size_t count,
                       size_t queued, uint64_t return_ns)
{
    *now += sync_ns;
    gather_synced(gather, *now, sync_ns, count, queued);
    *now += return_ns;
    gather_arrived(gather, *now, count);
}

TEST(wal_gather, one_client_alone_is_all_that_is_expected)
{
    struct gather gather;
    mono_ns now = 1;
    gather_init(&gather);
    assert_int_equal(gather_wait(&gather, now, 1), 0); /* nothing has been written yet */
    for (unsigned i = 0; i < 20; i++) {
        round_trip(&gather, &now, 1000 * US, 1, 0, 50 * US);
        assert_int_equal(gather_wait(&gather, now, 1), 0);
    }
}

TEST(wal_gather, who_queues_waits_for_those_just_written)
{
    struct gather gather;
    mono_ns now = 1;
    gather_init(&gather);
    gather_synced(&gather, now, 1000 * US, 3, 2);
    mono_ns until = gather_wait(&gather, now, 2);
    assert_in_range(until, now + 100 * US, now + 750 * US);
    assert_int_equal(gather_wait(&gather, until - 1, 4), until);
    assert_int_equal(gather_wait(&gather, until - 1, 5), 0); /* all are there */
    assert_int_equal(gather_wait(&gather, until, 4), 0);     /* or it has taken too long */
}

TEST(wal_gather, nobody_waits_for_longer_than_most_of_a_sync)
{
    struct gather gather;
    gather_init(&gather);
    gather.return_ns = 450 * US;
    gather_synced(&gather, 1, 1000 * US, 3, 2);
    assert_int_equal(gather_wait(&gather, 1, 2), 1 + 750 * US);
    gather_init(&gather);
    gather_synced(&gather, 1, 1000 * US, 3, 2);
    assert_int_equal(gather_wait(&gather, 1, 2), 1 + 2 * gather.return_ns);
}

TEST(wal_gather, one_sync_that_takes_another_time_changes_little)
{
    struct gather gather;
    mono_ns now = 1;
    gather_init(&gather);
    for (unsigned i = 0; i < 20; i++) {
        round_trip(&gather, &now, 1000 * US, 4, 4, 100 * US);
    }
    gather_synced(&gather, now, 10 * US, 4, 4);
    assert_int_not_equal(gather_wait(&gather, now, 4), 0);
    gather_init(&gather);
    for (unsigned i = 0; i < 20; i++) {
        round_trip(&gather, &now, 20 * US, 4, 4, 10 * US);
    }
    gather_synced(&gather, now, 200 * US, 4, 4);
    assert_int_equal(gather_wait(&gather, now, 4), 0);
}

TEST(wal_gather, of_many_a_few_may_be_missing)
{
    struct gather gather;
    gather_init(&gather);
    gather_synced(&gather, 1, 1000 * US, 80, 10);
    assert_int_not_equal(gather_wait(&gather, 1, 79), 0);
    assert_int_equal(gather_wait(&gather, 1, 80), 0);
}

TEST(wal_gather, who_is_slow_to_come_back_is_not_waited_for_until_it_is_quick_again)
{
    struct gather gather;
    mono_ns now = 1;
    gather_init(&gather);
    for (unsigned i = 0; i < 40; i++) {
        round_trip(&gather, &now, 1000 * US, 4, 4, 900 * US);
    }
    gather_synced(&gather, now, 1000 * US, 4, 4);
    assert_int_equal(gather_wait(&gather, now, 4), 0);
    for (unsigned i = 0; i < 40; i++) {
        round_trip(&gather, &now, 1000 * US, 4, 4, 100 * US);
    }
    gather_synced(&gather, now, 1000 * US, 4, 4);
    assert_int_not_equal(gather_wait(&gather, now, 4), 0);
}

TEST(wal_gather, who_does_not_come_back_at_all_counts_as_slow)
{
    struct gather gather;
    mono_ns now = 1;
    gather_init(&gather);
    for (unsigned i = 0; i < 40; i++) {
        now += 1000 * US;
        gather_synced(&gather, now, 1000 * US, 4, 4);
        gather_arrived(&gather, now, 3);
    }
    gather_synced(&gather, now, 1000 * US, 4, 4);
    assert_int_equal(gather_wait(&gather, now, 4), 0);
}

TEST(wal_gather, one_long_sleep_changes_little)
{
    struct gather gather;
    mono_ns now = 1;
    gather_init(&gather);
    round_trip(&gather, &now, 1000 * US, 4, 4, 60 * NS_PER_SEC);
    gather_synced(&gather, now, 1000 * US, 4, 4);
    assert_int_not_equal(gather_wait(&gather, now, 4), 0);
}

TEST(wal_gather, what_is_learned_stays_within_bounds)
{
    struct gather gather;
    mono_ns now = 1;
    gather_init(&gather);
    for (unsigned i = 0; i < 1000; i++) {
        round_trip(&gather, &now, 1000 * US, 4, 4, 0);
    }
    assert_in_range(gather.return_ns, 8, 10 * US);
    for (unsigned i = 0; i < 1000; i++) {
        round_trip(&gather, &now, 60 * NS_PER_SEC, 4, 4, 50 * NS_PER_SEC);
    }
    assert_in_range(gather.return_ns, 1000 * US, 5000 * US);
    gather_synced(&gather, now, 60 * NS_PER_SEC, 4, 4);
    assert_int_equal(gather_wait(&gather, now, 4), 0);
}

TEST(wal_gather, quick_syncs_are_not_worth_it)
{
    struct gather gather;
    gather_init(&gather);
    gather.return_ns = US;
    gather_synced(&gather, 1, 20 * US, 4, 4);
    assert_int_equal(gather_wait(&gather, 1, 4), 0);
}

/* ---- the log -------------------------------------------------------------------------------- */

struct world {
    struct disk *disk;
    struct env *env;
    struct loop *loop;
    struct wal *wal;
    raft_index last;
    size_t done_count;
};

struct append {
    struct wal_write write;
    struct raft_entry entry;
    struct world *world;
    size_t order; /* from 1; 0: not done */
};

static void sync_takes_time(enum sim_op op, const char *path, uint64_t number, void *ctx)
{
    (void)path;
    (void)number;
    if (op == SIM_OP_SYNC) {
        sim_env_advance(ctx, 1000 * US);
    }
}

static void setup(struct world *w)
{
    struct wal_contents contents;
    *w = (struct world){.disk = sim_disk_new()};
    w->env = sim_env_new(1, w->disk);
    w->loop = loop_new(w->env);
    assert_int_equal(wal_create(w->disk, "/wal", SLICE("x"), 65536, NULL), ERR_OK);
    struct wal_config config = {
        .env = w->env, .loop = w->loop, .dir = "/wal", .segment_bytes = 65536};
    assert_int_equal(wal_open(&config, (struct wal_position){0}, &w->wal, &contents, NULL), ERR_OK);
    wal_contents_fini(&contents);
    sim_disk_on_op(w->disk, sync_takes_time, w->env);
}

static void teardown(struct world *w)
{
    wal_close(&w->wal);
    loop_free(&w->loop);
    sim_env_free(&w->env);
    sim_disk_free(&w->disk);
}

static void append_done(struct wal_write *write)
{
    struct append *append = CONTAINER_OF(write, struct append, write);
    append->order = ++append->world->done_count;
}

static void submit(struct world *w, struct append *append)
{
    *append = (struct append){.world = w};
    append->entry = (struct raft_entry){.index = ++w->last, .term = 1};
    append->entry.payload = raft_payload_new(4);
    append->write = (struct wal_write){
        .entries = &append->entry, .entry_count = 1, .must_sync = true, .done = append_done};
    wal_append(w->wal, &append->write);
}

static void wait_for(struct world *w, struct append *append)
{
    while (append->order == 0) {
        wal_check(w->wal);
        loop_turn(w->loop, true);
    }
    raft_payload_unref(&append->entry.payload);
}

static struct wal_stats stats_of(const struct world *w)
{
    struct wal_stats stats;
    wal_stats(w->wal, &stats);
    return stats;
}

TEST(wal_gather, two_clients_share_a_sync)
{
    struct world w;
    struct append first;
    struct append second;
    struct append again;
    setup(&w);
    submit(&w, &first);
    submit(&w, &second); /* meets the first one's sync */
    wait_for(&w, &first);
    assert_int_equal(second.order, 0);
    assert_int_equal(stats_of(&w).gathers, 1);
    assert_false(wal_is_idle(w.wal));
    submit(&w, &again); /* the first client has its answer, and comes back */
    wait_for(&w, &second);
    wait_for(&w, &again);
    assert_int_equal(stats_of(&w).syncs, 2);
    assert_int_equal(second.order, 2);
    assert_int_equal(again.order, 3);
    teardown(&w);
}

TEST(wal_gather, a_client_that_does_not_come_back_is_not_waited_for_long)
{
    struct world w;
    struct append first;
    struct append second;
    setup(&w);
    submit(&w, &first);
    submit(&w, &second);
    wait_for(&w, &first);
    mono_ns began = env_now_mono(w.env);
    wait_for(&w, &second);
    assert_in_range(env_now_mono(w.env) - began, 1000 * US, 1750 * US); /* its own sync is in it */
    assert_int_equal(stats_of(&w).syncs, 2);
    teardown(&w);
}

TEST(wal_gather, a_client_alone_never_waits)
{
    struct world w;
    struct append append;
    setup(&w);
    for (unsigned i = 0; i < 20; i++) {
        submit(&w, &append);
        wait_for(&w, &append);
        sim_env_advance(w.env, 30 * US);
    }
    assert_int_equal(stats_of(&w).gathers, 0);
    assert_int_equal(stats_of(&w).syncs, 20);
    teardown(&w);
}

/* Two clients: whoever has its answer asks again `think_ns` later. Returns how often a sync waited
 * in the second half of the time. */
static uint64_t two_clients(uint64_t think_ns)
{
    struct world w;
    struct append appends[2];
    uint64_t before = 0;
    setup(&w);
    submit(&w, &appends[0]);
    submit(&w, &appends[1]);
    for (unsigned i = 0; i < 80; i++) {
        struct append *next = &appends[i % 2];
        wait_for(&w, next);
        sim_env_advance(w.env, think_ns);
        submit(&w, next);
        before = i == 40 ? stats_of(&w).gathers : before;
    }
    wait_for(&w, &appends[0]);
    wait_for(&w, &appends[1]);
    uint64_t gathers = stats_of(&w).gathers - before;
    teardown(&w);
    return gathers;
}

TEST(wal_gather, the_log_learns_who_comes_back_quickly)
{
    assert_in_range(two_clients(20 * US), 10, 80);
    assert_in_range(two_clients(5000 * US), 0, 2);
}
