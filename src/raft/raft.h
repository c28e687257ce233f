/* Raft: one member's consensus state machine, with the contract of etcd's raft library.
 *
 * Events go in (a tick, a message, a proposal, "this is on disk now"), effects come out
 * (raft_ready): state and entries to persist, messages to send, entries to apply, read states.
 * There is no I/O, no clock, no thread and no global here; given the same calls a raft does the
 * same things, bit for bit. It elects (PreVote, CheckQuorum), replicates (probe, replicate,
 * snapshot, with an in-flight window), serves read indexes (quorum or lease), transfers
 * leadership, changes membership one at a time or through joint consensus, and keeps the log of
 * entries above the last compaction in memory. It is not a server: who the members are on the
 * network, what an entry means and where things are stored is its driver's business.
 *
 * The driver's turn:
 *
 *     raft_step / raft_propose / raft_tick ... everything that has arrived
 *     while (raft_has_ready(raft)):
 *         raft_ready(raft, &rd)
 *         1. send rd.messages to the others, now, in parallel with the disk
 *         2. write rd.snapshot, rd.hard_state, rd.entries, in this order, after all earlier
 *            readys; sync if rd.must_sync
 *         3. when that is done (and all before it): raft_persisted(raft, &rd), then send
 *            those of rd.after whose `to` is not ourselves
 *         4. apply rd.committed; then raft_applied(raft, index of the last of them)
 *         5. raft_ready_reset(&rd)
 *
 * Several readys may be in flight, each in a struct of its own: ask for the next while the disk
 * works on this one. Persists complete in the order in which they were handed out. Steps 3 and 4
 * need not wait for each other.
 *
 * What is promised:
 *  - Nothing in `messages` depends on the disk: a leader's entries may travel to followers before
 *    they are durable here, and the leader counts its own copy only at raft_persisted().
 *    Whatever makes a promise (votes, append acknowledgements) is in `after`.
 *  - `committed` holds entries that a quorum has AND that raft_persisted() has covered here, so
 *    apply never runs ahead of the local log. (With sync_storage an entry may be in `entries` and
 *    in `committed` of one ready; the driver then persists before it applies.)
 *  - A completed persist counts only if the log still holds what was written: an entry replaced
 *    since then, in a newer term, is not taken for durable (the append ABA race: index and term
 *    of the last entry are compared, and a persist from an older term moves nothing).
 *  - While a received snapshot is not yet persisted no committed entries are handed out.
 *
 * Hostile peers: raft_step() refuses what makes no sense (impossible terms and indices, holes in
 * entries, commits beyond the log, acknowledgements of the future) with ERR_INVALID and counts it;
 * no message reaches an ASSERT. Entries and snapshots must have met a size limit in the decoder.
 *
 * Ownership: raft takes its own references on payloads and snapshots it keeps.
 * Threads:   loop thread only. Payload bytes of entries in a ready may be read by another thread
 *            until raft_ready_reset(). */
#ifndef RAFT_RAFT_H
#define RAFT_RAFT_H

#include "base/mem.h"
#include "raft/confchange.h"
#include "raft/types.h"

struct raft;

enum raft_state {
    RAFT_FOLLOWER = 0,
    RAFT_CANDIDATE = 1,
    RAFT_LEADER = 2,
    RAFT_PRE_CANDIDATE = 3,
};

/* "StateFollower" and its like. */
const char *raft_state_name(enum raft_state state);

enum raft_read_only {
    RAFT_READ_SAFE,  /* a read index is confirmed by a round of heartbeats */
    RAFT_READ_LEASE, /* by the leader's lease; needs check_quorum and bounded clock drift */
};

enum raft_trace_level { RAFT_DEBUG, RAFT_INFO, RAFT_WARN, RAFT_ERROR };

/* One line, without newline, in the words of etcd's raft ("1 became leader at term 2"); ids are
 * printed in hexadecimal. Formatting costs nothing when no hook is set. */
typedef void raft_trace_fn(void *priv, enum raft_trace_level level, const char *line);

#define RAFT_NO_LIMIT UINT64_MAX

struct raft_config {
    raft_id id;
    uint32_t election_ticks;  /* more than heartbeat_ticks; elections start after 1 to 2 times it */
    uint32_t heartbeat_ticks; /* at least 1 */
    uint64_t message_bytes_max;   /* entries in one MsgApp, encoded; one entry always fits */
    uint64_t committed_bytes_max; /* entries handed out and not yet applied; 0: as above */
    uint64_t
        uncommitted_bytes_max;   /* payload a leader accepts beyond what is applied; 0: no limit */
    uint32_t inflight_max;       /* MsgApps sent and not acknowledged, per peer; at least 1 */
    uint64_t inflight_bytes_max; /* their payload; 0: no limit; else >= message_bytes_max */
    bool check_quorum;           /* a leader that hears no majority steps down */
    bool pre_vote;               /* ask before disturbing: no new term without a chance to win */
    enum raft_read_only read_only;
    bool proposal_forwarding_off;    /* a follower drops proposals */
    bool conf_change_validation_off; /* accept conf changes that raft would refuse to propose */
    bool step_down_on_removal;       /* a leader that is removed or demoted steps down */
    bool sync_storage;               /* see "What is promised" */
    uint64_t seed;                   /* of the election timeouts; differ it between members */
    raft_trace_fn *trace;            /* may be NULL */
    void *trace_priv;

    /* What an earlier life left on disk. A first start has zeroes, no snapshot, and the
     * founding members in conf_state with their ConfChange entries (or a snapshot) in the log. */
    struct raft_hard_state hard_state;
    struct raft_snapshot *snapshot;           /* newest one, or NULL; entries follow its index */
    const struct raft_conf_state *conf_state; /* as of `applied`; NULL: the snapshot's, or empty */
    const struct raft_entry *entries;         /* contiguous; payloads are referenced, not taken */
    size_t entry_count;
    raft_index applied; /* 0: the snapshot's index. Entries above it are handed out again */
};

/* A config with etcd's defaults (10 election ticks, 1 heartbeat tick, 1 MiB messages, 512 in
 * flight, check_quorum, pre_vote); id and restored state are the caller's to fill. */
struct raft_config raft_config_default(raft_id id, uint64_t seed);

/* ERR_INVALID  the config contradicts itself
 * ERR_CORRUPT  the restored state does: holes in the entries, commit beyond the log, ...
 * Both leave a sentence in `errbuf` (may be NULL). */
FALLIBLE raft_new(const struct raft_config *config, struct errbuf *errbuf, struct raft **out);

/* The first start of a member of a new cluster: the log gets one ConfChange entry (raftpb bytes,
 * context and all) per founding member, at term 1, committed, and the configuration they make.
 * They come out of the first ready to be persisted, and are then handed out to be applied.
 *
 * ERR_EXISTS   the log, term or configuration is not empty
 * ERR_INVALID  a payload is not a ConfChange that adds a node, or there is none */
FALLIBLE raft_bootstrap(struct raft *raft, struct raft_payload *const *changes, size_t count);

/* Safe on NULL; nulls the pointer. Readys may outlive it. */
void raft_free(struct raft **raft);

/* --- events ----------------------------------------------------------------------------------- */

/* The clock moved by one tick (etcd: one heartbeat interval). */
void raft_tick(struct raft *raft);

/* A message from another member. Borrows it; references what it keeps.
 *
 * ERR_INVALID    a local type, not for us, from ourselves, or nonsense: dropped and counted
 * ERR_NOT_FOUND  a response from a member that is not in the configuration: dropped
 * ERR_AGAIN      a forwarded proposal that was dropped, as in raft_propose() */
FALLIBLE raft_step(struct raft *raft, const struct raft_message *message);

/* Proposes `count` normal entries at once: appended when we lead, forwarded when we follow.
 * Takes its own references. The entries come back through `committed`, or never.
 *
 * ERR_AGAIN  dropped: no leader, leadership is being transferred, we were removed, or too much
 *            is uncommitted. Nothing was appended. */
FALLIBLE raft_propose(struct raft *raft, struct raft_payload *const *payloads, size_t count);

/* Proposes a conf change; errors as above, and raft_conf_change_decode()'s. A leader appends an
 * empty normal entry in its place while another change is pending or when it does not fit the joint
 * state. */
FALLIBLE raft_propose_conf_change(struct raft *raft, const struct raft_conf_change *change);
/* The same with the entry's bytes ready made (what etcd's context needs). */
FALLIBLE raft_propose_conf_change_data(struct raft *raft, enum raft_entry_type type,
                                       struct raft_payload *data);

/* A conf change entry is being applied: every member calls this at the entry's place in the
 * order. Gives the configuration from here on, to be stored with the applied index.
 *
 * ERR_INVALID  the change cannot follow the present configuration (same on every member);
 *              nothing changed, *out is the present configuration's state anyway */
FALLIBLE raft_apply_conf_change(struct raft *raft, const struct raft_conf_change *change,
                                struct raft_conf_state *out);

/* Asks for an index that is safe to read at: comes back in `reads` with the same context, or never
 * (no leader, lost message): ask again after a while. Context of at most RAFT_CONTEXT_MAX bytes. */
#define RAFT_CONTEXT_MAX 64
void raft_read_index(struct raft *raft, struct slice context);

/* Starts an election now, if this member may. */
void raft_campaign(struct raft *raft);

/* Asks the leader (us or another) to hand over to `target`. Given up after an election timeout. */
void raft_transfer_leader(struct raft *raft, raft_id target);

/* A follower acts as if it had no leader, so that it will vote; nothing on a leader. */
void raft_forget_leader(struct raft *raft);

/* The transport could not deliver to `peer`; a snapshot reached it, or did not. */
void raft_report_unreachable(struct raft *raft, raft_id peer);
void raft_report_snapshot(struct raft *raft, raft_id peer, bool is_sent);

/* --- effects ---------------------------------------------------------------------------------- */

struct raft_soft_state {
    raft_id lead;
    enum raft_state state;
};

struct raft_read_state {
    raft_index index; /* apply up to here, then read */
    struct slice context;
};

/* What one persist proves when it completes. */
struct raft_persist {
    uint64_t number;           /* counts the readys that need a persist, from 1; 0: needs none */
    raft_term term;            /* ours when it was handed out */
    raft_index index;          /* last entry that is then on disk; 0: none was waiting */
    raft_term log_term;        /* and its term */
    raft_index snapshot_index; /* 0: no snapshot in it */
};

/* Zero-initialise. Filled by raft_ready(), emptied by raft_ready_reset(); its memory is reused. */
struct raft_ready {
    bool has_soft_state; /* leader or own state changed */
    struct raft_soft_state soft_state;

    bool has_hard_state; /* write it */
    struct raft_hard_state hard_state;
    bool must_sync; /* entries, term or vote changed; a new commit alone need not sync */
    struct raft_entry *entries; /* write them; a lower index than before replaces what was there */
    size_t entry_count;
    struct raft_snapshot *snapshot; /* install it before `entries`; NULL: none */
    struct raft_persist persist;

    struct raft_message *messages; /* send now */
    size_t message_count;
    struct raft_message *after; /* send once this ready and all before it are persisted; */
    size_t after_count;         /* those addressed to ourselves are raft_persisted()'s */

    struct raft_entry *committed; /* apply, in order */
    size_t committed_count;

    struct raft_read_state *reads;
    size_t read_count;

    /* private */
    size_t entry_cap, committed_cap, message_cap, after_cap, read_cap;
    struct arena now_arena, after_arena, read_arena;
};

void raft_ready_reset(struct raft_ready *ready); /* drops references, keeps memory */
void raft_ready_fini(struct raft_ready *ready);  /* frees; safe on a zeroed struct */

bool raft_has_ready(const struct raft *raft);

/* Hands out everything there is; `out` must be zeroed or reset. What is handed out once does not
 * come again. */
void raft_ready(struct raft *raft, struct raft_ready *out);

/* True when the ready holds something to write or a message that waits for writes before it: then
 * raft_persisted() is owed, in order. Calling it for others too is harmless. */
bool raft_ready_needs_persist(const struct raft_ready *ready);

/* This ready's snapshot, hard state and entries are durable, and so are all before it: even one
 * that only carries a commit index waits its turn, for it vouches for the entries before it. Its
 * snapshot, if any, has been installed in the state machine too. Out of order it ASSERTs. */
void raft_persisted(struct raft *raft, const struct raft_ready *ready);

/* The state machine has applied everything handed out up to `index`. */
void raft_applied(struct raft *raft, raft_index index);

/* --- log upkeep ------------------------------------------------------------------------------- */

/* The state machine at `index` (handed out and applied) has been saved: a follower that needs
 * entries below the first one is sent this snapshot. Replaces the one before; takes its own
 * references.
 *
 * ERR_EXISTS   the present snapshot is as new or newer
 * ERR_INVALID  `index` was not handed out yet, or is no longer in the log */
FALLIBLE raft_create_snapshot(struct raft *raft, raft_index index,
                              const struct raft_conf_state *conf_state, struct raft_payload *data);

/* Forgets entries up to and including `index`, at a cost in proportion to their number: forget
 * many in several steps where pauses matter.
 *
 * ERR_COMPACTED  already gone
 * ERR_INVALID    `index` is not applied, or no snapshot covers it */
FALLIBLE raft_compact(struct raft *raft, raft_index index);

/* --- observers -------------------------------------------------------------------------------- */

struct raft_status {
    raft_id id;
    raft_id lead;
    raft_id lead_transferee; /* a transfer is in progress */
    enum raft_state state;
    bool is_learner;
    struct raft_hard_state hard_state;
    raft_index applied;
    raft_index stable;         /* last index durable here */
    raft_index first_index;    /* first one in the log */
    raft_index last_index;     /* last one in the log */
    raft_index snapshot_index; /* newest snapshot's */
    uint64_t nonsense_count;   /* messages dropped because they made no sense */
};

void raft_status(const struct raft *raft, struct raft_status *out);
raft_term raft_current_term(const struct raft *raft);
raft_id raft_leader(const struct raft *raft);
enum raft_state raft_get_state(const struct raft *raft);
void raft_conf_state(const struct raft *raft, struct raft_conf_state *out);
/* Newest snapshot, borrowed; NULL when there is none. */
struct raft_snapshot *raft_latest_snapshot(const struct raft *raft);

/* The term of the entry at `index`: ERR_COMPACTED below the log, ERR_FUTURE above it. */
FALLIBLE raft_entry_term(const struct raft *raft, raft_index index, raft_term *out);
/* The entry itself, borrowed until the next event; errors as above. */
FALLIBLE raft_entry_at(const struct raft *raft, raft_index index, const struct raft_entry **out);

enum raft_peer_state { RAFT_PEER_PROBE, RAFT_PEER_REPLICATE, RAFT_PEER_SNAPSHOT };

/* What a leader knows of one member. */
struct raft_peer_status {
    raft_id id;
    bool is_learner;
    bool is_recent_active;
    bool is_paused;
    enum raft_peer_state state;
    raft_index match; /* highest index known to be durable there */
    raft_index next;  /* next one to send */
    raft_index pending_snapshot;
    uint32_t inflight_count;
};

/* In ascending order of id; meaningful on a leader. */
size_t raft_peer_count(const struct raft *raft);
void raft_peer(const struct raft *raft, size_t i, struct raft_peer_status *out);

/* Walks everything and ASSERTs what must hold. Slow; for tests and sim. */
void raft_check(const struct raft *raft);

#endif
