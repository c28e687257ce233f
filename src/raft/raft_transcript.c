#include "raft/raft_transcript.h"

#include <stdarg.h>
#include <stdio.h>

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

void work_list_fini(struct work_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        work_free(&list->items[i]);
    }
    mem_free(list->items);
    *list = (struct work_list){0};
}

/* --- disks -------------------------------------------------------------------------------------
 */

void disk_truncate(struct disk *disk, size_t count)
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

void disk_install(struct disk *disk, const struct raft_snapshot *snapshot)
{
    disk_truncate(disk, 0);
    disk->base = snapshot->index;
    disk->base_term = snapshot->term;
}

void disk_compact(struct disk *disk, raft_index index)
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

void say(struct world *world, const char *format, ...)
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

void trace_line(void *priv, enum raft_trace_level level, const char *line)
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
void indent_since(struct world *world, size_t from)
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

const char *err_text(enum err err)
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

struct member *member_of(struct world *world, raft_id id)
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

void process_ready(struct world *world, struct member *member)
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

void process_append(struct world *world, struct member *member)
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

void process_apply(struct world *world, struct member *member)
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

bool is_local(const struct raft_message *m)
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

size_t deliver(struct world *world, raft_id to, int type, bool is_drop)
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

bool stabilize_once(struct world *world, struct member *const *members, size_t count)
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
