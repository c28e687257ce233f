/* Settings that follow from other settings, and what the server asks of them. */
#include "server/config_priv.h"

#include "base/gotext.h"

#include <stdio.h>

#define BATCH_INTERVAL_DEFAULT_NS (100 * GO_NS_PER_MS)
#define BATCH_LIMIT_DEFAULT 10000
#define COMPACTION_BATCH_DEFAULT 1000
#define COMPACTION_SLEEP_DEFAULT_NS (10 * GO_NS_PER_MS)
#define WATCH_PROGRESS_DEFAULT_NS (10 * GO_NS_PER_MIN)
#define WARNING_UNARY_DEFAULT_NS (300 * GO_NS_PER_MS)
#define SNAPSHOT_COUNT_DEFAULT 10000
#define CATCHUP_ENTRIES_DEFAULT 5000
#define REQUEST_WAIT_NS (5 * GO_NS_PER_SEC)

/* ---- older names
 * ----------------------------------------------------------------------------------- */

static void carry(struct config *config, const struct config_row *row)
{
    const struct config_row *today = config__row(row->successor);
    ASSERT(today != NULL);
    ASSERT(today->kind == row->kind);
    ASSERT(today->offset == row->offset);
    void *target = config__place(config, today);
    const void *source = config__value(config, row);
    switch (row->kind) {
    case CONFIG_KIND_BOOL:
        *(bool *)target = *(const bool *)source;
        break;
    case CONFIG_KIND_INT:
    case CONFIG_KIND_DURATION:
        *(int64_t *)target = *(const int64_t *)source;
        break;
    case CONFIG_KIND_UINT:
        *(uint64_t *)target = *(const uint64_t *)source;
        break;
    case CONFIG_KIND_STRING:
        *(const char **)target = *(const char *const *)source;
        break;
    case CONFIG_KIND_UINT32:
    case CONFIG_KIND_URLS:
    case CONFIG_KIND_CORS:
    case CONFIG_KIND_SET:
    case CONFIG_KIND_WORDS:
    case CONFIG_KIND_STATE:
    case CONFIG_KIND_FALLBACK:
    case CONFIG_KIND_V2:
    case CONFIG_KIND_GATES:
    case CONFIG_KIND_GATE:
    case CONFIG_KIND_IGNORED:
        UNREACHABLE();
    }
}

void config__migrate(struct config *config)
{
    for (size_t i = 0; i < config__row_count; i++) {
        const struct config_row *row = &config__rows[i];
        bool has_own_rule = strcmp(row->name, "experimental-warning-unary-request-duration") == 0;
        if (row->successor != NULL && row->kind != CONFIG_KIND_GATE && !has_own_rule &&
            config->priv->given[i]) {
            carry(config, row);
        }
    }
    if (strcmp(config->v2_deprecation, "write-only-skip-check") != 0) {
        config->v2_deprecation = "write-only";
    }
}

/* ---- default host and cluster
 * -------------------------------------------------------------------- */

static bool is_default_url(const struct url_list *list, const char *text)
{
    return list->count == 1 && strcmp(list->items[0].text, text) == 0;
}

static bool listens_everywhere(const struct url_list *list)
{
    return list->count > 0 && strcmp(list->items[0].hostname, "0.0.0.0") == 0;
}

/* The default URL that is advertised, with the machine's own address and the port listened on. */
static enum err advertise_host(struct config *config, const char *host,
                               const struct url_list *listen, struct url_list *advertise)
{
    struct arena *arena = &config->priv->arena;
    const char *text = arena_printf(arena, "http://%s:%s", host, listen->items[0].port);
    struct url_list list;
    TRY(url_list_parse(arena, slice_str(text), &list, NULL));
    *advertise = list;
    return ERR_OK;
}

/* name=url for each advertised peer URL. */
static const char *cluster_from_name(struct config *config)
{
    struct buf text = {0};
    for (size_t i = 0; i < config->initial_advertise_peer_urls.count; i++) {
        buf_printf(&text, "%s%s=%s", i == 0 ? "" : ",",
                   config->name[0] == 0 ? CONFIG_DEFAULT_NAME : config->name,
                   config->initial_advertise_peer_urls.items[i].text);
    }
    const char *copy = arena_strndup(&config->priv->arena, buf_cstr(&text), text.len);
    buf_fini(&text);
    return copy;
}

/* With default URLs advertised while listening on 0.0.0.0, others are told a real address. */
static void update_default_cluster(struct config *config)
{
    struct config_priv *priv = config->priv;
    struct log log = config_log(config);
    bool peers = is_default_url(&config->initial_advertise_peer_urls, CONFIG_DEFAULT_PEER_URL) &&
                 listens_everywhere(&config->listen_peer_urls);
    bool clients = is_default_url(&config->advertise_client_urls, CONFIG_DEFAULT_CLIENT_URL) &&
                   listens_everywhere(&config->listen_client_urls);
    struct errbuf why = {{0}};
    const char *host = NULL;
    if (peers || clients) {
        host = config__default_host(priv->in->disk, &priv->arena, &why);
    }
    if (host != NULL && peers &&
        advertise_host(config, host, &config->listen_peer_urls,
                       &config->initial_advertise_peer_urls) == ERR_OK) {
        priv->default_host = host;
    }
    if (strcmp(config->name, CONFIG_DEFAULT_NAME) != 0 &&
        strcmp(config->initial_cluster, CONFIG_DEFAULT_CLUSTER) == 0) {
        config->initial_cluster = cluster_from_name(config);
    }
    if (host != NULL && clients &&
        advertise_host(config, host, &config->listen_client_urls, &config->advertise_client_urls) ==
            ERR_OK) {
        priv->default_host = host;
    }
    if (priv->default_host != NULL) {
        LOG_INFO(&log, "detected default host for advertise", log_str("host", host));
    }
    if ((peers || clients) && host == NULL) {
        LOG_INFO(&log, "failed to detect default host", log_error(why.text));
    }
}

/* ---- deriving
 * ---------------------------------------------------------------------------------------- */

/* A bare number counts hours or revisions; anything else is a duration. */
static enum err derive_retention(struct config *config, struct errbuf *why)
{
    bool is_revision = strcmp(config->auto_compaction_mode, "revision") == 0;
    const char *text = config->auto_compaction_retention;
    int64_t number;
    config->compaction_mode = is_revision ? CONFIG_COMPACTION_REVISION : CONFIG_COMPACTION_PERIODIC;
    if (text[0] == 0) {
        text = "0";
    }
    if (go_parse_int(slice_str(text), 10, 64, &number, NULL) == ERR_OK && number >= 0) {
        if (!is_revision && __builtin_mul_overflow(number, GO_NS_PER_HOUR, &number)) {
            return errf(why, ERR_INVALID, "--auto-compaction-retention=%s hours do not fit", text);
        }
        config->compaction_retention = number;
        return ERR_OK;
    }
    if (go_parse_duration(slice_str(text), &config->compaction_retention, why) != ERR_OK) {
        return err_wrap(why, ERR_INVALID, "error parsing CompactionRetention");
    }
    return ERR_OK;
}

static void derive_counts(struct config *config)
{
    struct log log = config_log(config);
    if (config->snapshot_count == 0) {
        LOG_INFO(&log, "updating snapshot-count to default", log_u64("given-snapshot-count", 0),
                 log_u64("updated-snapshot-count", SNAPSHOT_COUNT_DEFAULT));
        config->snapshot_count = SNAPSHOT_COUNT_DEFAULT;
    }
    if (config->snapshot_catchup_entries == 0) {
        LOG_INFO(&log, "updating snapshot catch-up entries to default",
                 log_u64("given-snapshot-catchup-entries", 0),
                 log_u64("updated-snapshot-catchup-entries", CATCHUP_ENTRIES_DEFAULT));
        config->snapshot_catchup_entries = CATCHUP_ENTRIES_DEFAULT;
    }
    config->election_ticks = config->election_ms / config->heartbeat_ms;
}

/* One address serves gRPC with HTTP or HTTP alone, not both. */
static enum err check_listeners(const struct config *config, struct errbuf *why)
{
    for (size_t i = 0; i < config->listen_client_http_urls.count; i++) {
        const struct url *http = &config->listen_client_http_urls.items[i];
        for (size_t k = 0; k < config->listen_client_urls.count; k++) {
            const struct url *grpc = &config->listen_client_urls.items[k];
            if (strcmp(http->host, grpc->host) == 0 && strcmp(http->path, grpc->path) == 0 &&
                strcmp(http->opaque, grpc->opaque) == 0) {
                return errf(why, ERR_INVALID,
                            "cannot bind both --listen-client-urls and --listen-client-http-urls "
                            "on the same url %s",
                            http->text);
            }
        }
    }
    return ERR_OK;
}

FALLIBLE config__derive(struct config *config, struct errbuf *why)
{
    struct log log = config_log(config);
    update_default_cluster(config);
    if (config->data_dir[0] == 0) {
        config->data_dir = arena_printf(&config->priv->arena, "%s.etcd", config->name);
        LOG_WARN(&log, "'data-dir' was empty; using default",
                 log_str("data-dir", config->data_dir));
    }
    derive_counts(config);
    TRY(check_listeners(config, why));
    return derive_retention(config, why);
}

/* ---- answers
 * --------------------------------------------------------------------------------------- */

int64_t config_quota(const struct config *config)
{
    if (config->quota_backend_bytes < 0) {
        return INT64_MAX;
    }
    return config->quota_backend_bytes == 0 ? CONFIG_QUOTA_DEFAULT : config->quota_backend_bytes;
}

int64_t config_batch_interval_ns(const struct config *config)
{
    int64_t given = config->backend_batch_interval_ns;
    return given <= 0 ? BATCH_INTERVAL_DEFAULT_NS : given;
}

uint64_t config_batch_limit(const struct config *config)
{
    int64_t given = config->backend_batch_limit;
    return given <= 0 ? BATCH_LIMIT_DEFAULT : (uint64_t)given;
}

uint64_t config_compaction_batch_limit(const struct config *config)
{
    int64_t given = config->compaction_batch_limit;
    return given <= 0 ? COMPACTION_BATCH_DEFAULT : (uint64_t)given;
}

int64_t config_compaction_sleep_ns(const struct config *config)
{
    int64_t given = config->compaction_sleep_interval_ns;
    return given <= 0 ? COMPACTION_SLEEP_DEFAULT_NS : given;
}

int64_t config_watch_progress_ns(const struct config *config)
{
    int64_t given = config->watch_progress_notify_interval_ns;
    return given <= 0 ? WATCH_PROGRESS_DEFAULT_NS : given;
}

enum config_freelist config_freelist(const struct config *config)
{
    return strcmp(config->backend_freelist_type, "array") == 0 ? CONFIG_FREELIST_ARRAY
                                                               : CONFIG_FREELIST_MAP;
}

int64_t config_request_timeout_ns(const struct config *config)
{
    uint64_t election_ms = config->election_ticks * config->heartbeat_ms;
    return REQUEST_WAIT_NS + 2 * (int64_t)election_ms * GO_NS_PER_MS;
}

const char *config_member_dir(const struct config *config)
{
    return arena_printf(&config->priv->arena, "%s/member", config->data_dir);
}

const char *config_wal_dir(const struct config *config)
{
    if (config->wal_dir[0] != 0) {
        return config->wal_dir;
    }
    return arena_printf(&config->priv->arena, "%s/member/wal", config->data_dir);
}

const char *config_snap_dir(const struct config *config)
{
    return arena_printf(&config->priv->arena, "%s/member/snap", config->data_dir);
}

const char *config_backend_path(const struct config *config)
{
    return arena_printf(&config->priv->arena, "%s/member/snap/db", config->data_dir);
}
