/* Steps, round and round:
 *
 *   LOOK    range: who has the lowest create revision? Somebody: FOLLOW
 *   AWAIT   nobody: watch the prefix until somebody puts a key, then FOLLOW
 *   FOLLOW  tell it, and watch its key: each put is told, a delete leads back to LOOK */
#include "client/observer.h"

#include "base/mem.h"
#include "client/client_priv.h"
#include "client/client_rpc.h"
#include "codec/pb.h"

struct client_observer {
    struct client *client;
    struct client_watcher *watcher;
    struct buf prefix;
    struct buf end;
    struct client_rpc *rpc;
    struct client_watch *watch;
    bool is_following;
    bool *is_freed; /* set when it is freed while it tells */
    client_observer_fn *fn;
    void *ctx;
};

static void look(struct client_observer *observer);

/* False: it has been freed. */
static bool tell(struct client_observer *observer, const Etcdserverpb__ResponseHeader *header,
                 const Mvccpb__KeyValue *kv)
{
    Etcdserverpb__RangeResponse range = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    Mvccpb__KeyValue *kvs[1] = {(Mvccpb__KeyValue *)(uintptr_t)kv};
    bool is_freed = false;
    range.header = (Etcdserverpb__ResponseHeader *)(uintptr_t)header;
    range.kvs = kvs;
    range.n_kvs = 1;
    observer->is_freed = &is_freed;
    observer->fn(observer, &range, "", observer->ctx);
    if (!is_freed) {
        observer->is_freed = NULL;
    }
    return !is_freed;
}

static void on_update(struct client_watch *watch, const struct client_watch_update *update,
                      void *ctx);

static void watch_from(struct client_observer *observer, struct slice key, struct slice end,
                       int64_t revision)
{
    struct client_watch_options options = {
        .key = key, .range_end = end, .start_revision = revision};
    client_watch_free(&observer->watch);
    observer->watch = client_watch_start(observer->watcher, &options, on_update, observer);
}

static void follow(struct client_observer *observer, const Etcdserverpb__ResponseHeader *header,
                   const Mvccpb__KeyValue *kv, int64_t revision)
{
    /* The watch first: telling may free us, and the key with what it is told of. */
    observer->is_following = true;
    watch_from(observer, pb_bytes(kv->key), SLICE_EMPTY, client__behind(revision));
    (void)tell(observer, header, kv);
}

static void on_followed(struct client_observer *observer,
                        const Etcdserverpb__WatchResponse *response)
{
    for (size_t i = 0; i < response->n_events; i++) {
        const Mvccpb__Event *event = response->events[i];
        if (event->type == MVCCPB__EVENT__EVENT_TYPE__DELETE) {
            client_watch_free(&observer->watch);
            look(observer);
            return;
        }
        if (!tell(observer, response->header, event->kv)) {
            return;
        }
    }
}

static void on_awaited(struct client_observer *observer,
                       const Etcdserverpb__WatchResponse *response)
{
    for (size_t i = 0; i < response->n_events; i++) {
        const Mvccpb__Event *event = response->events[i];
        if (event->type == MVCCPB__EVENT__EVENT_TYPE__PUT) {
            Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
            if (response->header != NULL) {
                header = *response->header;
            }
            header.revision = event->kv->mod_revision; /* several may have come at once */
            follow(observer, &header, event->kv, event->kv->mod_revision);
            return;
        }
    }
}

static void on_update(struct client_watch *watch, const struct client_watch_update *update,
                      void *ctx)
{
    struct client_observer *observer = ctx;
    (void)watch;
    if (!update->is_end) {
        if (observer->is_following) {
            on_followed(observer, update->response);
        } else {
            on_awaited(observer, update->response);
        }
        return;
    }
    bool is_compacted = update->response->compact_revision != 0;
    client_watch_free(&observer->watch);
    if (is_compacted) {
        look(observer); /* the present state is all we want */
    } else {
        observer->fn(observer, NULL, update->error, observer->ctx);
    }
}

static void looked(void *ctx, const struct client_result *result, void *reply)
{
    struct client_observer *observer = ctx;
    const Etcdserverpb__RangeResponse *range = reply;
    observer->rpc = NULL;
    if (range == NULL) {
        observer->fn(observer, NULL, result->error, observer->ctx);
        return;
    }
    int64_t revision = range->header == NULL ? 0 : range->header->revision;
    if (range->n_kvs > 0) {
        follow(observer, range->header, range->kvs[0], revision);
    } else {
        observer->is_following = false;
        watch_from(observer, buf_slice(&observer->prefix), buf_slice(&observer->end),
                   client__behind(revision));
    }
}

static void look(struct client_observer *observer)
{
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    range.key = pb_binary(buf_slice(&observer->prefix));
    range.range_end = pb_binary(buf_slice(&observer->end));
    range.sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE;
    range.sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND;
    range.limit = 1;
    observer->rpc =
        client_rpc_start(observer->client, CLIENT_RANGE, &range, UINT64_MAX, looked, observer);
}

struct client_observer *client_observer_start(struct client *client, struct client_watcher *watcher,
                                              struct slice name, client_observer_fn *fn, void *ctx)
{
    struct client_observer *observer = NEW(struct client_observer);
    observer->client = client;
    observer->watcher = watcher;
    observer->fn = fn;
    observer->ctx = ctx;
    buf_append_slice(&observer->prefix, name);
    buf_append_byte(&observer->prefix, '/');
    buf_append_slice(&observer->end, name);
    buf_append_byte(&observer->end, '/' + 1);
    look(observer);
    return observer;
}

void client_observer_free(struct client_observer **out)
{
    struct client_observer *observer = *out;
    if (observer == NULL) {
        return;
    }
    if (observer->is_freed != NULL) {
        *observer->is_freed = true;
    }
    client_rpc_forget(&observer->rpc);
    client_watch_free(&observer->watch);
    buf_fini(&observer->prefix);
    buf_fini(&observer->end);
    mem_free(observer);
    *out = NULL;
}
