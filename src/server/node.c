#include "server/node.h"

#include "base/mem.h"

/* A ready on its way through the disk.
 *
 * raft hears of completions in the order of the readys, and a completion vouches for everything
 * handed out before it. So a ready with nothing to wait for still waits behind one whose sync is
 * in flight: telling raft of it at once would acknowledge entries that are not durable
 * (docs/notes/async-persist.md). */
struct slot {
    struct list link; /* in flight, oldest first; or free */
    struct node *node;
    struct raft_ready ready;
    struct wal_write write;
    bool is_written; /* its own part is done */
};

struct proposal {
    struct raft_payload *payload;
    bool is_wanted;
    raft_term term; /* 0: any */
};

struct node {
    struct node_options options;
    struct raft *raft;
    struct wal *wal;
    struct hook step_hook;
    struct hook persist_hook;
    struct timer tick;
    bool is_stopping;
    struct list in_flight; /* slots that raft has not been told of */
    struct list free_slots;

    struct proposal *proposals; /* not seen by raft yet, oldest first */
    size_t proposal_count;
    size_t proposal_cap;
    struct raft_payload **batch; /* scratch: the payloads of one raft_propose() */
    size_t batch_cap;

    struct wal_write snapshot_write;
    void (*snapshot_done)(void *ctx);
    void *snapshot_ctx;
};

/* ---- slots --------------------------------------------------------------------------------- */

static struct slot *slot_get(struct node *node)
{
    struct list *link = list_pop(&node->free_slots);
    if (link != NULL) {
        return CONTAINER_OF(link, struct slot, link);
    }
    struct slot *slot = NEW(struct slot);
    list_init(&slot->link);
    slot->node = node;
    return slot;
}

static void slot_put(struct slot *slot)
{
    raft_ready_reset(&slot->ready);
    list_add_head(&slot->node->free_slots, &slot->link);
}

/* Tells raft of the slots that are done, as far as none before them is not. */
static void complete(struct node *node)
{
    LIST_FOR_EACH (&node->in_flight, link) {
        struct slot *slot = CONTAINER_OF(link, struct slot, link);
        if (!slot->is_written) {
            return;
        }
        raft_persisted(node->raft, &slot->ready);
        list_del(&slot->link);
        slot_put(slot);
    }
}

static void written(struct wal_write *write)
{
    struct slot *slot = CONTAINER_OF(write, struct slot, write);
    slot->is_written = true;
    complete(slot->node);
}

/* Hands the ready's writes to the WAL. A commit index that moved alone is written with the next
 * append: losing it costs a restarted member a little replay. Such a ready vouches for nothing:
 * the entries before it are those of the writes that carry them. */
static void persist(struct node *node, struct slot *slot)
{
    struct raft_ready *ready = &slot->ready;
    list_add_tail(&node->in_flight, &slot->link);
    slot->is_written = ready->entry_count == 0 && !ready->must_sync && ready->after_count == 0;
    if (slot->is_written) {
        ready->persist.index = 0;
        if (ready->has_hard_state) {
            wal_defer_state(node->wal, &ready->hard_state);
        }
        return;
    }
    slot->write = (struct wal_write){
        .entries = ready->entries,
        .entry_count = ready->entry_count,
        .has_hard_state = ready->has_hard_state,
        .hard_state = ready->hard_state,
        .must_sync = ready->must_sync,
        .done = written,
    };
    wal_append(node->wal, &slot->write);
}

/* ---- phases -------------------------------------------------------------------------------- */

static void drive(struct node *node)
{
    while (raft_has_ready(node->raft)) {
        struct slot *slot = slot_get(node);
        struct raft_ready *ready = &slot->ready;
        raft_ready(node->raft, ready);
        ASSERT(ready->snapshot == NULL); /* nobody sends us one: there are no peers yet */
        if (ready->has_soft_state) {
            node->options.hooks.changed(node->options.hooks.ctx, &ready->soft_state);
        }
        persist(node, slot);
        if (ready->committed_count > 0) {
            raft_index applied = node->options.hooks.apply(
                node->options.hooks.ctx, ready->committed, ready->committed_count);
            raft_applied(node->raft, applied);
        }
        for (size_t i = 0; i < ready->read_count; i++) {
            node->options.hooks.read_index(node->options.hooks.ctx, ready->reads[i].index,
                                           ready->reads[i].context);
        }
        complete(node);
    }
}

/* Gives raft everything that waits, as one batch; keeps it when there is no leader. */
/* What this member proposes as the leader of a term is worth nothing later. */
static bool is_out_of_term(const struct proposal *proposal, const struct raft_status *raft)
{
    return proposal->term != 0 &&
           (raft->state != RAFT_LEADER || raft->hard_state.term != proposal->term);
}

static void propose_all(struct node *node)
{
    size_t count = 0;
    struct raft_status raft;
    raft_status(node->raft, &raft);
    if (node->batch_cap < node->proposal_count) {
        node->batch_cap = node->proposal_cap;
        node->batch = mem_realloc(node->batch, node->batch_cap * sizeof(struct raft_payload *));
    }
    for (size_t i = 0; i < node->proposal_count; i++) {
        struct proposal *proposal = &node->proposals[i];
        bool is_unwanted = proposal->is_wanted && proposal->payload->attached == NULL;
        if (is_unwanted || is_out_of_term(proposal, &raft)) {
            raft_payload_unref(&proposal->payload);
            continue;
        }
        node->batch[count] = proposal->payload;
        node->proposals[count] = *proposal;
        count++;
    }
    node->proposal_count = count;
    if (count == 0 || raft_propose(node->raft, node->batch, count) != ERR_OK) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        raft_payload_unref(&node->proposals[i].payload);
    }
    node->proposal_count = 0;
}

static void on_step(struct hook *hook)
{
    struct node *node = CONTAINER_OF(hook, struct node, step_hook);
    if (node->proposal_count > 0 && raft_leader(node->raft) != RAFT_NONE) {
        propose_all(node);
    }
}

static void on_persist(struct hook *hook)
{
    struct node *node = CONTAINER_OF(hook, struct node, persist_hook);
    drive(node);
    if (node->proposal_count > 0 && !node->is_stopping && raft_leader(node->raft) != RAFT_NONE) {
        /* Leadership came in this very turn: what waited for it need not wait for the next. */
        propose_all(node);
        drive(node);
    }
}

static void on_tick(struct timer *timer)
{
    struct node *node = CONTAINER_OF(timer, struct node, tick);
    raft_tick(node->raft);
    /* A process that was stopped for a while does not make up for the ticks it missed: they would
     * come in one burst and look like an election timeout. */
    mono_ns next = timer->deadline + node->options.tick_ms * NS_PER_MS;
    mono_ns now = loop_now(node->options.loop);
    timer_start(node->options.loop, timer, next > now ? next : now);
}

/* ---- life cycle ---------------------------------------------------------------------------- */

struct node *node_new(const struct node_options *options)
{
    struct node *node = NEW(struct node);
    node->options = *options;
    node->raft = options->raft;
    node->wal = options->wal;
    list_init(&node->free_slots);
    list_init(&node->in_flight);
    loop_hook_add(options->loop, LOOP_STEP, &node->step_hook, on_step);
    loop_hook_add(options->loop, LOOP_PERSIST, &node->persist_hook, on_persist);
    timer_init(&node->tick, on_tick);
    timer_start(options->loop, &node->tick, loop_now(options->loop) + options->tick_ms * NS_PER_MS);
    return node;
}

void node_stop(struct node *node)
{
    node->is_stopping = true;
    timer_stop(node->options.loop, &node->tick);
    for (size_t i = 0; i < node->proposal_count; i++) {
        raft_payload_unref(&node->proposals[i].payload);
    }
    node->proposal_count = 0;
}

bool node_is_idle(const struct node *node)
{
    return list_empty(&node->in_flight) && node->snapshot_done == NULL && wal_is_idle(node->wal);
}

void node_free(struct node **node)
{
    struct node *n = *node;
    if (n == NULL) {
        return;
    }
    if (!n->is_stopping) {
        node_stop(n);
    }
    ASSERT(node_is_idle(n));
    loop_hook_remove(&n->step_hook);
    loop_hook_remove(&n->persist_hook);
    for (struct list *link = list_pop(&n->free_slots); link != NULL;
         link = list_pop(&n->free_slots)) {
        struct slot *slot = CONTAINER_OF(link, struct slot, link);
        raft_ready_fini(&slot->ready);
        mem_free(slot);
    }
    wal_close(&n->wal);
    raft_free(&n->raft);
    mem_free(n->proposals);
    mem_free(n->batch);
    mem_free(n);
    *node = NULL;
}

/* ---- operations ---------------------------------------------------------------------------- */

static void queue(struct node *node, struct proposal proposal)
{
    if (node->is_stopping) {
        return;
    }
    if (node->proposal_count == node->proposal_cap) {
        node->proposal_cap = node->proposal_cap == 0 ? 256 : node->proposal_cap * 2;
        node->proposals =
            mem_realloc(node->proposals, node->proposal_cap * sizeof(struct proposal));
    }
    raft_payload_ref(proposal.payload);
    node->proposals[node->proposal_count++] = proposal;
}

void node_propose(struct node *node, struct raft_payload *payload, bool is_wanted)
{
    queue(node, (struct proposal){.payload = payload, .is_wanted = is_wanted});
}

void node_propose_leading(struct node *node, struct raft_payload *payload, raft_term term)
{
    ASSERT(term != 0);
    queue(node, (struct proposal){.payload = payload, .term = term});
}

void node_read_index(struct node *node, struct slice context)
{
    if (!node->is_stopping) {
        raft_read_index(node->raft, context);
    }
}

void node_applied(struct node *node, raft_index index)
{
    raft_applied(node->raft, index);
}

static void snapshot_saved(struct wal_write *write)
{
    struct node *node = CONTAINER_OF(write, struct node, snapshot_write);
    void (*done)(void *ctx) = node->snapshot_done;
    node->snapshot_done = NULL;
    done(node->snapshot_ctx);
}

void node_save_snapshot(struct node *node, const struct wal_snapshot *snapshot,
                        void (*done)(void *ctx), void *ctx)
{
    ASSERT(node->snapshot_done == NULL);
    node->snapshot_done = done;
    node->snapshot_ctx = ctx;
    node->snapshot_write = (struct wal_write){
        .snapshot = snapshot,
        .must_sync = true,
        .done = snapshot_saved,
    };
    wal_append(node->wal, &node->snapshot_write);
}

struct raft *node_raft(struct node *node)
{
    return node->raft;
}

struct wal *node_wal(struct node *node)
{
    return node->wal;
}

size_t node_pending(const struct node *node)
{
    return node->proposal_count;
}
