/* Membership changes. A change is in force from the moment its entry is applied, on each member by
 * itself; a leader lets one change at a time into the log, so that no two majorities of
 * configurations one change apart can miss each other (Raft dissertation §4.1, §4.3). */
#include "raft/raft_priv.h"

#include <stdio.h>

const char *raft__conf_refusal(const struct raft *raft, const struct raft_conf_change *change,
                               char storage[RAFT_REFUSAL_MAX])
{
    if (raft->config.conf_change_validation_off) {
        return NULL;
    }
    bool is_joint = tracker_config_is_joint(&raft->tracker.config);
    bool wants_to_leave = change->change_count == 0;
    if (raft->pending_conf_index > raft->log.applied) {
        snprintf(storage, RAFT_REFUSAL_MAX,
                 "possible unapplied conf change at index %" PU " (applied to %" PU ")",
                 raft->pending_conf_index, raft->log.applied);
        return storage;
    }
    if (is_joint && !wants_to_leave) {
        return "must transition out of joint config first";
    }
    if (!is_joint && wants_to_leave) {
        return "not in joint state; refusing empty conf change";
    }
    return NULL;
}

static const char *const change_type_names[] = {
    [RAFT_CONF_ADD_NODE] = "ConfChangeAddNode",
    [RAFT_CONF_REMOVE_NODE] = "ConfChangeRemoveNode",
    [RAFT_CONF_UPDATE_NODE] = "ConfChangeUpdateNode",
    [RAFT_CONF_ADD_LEARNER_NODE] = "ConfChangeAddLearnerNode",
};

static const char *const transition_names[] = {
    [RAFT_CONF_AUTO] = "ConfChangeTransitionAuto",
    [RAFT_CONF_JOINT_IMPLICIT] = "ConfChangeTransitionJointImplicit",
    [RAFT_CONF_JOINT_EXPLICIT] = "ConfChangeTransitionJointExplicit",
};

void raft__conf_trace_refused(const struct raft *raft, const struct raft_conf_change *change,
                              const char *why)
{
    if (raft->trace.fn == NULL) {
        return;
    }
    struct buf text = {0};
    buf_printf(&text, "transition:%s", transition_names[change->transition]);
    for (uint32_t i = 0; i < change->change_count; i++) {
        buf_printf(&text, " changes:{type:%s node_id:%" PU "}",
                   change_type_names[change->changes[i].type], change->changes[i].node_id);
    }
    buf_append_str(&text, " at config ");
    tracker_config_text(&raft->tracker.config, &text);
    TRACE(raft, RAFT_INFO, "%" PX " ignoring conf change %s: %s", raft->config.id, buf_cstr(&text),
          why);
    buf_fini(&text);
}

static void trace_config(const struct raft *raft, const char *what)
{
    struct buf text = {0};
    tracker_config_text(&raft->tracker.config, &text);
    TRACE(raft, RAFT_INFO, "%s%s", what, buf_cstr(&text));
    buf_fini(&text);
}

static void trace_switch(const struct raft *raft)
{
    if (raft->trace.fn != NULL) {
        char what[64];
        snprintf(what, sizeof(what), "%" PX " switched to configuration ", raft->config.id);
        trace_config(raft, what);
    }
}

/* A leader under a new configuration: a smaller quorum may commit more, and newcomers must be
 * probed. */
static void lead_on(struct raft *raft)
{
    if (raft__maybe_commit(raft)) {
        raft__read_release(raft);
        raft__bcast_append(raft);
    } else {
        for (uint32_t i = 0; i < raft->tracker.peer_count; i++) {
            if (raft->tracker.peers[i].id != raft->config.id) {
                raft__maybe_send_append(raft, &raft->tracker.peers[i], false);
            }
        }
    }
    if (raft->lead_transferee != RAFT_NONE &&
        !quorum_has(&raft->tracker.config.voters, raft->lead_transferee)) {
        raft->lead_transferee = RAFT_NONE;
    }
}

void raft__conf_switch(struct raft *raft, const struct tracker_config *config)
{
    raft_index next = raft->log.last > 0 ? raft->log.last : 1;
    tracker_switch(&raft->tracker, config, next);
    trace_switch(raft);
    const struct progress *self = tracker_find(&raft->tracker, raft->config.id);
    raft->is_learner = self != NULL && self->is_learner;
    if (raft->state != RAFT_LEADER) {
        return;
    }
    if (self == NULL || raft->is_learner) {
        /* It led until the change was committed. Upstream's default is to stay without being able
         * to append, until an election replaces it. */
        if (raft->config.step_down_on_removal) {
            raft__become_follower(raft, raft->term, RAFT_NONE);
        }
        return;
    }
    lead_on(raft);
}

FALLIBLE raft_apply_conf_change(struct raft *raft, const struct raft_conf_change *change,
                                struct raft_conf_state *out)
{
    struct tracker_config next;
    enum err err = tracker_config_change(&raft->tracker.config, change, &next);
    if (err == ERR_OK) {
        raft__conf_switch(raft, &next);
    }
    tracker_conf_state(&raft->tracker, out);
    return err;
}

void raft__conf_auto_leave(struct raft *raft)
{
    if (raft->state != RAFT_LEADER || !raft->tracker.config.auto_leave ||
        raft->log.applied < raft->pending_conf_index) {
        return;
    }
    /* An empty change, without bytes. It fails while leadership is being handed over, and is
     * tried again when the next entry is applied. */
    struct raft_entry entry = {.type = RAFT_ENTRY_CONF_CHANGE_V2};
    if (raft__leader_propose(raft, &entry, 1) != ERR_OK) {
        return;
    }
    raft__bcast_append(raft);
    if (raft->trace.fn != NULL) {
        trace_config(raft, "initiating automatic transition out of joint configuration ");
    }
}

FALLIBLE raft_propose_conf_change_data(struct raft *raft, enum raft_entry_type type,
                                       struct raft_payload *data)
{
    struct raft_conf_change change;
    TRY(raft_conf_change_decode(type, raft_payload_slice(data), &change));
    struct raft_entry entry = {.type = type, .payload = data};
    return raft__step(raft, &(struct raft_message){
                                .type = RAFT_MSG_PROP,
                                .from = raft->config.id,
                                .entries = &entry,
                                .entry_count = 1,
                            });
}

FALLIBLE raft_propose_conf_change(struct raft *raft, const struct raft_conf_change *change)
{
    struct buf bytes = {0};
    enum raft_entry_type type = raft_conf_change_encode(change, &bytes);
    struct raft_payload *payload = raft_payload_copy(buf_slice(&bytes));
    buf_fini(&bytes);
    enum err err = raft_propose_conf_change_data(raft, type, payload);
    raft_payload_unref(&payload);
    return err;
}

static FALLIBLE founder_decode(struct raft_payload *data, struct raft_conf_change *out)
{
    TRY(raft_conf_change_decode(RAFT_ENTRY_CONF_CHANGE, raft_payload_slice(data), out));
    bool is_founder =
        out->changes[0].type == RAFT_CONF_ADD_NODE && out->changes[0].node_id != RAFT_NONE;
    return is_founder ? ERR_OK : ERR_INVALID;
}

FALLIBLE raft_bootstrap(struct raft *raft, struct raft_payload *const *changes, size_t count)
{
    if (raft->log.last != 0 || raft->term != 0 || raft->tracker.peer_count != 0) {
        return ERR_EXISTS;
    }
    struct raft_conf_change change;
    if (count == 0 || count > RAFT_MEMBERS_MAX) {
        return ERR_INVALID;
    }
    for (size_t i = 0; i < count; i++) {
        if (founder_decode(changes[i], &change) != ERR_OK) {
            return ERR_INVALID;
        }
    }
    raft__become_follower(raft, 1, RAFT_NONE);
    for (size_t i = 0; i < count; i++) {
        raftlog_push(&raft->log, 1, RAFT_ENTRY_CONF_CHANGE, changes[i]);
    }
    raftlog_commit_to(&raft->log, count);
    for (size_t i = 0; i < count; i++) {
        struct raft_conf_state conf_state;
        ASSERT(founder_decode(changes[i], &change) == ERR_OK);
        ASSERT(raft_apply_conf_change(raft, &change, &conf_state) == ERR_OK);
    }
    return ERR_OK;
}
