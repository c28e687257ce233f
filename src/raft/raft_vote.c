/* Elections: Raft §5.2 and §5.4.1, with PreVote (dissertation §9.6) and leader leases (§6.4.1).
 *
 * A pre-candidate asks whether it would win before it raises its term, so a member that was cut
 * off does not depose a working leader when it returns. It speaks of the term it would campaign
 * in, but neither it nor those who answer change theirs. */
#include "raft/raft_priv.h"

static const char transfer_mark[] = "CampaignTransfer"; /* upstream's, on the wire */

bool raft__is_transfer_vote(const struct raft_message *m)
{
    return slice_eq_str(m->context, transfer_mark);
}

static void request_vote(struct raft *raft, raft_id to, raft_term term, enum raft_campaign kind)
{
    enum raft_message_type type =
        kind == RAFT_CAMPAIGN_PRE_ELECTION ? RAFT_MSG_PRE_VOTE : RAFT_MSG_VOTE;
    raft_term last_term = raftlog_last_term(&raft->log);
    TRACE(raft, RAFT_INFO,
          "%" PX " [logterm: %" PU ", index: %" PU "] sent %s request to %" PX " at term %" PU,
          raft->config.id, last_term, raft->log.last, raft_message_type_name(type), to, raft->term);
    raft__send(raft, (struct raft_message){
                         .type = type,
                         .to = to,
                         .term = term,
                         .index = raft->log.last,
                         .log_term = last_term,
                         .context = kind == RAFT_CAMPAIGN_TRANSFER ? slice_str(transfer_mark)
                                                                   : SLICE_EMPTY,
                     });
}

static void campaign(struct raft *raft, enum raft_campaign kind)
{
    raft_term term = raft->term + 1;
    enum raft_message_type own_vote = RAFT_MSG_VOTE_RESP;
    if (kind == RAFT_CAMPAIGN_PRE_ELECTION) {
        raft__become_pre_candidate(raft);
        own_vote = RAFT_MSG_PRE_VOTE_RESP;
    } else {
        raft__become_candidate(raft);
        ASSERT(raft->term == term);
    }
    struct raft_id_set voters = quorum_ids(&raft->tracker.config.voters);
    for (uint32_t i = 0; i < voters.count; i++) {
        if (voters.ids[i] == raft->config.id) {
            /* Our own vote counts when it is on disk, like everybody's. */
            raft__send(
                raft, (struct raft_message){.type = own_vote, .to = raft->config.id, .term = term});
        } else {
            request_vote(raft, voters.ids[i], term, kind);
        }
    }
}

void raft__hup(struct raft *raft, enum raft_campaign kind)
{
    if (raft->state == RAFT_LEADER) {
        TRACE(raft, RAFT_DEBUG, "%" PX " ignoring MsgHup because already leader", raft->config.id);
        return;
    }
    if (!raft__is_promotable(raft)) {
        TRACE(raft, RAFT_WARN, "%" PX " is unpromotable and can not campaign", raft->config.id);
        return;
    }
    if (raftlog_has_unapplied_conf_change(&raft->log)) {
        TRACE(raft, RAFT_WARN,
              "%" PX " cannot campaign at term %" PU
              " since there are still pending configuration changes to apply",
              raft->config.id, raft->term);
        return;
    }
    TRACE(raft, RAFT_INFO, "%" PX " is starting a new election at term %" PU, raft->config.id,
          raft->term);
    campaign(raft, kind);
}

static void trace_verdict(const struct raft *raft, const struct raft_message *m,
                          const char *verdict, const char *preposition)
{
    TRACE(raft, RAFT_INFO,
          "%" PX " [logterm: %" PU ", index: %" PU ", vote: %" PX "] %s %s %s %" PX
          " [logterm: %" PU ", index: %" PU "] at term %" PU,
          raft->config.id, raftlog_last_term(&raft->log), raft->log.last, raft->vote, verdict,
          raft_message_type_name(m->type), preposition, m->from, m->log_term, m->index, raft->term);
}

void raft__handle_vote(struct raft *raft, const struct raft_message *m)
{
    ASSERT(m->type == RAFT_MSG_VOTE || m->type == RAFT_MSG_PRE_VOTE);
    bool is_pre_vote = m->type == RAFT_MSG_PRE_VOTE;
    bool is_free = raft->vote == m->from || (raft->vote == RAFT_NONE && raft->lead == RAFT_NONE) ||
                   (is_pre_vote && m->term > raft->term);
    bool is_granted = is_free && raftlog_is_up_to_date(&raft->log, m->index, m->log_term);
    /* A learner votes when asked: it may have been promoted and not know it yet, and without it
     * the others may not reach a majority. */
    if (is_granted) {
        trace_verdict(raft, m, "cast", "for");
    } else {
        trace_verdict(raft, m, "rejected", "from");
    }
    /* A granted pre-vote names the term asked for: ours may be lower, and a pre-candidate drops
     * answers of lower terms. A refusal names ours, so that it may learn of it. */
    raft__send(raft, (struct raft_message){
                         .type = is_pre_vote ? RAFT_MSG_PRE_VOTE_RESP : RAFT_MSG_VOTE_RESP,
                         .to = m->from,
                         .term = is_granted ? m->term : raft->term,
                         .reject = !is_granted,
                     });
    if (is_granted && !is_pre_vote) {
        raft->election_elapsed = 0;
        raft->vote = m->from;
    }
}

void raft__handle_vote_resp(struct raft *raft, const struct raft_message *m)
{
    ASSERT(raft->state == RAFT_CANDIDATE || raft->state == RAFT_PRE_CANDIDATE);
    const char *name = raft_message_type_name(m->type);
    TRACE(raft, RAFT_INFO, "%" PX " received %s%s from %" PX " at term %" PU, raft->config.id, name,
          m->reject ? " rejection" : "", m->from, raft->term);
    tracker_record_vote(&raft->tracker, m->from, !m->reject);
    uint32_t granted;
    uint32_t rejected;
    enum quorum_result result = tracker_tally(&raft->tracker, &granted, &rejected);
    TRACE(raft, RAFT_INFO, "%" PX " has received %u %s votes and %u vote rejections",
          raft->config.id, granted, name, rejected);
    switch (result) {
    case QUORUM_PENDING:
        break;
    case QUORUM_LOST:
        raft__become_follower(raft, raft->term, RAFT_NONE);
        break;
    case QUORUM_WON:
        if (raft->state == RAFT_PRE_CANDIDATE) {
            campaign(raft, RAFT_CAMPAIGN_ELECTION);
        } else if (raft__is_promotable(raft)) {
            raft__become_leader(raft);
            raft__bcast_append(raft);
        } else {
            /* Removed or demoted since it began to campaign. */
            raft__become_follower(raft, raft->term, RAFT_NONE);
        }
        break;
    }
}
