#include "server/banner.h"

#include "base/mem.h"

static struct log_field urls(struct arena *arena, const char *key, const struct url_list *list)
{
    return log_strs(key, url_list_texts(arena, list), list->count);
}

void banner_starting(const struct config *config, const struct log *log, bool is_initialized)
{
    struct arena arena;
    arena_init(&arena);
    LOG_INFO(log, "configuring peer listeners",
             urls(&arena, "listen-peer-urls", &config->listen_peer_urls));
    LOG_INFO(log, "configuring client listeners",
             urls(&arena, "listen-client-urls", &config->listen_client_urls));
    LOG_INFO(log, "starting an etcd server", log_str("etcd-version", CONFIG_ETCD_VERSION),
             log_str("etcd.c-version", CONFIG_OWN_VERSION), log_str("git-sha", config_git_sha()),
             log_bool("member-initialized", is_initialized), log_str("name", config->name),
             log_str("data-dir", config->data_dir), log_str("wal-dir", config->wal_dir),
             log_str("member-dir", config_member_dir(config)),
             log_bool("force-new-cluster", config->force_new_cluster),
             log_duration("heartbeat-interval", (int64_t)(config->heartbeat_ms * NS_PER_MS)),
             log_duration("election-timeout", (int64_t)(config->election_ms * NS_PER_MS)),
             log_bool("initial-election-tick-advance", config->initial_election_tick_advance),
             log_u64("snapshot-count", config->snapshot_count),
             log_u64("max-wals", config->max_wals), log_u64("max-snapshots", config->max_snapshots),
             log_u64("snapshot-catchup-entries", config->snapshot_catchup_entries),
             urls(&arena, "initial-advertise-peer-urls", &config->initial_advertise_peer_urls),
             urls(&arena, "listen-peer-urls", &config->listen_peer_urls),
             urls(&arena, "advertise-client-urls", &config->advertise_client_urls),
             urls(&arena, "listen-client-urls", &config->listen_client_urls),
             urls(&arena, "listen-metrics-urls", &config->listen_metrics_urls),
             log_strs("cors", config->cors.items, config->cors.count),
             log_strs("host-whitelist", config->host_whitelist.items, config->host_whitelist.count),
             log_str("initial-cluster", is_initialized ? "" : config->initial_cluster),
             log_str("initial-cluster-state", config->initial_cluster_state),
             log_str("initial-cluster-token", config->initial_cluster_token),
             log_i64("quota-backend-bytes", config->quota_backend_bytes),
             log_u64("max-request-bytes", config->max_request_bytes),
             log_u64("max-concurrent-streams", config->max_concurrent_streams),
             log_bool("pre-vote", config->pre_vote), log_str("feature-gates", config->gates_text),
             log_bool("initial-corrupt-check", config->gates[CONFIG_GATE_INITIAL_CORRUPT_CHECK]),
             log_duration("corrupt-check-time-interval", config->corrupt_check_time_ns),
             log_str("auto-compaction-mode", config->auto_compaction_mode),
             log_str("auto-compaction-retention", config->auto_compaction_retention),
             log_str("discovery-url", config->discovery),
             log_str("discovery-proxy", config->discovery_proxy));
    arena_fini(&arena);
}

void banner_serving(const struct config *config, const struct log *log, uint64_t member_id)
{
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < config->listen_peer_urls.count; i++) {
        LOG_INFO(log, "serving peer traffic",
                 log_str("address", config->listen_peer_urls.items[i].host));
    }
    LOG_INFO(log, "now serving peer/client/metrics", log_hex("local-member-id", member_id),
             urls(&arena, "initial-advertise-peer-urls", &config->initial_advertise_peer_urls),
             urls(&arena, "listen-peer-urls", &config->listen_peer_urls),
             urls(&arena, "advertise-client-urls", &config->advertise_client_urls),
             urls(&arena, "listen-client-urls", &config->listen_client_urls),
             urls(&arena, "listen-metrics-urls", &config->listen_metrics_urls));
    arena_fini(&arena);
}

void banner_ready(const struct config *config, const struct log *log)
{
    for (size_t i = 0; i < config->listen_client_urls.count; i++) {
        LOG_INFO(log, "ready to serve client requests");
    }
    for (size_t i = 0; i < config->listen_client_urls.count; i++) {
        const char *traffic = config->listen_client_http_urls.count > 0 ? "grpc" : "grpc+http";
        LOG_INFO(log, "serving client traffic insecurely; this is strongly discouraged!",
                 log_str("traffic", traffic),
                 log_str("address", config->listen_client_urls.items[i].host));
    }
    for (size_t i = 0; i < config->listen_client_http_urls.count; i++) {
        LOG_INFO(log, "serving client traffic insecurely; this is strongly discouraged!",
                 log_str("traffic", "http"),
                 log_str("address", config->listen_client_http_urls.items[i].host));
    }
}

void banner_signal(const struct log *log, const char *name)
{
    LOG_INFO(log, "received signal; shutting down", log_str("signal", name));
}

static void closing(const struct config *config, const struct log *log, const char *message)
{
    struct arena arena;
    arena_init(&arena);
    LOG_INFO(log, message, log_str("name", config->name), log_str("data-dir", config->data_dir),
             urls(&arena, "advertise-peer-urls", &config->initial_advertise_peer_urls),
             urls(&arena, "advertise-client-urls", &config->advertise_client_urls));
    arena_fini(&arena);
}

void banner_closing(const struct config *config, const struct log *log)
{
    closing(config, log, "closing etcd server");
}

void banner_closed(const struct config *config, const struct log *log)
{
    for (size_t i = 0; i < config->listen_peer_urls.count; i++) {
        LOG_INFO(log, "stopping serving peer traffic",
                 log_str("address", config->listen_peer_urls.items[i].host));
        LOG_INFO(log, "stopped serving peer traffic",
                 log_str("address", config->listen_peer_urls.items[i].host));
    }
    closing(config, log, "closed etcd server");
}
