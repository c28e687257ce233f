#include "raft/types.h"

#include "base/mem.h"

#include <string.h>

struct raft_payload *raft_payload_new(size_t len)
{
    ASSERT(len <= UINT32_MAX);
    struct raft_payload *payload = mem_alloc(sizeof(*payload) + len);
    payload->refs = 1;
    payload->len = (uint32_t)len;
    payload->attached = NULL;
    payload->detach = NULL;
    return payload;
}

struct raft_payload *raft_payload_copy(struct slice bytes)
{
    struct raft_payload *payload = raft_payload_new(bytes.len);
    if (bytes.len > 0) {
        memcpy(payload->bytes, bytes.data, bytes.len);
    }
    return payload;
}

struct raft_payload *raft_payload_ref(struct raft_payload *payload)
{
    if (payload != NULL) {
        ASSERT(payload->refs > 0);
        payload->refs++;
    }
    return payload;
}

void raft_payload_unref(struct raft_payload **payload)
{
    struct raft_payload *p = *payload;
    *payload = NULL;
    if (p == NULL) {
        return;
    }
    ASSERT(p->refs > 0);
    if (--p->refs > 0) {
        return;
    }
    if (p->attached != NULL && p->detach != NULL) {
        p->detach(p);
    }
    mem_free(p);
}

struct raft_snapshot *raft_snapshot_new(raft_index index, raft_term term,
                                        const struct raft_conf_state *conf_state,
                                        struct raft_payload *data)
{
    struct raft_snapshot *snapshot = NEW(struct raft_snapshot);
    snapshot->refs = 1;
    snapshot->index = index;
    snapshot->term = term;
    snapshot->conf_state = *conf_state;
    snapshot->data = raft_payload_ref(data);
    return snapshot;
}

struct raft_snapshot *raft_snapshot_ref(struct raft_snapshot *snapshot)
{
    if (snapshot != NULL) {
        ASSERT(snapshot->refs > 0);
        snapshot->refs++;
    }
    return snapshot;
}

void raft_snapshot_unref(struct raft_snapshot **snapshot)
{
    struct raft_snapshot *s = *snapshot;
    *snapshot = NULL;
    if (s == NULL) {
        return;
    }
    ASSERT(s->refs > 0);
    if (--s->refs > 0) {
        return;
    }
    raft_payload_unref(&s->data);
    mem_free(s);
}

/* Where `id` is, or where it would go. */
static uint32_t id_set_place(const struct raft_id_set *set, raft_id id)
{
    uint32_t place = 0;
    while (place < set->count && set->ids[place] < id) {
        place++;
    }
    return place;
}

bool raft_id_set_has(const struct raft_id_set *set, raft_id id)
{
    uint32_t place = id_set_place(set, id);
    return place < set->count && set->ids[place] == id;
}

bool raft_id_set_add(struct raft_id_set *set, raft_id id)
{
    uint32_t place = id_set_place(set, id);
    if (place < set->count && set->ids[place] == id) {
        return true;
    }
    if (set->count == RAFT_MEMBERS_MAX) {
        return false;
    }
    memmove(&set->ids[place + 1], &set->ids[place], (set->count - place) * sizeof(raft_id));
    set->ids[place] = id;
    set->count++;
    return true;
}

void raft_id_set_remove(struct raft_id_set *set, raft_id id)
{
    uint32_t place = id_set_place(set, id);
    if (place == set->count || set->ids[place] != id) {
        return;
    }
    set->count--;
    memmove(&set->ids[place], &set->ids[place + 1], (set->count - place) * sizeof(raft_id));
}

bool raft_id_set_eq(const struct raft_id_set *a, const struct raft_id_set *b)
{
    return a->count == b->count && memcmp(a->ids, b->ids, a->count * sizeof(raft_id)) == 0;
}

static bool id_set_is_valid(const struct raft_id_set *set)
{
    if (set->count > RAFT_MEMBERS_MAX || (set->count > 0 && set->ids[0] == RAFT_NONE)) {
        return false;
    }
    for (uint32_t i = 1; i < set->count; i++) {
        if (set->ids[i - 1] >= set->ids[i]) {
            return false;
        }
    }
    return true;
}

bool raft_conf_state_is_valid(const struct raft_conf_state *cs)
{
    if (!id_set_is_valid(&cs->voters) || !id_set_is_valid(&cs->voters_outgoing) ||
        !id_set_is_valid(&cs->learners) || !id_set_is_valid(&cs->learners_next)) {
        return false;
    }
    struct raft_id_set all = cs->voters;
    for (uint32_t i = 0; i < cs->voters_outgoing.count; i++) {
        if (!raft_id_set_add(&all, cs->voters_outgoing.ids[i])) {
            return false;
        }
    }
    for (uint32_t i = 0; i < cs->learners.count; i++) {
        if (raft_id_set_has(&all, cs->learners.ids[i])) {
            return false;
        }
    }
    for (uint32_t i = 0; i < cs->learners_next.count; i++) {
        if (!raft_id_set_has(&cs->voters_outgoing, cs->learners_next.ids[i]) ||
            raft_id_set_has(&cs->voters, cs->learners_next.ids[i])) {
            return false;
        }
    }
    bool is_joint = cs->voters_outgoing.count > 0;
    if (all.count + cs->learners.count > RAFT_MEMBERS_MAX) {
        return false;
    }
    if (cs->voters.count == 0) {
        return all.count == 0 && cs->learners.count == 0 && !cs->auto_leave;
    }
    return is_joint || !cs->auto_leave;
}

static const char *const message_type_names[RAFT_MSG_COUNT] = {
    [RAFT_MSG_HUP] = "MsgHup",
    [RAFT_MSG_BEAT] = "MsgBeat",
    [RAFT_MSG_PROP] = "MsgProp",
    [RAFT_MSG_APP] = "MsgApp",
    [RAFT_MSG_APP_RESP] = "MsgAppResp",
    [RAFT_MSG_VOTE] = "MsgVote",
    [RAFT_MSG_VOTE_RESP] = "MsgVoteResp",
    [RAFT_MSG_SNAP] = "MsgSnap",
    [RAFT_MSG_HEARTBEAT] = "MsgHeartbeat",
    [RAFT_MSG_HEARTBEAT_RESP] = "MsgHeartbeatResp",
    [RAFT_MSG_UNREACHABLE] = "MsgUnreachable",
    [RAFT_MSG_SNAP_STATUS] = "MsgSnapStatus",
    [RAFT_MSG_CHECK_QUORUM] = "MsgCheckQuorum",
    [RAFT_MSG_TRANSFER_LEADER] = "MsgTransferLeader",
    [RAFT_MSG_TIMEOUT_NOW] = "MsgTimeoutNow",
    [RAFT_MSG_READ_INDEX] = "MsgReadIndex",
    [RAFT_MSG_READ_INDEX_RESP] = "MsgReadIndexResp",
    [RAFT_MSG_PRE_VOTE] = "MsgPreVote",
    [RAFT_MSG_PRE_VOTE_RESP] = "MsgPreVoteResp",
    [RAFT_MSG_STORAGE_APPEND] = "MsgStorageAppend",
    [RAFT_MSG_STORAGE_APPEND_RESP] = "MsgStorageAppendResp",
    [RAFT_MSG_STORAGE_APPLY] = "MsgStorageApply",
    [RAFT_MSG_STORAGE_APPLY_RESP] = "MsgStorageApplyResp",
    [RAFT_MSG_FORGET_LEADER] = "MsgForgetLeader",
};

const char *raft_message_type_name(enum raft_message_type type)
{
    return (unsigned)type < RAFT_MSG_COUNT ? message_type_names[type] : "unknown";
}

#define LOCAL_TYPES                                                                                \
    (1u << RAFT_MSG_HUP | 1u << RAFT_MSG_BEAT | 1u << RAFT_MSG_UNREACHABLE |                       \
     1u << RAFT_MSG_SNAP_STATUS | 1u << RAFT_MSG_CHECK_QUORUM | 1u << RAFT_MSG_STORAGE_APPEND |    \
     1u << RAFT_MSG_STORAGE_APPEND_RESP | 1u << RAFT_MSG_STORAGE_APPLY |                           \
     1u << RAFT_MSG_STORAGE_APPLY_RESP | 1u << RAFT_MSG_FORGET_LEADER)

bool raft_message_is_local(enum raft_message_type type)
{
    return (unsigned)type < RAFT_MSG_COUNT && (LOCAL_TYPES >> type & 1) != 0;
}
