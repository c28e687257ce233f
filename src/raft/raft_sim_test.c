/* Several members in one world that loses, delays, repeats and reorders their messages, and kills
 * them between a write's start and its end. Everything follows from a seed.
 *
 * Checked after every step (Raft figure 3):
 *   election safety       one leader a term
 *   log matching          an index and a term name one entry, and one before it
 *   leader completeness   a new leader has everything that was ever applied
 *   state machine safety  nobody applies another entry at an index
 * and beyond the paper:
 *   durability            what is applied is on the disks of a majority, ours among them
 *   linearizable reads    a read index is no lower than what was applied anywhere as it was asked
 * Then the world heals, and everybody must agree within a bounded time. */
#include "raft/raft_priv.h"

#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#define NODES_MAX 5
#define INDEX_MAX 8192
#define TERM_MAX 4096
#define NET_MAX 256
#define JOBS_MAX 64
#define BASE 2
#define EVENTS 13 /* kinds of things that happen */

/* Like assert_true, and names the seed that led there: run it alone with SEED=n. */
static uint64_t running_seed;
#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "# seed %llu: %s\n", (unsigned long long)running_seed, #cond);         \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

struct rng {
    uint64_t state;
};

static uint64_t rng_next(struct rng *rng)
{
    uint64_t x = rng->state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return rng->state = x;
}

static uint64_t below(struct rng *rng, uint64_t limit)
{
    return rng_next(rng) % limit;
}

static bool chance(struct rng *rng, unsigned percent)
{
    return below(rng, 100) < percent;
}

struct stable_entry {
    raft_term term;
    struct raft_payload *payload;
    enum raft_entry_type type;
};

/* What survives a crash. */
struct disk {
    struct raft_hard_state hard;
    struct raft_snapshot *snapshot;
    raft_index last;
    struct stable_entry entries[INDEX_MAX]; /* by index; those above the snapshot count */
};

/* A ready on its way to disk and state machine. */
struct job {
    struct raft_ready rd;
    bool is_persisted;
    bool is_applied;
};

struct read {
    bool is_open;
    uint64_t number;
    raft_index floor; /* highest index applied anywhere as it was asked */
};

#define READS_MAX 16

struct node {
    raft_id id;
    struct raft *raft; /* NULL: down */
    struct disk disk;
    struct job *jobs[JOBS_MAX];
    size_t job_count;
    raft_index applied;
    struct raft_conf_state conf_state; /* as of applied */
    struct read reads[READS_MAX];
    uint64_t checked; /* log entries up to here have been compared in this state */
};

struct world {
    struct rng rng;
    uint64_t seed;
    size_t node_count;
    struct node nodes[NODES_MAX];
    struct raft_message net[NET_MAX];
    size_t net_count;
    bool is_cut[NODES_MAX]; /* from everybody */
    unsigned drop_percent;
    unsigned repeat_percent;
    bool changes_members;
    bool pre_vote;
    bool check_quorum;
    bool steps_down;
    unsigned weights[EVENTS];
    uint64_t weight_sum;

    raft_id leaders[TERM_MAX];
    struct {
        raft_term term;
        uint64_t value;
    } applied[INDEX_MAX];
    raft_index applied_last;
    uint64_t next_value;
    uint64_t next_read;
    size_t read_count;
    size_t apply_count;
    size_t crash_count;
};

static uint64_t value_of(const struct raft_payload *payload)
{
    struct slice bytes = raft_payload_slice(payload);
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < bytes.len; i++) {
        hash = (hash ^ bytes.data[i]) * 1099511628211u;
    }
    return hash;
}

/* --- the network -------------------------------------------------------------------------------
 */

static void message_free(struct raft_message *m)
{
    for (size_t i = 0; i < m->entry_count; i++) {
        raft_payload_unref(&m->entries[i].payload);
    }
    mem_free(m->entries);
    raft_snapshot_unref(&m->snapshot);
    mem_free((void *)(uintptr_t)m->context.data);
}

static struct raft_message message_copy(const struct raft_message *m)
{
    struct raft_message copy = *m;
    copy.entries = mem_dup(m->entries, m->entry_count * sizeof(*m->entries));
    for (size_t i = 0; i < m->entry_count; i++) {
        raft_payload_ref(copy.entries[i].payload);
    }
    raft_snapshot_ref(copy.snapshot);
    copy.context = slice_of(mem_dup(m->context.data, m->context.len), m->context.len);
    return copy;
}

static struct node *node_of(struct world *w, raft_id id)
{
    MUST(id >= 1 && id <= w->node_count);
    return &w->nodes[id - 1];
}

/* A transport knows, and must say, how sending a snapshot went. */
static void net_lost(struct world *w, const struct raft_message *m)
{
    struct node *from = node_of(w, m->from);
    if (m->type == RAFT_MSG_SNAP && from->raft != NULL) {
        raft_report_snapshot(from->raft, m->to, false);
    }
}

static void net_send(struct world *w, const struct raft_message *m)
{
    if (w->is_cut[m->from - 1] || w->is_cut[m->to - 1] || chance(&w->rng, w->drop_percent)) {
        net_lost(w, m);
        return;
    }
    if (w->net_count == NET_MAX) {
        size_t victim = below(&w->rng, NET_MAX);
        struct raft_message lost = w->net[victim];
        w->net[victim] = w->net[--w->net_count];
        net_lost(w, &lost);
        message_free(&lost);
    }
    w->net[w->net_count++] = message_copy(m);
}

/* --- disks -------------------------------------------------------------------------------------
 */

static void disk_cut(struct disk *disk, raft_index last)
{
    for (raft_index i = disk->last; i > last; i--) {
        raft_payload_unref(&disk->entries[i].payload);
    }
    disk->last = last;
}

static void disk_write(struct disk *disk, const struct raft_ready *rd)
{
    if (rd->snapshot != NULL) {
        disk_cut(disk, disk->snapshot == NULL ? 0 : disk->snapshot->index);
        raft_snapshot_unref(&disk->snapshot);
        disk->snapshot = raft_snapshot_ref(rd->snapshot);
        disk->last = rd->snapshot->index;
    }
    if (rd->has_hard_state) {
        disk->hard = rd->hard_state;
    }
    for (size_t i = 0; i < rd->entry_count; i++) {
        const struct raft_entry *entry = &rd->entries[i];
        MUST(entry->index < INDEX_MAX);
        MUST(entry->index <= disk->last + 1);
        if (entry->index <= (disk->snapshot == NULL ? 0 : disk->snapshot->index)) {
            continue;
        }
        disk_cut(disk, entry->index - 1);
        disk->entries[entry->index] = (struct stable_entry){
            .term = entry->term,
            .payload = raft_payload_ref(entry->payload),
            .type = entry->type,
        };
        disk->last = entry->index;
    }
}

static bool disk_has(const struct disk *disk, raft_index index, raft_term term)
{
    if (disk->snapshot != NULL && index <= disk->snapshot->index) {
        return true;
    }
    return index <= disk->last && disk->entries[index].term == term;
}

/* --- invariants --------------------------------------------------------------------------------
 */

static void check_durable(struct world *w, const struct node *node, const struct raft_entry *entry)
{
    MUST(disk_has(&node->disk, entry->index, entry->term));
    if (w->changes_members) {
        return; /* a majority of which configuration is not easily told from outside */
    }
    size_t count = 0;
    for (size_t i = 0; i < w->node_count; i++) {
        count += disk_has(&w->nodes[i].disk, entry->index, entry->term);
    }
    MUST(count > w->node_count / 2);
}

static void check_applied(struct world *w, const struct node *node, const struct raft_entry *entry)
{
    MUST(entry->index == node->applied + 1);
    if (entry->index <= w->applied_last) {
        MUST(w->applied[entry->index].term == entry->term);
        MUST(w->applied[entry->index].value == value_of(entry->payload));
        return;
    }
    MUST(entry->index == w->applied_last + 1);
    w->applied[entry->index].term = entry->term;
    w->applied[entry->index].value = value_of(entry->payload);
    w->applied_last = entry->index;
}

static void check_leader(struct world *w, struct node *node)
{
    raft_term term = raft_current_term(node->raft);
    MUST(term < TERM_MAX);
    if (raft_get_state(node->raft) != RAFT_LEADER) {
        return;
    }
    if (w->leaders[term] == node->id) {
        return;
    }
    MUST(w->leaders[term] == RAFT_NONE);
    w->leaders[term] = node->id;
    struct raft_status status;
    raft_status(node->raft, &status);
    for (raft_index i = status.first_index; i <= w->applied_last; i++) {
        raft_term ours;
        MUST(raft_entry_term(node->raft, i, &ours) == ERR_OK);
        MUST(ours == w->applied[i].term);
    }
}

/* The same index and term: the same entry, and the same term before it. */
static void check_logs_match(const struct raft *a, const struct raft *b)
{
    struct raft_status sa;
    struct raft_status sb;
    raft_status(a, &sa);
    raft_status(b, &sb);
    raft_index lo = sa.first_index > sb.first_index ? sa.first_index : sb.first_index;
    raft_index hi = sa.last_index < sb.last_index ? sa.last_index : sb.last_index;
    bool must_match = false;
    for (raft_index i = hi; i >= lo && i > 0; i--) {
        const struct raft_entry *ea;
        const struct raft_entry *eb;
        MUST(raft_entry_at(a, i, &ea) == ERR_OK);
        MUST(raft_entry_at(b, i, &eb) == ERR_OK);
        if (ea->term == eb->term) {
            must_match = true;
            MUST(value_of(ea->payload) == value_of(eb->payload));
        }
        MUST(!must_match || ea->term == eb->term);
    }
}

static void check_node(struct world *w, struct node *node)
{
    if (node->raft == NULL) {
        return;
    }
    raft_check(node->raft);
    check_leader(w, node);
    for (size_t i = 0; i < w->node_count; i++) {
        if (w->nodes[i].raft != NULL && &w->nodes[i] != node) {
            check_logs_match(node->raft, w->nodes[i].raft);
        }
    }
}

/* --- members -----------------------------------------------------------------------------------
 */

static void job_free(struct job *job)
{
    raft_ready_fini(&job->rd);
    mem_free(job);
}

static void node_start(struct world *w, struct node *node)
{
    struct disk *disk = &node->disk;
    raft_index base = disk->snapshot == NULL ? 0 : disk->snapshot->index;
    size_t count = disk->last - base;
    struct raft_entry *entries = mem_array(count, sizeof(*entries));
    for (size_t i = 0; i < count; i++) {
        const struct stable_entry *stable = &disk->entries[base + 1 + i];
        entries[i] = (struct raft_entry){
            .index = base + 1 + i,
            .term = stable->term,
            .payload = stable->payload,
            .type = stable->type,
        };
    }
    struct raft_config config = raft_config_default(node->id, rng_next(&w->rng));
    config.election_ticks = 5;
    config.pre_vote = w->pre_vote;
    config.check_quorum = w->check_quorum;
    config.step_down_on_removal = w->steps_down;
    config.inflight_max = 1 + (uint32_t)below(&w->rng, 4);
    config.message_bytes_max = chance(&w->rng, 50) ? 1 : 1 + below(&w->rng, 100);
    config.hard_state = disk->hard;
    config.snapshot = disk->snapshot;
    config.entries = entries;
    config.entry_count = count;
    struct errbuf errbuf = {.text = ""};
    enum err err = raft_new(&config, &errbuf, &node->raft);
    if (err != ERR_OK) {
        fatal("seed %llu: %s", (unsigned long long)w->seed, errbuf.text);
    }
    mem_free(entries);
    node->applied = base;
    raft_conf_state(node->raft, &node->conf_state);
}

static void node_crash(struct world *w, struct node *node)
{
    if (node->raft == NULL) {
        return;
    }
    /* Of the writes in flight the first few may have got through, unknown to anybody. */
    size_t lucky = below(&w->rng, node->job_count + 1);
    for (size_t i = 0; i < node->job_count; i++) {
        if (i < lucky && !node->jobs[i]->is_persisted) {
            disk_write(&node->disk, &node->jobs[i]->rd);
        }
    }
    for (size_t i = 0; i < node->job_count; i++) {
        job_free(node->jobs[i]);
    }
    node->job_count = 0;
    memset(node->reads, 0, sizeof(node->reads));
    raft_free(&node->raft);
    w->crash_count++;
}

static void jobs_sweep(struct node *node)
{
    size_t gone = 0;
    while (gone < node->job_count && node->jobs[gone]->is_persisted &&
           node->jobs[gone]->is_applied) {
        job_free(node->jobs[gone++]);
    }
    node->job_count -= gone;
    memmove(node->jobs, node->jobs + gone, node->job_count * sizeof(node->jobs[0]));
}

static void persist_one(struct world *w, struct node *node)
{
    for (size_t i = 0; i < node->job_count; i++) {
        struct job *job = node->jobs[i];
        if (job->is_persisted) {
            continue;
        }
        disk_write(&node->disk, &job->rd);
        job->is_persisted = true;
        if (job->rd.snapshot != NULL) {
            node->applied = job->rd.snapshot->index;
            node->conf_state = job->rd.snapshot->conf_state;
        }
        raft_persisted(node->raft, &job->rd);
        for (size_t j = 0; j < job->rd.after_count; j++) {
            if (job->rd.after[j].to != node->id) {
                net_send(w, &job->rd.after[j]);
            }
        }
        jobs_sweep(node);
        return;
    }
}

static void apply_entry(struct world *w, struct node *node, const struct raft_entry *entry)
{
    check_applied(w, node, entry);
    check_durable(w, node, entry);
    node->applied = entry->index;
    w->apply_count++;
    if (entry->type != RAFT_ENTRY_NORMAL) {
        struct raft_conf_change change;
        MUST(raft_conf_change_decode(entry->type, raft_payload_slice(entry->payload), &change) ==
             ERR_OK);
        (void)!raft_apply_conf_change(node->raft, &change, &node->conf_state);
    }
}

static void apply_one(struct world *w, struct node *node)
{
    for (size_t i = 0; i < node->job_count; i++) {
        struct job *job = node->jobs[i];
        if (job->is_applied) {
            continue;
        }
        job->is_applied = true;
        size_t count = job->rd.committed_count;
        for (size_t j = 0; j < count; j++) {
            /* A snapshot may have overtaken it. */
            if (job->rd.committed[j].index > node->applied) {
                apply_entry(w, node, &job->rd.committed[j]);
            }
        }
        if (count > 0) {
            raft_applied(node->raft, job->rd.committed[count - 1].index);
        }
        jobs_sweep(node);
        return;
    }
}

static void check_read(struct world *w, struct node *node, const struct raft_read_state *state)
{
    MUST(state->context.len == 8);
    uint64_t number = get_le64(state->context.data);
    struct read *read = &node->reads[number % READS_MAX];
    if (read->is_open && read->number == number) {
        MUST(state->index >= read->floor);
        read->is_open = false;
        w->read_count++;
    }
}

static void drain(struct world *w, struct node *node)
{
    while (node->raft != NULL && raft_has_ready(node->raft) && node->job_count < JOBS_MAX) {
        struct job *job = NEW(struct job);
        raft_ready(node->raft, &job->rd);
        for (size_t i = 0; i < job->rd.message_count; i++) {
            MUST(job->rd.messages[i].to != node->id);
            net_send(w, &job->rd.messages[i]);
        }
        for (size_t i = 0; i < job->rd.read_count; i++) {
            check_read(w, node, &job->rd.reads[i]);
        }
        node->jobs[node->job_count++] = job;
    }
    check_node(w, node);
}

/* --- events ------------------------------------------------------------------------------------
 */

static void deliver_one(struct world *w)
{
    if (w->net_count == 0) {
        return;
    }
    /* Mostly in order. */
    size_t i = chance(&w->rng, 70) ? 0 : below(&w->rng, w->net_count);
    struct raft_message m = w->net[i];
    bool is_repeated = chance(&w->rng, w->repeat_percent);
    if (is_repeated) {
        w->net[i] = message_copy(&m);
    } else {
        w->net_count--;
        memmove(&w->net[i], &w->net[i + 1], (w->net_count - i) * sizeof(w->net[0]));
    }
    struct node *to = node_of(w, m.to);
    struct node *from = node_of(w, m.from);
    if (to->raft != NULL) {
        enum err err = raft_step(to->raft, &m);
        MUST(err == ERR_OK || err == ERR_NOT_FOUND || err == ERR_AGAIN);
        if (m.type == RAFT_MSG_SNAP && from->raft != NULL) {
            raft_report_snapshot(from->raft, m.to, true);
        }
    } else if (from->raft != NULL) {
        raft_report_unreachable(from->raft, m.to);
        net_lost(w, &m);
    }
    drain(w, to);
    drain(w, from);
    message_free(&m);
}

static void propose(struct world *w, struct node *node)
{
    struct raft_payload *payloads[3];
    size_t count = 1 + below(&w->rng, 3);
    for (size_t i = 0; i < count; i++) {
        payloads[i] = raft_payload_new(8);
        put_le64(payloads[i]->bytes, ++w->next_value);
    }
    (void)!raft_propose(node->raft, payloads, count);
    for (size_t i = 0; i < count; i++) {
        raft_payload_unref(&payloads[i]);
    }
}

static void change_members(struct world *w, struct node *node)
{
    struct raft_conf_change change = {.is_v1 = chance(&w->rng, 60)};
    change.change_count = change.is_v1 ? 1 : (uint32_t)below(&w->rng, 4);
    change.transition =
        change.is_v1 ? RAFT_CONF_AUTO : (enum raft_conf_transition)below(&w->rng, 3);
    for (uint32_t i = 0; i < change.change_count; i++) {
        static const enum raft_conf_change_type types[] = {RAFT_CONF_ADD_NODE, RAFT_CONF_ADD_NODE,
                                                           RAFT_CONF_ADD_LEARNER_NODE,
                                                           RAFT_CONF_REMOVE_NODE};
        change.changes[i].type = types[below(&w->rng, ARRAY_LEN(types))];
        change.changes[i].node_id = 1 + below(&w->rng, w->node_count);
    }
    (void)!raft_propose_conf_change(node->raft, &change);
}

static void ask_read(struct world *w, struct node *node)
{
    uint8_t context[8];
    uint64_t number = ++w->next_read;
    node->reads[number % READS_MAX] = (struct read){
        .is_open = true,
        .number = number,
        .floor = w->applied_last,
    };
    put_le64(context, number);
    raft_read_index(node->raft, slice_of(context, 8));
}

static void snapshot_and_compact(struct world *w, struct node *node)
{
    struct raft_status status;
    raft_status(node->raft, &status);
    if (node->applied <= status.snapshot_index || status.applied < node->applied) {
        return;
    }
    MUST(raft_create_snapshot(node->raft, node->applied, &node->conf_state, NULL) == ERR_OK);
    struct disk *disk = &node->disk;
    raft_index keep = node->applied;
    struct raft_snapshot *snapshot = raft_snapshot_ref(raft_latest_snapshot(node->raft));
    MUST(disk->last >= keep);
    for (raft_index i = disk->snapshot == NULL ? 1 : disk->snapshot->index + 1; i <= keep; i++) {
        raft_payload_unref(&disk->entries[i].payload);
    }
    raft_snapshot_unref(&disk->snapshot);
    disk->snapshot = snapshot;
    raft_index down_to = keep - below(&w->rng, 6);
    (void)!raft_compact(node->raft, down_to);
}

static void crash_node(struct world *w, struct node *node)
{
    node_crash(w, node);
}

static void tick_node(struct world *w, struct node *node)
{
    UNUSED(w);
    raft_tick(node->raft);
}

static void deliver_any(struct world *w, struct node *node)
{
    UNUSED(node);
    deliver_one(w);
}

static void cut_or_join(struct world *w, struct node *node)
{
    w->is_cut[node->id - 1] = !w->is_cut[node->id - 1];
}

static void transfer(struct world *w, struct node *node)
{
    raft_transfer_leader(node->raft, 1 + below(&w->rng, w->node_count));
}

static void forget(struct world *w, struct node *node)
{
    UNUSED(w);
    raft_forget_leader(node->raft);
}

static void campaign(struct world *w, struct node *node)
{
    UNUSED(w);
    raft_campaign(node->raft);
}

/* What may happen to a member that is up, and how often in an ordinary world. */
static const struct event {
    void (*run)(struct world *w, struct node *node);
    unsigned weight;
} events[] = {
    {deliver_any, 450},        {tick_node, 150}, {persist_one, 180},
    {apply_one, 120},          {propose, 40},    {ask_read, 20},
    {crash_node, 4},           {cut_or_join, 6}, {transfer, 8},
    {snapshot_and_compact, 8}, {forget, 2},      {campaign, 12},
    {change_members, 6},
};
_Static_assert(ARRAY_LEN(events) == EVENTS, "one weight each");

/* Each world is odd in its own way: some things happen often, some never. */
static void weights_draw(struct world *w)
{
    static const unsigned factors[] = {1, 4, 4, 4, 4, 16, 40};
    w->weight_sum = 0;
    for (size_t i = 0; i < EVENTS; i++) {
        w->weights[i] = events[i].weight * factors[below(&w->rng, ARRAY_LEN(factors))];
        if (events[i].run == change_members && !w->changes_members) {
            w->weights[i] = 0;
        }
        w->weight_sum += w->weights[i];
    }
}

static void step(struct world *w)
{
    struct node *node = &w->nodes[below(&w->rng, w->node_count)];
    if (node->raft == NULL) {
        if (chance(&w->rng, 6)) {
            node_start(w, node);
            drain(w, node);
        }
        deliver_one(w);
        return;
    }
    uint64_t dice = below(&w->rng, w->weight_sum);
    size_t i = 0;
    while (dice >= w->weights[i]) {
        dice -= w->weights[i++];
    }
    events[i].run(w, node);
    drain(w, node);
}

/* --- lives -------------------------------------------------------------------------------------
 */

static void world_init(struct world *w, uint64_t seed)
{
    w->seed = seed;
    w->rng.state = seed * 0x9e3779b97f4a7c15u + 1;
    w->node_count = chance(&w->rng, 60) ? 3 : 5;
    w->drop_percent = (unsigned)below(&w->rng, 25);
    w->repeat_percent = (unsigned)below(&w->rng, 25);
    w->changes_members = chance(&w->rng, 50);
    w->pre_vote = chance(&w->rng, 50);
    w->check_quorum = chance(&w->rng, 50);
    w->steps_down = chance(&w->rng, 50);
    weights_draw(w);
    w->applied_last = BASE;
    struct raft_conf_state conf_state = {0};
    for (size_t i = 0; i < w->node_count; i++) {
        raft_id_set_add(&conf_state.voters, i + 1);
    }
    for (size_t i = 0; i < w->node_count; i++) {
        struct node *node = &w->nodes[i];
        node->id = i + 1;
        node->disk.snapshot = raft_snapshot_new(BASE, 1, &conf_state, NULL);
        node->disk.last = BASE;
        node->disk.hard = (struct raft_hard_state){.term = 1, .commit = BASE};
        node_start(w, node);
    }
}

static void world_fini(struct world *w)
{
    for (size_t i = 0; i < w->node_count; i++) {
        struct node *node = &w->nodes[i];
        node_crash(w, node);
        disk_cut(&node->disk, node->disk.snapshot->index);
        raft_snapshot_unref(&node->disk.snapshot);
    }
    for (size_t i = 0; i < w->net_count; i++) {
        message_free(&w->net[i]);
    }
    mem_free(w);
}

/* A leader that was removed goes on leading, and can append nothing (as in etcd, unless it is
 * configured to step down): its server notices and stops. */
static void retire_removed_leaders(struct world *w)
{
    for (size_t i = 0; i < w->node_count; i++) {
        struct node *node = &w->nodes[i];
        struct raft_conf_state conf_state;
        raft_conf_state(node->raft, &conf_state);
        if (raft_get_state(node->raft) == RAFT_LEADER &&
            !raft_id_set_has(&conf_state.voters, node->id) &&
            !raft_id_set_has(&conf_state.voters_outgoing, node->id)) {
            node_crash(w, node);
            node_start(w, node);
        }
    }
}

/* Nothing goes wrong any more: a turn of everybody's clock, and all that follows from it. */
static void calm_round(struct world *w)
{
    for (size_t i = 0; i < w->node_count; i++) {
        raft_tick(w->nodes[i].raft);
        drain(w, &w->nodes[i]);
    }
    for (size_t round = 0; round < 50; round++) {
        for (size_t n = w->net_count; n > 0; n--) {
            deliver_one(w);
        }
        for (size_t i = 0; i < w->node_count; i++) {
            struct node *node = &w->nodes[i];
            while (node->job_count > 0) {
                persist_one(w, node);
                apply_one(w, node);
            }
            drain(w, node);
        }
    }
}

static bool is_agreed(struct world *w, raft_index floor)
{
    struct raft_conf_state conf_state = {0};
    raft_id lead = RAFT_NONE;
    for (size_t i = 0; i < w->node_count; i++) {
        if (raft_get_state(w->nodes[i].raft) == RAFT_LEADER) {
            lead = w->nodes[i].id;
            raft_conf_state(w->nodes[i].raft, &conf_state);
        }
    }
    if (lead == RAFT_NONE || w->applied_last <= floor) {
        return false;
    }
    for (uint32_t i = 0; i < conf_state.voters.count; i++) {
        struct node *node = node_of(w, conf_state.voters.ids[i]);
        if (node->applied != w->applied_last || raft_leader(node->raft) == RAFT_NONE) {
            return false;
        }
    }
    return true;
}

static void explain(const struct node *node)
{
    struct raft_status s;
    char text[PROGRESS_TEXT_MAX];
    struct buf config = {0};
    raft_status(node->raft, &s);
    tracker_config_text(&node->raft->tracker.config, &config);
    fprintf(stderr,
            "# %d: %s term %d lead %d commit %d applied %d/%d stable %d last %d jobs %zu %s\n",
            (int)s.id, raft_state_name(s.state), (int)s.hard_state.term, (int)s.lead,
            (int)s.hard_state.commit, (int)s.applied, (int)node->applied, (int)s.stable,
            (int)s.last_index, node->job_count, buf_cstr(&config));
    for (uint32_t i = 0; s.state == RAFT_LEADER && i < node->raft->tracker.peer_count; i++) {
        const struct progress *pr = &node->raft->tracker.peers[i];
        fprintf(stderr, "#    %d: %s\n", (int)pr->id, progress_text(pr, text));
    }
    buf_fini(&config);
}

static void heal_and_agree(struct world *w)
{
    w->drop_percent = 0;
    w->repeat_percent = 0;
    memset(w->is_cut, 0, sizeof(w->is_cut));
    for (size_t i = 0; i < w->node_count; i++) {
        if (w->nodes[i].raft == NULL) {
            node_start(w, &w->nodes[i]);
        }
    }
    raft_index floor = w->applied_last;
    for (size_t round = 0; round < 200; round++) {
        calm_round(w);
        if (is_agreed(w, floor)) {
            return;
        }
        retire_removed_leaders(w);
        if (round % 10 == 9) {
            /* A member that was removed and added again refuses a snapshot from in between: a new
             * one must be taken, as a server does for each that it sends. */
            for (size_t i = 0; i < w->node_count; i++) {
                if (raft_get_state(w->nodes[i].raft) == RAFT_LEADER) {
                    propose(w, &w->nodes[i]);
                    snapshot_and_compact(w, &w->nodes[i]);
                }
            }
        }
    }
    for (size_t i = 0; i < w->node_count; i++) {
        explain(&w->nodes[i]);
    }
    fatal("seed %llu: no agreement", (unsigned long long)w->seed);
}

struct totals {
    size_t applied;
    size_t reads;
    size_t crashes;
    size_t terms;
};

static void live(uint64_t seed, size_t steps, struct totals *totals)
{
    struct world *w = NEW(struct world);
    running_seed = seed;
    world_init(w, seed);
    for (size_t i = 0; i < steps; i++) {
        step(w);
    }
    totals->crashes += w->crash_count;
    heal_and_agree(w);
    totals->applied += w->apply_count;
    totals->reads += w->read_count;
    for (size_t term = 0; term < TERM_MAX; term++) {
        totals->terms += w->leaders[term] != RAFT_NONE;
    }
    world_fini(w);
}

#define SEEDS 400
#define STEPS 4000

TEST(raft_sim, whatever_goes_wrong_members_never_disagree)
{
    struct totals totals = {0};
    const char *one = getenv("SEED");
    uint64_t first = one == NULL ? 1 : strtoull(one, NULL, 10);
    const char *many = getenv("SEEDS");
    uint64_t last = one != NULL ? first : many != NULL ? strtoull(many, NULL, 10) : SEEDS;
    for (uint64_t seed = first; seed <= last; seed++) {
        fflush(stdout);
        live(seed, STEPS, &totals);
    }
    printf("# %zu entries applied, %zu reads answered, %zu crashes, %zu leaders\n", totals.applied,
           totals.reads, totals.crashes, totals.terms);
    /* A world in which nothing happens proves nothing. */
    assert_true(totals.applied > (last - first + 1) * 20);
    assert_true(one != NULL || totals.reads > 500);
    assert_true(one != NULL || totals.crashes > 1000);
}
