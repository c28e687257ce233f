/* The commands of transcripts: those of etcd-io/raft, and ours (read-index, report-snapshot,
 * restart, state-machine, ticks). */
#include "raft/raft_transcript.h"

#include <strings.h>

static uint64_t number(const char *text)
{
    uint64_t value;
    enum err err = slice_to_u64(slice_str(text), &value);
    ASSERT(err == ERR_OK);
    return value;
}

static struct member *arg_member(struct world *world, const struct command *command, size_t i)
{
    ASSERT(i < command->arg_count);
    return member_of(world, number(command->args[i].key));
}

/* The members named by the arguments that have no value; all of them if there is none. */
static size_t arg_members(struct world *world, const struct command *command,
                          struct member *out[MEMBERS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < command->arg_count; i++) {
        if (command->args[i].value_count == 0) {
            out[count++] = arg_member(world, command, i);
        }
    }
    for (size_t i = 0; count == 0 && i < world->member_count; i++) {
        out[i] = &world->members[i];
    }
    return count == 0 ? world->member_count : count;
}

static void arg_ids(const struct arg *arg, struct raft_id_set *out)
{
    for (size_t i = 0; i < arg->value_count; i++) {
        ASSERT(raft_id_set_add(out, number(arg->values[i])));
    }
}

struct plan {
    struct raft_config config;
    struct raft_conf_state conf_state;
    raft_index index;
    const char *content;
};

static void plan_arg(struct plan *plan, const struct arg *arg)
{
    struct raft_config *config = &plan->config;
    const char *value = arg->values[0];
    bool is_true = strcmp(value, "true") == 0;
    if (strcmp(arg->key, "voters") == 0) {
        arg_ids(arg, &plan->conf_state.voters);
    } else if (strcmp(arg->key, "learners") == 0) {
        arg_ids(arg, &plan->conf_state.learners);
    } else if (strcmp(arg->key, "inflight") == 0) {
        config->inflight_max = (uint32_t)number(value);
    } else if (strcmp(arg->key, "index") == 0) {
        plan->index = number(value);
    } else if (strcmp(arg->key, "content") == 0) {
        plan->content = value;
    } else if (strcmp(arg->key, "async-storage-writes") == 0) {
        config->sync_storage = !is_true;
    } else if (strcmp(arg->key, "prevote") == 0) {
        config->pre_vote = is_true;
    } else if (strcmp(arg->key, "checkquorum") == 0) {
        config->check_quorum = is_true;
    } else if (strcmp(arg->key, "max-committed-size-per-ready") == 0) {
        config->committed_bytes_max = number(value);
    } else if (strcmp(arg->key, "max-size-per-msg") == 0) {
        config->message_bytes_max = number(value);
    } else if (strcmp(arg->key, "max-uncommitted-size") == 0) {
        config->uncommitted_bytes_max = number(value);
    } else if (strcmp(arg->key, "disable-conf-change-validation") == 0) {
        config->conf_change_validation_off = is_true;
    } else if (strcmp(arg->key, "read-only") == 0) {
        config->read_only = strcmp(value, "lease-based") == 0 ? RAFT_READ_LEASE : RAFT_READ_SAFE;
    } else if (strcmp(arg->key, "step-down-on-removal") == 0) {
        config->step_down_on_removal = is_true;
    } else {
        fatal("unknown argument %s", arg->key);
    }
}

static void member_start(struct world *world, struct member *member)
{
    struct raft_config config = member->config;
    struct errbuf errbuf;
    config.trace = trace_line;
    config.trace_priv = world;
    enum err err = raft_new(&config, &errbuf, &member->raft);
    if (err != ERR_OK) {
        fatal("%s", errbuf.text);
    }
}

static void add_nodes(struct world *world, const struct command *command)
{
    struct plan plan = {
        .config = raft_config_default(1, 1),
        .content = "",
    };
    plan.config.election_ticks = 3;
    plan.config.message_bytes_max = RAFT_NO_LIMIT;
    plan.config.inflight_max = INT32_MAX;
    plan.config.check_quorum = false;
    plan.config.pre_vote = false;
    plan.config.sync_storage = true;
    for (size_t i = 1; i < command->arg_count; i++) {
        plan_arg(&plan, &command->args[i]);
    }
    size_t count = number(command->args[0].key);
    for (size_t i = 0; i < count; i++) {
        ASSERT(world->member_count < MEMBERS_MAX);
        struct member *member = &world->members[world->member_count++];
        struct raft_payload *content = raft_payload_copy(slice_str(plan.content));
        member->config = plan.config;
        member->config.id = world->member_count;
        member->config.seed = world->member_count;
        member->state =
            raft_snapshot_new(plan.index, plan.index == 0 ? 0 : 1, &plan.conf_state, content);
        member->config.snapshot = plan.index == 0 ? NULL : member->state;
        member->config.applied = plan.index;
        disk_install(&member->disk, member->state);
        raft_payload_unref(&content);
        member_start(world, member);
        member->config.snapshot = NULL;
    }
}

/* What a member tells itself dies with it. */
static void messages_drop_local(struct world *world, raft_id id)
{
    size_t kept = 0;
    for (size_t i = 0; i < world->messages.count; i++) {
        struct raft_message *m = &world->messages.items[i];
        if (m->to == id && is_local(m)) {
            msg_free(m);
        } else {
            world->messages.items[kept++] = *m;
        }
    }
    world->messages.count = kept;
}

/* The process dies and comes back with what its disk has. */
static void restart(struct world *world, const struct command *command)
{
    struct member *member = arg_member(world, command, 0);
    struct disk *disk = &member->disk;
    raft_free(&member->raft);
    work_list_fini(&member->append_work);
    work_list_fini(&member->apply_work);
    messages_drop_local(world, member->config.id);
    struct raft_conf_state conf_state = member->state->conf_state;
    struct raft_snapshot *base = raft_snapshot_new(disk->base, disk->base_term, &conf_state, NULL);
    member->config.hard_state = disk->hard_state;
    member->config.snapshot = disk->base == 0 ? NULL : base;
    member->config.conf_state = &conf_state;
    member->config.entries = disk->entries;
    member->config.entry_count = disk->count;
    /* The state machine may be ahead of the commit index that reached the disk. */
    member->config.applied = member->state->index < disk->hard_state.commit
                                 ? member->state->index
                                 : disk->hard_state.commit;
    member_start(world, member);
    raft_snapshot_unref(&base);
    member->config.snapshot = NULL;
    member->config.conf_state = NULL;
}

static void campaign(struct world *world, const struct command *command)
{
    raft_campaign(arg_member(world, command, 0)->raft);
}

static void raft_log(struct world *world, const struct command *command)
{
    const struct disk *disk = &arg_member(world, command, 0)->disk;
    if (disk->count == 0) {
        say(world, "log is empty: first index=%" PU ", last index=%" PU, disk->base + 1,
            disk->base);
        return;
    }
    if (world->level != LEVEL_NONE) {
        text_entries(&world->out, disk->entries, disk->count);
    }
}

static void compact(struct world *world, const struct command *command)
{
    struct member *member = arg_member(world, command, 0);
    raft_index index = number(command->args[1].key);
    enum err err = raft_compact(member->raft, index);
    if (err != ERR_OK) {
        say(world, "%s", err_text(err));
        return;
    }
    disk_compact(&member->disk, index);
    raft_log(world, command);
}

static int message_type_of(const char *name)
{
    for (int type = 0; type < RAFT_MSG_COUNT; type++) {
        if (strcmp(raft_message_type_name((enum raft_message_type)type), name) == 0) {
            return type;
        }
    }
    fatal("unknown message type %s", name);
}

static void deliver_msgs(struct world *world, const struct command *command)
{
    int type = -1;
    size_t count = 0;
    for (size_t i = 0; i < command->arg_count; i++) {
        if (strcmp(command->args[i].key, "type") == 0) {
            type = message_type_of(command->args[i].values[0]);
        }
    }
    for (size_t i = 0; i < command->arg_count; i++) {
        const struct arg *arg = &command->args[i];
        if (arg->value_count == 0) {
            count += deliver(world, number(arg->key), type, false);
        }
        for (size_t j = 0; strcmp(arg->key, "drop") == 0 && j < arg->value_count; j++) {
            count += deliver(world, number(arg->values[j]), type, true);
        }
    }
    if (count == 0) {
        say(world, "no messages\n");
    }
}

static void for_each_member(struct world *world, const struct command *command, const char *what,
                            process_fn *process)
{
    struct member *members[MEMBERS_MAX];
    size_t count = arg_members(world, command, members);
    for (size_t i = 0; i < count; i++) {
        if (count == 1) {
            process(world, members[i]);
            continue;
        }
        say(world, "> %" PU " %s\n", members[i]->config.id, what);
        size_t from = world->out.len;
        process(world, members[i]);
        indent_since(world, from);
    }
}

static void process_ready_of(struct world *world, const struct command *command)
{
    for_each_member(world, command, "handling Ready", process_ready);
}

static void process_append_of(struct world *world, const struct command *command)
{
    for_each_member(world, command, "processing append thread", process_append);
}

static void process_apply_of(struct world *world, const struct command *command)
{
    for_each_member(world, command, "processing apply thread", process_apply);
}

static void level_set(struct world *world, const char *name)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR", "FATAL", "NONE"};
    for (int i = 0; i < (int)ARRAY_LEN(names); i++) {
        if (strcasecmp(names[i], name) == 0) {
            world->level = i;
            return;
        }
    }
    fatal("unknown log level %s", name);
}

static void log_level(struct world *world, const struct command *command)
{
    level_set(world, command->args[0].key);
}

static void raft_states(struct world *world, const struct command *command)
{
    UNUSED(command);
    for (size_t i = 0; i < world->member_count; i++) {
        struct raft_status st;
        const struct raft *raft = world->members[i].raft;
        raft_status(raft, &st);
        say(world, "%" PU ": %s %s Term:%" PU " Lead:%" PU "\n", st.id, raft_state_name(st.state),
            quorum_has(&raft->tracker.config.voters, st.id) ? "(Voter)" : "(Non-Voter)",
            st.hard_state.term, st.lead);
    }
}

static void set_election_timeout(struct world *world, const struct command *command)
{
    arg_member(world, command, 0)->raft->election_timeout =
        (uint32_t)number(command->args[1].values[0]);
}

static void stabilize(struct world *world, const struct command *command)
{
    int level = world->level;
    for (size_t i = 0; i < command->arg_count; i++) {
        if (strcmp(command->args[i].key, "log-level") == 0) {
            level_set(world, command->args[i].values[0]);
        }
    }
    struct member *members[MEMBERS_MAX];
    size_t count = arg_members(world, command, members);
    while (!stabilize_once(world, members, count)) {
    }
    world->level = level;
}

static void status(struct world *world, const struct command *command)
{
    const struct tracker *tracker = &arg_member(world, command, 0)->raft->tracker;
    char text[PROGRESS_TEXT_MAX];
    const struct raft *raft = arg_member(world, command, 0)->raft;
    for (uint32_t i = 0; raft->state == RAFT_LEADER && i < tracker->peer_count; i++) {
        say(world, "%" PU ": %s\n", tracker->peers[i].id, progress_text(&tracker->peers[i], text));
    }
}

static void tick_election(struct world *world, const struct command *command)
{
    struct member *member = arg_member(world, command, 0);
    for (uint32_t i = 0; i < member->config.election_ticks; i++) {
        raft_tick(member->raft);
    }
}

static void tick_heartbeat(struct world *world, const struct command *command)
{
    struct member *member = arg_member(world, command, 0);
    for (uint32_t i = 0; i < member->config.heartbeat_ticks; i++) {
        raft_tick(member->raft);
    }
}

static void transfer_leadership(struct world *world, const struct command *command)
{
    struct member *from = member_of(world, number(command->args[0].values[0]));
    raft_transfer_leader(from->raft, number(command->args[1].values[0]));
}

static void forget_leader(struct world *world, const struct command *command)
{
    raft_forget_leader(arg_member(world, command, 0)->raft);
}

static void send_snapshot(struct world *world, const struct command *command)
{
    struct member *from = arg_member(world, command, 0);
    struct raft_message m = {
        .type = RAFT_MSG_SNAP,
        .term = raft_current_term(from->raft),
        .from = from->config.id,
        .to = arg_member(world, command, 1)->config.id,
        .snapshot = from->state,
    };
    msg_list_add(&world->messages, msg_dup(&m));
    if (world->level != LEVEL_NONE) {
        text_message(&world->out, "", &m, NULL);
    }
}

static void say_error(struct world *world, enum err err)
{
    /* Even in silence, as long as nothing else was said. */
    if (err != ERR_OK) {
        buf_append_str(&world->out, err_text(err));
    }
}

/* One batch of as many entries as there are words. */
static void propose(struct world *world, const struct command *command)
{
    struct raft_payload *payloads[ARGS_MAX];
    size_t count = command->arg_count - 1;
    for (size_t i = 0; i < count; i++) {
        payloads[i] = raft_payload_copy(slice_str(command->args[i + 1].key));
    }
    say_error(world, raft_propose(arg_member(world, command, 0)->raft, payloads, count));
    for (size_t i = 0; i < count; i++) {
        raft_payload_unref(&payloads[i]);
    }
}

static void conf_change_parse(const char *text, struct raft_conf_change *change)
{
    struct slice rest = slice_str(text);
    while (rest.len > 0) {
        struct slice word;
        rest = slice_split(rest, ' ', &word);
        if (word.len == 0) {
            continue;
        }
        uint64_t id;
        enum err err = slice_to_u64(slice_skip(word, 1), &id);
        ASSERT(err == ERR_OK);
        static const char letters[] = "vrul";
        const char *letter = strchr(letters, word.data[0]);
        ASSERT(letter != NULL);
        change->changes[change->change_count++] = (struct raft_conf_change_single){
            .type = (enum raft_conf_change_type)(letter - letters),
            .node_id = id,
        };
    }
}

static void propose_conf_change(struct world *world, const struct command *command)
{
    struct raft_conf_change change = {0};
    conf_change_parse(command->input, &change);
    for (size_t i = 1; i < command->arg_count; i++) {
        const char *value = command->args[i].values[0];
        if (strcmp(command->args[i].key, "v1") == 0) {
            change.is_v1 = strcmp(value, "true") == 0;
        } else if (strcmp(value, "implicit") == 0) {
            change.transition = RAFT_CONF_JOINT_IMPLICIT;
        } else if (strcmp(value, "explicit") == 0) {
            change.transition = RAFT_CONF_JOINT_EXPLICIT;
        }
    }
    say_error(world, raft_propose_conf_change(arg_member(world, command, 0)->raft, &change));
}

static void report_unreachable(struct world *world, const struct command *command)
{
    raft_report_unreachable(arg_member(world, command, 0)->raft,
                            arg_member(world, command, 1)->config.id);
}

static void report_snapshot(struct world *world, const struct command *command)
{
    raft_report_snapshot(arg_member(world, command, 0)->raft,
                         arg_member(world, command, 1)->config.id,
                         strcmp(command->args[2].values[0], "true") == 0);
}

static void read_index(struct world *world, const struct command *command)
{
    raft_read_index(arg_member(world, command, 0)->raft, slice_str(command->args[1].key));
}

static void state_machine(struct world *world, const struct command *command)
{
    const struct raft_snapshot *state = arg_member(world, command, 0)->state;
    struct slice data = raft_payload_slice(state->data);
    say(world, "applied=%" PU " \"%.*s\"\n", state->index, (int)data.len, (const char *)data.data);
}

/* `ticks 1 5`: so many ticks at once. */
static void ticks(struct world *world, const struct command *command)
{
    uint64_t count = number(command->args[1].key);
    for (uint64_t i = 0; i < count; i++) {
        raft_tick(arg_member(world, command, 0)->raft);
    }
}

static const struct {
    const char *name;
    void (*run)(struct world *world, const struct command *command);
} commands[] = {
    {"add-nodes", add_nodes},
    {"campaign", campaign},
    {"compact", compact},
    {"deliver-msgs", deliver_msgs},
    {"forget-leader", forget_leader},
    {"log-level", log_level},
    {"process-append-thread", process_append_of},
    {"process-apply-thread", process_apply_of},
    {"process-ready", process_ready_of},
    {"propose", propose},
    {"propose-conf-change", propose_conf_change},
    {"raft-log", raft_log},
    {"raft-state", raft_states},
    {"read-index", read_index},
    {"report-snapshot", report_snapshot},
    {"report-unreachable", report_unreachable},
    {"restart", restart},
    {"send-snapshot", send_snapshot},
    {"set-randomized-election-timeout", set_election_timeout},
    {"stabilize", stabilize},
    {"state-machine", state_machine},
    {"status", status},
    {"tick-election", tick_election},
    {"tick-heartbeat", tick_heartbeat},
    {"ticks", ticks},
    {"transfer-leadership", transfer_leadership},
};

const char *world_run(struct world *world, const struct command *command)
{
    buf_reset(&world->out);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(commands[i].name, command->name) == 0) {
            commands[i].run(world, command);
            if (world->out.len == 0) {
                buf_append_str(&world->out, "ok");
            }
            return buf_cstr(&world->out);
        }
    }
    fatal("unknown command %s", command->name);
}

void world_init(struct world *world)
{
    *world = (struct world){0};
}

void world_fini(struct world *world)
{
    for (size_t i = 0; i < world->member_count; i++) {
        struct member *member = &world->members[i];
        raft_free(&member->raft);
        disk_truncate(&member->disk, 0);
        mem_free(member->disk.entries);
        work_list_fini(&member->append_work);
        work_list_fini(&member->apply_work);
        raft_snapshot_unref(&member->state);
    }
    msg_list_fini(&world->messages);
    buf_fini(&world->out);
}
