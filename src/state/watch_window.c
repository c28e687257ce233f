/* Windows: the events of some whole revisions, and which groups they hit.
 *
 * The turn's window gathers what the store reports as it applies entries. A window of history is
 * read from the store for watchers that are behind: by the index when they want one key, else row
 * after row. Either way a row is kept only when a group wants it; then it stays in a chunk, so that
 * a window may be open over several turns: a single revision can have more rows than fit into one
 * slice, and must leave whole. */
#include "state/watch_priv.h"

/* ---- life ----------------------------------------------------------------------------------- */

void watch__window_begin(struct watch_hub *hub, struct watch_window *window, unsigned slot,
                         int64_t first)
{
    ASSERT(window->event_count == 0);
    window->slot = slot;
    window->serial = ++hub->serial;
    window->first = first;
    window->last = 0;
}

void watch__window_end(struct watch_hub *hub, struct watch_window *window)
{
    enum { KEEP = 4096 };
    for (size_t i = 0; i < window->event_count; i++) {
        chunk_unref(window->events[i].chunk);
    }
    for (size_t i = 0; i < window->group_count; i++) {
        watch__group_unref(hub, window->groups[i].group);
    }
    window->event_count = 0;
    window->hit_count = 0;
    window->group_count = 0;
    window->bytes = 0;
    if (window->event_cap > KEEP || window->hit_cap > KEEP || window->group_cap > KEEP) {
        watch__window_fini(window);
    }
}

void watch__window_fini(struct watch_window *window)
{
    ASSERT(window->group_count == 0);
    mem_free(window->events);
    mem_free(window->hits);
    mem_free(window->groups);
    window->events = NULL;
    window->hits = NULL;
    window->groups = NULL;
    window->event_cap = 0;
    window->hit_cap = 0;
    window->group_cap = 0;
}

/* ---- hits ----------------------------------------------------------------------------------- */

/* A group's slot may be stale; but what stands there then is another group, for the window holds a
 * reference to each of its own. */
struct window_group *watch__window_find(const struct watch_window *window,
                                        const struct watch_group *group)
{
    uint32_t slot = group->slot[window->slot];
    bool is_there = slot < window->group_count && window->groups[slot].group == group;
    return is_there ? &window->groups[slot] : NULL;
}

struct window_group *watch__window_add(struct watch_window *window, struct watch_group *group)
{
    enum { CAP_MIN = 16 };
    ASSERT(watch__window_find(window, group) == NULL);
    if (window->group_count == window->group_cap) {
        window->group_cap = window->group_cap == 0 ? CAP_MIN : 2 * window->group_cap;
        window->groups = mem_realloc(window->groups, window->group_cap * sizeof(*window->groups));
    }
    ASSERT(window->group_count < UINT32_MAX);
    group->refs++;
    group->slot[window->slot] = (uint32_t)window->group_count;
    window->groups[window->group_count] =
        (struct window_group){.group = group, .first = NO_HIT, .last = NO_HIT};
    return &window->groups[window->group_count++];
}

static struct window_event *event_add(struct watch_window *window)
{
    enum { CAP_MIN = 16 };
    if (window->event_count == window->event_cap) {
        window->event_cap = window->event_cap == 0 ? CAP_MIN : 2 * window->event_cap;
        window->events = mem_realloc(window->events, window->event_cap * sizeof(*window->events));
    }
    return &window->events[window->event_count++];
}

/* The newest event of the window hits the group. */
static void hit_add(struct watch_window *window, struct window_group *hits)
{
    enum { CAP_MIN = 16 };
    if (window->hit_count == window->hit_cap) {
        window->hit_cap = window->hit_cap == 0 ? CAP_MIN : 2 * window->hit_cap;
        window->hits = mem_realloc(window->hits, window->hit_cap * sizeof(*window->hits));
    }
    ASSERT(window->event_count > 0);
    ASSERT(window->hit_count < NO_HIT);
    uint32_t hit = (uint32_t)window->hit_count++;
    window->hits[hit] =
        (struct window_hit){.event = (uint32_t)(window->event_count - 1), .next = NO_HIT};
    if (hits->first == NO_HIT) {
        hits->first = hit;
    } else {
        window->hits[hits->last].next = hit;
    }
    hits->last = hit;
}

typedef void group_fn(void *ctx, struct watch_group *group);
struct each_group {
    group_fn *each;
    void *ctx;
};

static void each_span(void *ctx, struct itree_node *node)
{
    const struct each_group *each = ctx;
    each->each(each->ctx, CONTAINER_OF(node, struct watch_group, at.spans));
}

/* Every group whose range has the key: one by hash, the others by interval. */
static void groups_of(const struct watch_hub *hub, struct slice key, group_fn *each, void *ctx)
{
    struct each_group spans = {.each = each, .ctx = ctx};
    if (hub->exact.count > 0) {
        struct watch_group *group = watch__exact_group(hub, key);
        if (group != NULL) {
            each(ctx, group);
        }
    }
    itree_stab(&hub->spans, key, each_span, &spans);
}

/* ---- the turn's window ---------------------------------------------------------------------- */

struct turn_match {
    struct watch_hub *hub;
    const struct mvcc_change *change;
    bool is_added;
};

static void turn_hit(void *ctx, struct watch_group *group)
{
    struct turn_match *match = ctx;
    struct watch_hub *hub = match->hub;
    const struct mvcc_change *change = match->change;
    if (list_empty(&group->synced)) {
        return;
    }
    if (!match->is_added) {
        match->is_added = true;
        *event_add(&hub->turn) = (struct window_event){
            .rev = change->rev,
            .is_delete = change->is_delete,
            .is_create = change->is_create,
            .knows_prev = true,
            .key = change->key,
            .kv = change->kv,
            .chunk = chunk_ref(change->chunk),
            .prev = change->prev,
        };
        hub->turn.bytes += change->kv.len;
    }
    struct window_group *hits = watch__window_find(&hub->turn, group);
    hit_add(&hub->turn, hits == NULL ? watch__window_add(&hub->turn, group) : hits);
}

/* Too much for one turn: from its first revision on. */
static void look_from(struct watch_hub *hub, int64_t first)
{
    watch__window_end(hub, &hub->turn);
    watch__window_begin(hub, &hub->turn, WINDOW_TURN, hub->turn.first);
    hub->is_looking = true;
    hub->look = (struct revision){.main = first};
    watch__wake(hub);
}

static bool is_too_much(const struct watch_hub *hub)
{
    return hub->turn_changes > hub->options.turn_changes_max ||
           hub->turn.hit_count > TURN_HITS_MAX || hub->turn.bytes > TURN_BYTES_MAX;
}

void watch_hub_changed(struct watch_hub *hub, int64_t revision, const struct mvcc_change *changes,
                       size_t count)
{
    ASSERT(revision == hub->revision + 1);
    ASSERT(!hub->is_flushing);
    hub->revision = revision;
    bool is_somebody_synced = hub->watcher_count > hub->behind_count;
    if (hub->is_looking) {
        return; /* it will come by here */
    }
    if (is_somebody_synced) {
        hub->turn_changes += count;
        for (size_t i = 0; i < count && !is_too_much(hub); i++) {
            struct turn_match match = {.hub = hub, .change = &changes[i]};
            groups_of(hub, changes[i].key, turn_hit, &match);
        }
        if (is_too_much(hub)) {
            look_from(hub, hub->turn.first);
            return;
        }
    }
    if (hub->turn.group_count == 0 && heap_min(&hub->future) == NULL) {
        hub->flushed = revision; /* nobody was interested */
        hub->turn.first = revision + 1;
    }
}

/* ---- looking ---------------------------------------------------------------------------------
 */

struct look {
    struct watch_hub *hub;
    struct revision rev; /* of the row at hand */
    bool is_cut;
};

static void look_hit(void *ctx, struct watch_group *group)
{
    const struct look *look = ctx;
    watch__fall_behind(group, look->rev.main);
}

static struct mvcc_row row_parse(struct revision rev, struct slice row)
{
    struct mvcc_row parsed = {.key = SLICE_EMPTY};
    if (mvcc_row_parse(row, &parsed) != ERR_OK) {
        fatal("the row of revision %lld.%u is no key-value; the database is damaged: replace this "
              "member, or restore it from a snapshot",
              (long long)rev.main, rev.sub);
    }
    return parsed;
}

static bool look_row(void *ctx, struct revision rev, bool is_delete, struct slice row)
{
    struct look *look = ctx;
    struct watch_hub *hub = look->hub;
    UNUSED(is_delete);
    if (hub->cost_left <= 0) {
        look->is_cut = true;
        return false;
    }
    hub->cost_left -= SCAN_COST;
    hub->look = (struct revision){.main = rev.main, .sub = rev.sub + 1};
    look->rev = rev;
    groups_of(hub, row_parse(rev, row).key, look_hit, look);
    return true;
}

void watch__look(struct watch_hub *hub)
{
    struct look look = {.hub = hub};
    ASSERT(hub->is_looking);
    watch__arrive(hub);
    if (hub->watcher_count > hub->behind_count) {
        mvcc_history_from(hub->store, hub->look, look_row, &look);
    }
    if (!look.is_cut) {
        hub->is_looking = false;
        watch__turn_over(hub);
    }
}

/* ---- windows of history --------------------------------------------------------------------- */

struct fill {
    struct watch_hub *hub;
    unsigned rows_left;
    unsigned rows;
    struct window_event event; /* of the row at hand */
    bool is_added;
    bool is_cut; /* the window ended before history did */
};

/* Keeps the row that a group turned out to want. */
static void keep(struct fill *fill, struct slice row)
{
    struct watch_hub *hub = fill->hub;
    struct window_event *event = &fill->event;
    size_t mod_len = event->is_delete ? pbwire_uint_size(3, (uint64_t)event->rev.main) : 0;
    size_t key_len = event->key.len;
    size_t key_at = (size_t)(event->key.data - row.data);
    uint8_t *bytes = chunk_alloc(&hub->pool, row.len + mod_len, &event->chunk);
    memcpy(bytes, row.data, row.len);
    if (event->is_delete) { /* KeyValue{key, mod_revision = 3}, as its event has it */
        pbwire_put_uint(bytes + row.len, 3, (uint64_t)event->rev.main);
    }
    event->kv = slice_of(bytes, row.len + mod_len);
    event->key = slice_of(bytes + key_at, key_len);
    hub->history.bytes += event->kv.len;
    *event_add(&hub->history) = *event;
}

struct history_match {
    struct fill *fill;
    struct slice row;
};

/* Whether a watcher that the window serves is in this group is known by the mark that opening the
 * window has set. */
static void history_hit(void *ctx, struct watch_group *group)
{
    struct history_match *match = ctx;
    struct watch_window *window = &match->fill->hub->history;
    struct window_group *hits = watch__window_find(window, group);
    if (hits == NULL) {
        return;
    }
    if (!match->fill->is_added) {
        match->fill->is_added = true;
        keep(match->fill, match->row);
    }
    hit_add(window, hits);
}

/* Is the window full, and the row at hand the first of another revision? */
static bool is_boundary(const struct fill *fill, struct revision rev)
{
    const struct watch_hub *hub = fill->hub;
    bool is_full =
        fill->rows_left == 0 || fill->rows >= WINDOW_ROWS || hub->history.bytes >= WINDOW_BYTES;
    return is_full && rev.main != hub->resume.main && rev.main > hub->history.first;
}

/* `only_key` is the row's key when it is known, for a tombstone has no row then. */
static bool fill_row(struct fill *fill, struct revision rev, bool is_delete, struct slice row,
                     const struct slice *only_key)
{
    struct watch_hub *hub = fill->hub;
    struct buf tombstone = {0};
    if (is_boundary(fill, rev)) {
        hub->history.last = rev.main - 1;
        fill->is_cut = true;
        return false;
    }
    if (fill->rows_left == 0) {
        fill->is_cut = true; /* inside of a revision: goes on here */
        return false;
    }
    fill->rows++;
    fill->rows_left--;
    hub->resume = (struct revision){.main = rev.main, .sub = rev.sub + 1};
    if (only_key != NULL && is_delete) {
        kv_row_encode(&(struct kv_row){.key = *only_key}, &tombstone);
        row = buf_slice(&tombstone);
    }
    struct mvcc_row parsed = row_parse(rev, row);
    fill->is_added = false;
    fill->event = (struct window_event){
        .rev = rev,
        .is_delete = is_delete,
        .is_create = !is_delete && parsed.create == parsed.mod,
        .key = parsed.key,
    };
    struct history_match match = {.fill = fill, .row = row};
    if (hub->only != NULL) {
        history_hit(&match, hub->only);
    } else {
        groups_of(hub, parsed.key, history_hit, &match);
    }
    buf_fini(&tombstone);
    return true;
}

static bool scan_row(void *ctx, struct revision rev, bool is_delete, struct slice row)
{
    return fill_row(ctx, rev, is_delete, row, NULL);
}

static bool key_row(void *ctx, struct revision rev, bool is_delete, struct slice row)
{
    struct fill *fill = ctx;
    struct slice key = watch__group_range(fill->hub->only).from;
    struct revision resume = fill->hub->resume;
    if (rev.main == resume.main && rev.sub < resume.sub) {
        return true; /* was given before */
    }
    return fill_row(fill, rev, is_delete, row, &key);
}

bool watch__window_fill(struct watch_hub *hub)
{
    struct fill fill = {.hub = hub};
    ASSERT(hub->is_open);
    ASSERT(hub->cost_left > 0);
    if (hub->only != NULL) {
        fill.rows_left = (unsigned)(hub->cost_left + ROW_COST - 1) / ROW_COST;
        mvcc_key_history(hub->store, watch__group_range(hub->only).from, hub->resume.main, key_row,
                         &fill);
        hub->cost_left -= (int)fill.rows * ROW_COST + 1;
    } else {
        fill.rows_left = (unsigned)(hub->cost_left + SCAN_COST - 1) / SCAN_COST;
        mvcc_history_from(hub->store, hub->resume, scan_row, &fill);
        hub->cost_left -= (int)fill.rows * SCAN_COST + 1;
    }
    hub->row_count += fill.rows;
    if (!fill.is_cut) {
        hub->history.last = hub->revision;
    }
    return hub->history.last != 0;
}
