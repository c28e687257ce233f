/* The inside of raft, shared by its files and its tests.
 *
 *   raft.c           life cycle, states and terms, ticks, the public inputs and observers
 *   raft_guard.c     which messages make sense at all
 *   raft_vote.c      campaigning and voting
 *   raft_leader.c    replication and commit
 *   raft_follower.c  what followers and candidates do with messages
 *   raft_read.c      read indexes
 *   raft_conf.c      membership changes
 *   raft_ready.c     effects out, completions in
 *
 * Over: tracker (configuration and progress), raftlog, quorum. */
#ifndef RAFT_RAFT_PRIV_H
#define RAFT_RAFT_PRIV_H

#include "raft/raft.h"
#include "raft/raftlog.h"
#include "raft/tracker.h"

/* Messages on their way into a ready; entries and contexts live in the arena. */
struct raft_outbox {
    struct raft_message *items;
    size_t count;
    size_t cap;
    struct arena arena;
};

struct raft_read_request {
    raft_id from;     /* who asked; ourselves or nobody: answered by a read state */
    raft_index index; /* commit index when it was asked */
    uint32_t context_len;
    uint8_t context[RAFT_CONTEXT_MAX];
};

/* First in, first out. */
struct raft_read_queue {
    struct raft_read_request *items;
    size_t head;
    size_t count;
    size_t cap;
};

/* Reads that wait for a quorum or a commit; beyond it requests are dropped, and asked again. */
#define RAFT_READS_MAX 65536

struct raft {
    struct raft_config config; /* limits normalised; the restored state in it is not used again */
    struct raft_trace trace;
    uint64_t rng;

    raft_term term;
    raft_id vote;
    raft_id lead;
    enum raft_state state;
    bool is_learner;

    raft_id lead_transferee;       /* proposals are dropped meanwhile */
    raft_index pending_conf_index; /* a conf change may lie there: none is accepted below it */
    uint64_t uncommitted_bytes;    /* payload appended in this term of ours and not yet applied */

    uint32_t
        election_elapsed; /* ticks since the leader was heard, or (leader) the quorum checked */
    uint32_t heartbeat_elapsed;
    uint32_t election_timeout; /* drawn anew from [election_ticks, 2*election_ticks) */

    struct raftlog log;
    struct tracker tracker;

    struct raft_read_queue reads_pending;     /* until this term's first commit */
    struct raft_read_queue reads_unconfirmed; /* until a quorum has acknowledged them */
    uint64_t reads_confirmed;                 /* how many have been, in this term */

    struct raft_outbox now;
    struct raft_outbox after;
    struct raft_read_state *read_states;
    size_t read_state_count;
    size_t read_state_cap;
    struct arena read_arena;

    struct raft_soft_state soft_handed; /* as the last ready had them */
    struct raft_hard_state hard_handed;
    uint64_t persists_handed; /* readys that need a persist: handed out, */
    uint64_t persists_done;   /* and reported done */

    uint64_t nonsense_count;
};

#define TRACE(raft, level, ...) RAFT_TRACE(&(raft)->trace, level, __VA_ARGS__)
#define PX PRIx64
#define PU PRIu64

/* --- raft.c --- */

void raft__become_follower(struct raft *raft, raft_term term, raft_id lead);
void raft__become_candidate(struct raft *raft);
void raft__become_pre_candidate(struct raft *raft);
void raft__become_leader(struct raft *raft);
bool raft__is_promotable(const struct raft *raft);
/* A message from ourselves, or one that the guard let through. */
FALLIBLE raft__step(struct raft *raft, const struct raft_message *m);
/* Counts a message that makes no sense; returns ERR_INVALID. */
enum err raft__nonsense(struct raft *raft);
struct raft_soft_state raft__soft_state(const struct raft *raft);
struct raft_hard_state raft__hard_state(const struct raft *raft);

/* --- raft_guard.c --- */

/* Could an honest peer have sent it? */
bool raft__is_sensible(const struct raft *raft, const struct raft_message *m);

/* --- raft_vote.c --- */

enum raft_campaign {
    RAFT_CAMPAIGN_PRE_ELECTION,
    RAFT_CAMPAIGN_ELECTION,
    RAFT_CAMPAIGN_TRANSFER,
};

void raft__hup(struct raft *raft, enum raft_campaign kind);
void raft__handle_vote(struct raft *raft, const struct raft_message *m);
void raft__handle_vote_resp(struct raft *raft, const struct raft_message *m);
/* A vote request that overrides the leader's lease, because the leader asked for it. */
bool raft__is_transfer_vote(const struct raft_message *m);

/* --- raft_leader.c --- */

FALLIBLE raft__step_leader(struct raft *raft, const struct raft_message *m);
/* Checks and appends proposals of ours or forwarded ones; replaces unfit conf changes. */
FALLIBLE raft__leader_propose(struct raft *raft, const struct raft_entry *entries, size_t count);
FALLIBLE raft__leader_propose_payloads(struct raft *raft, struct raft_payload *const *payloads,
                                       size_t count);
/* The empty entry that starts a term. */
void raft__append_empty(struct raft *raft);
bool raft__maybe_commit(struct raft *raft);
void raft__send_append(struct raft *raft, struct progress *pr);
bool raft__maybe_send_append(struct raft *raft, struct progress *pr, bool send_if_empty);
void raft__bcast_append(struct raft *raft);
void raft__bcast_heartbeat(struct raft *raft);

/* --- raft_follower.c --- */

FALLIBLE raft__step_follower(struct raft *raft, const struct raft_message *m);
FALLIBLE raft__step_candidate(struct raft *raft, const struct raft_message *m);

/* --- raft_read.c --- */

void raft__read_queue_fini(struct raft_read_queue *queue);
void raft__read_reset(struct raft *raft);
/* A leader was asked by `from`. */
void raft__read_ask(struct raft *raft, raft_id from, struct slice context);
/* The first commit of the term has happened: answer or confirm what waited for it. */
void raft__read_release(struct raft *raft);
/* A heartbeat response carried a context. */
void raft__read_ack(struct raft *raft, struct progress *pr, struct slice context);
/* What a heartbeat carries: the newest unconfirmed request's number. Empty: none. */
struct slice raft__read_context(const struct raft *raft, uint8_t storage[8]);
void raft__read_state_add(struct raft *raft, raft_index index, struct slice context);

/* --- raft_conf.c --- */

/* Why a leader must not append this change now; NULL if it may. The text lives in `storage`. */
#define RAFT_REFUSAL_MAX 128
const char *raft__conf_refusal(const struct raft *raft, const struct raft_conf_change *change,
                               char storage[RAFT_REFUSAL_MAX]);
void raft__conf_trace_refused(const struct raft *raft, const struct raft_conf_change *change,
                              const char *why);
void raft__conf_switch(struct raft *raft, const struct tracker_config *config);
/* The entry that ends a joint configuration by itself, if its time has come. */
void raft__conf_auto_leave(struct raft *raft);

/* --- raft_ready.c --- */

void raft__outbox_fini(struct raft_outbox *box);
/* Fills in `from` and `term` as the type demands, and queues a copy of the message, its context
 * and its entries. */
void raft__send(struct raft *raft, struct raft_message m);
/* The same; `m.entries` is in the arena of `now` already, with references of its own. */
void raft__send_append_message(struct raft *raft, struct raft_message m);
/* The storage half of raft_persisted(); the messages to ourselves are the other. */
void raft__persist_done(struct raft *raft, const struct raft_persist *persist);

#endif
