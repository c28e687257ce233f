/* The node over a simulated disk whose jobs take as long as the test says: what is applied is
 * durable, whatever else is asked for while a write is in flight. */
#include "server/node.h"

#include "base/mem.h"
#include "env/sim.h"
#include "unit.h"

#include <stdio.h>

#define MEMBER ((raft_id)1)
#define TICK_MS 100
#define APPLIED_MAX 256
/* Longer than a tick: while a write is in flight a lot can happen. */
#define SLOW_NS (250 * NS_PER_MS)

struct world {
    struct disk *disk;
    struct env *env;
    struct loop *loop;
    struct node *node;
    struct raft_payload *applied[APPLIED_MAX]; /* normal entries that hold something, in order */
    size_t applied_count;
    raft_index last;         /* index of the last entry applied */
    struct raft_index_note { /* answers to node_read_index() */
        raft_index index;
        raft_index applied; /* when it came */
        uint8_t context;
    } reads[8];
    size_t read_count;
    raft_id leader;
    unsigned saved; /* snapshot records reported as durable */
};

/* The last entry that a power failure at this moment would leave in the log. */
static raft_index durable_index(const struct world *w)
{
    struct disk *left = sim_disk_clone(w->disk);
    struct wal_contents contents;
    struct errbuf why = {""};
    sim_disk_crash(left, SIM_CRASH_LOSE, 1);
    if (wal_read(left, "/wal", (struct wal_position){0}, &contents, &why) != ERR_OK) {
        fail_msg("%s", why.text);
    }
    raft_index last =
        contents.entry_count == 0 ? 0 : contents.entries[contents.entry_count - 1].index;
    wal_contents_fini(&contents);
    sim_disk_free(&left);
    return last;
}

static raft_index on_apply(void *ctx, const struct raft_entry *entries, size_t count)
{
    struct world *w = ctx;
    assert_true(count > 0);
    assert_true(durable_index(w) >= entries[count - 1].index);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(entries[i].index, w->last + 1);
        w->last = entries[i].index;
        if (entries[i].type != RAFT_ENTRY_NORMAL) {
            struct raft_conf_change change;
            struct raft_conf_state state;
            assert_int_equal(raft_conf_change_decode(
                                 entries[i].type, raft_payload_slice(entries[i].payload), &change),
                             ERR_OK);
            assert_int_equal(raft_apply_conf_change(node_raft(w->node), &change, &state), ERR_OK);
        } else if (entries[i].payload != NULL) {
            assert_true(w->applied_count < APPLIED_MAX);
            w->applied[w->applied_count++] = raft_payload_ref(entries[i].payload);
        }
    }
    return entries[count - 1].index;
}

static void on_read_index(void *ctx, raft_index index, struct slice context)
{
    struct world *w = ctx;
    assert_true(w->read_count < ARRAY_LEN(w->reads));
    assert_int_equal(context.len, 1);
    w->reads[w->read_count++] =
        (struct raft_index_note){.index = index, .applied = w->last, .context = context.data[0]};
}

static void on_changed(void *ctx, const struct raft_soft_state *state)
{
    ((struct world *)ctx)->leader = state->lead;
}

static void found(struct raft *raft)
{
    struct raft_conf_change change = {
        .is_v1 = true,
        .change_count = 1,
        .changes = {{.type = RAFT_CONF_ADD_NODE, .node_id = MEMBER}},
    };
    struct buf bytes = {0};
    assert_int_equal(raft_conf_change_encode(&change, &bytes), RAFT_ENTRY_CONF_CHANGE);
    struct raft_payload *payload = raft_payload_copy(buf_slice(&bytes));
    assert_int_equal(raft_bootstrap(raft, &payload, 1), ERR_OK);
    raft_payload_unref(&payload);
    buf_fini(&bytes);
}

/* A member that is founded but neither has written that down nor leads. */
static void world_open(struct world *w)
{
    struct errbuf why = {""};
    struct raft *raft = NULL;
    struct wal *wal = NULL;
    struct wal_contents contents;
    *w = (struct world){.disk = sim_disk_new()};
    w->env = sim_env_new(7, w->disk);
    w->loop = loop_new(w->env);
    struct wal_config wal_config = {.env = w->env, .dir = "/wal", .segment_bytes = 65536};
    assert_int_equal(wal_create(w->disk, "/wal", SLICE("m"), 65536, &why), ERR_OK);
    assert_int_equal(wal_open(&wal_config, (struct wal_position){0}, &wal, &contents, &why),
                     ERR_OK);
    wal_contents_fini(&contents);
    struct raft_config config = raft_config_default(MEMBER, 1);
    assert_int_equal(raft_new(&config, &why, &raft), ERR_OK);
    found(raft);
    struct node_options options = {
        .loop = w->loop,
        .raft = raft,
        .wal = wal,
        .tick_ms = TICK_MS,
        .hooks = {.ctx = w, .apply = on_apply, .read_index = on_read_index, .changed = on_changed},
    };
    w->node = node_new(&options);
}

static void settle(struct world *w)
{
    for (unsigned i = 0; i < 1000 && !node_is_idle(w->node); i++) {
        loop_turn(w->loop, true);
    }
    assert_true(node_is_idle(w->node));
}

/* The same, leading, with nothing in flight. */
static void world_lead(struct world *w)
{
    world_open(w);
    loop_turn(w->loop, false);
    settle(w);
    loop_turn(w->loop, false);
    raft_campaign(node_raft(w->node));
    loop_turn(w->loop, false);
    settle(w);
    loop_turn(w->loop, false);
    assert_int_equal(w->leader, MEMBER);
    assert_int_equal(w->last, 2); /* its own membership, and the entry a leader begins with */
    settle(w);
}

static void world_close(struct world *w)
{
    if (w->node != NULL) {
        node_stop(w->node);
        settle(w);
        node_free(&w->node);
        assert_null(w->node);
    }
    for (size_t i = 0; i < w->applied_count; i++) {
        raft_payload_unref(&w->applied[i]);
    }
    loop_free(&w->loop);
    sim_env_free(&w->env);
    sim_disk_free(&w->disk);
}

/* Turns until the clock has gone on by `ns`. */
static void turn_for(struct world *w, uint64_t ns)
{
    mono_ns end = env_now_mono(w->env) + ns;
    while (env_now_mono(w->env) < end) {
        loop_turn(w->loop, true);
    }
}

static struct raft_payload *propose(struct world *w, const char *text)
{
    struct raft_payload *payload = raft_payload_copy(slice_str(text));
    node_propose(w->node, payload, false);
    return payload;
}

static void propose_and_forget(struct world *w, const char *text)
{
    struct raft_payload *payload = propose(w, text);
    raft_payload_unref(&payload);
}

static void assert_applied(const struct world *w, size_t at, const char *text)
{
    assert_true(at < w->applied_count);
    assert_true(slice_eq_str(raft_payload_slice(w->applied[at]), text));
}

/* ---- proposals ------------------------------------------------------------------------------ */

static void propose_leading(struct world *w, const char *text, raft_term term)
{
    struct raft_payload *payload = raft_payload_copy(slice_str(text));
    node_propose_leading(w->node, payload, term);
    raft_payload_unref(&payload);
}

/* A revoke by a leader that is none any more is worse than none (etcd #15247). */
TEST(node, what_was_proposed_as_the_leader_of_a_term_is_dropped_in_another)
{
    struct world w;
    world_open(&w);
    raft_term term = raft_current_term(node_raft(w.node));
    propose_leading(&w, "before it leads", term + 1);
    loop_turn(w.loop, false);
    settle(&w);
    world_close(&w);
    world_lead(&w);
    term = raft_current_term(node_raft(w.node));
    propose_leading(&w, "of this term", term);
    propose_leading(&w, "of an earlier one", term - 1 == 0 ? term + 7 : term - 1);
    propose_leading(&w, "of a later one", term + 1);
    propose_and_forget(&w, "of anybody");
    loop_turn(w.loop, false);
    settle(&w);
    loop_turn(w.loop, false);
    assert_int_equal(w.applied_count, 2);
    assert_applied(&w, 0, "of this term");
    assert_applied(&w, 1, "of anybody");
    assert_int_equal(node_pending(w.node), 0);
    world_close(&w);
}

/* ---- durable before applied ------------------------------------------------------------------ */

TEST(node, an_entry_is_applied_only_when_its_write_is_durable)
{
    struct world w;
    world_lead(&w);
    sim_env_delay_jobs(w.env, SLOW_NS);
    propose_and_forget(&w, "a");
    loop_turn(w.loop, false);
    assert_false(node_is_idle(w.node));
    for (unsigned i = 0; i < 10; i++) {
        loop_turn(w.loop, false); /* the disk works: the clock stands still */
        assert_int_equal(w.applied_count, 0);
    }
    settle(&w);
    loop_turn(w.loop, false);
    assert_int_equal(w.applied_count, 1);
    assert_applied(&w, 0, "a");
    world_close(&w);
}

/* etcd #14370: the completion of something that needs no write must not vouch for a write that is
 * under way. The first entry's commit comes out while the second one's write is in flight. */
TEST(node, a_commit_that_moves_alone_does_not_vouch_for_the_write_in_flight)
{
    struct world w;
    world_lead(&w);
    sim_env_delay_jobs(w.env, SLOW_NS);
    propose_and_forget(&w, "a");
    loop_turn(w.loop, false);
    sim_env_advance(w.env, SLOW_NS / 2);
    propose_and_forget(&w, "b"); /* shares the next sync */
    loop_turn(w.loop, false);
    while (w.applied_count == 0) {
        loop_turn(w.loop, true);
    }
    /* The commit index has just moved over "a", in a ready that writes nothing. */
    assert_int_equal(w.applied_count, 1);
    assert_false(node_is_idle(w.node));
    assert_int_equal(durable_index(&w), 3);
    uint8_t context = 1;
    node_read_index(w.node, slice_of(&context, 1));
    loop_turn(w.loop, false);
    assert_int_equal(w.read_count, 1); /* and a read comes out, too */
    assert_int_equal(w.reads[0].index, 3);
    for (unsigned i = 0; i < 5; i++) {
        loop_turn(w.loop, false);
        assert_int_equal(w.applied_count, 1);
    }
    settle(&w);
    loop_turn(w.loop, false);
    assert_int_equal(w.applied_count, 2);
    assert_applied(&w, 1, "b");
    assert_int_equal(durable_index(&w), 4);
    world_close(&w);
}

TEST(node, many_writes_in_flight_are_applied_in_order_and_each_when_it_is_durable)
{
    struct world w;
    char text[16];
    world_lead(&w);
    sim_env_delay_jobs(w.env, 20 * NS_PER_MS);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), "%u", i);
        propose_and_forget(&w, text);
        uint8_t context = (uint8_t)i;
        if (i % 25 == 0) {
            node_read_index(w.node, slice_of(&context, 1));
        }
        sim_env_advance(w.env, 3 * NS_PER_MS); /* several turns to a write */
        loop_turn(w.loop, false);
    }
    settle(&w);
    loop_turn(w.loop, false);
    assert_int_equal(w.applied_count, 100);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), "%u", i);
        assert_applied(&w, i, text);
    }
    assert_int_equal(w.read_count, 4);
    struct wal_stats stats;
    wal_stats(node_wal(w.node), &stats);
    assert_true(stats.syncs < 60); /* 100 turns share syncs */
    raft_check(node_raft(w.node));
    wal_check(node_wal(w.node));
    world_close(&w);
}

/* The commit index that was not worth a sync is in the log all the same when it is closed. */
TEST(node, the_commit_index_is_written_with_the_next_write_or_at_the_end)
{
    struct world w;
    struct wal_contents contents;
    struct errbuf why;
    world_lead(&w);
    propose_and_forget(&w, "a");
    loop_turn(w.loop, false);
    settle(&w);
    loop_turn(w.loop, false);
    assert_int_equal(w.applied_count, 1);
    node_stop(w.node);
    settle(&w);
    node_free(&w.node);
    assert_int_equal(wal_read(w.disk, "/wal", (struct wal_position){0}, &contents, &why), ERR_OK);
    assert_int_equal(contents.hard_state.commit, 3);
    assert_int_equal(contents.entry_count, 3);
    wal_contents_fini(&contents);
    world_close(&w);
}

/* ---- proposals ------------------------------------------------------------------------------- */

TEST(node, proposals_of_one_turn_are_one_write_and_one_sync)
{
    struct world w;
    struct wal_stats before;
    struct wal_stats after;
    world_lead(&w);
    wal_stats(node_wal(w.node), &before);
    for (unsigned i = 0; i < 50; i++) {
        propose_and_forget(&w, i % 2 == 0 ? "even" : "odd");
    }
    assert_int_equal(node_pending(w.node), 50);
    loop_turn(w.loop, false);
    assert_int_equal(node_pending(w.node), 0);
    settle(&w);
    loop_turn(w.loop, false);
    wal_stats(node_wal(w.node), &after);
    assert_int_equal(after.appends - before.appends, 1);
    assert_int_equal(after.syncs - before.syncs, 1);
    assert_int_equal(w.applied_count, 50);
    assert_applied(&w, 48, "even");
    assert_applied(&w, 49, "odd");
    world_close(&w);
}

TEST(node, proposals_wait_for_a_leader)
{
    struct world w;
    world_open(&w);
    propose_and_forget(&w, "first");
    turn_for(&w, 2 * TICK_MS * NS_PER_MS);
    propose_and_forget(&w, "second");
    turn_for(&w, 2 * TICK_MS * NS_PER_MS);
    assert_int_equal(w.leader, RAFT_NONE);
    assert_int_equal(node_pending(w.node), 2);
    assert_int_equal(w.applied_count, 0);
    /* Nobody campaigns for it: the clock brings an election, within two timeouts. */
    turn_for(&w, 21 * TICK_MS * NS_PER_MS);
    assert_int_equal(w.leader, MEMBER);
    assert_int_equal(node_pending(w.node), 0);
    assert_int_equal(w.applied_count, 2);
    assert_applied(&w, 0, "first");
    assert_applied(&w, 1, "second");
    world_close(&w);
}

TEST(node, a_proposal_that_nobody_wants_any_more_is_dropped_before_raft_sees_it)
{
    struct world w;
    int request = 0;
    world_lead(&w);
    struct raft_payload *wanted = raft_payload_copy(SLICE("wanted"));
    struct raft_payload *unwanted = raft_payload_copy(SLICE("unwanted"));
    struct raft_payload *own = raft_payload_copy(SLICE("own")); /* nobody waits, by design */
    struct raft_payload *late = raft_payload_copy(SLICE("late"));
    wanted->attached = unwanted->attached = late->attached = &request;
    node_propose(w.node, unwanted, true);
    node_propose(w.node, wanted, true);
    node_propose(w.node, own, false);
    node_propose(w.node, late, true);
    assert_int_equal(unwanted->refs, 2);
    unwanted->attached = NULL;
    loop_turn(w.loop, false);
    assert_int_equal(unwanted->refs, 1); /* let go of */
    late->attached = NULL;               /* too late: raft has it */
    settle(&w);
    loop_turn(w.loop, false);
    assert_int_equal(w.applied_count, 3);
    assert_ptr_equal(w.applied[0], wanted);
    assert_ptr_equal(w.applied[0]->attached, &request);
    assert_ptr_equal(w.applied[1], own);
    assert_ptr_equal(w.applied[2], late);
    wanted->attached = NULL;
    raft_payload_unref(&wanted);
    raft_payload_unref(&unwanted);
    raft_payload_unref(&own);
    raft_payload_unref(&late);
    world_close(&w);
}

TEST(node, an_unwanted_proposal_is_dropped_while_it_waits_for_a_leader)
{
    struct world w;
    int request = 0;
    world_open(&w);
    struct raft_payload *payload = raft_payload_copy(SLICE("x"));
    payload->attached = &request;
    node_propose(w.node, payload, true);
    turn_for(&w, 3 * TICK_MS * NS_PER_MS);
    payload->attached = NULL;
    turn_for(&w, 25 * TICK_MS * NS_PER_MS);
    assert_int_equal(w.leader, MEMBER);
    assert_int_equal(w.applied_count, 0);
    assert_int_equal(payload->refs, 1);
    raft_payload_unref(&payload);
    world_close(&w);
}

/* ---- reads ----------------------------------------------------------------------------------- */

TEST(node, a_read_index_is_answered_with_its_own_context)
{
    struct world w;
    static const uint8_t contexts[] = {11, 12};
    world_lead(&w);
    propose_and_forget(&w, "a");
    loop_turn(w.loop, false);
    settle(&w);
    node_read_index(w.node, slice_of(&contexts[0], 1));
    node_read_index(w.node, slice_of(&contexts[1], 1));
    loop_turn(w.loop, false);
    assert_int_equal(w.read_count, 2);
    assert_int_equal(w.reads[0].context, 11);
    assert_int_equal(w.reads[1].context, 12);
    assert_int_equal(w.reads[1].index, 3);
    world_close(&w);
}

TEST(node, without_a_leader_a_read_index_is_not_answered)
{
    struct world w;
    uint8_t context = 1;
    world_open(&w);
    node_read_index(w.node, slice_of(&context, 1));
    turn_for(&w, 5 * TICK_MS * NS_PER_MS);
    assert_int_equal(w.leader, RAFT_NONE);
    assert_int_equal(w.read_count, 0);
    world_close(&w);
}

/* ---- snapshots ------------------------------------------------------------------------------- */

static void on_saved(void *ctx)
{
    ((struct world *)ctx)->saved++;
}

TEST(node, a_snapshot_record_is_durable_when_it_is_reported)
{
    struct world w;
    struct wal_position *positions = NULL;
    size_t count = 0;
    struct errbuf why = {""};
    world_lead(&w);
    propose_and_forget(&w, "a");
    loop_turn(w.loop, false);
    settle(&w);
    loop_turn(w.loop, false);
    struct wal_snapshot record = {.index = w.last, .term = raft_current_term(node_raft(w.node))};
    raft_conf_state(node_raft(w.node), &record.conf_state);
    sim_env_delay_jobs(w.env, SLOW_NS);
    node_save_snapshot(w.node, &record, on_saved, &w);
    assert_int_equal(w.saved, 0); /* never from inside */
    assert_false(node_is_idle(w.node));
    loop_turn(w.loop, false);
    assert_int_equal(w.saved, 0);
    settle(&w);
    assert_int_equal(w.saved, 1);
    struct disk *left = sim_disk_clone(w.disk);
    sim_disk_crash(left, SIM_CRASH_LOSE, 1);
    assert_int_equal(wal_snapshots(left, "/wal", &positions, &count, &why), ERR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(positions[1].index, record.index);
    assert_int_equal(positions[1].term, record.term);
    mem_free(positions);
    sim_disk_free(&left);
    world_close(&w);
}

/* ---- stopping -------------------------------------------------------------------------------- */

TEST(node, after_a_stop_what_is_in_flight_completes_and_nothing_new_begins)
{
    struct world w;
    uint8_t context = 1;
    world_lead(&w);
    sim_env_delay_jobs(w.env, SLOW_NS);
    propose_and_forget(&w, "in flight");
    loop_turn(w.loop, false);
    struct raft_payload *waiting = propose(&w, "waiting");
    node_stop(w.node);
    assert_int_equal(node_pending(w.node), 0);
    assert_int_equal(waiting->refs, 1);
    node_propose(w.node, waiting, false);
    node_read_index(w.node, slice_of(&context, 1));
    assert_int_equal(waiting->refs, 1);
    assert_false(node_is_idle(w.node));
    settle(&w);
    loop_turn(w.loop, false);
    assert_int_equal(w.applied_count, 1);
    assert_applied(&w, 0, "in flight");
    assert_int_equal(w.read_count, 0);
    assert_true(node_is_idle(w.node));
    raft_payload_unref(&waiting);
    world_close(&w);
}

TEST(node, a_process_that_was_stopped_for_a_while_does_not_make_up_for_ticks)
{
    struct world w;
    world_open(&w);
    loop_turn(w.loop, false);
    settle(&w);
    sim_env_advance(w.env, 3600 * NS_PER_SEC); /* 36000 ticks, had they been counted */
    for (unsigned i = 0; i < 5; i++) {
        loop_turn(w.loop, false);
    }
    assert_int_equal(w.leader, RAFT_NONE); /* no election came of it */
    turn_for(&w, 25 * TICK_MS * NS_PER_MS);
    assert_int_equal(w.leader, MEMBER);
    world_close(&w);
}

TEST(node, freeing_nothing_is_allowed)
{
    struct node *node = NULL;
    node_free(&node);
    assert_null(node);
}
