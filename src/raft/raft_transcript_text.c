/* How etcd-io/raft's interaction tests print entries, messages and states. */
#include "raft/raft_transcript.h"

static const char *const entry_type_names[] = {
    [RAFT_ENTRY_NORMAL] = "EntryNormal",
    [RAFT_ENTRY_CONF_CHANGE] = "EntryConfChange",
    [RAFT_ENTRY_CONF_CHANGE_V2] = "EntryConfChangeV2",
};

static void text_conf_change(struct buf *out, const struct raft_entry *entry)
{
    static const char letters[] = {'v', 'r', 'u', 'l'};
    struct raft_conf_change change;
    enum err err =
        raft_conf_change_decode(entry->type, raft_payload_slice(entry->payload), &change);
    ASSERT(err == ERR_OK);
    for (uint32_t i = 0; i < change.change_count; i++) {
        buf_printf(out, " %c%" PU, letters[change.changes[i].type], change.changes[i].node_id);
    }
}

static void text_quoted(struct buf *out, struct slice text)
{
    buf_append_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\') {
            buf_append_byte(out, '\\');
        }
        buf_append_byte(out, text.data[i]);
    }
    buf_append_byte(out, '"');
}

void text_entry(struct buf *out, const struct raft_entry *entry)
{
    struct slice data = raft_payload_slice(entry->payload);
    buf_printf(out, "%" PU "/%" PU " %s", entry->term, entry->index, entry_type_names[entry->type]);
    if (entry->type == RAFT_ENTRY_NORMAL) {
        buf_append_byte(out, ' ');
        text_quoted(out, data);
    } else {
        text_conf_change(out, entry);
    }
}

void text_entries(struct buf *out, const struct raft_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        text_entry(out, &entries[i]);
        buf_append_byte(out, '\n');
    }
}

static void text_ids(struct buf *out, const char *name, const struct raft_id_set *set)
{
    buf_printf(out, "%s:[", name);
    for (uint32_t i = 0; i < set->count; i++) {
        buf_printf(out, "%s%" PU, i == 0 ? "" : " ", set->ids[i]);
    }
    buf_append_str(out, "] ");
}

void text_snapshot(struct buf *out, const struct raft_snapshot *snapshot)
{
    const struct raft_conf_state *cs = &snapshot->conf_state;
    buf_printf(out, "Index:%" PU " Term:%" PU " ConfState:", snapshot->index, snapshot->term);
    text_ids(out, "Voters", &cs->voters);
    text_ids(out, "VotersOutgoing", &cs->voters_outgoing);
    text_ids(out, "Learners", &cs->learners);
    text_ids(out, "LearnersNext", &cs->learners_next);
    buf_printf(out, "AutoLeave:%s", cs->auto_leave ? "true" : "false");
}

void text_hard_state(struct buf *out, const struct raft_hard_state *hard)
{
    buf_printf(out, "Term:%" PU, hard->term);
    if (hard->vote != RAFT_NONE) {
        buf_printf(out, " Vote:%" PU, hard->vote);
    }
    buf_printf(out, " Commit:%" PU, hard->commit);
}

static void text_target(struct buf *out, raft_id id)
{
    if (id == RAFT_NONE) {
        buf_append_str(out, "None");
    } else if (id == APPEND_THREAD) {
        buf_append_str(out, "AppendThread");
    } else if (id == APPLY_THREAD) {
        buf_append_str(out, "ApplyThread");
    } else {
        buf_printf(out, "%" PX, id);
    }
}

static void text_message_entries(struct buf *out, const char *indent, const struct raft_message *m)
{
    if (m->entry_count == 0) {
        return;
    }
    buf_append_str(out, " Entries:[");
    if (m->entry_count == 1) {
        text_entry(out, &m->entries[0]);
        buf_append_byte(out, ']');
        return;
    }
    for (size_t i = 0; i < m->entry_count; i++) {
        buf_printf(out, "\n%s  ", indent);
        text_entry(out, &m->entries[i]);
    }
    buf_printf(out, "\n%s]", indent);
}

void text_message(struct buf *out, const char *indent, const struct raft_message *m,
                  const struct msg_list *responses)
{
    buf_append_str(out, indent);
    text_target(out, m->from);
    buf_append_str(out, "->");
    text_target(out, m->to);
    buf_printf(out, " %s Term:%" PU " Log:%" PU "/%" PU, raft_message_type_name(m->type), m->term,
               m->log_term, m->index);
    if (m->reject) {
        buf_printf(out, " Rejected (Hint: %" PU ")", m->reject_hint);
    }
    if (m->commit != 0) {
        buf_printf(out, " Commit:%" PU, m->commit);
    }
    if (m->vote != RAFT_NONE) {
        buf_printf(out, " Vote:%" PU, m->vote);
    }
    text_message_entries(out, indent, m);
    if (m->snapshot != NULL) {
        buf_printf(out, "\n%s  Snapshot: ", indent);
        text_snapshot(out, m->snapshot);
    }
    if (responses != NULL && responses->count > 0) {
        buf_append_str(out, " Responses:[");
        for (size_t i = 0; i < responses->count; i++) {
            buf_append_byte(out, '\n');
            text_message(out, "  ", &responses->items[i], NULL);
        }
        buf_printf(out, "\n%s]", indent);
    }
}
