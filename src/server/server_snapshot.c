/* Snapshots of the member: a .snap file, its record in the log, and the log made shorter.
 *
 * Every --snapshot-count entries, in this order, each step only when the one before is durable:
 *
 *   1. the database is committed at least up to the snapshot's index
 *   2. the .snap file is written and synced (on the pool)
 *   3. its record is in the WAL
 *   4. raft forgets entries, but for the last --snapshot-catchup-entries, and the WAL lets go of
 *      segments that hold nothing newer
 *
 * A .snap file that does not fit on a full disk is made again later (server_space.c); until then
 * the log keeps everything.
 *
 * So a crash between any two leaves either an orphan file, which the next start removes, or a
 * record whose file is there. Old files and segments are purged every 30 seconds on the pool. */
#include "server/server_priv.h"

#include "base/failpoint.h"

#include <inttypes.h>

struct snapshotter {
    struct server *server;
    raft_index last_index; /* of the newest snapshot */
    bool is_busy;
    bool is_committing; /* busy, and waits for the database */
    bool is_short;      /* the last one did not fit on the disk */

    /* The one being made. */
    struct wal_snapshot record;
    struct snap snap;
    struct buf document;
    mono_ns began;
    struct job save_job;
    enum err save_err;
    struct errbuf why;

    struct timer purge_timer;
    struct job purge_job;
    bool is_purging;
    struct errbuf purge_why;
    enum err purge_err;
};

/* ---- making one ------------------------------------------------------------------------------ */

static void recorded(void *ctx)
{
    struct snapshotter *s = ctx;
    struct server *server = s->server;
    struct raft *raft = node_raft(server->node);
    uint64_t keep = server->config->snapshot_catchup_entries;
    struct raft_payload *data = raft_payload_copy(buf_slice(&s->document));
    enum err err = raft_create_snapshot(raft, s->record.index, &s->record.conf_state, data);
    ASSERT(err == ERR_OK || err == ERR_EXISTS);
    raft_payload_unref(&data);
    FAILPOINT(raftAfterSaveSnap);
    wal_release_to(node_wal(server->node), s->record.index);
    FAILPOINT(raftAfterWALRelease);
    LOG_INFO(&server->log, "saved snapshot to disk", log_u64("snapshot-index", s->record.index));
    raft_index compact = s->record.index > keep ? s->record.index - keep : 1;
    if (raft_compact(raft, compact) == ERR_OK) {
        LOG_INFO(&server->log, "compacted Raft logs", log_u64("compact-index", compact));
    }
    s->last_index = s->record.index;
    s->is_busy = false;
    buf_reset(&s->document);
}

static void save_run(struct job *job)
{
    struct snapshotter *s = CONTAINER_OF(job, struct snapshotter, save_job);
    FAILPOINT(raftBeforeSaveSnap);
    s->save_err = snap_save(s->server->options.env->disk, config_snap_dir(s->server->config),
                            &s->snap, &s->why);
}

static void save_done(struct job *job)
{
    struct snapshotter *s = CONTAINER_OF(job, struct snapshotter, save_job);
    s->is_short = s->save_err == ERR_NOSPACE;
    server_space_snapshot(s->server, s->is_short, s->why.text);
    if (s->is_short) { /* nothing of it is left; the log is kept as long as there is none */
        s->is_busy = false;
        buf_reset(&s->document);
        return;
    }
    if (s->save_err != ERR_OK) {
        fatal("cannot save a snapshot: %s; make room or repair the disk, then start again",
              s->why.text);
    }
    server_metrics_snap_saved(s->server->metrics, env_now_mono(s->server->options.env) - s->began);
    node_save_snapshot(s->server->node, &s->record, recorded, s);
}

static void committed(void *ctx)
{
    struct snapshotter *s = ctx;
    s->is_committing = false;
    s->began = env_now_mono(s->server->options.env);
    s->save_job = (struct job){.run = save_run, .done = save_done};
    executor_submit(s->server->options.env->pool, &s->save_job);
}

void snapshotter_applied(struct snapshotter *s)
{
    struct server *server = s->server;
    if (s->is_busy || s->is_short || server->is_stopping ||
        server->applied - s->last_index <= server->config->snapshot_count) {
        return;
    }
    LOG_INFO(&server->log, "triggering snapshot", log_hex("local-member-id", server->member_id),
             log_u64("local-member-applied-index", server->applied),
             log_u64("local-member-snapshot-index", s->last_index),
             log_u64("local-member-snapshot-count", server->config->snapshot_count),
             log_bool("snapshot-forced", false));
    s->is_busy = true;
    s->record = (struct wal_snapshot){
        .index = server->applied,
        .term = server->applied_term,
        .conf_state = server->conf_state,
    };
    buf_reset(&s->document);
    member_set_encode_v2(server->members, server->applied, &s->document);
    s->snap = (struct snap){
        .index = s->record.index,
        .term = s->record.term,
        .conf_state = s->record.conf_state,
        .data = buf_slice(&s->document),
    };
    s->is_committing = true;
    backend_force_commit(server->backend, committed, s);
}

void snapshotter_retry(struct snapshotter *s)
{
    if (s->is_short && !s->is_busy) {
        s->is_short = false;
        snapshotter_applied(s);
    }
}

void snapshotter_give_up(struct snapshotter *s)
{
    if (s->is_committing) {
        s->is_committing = false;
        s->is_busy = false;
    }
}

bool snapshotter_is_idle(const struct snapshotter *s)
{
    return !s->is_busy && !s->is_purging;
}

/* ---- purging --------------------------------------------------------------------------------- */

static void purge_run(struct job *job)
{
    struct snapshotter *s = CONTAINER_OF(job, struct snapshotter, purge_job);
    const struct config *config = s->server->config;
    struct disk *disk = s->server->options.env->disk;
    size_t removed;
    s->purge_err = ERR_OK;
    if (config->max_wals > 0) {
        s->purge_err =
            wal_purge(disk, config_wal_dir(config), config->max_wals, &removed, &s->purge_why);
    }
    if (s->purge_err == ERR_OK && config->max_snapshots > 0) {
        s->purge_err = snap_purge(disk, config_snap_dir(config), config->max_snapshots, &removed,
                                  &s->purge_why);
    }
}

static void purge_done(struct job *job)
{
    struct snapshotter *s = CONTAINER_OF(job, struct snapshotter, purge_job);
    s->is_purging = false;
    if (s->purge_err != ERR_OK) {
        LOG_WARN(&s->server->log, "failed to purge files", log_error(s->purge_why.text));
    }
}

static void on_purge(struct timer *timer)
{
    struct snapshotter *s = CONTAINER_OF(timer, struct snapshotter, purge_timer);
    if (s->server->is_stopping) {
        return;
    }
    if (!s->is_purging) {
        s->is_purging = true;
        s->purge_job = (struct job){.run = purge_run, .done = purge_done};
        executor_submit(s->server->options.env->pool, &s->purge_job);
    }
    timer_start(s->server->loop, timer, loop_now(s->server->loop) + SERVER_PURGE_NS);
}

/* ---- life cycle ------------------------------------------------------------------------------ */

struct snapshotter *snapshotter_new(struct server *server, raft_index snapshot_index)
{
    struct snapshotter *s = NEW(struct snapshotter);
    s->server = server;
    s->last_index = snapshot_index;
    timer_init(&s->purge_timer, on_purge);
    timer_start(server->loop, &s->purge_timer, loop_now(server->loop) + SERVER_PURGE_NS);
    return s;
}

void snapshotter_free(struct snapshotter **snapshotter)
{
    struct snapshotter *s = *snapshotter;
    if (s == NULL) {
        return;
    }
    ASSERT(snapshotter_is_idle(s));
    timer_stop(s->server->loop, &s->purge_timer);
    buf_fini(&s->document);
    mem_free(s);
    *snapshotter = NULL;
}
