#include "raft/progress.h"

#include "unit.h"

static struct progress follower(raft_index match, raft_index next)
{
    struct progress pr = {.id = 2, .match = match, .next = next, .is_recent_active = true};
    inflights_init(&pr.inflights, 3, RAFT_NO_LIMIT);
    return pr;
}

TEST(inflights, the_window_fills_and_frees_in_order)
{
    struct inflights in;
    inflights_init(&in, 20, RAFT_NO_LIMIT);
    for (raft_index round = 0; round < 5; round++) {
        for (raft_index i = 1; i <= 20; i++) {
            assert_false(inflights_is_full(&in));
            inflights_add(&in, round * 100 + i, i);
        }
        assert_true(inflights_is_full(&in));
        inflights_free_to(&in, round * 100);
        assert_int_equal(in.count, 20);
        inflights_free_to(&in, round * 100 + 13);
        assert_int_equal(in.count, 7);
        assert_int_equal(in.bytes, 14 + 15 + 16 + 17 + 18 + 19 + 20);
        inflights_free_to(&in, round * 100 + 20);
        assert_int_equal(in.count, 0);
        assert_int_equal(in.bytes, 0);
    }
    inflights_fini(&in);
}

TEST(inflights, bytes_fill_the_window_too_but_one_message_always_fits)
{
    struct inflights in;
    inflights_init(&in, 20, 10);
    inflights_add(&in, 1, 1000);
    assert_true(inflights_is_full(&in));
    inflights_free_to(&in, 1);
    inflights_add(&in, 2, 9);
    assert_false(inflights_is_full(&in));
    inflights_add(&in, 3, 1);
    assert_true(inflights_is_full(&in));
    inflights_reset(&in);
    assert_false(inflights_is_full(&in));
    inflights_fini(&in);
}

TEST(progress, a_probe_sends_once_and_waits)
{
    struct progress pr = follower(0, 5);
    assert_false(progress_is_paused(&pr));
    progress_sent_entries(&pr, 0, 0);
    assert_false(progress_is_paused(&pr));
    progress_sent_entries(&pr, 1, 10);
    assert_true(progress_is_paused(&pr));
    assert_int_equal(pr.next, 5);
    assert_true(progress_update(&pr, 5));
    assert_false(progress_is_paused(&pr));
    assert_int_equal(pr.next, 6);
    progress_check(&pr);
    inflights_fini(&pr.inflights);
}

TEST(progress, replication_runs_ahead_until_the_window_is_full)
{
    struct progress pr = follower(4, 9);
    progress_become_replicate(&pr);
    assert_int_equal(pr.next, 5);
    for (int i = 0; i < 3; i++) {
        assert_false(progress_is_paused(&pr));
        progress_sent_entries(&pr, 2, 20);
    }
    assert_true(progress_is_paused(&pr));
    assert_int_equal(pr.next, 11);
    progress_check(&pr);
    assert_false(progress_update(&pr, 4));
    assert_true(progress_update(&pr, 6));
    inflights_free_to(&pr.inflights, 6);
    assert_false(progress_is_paused(&pr));
    assert_int_equal(pr.inflights.count, 2);
    progress_check(&pr);
    inflights_fini(&pr.inflights);
}

TEST(progress, a_stale_rejection_changes_nothing)
{
    struct progress pr = follower(4, 9);
    progress_become_replicate(&pr);
    progress_sent_entries(&pr, 3, 3);
    assert_false(progress_decrease(&pr, 4, 2)); /* it has acknowledged that since */
    assert_int_equal(pr.next, 8);
    assert_true(progress_decrease(&pr, 6, 5));
    assert_int_equal(pr.next, 5);
    progress_become_probe(&pr);
    assert_false(progress_decrease(&pr, 7, 3)); /* not the one probe that is out */
    assert_int_equal(pr.next, 5);
    assert_true(progress_decrease(&pr, 4, 1));
    assert_int_equal(pr.next, 5); /* never at or below match */
    progress_check(&pr);
    inflights_fini(&pr.inflights);
}

TEST(progress, a_hint_moves_a_probe_back_but_never_forward)
{
    struct progress pr = follower(0, 10);
    assert_true(progress_decrease(&pr, 9, 3));
    assert_int_equal(pr.next, 4);
    assert_true(progress_decrease(&pr, 3, 100));
    assert_int_equal(pr.next, 3);
    assert_true(progress_decrease(&pr, 2, 0));
    assert_int_equal(pr.next, 1);
    inflights_fini(&pr.inflights);
}

TEST(progress, after_a_snapshot_it_probes_behind_it)
{
    struct progress pr = follower(1, 2);
    progress_become_snapshot(&pr, 20);
    assert_true(progress_is_paused(&pr));
    assert_int_equal(pr.next, 21);
    progress_become_probe(&pr);
    assert_int_equal(pr.next, 21);
    assert_int_equal(pr.pending_snapshot, 0);
    /* A failed one: its index is forgotten first, and it starts from what is known. */
    progress_become_snapshot(&pr, 30);
    pr.pending_snapshot = 0;
    progress_become_probe(&pr);
    assert_int_equal(pr.next, 2);
    progress_check(&pr);
    inflights_fini(&pr.inflights);
}

TEST(progress, a_commit_is_told_once_and_only_as_far_as_entries_went)
{
    struct progress pr = follower(4, 6);
    pr.sent_commit = 3;
    assert_true(progress_can_bump_commit(&pr, 4));
    assert_false(progress_can_bump_commit(&pr, 3));
    pr.sent_commit = 5;
    assert_false(progress_can_bump_commit(&pr, 9));
    inflights_fini(&pr.inflights);
}

TEST(progress, prints_as_etcd_does)
{
    char text[PROGRESS_TEXT_MAX];
    struct progress pr = follower(0, 1);
    pr.is_recent_active = false;
    pr.is_learner = true;
    progress_become_snapshot(&pr, 7);
    assert_string_equal(progress_text(&pr, text),
                        "StateSnapshot match=0 next=8 learner paused pendingSnap=7 inactive");
    pr.is_learner = false;
    pr.is_recent_active = true;
    progress_become_probe(&pr);
    progress_become_replicate(&pr);
    for (int i = 0; i < 3; i++) {
        progress_sent_entries(&pr, 1, 1);
    }
    assert_string_equal(progress_text(&pr, text),
                        "StateReplicate match=0 next=4 paused inflight=3[full]");
    inflights_fini(&pr.inflights);
}
