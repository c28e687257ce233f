/* The watch hub's place in the server: fed by the store's hook, flushed once a turn, and given a
 * slice of every turn while somebody is behind. */
#include "server/server_priv.h"

struct server_watch {
    struct server *server;
    struct watch_hub *hub;
    struct task task; /* one slice */
    struct metric *streams;
    struct metric *watchers;
    struct metric *slow;
    struct metric *events;
    struct metric *lag;
    struct metric *history_rows;
};

static void on_wake(void *ctx)
{
    struct server_watch *watch = ctx;
    if (!watch->server->is_stopping) {
        loop_task_add(watch->server->loop, LOOP_PERSIST, &watch->task);
    }
}

/* Before this turn's entries are applied, so that what is read is not in the middle of one. */
static void on_task(struct task *task)
{
    struct server_watch *watch = CONTAINER_OF(task, struct server_watch, task);
    if (watch_hub_step(watch->hub)) {
        on_wake(watch);
    }
}

static void collect(void *ctx)
{
    struct server *server = ctx;
    struct server_watch *watch = server->watch;
    struct watch_stats stats;
    if (watch == NULL) {
        return;
    }
    watch_hub_stats(watch->hub, &stats);
    metric_set(watch->streams, (double)stats.streams);
    metric_set(watch->watchers, (double)stats.watchers);
    metric_set(watch->slow, (double)stats.behind);
    metric_set(watch->events, (double)stats.events);
    metric_set(watch->lag, (double)stats.lag);
    metric_set(watch->history_rows, (double)stats.history_rows);
}

static void add_metrics(struct server_watch *watch, struct metrics *metrics)
{
    watch->streams = metrics_gauge(metrics, "etcd_debugging_mvcc_watch_stream_total",
                                   "Total number of watch streams.", "");
    watch->watchers = metrics_gauge(metrics, "etcd_debugging_mvcc_watcher_total",
                                    "Total number of watchers.", "");
    watch->slow = metrics_gauge(metrics, "etcd_debugging_mvcc_slow_watcher_total",
                                "Total number of unsynced slow watchers.", "");
    watch->events = metrics_counter(metrics, "etcd_debugging_mvcc_events_total",
                                    "Total number of events sent by this member.", "");
    watch->lag =
        metrics_gauge(metrics, "etcdc_watch_lag_revisions",
                      "How many revisions the slowest watcher has still to be told of.", "");
    watch->history_rows = metrics_counter(metrics, "etcdc_watch_history_rows_total",
                                          "Rows read for watchers that were behind.", "");
    metrics_on_collect(metrics, collect, watch->server);
}

void server__watch_open(struct server *server)
{
    struct server_watch *watch = NEW(struct server_watch);
    struct watch_options options = {
        .store = server->mvcc,
        .ctx = watch,
        .wake = on_wake,
        .hash_seed = env_random_u64(server->options.env),
    };
    watch->server = server;
    watch->hub = watch_hub_new(&options);
    task_init(&watch->task, on_task);
    add_metrics(watch, server->options.metrics);
    server->watch = watch;
}

void server__watch_stop(struct server *server)
{
    loop_task_remove(&server->watch->task);
}

void server__watch_close(struct server *server)
{
    if (server->watch != NULL) {
        server__watch_stop(server);
        watch_hub_free(&server->watch->hub);
        mem_free(server->watch);
        server->watch = NULL;
    }
}

void server__watch_changed(void *ctx, int64_t revision, const struct mvcc_change *changes,
                           size_t count)
{
    struct server *server = ctx;
    watch_hub_changed(server->watch->hub, revision, changes, count);
}

void server__watch_flush(struct server *server)
{
    watch_hub_flush(server->watch->hub);
}

struct watch_hub *server_watch_hub(struct server *server)
{
    return server->watch->hub;
}
