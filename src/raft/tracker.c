#include "raft/tracker.h"

#include <inttypes.h>

bool tracker_config_is_joint(const struct tracker_config *config)
{
    return config->voters.outgoing.count > 0;
}

static void id_set_text(const struct raft_id_set *set, struct buf *out)
{
    buf_append_byte(out, '(');
    for (uint32_t i = 0; i < set->count; i++) {
        buf_printf(out, "%s%" PRIx64, i == 0 ? "" : " ", set->ids[i]);
    }
    buf_append_byte(out, ')');
}

void tracker_config_text(const struct tracker_config *config, struct buf *out)
{
    buf_append_str(out, "voters=");
    id_set_text(&config->voters.incoming, out);
    if (tracker_config_is_joint(config)) {
        buf_append_str(out, "&&");
        id_set_text(&config->voters.outgoing, out);
    }
    if (config->learners.count > 0) {
        buf_append_str(out, " learners=");
        id_set_text(&config->learners, out);
    }
    if (config->learners_next.count > 0) {
        buf_append_str(out, " learners_next=");
        id_set_text(&config->learners_next, out);
    }
    if (config->auto_leave) {
        buf_append_str(out, " autoleave");
    }
}

void tracker_init(struct tracker *tracker, uint32_t inflight_max, uint64_t inflight_bytes_max)
{
    *tracker = (struct tracker){
        .peers = mem_array(RAFT_MEMBERS_MAX, sizeof(struct progress)),
        .inflight_max = inflight_max,
        .inflight_bytes_max = inflight_bytes_max,
    };
}

void tracker_fini(struct tracker *tracker)
{
    for (uint32_t i = 0; i < tracker->peer_count; i++) {
        inflights_fini(&tracker->peers[i].inflights);
    }
    mem_free(tracker->peers);
    *tracker = (struct tracker){0};
}

struct progress *tracker_find(const struct tracker *tracker, raft_id id)
{
    for (uint32_t i = 0; i < tracker->peer_count; i++) {
        if (tracker->peers[i].id == id) {
            return &tracker->peers[i];
        }
    }
    return NULL;
}

void tracker_reset(struct tracker *tracker, raft_index next)
{
    for (uint32_t i = 0; i < tracker->peer_count; i++) {
        struct progress *pr = &tracker->peers[i];
        struct inflights inflights = pr->inflights;
        inflights_reset(&inflights);
        *pr = (struct progress){
            .id = pr->id,
            .next = next,
            .is_learner = pr->is_learner,
            .inflights = inflights,
        };
    }
}

/* --- how one configuration follows another ---------------------------------------------------- */

static bool config_knows(const struct tracker_config *config, raft_id id)
{
    return quorum_has(&config->voters, id) || raft_id_set_has(&config->learners, id);
}

static FALLIBLE make_voter(struct tracker_config *config, raft_id id)
{
    raft_id_set_remove(&config->learners, id);
    raft_id_set_remove(&config->learners_next, id);
    return raft_id_set_add(&config->voters.incoming, id) ? ERR_OK : ERR_INVALID;
}

static FALLIBLE make_learner(struct tracker_config *config, raft_id id)
{
    raft_id_set_remove(&config->voters.incoming, id);
    /* It still votes in the outgoing configuration, and may not be both: it becomes a learner
     * when the joint configuration is left. */
    struct raft_id_set *target =
        raft_id_set_has(&config->voters.outgoing, id) ? &config->learners_next : &config->learners;
    return raft_id_set_add(target, id) ? ERR_OK : ERR_INVALID;
}

static void remove_member(struct tracker_config *config, raft_id id)
{
    raft_id_set_remove(&config->voters.incoming, id);
    raft_id_set_remove(&config->learners, id);
    raft_id_set_remove(&config->learners_next, id);
}

static FALLIBLE change_one(struct tracker_config *config,
                           const struct raft_conf_change_single *change)
{
    switch (change->type) {
    case RAFT_CONF_ADD_NODE:
        return make_voter(config, change->node_id);
    case RAFT_CONF_ADD_LEARNER_NODE:
        return make_learner(config, change->node_id);
    case RAFT_CONF_REMOVE_NODE:
        remove_member(config, change->node_id);
        return ERR_OK;
    case RAFT_CONF_UPDATE_NODE:
        return ERR_OK;
    }
    return ERR_INVALID;
}

static FALLIBLE change_all(struct tracker_config *config, const struct raft_conf_change *change)
{
    for (uint32_t i = 0; i < change->change_count; i++) {
        /* etcd clears the id of a change that was found invalid at apply: it changes nothing. */
        if (change->changes[i].node_id != RAFT_NONE) {
            TRY(change_one(config, &change->changes[i]));
        }
    }
    return config->voters.incoming.count > 0 ? ERR_OK : ERR_INVALID;
}

static uint32_t count_missing(const struct raft_id_set *set, const struct raft_id_set *from)
{
    uint32_t missing = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        missing += !raft_id_set_has(from, set->ids[i]);
    }
    return missing;
}

/* One voter at most may come or go: then old and new majorities overlap (dissertation §4.1). */
static FALLIBLE change_simple(const struct tracker_config *old,
                              const struct raft_conf_change *change, struct tracker_config *next)
{
    if (tracker_config_is_joint(old)) {
        return ERR_INVALID;
    }
    TRY(change_all(next, change));
    uint32_t differing = count_missing(&old->voters.incoming, &next->voters.incoming) +
                         count_missing(&next->voters.incoming, &old->voters.incoming);
    return differing <= 1 ? ERR_OK : ERR_INVALID;
}

static FALLIBLE enter_joint(const struct tracker_config *old, const struct raft_conf_change *change,
                            struct tracker_config *next)
{
    if (tracker_config_is_joint(old) || old->voters.incoming.count == 0) {
        return ERR_INVALID;
    }
    next->voters.outgoing = old->voters.incoming;
    next->auto_leave = change->transition != RAFT_CONF_JOINT_EXPLICIT;
    return change_all(next, change);
}

static FALLIBLE leave_joint(const struct tracker_config *old, struct tracker_config *next)
{
    if (!tracker_config_is_joint(old)) {
        return ERR_INVALID;
    }
    for (uint32_t i = 0; i < old->learners_next.count; i++) {
        if (!raft_id_set_add(&next->learners, old->learners_next.ids[i])) {
            return ERR_INVALID;
        }
    }
    next->learners_next.count = 0;
    next->voters.outgoing.count = 0;
    next->auto_leave = false;
    return ERR_OK;
}

static FALLIBLE change_any(const struct tracker_config *config,
                           const struct raft_conf_change *change, struct tracker_config *next)
{
    if (change->transition == RAFT_CONF_AUTO && change->change_count == 0) {
        return leave_joint(config, next);
    }
    if (change->transition != RAFT_CONF_AUTO || change->change_count > 1) {
        return enter_joint(config, change, next);
    }
    return change_simple(config, change, next);
}

static void config_conf_state(const struct tracker_config *config, struct raft_conf_state *out)
{
    *out = (struct raft_conf_state){
        .voters = config->voters.incoming,
        .voters_outgoing = config->voters.outgoing,
        .learners = config->learners,
        .learners_next = config->learners_next,
        .auto_leave = config->auto_leave,
    };
}

FALLIBLE tracker_config_change(const struct tracker_config *config,
                               const struct raft_conf_change *change, struct tracker_config *out)
{
    struct tracker_config next = *config;
    TRY(change_any(config, change, &next));
    struct raft_conf_state conf_state;
    config_conf_state(&next, &conf_state);
    if (!raft_conf_state_is_valid(&conf_state)) {
        return ERR_INVALID; /* too many members: everything else holds by construction */
    }
    *out = next;
    return ERR_OK;
}

/* ---------------------------------------------------------------------------------------------- */

static void peers_remove_strangers(struct tracker *tracker)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < tracker->peer_count; i++) {
        if (config_knows(&tracker->config, tracker->peers[i].id)) {
            tracker->peers[kept++] = tracker->peers[i];
        } else {
            inflights_fini(&tracker->peers[i].inflights);
        }
    }
    tracker->peer_count = kept;
}

static void peers_add_missing(struct tracker *tracker, const struct raft_id_set *ids,
                              raft_index next)
{
    for (uint32_t i = 0; i < ids->count; i++) {
        if (tracker_find(tracker, ids->ids[i]) != NULL) {
            continue;
        }
        ASSERT(tracker->peer_count < RAFT_MEMBERS_MAX);
        uint32_t place = tracker->peer_count++;
        for (; place > 0 && tracker->peers[place - 1].id > ids->ids[i]; place--) {
            tracker->peers[place] = tracker->peers[place - 1];
        }
        /* Taken for active, or the next quorum check might depose the leader before the newcomer
         * had a chance to say a word. */
        tracker->peers[place] =
            (struct progress){.id = ids->ids[i], .next = next, .is_recent_active = true};
        inflights_init(&tracker->peers[place].inflights, tracker->inflight_max,
                       tracker->inflight_bytes_max);
    }
}

void tracker_switch(struct tracker *tracker, const struct tracker_config *config, raft_index next)
{
    ASSERT(next > 0);
    tracker->config = *config;
    peers_remove_strangers(tracker);
    peers_add_missing(tracker, &config->voters.incoming, next);
    peers_add_missing(tracker, &config->voters.outgoing, next);
    peers_add_missing(tracker, &config->learners, next);
    for (uint32_t i = 0; i < tracker->peer_count; i++) {
        struct progress *pr = &tracker->peers[i];
        pr->is_learner = raft_id_set_has(&config->learners, pr->id);
    }
}

struct tracker_config tracker_config_from(const struct raft_conf_state *conf_state)
{
    ASSERT(raft_conf_state_is_valid(conf_state));
    return (struct tracker_config){
        .voters = {.incoming = conf_state->voters, .outgoing = conf_state->voters_outgoing},
        .learners = conf_state->learners,
        .learners_next = conf_state->learners_next,
        .auto_leave = conf_state->auto_leave,
    };
}

void tracker_conf_state(const struct tracker *tracker, struct raft_conf_state *out)
{
    config_conf_state(&tracker->config, out);
}

static uint64_t match_of(const void *priv, raft_id id)
{
    const struct progress *pr = tracker_find(priv, id);
    return pr == NULL ? 0 : pr->match;
}

raft_index tracker_committed(const struct tracker *tracker)
{
    return quorum_committed(&tracker->config.voters, match_of, tracker);
}

static enum quorum_vote activity_of(const void *priv, raft_id id)
{
    const struct progress *pr = tracker_find(priv, id);
    return pr != NULL && pr->is_recent_active ? QUORUM_VOTE_YES : QUORUM_VOTE_NO;
}

bool tracker_is_quorum_active(const struct tracker *tracker)
{
    return quorum_vote_result(&tracker->config.voters, activity_of, tracker) == QUORUM_WON;
}

void tracker_reset_votes(struct tracker *tracker)
{
    for (uint32_t i = 0; i < tracker->peer_count; i++) {
        tracker->peers[i].vote = QUORUM_VOTE_NONE;
    }
}

void tracker_record_vote(struct tracker *tracker, raft_id id, bool is_granted)
{
    struct progress *pr = tracker_find(tracker, id);
    if (pr != NULL && pr->vote == QUORUM_VOTE_NONE) {
        pr->vote = is_granted ? QUORUM_VOTE_YES : QUORUM_VOTE_NO;
    }
}

static enum quorum_vote vote_of(const void *priv, raft_id id)
{
    const struct progress *pr = tracker_find(priv, id);
    return pr == NULL ? QUORUM_VOTE_NONE : pr->vote;
}

enum quorum_result tracker_tally(const struct tracker *tracker, uint32_t *granted,
                                 uint32_t *rejected)
{
    *granted = 0;
    *rejected = 0;
    for (uint32_t i = 0; i < tracker->peer_count; i++) {
        const struct progress *pr = &tracker->peers[i];
        *granted += !pr->is_learner && pr->vote == QUORUM_VOTE_YES;
        *rejected += !pr->is_learner && pr->vote == QUORUM_VOTE_NO;
    }
    return quorum_vote_result(&tracker->config.voters, vote_of, tracker);
}

void tracker_check(const struct tracker *tracker)
{
    struct raft_conf_state conf_state;
    tracker_conf_state(tracker, &conf_state);
    ASSERT(raft_conf_state_is_valid(&conf_state));
    struct raft_id_set all = quorum_ids(&tracker->config.voters);
    ASSERT(tracker->peer_count == all.count + conf_state.learners.count);
    for (uint32_t i = 0; i < tracker->peer_count; i++) {
        const struct progress *pr = &tracker->peers[i];
        progress_check(pr);
        ASSERT(i == 0 || tracker->peers[i - 1].id < pr->id);
        ASSERT(config_knows(&tracker->config, pr->id));
        ASSERT(pr->is_learner == raft_id_set_has(&conf_state.learners, pr->id));
    }
}
