#include "storage/raftconv.h"

/* Insertion keeps the set sorted: it has at most 64 members. */
static FALLIBLE set_add(struct raft_id_set *set, raft_id id)
{
    if (id == RAFT_NONE || set->count == RAFT_MEMBERS_MAX) {
        return ERR_CORRUPT;
    }
    uint32_t at = set->count;
    while (at > 0 && set->ids[at - 1] > id) {
        at--;
    }
    if (at > 0 && set->ids[at - 1] == id) {
        return ERR_CORRUPT;
    }
    memmove(&set->ids[at + 1], &set->ids[at], (set->count - at) * sizeof(set->ids[0]));
    set->ids[at] = id;
    set->count++;
    return ERR_OK;
}

static FALLIBLE set_from(struct raftpb_ids ids, struct raft_id_set *set)
{
    for (size_t i = 0; i < ids.count; i++) {
        TRY(set_add(set, ids.ids[i]));
    }
    return ERR_OK;
}

FALLIBLE raftconv_conf_state_from(const struct raftpb_conf_state *in, struct raft_conf_state *out)
{
    struct raft_conf_state state = {.auto_leave = in->auto_leave};
    TRY(set_from(in->voters, &state.voters));
    TRY(set_from(in->learners, &state.learners));
    TRY(set_from(in->voters_outgoing, &state.voters_outgoing));
    TRY(set_from(in->learners_next, &state.learners_next));
    *out = state;
    return ERR_OK;
}

FALLIBLE raftconv_entry_from(const struct raftpb_entry *in, struct raft_entry *out)
{
    if (in->type < RAFT_ENTRY_NORMAL || in->type > RAFT_ENTRY_CONF_CHANGE_V2 ||
        in->data.len > UINT32_MAX) {
        return ERR_CORRUPT;
    }
    *out = (struct raft_entry){.index = in->index,
                               .term = in->term,
                               .payload = in->data.len == 0 ? NULL : raft_payload_copy(in->data),
                               .type = (enum raft_entry_type)in->type};
    return ERR_OK;
}
