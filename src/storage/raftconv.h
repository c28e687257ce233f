/* raft's own structs and raftpb's: the two sides of a codec that may not know each other.
 *
 * Threads: pure functions. */
#ifndef STORAGE_RAFTCONV_H
#define STORAGE_RAFTCONV_H

#include "codec/raftpb.h"
#include "raft/types.h"

/* Borrows the payload. Empty data is nil, as in the entry a leader starts its term with. */
static inline struct raftpb_entry raftconv_entry(const struct raft_entry *entry)
{
    return (struct raftpb_entry){.type = (int32_t)entry->type,
                                 .term = entry->term,
                                 .index = entry->index,
                                 .data = raft_payload_slice(entry->payload)};
}

static inline struct raftpb_hard_state raftconv_hard_state(const struct raft_hard_state *state)
{
    return (struct raftpb_hard_state){
        .term = state->term, .vote = state->vote, .commit = state->commit};
}

static inline struct raftpb_ids raftconv_ids(const struct raft_id_set *set)
{
    return (struct raftpb_ids){.ids = set->ids, .count = set->count};
}

/* Borrows the sets: valid as long as *state stays where it is. */
static inline struct raftpb_conf_state raftconv_conf_state(const struct raft_conf_state *state)
{
    return (struct raftpb_conf_state){.voters = raftconv_ids(&state->voters),
                                      .learners = raftconv_ids(&state->learners),
                                      .voters_outgoing = raftconv_ids(&state->voters_outgoing),
                                      .learners_next = raftconv_ids(&state->learners_next),
                                      .auto_leave = state->auto_leave};
}

/* Sorted and checked: ERR_CORRUPT with more than RAFT_MEMBERS_MAX ids in one set, with the id 0 or
 * with one id twice. */
FALLIBLE raftconv_conf_state_from(const struct raftpb_conf_state *in, struct raft_conf_state *out);

/* Copies the data into a payload with one reference. ERR_CORRUPT: a type raft does not know. */
FALLIBLE raftconv_entry_from(const struct raftpb_entry *in, struct raft_entry *out);

#endif
