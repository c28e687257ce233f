/* Life cycle, states and terms, ticks, the public inputs and the observers.
 *
 *                  times out, pre-vote                  wins pre-vote
 *     ┌──────────┐ ────────────────► ┌───────────────┐ ─────────────► ┌───────────┐
 *     │ follower │                   │ pre-candidate │                │ candidate │
 *     └──────────┘ ◄──────────────── └───────────────┘                └───────────┘
 *       ▲  ▲  ▲     loses, or hears a leader                            │  │ wins
 *       │  │  └─────────────────────────────────────────────────────────┘  ▼
 *       │  │        loses, hears a leader or a higher term               ┌────────┐
 *       │  └──────────────────────────────────────────────────────────── │ leader │
 *       │           higher term, no quorum, removed                      └────────┘
 *       └── everybody starts here
 *
 * A message of a higher term makes a follower of whoever it reaches, with three exceptions: within
 * a leader's lease a vote request is ignored; a pre-vote request and a granted pre-vote speak of
 * a term that does not exist yet. A message of a lower term is ignored, except that whoever may
 * be stuck in it is told so: a stale leader by an empty MsgAppResp, a pre-candidate by a refusal.
 * (etcd's raft, "Step".) */
#include "raft/raft_priv.h"

static const char *const state_names[] = {
    [RAFT_FOLLOWER] = "StateFollower",
    [RAFT_CANDIDATE] = "StateCandidate",
    [RAFT_LEADER] = "StateLeader",
    [RAFT_PRE_CANDIDATE] = "StatePreCandidate",
};

/* Who may become what. */
static const uint8_t state_next[] = {
    [RAFT_FOLLOWER] = 1 << RAFT_FOLLOWER | 1 << RAFT_CANDIDATE | 1 << RAFT_PRE_CANDIDATE,
    [RAFT_CANDIDATE] =
        1 << RAFT_FOLLOWER | 1 << RAFT_CANDIDATE | 1 << RAFT_PRE_CANDIDATE | 1 << RAFT_LEADER,
    [RAFT_PRE_CANDIDATE] = 1 << RAFT_FOLLOWER | 1 << RAFT_CANDIDATE | 1 << RAFT_PRE_CANDIDATE,
    [RAFT_LEADER] = 1 << RAFT_FOLLOWER,
};

const char *raft_state_name(enum raft_state state)
{
    ASSERT((unsigned)state < ARRAY_LEN(state_names));
    return state_names[state];
}

static void state_set(struct raft *raft, enum raft_state state)
{
    ASSERT((state_next[raft->state] >> state & 1) != 0);
    raft->state = state;
}

enum err raft__nonsense(struct raft *raft)
{
    raft->nonsense_count++;
    return ERR_INVALID;
}

struct raft_soft_state raft__soft_state(const struct raft *raft)
{
    return (struct raft_soft_state){.lead = raft->lead, .state = raft->state};
}

struct raft_hard_state raft__hard_state(const struct raft *raft)
{
    return (struct raft_hard_state){
        .term = raft->term,
        .vote = raft->vote,
        .commit = raft->log.committed,
    };
}

/* splitmix64: any seed will do, and one word is all the state. */
static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* --- states --- */

static void reset(struct raft *raft, raft_term term)
{
    if (raft->term != term) {
        raft->term = term;
        raft->vote = RAFT_NONE;
    }
    raft->lead = RAFT_NONE;
    raft->lead_transferee = RAFT_NONE;
    raft->pending_conf_index = 0;
    raft->uncommitted_bytes = 0;
    raft->election_elapsed = 0;
    raft->heartbeat_elapsed = 0;
    uint32_t ticks = raft->config.election_ticks;
    raft->election_timeout = ticks + (uint32_t)(random_next(&raft->rng) % ticks);
    tracker_reset(&raft->tracker, raft->log.last + 1);
    struct progress *self = tracker_find(&raft->tracker, raft->config.id);
    if (self != NULL) {
        self->match = raft->log.last;
    }
    raft__read_reset(raft);
}

void raft__become_follower(struct raft *raft, raft_term term, raft_id lead)
{
    ASSERT(term >= raft->term);
    reset(raft, term);
    raft->lead = lead;
    state_set(raft, RAFT_FOLLOWER);
    TRACE(raft, RAFT_INFO, "%" PX " became follower at term %" PU, raft->config.id, raft->term);
}

void raft__become_candidate(struct raft *raft)
{
    reset(raft, raft->term + 1);
    raft->vote = raft->config.id;
    state_set(raft, RAFT_CANDIDATE);
    TRACE(raft, RAFT_INFO, "%" PX " became candidate at term %" PU, raft->config.id, raft->term);
}

void raft__become_pre_candidate(struct raft *raft)
{
    /* Nothing but the state changes, the term and the vote least of all. */
    tracker_reset_votes(&raft->tracker);
    raft->lead = RAFT_NONE;
    state_set(raft, RAFT_PRE_CANDIDATE);
    TRACE(raft, RAFT_INFO, "%" PX " became pre-candidate at term %" PU, raft->config.id,
          raft->term);
}

void raft__become_leader(struct raft *raft)
{
    reset(raft, raft->term);
    raft->lead = raft->config.id;
    state_set(raft, RAFT_LEADER);
    struct progress *self = tracker_find(&raft->tracker, raft->config.id);
    ASSERT(self != NULL);
    progress_become_replicate(self);
    self->is_recent_active = true;
    /* Some entry up to here may be a conf change that is not applied yet. Looking would cost a
     * scan of the log; supposing so costs nothing. */
    raft->pending_conf_index = raft->log.last;
    raft__append_empty(raft);
    TRACE(raft, RAFT_INFO, "%" PX " became leader at term %" PU, raft->config.id, raft->term);
}

bool raft__is_promotable(const struct raft *raft)
{
    const struct progress *self = tracker_find(&raft->tracker, raft->config.id);
    return self != NULL && !self->is_learner && raft->log.pending == NULL;
}

/* --- messages --- */

static bool ignores_vote_within_lease(const struct raft *raft, const struct raft_message *m)
{
    if (m->type != RAFT_MSG_VOTE && m->type != RAFT_MSG_PRE_VOTE) {
        return false;
    }
    if (!raft->config.check_quorum || raft->lead == RAFT_NONE ||
        raft->election_elapsed >= raft->config.election_ticks || raft__is_transfer_vote(m)) {
        return false;
    }
    TRACE(raft, RAFT_INFO,
          "%" PX " [logterm: %" PU ", index: %" PU ", vote: %" PX "] ignored %s from %" PX
          " [logterm: %" PU ", index: %" PU "] at term %" PU
          ": lease is not expired (remaining ticks: %u)",
          raft->config.id, raftlog_last_term(&raft->log), raft->log.last, raft->vote,
          raft_message_type_name(m->type), m->from, m->log_term, m->index, raft->term,
          raft->config.election_ticks - raft->election_elapsed);
    return true;
}

static void catch_up_with_term(struct raft *raft, const struct raft_message *m)
{
    if (m->type == RAFT_MSG_PRE_VOTE || (m->type == RAFT_MSG_PRE_VOTE_RESP && !m->reject)) {
        return; /* a term that may come to be */
    }
    TRACE(raft, RAFT_INFO,
          "%" PX " [term: %" PU "] received a %s message with higher term from %" PX " [term: %" PU
          "]",
          raft->config.id, raft->term, raft_message_type_name(m->type), m->from, m->term);
    bool is_from_leader =
        m->type == RAFT_MSG_APP || m->type == RAFT_MSG_HEARTBEAT || m->type == RAFT_MSG_SNAP;
    raft__become_follower(raft, m->term, is_from_leader ? m->from : RAFT_NONE);
}

/* Of a lower term. */
static void answer_stale(struct raft *raft, const struct raft_message *m)
{
    bool is_from_leader = m->type == RAFT_MSG_HEARTBEAT || m->type == RAFT_MSG_APP;
    if (is_from_leader && (raft->config.check_quorum || raft->config.pre_vote)) {
        /* We may have raised our term while cut off, and now ignore the leader; it would ignore
         * our vote requests within its lease. Only its stepping down gets us both out. */
        raft__send(raft, (struct raft_message){.type = RAFT_MSG_APP_RESP, .to = m->from});
        return;
    }
    if (m->type == RAFT_MSG_PRE_VOTE) {
        TRACE(raft, RAFT_INFO,
              "%" PX " [logterm: %" PU ", index: %" PU ", vote: %" PX "] rejected %s from %" PX
              " [logterm: %" PU ", index: %" PU "] at term %" PU,
              raft->config.id, raftlog_last_term(&raft->log), raft->log.last, raft->vote,
              raft_message_type_name(m->type), m->from, m->log_term, m->index, raft->term);
        raft__send(raft, (struct raft_message){
                             .type = RAFT_MSG_PRE_VOTE_RESP,
                             .to = m->from,
                             .term = raft->term,
                             .reject = true,
                         });
        return;
    }
    TRACE(raft, RAFT_INFO,
          "%" PX " [term: %" PU "] ignored a %s message with lower term from %" PX " [term: %" PU
          "]",
          raft->config.id, raft->term, raft_message_type_name(m->type), m->from, m->term);
}

static FALLIBLE step_in_term(struct raft *raft, const struct raft_message *m)
{
    if (m->type == RAFT_MSG_HUP) {
        raft__hup(raft,
                  raft->config.pre_vote ? RAFT_CAMPAIGN_PRE_ELECTION : RAFT_CAMPAIGN_ELECTION);
        return ERR_OK;
    }
    if (m->type == RAFT_MSG_VOTE || m->type == RAFT_MSG_PRE_VOTE) {
        raft__handle_vote(raft, m);
        return ERR_OK;
    }
    switch (raft->state) {
    case RAFT_FOLLOWER:
        return raft__step_follower(raft, m);
    case RAFT_CANDIDATE:
    case RAFT_PRE_CANDIDATE:
        return raft__step_candidate(raft, m);
    case RAFT_LEADER:
        return raft__step_leader(raft, m);
    }
    UNREACHABLE();
}

FALLIBLE raft__step(struct raft *raft, const struct raft_message *m)
{
    if (m->term > raft->term) {
        if (ignores_vote_within_lease(raft, m)) {
            return ERR_OK;
        }
        catch_up_with_term(raft, m);
    } else if (m->term != 0 && m->term < raft->term) {
        answer_stale(raft, m);
        return ERR_OK;
    }
    return step_in_term(raft, m);
}

static bool is_response(enum raft_message_type type)
{
    return type == RAFT_MSG_APP_RESP || type == RAFT_MSG_VOTE_RESP ||
           type == RAFT_MSG_HEARTBEAT_RESP || type == RAFT_MSG_READ_INDEX_RESP ||
           type == RAFT_MSG_PRE_VOTE_RESP;
}

FALLIBLE raft_step(struct raft *raft, const struct raft_message *message)
{
    if (!raft__is_sensible(raft, message)) {
        return raft__nonsense(raft);
    }
    if (is_response(message->type) && tracker_find(&raft->tracker, message->from) == NULL) {
        return ERR_NOT_FOUND;
    }
    return raft__step(raft, message);
}

/* --- ticks --- */

/* Local messages cannot fail, and do not need an answer. */
static void step_local(struct raft *raft, struct raft_message m)
{
    enum err err = raft__step(raft, &m);
    ASSERT(err == ERR_OK);
}

static void tick_election(struct raft *raft)
{
    raft->election_elapsed++;
    if (raft__is_promotable(raft) && raft->election_elapsed >= raft->election_timeout) {
        raft->election_elapsed = 0;
        step_local(raft, (struct raft_message){.type = RAFT_MSG_HUP, .from = raft->config.id});
    }
}

static void tick_leader(struct raft *raft)
{
    raft->heartbeat_elapsed++;
    raft->election_elapsed++;
    if (raft->election_elapsed >= raft->config.election_ticks) {
        raft->election_elapsed = 0;
        if (raft->config.check_quorum) {
            step_local(raft, (struct raft_message){.type = RAFT_MSG_CHECK_QUORUM,
                                                   .from = raft->config.id});
        }
        raft->lead_transferee = RAFT_NONE;
    }
    if (raft->state == RAFT_LEADER && raft->heartbeat_elapsed >= raft->config.heartbeat_ticks) {
        raft->heartbeat_elapsed = 0;
        step_local(raft, (struct raft_message){.type = RAFT_MSG_BEAT, .from = raft->config.id});
    }
}

void raft_tick(struct raft *raft)
{
    if (raft->state == RAFT_LEADER) {
        tick_leader(raft);
    } else {
        tick_election(raft);
    }
}

/* --- other inputs --- */

FALLIBLE raft_propose(struct raft *raft, struct raft_payload *const *payloads, size_t count)
{
    ASSERT(count > 0);
    if (raft->state == RAFT_LEADER) {
        return raft__leader_propose_payloads(raft, payloads, count);
    }
    struct raft_entry *entries = mem_array(count, sizeof(*entries));
    for (size_t i = 0; i < count; i++) {
        entries[i].payload = payloads[i];
    }
    enum err err = raft__step(raft, &(struct raft_message){
                                        .type = RAFT_MSG_PROP,
                                        .from = raft->config.id,
                                        .entries = entries,
                                        .entry_count = count,
                                    });
    mem_free(entries);
    return err;
}

void raft_read_index(struct raft *raft, struct slice context)
{
    ASSERT(context.len <= RAFT_CONTEXT_MAX);
    if (raft->state == RAFT_LEADER) {
        raft__read_ask(raft, RAFT_NONE, context);
        return;
    }
    struct raft_entry entry = {.payload = raft_payload_copy(context)};
    step_local(raft, (struct raft_message){
                         .type = RAFT_MSG_READ_INDEX,
                         .entries = &entry,
                         .entry_count = 1,
                     });
    raft_payload_unref(&entry.payload);
}

void raft_campaign(struct raft *raft)
{
    step_local(raft, (struct raft_message){.type = RAFT_MSG_HUP});
}

void raft_transfer_leader(struct raft *raft, raft_id target)
{
    if (target != RAFT_NONE) {
        step_local(raft, (struct raft_message){.type = RAFT_MSG_TRANSFER_LEADER, .from = target});
    }
}

void raft_forget_leader(struct raft *raft)
{
    step_local(raft, (struct raft_message){.type = RAFT_MSG_FORGET_LEADER});
}

void raft_report_unreachable(struct raft *raft, raft_id peer)
{
    step_local(raft, (struct raft_message){.type = RAFT_MSG_UNREACHABLE, .from = peer});
}

void raft_report_snapshot(struct raft *raft, raft_id peer, bool is_sent)
{
    step_local(raft, (struct raft_message){
                         .type = RAFT_MSG_SNAP_STATUS,
                         .from = peer,
                         .reject = !is_sent,
                     });
}

FALLIBLE raft_create_snapshot(struct raft *raft, raft_index index,
                              const struct raft_conf_state *conf_state, struct raft_payload *data)
{
    struct raftlog *log = &raft->log;
    if (log->saved != NULL && index <= log->saved->index) {
        return ERR_EXISTS;
    }
    raft_term term;
    if (index == 0 || index > log->applying || raftlog_term(log, index, &term) != ERR_OK ||
        !raft_conf_state_is_valid(conf_state)) {
        return ERR_INVALID;
    }
    raft_snapshot_unref(&log->saved);
    log->saved = raft_snapshot_new(index, term, conf_state, data);
    return ERR_OK;
}

FALLIBLE raft_compact(struct raft *raft, raft_index index)
{
    struct raftlog *log = &raft->log;
    if (index <= log->base) {
        return ERR_COMPACTED;
    }
    if (index > log->applied || log->saved == NULL || index > log->saved->index) {
        return ERR_INVALID;
    }
    raftlog_compact(log, index);
    return ERR_OK;
}

/* --- life cycle --- */

#define MESSAGE_BYTES_DEFAULT (UINT64_C(1) << 20)
#define INFLIGHT_DEFAULT 512

struct raft_config raft_config_default(raft_id id, uint64_t seed)
{
    return (struct raft_config){
        .id = id,
        .election_ticks = 10,
        .heartbeat_ticks = 1,
        .message_bytes_max = MESSAGE_BYTES_DEFAULT,
        .inflight_max = INFLIGHT_DEFAULT,
        .check_quorum = true,
        .pre_vote = true,
        .seed = seed,
    };
}

/* Puts numbers where zero stands for something, and checks what the operator chose. */
static FALLIBLE config_normalise(struct raft_config *config, struct errbuf *errbuf)
{
    if (config->id == RAFT_NONE || config->id >= UINT64_MAX - 1) {
        return errf(errbuf, ERR_INVALID, "raft: %" PX " cannot be a member's id", config->id);
    }
    if (config->heartbeat_ticks == 0) {
        return errf(errbuf, ERR_INVALID, "raft: heartbeat tick must be greater than 0");
    }
    if (config->election_ticks <= config->heartbeat_ticks) {
        return errf(errbuf, ERR_INVALID, "raft: election tick must be greater than heartbeat tick");
    }
    if (config->election_ticks > UINT32_MAX / 4) {
        return errf(errbuf, ERR_INVALID, "raft: election tick is too large");
    }
    if (config->inflight_max == 0) {
        return errf(errbuf, ERR_INVALID, "raft: max inflight messages must be greater than 0");
    }
    if (config->read_only == RAFT_READ_LEASE && !config->check_quorum) {
        return errf(errbuf, ERR_INVALID, "raft: lease-based reads need check-quorum");
    }
    if (config->committed_bytes_max == 0) {
        config->committed_bytes_max = config->message_bytes_max;
    }
    if (config->committed_bytes_max == 0) {
        return errf(errbuf, ERR_INVALID, "raft: max message size must be greater than 0");
    }
    if (config->uncommitted_bytes_max == 0) {
        config->uncommitted_bytes_max = RAFT_NO_LIMIT;
    }
    if (config->inflight_bytes_max == 0) {
        config->inflight_bytes_max = RAFT_NO_LIMIT;
    }
    if (config->inflight_bytes_max < config->message_bytes_max) {
        return errf(errbuf, ERR_INVALID, "raft: max inflight bytes must be >= max message size");
    }
    return ERR_OK;
}

/* What an earlier life left must hang together before it becomes a log. */
static FALLIBLE restored_check(const struct raft_config *config, struct errbuf *errbuf)
{
    raft_index base = config->snapshot == NULL ? 0 : config->snapshot->index;
    raft_term term = config->snapshot == NULL ? 0 : config->snapshot->term;
    raft_index last = base + config->entry_count;
    for (size_t i = 0; i < config->entry_count; i++) {
        const struct raft_entry *entry = &config->entries[i];
        if (entry->index != base + 1 + i) {
            return errf(errbuf, ERR_CORRUPT, "raft: entry %" PU " is where entry %" PU " should be",
                        entry->index, base + 1 + (raft_index)i);
        }
        if (entry->term < term || (unsigned)entry->type > RAFT_ENTRY_CONF_CHANGE_V2) {
            return errf(errbuf, ERR_CORRUPT, "raft: entry %" PU " has an impossible term or type",
                        entry->index);
        }
        term = entry->term;
    }
    const struct raft_hard_state *hard = &config->hard_state;
    if (hard->commit > last) {
        return errf(errbuf, ERR_CORRUPT,
                    "raft: commit index %" PU " is behind the last entry, %" PU
                    ": was the log truncated or lost?",
                    hard->commit, last);
    }
    if (hard->term >= RAFT_QUANTITY_MAX || last >= RAFT_QUANTITY_MAX) {
        return errf(errbuf, ERR_CORRUPT, "raft: the term or the last index is impossibly large");
    }
    /* A commit index reaches the disk lazily, and a snapshot proves more. */
    raft_index committed = hard->commit > base ? hard->commit : base;
    if (config->applied != 0 && (config->applied < base || config->applied > committed)) {
        return errf(errbuf, ERR_CORRUPT,
                    "raft: applied index %" PU " is out of range [%" PU ", %" PU "]",
                    config->applied, base, committed);
    }
    return ERR_OK;
}

/* The configuration to start in: the caller's, the snapshot's, or none. */
static FALLIBLE restored_conf_state(const struct raft_config *config, struct errbuf *errbuf,
                                    struct raft_conf_state *out)
{
    struct raft_conf_state conf_state = {0};
    if (config->conf_state != NULL) {
        conf_state = *config->conf_state;
    } else if (config->snapshot != NULL) {
        conf_state = config->snapshot->conf_state;
    }
    if (!raft_conf_state_is_valid(&conf_state)) {
        return errf(errbuf, ERR_CORRUPT, "raft: the stored configuration contradicts itself");
    }
    *out = conf_state;
    return ERR_OK;
}

static void restore_log(struct raft *raft, const struct raft_config *config)
{
    struct raft_snapshot *snapshot = config->snapshot;
    struct raftlog *log = &raft->log;
    raftlog_init(log, snapshot == NULL ? 0 : snapshot->index, snapshot == NULL ? 0 : snapshot->term,
                 config->committed_bytes_max, raft->trace);
    log->saved = raft_snapshot_ref(snapshot);
    for (size_t i = 0; i < config->entry_count; i++) {
        const struct raft_entry *entry = &config->entries[i];
        raftlog_push(log, entry->term, entry->type, entry->payload);
    }
    log->offset = log->last + 1;
    log->in_progress = log->last + 1;
}

static void trace_new(const struct raft *raft)
{
    if (raft->trace.fn == NULL) {
        return;
    }
    struct buf peers = {0};
    struct raft_id_set voters = quorum_ids(&raft->tracker.config.voters);
    for (uint32_t i = 0; i < voters.count; i++) {
        buf_printf(&peers, "%s%" PX, i == 0 ? "" : ",", voters.ids[i]);
    }
    TRACE(raft, RAFT_INFO,
          "newRaft %" PX " [peers: [%s], term: %" PU ", commit: %" PU ", applied: %" PU
          ", lastindex: %" PU ", lastterm: %" PU "]",
          raft->config.id, buf_cstr(&peers), raft->term, raft->log.committed, raft->log.applied,
          raft->log.last, raftlog_last_term(&raft->log));
    buf_fini(&peers);
}

FALLIBLE raft_new(const struct raft_config *config, struct errbuf *errbuf, struct raft **out)
{
    struct raft_config normal = *config;
    struct raft_conf_state conf_state;
    TRY(config_normalise(&normal, errbuf));
    TRY(restored_check(&normal, errbuf));
    TRY(restored_conf_state(&normal, errbuf, &conf_state));

    struct raft *raft = NEW(struct raft);
    raft->config = normal;
    raft->trace = (struct raft_trace){.fn = config->trace, .priv = config->trace_priv};
    raft->rng = config->seed;
    restore_log(raft, &normal);
    tracker_init(&raft->tracker, normal.inflight_max, normal.inflight_bytes_max);
    struct tracker_config members = tracker_config_from(&conf_state);
    raft__conf_switch(raft, &members);
    raft->term = normal.hard_state.term;
    raft->vote = normal.hard_state.vote;
    if (normal.entry_count > 0 && raft->term < raftlog_last_term(&raft->log)) {
        /* The write that brought these entries was torn before its hard state. A vote in their
         * term would have been durable before them, so there was none. */
        raft->term = raftlog_last_term(&raft->log);
        raft->vote = RAFT_NONE;
    }
    raftlog_commit_to(&raft->log, normal.hard_state.commit);
    if (normal.applied > 0) {
        (void)raftlog_applied_to(&raft->log, normal.applied);
    }
    raft__become_follower(raft, raft->term, RAFT_NONE);
    raft->soft_handed = raft__soft_state(raft);
    raft->hard_handed = normal.hard_state;
    raft->hard_handed.commit = raft->log.committed;
    trace_new(raft);
    raft->config.snapshot = NULL;
    raft->config.conf_state = NULL;
    raft->config.entries = NULL;
    raft->config.entry_count = 0;
    *out = raft;
    return ERR_OK;
}

void raft_free(struct raft **raft_ptr)
{
    struct raft *raft = *raft_ptr;
    *raft_ptr = NULL;
    if (raft == NULL) {
        return;
    }
    raft__outbox_fini(&raft->now);
    raft__outbox_fini(&raft->after);
    raft__read_queue_fini(&raft->reads_pending);
    raft__read_queue_fini(&raft->reads_unconfirmed);
    mem_free(raft->read_states);
    arena_fini(&raft->read_arena);
    tracker_fini(&raft->tracker);
    raftlog_fini(&raft->log);
    mem_free(raft);
}

/* --- observers --- */

void raft_status(const struct raft *raft, struct raft_status *out)
{
    const struct raft_snapshot *snapshot = raftlog_snapshot(&raft->log);
    *out = (struct raft_status){
        .id = raft->config.id,
        .lead = raft->lead,
        .lead_transferee = raft->lead_transferee,
        .state = raft->state,
        .is_learner = raft->is_learner,
        .hard_state = raft__hard_state(raft),
        .applied = raft->log.applied,
        .stable = raft->log.offset - 1,
        .first_index = raft->log.base + 1,
        .last_index = raft->log.last,
        .snapshot_index = snapshot == NULL ? 0 : snapshot->index,
        .nonsense_count = raft->nonsense_count,
    };
}

raft_term raft_current_term(const struct raft *raft)
{
    return raft->term;
}

raft_id raft_leader(const struct raft *raft)
{
    return raft->lead;
}

enum raft_state raft_get_state(const struct raft *raft)
{
    return raft->state;
}

void raft_conf_state(const struct raft *raft, struct raft_conf_state *out)
{
    tracker_conf_state(&raft->tracker, out);
}

struct raft_snapshot *raft_latest_snapshot(const struct raft *raft)
{
    return raftlog_snapshot(&raft->log);
}

FALLIBLE raft_entry_term(const struct raft *raft, raft_index index, raft_term *out)
{
    return raftlog_term(&raft->log, index, out);
}

FALLIBLE raft_entry_at(const struct raft *raft, raft_index index, const struct raft_entry **out)
{
    if (index <= raft->log.base) {
        return ERR_COMPACTED;
    }
    if (index > raft->log.last) {
        return ERR_FUTURE;
    }
    *out = raftlog_at(&raft->log, index);
    return ERR_OK;
}

size_t raft_peer_count(const struct raft *raft)
{
    return raft->tracker.peer_count;
}

void raft_peer(const struct raft *raft, size_t i, struct raft_peer_status *out)
{
    ASSERT(i < raft->tracker.peer_count);
    const struct progress *pr = &raft->tracker.peers[i];
    *out = (struct raft_peer_status){
        .id = pr->id,
        .is_learner = pr->is_learner,
        .is_recent_active = pr->is_recent_active,
        .is_paused = progress_is_paused(pr),
        .state = pr->state,
        .match = pr->match,
        .next = pr->next,
        .pending_snapshot = pr->pending_snapshot,
        .inflight_count = pr->inflights.count,
    };
}

void raft_check(const struct raft *raft)
{
    raftlog_check(&raft->log);
    tracker_check(&raft->tracker);
    ASSERT(raft->term >= raft->hard_handed.term);
    ASSERT(raft->log.committed >= raft->hard_handed.commit);
    ASSERT(raft->log.last == raft->log.base || raftlog_last_term(&raft->log) <= raft->term);
    ASSERT(raft->election_timeout >= raft->config.election_ticks);
    ASSERT(raft->election_timeout < raft->config.election_ticks * 2);
    ASSERT(raft->reads_pending.count + raft->reads_unconfirmed.count <= RAFT_READS_MAX);
    if (raft->state == RAFT_LEADER) {
        ASSERT(raft->lead == raft->config.id);
        ASSERT(raft->log.pending == NULL);
        for (uint32_t i = 0; i < raft->tracker.peer_count; i++) {
            ASSERT(raft->tracker.peers[i].match <= raft->log.last);
        }
    } else {
        ASSERT(raft->lead != raft->config.id);
        ASSERT(raft->lead_transferee == RAFT_NONE);
    }
    if (raft->state == RAFT_CANDIDATE) {
        ASSERT(raft->vote == raft->config.id);
        ASSERT(raft->lead == RAFT_NONE);
    }
}
