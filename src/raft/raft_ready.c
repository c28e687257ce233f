/* Effects out, completions in.
 *
 * Messages gather in two boxes. `now` holds what promises nothing about our disk; `after` holds
 * votes and append acknowledgements, those to ourselves included: a leader's own acknowledgement
 * and a candidate's own vote travel through it like everybody's, so that they count only once
 * they are durable. raft_ready() swaps the boxes' memory with the ready's, copying nothing. */
#include "raft/raft_priv.h"

static void messages_release(struct raft_message *messages, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < messages[i].entry_count; j++) {
            raft_payload_unref(&messages[i].entries[j].payload);
        }
        raft_snapshot_unref(&messages[i].snapshot);
    }
}

void raft__outbox_fini(struct raft_outbox *box)
{
    messages_release(box->items, box->count);
    mem_free(box->items);
    arena_fini(&box->arena);
    *box = (struct raft_outbox){0};
}

static void outbox_add(struct raft_outbox *box, const struct raft_message *m)
{
    if (box->count == box->cap) {
        box->cap = box->cap == 0 ? 16 : box->cap * 2;
        box->items = mem_realloc(box->items, box->cap * sizeof(*box->items));
    }
    box->items[box->count++] = *m;
}

static struct raft_entry *entries_dup(struct arena *arena, const struct raft_entry *entries,
                                      size_t count)
{
    if (count == 0) {
        return NULL;
    }
    struct raft_entry *copy = arena_dup(arena, entries, count * sizeof(*entries));
    for (size_t i = 0; i < count; i++) {
        raft_payload_ref(copy[i].payload);
    }
    return copy;
}

/* Votes and their answers name the term they are about; everything else speaks for the present
 * term, save what is forwarded on a client's behalf and belongs to none. */
static void address(const struct raft *raft, struct raft_message *m)
{
    if (m->from == RAFT_NONE) {
        m->from = raft->config.id;
    }
    switch (m->type) {
    case RAFT_MSG_VOTE:
    case RAFT_MSG_VOTE_RESP:
    case RAFT_MSG_PRE_VOTE:
    case RAFT_MSG_PRE_VOTE_RESP:
        ASSERT(m->term != 0);
        return;
    case RAFT_MSG_PROP:
    case RAFT_MSG_READ_INDEX:
        ASSERT(m->term == 0);
        return;
    case RAFT_MSG_HUP:
    case RAFT_MSG_BEAT:
    case RAFT_MSG_APP:
    case RAFT_MSG_APP_RESP:
    case RAFT_MSG_SNAP:
    case RAFT_MSG_HEARTBEAT:
    case RAFT_MSG_HEARTBEAT_RESP:
    case RAFT_MSG_UNREACHABLE:
    case RAFT_MSG_SNAP_STATUS:
    case RAFT_MSG_CHECK_QUORUM:
    case RAFT_MSG_TRANSFER_LEADER:
    case RAFT_MSG_TIMEOUT_NOW:
    case RAFT_MSG_READ_INDEX_RESP:
    case RAFT_MSG_STORAGE_APPEND:
    case RAFT_MSG_STORAGE_APPEND_RESP:
    case RAFT_MSG_STORAGE_APPLY:
    case RAFT_MSG_STORAGE_APPLY_RESP:
    case RAFT_MSG_FORGET_LEADER:
    case RAFT_MSG_COUNT:
        break;
    }
    ASSERT(m->term == 0);
    m->term = raft->term;
}

static bool is_promise(enum raft_message_type type)
{
    return type == RAFT_MSG_APP_RESP || type == RAFT_MSG_VOTE_RESP ||
           type == RAFT_MSG_PRE_VOTE_RESP;
}

void raft__send(struct raft *raft, struct raft_message m)
{
    address(raft, &m);
    struct raft_outbox *box = is_promise(m.type) ? &raft->after : &raft->now;
    ASSERT(box == &raft->after || m.to != raft->config.id);
    m.entries = entries_dup(&box->arena, m.entries, m.entry_count);
    if (m.context.len > 0) {
        m.context = slice_of(arena_dup(&box->arena, m.context.data, m.context.len), m.context.len);
    }
    raft_snapshot_ref(m.snapshot);
    outbox_add(box, &m);
}

void raft__send_append_message(struct raft *raft, struct raft_message m)
{
    ASSERT(m.type == RAFT_MSG_APP);
    ASSERT(m.to != raft->config.id);
    address(raft, &m);
    outbox_add(&raft->now, &m);
}

/* --- readys --- */

static void entries_release(struct raft_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        raft_payload_unref(&entries[i].payload);
    }
}

void raft_ready_reset(struct raft_ready *ready)
{
    entries_release(ready->entries, ready->entry_count);
    entries_release(ready->committed, ready->committed_count);
    messages_release(ready->messages, ready->message_count);
    messages_release(ready->after, ready->after_count);
    raft_snapshot_unref(&ready->snapshot);
    arena_reset(&ready->now_arena);
    arena_reset(&ready->after_arena);
    arena_reset(&ready->read_arena);
    struct raft_ready kept = *ready;
    *ready = (struct raft_ready){
        .entries = kept.entries,
        .committed = kept.committed,
        .messages = kept.messages,
        .after = kept.after,
        .reads = kept.reads,
        .entry_cap = kept.entry_cap,
        .committed_cap = kept.committed_cap,
        .message_cap = kept.message_cap,
        .after_cap = kept.after_cap,
        .read_cap = kept.read_cap,
        .now_arena = kept.now_arena,
        .after_arena = kept.after_arena,
        .read_arena = kept.read_arena,
    };
}

void raft_ready_fini(struct raft_ready *ready)
{
    raft_ready_reset(ready);
    mem_free(ready->entries);
    mem_free(ready->committed);
    mem_free(ready->messages);
    mem_free(ready->after);
    mem_free(ready->reads);
    arena_fini(&ready->now_arena);
    arena_fini(&ready->after_arena);
    arena_fini(&ready->read_arena);
    *ready = (struct raft_ready){0};
}

static void hand_out_box(struct raft_outbox *box, struct raft_message **items, size_t *count,
                         size_t *cap, struct arena *arena)
{
    ASSERT(*count == 0);
    struct raft_outbox empty = {.items = *items, .cap = *cap, .arena = *arena};
    *items = box->items;
    *count = box->count;
    *cap = box->cap;
    *arena = box->arena;
    *box = empty;
}

static void hand_out_reads(struct raft *raft, struct raft_ready *out)
{
    struct raft_read_state *items = out->reads;
    size_t cap = out->read_cap;
    struct arena arena = out->read_arena;
    out->reads = raft->read_states;
    out->read_count = raft->read_state_count;
    out->read_cap = raft->read_state_cap;
    out->read_arena = raft->read_arena;
    raft->read_states = items;
    raft->read_state_count = 0;
    raft->read_state_cap = cap;
    raft->read_arena = arena;
}

static void copy_entries(const struct raftlog *log, raft_index lo, size_t count,
                         struct raft_entry **entries, size_t *cap)
{
    if (count > *cap) {
        *cap = count < 16 ? 16 : count + count / 2;
        *entries = mem_realloc(*entries, *cap * sizeof(**entries));
    }
    raftlog_copy(log, lo, count, *entries);
}

static void hand_out_unstable(struct raft *raft, struct raft_ready *out)
{
    struct raftlog *log = &raft->log;
    if (raftlog_has_next_unstable(log)) {
        out->entry_count = log->last + 1 - log->in_progress;
        copy_entries(log, log->in_progress, out->entry_count, &out->entries, &out->entry_cap);
    }
    if (log->pending != NULL && !log->is_pending_in_progress) {
        out->snapshot = raft_snapshot_ref(log->pending);
        out->persist.snapshot_index = log->pending->index;
    }
    out->persist.term = raft->term;
    if (raftlog_has_unstable(log)) {
        /* Covers earlier writes too that their own completion could not vouch for, because the
         * term had moved on by then. */
        out->persist.index = log->last;
        out->persist.log_term = raftlog_last_term(log);
    }
}

static void hand_out_committed(struct raft *raft, struct raft_ready *out)
{
    raft_index lo;
    raft_index hi;
    struct raftlog *log = &raft->log;
    bool allow_unstable = raft->config.sync_storage;
    if (!raftlog_next_committed(log, allow_unstable, &lo, &hi)) {
        return;
    }
    uint64_t room = log->applying_bytes_max - log->applying_bytes;
    out->committed_count = raftlog_fit(log, lo, hi, room);
    copy_entries(log, lo, out->committed_count, &out->committed, &out->committed_cap);
    uint64_t bytes = 0;
    for (size_t i = 0; i < out->committed_count; i++) {
        bytes += raftlog_entry_bytes(&out->committed[i]);
    }
    raftlog_accept_applying(log, lo + out->committed_count - 1, bytes, allow_unstable);
}

static bool soft_state_changed(const struct raft *raft)
{
    struct raft_soft_state soft = raft__soft_state(raft);
    return soft.lead != raft->soft_handed.lead || soft.state != raft->soft_handed.state;
}

static bool hard_state_changed(const struct raft *raft)
{
    struct raft_hard_state hard = raft__hard_state(raft);
    return hard.term != raft->hard_handed.term || hard.vote != raft->hard_handed.vote ||
           hard.commit != raft->hard_handed.commit;
}

bool raft_has_ready(const struct raft *raft)
{
    raft_index lo;
    raft_index hi;
    const struct raftlog *log = &raft->log;
    return raft->now.count > 0 || raft->after.count > 0 || raftlog_has_next_unstable(log) ||
           raftlog_next_committed(log, raft->config.sync_storage, &lo, &hi) ||
           raft->read_state_count > 0 || soft_state_changed(raft) || hard_state_changed(raft) ||
           (log->pending != NULL && !log->is_pending_in_progress);
}

void raft_ready(struct raft *raft, struct raft_ready *out)
{
    ASSERT(out->entry_count == 0);
    ASSERT(out->committed_count == 0);
    ASSERT(out->read_count == 0);
    ASSERT(out->snapshot == NULL);
    if (soft_state_changed(raft)) {
        out->has_soft_state = true;
        out->soft_state = raft__soft_state(raft);
        raft->soft_handed = out->soft_state;
    }
    hand_out_unstable(raft, out);
    out->hard_state = raft__hard_state(raft);
    out->has_hard_state = hard_state_changed(raft);
    out->must_sync = out->entry_count > 0 || out->hard_state.term != raft->hard_handed.term ||
                     out->hard_state.vote != raft->hard_handed.vote;
    raft->hard_handed = out->hard_state;
    hand_out_committed(raft, out);
    hand_out_box(&raft->now, &out->messages, &out->message_count, &out->message_cap,
                 &out->now_arena);
    hand_out_box(&raft->after, &out->after, &out->after_count, &out->after_cap, &out->after_arena);
    hand_out_reads(raft, out);
    raftlog_accept_unstable(&raft->log);
    if (raft_ready_needs_persist(out)) {
        out->persist.number = ++raft->persists_handed;
    }
}

bool raft_ready_needs_persist(const struct raft_ready *ready)
{
    return ready->entry_count > 0 || ready->has_hard_state || ready->snapshot != NULL ||
           ready->after_count > 0;
}

/* --- completions --- */

void raft__persist_done(struct raft *raft, const struct raft_persist *persist)
{
    ASSERT(persist->term <= raft->term);
    if (persist->index != 0 && persist->term == raft->term) {
        raftlog_stable_to(&raft->log, persist->index, persist->log_term);
    } else if (persist->index != 0) {
        /* Since then another leader may have replaced the entries, and even put back ones that
         * look the same, whose own write is not done yet. */
        TRACE(raft, RAFT_INFO,
              "%" PX " [term: %" PU
              "] ignored entry appends from a MsgStorageAppendResp message with lower term "
              "[term: %" PU "]",
              raft->config.id, raft->term, persist->term);
    }
    if (persist->snapshot_index != 0) {
        raftlog_stable_snapshot(&raft->log, persist->snapshot_index);
        raft__conf_auto_leave(raft);
    }
}

void raft_persisted(struct raft *raft, const struct raft_ready *ready)
{
    if (!raft_ready_needs_persist(ready)) {
        return;
    }
    ASSERT(ready->persist.number == raft->persists_done + 1);
    raft->persists_done++;
    for (size_t i = 0; i < ready->after_count; i++) {
        if (ready->after[i].to == raft->config.id) {
            enum err err = raft__step(raft, &ready->after[i]);
            ASSERT(err == ERR_OK);
        }
    }
    raft__persist_done(raft, &ready->persist);
}

void raft_applied(struct raft *raft, raft_index index)
{
    ASSERT(index <= raft->log.applying);
    if (index <= raft->log.applied) {
        return; /* a snapshot overtook it */
    }
    uint64_t bytes = raftlog_applied_to(&raft->log, index);
    raft->uncommitted_bytes -= bytes < raft->uncommitted_bytes ? bytes : raft->uncommitted_bytes;
    raft__conf_auto_leave(raft);
}
