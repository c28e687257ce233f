#include "raft/raftlog.h"

#include "unit.h"

static struct raftlog log_of(raft_index base, raft_term base_term)
{
    struct raftlog log;
    raftlog_init(&log, base, base_term, RAFT_NO_LIMIT, (struct raft_trace){0});
    return log;
}

/* Pushes one entry of each term, with its index as data. */
static void push_terms(struct raftlog *log, const raft_term *terms, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct raft_payload *payload = raft_payload_new(8);
        put_le64(payload->bytes, log->last + 1);
        raftlog_push(log, terms[i], RAFT_ENTRY_NORMAL, payload);
        raft_payload_unref(&payload);
    }
}

#define PUSH(log, ...)                                                                             \
    push_terms((log), (const raft_term[]){__VA_ARGS__},                                            \
               ARRAY_LEN(((const raft_term[]){__VA_ARGS__})))

/* A leader's message: entries of these terms behind `prev`. */
static enum err append_terms(struct raftlog *log, raft_index prev, raft_term prev_term,
                             const raft_term *terms, size_t count, raft_index commit)
{
    struct raft_entry entries[16];
    for (size_t i = 0; i < count; i++) {
        entries[i] = (struct raft_entry){.index = prev + 1 + i, .term = terms[i]};
    }
    return raftlog_append(log, prev, prev_term, entries, count, commit);
}

#define APPEND(log, prev, prev_term, commit, ...)                                                  \
    append_terms((log), (prev), (prev_term), (const raft_term[]){__VA_ARGS__},                     \
                 ARRAY_LEN(((const raft_term[]){__VA_ARGS__})), (commit))

static void assert_terms(const struct raftlog *log, const raft_term *terms, size_t count)
{
    assert_int_equal(log->last - log->base, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(raftlog_at(log, log->base + 1 + i)->term, terms[i]);
    }
    raftlog_check(log);
}

#define ASSERT_TERMS(log, ...)                                                                     \
    assert_terms((log), (const raft_term[]){__VA_ARGS__},                                          \
                 ARRAY_LEN(((const raft_term[]){__VA_ARGS__})))

TEST(raftlog, terms_are_known_from_base_to_last)
{
    struct raftlog log = log_of(10, 3);
    raft_term term = 99;
    PUSH(&log, 3, 4, 4);
    assert_int_equal(raftlog_term(&log, 9, &term), ERR_COMPACTED);
    assert_int_equal(term, 99);
    assert_int_equal(raftlog_term(&log, 10, &term), ERR_OK);
    assert_int_equal(term, 3);
    assert_int_equal(raftlog_term(&log, 13, &term), ERR_OK);
    assert_int_equal(term, 4);
    assert_int_equal(raftlog_term(&log, 14, &term), ERR_FUTURE);
    assert_int_equal(raftlog_term_or_zero(&log, 14), 0);
    assert_int_equal(raftlog_last_term(&log), 4);
    raftlog_fini(&log);
}

TEST(raftlog, the_more_complete_log_has_the_later_term_or_is_longer)
{
    struct raftlog log = log_of(0, 0);
    PUSH(&log, 1, 2, 3);
    assert_true(raftlog_is_up_to_date(&log, 1, 4));
    assert_true(raftlog_is_up_to_date(&log, 3, 3));
    assert_true(raftlog_is_up_to_date(&log, 4, 3));
    assert_false(raftlog_is_up_to_date(&log, 2, 3));
    assert_false(raftlog_is_up_to_date(&log, 9, 2));
    raftlog_fini(&log);
}

TEST(raftlog, a_leaders_entries_replace_what_differs_and_only_that)
{
    struct raftlog log = log_of(0, 0);
    PUSH(&log, 1, 1, 1, 1);
    log.offset = log.in_progress = 5; /* all durable */
    /* Nothing new: nothing is cut, even though the message ends earlier. */
    assert_int_equal(APPEND(&log, 1, 1, 0, 1), ERR_OK);
    ASSERT_TERMS(&log, 1, 1, 1, 1);
    assert_int_equal(log.offset, 5);
    /* One behind the end. */
    assert_int_equal(APPEND(&log, 4, 1, 0, 2), ERR_OK);
    ASSERT_TERMS(&log, 1, 1, 1, 1, 2);
    assert_int_equal(log.offset, 5);
    /* A conflict in what was durable: it is to be written again. */
    assert_int_equal(APPEND(&log, 1, 1, 0, 1, 3), ERR_OK);
    ASSERT_TERMS(&log, 1, 1, 3);
    assert_int_equal(log.offset, 3);
    assert_int_equal(log.in_progress, 3);
    /* It does not know what lies before these. */
    assert_int_equal(APPEND(&log, 7, 3, 0, 3), ERR_FUTURE);
    assert_int_equal(APPEND(&log, 3, 2, 0, 3), ERR_FUTURE);
    ASSERT_TERMS(&log, 1, 1, 3);
    raftlog_fini(&log);
}

TEST(raftlog, what_is_committed_is_never_replaced)
{
    struct raftlog log = log_of(0, 0);
    PUSH(&log, 1, 1, 1);
    assert_int_equal(APPEND(&log, 1, 1, 2, 1), ERR_OK);
    assert_int_equal(log.committed, 2);
    assert_int_equal(APPEND(&log, 0, 0, 3, 1, 2, 2), ERR_CORRUPT);
    ASSERT_TERMS(&log, 1, 1, 1);
    assert_int_equal(log.committed, 2);
    raftlog_fini(&log);
}

TEST(raftlog, a_commit_goes_no_further_than_the_message_proves)
{
    struct raftlog log = log_of(0, 0);
    PUSH(&log, 1, 1, 1);
    /* Entry 3 may be replaced yet: the message says nothing about it. */
    assert_int_equal(APPEND(&log, 1, 1, 3, 1), ERR_OK);
    assert_int_equal(log.committed, 2);
    raftlog_fini(&log);
}

TEST(raftlog, the_conflict_search_skips_later_terms)
{
    struct raftlog log = log_of(2, 1);
    PUSH(&log, 2, 2, 5, 5, 5);
    raft_term term;
    assert_int_equal(raftlog_conflict_by_term(&log, 7, 5, &term), 7);
    assert_int_equal(term, 5);
    assert_int_equal(raftlog_conflict_by_term(&log, 7, 4, &term), 4);
    assert_int_equal(term, 2);
    assert_int_equal(raftlog_conflict_by_term(&log, 7, 1, &term), 2);
    assert_int_equal(term, 1);
    assert_int_equal(raftlog_conflict_by_term(&log, 7, 0, &term), 1); /* compacted: unknown */
    assert_int_equal(term, 0);
    assert_int_equal(raftlog_conflict_by_term(&log, 100, 5, &term), 100);
    assert_int_equal(term, 0);
    raftlog_fini(&log);
}

TEST(raftlog, a_finished_write_counts_only_if_its_last_entry_is_still_there)
{
    struct raftlog log = log_of(0, 0);
    PUSH(&log, 1, 1, 1);
    raftlog_accept_unstable(&log);
    assert_false(raftlog_has_next_unstable(&log));
    assert_true(raftlog_has_unstable(&log));
    assert_int_equal(APPEND(&log, 1, 1, 0, 2, 2), ERR_OK); /* replaces 2 and 3 meanwhile */
    assert_int_equal(log.in_progress, 2);
    raftlog_stable_to(&log, 3, 1);
    assert_int_equal(log.offset, 1);
    raftlog_stable_to(&log, 1, 1);
    assert_int_equal(log.offset, 2);
    raftlog_stable_to(&log, 9, 2);
    assert_int_equal(log.offset, 2);
    raftlog_accept_unstable(&log);
    raftlog_stable_to(&log, 3, 2);
    assert_int_equal(log.offset, 4);
    raftlog_check(&log);
    raftlog_fini(&log);
}

TEST(raftlog, pages_respect_the_limit_but_hold_one_entry_at_least)
{
    struct raftlog log = log_of(0, 0);
    PUSH(&log, 1, 1, 1, 1);
    uint64_t one = raftlog_entry_bytes(raftlog_at(&log, 1));
    assert_int_equal(one, 4 + 2 + 8);
    assert_int_equal(raftlog_fit(&log, 1, 5, 0), 1);
    assert_int_equal(raftlog_fit(&log, 1, 5, one * 2 - 1), 1);
    assert_int_equal(raftlog_fit(&log, 1, 5, one * 2), 2);
    assert_int_equal(raftlog_fit(&log, 1, 5, RAFT_NO_LIMIT), 4);
    assert_int_equal(raftlog_fit(&log, 5, 5, 10), 0);
    raftlog_fini(&log);
}

TEST(raftlog, apply_gets_durable_entries_page_by_page)
{
    struct raftlog log = log_of(0, 0);
    raft_index lo;
    raft_index hi;
    PUSH(&log, 1, 1, 1, 1);
    uint64_t one = raftlog_entry_bytes(raftlog_at(&log, 1));
    log.applying_bytes_max = one * 2;
    raftlog_commit_to(&log, 3);
    raftlog_accept_unstable(&log);
    assert_false(raftlog_next_committed(&log, false, &lo, &hi));
    assert_true(raftlog_next_committed(&log, true, &lo, &hi));
    assert_int_equal(hi, 4);
    raftlog_stable_to(&log, 4, 1);
    assert_true(raftlog_next_committed(&log, false, &lo, &hi));
    assert_int_equal(lo, 1);
    assert_int_equal(hi, 4);
    raftlog_accept_applying(&log, 2, one * 2, false);
    assert_false(raftlog_next_committed(&log, false, &lo, &hi)); /* full */
    assert_int_equal(raftlog_applied_to(&log, 2), 16);
    assert_true(raftlog_next_committed(&log, false, &lo, &hi));
    assert_int_equal(lo, 3);
    raftlog_check(&log);
    raftlog_fini(&log);
}

TEST(raftlog, a_snapshot_starts_the_log_over)
{
    struct raftlog log = log_of(0, 0);
    raft_index lo;
    raft_index hi;
    struct raft_conf_state conf_state = {.voters = {.count = 1, .ids = {1}}};
    struct raft_snapshot *snapshot = raft_snapshot_new(7, 2, &conf_state, NULL);
    PUSH(&log, 1, 1);
    raftlog_commit_to(&log, 1);
    raftlog_restore(&log, snapshot);
    raftlog_check(&log);
    assert_int_equal(log.last, 7);
    assert_int_equal(log.applied, 0);
    assert_int_equal(raftlog_last_term(&log), 2);
    assert_int_equal(APPEND(&log, 7, 2, 9, 2, 2), ERR_OK);
    assert_false(raftlog_next_committed(&log, true, &lo, &hi)); /* not installed yet */
    raftlog_stable_snapshot(&log, 6);
    assert_non_null(log.pending);
    raftlog_stable_snapshot(&log, 7);
    assert_null(log.pending);
    assert_ptr_equal(raftlog_snapshot(&log), snapshot);
    assert_true(raftlog_next_committed(&log, true, &lo, &hi));
    assert_int_equal(lo, 8);
    assert_int_equal(hi, 10);
    raftlog_check(&log);
    raft_snapshot_unref(&snapshot);
    raftlog_fini(&log);
}

TEST(raftlog, entries_stay_where_they_are_while_the_log_grows_and_shrinks)
{
    struct raftlog log = log_of(1000, 1);
    raft_index low = 1000;
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 300; i++) {
            PUSH(&log, 1);
        }
        const struct raft_entry *entry = raftlog_at(&log, log.last - 10);
        raftlog_commit_to(&log, log.last);
        raftlog_accept_unstable(&log);
        raftlog_stable_to(&log, log.last, 1);
        (void)raftlog_applied_to(&log, log.last);
        low += 299;
        raftlog_compact(&log, low);
        assert_int_equal(log.base, low);
        assert_ptr_equal(raftlog_at(&log, log.last - 10 > low ? log.last - 10 : log.last),
                         log.last - 10 > low ? entry : raftlog_at(&log, log.last));
        raftlog_check(&log);
    }
    for (raft_index i = log.base + 1; i <= log.last; i++) {
        assert_int_equal(get_le64(raftlog_at(&log, i)->payload->bytes), i);
    }
    assert_true(log.segment_count <= 2);
    raftlog_compact(&log, log.last);
    assert_int_equal(raftlog_last_term(&log), 1);
    PUSH(&log, 2);
    raftlog_check(&log);
    raftlog_fini(&log);
}

static void count_detached(struct raft_payload *payload)
{
    ++*(int *)payload->attached;
}

TEST(raftlog, whoever_is_cut_off_lets_go_of_what_was_attached)
{
    struct raftlog log = log_of(0, 0);
    int detached = 0;
    for (int i = 0; i < 2; i++) {
        struct raft_payload *payload = raft_payload_new(0);
        payload->attached = &detached;
        payload->detach = count_detached;
        raftlog_push(&log, 1, RAFT_ENTRY_NORMAL, payload);
        raft_payload_unref(&payload);
    }
    struct raft_entry copy;
    raftlog_copy(&log, 2, 1, &copy);
    assert_int_equal(APPEND(&log, 0, 0, 0, 2), ERR_OK);
    assert_int_equal(detached, 1); /* the other is still held by the copy */
    raft_payload_unref(&copy.payload);
    assert_int_equal(detached, 2);
    raftlog_fini(&log);
}
