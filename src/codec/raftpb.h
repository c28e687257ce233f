/* raftpb, walpb and snappb by hand: the messages of the log, the WAL, .snap files and peers.
 *
 * Plain structs, byte for byte what etcd 3.5 writes (gogo, non-nullable proto2 fields): every
 * scalar is written, zero included, in order of field numbers; bytes only when they are not nil.
 * A slice is nil when its data is NULL; {non-NULL, 0} is written as an empty field. Readers take an
 * absent field for zero, skip unknown ones, and accept packed and plain repeated numbers.
 *
 * For each message x:
 *   raftpb_x_size    the encoded size
 *   raftpb_x_put     writes exactly that many bytes at `at`, returns past them
 *   raftpb_x_decode  slices of *out point into `in`; arrays go to the arena
 *                    ERR_EOF, ERR_CORRUPT: not such a message; *out is then unspecified
 *
 * Ownership: encoders borrow; decoded structs borrow from `in` and the arena.
 * Threads:   pure functions. */
#ifndef CODEC_RAFTPB_H
#define CODEC_RAFTPB_H

#include "base/bytes.h"
#include "base/mem.h"

/* A repeated number may not come more often than this in one message: no cluster has so many
 * members. */
#define RAFTPB_IDS_MAX 65536

enum raftpb_entry_type {
    RAFTPB_ENTRY_NORMAL = 0,
    RAFTPB_ENTRY_CONF_CHANGE = 1,
    RAFTPB_ENTRY_CONF_CHANGE_V2 = 2,
};

enum raftpb_conf_change_type {
    RAFTPB_ADD_NODE = 0,
    RAFTPB_REMOVE_NODE = 1,
    RAFTPB_UPDATE_NODE = 2,
    RAFTPB_ADD_LEARNER_NODE = 3,
};

struct raftpb_entry {
    int32_t type; /* enum raftpb_entry_type; kept when unknown */
    uint64_t term;
    uint64_t index;
    struct slice data;
};

struct raftpb_hard_state {
    uint64_t term;
    uint64_t vote;
    uint64_t commit;
};

struct raftpb_ids {
    const uint64_t *ids;
    size_t count;
};

struct raftpb_conf_state {
    struct raftpb_ids voters;
    struct raftpb_ids learners;
    struct raftpb_ids voters_outgoing;
    struct raftpb_ids learners_next;
    bool auto_leave;
};

struct raftpb_snapshot_metadata {
    struct raftpb_conf_state conf_state;
    uint64_t index;
    uint64_t term;
};

struct raftpb_snapshot {
    struct slice data;
    struct raftpb_snapshot_metadata metadata;
};

struct raftpb_conf_change {
    uint64_t id;
    int32_t type; /* enum raftpb_conf_change_type */
    uint64_t node_id;
    struct slice context;
};

struct raftpb_conf_change_single {
    int32_t type;
    uint64_t node_id;
};

struct raftpb_conf_change_v2 {
    int32_t transition;
    const struct raftpb_conf_change_single *changes;
    size_t change_count;
    struct slice context;
};

/* Fields 13 (vote) and 14 (responses) belong to asynchronous storage writes, which never travel
 * between members; they are skipped when read and never written. */
struct raftpb_message {
    int32_t type; /* raftpb.MessageType */
    uint64_t to;
    uint64_t from;
    uint64_t term;
    uint64_t log_term;
    uint64_t index;
    const struct raftpb_entry *entries;
    size_t entry_count;
    uint64_t commit;
    struct raftpb_snapshot snapshot;
    bool reject;
    uint64_t reject_hint;
    struct slice context;
};

/* walpb.Record */
struct raftpb_record {
    int64_t type;
    uint32_t crc;
    struct slice data;
};

/* walpb.Snapshot */
struct raftpb_wal_snapshot {
    uint64_t index;
    uint64_t term;
    bool has_conf_state; /* written by 3.5 and later for index > 0 */
    struct raftpb_conf_state conf_state;
};

/* etcdserverpb.Metadata */
struct raftpb_metadata {
    uint64_t node_id;
    uint64_t cluster_id;
};

/* snappb.snapshot */
struct raftpb_snap_file {
    uint32_t crc;
    struct slice data;
};

size_t raftpb_entry_size(const struct raftpb_entry *entry);
uint8_t *raftpb_entry_put(uint8_t *at, const struct raftpb_entry *entry);
FALLIBLE raftpb_entry_decode(struct slice in, struct raftpb_entry *out);

size_t raftpb_hard_state_size(const struct raftpb_hard_state *state);
uint8_t *raftpb_hard_state_put(uint8_t *at, const struct raftpb_hard_state *state);
FALLIBLE raftpb_hard_state_decode(struct slice in, struct raftpb_hard_state *out);

size_t raftpb_conf_state_size(const struct raftpb_conf_state *state);
uint8_t *raftpb_conf_state_put(uint8_t *at, const struct raftpb_conf_state *state);
FALLIBLE raftpb_conf_state_decode(struct arena *arena, struct slice in,
                                  struct raftpb_conf_state *out);

size_t raftpb_snapshot_size(const struct raftpb_snapshot *snapshot);
uint8_t *raftpb_snapshot_put(uint8_t *at, const struct raftpb_snapshot *snapshot);
FALLIBLE raftpb_snapshot_decode(struct arena *arena, struct slice in, struct raftpb_snapshot *out);

size_t raftpb_conf_change_size(const struct raftpb_conf_change *change);
uint8_t *raftpb_conf_change_put(uint8_t *at, const struct raftpb_conf_change *change);
FALLIBLE raftpb_conf_change_decode(struct slice in, struct raftpb_conf_change *out);

size_t raftpb_conf_change_v2_size(const struct raftpb_conf_change_v2 *change);
uint8_t *raftpb_conf_change_v2_put(uint8_t *at, const struct raftpb_conf_change_v2 *change);
FALLIBLE raftpb_conf_change_v2_decode(struct arena *arena, struct slice in,
                                      struct raftpb_conf_change_v2 *out);

size_t raftpb_message_size(const struct raftpb_message *message);
uint8_t *raftpb_message_put(uint8_t *at, const struct raftpb_message *message);
FALLIBLE raftpb_message_decode(struct arena *arena, struct slice in, struct raftpb_message *out);

size_t raftpb_record_size(const struct raftpb_record *record);
uint8_t *raftpb_record_put(uint8_t *at, const struct raftpb_record *record);
FALLIBLE raftpb_record_decode(struct slice in, struct raftpb_record *out);

size_t raftpb_wal_snapshot_size(const struct raftpb_wal_snapshot *snapshot);
uint8_t *raftpb_wal_snapshot_put(uint8_t *at, const struct raftpb_wal_snapshot *snapshot);
FALLIBLE raftpb_wal_snapshot_decode(struct arena *arena, struct slice in,
                                    struct raftpb_wal_snapshot *out);

size_t raftpb_metadata_size(const struct raftpb_metadata *metadata);
uint8_t *raftpb_metadata_put(uint8_t *at, const struct raftpb_metadata *metadata);
FALLIBLE raftpb_metadata_decode(struct slice in, struct raftpb_metadata *out);

size_t raftpb_snap_file_size(const struct raftpb_snap_file *file);
uint8_t *raftpb_snap_file_put(uint8_t *at, const struct raftpb_snap_file *file);
FALLIBLE raftpb_snap_file_decode(struct slice in, struct raftpb_snap_file *out);

static inline bool raftpb_hard_state_empty(const struct raftpb_hard_state *state)
{
    return state->term == 0 && state->vote == 0 && state->commit == 0;
}

/* A deep copy whose arrays live in `arena`. */
struct raftpb_conf_state raftpb_conf_state_dup(struct arena *arena,
                                               const struct raftpb_conf_state *state);

#endif
