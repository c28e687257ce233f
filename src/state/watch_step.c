/* Delivery: the turn's events to those who are up to date, history to those who are behind.
 *
 * Work is counted in units (STEP_COST), for there is no clock here. When a
 * turn has more to deliver than that, the watchers that are left fall behind and are served by the
 * next slices: nothing is owed to them but a cursor. So one turn never does all the work of ten
 * thousand watchers of one key.
 *
 * The queue of those behind is served round and round. A slice takes the first and, with it, those
 * soon after it in the queue whose cursors lie in the same stretch of history, so that many that
 * start together read it together; and one that is far behind costs the others one slice a round.
 *
 * A sink may do anything to its stream from inside a callback. So a watcher is on the list where it
 * belongs before its sink is called, and is not touched after. */
#include "state/watch_priv.h"

/* ---- telling a sink ------------------------------------------------------------------------- */

static bool is_writable(const struct watch_stream *stream)
{
    return stream->sink->writable == NULL || stream->sink->writable(stream->ctx);
}

static void charge_send(struct watch_stream *stream, size_t len)
{
    struct watch_hub *hub = stream->hub;
    hub->cost_left -= stream->slice == hub->slice ? SEND_COST : FIRST_SEND_COST;
    hub->cost_left -= (int)(len / SEND_BYTES_PER_COST);
    stream->slice = hub->slice;
}

static void cancel(struct watcher *watcher, int64_t compact_revision, const char *reason)
{
    struct watch_stream *stream = watcher->stream;
    watch_id id = watcher->id;
    charge_send(stream, 0);
    watch__free_watcher(watcher);
    watch__settled(stream);
    stream->sink->canceled(stream->ctx, id, compact_revision, reason);
}

/* False: it may not, and has been canceled. */
static bool still_may(struct watcher *watcher)
{
    const struct watch_options *options = &watcher->stream->hub->options;
    if (options->revokes == NULL) {
        return true;
    }
    struct key_range range = watch__group_range(watcher->group);
    const char *why = options->revokes(options->ctx, watcher->stream->ctx, &range);
    if (why != NULL) {
        cancel(watcher, 0, why);
        return false;
    }
    return true;
}

/* What the window has for the watcher. Afterwards it belongs where `state` says, and has been told
 * of everything below `next`. */
static void deliver(struct watcher *watcher, const struct watch_window *window, int64_t next,
                    enum watch_state state)
{
    struct watch_stream *stream = watcher->stream;
    struct watch_hub *hub = stream->hub;
    struct watch_body *body = watch__body_for(hub, window, watcher);
    if (body != NULL && !still_may(watcher)) {
        watch_body_unref(body);
        return;
    }
    struct watch_batch batch = {
        .id = watcher->id,
        .revision = hub->revision,
        .may_fragment = (watcher->flags & WATCH_FRAGMENT) != 0,
        .body = body,
    };
    watcher->next = next;
    watch__set_state(watcher, state);
    watch__settled(stream);
    if (body != NULL) {
        watcher->flags &= (uint16_t)~WATCHER_IS_QUIET;
        hub->event_count += body->event_count;
        charge_send(stream, body->len);
        stream->sink->events(stream->ctx, &batch);
        watch_body_unref(body);
    }
}

/* ---- progress ------------------------------------------------------------------------------- */

static bool is_turn_empty(const struct watch_hub *hub)
{
    return hub->flushed == hub->revision && !hub->is_flushing;
}

static void answer(struct watch_stream *stream)
{
    stream->wants_progress = false;
    charge_send(stream, 0);
    stream->sink->progress(stream->ctx, WATCH_ID_NONE, stream->hub->revision);
}

void watch__settled(struct watch_stream *stream)
{
    if (stream->wants_progress && stream->behind == 0 && stream->future == 0 &&
        !stream->is_closed && list_empty(&stream->answer_link)) {
        list_add_tail(&stream->hub->answers, &stream->answer_link);
        watch__wake(stream->hub);
    }
}

void watch_stream_ask_progress(struct watch_stream *stream)
{
    stream->wants_progress = true;
    watch__settled(stream);
}

static void give_answers(struct watch_hub *hub)
{
    while (hub->cost_left > 0 && is_turn_empty(hub)) {
        struct list *link = list_pop(&hub->answers);
        if (link == NULL) {
            return;
        }
        struct watch_stream *stream = CONTAINER_OF(link, struct watch_stream, answer_link);
        bool is_due = stream->wants_progress && stream->behind == 0 && stream->future == 0;
        if (is_due && is_writable(stream)) { /* else watch_stream_writable() comes here again */
            answer(stream);
        }
    }
}

void watch_stream_tick(struct watch_stream *stream)
{
    if (list_empty(&stream->progress) || !list_empty(&stream->tick_link)) {
        return; /* nobody asks for it, or the last one is not over */
    }
    list_splice(&stream->ticking, &stream->progress);
    list_add_tail(&stream->hub->ticking, &stream->tick_link);
    watch__wake(stream->hub);
}

/* Compatibility: a note goes to those who had no event since the tick before. */
static void tick_one(struct watcher *watcher)
{
    struct watch_stream *stream = watcher->stream;
    struct watch_hub *hub = stream->hub;
    bool was_quiet = (watcher->flags & WATCHER_IS_QUIET) != 0;
    bool has_caught_up = watcher->state == WATCHER_SYNCED && watcher->next <= hub->revision + 1;
    watcher->flags |= WATCHER_IS_QUIET;
    hub->cost_left -= TOUCH_COST;
    if (was_quiet && has_caught_up && is_writable(stream)) {
        charge_send(stream, 0);
        stream->sink->progress(stream->ctx, watcher->id, hub->revision);
    }
}

static void give_ticks(struct watch_hub *hub)
{
    while (hub->cost_left > 0 && is_turn_empty(hub) && !list_empty(&hub->ticking)) {
        struct watch_stream *stream =
            CONTAINER_OF(hub->ticking.next, struct watch_stream, tick_link);
        struct list *link = list_pop(&stream->ticking);
        if (link == NULL) {
            list_del(&stream->tick_link);
            continue;
        }
        list_add_tail(&stream->progress, link);
        struct watcher_extra *extra = CONTAINER_OF(link, struct watcher_extra, progress);
        tick_one(CONTAINER_OF(extra, struct watcher, extra));
    }
}

/* ---- those who are up to date --------------------------------------------------------------- */

static void fall_behind(struct watcher *watcher, int64_t next)
{
    watcher->next = watcher->next > next ? watcher->next : next;
    watch__set_state(watcher, is_writable(watcher->stream) ? WATCHER_BEHIND : WATCHER_BLOCKED);
}

void watch__fall_behind(struct watch_group *group, int64_t revision)
{
    LIST_FOR_EACH (&group->synced, link) {
        struct watcher *watcher = CONTAINER_OF(link, struct watcher, link);
        if (watcher->next <= revision && !watcher->stream->is_closed) {
            watcher->stream->hub->cost_left -= TOUCH_COST;
            fall_behind(watcher, revision);
        }
    }
}

/* One group's watchers. They are taken off the list and come back to it one by one, for a sink may
 * cancel any of them meanwhile, and add others. */
static void flush_group(struct watch_hub *hub, struct watch_group *group)
{
    struct list left;
    list_init(&left);
    list_splice(&left, &group->synced);
    for (struct list *link = list_pop(&left); link != NULL; link = list_pop(&left)) {
        struct watcher *watcher = CONTAINER_OF(link, struct watcher, link);
        list_add_tail(&group->synced, link);
        if (watcher->stream->is_closed || watcher->next > hub->revision) {
            continue;
        }
        if (hub->cost_left <= 0 || !is_writable(watcher->stream)) {
            fall_behind(watcher, hub->turn.first);
        } else {
            deliver(watcher, &hub->turn, watcher->next, WATCHER_SYNCED);
        }
    }
}

/* Watchers with a start in the future that is now here are like any other. */
void watch__arrive(struct watch_hub *hub)
{
    for (struct heap_node *node = heap_min(&hub->future); node != NULL;
         node = heap_min(&hub->future)) {
        struct watcher_extra *extra = CONTAINER_OF(node, struct watcher_extra, future);
        struct watcher *watcher = CONTAINER_OF(extra, struct watcher, extra);
        if (watcher->next > hub->revision + 1) {
            return;
        }
        heap_remove(&hub->future, node);
        watcher->stream->future--;
        watch__settled(watcher->stream);
    }
}

void watch__turn_over(struct watch_hub *hub)
{
    hub->flushed = hub->revision;
    watch__cache_drop(hub, WINDOW_TURN);
    watch__window_end(hub, &hub->turn);
    watch__window_begin(hub, &hub->turn, WINDOW_TURN, hub->revision + 1);
}

void watch_hub_flush(struct watch_hub *hub)
{
    hub->turn_changes = 0;
    if (hub->flushed == hub->revision || hub->is_looking) {
        return;
    }
    ASSERT(!hub->is_flushing);
    hub->is_flushing = true;
    hub->slice++;
    hub->cost_left = (int)hub->options.step_cost;
    for (size_t i = 0; i < hub->turn.group_count; i++) {
        flush_group(hub, hub->turn.groups[i].group);
    }
    watch__turn_over(hub);
    hub->is_flushing = false;
    watch__arrive(hub);
}

/* ---- those who are behind ------------------------------------------------------------------- */

/* The queue's first, when it can be served; the others are put where they belong. */
static struct watcher *next_behind(struct watch_hub *hub)
{
    while (hub->cost_left > 0 && !list_empty(&hub->behind)) {
        struct watcher *watcher = CONTAINER_OF(hub->behind.next, struct watcher, link);
        hub->cost_left -= TOUCH_COST;
        if (watcher->stream->is_closed) {
            list_del(&watcher->link); /* it goes with its stream */
        } else if (!is_writable(watcher->stream)) {
            watch__set_state(watcher, WATCHER_BLOCKED);
        } else if (watcher->next > hub->revision) {
            watch__set_state(watcher, WATCHER_SYNCED);
            watch__settled(watcher->stream);
        } else if (watcher->next < mvcc_compact_revision(hub->store)) {
            cancel(watcher, mvcc_compact_revision(hub->store), NULL);
        } else {
            return watcher;
        }
    }
    return NULL;
}

/* Has the window of history something for this one? */
static bool may_join(const struct watch_hub *hub, const struct watcher *watcher)
{
    return (hub->only == NULL || hub->only == watcher->group) &&
           watcher->next >= hub->history.first &&
           watcher->next < hub->history.first + WINDOW_ROWS && !watcher->stream->is_closed &&
           is_writable(watcher->stream);
}

static void join(struct watch_hub *hub, struct watcher *watcher)
{
    if (watch__window_find(&hub->history, watcher->group) == NULL) {
        watch__window_add(&hub->history, watcher->group);
    }
    watch__set_state(watcher, WATCHER_IN_WINDOW);
}

static bool open_window(struct watch_hub *hub)
{
    struct watcher *first = next_behind(hub);
    unsigned looked = 0;
    if (first == NULL) {
        return false;
    }
    hub->is_open = true;
    hub->only = NULL;
    if (first->group->is_exact) {
        hub->only = first->group;
        hub->only->refs++;
    }
    hub->resume = (struct revision){.main = first->next};
    watch__window_begin(hub, &hub->history, WINDOW_HISTORY, first->next);
    join(hub, first);
    LIST_FOR_EACH (&hub->behind, link) {
        struct watcher *watcher = CONTAINER_OF(link, struct watcher, link);
        if (++looked > WINDOW_MEMBERS) {
            break;
        }
        if (may_join(hub, watcher)) {
            join(hub, watcher);
        }
    }
    hub->cost_left -= (int)looked * TOUCH_COST;
    return true;
}

static void close_window(struct watch_hub *hub)
{
    ASSERT(list_empty(&hub->members));
    watch__cache_drop(hub, WINDOW_HISTORY);
    watch__window_end(hub, &hub->history);
    chunk_pool_cut(&hub->pool);
    if (hub->only != NULL) {
        watch__group_unref(hub, hub->only);
        hub->only = NULL;
    }
    hub->is_open = false;
}

void watch__give_up_window(struct watch_hub *hub)
{
    while (!list_empty(&hub->members)) {
        watch__set_state(CONTAINER_OF(hub->members.next, struct watcher, link), WATCHER_BEHIND);
    }
    if (hub->is_open) {
        close_window(hub);
    }
}

/* False: what it is to get is not encoded yet. */
static bool serve_member(struct watch_hub *hub, struct watcher *watcher)
{
    struct watch_stream *stream = watcher->stream;
    int64_t last = hub->history.last;
    if (stream->is_closed || watcher->next > last) {
        watch__set_state(watcher, WATCHER_BEHIND);
    } else if (!is_writable(stream)) {
        watch__set_state(watcher, WATCHER_BLOCKED);
    } else if (!watch__body_prepare(hub, &hub->history, watcher)) {
        return false;
    } else if (last < hub->revision) {
        deliver(watcher, &hub->history, last + 1, WATCHER_BEHIND);
    } else {
        deliver(watcher, &hub->history, last + 1, WATCHER_SYNCED);
    }
    return true;
}

/* The window is whole: its members get what is in it, some in this slice and some in the next. */
static void serve_members(struct watch_hub *hub)
{
    while (hub->cost_left > 0 && !list_empty(&hub->members)) {
        hub->cost_left -= TOUCH_COST;
        if (!serve_member(hub, CONTAINER_OF(hub->members.next, struct watcher, link))) {
            return;
        }
    }
}

static void catch_up(struct watch_hub *hub)
{
    while (hub->cost_left > 0) {
        bool is_whole = hub->is_open && hub->history.last != 0;
        if (hub->is_open && !is_whole && mvcc_compact_revision(hub->store) > hub->history.first) {
            watch__give_up_window(hub); /* rows of it may be gone */
        }
        if (!hub->is_open && !open_window(hub)) {
            return;
        }
        if (!is_whole && hub->cost_left > 0) {
            is_whole = watch__window_fill(hub);
        }
        if (is_whole) {
            serve_members(hub);
        }
        if (hub->is_open && list_empty(&hub->members)) {
            close_window(hub);
        }
    }
}

/* ---- closed streams ------------------------------------------------------------------------- */

static void free_closed(struct watch_hub *hub)
{
    while (hub->cost_left > 0 && !list_empty(&hub->closing)) {
        struct watch_stream *stream = CONTAINER_OF(hub->closing.next, struct watch_stream, link);
        struct linmap_node *node = linmap_any(&stream->ids, &stream->walk);
        hub->cost_left -= TOUCH_COST;
        if (node != NULL) {
            watch__free_watcher(CONTAINER_OF(node, struct watcher, by_id));
            continue;
        }
        list_del(&stream->link);
        linmap_fini(&stream->ids);
        mem_free(stream);
    }
}

/* ---- steps ---------------------------------------------------------------------------------- */

bool watch_hub_step(struct watch_hub *hub)
{
    ASSERT(!hub->is_flushing);
    watch_hub_flush(hub);
    hub->slice++;
    hub->cost_left = (int)hub->options.step_cost;
    if (hub->is_looking) {
        watch__look(hub);
    }
    free_closed(hub);
    give_answers(hub);
    give_ticks(hub);
    catch_up(hub);
    return hub->is_looking || hub->is_open || !list_empty(&hub->closing) ||
           !list_empty(&hub->answers) || !list_empty(&hub->ticking) || !list_empty(&hub->behind);
}
