/* Fuzz: random transactions, watchers, compactions and readers that stop, against a sorted log of
 * events.
 *
 * The first byte says how small a slice is, so that windows of history are cut everywhere, and how
 * few changes are too much for a turn; then come operations of three bytes. Whatever a watcher is
 * told is looked up in the log: the next events of its keys behind what it was told before, each
 * once, whole revisions only, with the right values, versions and previous values. A progress note
 * must not skip an event of the log. A watcher may be canceled only when compaction has passed it.
 * In the end everybody reads, and nothing may be left to tell. */
#include "base/mem.h"
#include "state/watch_priv.h"
#include "state/watch_world.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define KEYS 12
#define LOG_MAX 4000
#define WATCHERS_MAX 40
#define STREAMS 3
#define CHECK_STRIDE 8 /* steps between two looks at everything, which cost more than a step */
#define LARGE ((size_t)REFER_MIN + 100)

struct cell {
    bool is_live;
    int64_t create;
    int64_t mod;
    int64_t version;
    unsigned value;
};

struct entry {
    struct revision rev;
    unsigned key;
    bool is_delete;
    struct cell now;
    struct cell before; /* as of the revision before */
};

struct seen { /* a watcher, as the model knows it */
    bool is_used;
    unsigned stream;
    watch_id id;
    char from[8];
    char end[8];
    struct key_range range;
    unsigned flags;
    int64_t next; /* nothing below it is owed */
};

struct stream_model {
    struct model *model;
    unsigned number;
    bool is_full;
    bool asked;
    struct watch_stream *stream;
};

struct model {
    struct watch_world world;
    struct stream_model streams[STREAMS];
    struct seen seen[WATCHERS_MAX];
    struct cell cells[KEYS];
    struct entry log[LOG_MAX];
    size_t log_count;
    int64_t revision;
    int64_t compact;
    unsigned value_next;
};

static struct slice key_of(unsigned key, char text[8])
{
    snprintf(text, 8, "%c%u", 'a' + (int)(key % 3), key % KEYS / 3);
    return slice_str(text);
}

/* Some values are so large that bodies refer to them. */
static struct slice value_of(unsigned value, struct buf *buf)
{
    buf_reset(buf);
    buf_printf(buf, "%u", value);
    if (value % 17 == 0) {
        memset(buf_extend(buf, LARGE), (int)('a' + value % 26), LARGE);
    }
    return buf_slice(buf);
}

/* ---- what sinks are told --------------------------------------------------------------------- */

static struct seen *seen_find(struct model *m, unsigned stream, watch_id id)
{
    for (size_t i = 0; i < WATCHERS_MAX; i++) {
        if (m->seen[i].is_used && m->seen[i].stream == stream && m->seen[i].id == id) {
            return &m->seen[i];
        }
    }
    UNREACHABLE();
}

static bool is_wanted(const struct seen *seen, const struct entry *entry)
{
    char text[8];
    return entry->rev.main >= seen->next && key_range_has(&seen->range, key_of(entry->key, text)) &&
           (seen->flags & (entry->is_delete ? WATCH_NO_DELETE : WATCH_NO_PUT)) == 0;
}

static const struct entry *next_wanted(const struct model *m, const struct seen *seen, size_t *at)
{
    for (; *at < m->log_count; (*at)++) {
        if (is_wanted(seen, &m->log[*at])) {
            return &m->log[*at];
        }
    }
    return NULL;
}

static void check_row(const struct mvcc_row *row, const struct cell *cell, unsigned key)
{
    struct buf buf = {0};
    char text[8];
    ASSERT(slice_eq(row->key, key_of(key, text)));
    ASSERT(slice_eq(row->value, value_of(cell->value, &buf)));
    ASSERT(row->create == cell->create);
    ASSERT(row->mod == cell->mod);
    ASSERT(row->version == cell->version);
    buf_fini(&buf);
}

/* Compaction at a revision keeps of each key only the newest row, as etcd's does (their hashes are
 * compared): what a transaction itself has replaced may be gone at exactly that revision. */
static bool may_be_gone(const struct model *m, const struct entry *entry)
{
    if (entry->rev.main != m->compact) {
        return false;
    }
    for (const struct entry *later = entry + 1; later < m->log + m->log_count; later++) {
        if (later->rev.main == entry->rev.main && later->key == entry->key) {
            return true;
        }
    }
    return false;
}

static bool is_same(const struct watch_event *event, const struct entry *entry)
{
    char text[8];
    return event->is_delete == entry->is_delete && event->kv.mod == entry->rev.main &&
           slice_eq(event->kv.key, key_of(entry->key, text));
}

static void check_event(const struct model *m, const struct seen *seen,
                        const struct watch_event *event, const struct entry *entry)
{
    char text[8];
    ASSERT(event->is_delete == entry->is_delete);
    if (event->is_delete) {
        ASSERT(slice_eq(event->kv.key, key_of(entry->key, text)));
        ASSERT(event->kv.mod == entry->rev.main);
        ASSERT(event->kv.value.len == 0);
        ASSERT(event->kv.create == 0);
    } else {
        check_row(&event->kv, &entry->now, entry->key);
    }
    bool is_create = !entry->is_delete && entry->now.create == entry->now.mod;
    bool may_have = (seen->flags & WATCH_PREV_KV) != 0 && entry->before.is_live && !is_create;
    ASSERT(!event->has_prev || may_have);
    ASSERT(event->has_prev || !may_have || entry->rev.main - 1 < m->compact);
    if (event->has_prev) {
        check_row(&event->prev, &entry->before, entry->key);
    }
}

static bool on_writable(void *ctx)
{
    return !((struct stream_model *)ctx)->is_full;
}

static void on_events(void *ctx, const struct watch_batch *batch)
{
    struct stream_model *stream = ctx;
    struct model *m = stream->model;
    struct seen *seen = seen_find(m, stream->number, batch->id);
    struct watch_event_iter iter = watch_event_iter_init(batch->body);
    struct watch_event event;
    size_t at = 0;
    int64_t last = 0;
    ASSERT(!stream->is_full);
    while (watch_event_next(&iter, &event)) {
        const struct entry *entry = next_wanted(m, seen, &at);
        while (entry != NULL && !is_same(&event, entry) && may_be_gone(m, entry)) {
            at++;
            entry = next_wanted(m, seen, &at);
        }
        ASSERT(entry != NULL);
        check_event(m, seen, &event, entry);
        last = entry->rev.main;
        at++;
    }
    watch_event_iter_fini(&iter);
    ASSERT(last > 0);
    ASSERT(batch->revision >= last);
    const struct entry *rest = next_wanted(m, seen, &at);
    ASSERT(rest == NULL || rest->rev.main > last || may_be_gone(m, rest));
    seen->next = last + 1;
}

static void on_canceled(void *ctx, watch_id id, int64_t compact_revision, const char *reason)
{
    struct stream_model *stream = ctx;
    struct seen *seen = seen_find(stream->model, stream->number, id);
    ASSERT(reason == NULL);
    ASSERT(compact_revision == stream->model->compact);
    ASSERT(seen->next < compact_revision);
    seen->is_used = false;
}

static void check_progress(struct model *m, struct seen *seen, int64_t revision)
{
    size_t at = 0;
    const struct entry *entry = next_wanted(m, seen, &at);
    ASSERT(entry == NULL || entry->rev.main > revision);
    ASSERT(seen->next <= revision + 1);
    seen->next = revision + 1;
}

static void on_progress(void *ctx, watch_id id, int64_t revision)
{
    struct stream_model *stream = ctx;
    struct model *m = stream->model;
    ASSERT(!stream->is_full);
    ASSERT(revision == m->revision);
    if (id != WATCH_ID_NONE) {
        struct seen *seen = seen_find(m, stream->number, id);
        ASSERT((seen->flags & WATCH_PROGRESS) != 0);
        check_progress(m, seen, revision);
        return;
    }
    ASSERT(stream->asked);
    stream->asked = false;
    for (size_t i = 0; i < WATCHERS_MAX; i++) {
        if (m->seen[i].is_used && m->seen[i].stream == stream->number) {
            check_progress(m, &m->seen[i], revision);
        }
    }
}

static const struct watch_sink fuzz_sink = {
    .writable = on_writable,
    .events = on_events,
    .canceled = on_canceled,
    .progress = on_progress,
};

/* ---- operations ------------------------------------------------------------------------------ */

static void log_add(struct model *m, const struct cell *before, unsigned key, bool is_delete,
                    uint32_t sub)
{
    struct cell *cell = &m->cells[key];
    int64_t revision = m->revision + 1;
    if (is_delete) {
        *cell = (struct cell){.is_live = false};
    } else {
        bool was_live = cell->is_live;
        *cell = (struct cell){
            .is_live = true,
            .create = was_live ? cell->create : revision,
            .mod = revision,
            .version = was_live ? cell->version + 1 : 1,
            .value = m->value_next,
        };
    }
    m->log[m->log_count++] = (struct entry){
        .rev = {.main = revision, .sub = sub},
        .key = key,
        .is_delete = is_delete,
        .now = *cell,
        .before = before[key],
    };
}

static uint32_t put(struct model *m, const struct cell *before, unsigned key, uint32_t sub)
{
    struct buf value = {0};
    char text[8];
    m->value_next++;
    mvcc_put(m->world.store, key_of(key, text), value_of(m->value_next, &value), 0);
    buf_fini(&value);
    log_add(m, before, key, false, sub);
    return sub + 1;
}

/* Keys in byte order, as the store deletes them. */
static uint32_t delete_span(struct model *m, const struct cell *before, const char *from,
                            const char *end, uint32_t sub)
{
    struct key_range range = key_range_of(slice_str(from), slice_str(end));
    for (unsigned letter = 0; letter < 3; letter++) {
        for (unsigned key = letter; key < KEYS; key += 3) {
            char text[8];
            if (m->cells[key].is_live && key_range_has(&range, key_of(key, text))) {
                log_add(m, before, key, true, sub++);
            }
        }
    }
    mvcc_delete(m->world.store, &range);
    return sub;
}

static void do_txn(struct model *m, uint8_t a, uint8_t b)
{
    struct cell before[KEYS];
    uint32_t sub = 0;
    char from[8];
    char end[8];
    if (m->log_count + 2 * KEYS + 4 > LOG_MAX) {
        return;
    }
    memcpy(before, m->cells, sizeof(before));
    watch_world_begin(&m->world);
    if (a % 4 == 0) {
        key_of(a / 4, from);
        key_of(b, end);
        sub = delete_span(m, before, from, b % 3 == 0 ? "" : end, sub);
    }
    for (unsigned i = 0; i < a % 5; i++) {
        sub = put(m, before, (b + i * 5) % KEYS, sub);
    }
    m->revision += sub > 0;
    watch_world_end(&m->world);
    ASSERT(mvcc_revision(m->world.store) == m->revision);
}

static void do_create(struct model *m, uint8_t a, uint8_t b)
{
    struct seen *seen = NULL;
    struct stream_model *stream = &m->streams[a % STREAMS];
    const char *why = NULL;
    for (size_t i = 0; i < WATCHERS_MAX && seen == NULL; i++) {
        seen = m->seen[i].is_used ? NULL : &m->seen[i];
    }
    if (seen == NULL) {
        return;
    }
    *seen = (struct seen){.stream = stream->number};
    key_of(b, seen->from);
    if (a % 4 == 1) {
        key_of(b / 3 + 1, seen->end);
    }
    static const int64_t starts[] = {0, 0, -3, -30, -1000, 2, 7, 1};
    int64_t start = starts[b % 8] == 0 ? 0 : m->revision + starts[b % 8];
    struct watch_request request = {
        .key = slice_str(seen->from),
        .range_end = a % 4 == 2 ? slice_of("", 1) : slice_str(seen->end),
        .start_revision = start < 0 ? 1 : start,
        .flags = (unsigned)(a ^ b) & (VARIANT_MASK | WATCH_PROGRESS),
    };
    if (b % 5 == 0) {
        request.id = b / 5;
    }
    if (watch_create(stream->stream, &request, &seen->id, &why) == ERR_OK) {
        seen->is_used = true;
        seen->range = key_range_of(slice_str(seen->from), request.range_end);
        seen->flags = request.flags;
        seen->next = request.start_revision == 0 ? m->revision + 1 : request.start_revision;
    }
}

static void do_cancel(struct model *m, uint8_t a)
{
    struct seen *seen = &m->seen[a % WATCHERS_MAX];
    if (seen->is_used) {
        bool was_there = watch_cancel(m->streams[seen->stream].stream, seen->id);
        ASSERT(was_there);
        seen->is_used = false;
    }
}

static void do_reopen(struct model *m, unsigned number)
{
    struct stream_model *stream = &m->streams[number];
    watch_stream_close(&stream->stream);
    *stream = (struct stream_model){.model = m, .number = number};
    stream->stream = watch_stream_open(m->world.hub, &fuzz_sink, stream);
    for (size_t i = 0; i < WATCHERS_MAX; i++) {
        if (m->seen[i].stream == number) {
            m->seen[i].is_used = false;
        }
    }
}

static void set_full(struct stream_model *stream, bool is_full)
{
    stream->is_full = is_full;
    if (!is_full) {
        watch_stream_writable(stream->stream);
    }
}

static void do_compact(struct model *m, uint8_t a, uint8_t b)
{
    int64_t revision = m->revision - a % 8;
    watch_hub_flush(m->world.hub); /* its owner does, at the end of the turn */
    if (revision > m->compact && revision > 0) {
        watch_world_compact(&m->world, revision);
        m->compact = revision;
    }
    for (unsigned i = 0; i < b % 8 && !watch_hub_is_looking(m->world.hub); i++) {
        mvcc_compact_step(m->world.store);
    }
}

static void step(struct model *m, uint8_t op, uint8_t a, uint8_t b)
{
    struct stream_model *stream = &m->streams[a % STREAMS];
    switch (op % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
        do_txn(m, a, b);
        break;
    case 4:
    case 5:
        watch_hub_flush(m->world.hub);
        break;
    case 6:
    case 7:
        watch_hub_step(m->world.hub);
        break;
    case 8:
    case 9:
        do_create(m, a, b);
        break;
    case 10:
        do_cancel(m, a);
        break;
    case 11:
        set_full(stream, b % 2 == 0);
        break;
    case 12:
        if (b % 4 == 0) {
            do_compact(m, a, b / 4);
        }
        break;
    case 13:
        stream->asked = true;
        watch_stream_ask_progress(stream->stream);
        break;
    case 14:
        watch_stream_tick(stream->stream);
        break;
    case 15:
        if (b % 16 == 0) {
            do_reopen(m, stream->number);
        } else if (b % 2 == 0) {
            manual_settle(&m->world.manual);
        } else {
            manual_run(&m->world.manual);
        }
        break;
    default:
        UNREACHABLE();
    }
}

/* Everybody reads, and then nobody is owed anything. */
static void finish(struct model *m)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        set_full(&m->streams[i], false);
    }
    while (watch_hub_step(m->world.hub)) {
        watch_hub_check(m->world.hub);
    }
    for (size_t i = 0; i < WATCHERS_MAX; i++) {
        size_t at = 0;
        ASSERT(!m->seen[i].is_used || next_wanted(m, &m->seen[i], &at) == NULL);
    }
    struct watch_stats stats;
    watch_hub_stats(m->world.hub, &stats);
    ASSERT(stats.behind == 0);
    ASSERT(stats.lag == 0);
    for (unsigned i = 0; i < STREAMS; i++) {
        watch_stream_close(&m->streams[i].stream);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 3000) {
        return 0;
    }
    struct watch_options options = {.hash_seed = data[0],
                                    .step_cost = 1u + data[0] % 40 * TOUCH_COST,
                                    .turn_changes_max = data[0] % 3 == 0 ? 1u + data[0] % 5 : 0};
    struct model *m = NEW(struct model);
    m->revision = 1;
    m->compact = -1;
    watch_world_init(&m->world, &options);
    for (unsigned i = 0; i < STREAMS; i++) {
        do_reopen(m, i);
    }
    data++;
    size--;
    for (unsigned n = 0; size >= 3; n++, data += 3, size -= 3) {
        step(m, data[0], data[1], data[2]);
        if (n % CHECK_STRIDE == 0) {
            watch_hub_check(m->world.hub);
        }
    }
    watch_hub_check(m->world.hub);
    finish(m);
    watch_world_fini(&m->world);
    mem_free(m);
    return 0;
}
