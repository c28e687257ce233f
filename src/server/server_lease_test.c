/* Leases in a whole member on a simulated clock: who lives how long, and what is answered. */
#include "server/server_run.h"

static struct config *config;

static void setup(struct world *w)
{
    config = world_config("1000");
    world_open(w, config, sim_disk_new());
}

static void teardown(struct world *w)
{
    world_check(w);
    world_close(w);
    sim_disk_free(&w->disk);
    config_free(&config);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static struct call *call_grant(lease_id id, int64_t ttl)
{
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    request.id = id;
    request.ttl = ttl;
    return call_new(REQUEST_LEASE_GRANT, &request.base);
}

static struct call *call_revoke(lease_id id)
{
    Etcdserverpb__LeaseRevokeRequest request = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    request.id = id;
    return call_new(REQUEST_LEASE_REVOKE, &request.base);
}

static struct call *call_renew(lease_id id)
{
    Etcdserverpb__LeaseKeepAliveRequest request = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    request.id = id;
    struct call *call = call_new(REQUEST_LEASE_RENEW, &request.base);
    call->request.is_serializable = true;
    return call;
}

static struct call *call_time(lease_id id, bool keys)
{
    Etcdserverpb__LeaseTimeToLiveRequest request = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    request.id = id;
    request.keys = keys;
    struct call *call = call_new(REQUEST_LEASE_TIME_TO_LIVE, &request.base);
    call->request.is_serializable = true;
    return call;
}

static struct call *call_leased_put(const char *key, lease_id lease)
{
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = pb_binary(slice_str(key));
    put.value = pb_binary(SLICE("v"));
    put.lease = lease;
    return call_new(REQUEST_PUT, &put.base);
}

static void grant(struct world *w, lease_id id, int64_t ttl)
{
    call_end(w, call_submit(w, call_grant(id, ttl)), STATUS_OK);
}

/* The time it was renewed to. */
static int64_t renewed(struct world *w, struct call *call)
{
    call_wait(w, call);
    const Etcdserverpb__LeaseKeepAliveResponse *reply =
        call_reply(call, &etcdserverpb__lease_keep_alive_response__descriptor);
    int64_t ttl = reply->ttl;
    call_free(call);
    return ttl;
}

static int64_t renew(struct world *w, lease_id id)
{
    return renewed(w, call_submit(w, call_renew(id)));
}

static int64_t remaining(struct world *w, lease_id id)
{
    struct call *call = call_submit(w, call_time(id, false));
    call_wait(w, call);
    const Etcdserverpb__LeaseTimeToLiveResponse *reply =
        call_reply(call, &etcdserverpb__lease_time_to_live_response__descriptor);
    assert_int_equal(reply->id, id);
    int64_t ttl = reply->ttl;
    call_free(call);
    return ttl;
}

/* Lets the member run for so long. */
static void run_for(struct world *w, uint64_t ns)
{
    mono_ns until = env_now_mono(w->env) + ns;
    while (env_now_mono(w->env) < until) {
        loop_turn(w->loop, true);
    }
}

/* ---- grant and revoke ------------------------------------------------------------------------ */

TEST(server_lease, a_grant_without_an_id_gets_a_positive_one)
{
    struct world w;
    lease_id last = 0;
    setup(&w);
    for (unsigned i = 0; i < 3; i++) {
        struct call *call = call_submit(&w, call_grant(0, 60));
        call_wait(&w, call);
        const Etcdserverpb__LeaseGrantResponse *reply =
            call_reply(call, &etcdserverpb__lease_grant_response__descriptor);
        assert_true(reply->id > 0);
        assert_true(reply->id != last);
        assert_int_equal(reply->ttl, 60);
        last = reply->id;
        call_free(call);
    }
    world_restart(&w); /* the entry carries the id: it is the same lease */
    assert_int_equal(remaining(&w, last), 61);
    teardown(&w);
}

TEST(server_lease, a_grant_is_refused_in_etcds_words)
{
    struct world w;
    setup(&w);
    grant(&w, 7, 60);
    call_end(&w, call_submit(&w, call_grant(7, 60)), STATUS_LEASE_EXISTS);
    call_end(&w, call_submit(&w, call_grant(8, LEASE_TTL_MAX + 1)), STATUS_LEASE_TTL_TOO_LARGE);
    call_end(&w, call_submit(&w, call_revoke(8)), STATUS_LEASE_NOT_FOUND);
    call_end(&w, call_submit(&w, call_leased_put("a", 8)), STATUS_LEASE_NOT_FOUND);
    grant(&w, -8, 1);
    assert_int_equal(renew(&w, -8), 2); /* the least time */
    teardown(&w);
}

TEST(server_lease, the_keys_of_a_revoked_lease_go_in_one_revision)
{
    struct world w;
    const char *keys[] = {"c", "a", "b"};
    setup(&w);
    grant(&w, 7, 60);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        call_end(&w, call_submit(&w, call_leased_put(keys[i], 7)), STATUS_OK);
    }
    call_end(&w, call_submit(&w, call_put("d", "1")), STATUS_OK);
    int64_t before = mvcc_revision(w.server->mvcc);
    struct call *call = call_submit(&w, call_revoke(7));
    call_wait(&w, call);
    const Etcdserverpb__LeaseRevokeResponse *reply =
        call_reply(call, &etcdserverpb__lease_revoke_response__descriptor);
    assert_int_equal(reply->header->revision, before + 1);
    call_free(call);
    size_t count;
    const struct mvcc_change *changes = mvcc_changes(w.server->mvcc, &count);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++) {
        assert_true(changes[i].is_delete);
        assert_int_equal(changes[i].key.data[0], "abc"[i]);
    }
    assert_string_equal(world_get(&w, "d", false), "1");
    call_end(&w, call_submit(&w, call_revoke(7)), STATUS_LEASE_NOT_FOUND);
    world_restart(&w);
    assert_string_equal(world_get(&w, "a", false), "");
    teardown(&w);
}

TEST(server_lease, a_lease_without_keys_goes_without_a_revision)
{
    struct world w;
    setup(&w);
    grant(&w, 7, 60);
    call_end(&w, call_submit(&w, call_revoke(7)), STATUS_OK);
    assert_int_equal(mvcc_revision(w.server->mvcc), 1);
    teardown(&w);
}

TEST(server_lease, no_turn_grants_more_than_it_has_work_for)
{
    enum { MANY = 60 };
    struct world w;
    struct call *calls[MANY];
    setup(&w);
    w.server->per_turn.apply = 100;
    for (unsigned i = 0; i < MANY; i++) {
        calls[i] = call_submit(&w, call_grant(1000 + i, 60));
    }
    uint64_t applied = w.server->applied;
    while (calls[MANY - 1]->done == 0) {
        loop_turn(w.loop, true);
        assert_true(w.server->applied <= applied + 3); /* 48 units each */
        applied = w.server->applied;
    }
    for (unsigned i = 0; i < MANY; i++) {
        call_end(&w, calls[i], STATUS_OK);
    }
    teardown(&w);
}

/* An entry of checkpoints, as the leader makes them. */
static void propose_checkpoints(struct world *w, lease_id id, size_t count)
{
    Etcdserverpb__LeaseCheckpoint one = ETCDSERVERPB__LEASE_CHECKPOINT__INIT;
    Etcdserverpb__LeaseCheckpointRequest request = ETCDSERVERPB__LEASE_CHECKPOINT_REQUEST__INIT;
    one.id = id;
    one.remaining_ttl = 500;
    request.n_checkpoints = count;
    request.checkpoints = mem_array(count, sizeof(*request.checkpoints));
    for (size_t i = 0; i < count; i++) {
        request.checkpoints[i] = &one;
    }
    struct raft_payload *payload =
        server__encode_own(w->server, REQUEST_LEASE_CHECKPOINT, &request.base);
    node_propose_leading(w->server->node, payload, raft_current_term(node_raft(w->server->node)));
    raft_payload_unref(&payload);
    mem_free(request.checkpoints);
}

TEST(server_lease, no_turn_keeps_what_is_left_of_more_leases_than_it_has_work_for)
{
    enum { ENTRIES = 6, EACH = 100 };
    struct world w;
    setup(&w);
    grant(&w, 7, 1000);
    w.server->per_turn.apply = 1000; /* a checkpoint is 15 units */
    uint64_t applied = w.server->applied;
    uint64_t last = applied + ENTRIES;
    for (unsigned i = 0; i < ENTRIES; i++) {
        propose_checkpoints(&w, 7, EACH);
    }
    while (w.server->applied < last) {
        loop_turn(w.loop, true);
        assert_true(w.server->applied <= applied + 1);
        applied = w.server->applied;
    }
    assert_true(remaining(&w, 7) > 900); /* who leads knows better */
    world_restart(&w);
    assert_int_equal(remaining(&w, 7), 501);
    teardown(&w);
}

/* ---- running out ----------------------------------------------------------------------------- */

TEST(server_lease, an_unrenewed_lease_runs_out_with_its_keys)
{
    struct world w;
    setup(&w);
    grant(&w, 7, 10);
    call_end(&w, call_submit(&w, call_leased_put("a", 7)), STATUS_OK);
    run_for(&w, 9 * NS_PER_SEC);
    assert_string_equal(world_get(&w, "a", false), "v");
    run_for(&w, 1500 * NS_PER_MS);
    assert_string_equal(world_get(&w, "a", false), "");
    assert_int_equal(remaining(&w, 7), -1);
    assert_int_equal(renew(&w, 7), 0);
    struct lessor_stats stats;
    lessor_stats(w.server->lessor, &stats);
    assert_int_equal(stats.expired, 1);
    teardown(&w);
}

TEST(server_lease, renewals_keep_it_and_touch_neither_log_nor_disk)
{
    struct world w;
    setup(&w);
    grant(&w, 7, 10);
    call_end(&w, call_submit(&w, call_leased_put("a", 7)), STATUS_OK);
    uint64_t applied = w.server->applied;
    for (unsigned i = 0; i < 50; i++) {
        run_for(&w, 3 * NS_PER_SEC);
        assert_int_equal(renew(&w, 7), 10);
        assert_int_equal(remaining(&w, 7), 10);
    }
    struct raft_status raft;
    raft_status(node_raft(w.server->node), &raft);
    assert_int_equal(raft.last_index, applied);
    assert_string_equal(world_get(&w, "a", false), "v");
    teardown(&w);
}

/* OK is never said of a lease that is gone or on its way (PR 20616). */
TEST(server_lease, d1_a_renewal_behind_the_end_waits_for_it_and_says_zero)
{
    struct world w;
    setup(&w);
    grant(&w, 7, 10);
    call_end(&w, call_submit(&w, call_leased_put("a", 7)), STATUS_OK);
    sim_env_delay_jobs(w.env, 700 * NS_PER_MS); /* the revoke is slow to reach the disk */
    run_for(&w, 10 * NS_PER_SEC + 200 * NS_PER_MS);
    assert_int_equal(lessor_ending(w.server->lessor), 1);
    struct call *call = call_submit(&w, call_renew(7));
    run_for(&w, 100 * NS_PER_MS);
    assert_int_equal(call->done, 0);
    int64_t before = mvcc_revision(w.server->mvcc);
    call_wait(&w, call);
    const Etcdserverpb__LeaseKeepAliveResponse *reply =
        call_reply(call, &etcdserverpb__lease_keep_alive_response__descriptor);
    assert_int_equal(reply->ttl, 0);
    assert_int_equal(reply->header->revision, before); /* as of when it came */
    call_free(call);
    sim_env_delay_jobs(w.env, 0);
    teardown(&w);
}

/* PR 14177 */
TEST(server_lease, d1_a_renewal_right_behind_its_grant_finds_it)
{
    struct world w;
    setup(&w);
    sim_env_delay_jobs(w.env, 50 * NS_PER_MS);
    grant(&w, 7, 10);
    assert_int_equal(renew(&w, 7), 10);
    sim_env_delay_jobs(w.env, 0);
    teardown(&w);
}

TEST(server_lease, d1_requests_before_there_is_a_primary_wait_for_it)
{
    struct world w;
    config = world_config("1000");
    struct disk *disk = sim_disk_new();
    world_open(&w, config, disk);
    grant(&w, 7, 10);
    world_close(&w);
    world_start(&w, config, disk);
    struct call *renewal = call_submit(&w, call_renew(7));
    struct call *question = call_submit(&w, call_time(7, false));
    assert_false(lessor_is_primary(w.server->lessor));
    assert_int_equal(renewed(&w, renewal), 10);
    call_end(&w, question, STATUS_OK);
    world_wait_ready(&w);
    teardown(&w);
}

TEST(server_lease, d1_what_waits_in_vain_is_told_that_there_is_no_leader)
{
    struct world w;
    setup(&w);
    grant(&w, 7, 600);
    lease_desk_leader_lost(w.server->leases); /* and no leader comes: see below */
    w.server->is_leader = false;
    w.server->leader = 0;
    struct call *call = call_submit(&w, call_renew(7));
    struct call *canceled = call_submit(&w, call_time(7, true));
    run_for(&w, 1 * NS_PER_SEC);
    assert_int_equal(call->done, 0);
    server_cancel(w.server, &canceled->request, STATUS_CANCELED);
    call_end(&w, canceled, STATUS_CANCELED);
    call_end(&w, call, STATUS_NO_LEADER);
    w.server->is_leader = true;
    w.server->leader = w.server->member_id;
    teardown(&w);
}

/* ---- clocks ---------------------------------------------------------------------------------- */

TEST(server_lease, d5_jumps_of_the_wall_clock_change_nothing)
{
    struct world w;
    const int64_t hour = 3600 * (int64_t)NS_PER_SEC;
    setup(&w);
    grant(&w, 7, 10);
    sim_env_jump_wall(w.env, hour);
    run_for(&w, 5 * NS_PER_SEC);
    assert_int_equal(remaining(&w, 7), 5);
    sim_env_jump_wall(w.env, -2 * hour);
    run_for(&w, 4 * NS_PER_SEC);
    assert_int_equal(renew(&w, 7), 10);
    run_for(&w, 11 * NS_PER_SEC);
    assert_int_equal(renew(&w, 7), 0);
    teardown(&w);
}

/* SIGSTOP, and what clients sent meanwhile lies in the sockets: they are read before timers fire.
 */
TEST(server_lease, d5_after_a_pause_a_renewal_that_came_in_time_counts)
{
    struct world w;
    setup(&w);
    grant(&w, 7, 10);
    grant(&w, 8, 10);
    run_for(&w, 5 * NS_PER_SEC);
    sim_env_advance(w.env, 20 * NS_PER_SEC);
    loop_turn(w.loop, false); /* its poll was broken off */
    struct call *call = call_submit(&w, call_renew(7));
    assert_int_equal(renewed(&w, call), 10);
    run_for(&w, 1 * NS_PER_SEC);
    assert_int_equal(renew(&w, 7), 10);
    assert_int_equal(renew(&w, 8), 0); /* nobody renewed this one */
    teardown(&w);
}

struct spy {
    struct hook hook;
    struct world *w;
    unsigned ready; /* turns in which something was due */
};

/* After this turn's timers, before raft could have answered. */
static void on_spy(struct hook *hook)
{
    struct spy *spy = CONTAINER_OF(hook, struct spy, hook);
    struct server *server = spy->w->server;
    lease_desk_turn(server->leases);
    lease_desk_do_due(server->leases);
    spy->ready += lessor_due(server->lessor) <= loop_now(server->loop);
    assert_int_equal(lessor_ending(server->lessor), 0);
}

/* #15247: it may lead no more, and not know it. */
TEST(server_lease, d1_a_member_that_was_stopped_lets_nothing_run_out_before_it_is_sure_to_lead)
{
    struct world w;
    struct spy spy = {.w = &w};
    setup(&w);
    grant(&w, 7, 10);
    run_for(&w, 1 * NS_PER_SEC);
    loop_hook_add(w.loop, LOOP_STEP, &spy.hook, on_spy);
    sim_env_advance(w.env, 20 * NS_PER_SEC);
    loop_turn(w.loop, false);
    loop_hook_remove(&spy.hook);
    assert_int_equal(spy.ready, 1);
    assert_int_equal(lessor_ending(w.server->lessor), 0); /* what lies in sockets is read first */
    loop_turn(w.loop, true);
    assert_int_equal(lessor_ending(w.server->lessor), 1); /* raft has answered: it leads */
    assert_int_equal(renew(&w, 7), 0);
    teardown(&w);
}

TEST(server_lease, d2_a_restart_gives_every_lease_its_time_again)
{
    struct world w;
    setup(&w);
    grant(&w, 7, 10);
    call_end(&w, call_submit(&w, call_leased_put("a", 7)), STATUS_OK);
    run_for(&w, 8 * NS_PER_SEC);
    world_restart(&w);
    assert_int_equal(remaining(&w, 7), 11); /* an election timeout on top */
    run_for(&w, 9 * NS_PER_SEC);
    assert_string_equal(world_get(&w, "a", false), "v");
    run_for(&w, 3 * NS_PER_SEC);
    assert_string_equal(world_get(&w, "a", false), "");
    teardown(&w);
}

TEST(server_lease, d2_what_is_left_of_a_long_lease_survives_a_restart)
{
    struct world w;
    setup(&w);
    grant(&w, 7, 1000);
    run_for(&w, 310 * NS_PER_SEC);
    uint64_t applied = w.server->applied;
    world_restart(&w);
    assert_int_equal(remaining(&w, 7), 701);
    /* A renewal gives it all back, and that survives, too: one entry. */
    assert_int_equal(renew(&w, 7), 1000);
    assert_true(w.server->applied > applied);
    applied = w.server->applied;
    assert_int_equal(renew(&w, 7), 1000);
    assert_int_equal(w.server->applied, applied);
    world_restart(&w);
    assert_int_equal(remaining(&w, 7), 1001);
    teardown(&w);
}

TEST(server_lease, a_renewal_that_waits_for_its_checkpoint_can_be_canceled)
{
    struct world w;
    setup(&w);
    grant(&w, 7, 1000);
    run_for(&w, 310 * NS_PER_SEC);
    struct call *call = call_submit(&w, call_renew(7));
    struct call *second = call_submit(&w, call_renew(7));
    loop_turn(w.loop, false);
    assert_int_equal(call->done, 0);
    server_cancel(w.server, &call->request, STATUS_CANCELED);
    call_end(&w, call, STATUS_CANCELED);
    assert_int_equal(renewed(&w, second), 1000);
    teardown(&w);
}

/* ---- many ------------------------------------------------------------------------------------ */

TEST(server_lease, d4_many_that_run_out_together_go_within_a_second_and_in_slices)
{
    enum { COUNT = 3000 };
    struct world w;
    struct call *calls[COUNT];
    setup(&w);
    for (unsigned i = 0; i < COUNT; i++) {
        calls[i] = call_submit(&w, call_grant((lease_id)i + 1, 10));
    }
    for (unsigned i = 0; i < COUNT; i++) {
        call_end(&w, calls[i], STATUS_OK);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%04u", i);
        calls[i] = call_submit(&w, call_leased_put(key, (lease_id)i + 1));
    }
    for (unsigned i = 0; i < COUNT; i++) {
        call_end(&w, calls[i], STATUS_OK);
    }
    int64_t revision = mvcc_revision(w.server->mvcc);
    run_for(&w, 9 * NS_PER_SEC);
    sim_env_delay_jobs(w.env, 2 * NS_PER_MS); /* a disk's sync */
    mono_ns began = 0;
    uint64_t last = COUNT;
    struct lessor_stats stats;
    do {
        loop_turn(w.loop, true);
        lessor_stats(w.server->lessor, &stats);
        assert_true(last - stats.leases <= 256 / 2); /* each with a key */
        assert_true(stats.ending <= 256 / 2);
        began = began == 0 && stats.ending > 0 ? env_now_mono(w.env) : began;
        last = stats.leases;
    } while (stats.leases > 0);
    assert_true(env_now_mono(w.env) - began < NS_PER_SEC);
    assert_int_equal(mvcc_revision(w.server->mvcc), revision + COUNT);
    assert_int_equal(stats.keys, 0);
    assert_int_equal(stats.expired, COUNT);
    sim_env_delay_jobs(w.env, 0);
    teardown(&w);
}

/* Its keys are deleted over many turns, and nobody sees a part of it. */
TEST(server_lease, d4_a_lease_with_very_many_keys_goes_in_slices_and_in_one_revision)
{
    enum { COUNT = 20000, BATCH = 1000 };
    struct world w;
    struct call *calls[BATCH];
    setup(&w);
    grant(&w, 7, 1000);
    for (unsigned i = 0; i < COUNT; i += BATCH) {
        for (unsigned k = 0; k < BATCH; k++) {
            char key[16];
            snprintf(key, sizeof(key), "k%05u", i + k);
            calls[k] = call_submit(&w, call_leased_put(key, 7));
        }
        for (unsigned k = 0; k < BATCH; k++) {
            call_end(&w, calls[k], STATUS_OK);
        }
    }
    struct call *question = call_submit(&w, call_time(7, true));
    loop_turn(w.loop, false);
    assert_int_equal(question->done, 0); /* that many are listed in slices, too */
    call_wait(&w, question);
    const Etcdserverpb__LeaseTimeToLiveResponse *time =
        call_reply(question, &etcdserverpb__lease_time_to_live_response__descriptor);
    assert_int_equal(time->n_keys, COUNT);
    assert_int_equal(time->grantedttl, 1000);
    for (unsigned i = 0; i < COUNT; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%05u", i);
        assert_true(slice_eq_str(pb_bytes(time->keys[i]), key));
    }
    call_free(question);
    int64_t revision = mvcc_revision(w.server->mvcc);
    struct call *revoke = call_submit(&w, call_revoke(7));
    struct call *renewal = NULL;
    struct call *times[2] = {NULL};
    unsigned slices = 0;
    while (revoke->done == 0) {
        loop_turn(w.loop, true);
        if (revoke->done == 0 && w.server->entry.is_on) {
            if (slices == 3) {
                times[0] = call_submit(&w, call_time(7, true));
                times[1] = call_submit(&w, call_time(7, false));
            }
            assert_int_equal(slices > 3 && times[0]->done, 0); /* some of its keys are gone */
            slices++;
            assert_int_equal(mvcc_revision(w.server->mvcc), revision);
            const char *value = world_get(&w, "k00000", true); /* takes a turn, maybe the last */
            assert_true(revoke->done == 1 || strcmp(value, "v") == 0);
            renewal = renewal == NULL ? call_submit(&w, call_renew(7)) : renewal;
        }
    }
    assert_true(slices >= 10);
    call_end(&w, revoke, STATUS_OK);
    assert_int_equal(call_wait(&w, times[0]), STATUS_OK);
    time = call_reply(times[0], &etcdserverpb__lease_time_to_live_response__descriptor);
    assert_int_equal(time->n_keys, 0);
    assert_int_equal(time->ttl, -1);
    assert_int_equal(time->header->revision, revision + 1);
    assert_int_equal(call_wait(&w, times[1]), STATUS_OK);
    time = call_reply(times[1], &etcdserverpb__lease_time_to_live_response__descriptor);
    assert_int_equal(time->grantedttl, 1000);
    call_free(times[0]);
    call_free(times[1]);
    assert_non_null(renewal);
    assert_int_equal(renewed(&w, renewal), 0);
    size_t count;
    const struct mvcc_change *changes = mvcc_changes(w.server->mvcc, &count);
    assert_int_equal(count, COUNT);
    for (size_t i = 1; i < count; i++) {
        assert_true(slice_cmp(changes[i - 1].key, changes[i].key) < 0);
    }
    assert_int_equal(mvcc_revision(w.server->mvcc), revision + 1);
    world_restart(&w);
    assert_string_equal(world_get(&w, "k19999", false), "");
    teardown(&w);
}

static void check_list(struct world *w, size_t count)
{
    Etcdserverpb__LeaseLeasesRequest request = ETCDSERVERPB__LEASE_LEASES_REQUEST__INIT;
    struct call *call = call_new(REQUEST_LEASE_LIST, &request.base);
    call->request.is_serializable = true;
    call_wait(w, call_submit(w, call));
    const Etcdserverpb__LeaseLeasesResponse *reply =
        call_reply(call, &etcdserverpb__lease_leases_response__descriptor);
    assert_int_equal(reply->n_leases, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(reply->leases[i]->id, count - i); /* the last one ends first */
    }
    call_free(call);
}

TEST(server_lease, the_list_is_by_the_end_of_leases_and_whole)
{
    enum { FEW = 100, MANY = 9000 };
    struct world w;
    setup(&w);
    check_list(&w, 0);
    backend_begin(w.server->backend);
    for (lease_id id = 1; id <= MANY; id++) {
        int64_t ttl;
        if (id == FEW + 1) {
            backend_end(w.server->backend, w.server->applied, w.server->applied_term);
            check_list(&w, FEW);
            backend_begin(w.server->backend);
        }
        assert_int_equal(lessor_grant(w.server->lessor, id, 100000 - id, &ttl), ERR_OK);
    }
    backend_end(w.server->backend, w.server->applied, w.server->applied_term);
    check_list(&w, MANY);
    teardown(&w);
}

TEST(server_lease, the_time_to_live_names_keys_only_when_asked)
{
    struct world w;
    setup(&w);
    grant(&w, 7, 60);
    call_end(&w, call_submit(&w, call_leased_put("b", 7)), STATUS_OK);
    call_end(&w, call_submit(&w, call_leased_put("a", 7)), STATUS_OK);
    for (int keys = 0; keys < 2; keys++) {
        struct call *call = call_submit(&w, call_time(7, keys == 1));
        call_wait(&w, call);
        const Etcdserverpb__LeaseTimeToLiveResponse *reply =
            call_reply(call, &etcdserverpb__lease_time_to_live_response__descriptor);
        assert_int_equal(reply->grantedttl, 60);
        assert_int_equal(reply->header->revision, 3);
        assert_int_equal(reply->n_keys, keys == 0 ? 0 : 2);
        if (keys == 1) {
            assert_int_equal(reply->keys[0].data[0], 'a');
        }
        call_free(call);
    }
    teardown(&w);
}

TEST(server_lease, a_stop_ends_what_waits)
{
    struct world w;
    setup(&w);
    grant(&w, 7, 1000);
    lease_desk_leader_lost(w.server->leases);
    w.server->is_leader = false;
    struct call *call = call_submit(&w, call_renew(7));
    loop_turn(w.loop, false);
    world_close(&w);
    assert_int_equal(call->done, 1);
    assert_int_equal(call->request.status, STATUS_STOPPED);
    call_free(call);
    sim_disk_free(&w.disk);
    config_free(&config);
}
