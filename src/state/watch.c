/* Streams, watchers and the groups that share a range. Delivery is watch_step.c's. */
#include "state/watch_priv.h"

#include "base/digest.h"

#include <stdlib.h>

#define STREAM_WATCHERS_DEFAULT ((size_t)1000000)
#define STREAM_KEY_BYTES_DEFAULT ((size_t)64 * 1024 * 1024)
#define WATCHERS_DEFAULT ((size_t)16 * 1024 * 1024)
#define KEY_BYTES_DEFAULT ((size_t)1024 * 1024 * 1024)

/* ---- groups --------------------------------------------------------------------------------- */

static size_t group_size(bool is_exact)
{
    return is_exact ? offsetof(struct watch_group, at) + sizeof(struct linmap_node)
                    : sizeof(struct watch_group);
}

static struct slice group_key(const struct watch_group *group)
{
    return slice_of((const uint8_t *)group + group_size(group->is_exact), group->key_len);
}

struct key_range watch__group_range(const struct watch_group *group)
{
    if (group->is_exact) {
        return (struct key_range){.kind = KEY_ONE, .from = group_key(group)};
    }
    return (struct key_range){
        .kind = group->at.spans.end.len == 0 ? KEY_FROM : KEY_SPAN,
        .from = group->at.spans.from,
        .end = group->at.spans.end,
    };
}

static uint64_t key_hash(const struct watch_hub *hub, struct slice key)
{
    return hash64(hub->options.hash_seed, key);
}

static uint64_t group_hash(const void *hub, const struct linmap_node *node)
{
    return key_hash(hub, group_key(CONTAINER_OF_CONST(node, struct watch_group, at.exact)));
}

static bool has_key(const struct linmap_node *node, const void *key)
{
    const struct watch_group *group = CONTAINER_OF_CONST(node, struct watch_group, at.exact);
    return slice_eq(group_key(group), *(const struct slice *)key);
}

struct watch_group *watch__exact_group(const struct watch_hub *hub, struct slice key)
{
    struct linmap_node *node = linmap_find(&hub->exact, key_hash(hub, key), has_key, &key);
    return node == NULL ? NULL : CONTAINER_OF(node, struct watch_group, at.exact);
}

static struct watch_group *group_find(const struct watch_hub *hub, const struct key_range *range)
{
    if (range->kind == KEY_ONE) {
        return watch__exact_group(hub, range->from);
    }
    struct slice end = range->kind == KEY_FROM ? SLICE_EMPTY : range->end;
    struct itree_node *node = itree_find(&hub->spans, range->from, end);
    return node == NULL ? NULL : CONTAINER_OF(node, struct watch_group, at.spans);
}

static struct watch_group *group_new(struct watch_hub *hub, const struct key_range *range)
{
    struct slice key = range->from;
    struct slice end = range->kind == KEY_SPAN ? range->end : SLICE_EMPTY;
    size_t size = group_size(range->kind == KEY_ONE);
    struct watch_group *group = slab_alloc(&hub->slabs, size + key.len + end.len);
    uint8_t *bytes = (uint8_t *)group + size;
    memset(group, 0, size);
    group->is_exact = range->kind == KEY_ONE;
    group->key_len = (uint32_t)key.len & INT32_MAX; /* stream_key_bytes_max bounds it */
    list_init(&group->synced);
    memcpy(bytes, key.data, key.len);
    if (end.len > 0) {
        memcpy(bytes + key.len, end.data, end.len);
    }
    if (group->is_exact) {
        linmap_insert(&hub->exact, &group->at.exact);
    } else {
        group->at.spans.from = group_key(group);
        group->at.spans.end = slice_of(bytes + key.len, end.len);
        itree_insert(&hub->spans, &group->at.spans);
    }
    return group;
}

static size_t key_bytes(const struct key_range *range)
{
    return range->from.len + (range->kind == KEY_SPAN ? range->end.len : 0);
}

void watch__group_unref(struct watch_hub *hub, struct watch_group *group)
{
    ASSERT(group->refs > 0);
    if (--group->refs > 0) {
        return;
    }
    ASSERT(list_empty(&group->synced));
    struct key_range range = watch__group_range(group);
    size_t size = group_size(group->is_exact) + key_bytes(&range);
    if (group->is_exact) {
        linmap_remove(&hub->exact, &group->at.exact);
    } else {
        itree_remove(&hub->spans, &group->at.spans);
    }
    slab_free(&hub->slabs, group, size);
}

/* ---- watchers ------------------------------------------------------------------------------- */

void watch__wake(struct watch_hub *hub)
{
    if (hub->options.wake != NULL) {
        hub->options.wake(hub->options.ctx);
    }
}

static struct list *list_of(struct watcher *watcher, enum watch_state state)
{
    struct watch_hub *hub = watcher->stream->hub;
    switch (state) {
    case WATCHER_SYNCED:
        return &watcher->group->synced;
    case WATCHER_BEHIND:
        return &hub->behind;
    case WATCHER_BLOCKED:
        return &watcher->stream->blocked;
    case WATCHER_IN_WINDOW:
        return &hub->members;
    }
    UNREACHABLE();
}

static void count_state(struct watcher *watcher, enum watch_state state, int by)
{
    struct watch_hub *hub = watcher->stream->hub;
    if (state != WATCHER_SYNCED) {
        watcher->stream->behind += (uint32_t)by;
        hub->behind_count += (size_t)by;
    }
    if (state == WATCHER_IN_WINDOW) {
        hub->member_count += (size_t)by;
    }
}

void watch__set_state(struct watcher *watcher, enum watch_state state)
{
    if (state == WATCHER_SYNCED && watcher->state == state && !list_empty(&watcher->link)) {
        return; /* it is where it belongs */
    }
    count_state(watcher, (enum watch_state)watcher->state, -1);
    watcher->state = (uint8_t)state;
    count_state(watcher, state, 1);
    list_del(&watcher->link);
    list_add_tail(list_of(watcher, state), &watcher->link);
    if (state == WATCHER_BEHIND) {
        watch__wake(watcher->stream->hub);
    }
}

static size_t watcher_size(bool has_extra)
{
    return sizeof(struct watcher) + (has_extra ? sizeof(struct watcher_extra) : 0);
}

void watch__free_watcher(struct watcher *watcher)
{
    struct watch_stream *stream = watcher->stream;
    struct watch_hub *hub = stream->hub;
    struct key_range range = watch__group_range(watcher->group);
    count_state(watcher, (enum watch_state)watcher->state, -1);
    list_del(&watcher->link);
    linmap_remove(&stream->ids, &watcher->by_id);
    bool has_extra = (watcher->flags & WATCHER_HAS_EXTRA) != 0;
    if (has_extra) {
        if (heap_has(&watcher->extra[0].future)) {
            heap_remove(&hub->future, &watcher->extra[0].future);
            stream->future--;
        }
        list_del(&watcher->extra[0].progress);
    }
    if ((watcher->flags & WATCH_PROGRESS) != 0) {
        stream->progress_count--;
    }
    stream->key_bytes -= key_bytes(&range);
    hub->key_bytes -= key_bytes(&range);
    hub->watcher_count--;
    watch__group_unref(hub, watcher->group);
    slab_free(&hub->slabs, watcher, watcher_size(has_extra));
}

static uint64_t id_hash(const struct watch_stream *stream, watch_id id)
{
    return hash64(stream->hub->options.hash_seed, slice_of(&id, sizeof(id)));
}

static uint64_t watcher_hash(const void *stream, const struct linmap_node *node)
{
    return id_hash(stream, CONTAINER_OF_CONST(node, struct watcher, by_id)->id);
}

static bool has_id(const struct linmap_node *node, const void *id)
{
    return CONTAINER_OF_CONST(node, struct watcher, by_id)->id == *(const watch_id *)id;
}

static struct watcher *watcher_find(const struct watch_stream *stream, watch_id id)
{
    struct linmap_node *node = linmap_find(&stream->ids, id_hash(stream, id), has_id, &id);
    return node == NULL ? NULL : CONTAINER_OF(node, struct watcher, by_id);
}

/* Compatibility: the next number that the client has not taken for itself. */
static watch_id id_choose(struct watch_stream *stream)
{
    while (watcher_find(stream, stream->next_id) != NULL) {
        stream->next_id++;
    }
    return stream->next_id++;
}

/* Compatibility: what etcd's stream makes of the two keys of a request. */
static struct key_range range_of(const struct watch_request *request)
{
    struct slice key = request->key.len == 0 ? slice_of("", 1) : request->key;
    return key_range_of(key, request->range_end);
}

static FALLIBLE check_request(struct watch_stream *stream, const struct watch_request *request,
                              const struct key_range *range, const char **why_out)
{
    const struct watch_options *options = &stream->hub->options;
    if (options->refuses != NULL) {
        const char *why = options->refuses(options->ctx, stream->ctx, range);
        if (why != NULL) {
            *why_out = why;
            return ERR_PERM;
        }
    }
    if (range->kind == KEY_SPAN && slice_cmp(range->from, range->end) >= 0) {
        return ERR_INVALID;
    }
    if (request->id != 0 && watcher_find(stream, request->id) != NULL) {
        return ERR_EXISTS;
    }
    if (request->start_revision < 0) {
        return ERR_COMPACTED;
    }
    if (stream->ids.count >= options->stream_watchers_max ||
        stream->hub->watcher_count >= options->watchers_max ||
        key_bytes(range) > options->stream_key_bytes_max - stream->key_bytes ||
        key_bytes(range) > options->key_bytes_max - stream->hub->key_bytes) {
        return ERR_TOO_LARGE;
    }
    return ERR_OK;
}

static struct watcher *watcher_new(struct watch_stream *stream, struct watch_group *group,
                                   const struct watch_request *request, int64_t next)
{
    struct watch_hub *hub = stream->hub;
    bool is_future = next > hub->revision + 1;
    bool has_extra = is_future || (request->flags & WATCH_PROGRESS) != 0;
    struct watcher *watcher = slab_alloc(&hub->slabs, watcher_size(has_extra));
    *watcher = (struct watcher){
        .stream = stream,
        .group = group,
        .id = request->id == 0 ? id_choose(stream) : request->id,
        .next = next,
        .flags = (uint16_t)(request->flags | (has_extra ? WATCHER_HAS_EXTRA : 0)),
        .state = WATCHER_SYNCED,
    };
    list_init(&watcher->link);
    group->refs++;
    if (has_extra) {
        watcher->extra[0] = (struct watcher_extra){.future = {0}};
        list_init(&watcher->extra[0].progress);
    }
    if ((request->flags & WATCH_PROGRESS) != 0) {
        list_add_tail(&stream->progress, &watcher->extra[0].progress);
        stream->progress_count++;
    }
    if (is_future) {
        heap_push(&hub->future, &watcher->extra[0].future);
        stream->future++;
    }
    linmap_insert(&stream->ids, &watcher->by_id);
    hub->watcher_count++;
    return watcher;
}

FALLIBLE watch_create(struct watch_stream *stream, const struct watch_request *request,
                      watch_id *id_out, const char **why_out)
{
    struct watch_hub *hub = stream->hub;
    struct key_range range = range_of(request);
    ASSERT(!stream->is_closed);
    TRY(check_request(stream, request, &range, why_out));
    struct watch_group *group = group_find(hub, &range);
    if (group == NULL) {
        group = group_new(hub, &range);
    }
    int64_t next = request->start_revision == 0 ? hub->revision + 1 : request->start_revision;
    struct watcher *watcher = watcher_new(stream, group, request, next);
    stream->key_bytes += key_bytes(&range);
    hub->key_bytes += key_bytes(&range);
    watch__set_state(watcher, next > hub->revision ? WATCHER_SYNCED : WATCHER_BEHIND);
    *id_out = watcher->id;
    return ERR_OK;
}

bool watch_cancel(struct watch_stream *stream, watch_id id)
{
    struct watcher *watcher = watcher_find(stream, id);
    if (watcher == NULL) {
        return false;
    }
    watch__free_watcher(watcher);
    watch__settled(stream);
    return true;
}

/* ---- streams -------------------------------------------------------------------------------- */

struct watch_stream *watch_stream_open(struct watch_hub *hub, const struct watch_sink *sink,
                                       void *ctx)
{
    struct watch_stream *stream = NEW(struct watch_stream);
    stream->hub = hub;
    stream->sink = sink;
    stream->ctx = ctx;
    linmap_init(&stream->ids, watcher_hash, stream);
    stream->walk = SIZE_MAX;
    list_init(&stream->blocked);
    list_init(&stream->progress);
    list_init(&stream->ticking);
    list_init(&stream->tick_link);
    list_init(&stream->answer_link);
    list_add_tail(&hub->streams, &stream->link);
    hub->stream_count++;
    return stream;
}

void watch_stream_close(struct watch_stream **out)
{
    struct watch_stream *stream = *out;
    if (stream == NULL) {
        return;
    }
    struct watch_hub *hub = stream->hub;
    ASSERT(!stream->is_closed);
    stream->is_closed = true;
    list_del(&stream->link);
    list_del(&stream->tick_link);
    list_del(&stream->answer_link);
    list_add_tail(&hub->closing, &stream->link);
    hub->stream_count--;
    watch__wake(hub);
    *out = NULL;
}

void watch_stream_writable(struct watch_stream *stream)
{
    LIST_FOR_EACH (&stream->blocked, link) {
        watch__set_state(CONTAINER_OF(link, struct watcher, link), WATCHER_BEHIND);
    }
    watch__settled(stream);
}

size_t watch_stream_watchers(const struct watch_stream *stream)
{
    return stream->ids.count;
}

size_t watch_stream_progress_watchers(const struct watch_stream *stream)
{
    return stream->progress_count;
}

/* ---- the hub -------------------------------------------------------------------------------- */

static bool starts_before(const struct heap_node *a, const struct heap_node *b)
{
    const struct watcher_extra *x = CONTAINER_OF_CONST(a, struct watcher_extra, future);
    const struct watcher_extra *y = CONTAINER_OF_CONST(b, struct watcher_extra, future);
    return CONTAINER_OF_CONST(x, struct watcher, extra)->next <
           CONTAINER_OF_CONST(y, struct watcher, extra)->next;
}

static void set_default(size_t *limit, size_t value)
{
    if (*limit == 0) {
        *limit = value;
    }
}

struct watch_hub *watch_hub_new(const struct watch_options *options)
{
    struct watch_hub *hub = NEW(struct watch_hub);
    hub->options = *options;
    set_default(&hub->options.stream_watchers_max, STREAM_WATCHERS_DEFAULT);
    set_default(&hub->options.stream_key_bytes_max, STREAM_KEY_BYTES_DEFAULT);
    set_default(&hub->options.watchers_max, WATCHERS_DEFAULT);
    set_default(&hub->options.key_bytes_max, KEY_BYTES_DEFAULT);
    if (hub->options.step_cost == 0) {
        hub->options.step_cost = STEP_COST;
    }
    set_default(&hub->options.turn_changes_max, TURN_CHANGES_MAX);
    ASSERT(hub->options.stream_key_bytes_max <= INT32_MAX);
    hub->store = options->store;
    hub->revision = mvcc_revision(hub->store);
    hub->flushed = hub->revision;
    slab_init(&hub->slabs);
    linmap_init(&hub->exact, group_hash, hub);
    itree_init(&hub->spans);
    list_init(&hub->streams);
    list_init(&hub->closing);
    list_init(&hub->ticking);
    list_init(&hub->answers);
    list_init(&hub->behind);
    list_init(&hub->members);
    heap_init(&hub->future, starts_before);
    chunk_pool_init(&hub->pool);
    watch__window_begin(hub, &hub->turn, WINDOW_TURN, hub->revision + 1);
    return hub;
}

void watch_hub_free(struct watch_hub **out)
{
    struct watch_hub *hub = *out;
    if (hub == NULL) {
        return;
    }
    ASSERT(hub->stream_count == 0);
    ASSERT(!hub->is_flushing);
    hub->options.wake = NULL;
    while (!list_empty(&hub->closing) || hub->is_open) {
        watch_hub_step(hub);
    }
    watch_hub_flush(hub);
    ASSERT(hub->watcher_count == 0);
    watch__cache_drop(hub, WINDOW_TURN);
    watch__cache_drop(hub, WINDOW_HISTORY);
    watch__window_end(hub, &hub->turn);
    watch__window_fini(&hub->turn);
    watch__window_fini(&hub->history);
    chunk_pool_fini(&hub->pool);
    heap_fini(&hub->future);
    linmap_fini(&hub->exact);
    slab_fini(&hub->slabs);
    mem_free(hub);
    *out = NULL;
}

/* In the order of streams and ids: what a map's order is should not be seen. */
struct restored {
    const struct watch_hub *hub;
    struct watcher **watchers;
    size_t count;
};

static void note_synced(void *ctx, struct linmap_node *node)
{
    struct restored *restored = ctx;
    struct watcher *watcher = CONTAINER_OF(node, struct watcher, by_id);
    if (watcher->state == WATCHER_SYNCED && watcher->next <= restored->hub->revision) {
        restored->watchers[restored->count++] = watcher;
    }
}

static int by_id(const void *a, const void *b)
{
    const struct watcher *x = *(struct watcher *const *)a;
    const struct watcher *y = *(struct watcher *const *)b;
    return (x->id > y->id) - (x->id < y->id);
}

static void all_fall_behind(struct watch_hub *hub)
{
    struct restored restored = {.hub = hub};
    int64_t next = hub->flushed + 1;
    restored.watchers = mem_array(hub->watcher_count, sizeof(struct watcher *));
    LIST_FOR_EACH (&hub->streams, link) {
        size_t start = restored.count;
        linmap_each(&CONTAINER_OF(link, struct watch_stream, link)->ids, note_synced, &restored);
        qsort(restored.watchers + start, restored.count - start, sizeof(struct watcher *), by_id);
    }
    for (size_t i = 0; i < restored.count; i++) {
        struct watcher *watcher = restored.watchers[i];
        watcher->next = watcher->next > next ? watcher->next : next;
        watch__set_state(watcher, WATCHER_BEHIND);
    }
    mem_free(restored.watchers);
}

void watch_hub_restored(struct watch_hub *hub, struct mvcc *store)
{
    ASSERT(!hub->is_flushing);
    watch_hub_flush(hub);
    watch__give_up_window(hub);
    hub->is_looking = false;
    hub->store = store;
    hub->revision = mvcc_revision(store);
    if (hub->revision > hub->flushed) {
        all_fall_behind(hub);
    }
    hub->flushed = hub->revision;
    hub->turn.first = hub->revision + 1;
    watch__arrive(hub);
}

static void lowest(const struct list *list, int64_t *next)
{
    LIST_FOR_EACH (list, link) {
        const struct watcher *watcher = CONTAINER_OF(link, struct watcher, link);
        *next = watcher->next < *next ? watcher->next : *next;
    }
}

static int64_t lag(const struct watch_hub *hub)
{
    int64_t next = hub->revision + 1;
    lowest(&hub->behind, &next);
    lowest(&hub->members, &next);
    LIST_FOR_EACH (&hub->streams, link) {
        lowest(&CONTAINER_OF(link, struct watch_stream, link)->blocked, &next);
    }
    return hub->revision + 1 - next;
}

bool watch_hub_is_looking(const struct watch_hub *hub)
{
    return hub->is_looking;
}

void watch_hub_stats(const struct watch_hub *hub, struct watch_stats *out)
{
    *out = (struct watch_stats){
        .streams = hub->stream_count,
        .watchers = hub->watcher_count,
        .behind = hub->behind_count,
        .events = hub->event_count,
        .history_rows = hub->row_count,
        .bodies = hub->body_count,
        .lag = lag(hub),
    };
}

/* ---- checking ------------------------------------------------------------------------------- */

struct check {
    const struct watch_hub *hub;
    size_t watchers;
    size_t behind;
    size_t members;
    size_t futures;
};

static bool is_on(const struct list *list, const struct list *node)
{
    LIST_FOR_EACH (list, link) {
        if (link == node) {
            return true;
        }
    }
    return false;
}

static void check_watcher(void *ctx, struct linmap_node *node)
{
    struct check *check = ctx;
    struct watcher *watcher = CONTAINER_OF(node, struct watcher, by_id);
    struct key_range range = watch__group_range(watcher->group);
    bool has_extra = (watcher->flags & WATCHER_HAS_EXTRA) != 0;
    check->watchers++;
    check->behind += watcher->state != WATCHER_SYNCED;
    check->members += watcher->state == WATCHER_IN_WINDOW;
    check->futures += has_extra && heap_has(&watcher->extra[0].future);
    ASSERT(is_on(list_of(watcher, (enum watch_state)watcher->state), &watcher->link));
    ASSERT(group_find(check->hub, &range) == watcher->group);
    ASSERT(watcher->group->refs > 0);
    ASSERT(watcher->state == WATCHER_SYNCED || watcher->next <= check->hub->revision);
    ASSERT(watcher->next <= check->hub->revision + 1 || has_extra);
    ASSERT((watcher->flags & WATCH_PROGRESS) == 0 || has_extra);
}

void watch_hub_check(const struct watch_hub *hub)
{
    struct check check = {.hub = hub};
    ASSERT(!hub->is_flushing);
    itree_check(&hub->spans);
    linmap_check(&hub->exact);
    slab_check(&hub->slabs);
    heap_check(&hub->future);
    ASSERT(hub->flushed <= hub->revision);
    ASSERT(hub->turn.first == hub->flushed + 1);
    ASSERT(hub->flushed < hub->revision || hub->turn.group_count == 0);
    ASSERT(!hub->is_looking || hub->flushed < hub->revision);
    ASSERT(!hub->is_looking || hub->turn.group_count == 0);
    ASSERT(hub->is_open || hub->member_count == 0);
    LIST_FOR_EACH (&hub->streams, link) {
        const struct watch_stream *stream = CONTAINER_OF(link, struct watch_stream, link);
        linmap_check(&stream->ids);
        linmap_each(&stream->ids, check_watcher, &check);
        ASSERT(stream->behind <= stream->ids.count);
        ASSERT(stream->future <= stream->ids.count);
        ASSERT(stream->progress_count <= stream->ids.count);
    }
    bool is_closing = !list_empty(&hub->closing); /* then some of each are not found by a stream */
    ASSERT(check.watchers == hub->watcher_count || is_closing);
    ASSERT(check.behind == hub->behind_count || is_closing);
    ASSERT(check.members == hub->member_count || is_closing);
    ASSERT(check.futures == hub->future.count || is_closing);
}
