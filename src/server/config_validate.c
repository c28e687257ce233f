/* What etcd checks before it starts, in its order and its words. The log opens after the first
 * check, so that the warnings of the later ones go where the user wants them. */
#include "server/config_priv.h"

/* ---- URLs ---------------------------------------------------------------------------------------
 */

static bool is_unix(const struct url *url)
{
    return strcmp(url->scheme, "unix") == 0 || strcmp(url->scheme, "unixs") == 0;
}

/* Listeners bind addresses, not names. */
static enum err check_bind(const struct url_list *list, struct errbuf *why)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct url *url = &list->items[i];
        struct slice host;
        struct slice port;
        if (is_unix(url)) {
            continue;
        }
        TRY(host_port_split(slice_str(url->host), &host, &port, why));
        if (!slice_eq_str(host, "localhost") && ip_parse(host, NULL) == 0) {
            return errf(why, ERR_INVALID, "expected IP in URL for binding (%s)", url->text);
        }
    }
    return ERR_OK;
}

/* What is told to others must name a host. */
static enum err check_host(const struct url_list *list, struct errbuf *why)
{
    for (size_t i = 0; i < list->count; i++) {
        struct slice host;
        struct slice port;
        TRY(host_port_split(slice_str(list->items[i].host), &host, &port, why));
        if (host.len == 0) {
            return errf(why, ERR_INVALID, "unexpected empty host (%s)", list->items[i].text);
        }
    }
    return ERR_OK;
}

static enum err check_advertised(const struct config *config, const char *flag,
                                 const struct url_list *list, struct errbuf *why)
{
    struct errbuf inner;
    if (check_host(list, &inner) == ERR_OK) {
        return ERR_OK;
    }
    const char *text = url_list_text(&config->priv->arena, list);
    return errf(why, ERR_INVALID, "--%s %s must be \"host:port\" (%s)", flag,
                config__quote(config, text), inner.text);
}

static enum err check_urls(const struct config *config, struct errbuf *why)
{
    TRY(check_bind(&config->listen_peer_urls, why));
    TRY(check_bind(&config->listen_client_urls, why));
    TRY(check_bind(&config->listen_client_http_urls, why));
    if (config->listen_client_http_urls.count == 0) {
        struct log log = config_log(config);
        LOG_WARN(&log, "Running http and grpc server on single port. This is not recommended for "
                       "production.");
    }
    TRY(check_bind(&config->listen_metrics_urls, why));
    TRY(check_advertised(config, "initial-advertise-peer-urls",
                         &config->initial_advertise_peer_urls, why));
    return check_advertised(config, "advertise-client-urls", &config->advertise_client_urls, why);
}

/* ---- finding the others
 * ---------------------------------------------------------------------------- */

static bool has_v3_discovery(const struct config *config)
{
    return config->discovery_endpoints.count > 0 || config->discovery_token[0] != 0 ||
           config->discovery_cert[0] != 0 || config->discovery_key[0] != 0 ||
           config->discovery_cacert[0] != 0 || config->discovery_user[0] != 0 ||
           config->discovery_password[0] != 0;
}

static enum err check_discovery(const struct config *config, struct errbuf *why)
{
    bool has_endpoints = config->discovery_endpoints.count > 0;
    if (config->discovery_proxy[0] != 0 && has_v3_discovery(config)) {
        return errf(why, ERR_INVALID,
                    "both v2 discovery settings (discovery, discovery-proxy) and v3 discovery "
                    "settings (discovery-token, discovery-endpoints, discovery-cert, "
                    "discovery-key, discovery-cacert, discovery-user, discovery-password) are set");
    }
    if ((config->discovery_token[0] != 0) != has_endpoints) {
        return errf(why, ERR_INVALID,
                    "both --discovery-token and --discovery-endpoints must be "
                    "set");
    }
    for (size_t i = 0; i < config->discovery_endpoints.count; i++) {
        const char *endpoint = config->discovery_endpoints.items[i];
        if (endpoint[strspn(endpoint, " \t\n\v\f\r")] == 0) {
            return errf(why, ERR_INVALID, "--discovery-endpoints must not contain empty endpoints");
        }
    }
    return ERR_OK;
}

static enum err check_bootstrap(const struct config *config, struct errbuf *why)
{
    const char *state = config->initial_cluster_state;
    int ways = (config->discovery[0] != 0) + (config->initial_cluster[0] != 0) +
               (config->discovery_srv[0] != 0) + (config->discovery_endpoints.count > 0);
    if (strcmp(state, "new") != 0 && strcmp(state, "existing") != 0) {
        return errf(why, ERR_INVALID, "unexpected clusterState %s", config__quote(config, state));
    }
    if (ways > 1) {
        return errf(why, ERR_INVALID,
                    "multiple discovery or bootstrap flags are set. Choose one of "
                    "\"initial-cluster\", \"discovery\", \"discovery-endpoints\" or "
                    "\"discovery-srv\"");
    }
    return check_discovery(config, why);
}

/* ---- the rest
 * ----------------------------------------------------------------------------------------- */

static enum err check_ticks(const struct config *config, struct errbuf *why)
{
    unsigned long long heartbeat = config->heartbeat_ms;
    unsigned long long election = config->election_ms;
    if (heartbeat == 0) {
        return errf(why, ERR_INVALID, "--heartbeat-interval must be >0 (set to %llums)", heartbeat);
    }
    if (election == 0) {
        return errf(why, ERR_INVALID, "--election-timeout must be >0 (set to %llums)", election);
    }
    if (heartbeat > election / 5) {
        return errf(why, ERR_INVALID,
                    "--election-timeout[%llums] should be at least as 5 times as "
                    "--heartbeat-interval[%llums]",
                    election, heartbeat);
    }
    if (election > CONFIG_ELECTION_MS_MAX) {
        return errf(why, ERR_INVALID,
                    "--election-timeout[%llums] is too long, and should be set less than %dms",
                    election, CONFIG_ELECTION_MS_MAX);
    }
    return ERR_OK;
}

static enum err check_compaction(const struct config *config, struct errbuf *why)
{
    const char *mode = config->auto_compaction_mode;
    if (config->listen_client_urls.count > 0 && config->advertise_client_urls.count == 0) {
        return errf(why, ERR_INVALID,
                    "--advertise-client-urls is required when "
                    "--listen-client-urls is set explicitly");
    }
    if (mode[0] == 0) {
        return errf(why, ERR_INVALID, "undefined auto-compaction-mode");
    }
    if (strcmp(mode, "periodic") != 0 && strcmp(mode, "revision") != 0) {
        return errf(why, ERR_INVALID, "unknown auto-compaction-mode %s",
                    config__quote(config, mode));
    }
    return ERR_OK;
}

static enum err check_gates(const struct config *config, struct errbuf *why)
{
    bool checkpoints = config->gates[CONFIG_GATE_LEASE_CHECKPOINT];
    bool persists = config->gates[CONFIG_GATE_LEASE_CHECKPOINT_PERSIST];
    int64_t old_ns = config->priv->old.compact_hash_check_time_ns;
    struct log log = config_log(config);
    if (checkpoints && !persists) {
        LOG_WARN(&log, "Detected that checkpointing is enabled without persistence. Consider "
                       "enabling feature gate LeaseCheckpointPersist");
    }
    if (persists && !checkpoints) {
        return errf(why, ERR_INVALID,
                    "enabling feature gate LeaseCheckpointPersist requires "
                    "enabling feature gate LeaseCheckpoint");
    }
    if (old_ns <= 0) {
        return errf(why, ERR_INVALID,
                    "--experimental-compact-hash-check-time must be >0 (set to %s)",
                    config__duration(config, old_ns));
    }
    if (config->compact_hash_check_time_ns <= 0) {
        return errf(why, ERR_INVALID, "--compact-hash-check-time must be >0 (set to %s)",
                    config__duration(config, config->compact_hash_check_time_ns));
    }
    return ERR_OK;
}

/* 12 or 13; 0 is what the library likes best. */
static enum err tls_version(const struct config *config, const char *text, int *out,
                            struct errbuf *why)
{
    if (text[0] != 0 && strcmp(text, "TLS1.2") != 0 && strcmp(text, "TLS1.3") != 0) {
        return errf(why, ERR_INVALID, "unexpected TLS version %s (must be one of: TLS1.2, TLS1.3)",
                    config__quote(config, text));
    }
    *out = text[0] == 0 ? 0 : text[5] == '2' ? 12 : 13;
    return ERR_OK;
}

static enum err check_tls(const struct config *config, struct errbuf *why)
{
    int least = 0;
    int most = 0;
    TRY(tls_version(config, config->tls_min_version, &least, why));
    TRY(tls_version(config, config->tls_max_version, &most, why));
    if (most != 0 && least > most) {
        return errf(why, ERR_INVALID, "min version (%s) is greater than max version (%s)",
                    config->tls_min_version, config->tls_max_version);
    }
    if (least == 13 && config->cipher_suites.count > 0) {
        return errf(why, ERR_INVALID,
                    "cipher suites cannot be configured when only TLS1.3 is enabled");
    }
    return ERR_OK;
}

/* An older name and its successor cannot both be given. Gates have their own check. */
static enum err check_older(const struct config *config, struct errbuf *why)
{
    for (size_t i = 0; i < config__row_count; i++) {
        const struct config_row *row = &config__rows[i];
        bool is_warning = strcmp(row->name, "experimental-warning-unary-request-duration") == 0;
        if (row->successor == NULL || row->kind == CONFIG_KIND_GATE || is_warning) {
            continue;
        }
        if (config->priv->given[i] && config__given(config, row->successor)) {
            return errf(why, ERR_INVALID,
                        "cannot set --%s and --%s at the same time, please use --%s only",
                        row->name, row->successor, row->successor);
        }
    }
    return ERR_OK;
}

static enum err open_log(struct config *config, struct errbuf *why)
{
    const struct config_input *in = config->priv->in;
    struct logging_options options = {
        .logger = config->logger,
        .outputs = config->log_outputs.items,
        .output_count = config->log_outputs.count,
        .level = config->log_level,
        .format = config->log_format,
        .rotate = config->enable_log_rotation,
        .rotation_json = config->log_rotation_config_json,
        .disk = in->disk,
        .clock = in->clock,
        .clock_ctx = in->clock_ctx,
        .local_time = in->local_time,
        .standard_out = in->standard_out,
        .standard_error = in->standard_error,
    };
    return logging_open(&options, &config->priv->logging, why);
}

FALLIBLE config__validate(struct config *config, struct errbuf *why)
{
    TRY(check_older(config, why));
    TRY(open_log(config, why));
    TRY(check_urls(config, why));
    TRY(check_bootstrap(config, why));
    TRY(check_ticks(config, why));
    TRY(check_compaction(config, why));
    TRY(check_gates(config, why));
    if (strcmp(config->name, CONFIG_DEFAULT_NAME) == 0) {
        struct log log = config_log(config);
        LOG_WARN(&log,
                 "it isn't recommended to use default name, please set a value for --name. Note "
                 "that etcd might run into issue when multiple members have the same default name",
                 log_str("name", config->name));
    }
    return check_tls(config, why);
}
