#include "raft/quorum.h"

#include "unit.h"

#define IDS 5 /* members 1 to 5 */
#define UNKNOWN 7

struct acks {
    uint64_t index[IDS + 1];
    enum quorum_vote vote[IDS + 1];
};

static uint64_t ack(const void *priv, raft_id id)
{
    return ((const struct acks *)priv)->index[id];
}

static enum quorum_vote vote(const void *priv, raft_id id)
{
    return ((const struct acks *)priv)->vote[id];
}

static struct raft_id_set set_of(unsigned bits)
{
    struct raft_id_set set = {0};
    for (raft_id id = 1; id <= IDS; id++) {
        if ((bits >> (id - 1) & 1) != 0) {
            assert_true(raft_id_set_add(&set, id));
        }
    }
    return set;
}

/* Counts instead of sorting: does a majority of the set hold `index`? */
static bool is_held(unsigned bits, const struct acks *acks, uint64_t index)
{
    int members = 0;
    int holders = 0;
    for (raft_id id = 1; id <= IDS; id++) {
        if ((bits >> (id - 1) & 1) != 0) {
            members++;
            holders += acks->index[id] >= index;
        }
    }
    return members == 0 || holders * 2 > members;
}

static uint64_t committed_by_counting(unsigned in, unsigned out, const struct acks *acks)
{
    uint64_t index = 0;
    while (index < 4 && is_held(in, acks, index + 1) && is_held(out, acks, index + 1)) {
        index++;
    }
    return in == 0 && out == 0 ? UINT64_MAX : index;
}

TEST(quorum, an_index_is_committed_when_counting_says_so)
{
    struct acks acks = {0};
    for (unsigned in = 0; in < 1u << IDS; in++) {
        for (unsigned out = 0; out < 1u << IDS; out += 3) {
            struct quorum_joint joint = {.incoming = set_of(in), .outgoing = set_of(out)};
            for (unsigned code = 0; code < 1024; code += 7) {
                for (raft_id id = 1; id <= IDS; id++) {
                    acks.index[id] = code >> (2 * (id - 1)) & 3;
                }
                assert_int_equal(quorum_committed(&joint, ack, &acks),
                                 committed_by_counting(in, out, &acks));
            }
        }
    }
}

/* Can the set still be won, must it be? Tries every way the missing votes may fall. */
static void outcomes(unsigned bits, const struct acks *acks, bool *can_win, bool *can_lose)
{
    *can_win = false;
    *can_lose = false;
    for (unsigned fall = 0; fall < 1u << IDS; fall++) {
        int members = 0;
        int yes = 0;
        for (raft_id id = 1; id <= IDS; id++) {
            if ((bits >> (id - 1) & 1) == 0) {
                continue;
            }
            members++;
            bool is_yes = acks->vote[id] == QUORUM_VOTE_NONE ? (fall >> (id - 1) & 1) != 0
                                                             : acks->vote[id] == QUORUM_VOTE_YES;
            yes += is_yes;
        }
        if (members == 0 || yes * 2 > members) {
            *can_win = true;
        } else {
            *can_lose = true;
        }
    }
}

TEST(quorum, a_vote_is_decided_when_the_missing_ones_cannot_change_it)
{
    struct acks acks = {0};
    for (unsigned in = 0; in < 1u << IDS; in += 1) {
        unsigned out = in * 11 % 32;
        struct quorum_joint joint = {.incoming = set_of(in), .outgoing = set_of(out)};
        for (unsigned code = 0; code < 243; code++) {
            unsigned rest = code;
            for (raft_id id = 1; id <= IDS; id++, rest /= 3) {
                acks.vote[id] = (enum quorum_vote)(rest % 3);
            }
            bool in_win, in_lose, out_win, out_lose;
            outcomes(in, &acks, &in_win, &in_lose);
            outcomes(out, &acks, &out_win, &out_lose);
            enum quorum_result want = QUORUM_PENDING;
            if (!in_lose && !out_lose) {
                want = QUORUM_WON;
            } else if (!in_win || !out_win) {
                want = QUORUM_LOST;
            }
            assert_int_equal(quorum_vote_result(&joint, vote, &acks), want);
        }
    }
}

TEST(quorum, two_majorities_of_one_set_always_meet)
{
    for (unsigned a = 0; a < 1u << IDS; a++) {
        for (unsigned b = 0; b < 1u << IDS; b++) {
            struct quorum_joint joint = {.incoming = set_of(31)};
            struct acks first = {0};
            struct acks second = {0};
            for (raft_id id = 1; id <= IDS; id++) {
                first.vote[id] = (a >> (id - 1) & 1) != 0 ? QUORUM_VOTE_YES : QUORUM_VOTE_NO;
                second.vote[id] = (b >> (id - 1) & 1) != 0 ? QUORUM_VOTE_YES : QUORUM_VOTE_NO;
            }
            if (quorum_vote_result(&joint, vote, &first) == QUORUM_WON &&
                quorum_vote_result(&joint, vote, &second) == QUORUM_WON) {
                assert_true((a & b) != 0);
            }
        }
    }
}

TEST(id_set, stays_in_order_and_refuses_what_does_not_fit)
{
    struct raft_id_set set = {0};
    for (raft_id id = RAFT_MEMBERS_MAX; id > 0; id--) {
        assert_true(raft_id_set_add(&set, id * 10));
        assert_true(raft_id_set_add(&set, id * 10));
    }
    assert_int_equal(set.count, RAFT_MEMBERS_MAX);
    assert_false(raft_id_set_add(&set, 5));
    assert_true(raft_id_set_add(&set, 50));
    for (uint32_t i = 0; i < set.count; i++) {
        assert_int_equal(set.ids[i], (i + 1) * 10);
    }
    raft_id_set_remove(&set, 5);
    raft_id_set_remove(&set, 50);
    assert_false(raft_id_set_has(&set, 50));
    assert_true(raft_id_set_has(&set, 60));
    assert_int_equal(set.count, RAFT_MEMBERS_MAX - 1);
}

TEST(conf_state, nonsense_is_not_valid)
{
    struct raft_conf_state good = {
        .voters = {.count = 2, .ids = {1, 2}},
        .voters_outgoing = {.count = 2, .ids = {2, 3}},
        .learners = {.count = 1, .ids = {4}},
        .learners_next = {.count = 1, .ids = {3}},
        .auto_leave = true,
    };
    assert_true(raft_conf_state_is_valid(&good));
    assert_true(raft_conf_state_is_valid(&(struct raft_conf_state){0}));

    struct raft_conf_state bad = good;
    bad.voters.ids[1] = 1;
    assert_false(raft_conf_state_is_valid(&bad)); /* twice */
    bad = good;
    bad.voters.ids[0] = RAFT_NONE;
    assert_false(raft_conf_state_is_valid(&bad)); /* nobody */
    bad = good;
    bad.voters.count = RAFT_MEMBERS_MAX + 1;
    assert_false(raft_conf_state_is_valid(&bad)); /* too many */
    bad = good;
    bad.learners.ids[0] = 3;
    assert_false(raft_conf_state_is_valid(&bad)); /* learner and voter */
    bad = good;
    bad.learners_next.ids[0] = 4;
    assert_false(raft_conf_state_is_valid(&bad)); /* no outgoing voter */
    bad = good;
    bad.learners_next.ids[0] = 2;
    assert_false(raft_conf_state_is_valid(&bad)); /* voter in both */
    bad = good;
    bad.voters_outgoing.count = 0;
    bad.learners_next.count = 0;
    assert_false(raft_conf_state_is_valid(&bad)); /* leaves what it is not in */
    bad = good;
    bad.voters.count = 0;
    assert_false(raft_conf_state_is_valid(&bad)); /* no voters */
}
