/* Leaders: appending, replicating, committing, handing over. */
#include "raft/raft_priv.h"

/* --- replication --- */

/* The follower needs what is compacted. */
static bool send_snapshot(struct raft *raft, struct progress *pr)
{
    raft_id id = raft->config.id;
    if (!pr->is_recent_active) {
        TRACE(raft, RAFT_DEBUG,
              "ignore sending snapshot to %" PX " since it is not recently active", pr->id);
        return false;
    }
    struct raft_snapshot *snapshot = raftlog_snapshot(&raft->log);
    if (snapshot == NULL || snapshot->index < raft->log.base) {
        TRACE(raft, RAFT_DEBUG,
              "%" PX " failed to send snapshot to %" PX
              " because snapshot is temporarily unavailable",
              id, pr->id);
        return false;
    }
    char text[PROGRESS_TEXT_MAX];
    TRACE(raft, RAFT_DEBUG,
          "%" PX " [firstindex: %" PU ", commit: %" PU "] sent snapshot[index: %" PU ", term: %" PU
          "] to %" PX " [%s]",
          id, raft->log.base + 1, raft->log.committed, snapshot->index, snapshot->term, pr->id,
          progress_text(pr, text));
    progress_become_snapshot(pr, snapshot->index);
    TRACE(raft, RAFT_DEBUG, "%" PX " paused sending replication messages to %" PX " [%s]", id,
          pr->id, progress_text(pr, text));
    raft__send(raft, (struct raft_message){
                         .type = RAFT_MSG_SNAP,
                         .to = pr->id,
                         .snapshot = snapshot,
                     });
    return true;
}

/* How many entries the next MsgApp takes: none while the window is full, but then the message
 * still tells the commit index. */
static size_t entries_to_send(const struct raft *raft, const struct progress *pr)
{
    if (pr->next > raft->log.last ||
        (pr->state == RAFT_PEER_REPLICATE && inflights_is_full(&pr->inflights))) {
        return 0;
    }
    return raftlog_fit(&raft->log, pr->next, raft->log.last + 1, raft->config.message_bytes_max);
}

bool raft__maybe_send_append(struct raft *raft, struct progress *pr, bool send_if_empty)
{
    struct raftlog *log = &raft->log;
    if (progress_is_paused(pr)) {
        return false;
    }
    raft_term prev_term;
    if (raftlog_term(log, pr->next - 1, &prev_term) != ERR_OK) {
        return send_snapshot(raft, pr);
    }
    size_t count = entries_to_send(raft, pr);
    if (count == 0 && !send_if_empty) {
        return false;
    }
    struct raft_entry *entries = NULL;
    uint64_t bytes = 0;
    if (count > 0) {
        entries = arena_alloc(&raft->now.arena, count * sizeof(*entries));
        raftlog_copy(log, pr->next, count, entries);
        for (size_t i = 0; i < count; i++) {
            bytes += raft_payload_slice(entries[i].payload).len;
        }
    }
    raft__send_append_message(raft, (struct raft_message){
                                        .type = RAFT_MSG_APP,
                                        .to = pr->id,
                                        .index = pr->next - 1,
                                        .log_term = prev_term,
                                        .entries = entries,
                                        .entry_count = count,
                                        .commit = log->committed,
                                    });
    progress_sent_entries(pr, count, bytes);
    pr->sent_commit = log->committed;
    return true;
}

void raft__send_append(struct raft *raft, struct progress *pr)
{
    raft__maybe_send_append(raft, pr, true);
}

void raft__bcast_append(struct raft *raft)
{
    for (uint32_t i = 0; i < raft->tracker.peer_count; i++) {
        if (raft->tracker.peers[i].id != raft->config.id) {
            raft__send_append(raft, &raft->tracker.peers[i]);
        }
    }
}

void raft__bcast_heartbeat(struct raft *raft)
{
    uint8_t storage[8];
    struct slice context = raft__read_context(raft, storage);
    for (uint32_t i = 0; i < raft->tracker.peer_count; i++) {
        struct progress *pr = &raft->tracker.peers[i];
        if (pr->id == raft->config.id) {
            continue;
        }
        /* It may not commit what we do not know it to have. */
        raft_index commit = pr->match < raft->log.committed ? pr->match : raft->log.committed;
        raft__send(raft, (struct raft_message){
                             .type = RAFT_MSG_HEARTBEAT,
                             .to = pr->id,
                             .commit = commit,
                             .context = context,
                         });
        pr->sent_commit = commit;
    }
}

bool raft__maybe_commit(struct raft *raft)
{
    return raftlog_maybe_commit(&raft->log, tracker_committed(&raft->tracker), raft->term);
}

/* --- proposals --- */

/* Our own copy counts once it is durable: the acknowledgement waits behind the write. */
static void acknowledge_own(struct raft *raft)
{
    raft__send(raft, (struct raft_message){
                         .type = RAFT_MSG_APP_RESP,
                         .to = raft->config.id,
                         .index = raft->log.last,
                     });
}

void raft__append_empty(struct raft *raft)
{
    raftlog_push(&raft->log, raft->term, RAFT_ENTRY_NORMAL, NULL);
    acknowledge_own(raft);
}

static FALLIBLE check_may_append(const struct raft *raft)
{
    if (tracker_find(&raft->tracker, raft->config.id) == NULL) {
        return ERR_AGAIN; /* removed while leading */
    }
    if (raft->lead_transferee != RAFT_NONE) {
        TRACE(raft, RAFT_DEBUG,
              "%" PX " [term %" PU "] transfer leadership to %" PX
              " is in progress; dropping proposal",
              raft->config.id, raft->term, raft->lead_transferee);
        return ERR_AGAIN;
    }
    return ERR_OK;
}

/* Empty entries always fit, and so does whatever comes first: one large entry must get through,
 * and a new leader's or a joint configuration's last entry must never be refused. */
static FALLIBLE reserve_uncommitted(struct raft *raft, uint64_t bytes)
{
    uint64_t limit = raft->config.uncommitted_bytes_max;
    if (raft->uncommitted_bytes > 0 && bytes > 0 &&
        (bytes > limit || raft->uncommitted_bytes > limit - bytes)) {
        TRACE(raft, RAFT_WARN,
              "%" PX " appending new entries to log would exceed uncommitted entry size limit; "
              "dropping proposal",
              raft->config.id);
        return ERR_AGAIN;
    }
    raft->uncommitted_bytes += bytes;
    return ERR_OK;
}

/* False when the entry is a conf change that may not be appended as entry number `index`. */
static bool admit_conf_change(struct raft *raft, const struct raft_entry *entry, raft_index index)
{
    struct raft_conf_change change;
    char storage[RAFT_REFUSAL_MAX];
    enum err err =
        raft_conf_change_decode(entry->type, raft_payload_slice(entry->payload), &change);
    ASSERT(err == ERR_OK); /* the guard, or our own encoder */
    const char *why = raft__conf_refusal(raft, &change, storage);
    if (why != NULL) {
        raft__conf_trace_refused(raft, &change, why);
        return false;
    }
    raft->pending_conf_index = index;
    return true;
}

FALLIBLE raft__leader_propose(struct raft *raft, const struct raft_entry *entries, size_t count)
{
    ASSERT(count > 0);
    TRY(check_may_append(raft));
    struct raft_entry *admitted = mem_dup(entries, count * sizeof(*entries));
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (admitted[i].type != RAFT_ENTRY_NORMAL &&
            !admit_conf_change(raft, &admitted[i], raft->log.last + 1 + i)) {
            admitted[i] = (struct raft_entry){0};
        }
        bytes += raft_payload_slice(admitted[i].payload).len;
    }
    enum err err = reserve_uncommitted(raft, bytes);
    for (size_t i = 0; err == ERR_OK && i < count; i++) {
        raftlog_push(&raft->log, raft->term, admitted[i].type, admitted[i].payload);
    }
    mem_free(admitted);
    if (err == ERR_OK) {
        acknowledge_own(raft);
    }
    return err;
}

FALLIBLE raft__leader_propose_payloads(struct raft *raft, struct raft_payload *const *payloads,
                                       size_t count)
{
    ASSERT(count > 0);
    TRY(check_may_append(raft));
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += raft_payload_slice(payloads[i]).len;
    }
    TRY(reserve_uncommitted(raft, bytes));
    for (size_t i = 0; i < count; i++) {
        raftlog_push(&raft->log, raft->term, RAFT_ENTRY_NORMAL, payloads[i]);
    }
    acknowledge_own(raft);
    raft__bcast_append(raft);
    return ERR_OK;
}

/* --- answers --- */

static void send_timeout_now(struct raft *raft, raft_id to)
{
    raft__send(raft, (struct raft_message){.type = RAFT_MSG_TIMEOUT_NOW, .to = to});
}

/* The follower's log and ours differ at m->index. It told the largest index up to which they may
 * agree, and its term there; we skip our entries of later terms, which it cannot have. Between
 * the two of us each round trip skips a whole term, on whichever side has more of them. */
static void handle_append_rejected(struct raft *raft, struct progress *pr,
                                   const struct raft_message *m)
{
    TRACE(raft, RAFT_DEBUG,
          "%" PX " received MsgAppResp(rejected, hint: (index %" PU ", term %" PU ")) from %" PX
          " for index %" PU,
          raft->config.id, m->reject_hint, m->log_term, m->from, m->index);
    raft_index probe = m->reject_hint;
    if (m->log_term > 0) {
        raft_term term;
        probe = raftlog_conflict_by_term(&raft->log, m->reject_hint, m->log_term, &term);
    }
    if (!progress_decrease(pr, m->index, probe)) {
        return;
    }
    char text[PROGRESS_TEXT_MAX];
    TRACE(raft, RAFT_DEBUG, "%" PX " decreased progress of %" PX " to [%s]", raft->config.id,
          m->from, progress_text(pr, text));
    if (pr->state == RAFT_PEER_REPLICATE) {
        progress_become_probe(pr);
    }
    raft__send_append(raft, pr);
}

static void leave_or_refill_window(struct raft *raft, struct progress *pr, raft_index index)
{
    char text[PROGRESS_TEXT_MAX];
    switch (pr->state) {
    case RAFT_PEER_PROBE:
        progress_become_replicate(pr);
        break;
    case RAFT_PEER_SNAPSHOT:
        /* Whether by our snapshot or by another's: our log can serve it again. */
        if (pr->match + 1 >= raft->log.base + 1) {
            TRACE(raft, RAFT_DEBUG,
                  "%" PX " recovered from needing snapshot, resumed sending replication messages "
                  "to %" PX " [%s]",
                  raft->config.id, pr->id, progress_text(pr, text));
            progress_become_probe(pr);
            progress_become_replicate(pr);
        }
        break;
    case RAFT_PEER_REPLICATE:
        inflights_free_to(&pr->inflights, index);
        break;
    }
}

static void handle_append_accepted(struct raft *raft, struct progress *pr,
                                   const struct raft_message *m)
{
    bool is_self = pr->id == raft->config.id;
    bool is_news = progress_update(pr, m->index);
    if (!is_news && !(pr->match == m->index && pr->state == RAFT_PEER_PROBE)) {
        return;
    }
    leave_or_refill_window(raft, pr, m->index);
    if (raft__maybe_commit(raft)) {
        raft__read_release(raft);
        raft__bcast_append(raft);
    } else if (!is_self && progress_can_bump_commit(pr, raft->log.committed)) {
        raft__send_append(raft, pr);
    }
    /* There may be room in its window again: fill it. */
    while (!is_self && raft__maybe_send_append(raft, pr, false)) {
    }
    if (m->from == raft->lead_transferee && pr->match == raft->log.last) {
        TRACE(raft, RAFT_INFO, "%" PX " sent MsgTimeoutNow to %" PX " after received MsgAppResp",
              raft->config.id, m->from);
        send_timeout_now(raft, m->from);
    }
}

static enum err handle_append_resp(struct raft *raft, struct progress *pr,
                                   const struct raft_message *m)
{
    if (!m->reject && m->index > raft->log.last) {
        return raft__nonsense(raft); /* it cannot have what we do not */
    }
    pr->is_recent_active = true;
    if (m->reject) {
        handle_append_rejected(raft, pr, m);
    } else {
        handle_append_accepted(raft, pr, m);
    }
    return ERR_OK;
}

static void handle_heartbeat_resp(struct raft *raft, struct progress *pr,
                                  const struct raft_message *m)
{
    pr->is_recent_active = true;
    pr->is_flow_paused = false;
    /* A MsgApp or its answer may have been lost: an empty one, if the window is full, finds out. */
    if (pr->match < raft->log.last || pr->state == RAFT_PEER_PROBE) {
        raft__send_append(raft, pr);
    }
    raft__read_ack(raft, pr, m->context);
}

static void handle_snapshot_status(struct raft *raft, struct progress *pr,
                                   const struct raft_message *m)
{
    if (pr->state != RAFT_PEER_SNAPSHOT) {
        return;
    }
    if (m->reject) {
        pr->pending_snapshot = 0;
    }
    progress_become_probe(pr);
    char text[PROGRESS_TEXT_MAX];
    TRACE(raft, RAFT_DEBUG,
          "%" PX " snapshot %s, resumed sending replication messages to %" PX " [%s]",
          raft->config.id, m->reject ? "failed" : "succeeded", m->from, progress_text(pr, text));
    /* It is still installing the snapshot, or cannot be reached: wait for a sign of life. */
    pr->is_flow_paused = true;
}

static void handle_unreachable(struct raft *raft, struct progress *pr)
{
    /* What was sent optimistically is probably lost. */
    if (pr->state == RAFT_PEER_REPLICATE) {
        progress_become_probe(pr);
    }
    char text[PROGRESS_TEXT_MAX];
    TRACE(raft, RAFT_DEBUG,
          "%" PX " failed to send message to %" PX " because it is unreachable [%s]",
          raft->config.id, pr->id, progress_text(pr, text));
}

/* False when there is nothing to do. */
static bool transfer_is_news(struct raft *raft, const struct progress *pr)
{
    raft_id id = raft->config.id;
    if (pr->is_learner) {
        TRACE(raft, RAFT_DEBUG, "%" PX " is learner. Ignored transferring leadership", id);
        return false;
    }
    if (raft->lead_transferee == pr->id) {
        TRACE(raft, RAFT_INFO,
              "%" PX " [term %" PU "] transfer leadership to %" PX
              " is in progress, ignores request to same node %" PX,
              id, raft->term, pr->id, pr->id);
        return false;
    }
    if (raft->lead_transferee != RAFT_NONE) {
        TRACE(raft, RAFT_INFO,
              "%" PX " [term %" PU "] abort previous transferring leadership to %" PX, id,
              raft->term, raft->lead_transferee);
        raft->lead_transferee = RAFT_NONE;
    }
    if (pr->id == id) {
        TRACE(raft, RAFT_DEBUG,
              "%" PX " is already leader. Ignored transferring leadership to self", id);
        return false;
    }
    return true;
}

/* Dissertation §3.10: bring it up to date, take no more proposals, tell it to campaign. */
static void handle_transfer(struct raft *raft, struct progress *pr)
{
    if (!transfer_is_news(raft, pr)) {
        return;
    }
    TRACE(raft, RAFT_INFO, "%" PX " [term %" PU "] starts to transfer leadership to %" PX,
          raft->config.id, raft->term, pr->id);
    /* It has one election timeout, then we go on leading. */
    raft->election_elapsed = 0;
    raft->lead_transferee = pr->id;
    if (pr->match == raft->log.last) {
        send_timeout_now(raft, pr->id);
        TRACE(raft, RAFT_INFO,
              "%" PX " sends MsgTimeoutNow to %" PX " immediately as %" PX
              " already has up-to-date log",
              raft->config.id, pr->id, pr->id);
    } else {
        raft__send_append(raft, pr);
    }
}

static void check_quorum(struct raft *raft)
{
    if (!tracker_is_quorum_active(&raft->tracker)) {
        TRACE(raft, RAFT_WARN, "%" PX " stepped down to follower since quorum is not active",
              raft->config.id);
        raft__become_follower(raft, raft->term, RAFT_NONE);
    }
    for (uint32_t i = 0; i < raft->tracker.peer_count; i++) {
        struct progress *pr = &raft->tracker.peers[i];
        pr->is_recent_active = pr->is_recent_active && pr->id == raft->config.id;
    }
}

static enum err step_from_member(struct raft *raft, const struct raft_message *m)
{
    struct progress *pr = tracker_find(&raft->tracker, m->from);
    if (pr == NULL) {
        TRACE(raft, RAFT_DEBUG, "%" PX " no progress available for %" PX, raft->config.id, m->from);
        return ERR_OK;
    }
    if (m->type == RAFT_MSG_APP_RESP) {
        return handle_append_resp(raft, pr, m);
    }
    if (m->type == RAFT_MSG_HEARTBEAT_RESP) {
        handle_heartbeat_resp(raft, pr, m);
    } else if (m->type == RAFT_MSG_SNAP_STATUS) {
        handle_snapshot_status(raft, pr, m);
    } else if (m->type == RAFT_MSG_UNREACHABLE) {
        handle_unreachable(raft, pr);
    } else if (m->type == RAFT_MSG_TRANSFER_LEADER) {
        handle_transfer(raft, pr);
    }
    return ERR_OK;
}

FALLIBLE raft__step_leader(struct raft *raft, const struct raft_message *m)
{
    if (m->type == RAFT_MSG_BEAT) {
        raft__bcast_heartbeat(raft);
    } else if (m->type == RAFT_MSG_CHECK_QUORUM) {
        check_quorum(raft);
    } else if (m->type == RAFT_MSG_PROP) {
        TRY(raft__leader_propose(raft, m->entries, m->entry_count));
        raft__bcast_append(raft);
    } else if (m->type == RAFT_MSG_READ_INDEX) {
        raft__read_ask(raft, m->from, raft_payload_slice(m->entries[0].payload));
    } else if (m->type != RAFT_MSG_FORGET_LEADER) {
        return step_from_member(raft, m);
    }
    return ERR_OK;
}
