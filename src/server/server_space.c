/* Out of space while running: what is refused, who is told, and how it ends.
 *
 * Log, database and snapshots meet a full disk before they write anything, put off what did not
 * fit, and say so here (docs/notes/out-of-space.md). Two levels:
 *
 *   low   something made in advance could not be: the next segment of the log, the database's
 *         reserve, a .snap file. The NOSPACE alarm is raised through the log, for which there is
 *         room, and what takes space (a put, a Txn with one) is refused, also when the alarm is
 *         disarmed too early. Reads, deletes and compactions go on out of the reserves.
 *   out   the reserves are nearly used up: every write of a client is refused, but for alarms.
 *
 * A defragmentation takes as much of the disk as the database, for a while, and gives it back when
 * it is given up. So it is given up before the alarm is raised, which lasts until somebody disarms
 * it: only if it is still low when that is back, the alarm follows; until then the reserves serve.
 *
 * Every second it is looked whether there is room again. Then the reserves are made up, and when
 * the alarm has been disarmed, everything goes on; nothing has to be restarted. */
#include "server/server_priv.h"

#define RETRY_NS NS_PER_SEC
/* The first one asks for the space that is back, the second has the answer. */
#define PUT_OFF_RETRIES 2
/* Operations that may wait in memory for a database that cannot grow. */
#define PENDING_OPS_MAX 100000

static bool is_low(const struct server_space *space)
{
    return space->wal != WAL_SPACE_OK || space->backend != BACKEND_SPACE_OK ||
           space->is_snapshot_short;
}

static bool is_out(const struct server *server)
{
    struct backend_stats stats;
    if (server->space.wal == WAL_SPACE_OUT) {
        return true;
    }
    if (server->space.backend != BACKEND_SPACE_OUT) {
        return false;
    }
    backend_stats(server->backend, &stats);
    return stats.pending_ops > PENDING_OPS_MAX;
}

/* After any of the reports below. */
static void changed(struct server *server, const char *what, const char *why)
{
    struct server_space *space = &server->space;
    if (!is_low(space)) {
        space->alarm_put_off = 0;
        LOG_INFO(&server->log,
                 "there is space on the disk again; disarm the alarm to go on writing",
                 log_str("alarm", "NOSPACE"));
        timer_stop(server->loop, &space->retry);
        return;
    }
    LOG_WARN(&server->log, "the disk is full; make room on it", log_str("for", what),
             log_str("path", why));
    if (backend_is_defragmenting(server->backend)) {
        space->alarm_put_off = server->nospace_proposed ? 0 : PUT_OFF_RETRIES;
        backend_defrag_cancel(server->backend, ERR_NOSPACE,
                              "the disk is full, and others need what is left of it");
    } else {
        server__raise_nospace(server);
    }
    if (!timer_running(&space->retry) && !server->is_stopping) {
        timer_start(server->loop, &space->retry, loop_now(server->loop) + RETRY_NS);
    }
}

void server_space_wal(enum wal_space space, void *ctx)
{
    struct server *server = ctx;
    server->space.wal = space;
    changed(server, "the log", config_wal_dir(server->config));
}

void server_space_backend(void *ctx, enum backend_space space, const char *why)
{
    struct server *server = ctx;
    server->space.backend = space;
    changed(server, "the database", why);
}

void server_space_snapshot(struct server *server, bool is_short, const char *why)
{
    if (server->space.is_snapshot_short != is_short) {
        server->space.is_snapshot_short = is_short;
        changed(server, "a snapshot", why);
    }
}

static void on_retry(struct timer *timer)
{
    struct server *server = CONTAINER_OF(timer, struct server, space.retry);
    if (server->is_stopping) {
        return;
    }
    timer_start(server->loop, timer, loop_now(server->loop) + RETRY_NS);
    if (server->space.alarm_put_off > 0 && !backend_is_defragmenting(server->backend) &&
        --server->space.alarm_put_off == 0) {
        server__raise_nospace(server);
    }
    wal_retry(node_wal(server->node));
    backend_retry(server->backend);
    if (server->space.is_snapshot_short) {
        snapshotter_retry(server->snapshotter);
    }
}

bool server_space_allows(const struct server *server, enum request_kind kind, uint64_t cost)
{
    if (!is_low(&server->space) || (server->space.alarm_put_off > 0 && !is_out(server))) {
        return true;
    }
    return cost == 0 && (kind == REQUEST_ALARM || !is_out(server));
}

void server_space_init(struct server *server)
{
    timer_init(&server->space.retry, on_retry);
}

/* What waits for the database to grow would hold up the stop for ever; the log has it. */
void server_space_stop(struct server *server)
{
    timer_stop(server->loop, &server->space.retry);
    if (server->space.backend == BACKEND_SPACE_OUT) {
        backend_forget_waiters(server->backend);
        server->working -= server->compact_commits;
        server->compact_commits = 0;
        snapshotter_give_up(server->snapshotter);
        server__give_up_pins(server);
    }
}
