/* The server's own series, with etcd's names, help and buckets. */
#include "server/server_priv.h"

#include <inttypes.h>
#include <stdio.h>

/* 1 ms to 8.192 s by factors of two: etcd's buckets for everything on disk. */
static const double disk_bounds[] = {0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064,
                                     0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192};
static const double apply_bounds[] = {0.0001, 0.0002, 0.0004, 0.0008,  0.0016,  0.0032, 0.0064,
                                      0.0128, 0.0256, 0.0512, 0.1024,  0.2048,  0.4096, 0.8192,
                                      1.6384, 3.2768, 6.5536, 13.1072, 26.2144, 52.4288};
static const double defrag_bounds[] = {0.1,  0.2,  0.4,  0.8,   1.6,   3.2,  6.4,
                                       12.8, 25.6, 51.2, 102.4, 204.8, 409.6};
static const double snapshot_bounds[] = {0.01,  0.02,  0.04,   0.08,   0.16,  0.32,
                                         0.64,  1.28,  2.56,   5.12,   10.24, 20.48,
                                         40.96, 81.92, 163.84, 327.68, 655.36};
static const double stall_bounds[LOOP_STALL_BUCKETS - 1] = {
    0.000016, 0.000032, 0.000064, 0.000128, 0.000256, 0.000512, 0.001024, 0.002048,
    0.004096, 0.008192, 0.016384, 0.032768, 0.065536, 0.131072, 0.262144};

static const double ttl_bounds[LEASE_TTL_BUCKETS - 1] = {
    1,    2,    4,     8,     16,    32,     64,     128,    256,     512,     1024,    2048,
    4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576, 2097152, 4194304, 8388608};

struct server_metrics {
    struct server *server;
    struct histogram *wal_fsync;
    struct metric *wal_bytes;
    struct histogram *backend_commit;
    struct histogram *snap_fsync;
    struct histogram *snap_save;
    struct histogram *defrag;
    struct metric *defrag_inflight;
    struct metric *scrub_pages;
    struct metric *scrub_passes;
    struct metric *scrub_unsealed;
    struct metric *scrub_inflight;
    struct histogram *snapshot;
    struct histogram *stall;
    struct metric *stall_max;
    struct metric *units_max;
    struct histogram *apply[REQUEST_KIND_COUNT][2];
    struct metric *has_leader;
    struct metric *is_leader;
    struct metric *is_learner;
    struct metric *leader_changes;
    struct metric *proposals_applied;
    struct metric *proposals_committed;
    struct metric *proposals_pending;
    struct metric *proposals_failed;
    struct metric *slow_applies;
    struct metric *quota;
    struct metric *db_size;
    struct metric *db_in_use;
    struct metric *puts;
    struct metric *deletes;
    struct metric *ranges;
    struct metric *txns;
    struct metric *keys;
    struct metric *revision;
    struct metric *compact_revision;
    struct metric *compacted_keys;
    struct metric *open_reads;
    struct metric *leases_granted;
    struct metric *leases_revoked;
    struct metric *leases_renewed;
    struct metric *leases_expired;
    struct histogram *lease_ttls;
    struct metric *cluster_version;
    struct metric *id;
};

static struct metric *gauge(struct server *server, const char *name, const char *help)
{
    return metrics_gauge(server->options.metrics, name, help, "");
}

static struct metric *counter(struct server *server, const char *name, const char *help)
{
    return metrics_counter(server->options.metrics, name, help, "");
}

static struct histogram *disk_histogram(struct server *server, const char *name, const char *help)
{
    return metrics_histogram(server->options.metrics, name, help, "", disk_bounds,
                             ARRAY_LEN(disk_bounds));
}

static void collect_store(struct server_metrics *m)
{
    struct server *server = m->server;
    struct mvcc_stats mvcc;
    struct backend_stats backend;
    mvcc_stats(server->mvcc, &mvcc);
    backend_stats(server->backend, &backend);
    int64_t compacted = mvcc_compact_revision(server->mvcc);
    metric_set(m->puts, (double)mvcc.puts);
    metric_set(m->deletes, (double)mvcc.deletes);
    metric_set(m->ranges, (double)mvcc.ranges);
    metric_set(m->txns, (double)mvcc.txns);
    metric_set(m->keys, (double)mvcc.index.keys_known);
    metric_set(m->revision, (double)mvcc_revision(server->mvcc));
    metric_set(m->compact_revision, (double)(compacted < 0 ? 0 : compacted));
    metric_set(m->compacted_keys, (double)mvcc.compacted_rows);
    metric_set(m->open_reads, (double)mvcc.open_reads);
    metric_set(m->db_size, (double)backend.size);
    metric_set(m->db_in_use, (double)backend.size_in_use);
}

static void collect_scrub(struct server_metrics *m)
{
    struct backend_scrub_stats scrub;
    backend_scrub_stats(m->server->backend, &scrub);
    metric_set(m->scrub_pages, (double)scrub.pages);
    metric_set(m->scrub_passes, (double)scrub.passes);
    metric_set(m->scrub_unsealed, (double)scrub.unsealed);
    metric_set(m->scrub_inflight, scrub.is_under_way);
}

static void collect_leases(struct server_metrics *m)
{
    struct lessor_stats stats;
    lessor_stats(m->server->lessor, &stats);
    metric_set(m->leases_granted, (double)stats.granted);
    metric_set(m->leases_revoked, (double)stats.revoked);
    metric_set(m->leases_renewed, (double)stats.renewed);
    metric_set(m->leases_expired, (double)stats.expired);
    for (size_t i = 0; i < LEASE_TTL_BUCKETS; i++) {
        m->lease_ttls->counts[i] = stats.ttl_counts[i];
    }
    m->lease_ttls->count = stats.granted;
    m->lease_ttls->sum = (double)stats.ttl_sum;
}

static void collect_stalls(struct server_metrics *m)
{
    const struct loop_stats *stats = loop_stats(m->server->loop);
    m->stall->count = 0;
    for (size_t i = 0; i < LOOP_STALL_BUCKETS; i++) {
        m->stall->counts[i] = stats->stall_count[i];
        m->stall->count += stats->stall_count[i];
    }
    m->stall->sum = (double)stats->stall_sum_ns / (double)NS_PER_SEC;
    metric_set(m->stall_max, (double)stats->stall_max_ns / (double)NS_PER_SEC);
    metric_set(m->units_max, (double)m->server->units_max);
}

static void collect(void *ctx)
{
    struct server_metrics *m = ctx;
    struct server *server = m->server;
    struct raft_status raft;
    struct wal_stats wal;
    if (server->mvcc == NULL || server->node == NULL) {
        return;
    }
    collect_store(m);
    collect_scrub(m);
    collect_leases(m);
    collect_stalls(m);
    raft_status(node_raft(server->node), &raft);
    wal_stats(node_wal(server->node), &wal);
    metric_set(m->proposals_applied, (double)server->applied);
    metric_set(m->proposals_committed, (double)raft.hard_state.commit);
    size_t pending = 0; /* counted when somebody asks */
    LIST_FOR_EACH (&server->proposed, link) {
        pending++;
    }
    metric_set(m->proposals_pending, (double)pending);
    metric_set(m->is_learner, raft.is_learner);
    metric_set(m->wal_bytes, (double)wal.bytes);
    metric_set(m->quota, (double)config_quota(server->config));
    if (m->id == NULL) {
        char labels[64];
        snprintf(labels, sizeof(labels), "server_id=\"%" PRIx64 "\"", server->member_id);
        m->id = metrics_gauge(server->options.metrics, "etcd_server_id",
                              "Server or member ID in hexadecimal format. 1 for 'server_id' label "
                              "with current ID.",
                              labels);
        metric_set(m->id, 1);
    }
    if (m->cluster_version == NULL && server_cluster_version(server)[0] != '\0') {
        m->cluster_version =
            metrics_gauge(server->options.metrics, "etcd_cluster_version",
                          "Which version is running. 1 for 'cluster_version' label with current "
                          "cluster version",
                          "cluster_version=\"" CONFIG_ETCD_MINOR "\"");
        metric_set(m->cluster_version, 1);
    }
}

static void add_disk(struct server_metrics *m)
{
    struct server *s = m->server;
    m->wal_fsync = disk_histogram(s, "etcd_disk_wal_fsync_duration_seconds",
                                  "The latency distributions of fsync called by WAL.");
    m->wal_bytes =
        gauge(s, "etcd_disk_wal_write_bytes_total", "Total number of bytes written in WAL.");
    m->backend_commit = disk_histogram(s, "etcd_disk_backend_commit_duration_seconds",
                                       "The latency distributions of commit called by backend.");
    m->snap_fsync = disk_histogram(s, "etcd_snap_fsync_duration_seconds",
                                   "The latency distributions of fsync called by snap.");
    m->snap_save = disk_histogram(s, "etcd_debugging_snap_save_total_duration_seconds",
                                  "The total latency distributions of save called by snapshot.");
    m->defrag = metrics_histogram(s->options.metrics, "etcd_disk_backend_defrag_duration_seconds",
                                  "The latency distribution of backend defragmentation.", "",
                                  defrag_bounds, ARRAY_LEN(defrag_bounds));
    m->defrag_inflight = gauge(s, "etcd_disk_defrag_inflight",
                               "Whether or not defrag is active on the member. 1 means active, 0 "
                               "means not.");
    m->scrub_pages = counter(s, "etcdc_scrub_pages_total",
                             "Pages of the database read again in search of damage.");
    m->scrub_passes =
        counter(s, "etcdc_scrub_passes_total", "How often all of the database was read again.");
    m->scrub_unsealed = gauge(s, "etcdc_scrub_unsealed_pages",
                              "Pages without a checksum at the last reading: written by others.");
    m->scrub_inflight =
        gauge(s, "etcdc_scrub_inflight", "1 while the database is read in search of damage.");
    m->snapshot =
        metrics_histogram(s->options.metrics, "etcd_disk_backend_snapshot_duration_seconds",
                          "The latency distribution of backend snapshots.", "", snapshot_bounds,
                          ARRAY_LEN(snapshot_bounds));
    m->stall = metrics_histogram(s->options.metrics, "etcdc_loop_stall_seconds",
                                 "How long one turn held the event loop.", "", stall_bounds,
                                 ARRAY_LEN(stall_bounds));
    m->stall_max = gauge(s, "etcdc_loop_stall_max_seconds",
                         "The longest that one turn has held the event loop since the start.");
    m->units_max = gauge(s, "etcdc_loop_work_units_max",
                         "The most units of work on entries, reads and replies that one turn has "
                         "done since the start; a unit is some 0.1 us, on any machine the same "
                         "work.");
}

static void add_server(struct server_metrics *m)
{
    struct server *s = m->server;
    m->has_leader = gauge(s, "etcd_server_has_leader",
                          "Whether or not a leader exists. 1 is existence, 0 is not.");
    m->is_leader = gauge(s, "etcd_server_is_leader",
                         "Whether or not this member is a leader. 1 if is, 0 otherwise.");
    m->is_learner = gauge(s, "etcd_server_is_learner",
                          "Whether or not this member is a learner. 1 if is, 0 otherwise.");
    m->leader_changes =
        counter(s, "etcd_server_leader_changes_seen_total", "The number of leader changes seen.");
    m->proposals_applied = gauge(s, "etcd_server_proposals_applied_total",
                                 "The total number of consensus proposals applied.");
    m->proposals_committed = gauge(s, "etcd_server_proposals_committed_total",
                                   "The total number of consensus proposals committed.");
    m->proposals_pending = gauge(s, "etcd_server_proposals_pending",
                                 "The current number of pending proposals to commit.");
    m->proposals_failed = counter(s, "etcd_server_proposals_failed_total",
                                  "The total number of failed proposals seen.");
    m->slow_applies = counter(s, "etcd_server_slow_apply_total",
                              "The total number of slow apply requests (likely overloaded from "
                              "slow disk).");
    m->quota =
        gauge(s, "etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes.");
    metric_set(metrics_gauge(s->options.metrics, "etcd_server_version",
                             "Which version is running. 1 for 'server_version' label with current "
                             "version.",
                             "server_version=\"" CONFIG_ETCD_VERSION "\""),
               1);
}

static void add_store(struct server_metrics *m)
{
    struct server *s = m->server;
    m->db_size = gauge(s, "etcd_mvcc_db_total_size_in_bytes",
                       "Total size of the underlying database physically allocated in bytes.");
    m->db_in_use = gauge(s, "etcd_mvcc_db_total_size_in_use_in_bytes",
                         "Total size of the underlying database logically in use in bytes.");
    m->puts = counter(s, "etcd_mvcc_put_total", "Total number of puts seen by this member.");
    m->deletes =
        counter(s, "etcd_mvcc_delete_total", "Total number of deletes seen by this member.");
    m->ranges = counter(s, "etcd_mvcc_range_total", "Total number of ranges seen by this member.");
    m->txns = counter(s, "etcd_mvcc_txn_total", "Total number of txns seen by this member.");
    m->keys = gauge(s, "etcd_debugging_mvcc_keys_total", "Total number of keys.");
    m->revision =
        gauge(s, "etcd_debugging_mvcc_current_revision", "The current revision of store.");
    m->compact_revision = gauge(s, "etcd_debugging_mvcc_compact_revision",
                                "The revision of the last compaction in store.");
    m->compacted_keys = counter(s, "etcd_debugging_mvcc_db_compaction_keys_total",
                                "Total number of db keys compacted.");
    m->open_reads = gauge(s, "etcd_mvcc_db_open_read_transactions",
                          "The number of currently open read transactions");
}

static void add_leases(struct server_metrics *m)
{
    struct server *s = m->server;
    m->leases_granted =
        counter(s, "etcd_debugging_lease_granted_total", "The total number of granted leases.");
    m->leases_revoked =
        counter(s, "etcd_debugging_lease_revoked_total", "The total number of revoked leases.");
    m->leases_renewed = counter(s, "etcd_debugging_lease_renewed_total",
                                "The number of renewed leases seen by the leader.");
    m->leases_expired = counter(s, "etcd_debugging_server_lease_expired_total",
                                "The total number of expired leases.");
    m->lease_ttls = metrics_histogram(s->options.metrics, "etcd_debugging_lease_ttl_total",
                                      "Bucketed histogram of lease TTLs.", "", ttl_bounds,
                                      ARRAY_LEN(ttl_bounds));
}

struct server_metrics *server_metrics_new(struct server *server)
{
    struct server_metrics *m = NEW(struct server_metrics);
    m->server = server;
    add_disk(m);
    add_server(m);
    add_store(m);
    add_leases(m);
    metrics_on_collect(server->options.metrics, collect, m);
    return m;
}

void server_metrics_free(struct server_metrics **metrics)
{
    mem_free(*metrics);
    *metrics = NULL;
}

void server_metrics_proposal_failed(struct server_metrics *metrics)
{
    metric_add(metrics->proposals_failed, 1);
}

void server_metrics_applied(struct server_metrics *m, enum request_kind kind, bool ok,
                            uint64_t took_ns)
{
    struct histogram **h = &m->apply[kind][ok];
    if (*h == NULL) {
        char labels[96];
        snprintf(labels, sizeof(labels), "op=\"%s\",success=\"%s\",version=\"v3\"",
                 request_kind_name(kind), ok ? "true" : "false");
        *h = metrics_histogram(m->server->options.metrics, "etcd_server_apply_duration_seconds",
                               "The latency distributions of v2 apply called by backend.", labels,
                               apply_bounds, ARRAY_LEN(apply_bounds));
    }
    histogram_observe(*h, (double)took_ns / (double)NS_PER_SEC);
    if ((int64_t)took_ns > m->server->config->warning_apply_duration_ns) {
        metric_add(m->slow_applies, 1);
    }
}

void server_metrics_leader_changed(struct server_metrics *metrics, bool has_leader, bool is_leader)
{
    if (has_leader && metrics->has_leader->value == 0) {
        metric_add(metrics->leader_changes, 1);
    }
    metric_set(metrics->has_leader, has_leader);
    metric_set(metrics->is_leader, is_leader);
}

void server_metrics_wal_synced(uint64_t sync_ns, uint64_t bytes, void *ctx)
{
    struct server *server = ctx;
    UNUSED(bytes);
    histogram_observe(server->metrics->wal_fsync, (double)sync_ns / (double)NS_PER_SEC);
    if (sync_ns > NS_PER_SEC) {
        LOG_WARN(&server->log, "slow fdatasync", log_duration("took", (int64_t)sync_ns),
                 log_duration("expected-duration", (int64_t)NS_PER_SEC));
    }
}

void server_metrics_committed(void *ctx, const struct backend_commit *commit)
{
    struct server *server = ctx;
    struct server_metrics *m = server->metrics;
    histogram_observe(m->backend_commit, (double)commit->total_ns / (double)NS_PER_SEC);
}

void server_metrics_snap_saved(struct server_metrics *metrics, uint64_t took_ns)
{
    histogram_observe(metrics->snap_fsync, (double)took_ns / (double)NS_PER_SEC);
    histogram_observe(metrics->snap_save, (double)took_ns / (double)NS_PER_SEC);
}

void server_metrics_defragmenting(struct server_metrics *metrics)
{
    metric_set(metrics->defrag_inflight, 1);
}

void server_metrics_defragmented(struct server_metrics *m, uint64_t took_ns, bool ok)
{
    if (ok) {
        histogram_observe(m->defrag, (double)took_ns / (double)NS_PER_SEC);
    }
    metric_set(m->defrag_inflight, server_is_defragmenting(m->server));
}

void server_metrics_snapshot_read(struct server_metrics *metrics, uint64_t took_ns)
{
    histogram_observe(metrics->snapshot, (double)took_ns / (double)NS_PER_SEC);
}
