/* The node: drives one raft with its log on disk, once a turn of the loop.
 *
 *   step     proposals and read requests gathered in this turn go to raft as one batch
 *   persist  what raft wants written goes to the WAL as one write and one sync; what is
 *            committed is applied, while the disk works
 *
 * Several writes may be in flight; their completions come back as loop events, in order. A commit
 * index that moved alone is not worth a sync: it travels with the next write.
 *
 * It knows nothing of requests and state: entries go out through hooks.
 *
 * Ownership: owns the raft and the wal given to it.
 * Threads:   loop thread only. Hooks run in the persist phase. */
#ifndef SERVER_NODE_H
#define SERVER_NODE_H

#include "env/loop.h"
#include "raft/raft.h"
#include "storage/wal.h"

struct node;

struct node_hooks {
    void *ctx;
    /* Committed entries, in order, each exactly once in the life of this node. Returns the index of
     * the last entry applied by now; node_applied() tells of those that take longer. Whoever keeps
     * an entry takes a reference to its payload. */
    raft_index (*apply)(void *ctx, const struct raft_entry *entries, size_t count);
    /* An answer to node_read_index(): reads may be served once `index` is applied. */
    void (*read_index)(void *ctx, raft_index index, struct slice context);
    /* Leader, own state or term changed. */
    void (*changed)(void *ctx, const struct raft_soft_state *state);
};

struct node_options {
    struct loop *loop;
    struct raft *raft;
    struct wal *wal;
    uint64_t tick_ms;
    struct node_hooks hooks;
};

/* Starts ticking. */
struct node *node_new(const struct node_options *options);
/* Frees node, raft and wal. Nothing may be in flight: node_is_idle(). Safe on NULL. */
void node_free(struct node **node);
/* Takes no further proposals and stops ticking; what is in flight completes. */
void node_stop(struct node *node);
bool node_is_idle(const struct node *node);

/* Queues a proposal; takes its own reference. While there is no leader it waits. Dropped when
 * `payload->attached` has become NULL before raft has seen it and `is_wanted` was given. */
void node_propose(struct node *node, struct raft_payload *payload, bool is_wanted);
/* As above, as the leader of `term`: dropped when this member does not lead in that term at the
 * moment when raft gets it. It is never forwarded to another leader. */
void node_propose_leading(struct node *node, struct raft_payload *payload, raft_term term);
/* Asks for a read index; the answer comes through the hook, or never: ask again after a while. */
void node_read_index(struct node *node, struct slice context);

/* Entries up to `index` are applied: of those that the apply hook has not reported itself. */
void node_applied(struct node *node, raft_index index);

/* A snapshot file for `snapshot` is durable: writes its record, then calls done(ctx). One at a
 * time; the struct is borrowed until then. */
void node_save_snapshot(struct node *node, const struct wal_snapshot *snapshot,
                        void (*done)(void *ctx), void *ctx);

struct raft *node_raft(struct node *node);
struct wal *node_wal(struct node *node);
size_t node_pending(const struct node *node); /* proposals that raft has not taken yet */

#endif
