/* A watch's states, and who moves it on:
 *
 *   PENDING  its create request is to be sent, or has been     the server's "created"
 *   ACTIVE   it has an id of the server's, for this stream     "canceled", or the stream's end
 *   ENDED    told why, or canceled by its owner
 *
 * Invariants:
 *  1. `pending` has the watches in the order of their create requests; a server answers those in
 *     the order in which they came, so that a "created" belongs to the first of them. (Ids are the
 *     server's: old servers choose their own whatever they are asked for.)
 *  2. Every ACTIVE watch is in `active` and, by its id, in `ids`; nothing else is.
 *  3. When the stream is not open nothing is ACTIVE and nothing PENDING has been sent.
 *  4. next_revision is behind everything told, and nothing between was left out.
 *
 * A watch whose owner has gone while the answer to its create was under way stays PENDING as an
 * orphan, to keep its place in the order, and is canceled when the answer comes. */
#include "client/watcher.h"

#include "base/mem.h"
#include "client/client_priv.h"
#include "codec/pb.h"

#include <stdio.h>

#define PROGRESS_ID (-1)  /* the answer to a progress request: for all */
#define AUTH_TRIES_MAX 10 /* streams in a row that end because of the token */
/* Of one revision, put together: what a transaction of a patient server can change. */
#define FRAGMENTS_MAX ((size_t)1 << 30)

enum watch_state {
    WATCH_PENDING = 1,
    WATCH_ACTIVE,
    WATCH_ENDED,
};

struct client_watch {
    struct client_watcher *watcher; /* NULL once the watcher is freed */
    struct list link;               /* on pending or active */
    struct map_node node;           /* in ids, while active */
    int64_t id;
    struct client_watch_options options;
    struct buf key;
    struct buf range_end;
    int64_t next_revision; /* where it (re)starts; 0: now */
    client_watch_fn *fn;
    void *ctx;
    struct buf fragments; /* messages so far of a response in pieces */
    uint64_t round;       /* the last progress it was told of, by the watcher's count */
    enum watch_state state;
    bool is_sent;
    bool was_created;
    bool is_orphan;
};

struct client_watcher {
    struct client *client;
    struct client_stream stream;
    struct timer timer; /* until the stream is opened again */
    struct list pending;
    struct list active;
    struct map ids;
    struct arena arena; /* of the response being told */
    struct buf out;
    uint64_t round;
    unsigned attempts;      /* streams in a row that ended without a message */
    unsigned auth_attempts; /* and for want of a good token */
    bool wants_progress;
    bool is_paused;
    bool requires_leader;
};

/* ---- watches in lists -------------------------------------------------------------------- */

static uint64_t id_hash(int64_t id)
{
    return (uint64_t)id * 0x9e3779b97f4a7c15u;
}

static bool id_eq(const struct map_node *node, const void *key)
{
    return CONTAINER_OF_CONST(node, struct client_watch, node)->id == *(const int64_t *)key;
}

static struct client_watch *find(const struct client_watcher *watcher, int64_t id)
{
    struct map_node *node = map_find(&watcher->ids, id_hash(id), id_eq, &id);
    return node == NULL ? NULL : CONTAINER_OF(node, struct client_watch, node);
}

static struct client_watch *watch_of(struct list *node)
{
    return CONTAINER_OF(node, struct client_watch, link);
}

/* Takes it off whatever it is on. */
static void unlink_watch(struct client_watch *watch)
{
    if (watch->state == WATCH_ACTIVE) {
        map_remove(&watch->watcher->ids, &watch->node);
    }
    list_del(&watch->link);
    buf_fini(&watch->fragments);
}

static void destroy(struct client_watch *watch)
{
    buf_fini(&watch->key);
    buf_fini(&watch->range_end);
    buf_fini(&watch->fragments);
    mem_free(watch);
}

/* ---- telling ----------------------------------------------------------------------------- */

static void tell(struct client_watch *watch, const Etcdserverpb__WatchResponse *response)
{
    struct client_watch_update update = {.response = response, .status = GRPC_OK, .error = ""};
    watch->fn(watch, &update, watch->ctx);
}

/* Ends it; `text` may belong to the response. */
static void tell_end(struct client_watch *watch, const Etcdserverpb__WatchResponse *response,
                     uint32_t status, const char *text)
{
    struct client_watch_update update = {
        .response = response, .is_end = true, .status = status, .error = text};
    unlink_watch(watch);
    watch->state = WATCH_ENDED;
    if (watch->is_orphan) {
        destroy(watch);
        return;
    }
    watch->fn(watch, &update, watch->ctx);
}

/* As clientv3's WatchResponse.Err(), which shows why a watch was never made as the server says it,
 * and why one that was there ended as the text of a call's error. */
static void tell_canceled(struct client_watch *watch, const Etcdserverpb__WatchResponse *response)
{
    struct client_watcher *watcher = watch->watcher;
    const char *reason = response->cancel_reason;
    struct buf error = {0};
    uint32_t status = GRPC_FAILED_PRECONDITION;
    if (response->compact_revision != 0) {
        status = GRPC_OUT_OF_RANGE;
        reason = "etcdserver: mvcc: required revision has been compacted";
    } else if (reason[0] == 0) {
        status = GRPC_OUT_OF_RANGE;
        reason = "etcdserver: mvcc: required revision is a future revision";
    }
    if (response->created && reason == response->cancel_reason) {
        buf_append_str(&error, reason);
    } else {
        client__error_text(status, reason, false, &error);
    }
    const char *text = arena_strndup(&watcher->arena, (const char *)error.data, error.len);
    buf_fini(&error);
    tell_end(watch, response, status, text);
}

/* ---- requests ---------------------------------------------------------------------------- */

static void send_request(struct client_watcher *watcher, const Etcdserverpb__WatchRequest *request)
{
    buf_reset(&watcher->out);
    pb_encode(request, &watcher->out);
    client_stream_send(&watcher->stream, buf_slice(&watcher->out));
}

static void send_create(struct client_watch *watch)
{
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    Etcdserverpb__WatchCreateRequest create = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    Etcdserverpb__WatchCreateRequest__FilterType filters[2];
    size_t filter_count = 0;
    if (watch->options.no_put) {
        filters[filter_count++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT;
    }
    if (watch->options.no_delete) {
        filters[filter_count++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE;
    }
    create.key = pb_binary(buf_slice(&watch->key));
    create.range_end = pb_binary(buf_slice(&watch->range_end));
    create.start_revision = watch->next_revision;
    create.progress_notify = watch->options.progress_notify;
    create.prev_kv = watch->options.prev_kv;
    create.fragment = watch->options.fragment;
    create.filters = filters;
    create.n_filters = filter_count;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    request.create_request = &create;
    ASSERT(watch->state == WATCH_PENDING);
    ASSERT(!watch->is_sent);
    watch->is_sent = true;
    send_request(watch->watcher, &request);
}

static void send_cancel(struct client_watcher *watcher, int64_t id)
{
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    Etcdserverpb__WatchCancelRequest cancel = ETCDSERVERPB__WATCH_CANCEL_REQUEST__INIT;
    cancel.watch_id = id;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST;
    request.cancel_request = &cancel;
    send_request(watcher, &request);
}

static void send_progress(struct client_watcher *watcher)
{
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    Etcdserverpb__WatchProgressRequest progress = ETCDSERVERPB__WATCH_PROGRESS_REQUEST__INIT;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST;
    request.progress_request = &progress;
    send_request(watcher, &request);
}

/* ---- the stream opens and ends ----------------------------------------------------------- */

static void on_opened(struct client_stream *stream)
{
    struct client_watcher *watcher = CONTAINER_OF(stream, struct client_watcher, stream);
    if (watcher->is_paused) {
        client_stream_pause(stream, true);
    }
}

/* Sends what waits, opening the stream for it. */
static void open_stream(struct client_watcher *watcher)
{
    timer_stop(watcher->client->loop, &watcher->timer);
    if (list_empty(&watcher->pending)) {
        return;
    }
    client_stream_open(watcher->client, &watcher->stream);
    LIST_FOR_EACH (&watcher->pending, node) {
        send_create(watch_of(node));
    }
    if (watcher->wants_progress) {
        watcher->wants_progress = false;
        send_progress(watcher);
    }
}

static void on_timer(struct timer *timer)
{
    open_stream(CONTAINER_OF(timer, struct client_watcher, timer));
}

/* Everything goes back to PENDING, in an order that does not depend on ids. */
static void requeue_all(struct client_watcher *watcher)
{
    struct list fresh;
    list_init(&fresh);
    list_splice(&fresh, &watcher->pending);
    for (struct list *node = list_pop(&watcher->active); node != NULL;
         node = list_pop(&watcher->active)) {
        struct client_watch *watch = watch_of(node);
        unlink_watch(watch);
        watch->state = WATCH_PENDING;
        list_add_tail(&watcher->pending, node);
    }
    list_splice(&watcher->pending, &fresh);
    LIST_FOR_EACH (&watcher->pending, node) {
        struct client_watch *watch = watch_of(node);
        watch->is_sent = false;
        if (watch->is_orphan) {
            unlink_watch(watch);
            destroy(watch);
        }
    }
}

/* Opens it again after a pause. */
static void resume_later(struct client_watcher *watcher)
{
    struct client *client = watcher->client;
    client_stream_cancel(&watcher->stream);
    requeue_all(watcher);
    timer_start(client->loop, &watcher->timer,
                loop_now(client->loop) + client_stream_pause_ns(client, watcher->attempts++));
}

static void end_all(struct client_watcher *watcher, uint32_t status, const char *error)
{
    Etcdserverpb__WatchResponse response;
    struct list ended;
    etcdserverpb__watch_response__init(&response);
    response.canceled = true;
    requeue_all(watcher);
    list_init(&ended);
    list_splice(&ended, &watcher->pending);
    for (struct list *node = list_pop(&ended); node != NULL; node = list_pop(&ended)) {
        tell_end(watch_of(node), &response, status, error);
    }
}

/* The server makes no sense. */
static void end_stream(struct client_watcher *watcher, const char *error)
{
    client_stream_cancel(&watcher->stream);
    end_all(watcher, GRPC_INTERNAL, error);
}

/* clientv3's isHaltErr, but that a token can be replaced. */
static bool is_final(const struct client_watcher *watcher, const struct client_result *result)
{
    if (client__wants_login(watcher->client, result->message)) {
        return watcher->auth_attempts >= AUTH_TRIES_MAX;
    }
    if (result->status != GRPC_UNAVAILABLE && result->status != GRPC_INTERNAL) {
        return true;
    }
    return strcmp(result->message, "etcdserver: no leader") == 0;
}

static void on_end(struct client_stream *stream, const struct client_result *result)
{
    struct client_watcher *watcher = CONTAINER_OF(stream, struct client_watcher, stream);
    if (is_final(watcher, result)) {
        end_all(watcher, result->status, result->error);
        return;
    }
    watcher->auth_attempts += client__wants_login(watcher->client, result->message);
    resume_later(watcher);
}

/* Nobody is left to listen. */
static void close_if_unused(struct client_watcher *watcher)
{
    LIST_FOR_EACH (&watcher->pending, node) {
        if (!watch_of(node)->is_orphan) {
            return;
        }
    }
    if (list_empty(&watcher->active)) {
        client_stream_cancel(&watcher->stream);
        timer_stop(watcher->client->loop, &watcher->timer);
        requeue_all(watcher); /* frees the orphans */
        ASSERT(list_empty(&watcher->pending));
    }
}

/* ---- responses --------------------------------------------------------------------------- */

/* A create that was refused for its token: "rpc error: code = … desc = <text of etcd>". */
static bool wants_other_token(const struct client_watcher *watcher, const char *reason)
{
    const char *text = strstr(reason, "desc = ");
    return client__wants_login(watcher->client, text == NULL ? reason : text + strlen("desc = "));
}

static void on_created(struct client_watcher *watcher, const Etcdserverpb__WatchResponse *response)
{
    if (list_empty(&watcher->pending)) {
        return; /* an answer to nothing we asked */
    }
    struct client_watch *watch = watch_of(watcher->pending.next);
    if (response->canceled) {
        if (wants_other_token(watcher, response->cancel_reason) &&
            watcher->auth_attempts < AUTH_TRIES_MAX) {
            watcher->auth_attempts++;
            client__login_start(watcher->client);
            resume_later(watcher);
        } else {
            tell_canceled(watch, response);
            close_if_unused(watcher);
        }
        return;
    }
    watcher->auth_attempts = 0;
    if (find(watcher, response->watch_id) != NULL) {
        end_stream(watcher, "rpc error: code = Internal desc = the server has given two watches "
                            "one id");
        return;
    }
    if (watch->is_orphan) {
        send_cancel(watcher, response->watch_id);
        unlink_watch(watch);
        destroy(watch);
        return;
    }
    list_del(&watch->link);
    list_add_tail(&watcher->active, &watch->link);
    watch->state = WATCH_ACTIVE;
    watch->id = response->watch_id;
    map_insert(&watcher->ids, &watch->node, id_hash(watch->id));
    if (watch->next_revision == 0 && response->header != NULL) {
        /* A watch from now on starts behind the revision it was created at; when it has to
         * resume before the first event, it must not start at a later one. */
        watch->next_revision = client__behind(response->header->revision);
    }
    bool is_first = !watch->was_created;
    watch->was_created = true;
    if (is_first && watch->options.created_notify) {
        tell(watch, response);
    }
}

static void progress(struct client_watch *watch, const Etcdserverpb__WatchResponse *response)
{
    if (response->header != NULL && response->header->revision >= watch->next_revision) {
        watch->next_revision = client__behind(response->header->revision);
    }
    tell(watch, response);
}

/* Each watch goes to the end of the list when it is told, so that those told are found there,
 * whatever a callback frees. */
static void broadcast(struct client_watcher *watcher, const Etcdserverpb__WatchResponse *response)
{
    watcher->round++;
    while (!list_empty(&watcher->active)) {
        struct client_watch *watch = watch_of(watcher->active.next);
        if (watch->round == watcher->round) {
            break;
        }
        watch->round = watcher->round;
        list_del(&watch->link);
        list_add_tail(&watcher->active, &watch->link);
        progress(watch, response);
    }
}

/* False: malformed. What is decoded lies in the arena, its bytes in `message`. */
static bool decode(struct client_watcher *watcher, struct slice message,
                   Etcdserverpb__WatchResponse **out)
{
    return pb_decode_limits(&watcher->arena, &etcdserverpb__watch_response__descriptor, message,
                            PB_LIMITS_NONE, out, NULL) == ERR_OK;
}

/* Events, whole or a piece. Messages one behind the other are one message, whose lists are put
 * together: so pieces are only kept, and decoded at the end. */
static void on_events(struct client_watch *watch, struct slice message,
                      Etcdserverpb__WatchResponse *response)
{
    struct client_watcher *watcher = watch->watcher;
    struct buf whole = {0};
    if (response->fragment || watch->fragments.len > 0) {
        if (message.len > FRAGMENTS_MAX - watch->fragments.len) {
            end_stream(watcher, "rpc error: code = Internal desc = the fragments of one revision "
                                "are too large");
            return;
        }
        buf_append_slice(&watch->fragments, message);
        if (response->fragment) {
            return;
        }
        whole = watch->fragments;
        watch->fragments = (struct buf){0};
        bool is_good = decode(watcher, buf_slice(&whole), &response);
        ASSERT(is_good); /* each of them was */
        response->fragment = false;
    }
    const Mvccpb__Event *last = response->events[response->n_events - 1];
    if (last->kv != NULL && last->kv->mod_revision >= watch->next_revision) {
        watch->next_revision = client__behind(last->kv->mod_revision);
    }
    tell(watch, response);
    buf_fini(&whole);
}

static void on_response(struct client_watcher *watcher, struct slice message,
                        Etcdserverpb__WatchResponse *response)
{
    if (response->created) {
        on_created(watcher, response);
        return;
    }
    bool is_progress = response->n_events == 0 && !response->canceled;
    if (is_progress && response->watch_id == PROGRESS_ID) {
        broadcast(watcher, response);
        return;
    }
    struct client_watch *watch = find(watcher, response->watch_id);
    if (watch == NULL) {
        return; /* canceled by its owner meanwhile */
    }
    if (response->canceled) {
        tell_canceled(watch, response);
        close_if_unused(watcher);
    } else if (is_progress && !response->fragment && watch->fragments.len == 0) {
        progress(watch, response);
    } else if (response->n_events > 0) {
        on_events(watch, message, response);
    }
}

/* Every event must have a key-value: we promise those who are told. */
static bool is_whole(const Etcdserverpb__WatchResponse *response)
{
    for (size_t i = 0; i < response->n_events; i++) {
        if (response->events[i]->kv == NULL) {
            return false;
        }
    }
    return true;
}

static void on_message(struct client_stream *stream, struct slice message)
{
    struct client_watcher *watcher = CONTAINER_OF(stream, struct client_watcher, stream);
    Etcdserverpb__WatchResponse *response = NULL;
    watcher->attempts = 0;
    if (!decode(watcher, message, &response) || !is_whole(response)) {
        end_stream(watcher, "rpc error: code = Internal desc = grpc: failed to unmarshal the "
                            "received message");
    } else {
        on_response(watcher, message, response);
    }
    arena_reset(&watcher->arena);
}

static const struct client_stream_handler stream_events = {
    .opened = on_opened, .message = on_message, .end = on_end};

/* ---- life cycle -------------------------------------------------------------------------- */

struct client_watcher *client_watcher_new(struct client *client, bool requires_leader)
{
    struct client_watcher *watcher = NEW(struct client_watcher);
    watcher->client = client;
    watcher->requires_leader = requires_leader;
    watcher->stream = (struct client_stream){.path = "/etcdserverpb.Watch/Watch",
                                             .handler = &stream_events,
                                             .deadline = UINT64_MAX,
                                             .requires_leader = requires_leader};
    timer_init(&watcher->timer, on_timer);
    list_init(&watcher->pending);
    list_init(&watcher->active);
    map_init(&watcher->ids);
    arena_init(&watcher->arena);
    return watcher;
}

void client_watcher_free(struct client_watcher **out)
{
    struct client_watcher *watcher = *out;
    if (watcher == NULL) {
        return;
    }
    client_stream_cancel(&watcher->stream);
    timer_stop(watcher->client->loop, &watcher->timer);
    requeue_all(watcher);
    for (struct list *node = list_pop(&watcher->pending); node != NULL;
         node = list_pop(&watcher->pending)) {
        struct client_watch *watch = watch_of(node);
        watch->state = WATCH_ENDED;
        watch->watcher = NULL;
    }
    map_fini(&watcher->ids);
    buf_fini(&watcher->out);
    arena_fini(&watcher->arena);
    mem_free(watcher);
    *out = NULL;
}

struct client_watch *client_watch_start(struct client_watcher *watcher,
                                        const struct client_watch_options *options,
                                        client_watch_fn *fn, void *ctx)
{
    struct client_watch *watch = NEW(struct client_watch);
    watch->watcher = watcher;
    watch->options = *options;
    watch->fn = fn;
    watch->ctx = ctx;
    watch->state = WATCH_PENDING;
    watch->next_revision = options->start_revision;
    buf_append_slice(&watch->key, options->key);
    buf_append_slice(&watch->range_end, options->range_end);
    list_init(&watch->link);
    list_add_tail(&watcher->pending, &watch->link);
    if (client_stream_is_open(&watcher->stream)) {
        send_create(watch);
    } else if (!timer_running(&watcher->timer)) {
        open_stream(watcher);
    }
    return watch;
}

void client_watch_free(struct client_watch **out)
{
    struct client_watch *watch = *out;
    if (watch == NULL) {
        return;
    }
    *out = NULL;
    struct client_watcher *watcher = watch->watcher;
    if (watch->state == WATCH_ENDED) {
        destroy(watch);
        return;
    }
    if (watch->state == WATCH_PENDING && watch->is_sent) {
        watch->is_orphan = true;
    } else {
        if (watch->state == WATCH_ACTIVE) {
            send_cancel(watcher, watch->id);
        }
        unlink_watch(watch);
        destroy(watch);
    }
    close_if_unused(watcher);
}

void client_watcher_progress(struct client_watcher *watcher)
{
    if (client_stream_is_open(&watcher->stream)) {
        send_progress(watcher);
    } else {
        watcher->wants_progress = !list_empty(&watcher->pending);
    }
}

void client_watcher_pause(struct client_watcher *watcher, bool is_paused)
{
    watcher->is_paused = is_paused;
    client_stream_pause(&watcher->stream, is_paused);
}

int64_t client_watch_next_revision(const struct client_watch *watch)
{
    return watch->next_revision;
}

void client_watcher_check(const struct client_watcher *watcher)
{
    size_t active = 0;
    bool is_open = client_stream_is_open(&watcher->stream);
    for (const struct list *node = watcher->active.next; node != &watcher->active;
         node = node->next) {
        const struct client_watch *watch = CONTAINER_OF_CONST(node, struct client_watch, link);
        ASSERT(is_open);
        ASSERT(watch->state == WATCH_ACTIVE);
        ASSERT(!watch->is_orphan);
        ASSERT(find(watcher, watch->id) == watch);
        active++;
    }
    ASSERT(watcher->ids.count == active);
    for (const struct list *node = watcher->pending.next; node != &watcher->pending;
         node = node->next) {
        const struct client_watch *watch = CONTAINER_OF_CONST(node, struct client_watch, link);
        ASSERT(watch->state == WATCH_PENDING);
        ASSERT(watch->is_sent == is_open);
        ASSERT(is_open || !watch->is_orphan);
    }
}
