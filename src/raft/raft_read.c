/* Read indexes: how far must the state machine have applied, so that a read sees every write that
 * was acknowledged before the read began (Raft dissertation §6.4).
 *
 * The leader notes its commit index and makes sure that it still leads: by its lease, or by a
 * round of heartbeats. Requests are numbered in order within a term; a heartbeat carries the
 * number of the newest, and whoever echoes it has confirmed all before it too. So a hundred
 * requests cost one round, and a lost heartbeat is made good by the next.
 *
 * Before its first commit in its term a leader does not know what its predecessors committed
 * (§6.4 step 1): requests wait for that. A lone member waits as well. Upstream answers it at
 * once, from a commit index that after a restart may lie behind acknowledged writes, because
 * commit indexes reach the disk lazily. */
#include "raft/raft_priv.h"

void raft__read_queue_fini(struct raft_read_queue *queue)
{
    mem_free(queue->items);
    *queue = (struct raft_read_queue){0};
}

static void queue_reset(struct raft_read_queue *queue)
{
    queue->head = 0;
    queue->count = 0;
}

static struct raft_read_request *queue_push(struct raft_read_queue *queue)
{
    ASSERT(queue->count < RAFT_READS_MAX);
    if (queue->head + queue->count == queue->cap) {
        if (queue->head > 0) {
            memmove(queue->items, queue->items + queue->head, queue->count * sizeof(*queue->items));
            queue->head = 0;
        }
        if (queue->count * 2 >= queue->cap) {
            queue->cap = queue->cap == 0 ? 16 : queue->cap * 2;
            queue->items = mem_realloc(queue->items, queue->cap * sizeof(*queue->items));
        }
    }
    return &queue->items[queue->head + queue->count++];
}

static struct raft_read_request *queue_pop(struct raft_read_queue *queue)
{
    ASSERT(queue->count > 0);
    queue->count--;
    return &queue->items[queue->head++];
}

void raft__read_reset(struct raft *raft)
{
    queue_reset(&raft->reads_pending);
    queue_reset(&raft->reads_unconfirmed);
    raft->reads_confirmed = 0;
}

void raft__read_state_add(struct raft *raft, raft_index index, struct slice context)
{
    if (raft->read_state_count == raft->read_state_cap) {
        raft->read_state_cap = raft->read_state_cap == 0 ? 16 : raft->read_state_cap * 2;
        raft->read_states =
            mem_realloc(raft->read_states, raft->read_state_cap * sizeof(*raft->read_states));
    }
    raft->read_states[raft->read_state_count++] = (struct raft_read_state){
        .index = index,
        .context = slice_of(arena_dup(&raft->read_arena, context.data, context.len), context.len),
    };
}

static void answer(struct raft *raft, const struct raft_read_request *request)
{
    struct slice context = slice_of(request->context, request->context_len);
    if (request->from == RAFT_NONE || request->from == raft->config.id) {
        raft__read_state_add(raft, request->index, context);
        return;
    }
    struct raft_payload *payload = raft_payload_copy(context);
    struct raft_entry entry = {.payload = payload};
    raft__send(raft, (struct raft_message){
                         .type = RAFT_MSG_READ_INDEX_RESP,
                         .to = request->from,
                         .index = request->index,
                         .entries = &entry,
                         .entry_count = 1,
                     });
    raft_payload_unref(&payload);
}

static uint64_t read_ack_of(const void *priv, raft_id id)
{
    const struct progress *pr = tracker_find(priv, id);
    return pr == NULL ? 0 : pr->read_ack;
}

/* Answers what a quorum has confirmed. */
static void advance(struct raft *raft)
{
    uint64_t confirmed =
        quorum_committed(&raft->tracker.config.voters, read_ack_of, &raft->tracker);
    while (raft->reads_confirmed < confirmed && raft->reads_unconfirmed.count > 0) {
        raft->reads_confirmed++;
        answer(raft, queue_pop(&raft->reads_unconfirmed));
    }
}

struct slice raft__read_context(const struct raft *raft, uint8_t storage[8])
{
    if (raft->reads_unconfirmed.count == 0) {
        return SLICE_EMPTY;
    }
    put_le64(storage, raft->reads_confirmed + raft->reads_unconfirmed.count);
    return slice_of(storage, 8);
}

void raft__read_ack(struct raft *raft, struct progress *pr, struct slice context)
{
    if (raft->config.read_only != RAFT_READ_SAFE || context.len != 8) {
        return;
    }
    uint64_t number = get_le64(context.data);
    if (number > raft->reads_confirmed + raft->reads_unconfirmed.count) {
        (void)raft__nonsense(raft);
        return;
    }
    if (number > pr->read_ack) {
        pr->read_ack = number;
    }
    advance(raft);
}

/* Notes the commit index; with a lease that is the answer. */
static void note(struct raft *raft, struct raft_read_request request)
{
    request.index = raft->log.committed;
    if (raft->config.read_only == RAFT_READ_LEASE) {
        answer(raft, &request);
    } else {
        *queue_push(&raft->reads_unconfirmed) = request;
    }
}

/* Asks the others whether we still lead. */
static void confirm(struct raft *raft)
{
    struct progress *self = tracker_find(&raft->tracker, raft->config.id);
    if (self != NULL) {
        self->read_ack = raft->reads_confirmed + raft->reads_unconfirmed.count;
    }
    advance(raft);
    if (raft->reads_unconfirmed.count > 0) {
        raft__bcast_heartbeat(raft);
    }
}

static bool has_committed_in_term(const struct raft *raft)
{
    return raftlog_term_or_zero(&raft->log, raft->log.committed) == raft->term;
}

void raft__read_ask(struct raft *raft, raft_id from, struct slice context)
{
    ASSERT(raft->state == RAFT_LEADER);
    ASSERT(context.len <= RAFT_CONTEXT_MAX);
    if (raft->reads_pending.count + raft->reads_unconfirmed.count >= RAFT_READS_MAX) {
        return; /* whoever asked asks again */
    }
    struct raft_read_request request = {.from = from, .context_len = (uint32_t)context.len};
    if (context.len > 0) {
        memcpy(request.context, context.data, context.len);
    }
    if (has_committed_in_term(raft)) {
        note(raft, request);
        confirm(raft);
    } else {
        *queue_push(&raft->reads_pending) = request;
    }
}

void raft__read_release(struct raft *raft)
{
    if (raft->reads_pending.count == 0 || !has_committed_in_term(raft)) {
        return;
    }
    while (raft->reads_pending.count > 0) {
        note(raft, *queue_pop(&raft->reads_pending));
    }
    confirm(raft);
}
