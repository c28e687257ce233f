/* Arbitrary bytes as a sequence of inputs to one member, peers' messages above all: whatever they
 * are, nothing may reach an ASSERT, and every structure stays whole.
 *
 * A byte chooses what happens, the bytes behind it fill the fields. Quantities are mostly near
 * the member's own, where the interesting mistakes are, and sometimes anything at all. */
#include "raft/raft_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENTRIES_MAX 8
#define JOBS_MAX 16

struct fuzz {
    struct reader in;
    struct raft *raft;
    struct raft_ready jobs[JOBS_MAX]; /* handed out and not persisted */
    size_t job_first;
    size_t job_count;
    raft_index handed; /* last index handed out to be applied */
    raft_index applied;
};

/* Near `base`, or anything. */
static uint64_t quantity(struct fuzz *f, uint64_t base)
{
    uint8_t byte = reader_u8(&f->in);
    if (byte == 255) {
        return reader_le64(&f->in);
    }
    return base + (uint64_t)byte - 8;
}

static raft_id some_id(struct fuzz *f)
{
    uint8_t byte = reader_u8(&f->in);
    return byte == 255 ? reader_le64(&f->in) : byte % 6;
}

static void some_ids(struct fuzz *f, struct raft_id_set *out)
{
    out->count = reader_u8(&f->in) % 5;
    for (uint32_t i = 0; i < out->count; i++) {
        out->ids[i] = some_id(f);
    }
}

static void some_conf_state(struct fuzz *f, struct raft_conf_state *out)
{
    *out = (struct raft_conf_state){.auto_leave = (reader_u8(&f->in) & 1) != 0};
    some_ids(f, &out->voters);
    some_ids(f, &out->voters_outgoing);
    some_ids(f, &out->learners);
    some_ids(f, &out->learners_next);
}

static void some_entries(struct fuzz *f, struct raft_message *m,
                         struct raft_entry entries[ENTRIES_MAX])
{
    m->entry_count = reader_u8(&f->in) % (ENTRIES_MAX + 1);
    m->entries = m->entry_count == 0 ? NULL : entries;
    bool is_honest = (reader_u8(&f->in) & 3) != 0;
    for (size_t i = 0; i < m->entry_count; i++) {
        struct slice bytes = reader_bytes(&f->in, reader_u8(&f->in) % 24);
        entries[i] = (struct raft_entry){
            .type = (enum raft_entry_type)(reader_u8(&f->in) % 4),
            .index = is_honest ? m->index + 1 + i : quantity(f, m->index),
            .term = is_honest ? m->term : quantity(f, m->term),
            .payload = bytes.len == 0 ? NULL : raft_payload_copy(bytes),
        };
    }
}

static void step_message(struct fuzz *f)
{
    struct raft_status st;
    struct raft_entry entries[ENTRIES_MAX];
    raft_status(f->raft, &st);
    struct raft_message m = {.type = (enum raft_message_type)(reader_u8(&f->in) % 26)};
    uint8_t flags = reader_u8(&f->in);
    m.to = (flags & 1) != 0 ? some_id(f) : st.id;
    m.from = some_id(f);
    m.reject = (flags & 2) != 0;
    m.term = (flags & 4) != 0 ? 0 : quantity(f, st.hard_state.term);
    m.index = quantity(f, st.last_index);
    m.log_term = (flags & 8) != 0 ? raftlog_term_or_zero(&f->raft->log, m.index)
                                  : quantity(f, st.hard_state.term);
    m.commit = quantity(f, st.hard_state.commit);
    m.reject_hint = quantity(f, st.last_index);
    m.context = reader_bytes(&f->in, flags >> 4);
    if ((flags & 16) != 0) {
        m.context = slice_str("CampaignTransfer");
    }
    some_entries(f, &m, entries);
    if (m.type == RAFT_MSG_SNAP) {
        struct raft_conf_state conf_state;
        some_conf_state(f, &conf_state);
        m.snapshot =
            raft_snapshot_new(quantity(f, st.hard_state.commit), m.log_term, &conf_state, NULL);
    }
    (void)!raft_step(f->raft, &m);
    for (size_t i = 0; i < m.entry_count; i++) {
        raft_payload_unref(&entries[i].payload);
    }
    raft_snapshot_unref(&m.snapshot);
}

static void propose(struct fuzz *f)
{
    struct raft_payload *payload = raft_payload_copy(reader_bytes(&f->in, 3));
    (void)!raft_propose(f->raft, &payload, 1);
    raft_payload_unref(&payload);
}

static void propose_conf_change(struct fuzz *f)
{
    struct raft_payload *payload = raft_payload_copy(reader_bytes(&f->in, 12));
    (void)!raft_propose_conf_change_data(f->raft, (enum raft_entry_type)(reader_u8(&f->in) % 4),
                                         payload);
    raft_payload_unref(&payload);
}

static void persist_one(struct fuzz *f)
{
    if (f->job_count == 0) {
        return;
    }
    struct raft_ready *rd = &f->jobs[f->job_first];
    f->job_first = (f->job_first + 1) % JOBS_MAX;
    f->job_count--;
    raft_persisted(f->raft, rd);
    raft_ready_reset(rd);
}

static void apply_handed(struct fuzz *f, const struct raft_ready *rd)
{
    for (size_t i = 0; i < rd->committed_count; i++) {
        const struct raft_entry *entry = &rd->committed[i];
        /* In order, without holes but where a snapshot was installed. */
        ASSERT(entry->index > f->handed);
        f->handed = entry->index;
        struct raft_conf_change change;
        struct raft_conf_state conf_state;
        if (entry->type != RAFT_ENTRY_NORMAL &&
            raft_conf_change_decode(entry->type, raft_payload_slice(entry->payload), &change) ==
                ERR_OK) {
            (void)!raft_apply_conf_change(f->raft, &change, &conf_state);
        }
    }
}

static void take_ready(struct fuzz *f)
{
    if (!raft_has_ready(f->raft)) {
        return;
    }
    if (f->job_count == JOBS_MAX) {
        persist_one(f);
    }
    struct raft_ready *rd = &f->jobs[(f->job_first + f->job_count++) % JOBS_MAX];
    raft_ready(f->raft, rd);
    for (size_t i = 0; i < rd->message_count; i++) {
        ASSERT(rd->messages[i].to != f->raft->config.id);
        ASSERT(!raft_message_is_local(rd->messages[i].type));
    }
    apply_handed(f, rd);
}

static void snapshot(struct fuzz *f)
{
    struct raft_conf_state conf_state;
    raft_conf_state(f->raft, &conf_state);
    (void)!raft_create_snapshot(f->raft, quantity(f, f->raft->log.applied), &conf_state, NULL);
    (void)!raft_compact(f->raft, quantity(f, f->raft->log.applied));
}

static void one_input(struct fuzz *f)
{
    switch (reader_u8(&f->in) % 20) {
    case 0:
        raft_tick(f->raft);
        break;
    case 1:
        propose(f);
        break;
    case 2:
        propose_conf_change(f);
        break;
    case 3:
        persist_one(f);
        break;
    case 4:
        if (f->handed > f->raft->log.applied) {
            raft_applied(f->raft, f->handed);
        }
        break;
    case 5:
        raft_read_index(f->raft, reader_bytes(&f->in, 2));
        break;
    case 6:
        raft_transfer_leader(f->raft, some_id(f));
        break;
    case 7:
        raft_campaign(f->raft);
        break;
    case 8:
        raft_report_snapshot(f->raft, some_id(f), reader_u8(&f->in) & 1);
        raft_report_unreachable(f->raft, some_id(f));
        break;
    case 9:
        snapshot(f);
        break;
    case 10:
        raft_forget_leader(f->raft);
        break;
    case 11:
    case 12:
    case 13:
        take_ready(f);
        break;
    default:
        step_message(f);
        break;
    }
}

static void discard_line(void *priv, enum raft_trace_level level, const char *line)
{
    UNUSED(priv);
    UNUSED(level);
    ASSERT(strlen(line) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {.in = reader_init(slice_of(data, size))};
    uint8_t shape = reader_u8(&f.in);
    struct raft_conf_state conf_state = {0};
    for (raft_id id = 1; id <= 1u + shape % 5; id++) {
        raft_id_set_add(&conf_state.voters, id);
    }
    struct raft_config config = raft_config_default(1, shape);
    config.pre_vote = (shape & 8) != 0;
    config.check_quorum = (shape & 16) != 0;
    config.message_bytes_max = 32;
    config.inflight_max = 3;
    config.read_only = (shape & 48) == 48 ? RAFT_READ_LEASE : RAFT_READ_SAFE;
    config.trace = (shape & 64) != 0 ? discard_line : NULL;
    config.uncommitted_bytes_max = 64;
    struct raft_snapshot *base = raft_snapshot_new(2, 1, &conf_state, NULL);
    config.snapshot = base;
    config.hard_state = (struct raft_hard_state){.term = 1, .commit = 2};
    f.handed = 2;
    enum err err = raft_new(&config, NULL, &f.raft);
    ASSERT(err == ERR_OK);
    while (f.in.err == ERR_OK && reader_left(&f.in) > 0) {
        one_input(&f);
        raft_check(f.raft);
    }
    raft_free(&f.raft);
    for (size_t i = 0; i < JOBS_MAX; i++) {
        raft_ready_fini(&f.jobs[i]);
    }
    raft_snapshot_unref(&base);
    return 0;
}
