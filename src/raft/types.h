/* The words of raft: terms, indices, entries, snapshots, configurations, messages.
 *
 * Everything here maps one to one onto etcd's raftpb, so that a codec outside this folder can
 * carry it over the wire and into the log files; nothing here knows an encoding, except that a
 * conf change travels as raftpb bytes inside an entry (confchange.h).
 *
 * Ownership: payloads and snapshots are reference counted, because the log, messages in flight
 *            and a write in flight share them. Their bytes never change once they are proposed
 *            or stepped, so another thread may read bytes while somebody holds a reference.
 * Threads:   reference counts are touched by the loop thread only. */
#ifndef RAFT_TYPES_H
#define RAFT_TYPES_H

#include "base/bytes.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t raft_id;    /* a member; 0 is nobody */
typedef uint64_t raft_term;  /* 0 before the first election */
typedef uint64_t raft_index; /* 0 is before the first entry */

#define RAFT_NONE ((raft_id)0)

/* Terms and indices at or above this come only from a broken or hostile peer: counting up from
 * one reaches it after ten thousand years at ten million a second. */
#define RAFT_QUANTITY_MAX (UINT64_C(1) << 62)

/* Members in one configuration, voters and learners together. etcd advises seven voters. */
#define RAFT_MEMBERS_MAX 64

/* What a proposer wants replicated, and what the state machine gets back. */
struct raft_payload;
typedef void raft_detach_fn(struct raft_payload *payload);
struct raft_payload {
    uint32_t refs; /* loop thread only */
    uint32_t len;
    void *attached;         /* the proposer's decoded request; NULL when it came from elsewhere */
    raft_detach_fn *detach; /* runs as the last reference goes, if attached is still there */
    uint8_t bytes[];        /* immutable once handed to raft */
};

/* With one reference; the bytes are uninitialised and the caller's to fill. */
__attribute__((returns_nonnull)) struct raft_payload *raft_payload_new(size_t len);
__attribute__((returns_nonnull)) struct raft_payload *raft_payload_copy(struct slice bytes);
/* Both accept NULL, which stands for empty data. */
struct raft_payload *raft_payload_ref(struct raft_payload *payload);
void raft_payload_unref(struct raft_payload **payload);

static inline struct slice raft_payload_slice(const struct raft_payload *payload)
{
    return payload == NULL ? SLICE_EMPTY : slice_of(payload->bytes, payload->len);
}

enum raft_entry_type {
    RAFT_ENTRY_NORMAL = 0,
    RAFT_ENTRY_CONF_CHANGE = 1,    /* data is a raftpb.ConfChange */
    RAFT_ENTRY_CONF_CHANGE_V2 = 2, /* data is a raftpb.ConfChangeV2 */
};

struct raft_entry {
    raft_index index;
    raft_term term;
    struct raft_payload *payload; /* NULL when empty, as the one a leader starts its term with */
    enum raft_entry_type type;
};

/* A set of members in ascending order. */
struct raft_id_set {
    uint32_t count;
    raft_id ids[RAFT_MEMBERS_MAX];
};

bool raft_id_set_has(const struct raft_id_set *set, raft_id id);
/* False when the set is full; adding a member twice changes nothing. */
bool raft_id_set_add(struct raft_id_set *set, raft_id id);
void raft_id_set_remove(struct raft_id_set *set, raft_id id);
bool raft_id_set_eq(const struct raft_id_set *a, const struct raft_id_set *b);

struct raft_conf_state {
    struct raft_id_set voters;          /* of the incoming configuration */
    struct raft_id_set voters_outgoing; /* empty unless joint */
    struct raft_id_set learners;
    struct raft_id_set learners_next; /* outgoing voters that become learners when joint ends */
    bool auto_leave;                  /* joint ends by itself once its entry is applied */
};

/* What holds in every configuration: sets in ascending order and without nobody, learners apart
 * from voters, learners_next among the outgoing voters, nothing joint outside a joint one. */
bool raft_conf_state_is_valid(const struct raft_conf_state *conf_state);

struct raft_hard_state {
    raft_term term;
    raft_id vote;
    raft_index commit;
};

/* The state machine at `index`. `data` is what the snapshot file holds (a payload for its
 * reference count only). */
struct raft_snapshot {
    uint32_t refs; /* loop thread only */
    raft_index index;
    raft_term term;
    struct raft_conf_state conf_state;
    struct raft_payload *data; /* may be NULL */
};

/* With one reference; takes its own reference on `data`. */
__attribute__((returns_nonnull)) struct raft_snapshot *
raft_snapshot_new(raft_index index, raft_term term, const struct raft_conf_state *conf_state,
                  struct raft_payload *data);
struct raft_snapshot *raft_snapshot_ref(struct raft_snapshot *snapshot);
void raft_snapshot_unref(struct raft_snapshot **snapshot);

/* Numbers as in raftpb.MessageType. */
enum raft_message_type {
    RAFT_MSG_HUP = 0,  /* local: start an election */
    RAFT_MSG_BEAT = 1, /* local: send heartbeats */
    RAFT_MSG_PROP = 2,
    RAFT_MSG_APP = 3,
    RAFT_MSG_APP_RESP = 4,
    RAFT_MSG_VOTE = 5,
    RAFT_MSG_VOTE_RESP = 6,
    RAFT_MSG_SNAP = 7,
    RAFT_MSG_HEARTBEAT = 8,
    RAFT_MSG_HEARTBEAT_RESP = 9,
    RAFT_MSG_UNREACHABLE = 10,  /* local: the transport lost a peer */
    RAFT_MSG_SNAP_STATUS = 11,  /* local: how sending a snapshot went */
    RAFT_MSG_CHECK_QUORUM = 12, /* local: does the leader still hear a majority? */
    RAFT_MSG_TRANSFER_LEADER = 13,
    RAFT_MSG_TIMEOUT_NOW = 14,
    RAFT_MSG_READ_INDEX = 15,
    RAFT_MSG_READ_INDEX_RESP = 16,
    RAFT_MSG_PRE_VOTE = 17,
    RAFT_MSG_PRE_VOTE_RESP = 18,
    RAFT_MSG_STORAGE_APPEND = 19, /* 19-22: upstream's form of our raft_ready/raft_persisted, */
    RAFT_MSG_STORAGE_APPEND_RESP = 20, /* never sent; named so that a decoder can refuse them */
    RAFT_MSG_STORAGE_APPLY = 21,
    RAFT_MSG_STORAGE_APPLY_RESP = 22,
    RAFT_MSG_FORGET_LEADER = 23, /* local */
    RAFT_MSG_COUNT,
};

/* Which fields mean something depends on the type (reference: raftpb.Message). */
struct raft_message {
    enum raft_message_type type;
    bool reject;
    raft_id to;
    raft_id from;
    raft_term term;         /* 0 on MsgProp and MsgReadIndex */
    raft_term log_term;     /* term of the entry at `index` */
    raft_index index;       /* MsgApp: the entry before `entries`; MsgAppResp: the last one held */
    raft_index commit;      /* sender's commit index */
    raft_index reject_hint; /* where the sender's log may agree */
    raft_id vote;           /* in upstream's storage messages only */
    struct raft_entry *entries;
    size_t entry_count;
    struct raft_snapshot *snapshot; /* MsgSnap, else NULL */
    struct slice context;           /* round-trips in heartbeats; marks a transfer in votes */
};

/* "MsgApp" and its like, as raftpb spells them; "unknown" outside the enum. */
const char *raft_message_type_name(enum raft_message_type type);

/* True for the types that never come from another member. */
bool raft_message_is_local(enum raft_message_type type);

#endif
