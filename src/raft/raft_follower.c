/* Followers and candidates: taking a leader's entries, forwarding what only a leader can do. */
#include "raft/raft_priv.h"

static void respond_append(struct raft *raft, raft_id to, raft_index index)
{
    raft__send(raft, (struct raft_message){.type = RAFT_MSG_APP_RESP, .to = to, .index = index});
}

/* Tells the leader where our logs may agree: the largest index at or below its guess whose term
 * is not above the leader's there. With that and its own log it skips whole terms at a time,
 * where Raft §5.3 would step back entry by entry. */
static void reject_append(struct raft *raft, const struct raft_message *m)
{
    TRACE(raft, RAFT_DEBUG,
          "%" PX " [logterm: %" PU ", index: %" PU "] rejected MsgApp [logterm: %" PU
          ", index: %" PU "] from %" PX,
          raft->config.id, raftlog_term_or_zero(&raft->log, m->index), m->index, m->log_term,
          m->index, m->from);
    raft_index hint = m->index < raft->log.last ? m->index : raft->log.last;
    raft_term hint_term;
    hint = raftlog_conflict_by_term(&raft->log, hint, m->log_term, &hint_term);
    raft__send(raft, (struct raft_message){
                         .type = RAFT_MSG_APP_RESP,
                         .to = m->from,
                         .index = m->index,
                         .reject = true,
                         .reject_hint = hint,
                         .log_term = hint_term,
                     });
}

static enum err handle_append(struct raft *raft, const struct raft_message *m)
{
    struct raftlog *log = &raft->log;
    if (m->index < log->committed) {
        /* An old one, or a leader that does not know how far we are. */
        respond_append(raft, m->from, log->committed);
        return ERR_OK;
    }
    enum err err =
        raftlog_append(log, m->index, m->log_term, m->entries, m->entry_count, m->commit);
    if (err == ERR_CORRUPT) {
        return raft__nonsense(raft);
    }
    if (err == ERR_OK) {
        respond_append(raft, m->from, m->index + m->entry_count);
    } else {
        reject_append(raft, m);
    }
    return ERR_OK;
}

static enum err handle_heartbeat(struct raft *raft, const struct raft_message *m)
{
    if (m->commit > raft->log.last) {
        /* A leader tells us to commit only what we said we have: our log was lost. */
        return raft__nonsense(raft);
    }
    raftlog_commit_to(&raft->log, m->commit);
    raft__send(raft, (struct raft_message){
                         .type = RAFT_MSG_HEARTBEAT_RESP,
                         .to = m->from,
                         .context = m->context,
                     });
    return ERR_OK;
}

static bool is_in_conf_state(const struct raft_conf_state *cs, raft_id id)
{
    return raft_id_set_has(&cs->voters, id) || raft_id_set_has(&cs->learners, id) ||
           raft_id_set_has(&cs->voters_outgoing, id);
}

/* Replaces the log by a snapshot. False when the log has it all already. */
static bool restore(struct raft *raft, struct raft_snapshot *snapshot)
{
    struct raftlog *log = &raft->log;
    if (snapshot->index <= log->committed) {
        return false;
    }
    ASSERT(raft->state == RAFT_FOLLOWER);
    if (!is_in_conf_state(&snapshot->conf_state, raft->config.id)) {
        TRACE(raft, RAFT_WARN,
              "%" PX " attempted to restore snapshot but it is not in the ConfState; "
              "should never happen",
              raft->config.id);
        return false;
    }
    if (raftlog_matches(log, snapshot->index, snapshot->term)) {
        TRACE(raft, RAFT_INFO,
              "%" PX " [commit: %" PU ", lastindex: %" PU ", lastterm: %" PU
              "] fast-forwarded commit to snapshot [index: %" PU ", term: %" PU "]",
              raft->config.id, log->committed, log->last, raftlog_last_term(log), snapshot->index,
              snapshot->term);
        raftlog_commit_to(log, snapshot->index);
        return false;
    }
    raftlog_restore(log, snapshot);
    /* Nothing known of anybody holds for the new log. */
    struct tracker_config config = tracker_config_from(&snapshot->conf_state);
    raft_index next = log->last > 0 ? log->last : 1;
    tracker_reset(&raft->tracker, next);
    raft__conf_switch(raft, &config);
    TRACE(raft, RAFT_INFO,
          "%" PX " [commit: %" PU ", lastindex: %" PU ", lastterm: %" PU
          "] restored snapshot [index: %" PU ", term: %" PU "]",
          raft->config.id, log->committed, log->last, raftlog_last_term(log), snapshot->index,
          snapshot->term);
    return true;
}

static void handle_snapshot(struct raft *raft, const struct raft_message *m)
{
    bool is_restored = restore(raft, m->snapshot);
    TRACE(raft, RAFT_INFO, "%" PX " [commit: %" PU "] %s snapshot [index: %" PU ", term: %" PU "]",
          raft->config.id, raft->log.committed, is_restored ? "restored" : "ignored",
          m->snapshot->index, m->snapshot->term);
    respond_append(raft, m->from, is_restored ? raft->log.last : raft->log.committed);
}

static enum err forward_proposal(struct raft *raft, const struct raft_message *m)
{
    if (raft->lead == RAFT_NONE) {
        TRACE(raft, RAFT_INFO, "%" PX " no leader at term %" PU "; dropping proposal",
              raft->config.id, raft->term);
        return ERR_AGAIN;
    }
    if (raft->config.proposal_forwarding_off) {
        TRACE(raft, RAFT_INFO,
              "%" PX " not forwarding to leader %" PX " at term %" PU "; dropping proposal",
              raft->config.id, raft->lead, raft->term);
        return ERR_AGAIN;
    }
    struct raft_message forwarded = *m;
    forwarded.to = raft->lead;
    raft__send(raft, forwarded);
    return ERR_OK;
}

static void forward(struct raft *raft, const struct raft_message *m, const char *what)
{
    if (raft->lead == RAFT_NONE) {
        TRACE(raft, RAFT_INFO, "%" PX " no leader at term %" PU "; dropping %s msg",
              raft->config.id, raft->term, what);
        return;
    }
    struct raft_message forwarded = *m;
    forwarded.to = raft->lead;
    forwarded.term = 0;
    raft__send(raft, forwarded);
}

static void forget_leader(struct raft *raft)
{
    if (raft->config.read_only == RAFT_READ_LEASE) {
        /* Voting another one in would break the lease that reads rely on. */
        TRACE(raft, RAFT_ERROR, "%s", "ignoring MsgForgetLeader due to ReadOnlyLeaseBased");
        return;
    }
    if (raft->lead != RAFT_NONE) {
        TRACE(raft, RAFT_INFO, "%" PX " forgetting leader %" PX " at term %" PU, raft->config.id,
              raft->lead, raft->term);
        raft->lead = RAFT_NONE;
    }
}

static void hear_leader(struct raft *raft, raft_id from)
{
    raft->election_elapsed = 0;
    raft->lead = from;
}

FALLIBLE raft__step_follower(struct raft *raft, const struct raft_message *m)
{
    if (m->type == RAFT_MSG_PROP) {
        return forward_proposal(raft, m);
    }
    if (m->type == RAFT_MSG_APP) {
        hear_leader(raft, m->from);
        return handle_append(raft, m);
    }
    if (m->type == RAFT_MSG_HEARTBEAT) {
        hear_leader(raft, m->from);
        return handle_heartbeat(raft, m);
    }
    if (m->type == RAFT_MSG_SNAP) {
        hear_leader(raft, m->from);
        handle_snapshot(raft, m);
    } else if (m->type == RAFT_MSG_TRANSFER_LEADER) {
        forward(raft, m, "leader transfer");
    } else if (m->type == RAFT_MSG_READ_INDEX) {
        forward(raft, m, "index reading");
    } else if (m->type == RAFT_MSG_READ_INDEX_RESP) {
        raft__read_state_add(raft, m->index, raft_payload_slice(m->entries[0].payload));
    } else if (m->type == RAFT_MSG_FORGET_LEADER) {
        forget_leader(raft);
    } else if (m->type == RAFT_MSG_TIMEOUT_NOW) {
        TRACE(raft, RAFT_INFO,
              "%" PX " [term %" PU "] received MsgTimeoutNow from %" PX
              " and starts an election to get leadership.",
              raft->config.id, raft->term, m->from);
        /* No pre-vote: the leader itself wants to go. */
        raft__hup(raft, RAFT_CAMPAIGN_TRANSFER);
    }
    return ERR_OK;
}

FALLIBLE raft__step_candidate(struct raft *raft, const struct raft_message *m)
{
    enum raft_message_type awaited =
        raft->state == RAFT_PRE_CANDIDATE ? RAFT_MSG_PRE_VOTE_RESP : RAFT_MSG_VOTE_RESP;
    if (m->type == awaited) {
        raft__handle_vote_resp(raft, m);
        return ERR_OK;
    }
    if (m->type == RAFT_MSG_PROP) {
        TRACE(raft, RAFT_INFO, "%" PX " no leader at term %" PU "; dropping proposal",
              raft->config.id, raft->term);
        return ERR_AGAIN;
    }
    if (m->type == RAFT_MSG_APP || m->type == RAFT_MSG_HEARTBEAT || m->type == RAFT_MSG_SNAP) {
        /* Somebody has won this term. */
        ASSERT(m->term == raft->term);
        raft__become_follower(raft, m->term, m->from);
        return raft__step_follower(raft, m);
    }
    if (m->type == RAFT_MSG_TIMEOUT_NOW) {
        TRACE(raft, RAFT_DEBUG, "%" PX " [term %" PU " state %s] ignored MsgTimeoutNow from %" PX,
              raft->config.id, raft->term, raft_state_name(raft->state), m->from);
    }
    return ERR_OK;
}
