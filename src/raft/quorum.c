#include "raft/quorum.h"

/* Sorted insertion into at most RAFT_MEMBERS_MAX places: seven at most in practice. */
static void insert_sorted(uint64_t *sorted, uint32_t count, uint64_t value)
{
    uint32_t place = count;
    while (place > 0 && sorted[place - 1] > value) {
        sorted[place] = sorted[place - 1];
        place--;
    }
    sorted[place] = value;
}

static uint64_t majority_committed(const struct raft_id_set *voters, quorum_ack_fn *ack,
                                   const void *priv)
{
    if (voters->count == 0) {
        return UINT64_MAX;
    }
    if (voters->count == 1) {
        return ack(priv, voters->ids[0]);
    }
    uint64_t sorted[RAFT_MEMBERS_MAX];
    for (uint32_t i = 0; i < voters->count; i++) {
        insert_sorted(sorted, i, ack(priv, voters->ids[i]));
    }
    /* n/2+1 members are at or above this place in ascending order. */
    return sorted[voters->count - (voters->count / 2 + 1)];
}

uint64_t quorum_committed(const struct quorum_joint *joint, quorum_ack_fn *ack, const void *priv)
{
    uint64_t incoming = majority_committed(&joint->incoming, ack, priv);
    uint64_t outgoing = majority_committed(&joint->outgoing, ack, priv);
    return incoming < outgoing ? incoming : outgoing;
}

static enum quorum_result majority_vote(const struct raft_id_set *voters, quorum_vote_fn *vote,
                                        const void *priv)
{
    if (voters->count == 0) {
        return QUORUM_WON;
    }
    uint32_t yes = 0;
    uint32_t missing = 0;
    for (uint32_t i = 0; i < voters->count; i++) {
        enum quorum_vote v = vote(priv, voters->ids[i]);
        yes += v == QUORUM_VOTE_YES;
        missing += v == QUORUM_VOTE_NONE;
    }
    uint32_t need = voters->count / 2 + 1;
    if (yes >= need) {
        return QUORUM_WON;
    }
    return yes + missing >= need ? QUORUM_PENDING : QUORUM_LOST;
}

enum quorum_result quorum_vote_result(const struct quorum_joint *joint, quorum_vote_fn *vote,
                                      const void *priv)
{
    enum quorum_result incoming = majority_vote(&joint->incoming, vote, priv);
    enum quorum_result outgoing = majority_vote(&joint->outgoing, vote, priv);
    if (incoming == outgoing) {
        return incoming;
    }
    return incoming == QUORUM_LOST || outgoing == QUORUM_LOST ? QUORUM_LOST : QUORUM_PENDING;
}

bool quorum_has(const struct quorum_joint *joint, raft_id id)
{
    return raft_id_set_has(&joint->incoming, id) || raft_id_set_has(&joint->outgoing, id);
}

struct raft_id_set quorum_ids(const struct quorum_joint *joint)
{
    struct raft_id_set all = joint->incoming;
    for (uint32_t i = 0; i < joint->outgoing.count; i++) {
        ASSERT(raft_id_set_add(&all, joint->outgoing.ids[i]));
    }
    return all;
}
