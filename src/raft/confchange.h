/* Membership changes: their form, their bytes inside an entry, and the rules by which one
 * configuration follows another (Raft dissertation §4; joint consensus §4.3).
 *
 * Bytes are raftpb.ConfChange (one change, with etcd's id) and raftpb.ConfChangeV2. They come
 * from peers and from disk, so decoding checks everything. */
#ifndef RAFT_CONFCHANGE_H
#define RAFT_CONFCHANGE_H

#include "raft/types.h"

enum raft_conf_change_type {
    RAFT_CONF_ADD_NODE = 0,
    RAFT_CONF_REMOVE_NODE = 1,
    RAFT_CONF_UPDATE_NODE = 2, /* means nothing to raft; the context does, to the server */
    RAFT_CONF_ADD_LEARNER_NODE = 3,
};

enum raft_conf_transition {
    RAFT_CONF_AUTO = 0,           /* one change: simple; several: joint, left automatically */
    RAFT_CONF_JOINT_IMPLICIT = 1, /* joint, left automatically */
    RAFT_CONF_JOINT_EXPLICIT = 2, /* joint until an empty change is proposed */
};

struct raft_conf_change_single {
    enum raft_conf_change_type type;
    raft_id node_id; /* 0: nothing is changed */
};

#define RAFT_CONF_CHANGES_MAX RAFT_MEMBERS_MAX

struct raft_conf_change {
    bool is_v1;  /* a raftpb.ConfChange: exactly one change, transition auto */
    uint64_t id; /* v1 only: etcd's request id */
    enum raft_conf_transition transition;
    uint32_t change_count; /* none, with transition auto: leave the joint configuration */
    struct raft_conf_change_single changes[RAFT_CONF_CHANGES_MAX];
    struct slice context; /* borrows from the bytes it was decoded from */
};

/* ERR_CORRUPT    not a protobuf message of this type
 * ERR_INVALID    `type` is not a conf change, or an unknown change type or transition
 * ERR_TOO_LARGE  more than RAFT_CONF_CHANGES_MAX changes */
FALLIBLE raft_conf_change_decode(enum raft_entry_type type, struct slice bytes,
                                 struct raft_conf_change *out);

/* The entry type that carries it, and its bytes appended to `out`. */
enum raft_entry_type raft_conf_change_encode(const struct raft_conf_change *change,
                                             struct buf *out);

#endif
