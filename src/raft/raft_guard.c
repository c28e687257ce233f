/* Which messages make sense at all.
 *
 * Peers are members of the same cluster, but nothing they send may bring us down: upstream's raft
 * panics on most of what is refused here. What can be told only with the log at hand (a commit
 * beyond it, a contradiction with what is committed) is refused where it is handled. */
#include "raft/raft_priv.h"

static bool is_plausible_id(raft_id id)
{
    /* The two highest are upstream's names for its storage threads. */
    return id != RAFT_NONE && id < UINT64_MAX - 1;
}

/* What a member forwards keeps the name of the one who asked first, which may be us. */
static bool may_name_us(enum raft_message_type type)
{
    return type == RAFT_MSG_PROP || type == RAFT_MSG_READ_INDEX || type == RAFT_MSG_TRANSFER_LEADER;
}

static bool quantities_are_plausible(const struct raft_message *m)
{
    return m->term < RAFT_QUANTITY_MAX && m->log_term < RAFT_QUANTITY_MAX &&
           m->index < RAFT_QUANTITY_MAX && m->commit < RAFT_QUANTITY_MAX &&
           m->reject_hint < RAFT_QUANTITY_MAX && m->context.len <= RAFT_CONTEXT_MAX;
}

static bool is_known_entry_type(enum raft_entry_type type)
{
    return type == RAFT_ENTRY_NORMAL || type == RAFT_ENTRY_CONF_CHANGE ||
           type == RAFT_ENTRY_CONF_CHANGE_V2;
}

/* A run of entries behind (index, log_term), none from a later term than the sender's. */
static bool append_is_sensible(const struct raft_message *m)
{
    raft_term term = m->log_term;
    if (m->entry_count > RAFT_QUANTITY_MAX - m->index || term > m->term) {
        return false;
    }
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *entry = &m->entries[i];
        if (entry->index != m->index + 1 + i || entry->term < term || entry->term == 0 ||
            entry->term > m->term || !is_known_entry_type(entry->type)) {
            return false;
        }
        term = entry->term;
    }
    return true;
}

static bool proposal_is_sensible(const struct raft_message *m)
{
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *entry = &m->entries[i];
        struct raft_conf_change change;
        if (!is_known_entry_type(entry->type)) {
            return false;
        }
        if (entry->type != RAFT_ENTRY_NORMAL &&
            raft_conf_change_decode(entry->type, raft_payload_slice(entry->payload), &change) !=
                ERR_OK) {
            return false;
        }
    }
    return m->entry_count > 0;
}

static bool snapshot_is_sensible(const struct raft_message *m)
{
    const struct raft_snapshot *s = m->snapshot;
    return s != NULL && s->index < RAFT_QUANTITY_MAX && s->term <= m->term &&
           raft_conf_state_is_valid(&s->conf_state);
}

static bool read_is_sensible(const struct raft_message *m)
{
    return m->entry_count == 1 && raft_payload_slice(m->entries[0].payload).len <= RAFT_CONTEXT_MAX;
}

bool raft__is_sensible(const struct raft *raft, const struct raft_message *m)
{
    if ((unsigned)m->type >= RAFT_MSG_COUNT || raft_message_is_local(m->type) ||
        m->to != raft->config.id || !is_plausible_id(m->from) || !quantities_are_plausible(m)) {
        return false;
    }
    if (m->from == raft->config.id && !may_name_us(m->type)) {
        return false;
    }
    bool is_termless = m->type == RAFT_MSG_PROP || m->type == RAFT_MSG_READ_INDEX;
    if (is_termless != (m->term == 0)) {
        return false;
    }
    if (m->type == RAFT_MSG_APP) {
        return append_is_sensible(m);
    }
    if (m->type == RAFT_MSG_PROP) {
        return proposal_is_sensible(m);
    }
    if (m->type == RAFT_MSG_SNAP) {
        return snapshot_is_sensible(m);
    }
    if (m->type == RAFT_MSG_READ_INDEX || m->type == RAFT_MSG_READ_INDEX_RESP) {
        return read_is_sensible(m);
    }
    return true;
}
