/* Watches, leases kept alive, observers: what calls back again and again.
 *
 * Each lives on the handle's thread. Opening posts its start and closing its end, so that they keep
 * the order in which the caller asked; closing waits for the end, but in a callback, where
 * is_closed keeps further callbacks away instead.
 *
 * Every watch has a stream of its own: one that is held back holds back no other. */
#include "client/etcdclient_priv.h"

#include "client/observer.h"
#include "codec/pb.h"

/* How much may wait for etcd_watch_next() before the server is held back, and when it goes on. */
#define QUEUE_HIGH ((size_t)4 * 1024 * 1024)
#define QUEUE_LOW ((size_t)1024 * 1024)

/* ---- watches ----------------------------------------------------------------------------- */

/* A response as the caller gets it. */
struct response {
    struct list link;
    struct etcd_watch_response response;
    struct arena arena;
};

struct etcd_watch {
    struct etcd_client *client;
    struct etcd__task start;
    struct etcd__task resume;
    struct etcd__task progress;
    struct etcd__task close;
    struct buf key;
    struct buf range_end;
    struct client_watch_options options;
    etcd_watch_fn *fn;
    void *ctx;
    /* The handle's thread's. */
    struct client_watcher *watcher;
    struct client_watch *watch;
    bool is_closed;        /* from inside of a callback */
    struct response *last; /* the caller's, from etcd_watch_next() */
    /* Under the monitor. */
    struct posix_monitor *monitor;
    struct list queue;
    size_t queued; /* bytes */
    bool is_paused;
    bool is_resuming;        /* `resume` is posted */
    unsigned progress_asked; /* `progress` is posted when not 0 */
    bool has_ended;
    struct etcd_error error;
    int64_t compact_revision;
};

static struct etcd_kv kept_kv(struct arena *arena, const Mvccpb__KeyValue *kv)
{
    struct etcd_kv out;
    etcd__kv_set(&out, kv);
    out.key.data = arena_dup(arena, out.key.data, out.key.len);
    out.value.data = arena_dup(arena, out.value.data, out.value.len);
    return out;
}

static struct response *response_new(const Etcdserverpb__WatchResponse *message)
{
    struct response *response = NEW(struct response);
    struct arena *arena = &response->arena;
    list_init(&response->link);
    arena_init(arena);
    struct etcd_event *events = arena_zalloc(arena, message->n_events * sizeof(*events));
    for (size_t i = 0; i < message->n_events; i++) {
        const Mvccpb__Event *event = message->events[i];
        events[i].is_delete = event->type == MVCCPB__EVENT__EVENT_TYPE__DELETE;
        events[i].kv = kept_kv(arena, event->kv);
        if (event->prev_kv != NULL) {
            struct etcd_kv *prev = ARENA_NEW(arena, struct etcd_kv);
            *prev = kept_kv(arena, event->prev_kv);
            events[i].prev_kv = prev;
        }
    }
    response->response = (struct etcd_watch_response){
        .revision = message->header == NULL ? 0 : message->header->revision,
        .is_created = message->created != 0,
        .events = events,
        .event_count = message->n_events,
    };
    return response;
}

static void response_free(struct response **response)
{
    if (*response != NULL) {
        arena_fini(&(*response)->arena);
        mem_free(*response);
        *response = NULL;
    }
}

static void enqueue(struct etcd_watch *watch, struct response *response)
{
    posix_monitor_enter(watch->monitor);
    list_add_tail(&watch->queue, &response->link);
    watch->queued += response->arena.used;
    bool is_full = watch->queued > QUEUE_HIGH && !watch->is_paused;
    watch->is_paused = watch->is_paused || is_full;
    posix_monitor_notify(watch->monitor);
    posix_monitor_leave(watch->monitor);
    if (is_full) {
        client_watcher_pause(watch->watcher, true);
    }
}

static void watch_ended(struct etcd_watch *watch, const struct client_watch_update *update)
{
    struct etcd_error error = {0};
    etcd__error(&error, (int)update->status, update->error);
    if (watch->fn != NULL) {
        watch->fn(watch->ctx, watch, NULL, &error, update->response->compact_revision);
        return;
    }
    posix_monitor_enter(watch->monitor);
    watch->has_ended = true;
    watch->error = error;
    watch->compact_revision = update->response->compact_revision;
    posix_monitor_notify(watch->monitor);
    posix_monitor_leave(watch->monitor);
}

static void on_update(struct client_watch *client_watch, const struct client_watch_update *update,
                      void *ctx)
{
    struct etcd_watch *watch = ctx;
    (void)client_watch;
    if (watch->is_closed) {
        return;
    }
    if (update->is_end) {
        watch_ended(watch, update);
        return;
    }
    struct response *response = response_new(update->response);
    if (watch->fn == NULL) {
        enqueue(watch, response);
        return;
    }
    struct etcd_error none = {0};
    watch->fn(watch->ctx, watch, &response->response, &none, 0);
    response_free(&response);
}

static void watch_start(struct etcd__task *task)
{
    struct etcd_watch *watch = CONTAINER_OF(task, struct etcd_watch, start);
    watch->watcher = client_watcher_new(watch->client->client, true);
    watch->watch = client_watch_start(watch->watcher, &watch->options, on_update, watch);
}

static void watch_resume(struct etcd__task *task)
{
    struct etcd_watch *watch = CONTAINER_OF(task, struct etcd_watch, resume);
    posix_monitor_enter(watch->monitor);
    watch->is_paused = false;
    watch->is_resuming = false;
    posix_monitor_leave(watch->monitor);
    client_watcher_pause(watch->watcher, false);
}

static void watch_progress(struct etcd__task *task)
{
    struct etcd_watch *watch = CONTAINER_OF(task, struct etcd_watch, progress);
    posix_monitor_enter(watch->monitor);
    unsigned asked = watch->progress_asked;
    watch->progress_asked = 0;
    posix_monitor_leave(watch->monitor);
    for (unsigned i = 0; i < asked; i++) {
        client_watcher_progress(watch->watcher);
    }
}

static void watch_free(struct etcd_watch *watch)
{
    for (struct list *node = list_pop(&watch->queue); node != NULL;
         node = list_pop(&watch->queue)) {
        struct response *response = CONTAINER_OF(node, struct response, link);
        response_free(&response);
    }
    response_free(&watch->last);
    buf_fini(&watch->key);
    buf_fini(&watch->range_end);
    posix_monitor_free(&watch->monitor);
    mem_free(watch);
}

static void watch_close(struct etcd__task *task)
{
    struct etcd_watch *watch = CONTAINER_OF(task, struct etcd_watch, close);
    client_watch_free(&watch->watch);
    client_watcher_free(&watch->watcher);
    if (watch->is_closed) {
        watch_free(watch);
    }
}

struct etcd_watch *etcd_watch_open(struct etcd_client *client,
                                   const struct etcd_watch_options *options, etcd_watch_fn *fn,
                                   void *ctx)
{
    struct etcd_watch *watch = NEW(struct etcd_watch);
    bool is_many = (options->flags & (ETCD_WATCH_PREFIX | ETCD_WATCH_FROM_KEY)) != 0;
    watch->client = client;
    watch->fn = fn;
    watch->ctx = ctx;
    watch->monitor = posix_monitor_new();
    list_init(&watch->queue);
    buf_append_slice(&watch->key, etcd__slice(options->key));
    if (is_many && options->key.len == 0) {
        buf_append_byte(&watch->key, 0);
    }
    if ((options->flags & ETCD_WATCH_FROM_KEY) != 0) {
        buf_append_byte(&watch->range_end, 0);
    } else if ((options->flags & ETCD_WATCH_PREFIX) != 0) {
        etcd__prefix_end(etcd__slice(options->key), &watch->range_end);
    } else {
        buf_append_slice(&watch->range_end, etcd__slice(options->range_end));
    }
    watch->options = (struct client_watch_options){
        .key = buf_slice(&watch->key),
        .range_end = buf_slice(&watch->range_end),
        .start_revision = options->start_revision,
        .prev_kv = (options->flags & ETCD_WATCH_PREV_KV) != 0,
        .progress_notify = (options->flags & ETCD_WATCH_PROGRESS) != 0,
        .no_put = (options->flags & ETCD_WATCH_NO_PUT) != 0,
        .no_delete = (options->flags & ETCD_WATCH_NO_DELETE) != 0,
        .fragment = true,
        .created_notify = (options->flags & ETCD_WATCH_CREATED) != 0,
    };
    watch->start.run = watch_start;
    watch->resume.run = watch_resume;
    watch->progress.run = watch_progress;
    watch->close.run = watch_close;
    etcd__post(client, &watch->start);
    return watch;
}

/* Inside the monitor. True: something is there, or nothing ever will be. */
static bool await(struct etcd_watch *watch, mono_ns until)
{
    while (list_empty(&watch->queue) && !watch->has_ended) {
        if (!posix_monitor_wait(watch->monitor, until)) {
            return !list_empty(&watch->queue) || watch->has_ended;
        }
    }
    return true;
}

int etcd_watch_next(struct etcd_watch *watch, uint32_t timeout_ms,
                    const struct etcd_watch_response **out, int64_t *compact_revision_out,
                    struct etcd_error *error)
{
    if (etcd__is_current(watch->client)) {
        return etcd__error(error, ETCD_WRONG_THREAD,
                           "a function that waits was called from a callback");
    }
    if (watch->fn != NULL) {
        return etcd__error(error, ETCD_INVALID_ARGUMENT, "this watch calls back");
    }
    response_free(&watch->last);
    mono_ns until = etcd__deadline(watch->client, timeout_ms);
    bool is_resuming = false;
    posix_monitor_enter(watch->monitor);
    bool is_there = await(watch, until);
    struct list *node = list_pop(&watch->queue);
    if (node != NULL) {
        watch->last = CONTAINER_OF(node, struct response, link);
        watch->queued -= watch->last->arena.used;
        is_resuming = watch->is_paused && !watch->is_resuming && watch->queued < QUEUE_LOW;
        watch->is_resuming = watch->is_resuming || is_resuming;
    }
    posix_monitor_leave(watch->monitor);
    if (is_resuming) {
        etcd__post(watch->client, &watch->resume);
    }
    if (watch->last != NULL) {
        *out = &watch->last->response;
        return etcd__error(error, ETCD_OK, "");
    }
    if (!is_there) {
        return etcd__error(error, ETCD_DEADLINE_EXCEEDED, "no change within the time");
    }
    if (compact_revision_out != NULL) {
        *compact_revision_out = watch->compact_revision;
    }
    return etcd__error(error, watch->error.code, watch->error.text);
}

void etcd_watch_progress(struct etcd_watch *watch)
{
    posix_monitor_enter(watch->monitor);
    bool is_first = watch->progress_asked++ == 0;
    posix_monitor_leave(watch->monitor);
    if (is_first) {
        etcd__post(watch->client, &watch->progress);
    }
}

void etcd_watch_close(struct etcd_watch **out)
{
    struct etcd_watch *watch = *out;
    if (watch == NULL) {
        return;
    }
    *out = NULL;
    watch->is_closed = etcd__is_current(watch->client);
    bool is_inside = watch->is_closed;
    etcd__post_and_wait(watch->client, &watch->close);
    if (!is_inside) {
        watch_free(watch);
    }
}

/* ---- leases ------------------------------------------------------------------------------ */

struct etcd_keep_alive {
    struct etcd_client *client;
    struct etcd__task start;
    struct etcd__task close;
    int64_t lease;
    etcd_keep_alive_fn *fn;
    void *ctx;
    struct client_keep *keep;
    bool is_closed;
};

static void on_keep(struct client_keep *client_keep, int64_t ttl_s, const char *text, void *ctx)
{
    struct etcd_keep_alive *keep = ctx;
    struct etcd_error error = {0};
    (void)client_keep;
    if (keep->is_closed || keep->fn == NULL) {
        return;
    }
    if (ttl_s == 0) {
        etcd__error(&error, etcd__code_of(text), text);
    }
    keep->fn(keep->ctx, ttl_s, &error);
}

static void keep_start(struct etcd__task *task)
{
    struct etcd_keep_alive *keep = CONTAINER_OF(task, struct etcd_keep_alive, start);
    keep->keep = client_keep_start(keep->client->keeper, keep->lease, 0, on_keep, keep);
}

static void keep_close(struct etcd__task *task)
{
    struct etcd_keep_alive *keep = CONTAINER_OF(task, struct etcd_keep_alive, close);
    client_keep_free(&keep->keep);
    if (keep->is_closed) {
        mem_free(keep);
    }
}

struct etcd_keep_alive *etcd_keep_alive_open(struct etcd_client *client, int64_t lease,
                                             etcd_keep_alive_fn *fn, void *ctx)
{
    struct etcd_keep_alive *keep = NEW(struct etcd_keep_alive);
    keep->client = client;
    keep->lease = lease;
    keep->fn = fn;
    keep->ctx = ctx;
    keep->start.run = keep_start;
    keep->close.run = keep_close;
    etcd__post(client, &keep->start);
    return keep;
}

void etcd_keep_alive_close(struct etcd_keep_alive **out)
{
    struct etcd_keep_alive *keep = *out;
    if (keep == NULL) {
        return;
    }
    *out = NULL;
    bool is_inside = etcd__is_current(keep->client);
    keep->is_closed = is_inside;
    etcd__post_and_wait(keep->client, &keep->close);
    if (!is_inside) {
        mem_free(keep);
    }
}

/* ---- observers --------------------------------------------------------------------------- */

struct etcd_observer {
    struct etcd_client *client;
    struct etcd__task start;
    struct etcd__task close;
    struct buf name;
    etcd_observe_fn *fn;
    void *ctx;
    struct client_observer *observer;
    bool is_closed;
};

static void on_leader(struct client_observer *client_observer,
                      const Etcdserverpb__RangeResponse *range, const char *text, void *ctx)
{
    struct etcd_observer *observer = ctx;
    struct etcd_error error = {0};
    struct etcd_kv kv;
    (void)client_observer;
    if (observer->is_closed) {
        return;
    }
    if (range == NULL) {
        etcd__error(&error, etcd__code_of(text), text);
        observer->fn(observer->ctx, NULL, &error);
    } else {
        etcd__kv_set(&kv, range->kvs[0]);
        observer->fn(observer->ctx, &kv, &error);
    }
}

static void observer_start(struct etcd__task *task)
{
    struct etcd_observer *observer = CONTAINER_OF(task, struct etcd_observer, start);
    observer->observer = client_observer_start(observer->client->client, observer->client->watcher,
                                               buf_slice(&observer->name), on_leader, observer);
}

static void observer_free(struct etcd_observer *observer)
{
    buf_fini(&observer->name);
    mem_free(observer);
}

static void observer_close(struct etcd__task *task)
{
    struct etcd_observer *observer = CONTAINER_OF(task, struct etcd_observer, close);
    client_observer_free(&observer->observer);
    if (observer->is_closed) {
        observer_free(observer);
    }
}

struct etcd_observer *etcd_observe_open(struct etcd_client *client, struct etcd_slice name,
                                        etcd_observe_fn *fn, void *ctx)
{
    struct etcd_observer *observer = NEW(struct etcd_observer);
    observer->client = client;
    observer->fn = fn;
    observer->ctx = ctx;
    buf_append_slice(&observer->name, etcd__slice(name));
    observer->start.run = observer_start;
    observer->close.run = observer_close;
    etcd__post(client, &observer->start);
    return observer;
}

void etcd_observe_close(struct etcd_observer **out)
{
    struct etcd_observer *observer = *out;
    if (observer == NULL) {
        return;
    }
    *out = NULL;
    bool is_inside = etcd__is_current(observer->client);
    observer->is_closed = is_inside;
    etcd__post_and_wait(observer->client, &observer->close);
    if (!is_inside) {
        observer_free(observer);
    }
}
