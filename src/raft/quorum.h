/* Majorities, plain and joint: what index does a quorum hold, how does a vote stand.
 *
 * A configuration in transition has two sets of voters, and every decision needs a majority of
 * each (Raft dissertation §4.3). An empty set never stands in the way: it decides nothing. */
#ifndef RAFT_QUORUM_H
#define RAFT_QUORUM_H

#include "raft/types.h"

struct quorum_joint {
    struct raft_id_set incoming;
    struct raft_id_set outgoing; /* empty unless a joint configuration is in force */
};

/* The highest index the member has acknowledged; 0 if it never did. */
typedef uint64_t quorum_ack_fn(const void *priv, raft_id id);

/* The largest index that a majority of both sets has reached; UINT64_MAX without voters. */
uint64_t quorum_committed(const struct quorum_joint *joint, quorum_ack_fn *ack, const void *priv);

enum quorum_vote { QUORUM_VOTE_NONE, QUORUM_VOTE_YES, QUORUM_VOTE_NO };
typedef enum quorum_vote quorum_vote_fn(const void *priv, raft_id id);

enum quorum_result {
    QUORUM_PENDING, /* the votes still missing decide */
    QUORUM_LOST,
    QUORUM_WON,
};

/* An empty configuration wins: its other half decides alone. */
enum quorum_result quorum_vote_result(const struct quorum_joint *joint, quorum_vote_fn *vote,
                                      const void *priv);

bool quorum_has(const struct quorum_joint *joint, raft_id id);

/* Both sets in one. */
struct raft_id_set quorum_ids(const struct quorum_joint *joint);

#endif
