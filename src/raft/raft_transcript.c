#include "raft/raft_transcript.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* --- messages ----------------------------------------------------------------------------------
 */

struct raft_message msg_dup(const struct raft_message *m)
{
    struct raft_message copy = *m;
    if (m->entry_count > 0) {
        copy.entries = mem_dup(m->entries, m->entry_count * sizeof(*m->entries));
        for (size_t i = 0; i < m->entry_count; i++) {
            raft_payload_ref(copy.entries[i].payload);
        }
    } else {
        copy.entries = NULL;
    }
    raft_snapshot_ref(copy.snapshot);
    copy.context = slice_of(mem_dup(m->context.data, m->context.len), m->context.len);
    return copy;
}

static void free_const(const uint8_t *bytes)
{
    mem_free((void *)(uintptr_t)bytes);
}

void msg_free(struct raft_message *m)
{
    for (size_t i = 0; i < m->entry_count; i++) {
        raft_payload_unref(&m->entries[i].payload);
    }
    mem_free(m->entries);
    raft_snapshot_unref(&m->snapshot);
    free_const(m->context.data);
    *m = (struct raft_message){0};
}

void msg_list_add(struct msg_list *list, struct raft_message m)
{
    if (list->count == list->cap) {
        list->cap = list->cap == 0 ? 8 : list->cap * 2;
        list->items = mem_realloc(list->items, list->cap * sizeof(*list->items));
    }
    list->items[list->count++] = m;
}

void msg_list_fini(struct msg_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        msg_free(&list->items[i]);
    }
    mem_free(list->items);
    *list = (struct msg_list){0};
}

static struct work *work_add(struct work_list *list, struct raft_message request)
{
    if (list->count == list->cap) {
        list->cap = list->cap == 0 ? 8 : list->cap * 2;
        list->items = mem_realloc(list->items, list->cap * sizeof(*list->items));
    }
    list->items[list->count] = (struct work){.request = request};
    return &list->items[list->count++];
}

static struct work work_take(struct work_list *list)
{
    ASSERT(list->count > 0);
    struct work first = list->items[0];
    list->count--;
    memmove(list->items, list->items + 1, list->count * sizeof(*list->items));
    return first;
}

static void work_free(struct work *work)
{
    msg_free(&work->request);
    msg_list_fini(&work->responses);
}

static void work_list_fini(struct work_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        work_free(&list->items[i]);
    }
    mem_free(list->items);
    *list = (struct work_list){0};
}

/* --- disks -------------------------------------------------------------------------------------
 */

static void disk_truncate(struct disk *disk, size_t count)
{
    while (disk->count > count) {
        raft_payload_unref(&disk->entries[--disk->count].payload);
    }
}

static void disk_append(struct disk *disk, const struct raft_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (entries[i].index <= disk->base) {
            continue;
        }
        size_t place = entries[i].index - disk->base - 1;
        ASSERT(place <= disk->count);
        disk_truncate(disk, place);
        if (disk->count == disk->cap) {
            disk->cap = disk->cap == 0 ? 16 : disk->cap * 2;
            disk->entries = mem_realloc(disk->entries, disk->cap * sizeof(*disk->entries));
        }
        disk->entries[disk->count++] = entries[i];
        raft_payload_ref(entries[i].payload);
    }
}

static void disk_install(struct disk *disk, const struct raft_snapshot *snapshot)
{
    disk_truncate(disk, 0);
    disk->base = snapshot->index;
    disk->base_term = snapshot->term;
}

static void disk_compact(struct disk *disk, raft_index index)
{
    size_t gone = index - disk->base;
    ASSERT(gone <= disk->count);
    disk->base_term = disk->entries[gone - 1].term;
    disk->base = index;
    for (size_t i = 0; i < gone; i++) {
        raft_payload_unref(&disk->entries[i].payload);
    }
    disk->count -= gone;
    memmove(disk->entries, disk->entries + gone, disk->count * sizeof(*disk->entries));
}

/* --- output ------------------------------------------------------------------------------------
 */

__attribute__((format(printf, 2, 3))) static void say(struct world *world, const char *format, ...)
{
    if (world->level == LEVEL_NONE) {
        return;
    }
    char text[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ASSERT(len >= 0 && (size_t)len < sizeof(text));
    buf_append_str(&world->out, text);
}

static void say_message(struct world *world, const struct raft_message *m)
{
    if (world->level != LEVEL_NONE) {
        text_message(&world->out, "", m, NULL);
        buf_append_byte(&world->out, '\n');
    }
}

static void trace_line(void *priv, enum raft_trace_level level, const char *line)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    struct world *world = priv;
    if (world->level <= (int)level) {
        say(world, "%s ", names[level]);
        buf_append_str(&world->out, line);
        buf_append_byte(&world->out, '\n');
    }
}

/* Puts two blanks before each line written since `from`. */
static void indent_since(struct world *world, size_t from)
{
    struct buf indented = {0};
    struct slice rest = slice_skip(buf_slice(&world->out), from);
    while (rest.len > 0) {
        struct slice line;
        rest = slice_split(rest, '\n', &line);
        buf_append_str(&indented, "  ");
        buf_append_slice(&indented, line);
        buf_append_byte(&indented, '\n');
    }
    world->out.len = from;
    buf_append_slice(&world->out, buf_slice(&indented));
    buf_fini(&indented);
}

static const char *err_text(enum err err)
{
    switch ((int)err) {
    case ERR_AGAIN:
        return "raft proposal dropped";
    case ERR_NOT_FOUND:
        return "raft: cannot step as peer not found";
    case ERR_INVALID:
        return "raft: message refused";
    default:
        return err_name(err);
    }
}

/* --- readys ------------------------------------------------------------------------------------
 */

static struct member *member_of(struct world *world, raft_id id)
{
    ASSERT(id >= 1);
    ASSERT(id <= world->member_count);
    return &world->members[id - 1];
}

/* The state machine is the row of everything that was applied. */
static void apply(struct member *member, const struct raft_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct raft_conf_state conf_state = member->state->conf_state;
        struct slice update = raft_payload_slice(entries[i].payload);
        if (entries[i].type != RAFT_ENTRY_NORMAL) {
            struct raft_conf_change change;
            enum err err = raft_conf_change_decode(entries[i].type, update, &change);
            ASSERT(err == ERR_OK);
            err = raft_apply_conf_change(member->raft, &change, &conf_state);
            ASSERT(err == ERR_OK);
            update = change.context;
        }
        struct buf data = {0};
        buf_append_slice(&data, raft_payload_slice(member->state->data));
        buf_append_slice(&data, update);
        struct raft_payload *payload = raft_payload_copy(buf_slice(&data));
        raft_snapshot_unref(&member->state);
        member->state = raft_snapshot_new(entries[i].index, entries[i].term, &conf_state, payload);
        enum err err = raft_create_snapshot(member->raft, entries[i].index, &conf_state, payload);
        ASSERT(err == ERR_OK);
        raft_payload_unref(&payload);
        buf_fini(&data);
    }
}

static void persist(struct member *member, const struct raft_hard_state *hard_state,
                    struct raft_snapshot *snapshot, const struct raft_entry *entries, size_t count)
{
    if (hard_state != NULL) {
        member->disk.hard_state = *hard_state;
    }
    if (snapshot != NULL) {
        disk_install(&member->disk, snapshot);
        struct raft_snapshot *old = member->state;
        member->state = raft_snapshot_ref(snapshot);
        raft_snapshot_unref(&old);
    }
    disk_append(&member->disk, entries, count);
}

/* The write as upstream's append thread would be asked for it. */
static struct work *append_work_of(struct work_list *list, raft_id id, const struct raft_ready *rd)
{
    struct raft_message request = {
        .type = RAFT_MSG_STORAGE_APPEND,
        .to = APPEND_THREAD,
        .from = id,
        .entries = rd->entries,
        .entry_count = rd->entry_count,
        .snapshot = rd->snapshot,
    };
    if (rd->has_hard_state) {
        request.term = rd->hard_state.term;
        request.vote = rd->hard_state.vote;
        request.commit = rd->hard_state.commit;
    }
    struct work *work = work_add(list, msg_dup(&request));
    for (size_t i = 0; i < rd->after_count; i++) {
        msg_list_add(&work->responses, msg_dup(&rd->after[i]));
    }
    if (rd->persist.index != 0 || rd->persist.snapshot_index != 0) {
        struct raft_message response = {
            .type = RAFT_MSG_STORAGE_APPEND_RESP,
            .to = id,
            .from = APPEND_THREAD,
            .term = rd->persist.term,
            .index = rd->persist.index,
            .log_term = rd->persist.log_term,
            .snapshot = rd->snapshot,
        };
        msg_list_add(&work->responses, msg_dup(&response));
    }
    return work;
}

static struct work *apply_work_of(struct work_list *list, raft_id id, const struct raft_ready *rd)
{
    struct raft_message request = {
        .type = RAFT_MSG_STORAGE_APPLY,
        .to = APPLY_THREAD,
        .from = id,
        .entries = rd->committed,
        .entry_count = rd->committed_count,
    };
    struct raft_message response = request;
    response.type = RAFT_MSG_STORAGE_APPLY_RESP;
    response.to = id;
    response.from = APPLY_THREAD;
    struct work *work = work_add(list, msg_dup(&request));
    msg_list_add(&work->responses, msg_dup(&response));
    return work;
}

static void text_ready_state(struct buf *out, const struct raft_ready *rd)
{
    if (rd->has_soft_state) {
        buf_printf(out, "Lead:%" PU " State:%s\n", rd->soft_state.lead,
                   raft_state_name(rd->soft_state.state));
    }
    if (rd->has_hard_state) {
        buf_append_str(out, "HardState ");
        text_hard_state(out, &rd->hard_state);
        buf_append_byte(out, '\n');
    }
    for (size_t i = 0; i < rd->read_count; i++) {
        buf_printf(out, "ReadState Index:%" PU " \"%.*s\"\n", rd->reads[i].index,
                   (int)rd->reads[i].context.len, (const char *)rd->reads[i].context.data);
    }
    if (rd->entry_count > 0) {
        buf_append_str(out, "Entries:\n");
        text_entries(out, rd->entries, rd->entry_count);
    }
    if (rd->snapshot != NULL) {
        buf_append_str(out, "Snapshot ");
        text_snapshot(out, rd->snapshot);
        buf_append_byte(out, '\n');
    }
    if (rd->committed_count > 0) {
        buf_append_str(out, "CommittedEntries:\n");
        text_entries(out, rd->committed, rd->committed_count);
    }
}

/* `sent` are the messages of a synchronous ready, or those to others; works are printed with
 * what they will answer. */
static void text_ready(struct buf *out, const struct raft_ready *rd, const struct msg_list *sent,
                       const struct work *append, const struct work *applying)
{
    struct buf body = {0};
    text_ready_state(&body, rd);
    if (sent->count > 0 || append != NULL || applying != NULL) {
        buf_append_str(&body, "Messages:\n");
    }
    for (size_t i = 0; i < sent->count; i++) {
        text_message(&body, "", &sent->items[i], NULL);
        buf_append_byte(&body, '\n');
    }
    const struct work *works[] = {append, applying};
    for (size_t i = 0; i < ARRAY_LEN(works); i++) {
        if (works[i] != NULL) {
            text_message(&body, "", &works[i]->request, &works[i]->responses);
            buf_append_byte(&body, '\n');
        }
    }
    if (body.len == 0) {
        buf_append_str(out, "<empty Ready>");
    } else {
        buf_printf(out, "Ready MustSync=%s:\n", rd->must_sync ? "true" : "false");
        buf_append_slice(out, buf_slice(&body));
    }
    buf_fini(&body);
}

static void collect(struct msg_list *list, const struct raft_message *messages, size_t count,
                    raft_id but)
{
    for (size_t i = 0; i < count; i++) {
        if (messages[i].to != but) {
            msg_list_add(list, msg_dup(&messages[i]));
        }
    }
}

static void process_ready(struct world *world, struct member *member)
{
    raft_id id = member->config.id;
    struct raft_ready rd = {0};
    struct msg_list sent = {0};
    struct work *append = NULL;
    struct work *applying = NULL;
    raft_ready(member->raft, &rd);
    collect(&sent, rd.messages, rd.message_count, RAFT_NONE);
    if (member->config.sync_storage) {
        collect(&sent, rd.after, rd.after_count, id);
    } else {
        if (raft_ready_needs_persist(&rd)) {
            append = append_work_of(&member->append_work, id, &rd);
        }
        if (rd.committed_count > 0) {
            applying = apply_work_of(&member->apply_work, id, &rd);
        }
    }
    if (world->level != LEVEL_NONE) {
        text_ready(&world->out, &rd, &sent, append, applying);
    }
    if (member->config.sync_storage) {
        persist(member, rd.has_hard_state ? &rd.hard_state : NULL, rd.snapshot, rd.entries,
                rd.entry_count);
        apply(member, rd.committed, rd.committed_count);
    }
    for (size_t i = 0; i < sent.count; i++) {
        msg_list_add(&world->messages, sent.items[i]);
    }
    mem_free(sent.items);
    if (member->config.sync_storage) {
        raft_persisted(member->raft, &rd);
        if (rd.committed_count > 0) {
            raft_applied(member->raft, rd.committed[rd.committed_count - 1].index);
        }
    }
    raft_check(member->raft);
    raft_ready_fini(&rd);
}

static void finish_work(struct world *world, struct work *work)
{
    say(world, "Responses:\n");
    for (size_t i = 0; i < work->responses.count; i++) {
        say_message(world, &work->responses.items[i]);
        msg_list_add(&world->messages, msg_dup(&work->responses.items[i]));
    }
    work_free(work);
}

static void process_append(struct world *world, struct member *member)
{
    if (member->append_work.count == 0) {
        say(world, "no append work to perform");
        return;
    }
    struct work work = work_take(&member->append_work);
    const struct raft_message *m = &work.request;
    say(world, "Processing:\n");
    say_message(world, m);
    struct raft_hard_state hard = {.term = m->term, .vote = m->vote, .commit = m->commit};
    persist(member, m->term == 0 ? NULL : &hard, m->snapshot, m->entries, m->entry_count);
    finish_work(world, &work);
}

static void process_apply(struct world *world, struct member *member)
{
    if (member->apply_work.count == 0) {
        say(world, "no apply work to perform");
        return;
    }
    struct work work = work_take(&member->apply_work);
    say(world, "Processing:\n");
    say_message(world, &work.request);
    apply(member, work.request.entries, work.request.entry_count);
    finish_work(world, &work);
}

/* --- delivery ----------------------------------------------------------------------------------
 */

static bool is_local(const struct raft_message *m)
{
    return m->from == m->to || m->from >= APPLY_THREAD || m->to >= APPLY_THREAD;
}

static enum err step(struct member *member, const struct raft_message *m)
{
    if (m->type == RAFT_MSG_STORAGE_APPEND_RESP) {
        struct raft_persist persisted = {
            .term = m->term,
            .index = m->index,
            .log_term = m->log_term,
            .snapshot_index = m->snapshot == NULL ? 0 : m->snapshot->index,
        };
        raft__persist_done(member->raft, &persisted);
        return ERR_OK;
    }
    if (m->type == RAFT_MSG_STORAGE_APPLY_RESP) {
        raft_applied(member->raft, m->entries[m->entry_count - 1].index);
        return ERR_OK;
    }
    return m->from == m->to ? raft__step(member->raft, m) : raft_step(member->raft, m);
}

static bool is_wanted(const struct raft_message *m, raft_id to, int type, bool is_drop)
{
    return m->to == to && !(is_drop && is_local(m)) && (type < 0 || (int)m->type == type);
}

static size_t deliver(struct world *world, raft_id to, int type, bool is_drop)
{
    struct msg_list wanted = {0};
    size_t kept = 0;
    for (size_t i = 0; i < world->messages.count; i++) {
        struct raft_message *m = &world->messages.items[i];
        if (is_wanted(m, to, type, is_drop)) {
            msg_list_add(&wanted, *m);
        } else {
            world->messages.items[kept++] = *m;
        }
    }
    world->messages.count = kept;
    for (size_t i = 0; i < wanted.count; i++) {
        if (is_drop) {
            say(world, "dropped: ");
        }
        say_message(world, &wanted.items[i]);
        if (!is_drop) {
            enum err err = step(member_of(world, to), &wanted.items[i]);
            if (err != ERR_OK) {
                say(world, "%s\n", err_text(err));
            }
            raft_check(member_of(world, to)->raft);
        }
    }
    size_t count = wanted.count;
    msg_list_fini(&wanted);
    return count;
}

static bool has_message_for(const struct world *world, raft_id to)
{
    for (size_t i = 0; i < world->messages.count; i++) {
        if (world->messages.items[i].to == to) {
            return true;
        }
    }
    return false;
}

typedef void process_fn(struct world *world, struct member *member);

static void process_all(struct world *world, struct member *member, const char *what,
                        process_fn *process, struct work_list *works)
{
    say(world, "> %" PU " processing %s thread\n", member->config.id, what);
    while (works->count > 0) {
        size_t from = world->out.len;
        process(world, member);
        indent_since(world, from);
    }
}

static bool stabilize_once(struct world *world, struct member *const *members, size_t count)
{
    bool is_done = true;
    for (size_t i = 0; i < count; i++) {
        if (raft_has_ready(members[i]->raft)) {
            say(world, "> %" PU " handling Ready\n", members[i]->config.id);
            size_t from = world->out.len;
            process_ready(world, members[i]);
            indent_since(world, from);
            is_done = false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (has_message_for(world, members[i]->config.id)) {
            say(world, "> %" PU " receiving messages\n", members[i]->config.id);
            size_t from = world->out.len;
            deliver(world, members[i]->config.id, -1, false);
            indent_since(world, from);
            is_done = false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (members[i]->append_work.count > 0) {
            process_all(world, members[i], "append", process_append, &members[i]->append_work);
            is_done = false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (members[i]->apply_work.count > 0) {
            process_all(world, members[i], "apply", process_apply, &members[i]->apply_work);
            is_done = false;
        }
    }
    return is_done;
}

/* --- commands ----------------------------------------------------------------------------------
 */

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
