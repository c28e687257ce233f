#include "server/banner.h"

#include "base/gotext.h"

#include <stdio.h>

#define SIGNAL_INTERRUPT 2
#define SIGNAL_TERMINATE 15
#define RECOMMENDED_REQUEST_BYTES CONFIG_REQUEST_WARN

/* ---- pieces
 * ---------------------------------------------------------------------------------------- */

/* A scratch arena for the texts of one line. */
struct scratch {
    struct arena arena;
    struct log log;
};

static void scratch_init(struct scratch *scratch, const struct config *config)
{
    arena_init(&scratch->arena);
    scratch->log = config_log(config);
}

static void scratch_fini(struct scratch *scratch)
{
    arena_fini(&scratch->arena);
}

static struct log_field urls(struct scratch *scratch, const char *key, const struct url_list *list)
{
    return log_strs(key, url_list_texts(&scratch->arena, list), list->count);
}

static const char *duration(struct scratch *scratch, int64_t ns)
{
    struct buf text = {0};
    go_format_duration(ns, &text);
    const char *copy = arena_strndup(&scratch->arena, buf_cstr(&text), text.len);
    buf_fini(&text);
    return copy;
}

static const char *ticks(struct scratch *scratch, const struct config *config, uint64_t count)
{
    return duration(scratch, (int64_t)(count * config->heartbeat_ms) * GO_NS_PER_MS);
}

static const char *bytes_text(struct scratch *scratch, uint64_t bytes)
{
    struct buf text = {0};
    banner_bytes(bytes, &text);
    const char *copy = arena_strndup(&scratch->arena, buf_cstr(&text), text.len);
    buf_fini(&text);
    return copy;
}

static const char *join(struct scratch *scratch, const struct config_strings *list)
{
    struct buf text = {0};
    for (size_t i = 0; i < list->count; i++) {
        buf_append_str(&text, i == 0 ? "" : ",");
        buf_append_str(&text, list->items[i]);
    }
    const char *copy = arena_strndup(&scratch->arena, buf_cstr(&text), text.len);
    buf_fini(&text);
    return copy;
}

/* Powers of ten, one digit behind the point below ten: what etcd's humanize does. */
void banner_bytes(uint64_t bytes, struct buf *out)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    size_t unit = 0;
    uint64_t scale = 1;
    while (unit + 1 < ARRAY_LEN(units) && bytes / scale >= 1000) {
        scale *= 1000;
        unit++;
    }
    if (unit == 0) {
        buf_printf(out, "%llu B", (unsigned long long)bytes);
        return;
    }
    double value = (double)bytes / (double)scale;
    double rounded = (double)(uint64_t)(value * 10 + 0.5) / 10;
    buf_printf(out, rounded < 10 ? "%.1f %s" : "%.0f %s", rounded, units[unit]);
}

/* ---- before the server --------------------------------------------------------------------- */

void banner_peer_listeners(const struct config *config)
{
    struct scratch s;
    scratch_init(&s, config);
    if (config->socket_reuse_port || config->socket_reuse_address) {
        LOG_INFO(&s.log, "configuring socket options",
                 log_bool("reuse-address", config->socket_reuse_address),
                 log_bool("reuse-port", config->socket_reuse_port));
    }
    LOG_INFO(&s.log, "configuring peer listeners",
             urls(&s, "listen-peer-urls", &config->listen_peer_urls));
    scratch_fini(&s);
}

void banner_client_listeners(const struct config *config)
{
    struct scratch s;
    scratch_init(&s, config);
    LOG_INFO(&s.log, "configuring client listeners",
             urls(&s, "listen-client-urls", &config->listen_client_urls));
    scratch_fini(&s);
}

void banner_server(const struct config *config, bool is_initialized, unsigned cpu_count)
{
    struct scratch s;
    scratch_init(&s, config);
    bool has_quota = config->quota_backend_bytes != 0;
    uint64_t election_ticks = config->election_ticks;
    LOG_INFO(
        &s.log, "starting an etcd server", log_str("etcd-version", CONFIG_ETCD_VERSION),
        log_str("git-sha", config_git_sha()), log_str("go-version", "none"),
        log_str("go-os", config_os()), log_str("go-arch", config_arch()),
        log_u64("max-cpu-set", cpu_count), log_u64("max-cpu-available", cpu_count),
        log_bool("member-initialized", is_initialized), log_str("name", config->name),
        log_str("data-dir", config->data_dir), log_str("wal-dir", config->wal_dir),
        log_str("wal-dir-dedicated", config->wal_dir),
        log_str("member-dir", config_member_dir(config)),
        log_bool("force-new-cluster", config->force_new_cluster),
        log_str("heartbeat-interval", ticks(&s, config, 1)),
        log_str("election-timeout", ticks(&s, config, election_ticks)),
        log_bool("initial-election-tick-advance", config->initial_election_tick_advance),
        log_u64("snapshot-count", config->snapshot_count), log_u64("max-wals", config->max_wals),
        log_u64("max-snapshots", config->max_snapshots),
        log_u64("snapshot-catchup-entries", config->snapshot_catchup_entries),
        urls(&s, "initial-advertise-peer-urls", &config->initial_advertise_peer_urls),
        urls(&s, "listen-peer-urls", &config->listen_peer_urls),
        urls(&s, "advertise-client-urls", &config->advertise_client_urls),
        urls(&s, "listen-client-urls", &config->listen_client_urls),
        urls(&s, "listen-metrics-urls", &config->listen_metrics_urls),
        log_str("experimental-local-address", ""),
        log_strs("cors", config->cors.items, config->cors.count),
        log_strs("host-whitelist", config->host_whitelist.items, config->host_whitelist.count),
        log_str("initial-cluster", is_initialized ? "" : config->initial_cluster),
        log_str("initial-cluster-state", config->initial_cluster_state),
        log_str("initial-cluster-token", is_initialized ? "" : config->initial_cluster_token),
        log_i64("quota-backend-bytes",
                has_quota ? config->quota_backend_bytes : CONFIG_QUOTA_DEFAULT),
        log_u64("max-request-bytes", config->max_request_bytes),
        log_u64("max-concurrent-streams", config->max_concurrent_streams),
        log_bool("pre-vote", config->pre_vote), log_str("feature-gates", config->gates_text),
        log_bool("initial-corrupt-check", config->gates[CONFIG_GATE_INITIAL_CORRUPT_CHECK]),
        log_duration("corrupt-check-time-interval", config->corrupt_check_time_ns),
        log_duration("compact-check-time-interval", config->compact_hash_check_time_ns),
        log_str("auto-compaction-mode", config->auto_compaction_mode),
        log_duration("auto-compaction-retention", config->compaction_retention),
        log_duration("auto-compaction-interval", config->compaction_retention),
        log_str("discovery-url", config->discovery),
        log_str("discovery-proxy", config->discovery_proxy),
        log_str("discovery-token", config->discovery_token),
        log_str("discovery-endpoints", join(&s, &config->discovery_endpoints)),
        log_duration("discovery-dial-timeout", config->discovery_dial_timeout_ns),
        log_duration("discovery-request-timeout", config->discovery_request_timeout_ns),
        log_duration("discovery-keepalive-time", config->discovery_keepalive_time_ns),
        log_duration("discovery-keepalive-timeout", config->discovery_keepalive_timeout_ns),
        log_bool("discovery-insecure-transport", config->discovery_insecure_transport),
        log_bool("discovery-insecure-skip-tls-verify", config->discovery_insecure_skip_tls_verify),
        log_str("discovery-cert", config->discovery_cert),
        log_str("discovery-key", config->discovery_key),
        log_str("discovery-cacert", config->discovery_cacert),
        log_str("discovery-user", config->discovery_user),
        log_duration("downgrade-check-interval", config->downgrade_check_time_ns),
        log_i64("max-learners", config->max_learners),
        log_str("v2-deprecation", config->v2_deprecation));
    scratch_fini(&s);
}

void banner_backend(const struct config *config, int64_t took_ns)
{
    struct log log = config_log(config);
    LOG_INFO(&log, "opened backend db", log_str("path", config_backend_path(config)),
             log_duration("took", took_ns));
}

void banner_new_member(const struct config *config, const struct banner_member *member)
{
    struct log log = config_log(config);
    LOG_INFO(&log, "starting local member", log_hex("local-member-id", member->member_id),
             log_hex("cluster-id", member->cluster_id));
}

void banner_old_member(const struct config *config, const struct banner_member *member,
                       uint64_t commit_index)
{
    struct log log = config_log(config);
    LOG_INFO(&log, "restarting local member", log_hex("cluster-id", member->cluster_id),
             log_hex("local-member-id", member->member_id), log_u64("commit-index", commit_index));
}

static void log_quota(struct scratch *s, const struct config *config)
{
    int64_t given = config->quota_backend_bytes;
    struct log_field name = log_str("quota-name", "v3-applier");
    if (given < 0) {
        LOG_INFO(&s->log, "disabled backend quota", name, log_i64("quota-size-bytes", given));
        return;
    }
    if (given == 0) {
        LOG_INFO(&s->log, "enabled backend quota with default value", name,
                 log_i64("quota-size-bytes", CONFIG_QUOTA_DEFAULT),
                 log_str("quota-size", bytes_text(s, (uint64_t)CONFIG_QUOTA_DEFAULT)));
        return;
    }
    if (given > CONFIG_QUOTA_WARN) {
        LOG_WARN(&s->log, "quota exceeds the maximum value", name,
                 log_i64("quota-size-bytes", given),
                 log_str("quota-size", bytes_text(s, (uint64_t)given)),
                 log_i64("quota-maximum-size-bytes", CONFIG_QUOTA_WARN),
                 log_str("quota-maximum-size", bytes_text(s, (uint64_t)CONFIG_QUOTA_WARN)));
    }
    LOG_INFO(&s->log, "enabled backend quota", name, log_i64("quota-size-bytes", given),
             log_str("quota-size", bytes_text(s, (uint64_t)given)));
}

void banner_limits(const struct config *config)
{
    struct scratch s;
    scratch_init(&s, config);
    if (config->max_request_bytes > RECOMMENDED_REQUEST_BYTES) {
        LOG_WARN(&s.log, "exceeded recommended request limit",
                 log_u64("max-request-bytes", config->max_request_bytes),
                 log_str("max-request-size", bytes_text(&s, config->max_request_bytes)),
                 log_u64("recommended-request-bytes", RECOMMENDED_REQUEST_BYTES),
                 log_str("recommended-request-size", bytes_text(&s, RECOMMENDED_REQUEST_BYTES)));
    }
    log_quota(&s, config);
    scratch_fini(&s);
}

/* ---- while it starts ---------------------------------------------------------------------------
 */

void banner_start(const struct config *config, const struct banner_member *member,
                  const char *cluster_version)
{
    struct log log = config_log(config);
    struct log_field id = log_hex("local-member-id", member->member_id);
    struct log_field version = log_str("local-server-version", CONFIG_ETCD_VERSION);
    if (cluster_version == NULL) {
        LOG_INFO(&log, "starting etcd server", id, version,
                 log_str("cluster-version", "to_be_decided"));
        return;
    }
    LOG_INFO(&log, "starting etcd server", id, version, log_hex("cluster-id", member->cluster_id),
             log_str("cluster-version", cluster_version));
}

void banner_fast_forward(const struct config *config, const struct banner_member *member,
                         uint64_t count)
{
    struct scratch s;
    scratch_init(&s, config);
    LOG_INFO(&s.log, "started as single-node; fast-forwarding election ticks",
             log_hex("local-member-id", member->member_id), log_u64("forward-ticks", count),
             log_str("forward-duration", ticks(&s, config, count)),
             log_u64("election-ticks", config->election_ticks),
             log_str("election-timeout", ticks(&s, config, config->election_ticks)));
    scratch_fini(&s);
}

void banner_member_added(const struct config *config, const struct banner_member *self,
                         uint64_t added_id, const char *const *peer_urls, size_t url_count,
                         bool is_learner)
{
    struct log log = config_log(config);
    LOG_INFO(&log, "added member", log_hex("cluster-id", self->cluster_id),
             log_hex("local-member-id", self->member_id), log_hex("added-peer-id", added_id),
             log_strs("added-peer-peer-urls", peer_urls, url_count),
             log_bool("added-peer-is-learner", is_learner));
}

void banner_serving(const struct config *config, const struct banner_member *member)
{
    struct scratch s;
    scratch_init(&s, config);
    LOG_INFO(&s.log, "now serving peer/client/metrics",
             log_hex("local-member-id", member->member_id),
             urls(&s, "initial-advertise-peer-urls", &config->initial_advertise_peer_urls),
             urls(&s, "listen-peer-urls", &config->listen_peer_urls),
             urls(&s, "advertise-client-urls", &config->advertise_client_urls),
             urls(&s, "listen-client-urls", &config->listen_client_urls),
             urls(&s, "listen-metrics-urls", &config->listen_metrics_urls));
    scratch_fini(&s);
}

void banner_serving_peer(const struct config *config, const char *address)
{
    struct log log = config_log(config);
    LOG_INFO(&log, "serving peer traffic", log_str("address", address));
}

/* "{Name:m1 ClientURLs:[http://a:1 http://b:1]}", as Go's %+v shows the struct. */
static const char *attributes(struct scratch *s, const struct config *config)
{
    struct buf text = {0};
    buf_printf(&text, "{Name:%s ClientURLs:[", config->name);
    for (size_t i = 0; i < config->advertise_client_urls.count; i++) {
        buf_append_str(&text, i == 0 ? "" : " ");
        buf_append_str(&text, config->advertise_client_urls.items[i].text);
    }
    buf_append_str(&text, "]}");
    const char *copy = arena_strndup(&s->arena, buf_cstr(&text), text.len);
    buf_fini(&text);
    return copy;
}

void banner_published(const struct config *config, const struct banner_member *member)
{
    struct scratch s;
    scratch_init(&s, config);
    LOG_INFO(&s.log, "published local member to cluster through raft",
             log_hex("local-member-id", member->member_id),
             log_str("local-member-attributes", attributes(&s, config)),
             log_hex("cluster-id", member->cluster_id),
             log_duration("publish-timeout", config_request_timeout_ns(config)));
    scratch_fini(&s);
}

void banner_cluster_version(const struct config *config, const struct banner_member *member,
                            const char *cluster_version)
{
    struct log log = config_log(config);
    LOG_INFO(&log, "set initial cluster version", log_hex("cluster-id", member->cluster_id),
             log_hex("local-member-id", member->member_id),
             log_str("cluster-version", cluster_version));
    LOG_INFO(&log, "enabled capabilities for version", log_str("cluster-version", cluster_version));
    LOG_INFO(&log, "cluster version is updated", log_str("cluster-version", cluster_version));
}

/* ---- ready
 * ----------------------------------------------------------------------------------------- */

void banner_ready(const struct config *config, enum banner_traffic traffic, const char *address)
{
    static const char *const names[] = {
        [BANNER_GRPC_HTTP] = "grpc+http", [BANNER_GRPC] = "grpc", [BANNER_HTTP] = "http"};
    struct log log = config_log(config);
    ASSERT((unsigned)traffic < ARRAY_LEN(names));
    LOG_INFO(&log, "ready to serve client requests");
    LOG_INFO(&log, "serving client traffic insecurely; this is strongly discouraged!",
             log_str("traffic", names[traffic]), log_str("address", address));
}

void banner_notified(const struct config *config)
{
    struct log log = config_log(config);
    LOG_INFO(&log, "notifying init daemon");
    LOG_INFO(&log, "successfully notified init daemon");
}

/* ---- stopping
 * ----------------------------------------------------------------------------------------- */

void banner_signal(const struct config *config, int signum)
{
    char number[16];
    struct log log = config_log(config);
    const char *name = signum == SIGNAL_TERMINATE ? "terminated" : "interrupt";
    if (signum != SIGNAL_TERMINATE && signum != SIGNAL_INTERRUPT) {
        snprintf(number, sizeof(number), "signal %d", signum);
        name = number;
    }
    LOG_INFO(&log, "received signal; shutting down", log_str("signal", name));
}

/* The two lines around the end have the same fields. */
static void log_end(const struct config *config, const char *message)
{
    struct scratch s;
    scratch_init(&s, config);
    LOG_INFO(&s.log, message, log_str("name", config->name), log_str("data-dir", config->data_dir),
             urls(&s, "advertise-peer-urls", &config->initial_advertise_peer_urls),
             urls(&s, "advertise-client-urls", &config->advertise_client_urls));
    scratch_fini(&s);
}

void banner_closing(const struct config *config)
{
    log_end(config, "closing etcd server");
}

void banner_closed(const struct config *config)
{
    log_end(config, "closed etcd server");
}

void banner_alone(const struct config *config, const struct banner_member *member,
                  uint64_t leader_id)
{
    struct log log = config_log(config);
    LOG_INFO(&log, "skipped leadership transfer for single voting member cluster",
             log_hex("local-member-id", member->member_id),
             log_hex("current-leader-member-id", leader_id));
}

void banner_peer_stopped(const struct config *config, const char *address)
{
    struct log log = config_log(config);
    LOG_INFO(&log, "stopping serving peer traffic", log_str("address", address));
    LOG_INFO(&log, "stopped serving peer traffic", log_str("address", address));
}
