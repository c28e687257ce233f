#include "raft/raft_priv.h"

#include "unit.h"

static struct raft_conf_state voters(raft_id last)
{
    struct raft_conf_state conf_state = {0};
    for (raft_id id = 1; id <= last; id++) {
        assert_true(raft_id_set_add(&conf_state.voters, id));
    }
    return conf_state;
}

/* A member of a cluster of `count`, with an empty log. */
static struct raft *member_of(raft_id count)
{
    struct raft_conf_state conf_state = voters(count);
    struct raft_config config = raft_config_default(1, 1);
    struct raft *raft;
    config.conf_state = &conf_state;
    assert_int_equal(raft_new(&config, NULL, &raft), ERR_OK);
    return raft;
}

/* Persists and applies until nothing is left; gives how many entries were applied. */
static size_t settle(struct raft *raft)
{
    struct raft_ready rd = {0};
    size_t applied = 0;
    while (raft_has_ready(raft)) {
        raft_ready(raft, &rd);
        raft_persisted(raft, &rd);
        applied += rd.committed_count;
        if (rd.committed_count > 0) {
            raft_applied(raft, rd.committed[rd.committed_count - 1].index);
        }
        raft_ready_reset(&rd);
        raft_check(raft);
    }
    raft_ready_fini(&rd);
    return applied;
}

static struct raft *lone_leader(void)
{
    struct raft *raft = member_of(1);
    raft_campaign(raft);
    settle(raft);
    assert_int_equal(raft_get_state(raft), RAFT_LEADER);
    return raft;
}

/* The leader of three at term 1, its first entry acknowledged by member 2. */
static struct raft *leader_of_three(void)
{
    struct raft *raft = member_of(3);
    raft->config.pre_vote = false;
    raft_campaign(raft);
    settle(raft);
    struct raft_message vote = {.type = RAFT_MSG_VOTE_RESP, .to = 1, .from = 2, .term = 1};
    assert_int_equal(raft_step(raft, &vote), ERR_OK);
    settle(raft);
    struct raft_message ack = {
        .type = RAFT_MSG_APP_RESP, .to = 1, .from = 2, .term = 1, .index = 1};
    assert_int_equal(raft_step(raft, &ack), ERR_OK);
    settle(raft);
    assert_int_equal(raft_get_state(raft), RAFT_LEADER);
    return raft;
}

static enum err propose_text(struct raft *raft, const char *text)
{
    struct raft_payload *payload = raft_payload_copy(slice_str(text));
    enum err err = raft_propose(raft, &payload, 1);
    raft_payload_unref(&payload);
    return err;
}

TEST(raft, a_config_that_contradicts_itself_is_refused)
{
    struct raft *raft = NULL;
    struct errbuf errbuf;
    struct raft_config good = raft_config_default(1, 1);
    struct raft_config bad = good;
    bad.id = RAFT_NONE;
    assert_int_equal(raft_new(&bad, &errbuf, &raft), ERR_INVALID);
    bad = good;
    bad.election_ticks = bad.heartbeat_ticks;
    assert_int_equal(raft_new(&bad, &errbuf, &raft), ERR_INVALID);
    bad = good;
    bad.heartbeat_ticks = 0;
    assert_int_equal(raft_new(&bad, &errbuf, &raft), ERR_INVALID);
    bad = good;
    bad.inflight_max = 0;
    assert_int_equal(raft_new(&bad, &errbuf, &raft), ERR_INVALID);
    bad = good;
    bad.inflight_bytes_max = 10;
    assert_int_equal(raft_new(&bad, &errbuf, &raft), ERR_INVALID);
    bad = good;
    bad.read_only = RAFT_READ_LEASE;
    bad.check_quorum = false;
    assert_int_equal(raft_new(&bad, &errbuf, &raft), ERR_INVALID);
    assert_null(raft);
}

TEST(raft, a_restored_state_with_holes_is_refused)
{
    struct raft *raft = NULL;
    struct errbuf errbuf;
    struct raft_conf_state conf_state = voters(1);
    struct raft_snapshot *snapshot = raft_snapshot_new(10, 3, &conf_state, NULL);
    struct raft_entry entries[] = {{.index = 11, .term = 3}, {.index = 12, .term = 4}};
    struct raft_config good = raft_config_default(1, 1);
    good.snapshot = snapshot;
    good.entries = entries;
    good.entry_count = 2;
    good.hard_state = (struct raft_hard_state){.term = 4, .vote = 1, .commit = 11};
    assert_int_equal(raft_new(&good, &errbuf, &raft), ERR_OK);
    raft_free(&raft);

    struct raft_config bad = good;
    bad.hard_state.commit = 13; /* beyond the log */
    assert_int_equal(raft_new(&bad, &errbuf, &raft), ERR_CORRUPT);
    bad = good;
    bad.applied = 12; /* beyond the commit */
    assert_int_equal(raft_new(&bad, &errbuf, &raft), ERR_CORRUPT);
    bad = good;
    bad.applied = 9; /* before the snapshot */
    assert_int_equal(raft_new(&bad, &errbuf, &raft), ERR_CORRUPT);
    bad = good;
    bad.snapshot = NULL; /* a gap before the first */
    assert_int_equal(raft_new(&bad, &errbuf, &raft), ERR_CORRUPT);
    entries[1].index = 13;
    assert_int_equal(raft_new(&good, &errbuf, &raft), ERR_CORRUPT);
    entries[1].index = 12;
    entries[1].term = 2; /* terms never go back */
    assert_int_equal(raft_new(&good, &errbuf, &raft), ERR_CORRUPT);
    entries[1].term = 4;
    conf_state.learners = conf_state.voters;
    bad = good;
    bad.conf_state = &conf_state;
    assert_int_equal(raft_new(&bad, &errbuf, &raft), ERR_CORRUPT);
    assert_null(raft);
    raft_snapshot_unref(&snapshot);
}

TEST(raft, a_restart_goes_on_where_the_disk_ends)
{
    struct raft *raft;
    struct raft_conf_state conf_state = voters(1);
    struct raft_snapshot *snapshot = raft_snapshot_new(10, 3, &conf_state, NULL);
    struct raft_entry entries[] = {
        {.index = 11, .term = 3}, {.index = 12, .term = 4}, {.index = 13, .term = 5}};
    struct raft_config config = raft_config_default(1, 1);
    config.snapshot = snapshot;
    config.entries = entries;
    config.entry_count = 3;
    config.hard_state = (struct raft_hard_state){.term = 4, .vote = 1, .commit = 12};
    assert_int_equal(raft_new(&config, NULL, &raft), ERR_OK);
    /* A torn write may have left entries of a term that the hard state does not know. */
    struct raft_status st;
    raft_status(raft, &st);
    assert_int_equal(st.hard_state.term, 5);
    assert_int_equal(st.hard_state.vote, RAFT_NONE);
    assert_int_equal(st.applied, 10);
    assert_int_equal(st.stable, 13);
    struct raft_ready rd = {0};
    raft_ready(raft, &rd);
    assert_int_equal(rd.committed_count, 2);
    assert_int_equal(rd.committed[0].index, 11);
    assert_int_equal(rd.entry_count, 0);
    assert_true(rd.must_sync); /* the term */
    raft_ready_fini(&rd);
    raft_free(&raft);
    raft_snapshot_unref(&snapshot);
}

TEST(raft, founding_members_come_out_as_committed_entries)
{
    struct raft_config config = raft_config_default(2, 1);
    struct raft_payload *changes[3];
    struct raft *raft;
    for (raft_id id = 1; id <= 3; id++) {
        struct buf bytes = {0};
        struct raft_conf_change change = {.is_v1 = true, .change_count = 1};
        change.changes[0].node_id = id;
        raft_conf_change_encode(&change, &bytes);
        changes[id - 1] = raft_payload_copy(buf_slice(&bytes));
        buf_fini(&bytes);
    }
    assert_int_equal(raft_new(&config, NULL, &raft), ERR_OK);
    assert_int_equal(raft_bootstrap(raft, changes, 0), ERR_INVALID);
    assert_int_equal(raft_bootstrap(raft, changes, 3), ERR_OK);
    assert_int_equal(raft_bootstrap(raft, changes, 3), ERR_EXISTS);
    struct raft_ready rd = {0};
    raft_ready(raft, &rd);
    assert_int_equal(rd.entry_count, 3);
    assert_int_equal(rd.committed_count, 0); /* not durable yet */
    assert_int_equal(rd.hard_state.term, 1);
    assert_int_equal(rd.hard_state.commit, 3);
    raft_persisted(raft, &rd);
    raft_ready_reset(&rd);
    raft_campaign(raft); /* not before they are applied */
    assert_int_equal(raft_get_state(raft), RAFT_FOLLOWER);
    raft_ready(raft, &rd);
    assert_int_equal(rd.committed_count, 3);
    raft_applied(raft, 3);
    raft_campaign(raft);
    assert_int_equal(raft_get_state(raft), RAFT_PRE_CANDIDATE);
    assert_int_equal(raft_peer_count(raft), 3);
    raft_ready_fini(&rd);
    raft_free(&raft);
    for (size_t i = 0; i < 3; i++) {
        raft_payload_unref(&changes[i]);
    }
}

TEST(raft, a_lone_member_commits_only_what_its_own_disk_has)
{
    struct raft *raft = lone_leader();
    struct raft_ready first = {0};
    struct raft_ready second = {0};
    assert_int_equal(propose_text(raft, "a"), ERR_OK);
    raft_ready(raft, &first);
    assert_int_equal(first.entry_count, 1);
    assert_int_equal(first.committed_count, 0);
    assert_true(first.must_sync);
    assert_true(raft_ready_needs_persist(&first));
    assert_int_equal(propose_text(raft, "b"), ERR_OK);
    raft_ready(raft, &second);
    assert_int_equal(second.entry_count, 1);
    assert_int_equal(second.committed_count, 0);
    assert_false(raft_has_ready(raft));
    raft_persisted(raft, &first);
    raft_ready_reset(&first);
    raft_ready(raft, &first);
    assert_int_equal(first.committed_count, 1);
    assert_true(slice_eq_str(raft_payload_slice(first.committed[0].payload), "a"));
    raft_ready_fini(&first);
    raft_ready_fini(&second);
    raft_free(&raft);
}

TEST(raft, payloads_live_as_long_as_somebody_needs_them)
{
    struct raft *raft = lone_leader();
    struct raft_payload *payload = raft_payload_copy(SLICE("x"));
    assert_int_equal(raft_propose(raft, &payload, 1), ERR_OK);
    assert_int_equal(payload->refs, 2);
    struct raft_ready rd = {0};
    raft_ready(raft, &rd);
    assert_int_equal(payload->refs, 3);
    raft_free(&raft);
    assert_int_equal(payload->refs, 2);
    assert_ptr_equal(rd.entries[0].payload, payload);
    raft_ready_fini(&rd);
    assert_int_equal(payload->refs, 1);
    raft_payload_unref(&payload);
    assert_null(payload);
}

TEST(raft, without_a_leader_proposals_and_reads_are_dropped)
{
    struct raft *raft = member_of(3);
    assert_int_equal(propose_text(raft, "x"), ERR_AGAIN);
    raft_read_index(raft, SLICE("r"));
    assert_false(raft_has_ready(raft));
    raft_free(&raft);
}

TEST(raft, compaction_keeps_what_is_not_applied_or_not_in_a_snapshot)
{
    struct raft *raft = lone_leader();
    for (int i = 0; i < 20; i++) {
        assert_int_equal(propose_text(raft, "x"), ERR_OK);
    }
    settle(raft);
    struct raft_conf_state conf_state;
    raft_conf_state(raft, &conf_state);
    assert_int_equal(raft_compact(raft, 5), ERR_INVALID);
    assert_int_equal(raft_create_snapshot(raft, 100, &conf_state, NULL), ERR_INVALID);
    assert_int_equal(raft_create_snapshot(raft, 10, &conf_state, NULL), ERR_OK);
    assert_int_equal(raft_create_snapshot(raft, 10, &conf_state, NULL), ERR_EXISTS);
    assert_int_equal(raft_compact(raft, 11), ERR_INVALID);
    assert_int_equal(raft_compact(raft, 10), ERR_OK);
    assert_int_equal(raft_compact(raft, 10), ERR_COMPACTED);
    raft_term term;
    assert_int_equal(raft_entry_term(raft, 9, &term), ERR_COMPACTED);
    assert_int_equal(raft_entry_term(raft, 10, &term), ERR_OK);
    assert_int_equal(raft_create_snapshot(raft, 9, &conf_state, NULL), ERR_EXISTS);
    raft_check(raft);
    raft_free(&raft);
}

/* A refused message must leave no trace but its count. */
static void assert_refused(struct raft *raft, const struct raft_message *m)
{
    struct raft_status before;
    struct raft_status after;
    raft_status(raft, &before);
    assert_int_equal(raft_step(raft, m), ERR_INVALID);
    raft_status(raft, &after);
    assert_int_equal(after.nonsense_count, before.nonsense_count + 1);
    assert_int_equal(after.hard_state.term, before.hard_state.term);
    assert_int_equal(after.hard_state.commit, before.hard_state.commit);
    assert_int_equal(after.last_index, before.last_index);
    assert_int_equal(after.state, before.state);
    raft_check(raft);
}

TEST(raft, a_peers_nonsense_is_dropped_and_counted)
{
    struct raft *raft = leader_of_three();
    struct raft_message good = {.type = RAFT_MSG_HEARTBEAT_RESP, .to = 1, .from = 2, .term = 1};
    assert_int_equal(raft_step(raft, &good), ERR_OK);
    struct raft_message bad = good;
    bad.to = 3;
    assert_refused(raft, &bad); /* for another member, perhaps one that we were once */
    bad = good;
    bad.from = 1;
    assert_refused(raft, &bad); /* from ourselves: it could forge our own vote */
    bad.from = UINT64_MAX;
    assert_refused(raft, &bad);
    bad = good;
    bad.term = UINT64_MAX; /* one more election, and terms would start over */
    assert_refused(raft, &bad);
    bad.term = 0;
    assert_refused(raft, &bad); /* it would pass for a local one */
    bad = good;
    bad.type = RAFT_MSG_HUP;
    assert_refused(raft, &bad);
    bad.type = (enum raft_message_type)77;
    assert_refused(raft, &bad);
    bad = good;
    bad.type = RAFT_MSG_APP_RESP;
    bad.index = 1000; /* it cannot have what we never had */
    assert_refused(raft, &bad);
    bad = good;
    bad.type = RAFT_MSG_SNAP; /* of nothing */
    assert_refused(raft, &bad);
    bad = (struct raft_message){.type = RAFT_MSG_PROP, .to = 1, .from = 2};
    assert_refused(raft, &bad); /* of nothing */
    struct raft_entry entry = {.type = RAFT_ENTRY_CONF_CHANGE_V2,
                               .payload = raft_payload_copy(SLICE("\xff\xff"))};
    bad.entries = &entry;
    bad.entry_count = 1;
    assert_refused(raft, &bad); /* of what cannot be decoded */
    entry.type = (enum raft_entry_type)9;
    assert_refused(raft, &bad);
    bad.type = RAFT_MSG_READ_INDEX;
    bad.entry_count = 0;
    assert_refused(raft, &bad);
    raft_payload_unref(&entry.payload);
    bad = good;
    bad.from = 9;
    assert_int_equal(raft_step(raft, &bad), ERR_NOT_FOUND);
    raft_free(&raft);
}

TEST(raft, a_leaders_nonsense_does_not_reach_the_log)
{
    struct raft *raft = member_of(3);
    struct raft_entry entries[] = {{.index = 1, .term = 1}, {.index = 2, .term = 1}};
    struct raft_message app = {
        .type = RAFT_MSG_APP,
        .to = 1,
        .from = 2,
        .term = 1,
        .entries = entries,
        .entry_count = 2,
        .commit = 2,
    };
    assert_int_equal(raft_step(raft, &app), ERR_OK);
    settle(raft);
    struct raft_entry late[] = {{.index = 3, .term = 1}, {.index = 5, .term = 1}};
    struct raft_message bad = app;
    bad.index = 2;
    bad.log_term = 1;
    bad.entries = late;
    assert_refused(raft, &bad); /* a hole */
    late[1] = (struct raft_entry){.index = 4, .term = 2};
    assert_refused(raft, &bad); /* of a later term than its own */
    late[0].term = 0;
    late[1].term = 1;
    assert_refused(raft, &bad); /* terms go back */
    struct raft_entry other[] = {{.index = 1, .term = 1}, {.index = 2, .term = 2}};
    bad = app;
    bad.term = 2;
    bad.entries = other;
    assert_int_equal(raft_step(raft, &bad), ERR_OK); /* about the committed past: answered */
    bad.index = 2;
    bad.log_term = 1;
    bad.entry_count = 0;
    bad.commit = 100;
    assert_int_equal(raft_step(raft, &bad), ERR_OK); /* as far as it proves */
    struct raft_status st;
    raft_status(raft, &st);
    assert_int_equal(st.hard_state.commit, 2);
    assert_int_equal(st.last_index, 2);
    struct raft_message beat = {
        .type = RAFT_MSG_HEARTBEAT, .to = 1, .from = 2, .term = 2, .commit = 3};
    assert_refused(raft, &beat); /* beyond our log */
    raft_free(&raft);
}

TEST(raft, a_snapshot_without_us_or_with_a_bad_configuration_is_not_installed)
{
    struct raft *raft = member_of(3);
    struct raft_conf_state conf_state = {.voters = {.count = 2, .ids = {2, 3}}};
    struct raft_snapshot *snapshot = raft_snapshot_new(50, 1, &conf_state, NULL);
    struct raft_message m = {
        .type = RAFT_MSG_SNAP, .to = 1, .from = 2, .term = 1, .snapshot = snapshot};
    assert_int_equal(raft_step(raft, &m), ERR_OK);
    struct raft_status st;
    raft_status(raft, &st);
    assert_int_equal(st.last_index, 0);
    snapshot->conf_state.voters.ids[1] = 2;
    assert_refused(raft, &m);
    snapshot->conf_state.voters.ids[0] = 1;
    snapshot->term = 2;
    assert_refused(raft, &m); /* of a later term than the message */
    snapshot->term = 1;
    assert_int_equal(raft_step(raft, &m), ERR_OK);
    raft_status(raft, &st);
    assert_int_equal(st.last_index, 50);
    settle(raft);
    raft_status(raft, &st);
    assert_int_equal(st.applied, 50);
    raft_snapshot_unref(&snapshot);
    raft_free(&raft);
}

TEST(raft, unanswered_reads_are_bounded)
{
    struct raft *raft = leader_of_three();
    for (int i = 0; i < RAFT_READS_MAX + 10; i++) {
        raft_read_index(raft, SLICE("12345678"));
        if (i % 1000 == 0) {
            struct raft_ready rd = {0};
            raft_ready(raft, &rd);
            raft_ready_fini(&rd);
        }
    }
    assert_int_equal(raft->reads_unconfirmed.count, RAFT_READS_MAX);
    raft_check(raft);
    raft_free(&raft);
}

TEST(raft, an_echo_of_a_read_that_was_never_asked_is_nonsense)
{
    struct raft *raft = leader_of_three();
    uint8_t context[8];
    raft_read_index(raft, SLICE("r"));
    put_le64(context, 2);
    struct raft_message m = {
        .type = RAFT_MSG_HEARTBEAT_RESP,
        .to = 1,
        .from = 2,
        .term = 1,
        .context = slice_of(context, 8),
    };
    assert_int_equal(raft_step(raft, &m), ERR_OK);
    assert_int_equal(raft->nonsense_count, 1);
    assert_int_equal(raft->read_state_count, 0);
    put_le64(context, 1);
    assert_int_equal(raft_step(raft, &m), ERR_OK);
    assert_int_equal(raft->read_state_count, 1);
    raft_free(&raft);
}

TEST(raft, election_timeouts_differ_but_follow_from_the_seed)
{
    unsigned seen[20] = {0};
    struct raft *a = member_of(3);
    struct raft *b = member_of(3);
    for (int i = 0; i < 2000; i++) {
        raft__become_follower(a, 1, RAFT_NONE);
        raft__become_follower(b, 1, RAFT_NONE);
        assert_int_equal(a->election_timeout, b->election_timeout);
        seen[a->election_timeout]++;
    }
    for (int ticks = 0; ticks < 20; ticks++) {
        assert_true(ticks < 10 ? seen[ticks] == 0 : seen[ticks] > 100);
    }
    raft_free(&a);
    raft_free(&b);
}

TEST(raft, the_same_calls_have_the_same_effects)
{
    struct raft *rafts[2] = {member_of(3), member_of(3)};
    for (int i = 0; i < 200; i++) {
        struct raft_ready rd[2] = {{0}, {0}};
        for (int j = 0; j < 2; j++) {
            raft_tick(rafts[j]);
            raft_ready(rafts[j], &rd[j]);
            raft_persisted(rafts[j], &rd[j]);
        }
        assert_int_equal(rd[0].message_count, rd[1].message_count);
        for (size_t k = 0; k < rd[0].message_count; k++) {
            assert_int_equal(rd[0].messages[k].type, rd[1].messages[k].type);
            assert_int_equal(rd[0].messages[k].term, rd[1].messages[k].term);
        }
        raft_ready_fini(&rd[0]);
        raft_ready_fini(&rd[1]);
    }
    raft_free(&rafts[0]);
    raft_free(&rafts[1]);
}
