/* From a data directory to a member that can start.
 *
 *   a log is there     existing member: newest snapshot that the log vouches for and that can be
 *                      read -> membership and raft state as of it; the log behind it; the database,
 *                      which is at or ahead of it (its consistent index says how far)
 *   no log             new member: ids from the flags, a log with the metadata, and one
 *                      ConfChange entry a founding member
 *
 * A crash in between leaves a log without entries, which is founded again. The database is opened
 * first: its lock is what tells a second server on the same directory.
 *
 * Everything here is synchronous: nobody is served yet. */
#include "server/server_priv.h"

#include "codec/raftpb.h"
#include "storage/bolt_sync.h"

#include <inttypes.h>

struct boot {
    struct server *server;
    const struct config *config;
    struct disk *disk;
    struct errbuf *why;
    bool has_log;
    bool has_snap;
    struct snap snap;
    struct wal *wal;
    struct wal_contents contents;
    struct raft_snapshot *snapshot;
};

/* ---- folders --------------------------------------------------------------------------------- */

/* Compatibility: etcd makes them 0700 and, where they are wider, warns and goes on. */
static FALLIBLE make_dir(struct boot *boot, const char *path)
{
    struct file_info info;
    enum err err = disk_mkdir_all(boot->disk, path, 0700, boot->why);
    if (err != ERR_OK) {
        return err_wrap(boot->why, err, "cannot access data directory");
    }
    TRY(disk_stat(boot->disk, path, &info, boot->why));
    if (!info.is_dir) {
        return errf(boot->why, ERR_INVALID,
                    "%s is not a directory; move it away or choose "
                    "another --data-dir",
                    path);
    }
    if ((info.mode & 077) != 0) {
        LOG_WARN(&boot->server->log, "check file permission", log_str("path", path),
                 log_error("directory is accessible by others; the recommended permission is "
                           "0700, to prevent possible unprivileged access to the data"));
    }
    return ERR_OK;
}

static FALLIBLE make_dirs(struct boot *boot)
{
    TRY(make_dir(boot, boot->config->data_dir));
    TRY(make_dir(boot, config_member_dir(boot->config)));
    TRY(make_dir(boot, config_snap_dir(boot->config)));
    return wal_exists(boot->disk, config_wal_dir(boot->config), &boot->has_log, boot->why);
}

static enum err say_remedy(struct errbuf *why, enum err err, const char *remedy)
{
    struct errbuf sentence = *why;
    return errf(why, err, "%s; %s", sentence.text, remedy);
}

/* ---- snapshot, database, log ------------------------------------------------------------------
 */

static FALLIBLE load_snapshot(struct boot *boot)
{
    struct wal_position *positions = NULL;
    size_t count = 0;
    size_t broken = 0;
    const char *dir = config_snap_dir(boot->config);
    TRY(wal_snapshots(boot->disk, config_wal_dir(boot->config), &positions, &count, boot->why));
    enum err err =
        snap_load_matching(boot->disk, dir, positions, count, &boot->snap, &broken, boot->why);
    bool needs_one = count > 0 && positions[count - 1].index > 0;
    mem_free(positions);
    if (broken > 0) {
        LOG_WARN(&boot->server->log, "set aside snapshot files that cannot be read",
                 log_str("dir", dir), log_u64("count", broken));
    }
    if (err == ERR_NOT_FOUND) {
        /* Without a file the log must go back to its beginning; wal_open() says if it does not. */
        if (needs_one) {
            LOG_WARN(&boot->server->log, "no snapshot file that the log knows can be read",
                     log_str("dir", dir));
        }
        return ERR_OK;
    }
    TRY(err);
    boot->has_snap = true;
    LOG_INFO(&boot->server->log, "recovered v2 store from snapshot",
             log_u64("snapshot-index", boot->snap.index));
    return ERR_OK;
}

/* --bootstrap-defrag-threshold-megabytes */
static bool wants_defrag(const struct server *server)
{
    struct backend_stats stats;
    uint64_t threshold = server->config->bootstrap_defrag_threshold_megabytes << 20;
    backend_stats(server->backend, &stats);
    uint64_t freeable = stats.size - stats.size_in_use;
    if (threshold == 0) {
        return false;
    }
    bool is_worth_it = freeable >= threshold;
    LOG_INFO(&server->log, is_worth_it ? "defragmenting" : "Skipping defragmentation",
             log_str("path", backend_path(server->backend)),
             log_u64("current-db-size-bytes", stats.size),
             log_u64("current-db-size-in-use-bytes", stats.size_in_use),
             log_u64("experimental-bootstrap-defrag-threshold-bytes", threshold));
    return is_worth_it;
}

static FALLIBLE open_backend(struct boot *boot)
{
    struct server *server = boot->server;
    const char *path = config_backend_path(boot->config);
    mono_ns began = env_now_mono(server->options.env);
    if (boot->has_snap && !disk_exists(boot->disk, path)) {
        return errf(boot->why, ERR_NOT_FOUND,
                    "the database %s is missing, and the log begins after its first entries; put "
                    "it back, restore this member from a snapshot, or replace the member",
                    path);
    }
    struct backend_options options = {
        .env = server->options.env,
        .loop = server->loop,
        .path = path,
        .batch_interval_ms =
            (uint32_t)(config_batch_interval_ns(boot->config) / (int64_t)NS_PER_MS),
        .batch_limit = (uint32_t)config_batch_limit(boot->config),
        .no_sync = boot->config->unsafe_no_fsync,
        .scrub_interval_ns =
            boot->config->scrub_interval_ns > 0 ? (uint64_t)boot->config->scrub_interval_ns : 0,
        .reserve_bytes = SERVER_DB_RESERVE_BYTES,
        .on_commit = server_metrics_committed,
        .on_space = server_space_backend,
        .ctx = server,
    };
    enum err err = backend_open(&options, &server->backend, boot->why);
    if (err == ERR_OK && wants_defrag(server)) {
        backend_close(&server->backend);
        err = bolt_sync_defrag(boot->disk, path, NULL, NULL, boot->why);
        if (err == ERR_OK) {
            err = backend_open(&options, &server->backend, boot->why);
        }
    }
    if (err == ERR_LOCKED) {
        return errf(boot->why, ERR_LOCKED,
                    "%s is in use by another process; stop the other server, or choose another "
                    "--data-dir",
                    path);
    }
    if (err == ERR_CORRUPT) {
        return say_remedy(boot->why, err, "restore this member from a snapshot or replace it");
    }
    TRY(err);
    banner_backend(boot->config, (int64_t)(env_now_mono(server->options.env) - began));
    uint64_t consistent = backend_consistent_index(server->backend);
    if (boot->has_snap && consistent < boot->snap.index) {
        return errf(boot->why, ERR_CORRUPT,
                    "the database %s ends at entry %" PRIu64 ", before the snapshot at %" PRIu64
                    "; it is older than its log: put the right file back or replace the member",
                    path, consistent, boot->snap.index);
    }
    return ERR_OK;
}

static FALLIBLE open_log(struct boot *boot)
{
    struct wal_config config = {
        .env = boot->server->options.env,
        .loop = boot->server->loop,
        .dir = config_wal_dir(boot->config),
        .unsafe_no_fsync = boot->config->unsafe_no_fsync,
        .synced = server_metrics_wal_synced,
        .space_changed = server_space_wal,
        .ctx = boot->server,
        .segment_bytes = boot->server->options.wal_segment_bytes,
    };
    struct wal_position start = {.index = boot->snap.index, .term = boot->snap.term};
    TRY(wal_open(&config, start, &boot->wal, &boot->contents, boot->why));
    if (boot->contents.repaired != NULL) {
        LOG_WARN(&boot->server->log, "cut the torn end of the log",
                 log_str("copy", boot->contents.repaired));
    }
    return ERR_OK;
}

/* ---- identity ---------------------------------------------------------------------------------
 */

static FALLIBLE identity_from_log(struct boot *boot)
{
    struct raftpb_metadata metadata;
    if (raftpb_metadata_decode(buf_slice(&boot->contents.metadata), &metadata) != ERR_OK ||
        metadata.node_id == 0) {
        return errf(boot->why, ERR_CORRUPT,
                    "the log in %s does not say whose it is; its first segment is damaged: restore "
                    "this member from a snapshot or replace it",
                    config_wal_dir(boot->config));
    }
    boot->server->member_id = metadata.node_id;
    boot->server->cluster_id = metadata.cluster_id;
    return ERR_OK;
}

/* The founding member that these flags make us. The url map lives in the configuration. */
static FALLIBLE identity_from_flags(struct boot *boot, const struct url_map_entry **self_out)
{
    struct url_map map;
    struct arena arena;
    TRY(config_bootstrap(boot->config, &map, boot->why));
    ASSERT(map.count == 1); /* several members are refused by the configuration so far */
    arena_init(&arena);
    const struct url_map_entry *self = &map.items[0];
    uint64_t id = ids_member(url_list_texts(&arena, &self->urls), self->urls.count,
                             boot->config->initial_cluster_token);
    arena_fini(&arena);
    boot->server->member_id = id;
    boot->server->cluster_id = ids_cluster(&id, 1);
    *self_out = self;
    return ERR_OK;
}

/* The log is there and holds no entry: an earlier founding was cut short. It goes on with the
 * member that the log names; flags that make another one belong to another cluster. */
static FALLIBLE identity_again(struct boot *boot, const struct url_map_entry **self_out)
{
    struct server *server = boot->server;
    uint64_t own_id = server->member_id;
    uint64_t cluster_id = server->cluster_id;
    TRY(identity_from_flags(boot, self_out));
    if (server->member_id != own_id || server->cluster_id != cluster_id) {
        return errf(boot->why, ERR_INVALID,
                    "the log in %s was begun with other flags, by member %" PRIx64
                    " of cluster %" PRIx64
                    ", and holds no entry; start with those flags, or remove "
                    "the data directory",
                    config_wal_dir(boot->config), own_id, cluster_id);
    }
    return ERR_OK;
}

static FALLIBLE create_log(struct boot *boot)
{
    struct raftpb_metadata metadata = {.node_id = boot->server->member_id,
                                       .cluster_id = boot->server->cluster_id};
    struct buf bytes = {0};
    raftpb_metadata_put(buf_extend(&bytes, raftpb_metadata_size(&metadata)), &metadata);
    enum err err = wal_create(boot->disk, config_wal_dir(boot->config), buf_slice(&bytes),
                              boot->server->options.wal_segment_bytes, boot->why);
    buf_fini(&bytes);
    return err;
}

/* ---- raft --------------------------------------------------------------------------------------
 */

static void trace(void *priv, enum raft_trace_level level, const char *line)
{
    static const enum log_level levels[] = {
        [RAFT_DEBUG] = LOG_LEVEL_DEBUG,
        [RAFT_INFO] = LOG_LEVEL_INFO,
        [RAFT_WARN] = LOG_LEVEL_WARN,
        [RAFT_ERROR] = LOG_LEVEL_ERROR,
    };
    const struct server *server = priv;
    struct log log = {.core = server->log.core, .name = "raft"};
    LOG_AT(&log, levels[level], line);
}

static FALLIBLE make_raft(struct boot *boot, struct raft **out)
{
    struct server *server = boot->server;
    struct raft_config config =
        raft_config_default(server->member_id, env_random_u64(server->options.env));
    config.election_ticks = (uint32_t)boot->config->election_ticks;
    config.pre_vote = boot->config->pre_vote;
    config.trace = trace;
    config.trace_priv = server;
    if (boot->has_snap) {
        struct raft_payload *data = raft_payload_copy(boot->snap.data);
        boot->snapshot =
            raft_snapshot_new(boot->snap.index, boot->snap.term, &boot->snap.conf_state, data);
        raft_payload_unref(&data);
        config.snapshot = boot->snapshot;
        server->conf_state = boot->snap.conf_state;
    }
    config.hard_state = boot->contents.hard_state;
    config.entries = boot->contents.entries;
    config.entry_count = boot->contents.entry_count;
    server->applied = boot->snap.index;
    return raft_new(&config, boot->why, out);
}

/* The entry that makes the founding member; its context is what etcd puts there. */
static FALLIBLE found(struct boot *boot, struct raft *raft, const struct url_map_entry *self)
{
    struct member member = {.id = boot->server->member_id, .name = mem_strdup(self->name)};
    struct buf context = {0};
    struct buf bytes = {0};
    for (size_t i = 0; i < self->urls.count; i++) {
        member_urls_add(&member.peer_urls, slice_str(self->urls.items[i].text));
    }
    member_encode_row(&member, &context);
    struct raftpb_conf_change change = {
        .type = RAFTPB_ADD_NODE,
        .node_id = member.id,
        .context = buf_slice(&context),
    };
    raftpb_conf_change_put(buf_extend(&bytes, raftpb_conf_change_size(&change)), &change);
    struct raft_payload *payload = raft_payload_copy(buf_slice(&bytes));
    enum err err = raft_bootstrap(raft, &payload, 1);
    raft_payload_unref(&payload);
    buf_fini(&bytes);
    buf_fini(&context);
    member_fini(&member);
    return err == ERR_OK ? ERR_OK : errf(boot->why, err, "cannot found a cluster in this log");
}

static FALLIBLE load_members(struct boot *boot)
{
    boot->server->members = member_set_new(boot->server->cluster_id);
    if (!boot->has_snap) {
        return ERR_OK; /* the log has them all */
    }
    enum err err = member_set_decode_v2(boot->server->members, boot->snap.data, boot->why);
    return err == ERR_OK ? ERR_OK
                         : err_wrap(boot->why, err, "snapshot at %" PRIu64, boot->snap.index);
}

/* Entries up to the database's index are taken as applied: with a log that ends before it, or none,
 * new entries would be skipped. */
static FALLIBLE check_log_reaches_database(struct boot *boot, raft_index last)
{
    uint64_t consistent = backend_consistent_index(boot->server->backend);
    if (consistent <= last) {
        return ERR_OK;
    }
    return errf(boot->why, ERR_CORRUPT,
                "the log in %s %s, but the database %s holds entries up to %" PRIu64
                "; put the log back (is it in another --wal-dir?), restore this member from a "
                "snapshot, or replace it",
                config_wal_dir(boot->config), boot->has_log ? "ends too early" : "is missing",
                config_backend_path(boot->config), consistent);
}

/* ---- the two ways ------------------------------------------------------------------------------
 */

static FALLIBLE boot_member(struct boot *boot)
{
    const struct url_map_entry *self = NULL;
    struct raft *raft = NULL;
    if (boot->has_log) {
        TRY(load_snapshot(boot));
    }
    TRY(open_backend(boot));
    if (!boot->has_log) {
        TRY(check_log_reaches_database(boot, 0));
        TRY(identity_from_flags(boot, &self));
        TRY(create_log(boot));
    }
    TRY(open_log(boot));
    TRY(identity_from_log(boot));
    TRY(server__check_origin(boot->server, boot->why));
    size_t removed = 0;
    TRY(snap_clean(boot->disk, config_snap_dir(boot->config), boot->snap.index, &removed,
                   boot->why));
    TRY(load_members(boot));
    TRY(make_raft(boot, &raft));
    struct raft_status status;
    raft_status(raft, &status);
    bool is_bare = status.last_index == 0 && !boot->contents.has_hard_state;
    enum err err = check_log_reaches_database(boot, status.last_index);
    if (err == ERR_OK && is_bare) {
        err = self == NULL ? identity_again(boot, &self) : ERR_OK;
        err = err == ERR_OK ? found(boot, raft, self) : err;
    }
    if (err != ERR_OK) {
        raft_free(&raft);
        return err;
    }
    struct node_options options = {
        .loop = boot->server->loop,
        .raft = raft,
        .wal = boot->wal,
        .tick_ms = boot->config->heartbeat_ms,
        .hooks = server__node_hooks(boot->server),
    };
    boot->server->node = node_new(&options);
    boot->wal = NULL;
    boot->server->snapshotter = snapshotter_new(boot->server, boot->snap.index);
    struct banner_member self_names = server__banner(boot->server);
    if (is_bare) {
        banner_new_member(boot->config, &self_names);
    } else {
        banner_old_member(boot->config, &self_names, boot->contents.hard_state.commit);
    }
    return ERR_OK;
}

/* What the system refuses names the file; what helps is the same for all files. */
static void add_remedy(enum err err, struct errbuf *why)
{
    if (err == ERR_PERM) {
        say_remedy(why, err,
                   "let etcd read and write it (owner, mode, read-only mount), and start again");
    } else if (err == ERR_NOSPACE) {
        say_remedy(why, err, "make room on its file system, and start again");
    }
}

FALLIBLE server__boot(struct server *server, struct errbuf *why)
{
    struct boot boot = {
        .server = server,
        .config = server->config,
        .disk = server->options.env->disk,
        .why = why,
    };
    enum err err = make_dirs(&boot);
    if (err == ERR_OK) {
        err = boot_member(&boot);
    }
    add_remedy(err, why);
    wal_close(&boot.wal);
    wal_contents_fini(&boot.contents);
    raft_snapshot_unref(&boot.snapshot);
    snap_fini(&boot.snap);
    return err;
}
